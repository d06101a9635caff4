"""Write docs/reference/states.md: the state tables of the core, drawn.

The diagrams come from the tables that the machines obey, so they cannot be wrong:

    python tools/states.py
"""

from __future__ import annotations

from collections import defaultdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smtpx.core import states

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Allowed = Mapping[Enum, frozenset[str]]
    Transitions = Mapping[tuple[Enum, Enum], Enum]

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "states.md"

_HEADING = """\
# States

Drawn by `make docs` from the tables in `smtpx.core.states`, which are all that changes
a state.
"""


def tables() -> Iterator[tuple[str, Transitions, Allowed]]:
    """Find the tables of each machine: its name, its transitions, its verbs."""
    contents: dict[str, Any] = vars(states)
    for name, table in contents.items():
        machine, _, kind = name.rpartition("_")
        if kind == "TRANSITIONS":
            yield machine.capitalize(), table, contents.get(f"{machine}_ALLOWED", {})


def everywhere(transitions: Transitions) -> dict[Enum, Enum]:
    """Find the triggers that lead to one and the same state from every state."""
    targets: dict[Enum, list[Enum]] = defaultdict(list)
    for (_, trigger), target in transitions.items():
        targets[trigger].append(target)
    every_state = {
        state for pair in transitions.items() for state in (pair[0][0], pair[1])
    }
    return {
        trigger: reached[0]
        for trigger, reached in targets.items()
        if len(reached) == len(every_state) and len(set(reached)) == 1
    }


def diagram(transitions: Transitions) -> str:
    """Draw a table of transitions in Mermaid's language."""
    common = everywhere(transitions)
    labels: dict[tuple[Enum, Enum], list[str]] = defaultdict(list)
    for (state, trigger), target in transitions.items():
        if trigger not in common:
            labels[state, target].append(str(trigger.value))
    first = next(iter(type(next(iter(labels))[0])))
    lines = ["stateDiagram-v2", f"    [*] --> {first.name}"]
    lines += [
        f"    {state.name} --> {target.name}: {' / '.join(texts)}"
        for (state, target), texts in labels.items()
    ]
    return "\n".join(["```mermaid", *lines, "```", ""])


def page() -> str:
    """Make the page of all machines."""
    parts = [_HEADING]
    for machine, transitions, allowed in tables():
        parts.append(f"\n## {machine}\n\n{diagram(transitions)}")
        for trigger, target in everywhere(transitions).items():
            parts.append(
                f"\nFrom every state, {trigger.value} leads to {target.name}.\n"
            )
        if allowed:
            parts.append("\n| state | verbs that it takes |\n|---|---|\n")
        for state, verbs in allowed.items():
            names = ", ".join(
                "those that the user registered" if verb == "*" else verb
                for verb in sorted(verbs, key=lambda verb: (verb == "*", verb))
            )
            parts.append(f"| {state.name} | {names} |\n")
    return "".join(parts)


def main() -> None:
    """Write the page."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()

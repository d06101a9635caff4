"""Write docs/reference/states.md: the state tables of the core, drawn.

The diagrams come from the tables that the machines obey, so they cannot be wrong:

    python tools/states.py
"""

from __future__ import annotations

from collections import defaultdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smtpx.core import client_states, states

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Allowed = Mapping[Enum, frozenset[str]]
    Transitions = Mapping[tuple[Enum, Enum], Enum]

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "states.md"

_HEADING = """\
# States

Drawn by `make docs` from the tables in `smtpx.core.states` and
`smtpx.core.client_states`, which are all that changes a state.
"""


def tables() -> Iterator[tuple[str, Transitions, Allowed]]:
    """Find the tables of each machine: its name, its transitions, its verbs."""
    contents: dict[str, Any] = vars(states) | vars(client_states)
    for name, table in contents.items():
        machine, _, kind = name.rpartition("_")
        if kind == "TRANSITIONS":
            yield machine.capitalize(), table, contents.get(f"{machine}_ALLOWED", {})


def everywhere(transitions: Transitions) -> dict[Enum, Enum]:
    """Find the triggers that lead to one and the same state from every other.

    States that such a trigger leaves as they are, because they are final, do not count.
    """
    every_state = {state for state, _ in transitions} | set(transitions.values())
    common = {}
    for trigger in dict.fromkeys(trigger for _, trigger in transitions):
        steps = {
            state: target
            for (state, pulled), target in transitions.items()
            if pulled is trigger
        }
        targets = {target for state, target in steps.items() if state is not target}
        if steps.keys() == every_state and len(targets) == 1:
            common[trigger] = targets.pop()
    return common


def final_states(transitions: Transitions, trigger: Enum) -> str:
    """Name the states that a trigger leaves as they are."""
    return " and ".join(
        state.name
        for (state, pulled), target in transitions.items()
        if pulled is trigger and state is target
    )


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
            final = final_states(transitions, trigger)
            parts.append(
                f"\nFrom every state but {final}, one trigger leads to {target.name}:"
                f" {trigger.value}.\n"
            )
        if allowed:
            parts.append("\n| state | verbs that it takes |\n|---|---|\n")
        for state, verbs in allowed.items():
            names = ", ".join(
                "verbs of the user" if verb == "*" else verb
                for verb in sorted(verbs, key=lambda verb: (verb == "*", verb))
            )
            parts.append(f"| {state.name} | {names or '-'} |\n")
    return "".join(parts)


def main() -> None:
    """Write the page."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Check the table of attacks, and write the page of it.

The table, docs/explanation/attacks.toml, says for each attack what stops it, and which
mutations of tools/mutations.toml take that away; the tests that notice stand there.

    python -m tools.attacks    check, and write docs/explanation/attacks.md
"""

from __future__ import annotations

import sys
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tools import facts
from tools.evidence import ROOT, SOURCE, is_there, link_to, missing_tests, read_tests

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

TABLE: Final = ROOT / "docs" / "explanation" / "attacks.toml"
PAGE: Final = TABLE.with_suffix(".md")
#: As `python -m benchmarks attacks --to` wrote them.
FIGURES: Final = ROOT / "benchmarks" / "attacks.md"


@dataclass(frozen=True, slots=True)
class Attack:
    """A row of the table.

    Attributes:
        section: the heading that it stands under.
        what: what is done.
        defence: the rule that stops it.
        where: a file of the library, and what in it keeps the rule.
        mutations: by name, those that take the defence away.
    """

    section: str
    what: str
    defence: str
    where: str
    mutations: tuple[str, ...]


def read_attacks(path: Path = TABLE) -> tuple[dict[str, str], list[Attack]]:
    """Read the sections with their introductions, and the rows."""
    sections = tomllib.loads(path.read_text("utf-8"))["section"]
    attacks = [
        Attack(section["title"], **{**row, "mutations": tuple(row["mutations"])})
        for section in sections
        for row in section["attack"]
    ]
    return {one["title"]: one.get("text", "").strip() for one in sections}, attacks


# --------------------------------------------------------------------------- checking


def all_mistakes(
    attacks: Sequence[Attack],
    tests: Mapping[str, Sequence[str]],
    of_facts: Collection[str] = (),
) -> Iterator[str]:
    """Say what is wrong with the rows, and with the mutations that they name.

    Args:
        attacks: the rows.
        tests: of each mutation, by its name.
        of_facts: the mutations that tools/facts.py knows of.
    """
    named = {name for attack in attacks for name in attack.mutations} | set(of_facts)
    yield from (f"no attack names {name!r}" for name in tests.keys() - named)
    for attack in attacks:
        if not attack.mutations:
            yield f"{attack.what}: no mutation"
        yield from (
            f"{attack.what}: there is no mutation {name!r}"
            for name in attack.mutations
            if name not in tests
        )
        if not is_there(SOURCE, attack.where):
            yield f"{attack.what}: there is no {attack.where}"
    for name, paths in tests.items():
        if not paths:
            yield f"{name}: no test"
        yield from missing_tests(name, paths)


# --------------------------------------------------------------------------- the page


def attacks_page() -> str:
    """Make the page."""
    sections, attacks = read_attacks()
    tests = read_tests()
    parts = [
        "# Attacks, and what stops them\n\n"
        "Each of these happened to mail software. Beside the defence stands what\n"
        "happens without it: these are names in\n"
        "[`tools/mutations.toml`](../../tools/mutations.toml), and `make mutations`\n"
        "takes the defences away one by one, in a copy, and sees that a test of the\n"
        f"last column fails. There are {len(attacks)} attacks here, and {len(tests)} "
        "mutations.\n\n"
        "Files of defences are below `src/smtpx`. Transcripts are played whole, octet\n"
        "by octet, and pipelined. This page is written by `make docs` from\n"
        "`attacks.toml`.\n"
    ]
    for title, text in sections.items():
        parts.append(f"\n## {title}\n" + (f"\n{text}\n" if text else ""))
        parts.append("\n| attack | defence | without it | test |\n|---|---|---|---|\n")
        parts += [_row(one, tests) for one in attacks if one.section == title]
    parts.append(f"\n{FIGURES.read_text('utf-8')}")
    return "".join(parts)


def _row(attack: Attack, tests: Mapping[str, Sequence[str]]) -> str:
    file, _, names = attack.where.partition(" ")
    place = f"`{file}`, `{names}`" if names else f"`{file}`"
    without = "<br>".join(attack.mutations)
    found = dict.fromkeys(test for name in attack.mutations for test in tests[name])
    shown = ", ".join(map(link_to, found))
    return f"| {attack.what} | {attack.defence} ({place}) | {without} | {shown} |\n"


def main() -> int:
    """Run as the module's docstring says."""
    _, attacks = read_attacks()
    of_facts = facts.named_mutations(facts.read_facts())
    mistakes = list(all_mistakes(attacks, read_tests(), of_facts))
    sys.stderr.writelines(f"{mistake}\n" for mistake in mistakes)
    if not mistakes:
        PAGE.write_text(attacks_page(), encoding="utf-8")
    return 1 if mistakes else 0


if __name__ == "__main__":
    raise SystemExit(main())

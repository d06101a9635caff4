"""Check the table of what other mail software does, and write the page of it.

The table, docs/explanation/interop-facts.toml, says for each fact what our client does
towards such a server, and our server towards such a client, and which tests hold it.

    python -m tools.facts    check, and write docs/explanation/interop-facts.md
"""

from __future__ import annotations

import sys
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tools.evidence import ROOT, SOURCE, is_there, link_to, missing_tests, read_tests

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

TABLE: Final = ROOT / "docs" / "explanation" / "interop-facts.toml"
PAGE: Final = TABLE.with_suffix(".md")


@dataclass(frozen=True, slots=True)
class End:
    """What one of our ends does about a fact.

    Attributes:
        does: the rule.
        where: a file of the library, and what in it keeps the rule.
        tests: that hold it, each by its path and maybe ``::`` and its name.
        mutations: by name, those that break the rule; their tests hold it too.
    """

    does: str
    where: str
    tests: tuple[str, ...] = ()
    mutations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fact:
    """A row of the table.

    Attributes:
        what: others do.
        ends: what ours do about it: ``client``, ``server``.
        shown: tests in which those others do it.
    """

    what: str
    ends: Mapping[str, End]
    shown: tuple[str, ...] = ()


def read_facts(path: Path = TABLE) -> list[Fact]:
    """Read the rows."""
    rows = tomllib.loads(path.read_text("utf-8"))["fact"]
    return [
        Fact(
            row["what"],
            {end: _read_end(row[end]) for end in ("client", "server") if end in row},
            tuple(row.get("shown", ())),
        )
        for row in rows
    ]


def _read_end(row: Mapping[str, str | list[str]]) -> End:
    lists = {key: tuple(row.get(key, ())) for key in ("tests", "mutations")}
    return End(str(row["does"]), str(row["where"]), **lists)


def named_mutations(facts: Sequence[Fact]) -> set[str]:
    """Return the names of all mutations of the table."""
    return {
        name for fact in facts for end in fact.ends.values() for name in end.mutations
    }


# --------------------------------------------------------------------------- checking


def all_mistakes(
    facts: Sequence[Fact], mutations: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Say what is wrong with the rows.

    Args:
        facts: the rows.
        mutations: those that there are, each with its tests.
    """
    for fact in facts:
        if not fact.ends:
            yield f"{fact.what}: neither end does anything"
        yield from missing_tests(fact.what, fact.shown)
        for name, end in fact.ends.items():
            what = f"{fact.what}: {name}"
            if not end.tests:
                yield f"{what}: no test"
            if not is_there(SOURCE, end.where):
                yield f"{what}: there is no {end.where}"
            yield from missing_tests(what, end.tests)
            yield from (
                f"{what}: there is no mutation {one!r}"
                for one in end.mutations
                if one not in mutations
            )


# --------------------------------------------------------------------------- the page


def facts_page() -> str:
    """Make the page."""
    facts = read_facts()
    mutations = read_tests()
    rows = "".join(_row(fact, mutations) for fact in facts)
    return (
        "# What other mail software does\n\n"
        "No attacks, but as good as one for whoever does not know them: habits of\n"
        "servers and clients that are in no RFC, or against one. Each is met at both\n"
        "ends: what our client does towards a server that has it, and our server\n"
        "towards a client. Behind it stand the tests that fail when it is done\n"
        "otherwise; below the fact, those in which these others themselves, installed\n"
        "and run, show that it is one.\n\n"
        "What works with whom is in\n"
        "[Interoperability](../reference/interoperability.md). This page is written\n"
        "by `make docs` from `interop-facts.toml`.\n\n"
        "| fact | our client | our server |\n|---|---|---|\n" + rows
    )


def _row(fact: Fact, mutations: Mapping[str, Sequence[str]]) -> str:
    shown = f"<br>Shown: {', '.join(map(link_to, fact.shown))}" if fact.shown else ""
    cells = [_cell(fact.ends.get(end), mutations) for end in ("client", "server")]
    return f"| {fact.what}{shown} | {' | '.join(cells)} |\n"


def _cell(end: End | None, mutations: Mapping[str, Sequence[str]]) -> str:
    if end is None:
        return "-"
    file, _, names = end.where.partition(" ")
    place = f"`{file}`, `{names}`" if names else f"`{file}`"
    of_mutations = [test for name in end.mutations for test in mutations[name]]
    tests = ", ".join(map(link_to, dict.fromkeys([*end.tests, *of_mutations])))
    return f"{end.does} ({place}).<br>Tests: {tests}"


def main() -> int:
    """Run as the module's docstring says."""
    mistakes = list(all_mistakes(read_facts(), read_tests()))
    sys.stderr.writelines(f"{mistake}\n" for mistake in mistakes)
    if not mistakes:
        PAGE.write_text(facts_page(), encoding="utf-8")
    return 1 if mistakes else 0


if __name__ == "__main__":
    raise SystemExit(main())

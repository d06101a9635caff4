"""Each fact about other mail software has its rule at our ends, and tests of it."""

from __future__ import annotations

import dataclasses

import pytest

from tools import evidence, facts
from tools.facts import End, Fact


def test_the_table_is_whole_and_true() -> None:
    rows = facts.read_facts()
    assert list(facts.all_mistakes(rows, evidence.read_tests())) == []


def test_the_page_is_current() -> None:
    page = facts.PAGE.read_text(encoding="utf-8")
    assert page == facts.facts_page(), "run `make docs`"


TEST = "tests/architecture/test_interop_facts.py::test_mistakes_are_found"
END = End("d", "wire/framing.py DotDecoder.decode", (TEST,), ("m",))
FACT = Fact("W", {"client": END}, (TEST,))


def with_end(**changes: object) -> Fact:
    return Fact("W", {"client": dataclasses.replace(END, **changes)})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fact", "mistake"),
    [
        (FACT, None),
        (Fact("W", {}), "W: neither end does anything"),
        (Fact("W", FACT.ends, ("tests/x.py",)), "W: there is no test tests/x.py"),
        (with_end(tests=()), "W: client: no test"),
        (with_end(tests=(f"{TEST}x",)), f"W: client: there is no test {TEST}x"),
        (with_end(where="wire/x.py"), "W: client: there is no wire/x.py"),
        (with_end(mutations=("n",)), "W: client: there is no mutation 'n'"),
    ],
)
def test_mistakes_are_found(fact: Fact, mistake: str | None) -> None:
    found = list(facts.all_mistakes([fact], {"m": (TEST,)}))
    assert found == ([] if mistake is None else [mistake])

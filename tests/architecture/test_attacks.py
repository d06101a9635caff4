"""Each attack has its defence, a mutation that takes it away, and tests."""

from __future__ import annotations

import dataclasses

import pytest

from tools import attacks, evidence, facts, mutations
from tools.attacks import Attack


def test_the_table_is_whole_and_true() -> None:
    _, rows = attacks.read_attacks()
    of_facts = facts.named_mutations(facts.read_facts())
    assert list(attacks.all_mistakes(rows, evidence.read_tests(), of_facts)) == []


def test_the_page_is_current() -> None:
    page = attacks.PAGE.read_text(encoding="utf-8")
    assert page == attacks.attacks_page(), "run `make docs`"


def test_every_mutation_changes_what_is_there_once() -> None:
    for mutation in mutations.read_table():
        path = evidence.SOURCE / mutation.file
        source = path.read_text(encoding="utf-8")
        assert mutation.applied_to(source) != source, mutation.name


def test_a_mutation_of_what_is_not_there_once_is_refused() -> None:
    (first, *_) = mutations.read_table()
    for source in ("", first.old * 2):
        with pytest.raises(ValueError, match=r"times: mend mutations\.toml"):
            first.applied_to(source)


def test_transcripts_are_played_by_their_drivers() -> None:
    path = "tests/transcripts/attacks/bdat-size-plus.txt"
    ids = mutations.node_ids(["tests/x.py::test_y", path, path])
    play = "tests/transcripts/test_transcripts.py::test_transcript"
    assert ids[0] == "tests/x.py::test_y"
    assert f"{play}[attacks/bdat-size-plus-whole]" in ids
    assert len(ids) == len(set(ids))


ROW = Attack("s", "W", "d", "wire/framing.py DotDecoder.decode", ("m",))
TESTS = {"m": ("tests/architecture/test_attacks.py::test_mistakes_are_found",)}


@pytest.mark.parametrize(
    ("row", "tests", "mistake"),
    [
        (ROW, TESTS, None),
        (ROW, {**TESTS, "n": TESTS["m"]}, "no attack names 'n'"),
        (dataclasses.replace(ROW, mutations=()), {}, "W: no mutation"),
        (ROW, {}, "W: there is no mutation 'm'"),
        (dataclasses.replace(ROW, where="wire/x.py"), TESTS, "W: there is no wire/"),
        (dataclasses.replace(ROW, where="wire/framing.py X"), TESTS, "W: there is no"),
        (ROW, {"m": ()}, "m: no test"),
        (ROW, {"m": ("tests/x.py",)}, "m: there is no test tests/x.py"),
        (
            ROW,
            {"m": ("tests/architecture/test_attacks.py::test_x",)},
            "m: there is no test tests/architecture/test_attacks.py::test_x",
        ),
    ],
)
def test_mistakes_are_found(
    row: Attack, tests: dict[str, tuple[str, ...]], mistake: str | None
) -> None:
    found = list(attacks.all_mistakes([row], tests))
    if mistake is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith(mistake)

"""What the fuzzers know holds without them, too: every seed, every corpus."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz import corpus
from fuzz.seeds import seeds_of
from fuzz.source import Source, pieces_of
from fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_that_are_known(name: str) -> None:
    inputs = corpus.load(name)
    assert inputs, f"python -m fuzz --keep 120 {name} makes a corpus"
    for octets in inputs:
        TARGETS[name](octets)


@pytest.mark.parametrize("name", TARGETS)
def test_what_the_fuzzers_begin_with(name: str) -> None:
    for octets in seeds_of(name)[:40]:
        TARGETS[name](octets)


def test_there_is_no_corpus_without_a_target() -> None:
    assert {path.stem for path in corpus.FOLDER.glob("*.txt")} == TARGETS.keys()


# ------------------------------------------------------------------ work is linear

# What can be repeated without end, by the target; the rest has limits on its size.
LONG = {
    "reply": (b"\7\0\0", b"250 2.0.0 fine\r\n"),
    "decoding": (b"\3", b"..line\r\n.\r"),
    "encoding": (b"\3", b".line\n\r"),
    "buffer": (b"\3\x40\2", b"NOOP\r\nx"),
    "server_octets": (b"\0\2\0\0\0\0\7EHLO c.test\r\n", b"NOOP\r\nRSET\r\n"),
    "capabilities": (b"", b"X-%d A=B c\n"),
    "xtext": (b"", b"a+2B"),
    "message": (b"", b"To: a@b.test\r\n"),
    "words": (b"", b"a@b.test, "),
    "results": (b"\0\0\0mx", b"; spf=pass (x) reason=y"),
    "tags": (b"", b"a=b;"),
    "canonical": (b"X: y\r\n\r\n", b"a  b \r\n \t"),
}


def count_calls(name: str, octets: bytes) -> int:
    """Count the calls that a target makes, those of C functions too."""
    count = 0

    def note(*_: object) -> None:
        nonlocal count
        count += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        TARGETS[name](octets)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("name", LONG)
def test_work_grows_with_the_input(name: str) -> None:
    """Twice the input is at most twice the work, and a little."""
    head, piece = LONG[name]
    count_calls(name, head + piece)  # what is imported or computed once
    once, twice = (count_calls(name, head + piece * size) for size in (200, 400))
    assert twice < 2.2 * once + 200


# ------------------------------------------------------------------------- the tools


@given(st.binary(max_size=200), st.integers(0, 255))
def test_cutting_loses_nothing(octets: bytes, seed: int) -> None:
    pieces = pieces_of(octets, seed)
    assert b"".join(pieces) == octets
    assert all(pieces)
    assert seed or len(pieces) == len(octets)


@given(st.binary(max_size=50))
def test_an_input_stands_on_one_line(octets: bytes) -> None:
    line = corpus.show(octets)
    assert "\n" not in line
    assert line.isascii()
    assert corpus.parse(line) == octets


def test_choices_come_from_the_front() -> None:
    source = Source(b"\3\7\2abc\xff")
    assert source.flag()
    assert source.choice("xyz") == "y"
    assert source.word() == b"ab"
    assert source.take(1) == b"c"
    assert source.text() == "\udcff"
    assert source.is_empty
    assert source.octet() == 0


def test_the_shortest_inputs_are_kept_that_reach_more() -> None:
    inputs = [b"<a@b>", b"<a@b>", b"", b"<a@bb>", b"<>"]
    kept = corpus.minimize(TARGETS["address"], inputs, 10)
    assert kept == [b"", b"<>", b"<a@b>"]
    assert corpus.minimize(TARGETS["address"], inputs, 1) == [b""]


def test_what_a_corpus_has_stays_in_it() -> None:
    """What once broke a target may reach no more than others do, once mended."""
    known = [b"<a@bb>", b"<a@bbb>"]
    kept = corpus.minimize(TARGETS["address"], [b"<a@b>", b"", *known], 10, known)
    assert kept[:2] == known
    assert kept[2:] == [b""]

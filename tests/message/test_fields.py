"""The header as octets: cut without a change, within limits, whatever it holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.errors import UnsafeOctets
from smtpx.message import fields
from smtpx.message.fields import (
    Header,
    HeaderLimits,
    fold_field,
    make_field,
    parse_header,
)


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_what_was_cut_joins_again(end: bytes) -> None:
    octets = b"A: 1" + end + b"B : 2" + end + b"\t3" + end + b"a:" + end
    header, start = parse_header(octets + end + b"body")
    assert [one.name for one in header.fields] == ["A", "B", "a"]
    assert header.encode() == octets
    assert (octets + end + b"body")[start:] == b"body"
    assert header.defects == ()


def test_values_are_unfolded() -> None:
    header, _ = parse_header(b"A: 1 \r\n\t2\n 3\r\nB:\r\n x\r\n")
    assert [one.unfolded for one in header.fields] == [b"1 \t2 3", b"x"]
    assert header.fields[0].value == b" 1 \r\n\t2\n 3"


def test_fields_are_found_whatever_their_case() -> None:
    header, _ = parse_header(b"To: a\r\nTO: b\r\n\r\n")
    assert [one.text for one in header.all("to")] == ["a", "b"]
    found = header.first("tO")
    assert found is not None
    assert found.text == "a"
    assert header.first("x") is None
    assert header.all("x") == ()


def test_some_fields_are_taken_out() -> None:
    header, _ = parse_header(b"A: 1\r\nB: 2\r\n 3\r\nC: 4\r\n")
    kept = header.without(lambda one: one.name == "B")
    assert kept.encode() == b"A: 1\r\nC: 4\r\n"


@pytest.mark.parametrize(
    ("octets", "names", "body"),
    [
        (b"", [], b""),
        (b"\r\nx", [], b"x"),
        (b"\nx", [], b"x"),
        (b"no field\r\nA: 1\r\n", [], b"no field\r\nA: 1\r\n"),
        (b" A: 1\r\n", [], b" A: 1\r\n"),
        (b"A: 1\r\n: 2\r\n", ["A"], b": 2\r\n"),
        (b"A: 1\r\nB\xe5: 2\r\n", ["A"], b"B\xe5: 2\r\n"),
        (b"A: 1", ["A"], b""),
        (b"A: 1\r\n ", ["A"], b""),
        (b"A: 1\r\n \r\nB: 2\r\n\r\n", ["A", "B"], b""),
        (b"A: 1\rB: 2\r\n\r\n", ["A"], b""),
        (b"From a@b Mon\r\nA: 1\r\n\r\nx", ["A"], b"x"),
        (b"A: 1\r\nFrom a@b Mon\r\n", ["A"], b"From a@b Mon\r\n"),
    ],
)
def test_where_a_header_ends(octets: bytes, names: list[str], body: bytes) -> None:
    header, start = parse_header(octets)
    assert [one.name for one in header.fields] == names
    assert octets[start:] == body


def test_a_line_that_is_no_field_is_a_defect() -> None:
    assert parse_header(b"A: 1\r\nnone\r\n")[0].defects == (
        "no empty line between header and body",
    )
    assert parse_header(b"From a\r\nA: 1\r\n\r\n")[0].defects == (
        "an mbox envelope line precedes the header",
    )


@pytest.mark.parametrize(("count", "kept", "defects"), [(3, 3, 0), (4, 3, 1)])
def test_limit_of_fields(count: int, kept: int, defects: int) -> None:
    octets = b"A: 1\r\n" * count + b"\r\nbody"
    header, start = parse_header(octets, limits=HeaderLimits(max_fields=3))
    assert len(header.fields) == kept
    assert len(header.defects) == defects
    assert octets[start:] == b"body"


@pytest.mark.parametrize(("limit", "kept"), [(12, 2), (11, 1)])
def test_limit_of_octets(limit: int, kept: int) -> None:
    octets = b"X" + b"A: 1\r\nB: 2\r\n\r\nbody"
    header, start = parse_header(octets, 1, limits=HeaderLimits(max_octets=limit))
    assert len(header.fields) == kept
    assert len(header.defects) == 2 - kept
    assert octets[start:] == b"body"


HEADER_LINES = st.sampled_from(
    [
        *(b"A: 1\r\n", b"b :2\n", b"c:\n", b" more\r\n", b"\t\n", b"--: x\n"),
        *(b"--end\r\n", b"no field\r\n", b"\r\n", b"\n", b":\n", b"From x\n", b"A: 1"),
        *(b"\xe9: 1\n", b"A\r: 1\n", b"A : \r1\n", b" --end\n", b"--end: 1\n"),
    ]
)
IS_END = st.sampled_from([None, lambda line: line.startswith(b"--end")])


@given(
    st.lists(HEADER_LINES, max_size=12).map(b"".join),
    st.integers(1, 4),
    st.integers(1, 40),
    IS_END,
)
def test_what_exceeds_a_limit_is_passed_over_as_if_it_were_kept(
    octets: bytes,
    count: int,
    size: int,
    is_end: Callable[[bytes], bool] | None,
) -> None:
    whole, end = parse_header(octets, is_end=is_end)
    header, found = parse_header(
        octets, limits=HeaderLimits(max_octets=size, max_fields=count), is_end=is_end
    )
    assert found == end
    assert header.fields == whole.fields[: len(header.fields)]
    surplus = tuple(text for text in header.defects if "has over" in text)
    rest = tuple(text for text in header.defects if "has over" not in text)
    assert rest == whole.defects
    assert bool(surplus) == (len(header.fields) < len(whole.fields))


class Counted:
    """A pattern that counts how often it is asked."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern
        self.calls = 0

    def match(self, *arguments: Any) -> re.Match[bytes] | None:  # noqa: ANN401
        self.calls += 1
        return self._pattern.match(*arguments)


def test_a_part_ends_among_its_surplus() -> None:
    octets = b"A: 1\n" * 3 + b"--end: 1\nB: 2\n"
    limits = HeaderLimits(max_fields=1)
    _, end = parse_header(octets, limits=limits, is_end=lambda line: b"end" in line)
    assert octets[end:] == b"--end: 1\nB: 2\n"
    _, end = parse_header(octets, limits=limits, is_end=lambda line: b"x" in line)
    assert end == len(octets)


def test_a_surplus_of_fields_is_passed_over_many_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Line by line, a million of them would hold an event loop for a second."""
    counted, surplus = Counted(fields._FIELD_START), Counted(fields._SURPLUS_LINES)
    monkeypatch.setattr(fields, "_FIELD_START", counted)
    monkeypatch.setattr(fields, "_SURPLUS_LINES", surplus)
    limits = HeaderLimits(max_octets=10, max_fields=10)
    octets = b"a:b\r\n c\r\n" * 2500
    header, start = parse_header(octets + b"\r\nbody", limits=limits)
    assert (len(header.fields), start) == (1, len(octets) + 2)
    header, start = parse_header(octets, limits=limits)
    assert (len(header.fields), start) == (1, len(octets))
    assert header.defects == ("the header has over 10 octets",)
    # Of each header the field that is kept, the one too many, and the one that ends it.
    assert counted.calls == 2 * 3
    # Some 4,997 lines, a thousand at a time, until there are none.
    assert surplus.calls == 2 * 6


@pytest.mark.parametrize("wrong", [{"max_octets": 0}, {"max_fields": 0}])
def test_limits_are_positive(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        HeaderLimits(**wrong)


@given(st.binary(max_size=300) | st.text("AB: \t\r\n-\0", max_size=60).map(str.encode))
def test_nothing_is_lost_whatever_comes(octets: bytes) -> None:
    header, start = parse_header(octets)
    begin = octets.find(b"\n") + 1 if octets.startswith(b"From ") else 0
    kept = header.encode()
    assert octets[begin : begin + len(kept)] == kept
    assert octets[begin + len(kept) : start] in {b"", b"\n", b"\r\n"} or not kept


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "x"),
        ("A B", "x"),
        ("A:", "x"),
        ("\xe5", "x"),
        ("A", "x\r\nB: y"),
        ("A", "x\n"),
        ("A", "\x00"),
        ("A", "\x85"),
        ("A", "\u2028"),
        ("A", "\ud800"),
    ],
)
def test_no_field_breaks_out(name: str, text: str) -> None:
    with pytest.raises(UnsafeOctets):
        make_field(name, text)


@given(st.lists(st.text("ab,;", max_size=90), max_size=9).map(" ".join))
def test_folding_changes_nothing_but_lines(text: str) -> None:
    one = make_field("Subject", text)
    assert one.text == text.strip()
    assert Header((one,)) == parse_header(one.octets)[0]
    for line in one.octets.split(b"\r\n")[:-1]:
        assert line.strip(), "an older parser would end the header there"


def test_long_lines_are_folded() -> None:
    octets = fold_field("X", [b"a" * 30] * 4)
    assert [len(line) for line in octets.split(b"\r\n")] == [64, 62, 0]
    assert fold_field("X", [b"a" * 200]) == b"X: " + b"a" * 200 + b"\r\n"

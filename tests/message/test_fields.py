"""The header as octets: cut without a change, within limits, whatever it holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.errors import UnsafeOctets
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

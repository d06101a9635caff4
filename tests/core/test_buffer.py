"""The input buffer: lines and blocks, whatever the segmentation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.core.buffer import InputBuffer, LineTooLong


def filled(*segments: bytes) -> InputBuffer:
    buffer = InputBuffer()
    for segment in segments:
        buffer.append(segment)
    return buffer


def lines_of(buffer: InputBuffer, limit: int) -> list[bytes | str]:
    """Take lines until there is none; a line too long shows how it began."""
    lines: list[bytes | str] = []
    while True:
        try:
            line = buffer.take_line(limit)
        except LineTooLong as error:
            lines.append(error.opening.decode("latin-1"))
        else:
            if line is None:
                return lines
            lines.append(line)


def test_only_crlf_ends_a_line() -> None:
    buffer = filled(b"a\nb\rc\n\rd\r\n\r\ne")
    assert lines_of(buffer, 100) == [b"a\nb\rc\n\rd", b""]
    assert len(buffer) == 1


@pytest.mark.parametrize("segments", [(b"NOOP\r\n",), (b"NO", b"OP\r", b"\n")])
def test_limit_of_a_line_counts_its_crlf(segments: tuple[bytes, ...]) -> None:
    assert filled(*segments).take_line(6) == b"NOOP"
    with pytest.raises(LineTooLong):
        filled(*segments).take_line(5)


def test_line_at_its_limit_octet_by_octet() -> None:
    for limit, expected in ((6, [b"NOOP"]), (5, ["NOOP"])):
        buffer, lines = InputBuffer(), []
        for octet in b"NOOP\r\n":
            buffer.append(bytes([octet]))
            lines += lines_of(buffer, limit)
        assert lines == expected


def test_behind_a_line_too_long_reading_goes_on() -> None:
    assert lines_of(filled(b"0123456789abcdefghi\r\nb\r\n"), 10) == [
        "0123456789abcdef",
        b"b",
    ]


def test_memory_of_an_endless_line_is_bounded() -> None:
    buffer = InputBuffer()
    for _ in range(100):
        buffer.append(b"x" * 1_000)
        assert buffer.take_line(512) is None
        assert len(buffer) <= 1
    buffer.append(b"\r")
    assert buffer.take_line(512) is None
    assert len(buffer) == 1
    buffer.append(b"\nNOOP\r\n")
    assert lines_of(buffer, 512) == ["x" * 16, b"NOOP"]


def test_a_cr_that_was_kept_is_no_line_end_alone() -> None:
    buffer = filled(b"x" * 20 + b"\r")
    assert buffer.take_line(10) is None
    buffer.append(b"y\r\n")
    assert lines_of(buffer, 10) == ["x" * 16]


def test_length_counts_all_segments() -> None:
    buffer = filled(b"abc", b"de", b"f")
    assert len(buffer) == 6
    assert buffer.take(2) == b"ab"
    assert len(buffer) == 4
    assert buffer.take(2) == b"c"
    assert len(buffer) == 3
    assert buffer.take(2) == b"de"
    assert buffer.take(2) == b"f"
    assert len(buffer) == 0
    buffer.append(b"g")
    assert (len(buffer), buffer.take_all(), len(buffer)) == (1, b"g", 0)


def test_take_joins_what_came_when_the_first_is_used_up() -> None:
    buffer = filled(b"ab\r\n", b"cd", b"ef")
    assert buffer.take_line(10) == b"ab"
    assert buffer.take(3) == b"cde"
    assert len(buffer) == 1
    assert buffer.take(10) == b"f"
    assert buffer.take(10) == b""


def test_whole_block_is_not_copied() -> None:
    block = b"x" * 1_000
    assert filled(block).take(1_000) is block
    assert filled(block).take(2_000) is block
    assert filled(block).take_all() is block


def test_take_all_and_put_back() -> None:
    buffer = filled(b"ab\r\ncd", b"ef")
    assert buffer.take_line(10) == b"ab"
    data = buffer.take_all()
    assert (data, len(buffer)) == (b"cdef", 0)
    buffer.put_back(data, 3)
    assert (len(buffer), buffer.take_all()) == (1, b"f")


def test_take_all_in_the_middle_of_a_segment() -> None:
    buffer = filled(b"ab\r\ncd")
    assert buffer.take_line(10) == b"ab"
    assert buffer.take_all() == b"cd"


def test_put_back_comes_right_after_take_all() -> None:
    buffer = filled(b"ab")
    with pytest.raises(RuntimeError, match="right after take_all"):
        buffer.put_back(b"ab", 1)


def test_starts_with() -> None:
    buffer = filled(b"\x16")
    assert not buffer.starts_with(b"\x16\x03")
    buffer.append(b"\x03\x01")
    assert buffer.starts_with(b"\x16\x03")
    assert len(buffer) == 3


def test_no_line_begins_within_a_line_too_long() -> None:
    buffer = filled(b"x" * 20)
    assert buffer.take_line(10) is None
    buffer.append(b"\x16\x03")
    assert not buffer.starts_with(b"\x16\x03")


def test_clear_forgets_everything() -> None:
    buffer = filled(b"x" * 20, b"y")
    assert buffer.take_line(10) is None
    buffer.append(b"z")
    buffer.append(b"z")
    buffer.clear()
    assert len(buffer) == 0
    buffer.append(b"NOOP\r\n")
    assert lines_of(buffer, 10) == [b"NOOP"]


@given(
    st.lists(st.text("ab\r\n", max_size=30).map(str.encode), max_size=8),
    st.integers(16, 24),
)
def test_lines_do_not_depend_on_segmentation(pieces: list[bytes], limit: int) -> None:
    whole = b"".join(pieces)
    *complete, _rest = whole.split(b"\r\n")
    expected: list[bytes | str] = [
        line if len(line) + 2 <= limit else line[:16].decode() for line in complete
    ]
    assert lines_of(filled(whole), limit) == expected
    assert lines_of(filled(*pieces), limit) == expected
    buffer = InputBuffer()
    lines: list[bytes | str] = []
    for piece in pieces:
        buffer.append(piece)
        lines += lines_of(buffer, limit)
    assert lines == expected


def test_nothing_is_put_back_of_what_was_used_up() -> None:
    buffer = filled(b"all of it")
    data = buffer.take_all()
    buffer.put_back(data, len(data))
    assert len(buffer) == 0
    buffer.append(b"NOOP\r\n")
    assert buffer.take_line(100) == b"NOOP"

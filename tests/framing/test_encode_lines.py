"""Stuffing alone gives what normalising and stuffing gives, where lines end in CRLF."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.wire.framing import DotEncoder, LineNormalizer

PIECES = st.lists(st.sampled_from([b".", b"..", b"a", b"\r\n", b"\n"]), max_size=12)


@given(PIECES, st.integers(0, 12))
def test_known_lines_are_stuffed_alike(pieces: list[bytes], cut: int) -> None:
    normalizer = LineNormalizer()
    lines = normalizer.encode(b"".join(pieces))
    plain, quick = DotEncoder(), DotEncoder()
    blocks = (lines[:cut], lines[cut:])
    expected = b"".join(plain.encode(block) for block in blocks) + plain.finish()
    found = b"".join(quick.encode_lines(block) for block in blocks) + quick.finish()
    assert found == expected


def test_dot_at_the_start_of_each_message() -> None:
    encoder = DotEncoder()
    for _ in range(2):
        assert encoder.encode_lines(b".a") + encoder.finish() == b"..a\r\n.\r\n"


@pytest.mark.parametrize("cut", range(len(b"a\r\n.\r\n.b\r\n\r\n..\r\n") + 1))
def test_cut_within_a_line_end(cut: int) -> None:
    # Else the dot is the end of the message for the server, and what follows commands.
    lines = b"a\r\n.\r\n.b\r\n\r\n..\r\n"
    encoder = DotEncoder()
    found = encoder.encode_lines(lines[:cut]) + encoder.encode_lines(lines[cut:])
    assert found + encoder.finish() == b"a\r\n..\r\n..b\r\n\r\n...\r\n.\r\n"


def test_octet_by_octet() -> None:
    lines = b".\r\n\r\n.\r\n"
    encoder = DotEncoder()
    found = b"".join(encoder.encode_lines(bytes([octet])) for octet in lines)
    assert found + encoder.finish() == b"..\r\n\r\n..\r\n.\r\n"

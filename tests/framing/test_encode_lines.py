"""Stuffing alone gives what normalising and stuffing gives, where lines end in CRLF."""

from __future__ import annotations

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
    if blocks[0].endswith(b"\r"):  # only whole line ends are known to be CRLF
        blocks = (lines, b"")
    expected = b"".join(plain.encode(block) for block in blocks) + plain.finish()
    found = b"".join(quick.encode_lines(block) for block in blocks) + quick.finish()
    assert found == expected


def test_dot_at_the_start_of_each_message() -> None:
    encoder = DotEncoder()
    for _ in range(2):
        assert encoder.encode_lines(b".a") + encoder.finish() == b"..a\r\n.\r\n"

"""DATA and BDAT: the naive oracle is right, however the octets are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuzz.source import Source, pieces_of
from smtpx.core.buffer import InputBuffer, LineTooLong
from smtpx.wire.framing import BareNewline, DotDecoder, DotEncoder, LineNormalizer
from tests.framing import oracle

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["buffer", "decoding", "encoding"]


def decoding(octets: bytes) -> None:
    """The end of DATA, under each policy for bare line ends."""
    seed, *_ = octets or b"\0"
    stream = octets[1:]
    content, position, has_ended = oracle.decode(stream)
    for policy in BareNewline:
        for pieces in ([stream], pieces_of(stream, 0), pieces_of(stream, seed)):
            decoder = DotDecoder(policy)
            got = _decode(decoder, pieces)
            if not has_ended:
                # What is held back may still turn out to be the end.
                assert got[1:] == (len(stream), False)
                if policy is BareNewline.ACCEPT:
                    assert content.startswith(got[0])
                    assert len(content) - len(got[0]) <= 4
                continue
            expected = content
            if policy is BareNewline.NORMALIZE:
                expected = oracle.normalize(content)
            assert got == (expected, position, True)
            assert decoder.has_bare_newline == (
                policy is not BareNewline.ACCEPT and oracle.has_bare_newline(content)
            )


def _decode(decoder: DotDecoder, pieces: Sequence[bytes]) -> tuple[bytes, int, bool]:
    content = []
    position = 0
    for piece in pieces:
        block, taken, has_ended = decoder.decode(piece)
        content.append(block)
        position += taken
        if has_ended:
            return b"".join(content), position, True
        assert taken == len(piece)
    return b"".join(content), position, False


def encoding(octets: bytes) -> None:
    """What a client writes is what the server reads: all of it, and no more."""
    seed, *_ = octets or b"\0"
    content = octets[1:]
    expected = oracle.encode(content)
    plain = oracle.decode(expected)[0]
    for pieces in ([content], pieces_of(content, 0), pieces_of(content, seed)):
        encoder = DotEncoder()
        wire = b"".join([encoder.encode(piece) for piece in pieces]) + encoder.finish()
        assert wire == expected
        normalizer = LineNormalizer()
        lines = b"".join([normalizer.encode(piece) for piece in pieces])
        lines += normalizer.finish()
        assert lines == plain
        # Lines that are known to be right need no look.
        known = DotEncoder()
        again = pieces_of(lines, seed)
        assert b"".join(map(known.encode_lines, again)) + known.finish() == expected
    assert oracle.decode(wire) == (plain, len(wire), True)


def buffer(octets: bytes) -> None:
    """Lines and blocks out of the input, whatever the segmentation."""
    source = Source(octets)
    seed, limit, block = source.octet(), source.octet() + 18, source.octet()
    stream = source.rest()
    wholes = []
    for pieces in ([stream], pieces_of(stream, 0), pieces_of(stream, seed)):
        held = InputBuffer()
        taken: list[bytes] = []
        for piece in pieces:
            held.append(piece)
            _take_lines(held, limit, taken)
        # A line under way over its limit is dropped at any time, to bound the memory.
        assert len(held) <= limit + 1
        held.clear()
        held.append(stream)
        assert held.take(block) == stream[:block]
        assert held.take_all() == stream[block:]
        wholes.append(taken)
    assert wholes[0] == wholes[1] == wholes[2]
    whole_lines = stream.split(b"\r\n")[:-1]
    assert len(wholes[0]) == len(whole_lines)
    for line, got in zip(whole_lines, wholes[0], strict=True):
        is_short = len(line) + 2 <= limit
        assert got == (b"+" + line if is_short else b"-" + line[:16])


def _take_lines(held: InputBuffer, limit: int, taken: list[bytes]) -> None:
    while True:
        try:
            line = held.take_line(limit)
        except LineTooLong as error:
            taken.append(b"-" + error.opening)
            continue
        if line is None:
            return
        taken.append(b"+" + line)

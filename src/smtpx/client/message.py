"""The forms a message comes in, and what has to be known of it before it is sent.

A message is an ``EmailMessage`` (or the older ``Message``), ``bytes``, ``str``, a
binary file, or an iterable or async iterable of ``bytes``. Each becomes a `Payload`:
the content if it is in memory, or else blocks, read one by one so that memory stays
flat; and what is known of it: size, 8-bit octets, UTF-8 in the header.

`smtpx.client.email_writer` writes an ``EmailMessage`` out, and
`smtpx.client.message_addresses` knows whom it names.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Final, Protocol, TypeAlias, runtime_checkable

from smtpx.client.email_writer import (
    prepare_message,
    utf8_address,
    with_ascii_domains,
    write_message,
)
from smtpx.client.message_addresses import AnyMessage
from smtpx.wire.framing import encode_message, normalize_message
from smtpx.wire.octets import escape_octets

__all__ = [
    "BLOCK_OCTETS",
    "BinaryFile",
    "MessageSource",
    "Payload",
    "make_payload",
    "payload_of_octets",
]

# One read, and one write. Larger ones gain nothing (the kernel's buffers have this
# order), and the timeout of RFC 5321 section 4.5.3.2.5 is for one write.
BLOCK_OCTETS: Final = 64 * 1024


@runtime_checkable
class BinaryFile(Protocol):
    """What is read for a file: anything with ``read``, in binary mode."""

    def read(self, size: int, /) -> bytes:
        """Return up to so many octets, none at the end."""
        ...


MessageSource: TypeAlias = (
    AnyMessage
    | bytes
    | bytearray
    | memoryview
    | str
    | BinaryFile
    | Iterable[bytes]
    | AsyncIterable[bytes]
)


@dataclass(slots=True)
class Payload:
    """A message, ready to be streamed once.

    Attributes:
        content: all of it with CRLF line ends, None if it is not in memory.
        size: in octets, as SIZE declares it; None if unknown. Of a file, before its
            line ends are normalised.
        is_eight_bit: whether it holds octets over 127; None if unknown.
        utf8_reason: what in it needs SMTPUTF8; empty if nothing does.
        blocks: what `content` does not hold.
        message: what it was made of, if that can be written in another way.
        has_lawful_lines: those of `content` were looked at, and none is too long.
        encoded: `content` as DATA has it, once somebody asked.
    """

    content: bytes | None = None
    size: int | None = None
    is_eight_bit: bool | None = None
    utf8_reason: str = ""
    blocks: AsyncIterator[bytes] | None = None
    message: AnyMessage | None = None
    has_lawful_lines: bool = False
    encoded: bytes | None = None

    def encode(self) -> bytes:
        """Return the content as DATA has it, up to the final dot; computed once.

        A message that goes to many, one by one, is looked through once.
        """
        if self.encoded is None:
            assert self.content is not None  # noqa: S101 - else there are blocks
            self.encoded = encode_message(self.content)
        return self.encoded

    def with_ascii_domains(self) -> Payload | None:
        """Return the message with the domains of its addresses in A-labels.

        None if that does not make it fit for a server without SMTPUTF8: there is no
        ASCII form of a local part (RFC 6531 section 3.2).
        """
        if self.message is None or not self.utf8_reason:
            return None
        message = with_ascii_domains(self.message)
        return None if utf8_address(message) else _payload_of_prepared(message)

    def downgraded(self) -> Payload | None:
        """Return the message written without octets over 127, None if it cannot be.

        Text parts become quoted-printable or base64 (RFC 6152 section 3).
        """
        if self.message is None or self.utf8_reason:
            return None
        content = write_message(self.message, is_utf8=False, is_seven_bit=True)
        return Payload(content, len(content), not content.isascii())


async def make_payload(source: MessageSource, *, is_binary: bool = False) -> Payload:
    """Find out what a message is, and what it needs.

    Args:
        source: of a stream, the first block is read.
        is_binary: leave line ends alone, for BODY=BINARYMIME (RFC 3030 section 3).

    Returns:
        The payload.

    Raises:
        TypeError: it is no form of a message.
        UnsafeOctets: a header value of an EmailMessage holds a line end.
    """
    if isinstance(source, Message):
        return _payload_of_message(source)
    if isinstance(source, str):
        source = source.encode()
    if isinstance(source, bytes | bytearray | memoryview):
        return payload_of_octets(bytes(source), is_binary=is_binary)
    size = None
    if isinstance(source, AsyncIterable):
        # Before files: what a session reads, or a StreamReader, has a `read` to await.
        blocks = _checked(source)
    elif isinstance(source, BinaryFile):
        size = _size_of(source)
        blocks = _each(_read(source))
    elif isinstance(source, Iterable):
        blocks = _each(source)
    else:
        raise TypeError(
            "a message is an EmailMessage, bytes, str, a binary file or an iterable of "
            f"bytes, not {type(source).__name__}"
        )
    return await _payload_of_blocks(_gather(blocks), size)


def payload_of_octets(octets: bytes, *, is_binary: bool = False) -> Payload:
    """Return the payload of a message in memory; see `make_payload`."""
    if not is_binary:
        octets = normalize_message(octets)
    is_eight_bit = not octets.isascii()
    reason = _utf8_reason(octets) if is_eight_bit else ""
    return Payload(octets, len(octets), is_eight_bit, reason)


async def _payload_of_blocks(blocks: AsyncIterator[bytes], size: int | None) -> Payload:
    """Look at the first block: the header is in it, or else it is no sane header."""
    first = await anext(blocks, b"")

    async def all_blocks() -> AsyncIterator[bytes]:
        if first:
            yield first
        async for block in blocks:
            yield block

    return Payload(
        size=size,
        is_eight_bit=True if not first.isascii() else None,
        utf8_reason=_utf8_reason(first),
        blocks=all_blocks(),
    )


def _utf8_reason(octets: bytes) -> str:
    """Say which header field is internationalized (RFC 6532 section 3).

    Octets over 127 that are no UTF-8 are some other charset's; SMTPUTF8 is no help.
    """
    end = min(
        (at for at in (octets.find(b"\r\n\r\n"), octets.find(b"\n\n")) if at >= 0),
        default=len(octets),
    )
    header = octets[:end]
    if header.isascii():
        return ""
    for line in header.splitlines():
        if line.isascii():
            continue
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            continue
        return f"header field {escape_octets(line.partition(b':')[0], 40)}"
    return ""


# Blocks.


def _size_of(file: BinaryFile) -> int | None:
    """Return how much is left of a file that can be sought, else None."""
    if not isinstance(file, io.IOBase) or not file.seekable():
        return None
    position = file.tell()
    size = file.seek(0, io.SEEK_END) - position
    file.seek(position)
    return size


def _read(file: BinaryFile) -> Iterator[bytes]:
    while block := file.read(BLOCK_OCTETS):
        yield block


async def _each(blocks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for block in blocks:
        yield _require_bytes(block)


async def _checked(blocks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    async for block in blocks:
        yield _require_bytes(block)


def _require_bytes(block: bytes) -> bytes:
    if not isinstance(block, bytes | bytearray | memoryview):
        raise TypeError(
            f"the blocks of a message are bytes, not {type(block).__name__}; open "
            "files in binary mode"
        )
    return bytes(block)


async def _gather(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Cut and join blocks to a size worth a write; lines one by one are slow."""
    parts: list[bytes] = []
    count = 0
    async for block in blocks:
        parts.append(block)
        count += len(block)
        if count < BLOCK_OCTETS:
            continue
        data = b"".join(parts)
        end = count - count % BLOCK_OCTETS
        for start in range(0, end, BLOCK_OCTETS):
            yield data[start : start + BLOCK_OCTETS]
        parts = [data[end:]]
        count -= end
    if count:
        yield b"".join(parts)


def _payload_of_message(message: AnyMessage) -> Payload:
    return _payload_of_prepared(prepare_message(message))


def _payload_of_prepared(message: AnyMessage) -> Payload:
    reason = utf8_address(message)
    content = write_message(message, is_utf8=bool(reason), is_seven_bit=False)
    return Payload(
        content,
        len(content),
        not content.isascii(),
        reason,
        message=message,
    )

"""Getting the content across: behind a 354, or in chunks.

What the server says before the end is heard: one that has had enough of a message says
so and closes, and its reply is worth more than "broken pipe".
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, NoReturn

from smtpx.client.link import SourceError
from smtpx.client.message import BLOCK_OCTETS, Payload
from smtpx.client.results import chunk_refused
from smtpx.errors import BadReply, DataRefused, NotSupported, SendError
from smtpx.wire.framing import LineNormalizer
from smtpx.wire.options import BodyType

if TYPE_CHECKING:
    from smtpx.client.link import Link
    from smtpx.client.plan import Plan
    from smtpx.core.client import ClientMachine
    from smtpx.wire.replies import Reply

__all__ = [
    "MOST_ENCODED_OCTETS",
    "WRITE_OCTETS",
    "chunks_of",
    "flush_content",
    "hear_end",
    "put_small",
    "send_blocks",
    "send_chunks",
    "send_content",
]

# Chunks whose replies may be outstanding; more would hide a refusal for longer.
_CHUNKS_AHEAD: Final = 4

# One write of what is in memory. Each costs a call, and the kernel's buffers are some
# megabytes; a modem does it in the 3 minutes that there are for it.
WRITE_OCTETS: Final = 256 * 1024

# A message up to this size is encoded as a whole, which takes its size once more where
# a line starts with a dot. Larger ones are encoded block by block.
MOST_ENCODED_OCTETS: Final = 8 * 1024 * 1024

_CODE_CLOSING: Final = 421


async def send_content(
    link: Link, payload: Payload, *, is_ascii_only: bool = False
) -> None:
    """Send a message behind a 354, and hear the replies to its end.

    Raises:
        DataRefused: the server had enough before the end; the connection is lost.
        NotSupported: content over 127 where it may not be; likewise.
    """
    machine = link.machine
    if not put_small(machine, payload):
        await send_blocks(link, payload, is_ascii_only=is_ascii_only)
    machine.end_content()
    link.is_end_sent = not link.is_write_broken
    await link.flush()
    link.end_replies.append((await link.next_answer("data_end"))[1])
    if machine.is_waiting:
        await hear_end(link)
    link.is_end_sent = False


def put_small(machine: ClientMachine, payload: Payload) -> bool:
    """Put a small message behind a 354, to share a write with its final dot.

    Returns:
        Whether it was small.
    """
    content = payload.content
    if content is None or len(content) > BLOCK_OCTETS:
        return False
    data = payload.encode()
    if len(data) > BLOCK_OCTETS:
        return False
    machine.send_ready(data)
    return True


async def hear_end(link: Link) -> None:
    """Hear the replies to the end of a message into `Link.end_replies`.

    One reply; in LMTP one for each accepted recipient.
    """
    end_replies = link.end_replies
    end_replies.append((await link.next_answer("data_end"))[1])
    while link.machine.is_waiting:
        end_replies.append(await link.next_reply("data_end"))
    link.is_end_sent = False


async def send_blocks(link: Link, payload: Payload, *, is_ascii_only: bool) -> None:
    """Send a message behind a 354, but for its end; the last octets may be unwritten.

    Raises:
        DataRefused: the server had enough before the end; the connection is lost.
        NotSupported: content over 127 where it may not be; likewise.
    """
    machine, content = link.machine, payload.content
    if content is not None and len(content) <= MOST_ENCODED_OCTETS:
        whole = memoryview(payload.encode())
        for start in range(0, len(whole), WRITE_OCTETS):
            machine.send_ready(whole[start : start + WRITE_OCTETS])
            await flush_content(link)
        return
    has_crlf = content is not None
    async with aclosing(_blocks(payload, is_ascii_only=is_ascii_only)) as blocks:
        async for block in blocks:
            machine.send_content(bytes(block), has_crlf=has_crlf)
            await flush_content(link)


async def flush_content(link: Link) -> None:
    """Write content; raise the refusal that a server may send before its end."""
    await link.flush("data_block")
    if link.machine.is_waiting:
        return
    reply = await link.overhear()
    if reply is not None:
        raise DataRefused(
            "the server refused the message before its end",
            reply=reply,
            command="DATA",
            phase="data_block",
        )


async def _blocks(
    payload: Payload, *, is_ascii_only: bool, size: int = BLOCK_OCTETS
) -> AsyncGenerator[bytes | memoryview, None]:
    """Yield the content in blocks; what the caller's stream raises is a SourceError."""
    content = payload.content
    if content is not None:
        whole = memoryview(content)
        for start in range(0, len(content), size):
            yield whole[start : start + size]
        return
    assert payload.blocks is not None  # noqa: S101 - a payload has one of the two
    while True:
        try:
            block = await anext(payload.blocks, b"")
        except Exception as error:
            raise SourceError from error
        if not block:
            return
        if is_ascii_only and not block.isascii():
            raise NotSupported(
                "the server does not offer 8BITMIME, and the message turned out to "
                "hold octets over 127",
                command="DATA",
                phase="data_block",
            )
        yield block


async def send_chunks(link: Link, plan: Plan) -> None:
    """Send the content with BDAT, and hear the replies to the last chunk.

    Raises:
        DataRefused: the server refused a chunk before the last.
    """
    machine = link.machine
    # In LMTP the last chunk gets several replies, unless one before it failed, so it
    # has to be known how those went.
    ahead = _CHUNKS_AHEAD if machine.may_pipeline and not machine.is_lmtp else 0
    outstanding = 0
    async with aclosing(chunks_of(plan)) as chunks:
        async for chunk, is_last in chunks:
            machine.send_chunk(chunk, is_last=is_last)
            link.is_end_sent = is_last and not link.is_write_broken
            await link.flush("data_block")
            outstanding += not is_last
            while outstanding > (0 if is_last or link.is_write_broken else ahead):
                reply = await link.next_reply("data_block")
                outstanding -= 1
                if not reply.is_positive:
                    await _refuse_chunks(link, reply)
    await hear_end(link)


async def _refuse_chunks(link: Link, reply: Reply) -> NoReturn:
    """Hear what the chunks behind a refused one are answered with, and raise.

    Whatever becomes of the connection meanwhile: the refusal is what counts.
    """
    with contextlib.suppress(SendError, OSError, EOFError, BadReply):
        while link.machine.is_waiting and reply.code != _CODE_CLOSING:
            await link.next_reply("data_block")
    link.is_end_sent = False
    raise chunk_refused(reply)


async def chunks_of(
    plan: Plan, *, size: int = BLOCK_OCTETS
) -> AsyncGenerator[tuple[bytes | memoryview, bool], None]:
    """Yield the chunks, each with whether it is the last.

    Args:
        plan: says what of.
        size: in octets, of what is in memory.
    """
    payload = plan.payload
    is_binary = plan.mail.options.body is BodyType.BINARYMIME
    normalizer = LineNormalizer()
    is_ready = is_binary or payload.content is not None
    held: bytes | memoryview | None = None
    blocks = _blocks(payload, is_ascii_only=plan.is_ascii_only, size=size)
    async with aclosing(blocks):
        async for block in blocks:
            if held is not None:
                yield held, False
            held = block if is_ready else normalizer.encode(bytes(block))
    if held is None or not is_ready:
        held = bytes(held or b"") + (b"" if is_ready else normalizer.finish())
    yield held, True

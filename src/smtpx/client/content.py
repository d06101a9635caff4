"""Getting the content across: behind a 354, or in chunks.

What the server says before the end is heard: one that has had enough of a message says
so and closes, and its reply is worth more than "broken pipe".
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from smtpx.client.link import SourceError
from smtpx.client.message import BLOCK_OCTETS, Payload
from smtpx.errors import DataRefused, NotSupported
from smtpx.wire.framing import LineNormalizer
from smtpx.wire.options import BodyType

if TYPE_CHECKING:
    from smtpx.client.link import Link
    from smtpx.client.plan import Plan
    from smtpx.wire.replies import Reply

__all__ = ["send_chunks", "send_content"]

# Chunks whose replies may be outstanding; more would hide a refusal for longer.
_CHUNKS_AHEAD: Final = 4


async def send_content(
    link: Link, payload: Payload, *, is_ascii_only: bool = False
) -> list[Reply]:
    """Send a message behind a 354, and read the replies to its end.

    Returns:
        One reply; in LMTP one for each accepted recipient.

    Raises:
        DataRefused: the server had enough before the end; the connection is lost.
        NotSupported: content over 127 where it may not be; likewise.
    """
    machine, content = link.machine, payload.content
    if content is not None and len(content) <= BLOCK_OCTETS:
        # Content and final dot share a write.
        machine.send_content(content, has_crlf=True)
    else:
        has_crlf = content is not None
        async with aclosing(_blocks(payload, is_ascii_only=is_ascii_only)) as blocks:
            async for block in blocks:
                machine.send_content(block, has_crlf=has_crlf)
                await _flush_content(link)
    machine.end_content()
    link.is_end_sent = True
    await _flush_content(link)
    replies = [(await link.next_answer("data_end"))[1]]
    while machine.is_waiting:
        replies.append(await link.next_reply("data_end"))
    link.is_end_sent = False
    return replies


async def _flush_content(link: Link) -> None:
    """Write content; if the server stopped reading, find out what it said."""
    machine = link.machine
    try:
        timeout = link.left("data_block")
        await link.channel.send(machine.data_to_send(), timeout=timeout)
    except TimeoutError:
        raise
    except OSError:
        await _hear_last_words(link)
        raise
    if link.channel.has_received and not machine.is_waiting:
        await _hear_last_words(link)


async def _hear_last_words(link: Link) -> None:
    """Raise the refusal that a server sent before the end of the message, if any."""
    machine = link.machine
    try:
        data = await link.channel.receive(timeout=link.left("data_block"))
    except OSError:
        return
    if not data:
        return
    machine.receive_data(data)
    answer = machine.next_reply()
    if answer is not None and answer[1].code >= 400:
        raise DataRefused(
            "the server refused the message before its end",
            reply=answer[1],
            command="DATA",
            phase="data_block",
        )


async def _blocks(
    payload: Payload, *, is_ascii_only: bool
) -> AsyncGenerator[bytes, None]:
    """Yield the content in blocks; what the caller's stream raises is a SourceError."""
    content = payload.content
    if content is not None:
        for start in range(0, len(content), BLOCK_OCTETS):
            yield content[start : start + BLOCK_OCTETS]
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


async def send_chunks(link: Link, plan: Plan) -> list[Reply]:
    """Send the content with BDAT; return the replies to the last chunk."""
    machine = link.machine
    # In LMTP the last chunk gets several replies, unless one before it failed, so it
    # has to be known how those went.
    ahead = _CHUNKS_AHEAD if machine.may_pipeline and not machine.is_lmtp else 0
    outstanding = 0
    replies: list[Reply] = []
    async with aclosing(_chunks(plan)) as chunks:
        async for chunk, is_last in chunks:
            machine.send_chunk(chunk, is_last=is_last)
            link.is_end_sent = is_last
            await link.flush("data_block")
            outstanding += 1
            while outstanding > (0 if is_last else ahead):
                reply = await link.next_reply("data_end" if is_last else "data_block")
                outstanding -= 1
                if is_last and not outstanding:
                    replies.append(reply)
                elif not reply.is_positive:
                    await _refuse_chunks(link, reply, outstanding)
    while machine.is_waiting:
        replies.append(await link.next_reply("data_end"))
    link.is_end_sent = False
    return replies


async def _refuse_chunks(link: Link, reply: Reply, outstanding: int) -> None:
    """Read what the chunks behind a refused one are answered with, and raise."""
    for _ in range(outstanding):
        await link.next_reply("data_block")
    link.is_end_sent = False
    raise DataRefused(
        "the server refused a chunk of the message",
        reply=reply,
        command="BDAT",
        phase="data_block",
    )


async def _chunks(plan: Plan) -> AsyncGenerator[tuple[bytes, bool], None]:
    """Yield the chunks, each with whether it is the last."""
    payload = plan.payload
    is_binary = plan.mail.options.body is BodyType.BINARYMIME
    normalizer = LineNormalizer()
    is_ready = is_binary or payload.content is not None
    held: bytes | None = None
    blocks = _blocks(payload, is_ascii_only=plan.is_ascii_only)
    async with aclosing(blocks):
        async for block in blocks:
            if held is not None:
                yield held, False
            held = block if is_ready else normalizer.encode(block)
    yield (held or b"") + (b"" if is_ready else normalizer.finish()), True

"""The loads that ``smtp-source`` cannot send: over TLS, and by BDAT.

Over TLS it talks as ``smtp-source`` does, a command after the reply to the one before,
over connections that are all at it at once. By BDAT it is smtpx's own ``send_many``.
Its CPU time is not counted. ``python -m benchmarks.load --help``.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
from typing import TYPE_CHECKING

import smtpx
from benchmarks.loops import EVENT_LOOPS
from benchmarks.processes import HOST
from benchmarks.send import RECIPIENT, SENDER, message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KINDS = ("starttls", "tls", "handshake", "bdat")


class Dialogue:
    """A connection under TLS, and what is said over it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Speak over these streams."""
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(
        cls, port: int, context: ssl.SSLContext, *, is_implicit: bool
    ) -> Dialogue:
        """Connect, and shake hands."""
        streams = await asyncio.open_connection(
            HOST, port, ssl=context if is_implicit else None
        )
        dialogue = cls(*streams)
        await dialogue._hear(b"220")
        await dialogue.say(b"EHLO bench.example", b"250")
        if not is_implicit:
            await dialogue.say(b"STARTTLS", b"220")
            await dialogue._writer.start_tls(context, server_hostname=HOST)
            await dialogue.say(b"EHLO bench.example", b"250")
        return dialogue

    async def say(self, octets: bytes, expected: bytes) -> None:
        """Send a command, or content, and hear its reply."""
        self._writer.write(octets + b"\r\n")
        await self._hear(expected)

    async def _hear(self, expected: bytes) -> None:
        while True:
            line = await self._reader.readline()
            if line[:3] != expected:
                raise RuntimeError(f"expected {expected!r}, got {line!r}")
            if line[3:4] != b"-":
                return

    async def send(self, content: bytes) -> None:
        """Send one message."""
        await self.say(b"MAIL FROM:<%b>" % SENDER.encode(), b"250")
        await self.say(b"RCPT TO:<%b>" % RECIPIENT.encode(), b"250")
        await self.say(b"DATA", b"354")
        await self.say(content, b"250")

    async def quit(self) -> None:
        """Say goodbye, and close."""
        await self.say(b"QUIT", b"221")
        self._writer.close()
        await self._writer.wait_closed()


async def send_over_tls(options: argparse.Namespace) -> None:
    """Send all messages, over several connections at once."""
    context = ssl.create_default_context(cafile=options.authority)
    content = message(options.octets) + b"."
    left = iter(range(options.messages))

    async def work() -> None:
        dialogue: Dialogue | None = None
        for _ in left:
            if dialogue is None:
                dialogue = await Dialogue.connect(
                    options.port, context, is_implicit=options.kind == "tls"
                )
            if options.kind != "handshake":
                await dialogue.send(content)
            if not options.keep:
                await dialogue.quit()
                dialogue = None
        if dialogue is not None:
            await dialogue.quit()

    async with asyncio.TaskGroup() as group:
        for _ in range(options.connections):
            group.create_task(work())


def send_by_bdat(options: argparse.Namespace) -> None:
    """Send all messages over one connection, in bulk."""
    content = message(options.octets)

    def letters() -> Iterator[smtpx.Outgoing]:
        for _ in range(options.messages):
            yield smtpx.Outgoing(content, SENDER, RECIPIENT)

    settings = smtpx.ClientOptions(
        hello_name="bench.example", chunking=smtpx.Chunking.ALWAYS
    )
    with smtpx.Client(f"smtp+plain://{HOST}:{options.port}", options=settings) as one:
        for outcome in one.send_many(letters()):
            if outcome.error is not None:
                raise outcome.error


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--octets", type=int, default=4096)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="connections, not one each")
    parser.add_argument("--authority", help="whom to trust, for TLS: a file")
    options = parser.parse_args(arguments)
    if options.kind == "bdat":
        send_by_bdat(options)
        return
    factory = EVENT_LOOPS.get("uvloop", asyncio.new_event_loop)
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(send_over_tls(options))


if __name__ == "__main__":
    main()

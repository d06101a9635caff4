"""The servers in Python that are measured: ``python -m benchmarks.serve NAME``.

Each reads every message and counts messages and octets. The port is printed as
one line of JSON at the beginning, the counts as another one at the end, so that
the measuring program knows that nothing was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, cast

from benchmarks.loops import EVENT_LOOPS
from benchmarks.measure import say
from benchmarks.processes import HOST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiosmtpd.smtp import Envelope, Session

    Serve = Callable[["Counts", Callable[[int], Awaitable[None]]], Awaitable[None]]

# Beyond every limit of a server that nobody has told otherwise; for benchmarks.scale.
MANY = 1_000_000


@dataclass
class Counts:
    """What was received."""

    messages: int = 0
    octets: int = 0


async def serve_aiosmtpd(
    counts: Counts, ready: Callable[[int], Awaitable[None]]
) -> None:
    """Serve with aiosmtpd, and a handler that looks at the message."""
    from aiosmtpd.smtp import SMTP  # noqa: PLC0415 - only what is measured is loaded

    class Handler:
        async def handle_DATA(
            self, server: SMTP, session: Session, envelope: Envelope
        ) -> str:
            counts.messages += 1
            counts.octets += len(envelope.original_content or b"")
            return "250 2.0.0 OK"

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(Handler(), hostname="bench.example"), HOST, 0, backlog=1000
    )
    async with server:
        await ready(server.sockets[0].getsockname()[1])


async def serve_bare(counts: Counts, ready: Callable[[int], Awaitable[None]]) -> None:
    """Greet, and no more: what a connection costs the event loop."""

    class Greeter(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            counts.messages += 1
            # That of uvloop is none of asyncio's by its class.
            cast("asyncio.Transport", transport).write(b"220 bench.example ESMTP\r\n")

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Greeter, HOST, 0, backlog=1000)
    async with server:
        await ready(server.sockets[0].getsockname()[1])


async def serve_smtpx(
    counts: Counts,
    ready: Callable[[int], Awaitable[None]],
    *,
    is_large: bool = False,
) -> None:
    """Serve with smtpx: an ordinary session, and every check on."""
    import smtpx  # noqa: PLC0415 - only what is measured is loaded

    class Inbox(smtpx.Session):
        async def mail(
            self, reverse_path: smtpx.Mailbox | None, options: smtpx.MailOptions
        ) -> smtpx.Reply | None:
            return None

        async def rcpt(
            self, forward_path: smtpx.Mailbox, options: smtpx.RcptOptions
        ) -> smtpx.Reply | None:
            return None

        async def data(self, body: smtpx.Body) -> smtpx.Reply | None:
            octets = 0
            async for block in body:
                octets += len(block)
            counts.messages += 1
            counts.octets += octets
            return None

    options = smtpx.ServerOptions(hostname="bench.example")
    if is_large:
        limits = smtpx.Limits(max_message_octets=None, max_recipients=MANY)
        options = replace(options, limits=limits, max_connections=MANY)
    async with smtpx.Server(Inbox, f"{HOST}:0", options=options) as server:
        await ready(int(server.addresses[0].rpartition(":")[2]))


SERVERS: dict[str, Serve] = {
    "aiosmtpd": serve_aiosmtpd,
    "bare": serve_bare,
    "smtpx": serve_smtpx,
    "smtpx-large": partial(serve_smtpx, is_large=True),
}


async def serve(name: str, counts: Counts) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def ready(port: int) -> None:
        say(json.dumps({"port": port}))
        await stop.wait()

    await SERVERS[name](counts, ready)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("server", choices=list(SERVERS))
    parser.add_argument("--loop", choices=list(EVENT_LOOPS), default="asyncio")
    options = parser.parse_args(arguments)
    counts = Counts()
    with asyncio.Runner(loop_factory=EVENT_LOOPS[options.loop]) as runner:
        runner.run(serve(options.server, counts))
    say(json.dumps(asdict(counts)))


if __name__ == "__main__":
    main()

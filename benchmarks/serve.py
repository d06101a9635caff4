"""The servers in Python that are measured: ``python -m benchmarks.serve NAME``.

Each reads every message and counts messages and octets. The port is printed as
one line of JSON at the beginning, the counts as another one at the end, so that
the measuring program knows that nothing was lost. Of several workers, each prints its
own counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import ssl
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, cast

from benchmarks.loops import TLS_LOOPS
from benchmarks.measure import say
from benchmarks.processes import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from aiosmtpd.smtp import Envelope, Session

    import smtpx

    # Takes counts, and what to do when it serves; some take a `way`, or `is_large`.
    Serve = Callable[..., Awaitable[None]]

# Beyond every limit of a server that nobody has told otherwise; for benchmarks.scale.
MANY = 1_000_000


@dataclass
class Counts:
    """What was received."""

    messages: int = 0
    octets: int = 0


@dataclass(frozen=True)
class Way:
    """How to serve.

    Attributes:
        name: ``smtp``, ``lmtp``, ``starttls`` or ``tls``.
        certificate: for the latter two, a file with chain and key.
    """

    name: str = "smtp"
    certificate: str | None = None

    @property
    def context(self) -> ssl.SSLContext | None:
        """Made of the certificate."""
        if self.certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate)
        return context


PLAIN = Way()


async def serve_aiosmtpd(
    counts: Counts, ready: Callable[[int], Awaitable[None]], *, way: Way = PLAIN
) -> None:
    """Serve with aiosmtpd, and a handler that looks at the message."""
    from aiosmtpd.lmtp import LMTP  # noqa: PLC0415 - only what is measured is loaded
    from aiosmtpd.smtp import SMTP  # noqa: PLC0415

    class Handler:
        async def handle_DATA(
            self, server: SMTP, session: Session, envelope: Envelope
        ) -> str:
            counts.messages += 1
            counts.octets += len(envelope.original_content or b"")
            # By LMTP it is the handler who says it to each recipient.
            replies = len(envelope.rcpt_tos) if way.name == "lmtp" else 1
            return "\r\n".join(["250 2.0.0 OK"] * replies)

    context = way.context
    is_implicit = way.name == "tls"
    protocol = partial(
        LMTP if way.name == "lmtp" else SMTP,
        Handler(),
        hostname="bench.example",
        tls_context=None if is_implicit else context,
    )
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        protocol, HOST, 0, backlog=1000, ssl=context if is_implicit else None
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


async def serve_answers(
    counts: Counts, ready: Callable[[int], Awaitable[None]]
) -> None:
    """Answer as it goes, and check nothing: what the event loop alone costs.

    It takes the first octets of a segment for a command, and the last ones for the end
    of a message: enough for clients that wait for each reply, and no server.
    """
    answers = {
        b"MAIL": b"250 2.1.0 Ok\r\n",
        b"RCPT": b"250 2.1.5 Ok\r\n",
        b"DATA": b"354 go on\r\n",
        b"QUIT": b"221 2.0.0 bye\r\n",
    }

    class Answers(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            # That of uvloop is none of asyncio's by its class.
            self.transport = cast("asyncio.Transport", transport)
            self.is_content = False
            self.tail = b""
            self.transport.write(b"220 bench.example ESMTP\r\n")

        def data_received(self, data: bytes) -> None:
            if self.is_content:
                counts.octets += len(data)
                self.tail = (self.tail + data[-5:])[-5:]
                if self.tail != b"\r\n.\r\n":
                    return
                counts.messages += 1
                self.is_content = False
                self.transport.write(b"250 2.0.0 Ok\r\n")
                return
            verb = data[:4]
            self.is_content = verb == b"DATA"
            self.transport.write(answers.get(verb, b"250 bench.example\r\n"))
            if verb == b"QUIT":
                self.transport.close()

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answers, HOST, 0, backlog=1000)
    async with server:
        await ready(server.sockets[0].getsockname()[1])


async def serve_smtpx(
    counts: Counts,
    ready: Callable[[int], Awaitable[None]],
    *,
    is_large: bool = False,
    way: Way = PLAIN,
) -> None:
    """Serve with smtpx: an ordinary session, and every check on."""
    address = f"{HOST}:0"
    async with make_smtpx(counts, address, is_large=is_large, way=way) as server:
        await ready(int(server.addresses[0].rpartition(":")[2]))


def make_smtpx(
    counts: Counts,
    listeners: str | Sequence[smtpx.Listener],
    *,
    is_large: bool = False,
    way: Way = PLAIN,
) -> smtpx.Server:
    """Make the server."""
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

    options = smtpx.ServerOptions(
        hostname="bench.example",
        lmtp=way.name == "lmtp",
        tls=way.context,
        implicit_tls=way.name == "tls",
    )
    if is_large:
        limits = smtpx.Limits(max_message_octets=None, max_recipients=MANY)
        options = replace(options, limits=limits, max_connections=MANY)
    return smtpx.Server(Inbox, listeners, options=options)


@asynccontextmanager
async def make_worker(
    listeners: Sequence[smtpx.Listener],
) -> AsyncIterator[smtpx.Server]:
    """Make the server of one of several processes, which tells what it received."""
    counts = Counts()
    async with make_smtpx(counts, listeners) as server:
        yield server
    say(json.dumps(asdict(counts)))


def serve_with_workers(workers: int, loop: str) -> None:
    """Serve with several processes until SIGTERM."""
    import smtpx  # noqa: PLC0415 - only what is measured is loaded

    def tell(addresses: tuple[str, ...]) -> None:
        say(json.dumps({"port": int(addresses[0].rpartition(":")[2])}))

    smtpx.run_workers(
        make_worker,
        f"{HOST}:0",
        workers=workers,
        uvloop=loop == "uvloop",
        serving=tell,
    )


SERVERS: dict[str, Serve] = {
    "aiosmtpd": serve_aiosmtpd,
    "answers": serve_answers,
    "bare": serve_bare,
    "smtpx": serve_smtpx,
    "smtpx-large": partial(serve_smtpx, is_large=True),
}


WAYS = ("smtp", "lmtp", "starttls", "tls")


async def serve(name: str, counts: Counts, way: Way) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def ready(port: int) -> None:
        say(json.dumps({"port": port}))
        await stop.wait()

    # One that knows a single way need not be told.
    serve_so = SERVERS[name] if way == PLAIN else partial(SERVERS[name], way=way)
    await serve_so(counts, ready)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("server", choices=list(SERVERS))
    parser.add_argument("--loop", choices=list(TLS_LOOPS), default="asyncio")
    parser.add_argument("--way", choices=WAYS, default="smtp")
    parser.add_argument("--certificate", help="chain and key, for TLS: a file")
    parser.add_argument("--workers", type=int, help="processes; of smtpx only")
    options = parser.parse_args(arguments)
    if options.workers is not None:
        serve_with_workers(options.workers, options.loop)
        return
    counts = Counts()
    way = Way(options.way, options.certificate)
    with asyncio.Runner(loop_factory=TLS_LOOPS[options.loop]) as runner:
        runner.run(serve(options.server, counts, way))
    say(json.dumps(asdict(counts)))


if __name__ == "__main__":
    main()

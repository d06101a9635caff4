"""A server on loopback, a client that speaks octets, and a clock that does not run."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from smtpx.server.body import Body
from smtpx.server.listener import Server
from smtpx.server.options import ServerOptions, ServerTimeouts
from smtpx.server.session import ConnectionInfo, Session
from smtpx.server.sockets import Address
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

T = TypeVar("T")

#: Long enough for a busy machine; a test that reaches it hangs otherwise.
PATIENCE = 300.0

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def run_on(factory: LoopFactory, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a scenario; it fails rather than hangs."""

    async def patiently() -> T:
        async with asyncio.timeout(PATIENCE):
            return await coroutine

    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(patiently())


class Peer:
    """The client's end of a connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, octets: bytes) -> None:
        """Send without waiting for anything."""
        self.writer.write(octets)

    async def reply(self) -> str:
        """Read one reply; its lines joined by LF."""
        lines: list[str] = []
        while not lines or lines[-1][3:4] == "-":
            line = await self.reader.readuntil(b"\r\n")
            lines.append(line.decode().removesuffix("\r\n"))
        return "\n".join(lines)

    async def codes(self, count: int) -> list[int]:
        return [int((await self.reply())[:3]) for _ in range(count)]

    async def say(self, octets: bytes, count: int = 1) -> list[int]:
        """Send, and read the codes of some replies."""
        self.send(octets)
        return await self.codes(count)

    async def ask(self, octets: bytes) -> str:
        self.send(octets)
        return await self.reply()

    async def rest(self) -> bytes:
        """Read all there is up to the end of the connection."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b"(reset)"

    async def rest_of_one(self) -> str:
        """Read one line; what there is of it at the end of the connection."""
        try:
            return (await self.reader.readline()).decode()
        except ConnectionError:
            return "(reset)"

    async def start_tls(self, context: ssl.SSLContext) -> None:
        await self.writer.start_tls(context, server_hostname="mx.test")

    def abort(self) -> None:
        """Vanish: the connection is reset, whatever was read of it."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        # Closing a TLS transport twice breaks it in Python 3.11.2.
        if not self.writer.is_closing():
            self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@dataclass
class Served:
    """A server that listens, and the peers that connected to it."""

    server: Server
    peers: list[Peer] = field(default_factory=list)

    async def connect(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        sock: socket.socket | None = None,
        index: int = 0,
        limit: int = 2**16,
    ) -> Peer:
        """Connect; nothing is read yet."""
        address = self.server.addresses[index]
        name = "mx.test" if tls is not None else None
        if sock is not None:
            sock.setblocking(False)
            host, port = address.rsplit(":", 1)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, (host, int(port)))
            streams = await asyncio.open_connection(sock=sock, limit=limit)
        elif address.startswith("unix:"):
            streams = await asyncio.open_unix_connection(
                address.removeprefix("unix:"), limit=limit
            )
        else:
            host, port = address.rsplit(":", 1)
            streams = await asyncio.open_connection(
                host.strip("[]"), int(port), ssl=tls, server_hostname=name, limit=limit
            )
        peer = Peer(*streams)
        self.peers.append(peer)
        return peer

    async def greeted(self, tls: ssl.SSLContext | None = None) -> Peer:
        peer = await self.connect(tls=tls)
        assert await peer.codes(1) == [220]
        return peer

    async def ready(self, tls: ssl.SSLContext | None = None) -> Peer:
        peer = await self.greeted(tls)
        options = self.server.options
        verb = b"LHLO" if options.lmtp or options.lmtp_too else b"EHLO"
        assert await peer.say(verb + b" c.test\r\n") == [250]
        return peer


@contextlib.asynccontextmanager
async def serve(
    session: Callable[[ConnectionInfo], Session],
    address: Address | list[Address] = "127.0.0.1:0",
    timeouts: ServerTimeouts | None = None,
    **options: Any,  # noqa: ANN401 - the fields of ServerOptions
) -> AsyncIterator[Served]:
    """Serve until the end of the block."""
    settings = ServerOptions(
        hostname="mx.test", timeouts=timeouts or ServerTimeouts(), **options
    )
    async with Server(session, address, options=settings) as server:
        served = Served(server)
        try:
            yield served
        finally:
            for peer in served.peers:
                # At once, since a scenario may fail with much unsent.
                peer.writer.transport.abort()
                await peer.close()


class Recorder(Session):
    """A session that accepts all, and keeps what it was told.

    ``log`` is of the class, since STARTTLS makes a new object.
    """

    log: list[str]
    messages: list[bytes]

    async def data(self, body: Body) -> Reply | None:
        self.log.append("data")
        self.messages.append(await body.read())
        return None

    async def reset(self) -> None:
        self.log.append("reset")

    async def closed(self, reason: str) -> None:
        self.log.append(f"closed: {reason}")


def recorder(**members: object) -> type[Any]:
    """Make a session class with a log of its own, and some other members."""
    return type("Recorded", (Recorder,), {"log": [], "messages": [], **members})


def tight_listener() -> socket.socket:
    """Make a socket whose connections hold little in the kernel."""
    sock = tight_socket()
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


def tight_socket() -> socket.socket:
    """Make a socket that holds little in the kernel, as do those it accepts."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    return sock


async def settle(size: Callable[[], int]) -> int:
    """Let the loop turn until a size stays as it is; return it."""
    while True:
        before = size()
        for _ in range(300):
            await asyncio.sleep(0)
        if size() == before:
            return before


class Signal:
    """Waits, on any loop, until something was said to have happened some times."""

    def __init__(self) -> None:
        self.count = 0
        self._condition = asyncio.Condition()

    async def set(self) -> None:
        async with self._condition:
            self.count += 1
            self._condition.notify_all()

    async def wait(self, count: int = 1) -> None:
        async with self._condition:
            await self._condition.wait_for(lambda: self.count >= count)


async def until(is_so: Callable[[], bool]) -> None:
    """Let the loop turn until something is so; the scenario's patience bounds it."""
    while not is_so():  # noqa: ASYNC110 - what happens inside the server sets no event
        await asyncio.sleep(0)


# --- A clock that moves when nobody has anything to do. ---


class IdleSelector(selectors.BaseSelector):
    """Never waits: where it would, time passes at once.

    Both ends of every connection are in one process, so when nothing is ready and
    nothing becomes so in a moment, all wait for a timer.
    """

    #: What the kernel may need to pass octets from one socket to another, in seconds.
    MOMENT = 0.002

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.now = 1_000.0

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._selector.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            return self._selector.select(PATIENCE)
        ready = self._selector.select(self.MOMENT)
        if not ready:
            self.now += timeout
        return ready

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: object = None
    ) -> selectors.SelectorKey:
        return self._selector.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._selector.unregister(fileobj)

    def modify(
        self, fileobj: FileDescriptorLike, events: int, data: object = None
    ) -> selectors.SelectorKey:
        return self._selector.modify(fileobj, events, data)

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._selector.get_map()

    def close(self) -> None:
        self._selector.close()


class ClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when nobody has anything to do."""

    def __init__(self) -> None:
        self._idle = IdleSelector()
        super().__init__(self._idle)

    def time(self) -> float:
        return self._idle.now

    def spend(self, seconds: float) -> None:
        """Let time pass, as in a callback that takes so long."""
        self._idle.now += seconds

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        # By this clock, a thread that takes a moment to end takes five minutes.
        await super().shutdown_default_executor()


def unix_address(folder: Path) -> str:
    return f"unix:{folder / 'smtp'}"


async def until_gone(served: Served, step: float) -> None:
    """Let time pass until no connection is left; on a `ClockLoop` it costs none."""
    while served.server.connections:  # noqa: ASYNC110 - the clock is what is tested
        await asyncio.sleep(step)

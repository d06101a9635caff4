"""Channels of each kind over a socket pair, whose other end a thread plays."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import pytest
import trustme

from smtpx.net import aio, blocking, tls

if TYPE_CHECKING:
    from concurrent.futures import Future

    from smtpx.net.channel import Channel

T = TypeVar("T")

Scenario = Callable[["Channel"], Coroutine[object, object, T]]

# Long enough for a busy machine; a test that reaches it hangs otherwise.
PATIENCE = 120.0


def run_without_loop(coroutine: Coroutine[object, object, T]) -> T:
    """Run a coroutine that must not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    coroutine.close()
    raise AssertionError("a blocking channel suspended")


@dataclass
class Front:
    """One kind of channel, and how to run a conversation over it."""

    name: str

    @property
    def is_blocking(self) -> bool:
        return self.name.startswith("blocking")

    def run(self, sock: socket.socket, scenario: Scenario[T]) -> T:
        if self.is_blocking:
            return run_without_loop(self._play_blocking(sock, scenario))
        if self.name == "uvloop":
            import uvloop  # noqa: PLC0415 - Windows has none

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(self._play_asyncio(sock, scenario))
        return asyncio.run(self._play_asyncio(sock, scenario))

    async def _play_blocking(self, sock: socket.socket, scenario: Scenario[T]) -> T:
        return await self._play(blocking.BlockingChannel(sock), scenario)

    async def _play_asyncio(self, sock: socket.socket, scenario: Scenario[T]) -> T:
        return await self._play(await aio.wrap_socket(sock), scenario)

    async def _play(self, channel: Channel, scenario: Scenario[T]) -> T:
        try:
            return await scenario(channel)
        finally:
            await channel.close()


@pytest.fixture(params=["blocking", "blocking by poll", "asyncio", "uvloop"])
def front(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Front:
    if request.param == "blocking by poll":
        # As on a system without it.
        monkeypatch.delattr(socket, "SO_RCVTIMEO")
    return Front(request.param)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE)
    with ours, theirs:
        yield ours, theirs


Play = Callable[[Callable[[], T]], "Future[T]"]


@pytest.fixture
def play() -> Iterator[Play[object]]:
    """Play the peer in a thread; what it raises fails the test."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        played: list[Future[object]] = []

        def start(part: Callable[[], object]) -> Future[object]:
            played.append(pool.submit(part))
            return played[-1]

        yield start
        for future in played:
            future.result(PATIENCE)


@dataclass
class Certificates:
    """A made-up authority: what a server shows, and what a client trusts."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mx.test").configure_cert(server)
    client = tls.client_context()
    authority.configure_trust(client)
    return Certificates(server, client)


__all__ = [
    "PATIENCE",
    "Awaitable",
    "Certificates",
    "Front",
    "Play",
    "Scenario",
    "run_without_loop",
    "threading",
]

"""A client that outlives the event loop that its connection was made in.

As in programs that call `asyncio.run` for each job, with one client or pool for all.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from smtpx.client.aio import AsyncClient
from smtpx.client.aio_pool import ClientPool
from smtpx.client.options import ClientOptions
from smtpx.client.pool_options import PoolOptions
from smtpx.errors import ConnectionLost
from smtpx.net import aio
from smtpx.testing.mail_server import MailServer, MailServerOptions
from tests.client.unreliable import UnreliableServer

if TYPE_CHECKING:
    from smtpx.wire.envelope import SendResult

MESSAGE = b"Subject: hi\r\n\r\nhello\r\n"
BOB: dict[str, Any] = {"sender": "a@a.test", "recipients": "b@b.test"}
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

Run = Callable[[Awaitable[Any]], Any]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    def run_in_new_loop(awaitable: Awaitable[Any]) -> object:
        async def main() -> object:
            return await awaitable

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(main())

    return run_in_new_loop


@pytest.fixture(params=["clear", "tls"])
def server(request: pytest.FixtureRequest) -> Iterator[MailServer]:
    with MailServer(MailServerOptions(tls=request.param == "tls")) as server:
        yield server


@contextmanager
def transports_may_be_left_open() -> Iterator[None]:
    """A loop that was closed leaves its transports to the collector, which warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def options_for(server: MailServer) -> ClientOptions:
    context = (
        server.certificates.client if server.url.startswith("smtp+starttls") else None
    )
    return ClientOptions(tls_context=context)


def test_a_client_connects_anew_in_each_loop(run: Run, server: MailServer) -> None:
    client = AsyncClient(server.url, options=options_for(server))

    async def send() -> SendResult:
        return await client.send(MESSAGE, **BOB)

    with transports_may_be_left_open():
        for _ in range(3):
            assert run(send()).reply.code == 250
        run(client.quit())
        assert not client.is_connected
    assert len(server.inbox) == 3


def test_the_clocks_of_two_loops_need_not_agree(server: MailServer) -> None:
    # uvloop's counts milliseconds, so no time may have passed; others begin at zero.
    client = AsyncClient(server.url, options=options_for(server))

    class Loop(asyncio.SelectorEventLoop):
        def __init__(self, shift: float) -> None:
            self.shift = shift
            super().__init__()

        def time(self) -> float:
            return super().time() - self.shift

    async def send() -> SendResult:
        return await client.send(MESSAGE, **BOB)

    with transports_may_be_left_open():
        for shift in (0.0, 1_000.0):
            with asyncio.Runner(loop_factory=partial(Loop, shift)) as runner:
                assert runner.run(send()).accepted


def test_a_pool_connects_anew_in_each_loop(run: Run, server: MailServer) -> None:
    pool = ClientPool(server.url, client_options=options_for(server))

    async def send() -> SendResult:
        return await pool.send(MESSAGE, **BOB)

    async def borrow() -> str:
        async with pool.client() as client:
            return str(await client.noop())

    with transports_may_be_left_open():
        for _ in range(2):
            assert run(send()).reply.code == 250
        assert run(borrow()).startswith("250")
        run(pool.close())
    assert len(server.inbox) == 2
    assert pool.statistics.opened == 3
    assert pool.statistics.connections == 0


def test_what_is_idle_is_closed_in_the_second_loop_too(run: Run) -> None:
    server = UnreliableServer()
    with server.running(), transports_may_be_left_open():
        pool = ClientPool(server.url, options=PoolOptions(max_idle=0.01))

        async def send() -> None:
            await pool.send(b"message 1\r\n", **BOB)

        async def send_and_wait() -> None:
            await send()
            await asyncio.to_thread(server.wait_until_closed)

        run(send())
        run(send_and_wait())


def test_a_connection_is_of_no_use_while_its_loop_stands_still(run: Run) -> None:
    """Whatever was written would never be answered."""
    mine = asyncio.new_event_loop()

    async def use(channel: aio.AsyncioChannel) -> None:
        with pytest.raises(ConnectionResetError, match="event loop"):
            await channel.send(b"NOOP\r\n", timeout=60)
        with pytest.raises(ConnectionResetError, match="event loop"):
            await channel.send(b"NOOP\r\n", timeout=60)
        assert await channel.receive(timeout=60) == b""
        await channel.close()

    async def connect(server: MailServer) -> aio.AsyncioChannel:
        channel = await aio.connect_tcp(server.host, server.port, timeout=60)
        assert (await channel.receive(timeout=60)).startswith(b"220 ")
        return channel

    with MailServer() as server:
        channel = mine.run_until_complete(connect(server))
        run(use(channel))
        second = mine.run_until_complete(connect(server))
        run(second.close())
        # The loop that it belongs to closes the socket.
        mine.run_until_complete(asyncio.sleep(0))
        mine.close()
        gc.collect()


def test_tasks_share_a_client_in_each_loop(run: Run) -> None:
    """In each, some wait for another: by that asyncio's locks are bound to a loop."""
    with MailServer() as server, transports_may_be_left_open():
        client = AsyncClient(server.url)

        async def send() -> None:
            await asyncio.gather(*(client.send(MESSAGE, **BOB) for _ in range(3)))

        run(send())
        run(send())
        run(client.quit())
        assert len(server.inbox) == 6


def test_what_a_loop_left_under_way_holds_up_no_other(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = AsyncClient(f"smtp+plain://127.0.0.1:{silent.getsockname()[1]}")
        mine = asyncio.new_event_loop()
        connecting = mine.create_task(client.connect())
        mine.run_until_complete(asyncio.sleep(0))
        # It has the lock, and its loop stands still.
        run(client.close())
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            mine.run_until_complete(connecting)
        mine.close()
        run(client.close())


def test_a_closed_loop_does_not_keep_a_client_from_being_closed(run: Run) -> None:
    with MailServer() as server, transports_may_be_left_open():
        client = AsyncClient(server.url)
        run(client.connect())
        assert client.is_connected
        assert not client.is_alive

        async def say() -> None:
            with pytest.raises(ConnectionLost):
                await client.noop()
            assert not client.is_connected
            await client.close()
            await client.connect()
            await client.quit()

        run(say())

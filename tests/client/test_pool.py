"""The pools against servers that lose connections, and under many callers."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from smtpx.client.aio_pool import ClientPool
from smtpx.client.blocking_pool import MOST_AT_ONCE, BlockingClientPool
from smtpx.client.blocking_runtime import run
from smtpx.client.options import ClientOptions, Timeouts
from smtpx.client.pool_options import PoolOptions
from smtpx.errors import Delivery, PoolUnavailable, SendError
from smtpx.server.listener import Server
from smtpx.server.options import ServerOptions
from smtpx.wire.envelope import SendResult
from tests.client.unreliable import UnreliableServer

if TYPE_CHECKING:
    from tests.client.conftest import Inbox

HOST = "127.0.0.1"
MESSAGES = 1_000
BOB: dict[str, Any] = {"sender": "a@a.test", "recipients": "b@b.test"}
SILENT: dict[str, Any] = {"sender": "silent@a.test", "recipients": "b@b.test"}
CLIENT_OPTIONS = ClientOptions(hello_name="client.test")

Outcome = SendResult | SendError


def body(number: int) -> bytes:
    return b"message %d\r\nmore\r\n" % number


def open_descriptors() -> set[str]:
    """List the sockets of this process."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def require_exactly_once(
    server: UnreliableServer, outcomes: dict[int, Outcome]
) -> Counter[str]:
    """Compare what callers were told with what the server took."""
    told: Counter[str] = Counter()
    for number, outcome in outcomes.items():
        taken = server.taken[f"message {number}"]
        if isinstance(outcome, SendResult):
            told["delivered"] += 1
            assert taken == 1, f"{number} was told delivered, and taken {taken} times"
        elif outcome.delivery is Delivery.UNKNOWN:
            told["unknown"] += 1
            assert taken <= 1, f"{number} was taken {taken} times"
        else:
            told[str(outcome.delivery)] += 1
            assert taken == 0, f"{number} was told {outcome!r}, and taken"
    assert sum(server.taken.values()) <= len(outcomes)
    return told


class Farewell(threading.Thread):
    """A server that answers QUIT when so many connections have said it."""

    def __init__(self, connections: int) -> None:
        super().__init__()
        self._listener = socket.create_server((HOST, 0))
        self.url = f"smtp+plain://{HOST}:{self._listener.getsockname()[1]}"
        self._count = connections
        self.barrier = threading.Barrier(connections, timeout=120)
        self.farewells = 0

    def run(self) -> None:
        with ThreadPoolExecutor(self._count) as executor, self._listener:
            for _ in range(self._count):
                executor.submit(self.serve, self._listener.accept()[0])

    def serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb", buffering=0) as stream:
            stream.write(b"220 mx.test\r\n")
            for line in stream:
                if line == b"QUIT\r\n":
                    self.barrier.wait()
                    stream.write(b"221 bye\r\n")
                    self.farewells += 1
                    return
                stream.write(b"250 ok\r\n")


@pytest.mark.parametrize("count", [1, 2, 5])
def test_threads_close_all_connections_at_once(count: int) -> None:
    server = Farewell(count)
    server.start()
    pool = BlockingClientPool(
        server.url,
        options=PoolOptions(size=count),
        client_options=replace(CLIENT_OPTIONS, timeouts=Timeouts(quit=120)),
    )
    with pool, ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(pool.client())
    server.join()
    assert not server.barrier.broken
    assert server.farewells == count


@pytest.mark.parametrize("more", [0, 1])
def test_so_many_are_closed_at_once_and_no_more(
    more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that closes the pool does its share, and 31 help it."""
    helpers: list[threading.Thread] = []

    class Counted(threading.Thread):
        def start(self) -> None:
            helpers.append(self)
            super().start()

    closed: list[int] = []

    async def close(number: int) -> None:
        closed.append(number)

    pool = BlockingClientPool("smtp+plain://mx.test")
    monkeypatch.setattr(threading, "Thread", Counted)
    count = MOST_AT_ONCE + more
    run(pool._pool._front.each(map(close, range(count))))
    assert sorted(closed) == list(range(count))
    assert len(helpers) == MOST_AT_ONCE - 1


@pytest.mark.parametrize(
    ("seed", "keywords"), [(1, ("PIPELINING",)), (2, ("PIPELINING", "CHUNKING"))]
)
def test_thousand_tasks_share_four_connections_that_break(
    seed: int, keywords: tuple[str, ...]
) -> None:
    before = open_descriptors()
    server = UnreliableServer(seed=seed, chance=0.03, keywords=keywords)
    outcomes: dict[int, Outcome] = {}

    async def send(pool: ClientPool, number: int) -> None:
        try:
            outcomes[number] = await pool.send(body(number), **BOB)
        except SendError as error:
            outcomes[number] = error

    async def main() -> None:
        options = PoolOptions(size=4, retry_delay=0.001)
        async with ClientPool(
            server.url, options=options, client_options=CLIENT_OPTIONS
        ) as pool:
            await asyncio.gather(*(send(pool, number) for number in range(MESSAGES)))
            statistics = pool.statistics
        assert len(asyncio.all_tasks()) == 1
        assert statistics.connections <= 4
        assert statistics.waiting == 0
        told = require_exactly_once(server, outcomes)
        assert statistics.delivered == told["delivered"]
        assert statistics.unknown == told["unknown"]
        assert statistics.not_sent == told["not sent"]
        assert statistics.refused == told["refused"]
        assert statistics.retried > 0

    with server.running():
        asyncio.run(main())
    assert len(outcomes) == MESSAGES
    assert sum(server.faults.values()) > 50
    assert server.taken.total() > MESSAGES / 2
    gc.collect()
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("seed", "keywords"), [(3, ("PIPELINING",)), (4, ("PIPELINING", "CHUNKING"))]
)
def test_thousand_threads_share_four_connections_that_break(
    seed: int, keywords: tuple[str, ...]
) -> None:
    before = open_descriptors()
    server = UnreliableServer(seed=seed, chance=0.03, keywords=keywords)
    outcomes: dict[int, Outcome] = {}
    # All of them are there before the first one sends.
    start = threading.Barrier(MESSAGES, timeout=120)

    def send(pool: BlockingClientPool, number: int) -> None:
        start.wait()
        try:
            outcomes[number] = pool.send(body(number), **BOB)
        except SendError as error:
            outcomes[number] = error

    options = PoolOptions(size=4, retry_delay=0.001)
    with (
        server.running(),
        BlockingClientPool(
            server.url, options=options, client_options=CLIENT_OPTIONS
        ) as pool,
        ThreadPoolExecutor(MESSAGES) as threads,
    ):
        for done in [threads.submit(send, pool, n) for n in range(MESSAGES)]:
            done.result()
        statistics = pool.statistics
    assert len(outcomes) == MESSAGES
    told = require_exactly_once(server, outcomes)
    assert statistics.delivered == told["delivered"]
    assert statistics.unknown == told["unknown"]
    assert statistics.not_sent == told["not sent"]
    assert statistics.refused == told["refused"]
    assert statistics.connections <= 4
    assert statistics.waiting == 0
    assert statistics.retried > 0
    assert sum(server.faults.values()) > 50
    assert server.taken.total() > MESSAGES / 2
    gc.collect()
    assert open_descriptors() == before


def test_connections_that_a_server_closes_are_replaced_and_nobody_notices() -> None:
    server = UnreliableServer(closes_after=1)

    async def main() -> None:
        async with ClientPool(server.url, client_options=CLIENT_OPTIONS) as pool:
            for number in range(5):
                await pool.send(body(number), **BOB)
                await asyncio.to_thread(server.wait_until_closed)
            # Where the end comes with the last reply the connection is not kept, so it
            # is none that has to be replaced.
            statistics = pool.statistics
            assert (statistics.opened, statistics.delivered) == (5, 5)
            assert (statistics.retried, statistics.not_sent) == (0, 0)

    with server.running():
        asyncio.run(main())
        with BlockingClientPool(server.url, client_options=CLIENT_OPTIONS) as pool:
            for number in range(5, 10):
                pool.send(body(number), **BOB)
                server.wait_until_closed()
            assert pool.statistics.opened == 5
            assert pool.statistics.replaced == 4
    assert set(server.taken.values()) == {1}
    assert server.taken.total() == 10


def test_tasks_are_served_in_the_order_in_which_they_came(inbox: Inbox) -> None:
    async def main() -> None:
        options = PoolOptions(size=1)
        async with ClientPool(server.addresses[0], options=options) as pool:
            await asyncio.gather(
                *(pool.send(body(number), **BOB) for number in range(30))
            )

    with Server(inbox).run_in_thread() as server:
        asyncio.run(main())
    assert [one.content for one in inbox.received] == [body(n) for n in range(30)]
    assert inbox.connections == 1


def test_a_cancelled_call_leaves_nothing_behind(inbox: Inbox) -> None:
    """Whether it sends, waits, or has just been given a connection."""

    async def main() -> None:
        options = PoolOptions(size=1)
        async with ClientPool(server.addresses[0], options=options) as pool:
            sending = asyncio.create_task(pool.send(b"x", **SILENT))
            waiting = [
                asyncio.create_task(pool.send(body(number), **BOB))
                for number in range(5)
            ]
            await asyncio.sleep(0)  # they join the queue
            waiting[0].cancel()
            waiting[3].cancel()
            await asyncio.wait([waiting[0], waiting[3]])
            assert pool.statistics.waiting == 3
            sending.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            assert sending.cancelled()
            statistics = pool.statistics
            assert (statistics.connections, statistics.idle) == (1, 1)
            assert (statistics.delivered, statistics.waiting) == (3, 0)

            # Given a connection, and cancelled before it can know.
            async with pool.client():
                late = asyncio.create_task(pool.send(body(7), **BOB))
                await asyncio.sleep(0)  # they join the queue
            late.cancel()
            await asyncio.wait([late])
            assert late.cancelled()
            await pool.send(body(8), **BOB)
        assert len(asyncio.all_tasks()) == 1

    with Server(inbox).run_in_thread() as server:
        asyncio.run(main())
    assert [one.content for one in inbox.received] == [body(n) for n in (1, 2, 4, 8)]


def test_a_task_cancelled_with_a_place_that_was_made_for_it(inbox: Inbox) -> None:
    """The connection that had to go for it goes all the same."""

    async def main() -> None:
        options = PoolOptions(size=1)
        async with ClientPool(server.addresses[0], options=options) as pool:
            async with pool.client():
                other = f"smtp+plain://{other_server.addresses[0]}"
                late = asyncio.create_task(pool.send(b"x", to=other, **BOB))
                await asyncio.sleep(0)  # they join the queue
            late.cancel()
            await asyncio.wait([late])
            assert pool.statistics.connections == 0
            await pool.send(b"y", **BOB)

    with (
        Server(inbox).run_in_thread() as server,
        Server(inbox).run_in_thread() as other_server,
    ):
        asyncio.run(main())
    assert [one.content for one in inbox.received] == [b"y\r\n"]


def test_closing_waits_for_calls_under_way_and_turns_away_the_others(
    inbox: Inbox,
) -> None:
    async def main() -> None:
        options = PoolOptions(size=1)
        pool = ClientPool(server.addresses[0], options=options)
        async with pool.client() as client:
            waiting = asyncio.create_task(pool.send(b"x", **BOB))
            await asyncio.sleep(0)  # they join the queue
            closing = asyncio.create_task(pool.close())
            with pytest.raises(PoolUnavailable, match="closed"):
                await waiting
            await client.send(b"under way", **BOB)
            assert not closing.done()
        await closing
        await pool.close()
        assert pool.statistics.connections == 0
        with pytest.raises(RuntimeError, match="the pool is closed"):
            await pool.send(b"x", **BOB)

    with Server(inbox).run_in_thread() as server:
        asyncio.run(main())
    assert [one.content for one in inbox.received] == [b"under way\r\n"]


class SlowGoodbye:
    """A server that answers QUIT when it is told to."""

    def __init__(self) -> None:
        self.quitting = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(b"220 mx.test\r\n")
        while line := await reader.readline():
            if line == b"DATA\r\n":
                writer.write(b"354 go\r\n")
                await reader.readuntil(b"\r\n.\r\n")
            elif line == b"QUIT\r\n":
                self.quitting.set()
                await self.may_answer.wait()
            writer.write(b"250 ok\r\n")
        writer.close()


@pytest.mark.parametrize("closes_itself", [True, False])
def test_closing_while_an_idle_connection_is_being_closed(closes_itself: bool) -> None:
    # Nobody gives that connection back, so nobody but who closes it can tell.
    async def main() -> None:
        goodbye = SlowGoodbye()
        server = await asyncio.start_server(goodbye.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        options = PoolOptions(max_idle=0.01 if closes_itself else None)
        pool = ClientPool(f"smtp+plain://127.0.0.1:{port}", options=options)
        await pool.send(b"x", **BOB)
        closing = [] if closes_itself else [asyncio.create_task(pool.close())]
        await goodbye.quitting.wait()
        closing.append(asyncio.create_task(pool.close()))
        await asyncio.sleep(0)  # it waits for the one that is being closed
        goodbye.may_answer.set()
        async with asyncio.timeout(60):
            await asyncio.gather(*closing)
        assert pool.statistics.connections == 0
        server.close()
        await server.wait_closed()

    asyncio.run(main())


def test_a_close_that_was_cancelled_can_be_repeated() -> None:
    async def main() -> None:
        goodbye = SlowGoodbye()
        server = await asyncio.start_server(goodbye.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        pool = ClientPool(f"smtp+plain://127.0.0.1:{port}")
        await pool.send(b"x", **BOB)
        closing = asyncio.create_task(pool.close())
        await goodbye.quitting.wait()
        closing.cancel()
        await asyncio.wait({closing})
        goodbye.may_answer.set()
        async with asyncio.timeout(60):
            await pool.close()
        assert pool.statistics.connections == 0
        server.close()
        await server.wait_closed()

    asyncio.run(main())


def test_closing_wakes_who_waits_for_the_rate(inbox: Inbox) -> None:
    async def main() -> None:
        options = PoolOptions(rate=0.001)
        pool = ClientPool(server.addresses[0], options=options)
        await pool.send(b"first", **BOB)
        waiting = asyncio.create_task(pool.send(b"second", **BOB))
        await asyncio.sleep(0)
        await pool.close()
        with pytest.raises(PoolUnavailable, match="closed meanwhile"):
            await waiting

    with Server(inbox).run_in_thread() as server:
        asyncio.run(main())
        pool = BlockingClientPool(server.addresses[0], options=PoolOptions(rate=0.001))
        pool.send(b"first", **BOB)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(pool.send, b"second", **BOB)
            # Whether it sleeps by then or comes later, it is told.
            pool.close()
            with pytest.raises((PoolUnavailable, RuntimeError), match="closed"):
                waiting.result()
    assert len(inbox.received) == 2


def test_a_pool_speaks_lmtp(inbox: Inbox, tmp_path: Path) -> None:
    with (
        Server(
            inbox, f"unix:{tmp_path}/lmtp", options=ServerOptions(lmtp=True)
        ).run_in_thread(),
        BlockingClientPool(f"lmtp+unix://{tmp_path}/lmtp") as pool,
    ):
        recipients = ["b@b.test", "refused@b.test"]
        result = pool.send(b"x", sender="a@a.test", recipients=recipients)
        assert [one.is_accepted for one in result.recipients] == [True, False]
        assert result.reply is None


def test_idle_connections_are_closed_in_the_background() -> None:
    server = UnreliableServer()
    options = PoolOptions(max_idle=0.01)

    async def main() -> None:
        async with ClientPool(
            server.url, options=options, client_options=CLIENT_OPTIONS
        ) as pool:
            await pool.send(body(1), **BOB)
            await asyncio.to_thread(server.wait_until_closed)
            await pool.send(body(2), **BOB)

    with (
        server.running(),
        BlockingClientPool(
            server.url, options=options, client_options=CLIENT_OPTIONS
        ) as pool,
    ):
        asyncio.run(main())
        pool.send(body(3), **BOB)
        server.wait_until_closed()
        pool.send(body(4), **BOB)
    assert server.connections == 4
    assert server.open_now == 0


def test_a_blocking_pool_lends_clients(inbox: Inbox) -> None:
    with (
        Server(inbox).run_in_thread() as server,
        BlockingClientPool(server.addresses[0]) as pool,
    ):
        with pool.client() as client:
            assert client.noop().code == 250
            assert pool.statistics.idle == 0
            client.mail("left@over.test")
        assert pool.statistics.idle == 1
        pool.send(b"x", **BOB)
        assert "1 connections, 1 idle" in repr(pool)
    assert [one.sender for one in inbox.received] == ["a@a.test"]
    assert inbox.connections == 1


def test_a_blocking_pool_reads_no_async_iterable() -> None:
    async def blocks() -> AsyncIterator[bytes]:
        yield b"x"

    with (
        BlockingClientPool("127.0.0.1:1") as pool,
        pytest.raises(TypeError, match="async iterable"),
    ):
        pool.send(blocks(), **BOB)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_leaves_the_connections_to_its_parent(inbox: Inbox) -> None:
    with (
        Server(inbox).run_in_thread() as server,
        BlockingClientPool(server.addresses[0]) as pool,
    ):
        pool.send(b"parent\r\n", **BOB)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                is_new = pool.statistics.connections == 0
                pool.send(b"child\r\n", **BOB)
                pool.close()
                status = 0 if is_new else 2
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert pool.statistics.idle == 1
        pool.send(b"parent again\r\n", **BOB)
        assert pool.statistics.opened == 1
    assert [one.content for one in inbox.received] == [
        b"parent\r\n",
        b"child\r\n",
        b"parent again\r\n",
    ]
    assert inbox.connections == 2

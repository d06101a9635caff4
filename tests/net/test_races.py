"""The first address that answers wins, on both fronts, and no socket is left."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop

from smtpx.net import aio, aio_races, blocking, races
from smtpx.net.addresses import Endpoint

Connect = Callable[..., socket.socket]


def connect_blocking(
    endpoints: list[Endpoint],
    *,
    timeout: float | None = 20.0,
    local_address: str | None = None,
) -> socket.socket:
    return races.connect_first(endpoints, timeout=timeout, local_address=local_address)


def make_async(factory: Callable[[], asyncio.AbstractEventLoop] | None) -> Connect:
    def connect(
        endpoints: list[Endpoint],
        *,
        timeout: float | None = 20.0,
        local_address: str | None = None,
    ) -> socket.socket:
        async def main() -> socket.socket:
            async with asyncio.timeout(timeout):
                sock = await aio_races.connect_first(
                    endpoints, local_address=local_address
                )
            assert len(asyncio.all_tasks()) == 1
            return sock

        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main())

    return connect


@pytest.fixture(params=["blocking", "asyncio", "uvloop"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """A front; each test ends with as many sockets as it began with."""
    before = open_sockets()
    fronts: dict[str, Connect] = {
        "blocking": connect_blocking,
        "asyncio": make_async(None),
        "uvloop": make_async(uvloop.new_event_loop),
    }
    yield fronts[request.param]
    gc.collect()
    assert open_sockets() == before


def open_sockets() -> int:
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            count += str(entry.readlink()).startswith("socket:")
        except FileNotFoundError:
            continue
    return count


@contextmanager
def listening(address: str = "127.0.0.1") -> Iterator[Endpoint]:
    with socket.create_server((address, 0)) as server:
        yield Endpoint(int(socket.AF_INET), server.getsockname())


@contextmanager
def silent() -> Iterator[Endpoint]:
    """A server that answers no further attempt to connect: its queue is full."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        with socket.create_connection(address):
            yield Endpoint(int(socket.AF_INET), address)


def refusing() -> Endpoint:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return Endpoint(int(socket.AF_INET), server.getsockname())


def test_an_address_that_is_silent_costs_a_quarter_of_a_second(
    connect: Connect,
) -> None:
    with silent() as dead, listening() as alive, connect([dead, alive]) as sock:
        assert sock.getpeername() == alive.address


def test_an_address_that_refuses_costs_nothing(connect: Connect) -> None:
    with listening() as alive, connect([refusing(), refusing(), alive]) as sock:
        assert sock.getpeername() == alive.address
        assert not sock.getblocking()


def test_all_refuse(connect: Connect) -> None:
    with pytest.raises(ConnectionRefusedError):
        connect([refusing(), refusing()])


def test_nobody_answers_in_time(connect: Connect) -> None:
    with silent() as dead, pytest.raises(TimeoutError):
        connect([dead], timeout=0.01)


def test_the_local_address_is_used(connect: Connect) -> None:
    with listening() as alive, connect([alive], local_address="127.0.0.3") as sock:
        assert sock.getsockname()[0] == "127.0.0.3"


def test_a_local_address_that_is_not_ours(connect: Connect) -> None:
    with listening() as alive, pytest.raises(OSError, match="assign"):
        connect([alive, alive], local_address="192.0.2.1")


def test_without_a_limit(connect: Connect) -> None:
    with listening() as alive, connect([alive], timeout=None) as sock:
        assert sock.getpeername() == alive.address


@pytest.mark.parametrize("factory", [None, uvloop.new_event_loop])
def test_small_writes_do_not_wait_for_each_other(
    factory: Callable[[], asyncio.AbstractEventLoop] | None,
) -> None:
    """With Nagle's algorithm a second one would wait for an acknowledgement, 40 ms."""

    def is_at_once(sock: socket.socket) -> bool:
        return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    async def main() -> None:
        with listening() as alive:
            host, port = alive.address
            channel = await aio.connect_tcp(host, port, timeout=20)
            assert channel._transport is not None
            assert is_at_once(channel._transport.get_extra_info("socket"))
            await channel.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
    with listening() as alive:
        channel = blocking.connect_tcp(*alive.address, timeout=20)
        assert is_at_once(channel._socket)
        channel.abort()


def test_a_cancelled_race_leaves_no_attempt(connect: Connect) -> None:
    async def main() -> None:
        with silent() as dead:
            task = asyncio.create_task(aio_races.connect_first([dead, dead]))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_an_attempt_that_comes_in_second_is_closed() -> None:
    """Both connect in the same turn of the loop; only one is wanted."""
    before = open_sockets()

    async def main() -> None:
        with listening() as one, silent() as dead:
            tasks = {
                asyncio.create_task(aio_races._attempt(endpoint, None))
                for endpoint in (one, dead)
            }
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await aio_races._call_off(tasks)

    asyncio.run(main())
    gc.collect()
    assert open_sockets() == before

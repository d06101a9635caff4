"""`send_many` of both fronts over sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from smtpx.client.aio import AsyncClient
from smtpx.client.blocking import Client
from smtpx.client.options import Chunking, ClientOptions, TLSMode
from smtpx.client.outgoing import Outcome, Outgoing, SendWindow
from smtpx.errors import ConnectError, Delivery
from smtpx.server.listener import Server
from smtpx.server.options import ServerOptions

if TYPE_CHECKING:
    from smtpx.client.outgoing import Envelopes
    from tests.client.conftest import Certificates, Front, Inbox

OPTIONS = ClientOptions(hello_name="client.test")


def letters(count: int, *, size: int = 100) -> Iterator[Outgoing]:
    for number in range(count):
        lines = (b"x" * 98 + b"\r\n") * (size // 100)
        content = b"Subject: %d\r\n\r\n" % number + lines
        yield Outgoing(content, "a@a.test", "b@b.test", key=number)


def url(server: Server) -> str:
    return f"smtp://{server.addresses[0]}"


async def gather(client: Any, envelopes: Envelopes, **arguments: Any) -> list[Outcome]:  # noqa: ANN401
    """Send with either front."""
    run = client.send_many(envelopes, **arguments)
    if isinstance(run, AsyncGenerator):
        return [outcome async for outcome in run]
    return list(await run)


@pytest.mark.parametrize("size", [100, 200_000])
@pytest.mark.parametrize("chunking", Chunking)
def test_all_arrive_in_order(
    front: Front, inbox: Inbox, chunking: Chunking, size: int
) -> None:
    count = 300 if size < 1000 else 20

    async def scenario() -> list[Outcome]:
        options = replace(OPTIONS, chunking=chunking)
        async with front.client(url(server), options=options) as client:
            return await gather(client, letters(count, size=size))

    with Server(inbox).run_in_thread() as server:
        outcomes = front.run(scenario)
    assert [outcome.delivery for outcome in outcomes] == [Delivery.DELIVERED] * count
    assert [outcome.outgoing.key for outcome in outcomes] == list(range(count))
    subjects = [message.content.split(b"\r\n")[0] for message in inbox.received]
    assert subjects == [b"Subject: %d" % number for number in range(count)]
    assert inbox.connections == 1


def test_under_tls(front: Front, inbox: Inbox, certificates: Certificates) -> None:
    async def scenario() -> list[Outcome]:
        options = replace(
            OPTIONS, tls=TLSMode.REQUIRED, tls_context=certificates.client
        )
        async with front.client(url(server), options=options) as client:
            return await gather(client, letters(100, size=5000))

    options = ServerOptions(tls=certificates.server)
    with Server(inbox, options=options).run_in_thread() as server:
        outcomes = front.run(scenario)
    assert [outcome.delivery for outcome in outcomes] == [Delivery.DELIVERED] * 100
    assert {message.is_tls for message in inbox.received} == {True}


def test_over_lmtp(front: Front, inbox: Inbox) -> None:
    async def scenario() -> list[Outcome]:
        where = url(server).replace("smtp", "lmtp")
        async with front.client(where, lmtp=True, options=OPTIONS) as client:
            return await gather(client, envelopes)

    pair = ["b@b.test", "refused@b.test", "c@b.test"]
    envelopes = [Outgoing(b"x", "a@a.test", pair) for _ in range(50)]
    with Server(inbox, options=ServerOptions(lmtp=True)).run_in_thread() as server:
        outcomes = front.run(scenario)
    assert len(outcomes) == 50
    for outcome in outcomes:
        assert [one.is_accepted for one in outcome.recipients] == [True, False, True]


class Chatterbox(threading.Thread):
    """A server that reads on only when its replies are read, and these are long.

    It has no buffer of its own: it writes a reply before it reads the next command.
    """

    REPLY = b"250 " + b"z" * 500 + b"\r\n"

    def __init__(self) -> None:
        super().__init__()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.address = self._listener.getsockname()
        self.messages = 0

    def connect(self) -> socket.socket:
        sock = socket.socket()
        # Else the system would take in all the replies, whether they are read or not.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sock.connect(self.address)
        return sock

    def run(self) -> None:
        connection, _ = self._listener.accept()
        with connection, self._listener, connection.makefile("rb") as lines:
            connection.sendall(b"220 mx.test\r\n")
            for line in lines:
                words = line.split()
                if words[0] == b"EHLO":
                    connection.sendall(b"250-mx\r\n250-CHUNKING\r\n250 PIPELINING\r\n")
                    continue
                if words[0] == b"BDAT":
                    lines.read(int(words[1]))
                    self.messages += 1
                connection.sendall(self.REPLY)
                if words[0] == b"QUIT":
                    return


def test_a_peer_that_stops_reading_until_its_replies_are_read(front: Front) -> None:
    """Without reading while it cannot write, both would wait for ever."""
    server = Chatterbox()
    server.start()
    window = SendWindow(max_messages=1000, max_octets=2**30, start_messages=1000)

    async def scenario() -> list[Outcome]:
        async with front.client(socket=server.connect(), options=OPTIONS) as client:
            return await gather(client, list(letters(300, size=4000)), window=window)

    outcomes = front.run(scenario)
    server.join()
    assert [outcome.delivery for outcome in outcomes] == [Delivery.DELIVERED] * 300
    assert server.messages == 300


def test_an_async_iterable_is_for_the_event_loop() -> None:
    async def source() -> AsyncIterator[Outgoing]:
        yield Outgoing(b"x")

    client = Client("smtp://mx.test")
    with pytest.raises(TypeError, match="async iterable"):
        next(client.send_many(source()))


def test_outcomes_do_not_wait_for_a_slow_async_source(inbox: Inbox) -> None:
    async def main() -> list[object]:
        more = asyncio.Event()
        keys = []

        async def source() -> AsyncIterator[Outgoing]:
            for outgoing in letters(40):
                yield outgoing
            await more.wait()
            yield Outgoing(b"x", "a@a.test", "b@b.test", key="last")

        async with AsyncClient(url(server), options=OPTIONS) as client:
            async for outcome in client.send_many(source()):
                keys.append(outcome.outgoing.key)
                if len(keys) == 40:
                    more.set()
        return keys

    with Server(inbox).run_in_thread() as server:
        assert asyncio.run(main()) == [*range(40), "last"]


def test_an_async_source_that_fails_does_so_behind_its_outcomes(inbox: Inbox) -> None:
    async def main() -> list[object]:
        keys: list[object] = []

        async def source() -> AsyncIterator[Outgoing]:
            for outgoing in letters(3):
                yield outgoing
            raise KeyError("no more")

        async with AsyncClient(url(server), options=OPTIONS) as client:
            run = client.send_many(source())
            for _ in range(3):
                outcome = await anext(run)
                keys.append(outcome.outgoing.key)
            with pytest.raises(KeyError, match="no more"):
                await anext(run)
            assert client.is_connected
        return keys

    with Server(inbox).run_in_thread() as server:
        assert asyncio.run(main()) == [0, 1, 2]


def test_an_async_source_that_is_cancelled_does_not_just_end(inbox: Inbox) -> None:
    async def main() -> None:
        async def source() -> AsyncIterator[Outgoing]:
            yield Outgoing(b"x", "a@a.test", "b@b.test")
            waited_for = asyncio.get_running_loop().create_future()
            waited_for.cancel()
            await waited_for

        async with AsyncClient(server.addresses[0]) as client:
            run = client.send_many(source())
            assert (await anext(run)).delivery is Delivery.DELIVERED
            with pytest.raises(RuntimeError, match="source of the messages"):
                await anext(run)

    with Server(inbox).run_in_thread() as server:
        asyncio.run(main())
    assert len(inbox.received) == 1


def test_an_async_source_is_left_when_the_run_is(inbox: Inbox) -> None:
    async def main() -> None:
        async def source() -> AsyncIterator[Outgoing]:
            for outgoing in letters(1000):
                yield outgoing

        before = asyncio.all_tasks()
        async with AsyncClient(url(server), options=OPTIONS) as client:
            run = client.send_many(source())
            async for _ in run:
                break
            await run.aclose()
        assert asyncio.all_tasks() == before

    with Server(inbox).run_in_thread() as server:
        asyncio.run(main())


def test_what_was_read_ahead_of_a_source_is_reported(unused_tcp_port: int) -> None:
    """Nothing is lost between the source and the connection that is not there."""

    async def main() -> None:
        async def source() -> AsyncIterator[Outgoing]:
            for outgoing in letters(30):
                yield outgoing

        envelopes = source()
        client = AsyncClient(f"smtp://127.0.0.1:{unused_tcp_port}", options=OPTIONS)
        outcomes = []
        with contextlib.suppress(ConnectError):
            async for outcome in client.send_many(envelopes):
                outcomes.append(outcome)  # noqa: PERF401 - kept when it raises
        assert {outcome.delivery for outcome in outcomes} == {Delivery.NOT_SENT}
        assert {len(outcome.not_sent) for outcome in outcomes} == {1}
        keys = [outcome.outgoing.key for outcome in outcomes]
        keys += [outgoing.key async for outgoing in envelopes]
        assert keys == list(range(30))

    asyncio.run(main())


def test_a_call_within_the_loop_would_wait_for_itself(
    front: Front, inbox: Inbox
) -> None:
    async def scenario() -> None:
        async with front.client(url(server), options=OPTIONS) as client:
            run = client.send_many(letters(3))
            if isinstance(run, AsyncGenerator):
                await anext(run)
                with pytest.raises(RuntimeError, match="send_many"):
                    await client.noop()
                await run.aclose()
            else:
                generator = await run
                next(generator)
                with pytest.raises(RuntimeError, match="send_many"):
                    await client.noop()
                generator.close()

    with Server(inbox).run_in_thread() as server:
        front.run(scenario)


def test_other_threads_wait_for_the_run(inbox: Inbox) -> None:
    with (
        Server(inbox).run_in_thread() as server,
        Client(url(server), options=OPTIONS) as client,
    ):
        run = client.send_many(letters(3))
        next(run)
        codes: list[int] = []
        other = threading.Thread(target=lambda: codes.append(client.noop().code))
        other.start()
        assert len(list(run)) == 2
        other.join()
    assert codes == [250]


def test_a_loop_that_is_left_lets_go_of_the_client(inbox: Inbox) -> None:
    with (
        Server(inbox).run_in_thread() as server,
        Client(url(server), options=OPTIONS) as client,
    ):
        for _ in client.send_many(letters(1000)):
            break
        gc.collect()
        result = client.send(b"after", sender="a@a.test", recipients="b@b.test")
    assert result.accepted
    assert inbox.received[-1].content == b"after\r\n"


def test_a_run_that_is_cancelled_closes_the_connection(inbox: Inbox) -> None:
    async def main() -> None:
        async with AsyncClient(url(server), options=OPTIONS) as client:
            started = asyncio.Event()

            async def run() -> None:
                silent = Outgoing(b"x", "silent@a.test", "b@b.test")
                fine = Outgoing(b"x", "a@a.test", "b@b.test")
                async for _ in client.send_many([fine, silent, fine]):
                    started.set()

            task = asyncio.create_task(run())
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not client.is_connected

    with Server(inbox).run_in_thread() as server:
        asyncio.run(main())

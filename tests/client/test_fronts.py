"""Both fronts against the server of this library, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

import pytest

from smtpx.client import content
from smtpx.client.aio import AsyncClient, asend
from smtpx.client.blocking import Client, send
from smtpx.client.message import BLOCK_OCTETS
from smtpx.client.options import Chunking, ClientOptions, Timeouts, TLSMode
from smtpx.core.limits import Limits
from smtpx.errors import (
    AuthenticationFailed,
    ConnectError,
    ConnectionLost,
    DataRefused,
    Delivery,
    PhaseTimeout,
    RecipientsRefused,
    TLSFailed,
)
from smtpx.server.listener import Server
from smtpx.server.options import ServerOptions
from smtpx.server.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from tests.client.conftest import Certificates, Front, Inbox

BOB: dict[str, Any] = {"sender": "a@a.test", "recipients": "b@b.test"}
SILENT: dict[str, Any] = {"sender": "silent@a.test", "recipients": "b@b.test"}
MANY_LINES = b"".join(b"%08d %s\r\n" % (number, b"x" * 60) for number in range(40_000))


def test_message_arrives(front: Front, inbox: Inbox) -> None:
    message = EmailMessage()
    message["From"] = "a@a.test"
    message["To"] = "b@b.test, refused@b.test"
    message.set_content(".dots\n..and more\n")

    async def scenario() -> None:
        async with front.client(server.addresses[0]) as client:
            result = await client.send(message)
            assert result.queue_id == "Q1"
            assert [one.recipient for one in result.refused] == ["refused@b.test"]
            with pytest.raises(RecipientsRefused):
                await client.send(b"x", sender="", recipients=["refused@b.test"])
            await client.send(b"after\n", **BOB)
            assert (await client.noop()).code == 250

    with Server(inbox).run_in_thread() as server:
        front.run(scenario)
    first, second = inbox.received
    assert first.recipients == ["b@b.test"]
    assert first.content.endswith(b"\r\n\r\n.dots\r\n..and more\r\n")
    assert second.content == b"after\r\n"
    assert inbox.connections == 1


@pytest.mark.parametrize("chunking", Chunking)
@pytest.mark.parametrize("pipelining", [True, False])
def test_large_message_arrives_whole(
    front: Front, inbox: Inbox, chunking: Chunking, pipelining: bool
) -> None:
    options = ClientOptions(chunking=chunking, pipelining=pipelining)

    def lines() -> Iterator[bytes]:
        for start in range(0, len(MANY_LINES), 1000):
            yield MANY_LINES[start : start + 1000]

    async def scenario() -> None:
        async with front.client(server.addresses[0], options=options) as client:
            await client.send(MANY_LINES, **BOB)
            await client.send(lines(), **BOB)

    with Server(inbox).run_in_thread() as server:
        front.run(scenario)
    assert [one.content == MANY_LINES for one in inbox.received] == [True, True]


@pytest.mark.parametrize("before", range(-5, 1))
@pytest.mark.parametrize("write", [BLOCK_OCTETS, content.WRITE_OCTETS])
@pytest.mark.parametrize("is_encoded_at_once", [True, False])
def test_dot_line_across_two_writes(
    front: Front,
    inbox: Inbox,
    before: int,
    write: int,
    is_encoded_at_once: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Whoever writes the text could say commands of his own behind an unstuffed dot.
    evil = b"\r\n.\r\nMAIL FROM:<evil@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nx"
    octets = b"y" * (write + before) + evil + b"\r\n"
    most = len(octets) if is_encoded_at_once else len(octets) - 1
    monkeypatch.setattr(content, "MOST_ENCODED_OCTETS", most)
    options = ClientOptions(chunking=Chunking.NEVER, long_lines=True)

    async def scenario() -> None:
        async with front.client(server.addresses[0], options=options) as client:
            await client.send(octets, **BOB)

    with Server(inbox).run_in_thread() as server:
        front.run(scenario)
    assert [one.content == octets for one in inbox.received] == [True]


def test_lmtp_over_a_unix_socket(front: Front, inbox: Inbox, tmp_path: Path) -> None:
    async def scenario() -> None:
        url = f"lmtp+unix://{tmp_path}/lmtp"
        async with front.client(url, lmtp=True) as client:
            result = await client.send(
                b"x", sender="a@a.test", recipients=["b@b.test", "refused@b.test"] * 2
            )
            assert result.reply is None
            assert [one.is_accepted for one in result.recipients] == [True, False] * 2

    options = ServerOptions(lmtp=True)
    with Server(inbox, f"unix:{tmp_path}/lmtp", options=options).run_in_thread():
        front.run(scenario)


@pytest.mark.parametrize("mode", [TLSMode.REQUIRED, TLSMode.IMPLICIT])
def test_tls_and_authentication(
    front: Front, inbox: Inbox, certificates: Certificates, mode: TLSMode
) -> None:
    options = ClientOptions(tls=mode, tls_context=certificates.client)

    async def scenario() -> None:
        url = server.addresses[0]
        async with front.client(
            url, options=options, auth=("user", "secret")
        ) as client:
            assert client.tls.version == "TLSv1.3"
            assert client.tls.is_verified
            await client.send(b"x", **BOB)
            await client.send(MANY_LINES, **BOB)
        with pytest.raises(AuthenticationFailed) as caught:
            async with front.client(url, options=options, auth=("user", "no")):
                pass
        assert caught.value.smtp_code == 535

    server_options = ServerOptions(
        tls=certificates.server, implicit_tls=mode is TLSMode.IMPLICIT
    )
    with Server(inbox, options=server_options).run_in_thread() as server:
        front.run(scenario)
    assert [(one.is_tls, one.user) for one in inbox.received] == [(True, "user")] * 2
    assert inbox.received[1].content == MANY_LINES


def test_certificate_is_verified_by_default(
    front: Front, inbox: Inbox, certificates: Certificates
) -> None:
    options = ClientOptions(tls=TLSMode.REQUIRED)

    async def scenario() -> None:
        with pytest.raises(TLSFailed, match="certificate"):
            async with front.client(server.addresses[0], options=options):
                pass

    server_options = ServerOptions(tls=certificates.server)
    with Server(inbox, options=server_options).run_in_thread() as server:
        front.run(scenario)


def test_five_thousand_recipients(front: Front, inbox: Inbox) -> None:
    names = [f"recipient-number-{number}@b.test" for number in range(5_000)]

    async def scenario() -> None:
        async with front.client(server.addresses[0]) as client:
            result = await client.send(b"x", sender="a@a.test", recipients=names)
            assert len(result.accepted) == 5_000

    options = ServerOptions(limits=Limits(max_recipients=10_000))
    with Server(inbox, options=options).run_in_thread() as server:
        front.run(scenario)
    assert inbox.received[0].recipients == names


def test_refusal_in_the_midst_of_a_large_message(front: Front, inbox: Inbox) -> None:
    """The server drains what is too much, and the connection stays in step."""

    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield (b"x" * 78 + b"\r\n") * 1000

    async def scenario() -> None:
        async with front.client(server.addresses[0]) as client:
            with pytest.raises(DataRefused) as caught:
                await client.send(endless(), **BOB)
            assert caught.value.smtp_code == 552
            await client.send(b"x", **BOB)

    options = ServerOptions(limits=Limits(max_message_octets=100_000))
    with Server(inbox, options=options).run_in_thread() as server:
        front.run(scenario)
    assert inbox.connections == 1
    assert [one.content for one in inbox.received] == [b"x\r\n"]


def test_timeout_poisons_the_connection(front: Front, inbox: Inbox) -> None:
    options = ClientOptions(timeouts=Timeouts(data_end=0.05))

    async def scenario() -> None:
        async with front.client(server.addresses[0], options=options) as client:
            with pytest.raises(PhaseTimeout) as caught:
                await client.send(b"x", **SILENT)
            assert caught.value.phase == "data_end"
            assert caught.value.delivery is Delivery.UNKNOWN
            assert not client.is_connected
            await client.send(b"after", **BOB)

    with Server(inbox).run_in_thread() as server:
        front.run(scenario)
    assert inbox.connections == 2
    assert [one.content for one in inbox.received] == [b"after\r\n"]


def test_total_time(front: Front, inbox: Inbox) -> None:
    options = ClientOptions(timeouts=Timeouts(total=0.1))

    async def scenario() -> None:
        async with front.client(server.addresses[0], options=options) as client:
            with pytest.raises(PhaseTimeout, match="whole call"):
                await client.send(b"x", **SILENT)

    with Server(inbox).run_in_thread() as server:
        front.run(scenario)


def test_nobody_listens(front: Front) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    async def scenario() -> None:
        with pytest.raises(ConnectError, match=f"no connection to 127.0.0.1:{port}"):
            async with front.client(f"127.0.0.1:{port}"):
                pass

    front.run(scenario)


def test_open_socket(front: Front, inbox: Inbox) -> None:
    async def scenario() -> None:
        host, _, port = server.addresses[0].rpartition(":")
        sock = socket.create_connection((host, int(port)))
        async with front.client(socket=sock) as client:
            await client.send(b"x", **BOB)

    with Server(inbox).run_in_thread() as server:
        front.run(scenario)
    assert len(inbox.received) == 1


def test_client_is_left_behind_after_an_error(front: Front, inbox: Inbox) -> None:
    async def scenario() -> None:
        manager = front.client(server.addresses[0])
        client = await manager.__aenter__()
        await client.mail("a@a.test")
        error = ZeroDivisionError()
        is_swallowed = await manager.__aexit__(ZeroDivisionError, error, None)
        assert not is_swallowed
        assert not client.is_connected

    with Server(inbox).run_in_thread() as server:
        front.run(scenario)
    assert inbox.received == []


def test_entering_a_connected_client(front: Front, inbox: Inbox) -> None:
    async def scenario() -> None:
        async with front.client(server.addresses[0]) as client:
            await client.close()
            await client.connect()
            assert client.greeting.code == 220
            assert "PIPELINING" in client.capabilities
            assert client.extension("size") is not None
            assert client.peer == server.addresses[0]

    with Server(inbox).run_in_thread() as server:
        front.run(scenario)
        with Client(server.addresses[0]) as client, client:
            assert "ready" in repr(client)

        async def twice() -> None:
            async with AsyncClient(server.addresses[0]) as client, client:
                assert "ready" in repr(client)

        asyncio.run(twice())


def test_every_command(front: Front, inbox: Inbox) -> None:
    async def scenario() -> None:
        async with front.client(server.addresses[0]) as client:
            codes = [
                (await client.hello("client.test")).code,
                (await client.help()).code,
                (await client.verify("bob")).code,
                (await client.execute("EXPN", "list")).code,
                (await client.auth("user", "secret")).code,
                (await client.mail("a@a.test")).code,
                (await client.rcpt("b@b.test")).code,
                (await client.data("x")).reply.code,
                (await client.mail("a@a.test")).code,
                (await client.rcpt("b@b.test")).code,
                (await client.bdat(b"y\r\n")).reply.code,
                (await client.bdat(b"", is_last=True)).reply.code,
                (await client.reset()).code,
                (await client.quit()).code,
            ]
            assert codes[:3] == [250, 214, 252]
            assert codes[3] >= 500
            assert codes[4:] == [235, *[250] * 8, 221]

    with Server(inbox).run_in_thread() as server:
        front.run(scenario)
    assert [one.content for one in inbox.received] == [b"x\r\n", b"y\r\n"]


def test_memory_stays_flat(front: Front, inbox: Inbox) -> None:
    """64 MiB here; nothing grows with the size, so 1 GB is no different."""
    inbox.keeps_content = False
    block = b"x" * 76 + b"\r\n"
    block *= 800
    count = 64 * 1024 * 1024 // len(block)

    async def scenario() -> None:
        async with front.client(server.addresses[0]) as client:
            await client.send(b"x", **BOB)
            tracemalloc.start()
            try:
                await client.send((block for _ in range(count)), **BOB)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            # The server runs in this process, so its read-ahead counts as well.
            assert peak < 4 * 1024 * 1024

    options = ServerOptions(limits=Limits(max_message_octets=None))
    with Server(inbox, options=options).run_in_thread() as server:
        front.run(scenario)
    assert inbox.received[1].size == count * len(block)


# --- One call. ---


def test_one_call(inbox: Inbox) -> None:
    with Server(inbox).run_in_thread() as server:
        to = f"smtp://{server.addresses[0]}"
        assert send(b"x", to=to, **BOB).queue_id == "Q1"
        assert asyncio.run(asend(b"x", to=to, **BOB)).queue_id == "Q2"
        auth = ("user", "secret")
        assert send(b"x", to=to, auth=auth, **BOB).queue_id == "Q3"
    assert [one.user for one in inbox.received] == [None, None, "user"]


# --- What only one of the fronts can do wrong. ---


def test_threads_share_a_client(inbox: Inbox) -> None:
    with Server(inbox).run_in_thread() as server, Client(server.addresses[0]) as client:
        with ThreadPoolExecutor(8) as pool:
            results = list(
                pool.map(lambda n: client.send(b"%d" % n, **BOB), range(200))
            )
        assert len({result.queue_id for result in results}) == 200
    assert sorted(int(one.content) for one in inbox.received) == list(range(200))
    assert inbox.connections == 1


async def test_tasks_share_a_client(inbox: Inbox) -> None:
    async with (
        Server(inbox) as server,
        AsyncClient(server.addresses[0]) as client,
    ):
        sends = [client.send(b"%d" % number, **BOB) for number in range(200)]
        results = await asyncio.gather(*sends)
        assert len({result.queue_id for result in results}) == 200
    assert inbox.connections == 1


async def test_cancelled_send_closes_its_connection(inbox: Inbox) -> None:
    started = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield MANY_LINES[:100_000]
        started.set()
        await asyncio.Event().wait()

    async with Server(inbox) as server, AsyncClient(server.addresses[0]) as client:
        task = asyncio.create_task(client.send(stalled(), **BOB))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not client.is_connected
        await client.send(b"after", **BOB)
    assert [one.content for one in inbox.received] == [b"after\r\n"]
    assert inbox.connections == 2


async def test_send_cancelled_while_it_waits_for_a_reply(inbox: Inbox) -> None:
    async with Server(inbox) as server, AsyncClient(server.addresses[0]) as client:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.05):
                await client.send(b"x", **SILENT)
        assert not isinstance(caught.value, PhaseTimeout)
        assert not client.is_connected
        await client.send(b"after", **BOB)
    assert inbox.connections == 2


async def test_waiting_for_the_lock_can_be_cancelled(inbox: Inbox) -> None:
    """Whoever only waited has spoilt nothing."""
    started = asyncio.Event()
    go_on = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield MANY_LINES[:100_000]
        started.set()
        await go_on.wait()

    async with Server(inbox) as server, AsyncClient(server.addresses[0]) as client:
        first = asyncio.create_task(client.send(stalled(), **BOB))
        await started.wait()
        second = asyncio.create_task(client.send(b"second", **BOB))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        go_on.set()
        assert (await first).accepted
        assert client.is_connected
    assert inbox.connections == 1


def test_blocking_client_refuses_what_must_be_awaited(inbox: Inbox) -> None:
    async def blocks() -> AsyncIterator[bytes]:
        yield b"x"

    async def password() -> str:
        await asyncio.sleep(0)
        return "secret"

    with Server(inbox).run_in_thread() as server:
        with Client(server.addresses[0]) as client:
            with pytest.raises(TypeError, match="async iterable"):
                client.send(blocks(), **BOB)
            assert client.is_connected
        client = Client(server.addresses[0], auth=("user", password))
        with pytest.raises(RuntimeError, match="AsyncClient"):
            client.connect()
        assert not client.is_connected


def test_interrupted_wait_closes_the_connection(inbox: Inbox) -> None:
    """As Ctrl-C does: any exception out of the blue, in the midst of a wait."""

    class Interrupt(BaseException):
        pass

    def interrupted() -> Iterator[bytes]:
        yield MANY_LINES[:100_000]
        raise Interrupt

    with Server(inbox).run_in_thread() as server, Client(server.addresses[0]) as client:
        with pytest.raises(Interrupt):
            client.send(interrupted(), **BOB)
        assert not client.is_connected
        client.send(b"after", **BOB)
    assert [one.content for one in inbox.received] == [b"after\r\n"]


def test_server_that_goes_away(front: Front) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"220 mx.test\r\n")
            peer.recv(1000)

    async def scenario() -> None:
        with pytest.raises(ConnectionLost):
            async with front.client(f"127.0.0.1:{listener.getsockname()[1]}"):
                pass

    thread = threading.Thread(target=serve)
    with listener:
        thread.start()
        front.run(scenario)
        thread.join(30)


def test_tls_where_starttls_is_meant() -> None:
    with Server(Session).run_in_thread() as server:
        client = Client(f"smtps://{server.addresses[0]}")
        with pytest.raises(TLSFailed, match=r"use smtp\+starttls://"):
            client.connect()

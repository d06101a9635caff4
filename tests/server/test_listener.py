"""Listening, limits, neighbours, and the end of a server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
import uvloop

from smtpx.core.limits import Limits
from smtpx.server.body import Body
from smtpx.server.listener import Server
from smtpx.server.options import ServerOptions
from smtpx.server.session import ConnectionInfo, Session
from smtpx.server.sockets import Address, parse_address
from tests.server.conftest import Certificates, Run
from tests.server.peers import (
    Served,
    Signal,
    recorder,
    serve,
    settle,
    tight_listener,
    tight_socket,
    unix_address,
    until,
)

ENVELOPE = b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\n"
MESSAGE = ENVELOPE + b"DATA\r\nhi\r\n.\r\n"


# --- Addresses. ---


def test_port_0_takes_a_free_one(run: Run) -> None:
    async def scenario() -> None:
        async with serve(recorder()) as served:
            (address,) = served.server.addresses
            host, port = address.split(":")
            assert host == "127.0.0.1"
            assert int(port) > 0
            await served.ready()

    run(scenario())


def test_several_addresses(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        unix = unix_address(tmp_path)
        addresses: list[Address] = ["127.0.0.1:0", unix, "127.0.0.1:0", "[::1]:0"]
        async with serve(recorder(), addresses) as served:
            assert len(served.server.addresses) == 4
            assert len(set(served.server.addresses)) == 4
            for index in range(4):
                peer = await served.connect(index=index)
                assert await peer.codes(1) == [220]
            infos = served.server.connections
            assert all(info.is_local for info in infos)
            assert {str(info.peer_ip) for info in infos} == {"127.0.0.1", "::1", "None"}

    run(scenario())


def test_all_interfaces(run: Run) -> None:
    async def scenario() -> None:
        async with serve(recorder(), ":0") as served:
            # Each family may have a port of its own.
            (port,) = [
                address.removeprefix("0.0.0.0:")
                for address in served.server.addresses
                if address.startswith("0.0.0.0:")
            ]
            reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
            assert (await reader.readline()).startswith(b"220 ")
            # Whatever the kernel makes of it, the client is an IPv4 one.
            assert {str(i.peer_ip) for i in served.server.connections} == {"127.0.0.1"}
            writer.close()
            await writer.wait_closed()

    run(scenario())


def test_address_in_use_binds_nothing(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            path = tmp_path / "smtp"
            addresses = [f"unix:{path}", f"127.0.0.1:{taken.getsockname()[1]}"]
            server = Server(Session, addresses)
            with pytest.raises(
                OSError, match=r"(?i)127.0.0.1:\d+: address already in use"
            ):
                await server.start()
            # What was bound before is let go.
            assert not path.exists()
            with pytest.raises(RuntimeError, match="starts once"):
                await server.start()

    run(scenario())


def test_inherited_socket(run: Run) -> None:
    async def scenario() -> None:
        with socket.socket() as inherited:
            inherited.bind(("127.0.0.1", 0))
            inherited.setblocking(False)
            port = inherited.getsockname()[1]
            async with serve(recorder(), inherited) as served:
                assert served.server.addresses == (f"127.0.0.1:{port}",)
                await served.ready()

    run(scenario())


def test_inherited_unix_socket(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "smtp"
        with socket.socket(socket.AF_UNIX) as inherited:
            inherited.bind(str(path))
            inherited.setblocking(False)
            async with serve(recorder(), inherited, lmtp=True) as served:
                assert served.server.addresses == (f"unix:{path}",)
                peer = await served.ready()
                (info,) = served.server.connections
                assert info.is_local
                assert info.peer_ip is None
                assert await peer.say(b"QUIT\r\n") == [221]

    run(scenario())


def test_unix_socket_is_made_and_removed(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "smtp"

    async def scenario() -> None:
        async with serve(recorder(), f"unix:{path}") as served:
            assert stat.S_ISSOCK(path.stat().st_mode)
            await served.ready()
        assert not path.exists()

    run(scenario())


def test_stale_unix_socket_is_replaced(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "smtp"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))

    async def scenario() -> None:
        async with serve(recorder(), f"unix:{path}") as served:
            await served.ready()

    run(scenario())


def test_socket_of_another_server_is_left_alone(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "smtp"

    async def scenario() -> None:
        with socket.socket(socket.AF_UNIX) as other:
            async with serve(recorder(), f"unix:{path}"):
                path.unlink()
                other.bind(str(path))
            assert path.exists()

    run(scenario())


def test_file_in_the_place_of_a_socket_is_left_alone(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "smtp"
    path.write_text("mine")

    async def scenario() -> None:
        with pytest.raises(OSError, match=r"."):
            async with serve(recorder(), f"unix:{path}"):
                raise AssertionError
        assert path.read_text() == "mine"

    run(scenario())


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("127.0.0.1:25", ("127.0.0.1", 25)),
        ("[::1]:2525", ("::1", 2525)),
        ("localhost:0", ("localhost", 0)),
        (":25", (None, 25)),
        ("[::]:65535", ("::", 65_535)),
    ],
)
def test_parsed_addresses(text: str, parsed: tuple[str | None, int]) -> None:
    assert parse_address(text) == parsed


@pytest.mark.parametrize(
    "text", ["", "localhost", "localhost:", "a:b", "a:65536", "a:-1", "::1:25", "a:٢٥"]
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r"write host:port|in brackets"):
        parse_address(text)


# --- Limits. ---


def test_connections_in_all(run: Run) -> None:
    async def scenario() -> None:
        async with serve(recorder(), max_connections=2) as served:
            first, _second = await served.ready(), await served.ready()
            third = await served.connect()
            assert await third.reply() == "421 4.7.0 too many connections"
            assert await third.rest() == b""
            await third.close()
            assert await first.say(b"QUIT\r\n") == [221]
            await first.close()
            await until(lambda: len(served.server.connections) == 1)
            await served.ready()

    run(scenario())


def test_connections_of_one_client(run: Run) -> None:
    async def scenario() -> None:
        async with serve(
            recorder(), max_connections_per_ip=2, unlimited_networks=()
        ) as served:
            first, _second = await served.ready(), await served.ready()
            third = await served.connect()
            assert await third.reply() == "421 4.7.0 too many connections from you"
            # Another address is another client.
            sock = socket.socket()
            sock.bind(("127.0.0.2", 0))
            other = await served.connect(sock=sock)
            assert await other.codes(1) == [220]
            await third.close()
            await first.close()
            await until(lambda: len(served.server.connections) == 2)
            await served.ready()

    run(scenario())


def test_a_flood_of_one_client_shuts_out_nobody_else(run: Run) -> None:
    async def scenario() -> None:
        async with serve(
            recorder(),
            unlimited_networks=(),
            max_connections=10,
            max_connections_per_ip=2,
        ) as served:
            flood = [await served.connect() for _ in range(40)]
            first = [await peer.rest_of_one() for peer in flood]
            assert [line[:3] for line in first[:22]] == ["220"] * 2 + ["421"] * 20
            # No more words are wasted on those behind them.
            assert set(first[22:]) <= {"", "(reset)"}
            sock = socket.socket()
            sock.bind(("127.0.0.2", 0))
            other = await served.connect(sock=sock)
            assert await other.codes(1) == [220]

    run(scenario())


def test_loopback_is_unlimited_by_default(run: Run) -> None:
    async def scenario() -> None:
        async with serve(recorder(), max_connections_per_ip=1) as served:
            for _ in range(3):
                await served.ready()

    run(scenario())


def test_unix_clients_are_limited_in_all_only(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serve(
            recorder(),
            unix_address(tmp_path),
            max_connections_per_ip=1,
            unlimited_networks=(),
            max_connections=3,
        ) as served:
            for _ in range(3):
                await served.ready()
            fourth = await served.connect()
            assert await fourth.codes(1) == [421]

    run(scenario())


# --- Neighbours. ---


def test_a_flood_of_commands_leaves_neighbours_their_turn(run: Run) -> None:
    async def scenario() -> None:
        async with serve(recorder()) as served:
            flood, calm = await served.ready(), await served.ready()
            flood.send(b"NOOP\r\n" * 100_000)
            answered = 0

            async def count() -> None:
                nonlocal answered
                while answered < 100_000:
                    await flood.reader.readuntil(b"\r\n")
                    answered += 1

            counting = asyncio.create_task(count())
            rounds = 0
            while not counting.done():
                assert await calm.say(b"NOOP\r\n") == [250]
                rounds += 1
            await counting
            # It was served all the while, not once before and once after.
            assert rounds > 50

    run(scenario())


def test_hooks_that_never_suspend_leave_neighbours_their_turn(run: Run) -> None:
    async def scenario() -> None:
        turns: list[int] = []
        count = 0

        class Busy(Session):
            async def verify(self, text: str) -> None:
                nonlocal count
                count += 1

        async with serve(Busy) as served:
            peer = await served.ready()
            peer.send(b"VRFY x\r\n" * 5_000)
            while count < 5_000:
                turns.append(count)
                await asyncio.sleep(0)
            assert await peer.codes(5_000) == [252] * 5_000
            # No turn of the loop ran more than a budget of hooks, or two.
            steps = [b - a for a, b in pairwise(turns)]
            assert max(steps) <= 200

    run(scenario())


@pytest.mark.parametrize("line", [b"HELP\r\n", b"NOOP\r\n", b"X" * 50 + b"\r\n"])
def test_peer_that_never_reads_its_replies(run: Run, line: bytes) -> None:
    async def scenario() -> None:
        limits = Limits(max_errors=10_000_000)
        with tight_listener() as listener:
            async with serve(Session, listener, limits=limits) as served:
                await never_read(served, line)

    run(scenario())


async def never_read(served: Served, line: bytes) -> None:
    deaf = await served.connect(sock=tight_socket(), limit=1)
    calm = await served.ready()
    transport = cast("asyncio.Transport", deaf.writer.transport)
    transport.pause_reading()
    total = 3_000_000
    deaf.send(line * (total // len(line)))
    left = await settle(transport.get_write_buffer_size)
    # The server reads no more: what it and the kernel hold has an end.
    assert left > total // 2
    assert await calm.say(b"NOOP\r\n") == [250]
    deaf.abort()
    await until(lambda: len(served.server.connections) == 1)


# --- The end of a server. ---


def test_close_drops_all(run: Run) -> None:
    async def scenario() -> None:
        started = Signal()
        ended: list[str] = []

        class Busy(recorder()):  # type: ignore[misc]
            async def data(self, body: Body) -> None:
                await started.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.append("data")

        async with serve(Busy) as served:
            idle, busy = await served.ready(), await served.ready()
            busy.send(MESSAGE)
            await started.wait()
            await served.server.close()
            assert served.server.connections == ()
            assert await idle.rest() in {b"", b"(reset)"}
            with pytest.raises(OSError, match=r"."):
                await served.connect()
            # Twice is fine.
            await served.server.close()
        assert ended == ["data"]
        assert len([entry for entry in Busy.log if "closed" in entry]) == 2

    run(scenario())


def test_shutdown_is_gentle(run: Run) -> None:
    async def scenario() -> None:
        started, gate = Signal(), asyncio.Event()

        class Slow(recorder()):  # type: ignore[misc]
            async def data(self, body: Body) -> None:
                await body.read()
                await started.set()
                await gate.wait()
                self.log.append("stored")

        async with serve(Slow) as served:
            idle, busy, begun = [await served.ready() for _ in range(3)]
            busy.send(MESSAGE + b"NOOP\r\n")
            await started.wait()
            await begun.say(b"MAIL FROM:<>\r\n")
            stopping = asyncio.create_task(served.server.shutdown(20))
            assert await idle.reply() == "421 4.3.2 server is shutting down"
            assert await idle.rest() == b""
            with pytest.raises(OSError, match=r"."):
                await served.connect()
            gate.set()
            assert await busy.codes(6) == [250, 250, 354, 250, 250, 421]
            begun.send(b"RCPT TO:<b@mx.test>\r\nDATA\r\nhi\r\n.\r\n")
            assert await begun.codes(4) == [250, 354, 250, 421]
            for peer in (idle, busy, begun):
                await peer.close()
            await stopping
            assert served.server.connections == ()
        assert Slow.log.count("stored") == 2

    run(scenario())


def test_shutdown_of_an_idle_server(run: Run) -> None:
    async def scenario() -> None:
        async with serve(recorder()) as served:
            await served.server.shutdown(10)

    run(scenario())


def test_serve_forever_ends_with_its_task(run: Run) -> None:
    async def scenario() -> None:
        server = Server(recorder(), options=ServerOptions(hostname="mx.test"))
        task = asyncio.create_task(server.serve_forever())
        await until(lambda: bool(server.addresses))
        host, port = server.addresses[0].split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert (await reader.readline()).startswith(b"220 ")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.connections == ()
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()

    run(scenario())


def test_serve_forever_of_a_started_server(run: Run) -> None:
    async def scenario() -> None:
        async with serve(recorder()) as served:
            task = asyncio.create_task(served.server.serve_forever())
            await served.ready()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(scenario())


def test_a_client_half_closes_and_reads_on(run: Run) -> None:
    async def scenario() -> None:
        inbox = recorder()
        async with serve(inbox) as served:
            peer = await served.ready()
            peer.send(MESSAGE)
            peer.writer.write_eof()
            assert await peer.codes(4) == [250, 250, 354, 250]
            assert await peer.rest() == b""
            await until(lambda: not served.server.connections)
        assert inbox.messages == [b"hi\r\n"]

    run(scenario())


# --- In a thread. ---


@pytest.mark.parametrize("factory", [None, uvloop.new_event_loop])
def test_run_in_thread(
    factory: Callable[[], asyncio.AbstractEventLoop] | None,
) -> None:
    inbox = recorder()
    server = Server(inbox, options=ServerOptions(hostname="mx.test"))
    with server.run_in_thread(loop_factory=factory) as running:
        assert running is server
        host, port = server.addresses[0].split(":")
        with socket.create_connection((host, int(port)), timeout=30) as sock:
            stream = sock.makefile("rwb")
            assert stream.readline().startswith(b"220 ")
            stream.write(b"EHLO c.test\r\n" + MESSAGE + b"QUIT\r\n")
            stream.flush()
            assert stream.read().endswith(b"221 2.0.0 goodbye\r\n")
            stream.close()
    assert inbox.messages == [b"hi\r\n"]
    assert not [t for t in threading.enumerate() if t.name == "smtpx-server"]


def test_error_of_binding_is_raised_in_the_caller() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = Server(Session, f"127.0.0.1:{taken.getsockname()[1]}")
        with (
            pytest.raises(OSError, match=r"(?i)address already in use"),
            server.run_in_thread(),
        ):
            raise AssertionError
    assert not [t for t in threading.enumerate() if t.name == "smtpx-server"]


def test_error_within_the_block_ends_the_thread() -> None:
    with (
        pytest.raises(ValueError, match="mine"),
        Server(Session).run_in_thread(),
    ):
        raise ValueError("mine")
    assert not [t for t in threading.enumerate() if t.name == "smtpx-server"]


# --- Options. ---


def test_hostname_by_default() -> None:
    assert Server(Session).hostname == socket.gethostname()


def test_settings_are_made_once_a_class() -> None:
    server = Server(Session)
    assert server.config_for(Session) is server.config_for(Session)
    assert not server.config_for(Session).mechanisms


def test_implicit_tls_offers_no_starttls(certificates: Certificates) -> None:
    for is_implicit in (False, True):
        options = ServerOptions(tls=certificates.server, implicit_tls=is_implicit)
        config = Server(Session, options=options).config_for(Session)
        assert config.offers_starttls is not is_implicit


def test_file_descriptors_are_let_go(run: Run) -> None:
    async def scenario() -> None:
        async with serve(recorder()) as served:
            first = await served.ready()
            before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - quicker
            for _ in range(30):
                peer = await served.ready()
                await peer.say(b"QUIT\r\n")
                await peer.close()
            await until(lambda: len(served.server.connections) == 1)
            assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208
            assert await first.say(b"NOOP\r\n") == [250]

    run(scenario())


def test_a_connection_info_is_of_its_factory(run: Run) -> None:
    async def scenario() -> None:
        infos: list[ConnectionInfo] = []

        def factory(info: ConnectionInfo) -> Session:
            infos.append(info)
            return Session(info)

        async with serve(factory) as served:
            await served.ready()
            await served.ready()
            assert set(served.server.connections) == set(infos)
            assert len({info.id for info in infos}) == 2

    run(scenario())

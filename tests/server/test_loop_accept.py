"""Connections that uvloop accepts: which, for how long, and who goes on after it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from smtpx.server import loop_accept
from smtpx.server.listener import Server
from smtpx.server.loop_accept import (
    EVENTS_A_LOOK,
    SPARE_DESCRIPTORS,
    LoopAcceptor,
    can_accept,
    has_spare_descriptors,
)
from smtpx.server.session import Session
from smtpx.server.sockets import parse_address
from tests.server.conftest import Certificates
from tests.server.peers import Peer, recorder, run_on, serve, until

# For SO_LINGER: closing resets the connection.
RESET = struct.pack("ii", 1, 0)


class Watched(uvloop.Loop):
    """Remembers the servers that were made with it."""

    def __init__(self) -> None:
        super().__init__()
        self.servers: list[asyncio.Server] = []

    async def create_server(
        self,
        *args: Any,  # noqa: ANN401 - whatever is given
        **options: Any,  # noqa: ANN401
    ) -> asyncio.Server:
        server = await super().create_server(*args, **options)
        self.servers.append(cast("asyncio.Server", server))
        return self.servers[-1]


def loops_servers() -> list[asyncio.Server]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Watched)
    return loop.servers


def raw_client(server: Server) -> socket.socket:
    """Connect without giving the loop a turn: the kernel does it alone."""
    host, port = parse_address(server.addresses[0])
    assert host is not None
    return socket.create_connection((host, port), timeout=30)


async def hear_out(client: socket.socket) -> bytes:
    """Read all that a client gets."""
    client.setblocking(False)
    peer = Peer(*await asyncio.open_connection(sock=client))
    try:
        return await peer.rest()
    finally:
        await peer.close()


# --- Which. ---


def test_the_loops_that_can() -> None:
    for loop, can in (
        (asyncio.new_event_loop(), False),
        (uvloop.new_event_loop(), True),
        (Watched(), True),
    ):
        assert can_accept(loop) is can
        loop.close()


def test_plain_sessions_over_tcp_are_its() -> None:
    async def scenario() -> None:
        async with serve(recorder(), ["127.0.0.1:0", "[::1]:0"]) as served:
            assert len(loops_servers()) == 2
            assert await (await served.ready()).say(b"QUIT\r\n") == [221]
            assert len(loops_servers()) == 2

    run_on(Watched, scenario())


def test_what_comes_before_a_session_is_not_its(
    certificates: Certificates, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with (
            serve(recorder(), tls=certificates.server, implicit_tls=True),
            serve(recorder(), proxy_networks=("192.0.2.0/24",)),
            serve(recorder(), f"unix:{tmp_path}/s"),
        ):
            assert not loops_servers()

    run_on(Watched, scenario())


@pytest.mark.parametrize("address", ["127.0.0.1:0", "0.0.0.0:0"])
def test_what_is_known_of_a_client(address: str) -> None:
    async def scenario() -> None:
        async with serve(recorder(), address) as served:
            port = served.server.addresses[0].rpartition(":")[2]
            with socket.create_connection(("127.0.0.1", int(port))) as client:
                await until(lambda: bool(served.server.connections))
                (info,) = served.server.connections
                assert info.peer == f"127.0.0.1:{client.getsockname()[1]}"
                assert info.peer_host == "127.0.0.1"
                assert info.local == f"127.0.0.1:{port}"

    run_on(Watched, scenario())


def test_who_has_gone_before_its_address_is_asked_for() -> None:
    # What was sent could still be read, and would be a message from nowhere: one that
    # no rule for an address applies to.
    sessions: list[object] = []

    class Counted(Session):
        async def connected(self) -> None:
            sessions.append(self.connection.peer)

    async def scenario() -> None:
        async with serve(Counted) as served:
            for _ in range(3):
                with raw_client(served.server) as client:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    client.sendall(b"HELO c.test\r\nMAIL FROM:<>\r\n")
            await served.ready()
            (info,) = served.server.connections
            assert sessions == [info.peer]

    run_on(Watched, scenario())


# --- Who goes on after it. ---


def test_no_descriptor_for_a_duplicate(monkeypatch: pytest.MonkeyPatch) -> None:
    def dup(_: socket.socket) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def scenario() -> None:
        monkeypatch.setattr(socket.socket, "dup", dup)
        async with serve(recorder()) as served:
            monkeypatch.undo()
            assert not loops_servers()
            assert await (await served.ready()).say(b"QUIT\r\n") == [221]

    run_on(Watched, scenario())


@pytest.mark.parametrize("ends", [False, True])
def test_a_want_of_descriptors_is_seen_before_it_comes(
    monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    looks = 0

    def has_spare(_: socket.socket) -> bool:
        nonlocal looks
        looks += 1
        return looks < 3

    monkeypatch.setattr(loop_accept, "has_spare_descriptors", has_spare)

    async def scenario() -> None:
        async with serve(recorder(), unlimited_networks=("127.0.0.0/8",)) as served:
            (server,) = loops_servers()
            events = 0
            while looks < 3:
                assert looks == -(-events // EVENTS_A_LOOK)
                peer = await served.ready()
                events += 1
                if ends and looks < 3:
                    await peer.close()
                    await until(lambda: not served.server.connections)
                    events += 1
            assert events == 2 * EVENTS_A_LOOK + 1
            await until(lambda: not server.is_serving())
            assert await (await served.ready()).say(b"QUIT\r\n") == [221]
            assert looks == 3

    run_on(Watched, scenario())


def test_what_is_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listening:
        with socket.socket() as lowest:
            number = lowest.fileno()
        for limit, is_spare in (
            (-1, True),
            (number + SPARE_DESCRIPTORS, False),
            (number + SPARE_DESCRIPTORS + 1, True),
        ):
            monkeypatch.setattr(os, "sysconf", lambda _, limit=limit: limit)
            assert has_spare_descriptors(listening) is is_spare

        def fail(*_: object) -> None:
            raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))

        monkeypatch.setattr(socket, "socket", fail)
        assert not has_spare_descriptors(listening)


# --- The server's end. ---


@pytest.mark.parametrize("takes_queue", [True, False])
@pytest.mark.parametrize("turns", range(5))
def test_who_is_accepted_is_told_of_the_shutdown(
    turns: int, takes_queue: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Among workers the queue is left to the others, but who was accepted is ours. It is
    # greeted first: smtp-source takes no notice of a 421 in place of the greeting.
    arrivals = 0
    arrive = LoopAcceptor._arrive

    def count(acceptor: LoopAcceptor) -> asyncio.Protocol:
        nonlocal arrivals
        arrivals += 1
        return arrive(acceptor)

    monkeypatch.setattr(LoopAcceptor, "_arrive", count)

    async def scenario() -> None:
        async with serve(recorder()) as served:
            with raw_client(served.server) as client:
                for _ in range(turns):
                    await asyncio.sleep(0)
                stopping = asyncio.create_task(
                    served.server.shutdown(20, takes_queue=takes_queue)
                )
                heard = await hear_out(client)
                await stopping
                if arrivals:
                    assert heard.startswith(b"220 ")
                if arrivals or takes_queue:
                    assert b"421 4.3.2 " in heard

    run_on(Watched, scenario())
    assert arrivals or turns < 2


@pytest.mark.parametrize("turns", range(5))
def test_who_is_accepted_is_no_connection_of_a_closed_server(turns: int) -> None:
    made: list[object] = []

    class Counted(Session):
        async def connect(self) -> None:
            made.append(self)

    async def scenario() -> None:
        async with serve(Counted) as served:
            with raw_client(served.server) as client:
                for _ in range(turns):
                    await asyncio.sleep(0)
                await served.server.close()
                count = len(made)
                heard = await hear_out(client)
                assert heard in {b"", b"(reset)", b"220 mx.test ESMTP smtpx\r\n"}
                assert served.server.connections == ()
                assert len(made) == count

    run_on(Watched, scenario())


def test_one_shut_down_and_closed_in_one_turn() -> None:
    async def scenario() -> None:
        async with serve(recorder()) as served:
            with raw_client(served.server) as client:
                stopping = asyncio.create_task(served.server.shutdown(20))
                await served.server.close()
                stopping.cancel()
                assert await hear_out(client) in {b"", b"(reset)"}
                assert served.server.connections == ()

    run_on(Watched, scenario())

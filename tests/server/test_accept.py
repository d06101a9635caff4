"""Accepting connections: from when they count, at the server's end, and in want."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from smtpx.server import accept
from smtpx.server.accept import Acceptor
from smtpx.server.listener import Server
from smtpx.server.options import ServerOptions, ServerTimeouts
from smtpx.server.session import Session
from smtpx.server.sockets import Listener, parse_address
from tests.server.conftest import Certificates, Run
from tests.server.peers import Peer, recorder, run_on, serve, settle, until
from tests.slow_callbacks import without_slow_callbacks

# The beginning of a handshake, so that one is under way.
HALF_A_HANDSHAKE = b"\x16\x03\x01\x02\x00\x01\x00"


def errors_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def raw_client(server: Server) -> socket.socket:
    """Connect without giving the loop a turn: the kernel does it alone."""
    host, port = parse_address(server.addresses[0])
    assert host is not None
    return socket.create_connection((host, port), timeout=30)


# --- Handshakes of implicit TLS. ---


def test_handshakes_count(run: Run, certificates: Certificates) -> None:
    async def scenario() -> None:
        async with serve(
            recorder(), tls=certificates.server, implicit_tls=True, max_connections=2
        ) as served:
            first, _second = await served.connect(), await served.connect()
            await until(lambda: len(served.server.connections) == 2)
            assert all(info.tls is None for info in served.server.connections)
            third = await served.connect()
            assert await third.rest() in {b"", b"(reset)"}
            assert len(served.server.connections) == 2
            first.send(b"no handshake\r\n")
            await first.rest()
            await until(lambda: len(served.server.connections) == 1)
            await served.ready(tls=certificates.client)

    run(scenario())


def test_handshakes_of_one_client_count(run: Run, certificates: Certificates) -> None:
    async def scenario() -> None:
        async with serve(
            recorder(),
            tls=certificates.server,
            implicit_tls=True,
            max_connections_per_ip=1,
            unlimited_networks=(),
        ) as served:
            await served.connect()
            await until(lambda: len(served.server.connections) == 1)
            second = await served.connect()
            assert await second.rest() in {b"", b"(reset)"}

    run(scenario())


@pytest.mark.parametrize("way", ["close", "info", "shutdown"])
def test_the_end_comes_to_a_handshake(
    run: Run,
    certificates: Certificates,
    way: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made: list[object] = []

    async def scenario() -> None:
        async with serve(
            made.append,  # type: ignore[arg-type]
            tls=certificates.server,
            implicit_tls=True,
        ) as served:
            peer = await served.connect()
            peer.send(HALF_A_HANDSHAKE)
            await until(lambda: len(served.server.connections) == 1)
            await settle(lambda: 0)
            if way == "close":
                await served.server.close()
            elif way == "info":
                served.server.connections[0].close()
                await until(lambda: not served.server.connections)
            else:
                await served.server.shutdown(0.01)
            assert served.server.connections == ()
            assert await peer.rest() in {b"", b"(reset)"}

    with caplog.at_level(logging.INFO):
        run(scenario())
    assert not made
    assert not errors_in(caplog)
    assert "no session with 127.0.0.1:" in caplog.text


def test_a_handshake_may_end_in_a_shutdown(
    run: Run, certificates: Certificates
) -> None:
    async def scenario() -> None:
        async with serve(
            recorder(), tls=certificates.server, implicit_tls=True
        ) as served:
            peer = await served.connect()
            await until(lambda: len(served.server.connections) == 1)
            stopping = asyncio.create_task(served.server.shutdown(20))
            await settle(lambda: 0)
            assert not stopping.done()
            await peer.start_tls(certificates.client)
            assert await peer.rest() == (
                b"220 mx.test ESMTP smtpx\r\n421 4.3.2 server is shutting down\r\n"
            )
            await peer.close()
            await stopping

    run(scenario())


def test_a_handshake_has_its_time(run_timed: Run, certificates: Certificates) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with serve(
            recorder(),
            tls=certificates.server,
            implicit_tls=True,
            timeouts=ServerTimeouts(handshake=7),
        ) as served:
            peer = await served.connect()
            before = loop.time()
            assert await peer.rest() in {b"", b"(reset)"}
            assert 7 <= loop.time() - before < 9
            await until(lambda: not served.server.connections)

    run_timed(scenario())


# --- The server's end. ---


@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize("turns", range(6))
def test_a_client_that_connects_as_the_server_closes(
    run: Run,
    certificates: Certificates,
    is_tls: bool,
    turns: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # asyncio's own server logs "Error on transport creation" then, and leaves a socket
    # unclosed; `-W error` would notice that.
    async def scenario() -> None:
        async with serve(
            recorder(),
            tls=certificates.server if is_tls else None,
            implicit_tls=is_tls,
        ) as served:
            with raw_client(served.server):
                for _ in range(turns):
                    await asyncio.sleep(0)
                await served.server.close()
                assert served.server.connections == ()

    run(scenario())
    assert not errors_in(caplog)


@pytest.mark.parametrize("turns", range(5))
def test_clients_that_the_kernel_has_connected_are_told_of_the_shutdown(
    run: Run, turns: int
) -> None:
    async def scenario() -> None:
        async with serve(recorder()) as served:
            clients = [raw_client(served.server) for _ in range(100)]
            for _ in range(turns):
                await asyncio.sleep(0)
            stopping = asyncio.create_task(served.server.shutdown(20))
            for client in clients:
                client.setblocking(False)
                streams = await asyncio.open_connection(sock=client)
                peer = Peer(*streams)
                rest = await peer.rest()
                greeting, _, last = rest.rpartition(b"421 4.3.2 ")
                assert greeting in {b"", b"220 mx.test ESMTP smtpx\r\n"}, rest
                assert last.endswith(b"\r\n")
                await peer.close()
            await stopping

    run(scenario())


def test_a_socket_of_somebody_else_keeps_its_queue(run: Run) -> None:
    async def scenario() -> None:
        with socket.socket() as shared:
            shared.bind(("127.0.0.1", 0))
            shared.listen()
            async with serve(recorder(), shared.dup()) as served:
                with raw_client(served.server) as client:
                    await served.server.shutdown(20)
                    # Who else listens there serves the client.
                    async with serve(recorder(), shared.dup()):
                        client.setblocking(False)
                        peer = Peer(*await asyncio.open_connection(sock=client))
                        assert await peer.codes(1) == [220]
                        await peer.close()

    run(scenario())


# --- Loops without readiness. ---


class ProactorLike(asyncio.SelectorEventLoop):
    """Lacks what Windows' own loop lacks, to those who ask for it by its name."""

    add_reader = asyncio.AbstractEventLoop.add_reader


def test_a_loop_that_cannot_wait_for_readiness() -> None:
    async def scenario() -> None:
        async with serve(recorder()) as served:
            assert await (await served.ready()).say(b"QUIT\r\n") == [221]
            assert await (await served.ready()).say(b"QUIT\r\n") == [221]
            await served.server.shutdown(10)

    run_on(ProactorLike, scenario())


# --- Errors. ---


class Scripted:
    """Stands for a listening socket: raises, or gives, what it is told to."""

    def __init__(self, *outcomes: object) -> None:
        self.outcomes = list(outcomes)
        self.readable, self._writable = socket.socketpair()
        self.readable.setblocking(False)
        self.wake()

    def fileno(self) -> int:
        return self.readable.fileno()

    def accept(self) -> tuple[object, object]:
        if not self.outcomes:
            # From now on nobody waits here, and so time passes.
            self.readable.recv(1)
            raise BlockingIOError
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome, ("192.0.2.1", 9)

    def wake(self) -> None:
        self._writable.send(b"x")

    def close(self) -> None:
        self.readable.close()
        self._writable.close()


def acceptor_of(
    *outcomes: object,
) -> tuple[Acceptor, Scripted, list[object]]:
    taken: list[object] = []
    scripted = Scripted(*outcomes)
    acceptor = Acceptor(
        asyncio.get_running_loop(),
        scripted,  # type: ignore[arg-type]
        lambda sock, _: taken.append(sock),
        name="127.0.0.1:25",
    )
    return acceptor, scripted, taken


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EINVAL]
)
def test_a_shortage_is_waited_for(
    run_timed: Run, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        want = [OSError(number, os.strerror(number)) for _ in range(3)]
        acceptor, scripted, taken = acceptor_of("a", "b", *want, "c")
        acceptor.start()
        await until(lambda: len(scripted.outcomes) == 3)
        assert taken == ["a", "b"]
        began = loop.time()
        await asyncio.sleep(accept.RETRY_SECONDS / 2)
        assert len(scripted.outcomes) == 3
        while not taken[2:]:  # noqa: ASYNC110 - the clock is what is tested
            await asyncio.sleep(0.1)
        waited = loop.time() - began
        assert accept.RETRY_SECONDS * 3 <= waited < accept.RETRY_SECONDS * 4
        acceptor.stop(takes_queue=False)

    run_timed(scenario())
    (line,) = errors_in(caplog)
    assert line.startswith("127.0.0.1:25: cannot accept connections: ")
    is_limit = number in {errno.EMFILE, errno.ENFILE}
    assert ("raise the limit of open files" in line) is is_limit


def test_it_is_told_again_after_a_while(
    run_timed: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        want = OSError(errno.EMFILE, "")
        acceptor, scripted, taken = acceptor_of(want, want, "a")
        acceptor.start()
        await asyncio.sleep(accept.RETRY_SECONDS * 3)
        assert taken == ["a"]
        assert len(errors_in(caplog)) == 1
        for pause, count in (
            (accept.QUIET_SECONDS / 2, 1),
            (accept.QUIET_SECONDS - 1, 1),
            (accept.QUIET_SECONDS + 1, 2),
        ):
            await asyncio.sleep(pause)
            scripted.outcomes.append(want)
            scripted.wake()
            await asyncio.sleep(accept.RETRY_SECONDS * 0.5)
            assert not scripted.outcomes
            assert len(errors_in(caplog)) == count
        acceptor.stop(takes_queue=False)

    run_timed(scenario())


def test_a_connection_that_ends_makes_room_at_once(run_timed: Run) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        acceptor, scripted, taken = acceptor_of(OSError(errno.EMFILE, ""), "a")
        acceptor.start()
        await until(lambda: len(scripted.outcomes) == 1)
        before = loop.time()
        acceptor.resume()
        await until(lambda: bool(taken))
        assert loop.time() == before
        # Without a shortage it means nothing.
        acceptor.resume()
        acceptor.stop(takes_queue=False)
        acceptor.resume()

    run_timed(scenario())


def test_stopped_in_a_shortage(run_timed: Run) -> None:
    async def scenario() -> None:
        acceptor, scripted, taken = acceptor_of(OSError(errno.EMFILE, ""), "a")
        acceptor.start()
        await until(lambda: len(scripted.outcomes) == 1)
        acceptor.stop(takes_queue=True)
        await asyncio.sleep(accept.RETRY_SECONDS * 2)
        assert not taken

    run_timed(scenario())


def test_a_connection_that_failed_before_it_was_accepted_hinders_nobody(
    run_timed: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        failed = [OSError(n, "") for n in (errno.ECONNABORTED, errno.EPERM)]
        acceptor, _, taken = acceptor_of(*failed, InterruptedError(), "a")
        before = loop.time()
        acceptor.start()
        await until(lambda: bool(taken))
        assert loop.time() == before
        acceptor.stop(takes_queue=False)

    run_timed(scenario())
    assert not errors_in(caplog)


def test_a_flood_of_connections_leaves_neighbours_their_turn(run_timed: Run) -> None:
    async def scenario() -> None:
        acceptor, scripted, taken = acceptor_of(*range(1_000))
        acceptor.start()
        most = 0
        while scripted.outcomes:
            before = len(taken)
            await asyncio.sleep(0)
            most = max(most, len(taken) - before)
        assert most == accept.MAX_BATCH
        assert taken == list(range(1_000))
        acceptor.stop(takes_queue=False)

    run_timed(scenario())


OUT_OF_DESCRIPTORS = Path(__file__).parent / "out_of_descriptors.py"


# Of 320 clients, uvloop accepts the first itself: see test_loop_accept.py.
@pytest.mark.parametrize("counts", [("40", "10"), ("320", "200")])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_out_of_descriptors(loop: str, counts: tuple[str, str]) -> None:
    # For real, so in a process of its own.
    script = [str(OUT_OF_DESCRIPTORS), loop, *counts]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", *script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "served\n"), done.stderr
    lines = without_slow_callbacks(done.stderr).splitlines()
    assert len(lines) == 1, done.stderr
    assert "cannot accept connections: Too many open files" in lines[0]


# --- Servers without an address, or with wrong ones. ---


def test_a_server_needs_an_address() -> None:
    with pytest.raises(ValueError, match="needs an address"):
        Server(Session, [])


def test_a_port_alone_is_no_address() -> None:
    with pytest.raises(TypeError, match=r"'127.0.0.1:2525', or ':2525'"):
        Server(Session, 2525)  # type: ignore[arg-type]


def test_a_session_is_no_factory_of_sessions() -> None:
    """Found at the start, and not at the first connection."""
    session = Session(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="give it the class, not <"):
        Server(session)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a b", "mx.test\r\n250 x", "\u2028", "m\u00fc.test"])
def test_a_name_that_cannot_greet(name: str) -> None:
    with pytest.raises(ValueError, match="is not one word of ASCII characters"):
        ServerOptions(hostname=name)


def test_a_listener_that_contradicts_the_server() -> None:
    with pytest.raises(ValueError, match="need tls"):
        Server(
            Session, Listener("127.0.0.1:0", implicit_tls=True), options=ServerOptions()
        )


# --- What is accepted. ---


def accept_from(listening: socket.socket) -> tuple[socket.socket, object]:
    """Accept one connection; it is there already."""

    async def scenario() -> tuple[socket.socket, object]:
        loop = asyncio.get_running_loop()
        taken: asyncio.Future[tuple[socket.socket, object]] = loop.create_future()
        acceptor = Acceptor(
            loop, listening, lambda *found: taken.set_result(found), name="it"
        )
        acceptor.start()
        try:
            return await asyncio.wait_for(taken, 60)
        finally:
            acceptor.stop(takes_queue=False)

    return asyncio.run(scenario())


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_an_accepted_socket_knows_what_it_is(
    family: socket.AddressFamily, tmp_path: Path
) -> None:
    with socket.socket(family) as listening, socket.socket(family) as client:
        where = ("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "s")
        listening.bind(where)
        listening.listen()
        client.connect(listening.getsockname())
        protocol = listening.proto
        sock, peer = accept_from(listening)
        with sock, socket.socket(fileno=os.dup(sock.fileno())) as asked:
            assert (sock.family, sock.type) == (asked.family, asked.type)
            assert sock.proto == protocol
            assert repr(sock.family) == repr(asked.family)
            assert peer == client.getsockname()
            sock.sendall(b"220 ")
        assert client.recv(5) == b"220 "
        assert not client.recv(1)


def test_a_socket_that_accepts_in_its_own_way_does() -> None:
    class Counting(socket.socket):
        accepted = 0

        def accept(self) -> tuple[socket.socket, object]:
            self.accepted += 1
            return super().accept()

    with Counting() as listening, socket.socket() as client:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        client.connect(listening.getsockname())
        sock, _ = accept_from(listening)
        sock.close()
        assert listening.accepted == 1

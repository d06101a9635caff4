"""Connecting over sockets that block."""

from __future__ import annotations

import signal
import socket
import ssl
import struct
from typing import TYPE_CHECKING

import pytest

from smtpx.net import blocking
from tests.net.conftest import Play, run_without_loop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Pair = tuple[socket.socket, socket.socket]


def test_tcp_connects_by_name_and_from_an_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        channel = blocking.connect_tcp(
            "localhost", port, timeout=30, local_address="127.0.0.2"
        )
        theirs, address = listener.accept()
        with theirs:
            assert address[0] == "127.0.0.2"
            assert channel.local.startswith("127.0.0.2:")
            run_without_loop(channel.close())


def test_tcp_goes_on_to_the_next_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_server(("127.0.0.2", 0)) as closed:
            dead = closed.getsockname()
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
            for address in (dead, ("127.0.0.1", port))
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        channel = blocking.connect_tcp("mx.test", 25, timeout=30)
        assert channel.peer == f"127.0.0.1:{port}"
        channel.abort()


def test_tcp_raises_the_last_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        blocking.connect_tcp("127.0.0.1", port, timeout=30)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    with pytest.raises(OSError, match="no address"):
        blocking.connect_tcp("mx.test", port, timeout=30)


def test_tcp_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TimeoutError):
        blocking.connect_tcp("127.0.0.1", 9, timeout=0)


def test_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "lmtp")
    with pytest.raises(FileNotFoundError):
        blocking.connect_unix(path, timeout=30)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        channel = blocking.connect_unix(path, timeout=30)
        assert channel.peer == f"unix:{path}"
        assert channel.local == "unix:"
        channel.abort()


def test_interrupt_while_connecting_leaves_no_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[socket.socket] = []

    class Interrupted(socket.socket):
        def connect_ex(self, address: object) -> int:
            made.append(self)
            raise KeyboardInterrupt

    monkeypatch.setattr(socket, "socket", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        blocking.connect_tcp("127.0.0.1", 25, timeout=30)
    (sock,) = made
    assert sock.fileno() == -1


class Counting(socket.socket):
    """A socket that counts reads in vain, and may tell falsely what was set."""

    misses = 0
    option = b""

    def recv(self, *args: int) -> bytes:
        try:
            return super().recv(*args)
        except BlockingIOError:
            self.misses += 1
            raise

    def getsockopt(self, *args: int) -> bytes:  # type: ignore[override]
        found: bytes = super().getsockopt(*args)  # type: ignore[assignment]
        return self.option or found


@pytest.fixture
def counting() -> Iterator[tuple[Counting, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(30)
    with Counting(fileno=ours.detach()) as counted, theirs:
        yield counted, theirs


def test_reads_wait_in_the_system_and_writes_never_do(
    counting: tuple[Counting, socket.socket],
) -> None:
    ours, _ = counting
    channel = blocking.BlockingChannel(ours)
    assert ours.getblocking()
    with pytest.raises(TimeoutError):
        run_without_loop(channel.send(bytes(16 * 1024 * 1024), timeout=0.05))


@pytest.mark.parametrize(
    "option",
    [
        struct.pack("@ll", 0, 0),
        struct.pack("@ll", 60, 0),
        struct.pack("@ll", -1, 0),
        b"\x01\0\0\0",
    ],
    ids=["not taken", "in other units", "nonsense", "of another form"],
)
def test_reads_do_not_wait_if_the_option_was_not_taken(
    counting: tuple[Counting, socket.socket], option: bytes
) -> None:
    ours, theirs = counting
    ours.option = option
    channel = blocking.BlockingChannel(ours)
    assert not ours.getblocking()
    with pytest.raises(TimeoutError):
        run_without_loop(channel.receive(timeout=0.05))
    theirs.sendall(b"250 ok\r\n")
    assert run_without_loop(channel.receive(timeout=30)) == b"250 ok\r\n"
    assert not ours.misses


def test_reads_of_a_tls_socket_do_not_wait(
    counting: tuple[Counting, socket.socket],
) -> None:
    """Its calls take no flags, and those without one must not wait."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    wrapped = context.wrap_socket(
        counting[0], server_hostname="mx.test", do_handshake_on_connect=False
    )
    with wrapped:
        blocking.BlockingChannel(wrapped)
        assert not wrapped.getblocking()


def test_a_reply_that_was_long_in_coming_is_polled_for_next_time(
    counting: tuple[Counting, socket.socket],
) -> None:
    ours, theirs = counting
    channel = blocking.BlockingChannel(ours)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            run_without_loop(channel.receive(timeout=0.05))
    assert ours.misses == 1
    # What is there at once sets it right again.
    theirs.sendall(b"250 ok\r\n")
    assert run_without_loop(channel.receive(timeout=30)) == b"250 ok\r\n"
    with pytest.raises(TimeoutError):
        run_without_loop(channel.receive(timeout=0.05))
    assert ours.misses == 2


def test_a_timeout_shorter_than_a_read_is_kept(
    counting: tuple[Counting, socket.socket],
) -> None:
    ours, _ = counting
    channel = blocking.BlockingChannel(ours)
    with pytest.raises(TimeoutError):
        run_without_loop(channel.receive(timeout=0.001))
    assert not ours.misses


@pytest.fixture
def ticks() -> Iterator[list[int]]:
    """Signals, fifty a second, whose handler does nothing but count."""
    heard: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _frame: heard.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    yield heard
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_signals_do_not_move_a_deadline(pair: Pair, ticks: list[int]) -> None:
    channel = blocking.BlockingChannel(pair[0])
    with pytest.raises(TimeoutError):
        run_without_loop(channel.receive(timeout=0.2))
    assert ticks


def test_what_a_signal_handler_raises_ends_a_read(pair: Pair, ticks: list[int]) -> None:
    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    channel = blocking.BlockingChannel(pair[0])
    signal.signal(signal.SIGALRM, interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_without_loop(channel.receive(timeout=30))


def test_a_read_outlasts_signals(
    pair: Pair, ticks: list[int], play: Play[object]
) -> None:
    ours, theirs = pair
    channel = blocking.BlockingChannel(ours)

    def answer_late() -> None:
        theirs.settimeout(0.1)
        with pytest.raises(TimeoutError):
            theirs.recv(1)
        theirs.sendall(b"250 ok\r\n")

    play(answer_late)
    assert run_without_loop(channel.receive(timeout=30)) == b"250 ok\r\n"
    assert ticks

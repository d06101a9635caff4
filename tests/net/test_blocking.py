"""Connecting over sockets that block."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from smtpx.net import blocking
from tests.net.conftest import run_without_loop

if TYPE_CHECKING:
    from pathlib import Path


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

"""The peer of the matrix behind sockets: it closes, resets, and stops to read.

What a peer on a socket has written, a client may never read, if the connection is
reset behind it, or if the client's time is up. Then what was acknowledged is in doubt
here too.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.client.scripted import step

if TYPE_CHECKING:
    import ssl

    from tests.faults.peer import Connection, Peer

__all__ = ["SocketPeer"]

HOST = "127.0.0.1"
# A client that leaves a connection open for so long has forgotten it.
PATIENCE = 60.0
_AT_ONCE = struct.pack("ii", 1, 0)


class SocketPeer:
    """Lets sockets speak with a peer, each in a thread.

    Args:
        peer: in memory.
        context: for TLS from the first octet; None in clear.
    """

    def __init__(self, peer: Peer, context: ssl.SSLContext | None = None) -> None:
        self.peer = peer
        self._context = context
        self._mutex = threading.Lock()
        self._is_over = threading.Event()
        self._listener = socket.create_server((HOST, 0))
        self._threads: list[threading.Thread] = []
        self.address = self._listener.getsockname()

    def url(self, *, is_lmtp: bool = False) -> str:
        scheme = "smtp+plain" if self._context is None else "smtps"
        return f"{'lmtp' if is_lmtp else scheme}://{HOST}:{self.address[1]}"

    @contextmanager
    def running(self) -> Iterator[SocketPeer]:
        """Serve; in the end every client must have left."""
        thread = threading.Thread(target=self._accept)
        thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            socket.create_connection(self.address).close()
            for one in (thread, *self._threads):
                one.join()
            self._listener.close()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self._is_over.is_set():
                sock.close()
                return
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            self._talk(sock)
        except TimeoutError:
            self.peer.complain("a connection is left open")
        except OSError:
            self._doubt()
        finally:
            sock.close()

    def _talk(self, sock: socket.socket) -> None:
        with self._mutex:
            connection = self.peer.connect()
        while True:
            while octets := self._pull(connection):
                sock.sendall(octets)
            if connection.is_closed:
                self._leave(sock, is_reset=connection.is_reset)
                return
            if connection.is_silent:
                self._doubt()
                self._is_over.wait(PATIENCE)
                return
            data = sock.recv(65_536)
            if not data:
                return
            with self._mutex:
                try:
                    step(connection.send(data, timeout=None))
                except TimeoutError:
                    connection.is_silent = True

    def _pull(self, connection: Connection) -> bytes:
        """Return what there is to say."""
        with self._mutex:
            if not connection.out:
                return b""
            try:
                return step(connection.receive(timeout=None))
            except (TimeoutError, ConnectionResetError):
                return b""

    def _leave(self, sock: socket.socket, *, is_reset: bool) -> None:
        if is_reset:
            self._doubt()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            return
        sock.shutdown(socket.SHUT_WR)
        # Closed with octets unread, it would be a reset.
        while sock.recv(65_536):
            pass

    def _doubt(self) -> None:
        """Note that the client may not have read what was written."""
        with self._mutex:
            self.peer.doubtful |= self.peer.heard
            self.peer.heard.clear()

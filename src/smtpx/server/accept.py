"""How connections are accepted: a batch whenever a listening socket has some.

Theory of operation. ``loop.create_server`` tells of a connection when its transport is
made, which under implicit TLS is after the handshake: until then nobody counts it, and
nobody can close it. Nor has it a good answer to a want of descriptors: asyncio logs an
error for each place in the backlog, and uvloop turns away all who wait. So the
listening socket is read here, with nothing but the loop's public interface, and each
connection is known from its ``accept`` on. Where neither matters, uvloop may do it: see
``loop_accept``.

The kernel tells the client's address with it, so that nobody has to ask again.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RETRY_SECONDS", "Acceptor"]

logger = logging.getLogger("smtpx.server")

#: How long to wait when the system is short of something, unless a connection ends
#: first; what asyncio waits (its ``ACCEPT_RETRY_DELAY``).
RETRY_SECONDS: Final = 1.0

#: How many connections are accepted before those that exist have a turn. A connection
#: costs some 0.2 ms, so about ten milliseconds of work.
MAX_BATCH: Final = 64

#: A shortage that comes again within this time is the same one, to the log.
QUIET_SECONDS: Final = 60.0

# A connection that failed before it was accepted: Linux hands its error to us, saying
# to try again (accept(2)). EPERM is a firewall's. All else is a want of descriptors
# (EMFILE, ENFILE) or of memory (ENOBUFS, ENOMEM), or the socket is broken: to try again
# at once would take all of the processor's time.
_FAILED_BEFORE: Final = frozenset(
    number
    for name in (
        *("ECONNABORTED", "ECONNRESET", "EPROTO", "EPERM", "ENETDOWN", "ENETUNREACH"),
        *("ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH", "EOPNOTSUPP", "EINTR"),
    )
    if (number := getattr(errno, name, None)) is not None
)


class Acceptor:
    """Accepts the connections of one listening socket.

    Args:
        loop: that the server runs on.
        sock: it listens, and does not block.
        take: gets each connection and the address of its client; it must not raise.
        name: of the socket, for the log.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        take: Callable[[socket.socket, object], None],
        *,
        name: str,
    ) -> None:
        self.sock = sock
        self._loop = loop
        self._take = take
        self._accept = _accept_of(sock)
        self._name = name
        self._batch = 1
        self._is_reading = False
        self._quiet_until = 0.0
        self._retry: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to accept."""
        try:
            self._loop.add_reader(self.sock.fileno(), self._accept_batch)
            self._is_reading = True
        except NotImplementedError:
            # Windows' own loop has no readiness to wait for.
            self._task = self._loop.create_task(self._accept_for_ever())

    def stop(self, *, takes_queue: bool) -> None:
        """Accept no more, and close the socket.

        Args:
            takes_queue: take those first that the kernel has connected already, which
                are reset otherwise. Not right for a socket that others listen on too.
        """
        if takes_queue and self._is_reading:
            self._batch = MAX_BATCH
            while self._accept_batch() and self._is_reading:
                pass
        self._stop_reading()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._task is not None:
            self._task.cancel()
        self.sock.close()

    def resume(self) -> None:
        """A connection has ended: what was short may be there again."""
        if self._retry is None:
            return
        self._retry.cancel()
        self._retry = None
        self.start()

    # ------------------------------------------------------------------------ inside

    def _stop_reading(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self.sock.fileno())

    def _accept_batch(self) -> bool:
        """Accept what is there, up to a limit; tell whether there may be more.

        The last ``accept`` of a batch fails, which costs as much as one that does not.
        So the batch begins with one, and doubles as long as clients wait.
        """
        for _ in range(self._batch):
            try:
                sock, address = self._accept()
            except (BlockingIOError, InterruptedError):
                self._batch = 1
                return False
            except OSError as error:
                if error.errno not in _FAILED_BEFORE:
                    self._back_off(error)
                    return False
            else:
                self._take(sock, address)
        self._batch = min(2 * self._batch, MAX_BATCH)
        return True

    async def _accept_for_ever(self) -> None:
        """Accept where nothing tells that a client waits."""
        while True:
            try:
                sock, address = await self._loop.sock_accept(self.sock)
            except OSError as error:
                if error.errno not in _FAILED_BEFORE:
                    self._task = None
                    self._back_off(error)
                    return
            else:
                self._take(sock, address)

    def _back_off(self, error: OSError) -> None:
        """Leave clients in the kernel's queue until there is room again."""
        self._stop_reading()
        now = self._loop.time()
        if now >= self._quiet_until:
            is_limit = error.errno in {errno.EMFILE, errno.ENFILE}
            advice = "raise the limit of open files, or lower max_connections"
            logger.error(
                "%s: cannot accept connections: %s; clients wait until it can%s",
                self._name,
                error.strerror or error,
                f"; {advice}" if is_limit else "",
            )
        # At the limit it comes again with each client: one line tells of them all.
        self._quiet_until = now + QUIET_SECONDS
        self._retry = self._loop.call_later(RETRY_SECONDS, self.resume)


def _accept_of(
    listening: socket.socket,
) -> Callable[[], tuple[socket.socket, object]]:
    """Return what accepts a connection as a socket that knows what it is.

    A ``socket`` makes a member of an enumeration each time it is asked for its family
    or its type, and `socket.accept` and the loop ask five times. That is 6 % of what a
    connection with one message costs.

    ``_accept`` is what `socket.accept` itself calls, in CPython and in PyPy. Where
    there is none, or a class of sockets accepts in its own way, that way is taken.
    """
    accept = getattr(listening, "_accept", None)
    if accept is None or type(listening).accept is not socket.socket.accept:
        return listening.accept
    family, kind, protocol = listening.family, listening.type, listening.proto
    made = _class_of(family, kind)

    def accept_one() -> tuple[socket.socket, object]:
        descriptor, address = accept()
        return made(family, kind, protocol, descriptor), address

    return accept_one


@functools.cache
def _class_of(
    family: socket.AddressFamily, kind: socket.SocketKind
) -> type[socket.socket]:
    """Return the class of accepted sockets that are all of one family and type."""
    facts = {"__slots__": (), "family": family, "type": kind}
    return type("AcceptedSocket", (socket.socket,), facts)

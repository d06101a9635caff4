"""Accepting connections by uvloop itself, as long as there are descriptors to spare.

Theory of operation. uvloop accepts in C and makes the transport there; to accept in
Python and hand it the socket takes a tenth of all that a connection with one message
costs. But it has no good answer to a want of descriptors: it closes all who wait, and
no log tells of it; of memory: it tries again at once, for ever. So it gets a duplicate
of the listening socket, and only while there is room. Every few connections a socket is
made to see whether there is, and its number tells how many descriptors are left. Long
before there are none, an ``Acceptor`` goes on at the listening socket, in whose queue
nobody was lost, and then to the end of the server.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpx.server.accept import Acceptor

__all__ = ["EVENTS_A_LOOK", "SPARE_DESCRIPTORS", "LoopAcceptor", "can_accept"]

#: The loop accepts no more when fewer descriptors are free: half of what a process gets
#: where that is least (256, on macOS), an eighth of it on Linux.
SPARE_DESCRIPTORS: Final = 128

#: How many connections may begin or end between two looks at what is free: so few that
#: four listeners together cannot use up what is spared. A look takes 9 us, 0.4 %
#: of 16 connections with a message each.
EVENTS_A_LOOK: Final = 32


def can_accept(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether a loop accepts better than we do: whether it is uvloop's.

    asyncio's own makes a task for each connection.

    Args:
        loop: any.
    """
    names = {kind.__module__.partition(".")[0] for kind in type(loop).__mro__}
    return "uvloop" in names


class LoopAcceptor:
    """Has the loop accept the connections of one listening socket, while it is safe.

    Args:
        loop: that the server runs on; `can_accept` is true of it.
        acceptor: of the same socket; it has not started.
        backlog: the socket's.
        take: gets the transport of each connection; it must not raise.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        acceptor: Acceptor,
        backlog: int,
        take: Callable[[asyncio.Transport], None],
    ) -> None:
        self._loop = loop
        self._acceptor = acceptor
        self._backlog = backlog
        self._arrival = _Arrival(take)
        self._server: asyncio.Server | None = None
        self._events_to_look = 0
        self._is_handed_over = False

    async def start(self) -> None:
        """Begin to accept."""
        try:
            listening = self._acceptor.sock.dup()
        except OSError:
            # There is no descriptor left for it.
            self.go_on_by_hand()
            return
        self._server = await self._loop.create_server(
            self._arrive, sock=listening, backlog=self._backlog
        )

    def stop(self, *, takes_queue: bool) -> None:
        """Accept no more, and close the socket.

        Args:
            takes_queue: take those first that the kernel has connected already.
        """
        self.go_on_by_hand()
        self._acceptor.stop(takes_queue=takes_queue)

    def go_on_by_hand(self) -> bool:
        """Have the loop accept no more, but the acceptor; tell whether the loop did.

        Those whom the loop has accepted already it tells of in its next turn.
        """
        if self._is_handed_over:
            return False
        self._is_handed_over = True
        if self._server is not None:
            self._server.close()
        self._acceptor.start()
        return True

    def resume(self) -> None:
        """A connection has ended: what was short may be there again."""
        if self._is_handed_over:
            self._acceptor.resume()
        else:
            self._look()

    # ------------------------------------------------------------------------ inside

    def _arrive(self) -> asyncio.Protocol:
        """Take note of a connection that the loop has accepted."""
        self._look()
        return self._arrival

    def _look(self) -> None:
        """See now and then whether the loop may go on."""
        if self._events_to_look:
            self._events_to_look -= 1
            return
        self._events_to_look = EVENTS_A_LOOK - 1
        if not has_spare_descriptors(self._acceptor.sock):
            # Not here: the loop is about to use its listener.
            self._loop.call_soon(self.go_on_by_hand)


def has_spare_descriptors(listening: socket.socket) -> bool:
    """Tell whether enough descriptors are free, of which the lowest is used first.

    Args:
        listening: whose connections need them.
    """
    try:
        # As accept would, so that whatever that lacks is missed here.
        with socket.socket(listening.family, listening.type) as lowest:
            number = lowest.fileno()
    except OSError:
        return False
    limit = os.sysconf("SC_OPEN_MAX")
    is_limited = limit >= 0
    return not is_limited or number < limit - SPARE_DESCRIPTORS


class _Arrival(asyncio.Protocol):
    """What every connection is until its transport is made; it knows nothing of it.

    Args:
        take: gets the transport.
    """

    def __init__(self, take: Callable[[asyncio.Transport], None]) -> None:
        self._take = take

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # That of uvloop is none of asyncio's by its class.
        self._take(cast("asyncio.Transport", transport))

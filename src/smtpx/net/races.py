"""Connecting to the first of several addresses that answers: sockets that block.

One thread, sockets in non-blocking mode and a selector; see `smtpx.net.addresses`.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from collections.abc import Sequence

from smtpx.net.addresses import Endpoint, Race, make_socket

__all__ = ["connect_first"]

# What a socket that does not block says when it has begun; the second is Windows'.
_BEGUN = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK})


def connect_first(
    endpoints: Sequence[Endpoint],
    *,
    timeout: float | None,
    local_address: str | None = None,
) -> socket.socket:
    """Connect to whichever answers first (RFC 8305 section 5).

    Args:
        endpoints: the best first, at least one.
        timeout: in seconds, for all together.
        local_address: the IP address to connect from.

    Returns:
        The socket, in non-blocking mode.

    Raises:
        TimeoutError: none answered in time.
        OSError: all failed.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    if timeout is not None and timeout <= 0:
        raise TimeoutError("no connection in time")
    race = Race(endpoints)
    with selectors.DefaultSelector() as selector:
        try:
            while True:
                winner = _start(race, selector, local_address)
                if winner is None:
                    winner = _wait(race, selector, deadline)
                if winner is not None:
                    return winner
        finally:
            for key in list(selector.get_map().values()):
                _socket_of(key).close()


def _start(
    race: Race, selector: selectors.BaseSelector, local_address: str | None
) -> socket.socket | None:
    """Begin the attempts that are due; return a socket if one is connected at once."""
    while (endpoint := race.start(time.monotonic())) is not None:
        try:
            sock = make_socket(endpoint, local_address)
        except OSError as error:
            race.fail(error)
            continue
        try:
            code = sock.connect_ex(endpoint.address)
            if code == 0:
                return sock
            if code in _BEGUN:
                selector.register(sock, selectors.EVENT_WRITE)
                continue
        except BaseException:
            sock.close()
            raise
        sock.close()
        race.fail(OSError(code, os.strerror(code)))
    return None


def _wait(
    race: Race, selector: selectors.BaseSelector, deadline: float | None
) -> socket.socket | None:
    """Wait for the attempts under way; return a socket if one is connected."""
    if not selector.get_map():
        raise race.error
    now = time.monotonic()
    seconds = race.seconds_to_next(now)
    if deadline is not None:
        if deadline <= now:
            raise TimeoutError("no connection in time")
        left = deadline - now
        seconds = left if seconds is None else min(seconds, left)
    for key, _ in selector.select(seconds):
        sock = _socket_of(key)
        selector.unregister(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0:
            return sock
        sock.close()
        race.fail(OSError(code, os.strerror(code)))
    return None


def _socket_of(key: selectors.SelectorKey) -> socket.socket:
    sock = key.fileobj
    assert isinstance(sock, socket.socket)  # noqa: S101 - what was registered
    return sock

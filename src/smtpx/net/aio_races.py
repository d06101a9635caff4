"""Connecting to the first of several addresses that answers: on an event loop.

asyncio's own ``create_connection`` can do it, uvloop's cannot; this runs on both. See
`smtpx.net.addresses`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from smtpx.net.addresses import Endpoint, Race, make_socket

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Sequence

__all__ = ["connect_first"]


async def connect_first(
    endpoints: Sequence[Endpoint], *, local_address: str | None = None
) -> socket.socket:
    """Connect to whichever answers first (RFC 8305 section 5).

    Args:
        endpoints: the best first, at least one.
        local_address: the IP address to connect from.

    Returns:
        The socket, in non-blocking mode.

    Raises:
        OSError: all failed.
    """
    loop = asyncio.get_running_loop()
    race = Race(endpoints)
    tasks: set[asyncio.Task[socket.socket]] = set()
    try:
        while True:
            while (endpoint := race.start(loop.time())) is not None:
                tasks.add(loop.create_task(_attempt(endpoint, local_address)))
            if not tasks:
                raise race.error
            done, _ = await asyncio.wait(
                tasks,
                timeout=race.seconds_to_next(loop.time()),
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                tasks.discard(task)
                error = task.exception()
                if error is None:
                    return task.result()
                if not isinstance(error, OSError):
                    raise error
                race.fail(error)
    finally:
        await _call_off(tasks)


async def _attempt(endpoint: Endpoint, local_address: str | None) -> socket.socket:
    sock = make_socket(endpoint, local_address)
    try:
        await asyncio.get_running_loop().sock_connect(sock, endpoint.address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _call_off(tasks: Iterable[asyncio.Task[socket.socket]]) -> None:
    """End attempts that are not wanted any more, also those that have succeeded."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(result, BaseException):
            result.close()

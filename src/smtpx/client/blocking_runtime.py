"""What the clients without an event loop run on: threads, and sockets that block.

`run` runs a coroutine of the one conversation in a single step. It can, as nothing in
there waits but for the channel, and this channel blocks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from smtpx.client.connection import BUSY
from smtpx.net import blocking
from smtpx.net.dns import DNSResolver

if TYPE_CHECKING:
    import socket as sockets
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from smtpx.net.channel import Channel
    from smtpx.net.dns import Resolver

__all__ = ["BlockingRuntime", "require_blocking", "run"]

_T = TypeVar("_T")


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine that does not suspend.

    Raises:
        RuntimeError: it did, so something in it wants an event loop.
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: _T = stop.value
        return result
    coroutine.close()
    raise RuntimeError(
        "a blocking client cannot wait for a coroutine: use AsyncClient, or give it "
        "functions and iterables that block"
    )


class _ThreadLock:
    """A lock for threads in the form that the conversation wants."""

    __slots__ = ("_lock", "_owner")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0

    async def __aenter__(self) -> None:
        if not self._lock.acquire(False):
            if self._owner == threading.get_ident():
                raise RuntimeError(BUSY)
            self._lock.acquire()
        self._owner = threading.get_ident()

    async def __aexit__(self, *_: object) -> None:
        self._owner = 0
        self._lock.release()


class BlockingRuntime:
    """What a conversation needs of the operating system."""

    # To look costs a call to the system; servers wait minutes before they close.
    look_after = 0.5

    clock = staticmethod(time.monotonic)

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Return a lock for the threads that share a client."""
        return _ThreadLock()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        *,
        timeout: float | None,
        local_address: str | None,
        addresses: Sequence[str] | None,
    ) -> Channel:
        """Connect over TCP, to one of the addresses if they are known."""
        return blocking.connect_tcp(
            host,
            port,
            timeout=timeout,
            local_address=local_address,
            addresses=addresses,
        )

    def resolver(self) -> Resolver:
        """Return what asks the DNS when the options name nobody."""
        return DNSResolver()

    async def connect_unix(self, path: str, *, timeout: float | None) -> Channel:
        """Connect to a unix socket."""
        return blocking.connect_unix(path, timeout=timeout)

    async def wrap_socket(self, sock: sockets.socket) -> Channel:
        """Make a channel of a connected socket."""
        return blocking.BlockingChannel(sock)


def require_blocking(source: object) -> None:
    """Refuse what only an event loop can read, before anything is said."""
    if isinstance(source, AsyncIterable):
        raise TypeError("a blocking client cannot read an async iterable")

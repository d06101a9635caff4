"""The pool of connections for threads: `BlockingClientPool`."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from smtpx.client.blocking import Client
from smtpx.client.blocking_runtime import BlockingRuntime, require_blocking, run
from smtpx.client.conversation import Conversation
from smtpx.client.options import DEFAULT_OPTIONS
from smtpx.client.pool import Pool
from smtpx.client.pool_options import DEFAULT_POOL_OPTIONS
from smtpx.wire.options import DEFAULT_MAIL_OPTIONS, DEFAULT_RCPT_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator
    from types import TracebackType

    from smtpx.client.connection import AnyAuth
    from smtpx.client.link import Runtime
    from smtpx.client.message import MessageSource
    from smtpx.client.options import ClientOptions
    from smtpx.client.order import RcptOptionsOf, Recipients
    from smtpx.client.pool_options import PoolOptions, PoolStatistics
    from smtpx.wire.address import Mailbox
    from smtpx.wire.envelope import SendResult
    from smtpx.wire.options import MailOptions

__all__ = ["MOST_AT_ONCE", "BlockingClientPool"]


# Connections that are closed at the same time. A server that hangs holds one of them up
# for the 5 seconds that QUIT has, and a thread is some tens of kilobytes.
MOST_AT_ONCE: Final = 32


class _Waiter:
    """An event that a thread waits for."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, seconds: float | None) -> None:
        self._event.wait(seconds)


class _PooledClient(Client):
    """A client whose connections the pool counts."""

    def __init__(
        self,
        runtime: Runtime,
        url: str,
        options: ClientOptions,
        auth: AnyAuth | None,
    ) -> None:
        self._conversation = Conversation(runtime, url, options, auth, None)


class _Front:
    """What a pool needs of the operating system."""

    def __init__(self) -> None:
        self.runtime = BlockingRuntime()
        self._threads: set[threading.Thread] = set()

    def mutex(self) -> AbstractContextManager[object]:
        return threading.Lock()

    def waiter(self) -> _Waiter:
        return _Waiter()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        # A daemon: a program that does not close its pool must end all the same.
        thread = threading.Thread(
            target=run, args=(coroutine,), name="smtpx-pool", daemon=True
        )
        self._threads = {one for one in self._threads if one.is_alive()} | {thread}
        thread.start()

    async def join(self) -> None:
        for thread in tuple(self._threads):
            thread.join()

    async def each(self, coroutines: Iterable[Coroutine[Any, Any, object]]) -> None:
        todo = deque(coroutines)

        def work() -> None:
            while todo:
                try:
                    coroutine = todo.popleft()
                except IndexError:  # another took the last one
                    return
                run(coroutine)

        # Daemons, as those above.
        helpers = [
            threading.Thread(target=work, name="smtpx-pool", daemon=True)
            for _ in range(min(len(todo), MOST_AT_ONCE) - 1)
        ]
        for thread in helpers:
            thread.start()
        work()
        for thread in helpers:
            thread.join()

    def make_client(
        self, runtime: Runtime, url: str, options: ClientOptions, auth: AnyAuth | None
    ) -> tuple[Client, Conversation]:
        client = _PooledClient(runtime, url, options, auth)
        return client, client._conversation


class BlockingClientPool:
    """A pool of connections for threads; `ClientPool` is the one for asyncio.

    Any number of threads may call `send`: each message goes over a connection that is
    free, over a new one if there may be more, or waits for its turn. Connections that a
    server has closed are replaced. A message is tried again only if it is certain that
    no server has it; an error says by its ``delivery`` what is known.

    As a context manager it waits in the end for the calls under way, and closes all
    connections. It opens none before they are wanted. A process that is forked begins
    with none: the connections stay the parent's.

    Args:
        url: where to connect; see `smtpx.client.options.parse_url`. None if each
            call says where to.
        options: of the pool.
        client_options: of each client in it.
        auth: for the URL of the pool only; another destination has its user and
            password within its own URL.

    Raises:
        ValueError: the URL is none, or there is ``auth`` without one.

    >>> BlockingClientPool("smtp://mail.example.com:587")
    <BlockingClientPool mail.example.com:587: 0 connections, 0 idle, 0 waiting>
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        options: PoolOptions = DEFAULT_POOL_OPTIONS,
        client_options: ClientOptions = DEFAULT_OPTIONS,
        auth: AnyAuth | None = None,
    ) -> None:
        self._url = url
        self._options = options
        self._client_options = client_options
        self._auth = auth
        self._pool = self._make_pool()
        _pools.add(self)

    def _make_pool(self) -> Pool:
        return Pool(
            _Front(),
            self._url,
            options=self._options,
            client_options=self._client_options,
            auth=self._auth,
        )

    def _begin_anew(self) -> None:
        """Leave the connections to the parent process, and begin with none.

        Two processes that write to one connection would send each other's messages,
        and the locks may be held by threads that do not exist here.
        """
        self._pool.abandon()
        self._pool = self._make_pool()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{self._pool!r}>"

    @property
    def statistics(self) -> PoolStatistics:
        """What the pool holds now, and what it has done."""
        return self._pool.statistics()

    def send(  # noqa: PLR0913 - all but the first by keyword
        self,
        message: MessageSource,
        *,
        to: str | None = None,
        sender: str | Mailbox | None = None,
        recipients: Recipients | None = None,
        options: MailOptions = DEFAULT_MAIL_OPTIONS,
        rcpt_options: RcptOptionsOf = DEFAULT_RCPT_OPTIONS,
        require_all: bool = False,
    ) -> SendResult:
        """Send a message over a connection of the pool.

        If the connection breaks before the message is sent, it is sent over another
        one, up to `PoolOptions.attempts` times; a stream that cannot be rewound, such
        as an iterable, is sent once.

        Args:
            message: as for `Client.send`.
            to: URL of the server, if it is not the pool's own.
            sender: as for `Client.send`.
            recipients: likewise.
            options: parameters of MAIL.
            rcpt_options: parameters of RCPT, for all or by recipient.
            require_all: send nothing unless every recipient is accepted.

        Returns:
            What became of it, for each recipient.

        Raises:
            PoolUnavailable: no connection came free in time, or too many calls wait.
            SendError: as `Client.send` and `Client.connect` raise it.
            ValueError: an address, a header field or the URL is malformed.
            RuntimeError: the pool is closed.
        """
        require_blocking(message)
        return run(
            self._pool.send(
                message,
                to,
                sender=sender,
                recipients=recipients,
                options=options,
                rcpt_options=rcpt_options,
                require_all=require_all,
            )
        )

    @contextmanager
    def client(self, to: str | None = None) -> Iterator[Client]:
        """Borrow a connected client, for more than `send` does.

        Give it back in step: what it left of a transaction is reset. Do not keep it.

        Args:
            to: URL of the server, if it is not the pool's own.

        Raises:
            PoolUnavailable: no connection came free in time, or too many calls wait.
            SendError: as `Client.connect` raises it.
            RuntimeError: the pool is closed.
        """
        pool = self._pool
        slot = run(pool.acquire(to))
        try:
            yield slot.client
        finally:
            pool.release(slot)

    def close(self) -> None:
        """Take no more calls, wait for those under way, and close all connections.

        Calls that wait for a connection raise `PoolUnavailable`. Closed is fine too.
        """
        run(self._pool.close())


_pools: weakref.WeakSet[BlockingClientPool] = weakref.WeakSet()


def _after_fork() -> None:
    for pool in tuple(_pools):
        pool._begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

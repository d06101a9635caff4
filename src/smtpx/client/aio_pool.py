"""The pool of connections for asyncio: `ClientPool`."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Self

from smtpx.client.aio import AsyncClient, AsyncioRuntime
from smtpx.client.conversation import Conversation
from smtpx.client.options import DEFAULT_OPTIONS
from smtpx.client.pool import Pool
from smtpx.client.pool_options import DEFAULT_POOL_OPTIONS
from smtpx.wire.options import DEFAULT_MAIL_OPTIONS, DEFAULT_RCPT_OPTIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable
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

__all__ = ["ClientPool"]


class _Waiter:
    """A future of the loop that runs."""

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def set(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    async def wait(self, seconds: float | None) -> None:
        await asyncio.wait((self._future,), timeout=seconds)


class _PooledClient(AsyncClient):
    """A client whose connections the pool counts."""

    def __init__(
        self,
        runtime: Runtime,
        url: str,
        options: ClientOptions,
        auth: AnyAuth | None,
    ) -> None:
        Conversation.__init__(self, runtime, url, options, auth, None)


class _Front:
    """What a pool needs of an event loop."""

    def __init__(self) -> None:
        self.runtime = AsyncioRuntime()
        self._tasks: set[asyncio.Task[None]] = set()

    def mutex(self) -> AbstractContextManager[object]:
        return nullcontext()  # nothing happens between two awaits

    def waiter(self) -> _Waiter:
        return _Waiter()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def join(self) -> None:
        await asyncio.gather(*self._tasks)

    async def each(self, coroutines: Iterable[Coroutine[Any, Any, object]]) -> None:
        await asyncio.gather(*coroutines)

    def make_client(
        self, runtime: Runtime, url: str, options: ClientOptions, auth: AnyAuth | None
    ) -> tuple[AsyncClient, Conversation]:
        client = _PooledClient(runtime, url, options, auth)
        return client, client


class ClientPool:
    """A pool of connections for asyncio; `BlockingClientPool` is the one for threads.

    Any number of tasks may call `send`: each message goes over a connection that is
    free, over a new one if there may be more, or waits for its turn. Connections that a
    server has closed are replaced. A message is tried again only if it is certain that
    no server has it; an error says by its ``delivery`` what is known.

    As a context manager it waits in the end for the calls under way, and closes all
    connections. It opens none before they are wanted.

    Args:
        url: where to connect; see `smtpx.client.options.parse_url`. None if each
            call says where to.
        options: of the pool.
        client_options: of each client in it.
        auth: for the URL of the pool only; another destination has its user and
            password within its own URL.

    Raises:
        ValueError: the URL is none, or there is ``auth`` without one.

    >>> ClientPool("smtp://mail.example.com:587")
    <ClientPool mail.example.com:587: 0 connections, 0 idle, 0 waiting>
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        options: PoolOptions = DEFAULT_POOL_OPTIONS,
        client_options: ClientOptions = DEFAULT_OPTIONS,
        auth: AnyAuth | None = None,
    ) -> None:
        self._pool = Pool(
            _Front(), url, options=options, client_options=client_options, auth=auth
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{self._pool!r}>"

    @property
    def statistics(self) -> PoolStatistics:
        """What the pool holds now, and what it has done."""
        return self._pool.statistics()

    async def send(  # noqa: PLR0913 - all but the first by keyword
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
            message: as for `AsyncClient.send`.
            to: URL of the server, if it is not the pool's own.
            sender: as for `AsyncClient.send`.
            recipients: likewise.
            options: parameters of MAIL.
            rcpt_options: parameters of RCPT, for all or by recipient.
            require_all: send nothing unless every recipient is accepted.

        Returns:
            What became of it, for each recipient.

        Raises:
            PoolUnavailable: no connection came free in time, or too many calls wait.
            SendError: as `AsyncClient.send` and `AsyncClient.connect` raise it.
            ValueError: an address, a header field or the URL is malformed.
            RuntimeError: the pool is closed.
        """
        return await self._pool.send(
            message,
            to,
            sender=sender,
            recipients=recipients,
            options=options,
            rcpt_options=rcpt_options,
            require_all=require_all,
        )

    @asynccontextmanager
    async def client(self, to: str | None = None) -> AsyncIterator[AsyncClient]:
        """Borrow a connected client, for more than `send` does.

        Give it back in step: what it left of a transaction is reset. Do not keep it.

        Args:
            to: URL of the server, if it is not the pool's own.

        Raises:
            PoolUnavailable: no connection came free in time, or too many calls wait.
            SendError: as `AsyncClient.connect` raises it.
            RuntimeError: the pool is closed.
        """
        slot = await self._pool.acquire(to)
        try:
            yield slot.client
        finally:
            self._pool.release(slot)

    async def close(self) -> None:
        """Take no more calls, wait for those under way, and close all connections.

        Calls that wait for a connection raise `PoolUnavailable`. Closed is fine too.
        """
        await self._pool.close()

"""The client for asyncio: `AsyncClient`, `AsyncLMTPClient` and `asend`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Iterable
from typing import TYPE_CHECKING, Any, Final, Self

from smtpx.client.connection import BUSY
from smtpx.client.conversation import Conversation
from smtpx.client.options import DEFAULT_OPTIONS
from smtpx.client.supply import PlainSupply
from smtpx.net import aio
from smtpx.net.aio_dns import AsyncDNSResolver
from smtpx.wire.options import DEFAULT_MAIL_OPTIONS, DEFAULT_RCPT_OPTIONS

if TYPE_CHECKING:
    import socket as sockets
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from smtpx.client.connection import AnyAuth
    from smtpx.client.message import MessageSource
    from smtpx.client.options import ClientOptions
    from smtpx.client.order import RcptOptionsOf, Recipients
    from smtpx.client.outgoing import Envelopes
    from smtpx.client.supply import Supply
    from smtpx.net.channel import Channel
    from smtpx.net.dns import Resolver
    from smtpx.wire.address import Mailbox
    from smtpx.wire.envelope import SendResult
    from smtpx.wire.options import MailOptions

__all__ = ["AsyncClient", "AsyncLMTPClient", "asend"]


class AsyncioRuntime:
    """What a conversation needs of an event loop."""

    # The loop has looked already, and each loop has a clock of its own.
    look_after = float("-inf")

    def clock(self) -> float:
        return asyncio.get_running_loop().time()

    def lock(self) -> AbstractAsyncContextManager[None]:
        return _TaskLock()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        *,
        timeout: float | None,
        local_address: str | None,
        addresses: Sequence[str] | None,
    ) -> Channel:
        return await aio.connect_tcp(
            host,
            port,
            timeout=timeout,
            local_address=local_address,
            addresses=addresses,
        )

    def resolver(self) -> Resolver:
        return AsyncDNSResolver()

    async def connect_unix(self, path: str, *, timeout: float | None) -> Channel:
        return await aio.connect_unix(path, timeout=timeout)

    async def wrap_socket(self, sock: sockets.socket) -> Channel:
        return await aio.wrap_socket(sock)


class _TaskLock:
    """A lock for tasks that notices when one would wait for itself.

    It is of the event loop that runs: a lock of asyncio is bound to the first one in
    which anybody waits for it, and one that a loop left locked stays so.
    """

    __slots__ = ("_lock", "_loop", "_owner")

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._owner: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._lock, self._owner = loop, asyncio.Lock(), None
        task = asyncio.current_task(loop)
        if self._lock.locked() and self._owner is task:
            raise RuntimeError(BUSY)
        await self._lock.acquire()
        self._owner = task

    async def __aexit__(self, *_: object) -> None:
        if self._loop is asyncio.get_running_loop():
            self._owner = None
            self._lock.release()


# How far an async iterable is read ahead of what is said. A task does it, so what
# the source waits for holds nothing up; a few make its switches cheap.
_FEED_ITEMS: Final = 16


class _FedSupply:
    """Messages from an async iterable, pulled by a task of its own."""

    def __init__(self, envelopes: AsyncIterable[object]) -> None:
        self._items: deque[object] = deque()
        self._error: Exception | None = None
        self._is_ended = self._is_closed = False
        self._has_changed = asyncio.Event()
        self._has_room = asyncio.Event()
        self._task = asyncio.create_task(self._feed(envelopes))

    @property
    def has_next(self) -> bool:
        return bool(self._items) or self._is_ended

    async def next(self) -> object:
        while not self._items:
            if self._is_ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._has_changed.clear()
            await self._has_changed.wait()
        if len(self._items) == _FEED_ITEMS // 2:
            self._has_room.set()
        return self._items.popleft()

    async def close(self) -> None:
        self._is_closed = True
        self._task.cancel()
        await asyncio.wait({self._task})

    def taken(self) -> Iterable[object]:
        return self._items

    async def _feed(self, envelopes: AsyncIterable[object]) -> None:
        try:
            async for item in envelopes:
                self._items.append(item)
                self._has_changed.set()
                if len(self._items) >= _FEED_ITEMS:
                    self._has_room.clear()
                    await self._has_room.wait()
        except Exception as error:
            self._error = error
        except asyncio.CancelledError as error:
            if self._is_closed:
                raise
            # Something that the source waited for was cancelled, and not this task.
            # What it would have given must not be missing without a word.
            self._error = RuntimeError("the source of the messages was cancelled")
            self._error.__cause__ = error
        finally:
            self._is_ended = True
            self._has_changed.set()


class AsyncClient(Conversation):
    """An SMTP client for asyncio.

    As a context manager it connects, says EHLO, turns to TLS and authenticates, and
    says QUIT in the end. Without one, call `connect`; `send` does it by itself, also
    when the server has closed an idle connection.

    Tasks may share a client; each call waits for the one before. A call that is
    cancelled or times out closes the connection, as a reply may still come for it; the
    next `send` opens another.

    Args:
        url: where to connect; see `smtpx.client.options.parse_url`.
        options: everything else.
        auth: user and password, used at each connect; the password may be a function
            or coroutine function that returns it.
        socket: already connected; the client owns it from now on. The URL then only
            says what is spoken there, and may be left out.

    Raises:
        ValueError: the URL is none, or there is neither URL nor socket.

    >>> AsyncClient("smtp://mail.example.com:587")
    <AsyncClient mail.example.com:587: closed>
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        options: ClientOptions = DEFAULT_OPTIONS,
        auth: AnyAuth | None = None,
        socket: sockets.socket | None = None,
    ) -> None:
        super().__init__(AsyncioRuntime(), url, options, auth, socket)

    async def __aenter__(self) -> Self:
        if not self.is_connected:
            await self.connect()
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.quit()

    def _supply(self, envelopes: Envelopes) -> Supply:
        if isinstance(envelopes, AsyncIterable):
            return _FedSupply(envelopes)
        return PlainSupply(envelopes)


class AsyncLMTPClient(AsyncClient):
    """An LMTP client for asyncio (RFC 2033): as `AsyncClient`, with LHLO for EHLO.

    The server answers a message once for each recipient, so the result has a reply for
    each, by position, and none for the message as a whole.

    >>> AsyncLMTPClient("lmtp+unix:///run/dovecot/lmtp")
    <AsyncLMTPClient unix:/run/dovecot/lmtp: closed>
    """

    _is_lmtp = True


async def asend(  # noqa: PLR0913 - all but the first by keyword
    message: MessageSource,
    *,
    to: str,
    sender: str | Mailbox | None = None,
    recipients: Recipients | None = None,
    auth: AnyAuth | None = None,
    options: MailOptions = DEFAULT_MAIL_OPTIONS,
    rcpt_options: RcptOptionsOf = DEFAULT_RCPT_OPTIONS,
    require_all: bool = False,
    client_options: ClientOptions = DEFAULT_OPTIONS,
) -> SendResult:
    """Connect, send one message, and quit.

    Args:
        message: as for `AsyncClient.send`.
        to: URL of the server.
        sender: as for `AsyncClient.send`.
        recipients: likewise.
        auth: as for `AsyncClient`.
        options: parameters of MAIL.
        rcpt_options: parameters of RCPT, for all or by recipient.
        require_all: send nothing unless every recipient is accepted.
        client_options: as for `AsyncClient`.

    Returns:
        What became of the message, for each recipient.

    Raises:
        SendError: the subclasses say at which step.
        ValueError: an address, a header field or the URL is malformed.
    """
    client = AsyncClient(to, options=client_options, auth=auth)
    return await client.send_once(
        message,
        sender=sender,
        recipients=recipients,
        options=options,
        rcpt_options=rcpt_options,
        require_all=require_all,
    )

r"""The application: handlers for recipients, and everything else done.

>>> import asyncio, smtpx
>>> app = smtpx.App()
>>> @app.on_message("support+{ticket}@example.com")
... async def support(mail: smtpx.Mail) -> None:
...     print(mail.parameters["ticket"], mail.subject)
>>> async def main():
...     async with app.serving("127.0.0.1:0") as server:
...         await smtpx.asend(
...             b"Subject: help\r\n\r\nIt broke.\r\n",
...             to=f"smtp+plain://{server.addresses[0]}",
...             sender="ann@example.net", recipients=["support+42@example.com"])
>>> asyncio.run(main())
42 help
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from smtpx.app.mail import Arrival, Mail
from smtpx.app.places import forward
from smtpx.app.routes import Pattern
from smtpx.app.serving import set_by_sigterm
from smtpx.app.sinks import Sink, trace_fields
from smtpx.app.spool import spool
from smtpx.errors import Refuse
from smtpx.message.trace import make_return_path
from smtpx.net.records import DNSRecordResolver, RecordResolver
from smtpx.server.listener import Server
from smtpx.server.session import Session
from smtpx.wire import replies
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from smtpx.client.aio_pool import ClientPool
    from smtpx.server.body import Body
    from smtpx.server.options import ServerOptions
    from smtpx.server.session import ConnectionInfo, Statuses
    from smtpx.server.sockets import Address
    from smtpx.wire.address import Mailbox
    from smtpx.wire.envelope import Recipient
    from smtpx.wire.params import RcptOptions

__all__ = ["App", "AppOptions", "Handler"]

logger = logging.getLogger("smtpx.app")

HandlerT = TypeVar("HandlerT", bound="Handler")
HookT = TypeVar("HookT", bound="Callable[[], object]")
CheckT = TypeVar("CheckT", bound="CheckPassword")

Handler: TypeAlias = Callable[[Mail], Awaitable[Reply | None] | Reply | None]
"""A coroutine function, or a plain function, which runs in a thread."""

CheckPassword: TypeAlias = Callable[[str, str], bool | Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppOptions:
    """The settings of an application.

    Attributes:
        threads: in which handlers run that are plain functions, and files are written.
            32: handlers wait for a database, most of their time.
        memory_octets: a message of more is spooled to a file: 1 MiB; with the 1,000
            connections that a server takes by default that is 1 GiB at the most.
        adds_trace: put Return-Path and Received on top of each message (RFC 5321
            section 4.4), for handlers that store or forward it.
        grace: seconds that transactions under way have when `App.run` ends.
        resolver: for `Mail.spf` and so on; None: the servers of the system.

    Raises:
        ValueError: a number is not positive.
    """

    threads: int = 32
    memory_octets: int = 1024 * 1024
    adds_trace: bool = False
    grace: float = 30.0
    resolver: RecordResolver | None = None

    def __post_init__(self) -> None:
        if self.threads < 1 or self.memory_octets < 1 or not self.grace >= 0:
            raise ValueError("threads and memory_octets are at least 1, grace 0")


@dataclass(frozen=True, slots=True)
class _Route:
    pattern: Pattern
    handler: Handler


# RFC 5321 section 6.3 wants 100 at the least.
_MAX_HOPS: Final = 100

_NO_MAILBOX: Final = Refuse(550, "5.1.1", "no such mailbox here")


class App:
    """An application that receives mail.

    Handlers are found by recipient, in the order in which they were added; the first
    pattern that matches counts, and recipients of no pattern are refused with 550. A
    handler that returns has taken responsibility for the message; it may return a
    `Reply` with its own words, and raise `Refuse`: 5yz says no, 4yz later. Any other
    exception is 451, and nothing of it is told.

    A message for several handlers goes to one after another. In SMTP the first one that
    refuses refuses all of it, so put what may refuse first; in LMTP each recipient has
    its own reply.

    Args:
        options: the settings of the application.
        server: those of the server.
    """

    def __init__(
        self,
        options: AppOptions | None = None,
        *,
        server: ServerOptions | None = None,
    ) -> None:
        self.options = options or AppOptions()
        self.server_options = server
        self._routes: list[_Route] = []
        self._sinks: list[Sink] = []
        self._startup: list[Callable[[], object]] = []
        self._ready: list[Callable[[Server], object]] = []
        self._shutdown: list[Callable[[], object]] = []
        self._check_password: CheckPassword | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._resolver = self.options.resolver

    # ------------------------------------------------------------------- what it does

    def on_message(self, *patterns: str) -> Callable[[HandlerT], HandlerT]:
        """Add a handler for recipients; a decorator.

        Args:
            patterns: such as ``support+{ticket}@example.com``, ``@example.com`` or
                ``*``, which all match; none: all recipients.

        Raises:
            TypeError: it stands without brackets, so what it gets is the handler.
            ValueError: a pattern is none.
        """
        _require_texts(patterns)
        made = [Pattern(one) for one in patterns or ("*",)]

        def add(handler: HandlerT) -> HandlerT:
            self._routes += [_Route(one, handler) for one in made]
            return handler

        return add

    def store(self, pattern: str, sink: Sink) -> None:
        """Put mail for recipients into a place, such as a `MaildirSink`.

        The application closes it at its end.

        Args:
            pattern: as for `on_message`.
            sink: the place.
        """

        async def handle(mail: Mail) -> Reply:
            name = await sink.store(b"", mail.blocks())
            return Reply(250, "2.0.0", f"stored as {name}")

        self._sinks.append(sink)
        self.on_message(pattern)(handle)

    def forward(self, pattern: str, pool: ClientPool) -> None:
        """Send mail for recipients on to another server; its refusals are ours.

        The pool is yours: close it in a hook of `on_shutdown`. Set ``adds_trace``, so
        that a loop is found: a message with a hundred Received fields is refused. Of
        the fields that it adds, Return-Path is not sent on. By LMTP, a message that is
        not taken for one of its recipients is refused for all.

        Args:
            pattern: as for `on_message`.
            pool: connections to the server.
        """

        async def handle(mail: Mail) -> Reply:
            if mail.message.hops > _MAX_HOPS:
                raise Refuse(554, "5.4.6", "the message goes round in circles")
            octets = mail.octets
            if self.options.adds_trace:
                # RFC 5321 section 4.4: ours is for who delivers in the end.
                octets = octets.removeprefix(make_return_path(mail.reverse_path).octets)
            said = await forward(
                octets,
                pool,
                sender=mail.reverse_path,
                recipients=[one.mailbox for one in mail.recipients],
            )
            return Reply(250, "2.0.0", said or "forwarded")

        self.on_message(pattern)(handle)

    def on_startup(self, hook: HookT) -> HookT:
        """Add a hook that is called before the application listens; a decorator.

        Args:
            hook: a plain or a coroutine function without parameters.
        """
        self._startup.append(hook)
        return hook

    def on_ready(self, hook: Callable[[Server], object]) -> Callable[[Server], object]:
        """Add a hook that is called once clients can connect; a decorator.

        Args:
            hook: gets the server, whose ``addresses`` say where.
        """
        self._ready.append(hook)
        return hook

    def on_shutdown(self, hook: HookT) -> HookT:
        """Add a hook that is called when all sessions have ended; a decorator.

        They are called last first. One that fails does not keep the others from it.

        Args:
            hook: a plain or a coroutine function without parameters.
        """
        self._shutdown.append(hook)
        return hook

    def authenticator(self, check: CheckT) -> CheckT:
        """Let clients log in; a decorator.

        Args:
            check: gets user and password, returns whether they are right; a plain
                function, which runs in a thread, or a coroutine function.
        """
        self._check_password = check
        return check

    # ---------------------------------------------------------------------- serving

    def run(self, address: Address | Sequence[Address] = "127.0.0.1:2525") -> None:
        """Serve until SIGINT or SIGTERM; transactions under way may finish.

        Args:
            address: where to listen, as for `Server`.

        Raises:
            OSError: an address cannot be used.
        """
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(self.serve(address))

    async def serve(self, address: Address | Sequence[Address]) -> None:
        """Serve until cancelled, or SIGTERM.

        Args:
            address: where to listen, as for `Server`.
        """
        with set_by_sigterm() as is_over:
            async with self.serving(address):
                await is_over.wait()

    @contextlib.asynccontextmanager
    async def serving(
        self, address: Address | Sequence[Address] = "127.0.0.1:0"
    ) -> AsyncGenerator[Server, None]:
        """Serve while a block of code runs, as in a test.

        Args:
            address: where to listen, as for `Server`.

        Yields:
            The server.
        """
        self._executor = ThreadPoolExecutor(
            self.options.threads, thread_name_prefix="smtpx-app"
        )
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._executor.shutdown, wait=False)
            for sink in self._sinks:
                stack.push_async_callback(sink.close)
            for hook in self._shutdown:
                stack.push_async_callback(self.call, hook)
            for hook in self._startup:
                await self.call(hook)
            server = Server(self._make_session, address, options=self.server_options)
            await server.start()
            stack.push_async_callback(server.shutdown, self.options.grace)
            for ready in self._ready:
                await self.call(ready, server)
            yield server

    def _make_session(self, connection: ConnectionInfo) -> Session:
        if self._check_password is None:
            return _AppSession(connection, self)
        return _LoginSession(connection, self)

    # --------------------------------------------------- what the sessions ask of it

    async def call(self, function: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - what it returns
        """Call a coroutine function here, or a plain one in a thread.

        Args:
            function: to call.
            arguments: for it.

        Returns:
            What it returns.
        """
        if inspect.iscoroutinefunction(function):
            return await function(*arguments)
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        result = await loop.run_in_executor(
            self._executor, context.run, function, *arguments
        )
        # Of a lambda, or of an object that is called, only its result tells.
        return await result if inspect.isawaitable(result) else result

    async def is_password(self, user: str, password: str) -> bool:
        """Ask the authenticator.

        Args:
            user: who says to be.
            password: what they say.
        """
        return await self.call(self._check_password or _refuse, user, password) is True

    def find(self, mailbox: Mailbox) -> tuple[Handler, dict[str, str]] | None:
        """Find who handles mail for a recipient, and what the placeholders stand for.

        Args:
            mailbox: the recipient.
        """
        for route in self._routes:
            parameters = route.pattern.match(mailbox)
            if parameters is not None:
                return route.handler, parameters
        return None

    def resolver(self) -> RecordResolver:
        """Return what asks the DNS; made when first needed."""
        if self._resolver is None:
            self._resolver = DNSRecordResolver()
        return self._resolver

    async def take(self, session: Session, body: Body) -> Arrival:
        """Take a message as it arrives.

        Args:
            session: whose it is.
            body: the message.
        """
        executor = self._executor
        assert executor is not None  # noqa: S101 - there are sessions while it serves
        head = trace_fields(session.connection) if self.options.adds_trace else b""
        taken = await spool(
            body, executor, head=head, memory_octets=self.options.memory_octets
        )
        return Arrival(taken, session.connection, session.envelope, self.resolver)


def _require_texts(patterns: tuple[object, ...]) -> None:
    """Refuse a decorator that was written without its brackets, and say so."""
    if any(callable(one) for one in patterns):
        message = "write @app.on_message() for all recipients, or a pattern in it"
        raise TypeError(message)


def _refuse(_user: str, _password: str) -> bool:
    return False


@dataclass(slots=True)
class _Task:
    """One call of a handler: for recipients with the same parameters."""

    handler: Handler
    parameters: dict[str, str]
    recipients: list[Recipient]


class _AppSession(Session):
    """One client of the application."""

    def __init__(self, connection: ConnectionInfo, app: App) -> None:
        super().__init__(connection)
        self._app = app

    async def rcpt(self, forward_path: Mailbox, options: RcptOptions) -> Reply | None:
        """Refuse whom no pattern matches."""
        if self._app.find(forward_path) is None:
            raise _NO_MAILBOX
        return None

    def _tasks(self) -> list[_Task]:
        tasks: list[_Task] = []
        for recipient in self.envelope.recipients:
            found = self._app.find(recipient.mailbox)
            if found is None:
                continue  # it was refused
            handler, parameters = found
            for task in tasks:
                if task.handler is handler and task.parameters == parameters:
                    task.recipients.append(recipient)
                    break
            else:
                tasks.append(_Task(handler, parameters, [recipient]))
        return tasks

    async def data(self, body: Body) -> Reply | None:
        """Give the message to its handlers, one after another."""
        arrival = await self._app.take(self, body)
        try:
            said: Reply | None = None
            for task in self._tasks():
                reply = await self._handle(arrival, task)
                if reply is not None and not reply.is_positive:
                    return reply
                said = said or reply
            return said
        finally:
            await arrival.close()

    async def lmtp_data(self, body: Body, statuses: Statuses) -> Reply | None:
        """Give the message to its handlers; each recipient has its own reply."""
        arrival = await self._app.take(self, body)
        try:
            for task in self._tasks():
                try:
                    reply = await self._handle(arrival, task)
                except Refuse as refusal:
                    reply = Reply(refusal.code, refusal.enhanced, refusal.text)
                except Exception:
                    # The other recipients are none of its business.
                    logger.exception("%s: a handler failed", self.connection.id)
                    reply = replies.LOCAL_ERROR
                for recipient in task.recipients:
                    statuses.set(recipient, reply or replies.OK)
            return None
        finally:
            await arrival.close()

    async def _handle(self, arrival: Arrival, task: _Task) -> Reply | None:
        mail = Mail(arrival, tuple(task.recipients), task.parameters)
        reply = await self._app.call(task.handler, mail)
        if reply is not None and not isinstance(reply, Reply):
            raise TypeError(
                f"a handler returns a Reply or None, not {type(reply).__name__}"
            )
        return reply


class _LoginSession(_AppSession):
    """One client of an application with an authenticator."""

    async def check_password(self, user: str, password: str) -> bool:
        """Ask the authenticator."""
        return await self._app.is_password(user, password)

"""What ``smtpx serve`` does: listen, store or show what comes, and stop gently."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import signal
import ssl
import sys
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from smtpx.app.passwords import PasswordFile
from smtpx.app.sinks import (
    EmlSink,
    MaildirSink,
    PrintSink,
    Sink,
    printable,
    trace_fields,
)
from smtpx.cli.failures import ExitCode, Failure, explain
from smtpx.cli.screen import Screen
from smtpx.core.limits import Limits
from smtpx.errors import BadSyntax, Refuse
from smtpx.server.listener import Server
from smtpx.server.options import ServerOptions
from smtpx.server.session import ConnectionInfo, Session
from smtpx.server.sockets import parse_address
from smtpx.wire.address import Mailbox
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpx.server.body import Body
    from smtpx.wire.params import RcptOptions

__all__ = ["ServeArguments", "find_loop", "parse_listen_url", "run_servers"]

logger = logging.getLogger("smtpx.cli")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeArguments:
    """The command line of ``smtpx serve``, parsed."""

    addresses: tuple[str, ...]
    maildir: Path | None
    eml: Path | None
    accept: tuple[str, ...]
    trace: bool
    hostname: str | None
    tls_cert: Path | None
    tls_key: Path | None
    require_tls: bool
    auth_file: Path | None
    require_auth: bool
    max_size: int
    max_recipients: int
    grace: float
    uvloop: bool
    wire_log: bool
    quiet: bool


# --------------------------------------------------------------------------- listening


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is spoken at an address."""

    is_lmtp: bool = False
    is_implicit_tls: bool = False
    is_unix: bool = False


_KINDS: Final = {
    "smtp": _Kind(),
    "smtps": _Kind(is_implicit_tls=True),
    "smtp+unix": _Kind(is_unix=True),
    "lmtp": _Kind(is_lmtp=True),
    "lmtp+unix": _Kind(is_lmtp=True, is_unix=True),
}


def parse_listen_url(text: str) -> tuple[_Kind, str]:
    """Parse an address to listen on.

    Args:
        text: such as ``smtps://0.0.0.0:465``, ``lmtp+unix:///run/lmtp`` or
            ``localhost:2525``.

    Returns:
        What is spoken there, and the address for `Server`.

    Raises:
        click.UsageError: it is none.

    >>> parse_listen_url("localhost:2525")[1]
    'localhost:2525'
    """
    name, separator, address = text.partition("://")
    if not separator:
        name, address = "smtp", text
        if text.startswith("unix:"):
            name, address = "smtp+unix", text.removeprefix("unix:")
    kind = _KINDS.get(name.lower())
    if kind is None:
        known = ", ".join(f"{one}://" for one in _KINDS)
        raise click.UsageError(f"{text!r} begins with none of {known}")
    if kind.is_unix:
        if not address.startswith("/"):
            raise click.UsageError(f"write {name}:///path/of/the/socket")
        return kind, f"unix:{address}"
    try:
        parse_address(address.removesuffix("/"))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return kind, address.removesuffix("/")


# ---------------------------------------------------------------------------- sessions


class _Inbox:
    """What the sessions of all listeners share.

    Args:
        sink: where messages go.
        screen: where each is told.
        accept: domains and mailboxes that are accepted; empty: all.
        passwords: who may log in, None if nobody.
        has_trace: put trace fields before each message.
    """

    def __init__(
        self,
        sink: Sink,
        screen: Screen,
        *,
        accept: frozenset[str] = frozenset(),
        passwords: PasswordFile | None = None,
        has_trace: bool = True,
    ) -> None:
        self.sink = sink
        self.screen = screen
        self.accept = accept
        self.passwords = passwords
        self.has_trace = has_trace

    def open_session(self, connection: ConnectionInfo) -> Session:
        """Make a session; AUTH is on if its class checks passwords."""
        kind = _StoringSession if self.passwords is None else _AuthenticatedSession
        return kind(connection, self)

    def accepts(self, mailbox: Mailbox) -> bool:
        """Tell whether a recipient is ours."""
        if not self.accept:
            return True
        domain = mailbox.domain.lower()
        whole = f"{mailbox.local_part_unquoted.lower()}@{domain}"
        # RFC 5321 section 4.5.1: postmaster is accepted everywhere.
        return not domain or domain in self.accept or whole in self.accept


class _StoringSession(Session):
    """Stores each message, and tells of it."""

    def __init__(self, connection: ConnectionInfo, inbox: _Inbox) -> None:
        super().__init__(connection)
        self._inbox = inbox

    async def rcpt(self, forward_path: Mailbox, options: RcptOptions) -> Reply | None:
        """Accept the recipients that are ours."""
        if not self._inbox.accepts(forward_path):
            raise Refuse(550, "5.7.1", "we do not take mail for this address")
        return None

    async def data(self, body: Body) -> Reply | None:
        """Store the message; the reply leaves when it is safe."""
        head = trace_fields(self.connection) if self._inbox.has_trace else b""
        try:
            name = await self._inbox.sink.store(head, body)
        except OSError as error:
            logger.error("cannot store a message: %s", error)  # noqa: TRY400 - no bug
            raise Refuse(
                452, "4.3.1", "the message cannot be stored; try again later"
            ) from None
        self._tell(name, body.octets_received)
        return Reply(250, "2.0.0", f"queued as {name}")

    def _tell(self, name: str, octets: int) -> None:
        connection, envelope = self.connection, self.envelope
        sender = "" if envelope.reverse_path is None else str(envelope.reverse_path)
        recipients = ", ".join(f"<{one.mailbox}>" for one in envelope.recipients)
        facts = [f"{octets:,} octets", f"{connection.protocol} from {connection.peer}"]
        if connection.tls is not None:
            facts.append(connection.tls.version)
        if connection.user is not None:
            facts.append(f"user {connection.user}")
        time = datetime.now().astimezone().strftime("%H:%M:%S")
        text = f"{time} {name}: <{sender}> to {recipients}: {', '.join(facts)}"
        self._inbox.screen.result(printable(text), color="green")


class _AuthenticatedSession(_StoringSession):
    """The same with AUTH."""

    async def check_password(self, user: str, password: str) -> bool:
        """Look into the file."""
        passwords = self._inbox.passwords
        return passwords is not None and await passwords.check(user, password)


def find_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes a faster event loop, None if it is not installed."""
    for name in ("uvloop", "winloop"):
        if importlib.util.find_spec(name):
            # The factory, never the policy: that would change loops of others.
            factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(
                name
            ).new_event_loop
            return factory
    return None


def run_servers(arguments: ServeArguments) -> None:
    """Serve until a signal comes.

    Args:
        arguments: the command line, checked.

    Raises:
        Failure: an address, a file or a folder cannot be used.
    """
    loop_factory = find_loop() if arguments.uvloop else None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve(arguments))


async def _serve(arguments: ServeArguments) -> None:
    screen = Screen(is_quiet=arguments.quiet)
    logging.basicConfig(format="smtpx: %(message)s", level=logging.WARNING)
    async with contextlib.AsyncExitStack() as stack:
        passwords = _open_passwords(arguments)
        if passwords is not None:
            stack.push_async_callback(passwords.close)
        sink = _open_sink(arguments, screen)
        stack.push_async_callback(sink.close)
        inbox = _Inbox(
            sink,
            screen,
            accept=_accepted(arguments.accept),
            passwords=passwords,
            has_trace=arguments.trace,
        )
        servers = await _listen(arguments, inbox, stack)
        stop, stop_now = _catch_signals(stack)
        await stop.wait()
        if not arguments.quiet:
            screen.note("stopping; once more to stop now")
        await _shut_down(servers, arguments.grace, stop_now)


async def _listen(
    arguments: ServeArguments, inbox: _Inbox, stack: contextlib.AsyncExitStack
) -> list[Server]:
    """Start a server for each kind of address, and tell where it listens."""
    options = _server_options(arguments, inbox.screen)
    addresses: dict[_Kind, list[str]] = {}
    for text in arguments.addresses or ("127.0.0.1:2525",):
        kind, address = parse_listen_url(text)
        addresses.setdefault(replace(kind, is_unix=False), []).append(address)
    servers = []
    for kind, group in addresses.items():
        of_kind = replace(options, lmtp=kind.is_lmtp, implicit_tls=kind.is_implicit_tls)
        server = Server(inbox.open_session, group, options=of_kind)
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            raise Failure(
                ExitCode.OS_ERROR, f"cannot listen on {' '.join(group)}: {_why(error)}"
            ) from None
        servers.append(server)
    # All of them, once all listen. Scripts wait for these lines, so they are flushed,
    # and shown even with --quiet.
    for server in servers:
        name = "LMTP" if server.options.lmtp else "SMTP"
        tls = " with TLS" if server.options.implicit_tls else ""
        for bound in server.addresses:
            click.echo(f"listening on {bound} ({name}{tls})")
    sys.stdout.flush()
    return servers


def _server_options(arguments: ServeArguments, screen: Screen) -> ServerOptions:
    limits = Limits(
        max_message_octets=arguments.max_size, max_recipients=arguments.max_recipients
    )

    def show(session: str, line: str) -> None:
        screen.dialogue(line, session)

    return ServerOptions(
        hostname=arguments.hostname or "",
        tls=_tls_context(arguments),
        require_tls=arguments.require_tls,
        require_auth=arguments.require_auth,
        smtputf8=True,
        limits=limits,
        wire_log=show if arguments.wire_log else None,
    )


def _tls_context(arguments: ServeArguments) -> ssl.SSLContext | None:
    if arguments.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # RFC 8996 retires the versions before it.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(arguments.tls_cert, arguments.tls_key)
    except OSError as error:
        raise Failure(
            ExitCode.NO_INPUT,
            f"--tls-cert {arguments.tls_cert}: no certificate with its key "
            f"({error.strerror or error}): give PEM files, the key with --tls-key",
        ) from None
    return context


def _open_passwords(arguments: ServeArguments) -> PasswordFile | None:
    if arguments.auth_file is None:
        return None
    try:
        return PasswordFile(arguments.auth_file)
    except ValueError as error:
        raise Failure(ExitCode.DATA, f"{arguments.auth_file}: {error}") from None


def _open_sink(arguments: ServeArguments, screen: Screen) -> Sink:
    try:
        if arguments.maildir is not None:
            return MaildirSink(arguments.maildir.expanduser())
        if arguments.eml is not None:
            return EmlSink(arguments.eml.expanduser())
    except OSError as error:
        raise Failure(
            ExitCode.CANNOT_CREATE, f"cannot make the folder: {explain(error)}"
        ) from None
    return PrintSink(screen.result)


def _accepted(words: tuple[str, ...]) -> frozenset[str]:
    """Parse domains and mailboxes to accept."""
    for word in words:
        try:
            Mailbox.parse(word if "@" in word else f"x@{word}")
        except BadSyntax as error:
            raise click.UsageError(f"--accept {word!r}: {error.text}") from None
    return frozenset(word.lower() for word in words)


def _why(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "permission denied: ports below 1024 need root; take a higher one"
    if error.errno is not None and "in use" in str(error).lower():
        return "the address is in use: stop what listens there, or take another one"
    return error.strerror or str(error)


# ----------------------------------------------------------------------------- stopping


def _catch_signals(
    stack: contextlib.AsyncExitStack,
) -> tuple[asyncio.Event, asyncio.Event]:
    """Return what SIGINT and SIGTERM set: one at first, then the other."""
    stop, stop_now = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        (stop_now if stop.is_set() else stop).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, on_signal)
        except NotImplementedError:  # Windows
            previous = signal.signal(
                number, lambda *_: loop.call_soon_threadsafe(on_signal)
            )
            stack.callback(signal.signal, number, previous)
        else:
            stack.callback(loop.remove_signal_handler, number)
    return stop, stop_now


async def _shut_down(
    servers: list[Server], grace: float, stop_now: asyncio.Event
) -> None:
    """Let transactions finish, within limits of time and patience."""
    gentle = asyncio.gather(*(server.shutdown(grace) for server in servers))
    patience = asyncio.create_task(stop_now.wait())
    either: list[asyncio.Future[Any]] = [gentle, patience]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    patience.cancel()
    if not gentle.done():
        for server in servers:
            await server.close()
    await gentle

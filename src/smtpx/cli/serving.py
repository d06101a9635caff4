"""What ``smtpx serve`` does: listen, store or show what comes, and stop gently."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

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
from smtpx.cli.running import find_loop, listen, run_until_stopped, server_tls
from smtpx.cli.screen import Screen
from smtpx.core.limits import Limits
from smtpx.errors import BadSyntax, Refuse
from smtpx.server.options import ServerOptions
from smtpx.server.session import ConnectionInfo, Session
from smtpx.wire.address import Mailbox
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from smtpx.server.body import Body
    from smtpx.wire.params import RcptOptions

__all__ = ["ServeArguments", "run_servers"]

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
        options = _server_options(arguments, inbox.screen)
        addresses = arguments.addresses or ("127.0.0.1:2525",)
        servers = await listen(addresses, inbox.open_session, options, stack)
        await run_until_stopped(servers, arguments.grace, screen)


def _server_options(arguments: ServeArguments, screen: Screen) -> ServerOptions:
    limits = Limits(
        max_message_octets=arguments.max_size, max_recipients=arguments.max_recipients
    )

    def show(session: str, line: str) -> None:
        screen.dialogue(line, session)

    return ServerOptions(
        hostname=arguments.hostname or "",
        tls=server_tls(arguments.tls_cert, arguments.tls_key),
        require_tls=arguments.require_tls,
        require_auth=arguments.require_auth,
        smtputf8=True,
        limits=limits,
        wire_log=show if arguments.wire_log else None,
    )


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

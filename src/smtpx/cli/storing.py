"""The sessions of ``smtpx serve``: they store messages, and tell of each."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING

from smtpx.app.passwords import PasswordFile
from smtpx.app.sinks import Sink, printable, trace_fields
from smtpx.cli.screen import Screen
from smtpx.errors import Refuse
from smtpx.server.session import ConnectionInfo, Session
from smtpx.wire.address import Mailbox
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from smtpx.server.body import Body
    from smtpx.wire.params import RcptOptions

__all__ = ["Inbox"]

logger = logging.getLogger("smtpx.cli")


class Inbox:
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

    def __init__(self, connection: ConnectionInfo, inbox: Inbox) -> None:
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
        origin = connection.forwarded
        if origin is not None and isinstance(origin.addr, str):
            facts.append(f"forwarded for {origin.addr}")
        time = datetime.now().astimezone().strftime("%H:%M:%S")
        text = f"{time} {name}: <{sender}> to {recipients}: {', '.join(facts)}"
        self._inbox.screen.result(printable(text), color="green")


class _AuthenticatedSession(_StoringSession):
    """The same with AUTH."""

    async def check_password(self, user: str, password: str) -> bool:
        """Look into the file."""
        passwords = self._inbox.passwords
        return passwords is not None and await passwords.check(user, password)

"""What happens to the sessions of a server, told to whoever wants to watch.

``ServerOptions(events=sink)`` calls the sink with each event, at once and in order: the
first of a session is a `ConnectedEvent`, the last a `ClosedEvent`, and there is one of
both. A server without a sink makes no event.

`smtpx.app.event_log`, `smtpx.app.prometheus` and `smtpx.app.telemetry` have sinks for
logs, Prometheus and OpenTelemetry.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from smtpx.wire.grammar import BUILT_IN_VERBS

if TYPE_CHECKING:
    from smtpx.net.tls import TLSInfo
    from smtpx.wire.address import Mailbox
    from smtpx.wire.envelope import RecipientResult
    from smtpx.wire.params import MailOptions, RcptOptions
    from smtpx.wire.replies import Reply

__all__ = [
    "AbortedEvent",
    "AuthEvent",
    "ClosedEvent",
    "CommandEvent",
    "ConnectedEvent",
    "ErrorEvent",
    "EventSink",
    "HelloEvent",
    "MailEvent",
    "MessageEvent",
    "RcptEvent",
    "RefusedEvent",
    "ServerEvent",
    "TLSEvent",
    "tell",
]

logger = logging.getLogger("smtpx.server")

_VERBS: Final = frozenset(
    {
        *(verb.decode("ascii") for verb in BUILT_IN_VERBS),
        *("ETRN", "XCLIENT", "XFORWARD", "(GREETING)"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEvent:
    """Something that happened to a session; see its subclasses.

    Attributes:
        session: the id of the session, as in `ConnectionInfo.id`.
        elapsed: seconds since its client connected.
    """

    session: str
    elapsed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectedEvent(ServerEvent):
    """A client connected.

    Attributes:
        hostname: what the server calls itself.
        peer: the client's address, such as ``192.0.2.1:40112`` or ``unix:``.
        peer_host: its IP address; None on a unix socket.
        local: the address it connected to.
        is_lmtp: whether LMTP is spoken there, and nothing else.
        takes_lmtp_too: whether both are: ``verb`` of the first `HelloEvent` that is
            granted tells which of them, or that of the next behind STARTTLS.
    """

    hostname: str
    peer: str
    peer_host: str | None
    local: str
    is_lmtp: bool
    takes_lmtp_too: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSEvent(ServerEvent):
    """The session is under TLS now: by STARTTLS, or from its first octet.

    Attributes:
        tls: version, cipher, the name that was asked for.
    """

    tls: TLSInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class HelloEvent(ServerEvent):
    """HELO, EHLO or LHLO was answered (RFC 5321 section 4.1.1.1).

    Attributes:
        verb: which of them.
        name: what the client calls itself.
        reply: the answer; what EHLO lists is not repeated here.
    """

    verb: str
    name: str
    reply: Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthEvent(ServerEvent):
    """An exchange begun by AUTH ended (RFC 4954 section 4); the reply says how.

    Attributes:
        mechanism: its name.
        user: who the client is; None unless it succeeded.
        claimed_user: who it said it is, None if it did not. People type passwords into
            that field: keep it out of logs.
        reply: the answer.
    """

    mechanism: str
    user: str | None
    claimed_user: str | None = field(repr=False)
    reply: Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class MailEvent(ServerEvent):
    """MAIL was answered by a hook, or granted (RFC 5321 section 4.1.1.2).

    Attributes:
        reverse_path: the sender; None for ``<>``.
        options: the parameters.
        reply: the answer.
    """

    reverse_path: Mailbox | None
    options: MailOptions
    reply: Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class RcptEvent(ServerEvent):
    """RCPT was answered by a hook, or granted (RFC 5321 section 4.1.1.3).

    Attributes:
        forward_path: the recipient.
        options: the parameters.
        reply: the answer.
    """

    forward_path: Mailbox
    options: RcptOptions
    reply: Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageEvent(ServerEvent):
    """A message arrived whole and was answered: taken or refused.

    Attributes:
        reverse_path: the sender; None for ``<>``.
        recipients: what became of each, in their order. In SMTP all have one reply.
        octets: of the content.
        duration: seconds from DATA, or the first BDAT, to the answer.
        reply: the answer; in LMTP to those recipients who got none of their own.
    """

    reverse_path: Mailbox | None
    recipients: tuple[RecipientResult, ...]
    octets: int
    duration: float
    reply: Reply

    @property
    def is_accepted(self) -> bool:
        """Whether the server took it for at least one recipient."""
        return any(result.is_accepted for result in self.recipients)


@dataclass(frozen=True, slots=True, kw_only=True)
class AbortedEvent(ServerEvent):
    """A message will never be complete: cut off, too large, or against a rule.

    Attributes:
        reason: why, in words for a log.
        octets: of its content that arrived until then.
        duration: seconds since DATA, or the first BDAT.
    """

    reason: str
    octets: int
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEvent(ServerEvent):
    """VRFY, EXPN, ETRN, HELP, XCLIENT, XFORWARD, or a verb of yours, was answered.

    Attributes:
        verb: in upper case.
        argument: what followed it.
        reply: the answer; None if it was the default.
    """

    verb: str
    argument: str
    reply: Reply | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedEvent(ServerEvent):
    """Something was refused that has no event of its own.

    The server itself refused a line: bad syntax, wrong order, over a limit. Or a hook
    refused the greeting, DATA or the first BDAT.

    Attributes:
        command: the line, shortened and escaped, without secrets; of the greeting
            ``(greeting)``.
        reply: the answer.
    """

    command: str
    reply: Reply

    @property
    def verb(self) -> str:
        """The verb if it is one of SMTP's, else ``other``; of few values, for metrics.

        >>> from smtpx.wire.replies import OK
        >>> RefusedEvent(session="", elapsed=0, command="rcpt x", reply=OK).verb
        'RCPT'
        """
        verb = self.command.partition(" ")[0].upper()
        return verb if verb in _VERBS else "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorEvent(ServerEvent):
    """A hook raised what is no refusal, took too long, or gave no valid answer.

    It was logged, with its traceback; the client got 451 or 421 and none of its text.

    Attributes:
        hook: its name.
        text: what happened.
        error: what was raised, if anything was.
    """

    hook: str
    text: str
    error: BaseException | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedEvent(ServerEvent):
    """The session is over; ``elapsed`` is how long it was.

    Attributes:
        reason: why, in words for a log.
        is_clean: the client said QUIT, or closed outside a transaction.
        reply: with which the server ended it by itself: idle for too long, too many
            connections, a shutdown; else None.
        octets_received: of the client, without what TLS adds.
        octets_sent: to it, likewise.
        messages: how many were taken.
    """

    reason: str
    is_clean: bool
    reply: Reply | None
    octets_received: int
    octets_sent: int
    messages: int


class EventSink(Protocol):
    """Gets every event of a server: a function will do, or an object to be called.

    It is called on the event loop, in the middle of the session's work, so it must not
    block or wait. What it raises is logged, and harms nobody.
    """

    def __call__(self, event: ServerEvent, /) -> None:
        """Take note of an event.

        Args:
            event: of any session.
        """


def tell(sinks: tuple[EventSink, ...], event: ServerEvent) -> None:
    """Give an event to each sink; what one raises harms nobody else.

    Args:
        sinks: in this order.
        event: it.
    """
    for sink in sinks:
        try:
            sink(event)
        except Exception:
            logger.exception("%s: an event sink raised", event.session)

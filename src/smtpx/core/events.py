"""What the server machine tells the layer above it.

Events of the first group wait for an answer: the machine gives no further event before
``answer`` (or ``answer_question``) was called. Those of the second group inform only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from smtpx.wire.values import value

if TYPE_CHECKING:
    from smtpx.sasl.mechanism import Identity, Question
    from smtpx.wire.address import Mailbox
    from smtpx.wire.envelope import Recipient
    from smtpx.wire.forwarded import XClient, XForward
    from smtpx.wire.params import MailOptions
    from smtpx.wire.replies import Reply

__all__ = [
    "AuthQuestion",
    "AuthRefused",
    "Authenticated",
    "BodyReceived",
    "ClientConnected",
    "CommandAnswered",
    "CommandReceived",
    "CommandRefused",
    "ConnectionEnded",
    "DataRequested",
    "EtrnReceived",
    "Event",
    "ExpnReceived",
    "HelloReceived",
    "HelpReceived",
    "MailReceived",
    "MessageAborted",
    "MessageComplete",
    "RcptReceived",
    "StartTLSRequested",
    "VrfyReceived",
    "XClientReceived",
    "XForwardReceived",
]


# ------------------------------------------------------------- events that are answered


@value
class ClientConnected:
    """A client connected; the answer is the greeting (RFC 5321 section 3.1)."""


@value
class HelloReceived:
    """HELO, EHLO or LHLO (RFC 5321 section 4.1.1.1, RFC 2033 section 4.1).

    Attributes:
        verb: ``HELO``, ``EHLO`` or ``LHLO``.
        name: the client's domain or address literal, as it wrote it.
    """

    verb: str
    name: str


@value
class MailReceived:
    """MAIL (RFC 5321 section 4.1.1.2); ``reverse_path`` is None for ``<>``."""

    reverse_path: Mailbox | None
    options: MailOptions


@value
class RcptReceived:
    """RCPT (RFC 5321 section 4.1.1.3); the recipient joins the envelope if accepted."""

    recipient: Recipient


@value
class DataRequested:
    """DATA, before its 354, or the first BDAT of a message, before its octets are used.

    Attributes:
        is_bdat: the message comes in chunks (RFC 3030).
    """

    is_bdat: bool


@value
class MessageComplete:
    """The true end of the message was read; the answer decides who is responsible.

    In LMTP each recipient has an answer of its own (RFC 2033 section 4.2).
    """


@value
class VrfyReceived:
    """VRFY (RFC 5321 section 4.1.1.6)."""

    text: str


@value
class ExpnReceived:
    """EXPN (RFC 5321 section 4.1.1.7)."""

    text: str


@value
class EtrnReceived:
    """ETRN (RFC 1985): the client wants the mail that is held for a node."""

    node: str


@value
class HelpReceived:
    """HELP (RFC 5321 section 4.1.1.8); ``topic`` may be empty."""

    topic: str


@value
class StartTLSRequested:
    """STARTTLS (RFC 3207); a 220 is followed by the handshake and ``tls_started``."""


@value
class AuthQuestion:
    """A SASL mechanism needs a fact, e.g. whether a password is right.

    Answered with ``answer_question``, or with ``answer`` and a negative reply when it
    cannot be found out.
    """

    question: Question


@value
class Authenticated:
    """The client proved who it is; the answer says whether it may act so (RFC 4954)."""

    identity: Identity


@value
class XClientReceived:
    """XCLIENT: a gateway that is trusted tells whom it speaks for.

    It is granted by ``restart``, and refused by ``answer`` with a negative reply.
    """

    command: XClient


@value
class XForwardReceived:
    """XFORWARD: a gateway that is trusted tells where the next message came from."""

    command: XForward


@value
class CommandReceived:
    """A verb that the user of the library registered."""

    verb: str
    argument: str


# ----------------------------------------------------------------- events that inform


@value
class BodyReceived:
    """Some octets of the message, decoded: transparency dots are gone."""

    data: bytes


@value
class MessageAborted:
    """The message will never be complete; what came of it must not be kept.

    Attributes:
        reason: why, in words for a log.
    """

    reason: str


@value
class CommandAnswered:
    """The machine itself answered a command that needs no decision.

    There is one for each, so that who drives the machine has its turn between any two
    commands, however many a client pipelines.

    Attributes:
        verb: ``NOOP``, ``RSET`` or ``BDAT`` (a chunk that was not the last).
    """

    verb: str


@value
class CommandRefused:
    """The machine itself refused a command.

    Attributes:
        command: the line as it came, shortened and escaped, without secrets.
        reply: what was answered.
    """

    command: str
    reply: Reply


@value
class AuthRefused:
    """An exchange that AUTH had begun ended without success (RFC 4954 section 4).

    Attributes:
        mechanism: its name.
        reply: what was answered.
    """

    mechanism: str
    reply: Reply


@value
class ConnectionEnded:
    """Nothing more will be read or answered: send what is left and close.

    Attributes:
        reason: why, in words for a log.
        is_clean: the client left with QUIT, or by closing outside a transaction.
    """

    reason: str
    is_clean: bool


Event: TypeAlias = (
    ClientConnected
    | HelloReceived
    | MailReceived
    | RcptReceived
    | DataRequested
    | BodyReceived
    | MessageComplete
    | MessageAborted
    | VrfyReceived
    | ExpnReceived
    | EtrnReceived
    | HelpReceived
    | StartTLSRequested
    | AuthQuestion
    | Authenticated
    | XClientReceived
    | XForwardReceived
    | CommandReceived
    | CommandAnswered
    | CommandRefused
    | AuthRefused
    | ConnectionEnded
)

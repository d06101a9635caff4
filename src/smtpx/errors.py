"""Every exception of smtpx.

::

    SMTPXError
    ├── Refuse                       a 4xx or 5xx reply as an exception; hooks raise it
    │   └── BadSyntax                (ValueError) octets that break the grammar
    │       ├── BadAddress           501 5.1.3; of a reverse path 501 5.1.7
    │       └── BadParameter         501 5.5.4; unknown ones 555 5.5.4
    ├── LineTooLong                  (ValueError) a message has a line over 998 octets
    ├── UnsafeOctets                 (ValueError) a control octet in an argument
    ├── BadProxyHeader               (ValueError) a PROXY header not to be believed
    ├── BadReply                     a malformed reply, or one out of step
    ├── SASLError                    an authentication exchange went wrong
    ├── MessageAborted               the body that a handler reads was cut off
    └── SendError                    (smtplib.SMTPException) a client's failure
        ├── ConnectError             (smtplib.SMTPConnectError)
        │   └── GreetingRefused
        ├── ConnectionLost           (smtplib.SMTPServerDisconnected)
        │   ├── OutOfStep
        │   ├── PhaseTimeout         (TimeoutError)
        │   └── TLSFailed
        ├── HelloRefused             (smtplib.SMTPHeloError)
        ├── TLSUnavailable           (smtplib.SMTPNotSupportedError)
        ├── AuthenticationFailed     (smtplib.SMTPAuthenticationError)
        ├── SenderRefused            (smtplib.SMTPSenderRefused)
        │   └── MessageTooLarge
        ├── RecipientsRefused        (smtplib.SMTPRecipientsRefused)
        ├── DataRefused              (smtplib.SMTPDataError)
        ├── CommandRefused           (smtplib.SMTPResponseException)
        ├── PoolUnavailable          a pool has no connection to spare
        └── NotSupported             (smtplib.SMTPNotSupportedError)

Errors carry data. The text is for people; a program reads the attributes. A client's
errors are also smtplib's, with smtplib's attributes and ``args``, so code written for
``except smtplib.SMTPRecipientsRefused`` keeps working.

Parsers raise `BadSyntax`, whose code, enhanced code and text are the very reply that a
server sends. No text holds octets of the peer unescaped, or a secret.
"""

from __future__ import annotations

import enum
import smtplib
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smtpx.wire.envelope import RecipientResult
    from smtpx.wire.replies import Reply

__all__ = [
    "AuthenticationFailed",
    "BadAddress",
    "BadParameter",
    "BadProxyHeader",
    "BadReply",
    "BadSyntax",
    "CommandRefused",
    "ConnectError",
    "ConnectionLost",
    "DataRefused",
    "Delivery",
    "GreetingRefused",
    "HelloRefused",
    "LineTooLong",
    "MessageAborted",
    "MessageTooLarge",
    "NotSupported",
    "OutOfStep",
    "PhaseTimeout",
    "PoolUnavailable",
    "RecipientsRefused",
    "Refuse",
    "SASLError",
    "SMTPXError",
    "SendError",
    "SenderRefused",
    "TLSFailed",
    "TLSUnavailable",
    "UnsafeOctets",
]

_ErrorT = TypeVar("_ErrorT", bound="SMTPXError")

# What smtplib puts in smtp_code when there was no reply at all.
_NO_REPLY = -1

# How many refused recipients the text of an error names: a line of a log is to be
# read, and all of them are in its data.
_SHOWN_RECIPIENTS = 3


class Delivery(enum.StrEnum):
    """What is known about a message after an attempt to send it."""

    DELIVERED = "delivered"
    """The server took responsibility: the final reply was 2xx."""

    REFUSED = "refused"
    """The server answered, and said no."""

    NOT_SENT = "not sent"
    """The server cannot have it: the end of the message was never sent."""

    UNKNOWN = "unknown"
    """The end of the message was sent and its reply never came (RFC 1047)."""


def _rebuild(
    error_type: type[_ErrorT], args: tuple[object, ...], state: dict[str, object]
) -> _ErrorT:
    """Make an exception again from what `SMTPXError.__reduce__` saved."""
    error = error_type.__new__(error_type)
    error.args = args
    error.__dict__.update(state)
    return error


class SMTPXError(Exception):
    """The root of all exceptions of smtpx."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the constructor with `args`; ours take keywords. Errors
        # cross process borders in worker pools, so they must pickle.
        return _rebuild, (type(self), self.args, self.__dict__)


class Refuse(SMTPXError):
    r"""A refusal as data; a session's hook raises it and the server sends the reply.

    Args:
        code: 400 to 599 (RFC 5321 section 4.2.1).
        enhanced: a status code such as ``"5.1.1"`` (RFC 3463), of the same class as
            the code; None leaves it to the server.
        text: for people; ``"\n"`` in it makes a reply of several lines.

    Raises:
        ValueError: the code is no refusal, or the enhanced code is of another class.

    >>> raise Refuse(550, "5.1.1", "no such mailbox")
    Traceback (most recent call last):
    smtpx.errors.Refuse: 550 5.1.1 no such mailbox
    """

    def __init__(self, code: int, enhanced: str | None = None, text: str = "") -> None:
        if not 400 <= code <= 599:
            raise ValueError(f"a refusal has a code from 400 to 599, not {code}")
        if enhanced is not None and not enhanced.startswith(f"{code // 100}."):
            raise ValueError(f"enhanced code {enhanced!r} is of another class: {code}")
        super().__init__(code, enhanced, text)
        self.code = code
        self.enhanced = enhanced
        self.text = text

    @property
    def is_temporary(self) -> bool:
        """Whether trying again later may work: the code is 4xx."""
        return self.code < 500

    def __str__(self) -> str:
        return " ".join(filter(None, (str(self.code), self.enhanced, self.text)))


class BadSyntax(Refuse, ValueError):
    """Octets that break the grammar; every parser of `smtpx.wire` raises it.

    Args:
        text: what is wrong, for people.
        code: of the reply that a server gives; default 501.
        enhanced: likewise; default ``"5.5.2"``, ``"5.5.4"`` for parameters and
            ``"5.1.3"`` for addresses.
    """

    DEFAULT_CODE: ClassVar[int] = 501
    DEFAULT_ENHANCED: ClassVar[str] = "5.5.2"

    def __init__(
        self, text: str, *, code: int | None = None, enhanced: str | None = None
    ) -> None:
        super().__init__(
            self.DEFAULT_CODE if code is None else code,
            self.DEFAULT_ENHANCED if enhanced is None else enhanced,
            text,
        )

    def __str__(self) -> str:
        # Who reads it gave the octets, and asked no server.
        return self.text


class BadAddress(BadSyntax):
    """A mailbox, path, domain or address literal that breaks its grammar."""

    DEFAULT_ENHANCED = "5.1.3"


class BadParameter(BadSyntax):
    """An ESMTP parameter that is malformed, repeated or unknown."""

    DEFAULT_ENHANCED = "5.5.4"


class UnsafeOctets(SMTPXError, ValueError):
    """An argument holds a control octet, which could end the line and start another.

    Nothing was sent. See `smtpx.wire.octets.require_safe`.

    Attributes:
        what: which argument, as in ``"MAIL command"``.
        octets: what it holds, escaped.
    """

    def __init__(self, what: str, octets: str) -> None:
        super().__init__(f"{what} holds a control octet: {octets}")
        self.what = what
        self.octets = octets


class BadProxyHeader(SMTPXError, ValueError):
    """A PROXY header is malformed, or cannot be written as it is meant.

    A server drops the connection: whom the proxy speaks for is not known.
    """


class LineTooLong(SMTPXError, ValueError):
    """A message has a line of more than 998 octets (RFC 5322 section 2.1.1).

    Of a message in memory nothing was sent; of a stream, not its end, so the server
    does not have it.
    """

    def __init__(self) -> None:
        super().__init__(
            "the message has a line of more than 998 octets: encode it in base64 or "
            "quoted-printable, or send it as it is with ClientOptions(long_lines=True)"
        )


class BadReply(SMTPXError):
    """A reply is malformed, too long, or out of step; close the connection."""


class SASLError(SMTPXError):
    """An authentication exchange went wrong, such as a challenge that is malformed."""


class MessageAborted(SMTPXError):
    """The peer went away before the end of the body, or the server gave up on it.

    Attributes:
        reason: what happened. What was read until then is not a message.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _smtplib_text(reply: Reply) -> bytes:
    """Return the text of a reply as smtplib has it: enhanced code kept, LF between."""
    prefix = "" if reply.enhanced is None else f"{reply.enhanced} "
    text = "\n".join(prefix + line for line in reply.lines)
    return text.encode("utf-8", "surrogateescape")


def _set_smtplib_attributes(
    error: smtplib.SMTPResponseException, reply: Reply | None, text: str
) -> None:
    """Set what smtplib's constructor would."""
    if reply is None:
        error.smtp_code, error.smtp_error = _NO_REPLY, text.encode("utf-8", "replace")
    else:
        error.smtp_code, error.smtp_error = reply.code, _smtplib_text(reply)
    error.args = (error.smtp_code, error.smtp_error)


class SendError(SMTPXError, smtplib.SMTPException):
    """Sending failed. The subclasses say at which step.

    Args:
        text: what happened and what to do next, for people.
        reply: the server's reply, None if there was none.
        command: the verb it answers, such as ``"MAIL"``.
        recipient: the one recipient it is about.
        phase: what the client was doing, such as ``"connect"``.
        delivery: whether the server may have the message; default by class.
        is_temporary: whether trying again later may work; by default what the first
            digit of the reply says, and without a reply, by class.
    """

    DEFAULT_DELIVERY: ClassVar[Delivery] = Delivery.NOT_SENT
    DEFAULT_IS_TEMPORARY: ClassVar[bool] = False

    def __init__(  # noqa: PLR0913 - each is a datum that the error carries
        self,
        text: str,
        *,
        reply: Reply | None = None,
        command: str | None = None,
        recipient: str | None = None,
        phase: str = "",
        delivery: Delivery | None = None,
        is_temporary: bool | None = None,
    ) -> None:
        # Not super(): next in line are smtplib's constructors, which want a code.
        Exception.__init__(self, text)
        self.text = text
        self.reply = reply
        self.command = command
        self.recipient = recipient
        self.phase = phase
        self.delivery = self.DEFAULT_DELIVERY if delivery is None else delivery
        if is_temporary is None:
            is_temporary = self.DEFAULT_IS_TEMPORARY
            if reply is not None:
                is_temporary = 400 <= reply.code <= 499
        self.is_temporary = is_temporary
        if isinstance(self, smtplib.SMTPResponseException):
            _set_smtplib_attributes(self, reply, text)

    def __str__(self) -> str:
        # OSError, which smtplib's classes are, would make it of errno and strerror.
        if self.reply is None:
            return self.text
        said = _smtplib_text(self.reply).decode("utf-8", "replace")
        return f"{self.text}: {self.reply.code} {said}"


class ConnectError(SendError, smtplib.SMTPConnectError):
    """No connection could be made."""

    DEFAULT_IS_TEMPORARY = True


class GreetingRefused(ConnectError):
    """The server answered the connection with a refusal (RFC 5321 section 3.1)."""


class ConnectionLost(SendError, smtplib.SMTPServerDisconnected):
    """The connection broke, or was closed because it could not be trusted further.

    Attributes:
        results: what was known by then of each recipient of the message under way, in
            order; empty if there was none. In LMTP some may have theirs, and others not
            (RFC 2033 section 4.2).
    """

    DEFAULT_IS_TEMPORARY = True
    results: tuple[RecipientResult, ...] = ()


class OutOfStep(ConnectionLost):
    """The server said what no command asked for, or said it malformed."""


class PhaseTimeout(ConnectionLost, TimeoutError):
    """The server took longer than the timeout of ``phase`` allows."""


class TLSFailed(ConnectionLost):
    """The TLS handshake failed; nothing was sent in clear after it.

    Temporary, unless it failed for the server's certificate: that wants somebody to
    look at it. What keeps a queue should go on trying even so, since an attacker on the
    path can show a wrong certificate, and must not be able to bounce mail.
    """


class HelloRefused(SendError, smtplib.SMTPHeloError):
    """The server refused EHLO, HELO or LHLO."""


class TLSUnavailable(SendError, smtplib.SMTPNotSupportedError):
    """TLS is required and the server does not offer it, or not now.

    Temporary by default, as in Postfix: an attacker on the path can hide STARTTLS,
    and must not be able to bounce mail.
    """

    DEFAULT_IS_TEMPORARY = True


class AuthenticationFailed(SendError, smtplib.SMTPAuthenticationError):
    """The server accepted none of the credentials.

    Attributes:
        attempts: the mechanisms tried, in order, each with the reply it got.
    """

    attempts: tuple[tuple[str, Reply], ...]

    def __init__(
        self,
        text: str,
        *,
        attempts: Iterable[tuple[str, Reply]] = (),
        phase: str = "",
        is_temporary: bool | None = None,
    ) -> None:
        attempts = tuple(attempts)
        super().__init__(
            text,
            reply=attempts[-1][1] if attempts else None,
            command="AUTH",
            phase=phase,
            is_temporary=is_temporary,
        )
        self.attempts = attempts


class SenderRefused(SendError, smtplib.SMTPSenderRefused):
    """The server refused the reverse path.

    Attributes:
        sender: the reverse path as text, empty for the null reverse path.
    """

    DEFAULT_DELIVERY = Delivery.REFUSED

    def __init__(
        self,
        text: str,
        *,
        sender: str,
        reply: Reply | None = None,
        phase: str = "",
        delivery: Delivery | None = None,
    ) -> None:
        super().__init__(
            text, reply=reply, command="MAIL", phase=phase, delivery=delivery
        )
        self.sender = sender
        self.args = (self.smtp_code, self.smtp_error, sender)


class MessageTooLarge(SenderRefused):
    """The message exceeds the SIZE that the server declared (RFC 1870 section 6).

    It is found before anything is sent, so there is no reply; ``smtp_code`` is 552,
    what the server would have said.

    Attributes:
        size: of the message, in octets.
        limit: what the server declared, in octets.
    """

    DEFAULT_DELIVERY = Delivery.NOT_SENT

    def __init__(self, *, sender: str, size: int, limit: int) -> None:
        super().__init__(
            f"the message has {size} octets, the server takes {limit}", sender=sender
        )
        self.size = size
        self.limit = limit
        self.smtp_code = 552
        self.args = (self.smtp_code, self.smtp_error, sender)


class RecipientsRefused(SendError, smtplib.SMTPRecipientsRefused):
    """The server refused every recipient, or one while all were required.

    Temporary when every refusal is.

    Attributes:
        results: one for each recipient of the call, in order.
        recipients: as in smtplib, ``{recipient: (code, text)}`` of the refused ones.
    """

    DEFAULT_DELIVERY = Delivery.REFUSED

    def __init__(
        self, text: str, *, results: Iterable[RecipientResult], phase: str = ""
    ) -> None:
        self.results = tuple(results)
        refusals = {
            result.recipient: result.reply
            for result in self.results
            if not result.is_accepted and result.reply is not None
        }
        super().__init__(
            text,
            reply=next(iter(refusals.values()), None),
            command="RCPT",
            recipient=next(iter(refusals), None),
            phase=phase,
            is_temporary=bool(refusals)
            and all(400 <= reply.code <= 499 for reply in refusals.values()),
        )
        self.recipients = {
            recipient: (reply.code, _smtplib_text(reply))
            for recipient, reply in refusals.items()
        }
        self.args = (self.recipients,)

    def __str__(self) -> str:
        said = [
            f"{recipient}: {code} {text.decode('utf-8', 'replace')}"
            for recipient, (code, text) in self.recipients.items()
        ]
        if len(said) > _SHOWN_RECIPIENTS:
            said[_SHOWN_RECIPIENTS:] = [f"and {len(said) - _SHOWN_RECIPIENTS} more"]
        return ": ".join(filter(None, (self.text, "; ".join(said))))


class DataRefused(SendError, smtplib.SMTPDataError):
    """The server refused DATA or BDAT, or the message after its end."""

    DEFAULT_DELIVERY = Delivery.REFUSED


class CommandRefused(SendError, smtplib.SMTPResponseException):
    """The server refused a command that no other class is for."""


class PoolUnavailable(SendError):
    """No connection of a pool was free in time, or too many calls wait for one.

    Nothing was sent, and no server was asked.
    """

    DEFAULT_IS_TEMPORARY = True


class NotSupported(SendError, smtplib.SMTPNotSupportedError):
    """What was asked for needs an extension that the server does not offer."""

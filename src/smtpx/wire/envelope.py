"""Envelopes, and what became of them: a result for each recipient.

>>> from smtpx.wire.replies import Reply
>>> result = SendResult(
...     Reply(250, "2.0.0", "Ok: queued as 4XkQ"),
...     (RecipientResult("b@example.net", Reply(250, "2.1.5", "Ok"), True),),
... )
>>> result.queue_id, len(result.accepted), len(result.refused)
('4XkQ', 1, 0)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from smtpx.errors import Delivery
from smtpx.wire.address import Mailbox
from smtpx.wire.params import (
    DEFAULT_MAIL_OPTIONS,
    DEFAULT_RCPT_OPTIONS,
    MailOptions,
    RcptOptions,
)
from smtpx.wire.replies import Reply
from smtpx.wire.values import distinct_value, value

__all__ = [
    "Delivery",
    "Envelope",
    "Recipient",
    "RecipientResult",
    "SendResult",
    "find_queue_id",
]


@distinct_value
class Recipient:
    """A forward path that was accepted, with its parameters.

    Compared by identity: the same mailbox given twice is two recipients, each with a
    reply of its own in LMTP (RFC 2033 section 4.2).

    Attributes:
        mailbox: where to deliver.
        options: the parameters of RCPT.
        index: its position among the recipients of the transaction, from 0.
    """

    mailbox: Mailbox
    options: RcptOptions = DEFAULT_RCPT_OPTIONS
    index: int = 0


@dataclass(slots=True)
class Envelope:
    """What a mail transaction has gathered (RFC 5321 section 2.3.1).

    Attributes:
        reverse_path: where failures are reported to; None is the null reverse path.
        options: the parameters of MAIL.
        recipients: in the order in which they were accepted.
    """

    reverse_path: Mailbox | None
    options: MailOptions = DEFAULT_MAIL_OPTIONS
    recipients: list[Recipient] = field(default_factory=list)


@value
class RecipientResult:
    """What became of one recipient.

    Attributes:
        recipient: as the caller gave it.
        reply: to RCPT; in LMTP to the message, once RCPT was accepted. None if the
            server was never asked, or never answered.
        is_accepted: whether the server takes responsibility for this recipient.
        is_unknown: the end of the message was sent, and what the server said to it
            for this recipient was never heard.

    >>> RecipientResult("b@example.net", None, False, is_unknown=True).delivery
    <Delivery.UNKNOWN: 'unknown'>
    """

    recipient: str
    reply: Reply | None
    is_accepted: bool
    is_unknown: bool = False

    @property
    def delivery(self) -> Delivery:
        """What is known of the message to this recipient."""
        if self.is_accepted:
            return Delivery.DELIVERED
        if self.is_unknown:
            return Delivery.UNKNOWN
        return Delivery.NOT_SENT if self.reply is None else Delivery.REFUSED


@value
class SendResult:
    """What became of a message.

    Attributes:
        reply: to the end of the message; None in LMTP, where each recipient has one.
        recipients: one for each recipient of the call, in its order.
    """

    reply: Reply | None
    recipients: tuple[RecipientResult, ...]

    @property
    def accepted(self) -> tuple[RecipientResult, ...]:
        """The recipients for whom the server took responsibility."""
        return tuple(result for result in self.recipients if result.is_accepted)

    @property
    def refused(self) -> tuple[RecipientResult, ...]:
        """The recipients who will not get the message."""
        return tuple(result for result in self.recipients if not result.is_accepted)

    @property
    def queue_id(self) -> str | None:
        """The server's name for the message, if its reply tells one."""
        return None if self.reply is None else find_queue_id(self.reply)


# The name by which servers log a message has no standard place in the reply. In each
# pattern the first group is the name; the first pattern that is found wins.
_QUEUE_ID: Final = tuple(
    re.compile(pattern, re.IGNORECASE | re.ASCII)
    for pattern in (
        # Postfix, aiosmtpd's examples, Mailpit: "Ok: queued as 4XkQ"
        r"\bqueued as ([^\s<>();,]+)",
        # Exim "OK id=1abCDe-000000001-Xy2Z", KumoMTA "OK ids=d7ef132b5d7711ee"
        r"\bids?=([^\s<>();,]+)",
        # Exchange: "<...> [InternalId=123, Hostname=...] Queued mail for delivery"
        r"\bInternalId=([0-9]+)",
        # Haraka: "Message Queued (0A1B2C3D-4E5F.1)"
        r"\bmessage queued \(([^\s()]+)\)",
        # Sendmail, OpenSMTPD: "48AC3Kfx Message accepted for delivery"
        r"([^\s<>();,:]+):? message accepted for delivery",
        # Google: "OK  1700000000 a1-20020ab.7 - gsmtp"
        r"([^\s<>();,]+) - gsmtp",
        # qmail: "ok 1700000000 qp 12345"
        r"\bqp ([0-9]+)",
        # Amazon SES: "Ok 0102018c-...-000000"
        r"^ok:? ([0-9a-z-]{12,})$",
    )
)


def find_queue_id(reply: Reply) -> str | None:
    """Return the name that a server gave a message in its final reply, if any.

    Args:
        reply: to the end of the message. Only a 2xx reply has one.

    >>> find_queue_id(Reply(250, None, "OK id=1abCDe-000000001-Xy2Z"))
    '1abCDe-000000001-Xy2Z'
    """
    if not reply.is_positive:
        return None
    for pattern in _QUEUE_ID:
        for line in reply.lines:
            if match := pattern.search(line):
                return match[1].rstrip(".")
    return None

"""What MAIL and RCPT can ask for, as typed values (RFC 5321 section 4.1.1.11).

`smtpx.wire.params` says how each field goes over the wire.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

__all__ = [
    "ASCII_ONLY",
    "DEFAULT_MAIL_OPTIONS",
    "DEFAULT_RCPT_OPTIONS",
    "BodyType",
    "ByMode",
    "DeliverBy",
    "EncodeContext",
    "MailOptions",
    "NoSupportAction",
    "Notify",
    "OriginalRecipient",
    "RcptOptions",
    "ReturnContent",
    "ValidSince",
]


class BodyType(enum.StrEnum):
    """What kind of body the message has (RFC 6152 section 3, RFC 3030 section 3)."""

    SEVENBIT = "7BIT"
    EIGHTBITMIME = "8BITMIME"
    BINARYMIME = "BINARYMIME"


class ReturnContent(enum.StrEnum):
    """How much of the message a failure report holds (RFC 3461 section 4.3)."""

    FULL = "FULL"
    HDRS = "HDRS"


class Notify(enum.StrEnum):
    """When a delivery status notification is wanted (RFC 3461 section 4.1)."""

    NEVER = "NEVER"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DELAY = "DELAY"


@dataclass(frozen=True, slots=True)
class OriginalRecipient:
    """The recipient as the sender named it (RFC 3461 section 4.2).

    Attributes:
        address_type: ``rfc822``, ``utf-8`` (RFC 6533 section 3) or another registered
            one, as written.
        address: decoded; printable ASCII unless the type is ``utf-8``.
    """

    address_type: str
    address: str

    @property
    def is_utf8(self) -> bool:
        """Whether the address may hold more than ASCII."""
        return self.address_type.lower() == "utf-8"


class ByMode(enum.StrEnum):
    """What to do with a message that is late (RFC 2852 section 4)."""

    NOTIFY = "N"
    """Tell the sender, and go on trying."""

    RETURN = "R"
    """Give up, and return the message."""


@dataclass(frozen=True, slots=True)
class DeliverBy:
    """By when a message is to be delivered (RFC 2852 section 4).

    Attributes:
        seconds: from now, -999,999,999 to 999,999,999; at least 1 to return the
            message.
        mode: what to do then.
        is_traced: tell the sender of every relay, too.
    """

    seconds: int
    mode: ByMode
    is_traced: bool = False


class NoSupportAction(enum.StrEnum):
    """What to do when the next server has no RRVS (RFC 7293 section 3.1)."""

    REJECT = "R"
    CONTINUE = "C"


@dataclass(frozen=True, slots=True)
class ValidSince:
    """Since when the owner of a mailbox must be the same (RFC 7293 section 3.1).

    Attributes:
        since: with a time zone; parsed ones are in UTC. Fractions of seconds are not
            sent.
        action: for a server that does not know the extension.
    """

    since: datetime
    action: NoSupportAction = NoSupportAction.REJECT


@dataclass(frozen=True, slots=True, kw_only=True)
class MailOptions:
    """The parameters of MAIL.

    Attributes:
        size: of the message in octets, as declared (RFC 1870).
        body: the kind of body (RFC 6152, RFC 3030).
        smtputf8: the envelope or a header may hold UTF-8 (RFC 6531).
        auth: who submitted the message, a mailbox; ``""`` is ``<>``, unknown or not
            trusted (RFC 4954 section 5).
        return_content: for failure reports (RFC 3461).
        envelope_id: for reports, printable ASCII (RFC 3461).
        requiretls: relay over verified TLS or not at all (RFC 8689).
        deliver_by: by when to deliver, and what to do after (RFC 2852).
        mt_priority: -9 to 9, 0 is normal, higher goes first (RFC 6710).
        hold_for_seconds: hold the message that long, 1 to 999,999,999 (RFC 4865);
            excludes ``hold_until``.
        hold_until: hold the message until then (RFC 4865); excludes
            ``hold_for_seconds``.
        solicit: classes of solicitation that the message belongs to (RFC 3865).
        xoorg: the organization that the message comes from, as Exchange tells others
            of its kind.
        extra: parameters without a field of their own, by keyword in upper case. Not
            to be changed.

    >>> MailOptions(size=1000, body=BodyType.EIGHTBITMIME).size
    1000
    """

    size: int | None = None
    body: BodyType | None = None
    smtputf8: bool = False
    auth: str | None = None
    return_content: ReturnContent | None = None
    envelope_id: str | None = None
    requiretls: bool = False
    deliver_by: DeliverBy | None = None
    mt_priority: int | None = None
    hold_for_seconds: int | None = None
    hold_until: datetime | None = None
    solicit: tuple[str, ...] = ()
    xoorg: str | None = None
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RcptOptions:
    """The parameters of RCPT.

    Attributes:
        notify: when to send a delivery status notification; empty leaves it to the
            server (RFC 3461).
        original_recipient: for reports (RFC 3461).
        valid_since: deliver only if the mailbox has had the same owner since
            (RFC 7293).
        deliver_by: as in `MailOptions`; some peers send it with RCPT.
        mt_priority: as in `MailOptions`; some peers send it with RCPT.
        extra: parameters without a field of their own, by keyword in upper case. Not
            to be changed.

    >>> RcptOptions(notify=(Notify.SUCCESS, Notify.FAILURE)).original_recipient is None
    True
    """

    notify: tuple[Notify, ...] = ()
    original_recipient: OriginalRecipient | None = None
    valid_since: ValidSince | None = None
    deliver_by: DeliverBy | None = None
    mt_priority: int | None = None
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)


DEFAULT_MAIL_OPTIONS: Final = MailOptions()
"""MAIL without parameters; shared, as most commands have none."""

DEFAULT_RCPT_OPTIONS: Final = RcptOptions()
"""RCPT without parameters; shared, as most commands have none."""


@dataclass(frozen=True, slots=True)
class EncodeContext:
    """What an encoder has to know of the server.

    Attributes:
        smtputf8: the transaction uses SMTPUTF8, so values may hold UTF-8.
    """

    smtputf8: bool = False


ASCII_ONLY: Final = EncodeContext()

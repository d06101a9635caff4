"""What a caller asks for, checked: addresses parsed, gaps filled from the message."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from email.message import Message
from typing import TypeAlias

from smtpx.client.link import SourceError
from smtpx.client.message import MessageSource, Payload, make_payload
from smtpx.client.message_addresses import recipients_of, sender_of
from smtpx.client.plan import Order
from smtpx.wire.address import Mailbox
from smtpx.wire.options import (
    DEFAULT_MAIL_OPTIONS,
    DEFAULT_RCPT_OPTIONS,
    BodyType,
    MailOptions,
    RcptOptions,
)

__all__ = [
    "RcptOptionsOf",
    "Recipients",
    "as_mailbox",
    "make_order",
    "payload_for",
    "payload_of",
]

Recipients: TypeAlias = str | Mailbox | Iterable[str | Mailbox]
RcptOptionsOf: TypeAlias = RcptOptions | Mapping[str, RcptOptions]

# A sender, and often a recipient, is the same message after message.
_parse_mailbox = functools.lru_cache(maxsize=256)(Mailbox.parse)


def as_mailbox(address: str | Mailbox) -> Mailbox:
    """Return a mailbox; parse it if it is text.

    Raises:
        BadAddress: it is none.
    """
    return address if isinstance(address, Mailbox) else _parse_mailbox(address)


def make_order(
    message: MessageSource,
    sender: str | Mailbox | None,
    recipients: Recipients | None,
    options: MailOptions,
    rcpt_options: RcptOptionsOf,
    require_all: bool,
) -> Order:
    """Check the addresses, and take from the message what the caller left to it."""
    if sender is None:
        if not isinstance(message, Message):
            raise ValueError("give the sender: only an EmailMessage names one")
        sender = sender_of(message)
    if recipients is None:
        if not isinstance(message, Message):
            raise ValueError("give the recipients: only an EmailMessage names them")
        recipients = recipients_of(message)
    elif isinstance(recipients, str | Mailbox):
        recipients = (recipients,)
    mailboxes = []
    names = []
    for recipient in recipients:
        if type(recipient) is str:
            mailboxes.append(_parse_mailbox(recipient))
            names.append(recipient)
        else:
            mailboxes.append(as_mailbox(recipient))
            names.append(str(recipient))
    if not names:
        raise ValueError("there are no recipients")
    if options is not DEFAULT_MAIL_OPTIONS:
        _require_mail_options(options)
    return Order(
        as_mailbox(sender) if sender else None,
        mailboxes,
        names,
        options,
        () if rcpt_options is DEFAULT_RCPT_OPTIONS else _options(rcpt_options, names),
        require_all,
    )


def _require_mail_options(options: object) -> None:
    """Refuse what takes the same name elsewhere, before anything is sent."""
    if not isinstance(options, MailOptions):
        raise TypeError(
            "options of a message are an smtpx.MailOptions, not of the type "
            f"{type(options).__name__}; an smtpx.ClientOptions is given to the client, "
            "or to smtpx.send as client_options"
        )


def _options(options: RcptOptionsOf, names: list[str]) -> tuple[RcptOptions, ...]:
    """Return the options of each recipient."""
    if isinstance(options, RcptOptions):
        return (options,) * len(names)
    if not isinstance(options, Mapping):
        raise TypeError(
            "rcpt_options are an smtpx.RcptOptions, or those of each recipient by "
            f"name, not of the type {type(options).__name__}"
        )
    if unknown := options.keys() - set(names):
        raise ValueError(f"options for who is no recipient: {', '.join(unknown)}")
    return tuple(options.get(name, DEFAULT_RCPT_OPTIONS) for name in names)


async def payload_of(message: MessageSource, *, is_binary: bool = False) -> Payload:
    """Look at a message; what its stream raises is the caller's own."""
    try:
        return await make_payload(message, is_binary=is_binary)
    except (OSError, EOFError) as error:
        raise SourceError from error


async def payload_for(message: MessageSource, options: MailOptions) -> Payload:
    """Look at a message that is sent with these options; see `payload_of`."""
    return await payload_of(message, is_binary=options.body is BodyType.BINARYMIME)

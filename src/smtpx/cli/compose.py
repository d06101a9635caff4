"""A message built from the options of a command line."""

from __future__ import annotations

import email
import mimetypes
import sys
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Final

import click

from smtpx.client.message_addresses import recipients_of, sender_of

__all__ = ["Draft", "address_fields", "compose"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What the options say.

    Attributes:
        sender: for From, with or without a display name.
        to: likewise, each.
        cc: likewise.
        bcc: recipients that no header field names.
        subject: of the message.
        body: plain text, ``@file``, or ``-`` for standard input.
        html: the same as HTML, as an alternative to ``body``.
        attachments: files.
        headers: more fields, ``Name: value``.
    """

    sender: str | None = None
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    subject: str | None = None
    body: str | None = None
    html: str | None = None
    attachments: tuple[Path, ...] = ()
    headers: tuple[str, ...] = ()

    @property
    def recipients(self) -> tuple[str, ...]:
        """All of them."""
        return self.to + self.cc + self.bcc

    @property
    def has_content(self) -> bool:
        """Whether anything is to be built, addresses aside."""
        return any(
            (
                self.subject is not None,
                self.body is not None,
                self.html is not None,
                self.attachments,
                self.headers,
            )
        )


def compose(draft: Draft) -> EmailMessage:
    """Build a message.

    Args:
        draft: what it is built of; files are read here.

    Returns:
        It, with Date and Message-ID; recipients of ``bcc`` are in a Bcc field, which
        a client takes off.

    Raises:
        click.UsageError: an option is wrong.
        OSError: a file cannot be read.
    """
    if draft.sender is None or not draft.recipients:
        raise click.UsageError("to build a message, give --from and --to")
    if draft.body == "-" and draft.html == "-":
        raise click.UsageError("--body and --html cannot both be standard input")
    message = address_fields(draft)
    if draft.subject is not None:
        _set(message, "Subject", draft.subject)
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid(domain=_domain(message) or None)
    for field in draft.headers:
        _add_field(message, field)
    _set_texts(message, draft)
    for path in draft.attachments:
        _attach(message, path)
    return message


def address_fields(draft: Draft) -> EmailMessage:
    """Make the header fields of the addresses that are given.

    Args:
        draft: what they are made of.

    Returns:
        From, To, Cc and Bcc, as far as they are given.

    Raises:
        click.UsageError: an option is no address.
    """
    message = EmailMessage(policy=SMTP)
    if draft.sender is not None:
        _set_addresses(message, "From", (draft.sender,))
    for name, values in [("To", draft.to), ("Cc", draft.cc), ("Bcc", draft.bcc)]:
        if values:
            _set_addresses(message, name, values)
    return message


# One of each is enough; the command line goes before what we would write.
_SINGLE_FIELDS: Final = frozenset(
    ("date", "message-id", "from", "sender", "reply-to", "to", "cc", "subject")
)


def _add_field(message: EmailMessage, field: str) -> None:
    name, colon, value = field.partition(":")
    if not colon:
        raise click.UsageError(f"--header {field!r}: write 'Name: value'")
    if name.lower() in _SINGLE_FIELDS:
        del message[name]
    _set(message, name, value.strip())


def _set_texts(message: EmailMessage, draft: Draft) -> None:
    if draft.html is None:
        message.set_content(_text_of(draft.body or ""))
        return
    if draft.body is None:
        message.set_content(_text_of(draft.html), subtype="html")
        return
    message.set_content(_text_of(draft.body))
    message.add_alternative(_text_of(draft.html), subtype="html")


def _set_addresses(message: EmailMessage, name: str, values: tuple[str, ...]) -> None:
    for value in values:
        if not _is_address(name, value):
            raise click.UsageError(
                f"--{name.lower()} {value!r} is no address: write a@example.com or "
                "'Name <a@example.com>'"
            )
    message[name] = ", ".join(values)


def _is_address(name: str, value: str) -> bool:
    """Say whether a client will find an address there, or several."""
    alone = EmailMessage(policy=SMTP)
    try:
        alone[name] = value
        # Header objects themselves take anything.
        (sender_of if name == "From" else recipients_of)(alone)
    except (ValueError, IndexError):  # on "x@" the standard library's parser trips
        return False
    return True


def _set(message: EmailMessage, name: str, value: str) -> None:
    if not name.isascii() or not name.isprintable() or not name or " " in name:
        raise click.UsageError(f"{name!r} is no name of a header field")
    try:
        message[name] = value
    except ValueError as error:
        # A line end in a value would start a field of its own (CVE-2024-6923).
        raise click.UsageError(f"header field {name}: {error}") from None


def _domain(message: EmailMessage) -> str:
    domain: str = message["From"].addresses[0].domain
    return domain if domain.isascii() else ""


def _text_of(value: str) -> str:
    """Return a text, the text of ``@file``, or standard input for ``-``."""
    if value == "-":
        octets = sys.stdin.buffer.read()
    elif value.startswith("@"):
        octets = Path(value[1:]).read_bytes()
    else:
        return value
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        name = "standard input" if value == "-" else value[1:]
        raise click.UsageError(
            f"{name} is no UTF-8 text: attach it with --attach"
        ) from None
    return text.replace("\r\n", "\n")


def _attach(message: EmailMessage, path: Path) -> None:
    """Attach a file; its type is guessed by its name."""
    data = path.read_bytes()
    kind, encoding = mimetypes.guess_type(path.name)
    if kind is None or encoding is not None:
        kind = "application/octet-stream"
    main, _, sub = kind.partition("/")
    if path.suffix.lower() == ".eml":
        inner = email.message_from_bytes(data, policy=SMTP)
        message.add_attachment(inner, filename=path.name)
    elif main in {"message", "multipart"}:
        message.add_attachment(
            data, maintype="application", subtype="octet-stream", filename=path.name
        )
    else:
        message.add_attachment(data, maintype=main, subtype=sub, filename=path.name)

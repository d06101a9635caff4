r"""A message as a program reads it: subject, addresses, date, text, attachments.

Everything is made when it is asked for, and nothing raises: what a broken message does
not say is empty or None, and `ParsedMessage.defects` lists what is wrong.

>>> message = parse_message(
...     b"From: Ann <ann@example.com>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
...     b"Date: Thu, 5 Mar 2026 10:00:00 +0100\r\n\r\nHallo\r\n")
>>> message.subject, message.from_[0].address, message.date.hour, message.text
('Grüße', 'ann@example.com', 10, 'Hallo\n')
"""

from __future__ import annotations

import email.utils
import itertools
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Final

from smtpx.message.addresses import Address, parse_addresses
from smtpx.message.fields import Header, HeaderField
from smtpx.message.parts import DEFAULT_PART_LIMITS, Part, PartLimits, parse_parts
from smtpx.message.words import decode_words
from smtpx.wire.octets import has_line_control

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "Attachment",
    "ParsedMessage",
    "ResentBlock",
    "parse_date",
    "parse_message",
]

_MESSAGE_ID: Final = re.compile(r"<([^<>\s]+)>")
_MAX_DATE_OCTETS: Final = 256
_MAX_NAME_OCTETS: Final = 255  # of a file, on all usual file systems
# What a path, a shell, or Windows gives a meaning.
_UNSAFE_IN_NAME: Final = re.compile(
    r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u2028-\u202e\u2066-\u2069]'
)
_WINDOWS_DEVICE: Final = re.compile(
    r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE | re.DOTALL
)


class Attachment:
    """A file within a message.

    Attributes:
        name: of the file as the sender wrote it, None if it has none. It may be a path;
            see `safe_name`.
        content_type: such as ``image/png``, as the sender calls it.
        content_id: what the HTML calls it, as in ``cid:logo``, without angle brackets;
            None if nothing does.
        is_embedded: whether it is shown within the text rather than beside it.
        part: the part of the message that it is.
    """

    def __init__(self, part: Part, *, is_embedded: bool) -> None:
        self.part = part
        self.name = part.filename
        self.content_type = part.content_type
        self.content_id = part.content_id
        self.is_embedded = is_embedded

    @cached_property
    def data(self) -> bytes:
        """The file: transfer encoding undone, made once."""
        return self.part.data

    @property
    def safe_name(self) -> str:
        r"""A name to store it under: no path, nothing that a system gives a meaning.

        Never empty; two attachments may have the same.

        >>> message = parse_message(
        ...     b'Content-Disposition: attachment; filename="../etc/passwd"\r\n\r\nx')
        >>> message.attachments[0].safe_name
        'passwd'
        """
        name = re.split(r"[/\\]", self.name or "")[-1]
        # A leading dot hides it; Windows drops dots and spaces at the end.
        name = _UNSAFE_IN_NAME.sub("_", name).strip(". ")
        name = name.encode("utf-8", "replace")[:_MAX_NAME_OCTETS].decode(
            "utf-8", "ignore"
        )
        name = name.strip(". ")
        if not name or _WINDOWS_DEVICE.fullmatch(name) is not None:
            name = f"attachment_{name}".rstrip("_")
        return name

    def __repr__(self) -> str:
        return f"<Attachment {self.name!r} {self.content_type}>"


@dataclass(frozen=True, slots=True)
class ResentBlock:
    """Who put a message into the mail again, and for whom (RFC 5322 section 3.6.6).

    Attributes:
        date: when; None if it is missing or malformed.
        from_: who.
        sender: who sent it for them; None if they did.
        to: the new recipients.
        cc: likewise.
        bcc: likewise.
        message_id: without angle brackets.
    """

    date: datetime | None
    from_: tuple[Address, ...]
    sender: Address | None
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    bcc: tuple[Address, ...]
    message_id: str | None


class ParsedMessage:
    """What a message says. It is made by `parse_message`.

    Attributes:
        octets: the message as it was received.
        root: its structure, for what has no attribute here.
        header: its header fields.
    """

    def __init__(self, octets: bytes, root: Part) -> None:
        self.octets = octets
        self.root = root
        self.header: Header = root.header

    # Fields.

    def _text_of(self, name: str) -> str | None:
        one = self.header.first(name)
        return None if one is None else decode_words(one.text)

    def _addresses_of(self, name: str) -> tuple[Address, ...]:
        # A second To is a mistake of the sender, and yet meant (RFC 5322 section 3.6
        # allows one).
        found = [parse_addresses(one.text) for one in self.header.all(name)]
        return tuple(itertools.chain.from_iterable(found))

    def _ids_of(self, name: str) -> tuple[str, ...]:
        one = self.header.first(name)
        if one is None:
            return ()
        found = _MESSAGE_ID.findall(one.text)
        return tuple(found or one.text.split())

    @cached_property
    def subject(self) -> str:
        """The subject with its encoded words decoded; empty if there is none."""
        return self._text_of("Subject") or ""

    @cached_property
    def from_(self) -> tuple[Address, ...]:
        """The authors."""
        return self._addresses_of("From")

    @cached_property
    def sender(self) -> Address | None:
        """Who sent it for the authors; the author, if there is one and no Sender."""
        found = self._addresses_of("Sender")
        if not found and len(self.from_) == 1:
            return self.from_[0]
        return found[0] if found else None

    @cached_property
    def reply_to(self) -> tuple[Address, ...]:
        """Where answers go; the authors, if it does not say."""
        return self._addresses_of("Reply-To") or self.from_

    @cached_property
    def to(self) -> tuple[Address, ...]:
        """The recipients as the header names them; the envelope decides."""
        return self._addresses_of("To")

    @cached_property
    def cc(self) -> tuple[Address, ...]:
        """Who gets a copy."""
        return self._addresses_of("Cc")

    @cached_property
    def bcc(self) -> tuple[Address, ...]:
        """Who gets one that the others do not know of; proper senders remove it."""
        return self._addresses_of("Bcc")

    @cached_property
    def date(self) -> datetime | None:
        """When it was written, with its time zone; None if missing or malformed."""
        one = self.header.first("Date")
        return None if one is None else parse_date(one.text)

    @cached_property
    def message_id(self) -> str | None:
        """What the message is called, without angle brackets."""
        return next(iter(self._ids_of("Message-ID")), None)

    @cached_property
    def in_reply_to(self) -> tuple[str, ...]:
        """Which messages this one answers, without angle brackets."""
        return self._ids_of("In-Reply-To")

    @cached_property
    def references(self) -> tuple[str, ...]:
        """The conversation so far, without angle brackets, the first message first."""
        return self._ids_of("References")

    @cached_property
    def resent(self) -> tuple[ResentBlock, ...]:
        """Each time it was put into the mail again, the last time first."""
        return tuple(_resent_block(block) for block in _resent_fields(self.header))

    @cached_property
    def hops(self) -> int:
        """How many Received fields it has; a hundred mean a loop.

        RFC 5321 section 6.3.
        """
        return len(self.header.all("Received"))

    @property
    def is_automatic(self) -> bool:
        """Whether a program made it, so that no program should answer (RFC 3834)."""
        submitted = (self._text_of("Auto-Submitted") or "no").strip().lower()
        precedence = (self._text_of("Precedence") or "").strip().lower()
        return (
            not submitted.startswith("no")
            or precedence in {"bulk", "junk", "list"}
            or self.header.first("List-Id") is not None
        )

    def without(self, is_unwanted: Callable[[HeaderField], bool]) -> bytes:
        r"""Return the message without some fields; all else keeps every octet.

        Args:
            is_unwanted: says which fields go.

        >>> message = parse_message(b"X-Spam: no\r\nSubject: hi\r\n\r\nHello.\r\n")
        >>> message.without(lambda field: field.name.lower() == "x-spam")
        b'Subject: hi\r\n\r\nHello.\r\n'
        """
        fields = self.header.fields
        position = 0
        if not fields or not self.octets.startswith(fields[0].octets):
            # The envelope line of an mbox, or no field at all.
            position = self.octets.find(b"\n") + 1 if fields else 0
        kept = [self.octets[:position]]
        for one in fields:
            # They follow each other: a header ends at the first line that is none.
            position += len(one.octets)
            if not is_unwanted(one):
                kept.append(one.octets)
        return b"".join([*kept, self.octets[position:]])

    # Body.

    @cached_property
    def _bodies(self) -> tuple[list[Part], list[Part], list[Attachment]]:
        """Sort the leaves: texts, HTML texts, files."""
        texts: list[Part] = []
        htmls: list[Part] = []
        files: list[Attachment] = []
        for part in self.root.leaves():
            disposition = part.disposition[0]
            is_body = disposition != "attachment" and part.filename is None
            if is_body and part.content_type == "text/html":
                htmls.append(part)
            elif is_body and (
                part.content_type == "text/plain"
                # Without a boundary nothing else can be made of it.
                or part.content_type.startswith("multipart/")
            ):
                texts.append(part)
            else:
                # Some mailers give every file an id, those beside the text too; others
                # call what the text shows an attachment.
                is_embedded = bool(part.content_id) and (
                    part.is_related or disposition != "attachment"
                )
                files.append(Attachment(part, is_embedded=is_embedded))
        return texts, htmls, files

    @cached_property
    def text(self) -> str:
        """The plain text, all of it, with LF line ends; empty if there is none."""
        return "\n".join(part.text for part in self._bodies[0])

    @cached_property
    def html(self) -> str:
        """The HTML text, likewise. It is a stranger's: clean it before showing it."""
        return "\n".join(part.text for part in self._bodies[1])

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """The files beside the text, forwarded messages among them."""
        return tuple(one for one in self._bodies[2] if not one.is_embedded)

    @property
    def embedded(self) -> tuple[Attachment, ...]:
        """The files that the HTML shows, by their content id."""
        return tuple(one for one in self._bodies[2] if one.is_embedded)

    @cached_property
    def defects(self) -> tuple[str, ...]:
        """What is wrong with the message, for people. It decodes the texts."""
        return tuple(self._find_defects())

    def _find_defects(self) -> Iterator[str]:
        waiting = [self.root]
        while waiting:
            part = waiting.pop()
            yield from part.defects
            waiting.extend(reversed(part.parts))
        texts, htmls, _ = self._bodies
        for part in (*texts, *htmls):
            yield from part.text_defects
        yield from self._field_defects()

    def _field_defects(self) -> Iterator[str]:
        """Compare the fields with RFC 5322 section 3.6."""
        for name in ("From", "Date"):
            if self.header.first(name) is None:
                yield f"no {name} field"
        for name in _ONCE:
            if len(self.header.all(name)) > 1:
                yield f"more than one {name} field"
        if self.header.first("Date") is not None and self.date is None:
            yield "bad date"
        for address in (*self.from_, *self.to, *self.cc):
            if address.mailbox is None:
                yield f"bad address {address.address[:64]!a}"
        if has_line_control(self.subject):
            yield "a control character in the subject"


_ONCE: Final = (
    *("From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Date", "Subject"),
    *("Message-ID", "In-Reply-To", "References"),
)


def parse_message(
    octets: bytes, *, limits: PartLimits = DEFAULT_PART_LIMITS
) -> ParsedMessage:
    """Parse a message. It never raises, and takes time linear in the size.

    Args:
        octets: the message, with CRLF or LF line ends.
        limits: how much of its structure to look at.

    Returns:
        What it says.

    Example:
        >>> parse_message(b"").subject
        ''
    """
    return ParsedMessage(octets, parse_parts(octets, limits))


def parse_date(text: str) -> datetime | None:
    """Parse the date of a header field (RFC 5322 section 3.3).

    Args:
        text: the field's value; may hold anything.

    Returns:
        The date with its time zone, None if it is none. ``-0000``, which says that the
        time zone is not known, is UTC.

    >>> parse_date("5 Mar 2026 10:00 -0000")
    datetime.datetime(2026, 3, 5, 10, 0, tzinfo=datetime.timezone.utc)
    """
    try:
        date = email.utils.parsedate_to_datetime(text[:_MAX_DATE_OCTETS])
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        date.utcoffset()
        date.astimezone(UTC)
    except (ValueError, TypeError, LookupError, OverflowError):
        # Each was seen: this parser trusts its input.
        return None
    return date


def _resent_fields(header: Header) -> Iterator[list[HeaderField]]:
    """Group the resent fields: each time prepends a block (RFC 5322 section 3.6.6)."""
    block: list[HeaderField] = []
    names: set[str] = set()
    for one in header.fields:
        name = one.name.lower()
        is_resent = name.startswith("resent-")
        if block and (not is_resent or name in names):
            yield block
            block, names = [], set()
        if is_resent:
            block.append(one)
            names.add(name)
    if block:
        yield block


def _resent_block(fields: list[HeaderField]) -> ResentBlock:
    texts = {one.name.lower().removeprefix("resent-"): one.text for one in fields}

    def addresses(name: str) -> tuple[Address, ...]:
        return parse_addresses(texts.get(name, ""))

    from_ = addresses("from")
    sender = addresses("sender") or (from_ if len(from_) == 1 else ())
    ids = _MESSAGE_ID.findall(texts.get("message-id", ""))
    return ResentBlock(
        date=parse_date(texts.get("date", "")),
        from_=from_,
        sender=sender[0] if sender else None,
        to=addresses("to"),
        cc=addresses("cc"),
        bcc=addresses("bcc"),
        message_id=ids[0] if ids else None,
    )

r"""Delivery status notifications: made and read (RFC 3464, RFC 6522, RFC 6533).

>>> from datetime import UTC, datetime
>>> from smtpx.message.parsed import parse_message
>>> report = DeliveryReport(
...     reporting_mta="mx.example.com",
...     recipients=(RecipientReport(
...         recipient="bob@example.net", action=DeliveryAction.FAILED, status="5.1.1",
...         diagnostic="550 5.1.1 no such mailbox"),))
>>> octets = make_report(report, ReportHeader(
...     sender="MAILER-DAEMON@mx.example.com", recipient="ann@example.com",
...     message_id="1@mx.example.com", boundary="b1",
...     date=datetime(2026, 3, 5, 10, 0, tzinfo=UTC)), original=b"Subject: x\r\n\r\n")
>>> parse_report(parse_message(octets)).recipients[0].action
<DeliveryAction.FAILED: 'failed'>
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Final

from smtpx.errors import UnsafeOctets
from smtpx.message.fields import Header, HeaderField, make_field, parse_header
from smtpx.message.parsed import parse_date
from smtpx.message.trace import format_date
from smtpx.wire.octets import (
    decode_utf8_addr,
    encode_utf8_addr_unitext,
    encode_utf8_addr_xtext,
    has_line_control,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from smtpx.message.parsed import ParsedMessage
    from smtpx.message.parts import Part

__all__ = [
    "DeliveryAction",
    "DeliveryReport",
    "RecipientReport",
    "ReportHeader",
    "make_report",
    "parse_report",
]

_MAX_RECIPIENTS: Final = 10_000
"""Of one report: as many as one transaction should ever have."""


@unique
class DeliveryAction(StrEnum):
    """What was done for a recipient (RFC 3464 section 2.3.3)."""

    FAILED = "failed"
    """Given up; nobody tries again."""

    DELAYED = "delayed"
    """Not yet delivered; it is tried again."""

    DELIVERED = "delivered"
    """It is in the mailbox."""

    RELAYED = "relayed"
    """It went to a system that sends no reports."""

    EXPANDED = "expanded"
    """It went to several others, as of a mailing list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientReport:
    """What became of a message for one recipient (RFC 3464 section 2.3).

    Attributes:
        recipient: where it was to go, as the system that reports knows it.
        action: what was done.
        status: as ``5.1.1`` (RFC 3463).
        original_recipient: as the sender wrote it (ORCPT); empty if it is not known.
        remote_mta: which host said so; empty if this one did.
        diagnostic: what it said: an SMTP reply.
        last_attempt: when it was tried last.
        final_log_id: for those who read the log.
        will_retry_until: when it is given up.
    """

    recipient: str
    action: DeliveryAction
    status: str
    original_recipient: str = ""
    remote_mta: str = ""
    diagnostic: str = ""
    last_attempt: datetime | None = None
    final_log_id: str = ""
    will_retry_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """What a delivery status notification says (RFC 3464 section 2).

    Attributes:
        reporting_mta: the host that reports.
        recipients: what became of the message for each.
        original_envelope_id: what the sender called it (ENVID).
        received_from: the host that it came from.
        arrival_date: when it came.
        original: the message that it is about, or its header; empty if it is not there.
    """

    reporting_mta: str
    recipients: tuple[RecipientReport, ...]
    original_envelope_id: str = ""
    received_from: str = ""
    arrival_date: datetime | None = None
    original: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportHeader:
    """What stands on top of a report.

    It goes out with the null reverse path (RFC 3464 section 2), so that no report ever
    answers a report.

    Attributes:
        sender: the address it is from, as ``MAILER-DAEMON@mx.example.com``.
        recipient: the reverse path of the message.
        message_id: without angle brackets.
        boundary: random, so that no message can hold it.
        date: when, with a time zone.
        subject: empty for one that says what happened.
        text: for people, LF line ends; empty for one made of the report.
    """

    sender: str
    recipient: str
    message_id: str
    boundary: str
    date: datetime
    subject: str = ""
    text: str = ""


def make_report(
    report: DeliveryReport,
    header: ReportHeader,
    *,
    original: bytes = b"",
    is_whole: bool = False,
) -> bytes:
    """Write a delivery status notification.

    Args:
        report: what happened; its ``original`` is not looked at.
        header: what stands on top.
        original: the message that it is about.
        is_whole: return all of it, not its header alone (RET, RFC 3461 section 4.3).

    Returns:
        A message with CRLF line ends. It is ASCII, unless an address or the original
        is not: then it needs SMTPUTF8 or 8BITMIME.

    Raises:
        ValueError: there are no recipients.
        UnsafeOctets: a value holds a control character.
    """
    if not report.recipients:
        raise ValueError("a report is about at least one recipient")
    is_utf8 = not all(one.recipient.isascii() for one in report.recipients)
    kind = "global-delivery-status" if is_utf8 else "delivery-status"
    if is_whole:
        returned = _encode_lines(original)
        what = "global" if is_utf8 else "rfc822"
    else:
        returned = _encode_lines(_header_of(original))
        what = "global-headers" if is_utf8 else "rfc822-headers"
    main = "message" if is_whole or is_utf8 else "text"
    marker = f"--{header.boundary}\r\n".encode()
    status = _status(report, is_utf8=is_utf8)
    text = header.text or _explain(report)
    if header.boundary.encode() in b"".join((text.encode(), status, returned)):
        raise ValueError("the boundary is part of the content: take a random one")
    parts = [
        _top(report, header),
        marker,
        b"Content-Type: text/plain; charset=utf-8\r\n",
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n",
        _quoted_printable(text),
        marker,
        f"Content-Type: message/{kind}\r\n\r\n".encode(),
        status,
        marker,
        f"Content-Type: {main}/{what}\r\n\r\n".encode(),
        returned,
        f"\r\n--{header.boundary}--\r\n".encode(),
    ]
    return b"".join(parts)


_SUBJECTS: Final = {
    DeliveryAction.FAILED: "Undelivered mail returned to sender",
    DeliveryAction.DELAYED: "Delayed mail, still being tried",
}


def _top(report: DeliveryReport, header: ReportHeader) -> bytes:
    actions = {one.action for one in report.recipients}
    subject = header.subject
    if not subject:
        worst = next(
            (one for one in DeliveryAction if one in actions), DeliveryAction.FAILED
        )
        subject = _SUBJECTS.get(worst, "Mail delivery report")
    fields = [
        make_field("Date", format_date(header.date)),
        make_field("From", f"Mail Delivery System <{header.sender}>"),
        make_field("To", f"<{header.recipient}>"),
        make_field("Subject", subject),
        make_field("Message-ID", f"<{header.message_id}>"),
        # RFC 3834 section 5: nobody should answer it.
        make_field("Auto-Submitted", "auto-replied"),
        make_field("MIME-Version", "1.0"),
        make_field(
            "Content-Type",
            "multipart/report; report-type=delivery-status; "
            f'boundary="{header.boundary}"',
        ),
    ]
    return Header(tuple(fields)).encode() + b"\r\n"


def _status(report: DeliveryReport, *, is_utf8: bool) -> bytes:
    """Write message/delivery-status: a block of fields, then one a recipient."""
    blocks = [_message_fields(report)]
    blocks += [_recipient_fields(one, is_utf8=is_utf8) for one in report.recipients]
    return b"".join(
        b"".join(field.octets for field in block) + b"\r\n" for block in blocks
    )


def _message_fields(report: DeliveryReport) -> Iterable[HeaderField]:
    if report.original_envelope_id:
        yield make_field("Original-Envelope-Id", report.original_envelope_id)
    yield make_field("Reporting-MTA", f"dns; {report.reporting_mta}")
    if report.received_from:
        yield make_field("Received-From-MTA", f"dns; {report.received_from}")
    if report.arrival_date is not None:
        yield make_field("Arrival-Date", format_date(report.arrival_date))


def _recipient_fields(one: RecipientReport, *, is_utf8: bool) -> Iterable[HeaderField]:
    if one.original_recipient:
        address = _typed(one.original_recipient, is_utf8=is_utf8)
        yield make_field("Original-Recipient", address)
    yield make_field("Final-Recipient", _typed(one.recipient, is_utf8=is_utf8))
    yield make_field("Action", one.action.value)
    yield make_field("Status", one.status)
    if one.remote_mta:
        yield make_field("Remote-MTA", f"dns; {one.remote_mta}")
    if one.diagnostic:
        said = " ".join(one.diagnostic.splitlines())
        said = "".join("?" if has_line_control(char) else char for char in said)
        said = said if is_utf8 else said.encode("ascii", "replace").decode()
        yield make_field("Diagnostic-Code", f"smtp; {said}")
    if one.last_attempt is not None:
        yield make_field("Last-Attempt-Date", format_date(one.last_attempt))
    if one.final_log_id:
        yield make_field("Final-Log-Id", one.final_log_id)
    if one.will_retry_until is not None:
        yield make_field("Will-Retry-Until", format_date(one.will_retry_until))


def _typed(address: str, *, is_utf8: bool) -> str:
    """Write an address with its type (RFC 3464 section 2.3.2, RFC 6533 section 3)."""
    if address.isascii():
        if has_line_control(address):
            raise UnsafeOctets("address", ascii(address))
        return f"rfc822; {address}"
    encode = encode_utf8_addr_unitext if is_utf8 else encode_utf8_addr_xtext
    return f"utf-8; {encode(address).decode()}"


def _explain(report: DeliveryReport) -> str:
    lines = [f"This is the mail system at {report.reporting_mta}.", ""]
    for one in report.recipients:
        lines.append(f"<{one.recipient}>: {one.action} ({one.status})")
        lines += [f"    {line}" for line in one.diagnostic.splitlines()]
        if one.remote_mta:
            lines.append(f"    said {one.remote_mta}")
        lines.append("")
    return "\n".join(lines)


def _quoted_printable(text: str) -> bytes:
    octets = text.replace("\r\n", "\n").encode("utf-8", "replace")
    encoded = binascii.b2a_qp(octets, istext=True)
    return encoded.replace(b"\n", b"\r\n") + b"\r\n"


def _encode_lines(octets: bytes) -> bytes:
    return octets if octets.endswith(b"\n") or not octets else octets + b"\r\n"


def _header_of(octets: bytes) -> bytes:
    return parse_header(octets)[0].encode()


# Reading.


def parse_report(message: ParsedMessage) -> DeliveryReport | None:
    """Read a delivery status notification. It never raises.

    Args:
        message: any message.

    Returns:
        What it says; None if it is no such report.
    """
    leaves = list(message.root.leaves())
    kinds = {"message/delivery-status", "message/global-delivery-status"}
    status = next((part for part in leaves if part.content_type in kinds), None)
    if status is None:
        return None
    blocks = _blocks(status.data)
    if not blocks:
        return None
    top, *others = blocks
    return DeliveryReport(
        reporting_mta=_value_of(top, "Reporting-MTA"),
        recipients=tuple(
            one for block in others if (one := _parse_recipient(block)) is not None
        ),
        original_envelope_id=_text_of(top, "Original-Envelope-Id"),
        received_from=_value_of(top, "Received-From-MTA"),
        arrival_date=parse_date(_text_of(top, "Arrival-Date")),
        original=_original(leaves),
    )


def _blocks(octets: bytes) -> list[Header]:
    """Cut the blocks of fields, which empty lines are between."""
    blocks: list[Header] = []
    position = 0
    while position < len(octets) and len(blocks) <= _MAX_RECIPIENTS:
        header, end = parse_header(octets, position)
        if header.fields:
            blocks.append(header)
        if end <= position or octets[end - 1 : end] != b"\n":
            break
        if not header.fields and not octets.startswith((b"\n", b"\r\n"), position):
            break  # no field, and no empty line: not a report's
        position = end
    return blocks


def _text_of(block: Header, name: str) -> str:
    one = block.first(name)
    return "" if one is None else one.text


def _value_of(block: Header, name: str) -> str:
    """Return what follows the type and the semicolon."""
    text = _text_of(block, name)
    _, mark, value = text.partition(";")
    return value.strip() if mark else text


def _address_of(block: Header, name: str) -> str:
    kind, mark, value = _text_of(block, name).partition(";")
    value = value.strip() if mark else kind
    if kind.strip().lower() == "utf-8":
        try:
            return decode_utf8_addr(value.encode())
        except ValueError:
            return value
    return value


def _parse_recipient(block: Header) -> RecipientReport | None:
    recipient = _address_of(block, "Final-Recipient")
    if not recipient:
        return None
    status = _text_of(block, "Status").partition(" ")[0]
    try:
        action = DeliveryAction(_text_of(block, "Action").partition(" ")[0].lower())
    except ValueError:
        # A report without a known action: the class of its status tells.
        action = {"2": DeliveryAction.DELIVERED, "4": DeliveryAction.DELAYED}.get(
            status[:1], DeliveryAction.FAILED
        )
    return RecipientReport(
        recipient=recipient,
        action=action,
        status=status,
        original_recipient=_address_of(block, "Original-Recipient"),
        remote_mta=_value_of(block, "Remote-MTA"),
        diagnostic=_value_of(block, "Diagnostic-Code"),
        last_attempt=parse_date(_text_of(block, "Last-Attempt-Date")),
        final_log_id=_text_of(block, "Final-Log-Id"),
        will_retry_until=parse_date(_text_of(block, "Will-Retry-Until")),
    )


_RETURNED: Final = frozenset(
    (
        *("message/rfc822", "message/global", "message/rfc822-headers"),
        *("text/rfc822-headers", "message/global-headers"),
    )
)


def _original(leaves: list[Part]) -> bytes:
    return next((part.data for part in leaves if part.content_type in _RETURNED), b"")

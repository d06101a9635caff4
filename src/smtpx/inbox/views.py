"""What the API tells of messages: summaries, details, differences; all in plain JSON.

These functions parse what strangers wrote. They never raise for it, and take time
linear in its size; for large messages that is not short, so they run in a thread.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from smtpx.inbox.complaints import find_complaints
from smtpx.message.parsed import ParsedMessage, parse_message

if TYPE_CHECKING:
    from smtpx.inbox.messages import StoredMessage
    from smtpx.message.addresses import Address
    from smtpx.message.parts import Part

__all__ = [
    "MAX_LISTED",
    "MAX_TEXT_CHARACTERS",
    "JSONObject",
    "describe_parts",
    "detail",
    "iso_time",
    "part_of",
    "summary",
]

JSONObject: TypeAlias = dict[str, Any]

MAX_LISTED: Final = 100
"""Addresses of each kind in a summary; a field may have thousands."""

MAX_TEXT_CHARACTERS: Final = 1024 * 1024
"""Of the text of a message in JSON; the raw message has the rest."""

_MAX_SUBJECT_CHARACTERS: Final = 998  # an unfolded line of a lawful length
_MAX_NAME_CHARACTERS: Final = 320  # RFC 5321 section 4.5.3.1: 64, "@" and 255
_SNIPPET_CHARACTERS: Final = 200
_MAX_DEFECTS: Final = 200


def iso_time(seconds: float) -> str:
    """Write a time as ISO 8601 in UTC.

    Args:
        seconds: since 1970.

    >>> iso_time(0)
    '1970-01-01T00:00:00.000Z'
    """
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def summary(message: StoredMessage, content: bytes) -> JSONObject:
    """Make a row of the list; what it takes to parse is kept in the message's notes.

    Args:
        message: the facts.
        content: the message.
    """
    parsed = message.notes.get("parsed")
    if parsed is None:
        parsed = message.notes["parsed"] = _read(message, parse_message(content))
    return {**_facts(message), **parsed}


def _facts(message: StoredMessage) -> JSONObject:
    return {
        "id": message.id,
        "sender": message.sender,
        "recipients": list(message.recipients[:MAX_LISTED]),
        "recipient_count": len(message.recipients),
        "received_at": iso_time(message.received_at),
        "octets": message.octets,
        "read": message.is_read,
        "tls": message.tls is not None,
        "user": message.user,
    }


def _read(message: StoredMessage, parsed: ParsedMessage) -> JSONObject:
    complaints = find_complaints(message, parsed)
    return {
        "from": _address(parsed.from_[0]) if parsed.from_ else None,
        "to": _addresses(parsed.to[:MAX_LISTED]),
        "subject": parsed.subject[:_MAX_SUBJECT_CHARACTERS],
        "date": None if parsed.date is None else parsed.date.isoformat(),
        "attachments": len(parsed.attachments),
        "snippet": _snippet(parsed),
        "problems": sum(one.severity != "hint" for one in complaints),
    }


def _snippet(parsed: ParsedMessage) -> str:
    """Return how the text begins; the HTML text is no text before it is cleaned."""
    text = parsed.text[: 4 * _SNIPPET_CHARACTERS]
    return " ".join(text.split())[:_SNIPPET_CHARACTERS]


def detail(message: StoredMessage, content: bytes) -> JSONObject:
    """Tell all about a message but its HTML text and its files.

    Args:
        message: the facts.
        content: the message.
    """
    parsed = parse_message(content)
    text = parsed.text
    found = summary(message, content)
    return {
        **found,
        "recipients": list(message.recipients),
        "to": _addresses(parsed.to),
        "cc": _addresses(parsed.cc),
        "bcc": _addresses(parsed.bcc),
        "reply_to": _addresses(parsed.reply_to),
        "message_id": parsed.message_id,
        "text": text[:MAX_TEXT_CHARACTERS],
        "text_is_cut": len(text) > MAX_TEXT_CHARACTERS,
        "has_html": bool(parsed.html),
        "headers": [
            [one.name, one.value.decode("utf-8", "replace")]
            for one in parsed.header.fields
        ],
        "attachments": describe_parts(parsed),
        "defects": list(parsed.defects[:_MAX_DEFECTS]),
        "envelope": {
            "sender": message.sender,
            "parameters": message.mail_parameters,
            "recipients": _recipients(message),
            "differs": differences(message, parsed),
        },
        "peer": message.peer,
        "hello_name": message.hello_name,
        "hostname": message.hostname,
        "protocol": message.protocol,
        "session": message.session,
        "tls": message.tls,
    }


def _recipients(message: StoredMessage) -> list[JSONObject]:
    parameters = message.rcpt_parameters or ("",) * len(message.recipients)
    return [
        {"address": address, "parameters": text}
        for address, text in zip(message.recipients, parameters, strict=True)
    ]


def differences(message: StoredMessage, parsed: ParsedMessage) -> list[str]:
    """Say where envelope and header fields differ, in sentences.

    Args:
        message: the facts.
        parsed: the message.
    """
    found = []
    authors = [one.address for one in parsed.from_]
    if not message.sender:
        found.append("The reverse path is empty: failures are reported to nobody.")
    elif authors and message.sender.lower() not in map(str.lower, authors):
        found.append(f"The reverse path is {message.sender}, not the author.")
    fields = {one.address.lower() for one in (*parsed.to, *parsed.cc, *parsed.bcc)}
    envelope = {one.lower() for one in message.recipients}
    hidden = [one for one in message.recipients if one.lower() not in fields]
    if hidden:
        found.append(f"In the envelope only (blind copies): {_shown(hidden)}.")
    absent = sorted(fields - envelope)
    if absent:
        found.append(f"In the header only (not sent to): {_shown(absent)}.")
    return found


def _shown(names: list[str]) -> str:
    rest = len(names) - MAX_LISTED
    shown = ", ".join(names[:MAX_LISTED])
    return f"{shown} and {rest} more" if rest > 0 else shown


def describe_parts(parsed: ParsedMessage) -> list[JSONObject]:
    """List the files of a message: those beside the text and those within it.

    Args:
        parsed: the message.

    Returns:
        For each its number, as `part_of` takes it, name, type and size.
    """
    numbers = {id(part): n for n, part in enumerate(parsed.root.leaves())}
    return [
        {
            "part": numbers[id(one.part)],
            "name": one.safe_name,
            "type": one.content_type,
            "octets": len(one.data),
            "content_id": one.content_id,
            "inline": one.is_embedded,
        }
        for one in (*parsed.attachments, *parsed.embedded)
    ]


def part_of(parsed: ParsedMessage, number: int) -> Part | None:
    """Return a part that does not consist of others; None if there is none.

    Args:
        parsed: the message.
        number: of the part, from 0, in their order.
    """
    for position, part in enumerate(parsed.root.leaves()):
        if position == number:
            return part
    return None


def _addresses(found: tuple[Address, ...]) -> list[JSONObject]:
    return [_address(one) for one in found]


def _address(one: Address) -> JSONObject:
    return {
        "name": one.name[:_MAX_NAME_CHARACTERS],
        "address": one.address[:_MAX_NAME_CHARACTERS],
    }

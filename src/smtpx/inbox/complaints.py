r"""What a strict server, or a strict reader of mail, would complain of.

The inbox takes what is almost a message: whoever wrote the program that sends it wants
to see it, and what others will say about it.

>>> from smtpx.inbox.messages import StoredMessage
>>> from smtpx.message.parsed import parse_message
>>> content = b"From: a@x.test\r\nTo: b@x.test\r\nSubject: hi\r\n\r\none\ntwo\r\n"
>>> facts = StoredMessage(
...     "1", 0.0, len(content), "a@x.test", ("c@x.test",), hello_name="mail.x.test")
>>> for complaint in find_complaints(facts, parse_message(content)):
...     print(complaint.severity, complaint.rfc, complaint.text, sep=": ")
error: RFC 5321 section 2.3.8: a line ends with a bare LF: end lines with CR LF
error: RFC 5322 section 3.6: no Date field
warning: RFC 5322 section 3.6.4: no Message-ID field: filters take that for spam
hint: : c@x.test is in no To or Cc field: a blind copy
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from smtpx.message.parsed import ParsedMessage

if TYPE_CHECKING:
    from smtpx.inbox.messages import StoredMessage

__all__ = ["MAX_COMPLAINTS", "Complaint", "Severity", "find_complaints"]

Severity: TypeAlias = Literal["error", "warning", "hint"]
"""``error``: it breaks a standard, and servers refuse it or damage it; ``warning``:
some refuse it, or filters count it against it; ``hint``: it may be meant."""

MAX_COMPLAINTS: Final = 200
"""Of one message: one made of mistakes could have a hundred thousand."""

# RFC 5321 section 4.5.3.1.6, without CRLF.
_MAX_LINE_OCTETS: Final = 998
# What Gmail takes, and sends (2026).
_LARGE_OCTETS: Final = 25 * 1024 * 1024
# A clock that is wrong, or a time zone that is.
_FAR_SECONDS: Final = 24 * 3600
_MAX_ENCODED_WORD: Final = 75
_LOOP_HOPS: Final = 100

_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_BARE_CR: Final = re.compile(rb"\r(?!\n)")
# Tried at the begin of a line only: anywhere, it would take a thousand steps an octet.
_LONG_LINE: Final = re.compile(rb"(?:\A|\n)[^\n]{%d}" % (_MAX_LINE_OCTETS + 2))
_EIGHT_BIT: Final = re.compile(rb"[\x80-\xff]")
_HEADER_END: Final = re.compile(rb"\r?\n\r?\n")
_ENCODED_WORD: Final = re.compile(rb"=\?[^?\s]{1,60}\?[BbQq]\?[^?\s]*\?=")
_MESSAGE_ID: Final = re.compile(rb"\s*<[^<>@\s]+@[^<>@\s]+>\s*")
_HOST_NAME: Final = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]+\.?", re.IGNORECASE
)
# Programs, for the systems on which opening one runs it; Gmail refuses them all.
_DANGEROUS: Final = frozenset(
    {
        *("bat", "cmd", "com", "cpl", "exe", "hta", "jar", "js", "jse", "lnk"),
        *("msi", "ps1", "scr", "vbe", "vbs", "wsf"),
    }
)


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that is wrong, or may be.

    Attributes:
        severity: how wrong.
        rfc: where that is written; empty if it is nowhere.
        text: what it is, for people.
    """

    severity: Severity
    rfc: str
    text: str


_Found: TypeAlias = Iterator[tuple[Severity, str, str]]
_Check: TypeAlias = "Callable[[StoredMessage, ParsedMessage], _Found]"


def find_complaints(message: StoredMessage, parsed: ParsedMessage) -> list[Complaint]:
    """Look for what is wrong with a message, the worst first.

    Args:
        message: the facts.
        parsed: the message.

    Returns:
        At most `MAX_COMPLAINTS`.
    """
    found: list[Complaint] = []
    for check in _CHECKS:
        for one in check(message, parsed):
            if len(found) >= MAX_COMPLAINTS:
                break
            severity, where, text = one
            found.append(Complaint(severity, _cite(where), text))
    return sorted(found, key=lambda one: _ORDER.index(one.severity))


_ORDER: Final = ("error", "warning", "hint")


def _cite(where: str) -> str:
    """Write where something is said; it is what others have to keep, not we."""
    number, _, section = where.partition(" ")
    return f"RFC {number} section {section}" if where else ""


def _check_octets(message: StoredMessage, parsed: ParsedMessage) -> _Found:
    octets = parsed.octets
    for pattern, name in ((_BARE_LF, "LF"), (_BARE_CR, "CR")):
        if pattern.search(octets):
            text = f"a line ends with a bare {name}: end lines with CR LF"
            yield "error", "5321 2.3.8", text
    if _LONG_LINE.search(octets):
        text = (
            f"a line is over {_MAX_LINE_OCTETS} octets long: servers refuse or cut it"
        )
        yield "error", "5321 4.5.3.1.6", text
    if b"\0" in octets:
        yield "error", "5322 2.2", "a NUL is in the message"
    if message.octets > _LARGE_OCTETS:
        yield "warning", "", "over 25 MiB: many servers take no more"


def _check_eight_bit(message: StoredMessage, parsed: ParsedMessage) -> _Found:
    octets = parsed.octets
    if octets.isascii():
        return
    parameters = message.mail_parameters.upper()
    end = _HEADER_END.search(octets)
    in_header = _EIGHT_BIT.search(octets, 0, end.end() if end else len(octets))
    if in_header and "SMTPUTF8" not in parameters:
        text = "UTF-8 in a header field without SMTPUTF8: use encoded words"
        yield "error", "6531 3.2", text
    if end and _EIGHT_BIT.search(octets, end.end()) and "BODY=" not in parameters:
        text = "8-bit content, but MAIL did not say BODY=8BITMIME"
        yield "error", "6152 3", text


def _check_header(_: StoredMessage, parsed: ParsedMessage) -> _Found:
    header = parsed.header
    for defect in parsed.defects:
        yield "error", "5322 3.6" if "field" in defect else "", defect
    ids = header.all("Message-ID")
    if not ids:
        text = "no Message-ID field: filters take that for spam"
        yield "warning", "5322 3.6.4", text
    elif not _MESSAGE_ID.fullmatch(ids[0].unfolded):
        text = "the Message-ID is not <left@right>"
        yield "error", "5322 3.6.4", text
    if not (header.first("To") or header.first("Cc") or header.first("Bcc")):
        yield "hint", "", "no To or Cc field: write To: undisclosed-recipients:;"
    if header.first("Subject") is None:
        yield "warning", "5322 3.6.5", "no Subject field"
    if parsed.from_ and not header.first("Sender") and len(parsed.from_) > 1:
        text = "several authors need a Sender field"
        yield "error", "5322 3.6.2", text
    if parsed.hops > _LOOP_HOPS:
        text = f"{parsed.hops} Received fields: a loop"
        yield "error", "5321 6.3", text


def _check_fields(_: StoredMessage, parsed: ParsedMessage) -> _Found:
    header = parsed.header
    if header.first("Bcc") is not None:
        text = "a Bcc field: every recipient sees it"
        yield "error", "5322 3.6.3", text
    if header.first("Return-Path") is not None:
        text = "a Return-Path field: only the last server adds it"
        yield "error", "5321 4.4", text
    for one in header.fields:
        for word in _ENCODED_WORD.findall(one.octets):
            if len(word) > _MAX_ENCODED_WORD:
                text = f"an encoded word of {len(word)} octets in {one.name[:64]!a}"
                yield "warning", "2047 2", text
    has_mime = header.first("Content-Type") or header.first("Content-Transfer-Encoding")
    if has_mime and header.first("MIME-Version") is None:
        text = "no MIME-Version field, so the Content- fields mean nothing"
        yield "error", "2045 4", text


def _check_date(message: StoredMessage, parsed: ParsedMessage) -> _Found:
    if parsed.date is None:
        return
    received = datetime.fromtimestamp(message.received_at, UTC)
    off = (parsed.date - received).total_seconds()
    if abs(off) > _FAR_SECONDS:
        where = "after" if off > 0 else "before"
        text = f"the date is {abs(off) / 3600:.0f} hours {where} the message came"
        yield "warning", "5322 3.6.1", text


def _check_body(_: StoredMessage, parsed: ParsedMessage) -> _Found:
    if parsed.html and not parsed.text.strip():
        yield "hint", "", "HTML without a plain text beside it"
    for one in (*parsed.attachments, *parsed.embedded):
        name = one.name or ""
        if name.rpartition(".")[2].lower() in _DANGEROUS:
            text = f"an attachment that servers refuse: {one.safe_name[:64]!a}"
            yield "warning", "", text


def _check_lists(message: StoredMessage, parsed: ParsedMessage) -> _Found:
    """Look at what large providers want of bulk mail."""
    header = parsed.header
    unsubscribe = header.first("List-Unsubscribe")
    if unsubscribe is None:
        if header.first("List-Id") is not None:
            text = "a list without a List-Unsubscribe field"
            yield "warning", "2369 3.2", text
    elif b"https:" in unsubscribe.unfolded and not header.first(
        "List-Unsubscribe-Post"
    ):
        text = "no List-Unsubscribe-Post field: Gmail and Yahoo want one click"
        yield "hint", "8058 3.1", text
    if message.sender and parsed.is_automatic and header.first("In-Reply-To"):
        text = "an automatic answer with a reverse path: send it from <>"
        yield "warning", "3834 3.3", text


def _check_envelope(message: StoredMessage, parsed: ParsedMessage) -> _Found:
    named = {one.address.lower() for one in (*parsed.to, *parsed.cc)}
    for recipient in message.recipients:
        if recipient.lower() not in named:
            yield "hint", "", f"{recipient} is in no To or Cc field: a blind copy"
    authors = {one.domain for one in parsed.from_}
    domain = message.sender.rpartition("@")[2].lower()
    if domain and authors and domain not in authors:
        author = min(authors)
        text = (
            f"the reverse path is of {domain}, the author of {author}: SPF of the one "
            "says nothing about the other"
        )
        yield "hint", "", text


def _check_session(message: StoredMessage, _: ParsedMessage) -> _Found:
    name = message.hello_name
    if not message.protocol.startswith("LMTP") and not _is_host(name):
        text = f"the client calls itself {name[:255]!a}: neither a full name nor [IP]"
        yield "warning", "5321 4.1.4", text
    if message.protocol == "SMTP":
        text = "the client said HELO: it uses no extension"
        yield "hint", "5321 3.2", text
    if message.user is not None and message.tls is None:
        text = "the client logged in without TLS: others refuse that"
        yield "hint", "4954 4", text


def _is_host(name: str) -> bool:
    if name.startswith("[") and name.endswith("]"):
        return True  # the grammar of EHLO was checked
    try:
        ip_address(name)
    except ValueError:
        return _HOST_NAME.fullmatch(name) is not None
    return False


_CHECKS: Final[tuple[_Check, ...]] = (
    _check_octets,
    _check_eight_bit,
    _check_header,
    _check_fields,
    _check_date,
    _check_body,
    _check_lists,
    _check_envelope,
    _check_session,
)

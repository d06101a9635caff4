"""Writing an ``EmailMessage``, so that nothing is in it that nobody meant.

The standard library alone will not do, because a header value may hold a line end
(CVE-2024-6923): what was written is compared with the fields that were there, and
anything that would start a field by itself is refused. Parts that the standard library
would change by writing them line by line are encoded first.
"""

from __future__ import annotations

import copy
import email.encoders
import email.policy
import io
from email.generator import BytesGenerator
from email.headerregistry import Address, Group
from email.message import Message
from typing import TYPE_CHECKING, Final

from smtpx.client.lines import MAX_LINE_OCTETS, has_long_line
from smtpx.client.message_addresses import parse_addresses
from smtpx.errors import UnsafeOctets
from smtpx.wire.address import Mailbox
from smtpx.wire.framing import normalize_message

if TYPE_CHECKING:
    from email.policy import Policy

    from smtpx.client.message_addresses import AnyMessage

__all__ = ["prepare_message", "utf8_address", "with_ascii_domains", "write_message"]

_UTF8_FIELDS: Final = (
    *("From", "Sender", "Reply-To", "To", "Cc"),
    *("Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc"),
)


def prepare_message(message: AnyMessage) -> AnyMessage:
    """Take off Bcc, and what cannot be written; the caller's message stays as it is."""
    if "Bcc" in message or "Resent-Bcc" in message:
        message = copy.copy(message)
        del message["Bcc"], message["Resent-Bcc"]
    if any(_is_binary(part) or _has_long_line(part) for part in message.walk()):
        message = copy.deepcopy(message)
        _encode_parts(message)
    return message


def _encode_parts(message: AnyMessage) -> None:
    """Encode the parts that cannot be written as they are; leave signed ones alone."""
    if message.get_content_type() == "multipart/signed":
        return
    if message.is_multipart():
        for part in message.get_payload():
            if isinstance(part, Message):
                _encode_parts(part)
        return
    # The standard library writes line by line, which changes binary parts.
    if _is_binary(message) or _has_long_line(message):
        payload = message.get_payload(decode=True)
        del message["Content-Transfer-Encoding"]
        message.set_payload(payload)
        if message.get_content_maintype() == "text" and b"\0" not in payload:
            email.encoders.encode_quopri(message)
        else:
            email.encoders.encode_base64(message)


def _has_long_line(part: AnyMessage) -> bool:
    """Say whether a part is written as it is, with a line that is too long."""
    if part.is_multipart() or _encoding_of(part) not in {"", "7bit", "8bit"}:
        return False
    payload = part.get_payload()
    return (
        isinstance(payload, str)
        and len(payload) > MAX_LINE_OCTETS
        and has_long_line(payload.encode("utf-8", "surrogateescape"))
    )


def _encoding_of(part: AnyMessage) -> str:
    return str(part.get("Content-Transfer-Encoding", "")).strip().lower()


def _is_binary(part: AnyMessage) -> bool:
    return _encoding_of(part) == "binary" and not part.is_multipart()


def utf8_address(message: AnyMessage) -> str:
    """Name the first field with an address that ASCII cannot write, if any.

    Other text has encoded words (RFC 2047); addresses have no such thing.
    """
    for name in _UTF8_FIELDS:
        for value in message.get_all(name, ()):
            text = str(value)
            if text.isascii():
                continue
            for address in parse_addresses(name, text):
                if not address.isascii():
                    return f"address {address} in header field {name}"
    return ""


def with_ascii_domains(message: AnyMessage) -> AnyMessage:
    """Return a copy that has A-labels in the addresses of an EmailMessage."""
    changed = copy.copy(message)
    for name in _UTF8_FIELDS:
        headers = message.get_all(name, [])
        if all(str(header).isascii() or not _is_parsed(header) for header in headers):
            continue
        del changed[name]
        for header in headers:
            if _is_parsed(header):
                changed[name] = [_ascii_group(group) for group in header.groups]
            else:
                changed[name] = header
    return changed


def _is_parsed(header: object) -> bool:
    """Say whether a field is of an EmailMessage, and its addresses known."""
    return hasattr(header, "groups")


def _ascii_group(group: Group) -> Group:
    addresses = [
        Address(one.display_name, one.username, _ascii_domain(one.domain))
        for one in group.addresses
    ]
    return Group(group.display_name, addresses)


def _ascii_domain(domain: str) -> str:
    return domain if domain.isascii() else Mailbox("x", domain).domain_ascii


def write_message(message: AnyMessage, *, is_utf8: bool, is_seven_bit: bool) -> bytes:
    """Write a message with CRLF line ends; refuse header values that break out."""
    policy: Policy[AnyMessage] = message.policy.clone(
        linesep="\r\n", cte_type="7bit" if is_seven_bit else "8bit"
    )
    if isinstance(policy, email.policy.EmailPolicy):
        policy = policy.clone(utf8=is_utf8)
    for part in message.walk():
        # As they are kept: `items` would show what a policy makes of them.
        for name, value in part.raw_items():
            _require_one_field(name, str(value))
            if part is not message:
                _require_folded(name, policy.fold_binary(name, value))
    out = io.BytesIO()
    BytesGenerator(out, mangle_from_=False, policy=policy).flatten(message)
    content = normalize_message(out.getvalue())
    _require_fields(content, message.keys())
    return content


def _require_one_field(name: str, value: str) -> None:
    """Refuse a value with a line end, but for the folding of a parsed message."""
    unfolded = value.replace("\r\n", "\n").replace("\n ", " ").replace("\n\t", " ")
    if (
        not name.isascii()
        or not name.isprintable()
        or not name
        or set(name) & {":", " "}
    ):
        raise UnsafeOctets("header field name", ascii(name))
    if any(end in unfolded for end in "\r\n\0"):
        raise UnsafeOctets(f"header field {name}", ascii(value))


def _require_folded(name: str, octets: bytes) -> None:
    """Refuse a field of a part that would be written as more than one.

    A header value may be an object that writes itself, and a policy may write what it
    likes. Of the message itself, `_require_fields` sees what was written.
    """
    first, *others = octets.removesuffix(b"\r\n").split(b"\r\n")
    is_one = first.startswith(name.encode() + b":") and all(
        line.startswith((b" ", b"\t")) for line in others
    )
    if not is_one or b"\n" in octets.replace(b"\r\n", b""):
        raise UnsafeOctets(f"header field {name}", ascii(octets))


def _require_fields(content: bytes, names: list[str]) -> None:
    """Compare the header as written with the fields that were meant."""
    header = content.partition(b"\r\n\r\n")[0] if names else b""
    written = [
        line.partition(b":")[0]
        for line in header.split(b"\r\n")
        if not line.startswith((b" ", b"\t"))
    ]
    if not names:
        written = []
    if written != [name.encode() for name in names]:
        raise UnsafeOctets("message header", "a value starts a field of its own")

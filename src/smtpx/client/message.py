"""The forms a message comes in, and what has to be known of it before it is sent.

A message is an ``EmailMessage`` (or the older ``Message``), ``bytes``, ``str``, a
binary file, or an iterable or async iterable of ``bytes``. Each becomes a `Payload`:
the content if it is in memory, or else blocks, read one by one so that memory stays
flat; and what is known of it: size, 8-bit octets, UTF-8 in the header.

An ``EmailMessage`` also names its sender and recipients. It is written out here rather
than by the standard library alone, because a header value may hold a line end that
nobody meant (CVE-2024-6923): what was written is compared with the fields that were
there, and anything that would start a field by itself is refused.
"""

from __future__ import annotations

import copy
import email.encoders
import email.errors
import email.policy
import io
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from email.generator import BytesGenerator
from email.headerregistry import Address, Group, HeaderRegistry
from email.message import Message
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, runtime_checkable

from smtpx.client.lines import MAX_LINE_OCTETS, has_long_line
from smtpx.errors import BadAddress, UnsafeOctets
from smtpx.wire.address import Mailbox
from smtpx.wire.framing import encode_message, normalize_message
from smtpx.wire.octets import escape_octets

if TYPE_CHECKING:
    from email.policy import Policy

__all__ = [
    "BLOCK_OCTETS",
    "BinaryFile",
    "MessageSource",
    "Payload",
    "addresses_of",
    "make_payload",
    "payload_of_octets",
    "recipients_of",
    "sender_of",
]

# One read, and one write. Larger ones gain nothing (the kernel's buffers have this
# order), and the timeout of RFC 5321 section 4.5.3.2.5 is for one write.
BLOCK_OCTETS: Final = 64 * 1024


@runtime_checkable
class BinaryFile(Protocol):
    """What is read for a file: anything with ``read``, in binary mode."""

    def read(self, size: int, /) -> bytes:
        """Return up to so many octets, none at the end."""
        ...


if TYPE_CHECKING:
    AnyMessage: TypeAlias = Message[Any, Any]
else:
    AnyMessage = Message  # generic for type checkers only

MessageSource: TypeAlias = (
    AnyMessage
    | bytes
    | bytearray
    | memoryview
    | str
    | BinaryFile
    | Iterable[bytes]
    | AsyncIterable[bytes]
)


@dataclass(slots=True)
class Payload:
    """A message, ready to be streamed once.

    Attributes:
        content: all of it with CRLF line ends, None if it is not in memory.
        size: in octets, as SIZE declares it; None if unknown. Of a file, before its
            line ends are normalised.
        is_eight_bit: whether it holds octets over 127; None if unknown.
        utf8_reason: what in it needs SMTPUTF8; empty if nothing does.
        blocks: what `content` does not hold.
        message: what it was made of, if that can be written in another way.
        has_lawful_lines: those of `content` were looked at, and none is too long.
        encoded: `content` as DATA has it, once somebody asked.
    """

    content: bytes | None = None
    size: int | None = None
    is_eight_bit: bool | None = None
    utf8_reason: str = ""
    blocks: AsyncIterator[bytes] | None = None
    message: AnyMessage | None = None
    has_lawful_lines: bool = False
    encoded: bytes | None = None

    def encode(self) -> bytes:
        """Return the content as DATA has it, up to the final dot; computed once.

        A message that goes to many, one by one, is looked through once.
        """
        if self.encoded is None:
            assert self.content is not None  # noqa: S101 - else there are blocks
            self.encoded = encode_message(self.content)
        return self.encoded

    def with_ascii_domains(self) -> Payload | None:
        """Return the message with the domains of its addresses in A-labels.

        None if that does not make it fit for a server without SMTPUTF8: there is no
        ASCII form of a local part (RFC 6531 section 3.2).
        """
        if self.message is None or not self.utf8_reason:
            return None
        message = _with_ascii_domains(self.message)
        return None if _utf8_address(message) else _payload_of_prepared(message)

    def downgraded(self) -> Payload | None:
        """Return the message written without octets over 127, None if it cannot be.

        Text parts become quoted-printable or base64 (RFC 6152 section 3).
        """
        if self.message is None or self.utf8_reason:
            return None
        content = _write(self.message, is_utf8=False, is_seven_bit=True)
        return Payload(content, len(content), not content.isascii())


async def make_payload(source: MessageSource, *, is_binary: bool = False) -> Payload:
    """Find out what a message is, and what it needs.

    Args:
        source: of a stream, the first block is read.
        is_binary: leave line ends alone, for BODY=BINARYMIME (RFC 3030 section 3).

    Returns:
        The payload.

    Raises:
        TypeError: it is no form of a message.
        UnsafeOctets: a header value of an EmailMessage holds a line end.
    """
    if isinstance(source, Message):
        return _payload_of_message(source)
    if isinstance(source, str):
        source = source.encode()
    if isinstance(source, bytes | bytearray | memoryview):
        return payload_of_octets(bytes(source), is_binary=is_binary)
    size = None
    if isinstance(source, AsyncIterable):
        # Before files: what a session reads, or a StreamReader, has a `read` to await.
        blocks = _checked(source)
    elif isinstance(source, BinaryFile):
        size = _size_of(source)
        blocks = _each(_read(source))
    elif isinstance(source, Iterable):
        blocks = _each(source)
    else:
        raise TypeError(
            "a message is an EmailMessage, bytes, str, a binary file or an iterable of "
            f"bytes, not {type(source).__name__}"
        )
    return await _payload_of_blocks(_gather(blocks), size)


def payload_of_octets(octets: bytes, *, is_binary: bool = False) -> Payload:
    """Return the payload of a message in memory; see `make_payload`."""
    if not is_binary:
        octets = normalize_message(octets)
    is_eight_bit = not octets.isascii()
    reason = _utf8_reason(octets) if is_eight_bit else ""
    return Payload(octets, len(octets), is_eight_bit, reason)


async def _payload_of_blocks(blocks: AsyncIterator[bytes], size: int | None) -> Payload:
    """Look at the first block: the header is in it, or else it is no sane header."""
    first = await anext(blocks, b"")

    async def all_blocks() -> AsyncIterator[bytes]:
        if first:
            yield first
        async for block in blocks:
            yield block

    return Payload(
        size=size,
        is_eight_bit=True if not first.isascii() else None,
        utf8_reason=_utf8_reason(first),
        blocks=all_blocks(),
    )


def _utf8_reason(octets: bytes) -> str:
    """Say which header field is internationalized (RFC 6532 section 3).

    Octets over 127 that are no UTF-8 are some other charset's; SMTPUTF8 is no help.
    """
    end = min(
        (at for at in (octets.find(b"\r\n\r\n"), octets.find(b"\n\n")) if at >= 0),
        default=len(octets),
    )
    header = octets[:end]
    if header.isascii():
        return ""
    for line in header.splitlines():
        if line.isascii():
            continue
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            continue
        return f"header field {escape_octets(line.partition(b':')[0], 40)}"
    return ""


# Blocks.


def _size_of(file: BinaryFile) -> int | None:
    """Return how much is left of a file that can be sought, else None."""
    if not isinstance(file, io.IOBase) or not file.seekable():
        return None
    position = file.tell()
    size = file.seek(0, io.SEEK_END) - position
    file.seek(position)
    return size


def _read(file: BinaryFile) -> Iterator[bytes]:
    while block := file.read(BLOCK_OCTETS):
        yield block


async def _each(blocks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for block in blocks:
        yield _require_bytes(block)


async def _checked(blocks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    async for block in blocks:
        yield _require_bytes(block)


def _require_bytes(block: bytes) -> bytes:
    if not isinstance(block, bytes | bytearray | memoryview):
        raise TypeError(
            f"the blocks of a message are bytes, not {type(block).__name__}; open "
            "files in binary mode"
        )
    return bytes(block)


async def _gather(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Cut and join blocks to a size worth a write; lines one by one are slow."""
    parts: list[bytes] = []
    count = 0
    async for block in blocks:
        parts.append(block)
        count += len(block)
        if count < BLOCK_OCTETS:
            continue
        data = b"".join(parts)
        end = count - count % BLOCK_OCTETS
        for start in range(0, end, BLOCK_OCTETS):
            yield data[start : start + BLOCK_OCTETS]
        parts = [data[end:]]
        count -= end
    if count:
        yield b"".join(parts)


# EmailMessage.

_UTF8_FIELDS: Final = (
    *("From", "Sender", "Reply-To", "To", "Cc"),
    *("Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc"),
)
_parse_header = HeaderRegistry()

# The standard library's parser has its bugs: "b@" is an IndexError, for one.
_PARSER_ERRORS: Final = (
    email.errors.MessageError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


def _payload_of_message(message: AnyMessage) -> Payload:
    return _payload_of_prepared(_prepare(message))


def _payload_of_prepared(message: AnyMessage) -> Payload:
    reason = _utf8_address(message)
    content = _write(message, is_utf8=bool(reason), is_seven_bit=False)
    return Payload(
        content,
        len(content),
        not content.isascii(),
        reason,
        message=message,
    )


def _prepare(message: AnyMessage) -> AnyMessage:
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


def _utf8_address(message: AnyMessage) -> str:
    """Name the first field with an address that ASCII cannot write, if any.

    Other text has encoded words (RFC 2047); addresses have no such thing.
    """
    for name in _UTF8_FIELDS:
        for value in message.get_all(name, ()):
            text = str(value)
            if text.isascii():
                continue
            for address in _addresses(name, text):
                if not address.isascii():
                    return f"address {address} in header field {name}"
    return ""


def _with_ascii_domains(message: AnyMessage) -> AnyMessage:
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


def _write(message: AnyMessage, *, is_utf8: bool, is_seven_bit: bool) -> bytes:
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


def sender_of(message: AnyMessage) -> str:
    """Return the address that a message is from (RFC 5322 section 3.6.2).

    Sender goes before From, and if the message was resent, the resent fields before
    both (section 3.6.6).

    Raises:
        ValueError: it names none, or several and no one sender; or was resent more than
            once, so that nobody can know which block of resent fields is meant; or an
            address is malformed.
    """
    prefix = _resent_prefix(message)
    for name in ("Sender", "From"):
        found = dict.fromkeys(_addresses_in(message, prefix + name))
        if len(found) > 1:
            # The first of several would be a guess, and get the failures of all.
            remedy = "leave one" if name == "Sender" else f"add a {prefix}Sender field"
            raise ValueError(
                f"the message has {len(found)} addresses in {prefix}{name} (RFC 5322 "
                f"section 3.6.2): {remedy}, or give the sender"
            )
        if found:
            return next(iter(found))
    raise ValueError(f"the message has no {prefix}From: give the sender")


def recipients_of(message: AnyMessage) -> list[str]:
    """Return the addresses of To, Cc and Bcc, each once, in order.

    Or those of the resent fields, if the message was resent (RFC 5322 section 3.6.6).

    Raises:
        ValueError: as `sender_of`.
    """
    prefix = _resent_prefix(message)
    found = [
        address
        for name in ("To", "Cc", "Bcc")
        for address in _addresses_in(message, prefix + name)
    ]
    if not found:
        raise ValueError("the message has no To, Cc or Bcc: give the recipients")
    return list(dict.fromkeys(found))


def addresses_of(message: AnyMessage) -> tuple[str, list[str]]:
    """Return what `sender_of` and `recipients_of` do."""
    return sender_of(message), recipients_of(message)


def _resent_prefix(message: AnyMessage) -> str:
    resent = message.get_all("Resent-Date", ())
    if len(resent) > 1:
        raise ValueError("the message was resent more than once: name the addresses")
    return "Resent-" if resent else ""


def _addresses_in(message: AnyMessage, name: str) -> list[str]:
    return [
        address
        for value in message.get_all(name, ())
        for address in _addresses(name, str(value))
    ]


def _addresses(name: str, text: str) -> list[str]:
    """Parse the addresses of a field; display names and groups are dropped.

    Raises:
        BadAddress: what is between the commas is no address.
    """
    try:
        header: Any = _parse_header(name, text)
    except _PARSER_ERRORS:
        raise BadAddress(f"header field {name} is malformed: {text!a}") from None
    for defect in header.defects:
        if type(defect).__name__ == "InvalidHeaderDefect":
            raise BadAddress(f"header field {name}: {defect}")
    return [address.addr_spec for address in header.addresses]

r"""The parts of a message (RFC 2045, RFC 2046).

Theory of operation. One pass over the message finds the lines that begin with ``--``
and looks each up among the boundaries that are open, so the time is linear, however
deep the parts are nested; the standard library's parser recurses, and a message of
50 KiB exhausts its stack. No octets are copied until somebody asks for a part's data.
A forwarded message (``message/rfc822``) is one part: to see inside it, parse its data.

>>> root = parse_parts(
...     b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
...     b"--x\r\n\r\nhello\r\n--x\r\nContent-Type: image/png\r\n\r\n...\r\n--x--\r\n")
>>> [(part.content_type, part.octets) for part in root.leaves()]
[('text/plain', b'hello'), ('image/png', b'...')]
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from smtpx.message.fields import (
    DEFAULT_HEADER_LIMITS,
    Header,
    HeaderLimits,
    parse_header,
)
from smtpx.message.words import (
    decode_base64_leniently,
    decode_charset,
    parse_parameters,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DEFAULT_PART_LIMITS", "Part", "PartLimits", "parse_parts"]

# type "/" subtype, of the characters of a token (RFC 2045 section 5.1).
_CONTENT_TYPE: Final = re.compile(r"[!#-'*+.0-9A-Z^-~-]+/[!#-'*+.0-9A-Z^-~-]+", re.I)
# A boundary has 70 octets at most (RFC 2046 section 5.1.1); many mailers are longer.
_MAX_BOUNDARY_OCTETS: Final = 256
_DELIMITER: Final = re.compile(rb"\n--([^\r\n]{1,%d})" % (_MAX_BOUNDARY_OCTETS + 8))


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLimits:
    """How much of a message's structure is looked at; the rest is data of a part.

    Attributes:
        max_parts: as many attachments no one sends.
        max_depth: as Postfix's ``mime_nesting_limit``.
        header: of each header.

    Raises:
        ValueError: one is not positive.
    """

    max_parts: int = 1_000
    max_depth: int = 100
    header: HeaderLimits = DEFAULT_HEADER_LIMITS

    def __post_init__(self) -> None:
        if self.max_parts < 1 or self.max_depth < 1:
            raise ValueError("a limit of the parts of a message is at least 1")


DEFAULT_PART_LIMITS: Final = PartLimits()


class Part:
    """A message, or a part of one.

    Attributes:
        header: its fields.
        content_type: such as ``text/plain``, in lower case; what it is by default, if
            the message says nothing sensible.
        parameters: of the content type, names in lower case.
        parts: what a multipart consists of; empty of a leaf.
        is_related: whether it is within a multipart/related (RFC 2387).
        defects: what is wrong with the structure, for people.
    """

    def __init__(
        self, source: bytes, header: Header, start: int, *, default_type: str
    ) -> None:
        self._source = source
        self._start = start
        self._end = len(source)
        self.header = header
        self.parts: list[Part] = []
        self.is_related = False
        self.defects: list[str] = list(header.defects)
        self.content_type, self.parameters = self._read_type(default_type)

    def _read_type(self, default: str) -> tuple[str, dict[str, str]]:
        one = self.header.first("Content-Type")
        if one is None:
            return default, {}
        content_type, parameters = parse_parameters(one.text)
        # Old mailers wrote a comment, or two types.
        match = _CONTENT_TYPE.match(content_type)
        if match is None:
            self.defects.append(f"bad content type {content_type[:64]!a}")
            return "text/plain", parameters
        return match[0], parameters

    @property
    def octets(self) -> bytes:
        """The body as it was sent, encoded as it is."""
        return self._source[self._start : self._end]

    @property
    def is_multipart(self) -> bool:
        """Whether it consists of parts."""
        return bool(self.parts)

    @cached_property
    def disposition(self) -> tuple[str, dict[str, str]]:
        """The value of Content-Disposition and its parameters (RFC 2183)."""
        one = self.header.first("Content-Disposition")
        return ("", {}) if one is None else parse_parameters(one.text)

    @property
    def filename(self) -> str | None:
        """The name of the file, as the sender wrote it; see `Attachment.safe_name`."""
        return self.disposition[1].get("filename") or self.parameters.get("name")

    @property
    def content_id(self) -> str | None:
        """What the part is called within the message, without angle brackets."""
        one = self.header.first("Content-ID")
        return None if one is None else one.text.strip("<> \t") or None

    @property
    def data(self) -> bytes:
        """The body with its transfer encoding undone (RFC 2045 section 6)."""
        return self._decode()[0]

    def _decode(self) -> tuple[bytes, str]:
        one = self.header.first("Content-Transfer-Encoding")
        encoding = "" if one is None else parse_parameters(one.text)[0]
        octets = self.octets
        if encoding in {"", "7bit", "8bit", "binary"}:
            return octets, ""
        if encoding == "base64":
            return decode_base64_leniently(octets)
        if encoding == "quoted-printable":
            return binascii.a2b_qp(octets), ""
        if encoding in {"x-uuencode", "uuencode", "x-uue", "uue"}:
            return _decode_uu(octets)
        return octets, f"unknown transfer encoding {encoding[:64]!a}"

    @cached_property
    def _text(self) -> tuple[str, list[str]]:
        data, encoding_defect = self._decode()
        charset = self.parameters.get("charset", "us-ascii")
        text, defect = decode_charset(data, charset)
        found = [one for one in (encoding_defect, defect) if one]
        return text.replace("\r\n", "\n").replace("\r", "\n"), found

    @property
    def text(self) -> str:
        """The data as text with LF line ends; charsets that fail are guessed."""
        return self._text[0]

    @property
    def text_defects(self) -> list[str]:
        """What went wrong when `text` was made."""
        return self._text[1]

    def leaves(self) -> Iterator[Part]:
        """Iterate over everything that does not consist of parts, in order."""
        waiting = [self]
        while waiting:
            part = waiting.pop()
            if part.parts:
                waiting.extend(reversed(part.parts))
            else:
                yield part


def _decode_uu(octets: bytes) -> tuple[bytes, str]:
    """Undo what uuencode did; what old mailers call a transfer encoding."""
    decoded = []
    defect = ""
    is_open = False
    for line in octets.splitlines():
        if not is_open:
            is_open = line.startswith(b"begin ")
        elif line.strip() in {b"end", b""}:
            break
        else:
            try:
                decoded.append(binascii.a2b_uu(line))
            except binascii.Error:
                # Broken encoders pad lines: as many octets as the length says.
                length = (((line[0] - 32) & 63) * 4 + 5) // 3
                try:
                    decoded.append(binascii.a2b_uu(line[:length]))
                except binascii.Error:
                    defect = "bad uuencoding"
    return b"".join(decoded), defect


class _Builder:
    """Builds the tree of parts in one pass."""

    def __init__(self, source: bytes, limits: PartLimits) -> None:
        self._source = source
        self._limits = limits
        self._count = 0
        self._open: list[tuple[Part, bytes]] = []
        self._levels: dict[bytes, int] = {}

    def build(self) -> Part:
        root, position = self._take_part(0, "text/plain")
        leaf = self._leaf_of(root)
        while self._open:
            # From the LF before the line on, which the header may have ended with.
            match = _DELIMITER.search(self._source, max(position - 1, 0))
            if match is None:
                break
            position = match.end()
            level, is_last = self._find(match[1])
            if level < 0:
                continue
            # The line end before a delimiter belongs to it (RFC 2046 section 5.1.1).
            end = match.start()
            if self._source[end - 1 : end] == b"\r":
                end -= 1
            leaf._end = end
            self._close(level + 1, end, "the last boundary is missing")
            if is_last:
                self._close(level, position)
                leaf = self._no_part
            else:
                part, position = self._next_part(position, level)
                leaf = self._leaf_of(part)
        for parent, _ in self._open:
            if parent.parts:
                parent.defects.append("the last boundary is missing")
            else:
                parent.defects.append("no boundary is there")
        return root

    @cached_property
    def _no_part(self) -> Part:
        """What preambles and epilogues belong to."""
        return Part(b"", Header(), 0, default_type="text/plain")

    def _leaf_of(self, part: Part) -> Part:
        """Return whose body comes next; what an opened part begins with is none's."""
        is_open = bool(self._open) and self._open[-1][0] is part
        return self._no_part if is_open else part

    def _next_part(self, position: int, level: int) -> tuple[Part, int]:
        """Take the part behind a delimiter."""
        parent = self._open[level][0]
        if self._count >= self._limits.max_parts:
            parent.defects.append(f"over {self._limits.max_parts} parts")
            self._open.clear()
            return self._no_part, position
        start = self._source.find(b"\n", position) + 1 or len(self._source)
        is_digest = parent.content_type == "multipart/digest"
        default = "message/rfc822" if is_digest else "text/plain"
        part, position = self._take_part(start, default)
        is_related = parent.content_type == "multipart/related"
        part.is_related = is_related or parent.is_related
        parent.parts.append(part)
        return part, position

    def _take_part(self, start: int, default_type: str) -> tuple[Part, int]:
        """Take a header, and open the part if it consists of others."""
        self._count += 1
        header, position = parse_header(
            self._source, start, limits=self._limits.header, is_end=self._is_delimiter
        )
        part = Part(self._source, header, position, default_type=default_type)
        if part.content_type.startswith("multipart/"):
            self._push(part)
        return part, position

    def _push(self, part: Part) -> None:
        boundary = part.parameters.get("boundary", "").rstrip()
        octets = boundary.encode("utf-8", "replace")
        if not 0 < len(octets) <= _MAX_BOUNDARY_OCTETS:
            part.defects.append("a multipart without a boundary")
        elif octets in self._levels:
            part.defects.append("a boundary that is in use already")
        elif len(self._open) >= self._limits.max_depth:
            part.defects.append(f"parts nested over {self._limits.max_depth} deep")
        else:
            self._levels[octets] = len(self._open)
            self._open.append((part, octets))

    def _find(self, token: bytes) -> tuple[int, bool]:
        """Look a line up among the boundaries: level, and whether it is the last."""
        token = token.rstrip(b" \t")
        level = self._levels.get(token)
        if level is not None:
            return level, False
        if token.endswith(b"--"):
            return self._levels.get(token[:-2], -1), True
        return -1, False

    def _is_delimiter(self, line: bytes) -> bool:
        return (
            len(line) <= _MAX_BOUNDARY_OCTETS + 8
            and self._find(line[2:].rstrip(b"\r\n"))[0] >= 0
        )

    def _close(self, level: int, end: int, defect: str = "") -> None:
        """End what is open from a level on."""
        while len(self._open) > level:
            part, boundary = self._open.pop()
            del self._levels[boundary]
            part._end = end
            if defect:
                part.defects.append(defect)


def parse_parts(octets: bytes, limits: PartLimits = DEFAULT_PART_LIMITS) -> Part:
    """Cut a message into its parts. It never raises.

    Args:
        octets: the message, with CRLF or LF line ends.
        limits: how much of its structure to look at.

    Returns:
        The message as a part.
    """
    return _Builder(octets, limits).build()

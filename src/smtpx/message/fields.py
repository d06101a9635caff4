r"""The header of a message as octets (RFC 5322 section 2.2).

Theory of operation. A header is cut into fields and nothing else: no octet is changed,
so what was cut can be joined again, signed and verified. A line ends at LF, with or
without a CR before it; a line that starts with a space or a tab goes on with the field
before it; an empty line ends the header, and so does a line that is no field, as in
the standard library's parser: whoever reads the message later must see the same header
as whoever checked it. Cutting is one pass, whatever the input.

>>> header, end = parse_header(b"Subject: a\r\n b\r\nTo: c@d.e\r\n\r\nbody")
>>> [field.name for field in header.fields], end
(['Subject', 'To'], 29)
>>> header.first("subject").text
'a b'
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from smtpx.errors import UnsafeOctets
from smtpx.wire.octets import escape_octets, has_line_control

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "DEFAULT_HEADER_LIMITS",
    "Header",
    "HeaderField",
    "HeaderLimits",
    "fold_field",
    "is_field_name",
    "make_field",
    "parse_header",
]

# ftext: printable ASCII but the colon.
_FIELD_NAME = re.compile(rb"[!-9;-~]+")
# Obsolete syntax has white space before the colon (RFC 5322 section 4.5).
_FIELD_START = re.compile(rb"([!-9;-~]+)[ \t]*:")
# Lines of fields that nobody keeps, many at a time: a client may send a million. Not
# all at once, since a match remembers where each repetition began.
_SURPLUS_LINES = re.compile(rb"(?:[!-9;-~]++[ \t]*+:[^\n]*+\n|[ \t][^\n]*+\n){1,1000}")
_SURPLUS_LINES_OF_A_PART = re.compile(
    rb"(?:(?!--)[!-9;-~]++[ \t]*+:[^\n]*+\n|[ \t][^\n]*+\n){1,1000}"
)
_FOLD = re.compile(rb"\r?\n(?=[ \t])")

# What a line should not exceed (RFC 5322 section 2.1.1).
_FOLD_AT: Final = 78


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderLimits:
    """How much of a header is looked at; the rest stays where it is, unread.

    Attributes:
        max_octets: as Exim's ``header_maxsize``.
        max_fields: a few hundred are the most that real mail has; 1 MiB could hold
            hundreds of thousands.

    Raises:
        ValueError: one is not positive.
    """

    max_octets: int = 1024 * 1024
    max_fields: int = 10_000

    def __post_init__(self) -> None:
        if self.max_octets < 1 or self.max_fields < 1:
            raise ValueError("a limit of a header is at least 1")


DEFAULT_HEADER_LIMITS: Final = HeaderLimits()


@dataclass(frozen=True, slots=True)
class HeaderField:
    r"""One header field, as it was received.

    Attributes:
        name: as written.
        octets: all of it: name, colon, value, and each line end, the last too.

    >>> HeaderField("Subject", b"Subject:  a\r\n\tb\r\n").value
    b'  a\r\n\tb'
    """

    name: str
    octets: bytes

    @property
    def value(self) -> bytes:
        """What stands behind the colon, folded as it is, without the last line end."""
        value = self.octets[self.octets.index(b":") + 1 :]
        return value.removesuffix(b"\n").removesuffix(b"\r")

    @property
    def unfolded(self) -> bytes:
        """The value on one line, without white space around (section 2.2.3)."""
        return _FOLD.sub(b"", self.value).strip(b" \t\r\n")

    @property
    def text(self) -> str:
        """The value on one line as text; octets that are no UTF-8 become U+FFFD."""
        return self.unfolded.decode("utf-8", "replace")


@dataclass(frozen=True)
class Header:
    """The fields of a header, in order.

    Attributes:
        fields: as they were received, the newest trace field first.
        defects: what is wrong with it, for people.
        is_whole: whether others, who have other limits or go on behind a line that is
            no field, find the same fields in it.
    """

    fields: tuple[HeaderField, ...] = ()
    defects: tuple[str, ...] = field(default=(), compare=False)
    is_whole: bool = field(default=True, compare=False)

    @cached_property
    def _by_name(self) -> dict[str, list[HeaderField]]:
        by_name: dict[str, list[HeaderField]] = {}
        for one in self.fields:
            by_name.setdefault(one.name.lower(), []).append(one)
        return by_name

    def first(self, name: str) -> HeaderField | None:
        """Return the first field of a name, None if there is none.

        Args:
            name: in any case.
        """
        found = self._by_name.get(name.lower())
        return found[0] if found else None

    def all(self, name: str) -> tuple[HeaderField, ...]:
        """Return every field of a name, in order.

        Args:
            name: in any case.
        """
        return tuple(self._by_name.get(name.lower(), ()))

    def without(self, is_unwanted: Callable[[HeaderField], bool]) -> Header:
        """Return the header without some fields; the others keep every octet.

        Args:
            is_unwanted: says which ones go.
        """
        return Header(tuple(one for one in self.fields if not is_unwanted(one)))

    def encode(self) -> bytes:
        """Join the fields to what they were, without the empty line that ends them."""
        return b"".join([one.octets for one in self.fields])


def parse_header(
    octets: bytes,
    start: int = 0,
    *,
    limits: HeaderLimits = DEFAULT_HEADER_LIMITS,
    is_end: Callable[[bytes], bool] | None = None,
) -> tuple[Header, int]:
    """Cut the header off a message, or off a part of one. It never raises.

    Args:
        octets: the message.
        start: where the header begins.
        limits: how much of it to keep; where the header ends is found all the same.
        is_end: says of a line that begins with ``--`` whether it is the end of the
            part: some parts have no empty line.

    Returns:
        The header, and where the body begins.
    """
    collector = _Collector(octets, start, limits)
    surplus = _SURPLUS_LINES if is_end is None else _SURPLUS_LINES_OF_A_PART
    position = start
    while position < len(octets):
        if collector.is_full:
            position = _skip(surplus, octets, position)
            if position == len(octets):
                break
        line_end = octets.find(b"\n", position) + 1 or len(octets)
        if octets.startswith((b" ", b"\t"), position) and collector.is_open:
            position = line_end
            continue
        collector.end_field(position)
        if octets.startswith((b"\n", b"\r\n"), position):
            position = line_end
            break
        if (
            is_end is not None
            and octets.startswith(b"--", position)
            and is_end(octets[position:line_end])
        ):
            break
        match = _FIELD_START.match(octets, position, line_end)
        if match is not None:
            collector.begin_field(position, match[1].decode("ascii"))
        elif position == start and octets.startswith(b"From ", position):
            collector.note("an mbox envelope line precedes the header")
        else:
            collector.note("no empty line between header and body")
            collector.is_whole = False
            break
        position = line_end
    collector.end_field(position)
    header = Header(
        tuple(collector.fields), tuple(collector.defects), collector.is_whole
    )
    return header, position


def _skip(pattern: re.Pattern[bytes], octets: bytes, position: int) -> int:
    """Return where lines that match end, here if there are none."""
    while (match := pattern.match(octets, position)) is not None:
        position = match.end()
    return position


class _Collector:
    """Gathers the fields of one header within its limits."""

    def __init__(self, octets: bytes, start: int, limits: HeaderLimits) -> None:
        self.fields: list[HeaderField] = []
        self.defects: list[str] = []
        self.is_open = False
        self.is_full = False
        self.is_whole = True
        self._octets = octets
        self._limits = limits
        self._end = start + limits.max_octets
        self._begun = 0
        self._name = ""

    def begin_field(self, position: int, name: str) -> None:
        self.is_open, self._begun, self._name = True, position, name

    def end_field(self, position: int) -> None:
        if not self.is_open:
            return
        self.is_open = False
        if position > self._end:
            self.is_full = True
            self.note(f"the header has over {self._limits.max_octets} octets")
            self.is_whole = False
        elif len(self.fields) >= self._limits.max_fields:
            self.is_full = True
            self.note(f"the header has over {self._limits.max_fields} fields")
            self.is_whole = False
        else:
            octets = self._octets[self._begun : position]
            self.fields.append(HeaderField(self._name, octets))

    def note(self, defect: str) -> None:
        if defect not in self.defects:
            self.defects.append(defect)


def is_field_name(name: str) -> bool:
    """Say whether a name may stand before a colon (RFC 5322 section 3.6.8).

    Args:
        name: to look at.

    >>> is_field_name("X-Spam"), is_field_name("X Spam"), is_field_name("X:")
    (True, False, False)
    """
    return name.isascii() and _FIELD_NAME.fullmatch(name.encode()) is not None


def make_field(name: str, text: str) -> HeaderField:
    r"""Make a field of a name and its text.

    Args:
        name: printable ASCII without a colon.
        text: on one line. What is not ASCII is written as UTF-8 (RFC 6532).

    Returns:
        The field, folded at spaces where a line is long.

    Raises:
        UnsafeOctets: the name is none, or the text holds a control character: it
            could end the field and start another.

    >>> make_field("Subject", "hello").octets
    b'Subject: hello\r\n'
    >>> make_field("Subject", "a\r\nBcc: x@y.z")
    Traceback (most recent call last):
    smtpx.errors.UnsafeOctets: header field Subject holds a control octet: ...
    """
    if not is_field_name(name):
        raise UnsafeOctets("header field name", ascii(name))
    try:
        octets = text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        raise UnsafeOctets(f"header field {name}", ascii(text)) from None
    if has_line_control(text.replace("\t", " ")):
        raise UnsafeOctets(f"header field {name}", escape_octets(octets))
    return HeaderField(name, fold_field(name, octets.split(b" ")))


def fold_field(name: str, words: Iterable[bytes]) -> bytes:
    r"""Write a field whose lines break between words only.

    Args:
        name: of the field.
        words: what stands between the spaces; the caller made sure that none holds a
            line end.

    >>> fold_field("X", [b"a" * 40, b"b" * 40]).count(b"\r\n ")
    1
    """
    lines: list[bytes] = []
    line = name.encode() + b":"
    # A line of white space only must not come to be: older parsers end the header.
    for count, word in enumerate(words):
        if len(line) + 1 + len(word) > _FOLD_AT and count and word:
            lines.append(line)
            line = b""
        line += b" " + word
    return b"\r\n".join([*lines, line]) + b"\r\n"

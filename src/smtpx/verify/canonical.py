r"""What is signed of a message: its canonical form (RFC 6376 section 3.4).

All of it takes time linear in the size: dkimpy 1.1.8, which this was written instead
of, took 2.3 s of a thread that lets no other run for one signature field of 22 KB that
is white space, and four times that for each doubling.

>>> canonicalize_field(b"SubJect :  a \r\n\t b \r\n", Canonicalization.RELAXED)
b'subject:a b\r\n'
>>> canonicalize_body(b" C \r\nD \t E\r\n\r\n\r\n", Canonicalization.RELAXED)
b' C\r\nD E\r\n'
"""

from __future__ import annotations

import hashlib
from enum import StrEnum, unique
from functools import cached_property
from typing import TYPE_CHECKING

from smtpx.message.fields import Header, HeaderField, parse_header

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Canonicalization",
    "SignedContent",
    "canonicalize_body",
    "canonicalize_field",
    "select_fields",
]


@unique
class Canonicalization(StrEnum):
    """What may change on the way without breaking a signature."""

    SIMPLE = "simple"
    """Nothing, but empty lines at the end."""

    RELAXED = "relaxed"
    """The amount of white space, and the case of field names, too."""


def _squeeze(octets: bytes) -> bytes:
    """Make one space of each run of spaces and tabs.

    Each round halves the longest run: no more than log n of them. A pattern takes 30
    ms for 1 MB of text, this takes 2.
    """
    octets = octets.replace(b"\t", b" ")
    while b"  " in octets:
        octets = octets.replace(b"  ", b" ")
    return octets


def canonicalize_field(octets: bytes, mode: Canonicalization) -> bytes:
    """Return the canonical form of a header field (sections 3.4.1 and 3.4.2).

    Args:
        octets: all of the field, with CRLF line ends.
        mode: how.
    """
    if mode is Canonicalization.SIMPLE:
        return octets if octets.endswith(b"\r\n") else octets + b"\r\n"
    name, _, value = octets.partition(b":")
    value = _squeeze(value.replace(b"\r\n", b"")).strip(b" ")
    return name.strip(b" \t").lower() + b":" + value + b"\r\n"


def canonicalize_body(body: bytes, mode: Canonicalization) -> bytes:
    """Return the canonical form of a body (sections 3.4.3 and 3.4.4).

    Args:
        body: with CRLF line ends.
        mode: how.
    """
    if mode is Canonicalization.RELAXED:
        # In two steps: one pattern with the line end behind the spaces would look
        # at a long run of spaces again from each of them.
        body = _squeeze(body).replace(b" \r\n", b"\r\n")
        # At the end of the body there may be no line end.
        body = body.removesuffix(b" ")
    end = len(body)
    while body.endswith(b"\r\n", 0, end):
        end -= 2
    if not end and mode is Canonicalization.RELAXED:
        return b""
    return body[:end] + b"\r\n"


def select_fields(header: Header, names: Iterable[str]) -> list[HeaderField]:
    """Pick the fields that a signature covers (section 5.4.2).

    Args:
        header: of the message.
        names: as the signature lists them. A name that comes again means the next
            field above; one that is not there stands for its absence.
    """
    left: dict[str, list[HeaderField]] = {}
    for one in header.fields:
        left.setdefault(one.name.lower(), []).append(one)
    return [
        found.pop()
        for name in names
        if (found := left.get(name.lower())) is not None
        if found
    ]


class SignedContent:
    """A message as its signatures see it; what several need is computed once.

    Args:
        message: as it was received. Line ends that are LF alone throughout, as in a
            file, are taken for CRLF.

    Attributes:
        header: its fields.
        body: what follows.
    """

    def __init__(self, message: bytes) -> None:
        if b"\r\n" not in message:
            message = message.replace(b"\n", b"\r\n")
        self.header, start = parse_header(message)
        self.body = message[start:]
        self._hashes: dict[tuple[Canonicalization, int | None], bytes] = {}

    @cached_property
    def _simple(self) -> bytes:
        return canonicalize_body(self.body, Canonicalization.SIMPLE)

    @cached_property
    def _relaxed(self) -> bytes:
        return canonicalize_body(self.body, Canonicalization.RELAXED)

    def canonical_body(self, mode: Canonicalization) -> bytes:
        """Return the canonical body.

        Args:
            mode: how.
        """
        return self._simple if mode is Canonicalization.SIMPLE else self._relaxed

    def body_hash(self, mode: Canonicalization, length: int | None = None) -> bytes:
        """Return the SHA-256 of the canonical body.

        Args:
            mode: how it is made canonical.
            length: of how many octets; None: of all.
        """
        key = mode, length
        if key not in self._hashes:
            body = memoryview(self.canonical_body(mode))[:length]
            self._hashes[key] = hashlib.sha256(body).digest()
        return self._hashes[key]

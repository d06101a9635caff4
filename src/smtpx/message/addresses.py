r"""Addresses in header fields (RFC 5322 section 3.4), and the parts of an address.

A list is read as it was meant: groups, comments, quoted names, encoded words and
obsolete routes are understood, and what breaks the grammar is kept as text, without a
mailbox, so that no one is lost. It never raises.

>>> parse_addresses('"Ann, B." <ann@example.com>, bob@example.com (Bob)')
(Address(name='Ann, B.', address='ann@example.com', group=None),
 Address(name='Bob', address='bob@example.com', group=None))
>>> split_address("support+42@example.com")
AddressParts(user='support', tag='42', domain='example.com')
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from smtpx.errors import BadAddress
from smtpx.message.words import decode_words
from smtpx.wire.address import Mailbox

__all__ = [
    "MAX_ADDRESSES",
    "Address",
    "AddressParts",
    "parse_addresses",
    "split_address",
]

MAX_ADDRESSES: Final = 10_000
"""Of one field. The largest real lists, of mailing software gone wrong, have some
thousands; a field of 1 MiB could hold half a million."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address in a header field.

    Attributes:
        name: for people; empty if there is none.
        address: as written, without angle brackets; in a broken field, any text.
        group: the name of the group it is in, None if it is in none.
    """

    name: str
    address: str
    group: str | None = None

    @property
    def mailbox(self) -> Mailbox | None:
        """What mail can be sent to; None if it is malformed.

        >>> Address("", "no address").mailbox
        """
        try:
            mailbox = Mailbox.parse(self.address)
        except BadAddress:
            return None
        return mailbox if mailbox.domain else None

    @property
    def domain(self) -> str:
        """What stands behind the last ``@``, in lower case; empty if nothing does."""
        return self.address.rpartition("@")[2].lower() if "@" in self.address else ""

    def __str__(self) -> str:
        return f"{self.name} <{self.address}>" if self.name else self.address


class AddressParts(NamedTuple):
    """What `split_address` finds.

    Attributes:
        user: whose mailbox it is.
        tag: what the user put behind it; None if there is none.
        domain: of the mailbox.
    """

    user: str
    tag: str | None
    domain: str


def split_address(address: Mailbox | str, *, delimiters: str = "+") -> AddressParts:
    """Split an address into user, tag and domain.

    Args:
        address: a mailbox, or its text.
        delimiters: each character may begin the tag, as in Postfix's
            ``recipient_delimiter``; empty: there are no tags.

    Returns:
        The parts; the local part is unquoted first.

    Raises:
        BadAddress: it is none.

    >>> split_address("a-b+c@example.com", delimiters="+-")
    AddressParts(user='a', tag='b+c', domain='example.com')
    >>> split_address("+a@example.com")
    AddressParts(user='+a', tag=None, domain='example.com')
    """
    mailbox = Mailbox.parse(address) if isinstance(address, str) else address
    local_part = mailbox.local_part_unquoted
    # A delimiter in front would leave no user.
    found = [at for one in delimiters if (at := local_part.find(one, 1)) > 0]
    if not found:
        return AddressParts(local_part, None, mailbox.domain)
    at = min(found)
    return AddressParts(local_part[:at], local_part[at + 1 :], mailbox.domain)


# One token: quoted string, angle brackets, domain literal, special, white space, atom.
_TOKEN: Final = re.compile(
    r'"(?:[^"\\]|\\.)*"?|<[^>]*>?|\[[^\]]*\]?|[,;:()>\]\\]|\s+|[^\s",;:<>()\[\]\\]+',
    re.DOTALL,
)
_QUOTED_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)
_COMMENT_MARK: Final = re.compile(r"[()\\]")
_SPACE: Final = re.compile(r"\s+")
# A route comes first (RFC 5322 section 4.4: obs-route). Looked for anywhere, it would
# take hours in "<@@@@...", and cut "<a@b:c@d>" to an address that nobody wrote.
_ROUTE: Final = re.compile(r",*@[^:]*:")


class _Reader:
    """Reads one address list, token after token."""

    def __init__(self) -> None:
        self.found: list[Address] = []
        self._group: str | None = None
        self._clear()

    def _clear(self) -> None:
        self._words: list[str] = []
        self._angle: str | None = None
        self._comment = ""
        self._has_quotes = False
        self._rest: list[str] = []

    def read(self, text: str) -> None:
        position = 0
        while position < len(text) and len(self.found) < MAX_ADDRESSES:
            match = _TOKEN.match(text, position)
            piece = text[position] if match is None else match[0]
            position += len(piece)
            if piece == "(":
                comment, position = _take_comment(text, position)
                self._comment = self._comment or comment
            elif piece in {",", ";"}:
                self._finish()
                self._group = None if piece == ";" else self._group
            else:
                self._take(piece)
        if len(self.found) < MAX_ADDRESSES:
            self._finish()

    def _take(self, piece: str) -> None:
        """Take what may be part of an address, or end the name of a group."""
        if self._angle is not None:
            self._rest.append(piece.strip())
        elif piece == ":" and self._group is None:
            self._group = self._phrase()
            self._clear()
        elif piece[0] == "<":
            self._angle = piece.removeprefix("<").removesuffix(">")
        else:
            self._has_quotes = self._has_quotes or piece[0] == '"'
            self._words.append(piece)

    def _finish(self) -> None:
        """Make an address of what was gathered, if that is anything."""
        if self._angle is not None:
            address = _SPACE.sub("", self._angle)
            route = _ROUTE.match(address)
            if route is not None:
                address = address[route.end() :]
            if any(self._rest):
                # Whoever reads it may take any of it for the address: so it is none.
                rest = "".join(self._rest)
                address = f"<{address}> {rest}"
            name = self._phrase() or self._comment
        else:
            words = [" " if word.isspace() else word for word in self._words]
            address = "".join(words).strip()
            if not self._has_quotes:
                # Obsolete syntax has spaces around dots and "@". No others are taken
                # out: that would make an address that nobody wrote.
                for mark in ".@":
                    address = address.replace(f" {mark}", mark)
                    address = address.replace(f"{mark} ", mark)
            name = self._comment
        if address or name:
            self.found.append(Address(name, address, self._group))
        self._clear()

    def _phrase(self) -> str:
        """Write the words before an address as the name that they are."""
        plain = [
            _QUOTED_PAIR.sub(r"\1", word[1:].removesuffix('"'))
            if word[0] == '"'
            else word
            for word in self._words
        ]
        return " ".join(decode_words("".join(plain)).split())


def _take_comment(text: str, position: int) -> tuple[str, int]:
    """Take a comment, which may hold others; return it and the position after it."""
    start = position
    depth = 1
    while depth:
        match = _COMMENT_MARK.search(text, position)
        if match is None:
            return decode_words(text[start:]).strip(), len(text)
        position = match.end() + (match[0] == "\\")
        depth += {"(": 1, ")": -1}.get(match[0], 0)
    return decode_words(text[start : position - 1]).strip(), position


def parse_addresses(text: str) -> tuple[Address, ...]:
    """Parse an address list, of To for instance (RFC 5322 section 3.4).

    Args:
        text: the field's value on one line; may hold anything.

    Returns:
        The addresses in order, those of groups among them, at most `MAX_ADDRESSES`.
    """
    reader = _Reader()
    reader.read(text)
    return tuple(reader.found)

r"""Mailboxes and paths (RFC 5321 sections 4.1.2 and 4.1.3, RFC 6531 section 3.3).

A `Mailbox` that exists is valid: its constructor and its parsers hold the same grammar,
so what it encodes to cannot close the angle brackets, add a parameter or end the line.
Malformed addresses are refused, never rewritten.

The grammar is written once, as fragments of patterns over octets, those of domains in
`smtpx.wire.domains`. The most usual path, plain ASCII in angle brackets, is one pattern
made of the same fragments.

>>> take_forward_path(b"RCPT TO:<@relay.example:bob@example.com> NOTIFY=NEVER", 8)
(Mailbox(local_part='bob', domain='example.com'), 40)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpx.errors import BadAddress
from smtpx.wire.domains import (
    ASCII_DOMAIN,
    DOMAIN,
    MAX_DOMAIN_OCTETS,
    check_domain,
    decode_part,
    domain_to_ascii,
    encode_part,
    escape_part,
    parse_literal,
    require_end,
    take_domain_or_literal,
    to_u_label,
)
from smtpx.wire.octets import escape_octets

if TYPE_CHECKING:
    from smtpx.wire.domains import AddressLiteral

__all__ = [
    "Mailbox",
    "quote_local_part",
    "take_forward_path",
    "take_reverse_path",
    "take_usual_path",
]

# ---------------------------------------------------------------- fragments of patterns

# Possessive where those of domains are, and for the same reasons.
_ASCII_ATEXT = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_ATEXT = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\xff-]"
_ASCII_DOT_STRING = _ASCII_ATEXT + rb"++(?:\." + _ASCII_ATEXT + rb"++)*"
_DOT_STRING = _ATEXT + rb"++(?:\." + _ATEXT + rb"++)*"
# qtextSMTP / quoted-pairSMTP. Only ASCII can be quoted by a backslash.
_QUOTED_STRING = rb'"(?:[ !#-\[\]-~\x80-\xff]|\\[ -~])*"'
_LOCAL_PART = rb"(?:" + _DOT_STRING + rb"|" + _QUOTED_STRING + rb")"

_match_usual_path = re.compile(
    rb"<(" + _ASCII_DOT_STRING + rb")@(" + ASCII_DOMAIN + rb")>"
).match
_match_local_part = re.compile(_LOCAL_PART).match
_match_source_route = re.compile(rb"@" + DOMAIN + rb"(?:,@" + DOMAIN + rb")*:").match
_match_postmaster = re.compile(rb"postmaster(?![^> ])", re.IGNORECASE).match

_QUOTED_PAIR = re.compile(r"\\(.)")

# ---------------------------------------------------------------------------- mailboxes


def _take_local_part(line: bytes, start: int) -> tuple[str, int]:
    """Take a Local-part; return it and the position after it."""
    match = _match_local_part(line, start)
    if match is None:
        raise BadAddress(f"bad local part: {escape_octets(line[start:])}")
    return decode_part(match[0]), match.end()


def quote_local_part(text: str) -> str:
    r"""Return a local part in the form that needs the least quoting.

    RFC 5321 section 4.1.2 asks senders for that form.

    Args:
        text: the local part as meant, without quoting.

    Raises:
        BadAddress: it holds a control character, which no quoting can carry.

    >>> print(quote_local_part("bob"), quote_local_part('the "boss"'))
    bob "the \"boss\""
    """
    octets = encode_part(text)
    match = _match_local_part(octets)
    if match is not None and match.end() == len(octets) and text[0] != '"':
        decode_part(octets)
        return text
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    octets = encode_part(quoted)
    taken, end = _take_local_part(octets, 0)
    require_end(octets, end)
    return taken


def _no_mailbox(text: str, error: BadAddress) -> BadAddress:
    """Make a sentence of what is wrong, for who gave the whole address."""
    hint = ""
    if text.endswith(">"):
        hint = "; write the address alone, without a name and without <>"
    elif "," in text:
        hint = "; give several addresses as a list"
    return BadAddress(f"'{escape_part(text)}' is no mailbox: {error.text}{hint}")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address to send mail to (RFC 5321 section 4.1.2).

    Two mailboxes are equal when they are written alike; see `is_same_mailbox`.

    Args:
        local_part: as written, quotes and backslashes included.
        domain: as written: a domain, or an address literal with its brackets. Empty
            for the special recipient ``<postmaster>`` only.

    Raises:
        BadAddress: a part breaks the grammar.

    >>> Mailbox("bob", "example.com")
    Mailbox(local_part='bob', domain='example.com')
    >>> Mailbox("bob> X=1", "example.com")
    Traceback (most recent call last):
    smtpx.errors.BadAddress: 'bob> X=1@example.com' is no mailbox: unexpected: > X=1
    """

    local_part: str
    domain: str

    def __post_init__(self) -> None:
        path = encode_part(f"<{self.local_part}@{self.domain}>")
        match = _match_usual_path(path)
        if (
            match is not None
            # All of it matched, and one "@" only is in it, so each part matched.
            and match.end() == len(path)
            and len(self.domain) <= MAX_DOMAIN_OCTETS
        ):
            return
        try:
            self._check_parts()
        except BadAddress as error:
            raise _no_mailbox(f"{self.local_part}@{self.domain}", error) from None

    def _check_parts(self) -> None:
        octets = encode_part(self.local_part)
        _, end = _take_local_part(octets, 0)
        require_end(octets, end)
        if self.domain or self.local_part.lower() != "postmaster":
            octets = encode_part(self.domain)
            _, end = take_domain_or_literal(octets, 0)
            require_end(octets, end)

    @classmethod
    def parse(cls, text: str) -> Mailbox:
        """Parse a Mailbox, or ``postmaster`` without a domain.

        Args:
            text: no angle brackets, no display name, no spaces around.

        Raises:
            BadAddress: 501 5.1.3.

        >>> Mailbox.parse('"bob smith"@[192.0.2.1]').local_part_unquoted
        'bob smith'
        """
        octets = encode_part(text)
        path = b"<%b>" % octets
        usual = take_usual_path(path, 0)
        if usual is not None and usual[1] == len(path):
            return usual[0]
        try:
            mailbox, end = _take_mailbox(octets, 0, may_be_postmaster=True)
            require_end(octets, end)
        except BadAddress as error:
            raise _no_mailbox(text, error) from None
        return mailbox

    @property
    def local_part_unquoted(self) -> str:
        """The local part as meant: without quotes, quoted pairs resolved."""
        if not self.local_part.startswith('"'):
            return self.local_part
        return _QUOTED_PAIR.sub(r"\1", self.local_part[1:-1])

    @property
    def literal(self) -> AddressLiteral | None:
        """The address if the domain is an address literal."""
        return parse_literal(self.domain) if self.domain.startswith("[") else None

    @property
    def is_ascii(self) -> bool:
        """Whether it can be sent without SMTPUTF8 as it is."""
        return self.local_part.isascii() and self.domain.isascii()

    @property
    def domain_ascii(self) -> str:
        """The domain with A-labels, as the DNS wants it; literals as written."""
        return self.domain if self.domain.isascii() else domain_to_ascii(self.domain)

    @property
    def domain_unicode(self) -> str:
        """The domain with U-labels, for people; a false A-label stays as it is."""
        return ".".join(to_u_label(label) for label in self.domain.split("."))

    def is_same_mailbox(self, other: Mailbox) -> bool:
        """Say whether both name one mailbox, however they are written.

        Quoted and unquoted forms are equivalent (RFC 5321 section 4.1.2). Domains are
        compared without regard to case, the local part with it (section 2.4), but for
        ``postmaster`` (section 4.5.1).

        Args:
            other: the mailbox to compare with.

        >>> Mailbox.parse('"bob"@EXAMPLE.com').is_same_mailbox(
        ...     Mailbox.parse("bob@example.com"))
        True
        """
        return self._key() == other._key()

    def _key(self) -> tuple[str, object]:
        """Return what is the same for all forms of one mailbox."""
        local_part = self.local_part_unquoted
        if local_part.lower() == "postmaster":
            local_part = "postmaster"
        return local_part, self.literal or self.domain_ascii.lower()

    def encode(self) -> bytes:
        """Return the octets for the wire, without angle brackets.

        >>> Mailbox("bob", "example.com").encode()
        b'bob@example.com'
        """
        domain = self.domain
        text = f"{self.local_part}@{domain}" if domain else self.local_part
        return text.encode("utf-8")

    def __str__(self) -> str:
        return f"{self.local_part}@{self.domain}" if self.domain else self.local_part


# The parsers have checked the parts already, and a frozen dataclass's constructor takes
# longer than the pattern, so they fill the slots themselves.
_new = object.__new__
_set_local_part = Mailbox.__dict__["local_part"].__set__
_set_domain = Mailbox.__dict__["domain"].__set__


def _make_mailbox(local_part: str, domain: str) -> Mailbox:
    """Make a mailbox of parts that have been checked."""
    mailbox = _new(Mailbox)
    _set_local_part(mailbox, local_part)
    _set_domain(mailbox, domain)
    return mailbox


def _take_mailbox(
    line: bytes, start: int, *, may_be_postmaster: bool
) -> tuple[Mailbox, int]:
    """Take a Mailbox; return it and the position after it."""
    if may_be_postmaster and (match := _match_postmaster(line, start)):
        return _make_mailbox(match[0].decode("ascii"), ""), match.end()
    local_part, end = _take_local_part(line, start)
    if line[end : end + 1] != b"@":
        raise BadAddress(f"no domain: {escape_octets(line[start:])}")
    domain, end = take_domain_or_literal(line, end + 1)
    return _make_mailbox(local_part, domain), end


# -------------------------------------------------------------------------------- paths


def _skip_source_route(line: bytes, start: int) -> int:
    """Skip ``[ A-d-l ":" ]``, which must be accepted and ignored.

    RFC 5321 section 4.1.2 and appendix C.
    """
    if not line.startswith(b"@", start):
        return start
    match = _match_source_route(line, start)
    if match is None:
        raise BadAddress(f"bad source route: {escape_octets(line[start:])}")
    for domain in match[0][1:-1].split(b",@"):
        check_domain(decode_part(domain))
    return match.end()


def take_usual_path(line: bytes, start: int) -> tuple[Mailbox, int] | None:
    """Take a path in ASCII, without source route or quoting, if there is one."""
    match = _match_usual_path(line, start)
    if match is None:
        return None
    local_part, domain = match.groups()
    if len(domain) > MAX_DOMAIN_OCTETS:
        return None
    mailbox = _new(Mailbox)
    _set_local_part(mailbox, local_part.decode("ascii"))
    _set_domain(mailbox, domain.decode("ascii"))
    return mailbox, match.end()


def _take_path(
    line: bytes, start: int, *, is_forward: bool, lenient: bool
) -> tuple[Mailbox, int]:
    """Take any Path."""
    if not line.startswith(b"<", start):
        if not lenient:
            raise BadAddress(f"no angle bracket: {escape_octets(line[start:])}")
        return _take_mailbox(line, start, may_be_postmaster=is_forward)
    start += 1
    end = _skip_source_route(line, start)
    may_be_postmaster = is_forward and end == start
    mailbox, end = _take_mailbox(line, end, may_be_postmaster=may_be_postmaster)
    if not line.startswith(b">", end):
        raise BadAddress(f"unexpected: {escape_octets(line[end:])}")
    return mailbox, end + 1


def _skip_spaces(line: bytes, start: int) -> int:
    """Return the position of what is not a space."""
    return len(line) - len(line[start:].lstrip(b" "))


def take_reverse_path(
    line: bytes, start: int, *, lenient: bool = False
) -> tuple[Mailbox | None, int]:
    """Take a Reverse-path from a line (RFC 5321 section 4.1.2).

    Args:
        line: a command line without CRLF.
        start: where the path begins.
        lenient: skip spaces before it, and allow it without angle brackets.

    Returns:
        The mailbox, None for ``<>``, and the position after the path. What comes
        there is the caller's business. A source route is dropped.

    Raises:
        BadAddress: 501 5.1.7.

    >>> take_reverse_path(b"MAIL FROM:<> SIZE=1", 10)
    (None, 12)
    """
    taken = take_usual_path(line, start)
    if taken is not None:
        return taken
    if lenient:
        start = _skip_spaces(line, start)
    if line.startswith(b"<>", start):
        return None, start + 2
    try:
        return _take_path(line, start, is_forward=False, lenient=lenient)
    except BadAddress as error:
        raise BadAddress(error.text, enhanced="5.1.7") from None


def take_forward_path(
    line: bytes, start: int, *, lenient: bool = False
) -> tuple[Mailbox, int]:
    """Take a Forward-path, or ``<postmaster>``, from a line.

    RFC 5321 sections 4.1.2 and 4.1.1.3. Arguments and result are those of
    `take_reverse_path`, but there is always a mailbox.

    Raises:
        BadAddress: 501 5.1.3.

    >>> take_forward_path(b"RCPT TO:<Postmaster>", 8)
    (Mailbox(local_part='Postmaster', domain=''), 20)
    """
    taken = take_usual_path(line, start)
    if taken is not None:
        return taken
    if lenient:
        start = _skip_spaces(line, start)
    return _take_path(line, start, is_forward=True, lenient=lenient)

r"""Mailboxes and paths (RFC 5321 sections 4.1.2 and 4.1.3, RFC 6531 section 3.3).

A `Mailbox` that exists is valid: its constructor and its parsers hold the same grammar,
so what it encodes to cannot close the angle brackets, add a parameter or end the line.
Malformed addresses are refused, never rewritten.

The grammar is written once, as fragments of patterns over octets, in which every octet
from 0x80 is a letter. What they match is then decoded as UTF-8, and internationalized
labels are checked by `idna`. The most usual path, plain ASCII in angle brackets, is one
pattern made of the same fragments.

Strict, beyond the ABNF: C1 controls and the separators U+2028 and U+2029 are refused,
as they would split lines that are made of the address (see `has_line_control`).

>>> take_forward_path(b"RCPT TO:<@relay.example:bob@example.com> NOTIFY=NEVER", 8)
(Mailbox(local_part='bob', domain='example.com'), 40)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, TypeAlias

from smtpx.errors import BadAddress, BadSyntax
from smtpx.wire.octets import escape_octets, has_line_control

__all__ = [
    "MAX_DOMAIN_OCTETS",
    "AddressLiteral",
    "GeneralLiteral",
    "Mailbox",
    "parse_domain",
    "parse_hello_name",
    "parse_literal",
    "quote_local_part",
    "take_forward_path",
    "take_reverse_path",
]

MAX_DOMAIN_OCTETS: Final = 255
"""Of a domain or address literal as written (RFC 5321 section 4.5.3.1.2).

The local part has no limit of its own: section 4.5.3.1 asks for none where possible,
and rewritten (SRS, VERP) addresses exceed 64 octets. The command line bounds it.
"""

_MAX_LABEL_OCTETS: Final = 63
"""RFC 1035 section 2.3.4."""

# ---------------------------------------------------------------- fragments of patterns

# Time is linear: the quantifiers of single octets are possessive (`++`), and giving
# back a group never leads to a match. Groups are not possessive: Python 3.11.2, which
# Debian 12 has, takes one that failed half way, and with it `a.@b`.
_ASCII_ATEXT = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_ATEXT = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\xff-]"
_ASCII_DOT_STRING = _ASCII_ATEXT + rb"++(?:\." + _ASCII_ATEXT + rb"++)*"
_DOT_STRING = _ATEXT + rb"++(?:\." + _ATEXT + rb"++)*"
# qtextSMTP / quoted-pairSMTP. Only ASCII can be quoted by a backslash.
_QUOTED_STRING = rb'"(?:[ !#-\[\]-~\x80-\xff]|\\[ -~])*"'
_LOCAL_PART = rb"(?:" + _DOT_STRING + rb"|" + _QUOTED_STRING + rb")"

_ASCII_SUB_DOMAIN = rb"[A-Za-z0-9][A-Za-z0-9-]{0,62}+(?<!-)"
_SUB_DOMAIN = rb"[A-Za-z0-9\x80-\xff][A-Za-z0-9\x80-\xff-]*+(?<!-)"
_ASCII_DOMAIN = _ASCII_SUB_DOMAIN + rb"(?:\." + _ASCII_SUB_DOMAIN + rb")*"
_DOMAIN = _SUB_DOMAIN + rb"(?:\." + _SUB_DOMAIN + rb")*"
# dcontent; what may stand between the brackets is told apart in parse_literal.
_ADDRESS_LITERAL = rb"\[[!-Z^-~]++\]"

_match_usual_path = re.compile(
    rb"<(" + _ASCII_DOT_STRING + rb")@(" + _ASCII_DOMAIN + rb")>"
).match
_match_local_part = re.compile(_LOCAL_PART).match
_match_domain = re.compile(_DOMAIN).match
_match_source_route = re.compile(rb"@" + _DOMAIN + rb"(?:,@" + _DOMAIN + rb")*:").match
_match_literal = re.compile(_ADDRESS_LITERAL).match
_match_postmaster = re.compile(rb"postmaster(?![^> ])", re.IGNORECASE).match

_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_IPV6 = re.compile(r"([0-9A-Fa-f:]+?)([0-9]{1,3}(?:\.[0-9]{1,3}){3})?")
_GENERAL = re.compile(r"([A-Za-z0-9-]*[A-Za-z0-9]):([!-Z^-~]+)")

# What real clients say in EHLO: underscores, commas, an address without brackets.
_LENIENT_HELLO_NAME = re.compile(rb"[!-~\x80-\xff]{1,255}")

_QUOTED_PAIR = re.compile(r"\\(.)")

# ----------------------------------------------------------------------------- literals


@dataclass(frozen=True, slots=True)
class GeneralLiteral:
    """A General-address-literal: an address of a kind that smtpx does not know.

    Attributes:
        tag: names the kind of address, as written.
        content: the address, as written.
    """

    tag: str
    content: str


AddressLiteral: TypeAlias = IPv4Address | IPv6Address | GeneralLiteral


def _parse_ipv4(text: str) -> IPv4Address | None:
    """Parse an IPv4-address-literal; digits are decimal, with leading zeros too."""
    if _IPV4.fullmatch(text) is None:
        return None
    numbers = [int(number) for number in text.split(".")]
    return None if max(numbers) > 255 else IPv4Address(bytes(numbers))


def _parse_ipv6(text: str) -> IPv6Address | None:
    """Parse an IPv6-addr."""
    match = _IPV6.fullmatch(text)
    if match is None:
        return None
    groups, ipv4_text = match.groups()
    if ipv4_text is not None:
        ipv4 = _parse_ipv4(ipv4_text)
        if ipv4 is None:
            return None
        groups += f"{ipv4.packed[:2].hex()}:{ipv4.packed[2:].hex()}"
    # "::" stands for two groups or more, so six are left at most.
    if "::" in groups and len([g for g in groups.split(":") if g]) > 6:
        return None
    try:
        return IPv6Address(groups)
    except AddressValueError:
        return None


def parse_literal(text: str) -> AddressLiteral:
    """Parse an address-literal (RFC 5321 section 4.1.3).

    Args:
        text: with its brackets, such as ``[192.0.2.1]`` or ``[IPv6:2001:db8::1]``.

    Raises:
        BadAddress: 501 5.1.3.

    >>> parse_literal("[IPv6:2001:db8::192.0.2.1]")
    IPv6Address('2001:db8::c000:201')
    >>> parse_literal("[X25:123]")
    GeneralLiteral(tag='X25', content='123')
    """
    inner = text[1:-1]
    literal: AddressLiteral | None = None
    if text == f"[{inner}]" and len(text) <= MAX_DOMAIN_OCTETS:
        tag, _, content = inner.partition(":")
        if tag.upper() == "IPV6":
            literal = _parse_ipv6(content)
        elif match := _GENERAL.fullmatch(inner):
            literal = GeneralLiteral(match[1], match[2])
        else:
            literal = _parse_ipv4(inner)
    if literal is None:
        raise BadAddress(f"bad address literal: {_escape(text)}")
    return literal


# ------------------------------------------------------------------------------ domains


@lru_cache(maxsize=1024)  # idna takes 30 us; the same few domains come again and again
def _to_a_label(label: str) -> str:
    """Return the A-label of a U-label that is not ASCII (RFC 5890 section 2.3.2.1).

    Lenient: capitals are taken for their small letters, as in any domain.
    """
    import idna  # noqa: PLC0415 - most programs never meet such a domain

    try:
        return idna.alabel(label.lower()).decode("ascii")
    except UnicodeError:  # which idna's errors are
        raise BadAddress(
            f"not an internationalized domain label: {_escape(label)}"
        ) from None


def _to_u_label(label: str) -> str:
    """Return the U-label of an A-label, or the label itself if it is none."""
    if not label.lower().startswith("xn--"):
        return label
    import idna  # noqa: PLC0415 - see _to_a_label

    try:
        return idna.ulabel(label)
    except UnicodeError:  # which idna's errors are
        return label


def _domain_to_ascii(domain: str) -> str:
    """Return a domain with A-labels for its U-labels."""
    return ".".join(
        label if label.isascii() else _to_a_label(label) for label in domain.split(".")
    )


def _check_domain(domain: str) -> None:
    """Check what the pattern of a domain does not say: lengths, and U-labels."""
    if len(domain) <= _MAX_LABEL_OCTETS and domain.isascii():
        return
    if len(_encode(domain)) > MAX_DOMAIN_OCTETS:  # so idna's work is bounded, too
        raise BadAddress(f"the domain has more than {MAX_DOMAIN_OCTETS} octets")
    in_ascii = _domain_to_ascii(domain)
    if len(in_ascii) > MAX_DOMAIN_OCTETS:
        raise BadAddress(f"the A-labels have more than {MAX_DOMAIN_OCTETS} octets")
    if max(map(len, in_ascii.split("."))) > _MAX_LABEL_OCTETS:
        raise BadAddress(f"a label has more than {_MAX_LABEL_OCTETS} octets")


def _take_domain(line: bytes, start: int) -> tuple[str, int]:
    """Take a Domain; return it and the position after it."""
    match = _match_domain(line, start)
    if match is None:
        raise BadAddress(f"bad domain: {escape_octets(line[start:])}")
    domain = _decode(match[0])
    _check_domain(domain)
    return domain, match.end()


def _take_domain_or_literal(line: bytes, start: int) -> tuple[str, int]:
    """Take a Domain or an address-literal; return it and the position after it."""
    match = _match_literal(line, start)
    if match is None:
        return _take_domain(line, start)
    text = match[0].decode("ascii")
    parse_literal(text)
    return text, match.end()


def parse_domain(octets: bytes) -> str:
    """Parse a Domain (RFC 5321 section 4.1.2, RFC 6531 section 3.3).

    Args:
        octets: all of it; address literals are not domains.

    Returns:
        The domain as written.

    Raises:
        BadAddress: 501 5.1.3.

    >>> parse_domain("grå.example".encode())
    'grå.example'
    """
    text, end = _take_domain(octets, 0)
    _require_end(octets, end)
    return text


def parse_hello_name(octets: bytes, *, lenient: bool = False) -> str:
    """Parse the name in EHLO, HELO or LHLO (RFC 5321 section 4.1.1.1).

    Args:
        octets: all of the argument. U-labels have no place here (RFC 6531 section
            3.7.1): they must be sent as A-labels.
        lenient: take any 1 to 255 octets of UTF-8 without spaces and controls, as
            many clients send their own idea of a name. Such a name may hold brackets,
            quotes and parentheses: quote it in a header field.

    Raises:
        BadSyntax: 501 5.5.4.

    >>> parse_hello_name(b"[192.0.2.1]")
    '[192.0.2.1]'
    >>> parse_hello_name(b"bob_pc", lenient=True)
    'bob_pc'
    """
    try:
        if lenient and _LENIENT_HELLO_NAME.fullmatch(octets) is not None:
            return _decode(octets)
        name, end = _take_domain_or_literal(octets, 0)
        _require_end(octets, end)
    except BadAddress as error:
        raise BadSyntax(error.text, enhanced="5.5.4") from None
    if not name.isascii():
        raise BadSyntax(f"not an A-label: {escape_octets(octets)}", enhanced="5.5.4")
    return name


# ---------------------------------------------------------------------------- mailboxes


def _decode(octets: bytes) -> str:
    """Decode UTF-8 that is to become part of an address."""
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise BadAddress(f"not UTF-8: {escape_octets(octets)}") from None
    if has_line_control(text):
        raise BadAddress(f"control in address: {escape_octets(octets)}")
    return text


def _encode(text: str) -> bytes:
    """Encode what a caller gave as an address."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadAddress("the address holds a lone surrogate") from None


def _escape(text: str) -> str:
    """Escape text for an error."""
    return escape_octets(text.encode("utf-8", "surrogatepass"))


def _require_end(octets: bytes, end: int) -> None:
    """Refuse anything behind what was parsed."""
    if end != len(octets):
        raise BadAddress(f"unexpected: {escape_octets(octets[end:])}")


def _take_local_part(line: bytes, start: int) -> tuple[str, int]:
    """Take a Local-part; return it and the position after it."""
    match = _match_local_part(line, start)
    if match is None:
        raise BadAddress(f"bad local part: {escape_octets(line[start:])}")
    return _decode(match[0]), match.end()


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
    octets = _encode(text)
    match = _match_local_part(octets)
    if match is not None and match.end() == len(octets) and text[0] != '"':
        _decode(octets)
        return text
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    octets = _encode(quoted)
    taken, end = _take_local_part(octets, 0)
    _require_end(octets, end)
    return taken


def _no_mailbox(text: str, error: BadAddress) -> BadAddress:
    """Make a sentence of what is wrong, for who gave the whole address."""
    return BadAddress(f"{_escape(text)} is no mailbox: {error.text}")


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
    >>> Mailbox("bob> SIZE=1", "example.com")
    Traceback (most recent call last):
    smtpx.errors.BadAddress: bob> SIZE=1@example.com is no mailbox: unexpected: > SIZE=1
    """

    local_part: str
    domain: str

    def __post_init__(self) -> None:
        path = _encode(f"<{self.local_part}@{self.domain}>")
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
        octets = _encode(self.local_part)
        _, end = _take_local_part(octets, 0)
        _require_end(octets, end)
        if self.domain or self.local_part.lower() != "postmaster":
            octets = _encode(self.domain)
            _, end = _take_domain_or_literal(octets, 0)
            _require_end(octets, end)

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
        octets = _encode(text)
        path = b"<%b>" % octets
        usual = take_usual_path(path, 0)
        if usual is not None and usual[1] == len(path):
            return usual[0]
        try:
            mailbox, end = _take_mailbox(octets, 0, may_be_postmaster=True)
            _require_end(octets, end)
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
        return self.domain if self.domain.isascii() else _domain_to_ascii(self.domain)

    @property
    def domain_unicode(self) -> str:
        """The domain with U-labels, for people; a false A-label stays as it is."""
        return ".".join(_to_u_label(label) for label in self.domain.split("."))

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
    domain, end = _take_domain_or_literal(line, end + 1)
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
        _check_domain(_decode(domain))
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

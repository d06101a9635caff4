"""Domains and address literals: what is behind the ``@``, and the name in EHLO.

RFC 5321 sections 4.1.2 and 4.1.3, RFC 6531 section 3.3. The patterns are over octets,
and every octet from 0x80 is a letter to them. What they match is then decoded as UTF-8,
and internationalized labels are checked by `idna`. How text becomes part of an address,
and what such text may not hold, is here too; local parts go by it as well.

Strict, beyond the ABNF: C1 controls and the separators U+2028 and U+2029 are refused,
as they would split lines that are made of the address (see `has_line_control`).

>>> parse_domain(b"example.com")
'example.com'
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
    "ASCII_DOMAIN",
    "DOMAIN",
    "MAX_DOMAIN_OCTETS",
    "AddressLiteral",
    "GeneralLiteral",
    "check_domain",
    "decode_part",
    "domain_to_ascii",
    "encode_part",
    "escape_part",
    "parse_domain",
    "parse_hello_name",
    "parse_literal",
    "require_end",
    "take_domain_or_literal",
    "to_u_label",
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
_ASCII_SUB_DOMAIN = rb"[A-Za-z0-9][A-Za-z0-9-]{0,62}+(?<!-)"
_SUB_DOMAIN = rb"[A-Za-z0-9\x80-\xff][A-Za-z0-9\x80-\xff-]*+(?<!-)"
ASCII_DOMAIN = _ASCII_SUB_DOMAIN + rb"(?:\." + _ASCII_SUB_DOMAIN + rb")*"
DOMAIN = _SUB_DOMAIN + rb"(?:\." + _SUB_DOMAIN + rb")*"
# dcontent; what may stand between the brackets is told apart in parse_literal.
_ADDRESS_LITERAL = rb"\[[!-Z^-~]++\]"

_match_domain = re.compile(DOMAIN).match
_match_literal = re.compile(_ADDRESS_LITERAL).match

_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_IPV6 = re.compile(r"([0-9A-Fa-f:]+?)([0-9]{1,3}(?:\.[0-9]{1,3}){3})?")
_GENERAL = re.compile(r"([A-Za-z0-9-]*[A-Za-z0-9]):([!-Z^-~]+)")

# What real clients say in EHLO: underscores, commas, an address without brackets.
_LENIENT_HELLO_NAME = re.compile(rb"[!-~\x80-\xff]{1,255}")

# ---------------------------------------------------------------- the text of addresses


def decode_part(octets: bytes) -> str:
    """Decode UTF-8 that is to become part of an address."""
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise BadAddress(f"not UTF-8: {escape_octets(octets)}") from None
    if has_line_control(text):
        raise BadAddress(f"control in address: {escape_octets(octets)}")
    return text


def encode_part(text: str) -> bytes:
    """Encode what a caller gave as an address."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadAddress("the address holds a lone surrogate") from None


def escape_part(text: str) -> str:
    """Escape text for an error."""
    return escape_octets(text.encode("utf-8", "surrogatepass"))


def require_end(octets: bytes, end: int) -> None:
    """Refuse anything behind what was parsed."""
    if end != len(octets):
        raise BadAddress(f"unexpected: {escape_octets(octets[end:])}")


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
        raise BadAddress(f"bad address literal: {escape_part(text)}")
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
            f"not an internationalized domain label: {escape_part(label)}"
        ) from None


def to_u_label(label: str) -> str:
    """Return the U-label of an A-label, or the label itself if it is none."""
    if not label.lower().startswith("xn--"):
        return label
    import idna  # noqa: PLC0415 - see _to_a_label

    try:
        return idna.ulabel(label)
    except UnicodeError:  # which idna's errors are
        return label


def domain_to_ascii(domain: str) -> str:
    """Return a domain with A-labels for its U-labels."""
    return ".".join(
        label if label.isascii() else _to_a_label(label) for label in domain.split(".")
    )


def check_domain(domain: str) -> None:
    """Check what the pattern of a domain does not say: lengths, and U-labels."""
    if len(domain) <= _MAX_LABEL_OCTETS and domain.isascii():
        return
    if len(encode_part(domain)) > MAX_DOMAIN_OCTETS:  # so idna's work is bounded, too
        raise BadAddress(f"the domain has more than {MAX_DOMAIN_OCTETS} octets")
    in_ascii = domain_to_ascii(domain)
    if len(in_ascii) > MAX_DOMAIN_OCTETS:
        raise BadAddress(f"the A-labels have more than {MAX_DOMAIN_OCTETS} octets")
    if max(map(len, in_ascii.split("."))) > _MAX_LABEL_OCTETS:
        raise BadAddress(f"a label has more than {_MAX_LABEL_OCTETS} octets")


def _take_domain(line: bytes, start: int) -> tuple[str, int]:
    """Take a Domain; return it and the position after it."""
    match = _match_domain(line, start)
    if match is None:
        raise BadAddress(f"bad domain: {escape_octets(line[start:])}")
    domain = decode_part(match[0])
    check_domain(domain)
    return domain, match.end()


def take_domain_or_literal(line: bytes, start: int) -> tuple[str, int]:
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
    require_end(octets, end)
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
            return decode_part(octets)
        name, end = take_domain_or_literal(octets, 0)
        require_end(octets, end)
    except BadAddress as error:
        raise BadSyntax(error.text, enhanced="5.5.4") from None
    if not name.isascii():
        raise BadSyntax(f"not an A-label: {escape_octets(octets)}", enhanced="5.5.4")
    return name

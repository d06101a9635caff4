"""Rules for single octets: what may stand on a line, and the encodings of values.

The choke point against injection is `require_safe`: every command line passes it once,
after everything was encoded, so no encoder needs to be trusted. (Encoders that truncate
turned U+760D and U+760A into CR and LF in other libraries.)
"""

from __future__ import annotations

import binascii
import re

from smtpx.errors import BadAddress, BadParameter, BadSyntax, UnsafeOctets

__all__ = [
    "decode_base64",
    "decode_utf8_addr",
    "decode_xtext",
    "encode_base64",
    "encode_utf8_addr_unitext",
    "encode_utf8_addr_xtext",
    "encode_xtext",
    "escape_octets",
    "has_line_control",
    "require_safe",
]

_CONTROLS = bytes([*range(0x20), 0x7F])

# One string an octet, for logs: printable ASCII stands for itself.
_ESCAPED = [
    chr(octet)
    if 0x20 <= octet <= 0x7E and octet != 0x5C
    else {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x5C: "\\\\"}.get(
        octet, f"\\x{octet:02x}"
    )
    for octet in range(256)
]


def escape_octets(octets: bytes, limit: int = 200) -> str:
    r"""Return octets as printable ASCII, for logs and the texts of errors.

    Args:
        octets: anything.
        limit: of how many octets to show; the rest is counted.

    >>> print(escape_octets(b"RCPT TO:<a\r\n\xff>"))
    RCPT TO:<a\r\n\xff>
    >>> escape_octets(b"abcdef", limit=3)
    'abc... (6 octets)'
    """
    shown = "".join([_ESCAPED[octet] for octet in octets[:limit]])
    return shown if len(octets) <= limit else f"{shown}... ({len(octets)} octets)"


def require_safe(octets: bytes, what: str) -> bytes:
    """Return octets unchanged if they cannot end a line or otherwise control a peer.

    Everything that becomes part of a command or reply line passes here, without its
    CRLF, after everything was encoded.

    Args:
        octets: the line, without CRLF.
        what: names it in the error, as in ``"MAIL command"``.

    Raises:
        UnsafeOctets: an octet is 0x00 to 0x1F or 0x7F.

    >>> require_safe(b"NOOP", "NOOP command")
    b'NOOP'
    """
    if len(octets.translate(None, _CONTROLS)) != len(octets):
        raise UnsafeOctets(what, escape_octets(octets))
    return octets


# C0 and C1 controls, DEL, and the line and paragraph separators: everything at which
# str.splitlines splits is among them.
_LINE_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def has_line_control(text: str) -> bool:
    r"""Say whether text holds a control character or a Unicode line separator.

    Such text could split a line of a log or a header field that is made of it, for
    instance through `str.splitlines`, which splits at U+0085 and U+2028 too.

    >>> has_line_control("grå"), has_line_control("a\u2028b")
    (False, True)
    """
    return _LINE_CONTROL.search(text) is not None


# ---------------------------------------------------------------------------- xtext

# xtext = *( xchar / hexchar ); hexchar has two upper case hexadecimal digits.
_XTEXT = re.compile(rb"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEXCHAR = re.compile(rb"\+([0-9A-F]{2})")
_NOT_XCHAR = re.compile(rb"[^!-*,-<>-~]")


def encode_xtext(octets: bytes) -> bytes:
    """Encode octets as xtext (RFC 3461 section 4).

    >>> encode_xtext(b"a+b =c")
    b'a+2Bb+20+3Dc'
    """
    return _NOT_XCHAR.sub(lambda match: b"+%02X" % match[0][0], octets)


def decode_xtext(octets: bytes) -> bytes:
    """Decode xtext (RFC 3461 section 4).

    Args:
        octets: as on the wire. May be empty.

    Returns:
        The octets meant, of any value: controls too. The caller checks.

    Raises:
        BadParameter: an octet may not stand there, or ``+`` is not followed by two
            upper case hexadecimal digits.

    >>> decode_xtext(b"a+2Bb")
    b'a+b'
    """
    if _XTEXT.fullmatch(octets) is None:
        raise BadParameter(f"bad xtext: {escape_octets(octets)}")
    if b"+" not in octets:
        return octets
    return _HEXCHAR.sub(lambda match: bytes.fromhex(match[1].decode("ascii")), octets)


# ------------------------------------------------- utf-8-addr-xtext, utf-8-addr-unitext

# QCHAR: printable ASCII but SP, "\", "+" and "=".
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")
# QUCHAR: those, or anything outside of ASCII.
_NOT_QUCHAR = re.compile(r"[^!-*,-<>-\[\]-~\x80-\U0010ffff]")

# HEXPOINT without the control codes, which `decode_utf8_addr` refuses anyway. The
# letters may be lower case, as in every quoted string of ABNF (RFC 5234 section 2.3).
_HEXPOINT = (
    "20|2B|3D|5C|[89A-F][0-9A-F]|[1-9A-F][0-9A-F]{2}|[1-9A-CEF][0-9A-F]{3}"
    "|D[0-7][0-9A-F]{2}|[1-9A-F][0-9A-F]{4}|10[0-9A-F]{4}"
)
_EMBEDDED = re.compile(rf"\\x\{{({_HEXPOINT})\}}", re.IGNORECASE | re.ASCII)
_UTF8_ENC_ADDR = re.compile(
    rf"(?:[!-*,-<>-\[\]-~\x80-\U0010ffff]|\\[xX]\{{(?i:{_HEXPOINT})\}})+"
)


def _require_utf8_addr(text: str) -> None:
    """Refuse text that no form of a UTF-8 address can stand for."""
    if has_line_control(text):
        raise UnsafeOctets("address", ascii(text))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadAddress("the address holds a lone surrogate") from None


def _embed(match: re.Match[str]) -> str:
    """Make an EmbeddedUnicodeChar."""
    return f"\\x{{{ord(match[0]):02X}}}"


def encode_utf8_addr_xtext(text: str) -> bytes:
    r"""Encode an address as utf-8-addr-xtext, which is ASCII (RFC 6533 section 3).

    Raises:
        UnsafeOctets: the address holds a control character.
        BadAddress: it holds a lone surrogate.

    >>> print(encode_utf8_addr_xtext("grå@example.com").decode())
    gr\x{E5}@example.com
    """
    _require_utf8_addr(text)
    return _NOT_QCHAR.sub(_embed, text).encode("ascii")


def encode_utf8_addr_unitext(text: str) -> bytes:
    r"""Encode an address as utf-8-addr-unitext, for a server with SMTPUTF8.

    RFC 6533 section 3. Raises the same as `encode_utf8_addr_xtext`.

    >>> print(encode_utf8_addr_unitext("grå+b@example.com").decode())
    grå\x{2B}b@example.com
    """
    _require_utf8_addr(text)
    return _NOT_QUCHAR.sub(_embed, text).encode("utf-8")


def decode_utf8_addr(octets: bytes) -> str:
    r"""Decode a utf-8-enc-addr in any of its forms (RFC 6533 section 3).

    Args:
        octets: utf-8-addr-xtext, utf-8-addr-unitext or utf-8-address, not empty.

    Raises:
        BadParameter: it is none of them. Strict: HEXPOINT may stand for a control
            character, which no mailbox can hold; it is refused.

    >>> decode_utf8_addr(rb"gr\x{E5}@example.com")
    'grå@example.com'
    """
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise BadParameter(f"not UTF-8: {escape_octets(octets)}") from None
    if _UTF8_ENC_ADDR.fullmatch(text) is None:
        raise BadParameter(f"bad utf-8 address: {escape_octets(octets)}")
    text = _EMBEDDED.sub(lambda match: chr(int(match[1], 16)), text)
    if has_line_control(text):
        raise BadParameter(f"control in utf-8 address: {escape_octets(octets)}")
    return text


# --------------------------------------------------------------------------- base64


def encode_base64(octets: bytes) -> bytes:
    r"""Encode octets as base64 on one line (RFC 4648 section 4).

    >>> encode_base64(b"\0user\0pencil")
    b'AHVzZXIAcGVuY2ls'
    """
    return binascii.b2a_base64(octets, newline=False)


def decode_base64(octets: bytes) -> bytes:
    r"""Decode base64 (RFC 4648 section 4), its one canonical form only.

    Strict: no white space, no missing or excess padding, no trailing bits. A lenient
    decoder would give one password many spellings.

    Raises:
        BadSyntax: 501 5.5.2 (RFC 4954 section 4). It never shows the octets, which
            may hold a password.

    >>> decode_base64(b"AHVzZXIAcGVuY2ls")
    b'\x00user\x00pencil'
    """
    try:
        decoded = binascii.a2b_base64(octets)
    except binascii.Error:
        decoded = b""
    if binascii.b2a_base64(decoded, newline=False) != octets:
        raise BadSyntax("bad base64", code=501, enhanced="5.5.2")
    return decoded

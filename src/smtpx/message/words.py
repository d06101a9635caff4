r"""Text of header fields and parts: charsets, encoded words, parameters.

Nothing here raises on what a message holds. A charset that is unknown, or that the
octets are not in, is a defect; the text is then made as well as it can be.

>>> decode_words("=?utf-8?q?gr=C3=A5?= =?utf-8?b?IQ==?= ok")
'grå! ok'
>>> parse_parameters("attachment; filename*0*=utf-8''gr%C3%A5; filename*1=.txt")
('attachment', {'filename': 'grå.txt'})
"""

from __future__ import annotations

import binascii
import encodings.aliases
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "MAX_PARAMETERS",
    "decode_base64_leniently",
    "decode_charset",
    "decode_words",
    "parse_parameters",
    "quote_text",
]

MAX_PARAMETERS: Final = 1_000
"""Of one field, segments of RFC 2231 counted one by one; what follows is dropped.

A file name of 255 octets has four segments of 76 octets.
"""

# ----------------------------------------------------------------------------- charsets

# Codecs that decode something else than a charset of mail. Time with punycode and idna
# grows with the square of the length; the escapes warn of what they find.
_NO_CHARSETS: Final = frozenset(
    (
        *("idna", "mbcs", "oem", "punycode", "raw_unicode_escape", "undefined"),
        *("unicode_escape", "base64_codec", "bz2_codec", "hex_codec", "quopri_codec"),
        *("rot_13", "uu_codec", "zlib_codec"),
    )
)
# Only these are looked up: what is looked up in vain the interpreter remembers for
# ever, so messages with made-up names would fill its memory.
_CHARSETS: Final = {
    name: codec
    for codec in {
        *encodings.aliases.aliases.values(),
        *("cp720", "cp737", "cp856", "cp874", "cp875", "cp1006", "koi8_r", "koi8_t"),
        *("koi8_u", "utf_8_sig", "mac_arabic", "mac_croatian", "mac_farsi"),
        "mac_romanian",
    }
    - _NO_CHARSETS
    if len(codec) > 1
    for name in (codec, codec.replace("_", ""))
} | {
    name: codec
    for name, codec in encodings.aliases.aliases.items()
    if codec not in _NO_CHARSETS
}
# What people send as these is windows-1252 and gbk (the Encoding Standard says so too);
# the larger set shows their quotes and dashes instead of controls.
_SUPERSETS: Final = {
    "ascii": "cp1252",
    "latin_1": "cp1252",
    "iso8859_1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "iso8859_9": "cp1254",
    "iso8859_11": "cp874",
    "tis_620": "cp874",
}
_NOT_ALNUM: Final = re.compile(r"[^a-z0-9]+")


def decode_charset(octets: bytes, charset: str) -> tuple[str, str]:
    r"""Decode the octets of a text.

    Args:
        octets: the text.
        charset: its name as the message has it; may be anything.

    Returns:
        The text; and what is wrong, empty if nothing is. If the charset is unknown,
        or the octets are not in it, they are taken for UTF-8 if they are that, else
        for windows-1252.

    >>> decode_charset(b"gr\xe5", "iso-8859-1")
    ('grå', '')
    >>> decode_charset(b"gr\xe5", "x-none")
    ('grå', "unknown charset 'x-none'")
    """
    name = _NOT_ALNUM.sub("_", charset.strip().lower()[:64]).strip("_")
    codec = _CHARSETS.get(name) or _CHARSETS.get(name.replace("_", ""))
    defect = ""
    if codec is None:
        if octets.isascii() and name in {"", "us_ascii", "unknown_8bit", "8bit"}:
            return octets.decode("ascii"), ""
        defect = f"unknown charset {charset[:64]!a}" if name else "8-bit text"
    elif codec == "ascii" and not octets.isascii():
        defect = f"octets that are not in charset {charset[:64]!a}"
    else:
        try:
            return octets.decode(_SUPERSETS.get(codec, codec)), ""
        except (UnicodeError, LookupError):
            defect = f"octets that are not in charset {charset[:64]!a}"
    try:
        return octets.decode(), defect
    except UnicodeDecodeError:
        return octets.decode("cp1252", "replace"), defect


def decode_base64_leniently(octets: bytes) -> tuple[bytes, str]:
    """Decode base64 as mail has it: cut into lines, now and then damaged.

    Args:
        octets: anything; what is not of the alphabet is passed over (RFC 2045 section
            6.8).

    Returns:
        What could be decoded; and what is wrong, empty if nothing is.
    """
    clean = octets.translate(None, b" \t\r\n")
    defect = ""
    kept = clean.translate(None, _NOT_BASE64)
    if len(kept) != len(clean):
        defect = "octets outside of the base64 alphabet"
    end = kept.find(b"=")
    if end >= 0:  # the end, or several encoded texts in a row
        pieces = [piece for piece in kept.split(b"=") if piece]
    else:
        pieces = [kept] if kept else []
    decoded = []
    for piece in pieces:
        whole = piece
        if len(whole) % 4 == 1:  # six bits are no octet
            whole, defect = whole[:-1], defect or "base64 cut short"
        decoded.append(binascii.a2b_base64(whole + b"=" * (-len(whole) % 4)))
    if len(kept) % 4 and not defect:
        defect = "base64 without its padding"
    return b"".join(decoded), defect


_NOT_BASE64: Final = bytes(
    set(range(256))
    - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
)

# ------------------------------------------------------------------------ encoded words

# Lenient: spaces in the text of a word, which many mailers write (RFC 2047 section 2
# forbids them).
_ENCODED_WORD: Final = re.compile(r"=\?([^?\s]{1,80})\?([bBqQ])\?([^?]*)\?=")


def decode_words(text: str) -> str:
    """Decode the encoded words in a text (RFC 2047).

    Args:
        text: on one line; may hold anything.

    Returns:
        The text as meant. What is no encoded word stays as it is written.

    >>> decode_words("=?iso-8859-1?q?a?= b =?utf-8?x?y?=")
    'a b =?utf-8?x?y?='
    """
    if "=?" not in text:
        return text
    out: list[str] = []
    # Lenient: words of one charset that touch are decoded together, as many mailers
    # cut a text in the middle of a character (section 5 forbids it).
    run: list[bytes] = []
    run_charset = ""
    position = 0
    for match in _ENCODED_WORD.finditer(text):
        gap = text[position : match.start()]
        charset = match[1].partition("*")[0].lower()  # "*" and a language (RFC 2231)
        if run and (charset != run_charset or not _is_space(gap)):
            out.append(decode_charset(b"".join(run), run_charset)[0])
            run = []
        # White space between two words is no part of the text (section 6.2).
        if position == 0 or not _is_space(gap):
            out.append(gap)
        run.append(_decode_word(match[2], match[3]))
        run_charset = charset
        position = match.end()
    out.append(decode_charset(b"".join(run), run_charset)[0])
    out.append(text[position:])
    return "".join(out)


def _is_space(text: str) -> bool:
    return not text or text.isspace()


def _decode_word(encoding: str, text: str) -> bytes:
    octets = text.encode("utf-8", "replace")
    if encoding in "bB":
        return decode_base64_leniently(octets)[0]
    return binascii.a2b_qp(octets, header=True)


# --------------------------------------------------------------------------- parameters

_VALUE: Final = re.compile(r'[^;"]*')
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"?', re.DOTALL)
_QUOTED_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)
_SEGMENT: Final = re.compile(r"([^*]+)(?:\*([0-9]{1,4}))?(\*)?", re.ASCII)


def quote_text(text: str) -> str:
    r"""Write text as a quoted string (RFC 5322 section 3.2.4).

    Args:
        text: without control characters; the caller holds to it.

    >>> print(quote_text('a "b"'))
    "a \"b\""
    """
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parse_parameters(text: str) -> tuple[str, dict[str, str]]:
    """Parse a value with parameters, such as that of Content-Type (RFC 2045, RFC 2231).

    Args:
        text: on one line; may hold anything.

    Returns:
        The value in lower case; and its parameters, names in lower case. Of a name that
        comes twice the first counts.
    """
    value = _VALUE.match(text)
    end = value.end() if value is not None else 0
    found: dict[str, str] = {}
    segments: dict[str, dict[int, tuple[str, bool]]] = {}
    for count, (name, content) in enumerate(_cut_parameters(text, end)):
        if count >= MAX_PARAMETERS:
            break
        match = _SEGMENT.fullmatch(name)
        if match is None or (match[2] is None and match[3] is None):
            # Lenient: encoded words in file names, which most mailers write.
            found.setdefault(name, decode_words(content))
        else:
            numbered = segments.setdefault(match[1], {})
            numbered.setdefault(int(match[2] or 0), (content, match[3] is not None))
    for name, numbered in segments.items():
        # The extended form goes before the plain one for old programs.
        found[name] = _join_segments(numbered)
    return text[:end].strip().lower(), found


def _cut_parameters(text: str, position: int) -> Iterator[tuple[str, str]]:
    """Cut names and values, whatever stands between them."""
    while position < len(text):
        position += 1  # the semicolon, or what stands in its place
        equals = text.find("=", position)
        if equals < 0:
            return
        # All that has no value is passed over at once: a search for "=" from each
        # semicolon on would take a minute for a megabyte of semicolons.
        name = text[position:equals].rpartition(";")[2].strip().lower()
        position = equals + 1
        while text[position : position + 1].isspace():
            position += 1
        quoted = _QUOTED.match(text, position)
        if quoted is not None:
            yield name, _QUOTED_PAIR.sub(r"\1", quoted[1])
            position = text.find(";", quoted.end())
        else:
            semicolon = text.find(";", position)
            end = len(text) if semicolon < 0 else semicolon
            yield name, text[position:end].strip()
            position = semicolon
        if position < 0:
            return


def _join_segments(numbered: dict[int, tuple[str, bool]]) -> str:
    """Join the segments of a parameter (RFC 2231 sections 3 and 4.1)."""
    charset = "utf-8"
    octets: list[bytes] = []
    for number in range(len(numbered)):
        content, is_encoded = numbered.get(number, ("", False))
        if number not in numbered:  # one is missing: what follows means nothing
            break
        if number == 0 and is_encoded:
            parts = content.split("'", 2)
            if len(parts) == 3:
                charset, _, content = parts
        # Octets, as unquote_to_bytes fails on text with a surrogate.
        written = content.encode("utf-8", "replace")
        octets.append(unquote_to_bytes(written) if is_encoded else written)
    return decode_charset(b"".join(octets), charset or "utf-8")[0]

"""The GS2 header, with which SCRAM and OAUTHBEARER begin (RFC 5802 section 7)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from smtpx.sasl.mechanism import decode_name, encode_text

__all__ = [
    "Gs2Header",
    "decode_saslname",
    "encode_gs2_header",
    "encode_saslname",
    "take_gs2_header",
]

# gs2-header = gs2-cbind-flag "," [ authzid ] ","
_HEADER = re.compile(
    rb"(?:p=(?P<binding>[A-Za-z0-9.-]+)|(?P<flag>[ny])),(?:a=(?P<name>[^\0,]+))?,"
)
# saslname = 1*(value-safe-char / "=2C" / "=3D")
_SASLNAME = re.compile(rb"(?:[^\0=,]|=2C|=3D)+")


@dataclass(frozen=True, slots=True)
class Gs2Header:
    """What a client says before its message proper.

    Attributes:
        octets: the header itself, with its last comma.
        channel_binding: the type that the client binds the channel with; empty if it
            does not.
        misses_binding: the client could, but thinks that the server cannot: ``y``.
        authorize_as: the identity asked for, empty if none is.
    """

    octets: bytes
    channel_binding: str
    misses_binding: bool
    authorize_as: str


def take_gs2_header(message: bytes) -> tuple[Gs2Header, bytes] | None:
    """Split a client's first message after its header (RFC 5802 section 7).

    Args:
        message: all of it.

    Returns:
        The header and the rest, or None if there is no such header.

    >>> header, rest = take_gs2_header(b"n,a=ursel,n=kurt")
    >>> header.authorize_as, rest
    ('ursel', b'n=kurt')
    """
    match = _HEADER.match(message)
    if match is None:
        return None
    name = match["name"]
    authorize_as = "" if name is None else decode_saslname(name)
    if authorize_as is None:
        return None
    header = Gs2Header(
        octets=match[0],
        channel_binding=(match["binding"] or b"").decode("ascii"),
        misses_binding=match["flag"] == b"y",
        authorize_as=authorize_as,
    )
    return header, message[match.end() :]


def encode_gs2_header(flag: bytes, authorize_as: str) -> bytes:
    """Write a header.

    Args:
        flag: ``n``, ``y``, or ``p=`` and a type of channel binding.
        authorize_as: the identity to act as; empty for none.

    Raises:
        SASLError: the identity cannot be sent.

    >>> encode_gs2_header(b"n", "a,b")
    b'n,a=a=2Cb,'
    """
    name = b""
    if authorize_as:
        name = b"a=" + encode_saslname(authorize_as, "authorize_as name")
    return b"%b,%b," % (flag, name)


def encode_saslname(text: str, what: str) -> bytes:
    """Encode a name so that it holds no comma and no equals sign of its own.

    Args:
        text: not empty.
        what: names it in the error, which never shows it.

    Raises:
        SASLError: it is empty, holds a NUL, or has no encoding.
    """
    octets = encode_text(text, what)
    return octets.replace(b"=", b"=3D").replace(b",", b"=2C")


def decode_saslname(octets: bytes) -> str | None:
    """Decode a name; None if it is none.

    >>> decode_saslname(b"a=2Cb=3D2C")
    'a,b=2C'
    """
    if not _SASLNAME.fullmatch(octets):
        return None
    return decode_name(octets.replace(b"=2C", b",").replace(b"=3D", b"="))

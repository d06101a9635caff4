r"""What the PROXY header tells besides addresses, and its checksum (version 2).

Types and values follow the addresses; one of them is how the client's TLS ended at the
proxy, and one a checksum over the whole header. A client chooses some of them, such as
the name that it asks for; they go into logs and trace fields (RFC 5321 section 4.4), so
what is text holds no line end. Sections of the specification are cited as in
`smtpx.wire.preamble`.

>>> parse_tlvs(ProxyTLV(TLVType.AUTHORITY, b"mx.test").encode(), 0, 10)
(ProxyTLV(type=2, value=b'mx.test'),)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag, unique
from typing import Final

from smtpx.errors import BadProxyHeader
from smtpx.wire.octets import escape_octets, has_line_control

__all__ = [
    "CHECKSUM",
    "ProxyTLS",
    "ProxyTLV",
    "TLVType",
    "check_tlvs",
    "crc32c",
    "find_checksum",
    "parse_tls",
    "parse_tlvs",
    "put_checksum",
    "text_of",
    "value_of",
]

_MAX_UNIQUE_ID: Final = 128


@unique
class TLVType(IntEnum):
    """The types of TLVs that are registered (PROXY section 2.2)."""

    ALPN = 0x01
    AUTHORITY = 0x02
    CRC32C = 0x03
    NOOP = 0x04
    UNIQUE_ID = 0x05
    SSL = 0x20
    SSL_VERSION = 0x21
    SSL_CN = 0x22
    SSL_CIPHER = 0x23
    SSL_SIG_ALG = 0x24
    SSL_KEY_ALG = 0x25
    NETNS = 0x30


class _Client(IntFlag):
    """How the client came to the proxy (PROXY section 2.2.6)."""

    SSL = 0x01
    CERT_CONN = 0x02
    CERT_SESS = 0x04


@dataclass(frozen=True, slots=True)
class ProxyTLV:
    r"""A type and a value, as version 2 carries any number of them.

    Attributes:
        type: 0 to 255; `TLVType` has those that are registered.
        value: at most 65,535 octets.

    >>> ProxyTLV(TLVType.AUTHORITY, b"mx.test").encode()
    b'\x02\x00\x07mx.test'
    """

    type: int
    value: bytes

    def encode(self) -> bytes:
        """Write the type, the length and the value.

        Raises:
            BadProxyHeader: the type or the length does not fit.
        """
        if not 0 <= self.type <= 255 or len(self.value) > 65_535:
            raise BadProxyHeader(
                f"no TLV: type {self.type} with {len(self.value)} octets"
            )
        return bytes([self.type]) + len(self.value).to_bytes(2, "big") + self.value


CHECKSUM: Final = ProxyTLV(TLVType.CRC32C, bytes(4))
"""Among the TLVs of a header it has `ProxyHeader.encode` put the checksum there."""


@dataclass(frozen=True, slots=True)
class ProxyTLS:
    """How the client's TLS ended at the proxy (PROXY section 2.2.6).

    Attributes:
        is_tls: the client came to the proxy over TLS.
        has_certificate: it gave a certificate over this connection.
        has_session_certificate: it gave one over this or an earlier connection of the
            same TLS session.
        verify_code: 0 if it gave a certificate and that was verified.
        tlvs: all that is told besides.

    >>> ProxyTLS(is_tls=True, tlvs=(ProxyTLV(TLVType.SSL_VERSION, b"TLSv1.3"),)).version
    'TLSv1.3'
    """

    is_tls: bool
    has_certificate: bool = False
    has_session_certificate: bool = False
    verify_code: int = 0
    tlvs: tuple[ProxyTLV, ...] = ()

    @property
    def is_verified(self) -> bool:
        """Whether the client gave a certificate, and the proxy found it valid."""
        return self.has_session_certificate and self.verify_code == 0

    @property
    def version(self) -> str | None:
        """As in ``"TLSv1.3"``; None if it is not told."""
        return text_of(self.tlvs, TLVType.SSL_VERSION)

    @property
    def cipher(self) -> str | None:
        """The name of the cipher suite; None if it is not told."""
        return text_of(self.tlvs, TLVType.SSL_CIPHER)

    @property
    def common_name(self) -> str | None:
        """Of the client's certificate; None if it is not told."""
        return text_of(self.tlvs, TLVType.SSL_CN)

    @property
    def signature_algorithm(self) -> str | None:
        """Of the proxy's certificate, as in ``"RSA-SHA256"``; None if not told."""
        return text_of(self.tlvs, TLVType.SSL_SIG_ALG)

    @property
    def key_algorithm(self) -> str | None:
        """Of the key of that, as in ``"RSA2048"``; None if it is not told."""
        return text_of(self.tlvs, TLVType.SSL_KEY_ALG)

    def encode(self) -> bytes:
        """Write the value of the TLV.

        Raises:
            BadProxyHeader: something does not fit.
        """
        client = (
            _Client.SSL * self.is_tls
            | _Client.CERT_CONN * self.has_certificate
            | _Client.CERT_SESS * self.has_session_certificate
        )
        if not 0 <= self.verify_code <= 0xFFFF_FFFF:
            raise BadProxyHeader(f"no verify code: {self.verify_code}")
        return b"".join(
            [
                bytes([client]),
                self.verify_code.to_bytes(4, "big"),
                *(tlv.encode() for tlv in self.tlvs),
            ]
        )


# Who reads these as text gets text that cannot split a line of a log.
_TEXTS: Final = frozenset(
    {
        TLVType.AUTHORITY,
        TLVType.NETNS,
        TLVType.SSL_VERSION,
        TLVType.SSL_CN,
        TLVType.SSL_CIPHER,
        TLVType.SSL_SIG_ALG,
        TLVType.SSL_KEY_ALG,
    }
)


# ------------------------------------------------------------------------- reading


def _tlv_positions(
    octets: bytes, start: int, end: int
) -> Iterator[tuple[int, int, int]]:
    """Give the type of each TLV, where its value begins, and its size.

    Raises:
        BadProxyHeader: the last one is cut.
    """
    while start < end:
        position = start + 3
        size = int.from_bytes(octets[start + 1 : position], "big")
        if position + size > end:
            raise BadProxyHeader("a TLV goes beyond the header")
        yield octets[start], position, size
        start = position + size


def parse_tlvs(octets: bytes, start: int, end: int) -> tuple[ProxyTLV, ...]:
    """Parse what stands between two positions (PROXY section 2.2).

    Raises:
        BadProxyHeader: the last one is cut.
    """
    return tuple(
        ProxyTLV(kind, octets[position : position + size])
        for kind, position, size in _tlv_positions(octets, start, end)
    )


def check_tlvs(tlvs: tuple[ProxyTLV, ...]) -> None:
    """Refuse values that those who ask for them could not be given.

    Raises:
        BadProxyHeader: one is no text, or too long.
    """
    for tlv in tlvs:
        if tlv.type in _TEXTS:
            _decode_text(tlv.value)
        elif tlv.type == TLVType.SSL:
            check_tlvs(parse_tls(tlv.value).tlvs)
        elif tlv.type == TLVType.UNIQUE_ID and len(tlv.value) > _MAX_UNIQUE_ID:
            raise BadProxyHeader(f"a unique id is at most {_MAX_UNIQUE_ID} octets")


def parse_tls(value: bytes) -> ProxyTLS:
    """Parse the value of a TLV of type SSL (PROXY section 2.2.6).

    Raises:
        BadProxyHeader: it is cut.
    """
    if len(value) < 5:
        raise BadProxyHeader("the TLV of TLS has five octets at the least")
    client = _Client(value[0])
    return ProxyTLS(
        is_tls=_Client.SSL in client,
        has_certificate=_Client.CERT_CONN in client,
        has_session_certificate=_Client.CERT_SESS in client,
        verify_code=int.from_bytes(value[1:5], "big"),
        tlvs=parse_tlvs(value, 5, len(value)),
    )


def value_of(tlvs: tuple[ProxyTLV, ...], kind: int) -> bytes | None:
    """Return the value of the first TLV of a type; None if there is none."""
    return next((tlv.value for tlv in tlvs if tlv.type == kind), None)


def text_of(tlvs: tuple[ProxyTLV, ...], kind: TLVType) -> str | None:
    """Return that value as text.

    Raises:
        BadProxyHeader: it is none, or would split a line of a log.
    """
    value = value_of(tlvs, kind)
    return None if value is None else _decode_text(value)


def _decode_text(value: bytes) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise BadProxyHeader(f"not UTF-8: {escape_octets(value)}") from None
    if has_line_control(text):
        # A client chose the name that it asked for, and so a log's next line.
        raise BadProxyHeader(f"control character in a TLV: {escape_octets(value)}")
    return text


# ------------------------------------------------------------------------- checksum

# Castagnoli's polynomial, its bits reversed, as SCTP has it (PROXY section 2.2.3).
_POLYNOMIAL: Final = 0x82F63B78


def _make_table() -> tuple[int, ...]:
    table = []
    for octet in range(256):
        value = octet
        for _ in range(8):
            value = value >> 1 ^ _POLYNOMIAL * (value & 1)
        table.append(value)
    return tuple(table)


_TABLE: Final = _make_table()


def crc32c(octets: bytes) -> int:
    """Compute the checksum of a header (PROXY section 2.2.3).

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    value = 0xFFFF_FFFF
    for octet in octets:
        value = value >> 8 ^ _TABLE[(value ^ octet) & 0xFF]
    return value ^ 0xFFFF_FFFF


def find_checksum(octets: bytes, start: int) -> int | None:
    """Return where the checksum stands in a header whose TLVs begin at ``start``.

    Raises:
        BadProxyHeader: it has not four octets, or there are two.
    """
    found = None
    for kind, position, size in _tlv_positions(octets, start, len(octets)):
        if kind == TLVType.CRC32C:
            if found is not None or size != 4:
                raise BadProxyHeader(
                    "a checksum has four octets, and stands there once"
                )
            found = position
    return found


def put_checksum(octets: bytes, position: int) -> bytes:
    """Return a header with its checksum, which is computed with zeros in its place."""
    before, after = octets[:position], octets[position + 4 :]
    value = crc32c(before + bytes(4) + after)
    return before + value.to_bytes(4, "big") + after

r"""The PROXY header, by which a proxy tells whom it speaks for (HAProxy's, v1 and v2).

It comes before the first octet of the protocol proper, before TLS too; so a server that
speaks first, as SMTP's does (RFC 5321 section 3.1), says nothing until it came. Version
1 is a line of text, version 2 is binary. Everything a server decides by the client's
address rests on it, so the decoder is strict: what does not match the specification to
the octet raises `smtpx.errors.BadProxyHeader`, and the connection is to be dropped.
Whether there is a header is never guessed: a server knows from whom it wants one.

The specification is ``doc/proxy-protocol.txt`` of HAProxy; its sections are cited as
"PROXY section 2.1".

>>> header = ProxyHeader(("192.0.2.1", 40112), ("198.51.100.1", 25), version=1)
>>> header.encode()
b'PROXY TCP4 192.0.2.1 198.51.100.1 40112 25\r\n'
>>> parse_proxy_header(header.encode()) == header
True
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, TypeAlias

from smtpx.errors import BadProxyHeader
from smtpx.wire.octets import escape_octets
from smtpx.wire.proxy_tlvs import (
    ProxyTLS,
    ProxyTLV,
    TLVType,
    check_tlvs,
    find_checksum,
    parse_tls,
    parse_tlvs,
    put_checksum,
    text_of,
    value_of,
)

__all__ = [
    "MAX_V1_OCTETS",
    "MAX_V2_OCTETS",
    "ProxyAddress",
    "ProxyDecoder",
    "ProxyHeader",
    "parse_proxy_header",
]

MAX_V1_OCTETS: Final = 107
"""Of a header of version 1 with its CRLF (PROXY section 2.1)."""

MAX_V2_OCTETS: Final = 16 + 65_535
"""Of one of version 2, as its length has 16 bits (PROXY section 2.2)."""

ProxyAddress: TypeAlias = tuple[str, int] | str
"""As the module ``socket`` has it: IP address and port, or the path of a unix socket
(empty if it has none, NUL first in the abstract namespace)."""

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED_OCTETS: Final = len(_SIGNATURE) + 4
_V1_START: Final = b"PROXY "
# "PROXY UNKNOWN\r\n": no header of any version is shorter.
_LEAST_OCTETS: Final = 15

_IP_BYTES: Final = {1: 4, 2: 16}
_UNIX_BYTES: Final = 108

# PROXY section 2.1: no leading zeros, which some would read as octal. Lenient: an
# IPv6 address may end in an IPv4 address, as inet_ntop writes those that are mapped.
_NUMBER = r"(?:0|[1-9][0-9]{0,4})"
_V1_LINE = re.compile(
    rf"PROXY TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) ({_NUMBER}) ({_NUMBER})"
)


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    r"""What a proxy tells of a connection.

    Attributes:
        source: the client's address. None: the proxy does not tell, or speaks for
            itself, and the real connection counts.
        destination: the address that the client connected to; None likewise.
        version: 1 or 2, of the format.
        is_local: version 2: the proxy speaks for itself, as for a health check.
        is_datagram: version 2: the client's transport is UDP or the like.
        tlvs: version 2: what is told besides.

    Raises:
        BadProxyHeader: only one of the addresses is given, they are of two families,
            or the version has no place for something.

    >>> ProxyHeader(None, None, is_local=True).encode()
    b'\r\n\r\n\x00\r\nQUIT\n \x00\x00\x00'
    >>> ProxyHeader(None, None, version=1).encode()
    b'PROXY UNKNOWN\r\n'
    """

    source: ProxyAddress | None
    destination: ProxyAddress | None
    version: int = 2
    is_local: bool = False
    is_datagram: bool = False
    tlvs: tuple[ProxyTLV, ...] = ()

    def __post_init__(self) -> None:
        if self.version not in {1, 2}:
            raise BadProxyHeader(f"version {self.version}: there are 1 and 2")
        if (self.source is None) is not (self.destination is None):
            raise BadProxyHeader("give both addresses, or none")
        if self.is_local and self.source is not None:
            raise BadProxyHeader("a proxy that speaks for itself gives no addresses")
        if self.is_datagram and self.source is None:
            raise BadProxyHeader("a transport is told with addresses only")
        if self.version == 1 and (self.tlvs or self.is_local or self.is_datagram):
            raise BadProxyHeader("version 1 has addresses only: use version 2")

    def get(self, kind: int) -> bytes | None:
        """Return the value of the first TLV of a type; None if there is none.

        Args:
            kind: 0 to 255.
        """
        return value_of(self.tlvs, kind)

    @property
    def alpn(self) -> bytes | None:
        """What ALPN agreed on between client and proxy; None if it is not told."""
        return self.get(TLVType.ALPN)

    @property
    def authority(self) -> str | None:
        """The host that the client asked the proxy for (SNI); None if not told."""
        return text_of(self.tlvs, TLVType.AUTHORITY)

    @property
    def unique_id(self) -> bytes | None:
        """What the proxy calls the connection, any octets; None if it is not told."""
        return self.get(TLVType.UNIQUE_ID)

    @property
    def namespace(self) -> str | None:
        """The network namespace; None if it is not told."""
        return text_of(self.tlvs, TLVType.NETNS)

    @property
    def tls(self) -> ProxyTLS | None:
        """How the client's TLS ended at the proxy; None if it is not told."""
        value = self.get(TLVType.SSL)
        return None if value is None else parse_tls(value)

    def encode(self) -> bytes:
        """Write the header.

        Raises:
            BadProxyHeader: something does not fit.
        """
        return _encode_v1(self) if self.version == 1 else _encode_v2(self)


# ------------------------------------------------------------------------- encoding


def _encode_v1(header: ProxyHeader) -> bytes:
    source, destination = header.source, header.destination
    if source is None or destination is None:
        return b"PROXY UNKNOWN\r\n"
    if isinstance(source, str) or isinstance(destination, str):
        raise BadProxyHeader("version 1 has no unix sockets: use version 2")
    one, other = _require_pair(source, destination)
    ports = f"{_require_port(source[1])} {_require_port(destination[1])}"
    return f"PROXY TCP{one.version} {_show(one)} {_show(other)} {ports}\r\n".encode()


def _require_pair(
    source: tuple[str, int], destination: tuple[str, int]
) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
    try:
        one, other = ip_address(source[0]), ip_address(destination[0])
    except ValueError as error:
        raise BadProxyHeader(str(error)) from None
    if one.version != other.version:
        raise BadProxyHeader("both addresses are of IPv4, or both of IPv6")
    return one, other


def _require_port(port: int) -> int:
    if not 0 <= port <= 65_535:
        raise BadProxyHeader(f"no port: {port}")
    return port


def _show(ip: IPv4Address | IPv6Address) -> str:
    """Write an address the same on every Python, without its zone."""
    if isinstance(ip, IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return f"::ffff:{ip.ipv4_mapped}"
    return str(ip).partition("%")[0]


def _encode_v2(header: ProxyHeader) -> bytes:
    family, addresses = _encode_addresses(header.source, header.destination)
    transport = 0 if family == 0 else 2 if header.is_datagram else 1
    tlvs = b"".join(tlv.encode() for tlv in header.tlvs)
    size = len(addresses) + len(tlvs)
    if size > 65_535:
        raise BadProxyHeader(f"{size} octets of addresses and TLVs are over 65535")
    octets = b"".join(
        [
            _SIGNATURE,
            bytes([0x20 if header.is_local else 0x21, family << 4 | transport]),
            size.to_bytes(2, "big"),
            addresses,
            tlvs,
        ]
    )
    position = find_checksum(octets, _FIXED_OCTETS + len(addresses))
    return octets if position is None else put_checksum(octets, position)


def _encode_addresses(
    source: ProxyAddress | None, destination: ProxyAddress | None
) -> tuple[int, bytes]:
    """Write the address block; return its family and it."""
    if source is None or destination is None:
        return 0, b""
    if isinstance(source, str) and isinstance(destination, str):
        return 3, _encode_path(source) + _encode_path(destination)
    if isinstance(source, str) or isinstance(destination, str):
        raise BadProxyHeader("both addresses are of unix sockets, or none is")
    one, other = _require_pair(source, destination)
    ports = [
        _require_port(address[1]).to_bytes(2, "big")
        for address in (source, destination)
    ]
    return (1 if one.version == 4 else 2), b"".join([one.packed, other.packed, *ports])


def _encode_path(path: str) -> bytes:
    octets = path.encode("utf-8", "surrogateescape")
    if len(octets) > _UNIX_BYTES:
        raise BadProxyHeader(f"a path of {len(octets)} octets is over {_UNIX_BYTES}")
    return octets.ljust(_UNIX_BYTES, b"\0")


# -------------------------------------------------------------------------- decoding


class ProxyDecoder:
    r"""Takes a header off the begin of a connection, whatever the segmentation.

    Args:
        max_octets: of a header of version 2. One of version 1 has 107 at the most.

    Attributes:
        header: what was told; None before the whole of it was fed.

    >>> decoder = ProxyDecoder()
    >>> decoder.feed(b"PROXY UNKN")
    >>> decoder.header, decoder.missing
    (None, 5)
    >>> decoder.feed(b"OWN\r\nEHLO ")
    >>> decoder.header.source, decoder.rest
    (None, b'EHLO ')
    """

    __slots__ = ("_buffer", "_max_octets", "_size", "header")

    def __init__(self, max_octets: int = MAX_V2_OCTETS) -> None:
        self._max_octets = max_octets
        self._buffer = bytearray()
        # Of the header, where its fixed part has told.
        self._size: int | None = None
        self.header: ProxyHeader | None = None

    @property
    def missing(self) -> int:
        """How many octets are still to come at the least.

        Who reads no more than these reads nothing that is not the header's: what is
        behind it may belong to TLS. It is 0 when the header is there.
        """
        if self.header is not None:
            return 0
        have = len(self._buffer)
        if self._size is not None:
            return self._size - have
        if self._buffer.startswith(_SIGNATURE):
            return _FIXED_OCTETS - have
        return max(_LEAST_OCTETS - have, 1 if self._buffer.endswith(b"\r") else 2)

    @property
    def rest(self) -> bytes:
        """What was fed and is not part of the header."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add what was received.

        Raises:
            BadProxyHeader: it is no header: drop the connection.
        """
        searched = max(0, len(self._buffer) - 1)
        self._buffer += data
        if self.header is not None:
            return
        if self._starts_with(_SIGNATURE):
            self._take_v2()
        elif self._starts_with(_V1_START):
            self._take_v1(searched)
        else:
            shown = escape_octets(bytes(self._buffer[:_LEAST_OCTETS]))
            raise BadProxyHeader(f"no PROXY header: it begins with {shown}")

    def _starts_with(self, start: bytes) -> bool:
        """Whether what came may be, as far as it goes."""
        return start.startswith(self._buffer[: len(start)])

    def _take_v1(self, searched: int) -> None:
        end = self._buffer.find(b"\r\n", searched, MAX_V1_OCTETS)
        if end >= 0:
            self._take(end + 2, _parse_v1(bytes(self._buffer[:end])))
        elif len(self._buffer) >= MAX_V1_OCTETS:
            raise BadProxyHeader(f"no line end within {MAX_V1_OCTETS} octets")

    def _take_v2(self) -> None:
        buffer = self._buffer
        if self._size is None:
            if len(buffer) < _FIXED_OCTETS:
                return
            self._size = _FIXED_OCTETS + int.from_bytes(buffer[14:16], "big")
            if self._size > self._max_octets:
                raise BadProxyHeader(
                    f"a header of {self._size} octets is over {self._max_octets}"
                )
        if len(buffer) >= self._size:
            self._take(self._size, _parse_v2(bytes(buffer[: self._size])))

    def _take(self, size: int, header: ProxyHeader) -> None:
        del self._buffer[:size]
        self.header = header


def parse_proxy_header(octets: bytes) -> ProxyHeader:
    r"""Parse a header of either version.

    Args:
        octets: all of it, and nothing else.

    Raises:
        BadProxyHeader: it is none.

    >>> parse_proxy_header(b"PROXY TCP4 192.0.2.1 192.0.2.2 1024 25\r\n").source
    ('192.0.2.1', 1024)
    """
    decoder = ProxyDecoder()
    decoder.feed(octets)
    if decoder.header is None or decoder.rest:
        raise BadProxyHeader(f"{len(octets)} octets are not one header")
    return decoder.header


def _parse_v1(line: bytes) -> ProxyHeader:
    """Parse a line without its CRLF (PROXY section 2.1)."""
    text = line.decode("latin-1")
    if text == "PROXY UNKNOWN" or text.startswith("PROXY UNKNOWN "):
        # What stands behind it must be ignored.
        return ProxyHeader(None, None, version=1)
    match = _V1_LINE.fullmatch(text)
    if match is None:
        raise BadProxyHeader(f"malformed line: {escape_octets(line)}")
    family, *hosts, source_port, destination_port = match.groups()
    kind = IPv4Address if family == "4" else IPv6Address
    try:
        source, destination = (_show(kind(host)) for host in hosts)
    except ValueError:
        raise BadProxyHeader(f"malformed address: {escape_octets(line)}") from None
    return ProxyHeader(
        (source, _require_port(int(source_port))),
        (destination, _require_port(int(destination_port))),
        version=1,
    )


def _parse_v2(octets: bytes) -> ProxyHeader:
    """Parse a whole header (PROXY section 2.2)."""
    version, command = octets[12] >> 4, octets[12] & 0xF
    family, transport = octets[13] >> 4, octets[13] & 0xF
    if version != 2 or command > 1:
        raise BadProxyHeader(f"unknown version and command: 0x{octets[12]:02x}")
    if command == 0:
        # The family is ignored, so nobody knows where TLVs would begin.
        return ProxyHeader(None, None, is_local=True)
    if family > 3 or transport > 2:
        raise BadProxyHeader(f"unknown family and protocol: 0x{octets[13]:02x}")
    source, destination, start = _parse_addresses(octets, family)
    if transport == 0:
        source = destination = None
    tlvs = parse_tlvs(octets, start, len(octets))
    check_tlvs(tlvs)
    position = find_checksum(octets, start)
    if position is not None and put_checksum(octets, position) != octets:
        raise BadProxyHeader("the checksum is wrong")
    is_datagram = transport == 2 and family != 0
    return ProxyHeader(source, destination, is_datagram=is_datagram, tlvs=tlvs)


def _parse_addresses(
    octets: bytes, family: int
) -> tuple[ProxyAddress | None, ProxyAddress | None, int]:
    """Parse the address block; return where it ends too."""
    if family == 0:
        return None, None, _FIXED_OCTETS
    size = _UNIX_BYTES if family == 3 else _IP_BYTES[family]
    middle = _FIXED_OCTETS + size
    end = middle + size
    one, other = octets[_FIXED_OCTETS:middle], octets[middle:end]
    if family == 3:
        _require_length(octets, end)
        return _parse_path(one), _parse_path(other), end
    _require_length(octets, end + 4)
    ports = octets[end : end + 2], octets[end + 2 : end + 4]
    source, destination = (
        (_show(ip_address(host)), int.from_bytes(port, "big"))
        for host, port in zip((one, other), ports, strict=True)
    )
    return source, destination, end + 4


def _require_length(octets: bytes, end: int) -> None:
    if len(octets) < end:
        raise BadProxyHeader(f"{len(octets)} octets are too few for the addresses")


def _parse_path(octets: bytes) -> str:
    # In Linux's abstract namespace a NUL comes first, and the name is behind it.
    end = octets.find(b"\0", 1)
    path = octets if end < 0 else octets[:end]
    return "" if path == b"\0" else path.decode("utf-8", "surrogateescape")

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from socket import SOCK_STREAM
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proxyprotocol.result import (
    ProxyResultIPv4,
    ProxyResultIPv6,
    ProxyResultLocal,
    ProxyResultUnix,
    ProxyResultUnknown,
    is_ipv4,
    is_ipv6,
    is_unix,
)
from proxyprotocol.tlv import ProxyProtocolSSLTLV, ProxyProtocolTLV
from proxyprotocol.v1 import ProxyProtocolV1
from proxyprotocol.v2 import ProxyProtocolV2

from smtpx.errors import BadProxyHeader
from smtpx.wire.preamble import (
    MAX_V1_OCTETS,
    MAX_V2_OCTETS,
    ProxyAddress,
    ProxyDecoder,
    ProxyHeader,
    parse_proxy_header,
)
from smtpx.wire.proxy_tlvs import CHECKSUM, ProxyTLS, ProxyTLV, TLVType, crc32c

if TYPE_CHECKING:
    from proxyprotocol.result import ProxyResult

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
SOURCE = ("192.0.2.1", 40112)
DESTINATION = ("198.51.100.1", 25)
V1 = b"PROXY TCP4 192.0.2.1 198.51.100.1 40112 25\r\n"


def v2(block: bytes, *, command: int = 0x21, family: int = 0x11) -> bytes:
    """Write a header by hand."""
    size = len(block).to_bytes(2, "big")
    return SIGNATURE + bytes([command, family]) + size + block


IPV4_BLOCK = bytes([192, 0, 2, 1, 198, 51, 100, 1]) + b"\x9c\xb0\x00\x19"
TLS = ProxyTLS(
    is_tls=True,
    has_certificate=True,
    has_session_certificate=True,
    tlvs=(
        ProxyTLV(TLVType.SSL_VERSION, b"TLSv1.3"),
        ProxyTLV(TLVType.SSL_CN, "bj\u00f6rn".encode()),
        ProxyTLV(TLVType.SSL_CIPHER, b"TLS_AES_256_GCM_SHA384"),
        ProxyTLV(TLVType.SSL_SIG_ALG, b"RSA-SHA256"),
        ProxyTLV(TLVType.SSL_KEY_ALG, b"RSA2048"),
    ),
)
FULL = ProxyHeader(
    SOURCE,
    DESTINATION,
    tlvs=(
        ProxyTLV(TLVType.ALPN, b"smtp"),
        ProxyTLV(TLVType.AUTHORITY, b"mx.example.com"),
        CHECKSUM,
        ProxyTLV(TLVType.NOOP, b"\0\0\0"),
        ProxyTLV(TLVType.UNIQUE_ID, bytes(range(128))),
        ProxyTLV(TLVType.SSL, TLS.encode()),
        ProxyTLV(TLVType.NETNS, b"blue"),
        ProxyTLV(0xE0, b"our own"),
    ),
)

# --- Version 1. ---


@pytest.mark.parametrize(
    ("line", "source", "destination"),
    [
        (V1, SOURCE, DESTINATION),
        (
            b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n",
            ("255.255.255.255", 65_535),
            ("0.0.0.0", 0),
        ),
        (
            b"PROXY TCP6 2001:DB8::1 ::1 1 2\r\n",
            ("2001:db8::1", 1),
            ("::1", 2),
        ),
        (
            b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:202 1 2\r\n",
            ("::ffff:192.0.2.1", 1),
            ("::ffff:192.0.2.2", 2),
        ),
        (b"PROXY UNKNOWN\r\n", None, None),
        (b"PROXY UNKNOWN \r\n", None, None),
        (b"PROXY UNKNOWN anything \xff\0 at all\r\n", None, None),
    ],
)
def test_version_1(
    line: bytes, source: ProxyAddress | None, destination: ProxyAddress | None
) -> None:
    assert parse_proxy_header(line) == ProxyHeader(source, destination, version=1)


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 192.0.2.1 198.51.100.1 40112\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 40112 25 \r\n",
        b"PROXY TCP4  192.0.2.1 198.51.100.1 40112 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 40112 25 x\r\n",
        b"PROXY TCP4 192.0.2.01 198.51.100.1 40112 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.256 40112 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 040112 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 65536\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 -1 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 \xb2 25\r\n",
        b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n",
        b"PROXY TCP6 2001:db8:::1 ::1 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY TCP5 192.0.2.1 198.51.100.1 1 2\r\n",
        b"PROXY tcp4 192.0.2.1 198.51.100.1 1 2\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY TCP4\t192.0.2.1 198.51.100.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n\r\n",
        b"PROXY          \r\n",
        b"PROXY TCP4 192.0.2.1\r\n 198.51.100.1 1 2\r\n",
    ],
)
def test_version_1_is_strict(line: bytes) -> None:
    with pytest.raises(BadProxyHeader):
        parse_proxy_header(line)


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\0\n"])
def test_only_crlf_ends_version_1(line_end: bytes) -> None:
    decoder = ProxyDecoder()
    decoder.feed(V1[:-2] + line_end)
    assert decoder.header is None
    with pytest.raises(BadProxyHeader):
        decoder.feed(b"EHLO " + b"x" * MAX_V1_OCTETS)


def test_version_1_has_107_octets_at_most() -> None:
    start = b"PROXY UNKNOWN "
    longest = start + b"x" * (MAX_V1_OCTETS - len(start) - 2) + b"\r\n"
    assert len(longest) == 107
    assert parse_proxy_header(longest).source is None
    with pytest.raises(BadProxyHeader, match="107"):
        parse_proxy_header(longest[:-2] + b"x\r\n")


def test_version_1_is_given_up_at_107_octets() -> None:
    decoder = ProxyDecoder()
    decoder.feed(b"PROXY UNKNOWN ".ljust(MAX_V1_OCTETS - 1, b"x"))
    with pytest.raises(BadProxyHeader, match="107"):
        decoder.feed(b"x")


@pytest.mark.parametrize("step", [1, 1_000])
def test_version_1_without_an_end(step: int) -> None:
    decoder = ProxyDecoder()
    fed = 0

    def feed_forever() -> None:
        nonlocal fed
        decoder.feed(b"PROXY ")
        while True:
            decoder.feed(b"U" * step)
            fed += step

    with pytest.raises(BadProxyHeader):
        feed_forever()
    assert fed < MAX_V1_OCTETS


# --- Version 2. ---


def test_version_2() -> None:
    assert parse_proxy_header(v2(IPV4_BLOCK)) == ProxyHeader(SOURCE, DESTINATION)
    assert ProxyHeader(SOURCE, DESTINATION).encode() == v2(IPV4_BLOCK)


def test_everything_that_is_told() -> None:
    header = parse_proxy_header(FULL.encode())
    assert header.source == SOURCE
    assert header.destination == DESTINATION
    assert header.alpn == b"smtp"
    assert header.authority == "mx.example.com"
    assert header.unique_id == bytes(range(128))
    assert header.namespace == "blue"
    assert header.get(0xE0) == b"our own"
    assert header.get(0xE1) is None
    tls = header.tls
    assert tls == TLS
    assert (tls.version, tls.cipher) == ("TLSv1.3", "TLS_AES_256_GCM_SHA384")
    assert tls.common_name == "bj\u00f6rn"
    assert (tls.signature_algorithm, tls.key_algorithm) == ("RSA-SHA256", "RSA2048")
    assert tls.is_verified
    # But for the checksum, which was zeros before it was computed.
    assert [one.type for one in header.tlvs] == [one.type for one in FULL.tlvs]
    assert header.get(TLVType.CRC32C) != bytes(4)
    assert header.encode() == FULL.encode()


def test_what_is_not_told() -> None:
    header = parse_proxy_header(v2(IPV4_BLOCK))
    assert (header.alpn, header.authority, header.unique_id) == (None, None, None)
    assert (header.namespace, header.tls) == (None, None)
    tls = ProxyTLS(is_tls=True)
    assert (tls.version, tls.cipher, tls.common_name) == (None, None, None)
    assert (tls.signature_algorithm, tls.key_algorithm) == (None, None)


@pytest.mark.parametrize(
    ("tls", "is_verified"),
    [
        (ProxyTLS(is_tls=True), False),  # 0 although there is no certificate
        (ProxyTLS(is_tls=True, has_session_certificate=True), True),
        (
            ProxyTLS(is_tls=True, has_session_certificate=True, verify_code=1),
            False,
        ),
        (ProxyTLS(is_tls=False), False),
    ],
)
def test_verified_is_who_gave_a_certificate(tls: ProxyTLS, is_verified: bool) -> None:
    header = ProxyHeader(
        SOURCE, DESTINATION, tlvs=(ProxyTLV(TLVType.SSL, tls.encode()),)
    )
    decoded = parse_proxy_header(header.encode()).tls
    assert decoded == tls
    assert decoded.is_verified is is_verified


@pytest.mark.parametrize("block", [b"", IPV4_BLOCK, b"\xff\xff", b"\1\0\0" * 100])
@pytest.mark.parametrize("family", [0x00, 0x11, 0x7F])
def test_local_says_nothing(block: bytes, family: int) -> None:
    header = parse_proxy_header(v2(block, command=0x20, family=family))
    assert header == ProxyHeader(None, None, is_local=True)


@pytest.mark.parametrize("family", [0x00, 0x01, 0x02])
def test_unknown_family_says_no_address(family: int) -> None:
    header = parse_proxy_header(v2(b"\x02\0\1x", family=family))
    assert header == ProxyHeader(None, None, tlvs=(ProxyTLV(TLVType.AUTHORITY, b"x"),))


@pytest.mark.parametrize(("family", "size"), [(0x10, 12), (0x20, 36), (0x30, 216)])
def test_unknown_transport_says_no_address(family: int, size: int) -> None:
    header = parse_proxy_header(v2(b"\1" * size + b"\x02\0\1x", family=family))
    assert header.source is None
    assert header.authority == "x"


def test_datagram() -> None:
    header = parse_proxy_header(v2(IPV4_BLOCK, family=0x12))
    assert header == ProxyHeader(SOURCE, DESTINATION, is_datagram=True)
    assert header.encode() == v2(IPV4_BLOCK, family=0x12)


@pytest.mark.parametrize(
    ("path", "octets"),
    [
        ("/run/smtp", b"/run/smtp"),
        ("", b""),
        ("\0abstract", b"\0abstract"),
        ("x" * 108, b"x" * 108),
        ("/\udcff", b"/\xff"),
    ],
)
def test_unix_sockets(path: str, octets: bytes) -> None:
    block = octets.ljust(108, b"\0") + b"/d".ljust(108, b"\0")
    assert parse_proxy_header(v2(block, family=0x31)) == ProxyHeader(path, "/d")
    assert ProxyHeader(path, "/d").encode() == v2(block, family=0x31)


@pytest.mark.parametrize(
    "octets",
    [
        v2(IPV4_BLOCK, command=0x11),  # version 1 in binary
        v2(IPV4_BLOCK, command=0x31),
        v2(IPV4_BLOCK, command=0x22),
        v2(IPV4_BLOCK, command=0x2F),
        v2(IPV4_BLOCK, family=0x41),
        v2(IPV4_BLOCK, family=0x13),
        v2(IPV4_BLOCK[:-1]),
        v2(b""),
        v2(bytes(35), family=0x21),
        v2(bytes(215), family=0x31),
        # TLVs that are cut.
        v2(IPV4_BLOCK + b"\x02"),
        v2(IPV4_BLOCK + b"\x02\0"),
        v2(IPV4_BLOCK + b"\x02\0\1"),
        v2(IPV4_BLOCK + b"\x02\0\3xx"),
        v2(IPV4_BLOCK + b"\x02\0\1x\x04"),
        # Text that is none, or would split the line of a log.
        v2(IPV4_BLOCK + b"\x02\0\1\xff"),
        v2(IPV4_BLOCK + b"\x02\0\3a\nb"),
        v2(IPV4_BLOCK + b"\x30\0\3a\rb"),
        v2(IPV4_BLOCK + b"\x20\0\x0c\1\0\0\0\0\x22\0\4\r\nXY"),
        # TLS.
        v2(IPV4_BLOCK + b"\x20\0\4\1\0\0\0"),
        v2(IPV4_BLOCK + b"\x20\0\7\1\0\0\0\0\x21\0"),
        # A unique id of 129 octets.
        v2(IPV4_BLOCK + b"\x05\0\x81" + bytes(129)),
        # A checksum of five octets, of three, and two of them.
        v2(IPV4_BLOCK + b"\x03\0\5" + bytes(5)),
        v2(IPV4_BLOCK + b"\x03\0\3" + bytes(3)),
        v2(IPV4_BLOCK + (b"\x03\0\4" + bytes(4)) * 2),
    ],
)
def test_version_2_is_strict(octets: bytes) -> None:
    with pytest.raises(BadProxyHeader):
        parse_proxy_header(octets)


def test_any_changed_octet_breaks_the_checksum() -> None:
    octets = FULL.encode()
    assert parse_proxy_header(octets)
    for position in range(16, len(octets)):
        changed = bytearray(octets)
        changed[position] ^= 0x01
        with pytest.raises(BadProxyHeader):
            parse_proxy_header(bytes(changed))


def test_checksum_of_known_octets() -> None:
    # The specification of iSCSI has these.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


# --- Any segmentation. ---


@pytest.mark.parametrize(
    "header",
    [
        ProxyHeader(None, None, version=1),
        ProxyHeader(SOURCE, DESTINATION, version=1),
        ProxyHeader(("2001:db8::1", 1), ("::1", 2), version=1),
        ProxyHeader(None, None, is_local=True),
        ProxyHeader(None, None),
        ProxyHeader("/a", "/b"),
        FULL,
    ],
)
def test_octet_by_octet_and_at_every_split(header: ProxyHeader) -> None:
    octets = header.encode()
    expected = parse_proxy_header(octets)
    behind = b"EHLO client.test\r\n"
    for split in range(len(octets) + len(behind) + 1):
        decoder = ProxyDecoder()
        decoder.feed((octets + behind)[:split])
        assert (decoder.header is not None) is (split >= len(octets))
        decoder.feed((octets + behind)[split:])
        assert decoder.header == expected
        assert decoder.rest == behind
    decoder = ProxyDecoder()
    for position in range(len(octets)):
        assert decoder.header is None
        assert 1 <= decoder.missing <= len(octets) - position
        decoder.feed(octets[position : position + 1])
    assert decoder.header == expected
    assert decoder.missing == 0
    decoder.feed(behind)
    assert decoder.rest == behind


@pytest.mark.parametrize("octets", [V1, FULL.encode(), b"PROXY UNKNOWN\r\n"])
def test_whoever_reads_what_is_missing_reads_no_more(octets: bytes) -> None:
    decoder = ProxyDecoder()
    position = reads = 0
    while decoder.missing:
        end = position + decoder.missing
        decoder.feed(octets[position:end])
        position, reads = end, reads + 1
    assert position == len(octets)
    assert decoder.rest == b""
    assert reads <= 25


@pytest.mark.parametrize(
    "octets",
    [
        b"E",
        b"EHLO client.test\r\n",
        b"\x16\x03\x01",
        b"PROXX",
        b"proxy TCP4",
        b"PROXY\r\n",
        b"\r\n\r\n\0\r\nQUIT\r",
        b"\r\nx",
        b"\n",
    ],
)
def test_what_is_no_header_is_known_at_once(octets: bytes) -> None:
    with pytest.raises(BadProxyHeader):
        ProxyDecoder().feed(octets)


@pytest.mark.parametrize("octets", [V1[:-1], V1 + b"x", b"", v2(IPV4_BLOCK)[:-1]])
def test_parse_takes_one_whole_header(octets: bytes) -> None:
    with pytest.raises(BadProxyHeader):
        parse_proxy_header(octets)


@pytest.mark.parametrize("most", [16 + 12, MAX_V2_OCTETS])
def test_version_2_has_a_limit(most: int) -> None:
    padding = most - 16 - 12
    tlvs = () if not padding else (ProxyTLV(TLVType.NOOP, bytes(padding - 3)),)
    header = ProxyHeader(SOURCE, DESTINATION, tlvs=tlvs)
    octets = header.encode()
    assert len(octets) == most
    decoder = ProxyDecoder(max_octets=most)
    decoder.feed(octets)
    assert decoder.header == header
    with pytest.raises(BadProxyHeader, match=f"over {most - 1}"):
        ProxyDecoder(max_octets=most - 1).feed(octets[:16])


# --- Encoding. ---


@pytest.mark.parametrize(
    "make",
    [
        lambda: ProxyHeader(SOURCE, None),
        lambda: ProxyHeader(None, DESTINATION),
        lambda: ProxyHeader(SOURCE, DESTINATION, version=3),
        lambda: ProxyHeader(SOURCE, DESTINATION, is_local=True),
        lambda: ProxyHeader(None, None, is_datagram=True),
        lambda: ProxyHeader(None, None, version=1, is_local=True),
        lambda: ProxyHeader(SOURCE, DESTINATION, version=1, tlvs=(CHECKSUM,)),
        lambda: ProxyHeader(SOURCE, DESTINATION, version=1, is_datagram=True),
        lambda: ProxyHeader("/a", "/b", version=1).encode(),
        lambda: ProxyHeader("/a", DESTINATION).encode(),
        lambda: ProxyHeader("/a", DESTINATION, version=1).encode(),
        lambda: ProxyHeader(SOURCE, "/b").encode(),
        lambda: ProxyHeader(SOURCE, ("::1", 25)).encode(),
        lambda: ProxyHeader(SOURCE, ("::1", 25), version=1).encode(),
        lambda: ProxyHeader(("mx.test\r\nRSET", 1), DESTINATION, version=1).encode(),
        lambda: ProxyHeader(("mx.test", 1), DESTINATION).encode(),
        lambda: ProxyHeader(("192.0.2.1", 65_536), DESTINATION).encode(),
        lambda: ProxyHeader(("192.0.2.1", -1), DESTINATION, version=1).encode(),
        lambda: ProxyHeader("x" * 109, "/b").encode(),
        lambda: ProxyTLV(256, b"").encode(),
        lambda: ProxyTLV(-1, b"").encode(),
        lambda: ProxyTLV(4, bytes(65_536)).encode(),
        lambda: ProxyTLS(is_tls=True, verify_code=2**32).encode(),
        lambda: ProxyHeader(
            SOURCE, DESTINATION, tlvs=(ProxyTLV(TLVType.NOOP, bytes(65_535)),)
        ).encode(),
        lambda: ProxyHeader(SOURCE, DESTINATION, tlvs=(CHECKSUM, CHECKSUM)).encode(),
    ],
)
def test_what_cannot_be_written(make: object) -> None:
    assert callable(make)
    with pytest.raises(BadProxyHeader):
        make()


def test_zones_are_not_told() -> None:
    header = ProxyHeader(("fe80::1%eth0", 1), ("fe80::2", 2), version=1)
    assert header.encode() == b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n"


# --- Together with the oracle. ---

PORTS = st.integers(0, 65_535)
IPV4 = st.tuples(st.ip_addresses(v=4), PORTS)
IPV6 = st.tuples(st.ip_addresses(v=6), PORTS)
PAIRS = st.one_of(st.tuples(IPV4, IPV4), st.tuples(IPV6, IPV6))
VALUES = st.binary(max_size=50)
# Those that carry text, a checksum or more TLVs have rules of their own.
FREE_TYPES = st.sampled_from([0x01, 0x04, 0x05, 0x06, 0x1F, 0x31, 0xE0, 0xFF])


def theirs(result: ProxyResult) -> tuple[ProxyAddress, ProxyAddress] | None:
    """Read the oracle's result as we write it."""
    if is_ipv4(result) or is_ipv6(result):
        source, destination = result.source, result.dest
        return (show(source[0]), source[1]), (show(destination[0]), destination[1])
    if is_unix(result):
        return result.source, result.dest
    return None


def show(ip: IPv4Address | IPv6Address) -> str:
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return str(ip) if mapped is None else f"::ffff:{mapped}"


@given(PAIRS)
def test_oracle_reads_version_1(pair: tuple[tuple[Any, int], tuple[Any, int]]) -> None:
    (source, one), (destination, other) = pair
    header = ProxyHeader((show(source), one), (show(destination), other), version=1)
    assert theirs(ProxyProtocolV1().unpack(header.encode())) == (
        header.source,
        header.destination,
    )
    assert parse_proxy_header(header.encode()) == header


@given(PAIRS, st.dictionaries(FREE_TYPES, VALUES), st.booleans())
def test_oracle_reads_version_2(
    pair: tuple[tuple[Any, int], tuple[Any, int]],
    values: dict[int, bytes],
    is_checked: bool,
) -> None:
    (source, one), (destination, other) = pair
    tlvs = [ProxyTLV(*item) for item in values.items()]
    if is_checked:
        tlvs.append(CHECKSUM)
    header = ProxyHeader(
        (show(source), one), (show(destination), other), tlvs=tuple(tlvs)
    )
    octets = header.encode()
    result = ProxyProtocolV2().unpack(octets)
    assert theirs(result) == (header.source, header.destination)
    assert values.items() <= dict(result.tlv).items()
    assert (result.tlv.crc32c is not None) is is_checked
    decoded = parse_proxy_header(octets)
    assert decoded.encode() == octets
    assert (decoded.source, decoded.destination) == theirs(result)
    assert [one.type for one in decoded.tlvs] == [one.type for one in header.tlvs]


@given(
    PAIRS,
    st.binary(max_size=128),
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"])),
)
def test_we_read_what_the_oracle_writes(
    pair: tuple[tuple[Any, int], tuple[Any, int]], unique_id: bytes, name: str
) -> None:
    source, destination = pair
    ssl = ProxyProtocolSSLTLV(
        has_ssl=True, has_cert_sess=True, verified=True, version="TLSv1.3", cn=name
    )
    tlv = ProxyProtocolTLV(authority=name, unique_id=unique_id, ssl=ssl, netns=name)
    kind = ProxyResultIPv4 if source[0].version == 4 else ProxyResultIPv6
    result = kind(source, destination, protocol=SOCK_STREAM, tlv=tlv)
    header = parse_proxy_header(ProxyProtocolV2().pack(result))
    assert (header.source, header.destination) == theirs(result)
    assert (header.authority, header.namespace) == (name, name)
    assert header.unique_id == unique_id
    assert header.tls is not None
    assert (header.tls.is_tls, header.tls.is_verified) == (True, True)
    assert (header.tls.version, header.tls.common_name) == ("TLSv1.3", name)
    line = ProxyProtocolV1().pack(kind(source, destination))
    assert parse_proxy_header(line).source == header.source


def test_oracle_on_what_has_no_ip_address() -> None:
    local = ProxyProtocolV2().pack(ProxyResultLocal())
    assert parse_proxy_header(local) == ProxyHeader(None, None, is_local=True)
    unknown = ProxyProtocolV2().pack(ProxyResultUnknown())
    assert parse_proxy_header(unknown) == ProxyHeader(None, None)
    unix = ProxyProtocolV2().pack(ProxyResultUnix("/a", "/b", protocol=SOCK_STREAM))
    assert parse_proxy_header(unix) == ProxyHeader("/a", "/b")
    assert theirs(ProxyProtocolV2().unpack(ProxyHeader("/a", "/b").encode())) == (
        "/a",
        "/b",
    )


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_octets_are_a_header_or_an_error(octets: bytes, split: int) -> None:
    for start in (b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"):
        data = start + octets
        outcomes: list[tuple[ProxyHeader | None, bytes]] = []
        for pieces in ([data], [data[:split], data[split:]]):
            decoder = ProxyDecoder()
            try:
                for piece in pieces:
                    decoder.feed(piece)
            except BadProxyHeader:
                outcomes.append((None, b""))
            else:
                outcomes.append((decoder.header, decoder.rest))
        assert outcomes[0] == outcomes[1]

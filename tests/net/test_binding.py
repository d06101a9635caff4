"""Channel bindings: certificates of every kind, and both ends of real handshakes."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import trustme
from asn1crypto.x509 import Certificate as OtherCertificate  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from smtpx.net.binding import (
    client_bindings,
    hash_end_point,
    own_certificates,
    server_bindings,
)
from smtpx.net.tls import TLSInfo

if TYPE_CHECKING:
    from collections.abc import Callable

END_POINT = "tls-server-end-point"
RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
PSS = padding.PSS(padding.MGF1(hashes.SHA256()), 32)


def certificate(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
    algorithm: hashes.HashAlgorithm | None,
    *,
    is_pss: bool = False,
) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.test")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    signed = builder.sign(
        key,
        algorithm,  # type: ignore[arg-type]
        rsa_padding=padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
        if is_pss and algorithm is not None
        else None,
    )
    return signed.public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("hashing", "name"),
    [
        (hashes.SHA224(), "sha224"),
        (hashes.SHA256(), "sha256"),
        (hashes.SHA384(), "sha384"),
        (hashes.SHA512(), "sha512"),
    ],
)
def test_hash_is_that_of_the_signature(
    hashing: hashes.HashAlgorithm, name: str
) -> None:
    for data in (
        certificate(RSA_KEY, hashing),
        certificate(RSA_KEY, hashing, is_pss=True),
        certificate(EC_KEY, hashing),
    ):
        assert OtherCertificate.load(data).hash_algo == name
        assert hash_end_point(data) == hashlib.new(name, data).digest()


def der(tag: int, contents: bytes) -> bytes:
    assert len(contents) < 128
    return bytes((tag, len(contents))) + contents


def made_up(identifier: str, parameters: bytes = b"") -> bytes:
    """Make what has the shape of a certificate, signed in a way of its own."""
    algorithm = der(0x30, der(0x06, bytes.fromhex(identifier)) + parameters)
    return der(0x30, der(0x30, b"") + algorithm + der(0x03, b"\0x"))


def pss(contents: bytes) -> bytes:
    return made_up("2a864886f70d01010a", der(0x30, contents))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        # RFC 5929 section 4.1: SHA-256 in place of MD5 and SHA-1.
        (made_up("2a864886f70d010104"), "sha256"),
        (made_up("2a864886f70d010105"), "sha256"),
        (made_up("2a8648ce3d0401"), "sha256"),
        (pss(b""), "sha256"),
        (pss(der(0xA1, b"")), "sha256"),
        (pss(der(0xA0, der(0x30, der(0x06, bytes.fromhex("2b0e03021a"))))), "sha256"),
        (
            pss(der(0xA0, der(0x30, der(0x06, bytes.fromhex("608648016503040203"))))),
            "sha512",
        ),
        (pss(der(0xA0, der(0x30, der(0x06, b"x")))), None),
        (made_up("2b6570"), None),  # Ed25519
        (made_up("2a03"), None),
        (made_up("2a864886f70d01010a"), None),
        (pss(der(0xA0, b"")), None),
        (b"", None),
        (b"\x30", None),
        (b"\x30\x05\x30\x00", None),
        (b"\x31\x00", None),
        (b"\x30\xff" + b"\xff" * 9, None),
        (b"\x30\x80", None),
    ],
)
def test_hash_of_any_certificate(data: bytes, name: str | None) -> None:
    expected = None if name is None else hashlib.new(name, data).digest()
    assert hash_end_point(data) == expected


def test_signature_without_a_hash_has_no_binding() -> None:
    assert hash_end_point(certificate(ED_KEY, None)) is None


@given(st.binary())
def test_any_octets(data: bytes) -> None:
    hash_end_point(data)


@given(position=st.integers(0, 10_000), octet=st.integers(0, 255))
def test_any_damage(position: int, octet: int) -> None:
    data = bytearray(CERTIFICATE)
    data[position % len(data)] = octet
    found = hash_end_point(bytes(data))
    assert found is None or len(found) in {28, 32, 48, 64}


CERTIFICATE = certificate(EC_KEY, hashes.SHA256())


def test_what_a_client_binds_to() -> None:
    facts = TLSInfo("TLSv1.3", "x", 256, peer_certificate=CERTIFICATE)
    digest = hashlib.sha256(CERTIFICATE).digest()
    assert client_bindings(facts) == {END_POINT: digest}
    assert client_bindings(None) == {}
    assert client_bindings(TLSInfo("TLSv1.3", "x", 256)) == {}
    odd = TLSInfo("TLSv1.3", "x", 256, peer_certificate=b"")
    assert client_bindings(odd) == {}


# --- Handshakes on memory. ---

AUTHORITY = trustme.CA()


def server_context(*kinds: trustme.KeyType) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for kind in kinds:
        AUTHORITY.issue_cert("mx.test", key_type=kind).configure_cert(context)
    return context


def shake_hands(
    server: ssl.SSLContext, set_up: Callable[[ssl.SSLContext], None]
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    client = ssl.create_default_context()
    AUTHORITY.configure_trust(client)
    set_up(client)
    upwards, downwards = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_end = client.wrap_bio(downwards, upwards, server_hostname="mx.test")
    server_end = server.wrap_bio(upwards, downwards, server_side=True)
    for end in (client_end, server_end) * 3:
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return client_end, server_end


def only_tls_1_2(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2


def only_rsa(context: ssl.SSLContext) -> None:
    only_tls_1_2(context)
    context.set_ciphers("aRSA")


def anything(_context: ssl.SSLContext) -> None:
    pass


class Mute:
    """A server that never says a word."""

    def wrap_bio(self, *_bios: ssl.MemoryBIO, server_side: bool) -> Mute:
        assert server_side
        return self

    def do_handshake(self) -> None:
        raise ssl.SSLWantReadError


def test_handshake_that_leads_nowhere() -> None:
    assert own_certificates(Mute()) == ()  # type: ignore[arg-type]


EC, RSA = trustme.KeyType.ECDSA, trustme.KeyType.RSA


@pytest.mark.parametrize("set_up", [anything, only_tls_1_2, only_rsa])
@pytest.mark.parametrize("kinds", [(RSA,), (EC, RSA)])
def test_both_ends_bind_to_the_same(
    kinds: tuple[trustme.KeyType, ...], set_up: Callable[[ssl.SSLContext], None]
) -> None:
    client, server = shake_hands(server_context(*kinds), set_up)
    data = client_bindings(TLSInfo.of(client))[END_POINT]
    found = server_bindings(server, END_POINT)
    assert data in found
    assert len(found) == len(kinds)


def test_another_server_binds_to_something_else() -> None:
    client, _ = shake_hands(server_context(EC), anything)
    _, server = shake_hands(server_context(EC), anything)
    data = client_bindings(TLSInfo.of(client))[END_POINT]
    assert data not in server_bindings(server, END_POINT)


def test_certificate_is_known_after_it_was_changed() -> None:
    context = server_context(EC)
    before = own_certificates(context)
    AUTHORITY.issue_cert("mx.test", key_type=EC).configure_cert(context)
    after = own_certificates(context)
    assert len(before) == len(after) == 1
    assert before != after


def test_server_that_wants_a_client_certificate() -> None:
    context = server_context(EC)
    AUTHORITY.configure_trust(context)
    expected = own_certificates(context)
    context.verify_mode = ssl.CERT_REQUIRED
    assert own_certificates(context) == expected
    only_tls_1_2(context)
    assert own_certificates(context) == ()


def test_context_without_a_certificate() -> None:
    assert own_certificates(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)) == ()


def test_tls_unique_is_for_tls_1_2_alone() -> None:
    client, server = shake_hands(server_context(EC), only_tls_1_2)
    assert client.version() == "TLSv1.2"
    data = client.get_channel_binding("tls-unique")
    assert data
    assert server_bindings(server, "tls-unique") == (data,)
    client, server = shake_hands(server_context(EC), anything)
    assert client.version() == "TLSv1.3"
    # OpenSSL has octets for it all the same.
    assert server.get_channel_binding("tls-unique")
    assert server_bindings(server, "tls-unique") == ()


class Resumed:
    """The server's end of a resumed session, so far as is asked for."""

    session_reused = True

    def version(self) -> str:
        return "TLSv1.2"

    def get_channel_binding(self, kind: str) -> bytes:
        raise AssertionError("it could be that of another connection")


def test_tls_unique_is_not_for_a_resumed_session() -> None:
    assert server_bindings(Resumed(), "tls-unique") == ()  # type: ignore[arg-type]


class Unfinished(Resumed):
    session_reused = False

    def get_channel_binding(self, kind: str) -> bytes:
        return None  # type: ignore[return-value]


def test_tls_unique_that_there_is_not_yet() -> None:
    assert server_bindings(Unfinished(), "tls-unique") == ()  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["tls-exporter", "tls-unique-for-telnet", "x"])
def test_other_types_are_not_there(kind: str) -> None:
    _, server = shake_hands(server_context(EC), only_tls_1_2)
    assert server_bindings(server, kind) == ()

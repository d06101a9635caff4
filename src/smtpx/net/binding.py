"""Channel bindings: octets that both ends know of their TLS connection (RFC 5929).

Of the types that there are, Python's ``ssl`` lets us have two:

- ``tls-server-end-point``, a hash of the server's certificate. Somebody on the path who
  has another certificate is found out, under any version of TLS.
- ``tls-unique``, from the handshake itself; not under TLS 1.3, for which it is not
  defined (RFC 9266 section 1), and not in a resumed session, where two connections
  could have the same (RFC 7677 section 4).
"""

from __future__ import annotations

import contextlib
import hashlib
import ssl
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from smtpx.net.tls import TLSInfo

__all__ = [
    "END_POINT",
    "UNIQUE",
    "client_bindings",
    "hash_end_point",
    "own_certificates",
    "server_bindings",
]

END_POINT: Final = "tls-server-end-point"
UNIQUE: Final = "tls-unique"

_SEQUENCE: Final = 0x30
_OBJECT_IDENTIFIER: Final = 0x06
_PSS_HASH: Final = 0xA0

_RSA = bytes.fromhex("2a864886f70d0101")  # 1.2.840.113549.1.1
_ECDSA = bytes.fromhex("2a8648ce3d04")  # 1.2.840.10045.4
_NIST = bytes.fromhex("608648016503")  # 2.16.840.1.101.3
_RSASSA_PSS: Final = _RSA + b"\x0a"

# The hash of each signature algorithm, and in its place SHA-256 for those that are
# broken (RFC 5929 section 4.1). What is not here uses no hash, or several, as Ed25519:
# then there is no such binding.
_HASHES: Final = {
    _RSA + b"\x04": "sha256",  # MD5
    _RSA + b"\x05": "sha256",  # SHA-1
    _RSA + b"\x0b": "sha256",
    _RSA + b"\x0c": "sha384",
    _RSA + b"\x0d": "sha512",
    _RSA + b"\x0e": "sha224",
    _ECDSA + b"\x01": "sha256",  # SHA-1
    _ECDSA + b"\x03\x01": "sha224",
    _ECDSA + b"\x03\x02": "sha256",
    _ECDSA + b"\x03\x03": "sha384",
    _ECDSA + b"\x03\x04": "sha512",
    # Hash functions by themselves, as RSASSA-PSS names them.
    bytes.fromhex("2b0e03021a"): "sha256",  # SHA-1
    _NIST + b"\x04\x02\x01": "sha256",
    _NIST + b"\x04\x02\x02": "sha384",
    _NIST + b"\x04\x02\x03": "sha512",
    _NIST + b"\x04\x02\x04": "sha224",
}

# How many times a handshake on memory goes back and forth; three do.
_MAX_FLIGHTS: Final = 8

# What the client of a probe takes: anything, and then each kind of key alone, which
# only TLS 1.2 lets one say.
_PROBES: Final = (None, "aRSA", "aECDSA")


def hash_end_point(certificate: bytes) -> bytes | None:
    """Compute the data of ``tls-server-end-point`` (RFC 5929 section 4.1).

    Args:
        certificate: the server's, DER.

    Returns:
        The hash; None if none is defined for the certificate, or it is malformed.
    """
    try:
        name = _signature_hash(certificate)
    except (ValueError, IndexError):
        return None
    return None if name is None else hashlib.new(name, certificate).digest()


def client_bindings(tls: TLSInfo | None) -> dict[str, bytes]:
    """Return what a client can bind to.

    Args:
        tls: facts about its connection, None in clear.

    Returns:
        Data by type of channel binding; empty if there is none.
    """
    if tls is None or tls.peer_certificate is None:
        return {}
    data = hash_end_point(tls.peer_certificate)
    return {} if data is None else {END_POINT: data}


def server_bindings(
    connection: ssl.SSLObject | ssl.SSLSocket, kind: str
) -> tuple[bytes, ...]:
    """Return what a client may have bound to.

    Args:
        connection: the server's end of it, after the handshake.
        kind: the type of channel binding.

    Returns:
        All data that are right; none if there is no such binding.
    """
    if kind == END_POINT:
        found = map(hash_end_point, own_certificates(connection.context))
        return tuple(data for data in found if data is not None)
    is_unique = connection.version() == "TLSv1.2" and not connection.session_reused
    if kind == UNIQUE and is_unique:
        data = connection.get_channel_binding(UNIQUE)
        return () if data is None else (data,)
    return ()


def own_certificates(context: ssl.SSLContext) -> tuple[bytes, ...]:
    """Find out which certificates a server shows.

    A context does not tell what was loaded into it. So a client on memory asks, as any
    other would; which takes a few milliseconds, and is right also after the context got
    a new certificate.

    Args:
        context: a server's.

    Returns:
        Its certificates, DER; none if it shows none to a client without one.
    """
    found = []
    for ciphers in _PROBES:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Nothing to verify: both ends are ours, and within this function.
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        if ciphers is not None:
            client.maximum_version = ssl.TLSVersion.TLSv1_2
            client.set_ciphers(ciphers)
        certificate = _probe(context, client)
        if certificate is not None and certificate not in found:
            found.append(certificate)
    return tuple(found)


def _probe(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes | None:
    """Shake hands on memory, and return the certificate that the client sees."""
    upwards, downwards = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_end = client.wrap_bio(downwards, upwards)
    server_end = server.wrap_bio(upwards, downwards, server_side=True)
    with contextlib.suppress(ssl.SSLError):
        for _ in range(_MAX_FLIGHTS):
            with contextlib.suppress(ssl.SSLWantReadError):
                client_end.do_handshake()
                # A server that wants a certificate of ours would go on to refuse.
                return client_end.getpeercert(binary_form=True)
            with contextlib.suppress(ssl.SSLWantReadError):
                server_end.do_handshake()
    return None


def _signature_hash(certificate: bytes) -> str | None:
    """Name the hash for a certificate, by its signatureAlgorithm.

    Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signature }, and
    AlgorithmIdentifier ::= SEQUENCE { algorithm OBJECT IDENTIFIER, parameters }.
    """
    fields, _ = _take(certificate, _SEQUENCE)
    _, fields = _take(fields, _SEQUENCE)
    algorithm, _ = _take(fields, _SEQUENCE)
    identifier, parameters = _take(algorithm, _OBJECT_IDENTIFIER)
    if identifier != _RSASSA_PSS:
        return _HASHES.get(identifier)
    parameters, _ = _take(parameters, _SEQUENCE)
    if not parameters or parameters[0] != _PSS_HASH:
        return "sha256"  # the hash that is left out is SHA-1
    algorithm, _ = _take(_take(parameters, _PSS_HASH)[0], _SEQUENCE)
    return _HASHES.get(_take(algorithm, _OBJECT_IDENTIFIER)[0])


def _take(octets: bytes, tag: int) -> tuple[bytes, bytes]:
    """Take one value of DER; return its contents, and what follows it.

    Raises:
        ValueError: it has another tag, or is cut off.
        IndexError: it is cut off.
    """
    if octets[0] != tag:
        raise ValueError("another tag")
    length, start = octets[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(octets[2:start], "big")
    end = start + length
    if end > len(octets):
        raise ValueError("cut off")
    return octets[start:end], octets[end:]

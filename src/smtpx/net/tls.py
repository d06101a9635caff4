"""TLS contexts, and facts about a TLS connection."""

from __future__ import annotations

import functools
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

__all__ = [
    "NamedSSLObject",
    "TLSInfo",
    "client_context",
    "default_client_context",
    "require_server_hostname",
]


class NamedSSLObject(ssl.SSLObject):
    """A server's end that remembers the name that the client asked for (SNI).

    Attributes:
        requested_name: the name, None if there was none; set in the handshake.
    """

    requested_name: str | None = None


@dataclass(frozen=True, slots=True)
class TLSInfo:
    """What is known of a TLS connection after its handshake.

    Attributes:
        version: as in ``"TLSv1.3"``.
        cipher: the name of the cipher suite.
        cipher_bits: the length of its secret, in bits.
        server_hostname: the name that the client asked for (SNI). At the server it is
            known under a `ServerTLS` only. None if there was none.
        peer_certificate: the peer's certificate, DER; None if it sent none.
        is_verified: whether the peer's certificate was checked against trusted
            authorities.
        protocol: what ALPN agreed on, None if nothing.
    """

    version: str
    cipher: str
    cipher_bits: int
    server_hostname: str | None = None
    peer_certificate: bytes | None = field(default=None, repr=False)
    is_verified: bool = False
    protocol: str | None = None

    @classmethod
    def of(
        cls,
        connection: ssl.SSLObject | ssl.SSLSocket,
        *,
        server_hostname: str | None = None,
    ) -> TLSInfo:
        """Collect the facts about a connection.

        Args:
            connection: after its handshake.
            server_hostname: what the caller knows of it; by default the name that
                the client's own object was made with.
        """
        cipher = connection.cipher()
        name, _, bits = cipher or ("", "", 0)
        certificate = connection.getpeercert(binary_form=True)
        is_verified = (
            certificate is not None
            and connection.context.verify_mode is not ssl.CERT_NONE
        )
        return cls(
            version=connection.version() or "",
            cipher=name,
            cipher_bits=bits or 0,
            server_hostname=server_hostname or name_asked_for(connection),
            peer_certificate=certificate,
            is_verified=is_verified,
            protocol=connection.selected_alpn_protocol(),
        )


def name_asked_for(connection: ssl.SSLObject | ssl.SSLSocket) -> str | None:
    """Return the name that the client asked for in a handshake, at either end."""
    if isinstance(connection, NamedSSLObject):
        return connection.requested_name
    return connection.server_hostname


def require_server_hostname(
    context: ssl.SSLContext, server_hostname: str | None
) -> None:
    """Refuse a context that is to verify a name, without a name.

    `ssl.SSLObject` and asyncio would take any name then, without a word.

    Raises:
        ValueError: there is no name to verify.
    """
    if context.check_hostname and not server_hostname:
        raise ValueError("the TLS context verifies a name: give server_hostname")


def client_context(
    *,
    ca_file: str | PathLike[str] | None = None,
    certificate: str | PathLike[str] | None = None,
    key: str | PathLike[str] | None = None,
    key_password: str | None = None,
    verify: bool = True,
) -> ssl.SSLContext:
    """Make a TLS context for a client: certificate and name verified, TLS 1.2 or later.

    Args:
        ca_file: PEM file of the authorities to trust, in place of the system's.
        certificate: PEM file of the client's own certificate with its chain.
        key: PEM file of its private key, if not in the same file.
        key_password: what decrypts the key.
        verify: False accepts any certificate, and so anybody on the path who claims
            to be the server. For tests.

    Returns:
        A new context, yours to change.

    Raises:
        OSError: a file cannot be read, or is no certificate or key.

    >>> client_context().verify_mode is ssl.CERT_REQUIRED
    True
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca_file)
    # RFC 8996 retires the versions before it.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        context.load_cert_chain(certificate, key, key_password)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@functools.cache
def default_client_context() -> ssl.SSLContext:
    """Return the context used when none is given: one a process.

    Loading the system's authorities takes milliseconds, hence once. Never change it;
    make one with `client_context`.
    """
    return client_context()

"""Certificates to throw away, for tests of TLS. They need the extra ``testing``."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import cached_property
from typing import Final

__all__ = ["ThrowawayCertificates", "make_certificates"]

_NAMES: Final = ("localhost", "127.0.0.1", "::1", "mail.test", "mx.test")


@dataclass(frozen=True)
class ThrowawayCertificates:
    """An authority that was made for this test run, and a certificate of it.

    Attributes:
        authority_pem: the authority's certificate, for programs that read a file.
        names: that the certificate is for.
        server: a context with the certificate.

    >>> certificates = make_certificates("mail.example.com")
    >>> certificates.authority_pem.startswith(b"-----BEGIN CERTIFICATE-----")
    True
    """

    authority_pem: bytes
    names: tuple[str, ...]
    server: ssl.SSLContext

    @cached_property
    def client(self) -> ssl.SSLContext:
        """A context that trusts this authority, and no other."""
        return ssl.create_default_context(cadata=self.authority_pem.decode("ascii"))


def make_certificates(*names: str) -> ThrowawayCertificates:
    """Make an authority and a certificate; it takes a few milliseconds.

    Args:
        names: host names and IP addresses that the certificate is for; by default
            those of this machine, ``localhost``, ``127.0.0.1`` and ``::1``, and what
            servers are called in tests: ``mail.test``, and in transcripts ``mx.test``.

    Raises:
        RuntimeError: trustme is not installed.
    """
    try:
        import trustme  # noqa: PLC0415 - an extra
    except ImportError as error:
        message = "TLS in tests needs trustme: pip install 'smtpx[testing]'"
        raise RuntimeError(message) from error
    names = names or _NAMES
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return ThrowawayCertificates(authority.cert_pem.bytes(), names, context)

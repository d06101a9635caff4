"""A certificate authority for the tests, and one server certificate."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from pathlib import Path

# What the certificate is for: a name for SNI, and the address that is dialled.
SERVER_NAMES = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class ServerFiles:
    """A server's certificate as files, for programs that read files."""

    # Key and certificate in one file, the key first, as Postfix wants it.
    chain: Path
    certificate: Path
    key: Path
    # The authority, for clients.
    authority: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.chain)
        return context

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority))


def write_certificates(directory: Path) -> ServerFiles:
    """Make an authority and a certificate, and write both down."""
    authority = trustme.CA()
    server = authority.issue_cert(*SERVER_NAMES)
    files = ServerFiles(
        chain=directory / "chain.pem",
        certificate=directory / "certificate.pem",
        key=directory / "key.pem",
        authority=directory / "authority.pem",
    )
    server.private_key_and_cert_chain_pem.write_to_path(str(files.chain))
    server.private_key_pem.write_to_path(str(files.key))
    server.cert_chain_pems[0].write_to_path(str(files.certificate))
    authority.cert_pem.write_to_path(str(files.authority))
    return files

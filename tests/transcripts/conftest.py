"""Certificates for the servers that transcripts speak of."""

from __future__ import annotations

import ssl

import pytest
import trustme

from smtpx.testing.drivers import Certificates

HOSTNAMES = ("mx.test", "mail.imc.org", "smtp.example.com")


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*HOSTNAMES).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return Certificates(server, client)

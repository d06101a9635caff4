"""Contexts are strict unless told otherwise."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import trustme

from smtpx.net.channel import format_address, ip_of
from smtpx.net.tls import client_context, default_client_context

if TYPE_CHECKING:
    from pathlib import Path


def test_default_verifies_certificate_and_name_and_is_made_once() -> None:
    context = default_client_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert default_client_context() is context


def test_verification_goes_only_when_asked() -> None:
    context = client_context(verify=False)
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


def test_own_authority_and_client_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("client.test").private_key_and_cert_chain_pem.write_to_path(
        tmp_path / "client.pem"
    )
    context = client_context(
        ca_file=tmp_path / "ca.pem", certificate=tmp_path / "client.pem"
    )
    assert [dict(ca)["subject"] for ca in context.get_ca_certs()]


def test_addresses_as_text() -> None:
    assert format_address(("::1", 25, 0, 0)) == "[::1]:25"
    assert format_address(b"\0name") == "unix:@name"
    assert format_address("") == "unix:"
    assert ip_of("[2001:db8::1]:25") is not None
    assert ip_of("mx.test:25") is None

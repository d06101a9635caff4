"""Certificates by name, and new files for old."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from smtpx.net.binding import END_POINT, hash_end_point, server_bindings
from smtpx.net.certificates import Certificate, ServerTLS, server_context
from smtpx.net.tls import TLSInfo, name_asked_for

if TYPE_CHECKING:
    from collections.abc import Callable

AUTHORITY = trustme.CA()


def write(path: Path, *names: str) -> Path:
    """Write a new certificate with its key."""
    AUTHORITY.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(path)
    return path


def client() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def shake_hands(
    server: ssl.SSLContext,
    name: str | None,
    context: ssl.SSLContext | None = None,
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Shake hands on memory; return both ends, the client's first."""
    if context is None:
        context = client()
    context.check_hostname = False
    upwards, downwards = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_end = context.wrap_bio(downwards, upwards, server_hostname=name)
    server_end = server.wrap_bio(upwards, downwards, server_side=True)
    steps: list[Callable[[], None]] = [client_end.do_handshake, server_end.do_handshake]
    while steps:
        for step in tuple(steps):
            try:
                step()
            except ssl.SSLWantReadError:
                continue
            steps.remove(step)
    return client_end, server_end


def shown(server: ssl.SSLContext, name: str | None) -> list[str]:
    """Return the names in the certificate that a server shows."""
    client_end, _ = shake_hands(server, name)
    facts = client_end.getpeercert()
    assert facts is not None
    names: tuple[tuple[str, str], ...] = facts["subjectAltName"]  # type: ignore[assignment]
    return [value for _, value in names]


@pytest.fixture
def tls(tmp_path: Path) -> ServerTLS:
    return ServerTLS(
        write(tmp_path / "mx.pem", "mx.test"),
        by_name={
            "Mail.Test": Certificate(write(tmp_path / "mail.pem", "mail.test")),
            "*.many.test": write(tmp_path / "many.pem", "*.many.test"),
        },
    )


@pytest.mark.parametrize(
    ("name", "certificate"),
    [
        (None, "mx.test"),
        ("mx.test", "mx.test"),
        ("mail.test", "mail.test"),
        ("MAIL.test", "mail.test"),
        ("sub.mail.test", "mx.test"),
        ("a.many.test", "*.many.test"),
        ("a.b.many.test", "mx.test"),
        ("many.test", "mx.test"),
        ("unknown.test", "mx.test"),
        ("test", "mx.test"),
    ],
)
def test_a_certificate_for_each_name(
    tls: ServerTLS, name: str | None, certificate: str
) -> None:
    assert shown(tls.context, name) == [certificate]


@pytest.mark.parametrize("name", [None, "mx.test", "mail.test", "unknown.test"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_the_server_knows_of_it(
    tls: ServerTLS, name: str | None, version: ssl.TLSVersion
) -> None:
    context = client()
    context.maximum_version = version
    client_end, server_end = shake_hands(tls.context, name, context)
    info = TLSInfo.of(server_end)
    assert info.server_hostname == name
    assert not info.is_verified
    # The proof of a login is bound to the certificate that was sent.
    certificate = client_end.getpeercert(binary_form=True)
    assert certificate is not None
    assert server_bindings(server_end, END_POINT) == (hash_end_point(certificate),)


@pytest.mark.parametrize("name", ["a\r\nb", "a b", "a..b", "x" * 256, "a\x7f", "a\n"])
def test_names_that_are_none_are_not_told(tls: ServerTLS, name: str) -> None:
    connection = tls.context.wrap_bio(
        ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True
    )
    choose = tls.context.sni_callback
    assert choose is not None
    assert choose(connection, name, tls.context) is None
    assert name_asked_for(connection) is None
    longest = "x" * 255
    choose(connection, longest, tls.context)
    assert name_asked_for(connection) == longest


def test_a_connection_keeps_what_it_was_shown(tls: ServerTLS, tmp_path: Path) -> None:
    before = tls.context
    client_end, server_end = shake_hands(before, "mail.test")
    certificate = client_end.getpeercert(binary_form=True)
    write(tmp_path / "mail.pem", "mail.test", "new.test")
    # It was read, and is not looked at again by itself.
    assert shown(tls.context, "mail.test") == ["mail.test"]
    tls.reload()
    assert tls.context is not before
    assert shown(tls.context, "mail.test") == ["mail.test", "new.test"]
    assert shown(before, "mail.test") == ["mail.test"]
    assert certificate is not None
    assert server_bindings(server_end, END_POINT) == (hash_end_point(certificate),)


def test_reload_when_a_file_has_changed(tls: ServerTLS, tmp_path: Path) -> None:
    assert not tls.reload_if_changed()
    before = tls.context
    write(tmp_path / "many.pem", "*.many.test", "new.test")
    assert tls.reload_if_changed()
    assert tls.context is not before
    assert not tls.reload_if_changed()


def test_a_link_that_leads_elsewhere_is_a_change(tmp_path: Path) -> None:
    # As certbot renews.
    link = tmp_path / "live.pem"
    link.symlink_to(write(tmp_path / "1.pem", "one.test"))
    tls = ServerTLS(link)
    link.unlink()
    link.symlink_to(write(tmp_path / "2.pem", "two.test"))
    assert tls.reload_if_changed()
    assert shown(tls.context, None) == ["two.test"]


def test_a_failed_reload_changes_nothing(tls: ServerTLS, tmp_path: Path) -> None:
    before = tls.context
    (tmp_path / "mail.pem").write_text("half a file")
    for _ in range(2):
        with pytest.raises(OSError, match=r"mail.pem: no certificate with its key"):
            tls.reload_if_changed()
    (tmp_path / "mail.pem").unlink()
    with pytest.raises(FileNotFoundError):
        tls.reload_if_changed()
    with pytest.raises(OSError, match="No such file"):
        tls.reload()
    assert tls.context is before
    assert shown(tls.context, "mail.test") == ["mail.test"]
    write(tmp_path / "mail.pem", "mail.test", "new.test")
    assert tls.reload_if_changed()


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    issued = AUTHORITY.issue_cert("mx.test")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "chain.pem")
    AUTHORITY.issue_cert("mx.test").private_key_pem.write_to_path(tmp_path / "key.pem")
    with pytest.raises(OSError, match=r"chain.pem and .*key.pem: .*MISMATCH"):
        server_context(tmp_path / "chain.pem", tmp_path / "key.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    context = server_context(tmp_path / "chain.pem", tmp_path / "key.pem")
    assert shown(context, None) == ["mx.test"]
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_an_encrypted_key(tmp_path: Path) -> None:
    issued = AUTHORITY.issue_cert("mx.test")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "chain.pem")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            Encoding.PEM,
            PrivateFormat.TraditionalOpenSSL,
            BestAvailableEncryption(b"Geheim-77"),
        )
    )
    files = tmp_path / "chain.pem", tmp_path / "key.pem"
    # It does not ask on the terminal.
    with pytest.raises(OSError, match="give key_password"):
        server_context(*files)
    with pytest.raises(OSError, match=r"key\.pem: no certificate") as caught:
        server_context(*files, key_password="wrong-88")
    assert "wrong-88" not in str(caught.value)
    assert shown(server_context(*files, key_password="Geheim-77"), None) == ["mx.test"]
    certificate = Certificate(*files, "Geheim-77")
    assert "Geheim" not in repr(certificate)
    assert "Geheim" not in repr(ServerTLS(certificate))


@pytest.mark.parametrize("name", [None, "mail.test"])
@pytest.mark.parametrize("is_required", [False, True])
def test_certificates_of_clients(
    tmp_path: Path, is_required: bool, name: str | None
) -> None:
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ServerTLS(
        write(tmp_path / "mx.pem", "mx.test"),
        by_name={"mail.test": write(tmp_path / "mail.pem", "mail.test")},
        client_ca=tmp_path / "ca.pem",
        require_client_certificate=is_required,
    )
    context = client()
    context.load_cert_chain(write(tmp_path / "client.pem", "client.test"))
    _, server_end = shake_hands(tls.context, name, context)
    info = TLSInfo.of(server_end)
    assert info.is_verified
    assert info.peer_certificate is not None
    if is_required:
        with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            shake_hands(tls.context, name)
    else:
        assert TLSInfo.of(shake_hands(tls.context, name)[1]).peer_certificate is None
    stranger = client()
    trustme.CA().issue_cert("client.test").configure_cert(stranger)
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        shake_hands(tls.context, name, stranger)
    # Another authority counts from the next reload on.
    other = trustme.CA()
    other.cert_pem.write_to_path(tmp_path / "ca.pem")
    assert tls.reload_if_changed()
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        shake_hands(tls.context, name, context)


@pytest.mark.parametrize("name", ["", "*", "a b", "*.*.test", "a\n", "x" * 256])
def test_names_that_nobody_can_ask_for(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "mx.pem", "mx.test")
    with pytest.raises(ValueError, match="is no host name"):
        ServerTLS(path, by_name={name: path})


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    path = write(tmp_path / "mx.pem", "mx.test")
    with pytest.raises(ValueError, match="needs client_ca"):
        ServerTLS(path, require_client_certificate=True)
    with pytest.raises(ValueError, match="over 0"):
        ServerTLS(path, poll_seconds=0)


def test_what_it_looks_like(tls: ServerTLS) -> None:
    assert repr(tls).endswith("mx.pem *.many.test mail.test>")
    assert TLSInfo.of(shake_hands(tls.context, "mx.test")[0]).server_hostname

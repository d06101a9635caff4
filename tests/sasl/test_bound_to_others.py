"""Channel binding between us and another implementation, on real connections.

The other side is scramp, which is told what to bind to: the hash of the certificate, as
`cryptography` finds it in the certificate, and not as we do.
"""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from scramp import (  # type: ignore[import-untyped]
    ScramClient,
    ScramException,
    ScramMechanism,
)

import smtpx

if TYPE_CHECKING:
    from collections.abc import Iterator

USER, PASSWORD = "ann@example.com", "p\u00e4ss w\u00f6rd"
END_POINT = "tls-server-end-point"
PATIENCE_SECONDS = 60
NAMES = ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"]


def end_point(certificate: bytes) -> tuple[str, bytes]:
    algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    assert algorithm is not None
    digest = hashes.Hash(algorithm)
    digest.update(certificate)
    return END_POINT, digest.finalize()


class Users(smtpx.Session):
    async def scram_credentials(
        self, user: str, hash_name: str
    ) -> smtpx.ScramCredentials | None:
        if user != USER:
            return None
        return smtpx.make_scram_credentials(
            PASSWORD, salt=b"salt" * 4, hash_name=hash_name
        )


class Lines:
    """Lines over a socket."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._file = sock.makefile("rwb")

    def say(self, text: str) -> None:
        self._file.write(text.encode() + b"\r\n")
        self._file.flush()

    def hear(self) -> str:
        return self._file.readline().decode().rstrip("\r\n")

    def ask(self, text: str) -> str:
        """Say a command; return the last line of its reply."""
        self.say(text)
        while (line := self.hear())[3:4] == "-":
            pass
        return line

    def close(self) -> None:
        self._file.close()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def decoded(text: str) -> str:
    return base64.b64decode(text).decode()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mx.test").configure_cert(context)
    return context


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


# --- Another client, our server. ---


@pytest.mark.parametrize("is_right", [True, False], ids=["right", "other"])
@pytest.mark.parametrize("name", NAMES)
def test_another_client(
    name: str, is_right: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    options = smtpx.ServerOptions(
        hostname="mx.test", tls=server_tls, implicit_tls=True, auth_mechanisms=(name,)
    )
    with smtpx.Server(Users, options=options).run_in_thread() as server:
        host, _, port = server.addresses[0].rpartition(":")
        with (
            socket.create_connection((host, int(port)), PATIENCE_SECONDS) as plain,
            client_tls.wrap_socket(plain, server_hostname="mx.test") as sock,
        ):
            certificate = sock.getpeercert(binary_form=True)
            assert certificate is not None
            kind, data = end_point(certificate)
            other = ScramClient(
                [name],
                USER,
                PASSWORD,
                channel_binding=(kind, data if is_right else data[::-1]),
            )
            lines = Lines(sock)
            lines.hear()
            lines.ask("EHLO client.test")
            challenge = lines.ask(f"AUTH {name} {encoded(other.get_client_first())}")
            other.set_server_first(decoded(challenge.removeprefix("334 ")))
            reply = lines.ask(encoded(other.get_client_final()))
            if is_right:
                other.set_server_final(decoded(reply.removeprefix("334 ")))
                assert lines.ask("").startswith("235 2.7.0")
            else:
                assert reply.startswith("535 5.7.8")
            lines.close()


# --- Our client, another server. ---


class OtherServer:
    """Takes one client, whom scramp checks."""

    def __init__(self, tls: ssl.SSLContext, binding: tuple[str, bytes] | None) -> None:
        self._tls = tls
        self._binding = binding
        self.proofs = 0

    @contextmanager
    def listening(self) -> Iterator[str]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=self._serve, args=(listener,))
            thread.start()
            yield f"smtps://127.0.0.1:{listener.getsockname()[1]}"
            thread.join()

    def _serve(self, listener: socket.socket) -> None:
        plain, _ = listener.accept()
        plain.settimeout(PATIENCE_SECONDS)
        with self._tls.wrap_socket(plain, server_side=True) as sock:
            lines = Lines(sock)
            lines.say("220 mx.test ESMTP")
            while line := lines.hear():
                verb, *arguments = line.split()
                if verb == "EHLO":
                    lines.say(f"250-mx.test\r\n250 AUTH {' '.join(NAMES)}")
                elif verb == "AUTH":
                    lines.say(self._check(lines, *arguments))
                else:
                    lines.say("221 2.0.0 bye")
                    break
            lines.close()

    def _check(self, lines: Lines, name: str, initial: str) -> str:
        mechanism = ScramMechanism(name)
        info = mechanism.make_auth_info(PASSWORD)
        server = mechanism.make_server({USER: info}.get, channel_binding=self._binding)
        try:
            server.set_client_first(decoded(initial))
            final = lines.ask(f"334 {encoded(server.get_server_first())}")
            server.set_client_final(decoded(final))
        except ScramException:
            return "535 5.7.8 not you"
        assert lines.ask(f"334 {encoded(server.get_server_final())}") == ""
        self.proofs += 1
        return "235 2.7.0 welcome"


@pytest.mark.parametrize("is_right", [True, False], ids=["right", "other"])
@pytest.mark.parametrize("name", NAMES)
def test_another_server(
    name: str, is_right: bool, authority: trustme.CA, client_tls: ssl.SSLContext
) -> None:
    issued = authority.issue_cert("mx.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    shown = issued if is_right else authority.issue_cert("mx.test")
    pem = shown.cert_chain_pems[0].bytes().decode()
    other = OtherServer(context, end_point(ssl.PEM_cert_to_DER_cert(pem)))
    auth = smtpx.Auth(USER, PASSWORD, mechanisms=(name,))
    options = smtpx.ClientOptions(tls_context=client_tls, server_hostname="mx.test")
    with other.listening() as url:
        client = smtpx.Client(url, auth=auth, options=options)
        if is_right:
            with client:
                pass
        else:
            with pytest.raises(smtpx.AuthenticationFailed, match="535"):
                client.connect()
    assert other.proofs == int(is_right)

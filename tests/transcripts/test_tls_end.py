"""The end of TLS is the end of the connection, never the way back to plaintext.

No transcript can say this of a client: its plaintext goes around the TLS that the
driver still holds, so this one has a socket of its own.
"""

from __future__ import annotations

import contextlib
import socket
import ssl

from smtpx.server.listener import Server
from smtpx.server.options import ServerOptions
from smtpx.server.session import Session
from smtpx.server.sockets import parse_address
from smtpx.testing.drivers import Certificates


def read_to(peer: socket.socket, end: bytes) -> bytes:
    heard = b""
    while not heard.endswith(end):
        octets = peer.recv(4_096)
        if not octets:
            break
        heard += octets
    return heard


def test_plaintext_behind_the_end_of_tls_is_not_run(certificates: Certificates) -> None:
    options = ServerOptions(hostname="mx.test", tls=certificates.server)
    with Server(Session, options=options).run_in_thread() as server:
        host, port = parse_address(server.addresses[0])
        with socket.create_connection((host, port), timeout=60) as plain:
            read_to(plain, b"\r\n")
            plain.sendall(b"EHLO client.test\r\n")
            read_to(plain, b"250 HELP\r\n")
            plain.sendall(b"STARTTLS\r\n")
            read_to(plain, b"\r\n")
            secure = certificates.client.wrap_socket(plain, server_hostname="mx.test")
            secure.sendall(b"EHLO client.test\r\n")
            assert read_to(secure, b"250 HELP\r\n").startswith(b"250-mx.test")
            # Say that TLS ends, without waiting for the server to agree.
            secure.settimeout(0)
            with contextlib.suppress(ssl.SSLWantReadError):
                secure.unwrap()
            with socket.socket(fileno=secure.detach()) as again:
                again.settimeout(60)
                again.sendall(b"NOOP\r\nMAIL FROM:<evil@client.test>\r\n")
                heard = b""
                with contextlib.suppress(ConnectionResetError):
                    heard = read_to(again, b"never")
    # At most the server's own goodbye to TLS: records of version 3, no reply.
    assert heard == b"" or heard[1:2] == b"\x03"
    assert b"250" not in heard

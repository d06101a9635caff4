"""HAProxy speaks for our clients to our server."""

from __future__ import annotations

import queue
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

import smtpx
from smtpx.net.channel import format_address
from tests.interop.haproxy import HAProxy, running_haproxy
from tests.interop.messages import TRICKY
from tests.interop.names import HELLO_NAME, RECIPIENTS, SENDER
from tests.interop.programs import HOST, START_SECONDS, open_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.certificates import ServerFiles

pytestmark = pytest.mark.interop

CLIENT = ("192.0.2.7", 40_112)


@dataclass(frozen=True)
class Seen:
    """What a session knew when its message came."""

    peer: str
    peer_host: str | None
    original_host: str | None
    is_tls: bool
    protocol: str
    proxy: smtpx.ProxyHeader | None
    content: bytes


class Inbox(smtpx.Session):
    """Keeps what it knows of each message, and whom HAProxy checks as."""

    seen: queue.SimpleQueue[Seen]
    checks: queue.SimpleQueue[smtpx.ProxyHeader | None]

    async def hello(self, name: str) -> None:
        if name == "check.example":
            self.checks.put(self.connection.proxy)

    async def data(self, body: smtpx.Body) -> None:
        info = self.connection
        original = info.original
        self.seen.put(
            Seen(
                info.peer,
                info.peer_host,
                None if original is None else original.peer,
                info.tls is not None,
                info.protocol,
                info.proxy,
                await body.read(),
            )
        )


@dataclass(frozen=True)
class Site:
    """A server behind an HAProxy."""

    haproxy: HAProxy
    inbox: type[Inbox]

    def take(self) -> Seen:
        return self.inbox.seen.get(timeout=START_SECONDS)


@pytest.fixture(scope="module")
def site(certificates: ServerFiles) -> Iterator[Site]:
    inbox = type(
        "OwnInbox",
        (Inbox,),
        {"seen": queue.SimpleQueue(), "checks": queue.SimpleQueue()},
    )
    with open_directory() as root:
        path = root / "smtp"
        listeners = [
            smtpx.Listener(f"{HOST}:0"),
            smtpx.Listener(f"{HOST}:0", implicit_tls=True),
            smtpx.Listener(f"unix:{path}"),
        ]
        options = smtpx.ServerOptions(
            hostname="mx.example",
            tls=certificates.server_context(),
            proxy_networks=("127.0.0.0/8", "unix:"),
        )
        server = smtpx.Server(inbox, listeners, options=options)
        with server.run_in_thread():
            plain, tls, _ = server.addresses
            with running_haproxy(
                root, certificates, plain=plain, tls=tls, unix=path
            ) as haproxy:
                yield Site(haproxy, inbox)


def send(port: int, *, scheme: str = "smtp+plain", **options: object) -> str:
    """Send a message to a port of HAProxy; return the client's own address."""
    client_options = smtpx.ClientOptions(hello_name=HELLO_NAME, **options)  # type: ignore[arg-type]
    sock = socket.create_connection((HOST, port))
    local = format_address(sock.getsockname())
    url = f"{scheme}://{HOST}:{port}"
    with smtpx.Client(url, options=client_options, socket=sock) as client:
        client.send(TRICKY, sender=SENDER, recipients=RECIPIENTS)
    return local


@pytest.mark.parametrize("way", ["version1", "version2", "to_unix"])
def test_the_client_of_haproxy_is_seen(site: Site, way: str) -> None:
    local = send(getattr(site.haproxy, way))
    seen = site.take()
    assert seen.peer == local
    assert seen.original_host != local
    assert seen.content == TRICKY
    assert seen.proxy is not None
    assert seen.proxy.version == (1 if way == "version1" else 2)
    assert seen.proxy.destination == (HOST, getattr(site.haproxy, way))


def test_all_that_haproxy_knows(site: Site, certificates: ServerFiles) -> None:
    context = certificates.client_context()
    context.set_alpn_protocols(["smtp"])
    local = send(
        site.haproxy.everything,
        scheme="smtps",
        tls_context=context,
        server_hostname="localhost",
    )
    seen = site.take()
    assert (seen.peer, seen.is_tls) == (local, False)
    header = seen.proxy
    assert header is not None
    assert header.authority == "localhost"
    assert header.unique_id is not None
    assert header.unique_id.startswith(b"conn-")
    # Its checksum was right, or nobody had come here.
    assert header.get(0x03) is not None
    tls = header.tls
    assert tls is not None
    assert (tls.is_tls, tls.is_verified) == (True, False)
    assert (tls.version or "").startswith("TLSv1.")
    assert tls.cipher
    assert tls.key_algorithm
    assert tls.signature_algorithm


@pytest.mark.parametrize("version", [1, 2])
def test_our_client_sends_haproxy_a_header(site: Site, version: int) -> None:
    header = smtpx.ProxyHeader(CLIENT, ("198.51.100.1", 25), version=version)
    send(site.haproxy.behind_another, proxy_header=header)
    seen = site.take()
    assert (seen.peer, seen.peer_host) == ("192.0.2.7:40112", "192.0.2.7")
    assert seen.proxy is not None
    assert seen.proxy.destination == header.destination


def test_our_client_sends_haproxy_an_ipv6_header(site: Site) -> None:
    header = smtpx.ProxyHeader(("2001:db8::7", 1), ("2001:db8::1", 25))
    send(site.haproxy.behind_another, proxy_header=header)
    assert site.take().peer == "[2001:db8::7]:1"


def test_haproxy_speaks_tls_behind_its_header(site: Site) -> None:
    local = send(site.haproxy.to_tls)
    seen = site.take()
    assert (seen.peer, seen.is_tls, seen.protocol) == (local, True, "ESMTPS")


def test_the_tls_of_the_client_comes_behind_the_header(
    site: Site, certificates: ServerFiles
) -> None:
    local = send(
        site.haproxy.through_tls,
        scheme="smtps",
        tls_context=certificates.client_context(),
    )
    seen = site.take()
    assert (seen.peer, seen.is_tls, seen.protocol) == (local, True, "ESMTPS")


def test_starttls_through_haproxy(site: Site, certificates: ServerFiles) -> None:
    local = send(
        site.haproxy.version2,
        scheme="smtp+starttls",
        tls_context=certificates.client_context(),
    )
    seen = site.take()
    assert (seen.peer, seen.is_tls, seen.protocol) == (local, True, "ESMTPS")


def test_haproxy_checks_on_its_own_account(site: Site) -> None:
    header = site.inbox.checks.get(timeout=START_SECONDS)
    assert header is not None
    assert header.is_local

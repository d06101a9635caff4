"""Proxies that tell whom they speak for in a PROXY header."""

from __future__ import annotations

import asyncio
import logging
import ssl
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from smtpx.core.limits import Limits
from smtpx.server.events import ConnectedEvent, ServerEvent
from smtpx.server.options import ServerOptions, ServerTimeouts
from smtpx.server.proxied import become, come_through, is_private
from smtpx.server.session import ConnectionInfo, Endpoints, Session
from smtpx.server.sockets import Address, Listener
from smtpx.wire.forwarded import Unknown, XClient
from smtpx.wire.preamble import ProxyHeader
from smtpx.wire.proxy_tlvs import CHECKSUM, ProxyTLS, ProxyTLV, TLVType
from tests.server.conftest import Certificates, Run
from tests.server.peers import Peer, Served, Signal, serve, unix_address, until

LOOPBACK = ("127.0.0.0/8",)
SOURCE = ("192.0.2.7", 40_112)
DESTINATION = ("198.51.100.1", 25)
V1 = ProxyHeader(SOURCE, DESTINATION, version=1)
V2 = ProxyHeader(SOURCE, DESTINATION)
IPV6 = ProxyHeader(("2001:db8::7", 1), ("2001:db8::1", 25))
MAPPED = ProxyHeader(("::ffff:192.0.2.7", 1), ("::ffff:198.51.100.1", 25))
TLVS = ProxyHeader(
    SOURCE,
    DESTINATION,
    tlvs=(CHECKSUM, ProxyTLV(TLVType.AUTHORITY, b"mx.example.com")),
)


async def spoken_for(served: Served, octets: bytes, **options: Any) -> Peer:  # noqa: ANN401
    """Connect as a proxy does."""
    peer = await served.connect(**options)
    peer.send(octets)
    return peer


@pytest.mark.parametrize(
    ("header", "peer_text", "local"),
    [
        (V1, "192.0.2.7:40112", "198.51.100.1:25"),
        (V2, "192.0.2.7:40112", "198.51.100.1:25"),
        (TLVS, "192.0.2.7:40112", "198.51.100.1:25"),
        (IPV6, "[2001:db8::7]:1", "[2001:db8::1]:25"),
        (MAPPED, "192.0.2.7:1", "[::ffff:198.51.100.1]:25"),
    ],
)
def test_the_client_is_the_one_that_is_told(
    run: Run, header: ProxyHeader, peer_text: str, local: str
) -> None:
    async def main() -> None:
        async with serve(Session, proxy_networks=LOOPBACK) as served:
            peer = await spoken_for(served, header.encode() + b"EHLO c.test\r\n")
            assert await peer.codes(2) == [220, 250]
            (info,) = served.server.connections
            assert (info.peer, info.local) == (peer_text, local)
            assert (
                info.peer_host
                == str(info.peer_ip)
                == peer_text.rsplit(":", 1)[0].strip("[]")
            )
            assert not info.is_local
            assert not info.is_unix
            assert info.proxy is not None
            assert info.proxy.source == header.source
            original = info.original
            assert isinstance(original, Endpoints)
            assert original.peer_host == "127.0.0.1"
            assert original.local == served.server.addresses[0]
            assert original.is_local

    run(main())


@pytest.mark.parametrize("header", [V1, TLVS, IPV6])
def test_octet_by_octet(run: Run, header: ProxyHeader) -> None:
    async def main() -> None:
        async with serve(Session, proxy_networks=LOOPBACK) as served:
            peer = await served.connect()
            for octet in header.encode() + b"EHLO c.test\r\n":
                peer.send(bytes([octet]))
                await peer.writer.drain()
                for _ in range(3):
                    await asyncio.sleep(0)
            assert await peer.codes(2) == [220, 250]
            (info,) = served.server.connections
            assert info.proxy is not None
            assert info.proxy.source == header.source

    run(main())


def test_nothing_is_said_before_the_header(run: Run) -> None:
    connects = Signal()

    class Slow(Session):
        async def connected(self) -> None:
            await connects.set()

    async def main() -> None:
        async with serve(Slow, proxy_networks=LOOPBACK) as served:
            peer = await served.connect()
            await until(lambda: len(served.server.connections) == 1)
            octets = V1.encode()
            peer.send(octets[:-1])
            await peer.writer.drain()
            for _ in range(50):
                await asyncio.sleep(0)
            assert connects.count == 0
            peer.send(octets[-1:])
            assert await peer.codes(1) == [220]
            assert connects.count == 1

    run(main())


@pytest.mark.parametrize(
    "header",
    [
        ProxyHeader(None, None, version=1),
        ProxyHeader(None, None),
        ProxyHeader(None, None, is_local=True),
    ],
)
def test_a_proxy_that_speaks_for_itself(run: Run, header: ProxyHeader) -> None:
    async def main() -> None:
        async with serve(Session, proxy_networks=LOOPBACK) as served:
            peer = await spoken_for(served, header.encode())
            assert await peer.codes(1) == [220]
            (info,) = served.server.connections
            assert (info.peer_host, info.is_local) == ("127.0.0.1", True)
            assert (info.original, info.proxy) == (None, header)

    run(main())


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"EHLO c.test\r\n", "no PROXY header"),
        (b"\x16\x03\x01\x02\x00\x01", "no PROXY header"),
        (b"GET / HTTP/1.1\r\n", "no PROXY header"),
        (V1.encode()[:-2] + b"\n" + b"x" * 107, "no line end"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n", "malformed line"),
        (V2.encode()[:12] + b"\x31" + V2.encode()[13:], "unknown version"),
        (TLVS.encode()[:-1] + b"x", "checksum"),
    ],
)
def test_whoever_must_send_one_and_does_not_is_dropped(
    run: Run, octets: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "smtpx.server")

    async def main() -> None:
        async with serve(Session, proxy_networks=LOOPBACK) as served:
            peer = await spoken_for(served, octets)
            assert await peer.rest() in {b"", b"(reset)"}
            await until(lambda: not served.server.connections)
        (record,) = [one for one in caplog.records if one.name == "smtpx.server"]
        assert reason in record.getMessage()
        assert "proxy 127.0.0.1:" in record.getMessage()

    run(main())


def test_others_are_never_heard(run: Run) -> None:
    # Whoever may send one can be anybody.
    async def main() -> None:
        async with serve(Session, proxy_networks=("192.0.2.0/24",)) as served:
            peer = await spoken_for(served, V1.encode())
            assert await peer.codes(2) == [220, 500]
            (info,) = served.server.connections
            assert (info.peer_host, info.proxy) == ("127.0.0.1", None)
            peer = await spoken_for(served, V2.encode())
            assert (await peer.codes(2))[0] == 220

    run(main())


def test_a_listener_for_proxies_beside_one_for_clients(run: Run) -> None:
    listeners: list[Address] = [
        Listener("127.0.0.1:0", proxy_networks=LOOPBACK),
        Listener("127.0.0.1:0"),
    ]

    async def main() -> None:
        async with serve(Session, listeners) as served:
            peer = await spoken_for(served, V1.encode())
            assert await peer.codes(1) == [220]
            peer = await served.connect(index=1)
            assert await peer.codes(1) == [220]
            hosts = {info.peer_host for info in served.server.connections}
            assert hosts == {"192.0.2.7", "127.0.0.1"}

    run(main())


def test_unix_sockets(run: Run, tmp_path: Path) -> None:
    addresses: list[Address] = ["127.0.0.1:0", unix_address(tmp_path)]

    async def main() -> None:
        async with serve(Session, addresses, proxy_networks=("unix:",)) as served:
            direct = await served.connect()
            assert await direct.codes(1) == [220]
            peer = await spoken_for(served, V2.encode(), index=1)
            assert await peer.codes(1) == [220]
            info = next(one for one in served.server.connections if one.proxy)
            assert (info.peer_host, info.is_unix) == ("192.0.2.7", False)
            assert info.original is not None
            assert (info.original.is_unix, info.is_local) == (True, False)
            other = ProxyHeader("/run/client", "/run/smtp")
            peer = await spoken_for(served, other.encode(), index=1)
            assert await peer.codes(1) == [220]
            (info,) = [one for one in served.server.connections if one.is_unix]
            assert (info.peer, info.local) == ("unix:/run/client", "unix:/run/smtp")
            assert (info.peer_host, info.is_local) == (None, True)

    run(main())


def test_before_implicit_tls(run: Run, certificates: Certificates) -> None:
    async def main() -> None:
        async with serve(
            Session,
            proxy_networks=LOOPBACK,
            tls=certificates.server,
            implicit_tls=True,
        ) as served:
            for header in (V1, TLVS):
                peer = await spoken_for(served, header.encode())
                await peer.start_tls(certificates.client)
                assert await peer.codes(1) == [220]
                assert await peer.say(b"EHLO c.test\r\n") == [250]
            assert [
                (info.tls is not None, info.peer) for info in served.server.connections
            ] == [(True, "192.0.2.7:40112")] * 2

    run(main())


def test_the_first_record_of_tls_comes_with_the_header(
    run: Run, certificates: Certificates
) -> None:
    """HAProxy sends both in one segment when it has both."""

    async def main() -> None:
        async with serve(
            Session,
            proxy_networks=LOOPBACK,
            tls=certificates.server,
            implicit_tls=True,
        ) as served:
            host, port = served.server.addresses[0].rsplit(":", 1)
            reader, writer = await asyncio.open_connection(host, int(port))
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = certificates.client.wrap_bio(
                incoming, outgoing, server_hostname="mx.test"
            )
            octets = V2.encode()
            greeting = b""
            while not greeting:
                try:
                    if tls.version() is None or octets:
                        tls.do_handshake()
                    greeting = tls.read()
                except ssl.SSLWantReadError:
                    octets += outgoing.read()
                    writer.write(octets)
                    octets = b""
                    data = await reader.read(65_536)
                    assert data
                    incoming.write(data)
            assert greeting.startswith(b"220 ")
            (info,) = served.server.connections
            assert info.peer == "192.0.2.7:40112"
            writer.transport.abort()

    run(main())


def test_starttls_behind_a_proxy(run: Run, certificates: Certificates) -> None:
    async def main() -> None:
        async with serve(
            Session, proxy_networks=LOOPBACK, tls=certificates.server
        ) as served:
            peer = await spoken_for(served, V2.encode() + b"EHLO c.test\r\n")
            assert await peer.codes(2) == [220, 250]
            assert await peer.say(b"STARTTLS\r\n") == [220]
            await peer.start_tls(certificates.client)
            assert await peer.say(b"EHLO c.test\r\n") == [250]
            (info,) = served.server.connections
            assert info.tls is not None
            assert info.peer == "192.0.2.7:40112"

    run(main())


# --- Limits. ---


def test_clients_are_counted_and_not_their_proxy(run: Run) -> None:
    async def main() -> None:
        async with serve(
            Session,
            proxy_networks=LOOPBACK,
            unlimited_networks=(),
            max_connections_per_ip=1,
        ) as served:
            # These wait for their header, and are nobody's yet.
            waiting = [await served.connect() for _ in range(3)]
            await until(lambda: len(served.server.connections) == 3)
            waiting[0].send(V1.encode())
            assert await waiting[0].codes(1) == [220]
            waiting[1].send(V2.encode())
            assert (await waiting[1].reply()).startswith("421 4.7.0 too many")
            assert await waiting[1].rest() == b""
            waiting[2].send(IPV6.encode())
            assert await waiting[2].codes(1) == [220]
            assert await waiting[0].say(b"QUIT\r\n") == [221]
            assert await waiting[0].rest() == b""
            peer = await spoken_for(served, V2.encode())
            assert await peer.codes(1) == [220]

    run(main())


def test_who_is_not_welcome_gets_no_handshake(
    run: Run, certificates: Certificates
) -> None:
    async def main() -> None:
        async with serve(
            Session,
            proxy_networks=LOOPBACK,
            max_connections_per_ip=1,
            tls=certificates.server,
            implicit_tls=True,
        ) as served:
            first = await spoken_for(served, V1.encode())
            await first.start_tls(certificates.client)
            assert await first.codes(1) == [220]
            second = await spoken_for(served, V1.encode())
            assert await second.rest() in {b"", b"(reset)"}
            await until(lambda: len(served.server.connections) == 1)

    run(main())


def test_all_in_all_they_are_counted_from_the_beginning(run: Run) -> None:
    async def main() -> None:
        async with serve(Session, proxy_networks=LOOPBACK, max_connections=1) as served:
            await served.connect()
            await until(lambda: len(served.server.connections) == 1)
            peer = await served.connect()
            assert (await peer.reply()).startswith("421 ")
            peer.send(V1.encode())
            assert await peer.rest() == b""

    run(main())


@pytest.mark.parametrize("extra", [0, 1])
def test_a_header_at_its_limit_and_over_it(run: Run, extra: int) -> None:
    padding = ProxyTLV(TLVType.NOOP, bytes(100 - 16 - 12 - 3 + extra))
    header = ProxyHeader(SOURCE, DESTINATION, tlvs=(padding,))
    assert len(header.encode()) == 100 + extra

    async def main() -> None:
        limits = Limits(max_proxy_header_octets=100)
        async with serve(Session, proxy_networks=LOOPBACK, limits=limits) as served:
            peer = await spoken_for(served, header.encode())
            if extra:
                assert await peer.rest() in {b"", b"(reset)"}
            else:
                assert await peer.codes(1) == [220]

    run(main())


@pytest.mark.parametrize("octets", [b"", V1.encode()[:-1], V2.encode()[:-1]])
def test_a_header_that_does_not_come(octets: bytes, run_timed: Run) -> None:
    async def main() -> None:
        timeouts = ServerTimeouts(proxy_header=7.0)
        async with serve(Session, proxy_networks=LOOPBACK, timeouts=timeouts) as served:
            loop = asyncio.get_running_loop()
            before = loop.time()
            peer = await spoken_for(served, octets)
            assert await peer.rest() in {b"", b"(reset)"}
            assert 7.0 <= loop.time() - before < 8.0
            await until(lambda: not served.server.connections)

    run_timed(main())


def test_a_slow_header_has_no_longer(run_timed: Run) -> None:
    async def main() -> None:
        timeouts = ServerTimeouts(proxy_header=7.0)
        async with serve(Session, proxy_networks=LOOPBACK, timeouts=timeouts) as served:
            loop = asyncio.get_running_loop()
            before = loop.time()
            peer = await served.connect()
            for octet in V1.encode()[:20]:
                peer.send(bytes([octet]))
                await asyncio.sleep(1.0)
            assert await peer.rest() in {b"", b"(reset)"}
            assert 7.0 <= loop.time() - before <= 21.0
            await until(lambda: not served.server.connections)

    run_timed(main())


@pytest.mark.parametrize("octets", [b"", b"PROXY TCP4 "])
def test_a_proxy_that_goes_away(run: Run, octets: bytes) -> None:
    async def main() -> None:
        async with serve(Session, proxy_networks=LOOPBACK) as served:
            peer = await spoken_for(served, octets)
            await until(lambda: len(served.server.connections) == 1)
            await peer.close()
            await until(lambda: not served.server.connections)

    run(main())


def test_a_server_that_goes_away(run: Run) -> None:
    async def main() -> None:
        # Longer than the patience of this test.
        timeouts = ServerTimeouts(proxy_header=600)
        async with serve(Session, proxy_networks=LOOPBACK, timeouts=timeouts) as served:
            peer = await spoken_for(served, b"PROXY ")
            await until(lambda: len(served.server.connections) == 1)
            await served.server.close()
            assert await peer.rest() in {b"", b"(reset)"}
            assert not served.server.connections

    run(main())


# --- What follows from it. ---


@pytest.mark.parametrize(
    ("source", "tlvs", "is_private"),
    [
        ("192.0.2.7", (), False),
        ("127.0.0.9", (), True),
        ("192.0.2.7", (ProxyTLS(is_tls=True),), True),
        ("192.0.2.7", (ProxyTLS(is_tls=False),), False),
    ],
)
def test_passwords_where_nobody_listens(
    run: Run, source: str, tlvs: tuple[ProxyTLS, ...], is_private: bool
) -> None:
    """Where the client's TLS ended at a proxy on this host, nobody does."""

    class Users(Session):
        async def check_password(self, user: str, password: str) -> bool:
            return True

    header = ProxyHeader(
        (source, 1),
        DESTINATION,
        tlvs=tuple(ProxyTLV(TLVType.SSL, one.encode()) for one in tlvs),
    )

    async def main() -> None:
        async with serve(
            Users, proxy_networks=LOOPBACK, xclient_networks=("0.0.0.0/0",)
        ) as served:
            peer = await spoken_for(served, header.encode())
            assert await peer.codes(1) == [220]
            reply = await peer.ask(b"EHLO c.test\r\n")
            assert ("AUTH" in reply and "PLAIN" in reply) is is_private
            (info,) = served.server.connections
            assert info.is_local is ip_address(source).is_loopback
            # Of another client nothing is known.
            assert await peer.say(b"XCLIENT ADDR=192.0.2.8\r\n") == [220]
            assert "PLAIN" not in await peer.ask(b"EHLO c.test\r\n")

    run(main())


def test_the_client_that_is_told_may_be_a_gateway(run: Run) -> None:
    async def main() -> None:
        async with serve(
            Session, proxy_networks=LOOPBACK, xclient_networks=("192.0.2.0/24",)
        ) as served:
            peer = await spoken_for(served, V1.encode())
            assert await peer.codes(1) == [220]
            assert "XCLIENT" in await peer.ask(b"EHLO c.test\r\n")
            (info,) = served.server.connections
            original = info.original
            assert await peer.say(b"XCLIENT ADDR=203.0.113.1\r\n") == [220]
            assert info.peer_host == "203.0.113.1"
            assert info.original == original
            # The address of the proxy is nobody's.
            other = await spoken_for(served, IPV6.encode())
            assert await other.codes(1) == [220]
            assert "XCLIENT" not in await other.ask(b"EHLO c.test\r\n")

    run(main())


def remote(host: str = "10.0.0.2") -> ConnectionInfo:
    """Describe a connection, as of a proxy on another host."""
    return ConnectionInfo(
        id="0",
        hostname="mx.test",
        peer=f"{host}:1",
        peer_host=host,
        local="10.0.0.1:25",
        started_at=datetime.now(UTC),
        is_lmtp=False,
        is_local=ip_address(host).is_loopback,
        close=lambda _reply: None,
    )


OVER_TLS = ProxyTLV(TLVType.SSL, ProxyTLS(is_tls=True).encode())


@pytest.mark.parametrize(
    ("proxy", "header", "is_local", "is_secret"),
    [
        # Of another host's loopback nobody knows who listens on the way here.
        ("10.0.0.2", ProxyHeader(("127.0.0.1", 1), DESTINATION), False, False),
        ("10.0.0.2", ProxyHeader(("::1", 1), ("::1", 25)), False, False),
        ("10.0.0.2", ProxyHeader("/run/client", "/run/smtp"), False, False),
        ("10.0.0.2", ProxyHeader(SOURCE, DESTINATION, tlvs=(OVER_TLS,)), False, False),
        ("127.0.0.1", ProxyHeader(("::1", 1), ("::1", 25)), True, True),
        ("127.0.0.1", ProxyHeader("/run/client", "/run/smtp"), True, True),
        ("127.0.0.1", ProxyHeader(SOURCE, DESTINATION), False, False),
        ("127.0.0.1", ProxyHeader(SOURCE, DESTINATION, tlvs=(OVER_TLS,)), False, True),
    ],
)
def test_both_ends_of_the_way_have_to_be_local(
    proxy: str, header: ProxyHeader, is_local: bool, is_secret: bool
) -> None:
    info = remote(proxy)
    come_through(info, header)
    assert (info.is_local, is_private(info)) == (is_local, is_secret)
    # Nor is it trusted as a client on a unix socket of this host.
    assert info.is_unix is (is_local and isinstance(header.source, str))


@pytest.mark.parametrize(
    ("gateway", "addr", "is_local"),
    [
        ("10.0.0.2", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "::1", True),
        ("127.0.0.1", "192.0.2.1", False),
        ("127.0.0.1", Unknown.UNAVAILABLE, False),
    ],
)
def test_the_same_goes_for_gateways(
    gateway: str, addr: str | Unknown, is_local: bool
) -> None:
    info = remote(gateway)
    become(info, XClient(addr=addr))
    assert (info.is_local, is_private(info)) == (is_local, is_local)


def test_sinks_are_told_of_the_client(run: Run) -> None:
    events: list[ServerEvent] = []

    async def main() -> None:
        async with serve(
            Session, proxy_networks=LOOPBACK, events=events.append
        ) as served:
            peer = await spoken_for(served, V1.encode())
            assert await peer.codes(1) == [220]
        (told,) = [event for event in events if isinstance(event, ConnectedEvent)]
        assert (told.peer, told.local) == ("192.0.2.7:40112", "198.51.100.1:25")

    run(main())


def test_the_wire_log_has_it(run: Run) -> None:
    lines: list[str] = []

    def write(_session: str, text: str) -> None:
        lines.append(text)

    async def main() -> None:
        async with serve(Session, proxy_networks=LOOPBACK, wire_log=write) as served:
            peer = await spoken_for(served, V1.encode())
            assert await peer.codes(1) == [220]
        assert lines[0] == "== PROXY header, version 1: 192.0.2.7:40112 =="

    run(main())


def test_wrong_networks_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="proxy"):
        ServerOptions(proxy_networks=("proxy",))
    with pytest.raises(ValueError, match="proxy_header"):
        ServerTimeouts(proxy_header=0)

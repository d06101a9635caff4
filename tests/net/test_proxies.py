"""Proxies: what is said to them, and that not an octet of the server's is lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from smtpx.net.proxies import (
    MAX_HTTP_HEADER_OCTETS,
    Proxy,
    ProxyRefused,
    open_tunnel,
)
from tests.net.conftest import run_without_loop

if TYPE_CHECKING:
    import ssl

    from smtpx.net.tls import TLSInfo

GREETING = b"220 mx.test\r\n"
SOCKS = Proxy("socks5", "proxy.test", 1080)
SOCKS_USER = Proxy("socks5", "proxy.test", 1080, "user", "secret")
HTTP = Proxy("http", "proxy.test", 3128)
HTTP_USER = Proxy("http", "proxy.test", 3128, "user", "secret")
DONE = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38"
NAME = b"\x05\x01\x00\x03\x07mx.test\x00\x19"


@dataclass
class FakeChannel:
    """A proxy's end that says what it is to say, in blocks of a size."""

    octets: bytes
    size: int
    sent: bytes = b""
    tls: TLSInfo | None = None
    peer: str = "192.0.2.1:1080"
    local: str = "192.0.2.2:40000"
    has_received: bool = False
    is_readable: bool = False
    timeouts: list[float | None] = field(default_factory=list)

    async def send(self, data: bytes | memoryview, *, timeout: float | None) -> None:
        self.timeouts.append(timeout)
        self.sent += data

    async def receive(self, *, timeout: float | None) -> bytes:
        self.timeouts.append(timeout)
        data, self.octets = self.octets[: self.size], self.octets[self.size :]
        return data

    def put_back(self, data: bytes) -> None:
        assert data
        self.octets = data + self.octets

    async def start_tls(
        self,
        context: ssl.SSLContext,
        server_hostname: str | None,
        *,
        timeout: float | None,
    ) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError


def tunnel(
    proxy: Proxy, said: bytes, *, host: str = "mx.test", size: int = 1_000_000
) -> FakeChannel:
    channel = FakeChannel(said, size)
    run_without_loop(open_tunnel(channel, proxy, host, 25, left=lambda: 7.0))
    assert set(channel.timeouts) == {7.0}
    return channel


HTTP_OK = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 1_000_000])
@pytest.mark.parametrize(
    ("proxy", "said", "expected"),
    [
        (SOCKS, b"\x05\x00" + DONE, b"\x05\x01\x00" + NAME),
        (
            SOCKS_USER,
            b"\x05\x02\x01\x00" + DONE,
            b"\x05\x02\x00\x02\x01\x04user\x06secret" + NAME,
        ),
        (SOCKS_USER, b"\x05\x00" + DONE, b"\x05\x02\x00\x02" + NAME),
        (
            SOCKS,
            b"\x05\x00\x05\x00\x00\x03\x05proxy\x04\x38",
            b"\x05\x01\x00" + NAME,
        ),
        (
            SOCKS,
            b"\x05\x00\x05\x00\x00\x04" + bytes(16) + b"\x04\x38",
            b"\x05\x01\x00" + NAME,
        ),
        (HTTP, HTTP_OK, b"CONNECT mx.test:25 HTTP/1.1\r\nHost: mx.test:25\r\n\r\n"),
        (
            HTTP_USER,
            b"HTTP/1.0 200\r\n\r\n",
            b"CONNECT mx.test:25 HTTP/1.1\r\nHost: mx.test:25\r\n"
            b"Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n\r\n",
        ),
    ],
)
def test_the_greeting_behind_the_proxys_answer_is_kept(
    proxy: Proxy, said: bytes, expected: bytes, size: int
) -> None:
    channel = tunnel(proxy, said + GREETING, size=size)
    assert channel.sent == expected
    assert channel.octets == GREETING


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.9", b"\x01\xc0\x00\x02\x09"),
        ("2001:db8::9", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x09"),
        ("a" * 255, b"\x03\xff" + b"a" * 255),
    ],
)
def test_socks_addresses(host: str, address: bytes) -> None:
    channel = tunnel(SOCKS, b"\x05\x00" + DONE, host=host)
    assert channel.sent == b"\x05\x01\x00" + b"\x05\x01\x00" + address + b"\x00\x19"


def test_an_ip_address_in_http_has_brackets() -> None:
    channel = tunnel(HTTP, HTTP_OK, host="2001:db8::9")
    assert channel.sent.startswith(b"CONNECT [2001:db8::9]:25 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("proxy", "said", "why"),
    [
        (SOCKS, b"", "closed the connection"),
        (SOCKS, b"\x05", "closed the connection"),
        (SOCKS, b"\x04\x00", "does not speak SOCKS5"),
        (SOCKS, b"\x05\xff", "another way to authenticate"),
        (SOCKS, b"\x05\x02", "another way to authenticate"),
        (SOCKS, b"\x05\x01", "another way to authenticate"),
        (SOCKS_USER, b"\x05\x02\x01\x01", "does not accept the user"),
        (SOCKS, b"\x05\x00\x04\x00\x00\x01", "does not speak SOCKS5"),
        (SOCKS, b"\x05\x00\x05\x01\x00\x01", "general failure"),
        (SOCKS, b"\x05\x00\x05\x02\x00\x01", "rules do not allow"),
        (SOCKS, b"\x05\x00\x05\x03\x00\x01", "network unreachable"),
        (SOCKS, b"\x05\x00\x05\x04\x00\x01", "host unreachable"),
        (SOCKS, b"\x05\x00\x05\x05\x00\x01", "connection refused"),
        (SOCKS, b"\x05\x00\x05\x06\x00\x01", "time to live"),
        (SOCKS, b"\x05\x00\x05\x07\x00\x01", "does not know CONNECT"),
        (SOCKS, b"\x05\x00\x05\x08\x00\x01", "type of address"),
        (SOCKS, b"\x05\x00\x05\x99\x00\x01", "failure 153"),
        (SOCKS, b"\x05\x00\x05\x00\x00\x02", "address of type 2"),
        (SOCKS, b"\x05\x00" + DONE[:-1], "closed the connection"),
        (HTTP, b"", "closed the connection"),
        (HTTP, GREETING, "closed the connection"),
        (HTTP, GREETING + b"\r\n\r\n", "does not speak HTTP"),
        (HTTP, b"HTTP/2.0 200 OK\r\n\r\n", "does not speak HTTP"),
        (HTTP, b"HTTP/1.1 2000 OK\r\n\r\n", "does not speak HTTP"),
        (HTTP, b"HTTP/1.1 407 Who?\r\n\r\n", "HTTP status 407"),
        (HTTP, b"HTTP/1.1 301 There\r\n\r\n", "HTTP status 301"),
    ],
)
@pytest.mark.parametrize("size", [1, 1_000_000])
def test_refusals(proxy: Proxy, said: bytes, why: str, size: int) -> None:
    with pytest.raises(ProxyRefused, match=why) as caught:
        tunnel(proxy, said, size=size)
    assert "secret" not in str(caught.value)


def test_a_name_too_long_for_socks() -> None:
    with pytest.raises(ProxyRefused, match="over 255"):
        tunnel(SOCKS, b"\x05\x00" + DONE, host="a" * 256)


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_the_header_of_an_answer_is_limited(size: int) -> None:
    start, end = b"HTTP/1.1 200 OK\r\nX: ", b"\r\n\r\n"
    filler = b"x" * (MAX_HTTP_HEADER_OCTETS - len(start) - len(end))
    assert tunnel(HTTP, start + filler + end + GREETING, size=size).octets == GREETING
    with pytest.raises(ProxyRefused, match="does not end"):
        tunnel(HTTP, start + filler + b"x" + end, size=size)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("socks5://proxy.test", SOCKS),
        ("SOCKS5H://proxy.test/", SOCKS),
        ("socks5://proxy.test:1081", Proxy("socks5", "proxy.test", 1081)),
        ("socks5://user:secret@proxy.test", SOCKS_USER),
        ("http://proxy.test", HTTP),
        ("http://[2001:db8::1]:8080", Proxy("http", "2001:db8::1", 8080)),
        ("http://us%40er:se%3Acret@p", Proxy("http", "p", 3128, "us@er", "se:cret")),
        ("http://user@p", Proxy("http", "p", 3128, "user", "")),
        (f"socks5://{'u' * 255}:p@p", Proxy("socks5", "p", 1080, "u" * 255, "p")),
    ],
)
def test_url(url: str, expected: Proxy) -> None:
    assert Proxy.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        *("", "proxy.test", "proxy.test:1080", "socks5://", "socks4://proxy.test"),
        *("https://proxy.test", "http://proxy.test/path", "http://proxy.test:x"),
        *("http://proxy.test:0", "http://proxy.test:65536", "http://a@b@proxy.test"),
        *("http://proxy.test\r\nX: y", "socks5://user@p", "http://us%3Aer:secret@p"),
        *(f"socks5://{'u' * 256}:secret@p", "smtp://user:secret@p"),
    ],
)
def test_bad_url(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        Proxy.parse(url)
    assert "secret" not in str(caught.value)


def test_a_password_is_not_shown() -> None:
    assert "secret" not in f"{SOCKS_USER} {SOCKS_USER!r}"
    assert str(Proxy("http", "::1", 1)) == "http://[::1]:1"

"""Getting through a proxy: SOCKS5 and HTTP CONNECT.

The name of the host goes to the proxy, which looks it up: behind a proxy this host's
own DNS often knows nothing, or tells others whom we write to.

It is written over a channel, once for both fronts, and it takes not an octet too many.
An SMTP server speaks first, so its greeting may share a segment with the proxy's last
words; python-socks and others read whatever has come, and the greeting is lost.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from smtpx.net.channel import Channel

__all__ = ["MAX_HTTP_HEADER_OCTETS", "Proxy", "ProxyRefused", "open_tunnel"]

# Of a proxy's answer to CONNECT; Apache and nginx take 8 KiB of a client's.
MAX_HTTP_HEADER_OCTETS: Final = 8 * 1024

_SCHEMES: Final = {"socks5": 1080, "socks5h": 1080, "http": 3128}

_URL = re.compile(
    r"(?P<scheme>[a-z0-9]+)://"
    r"(?:(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@)?"
    r"(?:\[(?P<literal>[0-9A-Fa-f:.]+)\]|(?P<host>[^:@/\[\]\s]+))"
    r"(?::(?P<port>[0-9]{1,5}))?/?",
    re.IGNORECASE,
)

# RFC 1928 section 6.
_SOCKS_FAILURES: Final = {
    1: "general failure",
    2: "its rules do not allow the connection",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "time to live expired",
    7: "it does not know CONNECT",
    8: "it does not know this type of address",
}
_OCTETS_OF_ADDRESS: Final = {1: 4, 4: 16}


class ProxyRefused(ConnectionError):
    """The proxy would not connect to the server, or does not speak its protocol."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a proxy is, and how to speak to it.

    Attributes:
        scheme: ``socks5`` or ``http``.
        host: a name or an IP address.
        port: of TCP.
        user: None if the proxy knows no users.
        password: likewise.
    """

    scheme: str
    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """Parse the URL of a proxy.

        Args:
            url: ``socks5://host`` (port 1080) or ``http://host`` (port 3128), maybe
                with ``user:password@`` before the host, percent-encoded. In either
                the proxy looks up names, so ``socks5h://`` is the same.

        Raises:
            ValueError: it is none of them. The text shows no password.

        >>> str(Proxy.parse("socks5://user:secret@proxy.example.com"))
        'socks5://proxy.example.com:1080'
        """
        match = _URL.fullmatch(url)
        scheme = "" if match is None else match["scheme"].lower()
        if match is None or scheme not in _SCHEMES:
            raise ValueError(
                "a proxy is socks5://host:port or http://host:port, with "
                "user:password@ before the host if it asks for them"
            )
        port = int(match["port"] or _SCHEMES[scheme])
        if not 1 <= port <= 65_535:
            raise ValueError(f"a port is 1 to 65535, not {port}")
        user, password = match["user"], match["password"]
        proxy = cls(
            scheme.removesuffix("h"),
            match["literal"] or match["host"],
            port,
            None if user is None else unquote(user),
            None if user is None else unquote(password or ""),
        )
        _check_credentials(proxy)
        return proxy


def _check_credentials(proxy: Proxy) -> None:
    if proxy.user is None:
        return
    for text in (proxy.user, proxy.password or ""):
        # RFC 1929 has one octet for each length.
        if proxy.scheme == "socks5" and not 1 <= len(text.encode()) <= 255:
            raise ValueError("SOCKS5 takes a user and a password of 1 to 255 octets")
    if proxy.scheme == "http" and ":" in proxy.user:
        raise ValueError("HTTP takes no user with a colon in it (RFC 7617)")


async def open_tunnel(
    channel: Channel,
    proxy: Proxy,
    host: str,
    port: int,
    *,
    left: Callable[[], float | None],
) -> None:
    """Have a proxy connect to a server; from then on the channel leads there.

    Args:
        channel: connected to the proxy.
        proxy: it.
        host: of the server, in A-labels, or an IP address without brackets.
        port: of the server.
        left: tells how many seconds are left; it may raise `TimeoutError`.

    Raises:
        ProxyRefused: it would not, or speaks something else.
        TimeoutError: it took too long.
        OSError: the connection broke.
    """
    talk = _Talk(channel, proxy, left)
    await _TUNNELS[proxy.scheme](talk, host, port)
    talk.put_back()


class _Talk:
    """What is said to a proxy, octet by octet."""

    def __init__(
        self, channel: Channel, proxy: Proxy, left: Callable[[], float | None]
    ) -> None:
        self._channel = channel
        self._left = left
        self._received = b""
        self.proxy = proxy

    async def say(self, octets: bytes) -> None:
        await self._channel.send(octets, timeout=self._left())

    async def take(self, count: int) -> bytes:
        """Return so many octets."""
        while len(self._received) < count:
            await self._receive()
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    async def take_header(self) -> bytes:
        """Return all up to the first empty line."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            if len(self._received) >= MAX_HTTP_HEADER_OCTETS:
                raise self.refused("its answer does not end")
            await self._receive()
        if end + 4 > MAX_HTTP_HEADER_OCTETS:
            raise self.refused("its answer does not end")
        taken, self._received = self._received[:end], self._received[end + 4 :]
        return taken

    async def _receive(self) -> None:
        data = await self._channel.receive(timeout=self._left())
        if not data:
            raise self.refused("it closed the connection")
        self._received += data

    def put_back(self) -> None:
        """Leave to the conversation what the server has said already."""
        if self._received:
            self._channel.put_back(self._received)

    def refused(self, why: str) -> ProxyRefused:
        return ProxyRefused(f"the proxy {self.proxy} makes no connection: {why}")


async def _tunnel_by_socks(talk: _Talk, host: str, port: int) -> None:
    """Say CONNECT in SOCKS version 5 (RFC 1928)."""
    has_user = talk.proxy.user is not None
    await talk.say(b"\x05\x02\x00\x02" if has_user else b"\x05\x01\x00")
    version, method = await talk.take(2)
    if version != 5:
        raise talk.refused("it does not speak SOCKS5")
    if method == 2 and has_user:
        await _authenticate_by_socks(talk)
    elif method != 0:
        raise talk.refused("it wants another way to authenticate")
    if len(host) > 255:
        raise talk.refused("the name of the server has over 255 octets")
    await talk.say(b"\x05\x01\x00" + _socks_address(host) + port.to_bytes(2))
    version, code, _, kind = await talk.take(4)
    if version != 5:
        raise talk.refused("it does not speak SOCKS5")
    if code:
        raise talk.refused(_SOCKS_FAILURES.get(code, f"failure {code}"))
    # The address that it connects from, which nobody needs, ends where SMTP begins.
    if kind == 3:
        (length,) = await talk.take(1)
    elif kind in _OCTETS_OF_ADDRESS:
        length = _OCTETS_OF_ADDRESS[kind]
    else:
        raise talk.refused(f"it answers with an address of type {kind}")
    await talk.take(length + 2)


async def _authenticate_by_socks(talk: _Talk) -> None:
    """Say user and password (RFC 1929)."""
    user, password = (
        (text or "").encode() for text in (talk.proxy.user, talk.proxy.password)
    )
    await talk.say(
        b"\x01" + len(user).to_bytes() + user + len(password).to_bytes() + password
    )
    _, status = await talk.take(2)
    if status:
        raise talk.refused("it does not accept the user and password")


def _socks_address(host: str) -> bytes:
    """Write an address (RFC 1928 section 5)."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        return b"\x03" + len(name).to_bytes() + name
    return (b"\x01" if ip.version == 4 else b"\x04") + ip.packed


async def _tunnel_by_http(talk: _Talk, host: str, port: int) -> None:
    """Say CONNECT in HTTP (RFC 9110)."""
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    proxy = talk.proxy
    if proxy.user is not None:
        token = base64.b64encode(f"{proxy.user}:{proxy.password}".encode())
        lines.append(f"Proxy-Authorization: Basic {token.decode()}")
    await talk.say("\r\n".join([*lines, "", ""]).encode("ascii"))
    header = await talk.take_header()
    status = re.match(rb"HTTP/1\.[01] ([0-9]{3})(?: |\r|$)", header)
    if status is None:
        raise talk.refused("it does not speak HTTP")
    if not status[1].startswith(b"2"):
        raise talk.refused(f"HTTP status {status[1].decode()}")


_TUNNELS: Final[dict[str, Callable[[_Talk, str, int], Awaitable[None]]]] = {
    "socks5": _tunnel_by_socks,
    "http": _tunnel_by_http,
}

"""Clients that come through somebody else: who may speak for them, and what it says.

A proxy tells the client's address in a header before anything else; a gateway tells
more with XCLIENT, in the session. Either way `ConnectionInfo` then describes the client
that is spoken for, and ``original`` keeps what was found on the socket.

Whoever may speak for others can be anybody, so both are believed only from networks
that the options name. After XCLIENT the networks are asked again, with the address that
it told, as Postfix does: else a client whose commands a gateway hands on could say
XCLIENT itself.
"""

from __future__ import annotations

import asyncio
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

from smtpx.net.channel import format_address
from smtpx.server.networks import TrustedNetworks
from smtpx.server.session import Endpoints
from smtpx.wire.preamble import ProxyDecoder

if TYPE_CHECKING:
    import socket

    from smtpx.server.options import ServerOptions
    from smtpx.server.session import ConnectionInfo
    from smtpx.wire.forwarded import Unknown, XClient
    from smtpx.wire.preamble import ProxyHeader

__all__ = ["Gateways", "become", "come_through", "is_private", "read_proxy_header"]

_NO_VERBS: Final[frozenset[str]] = frozenset()
_UNKNOWN: Final = "unknown"


class Gateways:
    """Whom a server lets speak for others.

    Args:
        options: of the server.

    Attributes:
        has_proxies: whether there may be any proxy.

    >>> from smtpx import ServerOptions
    >>> gateways = Gateways(ServerOptions(xclient_networks=("192.0.2.0/24",)))
    >>> gateways.verbs("192.0.2.1", is_unix=False)
    frozenset({'XCLIENT'})
    """

    def __init__(self, options: ServerOptions) -> None:
        self._proxies = TrustedNetworks(options.proxy_networks)
        self.has_proxies = bool(options.proxy_networks)
        self._by_verb = {
            verb: TrustedNetworks(networks)
            for verb, networks in (
                ("XCLIENT", options.xclient_networks),
                ("XFORWARD", options.xforward_networks),
            )
            if networks
        }

    def is_proxy(self, info: ConnectionInfo) -> bool:
        """Tell whether a connection that was just accepted begins with a header."""
        return self._proxies.has(info.peer_host, is_unix=info.is_unix)

    def verbs(self, host: str | None, *, is_unix: bool) -> frozenset[str]:
        """Tell which of XCLIENT and XFORWARD a client may say.

        Args:
            host: its IP address; None if it has none, or nobody knows it.
            is_unix: it came through a unix socket.
        """
        if not self._by_verb:
            return _NO_VERBS
        return frozenset(
            verb
            for verb, networks in self._by_verb.items()
            if networks.has(host, is_unix=is_unix)
        )

    def verbs_of(self, info: ConnectionInfo) -> frozenset[str]:
        """Tell which of them the client of a connection may say, as it is now."""
        return self.verbs(info.peer_host, is_unix=info.is_unix)


async def read_proxy_header(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    *,
    max_octets: int,
    timeout: float,
) -> ProxyHeader:
    """Read the header of a proxy, and nothing behind it.

    What is behind it may belong to TLS, to which nobody could give it back. So it is
    read in as many pieces as it takes; what has arrived is read without waiting.

    Args:
        loop: reads.
        sock: that was just accepted.
        max_octets: of a header of version 2.
        timeout: in seconds, for all of it.

    Raises:
        BadProxyHeader: it is none: drop the connection.
        TimeoutError: it was not complete in time.
        OSError: the connection broke, or ended.
    """
    sock.setblocking(False)
    decoder = ProxyDecoder(max_octets)
    try:
        async with asyncio.timeout(timeout):
            while decoder.header is None:
                data = await loop.sock_recv(sock, decoder.missing)
                if not data:
                    raise ConnectionResetError("it ended before a PROXY header")
                decoder.feed(data)
    except TimeoutError:
        raise TimeoutError(f"no PROXY header within {timeout:g} seconds") from None
    return decoder.header


def come_through(info: ConnectionInfo, header: ProxyHeader) -> None:
    """Describe the client that a proxy speaks for.

    Args:
        info: of the connection that was just accepted.
        header: what the proxy tells. Without addresses it speaks for itself, or does
            not know (PROXY sections 2.1 and 2.2), and the real connection counts.
    """
    info.proxy = header
    source, destination = header.source, header.destination
    if source is None:
        return
    original = _keep_original(info)
    info.local = format_address(destination)
    if isinstance(source, str):
        info.peer, info.peer_host = format_address(source), None
        # Unix sockets are trusted where they are of this host.
        info.is_local = info.is_unix = original.is_local
        return
    ip = ip_address(source[0])
    # An IPv4 client is one to every rule, however the proxy listens.
    ip = (ip.ipv4_mapped if isinstance(ip, IPv6Address) else None) or ip
    info.peer, info.peer_host = format_address((str(ip), source[1])), str(ip)
    info.is_local, info.is_unix = original.is_local and ip.is_loopback, False


def is_private(info: ConnectionInfo) -> bool:
    """Tell whether nobody can listen between a client and here, TLS here apart.

    So it is if the client is on this host; or if its TLS ended at a proxy on this host.
    """
    if info.is_local:
        return True
    original, proxy = info.original, info.proxy
    if original is None or proxy is None or info.xclient is not None:
        return False
    return original.is_local and proxy.tls is not None and proxy.tls.is_tls


def become(info: ConnectionInfo, command: XClient) -> None:
    """Describe the client that XCLIENT tells.

    Args:
        info: of the connection.
        command: what was told now; what was told before still holds.
    """
    told = command if info.xclient is None else info.xclient.followed_by(command)
    info.xclient = told
    original = _keep_original(info)
    if told.addr is not None:
        host = _known(told.addr)
        # The gateway's connection must be private too, or others listen there.
        info.is_local = (
            original.is_local and host is not None and ip_address(host).is_loopback
        )
        info.is_unix = False
        info.peer_host = host
    if told.addr is not None or told.port is not None:
        host = info.peer_host
        info.peer = _UNKNOWN if host is None else _show(host, told.port)
    if told.destaddr is not None:
        host = _known(told.destaddr)
        info.local = _UNKNOWN if host is None else _show(host, told.destport)


def _keep_original(info: ConnectionInfo) -> Endpoints:
    if info.original is None:
        info.original = Endpoints(
            peer=info.peer,
            peer_host=info.peer_host,
            local=info.local,
            is_local=info.is_local,
            is_unix=info.is_unix,
        )
    return info.original


def _known(value: str | Unknown) -> str | None:
    return value if isinstance(value, str) else None


def _show(host: str, port: int | Unknown | None) -> str:
    if isinstance(port, int):
        return format_address((host, port))
    return f"[{host}]" if ":" in host else host

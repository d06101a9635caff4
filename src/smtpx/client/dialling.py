"""Finding out where to connect, and connecting: by name, by MX, through a proxy.

It awaits the runtime and the resolver only, so it serves both fronts. Concurrency, for
the race of a host's addresses, is in the fronts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpx.errors import AuthenticationFailed, HelloRefused, SendError
from smtpx.net.addresses import endpoint_of_ip
from smtpx.net.channel import format_address
from smtpx.net.dns import order_exchangers
from smtpx.net.proxies import Proxy, open_tunnel
from smtpx.wire.address import Mailbox

if TYPE_CHECKING:
    from smtpx.client.link import Runtime
    from smtpx.client.options import ClientOptions, Target
    from smtpx.net.channel import Channel

__all__ = ["Place", "dial", "find_places", "may_try_next"]

# Tells how many seconds are left, or raises TimeoutError.
_Left = Callable[[], float | None]


@dataclass(frozen=True, slots=True)
class Place:
    """A host to connect to.

    Attributes:
        host: a name in A-labels, or an IP address without brackets; empty for a unix
            socket.
        port: of TCP.
        path: of a unix socket.
    """

    host: str
    port: int
    path: str | None = None

    def __str__(self) -> str:
        return format_address(self.path or (self.host, self.port))


def _ascii_name(name: str) -> str:
    """Write a domain in A-labels.

    Raises:
        BadAddress: it is none.
    """
    return name if name.isascii() else Mailbox("x", name).domain_ascii


async def find_places(
    target: Target, options: ClientOptions, runtime: Runtime, left: _Left
) -> list[Place]:
    """Return where to connect, the best first.

    Raises:
        DNSFailure: of a domain's MX records; it may take no mail at all (RFC 7505).
        BadAddress: the host is no domain.
        TimeoutError: it took too long.
    """
    if target.path is not None:
        return [Place("", 0, target.path)]
    name = _ascii_name(target.host)
    if not target.is_mx or endpoint_of_ip(name, target.port):
        return [Place(name, target.port)]
    resolver = options.resolver or runtime.resolver()
    found = await resolver.mail_exchangers(name, timeout=left())
    return [Place(host, target.port) for host in order_exchangers(name, found)]


async def dial(
    place: Place, options: ClientOptions, runtime: Runtime, left: _Left
) -> Channel:
    """Connect, through a proxy if there is one.

    Raises:
        TimeoutError: it took too long.
        OSError: there is no connection.
    """
    if place.path is not None:
        return await runtime.connect_unix(place.path, timeout=left())
    proxy = None if options.proxy is None else Proxy.parse(options.proxy)
    host, port = (place.host, place.port) if proxy is None else (proxy.host, proxy.port)
    addresses = None
    if options.resolver is not None:
        addresses = await options.resolver.addresses(host, timeout=left())
    channel = await runtime.connect_tcp(
        host,
        port,
        timeout=left(),
        local_address=options.local_address,
        addresses=addresses,
    )
    if proxy is not None:
        try:
            await open_tunnel(channel, proxy, place.host, place.port, left=left)
        except BaseException:
            channel.abort()
            raise
    return channel


def may_try_next(error: SendError) -> bool:
    """Say whether another host of the domain may do better (RFC 5321 section 5.1).

    Any failure before the first transaction is one of the host, but for what every
    host would say alike: that it knows neither this client nor its user.

    Args:
        error: of the attempt to open a connection.
    """
    if isinstance(error, AuthenticationFailed | HelloRefused):
        return error.is_temporary
    return True

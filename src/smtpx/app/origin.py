"""What the next server is told of our client: by a PROXY header, or by XFORWARD."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, Final

from smtpx.net.channel import ip_of
from smtpx.wire.forwarded import ForwardedSource, XForward
from smtpx.wire.preamble import ProxyHeader

if TYPE_CHECKING:
    from smtpx.server.session import ConnectionInfo

__all__ = ["origin_of", "proxy_header_of"]

# Of a local address that nobody knows.
_ANY_IPV4: Final = IPv4Address(0)


def proxy_header_of(connection: ConnectionInfo | None) -> ProxyHeader:
    """Say for whom we speak, from address to address."""
    if connection is None:
        return ProxyHeader(None, None, is_local=True)
    host = connection.peer_host
    if host is None:
        # Of a client on a unix socket there is nothing to tell.
        return ProxyHeader(None, None)
    peer = ip_address(host)
    # A gateway may keep to itself where its client connected. Who that is has to be
    # told all the same, or the next server takes the client for us.
    local = ip_of(connection.local) or _ANY_IPV4
    if isinstance(local, IPv6Address) and peer.version == 4:
        # An IPv4 client of a dual-stack socket.
        local = local.ipv4_mapped or local
    if peer.version != local.version:
        # A gateway's client need not come by the protocol that the gateway comes by.
        peer, local = _as_ipv6(peer), _as_ipv6(local)
    return ProxyHeader(
        (str(peer), _port_of(connection.peer)), (str(local), _port_of(connection.local))
    )


def _as_ipv6(ip: IPv4Address | IPv6Address) -> IPv6Address:
    return ip if isinstance(ip, IPv6Address) else IPv6Address(f"::ffff:{ip}")


def _port_of(address: str) -> int:
    """Return the port of an address as a log shows it; 0 if a gateway told none."""
    port = address.rpartition(":")[2]
    return int(port) if port.isdecimal() else 0


def origin_of(connection: ConnectionInfo, names: tuple[str, ...]) -> XForward:
    """Say where a message comes from, in those attributes that the server takes.

    Of those that are not known nothing is said. A gateway that told us is believed in
    all: of what it does not know, our own view is of the gateway.
    """
    offered = {name.lower() for name in names}
    told = connection.forwarded
    if told is not None:
        return XForward(
            **{
                name: getattr(told, name)
                for name in (one.lower() for one in told.names)
                if name in offered
            }
        )
    port = connection.peer.rpartition(":")[2]
    is_local = connection.is_local
    known: dict[str, Any] = {
        "addr": connection.peer_host,
        "port": int(port) if connection.peer_host and port.isdecimal() else None,
        "proto": connection.protocol,
        "helo": connection.hello_name,
        "ident": connection.id,
        "source": ForwardedSource.LOCAL if is_local else ForwardedSource.REMOTE,
    }
    return XForward(**{name: known[name] for name in known if name in offered})

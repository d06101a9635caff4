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

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from smtpx.net.channel import format_address
from smtpx.server.networks import TrustedNetworks
from smtpx.server.session import Endpoints

if TYPE_CHECKING:
    from smtpx.server.options import ServerOptions
    from smtpx.server.session import ConnectionInfo
    from smtpx.wire.forwarded import Unknown, XClient

__all__ = ["Gateways", "become"]

_NO_VERBS: Final[frozenset[str]] = frozenset()
_UNKNOWN: Final = "unknown"


class Gateways:
    """Whom a server lets speak for others.

    Args:
        options: of the server.

    >>> from smtpx import ServerOptions
    >>> gateways = Gateways(ServerOptions(xclient_networks=("192.0.2.0/24",)))
    >>> gateways.verbs("192.0.2.1", is_unix=False)
    frozenset({'XCLIENT'})
    """

    def __init__(self, options: ServerOptions) -> None:
        self._by_verb = {
            verb: TrustedNetworks(networks)
            for verb, networks in (
                ("XCLIENT", options.xclient_networks),
                ("XFORWARD", options.xforward_networks),
            )
            if networks
        }

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
        # The proxy's connection must be private too, or others listen there.
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

"""What a transport tells of its two ends, put into a ``ConnectionInfo``."""

from __future__ import annotations

import secrets
import socket
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from smtpx.net.channel import format_address
from smtpx.net.tls import TLSInfo
from smtpx.server.session import ConnectionInfo

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from smtpx.wire.replies import Reply

__all__ = ["describe_connection", "tls_info"]

# 48 bits: two of a million sessions share an id with odds of 1 to 500.
_ID_OCTETS = 6


def describe_connection(
    transport: asyncio.BaseTransport,
    *,
    hostname: str,
    is_lmtp: bool,
    close: Callable[[Reply | None], None],
) -> ConnectionInfo:
    """Collect the facts about a connection that was just made.

    Args:
        transport: of the connection, after its handshake if it is under TLS.
        hostname: what the server calls itself.
        is_lmtp: whether it speaks LMTP.
        close: ends the session.
    """
    peer = transport.get_extra_info("peername")
    peer_host = _host_of(peer)
    sock = transport.get_extra_info("socket")
    is_unix = sock is not None and sock.family == getattr(socket, "AF_UNIX", None)
    info = ConnectionInfo(
        id=secrets.token_hex(_ID_OCTETS),
        hostname=hostname,
        peer=format_address(peer),
        peer_host=peer_host,
        local=format_address(transport.get_extra_info("sockname")),
        started_at=datetime.now(UTC),
        is_lmtp=is_lmtp,
        # A TCP client that is gone already has no address either, and is not local.
        is_local=is_unix if peer_host is None else _is_loopback(peer_host),
        close=close,
    )
    info.tls = tls_info(transport)
    return info


def tls_info(transport: asyncio.BaseTransport) -> TLSInfo | None:
    """Return the facts about TLS, None in plaintext."""
    connection = transport.get_extra_info("ssl_object")
    if not isinstance(connection, ssl.SSLObject | ssl.SSLSocket):
        return None
    return TLSInfo.of(connection)


def _host_of(peer: object) -> str | None:
    """Return the IP address of a client as text, None on a unix socket.

    An IPv4 client of a dual-stack socket is an IPv4 client to every rule, and the zone
    of a link-local address is no part of it: ``fe80::1%eth0``.
    """
    if not isinstance(peer, tuple):
        return None
    return str(peer[0]).removeprefix("::ffff:").partition("%")[0]


def _is_loopback(host: str) -> bool:
    # RFC 1122 section 3.2.1.3: all of 127/8. No parser: this runs at each connection.
    return host == "::1" or host.startswith("127.")

"""What is known of the two ends of a connection, put into a ``ConnectionInfo``."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from smtpx.net.channel import format_address
from smtpx.net.tls import TLSInfo
from smtpx.server.session import ConnectionInfo

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from smtpx.wire.replies import Reply

__all__ = ["describe_connection", "tls_info"]

# 48 bits: two of a million sessions share an id with odds of 1 to 500.
_ID_OCTETS: Final = 6

# How many are drawn at once: a call of the system for each would take longer than all
# else that is written down here.
_IDS_DRAWN: Final = 256

# Most clients come again and again. What is kept of each is some 200 octets.
_REMEMBERED: Final = 1_024

_ids: list[str] = []
# Two processes that go on from one draw would give the same ids.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ids.clear)


def _new_id() -> str:
    while True:
        try:
            return _ids.pop()
        except IndexError:
            digits = os.urandom(_IDS_DRAWN * _ID_OCTETS).hex()
            width = 2 * _ID_OCTETS
            _ids.extend(
                digits[start : start + width] for start in range(0, len(digits), width)
            )


def describe_connection(
    peer: object,
    local: str,
    hostname: str,
    is_lmtp: bool,
    close: Callable[[Reply | None], None],
) -> ConnectionInfo:
    """Write down the facts about a connection that was just accepted.

    Args:
        peer: the client's address, as ``accept`` returned it.
        local: the address it connected to.
        hostname: what the server calls itself.
        is_lmtp: whether it speaks LMTP.
        close: ends the session.
    """
    peer_host: str | None
    if isinstance(peer, tuple):
        peer_host, is_local = _read_host(peer[0])
    else:
        # Where the kernel knows no address, as of a client that is gone, nobody is.
        peer_host, is_local = None, isinstance(peer, str | bytes)
    # By position: a class that is called with keywords costs 1 % of a connection more.
    return ConnectionInfo(
        _new_id(),
        hostname,
        format_address(peer),
        peer_host,
        local,
        datetime.now(UTC),
        close,
        is_lmtp,
        is_local,
    )


def tls_info(transport: asyncio.BaseTransport) -> TLSInfo | None:
    """Return the facts about TLS, None in plaintext."""
    connection = transport.get_extra_info("ssl_object")
    if connection is None or not isinstance(connection, ssl.SSLObject | ssl.SSLSocket):
        return None
    return TLSInfo.of(connection)


@lru_cache(maxsize=_REMEMBERED)
def _read_host(address: str) -> tuple[str, bool]:
    """Read the address of a client, without its port.

    Returns:
        The IP address as text, and whether it is on loopback. An IPv4 client of a
        dual-stack socket is an IPv4 client to every rule, and the zone of a link-local
        address is no part of it: ``fe80::1%eth0``.
    """
    host = address.removeprefix("::ffff:").partition("%")[0]
    # RFC 1122 section 3.2.1.3: all of 127/8.
    return host, host == "::1" or host.startswith("127.")

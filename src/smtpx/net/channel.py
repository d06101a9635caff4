"""What a conversation needs of a connection.

The methods are coroutines so that one conversation serves both fronts. On a channel
that blocks they never suspend: the first step of the coroutine is its last. Whoever
writes over a `Channel` awaits nothing else, so the same holds for the whole
conversation.

A channel knows octets and time, not SMTP. It raises `TimeoutError` when time is up,
other `OSError` when the connection breaks, and `ssl.SSLError` (an `OSError`) when TLS
does. After any of them, or after a cancelled call, the channel is good for `abort`
only: how much was written is unknown.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl

    from smtpx.net.tls import TLSInfo

__all__ = ["MAX_READ_AHEAD_OCTETS", "Channel", "format_address", "ip_of"]

# How much a channel holds of what the peer sent and nobody took. A client's largest
# flight of commands is 64 KiB, some 1,600 RCPT; their replies fit, unless each is over
# 600 octets. Beyond it the peer has to wait, as memory is bounded.
MAX_READ_AHEAD_OCTETS = 1024 * 1024


class Channel(Protocol):
    """A duplex stream of octets with timeouts that can turn to TLS.

    One task or thread at a time. All timeouts are in seconds, for the whole call;
    None waits for ever.
    """

    @property
    def tls(self) -> TLSInfo | None:
        """Facts about TLS, None in clear."""
        ...

    @property
    def peer(self) -> str:
        """The address of the peer, as `format_address` writes it."""
        ...

    @property
    def local(self) -> str:
        """The address of this end."""
        ...

    @property
    def has_received(self) -> bool:
        """Whether octets arrived that `receive` did not return yet.

        It says what this end has taken from the network, without looking there.
        """
        ...

    @property
    def is_readable(self) -> bool:
        """Whether `receive` would return at once, if only to tell of the end.

        On an idle connection that means that the server has closed it, or is about to.
        """
        ...

    async def send(self, data: bytes | memoryview, *, timeout: float | None) -> None:
        """Write all of the data; read meanwhile, so that the peer is never stuck.

        A peer that must write replies before it reads on, and we that must write
        commands before we read, would wait for each other (RFC 2920 section 3.1).

        Raises:
            TimeoutError: not everything was taken in time.
            OSError: the connection is broken.
        """
        ...

    async def receive(self, *, timeout: float | None) -> bytes:
        """Return what was received: at least one octet, or none at the end.

        Raises:
            TimeoutError: nothing came in time.
            OSError: the connection is broken.
        """
        ...

    def put_back(self, data: bytes) -> None:
        """Give back octets that `receive` returned: it returns them again."""
        ...

    async def start_tls(
        self,
        context: ssl.SSLContext,
        server_hostname: str | None,
        *,
        timeout: float | None,
    ) -> None:
        """Do a TLS handshake as the client; from then on all octets go through TLS.

        Args:
            context: not changed.
            server_hostname: the name asked for (SNI), and verified if the context
                says so.
            timeout: of the handshake.

        Raises:
            BadReply: octets came in clear that nobody took (CVE-2011-0411).
            TimeoutError: the handshake took too long.
            OSError: it failed.
            ValueError: the context verifies the name, and there is none.
        """
        ...

    async def close(self) -> None:
        """Close in good order: what was written is sent first. It does not raise.

        It takes no longer than a few seconds, whatever the peer does.
        """
        ...

    def abort(self) -> None:
        """Close at once, and forget what was not sent yet. Closed is fine too."""
        ...


def format_address(address: object, default: str = "unix:") -> str:
    """Write a socket's address as text.

    Args:
        address: what ``getpeername`` or ``getsockname`` returned.
        default: what to say of a unix socket without a name.

    >>> format_address(("192.0.2.1", 25))
    '192.0.2.1:25'
    >>> format_address(("2001:db8::1", 25, 0, 0))
    '[2001:db8::1]:25'
    >>> format_address("/run/lmtp")
    'unix:/run/lmtp'
    """
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    if isinstance(address, bytes):
        address = address.decode("utf-8", "surrogateescape")
    # A name in Linux's abstract namespace starts with NUL; people write an @.
    return "unix:" + str(address).replace("\0", "@") if address else default


def ip_of(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address within the text of an address; None of a unix socket.

    >>> ip_of("[::1]:25")
    IPv6Address('::1')
    >>> ip_of("unix:/run/lmtp")
    """
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None

"""Which of a host's addresses to try, in which order, and when the next one.

Happy Eyeballs (RFC 8305), without a clock: the fronts bring that. A host may have
addresses that lead nowhere, most often IPv6 ones on a network that has none; waiting
for each to time out takes minutes. So the next attempt begins a quarter of a second
after the last, or at once when one failed, and the first that succeeds wins.
"""

from __future__ import annotations

import errno
import ipaddress
import itertools
import socket
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

__all__ = [
    "ATTEMPT_DELAY_SECONDS",
    "MAX_ADDRESSES",
    "RESOLUTION_DELAY_SECONDS",
    "Endpoint",
    "Race",
    "endpoint_of_ip",
    "endpoints_of",
    "interleave",
    "known_endpoints",
    "make_socket",
    "usable_from",
]

# RFC 8305 section 5: the Connection Attempt Delay, recommended value.
ATTEMPT_DELAY_SECONDS: Final = 0.25

# RFC 8305 section 3: the Resolution Delay, for which A records wait for AAAA ones.
RESOLUTION_DELAY_SECONDS: Final = 0.05

# Of one host. Large providers' names have 5 to 8; Postfix tries 5 of a domain
# (smtp_mx_address_limit).
MAX_ADDRESSES: Final = 16

# They tell of this host's network, not of the server.
_OURS: Final = frozenset(
    {
        errno.EADDRNOTAVAIL,
        errno.EAFNOSUPPORT,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
    }
)


class Endpoint(NamedTuple):
    """Where a socket can connect to.

    Attributes:
        family: of the address.
        address: as ``connect`` takes it.
    """

    family: int
    address: tuple[Any, ...]


def endpoint_of_ip(host: str, port: int) -> Endpoint | None:
    """Return where an IP address leads; None if it is a name, or has a scope.

    >>> endpoint_of_ip("192.0.2.1", 25).address
    ('192.0.2.1', 25)
    >>> endpoint_of_ip("mx.test", 25)
    """
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    if "%" in host:  # the system knows the number of the interface
        return None
    return Endpoint(socket.AF_INET6 if version == 6 else socket.AF_INET, (host, port))


def known_endpoints(
    host: str, port: int, addresses: Sequence[str] | None
) -> list[Endpoint] | None:
    """Return where a host is to be found, None if the system has to be asked.

    Args:
        host: a name or an IP address.
        port: of TCP.
        addresses: IP addresses of the host, if somebody knows.
    """
    if addresses is None:
        literal = endpoint_of_ip(host, port)
        return None if literal is None else [literal]
    found = [endpoint_of_ip(address, port) for address in addresses]
    return [endpoint for endpoint in found if endpoint is not None]


def endpoints_of(found: Iterable[tuple[Any, ...]]) -> list[Endpoint]:
    """Return what ``getaddrinfo`` found, each once, in its order (RFC 6724)."""
    return list(dict.fromkeys(Endpoint(int(one[0]), one[4]) for one in found))


def usable_from(
    endpoints: Sequence[Endpoint], local_address: str | None, host: str
) -> list[Endpoint]:
    """Leave out what cannot be reached from an address of another family.

    Raises:
        OSError: nothing is left.
        ValueError: the local address is none.
    """
    left = list(endpoints)
    if local_address is not None:
        version = ipaddress.ip_address(local_address.partition("%")[0]).version
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        left = [endpoint for endpoint in endpoints if endpoint.family == family]
        if endpoints and not left:
            raise OSError(f"{host} has no address to reach from {local_address}")
    if not left:
        raise OSError(f"{host} has no address")
    return left


def interleave(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """Order endpoints for a race: the families in turn (RFC 8305 section 4).

    Args:
        endpoints: the best first. Beyond `MAX_ADDRESSES` they are left out.

    >>> six, four = int(socket.AF_INET6), int(socket.AF_INET)
    >>> found = [Endpoint(six, ("a",)), Endpoint(six, ("b",)), Endpoint(four, ("c",))]
    >>> [endpoint.address[0] for endpoint in interleave(found)]
    ['a', 'c', 'b']
    """
    families: dict[int, list[Endpoint]] = {}
    for endpoint in endpoints:
        families.setdefault(endpoint.family, []).append(endpoint)
    rounds = itertools.zip_longest(*families.values())
    ordered = [one for turn in rounds for one in turn if one is not None]
    return ordered[:MAX_ADDRESSES]


class Race:
    """Attempts to connect: which is next, and when (RFC 8305 section 5).

    Args:
        endpoints: the best first.
    """

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._left = deque(interleave(endpoints))
        self._due = float("-inf")
        self._running = 0
        self._errors: list[OSError] = []

    def start(self, now: float) -> Endpoint | None:
        """Return where to try next; None if it is not time yet, or nothing is left.

        Args:
            now: seconds of a clock that never goes back.
        """
        if not self._left or (self._running and now < self._due):
            return None
        self._running += 1
        self._due = now + ATTEMPT_DELAY_SECONDS
        return self._left.popleft()

    def fail(self, error: OSError) -> None:
        """Take note that an attempt failed; the next may start at once."""
        self._running -= 1
        self._due = float("-inf")
        self._errors.append(error)

    def seconds_to_next(self, now: float) -> float | None:
        """Return when to ask again, None if there is nothing left to start."""
        return max(0.0, self._due - now) if self._left else None

    @property
    def error(self) -> OSError:
        """Why it is lost: what a server said, rather than what this host lacks."""
        errors = [one for one in self._errors if one.errno not in _OURS]
        return (errors or self._errors)[-1]


def make_socket(endpoint: Endpoint, local_address: str | None) -> socket.socket:
    """Make a socket that does not block, bound if it has to be.

    Raises:
        OSError: the system has no such family, or this host has no such address.
    """
    # asyncio switches Nagle's algorithm off only where a socket says that it is TCP.
    sock = socket.socket(endpoint.family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setblocking(False)
        if local_address is not None:
            sock.bind((local_address, 0))
    except BaseException:
        sock.close()
        raise
    return sock

"""IP networks: lists of them in options, and the one that an address belongs to."""

from __future__ import annotations

import socket
from functools import lru_cache
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Networks", "TrustedNetworks", "check_prefix_bits", "network_of"]

_UNIX: Final = "unix:"

# Most clients come again and again, and to parse an address takes longer than to look
# it up. An address and what is kept of it is some 200 octets.
_REMEMBERED: Final = 1_024


class Networks:
    """A list of networks, asked whether a client is in one of them.

    Args:
        networks: as ``192.0.2.0/24``, ``2001:db8::/32`` or a single address.

    Raises:
        ValueError: one is no network, or has bits behind its prefix.

    >>> inner = Networks(["10.0.0.0/8", "::1"])
    >>> "10.1.2.3" in inner, "::1" in inner, "11.0.0.1" in inner, None in inner
    (True, True, False, False)
    """

    __slots__ = ("_by_family", "_find")

    def __init__(self, networks: Iterable[str]) -> None:
        # Mask and address, as numbers: to parse an address by ``ipaddress`` takes ten
        # times as long, and some list is asked several times at each connection.
        self._by_family: dict[socket.AddressFamily, list[tuple[int, int]]] = {}
        for network in map(ip_network, networks):
            family = socket.AF_INET if network.version == 4 else socket.AF_INET6
            pair = int(network.netmask), int(network.network_address)
            self._by_family.setdefault(family, []).append(pair)
        self._find = lru_cache(maxsize=_REMEMBERED)(self._has)

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self._by_family)

    def __contains__(self, host: str | None) -> bool:
        """Tell whether an IP address is in one of the networks; None never is."""
        return host is not None and self._find(host)

    def _has(self, host: str) -> bool:
        family = _family_of(host)
        pairs = self._by_family.get(family)
        if pairs is None:
            return False
        number = int.from_bytes(socket.inet_pton(family, host), "big")
        return any(number & mask == network for mask, network in pairs)


def _family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class TrustedNetworks:
    """Networks of clients that are believed more than others, unix sockets among them.

    Args:
        networks: as for `Networks`; ``unix:`` stands for clients on unix sockets.

    Raises:
        ValueError: one is no network.

    >>> trusted = TrustedNetworks(["10.0.0.0/8", "unix:"])
    >>> trusted.has("10.1.2.3", is_unix=False), trusted.has(None, is_unix=True)
    (True, True)
    >>> trusted.has("11.0.0.1", is_unix=False), trusted.has(None, is_unix=False)
    (False, False)
    """

    __slots__ = ("_has_unix", "_networks")

    def __init__(self, networks: Iterable[str]) -> None:
        names = tuple(networks)
        self._has_unix = _UNIX in names
        self._networks = Networks(name for name in names if name != _UNIX)

    def has(self, host: str | None, *, is_unix: bool) -> bool:
        """Tell whether a client is trusted.

        Args:
            host: its IP address; None if it has none, or nobody knows it.
            is_unix: it came through a unix socket.
        """
        return (
            self._has_unix
            if is_unix
            else bool(self._networks) and (host in self._networks)
        )


@lru_cache(maxsize=_REMEMBERED)
def network_of(host: str, ipv4_bits: int, ipv6_bits: int) -> str:
    """Return the network that an address is in, as text.

    Args:
        host: an IP address.
        ipv4_bits: length of its prefix, if the address is an IPv4 one.
        ipv6_bits: ... or an IPv6 one.

    >>> network_of("192.0.2.77", ipv4_bits=24, ipv6_bits=64)
    '192.0.2.0/24'
    >>> network_of("2001:db8::a:0:0:1", ipv4_bits=24, ipv6_bits=64)
    '2001:db8::/64'
    """
    family = _family_of(host)
    bits = ipv4_bits if family == socket.AF_INET else ipv6_bits
    octets = socket.inet_pton(family, host)
    others = 8 * len(octets) - bits
    number = int.from_bytes(octets, "big") >> others << others
    first = socket.inet_ntop(family, number.to_bytes(len(octets), "big"))
    return f"{first}/{bits}"


def check_prefix_bits(*, ipv4_bits: int, ipv6_bits: int) -> None:
    """Raise ValueError if a prefix is longer than an address, or no number of bits."""
    for name, bits, most in (("ipv4", ipv4_bits, 32), ("ipv6", ipv6_bits, 128)):
        if not 0 <= bits <= most:
            message = f"the prefix of {name} has 0 to {most} bits, not {bits}"
            raise ValueError(message)

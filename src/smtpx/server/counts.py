"""How many connections there are: in all, of each address and of each network."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from smtpx.server.networks import Networks, network_of
from smtpx.wire import replies
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Hashable

    from smtpx.server.options import ServerOptions

__all__ = ["ConnectionCounts"]

_TOO_MANY_FROM_YOU: Final = Reply(421, "4.7.0", "too many connections from you")
_TOO_MANY_FROM_NETWORK: Final = Reply(
    421, "4.7.0", "too many connections from your network"
)

# How many may be told at the same time that they are not welcome: each lingers until
# it goes, or for five seconds. A twentieth of those that are let in, and at least 20,
# which is about what 1,000 leave of the 1,024 descriptors of most processes.
_SPARE_SHARE: Final = 20
_MIN_SPARE: Final = 20


class ConnectionCounts:
    """Counts connections, and tells with what to turn one away.

    A connection that was turned away is counted apart until its ``end``, since it holds
    a descriptor as long. It does not count as one that was let in: else a client that
    is refused without end would shut out its neighbours, and everybody. Those of
    ``unlimited_networks`` count in all only.

    Args:
        options: of the server, for its limits.

    >>> from smtpx import ServerOptions
    >>> counts = ConnectionCounts(ServerOptions(max_connections_per_ip=1))
    >>> counts.open("first", "192.0.2.1")
    >>> counts.open("second", "192.0.2.1").text
    'too many connections from you'
    >>> counts.end("first"), counts.end("second"), counts.total
    (None, None, 0)
    """

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._unlimited = Networks(options.unlimited_networks)
        # The address and the network where each counts, so that it is taken off where
        # it was put; None: nowhere.
        self._places: dict[Hashable, tuple[str, str] | None] = {}
        self._turned_away: set[Hashable] = set()
        self._max_turned_away = max(_MIN_SPARE, options.max_connections // _SPARE_SHARE)
        self._by_host: Counter[str] = Counter()
        self._by_network: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """How many connections there are."""
        return len(self._places) + len(self._turned_away)

    @property
    def is_crowded(self) -> bool:
        """Whether so many were turned away just now that more should get no word."""
        return len(self._turned_away) > self._max_turned_away

    def open(self, connection: Hashable, host: str | None) -> Reply | None:
        """Count a connection.

        Args:
            connection: which one, in any way.
            host: the address it came from; None for one that has none, as on a unix
                socket: it counts in all only.

        Returns:
            The reply to turn it away with, None if it may stay.
        """
        if len(self._places) >= self._options.max_connections:
            self._turned_away.add(connection)
            return replies.TOO_MANY_CONNECTIONS
        return self._place(connection, host)

    def move(self, connection: Hashable, host: str | None) -> Reply | None:
        """Count a connection to another address: a proxy told who the client is.

        Args:
            connection: as given to ``open``.
            host: the address of the client.

        Returns:
            The reply to turn it away with, None if it may stay.
        """
        self.end(connection)
        return self._place(connection, host)

    def _place(self, connection: Hashable, host: str | None) -> Reply | None:
        if host is None or host in self._unlimited:
            self._places[connection] = None
            return None
        options = self._options
        network = network_of(host, options.ipv4_prefix_bits, options.ipv6_prefix_bits)
        if self._by_host[host] >= options.max_connections_per_ip:
            refusal = _TOO_MANY_FROM_YOU
        elif self._by_network[network] >= options.max_connections_per_network:
            refusal = _TOO_MANY_FROM_NETWORK
        else:
            self._by_host[host] += 1
            self._by_network[network] += 1
            self._places[connection] = host, network
            return None
        self._turned_away.add(connection)
        return refusal

    def end(self, connection: Hashable) -> None:
        """Count a connection no more.

        Args:
            connection: as given to ``open``; one that does not count changes nothing.
        """
        self._turned_away.discard(connection)
        place = self._places.pop(connection, None)
        if place is not None:
            host, network = place
            _take(self._by_host, host)
            _take(self._by_network, network)


def _take(counter: Counter[str], key: str) -> None:
    """Count one less; what is not counted is not kept, or a scan would fill memory."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]

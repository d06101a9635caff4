"""Who gets which connection of a pool, and when: bookkeeping, nothing else.

There is no clock here, no socket and no waiting, so all of it can be tested with
numbers. Whoever calls it holds the pool's lock.

Within one destination the calls are served in the order in which they came. Between
destinations, what came first goes first too, but a connection that comes back goes to
the next call for its own destination as long as that destination has no more than its
share of the connections: to close it for another destination's sake, and to open one
there, costs more than a message does. A connection is lent so often only until its
messages or its age are used up, so no destination waits for ever.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

__all__ = ["Item", "Stock", "Ticket"]


class Item(Protocol):
    """What a stock hands out: a place for a connection."""

    @property
    def key(self) -> Hashable:
        """The destination."""
        ...

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection that can be used again."""
        ...

    @property
    def is_used_up(self) -> bool:
        """Whether the connection has had its share of time or messages."""
        ...


ItemT = TypeVar("ItemT", bound=Item)


@dataclass(slots=True, eq=False)
class Ticket(Generic[ItemT]):
    """A call's place in the queue.

    Attributes:
        key: the destination wanted.
        number: counts the calls.
        wake: to be called when there is an answer.
        item: what it got.
        evicted: what has to be closed first, to make room.
        is_refused: it will never get anything.
    """

    key: Hashable
    number: int
    wake: Callable[[], None]
    item: ItemT | None = None
    evicted: ItemT | None = None
    is_refused: bool = False


@dataclass(slots=True, eq=False)
class _Destination(Generic[ItemT]):
    count: int = 0  # of connections, idle ones too
    idle: deque[ItemT] = field(default_factory=deque)  # the longest idle first
    queue: deque[Ticket[ItemT]] = field(default_factory=deque)


class Stock(Generic[ItemT]):
    """The connections of a pool, and the calls that wait for them.

    Args:
        size: connections in all.
        per_destination: to one destination.
        make: makes an item for a destination.
    """

    def __init__(
        self, size: int, per_destination: int, make: Callable[[Hashable], ItemT]
    ) -> None:
        self._size = size
        self._per_destination = per_destination
        self._make = make
        self._destinations: dict[Hashable, _Destination[ItemT]] = {}
        # A heap of the first ticket of each destination with a queue, by number, and
        # the destination of each; without those that have all the connections that
        # they may have, and all busy: they come back by `give_back`.
        self._ready: list[int] = []
        self._heads: dict[int, Hashable] = {}
        # All idle items, the longest idle first.
        self._idle: dict[int, ItemT] = {}
        self._tickets = 0
        self.count = 0
        self.waiting = 0

    @property
    def idle_items(self) -> Iterator[ItemT]:
        """What is idle, the longest idle first."""
        return iter(tuple(self._idle.values()))

    @property
    def idle_count(self) -> int:
        """How many connections are idle."""
        return len(self._idle)

    def ask(self, key: Hashable, wake: Callable[[], None]) -> Ticket[ItemT]:
        """Join the queue; the ticket may hold an item at once."""
        self._tickets += 1
        ticket: Ticket[ItemT] = Ticket(key, self._tickets, wake)
        destination = self._destinations.setdefault(key, _Destination())
        destination.queue.append(ticket)
        self.waiting += 1
        if len(destination.queue) == 1:
            self._requeue(key, destination)
            self._serve()
        return ticket

    def withdraw(self, ticket: Ticket[ItemT]) -> ItemT | None:
        """Leave the queue; what the ticket had got already is returned."""
        if ticket.item is not None:
            return ticket.item
        destination = self._destinations.get(ticket.key)
        if destination is not None and not ticket.is_refused:
            destination.queue.remove(ticket)
            self.waiting -= 1
            self._requeue(ticket.key, destination)
            self._serve()
        return None

    def give_back(self, item: ItemT) -> None:
        """Take an item back: to be lent again if it is connected."""
        destination = self._destinations[item.key]
        queue = destination.queue
        if item.is_connected:
            is_kept = destination.count <= self._share() and not item.is_used_up
            if queue and is_kept:
                self._grant(destination, item)
                return
            destination.idle.append(item)
            self._idle[id(item)] = item
        else:
            self._forget(item)
        self._requeue(item.key, destination)
        self._serve()

    def take_idle(self, item: ItemT) -> bool:
        """Take an idle item out, to be closed; False if it is idle no more."""
        if self._idle.pop(id(item), None) is None:
            return False
        self._destinations[item.key].idle.remove(item)
        return True

    def drop(self, item: ItemT) -> None:
        """Forget an item that was taken out, now that it is closed."""
        self._forget(item)
        destination = self._destinations.get(item.key)
        if destination is not None:
            self._requeue(item.key, destination)
        self._serve()

    def refuse_all(self) -> None:
        """Tell everybody in the queue that there will be nothing."""
        for destination in self._destinations.values():
            for ticket in destination.queue:
                ticket.is_refused = True
                ticket.wake()
            destination.queue.clear()
        self._ready.clear()
        self._heads.clear()
        self.waiting = 0

    def _share(self) -> int:
        """How many connections a destination may keep while others want some."""
        wanting = len(self._destinations)
        return max(1, self._size // max(1, wanting))

    def _forget(self, item: ItemT) -> None:
        destination = self._destinations[item.key]
        destination.count -= 1
        self.count -= 1
        if not destination.count and not destination.queue:
            del self._destinations[item.key]

    def _requeue(self, key: Hashable, destination: _Destination[ItemT]) -> None:
        """Let a destination be looked at again."""
        if destination.queue:
            number = destination.queue[0].number
            if number not in self._heads:
                self._heads[number] = key
                heapq.heappush(self._ready, number)
        elif not destination.count:
            self._destinations.pop(key, None)

    def _serve(self) -> None:
        """Give out what there is, in the order of the tickets."""
        while self._ready:
            key = self._heads[self._ready[0]]
            destination = self._destinations.get(key)
            if (
                destination is None
                or not destination.queue
                or destination.queue[0].number != self._ready[0]
            ):
                self._unready()  # it was served or withdrawn meanwhile
                continue
            if destination.idle:
                item = destination.idle.pop()  # the one that is most likely alive
                del self._idle[id(item)]
                self._grant(destination, item)
            elif destination.count >= self._per_destination:
                self._unready()
                continue
            elif not self._make_room(destination):
                return
            self._unready()
            self._requeue(key, destination)

    def _unready(self) -> None:
        del self._heads[heapq.heappop(self._ready)]

    def _make_room(self, destination: _Destination[ItemT]) -> bool:
        """Grant a new connection, in the place of an idle one if need be."""
        ticket = destination.queue[0]
        if self.count >= self._size:
            evicted = next(iter(self._idle.values()), None)
            if evicted is None:
                return False
            self.take_idle(evicted)
            self._forget(evicted)
            ticket.evicted = evicted
        destination.count += 1
        self.count += 1
        self._grant(destination, self._make(ticket.key))
        return True

    def _grant(self, destination: _Destination[ItemT], item: ItemT) -> None:
        ticket = destination.queue.popleft()
        self.waiting -= 1
        ticket.item = item
        ticket.wake()

"""Who gets which connection of a pool: the bookkeeping, with numbers."""

from __future__ import annotations

import random
from collections.abc import Hashable
from dataclasses import dataclass, field

import pytest

from smtpx.client.stock import Stock, Ticket


@dataclass(eq=False)
class Connection:
    key: Hashable
    is_connected: bool = True
    is_used_up: bool = False


@dataclass
class Shop:
    """A stock, and who was woken in which order."""

    size: int = 2
    per_destination: int | None = None
    woken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stock = Stock(self.size, self.per_destination or self.size, Connection)

    def ask(self, name: str) -> Ticket[Connection]:
        """Ask for the destination that the name begins with."""
        return self.stock.ask(name[0], lambda: self.woken.append(name))

    def give_back(self, ticket: Ticket[Connection]) -> None:
        assert ticket.item is not None
        self.stock.give_back(ticket.item)


def test_the_queue_is_served_in_its_order() -> None:
    shop = Shop(size=2)
    tickets = [shop.ask(f"a{number}") for number in range(6)]
    assert shop.woken == ["a0", "a1"]
    assert (shop.stock.count, shop.stock.waiting) == (2, 4)
    for ticket in tickets[:4]:
        shop.give_back(ticket)
    assert shop.woken == [f"a{number}" for number in range(6)]
    assert tickets[2].item is tickets[0].item
    assert shop.stock.waiting == 0


def test_the_connection_used_last_is_lent_first() -> None:
    shop = Shop(size=3)
    first, second = shop.ask("a0"), shop.ask("a1")
    shop.give_back(first)
    shop.give_back(second)
    assert shop.ask("a2").item is second.item


def test_a_dead_connection_makes_room_for_a_new_one() -> None:
    shop = Shop(size=1)
    first, second = shop.ask("a0"), shop.ask("a1")
    assert shop.woken == ["a0"]
    assert first.item is not None
    first.item.is_connected = False
    shop.give_back(first)
    assert second.item is not None
    assert second.item is not first.item
    assert shop.stock.count == 1


def test_one_destination_has_its_cap() -> None:
    shop = Shop(size=4, per_destination=2)
    tickets = [shop.ask(name) for name in ("a0", "a1", "a2", "b0", "c0", "a3")]
    assert shop.woken == ["a0", "a1", "b0", "c0"]
    shop.give_back(tickets[3])
    assert shop.woken == ["a0", "a1", "b0", "c0"], "b is no place for a"
    shop.give_back(tickets[0])
    shop.give_back(tickets[1])
    assert shop.woken[4:] == ["a2", "a3"]


def test_an_idle_connection_gives_way_to_another_destination() -> None:
    shop = Shop(size=2)
    older, newer = shop.ask("a0"), shop.ask("b0")
    shop.give_back(older)
    shop.give_back(newer)
    ticket = shop.ask("c0")
    assert ticket.evicted is older.item
    assert ticket.item is not None
    assert ticket.item.key == "c"
    assert shop.stock.count == 2
    assert [item.key for item in shop.stock.idle_items] == ["b"]


def test_a_destination_keeps_its_share_and_no_more() -> None:
    """Connections are not closed and opened in turn for two destinations."""
    shop = Shop(size=2)
    tickets = [shop.ask(name) for name in ("a0", "a1", "b0", "a2", "b1", "a3")]
    assert shop.woken == ["a0", "a1"]
    # a has two of two, and b none: the first that comes back goes to b.
    shop.give_back(tickets[0])
    assert shop.woken[2:] == ["b0"]
    assert tickets[2].evicted is tickets[0].item
    # Now each has its share, and keeps it.
    shop.give_back(tickets[1])
    shop.give_back(tickets[2])
    assert shop.woken[3:] == ["a2", "b1"]
    assert tickets[3].item is tickets[1].item
    assert tickets[4].item is tickets[2].item


def test_a_connection_that_is_used_up_goes_to_who_waits_longest() -> None:
    shop = Shop(size=1)
    first, other, again = shop.ask("a0"), shop.ask("b0"), shop.ask("a1")
    assert first.item is not None
    first.item.is_used_up = True
    shop.give_back(first)
    assert shop.woken == ["a0", "b0"]
    assert other.evicted is first.item
    assert again.item is None


def test_who_leaves_the_queue_is_passed_over() -> None:
    shop = Shop(size=1)
    first, second, third = (shop.ask(f"a{number}") for number in range(3))
    assert shop.stock.withdraw(second) is None
    assert shop.stock.waiting == 1
    shop.give_back(first)
    assert third.item is first.item
    assert shop.stock.withdraw(third) is third.item, "it had got one already"


def test_the_last_to_leave_leaves_nothing_behind() -> None:
    shop = Shop(size=1)
    first, second = shop.ask("a0"), shop.ask("b0")
    shop.stock.withdraw(second)
    assert first.item is not None
    first.item.is_connected = False
    shop.give_back(first)
    assert shop.stock.count == 0
    assert shop.ask("b1").item is not None


def test_an_idle_connection_can_be_taken_out_once() -> None:
    shop = Shop(size=1)
    first = shop.ask("a0")
    assert first.item is not None
    assert not shop.stock.take_idle(first.item), "it is lent"
    shop.give_back(first)
    assert shop.stock.take_idle(first.item)
    assert not shop.stock.take_idle(first.item)
    second = shop.ask("b0")
    assert second.item is None, "it is not closed yet"
    shop.stock.drop(first.item)
    assert second.item is not None


def test_refusing_wakes_everybody() -> None:
    shop = Shop(size=1)
    first, second, third = shop.ask("a0"), shop.ask("a1"), shop.ask("b0")
    shop.stock.refuse_all()
    assert shop.woken == ["a0", "a1", "b0"]
    assert second.is_refused
    assert third.is_refused
    assert shop.stock.withdraw(second) is None
    shop.give_back(first)
    assert (shop.stock.count, shop.stock.idle_count) == (1, 1)
    assert shop.stock.waiting == 0


@pytest.mark.parametrize("seed", range(20))
def test_nobody_is_forgotten_and_no_limit_is_passed(seed: int) -> None:
    """Whatever happens in whatever order, all are served, each destination in order."""
    chances = random.Random(seed)
    size = chances.randint(1, 5)
    cap = chances.randint(1, size)
    shop = Shop(size, cap)
    waiting: list[Ticket[Connection]] = []
    held: list[Ticket[Connection]] = []
    gone: set[int] = set()
    for number in range(400):
        waiting.append(shop.ask(f"{chances.choice('abcd')}{number}"))
        for _ in range(chances.randint(0, 2)):
            held += [ticket for ticket in waiting if ticket.item is not None]
            waiting = [ticket for ticket in waiting if ticket.item is None]
            if waiting and chances.random() < 0.1:
                ticket = waiting.pop(chances.randrange(len(waiting)))
                assert shop.stock.withdraw(ticket) is None
                gone.add(ticket.number)
            if held:
                _give_one_back(shop, held, chances)
        _require_limits(shop, size, cap, waiting)
    while held or any(ticket.item for ticket in waiting):
        held += [ticket for ticket in waiting if ticket.item is not None]
        waiting = [ticket for ticket in waiting if ticket.item is None]
        _give_one_back(shop, held, chances)
        _require_limits(shop, size, cap, waiting)
    assert waiting == []
    served = [(name[0], int(name[1:])) for name in shop.woken]
    for key in "abcd":
        numbers = [number for one, number in served if one == key]
        assert numbers == sorted(numbers)
    assert len(served) + len(gone) == 400


def _give_one_back(
    shop: Shop, held: list[Ticket[Connection]], chances: random.Random
) -> None:
    ticket = held.pop(chances.randrange(len(held)))
    assert ticket.item is not None
    ticket.item.is_connected = chances.random() > 0.2
    ticket.item.is_used_up = chances.random() < 0.2
    shop.give_back(ticket)
    for item in shop.stock.idle_items:
        if chances.random() < 0.1 and shop.stock.take_idle(item):
            shop.stock.drop(item)


def _require_limits(
    shop: Shop, size: int, cap: int, waiting: list[Ticket[Connection]]
) -> None:
    stock = shop.stock
    assert 0 <= stock.idle_count <= stock.count <= size
    assert stock.waiting == sum(ticket.item is None for ticket in waiting)
    for destination in stock._destinations.values():
        assert destination.count <= cap
        assert destination.count or destination.queue

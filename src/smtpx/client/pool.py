"""The one pool of connections, for both fronts.

As the conversation, it is written once, as coroutines over a `PoolFront`: on the
blocking front its waits block, so nothing here suspends. `smtpx.client.stock` decides
who gets which connection; here are the clock, the waiting, and what a message needs.

A message is tried again only if it is certain that no server has it: the connection
could not be made, or broke before the end of the message was sent, or the server's
answer was 421. What it was in doubt about ends as an error whose `delivery` is
``unknown``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine, Hashable, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol

from smtpx.client.connection import abandon
from smtpx.client.conversation import Conversation
from smtpx.client.options import parse_url
from smtpx.client.outgoing import Rereader
from smtpx.client.pool_options import PoolStatistics
from smtpx.client.slots import NEVER, Destination, Meter, Slot
from smtpx.client.stock import Stock, Ticket
from smtpx.errors import (
    ConnectError,
    ConnectionLost,
    Delivery,
    OutOfStep,
    PhaseTimeout,
    PoolUnavailable,
    RecipientsRefused,
    SendError,
    TLSFailed,
)

if TYPE_CHECKING:
    from smtpx.client.connection import AnyAuth
    from smtpx.client.link import Runtime
    from smtpx.client.message import MessageSource
    from smtpx.client.options import ClientOptions
    from smtpx.client.pool_options import PoolOptions
    from smtpx.wire.envelope import SendResult

__all__ = ["Pool", "PoolFront", "Waiter", "is_certainly_not_sent"]

_CLOSING: Final = 421

# Under which number an error counts.
_COUNTED_AS: Final = {
    Delivery.DELIVERED: "delivered",
    Delivery.REFUSED: "refused",
    Delivery.NOT_SENT: "not_sent",
    Delivery.UNKNOWN: "unknown",
}

# Destinations whose rate is remembered before those are forgotten that may send again.
_RATES_KEPT: Final = 1_000


class Waiter(Protocol):
    """What a call waits on."""

    def set(self) -> None:
        """Wake it; once more does nothing."""
        ...

    async def wait(self, seconds: float | None) -> None:
        """Wait until woken, or for so long."""
        ...


class PoolFront(Protocol):
    """What a pool needs of the world; each front has one."""

    @property
    def runtime(self) -> Runtime:
        """What the clients need."""
        ...

    def mutex(self) -> AbstractContextManager[object]:
        """Return what keeps threads apart for a moment."""
        ...

    def waiter(self) -> Waiter:
        """Return something to wait on."""
        ...

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine besides the others, to its end."""
        ...

    async def join(self) -> None:
        """Wait for what was started."""
        ...

    async def each(self, coroutines: Iterable[Coroutine[Any, Any, object]]) -> None:
        """Run coroutines to their ends, at the same time if that is possible."""
        ...

    def make_client(
        self, runtime: Runtime, url: str, options: ClientOptions, auth: AnyAuth | None
    ) -> tuple[Any, Conversation]:
        """Make the client that users see, and return with it what is in it."""
        ...


class Pool:
    """A pool, as coroutines. `smtpx.ClientPool` documents it."""

    def __init__(
        self,
        front: PoolFront,
        url: str | None,
        *,
        options: PoolOptions,
        client_options: ClientOptions,
        auth: AnyAuth | None,
    ) -> None:
        if auth is not None and url is None:
            raise ValueError("auth is for the pool's own URL: give one")
        self._front = front
        self._runtime = front.runtime
        self._home = None if url is None else Destination(parse_url(url), url, auth)
        self._options = options
        self._client_options = client_options
        self._mutex = front.mutex()
        per_destination = options.per_destination or options.size
        self._stock: Stock[Slot] = Stock(options.size, per_destination, self._make_slot)
        # When the next message may go to a destination that has a rate.
        self._next_at: dict[Destination, float] = {}
        self._sleepers: set[Waiter] = set()
        self._reaper: Waiter | None = None
        self._emptied: Waiter | None = None
        self._is_closed = False
        self._counts: Counter[str] = Counter()

    def statistics(self) -> PoolStatistics:
        """Return what the pool holds, and has done."""
        with self._mutex:
            stock = self._stock
            return PoolStatistics(
                connections=stock.count,
                idle=stock.idle_count,
                waiting=stock.waiting,
                **self._counts,
            )

    def __repr__(self) -> str:
        where = "" if self._home is None else f" {self._home.target}"
        now = self.statistics()
        state = "closed" if self._is_closed else f"{now.connections} connections"
        return f"{where}: {state}, {now.idle} idle, {now.waiting} waiting"

    # Messages.

    async def send(
        self,
        message: MessageSource,
        to: str | None,
        **how: Any,  # noqa: ANN401 - what a client's `send` takes
    ) -> SendResult:
        """Send a message; see `smtpx.ClientPool.send`."""
        destination = self._destination(to)
        await self._wait_for_rate(destination)
        rereader = Rereader(message)
        slot = await self._acquire(destination)
        try:
            for attempt in range(1, self._options.attempts + 1):
                try:
                    result = await slot.conversation.send(message, **how)
                except SendError as error:
                    is_last = attempt == self._options.attempts
                    if is_last or not is_certainly_not_sent(error):
                        raise
                    if not rereader.rewind():
                        raise
                    await self._pause(error, attempt)
                    self._count("retried")
                else:
                    self._count("delivered")
                    return result
                finally:
                    slot.count_message()
        except SendError as error:
            self._count(_COUNTED_AS[error.delivery])
            raise
        finally:
            self.release(slot)
        raise AssertionError("the last attempt returns or raises")

    async def _wait_for_rate(self, destination: Destination) -> None:
        """Wait until it is this message's turn (GCRA: one number a destination)."""
        options = self._options
        if options.rate is None:
            return
        interval = 1 / options.rate
        tolerance = (options.burst - 1) * interval
        with self._mutex:
            self._require_room()
            now = self._runtime.clock()
            due = max(self._next_at.get(destination, 0.0), now - tolerance)
            if len(self._next_at) >= _RATES_KEPT:
                self._next_at = {
                    key: at for key, at in self._next_at.items() if at > now - tolerance
                }
            self._next_at[destination] = due + interval
        if due > now:
            await self._sleep(due - now)
            if self._is_closed:
                raise PoolUnavailable("the pool was closed meanwhile", phase="pool")

    async def _pause(self, error: SendError, attempt: int) -> None:
        """Leave a server alone for a moment that takes no connections."""
        is_unwilling = error.reply is not None or isinstance(error, ConnectError)
        if is_unwilling:
            await self._sleep(self._options.retry_delay * 2 ** (attempt - 1))

    async def _sleep(self, seconds: float) -> None:
        waiter = self._front.waiter()
        with self._mutex:
            self._sleepers.add(waiter)
            if self._is_closed:
                waiter.set()
        try:
            await waiter.wait(seconds)
        finally:
            with self._mutex:
                self._sleepers.discard(waiter)

    # Connections.

    async def acquire(self, to: str | None) -> Slot:
        """Return a slot with a connection, made anew if need be.

        Raises:
            SendError: there is none to be had.
        """
        slot = await self._acquire(self._destination(to))
        try:
            for attempt in range(1, self._options.attempts + 1):
                if slot.is_connected:
                    break
                try:
                    await slot.conversation.connect()
                except SendError as error:
                    is_last = attempt == self._options.attempts
                    if is_last or not is_certainly_not_sent(error):
                        raise
                    await self._pause(error, attempt)
            slot.count_message()
        except BaseException:
            self.release(slot)
            raise
        return slot

    async def _acquire(self, destination: Destination) -> Slot:
        """Return a slot; its connection is alive, or there is none yet.

        Raises:
            PoolUnavailable: too many calls wait, or this one waited too long.
            RuntimeError: the pool is closed.
        """
        waiter = self._front.waiter()
        with self._mutex:
            self._require_room()
            ticket = self._stock.ask(destination, waiter.set)
            slot = ticket.item
        if slot is None:
            slot = await self._wait_for(ticket, waiter)
        try:
            if ticket.evicted is not None:
                await ticket.evicted.conversation.quit()
            await self._refresh(slot)
        except BaseException:
            self.release(slot)
            raise
        return slot

    async def _wait_for(self, ticket: Ticket[Slot], waiter: Waiter) -> Slot:
        seconds = self._options.queue_timeout
        try:
            await waiter.wait(seconds)
        except BaseException:
            # It may have got a slot in the moment in which it was cancelled.
            with self._mutex:
                slot = self._stock.withdraw(ticket)
            if ticket.evicted is not None:
                self._front.start(_retire(ticket.evicted))
            if slot is not None:
                self.release(slot)
            raise
        with self._mutex:
            slot = self._stock.withdraw(ticket)
        if ticket.is_refused:
            raise PoolUnavailable("the pool was closed meanwhile", phase="pool")
        if slot is None:
            raise PoolUnavailable(
                f"no connection was free within {seconds} seconds: send more slowly, "
                "or raise size or queue_timeout",
                phase="pool",
            )
        return slot

    async def _refresh(self, slot: Slot) -> None:
        """Close a connection that is at its end; the next message opens another."""
        conversation = slot.conversation
        if not conversation.is_connected:
            return
        if not conversation.is_alive:
            self._count("replaced")
            await conversation.close()
        elif slot.is_used_up:
            await conversation.quit()

    def release(self, slot: Slot) -> None:
        """Give a slot back, whatever became of its connection."""
        with self._mutex:
            slot.idle_since = self._runtime.clock()
            stock = self._stock
            stock.give_back(slot)
            if self._is_closed:
                self._note_emptied()
            elif self._reaper is None and stock.idle_count:
                self._reaper = self._front.waiter()
                self._front.start(self._reap(self._reaper))

    async def _reap(self, waiter: Waiter) -> None:
        """Close what has been idle for too long; end when nothing is idle."""
        while True:
            with self._mutex:
                stock = self._stock
                now = self._runtime.clock()
                items = stock.idle_items
                due = [slot for slot in items if slot.expires_at <= now]
                for slot in due:
                    stock.take_idle(slot)
                if self._is_closed or not (due or stock.idle_count):
                    self._reaper = None
                    due_at = None
                else:
                    due_at = min(
                        (slot.expires_at for slot in stock.idle_items), default=now
                    )
            await self._close_taken(due)
            if due_at is None:
                return
            if not due:
                try:
                    await waiter.wait(None if due_at == NEVER else due_at - now)
                except BaseException:
                    # An event loop ends: what is idle in the next one needs another.
                    self._reaper = None
                    raise

    async def _close_taken(self, slots: list[Slot]) -> None:
        """Close connections that were taken out of the stock."""
        if not slots:
            return
        try:
            await self._front.each(slot.conversation.quit() for slot in slots)
        finally:
            with self._mutex:
                for slot in slots:
                    self._stock.drop(slot)
                self._note_emptied()

    def _note_emptied(self) -> None:
        """Tell who closes the pool when all connections are idle, or gone."""
        if self._emptied is not None and self._stock.count == self._stock.idle_count:
            self._emptied.set()

    def abandon(self) -> None:
        """Forget all idle connections without a word to their servers.

        For a process that was forked: they are the parent's, and so are the locks.
        """
        for slot in self._stock.idle_items:
            abandon(slot.conversation)

    async def close(self) -> None:
        """Take no more calls, wait for those under way, and close all connections."""
        with self._mutex:
            stock = self._stock
            self._is_closed = True
            stock.refuse_all()
            for sleeper in self._sleepers:
                sleeper.set()
            if self._reaper is not None:
                self._reaper.set()
            waiter = None
            if stock.count > stock.idle_count:
                waiter = self._emptied = self._emptied or self._front.waiter()
        if waiter is not None:
            await waiter.wait(None)
        with self._mutex:
            slots = list(stock.idle_items)
            for slot in slots:
                stock.take_idle(slot)
        await self._close_taken(slots)
        await self._front.join()

    # The inner works.

    def _destination(self, to: str | None) -> Destination:
        home = self._home
        if to is None:
            if home is None:
                raise ValueError("the pool has no URL: say where to, as in to=...")
            return home
        target = parse_url(to)
        if home is not None and target == home.target:
            return home
        # Never with the pool's own password: it is for one server.
        return Destination(target, to)

    def _make_slot(self, key: Hashable) -> Slot:
        assert isinstance(key, Destination)  # noqa: S101 - what `ask` was given
        meter = Meter(self._runtime, lambda: self._count("opened"))
        client, conversation = self._front.make_client(
            meter, key.url, self._client_options, key.auth
        )
        return Slot(key, client, conversation, meter, self._options)

    def _require_room(self) -> None:
        if self._is_closed:
            raise RuntimeError("the pool is closed")
        if self._stock.waiting + len(self._sleepers) >= self._options.max_waiting:
            raise PoolUnavailable(
                f"{self._options.max_waiting} calls wait for a connection: "
                "send more slowly, or raise max_waiting",
                phase="pool",
            )

    def _count(self, what: str) -> None:
        with self._mutex:
            self._counts[what] += 1


async def _retire(slot: Slot) -> None:
    await slot.conversation.quit()


def is_certainly_not_sent(error: SendError) -> bool:
    """Say whether a message can be sent again: no server has it.

    The fault must be the connection's, too: a refusal would be repeated, and a peer
    that is slow or out of step is not to be asked again at once.

    Args:
        error: of an attempt.
    """
    if error.delivery is Delivery.UNKNOWN:
        return False
    if isinstance(error, RecipientsRefused):
        # In LMTP each recipient has a reply of its own.
        replies = [result.reply for result in error.results]
        return all(reply is not None and reply.code == _CLOSING for reply in replies)
    if error.reply is not None:
        return error.reply.code == _CLOSING
    if isinstance(error, PhaseTimeout | TLSFailed | OutOfStep):
        return False
    return isinstance(error, ConnectionLost | ConnectError)

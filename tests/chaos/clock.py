"""An event loop whose time is virtual: when nothing can happen, the next timer is due.

Made of asyncio's public parts alone: a loop takes the selector that it is given, and
asks its own ``time``. A wait of five minutes takes no time, and a wait for nothing is
an error in place of a hang.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, Final, TypeVarTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping
    from contextvars import Context

    from _typeshed import FileDescriptorLike

Ts = TypeVarTuple("Ts")

__all__ = ["Stuck", "VirtualLoop"]

# A world of a few sessions takes some thousands of turns, and half a million when large
# messages go through pieces of an octet.
_MAX_TURNS: Final = 5_000_000


class Stuck(BaseException):
    """Everything waits and nothing will ever happen, or it never stops happening.

    No ``Exception``: nothing that is tested may catch it.
    """


class _VirtualSelector(selectors.BaseSelector):
    """Tells what is ready, in an order of chance; never waits, but moves the clock."""

    def __init__(self, chances: random.Random, until: float) -> None:
        self.now = 1_000.0
        self.turns = 0
        self._until = until
        self._chances = chances
        self._real = selectors.DefaultSelector()
        self._ages: dict[int, int] = {}
        self._next_age = 0

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: object = None
    ) -> selectors.SelectorKey:
        key = self._real.register(fileobj, events, data)
        self._ages[key.fd] = self._next_age
        self._next_age += 1
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        key = self._real.unregister(fileobj)
        del self._ages[key.fd]
        return key

    def modify(
        self, fileobj: FileDescriptorLike, events: int, data: object = None
    ) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        self.turns += 1
        if self.turns > _MAX_TURNS:
            raise Stuck(f"still busy after {_MAX_TURNS} turns")
        ready = self._real.select(0)
        if ready:
            # The numbers of descriptors are chance of another kind than the seed's.
            ready.sort(key=lambda found: self._ages[found[0].fd])
            self._chances.shuffle(ready)
            return ready
        if timeout is None:
            raise Stuck("everything waits, and nothing will ever happen")
        if timeout > 0:
            self.now += timeout
            if self.now > self._until:
                raise Stuck(f"still at it at {self.now:.0f} s")
        return []

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._real.get_map()


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps.

    Args:
        chances: for the order of what is ready at the same time.
        until: the time at which the world should have ended long ago.

    Attributes:
        timers: all that were set, for `leaked_timers`.
        faults: what reached the loop's exception handler.
    """

    def __init__(self, chances: random.Random, until: float) -> None:
        self._virtual = _VirtualSelector(chances, until)
        self.timers: list[asyncio.TimerHandle] = []
        self.faults: list[str] = []
        super().__init__(self._virtual)
        self.set_exception_handler(self._on_fault)

    def time(self) -> float:
        """Return the virtual time."""
        return self._virtual.now

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Set a timer, and remember it."""
        handle = super().call_at(when, callback, *args, context=context)
        self.timers.append(handle)
        return handle

    def leaked_timers(self) -> list[asyncio.TimerHandle]:
        """Return the timers that are set and still to come."""
        # A timer is due a little before its time, by the resolution of the clock.
        now = self.time() + 1e-6
        return [one for one in self.timers if not one.cancelled() and one.when() > now]

    def _on_fault(
        self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]
    ) -> None:
        self.faults.append(f"{context.get('message')}: {context.get('exception')!r}")

"""The timers of connections: one for many that only have to be looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    import asyncio

    from smtpx.server.options import ServerTimeouts

__all__ = ["Deadline", "Rounds", "Watchdog"]

#: When the present state will have lasted too long, by the loop's clock; None: never.
#: And what is to be done then.
Deadline: TypeAlias = tuple[float | None, Callable[[], None]]


# How long to wait after a deadline that is still the same, in seconds.
_PAUSE: Final = 1.0

# How many rounds there are in the longest sleep: a sixteenth of it is how much too soon
# a look may come.
_ROUNDS: Final = 16

# Timers of uvloop count milliseconds, so one may fire half of one before its time.
_EARLY: Final = 0.001


# How many are woken before others have a turn, if they only look: about a millisecond.
_MAX_WOKEN: Final = 256

# ... and for how long, in seconds. Whose time has passed is told so and closed, which
# takes a hundred times as long as a look; what that leads to in the next turn takes as
# long again. So thousands that time out at once hold up nobody else.
_MAX_WAKING: Final = 0.002

# The round of those whose moment has come: it is always over.
_DUE: Final = 0


class Rounds:
    """Looks at all connections now and then, many at a time.

    A timer for each connection would cost as much as all else that keeps it, and nearly
    all of them would only find that there is nothing to do: a deadline moves with every
    octet that arrives. So those that fell asleep within the same sixteenth of the
    longest sleep are woken together, somewhat before each has slept so long.

    Args:
        loop: its clock and timers.
        timeouts: of the server. Nobody sleeps longer than the shortest of them.
    """

    __slots__ = ("_asleep", "_step", "_timer", "longest_sleep", "loop")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, timeouts: ServerTimeouts
    ) -> None:
        self.loop = loop
        limits = (timeouts.command, timeouts.body, timeouts.handler, timeouts.session)
        #: In seconds; None: nobody has to be woken.
        self.longest_sleep = min(
            (limit for limit in limits if limit is not None), default=None
        )
        self._step = (self.longest_sleep or 1.0) / _ROUNDS
        # By the number of their round, in order, as time does not go back.
        self._asleep: dict[int, set[Watchdog]] = {}
        self._timer: asyncio.Handle | None = None

    def join(self, watchdog: Watchdog, now: float) -> set[Watchdog] | None:
        """Wake a watchdog before it has slept for the longest time.

        Args:
            watchdog: goes to sleep now.
            now: by the loop's clock.

        Returns:
            Those that are woken together, to be taken out of; None if nobody has to
            be woken.
        """
        if self.longest_sleep is None:
            return None
        number = int((now + self.longest_sleep) / self._step)
        sleepers = self._asleep.get(number)
        if sleepers is None:
            sleepers = self._asleep[number] = set()
            if self._timer is None:
                self._wait_for(number)
        sleepers.add(watchdog)
        return sleepers

    def hurry(self, watchdog: Watchdog) -> set[Watchdog]:
        """Wake a watchdog in this turn of the loop or the next, or when there is time.

        The timers of all whose moment has come fire in the same turn: were each to act
        at once, ten thousand clients that fell silent together would hold it for long.

        Args:
            watchdog: its moment has come.

        Returns:
            Those that are woken together, to be taken out of.
        """
        sleepers = self._asleep.get(_DUE)
        if sleepers is None:
            sleepers = self._asleep[_DUE] = set()
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_soon(self._wake)
        sleepers.add(watchdog)
        return sleepers

    def stop(self) -> None:
        """Wake nobody any more: all are gone."""
        self._asleep.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait_for(self, number: int) -> None:
        self._timer = self.loop.call_at(number * self._step, self._wake)

    def _wake(self) -> None:
        # The timer that fired stays noted until the end: else who falls asleep again
        # meanwhile sets one more, and each of those one more the next time.
        begun = self.loop.time()
        now, end = begun + _EARLY, begun + _MAX_WAKING
        budget = _MAX_WOKEN
        for number in [each for each in self._asleep if each * self._step <= now]:
            sleepers = self._asleep[number]
            # What one of them does may stop others.
            while sleepers and budget:
                self._wake_one(sleepers.pop())
                budget = budget - 1 if self.loop.time() < end else 0
            if sleepers:
                self._timer = self.loop.call_soon(self._wake)
                return
            del self._asleep[number]
        self._timer = None
        if self._asleep:
            self._wait_for(min(self._asleep))

    def _wake_one(self, watchdog: Watchdog) -> None:
        try:
            watchdog.wake()
        except Exception as error:
            # As with a timer of its own: the others are watched on.
            self.loop.call_exception_handler(
                {"message": "a watchdog failed", "exception": error}
            )


def _nothing() -> None:
    """Do nothing: nothing is watched any more."""


def _no_deadline() -> Deadline:
    return None, _nothing


class Watchdog:
    """Asks a connection for its deadline, and acts when it has passed.

    The deadline moves with every octet that arrives, so the timer is not moved along:
    it fires now and then, asks, and sleeps on. It is never late, because it sleeps no
    longer than the shortest of all timeouts, and no state ends sooner than that.

    Args:
        rounds: wake it.
        deadline: tells the present deadline.
    """

    __slots__ = ("_deadline", "_is_stopped", "_rounds", "_sleepers", "_timer")

    def __init__(self, rounds: Rounds, deadline: Callable[[], Deadline]) -> None:
        self._rounds = rounds
        self._deadline = deadline
        self._sleepers: set[Watchdog] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopped = False

    def start(self, now: float) -> None:
        """Begin to watch a state that lasts as long as the longest sleep, or longer.

        Args:
            now: by the loop's clock.
        """
        self._sleepers = self._rounds.join(self, now)

    def arm(self) -> None:
        """Set the timer for the present deadline, or for the next look at it."""
        self._cancel()
        self._is_stopped = False
        loop, longest = self._rounds.loop, self._rounds.longest_sleep
        now = loop.time()
        moment, _ = self._deadline()
        if moment is not None and moment <= now:
            # What was done about one that has passed takes a while.
            moment = now + _PAUSE
        if longest is not None and (moment is None or now + longest <= moment):
            self._sleepers = self._rounds.join(self, now)
        elif moment is not None:
            self._timer = loop.call_at(moment, self._hurry)

    def stop(self) -> None:
        """Watch no more."""
        self._is_stopped = True
        self._cancel()

    def let_go(self) -> None:
        """Watch no more, and do not keep what was watched."""
        self.stop()
        self._deadline = _no_deadline

    def wake(self) -> None:
        """Look whether it is time, and sleep on."""
        self._sleepers = self._timer = None
        deadline, act = self._deadline()
        if deadline is not None and self._rounds.loop.time() >= deadline:
            act()
        if not self._is_stopped:
            self.arm()

    def _hurry(self) -> None:
        self._timer = None
        self._sleepers = self._rounds.hurry(self)

    def _cancel(self) -> None:
        if self._sleepers is not None:
            self._sleepers.discard(self)
            self._sleepers = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

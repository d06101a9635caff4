"""The one timer of a connection, armed again when it fires and not at each command."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    import asyncio

    from smtpx.server.options import ServerTimeouts

__all__ = ["Deadline", "Watchdog"]

#: When the present state will have lasted too long, by the loop's clock; None: never.
#: And what is to be done then.
Deadline: TypeAlias = tuple[float | None, Callable[[], None]]


# How long to wait after a deadline that is still the same, in seconds.
_PAUSE: Final = 1.0


class Watchdog:
    """Asks a connection for its deadline, and acts when it has passed.

    The deadline moves with every octet that arrives, so the timer is not moved along:
    it fires now and then, asks, and sleeps on. It is never late, because it sleeps no
    longer than the shortest of all timeouts, and no state ends sooner than that.

    Args:
        loop: its clock and timers.
        timeouts: of the server.
        deadline: tells the present deadline.
    """

    __slots__ = ("_deadline", "_is_stopped", "_longest_sleep", "_loop", "_timer")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timeouts: ServerTimeouts,
        deadline: Callable[[], Deadline],
    ) -> None:
        self._loop = loop
        self._deadline = deadline
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopped = False
        limits = (timeouts.command, timeouts.body, timeouts.handler, timeouts.session)
        self._longest_sleep = min(
            (limit for limit in limits if limit is not None), default=None
        )

    def arm(self) -> None:
        """Set the timer for the present deadline, or for the next look at it."""
        self._cancel()
        self._is_stopped = False
        now = self._loop.time()
        moment, _ = self._deadline()
        if moment is not None and moment <= now:
            # What was done about one that has passed takes a while.
            moment = now + _PAUSE
        if self._longest_sleep is not None:
            look = now + self._longest_sleep
            if moment is None or look < moment:
                moment = look
        if moment is not None:
            self._timer = self._loop.call_at(moment, self._wake)

    def stop(self) -> None:
        """Watch no more."""
        self._is_stopped = True
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        self._timer = None
        deadline, act = self._deadline()
        if deadline is not None and self._loop.time() >= deadline:
            act()
        if not self._is_stopped:
            self.arm()

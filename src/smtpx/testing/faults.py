"""What goes wrong at a mail server in a test, at which stage and for whom."""

from __future__ import annotations

import asyncio
import fnmatch
import threading
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias, get_args

from smtpx.errors import Refuse
from smtpx.testing.inbox import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Drop", "Fault", "Faults", "Hold", "Refusal", "Stage"]

Stage: TypeAlias = Literal[
    "connect", "hello", "auth", "mail", "rcpt", "start_data", "data"
]
"""Where a session can go wrong. ``start_data`` is DATA, or the first BDAT; ``data`` is
the end of the message."""

STAGES: Final[tuple[Stage, ...]] = get_args(Stage)


class Fault:
    """Something that goes wrong.

    Args:
        stage: where.
        matching: for whom, with the wildcards of `fnmatch`, in any case: the client's
            IP address at ``connect``, the name that it gives at ``hello``, the user at
            ``auth``, the sender at ``mail``, the recipient at ``rcpt``, and any
            recipient of the message at ``start_data`` and ``data``.
        times: how often it happens; None: each time.

    Attributes:
        hits: how often it happened.

    Raises:
        ValueError: there is no such stage, or it would never happen.
    """

    def __init__(
        self, stage: Stage, *, matching: str = "*", times: int | None = None
    ) -> None:
        if stage not in STAGES:
            message = f"there is no stage {stage!r}: there are {', '.join(STAGES)}"
            raise ValueError(message)
        if times is not None and times < 1:
            raise ValueError(f"times must be 1 or more, or None, not {times}")
        self.stage = stage
        self.matching = matching
        self.times = times
        self.hits = 0

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f"<{kind} at {self.stage} for {self.matching}, {self.hits} times>"

    def strikes(self, stage: Stage, names: Sequence[str]) -> bool:
        """Tell whether this is its case, and count it if it is.

        Args:
            stage: where the session is.
            names: for whom it is asked.
        """
        is_used_up = self.times is not None and self.hits >= self.times
        if stage != self.stage or is_used_up:
            return False
        pattern = self.matching.lower()
        if not any(fnmatch.fnmatchcase(name.lower(), pattern) for name in names):
            return False
        self.hits += 1
        return True


class Refusal(Fault):
    """The client hears a refusal.

    Args:
        stage: where.
        reply: a code from 400 to 599, or a `Refuse` with all that is said.
        matching: for whom.
        times: how often.
    """

    def __init__(
        self,
        stage: Stage,
        reply: int | Refuse,
        *,
        matching: str = "*",
        times: int | None = None,
    ) -> None:
        super().__init__(stage, matching=matching, times=times)
        if isinstance(reply, int):
            reply = Refuse(reply, None, "refused, as the test says")
        self.reply = reply


class Drop(Fault):
    """The connection is lost, without a word."""


class Hold(Fault):
    """The server makes the client wait, until the test has it go on.

    It takes the place of a delay: no clock decides what happens first. As a context
    manager it lets go at the end of the block.
    """

    def __init__(
        self, stage: Stage, *, matching: str = "*", times: int | None = None
    ) -> None:
        super().__init__(stage, matching=matching, times=times)
        self._changed = threading.Condition()
        self._is_released = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.release()

    def wait_reached(self, *, timeout: float = PATIENCE_SECONDS) -> None:
        """Wait until a client is held.

        Args:
            timeout: after how many seconds to give up.

        Raises:
            AssertionError: none was.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting, timeout):
                text = f"no client got to {self.stage!r} within {timeout:g} s"
                raise AssertionError(text)

    def release(self) -> None:
        """Let all clients go on, now and later."""
        with self._changed:
            self._is_released = True
            for loop, event in self._waiting:
                loop.call_soon_threadsafe(event.set)
            self._waiting.clear()

    async def wait(self) -> None:
        """Wait for ``release``; the server calls it."""
        entry = asyncio.get_running_loop(), asyncio.Event()
        with self._changed:
            if self._is_released:
                return
            self._waiting.append(entry)
            self._changed.notify_all()
        try:
            await entry[1].wait()
        finally:
            with self._changed:
                if entry in self._waiting:
                    self._waiting.remove(entry)


class Faults:
    """The faults of a server, asked in the order in which they were added."""

    def __init__(self, refuse: Mapping[str, int | Refuse]) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        for where, reply in refuse.items():
            # "rcpt", or "rcpt bob@*"
            stage, _, matching = where.partition(" ")
            self.add(Refusal(_stage(stage), reply, matching=matching.strip() or "*"))

    def add(self, fault: Fault) -> None:
        """Have something go wrong from now on.

        Args:
            fault: what.
        """
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Have nothing go wrong any more, and let those go on who are held."""
        with self._lock:
            faults, self._faults = self._faults, []
        for fault in faults:
            if isinstance(fault, Hold):
                fault.release()

    def find(self, stage: Stage, *names: str) -> Fault | None:
        """Return what goes wrong now, if anything does.

        Args:
            stage: where the session is.
            names: for whom it is asked.
        """
        with self._lock:
            return next(
                (one for one in self._faults if one.strikes(stage, names)), None
            )


def _stage(name: str) -> Stage:
    """Check a name that came as a text."""
    for stage in STAGES:
        if stage == name:
            return stage
    raise ValueError(f"there is no stage {name!r}: there are {', '.join(STAGES)}")

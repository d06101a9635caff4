"""What goes wrong at a mail server in a test, at which stage and for whom."""

from __future__ import annotations

import asyncio
import fnmatch
import random
import threading
from collections.abc import Callable
from typing import (
    TYPE_CHECKING,
    Final,
    Literal,
    Self,
    TypeAlias,
    TypedDict,
    Unpack,
    get_args,
)

from smtpx.errors import Refuse
from smtpx.testing.inbox import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "MAX_DELAY_SECONDS",
    "STAGES",
    "Delay",
    "Drop",
    "Fault",
    "FaultTerms",
    "Faults",
    "Hold",
    "Refusal",
    "Stage",
    "parse_stage",
]

Stage: TypeAlias = Literal[
    "connect",
    "hello",
    "start_tls",
    "auth",
    "mail",
    "rcpt",
    "start_data",
    "data",
    "reply",
]
"""Where a session can go wrong. ``start_data`` is DATA, or the first BDAT; ``data`` is
the end of the message. At ``reply`` the message was taken, and the client was not told
yet: nobody can tell a connection that is lost there from one that was lost before, so
what is sent again is delivered twice (RFC 1047)."""

MAX_DELAY_SECONDS: Final = 3_600.0
"""Longer no client waits: RFC 5321 section 4.5.3.2 has 10 minutes as the longest."""

STAGES: Final[tuple[Stage, ...]] = get_args(Stage)


class FaultTerms(TypedDict, total=False):
    """For whom something goes wrong, and how often.

    Attributes:
        matching: for whom, with the wildcards of `fnmatch`, in any case: the client's
            IP address at ``connect``, the name that it gives at ``hello``, and at
            ``start_tls`` the one it gave; the user at ``auth``, the sender at
            ``mail``, the recipient at ``rcpt``, and any recipient of the message at
            ``start_data``, ``data`` and ``reply``.
        times: how often it happens; None: each time.
        probability: that it happens when it could, over 0 and up to 1.
        chance: returns a number from 0 to 1, as `random.random` does; a test may give
            the numbers that it wants.
    """

    matching: str
    times: int | None
    probability: float
    chance: Callable[[], float]


class Fault:
    """Something that goes wrong.

    Args:
        stage: where.
        matching: for whom: see `FaultTerms`, and so for the others.
        times: how often.
        probability: that it happens.
        chance: how that is decided.

    Attributes:
        hits: how often it happened.

    Raises:
        ValueError: there is no such stage, or it would never happen.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        matching: str = "*",
        times: int | None = None,
        probability: float = 1.0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if stage not in STAGES:
            message = f"there is no stage {stage!r}: there are {', '.join(STAGES)}"
            raise ValueError(message)
        if times is not None and times < 1:
            raise ValueError(f"times must be 1 or more, or None, not {times}")
        if not 0 < probability <= 1:
            raise ValueError(f"a probability is over 0 and up to 1, not {probability}")
        self.stage = stage
        self.matching = matching
        self.times = times
        self.probability = probability
        self.hits = 0
        self._chance = chance

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
        if self.probability < 1 and self._chance() >= self.probability:
            return False
        self.hits += 1
        return True

    async def happen(self, drop: Callable[[], None]) -> None:
        """Have it happen; sessions call it.

        Args:
            drop: loses the connection.

        Raises:
            Refuse: the client is refused.
        """


class Delay(Fault):
    """The client waits, and then goes on, or meets what else goes wrong.

    Args:
        stage: where.
        seconds: how long it waits, over 0 and up to an hour.
        then: what happens afterwards; it is asked for nothing, and counts nothing.
        terms: for whom, and how often: see `FaultTerms`.

    Raises:
        ValueError: no such time.
    """

    def __init__(
        self,
        stage: Stage,
        seconds: float,
        then: Fault | None = None,
        **terms: Unpack[FaultTerms],
    ) -> None:
        super().__init__(stage, **terms)
        if not 0 < seconds <= MAX_DELAY_SECONDS:
            raise ValueError(
                f"a delay is over 0 and up to {MAX_DELAY_SECONDS:g} seconds, not "
                f"{seconds:g}"
            )
        self.seconds = seconds
        self.then = then

    async def happen(self, drop: Callable[[], None]) -> None:
        """Wait, and go on; see `Fault.happen`.

        Args:
            drop: loses the connection.
        """
        await asyncio.sleep(self.seconds)
        if self.then is not None:
            await self.then.happen(drop)


class Refusal(Fault):
    """The client hears a refusal.

    Args:
        stage: where.
        reply: a code from 400 to 599, or a `Refuse` with all that is said.
        terms: for whom, and how often: see `FaultTerms`.
    """

    def __init__(
        self, stage: Stage, reply: int | Refuse, **terms: Unpack[FaultTerms]
    ) -> None:
        super().__init__(stage, **terms)
        if isinstance(reply, int):
            reply = Refuse(reply, None, "refused, as the test says")
        self.reply = reply

    async def happen(self, drop: Callable[[], None]) -> None:
        """Refuse; see `Fault.happen`.

        Args:
            drop: is not called.
        """
        # A new one: each that is raised gathers a traceback.
        reply = self.reply
        raise Refuse(reply.code, reply.enhanced, reply.text)


class Drop(Fault):
    """The connection is lost, without a word."""

    async def happen(self, drop: Callable[[], None]) -> None:
        """Lose the connection; see `Fault.happen`.

        Args:
            drop: loses it.

        Raises:
            Refuse: nobody hears it; it keeps the hook from going on.
        """
        drop()
        raise Refuse(421, None, "the connection is gone")


class Hold(Fault):
    """The server makes the client wait, until the test has it go on.

    It takes the place of a delay: no clock decides what happens first. As a context
    manager it lets go at the end of the block.
    """

    def __init__(self, stage: Stage, **terms: Unpack[FaultTerms]) -> None:
        super().__init__(stage, **terms)
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

    async def happen(self, drop: Callable[[], None]) -> None:
        """Wait for ``release``; see `Fault.happen`.

        Args:
            drop: is not called.
        """
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

    def __init__(self, refuse: Mapping[str, int | Refuse] | None = None) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        for where, reply in (refuse or {}).items():
            # "rcpt", or "rcpt bob@*"
            stage, _, matching = where.partition(" ")
            self.add(
                Refusal(parse_stage(stage), reply, matching=matching.strip() or "*")
            )

    def add(self, fault: Fault) -> None:
        """Have something go wrong from now on.

        Args:
            fault: what.
        """
        with self._lock:
            self._faults.append(fault)

    def __iter__(self) -> Iterator[Fault]:
        with self._lock:
            return iter(tuple(self._faults))

    def remove(self, fault: Fault) -> None:
        """Have something not go wrong any more; who is held goes on.

        Args:
            fault: what; one that was removed already is passed over.
        """
        with self._lock:
            self._faults = [one for one in self._faults if one is not fault]
        if isinstance(fault, Hold):
            fault.release()

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
        if not self._faults:
            return None
        with self._lock:
            return next(
                (one for one in self._faults if one.strikes(stage, names)), None
            )


def parse_stage(name: str) -> Stage:
    """Check the name of a stage.

    Args:
        name: of a user.

    Raises:
        ValueError: there is none.

    >>> parse_stage("rcpt")
    'rcpt'
    """
    for stage in STAGES:
        if stage == name:
            return stage
    raise ValueError(f"there is no stage {name!r}: there are {', '.join(STAGES)}")

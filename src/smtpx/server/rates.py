"""How often something may happen, and who counts it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Protocol

__all__ = ["Decision", "Rate", "RateLimiter"]

_UNITS: Final = {
    "s": 1,
    "second": 1,
    "m": 60,
    "minute": 60,
    "h": 3_600,
    "hour": 3_600,
    "d": 86_400,
    "day": 86_400,
}
_RATE: Final = re.compile(r"(\d{1,9})/(\d{1,9})?([a-z]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so long.

    A full burst may come at once; what was used comes back evenly over the period
    (GCRA, the generic cell rate algorithm). So 100 an hour are 100 now, and then one
    every 36 seconds.

    Attributes:
        count: how many.
        seconds: the period.
        burst: how many may come at once; by default ``count``.

    Raises:
        ValueError: one of them is less than 1.

    >>> Rate(100, 3600) == Rate.parse("100/hour")
    True
    """

    count: int
    seconds: int
    burst: int | None = None

    def __post_init__(self) -> None:
        for name in ("count", "seconds", "burst"):
            value = getattr(self, name)
            if value is not None and value < 1:
                message = f"{name} of a rate must be at least 1, not {value}"
                raise ValueError(message)

    @property
    def capacity(self) -> int:
        """How many may come at once."""
        return self.count if self.burst is None else self.burst

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read a rate such as ``20/minute``, ``100/h`` or ``5/30s``.

        Args:
            text: a count, a slash and a period: a unit, or a number of units.

        Raises:
            ValueError: it is none.

        >>> Rate.parse("5/30s")
        Rate(count=5, seconds=30, burst=None)
        """
        match = _RATE.fullmatch(text)
        unit = _UNITS.get(match[3]) if match else None
        if match is None or unit is None:
            message = f"{text!r} is no rate: write 20/minute, 100/h or 5/30s"
            raise ValueError(message)
        return cls(int(match[1]), int(match[2] or 1) * unit)

    def __str__(self) -> str:
        burst = "" if self.burst is None else f", {self.burst} at once"
        return f"{self.count}/{self.seconds}s{burst}"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a limiter says.

    Attributes:
        is_allowed: whether the hit is within the rate. One that is not does not count.
        remaining: how many more may come now.
        retry_after: seconds after which one like it would be; 0 if it is.
    """

    is_allowed: bool
    remaining: int
    retry_after: float


class RateLimiter(Protocol):
    """Counts hits, each key by itself.

    Whatever a method raises means that nobody can tell now; what follows is the
    business of who asks. A method may wait, but must not block the event loop.
    """

    async def hit(self, key: str, rate: Rate, cost: int = 1) -> Decision:
        """Count a hit, if the rate allows it.

        Args:
            key: who does what.
            rate: how often it may.
            cost: how many hits it is.
        """
        ...

    async def peek(self, key: str, rate: Rate) -> Decision:
        """Tell what a hit would lead to, and count none.

        Args:
            key: who does what.
            rate: how often it may.
        """
        ...

    async def close(self) -> None:
        """Let go of connections; the next hit makes them again."""
        ...

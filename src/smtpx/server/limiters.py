"""Rate limiters through throttled-py: in the memory of a process, or shared by Redis.

Its GCRA decides and stores in one step: in memory nothing else runs between, in Redis
it is one script, which also takes the time from Redis, so that the clocks of several
servers need not agree.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from smtpx.server.rates import Decision

if TYPE_CHECKING:
    from throttled.asyncio import Throttled
    from throttled.asyncio.store import BaseStore

    from smtpx.server.rates import Rate

__all__ = ["MemoryRateLimiter", "RedisRateLimiter"]

_INSTALL_MEMORY: Final = (
    "rate limits need the package throttled-py: pip install 'smtpx[limits]'"
)
_INSTALL_REDIS: Final = (
    "rate limits in Redis need throttled-py and redis: pip install 'smtpx[redis]'"
)

#: Keys that are kept. Beyond it the one that was idle longest is forgotten, and with it
#: that it was refused; so it is more than the clients of any period. 280 octets each.
_MAX_KEYS: Final = 1_000_000

_REDIS_SCHEMES: Final = frozenset(
    {"redis", "rediss", "unix", "redis+sentinel", "redis+cluster"}
)


class _ThrottledLimiter:
    """Counts by throttled-py in a store."""

    def __init__(self, store: BaseStore) -> None:
        self._store = store
        self._by_rate: dict[Rate, Throttled] = {}

    def _throttled(self, rate: Rate) -> Throttled:
        throttled = self._by_rate.get(rate)
        if throttled is None:
            from throttled.asyncio import (  # noqa: PLC0415 - an extra
                RateLimiterType,
                Throttled,
                per_duration,
            )

            period = timedelta(seconds=rate.seconds)
            throttled = self._by_rate[rate] = Throttled(
                using=RateLimiterType.GCRA.value,
                quota=per_duration(period, rate.count, rate.capacity),
                store=self._store,
                key_prefix="smtpx",
            )
        return throttled

    async def hit(self, key: str, rate: Rate, cost: int = 1) -> Decision:
        """Count a hit, if the rate allows it; see `RateLimiter`.

        Args:
            key: who does what.
            rate: how often it may.
            cost: how many hits it is.
        """
        result = await self._throttled(rate).limit(key, cost)
        state = result.state
        if result.limited:
            interval = rate.seconds / rate.count
            return Decision(False, 0, _believable(state.retry_after, cost * interval))
        return Decision(True, state.remaining, 0.0)

    async def peek(self, key: str, rate: Rate) -> Decision:
        """Tell what a hit would lead to, and count none; see `RateLimiter`.

        Args:
            key: who does what.
            rate: how often it may.
        """
        state = await self._throttled(rate).peek(key)
        if state.remaining > 0:
            return Decision(True, state.remaining, 0.0)
        # throttled-py 3.5.0 is wrong about this time when it only looks: it tells how
        # long one has been missing, and not how long it will.
        interval = rate.seconds / rate.count
        wait = state.reset_after - (rate.capacity - 1) * interval
        return Decision(False, 0, _believable(wait, interval))


def _believable(wait: float, most: float) -> float:
    """Return a time to wait that can come of counting.

    Raises:
        RuntimeError: it is longer: the clock of Redis has gone back, or somebody else
            wrote there. It would shut out for days whoever was there just before.
    """
    if not wait <= most + 1.0:
        message = (
            f"a wait of {wait:g} s, where {most:g} are the most: is the clock off?"
        )
        raise RuntimeError(message)
    return wait


class MemoryRateLimiter(_ThrottledLimiter):
    """Counts hits in the memory of this process, for the servers of one event loop.

    Needs the extra ``limits``.

    Args:
        max_keys: how many keys to keep, of 280 octets each. When there are more, the
            one that was idle for longest is forgotten, even if it was refused: so give
            more than the clients that come in a period. By default a million.

    Raises:
        ImportError: throttled-py is not installed.
        ValueError: ``max_keys`` is less than 1.

    Example:
        >>> import asyncio, smtpx
        >>> async def main():
        ...     limiter = smtpx.MemoryRateLimiter()
        ...     rate = smtpx.Rate(2, 3600)
        ...     return [(await limiter.hit("ann", rate)).is_allowed for _ in range(3)]
        >>> asyncio.run(main())
        [True, True, False]
    """

    def __init__(self, max_keys: int = _MAX_KEYS) -> None:
        if max_keys < 1:
            message = f"max_keys must be at least 1, not {max_keys}"
            raise ValueError(message)
        try:
            from throttled.asyncio import MemoryStore  # noqa: PLC0415 - an extra
        except ModuleNotFoundError:
            raise ImportError(_INSTALL_MEMORY) from None
        super().__init__(MemoryStore(options={"MAX_SIZE": max_keys}))

    async def close(self) -> None:
        """Do nothing: what was counted is kept."""


class RedisRateLimiter(_ThrottledLimiter):
    """Counts hits in Redis, for any number of processes and machines.

    Needs the extra ``redis``. It raises whatever goes wrong: `RateGuard` decides then.
    One limiter serves one event loop.

    Args:
        url: ``redis://host:6379/0``, ``rediss://`` for TLS, ``unix:///path``;
            ``redis+sentinel://`` and ``redis+cluster://`` as throttled-py takes them. A
            user and a password may stand before the host.
        timeout: seconds for a connection to be made, and for a reply.

    Raises:
        ImportError: throttled-py or redis are not installed.
        ValueError: the URL is of another kind.
    """

    def __init__(self, url: str, *, timeout: float = 0.5) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _REDIS_SCHEMES:
            message = f"a URL of Redis begins with redis://, not {parts.scheme!r}"
            raise ValueError(message)
        try:
            from smtpx.server.redis_store import (  # noqa: PLC0415 - an extra
                ClosingRedisStore,
            )
        except ModuleNotFoundError:
            raise ImportError(_INSTALL_REDIS) from None
        store = ClosingRedisStore(url, timeout)
        super().__init__(store)
        self._close = store.close
        # Without the user and the password.
        self._shown = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"

    def __repr__(self) -> str:
        return f"RedisRateLimiter({self._shown!r})"

    async def close(self) -> None:
        """Close the connections to Redis; the next hit makes them again."""
        await self._close()

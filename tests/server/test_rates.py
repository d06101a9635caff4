"""Rates, and the limiters that hold to them."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
import throttled.utils

from smtpx.server.limiters import MemoryRateLimiter, RedisRateLimiter
from smtpx.server.rates import Decision, Rate, RateLimiter

A_MINUTE = Rate(3, 60)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of throttled-py, which does not run; set its first element."""
    now = [1_000.0]
    monkeypatch.setattr(throttled.utils, "now_mono_f", lambda: now[0])
    return now


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


async def hits(limiter: RateLimiter, key: str, count: int) -> list[bool]:
    return [(await limiter.hit(key, A_MINUTE)).is_allowed for _ in range(count)]


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20/minute", Rate(20, 60)),
        ("1/s", Rate(1, 1)),
        ("100/h", Rate(100, 3_600)),
        ("5/30s", Rate(5, 30)),
        ("7/2d", Rate(7, 172_800)),
        ("9/day", Rate(9, 86_400)),
    ],
)
def test_rates_as_text(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate


@pytest.mark.parametrize(
    "text",
    ["", "5", "5/", "/s", "5/x", "-1/s", "1/0s", "0/s", "5/s ", "5 /s", "\u0665/s"],
)
def test_no_rates(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 20/minute|at least 1"):
        Rate.parse(text)


@pytest.mark.parametrize("wrong", [(0, 1), (1, 0), (1, 1, 0)])
def test_rates_are_positive(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Rate(*wrong)


def test_rates_are_shown() -> None:
    assert str(Rate(5, 60)) == "5/60s"
    assert str(Rate(5, 60, burst=2)) == "5/60s, 2 at once"
    assert Rate(5, 60).capacity == 5
    assert Rate(5, 60, burst=2).capacity == 2


def test_the_rate_and_one_more(clock: list[float]) -> None:
    async def scenario() -> None:
        limiter = MemoryRateLimiter()
        assert await limiter.hit("ann", A_MINUTE) == Decision(True, 2, 0.0)
        assert await hits(limiter, "ann", 3) == [True, True, False]
        # A third of a minute brings one back, and not a moment less.
        assert await limiter.hit("ann", A_MINUTE) == Decision(False, 0, 20.0)
        clock[0] += 19.9
        assert await hits(limiter, "ann", 1) == [False]
        clock[0] += 0.2
        assert await hits(limiter, "ann", 2) == [True, False]
        # All of them are back after the period.
        clock[0] += 60
        assert await hits(limiter, "ann", 4) == [True, True, True, False]

    run(scenario())


def test_keys_and_rates_do_not_mix(clock: list[float]) -> None:
    async def scenario() -> None:
        limiter = MemoryRateLimiter()
        assert await hits(limiter, "ann", 4) == [True, True, True, False]
        assert await hits(limiter, "bob", 1) == [True]
        assert (await limiter.hit("bob", Rate(5, 60), 5)).is_allowed is False
        assert (await limiter.hit("eve", Rate(5, 60), 5)).is_allowed is True

    run(scenario())


def test_a_burst_of_its_own(clock: list[float]) -> None:
    async def scenario() -> None:
        limiter, rate = MemoryRateLimiter(), Rate(60, 60, burst=2)
        results = [(await limiter.hit("ann", rate)).is_allowed for _ in range(3)]
        assert results == [True, True, False]
        clock[0] += 1
        assert (await limiter.hit("ann", rate)).is_allowed

    run(scenario())


def test_a_look_counts_nothing(clock: list[float]) -> None:
    async def scenario() -> None:
        limiter = MemoryRateLimiter()
        for _ in range(5):
            assert await limiter.peek("ann", A_MINUTE) == Decision(True, 3, 0.0)
        await hits(limiter, "ann", 3)
        assert await limiter.peek("ann", A_MINUTE) == Decision(False, 0, 20.0)
        await limiter.close()
        # What was counted outlives the server.
        assert await hits(limiter, "ann", 1) == [False]

    run(scenario())


@pytest.mark.parametrize(("others", "is_forgotten"), [(2, False), (3, True)])
def test_keys_at_their_limit_and_over_it(
    clock: list[float], others: int, is_forgotten: bool
) -> None:
    async def scenario() -> None:
        limiter = MemoryRateLimiter(max_keys=3)
        await hits(limiter, "ann", 4)
        for n in range(others):
            await hits(limiter, str(n), 1)
        assert await hits(limiter, "ann", 1) == [is_forgotten]

    run(scenario())


def test_a_million_keys_by_default() -> None:
    async def scenario() -> None:
        limiter = MemoryRateLimiter()
        await hits(limiter, "ann", 4)
        # Far more than throttled-py's own 1,024, after which it would forget.
        for n in range(5_000):
            await limiter.hit(str(n), A_MINUTE)
        assert await hits(limiter, "ann", 1) == [False]

    run(scenario())


def test_no_keys() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        MemoryRateLimiter(0)


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", ""])
def test_no_url_of_redis(url: str) -> None:
    with pytest.raises(ValueError, match="redis://"):
        RedisRateLimiter(url)


def test_a_password_is_not_shown() -> None:
    limiter = RedisRateLimiter("redis://ann:secret@db.test:6379/2")
    assert repr(limiter) == "RedisRateLimiter('redis://db.test/2')"


@pytest.mark.parametrize(
    ("package", "make"),
    [
        ("throttled.asyncio", MemoryRateLimiter),
        ("throttled.asyncio", lambda: RedisRateLimiter("redis://localhost")),
        ("redis.retry", lambda: RedisRateLimiter("redis://localhost")),
    ],
)
def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, package: str, make: Callable[[], RateLimiter]
) -> None:
    monkeypatch.delitem(sys.modules, "smtpx.server.redis_store", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'smtpx\[(limits|redis)\]'"):
        make()


@pytest.mark.parametrize("wait", [62.0, 86_400.0, math.inf, math.nan])
async def test_a_clock_that_goes_back_shuts_nobody_out(
    monkeypatch: pytest.MonkeyPatch, wait: float
) -> None:
    """What no counting can lead to is an error, of which the policy decides."""

    class Skewed:
        state = SimpleNamespace(retry_after=wait, reset_after=wait, remaining=0)

        async def limit(self, key: str, cost: int) -> SimpleNamespace:
            return SimpleNamespace(limited=True, state=self.state)

        async def peek(self, key: str) -> SimpleNamespace:
            return self.state

    limiter = MemoryRateLimiter()
    monkeypatch.setattr(limiter, "_throttled", lambda _: Skewed())
    for ask in (limiter.hit, limiter.peek):
        with pytest.raises(RuntimeError, match="is the clock off"):
            await ask("ann", Rate(1, 60))

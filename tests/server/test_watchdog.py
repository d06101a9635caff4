"""Many watchdogs on one timer: all are woken in time, some at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from smtpx.server import watchdog as module
from smtpx.server.options import ServerTimeouts
from smtpx.server.watchdog import Deadline, Rounds, Watchdog
from tests.server.conftest import Run

#: The shortest of them counts.
TIMES = ServerTimeouts(command=160, body=320, handler=320, session=320)


def make_rounds() -> Rounds:
    return Rounds(asyncio.get_running_loop(), TIMES)


def now() -> float:
    return asyncio.get_running_loop().time()


class Asked:
    """Keeps watchdogs, and notes when each was asked."""

    def __init__(self, rounds: Rounds, count: int) -> None:
        self.times: list[float] = []
        self.dogs = [Watchdog(rounds, self.deadline) for _ in range(count)]

    def deadline(self) -> Deadline:
        self.times.append(now())
        return None, self.act

    def act(self) -> None:
        raise AssertionError

    def start(self) -> None:
        for dog in self.dogs:
            dog.start(now())

    def stop(self) -> None:
        for dog in self.dogs:
            dog.stop()


@pytest.mark.parametrize("after", [0.0, 0.3, 7.0, 9.99, 10.0])
def test_nobody_sleeps_too_long_nor_much_too_short(
    run_timed: Run, after: float
) -> None:
    async def scenario() -> None:
        rounds = make_rounds()
        await asyncio.sleep(after)
        begun = now()
        asked = Asked(rounds, 3)
        asked.start()
        await asyncio.sleep(150 - 0.01)
        assert not asked.times
        await asyncio.sleep(10 + 0.02)
        assert len(asked.times) >= 3
        assert all(150 <= each - begun <= 160 for each in asked.times[:3])
        asked.stop()

    run_timed(scenario())


def test_there_is_one_timer_however_often_they_are_asked(
    run_timed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that falls asleep again while it is woken sets no timer of its own."""
    woken: list[float] = []
    wake = Rounds._wake

    def note(self: Rounds) -> None:
        woken.append(now())
        wake(self)

    monkeypatch.setattr(Rounds, "_wake", note)

    async def scenario() -> None:
        asked = Asked(make_rounds(), 2)
        asked.start()
        await asyncio.sleep(1_600)
        assert len(woken) == 10
        asked.stop()

    run_timed(scenario())


def test_they_are_asked_again_and_again(run_timed: Run) -> None:
    async def scenario() -> None:
        asked = Asked(make_rounds(), 1)
        asked.start()
        await asyncio.sleep(1_600)
        # Twice each time: what is due, and for how long to sleep on.
        assert 20 <= len(asked.times) <= 22
        asked.stop()
        await asyncio.sleep(1_600)
        assert len(asked.times) <= 22

    run_timed(scenario())


def test_those_that_start_later_are_woken_later(run_timed: Run) -> None:
    async def scenario() -> None:
        rounds = make_rounds()
        first, second = Asked(rounds, 1), Asked(rounds, 1)
        first.start()
        await asyncio.sleep(80)
        second.start()
        await asyncio.sleep(81)
        assert first.times
        assert not second.times
        await asyncio.sleep(80)
        assert second.times
        first.stop()
        second.stop()

    run_timed(scenario())


@pytest.mark.parametrize("more", [0, 1])
def test_so_many_are_woken_in_one_turn_of_the_loop(run_timed: Run, more: int) -> None:
    most = module._MAX_WOKEN

    async def scenario() -> None:
        turns: list[int] = []
        rounds = make_rounds()
        asked = Asked(rounds, 0)

        def deadline() -> Deadline:
            if not asked.times:
                asyncio.get_running_loop().call_soon(
                    lambda: turns.append(len(asked.times))
                )
            return asked.deadline()

        # Each is asked twice: whether it is time, and for how long to sleep on.
        asked.dogs = [Watchdog(rounds, deadline) for _ in range(most + more)]
        asked.start()
        await asyncio.sleep(161)
        assert turns == [2 * most]
        assert len(asked.times) == 2 * (most + more)
        asked.stop()

    run_timed(scenario())


def test_one_that_fails_is_told_and_the_others_are_woken(run_timed: Run) -> None:
    async def scenario() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, what: told.append(what)
        )
        rounds = make_rounds()
        asked = Asked(rounds, 4)

        def fail() -> Deadline:
            raise RuntimeError("no idea")

        asked.dogs.append(Watchdog(rounds, fail))
        asked.start()
        await asyncio.sleep(161)
        assert len(asked.times) == 8
        assert [str(each["exception"]) for each in told] == ["no idea"]
        asked.stop()

    run_timed(scenario())


def test_one_that_stops_the_others(run_timed: Run) -> None:
    async def scenario() -> None:
        rounds = make_rounds()
        asked: list[Watchdog] = []
        dogs: list[Watchdog] = []

        def make() -> Watchdog:
            def deadline() -> Deadline:
                asked.append(dog)
                for each in dogs:
                    each.stop()
                return None, rounds.stop

            dog = Watchdog(rounds, deadline)
            return dog

        dogs += [make() for _ in range(5)]
        for dog in dogs:
            dog.start(now())
        await asyncio.sleep(1_000)
        assert len(asked) == 1

    run_timed(scenario())


def test_when_all_are_gone_nothing_waits(run_timed: Run) -> None:
    async def scenario() -> None:
        rounds = make_rounds()
        asked = Asked(rounds, 2)
        asked.start()
        rounds.stop()
        await asyncio.sleep(1_000)
        assert not asked.times
        # Nobody is asleep, and nothing keeps it from beginning anew.
        rounds.stop()
        asked.start()
        await asyncio.sleep(161)
        assert len(asked.times) == 4
        asked.stop()
        await asyncio.sleep(1_000)
        assert len(asked.times) == 4

    run_timed(scenario())

"""Many watchdogs on one timer: all are woken in time, some at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from smtpx.server import watchdog as module
from smtpx.server.options import ServerTimeouts
from smtpx.server.watchdog import Deadline, Rounds, Watchdog
from tests.server.conftest import Run
from tests.server.peers import ClockLoop

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


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note when some were woken."""
    times: list[float] = []
    wake = Rounds._wake

    def note(self: Rounds) -> None:
        times.append(now())
        wake(self)

    monkeypatch.setattr(Rounds, "_wake", note)
    return times


def test_there_is_one_timer_however_often_they_are_asked(
    run_timed: Run, woken: list[float]
) -> None:
    """One that falls asleep again while it is woken sets no timer of its own."""

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


class Ends:
    """Watchdogs that end something at the same moment, which takes 0.3 ms each."""

    def __init__(self, rounds: Rounds, count: int, *, last: int | None = None) -> None:
        self.turn = 0
        #: In which turn of the loop, from the first on, each has ended.
        self.turns: list[int] = []
        #: Who comes then ends all the others.
        self.last = last or count
        self.moment = now() + 50
        self.dogs = [self.make(rounds) for _ in range(count)]

    def make(self, rounds: Rounds) -> Watchdog:
        def act() -> None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, ClockLoop)
            loop.spend(0.0003)
            if not self.turns:
                loop.call_soon(self.count_turns)
            self.turns.append(self.turn)
            dog.stop()
            if len(self.turns) == self.last:
                for each in self.dogs:
                    each.stop()

        dog = Watchdog(rounds, lambda: (self.moment, act))
        return dog

    def count_turns(self) -> None:
        self.turn += 1
        if len(self.turns) < self.last:
            asyncio.get_running_loop().call_soon(self.count_turns)

    def arm(self) -> None:
        for dog in self.dogs:
            dog.arm()

    def sizes(self) -> list[int]:
        return list(Counter(self.turns).values())


# Two milliseconds are over after the seventh.
TURNS = [(7, [7]), (8, [7, 1]), (20, [7, 7, 6])]


@pytest.mark.parametrize(("count", "sizes"), TURNS)
def test_those_that_end_at_once_leave_time_for_others(
    run_timed: Run, count: int, sizes: list[int]
) -> None:
    async def scenario() -> None:
        ends = Ends(make_rounds(), count)
        ends.arm()
        await asyncio.sleep(49.9)
        assert not ends.turns
        await asyncio.sleep(0.2)
        assert ends.sizes() == sizes
        await asyncio.sleep(1_000)
        assert len(ends.turns) == count

    run_timed(scenario())


@pytest.mark.parametrize(("count", "sizes"), TURNS)
def test_those_that_sleep_too_long_leave_time_for_others(
    run_timed: Run, count: int, sizes: list[int]
) -> None:
    async def scenario() -> None:
        ends = Ends(make_rounds(), count)
        for dog in ends.dogs:
            dog.start(now())
        await asyncio.sleep(161)
        assert ends.sizes() == sizes

    run_timed(scenario())


def test_one_that_stops_while_it_waits_for_its_turn(run_timed: Run) -> None:
    async def scenario() -> None:
        rounds = make_rounds()
        ends = Ends(rounds, 20, last=9)
        ends.arm()
        await asyncio.sleep(1_000)
        assert ends.sizes() == [7, 2]
        # Others that are due later have their turn.
        later = Ends(rounds, 8)
        later.arm()
        await asyncio.sleep(51)
        assert later.sizes() == [7, 1]

    run_timed(scenario())


def test_those_that_are_due_do_not_keep_others_asleep(
    run_timed: Run, woken: list[float]
) -> None:
    async def scenario() -> None:
        rounds = make_rounds()
        asked = Asked(rounds, 1)
        asked.start()
        begun = now()
        ends = Ends(rounds, 8)
        ends.arm()
        await asyncio.sleep(161)
        assert len(ends.turns) == 8
        assert 150 <= asked.times[0] - begun <= 160
        # Seven, the eighth, and who was asleep: still by one timer.
        assert len(woken) == 3
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

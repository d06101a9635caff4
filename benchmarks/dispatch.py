"""How a server connection may call its session's hooks, and what each way costs.

A connection is an ``asyncio.Protocol`` (docs/explanation/performance.md). Bytes
come in, events come out, and for each event a hook of the session, an ``async
def``, has to be called from ``data_received``, which is not a coroutine. This
program measures the ways to get from the one to the other, with everything else
taken away: no socket, no grammar, a hook that returns at once.

Several connections, each with a transport that only counts, are given a batch of
events in one turn of the event loop; when all have answered, the next batch
follows. The figure is CPU time divided by the events.

Run ``python -m benchmarks.dispatch`` on each Python that matters.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.loops import EVENT_LOOPS
from benchmarks.measure import (
    describe_python,
    interleave,
    markdown_table,
    medians,
    note,
    say,
    version_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

HAS_EAGER_TASKS = sys.version_info >= (3, 12)
T = TypeVar("T")
REPLY = b"250 2.0.0 Ok\r\n"


class Event:
    """One command, as a state machine would report it."""

    __slots__ = ("line",)

    def __init__(self, line: bytes) -> None:
        """Keep the command line."""
        self.line = line


class Session:
    """A session whose hook is overridden: it is a coroutine and must be driven."""

    async def mail(self, event: Event) -> bytes | None:
        """Accept at once, as most hooks do for most commands."""
        return None


class Transport:
    """Counts the octets written, and tells the driver that a batch was answered."""

    def __init__(self, answered: Callable[[], None]) -> None:
        """Call `answered` once for each write."""
        self._answered = answered
        self.octets = 0

    def write(self, octets: bytes) -> None:
        """Take the replies to one batch."""
        self.octets += len(octets)
        self._answered()


class Pump:
    """What all candidates share: cutting input into events, and one write a batch."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: Transport) -> None:
        """Start without input."""
        self.loop = loop
        self.transport = transport
        self.session = Session()
        self.events: list[Event] = []

    def take(self, octets: bytes) -> None:
        """Turn input into events."""
        self.events = [Event(line) for line in octets.splitlines()]

    def data_received(self, octets: bytes) -> None:
        """Take a batch and see that it is answered; each candidate differs here."""
        raise NotImplementedError

    def close(self) -> None:
        """End what the candidate keeps running."""

    async def answer_all(self) -> None:
        """Await the hook for each event, then write all replies at once."""
        replies = [await self.session.mail(event) or REPLY for event in self.events]
        self.transport.write(b"".join(replies))


class NoTask(Pump):
    """The session does not override the hook: the default reply, nothing awaited."""

    def data_received(self, octets: bytes) -> None:
        """Answer each event in place."""
        self.take(octets)
        self.transport.write(b"".join([REPLY for _ in self.events]))


class BareSend(Pump):
    """``coroutine.send(None)``, and a task only for a hook that suspends.

    Out of the question all the same: there is no current task inside the hook,
    so ``asyncio.timeout()`` raises. It is the floor for the ones below.
    """

    def data_received(self, octets: bytes) -> None:
        """Run the coroutine's first step, which here is its last."""
        self.take(octets)
        coroutine = self.answer_all()
        try:
            coroutine.send(None)
        except StopIteration:
            return
        raise RuntimeError("the hook suspended")


class TaskABatch(Pump):
    """``loop.create_task`` for each batch of input."""

    task: asyncio.Task[None] | None = None

    def data_received(self, octets: bytes) -> None:
        """Create the task; it starts in the loop's next turn."""
        self.take(octets)
        self.task = self.loop.create_task(self.answer_all())


class EagerTaskABatch(Pump):
    """``asyncio.Task(eager_start=True)`` for each batch; Python 3.12 and later."""

    task: asyncio.Task[None] | None = None

    def data_received(self, octets: bytes) -> None:
        """Create the task; it starts, and mostly ends, within this call."""
        self.take(octets)
        self.task = _eager(self.answer_all(), self.loop)


class TaskAConnection(Pump):
    """One task for the connection's life, woken through a future."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: Transport) -> None:
        """Start the task."""
        super().__init__(loop, transport)
        self.waiter: asyncio.Future[None] | None = None
        self.task = loop.create_task(self._serve())

    async def _serve(self) -> None:
        while True:
            if not self.events:
                self.waiter = self.loop.create_future()
                await self.waiter
            await self.answer_all()
            self.events = []

    def data_received(self, octets: bytes) -> None:
        """Wake the task; it goes on in the loop's next turn."""
        self.take(octets)
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def close(self) -> None:
        """End the task."""
        self.task.cancel()


class TaskACommand(Pump):
    """``loop.create_task`` for each event; the next one waits for its reply."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: Transport) -> None:
        """Start without replies."""
        super().__init__(loop, transport)
        self.replies: list[bytes] = []
        self.task: asyncio.Task[bytes | None] | None = None

    def data_received(self, octets: bytes) -> None:
        """Begin with the first event."""
        self.take(octets)
        self._next()

    def _next(self) -> None:
        if len(self.replies) == len(self.events):
            replies, self.replies = self.replies, []
            self.transport.write(b"".join(replies))
            return
        event = self.events[len(self.replies)]
        self.task = self.loop.create_task(self.session.mail(event))
        self.task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[bytes | None]) -> None:
        self.replies.append(task.result() or REPLY)
        self._next()


class EagerTaskACommand(Pump):
    """An eager task for each event, read at once when it is done already."""

    def data_received(self, octets: bytes) -> None:
        """Answer each event by a task of its own."""
        self.take(octets)
        replies = []
        for event in self.events:
            task = _eager(self.session.mail(event), self.loop)
            if not task.done():
                raise RuntimeError("the hook suspended")
            replies.append(task.result() or REPLY)
        self.transport.write(b"".join(replies))


def _eager(
    coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop
) -> asyncio.Task[T]:
    # By a mapping, because the typed signature is that of the oldest Python.
    options: dict[str, Any] = {"eager_start": True}
    return asyncio.Task(coroutine, loop=loop, **options)


CANDIDATES: dict[str, type[Pump]] = {
    "no task: hook not overridden": NoTask,
    "bare send(None) (floor)": BareSend,
    "eager task a batch": EagerTaskABatch,
    "eager task a command": EagerTaskACommand,
    "task a batch": TaskABatch,
    "task a connection": TaskAConnection,
    "task a command": TaskACommand,
}
EAGER = {EagerTaskABatch, EagerTaskACommand}


async def drive(kind: type[Pump], batch: int, connections: int, turns: int) -> float:
    """Feed batches to all connections, turn by turn.

    Returns:
        CPU microseconds for each event.
    """
    loop = asyncio.get_running_loop()
    octets = b"MAIL FROM:<a@example.com>\r\n" * batch
    finished = loop.create_future()
    left = turns
    waiting = 0

    def feed() -> None:
        nonlocal left, waiting
        if left == 0:
            finished.set_result(None)
            return
        left -= 1
        waiting = connections
        for pump in pumps:
            pump.data_received(octets)

    def answered() -> None:
        nonlocal waiting
        waiting -= 1
        if waiting == 0:
            loop.call_soon(feed)

    pumps = [kind(loop, Transport(answered)) for _ in range(connections)]
    await asyncio.sleep(0)
    started = time.process_time_ns()
    loop.call_soon(feed)
    await finished
    spent = time.process_time_ns() - started
    for pump in pumps:
        pump.close()
    return spent / 1000 / (turns * connections * batch)


def run_once(
    kind: type[Pump],
    make_loop: Callable[[], asyncio.AbstractEventLoop],
    shape: tuple[int, int],
    events: int,
) -> float:
    """Measure one candidate on a fresh event loop."""
    batch, connections = shape
    with asyncio.Runner(loop_factory=make_loop) as runner:
        return runner.run(
            drive(kind, batch, connections, max(1, events // (batch * connections)))
        )


# (events a batch, connections): lock-step and pipelined, alone and in company.
SHAPES = ((1, 1), (4, 1), (1, 10), (4, 10))


def measure(events: int, rounds: int) -> dict[str, dict[str, float]]:
    """Measure everything; the outer key is the column, the inner the candidate."""
    columns = {}
    kinds = {
        name: kind
        for name, kind in CANDIDATES.items()
        if HAS_EAGER_TASKS or kind not in EAGER
    }
    for loop_name, make_loop in EVENT_LOOPS.items():
        for shape in SHAPES:
            heading = f"{loop_name}, {shape[0]} a batch, {shape[1]} conn"
            note(heading)
            runs = {
                name: partial(run_once, kind, make_loop, shape, events)
                for name, kind in kinds.items()
            }
            columns[heading] = medians(interleave(runs, rounds))
    return columns


def table(columns: dict[str, dict[str, float]]) -> str:
    """Lay out the figures, one row a candidate."""
    names = [name for name in CANDIDATES if name in next(iter(columns.values()))]
    rows = [
        [name, *(f"{figures[name]:.2f}" for figures in columns.values())]
        for name in names
    ]
    return markdown_table(["CPU us an event", *columns], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=40_000, help="of each run")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    columns = measure(options.events, options.rounds)
    if options.json:
        say(json.dumps(columns, indent=2))
        return
    say(f"{describe_python()}, uvloop {version_of('uvloop') or 'not installed'}\n")
    say(table(columns))


if __name__ == "__main__":
    main()

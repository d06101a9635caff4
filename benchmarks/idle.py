"""What idle connections cost a server: memory, and the time of those at work.

They are compared with those of a bare ``asyncio.Protocol`` that greets and does nothing
else. For ``benchmarks.scale``.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.measure import markdown_table, note
from benchmarks.talk import Talker, running, talking

if TYPE_CHECKING:
    from collections.abc import Sequence

LINE: Final = (
    b"The quick brown fox jumps over the lazy dog, and the dog lets it pass.\r\n"
)
ENVELOPE: Final = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\n"
MESSAGES: Final = 400
# An address has some 28,000 ports to connect from, and those of a run that has ended
# stay taken for a minute.
CONNECTIONS_AN_ADDRESS: Final = 5_000


@dataclass
class Idle:
    """What idle connections cost.

    Attributes:
        octets: of memory, for each.
        accept_microseconds: of CPU, for each, to be accepted and greeted.
        seconds: on the clock, until all were greeted, one after the other.
        latency: of a message over another connection, in milliseconds; the median.
        latency_99: ... and what one in a hundred exceeds.
    """

    octets: float
    accept_microseconds: float
    seconds: float
    latency: float
    latency_99: float


def idle(name: str, loop: str, count: int) -> Idle:
    """Open connections that say nothing, with one at work among them."""
    with running(name, loop) as server:
        talkers = [Talker(server.port) for _ in range(50)]  # what is made only once
        before = server.resident()

        def connect() -> None:
            for number in range(count):
                source = f"127.0.0.{1 + number // CONNECTIONS_AN_ADDRESS}"
                talkers.append(Talker(server.port, source))

        start = time.perf_counter()
        spent = server.cpu(connect)
        seconds = time.perf_counter() - start
        grown = server.resident() - before
        times = [0.0] * 100
        if name != "bare":
            active = talking(server)
            times = [_one_message(active) for _ in range(MESSAGES)]
            active.close()
        for talker in talkers:
            talker.close()
    each = max(count, 1)
    late = statistics.quantiles(times, n=100)[-1]
    return Idle(grown / each, spent / each, seconds, statistics.median(times), late)


def _one_message(talker: Talker) -> float:
    start = time.perf_counter_ns()
    talker.ask(ENVELOPE + b"DATA\r\n", 3)
    talker.ask(LINE + b".\r\n")
    return (time.perf_counter_ns() - start) / 1e6


def idle_table(loop: str, counts: Sequence[int]) -> str:
    """Lay out what idle connections cost; with none, there is latency alone."""
    rows = []
    for count in counts:
        note(f"{count:,} idle connections")
        bare, ours = idle("bare", loop, count), idle("smtpx-large", loop, count)
        costs = [
            f"{ours.octets / 1024:.1f}",
            f"{bare.octets / 1024:.1f}",
            f"{ours.accept_microseconds:.0f}",
            f"{bare.accept_microseconds:.0f}",
            f"{ours.seconds:.2f}",
        ]
        rows.append(
            [
                f"{count:,}",
                *(costs if count else ["-"] * len(costs)),
                f"{ours.latency:.2f}",
                f"{ours.latency_99:.2f}",
            ]
        )
    return markdown_table(
        [
            *("idle connections", "KiB each", "KiB each, bare loop"),
            *("CPU us to accept", "us, bare loop", "s to open all"),
            *("ms a message among them", "99th percentile"),
        ],
        rows,
    )

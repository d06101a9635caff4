"""How the cost of the server grows: connections, recipients, sizes, pieces.

Each run sends one kind of load in growing amounts to a server of its own, and takes the
server's CPU time. Where cost is proportional, the lines are straight. Idle connections
are compared with a bare ``asyncio.Protocol`` that greets and does nothing else.
``python -m benchmarks scale``; ``--pictures DIRECTORY`` draws it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.cpu import resident_octets, tree_cpu_ns
from benchmarks.drawing import draw_lines
from benchmarks.loops import EVENT_LOOPS
from benchmarks.measure import describe_python, markdown_table, note, say
from benchmarks.processes import HOST, python_program, read_report, stop
from smtpx.message.fields import DEFAULT_HEADER_LIMITS
from smtpx.message.parsed import parse_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Points = list[tuple[float, float]]

LINE: Final = (
    b"The quick brown fox jumps over the lazy dog, and the dog lets it pass.\r\n"
)
MAX_FIELDS: Final = DEFAULT_HEADER_LIMITS.max_fields
ENVELOPE: Final = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\n"
REPLY_SECONDS: Final = 120.0
# Fewer would be a few ticks of the clock only; more would take minutes.
REPEATS: Final = 3


class Talker:
    """One connection: octets out, replies counted."""

    def __init__(self, port: int) -> None:
        """Connect, and read the greeting."""
        self.sock = socket.create_connection((HOST, port), REPLY_SECONDS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.hear(1)

    def hear(self, replies: int) -> bytes:
        """Read so many replies; return the last octets of them."""
        tail = b""
        while replies:
            data = self.sock.recv(262_144)
            if not data:
                raise RuntimeError(f"closed by the server after {tail!r}")
            lines = (tail + data).split(b"\r\n")
            tail = lines.pop()
            replies -= sum(line[3:4] == b" " for line in lines)
            refused = [line for line in lines if line[:1] in b"45" and line]
            if refused:
                raise RuntimeError(f"refused: {refused[0]!r}")
        return tail

    def ask(self, octets: bytes, replies: int = 1) -> None:
        """Send, and read so many replies."""
        self.sock.sendall(octets)
        self.hear(replies)

    def close(self) -> None:
        """Hang up."""
        self.sock.close()


@dataclass
class Running:
    """A server under measurement."""

    process: subprocess.Popen[bytes]
    port: int

    def cpu(self, work: Callable[[], None]) -> float:
        """Return the microseconds of CPU that the server spends on something."""
        before = tree_cpu_ns(self.process.pid)
        work()
        return (tree_cpu_ns(self.process.pid) - before) / 1000

    def resident(self) -> int:
        """Return the octets of memory that it has."""
        return resident_octets(self.process.pid)


@contextlib.contextmanager
def running(name: str, loop: str) -> Iterator[Running]:
    """Run a server of ``benchmarks.serve``."""
    command = python_program("serve", name, "--loop", loop)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield Running(process, int(read_report(process)["port"]))
        finally:
            stop(process)


def talking(server: Running) -> Talker:
    """Connect and say EHLO."""
    talker = Talker(server.port)
    talker.ask(b"EHLO bench.example\r\n")
    return talker


def median_cpu(server: Running, work: Callable[[], None]) -> float:
    """Return the median of a few runs, after one to warm up."""
    work()
    return statistics.median(server.cpu(work) for _ in range(REPEATS))


def recipients(server: Running, count: int) -> float:
    """Send one small message to many recipients."""
    talker = talking(server)
    flight = b"".join(b"RCPT TO:<user%d@example.com>\r\n" % n for n in range(count))

    def work() -> None:
        talker.ask(b"MAIL FROM:<a@example.com>\r\n" + flight + b"DATA\r\n", count + 2)
        talker.ask(LINE + b".\r\n")

    spent = median_cpu(server, work)
    talker.close()
    return spent


def octets(server: Running, size: int) -> float:
    """Send one message of a size."""
    talker = talking(server)
    block = LINE * (65_536 // len(LINE))
    blocks, rest = divmod(size, len(block))

    def work() -> None:
        talker.ask(ENVELOPE + b"DATA\r\n", 3)
        for _ in range(blocks):
            talker.sock.sendall(block)
        talker.ask(LINE * (rest // len(LINE)) + b".\r\n")

    # The largest are long enough by themselves.
    measured = median_cpu if size < 100_000_000 else Running.cpu
    spent = measured(server, work)
    talker.close()
    return spent


def depth(server: Running, messages: int) -> float:
    """Send so many whole transactions in one flight, by BDAT."""
    talker = talking(server)
    one = ENVELOPE + b"BDAT %d LAST\r\n%b" % (len(LINE), LINE)
    spent = median_cpu(server, partial(talker.ask, one * messages, 3 * messages))
    talker.close()
    return spent


def segments(server: Running, count: int) -> float:
    """Send a message in so many pieces of 64 octets, each on its own."""
    talker = talking(server)
    piece = b"x" * 62 + b"\r\n"

    def work() -> None:
        talker.ask(ENVELOPE + b"DATA\r\n", 3)
        for _ in range(count):
            talker.sock.send(piece)
        talker.ask(b".\r\n")

    spent = median_cpu(server, work)
    talker.close()
    return spent


def busy(server: Running, connections: int) -> float:
    """Send a message over each of so many connections, in step."""
    talkers = [talking(server) for _ in range(connections)]

    def work() -> None:
        for octets, replies in (
            (ENVELOPE + b"DATA\r\n", 3),
            (LINE * 57 + b".\r\n", 1),
        ):
            for talker in talkers:
                talker.sock.sendall(octets)
            for talker in talkers:
                talker.hear(replies)

    spent = median_cpu(server, work)
    for talker in talkers:
        talker.close()
    return spent


@dataclass(frozen=True)
class Study:
    """Something that grows, and what is measured of it."""

    name: str
    title: str
    unit: str
    amounts: tuple[int, ...]
    run: Callable[[Running, int], float]


STUDIES: Final = (
    Study(
        "recipients",
        "A message to many recipients",
        "recipients",
        (1, 10, 100, 1_000, 10_000),
        recipients,
    ),
    Study(
        "octets",
        "Messages of growing size",
        "octets",
        (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000),
        octets,
    ),
    Study(
        "depth",
        "Transactions pipelined in one flight",
        "messages in a flight",
        (1, 10, 100, 1_000),
        depth,
    ),
    Study(
        "segments",
        "A message in pieces of 64 octets",
        "pieces",
        (1, 10, 100, 1_000, 10_000),
        segments,
    ),
    Study(
        "busy",
        "A message of 4 KiB over each connection",
        "connections",
        (1, 10, 100, 1_000),
        busy,
    ),
)


def header_fields(count: int) -> float:
    """Parse a message of so many header fields, here; return microseconds."""
    content = b"X-Field: the quick brown fox\r\n" * count + b"\r\nHello\r\n"
    figures = []
    for _ in range(REPEATS + 1):
        start = time.process_time_ns()
        parsed = parse_message(content)
        assert len(parsed.header.all("X-Field")) == min(count, MAX_FIELDS)
        figures.append((time.process_time_ns() - start) / 1000)
    return statistics.median(figures[1:])


def pieces(size: int) -> tuple[float, float]:
    """Give a machine 1 MB in pieces of a size, here; return their number, and us."""
    from smtpx.core.config import ServerConfig  # noqa: PLC0415
    from smtpx.core.events import BodyReceived, MessageComplete  # noqa: PLC0415
    from smtpx.core.server import ServerMachine  # noqa: PLC0415

    machine = ServerMachine(ServerConfig(hostname="bench.example"))
    content = LINE * 14_000

    def feed(octets: bytes) -> None:
        machine.receive_data(octets)
        while (event := machine.next_event()) is not None:
            if not isinstance(event, BodyReceived) and machine.is_waiting:
                machine.answer(None)
            if isinstance(event, MessageComplete):
                break
        machine.data_to_send()

    feed(b"EHLO a.example\r\n" + ENVELOPE + b"DATA\r\n")
    start = time.process_time_ns()
    for place in range(0, len(content), size):
        feed(content[place : place + size])
    return -(-len(content) // size), (time.process_time_ns() - start) / 1000


@dataclass
class Idle:
    """What idle connections cost.

    Attributes:
        octets: of memory, for each.
        accept_microseconds: of CPU, for each, to be accepted and greeted.
        latency: of a message over another connection, in milliseconds; median.
    """

    octets: float
    accept_microseconds: float
    latency: float


def idle(name: str, loop: str, count: int) -> Idle:
    """Open connections that say nothing, with one at work among them."""
    with running(name, loop) as server:
        talkers = [Talker(server.port) for _ in range(50)]  # what is made only once
        before = server.resident()
        spent = server.cpu(
            lambda: talkers.extend(Talker(server.port) for _ in range(count))
        )
        grown = server.resident() - before
        latency = 0.0
        if name != "bare":
            active = talking(server)
            latency = statistics.median(_one_message(active) for _ in range(200))
        for talker in talkers:
            talker.close()
    return Idle(grown / count, spent / count, latency)


def _one_message(talker: Talker) -> float:
    start = time.perf_counter_ns()
    talker.ask(ENVELOPE + b"DATA\r\n", 3)
    talker.ask(LINE + b".\r\n")
    return (time.perf_counter_ns() - start) / 1e6


def measure(loop: str, largest: int) -> dict[str, Points]:
    """Run every study; the points of each by its name."""
    found: dict[str, Points] = {}
    for study in STUDIES:
        note(study.title)
        with running("smtpx-large", loop) as server:
            found[study.name] = [
                (amount, study.run(server, amount))
                for amount in study.amounts
                if amount <= largest
            ]
    note("in this process")
    found["header fields"] = [
        (n, header_fields(n)) for n in (1, 10, 100, 1_000, 10_000, 100_000)
    ]
    sizes = (65_536, 16_384, 1_024, 64, 16, 4, 1)
    found["pieces"] = [pieces(size) for size in sizes]
    return found


def table(found: dict[str, Points]) -> str:
    """Lay out what a unit costs at each amount."""
    rows = [
        [name, *(f"{amount:,.0f}: {spent / amount:,.3g}" for amount, spent in points)]
        for name, points in found.items()
    ]
    width = max(map(len, rows))
    headings = ["CPU us a unit, by amount", *[""] * (width - 1)]
    return markdown_table(headings, [row + [""] * (width - len(row)) for row in rows])


def idle_table(loop: str, counts: Sequence[int]) -> str:
    """Lay out what idle connections cost."""
    rows = []
    for count in counts:
        bare, ours = idle("bare", loop, count), idle("smtpx-large", loop, count)
        rows.append(
            [
                f"{count:,}",
                f"{ours.octets / 1024:.1f}",
                f"{bare.octets / 1024:.1f}",
                f"{ours.accept_microseconds:.0f}",
                f"{bare.accept_microseconds:.0f}",
                f"{ours.latency:.2f}",
            ]
        )
    headings = ["idle connections", "KiB each", "KiB each, bare", "us to accept"]
    return markdown_table([*headings, "us, bare", "ms a message among them"], rows)


def pictures(found: dict[str, Points], directory: Path) -> None:
    """Draw each study."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn = {study.name: (study.title, study.unit) for study in STUDIES}
    drawn["header fields"] = ("Parsing a header", "fields")
    drawn["pieces"] = ("1 MB in pieces of 64 KiB to 1 octet", "pieces")
    for name, points in found.items():
        title, unit = drawn[name]
        svg = draw_lines(title, {"smtpx": points}, units=(unit, "CPU \u00b5s"))
        path = directory / f"scale-{name.replace(' ', '-')}.svg"
        path.write_text(svg, "utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loop", choices=list(EVENT_LOOPS), default="uvloop")
    parser.add_argument("--largest", type=int, default=1_000_000_000)
    parser.add_argument("--idle", type=int, nargs="*", default=[100, 1_000, 10_000])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--pictures", type=Path, help="draw into a directory")
    options = parser.parse_args(arguments)
    found = measure(options.loop, options.largest)
    if options.pictures is not None:
        pictures(found, options.pictures)
    if options.json:
        say(json.dumps(found, indent=2))
        return
    say(f"{describe_python()}, {options.loop}; {os.cpu_count()} cores\n")
    say(table(found))
    if options.idle:
        say("\n" + idle_table(options.loop, options.idle))


if __name__ == "__main__":
    main()

"""How the cost of the server grows: connections, recipients, sizes, pieces.

Each run sends one kind of load in growing amounts to a server of its own, and takes the
server's CPU time. A line is fitted to each, of a fixed cost and one for each unit.
``python -m benchmarks scale``; ``--pictures DIRECTORY`` draws it, ``--page FILE`` puts
its tables into docs/explanation/scale.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.drawing import draw_lines
from benchmarks.fit import fit_line, last_exponent
from benchmarks.idle import ENVELOPE, LINE, idle_table
from benchmarks.loops import EVENT_LOOPS
from benchmarks.measure import describe_python, markdown_table, note, say
from benchmarks.pages import put
from benchmarks.talk import Running, allow_descriptors, running, talking
from smtpx.message.fields import DEFAULT_HEADER_LIMITS
from smtpx.message.parsed import parse_message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Points = list[tuple[float, float]]

MAX_FIELDS: Final = DEFAULT_HEADER_LIMITS.max_fields
# The small ones are repeated more often, since a chance delay is a large part of them.
REPEATS: Final = 3
MOST_REPEATS: Final = 40
ENOUGH_MICROSECONDS: Final = 50_000


def median_cpu(server: Running, work: Callable[[], None]) -> float:
    """Return the median of some runs, after one to warm up."""
    work()
    return repeat(lambda: server.cpu(work))


def repeat(measured: Callable[[], float]) -> float:
    """Return the median of some runs that each give their microseconds."""
    first = measured()
    count = min(MOST_REPEATS, max(REPEATS, round(ENOUGH_MICROSECONDS / first)))
    return statistics.median([first, *(measured() for _ in range(count - 1))])


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

    def once() -> float:
        start = time.process_time_ns()
        parsed = parse_message(content)
        assert len(parsed.header.all("X-Field")) == min(count, MAX_FIELDS)
        return (time.process_time_ns() - start) / 1000

    once()
    return repeat(once)


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
    # More than these are passed over, unread.
    counts = (1, 10, 100, 1_000, MAX_FIELDS)
    found["header fields"] = [(n, header_fields(n)) for n in counts]
    sizes = (65_536, 16_384, 1_024, 64, 16, 4, 1)
    found["pieces"] = [pieces(size) for size in sizes]
    return found


def describe(found: dict[str, Points]) -> dict[str, tuple[str, str]]:
    """Return title and unit of each study."""
    drawn = {study.name: (study.title, study.unit) for study in STUDIES}
    drawn["header fields"] = ("A header parsed", "fields")
    drawn["pieces"] = ("1 MB in pieces of 64 KiB to 1 octet, core alone", "pieces")
    return {name: drawn[name] for name in found}


def table(found: dict[str, Points]) -> str:
    """Lay out the line of each study, and how straight it is."""
    rows = []
    for name, (title, unit) in describe(found).items():
        points = found[name]
        line = fit_line(points)
        rows.append(
            [
                title,
                f"{points[0][0]:,.0f} to {points[-1][0]:,.0f} {unit}",
                *(f"{line.fixed:,.0f}", f"{line.unit:,.3g}"),
                f"{line.deviation(points):.0%}",
                f"{last_exponent(points, line.fixed):.2f}",
            ]
        )
    headings = ["", "amounts", "us fixed", "us a unit", "furthest off", "last exponent"]
    return markdown_table(headings, rows, aligned_left=2)


def points_table(found: dict[str, Points]) -> str:
    """Lay out what each amount cost."""
    rows = [
        [title, *(f"{amount:,.0f}: {spent:,.0f}" for amount, spent in found[name])]
        for name, (title, _) in describe(found).items()
    ]
    width = max(map(len, rows))
    headings = ["CPU us in all, by amount", *[""] * (width - 1)]
    return markdown_table(headings, [row + [""] * (width - len(row)) for row in rows])


def pictures(found: dict[str, Points], directory: Path) -> None:
    """Draw each study, and its line."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, (title, unit) in describe(found).items():
        points = sorted(found[name])
        line = fit_line(points)
        formula = f"behind it: {line.fixed:,.0f} + {line.unit:.3g} \u00d7 {unit}"
        svg = draw_lines(
            title,
            {"measured": points},
            units=(unit, "CPU \u00b5s"),
            guide=(formula, line.at),
        )
        path = directory / f"scale-{name.replace(' ', '-')}.svg"
        path.write_text(svg, "utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loop", choices=list(EVENT_LOOPS), default="uvloop")
    parser.add_argument("--largest", type=int, default=1_000_000_000)
    parser.add_argument("--idle", type=int, nargs="*", default=[0, 100, 1_000, 10_000])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--pictures", type=Path, help="draw into a directory")
    parser.add_argument("--page", type=Path, help="put the tables into a page")
    options = parser.parse_args(arguments)
    # Each connection has one at either end, in a process of its own.
    options.idle = [
        count for count in options.idle if count + 200 < allow_descriptors()
    ]
    found = measure(options.loop, options.largest)
    if options.pictures is not None:
        pictures(found, options.pictures)
    if options.json:
        say(json.dumps(found, indent=2))
        return
    idle = idle_table(options.loop, options.idle) if options.idle else ""
    setting = f"{describe_python()}, {options.loop}, {os.cpu_count()} cores"
    texts = {
        "lines": f"{setting}:\n\n{table(found)}",
        "points": points_table(found),
        "idle": f"{setting}:\n\n{idle}",
    }
    if options.page is not None:
        page = options.page.read_text("utf-8")
        for name, text in texts.items():
            page = put(page, name, text)
        options.page.write_text(page, "utf-8")
    say("\n\n".join(texts.values()))


if __name__ == "__main__":
    main()

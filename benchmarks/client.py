"""CPU time a message of SMTP clients, side by side.

One connection to Postfix's ``smtp-sink``; each client runs in a process of its
own, and its CPU time is that of the messages alone, without the start of the
interpreter. Postfix's ``smtp-source``, in C, is measured whole.
``python -m benchmarks.client``; add ``--quick`` for a first look.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.drawing import draw_bars
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
from benchmarks.processes import (
    HOST,
    find_postfix_tool,
    free_port,
    python_program,
    start_sink,
    stay_on_one_core,
    stop,
    wait_until_serving,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RUN_SECONDS = 60.0
# smtp-source is measured with its start, so it sends more for the same precision.
SOURCE_FACTOR = 8


@dataclass(frozen=True)
class Load:
    """How many messages of which size."""

    name: str
    messages: int
    octets: int


LOADS = (Load("4 KiB", 2000, 4096), Load("1 MB", 60, 1_000_000))


def run_python(arguments: Sequence[str], port: int, scale: float, load: Load) -> float:
    """Run one of our client programs, and return its own figure."""
    command = [
        *python_program("send", *arguments),
        *("--port", str(port)),
        *("--messages", str(max(10, round(load.messages * scale)))),
        *("--octets", str(load.octets)),
    ]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, timeout=RUN_SECONDS
    )
    return float(json.loads(done.stdout)["microseconds"])


def run_source(port: int, scale: float, load: Load) -> float:
    """Run ``smtp-source`` and divide the CPU time of the process."""
    messages = max(10, round(load.messages * scale)) * SOURCE_FACTOR
    command = [find_postfix_tool("smtp-source"), "-d", "-s", "1"]
    command += ["-m", str(messages), "-l", str(load.octets)]
    command += ["-f", "a@example.com", "-t", "b@example.com", f"{HOST}:{port}"]
    before = children_cpu_seconds()
    subprocess.run(command, check=True, timeout=RUN_SECONDS)
    return (children_cpu_seconds() - before) * 1e6 / messages


def children_cpu_seconds() -> float:
    """Return the CPU time of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def candidates(port: int, scale: float) -> dict[str, Callable[[Load], float]]:
    """Return the clients to compare, each taking a load."""
    python = partial(run_python, port=port, scale=scale)
    found: dict[str, Callable[[Load], float]] = {
        "smtp-source (C)": partial(run_source, port, scale),
        "smtplib": lambda load: python(["smtplib"], load=load),
        "aiosmtplib": lambda load: python(["aiosmtplib"], load=load),
        "smtpx Client.send": lambda load: python(["smtpx-blocking"], load=load),
        "smtpx Client.send_many": lambda load: python(["smtpx-many"], load=load),
    }
    for loop in EVENT_LOOPS:
        for program, name in (("async", "send"), ("async-many", "send_many")):
            found[f"smtpx AsyncClient.{name}, {loop}"] = partial(
                run_python, [f"smtpx-{program}", "--loop", loop], port, scale
            )
    return found


def measure(rounds: int, scale: float) -> dict[str, dict[str, list[float]]]:
    """Run every load with every client; the outer key is the load."""
    port = free_port()
    figures = {}
    with subprocess.Popen(start_sink(port)) as sink:
        try:
            wait_until_serving(port, sink)
            for load in LOADS:
                note(f"{load.name}: {rounds} rounds")
                runs = {
                    name: partial(run, load)
                    for name, run in candidates(port, scale).items()
                }
                figures[load.name] = interleave(runs, rounds)
        finally:
            stop(sink)
    return figures


def table(figures: dict[str, dict[str, list[float]]]) -> str:
    """Lay out medians and ratios, one row a client."""
    columns = {load: medians(some) for load, some in figures.items()}
    names = next(iter(columns.values()))
    rows = [
        [name, *(cell(by_name, name) for by_name in columns.values())] for name in names
    ]
    heading = "CPU us a message (to smtp-source, smtplib, aiosmtplib)"
    return markdown_table([heading, *columns], rows)


def cell(by_name: dict[str, float], name: str) -> str:
    """Format one figure and its ratios to the three peers."""
    ratios = ", ".join(
        f"{by_name[name] / by_name[peer]:.2f}"
        for peer in ("smtp-source (C)", "smtplib", "aiosmtplib")
    )
    return f"{by_name[name]:,.0f} ({ratios})"


def picture(figures: dict[str, dict[str, list[float]]]) -> str:
    """Draw the medians."""
    groups = {load: medians(some) for load, some in figures.items()}
    title = "CPU a message, clients to smtp-sink (smtp-source = 1)"
    return draw_bars(title, groups, ours="smtpx", note=describe_python())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="fewer, smaller rounds")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--picture", type=Path, help="write an SVG")
    parser.add_argument("--all-cores", action="store_true", help="do not stay on one")
    options = parser.parse_args(arguments)
    if not options.all_cores:
        stay_on_one_core()
    rounds, scale = (3, 0.3) if options.quick else (options.rounds, 1.0)
    figures = measure(rounds, scale)
    if options.picture is not None:
        options.picture.write_text(picture(figures), "utf-8")
    if options.json:
        say(json.dumps(figures, indent=2))
        return
    say(
        f"{describe_python()}; aiosmtplib {version_of('aiosmtplib')}; "
        f"smtpx {version_of('smtpx')}; {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}; medians of {rounds} interleaved rounds\n"
    )
    say(table(figures))


if __name__ == "__main__":
    main()

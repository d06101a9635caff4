"""CPU time a message of SMTP clients, side by side.

One connection to Postfix's ``smtp-sink``, or, by TLS and BDAT, to a server of our own;
each client runs in a process of its own, and its CPU time is that of the messages
alone, without the start of the interpreter and the handshake. Postfix's
``smtp-source``, in C, is measured whole. A client that cannot send a load is left out
of it. ``python -m benchmarks.client``; add ``--quick`` for a first look, and
``--shapes all`` for TLS, LMTP and BDAT too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.certificates import Certificates, make_certificates
from benchmarks.loops import EVENT_LOOPS
from benchmarks.measure import (
    describe_python,
    interleave,
    note,
    say,
    version_of,
)
from benchmarks.processes import (
    HOST,
    GoProgram,
    build_go_program,
    find_postfix_tool,
    free_port,
    python_program,
    read_report,
    start_sink,
    stay_on_one_core,
    stop,
    wait_until_serving,
)
from benchmarks.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

RUN_SECONDS = 60.0
# smtp-source is measured with its start, so it sends more for the same precision.
SOURCE_FACTOR = 8


@dataclass(frozen=True)
class Load:
    """How many messages of which size.

    Attributes:
        name: in tables.
        messages: of one round.
        octets: of each.
        group: by which it can be chosen.
        way: ``smtp``, ``lmtp`` or ``starttls``.
        is_bdat: whether they go by BDAT; else by DATA.
    """

    name: str
    messages: int
    octets: int
    group: str = "main"
    way: str = "smtp"
    is_bdat: bool = False


LOADS = (
    Load("4 KiB", 2000, 4096),
    Load("1 MB", 60, 1_000_000),
    Load("TLS, 4 KiB", 1500, 4096, "tls", "starttls"),
    Load("TLS, 1 MB", 40, 1_000_000, "tls", "starttls"),
    Load("LMTP, 4 KiB", 2000, 4096, "lmtp", "lmtp"),
    Load("BDAT, 4 KiB", 2000, 4096, "bdat", is_bdat=True),
    Load("BDAT, 1 MB", 60, 1_000_000, "bdat", is_bdat=True),
)
GROUPS = tuple(dict.fromkeys(load.group for load in LOADS))


@dataclass(frozen=True)
class Circumstances:
    """What the clients are run with.

    Attributes:
        certificates: whom they trust.
        go: go-smtp; None: there is no Go here, or not its sources.
        scale: how much of each load is sent.
    """

    certificates: Certificates
    go: GoProgram | None
    scale: float

    def arguments(self, port: int, load: Load) -> list[str]:
        """Return what our own programs are told, and that in Go."""
        messages = max(10, round(load.messages * self.scale))
        return [
            *("--port", str(port), "--messages", str(messages)),
            *("--octets", str(load.octets)),
        ]


def run_python(
    command: Sequence[str], port: int, given: Circumstances, load: Load
) -> float:
    """Run one of our client programs, and return its own figure."""
    return run_program(
        [
            *python_program("send", *command),
            *given.arguments(port, load),
            *("--way", load.way, "--authority", str(given.certificates.authority)),
            *(["--bdat"] if load.is_bdat else []),
        ]
    )


def run_go(program: Path, port: int, given: Circumstances, load: Load) -> float:
    """Run the client in Go, and return its own figure."""
    return run_program(
        [
            *(str(program), "send", *given.arguments(port, load)),
            *([] if load.way == "smtp" else [f"-{load.way}"]),
            *("-authority", str(given.certificates.authority)),
        ]
    )


def run_program(command: Sequence[str]) -> float:
    """Run a client that tells what it took."""
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, timeout=RUN_SECONDS
    )
    return float(json.loads(done.stdout)["microseconds"])


def run_source(port: int, given: Circumstances, load: Load) -> float:
    """Run ``smtp-source`` and divide the CPU time of the process."""
    messages = max(10, round(load.messages * given.scale)) * SOURCE_FACTOR
    command = [find_postfix_tool("smtp-source"), "-d", "-s", "1"]
    command += ["-L"] if load.way == "lmtp" else []
    command += ["-m", str(messages), "-l", str(load.octets)]
    command += ["-f", "a@example.com", "-t", "b@example.com", f"{HOST}:{port}"]
    before = children_cpu_seconds()
    subprocess.run(command, check=True, timeout=RUN_SECONDS)
    return (children_cpu_seconds() - before) * 1e6 / messages


def children_cpu_seconds() -> float:
    """Return the CPU time of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def candidates(
    port: int, given: Circumstances, load: Load
) -> dict[str, Callable[[], float]]:
    """Return the clients that can send this load."""

    def python(*arguments: str) -> Callable[[], float]:
        return partial(run_python, arguments, port, given, load)

    found: dict[str, Callable[[], float]] = {}
    if load.way != "starttls" and not load.is_bdat:
        found["smtp-source (C)"] = partial(run_source, port, given, load)
    if not load.is_bdat:
        if given.go is not None:
            found["go-smtp"] = partial(run_go, given.go.path, port, given, load)
        found["smtplib"] = python("smtplib")
    if not load.is_bdat and load.way != "lmtp":
        found["aiosmtplib"] = python("aiosmtplib")
    found["smtpx Client.send"] = python("smtpx-blocking")
    found["smtpx Client.send_many"] = python("smtpx-many")
    for loop in EVENT_LOOPS:
        for program, name in (("async", "send"), ("async-many", "send_many")):
            found[f"smtpx AsyncClient.{name}, {loop}"] = python(
                f"smtpx-{program}", "--loop", loop
            )
    return found


@contextlib.contextmanager
def receiving(load: Load, certificates: Certificates) -> Iterator[int]:
    """Run a server that takes the load; yield its port."""
    if load.way == "starttls" or load.is_bdat:
        command = python_program("serve", "smtpx", "--way", load.way)
        command += ["--loop", "uvloop" if "uvloop" in EVENT_LOOPS else "asyncio"]
        if load.way == "starttls":
            command += ["--certificate", str(certificates.server)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                yield int(read_report(process)["port"])
            finally:
                stop(process)
        return
    port = free_port()
    flags = ["-L"] if load.way == "lmtp" else []
    with subprocess.Popen(start_sink(port, *flags)) as sink:
        try:
            wait_until_serving(port, sink)
            yield port
        finally:
            stop(sink)


def measure(
    loads: Sequence[Load], given: Circumstances, rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Run every load with every client; the outer key is the load."""
    figures = {}
    for load in loads:
        note(f"{load.name}: {rounds} rounds")
        with receiving(load, given.certificates) as port:
            figures[load.name] = interleave(candidates(port, given, load), rounds)
    return figures


# Goals, as ratios: send at most 0.6 of smtplib, or 0.3 of aiosmtplib; send_many at most
# 1.0 of smtp-source at 4 KiB, and 2.0 at 1 MB.
PEERS = ("smtp-source (C)", "go-smtp", "smtplib", "aiosmtplib")


def compare(loads: Sequence[Load], rounds: int, scale: float) -> Report:
    """Build, start, measure."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        go = build_go_program(directory)
        given = Circumstances(make_certificates(directory), go, scale)
        figures = measure(loads, given, rounds)
    setting = (
        f"{describe_python()}; aiosmtplib {version_of('aiosmtplib')}; "
        + ("" if go is None else f"{go.version}; ")
        + f"smtpx {version_of('smtpx')}; {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}; medians of {rounds} interleaved rounds"
    )
    title = "CPU a message, clients (the first of each load = 1)"
    return Report(title, setting, figures, PEERS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="fewer, smaller rounds")
    parser.add_argument(
        "--shapes", nargs="+", default=["main"], choices=["all", *GROUPS]
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--picture", type=Path, help="write an SVG")
    parser.add_argument("--to", type=Path, help="write TO.json, TO.md and TO.svg")
    parser.add_argument("--all-cores", action="store_true", help="do not stay on one")
    options = parser.parse_args(arguments)
    if not options.all_cores:
        stay_on_one_core()
    scale = 0.3 if options.quick else 1.0
    rounds = options.rounds or (3 if options.quick else 7)
    words = options.shapes
    loads = [load for load in LOADS if load.group in words or "all" in words]
    report = compare(loads, rounds, scale)
    drawn = [load.name for load in LOADS if load.group == "main"]
    if options.picture is not None:
        options.picture.write_text(report.picture(drawn), "utf-8")
    if options.to is not None:
        report.write(options.to, drawn)
    if options.json:
        say(json.dumps(report.data(), indent=2))
        return
    say(f"{report.setting}\n")
    say(report.tables(columns=4))


if __name__ == "__main__":
    main()

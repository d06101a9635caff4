"""CPU time a message of SMTP servers under the same load, side by side.

Postfix's ``smtp-source`` sends the load; Postfix's ``smtp-sink``, a server in C
that throws everything away, is the bar. The other servers read each message to its
end, and are checked to have received all of them. go-smtp takes part where Go and
its sources are installed (packages golang-go, golang-github-emersion-go-smtp-dev,
golang-github-emersion-go-sasl-dev).

All servers run all the time; the rounds go from one to the next, so what else
happens on the machine touches all alike. Only the ratios mean anything on another
machine. ``python -m benchmarks.server``; add ``--quick`` for a first look.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cpu import tree_cpu_ns
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
    build_go_server,
    find_postfix_tool,
    free_port,
    python_program,
    read_report,
    start_sink,
    stay_on_one_core,
    stop,
    wait_until_serving,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOAD_SECONDS = 60.0


@dataclass(frozen=True)
class Shape:
    """A kind of load."""

    name: str
    messages: int
    connections: int
    octets: int = 4096
    recipients: int = 1
    keeps_connection: bool = True

    def command(self, port: int, messages: int) -> list[str]:
        """Return the ``smtp-source`` command that sends this load."""
        return [
            find_postfix_tool("smtp-source"),
            *(["-d"] if self.keeps_connection else []),
            *("-s", str(self.connections)),
            *("-m", str(messages)),
            *("-l", str(self.octets)),
            *("-r", str(self.recipients)),
            *("-f", "a@example.com", "-t", "b@example.com"),
            f"{HOST}:{port}",
        ]


SHAPES = (
    Shape("10 conn, 4 KiB", messages=4000, connections=10),
    Shape("1 conn, 4 KiB", messages=2500, connections=1),
    Shape(
        "a connection a message",
        messages=2000,
        connections=10,
        keeps_connection=False,
    ),
    Shape("100 conn, 5 rcpt", messages=3000, connections=100, recipients=5),
    Shape("1 MB", messages=60, connections=10, octets=1_000_000),
)


@dataclass
class Candidate:
    """A server under measurement."""

    name: str
    command: list[str]
    version: str
    # smtp-sink is told its port; our own programs tell us theirs.
    port: int | None = None
    # Slow servers get a smaller part of the messages, for the same precision.
    share: float = 1.0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    messages_sent: int = 0
    octets_sent: int = 0

    def start(self) -> None:
        """Start the server and wait until it serves."""
        if self.port is not None:
            self.process = subprocess.Popen(self.command)
            wait_until_serving(self.port, self.process)
            return
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE)
        self.port = int(read_report(self.process)["port"])

    def run(self, shape: Shape, scale: float) -> float:
        """Send one load.

        Returns:
            CPU microseconds a message.

        Raises:
            RuntimeError: the load did not get through.
        """
        assert self.process is not None
        assert self.port is not None
        messages = max(shape.connections, round(shape.messages * self.share * scale))
        before = tree_cpu_ns(self.process.pid)
        done = subprocess.run(
            shape.command(self.port, messages),
            check=False,
            capture_output=True,
            timeout=LOAD_SECONDS,
        )
        spent = tree_cpu_ns(self.process.pid) - before
        if done.returncode or done.stderr:
            raise RuntimeError(f"{self.name}, {shape.name}: {done.stderr!r}")
        self.messages_sent += messages
        self.octets_sent += messages * shape.octets
        return spent / 1000 / messages

    def finish(self) -> None:
        """End the server, and see that it received what was sent.

        Raises:
            RuntimeError: something was lost.
        """
        if self.process is None:
            return
        stop(self.process)
        if self.process.stdout is None:
            return
        counts = read_report(self.process)
        self.process.stdout.close()
        if counts["messages"] != self.messages_sent:
            raise RuntimeError(f"{self.name}: sent {self.messages_sent}, got {counts}")
        # smtp-source adds header fields to the octets that it was asked for, and
        # counts them in; what it may leave out is a part of a line.
        if counts["octets"] < self.octets_sent * 0.95:
            raise RuntimeError(f"{self.name}: sent {self.octets_sent}, got {counts}")


def candidates(directory: Path) -> list[Candidate]:
    """Return the servers to compare; what has to be built is built in `directory`."""
    port = free_port()
    smtpx_version = f"smtpx {version_of('smtpx')}"
    go_program = build_go_server(directory)
    return [
        Candidate("smtp-sink", start_sink(port), postfix_version(), port=port),
        *([] if go_program is None else [go_candidate(go_program)]),
        Candidate(
            "aiosmtpd",
            python_program("serve", "aiosmtpd"),
            f"aiosmtpd {version_of('aiosmtpd')}",
            share=0.25,
        ),
        *(
            Candidate(
                f"smtpx, {loop}",
                python_program("serve", "smtpx", "--loop", loop),
                smtpx_version
                + (f", uvloop {version_of('uvloop')}" if loop == "uvloop" else ""),
            )
            for loop in EVENT_LOOPS
        ),
    ]


def go_candidate(program: Path) -> Candidate:
    """Describe the go-smtp server; the Go runtime's settings are left alone."""
    go_version = output_of(["go", "env", "GOVERSION"]).removeprefix("go")
    version = output_of(
        ["dpkg-query", "-W", "-f", "${Version}", "golang-github-emersion-go-smtp-dev"]
    )
    return Candidate("go-smtp", [str(program)], f"go-smtp {version}, Go {go_version}")


def postfix_version() -> str:
    """Ask Postfix which version its tools are of."""
    version = output_of([find_postfix_tool("postconf"), "-d", "-h", "mail_version"])
    return f"Postfix {version}"


def output_of(command: Sequence[str]) -> str:
    """Return what a program prints; a question mark when it fails."""
    with contextlib.suppress(OSError):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.strip()
    return "?"


@contextlib.contextmanager
def started(servers: Sequence[Candidate]) -> Iterator[None]:
    """Run all servers; at the end, check that all received everything."""
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.callback(server.finish)
            server.start()
        yield


def measure(
    servers: Sequence[Candidate], rounds: int, scale: float
) -> dict[str, dict[str, list[float]]]:
    """Run every load against every server; the outer key is the shape."""
    figures = {}
    with started(servers):
        for shape in SHAPES:
            note(f"{shape.name}: {rounds} rounds")
            runs = {
                server.name: partial(server.run, shape, scale) for server in servers
            }
            for run in runs.values():  # warm: imports, allocators, caches
                run()
            figures[shape.name] = interleave(runs, rounds)
    return figures


# Goals for smtpx on uvloop and the newest Python, as ratios to these peers.
PEERS = ("smtp-sink", "go-smtp", "aiosmtpd")
GOALS = {
    "10 conn, 4 KiB": (0.9, 0.65, 0.12),
    "1 conn, 4 KiB": (1.1, 0.75, 0.14),
    "a connection a message": (1.0, 0.85, 0.12),
    "100 conn, 5 rcpt": (1.0, 0.8, 0.09),
    "1 MB": (0.6, 0.35, 0.12),
}


def table(figures: dict[str, dict[str, list[float]]]) -> str:
    """Lay out medians and ratios, one row a server."""
    columns = {shape: medians(some) for shape, some in figures.items()}
    names = next(iter(columns.values()))
    rows = [
        [name, *(cell(by_name, name) for by_name in columns.values())] for name in names
    ]
    goals = ["<= " + ratios(GOALS[shape]) for shape in columns]
    rows.append(["goal for smtpx, uvloop", *goals])
    heading = f"CPU us a message (ratio to {', '.join(PEERS)})"
    return markdown_table([heading, *columns], rows)


def cell(by_name: dict[str, float], name: str) -> str:
    """Format one figure: ``66 (0.83, 0.56, 0.11)``."""
    found = [
        by_name[name] / by_name[peer] if peer in by_name else None for peer in PEERS
    ]
    return f"{by_name[name]:,.0f} {ratios(found)}"


def ratios(some: Sequence[float | None]) -> str:
    """Format ratios; a dash stands for a peer that was not there."""
    texts = ("-" if one is None else f"{one:.2f}" for one in some)
    return f"({', '.join(texts)})"


def describe(servers: Sequence[Candidate]) -> str:
    """Say what was measured, and on what."""
    versions = dict.fromkeys(server.version for server in servers)
    return (
        f"{describe_python()}; {'; '.join(versions)}; {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )


def result(
    servers: Sequence[Candidate], figures: dict[str, dict[str, list[float]]]
) -> dict[str, Any]:
    """Return everything as data for ``--json``."""
    return {
        "python": describe_python(),
        "versions": {server.name: server.version for server in servers},
        "unit": "CPU microseconds a message",
        "rounds": figures,
        "medians": {shape: medians(some) for shape, some in figures.items()},
        "goals": GOALS,
    }


def picture(figures: dict[str, dict[str, list[float]]], note: str) -> str:
    """Draw the medians."""
    groups = {shape: medians(some) for shape, some in figures.items()}
    title = "CPU a message, servers under smtp-source (smtp-sink = 1)"
    return draw_bars(title, groups, ours="smtpx", note=note)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="fewer, smaller rounds")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--picture", type=Path, help="write an SVG")
    parser.add_argument("--all-cores", action="store_true", help="do not stay on one")
    options = parser.parse_args(arguments)
    if not options.all_cores:
        stay_on_one_core()
    rounds, scale = (3, 0.4) if options.quick else (options.rounds, 1.0)
    with tempfile.TemporaryDirectory() as directory:
        servers = candidates(Path(directory))
        figures = measure(servers, rounds, scale)
    if options.picture is not None:
        options.picture.write_text(picture(figures, describe(servers)), "utf-8")
    if options.json:
        say(json.dumps(result(servers, figures), indent=2))
        return
    say(describe(servers) + f"; medians of {rounds} interleaved rounds\n")
    say(table(figures))


if __name__ == "__main__":
    main()

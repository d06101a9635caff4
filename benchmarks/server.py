"""CPU time a message of SMTP servers under the same load, side by side.

Postfix's ``smtp-source`` sends the load, a client of our own what it cannot: TLS and
BDAT. Postfix's ``smtp-sink``, a server in C that throws everything away, is the bar.
The other servers read each message to its end, and are checked to have received all of
them. A server that cannot take a load is left out of it. ``benchmarks/install-peers``
installs them.

All servers run all the time; the rounds go from one to the next, so what else
happens on the machine touches all alike. Only the ratios mean anything on another
machine. ``python -m benchmarks.server``; add ``--quick`` for a first look, and
``--shapes all`` for TLS, LMTP, BDAT and workers too.
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
from typing import TYPE_CHECKING

from benchmarks.certificates import Certificates, make_certificates
from benchmarks.cpu import tree_cpu_ns
from benchmarks.loops import EVENT_LOOPS
from benchmarks.measure import (
    describe_python,
    interleave,
    note,
    say,
    version_of,
)
from benchmarks.processes import (
    GoProgram,
    build_go_program,
    find_postfix_tool,
    free_port,
    output_of,
    python_program,
    read_report,
    start_sink,
    stay_on_one_core,
    stop,
    wait_until_serving,
)
from benchmarks.report import Report
from benchmarks.shapes import GROUPS, MAIN, Shape, choose

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOAD_SECONDS = 60.0


@dataclass
class Candidate:
    """A server under measurement."""

    name: str
    command: list[str]
    version: str
    certificates: Certificates
    # smtp-sink is told its port; our own programs tell us theirs.
    port: int | None = None
    # Slow servers get a smaller part of the messages, for the same precision.
    share: float = 1.0
    has_chunking: bool = True
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    messages_sent: int = 0
    octets_sent: int = 0

    def start(self) -> None:
        """Start the server and wait until it serves."""
        environment = {**os.environ, **self.environment}
        if self.port is not None:
            self.process = subprocess.Popen(self.command, env=environment)
            wait_until_serving(self.port, self.process)
            return
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, env=environment
        )
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
            shape.command(self.port, messages, self.certificates),
            check=False,
            capture_output=True,
            timeout=LOAD_SECONDS,
        )
        spent = tree_cpu_ns(self.process.pid) - before
        if done.returncode or done.stderr:
            raise RuntimeError(f"{self.name}, {shape.name}: {done.stderr!r}")
        if shape.carries_messages:
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
        # One of each worker.
        reports = [json.loads(line) for line in self.process.stdout]
        self.process.stdout.close()
        counts = {
            name: sum(report[name] for report in reports)
            for name in ("messages", "octets")
        }
        if counts["messages"] != self.messages_sent:
            raise RuntimeError(f"{self.name}: sent {self.messages_sent}, got {counts}")
        # smtp-source adds header fields to the octets that it was asked for, and
        # counts them in; what it may leave out is a part of a line.
        if counts["octets"] < self.octets_sent * 0.95:
            raise RuntimeError(f"{self.name}: sent {self.octets_sent}, got {counts}")


@dataclass(frozen=True)
class Equipment:
    """What the servers are made of.

    Attributes:
        certificates: for those that speak TLS.
        go: go-smtp; None: there is no Go here, or not its sources.
    """

    certificates: Certificates
    go: GoProgram | None


def candidates(way: str, equipment: Equipment) -> list[Candidate]:
    """Return the servers to compare that can be run in this way."""
    found = []
    if way not in {"tls", "starttls"}:
        port = free_port()
        sink = Candidate(
            "smtp-sink",
            start_sink(port, *(["-L"] if way == "lmtp" else [])),
            postfix_version(),
            equipment.certificates,
            port=port,
            has_chunking=False,
        )
        found.append(sink)
    if equipment.go is not None:
        found.append(go_candidate(way, equipment.go, equipment.certificates))
    if not way.isdigit():
        found.append(
            Candidate(
                "aiosmtpd",
                python_server("aiosmtpd", way, equipment.certificates),
                f"aiosmtpd {version_of('aiosmtpd')}",
                equipment.certificates,
                share=0.25,
                has_chunking=False,
            )
        )
    for loop in EVENT_LOOPS:
        version = "smtpx" if loop == "asyncio" else loop
        found.append(
            Candidate(
                f"smtpx, {loop}",
                [
                    *python_server("smtpx", way, equipment.certificates),
                    *("--loop", loop),
                ],
                f"{version} {version_of(version)}",
                equipment.certificates,
            )
        )
    return found


def python_server(name: str, way: str, certificates: Certificates) -> list[str]:
    """Return the command of a server of ``benchmarks.serve``."""
    if way.isdigit():
        return python_program("serve", name, "--workers", way)
    if way in {"tls", "starttls"}:
        certificate = ("--certificate", str(certificates.server))
        return python_program("serve", name, "--way", way, *certificate)
    return python_program("serve", name, "--way", way)


def go_candidate(way: str, go: GoProgram, certificates: Certificates) -> Candidate:
    """Describe the go-smtp server; the Go runtime's settings are left alone.

    But for workers: it is given so many threads to run on as the others processes.
    """
    command = [str(go.path), "serve"]
    if way not in {"smtp", "1", "2"}:
        command += [f"-{way}", "-certificate", str(certificates.server)]
    return Candidate(
        "go-smtp",
        command,
        go.version,
        certificates,
        has_chunking=go.has_chunking,
        environment={"GOMAXPROCS": way} if way.isdigit() else {},
    )


def postfix_version() -> str:
    """Ask Postfix which version its tools are of."""
    version = output_of([find_postfix_tool("postconf"), "-d", "-h", "mail_version"])
    return f"Postfix {version}"


@contextlib.contextmanager
def started(servers: Sequence[Candidate]) -> Iterator[None]:
    """Run all servers; at the end, check that all received everything."""
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.callback(server.finish)
            server.start()
        yield


def measure(
    shapes: Sequence[Shape], equipment: Equipment, rounds: int, scale: float
) -> tuple[dict[str, dict[str, list[float]]], list[str]]:
    """Run every load against every server that can take it.

    Returns:
        The figures by server, by shape; and the versions of the servers.
    """
    figures: dict[str, dict[str, list[float]]] = {shape.name: {} for shape in shapes}
    versions: dict[str, None] = {}
    for way in dict.fromkeys(shape.way for shape in shapes):
        servers = candidates(way, equipment)
        versions |= dict.fromkeys(server.version for server in servers)
        with started(servers):
            for shape in shapes:
                if shape.way == way:
                    figures[shape.name] = measure_shape(shape, servers, rounds, scale)
    return figures, list(versions)


def measure_shape(
    shape: Shape, servers: Sequence[Candidate], rounds: int, scale: float
) -> dict[str, list[float]]:
    """Run one load against every server that can take it."""
    note(f"{shape.name}: {rounds} rounds")
    runs = {
        server.name: partial(server.run, shape, scale)
        for server in servers
        if server.has_chunking or not shape.is_bdat
    }
    for run in runs.values():  # warm: imports, allocators, caches
        run()
    return interleave(runs, rounds)


# Goals for smtpx on uvloop and the newest Python, as ratios to these peers.
PEERS = ("smtp-sink", "go-smtp", "aiosmtpd")
GOALS = {
    "10 conn, 4 KiB": (0.9, 0.65, 0.12),
    "1 conn, 4 KiB": (1.1, 0.75, 0.14),
    "a connection a message": (1.0, 0.85, 0.12),
    "100 conn, 5 rcpt": (1.0, 0.8, 0.09),
    "1 MB": (0.6, 0.35, 0.12),
}


def describe(versions: Sequence[str], rounds: int) -> str:
    """Say what was measured, and on what."""
    return (
        f"{describe_python()}; {'; '.join(versions)}; {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"medians of {rounds} interleaved rounds"
    )


def compare(
    shapes: Sequence[Shape], rounds: int, scale: float, go_smtp: Path | None = None
) -> Report:
    """Build, start, measure."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        equipment = Equipment(
            make_certificates(directory), build_go_program(directory, go_smtp)
        )
        figures, versions = measure(shapes, equipment, rounds, scale)
    return Report(
        "CPU a message, servers (the first of each load = 1)",
        describe(versions, rounds),
        figures,
        PEERS,
        {shape.name: GOALS[shape.name] for shape in shapes if shape.name in GOALS},
        "smtpx, uvloop",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="fewer, smaller rounds")
    parser.add_argument(
        "--shapes",
        nargs="+",
        default=["main"],
        help=f"all, groups ({', '.join(GROUPS)}) or parts of names",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--picture", type=Path, help="write an SVG")
    parser.add_argument("--to", type=Path, help="write TO.json, TO.md and TO.svg")
    parser.add_argument("--all-cores", action="store_true", help="do not stay on one")
    parser.add_argument(
        "--go-smtp", type=Path, help="sources of a later version than Debian's"
    )
    options = parser.parse_args(arguments)
    if not options.all_cores:
        stay_on_one_core()
    scale = 0.4 if options.quick else 1.0
    rounds = options.rounds or (3 if options.quick else 5)
    report = compare(choose(options.shapes), rounds, scale, options.go_smtp)
    drawn = [shape.name for shape in MAIN]
    if options.picture is not None:
        options.picture.write_text(report.picture(drawn), "utf-8")
    if options.to is not None:
        report.write(options.to, drawn)
    if options.json:
        say(json.dumps(report.data(), indent=2))
        return
    say(f"{report.setting}\n")
    say(report.tables())


if __name__ == "__main__":
    main()

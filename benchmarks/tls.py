"""What TLS costs the server, by who does it: asyncio, uvloop, or aiofastnet on either.

The server is smtpx, the load a client in another process, which is not counted. A
handshake is that of STARTTLS with its connection and both EHLO: TLS 1.3 and ECDSA on
P-256, without resumption. ``python -m benchmarks tls``.
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from benchmarks.certificates import make_certificates
from benchmarks.loops import TLS_LOOPS
from benchmarks.measure import describe_python, interleave, note, say, version_of
from benchmarks.processes import python_program, stay_on_one_core
from benchmarks.report import Report
from benchmarks.server import Candidate, started
from benchmarks.shapes import Shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.certificates import Certificates


@dataclass(frozen=True)
class Handshake(Shape):
    """Connections under TLS over which nothing is sent."""

    carries_messages: ClassVar[bool] = False

    def command(
        self, port: int, messages: int, certificates: Certificates
    ) -> list[str]:
        """Return the command that makes so many."""
        return [
            *python_program("load", "handshake", "--port", str(port)),
            *("--messages", str(messages), "--connections", str(self.connections)),
            *("--authority", str(certificates.authority)),
        ]


MEGABYTE = 1_000_000
SHAPES = (
    Handshake("a handshake", 500, connections=10, octets=0, way="starttls"),
    Shape("STARTTLS, 4 KiB", 2000, connections=1, way="starttls"),
    Shape("implicit, 4 KiB", 2000, connections=1, way="tls"),
    Shape("STARTTLS, 1 MB", 40, connections=1, octets=MEGABYTE, way="starttls"),
    Shape("implicit, 1 MB", 40, connections=1, octets=MEGABYTE, way="tls"),
    Shape("no TLS, 4 KiB", 2000, connections=1),
    Shape("no TLS, 1 MB", 40, connections=1, octets=MEGABYTE),
)


def candidates(way: str, certificates: Certificates) -> list[Candidate]:
    """Return the server on each event loop."""
    flags = [] if way == "smtp" else ["--certificate", str(certificates.server)]
    return [
        Candidate(
            loop,
            python_program("serve", "smtpx", "--way", way, "--loop", loop, *flags),
            loop,
            certificates,
        )
        for loop in TLS_LOOPS
    ]


def measure(rounds: int, scale: float) -> dict[str, dict[str, list[float]]]:
    """Run every load on every event loop."""
    figures: dict[str, dict[str, list[float]]] = {shape.name: {} for shape in SHAPES}
    with tempfile.TemporaryDirectory() as directory:
        certificates = make_certificates(Path(directory))
        for way in dict.fromkeys(shape.way for shape in SHAPES):
            servers = candidates(way, certificates)
            with started(servers):
                for shape in SHAPES:
                    if shape.way != way:
                        continue
                    note(f"{shape.name}: {rounds} rounds")
                    runs = {one.name: partial(one.run, shape, scale) for one in servers}
                    for run in runs.values():  # warm
                        run()
                    figures[shape.name] = interleave(runs, rounds)
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="fewer, smaller rounds")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--to", type=Path, help="write TO.json, TO.md and TO.svg")
    parser.add_argument("--all-cores", action="store_true", help="do not stay on one")
    options = parser.parse_args(arguments)
    if not options.all_cores:
        stay_on_one_core()
    rounds = options.rounds or (3 if options.quick else 5)
    figures = measure(rounds, 0.4 if options.quick else 1.0)
    versions = [f"{name} {version_of(name)}" for name in ("uvloop", "aiofastnet")]
    setting = (
        f"{describe_python()}; {ssl.OPENSSL_VERSION}; {'; '.join(versions)}; "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; medians of {rounds} "
        "interleaved rounds"
    )
    title = "CPU of the server under TLS (asyncio = 1)"
    report = Report(title, setting, figures, ("asyncio",))
    if options.to is not None:
        report.write(options.to)
    say(json.dumps(report.data(), indent=2) if options.json else report.setting + "\n")
    if not options.json:
        say(report.tables(columns=4))


if __name__ == "__main__":
    main()

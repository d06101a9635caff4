"""A gigabyte through the server and through the clients: memory and stalls.

Whatever the size of a message, smtpx holds a bounded part of it, and no step of
it keeps the event loop for long. This program streams one message of a gigabyte

- from a plain socket into a smtpx server, by DATA and by BDAT,
- from an iterable through ``Client`` and ``AsyncClient`` into ``smtp-sink``,

each in a fresh process, and prints how much the resident memory grew, and how
late the event loop was at worst. ``python -m benchmarks.memory``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import smtpx
from benchmarks.loops import EVENT_LOOPS
from benchmarks.measure import describe_python, markdown_table, note, say
from benchmarks.processes import (
    HOST,
    free_port,
    python_program,
    read_report,
    start_sink,
    stop,
    wait_until_serving,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

GIGABYTE = 1_000_000_000
LINE = b"The quick brown fox jumps over the lazy dog, and the dog lets it pass..\r\n"
BLOCK = LINE * (65536 // len(LINE))
# The goals: growth of the resident memory, and the longest stall of the loop.
MAX_GROWTH_MEBIBYTES = 16.0
MAX_STALL_MILLISECONDS = 20.0
TICK_SECONDS = 0.001


@dataclass
class Figures:
    """What one run showed."""

    octets: int = 0
    growth_mebibytes: float = 0.0
    # The longest time that the event loop was late, less the time in which this
    # thread waited for a core: what else the machine does is not our fault.
    stall_milliseconds: float = 0.0
    cpu_seconds: float = 0.0


class Meter:
    """Measures the growth of this process's memory, from here to the end."""

    def __init__(self) -> None:
        """Take the memory in use now as the base, and forget the peak so far."""
        # proc(5): 5 resets the peak resident set size.
        Path("/proc/self/clear_refs").write_text("5")
        self._base = status_kibibytes("VmRSS")
        self._cpu = time.process_time()

    def read(self, figures: Figures) -> None:
        """Write memory and CPU time since the beginning into `figures`."""
        peak = status_kibibytes("VmHWM")
        figures.growth_mebibytes = (peak - self._base) / 1024
        figures.cpu_seconds = time.process_time() - self._cpu


def status_kibibytes(key: str) -> int:
    """Read one of the sizes in /proc/self/status (proc(5))."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0])
    raise LookupError(key)


def waited_for_core() -> float:
    """Return the seconds that this thread was ready to run and had no core.

    The second number of schedstat (Documentation/scheduler/sched-stats of Linux).
    """
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


async def watch_stalls(figures: Figures) -> None:
    """Wake up every millisecond and record the worst delay, until cancelled."""
    while True:
        started, waited = time.monotonic(), waited_for_core()
        await asyncio.sleep(TICK_SECONDS)
        late = time.monotonic() - started - TICK_SECONDS
        late -= waited_for_core() - waited
        figures.stall_milliseconds = max(figures.stall_milliseconds, late * 1000)


@contextlib.asynccontextmanager
async def stalls_watched(figures: Figures) -> AsyncIterator[None]:
    """Watch the event loop while the body runs."""
    watcher = asyncio.create_task(watch_stalls(figures))
    try:
        yield
    finally:
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher


def blocks(octets: int) -> Iterator[bytes]:
    """Yield about `octets` in blocks of ordinary lines."""
    for _ in range(octets // len(BLOCK)):
        yield BLOCK


async def serve(figures: Figures, octets: int) -> None:
    """Serve until one message of at least `octets` has come; warm up with another."""
    finished = asyncio.Event()
    meter: Meter | None = None

    class Counter(smtpx.Session):
        async def data(self, body: smtpx.Body) -> smtpx.Reply | None:
            nonlocal meter
            if meter is None:
                async for _ in body:
                    pass
                meter = Meter()
                return None
            async with stalls_watched(figures):
                async for chunk in body:
                    figures.octets += len(chunk)
            meter.read(figures)
            finished.set()
            return None

    options = smtpx.ServerOptions(limits=smtpx.Limits(max_message_octets=2 * octets))
    async with smtpx.Server(Counter, f"{HOST}:0", options=options) as server:
        port = int(server.addresses[0].rpartition(":")[2])
        say(json.dumps({"port": port}))
        await finished.wait()


def send_blocking(figures: Figures, octets: int, port: int) -> None:
    """Send with the blocking client."""
    with smtpx.Client(f"smtp+plain://{HOST}:{port}") as client:
        arguments: dict[str, Any] = {
            "sender": "a@example.com",
            "recipients": ["b@example.com"],
        }
        client.send(BLOCK, **arguments)
        meter = Meter()
        client.send(blocks(octets), **arguments)
        meter.read(figures)
    figures.octets = octets


async def send_async(figures: Figures, octets: int, port: int) -> None:
    """Send with the asyncio client."""
    async with smtpx.AsyncClient(f"smtp+plain://{HOST}:{port}") as client:
        arguments: dict[str, Any] = {
            "sender": "a@example.com",
            "recipients": ["b@example.com"],
        }
        await client.send(BLOCK, **arguments)
        meter = Meter()
        async with stalls_watched(figures):
            await client.send(blocks(octets), **arguments)
        meter.read(figures)
    figures.octets = octets


# ---------------------------------------------------------------- the other process


class RawClient:
    """Writes to a socket what it is told, and reads one reply at a time."""

    def __init__(self, port: int) -> None:
        """Connect, and read the greeting."""
        self._socket = socket.create_connection((HOST, port), 60)
        self._replies = self._socket.makefile("rb")
        self.expect(b"220")

    def expect(self, code: bytes) -> None:
        """Read a reply.

        Raises:
            RuntimeError: it has another code.
        """
        while (line := self._replies.readline())[3:4] == b"-":
            pass
        if not line.startswith(code):
            raise RuntimeError(f"expected {code!r}, got {line!r}")

    def command(self, line: bytes, code: bytes) -> None:
        """Send a command and read its reply."""
        self._socket.sendall(line + b"\r\n")
        self.expect(code)

    def envelope(self) -> None:
        """Begin a transaction."""
        self.command(b"MAIL FROM:<a@example.com>", b"250")
        self.command(b"RCPT TO:<b@example.com>", b"250")

    def send_by_data(self, octets: int) -> None:
        """Send a message by DATA."""
        self.envelope()
        self.command(b"DATA", b"354")
        for block in blocks(octets):
            self._socket.sendall(block)
        self.command(b".", b"250")

    def send_by_bdat(self, octets: int) -> None:
        """Send a message by BDAT, in chunks of a block."""
        self.envelope()
        for block in blocks(octets):
            self._socket.sendall(b"BDAT %d\r\n%b" % (len(block), block))
            self.expect(b"250")
        self.command(b"BDAT 0 LAST", b"250")

    def close(self) -> None:
        """Say goodbye."""
        self._socket.close()


def measure_server(octets: int, *, loop: str, by_bdat: bool) -> Figures:
    """Stream a message into a server in another process."""
    command = python_program("memory", "--role", "server", "--loop", loop)
    command += ["--octets", str(octets)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            client = RawClient(int(read_report(process)["port"]))
            client.command(b"EHLO bench.example", b"250")
            send = client.send_by_bdat if by_bdat else client.send_by_data
            for size in (len(BLOCK), octets):
                send(size)
            client.close()
            return Figures(**read_report(process))
        finally:
            stop(process)


def measure_client(octets: int, *, role: str, loop: str) -> Figures:
    """Let a client in another process stream a message into smtp-sink."""
    port = free_port()
    with subprocess.Popen(start_sink(port)) as sink:
        try:
            wait_until_serving(port, sink)
            command = python_program("memory", "--role", role, "--loop", loop)
            command += ["--octets", str(octets), "--port", str(port)]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                return Figures(**read_report(process))
        finally:
            stop(sink)


def play_role(options: argparse.Namespace) -> None:
    """Be the process that is measured, and print its figures."""
    figures = Figures()
    if options.role == "blocking":
        send_blocking(figures, options.octets, options.port)
    else:
        with asyncio.Runner(loop_factory=EVENT_LOOPS[options.loop]) as runner:
            runner.run(
                serve(figures, options.octets)
                if options.role == "server"
                else send_async(figures, options.octets, options.port)
            )
    say(json.dumps(asdict(figures)))


def measure(octets: int) -> dict[str, Figures]:
    """Measure the server and both clients, on each event loop."""
    found = {}
    for loop in EVENT_LOOPS:
        for by_bdat in (False, True):
            name = f"Server, {'BDAT' if by_bdat else 'DATA'}, {loop}"
            note(name)
            found[name] = measure_server(octets, loop=loop, by_bdat=by_bdat)
        note(f"AsyncClient, {loop}")
        found[f"AsyncClient, {loop}"] = measure_client(octets, role="async", loop=loop)
    note("Client")
    found["Client"] = measure_client(octets, role="blocking", loop="asyncio")
    return found


def is_within_goals(figures: Figures) -> bool:
    """Whether memory stayed flat and no turn of the event loop took long."""
    return (
        figures.growth_mebibytes < MAX_GROWTH_MEBIBYTES
        and figures.stall_milliseconds < MAX_STALL_MILLISECONDS
    )


def table(found: dict[str, Figures]) -> str:
    """Lay out the figures, one row a run."""
    rows = [
        [
            name,
            f"{one.octets / 1e6:,.0f}",
            f"{one.growth_mebibytes:.1f}",
            f"{one.stall_milliseconds:.1f}",
            f"{one.cpu_seconds:.1f}",
        ]
        for name, one in found.items()
    ]
    goals = [f"< {MAX_GROWTH_MEBIBYTES:.0f}", f"< {MAX_STALL_MILLISECONDS:.0f}"]
    rows.append(["goal", "", *goals, ""])
    return markdown_table(
        ["one message", "MB", "growth MiB", "stall ms", "CPU s"], rows
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; the status is 1 when a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--octets", type=int, default=GIGABYTE)
    parser.add_argument("--json", action="store_true", help="print JSON")
    # What follows is for the processes that this program starts.
    parser.add_argument("--role", choices=["server", "async", "blocking"])
    parser.add_argument("--loop", choices=list(EVENT_LOOPS), default="asyncio")
    parser.add_argument("--port", type=int)
    options = parser.parse_args(arguments)
    if options.role is not None:
        play_role(options)
        return 0
    found = measure(options.octets)
    if options.json:
        say(json.dumps({name: asdict(one) for name, one in found.items()}, indent=2))
    else:
        load = os.getloadavg()[0]
        say(f"{describe_python()}; {os.cpu_count()} cores, load {load:.1f}\n")
        say(table(found))
    return 0 if all(map(is_within_goals, found.values())) else 1


if __name__ == "__main__":
    sys.exit(main())

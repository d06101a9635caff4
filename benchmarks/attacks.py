"""What floods cost: memory, time, and how long neighbours wait meanwhile.

A server with its limits as they are by default is attacked from another process, while
a neighbour says NOOP again and again. The attack is done at half of its size first: if
twice as much costs twice as much, nothing is quadratic. Then clients are attacked by a
server. Time-outs are seconds in place of minutes, or a run would take hours.
``python -m benchmarks attacks``; ``--to benchmarks/attacks.md`` puts the figures into
docs/explanation/attacks.md, with the next ``make docs``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import smtpx
from benchmarks.attackers import (
    AGAINST_CLIENTS,
    AGAINST_SERVERS,
    PATIENCE,
    connect,
    hear,
)
from benchmarks.loops import EVENT_LOOPS
from benchmarks.measure import describe_python, markdown_table, note, say
from benchmarks.memory import Figures, Meter, stalls_watched
from benchmarks.processes import HOST, python_program, read_report, stop
from smtpx.testing.certificates import make_certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Between two questions of a neighbour, in seconds.
PAUSE: Final = 0.002
SECONDS: Final = 2.0
#: Time-outs of the server and the client that are attacked.
SERVER_TIMEOUTS: Final = {
    "command": SECONDS,
    "body": SECONDS,
    "handshake": SECONDS,
    "proxy_header": SECONDS,
    "session": 3 * SECONDS,
    "linger": SECONDS / 2,
}
SESSION_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Attack:
    """One row of the table.

    Attributes:
        name: of the attacker.
        title: what it does.
        size: how much of it, at the largest.
        unit: what of.
        timeouts: other than those of `SERVER_TIMEOUTS`.
        is_behind_proxy: the server expects a PROXY header.
    """

    name: str
    title: str
    size: int = 0
    unit: str = "octets"
    timeouts: tuple[tuple[str, float], ...] = (("session", SESSION_SECONDS),)
    is_behind_proxy: bool = False


SERVER_ATTACKS: Final = (
    Attack("data_without_crlf", "DATA without a CR LF", 210_000_000),
    Attack("chunk", "a refused chunk", 210_000_000),
    Attack("endless_line", "a command line", 100_000_000),
    Attack("pipelined", "pipelined commands", 100_000, "commands"),
    Attack("auth_in_a_loop", "AUTH in a loop", 3_000, "attempts"),
    Attack("never_reads", "replies never read", 12_000_000),
    Attack(
        "idle",
        "idle connections",
        10_000,
        "connections",
        (("command", 20.0), ("session", SESSION_SECONDS)),
    ),
    Attack("drip", "ten octets a second", timeouts=()),
    Attack(
        "endless_proxy_header",
        "a PROXY header without an end",
        100_000_000,
        is_behind_proxy=True,
    ),
    Attack("drip_proxy_header", "the same, ten octets a second", is_behind_proxy=True),
)
CLIENT_ATTACKS: Final = (
    Attack("endless_reply_line", "a reply of one line", 100_000_000),
    Attack("endless_reply", "a reply of many lines", 100_000_000),
    Attack("dripping_reply", "a reply, ten octets a second"),
    Attack("server_that_never_reads", "a server that never reads"),
)


# ------------------------------------------------------ the processes that are watched


async def serve(options: smtpx.ServerOptions) -> None:
    """Serve until SIGTERM; at each SIGUSR1 tell what happened since the last."""
    figures = Figures()
    meter = Meter()
    ended = asyncio.Event()

    def report() -> None:
        nonlocal meter
        meter.read(figures)
        say(json.dumps(asdict(figures)))
        figures.stall_milliseconds = 0.0
        meter = Meter()

    class Inbox(smtpx.Session):
        async def check_password(self, user: str, password: str) -> bool:
            return False

        async def data(self, body: smtpx.Body) -> None:
            async for _ in body:
                pass

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGUSR1, report)
    async with (
        smtpx.Server(Inbox, f"{HOST}:0", options=options) as server,
        stalls_watched(figures),
    ):
        say(json.dumps({"port": int(server.addresses[0].rpartition(":")[2])}))
        await ended.wait()


def server_options(attack: Attack) -> smtpx.ServerOptions:
    """Return the settings of a server that waits for an attack."""
    timeouts = {**SERVER_TIMEOUTS, **dict(attack.timeouts)}
    return smtpx.ServerOptions(
        hostname="bench.example",
        tls=make_certificates().server,
        timeouts=smtpx.ServerTimeouts(**timeouts),
        local_plaintext_auth=True,
        max_connections=20_000,
        proxy_networks=("127.0.0.0/8",) if attack.is_behind_proxy else (),
    )


def client_arguments(port: int) -> dict[str, Any]:
    """Return what makes a client that is about to be attacked."""
    times = dict.fromkeys(("greeting", "command", "data_block", "data_end"), SECONDS)
    options = smtpx.ClientOptions(timeouts=smtpx.Timeouts(**times))
    return {"url": f"smtp+plain://{HOST}:{port}", "options": options}


def message() -> dict[str, Any]:
    """Return a message of 64 MB, made as it is sent."""
    line = b"The quick brown fox jumps over the lazy dog, and lets it pass.\r\n"
    block = line * 1_000
    return {
        "message": (block for _ in range(1_000)),
        "sender": "a@example.com",
        "recipients": ["b@example.com"],
    }


def be_client(front: str, port: int) -> None:
    """Send a message to a server that attacks; tell what came of it."""
    figures = Figures()
    arguments = client_arguments(port)
    smtpx.Client(**arguments)  # whatever is loaded only once
    begun = time.monotonic()
    meter = Meter()
    try:
        if front == "blocking":
            with smtpx.Client(**arguments) as client:
                client.send(**message())
        else:
            with asyncio.Runner(loop_factory=EVENT_LOOPS[front]) as runner:
                runner.run(_send(figures, arguments))
    except smtpx.SendError as error:
        ended = f"{type(error).__name__} after {time.monotonic() - begun:.1f} s"
    meter.read(figures)
    say(json.dumps({**asdict(figures), "ended": ended}))


async def _send(figures: Figures, arguments: dict[str, Any]) -> None:
    async with stalls_watched(figures), smtpx.AsyncClient(**arguments) as client:
        await client.send(**message())


# ------------------------------------------------------------------------- measuring


@dataclass
class Outcome:
    """What an attack cost.

    Attributes:
        figures: of the process that was attacked.
        ended: how it ended, for the attacker.
        waits: of a neighbour, in milliseconds; none if there was none.
    """

    figures: Figures
    ended: str
    waits: list[float]


def attack_server(attack: Attack, size: int, loop: str) -> Outcome:
    """Attack a server of its own, with a neighbour."""
    command = python_program("attacks", "--role", "server", "--loop", loop)
    with subprocess.Popen(
        [*command, "--name", attack.name], stdout=subprocess.PIPE
    ) as process:
        try:
            port = int(read_report(process)["port"])
            neighbour = None if attack.is_behind_proxy else Neighbour(port)
            for _ in range(100):
                if neighbour is not None:
                    neighbour.ask()
            process.send_signal(signal.SIGUSR1)
            read_report(process)
            ended, waits = _watch(attack, size, port, neighbour)
            process.send_signal(signal.SIGUSR1)
            return Outcome(Figures(**read_report(process)), ended, waits)
        finally:
            stop(process)


def _watch(
    attack: Attack, size: int, port: int, neighbour: Neighbour | None
) -> tuple[str, list[float]]:
    command = python_program("attacks", "--role", "attacker", "--name", attack.name)
    command += ["--port", str(port), "--size", str(size)]
    waits: list[float] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as attacker:
        while attacker.poll() is None:
            if neighbour is not None:
                waits.append(neighbour.ask())
            time.sleep(PAUSE)
        return str(read_report(attacker)["ended"]), waits


class Neighbour:
    """A client that asks, and takes the time; it connects again when it has to."""

    def __init__(self, port: int) -> None:
        """Connect."""
        self._port = port
        self._sock = connect(port)
        self._since = time.monotonic()

    def ask(self) -> float:
        """Say NOOP; return how many milliseconds the reply took."""
        if time.monotonic() - self._since > SECONDS:
            # Before its session has lasted too long.
            self._sock.close()
            self._sock = connect(self._port)
            self._since = time.monotonic()
        begun = time.perf_counter()
        self._sock.sendall(b"NOOP\r\n")
        if not hear(self._sock, 1).startswith("250"):
            raise RuntimeError("the neighbour is not served")
        return (time.perf_counter() - begun) * 1000


def attack_client(attack: Attack, front: str) -> Outcome:
    """Attack a client from a thread here."""
    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(PATIENCE)

        accepted: list[socket.socket] = []

        def play() -> None:
            sock, _ = listener.accept()
            accepted.append(sock)
            with sock:
                AGAINST_CLIENTS[attack.name](sock, attack.size)

        thread = threading.Thread(target=play)
        thread.start()
        port = listener.getsockname()[1]
        command = python_program("attacks", "--role", "client", "--loop", front)
        command += ["--port", str(port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            report = read_report(process)
        # What nobody reads keeps a connection of a client that is gone.
        with contextlib.suppress(OSError):
            accepted[0].shutdown(socket.SHUT_RDWR)
        thread.join()
    ended = report.pop("ended")
    return Outcome(Figures(**report), ended, [])


# ------------------------------------------------------------------------ the tables


def server_row(attack: Attack, scale: float, loop: str) -> list[str]:
    """Attack at half of a size and at all of it; lay out what it cost."""
    size = int(attack.size * scale)
    note(f"{attack.title}, {loop}")
    half = attack_server(attack, size // 2, loop) if size else None
    whole = attack_server(attack, size, loop)
    spent = [half, whole] if half is not None else [whole]
    waits = whole.waits
    neighbour = f"{statistics.median(waits):.2f} / {max(waits):.0f}" if waits else "-"
    return [
        f"{attack.title}, {size:,} {attack.unit}" if size else attack.title,
        loop,
        f"{whole.figures.growth_mebibytes:.1f}",
        " / ".join(f"{one.figures.cpu_seconds:.2f}" for one in spent),
        f"{whole.figures.stall_milliseconds:.0f}",
        neighbour,
        whole.ended,
    ]


def client_row(attack: Attack, front: str) -> list[str]:
    """Attack a client; lay out what it cost."""
    note(f"{attack.title}, {front}")
    outcome = attack_client(attack, front)
    figures = outcome.figures
    size = f", {attack.size:,} {attack.unit}" if attack.size else ""
    return [
        attack.title + size,
        front,
        f"{figures.growth_mebibytes:.1f}",
        f"{figures.cpu_seconds:.2f}",
        "-" if front == "blocking" else f"{figures.stall_milliseconds:.0f}",
        outcome.ended,
    ]


INTRODUCTION: Final = """\
## What floods cost

`python -m benchmarks attacks` attacks a server that listens on TCP, from another
process, and takes the growth of its resident memory, its CPU time (for half of the size
and for all of it: what is linear costs twice as much), the longest time that its event
loop did not turn, and how long a neighbour waited for the reply to a NOOP meanwhile
(median and longest). Limits are those by default; time-outs are 2 seconds in place of
minutes, 6 for a session where octets drip, 20 for idle connections.
"""


def page(server_rows: list[list[str]], client_rows: list[list[str]]) -> str:
    """Lay out all figures."""
    load = os.getloadavg()[0]
    parts = [
        INTRODUCTION,
        f"{describe_python()}; {os.cpu_count()} cores, of which others used "
        f"{load:.1f} when this was measured.\n",
    ]
    if server_rows:
        headings = ["against a server", "loop", "MiB", "CPU s", "stall ms"]
        headings += ["neighbour ms", "ended"]
        parts.append(_table(headings, server_rows))
    if client_rows:
        headings = ["against a client", "front", "MiB", "CPU s", "stall ms", "ended"]
        parts.append(_table(headings, client_rows))
    return "\n".join(parts)


def _table(headings: list[str], rows: list[list[str]]) -> str:
    """Lay out a table whose last column, which is long, comes behind the names."""
    order = [0, 1, len(headings) - 1, *range(2, len(headings) - 1)]
    moved = [[row[column] for column in order] for row in (headings, *rows)]
    return markdown_table(moved[0], moved[1:], aligned_left=3) + "\n"


def play_role(options: argparse.Namespace) -> None:
    """Be one of the processes that this program starts."""
    if options.role == "attacker":
        ended = AGAINST_SERVERS[options.name](options.port, options.size)
        say(json.dumps({"ended": ended}))
    elif options.role == "client":
        be_client(options.loop, options.port)
    else:
        (attack,) = (one for one in SERVER_ATTACKS if one.name == options.name)
        with asyncio.Runner(loop_factory=EVENT_LOOPS[options.loop]) as runner:
            runner.run(serve(server_options(attack)))


def chosen(attacks: Sequence[Attack], names: Sequence[str]) -> list[Attack]:
    """Return those that are named; all if none is."""
    return [one for one in attacks if not names or one.name in names]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("only", nargs="*", help="names of attacks")
    parser.add_argument("--scale", type=float, default=1.0, help="of each size")
    parser.add_argument("--to", type=Path, help="write a page")
    # What follows is for the processes that this program starts.
    parser.add_argument("--role", choices=["server", "attacker", "client"])
    parser.add_argument("--name")
    parser.add_argument("--loop", default="asyncio")
    parser.add_argument("--port", type=int)
    parser.add_argument("--size", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.role is not None:
        play_role(options)
        return
    row: Callable[[Attack, str], list[str]] = partial(_row, options.scale)
    text = page(
        [
            row(attack, loop)
            for attack in chosen(SERVER_ATTACKS, options.only)
            for loop in EVENT_LOOPS
        ],
        [
            client_row(attack, front)
            for attack in chosen(CLIENT_ATTACKS, options.only)
            for front in ("blocking", *EVENT_LOOPS)
        ],
    )
    if options.to is not None:
        options.to.write_text(text, "utf-8")
    say(text)


def _row(scale: float, attack: Attack, loop: str) -> list[str]:
    return server_row(attack, scale, loop)


if __name__ == "__main__":
    main()

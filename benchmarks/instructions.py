"""A guard on speed that noise cannot fool: instructions, counted by valgrind.

Time on a shared machine says little; the number of instructions that a message takes
hardly changes from run to run. What is compared is the ratio to a peer in the same
interpreter, aiosmtpd for the server and smtplib for the client, so that another build
of Python changes both. ``python -m benchmarks instructions`` counts, and fails when a
ratio exceeds the one that is written in ``instructions.json`` by more than a tenth;
``--record`` writes it anew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import smtplib
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

import smtpx
from benchmarks.measure import markdown_table, note, say
from benchmarks.processes import HOST, MissingProgram, python_program
from benchmarks.serve import SERVERS, Counts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RECORD: Final = Path(__file__).with_suffix(".json")
TOLERANCE: Final = 1.1
# Two amounts, so that the start of the interpreter falls out.
FEW, MANY = 10, 70
LINE: Final = (
    b"The quick brown fox jumps over the lazy dog, and the dog lets it pass.\r\n"
)
CONTENT: Final = b"Subject: a message\r\n\r\n" + LINE * 56  # 4 KiB
STEPS: Final = (
    b"MAIL FROM:<a@example.com>\r\n",
    b"RCPT TO:<b@example.com>\r\n",
    b"DATA\r\n",
    CONTENT + b".\r\n",
)


# --------------------------------------------------------------------- the loads


def load_server(name: str, messages: int) -> None:
    """Send messages to a server on the same event loop, in step."""
    counts = Counts()

    async def ready(port: int) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, (HOST, port))
            await loop.sock_recv(sock, 4096)
            for step in (b"EHLO a.example\r\n", *STEPS * messages):
                await loop.sock_sendall(sock, step)
                await loop.sock_recv(sock, 4096)

    async def serve() -> None:
        await SERVERS[name](counts, ready)

    asyncio.run(serve())
    assert counts.messages == messages


def answer(listener: socket.socket) -> None:
    """Be a server of few instructions: answer whatever comes with 250, or 354."""
    sock, _ = listener.accept()
    with sock:
        sock.sendall(b"220 sink.example ESMTP\r\n")
        while data := sock.recv(65_536):
            if data[:4].upper() == b"DATA":
                sock.sendall(b"354 go on\r\n")
                tail = b""
                while not tail.endswith(b"\r\n.\r\n"):
                    tail = tail[-5:] + sock.recv(65_536)
            is_over = data[:4].upper() == b"QUIT"
            sock.sendall(b"221 2.0.0 bye\r\n" if is_over else b"250 2.0.0 ok\r\n")


def load_client(name: str, messages: int) -> None:
    """Send messages with a client to a thread that answers everything."""
    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        port = listener.getsockname()[1]
        if name == "smtplib":
            with smtplib.SMTP(HOST, port, local_hostname="a.example") as other:
                for _ in range(messages):
                    other.sendmail("a@example.com", ["b@example.com"], CONTENT)
        else:
            options = smtpx.ClientOptions(hello_name="a.example")
            url = f"smtp+plain://{HOST}:{port}"
            with smtpx.Client(url, options=options) as client:
                for _ in range(messages):
                    client.send(
                        CONTENT, sender="a@example.com", recipients=["b@example.com"]
                    )
        thread.join()


LOADS: Final[dict[str, tuple[str, str, Callable[[str, int], None]]]] = {
    "server": ("smtpx", "aiosmtpd", load_server),
    "client": ("smtpx", "smtplib", load_client),
}

# ---------------------------------------------------------------------- counting


def count(load: str, name: str) -> int:
    """Return the instructions that one message takes."""
    few, many = (_count_run(load, name, messages) for messages in (FEW, MANY))
    return (many - few) // (MANY - FEW)


def _count_run(load: str, name: str, messages: int) -> int:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise MissingProgram("valgrind not found: install the package 'valgrind'")
    done = subprocess.run(
        [
            *(valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null"),
            *python_program("instructions", "--load", load, name, str(messages)),
        ],
        # The order of sets, and what depends on it, shall not change.
        env={**os.environ, "PYTHONHASHSEED": "0"},
        check=False,
        capture_output=True,
        text=True,
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(f"{load}, {name}: {done.stderr}")
    return int(found[1])


def measure() -> dict[str, dict[str, int]]:
    """Count every load, ours and the peer's."""
    figures = {}
    for load, (ours, peer, _) in LOADS.items():
        note(f"{load}: {ours}, {peer}")
        figures[load] = {name: count(load, name) for name in (ours, peer)}
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the ratios down")
    parser.add_argument("--load", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.load is not None:
        load, name, messages = options.load
        LOADS[load][2](name, int(messages))
        return
    version = ".".join(map(str, sys.version_info[:2]))
    figures = measure()
    ratios = {
        load: round(figures[load][ours] / figures[load][peer], 3)
        for load, (ours, peer, _) in LOADS.items()
    }
    record = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
    if options.record:
        record[version] = ratios
        text = json.dumps(dict(sorted(record.items())), indent=2)
        RECORD.write_text(text + "\n", "utf-8")
    known = record.get(version, {})
    rows = []
    for load, (ours, peer, _) in LOADS.items():
        found = figures[load]
        rows.append(
            [
                f"{load} (to {peer})",
                *(f"{found[ours]:,}", f"{found[peer]:,}", f"{ratios[load]:.3f}"),
                f"{known[load]:.3f}" if load in known else "-",
            ]
        )
    headings = ["instructions a message", "smtpx", "peer", "ratio", "recorded"]
    say(markdown_table(headings, rows))
    slower = [load for load in known if ratios[load] > known[load] * TOLERANCE]
    if slower:
        sys.exit(f"slower than recorded: {', '.join(slower)}; --record if it has to be")


if __name__ == "__main__":
    main()

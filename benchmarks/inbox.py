"""How many messages a second the dev inbox takes, and how quick its page stays.

Postfix's ``smtp-source`` sends the load over many connections; ``smtpx inbox`` runs as
a user runs it. While messages come in, and again when all are there, the list is asked
for as the page does. ``python -m benchmarks inbox``; add ``--quick`` for a first look.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cpu import resident_octets, tree_cpu_ns
from benchmarks.measure import describe_python, markdown_table, note, say
from benchmarks.processes import find_postfix_tool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONNECTIONS = 50
OCTETS = 4_096
MEBIBYTE = 1024 * 1024


@dataclass
class Inbox:
    """An inbox that runs."""

    process: subprocess.Popen[str]
    address: str
    page: str

    def get(self, path: str, **query: object) -> tuple[float, Any]:
        """Ask the API; return how long that took, in milliseconds, and the answer."""
        url = f"{self.page}api/v1{path}?{urllib.parse.urlencode(query)}"
        begin = time.perf_counter()
        with urllib.request.urlopen(url) as response:  # noqa: S310 - ours
            answer = json.load(response)
        return (time.perf_counter() - begin) * 1_000, answer

    @property
    def resident_mebibytes(self) -> float:
        """How much memory it takes."""
        return resident_octets(self.process.pid) / MEBIBYTE


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[Inbox]:
    command = [sys.executable, "-m", "smtpx", "inbox", *arguments]
    command += ["--smtp", "127.0.0.1:0", "--web", "127.0.0.1:0", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = re.findall(r"listening on (\S+) ", process.stdout.readline())
            page = re.findall(r"inbox at (\S+)", process.stdout.readline())
            yield Inbox(process, address[0], page[0])
        finally:
            process.terminate()


def send(inbox: Inbox, messages: int) -> float:
    """Send messages; return how long that took, in seconds."""
    command = [
        find_postfix_tool("smtp-source"),
        *("-d", "-s", str(CONNECTIONS), "-m", str(messages), "-l", str(OCTETS)),
        *("-f", "a@example.com", "-t", "b@example.com", "-S", "Your order"),
        inbox.address,
    ]
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def watch_list(inbox: Inbox, until: threading.Event) -> list[float]:
    """Ask for the list five times a second, as a page that follows may."""
    times = []
    while not until.wait(0.2):
        times.append(inbox.get("/messages", limit=50)[0])
    return times


def measure(messages: int, *arguments: str) -> list[str]:
    """Return a row of the table."""
    with running(*arguments) as inbox:
        empty = inbox.resident_mebibytes
        done = threading.Event()
        seen: list[float] = []
        watcher = threading.Thread(target=lambda: seen.extend(watch_list(inbox, done)))
        watcher.start()
        begin = tree_cpu_ns(inbox.process.pid)
        seconds = send(inbox, messages)
        cpu = tree_cpu_ns(inbox.process.pid) - begin
        done.set()
        watcher.join()
        full = inbox.resident_mebibytes
        listed = [inbox.get("/messages", limit=50)[0] for _ in range(20)]
        first_search, found = inbox.get("/messages", query="order")
        second_search, _ = inbox.get("/messages", query="order -nothing")
        total = inbox.get("/info")[1]["messages"]
        assert found["total"] == total
        return [
            f"{messages / seconds:,.0f}",
            f"{cpu / messages / 1_000:,.0f}",
            f"{total:,}",
            f"{full - empty:,.0f}",
            f"{max(seen, default=0):,.0f}",
            f"{statistics.median(listed):,.1f}",
            f"{first_search:,.0f}",
            f"{second_search:,.0f}",
        ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1,000 messages")
    options = parser.parse_args(arguments)
    messages = 1_000 if options.quick else 5_000
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        kinds = {
            "memory": (),
            "memory, capped at 500": ("--max-messages", "500"),
            "SQLite": ("--db", str(Path(folder) / "mail.sqlite")),
        }
        for name, more in kinds.items():
            note(name)
            rows.append([name, *measure(messages, *more)])
    say(f"{messages:,} messages of {OCTETS:,} octets, {CONNECTIONS} connections")
    say(describe_python())
    say(
        markdown_table(
            [
                *("store", "messages/s", "CPU us/message", "held", "MiB more"),
                *("list under load, worst ms", "list ms", "search ms", "again ms"),
            ],
            rows,
        )
    )


if __name__ == "__main__":
    main()

"""One connection to a server that is measured, spoken over by hand."""

from __future__ import annotations

import contextlib
import resource
import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.cpu import resident_octets, tree_cpu_ns
from benchmarks.processes import HOST, python_program, read_report, stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPLY_SECONDS: Final = 120.0


def allow_descriptors() -> int:
    """Take as many descriptors as we may have; those that we start inherit it.

    Returns:
        How many that is.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


class Talker:
    """One connection: octets out, replies counted."""

    def __init__(self, port: int, source: str = HOST) -> None:
        """Connect from an address of ours, and read the greeting."""
        self.sock = socket.create_connection((HOST, port), REPLY_SECONDS, (source, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.hear(1)

    def hear(self, replies: int) -> bytes:
        """Read so many replies; return the last octets of them."""
        tail = b""
        while replies:
            data = self.sock.recv(262_144)
            if not data:
                raise RuntimeError(f"closed by the server after {tail!r}")
            lines = (tail + data).split(b"\r\n")
            tail = lines.pop()
            replies -= sum(line[3:4] == b" " for line in lines)
            refused = [line for line in lines if line[:1] in b"45" and line]
            if refused:
                raise RuntimeError(f"refused: {refused[0]!r}")
        return tail

    def ask(self, octets: bytes, replies: int = 1) -> None:
        """Send, and read so many replies."""
        self.sock.sendall(octets)
        self.hear(replies)

    def close(self) -> None:
        """Hang up."""
        self.sock.close()


@dataclass
class Running:
    """A server under measurement."""

    process: subprocess.Popen[bytes]
    port: int

    def cpu(self, work: Callable[[], None]) -> float:
        """Return the microseconds of CPU that the server spends on something."""
        before = tree_cpu_ns(self.process.pid)
        work()
        return (tree_cpu_ns(self.process.pid) - before) / 1000

    def resident(self) -> int:
        """Return the octets of memory that it has."""
        return resident_octets(self.process.pid)


@contextlib.contextmanager
def running(name: str, loop: str) -> Iterator[Running]:
    """Run a server of ``benchmarks.serve``."""
    command = python_program("serve", name, "--loop", loop)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield Running(process, int(read_report(process)["port"]))
        finally:
            stop(process)


def talking(server: Running) -> Talker:
    """Connect and say EHLO."""
    talker = Talker(server.port)
    talker.ask(b"EHLO bench.example\r\n")
    return talker

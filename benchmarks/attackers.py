"""What attacks do on the wire, with plain sockets; ``benchmarks.attacks`` runs them.

An attacker of a server is a function of a port and a size. An attacker of a client is
one of a socket that the client has connected to. What it returns says how it ended.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

from benchmarks.processes import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE: Final = 120.0
BLOCK: Final = b"x" * 262_144
ENVELOPE: Final = (
    b"EHLO bench.example\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\n"
)
#: How long one octet waits for the next, where they drip, in seconds.
DRIP_SECONDS: Final = 0.1
#: "\0a\0wrong" in base64 (RFC 4616).
WRONG_PASSWORD: Final = b"AUTH PLAIN AGEAd3Jvbmc=\r\n"


def connect(port: int) -> socket.socket:
    """Connect, and read the greeting."""
    sock = socket.create_connection((HOST, port), PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    hear(sock, 1)
    return sock


def hear(sock: socket.socket, count: int) -> str:
    """Read so many replies; return the last one, or how the connection ended."""
    tail = b""
    last = b"closed"
    while count > 0:
        try:
            data = sock.recv(262_144)
        except ConnectionError:
            return "reset"
        if not data:
            break
        *lines, tail = (tail + data).split(b"\r\n")
        finals = [line for line in lines if line[3:4] == b" "]
        count -= len(finals)
        last = finals[-1] if finals else last
    return last.decode("ascii", "replace")


def short(reply: str) -> str:
    """Return the codes of a reply."""
    words = reply.split()
    return " ".join(words[: 2 if words[0].isdigit() else 1])


def pour(sock: socket.socket, size: int) -> None:
    """Send so many octets without a line end."""
    for _ in range(size // len(BLOCK)):
        sock.sendall(BLOCK)


# ------------------------------------------------------------------- against a server


def data_without_crlf(port: int, size: int) -> str:
    """Send DATA without a single CR LF."""
    with connect(port) as sock:
        sock.sendall(ENVELOPE + b"DATA\r\n")
        hear(sock, 4)
        pour(sock, size)
        sock.sendall(b"\r\n.\r\n")
        return short(hear(sock, 1))


def chunk(port: int, size: int) -> str:
    """Send one chunk that is over the limit."""
    with connect(port) as sock:
        size -= size % len(BLOCK)
        sock.sendall(ENVELOPE + b"BDAT %d LAST\r\n" % size)
        hear(sock, 3)
        pour(sock, size)
        return short(hear(sock, 1))


def endless_line(port: int, size: int) -> str:
    """Send one command line."""
    with connect(port) as sock:
        pour(sock, size)
        sock.sendall(b"\r\n")
        return short(hear(sock, 1))


def pipelined(port: int, size: int) -> str:
    """Send commands in one flight, and read the replies."""
    with connect(port) as sock:
        sender = threading.Thread(target=sock.sendall, args=[b"NOOP\r\n" * size])
        sender.start()
        last = hear(sock, size)
        sender.join()
        return short(last)


def auth_in_a_loop(port: int, size: int) -> str:
    """Send a wrong password again and again, and connect again when it is over."""
    attempts = 0
    last = ""
    while attempts < size:
        with connect(port) as sock:
            sock.sendall(b"EHLO bench.example\r\n")
            hear(sock, 1)
            while not last.startswith("4"):
                sock.sendall(WRONG_PASSWORD)
                last = short(hear(sock, 1))
                attempts += 1
        ended, last = last, ""
    return ended


def never_reads(port: int, size: int) -> str:
    """Send commands that have long replies, and read none."""
    with connect(port) as sock:
        sock.setblocking(False)
        flight = memoryview(b"HELP\r\n" * (size // 6))
        begun = time.monotonic()
        sent = 0
        while flight:
            _, writable, _ = select.select([], [sock], [], 1.0)
            try:
                count = sock.send(flight) if writable else 0
            except OSError:
                break
            sent += count
            flight = flight[count:]
        took = time.monotonic() - begun
        return f"reset after {took:.1f} s; {sent / 1e6:.1f} MB were taken"


def idle(port: int, size: int) -> str:
    """Open connections that say nothing, until the server has ended each of them."""
    begun = time.monotonic()
    socks = [connect(port) for _ in range(size)]
    opened = time.monotonic() - begun
    last = [short(hear(sock, 1)) for sock in socks]
    for sock in socks:
        sock.close()
    return f"{last.count('421 4.4.2'):,} got 421 4.4.2; opened in {opened:.1f} s"


def endless_proxy_header(port: int, size: int) -> str:
    """Begin a PROXY header that has no end."""
    with socket.create_connection((HOST, port), PATIENCE) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(b"PROXY TCP4 ")
            pour(sock, size)
        return short(hear(sock, 1))


#: What goes before, and what drips then; the octets never end what they belong to.
STAGES: Final = {
    "greeting": (b"", b"N"),
    "command": (b"EHLO bench.example\r\n", b"N"),
    "AUTH": (b"EHLO bench.example\r\nAUTH PLAIN\r\n", b"A"),
    "BDAT": (ENVELOPE + b"BDAT 1000000 LAST\r\n", b"x"),
    "DATA": (ENVELOPE + b"DATA\r\n", b"x"),
    "STARTTLS": (b"EHLO bench.example\r\nSTARTTLS\r\n", b"\x16"),
}


def drip(port: int, _size: int) -> str:
    """Send an octet now and then, at each stage of a session."""
    found: dict[str, list[str]] = {}

    def slowly(stage: str) -> None:
        opening, octet = STAGES[stage]
        begun = time.monotonic()
        with connect(port) as sock:
            sock.sendall(opening)
            last = b""
            with contextlib.suppress(OSError):
                while True:
                    readable, _, _ = select.select([sock], [], [], DRIP_SECONDS)
                    data = sock.recv(65_536) if readable else b""
                    if readable and not data:
                        break
                    last = data or last
                    if not readable:
                        sock.sendall(octet)
            line = last.rstrip().rpartition(b"\n")[2].decode("ascii", "replace")
            end = short(line) if line[:1] == "4" else "closed"
            found.setdefault(
                f"{end} after {time.monotonic() - begun:.0f} s", []
            ).append(stage)

    threads = [threading.Thread(target=slowly, args=[stage]) for stage in STAGES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return "; ".join(f"{end}: {', '.join(some)}" for end, some in found.items())


def drip_proxy_header(port: int, _size: int) -> str:
    """Send the octets of a PROXY header one by one."""
    begun = time.monotonic()
    with socket.create_connection((HOST, port), PATIENCE) as sock:
        for octet in b"PROXY TCP4 192.0.2.1 192.0.2.2 100 200" + b"0" * 1_000:
            with contextlib.suppress(OSError):
                sock.sendall(bytes([octet]))
            readable, _, _ = select.select([sock], [], [], DRIP_SECONDS)
            if readable:
                break
    return f"closed after {time.monotonic() - begun:.1f} s"


AGAINST_SERVERS: Final[dict[str, Callable[[int, int], str]]] = {
    function.__name__: function
    for function in (
        data_without_crlf,
        chunk,
        endless_line,
        pipelined,
        auth_in_a_loop,
        never_reads,
        idle,
        endless_proxy_header,
        drip,
        drip_proxy_header,
    )
}


# ------------------------------------------------------------------- against a client


def flood(sock: socket.socket, piece: bytes, size: int) -> int:
    """Send a piece again and again; return how many octets were taken."""
    block = piece * (len(BLOCK) // len(piece))
    sent = 0
    with contextlib.suppress(OSError):
        while sent < size:
            sent += sock.send(block)
    return sent


def endless_reply_line(sock: socket.socket, size: int) -> None:
    """Greet with a line that has no end."""
    flood(sock, b"2", size)


def endless_reply(sock: socket.socket, size: int) -> None:
    """Greet with lines that have no end."""
    sock.sendall(b"220-x\r\n")
    flood(sock, b"220-x\r\n", size)


def dripping_reply(sock: socket.socket, _size: int) -> None:
    """Greet, an octet now and then."""
    with contextlib.suppress(OSError):
        while True:
            sock.sendall(b"2")
            readable, _, _ = select.select([sock], [], [], DRIP_SECONDS)
            if readable and not sock.recv(65_536):
                break


def server_that_never_reads(sock: socket.socket, _size: int) -> None:
    """Take a message, and read nothing of it."""
    with contextlib.suppress(OSError):
        sock.sendall(b"220 x\r\n")
        sock.recv(65_536)
        sock.sendall(b"250 x\r\n")
        for reply in (b"250 x\r\n", b"250 x\r\n", b"354 x\r\n"):
            sock.recv(65_536)
            sock.sendall(reply)
        # Its end comes as a reset, since what it sent was never read.
        poll = select.poll()
        poll.register(sock, select.POLLERR | select.POLLHUP | select.POLLRDHUP)
        poll.poll(PATIENCE * 1000)


AGAINST_CLIENTS: Final[dict[str, Callable[[socket.socket, int], None]]] = {
    function.__name__: function
    for function in (
        endless_reply_line,
        endless_reply,
        dripping_reply,
        server_that_never_reads,
    )
}

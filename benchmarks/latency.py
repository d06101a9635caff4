"""How long clients take where the server is far: a relay delays every octet.

Messages of 4 KiB over one connection, through a relay on loopback that holds back what
either end says for a fixed time. What counts is the time on the clock, so a message
costs its round trips. ``python -m benchmarks latency``.
"""

from __future__ import annotations

import argparse
import asyncio
import smtplib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import smtpx
from benchmarks.measure import markdown_table, note, say
from benchmarks.processes import HOST
from benchmarks.send import RECIPIENT, SENDER, message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

OCTETS = 4096
# smtplib takes four round trips a message: it sends fewer, and the time is scaled.
SMTPLIB_MESSAGES = 25


class Sink(smtpx.Session):
    """Takes every message in, and forgets it."""

    async def data(self, body: smtpx.Body) -> smtpx.Reply | None:
        """Read to the end."""
        async for _ in body:
            pass
        return None


class _Pipe(asyncio.Protocol):
    """One end of the relay: what comes in goes out at the other end, later."""

    def __init__(self, relay: Relay, other: _Pipe | None = None) -> None:
        self._relay = relay
        self._other = other
        self._transport: asyncio.Transport | None = None
        self._early: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._other is None:
            self._other = _Pipe(self._relay, self)
            self._relay.connect(self._other)
        while self._early:
            transport.write(self._early.popleft())

    def data_received(self, data: bytes) -> None:
        """Pass it on when its time has come."""
        other = self._other
        if other is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(self._relay.delay_seconds, other.write, data)

    def write(self, data: bytes) -> None:
        """Send to this end."""
        if self._transport is None:
            self._early.append(data)
        else:
            self._transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other end too."""
        if self._other is not None and self._other._transport is not None:
            self._other._transport.close()


class Relay:
    """Listens on loopback, and passes everything on with a delay.

    Args:
        port: of the server.
        delay_seconds: in each direction.
    """

    def __init__(self, port: int, delay_seconds: float) -> None:
        """Prepare; `start` and `stop` do the rest."""
        self.delay_seconds = delay_seconds
        self.port = 0
        self._server_port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[object]] = set()

    def start(self) -> None:
        """Listen, in a thread."""
        self._thread.start()
        listening = asyncio.run_coroutine_threadsafe(self._listen(), self._loop)
        self.port = listening.result()

    def stop(self) -> None:
        """End the thread; its connections end with it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def connect(self, pipe: _Pipe) -> None:
        """Connect the other end of a pipe to the server."""
        task: asyncio.Task[object] = self._loop.create_task(
            self._loop.create_connection(lambda: pipe, HOST, self._server_port)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self) -> int:
        server = await self._loop.create_server(lambda: _Pipe(self), HOST, 0)
        port: int = server.sockets[0].getsockname()[1]
        return port


def letters(count: int) -> Iterator[smtpx.Outgoing]:
    """Yield messages."""
    data = message(OCTETS)
    for _ in range(count):
        yield smtpx.Outgoing(data, SENDER, RECIPIENT)


def by_smtplib(port: int, count: int) -> float:
    """Send one after the other with the standard library."""
    count_here = min(count, SMTPLIB_MESSAGES)
    data = message(OCTETS)
    with smtplib.SMTP(HOST, port, "bench.example") as client:
        started = time.perf_counter()
        for _ in range(count_here):
            client.sendmail(SENDER, [RECIPIENT], data)
        return (time.perf_counter() - started) * count / count_here


def by_smtpx(
    port: int, count: int, *, chunking: smtpx.Chunking, in_bulk: bool
) -> float:
    """Send with smtpx, in bulk or one after the other."""
    options = smtpx.ClientOptions(hello_name="bench.example", chunking=chunking)
    with smtpx.Client(f"smtp+plain://{HOST}:{port}", options=options) as client:
        started = time.perf_counter()
        if not in_bulk:
            few = min(count, SMTPLIB_MESSAGES)
            for one in letters(few):
                client.send(one.message, sender=SENDER, recipients=RECIPIENT)
            return (time.perf_counter() - started) * count / few
        for outcome in client.send_many(letters(count)):
            if outcome.error is not None:
                raise outcome.error
        return time.perf_counter() - started


def candidates(port: int, count: int) -> dict[str, Callable[[], float]]:
    """Return what is compared; each gives seconds for all the messages."""

    def smtpx_with(chunking: smtpx.Chunking, *, in_bulk: bool) -> Callable[[], float]:
        return lambda: by_smtpx(port, count, chunking=chunking, in_bulk=in_bulk)

    never, auto = smtpx.Chunking.NEVER, smtpx.Chunking.AUTO
    return {
        "smtplib": lambda: by_smtplib(port, count),
        "send, PIPELINING": smtpx_with(never, in_bulk=False),
        "send, CHUNKING": smtpx_with(auto, in_bulk=False),
        "send_many, PIPELINING": smtpx_with(never, in_bulk=True),
        "send_many, CHUNKING": smtpx_with(auto, in_bulk=True),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--delay", type=float, default=20.0, help="ms each way")
    options = parser.parse_args(arguments)
    with smtpx.Server(Sink).run_in_thread() as server:
        relay = Relay(int(server.addresses[0].rpartition(":")[2]), options.delay / 1000)
        relay.start()
        seconds = {}
        for name, run in candidates(relay.port, options.messages).items():
            note(name)
            seconds[name] = run()
        relay.stop()
    say(f"{options.messages} messages of 4 KiB, {options.delay:.0f} ms each way\n")
    rows = [
        [name, f"{taken:.2f}", f"1/{seconds['smtplib'] / taken:.1f}"]
        for name, taken in seconds.items()
    ]
    say(markdown_table(["client", "seconds", "of smtplib's"], rows))


if __name__ == "__main__":
    main()

"""A network that delays, splits, chokes, cuts and goes silent, at octets by chance.

A connection is two pairs of sockets with the network between them: so both ends have
real transports of asyncio, with real buffers that fill, and every octet passes here.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos.clock import VirtualLoop

__all__ = ["Door", "Network", "WorldLoop"]

_WINDOW: Final = 8_192
"""Octets under way in one direction, as TCP's window would be."""


class Door(socket.socket):
    """A listening socket whose clients come out of the simulated network."""

    def __new__(cls, *_args: object, **_options: object) -> Door:
        return super().__new__(cls)

    def __init__(self) -> None:
        self._bell, inside = socket.socketpair()
        super().__init__(fileno=inside.detach())
        self._bell.setblocking(False)
        self.queue: deque[tuple[socket.socket, tuple[str, int]]] = deque()

    def listen(self, _backlog: int = 0, /) -> None:
        """Listen, as it does from the start."""

    def getsockname(self) -> tuple[str, int]:
        return ("192.0.2.25", 2525)

    def ring(self, sock: socket.socket, client: tuple[str, int]) -> bool:
        """Bring a client; tell whether anybody listens."""
        if self.fileno() < 0:
            return False
        self.queue.append((sock, client))
        self._bell.send(b"!")
        return True

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        self.recv(1)  # raises BlockingIOError if nobody rang
        return self.queue.popleft()

    def close(self) -> None:
        self._bell.close()
        for sock, _ in self.queue:
            sock.close()
        self.queue.clear()
        super().close()


@dataclass
class _Plan:
    """What happens to the octets of one direction."""

    delays: tuple[float, ...]
    sizes: tuple[int, ...]
    cut_at: int | None = None
    cut: str = ""


@dataclass
class Network:
    """All connections there are, and what becomes of them.

    Attributes:
        loop: of the world.
        seed: of all chances.
        harm: how likely it is that a connection comes to harm.
        trace: what happened, by connection.
    """

    loop: VirtualLoop
    seed: str
    harm: float
    trace: list[str] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    door: Door = field(default_factory=Door)

    async def connect(self) -> socket.socket:
        """Connect to the door.

        Raises:
            OSError: refused.
        """
        number = len(self.links)
        chances = random.Random(f"{self.seed}/{number}")
        fate = chances.random() if chances.random() < self.harm else 1.0
        link = Link(self, number, chances)
        self.links.append(link)
        try:
            await asyncio.sleep(chances.choice((0.0, 0.001, 0.05, 1.0)))
        except BaseException:
            link.close_all()
            raise
        if fate < 0.05:
            link.note("never answered")
            link.close_all()
            await asyncio.sleep(100.0)  # longer than any client waits to connect
        if fate < 0.1 or not self.door.ring(link.server, ("192.0.2.7", 1_024 + number)):
            link.note("refused")
            link.close_all()
            raise ConnectionRefusedError("nobody listens")
        link.start()
        return link.client

    def find_open(self) -> list[str]:
        """Name the ends that were left open by who had them; close all."""
        found = [name for link in self.links for name in link.find_open()]
        for link in self.links:
            link.close_all()
        return found


class Link:
    """One connection."""

    def __init__(self, network: Network, number: int, chances: random.Random) -> None:
        self.network = network
        self.number = number
        self.client, near = socket.socketpair()
        self.server, far = socket.socketpair()
        small = chances.random() < 0.3
        for sock in (self.client, near, self.server, far):
            sock.setblocking(False)
            if small:  # the least that Linux allows: writers have to wait
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2_048)
        self.near, self.far = near, far
        is_harmed = chances.random() < network.harm
        harmed = chances.randrange(2) if is_harmed else None
        self.pipes = (
            _Pipe(self, "up", near, far, _draw(chances, is_cut=harmed == 0)),
            _Pipe(self, "down", far, near, _draw(chances, is_cut=harmed == 1)),
        )

    def note(self, text: str) -> None:
        now = self.network.loop.time()
        self.network.trace.append(f"{now:.6f} {self.number} {text}")

    def start(self) -> None:
        self.note("connected")
        for pipe in self.pipes:
            pipe.read()

    def break_off(self) -> None:
        """Reset: both ends find out when they next use it."""
        for pipe in self.pipes:
            pipe.stop()
        self.near.close()
        self.far.close()

    def end_if_done(self) -> None:
        if all(pipe.is_done for pipe in self.pipes):
            self.break_off()

    def find_open(self) -> list[str]:
        """Name the ends whose owners did not close them."""
        for pipe in self.pipes:
            pipe.stop()
        ends = (("client", self.near), ("server", self.far))
        return [
            f"{name} of {self.number}" for name, sock in ends if not _is_closed(sock)
        ]

    def close_all(self) -> None:
        self.break_off()
        self.client.close()
        self.server.close()


def _is_closed(sock: socket.socket) -> bool:
    """Tell whether the other end of a pair has closed."""
    if sock.fileno() < 0:
        return True  # the network closed it, and so nobody can tell
    try:
        while sock.recv(65_536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _draw(chances: random.Random, *, is_cut: bool) -> _Plan:
    """Draw the fate of one direction."""
    delays: tuple[float, ...] = chances.choice(
        ((0.0,), (0.0, 0.001), (0.05,), (0.0, 0.0, 0.3), (0.01,) * 30 + (40.0,))
    )
    sizes: tuple[int, ...] = chances.choice(
        ((1,), (1, 2, 3), (4_096,), (7, 500), (65_536,), (50, 1))
    )
    if sizes == (1,) and chances.random() < 0.5:
        delays = (1.0,)  # an octet a second
        sizes = (1, 1, 1, 1, 4_096)
    plan = _Plan(delays, sizes)
    if is_cut:
        plan.cut_at = int(10 ** chances.uniform(0, 3.7)) - 1
        plan.cut = chances.choice(("reset", "close", "silence", "stall"))
    return plan


class _Pipe:
    """One direction of a connection."""

    def __init__(
        self,
        link: Link,
        name: str,
        source: socket.socket,
        target: socket.socket,
        plan: _Plan,
    ) -> None:
        self._link = link
        self._loop = link.network.loop
        self._name = name
        self._source = source
        self._target = target
        self._plan = plan
        self._buffer = bytearray()
        self._passed = 0
        self._step = 0
        self._is_reading = False
        self._is_writing = False
        self._is_ended = False
        self._is_stopped = False
        self._timer: asyncio.TimerHandle | None = None
        self.is_done = False

    def read(self) -> None:
        if not (self._is_reading or self._is_ended or self._is_stopped):
            self._is_reading = True
            self._loop.add_reader(self._source.fileno(), self._on_readable)

    def stop(self) -> None:
        self._is_stopped = True
        self._stop_reading()
        if self._is_writing:
            self._is_writing = False
            self._loop.remove_writer(self._target.fileno())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_reading(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._source.fileno())

    def _on_readable(self) -> None:
        try:
            data = self._source.recv(_WINDOW)
        except BlockingIOError:
            return
        except OSError:
            self._link.note(f"{self._name}: reset by its sender")
            self._link.break_off()
            return
        if data:
            self._buffer += data
        else:
            self._is_ended = True
        if not data or len(self._buffer) >= _WINDOW:
            self._stop_reading()
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is None and not (self._is_writing or self._is_stopped):
            delay = self._plan.delays[self._step % len(self._plan.delays)]
            self._timer = self._loop.call_later(delay, self._deliver)

    def _deliver(self) -> None:
        """Bring the next piece to its target, or what was to befall it."""
        self._timer = None
        plan = self._plan
        size = plan.sizes[self._step % len(plan.sizes)]
        self._step += 1
        if plan.cut_at is not None:
            size = min(size, plan.cut_at - self._passed)
            if size <= 0:
                self._strike(plan)
                return
        if self._buffer:
            try:
                sent = self._target.send(self._buffer[:size])
            except BlockingIOError:
                self._is_writing = True
                self._loop.add_writer(self._target.fileno(), self._on_writable)
                return
            except OSError:
                self._link.note(f"{self._name}: nobody takes it")
                self._link.break_off()
                return
            del self._buffer[:sent]
            self._passed += sent
            self.read()
        if self._buffer:
            self._schedule()
        elif self._is_ended and not self.is_done:
            self._finish()

    def _on_writable(self) -> None:
        self._is_writing = False
        self._loop.remove_writer(self._target.fileno())
        self._schedule()

    def _finish(self) -> None:
        self.is_done = True
        self._link.note(f"{self._name}: end after {self._passed}")
        try:
            self._target.shutdown(socket.SHUT_WR)
        except OSError:
            self._link.break_off()
            return
        self._link.end_if_done()

    def _strike(self, plan: _Plan) -> None:
        self._link.note(f"{self._name}: {plan.cut} at {self._passed}")
        plan.cut_at = None
        if plan.cut == "reset":
            self._link.break_off()
        elif plan.cut == "close":
            self._buffer.clear()
            self._stop_reading()
            self._is_ended = True
            self._finish()
        elif plan.cut == "silence":
            # A router forgot the connection: nobody is told.
            for pipe in self._link.pipes:
                pipe.stop()
        else:
            # A long wait, and then it goes on.
            self._timer = self._loop.call_later(250.0, self._deliver)


class WorldLoop(VirtualLoop):
    """A virtual loop whose outgoing connections go through a simulated network."""

    network: Network

    def __init__(self, chances: random.Random, until: float) -> None:
        super().__init__(chances, until)
        self._ends: dict[int, socket.socket] = {}

    async def sock_connect(self, sock: socket.socket, _address: object) -> None:
        """Connect to the one server there is."""
        self._ends[sock.fileno()] = await self.network.connect()

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Any,  # noqa: ANN401 - as asyncio has it
        *,
        sock: socket.socket,
    ) -> Any:  # noqa: ANN401
        """Make a transport of a connected socket: of the network's end for it."""
        end = self._ends.pop(sock.fileno(), None)
        if end is not None:
            sock.close()
            sock = end
        return await super().create_connection(protocol_factory, sock=sock)

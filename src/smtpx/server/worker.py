"""One worker of several: its process, and what its supervisor knows of it.

A worker and its supervisor share a socket pair. The worker says that it serves; the
supervisor says that it should go; and the end of either is the other's end of stream.
`work` is what runs in the process; `Worker` and `Slot` are how the supervisor sees it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from multiprocessing.context import SpawnProcess

    from smtpx.server.listener import Server
    from smtpx.server.sockets import Listener

__all__ = [
    "READY",
    "RETIRE",
    "STOP",
    "ServerFactory",
    "Slot",
    "Worker",
    "delay_after",
    "find_loop",
    "work",
]

#: Makes the server of a worker, which listens at what it is given. It is called in the
#: worker, so it is a function of a module, or a ``functools.partial`` of one.
ServerFactory: TypeAlias = (
    "Callable[[Sequence[Listener]], AbstractAsyncContextManager[Server]]"
)

# What goes through the socket pair.
READY: Final = b"r"
RETIRE: Final = b"g"
STOP: Final = b"s"

#: How long to wait before a worker that ended is replaced: at first, and at most.
FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 30.0


@dataclass(eq=False, slots=True)
class Worker:
    """A process that serves, begins to, or is about to end.

    Attributes:
        process: it.
        pipe: our end of the socket pair.
        deadline: when it has taken too long for what it does; None: it may go on.
        serving_since: when it said that it serves; None: it did not yet.
        is_silent: whether it has closed its end of the socket pair. Its process may
            take a while to end, and its end of stream is there at every look.
    """

    process: SpawnProcess
    pipe: socket.socket
    deadline: float | None
    serving_since: float | None = None
    is_silent: bool = False

    def tell(self, word: bytes, deadline: float) -> None:
        """Tell it to go, and until when."""
        self.deadline = deadline
        # It may be gone already.
        with contextlib.suppress(OSError):
            self.pipe.send(word)

    def close(self) -> None:
        """Let go of a process that has ended."""
        self.process.join()
        self.process.close()
        self.pipe.close()


@dataclass(eq=False, slots=True)
class Slot:
    """The place of one worker.

    Attributes:
        worker: who serves there, or begins to; None: nobody for the moment.
        failures: how many ended there, one soon after the other.
        retry_at: when the next one is started.
    """

    worker: Worker | None = None
    failures: int = 0
    retry_at: float = 0.0

    def wait(self, now: float) -> float:
        """Note a failure; return in how many seconds to try again."""
        delay = delay_after(self.failures)
        self.worker = None
        self.failures += 1
        self.retry_at = now + delay
        return delay


def delay_after(failures: int) -> float:
    """Return how many seconds to wait after so many failures before this one."""
    # Whoever can make a worker crash does it for days, and no float is so large.
    doublings = min(failures, 16)
    return min(FIRST_DELAY * 2.0**doublings, LONGEST_DELAY)


def find_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes a faster event loop, None if it is not installed."""
    for name in ("uvloop", "winloop"):
        if importlib.util.find_spec(name):
            # The factory, never the policy: that would change loops of others.
            factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(
                name
            ).new_event_loop
            return factory
    return None


def work(
    make_server: ServerFactory,
    listeners: list[Listener],
    pipe: socket.socket,
    grace: float,
    uvloop: bool,
) -> None:
    """Serve, until told to go."""
    # The terminal sends these to all processes; it is the supervisor who decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    loop_factory = find_loop() if uvloop else None
    with asyncio.Runner(loop_factory=loop_factory) as runner, pipe:
        runner.run(_serve(make_server, listeners, pipe, grace))


async def _serve(
    make_server: ServerFactory,
    listeners: list[Listener],
    pipe: socket.socket,
    grace: float,
) -> None:
    loop = asyncio.get_running_loop()
    pipe.setblocking(False)
    async with make_server(listeners) as server:
        hearing = loop.create_task(_hear_command(pipe))
        # From whoever wants this worker to end alone: another one is started.
        loop.add_signal_handler(signal.SIGTERM, hearing.cancel)
        with contextlib.suppress(OSError):
            await loop.sock_sendall(pipe, READY)
        word = RETIRE
        with contextlib.suppress(asyncio.CancelledError):
            word = await hearing
        # The end of all is the end of the queue too; else another worker takes it.
        await server.shutdown(grace, takes_queue=word != RETIRE)


async def _hear_command(pipe: socket.socket) -> bytes:
    """Wait for what the supervisor says; without one, it is over."""
    try:
        return await asyncio.get_running_loop().sock_recv(pipe, 1) or STOP
    except OSError:
        return STOP

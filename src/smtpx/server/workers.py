"""A server in several processes: supervised, and renewed one after the other.

Theory of operation. The supervisor binds the sockets and listens, but accepts nobody.
Each worker is a process that gets the same sockets, and serves whom it accepts. What
the kernel has connected waits in the queue of a socket that outlives every worker, so a
worker that goes takes no client with it: with SO_REUSEPORT each would have a queue of
its own, which is reset when it goes. The price is that a client may wake more than one
worker.

Workers are started anew (``spawn``), not forked: a fork copies whatever other threads
hold locked at the moment, which Python 3.12 warns of, and goes on with the code and the
certificates that were loaded once. A worker that starts reads them again.

`smtpx.server.worker` is what runs in each process, and how the two ends talk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import threading
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from smtpx.server.sockets import (
    Address,
    BoundSocket,
    Listener,
    bind_listener,
    listeners_of,
)
from smtpx.server.worker import READY, RETIRE, STOP, Slot, Worker, work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from smtpx.server.worker import ServerFactory

__all__ = ["Supervisor", "run_workers"]

logger = logging.getLogger("smtpx.server")

#: A worker that served this long was not at fault when it starts; in seconds.
STEADY_SECONDS: Final = 10.0

#: How long a worker has to begin to serve: a large program may load for some seconds.
START_SECONDS: Final = 60.0

#: How long after its time of grace a worker may need to end.
END_SECONDS: Final = 10.0

# As in ServerOptions, which only the workers know.
_BACKLOG: Final = 1_024

_SPAWN: Final = multiprocessing.get_context("spawn")


def run_workers(
    make_server: ServerFactory,
    address: Address | Sequence[Address],
    *,
    workers: int | None = None,
    grace: float = 30.0,
    uvloop: bool = True,
    serving: Callable[[tuple[str, ...]], None] | None = None,
) -> None:
    """Serve with several processes until SIGTERM or SIGINT.

    SIGTERM and SIGINT end them gently, a second one at once. SIGHUP replaces all
    workers by new ones, which read code and certificates again, without refusing
    anybody. A worker that ends otherwise is replaced. Not on Windows.

    Call it under ``if __name__ == "__main__":``, since workers load the main module.

    Args:
        make_server: makes the server of a worker, of the listeners it is given.
        address: where to listen, one or several.
        workers: how many processes; None: one for each processor.
        grace: seconds that transactions under way have to finish.
        uvloop: run them on uvloop where it is installed.
        serving: called, with the addresses, when all workers serve for the first time.

    Raises:
        OSError: an address cannot be used.
        RuntimeError: no worker begins to serve; what it raised was printed.

    Example:
        ::

            def make_server(listeners):
                return smtpx.Server(Inbox, listeners, options=OPTIONS)

            if __name__ == "__main__":
                smtpx.run_workers(make_server, "0.0.0.0:25", workers=4)
    """
    Supervisor(
        make_server,
        address,
        workers=workers,
        grace=grace,
        uvloop=uvloop,
        serving=serving,
    ).run()


class Supervisor:
    """Starts workers, replaces them, and ends them; see `run_workers`.

    ``run`` does it all; ``stop`` and ``restart`` may be called from any thread.

    Args:
        make_server: makes the server of a worker, of the listeners it is given.
        address: where to listen, one or several.
        workers: how many processes; None: one for each processor.
        grace: seconds that transactions under way have to finish.
        uvloop: run them on uvloop where it is installed.
        serving: called, with the addresses, when all workers serve for the first time.

    Raises:
        ValueError: there is no address, or no worker.
    """

    def __init__(
        self,
        make_server: ServerFactory,
        address: Address | Sequence[Address],
        *,
        workers: int | None = None,
        grace: float = 30.0,
        uvloop: bool = True,
        serving: Callable[[tuple[str, ...]], None] | None = None,
    ) -> None:
        self._listeners = listeners_of(address)
        count = (os.cpu_count() or 1) if workers is None else workers
        if count < 1:
            raise ValueError(f"there must be a worker, not {count}")
        self._make_server = make_server
        self._grace = grace
        self._uvloop = uvloop
        self._serving = serving
        self._slots = [Slot() for _ in range(count)]
        self._bound: list[BoundSocket] = []
        self._going: list[Worker] = []
        self._renewals: deque[Slot] = deque()
        self._renewal: tuple[Slot, Worker] | None = None
        self._has_served = False
        self._stops = 0
        self._restarts = 0
        self._is_stopping = False
        self._waker, self._alarm = socket.socketpair()
        self._waker.setblocking(False)
        self._alarm.setblocking(False)

    # ---------------------------------------------------------------- from any thread

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that the workers listen on."""
        return tuple(bound.name for bound in self._bound)

    @property
    def listening(self) -> tuple[tuple[str, Listener], ...]:
        """Each of these addresses, with the `Listener` that it came of."""
        return tuple((bound.name, bound.listener) for bound in self._bound)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that serve now."""
        workers = [slot.worker for slot in self._slots]
        return tuple(
            worker.process.pid
            for worker in workers
            if worker is not None
            and worker.serving_since is not None
            and worker.process.pid is not None
        )

    def stop(self) -> None:
        """End gently; a second time at once."""
        self._stops += 1
        self._wake()

    def restart(self) -> None:
        """Replace all workers by new ones, one after the other."""
        self._restarts += 1
        self._wake()

    def _wake(self) -> None:
        # If it is full, or closed, nobody has to be woken.
        with contextlib.suppress(OSError):
            self._waker.send(b"!")

    # ------------------------------------------------------------------------ running

    def run(self) -> None:
        """Serve until told to stop.

        Raises:
            OSError: an address cannot be used.
            RuntimeError: no worker begins to serve; what it raised was printed.
        """
        try:
            # Its loop is gone before there is any worker.
            asyncio.run(self._bind())
            with self._catching_signals():
                for slot in self._slots:
                    slot.worker = self._start()
                while not self._is_stopping or self._all_workers():
                    self._step()
        finally:
            self._end()

    async def _bind(self) -> None:
        for listener in self._listeners:
            self._bound += await bind_listener(listener, listener.backlog or _BACKLOG)

    @contextlib.contextmanager
    def _catching_signals(self) -> Iterator[None]:
        """Take signals, where they can be taken: in the main thread."""

        def on_stop(_number: int, _frame: FrameType | None) -> None:
            self.stop()

        def on_restart(_number: int, _frame: FrameType | None) -> None:
            self.restart()

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = {
            signal.SIGTERM: on_stop,
            signal.SIGINT: on_stop,
            signal.SIGHUP: on_restart,
        }
        before = {n: signal.signal(n, handler) for n, handler in wanted.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _step(self) -> None:
        """Wait until something happens, and do what follows from it."""
        by_object: dict[object, Worker] = {}
        for worker in self._all_workers():
            by_object[worker.process.sentinel] = worker
            if worker.serving_since is None and not worker.is_silent:
                by_object[worker.pipe] = worker
        happened = multiprocessing.connection.wait(
            [*by_object, self._alarm],  # type: ignore[list-item]
            self._patience(),
        )
        for what in happened:
            if what is self._alarm:
                self._alarm.recv(4096)
            elif isinstance(what, socket.socket):
                self._hear(by_object[what])
        for worker in {w.process.pid: w for w in by_object.values()}.values():
            if worker.process.sentinel in happened:
                self._ended(worker)
        self._do_what_was_told()
        self._do_what_is_due(time.monotonic())

    def _all_workers(self) -> list[Worker]:
        workers = [slot.worker for slot in self._slots if slot.worker is not None]
        if self._renewal is not None:
            workers.append(self._renewal[1])
        return workers + self._going

    def _patience(self) -> float | None:
        """Return in how many seconds something is due."""
        moments = [w.deadline for w in self._all_workers() if w.deadline is not None]
        if not self._is_stopping:
            moments += [slot.retry_at for slot in self._slots if slot.worker is None]
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    # ------------------------------------------------------------- what workers do

    def _start(self) -> Worker:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        listeners = [
            replace(
                bound.listener,
                address=bound.sock,
                mode=None,
                owner=None,
                group=None,
                reuse_port=False,
                dual_stack=False,
            )
            for bound in self._bound
        ]
        process = _SPAWN.Process(
            target=work,
            args=(self._make_server, listeners, theirs, self._grace, self._uvloop),
            name="smtpx-worker",
        )
        try:
            with theirs:
                process.start()
        except BaseException:
            ours.close()
            raise
        logger.info("worker %s: started", process.pid)
        return Worker(process, ours, time.monotonic() + START_SECONDS)

    def _hear(self, worker: Worker) -> None:
        """A worker serves; or it ended, which its process tells as well."""
        try:
            word = worker.pipe.recv(1)
        except OSError:
            word = b""
        if word != READY:
            worker.is_silent = True
            return
        worker.serving_since = time.monotonic()
        if worker in self._going:
            return
        worker.deadline = None
        logger.info("worker %s: serving", worker.process.pid)
        if self._renewal is not None and self._renewal[1] is worker:
            slot, self._renewal = self._renewal[0], None
            self._retire(slot.worker)
            slot.worker = worker
        if not self._has_served and len(self.pids) == len(self._slots):
            self._has_served = True
            if self._serving is not None:
                self._serving(self.addresses)

    def _ended(self, worker: Worker) -> None:
        """A process is gone."""
        worker.process.join()
        code = worker.process.exitcode
        if worker in self._going:
            self._going.remove(worker)
            logger.info("worker %s: ended", worker.process.pid)
        elif self._renewal is not None and self._renewal[1] is worker:
            self._give_up_renewal(f"the new one ended with {code}")
        else:
            self._replace_later(worker, code)
        worker.close()

    def _replace_later(self, worker: Worker, code: int | None) -> None:
        if worker.serving_since is None and not self._has_served:
            message = (
                f"a worker ended with {code} before it served; see its error above"
            )
            raise RuntimeError(message)
        (slot,) = [slot for slot in self._slots if slot.worker is worker]
        now = time.monotonic()
        since = worker.serving_since
        if since is not None and now - since >= STEADY_SECONDS:
            slot.failures = 0
        logger.error(
            "worker %s: ended with %s; another one starts in %.1f s",
            worker.process.pid,
            code,
            slot.wait(now),
        )

    # ------------------------------------------------------------ what is to be done

    def _do_what_was_told(self) -> None:
        if self._stops and not self._is_stopping:
            self._begin_to_stop()
        elif self._stops > 1:
            for worker in self._all_workers():
                worker.process.kill()
        if self._restarts and not self._is_stopping and not self._renewals:
            self._restarts = 0
            self._renewals.extend(self._slots)

    def _do_what_is_due(self, now: float) -> None:
        for worker in self._all_workers():
            if worker.deadline is not None and now >= worker.deadline:
                logger.error("worker %s: took too long: killed", worker.process.pid)
                worker.deadline = None
                worker.process.kill()
        if self._is_stopping:
            return
        for slot in self._slots:
            if slot.worker is None and now >= slot.retry_at:
                self._fill(slot, now)
        while self._renewals and self._renewal is None:
            old = self._renewals[0].worker
            if old is not None and old.serving_since is None:
                break  # it may have read the files before they were new
            slot = self._renewals.popleft()
            if old is not None:
                # First the new one, so that there are always as many.
                try:
                    self._renewal = slot, self._start()
                except OSError as error:
                    self._give_up_renewal(f"no process could be started: {error}")

    def _fill(self, slot: Slot, now: float) -> None:
        """Start a worker where there is none; the others go on if that cannot be."""
        try:
            slot.worker = self._start()
        except OSError as error:
            # No process, memory or descriptor is left for the moment.
            logger.error(  # noqa: TRY400 - the system's reason says it all
                "no worker can be started: %s; another try in %.1f s",
                error,
                slot.wait(now),
            )

    def _give_up_renewal(self, reason: str) -> None:
        """Keep the workers there are: those that they were to be do not work."""
        logger.error("restart given up: %s; the workers there are go on", reason)
        self._renewal = None
        self._renewals.clear()

    def _retire(self, worker: Worker | None) -> None:
        """Let a worker end; others take whoever connects."""
        if worker is not None:
            worker.tell(RETIRE, time.monotonic() + self._grace + END_SECONDS)
            self._going.append(worker)

    def _begin_to_stop(self) -> None:
        """Let all workers end; the last one closes the sockets."""
        self._is_stopping = True
        self._stops = min(self._stops, 1)
        self._renewals.clear()
        workers, self._going = self._all_workers(), []
        self._renewal = None
        for slot in self._slots:
            slot.worker = None
        self._let_go_of_sockets()
        deadline = time.monotonic() + self._grace + END_SECONDS
        for worker in workers:
            worker.tell(STOP, deadline)
            self._going.append(worker)

    def _let_go_of_sockets(self) -> None:
        for bound in self._bound:
            bound.remove_file()
            bound.sock.close()

    def _end(self) -> None:
        """Leave nothing behind, whatever happened."""
        for worker in self._all_workers():
            worker.process.kill()
            worker.close()
        self._let_go_of_sockets()
        self._alarm.close()
        self._waker.close()

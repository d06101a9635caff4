"""Workers: how many there are whatever happens, and that nobody notices a change."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import multiprocessing.connection
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from smtpx.server.sockets import Listener, parse_address
from smtpx.server.worker import delay_after
from smtpx.server.workers import Supervisor, run_workers
from tests.server import farm

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0

MESSAGE = b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\nhi\r\n.\r\n"


class Client:
    """A client that blocks."""

    def __init__(self, address: str) -> None:
        if address.startswith("unix:"):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(address.removeprefix("unix:"))
        else:
            host, port = parse_address(address)
            assert host is not None
            self.sock = socket.create_connection((host, port), PATIENCE)
        self.sock.settimeout(PATIENCE)
        self.lines: IO[bytes] = self.sock.makefile("rb")

    def reply(self) -> str:
        while True:
            line = self.lines.readline().decode()
            if line[3:4] != "-":
                return line.removesuffix("\r\n")

    def ask(self, octets: bytes) -> str:
        self.sock.sendall(octets)
        return self.reply()

    def begin(self) -> int:
        """Say hello; return who serves."""
        assert self.reply().startswith("220 ")
        assert self.ask(b"EHLO c.test\r\n").startswith("250 ")
        return int(self.ask(b"VRFY x\r\n").removeprefix("250 2.0.0 "))

    def send(self) -> str:
        self.sock.sendall(MESSAGE)
        return [self.reply() for _ in range(4)][-1]

    def close(self) -> None:
        self.lines.close()
        self.sock.close()


class Farm:
    """A supervisor in a process of its own."""

    def __init__(
        self, folder: Path, count: int, grace: float = 10.0, linger: float = 0.5
    ) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-X", "dev", "-W", "error"),
                *("-m", "tests.server.farm", str(folder), str(count), str(grace)),
                str(linger),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read, args=[self.process.stderr])
        self._reader.start()
        line = self.process.stdout.readline()
        facts: dict[str, Any] = (
            json.loads(line) if line else {"addresses": [""], "pids": []}
        )
        self.address: str = facts["addresses"][0]
        self.addresses: list[str] = facts["addresses"]
        self.pids: list[int] = facts["pids"]
        self.clients: list[Client] = []

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self.log.append(line)

    def connect(self, address: str | None = None) -> Client:
        client = Client(address or self.address)
        self.clients.append(client)
        return client

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def count(self, text: str) -> int:
        return sum(text in line for line in tuple(self.log))

    def until(self, is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not is_so():
            assert time.monotonic() < end, "".join(self.log)
            time.sleep(0.01)

    def end(self) -> int:
        """Wait for the end; return its exit status."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def close(self) -> None:
        for client in self.clients:
            client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.end()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


StartFarm = Callable[..., Farm]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartFarm]:
    with contextlib.ExitStack() as stack:

        def start(count: int, grace: float = 10.0) -> Farm:
            farm = Farm(tmp_path, count, grace)
            stack.callback(farm.close)
            return farm

        yield start


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_they_serve_and_end_gently(start: StartFarm, tmp_path: Path) -> None:
    farm = start(2)
    assert len(set(farm.pids)) == 2
    idle, busy, local = farm.connect(), farm.connect(), farm.connect(farm.addresses[1])
    for client in (idle, busy, local):
        assert client.begin() in farm.pids
    assert (tmp_path / "smtp").stat().st_mode & 0o777 == 0o600
    assert busy.ask(b"MAIL FROM:<a@c.test>\r\n").startswith("250 ")
    farm.signal(signal.SIGTERM)
    assert idle.reply().startswith("421 4.3.2 ")
    assert busy.ask(b"RCPT TO:<b@mx.test>\r\n").startswith("250 ")
    assert busy.ask(b"DATA\r\n").startswith("354 ")
    assert busy.ask(b"hi\r\n.\r\n").startswith("250 ")
    assert busy.reply().startswith("421 4.3.2 ")
    for client in farm.clients:
        client.close()
    assert farm.end() == 0
    assert not any(is_there(pid) for pid in farm.pids)
    assert not (tmp_path / "smtp").exists()
    with pytest.raises(OSError, match=r"."):
        farm.connect()


def test_a_second_signal_ends_them_at_once(start: StartFarm) -> None:
    farm = start(1, 1_000.0)
    client = farm.connect()
    client.begin()
    client.ask(b"MAIL FROM:<a@c.test>\r\n")
    farm.signal(signal.SIGINT)
    # It has stopped to listen, and so has heard the first one.
    farm.until(lambda: not (farm.folder / "smtp").exists())
    farm.signal(signal.SIGINT)
    assert farm.end() == 0
    assert not any(is_there(pid) for pid in farm.pids)


def test_a_worker_that_crashes_is_replaced(start: StartFarm) -> None:
    farm = start(1)
    for _ in range(2):
        client = farm.connect()
        client.begin()
        client.sock.sendall(b"VRFY crash\r\n")
        assert client.lines.read() == b""
        # Who connects meanwhile waits for the next worker.
        assert farm.connect().begin() not in farm.pids
    assert farm.count("ended with 7; another one starts in 0.1 s") == 1
    assert farm.count("ended with 7; another one starts in 0.2 s") == 1


def test_a_worker_that_is_killed_is_replaced(start: StartFarm) -> None:
    farm = start(2)
    os.kill(farm.pids[0], signal.SIGKILL)
    farm.until(lambda: farm.count(": serving") == 3)
    assert farm.count(f"worker {farm.pids[0]}: ended with -9") == 1
    assert is_there(farm.pids[1])


def test_a_worker_that_is_told_to_end_ends_gently(start: StartFarm) -> None:
    farm = start(1)
    client = farm.connect()
    client.begin()
    client.ask(b"MAIL FROM:<a@c.test>\r\n")
    os.kill(farm.pids[0], signal.SIGTERM)
    assert client.ask(b"RSET\r\n").startswith("250 ")
    assert client.reply().startswith("421 4.3.2 ")
    assert farm.connect().begin() not in farm.pids


def test_restart(start: StartFarm) -> None:
    farm = start(2)
    client = farm.connect()
    assert client.begin() in farm.pids
    client.ask(b"MAIL FROM:<a@c.test>\r\n")
    farm.signal(signal.SIGHUP)
    farm.until(lambda: farm.count(": serving") == 4)
    # An old one finishes what it has begun.
    assert client.ask(b"RCPT TO:<b@mx.test>\r\n").startswith("250 ")
    assert client.ask(b"DATA\r\n").startswith("354 ")
    assert client.ask(b"hi\r\n.\r\n").startswith("250 ")
    assert client.reply().startswith("421 4.3.2 ")
    client.close()
    farm.until(lambda: farm.count(": ended\n") == 2)
    assert not any(is_there(pid) for pid in farm.pids)
    assert farm.connect().begin() not in farm.pids
    # And once more.
    farm.signal(signal.SIGHUP)
    farm.until(lambda: farm.count(": serving") == 6)


def test_a_restart_that_fails_leaves_things_as_they_are(
    start: StartFarm, tmp_path: Path
) -> None:
    farm = start(2)
    (tmp_path / "broken").touch()
    farm.signal(signal.SIGHUP)
    farm.until(lambda: farm.count("restart given up") == 1)
    assert all(is_there(pid) for pid in farm.pids)
    assert farm.connect().begin() in farm.pids
    (tmp_path / "broken").unlink()
    farm.signal(signal.SIGHUP)
    farm.until(lambda: farm.count(": serving") == 4)
    assert farm.connect().begin() not in farm.pids


def test_nothing_begins_to_serve(start: StartFarm, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    farm = start(3)
    assert farm.end() == 1
    assert farm.count("broken on purpose") >= 1
    assert farm.count("RuntimeError: a worker ended with 1 before it served") == 1


def test_without_their_supervisor_they_end(start: StartFarm) -> None:
    farm = start(2)
    client = farm.connect()
    client.begin()
    farm.signal(signal.SIGKILL)
    assert client.reply().startswith("421 4.3.2 ")
    client.close()
    farm.until(lambda: not any(is_there(pid) for pid in farm.pids))


def test_nobody_in_the_queue_is_reset_at_the_end(start: StartFarm) -> None:
    farm = start(1)
    # It accepts nobody for the moment.
    os.kill(farm.pids[0], signal.SIGSTOP)
    clients = [farm.connect() for _ in range(20)]
    farm.signal(signal.SIGTERM)
    # The supervisor has let go of its sockets, the worker not yet.
    farm.until(lambda: not (farm.folder / "smtp").exists())
    os.kill(farm.pids[0], signal.SIGCONT)
    for client in clients:
        heard = client.lines.read()
        assert heard.rpartition(b"421 4.3.2 ")[0] in {
            b"",
            b"220 mx.test ESMTP smtpx\r\n",
        }
    assert farm.end() == 0


# --- Within this process. ---


@contextlib.contextmanager
def supervised(folder: Path) -> Iterator[Supervisor]:
    """Run a supervisor of one worker in a thread, until the end of the block."""
    serving = threading.Event()
    supervisor = Supervisor(
        functools.partial(farm.make_server, folder, 1.0),
        "127.0.0.1:0",
        workers=1,
        uvloop=False,
        serving=lambda _: serving.set(),
    )
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        assert serving.wait(PATIENCE)
        yield supervisor
    finally:
        supervisor.stop()
        thread.join(PATIENCE)
    assert not thread.is_alive()
    assert supervisor.pids == ()
    # To wake one that has ended does nothing.
    supervisor.stop()


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_supervisor_in_a_thread(tmp_path: Path) -> None:
    with supervised(tmp_path) as supervisor:
        (first,) = supervisor.pids
        client = Client(supervisor.addresses[0])
        assert client.begin() == first
        client.close()
        supervisor.restart()
        until(lambda: supervisor.pids not in {(first,), ()})


class NoneLeft:
    """Descriptors run out, some times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        self._make = socket.socketpair
        monkeypatch.setattr(socket, "socketpair", self._pair)

    def _pair(self) -> tuple[socket.socket, socket.socket]:
        if self.times:
            self.times -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return self._make()


def test_a_worker_that_cannot_be_started_is_started_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with supervised(tmp_path) as supervisor:
        (first,) = supervisor.pids
        NoneLeft(monkeypatch).times = 2
        os.kill(first, signal.SIGKILL)
        until(lambda: supervisor.pids not in {(first,), ()})
    text = "no worker can be started: [Errno 24] Too many open files; another try in"
    assert caplog.text.count(text) == 2


def test_a_restart_for_which_there_is_no_room_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with supervised(tmp_path) as supervisor:
        before = supervisor.pids
        none_left = NoneLeft(monkeypatch)
        none_left.times = 1
        supervisor.restart()
        until(lambda: "restart given up: no process" in caplog.text)
        assert supervisor.pids == before
        supervisor.restart()
        until(lambda: supervisor.pids not in {before, ()})


def test_a_worker_that_says_no_more_and_takes_its_time_keeps_nobody_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[int] = []
    wait = multiprocessing.connection.wait

    def watched(objects: list[Any], timeout: float | None) -> list[Any]:
        looks.append(len(objects))
        return wait(objects, timeout)

    with supervised(tmp_path) as supervisor:
        monkeypatch.setattr(multiprocessing.connection, "wait", watched)
        (tmp_path / "lingering").touch()
        supervisor.restart()
        try:
            # The alarm, the worker there is, and the new one with its socket.
            until(lambda: 4 in looks)
            # The same without the socket, whose end is there at every look.
            until(lambda: looks[-1] == 3 or len(looks) > 10_000)
        finally:
            (tmp_path / "go").touch()
        assert len(looks) < 100
        until(lambda: "restart given up: the new one ended with 1" in caplog.text)


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0.1), (1, 0.2), (8, 25.6), (9, 30.0), (100_000, 30.0)]
)
def test_how_long_to_wait_after_how_many_failures(
    failures: int, seconds: float
) -> None:
    assert delay_after(failures) == pytest.approx(seconds)


def test_what_cannot_be() -> None:
    make_server = functools.partial(farm.make_server, Path(), 1.0)
    with pytest.raises(ValueError, match="there must be a worker, not 0"):
        Supervisor(make_server, "127.0.0.1:0", workers=0)
    with pytest.raises(ValueError, match="needs an address"):
        Supervisor(make_server, [])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            run_workers(make_server, Listener(f"127.0.0.1:{port}"), workers=1)

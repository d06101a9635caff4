"""A server that is killed at any moment has every message that it acknowledged.

Once, and whole. Those that it did not acknowledge may be there or not; but in a Maildir
or a folder of files none is there in part.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

import smtpx
from smtpx.app.places import MboxSink
from smtpx.cli.mailboxes import files_of, messages_of
from tests.app.store import SINKS

_WHOLE: Final = re.compile(
    rb"X-Key: ([0-9]+)\r?\nX-Hash: ([0-9a-f]+)\r?\n\r?\n(.*?)\s*\Z", re.DOTALL
)


def make(key: int, chances: random.Random) -> bytes:
    """Make a message that tells whether it is whole."""
    # Large ones take the system many steps to write.
    size = chances.choice((10, 500, 70_000, 1_000_000))
    text = bytes(chances.choices(b"abcdefghij", k=min(size, 900)))
    body = b"\r\n".join([text] * max(1, size // 900))
    digest = sha256(body.replace(b"\r\n", b"\n")).hexdigest()
    return b"X-Key: %d\r\nX-Hash: %b\r\n\r\n%b\r\n" % (key, digest.encode(), body)


def whole_key(octets: bytes) -> int | None:
    """Return the key of a message; None if it is not whole."""
    found = _WHOLE.fullmatch(octets)
    if found is None:
        return None
    body = found[3].replace(b"\r\n", b"\n")
    return int(found[1]) if sha256(body).hexdigest().encode() == found[2] else None


def stored_in(kind: str, where: Path) -> list[bytes]:
    if kind != "mbox":
        return [path.read_bytes() for path in files_of(where)]
    if not where.exists():  # killed before the first message
        return []
    with ExitStack() as stack:
        return [make_file().read() for _, make_file in messages_of(where, stack)]


@contextmanager
def forking(kind: str, where: Path) -> Iterator[subprocess.Popen[str]]:
    """Run what forks the servers."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.app.store", kind, str(where)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        yield process


class Sender(threading.Thread):
    """Sends messages until the server is gone, and notes what it acknowledged."""

    def __init__(self, address: str, first_key: int, seed: str) -> None:
        super().__init__()
        self.address = address
        self.next_key = first_key
        self.acknowledged: list[int] = []
        self.is_busy = threading.Event()
        self._chances = random.Random(seed)

    def run(self) -> None:
        options = smtpx.ClientOptions(hello_name="c.test")
        client = smtpx.Client(f"smtp+plain://{self.address}", options=options)
        try:
            client.connect()  # which ends when the server greets
            self.is_busy.set()
            while True:
                key = self.next_key
                self.next_key += 1
                client.send(
                    make(key, self._chances),
                    sender="a@c.test",
                    recipients=["b@mx.test"],
                )
                self.acknowledged.append(key)
        except (smtpx.SendError, OSError):
            pass  # as it should be: the server was killed
        finally:
            self.is_busy.set()
            client.close()


def kill_and_look(kind: str, where: Path, rounds: int) -> Counter[str]:
    """Kill a server again and again; compare what it said with what there is."""
    chances = random.Random(f"{kind}/{rounds}")
    acknowledged: list[int] = []
    next_key = 1
    with forking(kind, where) as nest:
        assert nest.stdin
        assert nest.stdout
        for number in range(rounds):
            nest.stdin.write("next\n")
            nest.stdin.flush()
            process, port = map(int, nest.stdout.readline().split())
            sender = Sender(f"127.0.0.1:{port}", next_key, f"{kind}/{number}")
            sender.start()
            sender.is_busy.wait()
            # Not for synchronisation: it is to be killed at any moment.
            sender.join(chances.uniform(0.0, 0.3))
            os.kill(process, signal.SIGKILL)
            assert nest.stdout.readline() == "gone\n"
            sender.join()
            acknowledged += sender.acknowledged
            next_key = sender.next_key
    found = Counter(map(whole_key, stored_in(kind, where)))
    partial = found.pop(None, 0)
    assert not partial or kind == "mbox"
    for key in acknowledged:
        assert found[key] == 1, (
            f"{key} was acknowledged, and is there {found[key]} times"
        )
    assert max(found.values(), default=1) == 1
    return Counter(
        acknowledged=len(acknowledged), stored=found.total(), partial=partial
    )


@pytest.mark.parametrize("kind", SINKS)
def test_killed_a_few_times(kind: str, tmp_path: Path) -> None:
    counts = kill_and_look(kind, tmp_path / "mail", 3)
    assert counts["stored"] >= counts["acknowledged"]


@pytest.mark.stress
@pytest.mark.parametrize("kind", SINKS)
def test_killed_two_hundred_times(kind: str, tmp_path: Path) -> None:
    counts = kill_and_look(kind, tmp_path / "mail", 200)
    print(kind, dict(counts))
    assert counts["acknowledged"] > 200
    assert counts["stored"] >= counts["acknowledged"]


@pytest.mark.parametrize(
    ("torn", "missing"),
    [
        (b"", b""),
        (b"From x\nA: b\n\nwhole\n\n", b""),
        (b"From x\nA: b\n\nhalf\n", b"\n"),
        (b"From x\nA: b\n\nhalf a li", b"\n\n"),
        (b"F", b"\n\n"),
        (b"\n", b"\n"),
    ],
)
async def test_what_was_torn_hides_nothing_that_follows(
    torn: bytes, missing: bytes, tmp_path: Path
) -> None:
    """A process that was killed in the middle of a message ended no line."""
    path = tmp_path / "mbox"
    path.write_bytes(torn)
    sink = MboxSink(path)

    async def content() -> AsyncIterator[bytes]:
        yield b"Subject: whole\r\n\r\nbody\r\n"

    start = await sink.store(b"", content())
    await sink.close()
    written = path.read_bytes()
    assert written.startswith(torn + missing + b"From ")
    assert int(start) == len(torn + missing)
    assert stored_in("mbox", path)[-1] == b"Subject: whole\n\nbody\n"

"""A server and its clients for half an hour: memory, descriptors and tasks stay flat.

``python -m benchmarks soak [--minutes 30] [--to soak]``: rounds of mixed load, each
ended by a shutdown in the middle of it and a new server on the same port. After each
round, when all is quiet, a sample is taken. It writes ``soak.json`` and ``soak.svg``,
and fails if anything grows, or if a message that was acknowledged is not there once.

``--leak 10`` lets each tenth message leave its envelope behind, to see that it fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import platform
import random
import socket
import sys
import time
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import smtpx
from benchmarks.drawing import draw_panels
from benchmarks.holdings import (
    Holdings,
    Malloc,
    find_growth,
    grow_table_of_strings,
    take_stock,
)
from smtpx.client.options import Chunking, TLSMode
from smtpx.client.outgoing import Outgoing
from smtpx.errors import Delivery
from smtpx.testing.certificates import ThrowawayCertificates, make_certificates

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpx.wire.envelope import Envelope

ROUND_SECONDS = 10.0
#: Messages that there is room for in the ledger, by the second: three times those that
#: a fast machine sends.
MAX_RATE: Final = 3_000


@dataclass(frozen=True)
class Sample:
    """What there is between two rounds."""

    seconds: float
    messages: int
    holdings: Holdings


class Ledger:
    """An octet for each message: how often it was stored, and what its client knows.

    They are there from the beginning, so what is held does not grow with them.
    """

    STORED = 0x03  # how often, up to three times
    ACKNOWLEDGED = 0x04
    REFUSED = 0x08

    def __init__(self, room: int) -> None:
        self._states = bytearray(b"\0" * room)
        self.count = 0

    def make(self) -> int:
        if self.count == len(self._states):
            raise RuntimeError("more messages than there is room for: see MAX_RATE")
        self.count += 1
        return self.count - 1

    def store(self, key: int) -> None:
        if self._states[key] & self.STORED < self.STORED:
            self._states[key] += 1

    def acknowledge(self, key: int) -> None:
        self._states[key] |= self.ACKNOWLEDGED

    def refuse(self, key: int) -> None:
        self._states[key] |= self.REFUSED

    def told(self) -> dict[str, int]:
        """Count what clients know of their messages."""
        acknowledged = self._count(lambda state: bool(state & self.ACKNOWLEDGED))
        refused = self._count(lambda state: bool(state & self.REFUSED))
        return {
            "acknowledged": acknowledged,
            "refused or not sent": refused,
            "in doubt": self.count - acknowledged - refused,
        }

    def faults(self) -> dict[str, int]:
        return {
            "acknowledged and lost": self._count(
                lambda state: state & self.ACKNOWLEDGED and not state & self.STORED
            ),
            "stored twice": self._count(lambda state: state & self.STORED > 1),
            "refused and stored": self._count(
                lambda state: state & self.REFUSED and state & self.STORED
            ),
        }

    def _count(self, is_so: Callable[[int], object]) -> int:
        return sum(self._states.count(state) for state in range(16) if is_so(state))


class Leak:
    """Keeps the envelope of each n-th message; none if n is 0."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._kept: list[Envelope] = []

    def pass_by(self, key: int, envelope: Envelope) -> None:
        if self._every and key % self._every == 0:
            self._kept.append(envelope)


@dataclass(frozen=True)
class Scene:
    """What all rounds share."""

    ledger: Ledger
    leak: Leak
    port: int
    certificates: ThrowawayCertificates


def make_session(scene: Scene, chances: random.Random) -> type[smtpx.Session]:
    class Session(smtpx.Session):
        async def rcpt(self, forward_path: object, options: object) -> None:
            if chances.random() < 0.01:
                raise smtpx.Refuse(450, "4.2.0", "not now")

        async def data(self, body: smtpx.Body) -> smtpx.Reply:
            fate = chances.random()
            key = None
            async for block in body:
                if key is None:
                    key = int(block.partition(b"\r\n")[0].rpartition(b" ")[2])
                if fate < 0.005:
                    raise RuntimeError("a handler that fails")
            if fate < 0.05:
                await asyncio.sleep(0.05)
            assert key is not None
            scene.ledger.store(key)
            scene.leak.pass_by(key, self.envelope)
            return smtpx.Reply(250, "2.0.0", "stored")

    return Session


class Load:
    """Clients of every kind, until they are told to stop."""

    def __init__(self, ledger: Ledger, chances: random.Random, url: str) -> None:
        self.ledger = ledger
        self.chances = chances
        self.url = url
        self.is_over = False

    def message(self) -> tuple[int, bytes]:
        key = self.ledger.make()
        size = self.chances.choice((100, 100, 2_000, 100_000, 1_000_000))
        return key, b"X-Key: %d\r\n\r\n%b\r\n" % (
            key,
            (b"x" * 68 + b"\r\n") * (size // 70),
        )

    def note(self, key: object, delivery: Delivery) -> None:
        assert isinstance(key, int)
        if delivery is Delivery.DELIVERED:
            self.ledger.acknowledge(key)
        elif delivery in {Delivery.REFUSED, Delivery.NOT_SENT}:
            self.ledger.refuse(key)

    async def singly(self, options: smtpx.ClientOptions) -> None:
        while not self.is_over:
            client = smtpx.AsyncClient(self.url, options=options)
            for _ in range(self.chances.randint(1, 20)):
                await self.send_one(client)
            await client.quit()

    async def send_one(self, client: smtpx.AsyncClient | smtpx.ClientPool) -> None:
        key, content = self.message()
        try:
            await client.send(content, sender="a@c.test", recipients=["b@mx.test"])
        except smtpx.SendError as error:
            self.note(key, error.delivery)
            await asyncio.sleep(0.02)
        else:
            self.note(key, Delivery.DELIVERED)

    async def in_bulk(self, options: smtpx.ClientOptions) -> None:
        while not self.is_over:
            client = smtpx.AsyncClient(self.url, options=options)
            envelopes = []
            for _ in range(100):
                key, content = self.message()
                envelopes.append(Outgoing(content, "a@c.test", ["b@mx.test"], key=key))
            source = iter(envelopes)
            try:
                async with aclosing(client.send_many(source)) as outcomes:
                    async for one in outcomes:
                        self.note(one.outgoing.key, one.delivery)
            except smtpx.SendError:
                await asyncio.sleep(0.02)
            for unsent in source:
                self.note(unsent.key, Delivery.NOT_SENT)
            await client.quit()

    async def by_pool(self, options: smtpx.ClientOptions) -> None:
        async with smtpx.ClientPool(self.url, client_options=options) as pool:
            while not self.is_over:
                await asyncio.gather(*(self.send_one(pool) for _ in range(20)))

    async def rudely(self, _options: smtpx.ClientOptions) -> None:
        """Say a part of a session, and go without a word."""
        host, port = self.url.rpartition("/")[2].split(":")
        said = (
            b"EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\n"
            b"DATA\r\nX-Key: 0\r\n\r\n" + b"x" * 5_000
        )
        while not self.is_over:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.write(said[: self.chances.randrange(len(said))])
                await asyncio.sleep(self.chances.choice((0.0, 0.01, 0.5)))
                writer.transport.abort()
                with suppress(OSError):
                    await writer.wait_closed()
            await asyncio.sleep(0.01)


async def run_round(scene: Scene, number: int) -> None:
    """Serve and send for a while, always on the same port."""
    chances = random.Random(number)  # noqa: S311 - what happens, not a secret
    certificates = scene.certificates
    server = smtpx.Server(
        make_session(scene, chances),
        f"127.0.0.1:{scene.port}",
        options=smtpx.ServerOptions(
            hostname="mx.test",
            tls=certificates.server,
            limits=smtpx.Limits(max_errors=1_000),
        ),
    )
    await server.start()
    load = Load(scene.ledger, chances, f"smtp://{server.addresses[0]}")
    plain = smtpx.ClientOptions(hello_name="c.test", tls=TLSMode.NEVER)
    lock_step = smtpx.ClientOptions(
        hello_name="c.test", tls=TLSMode.NEVER, pipelining=False
    )
    by_data = smtpx.ClientOptions(
        hello_name="c.test", tls=TLSMode.NEVER, chunking=Chunking.NEVER
    )
    under_tls = smtpx.ClientOptions(
        hello_name="c.test",
        tls=TLSMode.REQUIRED,
        tls_context=certificates.client,
        server_hostname="localhost",
    )
    tasks = [
        asyncio.create_task(kind(options))
        for kind, options in (
            *((load.singly, one) for one in (plain, lock_step, under_tls)),
            *((load.in_bulk, one) for one in (plain, by_data)),
            *((load.by_pool, plain), (load.rudely, plain)),
        )
    ]
    await asyncio.sleep(ROUND_SECONDS)
    # In the middle of it all: what is under way may end, the rest is turned away.
    await server.shutdown(chances.choice((0.0, 0.2, 2.0)))
    load.is_over = True
    await asyncio.gather(*tasks)


async def soak(minutes: float, leak: Leak, ledger: Ledger, to: Path) -> None:
    """Run the rounds, and write a line with a sample after each."""
    ledger.make()  # the key of the rude, who never finish
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    scene = Scene(ledger, leak, port, make_certificates())
    grow_table_of_strings()
    malloc = Malloc()
    start, number = time.monotonic(), 0
    while time.monotonic() - start < minutes * 60:
        await run_round(scene, number)
        number += 1
        # Nothing is kept of it here, since that would grow.
        sample = Sample(
            round(time.monotonic() - start, 1), ledger.count, take_stock(malloc)
        )
        line = json.dumps(asdict(sample))
        with to.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        print(line, flush=True)
        del sample, line


def read_samples(path: Path) -> list[Sample]:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [
        Sample(row["seconds"], row["messages"], Holdings(**row["holdings"]))
        for row in rows
    ]


def draw(samples: list[Sample]) -> str:
    """Draw the samples: a panel for each thing that has to be flat."""
    titles = {
        "messages": "messages sent",
        "rss_mib": "resident memory, trimmed, MiB",
        "untrimmed_mib": "... with what the allocator keeps, MiB",
        "malloc_mib": "in use by malloc, MiB",
        "blocks": "blocks of Python's allocator",
        "objects": "objects of the garbage collector",
        "descriptors": "descriptors",
        "threads": "threads",
    }
    rows = [{"messages": one.messages, **asdict(one.holdings)} for one in samples]
    return draw_panels(
        f"Between the {len(samples)} rounds of {samples[-1].seconds / 60:.0f} minutes",
        [one.seconds / 60 for one in samples],
        {title: [row[name] for row in rows] for name, title in titles.items()},
        unit="minutes",
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks soak")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--to", default="soak", help="without .json and .svg")
    parser.add_argument("--leak", type=int, default=0, help="keep each n-th envelope")
    options = parser.parse_args(arguments)
    # Handlers fail by design here.
    logging.getLogger("smtpx").setLevel(logging.CRITICAL)
    ledger = Ledger(math.ceil(options.minutes * 60 * MAX_RATE))
    lines = Path(f"{options.to}.jsonl")
    lines.write_text("", "utf-8")
    asyncio.run(soak(options.minutes, Leak(options.leak), ledger, lines))
    samples, faults = read_samples(lines), ledger.faults()
    wrong = [f"{count} {what}" for what, count in faults.items() if count]
    wrong += find_growth([one.holdings for one in samples])
    report = {
        "minutes": options.minutes,
        "python": platform.python_version(),
        "smtpx": smtpx.__version__,
        "messages": ledger.count,
        "told": ledger.told(),
        "faults": faults,
        "wrong": wrong,
        "samples": [asdict(one) for one in samples],
    }
    Path(f"{options.to}.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    Path(f"{options.to}.svg").write_text(draw(samples), "utf-8")
    lines.unlink()
    print(f"{ledger.count} messages:", ledger.told())
    print(*wrong or ["flat, and every acknowledged message is there once"], sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

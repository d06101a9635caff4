"""A server and its clients for half an hour: memory, descriptors and tasks stay flat.

``python -m benchmarks soak [--minutes 30] [--to soak]``: rounds of mixed load, each
ended by a shutdown in the middle of it and a new server on the same port. After each
round, when all is quiet, a sample is taken. It writes ``soak.json`` and ``soak.svg``,
and fails if anything grows, or if a message that was acknowledged is not there once.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import platform
import random
import socket
import statistics
import sys
import time
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import smtpx
from smtpx.client.options import Chunking, TLSMode
from smtpx.client.outgoing import Outgoing
from smtpx.errors import Delivery
from smtpx.testing.certificates import ThrowawayCertificates, make_certificates

ROUND_SECONDS = 10.0
PAGE = os.sysconf("SC_PAGE_SIZE")
#: What memory may be more at the end than after the start: the allocator's noise.
MAX_GROWTH = 0.05


@dataclass
class Sample:
    """What there is between two rounds."""

    seconds: float
    rss_mib: float
    descriptors: int
    tasks: int
    acknowledged: int
    stored: int


class Ledger:
    """An octet for each message: how often it was stored, and if it was acknowledged.

    So it grows by a megabyte in a million messages, and hides no leak.
    """

    def __init__(self) -> None:
        self.stored = bytearray()
        self.acknowledged = bytearray()
        self.refused = bytearray()

    def make(self) -> int:
        for one in (self.stored, self.acknowledged, self.refused):
            one.append(0)
        return len(self.stored) - 1

    def faults(self) -> dict[str, int]:
        pairs = list(zip(self.stored, self.acknowledged, self.refused, strict=True))
        return {
            "acknowledged and lost": sum(a and not s for s, a, _ in pairs),
            "stored twice": sum(s > 1 for s, _, _ in pairs),
            "refused and stored": sum(bool(r and s) for s, _, r in pairs),
        }


def make_session(ledger: Ledger, chances: random.Random) -> type[smtpx.Session]:
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
            ledger.stored[key] += 1
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
            self.ledger.acknowledged[key] = 1
        elif delivery in {Delivery.REFUSED, Delivery.NOT_SENT}:
            self.ledger.refused[key] = 1

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
            with suppress(smtpx.SendError):
                async with aclosing(client.send_many(envelopes)) as outcomes:
                    async for one in outcomes:
                        self.note(one.outgoing.key, one.delivery)
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


async def run_round(
    ledger: Ledger, number: int, port: int, certificates: ThrowawayCertificates
) -> int:
    """Serve and send for a while; return the port, which stays the same."""
    chances = random.Random(number)  # noqa: S311 - what happens, not a secret
    server = smtpx.Server(
        make_session(ledger, chances),
        f"127.0.0.1:{port}",
        options=smtpx.ServerOptions(
            hostname="mx.test",
            tls=certificates.server,
            limits=smtpx.Limits(max_errors=1_000),
        ),
    )
    await server.start()
    load = Load(ledger, chances, f"smtp://{server.addresses[0]}")
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
    return int(server.addresses[0].rpartition(":")[2]) if server.addresses else port


def take_sample(ledger: Ledger, start: float) -> Sample:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return Sample(
        seconds=round(time.monotonic() - start, 1),
        rss_mib=round(pages * PAGE / 1024 / 1024, 1),
        descriptors=len(list(Path("/proc/self/fd").iterdir())),
        tasks=len(asyncio.all_tasks()),
        acknowledged=sum(ledger.acknowledged),
        stored=sum(ledger.stored),
    )


async def soak(minutes: float) -> tuple[list[Sample], Ledger]:
    ledger = Ledger()
    ledger.make()  # the key of the rude, who never finish
    certificates = make_certificates()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    start = time.monotonic()
    samples: list[Sample] = []
    while time.monotonic() - start < minutes * 60:
        await run_round(ledger, len(samples), port, certificates)
        samples.append(take_sample(ledger, start))
        print(samples[-1], flush=True)
    return samples, ledger


def judge(samples: list[Sample], ledger: Ledger) -> list[str]:
    """Say what is wrong; the first quarter is for warming up."""
    wrong = [f"{count} {what}" for what, count in ledger.faults().items() if count]
    quarter = max(1, len(samples) // 4)
    early, late = samples[quarter : 2 * quarter] or samples[:1], samples[-quarter:]
    for name in ("descriptors", "tasks"):
        first, last = (
            max(getattr(one, name) for one in some) for some in (early, late)
        )
        if last > first:
            wrong.append(f"{name} grew from {first} to {last}")
    first_mib, last_mib = (
        statistics.median(one.rss_mib for one in some) for some in (early, late)
    )
    if last_mib > first_mib * (1 + MAX_GROWTH):
        wrong.append(f"memory grew from {first_mib} to {last_mib} MiB")
    return wrong


def draw(samples: list[Sample]) -> str:
    """Draw the samples: a panel for each thing that has to be flat."""
    panels = []
    end = samples[-1].seconds or 1.0
    for number, (name, title) in enumerate(
        (
            ("rss_mib", "memory, MiB"),
            ("descriptors", "descriptors"),
            ("tasks", "tasks"),
            ("acknowledged", "messages acknowledged"),
        )
    ):
        values = [getattr(one, name) for one in samples]
        top = max(values) * 1.1 or 1
        base = 130 + number * 150
        points = " ".join(
            f"{60 + 520 * one.seconds / end:.1f},{base - 100 * value / top:.1f}"
            for one, value in zip(samples, values, strict=True)
        )
        panels.append(
            f'<text x="60" y="{base - 108}">{title}</text>'
            f'<g text-anchor="end"><text x="52" y="{base - 86}">{max(values):g}</text>'
            f'<text x="52" y="{base}">0</text></g><g fill="none">'
            f'<path d="M60 {base - 100}V{base}H580" stroke="#999"/>'
            f'<polyline points="{points}" stroke="#06c" stroke-width="1.5"/></g>'
        )
    label = (
        f'<text x="580" y="{130 + 3 * 150 + 18}" text-anchor="end">{end:.0f} s</text>'
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 620" '
        'font-family="sans-serif" font-size="12">'
        f'<rect width="600" height="620" fill="#fff"/>{"".join(panels)}{label}</svg>\n'
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks soak")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--to", default="soak", help="without .json and .svg")
    options = parser.parse_args(arguments)
    # Handlers fail by design here.
    logging.getLogger("smtpx").setLevel(logging.CRITICAL)
    samples, ledger = asyncio.run(soak(options.minutes))
    wrong = judge(samples, ledger)
    report = {
        "minutes": options.minutes,
        "python": platform.python_version(),
        "smtpx": smtpx.__version__,
        "messages": len(ledger.stored),
        "faults": ledger.faults(),
        "wrong": wrong,
        "samples": [asdict(one) for one in samples],
    }
    Path(f"{options.to}.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    Path(f"{options.to}.svg").write_text(draw(samples), "utf-8")
    print(*wrong or ["flat, and every acknowledged message is there once"], sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

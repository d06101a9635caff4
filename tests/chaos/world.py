"""A world of one server and some clients, and what must hold when it ends.

Whatever broke: what a client calls delivered is stored, once and whole; what it calls
refused or not sent is not; what it cannot know is stored once at the most. Nobody gets
a message who was refused. And nothing is left over: no task, timer, connection, socket.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import smtpx
from smtpx.client.options import Chunking, ClientOptions
from smtpx.client.outgoing import Outgoing
from smtpx.client.pool_options import PoolOptions
from smtpx.errors import ConnectionLost, Delivery, SendError
from tests.chaos.clock import Stuck
from tests.chaos.ledger import Ledger
from tests.chaos.network import Network, WorldLoop
from tests.chaos.raw import RawClient
from tests.chaos.session import ChaosSession

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from smtpx.client.outgoing import Outcome
    from smtpx.wire.envelope import RecipientResult

__all__ = ["Verdict", "run_world"]

_URL: Final = "smtp+plain://192.0.2.25:2525"
_END: Final = 1_000.0 + 6 * 3_600
"""The server's sessions end after an hour here, and all clients give up before."""


@dataclass
class Verdict:
    """What came of a world.

    Attributes:
        seed: of it.
        faults: what should not be; empty if all is well.
        counts: of what happened.
        digest: of the trace, to compare two runs.
        trace: what the network saw.
    """

    seed: int
    faults: list[str]
    counts: Counter[str]
    digest: str
    trace: list[str]


class World:
    """One server, its clients, and what connects them."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chances = random.Random(f"world/{seed}")
        self.harm = self.chances.choice((0.0, 0.2, 0.5, 0.9))
        self.is_lmtp = self.chances.random() < 0.2
        self.ledger = Ledger()
        self.options = ClientOptions(
            hello_name="c.test",
            pipelining=self.chances.random() < 0.8,
            chunking=self.chances.choice((*Chunking,)),
        )
        limits = smtpx.Limits(
            max_errors=1_000, max_transactions=self.chances.choice((2, 10_000))
        )
        self.server_options = smtpx.ServerOptions(
            hostname="mx.test",
            lmtp=self.is_lmtp,
            limits=limits,
            timeouts=smtpx.ServerTimeouts(session=3_600.0),
            max_connections=self.chances.choice((2, 100)),
            read_ahead_octets=self.chances.choice((100, 65_536)),
        )

    def recipients(self) -> list[str]:
        """Choose some; those that begin with "no" will be refused."""
        count = self.chances.choice((1, 1, 2, 5))
        names = [self.chances.choice("abcdef") for _ in range(count)]
        names += ["nobody"] * (self.chances.random() < 0.2)
        return [f"{name}{number}@mx.test" for number, name in enumerate(names)]

    async def live(self, network: Network) -> None:
        """Serve and send, until all clients are done and the server is down."""
        seed = f"world/{self.seed}"

        def make(connection: smtpx.ConnectionInfo) -> ChaosSession:
            return ChaosSession(connection, self.ledger, seed, self.harm)

        server = smtpx.Server(make, network.door, options=self.server_options)
        await server.start()
        tasks = [
            asyncio.create_task(self.chances.choice(self._kinds())())
            for _ in range(self.chances.randint(1, 4))
        ]
        ending = asyncio.create_task(self._end_early(server))
        killer = asyncio.create_task(self._cancel_one(tasks))
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(
                result, asyncio.CancelledError
            ):
                self.ledger.faults.append(f"a client raised {result!r}")
        killer.cancel()
        ending.cancel()
        await asyncio.gather(ending, killer, return_exceptions=True)
        await server.close()
        self._check_server(server)

    def _check_server(self, server: smtpx.Server) -> None:
        if server.connections:
            self.ledger.faults.append(f"left over: {server.connections}")
        if self.ledger.sessions:
            self.ledger.faults.append(f"{self.ledger.sessions} sessions never closed")

    def _kinds(self) -> tuple[Callable[[], Coroutine[Any, Any, None]], ...]:
        usual = (self._send_singly, self._send_many, self._send_by_pool)
        return usual if self.is_lmtp else (*usual, self._send_raw)

    async def _end_early(self, server: smtpx.Server) -> None:
        """Shut the server down while it is in use, or not."""
        if self.chances.random() < 0.3:
            await asyncio.sleep(10 ** self.chances.uniform(-2, 3))
            self.ledger.counts["shutdown"] += 1
            await server.shutdown(self.chances.choice((0.0, 5.0, 100.0)))

    async def _cancel_one(self, tasks: list[asyncio.Task[None]]) -> None:
        """Cancel a client while it sends, or not."""
        if self.chances.random() < 0.3:
            await asyncio.sleep(10 ** self.chances.uniform(-2, 2.5))
            self.ledger.counts["client cancelled"] += 1
            self.chances.choice(tasks).cancel()

    # ------------------------------------------------------------------- the clients

    def _client(self) -> smtpx.AsyncClient:
        if self.is_lmtp:
            return smtpx.AsyncLMTPClient("lmtp://192.0.2.25:2525", options=self.options)
        return smtpx.AsyncClient(_URL, options=self.options)

    async def _send_singly(self) -> None:
        client = self._client()
        try:
            for _ in range(self.chances.randint(1, 5)):
                await self._send_one(client)
        finally:
            await client.quit()

    async def _send_one(self, client: smtpx.AsyncClient | smtpx.ClientPool) -> None:
        key, content = self.ledger.make(self.chances)
        try:
            result = await client.send(
                content, sender="s@c.test", recipients=self.recipients()
            )
        except SendError as error:
            results = error.results if isinstance(error, ConnectionLost) else ()
            self._report(key, error.delivery, results)
            return
        self._report(key, Delivery.DELIVERED, result.recipients)

    def _report(
        self, key: str, delivery: Delivery, results: Iterable[RecipientResult]
    ) -> None:
        of: dict[Delivery, list[str]] = {each: [] for each in Delivery}
        for result in results:
            of[result.delivery].append(result.recipient)
        accepted, unknown = of[Delivery.DELIVERED], of[Delivery.UNKNOWN]
        if accepted and unknown:
            self.ledger.counts["partly"] += 1
        self.ledger.report(key, delivery, tuple(accepted), tuple(unknown))

    async def _send_many(self) -> None:
        client = self._client()
        count = self.chances.randint(1, 30)
        retries = self.chances.random() < 0.5
        try:
            outgoing = [self._outgoing() for _ in range(count)]
            async with aclosing(
                client.send_many(outgoing, retry_not_sent=retries)
            ) as outcomes:
                async for outcome in outcomes:
                    self._take(outcome)
        except SendError:
            self.ledger.counts["send_many raised"] += 1
        finally:
            await client.quit()

    def _outgoing(self) -> Outgoing:
        key, content = self.ledger.make(self.chances)
        return Outgoing(content, "s@c.test", self.recipients(), key=key)

    def _take(self, outcome: Outcome) -> None:
        self._report(str(outcome.outgoing.key), outcome.delivery, outcome.recipients)

    async def _send_by_pool(self) -> None:
        options = PoolOptions(
            size=self.chances.choice((1, 3)),
            max_messages=self.chances.choice((1, 100)),
            queue_timeout=500.0,
        )
        url = _URL if not self.is_lmtp else "lmtp://192.0.2.25:2525"
        async with smtpx.ClientPool(
            url, options=options, client_options=self.options
        ) as pool:
            count = self.chances.randint(1, 8)
            async with asyncio.TaskGroup() as group:
                for _ in range(count):
                    group.create_task(self._send_one(pool))

    async def _send_raw(self) -> None:
        """Say whole transactions in one flight, and believe what comes back."""
        keys = [
            self.ledger.make(self.chances) for _ in range(self.chances.randint(1, 6))
        ]
        loop = asyncio.get_running_loop()
        sock = await self._dial(loop)
        if sock is None:
            return
        _, client = await loop.create_connection(RawClient, sock=sock)
        client.say(keys)
        try:
            async with asyncio.timeout(self.chances.choice((0.5, 30.0, 2_000.0))):
                await client.ended
        except TimeoutError:
            self.ledger.counts["raw gave up"] += 1
        finally:
            client.close()
        for key in client.acknowledged:
            self.ledger.report(key, Delivery.DELIVERED, ("b@mx.test",))

    async def _dial(self, loop: asyncio.AbstractEventLoop) -> socket.socket | None:
        assert isinstance(loop, WorldLoop)
        try:
            return await loop.network.connect()
        except OSError:
            return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Handlers fail by design here; their tracebacks are of no use."""
    log = logging.getLogger("smtpx")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def run_world(seed: int) -> Verdict:
    """Run one world to its end."""
    world = World(seed)
    loop = WorldLoop(random.Random(f"order/{seed}"), _END)
    loop.set_debug(False)  # which would take most of the time
    network = Network(loop, f"network/{seed}", world.harm)
    loop.network = network
    faults = world.ledger.faults
    with _quiet():
        try:
            loop.run_until_complete(world.live(network))
            loop.run_until_complete(asyncio.sleep(0))
            left = [repr(task) for task in asyncio.all_tasks(loop)]
            faults += [f"a task is left: {one}" for one in left]
            faults += network.find_open()
            faults += [f"a timer is left: {one}" for one in loop.leaked_timers()]
        except Stuck as error:
            faults.append(f"stuck: {error}")
            faults += [f"waits: {task}" for task in asyncio.all_tasks(loop)]
            _give_up(loop, network)
        finally:
            network.door.close()
            loop.close()
    faults += loop.faults
    faults += world.ledger.judge()
    trace = "\n".join(network.trace)
    counts = world.ledger.counts
    for line in network.trace:
        counts[line.split(maxsplit=2)[2].rstrip("0123456789 ")] += 1
    digest = sha256(
        f"{trace}{sorted(world.ledger.stored.items())}".encode()
    ).hexdigest()
    return Verdict(seed, faults, counts, digest, network.trace)


def _give_up(loop: WorldLoop, network: Network) -> None:
    """End what is left, so that the next world has a clean start."""
    for link in network.links:
        link.close_all()
    for task in asyncio.all_tasks(loop):
        task.cancel()

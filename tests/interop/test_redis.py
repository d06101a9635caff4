"""Rates that server processes share by a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import redis.asyncio as redis_client
from throttled.exceptions import StoreUnavailableError

from smtpx.server.limiters import RedisRateLimiter
from smtpx.server.rates import Decision, Rate
from tests.cli.processes import serving
from tests.interop.programs import HOST, START_SECONDS, open_directory
from tests.interop.redis import Redis, running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.interop

CLIENTS = 50
ADMITTED = 20
# One comes back after three minutes, which no test takes.
RATE = f"{ADMITTED}/hour"
# How long Redis is waited for that says nothing: longer than it takes on a busy
# machine to say something.
SILENCE_SECONDS = 5.0


@pytest.fixture
def redis() -> Iterator[Redis]:
    with open_directory() as directory, running_redis(directory) as server:
        yield server


class RateServer:
    """A process with a server, and what it logged."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        self.port = int(process.stdout.readline().rsplit(":", 1)[1])

    def stop(self) -> list[str]:
        """End it; return the lines of its log."""
        _, errors = self._process.communicate("", START_SECONDS)
        assert self._process.returncode == 0, errors
        return errors.splitlines()


@contextlib.contextmanager
def rate_server(
    redis: Redis,
    counted: str = "CONNECTIONS",
    *,
    policy: str = "open",
    patience: float = START_SECONDS,
) -> Iterator[RateServer]:
    command = [sys.executable, "-W", "error", "-m", "tests.interop.rate_server"]
    command += [redis.url, counted, RATE, policy, str(patience)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield RateServer(process)
        finally:
            process.kill()


async def reply(reader: asyncio.StreamReader) -> str:
    return (await reader.readuntil(b"\r\n")).decode().rstrip()


async def greeting(port: int) -> str:
    """Connect; return what the server says first."""
    async with asyncio.timeout(START_SECONDS):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            return await reply(reader)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def flood(ports: list[int], count: int = CLIENTS) -> Counter[str]:
    """Connect to all ports in turn, at once; count what is said by its code."""
    greetings = await asyncio.gather(
        *(greeting(ports[n % len(ports)]) for n in range(count))
    )
    return Counter(text[:3] for text in greetings)


async def send_mails(port: int, count: int) -> Counter[str]:
    """Say MAIL and RSET in one session, some times."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"HELO c.test\r\n" + b"MAIL FROM:<a@c.test>\r\nRSET\r\n" * count)
    replies = [await reply(reader) for _ in range(2 + 2 * count)]
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return Counter(text[:3] for text in replies[2::2])


def test_processes_admit_together_what_the_rate_allows(redis: Redis) -> None:
    with rate_server(redis) as one, rate_server(redis) as other:
        ports = [one.port, other.port]
        counts = asyncio.run(flood(ports))
        assert counts == {"220": ADMITTED, "421": CLIENTS - ADMITTED}
        # Whoever comes later to either of them is refused as well.
        for port in ports:
            said = asyncio.run(greeting(port))
            assert said.startswith("421 4.7.28 too many connections; retry after ")
            # The next is due in three minutes at the most.
            assert 1 <= int(said.split()[-2]) <= 180
        assert one.stop() == []
        assert other.stop() == []


def test_messages_of_all_sessions_are_counted(redis: Redis) -> None:
    async def scenario(ports: list[int]) -> Counter[str]:
        counts = await asyncio.gather(*(send_mails(ports[n % 2], 5) for n in range(10)))
        return sum(counts, Counter())

    with (
        rate_server(redis, "MESSAGES") as one,
        rate_server(redis, "MESSAGES") as other,
    ):
        counts = asyncio.run(scenario([one.port, other.port]))
        assert counts == {"250": ADMITTED, "450": CLIENTS - ADMITTED}
        assert one.stop() == other.stop() == []


@pytest.mark.parametrize(("policy", "code"), [("open", "220"), ("closed", "421")])
def test_redis_that_is_gone(policy: str, code: str) -> None:
    with open_directory() as directory:
        with running_redis(directory) as redis:
            server = contextlib.ExitStack()
            process = server.enter_context(rate_server(redis, policy=policy))
            assert asyncio.run(greeting(process.port))[:3] == "220"
        with server:
            said = asyncio.run(greeting(process.port))
            assert said[:3] == code
            assert asyncio.run(flood([process.port])) == {code: CLIENTS}
            # It is asked again when it is back, and has forgotten everything.
            with running_redis(directory, redis.port):
                asyncio.run(until_counted(process.port))
            log = process.stop()
    what = "let pass" if policy == "open" else "refused"
    shown = f"RedisRateLimiter('redis://{HOST}/0')"
    errors = [line for line in log if line.startswith("ERROR")]
    assert errors[0].startswith(f"ERROR {shown} does not tell, so clients are {what};")
    assert f"WARNING {shown} answers again" in log
    # Not a line for each of the fifty.
    assert len(log) <= 4


async def until_counted(port: int) -> None:
    """Connect until Redis refuses, once a second at the most since it is asked so."""
    async with asyncio.timeout(START_SECONDS):
        # The server says to nobody that it asks again.
        while "4.7.28" not in await greeting(port):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(("policy", "code"), [("open", "220"), ("closed", "421")])
def test_redis_that_says_nothing(redis: Redis, policy: str, code: str) -> None:
    with rate_server(redis, policy=policy, patience=SILENCE_SECONDS) as server:
        assert asyncio.run(greeting(server.port))[:3] == "220"
        with redis.stunned():
            said = asyncio.run(greeting(server.port))
            assert said[:3] == code
            assert asyncio.run(flood([server.port])) == {code: CLIENTS}
        asyncio.run(until_counted(server.port))
        log = server.stop()
    assert log[0].startswith("ERROR RedisRateLimiter(")
    assert len(log) <= 4


def test_a_decision_cut_short_spoils_nothing(redis: Redis) -> None:
    async def scenario() -> None:
        limiter = RedisRateLimiter(redis.url, timeout=START_SECONDS)
        rate = Rate(3, 3_600)
        assert await limiter.hit("ann", rate) == Decision(True, 2, 0.0)
        with redis.stunned():
            cut = [asyncio.create_task(limiter.peek("ann", rate)) for _ in range(40)]
            for task in cut:
                await asyncio.wait({task}, timeout=0.01)
                task.cancel()
        await asyncio.wait(cut)
        # The answers to those are not taken for answers to these.
        assert await limiter.peek("bob", rate) == Decision(True, 3, 0.0)
        assert (await limiter.hit("ann", rate)).remaining == 1
        await limiter.close()
        assert (await limiter.hit("ann", rate)).remaining == 0
        refused = await limiter.hit("ann", rate)
        assert not refused.is_allowed
        assert 1_100 < refused.retry_after <= 1_200
        assert 1_100 < (await limiter.peek("ann", rate)).retry_after <= 1_200
        await limiter.close()

    asyncio.run(scenario())


def test_the_workers_of_the_command_share_it(redis: Redis) -> None:
    with serving(
        *("127.0.0.1:0", "--workers", "2", "--unlimited-from", "none"),
        *("--redis", redis.url, "--redis-policy", "closed"),
        *("--rate", "connections=3/hour"),
    ) as it:
        codes = []
        for _ in range(12):
            with socket.create_connection(it.host_and_port) as client:
                codes.append(client.makefile("rb").read(3))
        it.stop()
    assert codes == [b"220"] * 3 + [b"421"] * 9


@pytest.mark.parametrize("value", ["hello", "", None])
def test_a_key_that_somebody_else_wrote(
    redis: Redis, value: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no outage: it is counted from zero there, and nobody else notices."""

    async def scenario() -> None:
        limiter, rate = RedisRateLimiter(redis.url, timeout=30), Rate(3, 3_600)
        client = redis_client.Redis.from_url(redis.url)
        await limiter.hit("ann", rate)
        await limiter.hit("bob", rate)
        (key,) = await client.keys("*ann")
        for ask, left in ((limiter.hit, 2), (limiter.peek, 3)):
            await client.delete(key)
            if value is None:
                await client.xadd(key, {"of another": "type"})
            else:
                await client.set(key, value)
            caplog.clear()
            assert await ask("ann", rate) == Decision(True, left, 0.0)
            (record,) = caplog.records
            assert record.levelname == "ERROR"
            assert key.decode() in record.getMessage()
        assert (await limiter.hit("ann", rate)).remaining == 2
        assert (await limiter.hit("bob", rate)).remaining == 1
        await client.aclose()
        await limiter.close()

    asyncio.run(scenario())


def test_a_redis_that_is_full_is_an_outage(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        limiter, rate = RedisRateLimiter(redis.url, timeout=30), Rate(3, 3_600)
        client = redis_client.Redis.from_url(redis.url)
        await limiter.hit("ann", rate)
        await client.config_set("maxmemory", 1)
        for key in ("ann", "bob"):
            with pytest.raises(StoreUnavailableError):
                await limiter.hit(key, rate)
        await client.config_set("maxmemory", 0)
        # And nothing was deleted.
        assert not caplog.records
        assert (await limiter.hit("ann", rate)).remaining == 1
        await client.aclose()
        await limiter.close()

    asyncio.run(scenario())

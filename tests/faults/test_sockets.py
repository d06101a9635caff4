"""The faults of the matrix over real sockets, for both fronts and for the pools."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from smtpx.client.aio_pool import ClientPool
from smtpx.client.blocking_pool import BlockingClientPool
from smtpx.client.options import ClientOptions, Timeouts, TLSMode
from smtpx.client.outgoing import Outcome, Outgoing
from smtpx.client.pool_options import PoolOptions
from smtpx.errors import Delivery, SendError
from smtpx.wire.envelope import RecipientResult, SendResult
from smtpx.wire.replies import Reply
from tests.client.test_pool import open_descriptors
from tests.faults.cells import CONTENTS, LIMITS, ONCE, RECIPIENTS, WAYS, letters
from tests.faults.peer import Fault, Peer
from tests.faults.sockets import SocketPeer
from tests.faults.verdict import judge

if TYPE_CHECKING:
    from tests.client.conftest import Certificates, Front

STEPS = ("command", "mail", "rcpt", "data_start", "data_block", "data_end", "quit")
# What a client waits for a peer that says nothing more: little, but where the machine
# is so busy that it loses its patience before the fault.
IMPATIENCES = [Timeouts(**dict.fromkeys(STEPS, wait)) for wait in (0.3, 3.0, 30.0)]
UNREAD = Reply(550, None, "whatever was said")


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """See that every socket is closed."""
    before = open_descriptors()
    yield
    gc.collect()
    assert open_descriptors() == before


def make_peer(way: str, fault: Fault, contents: Mapping[int, bytes] = CONTENTS) -> Peer:
    chances = random.Random(f"{way} {fault}")
    kind = WAYS[way]
    limits = LIMITS["plain"]
    return Peer(kind.keywords, contents, limits, fault, chances, is_lmtp=kind.is_lmtp)


def make_options(
    context: Certificates | None, timeouts: Timeouts | None = None
) -> ClientOptions:
    if context is None:
        return ClientOptions(hello_name="c.test", timeouts=timeouts or Timeouts())
    return ClientOptions(
        hello_name="c.test",
        timeouts=timeouts or Timeouts(),
        tls=TLSMode.IMPLICIT,
        tls_context=context.client,
    )


def send(
    front: Front,
    peer: Peer,
    certificates: Certificates | None,
    source: Iterator[Outgoing],
    timeouts: Timeouts | None = None,
) -> tuple[list[Outcome], SendError | None]:
    """Send with a front, and connect again; return outcomes and what was raised."""
    outcomes: list[Outcome] = []
    context = None if certificates is None else certificates.server
    server = SocketPeer(peer, context)

    async def scenario() -> SendError | None:
        url = server.url(is_lmtp=peer.is_lmtp)
        options = make_options(certificates, timeouts)
        async with front.client(url, lmtp=peer.is_lmtp, options=options) as client:
            run = client.send_many(source, retry_not_sent=True)
            try:
                if isinstance(run, AsyncGenerator):
                    async for outcome in run:
                        outcomes.append(outcome)  # noqa: PERF401 - kept if it raises
                else:
                    outcomes.extend(await run)
            except SendError as error:
                return error
        if front.name != "blocking":
            assert len(asyncio.all_tasks()) == 1
        return None

    with server.running():
        error = front.run(scenario)
    return outcomes, error


@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize("kind", ["cut", "reset", "421", "450", "garbage"])
def test_what_is_told_is_true(
    front: Front, certificates: Certificates, kind: str, is_tls: bool
) -> None:
    chances = random.Random(f"{kind} {is_tls}")
    # There is no URL for LMTP under TLS.
    ways = [way for way in WAYS if not (is_tls and WAYS[way].is_lmtp)]
    for side in ("in", "out"):
        fault = Fault(kind, side, chances.randrange(150, 1500))
        peer = make_peer(chances.choice(ways), fault)
        context = certificates if is_tls else None
        outcomes, error = send(front, peer, context, letters("plain"))
        assert error is None
        assert peer.has_struck
        verdict = judge(
            peer,
            outcomes,
            keys=[outcome.outgoing.key for outcome in outcomes],
            recipients=RECIPIENTS,
        )
        assert verdict.wrong == []
        assert verdict.keys["not sent"] - verdict.withdrawn <= ONCE


@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize(("kind", "side"), [("stall", "out"), ("deaf", "in")])
def test_a_peer_that_says_no_more(
    front: Front, certificates: Certificates, kind: str, side: str, is_tls: bool
) -> None:
    context = certificates if is_tls else None
    for impatience in IMPATIENCES:
        peer = make_peer("smtp-bdat", Fault(kind, side, 800))
        source = letters("plain")
        outcomes, _ = send(front, peer, context, source, impatience)
        keys = [outcome.outgoing.key for outcome in outcomes]
        keys += [outgoing.key for outgoing in source]
        assert judge(peer, outcomes, keys=keys, recipients=RECIPIENTS).wrong == []
        if peer.has_struck:
            return
    pytest.fail("the fault did not strike")


BIG = {key: b"%d\r\n" % key + (b"x" * 98 + b"\r\n") * 2_000 for key in range(30)}


def test_a_peer_that_reads_no_more(front: Front) -> None:
    """All that is on the way fills every buffer, so the client cannot write."""
    for impatience in IMPATIENCES:
        peer = make_peer("smtp-bdat", Fault("deaf", "in", 450_000), BIG)
        source = iter(
            [
                Outgoing(octets, "a@c.test", f"{key}.0@b.test", key=key)
                for key, octets in BIG.items()
            ]
        )
        outcomes, _ = send(front, peer, None, source, impatience)
        keys = [outcome.outgoing.key for outcome in outcomes]
        keys += [outgoing.key for outgoing in source]
        verdict = judge(peer, outcomes, keys=keys, recipients=dict.fromkeys(BIG, 1))
        assert verdict.wrong == []
        if peer.has_struck:
            return
    pytest.fail("the fault did not strike")


# --- Pools. ---

COUNT = 60
POOL_CONTENTS = {key: b"%d\r\n.\r\n" % key for key in range(COUNT)}


def outcome_of(outgoing: Outgoing, told: SendResult | SendError) -> Outcome:
    """Make of what a pool told what `send_many` would have."""
    if isinstance(told, SendResult):
        return Outcome(outgoing, Delivery.DELIVERED, told.recipients)
    reply = (told.reply or UNREAD) if told.delivery is Delivery.REFUSED else None
    result = RecipientResult(
        str(outgoing.recipients),
        reply,
        is_accepted=False,
        is_unknown=told.delivery is Delivery.UNKNOWN,
    )
    assert told.delivery is not Delivery.DELIVERED
    return Outcome(outgoing, told.delivery, (result,), error=told)


def send_in_tasks(url: str, options: ClientOptions) -> list[SendResult | SendError]:
    async def main() -> list[SendResult | SendError]:
        pool = ClientPool(url, options=POOL, client_options=options)

        async def send_one(key: int) -> SendResult | SendError:
            try:
                return await pool.send(POOL_CONTENTS[key], **envelope(key))
            except SendError as error:
                return error

        async with pool:
            told = await asyncio.gather(*map(send_one, POOL_CONTENTS))
        assert len(asyncio.all_tasks()) == 1
        return told

    return asyncio.run(main())


def send_in_threads(url: str, options: ClientOptions) -> list[SendResult | SendError]:
    pool = BlockingClientPool(url, options=POOL, client_options=options)

    def send_one(key: int) -> SendResult | SendError:
        try:
            return pool.send(POOL_CONTENTS[key], **envelope(key))
        except SendError as error:
            return error

    with pool, ThreadPoolExecutor(16) as threads:
        return list(threads.map(send_one, POOL_CONTENTS))


def envelope(key: int) -> dict[str, Any]:
    return {"sender": "a@c.test", "recipients": f"{key}.0@b.test"}


SendAll: TypeAlias = Callable[[str, ClientOptions], list[SendResult | SendError]]
POOL = PoolOptions(size=4, retry_delay=0.001)


@pytest.mark.parametrize("send_all", [send_in_tasks, send_in_threads])
@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize("kind", ["cut", "reset", "421", "450", "550", "garbage"])
def test_what_a_pool_tells_is_true(
    send_all: SendAll, certificates: Certificates, kind: str, is_tls: bool
) -> None:
    chances = random.Random(f"pool {kind} {is_tls}")
    way = chances.choice(("smtp-bdat", "smtp-data"))
    fault = Fault(kind, "in", chances.randrange(200, 3000))
    peer = make_peer(way, fault, POOL_CONTENTS)
    server = SocketPeer(peer, certificates.server if is_tls else None)
    with server.running():
        told = send_all(server.url(), make_options(certificates if is_tls else None))
    outcomes = [
        outcome_of(Outgoing(octets, **envelope(key), key=key), one)
        for (key, octets), one in zip(POOL_CONTENTS.items(), told, strict=True)
    ]
    assert peer.has_struck
    verdict = judge(
        peer,
        outcomes,
        keys=list(POOL_CONTENTS),
        recipients=dict.fromkeys(POOL_CONTENTS, 1),
    )
    assert verdict.wrong == []
    assert verdict.told["delivered"] >= COUNT - 4

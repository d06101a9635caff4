"""Whatever fails, wherever: what is reported of a message is what became of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from smtpx.client.conversation import Conversation
from smtpx.client.options import Chunking, ClientOptions
from smtpx.client.outgoing import Outcome, Outgoing, SendWindow
from smtpx.core.config import ServerConfig
from smtpx.errors import Delivery, SendError
from tests.client.faults import KINDS, Fault, FaultyServer
from tests.client.scripted import LMTPConversation, step

if TYPE_CHECKING:
    from collections.abc import Sequence

MESSAGES = 50
# Where the suite strikes; `slow` does at each octet.
SAMPLE = 12

CONFIGS = {
    "chunking": ServerConfig(hostname="mx.test"),
    "pipelining": ServerConfig(hostname="mx.test"),
    "lmtp": ServerConfig(hostname="mx.test", is_lmtp=True),
    "lock-step": ServerConfig(hostname="mx.test"),
}
OPTIONS = {
    "chunking": ClientOptions(hello_name="c.test"),
    "pipelining": ClientOptions(hello_name="c.test", chunking=Chunking.NEVER),
    "lmtp": ClientOptions(hello_name="c.test"),
    "lock-step": ClientOptions(hello_name="c.test", pipelining=False),
}


def letters() -> Iterator[Outgoing]:
    """Yield messages of all kinds: streams, several recipients, all of them or none."""
    for key in range(MESSAGES):
        octets = b"X-Key: %d\r\n\r\n" % key + b"." * (key % 5) + b"\r\n"
        message = [octets[:9], octets[9:]] if key % 7 == 3 else octets
        yield Outgoing(
            message,
            "a@a.test",
            [f"r{number}@b.test" for number in range(1 + key % 3)],
            require_all=key % 11 == 5,
            key=key,
        )


class Run:
    """One run, and what came of it."""

    def __init__(
        self, mode: str, fault: Fault | None, *, seed: int, retry: bool
    ) -> None:
        generator = random.Random(seed)
        self.server = FaultyServer(CONFIGS[mode], fault, generator)
        kind = LMTPConversation if mode == "lmtp" else Conversation
        url = "lmtp://mx.test" if mode == "lmtp" else "smtp+plain://mx.test"
        client = kind(self.server, url, OPTIONS[mode], None, None)
        width = generator.choice((1, 3, 10, 60))
        window = SendWindow(max_messages=width, start_messages=width)
        self.outcomes: list[Outcome] = []
        self.error: BaseException | None = None

        async def main() -> None:
            run = client.send_many(letters(), retry_not_sent=retry, window=window)
            try:
                async for outcome in run:
                    self.outcomes.append(outcome)
            except SendError as error:
                self.error = error

        step(main())

    def keys(self, delivery: Delivery) -> set[object]:
        return {
            outcome.outgoing.key
            for outcome in self.outcomes
            if outcome.delivery is delivery
        }

    def check(self) -> None:
        """Hold what was reported against what the server knows."""
        stored = set(self.server.stored)
        assert len(stored) == len(self.server.stored), "one arrived twice"
        keys = [outcome.outgoing.key for outcome in self.outcomes]
        assert keys == list(range(len(keys)))
        assert self.keys(Delivery.DELIVERED) == self.server.heard
        unknown = self.keys(Delivery.UNKNOWN)
        assert stored - self.server.heard <= unknown
        assert not stored & (self.keys(Delivery.NOT_SENT) | self.keys(Delivery.REFUSED))
        if self.error is None:
            assert len(keys) == MESSAGES
        for outcome in self.outcomes:
            is_known = outcome.delivery is Delivery.DELIVERED and not outcome.unknown
            assert (outcome.error is None) == is_known


def octets_of(mode: str, *, is_output: bool) -> int:
    """Return how many octets a run without a fault takes, at most."""
    run = Run(mode, None, seed=0, retry=False)
    run.check()
    assert run.keys(Delivery.DELIVERED) == set(range(MESSAGES))
    (channel,) = run.server.connections
    return channel.read if is_output else channel.taken


def strike(mode: str, kind: str, octets: Sequence[int], *, retry: bool) -> None:
    for octet in octets:
        fault = Fault(kind, octet)
        run = Run(mode, fault, seed=octet, retry=retry)
        try:
            run.check()
            assert fault.has_struck or octet > 4000
            if retry and octet > 500:
                assert run.error is None
                assert not run.keys(Delivery.NOT_SENT)
        except AssertionError as error:
            error.add_note(f"{mode}, {kind} at octet {octet}")
            raise


@pytest.mark.parametrize("retry", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", CONFIGS)
def test_faults_at_some_octets(mode: str, kind: str, retry: bool) -> None:
    total = octets_of(mode, is_output=kind.startswith("cut"))
    generator = random.Random(f"{mode} {kind}")
    octets = generator.sample(range(total), SAMPLE)
    strike(mode, kind, octets, retry=retry)


@pytest.mark.slow
@pytest.mark.parametrize("retry", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", CONFIGS)
def test_faults_at_every_octet(mode: str, kind: str, retry: bool) -> None:
    total = octets_of(mode, is_output=kind.startswith("cut"))
    strike(mode, kind, range(total), retry=retry)

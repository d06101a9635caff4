"""What a mechanism is made of: one step after another, and none out of turn."""

from __future__ import annotations

import pytest

from smtpx.sasl.mechanism import (
    Challenge,
    ClientContext,
    DescribeSession,
    Failure,
    SessionFacts,
    Step,
    SteppedServer,
)
from tests.sasl.conversing import FACTS


class Stepped(SteppedServer):
    """Asks for the facts, then challenges once."""

    name = "X-STEPPED"
    shows_password = False

    def _take_first(self, response: bytes) -> Step:
        return self._describe(self._take_facts, "tls-unique")

    def _take_facts(self, facts: SessionFacts) -> Step:
        return self._challenge(facts.nonce, self._take_last)

    def _take_last(self, response: bytes) -> Step:
        return Failure("no")


def test_steps_in_their_order() -> None:
    server = Stepped()
    assert server.start(None) == Challenge(b"")
    assert server.respond(b"") == DescribeSession("X-STEPPED", "tls-unique")
    assert server.resume(FACTS) == Challenge(FACTS.nonce)
    assert server.respond(b"") == Failure("no")
    with pytest.raises(RuntimeError, match="waits for no response"):
        server.respond(b"")


def test_steps_out_of_turn() -> None:
    server = Stepped()
    with pytest.raises(RuntimeError, match="X-STEPPED asked no question"):
        server.resume(FACTS)
    server.start(b"")
    with pytest.raises(RuntimeError, match="X-STEPPED waits for no response"):
        server.respond(b"")
    server.resume(FACTS)
    with pytest.raises(RuntimeError, match="asked no question"):
        server.resume(FACTS)


@pytest.mark.parametrize("answer", [None, True, b"nonce"])
def test_facts_are_facts(answer: object) -> None:
    server = Stepped()
    server.start(b"")
    with pytest.raises(TypeError, match="answered with SessionFacts"):
        server.resume(answer)


def test_secrets_show_nowhere() -> None:
    facts = SessionFacts(
        nonce=b"NONCE",
        secret=b"SECRET",
        unix_time=0,
        hostname="mx",
        channel_bindings=(b"BINDING",),
    )
    context = ClientContext(nonce=b"NONCE", channel_bindings={"x": b"BINDING"})
    for shown in (repr(facts), repr(context)):
        assert "NONCE" not in shown
        assert "SECRET" not in shown
        assert "BINDING" not in shown

"""The SASL exchange of a server over AUTH (RFC 4954 section 4)."""

from __future__ import annotations

import base64

import pytest

from smtpx.core.exchange import SaslExchange
from smtpx.sasl.login import LoginServer
from smtpx.sasl.mechanism import (
    Challenge,
    CheckPassword,
    Failure,
    Identity,
    ServerMechanism,
    Step,
    Success,
)
from smtpx.sasl.plain import PlainServer
from smtpx.wire.replies import AUTH_CANCELLED, AUTH_FAILED, BAD_BASE64, Reply

TIM = Identity("tim", "", "TEST")


class Scripted(ServerMechanism):
    """A mechanism that takes the steps it is given, and keeps what it heard."""

    name = "TEST"
    shows_password = False

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.heard: list[object] = []

    def start(self, initial_response: bytes | None) -> Step:
        return self.respond(initial_response or b"nothing")

    def respond(self, response: bytes) -> Step:
        self.heard.append(response)
        return self.steps.pop(0)

    def resume(self, answer: object) -> Step:
        self.heard.append(answer)
        return self.steps.pop(0)


def test_plain_with_initial_response() -> None:
    exchange = SaslExchange(PlainServer())
    assert exchange.start(b"\0tim\0secret") == CheckPassword("tim", "secret", "")
    assert exchange.resume(True) == Identity("tim", "", "PLAIN")


def test_login_asks_twice() -> None:
    exchange = SaslExchange(LoginServer())
    assert exchange.start(None) == Reply(334, None, "VXNlcm5hbWU6")
    assert exchange.respond(b"dGlt") == Reply(334, None, "UGFzc3dvcmQ6")
    assert exchange.respond(b"c2VjcmV0") == CheckPassword("tim", "secret", "")
    assert exchange.resume(False) == AUTH_FAILED


def test_empty_challenge_has_its_space() -> None:
    challenge = SaslExchange(PlainServer()).start(None)
    assert isinstance(challenge, Reply)
    assert challenge.encode() == b"334 \r\n"


def test_long_challenge_is_one_line() -> None:
    data = bytes(9_000)
    challenge = SaslExchange(Scripted(Challenge(data))).start(None)
    assert isinstance(challenge, Reply)
    assert challenge.encode() == b"334 %b\r\n" % base64.b64encode(data)


def test_cancelled() -> None:
    exchange = SaslExchange(LoginServer())
    exchange.start(None)
    assert exchange.respond(b"*") == AUTH_CANCELLED


@pytest.mark.parametrize("line", [b"!", b"A", b"AAA", b"=", b"* ", b"**", b"\xff"])
def test_bad_base64(line: bytes) -> None:
    mechanism = Scripted(Challenge(b""))
    exchange = SaslExchange(mechanism)
    exchange.start(None)
    assert exchange.respond(line) == BAD_BASE64
    assert mechanism.heard == [b"nothing"]


def test_empty_response_is_heard() -> None:
    mechanism = Scripted(Challenge(b"a"), Failure("no"))
    exchange = SaslExchange(mechanism)
    exchange.start(b"hi")
    assert exchange.respond(b"") == AUTH_FAILED
    assert mechanism.heard == [b"hi", b""]


def test_data_with_success_takes_a_round_trip() -> None:
    exchange = SaslExchange(Scripted(Success(TIM, b"proof")))
    assert exchange.start(b"x") == Reply(334, None, "cHJvb2Y=")
    assert exchange.respond(b"") == TIM


def test_nothing_may_answer_data_with_success() -> None:
    exchange = SaslExchange(Scripted(Success(TIM, b"proof")))
    exchange.start(b"x")
    assert exchange.respond(b"eA==") == AUTH_FAILED


def test_data_with_success_can_be_cancelled() -> None:
    exchange = SaslExchange(Scripted(Success(TIM, b"proof")))
    exchange.start(b"x")
    assert exchange.respond(b"*") == AUTH_CANCELLED


def test_success_without_data() -> None:
    assert SaslExchange(Scripted(Success(TIM))).start(None) == TIM


def test_a_server_that_speaks_first_takes_no_initial_response() -> None:
    class First(Scripted):
        speaks_first = True

    assert SaslExchange(First()).start(b"") == Reply(
        501, "5.7.0", "this mechanism has no initial response"
    )
    challenge = SaslExchange(First(Challenge(b"hi"))).start(None)
    assert challenge == Reply(334, None, "aGk=")

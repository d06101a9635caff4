"""ANONYMOUS: the example of the RFC, and what a client may say of itself."""

from __future__ import annotations

import pytest

from smtpx.errors import SASLError
from smtpx.sasl.anonymous import AdmitAnonymous, AnonymousClient, AnonymousServer
from smtpx.sasl.mechanism import (
    Challenge,
    Credentials,
    Failure,
    Identity,
    Step,
    Success,
)
from tests.sasl.conversing import converse

ANONYMOUS = Success(Identity("anonymous", "", "ANONYMOUS"))


def test_example_of_the_rfc() -> None:
    """RFC 4505 section 4."""
    server = AnonymousServer()
    assert server.start(None) == Challenge(b"")
    assert server.respond(b"sirhc") == AdmitAnonymous("sirhc")
    assert server.resume(True) == ANONYMOUS


@pytest.mark.parametrize("trace", ["", "sirhc", "a@example.com", "gr\u00e5"])
def test_both_ends(trace: str) -> None:
    asked = []
    client = AnonymousClient(Credentials(trace, ""))
    outcome = converse(
        AnonymousServer(),
        client,
        lambda question: asked.append(question) or True,  # type: ignore[func-returns-value]
    )
    assert outcome.is_success
    assert outcome.step == ANONYMOUS
    assert asked == [AdmitAnonymous(trace)]


@pytest.mark.parametrize("answer", [None, False, 1, "yes", object()])
def test_only_true_lets_in(answer: object) -> None:
    client = AnonymousClient(Credentials("", ""))
    outcome = converse(AnonymousServer(), client, lambda _: answer)
    assert outcome.step == Failure("not admitted")


@pytest.mark.parametrize(
    ("response", "step"),
    [
        (b"x" * 255, AdmitAnonymous("x" * 255)),
        (
            b"x" * 256,
            Failure("the trace text is empty or longer than 255 characters"),
        ),
        (b"\xff", Failure("malformed trace text")),
        (b"a\0b", Failure("malformed trace text")),
        (
            b"a\nb",
            Failure("the trace text holds a control or another prohibited character"),
        ),
    ],
)
def test_traces(response: bytes, step: Step) -> None:
    assert AnonymousServer().start(response) == step


def test_client_out_of_step() -> None:
    client = AnonymousClient(Credentials("sirhc", ""))
    with pytest.raises(SASLError, match="out of step"):
        client.succeed()
    client.start()
    with pytest.raises(SASLError, match="which ANONYMOUS has not"):
        client.respond(b"")
    with pytest.raises(SASLError, match="out of step"):
        client.succeed(b"x")
    with pytest.raises(SASLError, match="trace text"):
        AnonymousClient(Credentials("a\nb", "")).start()

"""EXTERNAL: the examples of the RFC, and who may not."""

from __future__ import annotations

import pytest

from smtpx.errors import SASLError
from smtpx.sasl.external import ExternalClient, ExternalServer, IdentifyChannel
from smtpx.sasl.mechanism import (
    Challenge,
    Credentials,
    Failure,
    Identity,
    Step,
    Success,
)
from tests.sasl.conversing import converse


def test_examples_of_the_rfc() -> None:
    """RFC 4422 appendix A.2: without a name and deferred, then with one."""
    server = ExternalServer()
    assert server.start(None) == Challenge(b"")
    assert server.respond(b"") == IdentifyChannel("")
    assert server.resume("fred") == Success(Identity("fred", "", "EXTERNAL"))
    server = ExternalServer()
    assert server.start(b"fred@example.com") == IdentifyChannel("fred@example.com")
    assert server.resume(None) == Failure("the channel does not tell who the client is")


@pytest.mark.parametrize("name", ["", "fred@example.com", "gr\u00e5"])
def test_both_ends(name: str) -> None:
    client = ExternalClient(Credentials("ignored", "", name))
    outcome = converse(ExternalServer(), client, lambda _: "fred")
    assert outcome.is_success
    assert outcome.step == Success(Identity("fred", name, "EXTERNAL"))
    assert outcome.messages == (name.encode(),)


@pytest.mark.parametrize("answer", [None, "", True, b"fred", object()])
def test_only_a_name_lets_in(answer: object) -> None:
    client = ExternalClient(Credentials("", ""))
    assert not converse(ExternalServer(), client, lambda _: answer).is_success


@pytest.mark.parametrize(
    ("response", "step"),
    [
        (b"a", IdentifyChannel("a")),
        (b"a\0b", Failure("malformed name")),
        (b"\xff", Failure("malformed name")),
        (b"a\nb", Failure("malformed name")),
    ],
)
def test_names(response: bytes, step: Step) -> None:
    assert ExternalServer().start(response) == step


def test_client_out_of_step() -> None:
    client = ExternalClient(Credentials("", ""))
    with pytest.raises(SASLError, match="out of step"):
        client.succeed()
    client.start()
    with pytest.raises(SASLError, match="which EXTERNAL has not"):
        client.respond(b"")
    with pytest.raises(SASLError, match="out of step"):
        client.succeed(b"x")
    with pytest.raises(SASLError, match="authorize_as name"):
        ExternalClient(Credentials("", "", "a\0b")).start()

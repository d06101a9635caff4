"""SASL: whatever the other end says, a step or the documented error comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fuzz.source import Source
from smtpx.errors import SASLError
from smtpx.sasl.mechanism import (
    Challenge,
    ClientContext,
    ClientMechanism,
    Credentials,
    Failure,
    Proof,
    Question,
    ServerMechanism,
    Step,
    Success,
)
from smtpx.sasl.registry import CLIENT_MECHANISMS, SERVER_MECHANISMS
from tests.core.judged import PASSWORD, TOKEN, USER, answer_of

__all__ = ["make_client_target", "make_server_target"]

_CONTEXT: Final = ClientContext(
    nonce=b"fyko+d2lbbFgONRv9qkxdawL",
    host="mx.test",
    port=587,
    channel_bindings={"tls-exporter": b"x" * 32},
)


def make_server_target(kind: type[ServerMechanism]) -> Callable[[bytes], None]:
    """Make the target of a mechanism's server."""

    def server(octets: bytes) -> None:
        source = Source(octets)
        mechanism = kind()
        step = _settle(
            mechanism, mechanism.start(source.word() if source.flag() else None)
        )
        for _ in range(5):
            if not isinstance(step, Challenge):
                break
            assert isinstance(step.data, bytes)
            step = _settle(mechanism, mechanism.respond(source.word()))
        else:
            # No exchange is longer than SCRAM's, in which the client speaks thrice.
            raise AssertionError(f"{kind.name} asks for ever")
        if isinstance(step, Success):
            assert step.identity.mechanism == kind.name
        else:
            assert isinstance(step, Failure)
            assert PASSWORD not in step.text

    server.__doc__ = f"The server's end of {kind.name}."
    return server


def _settle(mechanism: ServerMechanism, step: Step) -> Step:
    while isinstance(step, Question):
        assert PASSWORD not in repr(step) or "password=" not in repr(step)
        step = mechanism.resume(answer_of(step))
    return step


def make_client_target(kind: type[ClientMechanism]) -> Callable[[bytes], None]:
    """Make the target of a mechanism's client."""
    secret = TOKEN if kind.proof is Proof.TOKEN else PASSWORD

    def client(octets: bytes) -> None:
        source = Source(octets)
        mechanism = kind(Credentials(USER, secret), _CONTEXT)
        try:
            mechanism.start()
            while not source.is_empty:
                assert isinstance(mechanism.respond(source.word()), bytes)
            mechanism.succeed(source.word() or None)
        except SASLError as error:
            assert secret not in str(error)
            return
        # A server that never proved itself is not the server (RFC 5802 section 3).
        assert not kind.name.startswith("SCRAM")

    client.__doc__ = f"The client's end of {kind.name}."
    return client


assert SERVER_MECHANISMS.keys() == CLIENT_MECHANISMS.keys()

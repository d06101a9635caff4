"""Both ends of a mechanism joined back to back, with what a server would answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpx.errors import SASLError
from smtpx.sasl.mechanism import (
    Challenge,
    DescribeSession,
    Failure,
    Question,
    SessionFacts,
    Success,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpx.sasl.mechanism import ClientMechanism, ServerMechanism, Step

NONCE = b"3rfcNHYJY1ZVvWVs7j"
FACTS = SessionFacts(
    nonce=NONCE, secret=b"k" * 32, unix_time=697170952, hostname="mx.test"
)


@dataclass(frozen=True)
class Outcome:
    """How an exchange ended."""

    step: Step
    is_client_satisfied: bool
    messages: tuple[bytes, ...]

    @property
    def is_success(self) -> bool:
        """Whether both ends think so: who trusts but one end is not authenticated."""
        return isinstance(self.step, Success) and self.is_client_satisfied


def unchanged(_index: int, message: bytes) -> bytes:
    return message


def converse(
    server: ServerMechanism,
    client: ClientMechanism,
    answer: Callable[[Question], object],
    *,
    facts: SessionFacts = FACTS,
    change: Callable[[int, bytes], bytes] = unchanged,
) -> Outcome:
    """Run an exchange as SMTP does: data that come with success are a challenge.

    Args:
        server: the one end.
        client: the other.
        answer: to the questions about users.
        facts: of the session.
        change: gets the number of each message, and returns what arrives.
    """
    messages: list[bytes] = []

    def carry(message: bytes) -> bytes:
        messages.append(message)
        return change(len(messages) - 1, message)

    def settle(step: Step) -> Step:
        while isinstance(step, Question):
            is_ours = isinstance(step, DescribeSession)
            step = server.resume(facts if is_ours else answer(step))
        return step

    step: Step
    try:
        first = client.start()
        step = settle(server.start(None if first is None else carry(first)))
        while isinstance(step, Challenge):
            response = client.respond(carry(step.data))
            step = settle(server.respond(carry(response)))
        if isinstance(step, Success):
            if step.data is not None:
                client.respond(carry(step.data))
            client.succeed()
    except SASLError:
        return Outcome(
            step=Failure("client"), is_client_satisfied=False, messages=tuple(messages)
        )
    return Outcome(step, isinstance(step, Success), tuple(messages))

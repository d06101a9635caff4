"""What the servers of others refuse when they are asked to: who says what, by address.

A server is set up so that it refuses MAIL by 550 if the sender is
``mail550@example.com``, the end of data by 450 if it is ``end450@example.com``, RCPT if
the recipient is ``rcpt450@example.com``, and so on; and all clients, at a port of its
own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.interop.names import SENDER, USER

if TYPE_CHECKING:
    from collections.abc import Iterable

DOMAIN = "example.com"
CONNECTION = "connection"
# What each server is set up to refuse by a code, if it can be.
SENDERS = [(stage, code) for stage in ("MAIL", "DATA", "end") for code in (450, 550)]
RECIPIENTS = [("RCPT", code) for code in (421, 450, 550)]
ALL = [*SENDERS, *RECIPIENTS]


@dataclass(frozen=True)
class Refusal:
    """How to be refused.

    Attributes:
        code: what is said, at the least its first digit.
        words: what is said, too.
        url: of a server, or a port, that does nothing else.
    """

    code: int
    words: str
    sender: str = SENDER
    recipient: str = USER
    url: str = ""


def words_of(stage: str) -> str:
    return f"no {stage} today"


def address_of(stage: str, code: int) -> str:
    return f"{stage.lower()}{code}@{DOMAIN}"


def by_addresses(kinds: Iterable[tuple[str, int]]) -> dict[str, Refusal]:
    """Return refusals by what stands in the table: ``450 to MAIL``."""
    found = {}
    for stage, code in kinds:
        address, words = address_of(stage, code), words_of(stage)
        name = f"{code} to {stage}"
        if stage == "RCPT":
            found[name] = Refusal(code, words, recipient=address)
        else:
            found[name] = Refusal(code, words, sender=address)
    return found

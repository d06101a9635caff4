"""What a check is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from smtpx.probe.bench import Bench
    from smtpx.probe.findings import Finding
    from smtpx.wire.replies import Reply

__all__ = ["Check", "Need", "said"]

Examine: TypeAlias = "Callable[[Bench], Iterator[Finding]]"


class Need(Enum):
    """What a check cannot be made without."""

    NOTHING = "nothing"
    RECIPIENT = "recipient"
    """Somebody who is named in RCPT; nothing is delivered."""
    DELIVERY = "delivery"
    """Somebody who gets messages."""
    LOGIN = "login"
    """Somebody to log in as."""
    LEAVE = "leave"
    """Leave to ask for relaying."""


@dataclass(frozen=True, slots=True)
class Check:
    """A question to a server.

    Attributes:
        name: as in ``starttls-injection``.
        title: for people.
        reference: the section that decides.
        examine: asks, and yields what it finds.
        need: what it cannot be made without.
    """

    name: str
    title: str
    reference: str
    examine: Examine
    need: Need = Need.NOTHING


def said(reply: Reply) -> str:
    r"""Write a reply on one line, shortened.

    Args:
        reply: of the server.

    >>> from smtpx.wire.replies import Reply
    >>> said(Reply(250, "2.0.0", "first\nsecond"))
    '250 2.0.0 first'
    """
    text = str(reply).split("\n")[0]
    shown = "".join(one if one.isprintable() else "?" for one in text)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


_SHOWN = 100

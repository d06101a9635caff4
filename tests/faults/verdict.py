"""What must hold of a run, whatever went wrong in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from smtpx.errors import Delivery

if TYPE_CHECKING:
    from smtpx.client.outgoing import Outcome
    from tests.faults.peer import Who

__all__ = ["Ledger", "Verdict", "judge"]


class Ledger(Protocol):
    """What the peer knows; see `tests.faults.peer.Peer`."""

    stored: list[Who]
    heard: set[Who]
    doubtful: set[Who]
    complaints: list[str]
    has_struck: bool


@dataclass
class Verdict:
    """What came of a run.

    Attributes:
        wrong: what must not be; empty if all is well.
        has_struck: whether the fault came to pass.
        told: how many recipients were told to be what.
        keys: which messages have such a recipient.
        withdrawn: which were refused to one recipient, and so to all.
    """

    has_struck: bool
    wrong: list[str] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)
    keys: dict[str, set[int]] = field(default_factory=dict)
    withdrawn: set[int] = field(default_factory=set)


def judge(
    ledger: Ledger,
    outcomes: Sequence[Outcome],
    *,
    keys: Sequence[object],
    recipients: Mapping[int, int],
) -> Verdict:
    """Hold what the client told against what the peer knows.

    Args:
        ledger: of the peer.
        outcomes: what the client told of messages, by the number that is their key.
        keys: of the outcomes, and of what the client has left where it was.
        recipients: how many each message has.
    """
    verdict = Verdict(ledger.has_struck, list(ledger.complaints))
    wrong = verdict.wrong
    if keys != list(recipients):
        wrong.append(f"messages are missing, doubled or out of order: {keys}")
    told: dict[Delivery, set[Who]] = {delivery: set() for delivery in Delivery}
    for outcome in outcomes:
        key = outcome.outgoing.key
        assert isinstance(key, int)
        if len(outcome.recipients) != recipients[key]:
            wrong.append(f"{key} has {len(outcome.recipients)} results")
        for index, result in enumerate(outcome.recipients):
            if not result.recipient.startswith(f"{key}.{index}@"):
                wrong.append(f"{key}.{index} has the result of {result.recipient}")
            told[result.delivery].add((key, index))
        wrong += _contradictions(outcome)
        if outcome.delivery is Delivery.REFUSED:
            verdict.withdrawn.add(key)
    for delivery, whose in told.items():
        verdict.told[str(delivery)] = len(whose)
        verdict.keys[str(delivery)] = {key for key, _ in whose}
    stored, heard = set(ledger.stored), ledger.heard
    delivered, unknown = told[Delivery.DELIVERED], told[Delivery.UNKNOWN]
    claims = {
        "arrived twice": {
            who for who, count in Counter(ledger.stored).items() if count > 1
        },
        "told delivered, and not acknowledged": delivered - heard - ledger.doubtful,
        "acknowledged, and not told delivered": heard - delivered,
        "told not sent, and arrived": told[Delivery.NOT_SENT] & stored,
        "told refused, and arrived": told[Delivery.REFUSED] & stored,
        "arrived, and neither delivered nor unknown": stored - delivered - unknown,
    }
    wrong += [f"{claim}: {sorted(whose)}" for claim, whose in claims.items() if whose]
    return verdict


def _contradictions(outcome: Outcome) -> list[str]:
    """Return what an outcome says of itself that cannot be."""
    key = outcome.outgoing.key
    found = {result.delivery for result in outcome.recipients}
    wrong = []
    if (Delivery.DELIVERED in found) != (outcome.delivery is Delivery.DELIVERED):
        wrong.append(f"{key} is {outcome.delivery}, and its recipients {found}")
    if Delivery.UNKNOWN in found and outcome.delivery not in {
        Delivery.DELIVERED,
        Delivery.UNKNOWN,
    }:
        wrong.append(f"{key} is {outcome.delivery}, and its recipients {found}")
    if outcome.error is None and found - {Delivery.DELIVERED, Delivery.REFUSED}:
        wrong.append(f"{key} is {found}, and has no error")
    if outcome.error is None and outcome.delivery is not Delivery.DELIVERED:
        wrong.append(f"{key} is {outcome.delivery}, and has no error")
    if outcome.error is not None and found == {Delivery.DELIVERED}:
        wrong.append(f"{key} is delivered, and has {outcome.error!r}")
    return wrong

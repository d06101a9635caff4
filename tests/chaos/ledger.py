"""What was sent in a world, what was stored, and what was said of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smtpx.errors import Delivery

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

__all__ = ["Ledger"]


@dataclass
class Ledger:
    """What was sent, what was stored, and what was said of it."""

    sent: dict[str, bytes] = field(default_factory=dict)
    stored: Counter[str] = field(default_factory=Counter)
    recipients: dict[str, tuple[str, ...]] = field(default_factory=dict)
    reported: dict[str, Delivery] = field(default_factory=dict)
    accepted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unknown: dict[str, tuple[str, ...]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    sessions: int = 0

    def make(self, chances: random.Random) -> tuple[str, bytes]:
        """Make a message that nobody sent before."""
        key = f"k{len(self.sent)}"
        size = chances.choice((0, 1, 40, 3_000, 20_000))
        lines = chances.choice(
            (b"text\r\n", b".\r\n", b"RSET\r\n", b"x" * 70 + b"\r\n")
        )
        body = (lines * (size // len(lines) + 1))[:size]
        content = b"X-Key: %b\r\n\r\n%b\r\n" % (key.encode(), body)
        self.sent[key] = content
        return key, content

    def store(self, content: bytes, recipients: tuple[str, ...]) -> None:
        """Take responsibility; what follows this says so at once."""
        key = content.partition(b"\r\n")[0].removeprefix(b"X-Key: ").decode()
        self.stored[key] += 1
        self.recipients[key] = recipients
        # A client ends the last line, if the message does not.
        expected = self.sent.get(key)
        if expected is None or content.rstrip(b"\r\n") != expected.rstrip(b"\r\n"):
            self.faults.append(f"{key}: stored something else: {content[:60]!r}")

    def report(
        self,
        key: str,
        delivery: Delivery,
        accepted: tuple[str, ...] = (),
        unknown: tuple[str, ...] = (),
    ) -> None:
        """Note what a client says of a message, and of whom it cannot know.

        In LMTP the connection may break when some recipients have their reply.
        """
        self.counts[delivery] += 1
        if key in self.reported:
            self.faults.append(f"{key}: reported twice")
        self.reported[key] = delivery
        self.accepted[key] = accepted
        self.unknown[key] = unknown

    def judge(self) -> Iterator[str]:
        """Compare what was said with what is."""
        for key in self.sent:
            count = self.stored[key]
            delivery = self.reported.get(key, Delivery.UNKNOWN)
            if count > 1:
                yield f"{key}: stored {count} times, reported {delivery}"
            if delivery is Delivery.DELIVERED and count != 1:
                yield f"{key}: delivered, and stored {count} times"
            if delivery in {Delivery.REFUSED, Delivery.NOT_SENT} and count:
                yield f"{key}: {delivery}, and stored"
            got = self.recipients.get(key, ())
            accepted, unknown = self.accepted.get(key, ()), self.unknown.get(key, ())
            if accepted and not set(accepted) <= set(got) <= {*accepted, *unknown}:
                yield f"{key}: accepted for {accepted}, stored for {got}"
            if delivery is Delivery.DELIVERED and not accepted:
                yield f"{key}: delivered, and accepted for nobody"
            if any("no" in one for one in got):
                yield f"{key}: stored for {got}"

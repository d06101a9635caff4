"""A message of `send_many` on its way: whole, or in parts, each with a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, cast

from smtpx.client.link import own_error
from smtpx.client.message import payload_of_octets
from smtpx.client.order import make_order, payload_for
from smtpx.client.outgoing import Outcome, Outgoing, Rereader
from smtpx.errors import Delivery, NotSupported
from smtpx.wire.envelope import RecipientResult
from smtpx.wire.options import BodyType

if TYPE_CHECKING:
    from smtpx.client.message import Payload
    from smtpx.client.plan import Order
    from smtpx.wire.replies import Reply

__all__ = ["Job", "Part", "group_recipients", "is_too_many"]

# Looked up once: in its class a member takes some times as long.
_DELIVERED: Final = Delivery.DELIVERED

# RFC 5321 section 4.5.3.1.10: too many recipients, and the code that it replaced.
_TOO_MANY: Final = frozenset({452, 552})


class Job:
    """A message on its way, whole or in parts."""

    __slots__ = (
        "error",
        "is_read",
        "is_withdrawn",
        "open_parts",
        "order",
        "outgoing",
        "payload",
        "replies",
        "rereader",
        "results",
    )

    def __init__(self, outgoing: Outgoing) -> None:
        self.outgoing = outgoing
        self.order: Order | None = None
        self.payload: Payload | None = None
        # Of a stream: whether it was read, and whether it can be once more.
        self.is_read = False
        self.rereader: Rereader | None = None
        # By index of the recipient; None as long as nothing is known.
        self.results: list[RecipientResult | None] = []
        self.replies: list[Reply] = []
        self.error: Exception | None = None
        self.is_withdrawn = False
        self.open_parts = 1

    async def examine(self, last: Job | None = None) -> None:
        """Find out what the message is, and for whom.

        Args:
            last: the one before; what was found out about the same octets is theirs.
        """
        outgoing = self.outgoing
        message = outgoing.message
        self.order = make_order(
            message,
            outgoing.sender,
            outgoing.recipients,
            outgoing.options,
            outgoing.rcpt_options,
            outgoing.require_all,
        )
        self.results = [None] * len(self.order.names)
        if isinstance(message, bytes):
            if last is not None and last.has_same_payload(outgoing):
                self.payload = last.payload
                return
            is_binary = outgoing.options.body is BodyType.BINARYMIME
            self.payload = payload_of_octets(message, is_binary=is_binary)
        else:
            self.rereader = Rereader(message)
            self.payload = await payload_for(message, outgoing.options)

    def has_same_payload(self, outgoing: Outgoing) -> bool:
        """Say whether another message is the same octets, sent in the same way."""
        mine = self.outgoing
        if outgoing.message is not mine.message or self.payload is None:
            return False
        options = outgoing.options
        return options is mine.options or options.body is mine.options.body

    @property
    def can_repeat(self) -> bool:
        """Whether the content is there, or can be read from its start (again)."""
        assert self.payload is not None  # noqa: S101 - as examined
        if self.payload.content is not None or not self.is_read:
            return True
        return self.rereader is not None and self.rereader.rewind()

    async def take_payload(self) -> Payload:
        """Return the content, to be read once."""
        assert self.payload is not None  # noqa: S101 - as examined
        if self.payload.content is not None:
            return self.payload
        if self.is_read:
            if not self.can_repeat:
                raise _read_already()
            outgoing = self.outgoing
            return await payload_for(outgoing.message, outgoing.options)
        self.is_read = True
        return self.payload

    def fail(self, error: BaseException) -> None:
        """Settle a part that goes no further, and say why."""
        self.error = self.error or cast("Exception", own_error(error))
        self.open_parts -= 1

    def note(self, indexes: Sequence[int], results: Sequence[RecipientResult]) -> None:
        """Keep what became of some recipients."""
        if len(indexes) == len(self.results):
            self.results = list(results)  # whole, as nearly always
            return
        for index, result in zip(indexes, results, strict=True):
            self.results[index] = result

    def outcome(self) -> Outcome:
        """Say what became of it."""
        names = () if self.order is None else self.order.names
        results = tuple(
            [
                result or RecipientResult(name, None, False)
                for name, result in zip(names, self.results, strict=True)
            ]
        )
        # What went without an error was delivered.
        delivery = self._delivery(results) if self.error else _DELIVERED
        return Outcome(
            self.outgoing, delivery, results, tuple(self.replies), self.error
        )

    def _delivery(self, results: Sequence[RecipientResult]) -> Delivery:
        found = {result.delivery for result in results}
        for delivery in (Delivery.DELIVERED, Delivery.UNKNOWN):
            if delivery in found:
                return delivery
        if self.is_withdrawn or found == {Delivery.REFUSED}:
            return Delivery.REFUSED
        return Delivery.NOT_SENT


@dataclass(slots=True, eq=False)
class Part:
    """Recipients of a message who share a transaction."""

    job: Job
    indexes: Sequence[int]

    @property
    def order(self) -> Order:
        """The message to them alone."""
        order = self.job.order
        assert order is not None  # noqa: S101 - as examined
        if len(self.indexes) == len(order.names):
            return order
        options = order.rcpt_options
        return replace(
            order,
            recipients=[order.recipients[index] for index in self.indexes],
            names=[order.names[index] for index in self.indexes],
            rcpt_options=[options[index] for index in self.indexes] if options else (),
        )


def is_too_many(reply: Reply) -> bool:
    """Say whether RCPT was refused because there were many before it."""
    if reply.code not in _TOO_MANY:
        return False
    enhanced = reply.enhanced
    # Without an enhanced code, 552 may as well be a mailbox that is full.
    return reply.code == 452 if enhanced is None else enhanced[1:] == (5, 3)


def group_recipients(
    order: Order,
    indexes: Sequence[int],
    most: int | None,
    most_domains: int | None,
) -> list[list[int]]:
    """Part recipients so that no group exceeds what the server takes."""
    groups: list[list[int]] = [[]]
    domains: set[str] = set()
    for index, mailbox in zip(indexes, order.recipients, strict=True):
        domain = mailbox.domain.lower()
        is_over = most is not None and len(groups[-1]) >= most
        if most_domains is not None and len(domains | {domain}) > most_domains:
            is_over = True
        if is_over:
            groups.append([])
            domains.clear()
        groups[-1].append(index)
        domains.add(domain)
    return groups


def _read_already() -> NotSupported:
    return NotSupported(
        "the message has to be sent again, or in parts, and its stream can be read "
        "once: give bytes, a file, or an iterable that starts anew",
        phase="data_block",
    )

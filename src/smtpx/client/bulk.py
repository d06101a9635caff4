"""Many messages over one connection: `send_many`.

Messages are pulled from their source one by one, said as long as the window has room
(`smtpx.client.flights`), and reported in order as soon as nothing about them is open.
`smtpx.client.bulk_dialogue` says them; here is which one is next, and what follows from
the replies.

A message goes in parts, each with a transaction of its own, if it has more recipients
than the server takes at once. What is left of it goes before the next message.
"""

from __future__ import annotations

import contextlib
import copy
from collections import deque
from collections.abc import AsyncGenerator
from email.message import Message
from typing import TYPE_CHECKING, Final, cast

from smtpx.client.bulk_dialogue import BulkDialogue
from smtpx.client.flights import Flights, Transaction
from smtpx.client.job import Job, Part, group_recipients, is_too_many
from smtpx.client.limits import require_domains, require_mail
from smtpx.client.link import own_error
from smtpx.client.message import BLOCK_OCTETS
from smtpx.client.options import Chunking
from smtpx.client.outgoing import Outcome, Outgoing
from smtpx.client.plan import make_plan
from smtpx.client.results import is_used_up, results_at_break
from smtpx.client.verbs import require_private
from smtpx.errors import (
    BadReply,
    ConnectionLost,
    Delivery,
    NotSupported,
    SendError,
)
from smtpx.wire.options import DEFAULT_MAIL_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpx.client.link import Link
    from smtpx.client.opening import Opening
    from smtpx.client.outgoing import SendWindow
    from smtpx.client.plan import Offered, Plan
    from smtpx.client.supply import Supply

__all__ = ["Bulk"]

# Connections in a row that may end before anything came of them.
_MAX_FRUITLESS: Final = 2


class Bulk(BulkDialogue):
    """One run of `send_many`.

    Args:
        opening: makes connections, and holds the current one.
        supply: of the messages.
        window: how much may be under way.
        retry_not_sent: connect again when the connection is lost.
    """

    def __init__(
        self,
        opening: Opening,
        supply: Supply,
        *,
        window: SendWindow,
        retry_not_sent: bool,
    ) -> None:
        super().__init__(opening)
        self._supply = supply
        self._window = window
        self._retries = retry_not_sent
        # All messages without an outcome, in order, and what of them is to be said.
        self._jobs: deque[Job] = deque()
        self._todo: deque[Part] = deque()
        self._last_job: Job | None = None
        self._is_exhausted = False
        # As learnt from a refusal; what LIMITS tells is known anyway.
        self._rcpt_max: int | None = None
        # Of this connection: whether it took a message, and how many it took no more.
        self._has_delivered = False
        self._put_back = 0
        self._fruitless = 0
        self._error: BaseException | None = None

    async def batches(self) -> AsyncGenerator[list[Outcome], None]:
        """Send everything; yield outcomes in order, as they come.

        Raises:
            SendError: the connection is lost, or there is none. What had been pulled
                from the source is reported before.
            Exception: whatever the source raised; likewise.
        """
        is_done = False
        while not is_done:
            try:
                is_done = await self._step()
            except (SendError, OSError, EOFError, BadReply) as error:
                await self._lose(error)
            if self._jobs and not self._jobs[0].open_parts:
                yield self._finished()
        if self._error is not None:
            if batch := await self._take_back(self._error):
                yield batch
            raise self._error

    async def _take_back(self, error: BaseException) -> list[Outcome]:
        """Report what the supply has read ahead; it is in the source no more."""
        await self._supply.close()
        batch = []
        for item in self._supply.taken():
            job = Job(_as_outgoing(item))
            with contextlib.suppress(Exception):
                await job.examine()
            job.fail(_with_delivery(error, Delivery.NOT_SENT))
            batch.append(job.outcome())
        return batch

    def _finished(self) -> list[Outcome]:
        """Take the outcomes of which nothing is open, and no earlier one is."""
        batch = []
        while self._jobs and not self._jobs[0].open_parts:
            batch.append(self._jobs.popleft().outcome())
        return batch

    async def _step(self) -> bool:
        """Say a message, or hear what became of others; say whether all is done."""
        if self._todo:
            await self._say_part(self._todo[0])
            return False
        flights, supply = self._flights, self._supply
        is_waiting = flights is not None and bool(flights.under_way)
        if self._is_exhausted or self._error is not None:
            if is_waiting:
                await self._flush()
                await self._hear()
            return not is_waiting
        if is_waiting and supply.has_next is not True:
            # Whatever the source waits for, nothing that is under way waits for it.
            await self._flush()
            if supply.has_next is False:
                await self._hear()
                return False
        await self._pull()
        if self._todo:
            await self._say_part(self._todo[0])
        return False

    # From the source.

    async def _pull(self) -> None:
        """Take the next message from the source; find out what it needs."""
        try:
            outgoing = _as_outgoing(await self._supply.next())
        except StopAsyncIteration:
            self._is_exhausted = True
            return
        except Exception as error:
            self._error = own_error(error)
            return
        job = Job(outgoing)
        self._jobs.append(job)
        last, self._last_job = self._last_job, job
        try:
            await job.examine(last)
        except Exception as error:
            job.fail(error)
            return
        self._todo.append(Part(job, range(len(job.results))))

    # Saying.

    async def _say_part(self, part: Part) -> None:
        """Say what is next, unless it has to be split, or cannot be sent."""
        opening, flights = self._opening, self._flights
        if flights is not None and flights.is_full:
            # What is heard meanwhile may have to be said before.
            await self._make_room(flights)
            return
        link = opening._link
        if link is None or flights is None or not flights.under_way:
            link = await self._open_link()
            if link is None:
                return
        offered = opening._what_is_offered(link)
        if (offered.limits or self._rcpt_max is not None) and self._split(
            part, offered.limits
        ):
            return
        try:
            plan = await self._plan(link, part, offered)
        except Exception as error:
            # Nothing was said: it is the message's own, or its stream's, or what
            # signs it has failed.
            self._todo.remove(part)
            part.job.fail(error)
            return
        if plan is None:
            await self._renew()
            return
        self._todo.remove(part)
        link.is_fresh = False
        await self._say(link, Transaction(part, part.indexes, plan))
        if opening._link is not link:
            return
        self._collect()
        if self._unsent_octets >= BLOCK_OCTETS or self._supply.has_next is not True:
            await self._flush()
            if link.channel.is_readable and link.machine.is_waiting:
                await self._hear()

    async def _open_link(self) -> Link | None:
        """Return the connection, a new one if need be; None if there is none.

        Nothing is under way.
        """
        opening, flights = self._opening, self._flights
        link = opening._link
        if flights is not None and link is not None:
            if not link.channel.is_readable:
                return link
            # Nothing was asked, so it is the end, or a 421 that announces it.
            link.abort()
            opening._link = None
        try:
            link = opening._live_link() or await opening._connect()
        except Exception as error:
            self._stop(error)
            return None
        self._flights = Flights(link.machine, self._window)
        self._has_delivered, self._put_back = False, 0
        return link

    def _split(self, part: Part, limits: Mapping[str, int]) -> bool:
        """Part a message among more recipients than the server takes at once."""
        known = [most for most in (limits.get("RCPTMAX"), self._rcpt_max) if most]
        most_domains = limits.get("RCPTDOMAINMAX")
        if not known and most_domains is None:
            return False
        order = part.order
        groups = group_recipients(
            order, part.indexes, min(known, default=None), most_domains
        )
        if len(groups) == 1 or order.require_all:
            return False  # if that is too much, the plan says so
        job = part.job
        position = self._todo.index(part)
        self._todo.remove(part)
        job.open_parts += len(groups) - 1
        for group in reversed(groups):
            self._todo.insert(position, Part(job, group))
        return True

    async def _plan(self, link: Link, part: Part, offered: Offered) -> Plan | None:
        """Find out how to say it; None if it first needs another connection."""
        if self._put_back:
            return None
        opening, job = self._opening, part.job
        order = part.order
        if offered.limits:
            try:
                require_mail(offered.limits, link.machine)
                require_domains(offered.limits, link.machine, order.recipients)
            except NotSupported:
                if opening._has_socket or not link.machine.mails:
                    raise
                return None
        payload = job.payload
        if payload is None or payload.content is None:
            payload = await job.take_payload()
        plan = make_plan(order, payload, offered, opening._options)
        if order.options is not DEFAULT_MAIL_OPTIONS:
            require_private(link, order.options)
        chunking = opening._options.chunking
        if "CHUNKING" in offered.keywords and chunking is not Chunking.NEVER:
            plan.uses_chunks = True
        return plan

    async def _renew(self) -> None:
        """Close a connection that has had its share, in good order."""
        flights = self._flights
        assert flights is not None  # noqa: S101 - there is a connection
        await self._flush()
        while flights.under_way:
            await self._hear()
        await self._opening._quit()
        self._flights = None

    def _settle(self, transaction: Transaction) -> None:
        """Keep what became of a transaction; send what is left of its recipients."""
        part = cast("Part", transaction.job)
        job, plan = part.job, transaction.plan
        if is_used_up(transaction.mail_reply) and self._may_renew(job):
            self._todo.insert(self._put_back, part)
            self._put_back += 1
            return
        is_lmtp = self._opening._target.is_lmtp
        results, reply, error = transaction.verdict(is_lmtp=is_lmtp)
        job.note(part.indexes, results)
        self._fruitless = 0
        job.open_parts -= 1
        if error is not None:
            job.error = job.error or error
            job.is_withdrawn = plan.order.require_all
            return
        self._has_delivered = True
        if reply is not None:
            job.replies.append(reply)
        if transaction.accepted == len(part.indexes) or plan.order.require_all:
            return
        left = _too_many(transaction)
        if left and job.can_repeat:
            # RFC 5321 section 4.5.3.1.10: the others go in another transaction.
            self._rcpt_max = transaction.accepted
            job.open_parts += 1
            self._todo.appendleft(Part(job, left))

    def _may_renew(self, job: Job) -> bool:
        """Say whether a message can go over another connection, and it may help."""
        return self._has_delivered and not self._opening._has_socket and job.can_repeat

    # When the connection ends.

    async def _lose(self, error: BaseException) -> None:
        """Find out what became of what was under way; begin anew, or stop."""
        link, flights = self._opening._link, self._flights
        assert link is not None and flights is not None  # noqa: S101, PT018
        raised = link.translate(error)
        self._collect()
        is_certain = False
        if flights.closing is not None and flights.under_way:
            is_certain = await self._hear_out(link, flights)
        under_way = list(flights.under_way)
        self._drop()
        self._fruitless += 1
        # A connection that ends between two messages is no failure of any.
        may_go_on = self._retries or not under_way
        is_over = not may_go_on or self._fruitless > _MAX_FRUITLESS
        again = []
        for transaction in under_way:
            part = self._break(transaction, cast("SendError", raised), is_certain)
            if part is None:
                continue
            if not is_over and part.job.can_repeat:
                again.append(part)
            else:
                part.job.fail(_with_delivery(raised, Delivery.NOT_SENT))
        self._todo.extendleft(reversed(again))
        if is_over:
            self._stop(raised)

    def _break(
        self, transaction: Transaction, error: SendError, is_certain: bool
    ) -> Part | None:
        """Say what is known of a transaction without its last replies.

        Returns:
            The recipients for whom it was certainly not sent; None if there are none.
        """
        part = cast("Part", transaction.job)
        if transaction.is_hopeless and not transaction.is_closed:
            self._settle(transaction)
            return None
        # LMTP: 421 for one recipient tells nothing of those behind.
        is_certain = is_certain and not transaction.end_replies
        may_have = transaction.is_end_sent and not is_certain
        results = results_at_break(
            transaction.plan.order,
            transaction.rcpt_replies,
            transaction.end_replies,
            may_have=may_have,
        )
        job = part.job
        job.note(part.indexes, results)
        left = [
            index
            for index, result in zip(part.indexes, results, strict=True)
            if result.delivery is Delivery.NOT_SENT
        ]
        if transaction.accepted and not transaction.plan.order.require_all:
            left = sorted({*left, *_too_many(transaction)})
        if left and not any(result.is_unknown for result in results):
            return Part(job, left)
        unknown = _with_delivery(error, Delivery.UNKNOWN)
        if isinstance(unknown, ConnectionLost):
            unknown.results = tuple(results)
        job.open_parts += bool(left)
        job.fail(unknown)
        return Part(job, left) if left else None

    def _stop(self, error: BaseException) -> None:
        """Give up: nothing more is pulled, and nothing said."""
        for part in self._todo:
            part.job.fail(_with_delivery(error, Delivery.NOT_SENT))
        self._todo.clear()
        self._error = error


def _too_many(transaction: Transaction) -> list[int]:
    """Return the recipients who are to go in another transaction."""
    # Fewer replies than recipients came if the connection broke.
    replies = zip(transaction.indexes, transaction.rcpt_replies, strict=False)
    return [index for index, reply in replies if is_too_many(reply)]


def _as_outgoing(item: object) -> Outgoing:
    """Return what is sent for an item of the source."""
    if isinstance(item, Outgoing):
        return item
    if isinstance(item, Message):
        return Outgoing(item)
    raise TypeError(
        f"envelopes are Outgoing or EmailMessage, not {type(item).__name__}"
    )


def _with_delivery(error: BaseException, delivery: Delivery) -> BaseException:
    """Return the error that ended a connection as one message has it."""
    if isinstance(error, SendError) and error.delivery is not delivery:
        error = copy.copy(error)
        error.delivery = delivery
    return error

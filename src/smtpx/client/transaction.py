"""One mail transaction on the wire.

With PIPELINING, RSET MAIL RCPT* DATA share a flight, and a small message goes as BDAT
in that flight.

Whatever the server answers, the exchange ends in step, or the connection with it. The
hard cases: a 354 although there is no recipient is ended with a lone dot, and its reply
is read (RFC 2920 section 3.1); a refused chunk leaves a transaction that only RSET
clears (RFC 3030 section 2), so one is sent before the next MAIL; LMTP answers the end
once for each recipient (RFC 2033 section 4.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from smtpx.client.content import send_chunks, send_content
from smtpx.client.plan import FLIGHT_COMMANDS
from smtpx.core.client_states import ClientState
from smtpx.errors import (
    ConnectionLost,
    DataRefused,
    Delivery,
    OutOfStep,
    RecipientsRefused,
    SenderRefused,
)
from smtpx.wire.commands import Data, Rset
from smtpx.wire.envelope import RecipientResult, SendResult

if TYPE_CHECKING:
    from smtpx.client.link import Link
    from smtpx.client.plan import Plan
    from smtpx.wire.replies import Reply

__all__ = ["make_result", "run"]

_LEFT_OVER = frozenset(
    {ClientState.MAIL, ClientState.RCPT, ClientState.BDAT, ClientState.FAILED}
)


async def run(link: Link, plan: Plan, *, pipelining: bool) -> SendResult:
    """Do the transaction.

    Args:
        link: after EHLO.
        plan: for its server.
        pipelining: whether the caller wants flights; the server must offer them too.

    Raises:
        SenderRefused: MAIL was.
        RecipientsRefused: all were, or one that was required.
        DataRefused: DATA or BDAT was, or the message after its end.
        SendError: the connection did not live so long.
    """
    link.is_end_sent = False
    exchange = _Exchange(link, plan)
    if pipelining and link.machine.may_pipeline:
        await exchange.say_envelope_in_flights()
    else:
        await exchange.say_envelope()
    if not exchange.is_accepted:
        await exchange.withdraw()
    return make_result(link, exchange.results(), await exchange.send_content())


class _Exchange:
    """A transaction under way."""

    __slots__ = ("_link", "_mail_reply", "_plan", "_rcpt_replies", "_tail_replies")

    def __init__(self, link: Link, plan: Plan) -> None:
        self._link = link
        self._plan = plan
        self._mail_reply: Reply | None = None
        self._rcpt_replies: list[Reply] = []
        # To what came in the flight of the envelope behind it, if anything did.
        self._tail_replies: list[Reply] = []

    async def say_envelope(self) -> None:
        """Say it command by command."""
        link = self._link
        if self._needs_reset():
            self._check_reset(await link.ask(Rset()))
        self._mail_reply = await link.ask(self._plan.mail, "mail")
        self._check_closing(self._mail_reply)
        if self._mail_reply.is_positive:
            for rcpt in self._plan.rcpts:
                self._take_rcpt(await link.ask(rcpt, "rcpt"))

    async def say_envelope_in_flights(self) -> None:
        """Say it with as few writes as may be; read the replies of each flight."""
        link, plan = self._link, self._plan
        machine = link.machine
        has_reset = self._needs_reset()
        if has_reset:
            machine.send(Rset())
        machine.send(plan.mail)
        rcpts = plan.rcpts
        for start in range(0, len(rcpts), FLIGHT_COMMANDS):
            flight = rcpts[start : start + FLIGHT_COMMANDS]
            for rcpt in flight:
                machine.send(rcpt)
            tail = self._say_tail() if start + len(flight) == len(rcpts) else ""
            timeout = link.left("data_block")
            await link.channel.send(machine.data_to_send(), timeout=timeout)
            if has_reset:
                has_reset = False
                self._check_reset(await link.next_reply("command"))
            if self._mail_reply is None:
                self._mail_reply = (await link.next_answer("mail"))[1]
                self._check_closing(self._mail_reply)
            link.phase = "rcpt"
            for _ in flight:
                # What came with the reply before needs no waiting, as most do.
                answer = machine.next_reply() or await link.next_answer("rcpt")
                self._take_rcpt(answer[1])
            if tail == "data_start":
                answer = machine.next_reply() or await link.next_answer(tail)
                self._tail_replies = [answer[1]]
            elif tail:
                await self._take_statuses()
            if not self._mail_reply.is_positive:
                return

    def _needs_reset(self) -> bool:
        """Say whether something of the transaction before is left at the server."""
        return self._link.machine.state in _LEFT_OVER

    def _say_tail(self) -> str:
        """Put into the flight what may follow the envelope; say what to wait for."""
        plan, machine = self._plan, self._link.machine
        if plan.is_one_flight:
            assert plan.payload.content is not None  # noqa: S101 - as planned
            machine.send_chunk(plan.payload.content, is_last=True)
            self._link.is_end_sent = True
            return "data_end"
        if plan.uses_chunks or plan.order.require_all:
            return ""
        machine.send(Data())
        return "data_start"

    async def _take_statuses(self) -> None:
        """Read the replies to a chunk that went along; in LMTP they are several."""
        link = self._link
        while link.machine.is_waiting:
            self._tail_replies.append(await link.next_reply("data_end"))
        link.is_end_sent = False

    def _take_rcpt(self, reply: Reply) -> None:
        self._rcpt_replies.append(reply)
        if reply.code == 421:
            self._check_closing(reply)

    def _check_closing(self, reply: Reply) -> None:
        """Stop at a 421: what is outstanding will never be answered."""
        if reply.code == 421:
            if reply is self._mail_reply:
                self._raise_sender_refused(reply)
            index = len(self._rcpt_replies) - 1
            raise ConnectionLost(
                "the server closes the connection",
                reply=reply,
                command="RCPT",
                recipient=self._plan.order.names[index],
                phase="rcpt",
                delivery=Delivery.REFUSED,
            )

    def _check_reset(self, reply: Reply) -> None:
        if not reply.is_positive:
            raise OutOfStep(
                "the server refuses RSET", reply=reply, command="RSET", phase="command"
            )

    # What follows the envelope.

    @property
    def is_accepted(self) -> bool:
        """Whether the message is to be sent: there is somebody to get it."""
        mail_reply, order = self._mail_reply, self._plan.order
        if mail_reply is None or not mail_reply.is_positive:
            return False
        accepted = self._link.machine.accepted
        return accepted == len(order.names) or (accepted > 0 and not order.require_all)

    async def withdraw(self) -> NoReturn:
        """Give up on the message, and raise what is in its way."""
        await self._end_empty_data()
        if self._mail_reply is not None and not self._mail_reply.is_positive:
            self._raise_sender_refused(self._mail_reply)
        if not self._link.machine.accepted:
            text = "the server refused every recipient"
        else:
            text = "the server refused a recipient, and all are required"
        raise RecipientsRefused(text, results=self.results(is_sent=False), phase="rcpt")

    async def _end_empty_data(self) -> None:
        """End what a server began to take although nobody is to get it."""
        link = self._link
        if link.machine.state is not ClientState.DATA:
            return
        if link.machine.is_lmtp:
            # How many replies would follow, RFC 2033 does not say: none, or one?
            raise OutOfStep(
                "the server takes DATA without a recipient",
                reply=self._tail_replies[0],
                command="DATA",
                phase="data_start",
            )
        link.machine.end_content()
        await link.flush("data_block")
        await link.next_reply("data_end")

    def _raise_sender_refused(self, reply: Reply) -> NoReturn:
        sender = self._plan.order.sender
        raise SenderRefused(
            "the server refused the sender",
            sender="" if sender is None else str(sender),
            reply=reply,
            phase="mail",
        )

    async def send_content(self) -> list[Reply]:
        """Send the content; return the replies to its end."""
        link, plan = self._link, self._plan
        if plan.is_one_flight and self._tail_replies:
            return self._tail_replies
        if plan.uses_chunks:
            return await send_chunks(link, plan)
        if not self._tail_replies:
            self._tail_replies.append(await link.ask(Data(), "data_start"))
        reply = self._tail_replies[0]
        if not reply.is_intermediate:
            raise DataRefused(
                "the server refused DATA",
                reply=reply,
                command="DATA",
                phase="data_start",
            )
        return await send_content(link, plan.payload, is_ascii_only=plan.is_ascii_only)

    def results(self, *, is_sent: bool = True) -> list[RecipientResult]:
        """Return what RCPT told of each recipient."""
        replies = self._rcpt_replies
        results = []
        for index, name in enumerate(self._plan.order.names):
            reply = replies[index] if index < len(replies) else None
            is_accepted = reply is not None and reply.is_positive
            if is_accepted and not is_sent:
                # Nobody gets it, so this yes is void, and no refusal either.
                reply, is_accepted = None, False
            results.append(RecipientResult(name, reply, is_accepted))
        return results


def make_result(
    link: Link, results: list[RecipientResult], replies: list[Reply]
) -> SendResult:
    """Join what RCPT told and what the end of the message was answered with.

    Raises:
        DataRefused: the message was refused.
        RecipientsRefused: in LMTP, for every recipient.
    """
    if not link.machine.is_lmtp:
        (reply,) = replies
        if not reply.is_positive:
            raise DataRefused(
                "the server refused the message",
                reply=reply,
                command="DATA",
                phase="data_end",
            )
        return SendResult(reply, tuple(results))
    statuses = iter(replies)
    for index, result in enumerate(results):
        if result.is_accepted:
            reply = next(statuses)
            results[index] = RecipientResult(result.recipient, reply, reply.is_positive)
    if not any(result.is_accepted for result in results):
        raise RecipientsRefused(
            "the server delivered to no recipient", results=results, phase="data_end"
        )
    return SendResult(None, tuple(results))

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

from typing import TYPE_CHECKING, Final, NoReturn

from smtpx.client.content import hear_end, send_chunks, send_content
from smtpx.client.plan import FLIGHT_COMMANDS
from smtpx.client.results import (
    data_refused,
    make_result,
    rcpt_results,
    recipients_refused,
    results_at_break,
    sender_refused,
)
from smtpx.core.client_states import ClientState
from smtpx.errors import (
    BadReply,
    ConnectionLost,
    Delivery,
    OutOfStep,
)
from smtpx.wire.commands import Data, Rset
from smtpx.wire.envelope import RecipientResult, SendResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpx.client.link import Link
    from smtpx.client.plan import Plan
    from smtpx.wire.commands import Command, Rcpt
    from smtpx.wire.replies import Reply

__all__ = ["LEFT_OVER", "run"]

_DATA: Final = Data()
_RSET: Final = Rset()

# The states in which something of a transaction is left at the server.
LEFT_OVER = frozenset(
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
    link.end_replies.clear()
    exchange = _Exchange(link, plan)
    try:
        if pipelining and link.machine.may_pipeline:
            await exchange.say_envelope_in_flights()
        else:
            await exchange.say_envelope()
        if not exchange.is_accepted:
            await exchange.withdraw()
        await exchange.send_content()
    except (ConnectionLost, OSError, EOFError, BadReply) as error:
        raised = link.translate(error)
        if isinstance(raised, ConnectionLost):
            raised.results = tuple(exchange.results_at_break())
        if raised is error:
            raise
        raise raised from error
    is_lmtp = link.machine.is_lmtp
    return make_result(exchange.results(), link.end_replies, is_lmtp=is_lmtp)


class _Exchange:
    """A transaction under way."""

    __slots__ = ("_data_reply", "_link", "_mail_reply", "_plan", "_rcpt_replies")

    def __init__(self, link: Link, plan: Plan) -> None:
        self._link = link
        self._plan = plan
        self._mail_reply: Reply | None = None
        self._rcpt_replies: list[Reply] = []
        self._data_reply: Reply | None = None

    async def say_envelope(self) -> None:
        """Say it command by command."""
        link = self._link
        if self._needs_reset():
            await self._check_reset(await link.ask(_RSET))
        self._mail_reply = await link.ask(self._plan.mail, "mail")
        self._check_closing(self._mail_reply)
        if self._mail_reply.is_positive:
            for rcpt in self._plan.rcpts:
                reply = await link.ask(rcpt, "rcpt")
                self._rcpt_replies.append(reply)
                if reply.code == 421:
                    await self._check_rcpt_closing(reply)

    async def say_envelope_in_flights(self) -> None:
        """Say it with as few writes as may be; read the replies of each flight."""
        link, plan = self._link, self._plan
        machine = link.machine
        has_reset = self._needs_reset()
        if has_reset and machine.accepted and plan.is_one_flight:
            # Were RSET refused, the content behind it would be for the recipients of
            # the transaction before.
            await self._check_reset(await link.ask(_RSET))
            has_reset = False
        rcpts = plan.rcpts
        for start in range(0, len(rcpts), FLIGHT_COMMANDS):
            flight = rcpts[start : start + FLIGHT_COMMANDS]
            tail = self._tail() if start + len(flight) == len(rcpts) else ""
            self._say_flight([] if start else self._opening(), flight, tail)
            await link.flush("data_block")
            if has_reset:
                has_reset = False
                await self._check_reset(await link.next_reply("command"))
            if self._mail_reply is None:
                self._mail_reply = (await link.next_answer("mail"))[1]
                self._check_closing(self._mail_reply)
            link.phase = "rcpt"
            for _ in flight:
                # What came with the reply before needs no waiting, as most do.
                answer = machine.next_reply() or await link.next_answer("rcpt")
                self._rcpt_replies.append(answer[1])
                if answer[1].code == 421:
                    await self._check_rcpt_closing(answer[1])
            if tail == "data_start":
                answer = machine.next_reply() or await link.next_answer(tail)
                self._data_reply = answer[1]
            elif tail:
                await hear_end(link)
            if not self._mail_reply.is_positive:
                return

    def _opening(self) -> list[Command]:
        """Return the commands before the first RCPT."""
        mail = self._plan.mail
        return [_RSET, mail] if self._needs_reset() else [mail]

    def _say_flight(
        self, opening: Sequence[Command], rcpts: Sequence[Rcpt], tail: str
    ) -> None:
        """Say some commands at once, and what follows them."""
        machine = self._link.machine
        if tail == "data_start":
            machine.send_all([*opening, *rcpts, _DATA])
            return
        machine.send_all([*opening, *rcpts])
        if tail == "data_end":
            content = self._plan.payload.content
            assert content is not None  # noqa: S101 - as planned
            machine.send_chunk(content, is_last=True)
            self._link.is_end_sent = True

    def _needs_reset(self) -> bool:
        """Say whether something of the transaction before is left at the server."""
        return self._link.machine.state in LEFT_OVER

    def _tail(self) -> str:
        """Say what follows the envelope in its flight: what is to be waited for."""
        plan = self._plan
        if plan.is_one_flight:
            return "data_end"
        return "" if plan.uses_chunks or plan.order.require_all else "data_start"

    def _check_closing(self, reply: Reply) -> None:
        """Stop at a 421: what is outstanding will never be answered."""
        if reply.code == 421:
            raise sender_refused(self._plan.order, reply)

    async def _check_rcpt_closing(self, reply: Reply) -> NoReturn:
        """Stop at a 421 to RCPT.

        There are servers that go on behind it. One that has the content in the same
        flight may deliver it to the other recipients.
        """
        names = self._plan.order.names
        await self._clear_doubt(has_others=len(names) > 1)
        is_in_doubt = self._link.is_end_sent and len(names) > 1
        raise ConnectionLost(
            "the server closes the connection",
            reply=reply,
            command="RCPT",
            recipient=names[len(self._rcpt_replies) - 1],
            phase="rcpt",
            delivery=Delivery.UNKNOWN if is_in_doubt else Delivery.REFUSED,
        )

    async def _check_reset(self, reply: Reply) -> None:
        if reply.is_positive:
            return
        link, phase = self._link, "command"
        if reply.code == 421:
            await self._clear_doubt(has_others=True)
            if not link.is_end_sent:
                text = "the server closes the connection"
                raise ConnectionLost(
                    text,
                    reply=reply,
                    command="RSET",
                    phase=phase,
                    delivery=Delivery.REFUSED,
                )
        raise OutOfStep(
            "the server refuses RSET",
            reply=reply,
            command="RSET",
            phase=phase,
            # The message may be in the same flight, and what is behind RSET done.
            delivery=link.delivery,
        )

    async def _clear_doubt(self, *, has_others: bool) -> None:
        """Listen behind a 421 whether the server goes, as it says, or goes on.

        If it closes without another word, it has not looked at the content.
        """
        link = self._link
        if not (has_others and link.is_end_sent):
            return
        if await link.hear_out(lambda _question, _reply: True):
            link.is_end_sent = False

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
        order = self._plan.order
        if self._mail_reply is not None and not self._mail_reply.is_positive:
            raise sender_refused(order, self._mail_reply)
        raise recipients_refused(
            rcpt_results(order, self._rcpt_replies, is_sent=False),
            is_any_accepted=self._link.machine.accepted > 0,
        )

    async def _end_empty_data(self) -> None:
        """End what a server began to take although nobody is to get it."""
        link = self._link
        if link.machine.state is not ClientState.DATA:
            return
        if link.machine.is_lmtp:
            # How many replies would follow, RFC 2033 does not say: none, or one?
            raise OutOfStep(
                "the server takes DATA without a recipient",
                reply=self._data_reply,
                command="DATA",
                phase="data_start",
            )
        link.machine.end_content()
        await link.flush("data_block")
        await link.next_reply("data_end")

    async def send_content(self) -> None:
        """Send the content, and hear the replies to its end."""
        link, plan = self._link, self._plan
        if plan.is_one_flight and link.end_replies:
            return
        if plan.uses_chunks:
            await send_chunks(link, plan)
            return
        if self._data_reply is None:
            self._data_reply = await link.ask(_DATA, "data_start")
        reply = self._data_reply
        if not reply.is_intermediate:
            raise data_refused(reply)
        await send_content(link, plan.payload, is_ascii_only=plan.is_ascii_only)

    def results(self) -> list[RecipientResult]:
        """Return what RCPT told of each recipient."""
        return rcpt_results(self._plan.order, self._rcpt_replies)

    def results_at_break(self) -> list[RecipientResult]:
        """Return what is known now that the connection ends before the last reply."""
        link = self._link
        statuses = link.end_replies if link.machine.is_lmtp else ()
        return results_at_break(
            self._plan.order,
            self._rcpt_replies,
            statuses,
            may_have=link.delivery is Delivery.UNKNOWN,
        )

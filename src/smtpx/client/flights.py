"""Many transactions under way on one connection: what is said, and what it came to.

It does no I/O and reads no clock: `smtpx.client.bulk_dialogue` moves the octets. A
transaction is said in whole or in part, its replies come later, in order, and when the
last one is there it is settled. So any number of them share a flight (RFC 2920 section
3.1, RFC 3030 section 2), and a refusal is never paired with a neighbour: the machine
knows what each reply answers, and here the first transaction that is not settled gets
it.

While the outcome of a transaction is unknown, RSET goes before the next MAIL: a chunk
that is refused leaves the state at the server open (RFC 3030 section 2).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias

from smtpx.client.plan import FLIGHT_COMMANDS
from smtpx.client.results import (
    chunk_refused,
    data_refused,
    make_result,
    rcpt_results,
    recipients_refused,
    sender_refused,
)
from smtpx.client.transaction import LEFT_OVER
from smtpx.core.client_base import Asked
from smtpx.core.client_states import ClientState
from smtpx.errors import DataRefused, OutOfStep, RecipientsRefused
from smtpx.wire.commands import Bdat, Data, Mail, Rcpt, Rset
from smtpx.wire.envelope import RecipientResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from smtpx.client.outgoing import SendWindow
    from smtpx.client.plan import Plan
    from smtpx.core.client import ClientMachine
    from smtpx.core.client_base import Question
    from smtpx.wire.commands import Command
    from smtpx.wire.replies import Reply

    Verdict: TypeAlias = tuple[
        Sequence[RecipientResult], Reply | None, Exception | None
    ]

__all__ = ["Flights", "Transaction"]

_CODE_CLOSING: Final = 421
_RSET: Final = Rset()
# Looked up once: in its class a member takes some times as long.
_END_OF_CONTENT: Final = Asked.END_OF_CONTENT
_NOTHING: Final = Asked.NOTHING


class Transaction:
    """From MAIL to the last reply: what was said, and what was heard.

    Args:
        job: whatever it belongs to; nothing here asks.
        indexes: which recipients of the job it is for.
        plan: for the server.

    Attributes:
        awaits: how many questions are unanswered.
        is_open: there is more to say.
        is_closed: one of its replies is 421, by which the server goes.
        is_void: it is ended without content, since nobody is to get it.
        is_end_sent: the end of its content was written, at least in part.
        mail_reply: None until it came; likewise the others.
        rcpt_replies: by position, as they came.
        accepted: how many of them are positive.
        data_reply: to DATA.
        refusal: of a chunk before the last.
        end_replies: to the end of the content: one; in LMTP, one for each accepted
            recipient.
        own_error: what went wrong here, not at the server.
        octets: of its content, as far as it is known.
    """

    __slots__ = (
        "accepted",
        "awaits",
        "data_reply",
        "end_replies",
        "indexes",
        "is_closed",
        "is_end_sent",
        "is_open",
        "is_void",
        "job",
        "mail_reply",
        "octets",
        "own_error",
        "plan",
        "rcpt_replies",
        "refusal",
    )

    def __init__(self, job: object, indexes: Sequence[int], plan: Plan) -> None:
        self.job = job
        self.indexes = indexes
        self.plan = plan
        self.awaits = 0
        self.is_open = True
        self.is_closed = False
        self.is_void = False
        self.is_end_sent = False
        self.mail_reply: Reply | None = None
        self.rcpt_replies: list[Reply] = []
        self.accepted = 0
        self.data_reply: Reply | None = None
        self.refusal: Reply | None = None
        self.end_replies: list[Reply] = []
        self.own_error: Exception | None = None
        self.octets = plan.payload.size or 0

    @property
    def is_hopeless(self) -> bool:
        """Whether replies tell that the server will not take the content, or must not.

        It must not as long as a recipient that is required may be refused.
        """
        if self.own_error is not None or self.refusal is not None:
            return True
        if self.mail_reply is not None and self.mail_reply.code >= 300:
            return True
        if self.data_reply is not None and self.data_reply.code >= 400:
            return True
        refused = len(self.rcpt_replies) - self.accepted
        most = 0 if self.plan.order.require_all else len(self.plan.rcpts) - 1
        return refused > most

    def verdict(self, *, is_lmtp: bool) -> Verdict:
        """Say what it came to. All of its replies are there, or it is hopeless.

        Returns:
            A result for each recipient, in order; the reply to the end of the message,
            if it was accepted, None in LMTP; and why nobody gets it.
        """
        order, ends = self.plan.order, self.end_replies
        is_whole = self.accepted == len(order.names) and self.refusal is None
        if is_whole and ends and not is_lmtp and ends[0].code < 300:
            # As nearly always: nothing was refused.
            return rcpt_results(order, self.rcpt_replies), ends[0], None
        if (failed := self._failed_early()) is not None:
            return failed
        results = rcpt_results(order, self.rcpt_replies)
        try:
            self._require_content_taken()
            result = make_result(results, ends, is_lmtp=is_lmtp)
        except DataRefused as refused:
            return _refused_by(refused.reply, results), None, refused
        except RecipientsRefused as refused:
            return refused.results, None, refused
        return result.recipients, result.reply, None

    def _failed_early(self) -> Verdict | None:
        """Say what it came to, if it did not get as far as its content."""
        order, mail_reply = self.plan.order, self.mail_reply
        if self.own_error is not None:
            results = [RecipientResult(name, None, False) for name in order.names]
            return results, None, self.own_error
        if mail_reply is not None and mail_reply.code >= 300:
            results = [RecipientResult(name, mail_reply, False) for name in order.names]
            return results, None, sender_refused(order, mail_reply)
        accepted = self.accepted
        if accepted and not (order.require_all and accepted < len(order.names)):
            return None
        results = rcpt_results(order, self.rcpt_replies, is_sent=False)
        error = recipients_refused(results, is_any_accepted=accepted > 0)
        return results, None, error

    def _require_content_taken(self) -> None:
        if self.data_reply is not None and self.data_reply.code >= 400:
            raise data_refused(self.data_reply)
        if self.refusal is not None:
            raise chunk_refused(self.refusal)

    def note_refusal(self, reply: Reply) -> None:
        """Keep what the server said in the middle of the content."""
        self.refusal = reply
        self.is_closed = self.is_closed or reply.code == _CODE_CLOSING

    def note(self, question: Question, reply: Reply) -> None:
        """Keep a reply with what it answers.

        Raises:
            OutOfStep: RSET was refused, so nobody knows what is left at the server.
        """
        if reply.code == _CODE_CLOSING:
            self.is_closed = True
        kind = type(question)
        if kind is Rcpt:
            self.rcpt_replies.append(reply)
            if reply.code < 300:
                self.accepted += 1
        elif kind is Mail:
            self.mail_reply = reply
        elif question is _END_OF_CONTENT:
            self.end_replies.append(reply)
        elif kind is Data:
            self.data_reply = reply
        elif kind is Rset:
            _require_reset(reply)
        elif isinstance(question, Bdat) and not question.is_last:
            if reply.code >= 300 and self.refusal is None:
                self.refusal = reply
        else:
            self.end_replies.append(reply)


def _require_reset(reply: Reply) -> None:
    if reply.code >= 300 and reply.code != _CODE_CLOSING:
        text = "the server refuses RSET"
        raise OutOfStep(text, reply=reply, command="RSET", phase="command")


def _refused_by(
    reply: Reply | None, results: Iterable[RecipientResult]
) -> list[RecipientResult]:
    """Refuse a message to all who were not refused before, by one reply."""
    return [
        RecipientResult(one.recipient, reply, False) if one.is_accepted else one
        for one in results
    ]


class Flights:
    """The transactions of one connection that are said and not settled.

    Args:
        machine: of the connection, after EHLO.
        window: how much may be under way.

    Attributes:
        under_way: in order; replies are for the first.
        closing: the 421 by which the server ends the connection, None before.
        has_gone_on: it answered further commands all the same.
    """

    __slots__ = (
        "_ends",
        "_octets",
        "_room",
        "_settled",
        "_window",
        "closing",
        "has_gone_on",
        "machine",
        "under_way",
    )

    def __init__(self, machine: ClientMachine, window: SendWindow) -> None:
        self.machine = machine
        self.under_way: deque[Transaction] = deque()
        self.closing: Reply | None = None
        self.has_gone_on = False
        self._window = window
        self._room = min(window.start_messages, window.max_messages)
        self._octets = 0
        self._settled: list[Transaction] = []
        # The transactions whose end is in what the machine has to say.
        self._ends: list[Transaction] = []

    # The window.

    @property
    def is_full(self) -> bool:
        """Whether to wait before the next message."""
        return (
            len(self.under_way) >= self._room
            or self._octets >= self._window.max_octets
            # Their replies have to fit into what a channel reads ahead.
            or self.machine.outstanding >= FLIGHT_COMMANDS
            or self._has_statuses_due
        )

    @property
    def is_half_empty(self) -> bool:
        """Whether so much is settled that the next flight is worth a write."""
        return (
            len(self.under_way) <= self._room // 2
            and self._octets <= self._window.max_octets // 2
            and self.machine.outstanding <= FLIGHT_COMMANDS // 2
            and not self._has_statuses_due
        )

    @property
    def _has_statuses_due(self) -> bool:
        """Whether nothing may be said before the statuses of an LMTP message are there.

        Some servers refuse a message by one reply for all recipients. The reply to what
        was said behind it would be taken for the status of the next one, who would seem
        to have the message.
        """
        return (
            self.machine.is_lmtp
            and bool(self.under_way)
            and len(self.under_way[-1].plan.rcpts) > 1
        )

    @property
    def is_left_open(self) -> bool:
        """Whether a transaction that failed is known to have left recipients behind.

        RSET is to be answered then before any content is said: were it refused, the
        content would be for them.
        """
        machine = self.machine
        return (
            not self.under_way and machine.state in LEFT_OVER and machine.accepted > 0
        )

    def _adapt(self, transaction: Transaction) -> None:
        """Trust a server that accepts with more, one that defers with less."""
        end_replies = transaction.end_replies
        verdict = end_replies[-1] if end_replies else transaction.mail_reply
        if verdict is None:
            return
        if verdict.code < 300:
            self._room = min(self._room + 1, self._window.max_messages)
        elif verdict.code < 500:
            self._room = max(self._room // 2, 1)

    # What is said.

    def begin(self, transaction: Transaction) -> list[Command]:
        """Take a transaction in; return what its envelope says, with RSET if needed."""
        plan = transaction.plan
        commands: list[Command] = [plan.mail, *plan.rcpts]
        if self.under_way or self.machine.state in LEFT_OVER:
            commands = [_RSET, *commands]
        self.under_way.append(transaction)
        self._octets += transaction.octets
        return commands

    def say(self, transaction: Transaction, commands: Iterable[Command]) -> None:
        """Say commands of a transaction.

        An argument that cannot be encoded ends it: its `own_error` tells. The server
        has heard what came before, and RSET will end that for the server too.
        """
        machine = self.machine
        before = machine.outstanding
        try:
            machine.send_all(commands)
        except ValueError as error:
            transaction.own_error = error
            transaction.is_open = False
        transaction.awaits += machine.outstanding - before

    def say_chunk(
        self, transaction: Transaction, chunk: bytes | memoryview, *, is_last: bool
    ) -> None:
        """Say BDAT, with its octets."""
        self.machine.send_chunk(chunk, is_last=is_last)
        transaction.awaits += 1
        if is_last:
            transaction.is_open = False
            self._ends.append(transaction)

    def say_end(self, transaction: Transaction) -> None:
        """Say the final dot."""
        self.machine.end_content()
        transaction.awaits += 1
        transaction.is_open = False
        self._ends.append(transaction)

    def mark_ends_sent(self) -> None:
        """Note that what was said is written now, and may arrive in part."""
        for transaction in self._ends:
            transaction.is_end_sent = True
        self._ends.clear()

    # What is heard.

    def take(self, question: Question, reply: Reply) -> None:
        """Take a reply; the first transactions may be settled then.

        Raises:
            OutOfStep: RSET was refused.
        """
        if question is _NOTHING:
            self.closing = reply
            return
        transaction = self.under_way[0]
        transaction.note(question, reply)
        if not (transaction.end_replies and self.machine.awaited is question):
            # Else it is one recipient's so far: LMTP.
            transaction.awaits -= 1
        if reply.code == _CODE_CLOSING or self.closing is not None:
            self._note_closing(transaction, reply)
        if not transaction.awaits:
            self._retire()

    def _note_closing(self, transaction: Transaction, reply: Reply) -> None:
        """Take note that the server goes, or that it goes on all the same."""
        if self.closing is None:
            self.closing = reply
        elif len(transaction.end_replies) <= 1:
            # Further statuses of LMTP are still about the same message.
            self.has_gone_on = True

    def _retire(self) -> None:
        """Let go of the first transactions of which nothing is to be said or heard."""
        under_way = self.under_way
        while under_way and not (under_way[0].awaits or under_way[0].is_open):
            transaction = under_way.popleft()
            self._octets -= transaction.octets
            self._adapt(transaction)
            self._settled.append(transaction)

    def take_settled(self) -> list[Transaction]:
        """Return the transactions that are settled, each once, in order."""
        if self.under_way:
            self._retire()
        settled = self._settled
        if settled:
            self._settled = []
        return settled

    def withdraw(self, transaction: Transaction) -> None:
        """End a transaction whose replies tell that nobody is to get its content.

        All that was said of it is answered.

        Raises:
            OutOfStep: an LMTP server takes DATA without a recipient: how many replies
                would follow, RFC 2033 does not say.
        """
        transaction.is_open = False
        if self.machine.state is not ClientState.DATA:
            return
        if self.machine.is_lmtp:
            raise OutOfStep(
                "the server takes DATA without a recipient",
                reply=transaction.data_reply,
                command="DATA",
                phase="data_start",
            )
        # RFC 2920 section 3.1: it is ended with a lone dot, and the reply is read.
        transaction.is_void = True
        self.machine.end_content()
        transaction.awaits += 1

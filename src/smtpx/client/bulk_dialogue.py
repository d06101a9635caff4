"""What is said and heard in `send_many`: transactions, and the replies to them.

What is said depends on the server:

- CHUNKING: whole transactions, ``RSET MAIL RCPT* BDAT LAST``, one behind the other.
- PIPELINING alone: the content of a message with its final dot, and RSET MAIL RCPT*
  DATA of the next, before the reply to the first is waited for (RFC 2920 section 3.1).
- neither: command by command.
- LMTP: as these, but nothing is said behind a message for several recipients before
  all their statuses are there: a server that is short of one cannot be told from one
  that answered what came next.

What is next, and what follows from the replies, is for `smtpx.client.bulk` to say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, cast

from smtpx.client.content import WRITE_OCTETS, chunks_of, put_small, send_blocks
from smtpx.client.link import SourceError, own_error
from smtpx.client.plan import FLIGHT_COMMANDS
from smtpx.core.client_base import Asked
from smtpx.core.client_states import ClientState
from smtpx.errors import ConnectionLost, DataRefused, NotSupported
from smtpx.wire.commands import Bdat, Data, Mail, Rcpt

if TYPE_CHECKING:
    from smtpx.client.flights import Flights, Transaction
    from smtpx.client.link import Link
    from smtpx.client.opening import Opening
    from smtpx.core.client_base import Question
    from smtpx.wire.replies import Reply

__all__ = ["BulkDialogue"]

# Chunks of one message whose replies may be outstanding: 1 MiB of a stream, 4 MiB of
# what is in memory.
_CHUNKS_AHEAD: Final = 16

_PHASES: Final[dict[type, str]] = {Mail: "mail", Rcpt: "rcpt", Data: "data_start"}

_DATA: Final = Data()
# Looked up once: in its class a member takes some times as long.
_END_OF_CONTENT: Final = Asked.END_OF_CONTENT


class BulkDialogue(ABC):
    """The connection of one run of `send_many`, and what is under way on it.

    Args:
        opening: makes connections, and holds the current one.
    """

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._flights: Flights | None = None
        self._unsent_octets = 0

    @abstractmethod
    def _settle(self, transaction: Transaction) -> None:
        """Keep what became of a transaction: nothing of it is open any more."""

    # Saying.

    async def _make_room(self, flights: Flights) -> None:
        """Wait until the window has room for some messages."""
        await self._flush()
        while not flights.is_half_empty:
            await self._hear()

    async def _say(self, link: Link, transaction: Transaction) -> None:
        """Say a transaction: all of it if it needs not wait for any reply."""
        flights, plan = self._flights, transaction.plan
        assert flights is not None  # noqa: S101 - there is a connection
        is_left_open = flights.is_left_open
        commands = flights.begin(transaction)
        if is_left_open and plan.uses_chunks:
            flights.say(transaction, commands[:1])
            await self._hear_all(transaction)
            del commands[0]
        is_pipelining = self._opening._options.pipelining and link.machine.may_pipeline
        if plan.is_one_flight:
            flights.say(transaction, commands)
            content = plan.payload.content
            assert content is not None  # noqa: S101 - as planned
            if transaction.is_open:
                flights.say_chunk(transaction, content, is_last=True)
                self._unsent_octets += len(content)
            return
        if not plan.uses_chunks and not plan.order.require_all:
            commands.append(_DATA)
        size = FLIGHT_COMMANDS if is_pipelining else 1
        for start in range(0, len(commands), size):
            if start:
                await self._hear_all(transaction)
                if transaction.is_hopeless or not transaction.is_open:
                    break
            flights.say(transaction, commands[start : start + size])
        if transaction.is_open:
            await self._say_content(link, transaction, is_pipelining=is_pipelining)
        if not is_pipelining:
            await self._hear_all(transaction)

    async def _say_content(
        self, link: Link, transaction: Transaction, *, is_pipelining: bool
    ) -> None:
        """Say the content of a message, as soon as it may be."""
        flights, plan = self._flights, transaction.plan
        assert flights is not None  # noqa: S101 - there is a connection
        is_required = plan.order.require_all
        if is_required or not is_pipelining or not plan.uses_chunks:
            await self._hear_all(transaction)
            is_data_due = not plan.uses_chunks and transaction.data_reply is None
            if is_data_due and not transaction.is_hopeless:
                flights.say(transaction, (_DATA,))
                await self._hear_all(transaction)
        if transaction.is_hopeless:
            flights.withdraw(transaction)
            return
        try:
            if plan.uses_chunks:
                await self._say_chunks(link, transaction, is_pipelining=is_pipelining)
            else:
                await self._say_data(link, transaction)
        except SourceError as error:
            transaction.own_error = cast("Exception", own_error(error))
        except NotSupported as error:
            transaction.own_error = error
        if transaction.is_open:
            transaction.is_open = False
            if link.machine.state is ClientState.DATA:
                # There is no way to end content that is not to be delivered.
                self._drop()

    async def _say_chunks(
        self, link: Link, transaction: Transaction, *, is_pipelining: bool
    ) -> None:
        """Say the content with BDAT; stop when it is known to be in vain."""
        flights = self._flights
        assert flights is not None  # noqa: S101 - there is a connection
        is_lmtp = link.machine.is_lmtp
        # RSET, MAIL, RCPT* and the chunks.
        ahead = 2 + len(transaction.plan.rcpts) + _CHUNKS_AHEAD
        most = ahead if is_pipelining else 0
        async with aclosing(chunks_of(transaction.plan, size=WRITE_OCTETS)) as chunks:
            async for chunk, is_last in chunks:
                # In LMTP the last chunk gets several replies, unless one before it
                # failed, so it has to be known how those went.
                if is_last and is_lmtp:
                    await self._hear_all(transaction)
                while transaction.awaits > most:
                    await self._hear()
                if transaction.is_hopeless:
                    return
                flights.say_chunk(transaction, chunk, is_last=is_last)
                await self._flush()
                if link.channel.is_readable:
                    await self._hear()

    async def _say_data(self, link: Link, transaction: Transaction) -> None:
        """Say the content behind a 354."""
        plan = transaction.plan
        if put_small(link.machine, plan.payload):
            self._unsent_octets += transaction.octets
            self._end(transaction)
            return
        try:
            await send_blocks(link, plan.payload, is_ascii_only=plan.is_ascii_only)
        except DataRefused as error:
            transaction.note_refusal(cast("Reply", error.reply))
            raise ConnectionLost(
                "the server refused a message before its end",
                reply=error.reply,
                phase="data_block",
            ) from error
        # All but the dot is written.
        self._end(transaction)

    def _end(self, transaction: Transaction) -> None:
        assert self._flights is not None  # noqa: S101 - there is a connection
        self._flights.say_end(transaction)

    async def _flush(self) -> None:
        """Write what is said and not written yet."""
        link, flights = self._opening._link, self._flights
        if link is None or flights is None:
            return
        if link.is_write_broken:
            while flights.under_way:
                await self._hear()
        if link.machine.has_data_to_send:
            self._unsent_octets = 0
            flights.mark_ends_sent()
            await link.flush("data_block")

    # Hearing.

    async def _hear_all(self, transaction: Transaction) -> None:
        """Wait until all that was said of a transaction is answered."""
        await self._flush()
        while transaction.awaits:
            await self._hear()

    async def _hear(self) -> None:
        """Wait for a reply; take it, and all that came with it."""
        link, flights = self._opening._link, self._flights
        assert link is not None and flights is not None  # noqa: S101, PT018
        machine = link.machine
        flights.take(*await link.next_answer(_phase_of(machine.awaited)))
        # The others that came with it need no waiting.
        while (answer := machine.next_reply()) is not None:
            flights.take(*answer)
        self._collect()
        if flights.closing is not None:
            raise ConnectionLost(
                "the server closes the connection",
                reply=flights.closing,
                phase=link.phase,
            )

    def _collect(self) -> None:
        """Settle what can be settled."""
        if self._flights is not None:
            for transaction in self._flights.take_settled():
                self._settle(transaction)

    async def _hear_out(self, link: Link, flights: Flights) -> bool:
        """Listen after a 421 until the server has gone.

        Returns:
            Whether it did nothing more, as it said: then no later transaction was
            carried out.
        """
        has_gone = await link.hear_out(flights.take)
        self._collect()
        return has_gone and not flights.has_gone_on

    def _drop(self) -> None:
        """Close the connection at once."""
        link = self._opening._link
        if link is not None:
            link.abort()
        self._opening._link = None
        self._collect()
        self._flights = None


def _phase_of(question: Question | None) -> str:
    """Return the name of the time-out for a reply."""
    if question is _END_OF_CONTENT:
        return "data_end"
    if type(question) is Bdat:
        return "data_end" if question.is_last else "data_block"
    return _PHASES.get(type(question), "command")

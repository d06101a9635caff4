"""The one conversation of a client, for both fronts.

It is written once, as coroutines over a `smtpx.net.channel.Channel` and a
`smtpx.client.link.Runtime`. `smtpx.client.aio` runs it on an event loop;
`smtpx.client.blocking` runs each coroutine to its end in one step, which it can, since
on a channel that blocks nothing here ever suspends. So nothing here may await anything
else.

After any exception a connection is provably in step, or it is closed: see `exclusive`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from smtpx.client.bulk import Bulk
from smtpx.client.connection import exclusive
from smtpx.client.limits import require_domains, require_mail
from smtpx.client.link import Link
from smtpx.client.message import (
    MessageSource,
    Payload,
    payload_of_octets,
)
from smtpx.client.order import (
    RcptOptionsOf,
    Recipients,
    make_order,
    payload_for,
)
from smtpx.client.outgoing import DEFAULT_WINDOW, Envelopes, Outcome, SendWindow
from smtpx.client.plan import Order, make_plan
from smtpx.client.results import is_used_up
from smtpx.client.supply import PlainSupply
from smtpx.client.transaction import run
from smtpx.client.verbs import Verbs, require_private
from smtpx.errors import (
    ConnectionLost,
    NotSupported,
    OutOfStep,
    PhaseTimeout,
    SenderRefused,
    SendError,
)
from smtpx.wire.address import Mailbox
from smtpx.wire.envelope import SendResult
from smtpx.wire.options import (
    DEFAULT_MAIL_OPTIONS,
    DEFAULT_RCPT_OPTIONS,
    BodyType,
    MailOptions,
)

if TYPE_CHECKING:
    from smtpx.client.supply import Supply

    pass

__all__ = ["Conversation"]


class Conversation(Verbs):
    """A client, as coroutines. `smtpx.AsyncClient` documents it."""

    # Messages.

    @exclusive
    async def send(
        self,
        message: MessageSource,
        *,
        sender: str | Mailbox | None = None,
        recipients: Recipients | None = None,
        options: MailOptions = DEFAULT_MAIL_OPTIONS,
        rcpt_options: RcptOptionsOf = DEFAULT_RCPT_OPTIONS,
        require_all: bool = False,
    ) -> SendResult:
        """Send a message. A client that is not connected connects.

        Args:
            message: an ``EmailMessage``, ``bytes``, ``str``, a binary file, or an
                iterable or async iterable of ``bytes``. Line ends become CRLF.
            sender: the reverse path, empty for the null reverse path; by default what
                an ``EmailMessage`` says.
            recipients: the forward paths; by default likewise.
            options: parameters of MAIL. SIZE, BODY and SMTPUTF8 are found out.
            rcpt_options: parameters of RCPT, for all or by recipient.
            require_all: send nothing unless every recipient is accepted.

        Returns:
            What became of it, for each recipient.

        Raises:
            SenderRefused: the server refused the sender.
            RecipientsRefused: every recipient, or one while all are required.
            DataRefused: the message.
            MessageTooLarge: it exceeds what the server takes; nothing was sent.
            NotSupported: it needs what the server does not offer; nothing was sent.
            ConnectionLost: the connection broke; ``delivery`` tells whether the server
                may have the message.
            ValueError: an address or header field is malformed.
        """
        order = make_order(
            message, sender, recipients, options, rcpt_options, require_all
        )
        if isinstance(message, bytes):
            is_usual = options is DEFAULT_MAIL_OPTIONS
            is_binary = not is_usual and options.body is BodyType.BINARYMIME
            payload = payload_of_octets(message, is_binary=is_binary)
        else:
            payload = await payload_for(message, options)
        return await self._send(order, payload)

    @exclusive
    async def send_once(
        self,
        message: MessageSource,
        *,
        sender: str | Mailbox | None = None,
        recipients: Recipients | None = None,
        options: MailOptions = DEFAULT_MAIL_OPTIONS,
        rcpt_options: RcptOptionsOf = DEFAULT_RCPT_OPTIONS,
        require_all: bool = False,
    ) -> SendResult:
        """Connect, send a message and quit, all within the total time.

        Args:
            message: as for `send`.
            sender: likewise.
            recipients: likewise.
            options: parameters of MAIL.
            rcpt_options: parameters of RCPT, for all or by recipient.
            require_all: send nothing unless every recipient is accepted.

        Returns:
            What became of the message, for each recipient.

        Raises:
            SendError: as `send` and `connect` do.
            ValueError: an address or header field is malformed.
        """
        order = make_order(
            message, sender, recipients, options, rcpt_options, require_all
        )
        payload = await payload_for(message, options)
        try:
            return await self._send(order, payload)
        finally:
            await self._quit()

    async def send_many(
        self,
        envelopes: Envelopes,
        *,
        retry_not_sent: bool = False,
        window: SendWindow = DEFAULT_WINDOW,
    ) -> AsyncGenerator[Outcome, None]:
        """Send messages as fast as the server takes them, over one connection.

        Nothing waits for a reply that it need not wait for: with CHUNKING, whole
        messages follow one another (RFC 3030 section 2); with PIPELINING alone, a
        message costs one round trip. Outcomes come in order, one for each message,
        whatever became of it. A client that is not connected connects.

        Args:
            envelopes: an iterable or async iterable of `Outgoing`, or of
                ``EmailMessage`` that name their sender and recipients. It is read as
                far ahead as the window is wide.
            retry_not_sent: when the connection is lost, connect again and go on, with
                what certainly was not sent and with the rest.
            window: how much may be under way.

        Yields:
            What became of each message. Leave the loop early, and the connection is
            closed: what is under way then is in doubt, and nobody hears of it.

        Raises:
            SendError: the connection is lost, or there is none. What had been taken
                from the iterable is reported before, the rest is still in it.
            TypeError: there is something else in it.
        """
        async with self._lock:
            self._start_clock()
            supply = self._supply(envelopes)
            bulk = Bulk(self, supply, window=window, retry_not_sent=retry_not_sent)
            try:
                async for batch in bulk.batches():
                    for outcome in batch:
                        yield outcome
            except BaseException as error:
                raised = self._settle(error)
                if raised is error:
                    raise
                raise raised from error
            finally:
                self._used_at = self._runtime.clock()
                await supply.close()

    def _supply(self, envelopes: Envelopes) -> Supply:
        return PlainSupply(envelopes)

    # The inner works: without the lock.

    async def _send(self, order: Order, payload: Payload) -> SendResult:
        """Send; on a used connection that turns out to be closed, connect anew once."""
        link = self._live_link() or await self._connect()
        options, offered = self._options, self._what_is_offered(link)
        if offered.limits:
            link = await self._link_for(order)
            offered = self._what_is_offered(link)
        plan = make_plan(order, payload, offered, options)
        if order.options is not DEFAULT_MAIL_OPTIONS:
            require_private(link, order.options)
        is_fresh, link.is_fresh = link.is_fresh, False
        link.is_answered = False
        try:
            result = await run(link, plan, pipelining=options.pipelining)
        except (SendError, OSError, EOFError) as error:
            if is_fresh or self._has_socket or not _may_try_again(link, error):
                raise
            link.abort()
            self._link = None
            link = await self._link_for(order)
            link.is_fresh = False
            plan = make_plan(order, payload, self._what_is_offered(link), options)
            require_private(link, order.options)
            result = await run(link, plan, pipelining=options.pipelining)
        self._used_at = self._runtime.clock()
        return result

    async def _link_for(self, order: Order) -> Link:
        """Return a connection that has room for a message (RFC 9422)."""
        link = self._live_link() or await self._connect()
        try:
            self._require_room(link, order)
        except NotSupported:
            if self._has_socket or not link.machine.mails:
                raise
            await self._quit()
            link = await self._connect()
            self._require_room(link, order)
        return link

    def _require_room(self, link: Link, order: Order) -> None:
        limits = self._what_is_offered(link).limits
        if limits:
            require_mail(limits, link.machine)
            require_domains(limits, link.machine, order.recipients)


def _may_try_again(link: Link, error: BaseException) -> bool:
    """Say whether an attempt ended before the server took any of it in.

    Servers close idle connections, and those that had their share of messages, which
    they say with 421 to the next MAIL. It is not a failure of this message.
    """
    if isinstance(error, SenderRefused):
        return error.smtp_code == 421 or is_used_up(error.reply)
    if isinstance(error, PhaseTimeout | OutOfStep | TimeoutError):
        return False
    is_lost = isinstance(error, ConnectionLost | ConnectionError | EOFError)
    return is_lost and not link.is_answered and not link.is_end_sent

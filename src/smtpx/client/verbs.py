"""The commands of SMTP one by one, each as a method."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING

from smtpx.client.authentication import authenticate
from smtpx.client.connection import exclusive
from smtpx.client.content import hear_end, send_content
from smtpx.client.limits import require_domains, require_mail, require_recipients
from smtpx.client.link import Link
from smtpx.client.message import MessageSource
from smtpx.client.opening import Opening
from smtpx.client.options import (
    Auth,
    Secret,
)
from smtpx.client.order import as_mailbox, payload_of
from smtpx.client.plan import check_options
from smtpx.client.results import data_refused, make_result
from smtpx.core.client_states import ClientState
from smtpx.errors import (
    BadReply,
    ConnectionLost,
    DataRefused,
    Delivery,
    NotSupported,
    RecipientsRefused,
    SenderRefused,
)
from smtpx.wire import commands
from smtpx.wire.address import Mailbox
from smtpx.wire.envelope import RecipientResult, SendResult
from smtpx.wire.options import (
    DEFAULT_MAIL_OPTIONS,
    DEFAULT_RCPT_OPTIONS,
    MailOptions,
    RcptOptions,
)

if TYPE_CHECKING:
    from smtpx.wire.forwarded import XClient, XForward
    from smtpx.wire.replies import Reply

__all__ = ["Verbs", "require_private"]


class Verbs(Opening):
    """A connection on which each command can be said."""

    # Commands.

    @exclusive
    async def hello(self, name: str | None = None) -> Reply:
        """Say EHLO, or LHLO; HELO if the server does not know EHLO.

        Args:
            name: domain or address literal of this host; by default as `connect` does.

        Returns:
            The reply.

        Raises:
            HelloRefused: the server refuses.
        """
        return await self._hello(self._require_link(), name)

    @exclusive
    async def starttls(self) -> Reply:
        """Turn to TLS, and say EHLO again (RFC 3207).

        Returns:
            The reply to STARTTLS.

        Raises:
            TLSUnavailable: the server does not offer it, or not now.
            TLSFailed: the handshake failed; the connection is closed.
        """
        return await self._starttls(self._require_link())

    @exclusive
    async def auth(
        self, user: str, password: Secret, *, mechanism: str | None = None
    ) -> Reply:
        """Authenticate (RFC 4954).

        Args:
            user: name of the user.
            password: it, or a function or coroutine function that returns it.
            mechanism: the only one to try; by default all that fit, the best first.

        Returns:
            The reply that says so.

        Raises:
            AuthenticationFailed: it was not accepted, or would be shown in clear.
            NotSupported: the server offers no AUTH.
        """
        mechanisms = None if mechanism is None else (mechanism,)
        credentials = Auth(user, password, mechanisms=mechanisms)
        return await authenticate(self._require_link(), credentials, self._options)

    @exclusive
    async def mail(
        self, sender: str | Mailbox, options: MailOptions = DEFAULT_MAIL_OPTIONS
    ) -> Reply:
        """Say MAIL: begin a transaction (RFC 5321 section 4.1.1.2).

        Args:
            sender: the reverse path; empty for the null reverse path.
            options: the parameters.

        Raises:
            SenderRefused: the server refuses.
            NotSupported: an option needs what the server does not offer, or the server
                takes no more messages over one connection (RFC 9422 section 4.1).
        """
        link = self._require_link()
        offered = self._what_is_offered(link)
        require_mail(offered.limits, link.machine)
        check_options(options, offered, self._options.registry)
        require_private(link, options)
        command = commands.Mail(as_mailbox(sender) if sender else None, options)
        self._results = []
        if link.machine.state is ClientState.FAILED:
            await self._require_positive(await link.ask(commands.Rset()), "RSET")
        link.is_fresh = False
        reply = await link.ask(command, "mail")
        if not reply.is_positive:
            raise SenderRefused(
                "the server refused the sender",
                sender=str(sender),
                reply=reply,
                phase="mail",
            )
        return reply

    @exclusive
    async def rcpt(
        self, recipient: str | Mailbox, options: RcptOptions = DEFAULT_RCPT_OPTIONS
    ) -> Reply:
        """Say RCPT: name a recipient (RFC 5321 section 4.1.1.3).

        Args:
            recipient: the forward path.
            options: the parameters.

        Raises:
            RecipientsRefused: the server refuses this one.
            NotSupported: an option needs what the server does not offer, or it takes
                no more recipients (RFC 9422 section 4).
        """
        link = self._require_link()
        mailbox = as_mailbox(recipient)
        offered = self._what_is_offered(link)
        require_recipients(offered.limits, len(self._results) + 1)
        require_domains(offered.limits, link.machine, [mailbox])
        check_options(options, offered, self._options.registry)
        command = commands.Rcpt(mailbox, options)
        reply = await link.ask(command, "rcpt")
        result = RecipientResult(str(recipient), reply, reply.is_positive)
        self._results.append(result)
        if not reply.is_positive:
            raise RecipientsRefused(
                "the server refused the recipient", results=[result], phase="rcpt"
            )
        return reply

    @exclusive
    async def data(self, message: MessageSource) -> SendResult:
        """Say DATA, and send a message behind it (RFC 5321 section 4.1.1.4).

        Args:
            message: in any form that `send` takes; nothing is checked against what
                the server offers, as MAIL has been said.

        Returns:
            What became of it, for each recipient since MAIL.

        Raises:
            DataRefused: the server refuses DATA, or the message.
        """
        link = self._require_link()
        payload = await payload_of(message)
        reply = await link.ask(commands.Data(), "data_start")
        if not reply.is_intermediate:
            raise data_refused(reply)
        return await self._finish(link, send_content(link, payload))

    @exclusive
    async def bdat(self, data: bytes, *, is_last: bool = False) -> SendResult:
        """Say BDAT with a chunk of a message behind it (RFC 3030 section 2).

        Args:
            data: octets, sent as they are; text must have CRLF line ends.
            is_last: whether the message ends with it.

        Returns:
            What became of the chunk, or of the message if it was the last.

        Raises:
            DataRefused: the server refuses the chunk, or the message.
            NotSupported: the server does not offer CHUNKING.
        """
        link = self._require_link()
        self._require_extension("CHUNKING", "BDAT")
        link.machine.send_chunk(data, is_last=is_last)
        link.is_end_sent = is_last
        await link.flush()
        if is_last:
            return await self._finish(link, hear_end(link))
        reply = await link.next_reply("data_block")
        if not reply.is_positive:
            raise DataRefused(
                "the server refused the chunk",
                reply=reply,
                command="BDAT",
                phase="data_block",
            )
        return SendResult(reply, tuple(self._results))

    @exclusive
    async def reset(self) -> Reply:
        """Say RSET: forget the transaction (RFC 5321 section 4.1.1.5)."""
        return await self._ask(commands.Rset())

    @exclusive
    async def verify(self, text: str) -> Reply:
        """Say VRFY: is this a mailbox? (RFC 5321 section 4.1.1.6).

        Args:
            text: a user or a mailbox.

        Returns:
            The reply; 252 says that the server will not tell.

        Raises:
            CommandRefused: the server says no.
        """
        return await self._ask(commands.Vrfy(text))

    @exclusive
    async def expand(self, text: str) -> Reply:
        """Say EXPN: who is on this list? (RFC 5321 section 4.1.1.7).

        Args:
            text: a mailing list.

        Returns:
            The reply, with one member a line.

        Raises:
            CommandRefused: the server says no.
        """
        return await self._ask(commands.Expn(text))

    @exclusive
    async def etrn(self, node: str) -> Reply:
        """Say ETRN: send me what you hold for a node (RFC 1985 section 5).

        Args:
            node: a domain; with ``@`` before it, all domains below it too; or ``#``
                and the name of a queue.

        Returns:
            The reply: 250, or 251 to 253 if the server says how many messages wait.

        Raises:
            CommandRefused: the server says no.
            NotSupported: it does not offer ETRN.
            ValueError: there can be no such node.
        """
        self._require_link()
        self._require_extension("ETRN", "ETRN")
        return await self._ask(commands.Etrn(node))

    @exclusive
    async def noop(self, text: str = "") -> Reply:
        """Say NOOP: are you there? (RFC 5321 section 4.1.1.9).

        Args:
            text: without meaning.

        Raises:
            CommandRefused: the server says no.
        """
        return await self._ask(commands.Noop(text))

    @exclusive
    async def help(self, topic: str = "") -> Reply:
        """Say HELP (RFC 5321 section 4.1.1.8).

        Args:
            topic: maybe a command.

        Raises:
            CommandRefused: the server says no.
        """
        return await self._ask(commands.Help(topic))

    @exclusive
    async def xclient(self, attributes: XClient) -> Reply:
        """Say XCLIENT: speak for another client (Postfix); then EHLO again.

        The server begins again as with a connection of that client: who authenticated
        is forgotten, unless the attributes tell a login; TLS stays.

        Args:
            attributes: what to tell of the client. EHLO gives its name, if they tell
                that.

        Returns:
            The reply to XCLIENT, which greets the client.

        Raises:
            CommandRefused: the server says no, or turns that client away.
            NotSupported: the server does not offer it, or not one of the attributes.
            ValueError: an attribute cannot have such a value.
        """
        return await self._speak_for(self._require_link(), attributes)

    @exclusive
    async def xforward(self, attributes: XForward) -> Reply:
        """Say XFORWARD: where the next message came from, for logs (Postfix).

        It holds until the end of the next transaction. What does not fit into one
        command is told in several.

        Args:
            attributes: what to tell.

        Returns:
            The reply to the last command.

        Raises:
            CommandRefused: the server says no.
            NotSupported: the server does not offer it, or not one of the attributes.
            ValueError: an attribute cannot have such a value.
        """
        self._require_link()
        self._require_attributes(attributes)
        first, *others = attributes.split()
        reply = await self._ask(first)
        for command in others:
            reply = await self._ask(command)
        return reply

    @exclusive
    async def execute(self, verb: str, argument: str = "") -> Reply:
        """Say any command, and return whatever it is answered with.

        Args:
            verb: letters, digits and hyphens.
            argument: all that follows it.

        Returns:
            The reply, refusals included.

        Raises:
            UnsafeOctets: the argument holds a control character.
        """
        return await self._require_link().ask(commands.Raw(verb.upper(), argument))

    async def _finish(self, link: Link, sending: Awaitable[None]) -> SendResult:
        """Send what is left of a message, and say what became of it."""
        link.end_replies.clear()
        is_lmtp = link.machine.is_lmtp
        try:
            await sending
        except (ConnectionLost, OSError, EOFError, BadReply) as error:
            raised = link.translate(error)
            if isinstance(raised, ConnectionLost):
                raised.results = tuple(self._results_at_break(link))
            if raised is error:
                raise
            raise raised from error
        return make_result(self._results, link.end_replies, is_lmtp=is_lmtp)

    def _results_at_break(self, link: Link) -> Iterator[RecipientResult]:
        """Say what is known of each recipient when the connection ends too early."""
        statuses = iter(link.end_replies if link.machine.is_lmtp else ())
        may_have = link.delivery is Delivery.UNKNOWN
        for result in self._results:
            if result.is_accepted:
                reply = next(statuses, None)
                is_accepted = reply is not None and reply.is_positive
                is_unknown = reply is None and may_have
                yield RecipientResult(result.recipient, reply, is_accepted, is_unknown)
            else:
                yield result

    async def _ask(self, command: commands.Command) -> Reply:
        reply = await self._require_link().ask(command)
        return await self._require_positive(reply, command.verb)


def require_private(link: Link, options: MailOptions) -> None:
    """Refuse REQUIRETLS where nobody knows who listens (RFC 8689 section 2)."""
    if options.requiretls and not (link.channel.tls and link.channel.tls.is_verified):
        raise NotSupported(
            "REQUIRETLS needs a connection under TLS, with a verified certificate",
            command="MAIL",
            phase="mail",
        )

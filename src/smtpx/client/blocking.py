"""The client for programs without an event loop: `Client`, `LMTPClient` and `send`.

Each method runs the coroutine of the one conversation; see
`smtpx.client.blocking_runtime`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Self

from smtpx.client.blocking_runtime import BlockingRuntime, require_blocking, run
from smtpx.client.connection import describe
from smtpx.client.conversation import Conversation
from smtpx.client.options import DEFAULT_OPTIONS
from smtpx.client.outgoing import DEFAULT_WINDOW
from smtpx.wire.options import DEFAULT_MAIL_OPTIONS, DEFAULT_RCPT_OPTIONS

if TYPE_CHECKING:
    import socket as sockets
    from types import TracebackType

    from smtpx.client.connection import AnyAuth
    from smtpx.client.message import MessageSource
    from smtpx.client.options import ClientOptions, Secret
    from smtpx.client.order import RcptOptionsOf, Recipients
    from smtpx.client.outgoing import Envelopes, Outcome, SendWindow
    from smtpx.net.tls import TLSInfo
    from smtpx.wire.address import Mailbox
    from smtpx.wire.capabilities import Capabilities
    from smtpx.wire.envelope import SendResult
    from smtpx.wire.forwarded import XClient, XForward
    from smtpx.wire.options import MailOptions, RcptOptions
    from smtpx.wire.replies import Reply

__all__ = ["Client", "LMTPClient", "send"]


class _LMTPConversation(Conversation):
    _is_lmtp = True


class Client:
    """An SMTP client that blocks.

    As a context manager it connects, says EHLO, turns to TLS and authenticates, and
    says QUIT in the end. Without one, call `connect`; `send` does it by itself, also
    when the server has closed an idle connection.

    Threads may share a client; each call waits for the one before. A call that times
    out closes the connection, as a reply may still come for it; the next `send` opens
    another.

    Args:
        url: where to connect; see `smtpx.client.options.parse_url`.
        options: everything else.
        auth: user and password, used at each connect; the password may be a function
            that returns it.
        socket: already connected; the client owns it from now on. The URL then only
            says what is spoken there, and may be left out.

    Raises:
        ValueError: the URL is none, or there is neither URL nor socket.

    >>> Client("smtp://mail.example.com:587")
    <Client mail.example.com:587: closed>
    """

    _conversation_type = Conversation

    def __init__(
        self,
        url: str | None = None,
        *,
        options: ClientOptions = DEFAULT_OPTIONS,
        auth: AnyAuth | None = None,
        socket: sockets.socket | None = None,
    ) -> None:
        self._conversation = self._conversation_type(
            BlockingRuntime(), url, options, auth, socket
        )

    def __enter__(self) -> Self:
        if not self.is_connected:
            self.connect()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.quit()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {describe(self._conversation)}>"

    # What is known.

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection that can be used, as far as is known here."""
        return self._conversation.is_connected

    @property
    def is_alive(self) -> bool:
        """Whether there is a connection, and the server has not closed it.

        It takes a look at what has arrived, not a round trip. On a connection on which
        nothing was asked, that is the end, or a 421 that announces it.
        """
        return self._conversation.is_alive

    @property
    def capabilities(self) -> Capabilities:
        """What the server offers; nothing before it was asked."""
        return self._conversation.capabilities

    @property
    def tls(self) -> TLSInfo | None:
        """Facts about TLS, None in clear."""
        return self._conversation.tls

    @property
    def peer(self) -> str | None:
        """The address of the server, None while there is no connection."""
        return self._conversation.peer

    @property
    def greeting(self) -> Reply | None:
        """The server's first words, of this connection or the last."""
        return self._conversation.greeting

    def extension(self, keyword: str) -> tuple[str, ...] | None:
        """Say whether the server offers an extension.

        Args:
            keyword: in any case.

        Returns:
            Its parameters, maybe none; None if it is not offered.
        """
        return self._conversation.extension(keyword)

    # Opening and closing, commands, messages.

    def connect(self) -> None:
        """Connect, say EHLO, turn to TLS and authenticate, as the options say.

        Raises:
            ConnectError: there is no connection, or the server refuses it.
            HelloRefused: the server refuses EHLO.
            TLSUnavailable: TLS is required and not offered.
            TLSFailed: the handshake failed.
            AuthenticationFailed: no credentials were accepted.
            ConnectionLost: the connection did not live so long.
        """
        run(self._conversation.connect())

    def close(self) -> None:
        """Close the connection without a word. Closed is fine too."""
        run(self._conversation.close())

    def quit(self) -> Reply | None:
        """Say QUIT and close the connection (RFC 5321 section 4.1.1.10).

        Nothing depends on it any more, so it raises nothing of the network.

        Returns:
            The reply, None if there was none.
        """
        return run(self._conversation.quit())

    def hello(self, name: str | None = None) -> Reply:
        """Say EHLO, or LHLO; HELO if the server does not know EHLO.

        Args:
            name: domain or address literal of this host; by default as `connect` does.

        Returns:
            The reply.

        Raises:
            HelloRefused: the server refuses.
        """
        return run(self._conversation.hello(name))

    def starttls(self) -> Reply:
        """Turn to TLS, and say EHLO again (RFC 3207).

        Returns:
            The reply to STARTTLS.

        Raises:
            TLSUnavailable: the server does not offer it, or not now.
            TLSFailed: the handshake failed; the connection is closed.
        """
        return run(self._conversation.starttls())

    def auth(
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
        return run(self._conversation.auth(user, password, mechanism=mechanism))

    def mail(
        self, sender: str | Mailbox, options: MailOptions = DEFAULT_MAIL_OPTIONS
    ) -> Reply:
        """Say MAIL: begin a transaction (RFC 5321 section 4.1.1.2).

        Args:
            sender: the reverse path; empty for the null reverse path.
            options: the parameters.

        Raises:
            SenderRefused: the server refuses.
            NotSupported: an option needs what the server does not offer.
        """
        return run(self._conversation.mail(sender, options))

    def rcpt(
        self, recipient: str | Mailbox, options: RcptOptions = DEFAULT_RCPT_OPTIONS
    ) -> Reply:
        """Say RCPT: name a recipient (RFC 5321 section 4.1.1.3).

        Args:
            recipient: the forward path.
            options: the parameters.

        Raises:
            RecipientsRefused: the server refuses this one.
            NotSupported: an option needs what the server does not offer.
        """
        return run(self._conversation.rcpt(recipient, options))

    def data(self, message: MessageSource) -> SendResult:
        """Say DATA, and send a message behind it (RFC 5321 section 4.1.1.4).

        Args:
            message: in any form that `send` takes; nothing is checked against what
                the server offers, as MAIL has been said.

        Returns:
            What became of it, for each recipient since MAIL.

        Raises:
            DataRefused: the server refuses DATA, or the message.
        """
        require_blocking(message)
        return run(self._conversation.data(message))

    def bdat(self, data: bytes, *, is_last: bool = False) -> SendResult:
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
        return run(self._conversation.bdat(data, is_last=is_last))

    def reset(self) -> Reply:
        """Say RSET: forget the transaction (RFC 5321 section 4.1.1.5)."""
        return run(self._conversation.reset())

    def verify(self, text: str) -> Reply:
        """Say VRFY: is this a mailbox? (RFC 5321 section 4.1.1.6).

        Args:
            text: a user or a mailbox.

        Returns:
            The reply; 252 says that the server will not tell.

        Raises:
            CommandRefused: the server says no.
        """
        return run(self._conversation.verify(text))

    def expand(self, text: str) -> Reply:
        """Say EXPN: who is on this list? (RFC 5321 section 4.1.1.7).

        Args:
            text: a mailing list.

        Returns:
            The reply, with one member a line.

        Raises:
            CommandRefused: the server says no.
        """
        return run(self._conversation.expand(text))

    def etrn(self, node: str) -> Reply:
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
        return run(self._conversation.etrn(node))

    def noop(self, text: str = "") -> Reply:
        """Say NOOP: are you there? (RFC 5321 section 4.1.1.9).

        Args:
            text: without meaning.

        Raises:
            CommandRefused: the server says no.
        """
        return run(self._conversation.noop(text))

    def help(self, topic: str = "") -> Reply:
        """Say HELP (RFC 5321 section 4.1.1.8).

        Args:
            topic: maybe a command.

        Raises:
            CommandRefused: the server says no.
        """
        return run(self._conversation.help(topic))

    def xclient(self, attributes: XClient) -> Reply:
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
        return run(self._conversation.xclient(attributes))

    def xforward(self, attributes: XForward) -> Reply:
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
        return run(self._conversation.xforward(attributes))

    def execute(self, verb: str, argument: str = "") -> Reply:
        """Say any command, and return whatever it is answered with.

        Args:
            verb: letters, digits and hyphens.
            argument: all that follows it.

        Returns:
            The reply, refusals included.

        Raises:
            UnsafeOctets: the argument holds a control character.
        """
        return run(self._conversation.execute(verb, argument))

    def send(
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
        # The usual one first: to ask for what a class can do takes a microsecond.
        if type(message) is not bytes:
            require_blocking(message)
        return run(
            self._conversation.send(
                message,
                sender=sender,
                recipients=recipients,
                options=options,
                rcpt_options=rcpt_options,
                require_all=require_all,
            )
        )

    def send_once(
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
        require_blocking(message)
        return run(
            self._conversation.send_once(
                message,
                sender=sender,
                recipients=recipients,
                options=options,
                rcpt_options=rcpt_options,
                require_all=require_all,
            )
        )

    def send_many(
        self,
        envelopes: Envelopes,
        *,
        retry_not_sent: bool = False,
        window: SendWindow = DEFAULT_WINDOW,
    ) -> Generator[Outcome, None, None]:
        """Send messages as fast as the server takes them, over one connection.

        Nothing waits for a reply that it need not wait for: with CHUNKING, whole
        messages follow one another (RFC 3030 section 2); with PIPELINING alone, a
        message costs one round trip. Outcomes come in order, one for each message,
        whatever became of it. A client that is not connected connects.

        Args:
            envelopes: an iterable of `Outgoing`, or of ``EmailMessage`` that name their
                sender and recipients. It is read as far ahead as the window is wide.
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
        require_blocking(envelopes)
        outcomes = self._conversation.send_many(
            envelopes, retry_not_sent=retry_not_sent, window=window
        )
        try:
            while True:
                try:
                    outcome = run(anext(outcomes))
                except StopAsyncIteration:
                    return
                yield outcome
        finally:
            run(outcomes.aclose())


class LMTPClient(Client):
    """An LMTP client that blocks (RFC 2033): as `Client`, with LHLO for EHLO.

    The server answers a message once for each recipient, so the result has a reply for
    each, by position, and none for the message as a whole.

    >>> LMTPClient("lmtp+unix:///run/dovecot/lmtp")
    <LMTPClient unix:/run/dovecot/lmtp: closed>
    """

    _conversation_type = _LMTPConversation


def send(  # noqa: PLR0913 - all but the first by keyword
    message: MessageSource,
    *,
    to: str,
    sender: str | Mailbox | None = None,
    recipients: Recipients | None = None,
    auth: AnyAuth | None = None,
    options: MailOptions = DEFAULT_MAIL_OPTIONS,
    rcpt_options: RcptOptionsOf = DEFAULT_RCPT_OPTIONS,
    require_all: bool = False,
    client_options: ClientOptions = DEFAULT_OPTIONS,
) -> SendResult:
    """Connect, send one message, and quit.

    Args:
        message: as for `Client.send`.
        to: URL of the server.
        sender: as for `Client.send`.
        recipients: likewise.
        auth: as for `Client`.
        options: parameters of MAIL.
        rcpt_options: parameters of RCPT, for all or by recipient.
        require_all: send nothing unless every recipient is accepted.
        client_options: as for `Client`.

    Returns:
        What became of the message, for each recipient.

    Raises:
        SendError: the subclasses say at which step.
        ValueError: an address, a header field or the URL is malformed.
    """
    client = Client(to, options=client_options, auth=auth)
    return client.send_once(
        message,
        sender=sender,
        recipients=recipients,
        options=options,
        rcpt_options=rcpt_options,
        require_all=require_all,
    )

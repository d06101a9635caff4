r"""Sessions that relay, command for command, to another server.

>>> import asyncio, smtpx
>>> class Inbox(smtpx.Session):
...     async def data(self, body):
...         print(self.envelope.reverse_path, await body.read())
>>> async def main():
...     async with smtpx.Server(Inbox) as inner:
...         relay = smtpx.Relay(f"smtp+plain://{inner.addresses[0]}")
...         async with smtpx.Server(relay) as outer:
...             await smtpx.asend(
...                 b"Subject: hi\r\n\r\nhello\r\n",
...                 to=f"smtp+plain://{outer.addresses[0]}",
...                 sender="ann@example.com",
...                 recipients=["bob@example.net"],
...             )
>>> asyncio.run(main())
ann@example.com b'Subject: hi\r\n\r\nhello\r\n'

Theory of operation. Nothing is stored here, so nothing is acknowledged here: each reply
is that of the next server to the same command, and the 250 to a message is sent on when
it was heard. What has no reply, as the connection was lost or none could be made, is a
temporary failure of ours, 451 4.4.x, and the client keeps the message. The content is
passed on as the next server takes it. If the client's message is cut off, so is the
connection to the next server: a message that breaks off must never get its final dot.

A session has one connection to the next server. It is made at the first MAIL, or AUTH,
and serves all transactions; one that was closed while idle is replaced.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from smtpx.app.origin import origin_of, proxy_header_of
from smtpx.client.aio import AsyncClient, AsyncLMTPClient
from smtpx.client.options import (
    DEFAULT_OPTIONS,
    Auth,
    Chunking,
    ClientOptions,
    parse_url,
)
from smtpx.errors import (
    AuthenticationFailed,
    BadParameter,
    CommandRefused,
    ConnectError,
    ConnectionLost,
    DataRefused,
    HelloRefused,
    NotSupported,
    PhaseTimeout,
    RecipientsRefused,
    Refuse,
    SenderRefused,
    SendError,
    TLSFailed,
    TLSUnavailable,
)
from smtpx.server.session import ConnectionInfo, Session, Statuses
from smtpx.wire import replies
from smtpx.wire.options import BodyType
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from smtpx.client.connection import AnyAuth
    from smtpx.server.body import Body
    from smtpx.server.options import ServerOptions
    from smtpx.wire.address import Mailbox
    from smtpx.wire.capabilities import Capabilities
    from smtpx.wire.envelope import SendResult
    from smtpx.wire.params import MailOptions, RcptOptions

__all__ = ["AuthRelaySession", "Relay", "RelaySession"]

logger = logging.getLogger("smtpx.relay")

# Of one BDAT: less would cost a round trip for each line that arrives by itself.
_CHUNK_OCTETS: Final = 65_536

# What is said of errors without a reply that a client could use (RFC 3463 section 3).
# The first row that fits; what happened in detail is for our log.
_FAILURES: Final[tuple[tuple[type[SendError], Reply], ...]] = (
    (AuthenticationFailed, Reply(451, "4.7.0", "the next server does not know us")),
    (TLSFailed, Reply(451, "4.7.5", "no TLS with the next server")),
    (TLSUnavailable, Reply(451, "4.7.5", "no TLS with the next server")),
    (PhaseTimeout, Reply(451, "4.4.1", "no answer from the next server")),
    (ConnectError, Reply(451, "4.4.1", "no answer from the next server")),
    (ConnectionLost, Reply(451, "4.4.2", "lost the connection to the next server")),
    (HelloRefused, Reply(451, "4.4.0", "the next server refuses us")),
)
_NOT_OFFERED: Final = Reply(554, "5.3.3", "the next server cannot do that")


class Relay:
    """Where to relay to; give it to ``Server`` as what makes sessions.

    Args:
        url: of the next server, as for `AsyncClient`; ``lmtp://`` and
            ``lmtp+unix://`` too. In LMTP, and from LMTP to LMTP, each recipient has a
            status of its own. From SMTP to LMTP a message has one recipient, others
            get 452, so that each gets its own reply.
        options: of the connections there: TLS, time-outs, BDAT.
        auth: our credentials there. Without them, whatever the client sends is sent by
            nobody in particular.
        xforward: where the next server offers XFORWARD, tell it for its log where each
            message came from (Postfix). It offers that to clients that it trusts. What
            our client told by XFORWARD is passed on, as a content filter should.
        proxy_header: begin each connection there with a PROXY header that tells of our
            client (HAProxy). The next server must expect it of us; it then treats us
            as it would that client.
        pass_auth: offer AUTH, and have the next server check the passwords of our
            clients; what they send is then sent as theirs. The mechanisms are those
            that show the password: PLAIN and LOGIN.

    Raises:
        ValueError: the URL is none, or both ``auth`` and ``pass_auth`` are given.

    >>> Relay("smtp://mx.example.com")
    <Relay to mx.example.com:25>
    """

    def __init__(
        self,
        url: str,
        *,
        options: ClientOptions = DEFAULT_OPTIONS,
        auth: AnyAuth | None = None,
        xforward: bool = False,
        proxy_header: bool = False,
        pass_auth: bool = False,
    ) -> None:
        if auth is not None and pass_auth:
            raise ValueError("give auth, or pass_auth: one of them is who sends")
        self._target = parse_url(url)
        self._url = url
        self._auth = auth
        self.options = options
        self.xforward = xforward
        self.proxy_header = proxy_header
        self._session = AuthRelaySession if pass_auth else RelaySession

    def __call__(self, connection: ConnectionInfo) -> RelaySession:
        """Make a session.

        Args:
            connection: facts about the client's connection.
        """
        return self._session(connection, self)

    def __repr__(self) -> str:
        return f"<Relay to {self._target}>"

    @property
    def is_lmtp(self) -> bool:
        """Whether LMTP is spoken there."""
        return self._target.is_lmtp

    def client(
        self, auth: AnyAuth | None = None, connection: ConnectionInfo | None = None
    ) -> AsyncClient:
        """Make a client for the next server; it is not connected.

        Args:
            auth: credentials; by default our own.
            connection: of our client; None to speak for ourselves.
        """
        kind = AsyncLMTPClient if self.is_lmtp else AsyncClient
        options = self.options
        if self.proxy_header:
            options = replace(options, proxy_header=proxy_header_of(connection))
        return kind(self._url, options=options, auth=auth or self._auth)

    async def offered(self, options: ServerOptions) -> ServerOptions:
        """Take away from a server's options what the next server cannot do.

        It is asked once, now: what it offers is what EHLO can list. A session that
        meets another server behind the same name refuses what that one cannot do.

        Args:
            options: with all that you would offer.

        Returns:
            Options to offer what both can, for messages of a size that both take, to as
            many recipients as both take: from SMTP to LMTP that is one.

        Raises:
            SendError: the next server cannot be asked.
        """
        async with self.client() as client:
            capabilities = client.capabilities
        limits = options.limits
        most = capabilities.size
        if most is not None:
            ours = limits.max_message_octets
            limits = replace(
                limits, max_message_octets=most if ours is None else min(ours, most)
            )
        recipients = capabilities.limits.get("RCPTMAX", limits.max_recipients)
        if self.is_lmtp and not (options.lmtp or options.lmtp_too):
            recipients = 1
        limits = replace(limits, max_recipients=min(limits.max_recipients, recipients))
        return replace(
            options,
            limits=limits,
            smtputf8=options.smtputf8 and "SMTPUTF8" in capabilities,
            binarymime=options.binarymime
            and "BINARYMIME" in capabilities
            and "CHUNKING" in capabilities,
            dsn=options.dsn and "DSN" in capabilities,
            extensions=frozenset(
                keyword for keyword in options.extensions if keyword in capabilities
            ),
        )


class RelaySession(Session):
    """A session whose every transaction is one with the next server.

    `Relay` makes them. Subclass it to look at what passes: call the hooks of this class
    for what is to be relayed.

    Args:
        connection: facts about the client's connection.
        relay: where to.

    Attributes:
        relay: as given.
        upstream: the connection to the next server; None until it is needed.
    """

    def __init__(self, connection: ConnectionInfo, relay: Relay) -> None:
        super().__init__(connection)
        self.relay = relay
        self.upstream: AsyncClient | None = None
        self._auth: Auth | None = None
        self._mails = 0
        # The transaction there: whether there is one, and which of its RCPT commands,
        # by position, were accepted.
        self._is_open = False
        self._rcpts = 0
        self._accepted: list[int] = []

    # ------------------------------------------------------------------- hooks

    async def mail(
        self, reverse_path: Mailbox | None, options: MailOptions
    ) -> Reply | None:
        """Begin a transaction there; connect if need be.

        Args:
            reverse_path: the sender; None for ``<>``.
            options: the parameters; all must be offered there, but for SIZE.

        Returns:
            The reply of the next server, or 451 4.4.x.
        """
        return await self._relayed(self._begin(reverse_path, options))

    async def rcpt(self, forward_path: Mailbox, options: RcptOptions) -> Reply | None:
        """Name a recipient there.

        Args:
            forward_path: the recipient.
            options: the parameters.

        Returns:
            The reply of the next server, or 451 4.4.x.
        """
        if self.relay.is_lmtp and not self.connection.is_lmtp and self._accepted:
            # The end of a message has one reply here and one for each of them there.
            return replies.TOO_MANY_RECIPIENTS
        return await self._relayed(self._say_rcpt(forward_path, options))

    async def data(self, body: Body) -> Reply | None:
        """Send the content on.

        Args:
            body: the content.

        Returns:
            The reply of the next server to its end, or 451 4.4.x.
        """
        return await self._relayed(self._deliver(body, None))

    async def lmtp_data(self, body: Body, statuses: Statuses) -> Reply | None:
        """Send the content on; from LMTP to LMTP each recipient has its own reply.

        Args:
            body: the content.
            statuses: get the replies of the next server.

        Returns:
            Its one reply, if it speaks SMTP; else what is for those without a status
            when the connection was lost: 451 4.4.x.
        """
        return await self._relayed(self._deliver(body, statuses))

    async def reset(self) -> None:
        """Give up the transaction there, if it was not brought to its end."""
        if self._is_open and self.upstream is not None:
            self._is_open = False
            try:
                await self.upstream.reset()
            except SendError as error:
                self._log(error)
                await self._drop()

    async def closed(self, reason: str) -> None:
        """Say goodbye there.

        Args:
            reason: why, in words for a log.
        """
        client, self.upstream = self.upstream, None
        if client is not None:
            await client.quit()

    # ------------------------------------------------------------ the next server

    async def _connected(self) -> AsyncClient:
        """Return a connection that lives, as far as can be seen from here."""
        client = self.upstream
        if client is not None and client.is_alive:
            return client
        await self._drop()
        client = self.relay.client(self._auth, self.connection)
        # Before it is known to work, so that whatever happens it is closed.
        self.upstream, self._mails = client, 0
        await client.connect()
        return client

    async def _drop(self) -> None:
        """Cut the connection without a word."""
        self._is_open = False
        client, self.upstream = self.upstream, None
        if client is not None:
            await client.close()

    def _require_open(self) -> AsyncClient:
        """Return the connection that has the transaction."""
        client = self.upstream
        if client is None:
            raise ConnectionLost("the transaction there is gone", phase="command")
        return client

    async def _begin(self, reverse_path: Mailbox | None, options: MailOptions) -> Reply:
        self._is_open = False
        client = await self._connected()
        if self._mails:
            try:
                return await self._say_mail(client, reverse_path, options)
            except (ConnectionLost, SenderRefused, NotSupported) as error:
                if not _is_used_up(error):
                    raise
            # It was closed in this moment, or had its share of messages. Nothing was
            # said of this one yet.
            await self._drop()
            client = await self._connected()
        return await self._say_mail(client, reverse_path, options)

    async def _say_mail(
        self, client: AsyncClient, reverse_path: Mailbox | None, options: MailOptions
    ) -> Reply:
        self._mails += 1
        self._rcpts, self._accepted = 0, []
        options = _for_next(options, client.capabilities)
        if self.relay.xforward:
            await self._tell_origin(client)
        reply = await client.mail(reverse_path or "", options)
        self._is_open = True
        return reply

    async def _tell_origin(self, client: AsyncClient) -> None:
        """Say XFORWARD where it is offered; a refusal of it refuses no message."""
        origin = origin_of(self.connection, client.extension("XFORWARD") or ())
        if origin.names:
            try:
                await client.xforward(origin)
            except (CommandRefused, BadParameter) as error:
                self._log(error)

    async def _say_rcpt(self, forward_path: Mailbox, options: RcptOptions) -> Reply:
        client = self._require_open()
        try:
            reply = await client.rcpt(forward_path, options)
        except RecipientsRefused:
            self._rcpts += 1
            raise
        self._accepted.append(self._rcpts)
        self._rcpts += 1
        return reply

    async def _deliver(self, body: Body, statuses: Statuses | None) -> Reply | None:
        """Send the content; return the reply to it, or give each recipient its own."""
        failure = replies.LOCAL_ERROR
        try:
            result = await self._send(body)
        except RecipientsRefused as error:
            results = error.results
        except ConnectionLost as error:
            if statuses is None or not error.results:
                raise
            # Some may have their status: those will not be sent the message again.
            self._log(error)
            results, failure = error.results, _reply_to(error)
        else:
            if result.reply is not None:
                return result.reply
            results = result.recipients
        answers = [results[position].reply for position in self._accepted]
        if statuses is None:
            # From SMTP to LMTP there is but one.
            return answers[0]
        for recipient, reply in zip(statuses.recipients, answers, strict=True):
            if reply is not None:
                statuses.set(recipient, reply)
        return failure

    async def _send(self, body: Body) -> SendResult:
        """Send the content, and hear what becomes of it."""
        client = self._require_open()
        if len(self._accepted) != len(self.envelope.recipients):
            await self._begin_again(client)
        is_binary = self.envelope.options.body is BodyType.BINARYMIME
        is_wanted = self.relay.options.chunking is Chunking.ALWAYS
        uses_chunks = is_binary or (is_wanted and "CHUNKING" in client.capabilities)
        try:
            if uses_chunks:
                return await _send_chunks(client, body)
            return await client.data(body)
        except SendError:
            raise  # the client has seen to it that it is in step, or closed
        except BaseException:
            # The client's message broke off, or we are told to stop.
            await self._drop()
            raise
        finally:
            self._is_open = False

    async def _begin_again(self, client: AsyncClient) -> None:
        """Leave out a recipient who was accepted there, but not here.

        As when a transform makes two of one, of which the second is refused.
        """
        envelope = self.envelope
        await client.reset()
        await self._say_mail(client, envelope.reverse_path, envelope.options)
        for recipient in envelope.recipients:
            try:
                await self._say_rcpt(recipient.mailbox, recipient.options)
            except RecipientsRefused as error:
                raise SendError(
                    "a recipient is refused who was accepted before", phase="rcpt"
                ) from error

    async def _relayed(self, saying: Awaitable[Reply | None]) -> Reply | None:
        """Turn what goes wrong there into the reply for the client."""
        try:
            return await saying
        except SendError as error:
            reply = _reply_to(error)
            if reply is not error.reply:
                self._log(error)
            return reply

    def _log(self, error: Exception) -> None:
        logger.warning("%s: %r: %s", self.connection.id, self.relay, error)


class AuthRelaySession(RelaySession):
    """The same, for clients whose passwords the next server knows."""

    async def check_password(self, user: str, password: str) -> bool:
        """Log in there with what the client gave."""
        auth = Auth(user, password)
        await self._drop()
        self.upstream, self._mails = self.relay.client(auth, self.connection), 0
        try:
            await self.upstream.connect()
        except AuthenticationFailed as error:
            await self._drop()
            if error.reply is not None and error.reply.is_permanent:
                return False
            # Not its text, which names the user: people type passwords there.
            reason: object = error.reply or "no mechanism fits"
        except SendError as error:
            reason = error
        else:
            self._auth = auth
            return True
        logger.warning(
            "%s: %r cannot check a password: %s", self.connection.id, self.relay, reason
        )
        raise Refuse(454, "4.7.0", "temporary authentication failure")


def _is_used_up(error: SendError) -> bool:
    """Say whether a connection failed for what it is, and not for what was asked."""
    if isinstance(error, SenderRefused):
        return error.smtp_code == 421
    return not isinstance(error, PhaseTimeout)


def _for_next(options: MailOptions, capabilities: Capabilities) -> MailOptions:
    """Leave out what is only for information, where it would not be understood."""
    if options.size is not None and "SIZE" not in capabilities:
        options = replace(options, size=None)
    if options.auth is not None and "AUTH" not in capabilities:
        # RFC 4954 section 5: it is passed on to servers that know AUTH.
        options = replace(options, auth=None)
    if options.body is BodyType.SEVENBIT and "8BITMIME" not in capabilities:
        options = replace(options, body=None)
    return options


def _reply_to(error: SendError) -> Reply:
    """Return what to tell a client of an error."""
    if isinstance(error, NotSupported):
        # RCPT: one more than the next server takes (RFC 9422 section 4).
        is_limit = error.command == "RCPT"
        return replies.TOO_MANY_RECIPIENTS if is_limit else _NOT_OFFERED
    is_refusal = isinstance(error, SenderRefused | RecipientsRefused | DataRefused)
    if is_refusal and error.reply is not None:
        return error.reply
    for kind, reply in _FAILURES:
        if isinstance(error, kind):
            return reply
    return replies.LOCAL_ERROR


async def _send_chunks(client: AsyncClient, body: Body) -> SendResult:
    """Send the content with BDAT; the last chunk is known when the message ends."""
    chunk = bytearray()
    async for block in body:
        if len(chunk) >= _CHUNK_OCTETS:
            await client.bdat(bytes(chunk))
            chunk.clear()
        chunk += block
    return await client.bdat(bytes(chunk), is_last=True)

"""The one conversation of a client, for both fronts.

It is written once, as coroutines over a `smtpx.net.channel.Channel` and a
`smtpx.client.link.Runtime`. `smtpx.client.aio` runs it on an event loop;
`smtpx.client.blocking` runs each coroutine to its end in one step, which it can, since
on a channel that blocks nothing here ever suspends. So nothing here may await anything
else.

After any exception a connection is provably in step, or it is closed: see `_exclusive`.
"""

from __future__ import annotations

import contextlib
import functools
import socket as sockets
from collections.abc import Callable, Coroutine, Iterable, Mapping
from email.message import Message
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeAlias, TypeVar

from smtpx.client.authentication import authenticate
from smtpx.client.content import send_content
from smtpx.client.limits import require_domains, require_mail, require_recipients
from smtpx.client.link import Link, SourceError, own_error
from smtpx.client.message import (
    MessageSource,
    Payload,
    make_payload,
    payload_of_octets,
    recipients_of,
    sender_of,
)
from smtpx.client.options import (
    Auth,
    ClientOptions,
    Secret,
    Target,
    TLSMode,
    parse_url,
)
from smtpx.client.plan import Offered, Order, check_options, make_plan
from smtpx.client.transaction import make_result, run
from smtpx.core.client import ClientMachine
from smtpx.core.client_states import ClientState
from smtpx.core.trace import WireLog
from smtpx.errors import (
    BadSyntax,
    CommandRefused,
    ConnectError,
    ConnectionLost,
    DataRefused,
    GreetingRefused,
    HelloRefused,
    NotSupported,
    PhaseTimeout,
    RecipientsRefused,
    SenderRefused,
    SendError,
    SMTPXError,
    TLSUnavailable,
)
from smtpx.net.channel import ip_of
from smtpx.net.tls import default_client_context
from smtpx.wire import commands
from smtpx.wire.address import Mailbox, parse_domain
from smtpx.wire.capabilities import Capabilities
from smtpx.wire.envelope import RecipientResult, SendResult
from smtpx.wire.octets import encode_xtext
from smtpx.wire.options import (
    DEFAULT_MAIL_OPTIONS,
    DEFAULT_RCPT_OPTIONS,
    BodyType,
    MailOptions,
    RcptOptions,
)

if TYPE_CHECKING:
    from smtpx.client.link import Runtime
    from smtpx.net.channel import Channel
    from smtpx.net.tls import TLSInfo
    from smtpx.wire.replies import Reply

__all__ = ["AnyAuth", "Conversation", "RcptOptionsOf", "Recipients", "describe"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

AnyAuth: TypeAlias = Auth | tuple[str, Secret]
Recipients: TypeAlias = str | Mailbox | Iterable[str | Mailbox]
RcptOptionsOf: TypeAlias = RcptOptions | Mapping[str, RcptOptions]

_NO_CAPABILITIES: Final = Capabilities()

# For how long a connection is taken to be alive after a message, in seconds. To look
# costs a call to the system; servers wait minutes before they close.
_LOOK_AFTER_SECONDS: Final = 0.5

# RFC 5321 section 4.1.1.1: a server of before 1995 does not know EHLO. After any other
# refusal HELO would only hide what is wrong.
_EHLO_UNKNOWN: Final = frozenset({500, 502})


def _exclusive(
    method: Callable[Concatenate[Conversation, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate[Conversation, _P], Coroutine[Any, Any, _T]]:
    """Make a method run alone, within its total time, and leave no doubt behind.

    Whatever ends it early, a cancellation too: if a reply is outstanding, or anything
    else makes the next pairing of command and reply unsure, the connection is closed.
    """

    @functools.wraps(method)
    async def alone(self: Conversation, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        async with self._lock:
            self._start_clock()
            try:
                return await method(self, *args, **kwargs)
            except BaseException as error:
                raised = self._settle(error)
                if raised is error:
                    raise
                raise raised from (
                    raised.__cause__ if isinstance(error, SourceError) else error
                )

    return alone


class Conversation:
    """A client, as coroutines. `smtpx.AsyncClient` documents it."""

    _is_lmtp = False

    def __init__(
        self,
        runtime: Runtime,
        url: str | None,
        options: ClientOptions,
        auth: AnyAuth | None,
        socket: sockets.socket | None,
    ) -> None:
        if url is None and socket is None:
            raise ValueError("a client needs a URL, or a connected socket")
        target = Target(is_lmtp=self._is_lmtp)
        if url is not None:
            scheme = "lmtp" if self._is_lmtp else "smtp"
            target = parse_url(url, default_scheme=scheme)
        if self._is_lmtp and not target.is_lmtp:
            raise ValueError("an LMTP client takes lmtp:// or lmtp+unix://")
        if auth is None and target.user is not None:
            auth = Auth(target.user, target.password or "")
        self._runtime = runtime
        self._target = target
        self._options = options
        self._tls_mode = target.tls if options.tls is None else options.tls
        self._credentials = Auth(*auth) if isinstance(auth, tuple) else auth
        self._socket = socket
        self._has_socket = socket is not None
        self._lock = runtime.lock()
        self._link: Link | None = None
        self._greeting: Reply | None = None
        self._results: list[RecipientResult] = []
        self._deadline: float | None = None
        self._used_at = 0.0
        self._offered = Offered.of(_NO_CAPABILITIES)

    # What is known.

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection that can be used, as far as is known here."""
        return self._link is not None

    @property
    def capabilities(self) -> Capabilities:
        """What the server offers; nothing before it was asked."""
        link = self._link
        return _NO_CAPABILITIES if link is None else link.machine.capabilities

    @property
    def tls(self) -> TLSInfo | None:
        """Facts about TLS, None in clear."""
        return None if self._link is None else self._link.channel.tls

    @property
    def peer(self) -> str | None:
        """The address of the server, None while there is no connection."""
        return None if self._link is None else self._link.channel.peer

    @property
    def greeting(self) -> Reply | None:
        """The server's first words, of this connection or the last."""
        return self._greeting

    def extension(self, keyword: str) -> tuple[str, ...] | None:
        """Say whether the server offers an extension.

        Args:
            keyword: in any case.

        Returns:
            Its parameters, maybe none; None if it is not offered.
        """
        return self.capabilities.get(keyword)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {describe(self)}>"

    # Opening and closing.

    @_exclusive
    async def connect(self) -> None:
        """Connect, say EHLO, turn to TLS and authenticate, as the options say.

        Raises:
            ConnectError: there is no connection, or the server refuses it.
            HelloRefused: the server refuses EHLO.
            TLSUnavailable: TLS is required and not offered.
            TLSFailed: the handshake failed.
            AuthenticationFailed: no credentials were accepted.
            ConnectionLost: the connection did not live so long.
        """
        if self._link is not None:
            raise RuntimeError("the client is connected already")
        await self._connect()

    @_exclusive
    async def close(self) -> None:
        """Close the connection without a word. Closed is fine too."""
        link, self._link = self._link, None
        if link is not None:
            await link.channel.close()

    @_exclusive
    async def quit(self) -> Reply | None:
        """Say QUIT and close the connection (RFC 5321 section 4.1.1.10).

        Nothing depends on it any more, so it raises nothing of the network.

        Returns:
            The reply, None if there was none.
        """
        return await self._quit()

    # Commands.

    @_exclusive
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

    @_exclusive
    async def starttls(self) -> Reply:
        """Turn to TLS, and say EHLO again (RFC 3207).

        Returns:
            The reply to STARTTLS.

        Raises:
            TLSUnavailable: the server does not offer it, or not now.
            TLSFailed: the handshake failed; the connection is closed.
        """
        return await self._starttls(self._require_link())

    @_exclusive
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

    @_exclusive
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
        _require_private(link, options)
        command = commands.Mail(_mailbox(sender) if sender else None, options)
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

    @_exclusive
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
        mailbox = _mailbox(recipient)
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

    @_exclusive
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
        payload = await _payload_of(message)
        reply = await link.ask(commands.Data(), "data_start")
        if not reply.is_intermediate:
            raise DataRefused(
                "the server refused DATA",
                reply=reply,
                command="DATA",
                phase="data_start",
            )
        return make_result(link, self._results, await send_content(link, payload))

    @_exclusive
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
        phase = "data_end" if is_last else "data_block"
        replies = [await link.next_reply(phase)]
        while link.machine.is_waiting:
            replies.append(await link.next_reply(phase))
        link.is_end_sent = False
        if is_last:
            return make_result(link, self._results, replies)
        (reply,) = replies
        if not reply.is_positive:
            raise DataRefused(
                "the server refused the chunk",
                reply=reply,
                command="BDAT",
                phase="data_block",
            )
        return SendResult(reply, tuple(self._results))

    @_exclusive
    async def reset(self) -> Reply:
        """Say RSET: forget the transaction (RFC 5321 section 4.1.1.5)."""
        return await self._ask(commands.Rset())

    @_exclusive
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

    @_exclusive
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

    @_exclusive
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

    @_exclusive
    async def noop(self, text: str = "") -> Reply:
        """Say NOOP: are you there? (RFC 5321 section 4.1.1.9).

        Args:
            text: without meaning.

        Raises:
            CommandRefused: the server says no.
        """
        return await self._ask(commands.Noop(text))

    @_exclusive
    async def help(self, topic: str = "") -> Reply:
        """Say HELP (RFC 5321 section 4.1.1.8).

        Args:
            topic: maybe a command.

        Raises:
            CommandRefused: the server says no.
        """
        return await self._ask(commands.Help(topic))

    @_exclusive
    async def xclient(self, attributes: Mapping[str, str | None]) -> Reply:
        """Say XCLIENT: speak for another client, to Postfix; then EHLO again.

        Args:
            attributes: such as ``{"ADDR": "192.0.2.1", "NAME": None}``; None is
                unknown.

        Returns:
            The reply.

        Raises:
            CommandRefused: the server says no.
            NotSupported: the server does not offer it.
        """
        link = self._require_link()
        self._require_extension("XCLIENT", "XCLIENT")
        argument = " ".join(
            f"{name}={_xclient_value(value)}" for name, value in attributes.items()
        )
        reply = await self._ask(commands.Raw("XCLIENT", argument))
        await self._hello(link, None)
        return reply

    @_exclusive
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

    # Messages.

    @_exclusive
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
            ConnectionLost: the connection broke; `delivery` tells whether the server
                may have the message.
            ValueError: an address or header field is malformed.
        """
        order = _order(message, sender, recipients, options, rcpt_options, require_all)
        if isinstance(message, bytes):
            is_binary = options.body is BodyType.BINARYMIME
            payload = payload_of_octets(message, is_binary=is_binary)
        else:
            payload = await _payload_for(message, options)
        return await self._send(order, payload)

    @_exclusive
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
        order = _order(message, sender, recipients, options, rcpt_options, require_all)
        payload = await _payload_for(message, options)
        try:
            return await self._send(order, payload)
        finally:
            await self._quit()

    # The inner works: without the lock.

    def _start_clock(self) -> None:
        total = self._options.timeouts.total
        if total is not None:
            self._deadline = self._runtime.clock() + total
            if self._link is not None:
                self._link.deadline = self._deadline

    def _settle(self, error: BaseException) -> BaseException:
        """Close the connection if it is not in step; return what to raise."""
        link = self._link
        if link is None:
            return own_error(error)
        raised = link.translate(error)
        if not link.machine.is_in_step or isinstance(raised, ConnectionLost):
            link.abort()
            self._link = None
        return raised

    def _require_link(self) -> Link:
        if self._link is None:
            raise ConnectionLost("not connected: call connect first", phase="command")
        return self._link

    def _require_extension(self, keyword: str, command: str) -> None:
        if keyword not in self.capabilities:
            raise NotSupported(
                f"the server does not offer {keyword}",
                command=command,
                phase="command",
            )

    async def _ask(self, command: commands.Command) -> Reply:
        reply = await self._require_link().ask(command)
        return await self._require_positive(reply, command.verb)

    async def _require_positive(self, reply: Reply, verb: str) -> Reply:
        if not reply.is_positive:
            raise CommandRefused(
                f"the server refused {verb}",
                reply=reply,
                command=verb,
                phase="command",
            )
        return reply

    async def _dial(self) -> Channel:
        """Make a connection."""
        target, options, runtime = self._target, self._options, self._runtime
        seconds = options.timeouts.connect
        if self._deadline is not None:
            left = self._deadline - runtime.clock()
            seconds = left if seconds is None else min(seconds, left)
        try:
            if self._socket is not None:
                sock, self._socket = self._socket, None
                return await runtime.wrap_socket(sock)
            if self._has_socket:
                raise ConnectError(
                    "the socket is used up: make another client", phase="connect"
                )
            if target.path is not None:
                return await runtime.connect_unix(target.path, timeout=seconds)
            return await runtime.connect_tcp(
                target.host,
                target.port,
                timeout=seconds,
                local_address=options.local_address,
            )
        except TimeoutError as error:
            text = f"no connection to {target} in time"
            raise PhaseTimeout(text, phase="connect") from error
        except OSError as error:
            if isinstance(error, SendError):
                raise
            text = f"no connection to {target}: {error}"
            raise ConnectError(text, phase="connect") from error

    async def _connect(self) -> Link:
        """Open a connection to where a message can be sent, or leave none."""
        options = self._options
        channel = await self._dial()
        machine = ClientMachine(
            is_lmtp=self._target.is_lmtp,
            limits=options.reply_limits,
            registry=options.registry,
            log=None if options.wire_log is None else WireLog(options.wire_log),
        )
        link = Link(channel, machine, options.timeouts, self._runtime)
        link.deadline = self._deadline
        self._link = link
        try:
            await self._open(link)
        except BaseException as error:
            raised = link.translate(error)
            link.abort()
            self._link = None
            if raised is error:
                raise
            raise raised from (
                raised.__cause__ if isinstance(error, SourceError) else error
            )
        return link

    async def _open(self, link: Link) -> None:
        """Say what goes before the first transaction."""
        if self._tls_mode is TLSMode.IMPLICIT:
            await self._shake_hands(link)
        self._greeting = reply = await link.next_reply("greeting")
        if not reply.is_positive:
            raise GreetingRefused(
                "the server refuses the connection", reply=reply, phase="greeting"
            )
        await self._hello(link, None)
        if self._tls_mode is TLSMode.REQUIRED:
            await self._starttls(link)
        elif self._tls_mode is TLSMode.OPPORTUNISTIC:
            await self._try_starttls(link)
        if self._credentials is not None:
            await authenticate(link, self._credentials, self._options)

    async def _hello(self, link: Link, name: str | None) -> Reply:
        name = name or self._options.hello_name or _default_hello_name(link.channel)
        if self._target.is_lmtp:
            reply = await link.ask(commands.Lhlo(name))
        else:
            reply = await link.ask(commands.Ehlo(name))
            if reply.code in _EHLO_UNKNOWN:
                reply = await link.ask(commands.Helo(name))
        if not reply.is_positive:
            raise HelloRefused(
                "the server refuses EHLO", reply=reply, command="EHLO", phase="command"
            )
        return reply

    async def _try_starttls(self, link: Link) -> None:
        """Turn to TLS if the server can, and only if it cannot, do without."""
        if "STARTTLS" in link.machine.capabilities:
            with contextlib.suppress(TLSUnavailable):
                await self._starttls(link)

    async def _starttls(self, link: Link) -> Reply:
        if "STARTTLS" not in link.machine.capabilities:
            raise TLSUnavailable(
                "the server does not offer STARTTLS", command="STARTTLS", phase="tls"
            )
        reply = await link.ask(commands.StartTLS())
        if not reply.is_positive:
            raise TLSUnavailable(
                "the server refuses STARTTLS",
                reply=reply,
                command="STARTTLS",
                phase="tls",
                # Whatever it says: anybody on the path can have written it.
                is_temporary=True,
            )
        await self._shake_hands(link)
        link.machine.tls_started()
        await self._hello(link, None)
        return reply

    async def _shake_hands(self, link: Link) -> None:
        options = self._options
        await link.channel.start_tls(
            options.tls_context or default_client_context(),
            options.server_hostname or self._target.host or None,
            timeout=link.left("tls"),
        )

    async def _quit(self) -> Reply | None:
        """Say QUIT if that is possible, and close."""
        link = self._link
        reply = None
        if link is not None:
            try:
                if link.machine.is_in_step:
                    reply = await link.ask(commands.Quit(), "quit")
            except (SMTPXError, OSError, EOFError):
                link.abort()
            except BaseException:
                link.abort()
                self._link = None
                raise
            self._link = None
            await link.channel.close()
        return reply

    async def _send(self, order: Order, payload: Payload) -> SendResult:
        """Send; on a used connection that turns out to be closed, connect anew once."""
        link = await self._link_for(order)
        options = self._options
        plan = make_plan(order, payload, self._what_is_offered(link), options)
        _require_private(link, order.options)
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
            _require_private(link, order.options)
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

    def _what_is_offered(self, link: Link) -> Offered:
        capabilities = link.machine.capabilities
        if self._offered.capabilities is not capabilities:
            self._offered = Offered.of(capabilities)
        return self._offered

    def _live_link(self) -> Link | None:
        """Return the connection; None if there is none, or it has gone stale."""
        link = self._link
        if link is None or link.is_fresh or self._has_socket:
            return link
        idle_seconds = self._runtime.clock() - self._used_at
        if idle_seconds > _LOOK_AFTER_SECONDS and link.channel.is_readable:
            # Nothing was asked, so it is the end, or a 421 that announces it.
            link.abort()
            self._link = link = None
        return link


def describe(client: Conversation) -> str:
    """Say where a client connects, and the state of its connection, for people."""
    link, target = client._link, client._target
    where = str(target)
    if not target.host and target.path is None:
        where = "socket" if link is None else link.channel.peer
    return f"{where}: {'closed' if link is None else link.machine.state}"


def _may_try_again(link: Link, error: BaseException) -> bool:
    """Say whether an attempt ended before the server took any of it in.

    Servers close idle connections, and those that had their share of messages, which
    they say with 421 to the next MAIL. It is not a failure of this message.
    """
    if isinstance(error, SenderRefused):
        return error.smtp_code == 421
    if isinstance(error, PhaseTimeout | TimeoutError):
        return False
    is_lost = isinstance(error, ConnectionLost | ConnectionError | EOFError)
    return is_lost and not link.is_answered and not link.is_end_sent


# A sender, and often a recipient, is the same message after message.
_parse_mailbox = functools.lru_cache(maxsize=256)(Mailbox.parse)


def _require_private(link: Link, options: MailOptions) -> None:
    """Refuse REQUIRETLS where nobody knows who listens (RFC 8689 section 2)."""
    if options.requiretls and not (link.channel.tls and link.channel.tls.is_verified):
        raise NotSupported(
            "REQUIRETLS needs a connection under TLS, with a verified certificate",
            command="MAIL",
            phase="mail",
        )


def _mailbox(address: str | Mailbox) -> Mailbox:
    return address if isinstance(address, Mailbox) else _parse_mailbox(address)


def _order(
    message: MessageSource,
    sender: str | Mailbox | None,
    recipients: Recipients | None,
    options: MailOptions,
    rcpt_options: RcptOptionsOf,
    require_all: bool,
) -> Order:
    """Check the addresses, and take from the message what the caller left to it."""
    if sender is None:
        if not isinstance(message, Message):
            raise ValueError("give the sender: only an EmailMessage names one")
        sender = sender_of(message)
    if recipients is None:
        if not isinstance(message, Message):
            raise ValueError("give the recipients: only an EmailMessage names them")
        recipients = recipients_of(message)
    elif isinstance(recipients, str | Mailbox):
        recipients = (recipients,)
    mailboxes = []
    names = []
    for recipient in recipients:
        mailboxes.append(_mailbox(recipient))
        names.append(str(recipient))
    if not names:
        raise ValueError("there are no recipients")
    return Order(
        _mailbox(sender) if sender else None,
        mailboxes,
        names,
        options,
        _rcpt_options(rcpt_options, names),
        require_all,
    )


def _rcpt_options(options: RcptOptionsOf, names: list[str]) -> tuple[RcptOptions, ...]:
    """Return the options of each recipient; none if they are all the default."""
    if options is DEFAULT_RCPT_OPTIONS:
        return ()
    if isinstance(options, RcptOptions):
        return (options,) * len(names)
    if unknown := options.keys() - set(names):
        raise ValueError(f"options for who is no recipient: {', '.join(unknown)}")
    return tuple(options.get(name, DEFAULT_RCPT_OPTIONS) for name in names)


async def _payload_of(message: MessageSource, *, is_binary: bool = False) -> Payload:
    """Look at a message; what its stream raises is the caller's own."""
    try:
        return await make_payload(message, is_binary=is_binary)
    except (OSError, EOFError) as error:
        raise SourceError from error


async def _payload_for(message: MessageSource, options: MailOptions) -> Payload:
    return await _payload_of(message, is_binary=options.body is BodyType.BINARYMIME)


def _xclient_value(value: str | None) -> str:
    """Write an attribute of XCLIENT."""
    if value is None:
        return "[UNAVAILABLE]"
    return encode_xtext(value.encode()).decode("ascii")


def _default_hello_name(channel: Channel) -> str:
    """Name this host as RFC 5321 section 4.1.4 wants it: in full, or by its address.

    No DNS is asked: it may take long, and a resolver that knows the host tells nothing
    that the host itself does not know.
    """
    name = sockets.gethostname().rstrip(".")
    is_full = "." in name and not name.lower().endswith(".localdomain")
    try:
        parse_domain(name.encode("ascii"))
    except (BadSyntax, UnicodeEncodeError):
        is_full, name = False, "localhost"
    ip = ip_of(channel.local)
    if is_full or ip is None:
        # Over a unix socket the other end is this host too.
        return name
    if ip.version == 6:
        ip = ip.ipv4_mapped or ip
    text = str(ip).partition("%")[0]
    return f"[IPv6:{text}]" if ip.version == 6 else f"[{text}]"

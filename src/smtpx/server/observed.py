"""A connection that tells what happens to it, for servers that somebody watches.

It is a class of its own, so that a server which nobody watches pays nothing: no event,
no test whether there is a sink, not even at each message.

What is told is what the machine made of it: an answer is told after the machine took
it, a refusal of the machine when its event comes. Each event is told before anything
else happens to the session, which gives the order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

from smtpx.core.events import (
    Authenticated,
    AuthQuestion,
    AuthRefused,
    ClientConnected,
    CommandReceived,
    CommandRefused,
    DataRequested,
    EtrnReceived,
    ExpnReceived,
    HelloReceived,
    HelpReceived,
    MailReceived,
    MessageAborted,
    RcptReceived,
    StartTLSRequested,
    VrfyReceived,
    XClientReceived,
    XForwardReceived,
)
from smtpx.core.server_counted import CountingMachine
from smtpx.sasl.cram_md5 import LookupPassword
from smtpx.sasl.mechanism import CheckPassword
from smtpx.sasl.scram_server import LookupScram
from smtpx.server.connection import Connection
from smtpx.server.events import (
    AbortedEvent,
    AuthEvent,
    ClosedEvent,
    CommandEvent,
    ConnectedEvent,
    ErrorEvent,
    HelloEvent,
    MailEvent,
    MessageEvent,
    RcptEvent,
    RefusedEvent,
    ServerEvent,
    TLSEvent,
    tell,
)
from smtpx.server.questions import question_hook
from smtpx.server.work import HOOK_NAMES, Deliver, Work
from smtpx.wire import replies
from smtpx.wire.envelope import RecipientResult

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable

    from smtpx.server.body import Body
    from smtpx.server.host import Host
    from smtpx.wire.envelope import Envelope
    from smtpx.wire.replies import Reply

__all__ = ["ObservedConnection"]

_Handler: TypeAlias = Callable[[Any, Any], Work | None]

# Tells of a piece of work, and what it was answered with.
_Teller: TypeAlias = Callable[[Any, Any, "Reply | None"], None]

_Command: TypeAlias = (
    VrfyReceived
    | ExpnReceived
    | EtrnReceived
    | HelpReceived
    | XClientReceived
    | XForwardReceived
    | CommandReceived
)


def _then_tell(
    handlers: Mapping[type, _Handler], tellers: Mapping[type, _Teller]
) -> dict[type, _Handler]:
    """Return what handles events, and tells what was granted without a hook."""
    return {
        kind: _both(handler, tellers[kind]) if kind in tellers else handler
        for kind, handler in handlers.items()
    }


def _both(handler: _Handler, teller: _Teller) -> _Handler:
    def handle(connection: ObservedConnection, event: Any) -> Work | None:  # noqa: ANN401 - of each kind
        work = handler(connection, event)
        teller(connection, event, None)
        return work

    return handle


class _Message:
    """A message that its hook reads; the envelope is forgotten before it is answered.

    Args:
        envelope: of the transaction.
        body: the content.
    """

    __slots__ = ("body", "recipients", "reverse_path", "statuses")

    def __init__(self, envelope: Envelope, body: Body) -> None:
        self.reverse_path = envelope.reverse_path
        self.recipients = tuple(envelope.recipients)
        self.body = body
        self.statuses: dict[int, Reply] = {}

    def results(self, reply: Reply) -> tuple[RecipientResult, ...]:
        """Say what became of it for each recipient; ``reply`` is for the others."""
        answers = [
            self.statuses.get(index, reply) for index in range(len(self.recipients))
        ]
        return tuple(
            RecipientResult(str(recipient.mailbox), answer, answer.is_positive)
            for recipient, answer in zip(self.recipients, answers, strict=True)
        )


class ObservedConnection(Connection):
    """One client's connection; what happens to it is told to the server's sinks.

    Args:
        host: the server.
        loop: that it runs on.
    """

    _MACHINE = CountingMachine

    def __init__(self, host: Host, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(host, loop)
        self._sinks = host.options.event_sinks
        self._is_told = False
        # What a hook was called for last.
        self._work: Work = ClientConnected()
        self._message: _Message | None = None
        self._message_since = 0.0
        self._messages = 0
        self._claimed_user: str | None = None

    def _tell(self, kind: Callable[..., ServerEvent], **facts: object) -> None:
        elapsed = self._loop.time() - self._started
        tell(self._sinks, kind(session=self.info.id, elapsed=elapsed, **facts))

    # ------------------------------------------------------------ begin, TLS and end

    def _open_session(self) -> bool:
        if not self._is_told:
            self._is_told = True
            info = self.info
            self._tell(
                ConnectedEvent,
                hostname=info.hostname,
                peer=info.peer,
                peer_host=info.peer_host,
                local=info.local,
                is_lmtp=info.is_lmtp,
                takes_lmtp_too=self._options.lmtp_too,
            )
            if info.tls is not None:
                self._tell(TLSEvent, tls=info.tls)
        return super()._open_session()

    def _forget_client(self) -> None:
        self._claimed_user = None
        super()._forget_client()
        self._tell(TLSEvent, tls=self.info.tls)

    def _restart(self, event: XClientReceived, refusal: Reply | None) -> None:
        # Before what comes of it.
        self._tell_command(event, None)
        super()._restart(event, refusal)

    def _finish(self) -> None:
        machine = cast("CountingMachine", self._machine)
        self._tell(
            ClosedEvent,
            reason=self._end_reason or "connection lost",
            is_clean=self._is_clean_end,
            reply=machine.last_words,
            octets_received=machine.octets_received,
            octets_sent=machine.octets_sent,
            messages=self._messages,
        )
        super()._finish()

    # ------------------------------------------------------------------ the pump

    def _handle_ready(self) -> Work | None:
        work = super()._handle_ready()
        if work is not None:
            self._work = work
        return work

    def _answer(self, reply: Reply | None) -> Reply | None:
        is_asked = self._machine.is_waiting
        taken = super()._answer(reply)
        if is_asked:
            teller = self._TELLERS.get(type(self._work))
            if teller is not None:
                teller(self, self._work, taken)
        return taken

    def _report(self, text: str, error: BaseException | None = None) -> None:
        super()._report(text, error)
        work = self._work
        if isinstance(work, AuthQuestion):
            hook = question_hook(work.question)
        elif isinstance(work, Deliver):
            hook = "lmtp_data" if self.info.is_lmtp else "data"
        else:
            hook = HOOK_NAMES.get(type(work), "closed")
        self._tell(ErrorEvent, hook=hook, text=text, error=error)

    def _log_refused(self, event: CommandRefused) -> None:
        super()._log_refused(event)
        self._tell(RefusedEvent, command=event.command, reply=event.reply)

    # ------------------------------------------------------------------ messages

    async def _call_data(self, work: Deliver) -> None:
        body, envelope = self._body, self._machine.envelope
        if body is not None and envelope is not None:
            self._message = _Message(envelope, body)
        await super()._call_data(work)
        if body is not None and body.is_aborted:
            self._tell_aborted(body.abort_reason, body)

    def _set_status(self, index: int, reply: Reply) -> None:
        super()._set_status(index, reply)
        if self._message is not None:
            self._message.statuses[index] = reply.with_enhanced_default()

    def _abort_body(self, event: MessageAborted) -> None:
        # Of a message that was complete the connection has let go already.
        body = self._message.body if self._message is not None else self._body
        super()._abort_body(event)
        self._tell_aborted(event.reason, body)

    def _tell_aborted(self, reason: str, body: Body | None) -> None:
        self._message = None
        self._tell(
            AbortedEvent,
            reason=reason,
            octets=0 if body is None else body.octets_received,
            duration=self._loop.time() - self._message_since,
        )

    # ------------------------------------------------------------------ AUTH

    async def _call_auth(self, event: AuthQuestion) -> None:
        question = event.question
        if isinstance(question, CheckPassword | LookupScram | LookupPassword):
            self._claimed_user = question.user
        await super()._call_auth(event)

    def _log_auth_refused(self, event: AuthRefused) -> None:
        super()._log_auth_refused(event)
        self._tell_auth(event.mechanism, None, event.reply)

    def _tell_auth(self, mechanism: str, user: str | None, reply: Reply) -> None:
        claimed, self._claimed_user = self._claimed_user, None
        self._tell(
            AuthEvent, mechanism=mechanism, user=user, claimed_user=claimed, reply=reply
        )

    # ------------------------------------------- answers; None stands for the default

    def _tell_connected(self, _work: ClientConnected, reply: Reply | None) -> None:
        if reply is not None and reply.code != 220:
            self._tell(RefusedEvent, command="(greeting)", reply=reply)

    def _tell_hello(self, work: HelloReceived, reply: Reply | None) -> None:
        self._tell(
            HelloEvent, verb=work.verb, name=work.name, reply=reply or replies.OK
        )

    def _tell_mail(self, work: MailReceived, reply: Reply | None) -> None:
        self._tell(
            MailEvent,
            reverse_path=work.reverse_path,
            options=work.options,
            reply=reply or replies.SENDER_OK,
        )

    def _tell_rcpt(self, work: RcptReceived, reply: Reply | None) -> None:
        self._tell(
            RcptEvent,
            forward_path=work.recipient.mailbox,
            options=work.recipient.options,
            reply=reply or replies.RECIPIENT_OK,
        )

    def _tell_data(self, work: DataRequested, reply: Reply | None) -> None:
        if reply is None or reply.code == 354:
            self._message_since = self._loop.time()
        else:
            verb = "BDAT" if work.is_bdat else "DATA"
            self._tell(RefusedEvent, command=verb, reply=reply)

    def _tell_starttls(self, _work: StartTLSRequested, reply: Reply | None) -> None:
        # What is granted is told once TLS has begun.
        if reply is not None:
            self._tell(RefusedEvent, command="STARTTLS", reply=reply)

    def _tell_message(self, _work: Deliver, reply: Reply | None) -> None:
        message, self._message = self._message, None
        if message is None:  # pragma: no cover - a message is answered once
            return
        reply = (reply or replies.MESSAGE_ACCEPTED).with_enhanced_default()
        event = MessageEvent(
            session=self.info.id,
            elapsed=self._loop.time() - self._started,
            reverse_path=message.reverse_path,
            recipients=message.results(reply),
            octets=message.body.octets_received,
            duration=self._loop.time() - self._message_since,
            reply=reply,
        )
        self._messages += event.is_accepted
        tell(self._sinks, event)

    def _tell_authenticated(self, work: Authenticated, reply: Reply | None) -> None:
        # What was refused is told as AuthRefused.
        if self._machine.identity is not None:
            identity = work.identity
            self._tell_auth(
                identity.mechanism, identity.user, reply or replies.AUTHENTICATED
            )

    def _tell_command(self, work: _Command, reply: Reply | None) -> None:
        verb, argument = _describe(work)
        self._tell(CommandEvent, verb=verb, argument=argument, reply=reply)

    _TELLERS: ClassVar[Mapping[type, _Teller]] = {
        ClientConnected: _tell_connected,
        HelloReceived: _tell_hello,
        MailReceived: _tell_mail,
        RcptReceived: _tell_rcpt,
        DataRequested: _tell_data,
        StartTLSRequested: _tell_starttls,
        Deliver: _tell_message,
        Authenticated: _tell_authenticated,
        VrfyReceived: _tell_command,
        ExpnReceived: _tell_command,
        EtrnReceived: _tell_command,
        HelpReceived: _tell_command,
        XClientReceived: _tell_command,
        XForwardReceived: _tell_command,
        CommandReceived: _tell_command,
    }

    # Of what no hook answers: first what a connection does, then the telling.
    _HANDLERS: ClassVar[Mapping[type, _Handler]] = {
        **_then_tell(Connection._HANDLERS, _TELLERS),
        CommandRefused: _log_refused,
        AuthRefused: _log_auth_refused,
        MessageAborted: _abort_body,
    }

    _CALLERS: ClassVar[Mapping[type, Callable[[Any, Any], Awaitable[None]]]] = {
        **Connection._CALLERS,
        AuthQuestion: _call_auth,
        Deliver: _call_data,
    }


def _describe(work: _Command) -> tuple[str, str]:
    """Return the verb and the argument of a command that a hook answered."""
    match work:
        case VrfyReceived(text):
            return "VRFY", text
        case ExpnReceived(text):
            return "EXPN", text
        case EtrnReceived(node):
            return "ETRN", node
        case HelpReceived(topic):
            return "HELP", topic
        case XClientReceived(command) | XForwardReceived(command):
            return command.verb, command.argument
        case CommandReceived(verb, argument):
            return verb, argument

"""One connection of the server: which event calls which hook, and what comes of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from smtpx.core.events import (
    Authenticated,
    AuthQuestion,
    AuthRefused,
    BodyReceived,
    ClientConnected,
    CommandAnswered,
    CommandReceived,
    CommandRefused,
    ConnectionEnded,
    DataRequested,
    EtrnReceived,
    Event,
    ExpnReceived,
    HelloReceived,
    HelpReceived,
    MailReceived,
    MessageAborted,
    MessageComplete,
    RcptReceived,
    StartTLSRequested,
    VrfyReceived,
    XClientReceived,
    XForwardReceived,
)
from smtpx.core.states import ServerState
from smtpx.sasl.mechanism import DescribeSession
from smtpx.server.body import Body
from smtpx.server.ends import tls_info
from smtpx.server.proxied import become, is_private
from smtpx.server.pump import LOCAL_TROUBLE, Pump
from smtpx.server.pump_base import logger
from smtpx.server.questions import describe_session, question_call
from smtpx.server.session import Session, Statuses
from smtpx.server.work import (
    DELIVER,
    Closed,
    Deliver,
    HookCall,
    Reset,
    Work,
)
from smtpx.wire import replies
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping

    from smtpx.sasl.mechanism import Question, SessionFacts

__all__ = ["Connection"]

_MAY_NOT_ACT_AS: Final = Reply(535, "5.7.8", "not allowed to act as somebody else")


class Connection(Pump):
    """One client's connection; made by ``Server``.

    Args:
        host: the server.
        loop: that it runs on.
    """

    __slots__ = ()

    # ------------------------------------------------- events that need no coroutine

    def _grant(self, _event: Event) -> None:
        """Answer an event whose hook is not overridden."""
        self._machine.answer(None)

    def _grant_mail(self, _event: Event) -> None:
        self._machine.answer(None)
        self.info.envelope = self._machine.envelope

    def _grant_hello(self, _event: Event) -> None:
        self._machine.answer(None)
        self.info.hello_name = self._machine.hello_name
        self.info.is_extended = self._machine.is_extended

    def _authorize(self, event: Authenticated) -> None:
        """Let a client act as itself only, as the hook does when not overridden."""
        identity = event.identity
        is_foreign = identity.authorize_as not in {"", identity.user}
        self._machine.answer(_MAY_NOT_ACT_AS if is_foreign else None)
        self.info.identity = self._machine.identity

    def _take_body(self, event: BodyReceived) -> None:
        if self._body is None:
            self._body = Body(self._body_taken)
        self._body.feed(event.data)

    def _complete_body(self, _event: MessageComplete) -> Work:
        if self._body is None:
            self._body = Body(self._body_taken)
        self._body.finish()
        return DELIVER

    def _abort_body(self, event: MessageAborted) -> None:
        """Forget a message whose handler did not start."""
        self._body = None
        logger.info("%s: message aborted: %s", self.info.id, event.reason)

    def _note_end(self, event: ConnectionEnded) -> None:
        self._end_reason = event.reason
        self._is_clean_end = event.is_clean
        logger.debug("%s: ended: %s", self.info.id, event.reason)

    # ---------------------------------------------------------- hooks

    async def _call_reset(self, _work: Reset) -> None:
        await self._ask(_reset, None)
        self._watch_linger()

    def _watch_linger(self) -> None:
        """Watch the end, if a hook that ran into it was watched in its place."""
        if self._linger_until is not None:
            self._watchdog.arm()

    async def _call_closed(self, _work: Closed) -> None:
        try:
            await self._ask(_closed, self._end_reason or "connection lost")
        finally:
            if not self._is_abandoned:
                self._finish()

    # ----------------------------------------------------------------- the message

    async def _call_data(self, _work: Deliver) -> None:
        """Run the hook that reads a message, then read what it left unread."""
        body = self._body
        if body is None:  # pragma: no cover - the marker comes with a body only
            return
        self._is_delivering = True
        try:
            call: HookCall
            if self._machine.is_lmtp:
                recipients = list(self._session.envelope.recipients)
                statuses = Statuses(recipients, self._set_status)
                call = partial(_lmtp_data, statuses)
            else:
                call = _data
            if not body.is_ended:
                # What arrived between the decision to run the hook and now.
                self._feed_body()
            if body.is_aborted:
                return
            reply = await self._ask(call, body)
            body.discard()
            if not body.is_ended:
                self._adjust_reading()
                await body.wait_ended()
        finally:
            self._is_delivering = False
            self._body = None
        if self._last_word is not None:
            self._end_with(reply, self._last_word)
        elif not body.is_aborted:
            self._answer(reply)

    def _end_with(self, reply: Reply | None, last_word: Reply) -> None:
        """Say what became of a message, if it is known, and end the session."""
        if reply is not replies.LOCAL_ERROR:
            self._answer(reply)
        self._machine.close(last_word, last_word.text)

    def _set_status(self, index: int, reply: Reply) -> None:
        self._machine.set_status(index, reply)
        self._flush()

    # ----------------------------------------------------------------- AUTH and TLS

    async def _call_auth(self, event: AuthQuestion) -> None:
        question = event.question
        if isinstance(question, DescribeSession):
            self._machine.answer_question(self._describe(question))
            return
        answers: list[object] = []
        call = question_call(question)
        guard = self._guarded.authenticating

        async def ask(session: Session, question: Question) -> object:
            refusal = None if guard is None else await guard(session, question)
            if refusal is None:
                answers.append(await call(session, question))
            return refusal

        reply = await self._ask(ask, question)
        if answers and self._machine.is_waiting:
            self._machine.answer_question(answers[0])
        else:
            # What the hook raised, but for a refusal, is a check that failed.
            self._answer(None if reply is replies.LOCAL_ERROR else reply)

    async def _call_auth_refused(self, event: AuthRefused) -> None:
        """Tell the guards; whatever they make of it, the client has its reply."""
        self._log_auth_refused(event)
        call = self._guarded.auth_refused
        if call is not None:
            await self._ask(call, event)
            self._watch_linger()

    def _describe(self, question: DescribeSession) -> SessionFacts:
        return describe_session(
            question,
            self._transport,
            self._host.config_for(type(self._session)),
            self._options,
            is_local=is_private(self.info),
        )

    async def _call_starttls(self, event: StartTLSRequested) -> None:
        self._answer(await self._ask(_start_tls, event))
        if self._machine.state is not ServerState.TLS:
            return
        context = cast("ssl.SSLContext", self._host.tls)
        self._flush()
        # From its first step start_tls gives us nothing but what came through TLS, and
        # that may come before it returns: a client sends EHLO with its last handshake
        # record. So whatever the machine gets from now on is under TLS already.
        self._machine.tls_started()
        self._is_in_handshake = True
        try:
            transport = await self._loop.start_tls(
                self._transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self._options.timeouts.handshake,
            )
        except (OSError, EOFError) as error:
            logger.info("%s: TLS handshake failed: %s", self.info.id, error)
            self._lose_in_handshake("TLS handshake failed")
            return
        except BaseException:
            # Somebody cancels this task: all of the program's, maybe.
            self._lose_in_handshake("TLS handshake given up")
            raise
        finally:
            self._is_in_handshake = False
        # asyncio returns None, and uvloop a closed transport, if the connection was
        # lost without an error, as when we dropped it ourselves.
        if transport is None or transport.is_closing() or self._is_lost:
            self._lose_in_handshake("connection lost in the TLS handshake")
            return
        self._transport = transport
        await self._ask(_closed, "STARTTLS")
        self._forget_client()

    def _lose_in_handshake(self, reason: str) -> None:
        self._machine.abort(reason)
        self._drop()
        # The TLS layer does not tell us of a connection that it never made.
        self.connection_lost(None)

    def _forget_client(self) -> None:
        """Begin again under TLS with nothing from before (RFC 3207 section 4.2)."""
        info = self.info
        info.tls = tls_info(self._transport)
        info.hello_name = info.identity = info.envelope = None
        info.is_extended = False
        self._ended_transactions = self._machine.ended_transactions
        if not self._open_session():
            self._machine.close(LOCAL_TROUBLE, "no session could be made")

    # ---------------------------------------------------------------- XCLIENT

    async def _call_xclient(self, event: XClientReceived) -> None:
        """Begin again with nothing from before, for the client that a gateway tells."""
        reply = await self._ask(_xclient, event)
        if reply is not None and not reply.is_positive:
            self._answer(reply)
            return
        await self._ask(_closed, "XCLIENT")
        become(self.info, event.command)
        refusal = self._host.moved(self)
        if not self._open_session():
            refusal = LOCAL_TROUBLE
        if self._machine.is_waiting:
            self._restart(event, refusal)

    def _restart(self, _event: XClientReceived, refusal: Reply | None) -> None:
        machine, info = self._machine, self.info
        config = self._host.settings_for(type(self._session), info)
        machine.restart(config, is_local=is_private(info))
        self._ended_transactions = machine.ended_transactions
        info.hello_name, info.is_extended = machine.hello_name, machine.is_extended
        info.identity, info.envelope = machine.identity, None
        if refusal is not None:
            machine.close(refusal, refusal.text)

    # What is done with each event for which no coroutine is needed.
    _HANDLERS: ClassVar[Mapping[type, Callable[[Any, Any], Work | None]]] = {
        ClientConnected: _grant,
        HelloReceived: _grant_hello,
        MailReceived: _grant_mail,
        RcptReceived: _grant,
        DataRequested: _grant,
        VrfyReceived: _grant,
        ExpnReceived: _grant,
        EtrnReceived: _grant,
        HelpReceived: _grant,
        CommandReceived: _grant,
        XForwardReceived: _grant,
        Authenticated: _authorize,
        BodyReceived: _take_body,
        MessageComplete: _complete_body,
        MessageAborted: _abort_body,
        CommandAnswered: Pump._note_answered,
        CommandRefused: Pump._log_refused,
        AuthRefused: Pump._log_auth_refused,
        ConnectionEnded: _note_end,
    }

    # The coroutine for each kind of work that needs one.
    _CALLERS: ClassVar[Mapping[type, Callable[[Any, Any], Awaitable[None]]]] = {
        AuthQuestion: _call_auth,
        AuthRefused: _call_auth_refused,
        StartTLSRequested: _call_starttls,
        XClientReceived: _call_xclient,
        Deliver: _call_data,
        Reset: _call_reset,
        Closed: _call_closed,
    }


def _data(session: Session, body: Body) -> Awaitable[object]:
    return session.data(body)


def _lmtp_data(statuses: Statuses, session: Session, body: Body) -> Awaitable[object]:
    return session.lmtp_data(body, statuses)


def _start_tls(session: Session, _: StartTLSRequested) -> Awaitable[object]:
    return session.start_tls()


def _xclient(session: Session, event: XClientReceived) -> Awaitable[object]:
    return session.xclient(event.command)


def _reset(session: Session, _: None) -> Awaitable[object]:
    return session.reset()


def _closed(session: Session, reason: str) -> Awaitable[object]:
    return session.closed(reason)

"""How the server machine does STARTTLS (RFC 3207) and AUTH (RFC 4954)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpx.core.buffer import LineTooLong
from smtpx.core.events import (
    Authenticated,
    AuthQuestion,
    AuthRefused,
    Event,
    StartTLSRequested,
)
from smtpx.core.exchange import SaslExchange, Turn
from smtpx.core.server_base import AGAIN, Stepped, require_negative
from smtpx.core.server_message import ServerMessage
from smtpx.core.states import ServerState, ServerTrigger
from smtpx.sasl.mechanism import Identity
from smtpx.wire import replies
from smtpx.wire.commands import Auth, StartTLS
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from typing import Final

__all__ = ["ServerAuth"]

_TLS_TWICE: Final = Reply(503, "5.5.1", "already under TLS")
_PIPELINED_STARTTLS: Final = Reply(
    421, "4.7.0", "nothing may follow STARTTLS before the handshake; closing"
)
_NEEDS_EHLO: Final = Reply(503, "5.5.1", "AUTH is an extension: say EHLO first")
_AUTH_TWICE: Final = Reply(503, "5.5.1", "already authenticated")


class ServerAuth(ServerMessage):
    """Does STARTTLS and AUTH; see ``ServerMachine``."""

    __slots__ = ("_auth_failures", "_exchange", "_unproved")

    # A client must not get new attempts by starting TLS.
    _auth_failures: int
    _exchange: SaslExchange | None
    # Who the exchange says it is; set where one begins.
    _unproved: Identity | None

    # ------------------------------------------------------------------ STARTTLS

    def tls_started(self) -> None:
        """Take note that the handshake is done: all that was known before is forgotten.

        Raises:
            RuntimeError: STARTTLS was not answered with 220 just now.
        """
        if self.state is not ServerState.TLS:
            message = "TLS can start only after a 220 to STARTTLS"
            raise RuntimeError(message)
        self._buffer.clear()
        self._move(ServerTrigger.TLS_STARTED)
        self.is_tls = True
        self._begin()
        if self._trace is not None:
            self._trace.note("TLS")

    def _on_starttls(self, _command: StartTLS) -> Event | Reply:
        if self.is_tls:
            return _TLS_TWICE
        if not self._config.offers_starttls:
            return replies.NOT_IMPLEMENTED
        self._pending = self._answer_starttls
        return StartTLSRequested()

    def _answer_starttls(self, reply: Reply | None) -> None:
        if len(self._buffer):
            # CVE-2011-0411: a command that somebody put behind STARTTLS in the clear
            # would be run as if it had come through TLS. RFC 3207 section 4.2 lets us
            # drop it; but a client that sends it is broken or attacked.
            self._respond(_PIPELINED_STARTTLS)
            return
        if reply is not None and reply.code != 220:
            require_negative(reply, "STARTTLS is granted with 220")
            self._respond(reply.with_enhanced_default())
            return
        self._send(reply or replies.READY_FOR_TLS)
        self._move(ServerTrigger.TLS_OFFERED)

    def _next_in_handshake(self) -> Stepped:
        """Refuse plaintext between the 220 and the handshake."""
        if len(self._buffer):
            self._end("plaintext where a TLS handshake was due")
            return AGAIN
        return self._dry()

    # ---------------------------------------------------------------------- AUTH

    def answer_question(self, answer: object) -> None:
        """Answer an ``AuthQuestion`` with what its kind of question asks for.

        ``answer`` with a negative reply is for when that cannot be found out.

        Raises:
            RuntimeError: no question waits.
        """
        exchange = self._exchange
        if exchange is None or self._pending is None or self._unproved is not None:
            message = "no AuthQuestion waits for an answer"
            raise RuntimeError(message)
        self._pending = None
        self._take_turn(exchange.resume(answer))

    def _on_auth(self, command: Auth) -> Stepped | Reply:
        config = self._config
        # Whatever line comes next may be half of a password sent too early.
        self._has_secrets = True
        if not config.mechanisms:
            return replies.NOT_IMPLEMENTED
        if not self.is_extended:
            return _NEEDS_EHLO
        if self.identity is not None:
            return _AUTH_TWICE
        name = command.mechanism.upper()
        mechanism = config.mechanisms.get(name)
        if mechanism is None:
            return replies.UNKNOWN_MECHANISM
        offered = config.offered_mechanisms(is_tls=self.is_tls, is_local=self.is_local)
        if name not in offered:
            return replies.MECHANISM_NEEDS_TLS
        self._move(ServerTrigger.AUTH_STARTED)
        self._exchange = exchange = SaslExchange(mechanism())
        self._unproved = None
        self._take_turn(exchange.start(command.initial_response))
        return AGAIN

    def _next_response(self) -> Stepped:
        try:
            line = self._buffer.take_line(self._limits.max_auth_octets)
        except LineTooLong:
            self._end_auth(replies.AUTH_LINE_TOO_LONG)
            return AGAIN
        if line is None or self._exchange is None:
            return self._dry()
        if self._trace is not None:
            self._trace.client_secret()
        self._take_turn(self._exchange.respond(line))
        return AGAIN

    def _take_turn(self, turn: Turn) -> None:
        """Do what the exchange wants next."""
        if isinstance(turn, Identity):
            self._unproved = turn
            self._pending = self._answer_identity
            self._queue.append(Authenticated(turn))
        elif not isinstance(turn, Reply):
            self._pending = self._answer_unknown
            self._queue.append(AuthQuestion(turn))
        elif turn.is_intermediate:
            self._send(turn)
        else:
            self._end_auth(turn)

    def _answer_unknown(self, reply: Reply | None) -> None:
        reply = reply or replies.AUTH_UNAVAILABLE
        require_negative(reply, "a question is granted by answer_question")
        self._end_auth(reply.with_enhanced_default())

    def _answer_identity(self, reply: Reply | None) -> None:
        if reply is not None and reply.code != 235:
            require_negative(reply, "AUTH is granted with 235")
            self._end_auth(reply.with_enhanced_default())
            return
        self.identity = self._unproved
        self._exchange = self._unproved = None
        self._move(ServerTrigger.AUTH_ENDED)
        self._grant(reply, replies.AUTHENTICATED)

    def _end_auth(self, reply: Reply) -> None:
        """Refuse an AUTH; wrong credentials are counted (RFC 4954 section 4)."""
        name = "" if self._exchange is None else self._exchange.name
        self._exchange = self._unproved = None
        self._move(ServerTrigger.AUTH_ENDED)
        if reply.code == replies.AUTH_FAILED.code:
            self._auth_failures += 1
            if self._auth_failures >= self._limits.max_auth_attempts:
                reply = replies.TOO_MANY_AUTH_FAILURES
        self._queue.append(AuthRefused(name, reply))
        self._respond(reply)

"""The server's state machine for SMTP and LMTP (RFC 5321, RFC 2033).

Theory of operation. Octets go in by ``receive_data``; ``next_event`` gives what they
mean, one event at a time; ``answer`` says what to do about it; ``data_to_send`` is what
goes back. There is never a second event before the first was answered, so replies are
in order and one handler runs at a time, however deep a client pipelines (RFC 2920).
What needs no decision (NOOP, RSET, QUIT, every error of syntax or order, all limits) is
answered here and gives no event that waits.

A message ends in ``MessageComplete`` or in ``MessageAborted``, never in both and never
in silence, so a truncated message cannot be taken for a whole one.

After ``ConnectionEnded`` the layer above sends what ``data_to_send`` still has, and
closes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from smtpx.core.buffer import LineTooLong
from smtpx.core.events import (
    CommandRefused,
    Event,
    HelloReceived,
    MailReceived,
    RcptReceived,
)
from smtpx.core.server_base import AGAIN, READS_OCTETS, Stepped, require_negative
from smtpx.core.server_gateway import NOTHING_TOLD
from smtpx.core.server_simple import ServerSimple
from smtpx.core.states import (
    SERVER_ALLOWED,
    USER_VERB,
    ServerState,
    ServerTrigger,
    describe_wrong_order,
)
from smtpx.core.trace import REDACTED, redact_command, redact_stray
from smtpx.errors import BadSyntax
from smtpx.wire import replies
from smtpx.wire.commands import (
    Auth,
    Bdat,
    Command,
    Data,
    Ehlo,
    Etrn,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    Noop,
    Quit,
    Raw,
    Rcpt,
    Rset,
    StartTLS,
    Vrfy,
)
from smtpx.wire.envelope import Envelope, Recipient
from smtpx.wire.forwarded import XClient, XForward
from smtpx.wire.grammar import parse_command
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from smtpx.core.config import ServerConfig
    from smtpx.core.trace import WireLog

__all__ = ["ServerMachine"]

# Browsers that were made to speak to a mail port send a request line, then header lines
# that an attacker chose: the first line ends it.
_HTTP_REQUEST: Final = re.compile(
    rb"(?:GET|POST|HEAD|PUT|DELETE|CONNECT|OPTIONS|PATCH|TRACE) ", re.IGNORECASE
)
# A TLS handshake record: a client of implicit TLS on a port that starts in plaintext.
_TLS_HANDSHAKE: Final = b"\x16\x03"

# RFC 3207 section 4: all that a client may say before TLS where it is required.
# And XCLIENT, as with Postfix: TLS is the business of the client that it tells.
_BEFORE_TLS: Final = frozenset(
    {"NOOP", "HELO", "EHLO", "LHLO", "STARTTLS", "QUIT", "XCLIENT"}
)
# What asks for authentication where it is required (RFC 4954 section 6). RCPT and DATA
# cannot come without MAIL.
_NEEDS_AUTH: Final = frozenset({"MAIL", "VRFY", "EXPN", "ETRN"})

# Looked up once: in its class a member takes four times as long (CPython 3.11).
_START: Final = ServerState.START
_MAIL_ACCEPTED: Final = ServerTrigger.MAIL_ACCEPTED
_RCPT_ACCEPTED: Final = ServerTrigger.RCPT_ACCEPTED
_HELLO: Final = ServerTrigger.HELLO

_NOT_SMTP: Final = Reply(421, "4.7.0", "this is a mail server; closing")
_TLS_NOT_HERE: Final = Reply(421, "4.7.0", "this port starts in plaintext; closing")
_TOO_MANY_COMMANDS: Final = Reply(421, "4.7.0", "too many commands; connect again")
_TOO_MANY_TRANSACTIONS: Final = Reply(
    421, "4.7.0", "enough messages for one connection; connect again"
)
_WRONG_HELLO: Final[Mapping[bool, Reply]] = {
    False: Reply(500, "5.5.1", "this is SMTP: say EHLO"),
    True: Reply(500, "5.5.1", "this is LMTP: say LHLO"),
}
# ... of a server that takes both: the verb is known, but too late.
_LATE_HELLO: Final[Mapping[bool, Reply]] = {
    False: Reply(503, "5.5.1", "this session is SMTP: connect again to say LHLO"),
    True: Reply(503, "5.5.1", "this session is LMTP: connect again to say EHLO"),
}


class ServerMachine(ServerSimple):
    r"""One session of a server, without any I/O.

    Args:
        config: settings shared by all sessions.
        is_tls: the connection is under TLS from its first octet (RFC 8314 section 3).
        is_local: the client is on loopback or a unix socket.
        trace: gets a redacted log of what passes.
        now: when the session begins, with a time zone, for extensions that tell
            a time. None if nobody knows; they are not offered then.

    Attributes:
        envelope: the transaction under way, or None.
        hello_name: what the client called itself, or None before HELO.
        identity: who authenticated, or None.
        is_extended: the client said EHLO or LHLO.
        is_lmtp: the session is LMTP; where a server takes both, it is SMTP until LHLO
            was granted.
        is_tls: the session is under TLS.
        is_local: as given.
        ended_transactions: how many transactions ended, however they did; a layer
            that keeps anything for a transaction drops it when this changes.

    >>> from smtpx.core.config import ServerConfig
    >>> machine = ServerMachine(ServerConfig(hostname="mx.test"))
    >>> machine.next_event()
    ClientConnected()
    >>> machine.answer(None)
    >>> machine.data_to_send()
    b'220 mx.test ESMTP smtpx\r\n'
    >>> machine.receive_data(b"MAIL FROM:<a@example.com>\r\n")
    >>> machine.next_event().reply.code
    503
    >>> machine.data_to_send()
    b'503 5.5.1 Say EHLO first\r\n'
    """

    __slots__ = (
        "_command_count",
        "_domains",
        "_has_refused_recipient",
        "_hello",
        "_is_gated",
        "_line_limit",
        "_mail",
        "_now",
        "_recipient",
        "_short_line",
        "_transactions",
    )

    # What an answer is about, while one is awaited.
    _hello: Helo | Ehlo | Lhlo
    _mail: Mail
    _recipient: Recipient
    # Of the transaction; set where one begins.
    _has_refused_recipient: bool

    def __init__(
        self,
        config: ServerConfig,
        *,
        is_tls: bool = False,
        is_local: bool = False,
        trace: WireLog | None = None,
        now: datetime | None = None,
    ) -> None:
        # To the minute, so that sessions share what is made for them. One that is whole
        # stays the same object, which knows its hash: to take it of another is 3 us.
        if now is not None and (now.second or now.microsecond):
            now = now.replace(second=0, microsecond=0)
        self._now = now
        # Of accepted recipients; only kept if there is a limit, which bounds it.
        self._domains: set[str] = set()
        # No line up to the first is over any limit, its CRLF counted in.
        self._short_line, self._line_limit = config.line_limits
        self._command_count = 0
        self._transactions = 0
        self._auth_failures = 0
        self._statuses = []
        super().__init__(config, is_tls, is_local, trace)
        self._pending = self._answer_connected

    def _begin(self) -> None:
        # For all floors at once: a call for each costs more than what it does.
        super()._begin()
        self._exchange = self._xclient = None
        self._forwarded = NOTHING_TOLD
        config = self._config
        # Whether some commands may have to wait for TLS or AUTH.
        self._is_gated = config.requires_tls or config.requires_auth
        self._grammar = config.grammar(
            is_tls=self.is_tls, is_local=self.is_local, now=self._now
        )

    def restart(self, config: ServerConfig, *, is_local: bool) -> None:
        """Grant XCLIENT; see ``ServerGateway.restart``."""
        super().restart(config, is_local=is_local)
        self._transactions = 0
        self._domains.clear()

    def next_event(self) -> Event | None:
        """Return what happened next.

        Returns:
            An event; or None when the machine needs input, or an answer first.
        """
        queue = self._queue
        if queue:
            return queue.pop(0)
        while self._pending is None:
            if (
                not self._buffer.head
                and self.state in READS_OCTETS
                and not self._is_eof
            ):
                return None
            stepped = self._skip_chunk() if self._skip else _STEPS[self.state](self)
            if stepped is not AGAIN:
                return stepped
            queue = self._queue
            if queue:
                return queue.pop(0)
        return None

    # ------------------------------------------------------------- one command line

    def _next_command(self) -> Stepped:
        try:
            line = self._buffer.take_line(self._line_limit)
        except LineTooLong as long:
            self._refuse_long_line(long.opening)
            return AGAIN
        if line is None:
            return self._next_line_incomplete()
        self._command_count = count = self._command_count + 1
        if (
            len(line) > self._short_line or count > self._limits.max_commands
        ) and self._refuse_excess(line):
            return AGAIN
        try:
            command = parse_command(line, self._grammar)
        except BadSyntax as error:
            reply = _reply_to_alien(line) or Reply(
                error.code, error.enhanced, error.text
            )
            self._refuse_line(line, reply)
            return AGAIN
        if self._trace is not None:
            self._trace.client_line(line)
        if command.verb in SERVER_ALLOWED[self.state] and not self._is_gated:
            stepped = _COMMANDS[type(command)](self, command)
        else:
            stepped = self._check_order(command) or _COMMANDS[type(command)](
                self, command
            )
        if isinstance(stepped, Reply):
            self._refuse_command(line, command, stepped)
            return AGAIN
        return stepped

    def _refuse_excess(self, line: bytes) -> bool:
        """Refuse a line that is too long, or one too many; tell whether it was."""
        if self._command_count > self._limits.max_commands:
            self._refuse_line(line, _TOO_MANY_COMMANDS)
        elif len(line) + 2 > self._limit_of(line):
            self._refuse_long_line(line)
        else:
            return False
        return True

    def _next_line_incomplete(self) -> Stepped:
        """Wait for the rest of a line, unless none will ever come of it."""
        if self.state is _START and self._buffer.starts_with(_TLS_HANDSHAKE):
            self._refuse_line(_TLS_HANDSHAKE, _TLS_NOT_HERE)
            return AGAIN
        return self._dry()

    def _limit_of(self, line: bytes) -> int:
        limits = self._limits
        return limits.max_auth_octets if _is_auth(line) else limits.max_command_octets

    def _refuse_long_line(self, opening: bytes) -> None:
        """Refuse a line over its limit; what it was meant to be counts all the same.

        Else a long URL would let a browser's request go on to the lines that an
        attacker chose, and the octets behind a long BDAT would run as commands.
        """
        reply = _reply_to_alien(opening) or replies.LINE_TOO_LONG
        self._refuse_line(opening, reply, is_shown=False)

    def _refuse_line(self, line: bytes, reply: Reply, *, is_shown: bool = True) -> None:
        """Refuse a line that is no command; after AUTH it may be a stray password."""
        is_shown = is_shown and not self._has_secrets
        if line[:4].upper() == b"AUTH":
            self._has_secrets = True
        if self._trace is not None:
            if is_shown:
                self._trace.client_stray(line)
            else:
                self._trace.client_secret()
        self._refuse(redact_stray(line) if is_shown else REDACTED, reply)
        if line[:4].upper() == b"BDAT":
            # How much follows is unknown, so nothing that follows can be trusted.
            self.abort("BDAT without a valid size")

    def _refuse_command(self, line: bytes, command: Command, reply: Reply) -> None:
        """Refuse a command that was understood; octets behind a BDAT belong to it."""
        if isinstance(command, Auth):
            # The client may send on what the mechanism would have asked for.
            self._has_secrets = True
        if isinstance(command, Bdat) and command.size:
            self._queue.append(CommandRefused(redact_command(line), reply))
            self._skip = command.size
            self._skip_replies = [reply]
        else:
            self._refuse(redact_command(line), reply)

    def _check_order(self, command: Command) -> Reply | None:
        verb = command.verb
        allowed = SERVER_ALLOWED[self.state]
        if verb not in allowed and not (
            isinstance(command, Raw) and USER_VERB in allowed
        ):
            if (
                self.state is ServerState.MAIL
                and self._has_refused_recipient
                and verb in {"DATA", "BDAT"}
            ):
                # RFC 2920 section 4 shows it; LMTP wants 503 (RFC 2033 section 4.2).
                return replies.NO_VALID_RECIPIENTS
            return Reply(503, "5.5.1", describe_wrong_order(self.state, verb))
        config = self._config
        if config.requires_tls and not self.is_tls and verb not in _BEFORE_TLS:
            return replies.TLS_REQUIRED
        if config.requires_auth and self.identity is None and verb in _NEEDS_AUTH:
            return replies.AUTH_REQUIRED
        return None

    # ------------------------------------------------------- HELO, EHLO and LHLO

    def _on_hello(self, command: Helo | Ehlo | Lhlo) -> Stepped | Reply:
        if isinstance(command, Lhlo) != self.is_lmtp and not self._may_choose(command):
            config = self._config
            is_too_late = config.takes_lmtp_too and not config.is_lmtp
            return (_LATE_HELLO if is_too_late else _WRONG_HELLO)[self.is_lmtp]
        self._hello = command
        self._pending = self._answer_hello
        hello = HelloReceived(command.verb, command.name)
        if not self._is_body_open:
            return hello
        self._abort_message(f"{command.verb} before the end of the message")
        self._queue.append(hello)
        return AGAIN

    def _may_choose(self, command: Helo | Ehlo | Lhlo) -> bool:
        """Tell whether a greeting may make LMTP of this session.

        That is the first one only. Later a client would know the rules of one protocol
        to be in force, and count the replies to its messages by those of the other.
        """
        return (
            isinstance(command, Lhlo)
            and self._config.takes_lmtp_too
            and self.state is _START
        )

    def _speak_lmtp(self) -> None:
        """Be LMTP from here to the end of the session, or to STARTTLS."""
        self.is_lmtp = True
        self._grammar = self._config.as_lmtp.grammar(
            is_tls=self.is_tls, is_local=self.is_local, now=self._now
        )

    def _answer_hello(self, reply: Reply | None) -> None:
        if reply is not None and not reply.is_positive:
            require_negative(reply, "HELO and EHLO are granted with 250")
            if self.state is ServerState.BDAT:
                self._end_transaction()
            self._respond(reply.with_enhanced_default())
            return
        command = self._hello
        config = self._config
        if isinstance(command, Lhlo):
            config = config.as_lmtp
            if not self.is_lmtp:
                self._speak_lmtp()
        # RFC 5321 section 4.1.4: EHLO in a transaction has the effect of RSET.
        self._move(_HELLO)
        if self.envelope is not None:
            self._end_transaction()
        self._forwarded = NOTHING_TOLD
        self.hello_name = command.name
        self.is_extended = not isinstance(command, Helo)
        text = f"greets {command.name}" if reply is None else reply.text
        if self.is_extended:
            granted = config.ehlo_reply(
                text,
                is_tls=self.is_tls,
                is_local=self.is_local,
                is_authenticated=self.identity is not None,
                now=self._now,
            )
        else:
            granted = config.helo_reply(text)
        self._out.append(granted.encode())

    # -------------------------------------------------------------- MAIL and RCPT

    def _on_mail(self, command: Mail) -> Event | Reply:
        options = command.options
        if self._transactions >= self._limits.max_transactions:
            return _TOO_MANY_TRANSACTIONS
        path = command.reverse_path
        if path is not None and not options.smtputf8 and not path.is_ascii:
            return replies.UTF8_NOT_ALLOWED
        most = self._limits.max_message_octets
        if options.size is not None and most is not None and options.size > most:
            return replies.MESSAGE_TOO_LARGE
        self._mail = command
        self._pending = self._answer_mail
        return MailReceived(path, options)

    def _answer_mail(self, reply: Reply | None) -> None:
        if self._grant(reply, replies.SENDER_OK):
            command = self._mail
            self._transactions += 1
            self._has_refused_recipient = False
            self.envelope = Envelope(command.reverse_path, command.options, [])
            self._move(_MAIL_ACCEPTED)

    def _on_rcpt(self, command: Rcpt) -> Event | Reply:
        envelope = self.envelope or self._open_envelope()
        path = command.forward_path
        count = len(envelope.recipients)
        if count >= self._limits.max_recipients:
            return replies.TOO_MANY_RECIPIENTS
        if self._limits.max_recipient_domains is not None and (
            self._has_too_many_domains(path.domain)
        ):
            return replies.TOO_MANY_DOMAINS
        if not envelope.options.smtputf8 and not path.is_ascii:
            return replies.UTF8_NOT_ALLOWED
        self._recipient = recipient = Recipient(path, command.options, count)
        self._pending = self._answer_rcpt
        return RcptReceived(recipient)

    def _has_too_many_domains(self, domain: str) -> bool:
        """Say whether a session had its share of domains (RFC 9422 section 4.3)."""
        most, domains = self._limits.max_recipient_domains, self._domains
        if most is None or len(domains) < most:
            return False
        # <postmaster> has no domain, and is at this server anyway.
        return bool(domain) and domain.lower() not in domains

    def _count_domain(self, domain: str) -> None:
        if domain:
            self._domains.add(domain.lower())

    def _answer_rcpt(self, reply: Reply | None) -> None:
        recipient = self._recipient
        if self._grant(reply, replies.RECIPIENT_OK):
            if self._limits.max_recipient_domains is not None:
                self._count_domain(recipient.mailbox.domain)
            (self.envelope or self._open_envelope()).recipients.append(recipient)
            self._move(_RCPT_ACCEPTED)
        else:
            self._has_refused_recipient = not self.is_lmtp

    # -------------------------------------------------------------------- the end

    def _on_quit(self, _command: Quit) -> Stepped:
        self._out.append(replies.GOODBYE.encode())
        self._end("QUIT", is_clean=self.envelope is None)
        return AGAIN

    def _next_after_end(self) -> Stepped:
        return None


def _is_auth(line: bytes) -> bool:
    return line[:5].upper() == b"AUTH "


def _reply_to_alien(line: bytes) -> Reply | None:
    """Return the reply to what belongs to another protocol."""
    if _HTTP_REQUEST.match(line):
        return _NOT_SMTP
    if line.startswith(_TLS_HANDSHAKE):
        return _TLS_NOT_HERE
    return None


# What is done with each command.
_COMMANDS: Final[
    Mapping[type[Command], Callable[[ServerMachine, Any], Stepped | Reply]]
] = {
    Helo: ServerMachine._on_hello,
    Ehlo: ServerMachine._on_hello,
    Lhlo: ServerMachine._on_hello,
    Mail: ServerMachine._on_mail,
    Rcpt: ServerMachine._on_rcpt,
    Data: ServerMachine._on_data,
    Bdat: ServerMachine._on_bdat,
    Rset: ServerMachine._on_rset,
    Noop: ServerMachine._on_noop,
    Quit: ServerMachine._on_quit,
    Vrfy: ServerMachine._on_vrfy,
    Expn: ServerMachine._on_expn,
    Etrn: ServerMachine._on_etrn,
    Help: ServerMachine._on_help,
    StartTLS: ServerMachine._on_starttls,
    Auth: ServerMachine._on_auth,
    XClient: ServerMachine._on_xclient,
    XForward: ServerMachine._on_xforward,
    Raw: ServerMachine._on_raw,
}

# What is done with input in each state.
_STEPS: Final[Mapping[ServerState, Callable[[ServerMachine], Stepped]]] = {
    ServerState.CONNECTED: ServerMachine._next_after_end,
    ServerState.REJECTED: ServerMachine._next_command,
    ServerState.START: ServerMachine._next_command,
    ServerState.READY: ServerMachine._next_command,
    ServerState.AUTH: ServerMachine._next_response,
    ServerState.MAIL: ServerMachine._next_command,
    ServerState.RCPT: ServerMachine._next_command,
    ServerState.DATA: ServerMachine._next_content,
    ServerState.CHUNK: ServerMachine._next_chunk,
    ServerState.BDAT: ServerMachine._next_command,
    ServerState.TLS: ServerMachine._next_in_handshake,
    ServerState.CLOSED: ServerMachine._next_after_end,
}

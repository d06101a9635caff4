r"""The client's machine: commands in, octets out; octets in, replies out.

It knows what may be said when, what may share a flight, and which reply answers what.
It has no socket and no clock: whoever drives it moves the octets.

>>> from smtpx.wire.commands import Ehlo
>>> machine = ClientMachine()
>>> machine.receive_data(b"220 mx.test ESMTP\r\n")
>>> asked, reply = machine.next_reply()
>>> asked, reply.code
(<Asked.GREETING: 'greeting'>, 220)
>>> machine.send(Ehlo("client.test"))
>>> machine.data_to_send()
b'EHLO client.test\r\n'
>>> machine.receive_data(b"250-mx.test\r\n250 PIPELINING\r\n")
>>> asked, reply = machine.next_reply()
>>> asked, machine.may_pipeline
(Ehlo(name='client.test'), True)

Replies are matched to what was asked in order, as they carry no number. So after
anything unexpected no later pairing can be trusted: a malformed reply, one that nobody
asked for, one of a class that the command cannot have, octets behind the 220 to
STARTTLS. Then the machine is broken, for ever, and says so with `BadReply`; a driver
that gives up waiting calls `break_off`, to the same end.

Misuse by the driver, such as DATA before RCPT, raises `RuntimeError` and changes
nothing.
"""

from __future__ import annotations

import functools
from collections import deque
from enum import Enum, unique
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from smtpx.core.client_states import (
    ANY_VERB,
    CLIENT_ALLOWED,
    CLIENT_SUCCESS,
    CLIENT_TRANSITIONS,
    CLIENT_TRIGGERS,
    PIPELINED_VERBS,
    ClientState,
    ClientTrigger,
)
from smtpx.errors import BadReply
from smtpx.wire.capabilities import Capabilities
from smtpx.wire.commands import Bdat, Command, Mail, Raw, Rcpt
from smtpx.wire.extensions import DEFAULT_REGISTRY
from smtpx.wire.framing import DotEncoder
from smtpx.wire.octets import encode_base64
from smtpx.wire.options import ASCII_ONLY, EncodeContext
from smtpx.wire.replies import Reply
from smtpx.wire.reply_decoder import DEFAULT_REPLY_LIMITS, ReplyDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from smtpx.core.trace import WireLog
    from smtpx.wire.address import Mailbox
    from smtpx.wire.extensions import Registry
    from smtpx.wire.options import MailOptions, RcptOptions
    from smtpx.wire.params import ParameterTable
    from smtpx.wire.reply_decoder import ReplyLimits

__all__ = ["Asked", "ClientMachine", "Question"]


@unique
class Asked(Enum):
    """What a reply answers when it answers no command."""

    GREETING = "greeting"
    """The connection itself."""

    END_OF_CONTENT = "."
    """The final dot of DATA."""

    RESPONSE = "AUTH"
    """A response in a SASL exchange."""

    NOTHING = ""
    """Nothing: a 421, which a server may say at any time (RFC 5321 section 3.8)."""


Question: TypeAlias = Command | Asked

_UTF8_TOO: Final = EncodeContext(smtputf8=True)

_S = ClientState

# Once more as plain dictionaries, which are read in half the time.
_ALLOWED: Final = dict(CLIENT_ALLOWED)
_TRIGGERS: Final = dict(CLIENT_TRIGGERS)
_TRANSITIONS: Final = dict(CLIENT_TRANSITIONS)

# Where the success of a verb leads, by the state before it.
_AHEAD: Final = {
    (state, verb): CLIENT_TRANSITIONS[state, trigger]
    for verb, trigger in CLIENT_SUCCESS.items()
    for state in ClientState
    if (state, trigger) in CLIENT_TRANSITIONS
}
_LAST_CHUNK: Final = "BDAT LAST"
# The same for the verbs that are allowed there, by state and then by verb.
_STEPS: Final = {
    state: {
        verb: _AHEAD.get((state, verb), state)
        for verb in (*verbs, *({_LAST_CHUNK} if "BDAT" in verbs else ()))
    }
    for state, verbs in CLIENT_ALLOWED.items()
}
# What a reply does in a state, by its verb and its first digit: the trigger that it
# pulls, if any, and where that leads.
_EFFECTS: Final = {
    (state, verb, digit): (
        trigger,
        state if trigger is None else _TRANSITIONS.get((state, trigger), state),
    )
    for (verb, digit), trigger in CLIENT_TRIGGERS.items()
    for state in ClientState
}
_CODE_CLOSING: Final = 421
# In its class a value takes ten times as long.
_FINAL_DOT: Final[str] = Asked.END_OF_CONTENT.value

_END_ASKED: Final = (Asked.END_OF_CONTENT, _FINAL_DOT)
# Members looked up once: in their class they take four times as long.
_DATA: Final = ClientState.DATA
_BROKEN: Final = ClientState.BROKEN
_TLS: Final = ClientState.TLS

# In place of a text that repeated a password.
_HIDDEN: Final = "(not shown, as it repeats what was sent in secret)"

_RCPT_ACCEPTED: Final = ClientTrigger.RCPT_ACCEPTED

# The triggers whose replies say more than yes or no.
_TEACHING: Final = frozenset(
    {
        ClientTrigger.HELLO,
        ClientTrigger.RESTARTED,
        ClientTrigger.TLS_OFFERED,
    }
)


@functools.lru_cache(maxsize=64)
def _learn_offer(
    registry: Registry, lines: tuple[str, ...]
) -> tuple[Capabilities, ParameterTable, ParameterTable]:
    """Read the keyword lines of EHLO: what is offered, and what MAIL and RCPT may have.

    Cached, as a client that connects often hears the same from the same few servers.
    """
    capabilities = Capabilities.parse(lines)
    return (capabilities, *registry.parameter_tables(capabilities))


class ClientMachine:
    """The protocol of one connection, seen from the client.

    Args:
        is_lmtp: the end of a message is answered once for each accepted recipient
            (RFC 2033 section 4.2).
        limits: on replies.
        registry: of the extensions whose parameters MAIL and RCPT may have, where
            the server offers them.
        log: gets every line that passes, without secrets.

    Attributes:
        is_lmtp: as given.
        state: where the connection stands, as far as replies have told.
        capabilities: what the last EHLO or LHLO was answered with; nothing before,
            after HELO, and again after STARTTLS (RFC 3207 section 4.2).
        may_pipeline: whether the server takes commands in flights (RFC 2920).
        accepted: how many recipients the transaction under way has.
        mails: how many MAIL commands were sent (RFC 9422 section 4.1).
        domains: of the recipients that were named, in lower case (RFC 9422 section
            4.3); empty unless the server limits them.
        secrets: while any are set, a final reply that holds one loses its text before
            it goes to the log or an error: there are servers that repeat the password
            that they refuse.
    """

    __slots__ = (
        "_ahead",
        "_context",
        "_counts_domains",
        "_decoder",
        "_encoder",
        "_last_mail",
        "_last_rcpt",
        "_log",
        "_mail_parameters",
        "_out",
        "_pending",
        "_rcpt_parameters",
        "_registry",
        "_statuses",
        "accepted",
        "capabilities",
        "domains",
        "is_lmtp",
        "mails",
        "may_pipeline",
        "secrets",
        "state",
    )

    def __init__(
        self,
        *,
        is_lmtp: bool = False,
        limits: ReplyLimits = DEFAULT_REPLY_LIMITS,
        registry: Registry = DEFAULT_REGISTRY,
        log: WireLog | None = None,
    ) -> None:
        self.state = ClientState.GREETING
        self._registry = registry
        # Sender, options and octets of the last MAIL.
        self._last_mail: tuple[Mailbox | None, MailOptions | None, bytes]
        # Recipient, options, context and octets of the last RCPT.
        self._last_rcpt: tuple[
            Mailbox | None, RcptOptions | None, EncodeContext | None, bytes
        ]
        self._know(())
        self._context = ASCII_ONLY
        self.accepted = 0
        self.mails = 0
        self.domains: set[str] = set()
        self.is_lmtp = is_lmtp
        self._log = log
        self._decoder = ReplyDecoder(limits)
        self._encoder = DotEncoder()
        self._out: list[bytes | memoryview] = []
        self.secrets: tuple[str, ...] = ()
        # What was asked and not answered yet, each with its verb.
        self._pending: deque[tuple[Question, str]] = deque(
            [(Asked.GREETING, Asked.GREETING.value)]
        )
        # The state in which everything pending has succeeded.
        self._ahead = ClientState.START
        # LMTP: how many replies the end of the message still gets; 0: none came yet.
        self._statuses = 0

    # What was found out.

    @property
    def is_waiting(self) -> bool:
        """Whether a reply is outstanding."""
        return bool(self._pending)

    @property
    def awaited(self) -> Question | None:
        """What the next reply answers, None if none is outstanding."""
        return self._pending[0][0] if self._pending else None

    @property
    def outstanding(self) -> int:
        """How many questions are unanswered."""
        return len(self._pending)

    @property
    def has_data_to_send(self) -> bool:
        """Whether `data_to_send` would return anything."""
        return bool(self._out)

    @property
    def is_in_step(self) -> bool:
        """Whether the next command will be answered by the next reply, provably."""
        return (
            not self._pending
            and not self._decoder.has_partial
            and bool(_ALLOWED[self.state])
        )

    # Octets out.

    def send(self, command: Command) -> None:
        """Say a command.

        Args:
            command: `Raw` ones are taken in any state that takes commands at all.

        Raises:
            RuntimeError: it is out of order, or may not share a flight with what is
                outstanding.
            UnsafeOctets: an argument holds a control octet; nothing is sent.
            BadParameter: an option has a parameter that the server does not offer.
            BadReply: the server has said something that nobody asked for.
        """
        self.send_all((command,))

    def send_all(self, commands: Iterable[Command]) -> None:
        """Say commands in one flight.

        Args:
            commands: in order.

        Raises:
            The same as `send`; what came before the command that it is about is said.
        """
        pending, out, log = self._pending, self._out, self._log
        for command in commands:
            kind, verb = type(command), command.verb
            allowed_as = verb
            if kind is Raw:
                verb, allowed_as = verb.upper(), ANY_VERB
            elif kind is Bdat and command.is_last:  # type: ignore[union-attr]
                verb = allowed_as = _LAST_CHUNK
            # Refuse what may not be sent now, before anything has changed.
            if pending:
                if not (self.may_pipeline and pending[-1][1] in PIPELINED_VERBS):
                    last = pending[-1][1]
                    raise RuntimeError(f"{verb} has to wait for the reply to {last}")
            elif self._decoder.has_partial:
                self._fail("octets that no command asked for")
            ahead = _STEPS[self._ahead].get(allowed_as)
            if ahead is None:
                raise RuntimeError(
                    f"{verb} is out of order: the state is {self._ahead}"
                )
            encode = _ENCODERS.get(kind)
            line = command.encode() if encode is None else encode(self, command)
            if log is not None:
                log.client_line(line[:-2])
            out.append(line)
            pending.append((command, verb))
            if allowed_as is ANY_VERB:
                ahead = _AHEAD.get((ahead, verb), ahead)
            self._ahead = ahead

    # With the parameters that the server offers. One like the last, as those of a
    # sender often are, costs less.

    def _encode_rcpt(self, command: Rcpt) -> bytes:
        path, options = command.forward_path, command.options
        known_path, known_options, known_context, line = self._last_rcpt
        if (
            path is not known_path
            or options is not known_options
            or known_context is not self._context
        ):
            line = command.encode(self._rcpt_parameters, self._context)
            self._last_rcpt = path, options, self._context, line
        if self._counts_domains:
            self.domains.add(path.domain.lower())
        return line

    def _encode_mail(self, command: Mail) -> bytes:
        options = command.options
        path, known_options, line = self._last_mail
        if path is not command.reverse_path or known_options is not options:
            line = command.encode(self._mail_parameters)
            self._last_mail = command.reverse_path, options, line
        self.mails += 1
        self._context = _UTF8_TOO if options.smtputf8 else ASCII_ONLY
        return line

    def send_chunk(self, data: bytes | memoryview, *, is_last: bool) -> None:
        """Say BDAT, with its octets right behind it (RFC 3030 section 2).

        Raises:
            The same as `send`.
        """
        self.send(Bdat(len(data), is_last))
        self._put_content(data)

    def send_response(self, response: bytes | None) -> None:
        """Answer the challenge of a 334 (RFC 4954 section 4).

        Args:
            response: decoded; it may be empty. None cancels the exchange.

        Raises:
            RuntimeError: no 334 is open.
        """
        if self.state is not _S.AUTH or self._pending:
            raise RuntimeError("a response answers a 334, and none is open")
        self._out.append(b"*" if response is None else encode_base64(response))
        self._out.append(b"\r\n")
        if self._log is not None:
            self._log.client_secret()
        self._expect(Asked.RESPONSE, Asked.RESPONSE.value)

    def send_content(self, data: bytes, *, has_crlf: bool = False) -> None:
        """Send content after a 354; line ends and dots are taken care of.

        Args:
            data: any part of the message, cut anywhere.
            has_crlf: all of its line ends are CRLF; nobody looks again.

        Raises:
            RuntimeError: no 354 is open.
        """
        if self.state is not _DATA or self._pending:
            raise RuntimeError("content follows a 354, and none is open")
        encoder = self._encoder
        self._put_content(
            encoder.encode_lines(data) if has_crlf else encoder.encode(data)
        )

    def send_ready(self, data: bytes | memoryview) -> None:
        """Send content after a 354 that `smtpx.wire.framing.encode_message` wrote.

        Args:
            data: any part of it, in order; nobody looks at it again.

        Raises:
            RuntimeError: no 354 is open.
        """
        if self.state is not _DATA or self._pending:
            raise RuntimeError("content follows a 354, and none is open")
        self._put_content(data)

    def end_content(self) -> None:
        """Send the final dot.

        Raises:
            RuntimeError: no 354 is open.
        """
        if self.state is not _DATA or self._pending:
            raise RuntimeError("the final dot follows a 354, and none is open")
        self._out.append(self._encoder.finish())
        self._pending.append(_END_ASKED)
        self._ahead = _AHEAD.get((self._ahead, _FINAL_DOT), self._ahead)

    def data_to_send(self) -> bytes | memoryview:
        """Return what is to be written now, once."""
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    # Octets in.

    def receive_data(self, data: bytes) -> None:
        """Take what was received; then ask for `next_reply` until there is none.

        Raises:
            BadReply: nothing may come now (CVE-2011-0411), or the machine is broken.
        """
        state = self.state
        if state is _TLS:
            self._fail("octets in clear behind the reply to STARTTLS")
        if state is _BROKEN:
            raise BadReply("the connection is out of step")
        self._decoder.feed(data)

    def receive_eof(self) -> None:
        """Take note that nothing more will come."""
        self._pending.clear()
        self._pull(ClientTrigger.END)

    def next_reply(  # noqa: C901, PLR0912 - each call less counts at every reply
        self,
    ) -> tuple[Question, Reply] | None:
        """Return the next reply with what it answers, None if none is complete.

        In LMTP the end of the message is returned once for each accepted recipient,
        in their order.

        Raises:
            BadReply: the server is out of step: close the connection.
        """
        before = self.state
        if before is _BROKEN:
            raise BadReply("the connection is out of step")
        try:
            reply = self._decoder.next_reply()
        except BadReply:
            self.break_off()
            if self.secrets:
                raise BadReply("a malformed reply to AUTH, not shown") from None
            raise
        if reply is None:
            return None
        if self.secrets:
            reply = self._without_secrets(reply)
        if self._log is not None:
            self._log.server_octets(reply.encode())
        pending = self._pending
        if not pending:
            return self._take_unasked(reply)
        # It answers the first thing outstanding.
        question, verb = pending[0]
        code = reply.code
        effect = _EFFECTS.get((before, verb, code // 100))
        trigger, state = effect or self._judge_unknown(verb, code)
        if verb == "MAIL":
            self.accepted = 0
        if not (self.is_lmtp and self._has_more_statuses(verb)):
            pending.popleft()
            self.state = state
            if trigger is _RCPT_ACCEPTED:
                self.accepted += 1
            elif trigger in _TEACHING:
                self._learn(trigger, reply)
            if not pending:
                self._ahead = self.state
        if code == _CODE_CLOSING:
            self._pull(ClientTrigger.END)
        return question, reply

    # What happens to the connection otherwise.

    def tls_started(self) -> None:
        """Forget all that was learnt in clear: the handshake is done.

        Raises:
            RuntimeError: no 220 to STARTTLS came before.
        """
        if self.state is not _S.TLS:
            raise RuntimeError("TLS starts after a 220 to STARTTLS")
        self._pull(ClientTrigger.TLS_STARTED)
        self._know(())

    def break_off(self) -> None:
        """Give up: from now on no reply is paired with anything.

        To be called after a timeout or a cancelled wait, when a reply may still come
        for a question that nobody remembers.
        """
        self._pending.clear()
        self._pull(ClientTrigger.LOST_STEP)
        self._out.clear()

    # The inner works.

    def _expect(self, question: Question, verb: str) -> None:
        """Note a question, and where its success would lead."""
        self._pending.append((question, verb))
        self._ahead = _AHEAD.get((self._ahead, verb), self._ahead)

    def _put_content(self, data: bytes | memoryview) -> None:
        if data:
            if self._log is not None:
                self._log.content(len(data))
            self._out.append(data)

    def _judge_unknown(
        self, verb: str, code: int
    ) -> tuple[ClientTrigger | None, ClientState]:
        """Say what a reply means that the tables do not have."""
        # Every verb of the table may be refused with 5yz.
        if (verb, 5) in _TRIGGERS:
            self._fail(f"reply {code} to {verb}")
        return _EFFECTS[self.state, ANY_VERB, code // 100]

    def _without_secrets(self, reply: Reply) -> Reply:
        """Take away the text of a reply that repeats a secret.

        All of it: where in a text it stood, and how often, tells something too.
        """
        # The data of a challenge is the mechanism's, and never in the log.
        if reply.is_intermediate or not any(
            secret in line for secret in self.secrets for line in reply.lines
        ):
            return reply
        return Reply(reply.code, reply.enhanced, _HIDDEN)

    def _has_more_statuses(self, verb: str) -> bool:
        """Say whether the end of a message gets further replies (LMTP)."""
        if verb not in {".", "BDAT LAST"}:
            return False
        # Without a recipient there is the one 503 that RFC 2033 section 4.2 asks for.
        self._statuses = (self._statuses or max(1, self.accepted)) - 1
        return self._statuses > 0

    def _learn(self, trigger: ClientTrigger | None, reply: Reply) -> None:
        """Take from a reply what it says besides yes or no."""
        if trigger is ClientTrigger.HELLO:
            # The first line is the server's name. HELO has no other.
            self._know(reply.lines[1:])
        elif trigger is ClientTrigger.RESTARTED:
            self._know(())
        elif trigger is ClientTrigger.TLS_OFFERED and self._decoder.has_partial:
            self._fail("octets in clear behind the reply to STARTTLS")

    def _know(self, lines: tuple[str, ...]) -> None:
        """Note what the server offers, and so what may be sent."""
        self.capabilities, self._mail_parameters, self._rcpt_parameters = _learn_offer(
            self._registry, lines
        )
        self.may_pipeline = "PIPELINING" in self.capabilities
        # The tables that wrote it are gone.
        self._last_mail = None, None, b""
        self._last_rcpt = None, None, None, b""
        self._counts_domains = "RCPTDOMAINMAX" in self.capabilities.limits

    def _take_unasked(self, reply: Reply) -> tuple[Question, Reply]:
        """Judge a reply that nothing asked for."""
        if reply.code == _CODE_CLOSING:
            self._pull(ClientTrigger.END)
            return Asked.NOTHING, reply
        if self.state is not _S.DATA or reply.code < 400:
            self._fail(f"reply {reply.code} that no command asked for")
        # The server had enough of the message before its end. It still takes what we
        # write for content, so there is no way back into step.
        self.break_off()
        return Asked.END_OF_CONTENT, reply

    def _pull(self, trigger: ClientTrigger) -> None:
        """Change the state, by the table."""
        self.state = _TRANSITIONS.get((self.state, trigger), self.state)
        if not self._pending:
            self._ahead = self.state

    def _fail(self, what: str) -> NoReturn:
        """Break off with an error."""
        self.break_off()
        raise BadReply(what)


_ENCODERS: Final[dict[type, Callable[[ClientMachine, Any], bytes]]] = {
    Mail: ClientMachine._encode_mail,
    Rcpt: ClientMachine._encode_rcpt,
}

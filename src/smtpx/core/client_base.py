"""The ground floor of the client's machine: its state, and which reply answers what.

``ClientMachine`` is built in two floors, a file each: this one takes octets in; and
``client``, which says commands and content, is the one to use.

Replies are matched to what was asked in order, as they carry no number. So after
anything unexpected no later pairing can be trusted: a malformed reply, one that nobody
asked for, one of a class that the command cannot have, octets behind the 220 to
STARTTLS. Then the machine is broken, for ever, and says so with `BadReply`; a driver
that gives up waiting calls `break_off`, to the same end.
"""

from __future__ import annotations

import functools
from collections import deque
from enum import Enum, unique
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from smtpx.core.client_states import (
    ANY_VERB,
    CLIENT_ALLOWED,
    CLIENT_TRANSITIONS,
    CLIENT_TRIGGERS,
    ClientState,
    ClientTrigger,
)
from smtpx.errors import BadReply
from smtpx.wire.capabilities import Capabilities
from smtpx.wire.commands import Command
from smtpx.wire.extensions import DEFAULT_REGISTRY
from smtpx.wire.framing import DotEncoder
from smtpx.wire.options import ASCII_ONLY, EncodeContext
from smtpx.wire.replies import Reply
from smtpx.wire.reply_decoder import DEFAULT_REPLY_LIMITS, ReplyDecoder

if TYPE_CHECKING:
    from smtpx.core.trace import WireLog
    from smtpx.wire.address import Mailbox
    from smtpx.wire.extensions import Registry
    from smtpx.wire.options import MailOptions, RcptOptions
    from smtpx.wire.params import ParameterTable
    from smtpx.wire.reply_decoder import ReplyLimits

__all__ = ["Asked", "ClientBase", "Question"]


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

# Once more as plain dictionaries, which are read in half the time.
_ALLOWED: Final = dict(CLIENT_ALLOWED)
_TRIGGERS: Final = dict(CLIENT_TRIGGERS)
_TRANSITIONS: Final = dict(CLIENT_TRANSITIONS)

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


class ClientBase:
    """What `ClientMachine` knows, and what it does with replies."""

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
        if self.state is not _TLS:
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
        if self.state is not _DATA or reply.code < 400:
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

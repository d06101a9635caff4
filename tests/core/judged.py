"""A server machine with every extension on, whose hooks are decided by a list.

For the property tests. What a hook answers depends on its place among the hooks of the
session only, so the same octets get the same answers however they are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from smtpx.core import events
from smtpx.core.config import ServerConfig
from smtpx.core.limits import Limits
from smtpx.core.server import ServerMachine
from smtpx.core.states import ServerState
from smtpx.sasl.anonymous import AdmitAnonymous
from smtpx.sasl.cram_md5 import LookupPassword
from smtpx.sasl.external import IdentifyChannel
from smtpx.sasl.mechanism import CheckPassword, DescribeSession, SessionFacts
from smtpx.sasl.oauth import CheckToken
from smtpx.sasl.registry import SERVER_MECHANISMS
from smtpx.sasl.scram_keys import make_scram_credentials
from smtpx.sasl.scram_server import LookupScram
from smtpx.wire.extensions import DEFAULT_REGISTRY, Extension, ExtensionSettings
from smtpx.wire.grammar import parse_raw
from smtpx.wire.params import Parameter
from smtpx.wire.replies import Reply
from tests.core.machines import ANSWERED, replies_of

if TYPE_CHECKING:
    from smtpx.sasl.mechanism import Question

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
USER, PASSWORD, TOKEN = "user", "pencil", "vF9dft4qmTc2Nvb3Rl"


def _as_text(value: bytes | None) -> object:
    return None if value is None else value.decode("ascii", "replace")


def _as_octets(value: object, _context: object) -> bytes:
    return str(value).encode("ascii")


REGISTRY: Final = DEFAULT_REGISTRY.with_extension(
    Extension(
        "XCOLOR",
        "example.com",
        parameters=tuple(
            Parameter(
                keyword="XCOLOR",
                command=command,
                rfc="example.com",
                field="",
                decode=_as_text,
                encode=_as_octets,
            )
            for command in ("MAIL", "RCPT")
        ),
        verbs=(parse_raw("XPING"),),
    )
)


def make_config(
    *,
    is_lmtp: bool,
    limits: Limits,
    gateway: frozenset[str] = frozenset(),
    takes_both: bool = False,
) -> ServerConfig:
    """Switch everything on; XCLIENT and XFORWARD for who is a gateway."""
    config = ServerConfig(
        hostname="mx.test",
        is_lmtp=is_lmtp and not takes_both,
        takes_lmtp_too=takes_both,
        limits=limits,
        # Who may speak for others is told apart, by `ServerConfig.for_gateway`.
        extensions=REGISTRY.keywords - {"XCLIENT", "XFORWARD"},
        extension_settings=ExtensionSettings(
            deliver_by_min_seconds=60,
            no_soliciting=("net.example:ADV",),
            rcpt_compatibility=True,
        ),
        registry=REGISTRY,
        mechanisms=SERVER_MECHANISMS,
        offers_starttls=True,
    )
    return config.for_gateway(gateway)


_KEYS: Final = {
    name: make_scram_credentials(PASSWORD, salt=b"0123456789abcdef", hash_name=name)
    for name in ("sha256", "sha1")
}
_NO: Final = Reply(550, "5.7.1", "not this one")
_LATER: Final = Reply(450, "4.2.0", "not now")
_BYE: Final = Reply(421, "4.3.2", "going down")
_FINE: Final = Reply(250, "2.0.0", "fine\nindeed")

# By the remainder of a decision: mostly the command is granted.
_VERDICTS: Final = (*(None,) * 8, _FINE, *(None,) * 8, _NO, None, _LATER, None, _BYE)
_START_TLS: Final = (None, None, None, Reply(454, "4.7.0", "no TLS now"))
_START_DATA: Final = (None, None, Reply(354), None, _NO, None, _LATER, None, None, _BYE)
_WELCOME: Final = (*(None,) * 20, Reply(220, None, "hello"), Reply(554), _BYE)
_AUTHENTICATED: Final = (None, None, None, Reply(535, "5.7.8", "not as that"))

# It is granted by a new beginning, never with 250.
_XCLIENT: Final = (None, None, None, _NO, None, _LATER, None, None, _BYE)

_TABLES: Final[dict[type, Sequence[Reply | None]]] = {
    events.ClientConnected: _WELCOME,
    events.StartTLSRequested: _START_TLS,
    events.DataRequested: _START_DATA,
    events.Authenticated: _AUTHENTICATED,
    events.XClientReceived: _XCLIENT,
}


def answer_of(question: Question) -> object:
    """Answer a mechanism as a server would that knows one user."""
    answers: dict[type, Callable[[], object]] = {
        DescribeSession: lambda: SessionFacts(
            nonce=b"3rfcNHYJY1ZVvWVs7j", secret=b"x" * 32, unix_time=0, hostname="mx"
        ),
        CheckPassword: lambda: (
            isinstance(question, CheckPassword)
            and (question.user, question.password) == (USER, PASSWORD)
        ),
        LookupScram: lambda: (
            _KEYS[question.hash_name]
            if isinstance(question, LookupScram) and question.user == USER
            else None
        ),
        LookupPassword: lambda: PASSWORD,
        CheckToken: lambda: (
            USER if isinstance(question, CheckToken) and question.token == TOKEN else ""
        ),
        IdentifyChannel: lambda: USER,
        AdmitAnonymous: lambda: True,
    }
    return answers[type(question)]()


@dataclass
class Judged:
    """A session, and all that came of it.

    Attributes:
        machine: under test.
        decisions: what the hooks decide, by their place; used again from the start.
        on_message: called at each complete message, before it is answered.
        sent: what the server said.
        seen: the events; blocks of content that follow each other are joined, and of
            a refused command the reply only is kept.
        messages: the contents of complete messages.
    """

    config: ServerConfig
    decisions: Sequence[int] = (0,)
    on_message: Callable[[bytes], None] = lambda _content: None
    sent: bytes = b""
    seen: list[object] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    _content: list[bytes] = field(default_factory=list)
    _hooks: int = 0

    def __post_init__(self) -> None:
        self.machine = ServerMachine(self.config, is_local=True, now=NOW)
        self.pump()

    @property
    def is_closed(self) -> bool:
        return self.machine.state is ServerState.CLOSED

    def feed(self, octets: bytes, sizes: Iterable[int] = ()) -> list[list[bytes]]:
        """Give octets in pieces of these sizes, then the rest; return the replies.

        A handshake that is due is done at the end.
        """
        before = len(self.sent)
        start = 0
        for size in sizes:
            self.receive(octets[start : start + size])
            start += size
        self.receive(octets[start:])
        if self.machine.state is ServerState.TLS:
            self.machine.tls_started()
        return replies_of(self.sent[before:])

    def receive(self, octets: bytes) -> None:
        self.machine.receive_data(octets)
        self.pump()

    def end(self) -> None:
        """Close the client's side."""
        self.machine.receive_eof()
        self.pump()

    def pump(self) -> None:
        while (event := self.machine.next_event()) is not None:
            self._note(event)
            if isinstance(event, ANSWERED):
                assert self.machine.is_waiting
                assert self.machine.next_event() is None
                self._answer(event)
        self.sent += self.machine.data_to_send()

    def _answer(self, event: events.Event) -> None:
        decision = self.decisions[self._hooks % len(self.decisions)]
        self._hooks += 1
        if isinstance(event, events.AuthQuestion):
            self._answer_question(event.question, decision)
            return
        table = _TABLES.get(type(event), _VERDICTS)
        if isinstance(event, events.MessageComplete) and self.machine.is_lmtp:
            self._set_statuses(decision)
        self.machine.answer(table[decision % len(table)])

    def _answer_question(self, question: Question, decision: int) -> None:
        if decision % 17 == 16:
            self.machine.answer(Reply(454, "4.7.0", "nobody knows"))
        else:
            self.machine.answer_question(answer_of(question))

    def _set_statuses(self, decision: int) -> None:
        """Tell some recipients' statuses apart, in any order."""
        envelope = self.machine.envelope
        assert envelope is not None
        count = len(envelope.recipients)
        for index in list(range(count))[:: decision % 3 - 1 or 1][: decision % 4]:
            self.machine.set_status(index, _LATER if decision % 5 else _FINE)

    def _note(self, event: events.Event) -> None:
        if isinstance(event, events.BodyReceived):
            self._content.append(event.data)
            if self.seen and isinstance(self.seen[-1], events.BodyReceived):
                joined = self.seen[-1].data + event.data
                self.seen[-1] = events.BodyReceived(joined)
                return
        elif isinstance(event, events.MessageComplete):
            self.messages.append(b"".join(self._content))
            self._content.clear()
            self.on_message(self.messages[-1])
        elif isinstance(event, events.MessageAborted):
            self._content.clear()
            # How much of a message was given away before a fault in it was found, and
            # which of two faults came first, depends on where the octets were cut.
            if isinstance(self.seen[-1], events.BodyReceived):
                self.seen.pop()
            event = events.MessageAborted("")
        if isinstance(event, events.CommandRefused):
            self.seen.append(("refused", event.reply))
        elif isinstance(event, events.RcptReceived):
            # Recipients are told apart even if they are written alike.
            recipient = event.recipient
            self.seen.append(("rcpt", recipient.mailbox, recipient.options))
        elif isinstance(event, events.ConnectionEnded):
            self.seen.append(("ended", event.is_clean))
        else:
            self.seen.append(event)

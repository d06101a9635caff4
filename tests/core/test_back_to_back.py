"""A client's machine and a server's, joined back to back, saying whatever they may.

Nothing that the one sends is malformed to the other; each question gets its answer, in
order; what arrives is what was meant.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from smtpx.core import events
from smtpx.core.client import ClientMachine
from smtpx.core.client_base import Asked
from smtpx.core.client_states import ClientState
from smtpx.core.limits import Limits
from smtpx.core.states import ServerState
from smtpx.errors import BadParameter, SASLError
from smtpx.sasl.mechanism import ClientContext, Credentials, Proof
from smtpx.sasl.registry import CLIENT_MECHANISMS
from smtpx.wire import commands
from smtpx.wire.address import Mailbox
from smtpx.wire.commands import Command, Ehlo, Helo, Lhlo
from smtpx.wire.octets import decode_base64
from smtpx.wire.options import (
    BodyType,
    ByMode,
    DeliverBy,
    MailOptions,
    NoSupportAction,
    Notify,
    OriginalRecipient,
    RcptOptions,
    ReturnContent,
    ValidSince,
)
from smtpx.wire.replies import Reply
from tests.core.judged import (
    NOW,
    PASSWORD,
    REGISTRY,
    TOKEN,
    USER,
    Judged,
    make_config,
)
from tests.core.test_properties import CONTENT, DECISIONS, LIMITS, SIZES

MAILBOXES: Final = st.sampled_from(
    [
        *(Mailbox("a", "c.test"), Mailbox('"a b"', "c.test"), Mailbox("b", "mx.test")),
        *(Mailbox("b", "[192.0.2.1]"), Mailbox("gr\u00e5", "mx.test")),
    ]
)
TEXT: Final = st.text(string.ascii_letters + string.digits + "+=-@.", min_size=1)
SECONDS: Final = st.integers(1, 5_000_000)


@st.composite
def some_options(
    draw: st.DrawFn, /, kind: Callable[..., Any], **fields: st.SearchStrategy[Any]
) -> Any:  # noqa: ANN401 - of the kind
    """Set few options: those that exclude each other would leave little to say."""
    names = draw(st.lists(st.sampled_from(sorted(fields)), max_size=3, unique=True))
    return kind(**{name: draw(fields[name]) for name in names})


MAIL_OPTIONS: Final = some_options(
    MailOptions,
    size=st.integers(0, 2_000),
    body=st.sampled_from(BodyType),
    smtputf8=st.booleans(),
    auth=st.just("") | st.just("a+=@c.test"),
    return_content=st.sampled_from(ReturnContent),
    envelope_id=TEXT.filter(lambda text: len(text) <= 100),
    requiretls=st.booleans(),
    deliver_by=st.builds(DeliverBy, SECONDS, st.sampled_from(ByMode)),
    mt_priority=st.integers(-9, 9),
    hold_for_seconds=SECONDS,
    hold_until=st.just(NOW + timedelta(days=3)),
    solicit=st.just(("org.example:ADV",)),
    xoorg=st.just("example.com"),
    extra=st.just({"XCOLOR": "red"}),
)
RCPT_OPTIONS: Final = some_options(
    RcptOptions,
    notify=st.just((Notify.NEVER,)) | st.just((Notify.DELAY,)),
    original_recipient=st.builds(
        OriginalRecipient, st.just("rfc822"), TEXT.map(lambda text: text[:99])
    ),
    valid_since=st.builds(
        ValidSince,
        st.datetimes(datetime(2000, 1, 1), datetime(2020, 1, 1)).map(
            lambda when: when.replace(microsecond=0, tzinfo=NOW.tzinfo)
        ),
        st.sampled_from(NoSupportAction),
    ),
    deliver_by=st.builds(DeliverBy, SECONDS, st.sampled_from(ByMode)),
    mt_priority=st.integers(-9, 9),
    extra=st.just({"XCOLOR": "blue"}),
)
# No option as often as any.
MAILS: Final = st.builds(
    commands.Mail,
    st.none() | MAILBOXES,
    st.just(MailOptions()) | MAIL_OPTIONS,
)
RCPTS: Final = st.builds(
    commands.Rcpt, MAILBOXES, st.just(RcptOptions()) | RCPT_OPTIONS
)
COMMANDS: Final = st.one_of(
    MAILS,
    RCPTS,
    st.sampled_from(
        [
            *(commands.Ehlo("c.test"), commands.Lhlo("[192.0.2.1]"), commands.Data()),
            *(commands.Helo("c.test"), commands.Rset(), commands.Noop("x")),
            *(commands.Vrfy("bob"), commands.Expn("list"), commands.Help("MAIL")),
            *(commands.Etrn("@example.com"), commands.Raw("XPING", "1 2")),
            *(commands.Raw("xnone"), commands.StartTLS()),
        ]
    ),
)


class Conversations(RuleBasedStateMachine):
    """A client that tries everything, and a server that decides by a list."""

    @initialize(
        is_lmtp=st.booleans(),
        takes_both=st.booleans(),
        limits=LIMITS,
        decisions=DECISIONS,
    )
    def begin(
        self, is_lmtp: bool, takes_both: bool, limits: Limits, decisions: list[int]
    ) -> None:
        self.is_lmtp = is_lmtp
        self.config = make_config(is_lmtp=is_lmtp, limits=limits, takes_both=takes_both)
        self.decisions = decisions
        self.connect()

    def connect(self) -> None:
        self.server = Judged(config=self.config, decisions=self.decisions)
        self.client = ClientMachine(is_lmtp=self.is_lmtp, registry=REGISTRY)
        self.heard = 0
        self.sent: list[Command] = []
        self.content: list[bytes] = []
        self.acknowledged = 0
        self.listen([])

    # ------------------------------------------------------------ moving octets

    def listen(self, sizes: Sequence[int]) -> list[Reply]:
        """Bring the server's words to the client; return the replies in them."""
        octets = self.server.sent[self.heard :]
        self.heard = len(self.server.sent)
        replies: list[Reply] = []
        for size in [*sizes, len(octets)]:
            if not octets:
                break
            self.client.receive_data(octets[:size])
            octets = octets[size:]
            while (answer := self.client.next_reply()) is not None:
                replies.append(answer[1])
                self.count(*answer)
        if self.server.is_closed:
            self.client.receive_eof()
            assert self.client.state is ClientState.CLOSED
        # Every question got its answer, and no answer is without a question.
        assert not self.client.is_waiting
        assert self.client.state is not ClientState.BROKEN
        return replies

    def count(self, asked: commands.Command | Asked, reply: Reply) -> None:
        is_end = asked is Asked.END_OF_CONTENT or (
            isinstance(asked, commands.Bdat) and asked.is_last
        )
        if is_end and reply.is_positive:
            self.acknowledged += 1

    def exchange(self, sizes: Sequence[int] = ()) -> list[Reply]:
        """Bring the client's words to the server, and what it says back."""
        self.server.feed(bytes(self.client.data_to_send()), sizes)
        replies = self.listen(sizes)
        if self.client.state is ClientState.TLS:
            assert self.server.machine.is_tls
            self.client.tls_started()
            assert len(self.client.capabilities) == 0
        return replies

    def try_to_say(self, command: Command) -> bool:
        """Say what is in order; refuse to say anything else, and nothing changes."""
        state = self.client.state
        try:
            self.client.send(command)
        except (RuntimeError, BadParameter):
            assert self.client.state is state
            return False
        self.sent.append(command)
        return True

    # ------------------------------------------------------------ what is said

    @precondition(lambda self: self.server.is_closed)
    @rule(decision=st.integers(0, 200))
    def call_again(self, decision: int) -> None:
        self.teardown()
        self.decisions = [*self.decisions[1:], decision]
        self.connect()

    @rule()
    def hello(self) -> None:
        lhlo, ehlo = commands.Lhlo("c.test"), commands.Ehlo("c.test")
        self.command(lhlo if self.is_lmtp else ehlo, [])

    @rule(command=COMMANDS, sizes=SIZES)
    def command(self, command: Command, sizes: list[int]) -> None:
        before = len(self.server.seen)
        if not self.try_to_say(command):
            assert self.client.data_to_send() == b""
            return
        assert len(self.exchange(sizes)) == 1
        self.compare(command, self.server.seen[before:])
        if self.client.state is ClientState.DATA:
            self.send_content([b"unplanned"], sizes)

    def compare(self, command: Command, seen: list[object]) -> None:
        """Require that the server understood what the client meant."""
        for event in seen:
            if isinstance(event, events.MailReceived):
                assert isinstance(command, commands.Mail)
                assert event.reverse_path == command.reverse_path
                assert event.options == command.options
            elif isinstance(event, events.HelloReceived):
                assert isinstance(command, Ehlo | Lhlo | Helo)
                assert (event.verb, event.name) == (command.verb, command.name)
            elif isinstance(event, events.CommandReceived):
                assert command == commands.Raw(event.verb, event.argument)
            elif isinstance(event, tuple) and event[0] == "rcpt":
                assert isinstance(command, commands.Rcpt)
                assert event[1:] == (command.forward_path, command.options)
            elif isinstance(event, tuple) and event[0] == "refused":
                # Syntax is never what a server finds wrong with what a client says.
                assert event[1].code not in {501, 555} or _is_forbidden(command)

    @rule(
        mail=MAILS,
        rcpts=st.lists(RCPTS, max_size=4),
        lines=CONTENT,
        by_chunks=st.booleans(),
        sizes=SIZES,
    )
    def transaction(
        self,
        mail: commands.Mail,
        rcpts: list[commands.Rcpt],
        lines: list[bytes],
        by_chunks: bool,
        sizes: list[int],
    ) -> None:
        """Say a whole transaction in as few flights as it may take."""
        if not self.server.machine.hello_name:
            self.hello()
        said: tuple[Command, ...] = (mail, *rcpts, commands.Data())
        for command in said:
            if by_chunks and isinstance(command, commands.Data):
                break
            if self.client.is_waiting and not self.client.may_pipeline:
                self.exchange(sizes)
            self.try_to_say(command)
        if by_chunks and self.client.accepted + len(rcpts):
            self.chunk(lines, False, sizes)
            self.chunk(lines, True, sizes)
        self.exchange(sizes)
        if self.client.state is ClientState.DATA:
            self.send_content(lines, sizes)

    @precondition(lambda self: self.client.state is ClientState.RCPT)
    @rule(lines=CONTENT, is_last=st.booleans(), sizes=SIZES)
    def chunk(self, lines: list[bytes], is_last: bool, sizes: list[int]) -> None:
        data = b"\n".join(lines)
        try:
            self.client.send_chunk(data, is_last=is_last)
        except RuntimeError:
            return
        self.content.append(data)
        self.exchange(sizes)

    def send_content(self, lines: list[bytes], sizes: list[int]) -> None:
        content = b"\n".join(lines)
        for start in range(0, len(content), 7):
            self.client.send_content(content[start : start + 7])
        self.client.end_content()
        before = len(self.server.messages)
        self.exchange(sizes)
        if len(self.server.messages) > before:
            # Bare line feeds become line ends, so nothing can be smuggled.
            expected = content.replace(b"\n", b"\r\n")
            end = b"" if expected.endswith(b"\r\n") or not expected else b"\r\n"
            assert self.server.messages[-1] == expected + end

    @rule(
        name=st.sampled_from([*CLIENT_MECHANISMS]),
        is_right=st.booleans(),
        sizes=SIZES,
    )
    def auth(self, name: str, is_right: bool, sizes: list[int]) -> None:
        kind = CLIENT_MECHANISMS[name]
        secret = TOKEN if kind.proof is Proof.TOKEN else PASSWORD
        context = ClientContext(nonce=b"fyko+d2lbbFgONRv9qkxdawL")
        mechanism = kind(Credentials(USER, secret if is_right else "wrong"), context)
        try:
            initial = mechanism.start()
        except SASLError:
            return  # the channel has nothing to be bound
        if not self.try_to_say(commands.Auth(name, initial)):
            return
        (reply,) = self.exchange(sizes)
        while reply.is_intermediate:
            try:
                response = mechanism.respond(decode_base64(reply.text.encode()))
            except SASLError:
                response = None
            self.client.send_response(response)
            (reply,) = self.exchange(sizes)
        if reply.is_positive:
            mechanism.succeed(None)
            assert self.server.machine.identity is not None
            assert self.server.machine.identity.mechanism == name

    @precondition(lambda self: self.client.state is ClientState.READY)
    @rule(sizes=SIZES)
    def starttls(self, sizes: list[int]) -> None:
        self.command(commands.StartTLS(), sizes)

    @precondition(lambda self: self.acknowledged)
    @rule(sizes=SIZES)
    def leave(self, sizes: list[int]) -> None:
        if self.try_to_say(commands.Quit()):
            self.exchange(sizes)
            assert self.client.state is ClientState.CLOSED

    def teardown(self) -> None:
        """What the client holds for delivered, the server has as a message."""
        self.server.end()
        assert self.server.machine.state is ServerState.CLOSED
        if not self.is_lmtp:
            assert self.acknowledged <= len(self.server.messages)


def _is_forbidden(command: Command) -> bool:
    """Say whether a command asks for what a client cannot know that it may not.

    The machine knows what extensions are offered; their limits are known to the plan.
    """
    options = (
        command.options if isinstance(command, commands.Mail | commands.Rcpt) else None
    )
    return options is not None and options not in {MailOptions(), RcptOptions()}


Conversations.TestCase.settings = settings(max_examples=80, stateful_step_count=25)
TestConversations = Conversations.TestCase

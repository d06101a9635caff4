"""Whatever a client says, in whatever pieces: what must hold of a server's session.

One test writes sessions command by command, and knows of each how it must be answered;
the other one has no idea what it says. Both then say the same octets again, cut in
other places.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from smtpx.core import events
from smtpx.core.limits import Limits
from smtpx.sasl.registry import SERVER_MECHANISMS
from tests.core.judged import PASSWORD, TOKEN, USER, Judged, make_config
from tests.core.machines import replies_of, singly

LIMITS: Final = st.builds(
    Limits,
    max_command_octets=st.just(300),
    max_auth_octets=st.just(400),
    max_message_octets=st.sampled_from([60, 1_000]),
    max_message_line_octets=st.sampled_from([40, None]),
    max_recipients=st.sampled_from([2, 100]),
    max_recipient_domains=st.sampled_from([None, 1]),
    max_errors=st.sampled_from([4, 1_000, 1_000, 1_000]),
    max_commands=st.sampled_from([12, 1_000, 1_000, 1_000]),
    max_transactions=st.sampled_from([2, 1_000]),
    max_auth_attempts=st.just(2),
)
DECISIONS: Final = st.lists(st.integers(0, 200), min_size=1, max_size=12)
SIZES: Final = st.lists(st.integers(1, 30), max_size=6)

# Every parameter that is registered, right and wrong, and some that nobody knows.
MAIL_PARAMETERS: Final = (
    *("SIZE=10", "SIZE=2000", "SIZE=", "SIZE=-1", "SIZE=99999999999999999999"),
    *("BODY=7BIT", "body=8bitmime", "BODY=BINARYMIME", "BODY=9BIT"),
    *("SMTPUTF8", "SMTPUTF8=1", "AUTH=<>", "AUTH=a+40b.test", "AUTH=+4"),
    *("RET=FULL", "RET=HDRS", "RET=x", "ENVID=QQ+3D1", "ENVID=+", "REQUIRETLS"),
    *("BY=120;R", "BY=1;R", "BY=-5;N", "BY=x", "MT-PRIORITY=3", "MT-PRIORITY=10"),
    *("HOLDFOR=60", "HOLDFOR=0", "HOLDUNTIL=2026-01-02T00:00:00Z", "HOLDUNTIL=now"),
    *("SOLICIT=net.example:ADV", "SOLICIT=org.example:ADV", "SOLICIT=;"),
    *("XOORG=example.com", "XOORG=", "XCOLOR=red", "XCOLOR", "XNONE=1", "=", "SIZE"),
)
RCPT_PARAMETERS: Final = (
    *("NOTIFY=NEVER", "NOTIFY=SUCCESS,DELAY", "NOTIFY=NEVER,DELAY", "NOTIFY="),
    *("ORCPT=rfc822;b+40mx.test", "ORCPT=utf-8;\u00e5@b", "ORCPT=x", "RRVS=x"),
    *("RRVS=2014-04-03T23:01:00Z", "RRVS=2014-04-03T23:01:00Z;C", "BY=120;N"),
    *("MT-PRIORITY=-9", "XCOLOR=blue", "XNONE", "SIZE=1"),
)
SENDERS: Final = (
    *("<>", "<a@c.test>") * 3,
    *("<>", "<a@c.test>", '<"a b"@c.test>', "<@r.test:a@c.test>", "<gr\u00e5@c.test>"),
    *("a@c.test", "<a@c.test", "<a@@c>", "< a@c.test>", "<a@[192.0.2.1]>", ""),
)
RECIPIENTS: Final = (
    *("<b@mx.test>", "<c@mx.test>") * 3,
    *("<b@mx.test>", "<b@mx.test>", "<c@mx.test>", "<b@other.test>", "<postmaster>"),
    *("<>", "b@mx.test", "<gr\u00e5@mx.test>", "<b@mx.test> ", "<b@-x>", "<b@mx\t>"),
)
# Content, and commands that it would be bad to run.
CONTENT_LINES: Final = (
    # Lines at their limit with CRLF, and over it.
    *(
        b"y" * 38,
        b"y" * 39,
        b"",
        b".",
        b"..",
        b".x",
        b"Subject: evil",
        b"x" * 50,
        b"\x00\xff\x80",
        b" .",
    ),
    *(b"RSET", b"QUIT", b"MAIL FROM:<evil@x>", b"RCPT TO:<evil@x>", b"NOOP evil"),
    *(b"DATA", b"BDAT 5 LAST", b"EHLO evil", b"AUTH PLAIN", b"STARTTLS", b"XPING evil"),
    *(b"GET / HTTP/1.1", b"VRFY evil", b"ETRN evil"),
)
# Who may say what in place of a client.
GATEWAYS: Final = st.sampled_from(
    [
        *(frozenset[str](), frozenset[str]()),
        frozenset({"XCLIENT", "XFORWARD"}),
        frozenset({"XCLIENT"}),
        frozenset({"XFORWARD"}),
    ]
)
GATEWAY_ATTRIBUTES: Final = (
    *("ADDR=192.0.2.1", "ADDR=IPV6:2001:db8::1", "NAME=c.test", "PORT=25"),
    *("HELO=c.test", "PROTO=ESMTP", "PROTO=SMTP", "NAME=[UNAVAILABLE]"),
    *("ADDR=[TEMPUNAVAIL]", "NAME=a+2Eb"),
)
RIGHT_PASSWORD: Final = f"\0{USER}\0{PASSWORD}".encode()
CONTENT: Final = st.lists(st.sampled_from(CONTENT_LINES), max_size=5)
SMALL_COMMANDS: Final = (
    *("NOOP", "noop x y", "HELP", "help MAIL", "VRFY b", "VRFY", "EXPN list", "EXPN"),
    *("ETRN example.com", "ETRN @example.com", "ETRN #q", "ETRN", "XPING", "xping a b"),
    *("XCLIENT", "XFORWARD", "XCLIENT ADDR=none", "XFORWARD ADDR", "XCLIENT NAME=+4"),
    *("SEND FROM:<a@b>", "TURN", "XNONE", "", " ", "\t", "RSET x", "DATA x", "QUIT x"),
    *("MAIL", "MAIL FROM", "RCPT", "MAIL TO:<a@b>", "BDATX", "EHLO", "HELO a b"),
    *("AUTH", "AUTH PLAIN = =", "AUTH NONE", "AUTH PLAIN !!", "STARTTLS x"),
)


def some_of(parameters: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    """Choose parameters, none as often as some."""
    return st.just([]) | st.lists(st.sampled_from(parameters), min_size=1, max_size=3)


def wire(text: str) -> bytes:
    return text.encode() + b"\r\n"


def stuffed(content: bytes) -> bytes:
    """Write content as RFC 5321 section 4.5.2 says, naively."""
    lines = content.split(b"\r\n")
    return b"\r\n".join(b"." + line if line[:1] == b"." else line for line in lines)


def step(
    when: Callable[[ServerSessions], bool] = lambda _self: True,
    **arguments: Any,  # noqa: ANN401 - strategies, as the overloads of rule have it
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a rule for sessions that have not ended."""

    def decorate(method: Callable[..., None]) -> Callable[..., None]:
        is_open = precondition(lambda self: not self.session.is_closed and when(self))
        make: Callable[[Callable[..., None]], Callable[..., None]] = rule(**arguments)
        made: Callable[..., None] = is_open(make(method))
        return made

    return decorate


class ServerSessions(RuleBasedStateMachine):
    """Writes a session, and knows for each step how many replies it must get."""

    @initialize(
        is_lmtp=st.booleans(),
        takes_both=st.booleans(),
        limits=LIMITS,
        gateway=GATEWAYS,
        decisions=DECISIONS,
    )
    def begin(
        self,
        is_lmtp: bool,
        takes_both: bool,
        limits: Limits,
        gateway: frozenset[str],
        decisions: list[int],
    ) -> None:
        self.config = make_config(
            is_lmtp=is_lmtp, limits=limits, gateway=gateway, takes_both=takes_both
        )
        self.is_lmtp = is_lmtp  # where it takes both: what was said last, or will be
        self.gateway = gateway
        self.decisions = decisions
        self.connect()

    def connect(self) -> None:
        # What was said, in flights: what follows STARTTLS is never in one with it.
        self.flights: list[bytes] = [b""]
        self.chunks = b""
        self.ending = b""  # what would be the content of a message that ends now
        self.may_end = False
        self.has_hello = self.has_auth = self.has_tls = self.has_mail = False
        self.forget_transaction()
        self.delivered = 0
        self.session = Judged(config=self.config, decisions=self.decisions)
        self.session.on_message = self.check_message
        assert len(replies_of(self.session.sent)) == 1
        self.is_welcome = self.session.sent.startswith(b"220")

    def check_message(self, content: bytes) -> None:
        """A message has a sender, a recipient, and a true end; and nothing is lost."""
        assert self.has_mail
        assert self.recipients > 0
        assert self.may_end
        assert content == self.ending
        self.may_end = False
        self.delivered += 1

    def say(self, octets: bytes, sizes: list[int], replies: int = 1) -> list[int]:
        """Say something, and require as many replies, each well-formed."""
        if self.session.is_closed:
            assert self.session.feed(octets, sizes) == []
            return [0]
        self.flights[-1] += octets
        codes = [int(lines[0][:3]) for lines in self.session.feed(octets, sizes)]
        # One command too many is no BDAT any more: it gets one reply, and the last one.
        is_over = codes == [421] and self.session.is_closed
        assert is_over or len(codes) == replies, (octets, codes)
        self.forget_if_closed()
        return codes

    def forget_if_closed(self) -> None:
        if self.session.is_closed:
            self.forget_transaction()

    def forget_transaction(self) -> None:
        self.has_mail = self.chunks_begun = False
        self.recipients = 0
        self.chunks = b""

    # ----------------------------------------------------------------- commands

    @step(verb=st.sampled_from(["EHLO", "LHLO", "HELO"]), sizes=SIZES)
    def hello(self, verb: str, sizes: list[int]) -> None:
        for code in self.say(wire(f"{verb} client.test"), sizes):
            if code == 250:
                if self.has_hello or not self.config.takes_lmtp_too:
                    assert (verb == "LHLO") == self.is_lmtp
                self.is_lmtp = verb == "LHLO"
                self.forget_transaction()
                self.has_hello = True
            else:
                self.end_if_aborted()

    def go_on(self, sizes: list[int]) -> None:
        """Say what leads further."""
        if not self.has_hello:
            self.hello("LHLO" if self.is_lmtp else "EHLO", sizes)
        elif not self.has_mail:
            self.mail("<a@c.test>", [], sizes)
        elif not self.chunks_begun:
            self.rcpt("<b@mx.test>", [], sizes)

    @step(steps=st.integers(1, 5))
    def go_far(self, steps: int) -> None:
        for _ in range(steps):
            self.go_on([])

    @step(lines=CONTENT, times=st.integers(0, 3), ends=st.booleans(), sizes=SIZES)
    def message(
        self, lines: list[bytes], times: int, ends: bool, sizes: list[int]
    ) -> None:
        """Send a message by the shortest way, in chunks or not, or most of it."""
        for _ in range(3 if self.recipients == 0 else 0):
            self.go_on(sizes)
        for _ in range(times):
            self.bdat(lines, is_last=False, sizes=sizes)
        if self.chunks_begun and ends:
            self.bdat(lines, is_last=True, sizes=sizes)
        elif self.recipients and not self.chunks_begun:
            self.data(lines, b"", sizes)

    @precondition(lambda self: self.session.is_closed)
    @rule(decision=st.integers(0, 200))
    def call_again(self, decision: int) -> None:
        self.say_again()
        self.decisions = [*self.decisions[1:], decision]
        self.connect()

    @step(
        sender=st.sampled_from(SENDERS),
        parameters=some_of(MAIL_PARAMETERS),
        sizes=SIZES,
    )
    def mail(self, sender: str, parameters: list[str], sizes: list[int]) -> None:
        for code in self.say(
            wire(" ".join([f"MAIL FROM:{sender}", *parameters])), sizes
        ):
            if 200 <= code < 300:
                assert self.is_welcome
                assert self.has_hello
                assert not self.has_mail
                self.has_mail = True

    @step(
        recipient=st.sampled_from(RECIPIENTS),
        parameters=some_of(RCPT_PARAMETERS),
        sizes=SIZES,
    )
    def rcpt(self, recipient: str, parameters: list[str], sizes: list[int]) -> None:
        line = wire(" ".join([f"RCPT TO:{recipient}", *parameters]))
        for code in self.say(line, sizes):
            if 200 <= code < 300:
                assert self.has_mail
                self.recipients += 1
                assert self.recipients <= self.config.limits.max_recipients

    @step(command=st.sampled_from(SMALL_COMMANDS), sizes=SIZES)
    def small_command(self, command: str, sizes: list[int]) -> None:
        self.say(wire(command), sizes)

    @step(line=st.binary(max_size=40), sizes=SIZES)
    def garbage(self, line: bytes, sizes: list[int]) -> None:
        # An AUTH that is right, or a BDAT, would want more; they have their own rules.
        line = line.replace(b"\n", b"").replace(b"\r", b"").lstrip(b"AaBbSsQqRrEeHhLl")
        self.say(line + b"\r\n", sizes)

    @step(
        verb=st.sampled_from(["NOOP ", "AUTH PLAIN ", "MAIL FROM:<"]),
        length=st.integers(250, 500),
        sizes=SIZES,
    )
    def long_line(self, verb: str, length: int, sizes: list[int]) -> None:
        self.say(wire(verb + "=" * length), sizes)

    @step(which=st.integers(0, 7), sizes=SIZES)
    def right_command(self, which: int, sizes: list[int]) -> None:
        """Say what is right somewhere, if not here."""
        steps: tuple[Callable[[], None], ...] = (
            lambda: self.hello("LHLO" if self.is_lmtp else "EHLO", sizes),
            lambda: self.mail("<a@c.test>", [], sizes),
            lambda: self.rcpt("<b@mx.test>", [], sizes),
            lambda: self.data([b"evil"], b"", sizes),
            lambda: self.bdat([b"NOOP evil", b""], is_last=bool(sizes), sizes=sizes),
            lambda: self.auth("PLAIN", RIGHT_PASSWORD, [], sizes),
            self.starttls,
            self.rset,
        )
        steps[which]()

    @step(which=st.integers(0, 7), again=st.integers(0, 7))
    def right_commands(self, which: int, again: int) -> None:
        self.right_command(which, [])
        self.right_command(again, [])

    def rset(self) -> None:
        for code in self.say(wire("RSET"), []):
            if code == 250:
                self.forget_transaction()

    @step(lambda self: self.delivered > 0 or self.has_auth)
    def leave(self) -> None:
        self.say(wire("QUIT"), [])
        assert self.session.is_closed

    # ----------------------------------------------------------------- messages

    @step(lines=CONTENT, bare=st.sampled_from([b"", b"", b"", b"\n", b"\r"]), s=SIZES)
    def data(self, lines: list[bytes], bare: bytes, s: list[int]) -> None:
        codes = self.say(wire("DATA"), s)
        if codes != [354]:
            if self.session.is_closed or codes[0] in {450, 550}:
                self.forget_transaction()
            return
        assert self.recipients > 0
        content = b"\r\n".join([*lines, bare + b"end"]) if bare else b"\r\n".join(lines)
        self.ending = content + b"\r\n" if content else b""
        octets = stuffed(self.ending) + b".\r\n"
        self.end_message(octets, s, may_end=not bare)

    @step(lines=CONTENT, is_last=st.booleans(), sizes=SIZES)
    def bdat(self, lines: list[bytes], is_last: bool, sizes: list[int]) -> None:
        chunk = b"\n".join(lines)
        command = f"BDAT {len(chunk)}" + " LAST" * is_last
        octets = wire(command) + chunk
        was_open = self.has_mail and self.recipients > 0
        self.ending = self.chunks + chunk
        if is_last:
            self.end_message(octets, sizes, may_end=was_open)
            return
        (code,) = self.say(octets, sizes)
        if code == 250:
            assert was_open
            self.chunks = self.ending
            self.chunks_begun = True
        else:
            self.end_if_aborted()

    def end_if_aborted(self) -> None:
        """A chunk that is refused ends its transaction (RFC 3030 section 2)."""
        if self.session.machine.envelope is None:
            self.forget_transaction()

    def end_message(self, octets: bytes, sizes: list[int], *, may_end: bool) -> None:
        before = self.delivered
        self.may_end = may_end
        count = self.recipients if self.is_lmtp and self.recipients else 1
        codes = self.say(octets, sizes, count)
        self.may_end = False
        if any(200 <= code < 300 for code in codes):
            # What is acknowledged was given to the layer above, once.
            assert self.delivered == before + 1
        self.end_if_aborted()

    @step(
        lambda self: self.delivered > 0,
        line=st.sampled_from(["GET / HTTP/1.1", "POST /" + "x" * 900, "\x16\x03\x01"]),
        sizes=SIZES,
    )
    def other_protocol(self, line: str, sizes: list[int]) -> None:
        self.say(wire(line), sizes)
        assert self.session.is_closed

    @step(
        lambda self: self.delivered > 0,
        size=st.sampled_from(["-1", "+5", "", "x", "99999999999999999999", "5 LASTX"]),
    )
    def bad_bdat(self, size: str) -> None:
        self.say(wire(f"BDAT {size}"), [])
        # Nobody knows how much follows, so nothing after it can be a command.
        assert self.session.is_closed

    # ------------------------------------------------------------- AUTH and TLS

    @step(
        mechanism=st.sampled_from([*SERVER_MECHANISMS]),
        initial=st.sampled_from(
            [
                *(None, b"", RIGHT_PASSWORD, b"\0user\0wrong", b"x"),
                f"n,a={USER},\1auth=Bearer {TOKEN}\1\1".encode(),
                f"user={USER}\1auth=Bearer {TOKEN}\1\1".encode(),
                *(b"n,,n=user,r=abc", b"p=tls-exporter,,n=user,r=abc", USER.encode()),
            ]
        ),
        responses=st.lists(
            st.sampled_from([b"*", b"!", b"", b"dXNlcg==", b"cGVuY2ls", b"AQ=="]),
            max_size=4,
        ),
        sizes=SIZES,
    )
    def auth(
        self,
        mechanism: str,
        initial: bytes | None,
        responses: list[bytes],
        sizes: list[int],
    ) -> None:
        line = f"AUTH {mechanism}"
        if initial is not None:
            line += " " + (base64.b64encode(initial).decode() or "=")
        codes = self.say(wire(line), sizes)
        for response in [*responses, b"*"]:
            if codes != [334]:
                break
            codes = self.say(response + b"\r\n", sizes)
        while codes == [334]:
            codes = self.say(b"*\r\n", sizes)
        if codes == [235]:
            assert self.has_hello
            assert not self.has_auth
            assert not self.has_mail
            self.has_auth = True
            assert self.say(wire("AUTH PLAIN AHVzZXIAcGVuY2ls"), sizes) != [235]

    def starttls(self) -> None:
        codes = self.say(wire("STARTTLS"), [])
        self.flights.append(b"")
        if codes == [220]:
            assert self.has_hello
            assert not self.has_tls
            assert not self.has_mail
            self.has_tls = True
            # RFC 3207 section 4.2: all is forgotten.
            self.has_hello = self.has_auth = False
            assert self.session.machine.identity is None

    # ------------------------------------------------------------- gateways

    @step(
        attributes=st.lists(st.sampled_from(GATEWAY_ATTRIBUTES), min_size=1),
        user=st.sampled_from([None, None, "LOGIN=ann", "LOGIN=[UNAVAILABLE]"]),
        sizes=SIZES,
    )
    def xclient(
        self, attributes: list[str], user: str | None, sizes: list[int]
    ) -> None:
        told = [*attributes, *([] if user is None else [user])]
        (code,) = self.say(wire(f"XCLIENT {' '.join(told)}"), sizes)
        if code in {220, 554} and not self.session.is_closed and self.was_restarted():
            assert "XCLIENT" in self.gateway
            assert not self.has_mail
            # As a new connection, but for TLS and for what it tells.
            self.is_welcome = code == 220
            self.has_hello = False
            self.has_auth = user == "LOGIN=ann"
            assert (self.session.machine.identity is not None) == self.has_auth
        elif not self.session.is_closed:
            assert code >= 400

    def was_restarted(self) -> bool:
        """Tell whether somebody else was greeted just now."""
        return isinstance(self.session.seen[-1], events.ClientConnected)

    @step(
        attributes=st.lists(st.sampled_from(GATEWAY_ATTRIBUTES), min_size=1),
        sizes=SIZES,
    )
    def xforward(self, attributes: list[str], sizes: list[int]) -> None:
        (code,) = self.say(wire(f"XFORWARD {' '.join(attributes)}"), sizes)
        if code == 250:
            assert "XFORWARD" in self.gateway
            assert self.is_welcome
            assert not self.has_mail
            assert self.session.machine.forwarded is not None

    # ------------------------------------------------------------- what must hold

    @invariant()
    def nothing_evil_was_run(self) -> None:
        """Content is content, whatever became of the message that it was in."""
        for event in self.session.seen:
            if not isinstance(event, events.BodyReceived):
                assert "evil" not in repr(event)

    @invariant()
    def machine_is_at_rest(self) -> None:
        """Every answer was given, and nothing waits to be sent."""
        assert not self.session.machine.is_waiting
        assert self.session.machine.data_to_send() == b""
        envelope = self.session.machine.envelope
        assert (envelope is not None) == self.has_mail
        assert self.session.machine.is_body_open == self.chunks_begun
        assert envelope is None or len(envelope.recipients) == self.recipients

    def teardown(self) -> None:
        self.say_again()

    def say_again(self) -> None:
        """Say it all again: at once, octet by octet, and cut off somewhere."""
        whole = Judged(config=self.config, decisions=self.decisions)
        single = Judged(config=self.config, decisions=self.decisions)
        for flight in self.flights:
            whole.feed(flight)
            single.feed(flight, (1 for _ in flight))
        said = b"".join(self.flights)
        cut = Judged(config=self.config, decisions=self.decisions)
        left = len(said) * (sum(self.decisions) % 7) // 7
        for flight in self.flights:
            if left <= 0:
                break
            cut.feed(flight[:left])
            left -= len(flight)
        for session in (self.session, whole, single, cut):
            session.end()
            assert session.is_closed
            begun = sum(isinstance(e, events.DataRequested) for e in session.seen)
            ended = sum(
                isinstance(e, events.MessageComplete | events.MessageAborted)
                for e in session.seen
            )
            assert ended <= begun
        for session in (whole, single):
            assert session.sent == self.session.sent
            assert session.seen == self.session.seen
            assert session.messages == self.session.messages
        # A message that was cut off is none, and nothing else is different.
        assert self.session.sent.startswith(cut.sent)
        assert self.session.messages[: len(cut.messages)] == cut.messages


ServerSessions.TestCase.settings = settings(max_examples=150, stateful_step_count=35)
TestServerSessions = ServerSessions.TestCase


FRAGMENTS: Final = st.sampled_from(
    [
        *(
            b"EHLO c.test\r\n",
            b"LHLO c.test\r\n",
            b"HELO c\r\n",
            b"MAIL FROM:<a@b>\r\n",
        ),
        *(b"RCPT TO:<b@mx.test>\r\n", b"RCPT TO:<c@mx.test>\r\n", b"DATA\r\n"),
        *(b".\r\n", b"\r\n.\r\n", b"\r\n", b"\n", b"\r", b".", b"\n.\n", b"\r\n.\n"),
        *(b"BDAT 3\r\n", b"BDAT 4 LAST\r\n", b"BDAT 0 LAST\r\n", b"BDAT ", b"RSET\r\n"),
        *(b"AUTH PLAIN AHVzZXIAcGVuY2ls\r\n", b"AUTH LOGIN\r\n", b"dXNlcg==\r\n"),
        *(b"*\r\n", b"NOOP\r\n", b"QUIT\r\n", b"XPING\r\n", b"GET / \r\n", b"\x16\x03"),
        *(b"MAIL FROM:<> ", b"RCPT TO:<b@mx.test> ", b" SIZE=5", b" NOTIFY=NEVER"),
        *(b"XCLIENT ADDR=192.0.2.1 LOGIN=ann\r\n", b"XFORWARD NAME=c.test\r\n"),
        *(b"x" * 310, b"text", b"\x00", b"\xff", b" ", b"<", b">", b"="),
    ]
)


# How far a session is before it becomes strange.
OPENINGS: Final = (
    b"",
    b"EHLO c.test\r\n",
    b"EHLO c.test\r\nMAIL FROM:<a@b>\r\n",
    b"EHLO c.test\r\nMAIL FROM:<a@b>\r\nRCPT TO:<b@mx.test>\r\n",
    b"EHLO c.test\r\nMAIL FROM:<a@b>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\n",
    b"EHLO c.test\r\nMAIL FROM:<a@b>\r\nRCPT TO:<b@mx.test>\r\nBDAT 9\r\n",
    b"EHLO c.test\r\nAUTH LOGIN\r\n",
)


def starts_and_ends(seen: list[object]) -> None:
    """Require a sender and a recipient of each message, from the events alone."""
    senders = recipients = 0
    for event in seen:
        if isinstance(event, events.MailReceived):
            senders, recipients = senders + 1, 0
        elif isinstance(event, tuple) and event[0] == "rcpt":
            recipients += 1
        elif isinstance(event, events.MessageComplete):
            assert senders
            assert recipients
            recipients = 0


@given(
    is_lmtp=st.booleans(),
    takes_both=st.booleans(),
    limits=LIMITS,
    gateway=GATEWAYS,
    decisions=DECISIONS,
    opening=st.sampled_from(OPENINGS),
    pieces=st.lists(FRAGMENTS | st.binary(max_size=6), max_size=25),
    sizes=st.lists(st.integers(1, 40), max_size=20),
)
@settings(max_examples=300)
def test_any_octets(
    is_lmtp: bool,
    takes_both: bool,
    limits: Limits,
    gateway: frozenset[str],
    decisions: list[int],
    opening: bytes,
    pieces: list[bytes],
    sizes: list[int],
) -> None:
    config = make_config(
        is_lmtp=is_lmtp, limits=limits, gateway=gateway, takes_both=takes_both
    )
    if is_lmtp:
        opening = opening.replace(b"EHLO", b"LHLO")
    octets = opening + b"".join(pieces)
    whole, single, cut = (Judged(config=config, decisions=decisions) for _ in range(3))
    whole.feed(octets)
    single.feed(octets, (1 for _ in singly(octets)))
    cut.feed(octets, sizes)
    for session in (whole, single, cut):
        session.end()
        assert session.is_closed
        starts_and_ends(session.seen)
        assert (session.sent, session.seen) == (whole.sent, whole.seen)
    if not (is_lmtp or takes_both):
        # One reply a line at the most, the greeting, and one to what is no line.
        assert len(replies_of(whole.sent)) <= octets.count(b"\n") + 2

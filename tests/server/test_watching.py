"""The event stream: what is told, in which order, and that telling harms nobody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from smtpx.core.limits import Limits
from smtpx.errors import Refuse
from smtpx.sasl.mechanism import Identity
from smtpx.server import observed
from smtpx.server.body import Body
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
)
from smtpx.server.options import ServerOptions, ServerTimeouts
from smtpx.server.session import ConnectionInfo, Session, Statuses
from smtpx.wire.address import Mailbox
from smtpx.wire.extensions import DEFAULT_REGISTRY, Extension
from smtpx.wire.grammar import parse_raw
from smtpx.wire.params import MailOptions, RcptOptions
from smtpx.wire.replies import Reply
from tests.server.conftest import Certificates, Run
from tests.server.peers import serve, until, until_gone

ENVELOPE = b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\n"
MESSAGE = ENVELOPE + b"DATA\r\nhi\r\n.\r\n"
QUIT = b"QUIT\r\n"


class Sink:
    """Keeps what it was told, and holds the rules that are true of every session."""

    def __init__(self) -> None:
        self.events: list[ServerEvent] = []
        self._open: dict[str, float] = {}

    def __call__(self, event: ServerEvent) -> None:
        if isinstance(event, ConnectedEvent):
            assert event.session not in self._open
        else:
            assert self._open[event.session] <= event.elapsed
        if isinstance(event, ClosedEvent):
            del self._open[event.session]
        else:
            self._open[event.session] = event.elapsed
        self.events.append(event)

    @property
    def kinds(self) -> list[str]:
        return [type(event).__name__.removesuffix("Event") for event in self.events]

    def one(self, kind: type[Any]) -> Any:  # noqa: ANN401 - of the kind asked for
        (event,) = [event for event in self.events if isinstance(event, kind)]
        return event

    async def wait_closed(self, count: int = 1) -> None:
        await until(lambda: self.kinds.count("Closed") == count)


class Accepting(Session):
    """No hook but the one without which no message is taken."""

    async def data(self, body: Body) -> Reply | None:
        await body.read()
        return None


class Hooked(Session):
    """Every hook, with a word of its own."""

    async def connected(self) -> Reply | None:
        return Reply(220, None, "welcome")

    async def hello(self, name: str) -> Reply | None:
        return Reply(250, None, f"hello {name}")

    async def mail(
        self, reverse_path: Mailbox | None, options: MailOptions
    ) -> Reply | None:
        return Reply(250, "2.1.0", "from you")

    async def rcpt(self, forward_path: Mailbox, options: RcptOptions) -> Reply | None:
        if forward_path.local_part == "no":
            raise Refuse(550, "5.1.1", "nobody")
        return Reply(250, "2.1.5", "to them")

    async def start_data(self) -> Reply | None:
        return Reply(354, None, "go on")

    async def data(self, body: Body) -> Reply | None:
        await asyncio.sleep(0)
        await body.read()
        return Reply(250, "2.0.0", "queued")

    async def verify(self, text: str) -> Reply | None:
        return Reply(250, "2.0.0", text)

    async def check_password(self, user: str, password: str) -> bool:
        return password == "right"


async def talk(
    session: Callable[[ConnectionInfo], Session],
    octets: bytes,
    replies: int,
    **options: Any,  # noqa: ANN401 - the fields of ServerOptions
) -> tuple[Sink, list[int]]:
    """Have one session to its end; return what was told of it, and the codes."""
    sink = Sink()
    async with serve(session, events=sink, **options) as served:
        peer = await served.connect()
        codes = await peer.say(octets, replies)
        await peer.close()
        await sink.wait_closed()
    return sink, codes


@pytest.mark.parametrize("session", [Accepting, Hooked])
def test_a_session_from_connect_to_quit(run: Run, session: type[Session]) -> None:
    async def scenario() -> None:
        dialogue = b"EHLO c.test\r\n" + MESSAGE + QUIT
        sink, codes = await talk(session, dialogue, 7)
        assert codes == [220, 250, 250, 250, 354, 250, 221]
        assert sink.kinds == [
            *("Connected", "Hello", "Mail", "Rcpt", "Message", "Closed")
        ]
        assert len({event.session for event in sink.events}) == 1
        connected, hello = sink.events[:2]
        assert isinstance(connected, ConnectedEvent)
        assert connected.hostname == "mx.test"
        assert connected.peer_host == "127.0.0.1"
        assert connected.peer.startswith("127.0.0.1:")
        assert connected.local.startswith("127.0.0.1:")
        assert not connected.is_lmtp
        assert isinstance(hello, HelloEvent)
        assert (hello.verb, hello.name, hello.reply.code) == ("EHLO", "c.test", 250)
        mail, rcpt = sink.one(MailEvent), sink.one(RcptEvent)
        assert (str(mail.reverse_path), mail.reply.code) == ("a@c.test", 250)
        assert (str(rcpt.forward_path), rcpt.reply.code) == ("b@mx.test", 250)
        message = sink.one(MessageEvent)
        assert (message.octets, message.is_accepted) == (4, True)
        assert str(message.reverse_path) == "a@c.test"
        (result,) = message.recipients
        assert (result.recipient, result.is_accepted) == ("b@mx.test", True)
        assert result.reply is message.reply
        assert 0 <= message.duration <= message.elapsed
        closed = sink.one(ClosedEvent)
        assert (closed.reason, closed.is_clean, closed.reply) == ("QUIT", True, None)
        assert (closed.octets_received, closed.messages) == (len(dialogue), 1)

    run(scenario())


def test_the_answers_of_hooks_are_told(run: Run) -> None:
    async def scenario() -> None:
        sink, _ = await talk(
            Hooked,
            b"EHLO c.test\r\nVRFY bob\r\nMAIL FROM:<>\r\nRCPT TO:<no@mx.test>\r\n"
            b"RCPT TO:<b@mx.test>\r\nDATA\r\nhi\r\n.\r\n" + QUIT,
            9,
        )
        events: list[Any] = sink.events[1:-1]
        told = [event.reply.text for event in events]
        assert told == [
            *("hello c.test", "bob", "from you", "nobody", "to them", "queued")
        ]
        command = sink.one(CommandEvent)
        assert (command.verb, command.argument) == ("VRFY", "bob")
        assert sink.one(MailEvent).reverse_path is None
        # Who was refused is no recipient of the message.
        assert [r.recipient for r in sink.one(MessageEvent).recipients] == ["b@mx.test"]

    run(scenario())


def test_octets_are_counted_both_ways(run: Run) -> None:
    async def scenario() -> None:
        sink = Sink()
        async with serve(Accepting, events=sink) as served:
            peer = await served.connect()
            peer.send(b"EHLO c.test\r\n" + MESSAGE + QUIT)
            heard = await peer.rest()
            await peer.close()
            await sink.wait_closed()
        assert sink.one(ClosedEvent).octets_sent == len(heard)

    run(scenario())


def test_commands_without_a_hook(run: Run) -> None:
    async def scenario() -> None:
        sink, _ = await talk(
            Accepting, b"HELO c.test\r\nVRFY a\r\nHELP me\r\nNOOP\r\nRSET\r\n", 6
        )
        assert sink.kinds == ["Connected", "Hello", "Command", "Command", "Closed"]
        told = [e for e in sink.events if isinstance(e, CommandEvent)]
        assert [(e.verb, e.argument, e.reply) for e in told] == [
            ("VRFY", "a", None),
            ("HELP", "me", None),
        ]
        closed = sink.one(ClosedEvent)
        assert closed.is_clean
        assert closed.reason == "the client closed the connection"

    run(scenario())


def test_every_command_with_a_hook(run: Run) -> None:
    class Chatty(Accepting):
        async def expand(self, text: str) -> Reply | None:
            raise Refuse(550, "5.7.1", "private")

        async def etrn(self, node: str) -> Reply | None:
            return Reply(250, "2.0.0", "started")

        async def help(self, topic: str) -> Reply | None:
            return None

        async def command(self, verb: str, argument: str) -> Reply | None:
            return Reply(250, "2.0.0", "done")

    registry = DEFAULT_REGISTRY.with_extension(
        Extension("XFROB", "ours", verbs=(parse_raw("XFROB"),))
    )

    async def scenario() -> None:
        sink, codes = await talk(
            Chatty,
            b"EHLO c.test\r\nEXPN staff\r\nETRN @c.test\r\nHELP\r\nXFROB 1 2\r\n",
            6,
            registry=registry,
            extensions=frozenset({"XFROB"}),
        )
        assert codes == [220, 250, 550, 250, 214, 250]
        told = [e for e in sink.events if isinstance(e, CommandEvent)]
        assert [(e.verb, e.argument, e.reply and e.reply.code) for e in told] == [
            ("EXPN", "staff", 550),
            ("ETRN", "@c.test", 250),
            ("HELP", "", None),
            ("XFROB", "1 2", 250),
        ]

    run(scenario())


# --- LMTP. ---


@pytest.mark.parametrize("option", ["lmtp", "lmtp_too"])
def test_statuses_of_lmtp(run: Run, option: str) -> None:
    class Store(Session):
        async def lmtp_data(self, body: Body, statuses: Statuses) -> Reply | None:
            await body.read()
            first, second, _ = statuses.recipients
            statuses.set(second, Reply(552, None, "full"))
            statuses.set(first, Reply(250, "2.0.0", "stored"))
            return Reply(451, "4.2.0", "later")

    async def scenario() -> None:
        sink, codes = await talk(
            Store,
            b"LHLO c.test\r\nMAIL FROM:<a@c.test>\r\n"
            + b"RCPT TO:<b@mx.test>\r\n" * 3
            + b"DATA\r\nhi\r\n.\r\n"
            + QUIT,
            11,
            **{option: True},
        )
        assert codes[-4:] == [250, 552, 451, 221]
        message = sink.one(MessageEvent)
        assert [str(result.reply) for result in message.recipients] == [
            "250 2.0.0 stored",
            "552 5.0.0 full",
            "451 4.2.0 later",
        ]
        assert [result.is_accepted for result in message.recipients] == [
            *(True, False, False)
        ]
        assert message.is_accepted
        assert message.reply.code == 451
        assert sink.one(ClosedEvent).messages == 1
        # Where both are taken, only the greeting tells.
        assert sink.one(ConnectedEvent).is_lmtp is (option == "lmtp")
        assert sink.one(ConnectedEvent).takes_lmtp_too is (option == "lmtp_too")
        assert sink.one(HelloEvent).verb == "LHLO"

    run(scenario())


# --- Refusals, errors, ends. ---


def test_refusals(run: Run) -> None:
    class Strict(Accepting):
        async def hello(self, name: str) -> Reply | None:
            if name == "bad.test":
                raise Refuse(550, "5.7.1", "not you")
            return None

        async def mail(
            self, reverse_path: Mailbox | None, options: MailOptions
        ) -> Reply | None:
            if reverse_path is None:
                raise Refuse(550, "5.7.1", "no bounces")
            return None

        async def start_data(self) -> Reply | None:
            raise Refuse(452, "4.3.1", "disk full")

        async def data(self, body: Body) -> Reply | None:
            raise AssertionError("nothing was granted")

    async def scenario() -> None:
        sink, codes = await talk(
            Strict,
            b"EHLO bad.test\r\nEHLO c.test\r\nFROB x\r\nRCPT TO:<b@mx.test>\r\n"
            b"MAIL FROM:<>\r\n" + ENVELOPE + b"DATA\r\n" + ENVELOPE + b"BDAT 2 LAST\r\n"
            b"hi" + QUIT,
            13,
        )
        assert codes == [
            *(220, 550, 250, 500, 503, 550, 250, 250, 452, 250, 250, 452, 221)
        ]
        refused = [e for e in sink.events if isinstance(e, RefusedEvent)]
        assert [(e.command, e.reply.code) for e in refused] == [
            ("FROB ***", 500),
            ("RCPT TO:<b@mx.test>", 503),
            ("DATA", 452),
            ("BDAT", 452),
        ]
        hellos = [e for e in sink.events if isinstance(e, HelloEvent)]
        assert [e.reply.code for e in hellos] == [550, 250]
        mails = [e for e in sink.events if isinstance(e, MailEvent)]
        assert [e.reply.code for e in mails] == [550, 250, 250]
        assert sink.one(ClosedEvent).messages == 0

    run(scenario())


@pytest.mark.parametrize("code", [421, 554])
def test_a_greeting_refused(run: Run, code: int) -> None:
    class Closed(Session):
        async def connected(self) -> Reply | None:
            raise Refuse(code, None, "go away")

    async def scenario() -> None:
        sink, codes = await talk(Closed, b"", 1)
        assert codes == [code]
        assert sink.kinds == ["Connected", "Refused", "Closed"]
        refused = sink.one(RefusedEvent)
        assert (refused.command, refused.reply.code) == ("(greeting)", code)

    run(scenario())


def test_a_client_turned_away(run: Run) -> None:
    async def scenario() -> None:
        sink, codes = await talk(Accepting, b"", 1, max_connections=0)
        assert codes == [421]
        assert sink.kinds == ["Connected", "Closed"]
        closed = sink.one(ClosedEvent)
        assert (closed.reply.code, closed.is_clean) == (421, False)
        assert closed.reason == "too many connections"

    run(scenario())


def test_words_that_nobody_hears_are_not_the_last(run: Run) -> None:
    class Late(Accepting):
        async def closed(self, reason: str) -> None:
            self.connection.close(Reply(421, "4.3.2", "too late"))

    async def scenario() -> None:
        sink, codes = await talk(Late, QUIT, 2)
        assert codes == [220, 221]
        assert sink.one(ClosedEvent).reply is None

    run(scenario())


def test_a_message_refused(run: Run) -> None:
    async def scenario() -> None:
        # Session itself takes no message.
        sink, codes = await talk(Session, b"HELO c.test\r\n" + MESSAGE, 6)
        assert codes[-1] == 554
        message = sink.one(MessageEvent)
        assert not message.is_accepted
        assert message.reply.code == 554
        assert sink.one(ClosedEvent).messages == 0

    run(scenario())


@pytest.mark.parametrize("chunked", [False, True])
def test_a_message_too_large(run: Run, chunked: bool) -> None:
    end = b"BDAT 9 LAST\r\n123456789" if chunked else b"DATA\r\n1234567\r\n.\r\n"

    async def scenario() -> None:
        sink, codes = await talk(
            Accepting,
            b"EHLO c.test\r\n" + ENVELOPE + end + QUIT,
            6 if chunked else 7,
            limits=Limits(max_message_octets=8),
        )
        assert codes[-2:] == [552, 221]
        aborted = sink.one(AbortedEvent)
        assert aborted.reason == "message too large"
        assert aborted.octets == 0
        assert 0 <= aborted.duration <= aborted.elapsed
        assert "Message" not in sink.kinds

    run(scenario())


def test_a_message_cut_off(run: Run) -> None:
    async def scenario() -> None:
        sink, _ = await talk(
            Accepting, b"HELO c.test\r\n" + ENVELOPE + b"DATA\r\nhello\r\nwor", 5
        )
        assert sink.kinds[-2:] == ["Aborted", "Closed"]
        aborted, closed = sink.one(AbortedEvent), sink.one(ClosedEvent)
        assert aborted.octets == len(b"hello\r\nwor")
        assert not closed.is_clean

    run(scenario())


def test_a_client_gone_before_the_answer(run: Run) -> None:
    """What nobody heard was not answered."""
    sink = Sink()

    class Slow(Session):
        started: ClassVar[list[bytes]] = []

        async def data(self, body: Body) -> Reply | None:
            self.started.append(await body.read())
            await until(lambda: "gone" in gone)
            return None

    gone: list[str] = []

    async def scenario() -> None:
        Slow.started.clear()
        async with serve(Slow, events=sink) as served:
            peer = await served.ready()
            peer.send(MESSAGE)
            await until(lambda: bool(Slow.started))
            (info,) = served.server.connections
            info.close()
            gone.append("gone")
            await sink.wait_closed()
        assert sink.kinds[-2:] == ["Aborted", "Closed"]
        assert sink.one(AbortedEvent).octets == 4
        assert sink.one(ClosedEvent).reply.code == 421

    run(scenario())


HOOK_FAULTS: dict[str, tuple[type[Session], bytes]] = {}


def fault(hook: str, octets: bytes) -> Callable[[type[Session]], type[Session]]:
    def enter(session: type[Session]) -> type[Session]:
        HOOK_FAULTS[hook] = session, octets
        return session

    return enter


@fault("rcpt", ENVELOPE)
class BadRcpt(Session):
    async def rcpt(self, forward_path: Mailbox, options: RcptOptions) -> Reply | None:
        raise KeyError("tables")


@fault("data", MESSAGE)
class BadData(Session):
    async def data(self, body: Body) -> Reply | None:
        raise KeyError("tables")


@fault("check_password", b"AUTH PLAIN AGEAYg==\r\n")
class BadPasswords(Session):
    async def check_password(self, user: str, password: str) -> bool:
        raise KeyError("tables")


@fault("reset", ENVELOPE + b"RSET\r\n")
class BadReset(Session):
    async def reset(self) -> None:
        raise KeyError("tables")


@fault("closed", b"")
class BadClosed(Session):
    async def closed(self, reason: str) -> None:
        raise KeyError("tables")


@pytest.mark.parametrize("hook", HOOK_FAULTS)
def test_a_hook_that_raises(
    run: Run, hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    session, octets = HOOK_FAULTS[hook]

    async def scenario() -> None:
        sink = Sink()
        async with serve(session, events=sink) as served:
            peer = await served.ready()
            peer.send(octets + QUIT)
            await peer.rest()
            await peer.close()
            await sink.wait_closed()
        error = sink.one(ErrorEvent)
        assert (error.hook, error.text) == (hook, "a hook raised")
        assert isinstance(error.error, KeyError)
        assert f"{error.session}: a hook raised" in caplog.text

    run(scenario())


def test_hooks_that_answer_nonsense(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    class Nonsense(Accepting):
        async def hello(self, name: str) -> Any:  # noqa: ANN401 - no reply at all
            return "hello"

    async def scenario() -> None:
        sink, codes = await talk(Nonsense, b"HELO c.test\r\nHELO c.test\r\n", 3)
        assert codes == [220, 451, 451]
        errors = [e for e in sink.events if isinstance(e, ErrorEvent)]
        assert [(e.hook, e.text) for e in errors] == [
            ("hello", "a hook returned 'hello', no Reply")
        ] * 2
        hellos = [e for e in sink.events if isinstance(e, HelloEvent)]
        assert [e.reply.code for e in hellos] == [451, 451]

    run(scenario())
    assert "no Reply" in caplog.text


def test_a_hook_that_answers_out_of_place(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    class Nonsense(Accepting):
        async def mail(
            self, reverse_path: Mailbox | None, options: MailOptions
        ) -> Reply | None:
            return Reply(354, None, "go on")

    async def scenario() -> None:
        sink, codes = await talk(Nonsense, b"HELO c.test\r\nMAIL FROM:<>\r\n", 3)
        assert codes == [220, 250, 451]
        assert sink.one(ErrorEvent).hook == "mail"
        assert sink.one(MailEvent).reply.code == 451

    run(scenario())
    assert "out of place" in caplog.text


def test_a_session_that_cannot_be_made(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: ConnectionInfo) -> Session:
        raise KeyError("settings")

    async def scenario() -> None:
        sink, codes = await talk(broken, b"", 1)
        assert codes == [421]
        assert sink.kinds == ["Connected", "Error", "Closed"]
        assert sink.one(ErrorEvent).text == "no session could be made"

    run(scenario())
    assert "no session could be made" in caplog.text


def test_a_hook_that_takes_too_long(
    run_timed: Run, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(Accepting):
        async def mail(
            self, reverse_path: Mailbox | None, options: MailOptions
        ) -> Reply | None:
            await asyncio.sleep(1e6)
            return None

    async def scenario() -> None:
        sink = Sink()
        timeouts = ServerTimeouts(handler=10.0, command=100.0)
        async with serve(Slow, events=sink, timeouts=timeouts) as served:
            peer = await served.ready()
            assert await peer.say(b"MAIL FROM:<>\r\n") == [451]
            await until_gone(served, 5.0)
        error = sink.one(ErrorEvent)
        assert (error.hook, error.error) == ("mail", None)
        assert sink.one(MailEvent).reply.code == 451
        closed = sink.one(ClosedEvent)
        assert (closed.reply.code, closed.reason) == (421, "idle for too long")
        assert closed.elapsed >= 100.0

    run_timed(scenario())
    assert "too long" in caplog.text


# --- TLS and AUTH. ---


def test_starttls_and_auth(run: Run, certificates: Certificates) -> None:
    async def scenario() -> None:
        sink = Sink()
        async with serve(Hooked, events=sink, tls=certificates.server) as served:
            peer = await served.ready()
            assert await peer.say(b"STARTTLS\r\n") == [220]
            await peer.start_tls(certificates.client)
            assert await peer.say(b"EHLO c.test\r\n") == [250]
            # tim, with "wrong"; then with "right".
            assert await peer.say(b"AUTH PLAIN AHRpbQB3cm9uZw==\r\n") == [535]
            assert await peer.say(b"AUTH LOGIN\r\n*\r\n", 2) == [334, 501]
            assert await peer.say(b"AUTH PLAIN AHRpbQByaWdodA==\r\n") == [235]
            assert await peer.say(QUIT) == [221]
            await peer.close()
            await sink.wait_closed()
        assert sink.kinds == [
            *("Connected", "Hello", "TLS", "Hello", "Auth", "Auth", "Auth", "Closed")
        ]
        assert sink.one(TLSEvent).tls.version == "TLSv1.3"
        auths = [e for e in sink.events if isinstance(e, AuthEvent)]
        assert [(e.mechanism, e.user, e.claimed_user, e.reply.code) for e in auths] == [
            ("PLAIN", None, "tim", 535),
            ("LOGIN", None, None, 501),
            ("PLAIN", "tim", "tim", 235),
        ]
        told = repr(sink.events)
        assert "wrong" not in told
        assert "claimed_user" not in told

    run(scenario())


def test_auth_without_a_hook_that_authorizes(run: Run) -> None:
    class Users(Hooked):
        async def authorize(self, identity: Identity) -> Reply | None:
            if identity.authorize_as == "ann":
                return Reply(235, "2.7.0", "as ann")
            raise Refuse(535, "5.7.8", "no")

    async def scenario(session: type[Session], code: int) -> None:
        # tim, who acts as ann.
        line = b"EHLO c.test\r\nAUTH PLAIN YW5uAHRpbQByaWdodA==\r\n"
        sink, codes = await talk(session, line, 3)
        assert codes[-1] == code
        auth = sink.one(AuthEvent)
        assert auth.reply.code == code
        assert auth.user == ("tim" if code == 235 else None)
        assert auth.claimed_user == "tim"

    run(scenario(Users, 235))
    run(scenario(Hooked, 535))


def test_implicit_tls(run: Run, certificates: Certificates) -> None:
    async def scenario() -> None:
        sink = Sink()
        async with serve(
            Accepting, events=sink, tls=certificates.server, implicit_tls=True
        ) as served:
            peer = await served.ready(certificates.client)
            await peer.close()
            await sink.wait_closed()
        assert sink.kinds == ["Connected", "TLS", "Hello", "Closed"]

    run(scenario())


# --- Sinks. ---


def test_a_sink_that_raises_harms_nobody(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: ServerEvent) -> None:
        raise ValueError(f"no room for {type(event).__name__}")

    async def scenario() -> None:
        sink = Sink()
        async with serve(Hooked, events=(broken, sink, broken)) as served:
            peer = await served.ready()
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
            assert await peer.say(QUIT) == [221]
            await peer.close()
            await sink.wait_closed()
        assert len(sink.events) == 6
        raised = [r for r in caplog.records if "event sink raised" in r.message]
        assert len(raised) == 12
        assert raised[0].message.startswith(sink.events[0].session)
        assert raised[0].exc_info is not None

    run(scenario())


def test_several_sinks_in_order(run: Run) -> None:
    async def scenario() -> None:
        told: list[tuple[str, str]] = []

        def sink(name: str) -> Callable[[ServerEvent], None]:
            return lambda event: told.append((name, type(event).__name__))

        async with serve(Accepting, events=(sink("a"), sink("b"))) as served:
            await served.ready()
        assert told[:4] == [
            ("a", "ConnectedEvent"),
            ("b", "ConnectedEvent"),
            ("a", "HelloEvent"),
            ("b", "HelloEvent"),
        ]
        assert told[-2:] == [("a", "ClosedEvent"), ("b", "ClosedEvent")]

    run(scenario())


def test_every_session_is_told_to_its_end(run: Run) -> None:
    async def scenario() -> None:
        sink = Sink()
        async with serve(Hooked, events=sink) as served:
            for _ in range(5):
                peer = await served.ready()
                peer.send(MESSAGE)
            await until(lambda: sink.kinds.count("Message") == 5)
        # The sink itself compares the times, and that each begins and ends once.
        assert sink.kinds.count("Connected") == sink.kinds.count("Closed") == 5
        assert len({event.session for event in sink.events}) == 5

    run(scenario())


def test_nobody_watching_costs_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No event is made, and no class that could make one is used."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("an event was made")

    monkeypatch.setattr(ServerEvent, "__init__", fail)
    monkeypatch.setattr(observed.ObservedConnection, "__init__", fail)

    async def scenario() -> None:
        async with serve(Hooked) as served:
            peer = await served.ready()
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
            (connection,) = served.server._connections
            assert type(connection) is Connection

    run(scenario())


def test_options_take_one_sink_or_several() -> None:
    one, other = Sink(), Sink()
    assert ServerOptions().event_sinks == ()
    assert ServerOptions(events=one).event_sinks == (one,)
    assert ServerOptions(events=(one, other)).event_sinks == (one, other)


# --- The wire log. ---


def test_a_wire_log_that_raises_harms_nobody(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_session: str, _line: str) -> None:
        raise OSError("no space left on device")

    async def scenario() -> None:
        async with serve(Accepting, wire_log=full) as served:
            peer = await served.ready()
            assert await peer.say(MESSAGE + QUIT, 5) == [250, 250, 354, 250, 221]

    run(scenario())
    assert "the wire log raised" in caplog.text


def test_a_wire_log_of_each_connection(run: Run) -> None:
    lines: dict[str, list[str]] = {}

    def write(session: str, line: str) -> None:
        lines.setdefault(session, []).append(line)
        logging.getLogger("wire").debug("%s %s", session, line)

    async def scenario() -> None:
        async with serve(Accepting, wire_log=write) as served:
            for name in (b"one.test", b"two.test"):
                peer = await served.greeted()
                await peer.say(b"HELO " + name + b"\r\nAUTHPLAIN AGEAYg==\r\n", 2)

    run(scenario())
    assert sorted(dialogue[1] for dialogue in lines.values()) == [
        "C: HELO one.test",
        "C: HELO two.test",
    ]
    assert "AGEAYg" not in repr(lines)
    assert all("C: AUTHPLAIN ***" in dialogue for dialogue in lines.values())

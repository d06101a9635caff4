"""Transforms: what the session within is told, and that it loses no ability."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from smtpx.core.events import (
    DataRequested,
    HelloReceived,
    MailReceived,
    RcptReceived,
    VrfyReceived,
)
from smtpx.errors import MessageAborted, Refuse
from smtpx.sasl.oauth import CheckToken
from smtpx.sasl.registry import SERVER_MECHANISMS
from smtpx.server import transform as module
from smtpx.server.body import Body
from smtpx.server.questions import can_answer
from smtpx.server.session import ConnectionInfo, Session, Statuses
from smtpx.server.transform import Transform, transform
from smtpx.server.work import Closed, Deliver, Reset, extensions_of, overridden_by
from smtpx.wire.address import Mailbox
from smtpx.wire.extensions import DEFAULT_REGISTRY, Extension
from smtpx.wire.grammar import parse_raw
from smtpx.wire.params import MailOptions, RcptOptions
from smtpx.wire.replies import Reply
from tests.server.conftest import Certificates, Run
from tests.server.peers import serve, settle, until

ENVELOPE = b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\n"
MESSAGE = ENVELOPE + b"DATA\r\nhi\r\n.\r\n"
Targets = Sequence[tuple[Mailbox, RcptOptions]]


class Inbox(Session):
    """Keeps what it was told; a test makes a subclass with lists of its own."""

    told: list[object]

    async def mail(
        self, reverse_path: Mailbox | None, options: MailOptions
    ) -> Reply | None:
        self.told.append(("mail", str(reverse_path), options.size))
        return None

    async def rcpt(self, forward_path: Mailbox, options: RcptOptions) -> Reply | None:
        self.told.append(("rcpt", str(forward_path)))
        if forward_path.local_part == "no":
            raise Refuse(550, "5.1.1", "nobody")
        if forward_path.local_part == "busy":
            return Reply(450, "4.2.1", "busy")
        return Reply(250, "2.1.5", f"fine: {forward_path.local_part}")

    async def data(self, body: Body) -> Reply | None:
        envelope = self.envelope
        recipients = [str(one.mailbox) for one in envelope.recipients]
        content = await body.read()
        assert body.octets_received == len(content)
        self.told.append((str(envelope.reverse_path), recipients, content))
        return Reply(250, "2.0.0", "queued")

    async def reset(self) -> None:
        assert self.connection.envelope is None
        self.told.append("reset")


def inbox(*bases: type[Session]) -> type[Any]:
    return type("Inbox", (*bases, Inbox), {"told": []})


class Rewrite(Transform):
    """Domains become lower case, an alias is expanded, some are dropped."""

    async def sender(
        self, reverse_path: Mailbox | None, options: MailOptions
    ) -> tuple[Mailbox | None, MailOptions]:
        if reverse_path is None:
            raise Refuse(550, "5.7.1", "no bounces")
        return Mailbox(f"srs-{reverse_path.local_part}", "relay.test"), options

    async def recipient(self, forward_path: Mailbox, options: RcptOptions) -> Targets:
        names = {"all": ["x", "y"], "none": [], "some": ["x", "no"]}
        if forward_path.local_part == "evil":
            raise Refuse(550, "5.7.1", "not them")
        local_parts = names.get(forward_path.local_part, [forward_path.local_part])
        return [(Mailbox(name, "in.test"), options) for name in local_parts]

    async def body(self, content: Body) -> AsyncGenerator[bytes, None]:
        yield b"X: 1\r\n"
        yield b""
        async for block in content:
            yield block.replace(b"hi", b"HI")


@pytest.mark.parametrize(
    "end", [b"DATA\r\nhi\r\n.\r\n", b"BDAT 2\r\nhiBDAT 2 LAST\r\n\r\n"]
)
def test_sender_recipients_and_content(run: Run, end: bytes) -> None:
    async def scenario() -> None:
        inner = inbox()
        seen: list[object] = []

        class Watching(Rewrite):
            async def body(self, content: Body) -> AsyncGenerator[bytes, None]:
                envelope = self.connection.envelope
                assert envelope is not None
                seen.append(str(envelope.reverse_path))
                seen.extend(str(one.mailbox) for one in envelope.recipients)
                async for block in super().body(content):
                    yield block

        async with serve(transform(inner, Watching)) as served:
            peer = await served.ready()
            dialogue = b"MAIL FROM:<a@c.test> SIZE=4\r\n" + b"".join(
                b"RCPT TO:<" + name + b"@mx.test>\r\n" for name in (b"b", b"all")
            )
            peer.send(dialogue + end)
            assert await peer.reply() == "250 2.1.0 sender OK"
            assert await peer.reply() == "250 2.1.5 fine: b"
            assert await peer.reply() == "250 2.1.5 recipient OK"
            assert await peer.codes(1) == [354 if end.startswith(b"DATA") else 250]
            assert await peer.reply() == "250 2.0.0 queued"
            assert await peer.say(b"QUIT\r\n") == [221]
        assert inner.told == [
            # What was declared of the size is not true of what is sent on.
            ("mail", "srs-a@relay.test", None),
            ("rcpt", "b@in.test"),
            ("rcpt", "x@in.test"),
            ("rcpt", "y@in.test"),
            (
                "srs-a@relay.test",
                ["b@in.test", "x@in.test", "y@in.test"],
                b"X: 1\r\nHI\r\n",
            ),
            "reset",
        ]
        # What the transform sees is what the client said.
        assert seen == ["a@c.test", "b@mx.test", "all@mx.test"]

    run(scenario())


def test_refusals(run: Run) -> None:
    async def scenario() -> None:
        inner = inbox()
        async with serve(transform(inner, Rewrite)) as served:
            peer = await served.ready()
            assert await peer.ask(b"MAIL FROM:<>\r\n") == "550 5.7.1 no bounces"
            assert await peer.say(b"MAIL FROM:<a@c.test>\r\n") == [250]
            assert await peer.ask(b"RCPT TO:<evil@x.test>\r\n") == "550 5.7.1 not them"
            assert await peer.ask(b"RCPT TO:<no@x.test>\r\n") == "550 5.1.1 nobody"
            assert await peer.ask(b"RCPT TO:<busy@x.test>\r\n") == "450 4.2.1 busy"
            # One of those it stands for was refused: who would tell the sender?
            assert await peer.ask(b"RCPT TO:<some@x.test>\r\n") == "550 5.1.1 nobody"
            assert await peer.say(b"DATA\r\n") == [554]
            assert await peer.say(b"RCPT TO:<b@x.test>\r\nDATA\r\nhi\r\n.\r\n", 3) == [
                *(250, 354, 250)
            ]
        assert inner.told[-2] == (
            "srs-a@relay.test",
            ["b@in.test"],
            b"X: 1\r\nHI\r\n",
        )
        # It was told of x, whom the client was refused, so it had to forget.
        assert inner.told.count("reset") == 2

    run(scenario())


@pytest.mark.parametrize("hook", ["data", "lmtp_data"])
def test_nobody_gets_a_message_whose_alias_was_refused(run: Run, hook: str) -> None:
    """A session may say RCPT to the next server at once; nothing takes it back."""

    async def scenario() -> None:
        inner = inbox()
        is_lmtp = hook == "lmtp_data"
        async with serve(transform(inner, Rewrite), lmtp=is_lmtp) as served:
            peer = await served.ready()
            peer.send(b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@x.test>\r\n")
            peer.send(b"RCPT TO:<some@x.test>\r\nRCPT TO:<c@x.test>\r\n")
            assert await peer.codes(4) == [250, 250, 550, 250]
            peer.send(b"DATA\r\nhi\r\n.\r\n")
            assert await peer.codes(3 if is_lmtp else 2) == [354] + [250] * (
                1 + is_lmtp
            )
        begun = inner.told.index("reset") + 1
        assert inner.told[begun : begun + 4] == [
            ("mail", "srs-a@relay.test", None),
            ("rcpt", "b@in.test"),
            ("rcpt", "c@in.test"),
            ("srs-a@relay.test", ["b@in.test", "c@in.test"], b"X: 1\r\nHI\r\n"),
        ]

    run(scenario())


@pytest.mark.parametrize("hook", ["mail", "rcpt", "reset"])
@pytest.mark.parametrize("is_raised", [False, True])
def test_a_session_that_changes_its_mind_gets_no_message(
    run: Run, hook: str, is_raised: bool
) -> None:
    async def scenario() -> None:
        inner = inbox()
        before = getattr(inner, hook)
        calls = 0

        async def changed(self: Session, *args: Any) -> Reply | None:  # noqa: ANN401
            nonlocal calls
            calls += 1
            if calls < {"mail": 2, "rcpt": 4, "reset": 1}[hook]:
                return await before(self, *args)  # type: ignore[no-any-return]
            if is_raised or hook == "reset":
                raise Refuse(550, "5.1.1", "not any more")
            return Reply(550, "5.1.1", "not any more")

        setattr(inner, hook, changed)
        async with serve(transform(inner, Rewrite)) as served:
            peer = await served.ready()
            peer.send(b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@x.test>\r\n")
            assert await peer.codes(2) == [250, 250]
            assert await peer.say(b"RCPT TO:<some@x.test>\r\n") != [250]
            assert await peer.say(b"RCPT TO:<c@x.test>\r\n") == [451]
            peer.send(b"DATA\r\nhi\r\n.\r\n")
            assert await peer.codes(2) == [354, 451]
        assert not [one for one in inner.told if b"HI" in repr(one).encode()]

    run(scenario())


def test_blocks_that_are_empty_are_no_end(run: Run) -> None:
    blocks: list[bytes] = []

    class Counting(Inbox):
        async def data(self, body: Body) -> Reply | None:
            async for block in body:
                blocks.append(block)  # noqa: PERF401 - what comes is what is tested
            return None

    async def scenario() -> None:
        async with serve(transform(inbox(Counting), Rewrite)) as served:
            peer = await served.ready()
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]

    run(scenario())
    assert all(blocks)
    assert b"".join(blocks) == b"X: 1\r\nHI\r\n"


@pytest.mark.parametrize("is_refused", [True, False])
def test_the_envelope_within_is_that_of_a_transaction(
    run: Run, is_refused: bool
) -> None:
    async def scenario() -> None:
        seen: list[bool] = []

        class Looking(Inbox):
            async def mail(
                self, reverse_path: Mailbox | None, options: MailOptions
            ) -> Reply | None:
                return Reply(550, "5.7.1", "no") if is_refused else None

            async def verify(self, text: str) -> Reply | None:
                seen.append(self.connection.envelope is not None)
                return None

        async with serve(transform(inbox(Looking), Rewrite)) as served:
            peer = await served.ready()
            code = 550 if is_refused else 250
            assert await peer.say(b"MAIL FROM:<a@c.test>\r\n") == [code]
            assert await peer.say(b"VRFY a\r\nRSET\r\nVRFY a\r\n", 3) == [
                *(252, 250, 252)
            ]
        assert seen == [not is_refused, False]

    run(scenario())


def test_a_message_that_is_dropped(run: Run) -> None:
    class Strict(Inbox):
        async def start_data(self) -> Reply | None:
            self.told.append("start_data")
            return None

    async def scenario(lmtp: bool) -> None:
        inner = inbox(Strict)
        async with serve(transform(inner, Rewrite), lmtp=lmtp) as served:
            peer = await served.ready()
            nobody = b"MAIL FROM:<a@c.test>\r\nRCPT TO:<none@x.test>\r\n"
            assert await peer.say(nobody + b"DATA\r\nhi\r\n.\r\n", 4) == [
                *(250, 250, 354, 250)
            ]
            assert inner.told == [("mail", "srs-a@relay.test", None), "reset"]
            # In step, and the next one is not.
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
            assert inner.told[-3] == "start_data"

    run(scenario(lmtp=False))
    run(scenario(lmtp=True))


def test_a_transform_that_changes_nothing(run: Run) -> None:
    bodies: list[Body] = []

    class Plain(Session):
        async def data(self, body: Body) -> Reply | None:
            bodies.append(body)
            await body.read()
            return None

    async def scenario() -> None:
        async with serve(transform(Plain, Transform)) as served:
            peer = await served.ready()
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
        # Not even its stream is another one.
        assert type(bodies.pop()) is Body

    run(scenario())


def test_content_alone_by_the_default_generator(run: Run) -> None:
    async def scenario() -> None:
        inner = inbox()

        class Same(Transform):
            async def body(self, content: Body) -> AsyncGenerator[bytes, None]:
                async for block in super().body(content):
                    yield block

        async with serve(transform(inner, Same)) as served:
            peer = await served.ready()
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
        assert inner.told[2] == ("a@c.test", ["b@mx.test"], b"hi\r\n")

    run(scenario())


@pytest.mark.parametrize(
    ("is_given", "has_body", "size"),
    [(False, False, 4), (False, True, None), (True, True, 77)],
)
def test_declared_size(
    run: Run, is_given: bool, has_body: bool, size: int | None
) -> None:
    class Sized(Transform):
        async def sender(
            self, reverse_path: Mailbox | None, options: MailOptions
        ) -> tuple[Mailbox | None, MailOptions]:
            return reverse_path, replace(options, size=77) if is_given else options

    class Longer(Sized):
        async def body(self, content: Body) -> AsyncGenerator[bytes, None]:
            yield b""

    async def scenario() -> None:
        inner = inbox()
        async with serve(transform(inner, Longer if has_body else Sized)) as served:
            peer = await served.ready()
            assert await peer.say(b"MAIL FROM:<a@c.test> SIZE=4\r\n") == [250]
        assert inner.told[0] == ("mail", "a@c.test", size)

    run(scenario())


def test_transforms_compose_in_order(run: Run) -> None:
    def tag(name: str) -> type[Transform]:
        class Tag(Transform):
            async def recipient(
                self, forward_path: Mailbox, options: RcptOptions
            ) -> Targets:
                local_part = f"{forward_path.local_part}-{name}"
                return [(Mailbox(local_part, forward_path.domain), options)]

            async def body(self, content: Body) -> AsyncGenerator[bytes, None]:
                envelope = self.connection.envelope
                assert envelope is not None
                yield f"{name}: {envelope.recipients[0].mailbox}\r\n".encode()
                async for block in content:
                    yield block

        return Tag

    async def scenario(make: Callable[[type[Session]], Any]) -> None:
        inner = inbox()
        async with serve(make(inner)) as served:
            peer = await served.ready()
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
        assert inner.told[2] == (
            "a@c.test",
            ["b-1-2@mx.test"],
            b"2: b-1@mx.test\r\n1: b@mx.test\r\nhi\r\n",
        )

    run(scenario(lambda inner: transform(inner, tag("1"), tag("2"))))
    run(scenario(lambda inner: transform(transform(inner, tag("2")), tag("1"))))


def test_no_transform_is_the_factory_itself() -> None:
    assert transform(Inbox) is Inbox


# --- Abilities. ---


def hooks() -> list[str]:
    """Name the hooks of a session: what of it is awaited."""
    return [
        name
        for name, value in vars(Session).items()
        if inspect.iscoroutinefunction(value)
    ]


REWRITTEN = {"mail", "rcpt", "data", "lmtp_data", "reset"}


def around(inner: type[Session], *steps: type[Transform]) -> type[Session]:
    return type(make_session(inner, *steps))


def make_session(inner: type[Session], *steps: type[Transform]) -> Session:
    connection: Any = None
    return transform(inner, *(steps or (Transform,)))(connection)


def test_every_hook_is_passed_on_or_rewritten() -> None:
    """A hook that is added to Session has to be entered in the table."""
    assert set(module._PASSED_ON) | REWRITTEN == set(hooks())
    assert not set(module._PASSED_ON) & REWRITTEN


def overriding(*names: str) -> type[Session]:
    async def hook(self: Session, *arguments: object) -> tuple[object, ...]:
        return arguments

    return type("Able", (Session,), dict.fromkeys(names, hook))


@pytest.mark.parametrize("hook", hooks())
@pytest.mark.parametrize("count", [1, 2])
def test_a_class_can_what_the_one_within_can(hook: str, count: int) -> None:
    inner = overriding(hook)
    outer = around(inner, *[Transform] * count)
    always = {MailReceived, RcptReceived, Reset}
    assert overridden_by(outer) == overridden_by(inner) | always
    assert extensions_of(outer) == extensions_of(inner)
    for mechanism in SERVER_MECHANISMS.values():
        assert can_answer(outer, mechanism) is can_answer(inner, mechanism)


def test_a_class_that_can_nothing_gets_no_ability() -> None:
    outer = around(Session)
    work = overridden_by(outer)
    assert not work & {HelloReceived, DataRequested, VrfyReceived, Closed}
    assert Deliver in work
    assert extensions_of(outer) == frozenset()
    assert not any(
        can_answer(outer, mechanism)
        for mechanism in SERVER_MECHANISMS.values()
        if mechanism.asks is not None
    )


def test_one_class_is_made_for_each_class() -> None:
    assert around(Inbox) is around(Inbox)
    assert around(Inbox) is not around(Session)
    assert around(Inbox).__name__ == "TransformedInbox"


@pytest.mark.parametrize("hook", sorted(set(hooks()) - REWRITTEN - {"start_data"}))
def test_hooks_get_their_arguments(hook: str) -> None:
    async def scenario() -> None:
        session: Any = make_session(overriding(hook), Transform, Transform)
        count = len(inspect.signature(getattr(Session, hook)).parameters) - 1
        arguments = tuple(object() for _ in range(count))
        assert await getattr(session, hook)(*arguments) == arguments

    asyncio.run(scenario())


def test_mechanisms_verbs_and_extensions_over_the_wire(run: Run) -> None:
    class Able(Inbox):
        async def check_password(self, user: str, password: str) -> bool:
            return (user, password) == ("tim", "right")

        async def check_token(self, question: CheckToken) -> str | None:
            return "tim"

        async def expand(self, text: str) -> Reply | None:
            return Reply(250, None, text)

        async def etrn(self, node: str) -> Reply | None:
            return Reply(251, None, node)

        async def command(self, verb: str, argument: str) -> Reply | None:
            return Reply(250, None, f"{verb} {argument}")

        async def hello(self, name: str) -> Reply | None:
            assert self.connection.peer_host == "127.0.0.1"
            return Reply(250, None, f"dear {name}")

        async def closed(self, reason: str) -> None:
            self.told.append(f"closed: {reason}, {self.connection.user}")

    registry = DEFAULT_REGISTRY.with_extension(
        Extension("XFROB", "ours", verbs=(parse_raw("XFROB"),))
    )

    async def scenario() -> None:
        greetings = []
        inner = inbox(Able)
        for session in (inner, transform(inner, Rewrite, Rewrite)):
            async with serve(
                session, registry=registry, extensions=frozenset({"XFROB"})
            ) as served:
                peer = await served.greeted()
                greetings.append(await peer.ask(b"EHLO c.test\r\n"))
                assert await peer.ask(b"EXPN staff\r\n") == "250 2.0.0 staff"
                assert await peer.ask(b"ETRN c.test\r\n") == "251 2.0.0 c.test"
                assert await peer.ask(b"XFROB 1 2\r\n") == "250 2.0.0 XFROB 1 2"
                assert await peer.say(b"AUTH PLAIN AHRpbQB3cm9uZw==\r\n") == [535]
                assert await peer.say(b"AUTH PLAIN AHRpbQByaWdodA==\r\n") == [235]
                assert await peer.say(b"QUIT\r\n") == [221]
        plain, transformed = greetings
        assert plain == transformed
        assert "AUTH" in plain
        assert "ETRN" in plain
        assert "dear c.test" in plain
        assert inner.told == ["closed: QUIT, tim"] * 2

    run(scenario())


def test_a_factory_whose_sessions_differ(run: Run) -> None:
    class Users(Inbox):
        async def check_password(self, user: str, password: str) -> bool:
            return True

    async def scenario() -> None:
        kinds = [inbox(Users), inbox()]

        def make(connection: ConnectionInfo) -> Session:
            session: Session = kinds.pop()(connection)
            return session

        async with serve(transform(make, Rewrite)) as served:
            first, second = await served.greeted(), await served.greeted()
            assert "AUTH" not in await first.ask(b"EHLO c.test\r\n")
            assert "AUTH" in await second.ask(b"EHLO c.test\r\n")

    run(scenario())


def test_starttls_begins_anew(run: Run, certificates: Certificates) -> None:
    made: list[Transform] = []

    class Counting(Rewrite):
        def __init__(self, connection: ConnectionInfo) -> None:
            super().__init__(connection)
            made.append(self)

    async def scenario() -> None:
        inner = inbox()
        async with serve(transform(inner, Counting), tls=certificates.server) as served:
            peer = await served.ready()
            assert await peer.say(ENVELOPE + b"RSET\r\nSTARTTLS\r\n", 4) == [
                *(250, 250, 250, 220)
            ]
            await peer.start_tls(certificates.client)
            assert await peer.say(b"EHLO c.test\r\n" + MESSAGE, 5) == [
                *(250, 250, 250, 354, 250)
            ]
        assert len(made) == 2
        assert made[1].connection.tls is not None

    run(scenario())
    made.clear()


def test_facts_are_those_of_the_connection(run: Run) -> None:
    async def scenario() -> None:
        seen: list[ConnectionInfo] = []

        class Looking(Inbox):
            async def data(self, body: Body) -> Reply | None:
                seen.append(self.connection)
                envelope = self.connection.envelope
                assert envelope is not None
                assert envelope.options.smtputf8
                # RFC 6531 section 4.3: of the transaction as it is told here.
                assert self.connection.protocol == "UTF8SMTP"
                return await super().data(body)

        class Upgrade(Rewrite):
            async def sender(
                self, reverse_path: Mailbox | None, options: MailOptions
            ) -> tuple[Mailbox | None, MailOptions]:
                return reverse_path, replace(options, smtputf8=True)

        async with serve(transform(inbox(Looking), Upgrade)) as served:
            peer = await served.ready()
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
            (real,), (view,) = served.server.connections, seen
            for name in ConnectionInfo.__slots__:
                if name != "envelope":
                    assert getattr(view, name) is getattr(real, name), name
            assert repr(view) == repr(real)
            with pytest.raises(AttributeError):
                getattr(view, "nonsense")  # noqa: B009 - what mypy would refuse
            view.close(Reply(421, "4.3.2", "enough"))
            assert await peer.reply() == "421 4.3.2 enough"

    run(scenario())


# --- LMTP. ---


class Store(Inbox):
    """Answers for each recipient by its name, as soon as it has read the message."""

    async def lmtp_data(self, body: Body, statuses: Statuses) -> Reply | None:
        self.told.append(await body.read())
        for recipient in statuses.recipients:
            name = recipient.mailbox.local_part
            if name.startswith("s"):
                code = int(name[1:4])
                statuses.set(recipient, Reply(code, None, name))
        return Reply(251, None, "rest")


class Groups(Transform):
    """``a_b`` stands for a and b; ``none`` for nobody."""

    async def recipient(self, forward_path: Mailbox, options: RcptOptions) -> Targets:
        names = forward_path.local_part.split("_")
        return [(Mailbox(n, "in.test"), options) for n in names if n != "none"]


@pytest.mark.parametrize(
    ("names", "statuses"),
    [
        (["s250"], ["250 2.0.0 s250"]),
        (["rest"], ["251 2.0.0 rest"]),
        (["s552", "rest", "s250"], ["552 5.0.0 s552", "251 2.0.0 rest", "250"]),
        (["none", "s452"], ["250 2.0.0 message accepted", "452 4.0.0 s452"]),
        (["s452", "none"], ["452 4.0.0 s452", "250 2.0.0 message accepted"]),
        (["s250_s251"], ["250 2.0.0 s250"]),
        (["s250_s552"], ["552 5.0.0 s552"]),
        (["s552_s452_s250"], ["452 4.0.0 s452"]),
        (["s250_rest"], ["250 2.0.0 s250"]),
        (["rest_s550"], ["550 5.0.0 s550"]),
        # The same mailbox twice is two recipients.
        (["s250", "s250_s550", "s250"], ["250", "550 5.0.0 s550", "250"]),
    ],
)
def test_statuses_find_their_way_back(
    run: Run, names: list[str], statuses: list[str]
) -> None:
    async def scenario() -> None:
        inner = inbox(Store)
        async with serve(transform(inner, Groups), lmtp=True) as served:
            peer = await served.ready()
            peer.send(b"MAIL FROM:<a@c.test>\r\n")
            for name in names:
                peer.send(f"RCPT TO:<{name}@mx.test>\r\n".encode())
            assert await peer.codes(1 + len(names)) == [250] * (1 + len(names))
            assert await peer.say(b"DATA\r\nhi\r\n.\r\n") == [354]
            heard = [await peer.reply() for _ in names]
            assert [
                one.startswith(expected)
                for one, expected in zip(heard, statuses, strict=True)
            ] == [True] * len(names), heard
            assert await peer.say(b"NOOP\r\n") == [250]

    run(scenario())


@pytest.mark.parametrize(
    ("result", "statuses"),
    [
        (None, [250, 550]),
        (Reply(250, None, "ok"), [250, 550]),
        (Reply(552, None, "no"), [552, 550]),
        (Reply(452, None, "later"), [452, 452]),
        (Refuse(552, None, "no"), [552, 550]),
        (Refuse(452, None, "later"), [452, 452]),
        (KeyError("fault"), [451, 451]),
        ("nonsense", [451, 451]),
        (Reply(354, None, "nonsense"), [451, 451]),
    ],
)
def test_what_the_hook_returns_is_for_the_rest(
    run: Run, result: object, statuses: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    class Half(Inbox):
        async def lmtp_data(self, body: Body, statuses: Statuses) -> Reply | None:
            await body.read()
            statuses.set(statuses.recipients[1], Reply(550, None, "no"))
            if isinstance(result, Exception):
                raise result
            return cast("Reply | None", result)

    async def scenario() -> None:
        async with serve(transform(inbox(Half), Groups), lmtp=True) as served:
            peer = await served.ready()
            peer.send(b"MAIL FROM:<>\r\nRCPT TO:<x@m.test>\r\nRCPT TO:<y_z@m.test>\r\n")
            assert await peer.codes(3) == [250, 250, 250]
            assert await peer.say(b"DATA\r\nhi\r\n.\r\nNOOP\r\n", 4) == [
                *(354, *statuses, 250)
            ]

    run(scenario())
    is_fault = not isinstance(result, Refuse | None) and statuses[0] == 451
    records = [one for one in caplog.records if one.name.startswith("smtpx")]
    assert bool(records) is is_fault


def test_a_status_is_sent_as_soon_as_it_is_known(run: Run) -> None:
    async def scenario() -> None:
        gate = asyncio.Event()

        class Slow(Inbox):
            async def lmtp_data(self, body: Body, statuses: Statuses) -> Reply | None:
                await body.read()
                first, second = statuses.recipients
                statuses.set(first, Reply(250, None, "first"))
                await gate.wait()
                statuses.set(second, Reply(250, None, "second"))
                return None

        async with serve(transform(inbox(Slow), Groups), lmtp=True) as served:
            peer = await served.ready()
            peer.send(b"MAIL FROM:<>\r\nRCPT TO:<x@m.test>\r\nRCPT TO:<y@m.test>\r\n")
            assert await peer.codes(3) == [250, 250, 250]
            assert await peer.say(b"DATA\r\nhi\r\n.\r\n") == [354]
            assert await peer.reply() == "250 2.0.0 first"
            gate.set()
            assert await peer.reply() == "250 2.0.0 second"

    run(scenario())


def test_misuse_of_statuses(run: Run) -> None:
    kept: list[Statuses] = []
    errors: list[type[Exception]] = []

    class Clumsy(Inbox):
        async def lmtp_data(self, body: Body, statuses: Statuses) -> Reply | None:
            kept.append(statuses)
            first, second = statuses.recipients
            for recipient, code in ((first, 354), (first, 250), (first, 250)):
                try:
                    statuses.set(recipient, Reply(code, None, "x"))
                except ValueError as error:
                    errors.append(type(error))
            assert second is not first
            return None

    async def scenario() -> None:
        async with serve(transform(inbox(Clumsy), Groups), lmtp=True) as served:
            peer = await served.ready()
            peer.send(b"MAIL FROM:<>\r\nRCPT TO:<x_y@m.test>\r\nDATA\r\nhi\r\n.\r\n")
            assert await peer.codes(4) == [250, 250, 354, 250]
            (statuses,) = kept
            with pytest.raises(RuntimeError, match="answered or aborted"):
                statuses.set(statuses.recipients[1], Reply(250))
        assert errors == [ValueError, ValueError]

    run(scenario())
    kept.clear()


def test_statuses_of_a_message_cut_off(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """A session that answers nevertheless does no wrong: nobody hears it."""
    ends: list[str] = []

    class Stubborn(Inbox):
        async def lmtp_data(self, body: Body, statuses: Statuses) -> Reply | None:
            with contextlib.suppress(MessageAborted):
                await body.read()
            return Reply(250, None, "whatever")

        async def closed(self, reason: str) -> None:
            ends.append(reason)

    async def scenario() -> None:
        ends.clear()
        async with serve(transform(inbox(Stubborn), Groups), lmtp=True) as served:
            peer = await served.ready()
            assert await peer.say(ENVELOPE + b"DATA\r\nx", 3) == [250, 250, 354]
            peer.abort()
            await until(lambda: bool(ends))

    run(scenario())
    assert [one for one in caplog.records if one.name.startswith("smtpx")] == []


def test_lmtp_of_a_session_that_knows_data_only(run: Run) -> None:
    async def scenario() -> None:
        inner = inbox()
        async with serve(transform(inner, Rewrite), lmtp=True) as served:
            peer = await served.ready()
            peer.send(b"MAIL FROM:<a@c.test>\r\n" + b"RCPT TO:<b@m.test>\r\n" * 2)
            assert await peer.codes(3) == [250, 250, 250]
            assert await peer.say(b"DATA\r\nhi\r\n.\r\n", 3) == [354, 250, 250]
        assert inner.told[-2] == (
            *("srs-a@relay.test", ["b@in.test"] * 2),
            b"X: 1\r\nHI\r\n",
        )

    run(scenario())


# --- The stream. ---


class Swallowing(Transform):
    """Catches all there is to catch, and ends as if nothing had been."""

    async def body(self, content: Body) -> AsyncGenerator[bytes, None]:
        try:
            async for block in content:
                yield block
        except MessageAborted:
            yield b"(the rest is silence)\r\n"


class Heading(Transform):
    """Reads no more than the first block."""

    async def body(self, content: Body) -> AsyncGenerator[bytes, None]:
        yield await anext(content)


@pytest.mark.parametrize("step", [Swallowing, Heading, Rewrite])
@pytest.mark.parametrize("lmtp", [False, True])
def test_a_message_cut_off_is_never_whole(
    run: Run, step: type[Transform], lmtp: bool
) -> None:
    async def scenario() -> None:
        ends: list[str] = []

        class Reading(Inbox):
            async def data(self, body: Body) -> Reply | None:
                try:
                    await body.read()
                except MessageAborted as error:
                    ends.append(error.reason)
                    raise
                raise AssertionError("half a message was taken for a whole one")

            async def closed(self, reason: str) -> None:
                ends.append("closed")

        async with serve(transform(inbox(Reading), step), lmtp=lmtp) as served:
            peer = await served.ready()
            peer.send(ENVELOPE + b"DATA\r\nhello\r\n")
            assert await peer.codes(3) == [250, 250, 354]
            peer.writer.write_eof()
            await until(lambda: "closed" in ends)
        assert ends == ["the client closed the connection", "closed"]

    run(scenario())


def test_a_message_cut_down_on_purpose(run: Run) -> None:
    async def scenario() -> None:
        inner = inbox()
        async with serve(transform(inner, Heading)) as served:
            peer = await served.ready()
            assert await peer.say(ENVELOPE + b"DATA\r\n", 3) == [250, 250, 354]
            peer.send(b"one\r\n")
            (info,) = served.server.connections
            assert info.envelope is not None
            await settle(lambda: 0)
            assert await peer.say(b"two\r\n" * 1_000 + b".\r\nNOOP\r\n", 2) == [
                *(250, 250)
            ]
        assert inner.told[2] == ("a@c.test", ["b@mx.test"], b"one\r\n")

    run(scenario())


def test_a_generator_that_fails(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    class Refusing(Transform):
        async def body(self, content: Body) -> AsyncGenerator[bytes, None]:
            block = await anext(content)
            if b"virus" in block:
                raise Refuse(554, "5.7.1", "we saw that")
            yield block[:0]
            raise KeyError(block)

    async def scenario() -> None:
        async with serve(transform(inbox(), Refusing)) as served:
            peer = await served.ready()
            data = ENVELOPE + b"DATA\r\nvirus\r\n.\r\n"
            assert await peer.say(data, 4) == [250, 250, 354, 554]
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 451]

    run(scenario())
    assert "a hook raised" in caplog.text


def test_nothing_is_read_that_nobody_waits_for(run: Run) -> None:
    async def scenario() -> None:
        gate = asyncio.Event()
        sources: list[Body] = []

        class Slow(Inbox):
            async def data(self, body: Body) -> Reply | None:
                await gate.wait()
                return await super().data(body)

        class Passing(Transform):
            async def body(self, content: Body) -> AsyncGenerator[bytes, None]:
                async for block in content:
                    yield block

            async def recipient(
                self, forward_path: Mailbox, options: RcptOptions
            ) -> Targets:
                return [(forward_path, options)]

        class Slower(Passing):
            def body(self, content: Body) -> AsyncGenerator[bytes, None]:
                sources.append(content)
                return super().body(content)

        inner = inbox(Slow)
        async with serve(transform(inner, Slower, Passing)) as served:
            peer = await served.ready()
            content = b"x" * 76 + b"\r\n"
            count = 100_000
            peer.send(ENVELOPE + b"DATA\r\n" + content * count + b".\r\n")
            await until(lambda: bool(sources))
            (source,) = sources
            held = await settle(lambda: source.octets_received)
            # The read-ahead, and what one read of the transport brings.
            assert held <= served.server.options.read_ahead_octets + 300_000
            assert held == source.buffered
            gate.set()
            assert await peer.codes(4) == [250, 250, 354, 250]
            assert len(inner.told[2][2]) == count * len(content)

    run(scenario())


def test_the_generator_is_closed_when_the_hook_returns(run: Run) -> None:
    ends: list[str] = []

    class Closing(Transform):
        async def body(self, content: Body) -> AsyncGenerator[bytes, None]:
            try:
                async for block in content:
                    yield block
            finally:
                ends.append("closed")

    class Hasty(Inbox):
        async def data(self, body: Body) -> Reply | None:
            await anext(body)
            return Reply(250, None, "enough")

    async def scenario() -> None:
        async with serve(transform(inbox(Hasty), Closing)) as served:
            peer = await served.ready()
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
            assert ends == ["closed"]

    run(scenario())
    ends.clear()


def test_who_reads_too_late_is_told(run: Run) -> None:
    """A task that a hook left behind never takes the end for that of the message."""

    async def scenario() -> None:
        outcomes: list[object] = []
        tasks: list[asyncio.Task[None]] = []

        class Careless(Inbox):
            async def data(self, body: Body) -> Reply | None:
                async def read() -> None:
                    try:
                        async for block in body:
                            outcomes.append(block)  # noqa: PERF401 - it will fail
                        outcomes.append("end")
                    except RuntimeError as error:
                        outcomes.append(str(error))

                tasks.append(asyncio.create_task(read()))
                await until(lambda: bool(outcomes))
                raise Refuse(452, None, "later")

        async with serve(transform(inbox(Careless), Rewrite)) as served:
            peer = await served.ready()
            assert await peer.say(ENVELOPE + b"DATA\r\nhi\r\n", 3) == [250, 250, 354]
            # The reader waits for the client when the hook returns.
            await asyncio.gather(*tasks)
            assert await peer.say(b".\r\n") == [452]
        assert outcomes[0] == b"X: 1\r\n"
        assert outcomes[-1] == "a message body is read before its hook returns"

    run(scenario())


def test_a_reader_after_the_end_is_told(run: Run) -> None:
    bodies: list[Body] = []

    class Keeping(Inbox):
        async def data(self, body: Body) -> Reply | None:
            bodies.append(body)
            return None

    async def scenario() -> None:
        async with serve(transform(inbox(Keeping), Rewrite)) as served:
            peer = await served.ready()
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
            with pytest.raises(RuntimeError, match="before its hook returns"):
                await bodies.pop().read()

    run(scenario())

"""Hooks of a session on a socket: what they may do, and what comes of it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from smtpx.errors import Refuse
from smtpx.server.body import Body
from smtpx.server.session import ConnectionInfo, Session
from smtpx.wire.address import Mailbox
from smtpx.wire.params import MailOptions, RcptOptions
from smtpx.wire.replies import Reply
from tests.server.conftest import Run
from tests.server.peers import Peer, Served, Signal, recorder, serve, until

ENVELOPE = b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\n"
MESSAGE = ENVELOPE + b"DATA\r\nhi\r\n.\r\n"


@pytest.mark.parametrize("is_suspending", [False, True])
def test_a_session_from_connect_to_quit(  # noqa: C901 - every hook there is
    run: Run, is_suspending: bool
) -> None:
    seen: list[object] = []

    async def pause() -> None:
        if is_suspending:
            await asyncio.sleep(0)

    class Inbox(Session):
        async def connected(self) -> Reply:
            await pause()
            return Reply(220, None, "welcome")

        async def hello(self, name: str) -> None:
            await pause()
            seen.append(("hello", name))

        async def mail(
            self, reverse_path: Mailbox | None, options: MailOptions
        ) -> None:
            await pause()
            seen.append(("mail", str(reverse_path), options.size))

        async def rcpt(self, forward_path: Mailbox, options: RcptOptions) -> Reply:
            await pause()
            seen.append(("rcpt", str(forward_path)))
            return Reply(250, "2.1.5", "fine")

        async def start_data(self) -> None:
            await pause()
            seen.append("start_data")

        async def data(self, body: Body) -> Reply:
            await pause()
            recipients = [str(r.mailbox) for r in self.envelope.recipients]
            content = await body.read()
            seen.append(("data", recipients, content, self.connection.protocol))
            return Reply(250, "2.0.0", "queued as 77")

        async def verify(self, text: str) -> Reply:
            await pause()
            return Reply(250, None, f"<{text}@mx.test>")

        async def expand(self, text: str) -> Reply:
            await pause()
            return Reply(250, None, text)

        async def help(self, topic: str) -> Reply:
            await pause()
            return Reply(214, None, f"no help for {topic}")

        async def reset(self) -> None:
            await pause()
            seen.append("reset")

        async def closed(self, reason: str) -> None:
            await pause()
            seen.append(("closed", reason))

    async def scenario() -> None:
        async with serve(Inbox) as served:
            peer = await served.connect()
            assert await peer.reply() == "220 mx.test ESMTP welcome"
            assert await peer.say(b"EHLO c.test\r\n") == [250]
            assert await peer.ask(b"VRFY bob\r\n") == "250 2.0.0 <bob@mx.test>"
            assert await peer.ask(b"EXPN all\r\n") == "250 2.0.0 all"
            assert await peer.ask(b"HELP me\r\n") == "214 2.0.0 no help for me"
            assert await peer.say(b"MAIL FROM:<a@c.test> SIZE=9\r\n") == [250]
            assert await peer.ask(b"RCPT TO:<b@mx.test>\r\n") == "250 2.1.5 fine"
            assert await peer.say(b"DATA\r\n") == [354]
            assert await peer.ask(b"hi\r\n.\r\n") == "250 2.0.0 queued as 77"
            assert await peer.say(b"QUIT\r\n") == [221]
            assert await peer.rest() == b""
            await until(lambda: not served.server.connections)
        assert seen == [
            ("hello", "c.test"),
            ("mail", "a@c.test", 9),
            ("rcpt", "b@mx.test"),
            "start_data",
            ("data", ["b@mx.test"], b"hi\r\n", "ESMTP"),
            "reset",
            ("closed", "QUIT"),
        ]

    run(scenario())


def test_defaults_need_no_task(run: Run) -> None:
    async def scenario() -> None:
        async with serve(Session) as served:
            peer = await served.ready()
            # Nobody takes the message, but each reply is there.
            assert await peer.say(
                b"NOOP\r\nVRFY x\r\nEXPN x\r\nHELP\r\nRSET\r\n", 5
            ) == [250, 252, 502, 214, 250]
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 554]
            assert await peer.say(b"NOOP\r\nQUIT\r\n", 2) == [250, 221]
            assert await peer.rest() == b""

    run(scenario())


def test_everything_in_one_write(run: Run) -> None:
    async def scenario() -> None:
        inbox = recorder()
        async with serve(inbox) as served:
            peer = await served.connect()
            peer.send(b"EHLO c.test\r\n" + MESSAGE * 3 + b"QUIT\r\n")
            assert await peer.codes(2 + 12 + 1) == (
                [220, 250] + [250, 250, 354, 250] * 3 + [221]
            )
            assert await peer.rest() == b""
            assert inbox.messages == [b"hi\r\n"] * 3
            await until(lambda: not served.server.connections)
        assert inbox.log == ["data", "reset"] * 3 + ["closed: QUIT"]

    run(scenario())


def test_octet_by_octet(run: Run) -> None:
    async def scenario() -> None:
        inbox = recorder()
        async with serve(inbox) as served:
            peer = await served.ready()
            for octet in MESSAGE:
                peer.send(bytes([octet]))
                await asyncio.sleep(0)
            assert await peer.codes(4) == [250, 250, 354, 250]
            assert inbox.messages == [b"hi\r\n"]

    run(scenario())


# --- What a hook may raise and return. ---

HOOKS = {
    "connected": b"",
    "hello": b"EHLO c.test\r\n",
    "mail": b"MAIL FROM:<a@c.test>\r\n",
    "rcpt": b"RCPT TO:<b@mx.test>\r\n",
    "start_data": b"DATA\r\n",
    "data": b"DATA\r\nhi\r\n.\r\n",
    "verify": b"VRFY bob\r\n",
    "expand": b"EXPN all\r\n",
    "help": b"HELP\r\n",
}


async def play_up_to(peer: Peer, hook: str) -> str:
    """Say what leads up to a hook; return the reply to it."""
    if hook == "connected":
        return await peer.reply()
    assert await peer.codes(1) == [220]
    if hook != "hello":
        await peer.say(b"EHLO c.test\r\n")
    if hook in {"rcpt", "start_data", "data"}:
        await peer.say(HOOKS["mail"])
    if hook in {"start_data", "data"}:
        await peer.say(HOOKS["rcpt"])
    answered = await peer.ask(HOOKS[hook])
    if hook == "data":
        assert answered.startswith("354")
        return await peer.reply()
    return answered


def hook_that(act: Callable[[], object]) -> object:
    async def hook(self: Session, *_arguments: object) -> object:
        await asyncio.sleep(0)
        return act()

    return hook


def fail(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize("hook", HOOKS)
def test_refused(run: Run, hook: str) -> None:
    error = Refuse(550, "5.7.1", "not you")
    session = recorder(**{hook: hook_that(fail(error))})

    async def scenario() -> None:
        async with serve(session) as served:
            peer = await served.connect()
            expected = "550 not you" if hook == "connected" else "550 5.7.1 not you"
            assert (await play_up_to(peer, hook)).replace("5.7.1 ", "") == (
                expected.replace("5.7.1 ", "")
            )
            assert await peer.say(b"QUIT\r\n") == [221]

    run(scenario())


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("hook", HOOKS)
def test_any_other_exception_leaks_nothing(
    run: Run, hook: str, is_late: bool, caplog: pytest.LogCaptureFixture
) -> None:
    error = KeyError("secret of the server")

    async def at_once(self: Session, *_arguments: object) -> None:
        raise error

    session = recorder(**{hook: hook_that(fail(error)) if is_late else at_once})

    async def scenario() -> None:
        async with serve(session) as served:
            peer = await served.connect()
            answered = await play_up_to(peer, hook)
            assert answered == (
                "421 4.3.0 local error, try again later"
                if hook == "connected"
                else "451 4.3.0 local error, try again later"
            )
            if hook != "connected":
                assert await peer.say(b"NOOP\r\n") == [250]

    with caplog.at_level(logging.ERROR, "smtpx.server"):
        run(scenario())
    (record,) = [each for each in caplog.records if each.name == "smtpx.server"]
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def no_arguments(self: Session) -> None:
    """Take fewer arguments than a hook is given."""


async def too_many(self: Session, a: object, b: object, c: object) -> None:
    """Take more arguments than a hook is given."""


def not_async(self: Session, *_arguments: object) -> None:
    raise Refuse(550, None, "raised without a coroutine")


@pytest.mark.parametrize(
    ("mistake", "code"), [(no_arguments, "451"), (too_many, "451"), (not_async, "550")]
)
@pytest.mark.parametrize("hook", ["mail", "rcpt", "data", "verify"])
def test_a_hook_of_the_wrong_form(
    run: Run, hook: str, mistake: object, code: str
) -> None:
    session = recorder(**{hook: mistake})

    async def scenario() -> None:
        async with serve(session) as served:
            peer = await served.connect()
            assert (await play_up_to(peer, hook)).startswith(code)
            assert await peer.say(b"NOOP\r\n") == [250]

    run(scenario())


@pytest.mark.parametrize("value", ["250 OK", 250, True, b"250"])
@pytest.mark.parametrize("hook", ["mail", "data"])
def test_wrong_type_returned(
    run: Run, hook: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    session = recorder(**{hook: hook_that(lambda: value)})

    async def scenario() -> None:
        async with serve(session) as served:
            peer = await served.connect()
            assert (await play_up_to(peer, hook)).startswith("451 4.3.0")

    run(scenario())
    assert "no Reply" in caplog.text


@pytest.mark.parametrize(
    ("hook", "code"),
    [("mail", 354), ("start_data", 250), ("data", 354), ("hello", 334)],
)
def test_reply_that_makes_no_sense_there(
    run: Run, hook: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    session = recorder(**{hook: hook_that(lambda: Reply(code))})

    async def scenario() -> None:
        async with serve(session) as served:
            peer = await served.connect()
            assert (await play_up_to(peer, hook)).startswith("451 4.3.0")
            assert await peer.say(b"NOOP\r\n") == [250]

    run(scenario())
    assert "answered out of place" in caplog.text


def test_text_of_a_reply_does_not_split_it(run: Run) -> None:
    reply = Reply(550, "5.7.1", "a\r\n250 x\nb\0")
    session = recorder(mail=hook_that(lambda: reply))

    async def scenario() -> None:
        async with serve(session) as served:
            peer = await served.ready()
            answered = await peer.ask(b"MAIL FROM:<>\r\n")
            assert answered == "550-5.7.1 a\n550-5.7.1 250 x\n550 5.7.1 b?"

    run(scenario())


def test_reset_and_closed_may_fail(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    session = recorder(
        reset=hook_that(fail(ValueError("reset"))),
        closed=hook_that(fail(ValueError("closed"))),
    )

    async def scenario() -> None:
        async with serve(session) as served:
            peer = await served.ready()
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
            assert await peer.say(b"QUIT\r\n") == [221]
            await until(lambda: not served.server.connections)

    run(scenario())
    assert caplog.text.count("a hook raised") == 2


# --- What a hook may use. ---


def test_asyncio_timeout_in_a_hook(run: Run) -> None:
    class Slow(Session):
        async def mail(
            self, reverse_path: Mailbox | None, options: MailOptions
        ) -> Reply:
            try:
                async with asyncio.timeout(0.001):
                    await asyncio.Event().wait()
            except TimeoutError:
                return Reply(451, None, "timed out in peace")
            return Reply(250)

    async def scenario() -> None:
        async with serve(Slow) as served:
            peer = await served.ready()
            for _ in range(3):
                answered = await peer.ask(b"MAIL FROM:<>\r\n")
                assert answered == "451 4.0.0 timed out in peace"

    run(scenario())


def test_task_group_in_a_hook(run: Run) -> None:
    class Grouped(Session):
        async def mail(
            self, reverse_path: Mailbox | None, options: MailOptions
        ) -> Reply:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(asyncio.sleep(0, n)) for n in range(3)]
            return Reply(250, None, f"{sum(task.result() for task in tasks)}")

        async def rcpt(self, forward_path: Mailbox, options: RcptOptions) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.fail())

        async def fail(self) -> None:
            raise ValueError("in a group")

    async def scenario() -> None:
        async with serve(Grouped) as served:
            peer = await served.ready()
            assert await peer.ask(b"MAIL FROM:<>\r\n") == "250 2.0.0 3"
            assert await peer.say(b"RCPT TO:<b@mx.test>\r\n") == [451]
            assert await peer.say(b"RSET\r\n") == [250]
            assert await peer.ask(b"MAIL FROM:<>\r\n") == "250 2.0.0 3"

    run(scenario())


def test_contextvars_last_for_the_connection(run: Run) -> None:
    client: contextvars.ContextVar[str] = contextvars.ContextVar("client")

    class Named(Session):
        async def hello(self, name: str) -> None:
            client.set(name)

        async def mail(
            self, reverse_path: Mailbox | None, options: MailOptions
        ) -> Reply:
            await asyncio.sleep(0)
            return Reply(250, None, client.get("nobody"))

        async def verify(self, text: str) -> Reply:
            return Reply(250, None, client.get("nobody"))

    async def scenario() -> None:
        async with serve(Named) as served:
            first, second = await served.greeted(), await served.greeted()
            assert await first.say(b"EHLO one.test\r\n") == [250]
            assert await second.ask(b"VRFY x\r\n") == "250 2.0.0 nobody"
            assert await second.say(b"EHLO two.test\r\n") == [250]
            assert await first.ask(b"VRFY x\r\n") == "250 2.0.0 one.test"
            assert await second.ask(b"MAIL FROM:<>\r\n") == "250 2.0.0 two.test"
            assert await first.ask(b"MAIL FROM:<>\r\n") == "250 2.0.0 one.test"
        assert client.get("nobody") == "nobody"

    run(scenario())


def test_cancelled_error_of_somebody_else(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    # A hook that awaits a task which is cancelled fails; its connection does not.
    class Unlucky(Session):
        async def mail(
            self, reverse_path: Mailbox | None, options: MailOptions
        ) -> None:
            task = asyncio.create_task(asyncio.Event().wait())
            asyncio.get_running_loop().call_soon(task.cancel)
            await task

        async def verify(self, text: str) -> None:
            raise asyncio.CancelledError

    async def scenario() -> None:
        async with serve(Unlucky) as served:
            peer = await served.ready()
            assert await peer.say(b"MAIL FROM:<>\r\nNOOP\r\n", 2) == [451, 250]
            assert await peer.say(b"VRFY x\r\nNOOP\r\n", 2) == [451, 250]

    run(scenario())
    assert caplog.text.count("a hook raised") == 2


def test_hooks_of_one_connection_never_overlap(run: Run) -> None:
    class Counted(Session):
        running = 0

        async def mail(
            self, reverse_path: Mailbox | None, options: MailOptions
        ) -> None:
            await self.work()

        async def rcpt(self, forward_path: Mailbox, options: RcptOptions) -> None:
            await self.work()

        async def data(self, body: Body) -> None:
            await self.work()

        async def reset(self) -> None:
            await self.work()

        async def work(self) -> None:
            assert self.running == 0
            self.running += 1
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.running -= 1

    async def scenario() -> None:
        async with serve(Counted) as served:
            peer = await served.ready()
            codes = await peer.say(MESSAGE * 20, 80)
            assert codes == [250, 250, 354, 250] * 20

    run(scenario())


def test_replies_before_a_suspended_hook_leave_at_once(run: Run) -> None:
    async def scenario() -> None:
        gate = asyncio.Event()

        class Waiting(Session):
            async def rcpt(self, forward_path: Mailbox, options: RcptOptions) -> None:
                await gate.wait()

        async with serve(Waiting) as served:
            peer = await served.ready()
            peer.send(b"NOOP\r\n" + ENVELOPE + b"NOOP\r\n")
            # The gate is shut: these came before it.
            assert await peer.codes(2) == [250, 250]
            gate.set()
            assert await peer.codes(2) == [250, 250]

    run(scenario())


def test_hook_before_354_may_refuse(run: Run) -> None:
    async def scenario() -> None:
        inbox = recorder(
            start_data=hook_that(fail(Refuse(452, "4.3.1", "disk is full")))
        )
        async with serve(inbox) as served:
            peer = await served.ready()
            assert await peer.say(ENVELOPE, 2) == [250, 250]
            assert await peer.ask(b"DATA\r\n") == "452 4.3.1 disk is full"
            assert await peer.say(ENVELOPE, 2) == [250, 250]
            peer.send(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
            assert await peer.codes(2) == [452, 250]
            assert inbox.log == ["reset", "reset"]

    run(scenario())


# --- The connection's facts, its end, its factory. ---


def test_facts_about_a_connection(run: Run) -> None:
    async def scenario() -> None:
        infos: list[ConnectionInfo] = []

        class Nosy(Session):
            async def connected(self) -> None:
                infos.append(self.connection)

        async with serve(Nosy) as served:
            peer = await served.greeted()
            (info,) = infos
            assert served.server.connections == (info,)
            host, port = peer.writer.get_extra_info("sockname")
            assert info.peer == f"{host}:{port}"
            assert str(info.peer_ip) == "127.0.0.1"
            assert info.local == served.server.addresses[0]
            assert info.hostname == "mx.test"
            assert info.is_local
            assert not info.is_lmtp
            assert (info.hello_name, info.user, info.tls) == (None, None, None)
            assert len(info.id) == 12
            assert repr(info) == f"<ConnectionInfo {info.id} SMTP from {info.peer}>"
            await peer.say(b"HELO c.test\r\n")
            assert (info.hello_name, info.protocol) == ("c.test", "SMTP")
            await peer.say(b"EHLO d.test\r\n")
            assert (info.hello_name, info.protocol) == ("d.test", "ESMTP")
            await peer.say(b"MAIL FROM:<a@c.test>\r\n")
            assert info.envelope is not None
            await peer.say(b"RSET\r\n")
            assert info.envelope is None

    run(scenario())


def test_a_session_ends_its_own_connection(run: Run) -> None:
    async def scenario() -> None:
        class Curt(recorder()):  # type: ignore[misc]
            async def mail(
                self, reverse_path: Mailbox | None, options: MailOptions
            ) -> None:
                self.connection.close(Reply(421, "4.7.0", "enough of you"))

        async with serve(Curt) as served:
            peer = await served.ready()
            peer.send(ENVELOPE)
            assert await peer.rest() == b"421 4.7.0 enough of you\r\n"
            await peer.close()
            await until(lambda: not served.server.connections)
        assert Curt.log == ["closed: enough of you"]

    run(scenario())


@pytest.mark.parametrize("is_busy", [False, True])
def test_closed_from_outside(run: Run, is_busy: bool) -> None:
    async def scenario() -> None:
        started = Signal()

        async def mail(self: Session, *_arguments: object) -> None:
            await started.set()
            await asyncio.Event().wait()

        session = recorder(mail=mail)
        async with serve(session) as served:
            peer = await served.ready()
            if is_busy:
                peer.send(b"MAIL FROM:<>\r\n")
                await started.wait()
            (info,) = served.server.connections
            info.close()
            assert (await peer.rest()).startswith(b"421 4.3.2 ")
        assert len(session.log) == 1
        assert session.log[0].startswith("closed: ")

    run(scenario())


@pytest.mark.parametrize("is_session", [True, False])
def test_factory_that_fails(
    run: Run, is_session: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def factory(info: ConnectionInfo) -> Session:
        if is_session:
            raise ValueError("no session today")
        return cast("Session", "not a session")

    async def scenario() -> None:
        async with serve(factory) as served:
            peer = await served.connect()
            assert (
                await peer.rest() == b"421 4.3.0 local error; connect again later\r\n"
            )
            await peer.close()
            await until(lambda: not served.server.connections)
            # The next one is not harmed.
            again = await served.connect()
            assert (await again.rest()).startswith(b"421")

    run(scenario())
    assert "no session could be made" in caplog.text


async def quit_it(served: Served, peer: Peer) -> None:
    await peer.say(b"QUIT\r\n")


async def half_close(served: Served, peer: Peer) -> None:
    peer.writer.write_eof()
    assert await peer.rest() == b""


async def vanish(served: Served, peer: Peer) -> None:
    peer.abort()


async def err(served: Served, peer: Peer) -> None:
    assert (await peer.say(b"X\r\n" * 10, 10))[-1] == 421


async def be_closed(served: Served, peer: Peer) -> None:
    served.server.connections[0].close()


async def close_server(served: Served, peer: Peer) -> None:
    await served.server.close()


async def vanish_in_data(served: Served, peer: Peer) -> None:
    await peer.say(b"RCPT TO:<b@mx.test>\r\nDATA\r\n", 2)
    peer.send(b"hal")
    await until(lambda: served.server.connections[0].envelope is not None)
    peer.abort()


async def vanish_in_hook(served: Served, peer: Peer) -> None:
    peer.send(b"VRFY somebody\r\n")
    await asyncio.sleep(0)
    peer.abort()


WAYS_TO_END = [
    quit_it,
    half_close,
    vanish,
    err,
    be_closed,
    close_server,
    vanish_in_data,
    vanish_in_hook,
]


@pytest.mark.parametrize("way", WAYS_TO_END)
def test_closed_is_called_exactly_once(
    run: Run, way: Callable[[Served, Peer], Awaitable[None]]
) -> None:
    async def verify(self: Session, text: str) -> None:
        await asyncio.sleep(0.01)

    async def scenario() -> None:
        session = recorder(verify=verify)
        async with serve(session) as served:
            peer = await served.ready()
            await peer.say(b"MAIL FROM:<>\r\n")
            await way(served, peer)
            await peer.close()
            await until(lambda: not served.server.connections)
        log = [entry for entry in session.log if entry != "data"]
        assert log[:-1] == ["reset"]
        assert log[-1].startswith("closed: ")
        assert session.messages == []

    run(scenario())


def test_reset_is_called_once_a_transaction(run: Run) -> None:
    async def scenario() -> None:
        inbox = recorder()
        async with serve(inbox) as served:
            peer = await served.ready()
            await peer.say(b"RSET\r\nEHLO c.test\r\n", 2)
            assert inbox.log == []
            await peer.say(ENVELOPE + b"RSET\r\nRSET\r\n", 4)
            assert inbox.log == ["reset"]
            await peer.say(ENVELOPE + b"EHLO c.test\r\n", 3)
            assert inbox.log == ["reset"] * 2
            await peer.say(MESSAGE, 4)
            await peer.say(b"NOOP\r\n")
            assert inbox.log == ["reset"] * 2 + ["data", "reset"]

    run(scenario())


def test_a_hook_goes_on_when_the_client_is_gone(run: Run) -> None:
    async def scenario() -> None:
        started, gate = Signal(), asyncio.Event()
        done: list[str] = []

        class Careful(recorder()):  # type: ignore[misc]
            async def data(self, body: Body) -> None:
                await body.read()
                await started.set()
                await gate.wait()
                done.append("stored")

        async with serve(Careful) as served:
            peer = await served.ready()
            peer.send(MESSAGE)
            await started.wait()
            peer.abort()
            await peer.close()
            gate.set()
            await until(lambda: not served.server.connections)
        assert done == ["stored"]
        assert Careful.log[0] == "reset"
        assert len(Careful.log) == 2

    run(scenario())


def test_wire_log_of_a_connection(run: Run) -> None:
    async def scenario() -> None:
        lines: list[tuple[str, str]] = []

        def write(session: str, line: str) -> None:
            lines.append((session, line))

        async with serve(recorder(), wire_log=write) as served:
            peer = await served.greeted()
            await peer.say(b"NOOP\r\n")
            (info,) = served.server.connections
        assert lines[:3] == [
            (info.id, "S: 220 mx.test ESMTP smtpx"),
            (info.id, "C: NOOP"),
            (info.id, "S: 250 2.0.0 OK"),
        ]

    run(scenario())


@pytest.mark.parametrize("is_started", [True, False])
def test_loop_that_ends_under_a_hook(run: Run, is_started: bool) -> None:
    # Tasks are cancelled at the end of a loop: nothing is left over.
    begun: list[str] = []
    ended: list[str] = []

    class Endless(Session):
        async def mail(
            self, reverse_path: Mailbox | None, options: MailOptions
        ) -> None:
            begun.append("mail")
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("mail")

        async def closed(self, reason: str) -> None:
            ended.append("closed")

    async def scenario() -> None:
        async with serve(Endless) as served:
            peer = await served.ready()
            peer.send(b"MAIL FROM:<>\r\n")

            def pumps() -> list[asyncio.Task[Any]]:
                tasks = asyncio.all_tasks()
                return [each for each in tasks if "pump" in repr(each.get_coro())]

            await until(lambda: bool(pumps()))
            if is_started:
                await until(lambda: "mail" in begun)
            for task in pumps():
                task.cancel()
            assert await peer.rest() in {b"", b"(reset)"}
            await until(lambda: not served.server.connections)

    run(scenario())
    assert ended == [*begun, "closed"]

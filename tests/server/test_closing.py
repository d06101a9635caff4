"""``Server.close`` stops now, whatever the hooks and the clients are doing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref

import pytest

from smtpx.server.body import Body
from smtpx.server.connection import Connection
from smtpx.server.events import ClosedEvent, ServerEvent
from smtpx.server.options import ServerOptions, ServerTimeouts
from smtpx.server.session import Session
from smtpx.wire.address import Mailbox
from smtpx.wire.params import MailOptions, RcptOptions
from smtpx.wire.replies import Reply
from tests.server.conftest import Certificates, Run
from tests.server.peers import Signal, serve, settle, tight_listener, until


def test_pipelined_commands_start_no_hook_after_close(run: Run) -> None:
    started: list[str] = []
    waiting = Signal()

    class Slow(Session):
        async def mail(
            self, reverse_path: Mailbox | None, options: MailOptions
        ) -> None:
            started.append(str(reverse_path))
            await waiting.set()
            await asyncio.Event().wait()

    async def scenario() -> None:
        async with serve(Slow) as served:
            peer = await served.ready()
            peer.send(b"".join(b"MAIL FROM:<%d@a.test>\r\n" % n for n in range(20)))
            await waiting.wait()
            await served.server.close()
            assert b"250" not in await peer.rest()

    run(scenario())
    assert started == ["0@a.test"]


def test_hooks_that_clean_up_get_the_linger_time_and_no_more(run: Run) -> None:
    ended: list[str] = []

    class Slow(Session):
        async def closed(self, reason: str) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(reason)

    async def scenario() -> None:
        async with serve(Slow, timeouts=ServerTimeouts(linger=0.02)) as served:
            await served.ready()
            await served.server.close()

    run(scenario())
    assert ended == ["the server is closing"]


@pytest.mark.parametrize("hook", ["data", "closed"])
@pytest.mark.parametrize("is_watched", [False, True])
def test_a_hook_that_swallows_every_cancellation_is_abandoned(
    run: Run, hook: str, is_watched: bool, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []
    told: list[ServerEvent] = []
    started, gate, done = Signal(), asyncio.Event(), asyncio.Event()

    async def be_stubborn() -> None:
        await started.set()
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                said.append("swallowed")
        done.set()

    class Stubborn(Session):
        async def data(self, body: Body) -> None:
            if hook == "data":
                await be_stubborn()

        async def closed(self, reason: str) -> None:
            said.append("closed")
            if hook == "closed":
                await be_stubborn()

    async def scenario() -> None:
        async with serve(
            Stubborn,
            timeouts=ServerTimeouts(linger=0.02),
            events=told.append if is_watched else (),
        ) as served:
            peer = await served.ready()
            peer.send(b"MAIL FROM:<>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\nhi\r\n.\r\n")
            if hook == "data":
                await started.wait()
            else:
                assert await peer.codes(4) == [250, 250, 354, 250]
            await served.server.close()
            assert served.server.connections == ()
            assert said.count("swallowed") == 2
            # It ends after all, and the session is told of its end once.
            gate.set()
            await done.wait()
            await settle(lambda: 0)
        assert said.count("closed") == 1

    run(scenario())
    assert caplog.text.count("abandoning it;") == 1
    assert (
        len([event for event in told if isinstance(event, ClosedEvent)]) == is_watched
    )


def test_a_stubborn_hook_is_abandoned_when_its_client_is_gone(
    run: Run,
) -> None:
    swallowed: list[int] = []
    gate = asyncio.Event()

    class Stubborn(Session):
        async def verify(self, text: str) -> None:
            while not gate.is_set():
                try:
                    await gate.wait()
                except asyncio.CancelledError:
                    swallowed.append(1)

    async def scenario() -> None:
        async with serve(Stubborn, timeouts=ServerTimeouts(handler=0.02)) as served:
            peer = await served.ready()
            peer.send(b"VRFY x\r\n")
            await until(lambda: len(swallowed) == 3)
            # As long as the client waits, the hook may clean up.
            assert served.server.connections
            peer.abort()
            await until(lambda: not served.server.connections)
            other = await served.ready()
            assert await other.say(b"NOOP\r\n") == [250]
            gate.set()
            await settle(lambda: 0)

    run(scenario())


def test_a_hook_that_cancels_its_own_task_leaves_nothing_behind(run: Run) -> None:
    ended: list[str] = []

    class Suicidal(Session):
        async def rcpt(self, forward_path: Mailbox, options: RcptOptions) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.Event().wait()

        async def closed(self, reason: str) -> None:
            ended.append(reason)

    async def scenario() -> None:
        async with serve(Suicidal) as served:
            peer = await served.ready()
            assert await peer.say(b"MAIL FROM:<a@c.test>\r\n") == [250]
            peer.send(b"RCPT TO:<b@mx.test>\r\n")
            await peer.rest()
            await served.server.close()

    run(scenario())
    assert len(ended) == 1


MESSAGE = b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\nBDAT 5 LAST\r\nhello"


@pytest.mark.parametrize(
    ("is_stored", "heard"), [(True, ["250", "421"]), (False, ["421"])]
)
def test_what_became_of_a_message_is_told_before_the_end(
    run: Run, is_stored: bool, heard: list[str]
) -> None:
    """A 421 while the hook stores would have the client send it a second time."""
    started = Signal()

    class Storing(Session):
        async def data(self, body: Body) -> Reply:
            await body.read()
            await started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                # Too late: a thread may be writing it.
                if not is_stored:
                    raise
            return Reply(250, "2.0.0", "stored")

    async def scenario() -> None:
        async with serve(Storing) as served:
            peer = await served.ready()
            peer.send(MESSAGE)
            await started.wait()
            (info,) = served.server.connections
            info.close()
            info.close(Reply(421, "4.7.0", "too late"))
            said = (await peer.rest()).decode().splitlines()
            assert said[-1].startswith("421 4.3.2 ")
            assert [line[:3] for line in said] == ["250", "250", *heard]
            await peer.close()
            await until(lambda: not served.server.connections)

    run(scenario())


def test_a_hook_that_ends_the_session_has_its_say(run: Run) -> None:
    class Curt(Session):
        async def data(self, body: Body) -> Reply:
            await body.read()
            await asyncio.sleep(0)
            self.connection.close(Reply(421, "4.7.0", "enough of you"))
            await asyncio.sleep(0)
            return Reply(250, "2.0.0", "stored")

    async def scenario() -> None:
        async with serve(Curt) as served:
            peer = await served.ready()
            peer.send(MESSAGE)
            said = (await peer.rest()).split(b"\r\n")
            assert said[2:] == [b"250 2.0.0 stored", b"421 4.7.0 enough of you", b""]
            await peer.close()
            await until(lambda: not served.server.connections)

    run(scenario())


@pytest.mark.parametrize("session_seconds", [60.0, 0.1])
def test_a_stubborn_hook_does_not_keep_a_session_from_its_end(
    run: Run, session_seconds: float
) -> None:
    started, gate = Signal(), asyncio.Event()
    swallowed: list[int] = []

    class Stubborn(Session):
        async def data(self, body: Body) -> None:
            await started.set()
            while not gate.is_set():
                try:
                    await gate.wait()
                except asyncio.CancelledError:
                    swallowed.append(1)

    async def scenario() -> None:
        times = ServerTimeouts(handler=0.2, session=session_seconds)
        async with serve(Stubborn, timeouts=times) as served:
            peer = await served.ready()
            peer.send(MESSAGE)
            await started.wait()
            if session_seconds == 60.0:
                served.server.connections[0].close()
            await until(lambda: not served.server.connections)
            assert b"421" not in await peer.rest()
            gate.set()

    run(scenario())
    assert len(swallowed) == 2


def test_the_time_of_a_session_ends_while_a_message_is_stored(run: Run) -> None:
    class Slow(Session):
        async def data(self, body: Body) -> Reply:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            return Reply(250, "2.0.0", "stored")

    async def scenario() -> None:
        async with serve(Slow, timeouts=ServerTimeouts(session=0.3)) as served:
            peer = await served.ready()
            peer.send(MESSAGE)
            said = (await peer.rest()).split(b"\r\n")
            assert [line[:3] for line in said[2:]] == [b"250", b"421", b""]

    run(scenario())


def test_a_transport_that_has_closed_is_not_aborted(run: Run) -> None:
    """asyncio's raises AttributeError if it had something to write when it closed."""
    closing, gate = Signal(), asyncio.Event()

    class Slow(Session):
        async def help(self, topic: str) -> Reply:
            return Reply(214, "2.0.0", "x\n" * 300_000)

        async def closed(self, reason: str) -> None:
            await closing.set()
            await gate.wait()

    async def scenario() -> None:
        async with serve(Slow) as served:
            peer = await served.ready()
            peer.send(b"HELP\r\nQUIT\r\n")
            await peer.rest()
            await peer.close()
            await closing.wait()
            await served.server.close()

    run(scenario())


def test_mechanisms_that_nobody_knows_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="no mechanism FOO is known"):
        ServerOptions(auth_mechanisms=("PLAIN", "FOO"))


def test_a_client_that_resets_while_nobody_reads_leaves_nothing_behind(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    bodies: list[Body] = []
    go_on = Signal()

    class Lagging(Session):
        async def data(self, body: Body) -> None:
            bodies.append(body)
            await go_on.wait()

    async def scenario() -> None:
        async with serve(Lagging, read_ahead_octets=1) as served:
            peer = await served.ready()
            peer.send(b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\n")
            peer.send(b"BDAT 300000 LAST\r\n" + b"x" * 100_000)
            await until(lambda: bool(bodies) and bodies[0].octets_received > 1)
            (info,) = served.server.connections
            info.close()
            peer.abort()
            # The reset comes to the server's socket; nobody reads, so nobody is told.
            await settle(lambda: 0)
            await go_on.set()
            await until(lambda: not served.server.connections)

    run(scenario())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_session_that_ended_is_freed_at_once(run: Run) -> None:
    alive: weakref.WeakSet[Session] = weakref.WeakSet()

    class Inbox(Session):
        async def mail(
            self, reverse_path: Mailbox | None, options: MailOptions
        ) -> None:
            alive.add(self)

    async def scenario() -> None:
        async with serve(Inbox) as served:
            peer = await served.ready()
            assert await peer.say(b"MAIL FROM:<a@c.test>\r\n") == [250]
            info = next(iter(alive)).connection
            assert await peer.say(b"QUIT\r\n") == [221]
            await until(lambda: not served.server.connections)
            # Without waiting for the garbage collector.
            await until(lambda: not alive)
            # Whoever keeps the facts has no connection any more, and cannot end it.
            info.close()

    gc.collect()
    gc.disable()
    try:
        run(scenario())
    finally:
        gc.enable()


def test_a_connection_lost_under_tls_in_the_turn_of_a_hook_leaves_nothing_behind(
    run: Run,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """asyncio's TLS closes its transport a turn before it says so.

    To close it again makes an AttributeError of whatever else it is told (CPython 3.11
    to 3.13).
    """
    transports: list[asyncio.BaseTransport] = []
    made = Connection.connection_made
    bodies: list[Body] = []
    go_on = Signal()

    def connection_made(self: Connection, transport: asyncio.BaseTransport) -> None:
        transports.append(transport)
        made(self, transport)

    class Lagging(Session):
        async def data(self, body: Body) -> None:
            bodies.append(body)
            await go_on.wait()
            while not transports[-1].is_closing():  # noqa: ASYNC110 - in its very turn
                await asyncio.sleep(0)

    async def scenario() -> None:
        async with serve(
            Lagging, tls=certificates.server, implicit_tls=True, read_ahead_octets=1
        ) as served:
            peer = await served.ready(certificates.client)
            peer.send(b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\n")
            peer.send(b"BDAT 300000 LAST\r\n" + b"x" * 100_000)
            await until(lambda: bool(bodies) and bodies[0].octets_received > 1)
            (info,) = served.server.connections
            info.close()
            await go_on.set()
            peer.abort()
            await until(lambda: not served.server.connections)
            await settle(lambda: 0)

    monkeypatch.setattr(Connection, "connection_made", connection_made)
    run(scenario())
    gc.collect()  # an exception of a task that nobody awaits is told when it goes
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("is_tls", [False, True])
def test_the_last_replies_arrive_though_the_client_reads_late(
    run: Run, certificates: Certificates, is_tls: bool
) -> None:
    """What is not written when the session ends is written before the connection is.

    uvloop may drop it: the reply to QUIT is behind more than the kernel holds.
    """
    text = "\n".join(["x" * 400] * 100)
    asked = []

    class Wordy(Session):
        async def help(self, topic: str) -> Reply:
            asked.append(topic)
            return Reply(214, "2.0.0", text)

    async def scenario() -> None:
        context = certificates.server if is_tls else None
        async with serve(
            Wordy, tight_listener(), tls=context, implicit_tls=is_tls
        ) as served:
            peer = await served.ready(certificates.client if is_tls else None)
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            peer.send(b"HELP\r\n" * 20 + b"QUIT\r\n")
            await settle(lambda: len(asked))
            peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert await peer.codes(21) == [214] * 20 + [221]
            assert await peer.rest() == b""

    run(scenario())

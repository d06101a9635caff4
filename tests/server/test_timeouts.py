"""Time: a clock that passes when nobody has anything to do."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from smtpx.errors import MessageAborted
from smtpx.server.body import Body
from smtpx.server.options import ServerTimeouts
from smtpx.server.session import ConnectionInfo, Session
from smtpx.server.watchdog import Deadline, Rounds, Watchdog
from tests.server.conftest import Certificates, Run
from tests.server.peers import (
    Served,
    recorder,
    serve,
    unix_address,
    until,
    until_gone,
)

ENVELOPE = b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\n"
FOREVER = ServerTimeouts(command=None, body=None, handler=None, session=None)


def now() -> float:
    return asyncio.get_running_loop().time()


def only(**times: float) -> ServerTimeouts:
    """No timeout but these."""
    return dataclasses.replace(FOREVER, **times)


@contextlib.asynccontextmanager
async def timed(
    session: Callable[[ConnectionInfo], Session],
    folder: Path,
    timeouts: ServerTimeouts,
) -> AsyncIterator[Served]:
    # A unix socket passes octets on at once, so that no time passes on the way.
    async with serve(session, unix_address(folder), timeouts) as served:
        yield served


def test_idle_client(run_timed: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        inbox = recorder()
        async with timed(inbox, tmp_path, only(command=300)) as served:
            peer = await served.ready()
            await asyncio.sleep(299)
            assert await peer.say(b"NOOP\r\n") == [250]
            start = now()
            assert await peer.reply() == "421 4.4.2 idle for too long"
            assert now() - start == pytest.approx(300, abs=1)
            assert await peer.rest() == b""
        assert inbox.log == ["closed: idle for too long"]

    run_timed(scenario())


def test_client_that_never_speaks(run_timed: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with timed(recorder(), tmp_path, only(command=300)) as served:
            peer = await served.greeted()
            start = now()
            assert await peer.codes(1) == [421]
            assert now() - start == pytest.approx(300, abs=1)

    run_timed(scenario())


def test_half_a_command_keeps_no_session_alive(run_timed: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with timed(recorder(), tmp_path, only(command=300)) as served:
            peer = await served.ready()
            start = now()
            while now() - start < 290:
                peer.send(b"N")
                await asyncio.sleep(29)
            assert await peer.codes(1) == [421]
            assert now() - start == pytest.approx(300, abs=1)

    run_timed(scenario())


@pytest.mark.parametrize("begin", [b"DATA\r\n", b"BDAT 9999 LAST\r\n"])
def test_body_that_stops(run_timed: Run, tmp_path: Path, begin: bytes) -> None:
    async def scenario() -> None:
        inbox = recorder()
        times = only(command=300, body=180)
        async with timed(inbox, tmp_path, times) as served:
            peer = await served.ready()
            count = 3 if begin.startswith(b"DATA") else 2
            await peer.say(ENVELOPE + begin, count)
            peer.send(b"hal")
            start = now()
            assert await peer.codes(1) == [421]
            assert now() - start == pytest.approx(180, abs=1)
        assert inbox.messages == []
        assert inbox.log == ["data", "reset", "closed: idle for too long"]

    run_timed(scenario())


def test_body_that_never_begins(run_timed: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with timed(recorder(), tmp_path, only(command=300, body=180)) as served:
            peer = await served.ready()
            await peer.say(ENVELOPE + b"DATA\r\n", 3)
            start = now()
            assert await peer.codes(1) == [421]
            assert now() - start == pytest.approx(180, abs=1)

    run_timed(scenario())


@pytest.mark.parametrize("is_refused", [False, True])
@pytest.mark.parametrize("begin", [b"DATA\r\n", b"BDAT 3000 LAST\r\n"])
def test_slow_upload_that_moves_lives(
    run_timed: Run, tmp_path: Path, begin: bytes, is_refused: bool
) -> None:
    async def scenario() -> None:
        async def refuse(self: Session, body: Body) -> None:
            raise ValueError("at once")

        inbox = recorder(**({"data": refuse} if is_refused else {}))
        times = only(command=300, body=180, handler=200)
        async with timed(inbox, tmp_path, times) as served:
            peer = await served.ready()
            await peer.say(ENVELOPE, 2)
            peer.send(begin)
            if begin.startswith(b"DATA"):
                await peer.codes(1)
            for _ in range(30):
                peer.send(b"x" * 98 + b"\r\n")
                await asyncio.sleep(170)
            peer.send(b".\r\n" if begin.startswith(b"DATA") else b"")
            assert await peer.codes(1) == [451 if is_refused else 250]
            assert await peer.say(b"NOOP\r\n") == [250]

    run_timed(scenario())


def test_slow_upload_of_a_refused_message(run_timed: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with timed(recorder(), tmp_path, only(command=300, body=180)) as served:
            peer = await served.ready()
            # No recipient: the octets of the chunk are read and dropped.
            peer.send(b"BDAT 3000 LAST\r\n")
            for _ in range(30):
                peer.send(b"x" * 100)
                await asyncio.sleep(170)
            assert await peer.codes(1) == [503]

    run_timed(scenario())


@pytest.mark.parametrize("is_swallowed", [False, True])
def test_hook_that_takes_too_long(
    run_timed: Run, tmp_path: Path, is_swallowed: bool
) -> None:
    cancelled: list[float] = []

    class Slow(Session):
        async def mail(self, reverse_path: object, options: object) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(now())
                if not is_swallowed:
                    raise

        async def verify(self, text: str) -> None:
            # What was done to the hook before must not be felt here.
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(1))
            async with asyncio.timeout(5):
                await asyncio.sleep(1)

    async def scenario() -> None:
        times = only(handler=600, command=700)
        async with timed(Slow, tmp_path, times) as served:
            peer = await served.ready()
            for attempt in range(1, 4):
                start = now()
                # In one batch, hence in one task, on every version.
                peer.send(b"MAIL FROM:<>\r\nVRFY x\r\nRSET\r\n")
                code = 250 if is_swallowed else 451
                assert await peer.codes(3) == [code, 252, 250]
                assert len(cancelled) == attempt
                assert cancelled[-1] - start == pytest.approx(600, abs=1)
            # The timer goes on: an idle session still ends.
            start = now()
            assert await peer.codes(1) == [421]
            assert now() - start == pytest.approx(700, abs=1)

    run_timed(scenario())


def test_check_of_a_password_that_takes_too_long(
    run_timed: Run, tmp_path: Path
) -> None:
    class Slow(Session):
        async def check_password(self, user: str, password: str) -> bool:
            await asyncio.Event().wait()
            return True

    async def scenario() -> None:
        async with timed(Slow, tmp_path, only(handler=600)) as served:
            peer = await served.ready()
            answered = await peer.ask(b"AUTH PLAIN AGEAYg==\r\n")
            assert answered.startswith("454 4.7.0 ")

    run_timed(scenario())


@pytest.mark.parametrize("is_read", [True, False])
def test_handler_time_begins_with_the_last_octet(
    run_timed: Run, tmp_path: Path, is_read: bool
) -> None:
    times: list[float] = []

    class Slow(Session):
        async def data(self, body: Body) -> None:
            if is_read:
                await body.read()
            times.append(now())
            try:
                await asyncio.Event().wait()
            finally:
                times.append(now())

    async def scenario() -> None:
        async with timed(Slow, tmp_path, only(handler=600, body=500)) as served:
            peer = await served.ready()
            await peer.say(ENVELOPE + b"DATA\r\n", 3)
            for _ in range(10):
                peer.send(b"x" * 98 + b"\r\n")
                await asyncio.sleep(400)
            peer.send(b".\r\n")
            assert await peer.codes(1) == [451]
            if is_read:
                begun, ended = times
                assert ended - begun == pytest.approx(600, abs=2)

    run_timed(scenario())


def test_hook_whose_client_is_gone_is_cancelled_too(
    run_timed: Run, tmp_path: Path
) -> None:
    times: list[float] = []

    class Slow(recorder()):  # type: ignore[misc]
        async def mail(self, reverse_path: object, options: object) -> None:
            times.append(now())
            try:
                await asyncio.Event().wait()
            finally:
                times.append(now())

    async def scenario() -> None:
        async with timed(Slow, tmp_path, only(handler=600)) as served:
            peer = await served.ready()
            peer.send(b"MAIL FROM:<>\r\n")
            await until(lambda: bool(times))
            await peer.close()
            await until_gone(served, 10)
            begun, ended = times
            assert ended - begun == pytest.approx(600, abs=1)
        assert len(Slow.log) == 1

    run_timed(scenario())


def test_closed_hook_that_takes_too_long(run_timed: Run, tmp_path: Path) -> None:
    class Slow(Session):
        async def closed(self, reason: str) -> None:
            await asyncio.Event().wait()

    async def scenario() -> None:
        async with timed(Slow, tmp_path, only(handler=600)) as served:
            peer = await served.ready()
            assert await peer.say(b"QUIT\r\n") == [221]
            await peer.close()
            start = now()
            await until_gone(served, 10)
            assert now() - start == pytest.approx(600, abs=11)

    run_timed(scenario())


def test_session_that_lasts_too_long(run_timed: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        times = only(session=1_000, command=300)
        async with timed(recorder(), tmp_path, times) as served:
            start = now()
            peer = await served.ready()
            for _ in range(9):
                await asyncio.sleep(100)
                assert await peer.say(b"NOOP\r\n") == [250]
            assert await peer.reply() == "421 4.4.2 session too long; connect again"
            assert now() - start == pytest.approx(1_000, abs=1)

    run_timed(scenario())


def test_session_ends_while_a_hook_is_busy(run_timed: Run, tmp_path: Path) -> None:
    ends: list[tuple[str, float]] = []

    class Slow(Session):
        async def data(self, body: Body) -> None:
            try:
                await asyncio.sleep(5_000)
                await body.read()
            except MessageAborted:
                ends.append(("aborted", now()))
            except asyncio.CancelledError:
                ends.append(("cancelled", now()))
                raise

    async def scenario() -> None:
        times = only(session=1_000, handler=3_000)
        async with timed(Slow, tmp_path, times) as served:
            peer = await served.ready()
            start = now()
            await peer.say(ENVELOPE + b"DATA\r\n", 3)
            peer.send(b"hal")
            assert await peer.codes(1) == [421]
            assert now() - start == pytest.approx(1_000, abs=1)
            await until_gone(served, 10)
            # The hook had its time, and no more; then the connection was let go.
            ((kind, when),) = ends
            assert kind == "cancelled"
            assert 3_000 - 1 <= when - start <= 3_000 + 1

    run_timed(scenario())


def test_client_that_does_not_close(run_timed: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        inbox = recorder()
        times = only(command=300, linger=5)
        async with timed(inbox, tmp_path, times) as served:
            peer = await served.ready()
            # Octets that nobody reads any more must not destroy the last reply.
            assert await peer.codes(1) == [421]
            start = now()
            with contextlib.suppress(ConnectionError):
                while served.server.connections:
                    peer.send(b"NOOP\r\n")
                    await asyncio.sleep(0.5)
            assert now() - start == pytest.approx(5, abs=1)
        assert len(inbox.log) == 1

    run_timed(scenario())


@pytest.mark.parametrize("is_quit", [True, False])
@pytest.mark.parametrize("times", [only(linger=5), only(linger=5, session=9_000)])
def test_client_that_reads_nothing_at_the_end(
    run_timed: Run, tmp_path: Path, is_quit: bool, times: ServerTimeouts
) -> None:
    class Talkative(recorder()):  # type: ignore[misc]
        async def help(self, topic: str) -> None:
            """Be a hook, so that each is an event."""

    async def scenario() -> None:
        async with timed(Talkative, tmp_path, times) as served:
            peer = await served.ready()
            transport = peer.writer.transport
            assert isinstance(transport, asyncio.Transport)
            transport.pause_reading()
            peer.send(b"HELP\r\n" * 4_000)
            for _ in range(100):
                await asyncio.sleep(0)
            if is_quit:
                # Its reply can only follow those nobody reads.
                peer.send(b"QUIT\r\n")
                peer.writer.write_eof()
            await asyncio.sleep(0.1)
            served.server.connections[0].close()
            start = now()
            await until_gone(served, 0.5)
            assert now() - start == pytest.approx(5, abs=1)

    run_timed(scenario())


def test_no_timeouts_at_all(run_timed: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with timed(recorder(), tmp_path, FOREVER) as served:
            peer = await served.ready()
            await asyncio.sleep(10_000_000)
            assert await peer.say(b"NOOP\r\n") == [250]

    run_timed(scenario())


def test_shutdown_waits_for_its_grace(run_timed: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        inbox = recorder()
        async with timed(inbox, tmp_path, FOREVER) as served:
            idle, busy = await served.ready(), await served.ready()
            await busy.say(b"MAIL FROM:<>\r\n")
            start = now()
            stopping = asyncio.create_task(served.server.shutdown(100))
            assert await idle.reply() == "421 4.3.2 server is shutting down"
            assert await idle.rest() == b""
            await idle.close()
            # A transaction under way has its time.
            await asyncio.sleep(50)
            assert await busy.say(b"RCPT TO:<b@mx.test>\r\n") == [250]
            await stopping
            assert now() - start == pytest.approx(100, abs=1)
            assert await busy.rest() in {b"", b"(reset)"}
        assert inbox.log[0].startswith("closed: ")
        assert inbox.log[1] == "reset"

    run_timed(scenario())


def test_timeouts_have_their_tls_handshake_too(
    run_timed: Run, tmp_path: Path, certificates: Certificates
) -> None:
    async def scenario() -> None:
        inbox = recorder()
        times = only(command=10, handshake=60)
        async with serve(
            inbox, unix_address(tmp_path), times, tls=certificates.server
        ) as served:
            peer = await served.ready()
            assert await peer.say(b"STARTTLS\r\n") == [220]
            start = now()
            # The command timeout must not write a reply into the handshake.
            rest = await peer.rest()
            assert b"421" not in rest
            assert now() - start == pytest.approx(60, abs=1)
            await until_gone(served, 1)
        assert inbox.log == ["closed: TLS handshake failed"]

    run_timed(scenario())


# --- The watchdog by itself. ---


def test_watchdog_asks_again_and_acts_once_it_is_time(run_timed: Run) -> None:
    async def scenario() -> None:
        acts: list[float] = []
        moves: list[float] = [now() + 50]

        def act() -> None:
            acts.append(now())
            moves[0] = now() + 500

        def deadline() -> Deadline:
            return moves[0], act

        loop = asyncio.get_running_loop()
        watchdog = Watchdog(Rounds(loop, only(command=50)), deadline)
        start = now()
        watchdog.arm()
        await asyncio.sleep(40)
        moves[0] = now() + 50
        await asyncio.sleep(100)
        assert [each - start for each in acts] == [pytest.approx(90)]
        watchdog.stop()
        await asyncio.sleep(10_000)
        assert len(acts) == 1
        watchdog.stop()

    run_timed(scenario())


def test_watchdog_acts_again_while_nothing_changes(run_timed: Run) -> None:
    async def scenario() -> None:
        acts: list[float] = []
        start = now()
        watchdog = Watchdog(
            Rounds(asyncio.get_running_loop(), only(command=300)),
            lambda: (start + 10, lambda: acts.append(now() - start)),
        )
        watchdog.arm()
        await asyncio.sleep(13.5)
        watchdog.stop()
        # Once a second, not as fast as the loop turns.
        assert acts == [pytest.approx(each) for each in (10, 11, 12, 13)]

    run_timed(scenario())


def test_watchdog_stopped_by_what_it_does(run_timed: Run) -> None:
    async def scenario() -> None:
        acts: list[float] = []
        start = now()

        def act() -> None:
            acts.append(now())
            watchdog.stop()

        rounds = Rounds(asyncio.get_running_loop(), FOREVER)
        watchdog = Watchdog(rounds, lambda: (start + 10, act))
        watchdog.arm()
        await asyncio.sleep(100)
        assert len(acts) == 1

    run_timed(scenario())


def test_watchdog_without_anything_to_watch(run_timed: Run) -> None:
    async def scenario() -> None:
        def never() -> None:
            raise AssertionError

        rounds = Rounds(asyncio.get_running_loop(), FOREVER)
        watchdog = Watchdog(rounds, lambda: (None, never))
        watchdog.arm()
        await asyncio.sleep(1_000_000)
        watchdog.stop()

    run_timed(scenario())


def test_a_cancelled_hook_has_time_to_clean_up(run_timed: Run, tmp_path: Path) -> None:
    times: list[float] = []

    class Tidy(Session):
        async def mail(self, reverse_path: object, options: object) -> None:
            begun = now()
            while len(times) < 3:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    times.append(now() - begun)

    async def scenario() -> None:
        async with timed(Tidy, tmp_path, only(handler=600)) as served:
            peer = await served.ready()
            assert await peer.say(b"MAIL FROM:<>\r\n") == [250]
            # It is cancelled again after as long a time, not once a second.
            assert times == [pytest.approx(each, abs=1) for each in (600, 1200, 1800)]

    run_timed(scenario())


def test_a_session_left_by_its_timer(run_timed: Run, tmp_path: Path) -> None:
    # Nothing of a session is called again once it is over.
    async def scenario() -> None:
        def watchdogs() -> int:
            # By type: isinstance asks proxies of other libraries for their class.
            return sum(type(each) is Watchdog for each in gc.get_objects())

        gc.collect()
        before = watchdogs()
        async with timed(recorder(), tmp_path, ServerTimeouts()) as served:
            for _ in range(3):
                peer = await served.ready()
                await peer.say(b"QUIT\r\n")
                await peer.close()
            await until_gone(served, 1)
            gc.collect()
            # Those of other tests are held by their logs.
            assert watchdogs() == before

    run_timed(scenario())


def test_cancelled_hooks_are_logged(
    run_timed: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(Session):
        async def mail(self, reverse_path: object, options: object) -> None:
            await asyncio.Event().wait()

    async def scenario() -> None:
        async with timed(Slow, tmp_path, only(handler=600)) as served:
            peer = await served.ready()
            assert await peer.say(b"MAIL FROM:<>\r\n") == [451]

    with caplog.at_level(logging.ERROR, "smtpx.server"):
        run_timed(scenario())
    assert [record.getMessage()[14:] for record in caplog.records] == [
        "a hook took too long: cancelled"
    ]

"""Late greetings and late refusals, by a clock that does not run."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal

import pytest

from smtpx.core.limits import Limits
from smtpx.errors import Refuse
from smtpx.server.body import Body
from smtpx.server.connection import Connection
from smtpx.server.delays import ErrorDelay, GreetingDelay
from smtpx.server.events import ServerEvent
from smtpx.server.observed import ObservedConnection
from smtpx.server.options import ServerOptions, ServerTimeouts
from smtpx.server.patience import PatientConnection, connection_class
from smtpx.server.session import Session
from tests.server.conftest import Run
from tests.server.peers import (
    Peer,
    Served,
    recorder,
    serve,
    tight_listener,
    tight_socket,
    until,
)

GREETING = GreetingDelay(6.0)
ERRORS = ErrorDelay(1.0)
ENVELOPE = b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\n"


def serve_late(
    session: type[Session] | None = None,
    **options: Any,  # noqa: ANN401 - the fields of ServerOptions
) -> AbstractAsyncContextManager[Served]:
    return serve(session or recorder(), **{"unlimited_networks": (), **options})


def late_connection(served: Served) -> PatientConnection:
    (connection,) = served.server._connections
    assert isinstance(connection, PatientConnection)
    return connection


class Watch:
    """Tells how much time has passed since it was looked at last."""

    def __init__(self) -> None:
        self._since = asyncio.get_running_loop().time()

    def passed(self) -> float:
        before, self._since = self._since, asyncio.get_running_loop().time()
        # Timers of the loop fire within its resolution.
        return round(self._since - before, 3)


# --- Values. ---


def test_delays_grow_up_to_a_limit() -> None:
    delay = ErrorDelay(1.0, growth=3.0, max_seconds=10.0, free=2)
    assert [delay.after(n) for n in range(7)] == [0, 0, 0, 1.0, 3.0, 9.0, 10.0]
    assert delay.after(10**9) == 10.0
    assert ErrorDelay(2.0, growth=1.0).after(10**9) == 2.0
    assert ErrorDelay(50.0, max_seconds=5.0).after(1) == 5.0
    assert ErrorDelay(1.0, growth=1e300).after(3) == 20.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": 0},
        {"seconds": 120.1},
        {"max_seconds": 0},
        {"max_seconds": 120.1},
        {"growth": 0.99},
        {"free": -1},
    ],
)
def test_no_delays_of_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"over 0|at least"):
        ErrorDelay(**wrong)


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"seconds": 121}, {"code": 550}])
def test_no_delays_of_greetings(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"over 0|421 or 554"):
        GreetingDelay(**wrong)


def test_delays_at_their_limits() -> None:
    assert GreetingDelay(120.0).seconds == 120.0
    assert ErrorDelay(120.0, growth=1.0, max_seconds=120.0).after(1) == 120.0


def test_who_delays_nothing_has_the_plain_connection() -> None:
    assert connection_class(ServerOptions()) is Connection

    def sink(event: ServerEvent) -> None: ...

    watched = connection_class(ServerOptions(events=sink))
    assert watched is ObservedConnection
    for options in (
        ServerOptions(greeting_delay=GREETING),
        ServerOptions(error_delay=ERRORS),
    ):
        assert connection_class(options) is PatientConnection
        both = connection_class(dataclasses.replace(options, events=sink))
        assert issubclass(both, PatientConnection)
        assert issubclass(both, ObservedConnection)


# --- The greeting. ---


def test_the_greeting_comes_late(run_timed: Run) -> None:
    async def scenario() -> None:
        async with serve_late(greeting_delay=GREETING) as served:
            watch = Watch()
            peer = await served.greeted()
            assert watch.passed() == 6.0
            assert await peer.say(b"EHLO c.test\r\n") == [250]
            assert await peer.say(ENVELOPE + b"DATA\r\n", 3) == [250, 250, 354]
            assert watch.passed() == 0

    run_timed(scenario())


@pytest.mark.parametrize("code", [554, 421])
@pytest.mark.parametrize("octets", [b"E", b"EHLO c.test\r\n", b"\x16\x03\x01", b"\0"])
def test_early_talkers_are_refused_at_once(
    run_timed: Run, code: Literal[421, 554], octets: bytes
) -> None:
    async def scenario() -> None:
        session = recorder()
        delay = GreetingDelay(6.0, code=code)
        async with serve_late(session, greeting_delay=delay) as served:
            watch = Watch()
            peer = await served.connect()
            peer.send(octets)
            expected = f"{code} {code // 100}.5.1 you talked before the greeting"
            assert await peer.reply() == expected
            # Neither what came early nor what comes now is run.
            peer.send(ENVELOPE)
            assert await peer.rest() == b""
            assert watch.passed() == 0
            peer.abort()
            await until(lambda: not served.server.connections)
        assert session.log == ["closed: you talked before the greeting"]

    run_timed(scenario())


def test_an_octet_in_the_last_moment_is_early(run_timed: Run) -> None:
    async def scenario() -> None:
        async with serve_late(greeting_delay=GREETING) as served:
            early, polite = await served.connect(), await served.connect()
            await asyncio.sleep(5.9)
            early.send(b"EHLO c.test\r\n")
            assert await early.codes(1) == [554]
            assert await polite.codes(1) == [220]

    run_timed(scenario())


def test_the_allow_list_is_greeted_at_once(run_timed: Run) -> None:
    async def scenario() -> None:
        async with serve_late(
            greeting_delay=GREETING, unlimited_networks=("127.0.0.1/32",)
        ) as served:
            watch = Watch()
            peer = await served.connect()
            peer.send(b"EHLO c.test\r\n")
            assert await peer.codes(2) == [220, 250]
            sock = socket.socket()
            sock.bind(("127.0.0.2", 0))
            other = await served.connect(sock=sock)
            assert watch.passed() == 0
            assert await other.codes(1) == [220]
            assert watch.passed() == 6.0

    run_timed(scenario())


def test_who_is_turned_away_is_told_at_once(run_timed: Run) -> None:
    async def scenario() -> None:
        async with serve_late(
            greeting_delay=GREETING, max_connections_per_ip=1
        ) as served:
            await served.greeted()
            watch = Watch()
            assert await (await served.connect()).codes(1) == [421]
            assert watch.passed() == 0

    run_timed(scenario())


@pytest.mark.parametrize("way", ["shutdown", "close", "one"])
def test_a_late_greeting_holds_up_no_end(run_timed: Run, way: str) -> None:
    async def scenario() -> None:
        async with serve_late(greeting_delay=GREETING) as served:
            peer = await served.connect()
            await until(lambda: len(served.server.connections) == 1)
            watch = Watch()
            if way == "shutdown":
                await asyncio.gather(served.server.shutdown(60), bow_out(peer))
            elif way == "close":
                await served.server.close()
            else:
                (info,) = served.server.connections
                info.close()
                await bow_out(peer)
                await until(lambda: not served.server.connections)
            assert watch.passed() < 0.1

    run_timed(scenario())


async def bow_out(peer: Peer) -> None:
    """Hear 421 4.3.2, whatever comes before it, and go."""
    replies = (await peer.rest()).decode().splitlines()
    assert replies[-1].startswith("421 4.3.2 ")
    await peer.close()


def test_a_client_that_leaves_before_the_greeting_is_gone(run_timed: Run) -> None:
    async def scenario() -> None:
        async with serve_late(greeting_delay=GREETING) as served:
            peer = await served.connect()
            await until(lambda: len(served.server.connections) == 1)
            connection = late_connection(served)
            watch = Watch()
            peer.abort()
            await until(lambda: not served.server.connections)
            assert watch.passed() < 0.1
            # Not even a timer keeps it.
            assert connection._hold is None

    run_timed(scenario())


def test_the_time_for_a_command_begins_with_the_greeting(run_timed: Run) -> None:
    async def scenario() -> None:
        timeouts = ServerTimeouts(command=4.0)
        async with serve_late(greeting_delay=GREETING, timeouts=timeouts) as served:
            watch = Watch()
            peer = await served.greeted()
            assert watch.passed() == 6.0
            await asyncio.sleep(3.9)
            assert await peer.say(b"NOOP\r\n") == [250]
            watch.passed()
            assert await peer.codes(1) == [421]
            assert watch.passed() == 4.0

    run_timed(scenario())


# --- Refusals. ---


async def refused(peer: Peer, watch: Watch, octets: bytes = b"BOGUS\r\n") -> float:
    """Say what is refused; tell how long that took."""
    watch.passed()
    (code,) = await peer.say(octets)
    assert code >= 400
    return watch.passed()


def test_each_refusal_comes_later_than_the_one_before(run_timed: Run) -> None:
    async def scenario() -> None:
        delay = ErrorDelay(1.0, growth=2.0, max_seconds=5.0, free=1)
        async with serve_late(error_delay=delay) as served:
            peer, watch = await served.ready(), Watch()
            times = [await refused(peer, watch) for _ in range(6)]
            assert times == [0, 1.0, 2.0, 4.0, 5.0, 5.0]
            # What is granted comes at once all the while.
            assert await peer.say(b"NOOP\r\n") == [250]
            assert watch.passed() == 0

    run_timed(scenario())


def test_an_accepted_message_is_a_new_start(run_timed: Run) -> None:
    async def scenario() -> None:
        async with serve_late(error_delay=ERRORS) as served:
            peer, watch = await served.ready(), Watch()
            assert [await refused(peer, watch) for _ in range(2)] == [1.0, 2.0]
            assert await peer.say(ENVELOPE + b"DATA\r\n", 3) == [250, 250, 354]
            assert await peer.say(b"hi\r\n.\r\n") == [250]
            assert [await refused(peer, watch) for _ in range(2)] == [1.0, 2.0]

    run_timed(scenario())


def test_pipelining_is_no_way_around_it(run_timed: Run) -> None:
    async def scenario() -> None:
        async with serve_late(error_delay=ERRORS) as served:
            peer, watch = await served.ready(), Watch()
            peer.send(b"BOGUS\r\n" * 3 + b"NOOP\r\n")
            times = []
            for code in (500, 500, 500, 250):
                assert await peer.codes(1) == [code]
                times.append(watch.passed())
            assert times == [1.0, 2.0, 4.0, 0]

    run_timed(scenario())


def test_refusals_of_hooks_come_late_too(run_timed: Run) -> None:
    class Picky(Session):
        async def mail(self, reverse_path: object, options: object) -> None:
            await asyncio.sleep(0)
            raise Refuse(550, "5.7.1", "no")

        async def check_password(self, user: str, password: str) -> bool:
            return False

        async def data(self, body: Body) -> None:
            await body.read()

    async def scenario() -> None:
        async with serve_late(Picky, error_delay=ERRORS) as served:
            peer, watch = await served.ready(), Watch()
            mail, login = b"MAIL FROM:<a@c.test>\r\n", b"AUTH PLAIN AHQAcw==\r\n"
            assert await refused(peer, watch, mail) == 1.0
            assert await refused(peer, watch, login) == 2.0
            assert await refused(peer, watch, mail + b"RCPT TO:<b@mx.test>\r\n") == 4.0

    run_timed(scenario())


def test_a_refused_message_comes_late_in_lmtp(run_timed: Run) -> None:
    async def data(_self: object, body: Body) -> None:
        await body.read()
        raise Refuse(554, "5.6.0", "no")

    async def scenario() -> None:
        session = recorder(data=data)
        async with serve_late(session, error_delay=ERRORS, lmtp=True) as served:
            peer, watch = await served.ready(), Watch()
            assert await peer.say(ENVELOPE + b"DATA\r\n", 3) == [250, 250, 354]
            assert await refused(peer, watch, b"hi\r\n.\r\n") == 1.0
            assert await peer.say(b"NOOP\r\n") == [250]

    run_timed(scenario())


def test_the_last_refusal_comes_late_and_ends_the_session(run_timed: Run) -> None:
    async def scenario() -> None:
        limits = Limits(max_errors=2)
        async with serve_late(error_delay=ERRORS, limits=limits) as served:
            peer, watch = await served.ready(), Watch()
            assert await refused(peer, watch) == 1.0
            assert await peer.ask(b"BOGUS\r\n") == "421 4.7.0 too many errors"
            assert await peer.rest() == b""
            assert watch.passed() == 2.0

    run_timed(scenario())


def test_the_allow_list_is_refused_at_once(run_timed: Run) -> None:
    async def scenario() -> None:
        async with serve_late(
            error_delay=ERRORS, unlimited_networks=("127.0.0.0/8",)
        ) as served:
            peer, watch = await served.ready(), Watch()
            assert [await refused(peer, watch) for _ in range(3)] == [0, 0, 0]

    run_timed(scenario())


def test_nobody_else_waits(run_timed: Run) -> None:
    async def scenario() -> None:
        async with serve_late(error_delay=ErrorDelay(20.0)) as served:
            slow, calm = await served.ready(), await served.ready()
            slow.send(b"BOGUS\r\n")
            watch = Watch()
            for _ in range(20):
                assert await calm.say(b"NOOP\r\n") == [250]
            assert watch.passed() == 0
            assert await slow.codes(1) == [500]
            assert watch.passed() == 20.0

    run_timed(scenario())


def test_nothing_is_read_meanwhile(run_timed: Run) -> None:
    async def scenario() -> None:
        sock = tight_listener()
        async with serve_late(error_delay=ErrorDelay(20.0), address=sock) as served:
            peer = await served.connect(sock=tight_socket())
            assert await peer.say(b"EHLO c.test\r\n", 2) == [220, 250]
            peer.send(b"BOGUS\r\n" + b"NOOP\r\n" * 500_000)
            await asyncio.sleep(19)
            # The server holds one read of it, the kernel a bit, we the rest.
            transport = peer.writer.transport
            assert transport.get_write_buffer_size() > 1_000_000
            assert await peer.codes(2) == [500, 250]

    run_timed(scenario())


@pytest.mark.parametrize("way", ["shutdown", "close", "one"])
def test_a_late_refusal_holds_up_no_end(run_timed: Run, way: str) -> None:
    async def scenario() -> None:
        async with serve_late(error_delay=ErrorDelay(20.0)) as served:
            peer = await served.ready()
            peer.send(b"BOGUS\r\nBOGUS\r\n")
            await asyncio.sleep(1)
            watch = Watch()
            if way == "shutdown":
                await asyncio.gather(served.server.shutdown(60), bow_out(peer))
            elif way == "close":
                await served.server.close()
            else:
                (info,) = served.server.connections
                info.close()
                await bow_out(peer)
                await until(lambda: not served.server.connections)
            assert watch.passed() < 0.1

    run_timed(scenario())


def test_a_client_that_leaves_meanwhile_is_gone_in_the_end(run_timed: Run) -> None:
    async def scenario() -> None:
        session = recorder()
        async with serve_late(session, error_delay=ErrorDelay(20.0)) as served:
            peer = await served.ready()
            peer.send(b"BOGUS\r\n")
            await asyncio.sleep(1)
            peer.abort()
            # Nobody looks at its socket until the time is up.
            await asyncio.sleep(20)
            await until(lambda: not served.server.connections)
        assert len(session.log) == 1

    run_timed(scenario())


def test_waiting_is_no_idling_but_a_session_still_ends(run_timed: Run) -> None:
    async def scenario() -> None:
        timeouts = ServerTimeouts(command=3.0, session=30.0)
        delay = ErrorDelay(20.0)
        async with serve_late(error_delay=delay, timeouts=timeouts) as served:
            peer, watch = await served.ready(), Watch()
            assert await refused(peer, watch) == 20.0
            assert await peer.say(b"NOOP\r\n") == [250]
            peer.send(b"BOGUS\r\n")
            assert await peer.reply() == "500 5.5.2 unknown command"
            assert (await peer.reply()).startswith("421 4.4.2 session too long")
            assert watch.passed() == 10.0

    run_timed(scenario())


def test_a_client_that_does_not_read_waits_for_itself_too(run_timed: Run) -> None:
    async def scenario() -> None:
        sock = tight_listener()
        async with serve_late(error_delay=ERRORS, address=sock) as served:
            peer = await served.connect(sock=tight_socket(), limit=1_000)
            assert await peer.codes(1) == [220]
            # More replies than fit anywhere, then an error, then some more.
            peer.send(b"HELP\r\n" * 20_000 + b"BOGUS\r\n" + b"HELP\r\n" * 20_000)
            await asyncio.sleep(5)
            codes = await peer.codes(40_001)
            assert codes == [214] * 20_000 + [500] + [214] * 20_000

    run_timed(scenario())


def test_who_watches_sees_what_waits(run_timed: Run) -> None:
    class Picky(Session):
        async def check_password(self, user: str, password: str) -> bool:
            return False

    async def scenario() -> None:
        seen: list[str] = []

        def sink(event: ServerEvent) -> None:
            seen.append(type(event).__name__)

        async with serve_late(
            Picky, greeting_delay=GREETING, error_delay=ERRORS, events=(sink,)
        ) as served:
            watch = Watch()
            peer = await served.ready()
            assert watch.passed() == 6.0
            peer.send(b"BOGUS\r\nAUTH PLAIN AHQAcw==\r\nMAIL FROM:<a@c.test>\r\n")
            times = []
            for code in (500, 535, 250):
                assert await peer.codes(1) == [code]
                times.append(watch.passed())
            assert times == [1.0, 2.0, 0]
        assert seen == [
            "ConnectedEvent",
            "HelloEvent",
            "RefusedEvent",
            "AuthEvent",
            "MailEvent",
            "ClosedEvent",
        ]

    run_timed(scenario())


def test_a_client_that_reads_again_is_answered_no_sooner(run_timed: Run) -> None:
    async def scenario() -> None:
        async with serve_late(error_delay=ERRORS) as served:
            peer, watch = await served.ready(), Watch()
            peer.send(b"BOGUS\r\nBOGUS\r\n")
            await asyncio.sleep(0.5)
            # As asyncio calls it.
            connection = late_connection(served)
            connection.pause_writing()
            connection.resume_writing()
            times = []
            for _ in range(2):
                assert await peer.codes(1) == [500]
                times.append(watch.passed())
            assert times == [1.0, 2.0]

    run_timed(scenario())


def test_the_end_of_a_delay_is_no_reason_to_write_on(run_timed: Run) -> None:
    asked: list[str] = []

    class Asked(Session):
        async def verify(self, text: str) -> None:
            asked.append(text)

    async def scenario() -> None:
        async with serve_late(Asked, error_delay=ERRORS) as served:
            peer = await served.ready()
            peer.send(b"BOGUS\r\nVRFY x\r\n")
            await asyncio.sleep(0.5)
            connection = late_connection(served)
            connection.pause_writing()
            assert await peer.codes(1) == [500]
            await asyncio.sleep(5)
            before = list(asked)
            connection.resume_writing()
            assert await peer.codes(1) == [252]
            assert (before, asked) == ([], ["x"])

    run_timed(scenario())


@pytest.mark.parametrize("is_pipelined", [False, True])
def test_an_error_between_two_chunks_delays_the_message(
    run_timed: Run, is_pipelined: bool
) -> None:
    async def scenario() -> None:
        session = recorder()
        async with serve_late(session, error_delay=ERRORS) as served:
            peer, watch = await served.ready(), Watch()
            assert await peer.say(ENVELOPE + b"BDAT 5\r\nhello", 3) == [250, 250, 250]
            rest = b"BDAT 3 LAST\r\nabc"
            peer.send(b"BOGUS\r\n" + (rest if is_pipelined else b""))
            assert await peer.codes(1) == [500]
            assert watch.passed() == 1.0
            if not is_pipelined:
                peer.send(rest)
            assert await peer.codes(1) == [250]
            assert watch.passed() == 0
        assert session.messages == [b"helloabc"]

    run_timed(scenario())

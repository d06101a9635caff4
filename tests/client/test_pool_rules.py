"""What a pool does by the clock, and message by message: over scripted connections."""

from __future__ import annotations

import io
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from smtpx.client.conversation import Conversation
from smtpx.client.pool import Pool, is_certainly_not_sent
from smtpx.client.pool_options import PoolOptions
from smtpx.errors import (
    ConnectError,
    ConnectionLost,
    DataRefused,
    Delivery,
    OutOfStep,
    PhaseTimeout,
    PoolUnavailable,
    RecipientsRefused,
    SenderRefused,
    SendError,
    TLSFailed,
)
from smtpx.wire.envelope import RecipientResult, SendResult
from smtpx.wire.options import DEFAULT_MAIL_OPTIONS, DEFAULT_RCPT_OPTIONS
from smtpx.wire.replies import Reply
from tests.client.scripted import OPTIONS, ScriptedRuntime, hello, step

if TYPE_CHECKING:
    from smtpx.client.connection import AnyAuth
    from smtpx.client.link import Runtime
    from smtpx.client.message import MessageSource
    from smtpx.client.options import ClientOptions

HOME = "smtp+plain://mx.test"
CLOSING = Reply(421, "4.3.2", "not now")
BUSY = Reply(451, "4.3.0", "busy")


@dataclass
class StillFront:
    """A front on which nothing happens by itself: a wait that is not over yet is a
    mistake of the test, or takes the time that it may."""

    runtime: ScriptedRuntime
    slept: list[float] = field(default_factory=list)
    started: list[Coroutine[Any, Any, None]] = field(default_factory=list)

    def mutex(self) -> AbstractContextManager[object]:
        return nullcontext()

    def waiter(self) -> StillWaiter:
        return StillWaiter(self)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.started.append(coroutine)

    async def join(self) -> None:
        while self.started:
            await self.started.pop(0)

    async def each(self, coroutines: Iterable[Coroutine[Any, Any, object]]) -> None:
        for coroutine in coroutines:
            await coroutine

    def make_client(
        self, runtime: Runtime, url: str, options: ClientOptions, auth: AnyAuth | None
    ) -> tuple[Conversation, Conversation]:
        client = Conversation(runtime, url, options, auth, None)
        return client, client


@dataclass(eq=False)
class StillWaiter:
    front: StillFront
    is_set: bool = False

    def set(self) -> None:
        self.is_set = True

    async def wait(self, seconds: float | None) -> None:
        if not self.is_set:
            assert seconds is not None, "it would wait for ever"
            self.front.slept.append(seconds)
            self.front.runtime.now += seconds


def transaction(number: int = 1, *, answer: str = "250 taken") -> str:
    return f"""
        C: MAIL FROM:<a@a.test>
        S: 250 ok
        C: RCPT TO:<b@b.test>
        S: 250 ok
        C: DATA
        S: 354 go on
        C: message {number}
        C: .
        S: {answer}
    """


GOODBYE = "C: QUIT\nS: 221 bye\n"


class Scene:
    """A pool, and the scripts of its connections."""

    def __init__(
        self,
        *scripts: str,
        url: str | None = HOME,
        auth: AnyAuth | None = None,
        **options: Any,  # noqa: ANN401 - of a pool
    ) -> None:
        self.runtime = ScriptedRuntime(list(scripts))
        self.front = StillFront(self.runtime)
        self.pool = Pool(
            self.front,
            url,
            options=PoolOptions(**options),
            client_options=OPTIONS,
            auth=auth,
        )

    def send(
        self, message: MessageSource | int = 1, to: str | None = None
    ) -> SendResult:
        if isinstance(message, int):
            message = b"message %d\r\n" % message
        return step(
            self.pool.send(
                message,
                to,
                sender="a@a.test",
                recipients="b@b.test",
                options=DEFAULT_MAIL_OPTIONS,
                rcpt_options=DEFAULT_RCPT_OPTIONS,
                require_all=False,
            )
        )

    def close(self) -> None:
        step(self.pool.close())
        assert self.runtime.scripts == [], "it did not connect so often"
        for channel in self.runtime.channels:
            channel.require_end()
            assert channel.is_closed or channel.is_aborted


def test_messages_share_a_connection() -> None:
    scene = Scene(hello() + transaction(1) + transaction(2) + GOODBYE)
    scene.send(1)
    scene.send(2)
    statistics = scene.pool.statistics()
    assert (statistics.connections, statistics.idle) == (1, 1)
    assert (statistics.opened, statistics.delivered) == (1, 2)
    scene.close()
    assert scene.pool.statistics().connections == 0


def test_a_connection_that_the_server_closed_is_replaced_without_asking_it() -> None:
    scene = Scene(
        hello() + transaction(1) + "== EOF ==",
        hello() + transaction(2) + "S: 421 4.4.2 idle for too long",
        hello() + transaction(3) + GOODBYE,
    )
    for number in (1, 2, 3):
        scene.send(number)
    assert scene.pool.statistics().replaced == 2
    assert scene.pool.statistics().retried == 0
    scene.close()


def test_messages_over_a_connection_are_counted() -> None:
    first = hello() + transaction(1) + transaction(2) + GOODBYE
    scene = Scene(first, hello() + transaction(3) + GOODBYE, max_messages=2)
    for number in (1, 2, 3):
        scene.send(number)
    scene.close()


@pytest.mark.parametrize(("age", "connections"), [(299.0, 1), (300.0, 2)])
def test_a_connection_grows_old(age: float, connections: int) -> None:
    scripts = [hello() + transaction(1) + transaction(2) + GOODBYE]
    if connections == 2:
        scripts = [hello() + transaction(n) + GOODBYE for n in (1, 2)]
    scene = Scene(*scripts, max_age=300, max_idle=None)
    scene.send(1)
    scene.runtime.now += age
    scene.send(2)
    scene.close()


def test_idle_connections_are_closed_in_time() -> None:
    scene = Scene(hello() + transaction() + GOODBYE, max_idle=60)
    scene.send()
    (reaper,) = scene.front.started
    scene.front.started.clear()
    step(reaper)
    assert scene.front.slept == [60]
    assert scene.pool.statistics().connections == 0
    # The next one that becomes idle has another reaper.
    scene.runtime.scripts.append(hello() + transaction() + GOODBYE)
    scene.send()
    assert len(scene.front.started) == 1
    scene.close()


def test_without_limits_nothing_is_closed_before_the_pool_is() -> None:
    scene = Scene(
        hello() + transaction(1) + transaction(2) + GOODBYE,
        max_idle=None,
        max_age=None,
        max_messages=None,
    )
    scene.send(1)
    scene.runtime.now += 1e9
    scene.send(2)
    scene.close()


BROKEN = {
    "greeting": "== EOF ==",
    "greeting 421": "S: 421 4.3.2 not now",
    "EHLO": "S: 220 mx.test\nC: EHLO client.test\n== RESET ==",
    "EHLO 421": "S: 220 mx.test\nC: EHLO client.test\nS: 421 4.3.2 not now",
    "MAIL": hello() + "C: MAIL FROM:<a@a.test>\n== EOF ==",
    "MAIL 421": hello() + "C: MAIL FROM:<a@a.test>\nS: 421 4.3.2 not now",
    "RCPT": hello()
    + "C: MAIL FROM:<a@a.test>\nS: 250 ok\nC: RCPT TO:<b@b.test>\n== EOF ==",
    "RCPT 421": hello()
    + "C: MAIL FROM:<a@a.test>\nS: 250 ok\nC: RCPT TO:<b@b.test>\nS: 421 no",
    "DATA": hello() + transaction().partition("S: 354")[0] + "== EOF ==",
    "DATA 421": hello() + transaction().partition("S: 354")[0] + "S: 421 4.3.2 no",
    "end 421": hello() + transaction(answer="421 4.3.2 not now"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_message_that_was_not_sent_is_sent_again(fault: str) -> None:
    scene = Scene(BROKEN[fault], hello() + transaction() + GOODBYE)
    scene.send()
    statistics = scene.pool.statistics()
    assert (statistics.opened, statistics.retried, statistics.delivered) == (2, 1, 1)
    # A server that says no is left alone for a moment.
    assert scene.front.slept == ([0.1] if fault.endswith("421") else [])
    scene.close()


@pytest.mark.parametrize("fault", ["== EOF ==", "== RESET =="])
def test_a_message_in_doubt_is_not_sent_again(fault: str) -> None:
    scene = Scene(hello() + transaction().partition("S: 250 taken")[0] + fault)
    with pytest.raises(ConnectionLost) as caught:
        scene.send()
    assert caught.value.delivery is Delivery.UNKNOWN
    statistics = scene.pool.statistics()
    assert (statistics.unknown, statistics.retried) == (1, 0)
    scene.close()


def test_a_chunk_in_flight_is_in_doubt() -> None:
    """The one flight of an envelope and its message may have been read whole."""
    scene = Scene(
        hello("PIPELINING", "CHUNKING")
        + """
        C: MAIL FROM:<a@a.test>
        C: RCPT TO:<b@b.test>
        C: BDAT 11 LAST
        C: message 1
        == EOF ==
        """
    )
    with pytest.raises(ConnectionLost) as caught:
        scene.send()
    assert caught.value.delivery is Delivery.UNKNOWN
    scene.close()


@pytest.mark.parametrize("answer", ["421 4.3.2 going", "500 5.5.1 what?"])
def test_a_chunk_behind_a_refused_reset_is_in_doubt(answer: str) -> None:
    """A server that goes on may have the message: it is not sent again."""
    scene = Scene(
        hello("PIPELINING", "CHUNKING")
        + f"""
        C: MAIL FROM:<x@x.test>
        S: 250 ok
        C: RSET
        C: MAIL FROM:<a@a.test>
        C: RCPT TO:<b@b.test>
        C: BDAT 11 LAST
        C: message 1
        S: {answer}
        S: 250 ok
        S: 250 ok
        S: 250 taken
        """
    )
    slot = step(scene.pool.acquire(None))
    step(slot.client.mail("x@x.test"))
    scene.pool.release(slot)
    with pytest.raises(OutOfStep) as caught:
        scene.send()
    assert caught.value.delivery is Delivery.UNKNOWN
    scene.close()


@pytest.mark.parametrize("end", ["== EOF ==", "== RESET =="])
def test_a_chunk_behind_a_reset_answered_with_421_is_not_sent(end: str) -> None:
    """The server has gone, as it said: the message goes over another connection."""
    scene = Scene(
        hello("PIPELINING", "CHUNKING")
        + f"""
        C: MAIL FROM:<x@x.test>
        S: 250 ok
        C: RSET
        C: MAIL FROM:<a@a.test>
        C: RCPT TO:<b@b.test>
        C: BDAT 11 LAST
        C: message 1
        S: 421 4.3.2 going
        {end}
        """,
        hello() + transaction(1) + GOODBYE,
    )
    slot = step(scene.pool.acquire(None))
    step(slot.client.mail("x@x.test"))
    scene.pool.release(slot)
    scene.send()
    assert scene.pool.statistics().retried == 1
    scene.close()


@pytest.mark.parametrize(
    ("recipients", "end", "delivery"),
    [
        (["b@b.test"], "", Delivery.REFUSED),
        (["b@b.test", "c@b.test"], "S: 250 taken", Delivery.UNKNOWN),
        (["b@b.test", "c@b.test"], "== TIMEOUT ==", Delivery.UNKNOWN),
        (["b@b.test", "c@b.test"], "S: what?", Delivery.UNKNOWN),
        (["b@b.test", "c@b.test"], "== EOF ==", Delivery.REFUSED),
        (["b@b.test", "c@b.test"], "== RESET ==", Delivery.REFUSED),
        # It comes with the 421 in one segment.
        (["c@b.test", "b@b.test", "d@b.test"], "S: 250 ok", Delivery.UNKNOWN),
    ],
)
def test_a_chunk_behind_421_to_a_recipient(
    recipients: list[str], end: str, delivery: Delivery
) -> None:
    """A server that goes on may deliver it to the other one."""
    scene = Scene(
        hello("PIPELINING", "CHUNKING")
        + "C: MAIL FROM:<a@a.test>\n"
        + "".join(f"C: RCPT TO:<{recipient}>\n" for recipient in recipients)
        + f"C: BDAT 3 LAST\nC: x\nS: 250 ok\nS: 421 4.7.0 later\n{end}\n",
        attempts=1 if delivery is Delivery.REFUSED else 3,
    )
    with pytest.raises(ConnectionLost) as caught:
        step(
            scene.pool.send(
                b"x\r\n",
                None,
                sender="a@a.test",
                recipients=recipients,
                options=DEFAULT_MAIL_OPTIONS,
                rcpt_options=DEFAULT_RCPT_OPTIONS,
                require_all=False,
            )
        )
    assert caught.value.delivery is delivery
    scene.close()


@pytest.mark.parametrize("answer", ["550 5.7.1 no", "451 4.3.0 busy"])
def test_a_refusal_is_not_repeated_and_the_connection_kept(answer: str) -> None:
    refused = "C: MAIL FROM:<a@a.test>\nS: " + answer
    scene = Scene(hello() + refused + transaction(2) + GOODBYE)
    with pytest.raises(SenderRefused):
        scene.send(1)
    scene.send(2)
    statistics = scene.pool.statistics()
    assert (statistics.refused, statistics.delivered) == (1, 1)
    scene.close()


def test_attempts_are_counted() -> None:
    scene = Scene(*[BROKEN["greeting 421"]] * 3, attempts=3, retry_delay=1)
    with pytest.raises(ConnectError):
        scene.send()
    assert scene.front.slept == [1, 2]
    statistics = scene.pool.statistics()
    assert (statistics.retried, statistics.not_sent) == (2, 1)
    scene.close()


def stream() -> Iterator[bytes]:
    yield b"message 1\r\n"


def test_a_stream_is_sent_once() -> None:
    scene = Scene(BROKEN["DATA"])
    with pytest.raises(ConnectionLost) as caught:
        scene.send(stream())
    assert caught.value.delivery is Delivery.NOT_SENT
    scene.close()


def test_a_file_is_rewound_to_where_it_was() -> None:
    file = io.BytesIO(b"junk\r\nmessage 1\r\n")
    file.seek(6)
    scene = Scene(BROKEN["DATA"], hello() + transaction() + GOODBYE)
    scene.send(file)
    scene.close()


def test_a_reset_shares_the_flight_of_the_next_envelope() -> None:
    """What somebody left of a transaction costs no round trip."""
    scene = Scene(
        hello("PIPELINING")
        + """
        C: MAIL FROM:<x@x.test>
        S: 250 ok
        C: RSET
        C: MAIL FROM:<a@a.test>
        C: RCPT TO:<b@b.test>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 250 ok
        S: 354 go on
        C: message 1
        C: .
        S: 250 taken
        """
        + GOODBYE
    )
    slot = step(scene.pool.acquire(None))
    step(slot.client.mail("x@x.test"))
    scene.pool.release(slot)
    scene.send()
    assert scene.runtime.channel.writes[2].startswith(b"RSET\r\nMAIL")
    scene.close()


def test_a_borrowed_client_is_connected_whatever_it_takes() -> None:
    scene = Scene(BROKEN["greeting"], hello() + GOODBYE)
    slot = step(scene.pool.acquire(None))
    assert slot.client.is_alive
    scene.pool.release(slot)
    scene.close()
    scene = Scene(BROKEN["greeting"], "S: 554 5.7.1 never")
    with pytest.raises(ConnectError):
        step(scene.pool.acquire(None))
    assert scene.pool.statistics().connections == 0
    scene.close()


def test_the_password_is_for_the_pools_own_server() -> None:
    scene = Scene(
        hello("AUTH PLAIN") + transaction() + GOODBYE, auth=("user", "secret")
    )
    scene.send(to="smtp+plain://other.test")
    assert scene.runtime.dialled == ["other.test:25"]
    scene.close()


def test_the_pools_own_url_may_be_given_again() -> None:
    scene = Scene(hello() + transaction(1) + transaction(2) + GOODBYE)
    scene.send(1)
    scene.send(2, to="SMTP+PLAIN://mx.test:25/")
    scene.close()


def test_a_pool_without_a_url_asks_for_one() -> None:
    scene = Scene(url=None)
    with pytest.raises(ValueError, match="say where to"):
        scene.send()
    with pytest.raises(ValueError, match="give one"):
        Scene(url=None, auth=("user", "secret"))


def test_rate_is_held_for_each_destination() -> None:
    scene = Scene(
        hello() + "".join(transaction(n) for n in range(4)) + GOODBYE,
        hello() + transaction(9) + GOODBYE,
        rate=2,
        burst=2,
    )
    for number in range(3):
        scene.send(number)
    assert scene.front.slept == [0.5]
    scene.send(9, to="smtp+plain://other.test")
    assert scene.front.slept == [0.5]
    scene.runtime.now += 0.25
    scene.send(3)
    assert scene.front.slept == [0.5, 0.25]
    scene.close()


def test_the_rates_of_a_thousand_destinations_are_remembered() -> None:
    scene = Scene(rate=1)
    pool = scene.pool
    for number in range(1_000):
        step(pool._wait_for_rate(pool._destination(f"mx{number}.test")))
    assert len(pool._next_at) == 1_000
    step(pool._wait_for_rate(pool._destination("mx1000.test")))
    assert len(pool._next_at) == 1_001, "each may not send again before a second"
    scene.runtime.now += 2
    step(pool._wait_for_rate(pool._destination("mx1001.test")))
    assert len(pool._next_at) == 1


def test_who_waits_too_long_is_told_what_to_do() -> None:
    scene = Scene(hello() + GOODBYE, size=1, queue_timeout=5)
    slot = step(scene.pool.acquire(None))
    with pytest.raises(PoolUnavailable, match="within 5 seconds") as caught:
        scene.send()
    assert caught.value.delivery is Delivery.NOT_SENT
    assert caught.value.is_temporary
    assert scene.front.slept == [5]
    assert scene.pool.statistics().waiting == 0
    scene.pool.release(slot)
    scene.close()


def test_the_queue_has_an_end() -> None:
    scene = Scene(hello() + GOODBYE, size=1, max_waiting=2)
    slot = step(scene.pool.acquire(None))
    queue = [scene.pool.acquire(None) for _ in range(3)]
    for waiting in queue[:2]:
        with pytest.raises(AssertionError, match="for ever"):
            # It has joined the queue by then; here it leaves it again.
            waiting.send(None)
    assert scene.pool.statistics().waiting == 0
    ticket = scene.pool._stock
    destination = scene.pool._destination(None)
    tickets = [ticket.ask(destination, lambda: None) for _ in range(2)]
    with pytest.raises(PoolUnavailable, match="2 calls wait"):
        queue[2].send(None)
    for one in tickets:
        ticket.withdraw(one)
    scene.pool.release(slot)
    scene.close()


def test_a_closed_pool_takes_nothing() -> None:
    scene = Scene(hello() + transaction() + GOODBYE)
    scene.send()
    scene.close()
    with pytest.raises(RuntimeError, match="closed"):
        scene.send()
    with pytest.raises(RuntimeError, match="closed"):
        step(scene.pool.acquire(None))
    scene.close()
    assert "closed" in repr(scene.pool)


def test_closing_does_not_wait_until_it_is_time_to_try_again() -> None:
    """Who is about to try again does so at once."""
    scene = Scene(BROKEN["MAIL 421"], hello() + transaction() + GOODBYE, retry_delay=9)
    pool = scene.pool
    wait = StillWaiter.wait

    async def closing(waiter: StillWaiter, seconds: float | None) -> None:
        if seconds == 9:
            with suppress(AssertionError):
                # It goes no further than to where it would wait for the message.
                await pool.close()
            assert waiter.is_set
        await wait(waiter, seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StillWaiter, "wait", closing)
        scene.send()
    assert scene.front.slept == []
    scene.close()


RESULT = RecipientResult("b@b.test", CLOSING, False)
OTHER = RecipientResult("c@b.test", BUSY, False)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectError("x"), True),
        (ConnectionLost("x"), True),
        (ConnectionLost("x", delivery=Delivery.UNKNOWN), False),
        (DataRefused("x", reply=CLOSING, delivery=Delivery.UNKNOWN), False),
        (DataRefused("x", reply=CLOSING), True),
        (DataRefused("x", reply=BUSY), False),
        (SenderRefused("x", sender="", reply=CLOSING), True),
        (PhaseTimeout("x"), False),
        (TLSFailed("x"), False),
        (OutOfStep("x"), False),
        (RecipientsRefused("x", results=[RESULT, RESULT]), True),
        (RecipientsRefused("x", results=[RESULT, OTHER]), False),
        (SendError("x"), False),
    ],
)
def test_what_is_certain(error: SendError, expected: bool) -> None:
    assert is_certainly_not_sent(error) is expected


@pytest.mark.parametrize(
    "name",
    [
        *("size", "per_destination", "max_idle", "max_age", "max_messages", "rate"),
        *("burst", "attempts", "max_waiting", "queue_timeout"),
    ],
)
def test_options_are_positive(name: str) -> None:
    assert getattr(PoolOptions(**{name: 1}), name) == 1
    for value in (0, -1, float("nan")):
        with pytest.raises(ValueError, match=name):
            PoolOptions(**{name: value})  # type: ignore[arg-type]


def test_retry_delay_may_be_nothing() -> None:
    assert PoolOptions(retry_delay=0).retry_delay == 0
    with pytest.raises(ValueError, match="retry_delay"):
        PoolOptions(retry_delay=-0.1)

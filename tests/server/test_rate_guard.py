"""Rates held at connect, MAIL, RCPT and AUTH, and a limiter that does not answer."""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
from collections import Counter
from collections.abc import Coroutine
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.sasl.mechanism import Identity
from smtpx.server.rate_guard import Counted, CountedBy, RateGuard, RateRule
from smtpx.server.rates import Decision, Rate
from smtpx.server.session import ConnectionInfo, Session
from smtpx.wire import replies
from smtpx.wire.params import MailOptions, RcptOptions
from smtpx.wire.replies import Reply
from tests.server.conftest import Run
from tests.server.peers import ClockLoop, Peer, serve, until

RATE = Rate(2, 60)
WRONG = Reply(535, "5.7.8", "wrong")


class Counting:
    """A limiter that counts and never forgets; it may be out of order."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.asked = 0
        self.is_silent = False
        self.error: Exception | None = None
        self.is_closed = False

    async def _tell(self) -> None:
        self.asked += 1
        if self.is_silent:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error

    async def hit(self, key: str, rate: Rate, cost: int = 1) -> Decision:
        decision = await self.peek(key, rate)
        if decision.is_allowed:
            self.counts[key] += cost
        return decision

    async def peek(self, key: str, rate: Rate) -> Decision:
        await self._tell()
        remaining = rate.capacity - self.counts[key]
        return Decision(remaining > 0, remaining, 0.0 if remaining > 0 else 12.3)

    async def close(self) -> None:
        self.is_closed = True

    def __repr__(self) -> str:
        return "Counting()"


def client(
    host: str | None = "192.0.2.1", *, name: str = "a", user: str | None = None
) -> ConnectionInfo:
    info = ConnectionInfo(
        id=name,
        hostname="mx.test",
        peer=f"{host}:1",
        peer_host=host,
        local="192.0.2.25:25",
        started_at=datetime.now(UTC),
        is_lmtp=False,
        is_local=False,
        close=lambda reply: None,
    )
    if user is not None:
        info.identity = Identity(user, "", "PLAIN")
    return info


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a scenario whose time passes when nobody has anything to do."""
    with asyncio.Runner(loop_factory=ClockLoop) as runner:
        runner.run(coroutine)


async def ask(guard: RateGuard, counted: Counted, connection: ConnectionInfo) -> str:
    """Let a guard count one; return its refusal."""
    if counted is Counted.CONNECTIONS:
        reply = await guard.connected(connection)
    elif counted is Counted.MESSAGES:
        reply = await guard.mail(connection, None, MailOptions())
    elif counted is Counted.RECIPIENTS:
        mailbox: Any = None  # it does not matter who
        reply = await guard.rcpt(connection, mailbox, RcptOptions())
    else:
        reply = await guard.authenticating(connection)
        if reply is None:
            await guard.auth_refused(connection, WRONG)
    return "" if reply is None else str(reply)


REFUSED = {
    Counted.CONNECTIONS: "421 4.7.28 too many connections; retry after 13 seconds",
    Counted.MESSAGES: "450 4.7.28 too many messages; retry after 13 seconds",
    Counted.RECIPIENTS: "450 4.7.28 too many recipients; retry after 13 seconds",
    Counted.AUTH_FAILURES: "454 4.7.28 too many failed logins; retry after 13 seconds",
}


@pytest.mark.parametrize("counted", Counted)
def test_the_rate_and_one_more(counted: Counted) -> None:
    async def scenario() -> None:
        guard = RateGuard(Counting(), [RateRule(counted, RATE)])
        answers = [await ask(guard, counted, client()) for _ in range(4)]
        assert answers == ["", "", REFUSED[counted], REFUSED[counted]]
        # Nothing else is counted.
        for other in Counted:
            if other is not counted:
                assert [await ask(guard, other, client()) for _ in range(3)] == [""] * 3

    run(scenario())


@pytest.mark.parametrize(
    ("by", "same", "other"),
    [
        (CountedBy.ADDRESS, "192.0.2.1", "192.0.2.2"),
        (CountedBy.ADDRESS, "2001:db8::ffff:1", "2001:db8:0:1::1"),
        (CountedBy.NETWORK, "192.0.2.255", "192.0.3.1"),
        (CountedBy.NETWORK, "2001:db8:0:ffff::", "2001:db8:1::"),
    ],
)
def test_whose_hits_are_added_up(by: CountedBy, same: str, other: str) -> None:
    async def scenario() -> None:
        guard = RateGuard(Counting(), [RateRule(Counted.MESSAGES, RATE, by)])
        first = "2001:db8::1" if ":" in same else "192.0.2.1"
        for _ in range(2):
            assert await ask(guard, Counted.MESSAGES, client(first)) == ""
        assert await ask(guard, Counted.MESSAGES, client(other)) == ""
        refused = await ask(guard, Counted.MESSAGES, client(same))
        assert refused == REFUSED[Counted.MESSAGES]

    run(scenario())


def test_hits_of_users_wherever_they_come_from() -> None:
    async def scenario() -> None:
        limiter = Counting()
        rule = RateRule(Counted.RECIPIENTS, RATE, CountedBy.USER)
        guard = RateGuard(limiter, [rule])
        for host in ("192.0.2.1", None):
            assert await ask(guard, rule.counted, client(host, user="ann")) == ""
        assert await ask(guard, rule.counted, client("2001:db8::", user="ann")) != ""
        assert await ask(guard, rule.counted, client(user="bob")) == ""
        # Nobody knows who this is.
        for _ in range(5):
            assert await ask(guard, rule.counted, client()) == ""
        assert limiter.asked == 4

    run(scenario())


def test_what_has_no_address_is_not_counted_by_it() -> None:
    async def scenario() -> None:
        limiter = Counting()
        guard = RateGuard(limiter, [RateRule(counted, RATE) for counted in Counted])
        for counted in Counted:
            assert [await ask(guard, counted, client(None)) for _ in range(3)] == [
                "",
                "",
                "",
            ]
        assert limiter.asked == 0

    run(scenario())


def test_all_rules_must_allow_it() -> None:
    async def scenario() -> None:
        rules = [
            RateRule(Counted.MESSAGES, Rate(5, 60)),
            RateRule(Counted.MESSAGES, Rate(2, 3_600), CountedBy.NETWORK),
        ]
        guard = RateGuard(Counting(), rules)
        hosts = "192.0.2.1", "192.0.2.2", "192.0.2.3"
        answers = [await ask(guard, Counted.MESSAGES, client(host)) for host in hosts]
        assert answers == ["", "", REFUSED[Counted.MESSAGES]]

    run(scenario())


def test_a_refusal_lasts_a_second_at_least() -> None:
    class Soon(Counting):
        async def hit(self, key: str, rate: Rate, cost: int = 1) -> Decision:
            return Decision(False, 0, 0.0)

    async def scenario() -> None:
        guard = RateGuard(Soon(), [RateRule(Counted.MESSAGES, RATE)])
        refusal = await ask(guard, Counted.MESSAGES, client())
        assert refusal.endswith("retry after 1 seconds")

    run(scenario())


@pytest.mark.parametrize("counted", [Counted.CONNECTIONS, Counted.AUTH_FAILURES])
def test_nobody_locks_out_a_user(counted: Counted) -> None:
    with pytest.raises(ValueError, match="cannot be counted by user"):
        RateRule(counted, RATE, CountedBy.USER)


def test_time_out_is_positive() -> None:
    with pytest.raises(ValueError, match="over 0"):
        RateGuard(Counting(), [], timeout=0)


def test_the_limiter_is_closed_with_the_guard() -> None:
    async def scenario() -> None:
        limiter = Counting()
        await RateGuard(limiter, []).close()
        assert limiter.is_closed

    run(scenario())


def test_a_guard_may_serve_again_on_another_loop() -> None:
    limiter = Counting()
    guard = RateGuard(limiter, [RateRule(Counted.CONNECTIONS, Rate(1_000, 60))])

    async def scenario() -> None:
        flood = [ask(guard, Counted.CONNECTIONS, client()) for _ in range(50)]
        assert set(await asyncio.gather(*flood)) == {""}
        await guard.close()

    run(scenario())
    run(scenario())
    assert limiter.counts.total() == 100


# --- Logins. ---

LOGINS = [RateRule(Counted.AUTH_FAILURES, RATE)]


async def begin(guard: RateGuard, *ids: str) -> list[int]:
    """Begin logins at once; tell which may be checked, by the code of the reply."""
    answers = await asyncio.gather(
        *(guard.authenticating(client(name=name)) for name in ids)
    )
    return [0 if reply is None else reply.code for reply in answers]


def test_logins_under_way_count() -> None:
    async def scenario() -> None:
        guard = RateGuard(Counting(), LOGINS)
        # However many come at once, no more passwords are checked than may be wrong.
        assert sorted(await begin(guard, *"abcdefgh")) == [0, 0, *[454] * 6]

    run(scenario())


def test_logins_that_succeed_do_not_count() -> None:
    async def scenario() -> None:
        limiter = Counting()
        guard = RateGuard(limiter, LOGINS)
        for _ in range(5):
            assert await begin(guard, "a", "b") == [0, 0]
            for name in "ab":
                await guard.authenticated(
                    client(name=name), Identity("ann", "", "PLAIN")
                )
        assert not +limiter.counts

    run(scenario())


@pytest.mark.parametrize(
    ("reply", "is_counted"),
    [
        (WRONG, True),
        (replies.AUTH_FAILED, True),
        (replies.TOO_MANY_AUTH_FAILURES, True),
        (Reply(501, "5.7.0", "cancelled"), False),
        (Reply(454, "4.7.0", "ask later"), False),
        (Reply(421, "4.3.2", "shutting down"), False),
    ],
)
def test_which_refusals_are_wrong_logins(reply: Reply, is_counted: bool) -> None:
    async def scenario() -> None:
        limiter = Counting()
        guard = RateGuard(limiter, LOGINS)
        for _ in range(3):
            assert await begin(guard, "a") == [0 if not is_counted or _ < 2 else 454]
            await guard.auth_refused(client(name="a"), reply)
        assert limiter.counts.total() == (2 if is_counted else 0)

    run(scenario())


def test_a_second_question_of_one_login_counts_once() -> None:
    async def scenario() -> None:
        guard = RateGuard(Counting(), LOGINS)
        assert await begin(guard, "a") == [0]
        assert await begin(guard, "a") == [0]
        assert await begin(guard, "b") == [0]
        assert await begin(guard, "c") == [454]

    run(scenario())


def test_a_login_cut_off_is_over() -> None:
    async def scenario() -> None:
        guard = RateGuard(Counting(), LOGINS)
        assert await begin(guard, "a", "b", "c") == [0, 0, 454]
        guard.ended(client(name="a"))
        guard.ended(client(name="never seen"))
        assert await begin(guard, "c") == [0]

    run(scenario())


WAYS = st.sampled_from(["begin", "wrong", "right", "cut off"])


@given(st.lists(st.tuples(WAYS, st.sampled_from("abc"), st.integers(1, 3))))
def test_no_login_is_left_over(steps: list[tuple[str, str, int]]) -> None:
    async def scenario() -> None:
        rules = [*LOGINS, RateRule(Counted.AUTH_FAILURES, RATE, CountedBy.NETWORK)]
        guard = RateGuard(Counting(), rules)
        hosts = {name: f"192.0.2.{n}" for name, n in zip("abc", (1, 1, 2), strict=True)}
        for way, name, _ in steps:
            connection = client(hosts[name], name=name)
            if way == "begin":
                await guard.authenticating(connection)
            elif way == "wrong":
                await guard.auth_refused(connection, WRONG)
            elif way == "right":
                await guard.authenticated(connection, Identity("ann", "", "PLAIN"))
            else:
                guard.ended(connection)
        for name in "abc":
            guard.ended(client(hosts[name], name=name))
        assert not guard._logins._by_key
        assert not guard._logins._by_connection

    asyncio.run(scenario())


# --- A limiter that does not answer. ---

ALL = [RateRule(counted, RATE) for counted in Counted]
UNKNOWN = {
    Counted.CONNECTIONS: "421 4.3.0 ",
    Counted.MESSAGES: "451 4.3.0 ",
    Counted.RECIPIENTS: "451 4.3.0 ",
    Counted.AUTH_FAILURES: "454 4.3.0 ",
}


@pytest.mark.parametrize("counted", Counted)
@pytest.mark.parametrize("fails_open", [True, False])
@pytest.mark.parametrize("fault", ["silent", "error"])
def test_the_policy(counted: Counted, fails_open: bool, fault: str) -> None:
    async def scenario() -> None:
        limiter = Counting()
        limiter.is_silent = fault == "silent"
        limiter.error = None if fault == "silent" else OSError("gone")
        guard = RateGuard(limiter, ALL, fails_open=fails_open)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for _ in range(5):
            answer = await ask(guard, counted, client())
            assert answer.startswith("" if fails_open else UNKNOWN[counted])
            assert bool(answer) is not fails_open
        assert loop.time() - begun < 1.0

    run(scenario())


def test_a_login_that_nobody_can_judge_is_not_left_over() -> None:
    async def scenario() -> None:
        limiter = Counting()
        limiter.error = OSError("gone")
        guard = RateGuard(limiter, ALL, fails_open=False)
        await guard.authenticating(client())
        assert not guard._logins._by_key

    run(scenario())


def test_a_flood_waits_once_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        limiter = Counting()
        limiter.is_silent = True
        guard = RateGuard(limiter, ALL)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        flood = [ask(guard, Counted.CONNECTIONS, client()) for _ in range(200)]
        assert set(await asyncio.gather(*flood)) == {""}
        assert loop.time() - begun < 1.0
        # Those that come behind it are decided without asking,
        asked, begun = limiter.asked, loop.time()
        for _ in range(200):
            assert await ask(guard, Counted.CONNECTIONS, client()) == ""
        assert limiter.asked == asked
        assert loop.time() == begun
        # but for one a second.
        await asyncio.sleep(1)
        flood = [ask(guard, Counted.CONNECTIONS, client()) for _ in range(200)]
        await asyncio.gather(*flood)
        assert limiter.asked == asked + 1

    with caplog.at_level(logging.WARNING, "smtpx.server"):
        run(scenario())
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    text = record.getMessage()
    assert text.startswith("Counting() does not tell, so clients are let pass; 1 times")
    assert text.endswith("TimeoutError")


@pytest.mark.parametrize("is_late_error", [False, True])
def test_a_limiter_that_takes_no_cancellation(is_late_error: bool) -> None:
    class Stubborn(Counting):
        async def _tell(self) -> None:
            try:
                await asyncio.sleep(3)
            except asyncio.CancelledError:
                await asyncio.sleep(3)
            if is_late_error:
                raise OSError("late")

    async def scenario() -> None:
        limiter = Stubborn()
        guard = RateGuard(limiter, ALL, fails_open=False)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        assert (await ask(guard, Counted.CONNECTIONS, client())).startswith("421 4.3.0")
        assert loop.time() - begun == 0.5
        # Nor does it hold up the end.
        await guard.close()
        assert loop.time() - begun == 1.0
        assert limiter.is_closed
        assert len(guard._asking) == 1
        await asyncio.sleep(3)
        assert not guard._asking

    run(scenario())


def test_a_client_that_goes_away_takes_its_question_along() -> None:
    async def scenario() -> None:
        limiter = Counting()
        limiter.is_silent = True
        guard = RateGuard(limiter, ALL)
        asking = asyncio.create_task(ask(guard, Counted.CONNECTIONS, client()))
        await asyncio.sleep(0.1)
        asking.cancel()
        await asyncio.wait({asking})
        assert asking.cancelled()
        await asyncio.sleep(0)
        assert not guard._asking

    run(scenario())


def test_an_outage_is_logged_once_a_minute_and_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        limiter = Counting()
        limiter.error = OSError("gone")
        guard = RateGuard(limiter, ALL, fails_open=False)
        for _ in range(90):
            await ask(guard, Counted.CONNECTIONS, client())
            await asyncio.sleep(1.01)
        limiter.error = None
        assert await ask(guard, Counted.CONNECTIONS, client()) == ""
        assert await ask(guard, Counted.CONNECTIONS, client()) == ""
        assert await ask(guard, Counted.CONNECTIONS, client()) != ""

    with caplog.at_level(logging.WARNING, "smtpx.server"):
        run(scenario())
    texts = [record.getMessage() for record in caplog.records]
    assert texts == [
        "Counting() does not tell, so clients are refused; "
        "1 times since last said: gone",
        "Counting() does not tell, so clients are refused; "
        "60 times since last said: gone",
        "Counting() answers again",
    ]


# --- In a server. ---


class Users(Session):
    """Knows no password; counts how many were checked, of all mechanisms."""

    checked = 0

    async def check_password(self, user: str, password: str) -> bool:
        Users.checked += 1
        await asyncio.sleep(0.2)
        return password == "right"

    async def readable_password(self, user: str) -> str | None:
        Users.checked += 1
        return "right"


def test_the_rate_of_connections_in_place_of_the_greeting(run_timed: Run) -> None:
    async def scenario() -> None:
        guard = RateGuard(Counting(), [RateRule(Counted.CONNECTIONS, RATE)])
        async with serve(Users, unlimited_networks=(), guards=(guard,)) as served:
            for _ in range(2):
                await served.ready()
            for _ in range(2):
                peer = await served.connect()
                assert await peer.reply() == REFUSED[Counted.CONNECTIONS]
                assert await peer.rest() == b""
            # The allow list of the server, and other addresses, go on.
            sock = socket.socket()
            sock.bind(("127.0.0.2", 0))
            assert await (await served.connect(sock=sock)).codes(1) == [220]

    run_timed(scenario())


def test_the_allow_list_goes_round_every_rate(run_timed: Run) -> None:
    async def scenario() -> None:
        limiter = Counting()
        guard = RateGuard(limiter, [RateRule(counted, RATE) for counted in Counted])
        networks = ("127.0.0.0/8",)
        async with serve(Users, unlimited_networks=networks, guards=(guard,)) as served:
            for _ in range(5):
                peer = await served.ready()
                assert await peer.say(b"AUTH PLAIN AGEAYg==\r\n") == [535]
                assert await peer.say(b"MAIL FROM:<a@c.test>\r\n") == [250]
        assert limiter.asked == 0

    run_timed(scenario())


def test_guesses_at_once_are_no_more_than_the_rate(run_timed: Run) -> None:
    async def scenario() -> None:
        Users.checked = 0
        limiter = Counting()
        guard = RateGuard(limiter, [RateRule(Counted.AUTH_FAILURES, Rate(5, 3_600))])
        async with serve(Users, unlimited_networks=(), guards=(guard,)) as served:
            peers = [await served.ready() for _ in range(30)]

            async def guess(peer: Peer) -> list[int]:
                return [
                    (await peer.say(b"AUTH PLAIN AGEAYg==\r\n"))[0] for _ in range(2)
                ]

            codes = chain.from_iterable(await asyncio.gather(*map(guess, peers)))
            assert Counter(codes) == {535: 5, 454: 55}
            assert Users.checked == 5
            assert limiter.counts.total() == 5
            # Neither does a right one help now.
            assert await peers[0].say(b"AUTH PLAIN AGEAcmlnaHQ=\r\n") == [454]

    run_timed(scenario())


def test_proofs_that_fail_late_count_too(run_timed: Run) -> None:
    async def scenario() -> None:
        limiter = Counting()
        guard = RateGuard(limiter, [RateRule(Counted.AUTH_FAILURES, RATE)])
        options: dict[str, Any] = {
            "auth_mechanisms": ("CRAM-MD5",),
            "unlimited_networks": (),
            "guards": (guard,),
        }
        async with serve(Users, **options) as served:
            peers = [await served.ready() for _ in range(5)]
            for peer in peers:
                assert await peer.say(b"AUTH CRAM-MD5\r\n") == [334]
            proof = base64.b64encode(b"a " + b"0" * 32) + b"\r\n"
            codes = []
            for peer in peers:
                codes += await peer.say(proof)
                # The reply leaves before it is counted; until then it counts twice.
                await until(lambda: not guard._asking and not guard._logins._by_key)
            assert codes == [535, 535, 454, 454, 454]
            assert limiter.counts.total() == 2

    run_timed(scenario())

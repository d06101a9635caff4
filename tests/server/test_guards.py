"""Guards: who asks them about what, in which order, and what comes of their answers."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from smtpx.core.events import MailReceived, RcptReceived
from smtpx.core.limits import Limits
from smtpx.errors import Refuse
from smtpx.server.body import Body
from smtpx.server.guards import UNGUARDED, Guard, guard_with
from smtpx.server.session import ConnectionInfo, Session
from smtpx.server.work import HOOK_CALLS
from smtpx.wire.replies import Reply
from tests.server.conftest import Run
from tests.server.peers import Served, recorder, serve, until, until_gone

LOGIN = b"AUTH PLAIN AHRpbQBzZWNyZXQ=\r\n"
MAIL = b"MAIL FROM:<a@c.test>\r\n"
RCPT = b"RCPT TO:<b@mx.test>\r\n"


class Watching(Guard):
    """Notes what it is asked, and answers what it was told to.

    Every method takes two turns of the loop, as one that asks somebody does.
    """

    def __init__(
        self, name: str = "", answers: Mapping[str, Reply | Exception] | None = None
    ) -> None:
        self.name = name
        self.answers = answers or {}
        self.log: list[str] = []

    async def _answer(self, what: str) -> Reply | None:
        self.log.append(f"{self.name}{what}")
        await asyncio.sleep(0)
        answer = self.answers.get(what)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def connected(self, connection: ConnectionInfo) -> Reply | None:
        return await self._answer("connected")

    async def authenticating(self, connection: ConnectionInfo) -> Reply | None:
        return await self._answer("authenticating")

    async def authenticated(
        self, connection: ConnectionInfo, identity: object
    ) -> Reply | None:
        return await self._answer("authenticated")

    async def auth_refused(self, connection: ConnectionInfo, reply: Reply) -> None:
        await self._answer(f"auth_refused {reply.code}")

    async def mail(
        self, connection: ConnectionInfo, reverse_path: object, options: object
    ) -> Reply | None:
        return await self._answer("mail")

    async def rcpt(
        self, connection: ConnectionInfo, forward_path: object, options: object
    ) -> Reply | None:
        return await self._answer("rcpt")

    def ended(self, connection: ConnectionInfo) -> None:
        self.log.append(f"{self.name}ended")

    async def close(self) -> None:
        self.log.append(f"{self.name}close")


class Submission(Session):
    """Knows one user, and takes everything."""

    async def check_password(self, user: str, password: str) -> bool:
        return (user, password) == ("tim", "secret")

    async def data(self, body: Body) -> None:
        await body.read()


def serve_guarded(
    *guards: Guard,
    session: type[Session] = Submission,
    **options: Any,  # noqa: ANN401 - the fields of ServerOptions
) -> AbstractAsyncContextManager[Served]:
    return serve(session, **{"unlimited_networks": (), "guards": guards, **options})


# --- Composition. ---


def test_without_guards_nothing_changes() -> None:
    assert guard_with(()) is UNGUARDED
    assert UNGUARDED.calls is HOOK_CALLS
    assert not UNGUARDED.kinds
    assert UNGUARDED.authenticating is None


def test_a_guard_costs_where_it_looks_only() -> None:
    class OfSenders(Guard):
        async def mail(
            self, connection: ConnectionInfo, reverse_path: object, options: object
        ) -> None: ...

    guarded = guard_with([OfSenders(), Guard()])
    assert guarded.kinds == {MailReceived}
    assert guarded.calls[RcptReceived] is HOOK_CALLS[RcptReceived]
    assert guarded.calls[MailReceived] is not HOOK_CALLS[MailReceived]
    assert guarded.authenticating is None
    assert guarded.auth_refused is None
    assert guard_with([Guard()]).kinds == frozenset()


# --- What is asked. ---


def test_everything_is_asked_in_order(run: Run) -> None:
    async def scenario() -> None:
        guard = Watching()
        async with serve_guarded(guard) as served:
            peer = await served.ready()
            assert await peer.say(LOGIN) == [235]
            assert await peer.say(MAIL + RCPT + b"DATA\r\n", 3) == [250, 250, 354]
            assert await peer.say(b"hi\r\n.\r\nQUIT\r\n", 2) == [250, 221]
            assert await peer.rest() == b""
            await until(lambda: not served.server.connections)
        assert guard.log == [
            "connected",
            "authenticating",
            "authenticated",
            "mail",
            "rcpt",
            "ended",
            "close",
        ]

    run(scenario())


def test_one_guard_after_another_and_the_session_last(run: Run) -> None:
    async def scenario() -> None:
        log: list[str] = []

        class Inbox(Submission):
            async def mail(self, reverse_path: object, options: object) -> None:
                log.append(f"session {reverse_path}")

        first, second = Watching("1 "), Watching("2 ")
        first.log = second.log = log
        async with serve_guarded(first, second, session=Inbox) as served:
            peer = await served.ready()
            assert await peer.say(MAIL) == [250]
        assert log[:5] == [
            "1 connected",
            "2 connected",
            "1 mail",
            "2 mail",
            "session a@c.test",
        ]

    run(scenario())


@pytest.mark.parametrize("host", ["127.0.0.0/8", "127.0.0.1"])
def test_nobody_asks_about_the_allow_list(run: Run, host: str) -> None:
    async def scenario() -> None:
        guard = Watching(answers={"connected": Reply(554, "5.7.1", "go")})
        async with serve_guarded(guard, unlimited_networks=(host,)) as served:
            peer = await served.ready()
            assert await peer.say(LOGIN) == [235]
            assert await peer.say(MAIL + RCPT, 2) == [250, 250]
        assert guard.log == ["ended", "close"]

    run(scenario())


def test_nobody_asks_about_unix_clients(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        guard = Watching(answers={"connected": Reply(554, "5.7.1", "go")})
        address = f"unix:{tmp_path / 'smtp'}"
        async with serve_guarded(guard, address=address) as served:
            await served.ready()
        assert guard.log == ["ended", "close"]

    run(scenario())


def test_nobody_asks_about_a_client_turned_away(run: Run) -> None:
    async def scenario() -> None:
        guard = Watching()
        async with serve_guarded(guard, max_connections_per_ip=1) as served:
            await served.ready()
            assert await (await served.connect()).codes(1) == [421]
        assert guard.log == ["connected", "ended", "ended", "close"]

    run(scenario())


WRONG = b"AUTH PLAIN AHRpbQB3cm9uZw==\r\n"


@pytest.mark.parametrize(
    ("octets", "codes", "told"),
    [
        (WRONG, [535], ["auth_refused 535"]),
        (WRONG * 3, [535, 535, 421], ["auth_refused 535"] * 2 + ["auth_refused 421"]),
        (b"AUTH PLAIN\r\n*\r\n", [334, 501], ["auth_refused 501"]),
        (b"AUTH PLAIN !\r\n", [501], []),
        (b"AUTH NTLM\r\n", [504], []),
        (LOGIN + WRONG, [235, 503], []),
    ],
)
def test_logins_that_fail_are_told(
    run: Run, octets: bytes, codes: list[int], told: list[str]
) -> None:
    async def scenario() -> None:
        guard = Watching()
        async with serve_guarded(guard) as served:
            peer = await served.ready()
            assert await peer.say(octets, len(codes)) == codes
            await peer.close()
            await until(lambda: not served.server.connections)
        assert [line for line in guard.log if "refused" in line] == told

    run(scenario())


def test_a_guard_that_fails_to_listen_changes_nothing(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        guard = Watching(answers={"auth_refused 535": OSError("deaf")})
        async with serve_guarded(guard) as served:
            peer = await served.ready()
            assert await peer.say(WRONG + LOGIN + MAIL, 3) == [535, 235, 250]

    run(scenario())
    (record,) = [r for r in caplog.records if r.exc_info]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "deaf"


@pytest.mark.parametrize("octets", [WRONG * 3, MAIL + b"QUOTE\r\n" * 9])
def test_a_hook_after_the_last_word_is_not_all_that_is_watched(
    run_timed: Run, octets: bytes
) -> None:
    class Slow(Submission):
        async def reset(self) -> None:
            await asyncio.sleep(1)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        limits = Limits(max_errors=9)
        async with serve_guarded(Watching(), session=Slow, limits=limits) as served:
            peer = await served.ready()
            peer.send(octets)
            assert b"\r\n421 " in await peer.rest()
            begun = loop.time()
            # The client has not closed: it has five seconds to do so.
            await until_gone(served, 0.1)
            assert 4.0 < loop.time() - begun < 6.0

    run_timed(scenario())


# --- What comes of it. ---

REFUSALS = [
    ("connected", Reply(421, "4.7.28", "slowly"), b"", ["421 4.7.28 slowly"]),
    ("connected", Reply(450, "4.7.1", "later"), b"", ["421 4.7.1 later"]),
    ("connected", Refuse(554, "5.7.1", "never"), b"", ["554 5.7.1 never"]),
    ("connected", OSError("down"), b"", ["421 4.3.0 *"]),
    ("authenticating", Reply(454, "4.7.28", "slowly"), LOGIN, ["454 4.7.28 slowly"]),
    ("authenticating", Refuse(535, "5.7.8", "no"), LOGIN, ["535 5.7.8 no"]),
    ("authenticating", OSError("down"), LOGIN, ["454 4.7.0 *"]),
    ("authenticated", Reply(454, "4.7.28", "slowly"), LOGIN, ["454 4.7.28 slowly"]),
    ("authenticated", OSError("down"), LOGIN, ["451 4.3.0 *"]),
    ("mail", Reply(450, "4.7.28", "slowly"), MAIL, ["450 4.7.28 slowly"]),
    ("mail", Refuse(550, "5.7.1", "no"), MAIL, ["550 5.7.1 no"]),
    ("mail", OSError("down"), MAIL, ["451 4.3.0 *"]),
    ("mail", Reply(250, None, "fine"), MAIL, ["451 4.3.0 *"]),
    ("rcpt", Reply(450, "4.7.28", "slowly"), MAIL + RCPT, ["250 *", "450 4.7.28 *"]),
    ("rcpt", OSError("down"), MAIL + RCPT, ["250 *", "451 4.3.0 *"]),
]


@pytest.mark.parametrize(("what", "answer", "octets", "expected"), REFUSALS)
def test_refusals(
    run: Run,
    what: str,
    answer: Reply | Exception,
    octets: bytes,
    expected: list[str],
) -> None:
    async def scenario() -> None:
        guard = Watching(answers={what: answer})
        asked: list[str] = []

        class Inbox(Submission):
            async def connected(self) -> None:
                asked.append("connected")

            async def check_password(self, user: str, password: str) -> bool:
                asked.append("authenticating")
                return True

            async def authorize(self, identity: object) -> None:
                asked.append("authenticated")

            async def mail(self, reverse_path: object, options: object) -> None:
                asked.append("mail")

            async def rcpt(self, forward_path: object, options: object) -> None:
                asked.append("rcpt")

        async with serve_guarded(guard, session=Inbox) as served:
            peer = await served.connect()
            if octets:
                assert await peer.codes(1) == [220]
                assert await peer.say(b"EHLO c.test\r\n") == [250]
                peer.send(octets)
            for line in expected:
                reply = await peer.reply()
                assert reply.startswith(line.removesuffix("*"))
                assert line.endswith("*") or reply == line
                assert "down" not in reply
            # The session was not asked what a guard refused.
            assert what not in asked

    run(scenario())


def test_what_guards_raise_at_the_end_is_logged(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Guard):
        def ended(self, connection: ConnectionInfo) -> None:
            raise OSError("one")

        async def close(self) -> None:
            raise OSError("two")

    async def scenario() -> None:
        last = Watching()
        async with serve_guarded(Failing(), last) as served:
            peer = await served.ready()
            assert await peer.say(b"QUIT\r\n") == [221]
            await until(lambda: not served.server.connections)
        assert last.log[-2:] == ["ended", "close"]

    with caplog.at_level(logging.ERROR, "smtpx.server"):
        run(scenario())
    raised = [str(r.exc_info[1]) for r in caplog.records if r.exc_info]
    assert raised == ["one", "two"]


def test_a_guard_that_waits_holds_up_nobody_else(run: Run) -> None:
    async def scenario() -> None:
        gate = asyncio.Event()

        class Slow(Guard):
            async def mail(
                self, connection: ConnectionInfo, reverse_path: object, options: object
            ) -> None:
                await gate.wait()

        async with serve_guarded(Slow()) as served:
            slow, calm = await served.ready(), await served.ready()
            slow.send(MAIL)
            for _ in range(20):
                assert await calm.say(b"NOOP\r\n") == [250]
            gate.set()
            assert await slow.codes(1) == [250]

    run(scenario())


def test_the_hooks_of_a_plain_session_are_granted(run: Run) -> None:
    async def scenario() -> None:
        guard, session = Watching(), recorder()
        async with serve_guarded(guard, session=session) as served:
            peer = await served.ready()
            assert await peer.say(MAIL + RCPT + b"DATA\r\n", 3) == [250, 250, 354]
            assert await peer.say(b"hi\r\n.\r\n") == [250]
        assert session.messages == [b"hi\r\n"]

    run(scenario())


# --- Clients that a gateway speaks for. ---

GATEWAY = ("127.0.0.0/8",)


class Naming(Guard):
    """Notes whom it is asked about, and refuses some."""

    def __init__(self, refused: str = "nobody") -> None:
        self.refused = refused
        self.hosts: list[str | None] = []

    async def connected(self, connection: ConnectionInfo) -> Reply | None:
        self.hosts.append(connection.peer_host)
        is_refused = connection.peer_host == self.refused
        return Reply(421, "4.7.28", "slowly") if is_refused else None


@pytest.mark.parametrize("told", [b"192.0.2.1", b"IPV6:2001:db8::1", b"[UNAVAILABLE]"])
def test_guards_see_whom_a_gateway_speaks_for(run: Run, told: bytes) -> None:
    async def scenario() -> None:
        guard = Naming()
        async with serve_guarded(
            guard, unlimited_networks=GATEWAY, xclient_networks=GATEWAY
        ) as served:
            peer = await served.ready()
            # The gateway itself is trusted; its clients, known or not, are nobody.
            assert guard.hosts == []
            assert await peer.say(b"XCLIENT ADDR=" + told + b"\r\n") == [220]
            name = told.decode().removeprefix("IPV6:")
            assert guard.hosts == [None if name[0] == "[" else name]

    run(scenario())


def test_a_guard_refuses_whom_a_gateway_speaks_for(run: Run) -> None:
    async def scenario() -> None:
        async with serve_guarded(
            Naming("192.0.2.1"), unlimited_networks=GATEWAY, xclient_networks=GATEWAY
        ) as served:
            peer = await served.ready()
            reply = await peer.ask(b"XCLIENT ADDR=192.0.2.1\r\n")
            assert reply == "421 4.7.28 slowly"
            assert await peer.rest() == b""

    run(scenario())


@pytest.mark.parametrize(
    ("networks", "is_allowed"),
    [
        (("127.0.0.0/8", "10.0.0.0/8"), True),
        # Somebody may listen between the gateway and us, or before the gateway.
        (("10.0.0.0/8",), False),
        (("127.0.0.0/8",), False),
    ],
)
def test_both_ways_of_a_gateway_must_be_private(
    run: Run, networks: tuple[str, ...], is_allowed: bool
) -> None:
    async def scenario() -> None:
        async with serve_guarded(
            require_tls=True,
            tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
            plaintext_networks=networks,
            xclient_networks=GATEWAY,
        ) as served:
            peer = await served.ready()
            told = b"XCLIENT ADDR=10.0.0.1\r\nEHLO c.test\r\n"
            assert await peer.say(told, 2) == [220, 250]
            assert await peer.say(MAIL) == [250 if is_allowed else 530]

    run(scenario())

"""The hook that is asked before TLS begins (RFC 3207 section 4)."""

from __future__ import annotations

import asyncio

import pytest

from smtpx.errors import Refuse
from smtpx.server.events import ErrorEvent, RefusedEvent, ServerEvent
from smtpx.server.session import Session
from smtpx.server.transform import Transform, transform
from smtpx.wire.replies import Reply
from tests.server.conftest import Certificates, Run
from tests.server.peers import Signal, serve


class Sink:
    def __init__(self) -> None:
        self.events: list[ServerEvent] = []

    def __call__(self, event: ServerEvent) -> None:
        self.events.append(event)


class Undecided(Session):
    """Refuses the first time."""

    asked = 0

    async def start_tls(self) -> Reply | None:
        self.asked += 1
        await asyncio.sleep(0)
        if self.asked == 1:
            raise Refuse(454, "4.7.0", "not now")
        return None


class Nothing(Transform):
    """Rewrites nothing."""


@pytest.mark.parametrize("is_transformed", [False, True])
def test_tls_begins_when_the_hook_says_so(
    run: Run, certificates: Certificates, is_transformed: bool
) -> None:
    session = transform(Undecided, Nothing) if is_transformed else Undecided

    async def scenario() -> None:
        sink = Sink()
        async with serve(session, tls=certificates.server, events=sink) as served:
            peer = await served.ready()
            assert await peer.ask(b"STARTTLS\r\n") == "454 4.7.0 not now"
            assert await peer.say(b"NOOP\r\n") == [250]
            assert await peer.say(b"STARTTLS\r\n") == [220]
            await peer.start_tls(certificates.client)
            assert await peer.say(b"EHLO c.test\r\nQUIT\r\n", 2) == [250, 221]
        refused = [event for event in sink.events if isinstance(event, RefusedEvent)]
        assert [(each.command, each.reply.code) for each in refused] == [
            ("STARTTLS", 454)
        ]

    run(scenario())


def test_a_reply_that_would_grant_it_is_none(
    run: Run, certificates: Certificates
) -> None:
    """Only the library's own 220 is followed by a handshake."""

    class Eager(Session):
        async def start_tls(self) -> Reply:
            return Reply(250, "2.0.0", "go on")

    async def scenario() -> None:
        sink = Sink()
        async with serve(Eager, tls=certificates.server, events=sink) as served:
            peer = await served.ready()
            assert await peer.say(b"STARTTLS\r\n") == [451]
            assert await peer.say(b"NOOP\r\n") == [250]
        (error,) = [event for event in sink.events if isinstance(event, ErrorEvent)]
        assert error.hook == "start_tls"

    run(scenario())


def test_what_comes_while_the_hook_thinks_is_never_run(
    run: Run, certificates: Certificates
) -> None:
    """CVE-2011-0411: a command in plaintext behind STARTTLS."""
    asked, go_on = Signal(), asyncio.Event()
    mails: list[object] = []

    class Slow(Session):
        async def start_tls(self) -> None:
            await asked.set()
            await go_on.wait()

        async def mail(self, reverse_path: object, options: object) -> None:
            mails.append(reverse_path)

    async def scenario() -> None:
        async with serve(Slow, tls=certificates.server) as served:
            peer = await served.ready()
            peer.send(b"STARTTLS\r\n")
            await asked.wait()
            peer.send(b"RSET\r\nMAIL FROM:<evil@x.test>\r\n")
            # They are on their way before the hook goes on.
            for _ in range(20):
                await asyncio.sleep(0)
            go_on.set()
            assert (await peer.rest()).startswith(b"421 4.7.0 nothing may follow")
        assert mails == []

    run(scenario())

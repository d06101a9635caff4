"""``Server.close`` stops now, whatever the hooks and the clients are doing."""

from __future__ import annotations

import asyncio

import pytest

from smtpx.server.body import Body
from smtpx.server.options import ServerOptions, ServerTimeouts
from smtpx.server.session import Session
from smtpx.wire.address import Mailbox
from smtpx.wire.params import MailOptions, RcptOptions
from tests.server.conftest import Run
from tests.server.peers import Signal, serve, settle, until


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

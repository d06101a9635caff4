"""Hooks that raise what is to end more than a hook, and tasks that others cancel."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from smtpx.server.session import Session
from smtpx.wire.replies import Reply
from tests.server.conftest import Certificates, Run
from tests.server.peers import recorder, serve


class Halt(BaseException):
    """No `Exception`, as what ``pytest.fail`` and ``sys.exit`` raise."""


def breaking(hook: str, *, waits: bool) -> type[Any]:
    """Make a session class of which one hook raises `Halt`, at once or later."""

    async def halt(_self: Session, *_arguments: object) -> None:
        if waits:
            await asyncio.sleep(0)
        raise Halt

    return recorder(**{hook: halt})


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("hook", ["connected", "hello", "mail", "data", "reset"])
def test_a_client_waits_for_no_answer_that_nobody_gives(
    run: Run, hook: str, waits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It would wait for as long as one may be silent, which is minutes."""
    kind = breaking(hook, waits=waits)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, _context: None)
        async with serve(kind) as served:
            peer = await served.connect()
            peer.send(b"EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<b@c.test>\r\n")
            peer.send(b"DATA\r\nx\r\n.\r\nNOOP\r\n")
            assert b"message accepted" not in (await peer.rest()) or hook == "reset"
            # Others are served.
            assert await (await served.connect()).rest_of_one() or hook == "connected"
        assert kind.log[-1].startswith("closed: ")

    with caplog.at_level(logging.ERROR, "smtpx.server"):
        run(scenario())
    assert "a hook raised; dropping the connection" in caplog.text


@pytest.mark.parametrize("answer", [None, Reply(550, "5.1.1", "no")])
def test_a_hook_that_is_no_coroutine_is_told_how_to_be_one(
    run: Run, answer: Reply | None, caplog: pytest.LogCaptureFixture
) -> None:
    """``def`` for ``async def`` is the first mistake of many."""

    def rcpt(_self: Session, *_arguments: object) -> Reply | None:
        return answer

    heard: list[bytes] = []

    async def scenario() -> None:
        async with serve(recorder(rcpt=rcpt)) as served:
            peer = await served.connect()
            peer.send(b"HELO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<b@c.test>\r\n")
            peer.send(b"NOOP\r\nQUIT\r\n")
            heard.extend((await peer.rest()).split(b"\r\n"))

    with caplog.at_level(logging.ERROR, "smtpx.server"):
        run(scenario())
    *_, refusal, ok, _bye, _end = heard
    # A recipient whom nobody decided on is not taken.
    assert refusal.startswith(b"451 4.3.0 ")
    assert ok.startswith(b"250 ")
    assert f"a hook returned {answer!r}, which cannot be awaited" in caplog.text
    assert "begin it with async def" in caplog.text


def test_a_handshake_whose_task_is_cancelled_ends_the_session(
    run: Run, certificates: Certificates
) -> None:
    """As when a program cancels all tasks, and closes its server then."""
    kind = recorder()

    async def scenario() -> None:
        async with serve(kind, tls=certificates.server) as served:
            mine = asyncio.all_tasks()
            peer = await served.ready()
            assert await peer.say(b"STARTTLS\r\n") == [220]
            for task in asyncio.all_tasks() - mine:
                task.cancel()
            assert await peer.rest() in {b"", b"(reset)"}
            await served.server.close()
        assert kind.log == ["closed: TLS handshake given up"]

    run(scenario())

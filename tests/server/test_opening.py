"""How a transport is made of a socket, on loops that have their own ideas of it."""

from __future__ import annotations

import asyncio
import errno
import logging
from typing import Any

import pytest

from tests.server.peers import recorder, serve, until


class Loop(asyncio.SelectorEventLoop):
    """Does something before, or after, it makes the transport of an accepted socket."""

    yields = 0
    fails_before = False
    fails_after = False

    async def connect_accepted_socket(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever it gets and gives
        for _ in range(self.yields):
            await asyncio.sleep(0)
        if self.fails_before:
            raise OSError(errno.ENOBUFS, "no room")
        made = await super().connect_accepted_socket(*args, **options)
        if self.fails_after:
            raise OSError(errno.EIO, "too late")
        return made


def make_loop(**properties: object) -> Loop:
    loop = Loop()
    for name, value in properties.items():
        setattr(loop, name, value)
    return loop


@pytest.mark.parametrize("yields", [0, 1, 3])
def test_a_loop_that_takes_its_time(yields: int) -> None:
    async def scenario() -> None:
        async with serve(recorder()) as served:
            peer = await served.ready()
            assert await peer.say(b"NOOP\r\n") == [250]

    with asyncio.Runner(loop_factory=lambda: make_loop(yields=yields)) as runner:
        runner.run(scenario())


@pytest.mark.parametrize("yields", [0, 1])
def test_a_loop_that_cannot(caplog: pytest.LogCaptureFixture, yields: int) -> None:
    caplog.set_level(logging.INFO, "smtpx.server")

    async def scenario() -> None:
        async with serve(recorder()) as served:
            peer = await served.connect()
            assert await peer.rest() in {b"", b"(reset)"}
            await until(lambda: not served.server.connections)

    loop = make_loop(yields=yields, fails_before=True)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(scenario())
    assert "no room" in caplog.text


def test_a_loop_that_fails_when_all_is_done(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with serve(recorder()) as served:
            peer = await served.ready()
            assert await peer.say(b"QUIT\r\n") == [221]
            await until(lambda: not served.server.connections)

    with asyncio.Runner(loop_factory=lambda: make_loop(fails_after=True)) as runner:
        runner.run(scenario())
    assert "cannot be opened" in caplog.text
    assert "too late" in caplog.text

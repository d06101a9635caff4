"""``Server.close`` stops now, whatever the hooks and the clients are doing."""

from __future__ import annotations

import asyncio

import pytest

import smtpx


async def _talk(server: smtpx.Server, octets: bytes) -> asyncio.StreamReader:
    host, _, port = server.addresses[0].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(octets)
    # The writer is kept alive by the transport; the server closes the connection.
    return reader


async def test_pipelined_commands_start_no_hook_after_close() -> None:
    started: list[str] = []
    is_waiting = asyncio.Event()

    class Slow(smtpx.Session):
        async def mail(
            self, reverse_path: smtpx.Mailbox | None, options: smtpx.MailOptions
        ) -> smtpx.Reply | None:
            started.append(str(reverse_path))
            is_waiting.set()
            await asyncio.Event().wait()
            return None

    async with smtpx.Server(Slow) as server:
        lines = b"".join(b"MAIL FROM:<%d@a.example>\r\n" % n for n in range(20))
        reader = await _talk(server, b"EHLO client.test\r\n" + lines)
        await is_waiting.wait()
        await server.close()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1 << 20)
    assert started == ["0@a.example"]


async def test_hooks_that_clean_up_are_given_the_linger_time_and_no_more() -> None:
    ended: list[str] = []
    is_waiting = asyncio.Event()

    class Slow(smtpx.Session):
        async def mail(
            self, reverse_path: smtpx.Mailbox | None, options: smtpx.MailOptions
        ) -> smtpx.Reply | None:
            is_waiting.set()
            return None

        async def closed(self, reason: str) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(reason)

    options = smtpx.ServerOptions(timeouts=smtpx.ServerTimeouts(linger=0.05))
    async with smtpx.Server(Slow, options=options) as server:
        await _talk(server, b"EHLO client.test\r\nMAIL FROM:<a@a.example>\r\n")
        await is_waiting.wait()
        await server.close()
    assert ended == ["the server is closing"]


async def test_a_hook_that_cancels_its_own_task_leaves_nothing_behind() -> None:
    ended: list[str] = []

    class Suicidal(smtpx.Session):
        async def rcpt(
            self, forward_path: smtpx.Mailbox, options: smtpx.RcptOptions
        ) -> smtpx.Reply | None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.Event().wait()
            return None

        async def closed(self, reason: str) -> None:
            ended.append(reason)

    async with smtpx.Server(Suicidal) as server:
        reader = await _talk(server, b"EHLO client.test\r\nMAIL FROM:<a@a.example>\r\n")
        while not (await reader.readline()).startswith(b"250 2.1.0"):
            pass
        reader2 = await _talk(
            server,
            b"EHLO client.test\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\n",
        )
        await reader2.read()
    # close() returned, so both connections were counted out and told so.
    assert len(ended) == 2


def test_mechanisms_that_nobody_knows_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="no mechanism FOO is known"):
        smtpx.ServerOptions(auth_mechanisms=("PLAIN", "FOO"))

"""Messages on a socket: streams, backpressure, cuts, and LMTP."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import pytest

from smtpx.errors import MessageAborted, Refuse
from smtpx.server.body import Body
from smtpx.server.session import Session, Statuses
from smtpx.wire.address import Mailbox
from smtpx.wire.options import MailOptions
from smtpx.wire.replies import Reply
from tests.server.conftest import Run
from tests.server.peers import (
    Peer,
    Recorder,
    Served,
    Signal,
    recorder,
    serve,
    settle,
    tight_listener,
    tight_socket,
    until,
)

ENVELOPE = b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\n"
BLOCK = b"x" * 998 + b"\r\n"


@pytest.mark.parametrize("begin", [b"DATA\r\n", b"BDAT 3000000 LAST\r\n"])
def test_a_handler_reads_while_octets_arrive(run: Run, begin: bytes) -> None:
    async def scenario() -> None:
        blocks: list[bytes] = []
        started = Signal()

        class Streaming(Session):
            async def data(self, body: Body) -> None:
                async for block in body:
                    blocks.append(block)
                    await started.set()
                assert body.octets_received == 3_000_000

        async with serve(Streaming) as served:
            peer = await served.ready()
            await peer.say(ENVELOPE, 2)
            peer.send(begin)
            if begin.startswith(b"DATA"):
                await peer.codes(1)
            peer.send(BLOCK)
            # The first block is read before the rest is sent.
            await started.wait()
            for _ in range(2_999):
                peer.send(BLOCK)
            if begin.startswith(b"DATA"):
                peer.send(b".\r\n")
            assert await peer.codes(1) == [250]
            assert b"".join(blocks) == BLOCK * 3_000
            assert len(blocks) > 10

    run(scenario())


@pytest.mark.parametrize("begin", [b"DATA\r\n", b"BDAT 40000000 LAST\r\n"])
def test_a_slow_handler_makes_the_client_wait(run: Run, begin: bytes) -> None:
    async def scenario() -> None:
        gate = asyncio.Event()
        bodies: list[Body] = []
        total = 40_000_000

        class Slow(Session):
            async def data(self, body: Body) -> None:
                bodies.append(body)
                await gate.wait()
                count = 0
                async for block in body:
                    count += len(block)
                assert count == total

        async with serve(Slow, read_ahead_octets=10_000) as served:
            sock = socket.socket()
            # Small, so that what the kernel holds is small beside the message.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
            peer = await served.connect(sock=sock)
            await peer.codes(1)
            await peer.say(b"EHLO c.test\r\n" + ENVELOPE, 3)
            peer.send(begin)
            if begin.startswith(b"DATA"):
                await peer.codes(1)
            block = BLOCK * 1_000
            sent = 0
            loop = asyncio.get_running_loop()
            # Push until nothing moves any more.
            blocked = loop.create_task(push(peer, block, total))
            await until(lambda: bool(bodies))
            while True:
                before = bodies[0].octets_received
                for _ in range(200):
                    await asyncio.sleep(0)
                if bodies[0].octets_received == before:
                    break
            sent = bodies[0].octets_received
            # The read-ahead and one block of the size in which the kernel gives them.
            assert 0 < sent <= 10_000 + 300_000
            assert not blocked.done()
            gate.set()
            await blocked
            if begin.startswith(b"DATA"):
                peer.send(b".\r\n")
            assert await peer.codes(1) == [250]

    run(scenario())


async def push(peer: Peer, block: bytes, total: int) -> None:
    for _ in range(total // len(block)):
        peer.send(block)
        await peer.writer.drain()


def test_blocks_that_were_read_make_room(run: Run) -> None:
    async def scenario() -> None:
        class Careful(Session):
            async def data(self, body: Body) -> Reply:
                most = 0
                async for _ in body:
                    most = max(most, body.buffered)
                    await asyncio.sleep(0)
                return Reply(250, None, str(most))

        async with serve(Careful, read_ahead_octets=1_000) as served:
            peer = await served.ready()
            await peer.say(ENVELOPE, 2)
            peer.send(b"BDAT 5000000 LAST\r\n")
            await push(peer, BLOCK * 100, 5_000_000)
            answered = await peer.reply()
            assert answered.startswith("250 ")
            assert int(answered.split()[-1]) <= 1_000 + 300_000

    run(scenario())


@pytest.mark.parametrize("is_refused", [True, False])
@pytest.mark.parametrize("begin", [b"DATA\r\n", b"BDAT 300000 LAST\r\n"])
def test_what_a_handler_leaves_unread_is_drained(
    run: Run, begin: bytes, is_refused: bool
) -> None:
    calls = 0

    class Idle(Session):
        async def data(self, body: Body) -> None:
            nonlocal calls
            calls += 1
            if is_refused:
                raise Refuse(550, "5.7.1", "not this")

    async def scenario() -> None:
        async with serve(Idle, read_ahead_octets=1_000) as served:
            peer = await served.ready()
            is_data = begin.startswith(b"DATA")
            for count in (1, 2):
                content = b"QUIT\r\n" * 50_000 + (b".\r\n" if is_data else b"")
                peer.send(ENVELOPE + begin + content + b"NOOP\r\n")
                codes = await peer.codes(5 if is_data else 4)
                assert codes[-2:] == [550 if is_refused else 250, 250]
                # What is drained is no message of its own.
                assert calls == count

    run(scenario())


def test_a_body_is_read_in_part(run: Run) -> None:
    class Taster(Session):
        async def data(self, body: Body) -> Reply:
            async for block in body:
                return Reply(250, None, f"tasted {block[:5].decode()}")
            return Reply(550)

    async def scenario() -> None:
        async with serve(Taster) as served:
            peer = await served.ready()
            peer.send(ENVELOPE + b"DATA\r\n" + b"taste this\r\n" * 100_000 + b".\r\n")
            assert await peer.codes(3) == [250, 250, 354]
            assert await peer.reply() == "250 2.0.0 tasted taste"

    run(scenario())


@pytest.mark.parametrize("begin", [b"DATA\r\n", b"BDAT 100 LAST\r\n", b"BDAT 3\r\n"])
@pytest.mark.parametrize("is_reset", [False, True])
def test_client_that_vanishes_in_a_message(
    run: Run, begin: bytes, is_reset: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        started, aborted = Signal(), Signal()
        blocks: list[bytes] = []

        class Careful(recorder()):  # type: ignore[misc]
            async def data(self, body: Body) -> None:
                await started.set()
                try:
                    blocks.extend([await anext(body)])
                    await body.read()
                except MessageAborted:
                    await aborted.set()
                    raise

        async with serve(Careful) as served:
            peer = await served.ready()
            await peer.say(ENVELOPE, 2)
            peer.send(begin + b"hal")
            await started.wait()
            if is_reset:
                peer.abort()
            else:
                await peer.close()
            await aborted.wait()
            await until(lambda: not served.server.connections)
        assert blocks == [b"hal"]
        assert Careful.log[0] == "reset"
        assert len(Careful.log) == 2

    run(scenario())
    # A client that is gone is no fault of the handler's.
    assert "a hook raised" not in caplog.text


def test_rset_between_chunks_aborts_the_handler(run: Run) -> None:
    async def scenario() -> None:
        reasons: list[str] = []

        class Careful(recorder()):  # type: ignore[misc]
            async def data(self, body: Body) -> None:
                try:
                    await body.read()
                except MessageAborted as error:
                    reasons.append(error.reason)
                    raise

        async with serve(Careful) as served:
            peer = await served.ready()
            peer.send(ENVELOPE + b"BDAT 3\r\nabcRSET\r\nNOOP\r\n")
            assert await peer.codes(5) == [250] * 5
            peer.send(ENVELOPE + b"BDAT 3\r\nabc")
            assert await peer.codes(3) == [250] * 3
            assert await peer.say(b"EHLO c.test\r\n") == [250]
            assert await peer.say(b"MAIL FROM:<>\r\n") == [250]
        assert reasons[-1] == "EHLO before the end of the message"
        assert Careful.messages == []
        assert Careful.log[:2] == ["reset", "reset"]

    run(scenario())


def test_noop_between_chunks_while_the_handler_waits(run: Run) -> None:
    async def scenario() -> None:
        inbox = recorder()
        async with serve(inbox) as served:
            peer = await served.ready()
            assert await peer.say(ENVELOPE + b"BDAT 3\r\nabc", 3) == [250] * 3
            await until(lambda: inbox.log == ["data"])
            assert await peer.say(b"NOOP\r\n") == [250]
            assert await peer.say(b"VRFY x\r\n") == [503]
            assert await peer.say(b"BDAT 3 LAST\r\ndef") == [250]
            assert inbox.messages == [b"abcdef"]

    run(scenario())


def test_empty_messages(run: Run) -> None:
    async def scenario() -> None:
        inbox = recorder()
        async with serve(inbox) as served:
            peer = await served.ready()
            assert await peer.say(ENVELOPE + b"DATA\r\n.\r\n", 4) == [
                250,
                250,
                354,
                250,
            ]
            assert await peer.say(ENVELOPE + b"BDAT 0 LAST\r\n", 3) == [250] * 3
            assert await peer.say(ENVELOPE + b"BDAT 0\r\nBDAT 0 LAST\r\n", 4) == (
                [250] * 4
            )
            assert inbox.messages == [b""] * 3

    run(scenario())


def test_a_flood_of_small_chunks(run: Run) -> None:
    async def scenario() -> None:
        inbox = recorder()
        async with serve(inbox) as served:
            peer = await served.ready()
            peer.send(ENVELOPE + b"BDAT 1\r\nx" * 20_000 + b"BDAT 0 LAST\r\n")
            assert await peer.codes(20_003) == [250] * 20_003
            assert inbox.messages == [b"x" * 20_000]

    run(scenario())


def test_peer_that_reads_late_while_the_handler_waits_for_octets(run: Run) -> None:
    # Replies to chunks fill the way back; when the client reads, all goes on.
    async def scenario() -> None:
        with tight_listener() as listener:
            inbox = recorder()
            async with serve(inbox, listener) as served:
                await read_late(served, inbox)
                assert inbox.messages == [b"x" * (CHUNKS + 1)]

    run(scenario())


def test_commands_behind_a_hook_make_the_client_wait(run: Run) -> None:
    async def scenario() -> None:
        gate = asyncio.Event()
        begun = asyncio.Event()

        class Slow(Session):
            async def mail(
                self, reverse_path: Mailbox | None, options: MailOptions
            ) -> None:
                begun.set()
                await gate.wait()

        with tight_listener() as listener:
            async with serve(Slow, listener) as served:
                peer = await served.connect(sock=tight_socket())
                await peer.codes(1)
                await peer.say(b"EHLO c.test\r\n", 1)
                peer.send(b"MAIL FROM:<a@c.test>\r\n")
                await begun.wait()
                transport = cast("asyncio.Transport", peer.writer.transport)
                peer.send(b"NOOP\r\n" * 2_000_000)
                # Most of 12 MB stays with the client: nobody takes it in to wait here.
                assert await settle(transport.get_write_buffer_size) > 6_000_000
                transport.abort()
                gate.set()

    run(scenario())


CHUNKS = 80_000


async def read_late(served: Served, inbox: type[Recorder]) -> None:
    peer = await served.connect(sock=tight_socket())
    await peer.codes(1)
    await peer.say(b"EHLO c.test\r\n" + ENVELOPE + b"BDAT 1\r\nx", 4)
    # The handler has begun, and waits for more.
    await until(lambda: "data" in inbox.log)
    transport = cast("asyncio.Transport", peer.writer.transport)
    transport.pause_reading()
    peer.send(b"BDAT 1\r\nx" * CHUNKS + b"BDAT 0 LAST\r\n")
    assert await settle(transport.get_write_buffer_size) > 0
    transport.resume_reading()
    assert await peer.codes(CHUNKS + 1) == [250] * (CHUNKS + 1)


def test_body_outlives_no_hook(run: Run) -> None:
    async def scenario() -> None:
        errors: list[BaseException] = []

        class Hasty(Session):
            async def data(self, body: Body) -> None:
                self.task = asyncio.create_task(self.read(body))
                await asyncio.sleep(0)

            async def read(self, body: Body) -> None:
                try:
                    await body.read()
                except RuntimeError as error:
                    errors.append(error)

        async with serve(Hasty) as served:
            peer = await served.ready()
            await peer.say(ENVELOPE + b"DATA\r\n", 3)
            peer.send(b"hal")
            await until(lambda: bool(errors))
            # The connection goes on as if nobody had read.
            assert await peer.say(b"f\r\n.\r\n") == [250]
            assert await peer.say(b"NOOP\r\n") == [250]
        assert "before its hook returns" in str(errors[0])

    run(scenario())


# --- LMTP. ---

THREE = b"MAIL FROM:<>\r\n" + b"".join(
    b"RCPT TO:<%d@mx.test>\r\n" % number for number in range(3)
)


@pytest.mark.parametrize("option", ["lmtp", "lmtp_too"])
@pytest.mark.parametrize("begin", [b"DATA\r\nhi\r\n.\r\n", b"BDAT 4 LAST\r\nhi\r\n"])
def test_lmtp_first_status_is_sent_before_the_second_is_known(
    run: Run, begin: bytes, option: str
) -> None:
    async def scenario() -> None:
        gate = asyncio.Event()

        class Local(Session):
            async def lmtp_data(self, body: Body, statuses: Statuses) -> Reply:
                first, second, _third = statuses.recipients
                await body.read()
                statuses.set(first, Reply(250, None, "first"))
                await gate.wait()
                statuses.set(second, Reply(452, None, "second"))
                return Reply(550, None, "others")

        options: dict[str, Any] = {option: True}
        async with serve(Local, **options) as served:
            peer = await served.ready()
            peer.send(THREE + begin)
            codes = [250] * 4 + ([354] if begin.startswith(b"DATA") else [])
            assert await peer.codes(len(codes)) == codes
            assert await peer.reply() == "250 2.0.0 first"
            gate.set()
            assert await peer.reply() == "452 4.0.0 second"
            assert await peer.reply() == "550 5.0.0 others"
            assert await peer.say(b"NOOP\r\n") == [250]

    run(scenario())


def test_lmtp_status_known_before_the_end(run: Run) -> None:
    async def scenario() -> None:
        gate, early = asyncio.Event(), Signal()

        class Local(Session):
            async def lmtp_data(self, body: Body, statuses: Statuses) -> None:
                statuses.set(statuses.recipients[0], Reply(550, None, "never you"))
                await early.set()
                await body.read()
                await gate.wait()

        async with serve(Local, lmtp=True) as served:
            peer = await served.ready()
            await peer.say(THREE + b"DATA\r\n", 5)
            peer.send(b"hal")
            await early.wait()
            peer.send(b"f\r\n.\r\n")
            # It leaves at the end of the message, not at that of the hook.
            assert await peer.reply() == "550 5.0.0 never you"
            gate.set()
            assert await peer.codes(2) == [250, 250]

    run(scenario())


@pytest.mark.parametrize("count", [0, 1, 3])
def test_lmtp_hook_that_fails_after_some_statuses(run: Run, count: int) -> None:
    class Local(Session):
        async def lmtp_data(self, body: Body, statuses: Statuses) -> None:
            for recipient in statuses.recipients[:count]:
                statuses.set(recipient, Reply(250))
            raise ValueError("no more")

    async def scenario() -> None:
        async with serve(Local, lmtp=True) as served:
            peer = await served.ready()
            peer.send(THREE + b"DATA\r\nhi\r\n.\r\nNOOP\r\n")
            codes = await peer.codes(9)
            assert codes[5:] == [250] * count + [451] * (3 - count) + [250]

    run(scenario())


def test_a_session_is_of_the_protocol_that_its_client_speaks(run: Run) -> None:
    class Both(Session):
        async def hello(self, name: str) -> Reply | None:
            # Until it is granted, nothing is decided.
            said.append(self.connection.is_lmtp)
            return Reply(550) if name == "bad.test" else None

        async def data(self, body: Body) -> Reply | None:
            said.append(self.connection.protocol)
            return Reply(250, None, "once")

        async def lmtp_data(self, body: Body, statuses: Statuses) -> Reply | None:
            said.append(self.connection.protocol)
            return Reply(250, None, "each")

    said: list[object] = []

    async def scenario() -> None:
        content = b"DATA\r\nhi\r\n.\r\nNOOP\r\n"
        async with serve(Both, lmtp_too=True) as served:
            peer = await served.connect()
            greetings = b"EHLO bad.test\r\nLHLO bad.test\r\nLHLO c.test\r\n"
            peer.send(greetings + THREE + content)
            codes = [220, 550, 550, *[250] * 5, 354, *[250] * 4]
            assert await peer.codes(len(codes)) == codes
            assert said == [False, False, False, "LMTP"]
            said.clear()
            peer = await served.connect()
            peer.send(b"EHLO c.test\r\n" + THREE + content)
            codes = [220, *[250] * 5, 354, 250, 250]
            assert await peer.codes(len(codes)) == codes
            assert said == [False, "ESMTP"]

    run(scenario())


def test_lmtp_data_answers_for_all(run: Run) -> None:
    async def scenario() -> None:
        inbox = recorder()
        async with serve(inbox, lmtp=True) as served:
            peer = await served.ready()
            peer.send(THREE + b"DATA\r\nhi\r\n.\r\nNOOP\r\n")
            assert await peer.codes(9) == [250] * 4 + [354] + [250] * 4
            assert inbox.messages == [b"hi\r\n"]

    run(scenario())


def test_lmtp_status_of_a_stranger(run: Run) -> None:
    async def scenario() -> None:
        kept: list[Statuses] = []

        class Local(Session):
            async def lmtp_data(self, body: Body, statuses: Statuses) -> None:
                if kept:
                    # Of the message before.
                    statuses.set(kept[0].recipients[1], Reply(250))
                kept.append(statuses)

        async with serve(Local, lmtp=True) as served:
            peer = await served.ready()
            peer.send(THREE + b"DATA\r\n.\r\n")
            assert await peer.codes(8) == [250] * 4 + [354] + [250] * 3
            peer.send(THREE + b"DATA\r\n.\r\n")
            assert await peer.codes(8) == [250] * 4 + [354] + [451] * 3

    run(scenario())

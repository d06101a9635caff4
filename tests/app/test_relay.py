"""Relaying: what was acknowledged here was acknowledged there, whatever breaks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import pytest

from smtpx.app.relay import Relay, RelaySession
from smtpx.client.options import Chunking, ClientOptions, Timeouts
from smtpx.core.limits import Limits
from smtpx.errors import ConnectError
from smtpx.server.body import Body
from smtpx.server.listener import Server
from smtpx.server.options import ServerOptions, ServerTimeouts
from smtpx.server.session import ConnectionInfo, Session
from smtpx.server.transform import Transform, transform
from smtpx.wire.address import Mailbox
from smtpx.wire.params import RcptOptions
from smtpx.wire.preamble import ProxyHeader
from smtpx.wire.replies import Reply
from tests.app.upstream import DROP, HANG, Upstream, upstream
from tests.server.peers import ClockLoop, Peer, Served, run_on, serve, until

ENVELOPE = b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\n"
CONTENT = b"Subject: x\r\n\r\n.one\r\ntwo\r\n"
STUFFED = CONTENT.replace(b"\r\n.", b"\r\n..")
MESSAGE = ENVELOPE + b"DATA\r\n" + STUFFED + b".\r\n"
QUIT = b"QUIT\r\n"
EHLO = b"EHLO c.test\r\n"
FINE = "250 2.0.0 queued as 4XkQ"


def run(scenario: Coroutine[Any, Any, None]) -> None:
    run_on(asyncio.new_event_loop, scenario)


def run_timed(scenario: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=ClockLoop) as runner:
        runner.run(scenario)


OPTIONS = ClientOptions(hello_name="relay.test")


@contextlib.asynccontextmanager
async def relaying(
    script: Upstream,
    *,
    scheme: str = "smtp+plain",
    options: ClientOptions = OPTIONS,
    pass_auth: bool = False,
    step: type[Transform] | None = None,
    timeouts: ServerTimeouts | None = None,
    **settings: Any,  # noqa: ANN401 - the fields of ServerOptions
) -> AsyncIterator[Served]:
    async with upstream(script):
        url = f"{scheme}://{script.address}"
        relay = Relay(url, options=options, pass_auth=pass_auth)
        session = relay if step is None else transform(relay, step)
        async with serve(session, timeouts=timeouts, **settings) as served:
            yield served
        await until(lambda: script.open_connections == 0)


async def replies(peer: Peer, octets: bytes, count: int) -> list[str]:
    peer.send(octets)
    return [await peer.reply() for _ in range(count)]


# --- All is well. ---


@pytest.mark.parametrize("chunking", [Chunking.AUTO, Chunking.ALWAYS])
def test_the_replies_are_those_of_the_next_server(chunking: Chunking) -> None:
    async def scenario() -> None:
        script = Upstream()
        options = replace(OPTIONS, chunking=chunking)
        async with relaying(script, options=options) as served:
            peer = await served.ready()
            assert script.connections == 0
            assert await replies(peer, MESSAGE, 4) == [
                "250 2.1.0 sender fine",
                "250 2.1.5 recipient fine",
                "354 end data with <CRLF>.<CRLF>",
                FINE,
            ]
            # One connection for all transactions.
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
            assert await peer.say(QUIT) == [221]
        assert script.messages == script.acknowledged == [CONTENT, CONTENT]
        once = ["MAIL FROM:<a@c.test>", "RCPT TO:<b@mx.test>"]
        once.append("DATA" if chunking is Chunking.AUTO else "BDAT 25 LAST")
        assert script.commands == ["EHLO relay.test", *once, *once, "QUIT"]
        assert script.connections == 1

    run(scenario())


def test_what_the_next_server_refuses() -> None:
    async def scenario() -> None:
        script = Upstream(
            {
                "MAIL 1": "550 5.7.1 not you",
                "RCPT 1": "550 5.1.1 no such user\nsee the manual".replace(
                    "\n", "\r\n550 5.1.1 "
                ).replace("550 5.1.1 no", "550-5.1.1 no"),
                "RCPT 2": "450 4.2.1 busy",
                "DATA 1": "452 4.3.1 disk full",
                ". 1": "554 5.6.0 we do not like it",
            }
        )
        async with relaying(script) as served:
            peer = await served.ready()
            mail, rcpt = ENVELOPE.splitlines(keepends=True)
            assert await replies(peer, mail, 1) == ["550 5.7.1 not you"]
            assert await replies(peer, mail + rcpt * 3, 4) == [
                "250 2.1.0 sender fine",
                "550-5.1.1 no such user\n550 5.1.1 see the manual",
                "450 4.2.1 busy",
                "250 2.1.5 recipient fine",
            ]
            # Its DATA is refused once the client's has been granted.
            data = b"DATA\r\n" + STUFFED + b".\r\n"
            assert (await replies(peer, data, 2))[1] == "452 4.3.1 disk full"
            assert (await replies(peer, MESSAGE, 4))[3] == "554 5.6.0 we do not like it"
            assert (await replies(peer, MESSAGE, 4))[3] == FINE
        assert script.acknowledged == [CONTENT]
        # What a refused DATA left is cleared before the next MAIL.
        assert script.verbs().count("RSET") == 2
        assert script.connections == 1

    run(scenario())


def test_a_transaction_given_up_here_is_given_up_there() -> None:
    async def scenario() -> None:
        script = Upstream()
        async with relaying(script) as served:
            peer = await served.ready()
            assert await peer.say(ENVELOPE + b"RSET\r\n", 3) == [250, 250, 250]
            assert await peer.say(ENVELOPE + EHLO, 3) == [250, 250, 250]
            assert await peer.say(ENVELOPE + QUIT, 3) == [250, 250, 221]
        assert script.verbs() == [
            "EHLO",
            *("MAIL", "RCPT", "RSET") * 3,
            "QUIT",
        ]
        assert script.messages == []

    run(scenario())


def test_parameters_are_passed_on_where_they_are_known() -> None:
    mail = b"MAIL FROM:<a@c.test> SIZE=25 BODY=7BIT\r\n"

    async def scenario(keywords: str, said: str) -> None:
        script = Upstream({"EHLO": f"250-next.test\r\n{keywords}250 HELP"})
        async with relaying(script) as served:
            peer = await served.ready()
            assert await peer.say(mail) == [250]
        assert script.commands[1] == said

    run(
        scenario(
            "250-SIZE\r\n250-8BITMIME\r\n", "MAIL FROM:<a@c.test> BODY=7BIT SIZE=25"
        )
    )
    run(scenario("", "MAIL FROM:<a@c.test>"))


def test_the_auth_parameter_is_for_servers_that_know_auth() -> None:
    class Users(RelaySession):
        async def check_password(self, user: str, password: str) -> bool:
            return True

    async def scenario(keyword: str, said: str) -> None:
        script = Upstream({"EHLO": f"250-next.test\r\n{keyword}250 HELP"})
        async with upstream(script):
            relay = Relay(f"smtp+plain://{script.address}", options=OPTIONS)
            async with serve(lambda info: Users(info, relay)) as served:
                peer = await served.ready()
                assert await peer.say(b"AUTH PLAIN AHRpbQB4\r\n") == [235]
                assert await peer.say(b"MAIL FROM:<> AUTH=<>\r\n") == [250]
        assert script.commands[1] == said

    run(scenario("250-AUTH PLAIN\r\n", "MAIL FROM:<> AUTH=<>"))
    run(scenario("", "MAIL FROM:<>"))


def test_what_the_next_server_cannot_do(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        script = Upstream({"EHLO": "250-next.test\r\n250 LIMITS RCPTMAX=1"})
        async with relaying(script, dsn=True) as served:
            peer = await served.ready()
            mail, rcpt = ENVELOPE.splitlines(keepends=True)
            assert await replies(peer, b"MAIL FROM:<> BODY=8BITMIME\r\n", 1) == [
                "554 5.3.3 the next server cannot do that"
            ]
            notify = b"RCPT TO:<b@mx.test> NOTIFY=NEVER\r\n"
            assert await peer.say(mail + notify + rcpt, 3) == [250, 554, 250]
            # More than it takes of one message: to be sent in another one. It is no
            # error of the client, so it does not add up.
            assert await peer.say(rcpt * 12, 12) == [452] * 12
            assert await peer.say(b"DATA\r\nx\r\n.\r\n", 2) == [354, 250]
        assert script.verbs().count("RCPT") == 1

    run(scenario())
    assert "8BITMIME" in caplog.text


def test_binary_messages_go_in_chunks() -> None:
    keywords = "250-next.test\r\n250-CHUNKING\r\n250 BINARYMIME"
    # More than a transport reads at once.
    content = bytes(range(256)) * 4_000

    async def scenario() -> None:
        script = Upstream({"EHLO": keywords})
        async with relaying(script, binarymime=True) as served:
            peer = await served.ready()
            peer.send(b"MAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<b@mx.test>\r\n")
            assert await peer.codes(2) == [250, 250]
            size = f"BDAT {len(content)} LAST\r\n".encode()
            assert await peer.say(size + content) == [250]
            # An empty one too.
            peer.send(b"MAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<b@mx.test>\r\n")
            assert await peer.say(b"BDAT 0 LAST\r\n", 3) == [250, 250, 250]
        assert script.acknowledged == [content, b""]
        assert script.verbs().count("BDAT") >= 3
        assert script.commands[-2:] == ["BDAT 0 LAST", "QUIT"]

    run(scenario())


def test_nothing_is_read_that_the_next_server_does_not_take() -> None:
    async def scenario() -> None:
        bodies: list[Body] = []

        class Watched(RelaySession):
            async def data(self, body: Body) -> Reply | None:
                bodies.append(body)
                return await super().data(body)

        async with Server(Slow) as inner:
            relay = Relay(f"smtp+plain://{inner.addresses[0]}", options=OPTIONS)
            async with serve(lambda info: Watched(info, relay)) as served:
                peer = await served.ready()
                octets = 20_000_000
                line = b"x" * 998 + b"\r\n"
                peer.send(ENVELOPE + b"DATA\r\n" + line * (octets // 1_000))
                await until(lambda: bool(Slow.waiting))
                seen, turns = -1, 0
                while turns < 200:
                    turns = turns + 1 if bodies[0].octets_received == seen else 0
                    seen = bodies[0].octets_received
                    await asyncio.sleep(0.001)
                # What two pairs of sockets and the read-aheads hold, and no more.
                assert seen < octets // 2
                Slow.waiting.pop().set_result(None)
                peer.send(b".\r\n")
                assert await peer.codes(4) == [250, 250, 354, 250]
            assert Slow.octets == [octets]

    Slow.octets.clear()
    run(scenario())


class Slow(Session):
    """Takes the first block, then none until it is told to go on."""

    waiting: list[asyncio.Future[None]] = []  # noqa: RUF012 - one for the test
    octets: list[int] = []  # noqa: RUF012 - likewise

    async def data(self, body: Body) -> None:
        await anext(body)
        gate = asyncio.get_running_loop().create_future()
        self.waiting.append(gate)
        await gate
        await body.read()
        self.octets.append(body.octets_received)


# --- The next server fails. ---


def test_nobody_listens_there(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with upstream(Upstream()) as script:
            address = script.address
        relay = Relay(f"smtp+plain://{address}", options=OPTIONS)
        async with serve(relay) as served:
            peer = await served.ready()
            assert await replies(peer, ENVELOPE + b"DATA\r\n", 3) == [
                "451 4.4.1 no answer from the next server",
                "503 5.5.1 No transaction: MAIL first",
                "503 5.5.1 No transaction: MAIL first",
            ]
            assert await peer.say(b"NOOP\r\n") == [250]

    run(scenario())
    (record,) = [one for one in caplog.records if one.name == "smtpx.relay"]
    assert record.levelno == logging.WARNING
    assert "no connection to" in record.getMessage()


LOST = "451 4.4.2 lost the connection to the next server"
NO_ANSWER = "451 4.4.1 no answer from the next server"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ({"greeting": "554 go away"}, [NO_ANSWER, 503, 503]),
        ({"greeting": "421 busy"}, [NO_ANSWER, 503, 503]),
        ({"greeting": DROP}, [LOST, 503, 503]),
        ({"greeting": "what?"}, [LOST, 503, 503]),
        (
            {"EHLO": "550 no", "HELO": "550 no"},
            ["451 4.4.0 the next server refuses us", 503, 503],
        ),
        ({"EHLO": DROP}, [LOST, 503, 503]),
        ({"MAIL": DROP}, [LOST, 503, 503]),
        ({"RCPT": DROP}, [250, LOST, 554]),
        ({"RCPT 2": DROP}, [250, 250, LOST]),
        ({"DATA": DROP}, [250, 250, LOST]),
        ({"DATA": "421 4.3.2 going down"}, [250, 250, "421 4.3.2 going down"]),
        ({".": DROP}, [250, 250, LOST]),
        ({".": "421 4.3.2 going down"}, [250, 250, "421 4.3.2 going down"]),
        ({".": "354 again?"}, [250, 250, LOST]),
        ({"MAIL": "421 4.7.0 enough"}, ["421 4.7.0 enough"]),
        ({"RCPT": "421 4.7.0 enough"}, [250, "421 4.7.0 enough"]),
    ],
)
def test_the_next_server_fails(
    script: dict[str, str], expected: Sequence[str | int]
) -> None:
    """Each of MAIL, RCPT and the message gets its one reply; then it is a new game."""

    async def scenario() -> None:
        async with relaying(Upstream(script)) as served:
            peer = await served.ready()
            mail, rcpt = ENVELOPE.splitlines(keepends=True)
            for octets, wanted in zip((mail, rcpt), expected, strict=False):
                assert matches(await peer.ask(octets), wanted)
            if len(expected) == 3 and expected[1] == 250:
                if "RCPT 2" in script:
                    assert matches(await peer.ask(rcpt), expected[2])
                    # The transaction is lost there, so no message may be granted.
                    assert await peer.say(rcpt) == [451]
                peer.send(b"DATA\r\n" + STUFFED + b".\r\n")
                assert await peer.codes(1) == [354]
                assert matches(await peer.reply(), expected[2])
            if str(expected[-1]).startswith("421"):
                assert await peer.rest() == b""
            else:
                assert await peer.say(b"NOOP\r\n") == [250]

    def matches(reply: str, wanted: str | int) -> bool:
        assert reply.startswith(str(wanted)), reply
        return True

    run(scenario())


@pytest.mark.parametrize(
    ("phase", "verb", "seconds"),
    [
        ("greeting", "greeting", 300),
        ("command", "EHLO", 300),
        ("mail", "MAIL", 300),
        ("rcpt", "RCPT", 300),
        ("data_start", "DATA", 120),
        ("data_end", ".", 599),
    ],
)
def test_the_next_server_hangs(phase: str, verb: str, seconds: float) -> None:
    assert seconds <= (getattr(Timeouts(), phase) or 0)

    async def scenario() -> None:
        script = Upstream({verb: HANG})
        timeouts: dict[str, float] = {phase: seconds}
        options = replace(OPTIONS, timeouts=Timeouts(**timeouts))
        async with relaying(script, options=options) as served:
            peer = await served.ready()
            loop = asyncio.get_running_loop()
            began = loop.time()
            peer.send(ENVELOPE)
            codes = await peer.codes(2)
            if codes == [250, 250]:
                peer.send(b"DATA\r\n" + STUFFED + b".\r\n")
                assert await peer.codes(1) == [354]
                assert await peer.reply() == NO_ANSWER
            else:
                assert codes in ([451, 503], [250, 451])
            # The clock runs when nobody has anything to do.
            assert seconds <= loop.time() - began < seconds + 1
            assert await peer.say(b"NOOP\r\n") == [250]
        assert script.acknowledged == []

    run_timed(scenario())


def test_a_hook_that_is_cancelled_leaves_nothing_behind() -> None:
    """The server's own limit is shorter than that of the relay."""

    async def scenario() -> None:
        script = Upstream({".": HANG})
        timeouts = ServerTimeouts(handler=30.0)
        async with relaying(script, timeouts=timeouts) as served:
            peer = await served.ready()
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 451]
            script.replies = {}
            # The reply that may still come is never taken for that to the next one.
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
        assert script.connections == 2
        assert len(script.acknowledged) == 1

    run_timed(scenario())


def test_a_connection_closed_while_idle_is_replaced() -> None:
    async def scenario(end: dict[str, str], connections: int) -> None:
        script = Upstream(end)
        async with relaying(script) as served:
            peer = await served.ready()
            for _ in range(3):
                assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
        assert len(script.acknowledged) == 3
        assert script.connections == connections

    # It says so to the next MAIL, or it is simply gone by then.
    run(scenario({"MAIL 2": "421 4.7.0 too many messages"}, 3))
    run(scenario({"MAIL 2": DROP}, 3))
    limited = "250-next.test\r\n250 LIMITS MAILMAX=2"
    run(scenario({"EHLO": limited}, 2))
    run(scenario({}, 1))


def test_a_connection_that_hangs_is_not_replaced() -> None:
    """Its client has waited long enough, and may not wait as long once more."""

    async def scenario() -> None:
        script = Upstream({"MAIL 2": HANG})
        async with relaying(script) as served:
            peer = await served.ready()
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
            assert await peer.ask(b"MAIL FROM:<>\r\n") == NO_ANSWER
            assert script.connections == 1
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
        assert script.connections == 2

    run_timed(scenario())


def test_a_connection_that_ended_is_not_tried() -> None:
    async def scenario() -> None:
        script = Upstream({". 1": FINE + "\r\n421 4.3.2 going down"})
        async with relaying(script) as served:
            peer = await served.ready()
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
        assert script.connections == 2
        assert len(script.acknowledged) == 2

    run(scenario())


def test_a_failed_reset_ends_the_connection() -> None:
    async def scenario() -> None:
        script = Upstream({"RSET": "451 4.3.0 cannot"})
        async with relaying(script) as served:
            peer = await served.ready()
            assert await peer.say(ENVELOPE + b"RSET\r\n", 3) == [250, 250, 250]
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
        assert script.connections == 2

    run(scenario())


# --- The client fails. ---


@pytest.mark.parametrize("chunking", [Chunking.AUTO, Chunking.ALWAYS])
@pytest.mark.parametrize("octets", [10, 300_000])
def test_a_message_cut_off_here_is_never_whole_there(
    chunking: Chunking, octets: int
) -> None:
    async def scenario() -> None:
        script = Upstream()
        options = replace(OPTIONS, chunking=chunking)
        async with relaying(script, options=options) as served:
            peer = await served.ready()
            peer.send(ENVELOPE + b"DATA\r\n")
            assert await peer.codes(3) == [250, 250, 354]
            peer.send(b"x" * 76 + b"\r\n" + b"y" * octets)
            if octets > 100_000:
                # Some of it has arrived there.
                await until(lambda: bool({"DATA", "BDAT"} & set(script.verbs())))
            peer.abort()
            await until(lambda: not served.server.connections)
        assert script.messages == []
        assert all(torn.startswith(b"xxx") for torn in script.torn if torn)
        assert bool(script.torn) is (octets > 100_000)
        # Not even a word of goodbye, which might end it.
        assert "QUIT" not in script.verbs()[-1:]

    run(scenario())


def test_a_message_refused_here_is_never_whole_there() -> None:
    """The client's message turns out to break a rule of ours."""

    async def scenario() -> None:
        script = Upstream()
        async with relaying(script) as served:
            peer = await served.ready()
            peer.send(ENVELOPE + b"DATA\r\n" + b"x" * 300_000 + b"\n\r\n.\r\n")
            assert await peer.codes(4) == [250, 250, 354, 550]
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
        assert script.messages == [CONTENT]
        assert script.connections == 2

    run(scenario())


# --- Cuts at every octet. ---


def codes_of(heard: bytes) -> list[int]:
    lines = heard.split(b"\r\n")[:-1]
    return [int(line[:3]) for line in lines if line[3:4] != b"-"]


async def heard_of(served: Served, octets: bytes) -> list[int]:
    """Say all at once, and close that end; return the codes of all replies."""
    peer = await served.connect()
    peer.send(octets)
    peer.writer.write_eof()
    codes = codes_of(await peer.rest())
    await peer.close()
    return codes


# Of a message whose DATA is refused, the lines are errors.
PATIENT = Limits(max_errors=1_000)

CHUNKINGS = [Chunking.AUTO, Chunking.ALWAYS]


@pytest.mark.parametrize("chunking", CHUNKINGS)
def test_the_client_is_cut_at_every_octet(chunking: Chunking) -> None:
    dialogue = EHLO + MESSAGE
    end = len(dialogue)

    async def scenario() -> None:
        script = Upstream()
        options = replace(OPTIONS, chunking=chunking)
        async with relaying(script, options=options) as served:
            for cut in range(end + 1):
                before = len(script.acknowledged)
                codes = await heard_of(served, dialogue[:cut])
                # 354 is the one before the last, if the last is for a message.
                is_acknowledged = codes[-2:] == [354, 250]
                assert is_acknowledged is (cut == end)
                await until(lambda: script.open_connections == 0)
                assert len(script.acknowledged) == before + is_acknowledged
        assert script.messages == script.acknowledged == [CONTENT]

    run(scenario())


@pytest.mark.parametrize("chunking", CHUNKINGS)
def test_the_next_server_is_cut_at_every_octet_it_says(chunking: Chunking) -> None:
    dialogue = EHLO + MESSAGE + QUIT

    async def scenario() -> None:
        total = 0
        script = Upstream()
        options = replace(OPTIONS, chunking=chunking)
        async with relaying(script, options=options, limits=PATIENT) as served:
            while True:
                script.most_sent = total
                before = len(script.acknowledged)
                codes = await heard_of(served, dialogue)
                await until(lambda: script.open_connections == 0)
                acknowledged = len(script.acknowledged) - before
                assert acknowledged == (codes[-3:] == [354, 250, 221])
                # Each command has a reply; the content are five, if DATA is refused.
                assert len(codes) == (7 if 354 in codes else 11)
                assert codes[-1] == 221
                if acknowledged:
                    break
                total += 1
        # It was cut at each octet of each of its replies, up to the last of the last.
        assert total > 150
        assert len(script.acknowledged) == 1

    run(scenario())


@pytest.mark.parametrize("chunking", CHUNKINGS)
def test_the_next_server_is_cut_at_every_octet_it_hears(chunking: Chunking) -> None:
    dialogue = EHLO + MESSAGE + QUIT

    async def scenario() -> None:
        script = Upstream()
        options = replace(OPTIONS, chunking=chunking)
        async with relaying(script, options=options, limits=PATIENT) as served:
            script.most_received = 0
            acknowledged = 0
            while not acknowledged:
                codes = await heard_of(served, dialogue)
                await until(lambda: script.open_connections == 0)
                acknowledged = len(script.acknowledged)
                assert (codes[-3:] == [354, 250, 221]) is bool(acknowledged)
                script.most_received += 1
        assert script.most_received > 80
        assert script.messages == [CONTENT]

    run(scenario())


def test_lmtp_is_cut_at_every_octet_it_says() -> None:
    """Each status that the next server gave whole is passed on; all others are 451."""
    dialogue = (
        b"LHLO c.test\r\nMAIL FROM:<a@c.test>\r\n"
        + b"RCPT TO:<b@mx.test>\r\n" * 3
        + b"DATA\r\n"
        + STUFFED
        + b".\r\nQUIT\r\n"
    )

    async def scenario() -> None:
        total = 0
        script = Upstream({"RCPT 2": "550 5.1.1 nobody"})
        async with relaying(script, scheme="lmtp", lmtp=True, limits=PATIENT) as served:
            seen = set()
            while True:
                script.most_sent = total
                before = len(script.acknowledged)
                codes = await heard_of(served, dialogue)
                await until(lambda: script.open_connections == 0)
                acknowledged = len(script.acknowledged) - before
                assert codes[-1] == 221
                if 354 in codes:
                    statuses = codes[codes.index(354) + 1 : -1]
                    accepted = codes[3:6].count(250)
                    assert len(statuses) == accepted
                    assert statuses == [250] * acknowledged + [451] * (
                        accepted - acknowledged
                    )
                    seen.add(tuple(statuses))
                else:
                    assert not acknowledged
                if acknowledged == 2:
                    break
                total += 1
        assert {(451, 451), (250, 451), (250, 250)} <= seen

    run(scenario())


# --- LMTP. ---


def test_statuses_from_lmtp_to_lmtp() -> None:
    async def scenario() -> None:
        script = Upstream(
            {
                "RCPT 2": "550 5.1.1 nobody",
                ". 2": "452 4.2.2 full",
                ". 4": "552 5.2.2 full",
                ". 5": "452 4.2.2 full",
            }
        )
        async with relaying(script, scheme="lmtp", lmtp=True) as served:
            peer = await served.ready()
            rcpt = b"RCPT TO:<b@mx.test>\r\n"
            data = b"DATA\r\n" + STUFFED + b".\r\n"
            assert await peer.say(b"MAIL FROM:<>\r\n" + rcpt * 3, 4) == [
                *(250, 250, 550, 250)
            ]
            assert (await replies(peer, data, 3))[1:] == [FINE, "452 4.2.2 full"]
            # For nobody, and in step.
            assert await peer.say(b"MAIL FROM:<>\r\n" + rcpt * 3, 4) == [250] * 4
            assert (await replies(peer, data, 4))[1:] == [
                *(FINE, "552 5.2.2 full", "452 4.2.2 full")
            ]
            script.replies = {".": "554 5.6.0 no"}
            assert await peer.say(b"MAIL FROM:<>\r\n" + rcpt * 2, 3) == [250] * 3
            assert (await replies(peer, data, 3))[1:] == ["554 5.6.0 no"] * 2

    run(scenario())


def test_from_lmtp_to_smtp_one_reply_is_for_all() -> None:
    async def scenario() -> None:
        script = Upstream({". 2": "554 5.6.0 no"})
        async with relaying(script, lmtp=True) as served:
            peer = await served.ready()
            rcpt = b"RCPT TO:<b@mx.test>\r\n"
            message = b"MAIL FROM:<>\r\n" + rcpt * 2 + b"DATA\r\nx\r\n.\r\n"
            assert await peer.say(message, 6) == [250, 250, 250, 354, 250, 250]
            assert await peer.say(message, 6) == [250, 250, 250, 354, 554, 554]
        assert script.commands[0] == "EHLO relay.test"

    run(scenario())


def test_from_smtp_to_lmtp_a_message_has_one_recipient() -> None:
    async def scenario() -> None:
        script = Upstream(
            {"RCPT 1": "550 5.1.1 nobody", ". 1": "452 4.2.2 full", ". 2": FINE}
        )
        async with relaying(script, scheme="lmtp") as served:
            peer = await served.ready()
            rcpt = b"RCPT TO:<b@mx.test>\r\n"
            envelope = b"MAIL FROM:<>\r\n" + rcpt * 13
            # The others are to be sent in another one, which is no error of theirs.
            assert await peer.say(envelope, 14) == [250, 550, 250, *[452] * 11]
            data = b"DATA\r\nx\r\n.\r\n"
            # The status of who got it; not what another one was refused with before.
            assert (await replies(peer, data, 2))[1] == "452 4.2.2 full"
            assert await peer.say(b"MAIL FROM:<>\r\n" + rcpt + data, 4) == [
                *(250, 250, 354, 250)
            ]
        assert script.commands[0] == "LHLO relay.test"

    run(scenario())


# --- AUTH. ---

WITH_AUTH = {"EHLO": "250-next.test\r\n250 AUTH PLAIN"}


def test_passwords_are_checked_by_the_next_server() -> None:
    async def scenario() -> None:
        script = Upstream(WITH_AUTH | {"AUTH 1": "235 2.7.0 welcome"})
        async with relaying(script, pass_auth=True) as served:
            peer = await served.greeted()
            assert "AUTH PLAIN" in await peer.ask(EHLO)
            # tim, with "right".
            assert await peer.say(b"AUTH PLAIN AHRpbQByaWdodA==\r\n") == [235]
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
        assert script.verbs() == ["EHLO", "AUTH", "MAIL", "RCPT", "DATA", "QUIT"]
        assert script.commands[1] == "AUTH PLAIN AHRpbQByaWdodA=="
        assert script.connections == 1

    run(scenario())


def test_a_connection_that_ended_after_the_login() -> None:
    async def scenario() -> None:
        bye = "235 2.7.0 welcome\r\n421 4.3.2 going down"
        script = Upstream(WITH_AUTH | {"AUTH": bye})
        async with relaying(script, pass_auth=True) as served:
            peer = await served.ready()
            assert await peer.say(b"AUTH PLAIN AHRpbQByaWdodA==\r\n") == [235]
            script.replies = WITH_AUTH
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
        assert script.verbs()[:5] == ["EHLO", "AUTH", "EHLO", "AUTH", "MAIL"]

    run(scenario())


def test_a_new_connection_is_logged_in_again() -> None:
    async def scenario() -> None:
        script = Upstream(WITH_AUTH | {"MAIL 2": DROP})
        async with relaying(script, pass_auth=True) as served:
            peer = await served.ready()
            assert await peer.say(b"AUTH PLAIN AHRpbQByaWdodA==\r\n") == [235]
            for _ in range(2):
                assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
        assert script.verbs()[-7:] == [
            *("MAIL", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "QUIT")
        ]

    run(scenario())


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ({"AUTH": "535 5.7.8 wrong"}, 535),
        ({"AUTH": "454 4.7.0 later"}, 454),
        ({"AUTH": DROP}, 454),
        ({"EHLO": "250 next.test"}, 454),
        ({"EHLO": "250-next.test\r\n250 AUTH XFROB"}, 454),
    ],
)
def test_passwords_that_are_wrong_or_cannot_be_checked(
    script: dict[str, str], code: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with relaying(Upstream(WITH_AUTH | script), pass_auth=True) as served:
            peer = await served.ready()
            assert await peer.say(b"AUTH PLAIN AHRpbQByaWdodA==\r\n") == [code]
            assert await peer.say(b"NOOP\r\n") == [250]

    run(scenario())
    assert ("cannot check a password" in caplog.text) is (code == 454)
    for secret in ("right", "tim", "AHRpbQ"):
        assert secret not in caplog.text


def test_our_own_credentials() -> None:
    async def scenario() -> None:
        script = Upstream(WITH_AUTH)
        async with upstream(script):
            url = f"smtp+plain://{script.address}"
            relay = Relay(url, options=OPTIONS, auth=("us", "secret"))
            async with serve(relay) as served:
                peer = await served.ready()
                assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
                script.replies = WITH_AUTH | {"AUTH": "535 5.7.8 no", "MAIL": DROP}
                # What is wrong is our own, so it is no refusal of this message.
                assert await peer.ask(b"MAIL FROM:<>\r\n") == (
                    "451 4.7.0 the next server does not know us"
                )
        assert script.verbs()[:3] == ["EHLO", "AUTH", "MAIL"]

    run(scenario())


# --- XFORWARD. ---


@pytest.mark.parametrize("is_asked", [True, False])
def test_where_a_message_came_from(is_asked: bool) -> None:
    keywords = "250-next.test\r\n250 XFORWARD ADDR PORT PROTO HELO SOURCE"

    async def scenario() -> None:
        script = Upstream({"EHLO": keywords, "XFORWARD": "250 2.0.0 noted"})
        async with upstream(script):
            url = f"smtp+plain://{script.address}"
            relay = Relay(url, options=OPTIONS, xforward=is_asked)
            async with serve(relay) as served:
                peer = await served.ready()
                port = peer.writer.get_extra_info("sockname")[1]
                for _ in range(2):
                    assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
                script.replies = {"XFORWARD": "550 5.7.0 not you"}
                # It is for their log, and no reason to keep a message from them.
                assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
        told = [one for one in script.commands if one.startswith("XFORWARD")]
        wanted = f"XFORWARD ADDR=127.0.0.1 PORT={port} PROTO=ESMTP HELO=c.test "
        assert told == [wanted + "SOURCE=LOCAL"] * (3 if is_asked else 0)

    run(scenario())


def test_what_xforward_told_us_is_passed_on() -> None:
    async def scenario() -> None:
        told = "250-next.test\r\n250 XFORWARD NAME ADDR PROTO HELO IDENT SOURCE"
        script = Upstream({"EHLO": told, "XFORWARD": "250 2.0.0 noted"})
        trusted = ("127.0.0.0/8",)
        async with upstream(script):
            url = f"smtp+plain://{script.address}"
            relay = Relay(url, options=OPTIONS, xforward=True)
            async with serve(relay, xforward_networks=trusted) as served:
                peer = await served.ready()
                line = (
                    b"XFORWARD ADDR=192.0.2.7 HELO=c.example IDENT=4XkQ PORT=40112\r\n"
                )
                assert await peer.say(line, 1) == [250]
                assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
                # It was told of one message; the next comes from our client itself.
                assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
        first, second = (one for one in script.commands if one.startswith("XFORWARD"))
        assert first == (
            "XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.7 PROTO=[UNAVAILABLE] "
            "HELO=c.example IDENT=4XkQ SOURCE=[UNAVAILABLE]"
        )
        assert second.startswith("XFORWARD ADDR=127.0.0.1 PROTO=ESMTP HELO=c.test")

    run(scenario())


def test_nothing_is_told_to_who_does_not_ask() -> None:
    async def scenario() -> None:
        script = Upstream()
        async with upstream(script):
            url = f"smtp+plain://{script.address}"
            relay = Relay(url, options=OPTIONS, xforward=True)
            async with serve(relay) as served:
                peer = await served.ready()
                assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
        assert "XFORWARD" not in script.verbs()

    run(scenario())


# --- PROXY. ---


def test_the_next_server_is_told_of_the_client() -> None:
    async def scenario() -> None:
        seen: list[tuple[str, str]] = []

        class Inbox(Session):
            async def data(self, body: Body) -> None:
                await body.read()
                seen.append((self.connection.peer, self.connection.local))

        trusting = ServerOptions(proxy_networks=("127.0.0.0/8",))
        async with Server(Inbox, options=trusting) as inner:
            url = f"smtp+plain://{inner.addresses[0]}"
            relay = Relay(url, options=OPTIONS, proxy_header=True)
            # For ourselves, nobody is spoken for.
            await relay.offered(ServerOptions())
            async with serve(relay) as served:
                peer = await served.ready()
                assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
                host, port = peer.writer.get_extra_info("sockname")
                assert seen == [(f"{host}:{port}", served.server.addresses[0])]

    run(scenario())


@pytest.mark.parametrize(
    ("peer", "peer_host", "local", "header"),
    [
        (
            *("192.0.2.1:40112", "192.0.2.1", "192.0.2.25:25"),
            ProxyHeader(("192.0.2.1", 40112), ("192.0.2.25", 25)),
        ),
        (
            *("[2001:db8::1]:40112", "2001:db8::1", "[2001:db8::25]:25"),
            ProxyHeader(("2001:db8::1", 40112), ("2001:db8::25", 25)),
        ),
        (
            *("[::ffff:192.0.2.1]:40112", "192.0.2.1", "[::ffff:192.0.2.25]:25"),
            ProxyHeader(("192.0.2.1", 40112), ("192.0.2.25", 25)),
        ),
        ("unix:", None, "unix:/run/smtp", ProxyHeader(None, None)),
        # What gateways tell by XCLIENT: no port, another protocol, or not where to.
        (
            *("192.0.2.1", "192.0.2.1", "192.0.2.25:25"),
            ProxyHeader(("192.0.2.1", 0), ("192.0.2.25", 25)),
        ),
        (
            *("[2001:db8::1]", "2001:db8::1", "192.0.2.25:25"),
            ProxyHeader(("2001:db8::1", 0), (str(ip_address("::ffff:192.0.2.25")), 25)),
        ),
        (
            *("192.0.2.1:40112", "192.0.2.1", "[2001:db8::25]:25"),
            ProxyHeader(
                (str(ip_address("::ffff:192.0.2.1")), 40112), ("2001:db8::25", 25)
            ),
        ),
        (
            *("192.0.2.1:40112", "192.0.2.1", "unknown"),
            ProxyHeader(("192.0.2.1", 40112), ("0.0.0.0", 0)),
        ),
    ],
)
def test_headers(
    peer: str, peer_host: str | None, local: str, header: ProxyHeader
) -> None:
    connection = ConnectionInfo(
        id="x",
        hostname="mx.test",
        peer=peer,
        peer_host=peer_host,
        local=local,
        started_at=datetime.now(UTC),
        is_lmtp=False,
        is_local=False,
        close=lambda _: None,
    )

    async def scenario() -> None:
        relay = Relay("smtp://mx.test", proxy_header=True)
        assert relay.client(None, connection)._options.proxy_header == header
        plain = Relay("smtp://mx.test").client(None, connection)
        assert plain._options.proxy_header is None

    run(scenario())


# --- TLS. ---


def test_tls_that_cannot_be_had() -> None:
    async def scenario(script: Upstream, reply: str) -> None:
        async with relaying(script, scheme="smtp+starttls") as served:
            peer = await served.ready()
            assert await peer.ask(b"MAIL FROM:<>\r\n") == reply
        assert "MAIL" not in script.verbs()

    no_tls = "451 4.7.5 no TLS with the next server"
    run(scenario(Upstream(), no_tls))
    keywords = {"EHLO": "250-next.test\r\n250 STARTTLS"}
    run(scenario(Upstream(keywords | {"STARTTLS": "454 4.7.0 not now"}), no_tls))
    injected = {"STARTTLS": "220 go\r\n250 injected"}
    run(scenario(Upstream(keywords | injected), LOST))


# --- With transforms. ---


class Expand(Transform):
    """``x_y`` stands for x and y."""

    async def recipient(
        self, forward_path: Mailbox, options: RcptOptions
    ) -> Sequence[tuple[Mailbox, RcptOptions]]:
        names = forward_path.local_part.split("_")
        return [(Mailbox(name, "in.test"), options) for name in names]

    async def body(self, content: Body) -> AsyncGenerator[bytes, None]:
        yield b"X: 1\r\n"
        async for block in content:
            yield block


def test_a_relay_that_rewrites() -> None:
    async def scenario() -> None:
        script = Upstream({"RCPT 3": "550 5.1.1 nobody"})
        async with relaying(script, step=Expand) as served:
            peer = await served.ready()
            peer.send(b"MAIL FROM:<a@c.test> SIZE=25\r\nRCPT TO:<x@mx.test>\r\n")
            assert await peer.codes(2) == [250, 250]
            # The first of the two was accepted there; the client hears of neither.
            assert await peer.ask(b"RCPT TO:<y_z@mx.test>\r\n") == "550 5.1.1 nobody"
            peer.send(b"DATA\r\n" + STUFFED + b".\r\n")
            assert await peer.codes(2) == [354, 250]
        assert script.acknowledged == [b"X: 1\r\n" + CONTENT]
        # Begun again, without the one that the client was not told of.
        assert script.commands[-6:] == [
            "RSET",
            "MAIL FROM:<a@c.test>",
            "RCPT TO:<x@in.test>",
            "DATA",
            "QUIT",
        ][-6:] or script.commands[-5:] == [
            "RSET",
            "MAIL FROM:<a@c.test>",
            "RCPT TO:<x@in.test>",
            "DATA",
            "QUIT",
        ]

    run(scenario())


def test_a_session_that_begins_nothing_there() -> None:
    class Forgetful(RelaySession):
        async def mail(self, reverse_path: object, options: object) -> None:
            """Forget to call what would begin."""

    async def scenario() -> None:
        relay = Relay("smtp+plain://127.0.0.1:1", options=OPTIONS)
        async with serve(lambda info: Forgetful(info, relay)) as served:
            peer = await served.ready()
            assert await peer.say(ENVELOPE, 2) == [250, 451]

    run(scenario())


def test_a_recipient_who_is_refused_the_second_time() -> None:
    async def scenario() -> None:
        script = Upstream({"RCPT 3": "550 5.1.1 nobody", "RCPT 4": "550 5.1.1 nobody"})
        async with relaying(script, step=Expand) as served:
            peer = await served.ready()
            peer.send(b"MAIL FROM:<>\r\nRCPT TO:<x@m.test>\r\nRCPT TO:<y_z@m.test>\r\n")
            assert await peer.codes(3) == [250, 250, 550]
            peer.send(b"DATA\r\nx\r\n.\r\n")
            assert await peer.codes(2) == [354, 451]
            assert await peer.say(MESSAGE, 4) == [250, 250, 354, 250]
        assert len(script.messages) == 1

    run(scenario())


# --- What is offered. ---


@pytest.mark.parametrize(
    ("ours", "recipients"),
    [
        (ServerOptions(), 1),
        (ServerOptions(lmtp=True), 5),
        (ServerOptions(lmtp_too=True), 5),
    ],
)
def test_from_smtp_to_lmtp_one_recipient_is_offered(
    ours: ServerOptions, recipients: int
) -> None:
    """RFC 9422 section 4.2: a client that knows the limit need not run into it."""

    async def scenario() -> None:
        script = Upstream({"LHLO": "250-next.test\r\n250 LIMITS RCPTMAX=5"})
        async with upstream(script):
            relay = Relay(f"lmtp://{script.address}", options=OPTIONS)
            offered = await relay.offered(ours)
        assert offered.limits.max_recipients == recipients

    run(scenario())


def test_what_both_can_is_offered() -> None:
    ours = ServerOptions(
        smtputf8=True, binarymime=True, dsn=True, extensions=frozenset({"MT-PRIORITY"})
    )

    async def scenario(keywords: str) -> ServerOptions:
        script = Upstream({"EHLO": f"250-next.test\r\n{keywords}250 HELP"})
        async with upstream(script):
            relay = Relay(f"smtp+plain://{script.address}", options=OPTIONS)
            return await relay.offered(ours)

    def offered(*keywords: str) -> ServerOptions:
        lines = "".join(f"250-{keyword}\r\n" for keyword in keywords)
        with asyncio.Runner() as runner:
            return runner.run(scenario(lines))

    nothing = offered("BINARYMIME")
    assert nothing.enabled_extensions == frozenset()
    assert nothing.limits == ours.limits
    all_of_it = offered(
        *("SMTPUTF8", "CHUNKING", "BINARYMIME", "DSN", "MT-PRIORITY", "SIZE 1000"),
        "LIMITS RCPTMAX=5",
    )
    assert all_of_it.enabled_extensions == ours.enabled_extensions
    assert all_of_it.limits.max_message_octets == 1_000
    assert all_of_it.limits.max_recipients == 5
    larger = offered("SIZE 100000000000", "LIMITS RCPTMAX=100000")
    assert larger.limits == ours.limits
    # No limit of ours; that of the next server is one all the same.
    ours = replace(ours, limits=replace(ours.limits, max_message_octets=None))
    assert offered("SIZE 1000").limits.max_message_octets == 1_000


def test_what_cannot_be_asked() -> None:
    async def scenario() -> None:
        async with upstream(Upstream()) as script:
            address = script.address
        with pytest.raises(ConnectError):
            await Relay(f"smtp+plain://{address}").offered(ServerOptions())

    run(scenario())


def test_wrong_settings() -> None:
    with pytest.raises(ValueError, match="pass_auth"):
        Relay("smtp://mx.test", auth=("a", "b"), pass_auth=True)
    with pytest.raises(ValueError, match="none of"):
        Relay("http://mx.test")
    assert repr(Relay("smtp://tim:secret@mx.test")) == "<Relay to mx.test:25>"

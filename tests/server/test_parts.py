"""The parts of a server, each by itself: body, ends, work, options, session."""

from __future__ import annotations

import asyncio
import gc
import re
import subprocess
import sys
import weakref
from datetime import UTC, datetime, timedelta

import pytest

from smtpx.core import events
from smtpx.errors import MessageAborted, Refuse
from smtpx.sasl.mechanism import Identity
from smtpx.server.body import Body
from smtpx.server.ends import describe_connection, tls_info
from smtpx.server.listener import Server
from smtpx.server.options import ServerOptions, ServerTimeouts
from smtpx.server.post import Post
from smtpx.server.session import ConnectionInfo, Session, Statuses
from smtpx.server.sockets import Listener
from smtpx.server.work import Closed, Deliver, Reset, overridden_by
from smtpx.wire.address import Mailbox
from smtpx.wire.envelope import Envelope, Recipient
from smtpx.wire.params import MailOptions, RcptOptions
from smtpx.wire.replies import Reply

# --- Body. ---


def body_of(*blocks: bytes) -> tuple[Body, list[int]]:
    taken: list[int] = []
    body = Body(lambda: taken.append(body.buffered))
    for block in blocks:
        body.feed(block)
    return body, taken


def test_what_a_body_shows_of_itself() -> None:
    body, _ = body_of(b"secret")
    assert repr(body) == "<Body open, 6 octets received>"
    body.finish()
    assert repr(body) == "<Body complete, 6 octets received>"
    body, _ = body_of()
    body.abort("gone")
    assert repr(body) == "<Body aborted, 0 octets received>"


def test_blocks_come_as_they_arrived() -> None:
    async def scenario() -> None:
        first, second = b"a" * 5_000, b"b" * 9_000
        body, taken = body_of(first, second)
        body.finish()
        assert (body.buffered, body.octets_received) == (14_000, 14_000)
        assert body.is_ended
        assert [block async for block in body] == [first, second]
        assert taken == [9_000, 0]
        assert [block async for block in body] == []
        assert await body.read() == b""
        assert not body.is_aborted

    asyncio.run(scenario())


def test_octets_in_order_whatever_their_blocks() -> None:
    async def scenario() -> None:
        blocks = [bytes([n % 256]) * (n * 37 % 5_000) for n in range(200)]
        body, _ = body_of(*blocks)
        body.finish()
        assert await body.read() == b"".join(blocks)
        assert body.buffered == 0

    asyncio.run(scenario())


def test_a_reader_waits() -> None:
    async def scenario() -> None:
        body, _ = body_of()
        reading = asyncio.create_task(body.read())
        await asyncio.sleep(0)
        assert body.is_awaited
        body.feed(b"a")
        body.feed(b"b")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert body.is_awaited
        body.finish()
        assert await reading == b"ab"
        assert not body.is_awaited

    asyncio.run(scenario())


def test_aborted_before_and_while_it_is_read() -> None:
    async def scenario() -> None:
        body, _ = body_of(b"half")
        body.abort("gone")
        assert body.is_aborted
        assert body.is_ended
        assert body.buffered == 0
        with pytest.raises(MessageAborted) as caught:
            await body.read()
        assert caught.value.reason == "gone"
        waiting, _ = body_of()
        reading = asyncio.create_task(waiting.read())
        await asyncio.sleep(0)
        waiting.abort("gone")
        with pytest.raises(MessageAborted):
            await reading

    asyncio.run(scenario())


def test_one_reader() -> None:
    async def scenario() -> None:
        body, _ = body_of()
        reading = asyncio.create_task(body.read())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="one reader"):
            await body.read()
        body.finish()
        assert await reading == b""

    asyncio.run(scenario())


def test_cancelled_reader_makes_way() -> None:
    async def scenario() -> None:
        body, _ = body_of()
        reading = asyncio.create_task(body.read())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert not body.is_awaited
        body.feed(b"a")
        body.finish()
        assert await body.read() == b"a"

    asyncio.run(scenario())


def test_discarded_body_keeps_nothing_and_counts_on() -> None:
    async def scenario() -> None:
        body, _ = body_of(b"abc")
        body.discard()
        body.feed(b"de")
        assert (body.buffered, body.octets_received) == (0, 5)
        waiting = asyncio.create_task(body.wait_ended())
        await asyncio.sleep(0)
        assert not waiting.done()
        body.finish()
        await waiting
        with pytest.raises(RuntimeError, match="before its hook returns"):
            await body.read()

    asyncio.run(scenario())


def test_reader_left_behind_does_not_hinder_the_drain() -> None:
    async def scenario() -> None:
        body, _ = body_of()
        reading = asyncio.create_task(body.read())
        await asyncio.sleep(0)
        body.discard()
        waiting = asyncio.create_task(body.wait_ended())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="before its hook returns"):
            await reading
        assert not waiting.done()
        assert body.is_awaited
        body.abort("gone")
        await waiting

    asyncio.run(scenario())


def test_body_without_a_reader() -> None:
    body, _ = body_of(b"a")
    body.finish()
    asyncio.run(body.wait_ended())


# --- Ends. ---


class Transport(asyncio.BaseTransport):
    """A transport that only knows what it was told."""


def info_of(peer: object, local: str = "192.0.2.7:25") -> ConnectionInfo:
    return describe_connection(
        peer, local, hostname="mx.test", is_lmtp=False, close=lambda _reply: None
    )


@pytest.mark.parametrize(
    ("peer", "text", "ip", "is_local"),
    [
        (("127.0.0.1", 9), "127.0.0.1:9", "127.0.0.1", True),
        (("127.8.8.8", 9), "127.8.8.8:9", "127.8.8.8", True),
        (("192.0.2.1", 9), "192.0.2.1:9", "192.0.2.1", False),
        (("::1", 9, 0, 0), "[::1]:9", "::1", True),
        (("2001:db8::1", 9, 0, 0), "[2001:db8::1]:9", "2001:db8::1", False),
        (("fe80::1%eth0", 9, 0, 2), "[fe80::1%eth0]:9", "fe80::1", False),
    ],
)
def test_tcp_ends(peer: object, text: str, ip: str, is_local: bool) -> None:
    info = info_of(peer)
    assert (info.peer, str(info.peer_ip), info.is_local) == (text, ip, is_local)
    assert info.local == "192.0.2.7:25"


def test_mapped_addresses_are_ipv4_ones() -> None:
    info = info_of(("::ffff:127.0.0.1", 9, 0, 0))
    assert str(info.peer_ip) == "127.0.0.1"
    assert info.is_local
    assert not info_of(("::ffff:192.0.2.1", 9, 0, 0)).is_local


@pytest.mark.parametrize(
    ("peer", "text"),
    [("", "unix:"), ("/run/client", "unix:/run/client"), (b"\0c", "unix:@c")],
)
def test_unix_ends(peer: object, text: str) -> None:
    info = info_of(peer, "unix:/run/smtp")
    assert (info.peer, info.peer_ip, info.is_local) == (text, None, True)
    assert info.local == "unix:/run/smtp"


def test_a_client_that_is_gone_already_is_not_local() -> None:
    # Where the kernel tells no address there is no reason to trust it.
    assert not info_of(None).is_local


def test_ids_differ() -> None:
    # Several draws of them.
    ids = {info_of(("192.0.2.1", 9)).id for _ in range(1_000)}
    assert len(ids) == 1_000
    assert all(re.fullmatch("[0-9a-f]{12}", each) for each in ids)


FORK = """
import os
from smtpx.server.ends import describe_connection

def new_id():
    return describe_connection(
        ("192.0.2.1", 9), "", hostname="", is_lmtp=False, close=print
    ).id

new_id()
child = os.fork()
os.write(1, (new_id() + "\\n").encode())  # at once: print may do it in two
if child:
    os.waitpid(child, 0)
"""


def test_ids_of_two_processes_differ() -> None:
    said = subprocess.run(
        [sys.executable, "-c", FORK], check=True, capture_output=True, text=True
    ).stdout.split()
    assert len(set(said)) == len(said) == 2


def test_sessions_of_a_minute_get_the_same_one() -> None:
    post = Post(Server(Session), Listener("127.0.0.1:0"))
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    minute = post.minute_of(noon + timedelta(seconds=1))
    assert minute == noon
    assert post.minute_of(noon + timedelta(seconds=59.9)) is minute
    assert post.minute_of(noon + timedelta(seconds=60)) == noon + timedelta(minutes=1)
    # The clock was set back.
    assert post.minute_of(noon) == noon


def test_no_tls() -> None:
    assert tls_info(Transport({})) is None


# --- Session and its facts. ---


def info(*, is_lmtp: bool = False) -> ConnectionInfo:
    return ConnectionInfo(
        id="1",
        hostname="mx.test",
        peer="192.0.2.1:9",
        peer_host="192.0.2.1",
        local="192.0.2.7:25",
        started_at=datetime.now(UTC),
        is_lmtp=is_lmtp,
        is_local=False,
        close=lambda _reply: None,
    )


@pytest.mark.parametrize(
    ("is_lmtp", "is_extended", "is_tls", "is_auth", "is_utf8", "name"),
    [
        (False, False, False, False, False, "SMTP"),
        (False, True, False, False, False, "ESMTP"),
        (False, True, True, False, False, "ESMTPS"),
        (False, True, True, True, False, "ESMTPSA"),
        (False, True, False, True, False, "ESMTPA"),
        (False, True, False, False, True, "UTF8SMTP"),
        (False, True, True, True, True, "UTF8SMTPSA"),
        (True, True, False, False, False, "LMTP"),
        (True, True, True, True, False, "LMTPSA"),
        (True, True, True, False, True, "UTF8LMTPS"),
    ],
)
def test_protocol_names(
    is_lmtp: bool,
    is_extended: bool,
    is_tls: bool,
    is_auth: bool,
    is_utf8: bool,
    name: str,
) -> None:
    facts = info(is_lmtp=is_lmtp)
    facts.is_extended = is_extended
    facts.tls = object() if is_tls else None  # type: ignore[assignment]
    facts.identity = Identity("tim", "", "PLAIN") if is_auth else None
    facts.envelope = Envelope(None, MailOptions(smtputf8=is_utf8), [])
    assert facts.protocol == name
    assert facts.user == ("tim" if is_auth else None)


def test_no_envelope_outside_a_transaction() -> None:
    with pytest.raises(RuntimeError, match="MAIL was not accepted"):
        _ = Session(info()).envelope


def test_hooks_by_default() -> None:
    async def scenario() -> None:
        session = Session(info())
        body, _ = body_of()
        assert await session.connected() is None
        assert await session.hello("c.test") is None
        assert await session.mail(None, MailOptions()) is None
        assert await session.rcpt(Mailbox("b", "mx.test"), RcptOptions()) is None
        assert await session.start_data() is None
        assert await session.verify("x") is None
        assert await session.expand("x") is None
        assert await session.help("") is None
        assert await session.command("XPING", "") is None
        assert await session.authorize(Identity("tim", "tim", "PLAIN")) is None
        for refused in (
            session.data(body),
            session.lmtp_data(body, Statuses([], lambda _index, _reply: None)),
        ):
            with pytest.raises(Refuse, match="takes no messages"):
                await refused
        with pytest.raises(Refuse, match="no passwords are known"):
            await session.check_password("tim", "x")
        with pytest.raises(Refuse, match="somebody else"):
            await session.authorize(Identity("tim", "boss", "PLAIN"))
        await session.reset()
        await session.closed("over")

    asyncio.run(scenario())


def test_statuses_are_of_their_recipients() -> None:
    told: list[tuple[int, Reply]] = []
    mailbox = Mailbox("b", "mx.test")
    recipients = [Recipient(mailbox, RcptOptions(), index) for index in range(2)]
    statuses = Statuses(recipients, lambda index, reply: told.append((index, reply)))
    statuses.set(recipients[1], Reply(250))
    assert told == [(1, Reply(250))]
    assert repr(statuses) == "<Statuses for b@mx.test, b@mx.test>"
    for index in (1, 2, -1):
        with pytest.raises(ValueError, match="no recipient of this message"):
            statuses.set(Recipient(mailbox, RcptOptions(), index), Reply(250))


# --- Work. ---


def test_what_always_needs_a_coroutine() -> None:
    assert overridden_by(Session) == {
        events.AuthQuestion,
        events.StartTLSRequested,
        events.XClientReceived,
        Deliver,
    }


def test_overridden_hooks_need_one_too() -> None:
    async def hook(self: Session, *_arguments: object) -> None:
        """Do nothing."""

    kinds = {
        "connected": events.ClientConnected,
        "hello": events.HelloReceived,
        "mail": events.MailReceived,
        "rcpt": events.RcptReceived,
        "start_data": events.DataRequested,
        "verify": events.VrfyReceived,
        "expand": events.ExpnReceived,
        "help": events.HelpReceived,
        "command": events.CommandReceived,
        "authorize": events.Authenticated,
        "reset": Reset,
        "closed": Closed,
    }
    post = Post(Server(Session), Listener("127.0.0.1:0"))
    for name, kind in kinds.items():
        session = type("Custom", (Session,), {name: hook})
        assert overridden_by(session) - overridden_by(Session) == {kind}
        # Inherited from a class between is overridden as well.
        assert kind in overridden_by(type("Further", (session,), {}))
        # Each connection asks; a server finds it out once.
        assert post.work_of(session) == overridden_by(session)
        assert post.work_of(session) is post.work_of(session)


def test_a_class_of_sessions_ends_with_its_server() -> None:
    session = type("Brief", (Session,), {})
    post = Post(Server(session), Listener("127.0.0.1:0"))
    assert post.work_of(session) == overridden_by(session)
    gone = weakref.ref(session)
    del session, post
    gc.collect()
    assert gone() is None


# --- Options. ---


@pytest.mark.parametrize(
    "name", ["command", "body", "handler", "session", "handshake", "linger"]
)
def test_a_timeout_is_over_0(name: str) -> None:
    assert getattr(ServerTimeouts(**{name: 0.1}), name) == 0.1
    for value in (0, -1):
        with pytest.raises(ValueError, match=f"timeout {name} must be over 0"):
            ServerTimeouts(**{name: value})


def test_timeouts_of_the_rfc() -> None:
    # RFC 5321 section 4.5.3.2.
    times = ServerTimeouts()
    assert (times.command, times.body, times.handler) == (300, 180, 600)
    assert ServerTimeouts(command=None).command is None


@pytest.mark.parametrize("name", ["implicit_tls", "require_tls"])
def test_tls_needs_a_certificate(name: str) -> None:
    with pytest.raises(ValueError, match=r"need tls: an ssl\.SSLContext"):
        ServerOptions(**{name: True})  # type: ignore[arg-type]


def test_networks_are_checked_at_once() -> None:
    assert ServerOptions(unlimited_networks=("10.0.0.0/8", "::1"))
    with pytest.raises(ValueError, match="10"):
        ServerOptions(unlimited_networks=("10.0.0.0/33",))


def test_switches_are_extensions() -> None:
    options = ServerOptions(
        smtputf8=True, binarymime=True, dsn=True, extensions=frozenset({"VRFY"})
    )
    assert options.enabled_extensions >= {"SMTPUTF8", "BINARYMIME", "DSN", "VRFY"}
    assert not {"SMTPUTF8", "BINARYMIME", "DSN"} & ServerOptions().enabled_extensions

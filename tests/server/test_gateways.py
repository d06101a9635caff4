"""Gateways that speak for their clients with XCLIENT, and tell more with XFORWARD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smtpx.errors import Refuse
from smtpx.server.body import Body
from smtpx.server.events import CommandEvent, ServerEvent
from smtpx.server.options import ServerOptions
from smtpx.server.session import ConnectionInfo, Endpoints, Session
from smtpx.server.sockets import Address
from smtpx.wire.address import Mailbox
from smtpx.wire.forwarded import Unknown, XClient, XForward
from smtpx.wire.params import MailOptions
from smtpx.wire.replies import Reply
from tests.server.conftest import Certificates, Run
from tests.server.peers import Peer, serve, unix_address

LOOPBACK = ("127.0.0.0/8",)
TRUSTING: dict[str, Any] = {
    "xclient_networks": LOOPBACK,
    "xforward_networks": LOOPBACK,
}


class Diary(Session):
    """Writes down what it is told, and by whom."""

    lines: list[tuple[object, ...]]

    def __init__(self, connection: ConnectionInfo) -> None:
        super().__init__(connection)
        self.note("made")

    def note(self, *words: object) -> None:
        self.lines.append((*words, self.connection.peer))

    async def connected(self) -> Reply | None:
        self.note("connected")
        return None

    async def xclient(self, attributes: XClient) -> Reply | None:
        self.note("xclient", attributes)
        return None

    async def closed(self, reason: str) -> None:
        self.note("closed", reason)


def diary(**members: object) -> type[Diary]:
    return type("TestDiary", (Diary,), {"lines": [], **members})


async def ready(peer: Peer) -> str:
    assert await peer.codes(1) == [220]
    return await peer.ask(b"EHLO gateway.test\r\n")


def test_a_new_session_for_another_client(run: Run) -> None:
    kind = diary()

    async def main() -> None:
        async with serve(kind, **TRUSTING) as served:
            peer = await served.connect()
            assert "\n250 XFORWARD" in await ready(peer)
            (info,) = served.server.connections
            before, gateway_id = info.peer, info.id
            line = b"XCLIENT ADDR=192.0.2.1 PORT=7 DESTADDR=198.51.100.1 DESTPORT=25"
            assert await peer.say(line + b" HELO=h.test\r\n") == [220]
            assert (info.peer, info.peer_host) == ("192.0.2.1:7", "192.0.2.1")
            assert (info.local, info.is_local) == ("198.51.100.1:25", False)
            assert (info.hello_name, info.is_extended) == ("h.test", False)
            assert info.id == gateway_id
            assert info.original == Endpoints(
                before, "127.0.0.1", served.server.addresses[0], True, False
            )
            assert info.xclient is not None
            assert info.xclient.names[-2:] == ("DESTADDR", "DESTPORT")
            assert "XCLIENT" not in await peer.ask(b"EHLO h.test\r\n")
            assert await peer.say(b"QUIT\r\n") == [221]
            assert await peer.rest() == b""
            gateway = before
        client = "192.0.2.1:7"
        assert [(line[0], line[-1]) for line in kind.lines] == [
            ("made", gateway),
            ("connected", gateway),
            ("xclient", gateway),
            ("closed", gateway),
            ("made", client),
            ("connected", client),
            ("closed", client),
        ]
        assert kind.lines[3][1] == "XCLIENT"

    run(main())


@pytest.mark.parametrize(
    ("line", "peer_text", "peer_host", "is_local"),
    [
        (b"ADDR=IPV6:2001:db8::1 PORT=7", "[2001:db8::1]:7", "2001:db8::1", False),
        (b"ADDR=192.0.2.1", "192.0.2.1", "192.0.2.1", False),
        (b"ADDR=IPV6:2001:db8::1", "[2001:db8::1]", "2001:db8::1", False),
        (b"ADDR=192.0.2.1 PORT=[UNAVAILABLE]", "192.0.2.1", "192.0.2.1", False),
        (b"ADDR=IPV6:::ffff:192.0.2.1 PORT=7", "192.0.2.1:7", "192.0.2.1", False),
        (b"ADDR=[UNAVAILABLE]", "unknown", None, False),
        (b"ADDR=[UNAVAILABLE] PORT=7", "unknown", None, False),
        (b"ADDR=127.0.0.9 PORT=7", "127.0.0.9:7", "127.0.0.9", True),
        (b"PORT=7", "127.0.0.1:7", "127.0.0.1", True),
    ],
)
def test_addresses(
    run: Run, line: bytes, peer_text: str, peer_host: str | None, is_local: bool
) -> None:
    async def main() -> None:
        async with serve(Session, **TRUSTING) as served:
            peer = await served.connect()
            await ready(peer)
            assert await peer.say(b"XCLIENT " + line + b"\r\n") == [220]
            (info,) = served.server.connections
            assert (info.peer, info.peer_host) == (peer_text, peer_host)
            assert info.is_local is is_local
            assert not info.is_unix
            assert str(info.peer_ip) == str(peer_host)

    run(main())


def test_what_is_not_told_stays(run: Run) -> None:
    async def main() -> None:
        async with serve(Session, **TRUSTING) as served:
            peer = await served.connect()
            await ready(peer)
            (info,) = served.server.connections
            before, local = info.peer, info.local
            assert await peer.say(b"XCLIENT HELO=a.test LOGIN=bob\r\n") == [220]
            assert (info.peer, info.local, info.is_local) == (before, local, True)
            assert (info.hello_name, info.user) == ("a.test", "bob")
            assert info.xclient == XClient(helo="a.test", login="bob")
            assert await peer.say(b"XCLIENT NAME=a.example\r\n") == [220]
            assert await peer.say(b"XCLIENT DESTADDR=[UNAVAILABLE]\r\n") == [220]
            assert (info.peer, info.local) == (before, "unknown")
            assert (info.hello_name, info.user) == (None, None)
            assert info.xclient == XClient(
                name="a.example", destaddr=Unknown.UNAVAILABLE
            )

    run(main())


def test_gateways_on_a_unix_socket(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        addresses: list[Address] = ["127.0.0.1:0", unix_address(tmp_path)]
        async with serve(Session, addresses, xclient_networks=("unix:",)) as served:
            tcp = await served.connect()
            assert "XCLIENT" not in await ready(tcp)
            peer = await served.connect(index=1)
            assert "XCLIENT" in await ready(peer)
            assert await peer.say(b"XCLIENT PORT=7\r\n") == [220]
            info = next(i for i in served.server.connections if i.original)
            assert (info.peer, info.is_unix, info.is_local) == ("unknown", True, True)
            assert "XCLIENT" in await peer.ask(b"EHLO gateway.test\r\n")
            # Nobody is on a unix socket any more, whatever his address.
            assert await peer.say(b"XCLIENT ADDR=[UNAVAILABLE]\r\n") == [220]
            assert (info.is_unix, info.is_local) == (False, False)
            assert "XCLIENT" not in await peer.ask(b"EHLO gateway.test\r\n")

    run(main())


def test_the_client_that_is_spoken_for_is_counted(run: Run) -> None:
    async def main() -> None:
        async with serve(Session, max_connections_per_ip=1, **TRUSTING) as served:
            line = b"XCLIENT ADDR=192.0.2.1\r\n"
            first, second = await served.connect(), await served.connect()
            for peer in (first, second):
                await ready(peer)
            assert await first.say(line) == [220]
            assert (await second.ask(line)).startswith("421 4.7.0 too many")
            assert await second.rest() == b""
            assert await first.say(b"QUIT\r\n") == [221]
            assert await first.rest() == b""
            third = await served.connect()
            await ready(third)
            assert await third.say(line) == [220]

    run(main())


def test_rules_are_those_of_the_client_that_is_told(
    run: Run, certificates: Certificates
) -> None:
    """A network without TLS is no excuse for a client of another one."""

    async def main() -> None:
        async with serve(
            Session,
            tls=certificates.server,
            require_tls=True,
            plaintext_networks=LOOPBACK,
            **TRUSTING,
        ) as served:
            peer = await served.connect()
            await ready(peer)
            assert await peer.say(b"MAIL FROM:<a@c.test>\r\nRSET\r\n", 2) == [250, 250]
            assert await peer.say(b"XCLIENT ADDR=192.0.2.1\r\n") == [220]
            lines = b"EHLO c.test\r\nMAIL FROM:<a@c.test>\r\n"
            assert await peer.say(lines, 2) == [250, 530]

    run(main())


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Refuse(550, "5.7.0", "no"), 550),
        (Reply(421, "4.3.2", "bye"), 421),
        (ZeroDivisionError("secret"), 451),
        (Reply(250, "2.0.0", "fine"), 220),
    ],
)
def test_the_hook_decides(run: Run, answer: Reply | Exception, code: int) -> None:
    async def xclient(self: Session, attributes: XClient) -> Reply | None:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def main() -> None:
        async with serve(diary(xclient=xclient), **TRUSTING) as served:
            peer = await served.connect()
            await ready(peer)
            (info,) = served.server.connections
            before = info.peer
            reply = await peer.ask(b"XCLIENT ADDR=192.0.2.1 LOGIN=bob\r\n")
            assert reply.startswith(str(code))
            assert "secret" not in reply
            is_granted = code == 220
            assert (info.peer == before) is not is_granted
            assert (info.xclient is not None) is is_granted
            assert info.user == ("bob" if is_granted else None)

    run(main())


def test_a_client_without_a_session_is_turned_away(run: Run) -> None:
    made = 0

    def make(connection: ConnectionInfo) -> Session:
        nonlocal made
        made += 1
        if made == 2:
            raise ZeroDivisionError
        return Session(connection)

    async def main() -> None:
        async with serve(make, **TRUSTING) as served:
            peer = await served.connect()
            await ready(peer)
            assert await peer.say(b"XCLIENT ADDR=192.0.2.1\r\n") == [421]
            assert await peer.rest() == b""

    run(main())


def test_gone_while_the_hook_runs(run: Run) -> None:
    async def closed(self: Diary, reason: str) -> None:
        self.note("closed", reason)
        if reason == "XCLIENT":
            self.connection.close()

    kind = diary(closed=closed)

    async def main() -> None:
        async with serve(kind, **TRUSTING) as served:
            peer = await served.connect()
            await ready(peer)
            assert await peer.say(b"XCLIENT ADDR=192.0.2.1\r\n") == [421]
            assert await peer.rest() == b""
        assert [line[0] for line in kind.lines].count("closed") == 2
        assert [line[0] for line in kind.lines].count("made") == 2

    run(main())


def test_xforward_is_seen_by_the_hooks_of_its_transaction(run: Run) -> None:
    seen: list[tuple[str, XForward | None]] = []

    class Inbox(Session):
        def note(self, hook: str) -> None:
            seen.append((hook, self.connection.forwarded))

        async def xforward(self, attributes: XForward) -> Reply | None:
            self.note("xforward")
            if attributes.ident == "refuse":
                raise Refuse(550, "5.7.0", "no")
            return None

        async def mail(
            self, reverse_path: Mailbox | None, options: MailOptions
        ) -> Reply | None:
            self.note("mail")
            return None

        async def data(self, body: Body) -> Reply | None:
            await body.read()
            self.note("data")
            return None

        async def reset(self) -> None:
            self.note("reset")

    async def main() -> None:
        async with serve(Inbox, **TRUSTING) as served:
            peer = await served.connect()
            await ready(peer)
            assert await peer.say(b"XFORWARD IDENT=refuse\r\n") == [550]
            assert await peer.say(b"XFORWARD ADDR=192.0.2.1 IDENT=4X\r\n") == [250]
            message = (
                b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\nx\r\n.\r\n"
            )
            assert await peer.say(message, 4) == [250, 250, 354, 250]
            assert await peer.say(message, 4) == [250, 250, 354, 250]
            assert await peer.say(b"QUIT\r\n") == [221]
        told = next(forwarded for hook, forwarded in seen if hook == "mail")
        assert told is not None
        assert (told.addr, told.ident, told.name) == (
            *("192.0.2.1", "4X"),
            Unknown.UNAVAILABLE,
        )
        assert seen == [
            ("xforward", None),
            ("xforward", None),
            *(("mail", told), ("data", told), ("reset", None)),
            *(("mail", None), ("data", None), ("reset", None)),
        ]

    run(main())


def told_address(info: ConnectionInfo) -> object:
    """Return it; a type checker thinks that an attribute stays as it was."""
    return None if info.forwarded is None else info.forwarded.addr


def test_it_is_granted_where_no_hook_asks(run: Run) -> None:
    async def main() -> None:
        async with serve(Session, **TRUSTING) as served:
            peer = await served.connect()
            await ready(peer)
            (info,) = served.server.connections
            assert told_address(info) is None
            assert await peer.say(b"XFORWARD ADDR=192.0.2.1\r\n") == [250]
            assert told_address(info) == "192.0.2.1"
            # For the log only: the session is the gateway's.
            assert info.peer_host == "127.0.0.1"

    run(main())


def test_sinks_are_told(run: Run) -> None:
    events: list[ServerEvent] = []

    async def main() -> None:
        async with serve(Session, events=events.append, **TRUSTING) as served:
            peer = await served.connect()
            await ready(peer)
            assert await peer.say(b"XFORWARD IDENT=4X\r\n") == [250]
            assert await peer.say(b"XCLIENT addr=192.0.2.1\r\n") == [220]
        told = [event for event in events if isinstance(event, CommandEvent)]
        assert [(event.verb, event.argument, event.reply) for event in told] == [
            ("XFORWARD", "IDENT=4X", None),
            ("XCLIENT", "ADDR=192.0.2.1", None),
        ]

    run(main())


def test_sinks_are_told_of_a_refusal(run: Run) -> None:
    events: list[ServerEvent] = []

    async def xclient(self: Session, attributes: XClient) -> Reply | None:
        raise Refuse(550, "5.7.0", "no")

    async def main() -> None:
        kind = diary(xclient=xclient)
        async with serve(kind, events=events.append, **TRUSTING) as served:
            peer = await served.connect()
            await ready(peer)
            assert await peer.say(b"XCLIENT addr=192.0.2.1\r\n") == [550]
        (told,) = [event for event in events if isinstance(event, CommandEvent)]
        assert told.reply == Reply(550, "5.7.0", "no")

    run(main())


@pytest.mark.parametrize("keyword", ["XCLIENT", "xforward"])
def test_nobody_offers_it_to_all(keyword: str) -> None:
    with pytest.raises(ValueError, match=f"set {keyword.lower()}_networks"):
        ServerOptions(extensions=frozenset({keyword}))


@pytest.mark.parametrize("name", ["xclient_networks", "xforward_networks"])
def test_wrong_networks_are_refused_at_once(name: str) -> None:
    with pytest.raises(ValueError, match="gateway"):
        ServerOptions(**{name: ("gateway",)})  # type: ignore[arg-type]

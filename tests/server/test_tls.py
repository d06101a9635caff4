"""STARTTLS, implicit TLS, and AUTH on a socket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl

import pytest

from smtpx.errors import Refuse
from smtpx.sasl.mechanism import Identity
from smtpx.server.session import ConnectionInfo, Session
from smtpx.wire.replies import Reply
from tests.server.conftest import Certificates, Run
from tests.server.peers import Peer, Signal, recorder, serve, until

SECRET = "Geheim-77"
PLAIN = base64.b64encode(f"\0tim\0{SECRET}".encode())


class Users(Session):
    """Knows one user."""

    async def check_password(self, user: str, password: str) -> bool:
        await asyncio.sleep(0)
        return (user, password) == ("tim", SECRET)

    async def mail(self, reverse_path: object, options: object) -> Reply:
        return Reply(250, None, f"{self.connection.user} {self.connection.protocol}")


def test_starttls_forgets_everything(run: Run, certificates: Certificates) -> None:
    sessions: list[Session] = []

    class Inbox(recorder()):  # type: ignore[misc]
        def __init__(self, connection: ConnectionInfo) -> None:
            super().__init__(connection)
            sessions.append(self)

        async def check_password(self, user: str, password: str) -> bool:
            return True

        async def verify(self, text: str) -> Reply:
            info = self.connection
            return Reply(250, None, f"{info.hello_name} {info.user} {info.protocol}")

    async def scenario() -> None:
        async with serve(Inbox, tls=certificates.server) as served:
            peer = await served.ready()
            assert await peer.say(b"AUTH PLAIN " + PLAIN + b"\r\n") == [235]
            assert await peer.ask(b"VRFY x\r\n") == "250 2.0.0 c.test tim ESMTPA"
            assert await peer.say(b"STARTTLS\r\n") == [220]
            await peer.start_tls(certificates.client)
            assert await peer.ask(b"VRFY x\r\n") == "250 2.0.0 None None SMTP"
            assert await peer.say(b"MAIL FROM:<>\r\n") == [503]
            answered = await peer.ask(b"EHLO d.test\r\n")
            assert "STARTTLS" not in answered
            assert "AUTH PLAIN" in answered
            assert await peer.ask(b"VRFY x\r\n") == "250 2.0.0 d.test None ESMTPS"
            assert await peer.say(b"STARTTLS\r\n") == [503]
            peer.send(b"MAIL FROM:<>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\nhi\r\n.\r\n")
            assert await peer.codes(4) == [250, 250, 354, 250]
            first, second = sessions
            assert first is not second
            assert second.connection is first.connection
            info = second.connection.tls
            assert info is not None
            assert info.version.startswith("TLS")
            assert await peer.say(b"QUIT\r\n") == [221]
            assert await peer.rest() == b""
            await until(lambda: not served.server.connections)
        assert Inbox.messages == [b"hi\r\n"]
        assert Inbox.log == ["closed: STARTTLS", "data", "reset", "closed: QUIT"]

    run(scenario())


@pytest.mark.parametrize("at_once", [True, False])
def test_plaintext_behind_starttls_closes(
    run: Run, certificates: Certificates, at_once: bool
) -> None:
    async def scenario() -> None:
        inbox = recorder()
        async with serve(inbox, tls=certificates.server) as served:
            peer = await served.ready()
            evil = b"RSET\r\nMAIL FROM:<evil@x>\r\nRCPT TO:<b@mx.test>\r\n"
            peer.send(b"STARTTLS\r\n" + (evil if at_once else b""))
            if at_once:
                assert await peer.codes(1) == [421]
            else:
                assert await peer.codes(1) == [220]
                peer.send(evil)
            rest = await peer.rest()
            assert b"250" not in rest
            await peer.close()
            await until(lambda: not served.server.connections)
        assert len(inbox.log) == 1

    run(scenario())


def test_commands_in_one_flight_with_the_handshake(
    run: Run, certificates: Certificates
) -> None:
    # A client may send EHLO with its last handshake record, before the server's
    # start_tls has returned.
    async def scenario() -> None:
        async with serve(recorder(), tls=certificates.server) as served:
            peer = await served.ready()
            assert await peer.say(b"STARTTLS\r\n") == [220]
            reader, writer = peer.reader, peer.writer
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = certificates.client.wrap_bio(
                incoming, outgoing, server_hostname="mx.test"
            )
            while True:
                try:
                    tls.do_handshake()
                except ssl.SSLWantReadError:
                    writer.write(outgoing.read())
                    incoming.write(await reader.read(65_536))
                else:
                    break
            tls.write(b"EHLO c.test\r\nNOOP\r\n")
            writer.write(outgoing.read())
            heard = b""
            while not heard.endswith(b"\r\n250 2.0.0 OK\r\n"):
                try:
                    heard += tls.read(65_536)
                except ssl.SSLWantReadError:
                    incoming.write(await reader.read(65_536))
            assert heard.startswith(b"250-mx.test greets c.test\r\n")

    run(scenario())


@pytest.mark.parametrize("way", ["vanish", "half-close", "server", "info", "garbage"])
def test_handshake_that_does_not_end(
    run: Run, certificates: Certificates, way: str
) -> None:
    async def scenario() -> None:
        inbox = recorder()
        async with serve(inbox, tls=certificates.server) as served:
            peer = await served.ready()
            assert await peer.say(b"STARTTLS\r\n") == [220]
            # The beginning of a handshake record, so that one is under way.
            peer.send(b"\x16\x03\x01\x02\x00\x01\x00")
            for _ in range(10):
                await asyncio.sleep(0)
            if way == "vanish":
                peer.abort()
            elif way == "half-close":
                peer.writer.write_eof()
            elif way == "server":
                await served.server.close()
            elif way == "info":
                served.server.connections[0].close()
            else:
                peer.send(b"NOOP\r\n" * 200)
            rest = await peer.rest()
            assert b"421" not in rest
            await peer.close()
            await until(lambda: not served.server.connections)
        assert len(inbox.log) == 1
        assert inbox.log[0].startswith("closed: ")

    run(scenario())


def test_factory_that_fails_under_tls(run: Run, certificates: Certificates) -> None:
    inbox = recorder()
    made: list[Session] = []

    def factory(info: ConnectionInfo) -> Session:
        if made:
            raise ValueError("only one a connection")
        session: Session = inbox(info)
        made.append(session)
        return session

    async def scenario() -> None:
        async with serve(factory, tls=certificates.server) as served:
            peer = await served.ready()
            assert await peer.say(b"STARTTLS\r\n") == [220]
            await peer.start_tls(certificates.client)
            assert (await peer.rest()).startswith(b"421 4.3.0 ")
            await peer.close()
            await until(lambda: not served.server.connections)
        assert inbox.log == ["closed: STARTTLS"]

    run(scenario())


def test_shutdown_in_the_handshake(run: Run, certificates: Certificates) -> None:
    async def scenario() -> None:
        async with serve(recorder(), tls=certificates.server) as served:
            peer = await served.ready()
            assert await peer.say(b"STARTTLS\r\n") == [220]
            stopping = asyncio.create_task(served.server.shutdown(10))
            await asyncio.sleep(0)
            await peer.start_tls(certificates.client)
            assert (await peer.rest()).startswith(b"421 4.3.2 ")
            await peer.close()
            await stopping

    run(scenario())


def test_implicit_tls(run: Run, certificates: Certificates) -> None:
    async def scenario() -> None:
        async with serve(Users, tls=certificates.server, implicit_tls=True) as served:
            peer = await served.ready(tls=certificates.client)
            (info,) = served.server.connections
            assert info.tls is not None
            assert info.protocol == "ESMTPS"
            assert await peer.say(b"STARTTLS\r\n") == [503]
            assert await peer.say(b"AUTH PLAIN " + PLAIN + b"\r\n") == [235]
            assert await peer.ask(b"MAIL FROM:<>\r\n") == "250 2.0.0 tim ESMTPSA"
            assert await peer.say(b"QUIT\r\n") == [221]
            assert await peer.rest() == b""

    run(scenario())


def test_plaintext_on_a_port_of_implicit_tls(
    run: Run, certificates: Certificates
) -> None:
    async def scenario() -> None:
        inbox = recorder()
        async with serve(inbox, tls=certificates.server, implicit_tls=True) as served:
            peer = await served.connect()
            peer.send(b"EHLO c.test\r\nMAIL FROM:<evil@x>\r\n")
            assert b"250" not in await peer.rest()
            again = await served.ready(tls=certificates.client)
            assert await again.say(b"NOOP\r\n") == [250]

    run(scenario())


def test_large_message_under_tls(run: Run, certificates: Certificates) -> None:
    async def scenario() -> None:
        inbox = recorder()
        async with serve(inbox, tls=certificates.server) as served:
            peer = await served.ready()
            await peer.say(b"STARTTLS\r\n")
            await peer.start_tls(certificates.client)
            await peer.say(b"EHLO c.test\r\n")
            content = b"x" * 998 + b"\r\n"
            peer.send(b"MAIL FROM:<>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\n")
            peer.send(content * 2_000 + b".\r\n")
            assert await peer.codes(4) == [250, 250, 354, 250]
            assert inbox.messages == [content * 2_000]

    run(scenario())


# --- AUTH. ---


@pytest.mark.parametrize("is_tls", [True, False])
def test_auth(run: Run, certificates: Certificates, is_tls: bool) -> None:
    async def scenario() -> None:
        async with serve(Users, tls=certificates.server) as served:
            peer = await served.ready()
            if is_tls:
                await peer.say(b"STARTTLS\r\n")
                await peer.start_tls(certificates.client)
                await peer.say(b"EHLO c.test\r\n")
            wrong = base64.b64encode(b"\0tim\0wrong")
            assert await peer.ask(b"AUTH PLAIN " + wrong + b"\r\n") == (
                "535 5.7.8 authentication credentials invalid"
            )
            user, password = (base64.b64encode(t) for t in (b"tim", SECRET.encode()))
            assert await peer.ask(b"AUTH LOGIN\r\n") == "334 VXNlcm5hbWU6"
            assert await peer.ask(user + b"\r\n") == "334 UGFzc3dvcmQ6"
            assert await peer.say(password + b"\r\n") == [235]
            protocol = "ESMTPSA" if is_tls else "ESMTPA"
            assert await peer.ask(b"MAIL FROM:<>\r\n") == f"250 2.0.0 tim {protocol}"

    run(scenario())


def test_no_plaintext_auth_even_for_local_clients(
    run: Run, certificates: Certificates
) -> None:
    async def scenario() -> None:
        async with serve(
            Users, tls=certificates.server, local_plaintext_auth=False
        ) as served:
            peer = await served.greeted()
            assert "AUTH" not in await peer.ask(b"EHLO c.test\r\n")
            line = b"AUTH PLAIN " + PLAIN + b"\r\n"
            assert await peer.ask(line) == "538 5.7.11 mechanism needs encryption"
            await peer.say(b"STARTTLS\r\n")
            await peer.start_tls(certificates.client)
            assert "AUTH PLAIN LOGIN" in await peer.ask(b"EHLO c.test\r\n")
            assert await peer.say(line) == [235]

    run(scenario())


def test_plaintext_auth_allowed_by_name(run: Run) -> None:
    async def scenario() -> None:
        async with serve(
            Users,
            local_plaintext_auth=False,
            plaintext_auth=frozenset({"plain"}),
            auth_mechanisms=("login", "plain"),
        ) as served:
            peer = await served.greeted()
            answered = await peer.ask(b"EHLO c.test\r\n")
            assert "AUTH PLAIN" in answered.splitlines()[-2] + answered
            assert "LOGIN" not in answered
            assert await peer.say(b"AUTH PLAIN " + PLAIN + b"\r\n") == [235]

    run(scenario())


def test_tls_and_auth_required(run: Run, certificates: Certificates) -> None:
    async def scenario() -> None:
        async with serve(
            Users, tls=certificates.server, require_tls=True, require_auth=True
        ) as served:
            peer = await served.ready()
            assert (
                await peer.ask(b"MAIL FROM:<>\r\n") == "530 5.7.0 issue STARTTLS first"
            )
            await peer.say(b"STARTTLS\r\n")
            await peer.start_tls(certificates.client)
            await peer.say(b"EHLO c.test\r\n")
            assert await peer.ask(b"MAIL FROM:<>\r\n") == (
                "530 5.7.0 authentication required"
            )
            await peer.say(b"AUTH PLAIN " + PLAIN + b"\r\n")
            assert await peer.say(b"MAIL FROM:<>\r\n") == [250]

    run(scenario())


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        (Refuse(454, "4.7.0", "busy"), "454 4.7.0 busy"),
        (ValueError("secret"), "454 4.7.0 temporary authentication failure"),
        (1, "535 5.7.8 authentication credentials invalid"),
        ("yes", "535 5.7.8 authentication credentials invalid"),
        (None, "535 5.7.8 authentication credentials invalid"),
        (Reply(235), "535 5.7.8 authentication credentials invalid"),
    ],
)
def test_check_that_says_anything_but_true(
    run: Run, outcome: object, answer: str
) -> None:
    async def check_password(self: Session, user: str, password: str) -> object:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def scenario() -> None:
        async with serve(recorder(check_password=check_password)) as served:
            peer = await served.ready()
            assert await peer.ask(b"AUTH PLAIN " + PLAIN + b"\r\n") == answer
            assert served.server.connections[0].user is None

    run(scenario())


@pytest.mark.parametrize("is_hook", [True, False])
def test_who_may_act_for_whom(run: Run, is_hook: bool) -> None:
    identities: list[Identity] = []

    async def check_password(self: Session, user: str, password: str) -> bool:
        return True

    async def authorize(self: Session, identity: Identity) -> None:
        identities.append(identity)

    async def default(self: Session, identity: Identity) -> Reply | None:
        return await Session.authorize(self, identity)

    foreign = base64.b64encode(b"boss\0tim\0x")
    own = base64.b64encode(b"tim\0tim\0x")

    async def scenario() -> None:
        # Whether the hook is inherited or called makes no difference.
        for members in ({}, {"authorize": default}):
            session = recorder(check_password=check_password, **members)
            async with serve(session) as served:
                peer = await served.ready()
                assert await peer.ask(b"AUTH PLAIN " + foreign + b"\r\n") == (
                    "535 5.7.8 not allowed to act as somebody else"
                )
                assert await peer.say(b"AUTH PLAIN " + own + b"\r\n") == [235]
                assert served.server.connections[0].user == "tim"
        session = recorder(check_password=check_password, authorize=authorize)
        async with serve(session) as served:
            peer = await served.ready()
            assert await peer.say(b"AUTH PLAIN " + foreign + b"\r\n") == [235]
        assert identities == [Identity("tim", "boss", "PLAIN")]

    run(scenario())


def test_client_gone_while_its_password_is_checked(run: Run) -> None:
    async def scenario() -> None:
        started, gate = Signal(), asyncio.Event()

        async def check_password(self: Session, user: str, password: str) -> bool:
            await started.set()
            await gate.wait()
            return True

        session = recorder(check_password=check_password)
        async with serve(session) as served:
            peer = await served.ready()
            peer.send(b"AUTH PLAIN " + PLAIN + b"\r\n")
            await started.wait()
            peer.abort()
            gate.set()
            await until(lambda: not served.server.connections)
        assert len(session.log) == 1

    run(scenario())


def test_no_auth_without_a_hook(run: Run) -> None:
    async def scenario() -> None:
        async with serve(recorder()) as served:
            peer: Peer = await served.greeted()
            assert "AUTH" not in await peer.ask(b"EHLO c.test\r\n")
            assert await peer.say(b"AUTH PLAIN " + PLAIN + b"\r\n") == [502]

    run(scenario())


def test_tls_that_ends_with_the_last_octets_of_its_handshake(
    run: Run, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio tells of the end before start_tls returns."""

    async def scenario() -> None:
        async with serve(recorder(), tls=certificates.server) as served:
            peer = await served.ready()
            assert await peer.say(b"STARTTLS\r\n") == [220]
            heard, said = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = certificates.client.wrap_bio(heard, said, server_hostname="mx.test")
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    peer.send(said.read())
                    heard.write(await peer.reader.read(65_536))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.unwrap()
            peer.send(said.read())  # Finished and close_notify
            await until(lambda: not served.server.connections)
            await peer.close()

    run(scenario())
    assert not caplog.records

"""What servers of other libraries do, done with this one: the examples of their pages.

docs/reference/counterparts.md names these tests.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING

import pytest

import smtpx
from smtpx.sasl.plain import PlainServer
from tests.counterparts.rooms import (
    MESSAGE,
    PASSWORD,
    USER,
    Inbox,
    open_room,
    server_tls,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_a_session_is_told_what_the_client_does() -> None:
    """Backend, Session: one object for each client, one method for each step."""
    told: list[str] = []

    class Backend(Inbox):
        def __init__(self, connection: smtpx.ConnectionInfo) -> None:
            super().__init__(connection)
            told.append("new")

        async def mail(
            self, reverse_path: smtpx.Mailbox | None, options: smtpx.MailOptions
        ) -> smtpx.Reply | None:
            told.append(f"mail {reverse_path} {options.size}")
            return None

        async def rcpt(
            self, forward_path: smtpx.Mailbox, options: smtpx.RcptOptions
        ) -> smtpx.Reply | None:
            told.append(f"rcpt {forward_path} {options.notify}")
            return None

        async def data(self, body: smtpx.Body) -> smtpx.Reply | None:
            told.append(f"data {len(await body.read())}")
            return None

        async def reset(self) -> None:
            told.append("reset")

        async def closed(self, reason: str) -> None:
            told.append("closed")

    with open_room(Backend) as room, smtpx.Client(room.url()) as client:
        client.send(MESSAGE, sender="a@example.com", recipients=["b@example.net"])
    assert told == [
        "new",
        f"mail a@example.com {len(MESSAGE)}",
        "rcpt b@example.net ()",
        f"data {len(MESSAGE)}",
        "reset",
        "closed",
    ]


def test_a_function_makes_sessions() -> None:
    """BackendFunc: whatever can be called with a connection will do."""

    async def main() -> None:
        connections: list[smtpx.ConnectionInfo] = []

        def make(connection: smtpx.ConnectionInfo) -> smtpx.Session:
            connections.append(connection)
            return smtpx.Session(connection)

        async with smtpx.Server(make) as server:
            url = f"smtp+plain://{server.addresses[0]}"
            async with smtpx.AsyncClient(url) as client:
                await client.noop()
        # GenerateSID: each has an id of its own.
        assert len(connections[0].id) > 5

    asyncio.run(main())


def test_login_anonymous_and_required() -> None:
    """Backend.Login, AnonymousLogin, ErrAuthRequired: hooks and one option."""

    class Submission(smtpx.Session):
        async def check_password(self, user: str, password: str) -> bool:
            return (user, password) == (USER, PASSWORD)

        async def admit_anonymous(self, trace: str) -> bool:
            return trace == "guest"

        async def authorize(self, identity: smtpx.Identity) -> smtpx.Reply | None:
            assert identity.mechanism in {"PLAIN", "ANONYMOUS"}
            return await super().authorize(identity)

    async def main() -> None:
        options = smtpx.ServerOptions(require_auth=True)
        async with smtpx.Server(Submission, options=options) as server:
            url = f"smtp+plain://{server.addresses[0]}"
            async with smtpx.AsyncClient(url) as client:
                with pytest.raises(smtpx.SenderRefused) as caught:
                    await client.mail("a@example.com")
                assert caught.value.smtp_code == 530
                assert (await client.auth(USER, PASSWORD)).code == 235
                assert (await client.mail("a@example.com")).code == 250
            guest = smtpx.Auth("guest", mechanisms=("ANONYMOUS",))
            async with smtpx.AsyncClient(url, auth=guest) as client:
                assert (await client.mail("a@example.com")).code == 250
            with pytest.raises(smtpx.AuthenticationFailed):
                await smtpx.AsyncClient(url, auth=(USER, "wrong")).connect()

    asyncio.run(main())


def test_without_auth_hooks_there_is_no_auth() -> None:
    """AuthDisabled, ErrAuthUnsupported, ErrAuthDisabled."""

    async def main() -> None:
        async with smtpx.Server(smtpx.Session) as server:
            url = f"smtp+plain://{server.addresses[0]}"
            async with smtpx.AsyncClient(url) as client:
                assert client.extension("AUTH") is None
                assert (await client.execute("AUTH", "PLAIN")).code == 502
                with pytest.raises(smtpx.NotSupported):
                    await client.auth(USER, PASSWORD)
        options = smtpx.ServerOptions(auth_mechanisms=())
        async with smtpx.Server(Inbox, options=options) as server:
            url = f"smtp+plain://{server.addresses[0]}"
            async with smtpx.AsyncClient(url) as client:
                assert client.extension("AUTH") is None

    asyncio.run(main())


def test_mechanism_of_ones_own() -> None:
    """EnableAuth, SaslServerFactory: a class of mechanisms by name."""

    class Own(PlainServer):
        name = "X-OWN"

    async def main() -> None:
        options = smtpx.ServerOptions(extra_mechanisms={"X-OWN": Own})
        async with smtpx.Server(Inbox, options=options) as server:
            url = f"smtp+plain://{server.addresses[0]}"
            async with smtpx.AsyncClient(url) as client:
                assert "X-OWN" in client.capabilities.auth_mechanisms

    asyncio.run(main())


def test_insecure_auth_has_to_be_asked_for() -> None:
    """AllowInsecureAuth: by name, or for clients of this host."""

    async def offered(options: smtpx.ServerOptions) -> tuple[str, ...]:
        async with smtpx.Server(Inbox, options=options) as server:
            url = f"smtp+plain://{server.addresses[0]}"
            async with smtpx.AsyncClient(url) as client:
                return client.capabilities.auth_mechanisms

    async def main() -> None:
        assert "PLAIN" in await offered(smtpx.ServerOptions())
        strict = smtpx.ServerOptions(local_plaintext_auth=False)
        assert "PLAIN" not in await offered(strict)
        loose = smtpx.ServerOptions(
            local_plaintext_auth=False, plaintext_auth=frozenset({"PLAIN"})
        )
        assert "PLAIN" in await offered(loose)

    asyncio.run(main())


def test_lmtp_session_gives_statuses() -> None:
    """LMTPSession.LMTPData, StatusCollector.SetStatus; the rest is what is returned."""

    class Delivery(smtpx.Session):
        async def lmtp_data(
            self, body: smtpx.Body, statuses: smtpx.Statuses
        ) -> smtpx.Reply | None:
            await body.read()
            first, *_ = statuses.recipients
            statuses.set(first, smtpx.Reply(452, "4.2.2", "mailbox full"))
            return smtpx.Reply(250, "2.0.0", "delivered")

    async def main() -> None:
        options = smtpx.ServerOptions(lmtp=True)
        async with smtpx.Server(Delivery, options=options) as server:
            url = f"lmtp://{server.addresses[0]}"
            async with smtpx.AsyncLMTPClient(url) as client:
                result = await client.send(
                    MESSAGE, sender="a@example.com", recipients=["b@x.test", "b@x.test"]
                )
        codes = [one.reply.code for one in result.recipients if one.reply]
        assert codes == [452, 250]

    asyncio.run(main())


def test_a_message_that_was_cut_off_raises() -> None:
    """ErrDataReset: the reader of a body learns that it will never be complete."""
    told: list[str] = []

    class Cut(smtpx.Session):
        async def data(self, body: smtpx.Body) -> smtpx.Reply | None:
            try:
                await body.read()
            except smtpx.MessageAborted as error:
                told.append(error.reason)
                raise
            return None

    async def main() -> None:
        async with smtpx.Server(Cut) as server:
            url = f"smtp+plain://{server.addresses[0]}"
            async with smtpx.AsyncClient(url) as client:
                await client.mail("a@example.com")
                await client.rcpt("b@example.net")
                await client.bdat(b"half")
                await client.reset()
                await client.noop()

    asyncio.run(main())
    assert told == ["RSET before the end of the message"]


def test_limits_and_what_is_said_at_them() -> None:
    """MaxRecipients, MaxMessageBytes, MaxLineLength, and their errors."""
    limits = smtpx.Limits(
        max_recipients=1,
        max_message_octets=20,
        max_command_octets=100,
        max_message_line_octets=15,
    )

    async def main() -> None:
        options = smtpx.ServerOptions(limits=limits)
        async with smtpx.Server(Inbox, options=options) as server:
            url = f"smtp+plain://{server.addresses[0]}"
            async with smtpx.AsyncClient(url) as client:
                assert (await client.execute("NOOP", "x" * 100)).code == 500
                await client.mail("a@example.com")
                await client.rcpt("b@example.net")
                over = await client.execute("RCPT", "TO:<c@example.net>")
                assert over.code == 452
                with pytest.raises(smtpx.DataRefused) as refused:
                    await client.data(b"12345678\r\n123456789\r\n")
                assert refused.value.reply == smtpx.Reply(
                    552,
                    "5.3.4",
                    refused.value.reply.text if refused.value.reply else "",
                )
                await client.reset()
                await client.mail("a@example.com")
                await client.rcpt("b@example.net")
                with pytest.raises(smtpx.DataRefused, match="550"):
                    await client.data(b"1234567890123456")

    asyncio.run(main())


def test_enhanced_codes() -> None:
    """EnhancedCodeNotSet: one is filled in. NoEnhancedCode: a greeting has none."""
    assert smtpx.Reply(550, None, "no").with_enhanced_default() == smtpx.Reply(
        550, "5.0.0", "no"
    )
    assert smtpx.Reply(550, "5.1.1", "no").enhanced == smtpx.EnhancedCode(5, 1, 1)
    assert smtpx.Reply(220, None, "mail.example.com ESMTP").encode() == (
        b"220 mail.example.com ESMTP\r\n"
    )


def test_errors_of_sessions_are_replies() -> None:
    """SMTPError: its code, enhanced code and message go to the client."""
    error = smtpx.Refuse(554, "5.7.1", "we do not relay")
    assert (error.code, error.enhanced, error.text) == (554, "5.7.1", "we do not relay")

    class Refusing(smtpx.Session):
        async def mail(
            self, reverse_path: smtpx.Mailbox | None, options: smtpx.MailOptions
        ) -> smtpx.Reply | None:
            raise error

    both = type("Both", (Refusing, Inbox), {})
    with (
        open_room(both) as room,
        smtpx.Client(room.url()) as client,
        pytest.raises(smtpx.SenderRefused) as caught,
    ):
        client.mail("a@example.com")
    assert caught.value.reply == smtpx.Reply(554, "5.7.1", "we do not relay")


def test_facts_about_a_connection() -> None:
    """Conn.State, ConnectionState, TLSConnectionState; Conn.Server is the closure."""
    seen: list[smtpx.ConnectionInfo] = []

    class Looking(Inbox):
        async def mail(
            self, reverse_path: smtpx.Mailbox | None, options: smtpx.MailOptions
        ) -> smtpx.Reply | None:
            seen.append(self.connection)
            return None

    with open_room(Looking) as room:
        url = room.url("smtp+starttls")
        with smtpx.Client(url, options=room.options) as client:
            client.hello("client.example.org")
            client.mail("a@example.com")
            (connection,) = room.server.connections
            assert connection is seen[0]
            assert connection.hello_name == "client.example.org"
            assert connection.hostname == "mail.example.com"
            assert connection.local == room.server.addresses[0]
            assert connection.peer.startswith("127.0.0.1:")
            assert str(connection.peer_ip) == connection.peer_host == "127.0.0.1"
            assert connection.tls is not None
            assert connection.tls.version.startswith("TLSv1.")
            assert connection.tls.cipher


def test_a_session_may_end_itself_and_change_the_greeting() -> None:
    """Conn.Close, Conn.Reject, Conn.WriteResponse: replies, and `close`."""

    class Closing(Inbox):
        async def connected(self) -> smtpx.Reply | None:
            return smtpx.Reply(220, None, "at your service")

        async def hello(self, name: str) -> smtpx.Reply | None:
            if name == "rejected.example.org":
                raise smtpx.Refuse(421, "4.7.0", "not you")
            return None

        async def help(self, topic: str) -> smtpx.Reply | None:
            self.connection.close(smtpx.Reply(421, "4.3.2", "going\nfor today"))
            return None

    with open_room(Closing) as room:
        client = smtpx.Client(room.url())
        client.connect()
        assert client.greeting is not None
        assert client.greeting.text.endswith("at your service")
        with pytest.raises(smtpx.SendError, match="going"):
            client.help()
        options = smtpx.ClientOptions(hello_name="rejected.example.org")
        with pytest.raises(smtpx.SendError, match="not you"):
            smtpx.Client(room.url(), options=options).connect()


def test_verb_of_ones_own() -> None:
    """Conn.ReadLine, for extensions: a verb, registered, and a hook for it."""
    registry = smtpx.ServerOptions().registry.with_extension(
        smtpx.Extension("XPING", "example.com", verbs=(smtpx.parse_raw("XPING"),))
    )

    class Ping(smtpx.Session):
        async def command(self, verb: str, argument: str) -> smtpx.Reply | None:
            return smtpx.Reply(250, "2.0.0", f"{verb} {argument}")

    async def main() -> None:
        options = smtpx.ServerOptions(
            registry=registry, extensions=frozenset({"XPING"})
        )
        async with smtpx.Server(Ping, options=options) as server:
            url = f"smtp+plain://{server.addresses[0]}"
            async with smtpx.AsyncClient(url) as client:
                assert (await client.execute("XPING", "1")).text == "XPING 1"

    asyncio.run(main())


def test_addresses_life_and_connections(tmp_path: Path) -> None:
    """Addr (also a unix socket), Serve, ListenAndServe, ForEachConn, Close."""

    async def main() -> None:
        path = tmp_path / "smtp"
        server = smtpx.Server(Inbox, ("127.0.0.1:0", f"unix:{path}"))
        async with server:
            serving = asyncio.create_task(server.serve_forever())
            async with smtpx.AsyncClient(f"smtp+unix://{path}") as client:
                await client.noop()
                assert len(server.connections) == 1
                for connection in server.connections:
                    connection.close()
                with pytest.raises(smtpx.SendError):
                    await client.noop()
            await server.shutdown(grace=5)
            await server.close()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        assert not path.exists()

    asyncio.run(main())


def test_implicit_tls_and_starttls_of_one_context() -> None:
    """TLSConfig, ListenAndServeTLS."""
    tls, client_tls = server_tls()
    assert isinstance(tls, ssl.SSLContext)

    async def main() -> None:
        for implicit, scheme in ((True, "smtps"), (False, "smtp+starttls")):
            options = smtpx.ServerOptions(tls=tls, implicit_tls=implicit)
            client_options = smtpx.ClientOptions(
                tls_context=client_tls, server_hostname="mail.example.com"
            )
            async with smtpx.Server(Inbox, options=options) as server:
                url = f"{scheme}://{server.addresses[0]}"
                async with smtpx.AsyncClient(url, options=client_options) as client:
                    assert client.tls is not None

    asyncio.run(main())


def test_optional_extensions() -> None:
    """EnableSMTPUTF8, EnableREQUIRETLS, EnableBINARYMIME, EnableDSN."""
    with open_room() as room:
        url = room.url("smtp+starttls")
        with smtpx.Client(url, options=room.options) as client:
            for keyword in ("SMTPUTF8", "REQUIRETLS", "BINARYMIME", "DSN", "CHUNKING"):
                assert client.extension(keyword) == ()
    given = room.server.options
    assert (given.smtputf8, given.binarymime, given.dsn) == (True, True, True)
    assert given.extensions == {"REQUIRETLS"}
    assert given.hostname == "mail.example.com"


def test_timeouts_of_a_server() -> None:
    """ReadTimeout, WriteTimeout."""
    timeouts = smtpx.ServerTimeouts(command=10, body=10, linger=5)
    options = smtpx.ServerOptions(timeouts=timeouts)
    assert options.timeouts.command == 10
    with pytest.raises(ValueError, match="linger"):
        smtpx.ServerTimeouts(linger=0)


def test_leniency_has_to_be_asked_for() -> None:
    """Strict: off, paths may lack their brackets."""

    async def main() -> None:
        for lenient, code in ((False, 501), (True, 250)):
            options = smtpx.ServerOptions(lenient_paths=lenient)
            async with smtpx.Server(Inbox, options=options) as server:
                url = f"smtp+plain://{server.addresses[0]}"
                async with smtpx.AsyncClient(url) as client:
                    reply = await client.execute("MAIL", "FROM:a@example.com")
                    assert reply.code == code

    asyncio.run(main())


def test_logs(caplog: pytest.LogCaptureFixture) -> None:
    """Debug and Logger: the dialogue, events, and errors that were not expected."""
    lines: list[tuple[str, str]] = []

    class Failing(smtpx.Session):
        async def mail(
            self, reverse_path: smtpx.Mailbox | None, options: smtpx.MailOptions
        ) -> smtpx.Reply | None:
            raise RuntimeError("a bug")

    async def main() -> None:
        options = smtpx.ServerOptions(
            wire_log=lambda session, line: lines.append((session, line)),
            events=smtpx.EventLog(logging.getLogger("mail")),
        )
        async with smtpx.Server(Failing, options=options) as server:
            url = f"smtp+plain://{server.addresses[0]}"
            async with smtpx.AsyncClient(url) as client:
                with pytest.raises(smtpx.SenderRefused, match="451"):
                    await client.mail("a@example.com")

    with caplog.at_level(logging.INFO):
        asyncio.run(main())
    assert any(line.startswith("C: MAIL") for _, line in lines)
    assert any("a bug" in str(one.exc_info) for one in caplog.records)
    assert any(one.name == "mail" for one in caplog.records)


def test_transform_of_any_session() -> None:
    """Package backendutil: what a session is told is rewritten."""

    class Rewrite(smtpx.Transform):
        async def sender(
            self, reverse_path: smtpx.Mailbox | None, options: smtpx.MailOptions
        ) -> tuple[smtpx.Mailbox | None, smtpx.MailOptions]:
            return smtpx.Mailbox.parse("list@example.com"), options

    async def main() -> None:
        senders: list[str] = []

        class Keeping(smtpx.Session):
            async def data(self, body: smtpx.Body) -> smtpx.Reply | None:
                senders.append(str(self.envelope.reverse_path))
                await body.read()
                return None

        async with smtpx.Server(smtpx.transform(Keeping, Rewrite)) as server:
            await smtpx.asend(
                MESSAGE,
                to=f"smtp+plain://{server.addresses[0]}",
                sender="a@example.com",
                recipients=["b@example.net"],
            )
        assert senders == ["list@example.com"]

    asyncio.run(main())


def test_networks_without_tls() -> None:
    """SecureNet."""
    tls, _ = server_tls()

    async def main() -> None:
        for network, code in (("127.0.0.0/8", 250), ("192.0.2.0/24", 530)):
            options = smtpx.ServerOptions(
                tls=tls, require_tls=True, plaintext_networks=(network,)
            )
            async with smtpx.Server(Inbox, options=options) as server:
                url = f"smtp+plain://{server.addresses[0]}"
                async with smtpx.AsyncClient(url) as client:
                    reply = await client.execute("MAIL", "FROM:<a@example.com>")
                    assert reply.code == code

    asyncio.run(main())


def test_rate_limiter() -> None:
    """RateLimiter: so many connections, then 421 in place of the greeting."""
    rule = smtpx.RateRule(smtpx.Counted.CONNECTIONS, smtpx.Rate(1, 3600))
    limiter: smtpx.RateLimiter = smtpx.MemoryRateLimiter()

    async def main() -> None:
        options = smtpx.ServerOptions(
            guards=(smtpx.RateGuard(limiter, [rule]),), unlimited_networks=()
        )
        async with smtpx.Server(Inbox, options=options) as server:
            url = f"smtp+plain://{server.addresses[0]}"
            async with smtpx.AsyncClient(url) as client:
                await client.noop()
            with pytest.raises(smtpx.GreetingRefused, match=r"4\.7\.28"):
                await smtpx.AsyncClient(url).connect()

    asyncio.run(main())

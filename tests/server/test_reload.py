"""A server's certificates are renewed while it runs."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

import smtpx
from smtpx.net.certificates import ServerTLS
from smtpx.server.listener import Server
from smtpx.server.options import ServerOptions
from smtpx.server.session import Session
from smtpx.server.sockets import Address, Listener, parse_address
from tests.server.conftest import Certificates, Run
from tests.server.peers import recorder, serve

AUTHORITY = trustme.CA()


def write(path: Path, *names: str) -> Path:
    AUTHORITY.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(path)
    return path


async def shown(address: str, name: str, *, is_implicit: bool) -> list[str]:
    """Return the names in the certificate that a server shows."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    context.check_hostname = False
    host, port = parse_address(address)
    reader, writer = await asyncio.open_connection(
        host,
        port,
        ssl=context if is_implicit else None,
        server_hostname=name if is_implicit else None,
    )
    assert (await reader.readline()).startswith(b"220 ")
    if not is_implicit:
        writer.write(b"EHLO c.test\r\nSTARTTLS\r\n")
        while not (await reader.readline()).startswith(b"220 "):
            pass
        await writer.start_tls(context, server_hostname=name)
    facts = writer.get_extra_info("ssl_object").getpeercert()
    if not writer.is_closing():
        writer.close()
    await writer.wait_closed()
    return [str(value) for _, value in facts["subjectAltName"]]


LISTENERS: list[Address] = [
    "127.0.0.1:0",
    Listener("127.0.0.1:0", implicit_tls=True),
]


def test_every_listener_gets_the_new_certificates(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        tls = ServerTLS(
            write(tmp_path / "mx.pem", "mx.test"),
            by_name={"mail.test": write(tmp_path / "mail.pem", "mail.test")},
        )
        async with serve(recorder(), LISTENERS, tls=tls) as served:
            old = await served.ready()

            async def names() -> list[list[str]]:
                return [
                    await shown(address, name, is_implicit=index == 1)
                    for index, address in enumerate(served.server.addresses)
                    for name in ("mx.test", "mail.test")
                ]

            assert await names() == [["mx.test"], ["mail.test"]] * 2
            write(tmp_path / "mx.pem", "mx.test", "new.test")
            write(tmp_path / "mail.pem", "mail.test", "new.test")
            served.server.reload_tls()
            assert (
                await names()
                == [["mx.test", "new.test"], ["mail.test", "new.test"]] * 2
            )
            # Nobody is disconnected, and STARTTLS on an old connection uses the new.
            assert await old.say(b"NOOP\r\n") == [250]
            (tmp_path / "mx.pem").write_text("nonsense")
            with pytest.raises(OSError, match=r"mx\.pem: no certificate"):
                served.server.reload_tls()
            assert (await names())[0] == ["mx.test", "new.test"]

    run(scenario())


def test_a_session_knows_the_name(run: Run, tmp_path: Path) -> None:
    names: list[str | None] = []

    class Inbox(Session):
        async def hello(self, name: str) -> None:
            tls = self.connection.tls
            if tls is not None:
                names.append(tls.server_hostname)

    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)

    async def scenario() -> None:
        tls = ServerTLS(write(tmp_path / "mx.pem", "mx.test"))
        async with serve(Inbox, LISTENERS, tls=tls) as served:
            peer = await served.connect(tls=context, index=1)
            assert await peer.say(b"EHLO c.test\r\n", 2) == [220, 250]
            peer = await served.ready()
            await peer.say(b"STARTTLS\r\n")
            await peer.start_tls(context)
            assert await peer.say(b"EHLO c.test\r\n") == [250]

    run(scenario())
    assert names == ["mx.test", "mx.test"]


@pytest.mark.parametrize("name", ["mx.test", "mail.test"])
def test_a_login_is_bound_to_the_certificate_that_was_shown(
    run: Run, tmp_path: Path, name: str
) -> None:
    credentials = smtpx.make_scram_credentials("Geheim-77", salt=b"salt" * 4)

    class Users(Session):
        async def scram_credentials(
            self, user: str, hash_name: str
        ) -> smtpx.ScramCredentials:
            return credentials

    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    plus = "SCRAM-SHA-256-PLUS"
    options = smtpx.ClientOptions(tls_context=context, server_hostname=name)
    auth = smtpx.Auth("ann", "Geheim-77", mechanisms=(plus,))

    async def scenario() -> None:
        tls = ServerTLS(
            write(tmp_path / "mx.pem", "mx.test"),
            by_name={"mail.test": write(tmp_path / "mail.pem", "mail.test")},
        )
        async with serve(Users, tls=tls, auth_mechanisms=(plus,)) as served:
            url = f"smtp+starttls://{served.server.addresses[0]}"
            for _ in range(2):
                async with smtpx.AsyncClient(url, options=options, auth=auth) as client:
                    assert (await client.noop()).code == 250
                served.server.reload_tls()
            # One that shook hands before the reload logs in after it.
            async with smtpx.AsyncClient(url, options=options) as client:
                write(tmp_path / "mx.pem", "mx.test", "new.test")
                write(tmp_path / "mail.pem", "mail.test", "new.test")
                served.server.reload_tls()
                await client.auth("ann", "Geheim-77", mechanism=plus)
                (info,) = served.server.connections
                assert info.user == "ann"

    run(scenario())


def test_files_are_looked_at_when_asked_for(
    run_timed: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        path = write(tmp_path / "mx.pem", "mx.test")
        tls = ServerTLS(path, poll_seconds=60)
        async with serve(recorder(), LISTENERS, tls=tls) as served:
            first = tls.context
            await asyncio.sleep(130)
            assert tls.context is first
            path.write_text("half a file")
            await asyncio.sleep(61)
            assert "cannot reload the TLS certificates" in caplog.text
            assert tls.context is first
            write(path, "mx.test", "new.test")
            await asyncio.sleep(61)
            assert tls.context is not first
            assert await shown(
                served.server.addresses[1], "mx.test", is_implicit=True
            ) == ["mx.test", "new.test"]
            # Also what another server of the same ServerTLS has reloaded.
            write(path, "mx.test")
            tls.reload()
            await asyncio.sleep(61)
            assert await shown(
                served.server.addresses[0], "mx.test", is_implicit=False
            ) == ["mx.test"]

    run_timed(scenario())


def test_files_are_left_alone_by_default(run_timed: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        path = write(tmp_path / "mx.pem", "mx.test")
        tls = ServerTLS(path)
        async with serve(recorder(), LISTENERS, tls=tls):
            first = tls.context
            path.unlink()
            await asyncio.sleep(100_000)
            assert tls.context is first

    run_timed(scenario())


def test_another_context(run: Run, certificates: Certificates, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serve(recorder(), LISTENERS, tls=certificates.server) as served:
            other = smtpx.server_context(write(tmp_path / "new.pem", "new.test"))
            served.server.reload_tls(other)
            assert await shown(
                served.server.addresses[1], "new.test", is_implicit=True
            ) == ["new.test"]
            with pytest.raises(ValueError, match="give a new context"):
                served.server.reload_tls()

    run(scenario())


def test_a_server_without_tls() -> None:
    server = Server(Session, options=ServerOptions())
    with pytest.raises(ValueError, match="offers no TLS"):
        server.reload_tls()


def test_what_auth_offers_follows_the_certificate(tmp_path: Path) -> None:
    class Users(Session):
        async def scram_credentials(self, user: str, hash_name: str) -> None:
            return None

    plus = "SCRAM-SHA-256-PLUS"
    tls = ServerTLS(write(tmp_path / "mx.pem", "mx.test"))
    server = Server(Users, options=ServerOptions(tls=tls, auth_mechanisms=(plus,)))
    assert plus in server.config_for(Users).mechanisms
    # A context without a certificate shows none that a login could be bound to.
    server.reload_tls(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    assert plus not in server.config_for(Users).mechanisms
    server.reload_tls()
    assert plus in server.config_for(Users).mechanisms

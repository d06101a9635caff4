"""Every mechanism through a real server and real clients, both fronts, on loopback."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import re
import socket
import ssl
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import trustme
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

import smtpx
from smtpx.sasl.mechanism import (
    Failure,
    Identity,
    Question,
    ServerMechanism,
    Step,
    Success,
)
from smtpx.sasl.oauth import CheckToken, TokenRefused
from smtpx.sasl.registry import CLIENT_MECHANISMS
from smtpx.sasl.scram_keys import ScramCredentials, make_scram_credentials
from smtpx.server.questions import can_answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER, PASSWORD, TOKEN = "ann@example.com", "p\u00e4ss w\u00f6rd", "ya29.vF9dft4qmTc2"
ALL = tuple(CLIENT_MECHANISMS)


class Users(smtpx.Session):
    """Knows one user by everything there is."""

    identities: list[Identity]
    traces: list[str]

    async def check_password(self, user: str, password: str) -> bool:
        return (user, password) == (USER, PASSWORD)

    async def scram_credentials(
        self, user: str, hash_name: str
    ) -> ScramCredentials | None:
        if user != USER:
            return None
        return make_scram_credentials(PASSWORD, salt=b"salt" * 4, hash_name=hash_name)

    async def readable_password(self, user: str) -> str | None:
        return PASSWORD if user == USER else None

    async def check_token(self, question: CheckToken) -> str | TokenRefused | None:
        if question.token == TOKEN:
            return USER
        return TokenRefused(scope="mail")

    async def external_identity(self, authorize_as: str) -> str | None:
        tls = self.connection.tls
        return USER if tls is not None and tls.peer_certificate else None

    async def admit_anonymous(self, trace: str) -> bool:
        self.traces.append(trace)
        return trace == USER

    async def authorize(self, identity: Identity) -> smtpx.Reply | None:
        self.identities.append(identity)
        return await super().authorize(identity)


@dataclass
class Site:
    """Certificates, a server's options, and what its sessions saw."""

    server_tls: ssl.SSLContext
    client_tls: ssl.SSLContext
    options: smtpx.ServerOptions
    identities: list[Identity] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)

    def server(
        self,
        base: type[smtpx.Session] = Users,
        options: smtpx.ServerOptions | None = None,
    ) -> smtpx.Server:
        session = type(
            "Session", (base,), {"identities": self.identities, "traces": self.traces}
        )
        return smtpx.Server(session, options=options or self.options)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def site(authority: trustme.CA) -> Site:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mx.test").configure_cert(server)
    authority.configure_trust(server)
    server.verify_mode = ssl.CERT_OPTIONAL
    client = ssl.create_default_context()
    authority.configure_trust(client)
    authority.issue_cert(USER).configure_cert(client)
    options = smtpx.ServerOptions(hostname="mx.test", tls=server, auth_mechanisms=ALL)
    return Site(server, client, options)


@dataclass
class Front:
    """Authenticates over a loopback connection, in one way or the other."""

    name: str

    def login(
        self,
        server: smtpx.Server,
        auth: smtpx.Auth | None,
        options: smtpx.ClientOptions,
    ) -> smtpx.Capabilities:
        """Return what the server offered."""
        if self.name == "blocking":
            with server.run_in_thread():
                url = f"smtp+starttls://{server.addresses[0]}"
                with smtpx.Client(url, auth=auth, options=options) as client:
                    return client.capabilities
        make = uvloop.new_event_loop if self.name == "uvloop" else None
        with asyncio.Runner(loop_factory=make) as runner:
            return runner.run(self._login(server, auth, options))

    async def _login(
        self,
        server: smtpx.Server,
        auth: smtpx.Auth | None,
        options: smtpx.ClientOptions,
    ) -> smtpx.Capabilities:
        async with server:
            url = f"smtp+starttls://{server.addresses[0]}"
            async with smtpx.AsyncClient(url, auth=auth, options=options) as client:
                return client.capabilities


@pytest.fixture(params=["blocking", "asyncio", "uvloop"])
def front(request: pytest.FixtureRequest) -> Front:
    return Front(request.param)


def tls(site: Site) -> smtpx.ClientOptions:
    return smtpx.ClientOptions(tls_context=site.client_tls, server_hostname="mx.test")


def auth_for(name: str, *, is_right: bool = True) -> smtpx.Auth:
    wrong = "" if is_right else "x"
    proof = CLIENT_MECHANISMS[name].proof
    if proof == "token":
        return smtpx.Auth(USER, token=TOKEN + wrong, mechanisms=(name,))
    if proof == "password":
        return smtpx.Auth(USER, PASSWORD + wrong, mechanisms=(name,))
    if name == "EXTERNAL":
        return smtpx.Auth("", authorize_as=wrong, mechanisms=(name,))
    return smtpx.Auth(USER + wrong, mechanisms=(name,))


@pytest.mark.parametrize("name", ALL)
def test_every_mechanism(site: Site, front: Front, name: str) -> None:
    log: list[str] = []
    offered = front.login(
        site.server(
            options=replace(site.options, wire_log=lambda _, line: log.append(line))
        ),
        auth_for(name),
        tls(site),
    )
    assert offered.auth_mechanisms == ALL
    (identity,) = site.identities
    assert identity.mechanism == name
    assert identity.user == ("anonymous" if name == "ANONYMOUS" else USER)
    assert any(
        line.endswith(f"AUTH {name}") or f"AUTH {name} ***" in line for line in log
    )
    shown = "\n".join(log)
    assert "235 2.7.0" in shown
    assert PASSWORD not in shown
    assert TOKEN not in shown


@pytest.mark.parametrize("name", ALL)
def test_wrong_credentials(site: Site, front: Front, name: str) -> None:
    with pytest.raises(smtpx.AuthenticationFailed) as caught:
        front.login(site.server(), auth_for(name, is_right=False), tls(site))
    assert [(name, reply.code) for name, reply in caught.value.attempts] == [
        (name, 535)
    ]


def test_password_without_a_word_more_goes_by_scram(site: Site, front: Front) -> None:
    front.login(site.server(), smtpx.Auth(USER, PASSWORD), tls(site))
    assert [one.mechanism for one in site.identities] == ["SCRAM-SHA-256"]


def test_token_without_a_word_more_goes_by_oauthbearer(
    site: Site, front: Front
) -> None:
    front.login(site.server(), smtpx.Auth(USER, token=TOKEN), tls(site))
    assert [one.mechanism for one in site.identities] == ["OAUTHBEARER"]


def test_certificate_without_a_word_more_goes_by_external(
    site: Site, front: Front
) -> None:
    front.login(site.server(), smtpx.Auth(""), tls(site))
    assert [one.mechanism for one in site.identities] == ["EXTERNAL"]


def test_unknown_user_fails_like_another(site: Site, front: Front) -> None:
    replies = []
    for user in (USER, "nobody@example.com"):
        with pytest.raises(smtpx.AuthenticationFailed) as caught:
            front.login(site.server(), smtpx.Auth(user, "wrong"), tls(site))
        replies.append(caught.value.attempts)
    assert replies[0] == replies[1]


def test_token_for_somebody_else(site: Site, front: Front) -> None:
    auth = smtpx.Auth("bob@example.com", token=TOKEN)
    with pytest.raises(smtpx.AuthenticationFailed) as caught:
        front.login(site.server(), auth, tls(site))
    assert caught.value.smtp_code == 535


# --- Channel binding. ---


class Relay:
    """Somebody in the middle, with a certificate that the client trusts.

    Args:
        site: whose authority made the certificate.
        certificate: shown to the client.
        hides: what is taken from all that the server says.
    """

    def __init__(
        self, site: Site, certificate: ssl.SSLContext, *, hides: tuple[bytes, ...] = ()
    ) -> None:
        self._site = site
        self._certificate = certificate
        self._hides = hides
        self._ready_event = threading.Event()
        self.address = ""

    @contextlib.contextmanager
    def to(self, server: smtpx.Server) -> Iterator[str]:
        """Yield the address that a client should not have connected to."""
        host, _, port = server.addresses[0].rpartition(":")
        self._target = (host, int(port))
        thread = threading.Thread(target=asyncio.run, args=(self._serve(),))
        thread.start()
        assert self._ready_event.wait(30)
        try:
            yield self.address
        finally:
            self._loop.call_soon_threadsafe(self._stop_event.set)
            thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop_event = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        listener = await asyncio.start_server(
            self._carry_both, "127.0.0.1", 0, ssl=self._certificate
        )
        host, port = listener.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        self._ready_event.set()
        await self._stop_event.wait()
        listener.close()
        await asyncio.gather(*self._tasks)

    async def _carry_both(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        above, to_above = await asyncio.open_connection(
            *self._target, ssl=self._site.client_tls, server_hostname="mx.test"
        )
        self._tasks = [
            asyncio.create_task(self._carry(reader, to_above)),
            asyncio.create_task(self._carry(above, writer)),
        ]

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                for hidden in self._hides:
                    data = data.replace(hidden, b"")
                writer.write(data)
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize(
    ("mechanisms", "hides", "is_accepted"),
    [
        # Without channel binding nobody notices ...
        (("SCRAM-SHA-256",), (), True),
        # ... and with it the server does,
        (("SCRAM-SHA-256-PLUS",), (), False),
        (("SCRAM-SHA-1-PLUS",), (), False),
        # also if it is taken from the offer.
        (
            ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"),
            (b"SCRAM-SHA-256-PLUS ", b"SCRAM-SHA-1-PLUS "),
            False,
        ),
    ],
)
def test_somebody_in_the_middle(
    site: Site,
    authority: trustme.CA,
    mechanisms: tuple[str, ...],
    hides: tuple[bytes, ...],
    is_accepted: bool,
) -> None:
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mx.test").configure_cert(certificate)
    relay = Relay(site, certificate, hides=hides)
    with (
        site.server(
            options=replace(site.options, implicit_tls=True)
        ).run_in_thread() as server,
        relay.to(server) as address,
    ):
        client = smtpx.Client(
            f"smtps://{address}",
            auth=smtpx.Auth(USER, PASSWORD, mechanisms=mechanisms),
            options=tls(site),
        )
        # Whatever comes of it: the relay waits for the end of its connections.
        with contextlib.closing(client):
            if is_accepted:
                client.connect()
            else:
                with pytest.raises(smtpx.AuthenticationFailed) as caught:
                    client.connect()
                assert [reply.code for _, reply in caught.value.attempts] == [535]
    assert bool(site.identities) is is_accepted


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_binding_under_each_version(
    site: Site, front: Front, version: ssl.TLSVersion
) -> None:
    site.server_tls.maximum_version = version
    front.login(site.server(), auth_for("SCRAM-SHA-256-PLUS"), tls(site))
    (identity,) = site.identities
    assert identity.mechanism == "SCRAM-SHA-256-PLUS"


def test_client_that_binds_takes_a_server_that_does_not(
    site: Site, front: Front
) -> None:
    auth = smtpx.Auth(
        USER, PASSWORD, mechanisms=("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")
    )
    server = site.server(
        options=replace(site.options, auth_mechanisms=("SCRAM-SHA-256",))
    )
    front.login(server, auth, tls(site))
    assert [one.mechanism for one in site.identities] == ["SCRAM-SHA-256"]


def test_no_channel_binding_without_a_certificate_to_bind_to(
    site: Site, front: Front, tmp_path: Path
) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, None)
    )
    path = tmp_path / "server.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(path)
    client_tls = ssl.create_default_context()
    client_tls.check_hostname = False
    client_tls.verify_mode = ssl.CERT_NONE
    offered = front.login(
        site.server(options=replace(site.options, tls=server_tls)),
        None,
        smtpx.ClientOptions(tls_context=client_tls),
    )
    assert offered.auth_mechanisms == tuple(
        name for name in ALL if not name.endswith("-PLUS")
    )


def test_default_offer_has_no_channel_binding(site: Site, front: Front) -> None:
    options = smtpx.ServerOptions(hostname="mx.test", tls=site.server_tls)
    server = smtpx.Server(Users, options=options)
    offered = front.login(server, None, tls(site))
    assert offered.auth_mechanisms == (
        *("SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "EXTERNAL"),
        *("PLAIN", "LOGIN", "CRAM-MD5", "ANONYMOUS"),
    )


# --- On the wire. ---


def ask(server: smtpx.Server, *lines: str) -> list[str]:
    """Say lines in clear after EHLO; return the reply to each."""
    with server.run_in_thread():
        host, _, port = server.addresses[0].rpartition(":")
        with (
            socket.create_connection((host, int(port)), timeout=30) as sock,
            sock.makefile("rwb") as file,
        ):
            file.readline()
            replies = []
            for line in ("EHLO client.test", *lines):
                file.write(line.encode() + b"\r\n")
                file.flush()
                reply = file.readline()
                while reply[3:4] == b"-":
                    reply = file.readline()
                replies.append(reply.decode().rstrip())
    return replies[1:]


def test_channel_binding_needs_tls(site: Site) -> None:
    (reply,) = ask(site.server(), "AUTH SCRAM-SHA-256-PLUS")
    assert reply.startswith("538 5.7.11")


def test_initial_response_where_the_server_speaks_first(site: Site) -> None:
    """RFC 4954 section 4 has 501 for it."""
    replies = ask(site.server(), "AUTH CRAM-MD5 =", "AUTH CRAM-MD5")
    assert replies[0].startswith("501 5.7.0")
    challenge = base64.b64decode(replies[1].removeprefix("334 "))
    assert re.fullmatch(rb"<[\w-]{24}\.[0-9]{10}@mx\.test>", challenge)


def test_made_up_salts_are_keyed_by_the_servers_secret(site: Site) -> None:
    def salt(user: str, secret: bytes, iterations: int) -> tuple[bytes, ...]:
        first = base64.b64encode(b"n,,n=%b,r=abc" % user.encode()).decode()
        server = site.server(
            options=replace(
                site.options, auth_secret=secret, scram_iterations=iterations
            )
        )
        (reply,) = ask(server, f"AUTH SCRAM-SHA-256 {first}")
        message = base64.b64decode(reply.removeprefix("334 "))
        return tuple(message.split(b",")[1:])

    nobody = salt("nobody", b"x", 5000)
    assert nobody == salt("nobody", b"x", 5000)
    assert nobody != salt("nobody", b"y", 5000)
    assert nobody[1] == b"i=5000"
    assert salt(USER, b"x", 5000)[1] == b"i=4096"


def test_refused_token_gets_its_reason(site: Site) -> None:
    message = base64.b64encode(b"user=a\1auth=Bearer bad\1\1").decode()
    replies = ask(site.server(), f"AUTH XOAUTH2 {message}", "")
    error = base64.b64decode(replies[0].removeprefix("334 "))
    assert error == b'{"status":"401","schemes":"bearer","scope":"mail"}'
    assert replies[1].startswith("535 5.7.8")


# --- Sessions. ---


class Lookup(Question):
    """A question of one's own."""


class OwnServer(ServerMechanism):
    name = "X-OWN"
    shows_password = False

    def start(self, initial_response: bytes | None) -> Step:
        return Lookup()

    def respond(self, response: bytes) -> Step:
        raise AssertionError

    def resume(self, answer: object) -> Step:
        if answer == "an answer":
            return Success(Identity("own", "", self.name))
        return Failure("no")


class AskingServer(OwnServer):
    asks = Lookup


class Answering(Users):
    async def answer_question(self, question: Question) -> object:
        assert isinstance(question, Lookup)
        return "an answer"


def test_mechanism_of_ones_own(site: Site) -> None:
    server = site.server(
        Answering, replace(site.options, extra_mechanisms={"x-own": OwnServer})
    )
    (reply,) = ask(server, "AUTH X-OWN")
    assert reply.startswith("235 2.7.0")
    assert can_answer(Answering, AskingServer)
    assert not can_answer(Users, AskingServer)
    assert can_answer(smtpx.Session, OwnServer)


def test_question_that_nobody_answers(site: Site) -> None:
    server = site.server(
        options=replace(site.options, extra_mechanisms={"x-own": OwnServer})
    )
    (reply,) = ask(server, "AUTH X-OWN")
    assert reply.startswith("454 4.7.0")


class Broken(Users):
    async def scram_credentials(
        self, user: str, hash_name: str
    ) -> ScramCredentials | None:
        raise OSError("the database is down")


def test_lookup_that_fails_is_no_wrong_password(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    first = base64.b64encode(b"n,,n=user,r=abc").decode()
    with caplog.at_level(logging.CRITICAL, "smtpx.server"):
        (reply,) = ask(
            site.server(Broken),
            f"AUTH SCRAM-SHA-256 {first}",
        )
    assert reply.startswith("454 4.7.0")
    assert "database" not in reply


@pytest.mark.parametrize(
    ("hook", "arguments"),
    [
        ("check_password", ("u", "p")),
        ("scram_credentials", ("u", "sha256")),
        ("readable_password", ("u",)),
        ("check_token", (CheckToken("u", "t"),)),
        ("external_identity", ("",)),
        ("admit_anonymous", ("",)),
        ("answer_question", (Lookup(),)),
    ],
)
def test_hooks_that_nobody_wrote_refuse(hook: str, arguments: tuple[object]) -> None:
    session = smtpx.Session(None)  # type: ignore[arg-type]
    with pytest.raises(smtpx.Refuse) as caught:
        asyncio.run(getattr(session, hook)(*arguments))
    assert (caught.value.code, caught.value.enhanced) == (454, "4.7.0")


@pytest.mark.parametrize(
    ("hook", "names"),
    [
        ("check_password", ("PLAIN", "LOGIN")),
        ("scram_credentials", ("SCRAM-SHA-256", "SCRAM-SHA-1")),
        ("readable_password", ("CRAM-MD5",)),
        ("check_token", ("OAUTHBEARER", "XOAUTH2")),
        ("external_identity", ("EXTERNAL",)),
        ("admit_anonymous", ("ANONYMOUS",)),
        ("authorize", ()),
    ],
)
def test_a_hook_brings_its_mechanisms(
    site: Site, hook: str, names: tuple[str, ...]
) -> None:
    session = type("One", (smtpx.Session,), {hook: getattr(Users, hook)})
    server = smtpx.Server(session, options=replace(site.options, tls=None))
    with (
        server.run_in_thread(),
        smtpx.Client(f"smtp+plain://{server.addresses[0]}") as client,
    ):
        assert client.capabilities.auth_mechanisms == names

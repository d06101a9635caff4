"""Mechanisms of SASL between us and others, both ways.

Dovecot, which Postfix asks, has SCRAM without channel binding. GNU SASL binds by
``tls-unique``, so under TLS 1.2 only: under 1.3 it binds by ``tls-exporter``, which
Python's `ssl` has no way to. With ``tls-server-end-point`` scramp stands for the others
(``tests/sasl/test_bound_to_others.py``).
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

import smtpx
from tests.interop.fronts import Delivery, Front, deliver
from tests.interop.names import HELLO_NAME, PASSWORD, RECIPIENTS, SENDER, USER
from tests.interop.oauth import (
    TOKEN_AUDIENCE,
    TOKEN_ISSUER,
    make_token,
    token_keys,
)
from tests.interop.programs import HOST, find_program
from tests.interop.senders import TIMEOUT_SECONDS, run_program

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.certificates import ServerFiles
    from tests.interop.postfix import Postfix

pytestmark = pytest.mark.interop

MESSAGE = b"From: a@example.com\r\nSubject: hi\r\n\r\nhello\r\n"


class Users(smtpx.Session):
    """Knows one user, by each way to prove it."""

    tokens: smtpx.TokenChecker

    def __init__(
        self, connection: smtpx.ConnectionInfo, *, proved: list[smtpx.Identity]
    ) -> None:
        super().__init__(connection)
        self._proved = proved

    async def check_password(self, user: str, password: str) -> bool:
        return (user, password) == (USER, PASSWORD)

    async def scram_credentials(
        self, user: str, hash_name: str
    ) -> smtpx.ScramCredentials | None:
        if user != USER:
            return None
        return smtpx.make_scram_credentials(
            PASSWORD, salt=b"0123456789abcdef", hash_name=hash_name
        )

    async def readable_password(self, user: str) -> str | None:
        return PASSWORD if user == USER else None

    async def check_token(
        self, question: smtpx.CheckToken
    ) -> str | smtpx.TokenRefused | None:
        return await self.tokens.check(question)

    async def authorize(self, identity: smtpx.Identity) -> smtpx.Reply | None:
        self._proved.append(identity)
        return await super().authorize(identity)

    async def data(self, body: smtpx.Body) -> smtpx.Reply | None:
        await body.read()
        return None


@dataclass(frozen=True)
class Login:
    """What a client of others is to do.

    Attributes:
        secret: a password, or a token.
    """

    port: int
    files: ServerFiles
    mechanism: str
    secret: str


async def log_in_with_gsasl(login: Login, _directory: Path) -> None:
    await run_program(
        *(find_program("gsasl", "gsasl"), "--smtp", "--no-starttls"),
        f"--connect={HOST}:{login.port}",
        f"--mechanism={login.mechanism}",
        *(f"--authentication-id={USER}", f"--password={login.secret}"),
        *("--no-cb", "--quiet", "--application-data"),
    )


async def log_in_with_curl(login: Login, directory: Path) -> None:
    path = directory / "message.eml"
    path.write_bytes(MESSAGE)
    command = [find_program("curl", "curl"), "--silent", "--show-error", "--ssl-reqd"]
    command += ["--max-time", str(TIMEOUT_SECONDS)]
    command += ["--cacert", str(login.files.authority), "--user"]
    if login.mechanism in {"XOAUTH2", "OAUTHBEARER"}:
        command += [USER, "--oauth2-bearer", login.secret]
    else:
        command += [f"{USER}:{login.secret}"]
    command += ["--login-options", f"AUTH={login.mechanism}", "--mail-from", SENDER]
    command += ["--mail-rcpt", RECIPIENTS[0], "--upload-file", str(path)]
    await run_program(*command, f"smtp://{HOST}:{login.port}/{HELLO_NAME}")


async def log_in_with_swaks(login: Login, _directory: Path) -> None:
    await run_program(
        *(find_program("swaks", "swaks"), "--server", HOST, "--port", str(login.port)),
        *("--helo", HELLO_NAME, "--timeout", str(TIMEOUT_SECONDS)),
        *("--from", SENDER, "--to", RECIPIENTS[0]),
        *("--tls", "--tls-verify", "--tls-ca-path", str(login.files.authority)),
        *("--auth", login.mechanism, "--auth-user", USER),
        *("--auth-password", login.secret),
    )


async def log_in_with_msmtp(login: Login, directory: Path) -> None:
    secret = directory / "secret"
    secret.write_text(login.secret, encoding="utf-8")
    await run_program(
        *(find_program("msmtp", "msmtp"), f"--host={HOST}", f"--port={login.port}"),
        *(f"--from={SENDER}", f"--domain={HELLO_NAME}", f"--user={USER}"),
        *("--tls=on", f"--tls-trust-file={login.files.authority}"),
        *(f"--auth={login.mechanism.lower()}", f"--passwordeval=cat '{secret}'"),
        *("--", RECIPIENTS[0]),
        given=MESSAGE,
    )


NODEMAILER = """\
const [port, authority, method, user, secret] = process.argv.slice(1);
const auth = method === "XOAUTH2"
  ? {type: "OAuth2", user, accessToken: secret} : {user, pass: secret};
require("nodemailer").createTransport({
  host: "127.0.0.1", port, requireTLS: true, name: "client.example", auth,
  authMethod: method, tls: {ca: require("fs").readFileSync(authority)},
}).sendMail({from: "a@example.com", to: "b@example.net", text: "hi"}).catch((error) => {
  console.log(error);
  process.exit(1);
});
"""


async def log_in_with_nodemailer(login: Login, _directory: Path) -> None:
    await run_program(
        # Where Debian has the modules, which another node on the PATH does not look.
        *("env", "NODE_PATH=/usr/share/nodejs", find_program("node", "nodejs")),
        *("-e", NODEMAILER, str(login.port), str(login.files.authority)),
        *(login.mechanism, USER, login.secret),
    )


async def bind_with_gsasl(login: Login, _directory: Path) -> None:
    await run_program(
        *(find_program("gsasl", "gsasl"), "--smtp"),
        # By name: it compares with the certificate, which has no address to it.
        f"--connect=localhost:{login.port}",
        f"--x509-ca-file={login.files.authority}",
        f"--mechanism={login.mechanism}",
        *(f"--authentication-id={USER}", f"--password={login.secret}"),
        *("--quiet", "--application-data"),
    )


CLIENTS: dict[str, Callable[[Login, Path], Awaitable[None]]] = {
    "gsasl": log_in_with_gsasl,
    "curl": log_in_with_curl,
    "swaks": log_in_with_swaks,
    "msmtp": log_in_with_msmtp,
    "nodemailer": log_in_with_nodemailer,
}
WAYS = [
    *(("gsasl", "PLAIN"), ("gsasl", "LOGIN"), ("gsasl", "CRAM-MD5")),
    *(("gsasl", "SCRAM-SHA-1"), ("gsasl", "SCRAM-SHA-256")),
    *(("curl", "CRAM-MD5"), ("curl", "XOAUTH2"), ("curl", "OAUTHBEARER")),
    ("swaks", "CRAM-MD5"),
    *(("msmtp", "CRAM-MD5"), ("msmtp", "SCRAM-SHA-1"), ("msmtp", "SCRAM-SHA-256")),
    *(("msmtp", "XOAUTH2"), ("msmtp", "OAUTHBEARER")),
    *(("nodemailer", "CRAM-MD5"), ("nodemailer", "XOAUTH2")),
    ("nodemailer", "PLAIN"),
]


@pytest.mark.parametrize("is_right", [True, False], ids=["right", "wrong"])
@pytest.mark.parametrize(("client", "mechanism"), WAYS)
async def test_clients_of_others(
    client: str,
    mechanism: str,
    is_right: bool,
    certificates: ServerFiles,
    tmp_path: Path,
) -> None:
    proved: list[smtpx.Identity] = []
    kind = type("Session", (Users,), {"tokens": make_checker()})
    options = smtpx.ServerOptions(
        hostname="mx.example",
        tls=certificates.server_context(),
        require_auth=True,
        auth_mechanisms=(mechanism,),
    )
    secret = make_token() if mechanism in {"XOAUTH2", "OAUTHBEARER"} else PASSWORD
    if not is_right:
        secret = secret[:-3] + "AAA"
    session = partial(kind, proved=proved)
    async with smtpx.Server(session, f"{HOST}:0", options=options) as server:
        port = int(server.addresses[0].rpartition(":")[2])
        login = Login(port, certificates, mechanism, secret)
        if is_right:
            await CLIENTS[client](login, tmp_path)
        else:
            with pytest.raises(AssertionError):
                await CLIENTS[client](login, tmp_path)
    names = [(one.user, one.mechanism) for one in proved]
    assert names == ([(USER, mechanism)] if is_right else [])


def make_checker() -> smtpx.TokenChecker:
    return smtpx.TokenChecker(
        keys=token_keys(), issuer=TOKEN_ISSUER, audience=(TOKEN_AUDIENCE,)
    )


@pytest.mark.parametrize("is_right", [True, False], ids=["right", "other"])
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"])
async def test_gsasl_binds_to_tls(
    mechanism: str, is_right: bool, certificates: ServerFiles, tmp_path: Path
) -> None:
    """To TLS 1.3 it binds in a way that we cannot check."""
    proved: list[smtpx.Identity] = []
    tls = certificates.server_context()
    tls.maximum_version = ssl.TLSVersion.TLSv1_2 if is_right else ssl.TLSVersion.TLSv1_3
    options = smtpx.ServerOptions(
        hostname="mx.example", tls=tls, auth_mechanisms=(mechanism,)
    )
    session = partial(Users, proved=proved)
    async with smtpx.Server(session, f"{HOST}:0", options=options) as server:
        port = int(server.addresses[0].rpartition(":")[2])
        login = Login(port, certificates, mechanism, PASSWORD)
        if is_right:
            await bind_with_gsasl(login, tmp_path)
        else:
            with pytest.raises(AssertionError, match="535"):
                await bind_with_gsasl(login, tmp_path)
    assert [one.mechanism for one in proved] == ([mechanism] if is_right else [])


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
@pytest.mark.parametrize("front", Front)
async def test_our_tokens_at_postfix_and_dovecot(
    front: Front, mechanism: str, postfix: Postfix, certificates: ServerFiles
) -> None:
    url = f"smtp+starttls://{HOST}:{postfix.auth_port}"
    delivery = Delivery(MESSAGE, recipients=["user@example.com"]).trusting(certificates)
    right = smtpx.Auth(USER, token=make_token(), mechanisms=(mechanism,))
    result = await deliver(front, url, replace(delivery, auth=right))
    assert len(result.accepted) == 1
    postfix.user.take_next()
    for token in (make_token(exp=1), make_token(iss="https://id.example.org"), "x.y.z"):
        wrong = smtpx.Auth(USER, token=token, mechanisms=(mechanism,))
        with pytest.raises(smtpx.AuthenticationFailed, match="535"):
            await deliver(front, url, replace(delivery, auth=wrong))

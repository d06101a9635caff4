"""Mechanisms of SASL between us and others, both ways.

Dovecot, which Postfix asks, has SCRAM without channel binding. GNU SASL binds by
``tls-unique``, so under TLS 1.2 only: under 1.3 it binds by ``tls-exporter``, which
Python's `ssl` has no way to. With ``tls-server-end-point`` scramp stands for the others
(``tests/sasl/test_bound_to_others.py``).
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

import smtpx
from tests.interop.fronts import Delivery, Front, deliver
from tests.interop.names import PASSWORD, USER
from tests.interop.oauth import make_token
from tests.interop.programs import HOST, find_program
from tests.interop.senders import Report, run_program
from tests.interop.users import Users

if TYPE_CHECKING:
    from tests.interop.certificates import ServerFiles
    from tests.interop.postfix import Postfix

pytestmark = pytest.mark.interop

MESSAGE = b"From: a@example.com\r\nSubject: hi\r\n\r\nhello\r\n"


@dataclass(frozen=True)
class Login:
    """What GNU SASL is to do."""

    port: int
    files: ServerFiles
    mechanism: str
    password: str


async def log_in_with_gsasl(login: Login) -> Report:
    return await run_program(
        *(find_program("gsasl", "gsasl"), "--smtp", "--no-starttls"),
        f"--connect={HOST}:{login.port}",
        f"--mechanism={login.mechanism}",
        *(f"--authentication-id={USER}", f"--password={login.password}"),
        *("--no-cb", "--quiet", "--application-data"),
    )


async def bind_with_gsasl(login: Login) -> Report:
    return await run_program(
        *(find_program("gsasl", "gsasl"), "--smtp"),
        # By name: it compares with the certificate, which has no address to it.
        f"--connect=localhost:{login.port}",
        f"--x509-ca-file={login.files.authority}",
        f"--mechanism={login.mechanism}",
        *(f"--authentication-id={USER}", f"--password={login.password}"),
        *("--quiet", "--application-data"),
    )


MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")


@pytest.mark.parametrize("is_right", [True, False], ids=["right", "wrong"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_gsasl(mechanism: str, is_right: bool, certificates: ServerFiles) -> None:
    proved: list[smtpx.Identity] = []
    options = smtpx.ServerOptions(
        hostname="mx.example",
        tls=certificates.server_context(),
        require_auth=True,
        auth_mechanisms=(mechanism,),
    )
    password = PASSWORD if is_right else f"{PASSWORD[:-3]}AAA"
    session = partial(Users, proved=proved)
    async with smtpx.Server(session, f"{HOST}:0", options=options) as server:
        port = int(server.addresses[0].rpartition(":")[2])
        report = await log_in_with_gsasl(Login(port, certificates, mechanism, password))
    assert report.is_sent is is_right, report.text
    names = [(one.user, one.mechanism) for one in proved]
    assert names == ([(USER, mechanism)] if is_right else [])


@pytest.mark.parametrize("is_right", [True, False], ids=["right", "other"])
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"])
async def test_gsasl_binds_to_tls(
    mechanism: str, is_right: bool, certificates: ServerFiles
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
        report = await bind_with_gsasl(login)
    assert report.is_sent is is_right, report.text
    if not is_right:
        assert "535" in report.text
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

"""The mail clients of others deliver to our server."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pytest

import smtpx
from tests.interop.messages import EMPTY_BODY, TRICKY, large
from tests.interop.names import HELLO_NAME, PASSWORD, RECIPIENTS, SENDER, USER
from tests.interop.programs import HOST
from tests.interop.senders import SENDERS, Security, Task

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.certificates import ServerFiles

pytestmark = pytest.mark.interop


@dataclass(frozen=True)
class Received:
    """A message, and how it came."""

    content: bytes
    sender: str
    recipients: tuple[str, ...]
    hello_name: str | None
    protocol: str
    user: str | None


class Recorder(smtpx.Session):
    """Keeps every message in a list."""

    def __init__(
        self, connection: smtpx.ConnectionInfo, *, received: list[Received]
    ) -> None:
        super().__init__(connection)
        self._received = received

    async def data(self, body: smtpx.Body) -> smtpx.Reply | None:
        content = await body.read()
        self._received.append(
            Received(
                content,
                str(self.envelope.reverse_path),
                tuple(str(one.mailbox) for one in self.envelope.recipients),
                self.connection.hello_name,
                self.connection.protocol,
                self.connection.user,
            )
        )
        return None


class AuthenticatingRecorder(Recorder):
    """The same for those who know the password."""

    async def check_password(self, user: str, password: str) -> bool:
        return (user, password) == (USER, PASSWORD)


def server_options(
    certificates: ServerFiles, security: Security
) -> smtpx.ServerOptions:
    if security is Security.NONE:
        return smtpx.ServerOptions(hostname="mx.example")
    return smtpx.ServerOptions(
        hostname="mx.example",
        tls=certificates.server_context(),
        implicit_tls=security is Security.IMPLICIT,
    )


def port_of(server: smtpx.Server) -> int:
    return int(server.addresses[0].rpartition(":")[2])


# When TLS begins, the mechanism, and the protocol's name by RFC 3848.
WAYS = {
    "plain": (Security.NONE, None, "ESMTP"),
    "STARTTLS": (Security.STARTTLS, None, "ESMTPS"),
    "implicit TLS": (Security.IMPLICIT, None, "ESMTPS"),
    "STARTTLS, AUTH PLAIN": (Security.STARTTLS, "PLAIN", "ESMTPSA"),
    "STARTTLS, AUTH LOGIN": (Security.STARTTLS, "LOGIN", "ESMTPSA"),
    "implicit TLS, AUTH PLAIN": (Security.IMPLICIT, "PLAIN", "ESMTPSA"),
    "implicit TLS, AUTH LOGIN": (Security.IMPLICIT, "LOGIN", "ESMTPSA"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sender", SENDERS)
async def test_delivers_octet_for_octet(
    sender: str, way: str, certificates: ServerFiles, tmp_path: Path
) -> None:
    security, mechanism, protocol = WAYS[way]
    received: list[Received] = []
    session = partial(
        AuthenticatingRecorder if mechanism else Recorder, received=received
    )
    options = server_options(certificates, security)
    async with smtpx.Server(session, f"{HOST}:0", options=options) as server:
        task = Task(port_of(server), certificates, TRICKY, security, mechanism)
        await SENDERS[sender](task, tmp_path)
    assert received == [
        Received(
            content=TRICKY,
            sender=SENDER,
            recipients=RECIPIENTS,
            hello_name=HELLO_NAME,
            protocol=protocol,
            user=USER if mechanism else None,
        )
    ]


@pytest.mark.parametrize(
    "message", [EMPTY_BODY, large(3_000_000)], ids=["empty", "3 MB"]
)
@pytest.mark.parametrize("security", [Security.NONE, Security.STARTTLS])
@pytest.mark.parametrize("sender", SENDERS)
async def test_delivers_any_size(
    sender: str,
    security: Security,
    message: bytes,
    certificates: ServerFiles,
    tmp_path: Path,
) -> None:
    received: list[Received] = []
    session = partial(Recorder, received=received)
    options = server_options(certificates, security)
    async with smtpx.Server(session, f"{HOST}:0", options=options) as server:
        task = Task(port_of(server), certificates, message, security)
        await SENDERS[sender](task, tmp_path)
    assert [one.content for one in received] == [message]

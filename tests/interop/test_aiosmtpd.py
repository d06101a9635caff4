"""Our clients deliver to aiosmtpd."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from aiosmtpd.smtp import Session as AiosmtpdSession

import smtpx
from smtpx.client.options import Auth
from tests.interop.fronts import Delivery, Front, deliver
from tests.interop.messages import EMPTY_BODY, TRICKY, large
from tests.interop.names import HELLO_NAME, PASSWORD, RECIPIENTS, SENDER, USER
from tests.interop.programs import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.interop.certificates import ServerFiles

pytestmark = [pytest.mark.interop, pytest.mark.parametrize("front", Front)]


class Handler:
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, str, tuple[str, ...]]] = []
        self.facts: list[tuple[str | None, bool, bool]] = []

    async def handle_DATA(
        self, server: SMTP, session: AiosmtpdSession, envelope: Envelope
    ) -> str:
        assert envelope.original_content is not None
        assert envelope.mail_from is not None
        recipients = tuple(envelope.rcpt_tos)
        self.received.append(
            (envelope.original_content, envelope.mail_from, recipients)
        )
        assert server.transport is not None
        is_tls = server.transport.get_extra_info("ssl_object") is not None
        self.facts.append((session.host_name, is_tls, bool(session.authenticated)))
        return "250 2.0.0 Ok: queued as 4XkQ"


def authenticate(
    server: SMTP,
    session: AiosmtpdSession,
    envelope: Envelope,
    mechanism: str,
    data: LoginPassword,
) -> AuthResult:
    expected = LoginPassword(USER.encode(), PASSWORD.encode())
    # Not "handled": aiosmtpd itself is to send the reply.
    return AuthResult(success=data == expected, handled=False)


@asynccontextmanager
async def running_aiosmtpd(
    handler: Handler, files: ServerFiles, scheme: str
) -> AsyncIterator[str]:
    """Run aiosmtpd in this event loop, and yield the URL."""
    context = files.server_context()

    def factory() -> SMTP:
        return SMTP(
            handler,
            hostname="aiosmtpd.example",
            enable_SMTPUTF8=True,
            authenticator=authenticate,
            tls_context=context if scheme == "smtp+starttls" else None,
        )

    loop = asyncio.get_running_loop()
    tls = context if scheme == "smtps" else None
    async with await loop.create_server(factory, HOST, 0, ssl=tls) as server:
        yield f"{scheme}://{HOST}:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    "message",
    [TRICKY, EMPTY_BODY, large(2_000_000)],
    ids=["tricky", "empty body", "2 MB"],
)
@pytest.mark.parametrize("scheme", ["smtp+plain", "smtp+starttls", "smtps"])
async def test_message_arrives_octet_for_octet(
    front: Front, scheme: str, message: bytes, certificates: ServerFiles
) -> None:
    handler = Handler()
    async with running_aiosmtpd(handler, certificates, scheme) as url:
        result = await deliver(front, url, Delivery(message).trusting(certificates))
    assert tuple(one.recipient for one in result.accepted) == RECIPIENTS
    assert result.queue_id == "4XkQ"
    assert handler.received == [(message, SENDER, RECIPIENTS)]
    assert handler.facts == [(HELLO_NAME, scheme != "smtp+plain", False)]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_authenticates(
    front: Front, mechanism: str, certificates: ServerFiles
) -> None:
    handler = Handler()
    auth = Auth(USER, PASSWORD, mechanisms=(mechanism,))
    delivery = Delivery(TRICKY, auth=auth).trusting(certificates)
    async with running_aiosmtpd(handler, certificates, "smtp+starttls") as url:
        await deliver(front, url, delivery)
    assert handler.facts == [(HELLO_NAME, True, True)]


async def test_wrong_password_is_refused(
    front: Front, certificates: ServerFiles
) -> None:
    delivery = Delivery(TRICKY, auth=Auth(USER, "wrong")).trusting(certificates)
    async with running_aiosmtpd(Handler(), certificates, "smtp+starttls") as url:
        with pytest.raises(smtpx.AuthenticationFailed):
            await deliver(front, url, delivery)

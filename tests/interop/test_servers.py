"""Our clients deliver to Exim, OpenSMTPD and chasquid."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pytest

import smtpx
from smtpx.client.options import Auth
from tests.interop.chasquid import Chasquid
from tests.interop.exim import Exim
from tests.interop.fronts import Delivery, Front, deliver
from tests.interop.maildir import as_sent
from tests.interop.messages import EMPTY_BODY, TRICKY, large
from tests.interop.names import PASSWORD, USER
from tests.interop.opensmtpd import OpenSMTPD
from tests.interop.programs import HOST

if TYPE_CHECKING:
    from tests.interop.certificates import ServerFiles

pytestmark = [pytest.mark.interop, pytest.mark.parametrize("front", Front)]

Server: TypeAlias = Exim | OpenSMTPD | Chasquid

RECIPIENT = "user@example.com"
SERVERS = ("exim", "opensmtpd", "chasquid")


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize(
    "message",
    [TRICKY, EMPTY_BODY, large(2_000_000)],
    ids=["tricky", "empty body", "2 MB"],
)
@pytest.mark.parametrize("server", SERVERS, indirect=True)
async def test_message_arrives_octet_for_octet(
    front: Front, message: bytes, server: Server
) -> None:
    delivery = Delivery(message, recipients=[RECIPIENT])
    result = await deliver(front, f"smtp+plain://{HOST}:{server.port}", delivery)
    assert [one.recipient for one in result.accepted] == [RECIPIENT]
    assert as_sent(server.user.take_next()) == message


@pytest.mark.parametrize("server", SERVERS, indirect=True)
async def test_starttls(
    front: Front, server: Server, certificates: ServerFiles
) -> None:
    delivery = Delivery(TRICKY, recipients=[RECIPIENT]).trusting(certificates)
    await deliver(front, f"smtp+starttls://{HOST}:{server.port}", delivery)
    assert as_sent(server.user.take_next()) == TRICKY


@pytest.mark.parametrize("scheme", ["smtp+starttls", "smtps"])
@pytest.mark.parametrize("server", SERVERS, indirect=True)
async def test_authenticates(
    front: Front, scheme: str, server: Server, certificates: ServerFiles
) -> None:
    port = server.tls_port if scheme == "smtps" else server.auth_port
    delivery = Delivery(TRICKY, recipients=[RECIPIENT], auth=Auth(USER, PASSWORD))
    await deliver(front, f"{scheme}://{HOST}:{port}", delivery.trusting(certificates))
    assert as_sent(server.user.take_next()) == TRICKY


@pytest.mark.parametrize("server", SERVERS, indirect=True)
async def test_wrong_password_is_refused(
    front: Front, server: Server, certificates: ServerFiles
) -> None:
    delivery = Delivery(TRICKY, recipients=[RECIPIENT], auth=Auth(USER, "wrong"))
    url = f"smtp+starttls://{HOST}:{server.auth_port}"
    with pytest.raises(smtpx.AuthenticationFailed):
        await deliver(front, url, delivery.trusting(certificates))


@pytest.mark.parametrize("server", SERVERS, indirect=True)
async def test_unknown_recipient_is_named_and_the_other_is_served(
    front: Front, server: Server
) -> None:
    recipients = ["nosuch@example.com", "other@example.com"]
    delivery = Delivery(TRICKY, recipients=recipients)
    result = await deliver(front, f"smtp+plain://{HOST}:{server.port}", delivery)
    assert [one.recipient for one in result.accepted] == ["other@example.com"]
    assert [one.recipient for one in result.refused] == ["nosuch@example.com"]
    assert as_sent(server.other.take_next()) == TRICKY

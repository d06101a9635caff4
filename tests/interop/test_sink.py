"""Our clients deliver to Postfix's smtp-sink, also when it misbehaves."""

from __future__ import annotations

import pytest

import smtpx
from tests.interop.fronts import Delivery, Front, deliver
from tests.interop.messages import EMPTY_BODY, TRICKY, large
from tests.interop.names import HELLO_NAME, RECIPIENTS, SENDER
from tests.interop.programs import HOST
from tests.interop.sink import running_sink

pytestmark = [pytest.mark.interop, pytest.mark.parametrize("front", Front)]

MESSAGES = pytest.mark.parametrize(
    "message",
    [TRICKY, EMPTY_BODY, large(2_000_000)],
    ids=["tricky", "empty body", "2 MB"],
)


@MESSAGES
@pytest.mark.parametrize(
    ("options", "scheme", "protocol"),
    [
        pytest.param((), "smtp+plain", "ESMTP", id="ESMTP"),
        pytest.param(("-p",), "smtp+plain", "ESMTP", id="without PIPELINING"),
        pytest.param(("-L",), "lmtp", "LMTP", id="LMTP"),
    ],
)
async def test_message_arrives_octet_for_octet(
    front: Front, options: tuple[str, ...], scheme: str, protocol: str, message: bytes
) -> None:
    with running_sink(*options) as sink:
        url = f"{scheme}://{HOST}:{sink.port}"
        result = await deliver(front, url, Delivery(message))
        facts, content = sink.take_message()
    assert tuple(one.recipient for one in result.accepted) == RECIPIENTS
    assert content == message
    assert facts["Client-Proto"] == [protocol]
    assert facts["Helo-Args"] == [HELLO_NAME]
    assert facts["Mail-Args"][0].split()[0] == f"<{SENDER}>"
    assert facts["Rcpt-Args"] == [f"<{one}>" for one in RECIPIENTS]


async def test_server_without_extensions_gets_helo(front: Front) -> None:
    message = EMPTY_BODY + b"seven bits only\r\n"
    with running_sink("-e") as sink:
        url = f"smtp+plain://{HOST}:{sink.port}"
        await deliver(front, url, Delivery(message))
        facts, content = sink.take_message()
    assert facts["Client-Proto"] == ["SMTP"]
    assert facts["Mail-Args"] == [f"<{SENDER}>"]
    assert content == message


async def test_eight_bit_content_needs_its_extension(front: Front) -> None:
    with running_sink("-8") as sink, pytest.raises(smtpx.NotSupported) as caught:
        await deliver(front, f"smtp+plain://{HOST}:{sink.port}", Delivery(TRICKY))
    assert caught.value.delivery is smtpx.Delivery.NOT_SENT


@pytest.mark.parametrize(
    ("options", "error", "delivery", "is_temporary"),
    [
        (("-f", "connect"), smtpx.GreetingRefused, smtpx.Delivery.NOT_SENT, False),
        (("-r", "connect"), smtpx.GreetingRefused, smtpx.Delivery.NOT_SENT, True),
        (("-r", "mail"), smtpx.SenderRefused, smtpx.Delivery.REFUSED, True),
        (("-f", "mail"), smtpx.SenderRefused, smtpx.Delivery.REFUSED, False),
        (("-r", "rcpt"), smtpx.RecipientsRefused, smtpx.Delivery.REFUSED, True),
        (("-f", "rcpt"), smtpx.RecipientsRefused, smtpx.Delivery.REFUSED, False),
        (("-r", "data"), smtpx.DataRefused, smtpx.Delivery.REFUSED, True),
        (("-f", "data"), smtpx.DataRefused, smtpx.Delivery.REFUSED, False),
        (("-r", "."), smtpx.DataRefused, smtpx.Delivery.REFUSED, True),
        (("-f", "."), smtpx.DataRefused, smtpx.Delivery.REFUSED, False),
        (("-q", "mail"), smtpx.ConnectionLost, smtpx.Delivery.NOT_SENT, True),
        (("-q", "rcpt"), smtpx.ConnectionLost, smtpx.Delivery.NOT_SENT, True),
        (("-q", "data"), smtpx.ConnectionLost, smtpx.Delivery.NOT_SENT, True),
        (("-q", "."), smtpx.ConnectionLost, smtpx.Delivery.UNKNOWN, True),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
async def test_failure_says_what_became_of_the_message(
    front: Front,
    options: tuple[str, ...],
    error: type[smtpx.SendError],
    delivery: smtpx.Delivery,
    is_temporary: bool,
) -> None:
    with running_sink(*options) as sink, pytest.raises(error) as caught:
        await deliver(front, f"smtp+plain://{HOST}:{sink.port}", Delivery(TRICKY))
    assert caught.value.delivery is delivery
    assert caught.value.is_temporary is is_temporary

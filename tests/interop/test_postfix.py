"""Our clients deliver to Postfix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import smtpx
from smtpx.client.options import Auth
from tests.interop.fronts import Delivery, Front, deliver
from tests.interop.maildir import as_sent, split_trace
from tests.interop.messages import EMPTY_BODY, TRICKY, large
from tests.interop.names import HELLO_NAME, PASSWORD, SENDER, USER
from tests.interop.programs import HOST

if TYPE_CHECKING:
    from tests.interop.certificates import ServerFiles
    from tests.interop.postfix import Postfix

pytestmark = [pytest.mark.interop, pytest.mark.parametrize("front", Front)]

RECIPIENT = "user@example.com"


def url_of(postfix: Postfix, scheme: str) -> str:
    port = postfix.tls_port if scheme == "smtps" else postfix.port
    return f"{scheme}://{HOST}:{port}"


@pytest.mark.parametrize("chunking", [smtpx.Chunking.NEVER, smtpx.Chunking.ALWAYS])
@pytest.mark.parametrize(
    "message",
    [TRICKY, EMPTY_BODY, large(2_000_000)],
    ids=["tricky", "empty body", "2 MB"],
)
@pytest.mark.parametrize(
    ("scheme", "protocol"),
    [
        ("smtp+plain", b"ESMTP"),
        ("smtp", b"ESMTPS"),
        ("smtp+starttls", b"ESMTPS"),
        ("smtps", b"ESMTPS"),
    ],
)
async def test_message_arrives_octet_for_octet(
    front: Front,
    scheme: str,
    protocol: bytes,
    message: bytes,
    chunking: smtpx.Chunking,
    postfix: Postfix,
    certificates: ServerFiles,
) -> None:
    delivery = Delivery(message, recipients=[RECIPIENT]).trusting(certificates)
    delivery = delivery.chunked(chunking)
    result = await deliver(front, url_of(postfix, scheme), delivery)
    assert [one.recipient for one in result.accepted] == [RECIPIENT]
    assert result.refused == ()
    delivered = postfix.user.take_next()
    assert as_sent(delivered) == message
    trace = split_trace(delivered)[0]
    assert trace.startswith(b"Return-Path: <%b>\n" % SENDER.encode())
    assert b"Received: from %b " % HELLO_NAME.encode() in trace
    assert b" with %b id %b\n" % (protocol, queue_id(result)) in trace


def queue_id(result: smtpx.SendResult) -> bytes:
    assert result.queue_id is not None
    return result.queue_id.encode()


@pytest.mark.parametrize(
    "mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"]
)
async def test_authenticates(
    front: Front, mechanism: str, postfix: Postfix, certificates: ServerFiles
) -> None:
    auth = Auth(USER, PASSWORD, mechanisms=(mechanism,))
    delivery = Delivery(TRICKY, recipients=[RECIPIENT], auth=auth)
    delivery = delivery.trusting(certificates)
    url = f"smtp+starttls://{HOST}:{postfix.auth_port}"
    await deliver(front, url, delivery)
    delivered = postfix.user.take_next()
    assert as_sent(delivered) == TRICKY
    assert b" with ESMTPSA id " in split_trace(delivered)[0]


async def test_wrong_password_is_refused(
    front: Front, postfix: Postfix, certificates: ServerFiles
) -> None:
    delivery = Delivery(TRICKY, recipients=[RECIPIENT], auth=Auth(USER, "wrong"))
    url = f"smtp+starttls://{HOST}:{postfix.auth_port}"
    with pytest.raises(smtpx.AuthenticationFailed) as caught:
        await deliver(front, url, delivery.trusting(certificates))
    assert caught.value.reply is not None
    assert caught.value.reply.code == 535


async def test_relaying_without_authentication_is_refused(
    front: Front, postfix: Postfix, certificates: ServerFiles
) -> None:
    delivery = Delivery(TRICKY, recipients=[RECIPIENT]).trusting(certificates)
    url = f"smtp+starttls://{HOST}:{postfix.auth_port}"
    with pytest.raises(smtpx.RecipientsRefused) as caught:
        await deliver(front, url, delivery)
    assert caught.value.delivery is smtpx.Delivery.REFUSED
    assert not caught.value.is_temporary


async def test_unknown_recipient_is_named_and_the_other_is_served(
    front: Front, postfix: Postfix
) -> None:
    recipients = ["nobody@example.com", "other@example.com"]
    delivery = Delivery(TRICKY, recipients=recipients)
    result = await deliver(front, url_of(postfix, "smtp+plain"), delivery)
    assert [one.recipient for one in result.accepted] == ["other@example.com"]
    (refused,) = result.refused
    assert refused.recipient == "nobody@example.com"
    assert refused.reply is not None
    assert (refused.reply.code, str(refused.reply.enhanced)) == (550, "5.1.1")
    assert as_sent(postfix.other.take_next()) == TRICKY


async def test_all_unknown_recipients_raise(front: Front, postfix: Postfix) -> None:
    recipients = ["nobody@example.com", "none@example.com"]
    delivery = Delivery(TRICKY, recipients=recipients)
    with pytest.raises(smtpx.RecipientsRefused):
        await deliver(front, url_of(postfix, "smtp+plain"), delivery)


async def test_utf8_address(front: Front, postfix: Postfix) -> None:
    delivery = Delivery(
        TRICKY, recipients=["bj\u00f6rn@example.com"], sender="\u00e4@example.com"
    )
    await deliver(front, url_of(postfix, "smtp+plain"), delivery)
    delivered = postfix.user.take_next()
    assert as_sent(delivered) == TRICKY
    assert b" with UTF8SMTP id " in split_trace(delivered)[0]
    assert delivered.startswith("Return-Path: <\u00e4@example.com>".encode())


async def test_null_reverse_path(front: Front, postfix: Postfix) -> None:
    delivery = Delivery(TRICKY, recipients=[RECIPIENT], sender="")
    await deliver(front, url_of(postfix, "smtp+plain"), delivery)
    delivered = postfix.user.take_next()
    assert delivered.startswith(b"Return-Path: <>\n")
    assert as_sent(delivered) == TRICKY


async def test_too_large_is_known_before_sending(
    front: Front, postfix: Postfix
) -> None:
    message = large(21_000_000)
    delivery = Delivery(message, recipients=[RECIPIENT])
    with pytest.raises(smtpx.MessageTooLarge) as caught:
        await deliver(front, url_of(postfix, "smtp+plain"), delivery)
    assert caught.value.delivery is smtpx.Delivery.NOT_SENT


async def test_untrusted_certificate_stops_before_mail(
    front: Front, postfix: Postfix
) -> None:
    delivery = Delivery(TRICKY, recipients=[RECIPIENT])
    with pytest.raises(smtpx.TLSFailed):
        await deliver(front, url_of(postfix, "smtp+starttls"), delivery)

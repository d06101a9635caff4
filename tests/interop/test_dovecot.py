"""Our LMTP clients deliver to Dovecot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import smtpx
from tests.interop.fronts import Delivery, Front, deliver
from tests.interop.maildir import as_sent, split_trace
from tests.interop.messages import EMPTY_BODY, TRICKY, large
from tests.interop.names import SENDER
from tests.interop.programs import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.interop.certificates import ServerFiles
    from tests.interop.dovecot import Dovecot

pytestmark = [pytest.mark.interop, pytest.mark.parametrize("front", Front)]

RECIPIENTS = ("user@example.com", "other@example.com")


def unix_url(dovecot: Dovecot) -> str:
    return f"lmtp+unix://{dovecot.lmtp_socket}"


def tcp_url(dovecot: Dovecot) -> str:
    return f"lmtp://{HOST}:{dovecot.lmtp_port}"


@pytest.mark.parametrize("chunking", [smtpx.Chunking.NEVER, smtpx.Chunking.ALWAYS])
@pytest.mark.parametrize(
    "message",
    [TRICKY, EMPTY_BODY, large(2_000_000)],
    ids=["tricky", "empty body", "2 MB"],
)
@pytest.mark.parametrize(
    ("url_of", "protocol"), [(unix_url, b"LMTP"), (tcp_url, b"LMTPS")]
)
async def test_message_arrives_octet_for_octet(
    front: Front,
    url_of: Callable[[Dovecot], str],
    protocol: bytes,
    message: bytes,
    chunking: smtpx.Chunking,
    dovecot: Dovecot,
    certificates: ServerFiles,
) -> None:
    delivery = Delivery(message, recipients=RECIPIENTS).trusting(certificates)
    result = await deliver(front, url_of(dovecot), delivery.chunked(chunking))
    assert tuple(one.recipient for one in result.accepted) == RECIPIENTS
    for maildir in (dovecot.user, dovecot.other):
        delivered = maildir.take_next()
        assert as_sent(delivered) == message
        trace = split_trace(delivered)[0]
        assert trace.startswith(b"Return-Path: <%b>\n" % SENDER.encode())
        assert b" with %b\n" % protocol in trace


async def test_each_recipient_has_a_status_by_position(
    front: Front, dovecot: Dovecot
) -> None:
    recipients = ["other@example.com", "nobody@example.com", "user@example.com"]
    delivery = Delivery(TRICKY, recipients=recipients)
    result = await deliver(front, unix_url(dovecot), delivery)
    assert [(one.recipient, one.is_accepted) for one in result.recipients] == [
        ("other@example.com", True),
        ("nobody@example.com", False),
        ("user@example.com", True),
    ]
    unknown = result.recipients[1].reply
    assert unknown is not None
    assert (unknown.code, str(unknown.enhanced)) == (550, "5.1.1")
    assert as_sent(dovecot.other.take_next()) == TRICKY
    assert as_sent(dovecot.user.take_next()) == TRICKY


async def test_all_unknown_recipients_raise(front: Front, dovecot: Dovecot) -> None:
    delivery = Delivery(TRICKY, recipients=["nobody@example.com", "x@example.com"])
    with pytest.raises(smtpx.RecipientsRefused) as caught:
        await deliver(front, unix_url(dovecot), delivery)
    assert set(caught.value.recipients) == {"nobody@example.com", "x@example.com"}


async def test_same_recipient_twice_gets_two_statuses(
    front: Front, dovecot: Dovecot
) -> None:
    delivery = Delivery(TRICKY, recipients=["user@example.com", "user@example.com"])
    result = await deliver(front, unix_url(dovecot), delivery)
    assert [one.is_accepted for one in result.recipients] == [True, True]
    assert as_sent(dovecot.user.take_next()) == TRICKY

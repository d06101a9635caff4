"""Envelopes and results: identity of recipients, and the queue id in a reply."""

from __future__ import annotations

import pytest

from smtpx import errors
from smtpx.wire.address import Mailbox
from smtpx.wire.envelope import (
    Delivery,
    Envelope,
    Recipient,
    RecipientResult,
    SendResult,
    find_queue_id,
)
from smtpx.wire.params import (
    DEFAULT_MAIL_OPTIONS,
    DEFAULT_RCPT_OPTIONS,
    MailOptions,
    Notify,
    RcptOptions,
)
from smtpx.wire.replies import Reply

BOB = Mailbox("bob", "example.com")


def test_recipients_are_distinct() -> None:
    one, other = Recipient(BOB), Recipient(BOB)
    assert one != other
    assert one == one  # noqa: PLR0124 - identity is what is tested
    assert len({one, other}) == 2
    assert one.options is DEFAULT_RCPT_OPTIONS
    assert one.index == 0
    options = RcptOptions(notify=(Notify.NEVER,))
    third = Recipient(BOB, options, 2)
    assert (third.mailbox, third.options, third.index) == (BOB, options, 2)
    # It is frozen for type checkers: without the comment mypy would refuse this.
    one.index = 0  # type: ignore[misc]


def test_envelope_gathers() -> None:
    envelope = Envelope(None)
    assert (envelope.reverse_path, envelope.recipients) == (None, [])
    assert envelope.options is DEFAULT_MAIL_OPTIONS
    envelope.recipients.append(Recipient(BOB))
    assert Envelope(None).recipients == []
    options = MailOptions(size=1)
    assert Envelope(BOB, options).options is options


def test_results_by_recipient() -> None:
    results = (
        RecipientResult("a@example.com", Reply(250, "2.1.5", "ok"), is_accepted=True),
        RecipientResult("b@example.com", Reply(550, "5.1.1", "no"), is_accepted=False),
        RecipientResult("a@example.com", Reply(250, "2.1.5", "ok"), is_accepted=True),
        RecipientResult("c@example.com", None, is_accepted=False),
    )
    final = Reply(250, "2.0.0", "Ok: queued as 4XkQ")
    result = SendResult(final, results)
    assert result.reply is final
    assert result.recipients == results
    assert result.accepted == (results[0], results[2])
    assert result.refused == (results[1], results[3])
    assert result.queue_id == "4XkQ"
    assert result == SendResult(final, results)


def test_results_of_lmtp_have_no_common_reply() -> None:
    result = SendResult(None, ())
    assert (result.reply, result.queue_id) == (None, None)
    assert (result.accepted, result.refused) == ((), ())


def test_delivery_is_the_one_of_the_errors() -> None:
    assert Delivery is errors.Delivery


@pytest.mark.parametrize(
    ("text", "queue_id"),
    [
        ("Ok: queued as 4XkQ5z0Lm1z9vW", "4XkQ5z0Lm1z9vW"),
        ("2.0.0 Ok: queued as 1A2B3C4D5E.", "1A2B3C4D5E"),
        ("Ok: Queued As <20240101.abc@mx>", None),
        ("OK id=1rX2Yz-00000001AbC-2dEf", "1rX2Yz-00000001AbC-2dEf"),
        ("OK ids=d7ef132b5d7711ee", "d7ef132b5d7711ee"),
        (
            "<a@b> [InternalId=123456, Hostname=MX.example] Queued mail for delivery",
            "123456",
        ),
        ("Message Queued (0A1B2C3D-4E5F.1)", "0A1B2C3D-4E5F.1"),
        ("48AC3Kfx012345 Message accepted for delivery", "48AC3Kfx012345"),
        ("0a1b2c3d: Message accepted for delivery", "0a1b2c3d"),
        ("OK  1700000000 a1-20020ab7c0d1.7 - gsmtp", "a1-20020ab7c0d1.7"),
        ("ok 1700000000 qp 12345", "12345"),
        ("Ok 0102018c0a1b2c3d-4e5f-000000", "0102018c0a1b2c3d-4e5f-000000"),
        ("hello\nOk: queued as 4XkQ", "4XkQ"),
        ("id=1\nqueued as 2", "2"),
        ("OK", None),
        ("", None),
        ("Ok short", None),
        ("Accepted, thank you very much", None),
        ("valid=1", None),
        ("queued as ", None),
        ("not Ok 0102018c0a1b2c3d", None),
    ],
)
def test_queue_ids(text: str, queue_id: str | None) -> None:
    assert find_queue_id(Reply(250, None, text)) == queue_id


@pytest.mark.parametrize("code", [354, 451, 550])
def test_only_a_positive_reply_has_a_queue_id(code: int) -> None:
    assert find_queue_id(Reply(code, None, "queued as 4XkQ")) is None


@pytest.mark.parametrize(
    ("reply", "is_accepted", "is_unknown", "delivery"),
    [
        (Reply(250), True, False, Delivery.DELIVERED),
        (None, False, True, Delivery.UNKNOWN),
        (None, False, False, Delivery.NOT_SENT),
        (Reply(550), False, False, Delivery.REFUSED),
    ],
)
def test_a_recipient_has_one_fate(
    reply: Reply | None, is_accepted: bool, is_unknown: bool, delivery: Delivery
) -> None:
    result = RecipientResult(
        "a@example.com", reply, is_accepted=is_accepted, is_unknown=is_unknown
    )
    assert result.delivery is delivery

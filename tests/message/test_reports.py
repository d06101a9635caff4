"""Delivery status notifications: made, and read again; those of others read too."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import Any

import pytest

from smtpx.errors import UnsafeOctets
from smtpx.message.parsed import parse_message
from smtpx.message.reports import (
    DeliveryAction,
    DeliveryReport,
    RecipientReport,
    ReportHeader,
    make_report,
    parse_report,
)

WHEN = datetime(2026, 3, 5, 10, 0, tzinfo=UTC)
HEADER = ReportHeader(
    sender="MAILER-DAEMON@mx.example",
    recipient="ann@example.com",
    message_id="1@mx.example",
    boundary="b1",
    date=WHEN,
)
FULL = DeliveryReport(
    reporting_mta="mx.example",
    original_envelope_id="QQ314159",
    received_from="client.example",
    arrival_date=WHEN,
    recipients=(
        RecipientReport(
            recipient="bob@example.net",
            action=DeliveryAction.FAILED,
            status="5.1.1",
            original_recipient="robert@example.net",
            remote_mta="mail.example.net",
            diagnostic="550-5.1.1 no\n550 5.1.1 such",
            last_attempt=WHEN,
            final_log_id="4XkQ",
        ),
        RecipientReport(
            recipient="cy@example.net",
            action=DeliveryAction.DELAYED,
            status="4.4.1",
            will_retry_until=WHEN,
        ),
    ),
)
ORIGINAL = b"Subject: x\r\nFrom: ann@example.com\r\n\r\nbody\r\n"


def test_what_was_written_is_read() -> None:
    message = parse_message(make_report(FULL, HEADER, original=ORIGINAL))
    said = replace(FULL.recipients[0], diagnostic="550-5.1.1 no 550 5.1.1 such")
    assert parse_report(message) == replace(
        FULL,
        recipients=(said, FULL.recipients[1]),
        original=b"Subject: x\r\nFrom: ann@example.com\r\n",
    )
    assert message.defects == ()
    assert message.is_automatic
    assert message.subject == "Undelivered mail returned to sender"
    assert "bob@example.net" in message.text
    assert message.octets.isascii()
    assert all(len(line) <= 78 for line in message.octets.split(b"\r\n"))


def test_the_standard_library_reads_the_same() -> None:
    octets = make_report(FULL, HEADER, original=ORIGINAL, is_whole=True)
    message = message_from_bytes(octets, policy=policy.default)
    assert message["Content-Type"].params["report-type"] == "delivery-status"
    parts = list(message.iter_parts())
    assert [part.get_content_type() for part in parts] == [
        "text/plain",
        "message/delivery-status",
        "message/rfc822",
    ]
    blocks: Any = parts[1].get_payload()
    assert [block["Action"] for block in blocks] == [None, "failed", "delayed"]
    assert parts[2].get_content()["Subject"] == "x"


def test_the_whole_message_is_returned_when_asked() -> None:
    octets = make_report(FULL, HEADER, original=ORIGINAL + b"end", is_whole=True)
    report = parse_report(parse_message(octets))
    assert report is not None
    assert report.original == ORIGINAL + b"end\r\n"


def test_internationalized_addresses() -> None:
    one = RecipientReport(
        recipient="grå@exåmple.net", action=DeliveryAction.DELIVERED, status="2.0.0"
    )
    report = DeliveryReport(reporting_mta="mx.example", recipients=(one,))
    message = parse_message(make_report(report, HEADER))
    kinds = [part.content_type for part in message.root.leaves()]
    assert kinds[1:] == ["message/global-delivery-status", "message/global-headers"]
    assert parse_report(message) == report
    assert message.subject == "Mail delivery report"


def test_an_internationalized_original_recipient_in_ascii() -> None:
    one = replace(FULL.recipients[1], original_recipient="grå@x.y")
    octets = make_report(replace(FULL, recipients=(one,)), HEADER)
    assert b"Original-Recipient: utf-8; gr\\x{E5}@x.y\r\n" in octets
    report = parse_report(parse_message(octets))
    assert report is not None
    assert report.recipients == (one,)
    assert parse_message(octets).subject.startswith("Delayed mail")


def test_own_words() -> None:
    header = replace(HEADER, subject="Gone", text="Sorry,\nå = gone.\n")
    message = parse_message(make_report(FULL, header))
    assert (message.subject, message.text) == ("Gone", "Sorry,\nå = gone.\n")


@pytest.mark.parametrize(
    "wrong",
    [
        {"recipient": "a\r\nX: y"},
        {"remote_mta": "a\r\nX: y"},
        {"status": "5.0.0\n"},
        {"final_log_id": "\0"},
        {"original_recipient": "å\r\n"},
    ],
)
def test_nothing_breaks_out(wrong: dict[str, str]) -> None:
    changes: dict[str, Any] = {**wrong}
    one = replace(FULL.recipients[1], **changes)
    with pytest.raises(UnsafeOctets):
        make_report(DeliveryReport(reporting_mta="mx", recipients=(one,)), HEADER)


def test_what_a_server_said_stays_on_one_line() -> None:
    one = replace(FULL.recipients[0], diagnostic="550 a\r\nAction: x\x85\x1bé")
    octets = make_report(replace(FULL, recipients=(one,)), HEADER)
    report = parse_report(parse_message(octets))
    assert report is not None
    assert report.recipients[0].action is DeliveryAction.FAILED
    assert report.recipients[0].diagnostic == "550 a Action: x ??"


def test_no_recipients_is_no_report() -> None:
    with pytest.raises(ValueError, match="at least one"):
        make_report(replace(FULL, recipients=()), HEADER)


def test_the_boundary_must_not_be_in_the_content() -> None:
    with pytest.raises(ValueError, match="boundary"):
        make_report(FULL, HEADER, original=b"X: b1\r\n\r\n")


def foreign(status: bytes) -> bytes:
    return (
        b"Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\n\r\nhi\r\n--x\r\n"
        b"Content-Type: message/delivery-status\r\n\r\n" + status + b"\r\n--x--\r\n"
    )


@pytest.mark.parametrize(
    ("fields", "action"),
    [
        (b"Action: Failed (x)", DeliveryAction.FAILED),
        (b"Action: nonsense\r\nStatus: 2.0.0", DeliveryAction.DELIVERED),
        (b"Status: 4.0.0 (later)", DeliveryAction.DELAYED),
        (b"X: y", DeliveryAction.FAILED),
    ],
)
def test_reports_of_others(fields: bytes, action: DeliveryAction) -> None:
    octets = foreign(
        b"Reporting-MTA: dns;mx\n\n\nFinal-Recipient: RFC822;a@b.c\r\n" + fields
    )
    report = parse_report(parse_message(octets))
    assert report is not None
    assert [(one.recipient, one.action) for one in report.recipients] == [
        ("a@b.c", action)
    ]
    assert report.reporting_mta == "mx"
    assert report.original == b""


@pytest.mark.parametrize(
    ("octets", "count"),
    [
        (foreign(b"A: 1\r\n\r\nX: y\r\n\r\nFinal-Recipient: rfc822;a@b.c"), 1),
        (foreign(b"A: 1\r\n\r\nFinal-Recipient: utf-8;\\x{zz}"), 1),
        (foreign(b"A: 1\r\n\r\nFinal-Recipient: a@b.c"), 1),
        (foreign(b"A: 1\r\nnonsense\r\n\r\nFinal-Recipient: rfc822;a"), 0),
        (foreign(b"A: 1"), 0),
    ],
)
def test_broken_reports(octets: bytes, count: int) -> None:
    report = parse_report(parse_message(octets))
    assert report is not None
    assert len(report.recipients) == count


@pytest.mark.parametrize("octets", [b"", b"Subject: x\r\n\r\n", foreign(b"nonsense")])
def test_what_is_no_report(octets: bytes) -> None:
    assert parse_report(parse_message(octets)) is None


@pytest.mark.parametrize(("count", "kept"), [(10_000, 10_000), (10_001, 10_000)])
def test_limit_of_recipients(count: int, kept: int) -> None:
    octets = foreign(b"A: 1\r\n\r\n" + b"Final-Recipient: x;a\r\n\r\n" * count)
    report = parse_report(parse_message(octets))
    assert report is not None
    assert len(report.recipients) == kept

"""The mailing list: copies with VERP, no doubles, bounces, and no loops."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

import smtpx
from tests.examples.programs import running, send

if TYPE_CHECKING:
    from pathlib import Path

    from smtpx.testing.mail_server import MailServer

LIST = "friends@example.com"
MESSAGE = (
    b"List-Unsubscribe: <mailto:evil@example.org>\r\n"
    b"From: Ann <ANN@example.net>\r\nTo: friends@example.com\r\nSubject: hi\r\n"
    b"\r\nHello.\r\n"
)
MEMBERS = ["ann@example.net", "bob@example.net", "carl@example.net"]


@pytest.fixture
def arguments(tmp_path: Path, mail_server: MailServer) -> tuple[object, ...]:
    members = tmp_path / "members.txt"
    members.write_text("\n".join(MEMBERS))
    return (
        *("list_exploder.py", "--list", LIST, "--owner", "ann@example.net"),
        *("--members", members, "--relay", mail_server.url, tmp_path / "state.sqlite"),
    )


def report(recipient: str, action: smtpx.DeliveryAction) -> bytes:
    about = smtpx.RecipientReport(recipient=recipient, action=action, status="5.1.1")
    return smtpx.make_report(
        smtpx.DeliveryReport(reporting_mta="mx.test", recipients=(about,)),
        smtpx.ReportHeader(
            sender="MAILER-DAEMON@mx.test",
            recipient="x@example.com",
            message_id="1@mx.test",
            boundary="b1",
            date=datetime.now(UTC),
        ),
        original=MESSAGE,
    )


def test_a_post_goes_to_every_member(
    arguments: tuple[object, ...], mail_server: MailServer
) -> None:
    with running(*arguments) as address:
        assert send(address, MESSAGE, LIST).accepted
    assert [one.recipients for one in mail_server.inbox] == [(one,) for one in MEMBERS]
    assert [one.sender for one in mail_server.inbox] == [
        f"friends-bounces+{one.replace('@', '=')}@example.com" for one in MEMBERS
    ]
    mail = mail_server.inbox[0]
    assert mail.email["List-Id"] == "<friends.example.com>"
    assert mail.email.get_all("List-Unsubscribe") == [
        "<mailto:ann@example.net?subject=unsubscribe>"
    ]
    assert mail.email["Return-Path"] is None
    assert mail.octets.endswith(b"Subject: hi\r\n\r\nHello.\r\n")


def test_who_has_it_does_not_get_it_again(
    arguments: tuple[object, ...], mail_server: MailServer
) -> None:
    mail_server.refuse("rcpt", 451, matching="bob@*")
    message = MESSAGE.replace(b"Hello", b"Again")
    with running(*arguments) as address:
        for _ in range(2):
            with pytest.raises(smtpx.DataRefused, match="1 members have to wait"):
                send(address, message, LIST)
        mail_server.reset()
        assert send(address, message, LIST).accepted
    assert [one.recipients for one in mail_server.inbox] == [("bob@example.net",)]


def test_who_bounces_gets_no_more(
    arguments: tuple[object, ...], tmp_path: Path, mail_server: MailServer
) -> None:
    bounces = "friends-bounces+bob=example.net@example.com"
    failed = report("bob@example.net", smtpx.DeliveryAction.FAILED)
    with running(*arguments) as address:
        for _ in range(6):  # on one day they count once
            send(address, failed, bounces, sender="")
        send(address, report("b@c.d", smtpx.DeliveryAction.DELAYED), bounces, sender="")
        send(address, MESSAGE, bounces, sender="")  # no report
        stranger = "friends-bounces+eve=example.org@example.com"
        send(address, failed, stranger, sender="")
        assert send(address, MESSAGE, LIST).accepted
        assert len(mail_server.inbox) == 3
        with closing(sqlite3.connect(tmp_path / "state.sqlite")) as state, state:
            rows = state.execute("SELECT member, status FROM bounces").fetchall()
            assert rows == [("bob@example.net", "5.1.1")]
            state.executemany(
                "INSERT INTO bounces VALUES ('bob@example.net', date('now', ?), '')",
                [(f"-{day} day",) for day in range(1, 5)],
            )
        mail_server.reset()
        assert send(address, MESSAGE.replace(b"Hello", b"News"), LIST).accepted
    names = [one.recipients[0] for one in mail_server.inbox]
    assert names == ["ann@example.net", "carl@example.net"]


def test_what_is_no_post(
    arguments: tuple[object, ...], mail_server: MailServer
) -> None:
    cases = [
        (MESSAGE.replace(b"ANN@", b"eve@"), "ann@example.net", "members alone"),
        (MESSAGE, "", "not programs"),
        (b"Auto-Submitted: auto-replied\r\n" + MESSAGE, "a@b.c", "not programs"),
        (b"List-Id: <x.y>\r\n" + MESSAGE, "a@b.c", "from a list"),
        (b"Received: x\r\n" * 31 + MESSAGE, "a@b.c", "from a list"),
        (MESSAGE.replace(b"From", b"X"), "a@b.c", "members alone"),
    ]
    with running(*arguments) as address:
        for message, sender, why in cases:
            with pytest.raises(smtpx.DataRefused, match=why):
                send(address, message, LIST, sender=sender)
    mail_server.inbox.assert_not_sent()


def test_a_member_who_is_refused_for_good_keeps_nobody_waiting(
    arguments: tuple[object, ...], tmp_path: Path, mail_server: MailServer
) -> None:
    mail_server.refuse("rcpt", 550, matching="bob@*")
    with running(*arguments) as address:
        assert send(address, MESSAGE, LIST).accepted
    assert len(mail_server.inbox) == 2
    with closing(sqlite3.connect(tmp_path / "state.sqlite")) as state:
        rows = state.execute("SELECT member FROM bounces").fetchall()
    assert rows == [("bob@example.net",)]

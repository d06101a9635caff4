"""The help desk: tickets, answers, and to whom it gives none."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from tests.examples.programs import running, send

if TYPE_CHECKING:
    from pathlib import Path

    from smtpx.testing.mail_server import MailServer

DESK = "support@example.com"


def message(number: int = 1, extra: str = "") -> bytes:
    text = (
        f"From: Ann <ann@example.net>\r\nTo: {DESK}\r\nSubject: It broke\r\n"
        f"Message-ID: <{number}@example.net>\r\n{extra}\r\nHelp!\r\n"
    )
    return text.encode()


def rows(folder: Path) -> list[tuple[str, str, int]]:
    with closing(sqlite3.connect(folder / "tickets.sqlite")) as database:
        query = "SELECT ticket, sender, is_answered FROM messages ORDER BY at, rowid"
        return database.execute(query).fetchall()


def test_a_ticket_and_what_is_written_back(
    tmp_path: Path, mail_server: MailServer
) -> None:
    with running("autoresponder.py", "--relay", mail_server.url, tmp_path) as address:
        result = send(address, message(), DESK)
        mail = mail_server.inbox.assert_sent(
            to="ann@example.net",
            sender="",
            subject="Re: It broke",
            headers={
                "Auto-Submitted": "auto-replied",
                "In-Reply-To": "<1@example.net>",
            },
        )
        (desk,) = mail.message.from_
        found = re.fullmatch(r"support\+([0-9a-f]{12})@example\.com", desk.address)
        assert found is not None
        ticket = found[1]
        assert result.reply is not None
        assert result.reply.lines == (f"ticket {ticket}",)
        assert ticket in mail.message.text
        # The client sends it again, as it never heard the 250.
        again = send(address, message(), DESK)
        assert again.reply is not None
        assert again.reply.lines == (f"ticket {ticket}, again",)
        # She writes back; and somebody guesses a ticket.
        send(address, message(2), desk.address.upper())
        send(address, message(3), "support+000000000000@example.com")
    first, second, third = rows(tmp_path)
    assert first == (ticket, "ann@example.net", 1)
    assert second == (ticket, "ann@example.net", 0)
    assert third[0] not in {ticket, "000000000000"}
    assert len(mail_server.inbox) == 2
    stored = sorted(path.read_bytes() for path in tmp_path.glob("*.eml"))
    assert len(stored) == 3
    assert all(b"Received: from" in one for one in stored)


NOT_ANSWERED = [
    ("", ""),
    ("ann@example.net", "Auto-Submitted: auto-generated\r\n"),
    ("ann@example.net", "List-Id: <x.example.net>\r\n"),
    ("ann@example.net", "Precedence: bulk\r\n"),
    ("owner-list@example.net", ""),
    ("list-request@example.net", ""),
    ("MAILER-DAEMON@example.net", ""),
    ("someone@EXAMPLE.com", ""),
]


def test_to_whom_no_answer_goes(tmp_path: Path, mail_server: MailServer) -> None:
    with running("autoresponder.py", "--relay", mail_server.url, tmp_path) as address:
        for number, (sender, extra) in enumerate(NOT_ANSWERED):
            send(address, message(number, extra), DESK, sender=sender)
    assert [row[1:] for row in rows(tmp_path)] == [(one, 0) for one, _ in NOT_ANSWERED]
    mail_server.inbox.assert_not_sent()


def test_two_of_them_do_not_talk_for_ever(
    tmp_path: Path, mail_server: MailServer
) -> None:
    with running("autoresponder.py", "--relay", mail_server.url, tmp_path) as address:
        for number in range(5):
            send(address, message(number), DESK)
    assert [row[2] for row in rows(tmp_path)] == [1, 1, 1, 0, 0]
    assert len(mail_server.inbox) == 3


def test_a_ticket_is_open_though_no_answer_goes_out(
    tmp_path: Path, mail_server: MailServer
) -> None:
    mail_server.refuse("mail", 451)
    with running("autoresponder.py", "--relay", mail_server.url, tmp_path) as address:
        assert send(address, message(), DESK).accepted
        # What could break the header of an answer gets none.
        hostile = message(2).replace(b"It broke", b"=?utf-8?q?a=0D=0ABcc:_x@y.z?=")
        assert send(address, hostile, DESK).accepted
    assert len(rows(tmp_path)) == 2
    assert len(mail_server.inbox) == 0

"""A help desk by mail: each new message opens a ticket and gets an answer.

Mail to support@example.com opens a ticket with an address of its own, such as
support+9f2c41d07b3e@example.com; the answer comes from there, so what the customer
writes back joins the ticket. Run it behind your mail server:

    python examples/autoresponder.py --relay smtp://localhost tickets

The folder gets every message as a file, and an index, tickets.sqlite. A message is
acknowledged when both are on the disk; one that the client sends again, since it never
heard that, opens no second ticket. No answer goes to programs, lists and reports, nor
more than three a day to one address (RFC 3834): two of these cannot talk for ever.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import secrets
import sqlite3
from email.message import EmailMessage
from email.utils import localtime, make_msgid
from pathlib import Path
from typing import Any

import smtpx

ANSWERS_A_DAY = 3
TEXT = """\
Thank you for your message. It is ticket {ticket}; a person will read it soon.

To add something, reply to this message.
"""
SCHEMA = """CREATE TABLE IF NOT EXISTS messages (
    ticket TEXT NOT NULL, sender TEXT NOT NULL, message_id TEXT, file TEXT NOT NULL,
    is_answered INTEGER NOT NULL, at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    UNIQUE (sender, message_id))"""


class HelpDesk:
    """The tickets, and who got an answer."""

    def __init__(self, folder: Path, address: smtpx.Mailbox, relay: str) -> None:
        self.sink = smtpx.EmlSink(folder)
        self.address = address
        self.relay = relay
        self._index = folder / "tickets.sqlite"
        self._find(SCHEMA)

    def take(self, mail: smtpx.Mail) -> smtpx.Reply:
        """Take a message; a plain function, so it runs in a thread."""
        sender = "" if mail.reverse_path is None else str(mail.reverse_path)
        query = "SELECT ticket FROM messages WHERE sender = ? AND message_id = ?"
        if known := self._find(query, sender, mail.message_id):
            return smtpx.Reply(250, "2.0.0", f"ticket {known}, again")
        query = "SELECT ticket FROM messages WHERE ticket = ?"
        ticket = self._find(query, mail.parameters.get("ticket", "").lower())
        is_answered = ticket is None and self._may_answer(mail, sender)
        # Random, not a number: nobody should guess the address of another's ticket.
        ticket = ticket or secrets.token_hex(6)
        file = mail.wait(self.sink.store(b"", mail.blocks()))
        self._find(
            "INSERT OR IGNORE INTO messages (ticket, sender, message_id, file,"
            " is_answered) VALUES (?, ?, ?, ?, ?)",
            *(ticket, sender, mail.message_id, file, is_answered),
        )
        if is_answered:
            self._answer(mail, ticket, sender)
        return smtpx.Reply(250, "2.0.0", f"ticket {ticket}")

    def _find(self, query: str, *values: object) -> Any:  # noqa: ANN401 - as SQLite has it
        with contextlib.closing(sqlite3.connect(self._index)) as database, database:
            row = database.execute(query, values).fetchone()
        return None if row is None else row[0]

    def _may_answer(self, mail: smtpx.Mail, sender: str) -> bool:
        """Say whether an answer reaches a person who waits for one (RFC 3834)."""
        user, _, domain = sender.lower().partition("@")
        is_program = (
            not sender
            or mail.message.is_automatic
            or user.startswith(("mailer-daemon", "owner-", "noreply", "no-reply"))
            or user.endswith(("-request", "-bounces"))
            or domain == self.address.domain.lower()
        )
        query = (
            "SELECT count(*) FROM messages WHERE sender = ? AND is_answered"
            " AND at > datetime('now', '-1 day')"
        )
        return not is_program and self._find(query, sender) < ANSWERS_A_DAY

    def _answer(self, mail: smtpx.Mail, ticket: str, sender: str) -> None:
        desk = f"{self.address.local_part}+{ticket}@{self.address.domain}"
        answer = EmailMessage()
        try:
            answer["From"], answer["To"] = f"Support <{desk}>", sender
            answer["Subject"] = f"Re: {mail.subject[:200]}"
            answer["Date"] = localtime()
            answer["Message-ID"] = make_msgid(domain=self.address.domain)
            answer["Auto-Submitted"] = "auto-replied"
            if mail.message_id:
                answer["In-Reply-To"] = answer["References"] = f"<{mail.message_id}>"
            answer.set_content(TEXT.format(ticket=ticket))
            # From <>: nobody reports that it could not be delivered.
            smtpx.send(answer, to=self.relay, sender="", recipients=[sender])
        except (smtpx.SendError, ValueError) as error:
            # The ticket is open all the same: the message must not come again.
            logging.warning("no answer for ticket %s: %s", ticket, error)


def main() -> None:
    """Read the command line, and serve until a signal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the messages go")
    parser.add_argument("--listen", default="127.0.0.1:2525", help="host:port")
    parser.add_argument("--relay", default="smtp://localhost", help="sends the answers")
    parser.add_argument(
        "--address",
        type=smtpx.Mailbox.parse,
        help="of the help desk",
        default=smtpx.Mailbox("support", "example.com"),
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    desk = HelpDesk(options.folder, options.address, options.relay)
    app = smtpx.App(smtpx.AppOptions(adds_trace=True))
    user, domain = options.address.local_part, options.address.domain
    app.on_message(f"{user}+{{ticket}}@{domain}", f"{user}@{domain}")(desk.take)
    app.on_ready(lambda server: print("listening on", *server.addresses, flush=True))
    app.on_shutdown(desk.sink.close)
    app.run(options.listen)


if __name__ == "__main__":
    main()

r"""A newsletter: one letter for each reader, sent once, however often you run it.

    python examples/newsletter.py results.sqlite send letter.eml readers.csv \
        --relay smtp://mail.example.com:587 --bounces bounces@example.com \
        --unsubscribe https://example.com/unsubscribe/

The letter is a message with From and Subject; in its texts $name stands for the column
``name`` of the table, and so on; ``address`` says where to. Each letter has a
link to unsubscribe with one click (RFC 8058), and an id for reports about it:

    python examples/newsletter.py results.sqlite bounce < report.eml

The results have a row for each reader: delivered, refused, retry, bounced or unknown.
Run it again after a failure, or a kill: only ``retry`` and new readers get the letter.
Of ``unknown`` nobody can say whether they have it, since the answer was never heard;
``--resend-unknown`` risks doubles. Log in with MAIL_USER and MAIL_PASSWORD.
"""

from __future__ import annotations

import argparse
import csv
import email
import email.policy
import hashlib
import os
import sqlite3
import sys
from email.utils import localtime
from itertools import islice
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import smtpx

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

BATCH = 100
SCHEMA = """CREATE TABLE IF NOT EXISTS results (
    id TEXT PRIMARY KEY, address TEXT, state TEXT NOT NULL, reply TEXT)"""
UPDATE = "UPDATE results SET state = ?, reply = ? WHERE id = ?"


class Campaign:
    """A letter, its readers, and what became of it for each."""

    def __init__(
        self, database: sqlite3.Connection, options: argparse.Namespace
    ) -> None:
        self.database = database
        self.options = options
        self.template = options.letter.read_bytes()

    def readers(self) -> Iterator[dict[str, str]]:
        """Read who has to get the letter yet."""
        open_states = ("retry", "unknown" if self.options.resend_unknown else "retry")
        query = "SELECT id FROM results WHERE state NOT IN (?, ?)"
        done = {row[0] for row in self.database.execute(query, open_states)}
        with self.options.readers.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                address = row["address"].strip()
                # The same for each run, and of use to nobody else.
                name = f"{self.options.letter.name}\n{address.lower()}".encode()
                row["id"] = hashlib.sha256(name).hexdigest()[:24]
                if address and row["id"] not in done:
                    done.add(row["id"])
                    yield row

    def letters(self, *, has_dsn: bool) -> Generator[smtpx.Outgoing, None, None]:
        """Make the letters; each is noted as unknown before it can go out."""
        readers = self.readers()
        while batch := list(islice(readers, BATCH)):
            letters = [self.make_letter(one, has_dsn=has_dsn) for one in batch]
            with self.database:  # one flush to the disk for all of them
                self.database.executemany(
                    "INSERT OR REPLACE INTO results VALUES (?, ?, 'unknown', NULL)",
                    [(one["id"], one["address"]) for one in batch],
                )
            try:
                while letters:
                    yield letters.pop(0)
            finally:  # what nobody took is known not to be sent
                with self.database:
                    rows = [("retry", None, one.key) for one in letters]
                    self.database.executemany(UPDATE, rows)

    def make_letter(self, reader: dict[str, str], *, has_dsn: bool) -> smtpx.Outgoing:
        """Make the letter for one reader."""
        message = email.message_from_bytes(self.template, policy=email.policy.SMTP)
        for part in message.walk():
            if part.get_content_maintype() == "text":
                text = Template(part.get_content()).substitute(reader)
                part.set_content(text, subtype=part.get_content_subtype())
        message["To"], message["Date"] = reader["address"], localtime()
        message["Message-ID"] = f"<{reader['id']}@{self.options.bounces.domain}>"
        message["List-Unsubscribe"] = f"<{self.options.unsubscribe}{reader['id']}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        message["Precedence"] = "bulk"
        tagged = f"{self.options.bounces.local_part}+{reader['id']}"
        mail = smtpx.MailOptions(envelope_id=reader["id"])
        rcpt = smtpx.RcptOptions(notify=(smtpx.Notify.FAILURE,))
        return smtpx.Outgoing(
            message.as_bytes(),
            smtpx.Mailbox(tagged, self.options.bounces.domain),
            [reader["address"]],
            options=mail if has_dsn else smtpx.MailOptions(),
            rcpt_options=rcpt if has_dsn else smtpx.RcptOptions(),
            key=reader["id"],
        )

    def send(self) -> int:
        """Send what is to be sent; return how many letters must be tried again."""
        retries = 0
        user = os.environ.get("MAIL_USER")
        auth = (user, os.environ.get("MAIL_PASSWORD", "")) if user else None
        with smtpx.Client(self.options.relay, auth=auth) as client:
            letters = self.letters(has_dsn="DSN" in client.capabilities)
            try:
                for outcome in client.send_many(letters):
                    state = state_of(outcome)
                    retries += state in {"retry", "unknown"}
                    said = str(outcome.error or outcome.replies[0])
                    # Not flushed now: what is forgotten stays unknown.
                    self.database.execute(UPDATE, (state, said, outcome.outgoing.key))
            finally:
                letters.close()
                self.database.commit()
        return retries


def state_of(outcome: smtpx.Outcome) -> str:
    """Say what the results call an outcome."""
    if outcome.delivery is smtpx.Delivery.REFUSED:
        is_temporary = (
            isinstance(outcome.error, smtpx.SendError) and outcome.error.is_temporary
        )
        return "retry" if is_temporary else "refused"
    if isinstance(outcome.error, ValueError):
        return "refused"  # no address at all
    return (
        "retry"
        if outcome.delivery is smtpx.Delivery.NOT_SENT
        else outcome.delivery.value
    )


def take_report(database: sqlite3.Connection, octets: bytes) -> int:
    """Note whose letter bounced, as a report says; return how many there are."""
    message = smtpx.parse_message(octets)
    report = smtpx.parse_report(message)
    if report is None:
        sys.exit("that is no delivery report")
    # The id is the report's own, or, of servers without DSN, in its recipient.
    tags = [one.mailbox and smtpx.split_address(one.mailbox).tag for one in message.to]
    failed = [one for one in report.recipients if one.action.value == "failed"]
    with database:
        return sum(
            database.execute(UPDATE, ("bounced", failed[0].diagnostic, name)).rowcount
            for name in {report.original_envelope_id, *tags}
            if name and failed
        )


def main() -> int:
    """Read the command line; return the exit code, 75 if something is left to do."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", help="SQLite file")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("bounce", help="take a report from standard input")
    sending = commands.add_parser("send", help="send, or go on sending")
    sending.add_argument("letter", type=Path)
    sending.add_argument("readers", type=Path)
    sending.add_argument("--relay", required=True, help="URL of your mail server")
    sending.add_argument("--bounces", type=smtpx.Mailbox.parse, required=True)
    sending.add_argument("--unsubscribe", required=True, help="URL, the id goes behind")
    sending.add_argument("--resend-unknown", action="store_true")
    options = parser.parse_args()
    database = sqlite3.connect(options.results)
    database.execute(SCHEMA)
    try:
        if options.command == "bounce":
            print("bounced:", take_report(database, sys.stdin.buffer.read()))
            return 0
        return os.EX_TEMPFAIL if Campaign(database, options).send() else os.EX_OK
    except (smtpx.SendError, OSError) as error:
        print(f"newsletter: {error}; run it again", file=sys.stderr)
        return os.EX_TEMPFAIL
    finally:
        for row in database.execute("SELECT state, count(*) FROM results GROUP BY 1"):
            print(*row)
        database.close()


if __name__ == "__main__":
    sys.exit(main())

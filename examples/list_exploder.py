r"""A mailing list: what a member writes to it goes to every member.

    python examples/list_exploder.py --relay smtp://localhost \
        --list friends@example.com --owner ann@example.com \
        --members members.txt state.sqlite

Each member gets the message with a reverse path of its own (VERP), such as
friends-bounces+bob=example.net@example.com, so that a report tells by its address whom
it is about. After five days with reports in a month a member gets nothing more; take
the lines out of the table ``bounces`` to begin anew.

A post is acknowledged when your mail server took it for every member. If it took it for
some, the client hears 451 and sends the post again; those who have it are left out.
Programs, strangers, and what came from the list itself are refused: no loops.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import smtpx

if TYPE_CHECKING:
    from collections.abc import Iterator

DAYS_OF_BOUNCES = 5
SCHEMA = """
PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;  -- of power cuts, not of kills
CREATE TABLE IF NOT EXISTS sent (post TEXT, member TEXT, PRIMARY KEY (post, member));
CREATE TABLE IF NOT EXISTS bounces (
    member TEXT, day TEXT DEFAULT CURRENT_DATE, status TEXT, PRIMARY KEY (member, day));
"""
REPLACED = frozenset(
    ("list-id", "list-post", "list-unsubscribe", "list-help", "precedence", "sender",
     "return-path", "dkim-signature", "disposition-notification-to")
)  # fmt: skip


class MailingList:
    """The members, who has which post, and who bounces."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.address: smtpx.Mailbox = options.list
        self.owner: smtpx.Mailbox = options.owner
        self.members_file: Path = options.members
        self.relay: str = options.relay
        self._database = sqlite3.connect(options.state, isolation_level=None)
        self._database.executescript(SCHEMA)

    def members(self) -> list[str]:
        """Read who is a member now."""
        lines = self.members_file.read_text(encoding="utf-8").lower().split()
        return [str(smtpx.Mailbox.parse(one)) for one in lines]

    async def post(self, mail: smtpx.Mail) -> smtpx.Reply:
        """Send a post to the members that do not have it yet."""
        self._check(mail)
        post = hashlib.sha256(mail.octets).hexdigest()
        failed: list[str] = []
        async with smtpx.AsyncClient(self.relay) as client:
            async for outcome in client.send_many(self._copies(mail, post)):
                member = str(outcome.outgoing.key)
                if outcome.delivery is smtpx.Delivery.DELIVERED:
                    row = (post, member)
                    self._database.execute(
                        "INSERT OR IGNORE INTO sent VALUES (?, ?)", row
                    )
                    continue
                reply = outcome.refused[0].reply if outcome.refused else None
                if reply is not None and reply.is_permanent:
                    self._bounce(member, str(reply))
                else:
                    failed.append(member)
                    logging.warning("%s: %s: %s", post[:8], member, outcome.error)
        if failed:
            raise smtpx.Refuse(451, "4.3.0", f"{len(failed)} members have to wait")
        return smtpx.Reply(250, "2.0.0", f"sent to the list as {post[:8]}")

    def _check(self, mail: smtpx.Mail) -> None:
        if mail.message.hops > 30 or mail.header.first("List-Id") is not None:
            raise smtpx.Refuse(554, "5.4.6", "this came from a list already")
        if mail.reverse_path is None or mail.message.is_automatic:
            raise smtpx.Refuse(550, "5.7.1", "people write to this list, not programs")
        authors = {one.address.lower() for one in mail.from_}
        if not authors or not authors <= set(self.members()):
            raise smtpx.Refuse(550, "5.7.1", "members alone may write to this list")

    def _copies(self, mail: smtpx.Mail, post: str) -> Iterator[smtpx.Outgoing]:
        name, domain = self.address.local_part, self.address.domain
        fields = [
            f"List-Id: <{name}.{domain}>",
            f"List-Post: <mailto:{self.address}>",
            f"List-Unsubscribe: <mailto:{self.owner}?subject=unsubscribe>",
            "Precedence: list",
            f"Sender: <{name}-bounces@{domain}>",
        ]
        # Not a part of what `post` is computed of: it differs each time.
        content = smtpx.received_field(mail.connection)
        content += "".join(f"{one}\r\n" for one in fields).encode()
        content += mail.message.without(lambda one: one.name.lower() in REPLACED)
        query = (
            "SELECT member FROM sent WHERE post = ? UNION SELECT member FROM bounces"
            " WHERE day > date('now', '-30 day') GROUP BY member HAVING count(*) >= ?"
        )
        rows = self._database.execute(query, (post, DAYS_OF_BOUNCES))
        for member in sorted({*self.members()} - {row[0] for row in rows}):
            tag = member.replace("@", "=")
            sender = smtpx.Mailbox(f"{name}-bounces+{tag}", domain)
            yield smtpx.Outgoing(content, sender, [member], key=member)

    async def report(self, mail: smtpx.Mail) -> None:
        """Take a report: note who bounced, if it is about a failure."""
        user, _, domain = mail.parameters["member"].lower().rpartition("=")
        report = smtpx.parse_report(mail.message)
        failures = [
            one.status
            for one in (() if report is None else report.recipients)
            if one.action is smtpx.DeliveryAction.FAILED
        ]
        if failures and f"{user}@{domain}" in self.members():
            self._bounce(f"{user}@{domain}", failures[0])

    def _bounce(self, member: str, status: str) -> None:
        logging.info("%s bounces: %s", member, status)
        query = "INSERT OR IGNORE INTO bounces (member, status) VALUES (?, ?)"
        self._database.execute(query, (member, status))


def main() -> None:
    """Read the command line, and serve until a signal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    address = smtpx.Mailbox.parse
    parser.add_argument("state", type=Path, help="SQLite file")
    parser.add_argument("--members", type=Path, required=True, help="one a line")
    parser.add_argument("--list", type=address, required=True, help="its address")
    parser.add_argument("--owner", type=address, required=True, help="who runs it")
    parser.add_argument("--listen", default="127.0.0.1:2525", help="host:port")
    parser.add_argument("--relay", default="smtp://localhost", help="takes the copies")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    mailing_list = MailingList(options)
    mailing_list.members()  # so that a mistake in the file is told now
    app = smtpx.App()
    name, domain = options.list.local_part, options.list.domain
    app.on_message(f"{name}@{domain}")(mailing_list.post)
    app.on_message(f"{name}-bounces+{{member}}@{domain}")(mailing_list.report)
    app.on_ready(lambda server: print("listening on", *server.addresses, flush=True))
    app.run(options.listen)


if __name__ == "__main__":
    main()

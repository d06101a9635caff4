"""A relay that rewrites: addresses by a table, and fields that nobody outside needs.

    python examples/rewriting_relay.py --to smtp://mx.example.com --map addresses.txt

Each line of the table has an address, and what it becomes; an address without a local
part stands for all of its domain:

    sales@example.com    ann@example.com bob@example.com
    @old.example.com     @example.com

Recipients are looked up as they are, then without their tag (``ann+shop``), then by
their domain; senders by their domain. Fields that tell of programs inside are removed.

Nothing is stored: each reply is that of the next server, and its 250 is sent on when it
was heard. Of several that an address becomes, one refusal refuses it. Whoever can
connect can relay: listen where only your own hosts can.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import smtpx

Table = dict[str, list[str]]
MAX_HEADER_OCTETS = 1024 * 1024
REMOVED = frozenset(("x-originating-ip", "x-mailer", "user-agent", "x-php-script"))


def read_table(path: Path) -> Table:
    """Read the table, and check every address in it."""
    table: Table = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        for word in words:
            try:
                smtpx.Mailbox.parse(f"x{word}" if word.startswith("@") else word)
            except smtpx.BadAddress as error:
                raise SystemExit(f"{path}:{number}: {error}") from None
        address, *targets = words
        if not targets or (address[0] == "@") != all(one[0] == "@" for one in targets):
            raise SystemExit(f"{path}:{number}: give addresses, or @domain for @domain")
        table[address.lower()] = targets
    return table


def look_up(table: Table, mailbox: smtpx.Mailbox) -> list[smtpx.Mailbox]:
    """Return what an address becomes: as it is, without its tag, or by its domain."""
    parts = smtpx.split_address(mailbox)
    for local_part in (mailbox.local_part, parts.user):
        if targets := table.get(f"{local_part}@{parts.domain}".lower()):
            return [smtpx.Mailbox.parse(one) for one in targets]
    if domains := table.get(f"@{parts.domain}".lower()):
        return [smtpx.Mailbox(mailbox.local_part, one[1:]) for one in domains]
    return [mailbox]


class Rewrite(smtpx.Transform):
    """Rewrites what one client says."""

    table: Table = {}  # noqa: RUF012 - set once, before there are clients

    async def sender(
        self, reverse_path: smtpx.Mailbox | None, options: smtpx.MailOptions
    ) -> tuple[smtpx.Mailbox | None, smtpx.MailOptions]:
        """Rewrite the reverse path, if it is of a domain that moved."""
        if reverse_path is not None:
            domains = self.table.get(f"@{reverse_path.domain}".lower())
            if domains:
                reverse_path = smtpx.Mailbox(reverse_path.local_part, domains[0][1:])
        return reverse_path, options

    async def recipient(
        self, forward_path: smtpx.Mailbox, options: smtpx.RcptOptions
    ) -> Sequence[tuple[smtpx.Mailbox, smtpx.RcptOptions]]:
        """Rewrite a recipient to one or several."""
        return [(one, options) for one in look_up(self.table, forward_path)]

    async def body(self, content: smtpx.Body) -> AsyncGenerator[bytes, None]:
        """Rewrite the header; what follows streams."""
        head = b""
        async for block in content:
            head += block
            if b"\r\n\r\n" in head or head.startswith(b"\r\n"):
                break
            if len(head) > MAX_HEADER_OCTETS:
                raise smtpx.Refuse(552, "5.3.4", "the header is too large")
        header = smtpx.parse_message(head).header
        if len(header.all("Received")) > 100:
            raise smtpx.Refuse(554, "5.4.6", "the message goes round in circles")
        head = b"\r\n" + head
        for one in header.fields:
            if one.name.lower() in REMOVED:
                head = head.replace(b"\r\n" + one.octets, b"\r\n", 1)
        yield smtpx.received_field(self.connection) + head[2:]
        async for block in content:
            yield block


def main() -> None:
    """Read the command line, and serve until a signal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--listen", default="127.0.0.1:2525", help="host:port")
    parser.add_argument("--to", required=True, help="URL of the next server")
    parser.add_argument("--map", type=Path, required=True, help="file of the table")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    Rewrite.table = read_table(options.map)
    server = smtpx.Server(
        smtpx.transform(smtpx.Relay(options.to), Rewrite),
        options.listen,
        options=smtpx.ServerOptions(smtputf8=True, dsn=True),
    )
    smtpx.run(
        server, on_ready=lambda one: print("listening on", *one.addresses, flush=True)
    )


if __name__ == "__main__":
    main()

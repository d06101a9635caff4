"""A content filter for Postfix: what it refuses, Postfix refuses; else it is marked.

Before the queue, so that the sending client hears of a refusal (SMTPD_PROXY_README);
in Postfix's master.cf:

    smtp inet n - n - 20 smtpd
      -o smtpd_proxy_filter=127.0.0.1:10025
    127.0.0.1:10026 inet n - n - - smtpd
      -o smtpd_authorized_xforward_hosts=127.0.0.0/8
      -o smtpd_relay_restrictions=permit_mynetworks,reject

    python examples/postfix_filter.py --listen 127.0.0.1:10025 --to 127.0.0.1:10026

After the queue (FILTER_README) it is ``content_filter=filter:[127.0.0.1]:10025`` with
``filter unix - - n - 10 smtp -o smtp_send_xforward_command=yes``; give ``--mark-only``
then, since a refusal would become a report to a forged sender.

Each message passes through to Postfix, and its 250 is Postfix's own: nothing is stored
here, so nothing can be lost here. XFORWARD is passed on, so that Postfix's log knows
the client. Replace `find_fault` with your scanner.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from typing import TYPE_CHECKING

import smtpx

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

FORBIDDEN = (".exe", ".scr", ".js", ".vbs", ".bat", ".cmd", ".lnk", ".iso", ".hta")


def find_fault(message: smtpx.ParsedMessage) -> str:
    """Say what is wrong with a message; empty if nothing is."""
    for attachment in (*message.attachments, *message.embedded):
        if attachment.safe_name.lower().endswith(FORBIDDEN):
            return f"forbidden attachment {attachment.safe_name}"
    return ""


class Filter(smtpx.Transform):
    """Looks at the content that passes."""

    mark_only = False

    async def body(self, content: smtpx.Body) -> AsyncGenerator[bytes, None]:
        """Read all of it, and let it go on with a field on top, or refuse it.

        Postfix has heard DATA by then; a refusal here cuts the connection to it, so it
        delivers nothing.
        """
        octets = await content.read()
        message = smtpx.parse_message(octets)
        # In a thread: a scanner takes time, and others want to be served.
        fault = await asyncio.to_thread(find_fault, message)
        told = self.connection.forwarded
        origin = self.connection.peer_host if told is None else told.addr
        logging.info("%s from %s: %s", self.connection.id, origin, fault or "clean")
        if fault and not self.mark_only:
            raise smtpx.Refuse(550, "5.7.1", f"refused by content: {fault}")
        # The topmost verdict is ours; one further down came with the message.
        verdict = f"X-Content-Filter: {'suspect' if fault else 'clean'}\r\n"
        yield verdict.encode() + smtpx.received_field(self.connection) + octets


def main() -> None:
    """Read the command line, and serve until a signal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--listen", default="127.0.0.1:10025", help="host:port")
    parser.add_argument(
        "--to", default="127.0.0.1:10026", help="where Postfix takes it"
    )
    parser.add_argument("--mark-only", action="store_true", help="refuse nothing")
    parser.add_argument(
        "--max-octets", type=int, default=50_000_000, help="of a message"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    Filter.mark_only = options.mark_only
    relay = smtpx.Relay(f"smtp+plain://{options.to}", xforward=True)
    settings = smtpx.ServerOptions(
        xforward_networks=("127.0.0.0/8", "::1"),
        limits=smtpx.Limits(max_message_octets=options.max_octets),
        smtputf8=True,
        dsn=True,
        # Postfix opens as many connections as it likes.
        max_connections_per_ip=1_000,
        max_connections_per_network=1_000,
    )
    try:
        # Asked once: what Postfix does not offer there is not offered here.
        settings = asyncio.run(relay.offered(settings))
    except smtpx.SendError as error:
        parser.exit(75, f"nobody takes the mail back at {options.to}: {error}\n")
    smtpx.run(
        smtpx.Server(smtpx.transform(relay, Filter), options.listen, options=settings),
        on_ready=lambda server: print("listening on", *server.addresses, flush=True),
    )


if __name__ == "__main__":
    main()

r"""Mail to a webhook: each message becomes a JSON document, posted to your application.

    WEBHOOK_SECRET=... python examples/webhook.py https://app.example.com/mail \
        --listen 0.0.0.0:25 --domain in.example.com

Your application answers 2xx when it has stored the document, and only then does the
sender hear 250; with 5xx, 408, 425, 429 or no answer the sender tries again later, with
any other the message bounces. Since a message may come twice, when an answer is lost on
the way, each document has an ``id`` by which to know it: it is made of the content.

With WEBHOOK_SECRET each request is signed: the field X-Signature is
``t=<time>,v1=<hex>``, where hex is HMAC-SHA256 of ``<time>.<body>`` with the secret.
Compare it in constant time, and refuse old ones.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import logging
import os
from typing import TYPE_CHECKING, Any

import smtpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def describe(mail: smtpx.Mail, *, verifies: bool) -> dict[str, Any]:
    """Make the document of a message."""
    recipients = [str(one.mailbox) for one in mail.recipients]
    identity = hashlib.sha256(mail.octets)
    identity.update("\n".join(recipients).encode())
    return {
        "id": identity.hexdigest(),
        "envelope": {
            "from": None if mail.reverse_path is None else str(mail.reverse_path),
            "to": recipients,
            "peer": mail.connection.peer_host,
            "hello": mail.connection.hello_name,
            "tls": mail.tls is not None,
        },
        "from": [str(one) for one in mail.from_],
        "to": [str(one) for one in mail.to],
        "cc": [str(one) for one in mail.cc],
        "reply_to": [str(one) for one in mail.reply_to],
        "subject": mail.subject,
        "date": None if mail.date is None else mail.date.isoformat(),
        "message_id": mail.message_id,
        "in_reply_to": list(mail.in_reply_to),
        "is_automatic": mail.message.is_automatic,
        "text": mail.text,
        "html": mail.html,
        "attachments": [
            {
                "name": one.safe_name,
                "type": one.content_type,
                "content_id": one.content_id,
                "base64": base64.b64encode(one.data).decode(),
            }
            for one in (*mail.attachments, *mail.embedded)
        ],
        "verdicts": await judge(mail) if verifies else None,
    }


async def judge(mail: smtpx.Mail) -> dict[str, str]:
    """Say whether the sender is who it says to be."""
    found = await mail.authentication()
    if found.dmarc.result == "temperror":
        raise smtpx.Refuse(451, "4.7.5", "cannot verify the sender now")
    dkim = "pass" if any(one.is_pass for one in found.dkim) else "none"
    return {"spf": found.spf.result, "dkim": dkim, "dmarc": found.dmarc.result}


async def once(octets: bytes) -> AsyncIterator[bytes]:
    """Give octets as content in blocks."""
    yield octets


def main() -> None:
    """Read the command line, and serve until a signal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url", help="of the webhook")
    parser.add_argument("--listen", default="127.0.0.1:2525", help="host:port")
    parser.add_argument("--domain", default="*", help="whose mail is taken")
    parser.add_argument("--verify", action="store_true", help="check SPF, DKIM, DMARC")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    # From the environment: the arguments of a program are there for all to see.
    secret = os.environ.get("WEBHOOK_SECRET", "").encode() or None
    headers = {"Content-Type": "application/json"}
    try:
        sink = smtpx.WebhookSink(options.url, headers=headers, secret=secret)
    except ValueError as error:
        parser.error(str(error))
    app = smtpx.App()

    @app.on_message(f"*@{options.domain}")
    async def post(mail: smtpx.Mail) -> None:
        document = json.dumps(await describe(mail, verifies=options.verify))
        await sink.store(b"", once(document.encode()))

    app.on_ready(lambda server: print("listening on", *server.addresses, flush=True))
    app.on_shutdown(sink.close)
    app.run(options.listen)


if __name__ == "__main__":
    main()

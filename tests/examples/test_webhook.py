"""Mail to a webhook: the document, its signature, and whose answer counts."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

import smtpx
from tests.examples.programs import run, running, send

SECRET = "a secret that both ends know"
MESSAGE = (
    b"From: =?utf-8?q?J=C3=B6rg?= <joerg@example.net>\r\nTo: app@in.example\r\n"
    b"Subject: hi\r\nDate: Thu, 5 Mar 2026 10:00:00 +0000\r\nMessage-ID: <1@x.y>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain\r\n\r\nHello.\r\n"
    b'--b\r\nContent-Disposition: attachment; filename="../a.bin"\r\n'
    b"Content-Type: application/octet-stream\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n"
)


@dataclass
class Hook:
    """What a webhook got, and what it answers."""

    url: str = ""
    status: int = 200
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def webhook() -> Iterator[Hook]:
    hook = Hook()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name that http.server calls
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.requests.append((dict(self.headers), body))
            self.send_response(hook.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        hook.url = f"http://127.0.0.1:{server.server_port}/mail"
        try:
            yield hook
        finally:
            server.shutdown()
            thread.join()


def test_a_document_of_a_message() -> None:
    with (
        webhook() as hook,
        running(
            *("webhook.py", hook.url, "--domain", "in.example"),
            environment={"WEBHOOK_SECRET": SECRET},
        ) as address,
    ):
        assert send(address, MESSAGE, "app@in.example", "b@in.example").accepted
        send(address, MESSAGE, "app@in.example", "b@in.example")
        with pytest.raises(smtpx.RecipientsRefused):
            send(address, MESSAGE, "app@elsewhere.example")
    (headers, body), (_, again) = hook.requests
    document: dict[str, Any] = json.loads(body)
    assert document == {
        "id": json.loads(again)["id"],  # by which a double is known
        "envelope": {
            "from": "ann@example.net",
            "to": ["app@in.example", "b@in.example"],
            "peer": "127.0.0.1",
            "hello": document["envelope"]["hello"],
            "tls": False,
        },
        "from": ["Jörg <joerg@example.net>"],
        "to": ["app@in.example"],
        "cc": [],
        "reply_to": ["Jörg <joerg@example.net>"],
        "subject": "hi",
        "date": "2026-03-05T10:00:00+00:00",
        "message_id": "1@x.y",
        "in_reply_to": [],
        "is_automatic": False,
        "text": "Hello.",
        "html": "",
        "attachments": [
            {
                "name": "a.bin",
                "type": "application/octet-stream",
                "content_id": None,
                "base64": base64.b64encode(b"\x00\x01\x02").decode(),
            }
        ],
        "verdicts": None,
    }
    assert headers["Content-Type"] == "application/json"
    signed = dict(one.split("=") for one in headers["X-Signature"].split(","))
    wanted = hmac.new(
        SECRET.encode(), f"{signed['t']}.".encode() + body, hashlib.sha256
    )
    assert signed["v1"] == wanted.hexdigest()


@pytest.mark.parametrize(("status", "code"), [(503, 451), (429, 451), (400, 554)])
def test_what_the_application_says_goes_to_the_sender(status: int, code: int) -> None:
    with webhook() as hook, running("webhook.py", hook.url) as address:
        hook.status = status
        with pytest.raises(smtpx.DataRefused) as caught:
            send(address, MESSAGE, "app@in.example")
        assert caught.value.smtp_code == code
        assert "X-Signature" not in hook.requests[0][0]


def test_what_is_no_webhook() -> None:
    code, _, errors = run("webhook.py", "ftp://example.com/")
    assert code == 2
    assert "https://" in errors

"""Messages for tests."""

from __future__ import annotations

from email.message import EmailMessage


def simple(**fields: str) -> EmailMessage:
    message = EmailMessage()
    for name, value in {"From": "a@a.test", "To": "b@b.test", **fields}.items():
        message[name.replace("_", "-")] = value
    message.set_content("hello\n")
    return message

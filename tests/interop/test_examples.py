"""The content filter of examples/, before and behind the queue of a real Postfix."""

from __future__ import annotations

from email.message import EmailMessage
from typing import TYPE_CHECKING

import pytest

import smtpx
from tests.examples.programs import running
from tests.interop.maildir import split_trace
from tests.interop.programs import HOST, poll

if TYPE_CHECKING:
    from tests.interop.postfix import Postfix

pytestmark = pytest.mark.interop

SENDER = "sender@client.example"
RECIPIENT = "user@example.com"


def message(name: str) -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = SENDER, RECIPIENT, name
    made.set_content("Hello.")
    made.add_attachment(b"MZ", "application", "octet-stream", filename=name)
    return made


def arguments(postfix: Postfix) -> tuple[str, ...]:
    """Listen where Postfix hands its mail to, and give it back at another port."""
    return (
        *("--listen", f"{HOST}:{postfix.filter_port}"),
        *("--to", f"{HOST}:{postfix.gateway_port}"),
    )


def send(port: int, made: EmailMessage) -> smtpx.SendResult:
    return smtpx.send(
        made, to=f"smtp+plain://{HOST}:{port}", sender=SENDER, recipients=[RECIPIENT]
    )


def test_before_the_queue_the_client_hears_of_a_refusal(postfix: Postfix) -> None:
    with running("postfix_filter.py", *arguments(postfix)):
        result = send(postfix.proxied_port, message("clean.txt"))
        # The reply is that of Postfix behind the filter: the message is in its queue.
        assert result.queue_id
        delivered = postfix.user.take_next()
        assert b"\nX-Content-Filter: clean\n" in delivered
        assert b"\nSubject: clean.txt\n" in delivered
        with pytest.raises(smtpx.DataRefused) as caught:
            send(postfix.proxied_port, message("virus.exe"))
        assert caught.value.smtp_code == 550
        assert "refused by content" in str(caught.value)
        # Nothing of it was taken: what comes next is the next one.
        send(postfix.proxied_port, message("next.txt"))
        assert b"\nSubject: next.txt\n" in postfix.user.take_next()


def test_behind_the_queue_it_marks_and_tells_the_client(postfix: Postfix) -> None:
    with running("postfix_filter.py", "--mark-only", *arguments(postfix)):
        queue_id = send(postfix.filtered_port, message("virus.exe")).queue_id
        delivered = postfix.user.take_next()
    assert b"\nX-Content-Filter: suspect\n" in delivered
    assert b"Subject: virus.exe" in split_trace(delivered)[1]
    assert queue_id

    def logged() -> str | None:
        lines = postfix.log.read_text().splitlines()
        found = [line for line in lines if f"orig_queue_id={queue_id}" in line]
        return found[0] if found else None

    # XFORWARD came from Postfix, went through the filter, and back to Postfix's log.
    line = poll(logged, "Postfix to log where the message came from")
    assert f"orig_client=localhost[{HOST}]" in line

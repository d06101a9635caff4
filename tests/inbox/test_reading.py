"""What the API tells of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.inbox.conftest import MAIL

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.inbox.conftest import Running


def test_a_message_is_in_the_list(run: Callable[..., Running]) -> None:
    running = run()
    content = MAIL % (b"Your order", b"Thank  you\r\nvery much")
    running.send(content)
    listed = running.get("/messages")
    assert (listed["total"], listed["unread"], listed["start"]) == (1, 1, 0)
    [row] = listed["messages"]
    received_at = row.pop("received_at")
    assert received_at.endswith("Z")
    assert row == {
        "id": running.only,
        "from": {"name": "Ann", "address": "ann@example.com"},
        "to": [{"name": "Bob", "address": "bob@example.net"}],
        "sender": "ann@example.com",
        "recipients": ["bob@example.net"],
        "recipient_count": 1,
        "subject": "Your order",
        "date": "2026-03-05T10:00:00+01:00",
        "octets": len(content),
        "attachments": 0,
        "read": False,
        "snippet": "Thank you very much",
        "tls": False,
        "user": None,
        "problems": row["problems"],
    }


def test_one_message(run: Callable[..., Running]) -> None:
    running = run(auth=True)
    running.send(MAIL % (b"hi", b"hello"), "bob@example.net", "eve@x.test")
    found = running.get(f"/message/{running.only}")
    assert found["text"] == "hello\n"
    assert ["Subject", " hi"] in found["headers"]
    assert found["envelope"]["recipients"] == [
        {"address": "bob@example.net", "parameters": ""},
        {"address": "eve@x.test", "parameters": ""},
    ]
    assert found["envelope"]["differs"] == [
        "In the envelope only (blind copies): eve@x.test."
    ]
    assert found["protocol"] == "ESMTP"


def test_the_raw_message_and_its_dialogue(run: Callable[..., Running]) -> None:
    running = run()
    content = MAIL % (b"hi", b"hello")
    running.send(content)
    raw = running.http.get(f"/api/v1/message/{running.only}/raw")
    assert raw.content == content
    assert raw.headers["content-type"] == "message/rfc822"
    assert raw.headers["content-disposition"].startswith("attachment;")
    lines = running.get(f"/message/{running.only}/dialogue")["lines"]
    said = [f"{line['from']}: {line['text']}" for line in lines]
    assert said[0].startswith("S: 220 inbox.localhost ESMTP")
    assert f"C: ({len(content)} octets of content)" in said
    assert said[-1] == "S: 221 2.0.0 goodbye"

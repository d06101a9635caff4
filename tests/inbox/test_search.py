"""What a query means, and what it finds."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from smtpx.inbox import search
from smtpx.inbox.dialogue import Dialogue
from smtpx.inbox.mailbox import Mailbox
from smtpx.inbox.messages import StoredMessage
from smtpx.inbox.reading import MAX_WAITING, SEARCH_SECONDS, Busy, Gone, Reader
from smtpx.inbox.search import (
    MAX_QUERY_CHARACTERS,
    MAX_TERMS,
    BadQuery,
    TextCache,
    is_found,
    parse_query,
)
from smtpx.inbox.stores import MemoryStore
from smtpx.message.parsed import parse_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.inbox.conftest import Running

MAIL = b"""\
From: Ann Smith <ann@example.com>
Sender: Robot <robot@example.com>
To: Bob <bob@example.net>
Cc: carol@example.org
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe_of_May?=
Message-ID: <Id-1@example.com>
X-Campaign: Spring
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=x

--x
Content-Type: text/plain

The last chance, really: see https://example.com/a
--x
Content-Type: text/html

<b>hi</b>
--x
Content-Type: application/pdf
Content-Disposition: attachment; filename="Invoice-7.pdf"

pdf
--x--
""".replace(b"\n", b"\r\n")

FACTS = StoredMessage(
    "1",
    1_772_700_000.0,  # 2026-03-05 08:40 UTC
    2_000,
    "bounce@mailer.test",
    ("bob@example.net", "hidden@example.net"),
    user="Shop",
    tls={"version": "TLSv1.3"},
)


def finds(query: str) -> bool:
    return is_found(FACTS, parse_query(query), TextCache(), lambda: MAIL)


@pytest.mark.parametrize(
    "query",
    [
        *("", "grüße", "GRÜ", '"last chance"', "chance last", "ann", "Smith"),
        *("invoice-7", "https://example.com/a", "hidden", "bounce@mailer"),
        *("from:smith", "from:bounce@", "from:robot", 'from:"ann smith"'),
        *("to:bob", "to:carol", "to:hidden", "cc:carol", "subject:may"),
        *("message-id:id-1@", "header:x-campaign", "header:spring", "user:shop"),
        *("has:attachment", "has:html", "has:tls", "has:problem"),
        *("is:unread", "larger:1999", "larger:1k", "smaller:2001", "smaller:1M"),
        *("after:2026-03-05", "before:2026-03-06", "after:2026-03-05T08:40:00Z"),
        *("-from:zoe", "-nothing -here", '-"chance last"', "-is:read"),
    ],
)
def test_what_a_query_finds(query: str) -> None:
    assert finds(query)


@pytest.mark.parametrize(
    "query",
    [
        *("zoe", '"chance last"', "grüße zoe", "-grüße", "from:bob", "to:ann"),
        *("cc:bob", "subject:chance", "message-id:2", "header:chance", "user:bob"),
        *("is:read", "-is:unread", "larger:2000", "smaller:2000", "larger:2k"),
        *("after:2026-03-06", "before:2026-03-05", "before:2026-03-05T08:40:00Z"),
        *("-has:tls", "-has:html", "-has:attachment", "nosuch:field"),
    ],
)
def test_what_it_does_not_find(query: str) -> None:
    assert not finds(query)


def test_a_message_without_anything() -> None:
    facts = StoredMessage("1", 0.0, 0, "", ())
    for query in ("has:attachment", "has:html", "has:tls", "user:a", "from:a"):
        assert not is_found(facts, parse_query(query), TextCache(), lambda: b"")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("is:new", "is: takes read or unread"),
        ("has:wings", "has: takes attachment, html, problem or tls"),
        ("larger:big", "takes a size"),
        ("smaller:-1", "takes a size"),
        ("after:yesterday", "takes a day"),
        ("before:9999-99-99", "takes a day"),
        ("x" * (MAX_QUERY_CHARACTERS + 1), "at most 500 characters"),
        ("a " * (MAX_TERMS + 1), "at most 20 words"),
    ],
)
def test_queries_that_make_no_sense(query: str, why: str) -> None:
    with pytest.raises(BadQuery, match=why):
        parse_query(query)


def test_the_longest_queries() -> None:
    assert len(parse_query("x" * MAX_QUERY_CHARACTERS)) == 1
    assert len(parse_query("a " * MAX_TERMS)) == MAX_TERMS
    assert parse_query('"" from:""') == ()


def test_texts_are_kept_while_there_is_room() -> None:
    reads: list[str] = []

    def read_as(id_: str) -> Callable[[], bytes]:
        def read() -> bytes:
            reads.append(id_)
            return MAIL

        return read

    def look(cache: TextCache, id_: str) -> None:
        facts = StoredMessage(id_, 0.0, 0, "", ())
        assert is_found(facts, parse_query("chance"), cache, read_as(id_))

    size = search._texts_of(
        StoredMessage("1", 0.0, 0, "", ()), parse_message(MAIL)
    ).characters
    cache = TextCache(size)
    for id_ in ("1", "2", "1", "2"):
        look(cache, id_)
    assert reads == ["1", "2", "2"]
    cache.forget(["1", "none"])
    for id_ in ("2", "2"):
        look(cache, id_)
    assert reads == ["1", "2", "2", "2"]
    assert TextCache(size - 1).get(StoredMessage("1", 0.0, 0, "", ()), lambda: MAIL)


# -------------------------------------------------------------------- through the API


def test_the_list_of_what_is_found(run: Callable[..., Running]) -> None:
    running = run()
    for number in range(5):
        running.send(b"From: a@x.test\r\nSubject: order %d\r\n\r\n" % number)
    running.send(MAIL)
    found = running.get("/messages", query="order -subject:3", start=1, limit=2)
    assert (found["total"], found["unread"], found["start"]) == (4, 4, 1)
    assert [row["subject"] for row in found["messages"]] == ["order 2", "order 1"]
    assert running.subjects("has:html") == ["Grüße of May"]
    assert running.refused("GET", "/messages", params={"query": "is:new"}) == (
        400,
        "is: takes read or unread",
    )


def test_deleting_what_is_found(run: Callable[..., Running]) -> None:
    running = run()
    for number in range(3):
        running.send(b"From: a@x.test\r\nSubject: order %d\r\n\r\n" % number)

    def delete(**body: object) -> dict[str, int]:
        found: dict[str, int] = running.http.request(
            "DELETE", "/api/v1/messages", json=body
        ).json()
        return found

    assert delete(query="order 1") == {"deleted": 1}
    assert running.subjects() == ["order 2", "order 0"]
    for body in ({"query": " "}, {"query": 1}, {"query": "x", "ids": []}, {"ids": 1}):
        status, _ = running.refused("DELETE", "/messages", json=body)
        assert status == 400
    assert delete(ids=[]) == {"deleted": 0}
    assert delete() == {"deleted": 2}


async def searching(*clock: float) -> list[StoredMessage]:
    """Search among two messages, while so much time passes."""
    mailbox = Mailbox(MemoryStore())
    for id_ in "ab":
        message = StoredMessage(id_, 0.0, 0, "", ())
        await mailbox.keep(message, MAIL, Dialogue(id_, [], 1))
    reader = Reader(mailbox, clock=iter(clock).__next__)
    try:
        return await reader.search(parse_query("chance"))
    finally:
        reader.close()


async def test_a_search_has_so_much_time() -> None:
    assert len(await searching(0, 1, SEARCH_SECONDS)) == 2
    with pytest.raises(Busy, match="too long"):
        await searching(0, 1, SEARCH_SECONDS + 0.1)


async def test_so_many_may_wait() -> None:
    reader = Reader(Mailbox(MemoryStore()))
    go_on = threading.Event()
    waiting = [
        asyncio.ensure_future(reader.run(go_on.wait)) for _ in range(MAX_WAITING)
    ]
    await asyncio.sleep(0)
    with pytest.raises(Busy, match="try again"):
        await reader.run(go_on.wait)
    go_on.set()
    assert await asyncio.gather(*waiting) == [True] * MAX_WAITING
    assert await reader.run(go_on.wait)
    reader.close()


async def test_a_message_that_goes_meanwhile_is_left_out() -> None:
    mailbox = Mailbox(MemoryStore())
    for id_ in "ab":
        message = StoredMessage(id_, 0.0, 0, "", ())
        await mailbox.keep(message, MAIL, Dialogue(id_, [], 1))
    reader = Reader(mailbox)
    mailbox.store.forget(["a"])
    assert [row["id"] for row in await reader.summaries(mailbox.page(0, 9))] == ["b"]
    assert [one.id for one in await reader.search(parse_query("chance"))] == ["b"]
    gone = mailbox.get("a")
    assert gone is not None
    with pytest.raises(Gone):
        await reader.content(gone)
    reader.close()


def test_what_is_gone_and_busy_over_http(run: Callable[..., Running]) -> None:
    running = run()
    running.send()
    id_ = running.only
    running.inbox.mailbox.store.forget([id_])
    assert running.refused("GET", f"/message/{id_}")[0] == 404
    assert running.refused("GET", "/message/none/dialogue")[0] == 404
    running.inbox._reader._waiting = MAX_WAITING
    response = running.http.get(f"/api/v1/message/{id_}/raw")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")

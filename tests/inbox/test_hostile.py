"""Messages that are made to hurt: what a view of them takes is bounded."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest

from smtpx.inbox.complaints import MAX_COMPLAINTS, find_complaints
from smtpx.inbox.messages import StoredMessage
from smtpx.inbox.views import (
    MAX_LISTED,
    MAX_TEXT_CHARACTERS,
    detail,
    part_of,
    summary,
)
from smtpx.message.parsed import parse_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.inbox.conftest import Running


def facts(**more: object) -> StoredMessage:
    return StoredMessage("1", 0.0, 0, "a@x.test", ("b@x.test",), **more)  # type: ignore[arg-type]


def deep(levels: int) -> bytes:
    head = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(levels)
    )
    return head + b"\r\nhi\r\n"


def wide(parts: int) -> bytes:
    part = b'--x\r\nContent-Disposition: attachment; filename="../%d"\r\n\r\nx\r\n'
    body = b"".join(part % n for n in range(parts))
    return b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + body + b"--x--\r\n"


BOMBS = {
    "headers": b"X-Field: value\r\n" * 100_000 + b"\r\nhi\r\n",
    "one header": b"X: " + b"a" * 5_000_000 + b"\r\n\r\nhi\r\n",
    "folds": b"Subject: x\r\n" + b" y\r\n" * 100_000 + b"\r\nhi\r\n",
    "depth": deep(20_000),
    "width": wide(20_000),
    "addresses": b"To: " + b"a@x.test, " * 100_000 + b"\r\n\r\n",
    "bad addresses": b"From: " + b"<<a," * 50_000 + b"\r\n\r\n",
    "comments": b"From: " + b"(" * 100_000 + b"\r\n\r\n",
    "words": b"Subject: " + b"=?utf-8?b?YQ==?= " * 50_000 + b"\r\n\r\n",
    "unclosed words": b"Subject: " + b"=?utf-8?q?" * 50_000 + b"\r\n\r\n",
    "parameters": b"Content-Type: text/plain; " + b"a*0=x; " * 50_000 + b"\r\n\r\n",
    "charset": b"Content-Type: text/plain; charset=utf-7\r\n\r\n" + b"+A" * 100_000,
    "base64": b"Content-Transfer-Encoding: base64\r\n\r\n" + b"=" * 1_000_000,
    "bare": b"\r" * 500_000 + b"\n" * 500_000,
    "nul": b"\0" * 1_000_000,
    "long lines": (b"a" * 998 + b"\r\n") * 10_000,
    "no line": b"a" * 3_000_000,
    "dates": b"Date: " + b"1 " * 100_000 + b"\r\n\r\n",
    "ids": b"Message-ID: " + b"<a@" * 50_000 + b"\r\n\r\n",
    "dots": b"List-Unsubscribe: " + b"<https:" * 50_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_view_of_a_bomb_is_small(name: str) -> None:
    content = BOMBS[name]
    message = facts()
    tracemalloc.start()
    try:
        row = summary(message, content)
        full = detail(message, content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(row["to"]) <= MAX_LISTED
    assert len(str(row)) < 20_000
    assert len(full["defects"]) <= 200
    assert len(str(full)) < 6_000_000
    # A few copies of it, and the fields as objects; not a multiple for each level.
    assert peak < 60_000_000 + 20 * len(content)


def test_a_long_text_is_cut() -> None:
    for more, is_cut in ((0, False), (1, True)):
        content = b"\r\n" + b"x" * (MAX_TEXT_CHARACTERS + more)
        found = detail(facts(), content)
        assert len(found["text"]) == MAX_TEXT_CHARACTERS
        assert found["text_is_cut"] is is_cut


def test_there_are_only_so_many_complaints() -> None:
    word = b"X: =?utf-8?q?" + b"a" * 80 + b"?=\r\n"
    message = parse_message(word * (MAX_COMPLAINTS + 50))
    assert len(find_complaints(facts(), message)) == MAX_COMPLAINTS


def test_summaries_list_so_many_addresses() -> None:
    names = tuple(f"u{n}@x.test" for n in range(MAX_LISTED + 1))
    message = StoredMessage("1", 0.0, 0, "", names)
    content = b"To: " + ", ".join(names).encode() + b"\r\n\r\n"
    row = summary(message, content)
    assert len(row["recipients"]) == len(row["to"]) == MAX_LISTED
    assert row["recipient_count"] == MAX_LISTED + 1
    full = detail(message, content)
    assert len(full["recipients"]) == len(full["to"]) == MAX_LISTED + 1


def test_parts_are_counted_as_they_are_listed() -> None:
    content = wide(3)
    rows = detail(facts(), content)["attachments"]
    assert [(row["part"], row["name"]) for row in rows] == [
        (0, "0"),
        (1, "1"),
        (2, "2"),
    ]
    parsed = parse_message(content)
    assert part_of(parsed, 2) is not None
    assert part_of(parsed, 3) is None


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        (b'"../../etc/passwd"', "passwd"),
        (b'"a\\"; filename=evil.exe"', "a"),
        (b'"x.html\r\nSet-Cookie: a=b"', "x.html"),
        ('"\u202egpj.exe"'.encode(), "gpj.exe"),
        (b'"' + b"x" * 300 + b'"', "x" * 100),
    ],
)
def test_names_of_files_are_safe_in_a_response(
    run: Callable[..., Running], name: bytes, stored: str
) -> None:
    running = run()
    running.send(
        b"From: a@x.test\r\nContent-Type: text/html\r\n"
        b"Content-Disposition: attachment; filename=" + name + b"\r\n\r\n<script>\r\n"
    )
    response = running.http.get(f"/api/v1/message/{running.only}/part/0")
    disposition = response.headers["content-disposition"]
    assert disposition.startswith("attachment; filename*=UTF-8''")
    assert stored in disposition
    assert disposition.isascii()
    assert "set-cookie" not in response.headers
    assert response.headers["content-type"] == "application/octet-stream"
    assert "sandbox" in response.headers["content-security-policy"]
    assert running.refused("GET", f"/message/{running.only}/part/1")[0] == 404


def test_a_raw_message_is_text_or_a_file(run: Callable[..., Running]) -> None:
    running = run()
    running.send(b"Content-Type: text/html\r\n\r\n<script>alert(1)</script>\r\n")
    path = f"/api/v1/message/{running.only}/raw"
    shown = running.http.get(path, params={"inline": ""})
    assert shown.headers["content-type"] == "text/plain; charset=utf-8"
    assert "content-disposition" not in shown.headers
    assert "attachment" in running.http.get(path).headers["content-disposition"]

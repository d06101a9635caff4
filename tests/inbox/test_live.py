"""Server-sent events: what a page is told, and how much of it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from smtpx.inbox import live as live_module
from smtpx.inbox.dialogue import Dialogue
from smtpx.inbox.live import MAX_FOLLOWERS, MAX_NAMED, MAX_NEW, LiveEvents
from smtpx.inbox.mailbox import Mailbox
from smtpx.inbox.messages import StoredMessage
from smtpx.inbox.reading import MAX_WAITING, Reader
from smtpx.inbox.stores import MemoryStore
from smtpx.testing.faults import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import pytest

    from tests.inbox.conftest import Running


def parse(block: str) -> tuple[str, dict[str, Any]]:
    name, data, *_ = block.split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def fill(mailbox: Mailbox, count: int) -> list[str]:
    ids = [str(len(mailbox) + n) for n in range(count)]
    for id_ in ids:
        message = StoredMessage(id_, 0.0, 0, "a@x.test", ("b@x.test",))
        await mailbox.keep(message, b"Subject: x\r\n\r\n", Dialogue(id_, [], 1))
    return ids


class Desk:
    """A mailbox that somebody follows."""

    def __init__(self) -> None:
        self.mailbox = Mailbox(MemoryStore())
        self.reader = Reader(self.mailbox)
        self.live = LiveEvents(self.mailbox, self.reader)

    async def follow(self) -> AsyncIterator[str]:
        stream = self.live.stream()
        assert parse(await anext(stream))[0] == "hello"
        return stream


async def test_a_follower_is_told_of_all_that_happens() -> None:
    desk = Desk()
    [old] = await fill(desk.mailbox, 1)
    stream = await desk.follow()
    [first, second] = await fill(desk.mailbox, 2)
    desk.mailbox.mark_read([first])
    desk.mailbox.delete([old])
    desk.live.faults_changed()
    told = [parse(await anext(stream)) for _ in range(4)]
    assert [name for name, _ in told] == ["message", "deleted", "read", "faults"]
    message, deleted, read, _ = [data for _, data in told]
    assert message["added"] == 2
    assert [row["id"] for row in message["messages"]] == [second, first]
    assert (message["total"], message["unread"], message["octets"]) == (2, 1, 0)
    assert deleted["ids"] == [old]
    assert read["messages"] == [{"id": first, "read": True}]
    desk.mailbox.mark_read([first], is_read=False)
    name, data = parse(await anext(stream))
    assert (name, data["messages"]) == ("read", [{"id": first, "read": False}])


async def test_of_many_messages_the_newest_are_described() -> None:
    desk = Desk()
    stream = await desk.follow()
    ids = await fill(desk.mailbox, MAX_NEW)
    _, data = parse(await anext(stream))
    assert (data["added"], len(data["messages"])) == (MAX_NEW, MAX_NEW)
    ids = await fill(desk.mailbox, MAX_NEW + 1)
    _, data = parse(await anext(stream))
    assert data["added"] == MAX_NEW + 1
    assert [row["id"] for row in data["messages"]] == ids[:0:-1]


async def test_so_many_messages_are_named() -> None:
    desk = Desk()
    ids = await fill(desk.mailbox, MAX_NAMED + 1)
    stream = await desk.follow()
    desk.mailbox.mark_read(ids[1:])
    _, data = parse(await anext(stream))
    assert len(data["messages"]) == MAX_NAMED
    desk.mailbox.mark_read(ids, is_read=False)
    desk.mailbox.mark_read(ids[:1])
    _, data = parse(await anext(stream))
    assert data["messages"] is None
    desk.mailbox.delete(ids[1:])
    _, data = parse(await anext(stream))
    assert data["ids"] == ids[1:]
    ids = await fill(desk.mailbox, MAX_NAMED + 1)
    desk.mailbox.delete(ids)
    desk.mailbox.delete(None)
    assert parse(await anext(stream))[0] == "message"
    _, data = parse(await anext(stream))
    assert data["ids"] is None


async def test_a_busy_inbox_still_tells_how_many() -> None:
    desk = Desk()
    stream = await desk.follow()
    desk.reader._waiting = MAX_WAITING
    await fill(desk.mailbox, 3)
    _, data = parse(await anext(stream))
    assert (data["added"], data["messages"]) == (3, [])


async def test_a_silent_inbox_sends_a_sign_of_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_module, "_SILENCE_SECONDS", 0.001)
    stream = await Desk().follow()
    assert await anext(stream) == ":\n\n"


def is_full(desk: Desk) -> bool:
    return desk.live.is_full


async def test_followers_leave() -> None:
    desk = Desk()
    streams = [await desk.follow() for _ in range(MAX_FOLLOWERS)]
    assert is_full(desk)
    await streams[0].aclose()  # type: ignore[attr-defined]
    assert not is_full(desk)
    desk.live.close()
    for stream in streams[1:]:
        assert [one async for one in stream] == []
    assert [one async for one in desk.live.stream()] != []


async def test_who_asked_in_the_same_moment_is_counted_too() -> None:
    """Between the answer and the first event others have their turn."""
    desk = Desk()
    streams = [desk.live.stream() for _ in range(MAX_FOLLOWERS + 2)]
    assert not is_full(desk)
    first = [await anext(stream, None) for stream in streams]
    assert [one is None for one in first] == [False] * MAX_FOLLOWERS + [True] * 2
    for stream in streams:
        await stream.aclose()  # type: ignore[attr-defined]
    assert not is_full(desk)


async def test_a_closed_inbox_ends_a_stream_that_waits() -> None:
    desk = Desk()
    stream = await desk.follow()
    waiting = asyncio.ensure_future(anext(stream, None))
    await asyncio.sleep(0)
    desk.live.close()
    assert await waiting is None


# -------------------------------------------------------------------- over a socket


def events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in lines:
        if line.startswith("event: "):
            yield parse(f"{line}\n{next(lines)}")


def test_a_page_follows(run: Callable[..., Running]) -> None:
    running = run()
    with running.http.stream("GET", "/api/v1/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        told = events(response.iter_lines())
        assert next(told) == ("hello", {"total": 0, "unread": 0, "octets": 0})
        running.send()
        name, data = next(told)
        assert (name, data["added"]) == ("message", 1)
        assert data["messages"] == running.rows()
        running.http.post("/api/v1/faults", json={"stage": "mail", "drop": True})
        assert next(told)[0] == "faults"


def test_a_fault_that_strikes_is_told(run: Callable[..., Running]) -> None:
    running = run(faults=(Refusal("rcpt", 550, matching="nobody@*"),))
    with running.http.stream("GET", "/api/v1/events") as response:
        told = events(response.iter_lines())
        next(told)
        running.send(b"\r\n", "nobody@x.test", "b@x.test")
        assert {next(told)[0], next(told)[0]} == {"message", "faults"}


def test_too_many_followers(
    run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = run()
    monkeypatch.setattr(live_module, "MAX_FOLLOWERS", 1)
    with running.http.stream("GET", "/api/v1/events") as response:
        told = events(response.iter_lines())
        assert next(told)[0] == "hello"
        assert running.refused("GET", "/events")[0] == 503

"""Which messages are held: order, caps, marks; and both stores behind that."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from smtpx.inbox import sqlite_store
from smtpx.inbox.dialogue import Recorder
from smtpx.inbox.mailbox import InboxCap, Mailbox, TooLarge
from smtpx.inbox.messages import StoredMessage, new_id
from smtpx.inbox.sqlite_store import SQLiteStore
from smtpx.inbox.stores import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from smtpx.inbox.dialogue import Dialogue
    from smtpx.inbox.stores import Store


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    if request.param == "memory":
        return MemoryStore
    return lambda: SQLiteStore(tmp_path / "mail.sqlite")


def stored(octets: int = 100) -> StoredMessage:
    return StoredMessage(
        new_id(), 1.5, octets, "a@x.test", ("b@x.test", "c@x.test"), charge=octets
    )


def said(name: str) -> Dialogue:
    recorder = Recorder(clock=lambda: 2.5)
    recorder.open("s")
    recorder.write("s", "C: MAIL FROM:<a@x.test>")
    return recorder.begin("s", name, replies=1)


async def fill(mailbox: Mailbox, *sizes: int) -> list[str]:
    ids = []
    for size in sizes:
        message = stored(size)
        await mailbox.keep(message, b"x" * size, said(message.id))
        ids.append(message.id)
    return ids


def held(mailbox: Mailbox) -> list[str]:
    return [one.id for one in mailbox.newest_first()]


async def test_the_oldest_go_over_the_cap_of_messages(
    make_store: Callable[[], Store],
) -> None:
    mailbox = Mailbox(make_store(), InboxCap(messages=3))
    await mailbox.open()
    ids = await fill(mailbox, 10, 10, 10)
    assert held(mailbox) == ids[::-1]
    [newest] = await fill(mailbox, 10)
    assert held(mailbox) == [newest, ids[2], ids[1]]
    assert (len(mailbox), mailbox.octets, mailbox.unread) == (3, 30, 3)
    contents = [await asyncio.to_thread(mailbox.store.read_content, id_) for id_ in ids]
    assert contents == [None, b"x" * 10, b"x" * 10]
    assert await mailbox.store.dialogue(ids[0]) == []
    await mailbox.close()


async def test_the_oldest_go_over_the_cap_of_octets(
    make_store: Callable[[], Store],
) -> None:
    mailbox = Mailbox(make_store(), InboxCap(octets=100))
    await mailbox.open()
    first, second = await fill(mailbox, 40, 60)
    assert held(mailbox) == [second, first]
    [third] = await fill(mailbox, 1)
    assert held(mailbox) == [third, second]
    [whole] = await fill(mailbox, 100)
    assert held(mailbox) == [whole]
    with pytest.raises(TooLarge):
        await fill(mailbox, 101)
    assert held(mailbox) == [whole]
    await mailbox.close()


async def test_marks_and_deletion(make_store: Callable[[], Store]) -> None:
    mailbox = Mailbox(make_store())
    await mailbox.open()
    told: list[tuple[str, list[str]]] = []
    mailbox.listen(lambda change, which: told.append((change, [m.id for m in which])))
    first, second, third = await fill(mailbox, 1, 2, 3)
    assert mailbox.mark_read([first, first, "none"]) == 1
    assert mailbox.mark_read([first]) == 0
    assert mailbox.unread == 2
    assert mailbox.mark_read(None) == 2
    assert mailbox.mark_read([second], is_read=False) == 1
    assert mailbox.delete([second, second, "none"]) == 1
    assert (held(mailbox), mailbox.unread, mailbox.octets) == ([third, first], 0, 4)
    assert mailbox.delete(None) == 2
    assert mailbox.delete(None) == 0
    assert mailbox.get(first) is None
    assert told == [
        *(("message", [one]) for one in (first, second, third)),
        ("read", [first]),
        ("read", [second, third]),
        ("read", [second]),
        ("deleted", [second]),
        ("deleted", [first, third]),
    ]
    await mailbox.close()


def test_a_page_is_cut_from_the_list() -> None:
    async def main() -> None:
        mailbox = Mailbox(MemoryStore())
        ids = (await fill(mailbox, *[1] * 5))[::-1]
        for start, limit in ((0, 2), (2, 2), (4, 2), (5, 2), (0, 0)):
            found = [one.id for one in mailbox.page(start, limit)]
            assert found == ids[start : start + limit]

    asyncio.run(main())


@pytest.mark.parametrize("bad", [{"messages": 0}, {"octets": 0}])
def test_a_cap_holds_something(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        InboxCap(**bad)


# --------------------------------------------------------------------------- SQLite


async def test_a_database_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "mail.sqlite"
    mailbox = Mailbox(SQLiteStore(path))
    await mailbox.open()
    message = StoredMessage(
        *("1", 1.5, 5, "a@x.test", ("b@x.test",), "SIZE=5", ("NOTIFY=NEVER",)),
        *("192.0.2.1:9", "192.0.2.1", "c.test", "mx.test", "ESMTPSA", "sess", "ann"),
        tls={"version": "TLSv1.3"},
        charge=77,
    )
    dialogue = said("1")
    await mailbox.keep(message, b"\x00\xff\r\n.", dialogue)
    await fill(mailbox, 1)
    mailbox.mark_read(["1"])
    mailbox.store.settle(dialogue)
    await mailbox.close()
    assert path.stat().st_mode & 0o777 == 0o600

    again = Mailbox(SQLiteStore(path))
    await again.open()
    _, found = again.newest_first()
    for name in StoredMessage.__slots__:
        expected = True if name == "is_read" else getattr(message, name)
        assert getattr(found, name) == expected, name
    assert (again.unread, again.octets) == (1, 78)
    content = await asyncio.to_thread(again.store.read_content, "1")
    assert content == b"\x00\xff\r\n."
    [line] = await again.store.dialogue("1")
    assert (line.origin, line.text, line.at) == ("C", "MAIL FROM:<a@x.test>", 2.5)
    await again.close()

    smaller = Mailbox(SQLiteStore(path), InboxCap(messages=1))
    await smaller.open()
    assert len(smaller) == 1
    assert smaller.get("1") is None
    await smaller.close()


async def test_a_dialogue_grows_after_its_message_was_kept(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "mail.sqlite")
    await store.open()
    recorder = Recorder(store.settle, clock=lambda: 1.0)
    recorder.open("s")
    recorder.write("s", "C: MAIL FROM:<>")
    message = stored()
    dialogue = recorder.begin("s", message.id, replies=1)
    await store.keep(message, b"", dialogue)
    recorder.write("s", f"S: 250 2.0.0 queued as {message.id}")
    assert len(await store.dialogue(message.id)) == 2
    recorder.write("s", "C: QUIT")
    recorder.close("s")
    assert len(await store.dialogue(message.id)) == 3
    recorder.open("t")
    late = recorder.begin("t", "late", replies=1)
    await store.keep(StoredMessage("late", 0.0, 0, "", ()), b"", late)
    recorder.write("t", "C: NOOP")
    await store.close()
    again = SQLiteStore(tmp_path / "mail.sqlite")
    await again.open()
    assert len(await again.dialogue(message.id)) == 3
    assert [line.text for line in await again.dialogue("late")] == ["NOOP"]
    await again.close()


async def test_nothing_of_a_deleted_message_stays_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mail.sqlite"
    mailbox = Mailbox(SQLiteStore(path), InboxCap(messages=2))
    await mailbox.open()
    ids = await fill(mailbox, 1, 2, 3)
    mailbox.delete(ids[2:])
    await mailbox.close()
    database = sqlite3.connect(path)
    assert database.execute("SELECT octets FROM content").fetchall() == [(b"xx",)]
    assert database.execute("SELECT id FROM message").fetchall() == [(ids[1],)]
    database.close()


async def test_many_messages_share_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    do = sqlite_store._do

    def counted(database: sqlite3.Connection, jobs: list[object]) -> None:
        batches.append(len(jobs))
        do(database, jobs)  # type: ignore[arg-type]

    monkeypatch.setattr(sqlite_store, "_do", counted)
    mailbox = Mailbox(SQLiteStore(tmp_path / "mail.sqlite"))
    await mailbox.open()
    await asyncio.gather(*(fill(mailbox, 1) for _ in range(1_200)))
    assert len(mailbox) == 1_200
    assert sum(batches) == 1_200
    assert max(batches) <= sqlite_store.MAX_BATCH
    assert len(batches) < 300
    await mailbox.close()


_KILLED = """
import asyncio, os, sys
from tests.inbox.test_mailbox import *

async def main():
    mailbox = Mailbox(SQLiteStore(Path(sys.argv[1])))
    await mailbox.open()
    await asyncio.gather(*(fill(mailbox, 1) for _ in range(20)))
    print(*held(mailbox), flush=True)
    # More is on its way, of which nobody was told.
    for _ in range(20):
        asyncio.ensure_future(fill(mailbox, 1))
    await asyncio.sleep(0)
    os.kill(os.getpid(), 9)

from pathlib import Path
asyncio.run(main())
"""


def test_what_was_kept_is_there_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "mail.sqlite"
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr
    acknowledged = set(killed.stdout.split())
    assert len(acknowledged) == 20

    async def main() -> list[str]:
        mailbox = Mailbox(SQLiteStore(path))
        await mailbox.open()
        found = held(mailbox)
        await mailbox.close()
        return found

    assert acknowledged <= set(asyncio.run(main()))


async def test_a_failure_to_write_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    mailbox = Mailbox(SQLiteStore(tmp_path / "mail.sqlite"))
    await mailbox.open()
    [id_] = await fill(mailbox, 1)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_store, "_insert", fails)
        with pytest.raises(OSError, match="disk is full"):
            await fill(mailbox, 1)
    assert held(mailbox) == [id_]
    await fill(mailbox, 1)
    assert len(mailbox) == 2
    await mailbox.close()


async def test_a_failure_that_nobody_waits_for_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = SQLiteStore(tmp_path / "mail.sqlite")
    await store.open()
    store._write("DELETE FROM missing WHERE id = ?", [("1",)])
    await store.close()
    assert "cannot be written: no such table: missing" in caplog.text


async def test_a_closed_store_keeps_nobody_waiting(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "mail.sqlite")
    await store.open()
    # Behind the end, as when a search goes on in its thread.
    store._jobs.put(None)
    late = store._submit(lambda _: 1)
    await store.close()
    with pytest.raises(OSError, match="is closed"):
        late.result(timeout=60)
    with pytest.raises(OSError, match="is closed"):
        await asyncio.to_thread(store.read_content, "1")


async def test_a_cancelled_message_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "mail.sqlite"
    mailbox = Mailbox(SQLiteStore(path))
    await mailbox.open()
    task = asyncio.create_task(fill(mailbox, 1))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(mailbox) == 0
    await mailbox.close()
    again = Mailbox(SQLiteStore(path))
    await again.open()
    assert len(again) == 0
    await again.close()


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("CREATE TABLE other (x)", "of another program"),
        ("PRAGMA user_version = 7", "of another program"),
        (
            f"PRAGMA application_id = {sqlite_store._APPLICATION_ID}",
            "another version of smtpx",
        ),
    ],
)
async def test_databases_of_others(tmp_path: Path, statement: str, why: str) -> None:
    path = tmp_path / "mail.sqlite"
    database = sqlite3.connect(path)
    database.execute(statement)
    database.commit()
    database.close()
    with pytest.raises(OSError, match=why):
        await Mailbox(SQLiteStore(path)).open()


async def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Is a directory"):
        await Mailbox(SQLiteStore(tmp_path)).open()

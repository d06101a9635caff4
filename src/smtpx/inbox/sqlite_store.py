"""The inbox in a file: SQLite, one writer, many messages a commit.

Theory of operation. One thread has the only connection. It takes all jobs that wait,
does them in one transaction, and commits before it tells anybody that a message is
kept: an fsync is dear, and serves a hundred messages as well as one. So what the server
acknowledged is there after a kill or a power cut (``synchronous=FULL``; with WAL a
commit is one fsync). The file is locked: a second inbox on it does not start.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import queue
import sqlite3
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from smtpx.inbox.dialogue import DialogueLine
from smtpx.inbox.messages import StoredMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from smtpx.inbox.dialogue import Dialogue

__all__ = ["MAX_BATCH", "SQLiteStore"]

logger = logging.getLogger("smtpx.inbox")

MAX_BATCH: Final = 500
"""Jobs of one transaction: what waits for it waits a few milliseconds."""

# Tells our files from others (PRAGMA application_id), "smpx"; and the form of them.
_APPLICATION_ID: Final = 0x736D7078
_VERSION: Final = 1

# SQLite writes a row again as a whole: what never changes has a table of its own.
_SCHEMA: Final = (
    """
    CREATE TABLE message (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        is_read INTEGER NOT NULL,
        facts TEXT NOT NULL,
        dialogue TEXT NOT NULL
    )
    """,
    "CREATE TABLE content (number INTEGER PRIMARY KEY, octets BLOB NOT NULL)",
)
_DELETE_CONTENT: Final = (
    "DELETE FROM content WHERE number = (SELECT number FROM message WHERE id = ?)"
)
_DELETE_MESSAGE: Final = "DELETE FROM message WHERE id = ?"
_SELECT_CONTENT: Final = (
    "SELECT octets FROM content JOIN message USING (number) WHERE id = ?"
)
_SELECT_DIALOGUE: Final = "SELECT dialogue FROM message WHERE id = ?"

# Kept apart from the facts that never change.
_OWN_COLUMNS: Final = {"id", "is_read", "notes"}

_ResultT = TypeVar("_ResultT")
_Job: TypeAlias = "tuple[Callable[[sqlite3.Connection], Any], Future[Any]]"


class SQLiteStore:
    """Keeps messages in a file; see `smtpx.inbox.stores.Store`.

    Args:
        path: of the file; made if needed, for its owner alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._is_over = False
        # Dialogues that grow, of messages that were written already.
        self._growing: dict[str, Dialogue] = {}

    async def open(self) -> Sequence[StoredMessage]:
        """Open the file, and return what is in it, in the order in which it came.

        Raises:
            OSError: the file cannot be used, is of another program, or in use.
        """
        opened: Future[list[StoredMessage]] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name="smtpx-inbox-sqlite", daemon=True
        )
        self._thread.start()
        try:
            return await asyncio.wrap_future(opened)
        except sqlite3.Error as error:
            raise _failure(self._path, error) from error

    async def keep(
        self, message: StoredMessage, content: bytes, dialogue: Dialogue
    ) -> None:
        """Keep a message; on return it is on the disk.

        Args:
            message: the facts.
            content: the message as it came.
            dialogue: which may still grow.

        Raises:
            OSError: it cannot be kept.
        """
        row = (message.id, _pack_facts(message), _pack_lines(dialogue), content)
        self._growing[message.id] = dialogue
        try:
            await asyncio.wrap_future(self._submit(lambda db: _insert(db, row)))
        except sqlite3.Error as error:
            self._growing.pop(message.id, None)
            raise _failure(self._path, error) from error
        except asyncio.CancelledError:
            # The client is not told that it was taken; it may be written yet.
            self.forget([message.id])
            raise

    def settle(self, dialogue: Dialogue) -> None:
        """Write a dialogue for the last time.

        Args:
            dialogue: of a message.
        """
        id_ = dialogue.message
        if self._growing.pop(id_, None) is not None:
            lines = _pack_lines(dialogue)
            self._write("UPDATE message SET dialogue = ? WHERE id = ?", [(lines, id_)])

    def mark_read(self, ids: Sequence[str], *, is_read: bool) -> None:
        """Keep that messages were read, or were not.

        Args:
            ids: of the messages.
            is_read: which.
        """
        rows = [(is_read, id_) for id_ in ids]
        self._write("UPDATE message SET is_read = ? WHERE id = ?", rows)

    def forget(self, ids: Sequence[str]) -> None:
        """Let go of messages.

        Args:
            ids: of the messages.
        """
        for id_ in ids:
            self._growing.pop(id_, None)
        rows = [(id_,) for id_ in ids]
        self._write(_DELETE_CONTENT, rows)
        self._write(_DELETE_MESSAGE, rows)

    async def dialogue(self, id_: str) -> list[DialogueLine]:
        """Return the dialogue of a message; nothing if it is gone.

        Args:
            id_: of the message.
        """
        growing = self._growing.get(id_)
        if growing is not None:
            return growing.lines()
        job = self._submit(lambda db: _select(db, _SELECT_DIALOGUE, id_))
        packed = await asyncio.wrap_future(job)
        if packed is None:
            return []
        return [DialogueLine(*line) for line in json.loads(packed)]

    def read_content(self, id_: str) -> bytes | None:
        """Return a message, None if it is gone. It blocks.

        Args:
            id_: of the message.
        """
        content: bytes | None = self._submit(
            lambda db: _select(db, _SELECT_CONTENT, id_)
        ).result()
        return content

    async def close(self) -> None:
        """Write what is to be written, and close the file."""
        for dialogue in tuple(self._growing.values()):
            self.settle(dialogue)
        self._jobs.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    # ------------------------------------------------------------------------ inside

    def _submit(
        self, work: Callable[[sqlite3.Connection], _ResultT]
    ) -> Future[_ResultT]:
        """Have the thread do something; the future is done once it is committed."""
        done: Future[_ResultT] = Future()
        with self._lock:
            if self._is_over:
                done.set_exception(OSError(f"{self._path} is closed"))
            else:
                self._jobs.put((work, done))
        return done

    def _write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        """Write what nobody waits for."""
        self._submit(lambda db: db.executemany(statement, rows)).add_done_callback(
            _log_failure
        )

    def _run(self, opened: Future[list[StoredMessage]]) -> None:
        try:
            database = _open(self._path)
            messages = _load(database)
        except BaseException as error:
            opened.set_exception(error)
            return
        opened.set_result(messages)
        try:
            while self._run_batch(database):
                pass
        finally:
            database.close()
            self._end()

    def _end(self) -> None:
        """Tell whoever still waits, maybe in a thread, that nothing comes any more."""
        with self._lock:
            self._is_over = True
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is not None and job[1].set_running_or_notify_cancel():
                job[1].set_exception(OSError(f"{self._path} is closed"))

    def _run_batch(self, database: sqlite3.Connection) -> bool:
        """Do what waits in one transaction; tell whether there may be more."""
        jobs: list[_Job] = []
        goes_on = True
        job = self._jobs.get()
        while True:
            if job is None:
                goes_on = False
                break
            jobs.append(job)
            if len(jobs) >= MAX_BATCH:
                break
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
        if jobs:
            _do(database, jobs)
        return goes_on


def _do(database: sqlite3.Connection, jobs: Sequence[_Job]) -> None:
    """Do jobs, commit, and only then tell who waits."""
    # From here on none can be cancelled.
    jobs = [job for job in jobs if job[1].set_running_or_notify_cancel()]
    results: list[tuple[Future[Any], Any]] = []
    try:
        database.execute("BEGIN IMMEDIATE")
        for work, done in jobs:
            results.append((done, work(database)))
        database.execute("COMMIT")
    except BaseException as error:  # whoever waits has to be told
        if database.in_transaction:
            database.rollback()
        for _, done in jobs:
            done.set_exception(error)
        return
    for done, result in results:
        done.set_result(result)


def _open(path: Path) -> sqlite3.Connection:
    # Mail is private.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.close(descriptor)
    database = sqlite3.connect(path, isolation_level=None, timeout=0)
    try:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        _check_form(database, path)
    except BaseException:
        database.close()
        raise
    return database


def _check_form(database: sqlite3.Connection, path: Path) -> None:
    """Make the table in an empty file; refuse the files of others."""
    database.execute("BEGIN IMMEDIATE")
    [(application,)] = database.execute("PRAGMA application_id").fetchall()
    [(version,)] = database.execute("PRAGMA user_version").fetchall()
    [(tables,)] = database.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    if (application, version, tables) == (0, 0, 0):
        for statement in _SCHEMA:
            database.execute(statement)
        database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {_VERSION}")
    elif application != _APPLICATION_ID:
        raise OSError(f"{path} is the database of another program: take another file")
    elif version != _VERSION:
        raise OSError(
            f"{path} was written by another version of smtpx ({version}, this one "
            f"writes {_VERSION}): take another file"
        )
    database.execute("COMMIT")


def _load(database: sqlite3.Connection) -> list[StoredMessage]:
    rows = database.execute("SELECT id, is_read, facts FROM message ORDER BY number")
    return [_unpack_facts(*row) for row in rows]


def _insert(database: sqlite3.Connection, row: tuple[str, str, str, bytes]) -> None:
    *facts, content = row
    number = database.execute(
        "INSERT INTO message (id, is_read, facts, dialogue) VALUES (?, 0, ?, ?)", facts
    ).lastrowid
    database.execute("INSERT INTO content VALUES (?, ?)", (number, content))


def _select(database: sqlite3.Connection, query: str, id_: str) -> Any:  # noqa: ANN401 - of the column
    row = database.execute(query, (id_,)).fetchone()
    return None if row is None else row[0]


def _pack_facts(message: StoredMessage) -> str:
    names = (name for name in StoredMessage.__slots__ if name not in _OWN_COLUMNS)
    return json.dumps({name: getattr(message, name) for name in names})


def _unpack_facts(id_: str, is_read: int, packed: str) -> StoredMessage:
    facts = json.loads(packed)
    for name in ("recipients", "rcpt_parameters"):
        facts[name] = tuple(facts[name])
    return StoredMessage(id=id_, is_read=bool(is_read), **facts)


def _pack_lines(dialogue: Dialogue) -> str:
    return json.dumps(dialogue.lines())


def _failure(path: Path, error: sqlite3.Error) -> OSError:
    if "locked" in str(error):
        return OSError(f"{path} is in use by another inbox: stop it, or take another")
    return OSError(f"{path}: {error}")


def _log_failure(done: Future[Any]) -> None:
    error = done.exception()
    if error is not None:
        logger.error("the inbox cannot be written: %s", error)

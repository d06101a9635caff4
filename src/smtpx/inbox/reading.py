"""Reads messages off the event loop: what strangers wrote may take long to parse."""

from __future__ import annotations

import asyncio
import functools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from smtpx.inbox.search import TextCache, is_found
from smtpx.inbox.views import JSONObject, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smtpx.inbox.mailbox import Change, Mailbox
    from smtpx.inbox.messages import StoredMessage
    from smtpx.inbox.search import Term

__all__ = ["MAX_WAITING", "SEARCH_SECONDS", "Busy", "Gone", "Page", "Reader"]

_ResultT = TypeVar("_ResultT")

# Reception goes on beside them. More would not be faster: one runs at a time (the GIL).
_THREADS: Final = 2

MAX_WAITING: Final = 64
"""Views that wait for a thread; a browser asks for six things at a time."""

SEARCH_SECONDS: Final = 10.0
"""How long a search may take. What it read of messages the next one has to read no
more."""


class Gone(Exception):
    """A message was deleted meanwhile."""


class Busy(Exception):
    """Too much is being read already, or it took too long; the text says what."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list of messages.

    Attributes:
        total: how many messages the list has.
        unread: how many of them nobody looked at.
        rows: summaries of some.
    """

    total: int
    unread: int
    rows: list[JSONObject]


class Reader:
    """Reads the messages of a mailbox in threads.

    Args:
        mailbox: whose.
        clock: tells how many seconds pass.
    """

    def __init__(
        self, mailbox: Mailbox, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._mailbox = mailbox
        self._clock = clock
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="smtpx-inbox")
        self._waiting = 0
        self._cache = TextCache()
        mailbox.listen(self._forget)

    async def run(self, work: Callable[[], _ResultT]) -> _ResultT:
        """Run a function in a thread.

        Args:
            work: the function.

        Raises:
            Busy: too many wait.
        """
        if self._waiting >= MAX_WAITING:
            raise Busy("the inbox is busy: try again in a moment")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1

    async def read(
        self, message: StoredMessage, view: Callable[[StoredMessage, bytes], _ResultT]
    ) -> _ResultT:
        """Have a function look at a message.

        Args:
            message: which.
            view: gets the facts and the content.

        Raises:
            Gone: the message was deleted.
            Busy: too many wait.
        """
        return await self.run(lambda: view(message, self._content(message)))

    async def content(self, message: StoredMessage) -> bytes:
        """Return a message.

        Args:
            message: which.

        Raises:
            Gone: it was deleted.
            Busy: too many wait.
        """
        return await self.run(lambda: self._content(message))

    async def summaries(self, messages: Sequence[StoredMessage]) -> list[JSONObject]:
        """Return rows of the list; those that were deleted meanwhile are left out.

        Args:
            messages: which.

        Raises:
            Busy: too many wait.
        """
        if all("parsed" in one.notes for one in messages):
            return [summary(one, b"") for one in messages]
        return await self.run(lambda: self._rows(messages))

    async def page(self, terms: Sequence[Term], start: int, limit: int) -> Page:
        """Return a part of the list, or of what a query finds; the newest first.

        Args:
            terms: of the query; empty: all messages.
            start: how many to pass over.
            limit: how many rows to return.

        Raises:
            Busy: too many wait, or the search took too long.
        """
        mailbox = self._mailbox
        if not terms:
            rows = await self.summaries(mailbox.page(start, limit))
            return Page(len(mailbox), mailbox.unread, rows)
        found = await self.search(terms)
        rows = await self.summaries(found[start : start + limit])
        return Page(len(found), sum(not one.is_read for one in found), rows)

    async def search(self, terms: Sequence[Term]) -> list[StoredMessage]:
        """Return the messages that a query finds, the newest first.

        Args:
            terms: of the query.

        Raises:
            Busy: too many wait, or the search took too long.
        """
        messages = list(self._mailbox.newest_first())
        return await self.run(lambda: self._search(messages, terms))

    def close(self) -> None:
        """Let go of the threads; what they do now they finish."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------- inside, in a thread

    def _content(self, message: StoredMessage) -> bytes:
        content = self._mailbox.store.read_content(message.id)
        if content is None:
            raise Gone
        return content

    def _rows(self, messages: Sequence[StoredMessage]) -> list[JSONObject]:
        rows = []
        for message in messages:
            try:
                rows.append(summary(message, self._content(message)))
            except Gone:
                continue
        return rows

    def _search(
        self, messages: Sequence[StoredMessage], terms: Sequence[Term]
    ) -> list[StoredMessage]:
        deadline = self._clock() + SEARCH_SECONDS
        found = []
        for message in messages:
            if self._clock() > deadline:
                raise Busy(
                    "the search took too long: the next one will be faster, or use "
                    "words such as from: or is:unread"
                )
            try:
                read = functools.partial(self._content, message)
                if is_found(message, terms, self._cache, read):
                    found.append(message)
            except Gone:
                continue
        return found

    def _forget(self, change: Change, messages: Sequence[StoredMessage]) -> None:
        if change == "deleted":
            self._cache.forget(one.id for one in messages)

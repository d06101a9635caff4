"""Tells web pages what changes: server-sent events, many changes in one.

Theory of operation. A page that follows has a `Follower`, which notes what happened
since it was told last. It is told at most ten times a second, and of a bounded number
of messages: when thousands come in a second, it learns how many, and sees the newest.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from smtpx.inbox.reading import Busy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from smtpx.inbox.mailbox import Change, Mailbox
    from smtpx.inbox.messages import StoredMessage
    from smtpx.inbox.reading import Reader

__all__ = ["MAX_FOLLOWERS", "MAX_NAMED", "MAX_NEW", "LiveEvents"]

MAX_FOLLOWERS: Final = 100
"""Pages that follow; each holds a connection."""

MAX_NEW: Final = 50
"""New messages that one event describes: a page of the list."""

MAX_NAMED: Final = 1_000
"""Messages that one event names as deleted or read; of more it says: all may be."""

# No faster than anybody sees, and before proxies give up on a silent connection.
_PAUSE_SECONDS: Final = 0.1
_SILENCE_SECONDS: Final = 15.0


class _Follower:
    """What one page was not told yet."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.clear()

    def clear(self) -> None:
        self.wake.clear()
        self.added = 0
        self.new: deque[StoredMessage] = deque(maxlen=MAX_NEW)
        self.deleted: list[str] | None = []
        self.read: dict[str, bool] | None = {}
        self.has_other_faults = False

    def note(self, change: Change, messages: Sequence[StoredMessage]) -> None:
        if change == "message":
            self.added += len(messages)
            self.new.extend(messages)
        elif change == "deleted":
            if self.deleted is not None:
                self.deleted += [one.id for one in messages]
                if len(self.deleted) > MAX_NAMED:
                    self.deleted = None
        elif self.read is not None:
            self.read.update((one.id, one.is_read) for one in messages)
            if len(self.read) > MAX_NAMED:
                self.read = None
        self.wake.set()


class LiveEvents:
    """Tells followers of changes.

    Args:
        mailbox: whose changes.
        reader: describes new messages.
    """

    def __init__(self, mailbox: Mailbox, reader: Reader) -> None:
        self._mailbox = mailbox
        self._reader = reader
        self._followers: set[_Follower] = set()
        self._is_closed = False
        mailbox.listen(self._note)

    @property
    def is_full(self) -> bool:
        """Whether no more may follow."""
        return len(self._followers) >= MAX_FOLLOWERS

    def faults_changed(self) -> None:
        """Tell followers that there are other faults, or that one struck."""
        for follower in self._followers:
            follower.has_other_faults = True
            follower.wake.set()

    def close(self) -> None:
        """End the streams of all followers."""
        self._is_closed = True
        for follower in self._followers:
            follower.wake.set()

    async def stream(self) -> AsyncIterator[str]:
        """Write events as they happen (HTML standard, server-sent events).

        Yields:
            Blocks of ``text/event-stream``; none if as many follow as may.
        """
        if self.is_full:
            # They asked in the same moment, when there was room for each of them.
            return
        follower = _Follower()
        self._followers.add(follower)
        try:
            yield _event("hello", self._state())
            while not self._is_closed:
                try:
                    async with asyncio.timeout(_SILENCE_SECONDS):
                        await follower.wake.wait()
                except TimeoutError:
                    yield ":\n\n"
                    continue
                for event in await self._take(follower):
                    yield event
                await self._pause()
        finally:
            self._followers.discard(follower)

    async def _pause(self) -> None:
        if not self._is_closed:
            await asyncio.sleep(_PAUSE_SECONDS)

    def _note(self, change: Change, messages: Sequence[StoredMessage]) -> None:
        for follower in self._followers:
            follower.note(change, messages)

    def _state(self) -> dict[str, Any]:
        mailbox = self._mailbox
        return {
            "total": len(mailbox),
            "unread": mailbox.unread,
            "octets": mailbox.octets,
        }

    async def _take(self, follower: _Follower) -> list[str]:
        """Write what a follower was not told yet."""
        added, new = follower.added, list(follower.new)
        deleted, read = follower.deleted, follower.read
        has_other_faults = follower.has_other_faults
        follower.clear()
        events = []
        if added:
            try:
                rows = await self._reader.summaries(new)
            except Busy:
                rows = []  # it knows how many, and may ask for the list
            found = {"added": added, "messages": rows[::-1]}
            events.append(_event("message", found | self._state()))
        if deleted != []:
            events.append(_event("deleted", {"ids": deleted} | self._state()))
        if read != {}:
            changed = None
            if read is not None:
                changed = [
                    {"id": id_, "read": is_read} for id_, is_read in read.items()
                ]
            events.append(_event("read", {"messages": changed} | self._state()))
        if has_other_faults:
            events.append(_event("faults", {}))
        return events


def _event(name: str, data: dict[str, Any]) -> str:
    # JSON has no raw line end, so one line is enough.
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"

"""Which messages the inbox holds: their order, their cap, and who is told of changes.

Theory of operation. The facts about all messages are in memory, in the order in which
they came; contents and dialogues are in a `Store`, in memory or on a disk. So a page of
the list costs the same whatever the store, and however many messages there are. When
the cap is reached the oldest go. All is done on one event loop, without a lock.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from smtpx.inbox.dialogue import Dialogue
    from smtpx.inbox.messages import StoredMessage
    from smtpx.inbox.stores import Store

__all__ = ["DEFAULT_CAP", "Change", "InboxCap", "Mailbox", "TooLarge"]

Change: TypeAlias = Literal["message", "deleted", "read"]
"""What may happen to messages: some came, went, or were read (or not)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxCap:
    """How much an inbox holds before the oldest messages go.

    Attributes:
        messages: how many; 10,000 are more than anybody scrolls through, and their
            facts take about 20 MiB of memory.
        octets: of all contents, dialogues and facts together; 512 MiB leave room for
            other programs on a developer's machine.

    Raises:
        ValueError: one is not positive.

    >>> InboxCap(messages=500).octets
    536870912
    """

    messages: int = 10_000
    octets: int = 512 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.messages < 1 or self.octets < 1:
            raise ValueError("the cap of an inbox is at least 1 message and 1 octet")


DEFAULT_CAP: Final = InboxCap()


class TooLarge(Exception):
    """A message is larger than the whole inbox may be."""


class Mailbox:
    """The messages of an inbox.

    Args:
        store: keeps contents and dialogues.
        cap: when the oldest messages go.

    Attributes:
        store: as given.
        cap: as given.
        octets: that all messages take, about.
        unread: how many messages nobody looked at.
    """

    def __init__(self, store: Store, cap: InboxCap = DEFAULT_CAP) -> None:
        self.store = store
        self.cap = cap
        self.octets = 0
        self.unread = 0
        # Not a dict, whose first item is slow to find once many before it are gone.
        self._messages: OrderedDict[str, StoredMessage] = OrderedDict()
        self._listeners: list[Callable[[Change, Sequence[StoredMessage]], None]] = []

    def __len__(self) -> int:
        return len(self._messages)

    def __repr__(self) -> str:
        return f"<Mailbox of {len(self)} messages, {self.octets} octets>"

    async def open(self) -> None:
        """Begin, with what the store kept.

        Raises:
            OSError: the store cannot be used.
        """
        for message in await self.store.open():
            self._add(message)
        self._evict()

    def listen(
        self, listener: Callable[[Change, Sequence[StoredMessage]], None]
    ) -> None:
        """Have a function told of each change, from now on.

        Args:
            listener: gets what happened, and to which messages. It must not block.
        """
        self._listeners.append(listener)

    async def keep(
        self, message: StoredMessage, content: bytes, dialogue: Dialogue
    ) -> None:
        """Keep a message; on return it is safe, and in the list.

        Args:
            message: the facts.
            content: the message as it came.
            dialogue: that it came with.

        Raises:
            TooLarge: not even alone it would fit.
            OSError: the store cannot keep it.
        """
        if message.charge > self.cap.octets:
            raise TooLarge
        await self.store.keep(message, content, dialogue)
        self._add(message)
        self._tell("message", [message])
        self._evict()

    def get(self, id_: str) -> StoredMessage | None:
        """Return a message, None if there is none of that name.

        Args:
            id_: its name.
        """
        return self._messages.get(id_)

    def newest_first(self) -> Iterable[StoredMessage]:
        """Iterate over all messages. Nothing may change meanwhile."""
        return reversed(self._messages.values())

    def page(self, start: int, limit: int) -> list[StoredMessage]:
        """Return some messages, the newest first.

        Args:
            start: how many newer ones to pass over.
            limit: how many to return at the most.
        """
        return list(itertools.islice(self.newest_first(), start, start + limit))

    def mark_read(self, ids: Iterable[str] | None, *, is_read: bool = True) -> int:
        """Note that messages were read, or were not; return for how many that is new.

        Args:
            ids: of the messages; None: all.
            is_read: which.
        """
        changed = [one for one in self._named(ids) if one.is_read is not is_read]
        for message in changed:
            message.is_read = is_read
        self.unread += -len(changed) if is_read else len(changed)
        if changed:
            self.store.mark_read([one.id for one in changed], is_read=is_read)
            self._tell("read", changed)
        return len(changed)

    def delete(self, ids: Iterable[str] | None) -> int:
        """Delete messages; return how many there were.

        Args:
            ids: of the messages; None: all.
        """
        found = self._named(ids)
        self._remove(found)
        return len(found)

    async def close(self) -> None:
        """Close the store."""
        await self.store.close()

    # ------------------------------------------------------------------------ inside

    def _named(self, ids: Iterable[str] | None) -> list[StoredMessage]:
        if ids is None:
            return list(self._messages.values())
        # Each once, however often it is named.
        known = (self._messages.get(id_) for id_ in dict.fromkeys(ids))
        return [one for one in known if one is not None]

    def _add(self, message: StoredMessage) -> None:
        self._messages[message.id] = message
        self.octets += message.charge
        self.unread += not message.is_read

    def _evict(self) -> None:
        """Let the oldest go until the rest fits."""
        over = len(self._messages) - self.cap.messages
        octets = self.octets - self.cap.octets
        if over <= 0 and octets <= 0:
            return
        gone = []
        for message in self._messages.values():
            if over <= 0 and octets <= 0:
                break
            gone.append(message)
            over -= 1
            octets -= message.charge
        self._remove(gone)

    def _remove(self, messages: Sequence[StoredMessage]) -> None:
        if not messages:
            return
        for message in messages:
            del self._messages[message.id]
            self.octets -= message.charge
            self.unread -= not message.is_read
        self.store.forget([one.id for one in messages])
        self._tell("deleted", messages)

    def _tell(self, change: Change, messages: Sequence[StoredMessage]) -> None:
        for listener in self._listeners:
            listener(change, messages)

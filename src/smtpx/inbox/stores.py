"""Where the inbox keeps messages: what a store does, and the one in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpx.inbox.dialogue import Dialogue, DialogueLine
    from smtpx.inbox.messages import StoredMessage

__all__ = ["MemoryStore", "Store"]


class Store(Protocol):
    """Keeps messages. The `Mailbox` in front of it knows which there are.

    Its methods are called on the event loop, but for ``read_content``.
    """

    async def open(self) -> Sequence[StoredMessage]:
        """Begin, and return what was kept before, in the order in which it came."""
        ...

    async def keep(
        self, message: StoredMessage, content: bytes, dialogue: Dialogue
    ) -> None:
        """Keep a message; on return it is as safe as it will ever be.

        Args:
            message: the facts.
            content: the message as it came.
            dialogue: which may still grow.

        Raises:
            OSError: it cannot be kept.
        """
        ...

    def settle(self, dialogue: Dialogue) -> None:
        """Take note that a dialogue will not grow any more.

        Args:
            dialogue: of a message that was kept, and may be gone.
        """
        ...

    def mark_read(self, ids: Sequence[str], *, is_read: bool) -> None:
        """Keep that messages were read, or were not.

        Args:
            ids: of the messages.
            is_read: which.
        """
        ...

    def forget(self, ids: Sequence[str]) -> None:
        """Let go of messages.

        Args:
            ids: of the messages.
        """
        ...

    async def dialogue(self, id_: str) -> list[DialogueLine]:
        """Return the dialogue of a message; nothing if it is gone.

        Args:
            id_: of the message.
        """
        ...

    def read_content(self, id_: str) -> bytes | None:
        """Return a message, None if it is gone. It may block, so it runs in a thread.

        Args:
            id_: of the message.
        """
        ...

    async def close(self) -> None:
        """Finish what is to be written, and let go of everything."""
        ...


class MemoryStore:
    """Keeps messages in memory: they are gone when the process is."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[bytes, Dialogue]] = {}

    async def open(self) -> Sequence[StoredMessage]:
        """Begin with nothing."""
        return ()

    async def keep(
        self, message: StoredMessage, content: bytes, dialogue: Dialogue
    ) -> None:
        """Keep a message.

        Args:
            message: the facts.
            content: the message as it came.
            dialogue: which may still grow.
        """
        self._kept[message.id] = content, dialogue

    def settle(self, dialogue: Dialogue) -> None:
        """Do nothing: what is kept is the dialogue itself.

        Args:
            dialogue: of a message.
        """

    def mark_read(self, ids: Sequence[str], *, is_read: bool) -> None:
        """Do nothing: the facts are not kept here.

        Args:
            ids: of the messages.
            is_read: which.
        """

    def forget(self, ids: Sequence[str]) -> None:
        """Let go of messages.

        Args:
            ids: of the messages.
        """
        for id_ in ids:
            self._kept.pop(id_, None)

    async def dialogue(self, id_: str) -> list[DialogueLine]:
        """Return the dialogue of a message; nothing if it is gone.

        Args:
            id_: of the message.
        """
        kept = self._kept.get(id_)
        return [] if kept is None else kept[1].lines()

    def read_content(self, id_: str) -> bytes | None:
        """Return a message, None if it is gone.

        Args:
            id_: of the message.
        """
        kept = self._kept.get(id_)
        return None if kept is None else kept[0]

    async def close(self) -> None:
        """Let go of everything."""
        self._kept.clear()

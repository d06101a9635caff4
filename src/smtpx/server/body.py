"""The content of a message as its handler reads it: a stream with backpressure."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Final

from smtpx.errors import MessageAborted

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Body"]

# Below it a block that nobody took is joined with the next: a page of memory.
_SMALL_BLOCK_OCTETS: Final = 4_096


class Body:
    """The content of one message, decoded, the same for DATA and BDAT.

    Iterate over it, or read it whole. Blocks are of the size in which they arrived.
    While you are busy no more than the server's ``read_ahead_octets`` and one block are
    held, then the client has to wait. What you leave unread is dropped.

    Attributes:
        octets_received: how much has arrived, read or not.
        is_ended: whether no more arrives: the message is complete or was aborted.

    Example:
        ::

            async def data(self, body):
                async for block in body:
                    file.write(block)
    """

    __slots__ = (
        "_blocks",
        "_is_discarded",
        "_on_taken",
        "_reason",
        "_waiter",
        "buffered",
        "is_ended",
        "octets_received",
    )

    def __init__(self, on_taken: Callable[[], None]) -> None:
        self._on_taken = on_taken
        # Short, as small blocks are joined and the read-ahead is limited.
        self._blocks: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._is_discarded = False
        self.is_ended = False
        self._reason: str | None = None
        self.buffered = 0
        self.octets_received = 0

    def __repr__(self) -> str:
        state = (
            "aborted" if self.is_aborted else "complete" if self.is_ended else "open"
        )
        return f"<Body {state}, {self.octets_received} octets received>"

    def __aiter__(self) -> Body:
        """Iterate over the blocks; there is one stream, so begin once."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next block.

        Raises:
            MessageAborted: the message will never be complete: the client vanished,
                or the server refuses it. Keep nothing of what you read.
        """
        while True:
            if self._reason is not None:
                raise MessageAborted(self._reason)
            if self._is_discarded:
                # What was dropped would be missing without a trace.
                message = "a message body is read before its hook returns"
                raise RuntimeError(message)
            if self._blocks:
                block = self._blocks.pop(0)
                self.buffered -= len(block)
                self._on_taken()
                return block
            if self.is_ended:
                raise StopAsyncIteration
            await self._wait()

    async def read(self) -> bytes:
        """Return all that was not read yet; memory is bounded by the message limit.

        Raises:
            MessageAborted: the message will never be complete.
        """
        # Not a list of blocks: a client may send a message in millions of small ones.
        content = io.BytesIO()
        async for block in self:
            content.write(block)
        return content.getvalue()

    # ---------------------------------------------------------- for the connection

    @property
    def is_aborted(self) -> bool:
        """Whether the message was cut off or refused."""
        return self._reason is not None

    @property
    def abort_reason(self) -> str:
        """Why it was, in words for a log; empty if it was not."""
        return self._reason or ""

    @property
    def is_awaited(self) -> bool:
        """Whether the handler waits for octets, so that a delay is the client's."""
        return self._waiter is not None

    def feed(self, data: bytes) -> None:
        """Add a block.

        Args:
            data: octets of the content, decoded.
        """
        self.octets_received += len(data)
        if not self._is_discarded:
            # Small blocks are joined: an object for each would cost more than its
            # octets, and what is held is counted in octets.
            if self._blocks and len(self._blocks[-1]) < _SMALL_BLOCK_OCTETS:
                self._blocks[-1] += data
            else:
                self._blocks.append(data)
            self.buffered += len(data)
        if self._waiter is not None:
            self._wake()

    def finish(self) -> None:
        """Take note that the message is complete."""
        self.is_ended = True
        if self._waiter is not None:
            self._wake()

    def abort(self, reason: str) -> None:
        """Take note that it never will be.

        Args:
            reason: why, for a log.
        """
        self._reason = reason
        self.is_ended = True
        self._drop()
        self._wake()

    def discard(self) -> None:
        """Take note that the handler reads no more."""
        self._is_discarded = True
        self._drop()
        if self._waiter is not None:
            # A reader that the hook left behind finds that it is too late.
            self._wake()
            self._waiter = None

    async def wait_ended(self) -> None:
        """Wait for the end, after ``discard``."""
        while not self.is_ended:
            await self._wait()

    def _drop(self) -> None:
        self._blocks.clear()
        self.buffered = 0

    async def _wait(self) -> None:
        if self._waiter is not None:
            message = "a message body has one reader"
            raise RuntimeError(message)
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        try:
            await waiter
        finally:
            if self._waiter is waiter:
                self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

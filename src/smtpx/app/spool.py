"""A message on its way to a handler: small ones in memory, large ones in a file.

Nothing of a file happens on the event loop.
"""

from __future__ import annotations

import asyncio
import io
import tempfile
import threading
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator
    from concurrent.futures import Executor

__all__ = ["Spool", "spool"]

_BLOCK_OCTETS: Final = 262_144


class Spool:
    """What was received of one message.

    Attributes:
        size: in octets.
        is_in_memory: whether there is no file.
    """

    def __init__(self, file: BinaryIO, size: int, *, is_in_memory: bool) -> None:
        self._file = file
        # Two that read at once would move the position from under each other.
        self._lock = threading.Lock()
        self.size = size
        self.is_in_memory = is_in_memory

    def open(self) -> BinaryIO:
        """Return a file to read the message from, at its beginning.

        It is the one there is: read it in one place at a time, and do not close it.
        """
        self._file.seek(0)
        return self._file

    def read(self) -> bytes:
        """Return all of the message."""
        with self._lock:
            return self.open().read()

    async def blocks(self) -> AsyncIterator[bytes]:
        """Iterate over the message; a file is read in a thread."""
        position = 0
        while position < self.size:
            block = (
                self._read_at(position)
                if self.is_in_memory
                else await asyncio.to_thread(self._read_at, position)
            )
            position += len(block)
            yield block

    def _read_at(self, position: int) -> bytes:
        with self._lock:
            self._file.seek(position)
            return self._file.read(_BLOCK_OCTETS)

    def close(self) -> None:
        """Forget the message; a file is removed."""
        self._file.close()


async def spool(
    content: AsyncIterable[bytes],
    executor: Executor,
    *,
    head: bytes = b"",
    memory_octets: int,
) -> Spool:
    """Take a message as it arrives.

    Args:
        content: in blocks.
        executor: writes to the file.
        head: fields to put before it.
        memory_octets: a message of more goes to a file.

    Returns:
        The message. Whoever gets it closes it.

    Raises:
        OSError: the file cannot be written.
    """
    blocks = [head] if head else []
    size = held = len(head)
    file: BinaryIO | None = None
    loop = asyncio.get_running_loop()
    try:
        async for block in content:
            blocks.append(block)
            size += len(block)
            held += len(block)
            if size <= memory_octets or (file is not None and held < _BLOCK_OCTETS):
                continue
            if file is None:
                # Without a name, so that nothing of it is left, however this ends.
                file = await loop.run_in_executor(executor, _temporary_file)
            await loop.run_in_executor(executor, file.write, b"".join(blocks))
            blocks, held = [], 0
        if file is None:
            return Spool(io.BytesIO(b"".join(blocks)), size, is_in_memory=True)
        await loop.run_in_executor(executor, file.write, b"".join(blocks))
    except BaseException:
        if file is not None:
            file.close()
        raise
    return Spool(file, size, is_in_memory=False)


def _temporary_file() -> BinaryIO:
    return tempfile.TemporaryFile(prefix="smtpx-")

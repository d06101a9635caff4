"""A client that says everything at once and understands no more than three digits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RawClient"]


class RawClient(asyncio.Protocol):
    """Sends whole transactions by BDAT in one flight.

    Attributes:
        acknowledged: the keys of those whose end was answered with 250.
        ended: set when the server has closed.
    """

    def __init__(self) -> None:
        self.acknowledged: list[str] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._heard = b""
        # What each reply is to: a key if it takes responsibility.
        self._awaited: list[str | None] = [None, None]
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def say(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Say transactions, and QUIT."""
        words = [b"EHLO c.test\r\n"]
        for key, content in messages:
            words.append(
                b"RSET\r\nMAIL FROM:<s@c.test>\r\nRCPT TO:<b@mx.test>\r\n"
                b"BDAT %d LAST\r\n%b" % (len(content), content)
            )
            self._awaited += [None, None, None, key]
        words.append(b"QUIT\r\n")
        if self._transport is not None:
            self._transport.write(b"".join(words))

    def data_received(self, data: bytes) -> None:
        *lines, self._heard = (self._heard + data).split(b"\r\n")
        for line in lines:
            if line[3:4] == b"-" or not self._awaited:
                continue
            key = self._awaited.pop(0)
            if line[:3] == b"421":
                self._awaited.clear()  # the last word
            elif key is not None and line[:3] == b"250":
                self.acknowledged.append(key)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.ended.done():
            self.ended.set_result(None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

"""Where the messages of `send_many` come from."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sized
from typing import TYPE_CHECKING, Protocol

from smtpx.client.link import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smtpx.client.outgoing import Envelopes

__all__ = ["PlainSupply", "Supply"]


class Supply(Protocol):
    """Where the messages come from."""

    @property
    def has_next(self) -> bool | None:
        """Whether `next` returns at once; None if nobody knows."""
        ...

    async def next(self) -> object:
        """Return the next item.

        Raises:
            StopAsyncIteration: there is none.
        """
        ...

    async def close(self) -> None:
        """Let go of the source."""
        ...

    def taken(self) -> Iterable[object]:
        """Return what was taken from the source and not given out."""
        ...


class PlainSupply:
    """Messages from an iterable, taken in the task or thread that sends them.

    Args:
        envelopes: one with a length, such as a list, has its next item at once. What
            an iterator does before it gives one, nobody knows.
    """

    def __init__(self, envelopes: Envelopes) -> None:
        self.has_next = True if isinstance(envelopes, Sized) else None
        if isinstance(envelopes, AsyncIterable):
            self._awaited = aiter(envelopes)
            self._iterator = None
        else:
            self._iterator = iter(envelopes)

    async def next(self) -> object:
        """Return the next item; see `Supply`."""
        if self._iterator is None:
            return await anext(self._awaited)
        try:
            for item in self._iterator:
                return item
        except Exception:
            raise
        except BaseException as error:
            # Whatever it is, it came from the source, not to who waits for replies: a
            # Ctrl-C too. What is under way gets its outcome first.
            raise SourceError from error
        raise StopAsyncIteration

    async def close(self) -> None:
        """Nothing is held."""

    def taken(self) -> Iterable[object]:
        """Nothing is; see `Supply`."""
        return ()

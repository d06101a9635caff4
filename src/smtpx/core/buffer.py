"""The input of a machine: lines and blocks of content, whatever the segmentation.

What arrives is kept as it came. A segment that holds whole lines is never copied; only
a line that was split over segments is joined, and that costs at most the limit on a
line. So time is linear in the input, and memory is bounded by what the layer above
reads ahead.
"""

from __future__ import annotations

from typing import Final

__all__ = ["InputBuffer", "LineTooLong"]

_CRLF: Final = b"\r\n"


#: How much of a line over its limit is kept, to tell what was meant by it.
_OPENING_OCTETS: Final = 16


class LineTooLong(Exception):
    """A line went over its limit; it was dropped up to and with its CRLF.

    Attributes:
        opening: its first 16 octets.
    """

    def __init__(self, opening: bytes) -> None:
        super().__init__()
        self.opening = opening


class InputBuffer:
    r"""Octets received and not yet used.

    Attributes:
        head: the block that is being read; empty when all is taken.

    >>> buffer = InputBuffer()
    >>> buffer.append(b"NOOP\r\nQU")
    >>> buffer.take_line(512)
    b'NOOP'
    >>> buffer.take_line(512) is None
    True
    >>> buffer.append(b"IT\r\n")
    >>> buffer.take_line(512)
    b'QUIT'
    """

    __slots__ = ("_in_segments", "_opening", "_segments", "_start", "head")

    def __init__(self) -> None:
        self.head = b""
        self._start = 0
        self._segments: list[bytes] = []
        # Counted, for a sum at each of many small segments would be quadratic.
        self._in_segments = 0
        # Of a line over its limit whose end has not come.
        self._opening: bytes | None = None

    # Once all of ``head`` is taken it is empty, and there are no segments then.

    def __len__(self) -> int:
        """Octets that were not taken yet."""
        return len(self.head) - self._start + self._in_segments

    def append(self, data: bytes) -> None:
        """Add what was received."""
        if self.head:
            self._segments.append(data)
            self._in_segments += len(data)
        else:
            self.head = data

    def clear(self) -> None:
        """Forget everything."""
        self.head = b""
        self._start = 0
        self._segments.clear()
        self._in_segments = 0
        self._opening = None

    def starts_with(self, prefix: bytes) -> bool:
        """Whether a line begins here, and with ``prefix``."""
        self._join()
        return self._opening is None and self.head.startswith(prefix, self._start)

    def take_line(self, limit: int) -> bytes | None:
        """Take one line.

        Args:
            limit: of the line in octets, CRLF included.

        Returns:
            The line without its CRLF, which alone ends it (RFC 5321 section 2.3.8);
            None while it is incomplete.

        Raises:
            LineTooLong: the line was longer; it is gone, and the next call goes on
                behind it.
        """
        data = self.head
        start = self._start
        end = data.find(_CRLF, start)
        if end < 0:
            if self._segments:
                self._join()
                data, start = self.head, 0
                end = data.find(_CRLF)
            if end < 0:
                self._keep_partial(limit)
                return None
        behind = end + 2
        if behind < len(data):
            self._start = behind
        elif self._segments:
            self._next_segments()
        else:
            # A client that waits for each reply: a line a segment.
            self.head = b""
            self._start = 0
        if behind - start > limit or self._opening is not None:
            opening = self._opening or data[start : min(end, start + _OPENING_OCTETS)]
            self._opening = None
            raise LineTooLong(opening)
        return data[start:end]

    def take_all(self) -> bytes:
        """Take everything, for a decoder that finds the end by itself."""
        if self._segments:
            self._join()
        data, start = self.head, self._start
        self.head = b""
        self._start = 0
        return data[start:] if start else data

    def put_back(self, data: bytes, consumed: int) -> None:
        """Give back what ``take_all`` gave, but for its first ``consumed`` octets."""
        if self.head:
            message = "put_back comes right after take_all"
            raise RuntimeError(message)
        if consumed < len(data):
            self.head = data
            self._start = consumed

    def take(self, limit: int) -> bytes:
        """Take what is there, ``limit`` octets at the most."""
        data, start = self.head, self._start
        end = min(start + limit, len(data))
        if end == len(data):
            self._next_segments()
        else:
            self._start = end
        return data[start:end] if start or end < len(data) else data

    def _next_segments(self) -> None:
        """Go on with what came after ``head``, all of which is taken."""
        self._start = 0
        if self._segments:
            self.head = b"".join(self._segments)
            self._segments.clear()
            self._in_segments = 0
        else:
            self.head = b""

    def _join(self) -> None:
        if self._segments:
            self._segments.insert(0, self.head[self._start :])
            self.head = b"".join(self._segments)
            self._start = 0
            self._segments.clear()
            self._in_segments = 0

    def _keep_partial(self, limit: int) -> None:
        """Bound the memory of a line whose end has not come."""
        data, start = self.head, self._start
        # A CR at the very end may be half of a CRLF: it stays.
        tail = 1 if data.endswith(b"\r") else 0
        if self._opening is not None or len(data) - start > limit:
            end = len(data) - tail
            self._opening = (
                self._opening or data[start : min(end, start + _OPENING_OCTETS)]
            )
            self.head = data[end:]
            self._start = 0

"""Lines that are too long for mail, found before they are sent.

A line has at most 998 octets (RFC 5322 section 2.1.1, RFC 5321 section 4.5.3.1.6).
Servers do different things with longer ones: Exim refuses the message, Postfix breaks
the line, which voids a DKIM signature. BINARYMIME alone has no lines (RFC 3030).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from smtpx.errors import LineTooLong

__all__ = ["MAX_LINE_OCTETS", "has_long_line", "watched"]

MAX_LINE_OCTETS: Final = 998


def has_long_line(content: bytes) -> bool:
    r"""Say whether a line has more than 998 octets, its end not counted.

    Args:
        content: with CRLF or LF line ends.

    >>> has_long_line(b"x" * 998 + b"\r\n"), has_long_line(b"x" * 999 + b"\r\n")
    (False, True)
    """
    start, size = 0, len(content)
    # Of each thousand octets only the last line end that can save them is looked for.
    while size - start > MAX_LINE_OCTETS:
        last = start + MAX_LINE_OCTETS + 1
        end = content.rfind(b"\n", start, last + 1)
        if end == last and content[end - 1 : end] != b"\r":
            end = content.rfind(b"\n", start, last)
        if end < 0:
            return True
        start = end + 1
    return False


async def watched(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield blocks as they are, up to the one with a line that is too long.

    Raises:
        LineTooLong: there is one.
    """
    rest = b""
    async for block in blocks:
        data = rest + block
        end = data.rfind(b"\n") + 1
        rest = data[end:]
        if has_long_line(data[:end]) or len(rest.removesuffix(b"\r")) > MAX_LINE_OCTETS:
            raise LineTooLong
        yield block

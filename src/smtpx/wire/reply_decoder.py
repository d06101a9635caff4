"""The reply decoder: what a client reads off the wire, whatever the segmentation.

It is strict, because a client that pairs a reply with the wrong command loses mail: a
malformed reply means that the two ends are out of step, and the only safe answer is to
close the connection. What `smtpx.wire.replies` makes of a reply, it reads back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from smtpx.errors import BadReply
from smtpx.wire.octets import escape_octets
from smtpx.wire.replies import ENHANCED_CODE, MAX_REPLY_LINE_OCTETS, Reply

__all__ = [
    "DEFAULT_REPLY_LIMITS",
    "ReplyDecoder",
    "ReplyLimits",
    "ReplyLine",
    "parse_reply_line",
]

# An enhanced code where a reply's text begins (RFC 2034 section 4).
_ENHANCED_PREFIX = re.compile(ENHANCED_CODE.pattern + r"(?: |$)", re.ASCII)

# Strict: codes start with 2 to 5; nothing in SMTP uses 1yz (RFC 5321 section 4.2.1).
# Lenient: the ABNF allows a second digit of 0 to 5 only, and demands text or at least
# the space after the code.
_REPLY_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)


class ReplyLine(NamedTuple):
    """One line of a reply.

    Attributes:
        code: 200 to 599.
        is_last: whether the reply ends here.
        text: behind the code and its separator, with the enhanced code if any.
    """

    code: int
    is_last: bool
    text: str


def parse_reply_line(line: bytes) -> ReplyLine:
    """Parse one line of a reply (RFC 5321 section 4.2).

    Args:
        line: the line without CRLF: ``250-text``, ``250 text`` or ``250``.

    Returns:
        The code, whether it is the last line, and the text as UTF-8 with
        surrogateescape, so no octet is lost.

    Raises:
        BadReply: the peer is out of step; close the connection.

    >>> parse_reply_line(b"250-SIZE 1000")
    ReplyLine(code=250, is_last=False, text='SIZE 1000')
    """
    match = _REPLY_LINE.fullmatch(line)
    if match is None:
        raise BadReply(f"not a reply: {escape_octets(line, limit=80)}")
    code, separator, text = match.groups()
    # Lenient: a code alone ends a reply, as RFC 5321 section 4.2 asks of clients.
    return ReplyLine(
        int(code), separator != b"-", (text or b"").decode("utf-8", "surrogateescape")
    )


def _build_reply(lines: list[ReplyLine]) -> Reply:
    """Put a reply together, with the enhanced code taken off its lines.

    The code is that of the first line (RFC 2034 section 4: it is the same on all).
    Lenient: a later line without it, or with another one, keeps its text whole.
    """
    code = lines[0].code
    texts = [line.text for line in lines]
    match = _ENHANCED_PREFIX.match(texts[0])
    if match is None or int(match[1]) != code // 100:
        return Reply(code, None, "\n".join(texts))
    prefix = match[0].rstrip(" ")
    texts = [
        text[len(prefix) + 1 :]
        if text == prefix or text.startswith(prefix + " ")
        else text
        for text in texts
    ]
    return Reply(code, prefix, "\n".join(texts))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyLimits:
    """How much of a reply a client takes before it gives up on the server.

    Attributes:
        max_line_octets: of one line with its CRLF. RFC 4954 section 4 allows a
            challenge of 12,288 octets, the longest line that any RFC allows; four
            for its code and two for its CRLF.
        max_lines: of one reply. The longest real ones answer EHLO and HELP, with
            some tens of lines.
        max_octets: of one reply in all its lines: 128 full lines of RFC 5321 section
            4.5.3.1.5.

    >>> ReplyDecoder(ReplyLimits(max_lines=100)).next_reply() is None
    True
    """

    max_line_octets: int = 12_288 + len(b"334 \r\n")
    max_lines: int = 500
    max_octets: int = 128 * MAX_REPLY_LINE_OCTETS


DEFAULT_REPLY_LIMITS: Final = ReplyLimits()


# A server says the same few things again and again; a hit costs a tenth of parsing.
@lru_cache(maxsize=256)
def _parse_short_reply(line: bytes) -> Reply | ReplyLine:
    """Parse a line; give the whole reply if the line is all of it."""
    reply_line = parse_reply_line(line)
    return _build_reply([reply_line]) if reply_line.is_last else reply_line


# The longest line worth keeping; bounds what the cache can hold to 64 KiB of input.
_MAX_CACHED_LINE_OCTETS = 256


# Replies of one line by their octets, the line end included. What servers say with a
# number in it comes once only, so all of them make room when there are too many.
_MAX_CACHED_OCTETS = _MAX_CACHED_LINE_OCTETS + len(b"\r\n")
_MAX_WHOLE_REPLIES = 256
_WHOLE_REPLIES: Final[dict[bytes, Reply]] = {}


class ReplyDecoder:
    r"""Turns what a server sends into replies, whatever the segmentation.

    Feed what arrives, then take replies until there is none. After an error the
    decoder stays broken: every further call raises the same error.

    Args:
        limits: on a line and on a reply.
        is_lenient: also take a line that ends in a bare LF. Strict by default: a
            server that sends one may be relaying what somebody else wrote.

    >>> decoder = ReplyDecoder()
    >>> decoder.feed(b"250-mx.example.com\r\n250 PIPELI")
    >>> decoder.next_reply(), decoder.has_partial
    (None, True)
    >>> decoder.feed(b"NING\r\n")
    >>> decoder.next_reply()
    Reply(250, None, 'mx.example.com\nPIPELINING')
    """

    def __init__(
        self, limits: ReplyLimits = DEFAULT_REPLY_LIMITS, *, is_lenient: bool = False
    ) -> None:
        self._limits = limits
        self._is_lenient = is_lenient
        self._buffer = b""
        # A decoder whose limits such a line might exceed looks nothing up.
        is_usual = min(limits.max_line_octets, limits.max_octets) > _MAX_CACHED_OCTETS
        self._known = _WHOLE_REPLIES if is_usual and limits.max_lines else {}
        # All three are positions in the buffer: the reply under way, its line under
        # way, and how much of that line is known to hold no line end.
        self._reply_start = 0
        self._line_start = 0
        self._searched = 0
        self._lines: list[ReplyLine] = []
        self._error: BadReply | None = None

    @property
    def buffered(self) -> int:
        """Octets received that belong to no reply given out yet."""
        return len(self._buffer) - self._reply_start

    @property
    def has_partial(self) -> bool:
        """Whether anything is behind the last reply given out.

        After the 220 to STARTTLS that is an attack (RFC 3207 section 4.2): somebody
        put words in the clear that would be read as if they came through TLS.
        """
        return len(self._buffer) > self._reply_start

    def feed(self, data: bytes) -> None:
        """Add what was received.

        Args:
            data: any part of the stream.

        Raises:
            BadReply: the stream broke before.
        """
        if self._error is not None:
            raise self._error
        start = self._reply_start
        if start == len(self._buffer):
            self._buffer = data
            self._reply_start = self._line_start = self._searched = 0
            return
        if start:
            self._line_start -= start
            self._searched -= start
            self._reply_start = 0
        # What is kept is less than a reply, whose size is limited.
        self._buffer = self._buffer[start:] + data

    def next_reply(self) -> Reply | None:
        """Take the next whole reply.

        Returns:
            The reply, or None if more is to be received first.

        Raises:
            BadReply: malformed, of several codes, or over a limit: the peer is out of
                step, so close the connection.
        """
        if self._error is not None:
            raise self._error
        buffer, start = self._buffer, self._line_start
        if start == len(buffer):
            return None
        if not self._lines:
            # Most replies are one line that was heard before.
            end = buffer.find(b"\n", self._searched) + 1
            known = self._known.get(buffer[start:end])
            if known is not None:
                self._reply_start = self._line_start = self._searched = end
                return known
        try:
            return self._next_reply()
        except BadReply as error:
            self._error = error
            raise

    def _next_reply(self) -> Reply | None:
        while (line := self._take_line()) is not None:
            if len(line) <= _MAX_CACHED_LINE_OCTETS:
                parsed = _parse_short_reply(line)
            else:
                parsed = parse_reply_line(line)
            if isinstance(parsed, Reply):
                if not self._lines:
                    self._keep(parsed)
                    self._reply_start = self._line_start
                    return parsed
                parsed = parse_reply_line(line)
            self._add_line(parsed)
            if parsed.is_last:
                reply = _build_reply(self._lines)
                self._lines = []
                self._reply_start = self._line_start
                return reply
        return None

    def _keep(self, reply: Reply) -> None:
        """Note a reply of one line, to be known when it comes again."""
        if len(self._known) >= _MAX_WHOLE_REPLIES:
            self._known.clear()
        octets = self._buffer[self._reply_start : self._line_start]
        if len(octets) <= _MAX_CACHED_OCTETS and octets.endswith(b"\r\n"):
            self._known[octets] = reply

    def _take_line(self) -> bytes | None:
        """Take a line without its end, or None if it is still incomplete."""
        buffer, start, limits = self._buffer, self._line_start, self._limits
        end = buffer.find(b"\n", self._searched)
        size = (len(buffer) if end < 0 else end) + 1 - start
        if size > limits.max_line_octets:
            raise BadReply(f"reply line over {limits.max_line_octets} octets")
        if start + size - self._reply_start > limits.max_octets:
            raise BadReply(f"reply over {limits.max_octets} octets")
        if end < 0:
            self._searched = len(buffer)
            return None
        self._line_start = self._searched = end + 1
        if buffer.endswith(b"\r", start, end):
            return buffer[start : end - 1]
        if self._is_lenient:
            return buffer[start:end]
        raise BadReply("reply line that ends in a bare LF")

    def _add_line(self, line: ReplyLine) -> None:
        """Add to the reply under way what must agree with the lines before."""
        lines = self._lines
        if lines and lines[0].code != line.code:
            # RFC 5321 section 4.2.1: the code of each line must be the same.
            raise BadReply(f"reply of codes {lines[0].code} and {line.code}")
        if len(lines) >= self._limits.max_lines:
            raise BadReply(f"reply over {self._limits.max_lines} lines")
        lines.append(line)

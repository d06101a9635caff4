"""Replies: what a server says, built by one end and read by the other.

A :class:`Reply` is a value: a code, an enhanced code and lines of text. Whatever its
text holds, :meth:`Reply.encode` gives well-formed reply lines, so neither a handler
nor anything it quotes can split a reply or forge one.

:class:`ReplyDecoder` goes the other way. It is strict, because a client that pairs a
reply with the wrong command loses mail: a malformed reply means that the two ends
are out of step, and the only safe answer is to close the connection.

Replies that the protocol itself demands have names at the end of this module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from smtpx.errors import BadReply
from smtpx.wire.octets import escape_octets

# RFC 5321 section 4.5.3.1.5: a reply line with its code and CRLF.
MAX_REPLY_LINE_OCTETS: Final = 512

# RFC 3463 section 2: class is 2, 4 or 5; subject and detail have one to three digits.
_ENHANCED_CODE = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})", re.ASCII)

# The same where a reply's text begins (RFC 2034 section 4).
_ENHANCED_PREFIX = re.compile(_ENHANCED_CODE.pattern + r"(?: |$)", re.ASCII)

# What a textstring may not hold (RFC 5321 section 4.2): controls but for the tab. C1
# controls drive terminals, U+2028 and U+2029 split lines of logs, and a lone surrogate
# has no encoding, except those that stand for undecodable octets (surrogateescape,
# U+DC80 to U+DCFF).
_UNSAFE_TEXT = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udc7f\udd00-\udfff]"
)

# Strict: codes start with 2 to 5; nothing in SMTP uses 1yz (RFC 5321 section 4.2.1).
# Lenient: the ABNF allows a second digit of 0 to 5 only, and demands text or at least
# the space after the code.
_REPLY_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)

# RFC 4954 section 4: a challenge is one line of base64, up to 12,288 octets long, so
# the limit of 512 octets does not hold for it.
_SASL_CHALLENGE: Final = 334


class EnhancedCode(NamedTuple):
    """An enhanced status code, such as 5.1.1 (RFC 3463 section 2).

    Attributes:
        klass: 2 success, 4 temporary failure, 5 permanent failure.
        subject: what it is about: 1 addresses, 2 mailbox, 7 security, and so on.
        detail: the condition itself.

    >>> str(EnhancedCode(5, 1, 1))
    '5.1.1'
    """

    klass: int
    subject: int
    detail: int

    @classmethod
    def parse(cls, text: str) -> EnhancedCode:
        """Read a code written as three numbers with dots (RFC 3463 section 2).

        Args:
            text: the code alone.

        Returns:
            The code.

        Raises:
            ValueError: the text is not an enhanced code.

        >>> EnhancedCode.parse("4.7.28")
        EnhancedCode(klass=4, subject=7, detail=28)
        """
        return _parse_enhanced_code(text)

    def __str__(self) -> str:
        return f"{self.klass}.{self.subject}.{self.detail}"


# Few codes are in use, and every reply has one.
@lru_cache(maxsize=256)
def _parse_enhanced_code(text: str) -> EnhancedCode:
    match = _ENHANCED_CODE.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is no enhanced code; write one such as '5.1.1', or None"
        )
    return EnhancedCode(int(match[1]), int(match[2]), int(match[3]))


@lru_cache(maxsize=256)
def _line_openings(code: int, enhanced: EnhancedCode | None) -> tuple[bytes, bytes]:
    """Return what begins each line of a reply but the last, and what begins the last.

    RFC 5321 section 4.2: the space is sent even when no text follows.
    """
    tail = f"{enhanced} " if enhanced else ""
    return f"{code}-{tail}".encode("ascii"), f"{code} {tail}".encode("ascii")


def _split_lines(text: str) -> tuple[str, ...]:
    """Split a text at its line ends; make each line fit to be sent.

    A CR that ends no line, and any other control but the tab, becomes a question
    mark: a text quotes what peers send, and must not end a reply line early.
    """
    if text.isprintable():
        return (text,)
    lines = text.replace("\r\n", "\n").split("\n")
    return tuple(_UNSAFE_TEXT.sub("?", line) for line in lines)


@dataclass(frozen=True, slots=True, init=False)
class Reply:
    r"""A reply to a command (RFC 5321 section 4.2).

    Args:
        code: 200 to 599.
        enhanced: the enhanced status code (RFC 2034), as text or parsed; its class
            must be the first digit of ``code``.
        text: what people read. A line feed starts another line of the reply; any
            other control but the tab becomes ``?``.

    Attributes:
        code: as given.
        enhanced: parsed, or None.
        lines: the lines of the text, at least one.

    Raises:
        ValueError: no such code, or one that disagrees with the enhanced code.

    >>> Reply(250, "2.1.5", "recipient OK").encode()
    b'250 2.1.5 recipient OK\r\n'
    >>> Reply(550, "5.7.1", "not\nhere").encode()
    b'550-5.7.1 not\r\n550 5.7.1 here\r\n'
    """

    code: int
    enhanced: EnhancedCode | None
    lines: tuple[str, ...]
    _wire: bytes | None = field(compare=False, repr=False)

    def __init__(
        self, code: int, enhanced: str | EnhancedCode | None = None, text: str = ""
    ) -> None:
        if not 200 <= code <= 599:
            raise ValueError(f"a reply code is 200 to 599, not {code}")
        if enhanced is not None:
            # Through the parser in both cases: a made-up tuple may be no code either.
            enhanced = _parse_enhanced_code(str(enhanced))
            if enhanced.klass != code // 100:
                raise ValueError(
                    f"enhanced code {enhanced} disagrees with reply code {code}"
                )
        set_field = object.__setattr__
        set_field(self, "code", code)
        set_field(self, "enhanced", enhanced)
        set_field(self, "lines", _split_lines(text))
        set_field(self, "_wire", None)

    @property
    def text(self) -> str:
        r"""The text without codes, its lines joined by ``\n``."""
        return "\n".join(self.lines)

    @property
    def is_positive(self) -> bool:
        """Whether the command was carried out (2yz)."""
        return self.code < 300

    @property
    def is_intermediate(self) -> bool:
        """Whether the server waits for more of the same command (3yz)."""
        return 300 <= self.code < 400

    @property
    def is_temporary(self) -> bool:
        """Whether the command failed but may work later (4yz)."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """Whether the command failed and will fail again (5yz)."""
        return self.code >= 500

    def __str__(self) -> str:
        codes = f"{self.code} {self.enhanced}" if self.enhanced else str(self.code)
        return f"{codes} {self.text}".rstrip()

    def with_enhanced_default(self) -> Reply:
        r"""Give the reply an enhanced code if it has none and needs one.

        RFC 2034 section 4 wants one on every 2yz, 4yz and 5yz reply but the greeting
        and those to HELO and EHLO, which is why the caller decides.

        Returns:
            This reply, or one with ``x.0.0``.

        >>> Reply(250, None, "fine").with_enhanced_default().encode()
        b'250 2.0.0 fine\r\n'
        """
        if self.enhanced is not None or self.is_intermediate:
            return self
        return Reply(self.code, EnhancedCode(self.code // 100, 0, 0), self.text)

    def encode(self) -> bytes:
        r"""Write the reply as it is sent (RFC 5321 section 4.2).

        The enhanced code stands on each line (RFC 2034 section 4). A line that would
        be longer than 512 octets (RFC 5321 section 4.5.3.1.5) is folded into several,
        at a space where there is one; a SASL challenge is not, as RFC 4954 section 4
        gives it 12,288.

        Returns:
            The reply lines, each with its CRLF; computed once.

        >>> Reply(334).encode()
        b'334 \r\n'
        """
        wire = self._wire
        if wire is None:
            wire = self._encode()
            object.__setattr__(self, "_wire", wire)
        return wire

    def _encode(self) -> bytes:
        opening, last_opening = _line_openings(self.code, self.enhanced)
        room = MAX_REPLY_LINE_OCTETS - len(opening) - len(b"\r\n")
        rows: list[bytes] = []
        for line in self.lines:
            octets = line.encode("utf-8", "surrogateescape")
            if len(octets) <= room or self.code == _SASL_CHALLENGE:
                rows.append(octets)
            else:
                rows.extend(_fold(octets, room))
        last = last_opening + rows.pop() + b"\r\n"
        return b"".join([*(opening + row + b"\r\n" for row in rows), last])


def _fold(octets: bytes, room: int) -> list[bytes]:
    """Cut a line into pieces of at most ``room`` octets, whole characters each."""
    pieces = []
    start = 0
    while len(octets) - start > room:
        end = octets.rfind(b" ", start + 1, start + room + 1)
        if end > 0:
            pieces.append(octets[start:end])
            start = end + 1
            continue
        end = start + room
        # A UTF-8 sequence has at most three continuation octets; text that is not
        # UTF-8 may have any number, and is cut where it must be.
        for back in range(4):
            if octets[end - back] & 0xC0 != 0x80:
                end -= back
                break
        pieces.append(octets[start:end])
        start = end
    pieces.append(octets[start:])
    return pieces


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
    Reply(code=250, enhanced=None, lines=('mx.example.com', 'PIPELINING'))
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


# --- Named replies: those that the protocol demands, whoever writes the server. ------
# The codes are those of RFC 5321 section 4.2.3 and, enhanced, RFC 5248 section 2.4.

OK: Final = Reply(250, "2.0.0", "OK")
SENDER_OK: Final = Reply(250, "2.1.0", "sender OK")
RECIPIENT_OK: Final = Reply(250, "2.1.5", "recipient OK")
START_DATA: Final = Reply(354, None, "end data with <CRLF>.<CRLF>")
MESSAGE_ACCEPTED: Final = Reply(250, "2.0.0", "message accepted")
CANNOT_VERIFY: Final = Reply(252, "2.5.0", "cannot VRFY, try RCPT and see")
GOODBYE: Final = Reply(221, "2.0.0", "goodbye")
READY_FOR_TLS: Final = Reply(220, "2.0.0", "ready to start TLS")
AUTHENTICATED: Final = Reply(235, "2.7.0", "authentication succeeded")

# Syntax and order.
LINE_TOO_LONG: Final = Reply(500, "5.5.2", "line too long")
NOT_IMPLEMENTED: Final = Reply(502, "5.5.1", "command not implemented")
UTF8_NOT_ALLOWED: Final = Reply(553, "5.6.7", "UTF-8 address without SMTPUTF8")

# Messages. A bare CR or LF is how a second message is smuggled past a relay
# (CVE-2023-51764).
MESSAGE_TOO_LARGE: Final = Reply(552, "5.3.4", "message too large")
BARE_NEWLINE: Final = Reply(550, "5.6.0", "message holds a bare CR or LF")
TOO_MANY_RECIPIENTS: Final = Reply(452, "4.5.3", "too many recipients")
TOO_MANY_DOMAINS: Final = Reply(452, "4.5.3", "too many recipient domains")
NO_VALID_RECIPIENTS: Final = Reply(554, "5.5.1", "no valid recipients")
LOCAL_ERROR: Final = Reply(451, "4.3.0", "local error, try again later")

# AUTH (RFC 4954 section 6) and STARTTLS (RFC 3207 section 4).
AUTH_CANCELLED: Final = Reply(501, "5.7.0", "authentication cancelled")
AUTH_FAILED: Final = Reply(535, "5.7.8", "authentication credentials invalid")
AUTH_LINE_TOO_LONG: Final = Reply(500, "5.5.6", "authentication line too long")
AUTH_REQUIRED: Final = Reply(530, "5.7.0", "authentication required")
AUTH_UNAVAILABLE: Final = Reply(454, "4.7.0", "temporary authentication failure")
BAD_BASE64: Final = Reply(501, "5.5.2", "not base64")
MECHANISM_NEEDS_TLS: Final = Reply(538, "5.7.11", "mechanism needs encryption")
UNKNOWN_MECHANISM: Final = Reply(504, "5.5.4", "unknown authentication mechanism")
TLS_REQUIRED: Final = Reply(530, "5.7.0", "issue STARTTLS first")

# The end of the connection, whatever the client does (RFC 5321 section 3.8).
TOO_MANY_ERRORS: Final = Reply(421, "4.7.0", "too many errors")
TOO_MANY_AUTH_FAILURES: Final = Reply(421, "4.7.0", "too many failed authentications")
IDLE_TIMEOUT: Final = Reply(421, "4.4.2", "idle for too long")
SHUTTING_DOWN: Final = Reply(421, "4.3.2", "server is shutting down")
TOO_MANY_CONNECTIONS: Final = Reply(421, "4.7.0", "too many connections")

"""Replies: what a server says, built by one end and read by the other.

A :class:`Reply` is a value: a code, an enhanced code and lines of text. Whatever its
text holds, :meth:`Reply.encode` gives well-formed reply lines, so neither a handler
nor anything it quotes can split a reply or forge one. `smtpx.wire.reply_decoder` goes
the other way.

Replies that the protocol itself demands have names at the end of this module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

# RFC 5321 section 4.5.3.1.5: a reply line with its code and CRLF.
MAX_REPLY_LINE_OCTETS: Final = 512

# RFC 3463 section 2: class is 2, 4 or 5; subject and detail have one to three digits.
ENHANCED_CODE = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})", re.ASCII)

# What a textstring may not hold (RFC 5321 section 4.2): controls but for the tab. C1
# controls drive terminals, U+2028 and U+2029 split lines of logs, and a lone surrogate
# has no encoding, except those that stand for undecodable octets (surrogateescape,
# U+DC80 to U+DCFF).
_UNSAFE_TEXT = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udc7f\udd00-\udfff]"
)

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
    match = ENHANCED_CODE.fullmatch(text)
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

    def __repr__(self) -> str:
        # As it is written: results are full of replies, and people print results.
        enhanced = None if self.enhanced is None else str(self.enhanced)
        return f"Reply({self.code}, {enhanced!r}, {self.text!r})"

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

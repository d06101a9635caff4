r"""The dialogue that a message came with, recorded for people to read.

Theory of operation. The server's wire log, secrets hidden, is written to a `Recorder`.
It keeps what was said at the begin of a session (greeting, EHLO, TLS, AUTH) as one
segment, and begins another at each MAIL. The dialogue of a message is the first segment
and its own, and those that follow until the server has answered it: a client that
pipelines says the next MAIL before it hears what became of the message before. Segments
are shared, so a line is kept once, however many dialogues it belongs to.

Of a long segment the begin and the end are kept: a client cannot fill the memory with
commands.

>>> recorder = Recorder(clock=lambda: 0.0)
>>> recorder.open("4XkQ")
>>> recorder.write("4XkQ", "S: 220 mail.test ESMTP")
>>> recorder.write("4XkQ", "C: MAIL FROM:<a@example.com>")
>>> dialogue = recorder.begin("4XkQ", "first", replies=1)
>>> recorder.write("4XkQ", "S: 250 2.0.0 queued as first")
>>> [(line.origin, line.text) for line in dialogue.lines()]
[('S', '220 mail.test ESMTP'), ('C', 'MAIL FROM:<a@example.com>'),
 ('S', '250 2.0.0 queued as first')]
"""

from __future__ import annotations

import re
import time
from array import array
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "FIRST_LINES",
    "LAST_LINES",
    "MAX_SEGMENTS",
    "Dialogue",
    "DialogueLine",
    "Recorder",
    "parse_line",
]

FIRST_LINES: Final = 300
"""Of a segment; a message to a hundred recipients has some two hundred."""

LAST_LINES: Final = 100
"""Of a segment that has more than `FIRST_LINES`."""

MAX_SEGMENTS: Final = 16
"""Of one dialogue. A client that pipelines more transactions has the rest left out."""

# Of the time and the line end that are kept with each line.
_LINE_OCTETS: Final = 9

_CONTENT: Final = re.compile(r"C: \((\d+) octets of content\)")


class DialogueLine(NamedTuple):
    """One line of a dialogue.

    Attributes:
        origin: ``C``, the client; ``S``, the server; ``-``, neither.
        text: what it said, secrets hidden.
        at: when, in seconds since 1970.
    """

    origin: str
    text: str
    at: float


def parse_line(text: str, at: float) -> DialogueLine:
    """Take a line of the wire log apart.

    Args:
        text: such as ``C: NOOP`` or ``== TLS ==``.
        at: when it was written.

    >>> parse_line("== TLS ==", 1.5)
    DialogueLine(origin='-', text='TLS', at=1.5)
    """
    if text.startswith("=="):
        return DialogueLine("-", text.strip("= "), at)
    return DialogueLine(text[0], text[3:], at)


class _Segment:
    """Some lines of a session: the first of them, and the last."""

    __slots__ = (
        "_content",
        "_last",
        "_sealed",
        "_texts",
        "_times",
        "left_out",
        "octets",
    )

    def __init__(self) -> None:
        self.octets = 0
        self.left_out = 0
        self._texts: list[str] = []
        self._times = array("d")
        self._sealed: str | None = None
        self._last: deque[tuple[float, str]] | None = None
        # Of the message of which the last line tells.
        self._content = 0

    def add(self, at: float, text: str) -> None:
        """Add a line."""
        if text.endswith(" octets of content)"):
            text = self._join_content(text)
        elif self._content:
            self._content = 0
        self.octets += len(text) + _LINE_OCTETS
        if len(self._texts) < FIRST_LINES:
            self._texts.append(text)
            self._times.append(at)
            return
        if self._last is None:
            self._last = deque()
        self._last.append((at, text))
        if len(self._last) > LAST_LINES:
            _, gone = self._last.popleft()
            self.octets -= len(gone) + _LINE_OCTETS
            self.left_out += 1

    def _join_content(self, text: str) -> str:
        """Make one line of the blocks in which a message came."""
        match = _CONTENT.fullmatch(text)
        if match is None:
            return text
        if self._content:
            self._take_back()
        self._content += int(match[1])
        return f"C: ({self._content} octets of content)"

    def _take_back(self) -> None:
        if self._last:
            _, gone = self._last.pop()
        else:
            gone = self._texts.pop()
            self._times.pop()
        self.octets -= len(gone) + _LINE_OCTETS

    def seal(self) -> None:
        """Add no more: one string takes a third of the memory of many."""
        if self._sealed is None:
            self._sealed = "\n".join(self._texts)
            self._texts = []

    def lines(self) -> Iterable[DialogueLine]:
        """Iterate over the lines, and say how many are missing."""
        texts = self._texts if self._sealed is None else self._sealed.split("\n")
        for at, text in zip(self._times, texts, strict=False):
            yield parse_line(text, at)
        if self.left_out and self._last:
            yield DialogueLine("-", f"{self.left_out} lines left out", self._last[0][0])
        for at, text in self._last or ():
            yield parse_line(text, at)


@dataclass(slots=True, eq=False)
class Dialogue:
    """What was said around one message. It grows until the message is answered.

    Attributes:
        message: the name of the message.
    """

    message: str
    _segments: list[_Segment]
    _replies: int

    @property
    def octets(self) -> int:
        """How much memory it takes, about; what it shares with others counted in."""
        return sum(segment.octets for segment in self._segments)

    def lines(self) -> list[DialogueLine]:
        """List what was said so far."""
        return [line for segment in self._segments for line in segment.lines()]


class _Session:
    """What a recorder knows of one session."""

    __slots__ = ("first", "now", "unanswered", "unsettled")

    def __init__(self) -> None:
        self.first = self.now = _Segment()
        # Those whose message is not answered yet, by its name ...
        self.unanswered: dict[str, Dialogue] = {}
        # ... and those that are, but to which what is said next belongs as well.
        self.unsettled: list[Dialogue] = []


class Recorder:
    """Records the dialogues of all sessions of a server.

    Args:
        on_settled: is told of a dialogue to which nothing will be added any more.
        clock: tells the time in seconds since 1970.
    """

    def __init__(
        self,
        on_settled: Callable[[Dialogue], None] | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._on_settled = on_settled
        self._clock = clock
        self._sessions: dict[str, _Session] = {}

    def open(self, session: str) -> None:
        """Record a session from now on.

        Args:
            session: its id.
        """
        self._sessions[session] = _Session()

    def write(self, session: str, text: str) -> None:
        """Record a line; `smtpx.ServerOptions` takes this as ``wire_log``.

        Args:
            session: whose line it is; those that are not open are passed over.
            text: of the wire log.
        """
        log = self._sessions.get(session)
        if log is None:
            return
        if text[:7].upper() == "C: MAIL":
            self._begin_segment(log)
        log.now.add(self._clock(), text)
        if log.unanswered and text.startswith("S: 2"):
            self._take_answer(log, text.rpartition(" ")[2])

    def begin(self, session: str, message: str, *, replies: int) -> Dialogue:
        """Return the dialogue of a message that has just come.

        Args:
            session: in which it came.
            message: its name, which ends each reply that accepts it.
            replies: how many of these there will be: one, in LMTP more.
        """
        log = self._sessions.get(session)
        if log is None:
            return Dialogue(message, [], replies)
        segments = [log.first] if log.now is log.first else [log.first, log.now]
        dialogue = log.unanswered[message] = Dialogue(message, segments, replies)
        return dialogue

    def close(self, session: str) -> None:
        """Take note that a session is over.

        Args:
            session: its id.
        """
        log = self._sessions.pop(session, None)
        if log is not None:
            log.now.seal()
            self._settle([*log.unsettled, *log.unanswered.values()])

    def _begin_segment(self, log: _Session) -> None:
        log.now.seal()
        log.now = _Segment()
        self._settle(log.unsettled)
        log.unsettled = []
        for dialogue in log.unanswered.values():
            if len(dialogue._segments) < MAX_SEGMENTS:
                dialogue._segments.append(log.now)

    def _take_answer(self, log: _Session, message: str) -> None:
        dialogue = log.unanswered.get(message)
        if dialogue is None:
            return
        dialogue._replies -= 1
        if dialogue._replies <= 0:
            del log.unanswered[message]
            log.unsettled.append(dialogue)

    def _settle(self, dialogues: Iterable[Dialogue]) -> None:
        if self._on_settled is not None:
            for dialogue in dialogues:
                self._on_settled(dialogue)

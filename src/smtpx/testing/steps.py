"""What a transcript holds: its steps, its other lines, and how replies are compared."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from smtpx.wire.replies import Reply

__all__ = [
    "HOOKS",
    "MAX_REPEATED_OCTETS",
    "ClientAction",
    "ClientSays",
    "Mark",
    "Reaction",
    "ReplyPattern",
    "ServerOctets",
    "ServerSays",
    "Setting",
    "Signal",
    "Step",
    "Then",
    "Transcript",
    "TranscriptError",
    "TranscriptMismatch",
    "Wait",
    "decode_escapes",
    "escape",
    "match_reply",
]

# What a hook is called in a transcript: the methods of smtpx.Session, plus "delivery"
# (one recipient's status in LMTP) and "login" (the password check).
HOOKS = frozenset(
    {
        "authorize",
        "command",
        "connected",
        "data",
        "delivery",
        "etrn",
        "expand",
        "hello",
        "help",
        "login",
        "mail",
        "rcpt",
        "start_data",
        "start_tls",
        "verify",
        "xclient",
        "xforward",
    }
)

# What ``with`` sets that the core of a server knows nothing of.
_AROUND_THE_CORE = frozenset(
    {
        "early_talkers",
        "error_delay",
        "greeting_delay",
        "plaintext_networks",
        "rate",
        "unlimited_networks",
    }
)

# Enough to see how the conversation came to the line that differs.
_CONTEXT_LINES = 8


class TranscriptError(ValueError):
    """A transcript that cannot be read; the message names file and line."""


class TranscriptMismatch(AssertionError):
    """A conversation that differs from its transcript; the message is a diff."""


class Mark(enum.Enum):
    """What happens in a conversation beside lines."""

    TLS = "TLS"
    CLOSE = "CLOSE"
    HANG_UP = "HANG UP"
    END_TLS = "END TLS"


@dataclasses.dataclass(frozen=True, slots=True)
class ClientSays:
    """Octets of the client that are given at once.

    Attributes:
        number: the first line in the file, from 1.
        octets: all of them, line ends included.
    """

    number: int
    octets: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class ReplyPattern:
    """One line of a reply as a transcript writes it.

    Attributes:
        number: the line in the file.
        code: the three digits.
        is_last: a space, not a hyphen, follows the code.
        text: what follows; ``None`` leaves it free.
        has_more: further lines may follow, ``(more)``.
    """

    number: int
    code: str
    is_last: bool
    text: str | None
    has_more: bool = False

    # Between the code and the text, or after a code that stands alone.
    _LINE: ClassVar[re.Pattern[str]] = re.compile(r"([0-9]{3})(?:([- ])(.*))?")

    @classmethod
    def parse(cls, number: int, text: str) -> ReplyPattern | None:
        """Read what stands behind ``S:``; ``None`` when it is no reply line.

        >>> ReplyPattern.parse(1, "250-mx.test (more)")
        ReplyPattern(number=1, code='250', is_last=False, text='mx.test', has_more=True)
        """
        has_more = text.endswith("(more)")
        text = text.removesuffix("(more)").rstrip()
        found = cls._LINE.fullmatch(text)
        if found is None:
            return None
        code, separator, rest = found.groups()
        return cls(number, code, separator != "-", rest, has_more)

    def matches(self, line: str) -> bool:
        """Whether a line of a reply, without CRLF, is one that is written here."""
        if line[:3] != self.code:
            return False
        if not self.has_more and (line[3:4] != "-") is not self.is_last:
            return False
        if self.text is None:
            return True
        parts = (re.escape(part) for part in self.text.split("*"))
        return re.fullmatch(".*".join(parts), line[4:], re.DOTALL) is not None


@dataclasses.dataclass(frozen=True, slots=True)
class ServerSays:
    """One reply of the server, of one line or several."""

    lines: tuple[ReplyPattern, ...]

    @property
    def number(self) -> int:
        """The first line in the file."""
        return self.lines[0].number

    @property
    def code(self) -> str:
        """The code that all lines share."""
        return self.lines[0].code

    def octets(self) -> bytes:
        """The reply as a scripted server sends it; a free text becomes ``ok``."""
        last = len(self.lines) - 1
        return b"".join(
            (
                f"{line.code}{' ' if index == last else '-'}"
                f"{'ok' if line.text is None else line.text.replace('*', 'ok')}\r\n"
            ).encode()
            for index, line in enumerate(self.lines)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class ServerOctets:
    """Octets of the server, exactly as written."""

    number: int
    octets: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Signal:
    """A `Mark` and its line."""

    number: int
    mark: Mark


@dataclasses.dataclass(frozen=True, slots=True)
class Wait:
    """Time that passes, in seconds."""

    number: int
    seconds: float


Step = ClientSays | ServerSays | ServerOctets | Signal | Wait


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """An option that ``with`` sets; ``value`` is ``None`` for a bare name."""

    number: int
    name: str
    value: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Reaction:
    """What a hook of the session does.

    Attributes:
        number: the line in the file.
        kind: ``refuse``, ``reply``, ``fail`` or ``hang``.
        hook: one of `HOOKS`.
        argument: the address, name or text it applies to; ``None`` for any.
        reply: what it answers; ``None`` for ``fail`` and ``hang``.
    """

    number: int
    kind: str
    hook: str
    argument: str | None
    reply: Reply | None


@dataclasses.dataclass(frozen=True, slots=True)
class ClientAction:
    """Something a client is asked to do.

    Attributes:
        number: the line in the file.
        verb: ``send``, ``commands``, ``with``, or a method of the client.
        arguments: ``name=value`` pairs in order; a bare word has an empty value.
        raised: the name of the exception that must come of it, if one must.
        outcome: what the result or the exception must hold.
    """

    number: int
    verb: str
    arguments: tuple[tuple[str, str], ...]
    raised: str | None
    outcome: tuple[tuple[str, str], ...]

    def values(self, name: str) -> tuple[str, ...]:
        """Every value that is given under a name, in order."""
        return tuple(value for key, value in self.arguments if key == name)


@dataclasses.dataclass(frozen=True, slots=True)
class Then:
    """A line that says what must hold in the end."""

    number: int
    words: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Transcript:
    """A transcript file, read.

    Attributes:
        name: the file as messages name it.
        source: its lines.
        rule: the rule that its first line names.
        plays: the sides it is played against: ``server``, ``client`` or both.
        settings: what ``with`` sets, in order.
        reactions: what hooks do, in order; the first that applies is taken.
        logins: who may log in, with which password.
        ignores_body: the data hook returns without reading.
        actions: what the client is asked to do.
        message: the message that the client sends, or ``None``.
        steps: the conversation.
        ends: what must hold in the end.
    """

    name: str
    source: tuple[str, ...]
    rule: str
    plays: frozenset[str]
    settings: tuple[Setting, ...]
    reactions: tuple[Reaction, ...]
    logins: Mapping[str, str]
    ignores_body: bool
    actions: tuple[ClientAction, ...]
    message: bytes | None
    steps: tuple[Step, ...]
    ends: tuple[Then, ...]

    @property
    def has_free_texts(self) -> bool:
        """Whether replies are compared by their code alone."""
        return self.has_setting("free-texts")

    @property
    def needs_clock(self) -> bool:
        """Whether only a driver with a clock plays it, and with a server around a core.

        Time passes in it, or a guard is asked.
        """
        return any(isinstance(step, Wait) for step in self.steps) or any(
            setting.name in _AROUND_THE_CORE for setting in self.settings
        )

    @property
    def needs_tls(self) -> bool:
        """Whether TLS is negotiated in it."""
        return any(
            isinstance(step, Signal) and step.mark is Mark.TLS for step in self.steps
        )

    def has_setting(self, name: str) -> bool:
        """Whether ``with`` names an option."""
        return any(setting.name == name for setting in self.settings)

    def mismatch(
        self, number: int, driver: str, problem: str, *, heard: Sequence[str] = ()
    ) -> TranscriptMismatch:
        """Make the exception that shows where a conversation left its transcript.

        Args:
            number: the line of the file at which they differ.
            driver: who played it.
            problem: what differs, in a sentence.
            heard: what was heard in place of the line, if anything.
        """
        first = max(0, number - _CONTEXT_LINES)
        shown = [f"{self.name}:{number}: [{driver}] {problem}"]
        shown += [
            f"{index:5}   {line}"
            for index, line in enumerate(self.source[first : number - 1], first + 1)
        ]
        shown.append(f"{number:5} - {self.source[number - 1]}")
        shown += [f"      + {line}" for line in heard]
        return TranscriptMismatch("\n".join(shown))


def match_reply(
    patterns: Sequence[ReplyPattern], heard: Sequence[str], *, codes_only: bool
) -> ReplyPattern | None:
    """Compare a reply with what is written.

    Args:
        patterns: the lines of the transcript.
        heard: the lines of the whole reply, without CRLF.
        codes_only: the texts and the number of lines are free.

    Returns:
        ``None`` when they agree, else the first line of the transcript that differs.

    >>> written = [ReplyPattern(7, "250", True, "2.0.0 *")]
    >>> match_reply(written, ["250 2.0.0 fine"], codes_only=False)
    >>> match_reply(written, ["451 4.3.0 no"], codes_only=False).number
    7
    """
    if codes_only:
        codes = {line[:3] for line in heard}
        return None if codes == {patterns[0].code} else patterns[0]
    position = 0
    may_skip = False
    for pattern in patterns:
        while (
            may_skip and position < len(heard) and not pattern.matches(heard[position])
        ):
            position += 1
        if position >= len(heard) or not pattern.matches(heard[position]):
            return pattern
        position += 1
        may_skip = pattern.has_more
    return None if position == len(heard) or may_skip else patterns[-1]


#: What one escape may stand for: twice the largest message that a server takes unless
#: it is told otherwise (`Limits.max_message_octets`).
MAX_REPEATED_OCTETS: Final = 100 * 1024 * 1024

_ESCAPE = re.compile(r'\\(?:([rnt0\\"])|x([0-9A-Fa-f]{2})|\{([0-9]+) ([^}]*)\}|(.?))')
_NAMED = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\", '"': b'"'}


def decode_escapes(text: str) -> bytes:
    r"""Decode what stands behind ``C|`` or ``S|``.

    Raises:
        ValueError: an escape that does not exist, or that stands for over 100 MiB.

    >>> decode_escapes(r"a\r\n\x2e\{3 -}")
    b'a\r\n.---'
    """
    octets = bytearray()
    position = 0
    for found in _ESCAPE.finditer(text):
        octets += text[position : found.start()].encode()
        position = found.end()
        named, code, count, repeated, unknown = found.groups()
        if unknown is not None:
            raise ValueError(f"there is no escape \\{unknown}")
        if named is not None:
            octets += _NAMED[named]
        elif code is not None:
            octets.append(int(code, 16))
        else:
            once, times = decode_escapes(repeated), int(count)
            if len(once) * times > MAX_REPEATED_OCTETS:
                raise ValueError(
                    f"\\{{{count} ...}} is over {MAX_REPEATED_OCTETS} octets: write a "
                    "test in Python for so many"
                )
            octets += once * times
    octets += text[position:].encode()
    return bytes(octets)


def escape(octets: bytes, *, limit: int = 400) -> str:
    r"""Show octets as ``C|`` writes them, cut at a limit.

    >>> escape(b"a\r\n\x00")
    'a\\r\\n\\x00'
    """
    shown = octets[:limit].decode("latin-1").encode("unicode_escape").decode("ascii")
    return shown if len(octets) <= limit else f"{shown}... ({len(octets)} octets)"

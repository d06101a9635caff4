r"""Transcripts: conversations written as the RFCs write their examples.

Theory of operation. A transcript is a text file, one behaviour a file, whose first
line says which rule it holds::

    # RFC 5321 section 4.1.4: RCPT before MAIL is out of order
    with hostname=mx.test
    S: 220 mx.test ESMTP *
    C: EHLO client.test
    S: 250-mx.test (more)
    C: RCPT TO:<b@mx.test>
    S: 503 5.5.1 *
    then nothing delivered

This module reads such a file into a `Transcript`. The drivers play it: against the
server's core whole, octet by octet and pipelined (`smtpx.testing.server_drivers`);
against the asyncio server over a socket (`smtpx.testing.asyncio_driver`); and reversed,
serving `smtpx.Client` and `smtpx.AsyncClient` (`smtpx.testing.client_drivers`).
`smtpx.testing.drivers` starts them.

The lines of the conversation:

- ``C: text``: a line of the client, sent with CRLF. Neighbouring lines are given at
  once, as one segment.
- ``C| octets``: octets of the client, exactly as written. Escapes: ``\r \n \t \0
  \\ \" \xNN``, and ``\{1000 text}`` for a text a thousand times.
- ``S: 250 text``: a line of the server. ``*`` stands for any text; ``S: 250`` alone
  leaves the whole text free. ``250-text (more)``: further lines may follow.
- ``S| octets``: octets of the server, exactly as written.
- ``== TLS ==``: both sides negotiate TLS. ``== CLOSE ==``: the server closes.
  ``== HANG UP ==``: the client is gone. ``== WAIT 3s ==``: time passes, on a fake
  clock. ``== END TLS ==``: the writer of the script says that TLS ends, and what it
  says then is in plaintext.

The lines about the conversation:

- ``with name=value name ...``: options of the server, or of the test; ``with
  free-texts`` compares codes alone, for examples whose texts are another server's;
  ``with one-segment`` is for what must not be parted.
- ``refuse|reply|fail|hang hook [argument] [code [enhanced] text]``: what a hook of
  the session does. ``fail`` raises an unforeseen exception, ``hang`` never returns.
  ``login user password``: who may log in. ``ignore body``: the data hook returns
  without reading.
- ``client ...``: what the client is asked to do, ``-> raised Name key=value`` or ``->
  accepted=...`` behind it what comes of it; ``client send from=... to=...`` may have
  ``mail="..."`` and ``rcpt="..."``, parameters of the two commands. ``M: text``: a line
  of the message that it sends. ``for server`` or ``for client``: play one side only.
- ``then delivered sender recipients "content"``, ``then nothing delivered``, ``then
  name value``: what the session must have received in the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from smtpx.testing.steps import (
    HOOKS,
    ClientAction,
    ClientSays,
    Mark,
    Reaction,
    ReplyPattern,
    ServerOctets,
    ServerSays,
    Setting,
    Signal,
    Step,
    Then,
    Transcript,
    TranscriptError,
    Wait,
    decode_escapes,
)
from smtpx.wire.replies import Reply

__all__ = ["parse_transcript", "read_transcript"]

_WAIT = re.compile(r"WAIT ([0-9]+(?:\.[0-9]+)?)s")
_WORD = re.compile(r'(?:[^\s"]|"(?:[^"\\]|\\.)*")+')


class _Reader:
    """Collects a file's lines into a transcript; one method a kind of line."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.source = tuple(text.removesuffix("\n").split("\n"))
        self.number = 0
        self.plays: set[str] = set()
        self.settings: list[Setting] = []
        self.reactions: list[Reaction] = []
        self.logins: dict[str, str] = {}
        self.ignores_body = False
        self.actions: list[ClientAction] = []
        self.message: bytearray | None = None
        self.steps: list[Step] = []
        self.ends: list[Then] = []
        # A neighbour of the same speaker continues; anything else comes between.
        self.previous = ""

    def read(self) -> Transcript:
        if not self.source or not self.source[0].startswith("# "):
            raise TranscriptError(
                f"{self.name}:1: the first line says which rule, `# `"
            )
        for number, line in enumerate(self.source, 1):
            self.number = number
            if not line.strip() or line.startswith("#"):
                self.previous = ""
                continue
            word = line.split(None, 1)[0]
            reader = self.READERS.get(line[:2]) or self.READERS.get(word)
            if reader is None:
                raise self.error(f"a line cannot begin with {word!r}")
            try:
                reader(self, line)
            except TranscriptError:
                raise
            except ValueError as problem:
                raise self.error(str(problem)) from problem
            self.previous = line[:1]
        return self.finish()

    def finish(self) -> Transcript:
        if not self.steps:
            raise self.error("there is no conversation")
        free = any(setting.name == "free-texts" for setting in self.settings)
        for step in self.steps:
            if not isinstance(step, ServerSays):
                continue
            last = step.lines[-1]
            if not (free or last.is_last or last.has_more):
                self.number = last.number
                raise self.error("the reply is not finished; write `(more)`")
        return Transcript(
            name=self.name,
            source=self.source,
            rule=self.source[0].removeprefix("# "),
            plays=frozenset(
                self.plays or ({"server", "client"} if self.actions else {"server"})
            ),
            settings=tuple(self.settings),
            reactions=tuple(self.reactions),
            logins=self.logins,
            ignores_body=self.ignores_body,
            actions=tuple(self.actions),
            message=None if self.message is None else bytes(self.message),
            steps=tuple(self.steps),
            ends=tuple(self.ends),
        )

    def error(self, problem: str) -> TranscriptError:
        return TranscriptError(f"{self.name}:{self.number}: {problem}")

    # Each takes the whole line.

    def client_line(self, line: str) -> None:
        self.client_octets(line[3:].encode() + b"\r\n")

    def client_raw(self, line: str) -> None:
        self.client_octets(decode_escapes(line[3:]))

    def client_octets(self, octets: bytes) -> None:
        last = self.steps[-1] if self.steps else None
        if self.previous == "C" and isinstance(last, ClientSays):
            self.steps[-1] = ClientSays(last.number, last.octets + octets)
        else:
            self.steps.append(ClientSays(self.number, octets))

    def server_line(self, line: str) -> None:
        pattern = ReplyPattern.parse(self.number, line[3:])
        if pattern is None:
            raise self.error("a reply line is three digits and a text; else write S|")
        last = self.steps[-1] if self.steps else None
        if self.previous == "S" and isinstance(last, ServerSays):
            before = last.lines[-1]
            # Behind `(more)` a line with the same code is one of those to come:
            # only the answer to EHLO has it, and nothing is pipelined behind EHLO.
            is_open = (
                pattern.code == before.code if before.has_more else not before.is_last
            )
            if is_open:
                self.steps[-1] = ServerSays((*last.lines, pattern))
                return
        self.steps.append(ServerSays((pattern,)))

    def server_raw(self, line: str) -> None:
        self.steps.append(ServerOctets(self.number, decode_escapes(line[3:])))

    def mark(self, line: str) -> None:
        text = line.strip("= ")
        wait = _WAIT.fullmatch(text)
        if wait is not None:
            self.steps.append(Wait(self.number, float(wait.group(1))))
        else:
            self.steps.append(Signal(self.number, Mark(text)))

    def message_line(self, line: str) -> None:
        octets = (
            decode_escapes(line[3:])
            if line.startswith("M|")
            else line[3:].encode() + b"\r\n"
        )
        self.message = (self.message or bytearray()) + octets

    def with_settings(self, line: str) -> None:
        for word in _words(line)[1:]:
            name, equals, value = word.partition("=")
            self.settings.append(Setting(self.number, name, value if equals else None))

    def reaction(self, line: str) -> None:
        kind, hook, *rest = line.split(None, 3)
        if hook not in HOOKS:
            raise self.error(f"there is no hook {hook!r}")
        # Behind the hook an argument may stand; a reply begins with its code.
        argument = (
            rest.pop(0) if rest and not re.fullmatch("[1-5][0-9]{2}", rest[0]) else None
        )
        reply = _parse_reply(" ".join(rest)) if rest else None
        if (reply is None) is not (kind in {"fail", "hang"}):
            raise self.error("refuse and reply need a reply, fail and hang take none")
        self.reactions.append(Reaction(self.number, kind, hook, argument, reply))

    def login(self, line: str) -> None:
        _, user, password = _words(line)
        self.logins[user] = password

    def ignore(self, line: str) -> None:
        if line.split() != ["ignore", "body"]:
            raise self.error("only the body can be ignored")
        self.ignores_body = True

    def play(self, line: str) -> None:
        side = line.split()[1:]
        if side not in (["server"], ["client"]):
            raise self.error("write `for server` or `for client`")
        self.plays.update(side)

    def client_action(self, line: str) -> None:
        asked, _, outcome = line.partition(" -> ")
        words = _words(asked)[1:]
        if not words:
            raise self.error("what is the client to do?")
        results = _words(outcome)
        raised = None
        if results[:1] == ["raised"]:
            if len(results) == 1:
                raise self.error("name the exception: raised DataRefused")
            raised, results = results[1], results[2:]
        self.actions.append(
            ClientAction(
                self.number, words[0], _pairs(words[1:]), raised, _pairs(results)
            )
        )

    def then(self, line: str) -> None:
        self.ends.append(Then(self.number, tuple(_words(line)[1:])))

    READERS: ClassVar[Mapping[str, Callable[[_Reader, str], None]]] = {
        "C:": client_line,
        "C|": client_raw,
        "S:": server_line,
        "S|": server_raw,
        "M:": message_line,
        "M|": message_line,
        "==": mark,
        "with": with_settings,
        "refuse": reaction,
        "reply": reaction,
        "fail": reaction,
        "hang": reaction,
        "login": login,
        "ignore": ignore,
        "for": play,
        "client": client_action,
        "then": then,
    }


def _words(text: str) -> list[str]:
    """Split at spaces; a quoted part is kept as it stands, quotes included."""
    return _WORD.findall(text)


def _pairs(words: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Split ``name=value`` words; a value in quotes loses them."""
    pairs = []
    for word in words:
        name, _, value = word.partition("=")
        if value.startswith('"') and value.endswith('"'):
            value = decode_escapes(value[1:-1]).decode()
        pairs.append((name, value))
    return tuple(pairs)


def _parse_reply(text: str) -> Reply:
    r"""Read ``550 5.1.1 text`` or ``250 text``; ``\n`` in the text parts lines."""
    code, _, rest = text.partition(" ")
    enhanced = re.match(r"[245]\.[0-9]+\.[0-9]+(?: |$)", rest)
    rest = rest[enhanced.end() :] if enhanced else rest
    return Reply(
        int(code),
        enhanced.group().strip() if enhanced else None,
        decode_escapes(rest).decode("utf-8", "surrogateescape"),
    )


def parse_transcript(text: str, name: str = "transcript") -> Transcript:
    r"""Read a transcript.

    Args:
        text: the lines of the file.
        name: what messages call it.

    Raises:
        TranscriptError: it cannot be read; the message names the line.

    >>> parse_transcript("# a rule\nC: NOOP\nS: 250\n").steps[0]
    ClientSays(number=2, octets=b'NOOP\r\n')
    """
    return _Reader(name, text).read()


def read_transcript(path: Path) -> Transcript:
    """Read a transcript file (UTF-8).

    Raises:
        TranscriptError: it cannot be read; the message names file and line.
        OSError: the file cannot be opened.
    """
    return parse_transcript(path.read_text(encoding="utf-8"), str(path))

"""A server machine with a session that grants all, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from smtpx.core import events
from smtpx.core.config import ServerConfig
from smtpx.core.server import ServerMachine
from smtpx.core.trace import WireLog
from smtpx.wire.replies import Reply

CONFIG = ServerConfig(hostname="mx.test")
LMTP = ServerConfig(hostname="mx.test", is_lmtp=True)

#: Events that wait for an answer.
ANSWERED = (
    events.ClientConnected,
    events.HelloReceived,
    events.MailReceived,
    events.RcptReceived,
    events.DataRequested,
    events.MessageComplete,
    events.VrfyReceived,
    events.ExpnReceived,
    events.EtrnReceived,
    events.HelpReceived,
    events.StartTLSRequested,
    events.AuthQuestion,
    events.Authenticated,
    events.XClientReceived,
    events.XForwardReceived,
    events.CommandReceived,
)

Answers = Mapping[type, Reply | Callable[[ServerMachine, Any], None]]


@dataclass
class Talk:
    """A machine, what it was told, and what it told.

    Attributes:
        machine: under test.
        answers: a reply, or what to do, for each kind of event; else it is granted.
        seen: the events, with blocks of content that follow each other joined.
        messages: the content of complete messages.
    """

    machine: ServerMachine
    answers: Answers = field(default_factory=dict)
    seen: list[events.Event] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    content: list[bytes] = field(default_factory=list)
    sent: bytes = b""

    def pump(self) -> None:
        """Answer events until there is none."""
        while (event := self.machine.next_event()) is not None:
            self.note(event)
            if isinstance(event, ANSWERED):
                answer = self.answers.get(type(event))
                if callable(answer):
                    answer(self.machine, event)
                elif isinstance(event, events.AuthQuestion) and answer is None:
                    self.machine.answer_question(True)
                else:
                    self.machine.answer(answer)
        self.sent += self.machine.data_to_send()

    def note(self, event: events.Event) -> None:
        last = self.seen[-1] if self.seen else None
        if isinstance(event, events.BodyReceived):
            self.content.append(event.data)
            if isinstance(last, events.BodyReceived):
                self.seen[-1] = events.BodyReceived(last.data + event.data)
                return
        elif isinstance(event, events.MessageComplete):
            self.messages.append(b"".join(self.content))
            self.content.clear()
        elif isinstance(event, events.MessageAborted):
            self.content.clear()
        self.seen.append(event)

    def say(self, *pieces: bytes) -> bytes:
        """Give octets to the machine, piece by piece; return what it sends."""
        before = len(self.sent)
        for piece in pieces:
            self.machine.receive_data(piece)
            self.pump()
        return self.sent[before:]

    def codes(self, *pieces: bytes) -> list[int]:
        return reply_codes(self.say(*pieces))

    def kinds(self) -> list[type]:
        return [type(event) for event in self.seen]


def talk(
    config: ServerConfig = CONFIG,
    answers: Answers | None = None,
    *,
    is_tls: bool = False,
    is_local: bool = False,
    log: list[str] | None = None,
) -> Talk:
    """Begin a session; the greeting is out."""
    trace = None if log is None else WireLog(log.append)
    machine = ServerMachine(config, is_tls=is_tls, is_local=is_local, trace=trace)
    started = Talk(machine, answers or {})
    started.pump()
    return started


def hello(config: ServerConfig = CONFIG) -> bytes:
    return b"LHLO c.test\r\n" if config.is_lmtp else b"EHLO c.test\r\n"


def ready(
    config: ServerConfig = CONFIG,
    answers: Answers | None = None,
    *,
    is_tls: bool = False,
    is_local: bool = False,
    log: list[str] | None = None,
) -> Talk:
    """Begin a session and say EHLO."""
    started = talk(config, answers, is_tls=is_tls, is_local=is_local, log=log)
    assert started.codes(hello(config)) == [250]
    return started


ENVELOPE = b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\n"


def replies_of(octets: bytes) -> list[list[bytes]]:
    """Split into replies, each a list of its lines."""
    assert octets == b"" or octets.endswith(b"\r\n")
    replies: list[list[bytes]] = []
    lines: list[bytes] = []
    for line in octets.split(b"\r\n")[:-1]:
        assert len(line) <= 510 or line.startswith(b"334 ")
        assert line[:3].isdigit()
        lines.append(line)
        if line[3:4] != b"-":
            replies.append(lines)
            lines = []
    assert not lines
    return replies


def reply_codes(octets: bytes) -> list[int]:
    return [int(lines[0][:3]) for lines in replies_of(octets)]


def singly(octets: bytes) -> Iterator[bytes]:
    """Cut into single octets."""
    return (octets[at : at + 1] for at in range(len(octets)))


def cut(octets: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut at places."""
    edges = [0, *sorted(places), len(octets)]
    return [octets[start:end] for start, end in pairwise(edges)]

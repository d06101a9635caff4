"""Play transcripts against the server's core: whole, octet by octet, and pipelined.

There is no socket and no clock here. A driver gives the client's octets to a
`smtpx.core.server.ServerMachine`, answers its events as the transcript's hooks do, and
compares what comes out.

>>> from smtpx.testing.transcripts import parse_transcript
>>> play_whole(parse_transcript('''# RFC 5321 section 4.1.1.9: NOOP is 250
... S: 220 *
... C: NOOP
... S: 250 2.0.0 *
... '''))
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from smtpx.core import events
from smtpx.core.config import ServerConfig
from smtpx.core.server import ServerMachine
from smtpx.core.states import ServerState
from smtpx.errors import Refuse
from smtpx.sasl.mechanism import CheckPassword
from smtpx.server.listener import Server
from smtpx.server.proxied import Gateways
from smtpx.server.session import Session
from smtpx.testing.scripted import (
    Delivered,
    Received,
    Script,
    ScriptedFailure,
    check_ends,
    forwarded_text,
    path_text,
    session_class,
)
from smtpx.testing.settings import server_options
from smtpx.testing.steps import (
    ClientSays,
    Mark,
    ServerOctets,
    ServerSays,
    Signal,
    Step,
    Transcript,
    escape,
    match_reply,
)
from smtpx.wire import replies
from smtpx.wire.replies import Reply

__all__ = ["CORE_DRIVERS", "play_octets", "play_pipelined", "play_whole"]


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """What a client gives at once, and what is expected of the server then."""

    pieces: tuple[bytes, ...]
    expected: tuple[ServerSays | ServerOctets, ...]


class ReplyReader:
    """Takes replies off the octets of a server, and compares them.

    It knows no more of replies than their line ends and hyphens, so that it is no judge
    in its own cause.

    Args:
        transcript: what is written.
        driver: who plays, for messages.
    """

    def __init__(self, transcript: Transcript, driver: str) -> None:
        self._transcript = transcript
        self._driver = driver
        self._octets = bytearray()

    def feed(self, octets: bytes) -> None:
        """Take octets of the server."""
        self._octets += octets

    def is_complete(self, step: ServerSays | ServerOctets) -> bool:
        """Whether there is enough to compare a step with."""
        if isinstance(step, ServerOctets):
            return len(self._octets) >= len(step.octets)
        return self._end_of_reply() is not None

    def compare(self, step: ServerSays | ServerOctets) -> None:
        """Take what a step is about, and compare.

        Raises:
            TranscriptMismatch: they differ, or too little was heard.
        """
        if isinstance(step, ServerOctets):
            end: int | None = len(step.octets)
            heard = bytes(self._octets[:end])
            if heard != step.octets:
                raise self._mismatch(step.number, "other octets", [escape(heard)])
        else:
            end = self._end_of_reply()
            if end is None:
                shown = [escape(bytes(self._octets))] if self._octets else []
                raise self._mismatch(step.number, "no reply, or half a reply", shown)
            lines = bytes(self._octets[:end]).decode("utf-8", "surrogateescape")
            self._compare_reply(step, lines.split("\r\n")[:-1])
        del self._octets[:end]

    def expect_nothing(self, number: int) -> None:
        """Check that nothing is left.

        Raises:
            TranscriptMismatch: the server said more than is written.
        """
        if self._octets:
            heard = bytes(self._octets).decode("utf-8", "surrogateescape")
            raise self._mismatch(
                number, "the server said more", heard.split("\r\n")[:8]
            )

    def _compare_reply(self, step: ServerSays, heard: Sequence[str]) -> None:
        wrong = match_reply(
            step.lines, heard, codes_only=self._transcript.has_free_texts
        )
        if wrong is not None:
            raise self._mismatch(wrong.number, "another reply", heard)

    def _end_of_reply(self) -> int | None:
        start = 0
        while (end := self._octets.find(b"\r\n", start)) >= 0:
            if self._octets[start + 3 : start + 4] != b"-":
                return end + 2
            start = end + 2
        return None

    def _mismatch(self, number: int, problem: str, heard: Sequence[str]) -> Exception:
        return self._transcript.mismatch(
            number, self._driver, problem, heard=[f"S: {line}" for line in heard]
        )


# --- the session behind the core ----------------------------------------------------


class CoreSession:
    """A machine, and a session that answers its events as a transcript says.

    Args:
        transcript: its settings make the machine, its reactions answer.
    """

    def __init__(self, transcript: Transcript) -> None:
        session = session_class(transcript)
        options = server_options(transcript)
        self._gateways = Gateways(options)
        self._config = Server(Session, options=options).config_for(session)
        self.machine = ServerMachine(
            self._config_for("127.0.0.1"), is_local=True, now=datetime.now(UTC)
        )
        self.received = Received()
        self.is_closed = False
        self._script = Script(transcript)
        self._content = bytearray()

    def receive(self, octets: bytes) -> None:
        """Give octets of the client to the machine, and answer what it asks."""
        self.machine.receive_data(octets)
        self.pump()

    def pump(self) -> None:
        """Answer events until there is none."""
        while (event := self.machine.next_event()) is not None:
            answer = self._ANSWERS.get(type(event))
            if answer is not None:
                answer(self, event)

    def _hook(self, hook: str, argument: str = "") -> Reply | None:
        """Run a hook; what it raises becomes a reply, as the server has it."""
        try:
            return self._script.react(hook, argument)
        except Refuse as refusal:
            return Reply(refusal.code, refusal.enhanced, refusal.text)
        except ScriptedFailure:
            return replies.LOCAL_ERROR

    def _connected(self, _event: events.ClientConnected) -> None:
        self.machine.answer(self._hook("connected"))

    def _hello(self, event: events.HelloReceived) -> None:
        self.machine.answer(self._hook("hello", event.name))

    def _mail(self, event: events.MailReceived) -> None:
        self.received.mail = event.options
        self.machine.answer(self._hook("mail", path_text(event.reverse_path)))

    def _rcpt(self, event: events.RcptReceived) -> None:
        address = str(event.recipient.mailbox)
        self.received.rcpt[address] = event.recipient.options
        self.machine.answer(self._hook("rcpt", address))

    def _data(self, _event: events.DataRequested) -> None:
        self._content.clear()
        self.machine.answer(self._hook("start_data"))

    def _body(self, event: events.BodyReceived) -> None:
        self._content += event.data

    def _complete(self, _event: events.MessageComplete) -> None:
        envelope = self.machine.envelope
        assert envelope is not None, "a message is part of a transaction"  # noqa: S101
        self.received.forwarded = forwarded_text(self.machine.forwarded)
        reply = self._hook("data")
        if (reply is None or reply.is_positive) and not self._script.ignores_body:
            self.received.messages.append(
                Delivered(
                    path_text(envelope.reverse_path),
                    tuple(str(each.mailbox) for each in envelope.recipients),
                    bytes(self._content),
                )
            )
        if self._script.has_deliveries:
            for recipient in envelope.recipients:
                status = self._script.status(recipient.mailbox)
                if status is not None:
                    self.machine.set_status(recipient.index, status)
        self.machine.answer(reply)

    def _verify(self, event: events.VrfyReceived) -> None:
        self.machine.answer(self._hook("verify", event.text))

    def _expand(self, event: events.ExpnReceived) -> None:
        self.machine.answer(self._hook("expand", event.text))

    def _etrn(self, event: events.EtrnReceived) -> None:
        self.machine.answer(self._hook("etrn", event.node))

    def _config_for(self, host: str | None) -> ServerConfig:
        return self._config.for_gateway(self._gateways.verbs(host, is_unix=False))

    def _xclient(self, event: events.XClientReceived) -> None:
        command = event.command
        refusal = self._hook("xclient", command.argument)
        if refusal is not None and not refusal.is_positive:
            self.machine.answer(refusal)
            return
        host = "127.0.0.1" if command.addr is None else command.addr
        config = self._config_for(host if isinstance(host, str) else None)
        self.machine.restart(config, is_local=command.addr is None)

    def _xforward(self, event: events.XForwardReceived) -> None:
        self.machine.answer(self._hook("xforward", event.command.argument))

    def _command(self, event: events.CommandReceived) -> None:
        command = f"{event.verb} {event.argument}".strip()
        self.machine.answer(self._hook("command", command))

    def _help(self, event: events.HelpReceived) -> None:
        self.machine.answer(self._hook("help", event.topic))

    def _starttls(self, _event: events.StartTLSRequested) -> None:
        self.machine.answer(self._hook("start_tls"))

    def _question(self, event: events.AuthQuestion) -> None:
        question = event.question
        assert isinstance(question, CheckPassword), question  # noqa: S101
        # What keeps the check from an answer is temporary (RFC 4954 section 6).
        if self._hook("login", question.user) is not None:
            self.machine.answer(replies.AUTH_UNAVAILABLE)
            return
        is_right = self._script.is_right(question.user, question.password)
        self.machine.answer_question(is_right)

    def _authenticated(self, event: events.Authenticated) -> None:
        identity = event.identity
        if identity.authorize_as not in ("", identity.user):
            self.machine.answer(replies.AUTH_FAILED)
        else:
            self.machine.answer(self._hook("authorize", identity.user))

    def _ended(self, _event: events.ConnectionEnded) -> None:
        self.is_closed = True

    _ANSWERS: ClassVar[Mapping[type[Any], Callable[[CoreSession, Any], None]]] = {
        events.ClientConnected: _connected,
        events.HelloReceived: _hello,
        events.MailReceived: _mail,
        events.RcptReceived: _rcpt,
        events.DataRequested: _data,
        events.BodyReceived: _body,
        events.MessageComplete: _complete,
        events.VrfyReceived: _verify,
        events.ExpnReceived: _expand,
        events.EtrnReceived: _etrn,
        events.CommandReceived: _command,
        events.XClientReceived: _xclient,
        events.XForwardReceived: _xforward,
        events.HelpReceived: _help,
        events.StartTLSRequested: _starttls,
        events.AuthQuestion: _question,
        events.Authenticated: _authenticated,
        events.ConnectionEnded: _ended,
    }


# --- the drivers --------------------------------------------------------------------


class _CorePlay:
    """One transcript on one machine."""

    def __init__(self, transcript: Transcript, driver: str) -> None:
        self.transcript = transcript
        self.driver = driver
        self.session = CoreSession(transcript)
        self.reader = ReplyReader(transcript, driver)

    def play(self, turns: Iterable[Turn | Signal]) -> None:
        self.session.pump()
        last = len(self.transcript.source)
        for turn in turns:
            if isinstance(turn, Signal):
                self.signal(turn)
                continue
            for piece in turn.pieces:
                self.session.receive(piece)
            self.listen()
            for step in turn.expected:
                self.reader.compare(step)
            self.reader.expect_nothing(self.last_line(turn))
        self.session.machine.receive_eof()
        self.session.pump()
        self.listen()
        self.reader.expect_nothing(last)
        if not self.session.is_closed:
            raise self.transcript.mismatch(
                last, self.driver, "the session did not end with its client"
            )
        machine, received = self.session.machine, self.session.received
        received.hello = machine.hello_name
        received.user = None if machine.identity is None else machine.identity.user
        check_ends(self.transcript, self.driver, received)

    def listen(self) -> None:
        self.reader.feed(self.session.machine.data_to_send())

    def last_line(self, turn: Turn) -> int:
        steps = turn.expected
        if not steps:
            return len(self.transcript.source)
        last = steps[-1]
        return last.lines[-1].number if isinstance(last, ServerSays) else last.number

    def signal(self, signal: Signal) -> None:
        session = self.session
        if signal.mark is Mark.TLS:
            if session.machine.state is not ServerState.TLS:
                raise self.transcript.mismatch(
                    signal.number, self.driver, "the server does not wait for TLS"
                )
            session.machine.tls_started()
        elif signal.mark is Mark.HANG_UP:
            session.machine.receive_eof()
            session.pump()
            self.listen()
            self.reader.expect_nothing(signal.number)
        elif not session.is_closed:
            raise self.transcript.mismatch(
                signal.number, self.driver, "the server did not close"
            )


def group(steps: Sequence[Step]) -> Iterator[Turn | Signal]:
    """Bring steps into turns: what the client gives at once, and the replies to it."""
    said: list[bytes] = []
    expected: list[ServerSays | ServerOctets] = []
    for step in steps:
        if isinstance(step, ServerSays | ServerOctets):
            expected.append(step)
            continue
        if said or expected:
            yield Turn(tuple(said), tuple(expected))
            said, expected = [], []
        if isinstance(step, ClientSays):
            said.append(step.octets)
        elif isinstance(step, Signal):
            yield step
    if said or expected:
        yield Turn(tuple(said), tuple(expected))


# RFC 2920 section 3.1 and RFC 4954 section 4: a client waits for the reply to these.
# DATA is not among them: what follows a 354 that is written is known to be content.
_BARRIERS = (b"EHLO", b"HELO", b"LHLO", b"STARTTLS", b"AUTH")


def pipeline(turns: Iterable[Turn | Signal]) -> Iterator[Turn | Signal]:
    """Join turns as far as a client may pipeline."""
    said: list[bytes] = []
    expected: list[ServerSays | ServerOctets] = []
    for turn in turns:
        if isinstance(turn, Signal):
            if said or expected:
                yield Turn((b"".join(said),), tuple(expected))
                said, expected = [], []
            yield turn
            continue
        said += turn.pieces
        expected += turn.expected
        if _is_barrier(turn):
            yield Turn((b"".join(said),), tuple(expected))
            said, expected = [], []
    if said or expected:
        yield Turn((b"".join(said),), tuple(expected))


def _is_barrier(turn: Turn) -> bool:
    if not turn.pieces:
        return True  # the greeting
    lines = b"".join(turn.pieces).upper().split(b"\r\n")
    if any(line.startswith(_BARRIERS) for line in lines):
        return True
    # Inside a SASL exchange each response waits for its challenge.
    return any(
        step.code == "334" if isinstance(step, ServerSays) else b"334" in step.octets
        for step in turn.expected
    )


def play_whole(transcript: Transcript) -> None:
    """Play a transcript on the core, neighbouring client lines in one segment.

    Raises:
        TranscriptMismatch: the conversation differs from the transcript.
    """
    _CorePlay(transcript, "core, whole").play(group(transcript.steps))


def play_octets(transcript: Transcript) -> None:
    """Play a transcript on the core, one octet at a time.

    Raises:
        TranscriptMismatch: the conversation differs from the transcript.
    """
    turns = (
        turn
        if isinstance(turn, Signal)
        else Turn(
            tuple(bytes([octet]) for octet in b"".join(turn.pieces)), turn.expected
        )
        for turn in group(transcript.steps)
    )
    _CorePlay(transcript, "core, octet by octet").play(turns)


def play_pipelined(transcript: Transcript) -> None:
    """Play a transcript on the core, all that may be pipelined in one segment.

    Raises:
        TranscriptMismatch: the conversation differs from the transcript.
    """
    _CorePlay(transcript, "core, pipelined").play(pipeline(group(transcript.steps)))


CORE_DRIVERS: Mapping[str, Callable[[Transcript], None]] = {
    "whole": play_whole,
    "octets": play_octets,
    "pipelined": play_pipelined,
}

"""Both machines: sessions out of commands and out of any octets, cut anywhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

from fuzz.source import Source, pieces_of
from smtpx.core import events
from smtpx.core.client import ClientMachine
from smtpx.core.client_base import Asked
from smtpx.core.client_states import ClientState
from smtpx.core.limits import Limits
from smtpx.core.states import ServerState
from smtpx.errors import BadReply, BadSyntax, UnsafeOctets
from smtpx.wire.address import Mailbox
from smtpx.wire.commands import (
    Auth,
    Bdat,
    Command,
    Data,
    Ehlo,
    Helo,
    Lhlo,
    Mail,
    Noop,
    Quit,
    Raw,
    Rcpt,
    Rset,
    StartTLS,
    Vrfy,
)
from smtpx.wire.options import MailOptions, RcptOptions
from smtpx.wire.replies import Reply
from tests.core.judged import REGISTRY, Judged, make_config
from tests.core.machines import replies_of
from tests.framing import oracle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smtpx.core.config import ServerConfig

__all__ = ["client_replies", "conversation", "server_commands", "server_octets"]

# What comes in one segment with STARTTLS ends the session; what comes behind it, but
# before the handshake, never reaches the machine. So the segmentation matters there.
_STARTTLS: Final = re.compile(rb"(?<=STARTTLS\r\n)", re.IGNORECASE)

_LIMITS: Final = (
    Limits(),
    Limits(
        max_command_octets=300,
        max_auth_octets=400,
        max_message_octets=60,
        max_message_line_octets=40,
        max_recipients=2,
        max_errors=4,
        max_commands=12,
        max_transactions=2,
    ),
    Limits(max_errors=1_000, max_message_octets=1_000, max_recipient_domains=1),
)


def _config(source: Source) -> tuple[ServerConfig, list[int]]:
    # SMTP, LMTP, or what the first greeting makes of it. The octet is that of a flag
    # with one more bit, so that the inputs of the corpora mean what they meant.
    kind = source.octet()
    limits = source.choice(_LIMITS)
    decisions = [source.octet() for _ in range(4)]
    config = make_config(
        is_lmtp=bool(kind & 1), limits=limits, takes_both=bool(kind & 2)
    )
    return config, decisions


def server_octets(octets: bytes) -> None:
    """The server's machine is told anything, cut in three ways."""
    source = Source(octets)
    config, decisions = _config(source)
    seed = source.octet()
    stream = source.rest()
    told = []
    flights = _STARTTLS.split(stream)
    for cut in (lambda one: [one], _singly, lambda one: pieces_of(one, seed)):
        session = Judged(config=config, decisions=decisions)
        for flight in flights:
            _tell(session, cut(flight))
        session.end()
        assert session.is_closed
        _check_events(session.seen)
        told.append((session.sent, session.seen, session.messages))
    assert told[0] == told[1] == told[2]
    if not (config.is_lmtp or config.takes_lmtp_too):
        # A reply to each line at the most, the greeting, and one to what is no line.
        assert len(replies_of(told[0][0])) <= stream.count(b"\n") + 2


def _singly(octets: bytes) -> list[bytes]:
    return pieces_of(octets, 0)


def _tell(session: Judged, pieces: Iterable[bytes]) -> None:
    """Say something, and do the handshake that may be due."""
    for piece in pieces:
        session.receive(piece)
    if session.machine.state is ServerState.TLS:
        session.machine.tls_started()


def _check_events(seen: list[object]) -> None:
    """A message has one sender, a recipient, and one end."""
    senders = recipients = begun = ended = 0
    for event in seen:
        if isinstance(event, events.MailReceived):
            senders, recipients = senders + 1, 0
        elif isinstance(event, tuple) and event[0] == "rcpt":
            assert senders
            recipients += 1
        elif isinstance(event, events.DataRequested):
            assert recipients
            begun += 1
        elif isinstance(event, events.MessageComplete | events.MessageAborted):
            ended += 1
            assert ended <= begun
    assert seen[-1][0] == "ended" if isinstance(seen[-1], tuple) else False


# ------------------------------------------------------------- command by command

_LINES: Final = (
    *(b"EHLO c.test", b"LHLO c.test", b"HELO c.test", b"MAIL FROM:<a@c.test>"),
    *(b"MAIL FROM:<>", b"RCPT TO:<b@mx.test>", b"RCPT TO:<c@mx.test>", b"RSET"),
    *(b"MAIL FROM:<a@c.test> SIZE=50 BODY=8BITMIME", b"RCPT TO:<d@other.test>"),
    *(b"RCPT TO:<b@mx.test> NOTIFY=NEVER", b"NOOP", b"QUIT", b"VRFY b", b"HELP"),
    *(b"AUTH PLAIN AHVzZXIAcGVuY2ls", b"STARTTLS", b"XPING", b"ETRN example.com"),
    *(b"MAIL FROM:<a@c.test> BODY=BINARYMIME", b"EXPN list", b"nonsense", b""),
)


def server_commands(octets: bytes) -> None:
    """The server's machine, command by command: each has one reply, and one meaning.

    An octet says what comes next: one of the usual lines, any line, a message by DATA
    or a chunk by BDAT, of any content.
    """
    source = Source(octets)
    config, decisions = _config(source)
    session = Judged(config=config, decisions=decisions)
    ending: list[bytes] = []
    session.on_message = ending.append
    chunks = b""
    while not (source.is_empty or session.is_closed):
        what = source.octet()
        seed = what >> 6
        ending.clear()
        if what % 32 < len(_LINES):
            line = _LINES[what % 32]
            _say(session, line + b"\r\n", seed)
        elif what % 32 == 31:
            _say_any_line(session, source.word(), seed)
        elif what % 32 < 28:
            _say_data(session, source.word(), seed, ending)
        else:
            is_last = bool(what & 1)
            chunk = source.word()
            chunks = _say_chunk(session, chunk, chunks, seed, is_last, ending)
        if session.machine.is_body_open is False:
            chunks = b""
    session.end()
    _check_events(session.seen)
    for event in session.seen:
        # Content is content, whatever became of the message that it was in.
        if not isinstance(event, events.BodyReceived):
            assert "EVIL" not in repr(event)


def _say(session: Judged, octets: bytes, seed: int, count: int = 1) -> list[int]:
    """Say something that must have so many replies."""
    found = session.feed(octets, map(len, pieces_of(octets, seed)) if octets else ())
    codes = [int(lines[0][:3]) for lines in found]
    is_over = codes[-1:] == [421] and session.is_closed
    assert len(codes) == count or is_over, (octets, codes)
    if codes == [334]:
        return _say(session, b"*\r\n", seed)
    if session.machine.state is ServerState.DATA:
        assert codes == [354]
        _say(session, b"RSET\r\n.\r\n", seed, _statuses(session))
    return codes


def _statuses(session: Judged) -> int:
    envelope = session.machine.envelope
    if not session.machine.is_lmtp or envelope is None:
        return 1
    return len(envelope.recipients)


def _say_any_line(session: Judged, line: bytes, seed: int) -> None:
    line = line.replace(b"\r", b"").replace(b"\n", b"").replace(b"EVIL", b"")
    if line[:4].upper() not in {b"DATA", b"BDAT"} and line[:2] != b"\x16\x03":
        _say(session, line + b"\r\n", seed)


def _say_data(session: Judged, text: bytes, seed: int, ending: list[bytes]) -> None:
    found = session.feed(b"DATA\r\n")
    assert len(found) == 1
    if found[0][0][:3] != b"354":
        return
    content = text + b"\r\nRCPT TO:<EVIL@mx.test>\r\n"
    wire = oracle.encode(content)
    if seed & 1:
        # A body with bare line ends goes as it is; stuffed by the server's own rules.
        wire = b"\r\n".join(
            b"." + one if one.startswith(b".") else one
            for one in content.split(b"\r\n")
        )
        wire += b".\r\n"
    expected = oracle.decode(wire)[0]
    codes = _say(session, wire, seed, _statuses(session))
    if any(code < 300 for code in codes):
        assert ending == [expected]
        assert not oracle.has_bare_newline(expected)


def _say_chunk(
    session: Judged,
    chunk: bytes,
    chunks: bytes,
    seed: int,
    is_last: bool,
    ending: list[bytes],
) -> bytes:
    chunk += b"\r\nRCPT TO:<EVIL@mx.test>\r\n"
    wire = Bdat(len(chunk), is_last).encode() + chunk
    count = _statuses(session) if is_last else 1
    if session.machine.state not in {ServerState.RCPT, ServerState.BDAT}:
        count = 1
    codes = _say(session, wire, seed, count)
    chunks += chunk
    if is_last and any(code < 300 for code in codes):
        assert ending == [chunks]
    return chunks


# ---------------------------------------------------------------------- the client

_BOX: Final = Mailbox("b", "mx.test")
_COMMANDS: Final[tuple[Command, ...]] = (
    *(Ehlo("c.test"), Helo("c.test"), Lhlo("c.test"), Mail(None), Mail(_BOX)),
    *(Mail(_BOX, MailOptions(size=5, smtputf8=True)), Rcpt(_BOX), Data(), Rset()),
    *(Rcpt(_BOX, RcptOptions(valid_since=None)), StartTLS(), Auth("PLAIN", b"x")),
    *(Auth("LOGIN", None), Noop(""), Vrfy("b"), Quit(), Raw("XPING", "1")),
)
_DOCUMENTED: Final = (RuntimeError, BadReply, BadSyntax, UnsafeOctets)
_Said: TypeAlias = tuple[str, object, object]


def client_replies(octets: bytes) -> None:
    """The client's machine says anything, and is told anything, cut in three ways."""
    heard = [_converse(octets, seed) for seed in (None, 0, (octets or b"\0")[0])]
    assert heard[0] == heard[1] == heard[2]


def _converse(octets: bytes, seed: int | None) -> list[_Said]:
    source = Source(octets[1:])
    machine = ClientMachine(is_lmtp=source.flag(), registry=REGISTRY)
    said: list[_Said] = []
    while not source.is_empty:
        what = source.octet()
        if what >= 0x80:
            stream = source.take(what - 0x7F)
            pieces = (
                [stream] if seed is None and stream else pieces_of(stream, seed or 0)
            )
            said += _hear(machine, pieces)
        else:
            said.append(_speak(machine, what, source))
        wire = bytes(machine.data_to_send())
        said.append(("sent", wire, machine.state))
    machine.receive_eof()
    assert not machine.is_waiting
    return said


def _hear(machine: ClientMachine, pieces: Iterable[bytes]) -> list[_Said]:
    """Every reply answers one question, the oldest, and every question but once."""
    heard: list[_Said] = []
    try:
        for piece in pieces:
            machine.receive_data(piece)
            while True:
                awaited, count = machine.awaited, machine.outstanding
                answer = machine.next_reply()
                if answer is None:
                    break
                asked, reply = answer
                heard.append(("heard", asked, reply))
                if asked is Asked.NOTHING:
                    assert reply.code == 421
                elif awaited is not None:
                    assert asked is awaited
                    is_more = machine.is_lmtp and machine.awaited is awaited
                    assert (
                        machine.outstanding == count - 1
                        or is_more
                        or (machine.state in {ClientState.CLOSED, ClientState.BROKEN})
                    )
    except BadReply:
        if heard and isinstance(heard[-1][1], StartTLS):
            # What lies behind this reply in clear breaks the connection before it is
            # heard, or after, as the octets are cut; and there is no TLS either way.
            heard.pop()
        heard.append(("broken", None, None))
        assert machine.state is ClientState.BROKEN
        assert not machine.is_waiting
    return heard


def _speak(machine: ClientMachine, what: int, source: Source) -> _Said:
    before = machine.outstanding, machine.state
    try:
        if what < 0x60:
            machine.send(_COMMANDS[what % len(_COMMANDS)])
        elif what < 0x70:
            machine.send_chunk(source.take(what & 7), is_last=bool(what & 8))
        elif what < 0x74:
            machine.send_content(source.take(8))
        elif what < 0x78:
            machine.end_content()
        elif what < 0x7C:
            machine.send_response(source.take(3))
        elif machine.state is ClientState.TLS:
            machine.tls_started()
            assert len(machine.capabilities) == 0
    except _DOCUMENTED as error:
        is_broken = isinstance(error, BadReply)
        assert is_broken or (machine.outstanding, machine.state) == before
        # Of a connection out of step any call may say so, or that it is out of order.
        is_known = machine.state is not ClientState.BROKEN
        return "refused", type(error) if is_known else None, what
    return "said", what, None


# ----------------------------------------------------------------- both, back to back


def conversation(octets: bytes) -> None:
    """A client sends messages to a server: what it takes for accepted, the other has.

    The server's hooks decide by the first octets; the rest is content.
    """
    source = Source(octets)
    config, decisions = _config(source)
    server = Judged(config=config, decisions=decisions)
    is_lmtp = config.is_lmtp or (config.takes_lmtp_too and bool(decisions[0] & 1))
    client = ClientMachine(is_lmtp=is_lmtp, registry=REGISTRY)
    accepted: list[bytes] = []
    _exchange(server, client)
    _say_command(server, client, (Lhlo if is_lmtp else Ehlo)("c.test"))
    while not source.is_empty and _is_ready(client):
        by_chunks, seed, content = source.flag(), source.octet(), source.word()
        if _send(server, client, content, by_chunks=by_chunks, seed=seed):
            plain = oracle.decode(oracle.encode(content))[0]
            accepted.append(content if by_chunks else plain)
        if not _is_ready(client):
            _say_command(server, client, Rset())
    server.end()
    assert client.state is not ClientState.BROKEN
    assert accepted == server.messages[: len(accepted)] or _is_part(
        accepted, server.messages
    )


def _is_ready(client: ClientMachine) -> bool:
    return client.state is ClientState.READY


def _is_part(accepted: list[bytes], stored: list[bytes]) -> bool:
    """Whether all that was accepted is stored, in order (others were refused)."""
    left = iter(stored)
    return all(one in left for one in accepted)


def _exchange(server: Judged, client: ClientMachine) -> list[tuple[object, Reply]]:
    heard = len(server.sent) if client.state is not ClientState.GREETING else 0
    server.feed(bytes(client.data_to_send()))
    client.receive_data(server.sent[heard:])
    replies: list[tuple[object, Reply]] = []
    while (answer := client.next_reply()) is not None:
        replies.append(answer)
    assert not client.is_waiting or server.is_closed
    return replies


def _say_command(server: Judged, client: ClientMachine, command: Command) -> bool:
    try:
        client.send(command)
    except RuntimeError:
        return False
    return any(reply.is_positive for _, reply in _exchange(server, client))


def _send(
    server: Judged, client: ClientMachine, content: bytes, *, by_chunks: bool, seed: int
) -> bool:
    pieces = pieces_of(content, seed)
    if not _say_command(server, client, Mail(_BOX)):
        return False
    if not _say_command(server, client, Rcpt(_BOX)):
        return False
    if by_chunks:
        for piece in pieces:
            client.send_chunk(piece, is_last=False)
            if not all(reply.is_positive for _, reply in _exchange(server, client)):
                return False
            if client.state is not ClientState.RCPT:
                return False
        client.send_chunk(b"", is_last=True)
    else:
        client.send(Data())
        _exchange(server, client)
        if client.state is not ClientState.DATA:
            return False
        for piece in pieces:
            client.send_content(piece)
        client.end_content()
    return any(reply.is_positive for _, reply in _exchange(server, client))

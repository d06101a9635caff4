"""A server in memory that fails at a given octet, and knows who has which message.

It is no part of the library: a few lines that are plainly right, as fast as they can
be, since they are run half a million times. Messages are known by their number, and so
is each recipient: ``RCPT TO:<17.2@b.test>`` is the third recipient of message 17.

A fault strikes once in the life of a peer, when so many octets have come in, or where
so many have gone out, counted over all connections. Before and after it the peer is
sound.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.client.scripted import ScriptedRuntime

if TYPE_CHECKING:
    import random
    import ssl

    from smtpx.net.channel import Channel
    from smtpx.net.tls import TLSInfo

__all__ = ["KINDS", "Connection", "Fault", "Limits", "Peer", "Who"]

Who = tuple[int, int]
"""A recipient: the number of the message, and its own."""

#: What can go wrong, by the stream whose octets are counted: "in" is the client's.
#: The connection ends, in good order or by a reset; nothing comes any more; nothing is
#: taken any more; the next question, or the one whose answer has the octet, is answered
#: with 421, before the peer goes, or although it stays and answers on, or although it
#: takes what comes without a word; or with a refusal (452 as by OpenSMTPD, to any MAIL
#: from then on); a line comes that is no reply.
KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "in": (
        *("cut", "reset", "stall", "deaf", "421", "421 stays", "421 mute"),
        *("450", "452", "550", "garbage"),
    ),
    "out": (
        *("cut", "reset", "stall", "421", "421 stays", "421 mute"),
        *("450", "452", "550", "garbage"),
    ),
}

_REPLIES: Final = {
    "421": b"421 4.3.2 going down\r\n",
    "421 stays": b"421 4.3.2 going down, some day\r\n",
    "421 mute": b"421 4.3.2 say no more\r\n",
    "450": b"450 4.3.0 not now\r\n",
    "452": b"452 4.5.3 that was much\r\n",
    "550": b"550 5.3.0 no\r\n",
}

# None of them can be taken for an answer, and behind some of them nothing else can.
_GARBAGE: Final = (
    b"what?\r\n",
    b"\x00\xff",
    b"25",
    b"999 9.9.9 ok\r\n",
    b"354 go on\r\n",
    b"z" * 600,
    b"\n",
)


@dataclass
class Fault:
    """What goes wrong, and where.

    Attributes:
        kind: one of `KINDS`.
        side: "in" or "out".
        octet: of that stream, from 0.
        is_due: the next answer will be it.
    """

    kind: str
    side: str
    octet: int
    is_due: bool = False


@dataclass(frozen=True)
class Limits:
    """What a peer takes.

    Attributes:
        recipients: in a transaction; more are answered with 452 4.5.3.
        mails: over a connection.
        domains: likewise.
        are_told: by LIMITS; then nobody may exceed them.
    """

    recipients: int = 1_000
    mails: int = 1_000
    domains: int = 1_000
    are_told: bool = False


class Peer(ScriptedRuntime):
    """What all connections share, and what came of the messages.

    Args:
        keywords: of EHLO.
        contents: of each message.
        limits: of connections and transactions.
        fault: what will go wrong; None if nothing.
        chances: of how the octets come in pieces, and the like.
        is_lmtp: whether each recipient gets an answer.

    Attributes:
        stored: who has a message, as often as it was taken for them.
        heard: for whom the client has read a yes to the end of their message, whole.
        doubtful: for whom it has read it behind octets that are no reply.
        complaints: what the client did and must not.
        has_struck: whether the fault did.
        had_mail: whether MAIL came before it did, over the same connection.
        generated: octets that were said; the client need not have read them.
        taken: octets that came in.
    """

    def __init__(
        self,
        keywords: Iterable[str],
        contents: Mapping[int, bytes],
        limits: Limits,
        fault: Fault | None,
        chances: random.Random,
        *,
        is_lmtp: bool,
    ) -> None:
        super().__init__([])
        lines = ["mx.test", *keywords]
        if limits.are_told:
            lines.append(
                f"LIMITS RCPTMAX={limits.recipients} MAILMAX={limits.mails} "
                f"RCPTDOMAINMAX={limits.domains}"
            )
        self.hello = _reply(lines)
        self.contents = contents
        self.limits = limits
        self.fault = fault
        self.chances = chances
        self.is_lmtp = is_lmtp
        self.is_pipelining = "PIPELINING" in lines
        # Whether what was said is there as soon as it was asked for.
        self.is_eager = chances.random() < 0.5
        self.stored: list[Who] = []
        self.heard: set[Who] = set()
        self.doubtful: set[Who] = set()
        self.complaints: list[str] = []
        self.connections: list[Connection] = []
        self.has_struck = self.had_mail = False
        self.taken = self.generated = 0
        self.is_spoilt = False  # by garbage, or by what nobody may say
        self.dialogue: list[str] | None = None

    async def connect_tcp(self, *_: object, **__: object) -> Channel:
        return self.connect()

    def connect(self) -> Connection:
        connection = Connection(self)
        self.connections.append(connection)
        return connection

    def complain(self, text: str) -> None:
        self.complaints.append(text)

    def note(self, who: str, octets: bytes) -> None:
        if self.dialogue is not None and octets:
            self.dialogue.append(f"{who}{len(self.connections)} {octets!r}")


class Connection:
    """One connection, seen from the client as a channel."""

    tls: TLSInfo | None = None
    peer = "192.0.2.25:25"
    local = "192.0.2.1:40000"

    def __init__(self, server: Peer) -> None:
        self.server = server
        self.octets = b""  # that came in, and are not understood yet
        self.out = b""
        # Where `out` begins and ends, among all that was said, as long as no other
        # connection is open.
        self.read = self.said = server.generated
        self.spoilt_from = float("inf")
        # Where the answers to ends of messages end, and whose they are.
        self.acks: deque[tuple[int, Sequence[Who]]] = deque()
        self.is_left = False  # by the client
        self.is_closed = self.is_reset = self.is_silent = self.is_frozen = False
        self.is_used_up = False
        # Writes that the system takes before it knows that nobody reads.
        self.graces = server.chances.choice((0, 0, 1, 3))
        self.mails = 0
        self.domains: set[bytes] = set()
        self.is_data = self.has_mail = self.has_failed = False
        self.accepted: list[Who] = []
        self.chunks: list[bytes] = []
        self.answer(b"220 mx.test\r\n")

    # The client's end.

    @property
    def has_received(self) -> bool:
        return self.server.is_eager and bool(self.out)

    @property
    def is_readable(self) -> bool:
        return self.server.is_eager and (bool(self.out) or self.is_closed)

    def put_back(self, data: bytes) -> None:
        raise AssertionError("only a proxy leaves octets for another to read")

    async def start_tls(
        self,
        context: ssl.SSLContext,
        server_hostname: str | None,
        *,
        timeout: float | None,
    ) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        self.is_left = True

    def abort(self) -> None:
        self.is_left = True

    async def send(self, data: bytes | memoryview, *, timeout: float | None) -> None:
        server = self.server
        if self.is_left:
            server.complain("the client writes to a connection that it left")
        if self.is_closed:
            self.graces -= 1
            if self.graces < 0:
                raise BrokenPipeError("nobody reads")
            return
        if self.out and not server.is_pipelining and not server.has_struck:
            server.complain("the client does not wait for an answer")
        data = bytes(data)
        server.note("C", data)
        fault = server.fault
        if fault is not None and fault.side == "in" and not fault.is_due:
            room = fault.octet - server.taken
            if room < len(data):
                self.take(data[:room])
                data = data[room:]
                self.strike(fault)
                if fault.kind == "deaf":
                    server.now += timeout or 0.0
                    raise TimeoutError("nothing is taken any more")
        self.take(data)

    async def receive(self, *, timeout: float | None) -> bytes:
        server = self.server
        if self.is_left:
            server.complain("the client reads from a connection that it left")
        if not self.out:
            return self.receive_nothing(timeout)
        size = min(server.chances.choice((1, 20, 500, 100_000)), len(self.out))
        fault = server.fault
        if fault is not None and fault.side == "out":
            room = fault.octet - self.read
            if 0 <= room <= size and fault.kind in {"cut", "reset", "stall"}:
                self.out = self.out[:room]
                self.strike(fault)
                size = room
                if not size:
                    return self.receive_nothing(timeout)
        data, self.out = self.out[:size], self.out[size:]
        server.note("S", data)
        self.read = read = self.read + size
        acks = self.acks
        while acks and acks[0][0] <= read:
            end, whose = acks.popleft()
            is_sure = end <= self.spoilt_from
            (server.heard if is_sure else server.doubtful).update(whose)
        return data

    def receive_nothing(self, timeout: float | None) -> bytes:
        if self.is_reset:
            raise ConnectionResetError("reset by peer")
        if self.is_closed:
            return b""
        if not self.is_silent and not self.server.has_struck:
            self.server.complain("the client waits, and owes the next word")
        self.server.now += timeout or 0.0
        raise TimeoutError("nothing comes")

    # What goes wrong.

    def strike(self, fault: Fault) -> None:
        """Have it go wrong now, or with the next answer."""
        server, kind = self.server, fault.kind
        if kind in _REPLIES:
            fault.is_due = True
            return
        self.note_strike()
        if kind in {"cut", "reset"}:
            self.is_closed = True
            self.is_reset = kind == "reset"
            if self.is_reset and fault.side == "in":
                self.out = b""
        elif kind == "stall":
            self.is_silent = True
            self.is_frozen = fault.side == "in"
        elif kind == "garbage":
            self.spoil(self.said)
            self.put_out(server.chances.choice(_GARBAGE))

    def note_strike(self) -> None:
        server = self.server
        server.has_struck = True
        server.had_mail = self.mails > 0
        server.fault = None

    def spoil(self, start: int) -> None:
        """Note that what is said from there on need not be believed."""
        self.server.is_spoilt = True
        self.spoilt_from = start

    def put_out(self, octets: bytes) -> None:
        self.server.generated += len(octets)
        self.said += len(octets)
        if not self.is_silent:
            self.out += octets

    # What is said.

    def answer(
        self, reply: bytes, whose: Sequence[Who] = (), verb: bytes = b""
    ) -> bool:
        """Answer a question, unless something else is said; say whether it was so.

        Args:
            reply: the answer.
            whose: it is to the end of a message, and a yes to these.
            verb: of the question, where it matters.
        """
        server = self.server
        fault = server.fault
        end = server.generated + len(reply)
        if fault is not None and (
            fault.is_due or (fault.side == "out" and fault.octet < end)
        ):
            if fault.kind in _REPLIES:
                self.note_strike()
                self.put_out(_REPLIES[fault.kind])
                self.is_closed = fault.kind == "421"
                self.is_silent = fault.kind == "421 mute"
                self.is_used_up = verb == b"MAIL" and fault.kind == "452"
                if verb == b"RSET" and not fault.kind.startswith("421"):
                    # Nobody may refuse RSET: what follows is between the two.
                    self.spoil(self.said)
                return False
            if fault.kind == "garbage":
                self.note_strike()
                at = fault.octet - server.generated
                self.spoil(self.said + at)
                octets = server.chances.choice(_GARBAGE)
                reply = reply[:at] + octets + reply[at:]
        if whose and not self.is_silent:
            line = reply.partition(b"\r\n")[0]
            self.acks.append((self.said + len(line) + 2, whose))
        self.put_out(reply)
        return True

    # What is understood.

    def take(self, data: bytes) -> None:
        self.server.taken += len(data)
        if self.is_closed or self.is_frozen:
            return
        octets, at = self.octets + data, 0
        # What is called may close the connection.
        while not self.is_closed:
            end = self.understand(octets, at)
            if end == at:
                break
            at = end
        self.octets = octets[at:]

    def understand(self, octets: bytes, at: int) -> int:
        """Take a command or a content; return where it ends, or where it starts."""
        if self.is_data:
            # `at` is at the CRLF of DATA, which was kept for this.
            end = octets.find(b"\r\n.\r\n", at)
            if end < 0:
                return at
            content = octets[at + 2 : end + 2].replace(b"\r\n.", b"\r\n")
            self.is_data = False
            self.end(content.removeprefix(b"."))
            self.forget()
            return end + 5
        end = octets.find(b"\r\n", at) + 2
        if end < 2:
            return at
        verb = octets[at : at + 4]
        if verb == b"BDAT":
            words = octets[at:end].split()
            start, end = end, end + int(words[1])
            if len(octets) < end:
                return at
            self.bdat(octets[start:end], is_last=len(words) > 2)
        elif verb == b"DATA":
            return end - 2 if self.data() else end
        else:
            _VERBS[verb](self, octets[at:end])
        return end

    def hello(self, _line: bytes) -> None:
        self.answer(self.server.hello)

    def quit(self, _line: bytes) -> None:
        self.answer(b"221 bye\r\n")
        self.is_closed = True

    def rset(self, _line: bytes) -> None:
        if self.answer(b"250 reset\r\n", verb=b"RSET"):
            self.forget()

    def forget(self) -> None:
        self.has_mail = self.has_failed = False
        self.accepted = []
        self.chunks = []

    def mail(self, _line: bytes) -> None:
        server = self.server
        if self.has_mail:
            if not server.has_struck:
                server.complain("MAIL within a transaction")
            self.answer(b"503 RSET first\r\n")
            return
        self.mails += 1
        if self.mails > server.limits.mails:
            self.complain_of_limits()
        if self.is_used_up:
            self.put_out(_REPLIES["452"])
        elif self.answer(b"250 ok\r\n", verb=b"MAIL"):
            self.has_mail = True

    def rcpt(self, line: bytes) -> None:
        limits = self.server.limits
        if not self.has_mail:
            self.answer(b"503 MAIL first\r\n")
            return
        if limits.domains < 1_000:
            self.domains.add(line[line.index(b"@") :])
            if len(self.domains) > limits.domains:
                self.complain_of_limits()
        if len(self.accepted) >= limits.recipients:
            self.complain_of_limits()
            self.answer(_REPLIES["452"])
        elif self.answer(b"250 ok\r\n"):
            key, index = line[9 : line.index(b"@")].split(b".")
            self.accepted.append((int(key), int(index)))

    def complain_of_limits(self) -> None:
        server = self.server
        # Unless garbage was in the middle of what told them.
        if server.limits.are_told and not server.is_spoilt:
            server.complain("more than LIMITS tells")

    def data(self) -> bool:
        if not self.accepted:
            self.answer(b"503 RCPT first\r\n")
        else:
            self.is_data = self.answer(b"354 go\r\n")
        return self.is_data

    def bdat(self, chunk: bytes, *, is_last: bool) -> None:
        if not self.accepted or self.has_failed:
            self.answer(b"503 RSET first\r\n")
            return
        self.chunks.append(chunk)
        if not is_last:
            self.has_failed = not self.answer(b"250 ok\r\n")
        elif self.end(b"".join(self.chunks)):
            self.forget()
        else:
            # Only RSET ends it.
            self.has_failed = True

    def end(self, content: bytes) -> bool:
        """Take a message, or one recipient's; say whether the transaction is over."""
        server = self.server
        (key, *others) = {key for key, _ in self.accepted}
        if others or content != server.contents[key]:
            server.complain(f"{content!r} for {self.accepted}")
        groups = [[who] for who in self.accepted] if server.is_lmtp else [self.accepted]
        is_taken = True
        for whose in groups:
            if self.is_closed:
                break
            is_taken = self.answer(b"250 ok\r\n", whose)
            if is_taken:
                server.stored += whose
        # In LMTP it is over with the last answer, whatever that was.
        return is_taken or server.is_lmtp


def _reply(lines: list[str]) -> bytes:
    last = len(lines) - 1
    return b"".join(
        b"250%c%s\r\n" % (b" " if number == last else b"-", line.encode())
        for number, line in enumerate(lines)
    )


_VERBS: Final[Mapping[bytes, Callable[[Connection, bytes], None]]] = {
    b"EHLO": Connection.hello,
    b"LHLO": Connection.hello,
    b"RSET": Connection.rset,
    b"MAIL": Connection.mail,
    b"RCPT": Connection.rcpt,
    b"QUIT": Connection.quit,
}

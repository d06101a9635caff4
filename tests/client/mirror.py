"""A server behind a scripted channel: it takes any flight, and answers all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.client.scripted import Scripted, ScriptedChannel


class Mirror:
    """Answers what follows the opening scripts, on every connection.

    Args:
        scripted: its scripts end behind EHLO.
        refusals: replies by verb and number (from 0, over all connections), or by verb
            alone; ``EOF`` closes in place of a reply.
        most_recipients: of a transaction, before `too_many` is said.
        too_many: what is said then.
        is_eager: a reply is readable as soon as its command was written.
    """

    def __init__(
        self,
        scripted: Scripted,
        refusals: dict[str, str] | None = None,
        *,
        most_recipients: int = 10_000,
        too_many: str = "",
        is_eager: bool = False,
    ) -> None:
        self.refusals = refusals or {}
        self.most_recipients = most_recipients
        self.too_many = too_many
        self.is_eager = is_eager
        self.is_lmtp = scripted.client._is_lmtp
        self.counts: dict[str, int] = {}
        self.said = b""
        self.round_trips = 0
        self.most_replies = 0
        self.most_chunks = 0
        self.contents: list[bytes] = []
        self.recipients: list[list[str]] = []
        self.mails: list[int] = []
        scripted.runtime.attend = self.attend

    @property
    def messages(self) -> int:
        return len(self.contents)

    def attend(self, channel: ScriptedChannel) -> None:
        channel.mirror = Connection(self)
        self.mails.append(0)

    def reply_to(self, verb: str) -> str | None:
        number = self.counts.get(verb, 0)
        self.counts[verb] = number + 1
        return self.refusals.get(f"{verb} {number}", self.refusals.get(verb))


class Connection:
    """One connection to the mirror, once its script is played."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self.octets = b""
        self.replies: list[str] = []
        self.is_closed = False
        self.is_data = False
        self.chunks: list[bytes] | None = None
        self.has_mail = False
        self.accepted: list[str] = []
        self.chunk_count = 0

    @property
    def is_readable(self) -> bool:
        return self.mirror.is_eager and bool(self.replies)

    def receive_data(self, data: bytes) -> None:
        self.octets += data
        self.mirror.said += data
        while not self.is_closed and self.step():
            pass

    def take(self) -> bytes:
        """Give out the replies: one round trip."""
        mirror = self.mirror
        mirror.round_trips += 1
        mirror.most_replies = max(mirror.most_replies, len(self.replies))
        replies, self.replies = self.replies, []
        assert replies or self.is_closed, "the client waits, and owes the next word"
        return "".join(reply + "\r\n" for reply in replies).encode()

    def say(self, verb: str, reply: str) -> bool:
        """Answer; say whether it is a yes."""
        reply = self.mirror.reply_to(verb) or reply
        if reply == "EOF":
            self.is_closed = True
            return False
        self.replies.append(reply)
        self.is_closed = reply.startswith("421")
        return reply[0] in "23"

    def step(self) -> bool:
        if self.is_data:
            end = (b"\r\n" + self.octets).find(b"\r\n.\r\n")
            if end < 0:
                return False
            content, self.octets = self.octets[:end], self.octets[end + 3 :]
            self.is_data = False
            self.finish(".", content)
            return True
        line, separator, rest = self.octets.partition(b"\r\n")
        if not separator:
            return False
        words = line.decode().split()
        verb = words[0]
        if verb == "BDAT":
            size = int(words[1])
            if len(rest) < size:
                return False
            self.octets = rest[size:]
            self.bdat(rest[:size], is_last=len(words) > 2)
            return True
        self.octets = rest
        getattr(self, verb.lower())(line.decode())
        return True

    def rset(self, line: str) -> None:
        if self.say("RSET", "250 reset"):
            self.forget()

    def forget(self) -> None:
        self.has_mail, self.accepted, self.chunks = False, [], None

    def quit(self, line: str) -> None:
        self.say("QUIT", "221 bye")

    def mail(self, line: str) -> None:
        assert not self.has_mail, "MAIL within a transaction"
        self.has_mail = self.say("MAIL", "250 sender")
        self.mirror.mails[-1] += 1

    def rcpt(self, line: str) -> None:
        if not self.has_mail:
            self.say("RCPT", "503 MAIL first")
            return
        is_full = len(self.accepted) >= self.mirror.most_recipients
        if self.say("RCPT", self.mirror.too_many if is_full else "250 recipient"):
            self.accepted.append(line.partition("<")[2].partition(">")[0])

    def data(self, line: str) -> None:
        self.is_data = self.say("DATA", "354 go" if self.accepted else "503 RCPT first")

    def bdat(self, chunk: bytes, *, is_last: bool) -> None:
        mirror = self.mirror
        self.chunk_count += 1
        mirror.most_chunks = max(mirror.most_chunks, self.chunk_count)
        if is_last:
            self.chunk_count = 0
        if not self.accepted or self.chunks == [b"failed"]:
            self.say("BDAT", "503 RCPT first")
            return
        self.chunks = [*(self.chunks or ()), chunk]
        if is_last:
            self.finish("BDAT", b"".join(self.chunks))
        elif not self.say("BDAT", "250 chunk"):
            self.chunks = [b"failed"]

    def finish(self, verb: str, content: bytes) -> None:
        mirror = self.mirror
        if not mirror.is_lmtp:
            number = mirror.counts.get(verb, 0)
            if not self.say(verb, f"250 queued as Q{number}"):
                self.chunks = [b"failed"]
                return
        else:
            for _ in self.accepted:
                self.say("STATUS", "250 delivered")
        mirror.contents.append(content)
        mirror.recipients.append(self.accepted)
        self.forget()

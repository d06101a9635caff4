"""A server of ours that keeps what it gets, and refuses what it is told to."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import smtpx
from tests.interop.users import Users, make_checker

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Received:
    """A message, and how it came."""

    content: bytes
    envelope: smtpx.Envelope
    info: smtpx.ConnectionInfo
    protocol: str

    @property
    def sender(self) -> str:
        return str(self.envelope.reverse_path or "")

    @property
    def recipients(self) -> tuple[str, ...]:
        return tuple(str(one.mailbox) for one in self.envelope.recipients)


@dataclass
class Inbox:
    """What the server got, and says.

    Attributes:
        refusal: by what a stage is answered: its name, and the reply.
        refused: whom RCPT is refused for; empty means all.
        lines: of the dialogues, without what is said in TLS handshakes.
        proved: who authenticated.
    """

    refusal: tuple[str, smtpx.Reply | None] = ("", None)
    refused: str = ""
    received: list[Received] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    proved: list[smtpx.Identity] = field(default_factory=list)

    def reply(self, stage: str) -> smtpx.Reply | None:
        where, reply = self.refusal
        return reply if stage == where else None

    def log(self, _session: str, line: str) -> None:
        self.lines.append(line)

    @property
    def said(self) -> list[str]:
        """What clients said, in capitals."""
        return [line[3:].upper() for line in self.lines if line.startswith("C: ")]


class Recorder(Users):
    """Keeps every message, unless it is told to refuse."""

    tokens = make_checker()

    def __init__(self, connection: smtpx.ConnectionInfo, *, inbox: Inbox) -> None:
        super().__init__(connection, proved=inbox.proved)
        self._inbox = inbox

    async def connected(self) -> smtpx.Reply | None:
        return self._inbox.reply("connection")

    async def mail(
        self, reverse_path: smtpx.Mailbox | None, options: smtpx.MailOptions
    ) -> smtpx.Reply | None:
        return self._inbox.reply("MAIL")

    async def rcpt(
        self, forward_path: smtpx.Mailbox, options: smtpx.RcptOptions
    ) -> smtpx.Reply | None:
        if self._inbox.refused not in {"", str(forward_path)}:
            return None
        return self._inbox.reply("RCPT")

    async def start_data(self) -> smtpx.Reply | None:
        return self._inbox.reply("DATA")

    async def data(self, body: smtpx.Body) -> smtpx.Reply | None:
        content = await body.read()
        if (refusal := self._inbox.reply("end")) is not None:
            return refusal
        info = self.connection
        self._inbox.received.append(
            Received(content, self.envelope, info, info.protocol)
        )
        return None


def session_of(inbox: Inbox) -> Callable[[smtpx.ConnectionInfo], smtpx.Session]:
    """Return what a server makes sessions of."""
    return partial(Recorder, inbox=inbox)

"""What a session does in a transcript, and what it received in the end.

Both kinds of server drivers use it: the one that answers the core's events itself, and
the one that runs a `smtpx.Session` behind a socket. So a hook behaves the same on all.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import ClassVar

from smtpx.errors import Refuse
from smtpx.sasl.mechanism import Identity
from smtpx.server.body import Body
from smtpx.server.session import ConnectionInfo, Session, Statuses
from smtpx.testing.steps import (
    HOOKS,
    Then,
    Transcript,
    decode_escapes,
    escape,
)
from smtpx.wire.address import Mailbox
from smtpx.wire.forwarded import XClient, XForward
from smtpx.wire.options import MailOptions, RcptOptions
from smtpx.wire.replies import Reply

__all__ = [
    "Delivered",
    "Received",
    "Script",
    "ScriptedFailure",
    "ScriptedSession",
    "check_ends",
    "forwarded_text",
    "path_text",
    "render",
    "session_class",
]


class ScriptedFailure(Exception):
    """The unforeseen exception that ``fail`` raises; its text must reach no client."""

    def __init__(self) -> None:
        super().__init__("the text of an exception is no business of a client")


class ScriptedHang(Exception):
    """Where ``hang`` is written: the hook is to wait for ever."""


@dataclasses.dataclass(frozen=True, slots=True)
class Delivered:
    """A whole message for which the session took responsibility."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


@dataclasses.dataclass(slots=True)
class Received:
    """All that a session received.

    Attributes:
        messages: those that were delivered, in order.
        hello: the name that the client gave last.
        user: who authenticated, or ``None``.
        protocol: as the Received field would name it; ``None`` where nobody knows.
        peer: the client's address; ``None`` where nobody knows.
        forwarded: what XFORWARD told of the last message, or ``None``.
        mail: the options of the last MAIL.
        rcpt: the options of the last RCPT for each address.
        closed: why each session of the connection ended.
    """

    messages: list[Delivered] = dataclasses.field(default_factory=list)
    hello: str | None = None
    user: str | None = None
    protocol: str | None = None
    peer: str | None = None
    forwarded: str | None = None
    mail: MailOptions | None = None
    rcpt: dict[str, RcptOptions] = dataclasses.field(default_factory=dict)
    closed: list[str] = dataclasses.field(default_factory=list)


class Script:
    """Decides for the hooks of a session as the transcript says.

    Args:
        transcript: the lines ``refuse``, ``reply``, ``fail`` and ``login`` of it count.
    """

    def __init__(self, transcript: Transcript) -> None:
        self._reactions = transcript.reactions
        self._logins = transcript.logins
        self.ignores_body = transcript.ignores_body
        self.has_logins = bool(self._logins)
        self.has_deliveries = any(
            reaction.hook == "delivery" for reaction in self._reactions
        )

    def react(self, hook: str, argument: str = "") -> Reply | None:
        """Do what the first line for a hook says.

        Args:
            hook: one of ``smtpx.testing.transcripts.HOOKS``.
            argument: the address, name or text that the hook is about.

        Returns:
            The reply of ``reply``; ``None`` without a line, for the default reply.

        Raises:
            Refuse: the line is ``refuse``.
            ScriptedFailure: the line is ``fail``.
            ScriptedHang: the line is ``hang``.
        """
        for reaction in self._reactions:
            if reaction.hook == hook and reaction.argument in (None, argument):
                if reaction.reply is None:
                    raise ScriptedFailure if reaction.kind == "fail" else ScriptedHang
                if reaction.kind == "reply":
                    return reaction.reply
                enhanced = reaction.reply.enhanced
                raise Refuse(
                    reaction.reply.code,
                    None if enhanced is None else str(enhanced),
                    reaction.reply.text,
                )
        return None

    def status(self, recipient: Mailbox) -> Reply | None:
        """The status of one recipient in LMTP, where the transcript has one."""
        try:
            return self.react("delivery", str(recipient))
        except Refuse as refusal:
            return Reply(refusal.code, refusal.enhanced, refusal.text)

    def is_right(self, user: str, password: str) -> bool:
        """Whether a password is right."""
        return self._logins.get(user) == password


def path_text(path: Mailbox | None) -> str:
    """A reverse path as transcripts write it."""
    return "<>" if path is None else str(path)


def forwarded_text(forwarded: XForward | None) -> str | None:
    """What XFORWARD told as transcripts write it: without what is not known."""
    if forwarded is None:
        return None
    words = forwarded.argument.split()
    return " ".join(word for word in words if not word.endswith("=[UNAVAILABLE]"))


class ScriptedSession(Session):
    """A session that does what a transcript says; its subclass has the hooks.

    Args:
        connection: as for any session.
        script: decides.
        received: filled with what comes.
    """

    def __init__(
        self, connection: ConnectionInfo, script: Script, received: Received
    ) -> None:
        super().__init__(connection)
        self._script = script
        self._received = received

    async def _react(self, hook: str, argument: str = "") -> Reply | None:
        try:
            return self._script.react(hook, argument)
        except ScriptedHang:
            await asyncio.Event().wait()
            raise


class _Hooks(ScriptedSession):
    """Every hook; `session_class` takes those that a transcript needs."""

    async def connected(self) -> Reply | None:
        return await self._react("connected")

    async def hello(self, name: str) -> Reply | None:
        return await self._react("hello", name)

    async def mail(
        self, reverse_path: Mailbox | None, options: MailOptions
    ) -> Reply | None:
        self._received.mail = options
        return await self._react("mail", path_text(reverse_path))

    async def rcpt(self, forward_path: Mailbox, options: RcptOptions) -> Reply | None:
        self._received.rcpt[str(forward_path)] = options
        return await self._react("rcpt", str(forward_path))

    async def start_tls(self) -> Reply | None:
        return await self._react("start_tls")

    async def start_data(self) -> Reply | None:
        return await self._react("start_data")

    async def data(self, body: Body) -> Reply | None:
        self._received.forwarded = forwarded_text(self.connection.forwarded)
        if self._script.ignores_body:
            return await self._react("data")
        content = await body.read()
        reply = await self._react("data")
        envelope = self.envelope
        self._received.messages.append(
            Delivered(
                path_text(envelope.reverse_path),
                tuple(str(each.mailbox) for each in envelope.recipients),
                content,
            )
        )
        return reply

    async def lmtp_data(self, body: Body, statuses: Statuses) -> Reply | None:
        reply = await _Hooks.data(self, body)
        for recipient in statuses.recipients:
            status = self._script.status(recipient.mailbox)
            if status is not None:
                statuses.set(recipient, status)
        return reply

    async def verify(self, text: str) -> Reply | None:
        return await self._react("verify", text)

    async def expand(self, text: str) -> Reply | None:
        return await self._react("expand", text)

    async def etrn(self, node: str) -> Reply | None:
        return await self._react("etrn", node)

    async def help(self, topic: str) -> Reply | None:
        return await self._react("help", topic)

    async def check_password(self, user: str, password: str) -> bool:
        await self._react("login", user)
        return self._script.is_right(user, password)

    async def authorize(self, identity: Identity) -> Reply | None:
        return await self._react("authorize", identity.user)

    async def command(self, verb: str, argument: str) -> Reply | None:
        return await self._react("command", f"{verb} {argument}".strip())

    async def xclient(self, attributes: XClient) -> Reply | None:
        return await self._react("xclient", attributes.argument)

    async def xforward(self, attributes: XForward) -> Reply | None:
        return await self._react("xforward", attributes.argument)

    async def closed(self, reason: str) -> None:
        received = self._received
        received.hello = self.connection.hello_name
        received.user = self.connection.user
        received.protocol = self.connection.protocol
        received.peer = self.connection.peer
        received.closed.append(reason)


# The hook that each line of a transcript asks for, where its name is another.
_HOOK_METHODS: Mapping[str, str] = {"delivery": "lmtp_data", "login": "check_password"}


def session_class(transcript: Transcript) -> type[ScriptedSession]:
    """Make a session class with the hooks that a transcript needs, and no other.

    So where a transcript says nothing, it is the library's default that answers.
    """
    hooks = {"data", "closed"}
    hooks |= {reaction.hook for reaction in transcript.reactions}
    hooks |= {end.words[0] for end in transcript.ends if end.words[0] in HOOKS}
    if transcript.logins:
        hooks.add("check_password")
    methods = {_HOOK_METHODS.get(hook, hook) for hook in hooks}
    return type(
        "TranscriptSession",
        (ScriptedSession,),
        {method: vars(_Hooks)[method] for method in methods},
    )


def check_ends(transcript: Transcript, driver: str, received: Received) -> None:
    """Compare what a session received with the ``then`` lines.

    Raises:
        TranscriptMismatch: they differ; the message names the line.
    """
    checker = _EndChecker(transcript, driver, received)
    for end in transcript.ends:
        checker.check(end)
    checker.finish()


class _EndChecker:
    def __init__(self, transcript: Transcript, driver: str, received: Received) -> None:
        self.transcript = transcript
        self.driver = driver
        self.received = received
        self.messages = list(received.messages)
        self.last_delivered: Then | None = None

    def check(self, end: Then) -> None:
        word, *rest = end.words
        self.CHECKS[word](self, end, rest)

    def finish(self) -> None:
        if self.last_delivered is not None and self.messages:
            self.fail(
                self.last_delivered, "more was delivered", _show(self.messages[0])
            )

    def fail(self, end: Then, problem: str, *heard: str) -> None:
        raise self.transcript.mismatch(end.number, self.driver, problem, heard=heard)

    def delivered(self, end: Then, words: list[str]) -> None:
        self.last_delivered = end
        if not self.messages:
            self.fail(end, "the message was not delivered")
        message = self.messages.pop(0)
        sender, recipients, *content = words
        is_same = (
            message.sender == sender
            and ",".join(message.recipients) == recipients
            and (not content or message.content == decode_escapes(content[0][1:-1]))
        )
        if not is_same:
            self.fail(end, "another message was delivered", _show(message))

    def nothing(self, end: Then, _words: list[str]) -> None:
        if self.messages:
            self.fail(end, "a message was delivered", _show(self.messages[0]))

    def attribute(self, end: Then, words: list[str]) -> None:
        name = end.words[0]
        value = getattr(self.received, name)
        # The core knows neither the word for the Received field nor an address.
        is_known = name not in {"protocol", "peer"} or value is not None
        if is_known and render(value) != words[0].strip('"'):
            self.fail(end, f"another {name}", f"then {name} {render(value)}")

    def mail(self, end: Then, words: list[str]) -> None:
        self.option(end, "mail", self.received.mail, words)

    def rcpt(self, end: Then, words: list[str]) -> None:
        address, *rest = words
        self.option(end, f"rcpt {address}", self.received.rcpt.get(address), rest)

    def option(self, end: Then, what: str, options: object, words: list[str]) -> None:
        name, value = words
        if value.startswith('"'):
            value = decode_escapes(value[1:-1]).decode()
        if options is None:
            self.fail(end, "there was no such command")
        actual = render(getattr(options, name))
        if actual != value:
            self.fail(end, f"another {name}", f"then {what} {name} {actual}")

    CHECKS: ClassVar[Mapping[str, Callable[[_EndChecker, Then, list[str]], None]]] = {
        "delivered": delivered,
        "nothing": nothing,
        "hello": attribute,
        "user": attribute,
        "protocol": attribute,
        "peer": attribute,
        "forwarded": attribute,
        "mail": mail,
        "rcpt": rcpt,
    }


def _show(message: Delivered) -> str:
    recipients = ",".join(message.recipients)
    return f'then delivered {message.sender} {recipients} "{escape(message.content)}"'


def render(value: object) -> str:
    """Show a value, such as a field of the options, as transcripts write it."""
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return ",".join(render(item) for item in value)
    if isinstance(value, datetime):
        return value.isoformat()
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return ";".join(render(getattr(value, field.name)) for field in fields)
    return str(value)

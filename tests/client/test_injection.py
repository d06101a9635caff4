"""Whatever text a caller gives to whatever method, no command comes of it.

A line end, or a character that an encoder cuts down to one, may stand within an
address, a name or a parameter. The list of calls here names every public method that
takes text; one that is missing fails a test.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

import smtpx
from smtpx.client.conversation import Conversation
from smtpx.client.pool import Pool
from smtpx.errors import SMTPXError
from tests.client.scripted import OPTIONS, step
from tests.client.test_pool_rules import StillFront

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Sequence

    from smtpx.net.channel import Channel
    from smtpx.net.dns import Resolver
    from smtpx.net.tls import TLSInfo

VICTIM = "v@x.test"
POISONS = [
    f"x@b.test>\r\nRCPT TO:<{VICTIM}>",
    "a@b.test> SIZE=1 <",
    f'"a\r\nRCPT TO:<{VICTIM}>"@y.test',
    f"a\u760d\u760aRCPT TO:<{VICTIM}>\u760d\u760a@b.test",
    f"SIZE=1\r\nRCPT TO:<{VICTIM}>",
    "x\r\nMAIL FROM:<a@b.test>",
    "a@b.test\n",
    "a@b.test\r",
    "a@b.test\0",
    "a\x7f@b.test",
    "\r\n.\r\nQUIT\r\n",
    "x\u2028RSET\u2029",
    "x\x85RSET",
]
KEYWORDS = [
    *("PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "SIZE", "ETRN", "HELP"),
    *("DELIVERBY", "MT-PRIORITY", "RRVS", "FUTURERELEASE", "REQUIRETLS", "XOORG"),
    "NO-SOLICITING",
    "XCLIENT NAME REVERSE_NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT",
    "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE",
]
GREETING = b"220 mx.test\r\n"
HELLO = ("".join(f"250-{one}\r\n" for one in ["mx.test", *KEYWORDS])).encode()
HELLO += b"250 AUTH PLAIN LOGIN\r\n"


@dataclass
class Willing:
    """A server that says yes to everything, and keeps the lines that it is sent."""

    lines: list[bytes] = field(default_factory=list)
    peer: str = "127.0.0.1:25"
    local: str = "127.0.0.1:40000"
    tls: TLSInfo | None = None
    has_received: bool = False
    is_readable: bool = False
    _replies: bytes = GREETING
    _in: bytes = b""
    _is_content: bool = False

    async def send(self, data: bytes | memoryview, *, timeout: float | None) -> None:
        self._in += data
        while (end := self._in.find(b"\n")) >= 0:
            line, self._in = self._in[: end + 1], self._in[end + 1 :]
            if self._is_content:
                self._is_content = line != b".\r\n"
                self._replies += b"" if self._is_content else b"250 taken\r\n"
            else:
                self.lines.append(line)
                self._replies += self._answer(line)

    def _answer(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        self._is_content = verb == b"DATA"
        answers = {b"EHLO": HELLO, b"DATA": b"354 go on\r\n", b"AUTH": b"235 ok\r\n"}
        if verb == b"XCLI":
            return b"220 again\r\n"
        return answers.get(verb, b"250 ok\r\n")

    async def receive(self, *, timeout: float | None) -> bytes:
        replies, self._replies = self._replies, b""
        assert replies, f"nothing is left to say after {self.lines}"
        return replies

    def put_back(self, data: bytes) -> None:
        self._replies = data + self._replies

    async def start_tls(
        self,
        context: ssl.SSLContext,
        server_hostname: str | None,
        *,
        timeout: float | None,
    ) -> None:
        raise AssertionError("it does not offer TLS")

    async def close(self) -> None: ...

    def abort(self) -> None: ...


@dataclass
class WillingRuntime:
    channels: list[Willing] = field(default_factory=list)
    look_after: float = 0.5

    def clock(self) -> float:
        return 0.0

    def lock(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        *,
        timeout: float | None,
        local_address: str | None,
        addresses: Sequence[str] | None,
    ) -> Channel:
        self.channels.append(Willing())
        return self.channels[-1]

    async def connect_unix(self, path: str, *, timeout: float | None) -> Channel:
        return await self.connect_tcp(
            "", 0, timeout=None, local_address=None, addresses=None
        )

    async def wrap_socket(self, sock: socket.socket) -> Channel:
        raise NotImplementedError

    def resolver(self) -> Resolver:
        raise NotImplementedError


# What a caller may run into; anything else is a defect.
EXPECTED = (SMTPXError, ValueError, RuntimeError, TypeError)
Call = Callable[[Conversation, str], Coroutine[Any, Any, object]]
MESSAGE = b"Subject: x\r\n\r\nx\r\n"
A, B = "a@a.test", "b@b.test"


async def _send_many(client: Conversation, outgoing: smtpx.Outgoing) -> None:
    async for outcome in client.send_many([outgoing]):
        assert outcome


async def _rcpt(
    client: Conversation,
    text: str,
    options: smtpx.RcptOptions = smtpx.RcptOptions(),  # noqa: B008 - frozen
) -> None:
    await client.mail(A)
    await client.rcpt(text, options)


def _reporting_on(address_type: str, address: str) -> smtpx.RcptOptions:
    original = smtpx.OriginalRecipient(address_type, address)
    return smtpx.RcptOptions(original_recipient=original)


async def _each(
    say: Callable[[Any], Coroutine[Any, Any, object]],
    kind: type[smtpx.XClient | smtpx.XForward],
    text: str,
) -> None:
    """Say the command once with each of its attributes that are text."""
    for name, annotation in inspect.get_annotations(kind).items():
        if re.match(r"str\b", str(annotation)):
            with suppress(*EXPECTED):
                await say(kind(**{name: text}))  # type: ignore[arg-type]


async def _extension(client: Conversation, text: str) -> None:
    assert client.extension(text) is None


# Every argument that is text, of every method of a client, by its name.
CALLS: dict[str, Call] = {
    "hello(name)": lambda client, text: client.hello(text),
    "auth(user)": lambda client, text: client.auth(text, "secret"),
    "auth(password)": lambda client, text: client.auth("user", text),
    "auth(mechanism)": lambda client, text: client.auth("u", "p", mechanism=text),
    "mail(sender)": lambda client, text: client.mail(text),
    "rcpt(recipient)": _rcpt,
    "verify(text)": lambda client, text: client.verify(text),
    "expand(text)": lambda client, text: client.expand(text),
    "etrn(node)": lambda client, text: client.etrn(text),
    "noop(text)": lambda client, text: client.noop(text),
    "help(topic)": lambda client, text: client.help(text),
    "xclient(attributes)": lambda client, text: _each(
        client.xclient, smtpx.XClient, text
    ),
    "xforward(attributes)": lambda client, text: _each(
        client.xforward, smtpx.XForward, text
    ),
    "execute(verb)": lambda client, text: client.execute(text),
    "execute(argument)": lambda client, text: client.execute("NOOP", text),
    "send(sender)": lambda client, text: client.send(
        MESSAGE, sender=text, recipients=B
    ),
    "send(recipients)": lambda client, text: client.send(
        MESSAGE, sender=A, recipients=[B, text]
    ),
    "send(rcpt_options)": lambda client, text: client.send(
        MESSAGE, sender=A, recipients=B, rcpt_options={text: smtpx.RcptOptions()}
    ),
    "send_once(sender)": lambda client, text: client.send_once(
        MESSAGE, sender=text, recipients=B
    ),
    "send_once(recipients)": lambda client, text: client.send_once(
        MESSAGE, sender=A, recipients=text
    ),
    "send_once(rcpt_options)": lambda client, text: client.send_once(
        MESSAGE, sender=A, recipients=B, rcpt_options={text: smtpx.RcptOptions()}
    ),
    # Asked of what is known; nothing is sent.
    "extension(keyword)": _extension,
}

# What text the values hold that the methods take, by class and field.
OPTION_CALLS: dict[str, Call] = {
    "MailOptions.auth": lambda client, text: client.mail(
        A, smtpx.MailOptions(auth=text)
    ),
    "MailOptions.envelope_id": lambda client, text: client.mail(
        A, smtpx.MailOptions(envelope_id=text)
    ),
    "MailOptions.xoorg": lambda client, text: client.mail(
        A, smtpx.MailOptions(xoorg=text)
    ),
    "MailOptions.solicit": lambda client, text: client.mail(
        A, smtpx.MailOptions(solicit=(text,))
    ),
    "MailOptions.extra": lambda client, text: client.mail(
        A, smtpx.MailOptions(extra={"XOORG": text})
    ),
    "MailOptions.extra name": lambda client, text: client.mail(
        A, smtpx.MailOptions(extra={text: "x"})
    ),
    "RcptOptions.original_recipient": lambda client, text: _rcpt(
        client,
        B,
        smtpx.RcptOptions(original_recipient=smtpx.OriginalRecipient("rfc822", text)),
    ),
    "RcptOptions.original_recipient type": lambda client, text: _rcpt(
        client,
        B,
        smtpx.RcptOptions(original_recipient=smtpx.OriginalRecipient(text, "x")),
    ),
    "RcptOptions.extra": lambda client, text: _rcpt(
        client, B, smtpx.RcptOptions(extra={"X": text})
    ),
    "Outgoing.sender": lambda client, text: _send_many(
        client, smtpx.Outgoing(MESSAGE, text, B)
    ),
    "Outgoing.recipients": lambda client, text: _send_many(
        client, smtpx.Outgoing(MESSAGE, A, [B, text])
    ),
    "Mailbox local part": lambda client, text: client.mail(
        smtpx.Mailbox(text, "a.test")
    ),
    "Mailbox domain": lambda client, text: client.mail(smtpx.Mailbox("a", text)),
}


USUAL = re.compile(
    rb"(?:EHLO|AUTH|MAIL|RCPT|RSET|VRFY|EXPN|ETRN|NOOP|HELP|XCLIENT|XFORWARD|DATA|QUIT)"
    rb"(?: [^\x00-\x1f\x7f]*)?\r\n"
)


def require_harmless(lines: list[bytes]) -> None:
    """Each line is one command that was meant, with no control octet in it."""
    for line in lines:
        assert USUAL.fullmatch(line), line
        assert not re.match(rb"RCPT TO:<v@x\.test>", line), line
        assert not re.match(rb"MAIL FROM:<a@b\.test>", line), line
        # A parameter of its own stands behind the path.
        assert not re.match(rb"(MAIL|RCPT).*> SIZE=1 ", line), line


@pytest.mark.parametrize("poison", POISONS)
@pytest.mark.parametrize("name", [*CALLS, *OPTION_CALLS])
def test_text_is_no_command(name: str, poison: str) -> None:
    runtime = WillingRuntime()
    url = "smtp+plain://mx.test"
    client = Conversation(runtime, url, OPTIONS, None, None)
    step(client.connect())
    with suppress(*EXPECTED):
        step((CALLS | OPTION_CALLS)[name](client, poison))
    (channel, *_) = runtime.channels
    assert channel.lines[0] == b"EHLO client.test\r\n"
    require_harmless(channel.lines)
    # The connection is in step, or closed: what comes next is what it says.
    if client.is_connected:
        step(client.noop())
        assert channel.lines[-1] == b"NOOP\r\n"
    assert (
        VICTIM
        not in b"".join(line for line in channel.lines if line.startswith(b"RCPT"))
        .decode("utf-8", "replace")
        .partition("ORCPT")[0]
    )


@pytest.mark.parametrize("poison", POISONS)
def test_a_hello_name_is_no_command(poison: str) -> None:
    runtime = WillingRuntime()
    options = replace(OPTIONS, hello_name=poison)
    client = Conversation(runtime, "smtp+plain://mx.test", options, None, None)
    with pytest.raises(EXPECTED):
        step(client.connect())
    assert runtime.channels[0].lines == []


@pytest.mark.parametrize("poison", POISONS)
def test_a_url_is_no_command(poison: str) -> None:
    """Of a client, and of a pool's calls."""
    runtime = WillingRuntime()
    for url in (poison, f"smtp+plain://{poison}", f"smtp+plain://mx.test{poison}"):
        try:
            client = Conversation(runtime, url, OPTIONS, None, None)
            step(client.connect())
        except EXPECTED:
            continue
        finally:
            for channel in runtime.channels:
                require_harmless(channel.lines)
    front = StillFront(runtime)  # type: ignore[arg-type]
    pool = Pool(
        front, None, options=smtpx.PoolOptions(), client_options=OPTIONS, auth=None
    )
    with pytest.raises(EXPECTED):
        step(pool.acquire(f"smtp+plain://{poison}"))


# The list is complete.

FRONTS = [smtpx.Client, smtpx.AsyncClient, smtpx.LMTPClient, smtpx.AsyncLMTPClient]
POOLS = [smtpx.ClientPool, smtpx.BlockingClientPool]
# A message is content: what its header may hold, test_message.py has. A callable or a
# socket is no text, and `bdat` sends octets that are counted.
NO_TEXT = {
    *("message", "options", "data", "require_all", "is_last", "window", "envelopes"),
    *("retry_not_sent", "socket"),
}
TEXT = re.compile(r"\bstr\b|Mailbox|Recipients|Secret|RcptOptionsOf|XClient|XForward")


def text_arguments(kind: type) -> set[str]:
    """Name the arguments of a class's public methods that are text, or hold some."""
    found = set()
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if name.startswith("_"):
            continue
        for one in inspect.signature(method).parameters.values():
            if one.name not in {"self", *NO_TEXT} and TEXT.search(str(one.annotation)):
                found.add(f"{name}({one.name})")
    return found


@pytest.mark.parametrize("kind", FRONTS)
def test_every_method_that_takes_text_is_in_the_list(kind: type) -> None:
    assert text_arguments(kind) - {"send_many(key)"} == set(CALLS)


@pytest.mark.parametrize("kind", POOLS)
def test_a_pool_takes_no_other_text_than_a_client(kind: type) -> None:
    own = {"send(to)", "client(to)"}
    assert text_arguments(kind) - set(CALLS) == own


def test_every_argument_is_told_from_the_others() -> None:
    """Those of no interest are of the types that hold no text of their own."""
    for kind in [*FRONTS, *POOLS]:
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            for one in inspect.signature(method).parameters.values():
                if name.startswith("_") or one.name in {"self", *NO_TEXT}:
                    continue
                assert TEXT.search(str(one.annotation)), f"{kind} {name} {one.name}"


@pytest.mark.parametrize("kind", [smtpx.MailOptions, smtpx.RcptOptions, smtpx.Outgoing])
def test_every_option_that_holds_text_is_in_the_list(kind: type) -> None:
    holding = re.compile(r"\bstr\b|OriginalRecipient|Mailbox|Recipients\b")
    names = {
        f"{kind.__name__}.{name}"
        for name, annotation in inspect.get_annotations(kind).items()
        if holding.search(str(annotation)) and name != "message"
    }
    assert names - set(OPTION_CALLS) == set()

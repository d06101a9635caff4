"""The servers of others relay to ours: a feature with a peer is one test.

Each takes a message from our client, and passes it on to our server: so what is asked
for at one end has to come out at the other.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

import smtpx
from tests.interop.maildir import split_trace
from tests.interop.messages import EMPTY_BODY, HEADER, TRICKY, large
from tests.interop.names import PASSWORD, USER
from tests.interop.peers import RECIPIENT
from tests.interop.programs import HOST, START_SECONDS
from tests.interop.recording import Records
from tests.interop.relays import CLEAR, RETURN_PATH, SECURED, Relay, describe_relay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.interop.certificates import ServerFiles

pytestmark = pytest.mark.interop

YES, NO = "yes", "-"
RELAYS = ("postfix", "exim", "opensmtpd")


@dataclass
class Arrived:
    """What our server got."""

    content: bytes
    envelope: smtpx.Envelope
    protocol: str
    user: str | None


@dataclass
class Arrivals:
    """What our server gets, and says.

    Attributes:
        refusal: what a stage is answered by, by its name.
        lines: of the dialogues.
    """

    refusal: tuple[str, int] = ("", 0)
    queue: asyncio.Queue[Arrived] = field(default_factory=asyncio.Queue)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    lines: list[str] = field(default_factory=list)

    async def next(self) -> Arrived:
        """Wait for a message, and for the relay to say goodbye.

        One that finds the connection closed on it takes its time before the next.
        """
        async with asyncio.timeout(START_SECONDS):
            await self.closed.wait()
            return await self.queue.get()


class Receiver(smtpx.Session):
    """Keeps what it gets, unless it is told to refuse."""

    arrivals: Arrivals

    def refuse(self, stage: str) -> None:
        where, code = self.arrivals.refusal
        if stage == where:
            raise smtpx.Refuse(code, f"{code // 100}.7.1", f"no {stage} today")

    async def mail(
        self, reverse_path: smtpx.Mailbox | None, options: smtpx.MailOptions
    ) -> smtpx.Reply | None:
        self.refuse("MAIL")
        return None

    async def rcpt(
        self, forward_path: smtpx.Mailbox, options: smtpx.RcptOptions
    ) -> smtpx.Reply | None:
        self.refuse("RCPT")
        return None

    async def data(self, body: smtpx.Body) -> smtpx.Reply | None:
        content = await body.read()
        self.refuse("end")
        await self.arrivals.queue.put(
            Arrived(
                content,
                self.envelope,
                self.connection.protocol,
                self.connection.user,
            )
        )
        return None

    async def closed(self, reason: str) -> None:
        self.arrivals.closed.set()


class Authenticating(Receiver):
    """Knows the password."""

    async def check_password(self, user: str, password: str) -> bool:
        return (user, password) == (USER, PASSWORD)


@dataclass(frozen=True)
class Case:
    """One feature with one relay."""

    relay: Relay
    arrivals: Arrivals
    files: ServerFiles

    def server(
        self,
        *,
        kind: type[Receiver] = Receiver,
        is_secured: bool = False,
        dsn: bool = False,
    ) -> smtpx.Server:
        """Return our server where the relay sends to."""
        session = type("Session", (kind,), {"arrivals": self.arrivals})
        options = smtpx.ServerOptions(
            hostname="mx.example",
            smtputf8=True,
            dsn=dsn,
            tls=self.files.server_context() if is_secured else None,
            wire_log=lambda _, line: self.arrivals.lines.append(line),
        )
        return smtpx.Server(session, f"{HOST}:{self.relay.relay_port}", options=options)

    async def passed_on(
        self,
        message: bytes,
        *,
        sender: str = RECIPIENT,
        mail: smtpx.MailOptions | None = None,
        rcpt: smtpx.RcptOptions | None = None,
        local_part: str = "b",
    ) -> Arrived:
        """Hand a message over in clear, and return what comes of it."""
        recipient = self.relay.next_recipient(CLEAR, local_part)
        async with self.server(dsn=True):
            await self.relay.hand_over(
                message, recipient, sender=sender, mail=mail, rcpt=rcpt
            )
            arrived = await self.arrivals.next()
        names = [str(one.mailbox) for one in arrived.envelope.recipients]
        assert names == [recipient]
        return arrived


def as_handed_over(content: bytes) -> bytes:
    """Return what arrived without what the relay put on top."""
    return split_trace(content.replace(b"\r\n", b"\n"))[1].replace(b"\n", b"\r\n")


async def in_clear(case: Case) -> str:
    arrived = await case.passed_on(TRICKY)
    assert as_handed_over(arrived.content) == TRICKY
    assert arrived.protocol == "ESMTP"
    return YES


async def by_starttls(case: Case) -> str:
    async with case.server(is_secured=True, kind=Authenticating):
        await case.relay.hand_over(TRICKY, case.relay.next_recipient(SECURED))
        arrived = await case.arrivals.next()
    assert as_handed_over(arrived.content) == TRICKY
    assert arrived.protocol.startswith("ESMTPS")
    return YES


async def authenticates(case: Case) -> str:
    async with case.server(is_secured=True, kind=Authenticating):
        await case.relay.hand_over(TRICKY, case.relay.next_recipient(SECURED))
        arrived = await case.arrivals.next()
    # Postfix has no password here: its SASL library is a package of its own.
    assert arrived.user == (None if case.relay.key == "postfix" else USER)
    return NO if arrived.user is None else YES


async def empty_body(case: Case) -> str:
    arrived = await case.passed_on(EMPTY_BODY)
    assert as_handed_over(arrived.content) == EMPTY_BODY
    return YES


async def large_message(case: Case) -> str:
    message = large(5_000_000)
    arrived = await case.passed_on(message)
    assert as_handed_over(arrived.content) == message
    return YES


async def null_path(case: Case) -> str:
    arrived = await case.passed_on(TRICKY, sender="")
    assert arrived.envelope.reverse_path is None
    return YES


async def eight_bit(case: Case) -> str:
    message = HEADER + "\r\nGr\u00fc\u00dfe\r\n".encode()
    mail = smtpx.MailOptions(body=smtpx.BodyType.EIGHTBITMIME)
    arrived = await case.passed_on(message, mail=mail)
    assert as_handed_over(arrived.content) == message
    is_declared = arrived.envelope.options.body is smtpx.BodyType.EIGHTBITMIME
    return "declared" if is_declared else "undeclared"


async def size(case: Case) -> str:
    arrived = await case.passed_on(TRICKY)
    declared = arrived.envelope.options.size
    if declared is None:
        return NO
    # An estimate before the message was written out (RFC 1870 section 4).
    assert declared >= len(TRICKY) // 2
    return YES


async def utf8_addresses(case: Case) -> str:
    try:
        arrived = await case.passed_on(TRICKY, local_part="bj\u00f6rn")
    except smtpx.NotSupported:
        return NO
    assert arrived.envelope.options.smtputf8
    return YES


async def notifications(case: Case) -> str:
    mail = smtpx.MailOptions(
        return_content=smtpx.ReturnContent.HDRS, envelope_id="QQ314159"
    )
    original = smtpx.OriginalRecipient("rfc822", "x+y=z@example.org")
    rcpt = smtpx.RcptOptions(
        notify=(smtpx.Notify.FAILURE,), original_recipient=original
    )
    try:
        arrived = await case.passed_on(TRICKY, mail=mail, rcpt=rcpt)
    except smtpx.NotSupported:
        return NO
    options = arrived.envelope.recipients[0].options
    assert options.notify == (smtpx.Notify.FAILURE,)
    assert options.original_recipient == original
    assert arrived.envelope.options.envelope_id == "QQ314159"
    assert arrived.envelope.options.return_content is smtpx.ReturnContent.HDRS
    return YES


async def chunks(case: Case) -> str:
    arrived = await case.passed_on(large(200_000))
    assert arrived.content
    return YES if any("BDAT" in line for line in case.arrivals.lines) else NO


async def refused(case: Case, stage: str, code: int) -> str:
    case.arrivals.refusal = (stage, code)
    recipient = case.relay.next_recipient(CLEAR)
    is_permanent = code >= 500
    async with case.server():
        await case.relay.hand_over(TRICKY, recipient, sender=RETURN_PATH)
        line = await case.relay.wait_for_refusal(recipient, is_permanent=is_permanent)
        async with asyncio.timeout(START_SECONDS):
            await case.arrivals.closed.wait()
    # What we said is what an administrator reads.
    assert f"no {stage} today" in line
    assert case.arrivals.queue.empty()
    if is_permanent:
        returned = await asyncio.to_thread(case.relay.sender.take, recipient.encode())
        assert f"no {stage} today" in returned.decode()
    return "returned" if is_permanent else "kept for later"


def refusing(stage: str, code: int) -> Callable[[Case], Awaitable[str]]:
    return lambda case: refused(case, stage, code)


FEATURES: dict[str, Callable[[Case], Awaitable[str]]] = {
    "in clear": in_clear,
    "STARTTLS, certificate checked": by_starttls,
    "AUTH": authenticates,
    "8BITMIME": eight_bit,
    "SMTPUTF8": utf8_addresses,
    "DSN": notifications,
    "CHUNKING": chunks,
    "SIZE": size,
    "empty body": empty_body,
    "5 MB": large_message,
    "null reverse path": null_path,
    **{
        f"{code} to {stage}": refusing(stage, code)
        for code in (450, 550)
        for stage in ("MAIL", "RCPT", "end")
    },
}


@pytest.fixture(scope="module")
def records() -> Iterator[Records]:
    found = Records("receiving")
    yield found
    found.write()


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("name", RELAYS)
async def test_feature(
    name: str,
    feature: str,
    records: Records,
    certificates: ServerFiles,
    request: pytest.FixtureRequest,
) -> None:
    relay = describe_relay(name, request.getfixturevalue(name))
    word = await FEATURES[feature](Case(relay, Arrivals(), certificates))
    records.note(relay.name, relay.version, feature, word)

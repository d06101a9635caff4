"""Our clients to the servers of others: a feature with a peer is one test.

What a server offers has to work, octet for octet; what it does not offer, the client
has to refuse before it sends anything. Both are asserted, and the page
docs/reference/interoperability.md says which of the two it was.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

import smtpx
from smtpx.client.options import Auth
from tests.interop.fronts import TOTAL_SECONDS, Front
from tests.interop.messages import EMPTY_BODY, HEADER, TRICKY, large
from tests.interop.names import HELLO_NAME, PASSWORD, SENDER, USER
from tests.interop.oauth import make_token
from tests.interop.peers import OTHER, PEERS, RECIPIENT, UNKNOWN, Peer, open_peer
from tests.interop.recording import Records
from tests.interop.refusals import ALL, CONNECTION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.interop.certificates import ServerFiles

pytestmark = pytest.mark.interop

YES, NO = "yes", "-"
PASSWORDS = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")
TOKENS = ("XOAUTH2", "OAUTHBEARER")
# As long as a paragraph that some program did not wrap.
LONG_LINE_OCTETS = 5_000


_numbers = itertools.count()


def mark(message: bytes) -> bytes:
    """Return a message with a first line that no other has.

    Servers deliver when they like, and not in order.
    """
    return b"X-Marker: -%d-\r\n" % next(_numbers) + message


@dataclass(frozen=True)
class Case:
    """One feature with one peer, by one of our clients."""

    peer: Peer
    front: Front
    options: smtpx.ClientOptions

    @property
    def best_url(self) -> str:
        return self.peer.starttls or self.peer.url

    async def send(
        self,
        message: bytes,
        *,
        url: str = "",
        sender: str = SENDER,
        recipients: tuple[str, ...] = (RECIPIENT,),
        auth: Auth | None = None,
        mail: smtpx.MailOptions | None = None,
        rcpt: smtpx.RcptOptions | None = None,
        **changes: object,
    ) -> smtpx.SendResult:
        """Send over a connection of its own."""
        place = url or self.peer.url
        options = replace(self.options, **changes)  # type: ignore[arg-type]
        is_lmtp = place.startswith("lmtp")
        mail, rcpt = mail or smtpx.MailOptions(), rcpt or smtpx.RcptOptions()
        if self.front is Front.ASYNC:
            async_kind = smtpx.AsyncLMTPClient if is_lmtp else smtpx.AsyncClient
            async with async_kind(place, options=options, auth=auth) as async_client:
                return await async_client.send(
                    message,
                    sender=sender,
                    recipients=recipients,
                    options=mail,
                    rcpt_options=rcpt,
                )

        def send() -> smtpx.SendResult:
            kind = smtpx.LMTPClient if is_lmtp else smtpx.Client
            with kind(place, options=options, auth=auth) as client:
                return client.send(
                    message,
                    sender=sender,
                    recipients=recipients,
                    options=mail,
                    rcpt_options=rcpt,
                )

        return await asyncio.to_thread(send)

    async def offered(self, url: str = "") -> smtpx.Capabilities:
        """Ask what the server offers."""
        place = url or self.peer.url
        kind = smtpx.AsyncLMTPClient if place.startswith("lmtp") else smtpx.AsyncClient
        async with kind(place, options=self.options) as client:
            return client.capabilities

    async def arrives(self, message: bytes, **how: object) -> None:
        """Send, and compare what arrives octet for octet."""
        marked = mark(message)
        result = await self.send(marked, **how)  # type: ignore[arg-type]
        assert [one.recipient for one in result.accepted] == [RECIPIENT]
        assert await self.take(marked) == marked

    async def take(self, marked: bytes) -> bytes:
        """Wait for the message with this first line."""
        marker = marked.partition(b"\r\n")[0]
        return await asyncio.to_thread(self.peer.take, marker)


async def in_clear(case: Case) -> str:
    await case.arrives(TRICKY)
    return YES


async def empty_body(case: Case) -> str:
    await case.arrives(EMPTY_BODY)
    return YES


async def by_starttls(case: Case) -> str:
    if case.peer.starttls is None:
        with pytest.raises(smtpx.TLSUnavailable):
            await case.send(TRICKY, tls=smtpx.TLSMode.REQUIRED)
        return NO
    await case.arrives(TRICKY, url=case.peer.starttls)
    return YES


async def by_implicit_tls(case: Case) -> str:
    if case.peer.implicit is None:
        return NO
    # Some take nothing there without a password.
    await case.arrives(TRICKY, url=case.peer.implicit, auth=Auth(USER, PASSWORD))
    return YES


async def authenticates(case: Case) -> str:
    url = case.peer.auth or case.peer.url
    offered = (await case.offered(url)).auth_mechanisms
    if not offered:
        with pytest.raises(smtpx.NotSupported):
            await case.send(TRICKY, auth=Auth(USER, PASSWORD))
        return NO
    common = [one for one in (*PASSWORDS, *TOKENS) if one in offered]
    assert common
    done = []
    for mechanism in common:
        auth = Auth(USER, PASSWORD, mechanisms=(mechanism,))
        if mechanism in TOKENS:
            auth = Auth(USER, token=make_token(), mechanisms=(mechanism,))
        try:
            await case.arrives(TRICKY, url=url, auth=auth)
        except smtpx.AuthenticationFailed:
            # smtp-sink answers AUTH LOGIN by 250, which is no answer to it.
            assert case.peer.name == "smtp-sink"
        else:
            done.append(mechanism)
    return ", ".join(done)


async def minds_the_password(case: Case) -> str:
    url = case.peer.auth or case.peer.url
    if not (await case.offered(url)).auth_mechanisms:
        return NO
    try:
        await case.arrives(TRICKY, url=url, auth=Auth(USER, "wrong"))
    except smtpx.AuthenticationFailed:
        return YES
    assert case.peer.name == "smtp-sink"
    return "takes any"


async def eight_bit(case: Case) -> str:
    message = HEADER + "\r\nGr\u00fc\u00dfe \U0001f4ec\r\n".encode()
    if "8BITMIME" not in await case.offered():
        with pytest.raises(smtpx.NotSupported):
            await case.send(message)
        return NO
    await case.arrives(message)
    return YES


async def utf8_addresses(case: Case) -> str:
    if "SMTPUTF8" not in await case.offered():
        with pytest.raises(smtpx.NotSupported):
            await case.send(TRICKY, sender="\u00e4@example.com")
        return NO
    await case.arrives(TRICKY, sender="\u00e4@example.com")
    return YES


async def notifications(case: Case) -> str:
    mail = smtpx.MailOptions(
        return_content=smtpx.ReturnContent.HDRS, envelope_id="QQ314159"
    )
    rcpt = smtpx.RcptOptions(
        notify=(smtpx.Notify.FAILURE, smtpx.Notify.DELAY),
        original_recipient=smtpx.OriginalRecipient("rfc822", "x+y=z@example.org"),
    )
    if "DSN" not in await case.offered():
        with pytest.raises(smtpx.NotSupported):
            await case.send(TRICKY, mail=mail, rcpt=rcpt)
        return NO
    await case.arrives(TRICKY, mail=mail, rcpt=rcpt)
    return YES


async def chunks(case: Case) -> str:
    # By DATA where it is not offered.
    await case.arrives(TRICKY, chunking=smtpx.Chunking.ALWAYS)
    await case.arrives(large(300_000), chunking=smtpx.Chunking.ALWAYS)
    return YES if "CHUNKING" in await case.offered() else NO


async def pipelines(case: Case) -> str:
    await case.arrives(TRICKY, pipelining=False)
    return YES if "PIPELINING" in await case.offered() else NO


async def many(case: Case) -> str:
    messages = [mark(HEADER + b"\r\n%d\r\n.\r\n" % number) for number in range(20)]
    outgoing = [smtpx.Outgoing(one, SENDER, [RECIPIENT]) for one in messages]
    is_lmtp = case.peer.url.startswith("lmtp")

    def send() -> list[smtpx.Outcome]:
        kind = smtpx.LMTPClient if is_lmtp else smtpx.Client
        with kind(case.peer.url, options=case.options) as client:
            return list(client.send_many(outgoing))

    if case.front is Front.BLOCKING:
        outcomes = await asyncio.to_thread(send)
    else:
        async_kind = smtpx.AsyncLMTPClient if is_lmtp else smtpx.AsyncClient
        async with async_kind(case.peer.url, options=case.options) as client:
            outcomes = [one async for one in client.send_many(outgoing)]
    assert {one.delivery for one in outcomes} == {smtpx.Delivery.DELIVERED}
    assert [await case.take(one) for one in messages] == messages
    return YES


async def large_message(case: Case) -> str:
    await case.arrives(large(10_000_000), url=case.best_url)
    return YES


async def size_limit(case: Case) -> str:
    limit = (await case.offered()).size
    if limit is None:
        return NO
    with pytest.raises(smtpx.MessageTooLarge) as caught:
        await case.send(large(limit + limit // 20))
    assert caught.value.delivery is smtpx.Delivery.NOT_SENT
    return YES


async def long_line(case: Case) -> str:
    message = mark(HEADER + b"\r\n" + b"x" * LONG_LINE_OCTETS + b"\r\n")
    with pytest.raises(smtpx.LineTooLong):
        await case.send(message)
    try:
        await case.send(message, long_lines=True)
    except smtpx.DataRefused:
        return "refused"
    arrived = await case.take(message)
    if arrived == message:
        return "kept"
    # Nothing is lost but the shape.
    assert arrived.count(b"x") == message.count(b"x")
    return "cut"


async def null_path(case: Case) -> str:
    await case.arrives(TRICKY, sender="")
    return YES


async def refused_recipient(case: Case) -> str:
    message = mark(TRICKY)
    result = await case.send(message, recipients=(UNKNOWN, RECIPIENT))
    assert await case.take(message) == message
    refused = [one.recipient for one in result.refused]
    if not refused:
        return "takes all"
    assert refused == [UNKNOWN]
    with pytest.raises(smtpx.RecipientsRefused) as caught:
        await case.send(TRICKY, recipients=(UNKNOWN,))
    assert caught.value.delivery is smtpx.Delivery.REFUSED
    return YES


async def two_recipients(case: Case) -> str:
    message = mark(TRICKY)
    result = await case.send(message, recipients=(RECIPIENT, OTHER))
    assert [one.recipient for one in result.accepted] == [RECIPIENT, OTHER]
    assert await case.take(message) == message
    return YES


ERRORS: dict[str, type[smtpx.SendError]] = {
    CONNECTION: smtpx.GreetingRefused,
    "MAIL": smtpx.SenderRefused,
    "RCPT": smtpx.RecipientsRefused,
    "DATA": smtpx.DataRefused,
    "end": smtpx.DataRefused,
}


async def refused(case: Case, name: str) -> str:
    """Be refused, and have it told: by which reply, whether for good, what it means."""
    refusal = case.peer.refusals.get(name)
    if refusal is None:
        return NO
    stage = name.rpartition(" ")[2]
    kind = ERRORS[stage]
    if refusal.code == 421:
        kind = smtpx.ConnectionLost
    elif stage == "end" and case.peer.url.startswith("lmtp"):
        # There the end is answered for each recipient.
        kind = smtpx.RecipientsRefused
    with pytest.raises(kind) as caught:
        await case.send(
            TRICKY,
            url=refusal.url,
            sender=refusal.sender,
            recipients=(refusal.recipient,),
            # Exim asks the rules for DATA at DATA alone.
            chunking=smtpx.Chunking.NEVER,
        )
    error = caught.value
    is_unsent = kind is smtpx.GreetingRefused
    assert error.delivery is (
        smtpx.Delivery.NOT_SENT if is_unsent else smtpx.Delivery.REFUSED
    )
    assert error.is_temporary is (refusal.code < 500)
    assert error.reply is not None
    assert refusal.words in str(error.reply)
    assert error.reply.code // 100 == refusal.code // 100
    return str(error.reply.code)


FEATURES: dict[str, Callable[[Case], Awaitable[str]]] = {
    "in clear": in_clear,
    "STARTTLS": by_starttls,
    "TLS from the start": by_implicit_tls,
    "AUTH": authenticates,
    "wrong password refused": minds_the_password,
    "8BITMIME": eight_bit,
    "SMTPUTF8": utf8_addresses,
    "DSN": notifications,
    "CHUNKING": chunks,
    "PIPELINING": pipelines,
    "SIZE": size_limit,
    "empty body": empty_body,
    "10 MB": large_message,
    "line of 5,000 octets": long_line,
    "null reverse path": null_path,
    "two recipients": two_recipients,
    "unknown recipient refused": refused_recipient,
    "twenty messages, one connection": many,
    **{
        f"{code} to {stage}": partial(refused, name=f"{code} to {stage}")
        for stage, code in ((CONNECTION, 554), *ALL)
    },
}


@pytest.fixture(scope="module")
def records() -> Iterator[Records]:
    found = Records("sending")
    yield found
    found.write()


@pytest.fixture(scope="module")
def peer(request: pytest.FixtureRequest, certificates: ServerFiles) -> Iterator[Peer]:
    with open_peer(request.param, request, certificates) as it:
        yield it


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("peer", PEERS, indirect=True)
async def test_feature(
    peer: Peer, feature: str, records: Records, certificates: ServerFiles
) -> None:
    options = smtpx.ClientOptions(
        hello_name=HELLO_NAME,
        timeouts=smtpx.Timeouts(total=TOTAL_SECONDS),
        tls_context=certificates.client_context(),
    )
    words = [await FEATURES[feature](Case(peer, front, options)) for front in Front]
    # Both clients found the same.
    assert words[0] == words[1]
    records.note(peer.name, peer.version, feature, words[0])

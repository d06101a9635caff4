"""Messages are signed in the form in which they go out."""

from __future__ import annotations

from email.message import EmailMessage

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

import smtpx
from smtpx.client.message import make_payload
from smtpx.client.options import ClientOptions
from smtpx.client.plan import Offered, Order, make_plan
from smtpx.errors import MessageTooLarge
from smtpx.verify.dkim import verify_dkim
from smtpx.verify.keys import make_key_record
from smtpx.verify.signing import DKIMSigner
from smtpx.wire.address import Mailbox
from smtpx.wire.capabilities import Capabilities
from tests.client.scripted import step
from tests.verify.records import ZoneResolver

KEY = ed25519.Ed25519PrivateKey.generate()
SIGNER = DKIMSigner("a.test", "s", KEY)
RESOLVER = ZoneResolver({"s._domainkey.a.test": [("TXT", make_key_record(KEY))]})
ORDER = Order(Mailbox("a", "a.test"), [Mailbox("b", "b.test")], ["b@b.test"])


def offered(*keywords: str) -> Offered:
    return Offered.of(Capabilities.parse(keywords))


async def is_signed(content: bytes) -> bool:
    return [one.result for one in await verify_dkim(content, RESOLVER)] == ["pass"]


@pytest.mark.parametrize("keyword", ["8BITMIME", "SIZE"])
async def test_the_last_form_is_signed(keyword: str) -> None:
    """Without 8BITMIME the text becomes quoted-printable first."""
    message = EmailMessage()
    message["From"] = "a@a.test"
    message.set_content("grå\n", cte="8bit")
    payload = await make_payload(message)
    plan = make_plan(ORDER, payload, offered(keyword), ClientOptions(sign=SIGNER))
    content = plan.payload.content
    assert content is not None
    assert content.isascii() is (keyword == "SIZE")
    assert await is_signed(content)
    assert payload.content is not None
    assert b"DKIM-Signature" not in payload.content, "it may be planned again"


async def test_lines_that_are_too_long_are_encoded_first() -> None:
    message = EmailMessage()
    message["From"] = "a@a.test"
    message.set_content("x" * 2000 + "\n", cte="7bit")
    payload = await make_payload(message)
    plan = make_plan(ORDER, payload, offered(), ClientOptions(sign=SIGNER))
    assert plan.payload.content is not None
    assert b"x" * 999 not in plan.payload.content
    assert await is_signed(plan.payload.content)


def test_the_size_counts_the_signature() -> None:
    payload = step(make_payload(b"From: a@a.test\r\n\r\n"))
    options = ClientOptions(sign=lambda _message: b"X: y\r\n")
    plan = make_plan(ORDER, payload, offered("SIZE 24"), options)
    assert plan.mail.options.size == 24
    with pytest.raises(MessageTooLarge):
        make_plan(ORDER, payload, offered("SIZE 23"), options)


def test_a_stream_cannot_be_signed() -> None:
    payload = step(make_payload([b"From: a@a.test\r\n\r\n"]))
    with pytest.raises(ValueError, match="in memory"):
        make_plan(ORDER, payload, offered(), ClientOptions(sign=SIGNER))


def test_what_signs_returns_whole_fields() -> None:
    payload = step(make_payload(b"From: a@a.test\r\n\r\n"))
    options = ClientOptions(sign=lambda _message: b"X: y")
    with pytest.raises(ValueError, match="CRLF"):
        make_plan(ORDER, payload, offered(), options)


async def test_what_arrives_is_signed() -> None:
    arrived = []

    class Inbox(smtpx.Session):
        async def data(self, body: smtpx.Body) -> None:
            arrived.append(await body.read())

    def sign_twice(message: bytes) -> bytes:
        return SIGNER(message) + SIGNER(message)

    async with smtpx.Server(Inbox, "127.0.0.1:0") as server:
        for sign in (SIGNER, sign_twice):
            options = smtpx.ClientOptions(sign=sign)
            address = f"smtp+plain://{server.addresses[0]}"
            async with smtpx.AsyncClient(address, options=options) as client:
                await client.send(
                    b"From: a@a.test\r\nSubject: x\r\n\r\n.hi\r\n..\r\n",
                    sender="a@a.test",
                    recipients="b@b.test",
                )
    results = [
        [one.result for one in await verify_dkim(one, RESOLVER)] for one in arrived
    ]
    assert results == [["pass"], ["pass", "pass"]]

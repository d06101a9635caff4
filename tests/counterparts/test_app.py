"""What a library does that calls a function for each mail, done with this one.

docs/reference/counterparts.md names these tests.
"""

from __future__ import annotations

import asyncio

import pytest

import smtpx
from tests.counterparts.rooms import MESSAGE, PASSWORD, USER
from tests.verify.records import ZoneResolver

ZONE = {
    "example.org": [("TXT", "v=spf1 ip4:127.0.0.1 -all"), ("MX", "10 mx.example.org")],
    "mx.example.org": [("A", "192.0.2.25")],
    "gone.example": [("MX", "0 .")],
}


def test_handler_of_a_mail() -> None:
    """HandlerFunc, Context: a function that is called with the mail."""
    app = smtpx.App(smtpx.AppOptions(resolver=ZoneResolver(ZONE)))
    seen: list[smtpx.Mail] = []

    @app.authenticator
    def check(user: str, password: str) -> bool:
        return (user, password) == (USER, PASSWORD)

    @app.on_message("{name}@example.net")
    async def handle(mail: smtpx.Mail) -> None:
        seen.append(mail)
        assert str(mail.reverse_path) == "sender@example.org"
        (recipient,) = mail.recipients
        assert str(recipient.mailbox) == "recipient@example.net"
        assert mail.message.subject == mail.subject == "discount Gophers!"
        assert mail.octets == MESSAGE
        assert str(mail.peer) == "127.0.0.1"
        assert mail.tls is None
        assert mail.user == USER
        spf: smtpx.SPFResult = await mail.spf()
        assert (spf.result, spf.domain) == ("pass", "example.org")
        assert await mail.is_mailable()
        assert not await mail.is_mailable("gone.example")

    async def main() -> None:
        async with app.serving() as server:
            await smtpx.asend(
                MESSAGE,
                to=f"smtp+plain://{server.addresses[0]}",
                sender="sender@example.org",
                recipients=["recipient@example.net"],
                auth=(USER, PASSWORD),
            )
            url = f"smtp+plain://{server.addresses[0]}"
            with pytest.raises(smtpx.AuthenticationFailed):
                await smtpx.AsyncClient(url, auth=(USER, "wrong")).connect()

    asyncio.run(main())
    assert len(seen) == 1

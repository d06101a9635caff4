"""The forwarder: SRS, ARC, reports that find back, and what it refuses."""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

import smtpx
from smtpx.testing.dns import DNSServer
from smtpx.testing.mail_server import MailServer, MailServerOptions
from smtpx.testing.threads import run_in_thread
from tests.examples.programs import run, running, send

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = ed25519.Ed25519PrivateKey.generate()
ZONE = {
    "example.net": [("TXT", "v=spf1 ip4:127.0.0.1 -all")],
    "_dmarc.example.net": [("TXT", "v=DMARC1; p=reject")],
    "_dmarc.bank.example": [("TXT", "v=DMARC1; p=reject")],
    "s._domainkey.example.org": [("TXT", smtpx.make_key_record(KEY))],
}
ENVIRONMENT = {"FORWARD_SECRET": "sixteen octets, at least"}
MESSAGE = (
    b"Authentication-Results: example.org; dmarc=pass\r\n"
    b"From: ann@example.net\r\nTo: bob@example.org\r\nSubject: hi\r\n\r\nHello.\r\n"
)


@pytest.fixture
def dns() -> Iterator[str]:
    with run_in_thread(DNSServer(ZONE)) as server:
        yield server.address


@pytest.fixture
def arguments(tmp_path: Path, mail_server: MailServer, dns: str) -> tuple[object, ...]:
    (tmp_path / "map").write_text("Bob@example.org bob@a.example b@b.example # two\n")
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key").write_bytes(pem)
    return (
        *("forwarder.py", "--domain", "example.org", "--map", tmp_path / "map"),
        *("--key", tmp_path / "key", "--selector", "s", "--nameserver", dns),
        *("--relay", mail_server.url),
    )


async def test_mail_goes_on_and_a_report_finds_back(
    arguments: tuple[object, ...], mail_server: MailServer, dns: str
) -> None:
    with running(*arguments, environment=ENVIRONMENT) as address:
        assert send(address, MESSAGE, "bob+shop@example.org").accepted
        (mail,) = mail_server.inbox
        assert mail.recipients == ("bob@a.example", "b@b.example")
        assert mail.sender.startswith("SRS0=")
        assert mail.sender.endswith("=example.net=ann@example.org")
        assert [one.name for one in mail.message.header.fields] == [
            *("ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"),
            *("Received", "Received-SPF", "Authentication-Results"),
            *("From", "To", "Subject"),
        ]
        options = smtpx.ResolverOptions(nameservers=(dns,))
        resolver = smtpx.DNSRecordResolver(options)
        chain = await smtpx.verify_arc(mail.octets, resolver)
        assert (chain.result, chain.domains) == ("pass", ("example.org",))
        assert chain.results is not None
        found = {one.method: one.result for one in chain.results.results}
        assert found["spf"] == found["dmarc"] == "pass"
        # A report comes back, and goes to the author.
        assert send(
            address, b"Subject: failed\r\n\r\n", mail.sender, sender=""
        ).accepted
        back = mail_server.inbox[1]
        assert (back.sender, back.recipients) == ("", ("ann@example.net",))
        # Nobody else can use the way back.
        with pytest.raises(smtpx.DataRefused, match="takes reports only"):
            send(address, MESSAGE, mail.sender)
        forged = mail.sender.replace("=ann@", "=eve@")
        with pytest.raises(smtpx.DataRefused) as caught:
            send(address, MESSAGE, forged, sender="")
        assert caught.value.smtp_code == 550


def test_what_is_refused(
    arguments: tuple[object, ...], mail_server: MailServer
) -> None:
    with running(*arguments, environment=ENVIRONMENT) as address:
        # Two recipients are two messages, so that one is not sent twice for the other.
        host, _, port = address.rpartition(":")
        with smtplib.SMTP(host, int(port)) as client:
            names = ["bob@example.org", "carl@example.org"]
            refused = client.sendmail("ann@example.net", names, MESSAGE)
        assert {name: reply[0] for name, reply in refused.items()} == {names[1]: 452}
        assert len(mail_server.inbox) == 1
        mail_server.reset()
        forged = MESSAGE.replace(b"ann@example.net", b"ann@bank.example")
        for message, recipient, why in (
            (forged, "bob@example.org", "domain refuses this"),
            (b"Received: x\r\n" * 51 + MESSAGE, "bob@example.org", "circles"),
            (MESSAGE, "carl@example.org", "no such mailbox"),
        ):
            with pytest.raises(smtpx.DataRefused, match=why):
                send(address, message, recipient)
        with pytest.raises(smtpx.RecipientsRefused):
            send(address, MESSAGE, "bob@elsewhere.example")
        for code, ours in ((550, 550), (451, 451)):
            mail_server.refuse("rcpt", code, matching="b@b.example")
            with pytest.raises(smtpx.DataRefused) as caught:
                send(address, MESSAGE, "bob@example.org")
            assert caught.value.smtp_code == ours
            mail_server.reset()
    mail_server.inbox.assert_not_sent()


@pytest.mark.parametrize(("code", "ours"), [(550, 550), (451, 451)])
def test_what_a_relay_takes_for_some_is_not_acknowledged(
    arguments: tuple[object, ...], code: int, ours: int
) -> None:
    """By LMTP each has a reply of its own, to the end of the message."""
    with MailServer(MailServerOptions(lmtp=True)) as relay:
        relay.refuse("data", code, matching="b@b.example")
        words = (*arguments[:-1], relay.url)
        with running(*words, environment=ENVIRONMENT) as address:
            with pytest.raises(smtpx.DataRefused) as caught:
                send(address, MESSAGE, "bob@example.org")
            assert caught.value.smtp_code == ours


def test_without_a_secret(arguments: tuple[object, ...]) -> None:
    code, _, errors = run(*arguments, environment={"FORWARD_SECRET": "short"})
    assert code == 2
    assert "FORWARD_SECRET" in errors
    assert "Traceback" not in errors

"""Everything at once: one call, one object, one field that nobody can forge."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from smtpx.message.fields import parse_header
from smtpx.message.results import AuthenticationResults
from smtpx.verify.authentication import Origin, authenticate
from smtpx.verify.keys import make_key_record
from smtpx.verify.signing import DKIMSigner
from smtpx.wire.address import Mailbox
from tests.server.peers import ClockLoop
from tests.verify.records import FAILS, ZoneResolver

if TYPE_CHECKING:
    from smtpx.net.records import Answer

KEY = ed25519.Ed25519PrivateKey.generate()
MESSAGE = (
    b"Authentication-Results: mx.example; dmarc=pass\r\n"
    b"From: ann@example.com\r\nSubject: hi\r\n\r\nHello.\r\n"
)
SIGNED = DKIMSigner("example.com", "s", KEY).sign(MESSAGE)
ZONE: dict[str, Any] = {
    "example.com": [("TXT", "v=spf1 ip4:192.0.2.1 -all")],
    "_dmarc.example.com": [("TXT", "v=DMARC1; p=reject")],
    "s._domainkey.example.com": [("TXT", make_key_record(KEY))],
    "1.2.0.192.in-addr.arpa": [("PTR", "mail.example.com")],
    "mail.example.com": [("A", "192.0.2.1")],
}
ORIGIN = Origin(
    ip_address("192.0.2.1"), Mailbox("ann", "example.com"), "mail.example.com"
)


async def test_everything_passes() -> None:
    found = await authenticate(SIGNED, ORIGIN, ZoneResolver(ZONE))
    assert found.is_pass
    header, _ = parse_header(SIGNED)
    octets = found.add_to(header, "mx.example")
    fields = parse_header(octets)[0].all("Authentication-Results")
    assert len(fields) == 1
    read = AuthenticationResults.parse(fields[0].text)
    assert [(one.method, one.result) for one in read.results] == [
        ("iprev", "pass"),
        ("spf", "pass"),
        ("dkim", "pass"),
        ("dmarc", "pass"),
    ]
    assert octets.endswith(b"From: ann@example.com\r\nSubject: hi\r\n")


async def test_received_spf_on_top() -> None:
    found = await authenticate(SIGNED, ORIGIN, ZoneResolver(ZONE))
    header, _ = parse_header(SIGNED)
    octets = found.add_to(header, "mx.example", received_spf=True)
    names = [one.name for one in parse_header(octets)[0].fields]
    assert names[:2] == ["Received-SPF", "Authentication-Results"]
    assert parse_header(octets)[0].fields[0].text == (
        "pass (mx.example: ann@example.com, 192.0.2.1) receiver=mx.example; "
        'identity=mailfrom; client-ip=192.0.2.1; envelope-from="ann@example.com"; '
        "helo=mail.example.com"
    )
    # Of a unix socket there is no SPF, and so no field.
    local = await authenticate(SIGNED, Origin(user="ann"), ZoneResolver(ZONE))
    assert local.spf.to_received_spf("mx.example") is None
    assert local.add_to(header, "mx.example", received_spf=True) == local.add_to(
        header, "mx.example"
    )


async def test_received_spf_of_a_broken_record() -> None:
    zone = {**ZONE, "example.com": [("TXT", "v=spf1 ip4:nonsense -all")]}
    found = await authenticate(MESSAGE, ORIGIN, ZoneResolver(zone))
    field = found.spf.to_received_spf("mx.example")
    assert field is not None
    assert field.text.startswith("permerror ")
    assert "; problem=" in field.text


@pytest.mark.parametrize(
    ("message", "peer", "result"),
    [
        (SIGNED, "192.0.2.9", "pass"),  # forwarded: DKIM alone
        (MESSAGE, "192.0.2.1", "pass"),  # SPF alone
        (MESSAGE, "192.0.2.9", "fail"),
        (SIGNED.replace(b"Hello", b"Hallo"), "192.0.2.9", "fail"),
    ],
)
async def test_one_of_both_is_enough(message: bytes, peer: str, result: str) -> None:
    origin = Origin(ip_address(peer), Mailbox("ann", "example.com"), "x.example")
    found = await authenticate(message, origin, ZoneResolver(ZONE))
    assert found.dmarc.result == result
    assert found.is_pass is (result == "pass")


async def test_a_user_on_a_unix_socket() -> None:
    found = await authenticate(MESSAGE, Origin(user="ann"), ZoneResolver(ZONE))
    assert found.spf.result == "none"
    assert found.iprev is None
    results = found.to_results("mx.example").results
    assert [(one.method, one.result) for one in results] == [
        ("auth", "pass"),
        ("spf", "none"),
        ("dkim", "none"),
        ("dmarc", "fail"),
    ]
    assert results[0].find("smtp.auth") == "ann"


@pytest.mark.parametrize("name", ["example.com", "s._domainkey.example.com"])
async def test_what_could_not_be_asked_is_no_failure(name: str) -> None:
    """Else whoever drops packets makes a domain refuse its own mail."""
    origin = Origin(ip_address("192.0.2.9"), Mailbox("a", "example.com"), "x.example")
    resolver = ZoneResolver({**ZONE, name: FAILS})
    message = SIGNED.replace(b"Hello", b"Hallo") if name == "example.com" else SIGNED
    found = await authenticate(message, origin, resolver)
    assert found.dmarc.result == "temperror"


class SilentResolver(ZoneResolver):
    """Never answers."""

    async def _wait(self) -> None:
        await asyncio.Event().wait()

    async def txt(self, name: str) -> Answer[bytes]:
        await self._wait()
        return await super().txt(name)

    async def ptr(self, name: str) -> Answer[str]:
        await self._wait()
        return await super().ptr(name)


async def test_received_spf_of_what_could_not_be_asked_in_time() -> None:
    found = await authenticate(MESSAGE, ORIGIN, SilentResolver(ZONE), timeout=0.01)
    field = found.spf.to_received_spf("mx.example")
    assert field is not None
    assert field.text.startswith("temperror (mx.example: ann@example.com, 192.0.2.1)")


async def test_the_time_is_bounded() -> None:
    resolver = SilentResolver(ZONE)
    found = await authenticate(SIGNED, ORIGIN, resolver, timeout=0.01)
    assert found.spf.result == found.dmarc.result == "temperror"
    assert [one.result for one in found.dkim] == ["temperror"]
    assert found.arc.result == "none"
    assert found.iprev is None
    assert not found.is_pass


# A message that somebody else wrote in the name of example.com, and signed in his own.
FORGED = DKIMSigner("evil.test", "s", KEY).sign(MESSAGE)
EVIL = Origin(ip_address("192.0.2.66"), Mailbox("x", "evil.test"), "evil.test")


@pytest.mark.parametrize(
    "broken",
    [
        {"evil.test": FAILS},
        {"s._domainkey.evil.test": FAILS},
        {"_dmarc.evil.test": FAILS},
        {"66.2.0.192.in-addr.arpa": FAILS},
    ],
)
async def test_whoever_forges_has_no_failure_of_his_own_dns_for_an_excuse(
    broken: dict[str, Any],
) -> None:
    key = [("TXT", make_key_record(KEY))]
    resolver = ZoneResolver({**ZONE, "s._domainkey.evil.test": key, **broken})
    found = await authenticate(FORGED, EVIL, resolver)
    assert found.dmarc.result == "fail"


class SlowOnPurpose(SilentResolver):
    """Never answers for what belongs to who sends; for others at once."""

    async def txt(self, name: str) -> Answer[bytes]:
        if name.endswith("evil.test"):
            await self._wait()
        return await ZoneResolver.txt(self, name)


@pytest.mark.parametrize("message", [SIGNED, MESSAGE], ids=["signed", "forged"])
def test_whoever_sends_uses_up_no_time_but_his_own(message: bytes) -> None:
    """One signature whose key does not come says nothing of the others."""
    forged = FORGED.removesuffix(MESSAGE) + message
    with asyncio.Runner(loop_factory=ClockLoop) as runner:
        found = runner.run(authenticate(forged, EVIL, SlowOnPurpose(ZONE)))
    results = [one.result for one in found.dkim]
    assert results == ["temperror", "pass"][: 1 + (message is SIGNED)]
    assert found.spf.result == "temperror"
    assert found.dmarc.result == ("pass" if message is SIGNED else "fail")


async def test_an_arc_chain_is_told() -> None:
    found = await authenticate(b"ARC-Seal: i=1\r\n" + MESSAGE, ORIGIN, ZoneResolver({}))
    results = found.to_results("mx").results
    assert ("arc", "fail") in [(one.method, one.result) for one in results]


async def test_what_a_client_says_cannot_break_the_field() -> None:
    evil = Mailbox.parse('"a\\"; dmarc=pass (x"@example.com')
    origin = Origin(ip_address("192.0.2.9"), evil, 'x"; dmarc=pass', user="u\r\nX: y")
    message = b'From: "; dmarc=pass" <a@example.com>\r\n\r\n'
    found = await authenticate(message, origin, ZoneResolver(ZONE))
    field = found.to_results("mx.example").to_field()
    read = AuthenticationResults.parse(field.text)
    assert [one.result for one in read.results if one.method == "dmarc"] == ["fail"]
    assert parse_header(field.octets + b"\r\n")[0].fields == (field,)

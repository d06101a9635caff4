"""ARC: chains that another implementation made, and every way to break one."""

from __future__ import annotations

from typing import Any

import dkim  # type: ignore[import-untyped]  # it has no types
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from smtpx.verify.arc import MAX_INSTANCES, ARCResult, verify_arc
from smtpx.verify.keys import make_key_record
from tests.verify.records import FAILS, ZoneResolver

KEY = rsa.generate_private_key(65537, 1024)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
ZONE: dict[str, Any] = {
    f"s._domainkey.h{one}.example": [("TXT", make_key_record(KEY))]
    for one in range(1, 60)
}
MESSAGE = (
    b"From: ann@example.com\r\nTo: list@h1.example\r\nSubject: hi\r\n\r\nHello.\r\n"
)
LATER = 4_000_000_000


def lookup(name: bytes, timeout: int = 5) -> bytes:
    record: str = ZONE[name.decode().rstrip(".")][0][1]
    return record.encode()


def sealed(message: bytes, instance: int, results: bytes = b"spf=pass") -> bytes:
    """Add an ARC set, as host number ``instance`` would."""
    host = b"h%d.example" % instance
    message = b"Authentication-Results: " + host + b"; " + results + b"\r\n" + message
    fields = dkim.arc_sign(message, b"s", host, PEM, host, linesep=b"\r\n")
    return b"".join(fields) + message


def chain(count: int) -> bytes:
    message = MESSAGE
    for instance in range(1, count + 1):
        arc = b"" if instance == 1 else b"arc=pass; "
        message = sealed(message, instance, arc + b"spf=pass smtp.mailfrom=example.com")
    return message


async def verify(message: bytes, zone: dict[str, Any] | None = None) -> ARCResult:
    return await verify_arc(message, ZoneResolver(zone or ZONE), now=LATER)


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_chains(count: int) -> None:
    message = chain(count)
    assert dkim.arc_verify(message, dnsfunc=lookup)[0] == b"pass"
    result = await verify(message)
    assert result.reason == ""
    assert result.is_pass
    assert result.domains == tuple(f"h{one}.example" for one in range(1, count + 1))
    assert result.results is not None
    assert result.results.authserv_id == f"h{count}.example"
    assert result.results.results[-1].method == "spf"
    written = result.to_method_result()
    assert (written.result, written.comment) == ("pass", f"i={count}")
    assert written.find("header.d") == f"h{count}.example"


async def test_a_message_without_a_chain() -> None:
    result = await verify(MESSAGE)
    assert result == ARCResult("none")
    assert not result.is_pass
    assert result.to_method_result().properties == ()


async def test_what_a_later_host_changed_is_its_own_business() -> None:
    changed = chain(1).replace(b"Subject: hi", b"Subject: [list] hi")
    message = sealed(changed, 2, b"arc=pass")
    assert (await verify(message)).is_pass


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"Hello", b"Hallo", "ARC signature 2: body hash mismatch"),
        (b"ann@", b"eve@", "ARC signature 2: signature mismatch"),
        (b"h1.example;\r\n spf=pass", b"h1.example;\r\n spf=fail", "ARC seal"),
        (b"i=2; h2.example;", b"i=2; h3.example;", "ARC seal 2: signature mismatch"),
        (b"ARC-Seal: i=1", b"X: i=1", "not complete"),
        (b"ARC-Authentication-Results: i=1", b"X: i=1", "not complete"),
        (b"ARC-Message-Signature: i=1", b"X: i=1", "not complete"),
        (b"ARC-Seal: i=2", b"ARC-Seal: i=3", "not complete"),
        (b"ARC-Seal: i=2", b"ARC-Seal: i=1", "there twice"),
        (b"ARC-Seal: i=2", b"ARC-Seal: i=x", "no number"),
        (b"ARC-Seal: i=2", b"ARC-Seal: j=2", "no number"),
        (b"cv=none", b"cv=pass", "the chain had failed"),
        (b"cv=pass", b"cv=fail", "the chain had failed"),
        (b"ARC-Seal: i=1;", b"ARC-Seal: i=1; h=from;", "with tag h="),
        (b"ARC-Seal: i=1;", b"ARC-Seal: i=1; t=5000000000;", "comes twice"),
    ],
)
async def test_broken_chains(old: bytes, new: bytes, reason: str) -> None:
    message = chain(2)
    assert old in message
    result = await verify(message.replace(old, new))
    assert result.result == "fail"
    assert reason in result.reason
    assert result.results is None
    assert result.domains == ()


async def test_a_seal_that_covers_a_seal_is_refused() -> None:
    message = chain(1)
    start = message.index(b"ARC-Message-Signature")
    at = message.index(b"h=", start)
    broken = message[:at] + b"h=arc-seal : " + message[at + 2 :]
    assert "wrong fields" in (await verify(broken)).reason


async def test_a_signature_that_does_not_cover_from_is_refused() -> None:
    message = chain(1).replace(b"from :", b"xrom :").replace(b": from", b": xrom")
    assert "wrong fields" in (await verify(message)).reason


async def test_keys_of_every_host_are_needed() -> None:
    message = chain(2)
    failing = {**ZONE, "s._domainkey.h1.example": FAILS}
    assert (await verify(message, failing)).result == "temperror"
    without = {**ZONE, "s._domainkey.h1.example": [("TXT", "v=DKIM1; p=")]}
    result = await verify(message, without)
    assert (result.result, result.reason) == ("fail", "key revoked")


@pytest.mark.parametrize(
    ("count", "reason"),
    [(MAX_INSTANCES, "signature without tag"), (MAX_INSTANCES + 1, "over 50")],
)
async def test_limit_of_instances(count: int, reason: str) -> None:
    fields = b"".join(
        b"ARC-Seal: i=%d\r\nARC-Message-Signature: i=%d\r\n"
        b"ARC-Authentication-Results: i=%d; x; none\r\n" % (one, one, one)
        for one in range(1, count + 1)
    )
    result = await verify(fields + MESSAGE)
    assert result.result == "fail"
    assert reason in result.reason

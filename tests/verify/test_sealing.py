"""ARC sets of ours: another implementation verifies them, and so does ours."""

from __future__ import annotations

import base64
import itertools

import dkim  # type: ignore[import-untyped]  # it has no types
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding

from smtpx.errors import BadAddress, BadSyntax
from smtpx.message.fields import Header, parse_header
from smtpx.message.results import AuthenticationResults, MethodResult
from smtpx.verify.arc import MAX_INSTANCES, ARCResult, find_sets
from smtpx.verify.keys import make_key_record
from smtpx.verify.sealing import ARCSealer
from smtpx.verify.signing import DKIMSigner
from smtpx.verify.tags import parse_tags
from tests.verify.test_arc import KEY, MESSAGE, PEM, ZONE, chain, lookup, verify

NOW = 1_700_000_000
RESULTS = AuthenticationResults(
    "h1.example",
    (MethodResult("spf", "pass", "", (("smtp.mailfrom", "example.com"),)),),
)
NONE = ARCResult("none")


def sealer(instance: int) -> ARCSealer:
    return ARCSealer(f"h{instance}.example", "s", KEY, clock=lambda: NOW)


def header_of(message: bytes) -> Header:
    return parse_header(message)[0]


def tags_of(message: bytes, name: str) -> dict[str, str]:
    field = header_of(message).first(name)
    assert field is not None
    return parse_tags(field.value)


async def pass_on(message: bytes, instance: int) -> bytes:
    """Do what a host on the way does."""
    found = await verify(message)
    results = AuthenticationResults(
        f"h{instance}.example", (found.to_method_result(), *RESULTS.results)
    )
    return sealer(instance).seal(message, results, found)


async def test_chains_of_ours_pass_at_both() -> None:
    message = MESSAGE
    for instance in range(1, 4):
        message = await pass_on(message, instance)
        assert dkim.arc_verify(message, dnsfunc=lookup)[0] == b"pass"
        result = await verify(message)
        assert (result.result, result.reason) == ("pass", "")
        assert result.domains == tuple(
            f"h{one}.example" for one in range(1, 1 + instance)
        )
        assert result.results is not None
        assert result.results.authserv_id == f"h{instance}.example"
        assert [one.method for one in result.results.results] == ["arc", "spf"]
        status = "none" if instance == 1 else "pass"
        assert tags_of(message, "ARC-Seal")["cv"] == status
        assert message.endswith(MESSAGE)


async def test_chains_of_two_implementations() -> None:
    ours = await pass_on(chain(2), 3)
    assert dkim.arc_verify(ours, dnsfunc=lookup)[0] == b"pass"
    assert (await verify(ours)).domains == ("h1.example", "h2.example", "h3.example")
    theirs = b"".join(
        dkim.arc_sign(
            b"Authentication-Results: h4.example; arc=pass\r\n" + ours,
            *(b"s", b"h4.example", PEM, b"h4.example"),
            linesep=b"\r\n",
        )
    )
    result = await verify(theirs + ours)
    assert result.is_pass
    assert len(result.domains) == 4


async def test_the_fields_stand_in_their_order_and_keep_to_their_lines() -> None:
    message = sealer(1).seal(MESSAGE, RESULTS, NONE)
    names = [one.name for one in header_of(message).fields]
    assert names[:3] == [
        "ARC-Seal",
        "ARC-Message-Signature",
        "ARC-Authentication-Results",
    ]
    assert max(len(line) for line in message.split(b"\r\n")) <= 78
    results = header_of(message).first("ARC-Authentication-Results")
    assert results is not None
    assert results.text == "i=1; h1.example; spf=pass smtp.mailfrom=example.com"
    assert tags_of(message, "ARC-Seal").keys() == {"i", "a", "t", "cv", "d", "s", "b"}
    assert tags_of(message, "ARC-Seal")["t"] == str(NOW)
    signature = tags_of(message, "ARC-Message-Signature")
    assert signature.keys() == {"i", "a", "c", "d", "s", "t", "h", "bh", "b"}
    assert signature["t"] == str(NOW)


async def test_ed25519() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    zone = {**ZONE, "e._domainkey.h1.example": [("TXT", make_key_record(key))]}
    message = ARCSealer("h1.example", "e", key).seal(MESSAGE, RESULTS, NONE)
    assert (await verify(message, zone)).is_pass
    assert tags_of(message, "ARC-Message-Signature")["a"] == "ed25519-sha256"


async def test_what_is_signed_and_what_never_is() -> None:
    signed = DKIMSigner("example.com", "s", KEY).sign(MESSAGE)
    message = b"Authentication-Results: h1.example; spf=pass\r\n" + signed
    forbidden = (
        *("Authentication-Results", "ARC-Authentication-Results"),
        *("ARC-Message-Signature", "ARC-Seal", "Subject"),
    )
    one = ARCSealer("h1.example", "s", KEY, fields=forbidden)
    sealed = one.seal(message, RESULTS, NONE)
    assert tags_of(sealed, "ARC-Message-Signature")["h"].replace("\r\n ", "") == (
        "dkim-signature:from:subject:from:subject"
    ).replace(":", " :")
    assert (await verify(sealed)).is_pass
    # The next host takes the results off, as RFC 8601 section 5 has it.
    assert (
        await verify(sealed.replace(b"\r\nAuthentication-Results", b"\r\nX"))
    ).is_pass
    # A field that was added is seen.
    assert not (await verify(b"Subject: eve\r\n" + sealed)).is_pass
    broken = sealed.replace(b"DKIM-Signature: v=1", b"DKIM-Signature: v=2")
    assert "signature mismatch" in (await verify(broken)).reason


@pytest.mark.parametrize("result", ["fail", "temperror"])
async def test_a_broken_chain_is_sealed_once_as_broken(result: str) -> None:
    broken = chain(2).replace(b"Hello", b"Hallo")
    message = sealer(3).seal(broken, RESULTS, ARCResult(result))
    seal = tags_of(message, "ARC-Seal")
    assert (seal["i"], seal["cv"]) == ("3", "fail")
    assert (
        await verify(message)
    ).reason == "an ARC seal says that the chain had failed"
    verdict, _, reason = dkim.arc_verify(message, dnsfunc=lookup)
    assert verdict != b"pass"
    assert "ARC-Seal[3] reported failure" in reason
    # After that nobody adds to it.
    assert sealer(4).seal(message, RESULTS, ARCResult("fail")) == message
    assert sealer(4).make_fields(message, RESULTS, ARCResult("fail")) == ()


async def test_the_seal_of_a_broken_chain_covers_its_own_set_alone() -> None:
    broken = chain(2).replace(b"Hello", b"Hallo")
    sealed = sealer(3).seal(broken, RESULTS, ARCResult("fail"))
    seals = [one for one in find_fields(sealed, "ARC-Seal") if b"cv=fail" in one]
    without_others = seals[0] + b"".join(
        one
        for name in ("ARC-Message-Signature", "ARC-Authentication-Results")
        for one in find_fields(sealed, name)
        if b"i=3" in one
    )
    assert is_sealed_alone(without_others)


def find_fields(message: bytes, name: str) -> list[bytes]:
    return [one.octets for one in header_of(message).all(name)]


def is_sealed_alone(fields: bytes) -> bool:
    """Verify a seal over the three fields of one set by hand."""
    seal, message, results = header_of(fields).fields
    relaxed = [
        dkim.canonicalization.Relaxed.canonicalize_headers(
            [(one.name.encode(), one.value + b"\r\n")]
        )[0]
        for one in (results, message, seal)
    ]
    octets = b"".join(name + b":" + value for name, value in relaxed)
    before, _, signature = octets.removesuffix(b"\r\n").rpartition(b"b=")
    try:
        KEY.public_key().verify(
            base64.b64decode(signature),
            before + b"b=",
            padding.PKCS1v15(),
            hashes.SHA256(),
        )
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize(
    ("fields", "instance"),
    [
        (b"ARC-Seal: i=4; cv=none\r\n", "5"),
        (b"ARC-Message-Signature: i=4\r\n", "5"),
        (b"ARC-Authentication-Results: i=4; x; none\r\n", "5"),
        (b"ARC-Seal: nonsense\r\n", "1"),
        (b"ARC-Seal: i=2; i=3\r\n", "3"),
        (b"ARC-Seal: i=1; cv=fail\r\nARC-Seal: i=2; cv=pass\r\n", "3"),
        (b"ARC-Seal: i=1; cv=pass\r\nARC-Seal: i=1; cv=fail\r\n", "2"),
        (b"ARC-Seal: i=1; cv=fail; cv=fail\r\n", "2"),
    ],
)
def test_what_is_left_of_a_chain_counts(fields: bytes, instance: str) -> None:
    message = sealer(1).seal(fields + MESSAGE, RESULTS, ARCResult("fail"))
    assert tags_of(message, "ARC-Seal")["i"] == instance


@pytest.mark.parametrize(("count", "is_sealed"), [(49, True), (50, False)])
async def test_limit_of_instances(count: int, is_sealed: bool) -> None:
    message = MESSAGE
    domains: tuple[str, ...] = ()
    for instance in range(1, count + 1):
        known = ARCResult("pass", "", domains) if domains else NONE
        message = sealer(instance).seal(message, RESULTS, known)
        domains += (f"h{instance}.example",)
    found = await verify(message)
    assert found.domains == domains
    sealed = sealer(51).seal(message, RESULTS, found)
    assert (sealed != message) is is_sealed
    assert len(find_sets(header_of(sealed))) == min(count + 1, MAX_INSTANCES)
    assert (await verify(sealed)).is_pass


@pytest.mark.parametrize(
    ("message", "result"),
    [
        (chain(1), NONE),
        (MESSAGE, ARCResult("pass", "", ("h1.example",))),
        (chain(2), ARCResult("pass", "", ("h1.example",))),
        (chain(1).replace(b"ARC-Seal", b"X"), ARCResult("pass", "", ("h1.example",))),
    ],
)
def test_a_result_of_another_message_is_refused(
    message: bytes, result: ARCResult
) -> None:
    with pytest.raises(ValueError, match="another ARC chain"):
        sealer(2).seal(message, RESULTS, result)


def test_what_cannot_be_sealed() -> None:
    with pytest.raises(BadSyntax, match="without From"):
        sealer(1).seal(b"Subject: hi\r\n\r\n", RESULTS, NONE)
    with pytest.raises(BadAddress):
        ARCSealer("h1..example", "s", KEY)
    with pytest.raises(BadAddress):
        ARCSealer("h1.example", "", KEY)
    with pytest.raises(ValueError, match="no private key"):
        ARCSealer("h1.example", "s", b"x")


def test_names_of_domains() -> None:
    one = ARCSealer("Bücher.example", "s", PEM)
    assert repr(one) == "ARCSealer('xn--bcher-kva.example', 's')"


@pytest.mark.parametrize("text", ["a\r\nX: y", 'a"b', "a;b", "a\\"])
async def test_results_cannot_break_out(text: str) -> None:
    found = AuthenticationResults(
        "h1.example", (MethodResult("spf", "fail", text, (("smtp.helo", text),)),)
    )
    message = sealer(1).seal(MESSAGE, found, NONE)
    result = await verify(message)
    assert result.is_pass
    assert result.results is not None
    expected = "".join("?" if one in "\r\n" else one for one in text)
    assert result.results.results[0].find("smtp.helo") == expected
    names = [one.name for one in header_of(message).fields]
    assert [name for name, _ in itertools.groupby(names)][3:] == [
        "From",
        "To",
        "Subject",
    ]

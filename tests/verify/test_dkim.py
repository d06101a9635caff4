"""DKIM: the vectors of the RFCs, another implementation, and every refusal."""

from __future__ import annotations

import base64
from typing import Any

import dkim  # type: ignore[import-untyped]  # it has no types
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpx.errors import BadAddress, BadSyntax
from smtpx.message.fields import parse_header
from smtpx.verify.canonical import (
    Canonicalization,
    canonicalize_body,
    canonicalize_field,
    select_fields,
)
from smtpx.verify.dkim import MAX_SIGNATURES, DKIMResult, verify_dkim
from smtpx.verify.keys import (
    KeyRefused,
    PrivateKey,
    load_private_key,
    make_key_record,
    parse_key_record,
    sign_octets,
)
from smtpx.verify.signatures import blanked
from smtpx.verify.signing import SIGNED_FIELDS, DKIMSigner
from smtpx.verify.tags import MAX_TAGS, blank_signature, parse_tags
from tests.verify.records import FAILS, ZoneResolver

RSA_KEY = rsa.generate_private_key(65537, 1024)
ED_KEY = ed25519.Ed25519PrivateKey.generate()
NOW = 1_700_000_000
MESSAGE = (
    b"From: Ann <ann@example.com>\r\nTo: bob@example.net\r\nSubject:  hi \r\n\tyou\r\n"
    b"\r\nHello.  \r\n\r\nBye\r\n\r\n\r\n"
)
ZONE: dict[str, Any] = {
    "r._domainkey.example.com": [("TXT", make_key_record(RSA_KEY))],
    "e._domainkey.example.com": [("TXT", make_key_record(ED_KEY))],
}


def signer(
    key: PrivateKey | bytes = RSA_KEY,
    selector: str = "r",
    *,
    fields: tuple[str, ...] = SIGNED_FIELDS,
    headers: Canonicalization = Canonicalization.RELAXED,
    body: Canonicalization = Canonicalization.RELAXED,
    expires_after: int | None = None,
) -> DKIMSigner:
    return DKIMSigner(
        "example.com",
        selector,
        key,
        fields=fields,
        headers=headers,
        body=body,
        expires_after=expires_after,
        clock=lambda: NOW,
    )


async def verify(
    message: bytes, zone: dict[str, Any] | None = None, now: float = NOW
) -> DKIMResult:
    resolver = ZoneResolver(ZONE if zone is None else zone)
    (result,) = await verify_dkim(message, resolver, now=now)
    return result


# The vectors of the RFCs.

ED25519_MESSAGE = b"""\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
""".replace(b"\n", b"\r\n")

ED25519_ZONE: dict[str, Any] = {
    "brisbane._domainkey.football.example.com": [
        ("TXT", "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    ],
    "test._domainkey.football.example.com": [
        (
            "TXT",
            "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR"
            "iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC"
            "DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3"
            "Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
        )
    ],
}


async def test_vectors_of_rfc_8463_appendix_a() -> None:
    resolver = ZoneResolver(ED25519_ZONE)
    results = await verify_dkim(ED25519_MESSAGE, resolver)
    assert [(one.result, one.selector, one.algorithm) for one in results] == [
        ("pass", "brisbane", "ed25519"),
        ("pass", "test", "rsa"),
    ]
    assert [one.key_bits for one in results] == [256, 1024]


def test_the_key_of_rfc_8463_makes_the_signature_of_rfc_8463() -> None:
    """Ed25519 is deterministic: the octets must be those of the RFC."""
    key = load_private_key(b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    header, start = parse_header(ED25519_MESSAGE)
    field = header.fields[0]
    names = "".join(parse_tags(field.value)["h"].split()).split(":")
    fields = [
        canonicalize_field(one.octets, Canonicalization.RELAXED)
        for one in select_fields(header, names)
    ]
    octets = b"".join(fields) + blanked(field, Canonicalization.RELAXED)
    signature = base64.b64encode(sign_octets(key, octets)).decode()
    assert signature == "".join(parse_tags(field.value)["b"].split())
    assert ED25519_MESSAGE[start:].startswith(b"Hi.")


# The signature is right for six spaces, and one in the body: the RFC shows others.
SIMPLE_MESSAGE = b"""\
DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
""".replace(b"\n", b"\r\n")


async def test_vector_of_rfc_6376_appendix_a() -> None:
    zone = {
        "brisbane._domainkey.example.com": [
            (
                "TXT",
                "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9"
                "ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7"
                "od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBc"
                "WToIMmPSPDdQPNUYckcQ2QIDAQAB",
            )
        ]
    }
    result = await verify(SIMPLE_MESSAGE, zone)
    assert (result.domain, result.identity) == (
        "example.com",
        "joe@football.example.com",
    )
    assert result.result == "pass"


# Canonical forms: RFC 6376 section 3.4.5.


@pytest.mark.parametrize(
    ("mode", "fields", "body"),
    [
        (
            Canonicalization.RELAXED,
            [b"a:X\r\n", b"b:Y Z\r\n"],
            b" C\r\nD E\r\n",
        ),
        (
            Canonicalization.SIMPLE,
            [b"A: X\r\n", b"B : Y\t\r\n\tZ  \r\n"],
            b" C \r\nD \t E\r\n",
        ),
    ],
)
def test_examples_of_canonical_forms(
    mode: Canonicalization, fields: list[bytes], body: bytes
) -> None:
    raw = [b"A: X\r\n", b"B : Y\t\r\n\tZ  \r\n"]
    assert [canonicalize_field(one, mode) for one in raw] == fields
    assert canonicalize_body(b" C \r\nD \t E\r\n\r\n\r\n", mode) == body


@pytest.mark.parametrize(
    ("body", "simple", "relaxed"),
    [
        (b"", b"\r\n", b""),
        (b"\r\n\r\n", b"\r\n", b""),
        (b"a", b"a\r\n", b"a\r\n"),
        (b"a \t", b"a \t\r\n", b"a\r\n"),
        (b" ", b" \r\n", b""),
        (b" \r\n\r\n", b" \r\n", b""),
        (b"a\r", b"a\r\r\n", b"a\r\r\n"),
        (b"a\n\r\n", b"a\n\r\n", b"a\n\r\n"),
        (b"a\r\n \r\n", b"a\r\n \r\n", b"a\r\n"),
        (b"\r\na", b"\r\na\r\n", b"\r\na\r\n"),
    ],
)
def test_ends_of_bodies(body: bytes, simple: bytes, relaxed: bytes) -> None:
    assert canonicalize_body(body, Canonicalization.SIMPLE) == simple
    assert canonicalize_body(body, Canonicalization.RELAXED) == relaxed


def test_fields_are_taken_from_the_bottom() -> None:
    header, _ = parse_header(b"A: 1\r\nB: 2\r\nA: 3\r\n\r\n")
    found = select_fields(header, ["a", "x", "a", "a", "b"])
    assert [one.text for one in found] == ["3", "1", "2"]


@pytest.mark.parametrize(
    "octets",
    [b"a", b"a=1;;b=2", b"=1", b"1a=1", b"a=1; a=2", b"a b=1", b"\xe5=1", b"a=1;b"],
)
def test_broken_tags(octets: bytes) -> None:
    with pytest.raises(BadSyntax):
        parse_tags(octets)


def test_tags() -> None:
    assert parse_tags(b"") == {}
    assert parse_tags(b" a = b=c ; D_1= ;\r\n ") == {"a": "b=c", "D_1": ""}
    many = b";".join(b"t%d=1" % one for one in range(MAX_TAGS))
    assert len(parse_tags(many)) == MAX_TAGS
    with pytest.raises(BadSyntax, match="over 100"):
        parse_tags(many + b";x=1")


def test_the_signature_is_blanked_and_nothing_else() -> None:
    octets = b" bh=b=; \r\n\tb\r\n = a b=\r\n ; x=b"
    assert blank_signature(octets) == b" bh=b=; \r\n\tb\r\n =; x=b"
    assert blank_signature(b"b=x") == b"b="


# Signed and verified.


@pytest.mark.parametrize("headers", list(Canonicalization))
@pytest.mark.parametrize("body", list(Canonicalization))
@pytest.mark.parametrize(("key", "selector"), [(RSA_KEY, "r"), (ED_KEY, "e")])
async def test_what_was_signed_is_verified(
    key: PrivateKey, selector: str, headers: Canonicalization, body: Canonicalization
) -> None:
    signed = signer(key, selector, headers=headers, body=body).sign(MESSAGE)
    result = await verify(signed)
    assert result.result == "pass"
    assert result.reason == ""
    assert result.is_pass
    written = result.to_method_result()
    assert written.find("header.d") == "example.com"
    assert written.find("header.s") == selector
    assert written.find("header.b") == result.signature
    assert len(result.signature) == 8
    assert written.comment.endswith("-bit key")
    changed = signed.replace(b"Bye", b"Bye!")
    assert (await verify(changed)).reason == "body hash mismatch"
    changed = signed.replace(b"bob@", b"rob@")
    assert (await verify(changed)).reason == "signature mismatch"
    respaced = signed.replace(b"Subject:  hi", b"Subject: hi")
    is_simple = headers is Canonicalization.SIMPLE
    assert (await verify(respaced)).is_pass is not is_simple


@pytest.mark.parametrize(
    "field", [b"From: x@y.z", b"Subject: x", b"To: x@y.z", b"Cc: x"]
)
async def test_no_field_can_be_added(field: bytes) -> None:
    signed = signer().sign(MESSAGE)
    assert (await verify(b"X: y\r\n" + signed)).is_pass
    assert (await verify(field + b"\r\n" + signed)).reason == "signature mismatch"


def zone_lookup(name: bytes, timeout: int = 5) -> bytes:
    found = ZONE.get(name.decode().rstrip("."))
    return b"" if found is None else found[0][1].encode()


@pytest.mark.parametrize(("key", "selector"), [(RSA_KEY, "r"), (ED_KEY, "e")])
@pytest.mark.parametrize("mode", list(Canonicalization))
def test_another_implementation_verifies_ours(
    key: PrivateKey, selector: str, mode: Canonicalization
) -> None:
    for message in (MESSAGE, b"From: a@b.c\r\n\r\n", MESSAGE + b"x" * 5000):
        one = signer(key, selector, headers=mode, body=mode, expires_after=10**9)
        assert dkim.verify(one.sign(message), dnsfunc=zone_lookup)


PEM = RSA_KEY.private_bytes(
    Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
)
MODES = [(b"simple", b"simple"), (b"relaxed", b"relaxed"), (b"simple", b"relaxed")]


@settings(max_examples=60)
@given(
    st.text("a \t\n.b:", max_size=60),
    st.text("ab \t", max_size=30),
    st.sampled_from(MODES),
)
async def test_ours_verifies_another_implementation(
    body: str, subject: str, mode: tuple[bytes, bytes]
) -> None:
    # A last line without its end is not the same to both; no mail has one.
    message = f"From: a@example.com\r\nSubject: {subject}\r\n\r\n{body}\n"
    octets = message.replace("\r\n", "\n").replace("\n", "\r\n").encode()
    field = dkim.sign(octets, b"r", b"example.com", PEM, canonicalize=mode)
    result = await verify(field + octets, now=4_000_000_000)
    assert result.reason == ""


# Every refusal.


def altered(old: bytes, new: bytes) -> bytes:
    """Change the signature field, which breaks it, too: the first fault counts."""
    field = signer(expires_after=1000)(MESSAGE).replace(b"\r\n ", b" ")
    assert old in field
    return field.replace(old, new, 1) + MESSAGE


@pytest.mark.parametrize(
    ("old", "new", "result", "reason"),
    [
        (b"v=1", b"v=2", "permerror", "another version"),
        (b"v=1;", b"", "permerror", "without tag v="),
        (b"d=example.com;", b"", "permerror", "without tag d="),
        (b"d=example.com", b"d=exa..mple", "permerror", "no domain"),
        (b"d=example.com", b"d=", "permerror", "no domain"),
        (b"s=r", b"s=r/../x", "permerror", "no domain"),
        (b"s=r;", b"s=r; s=r;", "permerror", "comes twice"),
        (b"a=rsa-sha256", b"a=rsa-sha1", "policy", "SHA-1"),
        (b"a=rsa-sha256", b"a=rsa-md5", "permerror", "unknown algorithm"),
        (b"a=rsa-sha256", b"a=ed25519-sha256", "permerror", "another algorithm"),
        (b"c=relaxed", b"c=other", "permerror", "canonicalization"),
        (b"h=from", b"h=form", "fail", "signature mismatch"),
        (b"t=1700000000", b"t=x", "permerror", "no number"),
        (b"t=1700000000", b"t=1700000301", "permerror", "from the future"),
        (b"t=1700000000", b"t=1700000300", "fail", "signature mismatch"),
        (b"x=1700001000", b"x=1699999999", "permerror", "before it was made"),
        (b"v=1;", b"v=1; q=other;", "permerror", "nowhere"),
        (b"v=1;", b"v=1; q=other : dns/txt;", "fail", "mismatch"),
        (b"v=1;", b"v=1; i=@other.com;", "permerror", "identity of another"),
        (b"v=1;", b"v=1; i=x@notexample.com;", "permerror", "identity of another"),
        (b"v=1;", b"v=1; i=x@sub.example.com;", "fail", "mismatch"),
        (b"v=1;", b"v=1; l=x;", "permerror", "no number"),
        (b"v=1;", b"v=1; l=5;", "fail", "body hash"),
        (b"bh=", b"bh=!", "permerror", "no base64"),
        (b"b= ", b"b=! ", "permerror", "no base64"),
        (b"s=r", b"s=none", "permerror", "no key"),
        (b"s=r", b"s=gone", "permerror", "no key"),
        (b"s=r", b"s=down", "temperror", "TXT"),
        (b"s=r", b"s=revoked", "permerror", "revoked"),
        (b"s=r", b"s=two", "permerror", "several keys"),
        (b"v=1;", b"nonsense;", "permerror", "not a list"),
    ],
)
async def test_refusals(old: bytes, new: bytes, result: str, reason: str) -> None:
    zone = {
        **ZONE,
        "gone._domainkey.example.com": [("TXT", "v=spf1 -all")],
        "down._domainkey.example.com": FAILS,
        "revoked._domainkey.example.com": [("TXT", "v=DKIM1; p=")],
        "two._domainkey.example.com": [("TXT", "p=a"), ("TXT", "v=DKIM1; p =b")],
    }
    found = await verify(altered(old, new), zone)
    assert (found.result, reason in found.reason) == (result, True), found.reason
    assert not found.is_pass


async def test_a_signature_that_does_not_cover_from() -> None:
    field = signer()(MESSAGE).replace(b"from", b"xfrom")
    assert "From" in (await verify(field + MESSAGE)).reason


@pytest.mark.parametrize(("late", "is_fine"), [(300, True), (301, False)])
async def test_expiry(late: int, is_fine: bool) -> None:
    signed = signer(expires_after=1000).sign(MESSAGE)
    found = await verify(signed, now=NOW + 1000 + late)
    assert found.is_pass is is_fine
    if not is_fine:
        assert found.reason == "signature expired"


async def test_a_part_of_the_body_is_not_enough() -> None:
    """Another implementation signs with a length; then something is added."""
    field = dkim.sign(MESSAGE, b"r", b"example.com", PEM, length=True)
    signed = field + MESSAGE
    assert (await verify(signed, now=4_000_000_000)).is_pass
    found = await verify(signed + b"<h1>evil</h1>\r\n", now=4_000_000_000)
    assert (found.result, found.reason) == ("policy", "it covers a part of the body")


async def test_only_so_many_signatures_are_verified() -> None:
    signed = signer()(MESSAGE) * (MAX_SIGNATURES + 1) + MESSAGE
    resolver = ZoneResolver(ZONE)
    results = await verify_dkim(signed, resolver, now=NOW)
    assert len(results) == len(resolver.questions) == MAX_SIGNATURES
    assert await verify_dkim(MESSAGE, resolver) == ()


async def test_a_file_with_lf_line_ends_is_verified() -> None:
    signed = signer().sign(MESSAGE).replace(b"\r\n", b"\n")
    assert (await verify(signed)).is_pass


async def test_large_messages_are_verified_in_a_thread() -> None:
    signed = signer().sign(MESSAGE + b"x" * 1_000_000)
    assert (await verify(signed)).is_pass


@pytest.mark.parametrize(
    "white_space",
    [b" ", b"\t", b"\r\n ", b" \r\n\t"],
    ids=["sp", "tab", "fold", "both"],
)
async def test_white_space_takes_linear_time(white_space: bytes) -> None:
    """For dkimpy 1.1.8, 22 KB of it are seconds, and 2 MB would be hours."""
    run = white_space * 20_000
    field = altered(b"b= ", b"b= " + run + b"!")
    assert not (await verify(field)).is_pass
    signed = signer().sign(MESSAGE + run * 20 + b"x")
    assert (await verify(signed)).is_pass
    signed = signer().sign(b"X: " + run + b"\r\n" + MESSAGE)
    assert (await verify(signed)).is_pass


async def test_hostile_field_lists_take_linear_time() -> None:
    many = b"Y: z\r\n" * 9_000
    field = altered(b"h=from", b"h=" + b"y : " * 900 + b"from")
    assert (await verify(many + field)).reason == "signature mismatch"
    field = altered(b"h=from", b"h=" + b"y : " * 1001 + b"from")
    assert "over 1000" in (await verify(field)).reason
    field = altered(b"v=1;", b"v=1; z=" + b"x" * 65_536 + b";")
    assert "over 65536" in (await verify(field)).reason


@given(st.binary(max_size=200))
async def test_no_field_makes_it_raise(octets: bytes) -> None:
    octets = octets.replace(b"\n", b"")
    for start in (b"", b"v=1; a=rsa-sha256; b=aaaa; bh=aaaa; h=from; s=r; d="):
        message = b"DKIM-Signature: " + start + octets + b"\r\n" + MESSAGE
        assert not (await verify(message)).is_pass


# Keys.


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"v=DKIM2; p=x", "another version"),
        (b"p=x; v=DKIM1", "another version"),
        (b"v=DKIM1; p=!", "bad RSA"),
        (b"v=DKIM1; p=a", "no base64"),
        (b"v=DKIM1; p=", "revoked"),
        (b"v=DKIM1", "without a key"),
        (b"v=DKIM1; s=other; p=x", "not for mail"),
        (b"v=DKIM1; k=dsa; p=aaaa", "unknown algorithm"),
        (b"v=DKIM1; k=ed25519; p=aaaa", "Ed25519"),
        (b"v=DKIM1; p=aaaa", "bad RSA"),
        (b"p=x; p=x", "twice"),
        (b"p=" + b"a" * 8191, "over 8192"),
    ],
)
def test_keys_that_are_refused(record: bytes, reason: str) -> None:
    with pytest.raises(KeyRefused, match=reason):
        parse_key_record(record)


def test_a_key_of_another_kind_is_no_rsa_key() -> None:
    der = (
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(KeyRefused, match="bad RSA"):
        parse_key_record(b"p=" + base64.b64encode(der))


def record_of_bits(bits: int) -> bytes:
    """Make a record of a key with any modulus: nobody needs to know its factors."""
    numbers = rsa.RSAPublicNumbers(65537, (1 << (bits - 1)) + 1)
    der = numbers.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return b"p=" + base64.b64encode(der)


@pytest.mark.parametrize(
    ("bits", "is_fine"), [(1024, True), (1016, False), (8192, True), (8200, False)]
)
def test_limits_of_keys(bits: int, is_fine: bool) -> None:
    if is_fine:
        assert parse_key_record(record_of_bits(bits)).bits == bits
    else:
        with pytest.raises(KeyRefused, match=f"RSA key of {bits} bits"):
            parse_key_record(record_of_bits(bits))


def test_flags_of_keys() -> None:
    record = make_key_record(RSA_KEY).encode()
    assert not parse_key_record(record).is_testing
    found = parse_key_record(record + b"; t=y : s; h=sha256 : x; s=email; n=note")
    assert found.is_testing
    assert found.is_strict
    assert found.hashes == {"sha256", "x"}


@pytest.mark.parametrize(
    ("tag", "result"),
    [
        ("t=y", "pass"),
        ("t=s", "permerror"),
        ("h=sha1", "permerror"),
        ("h=sha256", "pass"),
    ],
)
async def test_what_keys_are_for(tag: str, result: str) -> None:
    zone = {"r._domainkey.example.com": [("TXT", f"{make_key_record(RSA_KEY)}; {tag}")]}
    octets = b"From: ann@example.com\r\n\r\n"
    field = dkim.sign(octets, b"r", b"example.com", PEM, identity=b"@x.example.com")
    found = await verify(field + octets, zone, now=4_000_000_000)
    assert found.result == result
    assert found.is_testing is (tag == "t=y")


def test_private_keys() -> None:
    assert isinstance(load_private_key(PEM), rsa.RSAPrivateKey)
    pem = ED_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert isinstance(load_private_key(pem), ed25519.Ed25519PrivateKey)
    assert signer(PEM).algorithm == "rsa-sha256"
    assert signer(pem).algorithm == "ed25519-sha256"


OTHER = ec.generate_private_key(ec.SECP256R1()).private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)


@pytest.mark.parametrize("pem", [b"", b"x", b"-----BEGIN", OTHER, b"aaaa", PEM[:-99]])
def test_what_is_no_private_key(pem: bytes) -> None:
    with pytest.raises(ValueError, match="key") as caught:
        load_private_key(pem)
    assert caught.value.__cause__ is None
    assert PEM[60:100].decode() not in str(caught.value)


def test_weak_private_keys_are_refused() -> None:
    one, other, public = 2**127 - 1, 2**521 - 1, 65537
    secret = pow(public, -1, (one - 1) * (other - 1))
    weak = rsa.RSAPrivateNumbers(
        *(one, other, secret),
        rsa.rsa_crt_dmp1(secret, one),
        rsa.rsa_crt_dmq1(secret, other),
        rsa.rsa_crt_iqmp(one, other),
        rsa.RSAPublicNumbers(public, one * other),
    ).private_key()
    pem = weak.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="at least 1024"):
        load_private_key(pem)


def test_signers_show_no_key_and_refuse_what_is_no_domain() -> None:
    assert repr(signer()) == "DKIMSigner('example.com', 'r')"
    assert DKIMSigner("Grå.example.", "s_1", ED_KEY).domain == "xn--gr-zia.example"
    with pytest.raises(BadAddress):
        DKIMSigner("a;b", "r", ED_KEY)
    with pytest.raises(BadAddress):
        DKIMSigner("a.b", "r; x=1", ED_KEY)


def test_a_message_without_from_cannot_be_signed() -> None:
    with pytest.raises(BadSyntax, match="without From"):
        signer().sign(b"To: a@b.c\r\n\r\n")


def test_only_the_fields_named_are_signed() -> None:
    octets = signer(fields=("Subject",))(MESSAGE)
    tags = parse_tags(octets.partition(b":")[2])
    names = tags["h"].replace("\r\n", "").replace(" ", "").split(":")
    assert names == ["from", "subject", "from", "subject"]
    assert "x" not in tags
    assert all(len(line) <= 80 for line in octets.split(b"\r\n"))

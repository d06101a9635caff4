"""What strangers put into signatures and the DNS: refused as documented, or read."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address
from typing import Final

from fuzz.source import Source, allow
from smtpx.errors import BadSyntax
from smtpx.message.fields import HeaderField, parse_header
from smtpx.verify.arc import find_sets, verify_arc
from smtpx.verify.canonical import (
    Canonicalization,
    SignedContent,
    canonicalize_body,
    canonicalize_field,
)
from smtpx.verify.dkim import verify_dkim
from smtpx.verify.dmarc import author_domain, parse_dmarc_record
from smtpx.verify.keys import parse_key_record
from smtpx.verify.signatures import parse_signature
from smtpx.verify.spf import check_spf
from smtpx.verify.tags import blank_signature, parse_tags
from tests.verify.records import ZoneResolver

__all__ = ["canonical", "signed", "spf", "tags"]

_NOW: Final = 1_700_000_000.0
_SPF_RESULTS: Final = frozenset(
    ("none", "neutral", "pass", "fail", "softfail", "temperror", "permerror")
)


def tags(octets: bytes) -> None:
    """Tag lists, and each kind of record and field that is one."""
    found = allow(BadSyntax, lambda: parse_tags(octets))
    if found is not None:
        # White space around is of no meaning, so it says the same without.
        joined = "; ".join(f"{name}={value}" for name, value in found.items())
        assert parse_tags(joined.encode()) == found or "\ufffd" in joined
        blank = allow(BadSyntax, lambda: parse_tags(blank_signature(octets)))
        assert blank is not None
        assert blank == {**found, **({"b": ""} if "b" in found else {})}
    allow(BadSyntax, lambda: parse_key_record(octets))
    parse_dmarc_record(octets, "example.com")
    parse_dmarc_record(b"v=DMARC1;" + octets, "example.com")
    field = HeaderField("DKIM-Signature", b"DKIM-Signature:" + octets + b"\r\n")
    for is_seal, names in ((False, "a b bh d s"), (True, "a b d s")):
        needed = frozenset(names.split())
        try:
            signature = parse_signature(field, required=needed, is_seal=is_seal)
        except BadSyntax:
            continue
        assert signature.domain.isascii()
        assert signature.signature


def canonical(octets: bytes) -> None:
    """Canonical forms: of theirs they are their own."""
    for mode in Canonicalization:
        body = canonicalize_body(octets, mode)
        assert canonicalize_body(body, mode) == body
    content = SignedContent(octets)
    for field in content.header.fields:
        for mode in Canonicalization:
            made = canonicalize_field(field.octets, mode)
            assert made.endswith(b"\r\n")
            assert canonicalize_field(made, mode) == made
    for mode in Canonicalization:
        assert content.canonical_body(mode) == canonicalize_body(content.body, mode)
        assert len(content.body_hash(mode, 3)) == 32


def signed(octets: bytes) -> None:
    """DKIM and ARC of a whole message: a verdict, never an error."""
    source = Source(octets)
    record = source.word().decode("utf-8", "surrogateescape")
    text = source.rest()
    zone = {
        "s._domainkey.d.test": [("TXT", record.encode("utf-8", "replace").decode())]
    }
    resolver = ZoneResolver(zone)

    async def judge() -> None:
        for result in await verify_dkim(text, resolver, now=_NOW):
            assert not result.is_pass
            result.to_method_result()
        arc = await verify_arc(text, resolver, now=_NOW)
        assert not arc.is_pass
        arc.to_method_result()

    _run(judge())
    header, _ = parse_header(text)
    allow(BadSyntax, lambda: find_sets(header))
    allow(BadSyntax, lambda: author_domain(header))


def spf(octets: bytes) -> None:
    """SPF records of strangers: a verdict, never an error, and few questions."""
    source = Source(octets)
    record = source.word().decode("utf-8", "replace")
    other = source.word().decode("utf-8", "replace")
    reverse_path = source.text()
    resolver = ZoneResolver(
        {
            "d.test": [("TXT", "v=spf1 " + record), ("A", "192.0.2.1")],
            "e.test": [("TXT", "v=spf1 " + other), ("MX", "10 d.test")],
        }
    )

    async def judge(path: str) -> None:
        found = await check_spf(IPv4Address("192.0.2.1"), path, "c.test", resolver)
        assert found.result in _SPF_RESULTS
        assert found.explanation.isprintable()
        assert found.reason.isprintable()
        found.to_method_result()

    _run(judge("a@d.test"))
    _run(judge(reverse_path))
    # RFC 7208 section 4.6.4 allows 10 terms that ask, each of which asks for few names.
    assert len(resolver.questions) < 500


def _run(judging: object) -> None:
    """Run a coroutine; nothing in it waits for anything."""
    with asyncio.Runner() as runner:
        runner.run(judging)  # type: ignore[arg-type]

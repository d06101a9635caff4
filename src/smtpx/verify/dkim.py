"""DKIM: which domains answer for a message (RFC 6376, RFC 8301, RFC 8463).

A signature passes, or it says why it does not; one that fails counts as none (RFC 6376
section 6.1). Stricter than the RFC: one that covers a part of the body only (tag ``l``)
does not pass, since anybody could have added the rest.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from smtpx.errors import BadSyntax
from smtpx.message.results import MethodResult
from smtpx.net.dns import DNSFailure
from smtpx.verify.canonical import SignedContent
from smtpx.verify.keys import KeyRecord, KeyRefused, fetch_key
from smtpx.verify.signatures import (
    Signature,
    WeakSignature,
    check_key,
    check_times,
    find_fault,
    parse_signature,
    parse_signing_domain,
)
from smtpx.verify.tags import parse_tags
from smtpx.verify.threads import run_off_loop

if TYPE_CHECKING:
    from smtpx.message.fields import HeaderField
    from smtpx.net.records import RecordResolver

__all__ = ["MAX_SIGNATURES", "DKIMResult", "verify_dkim"]

MAX_SIGNATURES: Final = 10
"""Verified of one message, from the top; each costs a DNS lookup and a computation.

RFC 6376 section 6.1 lets a verifier limit it; mailing lists and providers add one each.
"""

_REQUIRED: Final = frozenset({"v", "a", "b", "bh", "d", "h", "s"})


@dataclass(frozen=True, slots=True)
class DKIMResult:
    """What became of one signature.

    Attributes:
        result: ``pass``, ``fail``, ``policy`` (in order, but it proves too little),
            ``neutral`` or ``permerror`` (malformed, or no key), ``temperror`` (the DNS
            could not be asked); RFC 8601 section 2.7.1.
        domain: that answers for the message, in A-labels; empty if there is none.
        selector: which of its keys.
        identity: on whose behalf, as ``@example.com``.
        algorithm: ``rsa`` or ``ed25519``.
        reason: why it did not pass.
        signature: its first characters, which tell it from others (RFC 6008).
        is_testing: whether the domain only tries DKIM out.
        key_bits: how long the key is; 0 if there was none.
    """

    result: str
    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    reason: str = ""
    signature: str = ""
    is_testing: bool = False
    key_bits: int = 0

    @property
    def is_pass(self) -> bool:
        """Whether the domain answers for the message."""
        return self.result == "pass"

    def to_method_result(self) -> MethodResult:
        """Write it for an Authentication-Results field (RFC 8601 section 2.7.1)."""
        named = {
            "header.d": self.domain,
            "header.i": self.identity,
            "header.s": self.selector,
            "header.a": f"{self.algorithm}-sha256" if self.algorithm else "",
            "header.b": self.signature,
        }
        properties = tuple((name, value) for name, value in named.items() if value)
        bits = f"{self.key_bits}-bit key" if self.key_bits else ""
        return MethodResult("dkim", self.result, self.reason, properties, bits)


async def verify_dkim(
    message: bytes | SignedContent,
    resolver: RecordResolver,
    *,
    now: float | None = None,
    timeout: float | None = None,
) -> tuple[DKIMResult, ...]:
    """Verify the DKIM signatures of a message.

    Args:
        message: as it was received.
        resolver: for the keys.
        now: seconds since 1970; None: by the clock.
        timeout: in seconds, for each key; a signature whose key does not come in time
            is a ``temperror``, and the others are what they are.

    Returns:
        A result for each signature, from the top; none if there is no signature.
    """
    content = message if isinstance(message, SignedContent) else SignedContent(message)
    when = time.time() if now is None else now
    fields = content.header.all("DKIM-Signature")[:MAX_SIGNATURES]
    return tuple(
        await asyncio.gather(
            *(_verify(content, field, resolver, when, timeout) for field in fields)
        )
    )


async def _verify(
    content: SignedContent,
    field: HeaderField,
    resolver: RecordResolver,
    now: float,
    timeout: float | None,
) -> DKIMResult:
    try:
        signature = parse_signature(field, required=_REQUIRED)
        _check(signature)
    except WeakSignature as error:
        return replace(_glance(field), result="policy", reason=error.text)
    except BadSyntax as error:
        return replace(_glance(field), result="permerror", reason=error.text)
    told = DKIMResult(
        result="neutral",
        domain=signature.domain,
        selector=signature.selector,
        identity=signature.identity,
        algorithm=signature.algorithm,
        signature="".join(signature.tags["b"].split())[:8],
    )
    try:
        check_times(signature, now)
        async with asyncio.timeout(timeout):
            key = await _find_key(signature, resolver)
    except TimeoutError:
        return replace(told, result="temperror", reason="the key did not come in time")
    except DNSFailure as error:
        return replace(told, result="temperror", reason=str(error))
    except BadSyntax as error:
        return replace(told, result="permerror", reason=error.text)
    told = replace(told, is_testing=key.is_testing, key_bits=key.bits)
    result, reason = await run_off_loop(
        lambda: _judge(content, signature, key), len(content.body)
    )
    return replace(told, result=result, reason=reason)


async def _find_key(signature: Signature, resolver: RecordResolver) -> KeyRecord:
    """Look up the key and check that it may verify the signature (section 6.1.2)."""
    key = await fetch_key(resolver, signature.domain, signature.selector)
    check_key(signature, key)
    if key.is_strict and _identity_domain(signature) != signature.domain:
        raise KeyRefused("the key is for the very domain, not below it")
    return key


def _judge(
    content: SignedContent, signature: Signature, key: KeyRecord
) -> tuple[str, str]:
    fault = find_fault(content, signature, key)
    if fault:
        return "fail", fault
    whole = len(content.canonical_body(signature.body_mode))
    if signature.length is not None and signature.length < whole:
        return "policy", "it covers a part of the body"
    return "pass", ""


def _check(signature: Signature) -> None:
    """Check what RFC 6376 section 6.1.1 asks for before a key is looked up."""
    if signature.tags["v"] != "1":
        raise BadSyntax("signature of another version")
    if "from" not in signature.names:
        raise BadSyntax("signature that does not cover From")
    domain = _identity_domain(signature)
    if domain != signature.domain and not domain.endswith(f".{signature.domain}"):
        raise BadSyntax("identity of another domain")


def _identity_domain(signature: Signature) -> str:
    return parse_signing_domain(signature.identity.rpartition("@")[2])


def _glance(field: HeaderField) -> DKIMResult:
    """Tell what little a malformed signature says, so that a reader knows which."""
    try:
        tags = parse_tags(field.value)
    except BadSyntax:
        tags = {}
    return DKIMResult(
        result="permerror",
        domain=tags.get("d", "")[:255],
        selector=tags.get("s", "")[:255],
        signature="".join(tags.get("b", "").split())[:8],
    )

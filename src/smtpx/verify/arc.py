"""ARC: who handled a message, and what they found before they changed it (RFC 8617).

A chain that passes says that the fields are those that the hosts wrote. Whether to
believe a host is for whoever reads it: see `ARCResult.results`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smtpx.errors import BadSyntax
from smtpx.message.results import AuthenticationResults, MethodResult
from smtpx.net.dns import DNSFailure
from smtpx.verify.canonical import (
    Canonicalization,
    SignedContent,
    canonicalize_field,
)
from smtpx.verify.keys import KeyRecord, fetch_key, is_signed_by
from smtpx.verify.signatures import (
    Signature,
    blanked,
    check_key,
    check_times,
    find_fault,
    parse_number,
    parse_signature,
)
from smtpx.verify.tags import parse_tags
from smtpx.verify.threads import run_off_loop

if TYPE_CHECKING:
    from smtpx.message.fields import Header, HeaderField
    from smtpx.net.records import RecordResolver

__all__ = [
    "MAX_INSTANCES",
    "ARCResult",
    "ARCSet",
    "find_instance",
    "find_sets",
    "sealed_octets",
    "verify_arc",
]

MAX_INSTANCES: Final = 50
"""RFC 8617 section 4.2.1."""

_SEAL_TAGS: Final = frozenset({"i", "a", "b", "cv", "d", "s"})
_MESSAGE_TAGS: Final = frozenset({"i", "a", "b", "bh", "d", "h", "s"})


@dataclass(frozen=True, slots=True)
class ARCSet:
    """The three fields that one host added (RFC 8617 section 4.1).

    Attributes:
        instance: from 1, the first host.
        results: the ARC-Authentication-Results field.
        message: the ARC-Message-Signature field.
        seal: the ARC-Seal field.
    """

    instance: int
    results: HeaderField
    message: HeaderField
    seal: HeaderField


@dataclass(frozen=True, slots=True)
class ARCResult:
    """What became of a chain.

    Attributes:
        result: ``none``, ``pass``, ``fail``, or ``temperror`` if the DNS could not be
            asked.
        reason: why it did not pass.
        domains: that sealed it, the first first.
        results: what the last of them found when it got the message; None if that
            cannot be read, or the chain does not pass.
    """

    result: str
    reason: str = ""
    domains: tuple[str, ...] = ()
    results: AuthenticationResults | None = None

    @property
    def is_pass(self) -> bool:
        """Whether the chain is whole."""
        return self.result == "pass"

    def to_method_result(self) -> MethodResult:
        """Write it for an Authentication-Results field (RFC 8617 section 10.1)."""
        comment = f"i={len(self.domains)}" if self.domains else ""
        properties = (("header.d", self.domains[-1]),) if self.domains else ()
        return MethodResult("arc", self.result, self.reason, properties, comment)


async def verify_arc(
    message: bytes | SignedContent,
    resolver: RecordResolver,
    *,
    now: float | None = None,
) -> ARCResult:
    """Verify the ARC chain of a message (RFC 8617 section 5.2).

    Args:
        message: as it was received.
        resolver: for the keys.
        now: seconds since 1970; None: by the clock.

    Returns:
        The result.
    """
    content = message if isinstance(message, SignedContent) else SignedContent(message)
    when = time.time() if now is None else now
    try:
        sets = find_sets(content.header)
        if not sets:
            return ARCResult("none")
        seals = [_parse_seal(one) for one in sets]
        await _verify_message(content, sets[-1], resolver, when)
        for count in range(len(sets), 0, -1):
            await _verify_seal(sets[:count], seals[count - 1], resolver, when)
    except BadSyntax as error:
        return ARCResult("fail", error.text)
    except DNSFailure as error:
        return ARCResult("temperror", str(error))
    domains = tuple(seal.domain for seal in seals)
    return ARCResult("pass", "", domains, _read_results(sets[-1]))


def find_sets(header: Header) -> list[ARCSet]:
    """Find the ARC sets, and check that they make a chain (section 5.2 steps 1 to 3).

    Args:
        header: of the message.

    Returns:
        The sets, the first first; none if the message has none.

    Raises:
        BadSyntax: one is incomplete, there twice, or missing.
    """
    by_kind = [
        _by_instance(header.all(f"ARC-{name}"))
        for name in ("Authentication-Results", "Message-Signature", "Seal")
    ]
    results, messages, seals = by_kind
    count = len(seals)
    if not results.keys() == messages.keys() == seals.keys() == {*range(1, count + 1)}:
        raise BadSyntax("the ARC sets are not complete")
    return [
        ARCSet(at, results[at], messages[at], seals[at]) for at in range(1, count + 1)
    ]


def _by_instance(fields: tuple[HeaderField, ...]) -> dict[int, HeaderField]:
    if len(fields) > MAX_INSTANCES:
        raise BadSyntax(f"over {MAX_INSTANCES} ARC sets")
    found: dict[int, HeaderField] = {}
    for one in fields:
        instance = _parse_instance(one)
        if instance in found:
            raise BadSyntax("an ARC set is there twice")
        found[instance] = one
    return found


def _parse_instance(one: HeaderField) -> int:
    # Of the results only the instance is a tag; the rest is not looked at here.
    name, _, value = one.value.partition(b";")[0].partition(b"=")
    if name.strip() != b"i":
        value = parse_tags(one.value).get("i", "").encode()
    return parse_number(value.strip().decode("ascii", "replace"), "i")


def find_instance(one: HeaderField) -> int | None:
    """Return to which set a field belongs; None if it does not say.

    Args:
        one: any of the three fields.
    """
    try:
        return _parse_instance(one)
    except BadSyntax:
        return None


def _parse_seal(one: ARCSet) -> Signature:
    """Parse a seal and check what it says of the chain before it."""
    seal = parse_signature(one.seal, required=_SEAL_TAGS, is_seal=True)
    if "h" in seal.tags:
        raise BadSyntax("an ARC seal with tag h=")
    expected = "none" if one.instance == 1 else "pass"
    if seal.tags["cv"].lower() != expected:
        raise BadSyntax("an ARC seal says that the chain had failed")
    return seal


async def _verify_message(
    content: SignedContent, one: ARCSet, resolver: RecordResolver, now: float
) -> None:
    """Verify the newest signature of the message; older ones may be broken by now."""
    signature = parse_signature(one.message, required=_MESSAGE_TAGS)
    if "arc-seal" in signature.names or "from" not in signature.names:
        raise BadSyntax("an ARC signature of the wrong fields")
    check_times(signature, now)
    key = await fetch_key(resolver, signature.domain, signature.selector)
    check_key(signature, key)
    fault = await run_off_loop(
        lambda: _find_fault(content, signature, key), len(content.body)
    )
    if fault:
        raise BadSyntax(f"ARC signature {one.instance}: {fault}")


def _find_fault(content: SignedContent, signature: Signature, key: KeyRecord) -> str:
    fault = find_fault(content, signature, key)
    whole = len(content.canonical_body(signature.body_mode))
    if not fault and signature.length is not None and signature.length < whole:
        return "it covers a part of the body"
    return fault


async def _verify_seal(
    sets: list[ARCSet], seal: Signature, resolver: RecordResolver, now: float
) -> None:
    check_times(seal, now)
    key = await fetch_key(resolver, seal.domain, seal.selector)
    check_key(seal, key)
    if not is_signed_by(key, seal.signature, sealed_octets(sets)):
        raise BadSyntax(f"ARC seal {len(sets)}: signature mismatch")


def sealed_octets(sets: list[ARCSet]) -> bytes:
    """Put together what the seal of the last of some sets signs (section 5.1.1).

    Args:
        sets: from the first on.
    """
    mode = Canonicalization.RELAXED
    octets = []
    for one in sets:
        octets += [one.results.octets, one.message.octets, one.seal.octets]
    return b"".join(canonicalize_field(each, mode) for each in octets[:-1]) + blanked(
        sets[-1].seal, mode
    )


def _read_results(one: ARCSet) -> AuthenticationResults | None:
    try:
        return AuthenticationResults.parse(one.results.text.partition(";")[2])
    except BadSyntax:
        return None

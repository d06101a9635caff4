"""DMARC: whether the author's domain is the one that was authenticated (RFC 9989).

The organizational domain is found by walking up the DNS, not by a list of public
suffixes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Final

from smtpx.errors import BadAddress, BadSyntax
from smtpx.message.addresses import parse_addresses
from smtpx.message.results import MethodResult
from smtpx.net.dns import DNSFailure
from smtpx.verify.tags import parse_tags

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smtpx.message.fields import Header
    from smtpx.net.records import RecordResolver

__all__ = [
    "DMARCPolicy",
    "DMARCRecord",
    "DMARCResult",
    "author_domain",
    "check_dmarc",
    "parse_dmarc_record",
]

_MAX_LABELS: Final = 8
"""Of a tree walk: no more queries than that (RFC 9989 section 4.10)."""

_MAX_IDENTIFIERS: Final = 10
"""Domains that passed, for each of which there may be a walk."""


@unique
class DMARCPolicy(StrEnum):
    """What a domain asks for when a message fails (RFC 9989 section 4.7)."""

    NONE = "none"
    """Nothing."""

    QUARANTINE = "quarantine"
    """Take it for suspicious."""

    REJECT = "reject"
    """It was not sent by the domain."""


@dataclass(frozen=True, slots=True)
class DMARCRecord:
    """What a domain publishes (RFC 9989 section 4.7).

    Attributes:
        domain: where it was found.
        policy: for the domain; ``p``.
        subdomain_policy: for those below it; ``sp``.
        missing_policy: for those below it that do not exist; ``np``.
        is_strict_dkim: whether DKIM must be of the very domain; ``adkim``.
        is_strict_spf: whether SPF must; ``aspf``.
        is_testing: whether the next weaker policy is wanted; ``t``.
        psd: ``y`` for a public suffix, ``n`` for an organization, ``u`` unknown.
        aggregate_reports: where they go; ``rua``.
        failure_reports: likewise; ``ruf``.
        failure_options: when the latter are wanted; ``fo``.
    """

    domain: str
    policy: DMARCPolicy = DMARCPolicy.NONE
    subdomain_policy: DMARCPolicy | None = None
    missing_policy: DMARCPolicy | None = None
    is_strict_dkim: bool = False
    is_strict_spf: bool = False
    is_testing: bool = False
    psd: str = "u"
    aggregate_reports: tuple[str, ...] = ()
    failure_reports: tuple[str, ...] = ()
    failure_options: str = "0"


@dataclass(frozen=True, slots=True)
class DMARCResult:
    """Whether a message is from whom it says, and what is to be done if it is not.

    Attributes:
        result: ``pass``, ``fail``, ``none`` (the domain takes no part), ``temperror``
            (the DNS could not be asked) or ``permerror`` (there is no one author's
            domain).
        domain: the author's, in A-labels.
        policy: what the domain asks for; the policy to apply if the result is
            ``fail``.
        aligned: which domains were authenticated and belong to the author's.
        record: what was found, None if nothing was.
        organization: the organizational domain of the author's domain.
        reason: why it did not pass.
    """

    result: str
    domain: str = ""
    policy: DMARCPolicy = DMARCPolicy.NONE
    aligned: tuple[str, ...] = ()
    record: DMARCRecord | None = None
    organization: str = ""
    reason: str = ""

    @property
    def is_pass(self) -> bool:
        """Whether the author's domain answers for the message."""
        return self.result == "pass"

    def may_align(self, domain: str) -> bool:
        """Say whether it could have passed, had a domain been authenticated.

        Args:
            domain: in A-labels; empty if nobody knows.
        """
        above = f".{self.organization or self.domain}"
        return not domain or f".{domain.lower()}".endswith(above)

    def to_method_result(self) -> MethodResult:
        """Write it for an Authentication-Results field (RFC 9989 section 9.2)."""
        properties: list[tuple[str, str]] = []
        if self.domain:
            properties.append(("header.from", self.domain))
        if self.record is not None:
            properties.append(("policy.dmarc", self.policy.value))
        return MethodResult("dmarc", self.result, self.reason, tuple(properties))


def author_domain(header: Header) -> str:
    """Find the domain of the author (RFC 9989 section 5.3.1).

    Args:
        header: of the message.

    Returns:
        The domain in A-labels and lower case.

    Raises:
        BadSyntax: there is no From, more than one, an address in it that is none or
            has no domain, or addresses of several domains: a mail reader may show any
            of them. Or the header goes on where nobody looked: another From may stand
            there.
    """
    if not header.is_whole:
        raise BadSyntax("a part of the header was not read")
    fields = header.all("From")
    if len(fields) != 1:
        raise BadSyntax("no From field" if not fields else "several From fields")
    addresses = parse_addresses(fields[0].text)
    domains = {
        None
        if one.mailbox is None or one.mailbox.literal
        else one.mailbox.domain_ascii.lower()
        for one in addresses
    }
    domain = domains.pop() if len(domains) == 1 else None
    if domain is None:
        raise BadSyntax("From names no domain, or several")
    return domain


@dataclass(slots=True)
class _Walker:
    """Walks up the DNS, and asks for each name once."""

    resolver: RecordResolver
    _records: dict[str, DMARCRecord | None] = field(default_factory=dict)

    async def find(self, domain: str) -> DMARCRecord | None:
        """Look up the record of one domain."""
        if domain not in self._records:
            answer = await self.resolver.txt(f"_dmarc.{domain}")
            found = [
                record
                for octets in answer.records
                if (record := parse_dmarc_record(octets, domain)) is not None
            ]
            # Several are none (section 4.10 step 2).
            self._records[domain] = found[0] if len(found) == 1 else None
        return self._records[domain]

    async def walk(self, domain: str) -> list[DMARCRecord]:
        """Find the records from a domain upwards (section 4.10)."""
        found: list[DMARCRecord] = []
        for name in _names_above(domain):
            record = await self.find(name)
            if record is None:
                continue
            found.append(record)
            if record.psd in {"y", "n"}:
                break
        return found

    async def organization(self, domain: str) -> str:
        """Find the organizational domain of a domain (section 4.10.2)."""
        found = await self.walk(domain)
        if not found:
            return domain
        # The walk ended at psd=n or psd=y, else at the top: the last one decides.
        last = found[-1]
        if last.psd == "y":
            return ".".join(domain.split(".")[-last.domain.count(".") - 2 :])
        return last.domain


def _names_above(domain: str) -> list[str]:
    """List a domain and what is above it, no more than eight names."""
    labels = domain.split(".")
    start = max(1, len(labels) - _MAX_LABELS + 1)
    return [domain, *(".".join(labels[at:]) for at in range(start, len(labels)))]


async def check_dmarc(
    header: Header,
    resolver: RecordResolver,
    *,
    spf: str | None,
    dkim: Iterable[str],
) -> DMARCResult:
    """Check a message (RFC 9989 section 5.3).

    Args:
        header: of the message.
        resolver: for the records.
        spf: the domain of the reverse path, or of HELO if that is null, for which SPF
            passed; None if it did not.
        dkim: the domains whose signatures passed.

    Returns:
        The result.
    """
    try:
        domain = author_domain(header)
    except (BadSyntax, BadAddress) as error:
        return DMARCResult("permerror", reason=error.text)
    walker = _Walker(resolver)
    signed = list(dict.fromkeys(one.lower() for one in dkim))[:_MAX_IDENTIFIERS]
    try:
        return await _check(
            walker, domain, None if spf is None else spf.lower(), signed
        )
    except DNSFailure as error:
        return DMARCResult("temperror", domain, reason=str(error))


async def _check(
    walker: _Walker, domain: str, spf: str | None, dkim: list[str]
) -> DMARCResult:
    record = await walker.find(domain)
    organization = await walker.organization(domain)
    if record is None:
        record = await _find_above(walker, domain, organization)
    if record is None:
        return DMARCResult("none", domain)
    policy = await _policy(walker, record, domain)
    aligned: list[str] = []
    failure: DNSFailure | None = None
    candidates = [(one, record.is_strict_dkim) for one in dkim]
    if spf is not None:
        candidates.append((spf, record.is_strict_spf))
    for one, is_strict in candidates:
        try:
            if one == domain or (
                not is_strict and await _is_of(walker, one, organization)
            ):
                aligned.append(one)
        except DNSFailure as error:
            failure = error
    if failure is not None and not aligned:
        raise failure
    return DMARCResult(
        "pass" if aligned else "fail",
        domain,
        policy,
        tuple(dict.fromkeys(aligned)),
        record,
        organization,
        "" if aligned else "no domain that was authenticated is the author's",
    )


async def _is_of(walker: _Walker, domain: str, organization: str) -> bool:
    """Say whether a domain is of an organization.

    The DNS of a domain that is not below it is not asked: whoever signs in the name of
    somebody else as well could have a domain of his own whose DNS fails, and so make a
    failure temporary, or all of this slow.
    """
    is_below = f".{domain}".endswith(f".{organization}")
    return is_below and await walker.organization(domain) == organization


async def _find_above(
    walker: _Walker, domain: str, organization: str
) -> DMARCRecord | None:
    """Find the policy of the organization, else of the public suffix (4.10.1)."""
    found = await walker.walk(domain)
    for record in found:
        if record.domain == organization:
            return record
    return found[-1] if found and found[-1].psd == "y" else None


async def _policy(walker: _Walker, record: DMARCRecord, domain: str) -> DMARCPolicy:
    """Choose the policy that applies to a domain (section 4.10.1)."""
    policy = record.policy
    if domain != record.domain:
        policy = record.subdomain_policy or record.policy
        if record.missing_policy is not None and not await _exists(
            walker.resolver, domain
        ):
            policy = record.missing_policy
    if record.is_testing:
        # One level below (section 4.7, tag t).
        policy = {
            DMARCPolicy.REJECT: DMARCPolicy.QUARANTINE,
            DMARCPolicy.QUARANTINE: DMARCPolicy.NONE,
        }.get(policy, policy)
    return policy


async def _exists(resolver: RecordResolver, domain: str) -> bool:
    """Say whether a domain exists (RFC 9989 section 3.2.13): A, AAAA and MX count."""
    return bool(
        (await resolver.a(domain)).records
        or (await resolver.mx(domain)).records
        or (await resolver.aaaa(domain)).records
    )


def parse_dmarc_record(octets: bytes, domain: str) -> DMARCRecord | None:
    """Parse a DMARC policy record (RFC 9989 section 4.7).

    Args:
        octets: the text of the record.
        domain: where it was found.

    Returns:
        What it says; None if it is no such record, or void.

    >>> parse_dmarc_record(b"v=DMARC1; p=reject; sp=none", "example.com").policy
    <DMARCPolicy.REJECT: 'reject'>
    """
    head, _, rest = octets.partition(b";")
    name, _, version = head.partition(b"=")
    if name.strip() != b"v" or version.strip() != b"DMARC1":
        return None
    tags = _tags(rest)
    reports = _addresses(tags.get("rua", ""))
    policies: dict[str, DMARCPolicy] = {}
    is_broken = "p" not in tags
    for key in ("p", "sp", "np"):
        text = tags.get(key)
        if text is None:
            continue
        try:
            policies[key] = DMARCPolicy(text.lower())
        except ValueError:
            is_broken = True
    if is_broken:
        # Section 4.10.1: as if it were p=none, if it wants reports, else nothing.
        if not reports:
            return None
        policies = {}
    return DMARCRecord(
        domain=domain,
        policy=policies.get("p", DMARCPolicy.NONE),
        subdomain_policy=policies.get("sp"),
        missing_policy=policies.get("np"),
        is_strict_dkim=tags.get("adkim", "").lower() == "s",
        is_strict_spf=tags.get("aspf", "").lower() == "s",
        is_testing=tags.get("t", "").lower() == "y",
        psd=tags["psd"].lower() if tags.get("psd", "").lower() in {"y", "n"} else "u",
        aggregate_reports=reports,
        failure_reports=_addresses(tags.get("ruf", "")),
        failure_options=tags.get("fo", "0"),
    )


def _tags(octets: bytes) -> dict[str, str]:
    """Parse what can be parsed; errors are passed over (section 4.8)."""
    tags: dict[str, str] = {}
    for spec in octets.split(b";")[:_MAX_SPECS]:
        try:
            found = parse_tags(spec)
        except BadSyntax:
            continue
        for key, value in found.items():
            tags.setdefault(key, value)
    return tags


_MAX_SPECS: Final = 100
"""Tags of a record that are looked at; RFC 9989 defines 11."""


def _addresses(text: str) -> tuple[str, ...]:
    """List the URIs of a report tag; an obsolete size limit is dropped."""
    found = [one.strip().partition("!")[0] for one in text.split(",")]
    return tuple(one for one in found if one[:1].isalpha() and ":" in one)

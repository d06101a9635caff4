"""Hosts and domains: whether a domain takes mail, and what a host is called."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Final

from smtpx.errors import BadAddress
from smtpx.message.results import MethodResult
from smtpx.net.dns import DNSFailure
from smtpx.net.records import reverse_name
from smtpx.wire.address import Mailbox

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from smtpx.net.records import RecordResolver

__all__ = [
    "IPRevResult",
    "Mailable",
    "check_iprev",
    "check_mailable",
    "is_mailable",
]

_MAX_NAMES: Final = 10
"""Of a host that are looked up (RFC 8601 section 3, RFC 7208 section 4.6.4)."""

_MAX_EXCHANGERS: Final = 10
"""Hosts of MX records whose addresses are looked up; as many as a client would try."""


@unique
class Mailable(StrEnum):
    """Whether a domain takes mail."""

    YES = "yes"
    """A host for it is in the DNS."""

    NULL_MX = "null mx"
    """It says that it takes none (RFC 7505)."""

    NO = "no"
    """It does not exist, or no host takes its mail."""

    UNKNOWN = "unknown"
    """The DNS could not be asked."""


async def check_mailable(domain: str, resolver: RecordResolver) -> Mailable:
    """Find out whether a domain takes mail (RFC 5321 section 5.1, RFC 7505).

    Args:
        domain: in U-labels or A-labels, or an address literal.
        resolver: to ask.

    Returns:
        The answer.
    """
    try:
        mailbox = Mailbox("x", domain)
    except BadAddress:
        return Mailable.NO
    if mailbox.literal is not None:
        return Mailable.YES
    name = mailbox.domain_ascii
    try:
        exchangers = (await resolver.mx(name)).records
        if len(exchangers) == 1 and not exchangers[0].host:
            return Mailable.NULL_MX
        hosts = [one.host for one in exchangers if one.host] if exchangers else [name]
    except DNSFailure:
        return Mailable.UNKNOWN
    has_failed = False
    for host in hosts[:_MAX_EXCHANGERS]:
        try:
            if (await resolver.a(host)).records or (await resolver.aaaa(host)).records:
                return Mailable.YES
        except DNSFailure:
            has_failed = True
    return Mailable.UNKNOWN if has_failed else Mailable.NO


async def is_mailable(domain: str, resolver: RecordResolver) -> bool:
    """Say whether a domain takes mail.

    Args:
        domain: in U-labels or A-labels, or an address literal.
        resolver: to ask.

    Raises:
        DNSFailure: nobody could tell. Mail from such a domain is to be deferred.
    """
    found = await check_mailable(domain, resolver)
    if found is Mailable.UNKNOWN:
        raise DNSFailure(f"whether {domain!a} takes mail", is_temporary=True)
    return found is Mailable.YES


@dataclass(frozen=True, slots=True)
class IPRevResult:
    """Whether a host is called what it says (RFC 8601 section 3).

    Attributes:
        result: ``pass``, ``fail`` (its names are not its own), ``permerror`` (it has
            none) or ``temperror`` (the DNS could not be asked).
        peer: the address of the host.
        name: a name that leads to the address and back; empty if there is none.
    """

    result: str
    peer: str
    name: str = ""

    @property
    def is_pass(self) -> bool:
        """Whether the name is verified."""
        return self.result == "pass"

    def to_method_result(self) -> MethodResult:
        """Write it for an Authentication-Results field (RFC 8601 section 2.7.3)."""
        return MethodResult(
            "iprev",
            self.result,
            properties=(("policy.iprev", self.peer),),
            comment=self.name,
        )


async def check_iprev(
    peer: IPv4Address | IPv6Address, resolver: RecordResolver
) -> IPRevResult:
    """Look a host's name up, and its addresses back (RFC 8601 section 3).

    Args:
        peer: the address of the host.
        resolver: to ask.

    Returns:
        The result.
    """
    mapped = peer.ipv4_mapped if peer.version == 6 else None
    address = mapped or peer
    told = str(address)
    try:
        names = (await resolver.ptr(reverse_name(address))).records[:_MAX_NAMES]
    except DNSFailure:
        return IPRevResult("temperror", told)
    if not names:
        return IPRevResult("permerror", told)
    has_failed = False
    for name in names:
        try:
            if address.version == 4:
                is_back = address in (await resolver.a(name)).records
            else:
                is_back = address in (await resolver.aaaa(name)).records
        except DNSFailure:
            has_failed = True
            continue
        if is_back:
            return IPRevResult("pass", told, name)
    return IPRevResult("temperror" if has_failed else "fail", told)

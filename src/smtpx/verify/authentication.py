r"""Everything about a message at once: one call, one object, one header field.

>>> import asyncio
>>> from ipaddress import ip_address
>>> from smtpx.net.records import DNSRecordResolver, ResolverOptions
>>> from smtpx.testing.dns import DNSServer
>>> from smtpx.wire.address import Mailbox
>>> zone = {
...     "example.com": [("TXT", "v=spf1 ip4:192.0.2.1 -all")],
...     "_dmarc.example.com": [("TXT", "v=DMARC1; p=reject")],
... }
>>> async def main():
...     async with DNSServer(zone) as server:
...         resolver = DNSRecordResolver(ResolverOptions(nameservers=(server.address,)))
...         return await authenticate(
...             b"From: ann@example.com\r\n\r\nhi\r\n",
...             Origin(ip_address("192.0.2.1"), Mailbox("ann", "example.com")),
...             resolver,
...         )
>>> found = asyncio.run(main())
>>> found.spf.result, found.dmarc.result, found.is_pass
('pass', 'pass', True)
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from smtpx.message.results import (
    AuthenticationResults,
    MethodResult,
    remove_forged_results,
)
from smtpx.verify.arc import ARCResult, verify_arc
from smtpx.verify.canonical import SignedContent
from smtpx.verify.dkim import DKIMResult, verify_dkim
from smtpx.verify.dmarc import DMARCResult, check_dmarc
from smtpx.verify.hosts import IPRevResult, check_iprev
from smtpx.verify.spf import SPFResult, check_spf

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from ipaddress import IPv4Address, IPv6Address

    from smtpx.message.fields import Header
    from smtpx.net.records import RecordResolver
    from smtpx.wire.address import Mailbox

__all__ = ["Authentication", "Origin", "authenticate"]

ResultT = TypeVar("ResultT")
LateT = TypeVar("LateT")

_LATE_DKIM: Final[tuple[DKIMResult, ...]] = (DKIMResult("temperror"),)

_TIMEOUT_SECONDS: Final = 30.0
"""For all lookups; a client waits ten minutes for the reply to the end of a message."""

_EVIDENCE_SHARE: Final = 0.75
"""Of that time, for all but DMARC: the DNS of whoever sends a message answers there,
and would use up the time for the author's."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message came from, as the session knows it.

    Attributes:
        peer: the address of the client; None on a unix socket, where there is no SPF.
        reverse_path: None for the null reverse path.
        hello: what the client called itself.
        user: whom it authenticated as; empty if it did not.
    """

    peer: IPv4Address | IPv6Address | None = None
    reverse_path: Mailbox | None = None
    hello: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Authentication:
    """All that was found out about a message.

    Attributes:
        spf: may the client send for the reverse path.
        dkim: which domains signed it.
        arc: who handled it before.
        dmarc: whether the author's domain answers for it.
        iprev: what the client is called.
        user: whom it authenticated as; empty if it did not.
    """

    spf: SPFResult
    dkim: tuple[DKIMResult, ...]
    arc: ARCResult
    dmarc: DMARCResult
    iprev: IPRevResult | None = None
    user: str = ""

    @property
    def is_pass(self) -> bool:
        """Whether the author's domain answers for the message: DMARC passes."""
        return self.dmarc.is_pass

    def to_results(self, authserv_id: str) -> AuthenticationResults:
        """Write it for a header field (RFC 8601).

        Args:
            authserv_id: our name, under which others look for it.
        """
        results = []
        if self.iprev is not None:
            results.append(self.iprev.to_method_result())
        if self.user:
            results.append(
                MethodResult("auth", "pass", properties=(("smtp.auth", self.user),))
            )
        results.append(self.spf.to_method_result())
        results += [one.to_method_result() for one in self.dkim] or [
            MethodResult("dkim", "none")
        ]
        if self.arc.result != "none":
            results.append(self.arc.to_method_result())
        results.append(self.dmarc.to_method_result())
        return AuthenticationResults(authserv_id, tuple(results))

    def add_to(
        self, header: Header, authserv_id: str, *, received_spf: bool = False
    ) -> bytes:
        """Return a header with the field on top, and without forged ones.

        Args:
            header: as it was received.
            authserv_id: our name; fields that claim it are removed (RFC 8601 section
                5).
            received_spf: put a Received-SPF field on top of it (RFC 7208 section 9.1),
                for filters that look there.
        """
        octets = self.to_results(authserv_id).to_field().octets
        spf = self.spf.to_received_spf(authserv_id) if received_spf else None
        if spf is not None:
            octets = spf.octets + octets
        return octets + remove_forged_results(header, authserv_id).encode()


async def authenticate(
    message: bytes,
    origin: Origin,
    resolver: RecordResolver,
    *,
    timeout: float = _TIMEOUT_SECONDS,
    receiver: str = "unknown",
) -> Authentication:
    """Check SPF, DKIM, ARC, DMARC and the name of the client.

    Args:
        message: as it was received.
        origin: where it came from.
        resolver: for the DNS.
        timeout: in seconds; what is not known by then is a ``temperror``.
        receiver: our name, for SPF explanations that mention it.

    Returns:
        All results. It never raises for what a message, a peer or the DNS says.
    """
    content = SignedContent(message)
    now = asyncio.get_running_loop().time()
    share = timeout * _EVIDENCE_SHARE
    soon, deadline = now + share, now + timeout
    spf, iprev, dkim, arc = await asyncio.gather(
        _within(soon, _spf(origin, resolver, receiver), _late_spf(origin)),
        _within(soon, _iprev(origin, resolver), None),
        _within(deadline, verify_dkim(content, resolver, timeout=share), _LATE_DKIM),
        _within(soon, verify_arc(content, resolver), ARCResult("temperror")),
    )
    dmarc = await _within(
        deadline,
        check_dmarc(
            content.header,
            resolver,
            spf=spf.domain if spf.is_pass else None,
            dkim=[one.domain for one in dkim if one.is_pass],
        ),
        DMARCResult("temperror"),
    )
    unknown = [one.domain for one in dkim if one.result == "temperror"]
    if spf.result == "temperror":
        unknown.append(spf.domain)
    if dmarc.result == "fail" and any(map(dmarc.may_align, unknown)):
        # What could not be asked might have passed (RFC 9989 section 5.3.6). But not if
        # it is of another domain: whoever forges a message has one whose DNS fails.
        dmarc = DMARCResult("temperror", dmarc.domain, reason="SPF or DKIM is unknown")
    return Authentication(spf, dkim, arc, dmarc, iprev, origin.user)


def _late_spf(origin: Origin) -> SPFResult:
    path = origin.reverse_path
    return SPFResult(
        "temperror",
        domain=(origin.hello if path is None else path.domain_ascii).lower(),
        identity="" if path is None else str(path),
        hello=origin.hello,
        peer=origin.peer,
    )


async def _spf(origin: Origin, resolver: RecordResolver, receiver: str) -> SPFResult:
    if origin.peer is None:
        return SPFResult("none", hello=origin.hello)
    return await check_spf(
        origin.peer, origin.reverse_path, origin.hello, resolver, receiver=receiver
    )


async def _iprev(origin: Origin, resolver: RecordResolver) -> IPRevResult | None:
    return None if origin.peer is None else await check_iprev(origin.peer, resolver)


async def _within(
    deadline: float, work: Coroutine[object, object, ResultT], late: LateT
) -> ResultT | LateT:
    try:
        async with asyncio.timeout_at(deadline):
            return await work
    except TimeoutError:
        return late

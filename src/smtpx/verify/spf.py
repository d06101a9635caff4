"""SPF: whether a host may send for a domain (RFC 7208).

The evaluation is spftrace's; the DNS is asked through ours, so that its answers are
cached, its failures are failures, and the time and the number of lookups are bounded.
"""

from __future__ import annotations

import functools
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smtpx.errors import BadAddress
from smtpx.extras import extra
from smtpx.message.received_spf import ReceivedSPF
from smtpx.message.results import MethodResult
from smtpx.net.dns import DNSFailure
from smtpx.wire.address import Mailbox

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    import spftrace

    from smtpx.message.fields import HeaderField
    from smtpx.net.records import RecordResolver

__all__ = ["MAX_QUERIES", "TIME_LIMIT_SECONDS", "SPFResult", "check_spf"]

TIME_LIMIT_SECONDS: Final = 20.0
"""RFC 7208 section 4.6.4 says at least 20 seconds."""

MAX_QUERIES: Final = 111
"""The record, and ten terms, each an ``mx`` with ten hosts (RFC 7208 section 4.6.4)."""

_MAX_EXPLANATION: Final = 500
"""Characters; what a domain says goes into a reply, whose lines have 512 octets."""


@dataclass(frozen=True, slots=True)
class SPFResult:
    """Whether a host may send for a domain.

    Attributes:
        result: ``pass``, ``fail``, ``softfail``, ``neutral``, ``none``, ``temperror``
            (the DNS could not be asked) or ``permerror`` (the record is broken); RFC
            7208 section 2.6.
        domain: whose record was looked at, in A-labels and lower case.
        identity: the address that was looked at; empty if it was the HELO name.
        hello: what the client called itself.
        explanation: what the domain says to whom it refuses. It is a stranger's text:
            printable ASCII, but anything it likes.
        reason: why it is an error.
        peer: the address of the host; None if it has none.
    """

    result: str
    domain: str = ""
    identity: str = ""
    hello: str = ""
    explanation: str = ""
    reason: str = ""
    peer: IPv4Address | IPv6Address | None = None

    @property
    def is_pass(self) -> bool:
        """Whether the domain lets the host send for it."""
        return self.result == "pass"

    def to_method_result(self) -> MethodResult:
        """Write it for an Authentication-Results field (RFC 8601 section 2.7.2)."""
        if self.identity:
            properties: tuple[tuple[str, str], ...] = (
                ("smtp.mailfrom", self.identity),
            )
        else:
            properties = (("smtp.helo", self.hello),) if self.hello else ()
        return MethodResult("spf", self.result, self.reason, properties)

    def to_received_spf(self, receiver: str) -> HeaderField | None:
        """Write a Received-SPF field (RFC 7208 section 9.1).

        Args:
            receiver: the name of this host.

        Returns:
            The field; None of a client without an IP address, for which there is no
            SPF.
        """
        if self.peer is None:
            return None
        return ReceivedSPF(
            result=self.result,
            receiver=receiver,
            client=self.peer,
            hello=self.hello,
            envelope_from=self.identity,
            problem=self.reason,
        ).to_field()


async def check_spf(
    peer: IPv4Address | IPv6Address,
    reverse_path: Mailbox | str | None,
    hello: str,
    resolver: RecordResolver,
    *,
    receiver: str = "unknown",
) -> SPFResult:
    """Check whether a host may use a reverse path (RFC 7208 section 4).

    Args:
        peer: the address of the host.
        reverse_path: None for the null reverse path: then the HELO name is checked
            (section 2.4). Text is taken as it is, valid or not.
        hello: what the host called itself.
        resolver: for the records.
        receiver: our name, for explanations that mention it.

    Returns:
        The result. It never raises for what a peer or a domain says.
    """
    identity = "" if reverse_path is None else str(reverse_path)
    if isinstance(reverse_path, Mailbox):
        local_part, domain = reverse_path.local_part_unquoted, reverse_path.domain_ascii
    else:
        local_part, _, domain = (reverse_path or hello).rpartition("@")
    sender = f"{local_part or 'postmaster'}@{domain}"
    domain = domain.rstrip(".").lower()
    told = SPFResult("none", domain, identity, hello, peer=peer)
    if not _is_domain(domain):
        return told
    lookups = _Lookups(resolver, f"{sender} {hello} {receiver}")
    found = await _evaluate(str(peer), sender, hello, lookups, receiver)
    explanation = lookups.unveil(found.explanation or "")
    reason = ""
    if found.result in {"temperror", "permerror"}:
        reason = _reason(found)
    return SPFResult(
        found.result,
        domain=domain,
        identity=identity,
        hello=hello,
        explanation=_printable(explanation),
        reason=_printable(reason),
        peer=peer,
    )


def _is_domain(domain: str) -> bool:
    """Say whether there can be a record: not for literals and single labels."""
    try:
        mailbox = Mailbox("x", domain)
    except BadAddress:
        # Underscores and more are no host's, but may have a record.
        return "." in domain.strip(".") and not domain.startswith("[")
    return mailbox.literal is None and "." in domain


@functools.cache
def _quiet() -> None:
    """Let spftrace 0.3.0 call re.split as Python 3.13 advises against.

    Where warnings are errors, that would end a check half way.
    """
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="spftrace")


async def _evaluate(
    peer: str, sender: str, hello: str, lookups: _Lookups, receiver: str
) -> spftrace.Result:
    with extra("auth", "SPF"):
        import spftrace  # noqa: PLC0415

    _quiet()

    class Transport(spftrace.BaseResolver):
        """Asks our resolver; what the library calls a subclass's one method."""

        async def _lookup(self, name: str, rtype: str) -> tuple[str, list[str]]:
            return await lookups.look_up(name, rtype)

    limits = spftrace.Limits(time_limit=TIME_LIMIT_SECONDS, max_queries=MAX_QUERIES)
    evaluator = spftrace.Evaluator(Transport(), limits, receiver=receiver)
    return await evaluator.evaluate(peer, sender, hello)


class _Lookups:
    """Answers as spftrace wants them: a response code and texts."""

    def __init__(self, resolver: RecordResolver, values: str) -> None:
        self._resolver = resolver
        self._values = values  # of macros
        self._unveil: dict[int, str] = {}

    async def look_up(self, name: str, kind: str) -> tuple[str, list[str]]:
        try:
            exists, texts = await self._ask(name, kind)
        except DNSFailure:
            return "SERVFAIL", []
        return ("NOERROR" if exists else "NXDOMAIN"), texts

    async def _ask(self, name: str, kind: str) -> tuple[bool, list[str]]:
        resolver = self._resolver
        if kind == "TXT":
            texts = await resolver.txt(name)
            decoded = [one.decode("utf-8", "replace") for one in texts.records]
            return texts.exists, [self._veil(one) for one in decoded]
        if kind == "MX":
            hosts = await resolver.mx(name)
            return hosts.exists, [one.host for one in hosts.records]
        if kind == "A":
            fours = await resolver.a(name)
            return fours.exists, [str(one) for one in fours.records]
        if kind == "AAAA":
            sixes = await resolver.aaaa(name)
            return sixes.exists, [str(one) for one in sixes.records]
        names = await resolver.ptr(name)
        return names.exists, list(names.records)

    # spftrace 0.3.0 takes an explanation for broken that holds a space or a "%": other
    # characters stand for them on the way through it.

    def _veil(self, text: str) -> str:
        """Write the text of an explanation without spaces, and "%" for macros only."""
        if _VERSION.match(text) is not None:
            return text
        unused = [one for one in _VEILS if one not in text + self._values]
        if len(unused) < 2:
            return text
        space, percent = unused[:2]
        self._unveil = str.maketrans({space: " ", percent: "%"})
        meanings = {"%%": percent, "%_": space, "%-": f"{percent}20", " ": space}
        return _ESCAPE.sub(lambda match: meanings[match[0]], text)

    def unveil(self, text: str) -> str:
        """Put back what `_veil` took out of an explanation."""
        return text.translate(self._unveil)


_VERSION: Final = re.compile(r"v=spf1(?: |$)", re.IGNORECASE)
_ESCAPE: Final = re.compile("%[%_-]| ")
_VEILS: Final = "|~^`$#*"


def _reason(found: spftrace.Result) -> str:
    """Return the last thing that the trace gives as a reason."""
    reasons = [
        str(event.data["reason"])
        for event in found.trace.events
        if event.kind == "exit" and "reason" in event.data
    ]
    return reasons[-1] if reasons else ""


def _printable(text: str) -> str:
    """Keep what can stand in a reply; macros let a peer write into the text."""
    kept = text[:_MAX_EXPLANATION]
    return "".join(one if " " <= one <= "~" else "?" for one in kept)

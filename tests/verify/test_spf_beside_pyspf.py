"""SPF beside pyspf: the openspf.org suite, and where the two differ."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
import spf  # type: ignore[import-not-found,import-untyped,unused-ignore]

from smtpx.net.records import DNSRecordResolver, ResolverOptions
from smtpx.testing.dns import DNSServer
from smtpx.verify.spf import check_spf
from tests.verify.test_spf import CASES, records_of, zone_of

if TYPE_CHECKING:
    from collections.abc import Callable

    Answer = tuple[tuple[str, str], object]

# By the name of the case: what ours may be, theirs, and why both may be. The suite of
# openspf.org allows either wherever they differ.
DIFFERENCES = {
    # Two records that are identical. Ours come through a real DNS server, which keeps
    # one of them; those of pyspf come from a list.
    "multispf1": ({"fail"}, "permerror"),
    # A domain that cannot be: section 4.8 lets the mechanism not match, or be an error.
    "invalid-domain-empty-label": ({"permerror"}, "fail"),
    "invalid-domain-long": ({"permerror"}, "fail"),
    # More than ten names for an address (section 4.6.4): the rest is not looked at, and
    # which ten come first depends on the order of the answer: dnspython keeps a set.
    "ptr-limit": ({"pass", "neutral"}, "neutral"),
}


def lookup_in(scenario: dict[str, Any]) -> Callable[..., list[Answer]]:
    """Return what pyspf asks in place of the DNS."""
    zone = {name.lower(): records for name, records in scenario["zonedata"].items()}

    def lookup(name: str, kind: str, *_: object, **__: object) -> list[Answer]:
        records = zone.get(name.lower().rstrip("."), [])
        found: list[Answer] = []
        for this, value in records_of(records):
            if this == kind and kind == "TXT":
                found.append(((name, kind), (value.encode(),)))
            elif this == kind and kind == "MX":
                preference, host = value.split()
                found.append(((name, kind), (int(preference), host.rstrip("."))))
            elif this in {kind, "CNAME"}:
                found.append(((name, this), value))
        if "TIMEOUT" in records and not found:
            raise spf.TempError("DNS timeout")
        return found

    return lookup


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("scenario", "name", "case"), CASES, ids=[name for _, name, _ in CASES]
)
async def test_both_agree(
    scenario: dict[str, Any],
    name: str,
    case: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spf, "DNSLookup", lookup_in(scenario))
    query = spf.query(i=case["host"], s=case["mailfrom"] or "", h=case["helo"])
    theirs = query.check()[0]
    async with DNSServer(zone_of(scenario)) as server:
        resolver = DNSRecordResolver(ResolverOptions(nameservers=(server.address,)))
        ours = await check_spf(
            ip_address(case["host"]), case["mailfrom"] or None, case["helo"], resolver
        )
    expected = DIFFERENCES.get(name)
    if expected is None:
        assert ours.result == theirs
    else:
        allowed, their_result = expected
        assert ours.result in allowed
        assert theirs == their_result
        assert {*allowed, their_result} <= set(case["result"])

"""SPF: the openspf.org suite for RFC 7208 over a DNS server, and what is ours."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dns.rcode
import pytest
import yaml

from smtpx.net.records import DNSRecordResolver, ResolverOptions
from smtpx.testing.dns import DNSServer
from smtpx.verify.spf import MAX_QUERIES, check_spf
from smtpx.wire.address import Mailbox
from tests.verify.records import FAILS, ZoneResolver

if TYPE_CHECKING:
    from collections.abc import Iterator

# tests/data/spf: the suite of openspf.org as pyspf 2.0.14 ships it, with its licence.
SUITE = Path(__file__).parent.parent / "data" / "spf" / "rfc7208-tests.yml"


def scenarios() -> list[dict[str, Any]]:
    with SUITE.open(encoding="utf-8") as file:
        return list(yaml.safe_load_all(file))


def zone_of(scenario: dict[str, Any]) -> dict[str, Any]:
    zone: dict[str, Any] = {}
    for name, records in scenario["zonedata"].items():
        found = list(records_of(records))
        zone[name] = found
        if "TIMEOUT" in records and "TXT" not in dict(found):
            zone[name] = dns.rcode.SERVFAIL
    return zone


def records_of(records: list[Any]) -> Iterator[tuple[str, str]]:
    has_txt = any(isinstance(one, dict) and "TXT" in one for one in records)
    for one in records:
        if not isinstance(one, dict):
            continue
        for kind, value in one.items():
            # The suite means each SPF record as a TXT record, too, unless it has one.
            if (kind == "SPF" and not has_txt) or (kind == "TXT" and value != "NONE"):
                yield "TXT", joined(value)
            elif kind == "MX":
                yield "MX", f"{value[0]} {value[1] or '.'}"
            elif kind in {"A", "AAAA", "PTR", "CNAME"}:
                yield kind, value


def joined(value: str | list[str]) -> str:
    return value if isinstance(value, str) else "".join(value)


CASES = [
    (scenario, name, case)
    for scenario in scenarios()
    for name, case in scenario["tests"].items()
]


def test_the_suite_is_whole() -> None:
    assert len(CASES) == 203


@pytest.mark.parametrize(
    ("scenario", "case"),
    [(scenario, case) for scenario, _, case in CASES],
    ids=[name for _, name, _ in CASES],
)
async def test_suite(scenario: dict[str, Any], case: dict[str, Any]) -> None:
    expected = case["result"]
    expected = expected if isinstance(expected, list) else [expected]
    async with DNSServer(zone_of(scenario)) as server:
        resolver = DNSRecordResolver(ResolverOptions(nameservers=(server.address,)))
        result = await check_spf(
            ip_address(case["host"]), case["mailfrom"] or None, case["helo"], resolver
        )
    assert result.result in expected
    if "explanation" in case and case["explanation"] != "DEFAULT":
        # Hexadecimal digits may be of either case.
        assert result.explanation.lower() == case["explanation"].lower()


PEER = ip_address("192.0.2.1")


async def test_the_null_reverse_path_is_checked_by_the_name_in_helo() -> None:
    resolver = ZoneResolver({"mx.example": [("TXT", "v=spf1 ip4:192.0.2.1 -all")]})
    result = await check_spf(PEER, None, "MX.example", resolver)
    assert (result.result, result.domain, result.identity) == ("pass", "mx.example", "")
    assert result.is_pass
    written = result.to_method_result()
    assert written.properties == (("smtp.helo", "MX.example"),)


async def test_what_was_looked_at_is_told() -> None:
    resolver = ZoneResolver(
        {
            "b.example": [("TXT", "v=spf1 -all exp=e.example")],
            "e.example": [("TXT", "no %{i}")],
        }
    )
    result = await check_spf(PEER, Mailbox("a", "B.example"), "x.example", resolver)
    assert (result.result, result.domain) == ("fail", "b.example")
    assert result.explanation == "no 192.0.2.1"
    assert not result.is_pass
    assert result.to_method_result().find("smtp.mailfrom") == "a@B.example"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("go %_ away: 100%% %{d}", "go   away: 100% b.example"),
        ("see%-%{i}", "see%20192.0.2.1"),
        ("|~^ `$ %{h}", "|~^ `$ x.example"),
        ("|~^`$#* x", ""),
        ("%{x}", ""),
        ("%x", ""),
    ],
)
async def test_explanations(text: str, said: str) -> None:
    resolver = ZoneResolver(
        {
            "b.example": [("TXT", "v=spf1 -all exp=e.b.example")],
            "e.b.example": [("TXT", text)],
        }
    )
    result = await check_spf(PEER, "a@b.example", "x.example", resolver)
    assert result.explanation == said


async def test_a_failure_of_the_dns_is_temporary() -> None:
    resolver = ZoneResolver({"b.example": FAILS})
    result = await check_spf(PEER, Mailbox("a", "b.example"), "x", resolver)
    assert result.result == "temperror"
    assert result.reason


@pytest.mark.parametrize("hello", ["[192.0.2.1]", "localhost", "", "..", "[x.y]"])
async def test_what_is_no_domain_has_no_record(hello: str) -> None:
    resolver = ZoneResolver({})
    result = await check_spf(PEER, None, hello, resolver)
    assert result.result == "none"
    assert resolver.questions == []


async def test_the_number_of_lookups_is_bounded() -> None:
    zone: dict[str, Any] = {
        "b.example": [("TXT", "v=spf1 " + "mx:m%d.example " * 11 % tuple(range(11)))]
    }
    for one in range(11):
        zone[f"m{one}.example"] = [
            ("MX", f"10 h{host}.m{one}.example") for host in range(10)
        ]
        for host in range(10):
            zone[f"h{host}.m{one}.example"] = [("A", "198.51.100.1")]
    resolver = ZoneResolver(zone)
    result = await check_spf(PEER, Mailbox("a", "b.example"), "x", resolver)
    assert result.result == "permerror"
    assert len(resolver.questions) == MAX_QUERIES == 1 + 10 * 11


async def test_lookups_that_no_term_counts_are_bounded_too() -> None:
    """Nine terms of eleven lookups are fine, and the names of the client are more."""
    hosts = [f"h{host}.example" for host in range(10)]
    zone: dict[str, Any] = {one: [("A", "198.51.100.1")] for one in hosts}
    terms = " ".join(f"mx:m{one}.example" for one in range(9))
    zone["b.example"] = [("TXT", f"v=spf1 {terms} exists:%{{p}}.z.example ?all")]
    for one in range(9):
        zone[f"m{one}.example"] = [("MX", f"10 {one}{host}") for host in hosts]
        zone |= {f"{one}{host}": [("A", "198.51.100.1")] for host in hosts}
    zone["1.2.0.192.in-addr.arpa"] = [("PTR", host) for host in hosts]
    zone["unknown.z.example"] = [("A", "127.0.0.2")]
    resolver = ZoneResolver(zone)
    result = await check_spf(PEER, "a@b.example", "x", resolver)
    assert result.result == "permerror"
    assert len(resolver.questions) == MAX_QUERIES


async def test_no_quoted_local_part_escapes_into_a_name() -> None:
    resolver = ZoneResolver(
        {"b.example": [("TXT", "v=spf1 exists:%{l}.x.example -all")]}
    )
    reverse_path = Mailbox.parse('"a\\"\\\\ ;x"@b.example')
    result = await check_spf(PEER, reverse_path, "x", resolver)
    assert result.result == "fail"

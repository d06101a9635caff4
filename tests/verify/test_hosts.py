"""Whether a domain takes mail, and what a host is called."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from smtpx.net.dns import DNSFailure
from smtpx.verify.hosts import check_iprev, check_mailable, is_mailable
from tests.verify.records import FAILS, ZoneResolver

ZONE: dict[str, Any] = {
    "mx.example": [("MX", "20 gone.example"), ("MX", "10 host.example")],
    "host.example": [("A", "192.0.2.1")],
    "six.example": [("AAAA", "2001:db8::1")],
    "null.example": [("MX", "0 .")],
    "null-and-more.example": [("MX", "0 ."), ("MX", "10 host.example")],
    "dead.example": [("MX", "10 gone.example")],
    "text.example": [("TXT", "x")],
    "down.example": FAILS,
    "half.example": [("MX", "10 down.example"), ("MX", "20 host.example")],
    "worse.example": [("MX", "10 down.example"), ("MX", "20 gone.example")],
    "xn--gr-zia.example": [("A", "192.0.2.1")],
}


@pytest.mark.parametrize(
    ("domain", "found"),
    [
        ("mx.example", "yes"),
        ("MX.Example", "yes"),
        ("host.example", "yes"),
        ("six.example", "yes"),
        ("grå.example", "yes"),
        ("[192.0.2.1]", "yes"),
        ("null.example", "null mx"),
        ("null-and-more.example", "yes"),
        ("dead.example", "no"),
        ("text.example", "no"),
        ("gone.example", "no"),
        ("no domain", "no"),
        ("", "no"),
        ("half.example", "yes"),
        ("worse.example", "unknown"),
        ("down.example", "unknown"),
    ],
)
async def test_who_takes_mail(domain: str, found: str) -> None:
    resolver = ZoneResolver(ZONE)
    assert await check_mailable(domain, resolver) == found
    if found == "unknown":
        with pytest.raises(DNSFailure, match="takes mail"):
            await is_mailable(domain, resolver)
    else:
        assert await is_mailable(domain, resolver) is (found == "yes")


async def test_the_number_of_hosts_is_bounded() -> None:
    hosts = [("MX", f"10 h{one}.example") for one in range(50)]
    resolver = ZoneResolver({"many.example": hosts})
    assert await check_mailable("many.example", resolver) == "no"
    assert len(resolver.questions) == 1 + 10 * 2


NAMES: dict[str, Any] = {
    "1.2.0.192.in-addr.arpa": [("PTR", "fake.example"), ("PTR", "host.example")],
    "2.2.0.192.in-addr.arpa": [("PTR", "host.example")],
    "3.2.0.192.in-addr.arpa": FAILS,
    "4.2.0.192.in-addr.arpa": [("PTR", "down.example")],
    f"{ip_address('2001:db8::1').reverse_pointer}": [("PTR", "six.example")],
}


@pytest.mark.parametrize(
    ("peer", "result", "name"),
    [
        ("192.0.2.1", "pass", "host.example"),
        ("::ffff:192.0.2.1", "pass", "host.example"),
        ("2001:db8::1", "pass", "six.example"),
        ("192.0.2.2", "fail", ""),
        ("192.0.2.3", "temperror", ""),
        ("192.0.2.4", "temperror", ""),
        ("192.0.2.5", "permerror", ""),
    ],
)
async def test_what_hosts_are_called(peer: str, result: str, name: str) -> None:
    resolver = ZoneResolver({**ZONE, **NAMES})
    found = await check_iprev(ip_address(peer), resolver)
    assert (found.result, found.name) == (result, name)
    assert found.is_pass is (result == "pass")
    written = found.to_method_result()
    assert written.find("policy.iprev") == peer.removeprefix("::ffff:")
    assert written.comment == name


async def test_the_number_of_names_is_bounded() -> None:
    names = [("PTR", f"h{one}.example") for one in range(50)]
    resolver = ZoneResolver({"1.2.0.192.in-addr.arpa": names})
    found = await check_iprev(ip_address("192.0.2.1"), resolver)
    assert found.result == "fail"
    assert len(resolver.questions) == 11

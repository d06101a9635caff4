"""The DNS over a real socket: records, absence, failure, caching."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import dns.nameserver
import dns.rcode
import dns.resolver
import pytest

from smtpx.net.dns import DNSFailure
from smtpx.net.records import (
    Answer,
    DNSRecordResolver,
    MXRecord,
    ResolverOptions,
    reverse_name,
)
from smtpx.testing.dns import DNSServer, Zone

ZONE: Zone = {
    "example.com": [
        ("MX", "20 b.example.com"),
        ("MX", "10 A.Example.com"),
        ("TXT", "x" * 300),
        ("TXT", b"\xff;"),
        ("A", "192.0.2.1"),
        ("AAAA", "2001:db8::1"),
    ],
    "null.example": [("MX", "0 .")],
    "alias.example": [("CNAME", "example.com")],
    "1.2.0.192.in-addr.arpa": [("PTR", "Mail.example.com")],
    "large.example": [("TXT", "y" * 4000)],
    "broken.example": dns.rcode.SERVFAIL,
    "refused.example": dns.rcode.REFUSED,
    "a\\b c.example": [("A", "192.0.2.2")],
}


def resolver_of(server: DNSServer, total: float = 5.0) -> DNSRecordResolver:
    return DNSRecordResolver(
        ResolverOptions(nameservers=(server.address,), total_timeout=total)
    )


async def test_records() -> None:
    async with DNSServer(ZONE) as server:
        resolver = resolver_of(server)
        assert (await resolver.mx("example.com")).records == (
            MXRecord(10, "a.example.com"),
            MXRecord(20, "b.example.com"),
        )
        assert (await resolver.mx("null.example.")).records == (MXRecord(0, ""),)
        assert sorted((await resolver.txt("example.com")).records) == [
            b"x" * 300,
            b"\xff;",
        ]
        assert (await resolver.a("ALIAS.example")).records == (
            IPv4Address("192.0.2.1"),
        )
        assert (await resolver.aaaa("example.com")).records == (
            IPv6Address("2001:db8::1"),
        )
        name = reverse_name(IPv4Address("192.0.2.1"))
        assert (await resolver.ptr(name)).records == ("mail.example.com",)
        # Over TCP: it is too long for a datagram.
        assert (await resolver.txt("large.example")).records == (b"y" * 4000,)


async def test_nothing_and_no_such_name_are_two_answers() -> None:
    async with DNSServer(ZONE) as server:
        resolver = resolver_of(server)
        assert await resolver.mx("large.example") == Answer(())
        assert await resolver.mx("gone.example") == Answer((), exists=False)


async def test_what_was_validated_is_told() -> None:
    for is_authentic in (False, True):
        async with DNSServer(ZONE, is_authentic=is_authentic) as server:
            resolver = resolver_of(server)
            assert (await resolver.mx("example.com")).is_authentic is is_authentic
            assert (await resolver.mx("large.example")).is_authentic is is_authentic


@pytest.mark.parametrize(
    ("address", "is_trusted"), [("127.0.0.53", True), ("192.0.2.53", False)]
)
async def test_another_host_is_not_believed_unless_the_user_names_it(
    address: str, is_trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(resolver: dns.resolver.Resolver, *_arguments: object) -> None:
        resolver.nameservers = [address]

    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", read)
    monkeypatch.setattr(dns.resolver.BaseResolver, "read_registry", read)
    resolver = DNSRecordResolver()
    async with DNSServer(ZONE, is_authentic=True) as server:
        host, _, port = server.address.rpartition(":")
        inner = resolver._resolver  # its answers must come from somewhere
        inner.nameservers = [dns.nameserver.Do53Nameserver(host, int(port))]
        assert (await resolver.mx("example.com")).is_authentic is is_trusted


@pytest.mark.parametrize("name", ["broken.example", "refused.example"])
async def test_failures_are_failures(name: str) -> None:
    async with DNSServer(ZONE) as server:
        with pytest.raises(DNSFailure, match=name):
            await resolver_of(server).txt(name)


async def test_silence_is_a_failure() -> None:
    async with DNSServer(ZONE, is_silent=True) as server:
        with pytest.raises(DNSFailure, match="LifetimeTimeout"):
            await resolver_of(server, total=0.05).txt("example.com")
        assert server.questions


@pytest.mark.parametrize(
    "name", ["", ".", "a..b", "x" * 64 + ".y", "a." * 130, "grå.example", "-" * 300]
)
async def test_what_no_dns_can_hold_does_not_exist(name: str) -> None:
    async with DNSServer(ZONE) as server:
        found = await resolver_of(server).a(name)
        assert found == Answer((), exists=False)
        assert all(asked == "" for asked, _ in server.questions)


async def test_a_backslash_is_no_escape() -> None:
    async with DNSServer(ZONE) as server:
        found = await resolver_of(server).a("a\\b c.example")
        assert found.records == (IPv4Address("192.0.2.2"),)


@pytest.mark.parametrize(("ttl", "count"), [(300, 1), (0, 2)])
async def test_answers_are_kept_for_their_time(ttl: int, count: int) -> None:
    async with DNSServer(ZONE, ttl=ttl) as server:
        resolver = resolver_of(server)
        await resolver.a("example.com")
        await resolver.a("EXAMPLE.com")
        assert server.questions.count(("example.com", "A")) == count


async def test_no_more_answers_are_kept_than_said() -> None:
    async with DNSServer(ZONE) as server:
        options = ResolverOptions(nameservers=(server.address,), max_cached=1)
        resolver = DNSRecordResolver(options)
        for name in ("example.com", "null.example", "example.com"):
            await resolver.mx(name)
        assert server.questions.count(("example.com", "MX")) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"nameservers": ("dns.example",)},
        {"nameservers": ("192.0.2.1:x",)},
        {"nameservers": ("192.0.2.1:70000",)},
    ],
)
def test_options_that_make_no_sense(wrong: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ValueError, match=r"."):
        ResolverOptions(nameservers=wrong["nameservers"])


@pytest.mark.parametrize(
    ("timeout", "total", "cached"), [(0, 1, 1), (1, 0, 1), (1, 1, 0)]
)
def test_numbers_are_positive(timeout: float, total: float, cached: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        ResolverOptions(timeout=timeout, total_timeout=total, max_cached=cached)


@pytest.mark.parametrize(
    "address", ["192.0.2.53", "192.0.2.53:53", "2001:db8::53", "[2001:db8::53]:5353"]
)
def test_addresses_of_servers(address: str) -> None:
    assert ResolverOptions(nameservers=(address,)).nameservers == (address,)


def test_a_system_without_servers_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", fail)
    monkeypatch.setattr(dns.resolver.BaseResolver, "read_registry", fail)
    with pytest.raises(DNSFailure, match="nameservers"):
        DNSRecordResolver()

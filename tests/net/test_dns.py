"""Both resolvers against a name server on loopback, and the order of MX hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import uvloop

from smtpx.net.aio_dns import AsyncDNSResolver
from smtpx.net.dns import (
    MAX_EXCHANGERS,
    DNSFailure,
    DNSResolver,
    MailExchanger,
    order_exchangers,
)
from tests.net.conftest import run_without_loop
from tests.net.nameserver import NameServer

if TYPE_CHECKING:
    from smtpx.net.dns import Resolver

T = TypeVar("T")
Ask = Callable[[Callable[["Resolver"], Coroutine[Any, Any, T]]], T]

RECORDS = {
    ("both.test", "A"): ["192.0.2.1"],
    ("both.test", "AAAA"): ["2001:db8::1"],
    ("four.test", "A"): ["192.0.2.4"],
    ("six.test", "AAAA"): ["2001:db8::6"],
    ("some.test", "MX"): ["20 b.some.test.", "10 a.some.test."],
    ("null.test", "MX"): ["0 ."],
    ("plain.test", "A"): ["192.0.2.9"],
    ("xn--bcher-kva.test", "MX"): ["10 mx.test."],
}


@pytest.fixture
def server() -> Iterator[NameServer]:
    with NameServer(dict(RECORDS)).running() as server:
        yield server


@pytest.fixture(params=["blocking", "asyncio", "uvloop"])
def ask(request: pytest.FixtureRequest, server: NameServer) -> Ask[Any]:
    def blocking(question: Callable[[Resolver], Coroutine[Any, Any, T]]) -> T:
        return run_without_loop(question(DNSResolver(["127.0.0.1"], port=server.port)))

    def awaited(question: Callable[[Resolver], Coroutine[Any, Any, T]]) -> T:
        async def main() -> T:
            resolver = AsyncDNSResolver(["127.0.0.1"], port=server.port)
            result = await question(resolver)
            assert len(asyncio.all_tasks()) == 1
            return result

        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main())

    return blocking if request.param == "blocking" else awaited


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("both.test", ["2001:db8::1", "192.0.2.1"]),
        ("BOTH.test.", ["2001:db8::1", "192.0.2.1"]),
        ("four.test", ["192.0.2.4"]),
        ("six.test", ["2001:db8::6"]),
        ("some.test", []),
        ("192.0.2.7", ["192.0.2.7"]),
        ("2001:db8::7", ["2001:db8::7"]),
    ],
)
def test_addresses(ask: Ask[Any], host: str, expected: list[str]) -> None:
    assert ask(lambda resolver: resolver.addresses(host, timeout=20)) == expected


def test_an_ip_address_is_not_asked_for(ask: Ask[Any], server: NameServer) -> None:
    ask(lambda resolver: resolver.addresses("192.0.2.7", timeout=20))
    assert server.asked == []


def test_no_search_list_applies(ask: Ask[Any], server: NameServer) -> None:
    with pytest.raises(DNSFailure):
        ask(lambda resolver: resolver.mail_exchangers("mx", timeout=20))
    assert server.asked == [("mx", "MX")]


def test_mail_exchangers(ask: Ask[Any]) -> None:
    found = ask(lambda resolver: resolver.mail_exchangers("some.test", timeout=20))
    expected = {MailExchanger(20, "b.some.test"), MailExchanger(10, "a.some.test")}
    assert set(found) == expected
    found = ask(lambda resolver: resolver.mail_exchangers("null.test", timeout=20))
    assert found == [MailExchanger(0, "")]
    found = ask(lambda resolver: resolver.mail_exchangers("plain.test", timeout=20))
    assert found == []


@pytest.mark.parametrize("kind", ["addresses", "mail_exchangers"])
def test_no_such_name_is_final(ask: Ask[Any], kind: str) -> None:
    with pytest.raises(DNSFailure, match=r"no domain none\.test") as caught:
        ask(lambda resolver: getattr(resolver, kind)("none.test", timeout=20))
    assert not caught.value.is_temporary


@pytest.mark.parametrize("name", ["a..test", "a" * 64 + ".test", "a." * 130 + "test"])
def test_what_cannot_be_a_name_is_final(ask: Ask[Any], name: str) -> None:
    with pytest.raises(DNSFailure, match="cannot be a domain") as caught:
        ask(lambda resolver: resolver.mail_exchangers(name, timeout=20))
    assert not caught.value.is_temporary


def test_failures_of_servers_are_temporary(ask: Ask[Any], server: NameServer) -> None:
    server.failing |= {("some.test", "MX"), ("both.test", "A"), ("both.test", "AAAA")}
    for question in (
        lambda resolver: resolver.mail_exchangers("some.test", timeout=20),
        lambda resolver: resolver.addresses("both.test", timeout=20),
    ):
        with pytest.raises(DNSFailure) as caught:
            ask(question)
        assert caught.value.is_temporary


def test_silence_is_temporary(ask: Ask[Any], server: NameServer) -> None:
    server.silent.add(("some.test", "MX"))
    with pytest.raises(DNSFailure, match="no answer") as caught:
        ask(lambda resolver: resolver.mail_exchangers("some.test", timeout=0.05))
    assert caught.value.is_temporary


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("AAAA", ["192.0.2.1"]), ("A", ["2001:db8::1"])],
)
def test_one_family_need_not_wait_for_the_other(
    ask: Ask[Any], server: NameServer, kind: str, expected: list[str]
) -> None:
    """A name server that drops AAAA questions is no reason not to connect."""
    server.silent.add(("both.test", kind))
    assert (
        ask(lambda resolver: resolver.addresses("both.test", timeout=0.5)) == expected
    )


def test_one_family_may_fail(ask: Ask[Any], server: NameServer) -> None:
    server.failing.add(("both.test", "AAAA"))
    found = ask(lambda resolver: resolver.addresses("both.test", timeout=20))
    assert found == ["192.0.2.1"]


def test_the_resolvers_say_whom_they_ask() -> None:
    assert repr(DNSResolver(["192.0.2.53"])) == "DNSResolver(['192.0.2.53'])"
    assert repr(AsyncDNSResolver()) == "AsyncDNSResolver([])"


def mx(*hosts: tuple[int, str]) -> list[MailExchanger]:
    return [MailExchanger(preference, host) for preference, host in hosts]


def test_hosts_are_ordered_by_preference_and_equal_ones_shuffled() -> None:
    found = mx((20, "c"), (10, "a"), (10, "b"), (5, "z"))
    assert order_exchangers("x.test", found, shuffle=lambda _: None) == [
        *("z", "a", "b", "c")
    ]
    assert order_exchangers("x.test", found, shuffle=list.reverse) == [
        *("z", "b", "a", "c")
    ]


def test_by_default_chance_decides_among_equal_ones() -> None:
    found = mx((10, "a"), (10, "b"))
    firsts = {order_exchangers("x.test", found)[0] for _ in range(200)}
    assert firsts == {"a", "b"}


def test_a_domain_without_mx_is_its_own() -> None:
    assert order_exchangers("x.test", []) == ["x.test"]


def test_a_null_mx_takes_no_mail() -> None:
    with pytest.raises(DNSFailure, match="takes no mail") as caught:
        order_exchangers("x.test", mx((0, "")))
    assert not caught.value.is_temporary
    assert order_exchangers("x.test", mx((0, ""), (10, "a"))) == ["a"]


# What the system's look-up takes for an address is one to it, not a name.
@pytest.mark.parametrize(
    "host",
    [
        "192.0.2.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0X7F000001",
        "0x",
        "::1",
        "fe80::1%1",
    ],
)
def test_an_exchanger_is_a_name_and_no_address(host: str) -> None:
    with pytest.raises(DNSFailure, match=r"names no host .*MX record") as caught:
        order_exchangers("x.test", mx((10, host), (20, host)))
    assert not caught.value.is_temporary
    assert order_exchangers("x.test", mx((10, host), (20, "a"))) == ["a"]
    assert order_exchangers("x.test", mx((0, ""), (10, host), (20, "a"))) == ["a"]


@pytest.mark.parametrize(
    "host", ["1.example", "127.0.0.1.example", "x1", "0xg", "a.0x1g"]
)
def test_a_name_with_digits_is_a_name(host: str) -> None:
    assert order_exchangers("x.test", mx((10, host))) == [host]


@pytest.mark.parametrize("extra", [0, 1])
def test_hosts_are_limited(extra: int) -> None:
    found = mx(*((number, f"mx{number}") for number in range(MAX_EXCHANGERS + extra)))
    assert len(order_exchangers("x.test", found)) == MAX_EXCHANGERS
    assert order_exchangers("x.test", mx((1, "a"), (2, "a"))) == ["a"]

"""Addresses in fields as they were meant, and the parts of an address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.errors import BadAddress
from smtpx.message.addresses import (
    MAX_ADDRESSES,
    Address,
    AddressParts,
    parse_addresses,
    split_address,
)
from smtpx.wire.address import Mailbox


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (" , ,", []),
        ("a@b.c", [("", "a@b.c", None)]),
        ("Ann <a@b.c>", [("Ann", "a@b.c", None)]),
        ("Ann  B. C <a@b.c>", [("Ann B. C", "a@b.c", None)]),
        ('"Ann, B" <a@b.c>, d@e.f', [("Ann, B", "a@b.c", None), ("", "d@e.f", None)]),
        ('"A \\"x\\"" <a@b.c>', [('A "x"', "a@b.c", None)]),
        ("a@b.c (Ann)", [("Ann", "a@b.c", None)]),
        ("a@b.c (A (x) \\) y)", [("A (x) \\) y", "a@b.c", None)]),
        ("=?utf-8?q?=C3=85?= <a@b.c>", [("Å", "a@b.c", None)]),
        ('"=?utf-8?q?=C3=85?=" <a@b.c>', [("Å", "a@b.c", None)]),
        ("<@x,@y:a@b.c>", [("", "a@b.c", None)]),
        ("<, @x:a@b.c>", [("", "a@b.c", None)]),
        # Of what is no route nothing is taken out: nobody wrote a@d.e here.
        ("<a@b:c@d.e>", [("", "a@b:c@d.e", None)]),
        ('<"a@b:c"@d.e>', [("", '"a@b:c"@d.e', None)]),
        ("Ann<a@b.c>", [("Ann", "a@b.c", None)]),
        ("Ann <a@b.c> <d@e.f>", [("Ann", "<a@b.c> <d@e.f>", None)]),
        ("<a@b.c>:d", [("", "<a@b.c> :d", None)]),
        ("a . b @ c . d", [("", "a.b@c.d", None)]),
        ('"a b"@c.d', [("", '"a b"@c.d', None)]),
        ("a@[192.0.2.1]", [("", "a@[192.0.2.1]", None)]),
        ("a@[IPv6:::1], b@c.d", [("", "a@[IPv6:::1]", None), ("", "b@c.d", None)]),
        ("G: a@b.c, D <d@e.f>;", [("", "a@b.c", "G"), ("D", "d@e.f", "G")]),
        ("undisclosed-recipients:;", []),
        ("G:a@b.c;, x@y.z", [("", "a@b.c", "G"), ("", "x@y.z", None)]),
        ("Ann", [("", "Ann", None)]),
        ("<>", []),
        ("<a@b.c", [("", "a@b.c", None)]),
        ("a@b.c (Ann", [("Ann", "a@b.c", None)]),
        ('"a', [("", '"a', None)]),
        ("grå@exåmple.com", [("", "grå@exåmple.com", None)]),
        ("a@b.c; d@e.f", [("", "a@b.c", None), ("", "d@e.f", None)]),
    ],
)
def test_lists(text: str, found: list[tuple[str, str, str | None]]) -> None:
    assert list(parse_addresses(text)) == [Address(*one) for one in found]


def test_what_can_be_sent_to() -> None:
    good, bad, bare = parse_addresses("Ann <A@Example.com>, a b@c.d e, postmaster")
    assert good.mailbox == Mailbox("A", "Example.com")
    assert good.domain == "example.com"
    assert str(good) == "Ann <A@Example.com>"
    assert bad.mailbox is None
    assert bare.mailbox is None
    assert bare.domain == ""
    assert str(bare) == "postmaster"


@pytest.mark.parametrize(("extra", "count"), [(0, 0), (1, 0), (-1, -1)])
def test_limit_of_addresses(extra: int, count: int) -> None:
    text = "a@b.c," * (MAX_ADDRESSES + extra)
    assert len(parse_addresses(text)) == MAX_ADDRESSES + count


@given(st.text('ab@<>()",;:[]\\. =?', max_size=60) | st.text(max_size=60))
def test_lists_never_raise(text: str) -> None:
    for one in parse_addresses(text):
        assert one.mailbox is None or isinstance(one.mailbox, Mailbox)


@pytest.mark.parametrize(
    ("address", "delimiters", "parts"),
    [
        ("a@b.c", "+", ("a", None, "b.c")),
        ("a+b@c.d", "+", ("a", "b", "c.d")),
        ("a+b+c@d.e", "+", ("a", "b+c", "d.e")),
        ("a-b+c@d.e", "-+", ("a", "b+c", "d.e")),
        ("a-b+c@d.e", "+", ("a-b", "c", "d.e")),
        ("a+@b.c", "+", ("a", "", "b.c")),
        ("+a@b.c", "+", ("+a", None, "b.c")),
        ("+a+b@b.c", "+", ("+a", "b", "b.c")),
        ("a+b@c.d", "", ("a+b", None, "c.d")),
        ('"a b+c"@d.e', "+", ("a b", "c", "d.e")),
        ("postmaster", "+", ("postmaster", None, "")),
    ],
)
def test_split(
    address: str, delimiters: str, parts: tuple[str, str | None, str]
) -> None:
    expected = AddressParts(*parts)
    assert split_address(address, delimiters=delimiters) == expected
    mailbox = Mailbox.parse(address)
    assert split_address(mailbox, delimiters=delimiters) == expected


def test_split_refuses_what_is_no_address() -> None:
    with pytest.raises(BadAddress):
        split_address("no address")

"""Domains, address literals and the names in EHLO."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.errors import BadAddress, BadSyntax
from smtpx.wire.address import Mailbox
from smtpx.wire.domains import (
    AddressLiteral,
    GeneralLiteral,
    parse_domain,
    parse_hello_name,
    parse_literal,
)

LABEL_63 = "l" * 63
DOMAIN_255 = f"{LABEL_63}.{LABEL_63}.{LABEL_63}.{LABEL_63}"

# --- address literals ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("[123.255.37.2]", IPv4Address("123.255.37.2")),
        ("[0.0.0.0]", IPv4Address(0)),
        ("[255.255.255.255]", IPv4Address("255.255.255.255")),
        ("[010.001.000.099]", IPv4Address("10.1.0.99")),
        ("[IPv6:1:2:3:4:5:6:7:8]", IPv6Address("1:2:3:4:5:6:7:8")),
        ("[ipv6:2001:DB8::1]", IPv6Address("2001:db8::1")),
        ("[IPv6:::]", IPv6Address("::")),
        ("[IPv6:::1]", IPv6Address("::1")),
        ("[IPv6:1::]", IPv6Address("1::")),
        ("[IPv6:1:2:3:4:5:6::]", IPv6Address("1:2:3:4:5:6::")),
        ("[IPv6:1:2:3::4:5:6]", IPv6Address("1:2:3::4:5:6")),
        ("[IPv6:1:2:3:4:5:6:192.0.2.1]", IPv6Address("1:2:3:4:5:6:c000:201")),
        ("[IPv6:::192.0.2.1]", IPv6Address("::c000:201")),
        ("[IPv6:::ffff:192.000.2.001]", IPv6Address("::ffff:c000:201")),
        ("[IPv6:1:2::3:4:192.0.2.1]", IPv6Address("1:2::3:4:c000:201")),
        ("[X25:1-2]", GeneralLiteral("X25", "1-2")),
        ("[a-b:c:d]", GeneralLiteral("a-b", "c:d")),
        ("[-9:!]", GeneralLiteral("-9", "!")),
        ("[x:Z^~]", GeneralLiteral("x", "Z^~")),
        (f"[x:{'y' * 251}]", GeneralLiteral("x", "y" * 251)),
    ],
)
def test_literals(text: str, literal: AddressLiteral) -> None:
    assert parse_literal(text) == literal
    assert Mailbox("a", text).literal == literal
    assert Mailbox("a", text).domain == text
    assert parse_hello_name(text.encode()) == text


@pytest.mark.parametrize(
    "inner",
    [
        *("", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.999", "1.2.3.0004"),
        *(
            "1.2.3.",
            ".1.2.3",
            "1..2.3",
            "1.2.3.4 ",
            " 1.2.3.4",
            "1.2.3.4\n",
            "0x1.2.3.4",
        ),
        *("1.2.3.-4", "1.2.3.+4", "\u0661.2.3.4", "example.com"),
        *("IPv6:", "IPv6::", "IPv6:1", "IPv6:1:2:3:4:5:6:7", "IPv6:1:2:3:4:5:6:7:8:9"),
        *("IPv6:1::2::3", "IPv6::::", "IPv6:12345::", "IPv6:g::", "IPv6:::1%eth0"),
        *("IPv6:1:2:3:4:5:6:7::", "IPv6:::2:3:4:5:6:7:8", "IPv6:1:2:3:4::5:6:7"),
        *("IPv6:1:2:3:4:5:6:7:1.2.3.4", "IPv6:1:2:3:4:5:1.2.3.4", "IPv6:::1.2.3.256"),
        *("IPv6:1:2:3:4:5::1.2.3.4", "IPv6:1.2.3.4", "IPv6:::1.2.3", "IPv6:1.2.3.4::"),
        *(
            "IPv6:::1:",
            "IPv6::1",
            "IPv6:::/64",
            "IPv6: ::1",
            "IPv6:::1\n",
            "IPv6:::1.2.3.4.5",
        ),
        *(
            "::1",
            ":a",
            "a:",
            "a-:b",
            "a_b:c",
            "å:b",
            "a:å",
            "a:b c",
            "a:[",
            "a:]",
            "a:\\",
        ),
        f"x:{'y' * 252}",
    ],
    ids=ascii,
)
def test_bad_literals(inner: str) -> None:
    with pytest.raises(BadAddress) as caught:
        parse_literal(f"[{inner}]")
    assert (caught.value.code, caught.value.enhanced) == (501, "5.1.3")
    with pytest.raises(BadAddress):
        Mailbox("a", f"[{inner}]")


@pytest.mark.parametrize(
    "text",
    ["", "[", "]", "[]", "1.2.3.4", "[1.2.3.4", "1.2.3.4]", "x1.2.3.4]", "[1.2.3.4x"],
)
def test_literals_need_their_brackets(text: str) -> None:
    with pytest.raises(BadAddress):
        parse_literal(text)


# --- domains and the names in EHLO ---------------------------------------------------


@pytest.mark.parametrize(
    "text", ["b", "Example.com", "1", "a-b", "xn--a", DOMAIN_255, "blåbär.example"]
)
def test_domains(text: str) -> None:
    assert parse_domain(text.encode()) == text


@pytest.mark.parametrize(
    "octets",
    [b"", b".", b"b.", b"b_c", b"[1.2.3.4]", b"b\n", b"b c", b"b>", b" b", b"\xff"],
)
def test_bad_domains(octets: bytes) -> None:
    with pytest.raises(BadAddress) as caught:
        parse_domain(octets)
    assert (caught.value.code, caught.value.enhanced) == (501, "5.1.3")


def test_hello_names() -> None:
    assert parse_hello_name(b"mx.example.com") == "mx.example.com"
    assert parse_hello_name(b"[IPv6:::1]") == "[IPv6:::1]"


@pytest.mark.parametrize(
    "octets",
    [
        *(b"", b" ", b"a b", b"a\n", b"\x00", b"a\x7f", b"\xff", "a\x85".encode()),
        *(b"x" * 256, b"x\r\nMAIL FROM:<a@b>", "a\u2028b".encode()),
    ],
)
@pytest.mark.parametrize("lenient", [False, True])
def test_bad_hello_names(octets: bytes, lenient: bool) -> None:
    with pytest.raises(BadSyntax) as caught:
        parse_hello_name(octets, lenient=lenient)
    assert (caught.value.code, caught.value.enhanced) == (501, "5.5.4")
    assert not isinstance(caught.value, BadAddress)
    assert caught.value.text.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "bob_pc",
        "localhost.",
        "192.0.2.1",
        "[fe80::1",
        "(null)",
        "x" * 255,
        "é",
        "[::1]",
    ],
)
def test_lenient_hello_names(text: str) -> None:
    assert parse_hello_name(text.encode(), lenient=True) == text


@pytest.mark.parametrize(
    "text", ["bob_pc", "localhost.", "[fe80", "é.example", "(null)"]
)
def test_hello_names_that_want_leniency(text: str) -> None:
    with pytest.raises(BadSyntax):
        parse_hello_name(text.encode())


@given(st.text(max_size=80))
def test_any_text_is_a_domain_or_refused(text: str) -> None:
    try:
        domain = parse_domain(text.encode())
    except BadAddress:
        return
    assert domain == text
    assert len(Mailbox("a", domain).domain_ascii) <= 255
    assert Mailbox("a", domain).domain_ascii.isascii()

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.errors import BadParameter, BadSyntax, UnsafeOctets
from smtpx.wire.forwarded import (
    NOTHING_FORWARDED,
    XCLIENT_ATTRIBUTES,
    XFORWARD_ATTRIBUTES,
    ForwardedSource,
    Unknown,
    XClient,
    XForward,
    parse_xclient,
    parse_xforward,
)

UNAVAILABLE = Unknown.UNAVAILABLE

# --- Both ways. ---


@pytest.mark.parametrize(
    ("argument", "command"),
    [
        (b"NAME=spike.porcupine.org", XClient(name="spike.porcupine.org")),
        (b"NAME=bob_pc", XClient(name="bob_pc")),
        (b"NAME=[UNAVAILABLE]", XClient(name=UNAVAILABLE)),
        (b"NAME=[TEMPUNAVAIL]", XClient(name=Unknown.TEMPUNAVAIL)),
        (b"REVERSE_NAME=mx.example", XClient(reverse_name="mx.example")),
        (b"ADDR=168.100.189.2", XClient(addr="168.100.189.2")),
        (b"ADDR=IPV6:2001:db8::1", XClient(addr="2001:db8::1")),
        (b"ADDR=[UNAVAILABLE]", XClient(addr=UNAVAILABLE)),
        (b"PORT=0", XClient(port=0)),
        (b"PORT=65535", XClient(port=65_535)),
        (b"PORT=[UNAVAILABLE]", XClient(port=UNAVAILABLE)),
        (b"PROTO=SMTP HELO=[192.0.2.1]", XClient(proto="SMTP", helo="[192.0.2.1]")),
        (b"PROTO=ESMTP", XClient(proto="ESMTP")),
        (b"HELO=a+2Bb", XClient(helo="a+b")),
        (b"HELO=[UNAVAILABLE]", XClient(helo=UNAVAILABLE)),
        (b"LOGIN=bob+20smith+40example.com", XClient(login="bob smith@example.com")),
        (b"LOGIN=gr+C3+A5", XClient(login="gr\u00e5")),
        (b"LOGIN=[UNAVAILABLE]", XClient(login=UNAVAILABLE)),
        (
            b"DESTADDR=198.51.100.1 DESTPORT=25",
            XClient(destaddr="198.51.100.1", destport=25),
        ),
    ],
)
def test_xclient(argument: bytes, command: XClient) -> None:
    assert parse_xclient(argument) == command
    sent = argument.replace(b"+40", b"@")
    assert command.encode() == b"XCLIENT " + sent + b"\r\n"


@pytest.mark.parametrize(
    ("argument", "command"),
    [
        (b"NAME=not-in+2Bdns", XForward(name="not-in+dns")),
        (b"NAME=[UNAVAILABLE]", XForward(name=UNAVAILABLE)),
        (b"ADDR=IPV6:::1 PORT=1", XForward(addr="::1", port=1)),
        (b"PROTO=UUCP HELO=spike", XForward(proto="UUCP", helo="spike")),
        (b"PROTO=[UNAVAILABLE]", XForward(proto=UNAVAILABLE)),
        (b"IDENT=3CF6B2AAE8", XForward(ident="3CF6B2AAE8")),
        (b"SOURCE=LOCAL", XForward(source=ForwardedSource.LOCAL)),
        (b"SOURCE=REMOTE", XForward(source=ForwardedSource.REMOTE)),
        (b"SOURCE=[UNAVAILABLE]", XForward(source=UNAVAILABLE)),
    ],
)
def test_xforward(argument: bytes, command: XForward) -> None:
    assert parse_xforward(argument) == command
    assert command.encode() == b"XFORWARD " + argument + b"\r\n"


@pytest.mark.parametrize(
    ("argument", "command"),
    [
        (
            b"name=mx.example  aDDr=ipv6:2001:DB8::1",
            XClient(name="mx.example", addr="2001:db8::1"),
        ),
        (
            b"NAME=[unavailable] REVERSE_NAME=[TempUnavail]",
            XClient(name=UNAVAILABLE, reverse_name=Unknown.TEMPUNAVAIL),
        ),
        (b"ADDR=2001:db8::1", XClient(addr="2001:db8::1")),
        (b"ADDR=IPV6:::ffff:192.0.2.1", XClient(addr="192.0.2.1")),
        (b"PROTO=esmtp", XClient(proto="ESMTP")),
        (b"PROTO=LMTP", XClient(proto="LMTP")),
        # What is not xtext is taken as it stands, as Postfix does.
        (b"LOGIN=bob+tag@example.com", XClient(login="bob+tag@example.com")),
        (b"LOGIN=a=b", XClient(login="a=b")),
        ("LOGIN=gr\u00e5".encode(), XClient(login="gr\u00e5")),
        (b"PORT=00025", XClient(port=25)),
    ],
)
def test_xclient_is_taken_in_other_forms(argument: bytes, command: XClient) -> None:
    assert parse_xclient(argument) == command


def test_source_in_any_case() -> None:
    assert parse_xforward(b"source=local").source is ForwardedSource.LOCAL


@pytest.mark.parametrize(
    "argument",
    [
        b"",
        b"  ",
        b"NAME",
        b"NAME=",
        b"=mx.example",
        b"ADDR=192.0.2.1 FOO=1",
        b"ADDR=192.0.2.1 ADDR=192.0.2.2",
        b"addr=192.0.2.1 ADDR=192.0.2.1",
        b"IDENT=4XkQ2",
        b"SOURCE=LOCAL",
        b"NAME=a+20b",
        b"NAME=a..b",
        b"NAME=-a.b",
        b"NAME=a-.b",
        b"NAME=192.0.2.1",
        b"NAME=[192.0.2.1]",
        b"NAME=" + b"a" * 64,
        b"NAME=mx.example+0D+0ARSET",
        b"ADDR=mx.example",
        b"ADDR=192.0.2",
        b"ADDR=192.0.2.256",
        b"ADDR=[192.0.2.1]",
        b"ADDR=IPV6:192.0.2.1",
        b"ADDR=IPV6:fe80::1%eth0",
        b"ADDR=IPV6:",
        b"ADDR=[TEMPUNAVAIL]",
        b"PORT=65536",
        b"PORT=123456",
        b"PORT=-1",
        b"PORT=+2B1",
        "PORT=\u0661".encode(),
        b"PROTO=[UNAVAILABLE]",
        b"PROTO=HTTP",
        b"HELO=a+20b",
        b"HELO=a+00",
        b"HELO=a+0A",
        b"LOGIN=bob+0D+0A",
        b"LOGIN=+E2+80+A8",
        b"LOGIN=+FF",
        b"LOGIN=\xff",
        b"N\xc4ME=a",
        b"DESTADDR=x",
        b"DESTPORT=x",
    ],
)
def test_bad_xclient(argument: bytes) -> None:
    with pytest.raises(BadParameter) as caught:
        parse_xclient(argument)
    assert (caught.value.code, caught.value.enhanced) == (501, "5.5.4")
    assert caught.value.text.isprintable()


@pytest.mark.parametrize(
    "argument",
    [
        b"",
        b"LOGIN=bob",
        b"REVERSE_NAME=mx.example",
        b"NAME=a+20b",
        b"NAME=[TEMPUNAVAIL] NAME=x",
        b"IDENT=a+0A",
        b"SOURCE=BOTH",
        b"PROTO=" + b"x" * 65,
        b"ADDR=x",
    ],
)
def test_bad_xforward(argument: bytes) -> None:
    with pytest.raises(BadParameter):
        parse_xforward(argument)


def test_a_value_has_255_octets_at_most() -> None:
    assert parse_xclient(b"LOGIN=" + b"x" * 255).login == "x" * 255
    with pytest.raises(BadParameter, match="255"):
        parse_xclient(b"LOGIN=" + b"x" * 256)
    # Those on the wire count.
    assert parse_xclient(b"LOGIN=" + b"+20" * 85).login == " " * 85
    with pytest.raises(BadParameter, match="255"):
        parse_xclient(b"LOGIN=" + b"+20" * 86)
    assert XClient(login="x" * 255).encode()
    with pytest.raises(BadParameter, match="255"):
        XClient(login="x" * 256).encode()
    assert XClient(login=" " * 85).encode()
    with pytest.raises(BadParameter, match="255"):
        XClient(login=" " * 86).encode()


def test_a_protocol_has_64_octets_at_most() -> None:
    assert parse_xforward(b"PROTO=" + b"x" * 64).proto == "x" * 64
    with pytest.raises(BadParameter, match="64"):
        XForward(proto="x" * 65).encode()


def test_a_host_name_has_255_octets_at_most() -> None:
    name = ".".join(["a" * 63] * 4)
    assert len(name) == 255
    assert parse_xclient(b"NAME=" + name.encode()).name == name


def test_a_line_has_512_octets_at_most() -> None:
    # "XCLIENT HELO=...255 LOGIN=...": 8 + 5 + 255 + 1 + 6 + 235 + 2.
    longest = XClient(helo="x" * 255, login="y" * 235)
    assert len(longest.encode()) == 512
    with pytest.raises(BadParameter, match="512"):
        XClient(helo="x" * 255, login="y" * 236).encode()


def test_what_is_too_long_to_be_sent_can_be_shown() -> None:
    command = parse_xclient(b"LOGIN=" + b"=" * 255 + b" HELO=" + b"x" * 255)
    assert command.argument == f"HELO={'x' * 255} LOGIN={'+3D' * 255}"


def test_xforward_is_split_over_512_octets() -> None:
    whole = XForward(
        name="n" * 255,
        addr="192.0.2.1",
        helo="h" * 255,
        ident="i" * 255,
        source=ForwardedSource.LOCAL,
    )
    parts = whole.split()
    assert len(parts) == 3
    together = XForward()
    for part in parts:
        assert len(part.encode()) <= 512
        together = together.followed_by(part)
    assert together == whole
    assert XForward(ident="a", port=1).split() == (XForward(ident="a", port=1),)
    with pytest.raises(BadParameter):
        XForward().split()


def test_parts_are_as_long_as_they_may() -> None:
    # "XFORWARD NAME=...255 HELO=...": 9 + 5 + 255 + 1 + 5 + 235 + 2.
    assert len(XForward(name="n" * 255, helo="h" * 235).split()) == 1
    assert len(XForward(name="n" * 255, helo="h" * 236).split()) == 2


@pytest.mark.parametrize(
    "command",
    [
        XClient(),
        XForward(),
        XClient(name="a b"),
        XClient(name="mx.example\r\nRSET"),
        XClient(name="[UNAVAILABLE]"),
        XClient(name="[unavailable]"),
        XClient(name=""),
        XClient(addr="mx.example"),
        XClient(addr=Unknown.TEMPUNAVAIL),
        XClient(proto="HTTP"),
        XClient(port=65_536),
        XClient(port=-1),
        XClient(helo="a b"),
        XClient(helo="x\x00"),
        XClient(login="\r\n"),
        XClient(login="\udcff"),
        XClient(login="\u2028"),
        XForward(ident="a b"),
    ],
)
def test_what_cannot_be_told(command: XClient | XForward) -> None:
    with pytest.raises((BadSyntax, UnsafeOctets)):
        command.encode()


def test_what_is_told_in_another_form() -> None:
    assert XClient(addr="2001:DB8:0::1").encode().endswith(b"ADDR=IPV6:2001:db8::1\r\n")
    assert XClient(proto="esmtp").encode() == b"XCLIENT PROTO=ESMTP\r\n"


# --- One after another. ---


def test_xclient_again() -> None:
    first = XClient(
        name="a.example", addr="192.0.2.1", proto="SMTP", helo="a", login="bob"
    )
    again = first.followed_by(XClient(name=UNAVAILABLE, port=1))
    assert again == XClient(name=UNAVAILABLE, addr="192.0.2.1", port=1)


def test_xforward_again() -> None:
    first = NOTHING_FORWARDED.followed_by(XForward(name="a.example", ident="1"))
    assert first.name == "a.example"
    assert first.helo is UNAVAILABLE
    again = first.followed_by(XForward(name=UNAVAILABLE, helo="h"))
    assert (again.name, again.helo, again.ident) == (UNAVAILABLE, "h", "1")


def test_names() -> None:
    assert NOTHING_FORWARDED.names == XFORWARD_ATTRIBUTES
    assert XClient(port=0, name=UNAVAILABLE).names == ("NAME", "PORT")
    assert set(XCLIENT_ATTRIBUTES) >= {
        *("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")
    }


# --- Any value. ---


@given(st.text(min_size=1, max_size=60))
def test_any_login_comes_back_or_is_refused(login: str) -> None:
    command = XClient(login=login)
    try:
        line = command.encode()
    except BadParameter:
        return
    assert line.count(b"\r") == line.count(b"\n") == 1
    assert line.isascii()
    assert parse_xclient(line[8:-2]) == command


@given(st.binary(max_size=80))
def test_any_octets_are_attributes_or_refused(octets: bytes) -> None:
    for start in (b"", b"LOGIN=", b"ADDR=", b"NAME=a HELO="):
        for parse in (parse_xclient, parse_xforward):
            try:
                command = parse(start + octets)
            except BadParameter:
                continue
            assert parse(command.encode()[len(command.verb) + 1 : -2]) == command

"""Mailboxes and paths: the grammar, its limits, and attempts to get around it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.errors import BadAddress
from smtpx.wire.address import (
    Mailbox,
    quote_local_part,
    take_forward_path,
    take_reverse_path,
)
from smtpx.wire.domains import parse_literal

if TYPE_CHECKING:
    from collections.abc import Callable

ATEXT = (
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-/=?^_`{|}~"
)
LABEL_63 = "l" * 63
DOMAIN_255 = f"{LABEL_63}.{LABEL_63}.{LABEL_63}.{LABEL_63}"
GRA = "grå@blåbär.example"


def refused(octets: bytes) -> bool:
    """Say whether both parsers refuse a path, each with its own code."""
    with pytest.raises(BadAddress) as forward:
        take_forward_path(octets, 0)
    with pytest.raises(BadAddress) as reverse:
        take_reverse_path(octets, 0)
    codes = [(error.value.code, error.value.enhanced) for error in (forward, reverse)]
    texts = [error.value.text for error in (forward, reverse)]
    return (
        codes == [(501, "5.1.3"), (501, "5.1.7")]
        and "".join(texts).isascii()
        and "".join(texts).isprintable()
    )


# --- paths ---------------------------------------------------------------------------

LOCAL_PARTS = [
    "a",
    "a.b",
    "a.b.c",
    ATEXT,
    "+",
    "-a-",
    "x" * 300,
    '""',
    '"a b"',
    '" "',
    '"@"',
    '"a@b.c>"',
    r'"\""',
    r'"\\"',
    r'"\ \~\a"',
    '"!#$[]^~"',
    '"..a.."',
    "grå",
    "用户.名",
    "\u760d\u760a",
    "\U0001f4e7",
    '"gr å"',
]
DOMAINS = [
    "b",
    "example.com",
    "EXAMPLE.Com",
    "1.2",
    "a-b.c--d.e1",
    "xn--bcher-kva.example",
    LABEL_63,
    DOMAIN_255,
    "blåbär.example",
    "Blåbär.Example",
    "例え.テスト",
    "[192.0.2.1]",
    "[IPv6:::1]",
    "[X-ray:!Z^~]",
]


@pytest.mark.parametrize("domain", DOMAINS, ids=ascii)
@pytest.mark.parametrize("local_part", LOCAL_PARTS, ids=ascii)
def test_good_paths(local_part: str, domain: str) -> None:
    octets = f"<{local_part}@{domain}>".encode()
    mailbox = Mailbox(local_part, domain)
    for line in (octets, octets + b" SIZE=1", octets + b">", octets + b"<b@c>"):
        assert take_forward_path(line, 0) == (mailbox, len(octets))
        assert take_reverse_path(line, 0) == (mailbox, len(octets))
    assert take_forward_path(b"RCPT TO:" + octets, 8) == (mailbox, 8 + len(octets))
    assert take_reverse_path(b"MAIL FROM:" + octets, 10) == (mailbox, 10 + len(octets))
    assert mailbox.encode() == octets[1:-1]
    assert str(mailbox) == f"{local_part}@{domain}"
    assert Mailbox.parse(str(mailbox)) == mailbox


@pytest.mark.parametrize(
    "text",
    [
        # No path at all.
        *("", "<", ">", "<<>>", "a@b", "<a@b", "a@b>", " <a@b>", "\t<a@b>", "< a@b>"),
        *("<a@b >", "<a @b>", "<a@ b>", "<<a@b>>", "<a@b <", "<a>", "<a@>", "<@b>"),
        *("<@>", "<a@b@c>", "<a@b,c@d>", "<a@b:c>", "<Bob <a@b>>", "Bob <a@b>"),
        # Dot-string.
        *("<.@b>", "<.a@b>", "<a.@b>", "<a..b@c>", "<a b@c>", "<(a)@b>", "<a(b)@c>"),
        *("<a,b@c>", "<a;b@c>", "<a:b@c>", "<a[b@c>", "<a\\b@c>", '<a"b@c>', "<\\a@b>"),
        # Quoted-string.
        *('<"@b>', '<"a@b>', '<a"@b>', '<"a"b@c>', '<a."b"@c>', '<"a"."b"@c>'),
        *('<"a\\"@b>', '<"a\\å"@b>', '<"a"b"@c>', '<""a@b>', '<"a" @b>'),
        # Domain.
        *("<a@.>", "<a@.b>", "<a@b.>", "<a@b..c>", "<a@-b>", "<a@b->", "<a@b.-c>"),
        *("<a@b-.c>", "<a@b_c>", "<a@_b>", "<a@b!c>", "<a@b/c>", "<a@b+c>", "<a@(b)>"),
        *('<a@"b">', "<a@b c>", "<a@å-.b>", "<a@-å.b>"),
        *(f"<a@l{LABEL_63}>", f"<a@b.l{LABEL_63}>", f"<a@{DOMAIN_255}.b>"),
        *(f"<a@{DOMAIN_255}b>",),
        # Address literals.
        *("<a@[]>", "<a@[>", "<a@]>", "<a@[b]>", "<a@[1.2.3]>", "<a@[1.2.3.256]>"),
        *("<a@[1.2.3.4>", "<a@1.2.3.4]>", "<a@[1.2.3.4].b>", "<a@b.[1.2.3.4]>"),
        *("<a@[1.2.3.4]x>", "<a@[[1.2.3.4]]>", "<a@[ 1.2.3.4]>", "<a@[IPv6:]>"),
        *("<a@[X:å]>", "<a@[X:a b]>", "<a@[X:\\]>", "<a@[X:[]>"),
        # Source routes.
        *("<@a>", "<@a:>", "<@a,b:c@d>", "<@a,:c@d>", "<@a c@d>", "<@:c@d>"),
        *("<@a.:c@d>", "<@a_b:c@d>", "<@a:@b:c@d>", "<@[1.2.3.4]:c@d>", "<@a,@b>"),
        *(f"<@l{LABEL_63}:c@d>", f"<@a,@{DOMAIN_255}.b:c@d>", "<@a\u3002b:c@d>"),
        *("<@a,@b\u00adå:c@d>", "<@a\u2028b:c@d>"),
        *("<@a;c@d>", "<@a,,@b:c@d>", "<@a:b>", "<@a::b@c>", "<@a:postmaster>"),
        # Not an internationalized domain: dots in disguise, invisible, not composed,
        # wrong script or hyphens, an A-label or a domain that gets too long.
        *("<a@b\u3002c>", "<a@b\uff0ec>", "<a@b\uff61c>", "<a@b\u00adå>"),
        *("<a@b\u200bc>", "<a@bla\u030aba\u0308r>", "<a@\U0001f4e7.b>", "<a@b\u05d0>"),
        *("<a@åb--c>", "<a@ab--å>", "<a@\u0301b>", "<a@\uff41.b>"),
        *(f"<a@{'å' * 60}.b>", f"<a@{'.'.join(['ååå'] * 30)}>"),
    ],
    ids=ascii,
)
def test_bad_paths(text: str) -> None:
    assert refused(text.encode())


def test_long_names_are_measured_as_octets_and_as_a_labels() -> None:
    many = ".".join(["ååå"] * 28)  # 6 octets each, and 9 as xn--7gaaa
    assert len(many.encode()) <= 255 < len(Mailbox("a", "ååå").domain_ascii) * 28 + 27
    with pytest.raises(BadAddress, match="A-labels have more than 255"):
        Mailbox("a", many)
    with pytest.raises(BadAddress, match="domain has more than 255"):
        Mailbox("a", "å" * 128)
    with pytest.raises(BadAddress, match="domain has more than 255"):
        Mailbox("a", DOMAIN_255 + ".b")
    with pytest.raises(BadAddress, match="label has more than 63"):
        Mailbox("a", "l" * 64)


@pytest.mark.parametrize(
    "octets",
    [
        b"<\xff@b>",
        b"<\xc3@b>",
        b"<@\xff:a@b>",
        b"<a@\xe5>",
        b"<\xc0\xaf@b>",
        b"<\xed\xa0\x80@b>",
    ],
)
def test_paths_that_are_not_utf8(octets: bytes) -> None:
    assert refused(octets)


def test_source_route_is_dropped() -> None:
    mailbox = Mailbox("jones", "xyz.com")
    for route in (b"@a:", b"@hosta.int,@jkl.org:", "@å.example,@b:".encode()):
        octets = b"<" + route + b"jones@xyz.com>"
        assert take_forward_path(octets, 0) == (mailbox, len(octets))
        assert take_reverse_path(octets, 0) == (mailbox, len(octets))
    with pytest.raises(BadAddress):
        Mailbox.parse("@a:jones@xyz.com")


def test_null_reverse_path() -> None:
    assert take_reverse_path(b"MAIL FROM:<>", 10) == (None, 12)
    assert take_reverse_path(b"MAIL FROM:<> BODY=8BITMIME", 10) == (None, 12)
    with pytest.raises(BadAddress) as caught:
        take_forward_path(b"RCPT TO:<>", 8)
    assert caught.value.enhanced == "5.1.3"


@pytest.mark.parametrize("name", ["postmaster", "Postmaster", "POSTMASTER"])
def test_postmaster_without_domain_is_a_recipient_only(name: str) -> None:
    octets = f"<{name}>".encode()
    assert take_forward_path(octets, 0) == (Mailbox(name, ""), len(octets))
    with pytest.raises(BadAddress):
        take_reverse_path(octets, 0)
    mailbox = Mailbox.parse(name)
    assert mailbox == Mailbox(name, "")
    assert (str(mailbox), mailbox.encode()) == (name, name.encode())
    assert (mailbox.domain_ascii, mailbox.domain_unicode) == ("", "")
    assert mailbox.literal is None


@pytest.mark.parametrize(
    "octets",
    [b"<postmasters>", b"<post>", b"<postmaste\xc5\x99>", b"<postmaster@>", b"<root>"],
)
def test_no_other_name_goes_without_domain(octets: bytes) -> None:
    assert refused(octets)


def test_postmaster_may_have_a_domain() -> None:
    assert take_forward_path(b"<postmaster@b>", 0)[0] == Mailbox("postmaster", "b")
    for text in ("postmaster.x@b", "postmaster@[192.0.2.1]", "postmaster.å@b"):
        mailbox = Mailbox.parse(text)
        assert take_forward_path(f"<{text}>".encode(), 0)[0] == mailbox
        assert str(mailbox) == text
        assert mailbox.domain


# --- lenient paths -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "end"),
    [
        (b" <a@b>", 6),
        (b"    <a@b> SIZE=1", 9),
        (b"a@b", 3),
        (b"a@b SIZE=1", 3),
        (b"  a@b", 5),
        (b"<a@b>", 5),
        (b"<@r:a@b>", 8),
    ],
)
def test_lenient_paths(octets: bytes, end: int) -> None:
    mailbox = Mailbox("a", "b")
    assert take_forward_path(octets, 0, lenient=True) == (mailbox, end)
    assert take_reverse_path(octets, 0, lenient=True) == (mailbox, end)


def test_lenient_null_reverse_path_and_postmaster() -> None:
    assert take_reverse_path(b"MAIL FROM: <>", 10, lenient=True) == (None, 13)
    postmaster = Mailbox("postmaster", "")
    assert take_forward_path(b" postmaster", 0, lenient=True) == (postmaster, 11)
    assert take_forward_path(b"postmaster X=1", 0, lenient=True) == (postmaster, 10)
    assert take_forward_path(b" <postmaster>", 0, lenient=True) == (postmaster, 13)
    with pytest.raises(BadAddress):
        take_reverse_path(b"postmaster", 0, lenient=True)


@pytest.mark.parametrize(
    "octets",
    [b"", b" ", b"\t<a@b>", b"< a@b>", b"<a@b", b"< >", b"a", b"@r:a@b", b"\x00a@b"],
)
def test_lenient_has_limits(octets: bytes) -> None:
    for take in (take_forward_path, take_reverse_path):
        with pytest.raises(BadAddress):
            take(octets, 0, lenient=True)


def test_lenient_is_not_the_default() -> None:
    assert refused(b" <a@b>")
    assert refused(b"a@b")
    assert refused(b" <>")


# --- injection -----------------------------------------------------------------------

INJECTIONS = [
    "x@b.c>\r\nRCPT TO:<v@x",
    "a@b> SIZE=1 <",
    "a@b> SIZE=1 <c@d",
    '"a\r\nRCPT TO:<v@x>"@y',
    '"a\r\n b"@c',
    '"a\\\r\\\nb"@c',
    "a@b\n",
    "a@b\r",
    "a@b\r\n",
    "\na@b",
    "a\n@b",
    "a@\nb",
    "a@[192.0.2.1\n]",
    "a@[192.0.2.1]\n",
    "a@[X:\n]",
    "a@b.c\n",
    "a\x00@b",
    '"a\x00b"@c',
    "a@b\x00",
    "a\x7f@b",
    '"\t"@b',
    "a\x85@b",
    '"a\x9fb"@c',
    "a\u2028RCPT@b",
    '"\u2029"@b',
    "a@b\u2028",
    "a@b\x85",
    "postmaster\n",
    "postmaster>",
    "a@b ",
    " a@b",
    "a@b>",
    "<a@b>",
    "a@b AUTH=<>",
    "",
]


@pytest.mark.parametrize("text", INJECTIONS, ids=ascii)
def test_injections_are_refused(text: str) -> None:
    with pytest.raises(BadAddress) as caught:
        Mailbox.parse(text)
    assert caught.value.text.isascii()
    assert caught.value.text.isprintable()


@pytest.mark.parametrize("text", INJECTIONS, ids=ascii)
def test_parts_with_injections_are_refused(text: str) -> None:
    """Nobody can build a mailbox that would not parse."""
    local_part, at, domain = text.rpartition("@")
    with pytest.raises(BadAddress):
        Mailbox(local_part, domain) if at else Mailbox(text, "")
    with pytest.raises(BadAddress):
        Mailbox(text, "example.com")
    with pytest.raises(BadAddress):
        Mailbox("a", text)


@pytest.mark.parametrize("local_part", ["root", "", "postmaster ", '"postmaster"'])
def test_only_postmaster_has_an_empty_domain(local_part: str) -> None:
    with pytest.raises(BadAddress):
        Mailbox(local_part, "")


def test_raw_octets_cannot_break_out_of_a_path() -> None:
    for octet in (*range(0x20), 0x7F):
        for template in (b"<%b@b>", b"<a%b@b>", b"<a@b%b>", b'<"%b"@b>', b'<"\\%b"@b>'):
            assert refused(template % bytes([octet]))


@pytest.mark.parametrize("text", ["\u760d\u760aRCPT", "\u010d\u010a", "\u560a"])
def test_characters_that_truncate_to_line_ends_stay_utf8(text: str) -> None:
    encoded = Mailbox(text, "b").encode()
    assert encoded == f"{text}@b".encode()
    assert set(encoded).isdisjoint(b"\r\n")


@pytest.mark.parametrize("local_part", ["a\ud800", "\udcff"], ids=ascii)
def test_lone_surrogates_are_refused(local_part: str) -> None:
    with pytest.raises(BadAddress, match="lone surrogate"):
        Mailbox(local_part, "b")
    with pytest.raises(BadAddress, match="lone surrogate"):
        Mailbox("a", local_part)
    with pytest.raises(BadAddress, match="lone surrogate"):
        Mailbox.parse(f"{local_part}@b")
    with pytest.raises(BadAddress, match="lone surrogate"):
        quote_local_part(local_part)
    with pytest.raises(BadAddress, match="bad address literal"):
        parse_literal(f"[{local_part}]")


# --- mailboxes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Mailbox.parse("bob"), "'bob' is no mailbox: no domain: bob"),
        (lambda: Mailbox("a b", "c.d"), "'a b@c.d' is no mailbox: unexpected:  b"),
        (lambda: Mailbox.parse("a@-"), "'a@-' is no mailbox: bad domain: -"),
        (lambda: Mailbox.parse("a\n@b"), "'a\\n@b' is no mailbox: no domain: a\\n@b"),
        (
            lambda: Mailbox.parse("Bob <b@c.d>"),
            "'Bob <b@c.d>' is no mailbox: no domain: Bob <b@c.d>; write the address "
            "alone, without a name and without <>",
        ),
        (
            lambda: Mailbox.parse("a@b.c, d@e.f"),
            "'a@b.c, d@e.f' is no mailbox: unexpected: , d@e.f; give several addresses "
            "as a list",
        ),
    ],
)
def test_error_is_a_sentence_about_the_address(
    make: Callable[[], Mailbox], text: str
) -> None:
    """Who calls it asked no server, so no reply code stands there."""
    with pytest.raises(BadAddress) as caught:
        make()
    assert str(caught.value) == text
    assert (caught.value.code, caught.value.enhanced) == (501, "5.1.3")
    assert caught.value.__suppress_context__


def test_mailbox_is_a_frozen_value() -> None:
    mailbox = take_forward_path(b"<a@b>", 0)[0]
    assert mailbox == Mailbox("a", "b") == Mailbox(local_part="a", domain="b")
    assert hash(mailbox) == hash(Mailbox("a", "b"))
    assert mailbox != Mailbox("a", "B")
    assert repr(mailbox) == "Mailbox(local_part='a', domain='b')"
    with pytest.raises(dataclasses.FrozenInstanceError):
        mailbox.domain = "c"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(mailbox)) == mailbox
    assert copy.deepcopy(mailbox) == mailbox
    assert dataclasses.replace(mailbox, domain="c") == Mailbox("a", "c")
    with pytest.raises(BadAddress):
        dataclasses.replace(mailbox, domain="c>")


@pytest.mark.parametrize(
    ("local_part", "meant"),
    [
        ("bob", "bob"),
        ('"bob"', "bob"),
        ('""', ""),
        ('"bob smith"', "bob smith"),
        (r'"Joe\,Smith"', "Joe,Smith"),
        (r'"\"\\\""', '"\\"'),
        (r'"\\\\"', "\\\\"),
        ('"gr å"', "gr å"),
    ],
)
def test_local_part_unquoted(local_part: str, meant: str) -> None:
    assert Mailbox(local_part, "b").local_part_unquoted == meant


@pytest.mark.parametrize(
    ("meant", "local_part"),
    [
        ("bob", "bob"),
        ("a.b+c", "a.b+c"),
        ("", '""'),
        ("bob smith", '"bob smith"'),
        ("a@b", '"a@b"'),
        (".", '"."'),
        ("a..b", '"a..b"'),
        ('"', r'"\""'),
        ('"a"', r'"\"a\""'),
        ("\\", r'"\\"'),
        ("grå", "grå"),
        ("gr å", '"gr å"'),
    ],
)
def test_quote_local_part(meant: str, local_part: str) -> None:
    assert quote_local_part(meant) == local_part
    assert Mailbox(local_part, "b").local_part_unquoted == meant


@pytest.mark.parametrize("meant", ["a\n", "a\r\nb", "\x00", "\t", "å\x85", "\u2028"])
def test_no_quoting_carries_controls(meant: str) -> None:
    with pytest.raises(BadAddress):
        quote_local_part(meant)


@pytest.mark.parametrize(
    ("text", "is_ascii"),
    [("a@b", True), ("å@b", False), ("a@å.b", False), ("a@[IPv6:::1]", True)],
)
def test_is_ascii(text: str, is_ascii: bool) -> None:
    assert Mailbox.parse(text).is_ascii is is_ascii


@pytest.mark.parametrize(
    ("domain", "in_ascii", "in_unicode"),
    [
        ("Example.COM", "Example.COM", "Example.COM"),
        ("bücher.example", "xn--bcher-kva.example", "bücher.example"),
        ("BÜCHER.Example", "xn--bcher-kva.Example", "BÜCHER.Example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", "bücher.example"),
        ("XN--BCHER-KVA.example", "XN--BCHER-KVA.example", "bücher.example"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah", "例え.テスト"),
        ("xn--0.example", "xn--0.example", "xn--0.example"),
        ("xn--a-ecp.example", "xn--a-ecp.example", "xn--a-ecp.example"),
        ("[192.0.2.1]", "[192.0.2.1]", "[192.0.2.1]"),
    ],
)
def test_forms_of_a_domain(domain: str, in_ascii: str, in_unicode: str) -> None:
    mailbox = Mailbox("a", domain)
    assert mailbox.domain == domain
    assert mailbox.domain_ascii == in_ascii
    assert mailbox.domain_unicode == in_unicode


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bob@example.com", "bob@EXAMPLE.com"),
        ("bob@example.com", '"bob"@example.com'),
        (r'"b\o\b"@example.com', "bob@example.com"),
        ("postmaster@example.com", "PostMaster@example.com"),
        ('"POSTMASTER"@example.com', "postmaster@example.com"),
        ("postmaster", "POSTMASTER"),
        ("bob@bücher.example", "bob@XN--bcher-kva.example"),
        ("bob@[192.0.2.1]", "bob@[192.000.02.1]"),
        ("bob@[IPv6:::1]", "bob@[ipv6:0:0:0:0:0:0:0:1]"),
        ("bob@[X:y]", "bob@[X:y]"),
    ],
)
def test_same_mailbox(one: str, other: str) -> None:
    assert Mailbox.parse(one).is_same_mailbox(Mailbox.parse(other))
    assert Mailbox.parse(other).is_same_mailbox(Mailbox.parse(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bob@example.com", "Bob@example.com"),
        ("bob@example.com", "bob@example.org"),
        ("bob@example.com", '" bob"@example.com'),
        ("postmaster", "postmaster@example.com"),
        ("bob@[192.0.2.1]", "bob@[192.0.2.2]"),
        ("bob@[IPv6:::ffff:192.0.2.1]", "bob@[192.0.2.1]"),
        ("bob@[X:y]", "bob@[X:z]"),
        ("bob@192.0.2.1", "bob@[192.0.2.1]"),
    ],
)
def test_other_mailbox(one: str, other: str) -> None:
    assert not Mailbox.parse(one).is_same_mailbox(Mailbox.parse(other))
    assert not Mailbox.parse(other).is_same_mailbox(Mailbox.parse(one))


# --- properties ----------------------------------------------------------------------

quoted_text = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=30
)
labels = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", fullmatch=True)
domains = (
    st.lists(labels, min_size=1, max_size=4)
    .map(".".join)
    .filter(lambda domain: len(domain) <= 255)
)


@given(quoted_text, domains)
def test_round_trip(meant: str, domain: str) -> None:
    mailbox = Mailbox(quote_local_part(meant), domain)
    assert mailbox.local_part_unquoted == meant
    encoded = mailbox.encode()
    assert Mailbox.parse(encoded.decode()) == mailbox
    octets = b"RCPT TO:<" + encoded + b"> NOTIFY=NEVER"
    assert take_forward_path(octets, 8) == (mailbox, 10 + len(encoded))
    assert take_reverse_path(octets, 8) == (mailbox, 10 + len(encoded))


PATH_OCTETS = st.lists(
    st.sampled_from(
        [
            *rb"""< > @ " \ . , : - a 1 [ ] _ IPv6: postmaster""".split(),
            *(b" ", b"\r\n", b"\x00", b"\x7f", b"\xc3\xa5", b"\xff"),
        ]
    ),
    max_size=14,
).map(b"".join)


@given(PATH_OCTETS, st.booleans())
def test_octets_give_a_mailbox_or_bad_address(octets: bytes, lenient: bool) -> None:
    for take in (take_forward_path, take_reverse_path):
        try:
            mailbox, end = take(b"<" + octets, 0, lenient=lenient)
        except BadAddress:
            continue
        assert 0 < end <= len(octets) + 1
        if mailbox is not None:
            # What was taken is there as written, and is valid by itself.
            assert mailbox.encode() in octets[: end - 1]
            assert Mailbox(mailbox.local_part, mailbox.domain) == mailbox
            assert not re.search(rb"[\x00-\x1f\x7f]", mailbox.encode())


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_a_valid_mailbox_or_refused(local_part: str, domain: str) -> None:
    try:
        mailbox = Mailbox(local_part, domain)
    except BadAddress:
        return
    line = b"<" + mailbox.encode() + b">"
    assert take_forward_path(line, 0) == (mailbox, len(line))


@pytest.mark.parametrize(
    "octets",
    [
        b"<" + b"a" * 100_000,
        b"<" + b"a." * 50_000,
        b'<"' + b"a" * 100_000,
        b'<"' + b"\\a" * 50_000,
        b"<a@" + b"b" * 100_000,
        b"<a@" + b"b." * 50_000,
        b"<a@" + b"b-" * 50_000,
        b"<a@[" + b"1" * 100_000,
        b"<a@" + "å".encode() * 50_000 + b">",
        b"<" + b"@a," * 33_000,
        b" " * 100_000,
    ],
    ids=range(11),
)
def test_long_paths_are_refused_in_one_pass(octets: bytes) -> None:
    """Were a pattern to backtrack, this would not end in a lifetime."""
    assert refused(octets)

"""Single octets: what may stand on a line, and the encodings of values."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.errors import BadAddress, BadParameter, BadSyntax, UnsafeOctets
from smtpx.wire.octets import (
    decode_base64,
    decode_utf8_addr,
    decode_xtext,
    encode_base64,
    encode_utf8_addr_unitext,
    encode_utf8_addr_xtext,
    encode_xtext,
    escape_octets,
    has_line_control,
    require_safe,
)

Encoder: TypeAlias = Callable[[str], bytes]

# What str.splitlines splits at, and the other controls.
LINE_CONTROLS = [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), *"\u2028\u2029"]

SURROGATES = (0xD800, 0xDCFF, 0xDFFF)

# --- escaping ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"", ""),
        (b"NOOP ~", "NOOP ~"),
        (b"a\r\nb\t", "a\\r\\nb\\t"),
        (b"\x00\x1f\x7f\x80\xff", "\\x00\\x1f\\x7f\\x80\\xff"),
        (b"\\r", "\\\\r"),
        (b"x" * 200, "x" * 200),
        (b"x" * 201, "x" * 200 + "... (201 octets)"),
    ],
)
def test_escape(octets: bytes, text: str) -> None:
    assert escape_octets(octets) == text


@given(st.binary(max_size=200))
def test_escaped_octets_are_printable_and_unambiguous(octets: bytes) -> None:
    text = escape_octets(octets)
    assert text.isascii()
    assert text.isprintable()
    assert text.encode().decode("unicode_escape").encode("latin-1") == octets


# --- the choke point -----------------------------------------------------------------


@pytest.mark.parametrize("octet", [*range(0x20), 0x7F])
@pytest.mark.parametrize("template", [b"%b", b"%bNOOP", b"NOOP%b", b"NO%bOP"])
def test_every_control_octet_is_refused_anywhere(octet: int, template: bytes) -> None:
    with pytest.raises(UnsafeOctets) as caught:
        require_safe(template % bytes([octet]), "NOOP command")
    assert caught.value.what == "NOOP command"
    assert caught.value.octets == escape_octets(template % bytes([octet]))


def test_all_other_octets_pass() -> None:
    octets = bytes([*range(0x20, 0x7F), *range(0x80, 0x100)])
    assert require_safe(octets, "line") is octets
    assert require_safe(b"", "line") == b""


@pytest.mark.parametrize("text", ["a\u760d\u760ab", "\u010d\u010a"])
def test_encoding_that_truncates_would_be_caught(text: str) -> None:
    assert require_safe(text.encode("utf-8"), "line") == text.encode("utf-8")
    truncated = bytes(ord(character) & 0xFF for character in text)
    with pytest.raises(UnsafeOctets):
        require_safe(truncated, "line")


# --- characters that split lines -----------------------------------------------------


@pytest.mark.parametrize("character", LINE_CONTROLS, ids=ascii)
def test_line_controls_are_found(character: str) -> None:
    assert has_line_control(f"a{character}b") is True


@given(st.text())
def test_text_that_splits_lines_is_found(text: str) -> None:
    if len(f"a{text}b".splitlines()) > 1:
        assert has_line_control(text) is True


@pytest.mark.parametrize("text", ["", " ~", "\xa0", "grå", "\u2027\u202a", "\u760d"])
def test_other_characters_are_no_line_controls(text: str) -> None:
    assert has_line_control(text) is False


# --- xtext ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "encoded"),
    [
        (b"", b""),
        (b"QQ314159", b"QQ314159"),
        (b"e=mc2@example.com", b"e+3Dmc2@example.com"),  # RFC 4954 section 5.1
        (b"Bob@Acme.ORG", b"Bob@Acme.ORG"),
        (b"a+b c", b"a+2Bb+20c"),
        (b"!*,-<>~", b"!*,-<>~"),
        (b"\x00\r\n\x7f\xff", b"+00+0D+0A+7F+FF"),
    ],
)
def test_xtext(octets: bytes, encoded: bytes) -> None:
    assert encode_xtext(octets) == encoded
    assert decode_xtext(encoded) == octets


@given(st.binary())
def test_xtext_round_trip(octets: bytes) -> None:
    encoded = encode_xtext(octets)
    assert decode_xtext(encoded) == octets
    assert all(0x21 <= octet <= 0x7E for octet in encoded)
    assert b"=" not in encoded


def test_xtext_may_encode_what_needs_no_encoding() -> None:
    assert decode_xtext(b"+41+42C") == b"ABC"


@pytest.mark.parametrize(
    "octets",
    [
        *(b"+", b"a+", b"+4", b"+4G", b"+G4", b"+2b", b"++", b"+4+41", b"+ 41"),
        *(b"a b", b" ", b"a=b", b"a\n", b"\n", b"a\r\n", b"\x00", b"\x7f", b"\x80"),
        *("grå".encode(), b"+41\n", b"+4\n"),
    ],
)
def test_bad_xtext(octets: bytes) -> None:
    with pytest.raises(BadParameter, match="bad xtext") as caught:
        decode_xtext(octets)
    assert caught.value.code == 501
    assert caught.value.enhanced == "5.5.4"
    assert caught.value.text.isprintable()


# --- utf-8 addresses -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "xtext", "unitext"),
    [
        ("bob@example.com", b"bob@example.com", b"bob@example.com"),
        ("grå@example.com", rb"gr\x{E5}@example.com", "grå@example.com".encode()),
        ("a+b=c d\\e@x", rb"a\x{2B}b\x{3D}c\x{20}d\x{5C}e@x", None),
        ("\xa0\u0100\uffff", rb"\x{A0}\x{100}\x{FFFF}", "\xa0\u0100\uffff".encode()),
        ("\U00010000\U000fffff", rb"\x{10000}\x{FFFFF}", None),
        ("\U0010ffff", rb"\x{10FFFF}", "\U0010ffff".encode()),
        ("\ud7ff\ue000", rb"\x{D7FF}\x{E000}", "\ud7ff\ue000".encode()),
        ('"~!', b'"~!', b'"~!'),
    ],
)
def test_utf8_addr(text: str, xtext: bytes, unitext: bytes | None) -> None:
    assert encode_utf8_addr_xtext(text) == xtext
    assert decode_utf8_addr(xtext) == text
    if unitext is not None:
        assert encode_utf8_addr_unitext(text) == unitext
        assert decode_utf8_addr(unitext) == text


def test_utf8_addr_unitext_embeds_specials_only() -> None:
    assert encode_utf8_addr_unitext("å+=\\ b") == rb"%b\x{2B}\x{3D}\x{5C}\x{20}b" % (
        "å".encode()
    )


address_text = st.text(min_size=1).filter(lambda text: not has_line_control(text))


@given(address_text)
def test_utf8_addr_round_trip(text: str) -> None:
    xtext = encode_utf8_addr_xtext(text)
    assert xtext.isascii()
    for encoded in (xtext, encode_utf8_addr_unitext(text)):
        assert decode_utf8_addr(encoded) == text
        assert set(encoded).isdisjoint(b"\x00\r\n +=")


@pytest.mark.parametrize("octets", [rb"\x{e5}", rb"\X{E5}", rb"\X{e5}"])
def test_utf8_addr_in_any_case(octets: bytes) -> None:
    assert decode_utf8_addr(octets) == "å"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        *(b"a b", b"a=b", b"a+b", b"a\\b", b"a\nb", b"a\n", b"\x00", b"\x7f"),
        *(rb"\x{}", rb"\x{2}", rb"\x2B", rb"\x{2B", rb"\x2B}", rb"\u{2B}", rb"\x{GG}"),
        # Characters that stand for themselves, leading zeros, surrogates, too large.
        *(rb"\x{41}", rb"\x{7E}", rb"\x{2C}", rb"\x{002B}", rb"\x{0E5}", rb"\x{02B}"),
        *(rb"\x{D800}", rb"\x{DFFF}", rb"\x{dbff}", rb"\x{110000}", rb"\x{0100}"),
        *(rb"\x{00E5}", rb"\x{0010FFFF}", rb"\x{10FFFFF}", rb"\x{1000000}"),
        # Controls, raw and embedded.
        *(rb"\x{00}", rb"\x{0D}", rb"\x{0A}", rb"\x{09}", rb"\x{7F}", rb"\x{1F}"),
        *(rb"\x{80}", rb"\x{85}", rb"\x{9F}", rb"\x{2028}", rb"a\x{2029}b"),
        *("\x85".encode(), "a\u2028".encode()),
        # Not UTF-8: alone, cut, overlong, a surrogate.
        *(b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"a\xe5@x"),
    ],
)
def test_bad_utf8_addr(octets: bytes) -> None:
    with pytest.raises(BadParameter) as caught:
        decode_utf8_addr(octets)
    assert (caught.value.code, caught.value.enhanced) == (501, "5.5.4")
    assert caught.value.text.isprintable()


@pytest.mark.parametrize("encode", [encode_utf8_addr_xtext, encode_utf8_addr_unitext])
@pytest.mark.parametrize("character", LINE_CONTROLS, ids=ascii)
def test_utf8_addr_with_a_control_is_not_encoded(
    encode: Encoder, character: str
) -> None:
    with pytest.raises(UnsafeOctets) as caught:
        encode(f"a{character}b")
    assert caught.value.octets.isprintable()


@pytest.mark.parametrize("encode", [encode_utf8_addr_xtext, encode_utf8_addr_unitext])
@pytest.mark.parametrize("character", [chr(code) for code in SURROGATES], ids=ascii)
def test_utf8_addr_with_a_surrogate_is_not_encoded(
    encode: Encoder, character: str
) -> None:
    with pytest.raises(BadAddress, match="lone surrogate"):
        encode(f"a{character}b")


# --- base64 --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "encoded"),
    [
        (b"", b""),
        (b"f", b"Zg=="),
        (b"fo", b"Zm8="),
        (b"foo", b"Zm9v"),
        (b"foobar", b"Zm9vYmFy"),
        (b"\xfb\xff", b"+/8="),
    ],
)
def test_base64(octets: bytes, encoded: bytes) -> None:
    assert encode_base64(octets) == encoded
    assert decode_base64(encoded) == octets


@given(st.binary())
def test_base64_round_trip(octets: bytes) -> None:
    encoded = encode_base64(octets)
    assert encoded == base64.b64encode(octets)
    assert decode_base64(encoded) == octets


@pytest.mark.parametrize(
    "octets",
    [
        *(b"Z", b"Zg", b"Zg=", b"Zg===", b"Zg== ", b" Zg==", b"Zg==\n", b"Zg==\r\n"),
        *(b"Zh==", b"Zm9=", b"=", b"==", b"====", b"*", b"Zm9v*", b"Zm 9v", b"Zm-v"),
        *(b"Zg==Zg==", b"Zm9v=", b"Zm9v====", b"\x00", b"Zm9v\x00", b"\xff\xff\xff"),
    ],
)
def test_base64_has_one_form(octets: bytes) -> None:
    with pytest.raises(BadSyntax) as caught:
        decode_base64(octets)
    assert (caught.value.code, caught.value.enhanced) == (501, "5.5.2")


def test_bad_base64_is_not_shown() -> None:
    with pytest.raises(BadSyntax) as caught:
        decode_base64(b"c2VjcmV0!")
    assert str(caught.value) == "bad base64"
    assert caught.value.__context__ is None

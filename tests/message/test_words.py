"""Charsets, encoded words and parameters, broken ones too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.message.words import (
    MAX_PARAMETERS,
    decode_base64_leniently,
    decode_charset,
    decode_words,
    parse_parameters,
    quote_text,
)


@pytest.mark.parametrize(
    ("octets", "charset", "text", "is_fine"),
    [
        (b"a", "us-ascii", "a", True),
        (b"gr\xc3\xa5", "UTF-8", "grå", True),
        (b"gr\xc3\xa5", '"utf8"', "grå", True),
        (b"gr\xe5", "ISO-8859-1", "grå", True),
        (b"\x93q\x94", "iso-8859-1", "“q”", True),
        (b"\xa4", "ISO-8859-15", "€", True),
        (b"\x82\xa0", "Shift_JIS", "あ", True),
        (b'\x1b$B$"\x1b(B', "iso-2022-jp", "あ", True),
        (b"\xc4\xe3", "gb2312", "你", True),
        (b"\xb0\xa1", "ks_c_5601-1987", "가", True),
        (b"\xd0", "koi8-r", "п", True),
        (b"\xe5", "cp-1250", "ĺ", True),
        (b"\xe5", "windows-1250", "ĺ", True),
        (b"a", "", "a", True),
        (b"gr\xe5", "", "grå", False),
        (b"gr\xe5", "us-ascii", "grå", False),
        (b"gr\xc3\xa5", "us-ascii", "grå", False),
        (b"gr\xe5", "utf-8", "grå", False),
        (b"\x81", "utf-8", "\ufffd", False),
        (b"a", "x-none", "a", False),
        (b"a" * 9, "punycode", "a" * 9, False),
        (b"a", "idna", "a", False),
        (b"\\q", "unicode_escape", "\\q", False),
        (b"6161", "hex", "6161", False),
        (b"a", "zlib\0", "a", False),
        (b"a", "x" * 1000, "a", False),
    ],
)
def test_charsets(octets: bytes, charset: str, text: str, is_fine: bool) -> None:
    decoded, defect = decode_charset(octets, charset)
    assert decoded == text
    assert (defect == "") is is_fine


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("plain", "plain"),
        ("=?utf-8?q?a_b=3D?=", "a b="),
        ("=?utf-8?Q?a?= =?utf-8?B?Yg==?=", "ab"),
        ("=?utf-8?q?a?= x =?utf-8?q?b?=", "a x b"),
        ("x=?utf-8?q?a?=y", "xay"),
        ("=?utf-8?q?=C3?= =?utf-8?q?=A5?=", "å"),
        ("=?utf-8?q?=C3?= =?latin-1?q?=E5?=", "Ãå"),
        ("=?utf-8*en?q?a?=", "a"),
        ("=?utf-8?b?YQ?=", "a"),
        ("=?utf-8?b?!!!?=", ""),
        ("=?x-none?q?a?=", "a"),
        ("=?utf-8?x?a?=", "=?utf-8?x?a?="),
        ("=?utf-8?q?a b?=", "a b"),
        ("=?utf-8?q?a", "=?utf-8?q?a"),
        ("=?utf-8?q??=", ""),
        (" =?utf-8?q?a?= ", " a "),
    ],
)
def test_encoded_words(text: str, decoded: str) -> None:
    assert decode_words(text) == decoded


@given(st.text("=?utf-8QqbB_A ", max_size=60) | st.text(max_size=60))
def test_encoded_words_never_raise(text: str) -> None:
    assert isinstance(decode_words(text), str)


@pytest.mark.parametrize(
    ("octets", "decoded", "is_fine"),
    [
        (b"YQ==", b"a", True),
        (b"YW\r\nI=", b"ab", True),
        (b"", b"", True),
        (b"YQ", b"a", False),
        (b"YQ==YQ==", b"aa", True),
        (b"Y!Q==", b"a", False),
        (b"YWJjZ", b"abc", False),
        (b"====", b"", True),
    ],
)
def test_base64(octets: bytes, decoded: bytes, is_fine: bool) -> None:
    found, defect = decode_base64_leniently(octets)
    assert found == decoded
    assert (defect == "") is is_fine


@pytest.mark.parametrize(
    ("text", "value", "parameters"),
    [
        ("text/plain", "text/plain", {}),
        ("Text/Plain; Charset=UTF-8", "text/plain", {"charset": "UTF-8"}),
        ('a; b="c;d\\"e"; f=g', "a", {"b": 'c;d"e', "f": "g"}),
        ("a; b = c ; b=d", "a", {"b": "c"}),
        ("a;;; b=c;", "a", {"b": "c"}),
        ("a; d; ;; b=c; e; =f; g=h", "a", {"b": "c", "": "f", "g": "h"}),
        ("a; b; c=d", "a", {"c": "d"}),
        ("a; b", "a", {}),
        ('a; b="c', "a", {"b": "c"}),
        ('"a"; b=c', "", {"b": "c"}),
        ("a; f=x; f*=utf-8''%C3%A5", "a", {"f": "å"}),
        ("a; f*=iso-8859-1'sv'%E5", "a", {"f": "å"}),
        ("a; f*0=x; f*1=y", "a", {"f": "xy"}),
        ("a; f*1=y; f*0=x; f*3=z", "a", {"f": "xy"}),
        ("a; f*0*=utf-8''%C3; f*1*=%A5; f*2=%41", "a", {"f": "å%41"}),
        ("a; f*=broken", "a", {"f": "broken"}),
        ("a; f*0=x; f*2=y; f*3=z", "a", {"f": "x"}),
        ("a; f*x=y", "a", {}),
        ("a; f==?utf-8?q?x?=", "a", {"f": "x"}),
        ("", "", {}),
    ],
)
def test_parameters(text: str, value: str, parameters: dict[str, str]) -> None:
    found, given = parse_parameters(text)
    assert found == value
    assert {name: one for name, one in given.items() if "*" not in name} == parameters


@pytest.mark.parametrize(("count", "kept"), [(0, 0), (1, 1)])
def test_limit_of_parameters(count: int, kept: int) -> None:
    text = "a" + "; b=c" * (MAX_PARAMETERS - count) + "; last=x"
    assert len(parse_parameters(text)[1]) == 1 + kept


@given(st.text("a;=\"\\*'%01 ", max_size=60) | st.text(max_size=60))
def test_parameters_never_raise(text: str) -> None:
    parse_parameters(text)


def test_octets_that_are_no_utf8_do_not_raise() -> None:
    assert parse_parameters("a; c*0*=u\udccb") == ("a", {"c": "u?"})


@given(st.text(min_size=1))
def test_what_is_quoted_is_read_again(text: str) -> None:
    if "=?" not in text:
        assert parse_parameters(f"a; b={quote_text(text)}")[1] == {"b": text}

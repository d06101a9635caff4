"""Authentication-Results: written so that nothing breaks out, read, and removed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.errors import BadSyntax
from smtpx.message.fields import parse_header
from smtpx.message.results import (
    AuthenticationResults,
    MethodResult,
    remove_forged_results,
)


@pytest.mark.parametrize(
    ("text", "authserv_id", "results"),
    [  # RFC 8601 appendix B, and what the large providers write
        ("example.org 1; none", "example.org", []),
        (
            "example.com; spf=pass smtp.mailfrom=example.net",
            "example.com",
            [MethodResult("spf", "pass", "", (("smtp.mailfrom", "example.net"),))],
        ),
        (
            "example.com; auth=pass (cram-md5) smtp.auth=sender@example.net; "
            "spf=pass smtp.mailfrom=example.net",
            "example.com",
            [
                MethodResult(
                    "auth",
                    "pass",
                    "",
                    (("smtp.auth", "sender@example.net"),),
                    "cram-md5",
                ),
                MethodResult("spf", "pass", "", (("smtp.mailfrom", "example.net"),)),
            ],
        ),
        (
            "foo.example.net (foobar) 1 (baz); dkim (Because I like it) / 1 (One yay) "
            "= (wait for it) fail policy (A dot can go here) . (like that) expired "
            "(this surprised me) = (as I wasn't expecting it) 1362471462",
            "foo.example.net",
            [
                MethodResult(
                    "dkim",
                    "fail",
                    "",
                    (("policy.expired", "1362471462"),),
                    "Because I like it",
                )
            ],
        ),
        (
            'mx.google.com; dkim=pass header.i=@x.y header.s=s header.b="Ab/c"; '
            "dmarc=pass (p=NONE sp=NONE dis=NONE) header.from=x.y",
            "mx.google.com",
            [
                MethodResult(
                    "dkim",
                    "pass",
                    "",
                    (
                        ("header.i", "@x.y"),
                        ("header.s", "s"),
                        ("header.b", "Ab/c"),
                    ),
                ),
                MethodResult(
                    "dmarc",
                    "pass",
                    "",
                    (("header.from", "x.y"),),
                    "p=NONE sp=NONE dis=NONE",
                ),
            ],
        ),
        (
            'mx; dkim=fail reason="a \\"b\\"; c" header.d=x;',
            "mx",
            [MethodResult("dkim", "fail", 'a "b"; c', (("header.d", "x"),))],
        ),
        (
            "mx; dmarc=pass action=none header.from=x",
            "mx",
            [
                MethodResult(
                    "dmarc", "pass", "", (("action", "none"), ("header.from", "x"))
                )
            ],
        ),
    ],
)
def test_reading(text: str, authserv_id: str, results: list[MethodResult]) -> None:
    read = AuthenticationResults.parse(text)
    assert read == AuthenticationResults(authserv_id, tuple(results))


@pytest.mark.parametrize(
    "text",
    [
        *("", ";", "mx 2; none", "mx; spf", "mx; spf=", "mx; =pass", "mx x; none"),
        *("(mx; none", '"mx; none', "mx; spf=pass smtp.", "mx; spf=pass a.b=;"),
        *("mx; spf=pass smtp.mailfrom", "mx; spf=pass; (", "mx; spf=pass )"),
    ],
)
def test_what_cannot_be_read(text: str) -> None:
    with pytest.raises(BadSyntax):
        AuthenticationResults.parse(text)


@pytest.mark.parametrize(("count", "is_fine"), [(100, True), (101, False)])
def test_limit_of_results(count: int, is_fine: bool) -> None:
    text = "mx" + "; spf=pass" * count
    if is_fine:
        assert len(AuthenticationResults.parse(text).results) == count
    else:
        with pytest.raises(BadSyntax, match="over 100"):
            AuthenticationResults.parse(text)


VALUES = st.text(min_size=1).filter(lambda text: text.isprintable())


@given(VALUES, VALUES, VALUES, st.text('a().\\ ";\r\n@', max_size=9))
def test_nothing_breaks_out(name: str, reason: str, value: str, comment: str) -> None:
    result = MethodResult("dkim", "fail", reason, (("header.d", value),), comment)
    field = AuthenticationResults(name, (result,)).to_field()
    header, end = parse_header(field.octets + b"\r\n")
    assert [one.name for one in header.fields] == ["Authentication-Results"]
    assert end == len(field.octets) + 2
    read = AuthenticationResults.parse(field.text)
    # Folding white space in a quoted string counts as it was.
    assert read.authserv_id == name
    assert read.results[0].reason == reason
    assert read.results[0].properties == (("header.d", value),)
    assert len(read.results) == 1


@pytest.mark.parametrize("evil", ["a\r\nX: y", "a; dmarc=pass", 'a" x', "a\\", "a\0"])
def test_values_of_a_message_are_quoted(evil: str) -> None:
    result = MethodResult("spf", "fail", evil, (("smtp.mailfrom", evil),), evil)
    field = AuthenticationResults("mx", (result,)).to_field()
    read = AuthenticationResults.parse(field.text)
    assert [one.method for one in read.results] == ["spf"]
    assert b"\n" not in field.octets.replace(b"\r\n ", b"")[:-2]


def test_a_property_without_a_type_goes_on_as_it_came() -> None:
    text = "mx; dmarc=pass action=none header.from=x"
    read = AuthenticationResults.parse(text)
    assert read.to_field().text == text


@pytest.mark.parametrize("name", ["header.", ".from", "", "a.b.c"])
def test_properties_of_ours_have_names(name: str) -> None:
    with pytest.raises(ValueError, match="no keyword"):
        AuthenticationResults(
            "mx", (MethodResult("spf", "pass", "", ((name, "x"),)),)
        ).to_field()


@pytest.mark.parametrize("word", ["a b", "", "a=", "spf;", "\xe5"])
def test_words_of_ours_are_keywords(word: str) -> None:
    with pytest.raises(ValueError, match="no keyword"):
        AuthenticationResults("mx", (MethodResult(word, "pass"),)).to_field()


def test_properties_are_found() -> None:
    result = MethodResult("dkim", "pass", properties=(("header.d", "a"),))
    assert result.find("header.d") == "a"
    assert result.find("header.s") is None


def test_an_empty_list_says_none() -> None:
    field = AuthenticationResults("mx.example").to_field()
    assert field.octets == b"Authentication-Results: mx.example; none\r\n"


@pytest.mark.parametrize(
    ("field", "is_removed"),
    [
        (b"Authentication-Results: mx.example; dkim=pass", True),
        (b"AUTHENTICATION-RESULTS:mx.example;dkim=pass", True),
        (b"Authentication-Results : MX.Example. 1; dkim=pass", True),
        (b'Authentication-Results: (x) "mx.\\example" (y); none', True),
        (b"Authentication-Results:\r\n\tmx.example;\r\n\tdkim=pass", True),
        (b"Authentication-Results: mx.example", True),
        (b"Authentication-Results: mx.example; ((((", True),
        (b"Authentication-Results: (mx.example; dkim=pass", True),
        (b"Authentication-Results: ", True),
        (b"Authentication-Results: other.example; dkim=pass", False),
        (b"Authentication-Results: (mx.example) other.example; none", False),
        (b"X-Authentication-Results: mx.example; dkim=pass", False),
        (b"ARC-Authentication-Results: i=1; mx.example; dkim=pass", False),
    ],
)
def test_forgeries_are_removed(field: bytes, is_removed: bool) -> None:
    header, _ = parse_header(b"A: 1\r\n" + field + b"\r\nB:  2\r\n\r\n")
    kept = remove_forged_results(header, "mx.example").encode()
    expected = b"A: 1\r\nB:  2\r\n" if is_removed else header.encode()
    assert kept == expected


def test_a_name_in_u_labels_is_the_same() -> None:
    header, _ = parse_header("Authentication-Results: grå.example; none\r\n".encode())
    assert remove_forged_results(header, "xn--gr-zia.example").fields == ()

"""URLs, timeouts, and what the reprs hide."""

from __future__ import annotations

import pytest

from smtpx.client.options import Auth, Target, Timeouts, TLSMode, parse_url

M = TLSMode


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mx.test", Target("mx.test", 25, tls=M.OPPORTUNISTIC)),
        ("SMTP://mx.test/", Target("mx.test", 25, tls=M.OPPORTUNISTIC)),
        ("smtp://mx.test:587", Target("mx.test", 587, tls=M.REQUIRED)),
        ("smtp://mx.test:465", Target("mx.test", 465, tls=M.IMPLICIT)),
        ("smtp://mx.test:2525", Target("mx.test", 2525, tls=M.OPPORTUNISTIC)),
        ("smtps://mx.test", Target("mx.test", 465, tls=M.IMPLICIT)),
        ("smtps://mx.test:2465", Target("mx.test", 2465, tls=M.IMPLICIT)),
        ("smtp+starttls://mx.test", Target("mx.test", 587, tls=M.REQUIRED)),
        ("smtp+starttls://mx.test:25", Target("mx.test", 25, tls=M.REQUIRED)),
        ("smtp+plain://mx.test", Target("mx.test", 25)),
        ("smtp+plain://mx.test:587", Target("mx.test", 587)),
        ("lmtp://mx.test", Target("mx.test", 24, tls=M.OPPORTUNISTIC, is_lmtp=True)),
        ("lmtp+unix:///run/lmtp", Target(path="/run/lmtp", is_lmtp=True)),
        ("lmtp+unix:///run/a%20b", Target(path="/run/a b", is_lmtp=True)),
        ("smtp+unix:///run/smtp", Target(path="/run/smtp")),
        ("mx.test", Target("mx.test", 25, tls=M.OPPORTUNISTIC)),
        ("mx.test:587", Target("mx.test", 587, tls=M.REQUIRED)),
        ("192.0.2.1:25", Target("192.0.2.1", 25, tls=M.OPPORTUNISTIC)),
        ("[2001:db8::1]:25", Target("2001:db8::1", 25, tls=M.OPPORTUNISTIC)),
        ("smtps://[2001:db8::1]", Target("2001:db8::1", 465, tls=M.IMPLICIT)),
        ("2001:db8::1", Target("2001:db8::1", 25, tls=M.OPPORTUNISTIC)),
        (
            "smtps://ann%40a.test:s%3Ae@mx.test",
            Target("mx.test", 465, tls=M.IMPLICIT, user="ann@a.test", password="s:e"),
        ),
        ("smtps://ann@mx.test", Target("mx.test", 465, tls=M.IMPLICIT, user="ann")),
    ],
)
def test_url(url: str, expected: Target) -> None:
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://mx.test",
        "smtp://",
        "smtp://mx.test:0",
        "smtp://mx.test:65536",
        "smtp://mx.test:x",
        "smtp://mx.test/path",
        "smtp://mx.test:25:25",
        "smtp://[mx.test]",
        "smtp://a@b@mx.test",
        "smtp://mx.test\r\nRSET",
        "smtp://mx test\x00",
        "lmtp+unix://run/lmtp",
        "lmtp+unix://",
    ],
)
def test_bad_url(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_url(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("smtp://", "there is no host"),
        ("smtp://user:secret@", "there is no host"),
        ("smtp://user:p@ss@mx.test", "more than one @: in a user or password .* %40"),
        ("smtp://mx.test:x", "what follows 'mx.test:' is no port"),
        ("smtp://mx.test/path", "nothing follows host and port: write 'mx.test' alone"),
        ("smtp://[::1]:x", "it begins with '\\['; an IPv6 address stands in brackets"),
        ("smtp://mx test", "it begins with 'mx test'"),
    ],
)
def test_what_is_wrong_with_a_url_is_told(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_url(url)


def test_default_scheme() -> None:
    assert parse_url("mx.test", default_scheme="lmtp").is_lmtp


def test_password_is_not_shown() -> None:
    target = parse_url("smtps://user:secret@mx.test")
    for text in (repr(target), str(target), repr(Auth("user", "secret"))):
        assert "secret" not in text
    with pytest.raises(ValueError, match="is no port") as caught:
        parse_url("smtps://user:secret@mx.test:port")
    assert "secret" not in str(caught.value)


def test_target_as_text() -> None:
    assert str(parse_url("smtps://[2001:db8::1]")) == "[2001:db8::1]:465"
    assert str(parse_url("smtp+unix:///run/x")) == "unix:/run/x"


def test_timeouts_are_those_of_the_rfc() -> None:
    """RFC 5321 section 4.5.3.2."""
    timeouts = Timeouts()
    assert (timeouts.greeting, timeouts.mail, timeouts.rcpt) == (300, 300, 300)
    assert (timeouts.data_start, timeouts.data_block) == (120, 180)
    assert timeouts.data_end == 600


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_timeout_must_be_positive(seconds: float) -> None:
    with pytest.raises(ValueError, match="timeout data_end must be positive"):
        Timeouts(data_end=seconds)
    assert Timeouts(data_end=None).data_end is None

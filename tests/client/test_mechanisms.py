"""Which mechanisms a client tries, with a password, with a token, and with neither."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from smtpx.client.options import Auth
from smtpx.errors import AuthenticationFailed
from tests.client.scripted import OPTIONS, Scripted, hello

TLS = "== TLS ==\n"
OFFER = "AUTH CRAM-MD5 ANONYMOUS EXTERNAL XOAUTH2 OAUTHBEARER LOGIN PLAIN"
TOKEN = "ya29.vF9dft4qmTc2"


def encode(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


BEARER = "C: AUTH OAUTHBEARER " + encode(
    b"n,a=user,\1host=mx.test\1port=25\1auth=Bearer %b\1\1" % TOKEN.encode()
)
XOAUTH2 = "C: AUTH XOAUTH2 " + encode(b"user=user\1auth=Bearer %b\1\1" % TOKEN.encode())
PLAIN = "C: AUTH PLAIN AHVzZXIAc2VjcmV0"


def under_tls(script: str, auth: Auth) -> Scripted:
    return Scripted(TLS + script, url="smtps://mx.test", auth=auth)


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        (Auth("user", "secret"), PLAIN),
        (Auth("user", token=TOKEN), BEARER),
        (Auth("user", token=lambda: TOKEN), BEARER),
        (Auth("user", token=TOKEN, mechanisms=("PLAIN", "xoauth2")), XOAUTH2),
        # A password is a token where mechanisms for tokens are named.
        (Auth("user", TOKEN, mechanisms=("XOAUTH2",)), XOAUTH2),
        (Auth("user"), "C: AUTH EXTERNAL ="),
        (Auth("user", authorize_as="bob"), "C: AUTH EXTERNAL Ym9i"),
        (Auth("sirhc", mechanisms=("ANONYMOUS",)), "C: AUTH ANONYMOUS c2lyaGM="),
        (
            Auth("tim", "tanstaaftanstaaf", mechanisms=("CRAM-MD5",)),
            # RFC 2195 section 2
            "C: AUTH CRAM-MD5\n"
            "S: 334 PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+\n"
            "C: dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw",
        ),
    ],
)
def test_what_fits_the_credentials(auth: Auth, said: str) -> None:
    scripted = under_tls(hello(OFFER) + f"{said}\nS: 235 ok", auth)
    scripted.connect()
    scripted.require_end()


@pytest.mark.parametrize(
    ("offer", "auth"),
    [
        # A token is shown to no mechanism that takes it for a password.
        ("AUTH PLAIN LOGIN", Auth("user", token=TOKEN)),
        ("AUTH PLAIN LOGIN", Auth("user", token=TOKEN, mechanisms=("PLAIN",))),
        ("AUTH XOAUTH2 EXTERNAL CRAM-MD5 ANONYMOUS", Auth("user", "secret")),
        ("AUTH PLAIN ANONYMOUS", Auth("user")),
        ("AUTH SCRAM-SHA-256-PLUS", Auth("user", "secret")),
    ],
)
def test_what_does_not_fit_is_not_tried(offer: str, auth: Auth) -> None:
    scripted = under_tls(hello(offer), auth)
    with pytest.raises(AuthenticationFailed, match="the server offers"):
        scripted.connect()
    scripted.require_end()


def test_options_name_mechanisms_for_all_credentials() -> None:
    options = replace(OPTIONS, mechanisms=("PLAIN", "XOAUTH2"))
    scripted = Scripted(
        TLS + hello(OFFER) + f"{XOAUTH2}\nS: 235 ok",
        url="smtps://mx.test",
        options=options,
        auth=Auth("user", token=TOKEN),
    )
    scripted.connect()
    scripted.require_end()


def test_credentials_are_a_password_or_a_token() -> None:
    with pytest.raises(ValueError, match="not both"):
        Auth("user", "secret", token=TOKEN)
    shown = repr(Auth("user", token=TOKEN)) + repr(Auth("user", "secret"))
    assert TOKEN not in shown
    assert "secret" not in shown


def test_password_that_scram_cannot_prepare_goes_by_plain() -> None:
    password = "\U0001f600"
    message = encode(b"\0user\0" + password.encode())
    scripted = under_tls(
        hello("AUTH SCRAM-SHA-256 PLAIN") + f"C: AUTH PLAIN {message}\nS: 235 ok",
        Auth("user", password),
    )
    scripted.connect()
    scripted.require_end()


def test_reason_why_nothing_was_tried() -> None:
    scripted = under_tls(
        hello("AUTH SCRAM-SHA-256 SCRAM-SHA-1"), Auth("user", "\U0001f600")
    )
    with pytest.raises(AuthenticationFailed, match="newer than SASLprep") as caught:
        scripted.connect()
    assert caught.value.attempts == ()
    scripted.require_end()


def test_channel_binding_that_is_not_to_be_had_gives_way() -> None:
    """The scripted TLS has no certificate."""
    mechanisms = ("SCRAM-SHA-256-PLUS", "PLAIN")
    scripted = under_tls(
        hello("AUTH SCRAM-SHA-256-PLUS PLAIN") + f"{PLAIN}\nS: 235 ok",
        Auth("user", "secret", mechanisms=mechanisms),
    )
    scripted.connect()
    scripted.require_end()


def test_error_of_a_token_is_heard_out() -> None:
    error = encode(b'{"status":"invalid_token"}')
    script = f"{BEARER}\nS: 334 {error}\nC: AQ==\nS: 535 5.7.8 no"
    scripted = under_tls(hello(OFFER) + script, Auth("user", token=TOKEN))
    with pytest.raises(AuthenticationFailed) as caught:
        scripted.connect()
    assert [(name, reply.code) for name, reply in caught.value.attempts] == [
        ("OAUTHBEARER", 535)
    ]
    assert TOKEN not in repr(caught.value)
    scripted.require_end()


@pytest.mark.parametrize("peer", ["192.0.2.1:25", "[2001:db8::1]:25"])
def test_token_is_never_shown_on_the_way(peer: str) -> None:
    scripted = Scripted(
        hello(OFFER), url="smtp+plain://mx.test", auth=Auth("user", token=TOKEN)
    )
    scripted.runtime.peer = peer
    with pytest.raises(AuthenticationFailed, match="TLS"):
        scripted.connect()
    scripted.require_end()


def test_unix_socket_has_no_port() -> None:
    message = encode(b"n,a=user,\1auth=Bearer %b\1\1" % TOKEN.encode())
    scripted = Scripted(
        hello("AUTH OAUTHBEARER") + f"C: AUTH OAUTHBEARER {message}\nS: 235 ok",
        url="smtp+unix:///run/smtp",
        auth=Auth("user", token=TOKEN),
    )
    scripted.connect()
    scripted.require_end()

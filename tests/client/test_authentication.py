"""AUTH: which mechanism, in what order, never in clear, and what the error tells."""

from __future__ import annotations

import pickle
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from smtpx.client import authentication
from smtpx.client.aio import AsyncClient
from smtpx.client.blocking import Client
from smtpx.client.conversation import Conversation
from smtpx.client.options import Auth, ClientOptions
from smtpx.errors import (
    AuthenticationFailed,
    ConnectionLost,
    NotSupported,
    OutOfStep,
    SASLError,
)
from smtpx.sasl import registry
from smtpx.sasl.mechanism import ClientMechanism
from tests.client.scripted import OPTIONS, Scripted, hello

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from smtpx.wire.replies import Reply

PLAIN = "C: AUTH PLAIN AHVzZXIAc2VjcmV0\n"
LOGIN = (
    "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: dXNlcg==\nS: 334 UGFzc3dvcmQ6\n"
    "C: c2VjcmV0\n"
)
OPEN = replace(OPTIONS, allow_plaintext_auth=True)


def login(client: Conversation) -> Coroutine[object, object, Reply]:
    return client.auth("user", "secret")


def connected(*scripts: str, options: ClientOptions = OPEN) -> Scripted:
    scripted = Scripted(*scripts, options=options)
    scripted.connect()
    return scripted


def test_plain_is_preferred_whatever_the_order_of_the_server() -> None:
    scripted = connected(hello("AUTH LOGIN PLAIN") + PLAIN + "S: 235 2.7.0 welcome")
    assert scripted(login).code == 235
    assert scripted.client.is_connected
    scripted.require_end()


def test_login() -> None:
    scripted = connected(hello("AUTH=LOGIN") + LOGIN + "S: 235 ok")
    assert scripted(login).code == 235
    scripted.require_end()


@pytest.mark.parametrize("code", [504, 534])
def test_unfit_mechanism_is_followed_by_the_next(code: int) -> None:
    scripted = connected(
        hello("AUTH PLAIN LOGIN")
        + PLAIN
        + f"S: {code} not this\n"
        + LOGIN
        + "S: 235 ok"
    )
    assert scripted(login).code == 235
    scripted.require_end()


@pytest.mark.parametrize("code", [432, 454, 500, 501, 530, 535, 538, 550])
def test_other_refusals_stop(code: int) -> None:
    scripted = connected(hello("AUTH PLAIN LOGIN") + PLAIN + f"S: {code} no")
    with pytest.raises(AuthenticationFailed) as caught:
        scripted(login)
    assert caught.value.smtp_code == code
    assert caught.value.is_temporary is (code < 500)
    assert [(name, reply.code) for name, reply in caught.value.attempts] == [
        ("PLAIN", code)
    ]
    assert scripted.client.is_connected
    scripted.require_end()


def test_every_attempt_is_in_the_error() -> None:
    scripted = connected(
        hello("AUTH PLAIN LOGIN") + PLAIN + "S: 504 no\n" + LOGIN + "S: 535 5.7.8 wrong"
    )
    with pytest.raises(AuthenticationFailed, match="'user'") as caught:
        scripted(login)
    assert [(name, reply.code) for name, reply in caught.value.attempts] == [
        ("PLAIN", 504),
        ("LOGIN", 535),
    ]
    assert pickle.loads(pickle.dumps(caught.value)).attempts == caught.value.attempts


def test_one_mechanism_may_be_asked_for() -> None:
    scripted = connected(hello("AUTH PLAIN LOGIN") + LOGIN + "S: 235 ok")
    scripted(lambda client: client.auth("user", "secret", mechanism="login"))
    scripted.require_end()


def test_order_of_preference_is_an_option() -> None:
    options = replace(OPEN, mechanisms=("LOGIN", "PLAIN"))
    scripted = connected(
        hello("AUTH PLAIN LOGIN") + LOGIN + "S: 235 ok", options=options
    )
    scripted(login)
    scripted.require_end()


def test_no_common_mechanism() -> None:
    scripted = connected(hello("AUTH GSSAPI"))
    with pytest.raises(AuthenticationFailed, match="GSSAPI"):
        scripted(login)
    with pytest.raises(ValueError, match="no such mechanism here: X-NONE"):
        scripted(lambda client: client.auth("user", "secret", mechanism="x-none"))


def test_no_auth_offered() -> None:
    scripted = connected(hello())
    with pytest.raises(NotSupported, match="AUTH"):
        scripted(login)


# --- In clear. ---


@pytest.mark.parametrize(
    ("url", "peer", "options", "is_allowed"),
    [
        ("smtp+plain://mx.test", "192.0.2.1:25", OPTIONS, False),
        ("smtp+plain://mx.test", "[2001:db8::1]:25", OPTIONS, False),
        ("smtp+plain://mx.test", "mx.test:25", OPTIONS, False),
        ("smtp+plain://mx.test", "192.0.2.1:25", OPEN, True),
        ("smtp+plain://mx.test", "127.0.0.1:25", OPTIONS, True),
        ("smtp+plain://mx.test", "[::1]:25", OPTIONS, True),
        ("smtp+unix:///run/smtp", "", OPTIONS, True),
        (
            "smtp+plain://mx.test",
            "127.0.0.1:25",
            replace(OPTIONS, trust_loopback=False),
            False,
        ),
        (
            "smtp+unix:///run/smtp",
            "",
            replace(OPTIONS, trust_loopback=False),
            False,
        ),
    ],
)
def test_password_is_never_shown_on_the_way(
    url: str, peer: str, options: ClientOptions, is_allowed: bool
) -> None:
    """CVE-2017-15042: it does not matter what the server says it wants."""
    script = hello("AUTH PLAIN LOGIN")
    script += PLAIN + "S: 235 ok" if is_allowed else ""
    scripted = Scripted(script, url=url, options=options, auth=("user", "secret"))
    scripted.runtime.peer = peer
    if is_allowed:
        scripted.connect()
    else:
        with pytest.raises(AuthenticationFailed, match="TLS"):
            scripted.connect()
        assert scripted.channel.is_aborted
    scripted.require_end()


def test_password_goes_through_tls() -> None:
    scripted = Scripted(
        "== TLS ==\n" + hello("AUTH PLAIN") + PLAIN + "S: 235 ok",
        url="smtps://mx.test",
        auth=("user", "secret"),
    )
    scripted.connect()
    scripted.require_end()


# --- Credentials. ---


def test_url_may_hold_them() -> None:
    scripted = Scripted(
        "== TLS ==\n" + hello("AUTH PLAIN") + PLAIN + "S: 235 ok",
        url="smtps://user:s%65cret@mx.test",
    )
    scripted.connect()
    assert "secret" not in repr(scripted.client)
    scripted.require_end()


def test_password_is_asked_at_each_connect() -> None:
    passwords = iter(["secret", "other"])
    scripted = Scripted(
        hello("AUTH PLAIN") + PLAIN + "S: 235 ok",
        hello("AUTH PLAIN") + "C: AUTH PLAIN AHVzZXIAb3RoZXI=\nS: 235 ok",
        options=OPEN,
        auth=("user", lambda: next(passwords)),
    )
    scripted.connect()
    scripted(Conversation.close)
    scripted.connect()
    scripted.require_end()


def test_password_may_be_awaited() -> None:
    async def password() -> str:
        return "secret"

    scripted = Scripted(
        hello("AUTH PLAIN") + PLAIN + "S: 235 ok",
        options=OPEN,
        auth=Auth("user", password),
    )
    scripted.connect()
    scripted.require_end()


def test_failure_to_get_the_password_is_the_callers_own() -> None:
    def password() -> str:
        raise TimeoutError("the vault is closed")

    scripted = Scripted(hello("AUTH PLAIN"), options=OPEN, auth=("user", password))
    with pytest.raises(TimeoutError, match="the vault is closed") as caught:
        scripted.connect()
    assert not isinstance(caught.value, ConnectionLost)
    assert scripted.channel.is_aborted


def test_acting_as_another() -> None:
    scripted = Scripted(
        hello("AUTH PLAIN LOGIN") + "C: AUTH PLAIN Ym9iAHVzZXIAc2VjcmV0\nS: 235 ok",
        options=OPEN,
        auth=Auth("user", "secret", authorize_as="bob"),
    )
    scripted.connect()
    scripted.require_end()


# --- Servers that break the rules. ---


@pytest.mark.parametrize("challenge", ["not base64", "VXNlcm5hbWU6=", "="])
def test_bad_challenge_cancels(challenge: str) -> None:
    script = hello("AUTH PLAIN") + PLAIN
    scripted = connected(script + f"S: 334 {challenge}\nC: *\nS: 501 5.7.0 cancelled")
    with pytest.raises(AuthenticationFailed, match="PLAIN broken off") as caught:
        scripted(login)
    assert [reply.code for _, reply in caught.value.attempts] == [501]
    assert scripted.client.is_connected
    scripted.require_end()


def test_challenge_that_does_not_belong_there_cancels() -> None:
    scripted = connected(
        hello("AUTH PLAIN") + PLAIN + "S: 334 VXNlcm5hbWU6\nC: *\nS: 501 cancelled"
    )
    with pytest.raises(AuthenticationFailed, match="challenge"):
        scripted(login)
    scripted.require_end()


def test_success_too_early_is_not_believed() -> None:
    scripted = connected(hello("AUTH LOGIN") + "C: AUTH LOGIN\nS: 235 welcome")
    with pytest.raises(AuthenticationFailed, match="not to be trusted") as caught:
        scripted(login)
    assert [reply.code for _, reply in caught.value.attempts] == [235]


def test_credentials_that_a_mechanism_cannot_carry() -> None:
    scripted = connected(hello("AUTH PLAIN"))
    with pytest.raises(AuthenticationFailed, match="NUL"):
        scripted(lambda client: client.auth("user", "sec\0ret"))
    assert scripted.client.is_connected


class Token(ClientMechanism):
    """Shows no password, so it needs no TLS."""

    name = "X-TOKEN"
    shows_password = False

    def start(self) -> bytes | None:
        return b""

    def respond(self, challenge: bytes) -> bytes:
        raise SASLError("no")

    def succeed(self, data: bytes | None = None) -> None:
        pass


def test_safe_mechanism_is_used_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    mechanisms = {**registry.CLIENT_MECHANISMS, "X-TOKEN": Token}
    monkeypatch.setattr(authentication, "CLIENT_MECHANISMS", mechanisms)
    scripted = connected(
        hello("AUTH PLAIN X-TOKEN") + "C: AUTH X-TOKEN =\nS: 235 ok", options=OPTIONS
    )
    scripted(login)
    scripted.require_end()


# --- Secrets. ---


def test_secrets_show_nowhere() -> None:
    log: list[str] = []
    auth = Auth("user", "secret")
    options = replace(OPEN, wire_log=log.append)
    scripted = Scripted(
        hello("AUTH PLAIN LOGIN") + PLAIN + "S: 504 no\n" + LOGIN + "S: 535 wrong",
        options=options,
        auth=auth,
    )
    with pytest.raises(AuthenticationFailed) as caught:
        scripted.connect()
    shown = [repr(auth), repr(scripted.client), str(caught.value), repr(caught.value)]
    shown += [repr(caught.value.attempts), repr(caught.value.args), *log]
    for text in shown:
        assert "secret" not in text
        assert "c2VjcmV0" not in text
        assert "AHVzZXIAc2VjcmV0" not in text
    assert "C: AUTH PLAIN ***" in log
    assert log.count("C: ***") == 2


@pytest.mark.parametrize(
    "said",
    [
        "S: 535 5.7.8 no user with the password secret",
        "S: 535-5.7.8 wrong:\nS: 535 5.7.8 AHVzZXIAc2VjcmV0",
        "S: 535 5.7.8 c2VjcmV0 is wrong",
        "S: password secret is wrong",
    ],
)
def test_server_that_repeats_the_password(said: str) -> None:
    log: list[str] = []
    options = replace(OPEN, wire_log=log.append, mechanisms=("PLAIN", "LOGIN"))
    scripted = Scripted(
        hello("AUTH PLAIN LOGIN") + PLAIN + "S: 504 no\n" + LOGIN + said,
        options=options,
        auth=("user", "secret"),
    )
    if "c2VjcmV0" not in said:
        scripted = Scripted(
            hello("AUTH PLAIN LOGIN") + PLAIN + said,
            options=options,
            auth=("user", "secret"),
        )
    with pytest.raises((AuthenticationFailed, OutOfStep)) as caught:
        scripted.connect()
    error = caught.value
    shown = [str(error), repr(error), repr(error.__dict__), *log]
    shown += ["".join(traceback.format_exception(error))]
    for text in shown:
        for secret in ("secret is", "password secret", "c2VjcmV0", "AHVzZXIA"):
            assert secret not in text
    if isinstance(error, AuthenticationFailed):
        assert error.smtp_code == 535
        assert "not shown" in str(error)
        assert "S: 535 5.7.8 (not shown, as it repeats what was sent in secret)" in log
    else:
        assert "a malformed reply to AUTH, not shown" in str(error)


def test_replies_are_shown_again_after_auth() -> None:
    scripted = connected(
        hello("AUTH PLAIN") + PLAIN + "S: 235 ok\nC: NOOP\nS: 250 a secret of nobody"
    )
    scripted(login)
    assert scripted(Conversation.noop).text == "a secret of nobody"


def test_empty_password_hides_nothing() -> None:
    scripted = Scripted(
        hello("AUTH EXTERNAL") + "C: AUTH EXTERNAL =\nS: 535 wrong",
        options=OPEN,
        auth=Auth(""),
    )
    with pytest.raises(AuthenticationFailed, match="535 wrong"):
        scripted.connect()


# --- What to do next. ---


@pytest.mark.parametrize(
    ("script", "url", "text"),
    [
        (hello("STARTTLS"), "smtp+plain://mx.test", r"but STARTTLS: .*smtp\+starttls"),
        (hello(), "smtp+plain://mx.test", r"nor STARTTLS: .* smtps://"),
        ("== TLS ==\n" + hello(), "smtps://mx.test", r"^the server offers no AUTH$"),
    ],
)
def test_no_auth_says_where_there_may_be(script: str, url: str, text: str) -> None:
    scripted = Scripted(script, url=url, auth=("user", "secret"))
    with pytest.raises(NotSupported, match=text):
        scripted.connect()


@pytest.mark.parametrize(
    "auth", ["user:secret", ["user", "secret"], {"user": "secret"}]
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_auth_of_a_wrong_type_fails_at_once(
    kind: type[Client | AsyncClient], auth: object
) -> None:
    with pytest.raises(TypeError, match=r"pair \(user, password\)") as caught:
        kind("smtp://mx.test", auth=auth)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_auth_of_three_items_fails_at_once() -> None:
    with pytest.raises(ValueError, match="not 3 items") as caught:
        Client("smtp://mx.test", auth=("user", "secret", "x"))  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)

"""PLAIN and LOGIN, each end alone and against the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.errors import SASLError
from smtpx.sasl.login import LoginClient, LoginServer
from smtpx.sasl.mechanism import (
    Challenge,
    CheckPassword,
    ClientMechanism,
    Credentials,
    Failure,
    Identity,
    Question,
    ServerMechanism,
    Step,
    Success,
)
from smtpx.sasl.plain import PlainClient, PlainServer
from smtpx.sasl.registry import CLIENT_MECHANISMS, SERVER_MECHANISMS

SECRET = "tr0ub4dor\u00e9"
CREDENTIALS = Credentials("user", SECRET)
MALFORMED = Failure("malformed name or password")
MECHANISMS = ["PLAIN", "LOGIN"]
mechanisms = pytest.mark.parametrize("name", MECHANISMS)


def converse(
    server: ServerMechanism, client: ClientMechanism, *, is_deferred: bool = False
) -> Step:
    """Let both ends talk until the server has a question or has decided."""
    response = client.start()
    if is_deferred and response is not None:
        step = server.start(None)
        assert step == Challenge(b"")
        step = server.respond(response)
    else:
        step = server.start(response)
    while isinstance(step, Challenge):
        step = server.respond(client.respond(step.data))
    return step


# --- both ends -----------------------------------------------------------------------


def test_registry() -> None:
    for name in MECHANISMS:
        assert SERVER_MECHANISMS[name].name == name
        assert CLIENT_MECHANISMS[name].name == name
        assert SERVER_MECHANISMS[name].shows_password is True
        assert CLIENT_MECHANISMS[name].shows_password is True


@mechanisms
@pytest.mark.parametrize("is_deferred", [False, True])
def test_the_right_password(name: str, is_deferred: bool) -> None:
    server = SERVER_MECHANISMS[name]()
    client = CLIENT_MECHANISMS[name](CREDENTIALS)
    step = converse(server, client, is_deferred=is_deferred)
    assert step == CheckPassword("user", SECRET, "")
    assert isinstance(step, Question)
    assert server.resume(True) == Success(Identity("user", "", name), None)
    client.succeed()
    client.succeed(b"")


@mechanisms
@pytest.mark.parametrize("answer", [False, None, 1, "yes", object(), b"True"])
def test_only_true_lets_in(name: str, answer: object) -> None:
    server = SERVER_MECHANISMS[name]()
    converse(server, CLIENT_MECHANISMS[name](CREDENTIALS))
    assert server.resume(answer) == Failure("wrong password")
    with pytest.raises(RuntimeError, match="asked no question"):
        server.resume(True)


@mechanisms
def test_an_answer_without_a_question(name: str) -> None:
    server = SERVER_MECHANISMS[name]()
    with pytest.raises(RuntimeError, match="asked no question"):
        server.resume(True)
    server.start(None)
    with pytest.raises(RuntimeError, match="asked no question"):
        server.resume(True)


@mechanisms
def test_one_question_is_answered_once(name: str) -> None:
    server = SERVER_MECHANISMS[name]()
    converse(server, CLIENT_MECHANISMS[name](CREDENTIALS))
    server.resume(True)
    with pytest.raises(RuntimeError, match="asked no question"):
        server.resume(True)


@mechanisms
def test_no_secret_in_a_repr(name: str) -> None:
    server = SERVER_MECHANISMS[name]()
    client = CLIENT_MECHANISMS[name](CREDENTIALS)
    step = converse(server, client)
    success = server.resume(True)
    for value in (step, server, client, success, CREDENTIALS):
        shown = f"{value!r} {value}"
        assert SECRET not in shown
        assert "tr0ub4dor" not in shown


names = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1)
passwords = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: "\0" not in text
)


@mechanisms
@given(user=names, password=passwords, is_deferred=st.booleans())
def test_what_one_end_sends_the_other_reads(
    name: str, user: str, password: str, is_deferred: bool
) -> None:
    server = SERVER_MECHANISMS[name]()
    client = CLIENT_MECHANISMS[name](Credentials(user, password))
    step = converse(server, client, is_deferred=is_deferred)
    assert step == CheckPassword(user, password, "")


@mechanisms
@given(responses=st.lists(st.binary(), min_size=2, max_size=2))
def test_any_octets_give_a_step(name: str, responses: list[bytes]) -> None:
    server = SERVER_MECHANISMS[name]()
    step = server.start(responses[0])
    if isinstance(step, Challenge):
        step = server.respond(responses[1])
    assert isinstance(step, Failure | CheckPassword)


@mechanisms
@pytest.mark.parametrize(
    ("user", "password", "message"),
    [
        ("", "x", "user name is empty"),
        ("a\0b", "x", "user name is empty or holds a NUL"),
        ("\ud800", "x", "user name holds a lone surrogate"),
        ("u", "", "password is empty"),
        ("u", SECRET + "\0", "password is empty or holds a NUL"),
        ("u", SECRET + "\udc80", "password holds a lone surrogate"),
    ],
)
def test_unusable_credentials(
    name: str, user: str, password: str, message: str
) -> None:
    client = CLIENT_MECHANISMS[name](Credentials(user, password))
    with pytest.raises(SASLError, match=message) as caught:
        client.start()
    error = caught.value
    assert SECRET not in f"{error!r} {error.__cause__!r}"
    assert error.__suppress_context__ is (error.__context__ is not None)
    with pytest.raises(SASLError, match="out of step"):
        client.succeed()


@mechanisms
def test_success_with_data_is_not_theirs(name: str) -> None:
    client = CLIENT_MECHANISMS[name](CREDENTIALS)
    converse(SERVER_MECHANISMS[name](), client)
    with pytest.raises(SASLError, match="out of step"):
        client.succeed(b"v=abc")


# --- PLAIN ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "step"),
    [
        # RFC 4616 section 4, its two examples.
        (b"\0tim\0tanstaaftanstaaf", CheckPassword("tim", "tanstaaftanstaaf", "")),
        (b"Ursel\0Kurt\0xipj3plmq", CheckPassword("Kurt", "xipj3plmq", "Ursel")),
        (b"\0u\0p\r\n", CheckPassword("u", "p\r\n", "")),
        (b"\0gr\xc3\xa5\0p", CheckPassword("gr\u00e5", "p", "")),
        (b"", Failure("malformed message")),
        (b"user", Failure("malformed message")),
        (b"user\0pencil", Failure("malformed message")),
        (b"\0user\0pencil\0", Failure("malformed message")),
        (b"\0\0pencil", MALFORMED),
        (b"\0user\0", MALFORMED),
        (b"\0us\xffer\0pencil", MALFORMED),
        (b"\0user\0pen\xffcil", MALFORMED),
        (b"\xff\0user\0pencil", MALFORMED),
        (b"\0us\r\ner\0pencil", MALFORMED),
        (b"a\x1b\0user\0pencil", MALFORMED),
        (b"\0us\x7fer\0pencil", MALFORMED),
        (b"\0us\xc2\x85er\0pencil", MALFORMED),
        (b"\0us\xe2\x80\xa8er\0pencil", MALFORMED),
        (b"\0us\xe2\x80\xa9er\0pencil", MALFORMED),
    ],
)
def test_plain_messages(message: bytes, step: Step) -> None:
    assert PlainServer().start(message) == step
    deferred = PlainServer()
    assert deferred.start(None) == Challenge(b"")
    assert deferred.respond(message) == step


def test_plain_acting_as_another() -> None:
    client = PlainClient(Credentials("Kurt", "xipj3plmq", "Ursel"))
    message = client.start()
    assert message == b"Ursel\0Kurt\0xipj3plmq"
    server = PlainServer()
    server.start(message)
    assert server.resume(True) == Success(Identity("Kurt", "Ursel", "PLAIN"))


def test_plain_acting_as_one_who_cannot_be_named() -> None:
    client = PlainClient(Credentials("user", "pencil", "a\0b"))
    with pytest.raises(SASLError, match="authorize_as name is empty or holds a NUL"):
        client.start()


def test_plain_has_no_challenge() -> None:
    client = PlainClient(CREDENTIALS)
    client.start()
    with pytest.raises(SASLError, match="which PLAIN has not"):
        client.respond(b"")


def test_plain_does_not_succeed_before_it_started() -> None:
    with pytest.raises(SASLError, match="out of step with PLAIN"):
        PlainClient(CREDENTIALS).succeed()


# --- LOGIN ---------------------------------------------------------------------------


def test_login_with_prompts() -> None:
    server = LoginServer()
    assert server.start(None) == Challenge(b"Username:")
    assert server.respond(b"user") == Challenge(b"Password:")
    assert server.respond(b"pencil") == CheckPassword("user", "pencil", "")


def test_login_with_an_initial_response() -> None:
    server = LoginServer()
    assert server.start(b"user") == Challenge(b"Password:")
    assert server.respond(b"pencil") == CheckPassword("user", "pencil", "")
    assert server.resume(True) == Success(Identity("user", "", "LOGIN"))


@pytest.mark.parametrize(
    ("user", "password"),
    [
        (b"", b"pencil"),
        (b"user", b""),
        (b"us\0er", b"pencil"),
        (b"user", b"pen\0cil"),
        (b"\xff", b"pencil"),
        (b"user", b"\xff"),
        (b"us\ner", b"pencil"),
    ],
)
def test_login_malformed(user: bytes, password: bytes) -> None:
    server = LoginServer()
    # Only at the end: the name alone must not tell whether it was well formed.
    assert server.start(user) == Challenge(b"Password:")
    assert server.respond(password) == MALFORMED


def test_login_answers_prompts_in_order_whatever_they_say() -> None:
    client = LoginClient(CREDENTIALS)
    assert client.start() is None
    assert client.respond(b"Password:") == b"user"
    assert client.respond(b"") == SECRET.encode()
    with pytest.raises(SASLError, match="more often"):
        client.respond(b"Password:")


def test_login_prompts_come_after_the_start() -> None:
    with pytest.raises(SASLError, match="more often"):
        LoginClient(CREDENTIALS).respond(b"Username:")


@pytest.mark.parametrize("responses", [0, 1])
def test_login_does_not_succeed_before_the_password(responses: int) -> None:
    client = LoginClient(CREDENTIALS)
    client.start()
    for _ in range(responses):
        client.respond(b"")
    with pytest.raises(SASLError, match="out of step with LOGIN"):
        client.succeed()


def test_login_cannot_act_as_another() -> None:
    with pytest.raises(SASLError, match="use PLAIN"):
        LoginClient(Credentials("user", "pencil", "other")).start()

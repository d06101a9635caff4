"""OAUTHBEARER and XOAUTH2: the examples of the RFC, errors, and bad messages."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.errors import SASLError
from smtpx.sasl.mechanism import (
    Challenge,
    ClientContext,
    Credentials,
    Failure,
    Identity,
    Step,
    Success,
)
from smtpx.sasl.oauth import (
    CheckToken,
    OAuthBearerClient,
    OAuthBearerServer,
    OAuthClient,
    OAuthServer,
    TokenRefused,
    XOAuth2Client,
    XOAuth2Server,
)
from tests.sasl.conversing import converse

USER = "user@example.com"
TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
CREDENTIALS = Credentials(USER, TOKEN)
PAIRS: list[tuple[type[OAuthServer], type[OAuthClient]]] = [
    (OAuthBearerServer, OAuthBearerClient),
    (XOAuth2Server, XOAuth2Client),
]
pairs = pytest.mark.parametrize(("server", "client"), PAIRS)

# RFC 7628 section 4.1, as it stands on the wire: for IMAP, and for SMTP
FOR_IMAP = (
    "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9"
    "QmVhcmVyIHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
)
FOR_SMTP = (
    "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9NTg3AWF1dGg9"
    "QmVhcmVyIHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
)
# RFC 7628 section 4.3
WITHOUT_TOKEN = (
    "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9"
    "AQE="
)
ERROR = (
    "eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIiwic2NvcGUiOiJleGFtcGxlX3Njb3BlIiwib3BlbmlkLWNv"
    "bmZpZ3VyYXRpb24iOiJodHRwczovL2V4YW1wbGUuY29tLy53ZWxsLWtub3duL29wZW5pZC1jb25maWd1"
    "cmF0aW9uIn0="
)


@pytest.mark.parametrize(("line", "port"), [(FOR_IMAP, 143), (FOR_SMTP, 587)])
def test_success_of_the_rfc(line: str, port: int) -> None:
    message = base64.b64decode(line)
    context = ClientContext(host="server.example.com", port=port)
    client = OAuthBearerClient(CREDENTIALS, context)
    assert client.start() == message
    client.succeed()
    server = OAuthBearerServer()
    question = server.start(message)
    assert question == CheckToken(USER, TOKEN, "server.example.com", port)
    assert server.resume(USER) == Success(Identity(USER, USER, "OAUTHBEARER"))


def test_failure_of_the_rfc() -> None:
    server = OAuthBearerServer()
    question = server.start(base64.b64decode(WITHOUT_TOKEN))
    assert question == CheckToken(USER, "", "server.example.com", 143)
    challenge = server.resume(
        TokenRefused(
            scope="example_scope",
            openid_configuration="https://example.com/.well-known/openid-configuration",
        )
    )
    assert challenge == Challenge(base64.b64decode(ERROR))
    client = OAuthBearerClient(CREDENTIALS)
    client.start()
    assert client.respond(base64.b64decode(ERROR)) == base64.b64decode("AQ==")
    assert server.respond(b"\x01") == Failure("wrong token")


def test_message_of_google() -> None:
    """From the documentation of Gmail's XOAUTH2, its token made shorter."""
    line = (
        "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMgEB"
    )
    message = base64.b64decode(line)
    client = XOAuth2Client(Credentials("someuser@example.com", "ya29.vF9dft4qmTc2"))
    assert client.start() == message
    server = XOAuth2Server()
    question = server.start(message)
    assert question == CheckToken("someuser@example.com", "ya29.vF9dft4qmTc2")
    challenge = server.resume(TokenRefused(scope="https://mail.google.com/"))
    assert isinstance(challenge, Challenge)
    assert json.loads(challenge.data) == {
        "status": "401",
        "schemes": "bearer",
        "scope": "https://mail.google.com/",
    }
    assert client.respond(challenge.data) == b""
    assert server.respond(b"") == Failure("wrong token")


@pairs
def test_whose_token_it_is_says_the_answer(
    server: type[OAuthServer], client: type[OAuthClient]
) -> None:
    outcome = converse(server(), client(CREDENTIALS), lambda _: "owner@example.com")
    assert outcome.is_success
    identity = Identity("owner@example.com", USER, server.name)
    assert outcome.step == Success(identity)


@pairs
@pytest.mark.parametrize("answer", [None, False, True, "", b"user", object()])
def test_only_a_name_lets_in(
    server: type[OAuthServer], client: type[OAuthClient], answer: object
) -> None:
    outcome = converse(server(), client(CREDENTIALS), lambda _: answer)
    assert outcome.step == Failure("wrong token")
    assert not outcome.is_success
    assert "invalid_token" in repr(outcome.messages) or server is XOAuth2Server


def test_no_token_lets_nobody_in() -> None:
    server = OAuthBearerServer()
    server.start(b"n,,\1auth=\1\1")
    assert server.resume(USER) == Challenge(b'{"status":"invalid_token"}')
    assert server.respond(b"\1") == Failure("wrong token")


def test_reasons() -> None:
    server = OAuthBearerServer()
    server.start(b"n,,\1auth=Bearer abc\1\1")
    step = server.resume(TokenRefused("insufficient_scope"))
    assert step == Challenge(b'{"status":"insufficient_scope"}')
    server = OAuthBearerServer()
    server.start(b"n,,\1auth=Bearer abc\1\1")
    step = server.resume(TokenRefused(scope="\u00e5"))
    assert step == Challenge(b'{"status":"invalid_token","scope":"\\u00e5"}')


MALFORMED = Failure("malformed key and value pairs")
NO_AUTH = Failure("no auth value, or a key given twice")
NO_BEARER = Failure("no bearer token, or malformed port")
NO_HEADER = Failure("malformed GS2 header, or one with channel binding")


@pytest.mark.parametrize(
    ("message", "step"),
    [
        (b"n,,\1auth=Bearer abc\1\1", CheckToken("", "abc")),
        (b"y,,\1auth=bEARER abc\1\1", CheckToken("", "abc")),
        (b"n,,\1auth=Bearer   abc\1\1", CheckToken("", "abc")),
        (b"n,,\1x=y z\r\n\t\1auth=Bearer abc\1qs=\1\1", CheckToken("", "abc")),
        (b"n,,\1port=65535\1auth=Bearer abc\1\1", CheckToken("", "abc", "", 65535)),
        (b"n,,\1auth=Bearer A-z0._~+/==\1\1", CheckToken("", "A-z0._~+/==")),
        (b"", NO_HEADER),
        (b"\1", NO_HEADER),
        (b"p=tls-unique,,\1auth=Bearer abc\1\1", NO_HEADER),
        (b"n,a=,\1auth=Bearer abc\1\1", NO_HEADER),
        (b"n,,", MALFORMED),
        (b"n,,auth=Bearer abc\1\1", MALFORMED),
        (b"n,,\1auth=Bearer abc\1", MALFORMED),
        (b"n,,\1auth=Bearer abc\1\1\1", MALFORMED),
        (b"n,,\1auth=Bearer abc\1\1x", MALFORMED),
        (b"n,,\1auth\1\1", MALFORMED),
        (b"n,,\1=x\1\1", MALFORMED),
        (b"n,,\1a1=x\1\1", MALFORMED),
        (b"n,,\1auth=Bearer \xff\1\1", MALFORMED),
        (b"n,,\1auth=Bearer \0\1\1", MALFORMED),
        (b"n,,\1\1", NO_AUTH),
        (b"n,,\1AUTH=Bearer abc\1\1", NO_AUTH),
        (b"n,,\1auth=Bearer abc\1auth=Bearer def\1\1", NO_AUTH),
        (b"n,,\1host=a\1host=b\1auth=Bearer abc\1\1", NO_AUTH),
        (b"n,,\1auth=Basic abc\1\1", NO_BEARER),
        (b"n,,\1auth=Bearer\1\1", NO_BEARER),
        (b"n,,\1auth=Bearer a b\1\1", NO_BEARER),
        (b"n,,\1auth=Bearer =\1\1", NO_BEARER),
        (b"n,,\1auth=Bearer abc=d\1\1", NO_BEARER),
        (b"n,,\1port=0\1auth=Bearer abc\1\1", NO_BEARER),
        (b"n,,\1port=0587\1auth=Bearer abc\1\1", NO_BEARER),
        (b"n,,\1port=\1auth=Bearer abc\1\1", NO_BEARER),
        (b"n,,\1port=123456\1auth=Bearer abc\1\1", NO_BEARER),
    ],
)
def test_bearer_messages(message: bytes, step: Step) -> None:
    assert OAuthBearerServer().start(message) == step
    deferred = OAuthBearerServer()
    assert deferred.start(None) == Challenge(b"")
    assert deferred.respond(message) == step


@pytest.mark.parametrize(
    ("message", "step"),
    [
        (b"user=u\1auth=Bearer abc\1\1", CheckToken("u", "abc")),
        (b"user=u\1auth=bearer abc\1\1", CheckToken("u", "abc")),
        (b"user=gr\xc3\xa5\1auth=Bearer abc\1\1", CheckToken("gr\u00e5", "abc")),
        (b"user=\1auth=Bearer abc\1\1", Failure("malformed message")),
        (b"user=u\n\1auth=Bearer abc\1\1", Failure("malformed message")),
        (b"user=\xff\1auth=Bearer abc\1\1", Failure("malformed message")),
        (b"user=u\1auth=Bearer abc\1", Failure("malformed message")),
        (b"user=u\1auth=Bearer \1\1", Failure("malformed message")),
        (b"user=u\1auth=abc\1\1", Failure("malformed message")),
        (b"user=u\1x=y\1auth=Bearer abc\1\1", Failure("malformed message")),
        (b"", Failure("malformed message")),
    ],
)
def test_xoauth2_messages(message: bytes, step: Step) -> None:
    assert XOAuth2Server().start(message) == step


@pairs
@given(message=st.binary())
def test_any_octets(
    server: type[OAuthServer], client: type[OAuthClient], message: bytes
) -> None:
    assert isinstance(server().start(message), Failure | CheckToken)


names = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=9
)
tokens = st.from_regex(r"[A-Za-z0-9._~+/-]+=*", fullmatch=True)


@pairs
@given(user=names, token=tokens, authorize_as=st.one_of(st.just(""), names))
def test_what_one_end_sends_the_other_reads(
    server: type[OAuthServer],
    client: type[OAuthClient],
    user: str,
    token: str,
    authorize_as: str,
) -> None:
    asked = []
    outcome = converse(
        server(),
        client(Credentials(user, token, authorize_as)),
        lambda question: asked.append(question) or user,  # type: ignore[func-returns-value]
    )
    assert outcome.is_success
    assert asked == [CheckToken(authorize_as or user, token)]


@pairs
def test_one_changed_octet_never_authenticates_the_user(
    server: type[OAuthServer], client: type[OAuthClient]
) -> None:
    """But for the scheme, which is the same in any case, and what is not looked at."""
    first = client(CREDENTIALS).start()
    assert first is not None
    for position in range(len(first)):
        octets = bytearray(first)
        octets[position] ^= 1
        changed = bytes(octets)
        question = server().start(changed)
        is_same = question == CheckToken(USER, TOKEN)
        assert not is_same, position


@pairs
@pytest.mark.parametrize(
    "token", ["", "a b", "a\1b", "a\nb", "=", "a=b", "gr\u00e5", "\ud800"]
)
def test_tokens_that_are_none(
    server: type[OAuthServer], client: type[OAuthClient], token: str
) -> None:
    ours = client(Credentials(USER, token))
    with pytest.raises(SASLError, match="an OAuth token is") as caught:
        ours.start()
    assert not token or token == "=" or token not in str(caught.value)
    with pytest.raises(SASLError, match="out of step"):
        ours.succeed()


@pairs
@pytest.mark.parametrize("user", ["a\0b", "\ud800"])
def test_users_that_are_none(
    server: type[OAuthServer], client: type[OAuthClient], user: str
) -> None:
    with pytest.raises(SASLError, match="name"):
        client(Credentials(user, TOKEN)).start()


def test_whom_to_act_as_may_be_left_to_the_token() -> None:
    assert OAuthBearerClient(Credentials("", "abc")).start() == (
        b"n,,\1auth=Bearer abc\1\1"
    )
    with pytest.raises(SASLError, match="user name is empty"):
        XOAuth2Client(Credentials("", "abc")).start()


def test_user_that_would_end_its_field() -> None:
    with pytest.raises(SASLError, match="control"):
        XOAuth2Client(Credentials("u\1auth=Bearer x", TOKEN)).start()


@pytest.mark.parametrize("host", ["", "a b", "a\1b", "gr\u00e5.test"])
def test_host_that_cannot_be_said_is_not(host: str) -> None:
    client = OAuthBearerClient(CREDENTIALS, ClientContext(host=host))
    assert client.start() == b"n,a=%b,\1auth=Bearer %b\1\1" % (
        USER.encode(),
        TOKEN.encode(),
    )


@pairs
def test_client_out_of_step(
    server: type[OAuthServer], client: type[OAuthClient]
) -> None:
    ours = client(CREDENTIALS)
    with pytest.raises(SASLError, match="out of step"):
        ours.respond(b"{}")
    ours.start()
    ours.succeed()
    with pytest.raises(SASLError, match="out of step"):
        ours.succeed(b"{}")
    ours.respond(b"{}")
    with pytest.raises(SASLError, match="out of step"):
        ours.respond(b"{}")
    with pytest.raises(SASLError, match="out of step"):
        ours.succeed()


@pairs
def test_no_token_in_a_repr(
    server: type[OAuthServer], client: type[OAuthClient]
) -> None:
    ours, theirs = client(CREDENTIALS), server()
    first = ours.start()
    question = theirs.start(first)
    for value in (ours, theirs, question, theirs.resume(USER)):
        assert TOKEN not in repr(value)

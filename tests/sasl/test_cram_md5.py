"""CRAM-MD5: the example of the RFC, and each end with an unruly other."""

from __future__ import annotations

import hmac
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.errors import SASLError
from smtpx.sasl.cram_md5 import CramMd5Client, CramMd5Server, LookupPassword
from smtpx.sasl.mechanism import (
    Challenge,
    Credentials,
    DescribeSession,
    Failure,
    Identity,
    Question,
    Step,
    Success,
)
from tests.sasl.conversing import FACTS, converse

# RFC 2195 section 2
PASSWORD = "tanstaaftanstaaf"
CHALLENGE = b"<1896.697170952@postoffice.reston.mci.net>"
DIGEST = b"b913a602c7eda7a495b4e6e7334d3890"
RESPONSE = b"tim " + DIGEST
RFC_FACTS = replace(FACTS, nonce=b"1896", hostname="postoffice.reston.mci.net")


def challenged() -> CramMd5Server:
    server = CramMd5Server()
    assert server.start(None) == DescribeSession("CRAM-MD5")
    assert server.resume(RFC_FACTS) == Challenge(CHALLENGE)
    return server


def test_example_of_the_rfc() -> None:
    client = CramMd5Client(Credentials("tim", PASSWORD))
    assert client.start() is None
    assert client.respond(CHALLENGE) == RESPONSE
    client.succeed()
    client.succeed(b"")
    server = challenged()
    assert server.respond(RESPONSE) == LookupPassword("tim")
    assert server.resume(PASSWORD) == Success(Identity("tim", "", "CRAM-MD5"))


@pytest.mark.parametrize(
    "answer", [None, "", "Tanstaaftanstaaf", True, PASSWORD.encode(), object()]
)
def test_only_the_password_lets_in(answer: object) -> None:
    server = challenged()
    server.respond(RESPONSE)
    assert server.resume(answer) == Failure("wrong digest")


def test_nobody_guesses_what_stands_for_an_unknown_user() -> None:
    """Whoever has the server's secret, too, cannot log in as nobody."""
    secret = RFC_FACTS.secret.decode()
    client = CramMd5Client(Credentials("nobody", secret))
    client.start()
    server = challenged()
    server.respond(client.respond(CHALLENGE))
    assert server.resume(None) == Failure("wrong digest")


def test_empty_password_of_a_user_lets_nobody_in() -> None:
    server = challenged()
    digest = hmac.new(b"", CHALLENGE, "md5").hexdigest().encode()
    server.respond(b"tim " + digest)
    assert server.resume("") == Failure("wrong digest")


@pytest.mark.parametrize(
    ("response", "step"),
    [
        (b"a b " + DIGEST, LookupPassword("a b")),
        (b"gr\xc3\xa5 " + DIGEST, LookupPassword("gr\u00e5")),
        (b"", Failure("malformed response")),
        (b"tim", Failure("malformed response")),
        (DIGEST, Failure("malformed response")),
        (b" " + DIGEST, Failure("malformed response")),
        (b"tim " + DIGEST.upper(), Failure("malformed response")),
        (b"tim " + DIGEST[:-1], Failure("malformed response")),
        (b"tim " + DIGEST + b"0", Failure("malformed response")),
        (b"tim " + DIGEST + b"\n", Failure("malformed response")),
        (b"ti\nm " + DIGEST, Failure("malformed response")),
        (b"ti\xffm " + DIGEST, Failure("malformed response")),
        (b"ti\0m " + DIGEST, Failure("malformed response")),
    ],
)
def test_responses(response: bytes, step: Step) -> None:
    assert challenged().respond(response) == step


def test_no_initial_response() -> None:
    step = CramMd5Server().start(b"tim")
    assert step == Failure("an initial response, which CRAM-MD5 has not")


def test_client_out_of_step() -> None:
    client = CramMd5Client(Credentials("tim", PASSWORD))
    for _ in range(2):
        with pytest.raises(SASLError, match="out of step"):
            client.respond(CHALLENGE)
        with pytest.raises(SASLError, match="out of step"):
            client.succeed()
        client.start()
        with pytest.raises(SASLError, match="out of step"):
            client.respond(b"")
        client = CramMd5Client(Credentials("tim", PASSWORD))
    client.start()
    client.respond(CHALLENGE)
    with pytest.raises(SASLError, match="out of step"):
        client.respond(CHALLENGE)
    with pytest.raises(SASLError, match="out of step"):
        client.succeed(b"x")


@pytest.mark.parametrize(
    ("credentials", "message"),
    [
        (Credentials("tim", PASSWORD, "tom"), "no authorize_as"),
        (Credentials("", PASSWORD), "user name is empty"),
        (Credentials("tim", ""), "password is empty"),
        (Credentials("tim", "x\0"), "password is empty or holds a NUL"),
    ],
)
def test_unusable_credentials(credentials: Credentials, message: str) -> None:
    client = CramMd5Client(credentials)
    with pytest.raises(SASLError, match=message):
        client.start()


names = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1)
passwords = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: "\0" not in text
)


@given(user=names, password=passwords, other=passwords)
def test_both_ends(user: str, password: str, other: str) -> None:
    client = CramMd5Client(Credentials(user, password))
    outcome = converse(CramMd5Server(), client, lambda _: other)
    # A key shorter than the block is filled up with NUL, which no password holds; a
    # longer one is its own digest, which is no text.
    assert outcome.is_success is (password == other)


@given(index=st.integers(0, 1), position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_flipped_bit_never_authenticates(
    index: int, position: int, bit: int
) -> None:
    def flip(number: int, message: bytes) -> bytes:
        if number != index:
            return message
        octets = bytearray(message)
        octets[position % len(octets)] ^= 1 << bit
        return bytes(octets)

    client = CramMd5Client(Credentials("tim", PASSWORD))

    def answer(question: Question) -> object:
        return PASSWORD if question == LookupPassword("tim") else None

    assert not converse(CramMd5Server(), client, answer, change=flip).is_success


def test_no_secret_in_a_repr() -> None:
    client, server = CramMd5Client(Credentials("tim", PASSWORD)), challenged()
    client.start()
    question = server.respond(client.respond(CHALLENGE))
    success = server.resume(PASSWORD)
    for value in (client, server, question, success):
        assert PASSWORD not in repr(value)
        assert DIGEST.decode() not in repr(value)

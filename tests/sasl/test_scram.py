"""SCRAM: the RFCs' examples, another library at either end, and liars at both."""

from __future__ import annotations

import base64
import functools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient as OtherClient  # type: ignore[import-untyped]
from scramp import ScramMechanism

from smtpx.errors import SASLError
from smtpx.sasl.mechanism import (
    Challenge,
    ClientContext,
    Credentials,
    DescribeSession,
    Failure,
    Identity,
    SessionFacts,
    Step,
    Success,
)
from smtpx.sasl.scram_client import (
    MAX_ITERATIONS,
    MIN_ITERATIONS,
    ScramClient,
    ScramSha1Client,
    ScramSha1PlusClient,
    ScramSha256Client,
    ScramSha256PlusClient,
)
from smtpx.sasl.scram_keys import (
    ScramCredentials,
    make_scram_credentials,
    salt_password,
)
from smtpx.sasl.scram_server import (
    LookupScram,
    ScramServer,
    ScramSha1PlusServer,
    ScramSha1Server,
    ScramSha256PlusServer,
    ScramSha256Server,
)
from tests.sasl.conversing import FACTS, converse

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpx.sasl.mechanism import Question

BINDING = b"\x01\x02hash of a certificate"
BOUND_FACTS = replace(FACTS, channel_bindings=(b"another", BINDING))
CONTEXT = ClientContext(nonce=b"fyko+d2lbbFgONRv9qkxdawL")
BOUND_CONTEXT = replace(CONTEXT, channel_bindings={"tls-server-end-point": BINDING})
SALT = b"0123456789abcdef"
PAIRS: list[tuple[type[ScramServer], type[ScramClient]]] = [
    (ScramSha1Server, ScramSha1Client),
    (ScramSha1PlusServer, ScramSha1PlusClient),
    (ScramSha256Server, ScramSha256Client),
    (ScramSha256PlusServer, ScramSha256PlusClient),
]
pairs = pytest.mark.parametrize(("server", "client"), PAIRS)

keys = functools.cache(make_scram_credentials)


def knows(user: str, password: str) -> Callable[[Question], object]:
    """Answer for the one user there is."""

    def answer(question: Question) -> object:
        assert isinstance(question, LookupScram)
        if question.user != user:
            return None
        return keys(password, salt=SALT, hash_name=question.hash_name)

    return answer


# --- The RFCs' own examples. ---

# RFC 5802 section 5; RFC 7677 section 3
EXAMPLES = [
    (
        ScramSha1Server,
        ScramSha1Client,
        b"3rfcNHYJY1ZVvWVs7j",
        [
            b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
            b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,"
            b"p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ],
    ),
    (
        ScramSha256Server,
        ScramSha256Client,
        b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        [
            b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ],
    ),
]
examples = pytest.mark.parametrize(("server", "client", "nonce", "lines"), EXAMPLES)


@examples
def test_examples_of_the_rfcs(
    server: type[ScramServer],
    client: type[ScramClient],
    nonce: bytes,
    lines: list[bytes],
) -> None:
    salt = base64.b64decode(lines[1].split(b",")[1][2:])
    context = ClientContext(nonce=lines[0].partition(b",r=")[2])
    kept = make_scram_credentials("pencil", salt=salt, hash_name=server.hash_name)
    outcome = converse(
        server(),
        client(Credentials("user", "pencil"), context),
        lambda _: kept,
        facts=replace(FACTS, nonce=nonce),
    )
    assert list(outcome.messages) == lines
    assert outcome.is_success
    assert outcome.step == Success(Identity("user", "", server.name), lines[3])


# --- Another library at the other end. ---


@pytest.mark.parametrize("password", ["pencil", "p\u00e4ss\u00adw\u00f6rd\u2168"])
@pytest.mark.parametrize("user", ["user", "a,b=c", "gr\u00e5"])
@pairs
def test_our_server_with_another_client(
    server: type[ScramServer], client: type[ScramClient], user: str, password: str
) -> None:
    binding = ("tls-server-end-point", BINDING) if server.binds_channel else None
    other = OtherClient([server.name], user, password, channel_binding=binding)
    ours = server()
    ours.start(other.get_client_first().encode())
    question = ours.resume(BOUND_FACTS)
    assert question == LookupScram(user, server.hash_name)
    challenge = ours.resume(keys(password, salt=SALT, hash_name=server.hash_name))
    assert isinstance(challenge, Challenge)
    other.set_server_first(challenge.data.decode())
    success = ours.respond(other.get_client_final().encode())
    assert isinstance(success, Success)
    assert success.identity == Identity(user, "", server.name)
    assert success.data is not None
    other.set_server_final(success.data.decode())


@pytest.mark.parametrize("password", ["pencil", "p\u00e4ss\u00adw\u00f6rd\u2168"])
@pytest.mark.parametrize("user", ["user", "a,b=c", "gr\u00e5"])
@pairs
def test_our_client_with_another_server(
    server: type[ScramServer], client: type[ScramClient], user: str, password: str
) -> None:
    mechanism = ScramMechanism(server.name)
    info = mechanism.make_auth_info(password, salt=SALT)
    binding = ("tls-server-end-point", BINDING) if server.binds_channel else None
    other = mechanism.make_server({user: info}.get, channel_binding=binding)
    ours = client(Credentials(user, password), BOUND_CONTEXT)
    first = ours.start()
    assert first is not None
    other.set_client_first(first.decode())
    final = ours.respond(other.get_server_first().encode())
    other.set_client_final(final.decode())
    assert ours.respond(other.get_server_final().encode()) == b""
    ours.succeed()


# --- Both ends of ours. ---

texts = st.text(
    st.one_of(
        st.characters(min_codepoint=32, max_codepoint=126),
        st.sampled_from("\u00e5\u00df\u00bd\u00b4\u2168\u03a9\u0416\u4e2d\u00ad,="),
    ),
    min_size=1,
    max_size=12,
).filter(lambda text: text.strip("\u00ad") != "")


@given(
    pair=st.sampled_from(PAIRS),
    user=texts,
    password=texts,
    authorize_as=st.one_of(st.just(""), texts),
)
def test_any_user_and_password(
    pair: tuple[type[ScramServer], type[ScramClient]],
    user: str,
    password: str,
    authorize_as: str,
) -> None:
    server, client = pair
    credentials = Credentials(user, password, authorize_as)
    looked_up: list[Question] = []

    def answer(question: Question) -> object:
        looked_up.append(question)
        return make_scram_credentials(password, salt=SALT, hash_name=server.hash_name)

    outcome = converse(
        server(), client(credentials, BOUND_CONTEXT), answer, facts=BOUND_FACTS
    )
    assert outcome.is_success
    assert isinstance(outcome.step, Success)
    assert outcome.step.identity.authorize_as == authorize_as
    assert looked_up == [LookupScram(outcome.step.identity.user, server.hash_name)]


@pairs
def test_wrong_password(server: type[ScramServer], client: type[ScramClient]) -> None:
    outcome = converse(
        server(),
        client(Credentials("user", "Pencil"), BOUND_CONTEXT),
        knows("user", "pencil"),
        facts=BOUND_FACTS,
    )
    assert outcome.step == Failure("wrong proof")
    assert not outcome.is_success


MESSAGES = {
    pair[0].name: converse(
        pair[0](),
        pair[1](Credentials("user", "pencil", "other"), BOUND_CONTEXT),
        knows("user", "pencil"),
        facts=BOUND_FACTS,
    ).messages
    for pair in PAIRS
}


@pairs
def test_one_changed_octet_never_authenticates(
    server: type[ScramServer],
    client: type[ScramClient],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each octet of each message in turn; salted passwords are computed once."""
    name = "smtpx.sasl.scram_client.salt_password"
    monkeypatch.setattr(name, functools.cache(salt_password))
    messages = MESSAGES[server.name]
    assert len(messages) == 4
    for index, message in enumerate(messages):
        for position in range(len(message)):
            for bit in (0, 5, 7):
                octets = bytearray(message)
                octets[position] ^= 1 << bit
                changed = bytes(octets)
                outcome = converse(
                    server(),
                    client(Credentials("user", "pencil", "other"), BOUND_CONTEXT),
                    knows("user", "pencil"),
                    facts=BOUND_FACTS,
                    change=lambda at, was, index=index, changed=changed: (  # type: ignore[misc]
                        changed if at == index else was
                    ),
                )
                assert not outcome.is_success, (index, position, bit)


@given(
    pair=st.sampled_from(PAIRS), index=st.integers(0, 3), octets=st.binary(max_size=80)
)
def test_any_octets_fail_in_good_order(
    pair: tuple[type[ScramServer], type[ScramClient]], index: int, octets: bytes
) -> None:
    server, client = pair
    outcome = converse(
        server(),
        client(Credentials("user", "pencil"), BOUND_CONTEXT),
        knows("user", "pencil"),
        facts=BOUND_FACTS,
        change=lambda at, was: octets if at == index else was,
    )
    assert not outcome.is_success


# --- Users who do not exist. ---


def challenge_for(user: str, answer: object, facts: SessionFacts = FACTS) -> bytes:
    server = ScramSha256Server()
    server.start(b"n,,n=%b,r=abc" % user.encode())
    server.resume(facts)
    step = server.resume(answer)
    assert isinstance(step, Challenge)
    return step.data


def test_unknown_users_look_like_others() -> None:
    known = challenge_for("user", keys("pencil", salt=SALT))
    unknown = challenge_for("nobody", None)
    assert len(known) == len(unknown)
    assert known.rpartition(b",i=")[2] == unknown.rpartition(b",i=")[2] == b"4096"


def test_unknown_users_keep_their_salt() -> None:
    def salt(user: str, facts: SessionFacts = FACTS) -> bytes:
        return challenge_for(user, None, facts).split(b",")[1]

    assert salt("nobody") == salt("nobody", replace(FACTS, nonce=b"other"))
    assert salt("nobody") != salt("someone")
    assert salt("nobody") != salt("nobody", replace(FACTS, secret=b"other"))
    assert b",i=15000" in challenge_for(
        "nobody", None, replace(FACTS, iterations=15000)
    )


@pairs
@pytest.mark.parametrize("answer", [None, True, "pencil", object()])
def test_unknown_users_fail_at_the_end(
    server: type[ScramServer], client: type[ScramClient], answer: object
) -> None:
    outcome = converse(
        server(),
        client(Credentials("user", "pencil"), BOUND_CONTEXT),
        lambda _: answer,
        facts=BOUND_FACTS,
    )
    assert outcome.step == Failure("wrong proof")


def test_keys_of_another_hash_are_of_no_use() -> None:
    kept = keys("pencil", salt=SALT, hash_name="sha1")
    outcome = converse(
        ScramSha256Server(),
        ScramSha256Client(Credentials("user", "pencil"), CONTEXT),
        lambda _: kept,
    )
    assert outcome.step == Failure("wrong proof")
    # Nor is their salt shown, which would tell that the user exists.
    unknown = challenge_for("user", None)
    assert outcome.messages[1].split(b",")[1] == unknown.split(b",")[1]


def test_who_knows_the_made_up_keys_still_fails() -> None:
    """Whoever has the server's secret cannot log in as nobody."""
    server = ScramSha256Server()
    server.start(b"n,,n=nobody,r=abc")
    server.resume(FACTS)
    server.resume(None)
    made_up = server._keys
    kept = keys("pencil", salt=SALT)
    client = ScramSha256Client(Credentials("nobody", "pencil"), CONTEXT)
    server = ScramSha256Server()
    first = client.start()
    assert first is not None
    server.start(first)
    server.resume(FACTS)
    step = server.resume(None)
    assert isinstance(step, Challenge)
    # As if the made up keys were those of the password that the client has.
    server._keys = replace(
        made_up, stored_key=kept.stored_key, server_key=kept.server_key
    )
    server._challenge_text = b"r=%b,s=%b,i=4096" % (
        CONTEXT.nonce + FACTS.nonce,
        base64.b64encode(SALT),
    )
    final = client.respond(server._challenge_text)
    assert server.respond(final) == Failure("wrong proof")


# --- Messages. ---

FIRST = b"n=user,r=abc"


@pytest.mark.parametrize(
    ("message", "step"),
    [
        (b"n,," + FIRST, DescribeSession("SCRAM-SHA-256")),
        (b"y,," + FIRST, DescribeSession("SCRAM-SHA-256")),
        (b"n,,n=user,r=abc,x=y,z=a=b", DescribeSession("SCRAM-SHA-256")),
        (b"p=tls-unique,," + FIRST, DescribeSession("SCRAM-SHA-256", "tls-unique")),
        (b"", Failure("malformed GS2 header")),
        (FIRST, Failure("malformed GS2 header")),
        (b"n,,", Failure("malformed first message")),
        (b"n,,n=user", Failure("malformed first message")),
        (b"n,,n=,r=abc", Failure("malformed first message")),
        (b"n,,n=user,r=", Failure("malformed first message")),
        (b"n,,r=abc,n=user", Failure("malformed first message")),
        (b"n,,m=x,n=user,r=abc", Failure("malformed first message")),
        (b"n,,n=user,r=abc,m=x", Failure("malformed first message")),
        (b"n,,n=user,r=abc,", Failure("malformed first message")),
        (b"n,,n=user,r=abc,x", Failure("malformed first message")),
        (b"n,,n=user,r=a c", Failure("malformed first message")),
        (b"n,,n=user,r=a\xc3\xa5", Failure("malformed first message")),
        (b"n,,n=us=er,r=abc", Failure("malformed first message")),
        (b"n,,n=us\xffer,r=abc", Failure("malformed first message")),
        (b"n,,n=us\0er,r=abc", Failure("malformed first message")),
        (b"n,,n=user,r=abc\n", Failure("malformed first message")),
        (
            b"n,,n=\xc2\xad,r=abc",
            Failure("the user name is empty or over 1024 characters"),
        ),
    ],
)
def test_first_messages(message: bytes, step: Step) -> None:
    assert ScramSha256Server().start(message) == step
    deferred = ScramSha256Server()
    assert deferred.start(None) == Challenge(b"")
    assert deferred.respond(message) == step


def test_names_are_prepared_and_signed_as_they_came() -> None:
    server = ScramSha256Server()
    server.start("n,,n=\u2168,r=abc".encode())
    assert server.resume(FACTS) == LookupScram("IX", "sha256")


def final_step(final: bytes) -> Step:
    server = ScramSha256Server()
    server.start(b"n,," + FIRST)
    server.resume(FACTS)
    server.resume(keys("pencil", salt=SALT))
    return server.respond(final)


NONCES = b"abc" + FACTS.nonce
PROOF = b"p=" + base64.b64encode(bytes(32))


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"c=biws,r=" + NONCES + b"," + PROOF, "wrong proof"),
        (b"c=biws,r=" + NONCES + b",x=y," + PROOF, "wrong proof"),
        (b"c=biws,r=" + NONCES + b"," + PROOF + b",x=y", "malformed final message"),
        (b"c=biws,r=" + NONCES + b",m=y," + PROOF, "malformed final message"),
        (b"c=biws,r=" + NONCES, "malformed final message"),
        (b"c=biws,r=" + NONCES + b",p=", "malformed final message"),
        (b"c=biws,r=" + NONCES + b",p=YR==", "malformed final message"),
        (b"c=biws,r=" + NONCES + b",p=YWJj", "malformed proof"),
        (b"c=biws,r=" + NONCES + b"x," + PROOF, "not the nonce of this exchange"),
        (b"c=biws,r=abc," + PROOF, "not the nonce of this exchange"),
        (b"c=eSws,r=" + NONCES + b"," + PROOF, "the client is on another channel"),
        (b"c=biw=,r=" + NONCES + b"," + PROOF, "the client is on another channel"),
        (b"r=" + NONCES + b",c=biws," + PROOF, "malformed final message"),
        (b"", "malformed final message"),
    ],
)
def test_final_messages(message: bytes, text: str) -> None:
    assert final_step(message) == Failure(text)


# --- Channel binding. ---


@pytest.mark.parametrize(
    ("server", "flag", "facts", "text"),
    [
        (ScramSha256Server, b"n", FACTS, ""),
        (ScramSha256Server, b"y", FACTS, ""),
        (ScramSha256Server, b"n", replace(FACTS, offers_binding=True), ""),
        (ScramSha256Server, b"y", replace(FACTS, offers_binding=True), "took the"),
        (ScramSha256Server, b"p=tls-unique", BOUND_FACTS, "mechanism without it"),
        (ScramSha256PlusServer, b"p=tls-server-end-point", BOUND_FACTS, ""),
        (ScramSha256PlusServer, b"p=tls-exporter", FACTS, "not supported here"),
        (ScramSha256PlusServer, b"n", BOUND_FACTS, "no channel binding"),
        (ScramSha256PlusServer, b"y", BOUND_FACTS, "no channel binding"),
    ],
)
def test_flags(
    server: type[ScramServer], flag: bytes, facts: SessionFacts, text: str
) -> None:
    ours = server()
    ours.start(flag + b",," + FIRST)
    step = ours.resume(facts)
    if text:
        assert isinstance(step, Failure)
        assert text in step.text
    else:
        assert step == LookupScram("user", "sha256")


def test_client_says_that_it_misses_channel_binding() -> None:
    """Who removed -PLUS from the offer is found out (RFC 5802 section 6)."""
    context = replace(BOUND_CONTEXT, misses_binding=True)
    for offers_binding in (False, True):
        outcome = converse(
            ScramSha256Server(),
            ScramSha256Client(Credentials("user", "pencil"), context),
            knows("user", "pencil"),
            facts=replace(FACTS, offers_binding=offers_binding),
        )
        assert outcome.messages[0].startswith(b"y,,")
        assert outcome.is_success is not offers_binding


@pytest.mark.parametrize("bindings", [(), (b"another",), (BINDING + b"x",), (b"",)])
def test_another_channel(bindings: tuple[bytes, ...]) -> None:
    outcome = converse(
        ScramSha256PlusServer(),
        ScramSha256PlusClient(Credentials("user", "pencil"), BOUND_CONTEXT),
        knows("user", "pencil"),
        facts=replace(FACTS, channel_bindings=bindings),
    )
    assert not outcome.is_success


def test_no_channel_to_bind() -> None:
    client = ScramSha256PlusClient(Credentials("user", "pencil"), CONTEXT)
    with pytest.raises(SASLError, match="SCRAM-SHA-256-PLUS needs TLS"):
        client.start()


def test_first_type_of_channel_binding_is_taken() -> None:
    context = replace(CONTEXT, channel_bindings={"tls-unique": b"1", "tls-x": b"2"})
    client = ScramSha1PlusClient(Credentials("user", "pencil"), context)
    first = client.start()
    assert first is not None
    assert first.startswith(b"p=tls-unique,,n=user,r=")


# --- The client with an unruly server. ---


def started() -> ScramSha256Client:
    client = ScramSha256Client(
        Credentials("user", "pencil"), ClientContext(nonce=b"abc")
    )
    client.start()
    return client


def proved() -> ScramSha256Client:
    client = started()
    client.respond(b"r=abcdef,s=c2FsdA==,i=4096")
    return client


@pytest.mark.parametrize(
    ("challenge", "message"),
    [
        (b"", "malformed"),
        (b"r=abcdef,s=c2FsdA==", "malformed"),
        (b"r=abcdef,s=,i=4096", "malformed"),
        (b"r=abcdef,s=c2FsdB==,i=4096", "malformed"),
        (b"r=abcdef,s=c2FsdA==,i=04096", "malformed"),
        (b"r=abcdef,s=c2FsdA==,i=+4096", "malformed"),
        (b"r=abcdef,s=c2FsdA==,i=99999999999", "malformed"),
        (b"m=x,r=abcdef,s=c2FsdA==,i=4096", "malformed"),
        (b"r=abcdef,s=c2FsdA==,i=4096,m=x", "malformed"),
        (b"r=abcdef,s=c2FsdA==,i=4096\n", "malformed"),
        (b"r=abc,s=c2FsdA==,i=4096", "nonce"),
        (b"r=abddef,s=c2FsdA==,i=4096", "nonce"),
        (b"r=xabcdef,s=c2FsdA==,i=4096", "nonce"),
        (b"r=abcdef,s=c2FsdA==,i=%d" % (MIN_ITERATIONS - 1), "4095 iterations"),
        (b"r=abcdef,s=c2FsdA==,i=%d" % (MAX_ITERATIONS + 1), "2000001 iterations"),
        (b"e=unknown-user", "malformed"),
    ],
)
def test_first_messages_of_servers(challenge: bytes, message: str) -> None:
    with pytest.raises(SASLError, match=message):
        started().respond(challenge)


def test_limits_of_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    def salt(_name: str, _password: bytes, _salt: bytes, iterations: int) -> bytes:
        counts.append(iterations)
        return bytes(32)

    monkeypatch.setattr("smtpx.sasl.scram_client.salt_password", salt)
    started().respond(b"r=abcdef,s=c2FsdA==,i=4096,x=y")
    started().respond(b"r=abcdef,s=c2FsdA==,i=2000000")
    assert counts == [MIN_ITERATIONS, MAX_ITERATIONS]


@pytest.mark.parametrize(
    ("challenge", "message"),
    [
        (b"", "malformed"),
        (b"v=", "malformed"),
        (b"v=YWJj,m=x", "malformed"),
        (b"x=YWJj", "malformed"),
        (b"v=YWJj", "does not know the password"),
        (b"v=YR==", "does not know the password"),
        (b"v=" + base64.b64encode(bytes(32)) + b",x=y", "does not know the password"),
    ],
)
def test_final_messages_of_servers(challenge: bytes, message: str) -> None:
    with pytest.raises(SASLError, match=message):
        proved().respond(challenge)
    client = proved()
    if challenge:
        with pytest.raises(SASLError, match=message):
            client.succeed(challenge)
    with pytest.raises(SASLError, match="did not prove"):
        client.succeed()


def test_server_that_refuses_is_heard_out() -> None:
    client = proved()
    assert client.respond(b"e=invalid-proof") == b""
    for data in (None, b"", b"v=YWJj"):
        with pytest.raises(SASLError, match="did not prove"):
            client.succeed(data)
    with pytest.raises(SASLError, match="out of step"):
        client.respond(b"v=YWJj")


def test_success_is_believed_after_the_proof_only() -> None:
    for client in (
        ScramSha256Client(Credentials("user", "pencil"), CONTEXT),
        started(),
        proved(),
    ):
        with pytest.raises(SASLError, match="did not prove"):
            client.succeed()
    with pytest.raises(SASLError, match="did not prove"):
        started().succeed(b"v=YWJj")


def test_proof_may_come_with_the_success() -> None:
    lines = EXAMPLES[1][3]
    context = ClientContext(nonce=b"rOprNGfwEbeRWgbNEkqO")
    client = ScramSha256Client(Credentials("user", "pencil"), context)
    client.start()
    client.respond(lines[1])
    client.succeed(lines[3])
    client.succeed()
    client.succeed(b"")
    with pytest.raises(SASLError, match="out of step"):
        client.succeed(lines[3])
    with pytest.raises(SASLError, match="out of step"):
        client.respond(lines[3])


def test_challenge_before_the_start() -> None:
    client = ScramSha256Client(Credentials("user", "pencil"), CONTEXT)
    with pytest.raises(SASLError, match="out of step"):
        client.respond(b"r=abcdef,s=c2FsdA==,i=4096")


@pytest.mark.parametrize("nonce", [b"", b"a,b", b"a b", b"a\xff", b"a\n"])
def test_nonce_is_the_callers_business(nonce: bytes) -> None:
    client = ScramSha256Client(Credentials("u", "p"), ClientContext(nonce=nonce))
    with pytest.raises(ValueError, match="nonce"):
        client.start()


@pytest.mark.parametrize(
    ("credentials", "message"),
    [
        (Credentials("", "pencil"), "user name is empty"),
        (Credentials("user", ""), "password is empty"),
        (Credentials("us\ner", "pencil"), "user name holds"),
        (Credentials("user", "pen\0cil"), "password holds"),
        (Credentials("user", "\U0001f600"), "password holds a character newer"),
        (Credentials("user", "pencil", "\ud800"), "authorize_as name holds"),
    ],
)
def test_unusable_credentials(credentials: Credentials, message: str) -> None:
    client = ScramSha256Client(credentials, CONTEXT)
    with pytest.raises(SASLError, match=message):
        client.start()
    with pytest.raises(SASLError, match="did not prove"):
        client.succeed()


def test_no_secret_in_a_repr() -> None:
    server = ScramSha256PlusServer()
    client = ScramSha256PlusClient(Credentials("user", "tr0ub4dor"), BOUND_CONTEXT)
    first = client.start()
    assert first is not None
    values: list[object] = [client, server, server.start(first)]
    values.append(server.resume(BOUND_FACTS))
    kept = keys("tr0ub4dor", salt=SALT)
    assert isinstance(kept, ScramCredentials)
    step = server.resume(kept)
    assert isinstance(step, Challenge)
    values.append(server.respond(client.respond(step.data)))
    for value in (*values, kept):
        assert "tr0ub4dor" not in repr(value)
        assert repr(kept.stored_key)[2:-1] not in repr(value)

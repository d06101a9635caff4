"""The registry: what is advertised is understood, and nothing else is."""

from __future__ import annotations

import pytest

from smtpx.errors import BadParameter, BadSyntax
from smtpx.wire.capabilities import Capabilities
from smtpx.wire.commands import (
    BUILT_IN_VERBS,
    Auth,
    Mail,
    Raw,
    StartTLS,
    parse_command,
    parse_raw,
)
from smtpx.wire.extensions import (
    DEFAULT_REGISTRY,
    EXTENSIONS,
    Extension,
    Offer,
    Registry,
)
from smtpx.wire.params import (
    PARAMETERS,
    BodyType,
    EncodeContext,
    MailOptions,
    Parameter,
)

OPTIONAL = frozenset({"SMTPUTF8", "BINARYMIME", "DSN", "VRFY"})
EVERYTHING = Offer(
    max_message_octets=1000,
    mechanisms=("PLAIN", "LOGIN"),
    starttls_available=True,
    enabled=OPTIONAL,
)


def refusal(line: bytes, offer: Offer, registry: Registry = DEFAULT_REGISTRY) -> str:
    with pytest.raises(BadSyntax) as caught:
        parse_command(line, registry.grammar(offer))
    return f"{caught.value.code} {caught.value.enhanced}"


# --- the library's rows --------------------------------------------------------------


def test_lines_of_a_bare_server() -> None:
    assert DEFAULT_REGISTRY.ehlo_lines(Offer()) == (
        "PIPELINING",
        "8BITMIME",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
        "SIZE 0",
        "HELP",
    )


def test_lines_of_a_server_with_everything() -> None:
    assert DEFAULT_REGISTRY.ehlo_lines(EVERYTHING) == (
        "PIPELINING",
        "8BITMIME",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
        "STARTTLS",
        "AUTH PLAIN LOGIN",
        "SMTPUTF8",
        "BINARYMIME",
        "DSN",
        "SIZE 1000",
        "HELP",
        "VRFY",
    )


def test_starttls_is_not_offered_twice() -> None:
    assert "STARTTLS" not in DEFAULT_REGISTRY.ehlo_lines(
        Offer(starttls_available=True, is_tls=True)
    )
    assert "STARTTLS" not in DEFAULT_REGISTRY.ehlo_lines(Offer(is_tls=True))


def test_auth_without_a_mechanism_is_not_offered() -> None:
    assert not any("AUTH" in line for line in DEFAULT_REGISTRY.ehlo_lines(Offer()))


@pytest.mark.parametrize("keyword", sorted(OPTIONAL))
def test_optional_extensions_alone(keyword: str) -> None:
    lines = DEFAULT_REGISTRY.ehlo_lines(Offer(enabled=frozenset({keyword})))
    assert set(lines) - set(DEFAULT_REGISTRY.ehlo_lines(Offer())) == {keyword}


def test_the_rows_use_every_parameter_and_name_their_rfc() -> None:
    used = {parameter.keyword for row in EXTENSIONS for parameter in row.parameters}
    assert used == {parameter.keyword for parameter in PARAMETERS}
    for row in EXTENSIONS:
        assert row.rfc.startswith("RFC ")
        for parameter in row.parameters:
            assert parameter.rfc in {row.rfc, "RFC 6152"}
        for syntax in row.verbs:
            assert BUILT_IN_VERBS[syntax.verb.encode()] is syntax


@pytest.mark.parametrize(
    ("line", "offer"),
    [
        (b"MAIL FROM:<> SIZE=1", Offer()),
        (b"MAIL FROM:<> BODY=7BIT", Offer()),
        (b"MAIL FROM:<> BODY=8BITMIME", Offer()),
        (b"MAIL FROM:<> BODY=BINARYMIME", Offer(enabled=frozenset({"BINARYMIME"}))),
        (b"MAIL FROM:<> SMTPUTF8", Offer(enabled=frozenset({"SMTPUTF8"}))),
        (b"MAIL FROM:<> RET=FULL ENVID=x", Offer(enabled=frozenset({"DSN"}))),
        (b"RCPT TO:<a@b.c> NOTIFY=NEVER", Offer(enabled=frozenset({"DSN"}))),
        (b"RCPT TO:<a@b.c> ORCPT=rfc822;a@b.c", Offer(enabled=frozenset({"DSN"}))),
        (b"MAIL FROM:<> AUTH=<>", Offer(mechanisms=("PLAIN",))),
        (b"MAIL FROM:<> AUTH=<>", Offer(mechanisms=("PLAIN",), is_authenticated=True)),
    ],
)
def test_parameters_come_with_their_extension(line: bytes, offer: Offer) -> None:
    command = parse_command(line, DEFAULT_REGISTRY.grammar(offer))
    assert command.encode() == line + b"\r\n"
    if offer != Offer():
        assert refusal(line, Offer()) == "555 5.5.4"


def test_verbs_of_the_library_are_always_understood() -> None:
    # Whether they are allowed is for the session to say: 502, 503 or 530.
    grammar = DEFAULT_REGISTRY.grammar(Offer(is_tls=True))
    assert parse_command(b"STARTTLS", grammar) == StartTLS()
    assert parse_command(b"AUTH PLAIN", grammar) == Auth("PLAIN")
    assert grammar.verbs == BUILT_IN_VERBS
    assert grammar.unimplemented == frozenset()


def test_leniency_is_handed_on() -> None:
    assert DEFAULT_REGISTRY.grammar(Offer(), lenient_paths=True).lenient_paths
    assert not DEFAULT_REGISTRY.grammar(Offer()).lenient_paths


# --- rows of one's own ---------------------------------------------------------------


def decode(value: bytes | None) -> object:
    return value


def encode(value: object, _context: EncodeContext) -> bytes | None:
    return value if isinstance(value, bytes) else None


COLOUR = Parameter(
    keyword="COLOUR", command="MAIL", decode=decode, encode=encode, rfc="none"
)
OWN = Extension(
    "XOWN",
    "none",
    parameters=(COLOUR,),
    verbs=(parse_raw("XFETCH"),),
    advertise=lambda offer: "1 2" if offer.is_tls else None,
)


def test_an_extension_of_ones_own() -> None:
    registry = DEFAULT_REGISTRY.with_extension(OWN)
    tls = Offer(is_tls=True)
    assert registry.ehlo_lines(tls)[-1] == "XOWN 1 2"
    assert registry.ehlo_lines(tls)[:-1] == DEFAULT_REGISTRY.ehlo_lines(tls)
    grammar = registry.grammar(tls)
    command = parse_command(b"MAIL FROM:<> colour=red", grammar)
    assert command == Mail(None, MailOptions(extra={"COLOUR": b"red"}))
    assert isinstance(command, Mail)
    mail, rcpt = registry.parameter_tables({"XOWN"})
    assert command.encode(mail) == b"MAIL FROM:<> COLOUR=red\r\n"
    assert rcpt == {}
    assert parse_command(b"xfetch a", grammar) == Raw("XFETCH", "a")
    assert grammar.unimplemented == frozenset()


def test_an_extension_that_is_not_offered_now() -> None:
    registry = DEFAULT_REGISTRY.with_extension(OWN)
    assert registry.ehlo_lines(Offer()) == DEFAULT_REGISTRY.ehlo_lines(Offer())
    assert refusal(b"MAIL FROM:<> COLOUR=red", Offer(), registry) == "555 5.5.4"
    assert refusal(b"XFETCH a", Offer(), registry) == "502 5.5.1"
    assert refusal(b"XFETCH a", Offer()) == "500 5.5.2"


def test_an_extension_is_replaced_in_its_place() -> None:
    quiet = Extension("PIPELINING", "RFC 2920", advertise=lambda _offer: None)
    registry = DEFAULT_REGISTRY.with_extension(quiet)
    assert registry.ehlo_lines(Offer())[0] == "8BITMIME"
    assert len(registry.extensions) == len(EXTENSIONS)
    loud = Extension("PIPELINING", "RFC 2920", advertise=lambda _offer: "LOUD")
    lines = registry.with_extension(loud).ehlo_lines(Offer())
    assert lines[0] == "PIPELINING LOUD"


def test_a_verb_of_the_library_is_replaced() -> None:
    own = Extension("XETRN", "none", verbs=(parse_raw("NOOP"),))
    grammar = DEFAULT_REGISTRY.with_extension(own).grammar(Offer())
    assert parse_command(b"NOOP x", grammar) == Raw("NOOP", "x")


def test_the_registry_is_not_changed() -> None:
    before = DEFAULT_REGISTRY.extensions
    DEFAULT_REGISTRY.with_extension(OWN)
    assert DEFAULT_REGISTRY.extensions is before is EXTENSIONS
    assert DEFAULT_REGISTRY.grammar(Offer()).verbs is not BUILT_IN_VERBS


@pytest.mark.parametrize("keyword", ["", "A B", "x", "X\r\n250 Y", "X_Y", "-X", "X\n"])
def test_not_every_word_is_a_keyword(keyword: str) -> None:
    with pytest.raises(ValueError, match="no keyword"):
        Extension(keyword, "none")


@pytest.mark.parametrize("text", [" ", "a\r\nb", "a\n", "a  b", " a", "a ", "\u00e5"])
def test_not_every_text_can_be_advertised(text: str) -> None:
    own = Extension("XOWN", "none", advertise=lambda _offer: text)
    with pytest.raises(ValueError, match="cannot advertise"):
        Registry((own,)).ehlo_lines(Offer())


# --- for clients ---------------------------------------------------------------------


def test_parameters_by_what_a_server_told() -> None:
    told = Capabilities.parse(["8bitmime", "size 100", "dsn"])
    mail, rcpt = DEFAULT_REGISTRY.parameter_tables(told)
    assert set(mail) == {b"BODY", b"SIZE", b"RET", b"ENVID"}
    assert set(rcpt) == {b"NOTIFY", b"ORCPT"}
    line = Mail(None, MailOptions(body=BodyType.EIGHTBITMIME)).encode(mail)
    assert line == b"MAIL FROM:<> BODY=8BITMIME\r\n"
    binary = Mail(None, MailOptions(body=BodyType.BINARYMIME))
    with pytest.raises(BadParameter, match="not offered"):
        binary.encode(mail)
    told = Capabilities.parse(["8BITMIME", "CHUNKING", "BINARYMIME"])
    mail, _ = DEFAULT_REGISTRY.parameter_tables(told)
    assert binary.encode(mail) == b"MAIL FROM:<> BODY=BINARYMIME\r\n"

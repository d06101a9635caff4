"""The library's own extensions: what each advertises, takes and refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from smtpx.errors import BadParameter, BadSyntax
from smtpx.wire.capabilities import Capabilities
from smtpx.wire.commands import Auth, Etrn, Mail, StartTLS
from smtpx.wire.extensions import (
    DEFAULT_REGISTRY,
    EXTENSIONS,
    ExtensionSettings,
    Offer,
)
from smtpx.wire.forwarded import XClient, XForward
from smtpx.wire.grammar import BUILT_IN_VERBS, DEFAULT_GRAMMAR, parse_command
from smtpx.wire.params import (
    PARAMETERS,
    BodyType,
    ByMode,
    DeliverBy,
    MailOptions,
    RcptOptions,
)

OPTIONAL = frozenset(
    {"SMTPUTF8", "BINARYMIME", "DSN", "RRVS", "DELIVERBY", "MT-PRIORITY"}
    | {"VRFY", "EXPN", "ETRN", "NO-SOLICITING", "XOORG"}
)
OF_VENDORS = frozenset({"XOORG", "XCLIENT", "XFORWARD"})
NOW = datetime(2030, 1, 1, tzinfo=UTC)
EVERYTHING = Offer(
    max_message_octets=1000,
    max_recipients=100,
    max_transactions=20,
    max_recipient_domains=3,
    mechanisms=("PLAIN", "LOGIN"),
    starttls_available=True,
    enabled=OPTIONAL | {"FUTURERELEASE", "REQUIRETLS"},
    settings=ExtensionSettings(future_release_max_seconds=86_400),
    now=NOW,
)


def on(keyword: str, *, is_tls: bool = False, now: datetime | None = None) -> Offer:
    return Offer(enabled=frozenset({keyword}), is_tls=is_tls, now=now)


def refusal(line: bytes, offer: Offer) -> str:
    with pytest.raises(BadSyntax) as caught:
        parse_command(line, DEFAULT_REGISTRY.grammar(offer))
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
        "LIMITS RCPTMAX=100 MAILMAX=20 RCPTDOMAINMAX=3",
        "RRVS",
        "DELIVERBY",
        "MT-PRIORITY",
        "FUTURERELEASE 86400 2030-01-02T00:00:00Z",
        "HELP",
        "VRFY",
        "EXPN",
        "ETRN",
        "NO-SOLICITING",
        "XOORG",
    )


def test_what_gateways_are_told() -> None:
    enabled = frozenset({"XCLIENT", "XFORWARD"})
    offer = Offer(enabled=enabled)
    assert DEFAULT_REGISTRY.ehlo_lines(offer)[-2:] == (
        "XCLIENT NAME REVERSE_NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT",
        "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE",
    )
    grammar = DEFAULT_REGISTRY.grammar(offer)
    command = parse_command(b"XCLIENT ADDR=192.0.2.1", grammar)
    assert command == XClient(addr="192.0.2.1")
    command = parse_command(b"XFORWARD ADDR=192.0.2.1", grammar)
    assert command == XForward(addr="192.0.2.1")


@pytest.mark.parametrize("verb", [b"XCLIENT", b"XFORWARD"])
def test_nobody_else_speaks_for_others(verb: bytes) -> None:
    lines = DEFAULT_REGISTRY.ehlo_lines(Offer())
    assert not any(verb.decode() in line for line in lines)
    assert refusal(verb + b" ADDR=192.0.2.1", Offer()) == "502 5.5.1"


def test_requiretls_is_offered_under_tls() -> None:
    offer = Offer(is_tls=True, enabled=frozenset({"REQUIRETLS"}))
    lines = DEFAULT_REGISTRY.ehlo_lines(offer)
    assert lines[4:6] == ("REQUIRETLS", "SIZE 0")
    assert "REQUIRETLS" not in DEFAULT_REGISTRY.ehlo_lines(Offer(is_tls=True))


def test_future_release_needs_the_time() -> None:
    enabled = frozenset({"FUTURERELEASE"})
    assert not any(
        "FUTURE" in line
        for offer in (Offer(enabled=enabled), Offer(now=NOW))
        for line in DEFAULT_REGISTRY.ehlo_lines(offer)
    )


@pytest.mark.parametrize(
    ("offer", "line"),
    [
        (Offer(max_recipients=999_999), "LIMITS RCPTMAX=999999"),
        (Offer(max_recipients=1_000_000, max_transactions=1), "LIMITS MAILMAX=1"),
        (Offer(max_recipient_domains=1), "LIMITS RCPTDOMAINMAX=1"),
        (Offer(max_recipients=1_000_000), "SIZE 0"),
    ],
)
def test_limits_have_six_digits(offer: Offer, line: str) -> None:
    assert DEFAULT_REGISTRY.ehlo_lines(offer)[-2] == line


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
        assert row.rfc.startswith("RFC ") or row.keyword in OF_VENDORS
        for parameter in row.parameters:
            assert parameter.rfc in {row.rfc, "RFC 6152"}
        for syntax in row.verbs:
            known = DEFAULT_GRAMMAR.verbs
            assert known[syntax.verb.encode()] is syntax


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
        (b"MAIL FROM:<> REQUIRETLS", on("REQUIRETLS", is_tls=True)),
        (b"MAIL FROM:<> BY=1;R", on("DELIVERBY")),
        (b"MAIL FROM:<> MT-PRIORITY=9", on("MT-PRIORITY")),
        (b"MAIL FROM:<> HOLDFOR=1", on("FUTURERELEASE", now=NOW)),
        (
            b"MAIL FROM:<> HOLDUNTIL=2030-01-01T00:00:01Z",
            on("FUTURERELEASE", now=NOW),
        ),
        (b"MAIL FROM:<> SOLICIT=a", on("NO-SOLICITING")),
        (b"MAIL FROM:<> XOORG=a", on("XOORG")),
        (b"RCPT TO:<a@b.c> RRVS=2030-01-01T00:00:00Z", on("RRVS")),
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
    assert grammar.unimplemented == {b"ETRN", b"XCLIENT", b"XFORWARD"}


def test_etrn_is_a_verb_where_it_is_switched_on() -> None:
    assert refusal(b"ETRN example.com", Offer()) == "502 5.5.1"
    grammar = DEFAULT_REGISTRY.grammar(on("ETRN"))
    assert parse_command(b"etrn example.com", grammar) == Etrn("example.com")


def test_leniency_is_handed_on() -> None:
    assert DEFAULT_REGISTRY.grammar(Offer(), lenient_paths=True).lenient_paths
    assert not DEFAULT_REGISTRY.grammar(Offer()).lenient_paths


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


# --- what a server holds a client to, and a client itself ----------------------------


def excluded(options: MailOptions | RcptOptions, *lines: str) -> str:
    with pytest.raises(BadParameter) as caught:
        DEFAULT_REGISTRY.check(options, Capabilities.parse(lines), NOW)
    return f"{caught.value.code} {caught.value.enhanced} {caught.value.text}"


def allow(options: MailOptions | RcptOptions, *lines: str, now: bool = True) -> None:
    told = Capabilities.parse(lines)
    DEFAULT_REGISTRY.check(options, told, NOW if now else None)


def test_deliver_by_has_a_least_time_for_returns() -> None:
    soon, later = DeliverBy(9, ByMode.RETURN), DeliverBy(10, ByMode.RETURN)
    for kind in (MailOptions, RcptOptions):
        assert excluded(kind(deliver_by=soon), "DELIVERBY 10").startswith("555 5.5.4")
        allow(kind(deliver_by=later), "DELIVERBY 10")
        allow(kind(deliver_by=DeliverBy(-9, ByMode.NOTIFY)), "DELIVERBY 10")
        allow(kind(), "DELIVERBY 10")
        allow(kind(deliver_by=soon), "DELIVERBY")
        for odd in ("x", "-1", "1" * 10, "\u0661"):
            allow(kind(deliver_by=soon), f"DELIVERBY {odd}")


def test_future_release_has_limits() -> None:
    line = "FUTURERELEASE 60 2030-01-01T00:01:00Z"
    allow(MailOptions(hold_for_seconds=60), line)
    assert excluded(MailOptions(hold_for_seconds=61), line) == (
        "501 5.5.4 HOLDFOR is at most 60 seconds here"
    )
    last = NOW + timedelta(seconds=60)
    allow(MailOptions(hold_until=last), line)
    assert excluded(MailOptions(hold_until=last + timedelta(seconds=1)), line) == (
        "501 5.5.4 HOLDUNTIL is at most 2030-01-01T00:01:00Z here"
    )
    assert excluded(MailOptions(hold_until=NOW), line) == (
        "501 5.5.4 HOLDUNTIL is in the past"
    )
    # A client that asks does not know the time of the server.
    allow(MailOptions(hold_until=NOW), line, now=False)
    for odd in ("FUTURERELEASE", "FUTURERELEASE x", "FUTURERELEASE x 2030-13-01"):
        allow(MailOptions(hold_for_seconds=61), odd)
        allow(MailOptions(hold_until=last + timedelta(days=1)), odd)


def test_a_message_is_not_held_longer_than_it_may_take() -> None:
    """RFC 4865 section 5.2."""
    line = "FUTURERELEASE 600 2030-01-01T00:10:00Z"
    by = DeliverBy(60, ByMode.NOTIFY)
    allow(MailOptions(deliver_by=by), line)
    allow(MailOptions(deliver_by=by, hold_for_seconds=60), line)
    until = NOW + timedelta(seconds=60)
    allow(MailOptions(deliver_by=by, hold_until=until), line)
    late = until + timedelta(seconds=1)
    allow(MailOptions(deliver_by=by, hold_until=late), line, now=False)
    for options in (
        MailOptions(deliver_by=by, hold_for_seconds=61),
        MailOptions(deliver_by=by, hold_until=late),
    ):
        assert excluded(options, line) == (
            "501 5.5.4 the message would be released after BY has passed"
        )


def test_soliciting_that_is_not_wanted() -> None:
    line = "NO-SOLICITING net.example:ADV,org.example:ADV"
    allow(MailOptions(solicit=("com.example:ADV",)), line)
    allow(MailOptions(), line)
    allow(MailOptions(solicit=("net.example:ADV",)), "NO-SOLICITING")
    options = MailOptions(solicit=("a", "net.EXAMPLE:ADV", "org.example:adv"))
    assert excluded(options, line) == (
        "550 5.7.1 SOLICIT=net.EXAMPLE:ADV,org.example:adv"
    )

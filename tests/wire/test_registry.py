"""The registry: what is advertised is understood and held, and nothing else is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from smtpx.errors import BadParameter, BadSyntax
from smtpx.wire.capabilities import Capabilities
from smtpx.wire.commands import Mail, Raw
from smtpx.wire.extensions import DEFAULT_REGISTRY, EXTENSIONS
from smtpx.wire.grammar import BUILT_IN_VERBS, parse_command, parse_raw
from smtpx.wire.options import EncodeContext, MailOptions, RcptOptions
from smtpx.wire.params import Parameter
from smtpx.wire.registry import Extension, ExtensionSettings, Offer, Registry


def refusal(line: bytes, offer: Offer, registry: Registry) -> str:
    with pytest.raises(BadSyntax) as caught:
        parse_command(line, registry.grammar(offer))
    return f"{caught.value.code} {caught.value.enhanced}"


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
    assert b"XFETCH" not in grammar.unimplemented


def test_an_extension_that_is_not_offered_now() -> None:
    registry = DEFAULT_REGISTRY.with_extension(OWN)
    assert registry.ehlo_lines(Offer()) == DEFAULT_REGISTRY.ehlo_lines(Offer())
    assert refusal(b"MAIL FROM:<> COLOUR=red", Offer(), registry) == "555 5.5.4"
    assert refusal(b"XFETCH a", Offer(), registry) == "502 5.5.1"
    assert refusal(b"XFETCH a", Offer(), DEFAULT_REGISTRY) == "500 5.5.2"


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


def test_a_line_of_ehlo_has_its_limit() -> None:
    """A longer one would be folded, and its rest taken for another keyword."""
    most = 512 - len("250-XOWN \r\n")
    text = "a" * most
    own = Extension("XOWN", "none", advertise=lambda _offer: text)
    assert Registry((own,)).ehlo_lines(Offer()) == (f"XOWN {text}",)
    own = Extension("XOWN", "none", advertise=lambda _offer: text + "a")
    with pytest.raises(ValueError, match="cannot advertise"):
        Registry((own,)).ehlo_lines(Offer())


def test_keywords() -> None:
    assert Registry((OWN,)).keywords == {"XOWN"}
    assert DEFAULT_REGISTRY.keywords >= {"PIPELINING", "XOORG"}


# --- what both ends hold -------------------------------------------------------------

NOW = datetime(2030, 1, 1, tzinfo=UTC)
seen: list[tuple[object, Sequence[str], datetime | None]] = []


def check_mail(
    options: MailOptions, parameters: Sequence[str], now: datetime | None
) -> None:
    seen.append((options, parameters, now))
    if str(options.size) in parameters:
        raise BadParameter("not that size")


def check_rcpt(
    options: RcptOptions, parameters: Sequence[str], now: datetime | None
) -> None:
    seen.append((options, parameters, now))
    if str(options.mt_priority) in parameters:
        raise BadParameter("not that priority", code=550, enhanced="5.7.1")


CHECKED = DEFAULT_REGISTRY.with_extension(
    Extension("XMAIL", "none", advertise=lambda _: "1 2", check_mail=check_mail)
).with_extension(
    Extension("XRCPT", "none", advertise=lambda _: "3", check_rcpt=check_rcpt)
)


def test_a_server_holds_what_it_advertises() -> None:
    offer = Offer(
        now=NOW,
        enabled=frozenset({"MT-PRIORITY"}),
        settings=ExtensionSettings(rcpt_compatibility=True),
    )
    seen.clear()
    grammar = CHECKED.grammar(offer)
    parse_command(b"MAIL FROM:<>", grammar)
    assert seen == []  # there is nothing to check
    parse_command(b"MAIL FROM:<> SIZE=3", grammar)
    parse_command(b"RCPT TO:<a@b.c> MT-PRIORITY=1", grammar)
    assert seen == [
        (MailOptions(size=3), ["1", "2"], NOW),
        (RcptOptions(mt_priority=1), ["3"], NOW),
    ]
    assert refusal(b"MAIL FROM:<> SIZE=2", offer, CHECKED) == "501 5.5.4"
    line = b"RCPT TO:<a@b.c> MT-PRIORITY=3"
    assert refusal(line, offer, CHECKED) == "550 5.7.1"


def test_a_client_holds_what_a_server_advertises() -> None:
    told = Capabilities.parse(["xmail 7"])
    CHECKED.check(MailOptions(size=1), told)
    CHECKED.check(RcptOptions(mt_priority=3), told)
    with pytest.raises(BadParameter, match="size"):
        CHECKED.check(MailOptions(size=7), told)


def test_compatibility_is_switched_on() -> None:
    enabled = frozenset({"MT-PRIORITY"})
    line = b"RCPT TO:<a@b.c> MT-PRIORITY=1"
    assert refusal(line, Offer(enabled=enabled), DEFAULT_REGISTRY) == "555 5.5.4"
    offer = Offer(enabled=enabled, settings=ExtensionSettings(rcpt_compatibility=True))
    assert parse_command(line, DEFAULT_REGISTRY.grammar(offer)).encode() == (
        line + b"\r\n"
    )


# --- settings ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"deliver_by_min_seconds": 0},
        {"deliver_by_min_seconds": 1_000_000_000},
        {"future_release_max_seconds": 0},
        {"future_release_max_seconds": 1_000_000_000},
        {"mt_priority_profile": "a" * 21},
        {"mt_priority_profile": "a b"},
        {"mt_priority_profile": "a\n"},
        {"no_soliciting": ("",)},
        {"no_soliciting": ("a b",)},
        {"no_soliciting": ("a\r\n250 SIZE",)},
        {"no_soliciting": ("a" * 300, "b" * 300)},
    ],
)
def test_settings_that_no_line_can_hold(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"deliver_by|future|profile|SOLICIT"):
        ExtensionSettings(**settings)  # type: ignore[arg-type]


def test_settings_at_their_limits() -> None:
    settings = ExtensionSettings(
        deliver_by_min_seconds=999_999_999,
        future_release_max_seconds=1,
        mt_priority_profile="Az0-9._" + "x" * 13,
        no_soliciting=("a", "b:c"),
    )
    enabled = frozenset({"DELIVERBY", "FUTURERELEASE", "MT-PRIORITY", "NO-SOLICITING"})
    lines = DEFAULT_REGISTRY.ehlo_lines(
        Offer(enabled=enabled, settings=settings, now=NOW)
    )
    assert lines[-5:] == (
        "DELIVERBY 999999999",
        "MT-PRIORITY Az0-9._xxxxxxxxxxxxx",
        "FUTURERELEASE 1 2030-01-01T00:00:01Z",
        "HELP",
        "NO-SOLICITING a,b:c",
    )

"""Commands: every form on the wire, and what cannot be written."""

from __future__ import annotations

import dataclasses
import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.errors import BadParameter, BadSyntax, SMTPXError, UnsafeOctets
from smtpx.wire.address import Mailbox
from smtpx.wire.commands import (
    Auth,
    Bdat,
    Command,
    Data,
    Ehlo,
    Etrn,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    Noop,
    Quit,
    Raw,
    Rcpt,
    Rset,
    StartTLS,
    Vrfy,
)
from smtpx.wire.forwarded import XClient, XForward
from smtpx.wire.grammar import (
    DEFAULT_GRAMMAR,
    parse_command,
)
from smtpx.wire.params import (
    DEFAULT_MAIL_OPTIONS,
    DEFAULT_RCPT_OPTIONS,
    MAIL_PARAMETERS,
    BodyType,
    EncodeContext,
    MailOptions,
    Notify,
    OriginalRecipient,
    Parameter,
    ParameterTable,
    RcptOptions,
    ReturnContent,
)

BOB = Mailbox("bob", "example.com")
QUOTED = Mailbox('"a b"', "[192.0.2.1]")
ORCPT = OriginalRecipient("rfc822", "bob@example.com")
UTF8_ORCPT = OriginalRecipient("utf-8", "gr\u00e5@example.com")

# --- both ways -----------------------------------------------------------------------

WIRE: list[tuple[bytes, Command]] = [
    (b"HELO mx.example.com", Helo("mx.example.com")),
    (b"EHLO [192.0.2.1]", Ehlo("[192.0.2.1]")),
    (b"EHLO [IPv6:2001:db8::1]", Ehlo("[IPv6:2001:db8::1]")),
    (b"LHLO localhost", Lhlo("localhost")),
    (b"MAIL FROM:<bob@example.com>", Mail(BOB)),
    (b"MAIL FROM:<>", Mail(None)),
    (b'MAIL FROM:<"a b"@[192.0.2.1]>', Mail(QUOTED)),
    (
        b"MAIL FROM:<bob@example.com> SIZE=1000 BODY=8BITMIME",
        Mail(BOB, MailOptions(size=1000, body=BodyType.EIGHTBITMIME)),
    ),
    (
        b"MAIL FROM:<> RET=HDRS ENVID=QQ314159",
        Mail(
            None,
            MailOptions(return_content=ReturnContent.HDRS, envelope_id="QQ314159"),
        ),
    ),
    (
        "MAIL FROM:<gr\u00e5@example.com> SMTPUTF8".encode(),
        Mail(Mailbox("gr\u00e5", "example.com"), MailOptions(smtputf8=True)),
    ),
    (b"RCPT TO:<bob@example.com>", Rcpt(BOB)),
    (b"RCPT TO:<postmaster>", Rcpt(Mailbox("postmaster", ""))),
    (
        b"RCPT TO:<bob@example.com> NOTIFY=NEVER ORCPT=rfc822;bob@example.com",
        Rcpt(BOB, RcptOptions(notify=(Notify.NEVER,), original_recipient=ORCPT)),
    ),
    (b"DATA", Data()),
    (b"BDAT 0", Bdat(0)),
    (b"BDAT 0 LAST", Bdat(0, is_last=True)),
    (b"BDAT 1000", Bdat(1000)),
    (b"BDAT 9223372036854775807 LAST", Bdat(2**63 - 1, is_last=True)),
    (b"RSET", Rset()),
    (b"NOOP", Noop()),
    (b"NOOP are you there", Noop("are you there")),
    (b"QUIT", Quit()),
    (b"VRFY bob", Vrfy("bob")),
    ("VRFY gr\u00e5 SMTPUTF8".encode(), Vrfy("gr\u00e5 SMTPUTF8")),
    (b"EXPN list", Expn("list")),
    (b"ETRN example.com", Etrn("example.com")),
    (b"ETRN @example.com", Etrn("@example.com")),
    (b"ETRN #uucp/1", Etrn("#uucp/1")),
    ("ETRN gr\u00e5.example".encode(), Etrn("gr\u00e5.example")),
    (b"HELP", Help()),
    (b"HELP MAIL", Help("MAIL")),
    (b"STARTTLS", StartTLS()),
    (b"AUTH LOGIN", Auth("LOGIN")),
    (b"AUTH EXTERNAL =", Auth("EXTERNAL", b"")),
    (b"AUTH PLAIN AHVzZXIAcGVuY2ls", Auth("PLAIN", b"\0user\0pencil")),
    (b"AUTH SCRAM-SHA-256-PLUS bix5PQ==", Auth("SCRAM-SHA-256-PLUS", b"n,y=")),
    (b"XCLIENT ADDR=192.0.2.1 LOGIN=a+20b", XClient(addr="192.0.2.1", login="a b")),
    (b"XFORWARD PORT=25 IDENT=4XkQ2", XForward(port=25, ident="4XkQ2")),
]


@pytest.mark.parametrize(("line", "command"), WIRE)
def test_parse(line: bytes, command: Command) -> None:
    assert parse_command(line) == command
    assert type(parse_command(line)) is type(command)
    # RFC 5321 section 4.1.1: white space at the end.
    for tail in (b" ", b"\t", b"  \t "):
        assert parse_command(line + tail) == command
    # RFC 5321 section 2.4: verbs in any case.
    verb, space, argument = line.partition(b" ")
    for other in (verb.lower(), verb.title()):
        assert parse_command(other + space + argument) == command


@pytest.mark.parametrize(("line", "command"), WIRE)
def test_encode(line: bytes, command: Command) -> None:
    assert command.encode() == line + b"\r\n"
    assert line.startswith(command.verb.encode())


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"mAiL fRoM:<bob@example.com>", Mail(BOB)),
        (b"MAIL from:<bob@example.com>", Mail(BOB)),
        (b"rcpt to:<bob@example.com>", Rcpt(BOB)),
        (b"RCPT To:<PostMaster>", Rcpt(Mailbox("PostMaster", ""))),
        (b"MAIL FROM:<@a.example,@b.example:bob@example.com>", Mail(BOB)),
        (b"RCPT TO:<@a.example:bob@example.com>", Rcpt(BOB)),
        (
            b"MAIL FROM:<bob@example.com>  size=1  body=7bit",
            Mail(BOB, MailOptions(size=1, body=BodyType.SEVENBIT)),
        ),
        (
            b"RCPT TO:<bob@example.com> notify=success,delay",
            Rcpt(BOB, RcptOptions(notify=(Notify.SUCCESS, Notify.DELAY))),
        ),
        (b"BDAT 5 last", Bdat(5, is_last=True)),
        (b"BDAT 5  LAST", Bdat(5, is_last=True)),
        (b"BDAT 00000000000000000005", Bdat(5)),
        (b"AUTH plain", Auth("PLAIN")),
        (b"AUTH x_y-1", Auth("X_Y-1")),
        (b"EHLO bob_pc", Ehlo("bob_pc")),
        ("HELO gr\u00e5".encode(), Helo("gr\u00e5")),
        (b"NOOP  two", Noop(" two")),
    ],
)
def test_parse_of_what_is_never_sent(line: bytes, command: Command) -> None:
    assert parse_command(line) == command


def test_commands_without_parameters_share_their_options() -> None:
    for line, options in (
        (b"MAIL FROM:<bob@example.com>", DEFAULT_MAIL_OPTIONS),
        (b"RCPT TO:<bob@example.com>", DEFAULT_RCPT_OPTIONS),
    ):
        command = parse_command(line)
        assert isinstance(command, Mail | Rcpt)
        assert command.options is options


def test_every_class_has_its_row_and_its_tests() -> None:
    classes = set(get_args(Command)) - {Raw}
    assert {one.verb.encode() for one in classes} == DEFAULT_GRAMMAR.verbs.keys()
    assert {type(command) for _, command in WIRE} == classes
    for verb, row in DEFAULT_GRAMMAR.verbs.items():
        assert row.verb.encode() == verb


@pytest.mark.parametrize(("line", "command"), WIRE)
def test_commands_are_values(line: bytes, command: Command) -> None:
    assert line
    assert command == dataclasses.replace(command)
    assert hash(command) == hash(dataclasses.replace(command))
    assert not hasattr(command, "__dict__")


def test_an_initial_response_is_not_in_a_repr() -> None:
    command = parse_command(b"AUTH PLAIN AHVzZXIAcGVuY2ls")
    assert repr(command) == "Auth(mechanism='PLAIN')"


# --- encoding ------------------------------------------------------------------------

TABLE: ParameterTable = {}


def test_encode_with_other_parameters() -> None:
    assert Mail(BOB).encode(TABLE) == b"MAIL FROM:<bob@example.com>\r\n"
    assert Rcpt(BOB).encode(TABLE) == b"RCPT TO:<bob@example.com>\r\n"
    with pytest.raises(BadParameter):
        Mail(BOB, MailOptions(size=1)).encode(TABLE)
    with pytest.raises(BadParameter):
        Rcpt(BOB, RcptOptions(notify=(Notify.NEVER,))).encode(TABLE)


def test_encode_of_a_utf8_original_recipient() -> None:
    command = Rcpt(BOB, RcptOptions(original_recipient=UTF8_ORCPT))
    ascii_line = command.encode()
    assert ascii_line == (
        b"RCPT TO:<bob@example.com> ORCPT=utf-8;gr\\x{E5}@example.com\r\n"
    )
    utf8_line = command.encode(context=EncodeContext(smtputf8=True))
    assert utf8_line == (
        "RCPT TO:<bob@example.com> ORCPT=utf-8;gr\u00e5@example.com\r\n".encode()
    )
    assert parse_command(ascii_line[:-2]) == command
    assert parse_command(utf8_line[:-2]) == command


@pytest.mark.parametrize("smtputf8", [False, True])
def test_parameters_of_mail_know_whether_utf8_is_allowed(smtputf8: bool) -> None:
    parameter = Parameter(
        keyword="X",
        command="MAIL",
        decode=lambda value: value,
        encode=lambda _value, context: str(context.smtputf8).encode(),
        rfc="none",
    )
    table = {**MAIL_PARAMETERS, b"X": parameter}
    command = Mail(None, MailOptions(smtputf8=smtputf8, extra={"X": 1}))
    assert command.encode(table).endswith(b" X=%b\r\n" % str(smtputf8).encode())


@pytest.mark.parametrize(
    "command",
    [
        Ehlo(""),
        Helo("a b"),
        Lhlo("a" * 256),
        Bdat(-1),
        Bdat(2**63),
        Vrfy(""),
        Expn(""),
        Etrn(""),
        Etrn("localname"),
        Etrn("a.b c"),
        Etrn("#a b"),
        Etrn("#\u00e5"),
        Auth(""),
        Auth("A" * 21),
        Auth("PLAIN AAAA"),
        Auth("PL\u00c4IN"),
        Raw(""),
        Raw("RCPT TO:<v@x>"),
        Raw("-"),
        Raw("\u00e5"),
        Raw("X_Y"),
    ],
)
def test_what_cannot_be_encoded(command: Command) -> None:
    with pytest.raises(BadSyntax):
        command.encode()


INJECTIONS = [
    "x\r\nMAIL FROM:<a@b>",
    "x\rRSET",
    "x\nRSET",
    "x\0",
    "x\x7f",
    "x\x1f",
    "x\t",
    "x\r\n",
    "x\n",
]


@pytest.mark.parametrize("text", INJECTIONS)
@pytest.mark.parametrize("make", [Helo, Ehlo, Lhlo, Noop, Vrfy, Expn, Etrn, Help, Auth])
def test_no_argument_ends_its_line(make: type[Helo], text: str) -> None:
    with pytest.raises((UnsafeOctets, BadSyntax)):
        make(text).encode()


@pytest.mark.parametrize("text", INJECTIONS)
def test_no_text_of_a_raw_command_ends_its_line(text: str) -> None:
    with pytest.raises(UnsafeOctets):
        Raw("XTEST", text).encode()
    with pytest.raises(BadSyntax):
        Raw(text).encode()


@pytest.mark.parametrize("text", INJECTIONS)
def test_no_parameter_ends_its_line(text: str) -> None:
    original = OriginalRecipient("rfc822", "b")
    for command in (
        Mail(BOB, MailOptions(auth=text)),
        Mail(BOB, MailOptions(extra={"X": text})),
        Rcpt(BOB, RcptOptions(original_recipient=OriginalRecipient(text, "b"))),
        Rcpt(BOB, RcptOptions(original_recipient=original, extra={text: text})),
    ):
        with pytest.raises(SMTPXError):
            command.encode()


@pytest.mark.parametrize(
    "command",
    [
        *(Noop("\ud800"), Vrfy("\udcff"), Help("\ud800"), Raw("X", "\ud800")),
        *(Ehlo("\ud800"), Auth("\ud800"), Expn("\ud800"), Etrn("\ud800")),
    ],
)
def test_a_lone_surrogate_is_refused(command: Command) -> None:
    with pytest.raises(UnsafeOctets):
        command.encode()


def test_a_character_with_cr_as_its_low_octet_is_no_cr() -> None:
    line = Noop("\u760d\u760a").encode()
    assert line == "NOOP \u760d\u760a\r\n".encode()
    assert line.count(b"\r") == line.count(b"\n") == 1


# --- any input -----------------------------------------------------------------------


@given(text=st.text(max_size=30))
def test_any_text_gives_one_line_or_an_error(text: str) -> None:
    commands: list[Command] = [
        *(Helo(text), Ehlo(text), Lhlo(text), Noop(text), Vrfy(text), Expn(text)),
        *(Etrn(text), Etrn("#" + text)),
        *(Help(text), Auth(text), Raw("X", text), Raw(text, text)),
    ]
    for command in commands:
        try:
            wire = command.encode()
        except (UnsafeOctets, BadSyntax):
            continue
        assert wire.endswith(b"\r\n")
        assert re.search(rb"[\x00-\x1f\x7f]", wire[:-2]) is None

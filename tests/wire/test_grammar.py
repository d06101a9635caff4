"""Grammars: what is refused and with which reply, and what a session understands."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.errors import BadAddress, BadSyntax
from smtpx.wire.address import Mailbox
from smtpx.wire.commands import (
    MAX_CHUNK_OCTETS,
    Auth,
    Command,
    Ehlo,
    Mail,
    Raw,
    Rcpt,
)
from smtpx.wire.grammar import (
    BUILT_IN_VERBS,
    DEFAULT_GRAMMAR,
    ETRN_SYNTAX,
    XCLIENT_SYNTAX,
    XFORWARD_SYNTAX,
    Grammar,
    VerbSyntax,
    parse_command,
    parse_raw,
)
from smtpx.wire.params import (
    MailOptions,
    OriginalRecipient,
)

BOB = Mailbox("bob", "example.com")
QUOTED = Mailbox('"a b"', "[192.0.2.1]")
ORCPT = OriginalRecipient("rfc822", "bob@example.com")
UTF8_ORCPT = OriginalRecipient("utf-8", "gr\u00e5@example.com")

LENIENT = Grammar(verbs=BUILT_IN_VERBS, lenient_paths=True)


def refusal(line: bytes, grammar: Grammar = DEFAULT_GRAMMAR) -> str:
    """Return the codes of the reply to a bad line."""
    with pytest.raises(BadSyntax) as caught:
        parse_command(line, grammar)
    assert caught.value.text
    return f"{caught.value.code} {caught.value.enhanced}"


# --- refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "codes"),
    [
        # No verb, or none that is known.
        *((line, "500 5.5.2") for line in (b"", b" ", b" NOOP", b"FOO", b"FOO bar")),
        *(
            (line, "500 5.5.2")
            for line in (b"DATAX", b"DAT", b"NOOP\tx", b"\0", b"\xff")
        ),
        *((line, "500 5.5.2") for line in (b"MAIL\0FROM:<a@b.c>", b"NOOP\0")),
        (b"GET / HTTP/1.1", "500 5.5.2"),
        # RFC 5321 appendix F.
        *((line, "502 5.5.1") for line in (b"SEND FROM:<a@b.c>", b"soml", b"SAML x")),
        (b"TURN", "502 5.5.1"),
        # An argument too much.
        *((line, "501 5.5.4") for line in (b"DATA x", b"RSET x", b"QUIT x", b"data x")),
        (b"STARTTLS x", "501 5.5.4"),
        # One too few.
        *((line, "501 5.5.4") for line in (b"HELO", b"EHLO", b"EHLO ", b"LHLO")),
        *(
            (line, "501 5.5.4")
            for line in (b"MAIL", b"RCPT", b"VRFY", b"EXPN", b"BDAT")
        ),
        *((line, "501 5.5.4") for line in (b"AUTH", b"VRFY ", b"EXPN ")),
        # RFC 1985 section 7 shows the second.
        *((line, "501 5.5.4") for line in (b"ETRN", b"ETRN localname", b"ETRN a.b c")),
        *((line, "501 5.5.4") for line in (b"ETRN @", b"ETRN #", b"ETRN #a b")),
        *(
            (line, "501 5.5.4")
            for line in (b"ETRN a..b", b"ETRN a.\xff", b"ETRN #\xe5")
        ),
        # The name of the client.
        *((line, "501 5.5.4") for line in (b"EHLO a b", b"HELO \xff", b"EHLO a\0")),
        (b"EHLO " + b"a" * 256, "501 5.5.4"),
        # MAIL and RCPT.
        *(
            (line, "501 5.5.4")
            for line in (b"MAIL FROM", b"MAIL <a@b.c>", b"MAIL TO:<>")
        ),
        *(
            (line, "501 5.5.4")
            for line in (b"RCPT FROM:<a@b.c>", b"RCPT TO", b"RCPT a")
        ),
        *((line, "501 5.5.4") for line in (b"MAIL  FROM:<>", b"MAIL FROM :<>")),
        *((line, "501 5.1.7") for line in (b"MAIL FROM:", b"MAIL FROM: <a@b.c>")),
        *((line, "501 5.1.7") for line in (b"MAIL FROM:a@b.c", b"MAIL FROM:<a@b.c")),
        *(
            (line, "501 5.1.7")
            for line in (b"MAIL FROM:<a>", b"MAIL FROM:<postmaster>")
        ),
        *(
            (line, "501 5.1.7")
            for line in (b"MAIL FROM:<\0@b.c>", b"MAIL FROM:<a\r@b>")
        ),
        *((line, "501 5.1.3") for line in (b"RCPT TO:", b"RCPT TO: <a@b.c>")),
        *((line, "501 5.1.3") for line in (b"RCPT TO:<>", b"RCPT TO:a@b.c")),
        *(
            (line, "501 5.1.3")
            for line in (b"RCPT TO:<a@b.c\n>", b"RCPT TO:<\xff@b.c>")
        ),
        # What follows the path.
        *(
            (line, "501 5.5.4")
            for line in (b"MAIL FROM:<a@b.c>x", b"MAIL FROM:<>SIZE=1")
        ),
        *((line, "501 5.5.4") for line in (b"RCPT TO:<a@b.c>>", b"RCPT TO:<a@b.c>\tx")),
        *(
            (line, "501 5.5.4")
            for line in (b"MAIL FROM:<> SIZE", b"MAIL FROM:<> SIZE=x")
        ),
        *((line, "501 5.5.4") for line in (b"MAIL FROM:<> SIZE=1 SIZE=1",)),
        *(
            (line, "501 5.5.4")
            for line in (b"MAIL FROM:<> =", b"MAIL FROM:<> SIZE=1\0")
        ),
        *((line, "555 5.5.4") for line in (b"MAIL FROM:<> FOO", b"MAIL FROM:<> X=1")),
        *((line, "555 5.5.4") for line in (b"MAIL FROM:<> NOTIFY=NEVER",)),
        (b"RCPT TO:<a@b.c> SIZE=1", "555 5.5.4"),
        # BDAT: sizes that are none.
        *(
            (line, "501 5.5.4")
            for line in (b"BDAT -1", b"BDAT +5", b"BDAT ", b"BDAT x")
        ),
        *(
            (line, "501 5.5.4")
            for line in (b"BDAT 99999999999999999999", b"BDAT 5LAST")
        ),
        *(
            (line, "501 5.5.4")
            for line in (b"BDAT 5 LASTX", b"BDAT 5 LAST x", b"BDAT  5")
        ),
        *((line, "501 5.5.4") for line in (b"BDAT LAST", b"BDAT 1_0", b"BDAT 0x10")),
        *((line, "501 5.5.4") for line in (b"BDAT 9223372036854775808", b"BDAT 5 \0")),
        *((line, "501 5.5.4") for line in (b"BDAT \xb2", b"BDAT 5\n", b"BDAT 1.0")),
        (b"BDAT 000000000000000000005", "501 5.5.4"),
        # AUTH.
        *(
            (line, "501 5.5.4")
            for line in (b"AUTH  PLAIN", b"AUTH PL@IN", b"AUTH \xff")
        ),
        (b"AUTH " + b"A" * 21, "501 5.5.4"),
        *((line, "501 5.5.2") for line in (b"AUTH PLAIN *", b"AUTH PLAIN a b")),
        *((line, "501 5.5.2") for line in (b"AUTH PLAIN QQ", b"AUTH PLAIN QQ=\0=")),
        *((line, "501 5.5.2") for line in (b"AUTH PLAIN  =", b"AUTH PLAIN ==")),
        # Text.
        *((line, "501 5.5.4") for line in (b"NOOP a\0b", b"VRFY a\rb", b"HELP a\nb")),
        *((line, "501 5.5.4") for line in (b"EXPN a\x7fb", b"NOOP \xff", b"VRFY \xc3")),
        *((line, "501 5.5.4") for line in (b"NOOP \xc2\x85", b"NOOP \xe2\x80\xa8")),
    ],
)
def test_refused(line: bytes, codes: str) -> None:
    assert refusal(line) == codes


def test_no_refusal_shows_what_auth_holds() -> None:
    for line in (b"AUTH sw0rdfish!", b"AUTH PLAIN sw0rdfish!", b"AUTH sw0rdfish! x"):
        with pytest.raises(BadSyntax) as caught:
            parse_command(line)
        assert "sw0rdfish" not in str(caught.value)


def test_limits_of_lengths() -> None:
    assert parse_command(b"EHLO " + b"a" * 255) == Ehlo("a" * 255)
    assert parse_command(b"AUTH " + b"a" * 20) == Auth("A" * 20)
    assert MAX_CHUNK_OCTETS == 9223372036854775807


# --- grammars ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"MAIL FROM: <bob@example.com>", Mail(BOB)),
        (b"MAIL FROM:bob@example.com", Mail(BOB)),
        (b"MAIL FROM:  bob@example.com SIZE=1", Mail(BOB, MailOptions(size=1))),
        (b"MAIL FROM: <>", Mail(None)),
        (b"RCPT TO: <bob@example.com>", Rcpt(BOB)),
        (b"RCPT TO:bob@example.com", Rcpt(BOB)),
        (b"RCPT TO: postmaster", Rcpt(Mailbox("postmaster", ""))),
    ],
)
def test_lenient_paths(line: bytes, command: Command) -> None:
    assert parse_command(line, LENIENT) == command
    with pytest.raises(BadAddress):
        parse_command(line)


def test_parameters_are_those_of_the_grammar() -> None:
    grammar = Grammar(verbs=BUILT_IN_VERBS, mail_parameters={}, rcpt_parameters={})
    assert refusal(b"MAIL FROM:<> SIZE=1", grammar) == "555 5.5.4"
    assert refusal(b"RCPT TO:<a@b.c> NOTIFY=NEVER", grammar) == "555 5.5.4"
    assert parse_command(b"MAIL FROM:<> ", grammar) == Mail(None)


def test_verbs_are_those_of_the_grammar() -> None:
    def parse(argument: bytes, grammar: Grammar) -> Command:
        assert grammar.unimplemented == {b"XGONE"}
        return Raw("XTEST", argument.decode() + "!")

    verbs = {b"XTEST": VerbSyntax("XTEST", parse), b"XPING": parse_raw("xping")}
    grammar = Grammar(verbs=verbs, unimplemented=frozenset({b"XGONE"}))
    assert parse_command(b"xtest a  b", grammar) == Raw("XTEST", "a  b!")
    assert parse_command(b"XPing", grammar) == Raw("XPING", "")
    assert parse_command("XPING \u00e5  b".encode(), grammar) == Raw(
        "XPING", "\u00e5  b"
    )
    assert verbs[b"XPING"].verb == "XPING"
    assert refusal(b"XPING \0", grammar) == "501 5.5.4"
    assert refusal(b"XPING \xff", grammar) == "501 5.5.4"
    assert refusal(b"XGONE x", grammar) == "502 5.5.1"
    assert refusal(b"xgone", grammar) == "502 5.5.1"
    assert refusal(b"NOOP", grammar) == "500 5.5.2"
    assert refusal(b"TURN", grammar) == "502 5.5.1"


@pytest.mark.parametrize("verb", ["", "A B", "X\r\n", "X\n", "-X", "X_Y", "\u00e5"])
def test_a_row_cannot_have_any_verb(verb: str) -> None:
    with pytest.raises(ValueError, match="is no verb"):
        parse_raw(verb)


def test_the_default_grammar_knows_all() -> None:
    assert DEFAULT_GRAMMAR.verbs == {
        **BUILT_IN_VERBS,
        b"ETRN": ETRN_SYNTAX,
        b"XCLIENT": XCLIENT_SYNTAX,
        b"XFORWARD": XFORWARD_SYNTAX,
    }
    assert not DEFAULT_GRAMMAR.lenient_paths
    assert DEFAULT_GRAMMAR.unimplemented == frozenset()
    assert b"SIZE" in DEFAULT_GRAMMAR.mail_parameters
    assert b"NOTIFY" in DEFAULT_GRAMMAR.rcpt_parameters


# --- any input -----------------------------------------------------------------------

pieces = st.sampled_from(
    [
        *BUILT_IN_VERBS,
        *(b" ", b"  ", b"FROM:", b"TO:", b"<", b">", b"<>", b"a@b.c", b"=", b"LAST"),
        *(b"SIZE=1", b"NOTIFY=NEVER", b"PLAIN", b"QUJD", b"7", b"\0", b"\xff", b"\r"),
    ]
)


@given(
    line=st.binary(max_size=60) | st.lists(pieces).map(b"".join),
    is_lenient=st.booleans(),
)
def test_any_line_gives_a_command_or_a_refusal(line: bytes, is_lenient: bool) -> None:
    command: Command | None = None
    code = 250
    try:
        command = parse_command(line, LENIENT if is_lenient else DEFAULT_GRAMMAR)
    except BadSyntax as error:
        code = error.code
    if command is None:
        assert code in {500, 501, 502, 555}
        return
    # What was understood can be said again, and is understood the same.
    wire = command.encode()
    assert wire.endswith(b"\r\n")
    assert re.search(rb"[\x00-\x1f\x7f]", wire[:-2]) is None
    assert parse_command(wire[:-2]) == command

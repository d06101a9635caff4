"""ESMTP parameters: the table, each codec at its limits, and attempts to get out."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.errors import BadAddress, BadParameter, UnsafeOctets
from smtpx.wire import params
from smtpx.wire.octets import has_line_control
from smtpx.wire.params import (
    DEFAULT_MAIL_OPTIONS,
    DEFAULT_RCPT_OPTIONS,
    MAIL_PARAMETERS,
    PARAMETERS,
    RCPT_PARAMETERS,
    BodyType,
    EncodeContext,
    MailOptions,
    Notify,
    OriginalRecipient,
    Parameter,
    RcptOptions,
    ReturnContent,
    encode_parameters,
    make_parameter_table,
    parse_parameters,
)

SMTPUTF8 = EncodeContext(smtputf8=True)


def parse_mail(octets: bytes) -> MailOptions:
    return MailOptions(**parse_parameters(octets, MAIL_PARAMETERS))


def parse_rcpt(octets: bytes) -> RcptOptions:
    return RcptOptions(**parse_parameters(octets, RCPT_PARAMETERS))


def encode(options: MailOptions | RcptOptions, *, smtputf8: bool = False) -> bytes:
    table = MAIL_PARAMETERS if isinstance(options, MailOptions) else RCPT_PARAMETERS
    return encode_parameters(options, table, EncodeContext(smtputf8=smtputf8))


def refusal(octets: bytes, table: params.ParameterTable) -> BadParameter:
    with pytest.raises(BadParameter) as caught:
        parse_parameters(octets, table)
    assert caught.value.enhanced == "5.5.4"
    assert caught.value.text.isascii()
    assert caught.value.text.isprintable()
    return caught.value


# --- each parameter ------------------------------------------------------------------

MAIL_VALUES: list[tuple[bytes, dict[str, Any]]] = [
    (b"SIZE=0", {"size": 0}),
    (b"SIZE=1000000", {"size": 1_000_000}),
    (b"SIZE=99999999999999999999", {"size": 10**20 - 1}),
    (b"BODY=7BIT", {"body": BodyType.SEVENBIT}),
    (b"BODY=8BITMIME", {"body": BodyType.EIGHTBITMIME}),
    (b"BODY=BINARYMIME", {"body": BodyType.BINARYMIME}),
    (b"SMTPUTF8", {"smtputf8": True}),
    (b"AUTH=<>", {"auth": ""}),
    (b"AUTH=e+3Dmc2@example.com", {"auth": "e=mc2@example.com"}),
    (b'AUTH="a+20b"@[192.0.2.1]', {"auth": '"a b"@[192.0.2.1]'}),
    (b"AUTH=gr+C3+A5@example.com", {"auth": "grå@example.com"}),
    (b"RET=FULL", {"return_content": ReturnContent.FULL}),
    (b"RET=HDRS", {"return_content": ReturnContent.HDRS}),
    (b"ENVID=QQ314159", {"envelope_id": "QQ314159"}),
    (b"ENVID=+20a+3D+2B+09~", {"envelope_id": " a=+\t~"}),
    (b"ENVID=" + b"x" * 100, {"envelope_id": "x" * 100}),
]
RCPT_VALUES: list[tuple[bytes, dict[str, Any]]] = [
    (b"NOTIFY=NEVER", {"notify": (Notify.NEVER,)}),
    (b"NOTIFY=SUCCESS", {"notify": (Notify.SUCCESS,)}),
    (b"NOTIFY=DELAY,FAILURE", {"notify": (Notify.DELAY, Notify.FAILURE)}),
    (
        b"NOTIFY=SUCCESS,FAILURE,DELAY",
        {"notify": (Notify.SUCCESS, Notify.FAILURE, Notify.DELAY)},
    ),
    (
        b"ORCPT=rfc822;Carol@Ivory.EDU",
        {"original_recipient": OriginalRecipient("rfc822", "Carol@Ivory.EDU")},
    ),
    (
        b'ORCPT=RFC822;"a+20b"@c',
        {"original_recipient": OriginalRecipient("RFC822", '"a b"@c')},
    ),
    (b"ORCPT=x400;", {"original_recipient": OriginalRecipient("x400", "")}),
    (b"ORCPT=a;b;c", {"original_recipient": OriginalRecipient("a", "b;c")}),
    (
        rb"ORCPT=utf-8;gr\x{E5}\x{2B}@x",
        {"original_recipient": OriginalRecipient("utf-8", "grå+@x")},
    ),
    (
        b"ORCPT=rfc822;" + b"x" * 493,
        {"original_recipient": OriginalRecipient("rfc822", "x" * 493)},
    ),
]


@pytest.mark.parametrize(("octets", "values"), MAIL_VALUES)
def test_mail_parameters(octets: bytes, values: dict[str, Any]) -> None:
    options = MailOptions(**values)
    assert parse_mail(octets) == options
    assert parse_mail(b"  " + octets + b" ") == options
    assert encode(options) == b" " + octets


@pytest.mark.parametrize(("octets", "values"), RCPT_VALUES)
def test_rcpt_parameters(octets: bytes, values: dict[str, Any]) -> None:
    options = RcptOptions(**values)
    assert parse_rcpt(octets) == options
    assert parse_rcpt(b" " + octets) == options
    assert encode(options) == b" " + octets


@pytest.mark.parametrize(
    ("octets", "same"),
    [
        (b"size=5", b"SIZE=5"),
        (b"SIZE=0005", b"SIZE=5"),
        (b"Body=8bitMime", b"BODY=8BITMIME"),
        (b"smtpUTF8", b"SMTPUTF8"),
        (b"ret=hdrs", b"RET=HDRS"),
        (b"ENVID=+41", b"ENVID=A"),
        (b"AUTH=+41@b", b"AUTH=A@b"),
        (b"AUTH=+22a+22@b", b'AUTH="a"@b'),
    ],
)
def test_other_spellings_of_mail_parameters(octets: bytes, same: bytes) -> None:
    assert parse_mail(octets) == parse_mail(same)
    assert encode(parse_mail(octets)) == b" " + same


@pytest.mark.parametrize(
    ("octets", "same"),
    [
        (b"notify=never", b"NOTIFY=NEVER"),
        (b"Notify=Success,fAILURE", b"NOTIFY=SUCCESS,FAILURE"),
        (b"ORCPT=rfc822;+41", b"ORCPT=rfc822;A"),
        ("ORCPT=utf-8;grå@x".encode(), rb"ORCPT=utf-8;gr\x{E5}@x"),
        (rb"ORCPT=UTF-8;gr\x{e5}@x", rb"ORCPT=UTF-8;gr\x{E5}@x"),
    ],
)
def test_other_spellings_of_rcpt_parameters(octets: bytes, same: bytes) -> None:
    assert parse_rcpt(octets) == parse_rcpt(same)
    assert encode(parse_rcpt(octets)) == b" " + same


def test_utf8_is_sent_as_it_is_in_smtputf8_transactions() -> None:
    options = parse_rcpt(rb"ORCPT=utf-8;gr\x{E5}\x{20}@x")
    assert (
        encode(options, smtputf8=True) == rb" ORCPT=utf-8;gr%b\x{20}@x" % "å".encode()
    )
    # Only a utf-8 address is; this one is ASCII by definition.
    options = parse_rcpt(b"ORCPT=rfc822;a+2Bb@x")
    assert encode(options, smtputf8=True) == b" ORCPT=rfc822;a+2Bb@x"


@pytest.mark.parametrize(
    "octets",
    [
        *(b"SIZE", b"SIZE=-1", b"SIZE=+5", b"SIZE=1.5", b"SIZE=0x1", b"SIZE=5k"),
        *(b"SIZE=100000000000000000000", b"SIZE=000000000000000000001", b"SIZE=1_0"),
        "SIZE=\u0661".encode(),
        *(b"BODY", b"BODY=", b"BODY=8BIT", b"BODY=7BIT,8BITMIME", "BODY=å".encode()),
        *(b"SMTPUTF8=", b"SMTPUTF8=1", b"SMTPUTF8=YES"),
        *(b"AUTH", b"AUTH=", b"AUTH=user", b"AUTH=<a@b>", b"AUTH=+3C+3E", b"AUTH=a@b+"),
        *(b"AUTH=a+20b@c", b"AUTH=a@b+0D+0ARCPT", b"AUTH=a@b+00", b"AUTH=+FF@b"),
        *(b"AUTH=a@b,c@d", "AUTH=grå@x".encode(), b"AUTH=a@b+3E"),
        *(b"RET", b"RET=", b"RET=BODY", b"RET=FULL,HDRS"),
        *(b"ENVID", b"ENVID=", b"ENVID=+", b"ENVID=+4", b"ENVID=+4g", b"ENVID=+2b"),
        *(b"ENVID=+0D+0A", b"ENVID=+00", b"ENVID=+7F", b"ENVID=+80", b"ENVID=+FF"),
        *(b"ENVID=+0B", b"ENVID=" + b"x" * 101, "ENVID=å".encode()),
    ],
)
def test_bad_mail_parameters(octets: bytes) -> None:
    assert refusal(octets, MAIL_PARAMETERS).code == 501


@pytest.mark.parametrize(
    "octets",
    [
        *(b"NOTIFY", b"NOTIFY=", b"NOTIFY=,", b"NOTIFY=SUCCESS,", b"NOTIFY=,SUCCESS"),
        *(b"NOTIFY=NEVER,SUCCESS", b"NOTIFY=DELAY,NEVER", b"NOTIFY=NEVER,NEVER"),
        *(b"NOTIFY=ALWAYS", b"NOTIFY=SUCCESS;FAILURE", "NOTIFY=å".encode()),
        *(
            b"ORCPT",
            b"ORCPT=",
            b"ORCPT=a@b",
            b"ORCPT=;a@b",
            b"ORCPT=rfc822",
            b"ORCPT=;",
        ),
        *(b"ORCPT=rfc(822);a", b"ORCPT=a.b;c", b"ORCPT=a@b;c", "ORCPT=å;a".encode()),
        *(b"ORCPT=rfc822;a+", b"ORCPT=rfc822;a+0A", b"ORCPT=rfc822;a+00b"),
        *(b"ORCPT=rfc822;+FF", "ORCPT=rfc822;å".encode(), b"ORCPT=utf-8;"),
        *(b"ORCPT=utf-8;a+2Bb", rb"ORCPT=utf-8;a\x{0A}b", b"ORCPT=utf-8;a\\b"),
        *(b"ORCPT=rfc822;" + b"x" * 494, b"ORCPT=utf-8;" + b"x" * 495),
    ],
)
def test_bad_rcpt_parameters(octets: bytes) -> None:
    assert refusal(octets, RCPT_PARAMETERS).code == 501


def test_length_of_orcpt_counts_characters() -> None:
    most = "å" * 494
    options = parse_rcpt(f"ORCPT=utf-8;{most}".encode())
    assert encode(options, smtputf8=True) == f" ORCPT=utf-8;{most}".encode()
    with pytest.raises(BadParameter, match="more than 500"):
        encode(options)
    assert refusal(f"ORCPT=utf-8;{most}å".encode(), RCPT_PARAMETERS).code == 501


# --- parameters as a list ------------------------------------------------------------


def test_no_parameters() -> None:
    assert parse_parameters(b"", MAIL_PARAMETERS) == {}
    assert parse_parameters(b"   ", RCPT_PARAMETERS) == {}
    assert encode(DEFAULT_MAIL_OPTIONS) == encode(DEFAULT_RCPT_OPTIONS) == b""
    assert encode(MailOptions()) == encode(RcptOptions()) == b""
    assert encode_parameters(DEFAULT_MAIL_OPTIONS, {}) == b""
    assert MailOptions() == DEFAULT_MAIL_OPTIONS
    assert RcptOptions() == DEFAULT_RCPT_OPTIONS


def test_many_parameters() -> None:
    options = parse_mail(b" RET=HDRS  SIZE=7 smtputf8 ENVID=x BODY=8BITMIME AUTH=<>  ")
    assert options == MailOptions(
        size=7,
        body=BodyType.EIGHTBITMIME,
        smtputf8=True,
        auth="",
        return_content=ReturnContent.HDRS,
        envelope_id="x",
    )
    assert encode(options) == (
        b" SIZE=7 BODY=8BITMIME SMTPUTF8 AUTH=<> RET=HDRS ENVID=x"
    )


def test_falsehoods_that_are_values() -> None:
    assert encode(MailOptions(size=0, auth="")) == b" SIZE=0 AUTH=<>"
    assert encode(MailOptions(smtputf8=False)) == b""
    assert encode(RcptOptions(notify=())) == b""


@pytest.mark.parametrize(
    "octets",
    [b"SIZE=1 SIZE=1", b"SIZE=1 BODY=7BIT size=2", b"SMTPUTF8 SMTPUTF8", b"X=1 x=2"],
)
def test_parameters_may_not_repeat(octets: bytes) -> None:
    table = {**MAIL_PARAMETERS, b"X": X_PARAMETER}
    error = refusal(octets, table)
    assert error.code == 501
    assert "given twice" in error.text


@pytest.mark.parametrize("octets", [b"X", b"X=1", b"SIZES=1", b"NOTIFY=NEVER", b"0-=~"])
def test_unknown_parameters(octets: bytes) -> None:
    assert refusal(octets, MAIL_PARAMETERS).code == 555
    assert refusal(b"SIZE=1 " + octets, MAIL_PARAMETERS).code == 555


@pytest.mark.parametrize(
    "octets",
    [
        *(
            b"=",
            b"=1",
            b"-X=1",
            b"X_Y=1",
            b"SIZE =1",
            b"SIZE= 1",
            b"SIZE==1",
            b"SIZE=1=",
        ),
        *(
            b"SIZE:1",
            b"SIZE=1,BODY=7BIT",
            b"<SIZE=1>",
            b"SIZE=1\tBODY=7BIT",
            b"\tSIZE=1",
        ),
        *(
            b"SIZE=1\n",
            b"SIZE=1\r\nRCPT TO:<v@x>",
            b"SIZE=1\x00",
            b"SI\x00ZE=1",
            b"\x7f",
        ),
        *(b"SIZE\n", b"SMTPUTF8\n", b"SMTPUTF8\r\n", b"\xff=1", "åX=1".encode()),
        *(b"ENVID=\xff", b"ENVID=a\xc3", b"ENVID=\xed\xa0\x80"),
    ],
)
def test_malformed_parameters(octets: bytes) -> None:
    assert refusal(octets, MAIL_PARAMETERS).code == 501


@given(st.binary(max_size=40))
def test_octets_give_values_or_bad_parameter(octets: bytes) -> None:
    for table in (MAIL_PARAMETERS, RCPT_PARAMETERS):
        for head in (b"", *(keyword + b"=" for keyword in table)):
            try:
                values = parse_parameters(head + octets, table)
            except BadParameter:
                continue
            assert set(values) <= {row.field for row in table.values()}


# --- encoding what a caller gave -----------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        MailOptions(size=-1),
        MailOptions(size=10**20),
        MailOptions(envelope_id="a\r\nRCPT TO:<v@x>"),
        MailOptions(envelope_id="a\x00"),
        MailOptions(envelope_id="\x7f"),
        MailOptions(envelope_id="grå"),
        MailOptions(envelope_id="\u760d\u760a"),
        MailOptions(envelope_id=""),
        MailOptions(envelope_id="x" * 101),
        MailOptions(envelope_id="=" * 34),
        RcptOptions(notify=(Notify.NEVER, Notify.DELAY)),
        RcptOptions(notify=(Notify.SUCCESS, Notify.NEVER)),
        RcptOptions(original_recipient=OriginalRecipient("", "a")),
        RcptOptions(original_recipient=OriginalRecipient("a;b", "c")),
        RcptOptions(original_recipient=OriginalRecipient("a b", "c")),
        RcptOptions(original_recipient=OriginalRecipient("a\n", "c")),
        RcptOptions(original_recipient=OriginalRecipient("å", "c")),
        RcptOptions(original_recipient=OriginalRecipient("rfc822", "å")),
        RcptOptions(original_recipient=OriginalRecipient("rfc822", "a\r\nb")),
        RcptOptions(original_recipient=OriginalRecipient("rfc822", "x" * 494)),
        RcptOptions(original_recipient=OriginalRecipient("rfc822", " " * 165)),
    ],
)
def test_values_without_an_encoding(options: MailOptions | RcptOptions) -> None:
    for smtputf8 in (False, True):
        with pytest.raises(BadParameter):
            encode(options, smtputf8=smtputf8)


def test_longest_values_are_measured_encoded() -> None:
    envelope_id = "=" * 33 + "x"
    assert (
        encode(MailOptions(envelope_id=envelope_id)) == b" ENVID=" + b"+3D" * 33 + b"x"
    )
    original = OriginalRecipient("rfc822", " " * 164)
    assert encode(RcptOptions(original_recipient=original)) == (
        b" ORCPT=rfc822;" + b"+20" * 164
    )


@pytest.mark.parametrize("auth", ["user", "<>", "a@b>", "a@b\n", "a@b AUTH=<>", " "])
def test_auth_must_be_a_mailbox(auth: str) -> None:
    with pytest.raises(BadAddress):
        encode(MailOptions(auth=auth))


@pytest.mark.parametrize("address", ["a\r\nb", "a\x00", "a\x85b", "a\u2028b"])
def test_utf8_addresses_hold_no_controls(address: str) -> None:
    options = RcptOptions(original_recipient=OriginalRecipient("utf-8", address))
    for smtputf8 in (False, True):
        with pytest.raises(UnsafeOctets):
            encode(options, smtputf8=smtputf8)


def test_words_may_be_given_as_text() -> None:
    body: Any = "8BITMIME"
    assert encode(MailOptions(body=body)) == b" BODY=8BITMIME"
    body = "8BITMIME SIZE=1"
    with pytest.raises(BadParameter):
        encode(MailOptions(body=body))
    body = "8BITMIME\r\nRCPT TO:<v@x>"
    with pytest.raises(UnsafeOctets):
        encode(MailOptions(body=body))


# --- rows of one's own ---------------------------------------------------------------


def decode_text(value: bytes | None) -> object:
    return True if value is None else value.decode("utf-8")


def encode_text(value: object, _context: EncodeContext) -> bytes | None:
    return None if value is True else str(value).encode("utf-8")


X_PARAMETER = Parameter(
    keyword="X", command="MAIL", decode=decode_text, encode=encode_text, rfc=""
)
OWN_TABLE = {b"X": X_PARAMETER, **MAIL_PARAMETERS}


@pytest.mark.parametrize(
    ("octets", "value"), [(b"X", True), (b"X=1", "1"), ("X=grå~".encode(), "grå~")]
)
def test_own_parameter_is_kept_in_extra(octets: bytes, value: object) -> None:
    values = parse_parameters(octets + b" SIZE=1", OWN_TABLE)
    assert values == {"size": 1, "extra": {"X": value}}
    options = MailOptions(**values)
    assert encode_parameters(options, OWN_TABLE) == b" " + octets + b" SIZE=1"


@pytest.mark.parametrize("value", [None, False, ()])
def test_own_parameter_that_is_not_given(value: object) -> None:
    assert encode_parameters(MailOptions(extra={"X": value}), OWN_TABLE) == b""


@pytest.mark.parametrize("value", ["", " ", "a b", "a=b", "=", "a SIZE=1"])
def test_own_encoder_cannot_add_a_parameter(value: str) -> None:
    with pytest.raises(BadParameter, match="bad X value"):
        encode_parameters(MailOptions(extra={"X": value}), OWN_TABLE)


@pytest.mark.parametrize("value", ["a\r\nRCPT TO:<v@x>", "a\n", "\x00", "a\x7f"])
def test_own_encoder_cannot_end_the_line(value: str) -> None:
    with pytest.raises(UnsafeOctets, match="X parameter"):
        encode_parameters(MailOptions(extra={"X": value}), OWN_TABLE)


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        (MailOptions(extra={"Y": "1", "X": "2"}), "for Y"),
        (MailOptions(size=1, smtputf8=True, extra={"Y": 1}), "for smtputf8, Y"),
        (RcptOptions(notify=(Notify.NEVER,)), "for notify"),
    ],
)
def test_nothing_is_left_out_silently(
    options: MailOptions | RcptOptions, missing: str
) -> None:
    table = {b"SIZE": MAIL_PARAMETERS[b"SIZE"], b"X": X_PARAMETER}
    with pytest.raises(BadParameter, match=missing) as caught:
        encode_parameters(options, table)
    assert caught.value.code == 555


# --- the table -----------------------------------------------------------------------


def test_rows_are_sound() -> None:
    fields = {
        "MAIL": {item.name for item in dataclasses.fields(MailOptions)},
        "RCPT": {item.name for item in dataclasses.fields(RcptOptions)},
    }
    for command, names in fields.items():
        rows = [row for row in PARAMETERS if row.command == command]
        assert {row.field for row in rows} | {"extra"} == names
        assert len({row.field for row in rows}) == len(rows)
        table = make_parameter_table(PARAMETERS, command)
        assert list(table.values()) == rows
        assert list(table) == [row.keyword.encode() for row in rows]
    for row in PARAMETERS:
        assert row.keyword == row.keyword.upper()
        assert row.rfc.startswith("RFC ")
    assert make_parameter_table(PARAMETERS, "MAIL") == MAIL_PARAMETERS
    assert make_parameter_table(PARAMETERS, "RCPT") == RCPT_PARAMETERS


def test_options_are_frozen_values() -> None:
    options = MailOptions(size=1, extra={"X": "1"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.size = 2  # type: ignore[misc]
    assert hash(options) == hash(MailOptions(size=1, extra={"X": "2"}))
    assert options != MailOptions(size=1, extra={"X": "2"})
    recipient = RcptOptions(original_recipient=OriginalRecipient("utf-8", "grå@x"))
    for value in (options, recipient, DEFAULT_MAIL_OPTIONS, DEFAULT_RCPT_OPTIONS):
        assert pickle.loads(pickle.dumps(value)) == value
        assert copy.deepcopy(value) == value
        assert hash(value) == hash(copy.deepcopy(value))
    assert dataclasses.replace(options, size=2).extra == {"X": "1"}


@pytest.mark.parametrize(
    ("address_type", "is_utf8"), [("utf-8", True), ("UTF-8", True), ("rfc822", False)]
)
def test_type_of_an_original_recipient(address_type: str, is_utf8: bool) -> None:
    assert OriginalRecipient(address_type, "a@b").is_utf8 is is_utf8


# --- properties ----------------------------------------------------------------------

printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
no_controls = st.text(min_size=1, max_size=60).filter(
    lambda text: not has_line_control(text)
)
mail_options = st.builds(
    MailOptions,
    size=st.none() | st.integers(0, 10**20 - 1),
    body=st.none() | st.sampled_from(BodyType),
    smtputf8=st.booleans(),
    auth=st.sampled_from([None, "", "a@b", '"a =+"@[IPv6:::1]', "grå@blåbär.example"]),
    return_content=st.none() | st.sampled_from(ReturnContent),
    envelope_id=st.none() | printable.filter(lambda text: 0 < len(text) <= 33),
)
rcpt_options = st.builds(
    RcptOptions,
    notify=st.just((Notify.NEVER,))
    | st.lists(
        st.sampled_from([Notify.SUCCESS, Notify.FAILURE, Notify.DELAY]), max_size=4
    ).map(tuple),
    original_recipient=st.none()
    | st.builds(
        OriginalRecipient,
        st.sampled_from(["rfc822", "x-y"]),
        printable.map(lambda text: text[:160]),
    )
    | st.builds(
        OriginalRecipient, st.just("utf-8"), no_controls.map(lambda text: text[:49])
    ),
)


@given(mail_options)
def test_mail_round_trip(options: MailOptions) -> None:
    encoded = encode(options)
    assert encoded.isascii()
    assert parse_mail(encoded) == options


@given(rcpt_options, st.booleans())
def test_rcpt_round_trip(options: RcptOptions, smtputf8: bool) -> None:
    encoded = encode(options, smtputf8=smtputf8)
    assert smtputf8 or encoded.isascii()
    assert parse_rcpt(encoded) == options

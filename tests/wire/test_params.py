"""ESMTP parameters: their list on the line, the table, and rows of one's own."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.errors import BadParameter, UnsafeOctets
from smtpx.wire.params import (
    DEFAULT_MAIL_OPTIONS,
    DEFAULT_RCPT_OPTIONS,
    MAIL_PARAMETERS,
    PARAMETERS,
    RCPT_PARAMETERS,
    BodyType,
    ByMode,
    DeliverBy,
    EncodeContext,
    MailOptions,
    Notify,
    Parameter,
    RcptOptions,
    ReturnContent,
    encode_parameters,
    make_parameter_table,
    parse_parameters,
)
from tests.wire.parameters import encode, parse_mail, parse_rcpt, refusal

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
    every = PARAMETERS
    fields = {
        "MAIL": {item.name for item in dataclasses.fields(MailOptions)},
        "RCPT": {item.name for item in dataclasses.fields(RcptOptions)},
    }
    for command, names in fields.items():
        rows = [row for row in every if row.command == command]
        assert {row.field for row in rows} | {"extra"} == names
        assert len({row.field for row in rows}) == len(rows)
        assert {row.excludes for row in rows} <= {"", *names}
        table = make_parameter_table(every, command)
        assert list(table.values()) == rows
        assert list(table) == [row.keyword.encode() for row in rows]
    for row in every:
        assert row.keyword == row.keyword.upper()
        assert row.rfc.startswith("RFC ") or row.keyword.startswith("X")
    assert make_parameter_table(every, "MAIL") == MAIL_PARAMETERS
    assert make_parameter_table(every, "RCPT") == RCPT_PARAMETERS


def test_exclusion_is_mutual() -> None:
    rows = {row.field: row for row in MAIL_PARAMETERS.values()}
    excluding = {field: row.excludes for field, row in rows.items() if row.excludes}
    assert excluding == {other: field for field, other in excluding.items()}
    assert excluding


@pytest.mark.parametrize(
    "octets",
    [
        b"HOLDFOR=1 HOLDUNTIL=2030-01-01T00:00:00Z",
        b"HOLDUNTIL=2030-01-01T00:00:00Z SIZE=1 HOLDFOR=1",
    ],
)
def test_parameters_that_exclude_each_other(octets: bytes) -> None:
    """RFC 4865 section 4.2 rules 9 to 11."""
    error = refusal(octets, MAIL_PARAMETERS)
    assert (error.code, error.enhanced) == (501, "5.5.4")
    assert "excludes" in error.text
    both = MailOptions(
        hold_for_seconds=1, hold_until=datetime(2030, 1, 1, tzinfo=UTC), size=1
    )
    with pytest.raises(BadParameter, match="excludes"):
        encode(both)


def test_parameters_of_mail_that_some_send_with_rcpt() -> None:
    octets = b" BY=120;R MT-PRIORITY=3"
    options = parse_rcpt(octets)
    assert options == RcptOptions(
        deliver_by=DeliverBy(120, ByMode.RETURN), mt_priority=3
    )
    assert encode(options) == octets
    rows = [row for row in PARAMETERS if row.is_compatibility]
    assert {row.keyword for row in rows} == {"BY", "MT-PRIORITY"}
    assert {row.command for row in rows} == {"RCPT"}
    strict = {
        key: row for key, row in RCPT_PARAMETERS.items() if not row.is_compatibility
    }
    assert refusal(octets, strict).code == 555
    with pytest.raises(BadParameter, match="for deliver_by, mt_priority"):
        encode_parameters(options, strict)

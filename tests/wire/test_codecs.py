"""Values of ESMTP parameters: each codec at its limits, and attempts to get out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.errors import BadAddress, BadParameter, UnsafeOctets
from smtpx.wire.octets import has_line_control
from smtpx.wire.options import (
    BodyType,
    ByMode,
    DeliverBy,
    MailOptions,
    NoSupportAction,
    Notify,
    OriginalRecipient,
    RcptOptions,
    ReturnContent,
    ValidSince,
)
from smtpx.wire.params import MAIL_PARAMETERS, RCPT_PARAMETERS
from tests.wire.parameters import encode, parse_mail, parse_rcpt, refusal

EAST = timezone(timedelta(hours=5, minutes=30))

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
    (b"REQUIRETLS", {"requiretls": True}),
    (b"BY=120;R", {"deliver_by": DeliverBy(120, ByMode.RETURN)}),
    (b"BY=1;RT", {"deliver_by": DeliverBy(1, ByMode.RETURN, is_traced=True)}),
    (b"BY=0;N", {"deliver_by": DeliverBy(0, ByMode.NOTIFY)}),
    (b"BY=-999999999;N", {"deliver_by": DeliverBy(-999_999_999, ByMode.NOTIFY)}),
    (b"BY=999999999;NT", {"deliver_by": DeliverBy(999_999_999, ByMode.NOTIFY, True)}),
    (b"MT-PRIORITY=-9", {"mt_priority": -9}),
    (b"MT-PRIORITY=0", {"mt_priority": 0}),
    (b"MT-PRIORITY=9", {"mt_priority": 9}),
    (b"HOLDFOR=1", {"hold_for_seconds": 1}),
    (b"HOLDFOR=999999999", {"hold_for_seconds": 999_999_999}),
    (
        b"HOLDUNTIL=2030-12-31T23:59:58Z",
        {"hold_until": datetime(2030, 12, 31, 23, 59, 58, tzinfo=UTC)},
    ),
    (
        b"HOLDUNTIL=2030-01-01T00:00:00.250000Z",
        {"hold_until": datetime(2030, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)},
    ),
    (b"SOLICIT=org.example:ADV:ADLT", {"solicit": ("org.example:ADV:ADLT",)}),
    (b"SOLICIT=a,b-._:9", {"solicit": ("a", "b-._:9")}),
    (b"SOLICIT=" + b"a" * 1000, {"solicit": ("a" * 1000,)}),
    (b"XOORG=contoso.com", {"xoorg": "contoso.com"}),
    (b"XOORG=a+20b", {"xoorg": "a b"}),
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
    (
        b"RRVS=2014-04-03T23:01:00Z",
        {"valid_since": ValidSince(datetime(2014, 4, 3, 23, 1, tzinfo=UTC))},
    ),
    (
        b"RRVS=2014-04-03T23:01:00Z;C",
        {
            "valid_since": ValidSince(
                datetime(2014, 4, 3, 23, 1, tzinfo=UTC), NoSupportAction.CONTINUE
            )
        },
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
        (b"RequireTLS", b"REQUIRETLS"),
        (b"by=+5;rt", b"BY=5;RT"),
        (b"BY=-007;n", b"BY=-7;N"),
        (b"mt-priority=-1", b"MT-PRIORITY=-1"),
        (b"HOLDUNTIL=2030-01-01t00:00:00z", b"HOLDUNTIL=2030-01-01T00:00:00Z"),
        (b"HOLDUNTIL=2030-01-01T00:00:00+00:00", b"HOLDUNTIL=2030-01-01T00:00:00Z"),
        (b"HOLDUNTIL=2030-01-01T00:00:00-00:00", b"HOLDUNTIL=2030-01-01T00:00:00Z"),
        (b"HOLDUNTIL=2016-12-31T23:59:60Z", b"HOLDUNTIL=2017-01-01T00:00:00Z"),
        (b"HOLDUNTIL=2030-01-01T00:00:00.0Z", b"HOLDUNTIL=2030-01-01T00:00:00Z"),
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
        (b"RRVS=2014-04-03T23:01:00Z;R", b"RRVS=2014-04-03T23:01:00Z"),
        (b"RRVS=2014-04-03t23:01:00z;c", b"RRVS=2014-04-03T23:01:00Z;C"),
        (b"RRVS=2014-04-03T23:01:00+05:30", b"RRVS=2014-04-03T17:31:00Z"),
        (b"RRVS=2014-12-31T23:01:00-01:00", b"RRVS=2015-01-01T00:01:00Z"),
        (b"RRVS=2016-12-31T23:59:60Z", b"RRVS=2017-01-01T00:00:00Z"),
        (b"RRVS=0001-01-01T00:00:00Z", b"RRVS=0001-01-01T00:00:00Z"),
        ("ORCPT=utf-8;grå@x".encode(), rb"ORCPT=utf-8;gr\x{E5}@x"),
        (rb"ORCPT=UTF-8;gr\x{e5}@x", rb"ORCPT=UTF-8;gr\x{E5}@x"),
        # Postfix 3.7 calls an address so that is not ASCII.
        (b"ORCPT=rfc822;gr+C3+A5@x", rb"ORCPT=utf-8;gr\x{E5}@x"),
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
        *(b"REQUIRETLS=", b"REQUIRETLS=1"),
        *(b"BY", b"BY=", b"BY=1", b"BY=1;", b"BY=;R", b"BY=1;X", b"BY=1;T", b"BY=1;RX"),
        *(
            b"BY=0;R",
            b"BY=-1;R",
            b"BY=0;RT",
            b"BY=1000000000;N",
            b"BY=--1;N",
            b"BY=1;NTT",
        ),
        *(b"BY=1.5;N", b"BY=1,N", b"BY=+;N", b"BY=-1000000000;N"),
        *(b"MT-PRIORITY", b"MT-PRIORITY=10", b"MT-PRIORITY=-10", b"MT-PRIORITY=+1"),
        *(b"MT-PRIORITY=-0", b"MT-PRIORITY=00", b"MT-PRIORITY=01", b"MT-PRIORITY=x"),
        *(
            b"HOLDFOR",
            b"HOLDFOR=0",
            b"HOLDFOR=01",
            b"HOLDFOR=-1",
            b"HOLDFOR=1000000000",
        ),
        *(b"HOLDUNTIL", b"HOLDUNTIL=1", b"HOLDUNTIL=2030-01-01", b"HOLDUNTIL=Z"),
        *(b"HOLDUNTIL=2030-01-01T00:00:00", b"HOLDUNTIL=2030-01-01T00:00:00+01:00"),
        *(b"HOLDUNTIL=2030-13-01T00:00:00Z", b"HOLDUNTIL=2030-02-30T00:00:00Z"),
        *(b"HOLDUNTIL=2030-01-01T24:00:00Z", b"HOLDUNTIL=2030-01-01T00:60:00Z"),
        *(b"HOLDUNTIL=2030-01-01T00:00:61Z", b"HOLDUNTIL=0000-01-01T00:00:00Z"),
        *(b"HOLDUNTIL=2030-1-1T00:00:00Z", b"HOLDUNTIL=20300101T000000Z"),
        *(b"HOLDUNTIL=9999-12-31T23:59:60Z", b"HOLDUNTIL=2030-01-01T00:00:00.Z"),
        *(b"SOLICIT", b"SOLICIT=1", b"SOLICIT=a,", b"SOLICIT=,a", b"SOLICIT=a,,b"),
        *(b"SOLICIT=a,1", b"SOLICIT=a;b", b"SOLICIT=a+b", "SOLICIT=å".encode()),
        *(
            b"SOLICIT=" + b"a" * 1001,
            b"XOORG",
            b"XOORG=a+0D",
            b"XOORG=a+",
            b"XOORG=+FF",
        ),
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
        *(b"ORCPT=rfc822;+FF", b"ORCPT=rfc822;+C3+A5+C2+85@x", b"ORCPT=x;+C3+A5"),
        *("ORCPT=rfc822;å".encode(), b"ORCPT=utf-8;"),
        *(b"ORCPT=utf-8;a+2Bb", rb"ORCPT=utf-8;a\x{0A}b", b"ORCPT=utf-8;a\\b"),
        *(b"RRVS", b"RRVS=", b"RRVS=;R", b"RRVS=2014-04-03T23:01:00Z;"),
        *(b"RRVS=2014-04-03T23:01:00Z;X", b"RRVS=2014-04-03T23:01:00Z;RC"),
        *(b"RRVS=2014-04-03T23:01:00.5Z", b"RRVS=2014-04-03T23:01:00", b"RRVS=now"),
        *(b"RRVS=2014-04-03T23:01:00+24:00", b"RRVS=2014-04-03T23:01:00+5"),
        *(b"RRVS=0001-01-01T00:00:00+00:01", b"RRVS=9999-12-31T23:59:59-00:01"),
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
        MailOptions(deliver_by=DeliverBy(0, ByMode.RETURN)),
        MailOptions(deliver_by=DeliverBy(1_000_000_000, ByMode.RETURN)),
        MailOptions(deliver_by=DeliverBy(1_000_000_000, ByMode.NOTIFY)),
        MailOptions(deliver_by=DeliverBy(-1_000_000_000, ByMode.NOTIFY)),
        MailOptions(mt_priority=10),
        MailOptions(mt_priority=-10),
        MailOptions(hold_for_seconds=0),
        MailOptions(hold_for_seconds=1_000_000_000),
        MailOptions(hold_until=datetime(2030, 1, 1)),
        MailOptions(hold_until=datetime.min.replace(tzinfo=EAST)),
        MailOptions(solicit=("a,b", "")),
        MailOptions(solicit=("a b",)),
        MailOptions(solicit=("a\n",)),
        MailOptions(solicit=("a" * 500, "b" * 500)),
        MailOptions(xoorg=""),
        MailOptions(xoorg="a\r\nRCPT TO:<v@x>"),
        MailOptions(xoorg="grå.example"),
        RcptOptions(valid_since=ValidSince(datetime(2030, 1, 1))),
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


def test_times_are_sent_in_utc() -> None:
    time = datetime(2030, 1, 1, 5, 29, 59, 999_999, tzinfo=EAST)
    assert encode(MailOptions(hold_until=time)) == (
        b" HOLDUNTIL=2029-12-31T23:59:59.999999Z"
    )
    # RFC 7293 section 3.1 excludes fractions.
    assert encode(RcptOptions(valid_since=ValidSince(time))) == (
        b" RRVS=2029-12-31T23:59:59Z"
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
    requiretls=st.booleans(),
    deliver_by=st.none()
    | st.builds(
        DeliverBy, st.integers(1, 999_999_999), st.sampled_from(ByMode), st.booleans()
    ),
    mt_priority=st.none() | st.integers(-9, 9),
    hold_until=st.none() | st.datetimes(timezones=st.just(UTC)),
    solicit=st.lists(
        st.from_regex(r"[A-Za-z][A-Za-z0-9._:-]{,20}", fullmatch=True), max_size=5
    ).map(tuple),
    xoorg=st.none() | printable.filter(bool),
)
rcpt_options = st.builds(
    RcptOptions,
    valid_since=st.none()
    | st.builds(
        ValidSince,
        st.datetimes(timezones=st.just(UTC)).map(
            lambda time: time.replace(microsecond=0)
        ),
        st.sampled_from(NoSupportAction),
    ),
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

"""What a strict server would complain of, and what it would not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from smtpx.inbox import complaints
from smtpx.inbox.complaints import find_complaints
from smtpx.inbox.messages import StoredMessage
from smtpx.message.parsed import parse_message
from tools import rfc

# 2026-03-05 10:00 UTC, as the date of the message.
RECEIVED = 1_772_704_800.0

GOOD = b"""\
From: Ann <ann@x.test>
To: bob@x.test
Subject: hi
Date: Thu, 5 Mar 2026 10:00:00 +0000
Message-ID: <1@x.test>

hello
""".replace(b"\n", b"\r\n")


def complain(content: bytes, **facts: object) -> list[str]:
    given = {
        "sender": "ann@x.test",
        "recipients": ("bob@x.test",),
        "hello_name": "mail.x.test",
        "protocol": "ESMTPS",
        "octets": len(content),
        "received_at": RECEIVED,
    } | facts
    message = StoredMessage(id="1", **given)  # type: ignore[arg-type]
    found = find_complaints(message, parse_message(content))
    return [f"{one.severity}: {one.text}" for one in found]


def with_field(field: bytes) -> bytes:
    return field + b"\r\n" + GOOD


def without(name: bytes) -> bytes:
    return re.sub(rb"(?m)^%b:.*\r\n" % name, b"", GOOD)


def with_attachment(name: bytes) -> bytes:
    head = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x"
    body = (
        b'--x\r\nContent-Disposition: attachment; filename="%b"\r\n\r\nx\r\n--x--\r\n'
    )
    return with_field(head) + body % name


def test_a_good_message() -> None:
    assert complain(GOOD) == []
    assert complain(GOOD, hello_name="[192.0.2.1]", protocol="ESMTP") == []
    assert complain(GOOD, hello_name="x", protocol="LMTP") == []
    assert complain(with_attachment(b"report.pdf")) == []


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (GOOD + b"x\n", "error: a line ends with a bare LF"),
        (GOOD + b"x\ry\r\n", "error: a line ends with a bare CR"),
        (GOOD + b"x" * 999 + b"\r\n", "error: a line is over 998 octets"),
        (GOOD + b"\0\r\n", "error: a NUL"),
        (GOOD + b"\xc3\xbc\r\n", "error: 8-bit content"),
        (with_field(b"X: \xc3\xbc"), "error: UTF-8 in a header field"),
        (without(b"Date"), "error: no Date field"),
        (without(b"From"), "error: no From field"),
        (with_field(b"Subject: twice"), "error: more than one Subject field"),
        (without(b"Message-ID"), "warning: no Message-ID field"),
        (with_field(b"Message-ID: 1"), "error: the Message-ID is not <left@right>"),
        (without(b"To"), "hint: no To or Cc field"),
        (without(b"Subject"), "warning: no Subject field"),
        (with_field(b"From: b@x.test"), "error: several authors need a Sender"),
        (with_field(b"Received: x\r\n" * 100 + b"Received: x"), "error: 101 Received"),
        (with_field(b"Bcc: eve@x.test"), "error: a Bcc field"),
        (with_field(b"Return-Path: <a@x.test>"), "error: a Return-Path field"),
        (with_field(b"X: =?utf-8?q?" + b"a" * 64 + b"?="), "warning: an encoded word"),
        (with_field(b"Content-Type: text/plain"), "error: no MIME-Version field"),
        (with_attachment(b"run.EXE"), "warning: an attachment that servers refuse"),
        (
            with_field(b"MIME-Version: 1.0\r\nContent-Type: text/html"),
            "hint: HTML without a plain text",
        ),
        (with_field(b"List-Id: <l.x.test>"), "warning: a list without a List-Unsub"),
        (
            with_field(b"List-Unsubscribe: <https://x.test>"),
            "hint: no List-Unsubscribe-Post field",
        ),
        (
            with_field(b"Auto-Submitted: auto-replied\r\nIn-Reply-To: <2@x.test>"),
            "warning: an automatic answer with a reverse path",
        ),
    ],
)
def test_what_is_wrong_with_a_message(content: bytes, complaint: str) -> None:
    assert any(one.startswith(complaint) for one in complain(content))
    assert not any(one.startswith(complaint) for one in complain(GOOD))


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        ({"octets": 25 * 1024 * 1024 + 1}, "warning: over 25 MiB"),
        ({"received_at": RECEIVED + 86_401}, "warning: the date is 24 hours before"),
        ({"received_at": RECEIVED - 86_401}, "warning: the date is 24 hours after"),
        ({"recipients": ("eve@x.test",)}, "hint: eve@x.test is in no To or Cc"),
        ({"sender": "a@other.test"}, "hint: the reverse path is of other.test"),
        ({"hello_name": "localhost"}, "warning: the client calls itself 'localhost'"),
        ({"hello_name": "192.0.2.1"}, "warning: the client calls itself '192.0.2.1'"),
        ({"hello_name": "my_pc.x.test"}, "warning: the client calls itself"),
        ({"protocol": "SMTP"}, "hint: the client said HELO"),
        ({"user": "ann"}, "hint: the client logged in without TLS"),
    ],
)
def test_what_is_wrong_with_a_session(facts: dict[str, object], complaint: str) -> None:
    assert [one[: len(complaint)] for one in complain(GOOD, **facts)] == [complaint]


@pytest.mark.parametrize(
    "facts",
    [
        {"octets": 25 * 1024 * 1024},
        {"received_at": RECEIVED + 86_400},
        {"received_at": RECEIVED - 86_400},
        {"sender": ""},
        {"sender": "bounce@X.Test"},
        {"recipients": ("BOB@x.test",)},
        {"user": "ann", "tls": {"version": "TLSv1.3"}},
    ],
)
def test_what_is_well(facts: dict[str, object]) -> None:
    assert complain(GOOD, **facts) == []


def test_what_was_declared_is_well() -> None:
    kind = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8"
    eight_bit = with_field(kind) + b"\xc3\xbc\r\n"
    assert complain(eight_bit, mail_parameters="SIZE=1 BODY=8BITMIME") == []
    utf8 = with_field(b"X: \xc3\xbc")
    assert complain(utf8, mail_parameters="SMTPUTF8") == []
    assert complain(GOOD + b"x" * 998 + b"\r\n") == []
    word = with_field(b"X: =?utf-8?q?" + b"a" * 63 + b"?=")
    assert complain(word) == []


def test_the_worst_comes_first() -> None:
    found = complain(b"Bcc: a@x.test\r\n\r\nx\n", hello_name="pc")
    severities = [one.partition(":")[0] for one in found]
    order = ["error", "warning", "hint"]
    assert severities == sorted(severities, key=order.index)
    assert set(severities) == set(order)


def test_every_section_that_is_cited_exists() -> None:
    text = Path(complaints.__file__).read_text(encoding="utf-8")
    cited = set(re.findall(r'"(\d{4}) ([\d.]+)"', text))
    assert len(cited) > 15
    index = rfc.read_index()
    for number, section in cited:
        assert section in index[int(number)], (number, section)

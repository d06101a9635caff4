"""No message makes the reading of it raise, or takes time that grows faster than it."""

from __future__ import annotations

import random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpx.message.parsed import parse_message
from smtpx.message.reports import parse_report
from tests.message.test_parsed import RESENT, made

# What structure is made of: mutations put it where it does not belong.
PIECES: Final = [
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b"\0", b"\xff", b"\xc3"),
    *(
        b"--",
        b"--x--",
        b"=?utf-8?q?",
        b"?=",
        b"=?",
        b"(",
        b")",
        b'"',
        b"\\",
        b"<",
        b">",
    ),
    *(b"@", b",", b";", b":", b"=", b"*0*=", b"''", b"Content-Type: multipart/mixed;"),
    *(
        b"boundary=",
        b"Content-Transfer-Encoding: base64\r\n",
        b"charset=punycode",
        b"%",
    ),
]


def read_all(octets: bytes) -> None:
    message = parse_message(octets)
    assert isinstance(message.subject, str)
    assert message.from_ is not message.to or message.from_ == ()
    assert isinstance(message.text + message.html, str)
    for name in ("sender", "reply_to", "cc", "bcc", "date", "message_id", "hops"):
        getattr(message, name)
    for name in ("in_reply_to", "references", "resent", "is_automatic", "defects"):
        getattr(message, name)
    for one in (*message.attachments, *message.embedded):
        assert isinstance(one.data, bytes)
        assert one.safe_name
    parse_report(message)


@given(st.binary(max_size=400))
def test_random_octets(octets: bytes) -> None:
    read_all(octets)


@given(st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join))
def test_random_structure(octets: bytes) -> None:
    for name in (b"", b"To: ", b"Date: ", b"Content-Type: ", b"References: "):
        read_all(name + octets)


@settings(max_examples=200)
@given(st.randoms(use_true_random=False))
def test_mutated_messages(source: random.Random) -> None:
    octets = bytearray(source.choice([made(), RESENT + b"x"]))
    for _ in range(source.randint(1, 12)):
        start = source.randrange(len(octets))
        end = start + source.choice([0, 0, 1, 5, 100])
        octets[start:end] = source.choice(PIECES)
    read_all(bytes(octets))


MIB: Final = 1024 * 1024


@pytest.mark.parametrize(
    "octets",
    [
        b"X: y\r\n" * 100_000 + b"\r\nx",
        b"To: a@b.c\r\n" * 9_000 + b"\r\n",
        b"To: " + b"<a>" * (MIB // 3) + b"\r\n\r\n",
        b"Subject: " + b"a " * (5 * MIB) + b"\r\n\r\n",
        b"Subject:" + b"\r\n a" * 200_000 + b"\r\n\r\n",
        b"Content-Type: a/b; " + b"".join(b"a*%d=x;" % one for one in range(90_000)),
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n" * 500_000,
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--y\r\n" * 500_000,
        b"".join(
            b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (one, one)
            for one in range(10_000)
        ),
        b"Content-Transfer-Encoding: base64\r\n\r\n" + b"=A" * MIB,
        b"Content-Transfer-Encoding: uuencode\r\n\r\nbegin \r\n" + b"=A\r\n" * 99_999,
    ],
    ids=lambda octets: octets[:30].decode(),
)
def test_large_and_hostile(octets: bytes) -> None:
    """Each takes a second at most; were one quadratic, it would take hours."""
    read_all(octets)


@pytest.mark.parametrize("name", [b"To: ", b"Subject: ", b"Content-Type: a/b; c="])
@pytest.mark.parametrize("piece", [b"(", b'"', b"<", b"\\", b"[", b"=?", b" ", b";"])
def test_long_runs(name: bytes, piece: bytes) -> None:
    read_all(name + piece * (MIB // 8) + b"\r\n\r\n")

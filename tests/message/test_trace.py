"""Trace fields, which no client can break out of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from ipaddress import ip_address

import pytest

from smtpx.message.fields import parse_header
from smtpx.message.trace import Received, format_date, make_return_path
from smtpx.wire.address import Mailbox

WHEN = datetime(2026, 12, 31, 23, 59, 58, tzinfo=timezone(-timedelta(hours=3)))


def test_dates() -> None:
    assert format_date(WHEN) == "Thu, 31 Dec 2026 23:59:58 -0300"
    assert format_date(datetime(800, 1, 5, tzinfo=UTC)).startswith("Wed, 05 Jan 0800")
    with pytest.raises(ValueError, match="time zone"):
        format_date(WHEN.replace(tzinfo=None))


def test_return_path() -> None:
    assert make_return_path(Mailbox("a", "b.c")).octets == b"Return-Path: <a@b.c>\r\n"
    assert make_return_path(None).octets == b"Return-Path: <>\r\n"


def test_received_with_everything() -> None:
    field = Received(
        hello="c.example",
        peer=ip_address("2001:db8::1"),
        peer_name="host.example",
        by="mx.example",
        protocol="ESMTPS",
        id="x1",
        tls="TLSv1.3 AES",
        recipient=Mailbox("b", "mx.example"),
        date=WHEN,
    ).to_field()
    assert field.octets == (
        b"Received: from c.example (host.example [IPv6:2001:db8::1])\r\n"
        b"\tby mx.example with ESMTPS id x1\r\n\t(TLSv1.3 AES)\r\n"
        b"\tfor <b@mx.example>; Thu, 31 Dec 2026 23:59:58 -0300\r\n"
    )


def test_received_with_little() -> None:
    field = Received(by="mx", protocol="SMTP", id="1", date=WHEN).to_field()
    assert field.octets.startswith(b"Received: from unknown (unix socket)\r\n\tby mx ")
    peer = ip_address("192.0.2.1")
    field = Received(by="mx", protocol="SMTP", id="1", date=WHEN, peer=peer).to_field()
    assert b"([192.0.2.1])" in field.octets


@pytest.mark.parametrize(
    "name", ["a\r\nX: y", "a\n", "a\x85b", "a\u2028b", "\ta", "\0"]
)
def test_no_name_breaks_out(name: str) -> None:
    octets = (
        Received(hello=name, peer_name=name, by="mx", protocol="P", id="1", date=WHEN)
        .to_field()
        .octets
    )
    header, _ = parse_header(octets + b"\r\n")
    assert [one.name for one in header.fields] == ["Received"]
    assert len(octets.decode().splitlines()) == 2

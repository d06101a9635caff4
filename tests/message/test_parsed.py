"""What a program reads of a message, sound or broken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.message.addresses import Address
from smtpx.message.parsed import parse_date, parse_message


def made() -> bytes:
    """Make a message as the standard library does, with everything in it."""
    message = EmailMessage()
    message["From"] = "Ann Å <ann@example.com>, bob@example.com"
    message["Sender"] = "cy@example.com"
    message["Reply-To"] = "list@example.com"
    message["To"] = "Team: dan@example.net, eve@example.net;"
    message["Cc"] = "fay@example.net"
    message["Bcc"] = "gil@example.net"
    message["Subject"] = "Grüße " * 20
    message["Date"] = datetime(2026, 3, 5, 10, 0, tzinfo=timezone(timedelta(hours=1)))
    message["Message-ID"] = "<1@example.com>"
    message["In-Reply-To"] = "<0@example.com>"
    message["References"] = "<00@example.com> <0@example.com>"
    message.set_content("plain å\n")
    message.add_alternative("<p>html å<img src=cid:logo></p>\n", subtype="html")
    _, html = message.iter_parts()
    assert isinstance(html, EmailMessage)
    html.add_related(b"PNG", "image", "png", cid="<logo>", filename="logo.png")
    message.add_attachment(b"\x00\x01", "application", "pdf", filename="Übung.pdf")
    message.add_attachment("notes\n", filename="notes.txt")
    inner = EmailMessage()
    inner["Subject"] = "inner"
    inner.set_content("not ours\n")
    message.add_attachment(inner)
    return message.as_bytes(policy=message.policy.clone(linesep="\r\n"))


def test_everything_of_a_message() -> None:
    octets = made()
    message = parse_message(octets)
    assert message.subject == "Grüße " * 19 + "Grüße"
    assert message.from_ == (
        Address("Ann Å", "ann@example.com"),
        Address("", "bob@example.com"),
    )
    assert message.sender == Address("", "cy@example.com")
    assert message.reply_to == (Address("", "list@example.com"),)
    assert [str(one) for one in message.to] == ["dan@example.net", "eve@example.net"]
    assert {one.group for one in message.to} == {"Team"}
    assert [one.address for one in message.cc] == ["fay@example.net"]
    assert [one.address for one in message.bcc] == ["gil@example.net"]
    assert message.date == datetime(2026, 3, 5, 9, 0, tzinfo=UTC)
    assert message.message_id == "1@example.com"
    assert message.in_reply_to == ("0@example.com",)
    assert message.references == ("00@example.com", "0@example.com")
    assert message.text == "plain å\n"
    assert message.html == "<p>html å<img src=cid:logo></p>\n"
    assert [
        (one.name, one.content_type, one.content_id, one.data)
        for one in message.embedded
    ] == [("logo.png", "image/png", "logo", b"PNG")]
    assert [(one.name, one.content_type) for one in message.attachments] == [
        ("Übung.pdf", "application/pdf"),
        ("notes.txt", "text/plain"),
        (None, "message/rfc822"),
    ]
    assert message.attachments[0].data == b"\x00\x01"
    assert message.attachments[1].data == b"notes\r\n"
    assert parse_message(message.attachments[2].data).subject == "inner"
    assert message.defects == ()
    assert message.octets == octets


def test_what_is_missing_is_empty() -> None:
    message = parse_message(b"\r\n")
    assert (message.subject, message.text, message.html) == ("", "", "")
    for addresses in (message.from_, message.reply_to, message.to, message.cc):
        assert addresses == ()
    assert (message.bcc, message.in_reply_to, message.references) == ((), (), ())
    assert (message.sender, message.date, message.message_id) == (None, None, None)
    assert (message.attachments, message.embedded, message.resent) == ((), (), ())
    assert message.hops == 0
    assert message.defects == ("no From field", "no Date field")


def test_what_follows_from_other_fields() -> None:
    message = parse_message(b"From: a@b.c\r\n\r\n")
    assert message.sender == Address("", "a@b.c")
    assert message.reply_to == message.from_
    assert parse_message(b"From: a@b.c, d@e.f\r\n\r\n").sender is None


def test_fields_that_come_twice_are_joined_or_the_first_counts() -> None:
    message = parse_message(
        b"To: a@b.c\r\nTo: d@e.f\r\nSubject: 1\r\nSubject: 2\r\n\r\n"
    )
    assert [one.address for one in message.to] == ["a@b.c", "d@e.f"]
    assert message.subject == "1"
    assert "more than one To field" in message.defects
    assert "more than one Subject field" in message.defects


@pytest.mark.parametrize(
    ("octets", "defect"),
    [
        (b"Date: soon\r\n", "bad date"),
        (b"From: a b@c.d\r\n", "bad address 'a b@c.d'"),
        (b"Subject: =?utf-8?q?a=0D=0ABcc:?=\r\n", "a control character in the subject"),
        (b"none\r\n", "no empty line between header and body"),
        (b"Content-Type: text/plain; charset=x\r\n", "unknown charset 'x'"),
    ],
)
def test_defects(octets: bytes, defect: str) -> None:
    assert defect in parse_message(octets + b"\r\n\xe5").defects


RESENT = (
    b"Received: 3\r\n"
    b"Resent-Date: Thu, 5 Mar 2026 12:00:00 +0000\r\nResent-From: c@x.y\r\n"
    b"Resent-To: d@x.y\r\nResent-Message-ID: <2@x.y>\r\n"
    b"Resent-From: a@x.y, aa@x.y\r\nResent-Sender: s@x.y\r\nResent-To: b@x.y\r\n"
    b"Received: 2\r\n"
    b"Resent-Cc: e@x.y\r\nResent-Bcc: f@x.y\r\n"
    b"Received: 1\r\nFrom: o@x.y\r\n\r\n"
)


def test_each_time_it_was_resent() -> None:
    message = parse_message(RESENT)
    last, before, first = message.resent
    assert last.date == datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
    assert last.from_ == (Address("", "c@x.y"),)
    assert last.sender == Address("", "c@x.y")
    assert last.to == (Address("", "d@x.y"),)
    assert last.message_id == "2@x.y"
    assert (before.date, before.message_id) == (None, None)
    assert before.sender == Address("", "s@x.y")
    assert (first.cc, first.bcc) == ((Address("", "e@x.y"),), (Address("", "f@x.y"),))
    assert first.sender is None
    assert message.hops == 3


@pytest.mark.parametrize(
    ("field", "is_automatic"),
    [
        (b"Auto-Submitted: auto-replied", True),
        (b"Auto-Submitted: No", False),
        (b"Precedence: Bulk", True),
        (b"Precedence: first", False),
        (b"List-Id: <x.y>", True),
        (b"X: y", False),
    ],
)
def test_what_programs_made(field: bytes, is_automatic: bool) -> None:
    assert parse_message(field + b"\r\n\r\n").is_automatic is is_automatic


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("Thu, 5 Mar 2026 10:00:00 +0100", datetime(2026, 3, 5, 9, tzinfo=UTC)),
        ("5 Mar 26 10:00 GMT", datetime(2026, 3, 5, 10, tzinfo=UTC)),
        ("5 Mar 2026 10:00:00 -0000", datetime(2026, 3, 5, 10, tzinfo=UTC)),
        ("5 Mar 2026 10:00:00 EST (x)", datetime(2026, 3, 5, 15, tzinfo=UTC)),
        ("", None),
        ("32 Mar 2026 10:00:00 +0000", None),
        ("5 Mar 2026 10:00:00 +9999999999", None),
        ("5 Mar 99999999999 10:00:00 +0000", None),
        ("1 Jan 1000 00:00:00 +2359", datetime(999, 12, 31, 0, 1, tzinfo=UTC)),
        ("31 Dec 9999 23:59:59 -2359", None),
        (
            "5 Mar 2026 10:00:00 +0000" + " " * 99999,
            datetime(2026, 3, 5, 10, 0, 0, 0, UTC),
        ),
        ("\ud800 Mar", None),
    ],
)
def test_dates(text: str, date: datetime | None) -> None:
    assert parse_date(text) == date


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.txt", "a.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\a.txt", "a.txt"),
        ("..", "attachment"),
        ("/", "attachment"),
        (".bashrc", "bashrc"),
        ("a. .", "a"),
        ("CON", "attachment_CON"),
        ("nul.txt", "attachment_nul.txt"),
        ("a\x00\x1bb", "a__b"),
        ("a:b|c", "a_b_c"),
        ("\u202egnp.exe", "_gnp.exe"),
        ("å" * 200, "å" * 127),
    ],
)
def test_names_to_store_files_under(name: str, safe: str) -> None:
    octets = b'Content-Disposition: attachment; filename="%b"\r\n\r\n'
    written = name.replace("\\", "\\\\").encode()
    message = parse_message(octets % written)
    assert message.attachments[0].name == name
    assert message.attachments[0].safe_name == safe
    assert repr(message.attachments[0]) == f"<Attachment {name!r} text/plain>"


def test_a_file_without_a_name_has_a_safe_one() -> None:
    message = parse_message(b"Content-Type: image/png\r\n\r\nx")
    assert message.attachments[0].safe_name == "attachment"
    assert message.attachments[0].data == b"x"
    assert message.text == ""


@pytest.mark.parametrize(
    ("head", "where"),
    [
        (b"Content-Type: text/plain", "text"),
        (b"Content-Type: text/html", "html"),
        (b"Content-Type: nonsense", "text"),
        (b"Content-Type: multipart/mixed", "text"),
        (b"Content-Type: text/html; name=a", "attachments"),
        (b"Content-Type: text/plain\r\nContent-Disposition: inline", "text"),
        (b"Content-Type: text/plain\r\nContent-Disposition: attachment", "attachments"),
        (b"Content-Type: text/calendar", "attachments"),
        (b"Content-Type: image/png\r\nContent-ID: <a>", "embedded"),
        (
            b"Content-Type: image/png\r\nContent-ID: <a>\r\n"
            b"Content-Disposition: attachment",
            "attachments",
        ),
        (b"Content-Type: image/png\r\nContent-ID: <>", "attachments"),
    ],
)
def test_where_a_part_goes(head: bytes, where: str) -> None:
    message = parse_message(head + b"\r\n\r\nx")
    found = {
        "text": message.text,
        "html": message.html,
        "attachments": message.attachments,
        "embedded": message.embedded,
    }
    assert [name for name, value in found.items() if value] == [where]


def test_texts_of_several_parts_are_joined() -> None:
    part = b"--x\r\n\r\n%b\r\n"
    message = parse_message(
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + part % b"a" + part % b"b"
    )
    assert message.text == "a\nb\n"


@given(st.text("<> a@\t", max_size=30))
def test_ids_are_found(text: str) -> None:
    ids = parse_message(f"References: {text}\r\n\r\n".encode()).references
    assert all(one and not set(one) & set(" \t") for one in ids)


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"X: a\r\nY: b\r\n\r\nX: c\r\n", b"Y: b\r\n\r\nX: c\r\n"),
        (b"x: a\r\n\tb\r\nY: b\r\nX : c\r\n", b"Y: b\r\n"),
        (b"Not-X: a\r\nX: a\r\n", b"Not-X: a\r\n"),
        (b"From b Mon X: a\nX: a\nY: b\n\nbody", b"From b Mon X: a\nY: b\n\nbody"),
        (b"no field\r\nX: a\r\n", b"no field\r\nX: a\r\n"),
        (b"\r\nX: a\r\n", b"\r\nX: a\r\n"),
        (b"", b""),
    ],
)
def test_a_message_without_some_fields(octets: bytes, expected: bytes) -> None:
    message = parse_message(octets)
    assert message.without(lambda one: one.name.lower() == "x") == expected
    assert message.without(lambda _: False) == octets


def test_fields_beyond_the_limit_stay() -> None:
    octets = b"X: a\r\n" * 10_002 + b"\r\nbody"
    message = parse_message(octets)
    assert message.without(lambda _: True) == b"X: a\r\n" * 2 + b"\r\nbody"

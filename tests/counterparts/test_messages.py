"""The messages of a library that parses what it receives, read with this one.

docs/reference/counterparts.md names these tests.
"""

from __future__ import annotations

from datetime import UTC, datetime

import smtpx

MESSAGE = b"""\
Resent-From: d@example.com
Resent-Sender: e@example.com
Resent-To: f@example.com
Resent-Date: Mon, 02 Nov 2026 08:00:00 +0000
Resent-Cc: g@example.com
Resent-Bcc: h@example.com
Resent-Message-ID: <resent@example.com>
Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=
Sender: s@example.com
From: Ann <ann@example.com>, b@example.com
Reply-To: r@example.com
To: t@example.com
Cc: c@example.com
Bcc: x@example.com
Date: Sun, 01 Nov 2026 10:00:00 +0000
Message-ID: <one@example.com>
In-Reply-To: <zero@example.com>
References: <zero@example.com> <minus@example.com>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=o

--o
Content-Type: multipart/alternative; boundary=i

--i
Content-Type: text/plain

hello
--i
Content-Type: text/html

<p>hello <img src="cid:logo"></p>
--i--
--o
Content-Type: image/png
Content-ID: <logo>
Content-Disposition: inline
Content-Transfer-Encoding: base64

iVBORw0=
--o
Content-Type: application/pdf
Content-Disposition: attachment; filename="a.pdf"
Content-Transfer-Encoding: base64

JVBERg==
--o--
""".replace(b"\n", b"\r\n")


def emails(addresses: tuple[smtpx.Address, ...]) -> list[str]:
    return [one.address for one in addresses]


def test_fields_of_an_email() -> None:
    """Email: a field for each header field that RFC 5322 defines."""
    message = smtpx.parse_message(MESSAGE)
    assert message.header.first("subject") is not None
    assert message.subject == "gr\u00fc\u00dfe"
    assert message.sender is not None
    assert message.sender.address == "s@example.com"
    assert [one.name for one in message.from_] == ["Ann", ""]
    assert emails(message.from_) == ["ann@example.com", "b@example.com"]
    assert emails(message.reply_to) == ["r@example.com"]
    assert emails(message.to) == ["t@example.com"]
    assert emails(message.cc) == ["c@example.com"]
    assert emails(message.bcc) == ["x@example.com"]
    assert message.date == datetime(2026, 11, 1, 10, tzinfo=UTC)
    assert message.message_id == "one@example.com"
    assert message.in_reply_to == ("zero@example.com",)
    assert message.references == ("zero@example.com", "minus@example.com")


def test_resent_fields_of_an_email() -> None:
    (resent,) = smtpx.parse_message(MESSAGE).resent
    assert emails(resent.from_) == ["d@example.com"]
    assert resent.sender is not None
    assert resent.sender.address == "e@example.com"
    assert emails(resent.to) == ["f@example.com"]
    assert resent.date == datetime(2026, 11, 2, 8, tzinfo=UTC)
    assert emails(resent.cc) == ["g@example.com"]
    assert emails(resent.bcc) == ["h@example.com"]
    assert resent.message_id == "resent@example.com"


def test_bodies_and_files_of_an_email() -> None:
    """HTMLBody, TextBody, Attachments, EmbeddedFiles, ContentType, Content."""
    message = smtpx.parse_message(MESSAGE)
    assert message.root.content_type == "multipart/mixed"
    assert message.octets == MESSAGE
    assert message.text.strip() == "hello"
    assert message.html.strip().startswith("<p>hello")
    (attachment,) = message.attachments
    assert (attachment.name, attachment.content_type) == ("a.pdf", "application/pdf")
    assert attachment.data == b"%PDF"
    (embedded,) = message.embedded
    assert (embedded.content_id, embedded.content_type) == ("logo", "image/png")
    assert embedded.data == b"\x89PNG\r"


def test_split_address() -> None:
    parts = smtpx.split_address("user+tag@example.com")
    assert (parts.user, parts.tag, parts.domain) == ("user", "tag", "example.com")

"""The inbox of a test: waiting, assertions, and what they say when they fail."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

import pytest

from smtpx.net.tls import TLSInfo
from smtpx.testing.inbox import (
    MAX_MESSAGES,
    PATIENCE_SECONDS,
    Inbox,
    InboxFull,
    ReceivedMail,
)
from smtpx.wire.address import Mailbox
from smtpx.wire.envelope import Envelope, Recipient

if TYPE_CHECKING:
    from collections.abc import Callable

ORDER = (
    b"From: Shop <shop@a.test>\r\nTo: bob@b.test\r\nX-Campaign: spring\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="="\r\n\r\n'
    b"--=\r\nContent-Type: text/plain\r\n\r\nThank you\r\n"
    b"--=\r\nContent-Type: text/html\r\n\r\n<p>Thanks</p>\r\n"
    b"--=\r\nContent-Type: image/png\r\nContent-Disposition: attachment; filename=x.png"
    b"\r\n\r\nPNG\r\n--=--\r\n"
)


def received(
    octets: bytes = ORDER,
    *,
    sender: str = "shop@a.test",
    to: tuple[str, ...] = ("bob@b.test", "eve@b.test"),
    tls: TLSInfo | None = None,
    user: str | None = None,
) -> ReceivedMail:
    return ReceivedMail(
        octets=octets,
        envelope=Envelope(
            Mailbox.parse(sender) if sender else None,
            recipients=[Recipient(Mailbox.parse(one)) for one in to],
        ),
        hello_name="client.test",
        protocol="ESMTP",
        tls=tls,
        user=user,
        session_id="1",
    )


def filled(*mails: ReceivedMail, max_messages: int = MAX_MESSAGES) -> Inbox:
    inbox = Inbox(max_messages=max_messages)
    for mail in mails:
        inbox.add(mail)
    return inbox


def failure(call: Callable[[], object]) -> list[str]:
    with pytest.raises(AssertionError) as raised:
        call()
    return str(raised.value).splitlines()


def test_a_message_is_read_in_both_ways() -> None:
    mail = received()
    assert mail.sender == "shop@a.test"
    assert mail.recipients == ("bob@b.test", "eve@b.test")
    assert mail.message.subject == "Grüße"
    assert mail.email["Subject"] == "Grüße"
    assert str(mail) == "<shop@a.test> to bob@b.test, eve@b.test: 'Grüße'"
    assert received(sender="").sender == ""


def test_an_inbox_is_a_sequence_that_is_never_false() -> None:
    first, second = received(), received()
    inbox = filled(first, second)
    assert inbox.messages == (first, second)
    assert list(inbox) == [first, second]
    assert inbox[-1] is second
    assert repr(inbox) == "<Inbox with 2 messages>"
    inbox.clear()
    assert len(inbox) == 0
    assert inbox


def test_it_holds_so_many_and_no_more() -> None:
    inbox = filled(received(), received(), max_messages=2)
    with pytest.raises(InboxFull):
        inbox.add(received())
    assert len(inbox) == 2
    inbox.clear()
    inbox.add(received())
    assert MAX_MESSAGES == 10_000


MATCHING: list[dict[str, Any]] = [
    {},
    {"to": "bob@b.test"},
    {"to": ["eve@b.test", "bob@b.test"]},
    {"sender": "shop@a.test"},
    {"subject": "Grüße"},
    {"subject": re.compile("^Gr")},
    {"text": "Thank"},
    {"text": re.compile(r"you$", re.MULTILINE)},
    {"html": "<p>"},
    {"headers": {"x-campaign": "spring", "To": "bob@b.test"}},
    {"attachment": "x.png"},
    {"user": None},
    {"tls": False},
    {"where": lambda mail: mail.hello_name == "client.test"},
]


@pytest.mark.parametrize("expected", MATCHING)
def test_what_is_as_expected(expected: dict[str, Any]) -> None:
    mail = received()
    inbox = filled(mail)
    assert inbox.assert_sent(**expected) is mail
    assert inbox.assert_sent(count=1, **expected) is mail
    with pytest.raises(AssertionError):
        inbox.assert_not_sent(**expected)


DIFFERENT: list[tuple[dict[str, Any], str]] = [
    ({"to": "x@b.test"}, "it went to bob@b.test, eve@b.test"),
    ({"to": ("bob@b.test", "x@b.test")}, "it went to bob@b.test, eve@b.test"),
    ({"sender": "shop"}, "sender is 'shop@a.test'"),
    ({"sender": ""}, "sender is 'shop@a.test'"),
    ({"subject": "Gr"}, "subject is 'Grüße'"),
    ({"subject": re.compile("x")}, "subject is 'Grüße'"),
    ({"text": "thank"}, "text is 'Thank you'"),
    ({"html": "<b>"}, "html is '<p>Thanks</p>'"),
    ({"headers": {"X-Campaign": "autumn"}}, "header X-Campaign is 'spring'"),
    ({"headers": {"X-Nope": "1"}}, "header X-Nope is missing"),
    ({"attachment": "y.png"}, "attachments are 'x.png'"),
    ({"user": "ann"}, "the client did not authenticate"),
    ({"tls": True}, "it came in plaintext"),
    ({"where": lambda _: False}, "the function of where= says no"),
]


@pytest.mark.parametrize(("expected", "difference"), DIFFERENT)
def test_what_differs_is_told(expected: dict[str, Any], difference: str) -> None:
    inbox = filled(received())
    lines = failure(lambda: inbox.assert_sent(**expected))
    name = next(iter(expected))
    assert lines[0].startswith(f"a message with {name}=")
    assert lines[0].endswith(" should have been sent")
    assert lines[1] == "1 message came:"
    assert lines[2] == "  1. <shop@a.test> to bob@b.test, eve@b.test: 'Grüße'"
    assert [line.strip() for line in lines[3:]] == [difference]
    inbox.assert_not_sent(**expected)


def test_what_differs_of_who_came_over_tls() -> None:
    inbox = filled(
        received(b"Subject: x\r\n\r\n", tls=TLSInfo("TLSv1.3", "x", 256), user="ann")
    )
    inbox.assert_sent(tls=True, user="ann")
    lines = failure(lambda: inbox.assert_sent(tls=False, user=None, attachment="x"))
    assert [line.strip() for line in lines[3:]] == [
        "it came over TLS",
        "the client is user 'ann'",
        "attachments are missing",
    ]


def test_counts_are_exact() -> None:
    inbox = filled(received(), received(sender="x@a.test"))
    inbox.assert_sent(count=2)
    lines = failure(lambda: inbox.assert_sent(count=1))
    assert lines[0] == "1 message at all should have been sent, not 2"
    lines = failure(lambda: inbox.assert_sent(count=2, sender="x@a.test"))
    assert lines[0] == "2 messages with sender='x@a.test' should have been sent, not 1"
    with pytest.raises(ValueError, match="use assert_not_sent"):
        inbox.assert_sent(count=0)


def test_an_empty_inbox_says_so() -> None:
    inbox = Inbox()
    inbox.assert_not_sent()
    assert failure(inbox.assert_sent) == [
        "a message at all should have been sent",
        "no message came",
    ]


def test_that_none_should_have_been_sent_lists_those_alone() -> None:
    inbox = filled(received(), received(sender="x@a.test"))
    lines = failure(lambda: inbox.assert_not_sent(sender="x@a.test"))
    assert lines[0] == "no message with sender='x@a.test' should have been sent"
    assert lines[1] == "1 message came:"
    assert "<x@a.test>" in lines[2]


def test_long_texts_and_many_messages_are_cut() -> None:
    long = b"Subject: x\r\n\r\n" + b"a" * 201 + b"\r\n"
    inbox = filled(*[received(long)] * 11)
    lines = failure(lambda: inbox.assert_sent(text="b"))
    assert lines[1:3] == ["11 messages came:", "  ... 1 before these"]
    assert lines[3].startswith("  2. ")
    assert lines[4].strip() == f"text is '{'a' * 200}'... (202 characters)"
    assert lines[-2].startswith("  11. ")


def test_a_word_that_nobody_knows_is_an_error() -> None:
    inbox = filled(received())
    unknown: dict[str, Any] = {"body": "x"}
    with pytest.raises(TypeError, match=r"no body can be expected.*subject, text"):
        inbox.assert_sent(**unknown)
    with pytest.raises(TypeError, match="no body"):
        inbox.assert_not_sent(**unknown)


class LaterInbox(Inbox):
    """Gets its messages only when somebody waits."""

    def __init__(self, *mails: ReceivedMail) -> None:
        super().__init__()
        self.mails = mails
        self.sender = threading.Thread(target=self.add_all)

    def add_all(self) -> None:
        for mail in self.mails:
            self.add(mail)

    def __enter__(self) -> LaterInbox:
        self.sender.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.sender.join()


def test_waiting_ends_when_so_many_are_there() -> None:
    mails = [received(), received(sender="x@a.test"), received(sender="x@a.test")]
    with LaterInbox(*mails) as inbox:
        found = inbox.wait_for(2, lambda mail: mail.sender == "x@a.test")
        assert found == tuple(mails[1:])
        assert inbox.wait_for(3) == tuple(mails)
        assert len(inbox.wait_for()) >= 1


@pytest.mark.parametrize("way", ["wait_for", "assert_sent"])
def test_who_waits_is_woken(way: str) -> None:
    inbox = Inbox()
    is_asked = threading.Event()

    def predicate(_: ReceivedMail) -> bool:
        is_asked.set()
        return len(inbox.messages) == 2

    def wait() -> None:
        # An hour: who is not woken is found out sooner.
        if way == "wait_for":
            inbox.wait_for(2, predicate, timeout=3600)
        else:
            inbox.assert_sent(where=predicate, timeout=3600)

    inbox.add(received())
    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    # From here on it holds the lock, or waits.
    assert is_asked.wait(PATIENCE_SECONDS)
    inbox.add(received())
    waiter.join(PATIENCE_SECONDS)
    assert not waiter.is_alive()


def test_an_assertion_can_wait() -> None:
    with LaterInbox(received(), received(sender="x@a.test")) as inbox:
        assert inbox.assert_sent(sender="x@a.test", timeout=5).sender == "x@a.test"
        inbox.assert_sent(count=2, timeout=5)


def test_waiting_in_vain_tells_what_came() -> None:
    inbox = filled(received())
    lines = failure(lambda: inbox.wait_for(2, timeout=0))
    assert lines[0] == "2 messages were to come within 0 s, 1 did"
    assert lines[2].startswith("  1. <shop@a.test>")
    lines = failure(lambda: inbox.wait_for(1, lambda _: False, timeout=0))
    assert lines[0] == "1 message that fit were to come within 0 s, 0 did"

"""Who a message is from and to, by its own fields."""

from __future__ import annotations

import email
from email.message import EmailMessage, Message

import pytest

from smtpx.client.message_addresses import addresses_of, recipients_of, sender_of
from smtpx.errors import BadAddress
from tests.client.messages import simple


def test_sender_goes_before_from() -> None:
    message = simple(From="a@a.test, c@a.test", Sender="s@a.test")
    assert sender_of(message) == "s@a.test"
    del message["Sender"]
    with pytest.raises(ValueError, match=r"2 addresses in From .* add a Sender field"):
        sender_of(message)


def test_two_from_fields_name_no_sender() -> None:
    message = email.message_from_bytes(
        b"From: a@a.test\r\nFrom: c@a.test\r\nTo: b@b.test\r\n\r\nx\r\n"
    )
    with pytest.raises(ValueError, match="or give the sender"):
        sender_of(message)
    message["Sender"] = "s@a.test"
    assert sender_of(message) == "s@a.test"
    message["Sender"] = "t@a.test"
    with pytest.raises(ValueError, match="leave one"):
        sender_of(message)


def test_the_same_address_twice_is_one() -> None:
    assert sender_of(simple(From="a@a.test, A <a@a.test>")) == "a@a.test"


def test_two_resent_from_addresses_want_a_resent_sender() -> None:
    message = simple(
        Resent_Date="Mon, 1 Jan 2024 00:00:00 +0000", Resent_From="r@a.test, q@a.test"
    )
    with pytest.raises(ValueError, match="add a Resent-Sender field"):
        sender_of(message)


def test_recipients_come_once_and_in_order() -> None:
    message = simple(
        To="b@b.test, Team: c@c.test, d@d.test;", Cc="b@b.test", Bcc="e@e.test"
    )
    assert recipients_of(message) == ["b@b.test", "c@c.test", "d@d.test", "e@e.test"]


def test_resent_fields_are_preferred() -> None:
    message = simple(
        Resent_Date="Mon, 1 Jan 2024 00:00:00 +0000",
        Resent_From="r@a.test",
        Resent_To="x@x.test",
        Resent_Bcc="y@x.test",
    )
    assert addresses_of(message) == ("r@a.test", ["x@x.test", "y@x.test"])
    message["Resent-Sender"] = "s@a.test"
    assert sender_of(message) == "s@a.test"


def test_message_resent_twice_is_ambiguous() -> None:
    message = email.message_from_string(
        "Resent-Date: Mon, 1 Jan 2024 00:00:00 +0000\n"
        "Resent-Date: Mon, 1 Jan 2024 00:00:00 +0000\nFrom: a@a.test\n\nx"
    )
    with pytest.raises(ValueError, match="more than once"):
        sender_of(message)


def test_missing_fields() -> None:
    message = EmailMessage()
    with pytest.raises(ValueError, match="no From"):
        sender_of(message)
    with pytest.raises(ValueError, match="no To, Cc or Bcc"):
        recipients_of(message)


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ('"a, b" <b@b.test>', ["b@b.test"]),
        ('"evil@x.test" <b@b.test>', ["b@b.test"]),
        ("b@b.test (evil@x.test)", ["b@b.test"]),
        ('"two words"@b.test', ['"two words"@b.test']),
    ],
)
def test_display_names_are_no_addresses(text: str, addresses: list[str]) -> None:
    assert recipients_of(simple(To=text)) == addresses


@pytest.mark.parametrize("text", ["<b@b.test> evil@x.test", "b@b.test c@c.test", "b@"])
def test_malformed_addresses_are_refused(text: str) -> None:
    message = Message()
    message["To"] = text
    with pytest.raises(BadAddress):
        recipients_of(message)

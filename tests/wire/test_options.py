"""Options: frozen values that survive copying, pickling and replacing."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from datetime import UTC, datetime

import pytest

from smtpx.wire.options import (
    DEFAULT_MAIL_OPTIONS,
    DEFAULT_RCPT_OPTIONS,
    ByMode,
    DeliverBy,
    MailOptions,
    NoSupportAction,
    OriginalRecipient,
    RcptOptions,
    ValidSince,
)


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


def test_defaults_of_values() -> None:
    assert DeliverBy(1, ByMode.NOTIFY) == DeliverBy(1, ByMode.NOTIFY, is_traced=False)
    since = datetime(2014, 4, 3, tzinfo=UTC)
    assert ValidSince(since).action is NoSupportAction.REJECT

"""Events: values, and none of them shows a password."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest

from smtpx.core import events
from smtpx.sasl.mechanism import CheckPassword
from tests.core.machines import ANSWERED

ALL = [getattr(events, name) for name in events.__all__ if name != "Event"]


def test_every_event_is_of_the_union() -> None:
    assert set(get_args(events.Event)) == set(ALL)


@pytest.mark.parametrize("kind", ALL)
def test_events_are_values(kind: type) -> None:
    arguments = [None] * len(dataclasses.fields(kind))
    event = kind(*arguments)
    assert event == kind(*arguments)
    assert hash(event) == hash(kind(*arguments))
    for position in range(len(arguments)):
        others: list[object] = [*arguments]
        others[position] = "another"
        assert event != kind(*others)
    with pytest.raises(AttributeError):
        event.anything = 1


def test_a_question_does_not_show_the_password() -> None:
    event = events.AuthQuestion(CheckPassword("tim", "secret", ""))
    assert "secret" not in repr(event)
    assert "tim" in repr(event)


def test_what_informs_only() -> None:
    assert set(ALL) - set(ANSWERED) == {
        events.BodyReceived,
        events.MessageAborted,
        events.CommandAnswered,
        events.CommandRefused,
        events.AuthRefused,
        events.ConnectionEnded,
    }

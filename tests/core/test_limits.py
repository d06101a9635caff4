"""Limits: all on by default, none of them zero."""

from __future__ import annotations

import dataclasses

import pytest

from smtpx.core.limits import DEFAULT_LIMITS, Limits

NAMES = [field.name for field in dataclasses.fields(Limits)]


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_is_at_least_one(name: str) -> None:
    assert getattr(Limits(**{name: 1}), name) == 1
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        Limits(**{name: 0})


def test_what_the_rfcs_demand_at_least() -> None:
    # RFC 5321 section 4.5.3.1, RFC 4954 section 4.
    assert DEFAULT_LIMITS.max_command_octets >= 512 + 500
    assert DEFAULT_LIMITS.max_auth_octets == 12_288
    assert DEFAULT_LIMITS.max_recipients >= 100
    assert DEFAULT_LIMITS.max_message_octets is not None
    assert DEFAULT_LIMITS.max_message_octets >= 64 * 1024
    assert DEFAULT_LIMITS.max_message_line_octets is None


def test_a_message_may_be_without_limit() -> None:
    assert Limits(max_message_octets=None).max_message_octets is None

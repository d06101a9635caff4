"""What the back ends of Django and Flask share: settings, and pools by settings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from smtpx.app.backend import (
    MAX_POOLS,
    MailSettings,
    address_of,
    close_pools,
    shared_pool,
)
from smtpx.client.options import ClientOptions, Timeouts, TLSMode
from smtpx.errors import BadAddress

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_pools() -> Iterator[None]:
    close_pools()
    yield
    close_pools()


def options_of(settings: MailSettings) -> ClientOptions:
    return settings.make_pool()._client_options


@pytest.mark.parametrize(
    ("settings", "where", "tls"),
    [
        (MailSettings(), "localhost:25", TLSMode.NEVER),
        (MailSettings(use_tls=True, port=587), "localhost:587", TLSMode.REQUIRED),
        (MailSettings(use_ssl=True, port=465), "localhost:465", TLSMode.IMPLICIT),
        (MailSettings(host="::1", port=2525), "[::1]:2525", TLSMode.NEVER),
        (MailSettings(url="smtp://mx.test:587"), "mx.test:587", None),
        (
            MailSettings(client_options=ClientOptions(tls=TLSMode.OPPORTUNISTIC)),
            "localhost:25",
            TLSMode.OPPORTUNISTIC,
        ),
    ],
)
def test_settings_lead_to_a_pool(
    settings: MailSettings, where: str, tls: TLSMode | None
) -> None:
    assert where in repr(settings.make_pool())
    assert options_of(settings).tls is tls


def test_both_kinds_of_tls_are_refused() -> None:
    with pytest.raises(ValueError, match="not both"):
        MailSettings(use_tls=True, use_ssl=True)


def test_a_timeout_leaves_the_last_reply_its_time() -> None:
    """Who gives up before it does not know whether the message was delivered."""
    timeouts = options_of(MailSettings(timeout=7)).timeouts
    assert (timeouts.connect, timeouts.greeting, timeouts.data_block) == (7, 7, 7)
    assert timeouts.data_end == Timeouts().data_end
    assert options_of(MailSettings()).timeouts == Timeouts()


def test_a_certificate_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        MailSettings(certificate="/nowhere", use_tls=True).make_pool()


def test_no_password_is_shown() -> None:
    settings = MailSettings(user="user", password="secret", url="smtp://u:secret@h")
    assert "secret" not in f"{settings!r} {settings.make_pool()!r}"


def test_equal_settings_share_a_pool() -> None:
    first = shared_pool(MailSettings(port=2525))
    assert shared_pool(MailSettings(port=2525)) is first
    assert shared_pool(MailSettings(port=2526)) is not first
    close_pools()
    assert shared_pool(MailSettings(port=2525)) is not first


@pytest.mark.parametrize("others", [MAX_POOLS - 1, MAX_POOLS])
def test_the_pool_that_was_used_least_makes_room(others: int) -> None:
    first = shared_pool(MailSettings(port=1))
    for port in range(2, others + 2):
        shared_pool(MailSettings(port=port))
    is_closed = "closed" in repr(first)
    assert is_closed is (others == MAX_POOLS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ann@example.com", "ann@example.com"),
        ("Ann <ann@example.com>", "ann@example.com"),
        ('"Ann, B." <ann@example.com>', "ann@example.com"),
        ("Grå <grå@bücher.test>", "grå@bücher.test"),
    ],
)
def test_address(text: str, expected: str) -> None:
    assert address_of(text) == expected


@pytest.mark.parametrize(
    "text", ["", "ann", "Ann", "a@b.test\r\nBcc: x@y.test", "a@b.test\n", "\0a@b.test"]
)
def test_no_address(text: str) -> None:
    with pytest.raises(BadAddress):
        address_of(text)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_can_send() -> None:
    """Also if a thread of the parent held the lock."""
    from smtpx.app import backend  # noqa: PLC0415

    with backend._pools._lock:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                shared_pool(MailSettings())
                status = 0
            finally:
                os._exit(status)
    assert os.waitpid(child, 0)[1] == 0

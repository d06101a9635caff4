"""Which address is tried, and when: Happy Eyeballs with numbers for a clock."""

from __future__ import annotations

import errno
import socket

import pytest

from smtpx.net.addresses import (
    ATTEMPT_DELAY_SECONDS,
    MAX_ADDRESSES,
    Endpoint,
    Race,
    endpoint_of_ip,
    endpoints_of,
    interleave,
    known_endpoints,
    make_socket,
    usable_from,
)

SIX, FOUR = int(socket.AF_INET6), int(socket.AF_INET)
SIXES = [Endpoint(SIX, (f"2001:db8::{number}", 25)) for number in range(1, 4)]
FOURS = [Endpoint(FOUR, (f"192.0.2.{number}", 25)) for number in range(1, 4)]
REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
UNREACHABLE = OSError(errno.ENETUNREACH, "no route")


def test_families_take_turns_beginning_with_the_best() -> None:
    expected = [SIXES[0], FOURS[0], SIXES[1], FOURS[1], SIXES[2], FOURS[2]]
    assert interleave([*SIXES, *FOURS]) == expected
    assert interleave([*FOURS[:1], *SIXES]) == [FOURS[0], *SIXES]
    assert interleave(FOURS) == FOURS


@pytest.mark.parametrize("extra", [0, 1])
def test_addresses_are_limited(extra: int) -> None:
    found = [
        Endpoint(FOUR, (f"192.0.2.{number}", 25))
        for number in range(MAX_ADDRESSES + extra)
    ]
    assert interleave(found) == found[:MAX_ADDRESSES]


def test_the_next_attempt_begins_after_a_delay() -> None:
    race = Race(FOURS)
    assert race.start(100.0) == FOURS[0]
    assert race.start(100.0) is None
    assert race.seconds_to_next(100.1) == pytest.approx(0.15)
    assert race.start(100.24) is None
    assert race.start(100.0 + ATTEMPT_DELAY_SECONDS) == FOURS[1]
    assert race.seconds_to_next(101.0) == 0.0
    assert race.start(200.0) == FOURS[2]
    assert race.seconds_to_next(200.0) is None
    assert race.start(300.0) is None


def test_the_next_attempt_begins_at_once_when_one_failed() -> None:
    race = Race(FOURS)
    race.start(100.0)
    race.fail(REFUSED)
    assert race.seconds_to_next(100.0) == 0.0
    assert race.start(100.0) == FOURS[1]
    assert race.start(100.0) is None


def test_what_a_server_said_counts_more_than_what_this_host_lacks() -> None:
    for errors in ([UNREACHABLE, REFUSED], [REFUSED, UNREACHABLE]):
        race = Race([SIXES[0], FOURS[0]])
        for error in errors:
            race.start(0.0)
            race.fail(error)
        assert race.error is REFUSED
    race = Race(SIXES[:1])
    race.start(0.0)
    race.fail(UNREACHABLE)
    assert race.error is UNREACHABLE


def test_only_one_family_is_reached_from_a_local_address() -> None:
    both = [*SIXES, *FOURS]
    assert usable_from(both, None, "mx.test") == both
    assert usable_from(both, "192.0.2.99", "mx.test") == FOURS
    assert usable_from(both, "fe80::1%lo", "mx.test") == SIXES
    with pytest.raises(OSError, match=r"no address to reach from 2001:db8::99"):
        usable_from(FOURS, "2001:db8::99", "mx.test")
    for local_address in (None, "192.0.2.99"):
        with pytest.raises(OSError, match=r"mx\.test has no address"):
            usable_from([], local_address, "mx.test")
    with pytest.raises(ValueError, match="eth0"):
        usable_from(FOURS, "eth0", "mx.test")


def test_what_the_system_found_is_taken_once() -> None:
    found = [
        (socket.AF_INET, kind, 6, "", ("192.0.2.1", 25))
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
    ]
    assert endpoints_of(found) == FOURS[:1]


def test_known_addresses_need_no_system() -> None:
    assert known_endpoints("mx.test", 25, None) is None
    assert known_endpoints("fe80::1%lo", 25, None) is None
    assert known_endpoints("192.0.2.1", 25, None) == FOURS[:1]
    known = known_endpoints("mx.test", 25, ["2001:db8::1", "192.0.2.1", "nonsense"])
    assert known == [SIXES[0], FOURS[0]]
    assert known_endpoints("mx.test", 25, []) == []
    assert endpoint_of_ip("192.0.2.1", 25) == FOURS[0]


def test_a_socket_that_cannot_be_bound_is_closed() -> None:
    with pytest.raises(OSError, match="assign"):
        make_socket(Endpoint(FOUR, ("127.0.0.1", 25)), "192.0.2.1")

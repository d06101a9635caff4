"""Counting connections: limits at n and n + 1, the allow list, and no leak."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.server.counts import ConnectionCounts
from smtpx.server.networks import Networks, network_of
from smtpx.server.options import ServerOptions
from smtpx.wire.replies import Reply

FROM_YOU = "421 4.7.0 too many connections from you"
FROM_NETWORK = "421 4.7.0 too many connections from your network"
IN_ALL = "421 4.7.0 too many connections"


def counts_of(**options: object) -> ConnectionCounts:
    return ConnectionCounts(ServerOptions(**options))  # type: ignore[arg-type]


def open_all(counts: ConnectionCounts, *hosts: str | None) -> list[str]:
    """Open connections with names 0, 1, 2...; tell those turned away by a reply."""
    begin = counts.total
    replies = [counts.open(begin + n, host) for n, host in enumerate(hosts)]
    return ["" if reply is None else str(reply) for reply in replies]


def test_one_address_at_its_limit_and_over_it() -> None:
    counts = counts_of(max_connections_per_ip=2)
    assert open_all(counts, *["192.0.2.1"] * 3) == ["", "", FROM_YOU]
    assert open_all(counts, "192.0.2.2") == [""]


def test_one_network_at_its_limit_and_over_it() -> None:
    counts = counts_of(max_connections_per_network=2)
    hosts = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.3.1"
    assert open_all(counts, *hosts) == ["", "", FROM_NETWORK, ""]


def test_an_ipv6_client_is_its_64_bits() -> None:
    counts = counts_of(max_connections_per_network=2)
    hosts = "2001:db8::1", "2001:db8::ffff:2", "2001:db8::3", "2001:db8:0:1::1"
    assert open_all(counts, *hosts) == ["", "", FROM_NETWORK, ""]


def test_networks_of_another_size() -> None:
    counts = counts_of(
        max_connections_per_network=1, ipv4_prefix_bits=32, ipv6_prefix_bits=48
    )
    assert open_all(counts, "192.0.2.1", "192.0.2.2") == ["", ""]
    assert open_all(counts, "2001:db8::1", "2001:db8:0:1::1") == ["", FROM_NETWORK]


def test_in_all_at_the_limit_and_over_it() -> None:
    counts = counts_of(max_connections=3, unlimited_networks=("192.0.2.0/24",))
    # Those without an address and those of the allow list take descriptors as well.
    assert open_all(counts, None, "192.0.2.1", "198.51.100.1") == ["", "", ""]
    assert open_all(counts, "192.0.2.2", None) == [IN_ALL, IN_ALL]


def test_an_ended_connection_makes_room() -> None:
    counts = counts_of(max_connections_per_ip=1, max_connections=1)
    assert open_all(counts, "192.0.2.1", "192.0.2.1") == ["", IN_ALL]
    assert counts.total == 2
    counts.end(1)
    assert str(counts.open("too early", "192.0.2.2")) == IN_ALL
    counts.end(0)
    # The one turned away is no obstacle, though it has not gone.
    assert counts.open("again", "192.0.2.1") is None


@pytest.mark.parametrize(("limit", "most"), [(1_000, 50), (40, 20)])
def test_a_flood_of_those_turned_away_gets_no_more_words(limit: int, most: int) -> None:
    counts = counts_of(max_connections=limit, max_connections_per_ip=1)
    assert open_all(counts, "192.0.2.1") == [""]
    assert open_all(counts, *["192.0.2.1"] * most) == [FROM_YOU] * most
    was_crowded = [counts.is_crowded]
    assert open_all(counts, "192.0.2.1") == [FROM_YOU]
    was_crowded.append(counts.is_crowded)
    # Others are let in all the same.
    others = [f"10.{n >> 8}.{n & 255}.1" for n in range(limit - 1)]
    assert set(open_all(counts, *others)) == {""}
    counts.end(1)
    assert [*was_crowded, counts.is_crowded] == [False, True, False]


def test_who_is_turned_away_does_not_shut_out_its_neighbours() -> None:
    counts = counts_of(max_connections_per_ip=1, max_connections_per_network=2)
    assert open_all(counts, *["192.0.2.1"] * 4) == ["", *[FROM_YOU] * 3]
    assert open_all(counts, "192.0.2.2", "192.0.2.3") == ["", FROM_NETWORK]


@pytest.mark.parametrize("options", ["max_connections_per_ip", "network"])
def test_the_allow_list_goes_round_the_limits_of_clients(options: str) -> None:
    name = {"network": "max_connections_per_network"}.get(options, options)
    counts = counts_of(**{name: 1, "unlimited_networks": ("192.0.2.0/25",)})
    assert open_all(counts, "192.0.2.1", "192.0.2.1", "192.0.2.1") == ["", "", ""]
    neighbour = open_all(counts, "192.0.2.129", "192.0.2.129")
    assert neighbour[0] == ""
    assert neighbour[1] in {FROM_YOU, FROM_NETWORK}


def test_allowed_clients_take_nothing_from_others() -> None:
    counts = counts_of(
        max_connections_per_network=1, unlimited_networks=("192.0.2.1/32",)
    )
    assert open_all(counts, *["192.0.2.1"] * 5) == [""] * 5
    assert open_all(counts, "192.0.2.2", "192.0.2.3") == ["", FROM_NETWORK]


def test_a_client_behind_a_proxy_counts_as_itself() -> None:
    counts = counts_of(max_connections_per_ip=1)
    assert open_all(counts, "192.0.2.1", "192.0.2.2") == ["", ""]
    assert counts.move(0, "198.51.100.1") is None
    # The proxy's own address is free again, the client's is not.
    assert counts.open("other", "192.0.2.1") is None
    refusal = counts.move("other", "198.51.100.1")
    assert isinstance(refusal, Reply)
    assert str(refusal) == FROM_YOU
    assert counts.total == 3


def test_the_end_of_what_does_not_count_changes_nothing() -> None:
    counts = counts_of(max_connections_per_ip=1)
    counts.open(1, "192.0.2.1")
    counts.end(2)
    counts.end(1)
    counts.end(1)
    assert counts.total == 0
    assert counts.open(3, "192.0.2.1") is None
    assert counts.open(4, "192.0.2.1") is not None


HOSTS = st.sampled_from([None, "192.0.2.1", "192.0.2.2", "2001:db8::1"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["open", "move", "end"]), st.integers(0, 5), HOSTS)
)


@given(STEPS)
def test_nothing_is_left_whatever_came_and_went(
    steps: list[tuple[str, int, str | None]],
) -> None:
    counts = counts_of(max_connections=4, max_connections_per_ip=2)
    admitted: dict[int, str | None] = {}
    refused: set[int] = set()
    for what, connection, host in steps:
        if what == "end":
            counts.end(connection)
            admitted.pop(connection, None)
            refused.discard(connection)
        elif (what == "open") is (connection not in {*admitted, *refused}):
            admitted.pop(connection, None)
            is_full = host is not None and list(admitted.values()).count(host) >= 2
            is_crowded = what == "open" and len(admitted) >= 4
            refusal = getattr(counts, what)(connection, host)
            assert (refusal is not None) is (is_full or is_crowded)
            refused.discard(connection)
            if refusal is None:
                admitted[connection] = host
            else:
                refused.add(connection)
        assert counts.total == len(admitted) + len(refused)
    for connection in {*admitted, *refused}:
        counts.end(connection)
    assert counts.total == 0
    assert not counts._places
    assert not counts._turned_away
    assert not counts._by_host
    assert not counts._by_network


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("0.0.0.0", "0.0.0.0/24"),
        ("203.0.113.255", "203.0.113.0/24"),
        ("::", "::/64"),
        ("fe80::1", "fe80::/64"),
    ],
)
def test_network_of_an_address(host: str, network: str) -> None:
    assert network_of(host, ipv4_bits=24, ipv6_bits=64) == network


def test_networks() -> None:
    networks = Networks(["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"])
    inside = "192.0.2.0", "192.0.2.255", "2001:db8:1::", "198.51.100.7"
    assert all(host in networks for host in inside)
    outside = "192.0.3.0", "2001:db9::", "198.51.100.8", None
    assert not any(host in networks for host in outside)
    assert "192.0.2.1" not in Networks([])


@pytest.mark.parametrize("wrong", ["192.0.2.1/24", "localhost", "", "1.2.3.4/33"])
def test_no_networks(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ServerOptions(unlimited_networks=(wrong,))


@pytest.mark.parametrize(
    "bits",
    [{"ipv4_prefix_bits": 33}, {"ipv6_prefix_bits": 129}, {"ipv4_prefix_bits": -1}],
)
def test_no_prefixes(bits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="bits, not"):
        counts_of(**bits)


def test_prefixes_at_their_limits() -> None:
    counts_of(ipv4_prefix_bits=32, ipv6_prefix_bits=128)
    counts_of(ipv4_prefix_bits=0, ipv6_prefix_bits=0)

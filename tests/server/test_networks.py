"""Networks, against the standard library's own way to tell."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.server.networks import Networks, network_of

HOSTS = st.one_of(
    st.integers(0, 2**32 - 1).map(lambda number: str(IPv4Address(number))),
    st.integers(0, 2**128 - 1).map(lambda number: str(IPv6Address(number))),
)


@given(HOSTS, HOSTS, st.integers(0, 32), st.integers(0, 128))
def test_networks_hold_what_ipaddress_says(
    host: str, other: str, ipv4_bits: int, ipv6_bits: int
) -> None:
    name = network_of(other, ipv4_bits=ipv4_bits, ipv6_bits=ipv6_bits)
    bits = ipv6_bits if ":" in other else ipv4_bits
    network = ip_network((other, bits), strict=False)
    assert ip_network(name) == network
    networks = Networks(["203.0.113.0/24", name, "2001:db8:1::/48"])
    for one in (host, other, str(network[0]), str(network[-1])):
        listed = [ip_network("203.0.113.0/24"), network, ip_network("2001:db8:1::/48")]
        expected = any(ip_address(one) in item for item in listed)
        assert (one in networks) is expected


@pytest.mark.parametrize(
    ("host", "is_inside"),
    [
        ("192.0.1.255", False),
        ("192.0.2.0", True),
        ("192.0.2.255", True),
        ("192.0.3.0", False),
        ("::1", True),
        ("::2", False),
        ("0:0:0:0:0:0:0:1", True),
        (None, False),
    ],
)
def test_the_edges_of_networks(host: str | None, *, is_inside: bool) -> None:
    assert (host in Networks(["192.0.2.0/24", "::1"])) is is_inside


def test_no_network_of_the_other_family_is_compared() -> None:
    # As numbers 0.0.0.1 and ::1 are the same.
    assert "::1" not in Networks(["0.0.0.1"])
    assert "0.0.0.1" not in Networks(["::1"])


def test_no_networks_are_none() -> None:
    assert not Networks([])
    assert Networks(["192.0.2.1"])

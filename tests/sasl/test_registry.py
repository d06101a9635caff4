"""The registry: names, order, and what is offered without being asked for."""

from __future__ import annotations

import pytest

from smtpx.sasl.mechanism import Proof
from smtpx.sasl.registry import (
    CLIENT_MECHANISMS,
    DEFAULT_SERVER_MECHANISMS,
    SERVER_MECHANISMS,
)

NAMES = [
    *("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1"),
    *("OAUTHBEARER", "XOAUTH2", "EXTERNAL", "PLAIN", "LOGIN", "CRAM-MD5", "ANONYMOUS"),
]


def test_order_of_preference() -> None:
    assert list(SERVER_MECHANISMS) == NAMES
    assert list(CLIENT_MECHANISMS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_both_ends_are_of_one_mind(name: str) -> None:
    server, client = SERVER_MECHANISMS[name], CLIENT_MECHANISMS[name]
    assert server.name == client.name == name
    is_shown = name in {"PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"}
    assert server.shows_password is client.shows_password is is_shown
    assert server.binds_channel is client.binds_channel is name.endswith("-PLUS")
    assert server.speaks_first is (name == "CRAM-MD5")
    assert server.asks is not None
    # RFC 4422 section 3.1
    assert len(name) <= 20


def test_what_servers_offer_by_default() -> None:
    assert list(DEFAULT_SERVER_MECHANISMS) == [
        *("SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "EXTERNAL"),
        *("PLAIN", "LOGIN", "CRAM-MD5", "ANONYMOUS"),
    ]


def test_what_clients_try_by_default() -> None:
    tried = {
        proof: [
            name
            for name, mechanism in CLIENT_MECHANISMS.items()
            if mechanism.is_default and mechanism.proof is proof
        ]
        for proof in Proof
    }
    assert tried == {
        Proof.PASSWORD: ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"],
        Proof.TOKEN: ["OAUTHBEARER", "XOAUTH2"],
        Proof.CHANNEL: ["EXTERNAL"],
        Proof.NOTHING: [],
    }

"""What must not be guessed octet by octet is compared in constant time.

The time itself cannot be told reliably; what compares can: `hmac.compare_digest`.
"""

from __future__ import annotations

import hmac

import pytest

from smtpx.sasl.cram_md5 import CramMd5Client, CramMd5Server
from smtpx.sasl.mechanism import ClientContext, Credentials
from smtpx.sasl.scram_client import ScramSha256Client
from smtpx.sasl.scram_keys import make_scram_credentials
from smtpx.sasl.scram_server import ScramSha256Server
from tests.sasl.conversing import converse

Pair = tuple[bytes, bytes]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[Pair]:
    pairs: list[Pair] = []
    compare = hmac.compare_digest

    def note(one: bytes, other: bytes) -> bool:
        pairs.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", note)
    return pairs


@pytest.mark.parametrize("password", ["pencil", "pencils"])
def test_the_digest_of_cram_md5(compared: list[Pair], password: str) -> None:
    client = CramMd5Client(Credentials("ann", password))
    outcome = converse(CramMd5Server(), client, lambda _: "pencil")
    assert outcome.is_success is (password == "pencil")
    (pair,) = compared
    assert outcome.messages[-1].endswith(pair[1])


@pytest.mark.parametrize("password", ["pencil", "pencils"])
def test_the_proofs_of_scram(compared: list[Pair], password: str) -> None:
    keys = make_scram_credentials("pencil", salt=b"salt of 16 octet", iterations=4096)
    context = ClientContext(nonce=b"rOprNGfwEbeRWgbNEkqO")
    client = ScramSha256Client(Credentials("ann", password), context)
    outcome = converse(ScramSha256Server(), client, lambda _: keys)
    assert outcome.is_success is (password == "pencil")
    # The server's of the client, and if that is right the client's of the server.
    assert compared[0][1] == keys.stored_key
    assert len(compared) == 1 + outcome.is_success


def test_an_unknown_user_of_cram_md5_costs_a_comparison(compared: list[Pair]) -> None:
    client = CramMd5Client(Credentials("nobody", "pencil"))
    outcome = converse(CramMd5Server(), client, lambda _: None)
    assert not outcome.is_success
    (pair,) = compared
    assert outcome.messages[-1].endswith(pair[1])


def test_an_unknown_user_of_scram_costs_a_comparison(compared: list[Pair]) -> None:
    context = ClientContext(nonce=b"rOprNGfwEbeRWgbNEkqO")
    client = ScramSha256Client(Credentials("nobody", "pencil"), context)
    outcome = converse(ScramSha256Server(), client, lambda _: None)
    assert not outcome.is_success
    assert len(compared) == 1

"""What the settings of a server say to a session under TLS, and in plaintext."""

from __future__ import annotations

import dataclasses

import pytest

from smtpx.core.config import ServerConfig
from smtpx.core.limits import Limits
from smtpx.sasl.mechanism import Challenge, ServerMechanism, Step
from smtpx.sasl.registry import SERVER_MECHANISMS


class Proof(ServerMechanism):
    """A mechanism that shows no password."""

    name = "PROOF"
    shows_password = False

    def start(self, initial_response: bytes | None) -> Step:
        return Challenge(initial_response or b"")

    def respond(self, response: bytes) -> Step:
        return Challenge(response)

    def resume(self, answer: object) -> Step:
        return Challenge(str(answer).encode())


class BoundProof(Proof):
    """One that ties its proof to TLS."""

    name = "PROOF-PLUS"
    binds_channel = True


MECHANISMS: dict[str, type[ServerMechanism]] = {
    "PLAIN": SERVER_MECHANISMS["PLAIN"],
    "LOGIN": SERVER_MECHANISMS["LOGIN"],
    "PROOF": Proof,
}


def lines(config: ServerConfig, *, is_tls: bool, is_local: bool) -> tuple[str, ...]:
    return config.ehlo_reply(
        "hi", is_tls=is_tls, is_local=is_local, is_authenticated=False
    ).lines


@pytest.mark.parametrize(
    ("is_tls", "is_local", "trusts", "allowed", "offered"),
    [
        (False, False, True, frozenset(), ("PROOF",)),
        (True, False, True, frozenset(), ("PLAIN", "LOGIN", "PROOF")),
        (False, True, True, frozenset(), ("PLAIN", "LOGIN", "PROOF")),
        (False, True, False, frozenset(), ("PROOF",)),
        (True, True, False, frozenset(), ("PLAIN", "LOGIN", "PROOF")),
        (False, False, True, frozenset({"LOGIN"}), ("LOGIN", "PROOF")),
    ],
)
def test_passwords_are_shown_to_nobody_who_listens(
    is_tls: bool,
    is_local: bool,
    trusts: bool,
    allowed: frozenset[str],
    offered: tuple[str, ...],
) -> None:
    config = ServerConfig(
        hostname="mx.test",
        mechanisms=MECHANISMS,
        trusts_local_clients=trusts,
        plaintext_mechanisms=allowed,
    )
    assert config.offered_mechanisms(is_tls=is_tls, is_local=is_local) == offered
    assert "AUTH " + " ".join(offered) in lines(
        config, is_tls=is_tls, is_local=is_local
    )


def test_no_mechanism_no_keyword() -> None:
    config = ServerConfig(hostname="mx.test")
    assert config.offered_mechanisms(is_tls=True, is_local=True) == ()
    assert not [
        line
        for line in lines(config, is_tls=True, is_local=True)
        if line.startswith("AUTH")
    ]


def test_starttls_is_offered_in_plaintext_only() -> None:
    config = ServerConfig(hostname="mx.test", offers_starttls=True)
    assert "STARTTLS" in lines(config, is_tls=False, is_local=False)
    assert "STARTTLS" not in lines(config, is_tls=True, is_local=False)


def test_limits_are_announced() -> None:
    config = ServerConfig(hostname="mx.test", limits=Limits(max_message_octets=77))
    assert "SIZE 77" in lines(config, is_tls=False, is_local=False)
    unlimited = ServerConfig(hostname="m.test", limits=Limits(max_message_octets=None))
    assert "SIZE 0" in lines(unlimited, is_tls=False, is_local=False)


def test_what_follows_from_the_settings_is_made_once() -> None:
    config = ServerConfig(hostname="mx.test")
    grammar = config.grammar(is_tls=False, is_local=False)
    assert config.grammar(is_tls=False, is_local=False) is grammar
    assert config.grammar(is_tls=True, is_local=False) is not grammar
    first = config.ehlo_reply("a", is_tls=True, is_local=True, is_authenticated=True)
    again = config.ehlo_reply("a", is_tls=True, is_local=True, is_authenticated=True)
    assert first is again
    assert config.greeting is config.greeting


@pytest.mark.parametrize(("is_lmtp", "name"), [(False, "ESMTP"), (True, "LMTP")])
def test_greeting_names_host_and_protocol(is_lmtp: bool, name: str) -> None:
    config = ServerConfig(hostname="mx.test", is_lmtp=is_lmtp)
    assert config.greeting.encode() == b"220 mx.test %b smtpx\r\n" % name.encode()
    assert config.greet("hi").encode() == b"220 mx.test %b hi\r\n" % name.encode()


def test_enhanced_codes_are_not_in_greeting_and_ehlo() -> None:
    # RFC 2034 section 4 exempts both.
    config = ServerConfig(hostname="mx.test")
    reply = config.ehlo_reply("a", is_tls=True, is_local=True, is_authenticated=True)
    assert reply.enhanced is None
    assert config.greeting.enhanced is None


def test_no_auth_is_offered_before_tls_where_tls_is_required() -> None:
    # Postfix: smtpd_tls_auth_only; a client must not even see it (RFC 3207 section 4).
    config = ServerConfig(
        hostname="mx.test",
        mechanisms=MECHANISMS,
        offers_starttls=True,
        requires_tls=True,
    )
    assert not any(
        "AUTH" in line for line in lines(config, is_tls=False, is_local=True)
    )
    assert config.offered_mechanisms(is_tls=True, is_local=False) != ()


@pytest.mark.parametrize("is_local", [False, True])
def test_what_binds_tls_is_offered_under_tls_only(is_local: bool) -> None:
    config = ServerConfig(
        hostname="mx.test", mechanisms={"PROOF-PLUS": BoundProof, "PROOF": Proof}
    )
    offered = config.offered_mechanisms(is_tls=True, is_local=is_local)
    assert offered == ("PROOF-PLUS", "PROOF")
    assert config.offered_mechanisms(is_tls=False, is_local=is_local) == ("PROOF",)


def test_gateways_have_verbs_of_their_own() -> None:
    config = ServerConfig(hostname="mx.test", extensions=frozenset({"DSN"}))
    verbs = frozenset({"XCLIENT", "XFORWARD"})
    trusted = config.for_gateway(verbs)
    assert trusted.extensions == verbs | {"DSN"}
    assert config.for_gateway(verbs) is trusted
    assert config.for_gateway(frozenset()) is config
    assert config.extensions == {"DSN"}


@pytest.mark.parametrize(
    ("is_tls", "is_local", "offered"),
    [
        (False, False, ()),
        (True, False, ("PLAIN", "LOGIN", "PROOF")),
        (False, True, ("PLAIN", "LOGIN", "PROOF")),
    ],
)
def test_auth_may_need_tls_whatever_it_shows(
    is_tls: bool, is_local: bool, offered: tuple[str, ...]
) -> None:
    config = ServerConfig(
        hostname="mx.test",
        mechanisms=MECHANISMS,
        plaintext_mechanisms=frozenset({"LOGIN"}),
        requires_tls_for_auth=True,
    )
    assert config.offered_mechanisms(is_tls=is_tls, is_local=is_local) == offered
    distrusting = dataclasses.replace(config, trusts_local_clients=False)
    names = distrusting.offered_mechanisms(is_tls=is_tls, is_local=is_local)
    assert names == (offered if is_tls else ())


@pytest.mark.parametrize("is_lmtp", [False, True])
def test_lmtp_is_made_once(is_lmtp: bool) -> None:
    config = ServerConfig(hostname="mx.test", is_lmtp=is_lmtp, requires_auth=True)
    assert config.as_lmtp is config.as_lmtp
    assert (config.as_lmtp is config) is is_lmtp
    assert config.as_lmtp == dataclasses.replace(config, is_lmtp=True)


@pytest.mark.parametrize("is_all", [True, False])
def test_a_network_in_which_nobody_listens(is_all: bool) -> None:
    config = ServerConfig(
        hostname="mx.test",
        mechanisms=MECHANISMS,
        requires_auth=True,
        requires_tls=is_all,
        requires_tls_for_auth=not is_all,
    )
    assert config.offered_mechanisms(is_tls=False, is_local=False) == ()
    free = config.without_tls
    assert free.offered_mechanisms(is_tls=False, is_local=False) == tuple(MECHANISMS)
    assert not free.requires_tls
    # Nothing else is loosened, and it is made once.
    assert free.requires_auth
    assert config.without_tls is free

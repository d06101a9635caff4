"""XCLIENT, which begins a session again, and XFORWARD, which lasts a transaction."""

from __future__ import annotations

import dataclasses

import pytest

from smtpx.core import events
from smtpx.core.config import ServerConfig
from smtpx.core.limits import Limits
from smtpx.core.server import ServerMachine
from smtpx.core.states import ServerState
from smtpx.sasl.mechanism import Identity
from smtpx.sasl.registry import SERVER_MECHANISMS
from smtpx.wire.forwarded import NOTHING_FORWARDED, Unknown, XClient, XForward
from smtpx.wire.replies import Reply
from tests.core.machines import (
    CONFIG,
    ENVELOPE,
    LMTP,
    Talk,
    hello,
    ready,
    singly,
    talk,
)

BOTH = frozenset({"XCLIENT", "XFORWARD"})
TRUSTED = CONFIG.for_gateway(BOTH)
XCLIENT = b"XCLIENT ADDR=192.0.2.1 HELO=spike.test PROTO=ESMTP LOGIN=bob\r\n"
COMMAND = XClient(addr="192.0.2.1", helo="spike.test", proto="ESMTP", login="bob")
MESSAGE = ENVELOPE + b"DATA\r\n"


def lose_trust(machine: ServerMachine, _event: events.XClientReceived) -> None:
    machine.restart(CONFIG, is_local=False)


def forwarded(started: Talk) -> XForward | None:
    return started.machine.forwarded


# --- Who may. ---


@pytest.mark.parametrize("verb", [b"XCLIENT", b"XFORWARD"])
def test_others_have_neither(verb: bytes) -> None:
    started = ready()
    assert verb not in started.sent
    assert started.say(verb + b" ADDR=192.0.2.1\r\n").startswith(b"502 5.5.1 ")
    assert verb in ready(TRUSTED).sent


# --- XCLIENT. ---


def test_xclient_begins_again() -> None:
    started = ready(TRUSTED)
    started.say(ENVELOPE, b"RSET\r\n")
    assert started.say(XCLIENT) == b"220 mx.test ESMTP smtpx\r\n"
    assert started.kinds()[-2:] == [events.XClientReceived, events.ClientConnected]
    assert started.seen[-2] == events.XClientReceived(COMMAND)
    machine = started.machine
    assert machine.state is ServerState.START
    assert (machine.hello_name, machine.is_extended) == ("spike.test", True)
    assert machine.identity == Identity("bob", "", "XCLIENT")
    assert started.say(b"MAIL FROM:<>\r\n").startswith(b"503 5.5.1 ")
    assert started.codes(hello(), ENVELOPE) == [250, 250, 250]
    assert machine.hello_name == "c.test"
    assert machine.identity is not None


def test_what_it_does_not_tell_is_forgotten() -> None:
    started = ready(
        dataclasses.replace(TRUSTED, mechanisms=SERVER_MECHANISMS), is_tls=True
    )
    assert started.codes(b"AUTH PLAIN AHRpbQBz\r\n") == [235]
    assert started.codes(b"XCLIENT HELO=[UNAVAILABLE] LOGIN=[UNAVAILABLE]\r\n") == [220]
    machine = started.machine
    assert (machine.hello_name, machine.identity) == (None, None)
    assert not machine.is_extended
    # But for TLS, which cannot be undone.
    assert machine.is_tls
    assert started.codes(hello()) == [250]


@pytest.mark.parametrize(("proto", "is_extended"), [(b"SMTP", False), (b"ESMTP", True)])
def test_the_protocol_that_the_client_spoke(proto: bytes, is_extended: bool) -> None:
    started = ready(TRUSTED)
    started.say(b"XCLIENT PROTO=" + proto + b"\r\n")
    assert started.machine.is_extended is is_extended


def test_before_hello_and_again_and_again() -> None:
    started = talk(TRUSTED)
    assert started.codes(XCLIENT, XCLIENT, hello(), XCLIENT) == [220, 220, 250, 220]


def test_lmtp() -> None:
    started = ready(LMTP.for_gateway(BOTH))
    assert started.say(b"XCLIENT PROTO=LMTP\r\n") == b"220 mx.test LMTP smtpx\r\n"


def test_octets_behind_it_are_run_for_the_new_client() -> None:
    started = ready(TRUSTED)
    octets = XCLIENT + hello() + ENVELOPE
    assert started.codes(octets) == [220, 250, 250, 250]
    again = ready(TRUSTED)
    assert again.codes(*singly(octets)) == [220, 250, 250, 250]


def test_a_client_that_is_not_trusted_cannot_say_it_behind_its_gateway() -> None:
    started = ready(TRUSTED, {events.XClientReceived: lose_trust}, is_local=True)
    assert started.codes(XCLIENT + XCLIENT + b"XFORWARD PORT=1\r\n") == [220, 502, 502]
    assert not started.machine.is_local
    assert b"XCLIENT" not in started.say(hello())


def test_inside_a_transaction() -> None:
    started = ready(TRUSTED)
    for octets in (b"MAIL FROM:<>\r\n", b"RCPT TO:<b@mx.test>\r\n"):
        started.say(octets)
        for verb in (b"XCLIENT", b"XFORWARD"):
            reply = started.say(verb + b" ADDR=192.0.2.1\r\n")
            assert reply.startswith(b"503 5.5.1 ")
    started.say(b"BDAT 1\r\nx")
    assert started.codes(XCLIENT, b"BDAT 1 LAST\r\ny") == [503, 250]
    assert started.messages == [b"xy"]


@pytest.mark.parametrize(
    "argument", [b"", b" ADDR=x", b" ADDR=192.0.2.1 FOO=1", b" ADDR", b" PORT=65536"]
)
def test_malformed(argument: bytes) -> None:
    started = ready(TRUSTED)
    assert started.say(b"XCLIENT" + argument + b"\r\n").startswith(b"501 5.5.4 ")
    assert started.machine.state is ServerState.READY
    assert started.machine.hello_name == "c.test"


def test_refused_by_the_layer_above() -> None:
    refusal = Reply(550, None, "insufficient authorization")
    started = ready(TRUSTED, {events.XClientReceived: refusal})
    assert started.say(XCLIENT) == b"550 5.0.0 insufficient authorization\r\n"
    machine = started.machine
    assert (machine.state, machine.hello_name) == (ServerState.READY, "c.test")
    assert machine.identity is None
    with pytest.raises(RuntimeError, match="received first"):
        machine.restart(TRUSTED, is_local=False)
    # Not in place of the answer to something else, either.
    machine.receive_data(b"MAIL FROM:<>\r\n")
    assert isinstance(machine.next_event(), events.MailReceived)
    with pytest.raises(RuntimeError, match="received first"):
        machine.restart(TRUSTED, is_local=False)
    assert machine.is_waiting


def test_421_ends_it() -> None:
    started = ready(TRUSTED, {events.XClientReceived: Reply(421, "4.3.2", "bye")})
    assert started.codes(XCLIENT, hello()) == [421]
    assert started.machine.state is ServerState.CLOSED


def test_it_is_granted_by_restart() -> None:
    machine = ready(TRUSTED).machine
    machine.receive_data(XCLIENT)
    assert isinstance(machine.next_event(), events.XClientReceived)
    with pytest.raises(ValueError, match="restart"):
        machine.answer(Reply(250, "2.0.0", "OK"))
    assert machine.is_waiting
    machine.restart(TRUSTED, is_local=False)
    assert machine.next_event() == events.ClientConnected()
    with pytest.raises(RuntimeError):
        machine.restart(TRUSTED, is_local=False)


def test_nothing_waits_for_restart() -> None:
    with pytest.raises(RuntimeError, match="XCLIENT has to be received first"):
        talk(TRUSTED).machine.restart(TRUSTED, is_local=False)


def test_an_ended_session_does_not_begin_again() -> None:
    machine = ready(TRUSTED).machine
    machine.receive_data(XCLIENT)
    machine.next_event()
    machine.abort("gone")
    with pytest.raises(RuntimeError):
        machine.restart(TRUSTED, is_local=False)


@pytest.mark.parametrize(
    ("greeting", "codes"),
    [
        (Reply(554, "5.7.1", "not you"), [554, 503, 221]),
        (Reply(450, "4.7.1", "not now"), [421]),
    ],
)
def test_the_new_client_may_be_turned_away(greeting: Reply, codes: list[int]) -> None:
    connects = 0

    def connected(machine: ServerMachine, _event: events.ClientConnected) -> None:
        nonlocal connects
        connects += 1
        machine.answer(None if connects == 1 else greeting)

    started = ready(TRUSTED, {events.ClientConnected: connected})
    assert started.codes(XCLIENT, hello(), b"QUIT\r\n") == codes


def test_what_is_counted_begins_again() -> None:
    limits = Limits(max_errors=3, max_transactions=1, max_recipient_domains=1)
    started = ready(dataclasses.replace(TRUSTED, limits=limits))
    once = [b"X\r\n", b"X\r\n", ENVELOPE, b"RSET\r\n"]
    other = [line.replace(b"mx.test", b"other.test") for line in once]
    assert started.codes(*once, XCLIENT, hello(), *other) == [
        *(500, 500, 250, 250, 250),
        *(220, 250),
        *(500, 500, 250, 250, 250),
    ]
    assert started.codes(b"MAIL FROM:<>\r\n") == [421]


def test_before_tls_where_it_is_required() -> None:
    started = ready(
        dataclasses.replace(TRUSTED, offers_starttls=True, requires_tls=True)
    )
    assert started.codes(XCLIENT, hello(), b"XFORWARD PORT=1\r\n") == [220, 250, 530]


@pytest.mark.parametrize(
    "strict",
    [
        dataclasses.replace(CONFIG, offers_starttls=True, requires_tls=True),
        dataclasses.replace(CONFIG, requires_auth=True),
    ],
)
def test_the_new_client_has_rules_of_its_own(strict: ServerConfig) -> None:
    # Found when a gateway of a network without TLS told a client of another one.
    def restart(machine: ServerMachine, _event: events.XClientReceived) -> None:
        machine.restart(strict, is_local=False)

    started = ready(TRUSTED, {events.XClientReceived: restart})
    assert started.codes(b"MAIL FROM:<>\r\n", b"RSET\r\n") == [250, 250]
    codes = started.codes(b"XCLIENT ADDR=192.0.2.1\r\n", hello(), b"MAIL FROM:<>\r\n")
    assert codes == [220, 250, 530]
    loose = ready(
        dataclasses.replace(strict, extensions=BOTH), {events.XClientReceived: restart}
    )
    loose.answers = {
        events.XClientReceived: lambda machine, _: machine.restart(
            CONFIG, is_local=False
        )
    }
    codes = loose.codes(b"XCLIENT ADDR=192.0.2.1\r\n", hello(), b"MAIL FROM:<>\r\n")
    assert codes == [220, 250, 250]


def test_a_login_is_enough_where_authentication_is_required() -> None:
    started = ready(dataclasses.replace(TRUSTED, requires_auth=True))
    assert started.codes(b"MAIL FROM:<>\r\n") == [530]
    assert started.codes(XCLIENT, hello(), b"MAIL FROM:<>\r\n") == [220, 250, 250]


# --- XFORWARD. ---


def test_xforward_is_told_piece_by_piece() -> None:
    started = ready(TRUSTED)
    assert forwarded(started) is None
    assert started.say(b"XFORWARD NAME=spike.test ADDR=192.0.2.1\r\n") == (
        b"250 2.0.0 OK\r\n"
    )
    told = forwarded(started)
    assert told is not None
    assert (told.name, told.addr, told.port) == (
        *("spike.test", "192.0.2.1"),
        Unknown.UNAVAILABLE,
    )
    started.say(b"XFORWARD IDENT=4XkQ2 NAME=[UNAVAILABLE]\r\n")
    told = forwarded(started)
    assert told == dataclasses.replace(
        NOTHING_FORWARDED, addr="192.0.2.1", ident="4XkQ2"
    )
    assert started.kinds().count(events.XForwardReceived) == 2
    started.say(MESSAGE)
    assert forwarded(started) == told


@pytest.mark.parametrize(
    "end",
    [
        MESSAGE + b"x\r\n.\r\n",
        ENVELOPE + b"BDAT 1 LAST\r\nx",
        ENVELOPE + b"RSET\r\n",
        b"RSET\r\n",
        b"EHLO again.test\r\n",
        b"XCLIENT PORT=1\r\n",
    ],
)
def test_it_lasts_until_the_end_of_a_transaction(end: bytes) -> None:
    started = ready(TRUSTED)
    started.say(b"XFORWARD PORT=1\r\n")
    assert forwarded(started) is not None
    started.say(*singly(end))
    assert forwarded(started) is None
    started.say(hello() + b"XFORWARD ADDR=192.0.2.1\r\n")
    # From the beginning, and nothing of the one before.
    assert forwarded(started) == dataclasses.replace(
        NOTHING_FORWARDED, addr="192.0.2.1"
    )


def test_it_outlasts_what_is_no_end() -> None:
    started = ready(TRUSTED, {events.MailReceived: Reply(450, "4.0.0", "no")})
    started.say(b"XFORWARD PORT=1\r\n", b"NOOP\r\n", b"X\r\n", b"MAIL FROM:<>\r\n")
    assert forwarded(started) is not None


def test_refused_xforward_tells_nothing() -> None:
    started = ready(TRUSTED, {events.XForwardReceived: Reply(550, "5.7.0", "no")})
    assert started.codes(b"XFORWARD PORT=1\r\n") == [550]
    assert forwarded(started) is None
    assert ready(TRUSTED).codes(b"XFORWARD SOURCE=BOTH\r\n") == [501]


def test_xforward_before_hello() -> None:
    assert talk(TRUSTED).codes(b"XFORWARD PORT=1\r\n") == [503]

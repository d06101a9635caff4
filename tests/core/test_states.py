"""The tables of a server session: complete, and without a state that is never left."""

from __future__ import annotations

import pytest

from smtpx.core.states import (
    SERVER_ALLOWED,
    SERVER_TRANSITIONS,
    USER_VERB,
    ServerState,
    ServerTrigger,
    describe_wrong_order,
)
from smtpx.wire.grammar import DEFAULT_GRAMMAR

VERBS = {verb.decode() for verb in DEFAULT_GRAMMAR.verbs}


def test_tables_speak_of_known_verbs() -> None:
    for verbs in SERVER_ALLOWED.values():
        assert verbs <= VERBS | {USER_VERB}
    allowed = frozenset[str]().union(*SERVER_ALLOWED.values())
    assert allowed == VERBS | {USER_VERB}


ANY_TIME = {"NOOP", "HELP", "VRFY", "EXPN", "RSET", "QUIT"}
HELLO = {"HELO", "EHLO", "LHLO"}


def test_what_each_state_takes() -> None:
    # RFC 5321 section 4.1.4, RFC 3030 section 2; typed here a second time, since all
    # else that knows the order reads the table.
    assert {state.name: set(verbs) for state, verbs in SERVER_ALLOWED.items()} == {
        "REJECTED": {"QUIT"},
        "START": ANY_TIME | HELLO | {"XCLIENT"},
        "READY": ANY_TIME
        | HELLO
        | {"MAIL", "AUTH", "STARTTLS", "ETRN", "XCLIENT", "XFORWARD", "*"},
        "MAIL": ANY_TIME | HELLO | {"RCPT", "*"},
        "RCPT": ANY_TIME | HELLO | {"RCPT", "DATA", "BDAT", "*"},
        "BDAT": HELLO | {"BDAT", "NOOP", "RSET", "QUIT"},
    }


def test_hello_ends_a_transaction() -> None:
    for state, verbs in SERVER_ALLOWED.items():
        if "EHLO" in verbs:
            after = SERVER_TRANSITIONS[state, ServerTrigger.HELLO]
            assert after is ServerState.READY


def test_quit_is_always_possible() -> None:
    # RFC 5321 section 4.1.1.10.
    assert all("QUIT" in verbs for verbs in SERVER_ALLOWED.values())


def test_every_state_can_be_reached_and_ends() -> None:
    reached = {ServerState.CONNECTED}
    while True:
        more = {
            target
            for (source, _), target in SERVER_TRANSITIONS.items()
            if source in reached
        }
        if more <= reached:
            break
        reached |= more
    assert reached == set(ServerState)
    for state in ServerState:
        assert SERVER_TRANSITIONS[state, ServerTrigger.END] is ServerState.CLOSED


def test_a_closed_session_stays_closed() -> None:
    targets = {
        target
        for (source, _), target in SERVER_TRANSITIONS.items()
        if source is ServerState.CLOSED
    }
    assert targets == {ServerState.CLOSED}


def test_every_trigger_is_used() -> None:
    assert {trigger for _, trigger in SERVER_TRANSITIONS} == set(ServerTrigger)


def test_no_way_to_a_message_without_recipient() -> None:
    # RFC 5321 section 3.3: MAIL, RCPT, DATA in this order.
    sources = {
        source
        for (source, _), target in SERVER_TRANSITIONS.items()
        if target in {ServerState.DATA, ServerState.CHUNK}
    }
    assert sources == {ServerState.RCPT, ServerState.BDAT}
    for state, verbs in SERVER_ALLOWED.items():
        assert ("DATA" in verbs) is (state is ServerState.RCPT)
        assert ("BDAT" in verbs) is (state in {ServerState.RCPT, ServerState.BDAT})
        assert ("MAIL" in verbs) is (state is ServerState.READY)
        assert ("AUTH" in verbs) is (state is ServerState.READY)
        assert ("STARTTLS" in verbs) is (state is ServerState.READY)


@pytest.mark.parametrize("state", list(SERVER_ALLOWED))
@pytest.mark.parametrize("verb", sorted(VERBS))
def test_what_is_out_of_order_is_told_in_one_line(
    state: ServerState, verb: str
) -> None:
    text = describe_wrong_order(state, verb)
    assert text
    assert text.isprintable()


def test_members_are_strings() -> None:
    assert str(ServerState.READY) == "ready"
    assert str(ServerTrigger.HELLO) == "HELO, EHLO or LHLO accepted"

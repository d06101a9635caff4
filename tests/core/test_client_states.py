"""The client's tables are complete, consistent, and say what the RFCs say."""

from __future__ import annotations

import pytest

from smtpx.core.client_states import (
    ANY_VERB,
    CLIENT_ALLOWED,
    CLIENT_SUCCESS,
    CLIENT_TRANSITIONS,
    CLIENT_TRIGGERS,
    PIPELINED_VERBS,
    ClientState,
    ClientTrigger,
)

S, T = ClientState, ClientTrigger

# The states in which the server waits for something that is no command.
NO_COMMANDS = {S.GREETING, S.AUTH, S.DATA, S.TLS, S.CLOSED, S.BROKEN}


def test_every_state_says_what_may_be_sent() -> None:
    assert set(CLIENT_ALLOWED) == set(ClientState)
    assert {state for state, verbs in CLIENT_ALLOWED.items() if not verbs} == (
        NO_COMMANDS
    )


def test_every_state_can_be_reached_and_every_trigger_is_pulled() -> None:
    assert set(CLIENT_TRANSITIONS.values()) == set(ClientState) - {S.GREETING}
    by_replies = set(CLIENT_TRIGGERS.values()) - {None}
    by_the_driver = {T.TLS_STARTED, T.LOST_STEP}
    assert by_replies | by_the_driver == set(ClientTrigger)
    assert {trigger for _, trigger in CLIENT_TRANSITIONS} == set(ClientTrigger)


def test_every_verb_that_may_be_sent_has_its_replies() -> None:
    verbs = {verb for allowed in CLIENT_ALLOWED.values() for verb in allowed}
    for verb in verbs - {ANY_VERB}:
        assert (verb, 4) in CLIENT_TRIGGERS
        assert (verb, 5) in CLIENT_TRIGGERS
        assert (verb, 1) not in CLIENT_TRIGGERS
    # The first digit 3 belongs to DATA and AUTH alone (RFC 5321 section 4.2.1).
    with_three = {verb for verb, digit in CLIENT_TRIGGERS if digit == 3}
    assert with_three == {"DATA", "AUTH", ANY_VERB}
    assert ("DATA", 2) not in CLIENT_TRIGGERS


@pytest.mark.parametrize("state", ClientState)
def test_the_end_and_a_lost_step_are_final(state: ClientState) -> None:
    end = S.BROKEN if state is S.BROKEN else S.CLOSED
    assert CLIENT_TRANSITIONS[state, T.END] is end
    assert CLIENT_TRANSITIONS[state, T.LOST_STEP] is S.BROKEN
    out_of_broken = {
        where for (start, _), where in CLIENT_TRANSITIONS.items() if start is S.BROKEN
    }
    assert out_of_broken == {S.BROKEN}


@pytest.mark.parametrize(
    ("state", "allowed", "forbidden"),
    [
        (S.START, "EHLO HELO LHLO NOOP QUIT RSET", "MAIL RCPT DATA BDAT AUTH STARTTLS"),
        (S.READY, "MAIL AUTH STARTTLS EHLO", "RCPT DATA BDAT"),
        (S.MAIL, "RCPT RSET QUIT", "MAIL DATA BDAT AUTH STARTTLS"),
        (S.RCPT, "RCPT DATA BDAT RSET", "MAIL AUTH STARTTLS"),
        (S.BDAT, "BDAT RSET NOOP QUIT", "DATA MAIL RCPT EHLO"),
        (S.FAILED, "RSET QUIT EHLO", "MAIL RCPT DATA BDAT AUTH STARTTLS"),
    ],
)
def test_order_of_commands(state: ClientState, allowed: str, forbidden: str) -> None:
    assert set(allowed.split()) <= CLIENT_ALLOWED[state]
    assert not set(forbidden.split()) & CLIENT_ALLOWED[state]


@pytest.mark.parametrize(
    ("state", "verb", "digit", "expected"),
    [
        (S.GREETING, "greeting", 2, S.START),
        (S.GREETING, "greeting", 5, S.CLOSED),
        (S.START, "EHLO", 2, S.READY),
        (S.START, "EHLO", 5, S.START),
        (S.RCPT, "EHLO", 2, S.READY),
        (S.FAILED, "EHLO", 2, S.READY),
        (S.READY, "MAIL", 2, S.MAIL),
        (S.READY, "MAIL", 5, S.READY),
        (S.MAIL, "RCPT", 5, S.MAIL),
        (S.MAIL, "RCPT", 2, S.RCPT),
        (S.RCPT, "RCPT", 5, S.RCPT),
        (S.RCPT, "DATA", 3, S.DATA),
        (S.RCPT, "DATA", 4, S.FAILED),
        (S.MAIL, "DATA", 3, S.DATA),
        (S.READY, "DATA", 3, S.DATA),
        (S.READY, "DATA", 5, S.READY),
        (S.DATA, ".", 2, S.READY),
        (S.DATA, ".", 5, S.FAILED),
        (S.RCPT, "BDAT", 2, S.BDAT),
        (S.BDAT, "BDAT", 2, S.BDAT),
        (S.BDAT, "BDAT", 5, S.FAILED),
        (S.BDAT, "BDAT LAST", 2, S.READY),
        (S.RCPT, "BDAT LAST", 2, S.READY),
        (S.RCPT, "BDAT LAST", 5, S.FAILED),
        (S.FAILED, "RSET", 2, S.READY),
        (S.RCPT, "RSET", 2, S.READY),
        (S.START, "RSET", 2, S.START),
        (S.READY, "AUTH", 3, S.AUTH),
        (S.AUTH, "AUTH", 3, S.AUTH),
        (S.AUTH, "AUTH", 5, S.READY),
        (S.READY, "STARTTLS", 2, S.TLS),
        (S.READY, "STARTTLS", 4, S.READY),
        (S.READY, "XCLIENT", 2, S.START),
        (S.MAIL, "QUIT", 2, S.CLOSED),
        (S.MAIL, "NOOP", 2, S.MAIL),
    ],
)
def test_where_a_reply_leads(
    state: ClientState, verb: str, digit: int, expected: ClientState
) -> None:
    trigger = CLIENT_TRIGGERS[verb, digit]
    if trigger is None:
        assert expected is state
    else:
        assert CLIENT_TRANSITIONS.get((state, trigger), state) is expected


def test_tls_forgets_that_hello_was_said() -> None:
    assert CLIENT_TRANSITIONS[S.TLS, T.TLS_STARTED] is S.START


def test_success_is_what_looking_ahead_goes_by() -> None:
    assert CLIENT_SUCCESS["DATA"] is T.DATA_STARTED
    assert CLIENT_SUCCESS["MAIL"] is T.MAIL_ACCEPTED
    assert CLIENT_SUCCESS["BDAT LAST"] is T.TRANSACTION_ENDED
    assert CLIENT_SUCCESS["AUTH"] is T.AUTH_ENDED
    assert "NOOP" not in CLIENT_SUCCESS


def test_commands_that_must_come_last_in_a_flight() -> None:
    """RFC 2920 section 3.1, RFC 3207 section 4 and RFC 4954 section 4."""
    last = "EHLO HELO LHLO DATA VRFY EXPN ETRN QUIT NOOP STARTTLS AUTH HELP XCLIENT *"
    assert not set(last.split()) & PIPELINED_VERBS
    assert {"MAIL", "RCPT", "RSET", "BDAT"} <= PIPELINED_VERBS

"""The server's machine: commands, their order, limits, and the end of a session."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.core import events
from smtpx.core.config import ServerConfig
from smtpx.core.limits import Limits
from smtpx.core.server import ServerMachine
from smtpx.core.states import (
    SERVER_ALLOWED,
    USER_VERB,
    ServerState,
    describe_wrong_order,
)
from smtpx.sasl.registry import SERVER_MECHANISMS
from smtpx.wire import replies
from smtpx.wire.extensions import DEFAULT_REGISTRY, Extension, Offer
from smtpx.wire.grammar import parse_raw
from smtpx.wire.replies import Reply
from tests.core.machines import (
    CONFIG,
    ENVELOPE,
    LMTP,
    Answers,
    Talk,
    cut,
    hello,
    ready,
    replies_of,
    reply_codes,
    singly,
    talk,
)

USER = dataclasses.replace(
    CONFIG,
    registry=DEFAULT_REGISTRY.with_extension(
        Extension("XPING", "example.com", verbs=(parse_raw("XPING"),))
    ),
    extensions=frozenset({"ETRN"}),
    mechanisms=SERVER_MECHANISMS,
    offers_starttls=True,
)


def limited(config: ServerConfig = CONFIG, **limits: int | None) -> ServerConfig:
    return dataclasses.replace(config, limits=Limits(**limits))  # type: ignore[arg-type]


def state_of(machine: ServerMachine) -> ServerState:
    """Return the state; a type checker thinks that an attribute stays as it was."""
    return machine.state


# --- The table of states x every command. ---

LINES = {
    "HELO": b"HELO c.test\r\n",
    "EHLO": b"EHLO c.test\r\n",
    "LHLO": b"LHLO c.test\r\n",
    "MAIL": b"MAIL FROM:<a@c.test>\r\n",
    "RCPT": b"RCPT TO:<b@mx.test>\r\n",
    "DATA": b"DATA\r\n",
    "BDAT": b"BDAT 0\r\n",
    "RSET": b"RSET\r\n",
    "NOOP": b"NOOP\r\n",
    "QUIT": b"QUIT\r\n",
    "VRFY": b"VRFY bob\r\n",
    "EXPN": b"EXPN list\r\n",
    "ETRN": b"ETRN mx.c.test\r\n",
    "HELP": b"HELP\r\n",
    "AUTH": b"AUTH LOGIN\r\n",
    "STARTTLS": b"STARTTLS\r\n",
    "XPING": b"XPING 1\r\n",
}


def in_state(state: ServerState) -> Talk:
    if state is ServerState.REJECTED:
        started = talk(USER, {events.ClientConnected: Reply(554, None, "no")})
    else:
        started = talk(USER, is_local=True)
    steps = {
        ServerState.REJECTED: b"",
        ServerState.START: b"",
        ServerState.READY: hello(),
        ServerState.MAIL: hello() + LINES["MAIL"],
        ServerState.RCPT: hello() + ENVELOPE,
        ServerState.BDAT: hello() + ENVELOPE + b"BDAT 1\r\nx",
    }
    started.say(steps[state])
    assert state_of(started.machine) is state
    return started


AFTER = {
    ("START", "HELO"): "READY",
    ("START", "EHLO"): "READY",
    ("READY", "MAIL"): "MAIL",
    ("READY", "AUTH"): "AUTH",
    ("READY", "STARTTLS"): "TLS",
    ("MAIL", "HELO"): "READY",
    ("MAIL", "EHLO"): "READY",
    ("MAIL", "RSET"): "READY",
    ("MAIL", "RCPT"): "RCPT",
    ("RCPT", "HELO"): "READY",
    ("RCPT", "EHLO"): "READY",
    ("RCPT", "RSET"): "READY",
    ("RCPT", "DATA"): "DATA",
    ("RCPT", "BDAT"): "BDAT",
    ("BDAT", "HELO"): "READY",
    ("BDAT", "EHLO"): "READY",
    ("BDAT", "RSET"): "READY",
}
GRANTED = {
    "HELO": 250,
    "EHLO": 250,
    "LHLO": 500,
    "MAIL": 250,
    "RCPT": 250,
    "DATA": 354,
    "BDAT": 250,
    "RSET": 250,
    "NOOP": 250,
    "QUIT": 221,
    "VRFY": 252,
    "EXPN": 502,
    "ETRN": 458,
    "HELP": 214,
    "AUTH": 334,
    "STARTTLS": 220,
    "XPING": 502,
}


@pytest.mark.parametrize("verb", LINES)
@pytest.mark.parametrize("state", list(SERVER_ALLOWED))
def test_every_command_in_every_state(state: ServerState, verb: str) -> None:
    allowed = SERVER_ALLOWED[state]
    is_allowed = verb in allowed or (verb == "XPING" and USER_VERB in allowed)
    started = in_state(state)
    envelope = started.machine.envelope
    answered = started.say(LINES[verb])
    assert reply_codes(answered) == [GRANTED[verb] if is_allowed else 503]
    if not is_allowed:
        # The first transaction is untouched.
        assert state_of(started.machine) is state
        assert started.machine.envelope is envelope
        assert describe_wrong_order(state, verb).encode() in answered
        refused = started.seen[-1]
        assert isinstance(refused, events.CommandRefused)
        assert refused.reply.code == 503
    elif verb == "QUIT":
        assert state_of(started.machine) is ServerState.CLOSED
    else:
        after = AFTER.get((state.name, verb), state.name)
        assert state_of(started.machine).name == after


@pytest.mark.parametrize("verb", LINES)
@pytest.mark.parametrize("state", list(SERVER_ALLOWED))
def test_every_command_octet_by_octet(state: ServerState, verb: str) -> None:
    whole, singles = in_state(state), in_state(state)
    assert whole.say(LINES[verb]) == singles.say(*singly(LINES[verb]))
    assert list(map(repr, whole.seen)) == list(map(repr, singles.seen))
    assert whole.machine.state is singles.machine.state


@pytest.mark.parametrize("verb", ["SEND", "SOML", "SAML", "TURN"])
def test_verbs_of_old(verb: str) -> None:
    assert ready().codes(b"%b FROM:<a@b>\r\n" % verb.encode()) == [502]


def test_unknown_verb() -> None:
    assert ready().say(b"FROBNICATE\r\n").startswith(b"500 5.5.2 ")


def test_a_command_of_ones_own() -> None:
    started = ready(USER, {events.CommandReceived: Reply(250, None, "pong")})
    assert started.say(b"xping 1 2\r\n") == b"250 2.0.0 pong\r\n"
    assert started.seen[-1] == events.CommandReceived("XPING", "1 2")


# --- The greeting. ---


def test_nothing_is_read_before_the_greeting() -> None:
    machine = ServerMachine(CONFIG)
    machine.receive_data(b"NOOP\r\n")
    assert machine.is_waiting
    assert machine.next_event() == events.ClientConnected()
    assert machine.next_event() is None
    assert machine.data_to_send() == b""
    assert machine.buffered == 6
    machine.answer(None)
    assert machine.next_event() == events.CommandAnswered("NOOP")
    assert reply_codes(machine.data_to_send()) == [220, 250]
    assert machine.data_to_send() == b""


def test_text_of_the_greeting() -> None:
    started = talk(answers={events.ClientConnected: Reply(220, None, "hi\nthere")})
    assert started.sent == b"220-mx.test ESMTP hi\r\n220 there\r\n"


def test_refused_with_554_waits_for_quit() -> None:
    started = talk(answers={events.ClientConnected: Reply(554, None, "no")})
    assert started.sent == b"554 no\r\n"
    assert started.codes(b"EHLO c.test\r\nQUIT\r\nNOOP\r\n") == [503, 221]


@pytest.mark.parametrize("code", [421, 451])
def test_refused_for_now_closes(code: int) -> None:
    # RFC 5321 section 3.8.
    started = talk(answers={events.ClientConnected: Reply(code, None, "later")})
    assert started.sent == b"421 later\r\n"
    assert started.seen[-1] == events.ConnectionEnded("later", is_clean=False)


@pytest.mark.parametrize("code", [221, 250, 354])
def test_a_connection_is_welcomed_with_220_only(code: int) -> None:
    machine = ServerMachine(CONFIG)
    assert machine.next_event() == events.ClientConnected()
    with pytest.raises(ValueError, match="welcomed with 220"):
        machine.answer(Reply(code))
    assert machine.is_waiting
    machine.answer(None)
    assert reply_codes(machine.data_to_send()) == [220]


# --- HELO, EHLO, LHLO. ---


def test_helo_has_no_keywords() -> None:
    started = talk()
    assert started.say(b"helo c.test\r\n") == b"250 mx.test greets c.test\r\n"
    assert started.machine.hello_name == "c.test"
    assert not started.machine.is_extended


def test_ehlo_lists_keywords_in_order() -> None:
    config = dataclasses.replace(
        USER, extensions=frozenset({"SMTPUTF8", "BINARYMIME", "DSN", "VRFY"})
    )
    started = talk(config, is_local=True)
    lines = replies_of(started.say(hello()))[0]
    keywords = [line[4:].split()[0] for line in lines[1:]]
    # Those of extensions that come later stand between them.
    expected = (
        b"PIPELINING 8BITMIME ENHANCEDSTATUSCODES CHUNKING STARTTLS AUTH SMTPUTF8 "
        b"BINARYMIME DSN SIZE HELP VRFY XPING"
    ).split()
    assert [word for word in keywords if word in expected] == expected
    assert started.machine.is_extended


@pytest.mark.parametrize(
    ("config", "line"), [(CONFIG, b"LHLO c\r\n"), (LMTP, b"EHLO c\r\n")]
)
def test_hello_of_the_other_protocol(config: ServerConfig, line: bytes) -> None:
    started = talk(config)
    assert started.say(line).startswith(b"500 5.5.1 ")
    assert started.machine.hello_name is None
    assert started.codes(b"HELO c\r\n") == [500 if config.is_lmtp else 250]


BOTH = dataclasses.replace(CONFIG, takes_lmtp_too=True)


@pytest.mark.parametrize(("first", "is_lmtp"), [(b"EHLO", False), (b"LHLO", True)])
def test_the_first_hello_decides_where_both_are_taken(
    first: bytes, is_lmtp: bool
) -> None:
    started = talk(BOTH)
    assert started.sent == b"220 mx.test ESMTP LMTP smtpx\r\n"
    assert not started.machine.is_lmtp
    assert started.codes(first + b" c.test\r\n") == [250]
    assert started.machine.is_lmtp is is_lmtp
    other = b"EHLO" if is_lmtp else b"LHLO"
    assert started.codes(other + b" other.test\r\n") == [503]
    assert started.machine.is_lmtp is is_lmtp
    assert started.machine.hello_name == "c.test"


def test_lmtp_in_place_of_smtp_stays_so_where_both_are_taken() -> None:
    started = talk(dataclasses.replace(LMTP, takes_lmtp_too=True))
    assert started.sent == b"220 mx.test LMTP smtpx\r\n"
    assert started.say(b"EHLO c\r\n").startswith(b"500 5.5.1 this is LMTP")
    assert started.codes(b"LHLO c\r\n") == [250]


def test_what_is_offered_is_that_of_the_protocol_spoken() -> None:
    def advertise(offer: Offer) -> str | None:
        return "" if offer.is_lmtp else None

    verbs = (parse_raw("XLAST"),)
    row = Extension("X-LAST-HOP", "a test", verbs=verbs, advertise=advertise)
    registry = DEFAULT_REGISTRY.with_extension(row)
    started = talk(dataclasses.replace(BOTH, registry=registry))
    assert b"X-LAST-HOP" in started.say(b"LHLO c\r\n")
    assert started.say(b"XLAST\r\n").startswith(b"502 5.5.1 ")
    assert isinstance(started.seen[-1], events.CommandReceived)
    started = talk(dataclasses.replace(BOTH, registry=registry))
    assert b"X-LAST-HOP" not in started.say(b"EHLO c\r\n")
    assert started.codes(b"XLAST\r\n") == [502]
    assert isinstance(started.seen[-1], events.CommandRefused)


def test_text_of_ehlo() -> None:
    started = talk(answers={events.HelloReceived: Reply(250, None, "nice to see you")})
    assert started.say(hello()).startswith(b"250-mx.test nice to see you\r\n250-")


def test_refused_ehlo_changes_nothing() -> None:
    # RFC 5321 section 4.1.4: the server stays in the state it was in.
    started = ready()
    started.say(ENVELOPE)
    started.answers = {events.HelloReceived: Reply(550, None, "no")}
    assert started.say(b"EHLO other.test\r\n") == b"550 5.0.0 no\r\n"
    assert started.machine.hello_name == "c.test"
    assert started.codes(b"DATA\r\n") == [354]


def test_refused_ehlo_between_chunks_ends_the_message() -> None:
    # It was aborted before anybody was asked.
    started = ready()
    started.say(ENVELOPE + b"BDAT 1\r\nx")
    started.answers = {events.HelloReceived: Reply(550, None, "no")}
    assert started.codes(hello() + b"BDAT 1 LAST\r\nxRSET\r\n") == [550, 503, 250]
    assert started.kinds().count(events.MessageAborted) == 1
    assert not started.messages
    assert started.machine.ended_transactions == 1


@pytest.mark.parametrize("code", [354, 334])
def test_ehlo_is_granted_with_250(code: int) -> None:
    started = talk()
    started.machine.receive_data(hello())
    assert started.machine.next_event() == events.HelloReceived("EHLO", "c.test")
    with pytest.raises(ValueError, match="granted with 250"):
        started.machine.answer(Reply(code))


def test_ehlo_again_resets() -> None:
    started = ready()
    started.say(ENVELOPE)
    assert started.machine.ended_transactions == 0
    assert started.codes(hello() + b"RCPT TO:<b@mx.test>\r\n") == [250, 503]
    assert started.machine.ended_transactions == 1
    assert started.machine.envelope is None


# --- MAIL and RCPT. ---


def test_envelope_grows_with_what_is_accepted() -> None:
    started = ready()
    started.say(b"MAIL FROM:<a@c.test> SIZE=9\r\n")
    envelope = started.machine.envelope
    assert envelope is not None
    assert envelope.options.size == 9
    assert envelope.recipients == []
    started.say(b"RCPT TO:<b@mx.test>\r\n")
    started.answers = {events.RcptReceived: Reply(550, "5.1.1", "who?")}
    assert started.say(b"RCPT TO:<c@mx.test>\r\n") == b"550 5.1.1 who?\r\n"
    started.answers = {events.RcptReceived: Reply(251, None, "will forward")}
    assert started.say(b"RCPT TO:<b@mx.test>\r\n") == b"251 2.0.0 will forward\r\n"
    assert [str(each.mailbox) for each in envelope.recipients] == ["b@mx.test"] * 2
    assert [each.index for each in envelope.recipients] == [0, 1]


def test_null_reverse_path_and_refused_mail() -> None:
    started = ready(answers={events.MailReceived: Reply(550, None, "no")})
    assert started.codes(b"MAIL FROM:<>\r\nRCPT TO:<b@mx.test>\r\n") == [550, 503]
    assert started.machine.envelope is None
    started.answers = {}
    assert started.codes(b"MAIL FROM:<>\r\n") == [250]
    mail = started.seen[-1]
    assert isinstance(mail, events.MailReceived)
    assert mail.reverse_path is None


def test_size_at_its_limit_and_over() -> None:
    config = limited(max_message_octets=100)
    assert ready(config).codes(b"MAIL FROM:<> SIZE=100\r\n") == [250]
    started = ready(config)
    assert started.say(b"MAIL FROM:<> SIZE=101\r\n").startswith(b"552 5.3.4 ")
    assert started.kinds()[-1] is events.CommandRefused
    unlimited = limited(max_message_octets=None)
    assert ready(unlimited).codes(b"MAIL FROM:<> SIZE=99999999999\r\n") == [250]


def test_recipients_at_their_limit_and_over() -> None:
    started = ready(limited(max_recipients=2))
    started.say(b"MAIL FROM:<>\r\n")
    rcpt = b"RCPT TO:<b@mx.test>\r\n"
    assert started.codes(rcpt * 2) == [250, 250]
    assert started.say(rcpt).startswith(b"452 4.5.3 ")
    assert started.machine.envelope is not None
    assert len(started.machine.envelope.recipients) == 2
    assert started.codes(b"DATA\r\n.\r\n") == [354, 250]


def test_recipients_over_the_limit_are_no_abuse() -> None:
    # RFC 5321 section 4.5.3.1.10: the client sends the rest in another transaction.
    started = ready(limited(max_recipients=1, max_errors=3))
    started.say(b"MAIL FROM:<>\r\n")
    rcpt = b"RCPT TO:<b@mx.test>\r\n"
    assert started.codes(rcpt * 8) == [250] + [452] * 7
    assert started.codes(b"DATA\r\n.\r\n") == [354, 250]


def test_utf8_paths_need_the_extension() -> None:
    config = dataclasses.replace(CONFIG, extensions=frozenset({"SMTPUTF8"}))
    mail, rcpt = "MAIL FROM:<ä@c.test>", "RCPT TO:<ü@mx.test>"
    started = ready(config)
    assert started.say(f"{mail}\r\n".encode()).startswith(b"553 5.6.7 ")
    assert started.codes(b"MAIL FROM:<a@c.test>\r\n") == [250]
    assert started.say(f"{rcpt}\r\n".encode()).startswith(b"553 5.6.7 ")
    assert started.codes(b"RSET\r\n") == [250]
    assert started.codes(f"{mail} SMTPUTF8\r\n{rcpt}\r\n".encode()) == [250, 250]


def test_data_after_every_recipient_was_refused() -> None:
    # RFC 2920 section 4.
    for verb in (b"DATA\r\n", b"BDAT 3 LAST\r\nx\r\n"):
        started = ready(answers={events.RcptReceived: Reply(550, None, "who?")})
        assert started.codes(ENVELOPE + verb) == [250, 550, 554]
        assert started.codes(b"NOOP\r\n") == [250]
        # It is forgotten with the transaction.
        assert started.codes(b"RSET\r\nMAIL FROM:<>\r\nDATA\r\n") == [250, 250, 503]
    lmtp = ready(LMTP, {events.RcptReceived: Reply(550, None, "who?")})
    assert lmtp.codes(ENVELOPE + b"DATA\r\n") == [250, 550, 503]


# --- The small commands. ---


def test_small_commands_by_default() -> None:
    started = ready()
    assert started.say(b"VRFY bob\r\n").startswith(b"252 2.5.0 ")
    assert started.say(b"EXPN list\r\n").startswith(b"502 5.5.1 ")
    answer = started.say(b"HELP MAIL\r\n")
    assert answer.startswith(b"214 2.0.0 ")
    assert b"MAIL" in answer
    assert started.seen[-3:] == [
        events.VrfyReceived("bob"),
        events.ExpnReceived("list"),
        events.HelpReceived("MAIL"),
    ]
    assert started.say(b"NOOP whatever\r\n") == b"250 2.0.0 OK\r\n"
    assert started.say(b"RSET\r\n") == b"250 2.0.0 OK\r\n"
    assert started.seen[-2:] == [
        events.CommandAnswered("NOOP"),
        events.CommandAnswered("RSET"),
    ]


def test_small_commands_by_hook() -> None:
    started = ready(
        answers={
            events.VrfyReceived: Reply(250, None, "<bob@mx.test>"),
            events.ExpnReceived: Reply(250, None, "<a@mx.test>\n<b@mx.test>"),
            events.HelpReceived: Reply(214, None, "none"),
        }
    )
    assert started.say(b"VRFY bob\r\n") == b"250 2.0.0 <bob@mx.test>\r\n"
    assert started.say(b"EXPN l\r\n") == (
        b"250-2.0.0 <a@mx.test>\r\n250 2.0.0 <b@mx.test>\r\n"
    )
    assert started.say(b"HELP\r\n") == b"214 2.0.0 none\r\n"


@pytest.mark.parametrize("line", [b"VRFY b\r\n", b"MAIL FROM:<>\r\n"])
def test_no_command_ends_in_an_intermediate_reply(line: bytes) -> None:
    started = ready()
    started.machine.receive_data(line)
    assert started.machine.next_event() is not None
    with pytest.raises(ValueError, match="cannot be the last reply"):
        started.machine.answer(Reply(354))
    started.machine.answer(Reply(450))
    assert reply_codes(started.machine.data_to_send()) == [450]


def test_rset_ends_the_transaction_once() -> None:
    started = ready()
    started.say(ENVELOPE + b"RSET\r\nRSET\r\n")
    assert started.machine.ended_transactions == 1
    assert started.codes(b"DATA\r\n") == [503]


@pytest.mark.parametrize(
    ("before", "is_clean"),
    [(b"", True), (b"MAIL FROM:<>\r\n", False), (ENVELOPE + b"BDAT 1\r\nx", False)],
)
def test_quit_ends_the_session(before: bytes, is_clean: bool) -> None:
    started = ready()
    started.say(before)
    assert started.say(b"QUIT\r\nNOOP\r\n") == b"221 2.0.0 goodbye\r\n"
    assert started.seen[-1] == events.ConnectionEnded("QUIT", is_clean=is_clean)
    assert started.kinds().count(events.MessageAborted) == before.count(b"BDAT")
    assert started.say(b"NOOP\r\n") == b""
    assert started.machine.buffered == 0


def test_replies_are_in_order_and_wait_for_answers() -> None:
    started = ready()
    machine = started.machine
    machine.receive_data(b"NOOP\r\nVRFY a\r\nNOOP\r\nVRFY b\r\n")
    assert machine.next_event() == events.CommandAnswered("NOOP")
    assert machine.next_event() == events.VrfyReceived("a")
    assert machine.next_event() is None
    assert reply_codes(machine.data_to_send()) == [250]
    machine.answer(Reply(550))
    assert machine.next_event() == events.CommandAnswered("NOOP")
    assert machine.next_event() == events.VrfyReceived("b")
    assert reply_codes(machine.data_to_send()) == [550, 250]


def test_a_held_back_reply() -> None:
    assert ready().codes(b"NOOP\r\nNOO") == [250]


def test_nobody_waits_for_an_answer() -> None:
    with pytest.raises(RuntimeError, match="no event waits"):
        ready().machine.answer(None)


# --- Every pipelined command has its turn. ---


@pytest.mark.parametrize(
    ("line", "verb"),
    [(b"NOOP\r\n", "NOOP"), (b"RSET\r\n", "RSET"), (b"BDAT 0\r\n", "BDAT")],
)
def test_one_event_for_each_command(line: bytes, verb: str) -> None:
    # Else a hundred thousand of them would be one turn, and neighbours would wait.
    started = ready()
    started.say(ENVELOPE)
    started.machine.receive_data(line * 100)
    first = started.machine.next_event()
    if verb == "BDAT":
        assert first == events.DataRequested(is_bdat=True)
        started.machine.answer(None)
    else:
        assert first == events.CommandAnswered(verb)
    for _ in range(99):
        assert started.machine.next_event() == events.CommandAnswered(verb)


# --- Lines. ---


def test_command_line_at_its_limit_and_over() -> None:
    config = limited(max_command_octets=40)
    started = ready(config)
    assert started.codes(b"NOOP " + b"x" * 33 + b"\r\n") == [250]
    assert started.say(b"NOOP " + b"x" * 34 + b"\r\n").startswith(b"500 5.5.2 ")
    assert started.codes(b"NOOP\r\n") == [250]


@pytest.mark.parametrize("size", [3_000, 13_000])
def test_long_line_octet_by_octet(size: int) -> None:
    line = b"NOOP " + b"x" * size + b"\r\nNOOP\r\n"
    assert ready().codes(line) == [500, 250]
    started = ready()
    for piece in cut(line, range(1, size, 700)):
        started.say(piece)
        assert started.machine.buffered <= 12_288
    assert reply_codes(started.sent)[-2:] == [500, 250]


@pytest.mark.parametrize("size", [0, 3_000, 13_000])
@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1",
        b"post / HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_another_protocol_ends_at_once(line: bytes, size: int) -> None:
    # However long: a browser's header lines are what an attacker chose.
    request = line + b" " + b"x" * size + b"\r\n" + b"NOOP\r\n"
    for pieces in ([request], cut(request, range(1, len(request), 1_000))):
        started = talk()
        assert reply_codes(started.say(*pieces)) == [421]
        assert isinstance(started.seen[-1], events.ConnectionEnded)


def test_tls_hello_without_line_end() -> None:
    started = talk()
    assert started.codes(b"\x16") == []
    assert started.codes(b"\x03\x01") == [421]


def test_no_tls_hello_within_a_long_line() -> None:
    line = b"x" * 13_000 + b"\x16\x03" + b"\r\nNOOP\r\n"
    assert talk().codes(line) == [500, 250]
    assert talk().codes(line[:13_000], line[13_000:]) == [500, 250]


@pytest.mark.parametrize(
    "line",
    [
        b"BDAT -1",
        b"BDAT +5",
        b"BDAT 99999999999999999999",
        b"BDAT",
        b"BDAT 5 LASTX",
        b"BDAT 5 LAST x",
        b"bdat x",
        b"BDAT " + b"0" * 3_000 + b"5",
        b"BDAT " + b"0" * 13_000 + b"5",
    ],
)
def test_chunk_whose_size_nobody_knows(line: bytes) -> None:
    # What follows may be content: it is not run.
    for pieces in ([line + b"\r\nNOOP\r\n"], singly(line + b"\r\nNOOP\r\n")):
        started = ready()
        started.say(ENVELOPE)
        before = len(started.sent)
        started.say(*pieces)
        (code,) = reply_codes(started.sent[before:])
        assert code == (501 if len(line) < 2_000 else 500)
        assert started.seen[-1] == events.ConnectionEnded(
            "BDAT without a valid size", is_clean=False
        )
        assert not started.messages


# --- Limits of a session. ---


def test_errors_at_their_limit() -> None:
    started = ready(limited(max_errors=3))
    assert started.codes(b"X\r\nX\r\n") == [500, 500]
    assert started.say(b"X\r\nNOOP\r\n") == b"421 4.7.0 too many errors\r\n"
    assert isinstance(started.seen[-1], events.ConnectionEnded)


def test_an_accepted_message_forgives_errors() -> None:
    started = ready(limited(max_errors=3))
    assert started.codes(b"X\r\nX\r\n" + ENVELOPE + b"DATA\r\n.\r\n") == (
        [500, 500, 250, 250, 354, 250]
    )
    assert started.codes(b"X\r\nX\r\nX\r\n") == [500, 500, 421]


def test_a_refused_message_does_not() -> None:
    started = ready(
        limited(max_errors=3), {events.MessageComplete: Reply(550, None, "spam")}
    )
    assert started.codes(b"X\r\n" + ENVELOPE + b"DATA\r\n.\r\n")[-1] == 550
    assert started.codes(b"X\r\n") == [421]


def test_refusals_of_hooks_are_errors() -> None:
    answers: Answers = {events.RcptReceived: Reply(550, None, "who?")}
    started = ready(limited(max_errors=2), answers)
    assert started.codes(ENVELOPE + b"RCPT TO:<c@mx.test>\r\n") == [250, 550, 421]


def test_commands_at_their_limit() -> None:
    started = ready(limited(max_commands=3))
    assert started.codes(b"NOOP\r\n" * 3) == [250, 250, 421]
    assert isinstance(started.seen[-1], events.ConnectionEnded)


def test_transactions_at_their_limit() -> None:
    started = ready(limited(max_transactions=2))
    mail = b"MAIL FROM:<>\r\nRSET\r\n"
    assert started.codes(mail * 2) == [250] * 4
    assert started.say(mail).startswith(b"421 4.7.0 ")
    assert isinstance(started.seen[-1], events.ConnectionEnded)


def test_421_of_a_hook_ends_the_session() -> None:
    started = ready(answers={events.RcptReceived: Reply(421, None, "bye")})
    assert started.codes(ENVELOPE + b"NOOP\r\n") == [250, 421]
    assert started.seen[-1] == events.ConnectionEnded("bye", is_clean=False)
    assert started.machine.ended_transactions == 1


def test_etrn() -> None:
    """RFC 1985 section 5.1."""
    started = ready(USER)
    assert started.say(b"ETRN @mx.c.test\r\n") == (
        b"458 4.3.0 unable to queue messages for node @mx.c.test\r\n"
    )
    assert started.seen[-1] == events.EtrnReceived("@mx.c.test")
    started = ready(USER, {events.EtrnReceived: Reply(253, None, "2 pending")})
    assert started.say(LINES["ETRN"]) == b"253 2.0.0 2 pending\r\n"
    assert ready().codes(LINES["ETRN"]) == [502]


# --- What LIMITS tells is held (RFC 9422). ---


def rcpt_to(*domains: str) -> bytes:
    return b"".join(f"RCPT TO:<b@{domain}>\r\n".encode() for domain in domains)


def test_domains_of_a_session_are_limited() -> None:
    started = ready(limited(max_recipient_domains=2))
    begin = b"RSET\r\nMAIL FROM:<>\r\n"
    said = begin + rcpt_to("one.test", "ONE.test") + begin + rcpt_to("two.test")
    assert started.codes(said) == [250] * 7
    assert started.say(rcpt_to("three.test")).startswith(b"452 4.5.3 ")
    assert started.codes(rcpt_to("one.test") + b"RCPT TO:<postmaster>\r\n") == [250] * 2


def test_a_refused_recipient_uses_up_no_domain() -> None:
    config = limited(max_recipient_domains=1)
    refusing = ready(config, {events.RcptReceived: Reply(550, None, "who?")})
    refused = refusing.codes(LINES["MAIL"] + rcpt_to("one.test", "two.test"))
    assert refused == [250, 550, 550]
    started = ready(config)
    said = LINES["MAIL"] + b"RCPT TO:<postmaster>\r\n" + rcpt_to("a.test", "b.test")
    assert started.codes(said) == [250, 250, 250, 452]


def test_time_is_told_by_the_minute() -> None:
    config = dataclasses.replace(CONFIG, extensions=frozenset({"FUTURERELEASE"}))
    began = datetime(2030, 1, 1, 12, 30, 59, 5, tzinfo=UTC)
    machine = ServerMachine(config, now=began)
    started = Talk(machine)
    started.pump()
    assert b"FUTURERELEASE 5184000 2030-03-02T12:30:00Z\r\n" in started.say(hello())
    begin = b"MAIL FROM:<> HOLDUNTIL=2030-"
    assert started.codes(begin + b"03-02T12:30:01Z\r\n") == [501]
    assert started.codes(begin + b"01-01T12:30:00Z\r\n") == [501]
    assert started.codes(begin + b"03-02T12:30:00Z\r\n") == [250]


# --- What is demanded before MAIL. ---


def test_tls_required() -> None:
    config = dataclasses.replace(USER, requires_tls=True)
    started = talk(config)
    assert started.codes(hello() + b"NOOP\r\n") == [250, 250]
    for verb in ("MAIL", "AUTH", "VRFY", "EXPN", "ETRN", "HELP", "RSET", "XPING"):
        assert started.say(LINES[verb]).startswith(b"530 5.7.0 ")
    assert started.codes(b"STARTTLS\r\n") == [220]
    assert ready(config, is_tls=True).codes(LINES["MAIL"]) == [250]
    assert talk(config).codes(LINES["QUIT"]) == [221]


def test_auth_required() -> None:
    config = dataclasses.replace(USER, requires_auth=True)
    started = ready(config, is_tls=True)
    for verb in ("MAIL", "VRFY", "EXPN", "ETRN"):
        assert started.say(LINES[verb]).startswith(b"530 5.7.0 ")
    assert started.codes(b"AUTH PLAIN AGEAYg==\r\n" + LINES["MAIL"]) == [235, 250]


# --- The end. ---


def test_end_of_stream_between_commands_is_clean() -> None:
    started = ready()
    started.say(b"NOOP\r\n")
    started.machine.receive_eof()
    started.pump()
    assert started.seen[-1] == events.ConnectionEnded(
        "the client closed the connection", is_clean=True
    )


@pytest.mark.parametrize(
    "octets", [b"NO", b"MAIL FROM:<>\r\n", b"BDAT 9\r\nx", b"AUTH LOGIN\r\ndGl"]
)
def test_end_of_stream_within_anything_is_not(octets: bytes) -> None:
    started = ready(USER, is_tls=True)
    started.machine.receive_data(octets)
    started.machine.receive_eof()
    started.pump()
    ended = started.seen[-1]
    assert isinstance(ended, events.ConnectionEnded)
    assert not ended.is_clean
    assert state_of(started.machine) is ServerState.CLOSED


def test_what_was_sent_before_the_end_is_answered() -> None:
    started = ready()
    started.machine.receive_data(ENVELOPE + b"DATA\r\nhi\r\n.\r\n")
    started.machine.receive_eof()
    started.pump()
    assert started.messages == [b"hi\r\n"]
    assert reply_codes(started.sent)[-4:] == [250, 250, 354, 250]


DIALOGUE = (
    hello()
    + ENVELOPE
    + b"DATA\r\none\r\n.\r\n"
    + ENVELOPE
    + b"BDAT 5\r\ntwo\r\nBDAT 3 LAST\r\n...QUIT\r\n"
)
#: Where a message is complete.
ENDS = [DIALOGUE.index(b"\r\n.\r\n") + 5, DIALOGUE.index(b"QUIT")]


@pytest.mark.parametrize("end", ["receive_eof", "abort"])
def test_end_at_every_place_of_a_dialogue(end: str) -> None:
    for place in range(len(DIALOGUE)):
        started = talk()
        started.say(DIALOGUE[:place])
        if end == "abort":
            started.machine.abort("gone")
        else:
            started.machine.receive_eof()
        started.pump()
        complete = sum(place >= each for each in ENDS)
        assert started.messages == [b"one\r\n", b"two\r\n..."][:complete]
        kinds = started.kinds()
        assert kinds[-1] is events.ConnectionEnded
        assert kinds.count(events.ConnectionEnded) == 1
        begun = kinds.count(events.DataRequested)
        assert kinds.count(events.MessageComplete) == complete
        # The chunk of a BDAT may be granted and none of its octets have come.
        assert kinds.count(events.MessageAborted) == begun - complete
        assert not started.machine.is_body_open
        assert started.machine.envelope is None


def test_close_says_a_last_word() -> None:
    started = ready()
    started.say(ENVELOPE + b"DATA\r\nhal")
    started.machine.close(replies.SHUTTING_DOWN, "shutdown")
    started.pump()
    assert reply_codes(started.sent)[-1] == 421
    assert started.seen[-2:] == [
        events.MessageAborted("shutdown"),
        events.ConnectionEnded("shutdown", is_clean=False),
    ]
    started.machine.close(replies.SHUTTING_DOWN, "again")
    started.machine.abort("again")
    started.pump()
    assert reply_codes(started.sent)[-2:] == [354, 421]
    assert isinstance(started.seen[-1], events.ConnectionEnded)


def test_close_while_an_answer_is_awaited() -> None:
    started = ready()
    started.machine.receive_data(b"VRFY bob\r\nNOOP\r\n")
    assert started.machine.next_event() == events.VrfyReceived("bob")
    started.machine.close(replies.IDLE_TIMEOUT, "slow")
    assert not started.machine.is_waiting
    assert started.machine.next_event() == events.ConnectionEnded(
        "slow", is_clean=False
    )
    assert started.machine.next_event() is None
    with pytest.raises(RuntimeError):
        started.machine.answer(None)


def test_what_informs_outlives_the_end() -> None:
    started = ready(limited(max_errors=1))
    started.machine.receive_data(b"X\r\nVRFY bob\r\n")
    refused, ended = started.machine.next_event(), started.machine.next_event()
    assert isinstance(refused, events.CommandRefused)
    assert isinstance(ended, events.ConnectionEnded)
    assert started.machine.next_event() is None


def test_what_nobody_will_answer_does_not() -> None:
    started = ready()
    started.say(ENVELOPE + b"BDAT 1\r\nx")
    started.machine.receive_data(hello())
    aborted = started.machine.next_event()
    assert isinstance(aborted, events.MessageAborted)
    started.machine.abort("gone")
    assert isinstance(started.machine.next_event(), events.ConnectionEnded)


# --- Random sessions. ---

GARBAGE = st.binary(max_size=12).map(lambda octets: octets.replace(b"\n", b""))
COMMANDS = st.one_of(
    st.sampled_from(
        [
            *LINES.values(),
            ENVELOPE + b"DATA\r\nhi\r\n.\r\n",
            ENVELOPE + b"DATA\r\n.\r\r\n.\n.\r\n\r\n.\r\n",
            ENVELOPE + b"DATA\r\n" + b"x" * 300 + b"\r\nx\ny\r\n.\r\n",
            ENVELOPE + b"BDAT 4\r\nQUITBDAT 6 LAST\r\nRSET\r\n",
            ENVELOPE + b"BDAT 300\r\n" + b"y" * 300,
            b"BDAT 6\r\nQUIT\r\n",
            b"BDAT 5 LAST\r\n\r\n.\r\n",
            b"BDAT 0 LAST\r\n",
            b"BDAT x\r\n",
            b"AUTH PLAIN AGEAYg==\r\n",
            b"AUTH LOGIN\r\n*\r\n",
            b"AUTH LOGIN\r\nYQ==\r\nYg==\r\n",
            b"AUTH PLAIN !\r\n",
            b"MAIL FROM:<a@b> SIZE=257\r\n",
            b"NOOP " + b"x" * 3_000 + b"\r\n",
            b"x" * 13_000 + b"\r\n",
        ]
    ),
    GARBAGE.map(lambda octets: octets + b"\r\n"),
    GARBAGE.map(lambda octets: b"MAIL FROM:<" + octets + b">\r\n"),
    GARBAGE.map(lambda octets: b"AUTH LOGIN\r\n" + octets + b"\r\n"),
)


def outcome(
    config: ServerConfig, pieces: list[bytes], refuse: Callable[[int], bool]
) -> tuple[bytes, list[bytes], list[type], ServerState, bytes]:
    """Play a session in which every nth answer refuses."""
    machine = ServerMachine(config, is_local=True)
    started = Talk(machine)
    count = 0

    def answer(kind: type) -> Callable[[ServerMachine, object], None]:
        def give(machine: ServerMachine, _event: object) -> None:
            nonlocal count
            count += 1
            if refuse(count) and kind is not events.ClientConnected:
                machine.answer(Reply(450, None, "no"))
            elif kind is events.AuthQuestion:
                machine.answer_question(True)
            else:
                machine.answer(None)

        return give

    started.answers = {
        kind: answer(kind)
        for kind in vars(events).values()
        if isinstance(kind, type) and kind.__module__ == events.__name__
    }
    started.pump()
    for piece in pieces:
        started.say(piece)
    before_end = started.sent
    machine.receive_eof()
    started.pump()
    assert machine.state is ServerState.CLOSED
    kinds = [kind for kind in started.kinds() if kind is not events.BodyReceived]
    check_order_of(kinds)
    return before_end, started.messages, kinds, machine.state, started.sent


def check_order_of(kinds: list[type]) -> None:
    """No message without MAIL, RCPT, DATA; every one ends once."""
    seen: list[type] = []
    for kind in kinds:
        if kind is events.MessageComplete:
            assert events.DataRequested in seen
            assert seen.index(events.MailReceived) < seen.index(events.RcptReceived)
            assert seen.index(events.RcptReceived) < seen.index(events.DataRequested)
            seen = []
        elif kind in {events.MessageAborted, events.HelloReceived}:
            seen = []
        else:
            seen.append(kind)
    assert kinds.count(events.ConnectionEnded) == 1
    assert kinds[-1] is events.ConnectionEnded


@given(
    st.lists(COMMANDS, max_size=14),
    st.data(),
    st.booleans(),
    st.integers(2, 40),
)
def test_any_session_in_any_segmentation(
    commands: list[bytes], data: st.DataObject, is_lmtp: bool, every: int
) -> None:
    config = dataclasses.replace(
        USER,
        is_lmtp=is_lmtp,
        offers_starttls=False,
        limits=Limits(max_message_octets=256, max_errors=20),
    )
    octets = hello(config) + b"".join(commands)

    def refuse(count: int) -> bool:
        return count % every == 0

    expected = outcome(config, [octets], refuse)
    assert outcome(config, list(singly(octets)), refuse) == expected
    places = data.draw(st.lists(st.integers(0, len(octets)), max_size=20))
    assert outcome(config, cut(octets, places), refuse) == expected
    replies_of(expected[4])


@given(st.lists(st.sampled_from(sorted(LINES)), max_size=30))
def test_one_reply_for_each_command(verbs: list[str]) -> None:
    config = limited(USER, max_errors=1_000)
    started = talk(config, is_local=True)
    for verb in verbs:
        if started.machine.state is ServerState.CLOSED:
            assert started.codes(LINES[verb]) == []
        elif started.machine.state is ServerState.AUTH:
            assert started.codes(b"*\r\n") == [501]
        elif started.machine.state is ServerState.DATA:
            assert started.codes(b".\r\n") == [250]
        elif started.machine.state is ServerState.TLS:
            started.machine.tls_started()
        else:
            assert len(started.codes(LINES[verb])) == 1


# --- What is no fault of a client. ---

FLOOD = Reply(450, "4.7.28", "too many recipients; retry after 9 seconds")


def test_recipients_that_must_wait_do_not_lose_the_others() -> None:
    answers: list[Reply | None] = [None, *[FLOOD] * 5]

    def next_answer(machine: ServerMachine, _event: object) -> None:
        machine.answer(answers.pop(0))

    started = ready(limited(max_errors=3), {events.RcptReceived: next_answer})
    codes = started.codes(ENVELOPE + b"RCPT TO:<c@mx.test>\r\n" * 5)
    assert codes == [250, 250, *[450] * 5]
    assert started.machine.errors == 0
    assert started.codes(b"DATA\r\nhi\r\n.\r\n") == [354, 250]


def test_a_flood_without_an_accepted_recipient_ends() -> None:
    started = ready(limited(max_errors=3), {events.RcptReceived: FLOOD})
    codes = started.codes(ENVELOPE + b"RCPT TO:<c@mx.test>\r\n" * 2)
    assert codes == [250, 450, 450, 421]


def test_a_flood_of_messages_ends() -> None:
    started = ready(limited(max_errors=3), {events.MailReceived: FLOOD})
    assert started.codes(b"MAIL FROM:<a@c.test>\r\n" * 3) == [450, 450, 421]


def test_other_refusals_after_a_recipient_are_faults() -> None:
    refusal = Reply(450, "4.7.1", "greylisted")
    answers: list[Reply | None] = [None, *[refusal] * 3]

    def next_answer(machine: ServerMachine, _event: object) -> None:
        machine.answer(answers.pop(0))

    started = ready(limited(max_errors=3), {events.RcptReceived: next_answer})
    codes = started.codes(ENVELOPE + b"RCPT TO:<c@mx.test>\r\n" * 3)
    assert codes == [250, 250, 450, 450, 421]


def test_too_many_domains_are_no_fault() -> None:
    started = ready(limited(max_recipient_domains=1, max_errors=3))
    codes = started.codes(ENVELOPE + b"RCPT TO:<c@mx2.test>\r\n" * 5 + b"NOOP\r\n")
    assert codes == [250, 250, *[452] * 5, 250]


def test_errors_are_counted_up_to_the_next_message() -> None:
    started = ready()
    started.say(b"BOGUS\r\n" * 2)
    assert started.machine.errors == 2
    started.say(ENVELOPE + b"DATA\r\nhi\r\n.\r\n")
    assert started.machine.errors == 0

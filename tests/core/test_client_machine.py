"""The client's machine: what may be sent, what answers what, and when all is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from smtpx.core.client import ClientMachine
from smtpx.core.client_base import Asked
from smtpx.core.client_states import ClientState
from smtpx.core.trace import WireLog
from smtpx.errors import BadParameter, BadReply, UnsafeOctets
from smtpx.wire.address import Mailbox
from smtpx.wire.commands import (
    Auth,
    Bdat,
    Data,
    Ehlo,
    Helo,
    Mail,
    Noop,
    Quit,
    Raw,
    Rcpt,
    Rset,
    StartTLS,
)
from smtpx.wire.forwarded import XClient, XForward
from smtpx.wire.options import (
    MailOptions,
    Notify,
    OriginalRecipient,
    RcptOptions,
)
from smtpx.wire.reply_decoder import ReplyLimits

if TYPE_CHECKING:
    from smtpx.wire.commands import Command

ALICE = Mailbox("alice", "a.test")
BOB = Mailbox("bob", "b.test")
ALL = ("PIPELINING", "CHUNKING", "STARTTLS", "AUTH PLAIN LOGIN", "DSN", "SMTPUTF8")


def hear(machine: ClientMachine, *lines: str) -> list[tuple[object, int]]:
    """Feed lines; return what they answer, with their codes."""
    machine.receive_data("".join(f"{line}\r\n" for line in lines).encode())
    heard: list[tuple[object, int]] = []
    while (answer := machine.next_reply()) is not None:
        heard.append((answer[0], answer[1].code))
    return heard


def say(machine: ClientMachine, *commands: Command) -> bytes:
    for command in commands:
        machine.send(command)
    return bytes(machine.data_to_send())


def state_of(machine: ClientMachine) -> ClientState:
    """Return the state; a type checker thinks that an attribute stays as it was."""
    return machine.state


def is_waiting(machine: ClientMachine) -> bool:
    return machine.is_waiting


def is_in_step(machine: ClientMachine) -> bool:
    return machine.is_in_step


def greeted(
    *, is_lmtp: bool = False, limits: ReplyLimits | None = None
) -> ClientMachine:
    machine = ClientMachine(is_lmtp=is_lmtp, limits=limits or ReplyLimits())
    assert hear(machine, "220 mx.test ESMTP") == [(Asked.GREETING, 220)]
    return machine


def ready(*keywords: str, is_lmtp: bool = False) -> ClientMachine:
    machine = greeted(is_lmtp=is_lmtp)
    say(machine, Ehlo("client.test"))
    hear(machine, *[f"250-{keyword}" for keyword in ("mx.test", *keywords)], "250 HELP")
    return machine


def at_data(*, is_lmtp: bool = False) -> ClientMachine:
    machine = ready(*ALL, is_lmtp=is_lmtp)
    say(machine, Mail(ALICE), Rcpt(BOB), Rcpt(ALICE), Data())
    hear(machine, "250 ok", "250 ok", "250 ok", "354 go")
    assert state_of(machine) is ClientState.DATA
    return machine


# --- Order. ---


def test_nothing_is_said_before_the_greeting() -> None:
    machine = ClientMachine()
    with pytest.raises(RuntimeError, match="has to wait for the reply to greeting"):
        machine.send(Ehlo("client.test"))
    assert machine.data_to_send() == b""
    assert not is_in_step(machine)


def test_refused_greeting_closes() -> None:
    machine = ClientMachine()
    assert hear(machine, "554 no service") == [(Asked.GREETING, 554)]
    assert not is_in_step(machine)
    assert machine.state is ClientState.CLOSED
    with pytest.raises(RuntimeError, match="out of order"):
        machine.send(Quit())


def test_ehlo_tells_capabilities_and_helo_none() -> None:
    machine = ready("PIPELINING", "SIZE 1000")
    assert state_of(machine) is ClientState.READY
    assert machine.capabilities.size == 1000
    assert machine.may_pipeline
    assert "mx.test" not in machine.capabilities
    say(machine, Helo("client.test"))
    hear(machine, "250 mx.test")
    assert dict(machine.capabilities) == {}


def test_refused_ehlo_keeps_what_is_known() -> None:
    machine = ready("PIPELINING")
    say(machine, Ehlo("other.test"))
    assert hear(machine, "421 busy") == [(Ehlo("other.test"), 421)]
    assert machine.may_pipeline


@pytest.mark.parametrize("command", [Rcpt(BOB), Data(), Bdat(1, True)])
def test_command_out_of_order_changes_nothing(command: Command) -> None:
    machine = ready(*ALL)
    said = "out of order: the state is ready, where in order are AUTH, EHLO, "
    with pytest.raises(RuntimeError, match=said):
        machine.send(command)
    assert is_in_step(machine)
    assert say(machine, Mail(None)) == b"MAIL FROM:<>\r\n"


def test_command_by_hand_is_not_checked_for_order() -> None:
    machine = ready()
    assert say(machine, Raw("rcpt", "TO:<x@y.test>")) == b"rcpt TO:<x@y.test>\r\n"
    hear(machine, "503 no")
    assert state_of(machine) is ClientState.READY
    say(machine, Raw("mail", "FROM:<>"))
    hear(machine, "250 ok")
    assert state_of(machine) is ClientState.MAIL
    say(machine, Raw("XPING"))
    assert hear(machine, "399 odd") == [(Raw("XPING"), 399)]
    assert is_in_step(machine)


def test_command_by_hand_leads_where_its_verb_does() -> None:
    machine = ready("PIPELINING")
    machine.send_all((Raw("mail", "FROM:<>"), Rcpt(BOB)))
    assert machine.data_to_send() == b"mail FROM:<>\r\nRCPT TO:<bob@b.test>\r\n"
    hear(machine, "250 ok", "250 ok")
    assert state_of(machine) is ClientState.RCPT


def test_unsafe_argument_sends_nothing() -> None:
    machine = ready()
    with pytest.raises(UnsafeOctets):
        machine.send(Noop("a\r\nMAIL FROM:<evil@x.test>"))
    assert is_in_step(machine)
    assert machine.data_to_send() == b""


# --- Pipelining. ---


def test_envelope_and_data_share_a_flight() -> None:
    machine = ready(*ALL)
    flight = say(machine, Rset(), Mail(ALICE), Rcpt(BOB), Rcpt(ALICE), Data())
    assert flight == (
        b"RSET\r\nMAIL FROM:<alice@a.test>\r\nRCPT TO:<bob@b.test>\r\n"
        b"RCPT TO:<alice@a.test>\r\nDATA\r\n"
    )
    assert is_waiting(machine)
    assert hear(machine, "250 ok", "250 ok", "550 no", "250 ok", "354 go") == [
        (Rset(), 250),
        (Mail(ALICE), 250),
        (Rcpt(BOB), 550),
        (Rcpt(ALICE), 250),
        (Data(), 354),
    ]
    assert machine.accepted == 1
    assert not is_waiting(machine)
    assert not is_in_step(machine)


def test_without_pipelining_each_command_waits() -> None:
    machine = ready("CHUNKING")
    say(machine, Mail(ALICE))
    assert not is_in_step(machine)
    with pytest.raises(RuntimeError, match="RCPT has to wait for the reply to MAIL"):
        machine.send(Rcpt(BOB))
    hear(machine, "250 ok")
    assert say(machine, Rcpt(BOB)) == b"RCPT TO:<bob@b.test>\r\n"


@pytest.mark.parametrize(
    "last", [Ehlo("client.test"), StartTLS(), Auth("PLAIN", b"\0a\0b"), Noop(), Quit()]
)
def test_some_commands_come_last_in_a_flight(last: Command) -> None:
    machine = ready(*ALL)
    say(machine, last)
    with pytest.raises(RuntimeError, match="has to wait"):
        machine.send(Rset())


def test_nothing_follows_data_before_its_reply() -> None:
    machine = ready(*ALL)
    with pytest.raises(RuntimeError, match="354"):
        machine.send_content(b"x")
    with pytest.raises(RuntimeError, match="354"):
        machine.send_ready(b"x\r\n")
    with pytest.raises(RuntimeError, match="354"):
        machine.end_content()
    assert is_in_step(machine)
    say(machine, Mail(ALICE), Rcpt(BOB), Data())
    with pytest.raises(RuntimeError, match="MAIL has to wait for the reply to DATA"):
        machine.send(Mail(ALICE))
    with pytest.raises(RuntimeError, match="354"):
        machine.send_content(b"x")
    with pytest.raises(RuntimeError, match="354"):
        machine.end_content()


def test_next_transaction_may_follow_the_end_of_a_message() -> None:
    """RFC 2920 section 3.1: message text may begin a flight."""
    machine = at_data()
    machine.send_content(b"x\r\n")
    machine.end_content()
    assert say(machine, Mail(BOB), Rcpt(ALICE)).startswith(b"x\r\n.\r\nMAIL FROM:<bob")
    assert hear(machine, "250 queued", "250 ok", "250 ok") == [
        (Asked.END_OF_CONTENT, 250),
        (Mail(BOB), 250),
        (Rcpt(ALICE), 250),
    ]
    assert state_of(machine) is ClientState.RCPT
    assert machine.accepted == 1


def test_looking_ahead_starts_again_from_the_truth() -> None:
    """After a flight in which MAIL was refused, no transaction is open."""
    machine = ready(*ALL)
    say(machine, Mail(ALICE), Rcpt(BOB))
    hear(machine, "550 no", "503 no")
    assert state_of(machine) is ClientState.READY
    with pytest.raises(RuntimeError, match="RCPT is out of order"):
        machine.send(Rcpt(BOB))
    say(machine, Mail(BOB))


def test_refused_sender_takes_its_recipients_along() -> None:
    machine = ready(*ALL)
    say(machine, Mail(ALICE), Rcpt(BOB))
    hear(machine, "250 ok", "250 ok")
    say(machine, Rset(), Mail(ALICE), Rcpt(BOB))
    hear(machine, "250 ok", "550 no", "503 no")
    assert machine.accepted == 0


def test_a_flight_ends_before_the_command_that_cannot_be_said() -> None:
    machine = ready(*ALL)
    bad = Rcpt(BOB, RcptOptions(extra={"X": "1"}))
    with pytest.raises(BadParameter):
        machine.send_all((Mail(ALICE), Rcpt(BOB), bad, Rcpt(ALICE)))
    assert machine.data_to_send() == (
        b"MAIL FROM:<alice@a.test>\r\nRCPT TO:<bob@b.test>\r\n"
    )
    assert machine.outstanding == 2
    with pytest.raises(RuntimeError, match="wait for the reply to DATA"):
        machine.send_all((Data(), Rset()))
    assert machine.data_to_send() == b"DATA\r\n"
    assert machine.outstanding == 3


# --- Content. ---


def test_a_recipient_who_comes_again_is_written_as_it_has_to_be_now() -> None:
    machine = ready("PIPELINING", "DSN", "SMTPUTF8")
    again, other = Mailbox.parse("b@mx.test"), Mailbox.parse("c@mx.test")
    dsn = RcptOptions(notify=(Notify.NEVER,))
    utf8 = RcptOptions(original_recipient=OriginalRecipient("utf-8", "\u00fc@mx.test"))
    plain, asked = b"RCPT TO:<b@mx.test>\r\n", b"RCPT TO:<b@mx.test> NOTIFY=NEVER\r\n"
    say(machine, Mail(None))
    assert say(machine, Rcpt(again)) == plain
    assert say(machine, Rcpt(again)) == plain
    assert say(machine, Rcpt(other)) == b"RCPT TO:<c@mx.test>\r\n"
    assert say(machine, Rcpt(again)) == plain
    assert say(machine, Rcpt(again, dsn)) == asked
    assert say(machine, Rcpt(again)) == plain
    in_ascii = say(machine, Rcpt(again, utf8))
    say(machine, Rset(), Mail(None, MailOptions(smtputf8=True)))
    assert say(machine, Rcpt(again, utf8)) != in_ascii
    say(machine, Rset(), Mail(None))
    assert say(machine, Rcpt(again, utf8)) == in_ascii
    # What is offered now counts.
    say(machine, Rcpt(again, dsn))
    hear(machine, *["250 ok"] * 15)
    say(machine, Ehlo("client.test"))
    hear(machine, "250-mx.test", "250 PIPELINING")
    say(machine, Mail(None))
    with pytest.raises(BadParameter):
        machine.send(Rcpt(again, dsn))


def test_content_that_is_ready_goes_as_it_is() -> None:
    machine = at_data()
    machine.send_ready(memoryview(b"..a\r\nb\r\n")[:5])
    machine.send_ready(b"b\r\n")
    machine.end_content()
    assert machine.data_to_send() == b"..a\r\nb\r\n.\r\n"


def test_content_is_stuffed_and_ended() -> None:
    machine = at_data()
    machine.send_content(b".hidden\nsplit\r")
    machine.send_content(b"\n.")
    machine.end_content()
    assert machine.data_to_send() == b"..hidden\r\nsplit\r\n..\r\n.\r\n"
    with pytest.raises(RuntimeError, match="354"):
        machine.send_content(b"more")
    with pytest.raises(RuntimeError, match="354"):
        machine.end_content()
    assert hear(machine, "250 queued") == [(Asked.END_OF_CONTENT, 250)]
    assert is_in_step(machine)
    assert state_of(machine) is ClientState.READY


def test_content_that_is_lines_already_is_stuffed_all_the_same() -> None:
    machine = at_data()
    machine.send_content(b".a\r\n.b\r\n", has_crlf=True)
    machine.send_content(b"", has_crlf=True)
    machine.send_content(b".c", has_crlf=True)
    machine.end_content()
    assert machine.data_to_send() == b"..a\r\n..b\r\n..c\r\n.\r\n"


def test_each_message_has_its_own_line_starts() -> None:
    machine = at_data()
    machine.send_content(b"no line end")
    machine.end_content()
    assert machine.data_to_send() == b"no line end\r\n.\r\n"
    hear(machine, "250 ok")
    say(machine, Mail(ALICE), Rcpt(BOB), Data())
    hear(machine, "250 ok", "250 ok", "354 go")
    machine.send_content(b".x")
    machine.end_content()
    assert machine.data_to_send() == b"..x\r\n.\r\n"


def test_lone_dot_ends_data_without_recipients() -> None:
    machine = ready(*ALL)
    say(machine, Mail(ALICE), Rcpt(BOB), Data())
    hear(machine, "250 ok", "550 no", "354 go")
    assert state_of(machine) is ClientState.DATA
    assert machine.accepted == 0
    machine.end_content()
    assert machine.data_to_send() == b".\r\n"
    assert hear(machine, "554 no recipients") == [(Asked.END_OF_CONTENT, 554)]
    assert state_of(machine) is ClientState.FAILED
    assert is_in_step(machine)


@pytest.mark.parametrize("code", ["450", "550"])
def test_refused_message_wants_a_reset(code: str) -> None:
    machine = at_data()
    machine.end_content()
    hear(machine, f"{code} no")
    with pytest.raises(RuntimeError, match="MAIL is out of order"):
        machine.send(Mail(ALICE))
    say(machine, Rset(), Mail(ALICE))
    hear(machine, "250 ok", "250 ok")
    assert state_of(machine) is ClientState.MAIL


def test_chunks_carry_their_octets_as_they_are() -> None:
    machine = ready(*ALL)
    say(machine, Mail(ALICE), Rcpt(BOB))
    machine.send_chunk(b"\n.\r\nQUIT\r\n", is_last=False)
    machine.send_chunk(b"", is_last=True)
    flight = bytes(machine.data_to_send())
    assert flight.endswith(b"BDAT 10\r\n\n.\r\nQUIT\r\nBDAT 0 LAST\r\n")
    heard = hear(machine, "250 ok", "250 ok", "250 10 octets", "250 queued")
    assert heard[2:] == [(Bdat(10, False), 250), (Bdat(0, True), 250)]
    assert state_of(machine) is ClientState.READY


def test_refused_chunk_wants_a_reset() -> None:
    """RFC 3030 section 2: the state after a failed BDAT is for RSET to clear."""
    machine = ready(*ALL)
    say(machine, Mail(ALICE), Rcpt(BOB))
    machine.send_chunk(b"x", is_last=False)
    hear(machine, "250 ok", "250 ok", "552 too much")
    assert state_of(machine) is ClientState.FAILED
    with pytest.raises(RuntimeError, match="BDAT is out of order"):
        machine.send(Bdat(1, False))


def test_octets_are_returned_once() -> None:
    machine = ready()
    assert say(machine, Noop()) == b"NOOP\r\n"
    assert machine.data_to_send() == b""


# --- LMTP. ---


def test_lmtp_answers_the_end_once_for_each_accepted_recipient() -> None:
    machine = at_data(is_lmtp=True)
    machine.end_content()
    assert hear(machine, "250 ok") == [(Asked.END_OF_CONTENT, 250)]
    assert is_waiting(machine)
    assert hear(machine, "552 full") == [(Asked.END_OF_CONTENT, 552)]
    assert not is_waiting(machine)


def test_lmtp_counts_anew_for_each_message() -> None:
    machine = at_data(is_lmtp=True)
    machine.end_content()
    hear(machine, "250 ok", "250 ok")
    say(machine, Mail(ALICE), Rcpt(BOB), Rcpt(BOB), Rcpt(BOB))
    machine.send_chunk(b"x", is_last=False)
    machine.send_chunk(b"y", is_last=True)
    hear(machine, "250 ok", "250 ok", "450 no", "250 ok", "250 chunk", "250 one")
    assert is_waiting(machine)
    hear(machine, "250 two")
    assert is_in_step(machine)


def test_lmtp_refuses_a_chunk_without_recipients_once() -> None:
    machine = ready(*ALL, is_lmtp=True)
    say(machine, Mail(ALICE), Rcpt(BOB))
    machine.send_chunk(b"x", is_last=True)
    hear(machine, "250 ok", "550 no", "503 no recipients")
    assert is_in_step(machine)
    # That it was one reply for nobody is forgotten by the next message.
    say(machine, Rset(), Mail(ALICE), Rcpt(BOB), Rcpt(BOB))
    machine.send_chunk(b"x", is_last=True)
    hear(machine, *["250 ok"] * 4, "250 one")
    assert is_waiting(machine)
    hear(machine, "250 two")
    assert is_in_step(machine)


def test_smtp_answers_the_end_once() -> None:
    machine = at_data()
    machine.end_content()
    hear(machine, "250 ok")
    assert is_in_step(machine)


# --- AUTH. ---


def test_responses_follow_challenges() -> None:
    machine = ready(*ALL)
    assert say(machine, Auth("LOGIN")) == b"AUTH LOGIN\r\n"
    with pytest.raises(RuntimeError, match="334"):
        machine.send_response(b"user")
    hear(machine, "334 VXNlcm5hbWU6")
    assert state_of(machine) is ClientState.AUTH
    assert not is_in_step(machine)
    with pytest.raises(RuntimeError, match="NOOP is out of order"):
        machine.send(Noop())
    machine.send_response(b"user")
    assert machine.data_to_send() == b"dXNlcg==\r\n"
    with pytest.raises(RuntimeError, match="334"):
        machine.send_response(b"again")
    hear(machine, "334 UGFzc3dvcmQ6")
    machine.send_response(b"")
    assert machine.data_to_send() == b"\r\n"
    assert hear(machine, "235 welcome") == [(Asked.RESPONSE, 235)]
    assert is_in_step(machine)
    assert state_of(machine) is ClientState.READY


def test_exchange_can_be_cancelled_while_a_challenge_is_open() -> None:
    machine = ready(*ALL)
    with pytest.raises(RuntimeError, match="334"):
        machine.send_response(None)
    say(machine, Auth("LOGIN"))
    hear(machine, "334 ")
    machine.send_response(None)
    assert machine.data_to_send() == b"*\r\n"
    hear(machine, "501 cancelled")
    assert is_in_step(machine)


# --- STARTTLS. ---


def test_tls_forgets_everything() -> None:
    machine = ready(*ALL)
    with pytest.raises(RuntimeError, match="220 to STARTTLS"):
        machine.tls_started()
    say(machine, StartTLS())
    hear(machine, "220 go")
    assert state_of(machine) is ClientState.TLS
    with pytest.raises(RuntimeError, match="out of order"):
        machine.send(Ehlo("client.test"))
    machine.tls_started()
    assert state_of(machine) is ClientState.START
    assert not machine.capabilities
    with pytest.raises(RuntimeError, match="MAIL is out of order"):
        machine.send(Mail(ALICE))
    say(machine, Ehlo("client.test"))


def test_refused_tls_leaves_things_as_they_were() -> None:
    machine = ready(*ALL)
    say(machine, StartTLS())
    hear(machine, "454 not now")
    assert state_of(machine) is ClientState.READY
    assert "STARTTLS" in machine.capabilities


@pytest.mark.parametrize(
    "tail", [b"250-x\r\n250 AUTH PLAIN\r\n", b"250-AUTH LOG", b"\r"]
)
def test_octets_behind_the_220_are_an_attack(tail: bytes) -> None:
    """CVE-2021-38371: even a part of a line."""
    machine = ready(*ALL)
    say(machine, StartTLS())
    machine.receive_data(b"220 go\r\n" + tail)
    with pytest.raises(BadReply, match="STARTTLS"):
        machine.next_reply()
    assert state_of(machine) is ClientState.BROKEN
    with pytest.raises(RuntimeError, match="TLS starts after"):
        machine.tls_started()


def test_octets_that_come_before_the_handshake_are_an_attack_too() -> None:
    machine = ready(*ALL)
    say(machine, StartTLS())
    hear(machine, "220 go")
    with pytest.raises(BadReply, match="STARTTLS"):
        machine.receive_data(b"2")
    assert state_of(machine) is ClientState.BROKEN


# --- XCLIENT. ---


@pytest.mark.parametrize(
    "command", [XClient(addr="192.0.2.1"), Raw("xclient", "ADDR=192.0.2.1")]
)
def test_xclient_starts_again(command: Command) -> None:
    machine = ready(*ALL)
    say(machine, command)
    hear(machine, "220 mx.test")
    assert state_of(machine) is ClientState.START
    assert not machine.capabilities


@pytest.mark.parametrize("reply", ["501 no", "421 bye"])
def test_refused_xclient_changes_nothing(reply: str) -> None:
    machine = ready(*ALL)
    say(machine, XClient(addr="192.0.2.1"))
    hear(machine, reply)
    expected = ClientState.CLOSED if reply == "421 bye" else ClientState.READY
    assert state_of(machine) is expected
    assert machine.capabilities


@pytest.mark.parametrize("reply", ["250 ok", "501 no"])
def test_xforward_changes_nothing(reply: str) -> None:
    machine = ready(*ALL)
    say(machine, XForward(ident="4XkQ2"))
    hear(machine, reply)
    assert state_of(machine) is ClientState.READY


@pytest.mark.parametrize("command", [XClient(port=1), XForward(port=1)])
def test_no_gateway_speaks_inside_a_transaction(command: Command) -> None:
    machine = ready(*ALL)
    say(machine, Mail(None))
    hear(machine, "250 ok")
    with pytest.raises(RuntimeError, match="order"):
        machine.send(command)


# --- Out of step. ---


@pytest.mark.parametrize(
    "reply",
    [b"25\r\n", b"999 x\r\n", b"250-a\r\n251 b\r\n", b"250 no CR\n", b"x\r\n", b"\r\n"],
)
def test_malformed_reply_breaks_the_connection(reply: bytes) -> None:
    machine = ready(*ALL)
    say(machine, Noop())
    machine.receive_data(reply)
    with pytest.raises(BadReply):
        machine.next_reply()
    assert state_of(machine) is ClientState.BROKEN
    assert not is_waiting(machine)
    for broken in (lambda: machine.receive_data(b"250 ok\r\n"), machine.next_reply):
        with pytest.raises(BadReply, match="out of step"):
            broken()


@pytest.mark.parametrize(
    ("command", "code"),
    [(Noop(), 354), (Mail(ALICE), 354), (Ehlo("client.test"), 334), (Quit(), 354)],
)
def test_reply_of_a_class_that_the_command_cannot_have(
    command: Command, code: int
) -> None:
    machine = ready(*ALL)
    say(machine, command)
    with pytest.raises(BadReply, match=f"reply {code} to {command.verb}"):
        hear(machine, f"{code} odd")
    assert state_of(machine) is ClientState.BROKEN


def test_data_answered_with_2yz_is_out_of_step() -> None:
    machine = ready(*ALL)
    say(machine, Mail(ALICE), Rcpt(BOB), Data())
    with pytest.raises(BadReply, match="reply 250 to DATA"):
        hear(machine, "250 ok", "250 ok", "250 ok")


@pytest.mark.parametrize("code", [250, 354, 450, 550])
def test_reply_that_nobody_asked_for_breaks_the_connection(code: int) -> None:
    machine = ready(*ALL)
    with pytest.raises(BadReply, match="no command asked for"):
        hear(machine, f"{code} hello again")
    assert state_of(machine) is ClientState.BROKEN


@pytest.mark.parametrize("early", [b"2", b"250 planted\r\n"])
def test_octets_that_lie_in_wait_are_not_taken_for_an_answer(early: bytes) -> None:
    """They would be paired with the next command, and all after it would shift."""
    machine = ready(*ALL)
    machine.receive_data(early)
    assert not is_in_step(machine)
    with pytest.raises(BadReply, match="no command asked for"):
        machine.send(Noop())
    assert state_of(machine) is ClientState.BROKEN
    assert machine.data_to_send() == b""


def test_reply_behind_the_last_answer_is_found_at_once() -> None:
    machine = ready(*ALL)
    say(machine, Noop())
    with pytest.raises(BadReply, match="no command asked for"):
        hear(machine, "250 ok", "250 one more")


def test_server_may_say_goodbye_at_any_time() -> None:
    machine = ready(*ALL)
    assert hear(machine, "421 idle for too long") == [(Asked.NOTHING, 421)]
    assert state_of(machine) is ClientState.CLOSED
    with pytest.raises(RuntimeError, match="out of order"):
        machine.send(Noop())


def test_goodbye_as_an_answer_closes_too() -> None:
    machine = ready(*ALL)
    say(machine, Mail(ALICE))
    assert hear(machine, "421 closing") == [(Mail(ALICE), 421)]
    assert state_of(machine) is ClientState.CLOSED


@pytest.mark.parametrize("code", [421, 452, 552])
def test_refusal_before_the_end_of_the_content(code: int) -> None:
    """The server still takes what comes for content, so there is no way back."""
    machine = at_data()
    machine.send_content(b"x" * 100)
    asked = Asked.NOTHING if code == 421 else Asked.END_OF_CONTENT
    machine.receive_data(f"{code} enough\r\n".encode())
    answer = machine.next_reply()
    assert answer is not None
    assert (answer[0], answer[1].code) == (asked, code)
    assert state_of(machine) is (
        ClientState.CLOSED if code == 421 else ClientState.BROKEN
    )
    assert not is_in_step(machine)


def test_acceptance_before_the_end_of_the_content_is_out_of_step() -> None:
    machine = at_data()
    with pytest.raises(BadReply, match="no command asked for"):
        hear(machine, "250 queued")


def test_end_of_stream_closes_and_answers_nothing() -> None:
    machine = ready(*ALL)
    say(machine, Noop())
    machine.receive_eof()
    assert state_of(machine) is ClientState.CLOSED
    assert not is_waiting(machine)
    assert machine.next_reply() is None
    with pytest.raises(RuntimeError, match="out of order: the state is closed"):
        machine.send(Noop())


def test_after_giving_up_no_reply_is_paired() -> None:
    machine = ready(*ALL)
    machine.send(Noop())
    machine.break_off()
    assert machine.data_to_send() == b""
    assert not is_waiting(machine)
    assert not is_in_step(machine)
    with pytest.raises(RuntimeError, match="out of order: the state is broken"):
        machine.send(Noop())
    with pytest.raises(BadReply):
        machine.receive_data(b"250 late\r\n")
    machine.receive_eof()
    assert state_of(machine) is ClientState.BROKEN
    with pytest.raises(RuntimeError, match="out of order: the state is broken"):
        machine.send(Noop())


def test_quit_closes() -> None:
    machine = ready(*ALL)
    say(machine, Quit())
    hear(machine, "221 bye")
    assert state_of(machine) is ClientState.CLOSED


def test_reply_limits_hold() -> None:
    machine = greeted(limits=ReplyLimits(max_line_octets=100))
    say(machine, Noop())
    with pytest.raises(BadReply):
        hear(machine, "250 " + "x" * 100)


# --- Parameters. ---


def test_parameters_go_out_only_where_they_are_offered() -> None:
    machine = ready(*ALL)
    assert say(machine, Mail(None, MailOptions(envelope_id="a b"))) == (
        b"MAIL FROM:<> ENVID=a+20b\r\n"
    )
    hear(machine, "250 ok")
    assert say(machine, Rcpt(BOB, RcptOptions(notify=(Notify.NEVER,)))) == (
        b"RCPT TO:<bob@b.test> NOTIFY=NEVER\r\n"
    )
    hear(machine, "250 ok")
    poor = ready()
    with pytest.raises(BadParameter):
        poor.send(Mail(None, MailOptions(envelope_id="x")))
    assert is_in_step(poor)
    say(poor, Mail(None))
    hear(poor, "250 ok")
    with pytest.raises(BadParameter):
        poor.send(Rcpt(BOB, RcptOptions(notify=(Notify.NEVER,))))
    assert is_in_step(poor)


@pytest.mark.parametrize(("is_utf8", "encoded"), [(True, "grå"), (False, "gr\\x{E5}")])
def test_original_recipient_is_written_for_the_transaction(
    is_utf8: bool, encoded: str
) -> None:
    machine = ready(*ALL)
    # One with SMTPUTF8 before must not count for the next.
    say(machine, Mail(None, MailOptions(smtputf8=True)), Rset())
    hear(machine, "250 ok", "250 ok")
    say(machine, Mail(None, MailOptions(smtputf8=is_utf8)))
    hear(machine, "250 ok")
    options = RcptOptions(original_recipient=OriginalRecipient("utf-8", "grå@b.test"))
    line = say(machine, Rcpt(BOB, options))
    assert line.decode() == f"RCPT TO:<bob@b.test> ORCPT=utf-8;{encoded}@b.test\r\n"


# --- The wire log. ---


def test_log_has_everything_but_secrets_and_content() -> None:
    lines: list[str] = []
    machine = ClientMachine(log=WireLog(lines.append))
    hear(machine, "220 mx.test")
    say(machine, Ehlo("client.test"))
    hear(machine, "250-mx.test", "250 AUTH LOGIN")
    say(machine, Auth("PLAIN", b"\0user\0secret"))
    hear(machine, "334 Y2hhbGxlbmdl")
    machine.send_response(b"secret")
    hear(machine, "235 ok")
    say(machine, Mail(ALICE))
    hear(machine, "250 ok")
    say(machine, Rcpt(BOB))
    hear(machine, "250 ok")
    say(machine, Data())
    hear(machine, "354 go")
    machine.send_content(b"private\r\n")
    machine.send_content(b"")
    machine.end_content()
    assert lines == [
        "S: 220 mx.test",
        "C: EHLO client.test",
        "S: 250-mx.test",
        "S: 250 AUTH LOGIN",
        "C: AUTH PLAIN ***",
        "S: 334 ***",
        "C: ***",
        "S: 235 ok",
        "C: MAIL FROM:<alice@a.test>",
        "S: 250 ok",
        "C: RCPT TO:<bob@b.test>",
        "S: 250 ok",
        "C: DATA",
        "S: 354 go",
        "C: (9 octets of content)",
    ]


@pytest.mark.parametrize("step", [1, 2, 7])
def test_segmentation_changes_nothing(step: int) -> None:
    machine = ready(*ALL)
    say(machine, Mail(ALICE), Rcpt(BOB), Data())
    replies = b"250-2.1.0 a\r\n250 2.1.0 b\r\n550 5.1.1 no\r\n354 go\r\n"
    heard = []
    for start in range(0, len(replies), step):
        machine.receive_data(replies[start : start + step])
        while (answer := machine.next_reply()) is not None:
            heard.append((answer[0], str(answer[1])))
    assert heard == [
        (Mail(ALICE), "250 2.1.0 a\nb"),
        (Rcpt(BOB), "550 5.1.1 no"),
        (Data(), "354 go"),
    ]


# --- What is under way, and what is kept secret. ---


def under_way(machine: ClientMachine) -> tuple[object, int, bool]:
    return machine.awaited, machine.outstanding, machine.has_data_to_send


def test_machine_tells_what_is_awaited() -> None:
    machine = ready(*ALL)
    assert under_way(machine) == (None, 0, False)
    machine.send(Mail(ALICE))
    machine.send(Rcpt(BOB))
    assert under_way(machine) == (Mail(ALICE), 2, True)
    assert machine.data_to_send() == (
        b"MAIL FROM:<alice@a.test>\r\nRCPT TO:<bob@b.test>\r\n"
    )
    assert under_way(machine) == (Mail(ALICE), 2, False)
    hear(machine, "250 ok")
    assert under_way(machine) == (Rcpt(BOB), 1, False)


def test_reply_that_repeats_a_secret_loses_its_text() -> None:
    machine = ready(*ALL)
    machine.secrets = ("c2VjcmV0",)
    say(machine, Mail(ALICE), Rcpt(BOB))
    machine.receive_data(
        b"250 2.0.0 ok\r\n535-5.7.8 no\r\n535 5.7.8 user c2VjcmV0 is unknown\r\n"
    )
    replies = [answer[1] for _ in range(2) if (answer := machine.next_reply())]
    assert [(reply.code, str(reply.enhanced)) for reply in replies] == [
        (250, "2.0.0"),
        (535, "5.7.8"),
    ]
    assert replies[0].text == "ok"
    assert "repeats" in replies[1].text
    assert "c2VjcmV0" not in str(replies[1])


def test_malformed_reply_is_not_shown_while_there_are_secrets() -> None:
    machine = ready(*ALL)
    machine.secrets = ("c2VjcmV0",)
    say(machine, Noop())
    machine.receive_data(b"c2VjcmV0\r\n")
    with pytest.raises(BadReply, match="not shown") as caught:
        machine.next_reply()
    assert "c2VjcmV0" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert state_of(machine) is ClientState.BROKEN

"""STARTTLS, which forgets everything, and AUTH, which shows nothing to anybody."""

from __future__ import annotations

import base64
import dataclasses

import pytest

from smtpx.core import events
from smtpx.core.config import ServerConfig
from smtpx.core.limits import Limits
from smtpx.core.server import ServerMachine
from smtpx.core.states import ServerState
from smtpx.sasl.mechanism import (
    Challenge,
    Identity,
    Question,
    ServerMechanism,
    Step,
    Success,
)
from smtpx.sasl.registry import SERVER_MECHANISMS
from smtpx.wire.replies import Reply
from tests.core.machines import CONFIG, ENVELOPE, Talk, hello, ready, singly, talk

STARTTLS = dataclasses.replace(CONFIG, offers_starttls=True)
AUTH = dataclasses.replace(CONFIG, mechanisms=SERVER_MECHANISMS)

SECRET = "Geheim-77"
PLAIN = base64.b64encode(f"\0tim\0{SECRET}".encode())
USER = base64.b64encode(b"tim")
PASSWORD = base64.b64encode(SECRET.encode())


def under_tls(config: ServerConfig = AUTH, log: list[str] | None = None) -> Talk:
    return ready(config, is_tls=True, log=log)


def refuse_password(machine: ServerMachine, _event: events.AuthQuestion) -> None:
    machine.answer_question(False)


# --- STARTTLS. ---


@pytest.mark.parametrize("tail", [b"RSET\r\n", b"N", b"\x16\x03\x01"])
def test_what_follows_starttls_in_plaintext_is_never_run(tail: bytes) -> None:
    # CVE-2011-0411, CVE-2021-38542, CVE-2024-34083.
    started = ready(STARTTLS)
    assert started.say(b"STARTTLS\r\n" + tail).startswith(b"421 4.7.0 ")
    assert isinstance(started.seen[-1], events.ConnectionEnded)
    assert started.machine.buffered == 0


def test_plaintext_between_220_and_the_handshake_ends_the_session() -> None:
    started = ready(STARTTLS)
    assert started.codes(b"STARTTLS\r\n") == [220]
    assert started.say(b"RSET\r\nMAIL FROM:<evil@x>\r\n") == b""
    assert started.seen[-1] == events.ConnectionEnded(
        "plaintext where a TLS handshake was due", is_clean=False
    )


def test_plaintext_octet_by_octet() -> None:
    started = ready(STARTTLS)
    assert started.codes(*singly(b"STARTTLS\r\nRSET\r\n")) == [220]
    assert started.machine.state is ServerState.CLOSED


def test_plaintext_never_reaches_the_session_under_tls() -> None:
    started = ready(STARTTLS)
    started.say(b"STARTTLS\r\n")
    started.machine.receive_data(b"MAIL FROM:<evil@x>\r\n")
    started.machine.tls_started()
    assert started.codes(hello()) == [250]
    assert events.MailReceived not in started.kinds()


def test_tls_forgets_everything() -> None:
    config = dataclasses.replace(AUTH, offers_starttls=True)
    started = ready(config, is_local=True)
    assert started.codes(b"AUTH PLAIN " + PLAIN + b"\r\n") == [235]
    assert started.machine.identity is not None
    assert started.codes(b"STARTTLS\r\n") == [220]
    started.machine.tls_started()
    machine = started.machine
    assert (machine.hello_name, machine.identity, machine.envelope) == (None,) * 3
    assert not machine.is_extended
    assert machine.is_tls
    assert started.codes(b"MAIL FROM:<>\r\n") == [503]
    answered = started.say(hello())
    assert b"STARTTLS" not in answered
    assert started.say(b"STARTTLS\r\n").startswith(b"503 5.5.1 ")
    assert started.codes(b"AUTH PLAIN " + PLAIN + b"\r\n") == [235]


def test_abuse_is_not_forgotten() -> None:
    config = dataclasses.replace(
        STARTTLS, limits=Limits(max_errors=3, max_auth_attempts=2)
    )
    started = ready(config)
    assert started.codes(b"X\r\nX\r\nSTARTTLS\r\n") == [500, 500, 220]
    started.machine.tls_started()
    assert started.codes(b"X\r\n") == [421]


def test_attempts_are_not_forgotten() -> None:
    config = dataclasses.replace(
        AUTH, offers_starttls=True, limits=Limits(max_auth_attempts=2)
    )
    started = ready(config, {events.AuthQuestion: refuse_password}, is_local=True)
    line = b"AUTH PLAIN " + PLAIN + b"\r\n"
    assert started.codes(line) == [535]
    assert started.codes(b"STARTTLS\r\n") == [220]
    started.machine.tls_started()
    assert started.codes(hello() + line) == [250, 421]


def test_starttls_is_not_configured() -> None:
    assert ready().say(b"STARTTLS\r\n").startswith(b"502 5.5.1 ")


def test_starttls_refused_by_its_driver() -> None:
    started = ready(STARTTLS, {events.StartTLSRequested: Reply(454, "4.7.0", "no")})
    assert started.say(b"STARTTLS\r\n") == b"454 4.7.0 no\r\n"
    assert started.codes(b"NOOP\r\n") == [250]


def test_starttls_is_granted_with_220() -> None:
    started = ready(STARTTLS)
    started.machine.receive_data(b"STARTTLS\r\n")
    assert started.machine.next_event() == events.StartTLSRequested()
    with pytest.raises(ValueError, match="granted with 220"):
        started.machine.answer(Reply(250))
    started.machine.answer(Reply(220, "2.0.0", "go"))
    assert started.machine.data_to_send() == b"220 2.0.0 go\r\n"


def test_tls_starts_after_a_220_only() -> None:
    with pytest.raises(RuntimeError, match="only after a 220"):
        ready(STARTTLS).machine.tls_started()


def test_client_gone_in_the_handshake() -> None:
    started = ready(STARTTLS)
    started.say(b"STARTTLS\r\n")
    started.machine.receive_eof()
    started.pump()
    assert isinstance(started.seen[-1], events.ConnectionEnded)


# --- AUTH. ---


def test_plain() -> None:
    started = under_tls()
    assert started.say(b"AUTH PLAIN " + PLAIN + b"\r\n").startswith(b"235 2.7.0 ")
    assert started.machine.identity == Identity("tim", "", "PLAIN")
    assert started.say(b"AUTH PLAIN " + PLAIN + b"\r\n").startswith(b"503 5.5.1 ")
    # It survives RSET and EHLO.
    started.say(b"RSET\r\n" + hello())
    assert started.machine.identity is not None


@pytest.mark.parametrize("first", [b"AUTH LOGIN\r\n" + USER, b"AUTH LOGIN " + USER])
def test_login(first: bytes) -> None:
    octets = first + b"\r\n" + PASSWORD + b"\r\n"
    for pieces in ([octets], singly(octets)):
        started = under_tls()
        assert started.codes(*pieces)[-2:] == [334, 235]


def test_lower_case_and_equals_sign() -> None:
    started = under_tls()
    assert started.codes(b"auth plain =\r\n") == [535]
    assert started.codes(b"AUTH PLAIN\r\n" + PLAIN + b"\r\n") == [334, 235]


@pytest.mark.parametrize(
    ("octets", "answer"),
    [
        (b"AUTH PLAIN !\r\n", b"501 5.5.2 "),
        (b"AUTH PLAIN\r\n!\r\n", b"501 5.5.2 "),
        (b"AUTH PLAIN\r\n*\r\n", b"501 5.7.0 "),
        (b"AUTH NTLM\r\n", b"504 5.5.4 "),
        (b"AUTH\r\n", b"501 5.5.4 "),
        (b"AUTH PLAIN\r\nAAAA\r\n", b"535 5.7.8 "),
    ],
)
def test_refusals(octets: bytes, answer: bytes) -> None:
    started = under_tls()
    answered = started.say(octets)
    assert answered.removeprefix(b"334 \r\n").startswith(answer)
    assert started.machine.identity is None
    assert started.codes(b"NOOP\r\n") == [250]


def test_wrong_password() -> None:
    started = ready(AUTH, {events.AuthQuestion: refuse_password}, is_tls=True)
    assert started.say(b"AUTH PLAIN " + PLAIN + b"\r\n").startswith(b"535 5.7.8 ")


def test_no_password_in_plaintext() -> None:
    started = ready(AUTH)
    assert started.say(b"AUTH PLAIN " + PLAIN + b"\r\n").startswith(b"538 5.7.11 ")
    assert events.AuthQuestion not in started.kinds()
    assert ready(AUTH, is_local=True).codes(b"AUTH LOGIN\r\n") == [334]


def test_auth_is_not_configured() -> None:
    assert ready().say(b"AUTH PLAIN\r\n").startswith(b"502 5.5.1 ")


def test_auth_needs_ehlo() -> None:
    started = talk(AUTH, is_tls=True)
    assert started.codes(b"AUTH PLAIN\r\n") == [503]
    started.say(b"HELO c.test\r\n")
    assert started.say(b"AUTH PLAIN\r\n").startswith(b"503 5.5.1 AUTH is an extension")


def test_auth_inside_a_transaction() -> None:
    started = under_tls()
    started.say(ENVELOPE)
    assert started.codes(b"AUTH PLAIN " + PLAIN + b"\r\n") == [503]
    assert started.codes(b"DATA\r\n") == [354]


@pytest.mark.parametrize("at_once", [True, False])
def test_response_at_its_limit_and_over(at_once: bool) -> None:
    config = dataclasses.replace(AUTH, limits=Limits(max_auth_octets=102))
    for size, answer in ((100, b"535 5.7.8 "), (101, b"500 5.5.6 ")):
        started = under_tls(config)
        started.say(b"AUTH PLAIN\r\n")
        octets = b"A" * size + b"\r\nNOOP\r\n"
        answered = started.say(*([octets] if at_once else singly(octets)))
        assert answered.startswith(answer)
        assert answered.endswith(b"250 2.0.0 OK\r\n")


def test_auth_command_at_its_limit_and_over() -> None:
    config = dataclasses.replace(
        AUTH, limits=Limits(max_command_octets=50, max_auth_octets=113)
    )
    for limits_size, code in ((100, 535), (104, 500)):
        line = b"AUTH PLAIN " + b"A" * limits_size + b"\r\n"
        assert len(line) in {113, 117}
        assert under_tls(config).codes(line) == [code]


def test_auth_limit_below_that_of_commands() -> None:
    config = dataclasses.replace(AUTH, limits=Limits(max_auth_octets=50))
    started = under_tls(config)
    assert started.codes(b"AUTH PLAIN " + b"A" * 36 + b"\r\n") == [535]
    assert started.codes(b"AUTH PLAIN " + b"A" * 40 + b"\r\n") == [500]
    assert started.codes(b"NOOP " + b"A" * 100 + b"\r\n") == [250]


def test_attempts_at_their_limit() -> None:
    config = dataclasses.replace(AUTH, limits=Limits(max_auth_attempts=2))
    started = ready(config, {events.AuthQuestion: refuse_password}, is_tls=True)
    line = b"AUTH PLAIN " + PLAIN + b"\r\n"
    assert started.codes(line + line + b"NOOP\r\n") == [535, 421]
    refused = [e for e in started.seen if isinstance(e, events.AuthRefused)]
    assert [each.reply.code for each in refused] == [535, 421]
    assert {each.mechanism for each in refused} == {"PLAIN"}


def test_cancelling_is_no_attempt_but_an_error() -> None:
    config = dataclasses.replace(AUTH, limits=Limits(max_auth_attempts=1, max_errors=3))
    started = under_tls(config)
    again = b"AUTH LOGIN\r\n*\r\n"
    assert started.codes(again * 3) == [334, 501, 334, 501, 334, 421]


def test_the_check_itself_failed() -> None:
    started = under_tls()

    def give_up(machine: ServerMachine, _event: events.AuthQuestion) -> None:
        machine.answer(None)

    started.answers = {events.AuthQuestion: give_up}
    assert started.say(b"AUTH PLAIN " + PLAIN + b"\r\n").startswith(b"454 4.7.0 ")
    started.answers = {events.AuthQuestion: Reply(450, None, "busy")}
    assert started.say(b"AUTH PLAIN " + PLAIN + b"\r\n") == b"450 4.0.0 busy\r\n"
    assert started.machine.identity is None


def test_a_question_is_not_granted_by_a_reply() -> None:
    started = under_tls()
    started.machine.receive_data(b"AUTH PLAIN " + PLAIN + b"\r\n")
    assert isinstance(started.machine.next_event(), events.AuthQuestion)
    with pytest.raises(ValueError, match="granted by answer_question"):
        started.machine.answer(Reply(235))
    started.machine.answer_question(True)
    with pytest.raises(RuntimeError, match="no AuthQuestion waits"):
        started.machine.answer_question(True)
    assert isinstance(started.machine.next_event(), events.Authenticated)
    with pytest.raises(RuntimeError, match="no AuthQuestion waits"):
        started.machine.answer_question(True)
    assert started.machine.identity is None
    started.machine.answer(None)
    assert isinstance(started.machine.identity, Identity)


def test_no_question_without_auth() -> None:
    with pytest.raises(RuntimeError, match="no AuthQuestion waits"):
        under_tls().machine.answer_question(True)


def test_not_allowed_to_act_so() -> None:
    started = ready(
        AUTH, {events.Authenticated: Reply(535, None, "not as him")}, is_tls=True
    )
    line = b"AUTH PLAIN " + base64.b64encode(b"boss\0tim\0x") + b"\r\n"
    assert started.say(line) == b"535 5.0.0 not as him\r\n"
    event = started.seen[-2]
    assert event == events.Authenticated(Identity("tim", "boss", "PLAIN"))
    assert started.machine.identity is None
    started.answers = {events.Authenticated: Reply(235, None, "hello")}
    assert started.say(line) == b"235 2.0.0 hello\r\n"


@pytest.mark.parametrize("code", [250, 334])
def test_auth_is_granted_with_235(code: int) -> None:
    # A client takes nothing else for success (RFC 4954 section 6).
    started = under_tls()
    started.machine.receive_data(b"AUTH PLAIN " + PLAIN + b"\r\n")
    assert isinstance(started.machine.next_event(), events.AuthQuestion)
    started.machine.answer_question(True)
    assert isinstance(started.machine.next_event(), events.Authenticated)
    with pytest.raises(ValueError, match="granted with 235"):
        started.machine.answer(Reply(code))
    assert started.machine.identity is None


@dataclasses.dataclass(frozen=True)
class Riddle(Question):
    """A question of a mechanism of one's own."""

    text: str


class Riddles(ServerMechanism):
    """Asks, challenges, and sends data with its success."""

    name = "RIDDLES"
    shows_password = False

    def start(self, initial_response: bytes | None) -> Step:
        return Riddle("who?")

    def resume(self, answer: object) -> Step:
        return Challenge(str(answer).encode())

    def respond(self, response: bytes) -> Step:
        return Success(Identity(response.decode(), "", self.name), b"welcome")


def test_a_mechanism_of_ones_own() -> None:
    config = dataclasses.replace(AUTH, mechanisms={"RIDDLES": Riddles})

    def solve(machine: ServerMachine, event: events.AuthQuestion) -> None:
        assert event.question == Riddle("who?")
        machine.answer_question("you")

    started = ready(config, {events.AuthQuestion: solve})
    assert started.say(b"AUTH RIDDLES\r\n") == b"334 eW91\r\n"
    assert started.say(b"dGlt\r\n") == b"334 d2VsY29tZQ==\r\n"
    assert started.codes(b"\r\n") == [235]
    assert started.machine.identity == Identity("tim", "", "RIDDLES")


# --- Secrets. ---

DIALOGUES = [
    b"AUTH PLAIN " + PLAIN + b"\r\n",
    b"AUTH PLAIN\r\n" + PLAIN + b"\r\n",
    b"AUTH LOGIN\r\n" + USER + b"\r\n" + PASSWORD + b"\r\n",
    b"AUTH LOGIN " + USER + b"\r\n" + PASSWORD + b"\r\n",
    # Refused, and the client goes on all the same.
    b"AUTH NTLM\r\n" + USER + b"\r\n" + PASSWORD + b"\r\n",
    b"AUTH LOGIN !\r\n" + USER + b"\r\n" + PASSWORD + b"\r\n",
    b"AUTH LOGIN " + b"x" * 13_000 + b"\r\n" + PASSWORD + b"\r\n",
    b"AUTH\r\n" + USER + b"\r\n" + PASSWORD + b"\r\n",
    b"AUTH LOGIN\r\n*\r\n" + PASSWORD + b"\r\n",
    b"AUTH LOGIN\r\n" + USER + b"\r\n" + PASSWORD + b"!\r\n",
    b"AUTH LOGIN\r\n" + USER + b"\r\n" + SECRET.encode() + b"\r\n",
    b"AUTH " + PLAIN + b"\r\n",
    b"auth  plain  " + PLAIN + b"\r\n",
    b"MAIL FROM:<>\r\nAUTH LOGIN\r\n" + USER + b"\r\n" + PASSWORD + b"\r\n",
    b"AUTH PLAIN " + PLAIN + b"\r\nAUTH LOGIN\r\n" + USER + b"\r\n" + PASSWORD,
    # Mistyped.
    b"AUTHPLAIN " + PLAIN + b"\r\n",
    b"AUTHPLAIN" + PLAIN + b"\r\n",
    b"AUTH=PLAIN " + PLAIN + b"\r\n",
    b"AUHT LOGIN\r\n" + USER + b"\r\n" + PASSWORD + b"\r\n",
    b"login " + USER + b" " + PASSWORD + b"\r\n" + PASSWORD + b"\r\n",
    b"PASS " + SECRET.encode() + b"\r\n" + PLAIN + b"\r\n",
    b"\x00AUTH PLAIN " + PLAIN + b"\r\n",
]


@pytest.mark.parametrize("answer", ["right", "wrong", "unknown"])
@pytest.mark.parametrize("dialogue", DIALOGUES)
@pytest.mark.parametrize("is_tls", [True, False])
@pytest.mark.parametrize("at_once", [True, False])
def test_no_secret_is_logged_or_told(
    dialogue: bytes, answer: str, is_tls: bool, at_once: bool
) -> None:
    log: list[str] = []
    started = ready(AUTH, is_tls=is_tls, log=log)
    if answer != "right":
        started.answers = {
            events.AuthQuestion: refuse_password if answer == "wrong" else Reply(454)
        }
    started.say(*([dialogue] if at_once else singly(dialogue)))
    started.machine.receive_eof()
    started.pump()
    told = "\n".join([*log, *map(repr, started.seen)]).encode() + started.sent
    for secret in (SECRET.encode(), PASSWORD, PLAIN, PASSWORD[:10], PLAIN[-10:]):
        assert secret not in told
    assert b"C: " in told


def test_a_word_after_auth_may_be_the_password() -> None:
    """It looks like a verb, not like base64: by itself nothing tells what it is."""
    log: list[str] = []
    started = ready(AUTH, is_tls=True, log=log)
    started.say(b"opensesam\r\n")
    assert log[-2] == "C: opensesam"
    started.say(b"AUTH PLAIN !!\r\nabracadabra\r\n")
    told = "\n".join([*log, *map(repr, started.seen)])
    assert "abracadabra" not in told


def test_without_auth_lines_are_shown() -> None:
    # What is hidden always would be worth nothing for finding faults.
    log: list[str] = []
    started = ready(log=log)
    started.say(b"FROBNICATE\r\n" + ENVELOPE + b"DATA\r\nhi\r\n.\r\nBDAT 3\r\nabc")
    assert log == [
        "S: 220 mx.test ESMTP smtpx",
        "C: EHLO c.test",
        *(
            f"S: {line}"
            for line in started.sent.decode().split("\r\n")
            if line.startswith("250") and "OK" not in line and "accepted" not in line
        ),
        *log[log.index("C: FROBNICATE") :],
    ]
    assert "C: MAIL FROM:<a@c.test>" in log
    assert "C: (4 octets of content)" in log
    refused = [e for e in started.seen if isinstance(e, events.CommandRefused)]
    assert [each.command for each in refused] == ["FROBNICATE", "BDAT 3"]


@pytest.mark.parametrize("size", [3_000, 13_000])
def test_a_line_too_long_is_not_shown(size: int) -> None:
    # A password may be in it, with whatever came before.
    log: list[str] = []
    started = ready(log=log)
    assert started.codes(b"LOGIN tim " + b"x" * size + b"\r\n") == [500]
    assert log[-2:] == ["C: ***", "S: 500 5.5.2 line too long"]
    refused = started.seen[-1]
    assert isinstance(refused, events.CommandRefused)
    assert refused.command == "***"


def test_tls_is_noted() -> None:
    log: list[str] = []
    started = ready(STARTTLS, log=log)
    started.say(b"STARTTLS\r\n")
    started.machine.tls_started()
    assert log[-1] == "== TLS =="


def test_chunks_are_counted_in_the_log() -> None:
    log: list[str] = []
    started = ready(log=log)
    started.say(ENVELOPE + b"BDAT 7 LAST\r\nsecret!")
    assert "C: (7 octets of content)" in log
    assert not [line for line in log if "secret" in line]

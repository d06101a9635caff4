"""Many messages: refusals in odd places, and connections that end in odd ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from email.message import EmailMessage
from io import BytesIO

import pytest

from smtpx.client.options import Timeouts
from smtpx.client.outgoing import Rereader, SendWindow
from smtpx.errors import (
    ConnectionLost,
    DataRefused,
    Delivery,
    LineTooLong,
    NotSupported,
    PhaseTimeout,
    RecipientsRefused,
    SenderRefused,
)
from tests.client.mirror import Mirror
from tests.client.scripted import OPTIONS, Scripted, hello
from tests.client.test_bulk import (
    CHUNKING,
    DELIVERED,
    LMTP_URL,
    NOT_SENT,
    PIPELINING,
    REFUSED,
    UNKNOWN,
    blocks,
    chunked,
    fine,
    found,
    letter,
    letters,
    send_many,
)

# --- Refusals. ---


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "."])
def test_lock_step_goes_on_after_a_refusal(verb: str) -> None:
    scripted = Scripted(hello())
    server = Mirror(scripted, {f"{verb} 1": "550 5.0.0 no"})
    outcomes, error = send_many(scripted, letters(3))
    assert error is None
    assert found(outcomes) == [DELIVERED, REFUSED, DELIVERED]
    assert server.contents == [b"x\r\n"] * 2


@pytest.mark.parametrize("message", [b"y", [b"y", b"y"]])
@pytest.mark.parametrize("reply", ["450 4.3.0 no", "421 4.3.2 going", "EOF"])
def test_content_waits_for_the_reset_of_a_transaction_with_recipients(
    reply: str, message: bytes | list[bytes]
) -> None:
    """Found by the matrix: behind a refused RSET it was for the recipients before."""
    scripted = Scripted(CHUNKING, CHUNKING)
    server = Mirror(scripted, {"RCPT 1": "550 5.1.1 no", "RSET 0": reply})
    all_or_none = letter(0, b"x", ["a@b.test", "b@b.test"], require_all=True)
    outcomes, error = send_many(
        scripted, [all_or_none, letter(1, message)], retry_not_sent=True
    )
    assert error is None
    assert found(outcomes) == [REFUSED, DELIVERED]
    assert server.recipients == [["b@b.test"]]
    assert server.said.count(b"RSET\r\n") == 1
    assert len(scripted.channels) == 2


def test_a_refused_sender_saves_further_recipients() -> None:
    scripted = Scripted(CHUNKING)
    server = Mirror(scripted, {"MAIL 0": "550 5.7.1 no"})
    many = [f"r{number}@b.test" for number in range(2500)]
    outcomes, error = send_many(scripted, [letter(0, b"x", many), letter(1)])
    assert error is None
    assert found(outcomes) == [REFUSED, DELIVERED]
    assert isinstance(outcomes[0].error, SenderRefused)
    assert len(outcomes[0].refused) == 2500
    assert server.counts["RCPT"] == 999 + 1


LMTP_HELLO = hello("PIPELINING", "CHUNKING", verb="LHLO")
THREE = ["a@b.test", "b@b.test", "c@b.test"]


@pytest.mark.parametrize("opening", [LMTP_HELLO, hello(verb="LHLO")])
def test_lmtp_says_421_for_one_recipient_and_goes_on(opening: str) -> None:
    # No MAIL may follow: a 421 ends the connection, whatever else comes behind it.
    scripted = Scripted(opening, opening, url=LMTP_URL)
    server = Mirror(scripted, {"STATUS 1": "421 4.3.2 going"})
    messages = [letter(0, b"x", THREE), *letters(3)[1:]]
    outcomes, error = send_many(scripted, messages, retry_not_sent=True)
    assert error is None
    assert found(outcomes) == [DELIVERED] * 3
    assert [one.delivery for one in outcomes[0].recipients] == [
        DELIVERED,
        REFUSED,
        DELIVERED,
    ]
    assert sum(server.mails) == server.messages == 3


@pytest.mark.parametrize("opening", [LMTP_HELLO, hello(verb="LHLO")])
def test_lmtp_says_421_for_one_recipient_and_is_gone(opening: str) -> None:
    scripted = Scripted(opening, opening, url=LMTP_URL)
    Mirror(scripted, {"STATUS 1": "421 4.3.2 going", "STATUS 2": "EOF"})
    messages = [letter(0, b"x", THREE), letter(1)]
    outcomes, error = send_many(scripted, messages, retry_not_sent=True)
    assert error is None
    assert found(outcomes) == [DELIVERED, DELIVERED]
    # Whether the third has it, nobody said: it must not be sent again.
    assert [one.delivery for one in outcomes[0].recipients] == [
        DELIVERED,
        REFUSED,
        UNKNOWN,
    ]


def test_lmtp_refused_for_every_recipient() -> None:
    scripted = Scripted(hello("PIPELINING", "CHUNKING", verb="LHLO"), url=LMTP_URL)
    Mirror(scripted, {"STATUS 1": "452 4.2.2 full", "STATUS 2": "550 5.1.1 gone"})
    pair = ["a@b.test", "b@b.test"]
    outcomes, error = send_many(scripted, [letter(0), letter(1, b"x", pair), letter(2)])
    assert error is None
    assert found(outcomes) == [DELIVERED, REFUSED, DELIVERED]
    assert isinstance(outcomes[1].error, RecipientsRefused)
    assert [str(one.reply) for one in outcomes[1].refused] == [
        "452 4.2.2 full",
        "550 5.1.1 gone",
    ]


@pytest.mark.parametrize(
    ("keywords", "said", "granted"),
    [
        ("PIPELINING", "C: DATA", ["S: 354 go", "C: x", "C: ."]),
        ("PIPELINING CHUNKING", r"C| BDAT 3 LAST\r\nx\r\n", []),
    ],
)
def test_lmtp_refused_by_one_reply_for_all(
    keywords: str, said: str, granted: list[str]
) -> None:
    # One that is short of replies must not have others taken for them: were anything
    # said behind the message, its 250 would tell that the second recipient has it.
    scripted = Scripted(
        hello(*keywords.split(), verb="LHLO")
        + f"""
        C: MAIL FROM:<a@a.test>
        C: RCPT TO:<a@b.test>
        C: RCPT TO:<b@b.test>
        {said}
        S: 250 ok
        S: 250 ok
        S: 250 ok
        """
        + "\n".join(granted)
        + """
        S: 552 5.3.4 too large for all of them
        == TIMEOUT ==
        """,
        url=LMTP_URL,
    )
    pair = ["a@b.test", "b@b.test"]
    outcomes, error = send_many(scripted, [letter(0, b"x", pair), letter(1)])
    assert found(outcomes) == [UNKNOWN, NOT_SENT]
    assert [one.delivery for one in outcomes[0].recipients] == [REFUSED, UNKNOWN]
    assert isinstance(error, PhaseTimeout)


def test_lmtp_data_granted_for_nobody_costs_the_connection() -> None:
    scripted = Scripted(
        hello("PIPELINING", verb="LHLO")
        + """
        C: MAIL FROM:<a@a.test>
        C: RCPT TO:<b@b.test>
        C: DATA
        S: 250 ok
        S: 550 5.1.1 who?
        S: 354 go
        """,
        url=LMTP_URL,
    )
    outcomes, error = send_many(scripted, letters(1))
    assert error is None
    assert found(outcomes) == [REFUSED]
    assert scripted.channel.is_aborted
    assert not scripted.client.is_connected


def test_more_domains_than_the_server_takes_at_all() -> None:
    scripted = Scripted(hello("PIPELINING", "CHUNKING", "LIMITS RCPTDOMAINMAX=1"))
    Mirror(scripted)
    pair = ["a@b.test", "b@c.test"]
    outcomes, error = send_many(scripted, [letter(0, b"x", pair, require_all=True)])
    assert error is None
    assert found(outcomes) == [NOT_SENT]
    assert isinstance(outcomes[0].error, NotSupported)


@pytest.mark.parametrize("opening", [PIPELINING, CHUNKING])
def test_eight_bit_content_that_turns_up_too_late(opening: str) -> None:
    scripted = Scripted(opening, opening)
    server = Mirror(scripted)
    late = [*blocks(2), b"\xe4\r\n" * 40_000]
    outcomes, error = send_many(scripted, [letter(0), letter(1, late), letter(2)])
    assert error is None
    assert found(outcomes) == [DELIVERED, NOT_SENT, DELIVERED]
    assert isinstance(outcomes[1].error, NotSupported)
    assert server.contents == [b"x\r\n"] * 2


# --- The server speaks before the end of a message. ---

DATA = """
    C: MAIL FROM:<a@a.test>
    C: RCPT TO:<b@b.test>
    C: DATA
    S: 250 ok
    S: 250 ok
    S: 354 go
    """
BLOCK = "C| " + ("y" * 62 + "\\r\\n") * 1024 + "\n"


@pytest.mark.parametrize(
    ("code", "delivery"), [(552, REFUSED), (421, NOT_SENT)], ids=["552", "421"]
)
def test_a_word_in_the_middle_of_data(code: int, delivery: Delivery) -> None:
    scripted = Scripted(
        PIPELINING + DATA + BLOCK + f"== UNREADABLE ==\nS: {code} 5.3.4 no\n== EOF =="
    )
    outcomes, error = send_many(scripted, [letter(0, blocks(3)), letter(1)])
    assert isinstance(error, ConnectionLost)
    assert found(outcomes) == [delivery]
    assert outcomes[0].error is not None
    assert str(code) in str(outcomes[0].error)


def test_after_a_word_in_the_middle_another_connection_goes_on() -> None:
    one = DATA + "C: x\nC: .\nS: 250 ok\n"
    scripted = Scripted(
        PIPELINING + DATA + BLOCK + "== UNREADABLE ==\nS: 552 5.3.4 no\n== EOF ==",
        PIPELINING + one,
    )
    outcomes, error = send_many(
        scripted, [letter(0, blocks(3)), letter(1)], retry_not_sent=True
    )
    assert error is None
    assert found(outcomes) == [REFUSED, DELIVERED]
    assert isinstance(outcomes[0].error, DataRefused)
    scripted.require_end()


@pytest.mark.parametrize("failure", ["UNREADABLE", "STUCK"])
def test_replies_before_a_write_that_fails_count(failure: str) -> None:
    scripted = Scripted(
        CHUNKING
        + chunked(1, reset=False)
        + f"== {failure} ==\n"
        + fine(1, reset=False)
        + "== EOF =="
    )
    outcomes, error = send_many(scripted, iter(letters(3)))
    assert found(outcomes) == [DELIVERED, UNKNOWN]
    kind = PhaseTimeout if failure == "STUCK" else ConnectionLost
    assert type(error) is kind


# --- After 421. ---


def test_what_the_server_still_answers_after_421_counts() -> None:
    scripted = Scripted(
        CHUNKING
        + chunked(3, reset=False)
        + fine(1, reset=False)
        + "S: 250 reset\nS: 421 4.3.2 going down\n== WAIT 1 ==\n"
        + "S: 503 what?\nS: 503 what?\nS: 250 reset\nS: 250 ok\nS: 250 ok\nS: 250 Q2\n"
        + "== EOF =="
    )
    outcomes, error = send_many(scripted, letters(3))
    assert error is None
    assert found(outcomes) == [DELIVERED, REFUSED, DELIVERED]
    assert not scripted.client.is_connected


def test_a_server_that_dribbles_after_421_is_not_waited_for() -> None:
    dribble = "== WAIT 2 ==\nS| 2\n== WAIT 2 ==\nS| 5\n== WAIT 2 ==\nS| 0\n"
    scripted = Scripted(
        CHUNKING
        + chunked(2, reset=False)
        + fine(1, reset=False)
        + "S: 250 reset\nS: 421 4.3.2 going down\n"
        + dribble,
        options=replace(OPTIONS, timeouts=Timeouts(quit=5.0)),
    )
    started = scripted.runtime.now
    outcomes, _ = send_many(scripted, letters(2))
    assert found(outcomes) == [DELIVERED, UNKNOWN]
    assert scripted.runtime.now - started <= 6.0


def test_garbage_after_421_is_not_trusted() -> None:
    scripted = Scripted(
        CHUNKING
        + chunked(2, reset=False)
        + fine(1, reset=False)
        + "S: 250 reset\nS: 421 4.3.2 going down\n== WAIT 1 ==\nS: what?\n== EOF =="
    )
    outcomes, _ = send_many(scripted, letters(2))
    assert found(outcomes) == [DELIVERED, UNKNOWN]


# --- Again. ---


def test_connections_that_bring_something_are_tried_for_ever() -> None:
    scripted = Scripted(*[PIPELINING] * 8)
    Mirror(scripted, {f"MAIL {number}": "421 4.7.0 no" for number in range(1, 14, 2)})
    outcomes, error = send_many(scripted, letters(8), retry_not_sent=True)
    assert error is None
    assert found(outcomes) == [DELIVERED] * 8
    assert len(scripted.channels) == 8


def test_what_is_sent_again_keeps_its_order() -> None:
    scripted = Scripted(CHUNKING, CHUNKING)
    server = Mirror(scripted, {"MAIL 2": "421 4.3.2 enough"})
    messages = [letter(number, b"%d" % number) for number in range(8)]
    outcomes, error = send_many(scripted, messages, retry_not_sent=True)
    assert error is None
    assert found(outcomes) == [DELIVERED] * 8
    assert server.contents == [b"%d\r\n" % number for number in range(8)]


def test_a_stream_that_was_read_is_not_sent_again() -> None:
    scripted = Scripted(PIPELINING, PIPELINING)
    server = Mirror(scripted, {"DATA 1": "EOF"})
    lost = letter(1, iter([b"x\r\n"]))
    outcomes, error = send_many(
        scripted, [letter(0), lost, letter(2)], retry_not_sent=True
    )
    assert error is None
    assert found(outcomes) == [DELIVERED, NOT_SENT, DELIVERED]
    assert isinstance(outcomes[1].error, ConnectionLost)
    assert len(server.contents) == 2


def test_a_stream_that_was_read_is_not_parted_later() -> None:
    scripted = Scripted(CHUNKING)
    Mirror(scripted, most_recipients=2, too_many="452 4.5.3 too many")
    three = ["a@b.test", "b@b.test", "c@b.test"]
    outcomes, error = send_many(scripted, [letter(0, iter([b"x\r\n"]), three)])
    assert error is None
    (outcome,) = outcomes
    assert outcome.error is None
    assert [one.recipient for one in outcome.refused] == ["c@b.test"]


@pytest.mark.parametrize("opening", [PIPELINING, CHUNKING, hello()])
@pytest.mark.parametrize("retry", [True, False])
def test_those_who_were_too_many_are_not_lost_with_the_connection(
    opening: str, retry: bool
) -> None:
    """Found by the matrix: 452 4.5.3 before the connection broke was taken for good."""
    scripted = Scripted(opening, opening)
    verb = "BDAT" if opening is CHUNKING else "."
    server = Mirror(
        scripted, {f"{verb} 0": "EOF"}, most_recipients=2, too_many="452 4.5.3 many"
    )
    outcomes, _ = send_many(scripted, [letter(0, b"x", THREE)], retry_not_sent=retry)
    (outcome,) = outcomes
    assert [one.recipient for one in outcome.unknown] == ["a@b.test", "b@b.test"]
    assert isinstance(outcome.error, ConnectionLost)
    assert outcome.error.delivery is UNKNOWN
    assert server.recipients == ([["c@b.test"]] if retry else [])
    assert [one.recipient for one in outcome.accepted] == ["c@b.test"] * retry
    assert [one.recipient for one in outcome.refused] == ["c@b.test"] * (not retry)


def test_those_who_were_too_many_go_again_with_the_others() -> None:
    scripted = Scripted(PIPELINING, PIPELINING)
    server = Mirror(
        scripted, {"DATA 0": "EOF"}, most_recipients=2, too_many="452 4.5.3 many"
    )
    outcomes, error = send_many(scripted, [letter(0, b"x", THREE)], retry_not_sent=True)
    assert error is None
    assert found(outcomes) == [DELIVERED]
    assert outcomes[0].error is None
    assert server.recipients == [THREE[:2], THREE[2:]]


def test_how_many_recipients_are_taken_is_learnt() -> None:
    scripted = Scripted(hello())
    server = Mirror(scripted, most_recipients=2, too_many="452 4.5.3 too many")
    five = [f"r{number}@b.test" for number in range(5)]
    outcomes, _ = send_many(scripted, [letter(0, b"x", five), letter(1, b"x", five)])
    assert found(outcomes) == [DELIVERED] * 2
    # All five, then the three that were too many; and the second message in parts.
    assert server.counts["RCPT"] == 5 + 3 + 5


# --- Values. ---


@pytest.mark.parametrize("name", ["max_messages", "max_octets", "start_messages"])
def test_a_window_has_room_for_one(name: str) -> None:
    assert getattr(SendWindow(**{name: 1}), name) == 1
    with pytest.raises(ValueError, match="window"):
        SendWindow(**{name: 0})


class Pipe:
    """A file that cannot be sought."""

    def read(self, size: int, /) -> bytes:
        return b""


class Anew:
    """An async iterable that starts from the beginning each time."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"x"


def test_what_can_be_read_again() -> None:
    file = BytesIO(b"xyz")
    file.read(1)
    reader = Rereader(file)
    file.read()
    assert reader.rewind()
    assert file.read() == b"yz"
    assert Rereader(b"x").rewind()
    assert Rereader(EmailMessage()).rewind()
    assert Rereader([b"x"]).rewind()
    assert Rereader(Anew()).rewind()
    assert not Rereader(Pipe()).rewind()
    assert not Rereader(iter([b"x"])).rewind()
    assert not Rereader(aiter(Anew())).rewind()


# --- What options do to a message. ---


def test_what_signs_messages_fails_for_one_only() -> None:
    def sign(content: bytes) -> bytes:
        if b"bad" in content:
            raise RuntimeError("no key")
        return b"X-Signed: yes\r\n"

    scripted = Scripted(CHUNKING, options=replace(OPTIONS, sign=sign))
    server = Mirror(scripted)
    outcomes, error = send_many(scripted, [letter(0), letter(1, b"bad"), letter(2)])
    assert error is None
    assert found(outcomes) == [DELIVERED, NOT_SENT, DELIVERED]
    assert isinstance(outcomes[1].error, RuntimeError)
    assert server.contents == [b"X-Signed: yes\r\nx\r\n"] * 2


@pytest.mark.parametrize("opening", [PIPELINING, CHUNKING])
def test_a_line_that_is_too_long(opening: str) -> None:
    scripted = Scripted(opening, opening, options=replace(OPTIONS, long_lines=False))
    server = Mirror(scripted)
    late = [*blocks(2), b"x" * 1500 + b"\r\n"]
    outcomes, error = send_many(
        scripted, [letter(0), letter(1, b"x" * 1500), letter(2, late), letter(3)]
    )
    assert error is None
    assert found(outcomes) == [DELIVERED, NOT_SENT, NOT_SENT, DELIVERED]
    assert isinstance(outcomes[1].error, LineTooLong)
    assert isinstance(outcomes[2].error, LineTooLong)
    assert server.contents == [b"x\r\n"] * 2

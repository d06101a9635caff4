"""Many messages: what is said in which flight, and what is reported of each."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from email.message import EmailMessage
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest

from smtpx.client.options import Timeouts
from smtpx.client.outgoing import Outcome, Outgoing, SendWindow
from smtpx.errors import (
    BadAddress,
    BadParameter,
    ConnectError,
    ConnectionLost,
    DataRefused,
    Delivery,
    MessageTooLarge,
    NotSupported,
    OutOfStep,
    PhaseTimeout,
    RecipientsRefused,
    SenderRefused,
    SendError,
)
from smtpx.wire.options import BodyType, MailOptions, OriginalRecipient, RcptOptions
from tests.client.mirror import Mirror
from tests.client.scripted import OPTIONS, Scripted, hello, step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smtpx.client.message import MessageSource

PIPELINING = hello("PIPELINING")
CHUNKING = hello("PIPELINING", "CHUNKING")
DELIVERED, REFUSED = Delivery.DELIVERED, Delivery.REFUSED
NOT_SENT, UNKNOWN = Delivery.NOT_SENT, Delivery.UNKNOWN
WIDE = SendWindow(start_messages=100)


def letter(
    key: object = None,
    message: MessageSource = b"x",
    recipients: Any = "b@b.test",  # noqa: ANN401 - what Outgoing takes
    **arguments: Any,  # noqa: ANN401
) -> Outgoing:
    return Outgoing(message, "a@a.test", recipients, key=key, **arguments)


def letters(count: int) -> list[Outgoing]:
    return [letter(number) for number in range(count)]


def send_many(
    scripted: Scripted,
    envelopes: Any,  # noqa: ANN401 - what send_many takes
    **arguments: Any,  # noqa: ANN401
) -> tuple[list[Outcome], BaseException | None]:
    """Return the outcomes, and what was raised behind them."""
    outcomes: list[Outcome] = []
    arguments.setdefault("window", WIDE)

    async def run() -> BaseException | None:
        try:
            async for outcome in scripted.client.send_many(envelopes, **arguments):
                outcomes.append(outcome)  # noqa: PERF401 - kept when it raises
        except (SendError, TypeError, ValueError, KeyError) as error:
            return error
        return None

    return outcomes, step(run())


def chunked(count: int = 1, *, reset: bool = True) -> str:
    """The client's script of messages by BDAT, all but the first behind RSET."""
    lines = []
    for number in range(count):
        if number or reset:
            lines.append("C: RSET")
        lines += ["C: MAIL FROM:<a@a.test>", "C: RCPT TO:<b@b.test>"]
        lines += ["C: BDAT 3 LAST", "C: x"]
    return "\n".join(lines) + "\n"


def fine(count: int = 1, *, reset: bool = True) -> str:
    lines = []
    for number in range(count):
        if number or reset:
            lines.append("S: 250 reset")
        lines += ["S: 250 sender", "S: 250 recipient", f"S: 250 queued as Q{number}"]
    return "\n".join(lines) + "\n"


def found(outcomes: Iterable[Outcome]) -> list[Delivery]:
    return [outcome.delivery for outcome in outcomes]


# --- Flights. ---


def test_with_chunking_whole_messages_share_a_flight() -> None:
    scripted = Scripted(CHUNKING + chunked(4, reset=False) + fine(4, reset=False))
    outcomes, error = send_many(scripted, letters(4))
    assert error is None
    assert found(outcomes) == [DELIVERED] * 4
    assert [outcome.outgoing.key for outcome in outcomes] == [0, 1, 2, 3]
    assert [outcome.queue_ids for outcome in outcomes] == [
        ("Q0",),
        ("Q1",),
        ("Q2",),
        ("Q3",),
    ]
    assert outcomes[0].recipients[0].recipient == "b@b.test"
    scripted.require_end()
    # Greeting, EHLO, and one for all the messages.
    assert len(scripted.channel.timeouts) == 3
    assert len(scripted.channel.writes) == 2


def test_with_pipelining_the_end_and_the_next_envelope_share_a_flight() -> None:
    envelope = "C: RSET\nC: MAIL FROM:<a@a.test>\nC: RCPT TO:<b@b.test>\nC: DATA\n"
    granted = "S: 250 reset\nS: 250 sender\nS: 250 recipient\nS: 354 go\n"
    content = "C: x\nC: .\n"
    scripted = Scripted(
        PIPELINING
        + envelope.removeprefix("C: RSET\n")
        + granted.removeprefix("S: 250 reset\n")
        + content
        + envelope
        + "S: 250 first\n"
        + granted
        + content
        + envelope
        + "S: 250 second\n"
        + granted
        + content
        + "S: 250 third\n"
    )
    outcomes, error = send_many(scripted, letters(3))
    assert error is None
    assert [outcome.replies[0].text for outcome in outcomes] == [
        "first",
        "second",
        "third",
    ]
    scripted.require_end()
    assert len(scripted.channel.timeouts) == 2 + 4
    # EHLO, and then one write a message and one for the first envelope.
    assert len(scripted.channel.writes) == 1 + 4


def test_the_same_octets_to_many_are_looked_at_once() -> None:
    octets = b".one\ntwo\n"
    one = """
        C: MAIL FROM:<a@a.test>
        S: 250 ok
        C: RCPT TO:<b@b.test>
        S: 250 ok
        C: DATA
        S: 354 go
        C: ..one
        C: two
        C: .
        S: 250 queued
        """
    scripted = Scripted(hello() + one + one)
    outcomes, error = send_many(scripted, [letter(0, octets), letter(1, octets)])
    assert error is None
    assert found(outcomes) == [DELIVERED] * 2
    scripted.require_end()


def test_the_same_octets_sent_in_two_ways_are_two_messages() -> None:
    octets = b"one\ntwo\n"
    text = "C: BDAT 10 LAST\nC: one\nC: two\n"
    binary = "C| BDAT 8 LAST\\r\\none\\ntwo\\n\n"
    envelope = "C: RSET\nC: MAIL FROM:<a@a.test>{body}\nC: RCPT TO:<b@b.test>\n"
    in_text = envelope.format(body="")
    in_binary = envelope.format(body=" BODY=BINARYMIME")
    scripted = Scripted(
        hello("PIPELINING", "CHUNKING", "BINARYMIME")
        + in_text.removeprefix("C: RSET\n")
        + text
        + in_binary
        + binary
        + in_text
        + text
        + fine(3, reset=False).replace("S: 250 sender", "S: 250 reset\nS: 250 sender")[
            len("S: 250 reset\n") :
        ]
    )
    as_binary = MailOptions(body=BodyType.BINARYMIME)
    outcomes, error = send_many(
        scripted,
        [
            letter(0, octets),
            letter(1, octets, options=as_binary),
            letter(2, octets),
        ],
    )
    assert error is None
    assert found(outcomes) == [DELIVERED] * 3
    scripted.require_end()


@pytest.mark.parametrize(
    "error", [KeyError, KeyboardInterrupt, SystemExit, asyncio.CancelledError]
)
def test_whatever_a_source_raises_comes_behind_the_outcomes(
    error: type[BaseException],
) -> None:
    """Two are under way; they are in nobody's hands if nobody hears of them."""
    scripted = Scripted(CHUNKING)
    mirror = Mirror(scripted)  # not eager: no reply is there before one is waited for
    outcomes: list[Outcome] = []

    def source() -> Iterator[Outgoing]:
        yield from letters(2)
        raise error("enough")

    async def run() -> None:
        async for outcome in scripted.client.send_many(source()):
            outcomes.append(outcome)  # noqa: PERF401 - kept when it raises

    with pytest.raises(error, match="enough"):
        step(run())
    assert found(outcomes) == [DELIVERED] * 2
    assert mirror.messages == 2
    assert scripted.client.is_connected


@pytest.mark.parametrize("width", [1, 2, 100])
def test_what_is_left_of_a_message_goes_before_the_next(width: int) -> None:
    scripted = Scripted(CHUNKING)
    mirror = Mirror(scripted, most_recipients=2, too_many="452 4.5.3 too many")
    many = [f"r{number}@b.test" for number in range(5)]
    window = SendWindow(max_messages=width, start_messages=width)
    outcomes, error = send_many(
        scripted, [letter(0, recipients=many), *letters(3)[1:]], window=window
    )
    assert error is None
    assert [outcome.outgoing.key for outcome in outcomes] == [0, 1, 2]
    assert found(outcomes) == [DELIVERED] * 3
    arrived = sorted(name for names in mirror.recipients for name in names)
    assert arrived == sorted([*many, "b@b.test", "b@b.test"])


USED_UP = {
    f"MAIL {number}": "452 4.5.3 too many messages sent"
    for number in (3, 4, 5, 6, 7, 8, 9, 10)
}


@pytest.mark.parametrize("opening", [CHUNKING, PIPELINING, hello()])
def test_a_connection_that_had_its_share_is_replaced(opening: str) -> None:
    """As OpenSMTPD says it, which then refuses every further MAIL."""
    scripted = Scripted(opening, opening)
    refused = 8 if opening == CHUNKING else 1
    answers = dict(list(USED_UP.items())[:refused])
    mirror = Mirror(scripted, answers)
    outcomes, error = send_many(scripted, letters(11))
    assert error is None
    assert found(outcomes) == [DELIVERED] * 11
    assert [outcome.outgoing.key for outcome in outcomes] == list(range(11))
    assert mirror.mails == [3 + refused, 8]
    assert mirror.messages == 11


def test_a_connection_that_takes_no_message_at_all_is_not_replaced() -> None:
    """Or else there were no end to it."""
    scripted = Scripted(CHUNKING)
    mirror = Mirror(scripted, {"MAIL": "452 4.5.3 too many messages sent"})
    outcomes, error = send_many(scripted, letters(3))
    assert error is None
    assert found(outcomes) == [REFUSED] * 3
    assert mirror.mails == [3]


@pytest.mark.parametrize("reply", ["452 4.3.1 no space", "452 full", "450 4.5.3 ?"])
def test_other_refusals_are_of_the_message(reply: str) -> None:
    scripted = Scripted(CHUNKING)
    Mirror(scripted, {"MAIL 1": reply})
    outcomes, error = send_many(scripted, letters(3))
    assert error is None
    assert found(outcomes) == [DELIVERED, REFUSED, DELIVERED]


def test_what_cannot_be_read_again_is_refused_by_a_used_up_connection() -> None:
    scripted = Scripted(CHUNKING)
    Mirror(scripted, {"MAIL 1": "452 4.5.3 too many messages sent"})
    once = iter([b"x\r\n"])
    outcomes, error = send_many(scripted, [letter(0), letter(1, once), letter(2)])
    assert error is None
    assert found(outcomes) == [DELIVERED, REFUSED, DELIVERED]


def test_without_pipelining_every_command_waits() -> None:
    one = """
        C: MAIL FROM:<a@a.test>
        S: 250 ok
        C: RCPT TO:<b@b.test>
        S: 250 ok
        C: DATA
        S: 354 go
        C: x
        C: .
        S: 250 queued
        """
    scripted = Scripted(hello() + one + one)
    outcomes, error = send_many(scripted, letters(2))
    assert error is None
    assert found(outcomes) == [DELIVERED] * 2
    scripted.require_end()
    assert len(scripted.channel.timeouts) == 2 + 8


def test_a_server_that_is_known_to_be_done_needs_no_reset() -> None:
    scripted = Scripted(
        CHUNKING
        + chunked(1, reset=False)
        + fine(1, reset=False)
        + chunked(1, reset=False)
        + fine(1, reset=False)
    )
    outcomes, _ = send_many(scripted, letters(1))
    again, _ = send_many(scripted, letters(1))
    assert found(outcomes + again) == [DELIVERED] * 2
    scripted.require_end()


@pytest.mark.parametrize("width", [1, 3, 7])
def test_round_trips_are_messages_by_window(width: int) -> None:
    scripted = Scripted(CHUNKING)
    server = Mirror(scripted)
    window = SendWindow(max_messages=width, start_messages=width)
    outcomes, error = send_many(scripted, letters(21), window=window)
    assert error is None
    assert found(outcomes) == [DELIVERED] * 21
    assert server.round_trips == 21 // width


def test_round_trips_are_one_a_message_with_pipelining_alone() -> None:
    scripted = Scripted(PIPELINING)
    server = Mirror(scripted)
    outcomes, error = send_many(scripted, letters(21))
    assert error is None
    assert found(outcomes) == [DELIVERED] * 21
    # The first envelope, and then one for each message.
    assert server.round_trips == 1 + 21


def test_the_window_grows_with_what_is_accepted() -> None:
    scripted = Scripted(CHUNKING)
    server = Mirror(scripted)
    window = SendWindow(max_messages=32, start_messages=1)
    send_many(scripted, letters(63 + 32), window=window)
    # 1 + 2 + 4 + 8 + 16 + 32 + 32
    assert server.round_trips == 7


def test_the_window_shrinks_when_the_server_defers() -> None:
    scripted = Scripted(CHUNKING)
    server = Mirror(scripted, {"BDAT": "452 4.3.1 full"})
    window = SendWindow(max_messages=8, start_messages=8)
    outcomes, _ = send_many(scripted, letters(8 + 5), window=window)
    assert found(outcomes) == [REFUSED] * 13
    # Then one after the other, and each waits for the reply to RSET, as the one before
    # has left a recipient at the server.
    assert server.round_trips == 1 + 5 * 2


def test_the_window_counts_octets() -> None:
    scripted = Scripted(CHUNKING)
    server = Mirror(scripted)
    window = SendWindow(max_octets=30, start_messages=100)
    messages = [letter(number, b"x" * 8) for number in range(12)]
    send_many(scripted, messages, window=window)
    assert server.round_trips == 4  # with its line end a message has 10 octets


def test_commands_whose_replies_are_outstanding_are_bounded() -> None:
    scripted = Scripted(CHUNKING)
    server = Mirror(scripted)
    many = [f"r{number}@b.test" for number in range(998)]
    outcomes, _ = send_many(scripted, [letter(1, b"x", many), letter(2, b"x", many)])
    assert found(outcomes) == [DELIVERED] * 2
    assert server.round_trips == 2
    more = [f"r{number}@b.test" for number in range(2100)]
    outcomes, _ = send_many(scripted, [letter(1, b"x", more)])
    assert len(outcomes[0].accepted) == 2100
    assert server.most_replies <= 1001


def test_messages_are_pulled_as_far_as_the_window_is_wide() -> None:
    scripted = Scripted(CHUNKING)
    Mirror(scripted)
    pulled = []

    def source() -> Iterator[Outgoing]:
        for number in range(100):
            pulled.append(number)
            yield letter(number)

    window = SendWindow(max_messages=5, start_messages=5)

    async def run() -> None:
        async for outcome in scripted.client.send_many(source(), window=window):
            assert outcome.outgoing.key == 0
            break

    step(run())
    assert len(pulled) == 6


def test_a_message_is_said_before_an_iterator_is_asked_for_the_next() -> None:
    scripted = Scripted(CHUNKING)
    server = Mirror(scripted)
    said = []

    def source() -> Iterator[Outgoing]:
        for number in range(3):
            yield letter(number)
            said.append(server.messages)

    outcomes, _ = send_many(scripted, source())
    assert found(outcomes) == [DELIVERED] * 3
    assert said == [1, 2, 3]


# --- Refusals. ---


@pytest.mark.parametrize(
    ("verb", "reply", "kind"),
    [
        ("MAIL", "550 5.7.1 not you", SenderRefused),
        ("RCPT", "550 5.1.1 who?", RecipientsRefused),
        ("BDAT", "554 5.6.0 bad content", DataRefused),
    ],
)
def test_a_refusal_is_never_a_neighbours(
    verb: str, reply: str, kind: type[SendError]
) -> None:
    scripted = Scripted(CHUNKING)
    Mirror(scripted, {f"{verb} 3": reply})
    outcomes, error = send_many(scripted, letters(6))
    assert error is None
    assert found(outcomes) == [DELIVERED] * 3 + [REFUSED] + [DELIVERED] * 2
    refused = outcomes[3]
    assert type(refused.error) is kind
    assert isinstance(refused.error, SendError)
    assert str(refused.error).endswith(reply)
    assert [str(one.reply) for one in refused.refused] == [reply]
    assert refused.replies == ()
    assert [outcome.queue_ids for outcome in outcomes if outcome is not refused] == [
        (f"Q{number}",) for number in (0, 1, 2, 4, 5)
    ]


@pytest.mark.parametrize(
    ("verb", "reply", "kind"),
    [
        ("MAIL", "550 5.7.1 not you", SenderRefused),
        ("RCPT", "550 5.1.1 who?", RecipientsRefused),
        ("DATA", "451 4.3.0 later", DataRefused),
        (".", "554 5.6.0 bad content", DataRefused),
    ],
)
def test_a_refusal_is_never_a_neighbours_with_data(
    verb: str, reply: str, kind: type[SendError]
) -> None:
    scripted = Scripted(PIPELINING)
    Mirror(scripted, {f"{verb} 2": reply})
    outcomes, error = send_many(scripted, letters(4))
    assert error is None
    assert found(outcomes) == [DELIVERED] * 2 + [REFUSED] + [DELIVERED]
    assert type(outcomes[2].error) is kind
    last = "Q3" if verb == "." else "Q2"
    ids = [outcome.queue_ids for outcome in outcomes]
    assert ids == [("Q0",), ("Q1",), (), (last,)]


def test_a_refused_recipient_is_told_apart() -> None:
    scripted = Scripted(CHUNKING)
    Mirror(scripted, {"RCPT 1": "550 5.1.1 who?"})
    outcomes, _ = send_many(
        scripted, [letter(0, b"x", ["a@b.test", "b@b.test", "c@b.test"])]
    )
    (outcome,) = outcomes
    assert outcome.delivery is DELIVERED
    assert outcome.error is None
    assert [one.recipient for one in outcome.accepted] == ["a@b.test", "c@b.test"]
    assert [one.recipient for one in outcome.refused] == ["b@b.test"]


def test_data_granted_for_nobody_is_ended_with_a_lone_dot() -> None:
    scripted = Scripted(
        PIPELINING
        + """
        C: MAIL FROM:<a@a.test>
        C: RCPT TO:<b@b.test>
        C: DATA
        S: 250 ok
        S: 550 5.1.1 who?
        S: 354 go
        C: .
        C: RSET
        C: MAIL FROM:<a@a.test>
        C: RCPT TO:<b@b.test>
        C: DATA
        S: 554 no valid recipients
        S: 250 ok
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: x
        C: .
        S: 250 queued
        """
    )
    outcomes, error = send_many(scripted, letters(2))
    assert error is None
    assert found(outcomes) == [REFUSED, DELIVERED]
    scripted.require_end()


@pytest.mark.parametrize("opening", [PIPELINING, CHUNKING])
def test_content_for_all_or_nobody_waits_for_the_recipients(opening: str) -> None:
    scripted = Scripted(opening)
    server = Mirror(scripted, {"RCPT 3": "550 5.1.1 who?"})
    pair = ["a@b.test", "b@b.test"]
    outcomes, error = send_many(
        scripted,
        [
            letter(0, b"x", pair, require_all=True),
            letter(1, b"secret", pair, require_all=True),
            letter(2, b"x", pair),
        ],
    )
    assert error is None
    assert found(outcomes) == [DELIVERED, REFUSED, DELIVERED]
    assert b"secret" not in server.said
    assert server.contents == [b"x\r\n"] * 2  # nobody got an empty one either
    refused = outcomes[1]
    assert isinstance(refused.error, RecipientsRefused)
    assert [one.recipient for one in refused.not_sent] == ["a@b.test"]
    assert [one.recipient for one in refused.refused] == ["b@b.test"]


def test_reset_refused_is_out_of_step() -> None:
    scripted = Scripted(CHUNKING)
    Mirror(scripted, {"RSET 1": "502 what?"})
    outcomes, error = send_many(scripted, letters(4))
    assert isinstance(error, OutOfStep)
    assert found(outcomes) == [DELIVERED] * 2 + [UNKNOWN] * 2


# --- Large messages, and streams. ---


def blocks(count: int, *, size: int = 65_536) -> Iterator[bytes]:
    for _ in range(count):
        yield (b"y" * 62 + b"\r\n") * (size // 64)


@pytest.mark.parametrize("opening", [PIPELINING, CHUNKING, hello()])
def test_a_large_message_goes_in_blocks(opening: str) -> None:
    scripted = Scripted(opening)
    server = Mirror(scripted)
    large = b"".join(blocks(5))
    outcomes, error = send_many(
        scripted, [letter(0), letter(1, large), letter(2, blocks(5)), letter(3)]
    )
    assert error is None
    assert found(outcomes) == [DELIVERED] * 4
    assert server.contents == [b"x\r\n", large, large, b"x\r\n"]


def test_chunks_stop_when_one_is_refused() -> None:
    scripted = Scripted(CHUNKING)
    server = Mirror(scripted, {"BDAT 3": "552 5.3.4 too large"}, is_eager=True)
    outcomes, error = send_many(scripted, [letter(0, blocks(40)), letter(1)])
    assert error is None
    assert found(outcomes) == [REFUSED, DELIVERED]
    assert isinstance(outcomes[0].error, DataRefused)
    assert server.most_chunks < 40


def test_chunks_are_not_said_to_nobody() -> None:
    scripted = Scripted(CHUNKING)
    server = Mirror(scripted, {"RCPT 0": "550 5.1.1 who?"}, is_eager=True)
    outcomes, _ = send_many(scripted, [letter(0, blocks(40)), letter(1)])
    assert found(outcomes) == [REFUSED, DELIVERED]
    assert server.most_chunks < 40


def broken_blocks() -> Iterator[bytes]:
    yield from blocks(3)
    raise KeyError("the stream broke")


def test_a_stream_that_breaks_in_chunks_harms_no_neighbour() -> None:
    scripted = Scripted(CHUNKING)
    server = Mirror(scripted)
    outcomes, error = send_many(
        scripted, [letter(0), letter(1, broken_blocks()), letter(2)]
    )
    assert error is None
    assert found(outcomes) == [DELIVERED, NOT_SENT, DELIVERED]
    assert isinstance(outcomes[1].error, KeyError)
    assert server.contents == [b"x\r\n", b"x\r\n"]


def test_a_stream_that_breaks_behind_354_costs_the_connection() -> None:
    scripted = Scripted(PIPELINING, PIPELINING)
    server = Mirror(scripted)
    outcomes, error = send_many(
        scripted, [letter(0), letter(1, broken_blocks()), letter(2)]
    )
    assert error is None
    assert found(outcomes) == [DELIVERED, NOT_SENT, DELIVERED]
    assert server.contents == [b"x\r\n", b"x\r\n"]
    assert scripted.channels[0].is_aborted
    assert scripted.client.is_connected


# --- Messages that cannot be sent. ---


def test_what_cannot_be_sent_is_reported_in_its_place() -> None:
    scripted = Scripted(hello("PIPELINING", "CHUNKING", "SIZE 100"))
    server = Mirror(scripted)
    unsafe = MailOptions(extra={"XFOO": "a b"})
    outcomes, error = send_many(
        scripted,
        [
            letter(0),
            letter(1, b"x", "nobody"),
            letter(2, b"x" * 200),
            letter(3, b"x", options=unsafe),
            letter(4, b"x", []),
            letter(5),
        ],
    )
    assert error is None
    assert found(outcomes) == [DELIVERED, *[NOT_SENT] * 4, DELIVERED]
    assert isinstance(outcomes[1].error, BadAddress)
    assert isinstance(outcomes[2].error, MessageTooLarge)
    assert isinstance(outcomes[3].error, BadParameter)
    assert isinstance(outcomes[4].error, ValueError)
    assert outcomes[1].recipients == ()
    assert [one.recipient for one in outcomes[2].not_sent] == ["b@b.test"]
    assert server.contents == [b"x\r\n"] * 2


@pytest.mark.parametrize("count", [0, 1])
def test_what_cannot_be_encoded_is_found_out_while_it_is_said(count: int) -> None:
    scripted = Scripted(hello("PIPELINING", "CHUNKING", "DSN"))
    server = Mirror(scripted)
    unsafe = RcptOptions(original_recipient=OriginalRecipient("rfc822", "a\r\nDATA"))
    recipients = ["b@b.test", "c@b.test"][-1 - count :]
    bad = letter(1, b"x", recipients, rcpt_options={"c@b.test": unsafe})
    outcomes, error = send_many(scripted, [letter(0), bad, letter(2)])
    assert error is None
    assert found(outcomes) == [DELIVERED, NOT_SENT, DELIVERED]
    assert isinstance(outcomes[1].error, ValueError)
    assert server.contents == [b"x\r\n"] * 2
    assert b"DATA" not in server.said


def test_a_message_names_its_own_envelope() -> None:
    scripted = Scripted(CHUNKING)
    Mirror(scripted)
    message = EmailMessage()
    message["From"] = "a@a.test"
    message["To"] = "b@b.test, c@b.test"
    message.set_content("Hi!")
    outcomes, _ = send_many(scripted, [message])
    assert [one.recipient for one in outcomes[0].accepted] == ["b@b.test", "c@b.test"]


def test_what_is_no_message_ends_the_run_behind_the_others() -> None:
    scripted = Scripted(CHUNKING)
    Mirror(scripted)
    outcomes, error = send_many(scripted, [letter(0), b"what?", letter(2)])
    assert found(outcomes) == [DELIVERED]
    assert isinstance(error, TypeError)


def test_a_source_that_fails_ends_the_run_behind_the_others() -> None:
    scripted = Scripted(CHUNKING)
    Mirror(scripted)

    def source() -> Iterator[Outgoing]:
        yield letter(0)
        yield letter(1)
        raise KeyError("no more")

    outcomes, error = send_many(scripted, source())
    assert found(outcomes) == [DELIVERED] * 2
    assert isinstance(error, KeyError)
    assert scripted.client.is_connected


def test_an_async_source() -> None:
    scripted = Scripted(CHUNKING)
    Mirror(scripted)

    async def source() -> AsyncIterator[Outgoing]:
        for number in range(3):
            yield letter(number)

    outcomes, error = send_many(scripted, source())
    assert error is None
    assert found(outcomes) == [DELIVERED] * 3


def test_nothing_to_send_says_nothing() -> None:
    scripted = Scripted()
    outcomes, error = send_many(scripted, [])
    assert (outcomes, error) == ([], None)
    assert scripted.runtime.dialled == []


# --- Limits. ---


def test_recipients_over_the_limit_go_in_parts() -> None:
    scripted = Scripted(hello("PIPELINING", "CHUNKING", "LIMITS RCPTMAX=2"))
    server = Mirror(scripted)
    five = [f"r{number}@b.test" for number in range(5)]
    outcomes, _ = send_many(scripted, [letter(0, b"x", five), letter(1)])
    assert found(outcomes) == [DELIVERED] * 2
    assert [one.recipient for one in outcomes[0].accepted] == five
    assert outcomes[0].queue_ids == ("Q0", "Q1", "Q2")
    assert server.recipients == [five[:2], five[2:4], five[4:], ["b@b.test"]]


@pytest.mark.parametrize("opening", [PIPELINING, CHUNKING, hello()])
@pytest.mark.parametrize("refusal", ["452 4.5.3 too many", "452 enough", "552 5.5.3 x"])
def test_recipients_refused_as_too_many_go_in_parts(opening: str, refusal: str) -> None:
    scripted = Scripted(opening)
    server = Mirror(scripted, most_recipients=2, too_many=refusal)
    five = [f"r{number}@b.test" for number in range(5)]
    outcomes, error = send_many(
        scripted, [letter(0, b"x", five), letter(1, b"x", five)]
    )
    assert error is None
    assert found(outcomes) == [DELIVERED] * 2
    for outcome in outcomes:
        assert [one.recipient for one in outcome.accepted] == five
        assert len(outcome.replies) == 3
    assert sorted(itertools.chain(*server.recipients)) == sorted(five * 2)


@pytest.mark.parametrize("refusal", ["552 5.2.2 full", "452 4.3.1 no room", "552 full"])
def test_other_refusals_with_these_codes_are_refusals(refusal: str) -> None:
    scripted = Scripted(CHUNKING)
    Mirror(scripted, {"RCPT 1": refusal})
    pair = ["a@b.test", "b@b.test"]
    outcomes, _ = send_many(scripted, [letter(0, b"x", pair)])
    assert [one.recipient for one in outcomes[0].refused] == ["b@b.test"]


def test_all_or_nobody_is_never_parted() -> None:
    scripted = Scripted(hello("PIPELINING", "CHUNKING", "LIMITS RCPTMAX=2"))
    Mirror(scripted)
    three = ["a@b.test", "b@b.test", "c@b.test"]
    outcomes, _ = send_many(scripted, [letter(0, b"x", three, require_all=True)])
    assert found(outcomes) == [NOT_SENT]
    assert isinstance(outcomes[0].error, NotSupported)


def test_a_stream_that_can_be_read_once_is_not_parted() -> None:
    scripted = Scripted(hello("PIPELINING", "CHUNKING", "LIMITS RCPTMAX=2"))
    server = Mirror(scripted)
    three = ["a@b.test", "b@b.test", "c@b.test"]
    content = b"".join(blocks(2))
    outcomes, _ = send_many(
        scripted,
        [
            letter(0, blocks(2), three),
            letter(1, BytesIO(content), three),
            letter(2, list(blocks(2)), three),
        ],
    )
    assert found(outcomes) == [DELIVERED] * 3
    assert isinstance(outcomes[0].error, NotSupported)
    assert [one.recipient for one in outcomes[0].not_sent] == ["c@b.test"]
    assert outcomes[1].error is outcomes[2].error is None
    assert server.contents == [content] * 5


def test_mailmax_is_obeyed_by_connecting_anew() -> None:
    opening = hello("PIPELINING", "CHUNKING", "LIMITS MAILMAX=2")
    scripted = Scripted(opening, opening, opening)
    server = Mirror(scripted)
    outcomes, error = send_many(scripted, letters(5))
    assert error is None
    assert found(outcomes) == [DELIVERED] * 5
    assert server.mails == [2, 2, 1]
    assert scripted.channels[0].is_closed


def test_rcptdomainmax_is_obeyed_by_connecting_anew() -> None:
    opening = hello("PIPELINING", "CHUNKING", "LIMITS RCPTDOMAINMAX=2")
    scripted = Scripted(opening, opening, opening)
    server = Mirror(scripted)
    five = ["a@a.test", "b@B.test", "b@b.test", "c@c.test", "d@d.test"]
    outcomes, error = send_many(scripted, [letter(0, b"x", five), letter(1)])
    assert error is None
    assert found(outcomes) == [DELIVERED] * 2
    assert server.recipients == [five[:3], five[3:], ["b@b.test"]]


# --- The connection ends. ---


def test_what_is_under_way_when_the_connection_ends_is_unknown() -> None:
    scripted = Scripted(CHUNKING)
    Mirror(scripted, {"BDAT 2": "EOF"})
    outcomes, error = send_many(scripted, letters(5))
    assert isinstance(error, ConnectionLost)
    assert error.phase == "data_end"
    assert found(outcomes) == [DELIVERED] * 2 + [UNKNOWN] * 3
    lost = outcomes[2].error
    assert isinstance(lost, ConnectionLost)
    assert lost.delivery is UNKNOWN
    assert [one.is_unknown for one in lost.results] == [True]
    assert not scripted.client.is_connected


def test_what_is_known_of_a_message_when_the_connection_ends_is_told() -> None:
    scripted = Scripted(CHUNKING)
    Mirror(scripted, {"RCPT 0": "550 no", "BDAT 0": "EOF"})
    outcomes, _ = send_many(scripted, [letter(0, b"x", ["a@b.test", "b@b.test"])])
    assert [one.recipient for one in outcomes[0].refused] == ["a@b.test"]
    assert [one.recipient for one in outcomes[0].unknown] == ["b@b.test"]
    assert outcomes[0].delivery is UNKNOWN


def test_a_refusal_that_came_before_the_end_stays_one() -> None:
    scripted = Scripted(CHUNKING)
    Mirror(scripted, {"MAIL 0": "550 no", "BDAT 0": "EOF"})
    outcomes, error = send_many(scripted, letters(2))
    assert found(outcomes) == [REFUSED, UNKNOWN]
    assert isinstance(error, ConnectionLost)


def test_before_the_content_is_sent_a_message_is_not_sent() -> None:
    scripted = Scripted(PIPELINING)
    server = Mirror(scripted, {"DATA 1": "EOF"})
    outcomes, error = send_many(scripted, letters(4))
    assert isinstance(error, ConnectionLost)
    assert found(outcomes) == [DELIVERED, NOT_SENT]
    assert server.contents == [b"x\r\n"]


def test_not_sent_is_sent_over_another_connection() -> None:
    scripted = Scripted(PIPELINING, PIPELINING)
    server = Mirror(scripted, {"DATA 1": "EOF"})
    outcomes, error = send_many(scripted, letters(4), retry_not_sent=True)
    assert error is None
    assert found(outcomes) == [DELIVERED] * 4
    assert len(server.contents) == 4


def test_unknown_is_not_sent_again() -> None:
    scripted = Scripted(CHUNKING, CHUNKING)
    server = Mirror(scripted, {"BDAT 1": "EOF"})
    window = SendWindow(max_messages=3, start_messages=3)
    outcomes, error = send_many(
        scripted, letters(6), retry_not_sent=True, window=window
    )
    assert error is None
    assert found(outcomes) == [DELIVERED, UNKNOWN, UNKNOWN] + [DELIVERED] * 3
    assert len(server.contents) == 1 + 3


def test_421_in_the_middle_leaves_the_rest_not_sent() -> None:
    scripted = Scripted(CHUNKING)
    Mirror(scripted, {"MAIL 2": "421 4.3.2 going down"})
    outcomes, error = send_many(scripted, letters(5))
    assert isinstance(error, ConnectionLost)
    assert error.reply is not None
    assert error.reply.code == 421
    assert found(outcomes) == [DELIVERED] * 2 + [NOT_SENT] * 3
    lost = outcomes[2].error
    assert isinstance(lost, ConnectionLost)
    assert lost.delivery is NOT_SENT
    assert lost.reply is error.reply


def test_after_421_what_was_not_sent_is_sent_again() -> None:
    scripted = Scripted(CHUNKING, CHUNKING, CHUNKING)
    server = Mirror(
        scripted, {"MAIL 2": "421 4.3.2 enough", "RCPT 4": "421 4.3.2 enough"}
    )
    outcomes, error = send_many(scripted, letters(6), retry_not_sent=True)
    assert error is None
    assert found(outcomes) == [DELIVERED] * 6
    assert len(server.contents) == 6


def test_bulk_forgets_chunking_that_another_connection_had() -> None:
    """Exim takes BDAT of those only to whom it offered it."""
    scripted = Scripted(CHUNKING, hello())
    server = Mirror(scripted, {"MAIL 1": "421 4.3.2 enough"})
    outcomes, error = send_many(scripted, letters(3), retry_not_sent=True)
    assert error is None
    assert found(outcomes) == [DELIVERED] * 3
    assert server.contents == [b"x\r\n"] * 3
    last = scripted.channel.writes
    assert last.count(b"DATA\r\n") == 2
    assert not any(b"BDAT" in write for write in last)


def test_421_to_the_end_of_a_message_refuses_it() -> None:
    scripted = Scripted(CHUNKING, CHUNKING)
    Mirror(scripted, {"BDAT 1": "421 4.3.2 going down"})
    outcomes, error = send_many(scripted, letters(4), retry_not_sent=True)
    assert error is None
    assert found(outcomes) == [DELIVERED, REFUSED, DELIVERED, DELIVERED]


def test_a_server_that_goes_on_after_421_is_not_trusted() -> None:
    scripted = Scripted(
        CHUNKING
        + chunked(3, reset=False)
        + fine(1, reset=False)
        + """
        S: 250 reset
        S: 421 4.3.2 going down
        S: 250 what?
        == EOF ==
        """
    )
    outcomes, error = send_many(scripted, letters(3))
    assert isinstance(error, ConnectionLost)
    assert found(outcomes) == [DELIVERED, UNKNOWN, UNKNOWN]


def test_a_server_that_stays_silent_after_421_is_not_trusted() -> None:
    scripted = Scripted(
        CHUNKING
        + chunked(3, reset=False)
        + fine(1, reset=False)
        + "S: 250 reset\nS: 421 4.3.2 going down\n== TIMEOUT =="
    )
    outcomes, _ = send_many(scripted, letters(3))
    assert found(outcomes) == [DELIVERED, UNKNOWN, UNKNOWN]


def test_a_connection_reset_after_421_is_closed_too() -> None:
    scripted = Scripted(
        CHUNKING
        + chunked(2, reset=False)
        + fine(1, reset=False)
        + "S: 250 reset\nS: 421 4.3.2 going down\n== RESET =="
    )
    outcomes, _ = send_many(scripted, letters(2))
    assert found(outcomes) == [DELIVERED, NOT_SENT]


@pytest.mark.parametrize("end", ["S: 421 idle", "== EOF =="])
def test_a_connection_that_ends_between_messages_costs_nothing(end: str) -> None:
    one = CHUNKING + chunked(1, reset=False) + fine(1, reset=False)
    scripted = Scripted(one + end, one)
    window = SendWindow(max_messages=1, start_messages=1)
    outcomes, error = send_many(scripted, letters(2), window=window)
    assert error is None
    assert found(outcomes) == [DELIVERED] * 2
    scripted.require_end()


def test_connections_that_bring_nothing_are_not_tried_for_ever() -> None:
    scripted = Scripted(*[PIPELINING] * 3)
    Mirror(scripted, {f"MAIL {number}": "421 4.7.0 no" for number in range(9)})
    outcomes, error = send_many(scripted, letters(2), retry_not_sent=True)
    assert isinstance(error, ConnectionLost)
    assert found(outcomes) == [NOT_SENT]
    assert len(scripted.channels) == 3


def test_no_connection_is_told_of_what_was_pulled() -> None:
    scripted = Scripted()
    scripted.runtime.error = ConnectionRefusedError("nobody there")
    left = iter(letters(5))
    outcomes, error = send_many(scripted, left)
    assert isinstance(error, ConnectError)
    assert found(outcomes) == [NOT_SENT]
    assert outcomes[0].error is error
    assert [outgoing.key for outgoing in left] == [1, 2, 3, 4]


def test_a_timeout_names_its_phase() -> None:
    options = replace(OPTIONS, timeouts=Timeouts(rcpt=7.0))
    scripted = Scripted(
        CHUNKING + chunked(2, reset=False) + "S: 250 sender\n== TIMEOUT ==",
        options=options,
    )
    outcomes, error = send_many(scripted, letters(2))
    assert isinstance(error, PhaseTimeout)
    assert error.phase == "rcpt"
    assert scripted.channel.timeouts[-1] == 7.0
    assert found(outcomes) == [UNKNOWN] * 2


def test_the_total_time_bounds_the_whole_run() -> None:
    options = replace(OPTIONS, timeouts=Timeouts(total=30.0))
    scripted = Scripted(
        CHUNKING + chunked(2, reset=False) + "S: 250 sender\n== WAIT 31 ==\nS: 250 x",
        options=options,
    )
    outcomes, error = send_many(scripted, letters(2))
    assert isinstance(error, PhaseTimeout)
    assert "whole call" in str(error)
    assert found(outcomes) == [UNKNOWN] * 2


def test_garbage_is_out_of_step() -> None:
    scripted = Scripted(
        CHUNKING + chunked(3, reset=False) + fine(1, reset=False) + "S: hello\n"
    )
    outcomes, error = send_many(scripted, letters(3))
    assert isinstance(error, OutOfStep)
    assert found(outcomes) == [DELIVERED, UNKNOWN, UNKNOWN]


def test_leaving_early_closes_the_connection() -> None:
    scripted = Scripted(CHUNKING)
    Mirror(scripted)

    async def run() -> None:
        run = scripted.client.send_many(letters(10), window=WIDE)
        async for outcome in run:
            assert outcome.delivery is DELIVERED
            break
        await run.aclose()

    step(run())
    assert scripted.client.is_connected  # nothing was under way
    window = SendWindow(max_messages=4, start_messages=4)
    scripted = Scripted(
        CHUNKING + chunked(4, reset=False) + fine(1, reset=False), CHUNKING
    )

    async def leave() -> None:
        run = scripted.client.send_many(iter(letters(10)), window=window)
        async for _ in run:
            break
        await run.aclose()

    step(leave())
    assert scripted.channel.is_aborted
    assert not scripted.client.is_connected


# --- LMTP. ---

LMTP_URL = "lmtp://mx.test"


@pytest.mark.parametrize("keywords", [(), ("PIPELINING",), ("PIPELINING", "CHUNKING")])
def test_lmtp_has_a_status_for_each_recipient(keywords: tuple[str, ...]) -> None:
    scripted = Scripted(hello(*keywords, verb="LHLO"), url=LMTP_URL)
    Mirror(scripted, {"RCPT 1": "550 no", "STATUS 1": "452 4.2.2 full"})
    three = ["a@b.test", "b@b.test", "c@b.test"]
    outcomes, error = send_many(
        scripted, [letter(0, b"x", three), letter(1), letter(2, b"x", three)]
    )
    assert error is None
    assert found(outcomes) == [DELIVERED] * 3
    first = outcomes[0]
    assert [one.recipient for one in first.accepted] == ["a@b.test"]
    assert [str(one.reply) for one in first.refused] == ["550 no", "452 4.2.2 full"]
    assert first.replies == ()
    assert len(outcomes[2].accepted) == 3


def test_lmtp_statuses_that_came_before_the_end_count() -> None:
    scripted = Scripted(
        hello("PIPELINING", "CHUNKING", verb="LHLO")
        + """
        C: MAIL FROM:<a@a.test>
        C: RCPT TO:<a@b.test>
        C: RCPT TO:<b@b.test>
        C: BDAT 3 LAST
        C: x
        S: 250 ok
        S: 250 ok
        S: 250 ok
        S: 250 delivered
        == EOF ==
        """,
        url=LMTP_URL,
    )
    outcomes, error = send_many(
        scripted, [letter(0, b"x", ["a@b.test", "b@b.test"])], retry_not_sent=True
    )
    assert [one.recipient for one in outcomes[0].accepted] == ["a@b.test"]
    assert [one.recipient for one in outcomes[0].unknown] == ["b@b.test"]
    assert [one.is_unknown for one in outcomes[0].recipients] == [False, True]
    assert outcomes[0].delivery is DELIVERED
    assert isinstance(outcomes[0].error, ConnectionLost)
    assert error is None


def test_lmtp_large_message_waits_before_its_last_chunk() -> None:
    scripted = Scripted(hello("PIPELINING", "CHUNKING", verb="LHLO"), url=LMTP_URL)
    Mirror(scripted, {"BDAT 1": "552 5.3.4 too large"})
    pair = ["a@b.test", "b@b.test"]
    outcomes, error = send_many(scripted, [letter(0, blocks(3), pair), letter(1)])
    assert error is None
    assert found(outcomes) == [REFUSED, DELIVERED]

"""Messages: their ends, what is refused and still read, and LMTP's many replies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.core import events
from smtpx.core.config import ServerConfig
from smtpx.core.limits import Limits
from smtpx.core.server import ServerMachine
from smtpx.core.states import ServerState
from smtpx.wire.framing import BareNewline
from smtpx.wire.replies import Reply
from tests.core.machines import (
    CONFIG,
    ENVELOPE,
    LMTP,
    Answers,
    Talk,
    cut,
    ready,
    reply_codes,
    singly,
)
from tests.core.test_server_machine import limited
from tests.false_ends import FALSE_ENDS
from tests.framing import oracle

ACCEPT = dataclasses.replace(CONFIG, bare_newline=BareNewline.ACCEPT)
NORMALIZE = dataclasses.replace(CONFIG, bare_newline=BareNewline.NORMALIZE)
EVIL = b"MAIL FROM:<evil@x>\r\n"


def at_354(config: ServerConfig = CONFIG, recipients: int = 1) -> Talk:
    started = ready(config)
    started.say(b"MAIL FROM:<>\r\n" + b"RCPT TO:<b@mx.test>\r\n" * recipients)
    assert started.codes(b"DATA\r\n") == [354]
    return started


def at_rcpt(config: ServerConfig = CONFIG, recipients: int = 1) -> Talk:
    started = ready(config)
    started.say(b"MAIL FROM:<>\r\n" + b"RCPT TO:<b@mx.test>\r\n" * recipients)
    return started


def aborted(started: Talk) -> list[str]:
    return [e.reason for e in started.seen if isinstance(e, events.MessageAborted)]


# --- DATA: only CRLF . CRLF ends it. ---


@pytest.mark.parametrize("false_end", FALSE_ENDS)
@pytest.mark.parametrize("config", [CONFIG, ACCEPT, NORMALIZE])
def test_false_end_of_data(config: ServerConfig, false_end: bytes) -> None:
    data = b"hello" + false_end + EVIL + b".\r\n"
    content, consumed, is_end = oracle.decode(data)
    assert is_end
    assert consumed == len(data)
    is_bare = oracle.has_bare_newline(content)
    if config is NORMALIZE:
        content = oracle.normalize(content)
    is_refused = config is CONFIG and is_bare
    for pieces in ([data], singly(data), *map(list, halves(data))):
        started = at_354(config)
        assert started.codes(*pieces) == [550 if is_refused else 250]
        assert started.messages == ([] if is_refused else [content])
        # One transaction, and its reverse path is not the evil one.
        assert started.kinds().count(events.MailReceived) == 1
        assert started.codes(b"RCPT TO:<b@mx.test>\r\n") == [503]


def halves(data: bytes) -> list[list[bytes]]:
    return [cut(data, [place]) for place in range(1, len(data))]


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"..x\r\n.\r\n", b".x\r\n"),
        (b".x\r\n.\r\n", b"x\r\n"),
        (b"a\r\n..\r\n.\r\n", b"a\r\n.\r\n"),
        (b"x\r\r\n.\r\n", b"x\r\r\n"),
        (
            b"a\n.\n.\r\nb\r\n.\n\r\nc\r\n.\r\r\n\r\n.\r\n",
            b"a\n.\n.\r\nb\r\n\n\r\nc\r\n\r\r\n\r\n",
        ),
        (b"\x00\xff" * 3_000 + b"\r\n.\r\n", b"\x00\xff" * 3_000 + b"\r\n"),
    ],
)
def test_true_end_of_data(data: bytes, content: bytes) -> None:
    for pieces in ([data], list(singly(data)), cut(data, range(1, len(data), 7))):
        started = at_354(ACCEPT)
        assert started.codes(*pieces) == [250]
        assert started.messages == [content]


@given(
    st.lists(st.sampled_from(".\r\nax"), max_size=60).map("".join),
    st.sampled_from([CONFIG, ACCEPT, NORMALIZE]),
    st.data(),
)
def test_data_against_the_oracle(
    text: str, config: ServerConfig, data: st.DataObject
) -> None:
    octets = text.encode() + b"\r\n.\r\nNOOP\r\n"
    content, consumed, _ = oracle.decode(octets)
    started = at_354(config)
    is_refused = config is CONFIG and oracle.has_bare_newline(content)
    places = data.draw(st.lists(st.integers(0, consumed), max_size=8))
    assert started.codes(*cut(octets[:consumed], places)) == (
        [550] if is_refused else [250]
    )
    if config is NORMALIZE:
        content = oracle.normalize(content)
    assert started.messages == ([] if is_refused else [content])


def test_what_follows_the_end_is_a_command() -> None:
    assert at_354().codes(b"hi\r\n.\r\nNOOP\r\nQUIT\r\n") == [250, 250, 221]


def test_data_refused_before_354() -> None:
    started = at_rcpt()
    started.answers = {events.DataRequested: Reply(451, None, "later")}
    assert started.say(b"DATA\r\nNOOP\r\n") == b"451 4.0.0 later\r\n250 2.0.0 OK\r\n"
    assert started.machine.ended_transactions == 1
    assert started.machine.envelope is None
    assert aborted(started) == []


def test_text_of_354() -> None:
    started = at_rcpt()
    started.answers = {events.DataRequested: Reply(354, None, "go on")}
    assert started.say(b"DATA\r\n") == b"354 go on\r\n"


@pytest.mark.parametrize("verb", [b"DATA\r\n", b"BDAT 1 LAST\r\nx"])
@pytest.mark.parametrize("code", [250, 334])
def test_data_is_granted_with_354_only(verb: bytes, code: int) -> None:
    started = at_rcpt()
    started.machine.receive_data(verb)
    assert isinstance(started.machine.next_event(), events.DataRequested)
    with pytest.raises(ValueError, match="granted with"):
        started.machine.answer(Reply(code))
    started.machine.answer(None)
    started.pump()
    assert started.machine.state is not ServerState.RCPT


def test_354_grants_a_chunk_too() -> None:
    # A hook does not know how the message comes.
    started = at_rcpt()
    started.answers = {events.DataRequested: Reply(354, None, "go on")}
    assert started.codes(b"BDAT 2 LAST\r\nhi") == [250]
    assert started.messages == [b"hi"]


def test_reply_to_a_message() -> None:
    started = at_354()
    started.answers = {events.MessageComplete: Reply(250, None, "queued as 77\nbye")}
    assert started.say(b".\r\n") == b"250-2.0.0 queued as 77\r\n250 2.0.0 bye\r\n"
    assert started.machine.ended_transactions == 1
    assert not started.machine.is_body_open


def test_no_message_ends_in_an_intermediate_reply() -> None:
    started = at_354()
    started.machine.receive_data(b".\r\n")
    assert started.machine.next_event() == events.MessageComplete()
    with pytest.raises(ValueError, match="cannot be the last reply"):
        started.machine.answer(Reply(354))
    assert started.machine.is_waiting
    started.machine.answer(Reply(550))
    assert reply_codes(started.machine.data_to_send()) == [550]


def test_binarymime_is_sent_with_bdat() -> None:
    config = dataclasses.replace(CONFIG, extensions=frozenset({"BINARYMIME"}))
    started = ready(config)
    started.say(b"MAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<b@mx.test>\r\n")
    assert started.say(b"DATA\r\n").startswith(b"503 5.5.1 ")
    assert started.codes(b"BDAT 2 LAST\r\n\x00\n") == [250]
    assert started.messages == [b"\x00\n"]


# --- Size and line length, to the octet. ---


@pytest.mark.parametrize("at_once", [True, False])
def test_size_of_data_at_its_limit_and_over(at_once: bool) -> None:
    for size, code in ((10, 250), (11, 552)):
        data = b".." + b"x" * (size - 3) + b"\r\n.\r\nNOOP\r\n"
        started = at_354(limited(max_message_octets=10))
        assert started.codes(*([data] if at_once else singly(data))) == [code, 250]
        assert len(started.messages) == (code == 250)
        assert aborted(started) == (["message too large"] if code == 552 else [])


def test_oversize_data_is_read_to_its_true_end_and_not_run() -> None:
    lines = b"RSET\r\n" + EVIL + b"QUIT\r\n"
    data = b"x" * 50 + b"\r\n" + lines + b".\r\n" + b"NOOP\r\n"
    for pieces in ([data], singly(data)):
        started = at_354(limited(max_message_octets=10))
        assert started.codes(*pieces) == [552, 250]
        assert started.messages == []
        assert started.machine.state is ServerState.READY


def test_oversize_data_is_not_kept() -> None:
    started = at_354(limited(max_message_octets=1_000))
    for _ in range(100):
        started.machine.receive_data(b"x" * 1_000)
        started.pump()
        assert started.machine.buffered == 0
    assert sum(map(len, started.content)) == 0
    # The first two thousand were not too many yet when they came.
    assert aborted(started) == ["message too large"]


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    ("content", "is_too_long"),
    [
        (b"x" * 8 + b"\r\n", False),
        (b"x" * 9 + b"\r\n", True),
        (b"a\r\n" + b"x" * 8 + b"\r\nb\r\n", False),
        (b"a\r\n" + b"x" * 9 + b"\r\nb\r\n", True),
        (b"x" * 9 + b"\r\nb\r\n", True),
        # Lines of which a part came with the block before.
        (b"xxxxx\r\n" + b"x" * 8 + b"\r\n", False),
        (b"xxxxx\r\n" + b"x" * 9 + b"\r\n", True),
        # The dot that is taken off does not count (RFC 5321 section 4.5.3.1.6).
        (b".." + b"x" * 7 + b"\r\n", False),
        (b".." + b"x" * 8 + b"\r\n", True),
    ],
)
def test_message_line_at_its_limit_and_over(
    content: bytes, is_too_long: bool, at_once: bool
) -> None:
    config = limited(max_message_line_octets=10)
    started = at_354(config)
    data = content + b".\r\nNOOP\r\n"
    assert started.codes(*([data] if at_once else singly(data))) == (
        [550, 250] if is_too_long else [250, 250]
    )
    assert aborted(started) == (["message line over 10 octets"] if is_too_long else [])
    # It is forgotten with the message.
    started.say(ENVELOPE + b"DATA\r\n")
    assert started.codes(b"12345678\r\n.\r\n") == [250]


@pytest.mark.parametrize("place", range(1, 26))
def test_message_lines_at_their_limit_cut_anywhere(place: int) -> None:
    config = limited(max_message_line_octets=10)
    for last, code in ((b"12345678", 250), (b"123456789", 550)):
        data = b"1234\r\n12345678\r\n" + last + b"\r\n.\r\n"
        assert at_354(config).codes(*cut(data, [place])) == [code]


def test_a_cut_line_is_forgotten_with_its_message() -> None:
    started = at_354(limited(max_message_line_octets=10, max_message_octets=20))
    assert started.codes(b"1234567", b"8" * 30 + b"\r\n.\r\n") == [552]
    started.say(ENVELOPE + b"DATA\r\n")
    assert started.codes(b"12345678\r\n.\r\n") == [250]


def test_lines_of_chunks_are_not_limited() -> None:
    started = at_rcpt(limited(max_message_line_octets=10))
    assert started.codes(b"BDAT 50 LAST\r\n" + b"x" * 50) == [250]


FAULTS = {
    "size": (b"x" * 5_000 + b"\r\n", 552, b"5.3.4"),
    "bare": (b"a\nb\r\n", 550, b"5.6.0 message holds"),
    "line": (b"x" * 101 + b"\r\n", 550, b"5.6.0 message line"),
}


@pytest.mark.parametrize("faults", [*combinations(FAULTS, 2), tuple(FAULTS)])
def test_of_several_faults_one_is_told_however_the_octets_come(
    faults: Sequence[str],
) -> None:
    config = limited(max_message_octets=5_000, max_message_line_octets=100)
    first = min(faults, key=list(FAULTS).index)
    _, code, text = FAULTS[first]
    for order in (faults, faults[::-1]):
        data = b"".join(FAULTS[fault][0] for fault in order) + b".\r\n"
        for pieces in ([data], list(singly(data)), cut(data, [50, 200, 5_050])):
            started = at_354(config)
            answered = started.say(*pieces)
            assert answered.startswith(b"%d %b" % (code, text))
            assert len(reply_codes(answered)) == 1
            assert len(aborted(started)) == 1


# --- DATA cut anywhere is an abort. ---


@pytest.mark.parametrize(
    "data", [b"", b"abc", b"abc\r\n", b"abc\r\n.", b"abc\r\n.\r", b".", b".\r"]
)
@pytest.mark.parametrize("at_once", [True, False])
def test_data_cut_is_an_abort(data: bytes, at_once: bool) -> None:
    started = at_354()
    started.say(*([data] if at_once else singly(data)))
    assert started.machine.is_body_open
    started.machine.receive_eof()
    started.pump()
    assert started.messages == []
    assert aborted(started) == ["the client closed the connection"]
    assert not started.machine.is_body_open


def test_a_refused_message_is_aborted_once() -> None:
    started = at_354(limited(max_message_octets=3))
    started.say(b"x" * 10)
    started.machine.receive_eof()
    started.pump()
    assert aborted(started) == ["message too large"]
    assert started.kinds()[-1] is events.ConnectionEnded


# --- BDAT. ---


@pytest.mark.parametrize(
    "payload", [b"\r\n.\r\nQUIT\r\n", b"x" * 5_000, b"\x00" * 9, b"\n\r.\n", b""]
)
def test_octets_of_a_chunk_are_stored_as_they_are(payload: bytes) -> None:
    octets = b"BDAT %d LAST\r\n%bNOOP\r\n" % (len(payload), payload)
    for pieces in ([octets], list(singly(octets)), cut(octets, [14, 15, 16])):
        started = at_rcpt()
        assert started.codes(*pieces) == [250, 250]
        assert started.messages == [payload]


def test_chunks_make_one_message() -> None:
    started = at_rcpt()
    assert started.say(b"BDAT 3\r\nabc") == b"250 2.0.0 3 octets received\r\n"
    assert started.codes(b"NOOP\r\nBDAT 0\r\nBDAT 2\r\nde") == [250, 250, 250]
    assert started.machine.is_body_open
    assert started.codes(b"BDAT 0 LAST\r\n") == [250]
    assert started.messages == [b"abcde"]
    assert started.kinds().count(events.DataRequested) == 1


def test_size_of_chunks_at_its_limit_and_over() -> None:
    config = limited(max_message_octets=10)
    started = at_rcpt(config)
    assert started.codes(b"BDAT 4\r\nabcdBDAT 6 LAST\r\nabcdef") == [250, 250]
    started = at_rcpt(config)
    octets = b"BDAT 4\r\nabcdBDAT 7 LAST\r\nQUIT\r\nxNOOP\r\n"
    assert started.codes(octets) == [250, 552, 250]
    assert started.messages == []
    assert aborted(started) == ["message too large"]
    # The next one counts from nothing.
    assert started.codes(ENVELOPE + b"BDAT 10 LAST\r\n" + b"x" * 10)[-1] == 250


@dataclasses.dataclass(frozen=True)
class Refused:
    """A session that refuses the next chunk, and with what.

    Attributes:
        code: of the refusal.
        before: what the client says first.
        answers: of the session.
        limits: of the session.
    """

    code: int
    before: bytes
    answers: Answers = dataclasses.field(default_factory=dict)
    limits: Limits = Limits()  # noqa: RUF009 - it is frozen

    def start(self) -> Talk:
        config = dataclasses.replace(CONFIG, limits=self.limits)
        started = Talk(ServerMachine(config), self.answers)
        started.pump()
        started.say(self.before)
        return started


EHLO = b"EHLO c.test\r\n"
SMALL = Limits(max_message_octets=9)
REFUSED = {
    "no-hello": Refused(503, b""),
    "rejected": Refused(503, b"", {events.ClientConnected: Reply(554)}),
    "no-mail": Refused(503, EHLO),
    "no-rcpt": Refused(503, EHLO + b"MAIL FROM:<>\r\n"),
    "all-refused": Refused(554, EHLO + ENVELOPE, {events.RcptReceived: Reply(550)}),
    "reset": Refused(503, EHLO + ENVELOPE + b"BDAT 1\r\nxRSET\r\n"),
    "hook": Refused(451, EHLO + ENVELOPE, {events.DataRequested: Reply(451)}),
    "failed": Refused(
        503,
        EHLO + ENVELOPE + b"BDAT 1 LAST\r\nx",
        {events.MessageComplete: Reply(550)},
    ),
    "size": Refused(552, EHLO + ENVELOPE, limits=SMALL),
    "size-later": Refused(552, EHLO + ENVELOPE + b"BDAT 1\r\nx", limits=SMALL),
}
CASES = pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)


@pytest.mark.parametrize("last", [b"", b" LAST"])
@CASES
def test_octets_of_a_refused_chunk_are_read_and_never_run(
    refused: Refused, last: bytes
) -> None:
    payload = b"QUIT\r\nRSET\r\n.\r\n" + EVIL
    chunk = b"BDAT %d%b\r\n%b" % (len(payload), last, payload)
    for pieces in ([chunk], list(singly(chunk)), cut(chunk, [len(chunk) - 1])):
        started, code = refused.start(), refused.code
        messages = len(started.messages)
        answered = started.say(*pieces)
        assert reply_codes(answered) == [code]
        assert len(started.messages) == messages
        assert started.machine.state is not ServerState.CLOSED
        assert started.codes(b"QUIT\r\n") == [221]


@CASES
def test_refused_chunk_without_octets(refused: Refused) -> None:
    started, code = refused.start(), refused.code
    if code == 552:
        # Nothing is not too much.
        code = 250
    assert started.codes(b"BDAT 0\r\n") == [code]


@CASES
def test_the_reply_to_a_refused_chunk_comes_at_its_end(refused: Refused) -> None:
    started, code = refused.start(), refused.code
    assert started.codes(b"BDAT 10\r\n" + b"x" * 9) == []
    assert started.codes(b"x") == [code]


@CASES
def test_a_refused_chunk_cut(refused: Refused) -> None:
    started = refused.start()
    messages = len(started.messages)
    started.say(b"BDAT 10 LAST\r\n" + b"x" * 9)
    started.machine.receive_eof()
    started.pump()
    ended = started.seen[-1]
    assert isinstance(ended, events.ConnectionEnded)
    assert not ended.is_clean
    assert len(started.messages) == messages


def test_the_limit_of_errors_holds_for_refused_chunks() -> None:
    started = ready(limited(max_errors=1))
    assert started.codes(b"BDAT 3\r\nabcNOOP\r\n") == [421]


@pytest.mark.parametrize("octets", [b"BDAT 3 LAST\r\n", b"BDAT 3 LAST\r\nab"])
def test_last_chunk_cut_is_an_abort(octets: bytes) -> None:
    started = at_rcpt()
    started.say(octets)
    started.machine.receive_eof()
    started.pump()
    assert started.messages == []
    assert len(aborted(started)) == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"RSET\r\n", "RSET before the end of the message"),
        (b"EHLO c.test\r\n", "EHLO before the end of the message"),
        (b"QUIT\r\n", "QUIT"),
    ],
)
def test_what_aborts_between_chunks(line: bytes, reason: str) -> None:
    started = at_rcpt()
    started.say(b"BDAT 1\r\nx" + line)
    assert aborted(started) == [reason]
    assert started.machine.ended_transactions == 1


def test_memory_of_a_large_message_is_what_arrives() -> None:
    for begin in (b"DATA\r\n", b"BDAT 50000000\r\n"):
        started = at_rcpt()
        started.say(begin)
        for _ in range(20):
            started.machine.receive_data(b"x" * 100_000)
            event = started.machine.next_event()
            assert isinstance(event, events.BodyReceived)
            assert started.machine.next_event() is None
            assert started.machine.buffered == 0


def test_when_octets_are_content() -> None:
    # Then it is for them to come, else for the next command.
    started = at_rcpt()
    machine = started.machine
    told = [machine.is_reading_content]
    for octets in (
        b"BDAT 4\r\nab",
        b"cd",
        b"RSET\r\nBDAT 4\r\nab",
        b"cd",
        ENVELOPE + b"DATA\r\n",
        b"hi\r\n.\r\n",
    ):
        started.say(octets)
        told.append(machine.is_reading_content)
    assert told == [False, True, False, True, False, True, False]


# --- LMTP: exactly one reply for each recipient (RFC 2033 section 4.2). ---

Start = Callable[[bytes], bytes]


def as_data(content: bytes) -> bytes:
    return b"DATA\r\n" + content + b".\r\n"


def as_chunk(content: bytes) -> bytes:
    return b"BDAT %d LAST\r\n%b" % (len(content), content)


def as_chunks(content: bytes) -> bytes:
    half = len(content) // 2
    return b"BDAT %d\r\n%bBDAT %d LAST\r\n%b" % (
        half,
        content[:half],
        len(content) - half,
        content[half:],
    )


WAYS = [as_data, as_chunk, as_chunks]
#: What is answered before the message's own replies.
BEFORE: dict[Start, list[int]] = {as_data: [354], as_chunk: [], as_chunks: [250]}


def at_three(config: ServerConfig = LMTP) -> Talk:
    return at_rcpt(config, recipients=3)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at_once", [True, False])
def test_lmtp_accepted(way: Start, at_once: bool) -> None:
    started = at_three()
    octets = way(b"hi\r\n")
    assert started.codes(*([octets] if at_once else singly(octets))) == [
        *BEFORE[way],
        *[250] * 3,
    ]
    assert started.codes(b"NOOP\r\n") == [250]


@pytest.mark.parametrize("way", WAYS)
def test_lmtp_refused_by_handler(way: Start) -> None:
    started = at_three()
    started.answers = {events.MessageComplete: Reply(451, None, "x")}
    answered = started.say(way(b"hi\r\n") + b"NOOP\r\n")
    assert reply_codes(answered) == [*BEFORE[way], *[451] * 3, 250]
    assert answered.count(b"451 4.0.0 x\r\n") == 3


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at_once", [True, False])
def test_lmtp_over_size(way: Start, at_once: bool) -> None:
    config = dataclasses.replace(LMTP, limits=Limits(max_message_octets=99))
    started = at_three(config)
    octets = way(b"x" * 98 + b"\r\n")
    assert started.codes(*([octets] if at_once else singly(octets))) == [
        *BEFORE[way],
        *[552] * 3,
    ]
    assert started.codes(b"NOOP\r\n") == [250]
    assert started.messages == []


def test_lmtp_bare_newline() -> None:
    started = at_three()
    assert started.codes(as_data(b"a\nb\r\n") + b"NOOP\r\n") == [354, *[550] * 3, 250]


@pytest.mark.parametrize("way", WAYS)
def test_lmtp_refused_before_the_message(way: Start) -> None:
    started = at_three()
    started.answers = {events.DataRequested: Reply(451, None, "x")}
    expected: dict[Start, list[int]] = {
        # DATA is answered once (RFC 2033 section 4.2 speaks of what follows 354).
        as_data: [451],
        as_chunk: [451] * 3,
        # The first chunk is not the last; then the transaction is gone.
        as_chunks: [451, 503],
    }
    octets = way(b"hi\r\n")
    if way is as_data:
        octets = b"DATA\r\n"
    assert started.codes(octets + b"NOOP\r\n") == [*expected[way], 250]


@pytest.mark.parametrize("way", WAYS)
def test_lmtp_disconnect(way: Start) -> None:
    octets = way(b"hi\r\n")
    for place in range(len(octets)):
        started = at_three()
        started.say(octets[:place])
        before = started.sent
        started.machine.receive_eof()
        started.pump()
        assert started.messages == []
        # Nothing is answered for a message that never came whole.
        assert started.sent == before


@pytest.mark.parametrize("way", WAYS)
def test_lmtp_statuses_in_any_order(way: Start) -> None:
    started = at_three()
    machine = started.machine
    octets = way(b"hi\r\n")
    machine.receive_data(octets[:-1])
    started.pump()
    before = len(reply_codes(started.sent))
    # The second is known early, the rest after the end.
    machine.set_status(1, Reply(550, None, "b"))
    machine.receive_data(octets[-1:])
    while not isinstance(machine.next_event(), events.MessageComplete):
        assert machine.is_body_open
    assert machine.data_to_send() == b""
    machine.set_status(0, Reply(250, None, "a"))
    assert machine.data_to_send() == b"250 2.0.0 a\r\n550 5.0.0 b\r\n"
    machine.answer(Reply(451, None, "c"))
    assert machine.data_to_send() == b"451 4.0.0 c\r\n"
    assert len(reply_codes(started.sent)) == before


@pytest.mark.parametrize("way", WAYS)
def test_lmtp_statuses_set_early_go_out_at_the_end(way: Start) -> None:
    # Not only when the next becomes known.
    started = at_three()
    machine = started.machine
    octets = way(b"hi\r\n")
    machine.receive_data(octets[:-1])
    started.pump()
    machine.set_status(0, Reply(250, None, "a"))
    assert machine.data_to_send() == b""
    machine.receive_data(octets[-1:])
    while not isinstance(machine.next_event(), events.MessageComplete):
        assert machine.is_body_open
    assert machine.data_to_send() == b"250 2.0.0 a\r\n"
    machine.answer(None)
    assert reply_codes(machine.data_to_send()) == [250, 250]


def test_lmtp_statuses_are_dropped_with_an_aborted_message() -> None:
    config = dataclasses.replace(LMTP, limits=Limits(max_message_octets=9))
    started = at_354(config, recipients=2)
    started.say(b"abc")
    started.machine.set_status(0, Reply(250))
    assert started.codes(b"x" * 10 + b"\r\n.\r\n") == [552, 552]
    with pytest.raises(RuntimeError, match="recipients of an LMTP message under way"):
        started.machine.set_status(1, Reply(250))


def complete(config: ServerConfig = LMTP) -> Talk:
    """Begin a session that waits for what became of an LMTP message."""
    started = at_354(config, recipients=3)
    started.machine.receive_data(b".\r\n")
    assert started.machine.next_event() == events.MessageComplete()
    return started


def test_lmtp_status_only_once_and_final() -> None:
    machine = complete().machine
    with pytest.raises(ValueError, match="cannot be the last reply"):
        machine.set_status(0, Reply(354))
    machine.set_status(0, Reply(250))
    with pytest.raises(ValueError, match="recipient 0 has its status"):
        machine.set_status(0, Reply(250))
    machine.answer(None)
    assert reply_codes(machine.data_to_send()) == [250] * 3
    with pytest.raises(RuntimeError):
        machine.set_status(1, Reply(250))


def test_smtp_has_no_statuses() -> None:
    with pytest.raises(RuntimeError, match="LMTP"):
        at_354().machine.set_status(0, Reply(250))


def test_lmtp_all_statuses_given_then_an_answer() -> None:
    machine = complete().machine
    for index in (2, 1, 0):
        machine.set_status(index, Reply(250 + index, None, "x"))
    assert reply_codes(machine.data_to_send()) == [250, 251, 252]
    machine.answer(Reply(550, None, "unused"))
    assert machine.data_to_send() == b""
    assert machine.state is ServerState.READY


def test_lmtp_errors_count_once_a_message_however_they_were_given() -> None:
    for is_early in (True, False):
        config = dataclasses.replace(LMTP, limits=Limits(max_errors=2))
        started = complete(config)
        if is_early:
            for index in range(3):
                started.machine.set_status(index, Reply(550))
        started.machine.answer(Reply(550))
        started.pump()
        assert started.machine.state is ServerState.READY
        assert started.codes(b"X\r\n") == [421]


def test_lmtp_one_positive_status_forgives_errors() -> None:
    config = dataclasses.replace(LMTP, limits=Limits(max_errors=3))
    started = at_354(config, recipients=2)
    started.say(b"")
    started.machine.receive_data(b".\r\n")
    assert started.machine.next_event() == events.MessageComplete()
    started.machine.set_status(0, Reply(250))
    started.machine.answer(Reply(550))
    started.pump()
    assert started.codes(b"X\r\nX\r\n") == [500, 421]


@pytest.mark.parametrize("is_early", [True, False])
def test_lmtp_421_ends_the_session_after_the_last_reply(is_early: bool) -> None:
    started = complete()
    if is_early:
        for index in range(3):
            started.machine.set_status(index, Reply(421 if index == 1 else 250))
        started.machine.answer(None)
    else:
        started.machine.set_status(1, Reply(421))
        started.machine.answer(None)
    started.machine.receive_data(b"NOOP\r\n")
    started.pump()
    assert reply_codes(started.sent)[-4:] == [354, 250, 421, 250]
    assert started.seen[-1] == events.ConnectionEnded(
        "421 to a message", is_clean=False
    )


def test_lmtp_duplicates_are_distinct() -> None:
    started = complete()
    envelope = started.machine.envelope
    assert envelope is not None
    assert len(envelope.recipients) == 3
    assert len(set(map(id, envelope.recipients))) == 3

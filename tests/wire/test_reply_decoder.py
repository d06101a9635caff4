"""The reply decoder: traps, limits, and any segmentation."""

from __future__ import annotations

import pytest

from smtpx.errors import BadReply
from smtpx.wire import reply_decoder
from smtpx.wire.replies import Reply
from smtpx.wire.reply_decoder import (
    ReplyDecoder,
    ReplyLimits,
    ReplyLine,
    parse_reply_line,
)
from tests.wire.decoding import decode_all, octet_by_octet

# --- reply lines ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"250", ReplyLine(250, True, "")),
        (b"250 ", ReplyLine(250, True, "")),
        (b"250-", ReplyLine(250, False, "")),
        (b"250 OK", ReplyLine(250, True, "OK")),
        (b"250-OK", ReplyLine(250, False, "OK")),
        (b"250  two", ReplyLine(250, True, " two")),
        (b"250--two", ReplyLine(250, False, "-two")),
        (b"599 x", ReplyLine(599, True, "x")),
        (b"200 x", ReplyLine(200, True, "x")),
        (b"250 \xc3\xbc\xff\0", ReplyLine(250, True, "\u00fc\udcff\0")),
        (b"250 a\rb", ReplyLine(250, True, "a\rb")),
    ],
)
def test_reply_line(line: bytes, expected: ReplyLine) -> None:
    assert parse_reply_line(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"2", b"25", b"25 x", b"999 x", b"199 x", b"600 x", b"2500", b"250x"),
        *(b" 250", b"250\t", b"+25 x", b"-25 x", b"2_5 x", b"HTTP/1.1 200 OK", b"\0"),
        *(b"\xb2\xb5\xb0 x", b"2500 x", b"250\r"),
    ],
)
def test_reply_line_refused(line: bytes) -> None:
    with pytest.raises(BadReply, match="not a reply"):
        parse_reply_line(line)


def test_a_refused_line_is_quoted_in_part_only() -> None:
    with pytest.raises(BadReply) as caught:
        parse_reply_line(b"\x00" * 10_000)
    assert len(str(caught.value)) < 400


# --- the decoder ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"250\r\n", [Reply(250)]),
        (b"250 \r\n", [Reply(250)]),
        (b"250-a\r\n250\r\n", [Reply(250, None, "a\n")]),
        (b"250 2.1.0 OK\r\n", [Reply(250, "2.1.0", "OK")]),
        (b"250 2.1.0\r\n", [Reply(250, "2.1.0")]),
        (b"250 2.1.0 \r\n", [Reply(250, "2.1.0")]),
        (b"250 2.1.0  x\r\n", [Reply(250, "2.1.0", " x")]),
        (b"550-5.7.1 a\r\n550 5.7.1 b\r\n", [Reply(550, "5.7.1", "a\nb")]),
        (b"550-5.7.1\r\n550 5.7.1 b\r\n", [Reply(550, "5.7.1", "\nb")]),
        # Lenient: a line without the code, with another, or with a longer one.
        (b"550-5.7.1 a\r\n550 b\r\n", [Reply(550, "5.7.1", "a\nb")]),
        (b"550-5.7.1 a\r\n550 5.1.1 b\r\n", [Reply(550, "5.7.1", "a\n5.1.1 b")]),
        (b"550-5.7.1 a\r\n550 5.7.10 b\r\n", [Reply(550, "5.7.1", "a\n5.7.10 b")]),
        (b"550-a\r\n550 5.7.1 b\r\n", [Reply(550, None, "a\n5.7.1 b")]),
        # Not an enhanced code: another class, part of a longer word, a 3yz reply.
        (b"250 5.7.1 x\r\n", [Reply(250, None, "5.7.1 x")]),
        (b"250 2.7.1.4 x\r\n", [Reply(250, None, "2.7.1.4 x")]),
        (b"250 2.0.0-x\r\n", [Reply(250, None, "2.0.0-x")]),
        (b"354 3.0.0 x\r\n", [Reply(354, None, "3.0.0 x")]),
        (b"220 a\r\n250 b\r\n", [Reply(220, None, "a"), Reply(250, None, "b")]),
        # 8-bit and NUL text: kept, and made safe for logs.
        (b"250 \xff\xc3\xbc\r\n", [Reply(250, None, "\udcff\u00fc")]),
        (b"250 a\0b\x1b[2J\r\n", [Reply(250, None, "a?b?[2J")]),
        (b"250 a\r\r\n", [Reply(250, None, "a?")]),
        (b"250 " + b"x" * 300 + b"\r\n", [Reply(250, None, "x" * 300)]),
        (
            b"250-" + b"x" * 300 + b"\r\n250 2\r\n",
            [Reply(250, None, "x" * 300 + "\n2")],
        ),
    ],
)
def test_decoder(data: bytes, expected: list[Reply]) -> None:
    whole = ReplyDecoder()
    assert decode_all(whole, data) == expected
    assert not whole.has_partial
    split = ReplyDecoder()
    assert decode_all(split, *octet_by_octet(data)) == expected
    assert split.buffered == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"25\r\n", "not a reply"),
        (b"999 x\r\n", "not a reply"),
        (b"\r\n", "not a reply"),
        (b"250-a\r\n251 b\r\n", "codes 250 and 251"),
        (b"250-a\r\n251-b\r\n", "codes 250 and 251"),
        (b"250-a\r\nx\r\n", "not a reply"),
        (b"250 a\n", "bare LF"),
        (b"250-a\n250 b\r\n", "bare LF"),
        (b"250-a\r\n\n250 b\r\n", "bare LF"),
        (b"\n", "bare LF"),
    ],
)
def test_decoder_refuses(data: bytes, message: str) -> None:
    for pieces in ([data], octet_by_octet(data)):
        decoder = ReplyDecoder()
        with pytest.raises(BadReply, match=message):
            decode_all(decoder, *pieces)
        # Broken for good: a good reply behind a bad one is not to be trusted.
        with pytest.raises(BadReply, match=message):
            decoder.next_reply()
        with pytest.raises(BadReply, match=message):
            decoder.feed(b"250 OK\r\n")


def test_replies_before_a_bad_one_are_given() -> None:
    decoder = ReplyDecoder()
    decoder.feed(b"250 OK\r\n?\r\n")
    assert decoder.next_reply() == Reply(250, None, "OK")
    with pytest.raises(BadReply):
        decoder.next_reply()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"250 a\n", [Reply(250, None, "a")]),
        (b"250-a\n250 b\r\n", [Reply(250, None, "a\nb")]),
        (b"250 a\r\n\x32\x35\x30\n", [Reply(250, None, "a"), Reply(250)]),
    ],
)
def test_lenient_line_ends(data: bytes, expected: list[Reply]) -> None:
    decoder = ReplyDecoder(is_lenient=True)
    assert decode_all(decoder, data) == expected
    decoder = ReplyDecoder(is_lenient=True)
    assert decode_all(decoder, *octet_by_octet(data)) == expected


def test_a_lone_line_feed_is_no_reply_when_lenient() -> None:
    decoder = ReplyDecoder(is_lenient=True)
    decoder.feed(b"\n")
    with pytest.raises(BadReply, match="not a reply"):
        decoder.next_reply()


@pytest.mark.parametrize(
    ("tail", "size"),
    [
        (b"", 0),
        (b"2", 1),
        (b"250-AUTH LOG", 12),
        (b"250-x\r\n250 AUTH PLAIN\r\n", 23),
        (b"250-x\r\n", 7),
        (b"\r", 1),
    ],
)
def test_what_is_behind_a_reply_is_counted(tail: bytes, size: int) -> None:
    decoder = ReplyDecoder()
    decoder.feed(b"220 ready\r\n" + tail)
    assert decoder.next_reply() == Reply(220, None, "ready")
    assert decoder.buffered == size
    assert decoder.has_partial is (size > 0)


def test_lines_of_a_reply_under_way_are_counted() -> None:
    decoder = ReplyDecoder()
    decoder.feed(b"250-a\r\n25")
    assert decoder.next_reply() is None
    assert decoder.buffered == 9
    decoder.feed(b"0 b\r\n2")
    assert decoder.next_reply() == Reply(250, None, "a\nb")
    assert decoder.buffered == 1
    decoder.feed(b"50 c\r\n")
    assert decoder.next_reply() == Reply(250, None, "c")
    assert decoder.buffered == 0


# --- limits --------------------------------------------------------------------------


def test_line_limit() -> None:
    limits = ReplyLimits(max_line_octets=20)
    fits = b"250 " + b"x" * 14 + b"\r\n"
    assert len(fits) == 20
    over = b"250 " + b"x" * 15 + b"\r\n"
    for cut in range(len(over)):
        decoder = ReplyDecoder(limits)
        assert len(decode_all(decoder, fits[:cut], fits[cut:])) == 1
        decoder = ReplyDecoder(limits)
        with pytest.raises(BadReply, match="line over 20 octets"):
            decode_all(decoder, over[:cut], over[cut:])
    # The second line of a reply has a limit of its own, not what the first left.
    assert len(decode_all(ReplyDecoder(limits), b"250-abc\r\n" + fits)) == 1
    # No line end in sight: refused as soon as none can come in time.
    decoder = ReplyDecoder(limits)
    decoder.feed(b"x" * 19)
    assert decoder.next_reply() is None
    decoder.feed(b"x")
    with pytest.raises(BadReply, match="line over 20 octets"):
        decoder.next_reply()


def test_lines_limit() -> None:
    limits = ReplyLimits(max_lines=3)
    fits = b"250-a\r\n" * 2 + b"250 b\r\n"
    assert len(decode_all(ReplyDecoder(limits), fits + fits)) == 2
    for data in (b"250-a\r\n" * 3 + b"250 b\r\n", b"250-a\r\n" * 4):
        with pytest.raises(BadReply, match="over 3 lines"):
            decode_all(ReplyDecoder(limits), data)


def test_total_limit() -> None:
    limits = ReplyLimits(max_octets=20)
    fits = b"250-abcd\r\n250 abcd\r\n"
    assert len(fits) == 20
    assert len(decode_all(ReplyDecoder(limits), fits + fits)) == 2
    assert len(decode_all(ReplyDecoder(limits), *octet_by_octet(fits + fits))) == 2
    over = b"250-abcd\r\n250 abcde\r\n"
    for pieces in ([over], octet_by_octet(over)):
        with pytest.raises(BadReply, match="reply over 20 octets"):
            decode_all(ReplyDecoder(limits), *pieces)


def test_default_limits() -> None:
    challenge = b"334 " + b"A" * 12_288 + b"\r\n"
    assert len(decode_all(ReplyDecoder(), challenge)) == 1
    with pytest.raises(BadReply, match="line over"):
        decode_all(ReplyDecoder(), challenge[:-2] + b"A\r\n")
    with pytest.raises(BadReply, match="over 500 lines"):
        decode_all(ReplyDecoder(), b"250-\r\n" * 501)
    with pytest.raises(BadReply, match="reply over 65536 octets"):
        decode_all(ReplyDecoder(), (b"250-" + b"x" * 600 + b"\r\n") * 120)


def test_an_endless_line_is_refused_without_keeping_it() -> None:
    decoder = ReplyDecoder()
    with pytest.raises(BadReply, match="line over"):
        decode_all(decoder, *[b"x" * 1000] * 100)
    assert decoder.buffered <= 13_000


def test_what_a_lenient_decoder_took_is_not_known_to_a_strict_one() -> None:
    lenient = ReplyDecoder(is_lenient=True)
    lenient.feed(b"250 only with a bare LF\n")
    assert lenient.next_reply() is not None
    strict = ReplyDecoder()
    strict.feed(b"250 only with a bare LF\n")
    with pytest.raises(BadReply, match="bare LF"):
        strict.next_reply()


def test_replies_that_are_known_are_bounded() -> None:
    decoder = ReplyDecoder()
    for number in range(1000):
        decoder.feed(b"250 queued as %d\r\n" % number)
        reply = decoder.next_reply()
        assert reply is not None
        assert reply.text == f"queued as {number}"
        assert len(reply_decoder._WHOLE_REPLIES) <= 256


def test_a_known_reply_is_no_way_around_a_limit() -> None:
    line = b"250 " + b"x" * 100 + b"\r\n"
    decoder = ReplyDecoder()
    decoder.feed(line * 2)
    assert decoder.next_reply() is decoder.next_reply() is not None
    narrow = ReplyDecoder(ReplyLimits(max_line_octets=50))
    narrow.feed(line)
    with pytest.raises(BadReply, match="over 50 octets"):
        narrow.next_reply()

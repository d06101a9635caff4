"""Replies: the traps of both ends, and a round trip through the wire."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.wire import replies
from smtpx.wire.replies import EnhancedCode, Reply
from smtpx.wire.reply_decoder import ReplyDecoder
from tests.wire.decoding import decode_all, octet_by_octet

# --- enhanced codes ------------------------------------------------------------------


@pytest.mark.parametrize("text", ["2.0.0", "4.7.28", "5.999.999", "5.1.1"])
def test_enhanced_code_round_trip(text: str) -> None:
    assert str(EnhancedCode.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "5", "5.1", "3.0.0", "1.0.0", "5.1.1 ", " 5.1.1", "5.1.1000", "5.1000.1"),
        *("5.1.1.1", "5..1", "5.1.", "x.1.1", "5.1.\u0661", "5.1.1\n"),
    ],
)
def test_enhanced_code_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no enhanced code"):
        EnhancedCode.parse(text)


# --- values --------------------------------------------------------------------------


def test_reply_is_a_value() -> None:
    reply = Reply(550, "5.1.1", "no such mailbox")
    same = Reply(550, EnhancedCode(5, 1, 1), "no such mailbox")
    assert reply == same
    assert hash(reply) == hash(same)
    reply.encode()
    assert reply == same
    assert hash(reply) == hash(same)
    assert reply != Reply(550, "5.1.1", "other")
    assert reply != Reply(550, None, "no such mailbox")
    assert reply != Reply(551, "5.1.1", "no such mailbox")
    assert repr(reply) == repr(same)
    assert "_wire" not in repr(reply)
    assert pickle.loads(pickle.dumps(reply)) == reply
    assert copy.copy(reply).encode() == reply.encode()
    with pytest.raises(AttributeError):
        reply.code = 250  # type: ignore[misc]


def test_encoding_is_computed_once() -> None:
    reply = Reply(250, "2.0.0", "OK")
    assert reply.encode() is reply.encode()


@pytest.mark.parametrize("code", [-250, 0, 25, 199, 600, 2500])
def test_codes_out_of_range_are_refused(code: int) -> None:
    with pytest.raises(ValueError, match="200 to 599"):
        Reply(code)


@pytest.mark.parametrize("code", [200, 599])
def test_codes_at_the_bounds_are_taken(code: int) -> None:
    assert Reply(code).code == code


@pytest.mark.parametrize(
    ("code", "enhanced"), [(250, "5.0.0"), (550, "4.0.0"), (354, "2.0.0")]
)
def test_enhanced_class_must_agree(code: int, enhanced: str) -> None:
    with pytest.raises(ValueError, match="disagrees"):
        Reply(code, enhanced)


def test_enhanced_code_out_of_range_is_refused_parsed_too() -> None:
    with pytest.raises(ValueError, match="no enhanced code"):
        Reply(550, EnhancedCode(5, 1, 1000))


@pytest.mark.parametrize(
    ("code", "flags"),
    [
        (200, (True, False, False, False)),
        (299, (True, False, False, False)),
        (300, (False, True, False, False)),
        (399, (False, True, False, False)),
        (400, (False, False, True, False)),
        (499, (False, False, True, False)),
        (500, (False, False, False, True)),
        (599, (False, False, False, True)),
    ],
)
def test_judged_by_the_first_digit(code: int, flags: tuple[bool, ...]) -> None:
    reply = Reply(code)
    assert flags == (
        reply.is_positive,
        reply.is_intermediate,
        reply.is_temporary,
        reply.is_permanent,
    )


@pytest.mark.parametrize(
    ("reply", "enhanced"),
    [
        (Reply(250), "2.0.0"),
        (Reply(451), "4.0.0"),
        (Reply(550), "5.0.0"),
        (Reply(550, "5.1.1"), "5.1.1"),
        (Reply(354), "None"),
    ],
)
def test_enhanced_default(reply: Reply, enhanced: str) -> None:
    filled = reply.with_enhanced_default()
    assert str(filled.enhanced) == enhanced
    assert (filled.code, filled.text) == (reply.code, reply.text)


def test_enhanced_default_keeps_the_lines() -> None:
    reply = Reply(250, None, "a\nb").with_enhanced_default()
    assert reply.encode() == b"250-2.0.0 a\r\n250 2.0.0 b\r\n"


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (Reply(250, "2.0.0", "OK"), "250 2.0.0 OK"),
        (Reply(354, None, "go\non"), "354 go\non"),
        (Reply(250), "250"),
    ],
)
def test_str(reply: Reply, text: str) -> None:
    assert str(reply) == text


# --- encoding ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "wire"),
    [
        (Reply(250), b"250 \r\n"),
        (Reply(250, None, "OK"), b"250 OK\r\n"),
        (Reply(250, "2.0.0"), b"250 2.0.0 \r\n"),
        (Reply(250, None, "a\n\nb"), b"250-a\r\n250-\r\n250 b\r\n"),
        (Reply(250, "2.0.0", "a\n"), b"250-2.0.0 a\r\n250 2.0.0 \r\n"),
        (Reply(250, None, "a\r\nb"), b"250-a\r\n250 b\r\n"),
        (Reply(250, None, "a\rb"), b"250 a?b\r\n"),
        (Reply(250, None, "a\r\r\nb"), b"250-a?\r\n250 b\r\n"),
        (Reply(250, None, "tab\there"), b"250 tab\there\r\n"),
        (Reply(250, None, "\0\x01\x0b\x0c\x1b\x1f\x7f"), b"250 ???????\r\n"),
        (Reply(250, None, "\x80\x85\x9b\xa0"), b"250 ???\xc2\xa0\r\n"),
        (Reply(250, None, "gr\u00fc\u00df"), "250 gr\u00fc\u00df\r\n".encode()),
        # A character whose lower octet is CR or LF is no CR and no LF.
        (Reply(250, None, "\u760d\u760a"), "250 \u760d\u760a\r\n".encode()),
        # The line separators of Unicode would split a line of a log.
        (Reply(250, None, "a\u2028b\u2029"), b"250 a?b?\r\n"),
        # What a peer sent undecodable goes out as it came; the rest of the
        # surrogates cannot be encoded.
        (Reply(250, None, "\udc80\udcff"), b"250 \x80\xff\r\n"),
        (Reply(250, None, "\ud800\udc7f\udd00\udfff"), b"250 ????\r\n"),
    ],
)
def test_encode(reply: Reply, wire: bytes) -> None:
    assert reply.encode() == wire


def test_lines_are_made_safe_at_once() -> None:
    assert Reply(250, None, "a\rb\n\0c").lines == ("a?b", "?c")
    assert Reply(250, None, "a\rb\n\0c").text == "a?b\n?c"


@pytest.mark.parametrize(
    ("enhanced", "room"), [(None, 512 - 6), ("2.0.0", 512 - 12), ("2.999.9", 512 - 14)]
)
def test_lines_are_folded_at_512_octets(enhanced: str | None, room: int) -> None:
    fits = Reply(250, enhanced, "x" * room)
    assert len(fits.encode()) == 512
    assert fits.encode().count(b"\r\n") == 1
    over = Reply(250, enhanced, "x" * (room + 1)).encode()
    lengths = [len(line) + 2 for line in over.split(b"\r\n")[:-1]]
    assert lengths == [512, 512 - room + 1]


def test_lines_are_folded_at_the_last_space_that_fits() -> None:
    text = "a" * 500 + " " + "b" * 5 + " " + "c" * 300 + " " + "d" * 206
    assert Reply(250, None, text).encode() == b"".join(
        (
            b"250-" + b"a" * 500 + b" " + b"b" * 5 + b"\r\n",
            b"250-" + b"c" * 300 + b"\r\n",
            b"250 " + b"d" * 206 + b"\r\n",
        )
    )


def test_folding_at_a_space_right_behind_the_room() -> None:
    wire = Reply(250, None, "a" * 506 + " b").encode()
    assert wire == b"250-" + b"a" * 506 + b"\r\n250 b\r\n"


def test_folding_keeps_characters_whole() -> None:
    for shift in range(4):
        text = "x" * shift + "\U0001f4e7" * 300
        wire = Reply(250, None, text).encode()
        lines = wire.split(b"\r\n")[:-1]
        assert len(lines) == 3
        assert all(len(line) + 2 <= 512 for line in lines)
        assert "".join(line[4:].decode("utf-8") for line in lines) == text


def test_folding_of_octets_that_are_not_utf8() -> None:
    wire = Reply(250, None, "\udc80" * 600).encode()
    lines = wire.split(b"\r\n")[:-1]
    assert [len(line) + 2 for line in lines] == [512, 6 + 94]
    assert b"".join(line[4:] for line in lines) == b"\x80" * 600


def test_a_sasl_challenge_is_never_folded() -> None:
    assert Reply(334, None, "A" * 12_288).encode() == b"334 " + b"A" * 12_288 + b"\r\n"


# Text that survives the wire: what it holds is safe, and its first line does not look
# as if it began with an enhanced code.
texts = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
    | st.sampled_from("\n\t2.0 "),
    max_size=60,
).filter(lambda text: text[:2] not in {"2.", "4.", "5."})


@given(
    code=st.integers(200, 599),
    subject=st.none() | st.tuples(st.integers(0, 999), st.integers(0, 999)),
    text=texts,
    cut=st.integers(0, 200),
)
def test_decode_of_encode(
    code: int, subject: tuple[int, int] | None, text: str, cut: int
) -> None:
    enhanced = None
    if subject is not None and code // 100 != 3:
        enhanced = EnhancedCode(code // 100, *subject)
    reply = Reply(code, enhanced, text)
    wire = reply.encode()
    assert decode_all(ReplyDecoder(), wire) == [reply]
    assert decode_all(ReplyDecoder(), wire[:cut], wire[cut:]) == [reply]
    assert decode_all(ReplyDecoder(), *octet_by_octet(wire)) == [reply]


@given(code=st.integers(200, 599), text=st.text(max_size=700))
def test_no_text_breaks_a_reply(code: int, text: str) -> None:
    wire = Reply(code, None, text).encode()
    lines = wire.split(b"\r\n")
    assert lines.pop() == b""
    assert all(b"\r" not in line and b"\n" not in line for line in lines)
    assert all(line.startswith(b"%d-" % code) for line in lines[:-1])
    assert lines[-1].startswith(b"%d " % code)
    assert code == 334 or max(map(len, lines)) <= 510


# --- named replies -------------------------------------------------------------------


def named_replies() -> dict[str, Reply]:
    return {k: v for k, v in vars(replies).items() if isinstance(v, Reply)}


def test_named_replies_fit_a_line_and_have_enhanced_codes() -> None:
    named = named_replies()
    assert len(named) > 30
    for name, reply in named.items():
        wire = reply.encode()
        assert len(wire) <= 80, name
        assert wire.count(b"\r\n") == 1, name
        assert (reply.enhanced is None) is reply.is_intermediate, name
        assert decode_all(ReplyDecoder(), wire) == [reply], name


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("AUTHENTICATED", "235 2.7.0"),
        ("AUTH_CANCELLED", "501 5.7.0"),
        ("AUTH_FAILED", "535 5.7.8"),
        ("AUTH_LINE_TOO_LONG", "500 5.5.6"),
        ("AUTH_REQUIRED", "530 5.7.0"),
        ("AUTH_UNAVAILABLE", "454 4.7.0"),
        ("BAD_BASE64", "501 5.5.2"),
        ("BARE_NEWLINE", "550 5.6.0"),
        ("CANNOT_VERIFY", "252 2.5.0"),
        ("GOODBYE", "221 2.0.0"),
        ("IDLE_TIMEOUT", "421 4.4.2"),
        ("LINE_TOO_LONG", "500 5.5.2"),
        ("LOCAL_ERROR", "451 4.3.0"),
        ("MECHANISM_NEEDS_TLS", "538 5.7.11"),
        ("MESSAGE_ACCEPTED", "250 2.0.0"),
        ("MESSAGE_TOO_LARGE", "552 5.3.4"),
        ("NOT_IMPLEMENTED", "502 5.5.1"),
        ("NO_VALID_RECIPIENTS", "554 5.5.1"),
        ("OK", "250 2.0.0"),
        ("READY_FOR_TLS", "220 2.0.0"),
        ("RECIPIENT_OK", "250 2.1.5"),
        ("SENDER_OK", "250 2.1.0"),
        ("SHUTTING_DOWN", "421 4.3.2"),
        ("START_DATA", "354 None"),
        ("TLS_REQUIRED", "530 5.7.0"),
        ("TOO_MANY_AUTH_FAILURES", "421 4.7.0"),
        ("TOO_MANY_CONNECTIONS", "421 4.7.0"),
        ("TOO_MANY_DOMAINS", "452 4.5.3"),
        ("TOO_MANY_ERRORS", "421 4.7.0"),
        ("TOO_MANY_RECIPIENTS", "452 4.5.3"),
        ("UNKNOWN_MECHANISM", "504 5.5.4"),
        ("UTF8_NOT_ALLOWED", "553 5.6.7"),
    ],
)
def test_codes_of_named_replies(name: str, codes: str) -> None:
    reply = named_replies()[name]
    assert f"{reply.code} {reply.enhanced}" == codes


def test_a_reply_is_shown_as_it_is_written() -> None:
    replies = [Reply(250, "2.1.5", "OK"), Reply(220), Reply(550, "5.7.1", "no\nnever")]
    assert repr(replies) == (
        "[Reply(250, '2.1.5', 'OK'), Reply(220, None, ''), "
        "Reply(550, '5.7.1', 'no\\nnever')]"
    )
    assert eval(repr(replies)) == replies

"""The reading of transcript files, and the comparison of replies."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtpx.testing.steps import (
    MAX_REPEATED_OCTETS,
    ClientSays,
    Mark,
    ReplyPattern,
    ServerOctets,
    ServerSays,
    Signal,
    TranscriptError,
    Wait,
    decode_escapes,
    escape,
    match_reply,
)
from smtpx.testing.transcripts import parse_transcript, read_transcript


def steps(*lines: str) -> list[object]:
    return list(parse_transcript("\n".join(["# rule", *lines])).steps)


def patterns(*lines: str) -> tuple[ReplyPattern, ...]:
    step = steps(*lines)[0]
    assert isinstance(step, ServerSays)
    return step.lines


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("plain", b"plain"),
        (r"\r\n\t\0\\", b"\r\n\t\0\\"),
        (r"\x00\xfF\x2e", b"\x00\xff."),
        (r"a\{3 bc}d", b"abcbcbcd"),
        (r"\{2 \r\n}", b"\r\n\r\n"),
        (r"\{0 x}", b""),
        ("é", "é".encode()),
        ("", b""),
    ],
)
def test_escapes(text: str, octets: bytes) -> None:
    assert decode_escapes(text) == octets


@pytest.mark.parametrize("text", ["\\", r"\q", r"\x1", r"\{x y}", r"\{3}"])
def test_escapes_that_do_not_exist(text: str) -> None:
    with pytest.raises(ValueError, match="there is no escape"):
        decode_escapes(text)


def test_an_escape_stands_for_no_more_than_the_limit() -> None:
    most = MAX_REPEATED_OCTETS
    assert len(decode_escapes(rf"\{{{most // 2} ab}}")) == most
    for text in (
        rf"\{{{most + 1} a}}",
        rf"\{{{most // 2 + 1} ab}}",
        r"\{%s a}" % 10**40,
    ):
        with pytest.raises(ValueError, match="write a test in Python"):
            decode_escapes(text)


def test_escape_shows_what_was_cut() -> None:
    assert escape(b"ab\r\n") == r"ab\r\n"
    assert escape(b"x" * 10, limit=4) == "xxxx... (10 octets)"


def test_neighbouring_client_lines_are_one_segment() -> None:
    assert steps("C: a", r"C| b\r\nc", "C:", "S: 250", "C: d") == [
        ClientSays(2, b"a\r\nb\r\nc\r\n"),
        ServerSays((ReplyPattern(5, "250", True, None),)),
        ClientSays(6, b"d\r\n"),
    ]


@pytest.mark.parametrize("between", ["", "# a comment"])
def test_comment_parts_client_lines(between: str) -> None:
    assert len(steps("C: a", between, "C: b")) == 2


def test_spaces_of_a_client_line_are_kept() -> None:
    assert steps("C:  a ") == [ClientSays(2, b" a \r\n")]


def test_marks() -> None:
    assert steps("== TLS ==", "== CLOSE ==", "== HANG UP ==", "== WAIT 1.5s ==") == [
        Signal(2, Mark.TLS),
        Signal(3, Mark.CLOSE),
        Signal(4, Mark.HANG_UP),
        Wait(5, 1.5),
    ]


def test_lines_of_a_reply_are_one_step() -> None:
    found = steps("S: 250-a", "S: 250-b", "S: 250 c", "S: 250 d", r"S| 250 e\r\n")
    assert [type(step) for step in found] == [ServerSays, ServerSays, ServerOctets]
    assert isinstance(found[0], ServerSays)
    assert [line.text for line in found[0].lines] == ["a", "b", "c"]


def test_line_behind_more_continues_the_reply() -> None:
    found = steps("S: 250-a (more)", "S: 250-b (more)", "S: 503 c")
    assert [len(step.lines) for step in found if isinstance(step, ServerSays)] == [2, 1]


@pytest.mark.parametrize(
    ("written", "heard", "is_same"),
    [
        (["S: 250"], ["250 anything"], True),
        (["S: 250"], ["250"], True),
        (["S: 250"], ["251 anything"], False),
        (["S: 250"], ["250-a", "250 b"], False),
        (["S: 250 2.0.0 *"], ["250 2.0.0 fine"], True),
        (["S: 250 2.0.0 *"], ["250 2.1.0 fine"], False),
        (["S: 250 *x*"], ["250 axb"], True),
        (["S: 250 *x*"], ["250 ab"], False),
        (["S: 250 a.b"], ["250 axb"], False),
        (["S: 250 a"], ["250 ab"], False),
        (["S: 250-a", "S: 250 b"], ["250-a", "250 b"], True),
        (["S: 250-a", "S: 250 b"], ["250-a", "250-x", "250 b"], False),
        (["S: 250-a", "S: 250 b"], ["250 a"], False),
        (["S: 250-a (more)"], ["250-a", "250-x", "250 y"], True),
        (["S: 250-a (more)"], ["250 a"], True),
        (["S: 250-a (more)", "S: 250-x (more)"], ["250-a", "250 x"], True),
        (["S: 250-a (more)", "S: 250-x (more)"], ["250-a", "250-y", "250 z"], False),
        (["S: 250-a (more)", "S: 250 x"], ["250-a", "250-y", "250 x"], True),
        (["S: 250-a (more)", "S: 250 x"], ["250-a", "250-x", "250 y"], False),
    ],
)
def test_match(written: list[str], heard: list[str], is_same: bool) -> None:
    wrong = match_reply(patterns(*written), heard, codes_only=False)
    assert (wrong is None) is is_same


def test_match_names_the_line_that_differs() -> None:
    written = patterns("S: 250-a", "S: 250-b", "S: 250 c")
    wrong = match_reply(written, ["250-a", "250-x", "250 c"], codes_only=False)
    assert wrong is not None
    assert wrong.number == 3


def test_match_of_codes_alone() -> None:
    written = patterns("S: 250-a", "S: 250 b")
    assert match_reply(written, ["250 other"], codes_only=True) is None
    assert match_reply(written, ["251 other"], codes_only=True) is written[0]


def test_scripted_reply_has_a_text_and_a_last_line() -> None:
    step = ServerSays(patterns("S: 250-mx.test * (more)"))
    assert step.octets() == b"250 mx.test ok\r\n"
    assert ServerSays(patterns("S: 250")).octets() == b"250 ok\r\n"


def test_lines_about_the_conversation() -> None:
    transcript = parse_transcript(
        "# RFC 5321 section 3.3: a rule\n"
        "with lmtp hostname=mx.test\n"
        "refuse rcpt b@mx.test 550 5.1.1 no\\nsuch\n"
        "reply mail 250 fine\n"
        "fail data\n"
        "login tim secret\n"
        "ignore body\n"
        'client send from=a@b to=c@d to="e\\x20f" -> raised DataRefused code=554\n'
        "M: Hello\n"
        "M| x\\r\n"
        "C: NOOP\n"
        'then delivered a@b c@d "a b"\n'
    )
    assert transcript.rule == "RFC 5321 section 3.3: a rule"
    assert transcript.plays == {"server", "client"}
    assert [(each.name, each.value) for each in transcript.settings] == [
        ("lmtp", None),
        ("hostname", "mx.test"),
    ]
    refuse, reply, fail = transcript.reactions
    assert (refuse.hook, refuse.argument) == ("rcpt", "b@mx.test")
    assert refuse.reply is not None
    assert refuse.reply.encode() == b"550-5.1.1 no\r\n550 5.1.1 such\r\n"
    assert (reply.argument, fail.reply) == (None, None)
    assert transcript.logins == {"tim": "secret"}
    assert transcript.ignores_body
    action = transcript.actions[0]
    assert action.values("to") == ("c@d", "e f")
    assert (action.raised, action.outcome) == ("DataRefused", (("code", "554"),))
    assert transcript.message == b"Hello\r\nx\r"
    assert transcript.ends[0].words == ("delivered", "a@b", "c@d", '"a b"')


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("C: NOOP", ":1: the first line says which rule"),
        ("# rule", ":1: there is no conversation"),
        ("# rule\nX: NOOP", ":2: a line cannot begin with 'X:'"),
        ("# rule\nS: hello", ":2: a reply line is three digits"),
        ("# rule\nS: 250-a\nC: b", ":2: the reply is not finished"),
        ("# rule\nC| \\q", ":2: there is no escape"),
        ("# rule\n== SLEEP ==", ":2: 'SLEEP' is not a valid Mark"),
        ("# rule\nrefuse dinner 550", ":2: there is no hook 'dinner'"),
        ("# rule\nrefuse rcpt a@b", ":2: refuse and reply need a reply"),
        ("# rule\nfail rcpt 550 x", ":2: refuse and reply need a reply"),
        ("# rule\nignore everything", ":2: only the body can be ignored"),
        ("# rule\nfor nobody", ":2: write `for server` or `for client`"),
        ("# rule\nclient", ":2: what is the client to do?"),
        ("# rule\nclient noop -> raised", ":2: name the exception: raised DataRefused"),
    ],
)
def test_files_that_cannot_be_read(lines: str, problem: str) -> None:
    with pytest.raises(TranscriptError) as caught:
        parse_transcript(lines, "x.txt")
    assert str(caught.value).startswith(f"x.txt{problem}")


def test_file_is_utf8(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes("# rule\nC: jörg\n".encode())
    assert read_transcript(path).steps == (ClientSays(2, "jörg\r\n".encode()),)


def test_mismatch_shows_file_line_and_what_was_heard() -> None:
    transcript = parse_transcript("# rule\nC: NOOP\nS: 250 2.0.0 *\n", "x.txt")
    shown = str(transcript.mismatch(3, "core", "another reply", heard=["S: 500 no"]))
    assert shown == (
        "x.txt:3: [core] another reply\n"
        "    1   # rule\n"
        "    2   C: NOOP\n"
        "    3 - S: 250 2.0.0 *\n"
        "      + S: 500 no"
    )

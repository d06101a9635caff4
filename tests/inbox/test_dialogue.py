"""Dialogues: which lines belong to a message, and how many are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import smtpx
from smtpx.inbox.dialogue import (
    FIRST_LINES,
    LAST_LINES,
    MAX_SEGMENTS,
    Dialogue,
    Recorder,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.inbox.conftest import Running


def texts(dialogue: Dialogue) -> list[str]:
    return [line.text for line in dialogue.lines()]


def recorder(settled: list[Dialogue]) -> Recorder:
    made = Recorder(settled.append, clock=lambda: 0.0)
    made.open("s")
    made.write("s", "S: 220 hi")
    return made


def test_each_message_has_the_begin_and_its_own_lines() -> None:
    settled: list[Dialogue] = []
    log = recorder(settled)
    log.write("s", "C: MAIL FROM:<a>")
    first = log.begin("s", "one", replies=1)
    log.write("s", "S: 250 2.0.0 queued as one")
    log.write("s", "C: mail FROM:<b>")
    second = log.begin("s", "two", replies=1)
    assert texts(first) == ["220 hi", "MAIL FROM:<a>", "250 2.0.0 queued as one"]
    assert settled == [first]
    log.write("s", "S: 250 2.0.0 queued as two")
    log.write("s", "C: QUIT")
    log.close("s")
    assert texts(second) == [
        *("220 hi", "mail FROM:<b>", "250 2.0.0 queued as two", "QUIT")
    ]
    assert settled == [first, second]
    # Too late, and of nobody.
    log.write("s", "S: 221 bye")
    log.close("s")
    assert texts(log.begin("s", "three", replies=1)) == []


def test_a_reply_that_comes_after_the_next_mail() -> None:
    settled: list[Dialogue] = []
    log = recorder(settled)
    log.write("s", "C: MAIL FROM:<a>")
    first = log.begin("s", "one", replies=1)
    log.write("s", "C: MAIL FROM:<b>")
    log.write("s", "S: 250 2.0.0 queued as one")
    log.write("s", "C: MAIL FROM:<c>")
    assert settled == [first]
    assert texts(first) == [
        *("220 hi", "MAIL FROM:<a>", "MAIL FROM:<b>", "250 2.0.0 queued as one")
    ]


def test_in_lmtp_all_replies_belong_to_it() -> None:
    settled: list[Dialogue] = []
    log = recorder(settled)
    log.write("s", "C: MAIL FROM:<a>")
    log.begin("s", "one", replies=2)
    log.write("s", "S: 250 2.0.0 queued as one")
    log.write("s", "C: MAIL FROM:<b>")
    assert settled == []
    log.write("s", "S: 250 2.0.0 queued as one")
    log.write("s", "C: MAIL FROM:<c>")
    assert len(settled) == 1


def test_a_dialogue_has_so_many_segments() -> None:
    log = recorder([])
    log.write("s", "C: MAIL FROM:<0>")
    first = log.begin("s", "one", replies=1)
    for number in range(1, MAX_SEGMENTS - 1):
        log.write("s", f"C: MAIL FROM:<{number}>")
    whole = texts(first)
    assert len(whole) == MAX_SEGMENTS
    log.write("s", "C: MAIL FROM:<over>")
    assert texts(first) == whole


def test_a_segment_keeps_its_begin_and_its_end() -> None:
    log = Recorder(clock=lambda: 0.0)
    log.open("s")
    kept = FIRST_LINES + LAST_LINES
    dialogue = log.begin("s", "one", replies=1)
    for number in range(kept):
        log.write("s", f"C: NOOP {number:06}")
    full = dialogue.octets
    assert texts(dialogue) == [f"NOOP {number:06}" for number in range(kept)]
    log.write("s", f"C: NOOP {kept:06}")
    found = texts(dialogue)
    assert found[FIRST_LINES] == "1 lines left out"
    assert found[FIRST_LINES + 1] == f"NOOP {FIRST_LINES + 1:06}"
    assert (found[-1], len(found)) == (f"NOOP {kept:06}", kept + 1)
    assert dialogue.octets == full
    log.close("s")
    assert texts(dialogue) == found


def test_blocks_of_content_are_one_line() -> None:
    log = recorder([])
    log.write("s", "C: MAIL FROM:<a>")
    dialogue = log.begin("s", "one", replies=1)
    octets = dialogue.octets
    for _ in range(1_000):
        log.write("s", "C: (10 octets of content)")
    log.write("s", "S: 250 fine")
    log.write("s", "C: (7 octets of content)")
    # What a client says is no count.
    log.write("s", "C: (x octets of content)")
    assert texts(dialogue)[2:] == [
        "(10000 octets of content)",
        "250 fine",
        "(7 octets of content)",
        "(x octets of content)",
    ]
    assert dialogue.octets < octets + 200


def test_blocks_of_content_late_in_a_segment_are_one_line() -> None:
    log = Recorder(clock=lambda: 0.0)
    log.open("s")
    dialogue = log.begin("s", "one", replies=1)
    for _ in range(FIRST_LINES):
        log.write("s", "C: NOOP")
    for _ in range(1_000):
        log.write("s", "C: (10 octets of content)")
    assert texts(dialogue)[FIRST_LINES:] == ["(10000 octets of content)"]


# -------------------------------------------------------------------- through the API


def dialogue_of(running: Running) -> str:
    lines = running.get(f"/message/{running.only}/dialogue")["lines"]
    return "\n".join(f"{line['from']}: {line['text']}" for line in lines)


def test_no_password_is_recorded(run: Callable[..., Running]) -> None:
    running = run(tls=True, auth=True)
    running.send(auth=("ann", "secretpassword"))
    said = dialogue_of(running)
    assert "C: STARTTLS" in said
    assert "-: TLS" in said
    assert "C: AUTH PLAIN ***" in said
    assert "S: 235 2.7.0" in said
    everything = said + running.http.get("/api/v1/messages").text
    for secret in ("secretpassword", "AGFubgBzZWNyZXRwYXNzd29yZA=="):
        assert secret not in everything


def test_a_login_in_steps_is_not_recorded(run: Callable[..., Running]) -> None:
    running = run(auth=True)
    options = smtpx.ClientOptions(mechanisms=("LOGIN",))
    smtpx.send(
        b"Subject: x\r\n\r\n",
        to=running.inbox.smtp_urls[0],
        sender="a@x.test",
        recipients=["b@x.test"],
        auth=("ann", "secretpassword"),
        client_options=options,
    )
    said = dialogue_of(running)
    assert "C: AUTH LOGIN" in said
    assert "C: ***" in said
    assert "c2VjcmV0" not in said
    assert running.rows()[0]["user"] == "ann"

"""The drivers notice every way in which a conversation can leave its transcript."""

from __future__ import annotations

import pytest

from smtpx.testing import caller
from smtpx.testing.drivers import Certificates, drivers_for, play
from smtpx.testing.steps import TranscriptError, TranscriptMismatch
from smtpx.testing.transcripts import parse_transcript

SERVER_DRIVERS = ["whole", "octets", "pipelined", "asyncio"]
CLIENT_DRIVERS = ["client", "async-client"]

HELLO = """S: 220 *
C: EHLO client.test
S: 250-mx.test * (more)
"""
MESSAGE = f"""{HELLO}C: MAIL FROM:<a@client.test>
S: 250 2.1.0 *
C: RCPT TO:<b@mx.test>
S: 250 2.1.5 *
C: DATA
S: 354 *
C: Hello
C: .
S: 250 2.0.0 *
"""


def mismatch_of(text: str, driver: str, certificates: Certificates) -> str:
    transcript = parse_transcript(f"# rule\n{text}", "x.txt")
    assert driver in drivers_for(transcript)
    with pytest.raises(TranscriptMismatch) as caught:
        play(transcript, driver, certificates)
    return str(caught.value)


@pytest.mark.parametrize("driver", SERVER_DRIVERS)
@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("S: 220 other\n", 2, "another reply"),
        ("S: 220 *\nC: NOOP\nS: 221 2.0.0 *\n", 4, "another reply"),
        ("S: 220 *\nC: NOOP\nS: 250\nS: 250\n", 5, "no reply, or half a reply"),
        ("S: 220 *\nC: NOOP\n", 3, "the server said more"),
        ("S: 220 *\nC: NOOP\nS| 250 x\\r\n", 4, "other octets"),
        ("S: 220 *\nC: NOOP\nS| 250\n", 4, "the server said more"),
        (f"{HELLO}then hello other.test\n", 5, "another hello"),
        (f"{HELLO}then user tim\n", 5, "another user"),
        (f"{HELLO}then mail size 3\n", 5, "there was no such command"),
        (f"{MESSAGE}then nothing delivered\n", 14, "a message was delivered"),
        (
            f'{MESSAGE}then delivered a@client.test b@mx.test "x"\n',
            14,
            "another message was delivered",
        ),
        (
            f"{MESSAGE}then delivered a@client.test c@mx.test\n",
            14,
            "another message was delivered",
        ),
        (
            f"{MESSAGE}then delivered a@client.test b@mx.test\n"
            "then delivered a@client.test b@mx.test\n",
            15,
            "the message was not delivered",
        ),
        (
            f"{MESSAGE}{MESSAGE[len(HELLO) :]}then delivered a@client.test b@mx.test\n",
            23,
            "more was delivered",
        ),
        (f"{MESSAGE}then mail size 3\n", 14, "another size"),
        (f"{MESSAGE}then rcpt b@mx.test notify NEVER\n", 14, "another notify"),
        (f"{MESSAGE}then rcpt c@mx.test notify NEVER\n", 14, "no such command"),
    ],
)
def test_server_that_differs(
    text: str,
    line: int,
    problem: str,
    driver: str,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One of them says nothing, and is waited for.
    monkeypatch.setattr(caller, "PATIENCE_SECONDS", 5.0)
    shown = mismatch_of(text, driver, certificates)
    assert shown.startswith(f"x.txt:{line}: [")
    assert problem in shown.splitlines()[0]


@pytest.mark.parametrize("driver", ["whole", "octets", "pipelined"])
def test_core_that_does_not_close(driver: str, certificates: Certificates) -> None:
    shown = mismatch_of("S: 220 *\n== CLOSE ==\n", driver, certificates)
    assert shown.startswith("x.txt:3: ")
    assert "the server did not close" in shown


@pytest.mark.parametrize("driver", ["whole", "octets", "pipelined"])
def test_core_that_does_not_wait_for_tls(
    driver: str, certificates: Certificates
) -> None:
    shown = mismatch_of("S: 220 *\n== TLS ==\n", driver, certificates)
    assert "the server does not wait for TLS" in shown


def test_protocol_is_known_behind_a_socket(certificates: Certificates) -> None:
    shown = mismatch_of(f"{HELLO}then protocol SMTP\n", "asyncio", certificates)
    assert shown.splitlines()[-1] == "      + then protocol ESMTP"


@pytest.mark.parametrize("driver", CLIENT_DRIVERS)
@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("client noop\nS: 220 x\nC: EHLO y\n", 5, "the client said something else"),
        (
            "client noop\nS: 220 x\nC: EHLO client.test\nS: 250 x\n",
            6,
            "the client said more",
        ),
        (
            "client noop\nS: 220 x\nC: EHLO client.test\nS: 250 x\nC: NOOP\nS: 500\n",
            3,
            "raised",
        ),
        (
            "client noop -> raised SendError\nS: 220 x\nC: EHLO client.test\n"
            "S: 250 x\nC: NOOP\nS: 250\n",
            3,
            "the client did not raise SendError",
        ),
        (
            "client noop -> code=251\nS: 220 x\nC: EHLO client.test\n"
            "S: 250 x\nC: NOOP\nS: 250\n",
            3,
            "code is 250",
        ),
        (
            "client connect -> raised TLSFailed\nS: 554 x\n",
            3,
            "the client raised something else",
        ),
        (
            "client commands\nS: 220 x\nC: EHLO client.test\nS: 250 x\n"
            "C: RSET x\nS: 250\n",
            7,
            "the client said something else",
        ),
    ],
)
def test_client_that_differs(
    text: str, line: int, problem: str, driver: str, certificates: Certificates
) -> None:
    shown = mismatch_of(f"for client\n{text}", driver, certificates)
    assert shown.startswith(f"x.txt:{line}: [")
    assert problem in shown.splitlines()[0]


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("max_dinners=3", "there is no such option"),
        ("max_recipients=few", "that is no number"),
        ("lmtp=perhaps", "write a bare name, =yes or =no"),
        ("greeting_delay=long", "that is no number"),
        ("rate=messages", "write messages:2/hour"),
        ("rate=letters:2/hour", "write messages:2/hour"),
    ],
)
def test_settings_that_do_not_exist(setting: str, problem: str) -> None:
    transcript = parse_transcript(f"# rule\nwith {setting}\nS: 220\n", "x.txt")
    with pytest.raises(TranscriptError) as caught:
        play(transcript, drivers_for(transcript)[0])
    name = setting.partition("=")[0]
    assert str(caught.value) == f"x.txt:2: with {name}: {problem}"


@pytest.mark.parametrize(
    ("text", "drivers"),
    [
        ("S: 220", ["whole", "octets", "pipelined", "asyncio"]),
        ("with one-segment\nS: 220", ["whole", "pipelined", "asyncio"]),
        ("S: 220\n== WAIT 1s ==", ["asyncio"]),
        ("with greeting_delay=1s\nS: 220", ["asyncio"]),
        ("client noop\nS: 220", [*SERVER_DRIVERS, *CLIENT_DRIVERS]),
        ("for client\nclient noop\nS: 220", CLIENT_DRIVERS),
        ("for server\nclient noop\nS: 220", SERVER_DRIVERS),
        ("for client\nclient noop\nS: 220\n== WAIT 1s ==", ["async-client"]),
    ],
)
def test_drivers_of_a_transcript(text: str, drivers: list[str]) -> None:
    assert list(drivers_for(parse_transcript(f"# rule\n{text}\n"))) == drivers

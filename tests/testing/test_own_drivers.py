"""Transcripts against what a user wrote: sessions, applications, servers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import smtpx
from smtpx.testing.certificates import make_certificates
from smtpx.testing.own_drivers import play_address, play_session
from smtpx.testing.steps import TranscriptError, TranscriptMismatch
from smtpx.testing.threads import run_in_thread
from smtpx.testing.transcripts import parse_transcript

if TYPE_CHECKING:
    from pathlib import Path

    from smtpx.server.body import Body
    from smtpx.testing.steps import Transcript

BEGIN = "# a rule\nS: 220 *\nC: EHLO client.test\nS: 250-* (more)\n"
MAIL = "C: MAIL FROM:<a@a.test>\nS: 250 2.1.0 *\n"
RCPT = "C: RCPT TO:<bob@b.test>\nS: 250 2.1.5 *\n"


class Guarded(smtpx.Session):
    async def rcpt(
        self, forward_path: smtpx.Mailbox, options: smtpx.RcptOptions
    ) -> None:
        if forward_path.local_part == "eve":
            raise smtpx.Refuse(550, "5.1.1", "no Eve here")

    async def data(self, body: Body) -> smtpx.Reply:
        content = await body.read()
        return smtpx.Reply(250, "2.0.0", f"{len(content)} octets")


def script(*parts: str, begin: str = BEGIN) -> Transcript:
    return parse_transcript(begin + "".join(parts))


def test_a_session_keeps_its_transcript() -> None:
    end = "C: DATA\nS: 354 *\nC: hello\nC: .\nS: 250 2.0.0 7 octets\n"
    play_session(script(MAIL, RCPT, end), Guarded)


def test_a_session_that_does_something_else_is_found() -> None:
    transcript = script(MAIL, "C: RCPT TO:<eve@b.test>\nS: 250 2.1.5 *\n")
    with pytest.raises(TranscriptMismatch) as raised:
        play_session(transcript, Guarded)
    assert "[your session]" in str(raised.value)
    assert "+ S: 550 5.1.1 no Eve here" in str(raised.value)


def test_what_makes_sessions_may_be_a_function() -> None:
    made = []

    def make(connection: smtpx.ConnectionInfo) -> smtpx.Session:
        made.append(connection.hostname)
        return Guarded(connection)

    play_session(
        script(
            begin=BEGIN.replace("\nS:", "\nwith lmtp\nS:", 1).replace("EHLO", "LHLO")
        ),
        make,
    )
    assert made == ["mx.test"]


def test_options_are_those_of_the_lines_or_those_that_are_given() -> None:
    one = "C: RCPT TO:<carl@b.test>\nS: 452 4.5.3 *\n"
    limited = BEGIN.replace("# a rule\n", "# a rule\nwith max_recipients=1\n")
    play_session(script(MAIL, RCPT, one, begin=limited), Guarded)
    options = smtpx.ServerOptions(limits=smtpx.Limits(max_recipients=1))
    play_session(script(MAIL, RCPT, one), Guarded, options=options)
    with pytest.raises(TranscriptError, match=r":2: with max_recipients: .* already"):
        play_session(script(begin=limited), Guarded, options=options)
    play_session(
        script(begin=BEGIN.replace("\n", "\nwith free-texts\n", 1)),
        Guarded,
        options=options,
    )


def test_time_passes_on_the_clock_of_the_test() -> None:
    play_session(script("== WAIT 3600s ==\nS: 421 4.4.2 *\n== CLOSE ==\n"), Guarded)


def test_tls() -> None:
    made = make_certificates()
    begin = BEGIN.replace("# a rule\n", "# a rule\nwith tls\n")
    tls = "C: STARTTLS\nS: 220 *\n== TLS ==\nC: NOOP\nS: 250 *\n"
    play_session(
        script(tls, begin=begin),
        Guarded,
        server_tls=made.server,
        client_tls=made.client,
    )
    options = smtpx.ServerOptions(tls=made.server)
    with run_in_thread(smtpx.Server(Guarded, "127.0.0.1:0", options=options)) as server:
        address = server.addresses[0]
        play_address(script(tls), address, client_tls=made.client)


def test_an_application_that_serves() -> None:
    app = smtpx.App()

    @app.on_message("bob@b.test")
    async def bob(mail: smtpx.Mail) -> smtpx.Reply:
        return smtpx.Reply(250, "2.0.0", f"thank you for {mail.subject}")

    end = "C: DATA\nS: 354 *\nC: Subject: it\nC:\nC: .\nS: 250 2.0.0 thank you for it\n"
    end = end.replace("C:\n", "C| \\r\\n\n")
    with run_in_thread(app.serving("127.0.0.1:0")) as server:
        play_address(script(MAIL, RCPT, end), server.addresses[0])
        with pytest.raises(TranscriptMismatch, match="your server"):
            play_address(script("C: NOOP\nS: 550 *\n"), server.addresses[0])


def test_a_server_on_a_unix_socket(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/s"
    with run_in_thread(smtpx.Server(Guarded, address)):
        play_address(script(MAIL), address)


def test_nobody_listens() -> None:
    with pytest.raises(OSError, match=r"refused|failed"):
        play_address(script(), "127.0.0.1:1")


def test_a_clock_that_is_not_the_tests() -> None:
    with (
        run_in_thread(smtpx.Server(Guarded, "127.0.0.1:0")) as server,
        pytest.raises(TranscriptError, match="3 s forward: use play_session"),
    ):
        play_address(script("== WAIT 3s ==\n"), server.addresses[0])


@pytest.mark.parametrize(
    "line",
    [
        "refuse rcpt 550 5.1.1 no",
        "reply data 250 ok",
        "fail data",
        "hang mail",
        "login ann secret",
        "ignore body",
        "then nothing delivered",
    ],
)
def test_lines_about_what_is_the_users(line: str) -> None:
    transcript = parse_transcript(f"{BEGIN}{line}\n")
    message = f"transcript:5: '{line.split(maxsplit=1)[0]}' is for sessions of the test"
    with pytest.raises(TranscriptError, match=message):
        play_session(transcript, Guarded)
    with pytest.raises(TranscriptError, match=message):
        play_address(transcript, "127.0.0.1:1")


def test_a_transcript_for_clients() -> None:
    transcript = parse_transcript(f"{BEGIN}for client\n")
    with pytest.raises(TranscriptError, match="for clients alone"):
        play_session(transcript, Guarded)


def test_a_server_that_goes_on_talking_is_found() -> None:
    class Talks(smtpx.Session):
        async def connected(self) -> smtpx.Reply:
            return smtpx.Reply(220, None, "one\ntwo")

    with pytest.raises(TranscriptMismatch):
        play_session(parse_transcript("# a rule\nS: 220 one\n"), Talks)


def test_it_runs_on_no_loop_of_the_caller() -> None:
    async def main() -> None:
        await asyncio.to_thread(play_session, script(), Guarded)

    asyncio.run(main())

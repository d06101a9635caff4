"""The newsletter: once to each reader, whatever happens, and what is known of each."""

from __future__ import annotations

import sqlite3
import subprocess
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

import smtpx
from tests.examples.programs import command, run

if TYPE_CHECKING:
    from pathlib import Path

    from smtpx.testing.mail_server import MailServer

LETTER = (
    b"From: The Shop <shop@example.com>\nSubject: News\nMIME-Version: 1.0\n"
    b"Content-Type: text/plain; charset=utf-8\n\nDear $name, 10 $$ off!\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "letter.eml").write_bytes(LETTER)
    write_readers(tmp_path, ["ann", "bob", "carl"])
    return tmp_path


def write_readers(folder: Path, names: list[str]) -> None:
    rows = [f"{one.title()},{one}@example.net" for one in names]
    (folder / "readers.csv").write_text("\n".join(["name,address", *rows]))


def arguments(folder: Path, url: str, *more: str) -> tuple[object, ...]:
    return (
        *("newsletter.py", folder / "results.sqlite", "send"),
        *(folder / "letter.eml", folder / "readers.csv", "--relay", url),
        *("--bounces", "bounces@example.com", *more),
        *("--unsubscribe", "https://example.com/u/"),
    )


def states(folder: Path) -> dict[str, str]:
    with closing(sqlite3.connect(folder / "results.sqlite")) as database:
        rows = database.execute("SELECT address, state FROM results ORDER BY address")
        return {address.partition("@")[0]: state for address, state in rows}


def test_letters(folder: Path, mail_server: MailServer) -> None:
    write_readers(folder, ["ann", "jörg", "ann"])
    text = (folder / "readers.csv").read_text().replace("jörg@", "joerg@")
    (folder / "readers.csv").write_text(text)
    code, output, errors = run(*arguments(folder, mail_server.url))
    assert (code, output, errors) == (0, "delivered 2\n", "")
    _, mail = mail_server.inbox
    assert mail.recipients == ("joerg@example.net",)
    assert mail.message.text.strip() == "Dear Jörg, 10 $ off!"
    name = mail.envelope.options.envelope_id
    assert name
    assert mail.sender == f"bounces+{name}@example.com"
    assert mail.envelope.recipients[0].options.notify == (smtpx.Notify.FAILURE,)
    assert mail.email["List-Unsubscribe"] == f"<https://example.com/u/{name}>"
    assert mail.email["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail.email["To"] == "joerg@example.net"


def test_run_again_after_failures(folder: Path, mail_server: MailServer) -> None:
    write_readers(folder, ["ann", "bob", "carl", "not an address"])
    mail_server.refuse("rcpt", 550, matching="ann@*")
    mail_server.refuse("rcpt", 451, matching="bob@*")
    code, _, _ = run(*arguments(folder, mail_server.url))
    assert code == 75
    assert states(folder) == {
        "ann": "refused",
        "bob": "retry",
        "carl": "delivered",
        "not an address": "refused",
    }
    mail_server.reset()
    code, output, _ = run(*arguments(folder, mail_server.url))
    assert (code, output) == (0, "delivered 2\nrefused 2\n")
    assert [one.recipients[0] for one in mail_server.inbox] == ["bob@example.net"]


def test_nobody_there(folder: Path, mail_server: MailServer) -> None:
    mail_server.refuse("connect", 421)
    code, output, errors = run(*arguments(folder, mail_server.url))
    assert (code, output) == (75, "")
    assert errors.startswith("newsletter: ")
    assert errors.endswith("; run it again\n")


def test_killed_in_the_middle(folder: Path, mail_server: MailServer) -> None:
    """Nobody gets it twice, and who may not have it is known."""
    names = [f"reader{number:03}" for number in range(250)]
    write_readers(folder, names)
    with (
        mail_server.hold("data", matching="reader120@*") as hold,
        subprocess.Popen(command(*arguments(folder, mail_server.url))) as process,
    ):
        try:
            hold.wait_reached()
        finally:
            process.kill()
    first = Counter(one.recipients[0] for one in mail_server.inbox)
    code, _, _ = run(*arguments(folder, mail_server.url))
    assert code == 0
    found = states(folder)
    got = Counter(one.recipients[0] for one in mail_server.inbox)
    assert set(got.values()) == {1}
    assert len(first) < len(got)
    missing = {name for name in names if f"{name}@example.net" not in got}
    # All that may be missing is called unknown, and is sent when that is asked for.
    assert missing
    assert missing <= {name for name, state in found.items() if state == "unknown"}
    code, output, _ = run(*arguments(folder, mail_server.url, "--resend-unknown"))
    assert (code, output) == (0, "delivered 250\n")
    assert len({one.recipients[0] for one in mail_server.inbox}) == 250


def test_a_lost_connection(folder: Path, mail_server: MailServer) -> None:
    write_readers(folder, [f"reader{number:03}" for number in range(150)])
    mail_server.drop("data", matching="reader050@*", times=1)
    for _ in range(2):
        run(*arguments(folder, mail_server.url))
    got = Counter(one.recipients[0] for one in mail_server.inbox)
    assert set(got.values()) == {1}
    found = states(folder)
    assert len(found) == 150
    assert found["reader050"] == "unknown"
    for name, state in found.items():
        is_there = f"{name}@example.net" in got
        assert state == "unknown" or (state == "delivered" and is_there)


@pytest.mark.parametrize("has_id", [True, False])
def test_reports(folder: Path, mail_server: MailServer, has_id: bool) -> None:
    run(*arguments(folder, mail_server.url))
    mail = mail_server.inbox[0]
    name = mail.envelope.options.envelope_id or ""
    about = smtpx.RecipientReport(
        recipient="ann@example.net",
        action=smtpx.DeliveryAction.FAILED,
        status="5.1.1",
        diagnostic="550 gone",
    )
    octets = smtpx.make_report(
        smtpx.DeliveryReport(
            reporting_mta="mx.test",
            recipients=(about,),
            original_envelope_id=name if has_id else "",
        ),
        smtpx.ReportHeader(
            sender="MAILER-DAEMON@mx.test",
            recipient="x@y.z" if has_id else mail.sender,
            message_id="1@mx.test",
            boundary="b1",
            date=datetime.now(UTC),
        ),
    )
    bounce = ("newsletter.py", folder / "results.sqlite", "bounce")
    code, output, _ = run(*bounce, given=octets)
    assert (code, output) == (0, "bounced: 1\nbounced 1\ndelivered 2\n")
    assert states(folder)["ann"] == "bounced"
    code, _, errors = run(*bounce, given=LETTER)
    assert (code, errors) == (1, "that is no delivery report\n")
    # Who bounced gets it no more.
    mail_server.reset()
    run(*arguments(folder, mail_server.url))
    mail_server.inbox.assert_not_sent()

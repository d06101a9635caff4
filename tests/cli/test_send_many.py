"""``smtpx send`` with many messages: where they lie, how they go, what is told."""

from __future__ import annotations

import json
import mailbox
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from smtpx.cli.mailboxes import files_of, is_mbox
from smtpx.cli.report import Summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Inbox, Run

    Runner = Callable[..., Run]


def text_of(number: int, to: str = "b@example.net") -> bytes:
    return (
        f"From: a@example.com\nTo: {to}\nSubject: {number}\n\n"
        f"From here on, number {number}\n"
    ).encode()


def wire(octets: bytes) -> bytes:
    return octets.replace(b"\n", b"\r\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "outgoing"
    place.mkdir()
    for number in range(3):
        (place / f"{number}.eml").write_bytes(text_of(number))
    (place / ".hidden").write_bytes(b"no message")
    (place / "sub").mkdir()
    return place


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    place = tmp_path / "Maildir"
    for part in ("tmp", "new", "cur"):
        (place / part).mkdir(parents=True)
    (place / "new" / "1.M1.host").write_bytes(text_of(1))
    (place / "cur" / "2.M2.host:2,S").write_bytes(text_of(2))
    (place / "tmp" / "3.M3.host").write_bytes(b"half a mess")
    return place


@pytest.fixture
def mbox(tmp_path: Path) -> Path:
    path = tmp_path / "archive.mbox"
    path.write_bytes(
        b"".join(
            b"From a@example.com Sun Nov 22 12:00:00 2026\n"
            + text_of(number).replace(b"\nFrom here", b"\n>From here")
            + b"\n"
            for number in (1, 2)
        )
    )
    return path


def test_a_reader_that_had_enough_leaves_nothing_unsent(
    inbox: Inbox, folder: Path
) -> None:
    """As in ``smtpx send folder | head -1``: the mail is what matters."""
    (folder / "3.eml").write_bytes(text_of(3, to="nobody@example.net"))
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ran = subprocess.run(
            [
                sys.executable,
                "-X",
                "dev",
                "-m",
                "smtpx",
                "send",
                "-s",
                inbox.url,
                folder,
            ],
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert len(inbox.messages) == 3
    assert ran.returncode == 67
    assert ran.stderr.count(b"\n") == 1
    assert b"3.eml: not sent: the server refused every recipient" in ran.stderr


def test_a_folder_is_sent(run: Runner, inbox: Inbox, folder: Path) -> None:
    ran = run("send", "-s", inbox.url, str(folder))
    assert ran.code == 0
    contents = [message.content for message in inbox.messages]
    assert contents == [wire(text_of(number)) for number in range(3)]
    assert ran.out.splitlines()[::3] == [
        f"{folder / f'{number}.eml'}: sent, N{number + 1}" for number in range(3)
    ]


def test_a_maildir_is_sent(run: Runner, inbox: Inbox, maildir: Path) -> None:
    assert run("send", "-s", inbox.url, str(maildir)).code == 0
    contents = [message.content for message in inbox.messages]
    assert contents == [wire(text_of(1)), wire(text_of(2))]


def test_an_mbox_is_sent(run: Runner, inbox: Inbox, mbox: Path) -> None:
    ran = run("send", "-s", inbox.url, str(mbox))
    assert ran.code == 0
    contents = [message.content for message in inbox.messages]
    assert contents == [wire(text_of(1)), wire(text_of(2))]
    assert f"{mbox}, message 2: sent, N2\n" in ran.out


def test_an_mbox_of_the_standard_library_is_sent(
    run: Runner, inbox: Inbox, tmp_path: Path
) -> None:
    path = tmp_path / "box"
    box = mailbox.mbox(path)
    for number in range(2):
        box.add(text_of(number))
    box.close()
    assert is_mbox(path)
    assert run("send", "-s", inbox.url, str(path)).code == 0
    contents = [message.content for message in inbox.messages]
    assert contents == [wire(text_of(0)), wire(text_of(1))]


def test_all_go_over_one_connection(
    run: Runner, inbox: Inbox, folder: Path, mbox: Path
) -> None:
    ran = run("send", "-v", "-s", inbox.url, str(folder), str(mbox))
    assert ran.code == 0
    assert len(inbox.messages) == 5
    assert ran.err.count("S: 220 ") == 1


def test_an_empty_folder_is_said_to_be(
    run: Runner, inbox: Inbox, tmp_path: Path
) -> None:
    ran = run("send", "-s", inbox.url, str(tmp_path))
    assert (ran.code, inbox.messages) == (66, [])
    assert ran.err == f"smtpx: {tmp_path}: no message is in this folder\n"


def test_a_bad_message_among_many_keeps_all_from_being_sent(
    run: Runner, inbox: Inbox, folder: Path
) -> None:
    (folder / "9.eml").write_bytes(b"")
    ran = run("send", "-s", inbox.url, str(folder))
    assert (ran.code, inbox.messages) == (65, [])
    assert "9.eml: there is no message in it" in ran.err


def test_files_of_a_folder_are_sorted(folder: Path) -> None:
    assert [path.name for path in files_of(folder)] == ["0.eml", "1.eml", "2.eml"]


def test_one_refusal_does_not_stop_the_others(
    run: Runner, inbox: Inbox, folder: Path
) -> None:
    (folder / "1.eml").write_bytes(text_of(1, "nobody@example.net"))
    ran = run("send", "-s", inbox.url, str(folder))
    assert ran.code == 67
    assert len(inbox.messages) == 2
    assert f"smtpx: {folder / '1.eml'}: not sent: " in ran.err
    assert "  refused   nobody@example.net  550 5.1.1 no such mailbox\n" in ran.out


def test_of_many_messages_the_sum_is_told(
    run: Runner, inbox: Inbox, folder: Path
) -> None:
    for number in range(3, 20):
        (folder / f"{number:02}.eml").write_bytes(text_of(number))
    (folder / "00.eml").write_bytes(text_of(0, "b@example.net, nobody@example.net"))
    (folder / "01.eml").write_bytes(text_of(1, "nobody@example.net"))
    (folder / "02.eml").write_bytes(text_of(1, "later@example.net"))
    ran = run("send", "-s", inbox.url, str(folder))
    assert ran.code == 67
    lines = ran.out.splitlines()
    assert lines[:4] == [
        f"{folder / '00.eml'}: sent to 1 of 2 recipients",
        "  refused   nobody@example.net  550 5.1.1 no such mailbox",
        "  refused   nobody@example.net  550 5.1.1 no such mailbox",
        "  refused   later@example.net  450 4.2.1 mailbox is busy",
    ]
    assert lines[4].startswith("21 of 23 messages sent, 0.0 MB, in ")
    assert lines[5:] == ["recipients: 21 accepted, 3 refused"]
    assert len(inbox.messages) == 21


def test_nobody_listens(run: Runner, folder: Path, free_url: str) -> None:
    ran = run("send", "--json", "-s", free_url, str(folder))
    assert ran.code == 75
    records = [json.loads(line) for line in ran.out.splitlines()]
    assert [record["delivery"] for record in records] == ["not sent"] * 3
    assert {record["exit_code"] for record in records} == {75}


# ------------------------------------------------------------------- for programs


def records_of(ran: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.out.splitlines()]


def test_json_tells_everything(run: Runner, inbox: Inbox, folder: Path) -> None:
    (folder / "1.eml").write_bytes(text_of(1, "b@example.net, nobody@example.net"))
    (folder / "2.eml").write_bytes(text_of(2, "spam@example.net"))
    ran = run("send", "--json", "-s", inbox.url, str(folder))
    assert ran.code == 67
    first, second, third = records_of(ran)
    accepted = {
        "recipient": "b@example.net",
        "delivery": "delivered",
        "code": 250,
        "enhanced": "2.1.5",
        "text": "recipient OK",
    }
    assert first == {
        "message": str(folder / "0.eml"),
        "octets": len(text_of(0)),
        "delivery": "delivered",
        "sender": "a@example.com",
        "recipients": [accepted],
        "replies": [{"code": 250, "enhanced": "2.0.0", "text": "queued as N1"}],
        "queue_ids": ["N1"],
        "error": None,
        "exit_code": 0,
    }
    assert [one["delivery"] for one in second["recipients"]] == ["delivered", "refused"]
    assert third["delivery"] == "refused"
    assert "looks like spam" in third["error"]
    assert third["exit_code"] == 69


def test_json_of_one_message(run: Runner, inbox: Inbox, folder: Path) -> None:
    [record] = records_of(run("send", "--json", "-s", inbox.url, str(folder / "0.eml")))
    assert (record["delivery"], record["queue_ids"]) == ("delivered", ["N1"])


# -------------------------------------------------------------- nothing is sent


def test_a_dry_run_connects_to_nobody(run: Runner, free_url: str, folder: Path) -> None:
    ran = run("send", "--dry-run", "-s", free_url, str(folder), "-t", "x@example.net")
    assert ran.code == 0
    size = len(text_of(0))
    assert ran.out.splitlines()[:3] == [
        f"{folder / '0.eml'}: {size} octets",
        "  from  a@example.com",
        "  to    x@example.net",
    ]
    assert ran.out.count("octets") == 3


def test_a_dry_run_for_programs(run: Runner, free_url: str, folder: Path) -> None:
    records = records_of(
        run("send", "--dry-run", "--json", "-s", free_url, str(folder))
    )
    assert [record["delivery"] for record in records] == ["planned"] * 3


def test_recipients_are_checked_and_nothing_sent(
    run: Runner, inbox: Inbox, folder: Path
) -> None:
    for number in (1, 2):
        (folder / f"{number}.eml").unlink()
    to = ["-t", "b@example.net", "-t", "nobody@example.net", "-t", "later@example.net"]
    ran = run("send", "--check-recipients", "-s", inbox.url, str(folder), to)
    assert (ran.code, inbox.messages) == (67, [])
    assert ran.out.splitlines() == [
        f"{folder / '0.eml'}: not sent, only asked",
        "  accepted  b@example.net       250 2.1.5 recipient OK",
        "  refused   nobody@example.net  550 5.1.1 no such mailbox",
        "  refused   later@example.net   450 4.2.1 mailbox is busy",
    ]


def test_to_check_is_to_ask_somebody(run: Runner, folder: Path) -> None:
    ran = run("send", "--check-recipients", "--dry-run", str(folder))
    assert ran.code == 64
    assert "leave out one of the two" in ran.err


def test_a_sum_of_nothing_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    from smtpx.cli.screen import Screen  # noqa: PLC0415 - of this test alone

    with Summary(Screen()):
        pass
    assert capsys.readouterr().out == ""

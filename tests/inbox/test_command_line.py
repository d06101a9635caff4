"""``smtpx inbox`` as a process."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx2
import pytest

import smtpx
from smtpx.cli import main
from tests.cli.processes import serving
from tests.inbox.conftest import MAIL

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.processes import Serving

ANYWHERE = ("--smtp", "127.0.0.1:0", "--web", "127.0.0.1:0")
LETTER = MAIL % (b"hi", b"hello")


def page_of(it: Serving) -> str:
    match = re.fullmatch(r"inbox at (http://127\.0\.0\.1:\d+/)", it.line())
    assert match
    return match[1]


def send(address: str) -> None:
    smtpx.send(
        LETTER,
        to=f"smtp://{address}",
        sender="ann@example.com",
        recipients=["bob@example.net"],
    )


def test_it_takes_mail_and_shows_it() -> None:
    arguments = (*ANYWHERE, "--lmtp", "127.0.0.1:0", "--max-messages", "2")
    with serving(*arguments, count=2, command="inbox") as it:
        page = page_of(it)
        for _ in range(3):
            send(it.addresses[0])
        info = httpx2.get(f"{page}api/v1/info").json()
        assert info["smtp"] == [f"smtp://{it.addresses[0]}"]
        assert info["lmtp"] == [f"lmtp://{address}" for address in it.addresses]
        assert it.kinds == ["SMTP and LMTP", "LMTP"]
        assert (info["messages"], info["cap"]["messages"]) == (2, 2)
        it.stop()


def test_messages_outlive_the_process(tmp_path: Path) -> None:
    database = str(tmp_path / "mail.sqlite")
    for count in (1, 2):
        with serving(*ANYWHERE, "--db", database, command="inbox") as it:
            page = page_of(it)
            send(it.addresses[0])
            assert httpx2.get(f"{page}api/v1/info").json()["messages"] == count
            it.process.kill()


def test_faults_and_no_page() -> None:
    fault = "rcpt pattern=bob@* 550 5.1.1 not here"
    arguments = ("--smtp", "127.0.0.1:0", "--web", "none", "--fault", fault)
    with serving(*arguments, command="inbox") as it:
        with pytest.raises(smtpx.RecipientsRefused, match="not here"):
            send(it.addresses[0])
        it.stop()


def test_tls_auth_and_release() -> None:
    arguments = (*ANYWHERE, "--tls", "--require-auth", "--hostname", "mx.test")
    secret = "smtp://me:secret@127.0.0.1:9"
    with serving(*arguments, command="inbox", SMTPX_RELEASE_TO=secret) as it:
        page = page_of(it)
        with pytest.raises(smtpx.SendError, match="530"):
            smtpx.send(
                LETTER,
                to=f"smtp+plain://{it.addresses[0]}",
                sender="ann@example.com",
                recipients=["bob@example.net"],
            )
        info = httpx2.get(f"{page}api/v1/info").json()
        assert (info["auth"], info["tls"]) == (True, True)
        assert info["release"]["servers"] == ["smtp://127.0.0.1:9"]
        it.stop()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--fault", "rcpt"], "a fault needs a reply, drop, or a delay"),
        (["--tls", "--tls-cert", __file__], "leave out --tls-cert"),
        (["--tls-key", __file__], "--tls-key needs --tls-cert"),
        (["--auth-without-tls"], "--auth-without-tls needs --auth"),
        (["--release-only", "*@x.test"], "--release-only needs --release-to"),
        (["--release-to", "imap://x.test"], "starts with none of"),
        (["--smtp", "nowhere"], "is no address to listen on"),
        (["--web", "unix:/tmp/x"], "no browser opens a unix socket"),
        (["--dns", "nowhere"], "write 192.0.2.53"),
        (["--max-octets", "many"], "is no size"),
    ],
)
def test_what_makes_no_sense(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inbox", *arguments]) == 64
    assert why in capsys.readouterr().err


def test_an_address_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(*ANYWHERE, command="inbox") as it:
        page = page_of(it)
        for option in (["--smtp", it.addresses[0]], ["--web", page[7:-1]]):
            assert main(["inbox", *ANYWHERE, *option]) == 71
            assert "the address is in use" in capsys.readouterr().err


def test_a_database_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = str(tmp_path / "mail.sqlite")
    with serving(*ANYWHERE, "--db", database, command="inbox"):
        assert main(["inbox", *ANYWHERE, "--db", database]) == 73
        assert "in use by another inbox" in capsys.readouterr().err
    (tmp_path / "other").write_bytes(b"no database at all" * 100)
    assert main(["inbox", *ANYWHERE, "--db", str(tmp_path / "other")]) == 73
    assert "not a database" in capsys.readouterr().err

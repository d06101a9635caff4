"""The relay that rewrites: recipients, senders, header; and what it refuses to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import smtpx
from tests.examples.programs import run, running, send

if TYPE_CHECKING:
    from pathlib import Path

    from smtpx.testing.mail_server import MailServer

NAME = "rewriting_relay.py"
TABLE = """
sales@example.com    ann@example.com bob@example.com   # two of them
@old.example.com     @example.com
"""
MESSAGE = (
    b"Foo-X-Mailer: kept\r\nX-Mailer: secret\r\n\tversion 1\r\nSubject: hi\r\n"
    b"user-agent: secret\r\n\r\nX-Mailer: body\r\n"
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.txt"
    path.write_text(TABLE)
    return path


def test_what_it_rewrites(table: Path, mail_server: MailServer) -> None:
    with running(NAME, "--to", mail_server.url, "--map", table) as address:
        result = send(
            address,
            MESSAGE,
            *("Sales@example.com", "sales+shop@example.com", "carl+x@old.example.com"),
            *("dave+x@elsewhere.example",),
            sender="eve@OLD.example.com",
        )
        assert len(result.accepted) == 4
        send(address, MESSAGE, "dave@elsewhere.example", sender="")
        large = b"Subject: large\r\n\r\n" + b"0123456789\r\n" * 100_000
        send(address, large, "dave@elsewhere.example")
    first, second, third = mail_server.inbox
    assert first.sender == "eve@example.com"
    assert first.recipients == (
        *("ann@example.com", "bob@example.com") * 2,
        "carl+x@example.com",
        "dave+x@elsewhere.example",
    )
    received, _, rest = first.octets.partition(b"Foo-")
    assert received.startswith(b"Received: from ")
    assert rest == b"X-Mailer: kept\r\nSubject: hi\r\n\r\nX-Mailer: body\r\n"
    assert (second.sender, second.recipients) == ("", ("dave@elsewhere.example",))
    assert third.octets.endswith(large)


def test_one_refusal_refuses(table: Path, mail_server: MailServer) -> None:
    mail_server.refuse("rcpt", 550, matching="bob@*")
    with running(NAME, "--to", mail_server.url, "--map", table) as address:
        result = send(address, MESSAGE, "sales@example.com", "carl@example.com")
    assert [one.recipient for one in result.refused] == ["sales@example.com"]
    # Ann had been accepted there, and is left out all the same.
    assert mail_server.inbox[0].recipients == ("carl@example.com",)


def test_a_loop_and_a_header_without_end(table: Path, mail_server: MailServer) -> None:
    with running(NAME, "--to", mail_server.url, "--map", table) as address:
        for hops, is_taken in ((100, True), (101, False)):
            message = b"Received: by x\r\n" * hops + MESSAGE
            if is_taken:
                assert send(address, message, "a@example.com").accepted
                continue
            with pytest.raises(smtpx.DataRefused, match="circles"):
                send(address, message, "a@example.com")
        with pytest.raises(smtpx.DataRefused, match="too large"):
            send(address, b"X: y\r\n" * 400_000, "a@example.com")
        # A message without a body, or without a header, is one.
        for message in (b"Subject: x\r\n", b"\r\nbody\r\n"):
            assert send(address, message, "a@example.com").accepted
    assert len(mail_server.inbox) == 3
    assert mail_server.inbox[2].octets.endswith(b"\r\n\r\nbody\r\n")


@pytest.mark.parametrize(
    "line", ["a@b.c", "a@b.c @d.e", "@b.c a@d.e", "a@b@c a@b.c", "@ @b.c"]
)
def test_a_table_with_a_mistake(tmp_path: Path, line: str) -> None:
    path = tmp_path / "table.txt"
    path.write_text(f"# fine\n{line}\n")
    code, _, errors = run(NAME, "--to", "smtp://localhost", "--map", path)
    assert code == 1
    assert f"{path}:2: " in errors
    assert "Traceback" not in errors

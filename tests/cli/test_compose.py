"""Messages built from options."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import click
import pytest

from smtpx.cli.compose import Draft, compose


def build(**how: object) -> Draft:
    return Draft(sender="a@example.com", to=("b@example.net",), **how)  # type: ignore[arg-type]


def stdin(monkeypatch: pytest.MonkeyPatch, octets: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(octets)))


def test_what_is_given_goes_before_what_would_be_written() -> None:
    message = compose(
        build(
            headers=(
                "date: Thu, 1 Jan 2026 00:00:00 +0000",
                "MESSAGE-ID:<1@example.com>",
                "From: Other <o@example.com>",
                "X-Two: 1",
                "X-Two: 2",
            )
        )
    )
    assert message.get_all("Date") == ["Thu, 01 Jan 2026 00:00:00 +0000"]
    assert message.get_all("Message-ID") == ["<1@example.com>"]
    assert message.get_all("From") == ["Other <o@example.com>"]
    assert message.get_all("X-Two") == ["1", "2"]


def test_a_message_id_of_a_domain_that_is_not_ascii() -> None:
    message = compose(Draft(sender="a@例え.jp", to=("b@example.net",)))
    assert message["Message-ID"].isascii()


def test_text_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, "Grüße\r\n".encode())
    assert compose(build(body="-")).get_content().split() == ["Grüße"]


def test_html_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_bytes(b"<p>hi\n")
    message = compose(build(html=f"@{page}"))
    assert message.get_content_type() == "text/html"


def test_text_that_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    picture = tmp_path / "x.png"
    picture.write_bytes(b"\x89PNG")
    with pytest.raises(click.UsageError, match=r"x\.png is no UTF-8 text: attach it"):
        compose(build(body=f"@{picture}"))
    stdin(monkeypatch, b"\xff")
    with pytest.raises(click.UsageError, match="standard input is no UTF-8 text"):
        compose(build(html="-"))


@pytest.mark.parametrize(
    ("name", "octets", "kind"),
    [
        ("a.txt", b"caf\xe9\n\n", "text/plain"),
        ("a.unknown-kind", b"\0\r\n\r", "application/octet-stream"),
        ("a.tar.gz", b"\x1f\x8b", "application/octet-stream"),
        ("a.mht", b"x", "application/octet-stream"),
        ("b.png", b"\x89PNG\r\n", "image/png"),
    ],
)
def test_attachments_keep_every_octet(
    tmp_path: Path, name: str, octets: bytes, kind: str
) -> None:
    path = tmp_path / name
    path.write_bytes(octets)
    [part] = compose(build(attachments=(path,))).iter_attachments()
    assert part.get_filename() == name
    assert part.get_content_type() == kind
    assert part.get_payload(decode=True) == octets


def test_an_attached_message_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "old.eml"
    path.write_bytes(b"Subject: old\n\nhi\n")
    [part] = compose(build(attachments=(path,))).iter_attachments()
    assert part.get_content_type() == "message/rfc822"
    assert part.get_content()["Subject"] == "old"

"""Each name in the documents of other libraries has a counterpart, and a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import counterparts
from tools.counterparts import Row

#: How many names have no counterpart yet. It may only become smaller, and is none.
MISSING = 0

USED = "tests/architecture/test_counterparts.py::test_counterparts_exist"


def test_the_table_is_whole_and_true() -> None:
    assert counterparts.all_mistakes() == []


def test_what_is_missing_becomes_less() -> None:
    _, rows = counterparts.read_table()
    missing = [f"{row.document}: {row.name}" for row in rows if row.missing]
    assert len(missing) == MISSING, missing


def test_the_page_is_current() -> None:
    page = counterparts.PAGE.read_text(encoding="utf-8")
    assert page == counterparts.counterparts_page(), "run `make docs`"


def test_names_are_those_of_the_documents() -> None:
    """Where the documents lie beside a clone."""
    folder = counterparts.DOCUMENTS
    assert not folder.is_dir() or counterparts.document_mistakes(folder) == []


@pytest.mark.parametrize(
    ("use", "why"),
    [
        ("smtpx.Client.noop", None),
        ("smtpx.send(to)", None),
        ("smtpx.Limits.max_errors", None),
        ("smtpx.ServerOptions.limits", None),
        ("smtpx.Attachment.name", None),
        ("smtpx.client.options.parse_url", None),
        ("smtpx.Client.nope", "smtpx.Client has no nope"),
        ("smtpx.Nope", "smtpx has no Nope"),
        ("smtpx.send(nope)", "smtpx.send has no parameter nope"),
        ("smtpx.Attachment.nope", "smtpx.Attachment has no nope"),
        ("smtpx.ServerOptions.nope", "smtpx.ServerOptions has no nope"),
        ("smtpx nope", "smtpx nope is no import path"),
    ],
)
def test_counterparts_exist(use: str, why: str | None) -> None:
    assert counterparts.find_mistake(use) == why


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (Row("d", "N", ("smtpx.tools.counterparts",), USED), "smtpx has no tools"),
        (Row("d", "N", (), USED), "no counterpart"),
        (Row("d", "N", ("smtpx.Client",), f"{USED}x"), "there is no "),
        (
            Row("d", "N", ("smtpx.Client",), "tests/nope.py::test_x"),
            "there is no file ",
        ),
        (Row("d", "N", ("smtpx.Client",), "tests/nope.py"), "tests/nope.py is no test"),
        (Row("d", "N", ("smtpx.Client.noop",), USED), "does not use smtpx.Client.noop"),
    ],
)
def test_mistakes_of_a_row_are_found(row: Row, why: str) -> None:
    assert why in " ".join(counterparts.row_mistakes(row))


def test_a_test_uses_what_its_helpers_use() -> None:
    words = counterparts.find_words(
        "tests/counterparts/test_clients.py::test_send_mail"
    )
    assert {"send", "open_room", "check_password", "run_in_thread"} <= words
    assert "verify_mode" not in words


def test_names_are_found_in_documents(tmp_path: Path) -> None:
    text = """\
func Dial(addr string) (*Client, error)
- func (c *Client) Noop() error
type Session interface { // Discard it. Reset() // Set (x). Mail(from string) error }
type Server struct { // The address, Can be it. Addr string Domain string LMTP bool }
var ErrReset = errors.New("x")
  • Support for it.
"""
    assert counterparts.names_in_document(text) == {
        *("Dial", "Client.Noop", "Session", "Session.Reset", "Session.Mail"),
        *("Server", "Server.Addr", "Server.Domain", "Server.LMTP"),
        *("ErrReset", "Support for it."),
    }


def test_a_document_is_compared_with_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "1.txt").write_text("func Dial(addr string)\n", encoding="utf-8")
    (tmp_path / "names").write_text("# one\nDial2\n", encoding="utf-8")
    listed = counterparts.read_names(tmp_path / "names")
    monkeypatch.setattr(counterparts, "read_names", lambda: listed)
    assert counterparts.document_mistakes(tmp_path) == [
        "one: Dial is not listed",
        "one: the document has no Dial2",
    ]
    (tmp_path / "2.txt").write_text("", encoding="utf-8")
    assert "has 2 documents" in counterparts.document_mistakes(tmp_path)[0]


def test_a_name_that_nobody_has_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = counterparts.read_names()
    names["readme"] = [*names["readme"][1:], "Nope"]
    monkeypatch.setattr(counterparts, "read_names", lambda: names)
    first, second = counterparts.all_mistakes()
    assert first == "readme: Nope is not in the table"
    assert second.startswith("readme: nobody has ESMTP client & server")

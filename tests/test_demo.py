"""The demo runs, and it fails when a single octet differs."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

PATH = Path(__file__).parent.parent / "examples" / "demo.py"
# A smaller attachment than `make demo` has; the rest is the same.
ARGUMENTS = ["--attachment-octets", "100000"]


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    monkeypatch.setitem(sys.modules, "demo", module)
    spec.loader.exec_module(module)
    return module


def test_all_clients_deliver_every_octet(
    demo: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main(ARGUMENTS) == 0
    shown = capsys.readouterr().out
    count = int(re.findall(r"^(\d+) messages", shown)[0])
    assert count >= 20
    rows = [line for line in shown.splitlines() if "all equal" in line]
    clients = {row.split("  ")[1].strip() for row in rows}
    assert {"smtpx asyncio", "smtpx blocking", "smtplib"} <= clients
    places = {row.split("  ")[0].strip() for row in rows}
    assert {"SMTP TCP", "LMTP TCP"} <= places
    assert "differ" not in shown


def test_without_rich_the_table_is_plain(
    demo: ModuleType,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    demo.print_table([("SMTP TCP", "curl", "", "", "", "", "not installed")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == list(demo.HEADINGS)
    assert lines[1].split("  ")[0] == "SMTP TCP"


@pytest.mark.parametrize("client", ["smtpx asyncio", "smtpx blocking", "smtplib"])
def test_one_wrong_octet_fails_it(
    demo: ModuleType,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    client: str,
) -> None:
    samples = [
        demo.Sample("right", b"Subject: a\n\na\n", b"Subject: a\r\n\r\na\r\n"),
        demo.Sample("wrong", b"Subject: b\n\nb\n", b"Subject: b\r\n\r\nB\r\n"),
        demo.Sample("longer", b"Subject: c\n\nc\n", b"Subject: c\r\n\r\nc"),
        demo.Sample("shorter", b"Subject: d\n\nd\n", b"Subject: d\r\n\r\nd\r\n\r\n"),
    ]
    monkeypatch.setattr(demo, "collect_samples", lambda _octets: ("here", samples))
    monkeypatch.setattr(demo, "CLIENTS", {client: demo.CLIENTS[client]})
    assert demo.main(ARGUMENTS) == 1
    shown = capsys.readouterr().out
    assert "3 differ" in shown
    assert f"{client}, SMTP TCP: wrong: octet 14: b'b\\r\\n' in place of b'B" in shown
    assert f"{client}, SMTP TCP: longer: octet 15: b'\\r\\n' in place of b''" in shown
    assert f"{client}, SMTP TCP: shorter: ends after 17 of 19 octets" in shown
    assert "right" not in shown
    assert shown.endswith("FAILED\n")


def test_a_message_that_never_arrives_fails_it(
    demo: ModuleType,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples = [demo.Sample("lost", b"x\n", b"x\r\n")]
    monkeypatch.setattr(demo, "collect_samples", lambda _octets: ("here", samples))
    monkeypatch.setattr(demo, "CLIENTS", {"nobody": lambda _job: None})
    assert demo.main(ARGUMENTS) == 1
    assert "nobody, SMTP TCP: lost: arrived 0 times" in capsys.readouterr().out


def test_messages_are_real_and_many(demo: ModuleType) -> None:
    origin, paths = demo.find_real_messages()
    assert origin
    assert len(paths) >= 20
    texts = [path.read_bytes().lower() for path in paths]
    assert any(b"content-type: multipart/" in text for text in texts)

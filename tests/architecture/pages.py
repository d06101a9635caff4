"""The code blocks of README.md and docs/, and a way to run them as a reader would."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trustme

from tests.architecture.layout import ROOT
from tests.ports import free_port
from tests.slow_callbacks import without_slow_callbacks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_BLOCK = re.compile(r"^```(\S[^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# "Save this as `inbox.py`:" and the like, in the paragraph above a program.
_SAVED_AS = re.compile(r"[Ss]ave [^`]*`(\w+\.py)`")
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s#]+)(?:#[^)\s]*)?\)")
_SERVES = re.compile(r"serve_forever\(|\.run\((?!main)|run_workers\(")
# The addresses that the pages use. A test takes free ports in their place.
_ADDRESS = re.compile(r"127\.0\.0\.1:(?:2525|2526)\b")
# Longer than anything takes, on a busy machine too: it ends what hangs.
_TIMEOUT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page.

    Attributes:
        language: what stands behind the fence.
        text: between the fences.
        file: the name that the reader is told to save it under; empty: none.
    """

    language: str
    text: str
    file: str = ""

    @property
    def is_doctest(self) -> bool:
        return self.language == "python" and ">>> " in self.text

    @property
    def is_program(self) -> bool:
        return self.language == "python" and not self.is_doctest


def all_pages() -> list[Path]:
    """List the pages that a reader is sent to."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def find_blocks(text: str) -> list[Block]:
    found = []
    for match in _BLOCK.finditer(text):
        above = text[: match.start()].rstrip().rpartition("\n\n")[2]
        names = _SAVED_AS.findall(above)
        found.append(Block(match[1], match[2], names[-1] if names else ""))
    return found


def find_links(text: str) -> list[str]:
    return [target for target in _LINK.findall(text) if "://" not in target]


def run_programs(blocks: Sequence[Block], folder: Path) -> None:
    """Run the programs of a page one after another.

    One that serves prints a line when it is ready, and goes on until the page's last
    program has ended, or until another one is saved under its name, as when the reader
    stops it, changes it and starts it again. The programs find certificates of
    mail.example.com beside them.
    """
    _write_certificates(folder)
    places: dict[str, str] = defaultdict(lambda: f"127.0.0.1:{free_port()}")
    with ExitStack() as servers:
        running: dict[str, ExitStack] = {}
        for block in blocks:
            if not block.is_program:
                continue
            program = _ADDRESS.sub(lambda found: places[found[0]], block.text)
            if block.file in running:
                running.pop(block.file).close()
            command = _command(program, block.file, folder)
            if not command:
                continue
            if _SERVES.search(program):
                server = servers.enter_context(ExitStack())
                server.enter_context(_serving(command, program, folder))
                if block.file:
                    running[block.file] = server
            else:
                _run(command, program, folder)


def _write_certificates(folder: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    server = authority.issue_cert("mail.example.com")
    server.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))


def _command(program: str, file: str, folder: Path) -> list[str]:
    """Return what a reader starts; nothing for what other files import."""
    python = [sys.executable, "-X", "dev", "-W", "error", "-u"]
    if "run_workers(" in program:
        # Its workers load the main module, which so has to be a file.
        file = file or "serving.py"
    if not file:
        return [*python, "-c", program]
    (folder / file).write_text(program, encoding="utf-8")
    if file == "conftest.py":
        return []
    if file.startswith("test_"):
        # As if smtpx were installed, which it is not where the path leads to it.
        plugins = ["-p", "smtpx.testing.plugin", "-p", "no:cacheprovider"]
        return [sys.executable, "-m", "pytest", "-q", *plugins, file]
    return [*python, file]


def _run(command: Sequence[str], program: str, folder: Path) -> None:
    run = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    assert run.returncode == 0, f"{program}\n{run.stdout}{run.stderr}"


@contextmanager
def _serving(command: Sequence[str], program: str, folder: Path) -> Iterator[None]:
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first, f"{program}\nended before it was ready"
        yield
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=_TIMEOUT_SECONDS)
    errors = without_slow_callbacks(errors)
    is_interrupted = errors.rstrip().endswith("KeyboardInterrupt")
    assert errors == "" or is_interrupted, f"{program}\n{errors}"

"""The code blocks of README.md and docs/, and a way to run them as a reader would."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trustme

from tests.architecture.layout import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!\!)\[[^\]]+\]\(([^)\s#]+)(?:#[^)\s]*)?\)")
_SERVES = re.compile(r"serve_forever\(|\.run\((?!main)|run_workers\(")
# The address that the pages use. A test takes a free port in its place.
_ADDRESS = "127.0.0.1:2525"
_TIMEOUT_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str

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
    return [Block(*match.groups()) for match in _BLOCK.finditer(text)]


def find_links(text: str) -> list[str]:
    return [target for target in _LINK.findall(text) if "://" not in target]


def run_programs(blocks: Sequence[Block], folder: Path) -> None:
    """Run the programs of a page one after another.

    One that serves prints a line when it is ready, and goes on until the page's last
    program has ended. The programs find certificates of mail.example.com beside them.
    """
    _write_certificates(folder)
    port = _free_port()
    programs = [
        block.text.replace(_ADDRESS, f"127.0.0.1:{port}")
        for block in blocks
        if block.is_program
    ]
    with ExitStack() as servers:
        for program in programs:
            if _SERVES.search(program):
                servers.enter_context(_serving(program, folder))
            else:
                _run(program, folder)


def _write_certificates(folder: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    server = authority.issue_cert("mail.example.com")
    server.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def _command(program: str) -> list[str]:
    return [sys.executable, "-X", "dev", "-W", "error", "-u", "-c", program]


def _run(program: str, folder: Path) -> None:
    run = subprocess.run(
        _command(program),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    assert run.returncode == 0, f"{program}\n{run.stdout}{run.stderr}"


@contextmanager
def _serving(program: str, folder: Path) -> Iterator[None]:
    command = _command(program)
    if "run_workers(" in program:
        # Its workers load the main module, which so has to be a file.
        (folder / "serving.py").write_text(program, encoding="utf-8")
        command[-2:] = ["serving.py"]
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
    # On a busy machine asyncio's debug mode complains of what took long.
    errors = re.sub(r"^Executing <.*\n", "", errors, flags=re.MULTILINE)
    is_interrupted = errors.rstrip().endswith("KeyboardInterrupt")
    assert errors == "" or is_interrupted, f"{program}\n{errors}"

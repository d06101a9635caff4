"""The command lines of README.md and docs/, and whether they are right.

A line of a ``sh`` block is a command; of a ``console`` block each that begins with
``$``. None is run, since many name servers and folders of the reader: each has to be
one that would run. What ``smtpx`` is told goes through its own parser.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from typing import TYPE_CHECKING

import click

from smtpx.cli.group import cli
from tests.architecture.layout import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from tests.architecture.pages import Block

SHELLS = frozenset({"sh", "console"})
#: Files that command lines of the pages name, beside those that a page has one save.
_GIVEN = {"server.pem", "mail.eml", "users", "newsletter.eml"}


def find_commands(blocks: Iterable[Block]) -> list[list[str]]:
    """List the command lines of a page, as a shell would split them."""
    found = []
    for block in blocks:
        if block.language not in SHELLS:
            continue
        text = block.text.replace("\\\n", " ")
        for line in text.splitlines():
            if block.language == "console" and not line.startswith("$ "):
                continue
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words:
                found.append(words)
    return found


def problem_with(command: Sequence[str], blocks: Iterable[Block]) -> str:
    """Say why a command would not run; empty: it would.

    Args:
        command: its words.
        blocks: of the page, which tell of the files that the reader has saved.
    """
    program, *words = command
    files = {block.file for block in blocks if block.file}
    # The reader's virtual environment is in the folder of the tutorial.
    check = _CHECKS.get(program.removeprefix("venv/bin/"))
    return f"nothing knows {program!r}" if check is None else check(words, files)


def make_files(folder: Path) -> None:
    """Make the files that the command lines name."""
    for name in _GIVEN:
        (folder / name).write_text("From: a@example.com\nTo: b@example.net\n\nhi\n")


def _make(words: list[str], _files: set[str]) -> str:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    targets |= set(re.findall(r"^([A-Z]+ )\?=", makefile, re.MULTILINE))
    # A variable counts by its name.
    names = [re.sub(r"^([A-Z]+)=.*", r"\1 ", word) for word in words]
    missing = [name for name in names if name not in targets]
    return f"no target {missing}" if missing else ""


def _pip(words: list[str], _files: set[str]) -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    for word in words:
        if match := re.fullmatch(r"smtpx\[(.*)\]", word):
            missing = [each for each in match[1].split(",") if each not in extras]
            if missing:
                return f"no extra {missing}"
    return ""


def _python(words: list[str], files: set[str]) -> str:
    name, *rest = words
    if name == "-m" and rest[0] == "smtpx":
        return _smtpx(rest[1:], files)
    if name == "-m":
        folder = ROOT.joinpath(*rest[0].split("."))
        is_there = rest[0] == "venv" or (folder / "__main__.py").exists()
        return "" if is_there else f"no module {rest[0]}"
    return "" if name in files else f"no file {name}"


def _pytest(words: list[str], files: set[str]) -> str:
    words = re.sub(r"-m \w+", "", " ".join(words)).split()
    names = [word for word in words if not word.startswith("-")] or ["test_"]
    has_tests = all(
        any(file.startswith(name) for file in files) or (ROOT / name).exists()
        for name in names
    )
    return "" if has_tests else f"no file {names}"


def _smtpx(words: list[str], _files: set[str]) -> str:
    if words and words[0].startswith("-"):
        return ""
    name, *rest = words[: words.index("|")] if "|" in words else words
    command = cli.commands.get(name)
    if command is None:
        return f"no command {name}"
    redirected = next((at for at, word in enumerate(rest) if word in {">", ">>"}), None)
    try:
        with command.make_context(name, rest[:redirected]):
            return ""
    except click.ClickException as error:
        return error.format_message()


_CHECKS: Mapping[str, Callable[[list[str], set[str]], str]] = {
    "make": _make,
    "pip": _pip,
    "python": _python,
    "pytest": _pytest,
    "smtpx": _smtpx,
}

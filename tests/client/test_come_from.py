"""The tables for those who come from elsewhere name only what is there."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import pytest

import smtpx
from smtpx.cli.group import cli
from tests.architecture.layout import ROOT

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = ROOT / "docs" / "how-to"
# Of programs, whose names are options of ours.
COMMANDS = FOLDER / "come-from-swaks-and-mailpit.md"
PAGES = sorted(set(FOLDER.glob("come-from-*.md")) - {COMMANDS})
OPTIONS = [
    *(smtpx.ClientOptions, smtpx.MailOptions, smtpx.RcptOptions, smtpx.Timeouts),
    *(smtpx.ServerOptions, smtpx.PoolOptions),
]


def our_side(page: Path) -> list[str]:
    """List the second cells of the tables."""
    rows = re.findall(r"^\|(.*)\|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    cells = [re.split(r"(?<!\\)\|", row) for row in rows]
    return [row[1] for row in cells if len(row) == 2]


def test_there_is_a_page_for_each() -> None:
    names = {page.stem.removeprefix("come-from-") for page in PAGES}
    assert names >= {"smtplib", "aiosmtplib", "aiosmtpd", "go"}


def test_options_in_the_tables_exist() -> None:
    known = {"--help"}
    for name in ("send", "inbox"):
        for parameter in cli.commands[name].params:
            known |= {*parameter.opts, *parameter.secondary_opts}
    used = set(re.findall(r"(?<![\w/-])--?[a-z][a-z-]*", "\n".join(our_side(COMMANDS))))
    assert len(used) > 20
    assert used - known == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_names_in_the_tables_exist(page: Path) -> None:
    text = "\n".join(our_side(page))
    names = set(re.findall(r"\bsmtpx\.([A-Za-z]\w*)", text))
    assert names
    assert {name for name in names if not hasattr(smtpx, name)} == set()
    methods = set(re.findall(r"\bclient\.(\w+)", text))
    assert {name for name in methods if not hasattr(smtpx.Client, name)} == set()
    for kind in OPTIONS:
        fields = {item.name for item in dataclasses.fields(kind)}
        for arguments in re.findall(rf"\b{kind.__name__}\(([^()]*)", text):
            used = set(re.findall(r"\b(\w+)=", arguments))
            assert used <= fields, f"{kind.__name__} has no {used - fields}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_in_a_list_exist(page: Path) -> None:
    """As in ``client.hello()``, ``starttls()``: what is behind the first too."""
    for cell in our_side(page):
        if cell.strip().startswith("`client."):
            for name in re.findall(r"`(?:client\.)?(\w+)\(", cell):
                assert hasattr(smtpx.Client, name), name

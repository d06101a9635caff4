"""The documentation site: every page and name is on it, and it loads nothing foreign.

`make docs` builds it, with warnings as errors; here is what can be told without.
"""

from __future__ import annotations

import ast
import doctest
import re
import tomllib
import zlib
from pathlib import Path
from types import ModuleType

import click
import pytest

import smtpx
from smtpx.cli.failures import ExitCode
from smtpx.cli.group import cli
from tests.architecture.layout import ROOT, source_files
from tools import command_line, site, site_pages

NAMES = [name for name in smtpx.__all__ if not name.startswith("_")]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]["optional-dependencies"]


@pytest.mark.parametrize("module", [site, site_pages, command_line])
def test_examples_of_the_tools(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


def test_every_public_name_has_a_page() -> None:
    """Say which package a page below docs/reference/api is to name, if this fails."""
    homeless = {name: site_pages.home_of(name) for name in NAMES}
    homeless = {
        name: home
        for name, home in homeless.items()
        if site_pages.claim_of(name) is None
    }
    assert homeless == {}


def test_a_name_is_on_the_page_that_knows_it_best() -> None:
    assert "App" in site_pages.names_of("smtpx.app")
    assert "MaildirSink" not in site_pages.names_of("smtpx.app")
    assert "MaildirSink" in site_pages.names_of("smtpx.app.sinks")


def test_every_page_is_in_the_navigation() -> None:
    docs = ROOT / "docs"
    navigation = site_pages.navigation((docs / "index.md").read_text(encoding="utf-8"))
    listed = set(re.findall(r"^[a-z].*/.*$", navigation, re.MULTILINE))
    pages = {str(path.relative_to(docs).with_suffix("")) for path in docs.rglob("*.md")}
    assert pages - {"index"} == listed


def test_captions_follow_the_headings() -> None:
    send = "### Send mail\n- [A](a.md)\n- [B](b/c.md)\n"
    text = f"## How to\n{send}## Reference\n- [D](d.md)\n"
    navigation = site_pages.navigation(text)
    assert re.findall(r":caption: (.*)", navigation) == [
        "How to send mail",
        "Reference",
    ]
    assert navigation.count("```{toctree}") == 2
    assert "\na\nb/c\n```" in navigation


def test_links_lead_to_pages_of_the_site_or_nowhere() -> None:
    at = ROOT / "docs" / "how-to" / "x.md"
    text = "[a](send-many.md#x) [`b`](../../tests/conftest.py) [c](https://d.test/e)"
    assert site_pages.relink(text, at, at) == (
        "[a](../how-to/send-many.md#x) `b` [c](https://d.test/e)"
    )
    # A file of the repository that a page shows.
    shown = ROOT / "docs" / "project" / "changes.md"
    text = "[docs](docs/index.md) [what](SECURITY.md) [why](Makefile)"
    assert site_pages.relink(text, ROOT / "CHANGELOG.md", shown) == (
        "[docs](../index.md) [what](../project/security.md) why"
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Mailbox", "smtpx.Mailbox"),
        ("smtpx.wire.address.Mailbox", "smtpx.Mailbox"),
        ("smtpx.client.blocking.Client.send", "smtpx.Client.send"),
        ("tests.Mailbox", None),
        ("nonsense", None),
    ],
)
def test_names_of_the_code_become_public_ones(written: str, meant: str | None) -> None:
    assert site_pages.public_target(written) == meant


def documented(path: Path) -> list[str]:
    """List the docstrings that are likely to be on the site."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        ast.get_docstring(node) or ""
        for node in ast.walk(tree)
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and not node.name.startswith("_")
    ]


@pytest.mark.parametrize(
    "path", source_files(), ids=lambda path: str(path.relative_to(ROOT))
)
def test_references_in_docstrings_are_whole_names(path: Path) -> None:
    """What stands in single backquotes with a dot leads somewhere.

    A literal stands in double ones. Names without a dot are looked for in the class
    around them by the site's build, which knows it.
    """
    module = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
    lost = [
        name
        for text in documented(path)
        for name in re.findall(r"(?<![`:])`([a-z]\w*(?:\.\w+)+)`(?!`)", text)
        if not any(map(site_pages.exists, site_pages.candidates(name, (module,))))
    ]
    assert lost == []


def test_a_reference_to_nothing_is_found() -> None:
    assert not site_pages.exists("smtpx.client.nonsense")
    assert not site_pages.exists("smtpx.Client.nonsense")
    assert site_pages.exists("smtpx.ClientOptions.pipelining")


def options_of(command: click.Command) -> list[str]:
    return [
        name
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
        for name in option.opts
    ]


def test_the_page_of_the_command_line_has_every_option_and_exit_code() -> None:
    page = command_line.page()
    for path, command in command_line.commands(cli):
        part = page.partition(f"\n## `{path}`\n")[2].partition("\n## ")[0]
        assert part
        assert [name for name in options_of(command) if f"`{name}" not in part] == []
    for code in ExitCode:
        assert f"| {code.value} | {code.name} | " in page


def test_groups_of_commands_are_entered() -> None:
    group = click.Group("outer", commands={"inner": click.Command("inner")})
    top = click.Group("smtpx", commands={"outer": group})
    assert [path for path, _ in command_line.commands(top)] == [
        "smtpx outer",
        "smtpx outer inner",
    ]


def test_every_extra_is_on_its_page() -> None:
    page = (ROOT / "docs" / "reference" / "extras.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w[\w-]*)` \|", page, re.MULTILINE) != []
    assert set(re.findall(r"^\| `(\w[\w-]*)` \|", page, re.MULTILINE)) == set(EXTRAS)


@pytest.mark.parametrize(
    "text",
    [
        '<script src="//cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="https://fonts.example/x.css">',
        '<img srcset="https://a.example/x.png 2x">',
        '<p style="background: url(https://a.example/x.png)">',
        "<style>@import 'https://a.example/x.css'; p { color: red }</style>",
        '<iframe src=" HTTPS://a.example/"></iframe>',
    ],
)
def test_a_foreign_load_is_found(text: str) -> None:
    assert len(site.foreign_loads(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        '<script src="_static/x.js"></script>',
        '<link rel="canonical" href="https://example.com/">',
        '<a href="https://example.com/">there</a>',
        '<img src="data:image/png;base64,AAAA">',
        "<p>url(https://a.example/x.png)</p>",
    ],
)
def test_what_is_no_foreign_load(text: str) -> None:
    assert site.foreign_loads(text) == []


def make_site(folder: Path, names: list[str], page: str = "") -> None:
    lines = "".join(f"smtpx.{name} py:class 1 x.html#$ -\n" for name in names)
    head = b"# Sphinx inventory version 2\n# Project: x\n# Version: 1\n# zlib\n"
    (folder / "objects.inv").write_bytes(head + zlib.compress(lines.encode()))
    (folder / "index.html").write_text(page)


def test_a_site_is_whole_or_it_is_told_what_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_site(tmp_path, NAMES)
    assert site.main([str(tmp_path)]) == 0
    make_site(tmp_path, NAMES[1:], '<script src="https://a.example/x.js"></script>')
    (tmp_path / "x.css").write_text("@import url(//a.example/y.css)")
    assert site.main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "index.html loads https://a.example/x.js from another host",
        "x.css loads //a.example/y.css from another host",
        f"smtpx.{NAMES[0]} is on no page below docs/reference/api",
    ]

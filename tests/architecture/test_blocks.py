"""Every fenced block of the pages is run or checked, or it is told here why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.architecture.commands import (
    SHELLS,
    find_commands,
    make_files,
    problem_with,
)
from tests.architecture.layout import ROOT
from tests.architecture.pages import Block, all_pages, find_blocks

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [str(path.relative_to(ROOT)) for path in all_pages()]

#: What is no program of ours, and why.
NOT_RUN = {
    "text": "output, a dialogue, or the configuration of another program",
    "ini": "a unit of systemd",
    "toml": "a part of a file of the reader's",
    "mermaid": "a drawing, made from the tables that it draws",
    "json": "an answer of a server",
    "html": "a part of a page of the reader's",
}
#: What the documentation site makes of them fails its build if it is wrong.
DIRECTIVES = ("{public-names} ", "{objects} ", "{eval-rst}")


def read(page: str) -> list[Block]:
    return find_blocks((ROOT / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_of_a_known_kind(page: str) -> None:
    strange = [
        block.language
        for block in read(page)
        if block.language not in {"python", *SHELLS, *NOT_RUN}
        and not block.language.startswith(DIRECTIVES)
    ]
    assert strange == []


@pytest.mark.parametrize("page", PAGES)
def test_every_fence_has_its_end(page: str) -> None:
    """And says a language; else nobody would notice a block that nobody runs."""
    text = (ROOT / page).read_text(encoding="utf-8")
    fences = [line for line in text.splitlines() if line.lstrip().startswith("```")]
    assert len(fences) == 2 * len(find_blocks(text))


@pytest.mark.parametrize("page", PAGES)
def test_what_looks_like_a_program_is_run_as_one(page: str) -> None:
    lines = [
        line
        for block in read(page)
        if block.language in NOT_RUN
        for line in block.text.splitlines()
    ]
    starts = ("import ", "from smtpx", "def ", "async def ", "class ", ">>> ", "$ ")
    assert [line for line in lines if line.startswith(starts)] == []


@pytest.mark.parametrize("page", PAGES)
def test_command_lines_are_right(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    blocks = read(page)
    problems = {
        " ".join(command): problem
        for command in find_commands(blocks)
        if (problem := problem_with(command, blocks))
    }
    assert problems == {}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("make nonsense", "no target"),
        ("make test NONSENSE=1", "no target"),
        ("python -m tests.nonsense", "no module"),
        ("pytest -m stress tests/nonsense", "no file"),
        ("pip install 'smtpx[nonsense]'", "no extra"),
        ("python nonsense.py", "no file"),
        ("python -m nonsense", "no module"),
        ("pytest test_nonsense.py", "no file"),
        ("smtpx nonsense", "no command"),
        ("smtpx serve --nonsense", "No such option"),
        ("smtpx send --tls nonsense mail.eml", "is not one of"),
        ("smtpx serve --tls-cert nonsense.pem", "does not exist"),
        ("nonsense", "nothing knows"),
    ],
)
def test_a_command_line_that_is_wrong_is_found(
    line: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    blocks = [Block("sh", f"{line}  # and a remark\n")]
    (command,) = find_commands(blocks)
    assert problem in problem_with(command, blocks)


def test_command_lines_are_found() -> None:
    text = (
        "Save this as `shop.py`, and start it:\n\n```python\nx = 1\n```\n\n"
        "```console\n$ python shop.py\nits output\n```\n\n"
        "```sh\nmake \\\n  test\n\n# a remark\n```\n"
    )
    blocks = find_blocks(text)
    assert [block.file for block in blocks] == ["shop.py", "", ""]
    assert find_commands(blocks) == [["python", "shop.py"], ["make", "test"]]
    assert not any(problem_with(each, blocks) for each in find_commands(blocks))

"""What the pages say is true: their code runs, their links and targets exist."""

from __future__ import annotations

import doctest
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.architecture.layout import ROOT
from tests.architecture.pages import (
    Block,
    all_pages,
    find_blocks,
    find_links,
    run_programs,
)

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [str(path.relative_to(ROOT)) for path in all_pages()]


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_programs_run(page: str, tmp_path: Path) -> None:
    run_programs(find_blocks(read(page)), tmp_path)


@pytest.mark.parametrize("page", PAGES)
def test_examples_show_what_is_printed(page: str) -> None:
    names: dict[str, Any] = {}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for number, block in enumerate(find_blocks(read(page))):
        if block.is_doctest:
            name = f"{page} block {number}"
            test = doctest.DocTestParser().get_doctest(
                block.text, names, name, page, None
            )
            runner.run(test, clear_globs=False)
            names = test.globs
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    assert [to for to in find_links(read(page)) if not (folder / to).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    assert set(re.findall(r"^\$ make ([a-z-]+)", read(page), re.MULTILINE)) <= targets


@pytest.mark.parametrize("document", ["README.md", "docs/index.md", "SECURITY.md"])
def test_the_pages_that_people_look_for_exist(document: str) -> None:
    assert document in PAGES


def test_a_program_that_fails_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no such thing"):
        run_programs([Block("python", "raise ValueError('no such thing')")], tmp_path)


def test_a_server_that_does_not_start_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ended before it was ready"):
        run_programs(
            [Block("python", "serve_forever = int\nserve_forever()")], tmp_path
        )


def test_blocks_and_links_are_found() -> None:
    text = (
        "See [this](docs/index.md#top) and [that](https://example.com/).\n"
        "```python\n>>> 1\n1\n```\n"
        "```python\nx = 1\n```\n"
        "```console\n$ make test\n```\n"
    )
    blocks = find_blocks(text)
    assert [block.is_doctest for block in blocks] == [True, False, False]
    assert [block.is_program for block in blocks] == [False, True, False]
    assert find_links(text) == ["docs/index.md"]

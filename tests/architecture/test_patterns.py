"""Regular expressions mean the same in every Python that smtpx runs on."""

from __future__ import annotations

import re

import pytest

from tests.architecture.layout import source_files

# Python 3.11.2 takes a group under a possessive quantifier that failed half way:
# re.match(r"a(?:[.]b++)*+", "a.") matches all of it there.
POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{[0-9,]+\})\+")


def possessive_groups(text: str) -> list[str]:
    """List the lines that give a group a possessive quantifier."""
    return [line for line in text.splitlines() if POSSESSIVE_GROUP.search(line)]


def test_no_group_is_possessive() -> None:
    found = {
        path.name: lines
        for path in source_files()
        if (lines := possessive_groups(path.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize("text", ["(a)*+", "(?:a)++", "(a)?+", "(a){1,2}+"])
def test_possessive_groups_are_found(text: str) -> None:
    assert possessive_groups(f"x\n{text}\n") == [text]


@pytest.mark.parametrize("text", ["(a)*", "[a]*+", "(a)+b", "f(a) + 1"])
def test_what_is_no_possessive_group_is_not(text: str) -> None:
    assert possessive_groups(text) == []

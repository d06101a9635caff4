"""Every RFC citation names a section that exists, and the page of them is current."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from smtpx.wire.extensions import EXTENSIONS
from tools import rfc

INDEX = {5321: {"": "Simple Mail Transfer Protocol", "4.2": "SMTP Replies", "D": "x"}}


def test_every_citation_names_a_section_that_exists() -> None:
    assert rfc.all_mistakes() == []


def test_the_conformance_page_is_current() -> None:
    page = rfc.PAGE.read_text(encoding="utf-8")
    assert page == rfc.conformance_page(), "run `make docs`"


def test_every_rfc_has_a_status_at_each_end() -> None:
    assert list(rfc.status_mistakes(rfc.read_status(), rfc.library_rfcs())) == []


def test_every_extension_and_mechanism_has_a_status() -> None:
    numbers = {status.rfc for status in rfc.read_status()}
    extensions = {row.rfc for row in EXTENSIONS if row.rfc.startswith("RFC ")}
    assert {int(name.removeprefix("RFC ")) for name in extensions} <= numbers
    assert {2195, 4422, 4505, 4616, 5802, 7628, 7677} <= numbers


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rfc": 7}, "RFC 5321 has no row"),
        ({"rfc": 7}, "nothing cites RFC 7 any more"),
        ({"server": "maybe"}, "another word"),
        ({"test": "tests/nope.py"}, "there is no tests/nope.py"),
    ],
)
def test_wrong_statuses_are_found(changes: dict[str, Any], why: str) -> None:
    right = rfc.Status(5321, "always", "-", "tests/test_errors.py", "SMTP")
    assert list(rfc.status_mistakes([right], {5321})) == []
    found = " ".join(rfc.status_mistakes([replace(right, **changes)], {5321}))
    assert why in found
    assert "not in order" in " ".join(rfc.status_mistakes([right, right], {5321}))


def cite(text: str) -> str:
    """Write out the examples, whose mistakes this file must not be found to make."""
    return text.replace("@", "RFC")


@pytest.mark.parametrize(
    "text",
    [
        "see @ 5321 section 4.2.",
        "see @ 5321 section\n    # 4.2: replies",
        'text("see @ 5321 section\\n"\n    "4.2 for it")',
        "@ 5321 sections 4.2 and D",
        "@ 5321 appendix D",
        "@ 5321, and @ 2195",
        "https://www.rfc-editor.org/@5321 <https://example.com/@5321>",
    ],
)
def test_good_citations(text: str) -> None:
    assert list(rfc.find_mistakes(cite(text), "x.py", INDEX)) == []


@pytest.mark.parametrize(
    "text",
    [
        "@ 5321 section 9.9",
        "@ 5321\n    section 9.9",
        "@ 5321 sections 4.2 and 9.9",
        "@ 5321 appendix Q",
        "@ 9999 section 1",
        "@ 5321 \N{SECTION SIGN}4.2",
        "@5321",
        "@ 5321 Section 4.2",
        "@ 5321, section 4.2",
        "section 4.2 of @ 5321",
    ],
)
def test_bad_citations(text: str) -> None:
    assert len(list(rfc.find_mistakes(cite(text), "x.py", INDEX))) == 1


def test_sections_are_read_from_the_text_of_an_rfc() -> None:
    text = (
        "Network Working Group                                      J. Klensin\n"
        "Request for Comments: 1                                   October 2008\n"
        "Category: Standards Track\n"
        "\n\n"
        "                     Simple Mail\n"
        "                 Transfer Protocol\n"
        "\n"
        "Status of This Memo\n"
        "\n"
        "   1. An item of a list\n"
        "1.  Introduction ..................... 5\n"
        "4.2.  SMTP Replies\n"
        "Appendix A.  Scenarios\n"
        "F.4.  #-literals\n"
    )
    assert rfc.read_sections(text) == {
        "": "Simple Mail Transfer Protocol",
        "1": "Introduction",
        "4.2": "SMTP Replies",
        "A": "Scenarios",
        "F.4": "#-literals",
    }

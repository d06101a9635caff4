"""The hostile mail set: nothing of it runs or fetches, and all of it is bounded."""

from __future__ import annotations

import tracemalloc

import pytest

from smtpx.inbox.rendering import render_html
from smtpx.inbox.sanitize import MAX_INLINE_CHARACTERS, MAX_TAGS
from smtpx.message.parsed import parse_message
from tests.inbox.harmless import harm_in
from tests.inbox.hostile import bombs, deceptions, html_attacks, mail_with_html

URL = "http://127.0.0.1:9"
ATTACKS = html_attacks(URL)
DECEPTIONS = deceptions(URL)
BOMBS = bombs()


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_shown_of_an_attack_is_harmless(name: str) -> None:
    view = render_html(mail_with_html(ATTACKS[name]))
    assert harm_in(view.document) == []


def test_the_check_finds_what_the_attacks_would_do() -> None:
    quiet = {name for name, html in ATTACKS.items() if not harm_in(html)}
    # Traps for what cleans: as they are they do nothing.
    assert quiet == {
        "attribute that ends its tag",
        "css url over a comment",
        "script after a null",
        "tag that does not end",
    }


@pytest.mark.parametrize("name", DECEPTIONS)
def test_what_is_shown_of_a_deception_is_harmless(name: str) -> None:
    assert harm_in(render_html(DECEPTIONS[name]).document) == []


def test_no_file_name_is_a_path_or_hidden() -> None:
    message = parse_message(DECEPTIONS["paths in file names"])
    names = [one.safe_name for one in message.attachments]
    assert len(names) == 10
    for name in names:
        assert not set(name) & set('/\\<>:"|?*\r\n')
        assert not name.startswith(".")
        assert 0 < len(name.encode()) <= 255


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_take_memory_in_proportion_only(name: str) -> None:
    octets = BOMBS[name]
    tracemalloc.start()
    try:
        view = render_html(octets)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A few copies of the message, and of the largest document that is made.
    assert peak < 20 * len(octets) + 4 * MAX_INLINE_CHARACTERS
    assert len(view.document) < 2 * MAX_INLINE_CHARACTERS
    assert view.document.count("<") < 4 * MAX_TAGS + 100


def test_bombs_are_cut_into_a_bounded_number_of_parts() -> None:
    for octets in BOMBS.values():
        message = parse_message(octets)
        assert sum(1 for _ in message.root.leaves()) <= 1_000
        assert len(message.header.fields) <= 10_000
    assert "over 1000 parts" in parse_message(BOMBS["width"]).defects
    depth = parse_message(BOMBS["depth"]).defects
    assert any("nested over 100 deep" in one for one in depth)

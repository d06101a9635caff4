"""The hostile mail set in a real browser: nothing runs, and nothing is fetched.

Each wall is tried alone as well: the cleaned document without the frame's rules, and
the attack as it came under these rules.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import expect

from smtpx.inbox.rendering import HTML_HEADERS, render_html
from tests.inbox.hostile import bombs, deceptions, html_attacks, mail_with_html

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext, Dialog, Page

    from tests.inbox.counting import CountingServer

pytestmark = pytest.mark.browser


@pytest.fixture
def watched(context: BrowserContext) -> list[str]:
    """What no message may do: dialogs, windows, downloads."""
    happened: list[str] = []

    def answer(dialog: Dialog) -> None:
        happened.append(dialog.message)
        dialog.dismiss()

    def watch(page: Page) -> None:
        page.on("popup", lambda one: happened.append(f"a window: {one.url}"))
        page.on("download", lambda one: happened.append(f"a download: {one.url}"))
        page.on("dialog", answer)

    context.on("page", watch)
    return happened


def settle(page: Page) -> None:
    """Wait until what was loaded is drawn: images are asked for before that.

    A picture of it, since no script runs where the sandbox forbids them.
    """
    page.screenshot()


def provoke(page: Page) -> None:
    """Do what somebody who reads would, and what scripts wait for."""
    page.mouse.move(200, 200)
    page.mouse.click(200, 200)
    page.keyboard.press("Tab")
    settle(page)


@pytest.fixture
def show(
    context: BrowserContext, counter: CountingServer
) -> Callable[[str, dict[str, str]], None]:
    """Open a document, as a page of its own."""

    def show(html: str, headers: dict[str, str]) -> None:
        path = f"/document/{len(counter.documents)}"
        counter.documents[path] = (html, headers)
        page = context.new_page()
        page.goto(counter.url + path, wait_until="commit")
        # Some lead elsewhere meanwhile.
        with contextlib.suppress(PlaywrightError):
            page.wait_for_load_state("load")
            provoke(page)
        page.close()

    return show


def test_the_set_would_do_harm(
    show: Callable[[str, dict[str, str]], None], counter: CountingServer
) -> None:
    """Without any wall most of it runs or fetches."""
    harmful = 0
    for html in html_attacks(counter.url).values():
        before = len(counter.asked)
        show(html, {})
        asked = [one for one in counter.asked[before:] if "favicon" not in one]
        harmful += bool(asked)
    assert harmful > 40


def test_the_cleaned_document_alone_is_harmless(
    show: Callable[[str, dict[str, str]], None],
    counter: CountingServer,
    watched: list[str],
) -> None:
    for name, html in html_attacks(counter.url).items():
        document = render_html(mail_with_html(html)).document
        show(document, {})
        asked = [one for one in counter.asked if "favicon" not in one]
        assert (name, asked, watched) == (name, [], [])


def test_the_rules_of_the_frame_alone_are_enough(
    show: Callable[[str, dict[str, str]], None],
    counter: CountingServer,
    watched: list[str],
) -> None:
    for name, html in html_attacks(counter.url).items():
        if "meta" in html or "refresh" in name:
            # Where a document leads to is not the policy's business; the page's own
            # policy keeps it out of the frame.
            continue
        show(html, HTML_HEADERS)
        assert (name, counter.asked, watched) == (name, [], [])


def test_every_attack_in_the_page(
    page: Page,
    send: Callable[[bytes], None],
    counter: CountingServer,
    watched: list[str],
) -> None:
    attacks = html_attacks(counter.url)
    for count, (name, html) in enumerate(attacks.items()):
        send(mail_with_html(html, subject=name))
        newest = page.locator(f"[aria-setsize='{count + 1}'][aria-posinset='1']")
        expect(newest.locator(".row-subject > bdi")).to_have_text(name)
        page.locator("#list").press("Home")
        expect(page.locator("#view h1")).to_have_text(name)
        expect(page.locator(".left-out")).not_to_be_empty()
        provoke(page)
        assert (name, counter.asked, watched) == (name, [], [])
        assert page.title().endswith("Inbox")


def test_every_deception_in_every_tab(
    page: Page,
    send: Callable[[bytes], None],
    counter: CountingServer,
    watched: list[str],
) -> None:
    for name, octets in deceptions(counter.url).items():
        send(octets)
        page.get_by_role("option").first.click()
        page.wait_for_selector("#view h1")
        for tab in page.get_by_role("tab").all():
            tab.click()
            settle(page)
        assert (name, counter.asked, watched) == (name, [], [])
        page.keyboard.press("#")
        expect(page.get_by_role("option")).to_have_count(0)


def test_text_that_runs_backwards_is_shown_as_it_is(
    page: Page, send: Callable[[bytes], None]
) -> None:
    send(deceptions("http://127.0.0.1:9")["text that runs backwards"])
    page.get_by_role("option").click()
    expect(page.locator("#view h1")).to_have_text("photo\u27e8U+202E\u27e9gpj.exe")


def test_bombs_are_shown_without_harm(
    page: Page, send: Callable[[bytes], None]
) -> None:
    for octets in bombs().values():
        send(octets)
        page.get_by_role("option").first.click()
        page.wait_for_selector("#view h1")
        page.get_by_role("tab", name="Headers").click()
        settle(page)
        rows = "document.querySelectorAll('.fields tr').length"
        assert page.evaluate(rows) <= 500
        page.keyboard.press("#")
        expect(page.get_by_role("option")).to_have_count(0)

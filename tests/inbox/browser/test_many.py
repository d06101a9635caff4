"""The page with 5,000 messages: few are in the document, and it is quick."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

import smtpx
from tests.inbox.browser.conftest import letter

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from smtpx.inbox.service import DevInbox

pytestmark = pytest.mark.browser

COUNT = 5_000

# How long the slowest frame took while a script scrolls through all of the list.
SCROLL = """async () => {
  const list = document.querySelector("#list");
  const frame = () => new Promise(requestAnimationFrame);
  let slowest = 0, most = 0, last = await frame();
  for (let step = 1; step <= 60; step += 1) {
    list.scrollTop = (list.scrollHeight * step) / 60;
    const now = await frame();
    slowest = Math.max(slowest, now - last);
    most = Math.max(most, document.querySelectorAll(".row").length);
    last = now;
  }
  return [slowest, most];
}"""


def test_five_thousand_messages(
    page: Page, inbox: DevInbox, capsys: pytest.CaptureFixture[str]
) -> None:
    figures: dict[str, float] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        start = time.perf_counter()
        work()
        figures[name] = (time.perf_counter() - start) * 1000

    def fill() -> None:
        messages = (
            smtpx.Outgoing(
                letter(f"message {number}").as_bytes(),
                sender="ann@example.com",
                recipients=["bob@example.net"],
            )
            for number in range(COUNT)
        )
        with smtpx.Client(inbox.smtp_urls[0]) as client:
            assert all(
                one.delivery is smtpx.Delivery.DELIVERED
                for one in client.send_many(messages)
            )

    timed("received, with the page open", fill)
    expect(page.locator("#total")).to_have_text("5,000")
    timed("page loaded", lambda: (page.reload(), page.wait_for_selector(".row")))
    slowest, most = page.evaluate(SCROLL)
    figures["slowest frame of scrolling through all"] = slowest
    # A screen of rows, and a few beyond its edges.
    assert 0 < most < 40
    expect(page.get_by_text("message 0", exact=True)).to_be_visible()

    def search() -> None:
        page.get_by_label("Search messages").fill("subject:4711")
        expect(page.locator(".row")).to_have_count(1)

    def open_it() -> None:
        page.locator(".row").click()
        expect(page.locator("#view h1")).to_have_text("message 4711")

    timed("search, with 150 ms of waiting for more keys", search)
    timed("message opened", open_it)
    with capsys.disabled():
        print()
        for name, milliseconds in figures.items():
            print(f"  5,000 messages: {name}: {milliseconds:,.0f} ms")

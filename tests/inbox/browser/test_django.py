"""The mail of Django for a new password, as a developer sees it; and pictures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

import smtpx
from tests.inbox.browser import django_app
from tests.inbox.browser.conftest import letter

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext, Page

    from smtpx.inbox.service import DevInbox

pytestmark = pytest.mark.browser

BACKENDS = {
    "smtpx": "smtpx.app.django.EmailBackend",
    "smtplib": "django.core.mail.backends.smtp.EmailBackend",
}
# Then pngquant makes them small enough for a page of the documentation.
MAX_PICTURE_OCTETS = 250_000


def ask_django(inbox: DevInbox, backend: str) -> None:
    host, _, port = inbox.smtp_urls[0].removeprefix("smtp://").rpartition(":")
    program = str(django_app.__file__)
    subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", program, backend, host, port],
        check=True,
        timeout=120,
    )


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_the_mail_for_a_new_password(
    page: Page, inbox: DevInbox, context: BrowserContext, backend: str
) -> None:
    ask_django(inbox, backend)
    page.get_by_role("option").click()
    expect(page.locator("#view h1")).to_have_text("Password reset on shop.example.com")
    link = page.frame_locator("iframe").get_by_role("link", name="Choose a password")
    address = link.get_attribute("href") or ""
    assert address.startswith("https://shop.example.com/reset/")
    expect(page.locator(".left-out")).to_contain_text("1 thing left out")
    page.get_by_role("tab", name="Text").click()
    text = page.get_by_role("tabpanel").get_by_role("link")
    expect(text.first).to_have_attribute("href", address)
    page.get_by_role("tab", name="Dialogue").click()
    expect(page.get_by_role("tabpanel")).to_contain_text(
        "RCPT TO:<ann@example.com>", ignore_case=True
    )
    context.route("https://shop.example.com/**", lambda one: one.fulfill(body="ok"))
    page.get_by_role("tab", name="HTML").click()
    with context.expect_page() as opened:
        link.click()
    opened.value.wait_for_url(address)


@pytest.fixture
def picture(page: Page, tmp_path: Path) -> Callable[[str], None]:
    """Take a picture of the page.

    They are those of the documentation, if SMTPX_PICTURES names its folder.
    """
    folder = Path(os.environ.get("SMTPX_PICTURES", tmp_path))

    def take(name: str) -> None:
        page.mouse.move(250, 4)
        path = folder / f"inbox-{name}.png"
        page.screenshot(path=path, animations="disabled")
        assert 10_000 < path.stat().st_size < MAX_PICTURE_OCTETS

    return take


def test_pictures(page: Page, inbox: DevInbox, picture: Callable[[str], None]) -> None:
    page.set_viewport_size({"width": 1080, "height": 676})
    expect(page.locator(".welcome")).to_be_visible()
    picture("empty")
    fill(inbox)
    ask_django(inbox, BACKENDS["smtpx"])
    expect(page.locator(".row")).to_have_count(7)
    picture("list")
    page.get_by_role("option").first.click()
    frame = page.frame_locator("iframe").get_by_text("Choose a password")
    expect(frame).to_be_visible()
    expect(page.locator(".left-out")).not_to_be_empty()
    picture("html")
    page.get_by_role("tab", name="Dialogue").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("RCPT TO")
    page.locator(".dialogue li").last.scroll_into_view_if_needed()
    picture("dialogue")
    page.get_by_role("tab", name="Envelope").click()
    picture("envelope")
    page.get_by_role("tab", name="HTML").click()
    page.get_by_label("Phone width").click()
    page.keyboard.press("t")
    expect(frame).to_be_visible()
    picture("dark")
    page.get_by_label("Full width").click()
    page.keyboard.press("t")
    page.keyboard.press("f")
    add_faults(page)
    picture("faults")
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 390, "height": 780})
    expect(frame).to_be_visible()
    picture("phone-message")
    page.get_by_role("button", name="Back to the list").click()
    picture("phone")


def add_faults(page: Page) -> None:
    page.get_by_label("Only for").fill("*@example.org")
    page.get_by_label("The server says").select_option("450 4.2.0 greylisted")
    page.get_by_label("How many times").fill("2")
    page.get_by_role("button", name="Add").click()
    expect(page.locator(".fault-list li")).to_have_count(2)
    page.get_by_label("When").select_option("data")
    page.get_by_label("The server says").select_option("drop")
    page.get_by_label("In how many cases").fill("25")
    page.get_by_role("button", name="Add").click()
    expect(page.locator(".fault-list li")).to_have_count(3)
    expect(page.locator(".toast")).to_have_count(0)


LETTERS = (
    ("Tally <hello@tally.example>", "Welcome to Tally", "Three things to try first."),
    (
        "GitForge <noreply@gitforge.example>",
        "[shop/web] Build #1187 failed on main",
        "The build failed in 3 min 12 s: 2 of 418 tests did not pass.",
    ),
    (
        "Mara Okafor <mara@example.com>",
        "Re: Thursday",
        "Thursday at ten works for me. I will bring the printouts and the sample.",
    ),
    (
        "Fern & Field <orders@shop.example.com>",
        "Your order #20418 is on its way",
        "Hello Ann, we packed your order this morning.",
    ),
    (
        "Status <status@app.example.com>",
        "Resolved: slow search in region eu-2",
        "Between 09:12 and 09:40 UTC searches took up to four seconds.",
    ),
    (
        "Billing <billing@app.example.com>",
        "Your receipt for November",
        "Thank you. We received 12.00 EUR for the plan Small Team.",
    ),
)


def fill(inbox: DevInbox) -> None:
    with smtpx.Client(inbox.smtp_urls[0]) as client:
        for sender, subject, text in LETTERS:
            message = letter(subject, text)
            message.replace_header("From", sender)
            message.replace_header("To", "Ann Berger <ann@example.com>")
            if "receipt" in subject:
                message.add_attachment(
                    b"%PDF", maintype="application", subtype="pdf", filename="bill.pdf"
                )
            client.send(message)

"""A browser, and an inbox for it to look at."""

from __future__ import annotations

import shutil
from email.message import EmailMessage
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect, sync_playwright

import smtpx
from smtpx.inbox.service import DevInbox, InboxOptions
from tests.inbox.counting import CountingServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

# Longer than anything takes, on a busy machine too: it ends what hangs.
PATIENCE_MILLISECONDS = 120_000
expect.set_options(timeout=PATIENCE_MILLISECONDS)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path is not None, "install Debian's package chromium"
    with sync_playwright() as playwright:
        # Tests run as root in containers, where Chromium's own sandbox does not start.
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def inbox() -> Iterator[DevInbox]:
    options = InboxOptions(smtp=("127.0.0.1:0",), web="127.0.0.1:0", auth=True)
    with DevInbox(options).run_in_thread() as running:
        yield running


@pytest.fixture
def counter() -> Iterator[CountingServer]:
    with CountingServer().running() as server:
        yield server


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(
        viewport={"width": 1280, "height": 800},
        color_scheme="light",
        locale="en-GB",
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, inbox: DevInbox) -> Iterator[Page]:
    """The page, opened; its errors, and those that its console tells, fail the test."""
    errors: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda one: errors.extend(_errors(one)))
    page.goto(inbox.web_urls[0])
    page.wait_for_selector("#live:not(.lost):not(:empty)")
    yield page
    assert errors == []


def _errors(one: ConsoleMessage) -> list[str]:
    # The browser calls it an error when a release is refused, as tests have it.
    is_refusal = one.location["url"].endswith("/release")
    return [one.text] if one.type == "error" and not is_refusal else []


def letter(subject: str, text: str = "Hello.", html: str | None = None) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ann Berger <ann@example.com>"
    message["To"] = "Bob <bob@example.net>"
    message["Date"] = "Sun, 22 Nov 2026 16:58:00 +0000"
    message["Message-ID"] = "<1@example.com>"
    message["Subject"] = subject
    message.set_content(text)
    if html is not None:
        message.add_alternative(html, subtype="html")
    return message


@pytest.fixture
def send(inbox: DevInbox) -> Iterator[Callable[[EmailMessage | bytes], None]]:
    options = smtpx.ClientOptions(long_lines=True)
    with smtpx.Client(inbox.smtp_urls[0], options=options) as client:

        def send(message: EmailMessage | bytes) -> None:
            client.send(
                message, sender="ann@example.com", recipients=["bob@example.net"]
            )

        yield send

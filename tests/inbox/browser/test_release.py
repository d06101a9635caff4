"""A message goes on to a real server, from the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from smtpx.inbox.service import DevInbox, InboxOptions
from tests.inbox.browser.conftest import letter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import EmailMessage

    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture
def target() -> Iterator[DevInbox]:
    options = InboxOptions(smtp=("127.0.0.1:0",), web=None)
    with DevInbox(options).run_in_thread() as running:
        yield running


@pytest.fixture
def inbox(target: DevInbox) -> Iterator[DevInbox]:
    options = InboxOptions(
        smtp=("127.0.0.1:0",), web="127.0.0.1:0", release_to=target.smtp_urls
    )
    with DevInbox(options).run_in_thread() as running:
        yield running


def test_a_message_is_released(
    page: Page, send: Callable[[EmailMessage], None], target: DevInbox
) -> None:
    send(letter("for real"))
    page.get_by_role("option").click()
    page.get_by_role("button", name="Release").click()
    to = page.get_by_label("To, one address a line")
    expect(to).to_have_value("bob@example.net")
    to.fill("carol@example.org\ndave@example.org")
    page.get_by_role("button", name="Release", exact=True).last.click()
    expect(page.get_by_text("Released to 2 recipients")).to_be_visible()
    [message] = target.mailbox.newest_first()
    assert message.recipients == ("carol@example.org", "dave@example.org")


def test_why_it_was_not_is_told(
    page: Page, send: Callable[[EmailMessage], None]
) -> None:
    send(letter("for nobody"))
    page.get_by_role("option").click()
    page.get_by_role("button", name="Release").click()
    page.get_by_label("To, one address a line").fill("nobody")
    with page.expect_response("**/release") as answer:
        page.get_by_role("button", name="Release", exact=True).last.click()
    expect(page.get_by_role("alert")).to_have_text(answer.value.json()["error"])

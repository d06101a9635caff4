"""The page of the inbox, as somebody uses it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

import smtpx
from tests.inbox.browser.conftest import letter

if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import EmailMessage

    from playwright.sync_api import BrowserContext, Page

    from smtpx.inbox.service import DevInbox

    Send = Callable[[EmailMessage | bytes], None]

pytestmark = pytest.mark.browser


def subjects(page: Page) -> list[str]:
    return page.locator(".row .row-subject > bdi").all_inner_texts()


def selected(page: Page) -> str:
    return page.locator(".row[aria-selected=true] .row-subject > bdi").inner_text()


@pytest.fixture
def three(page: Page, send: Send) -> None:
    for name in ("first", "second", "third"):
        send(letter(name, f"text of {name}", f"<p>html of {name}</p>"))
    expect(page.locator(".row")).to_have_count(3)


def test_an_empty_inbox_says_how_to_send(page: Page, inbox: DevInbox) -> None:
    expect(page.locator(".welcome")).to_contain_text(inbox.smtp_urls[0])
    page.get_by_role("button", name="Python").click()
    program = page.locator(".welcome pre code").inner_text()
    exec(compile(program, "welcome", "exec"), {})
    expect(page.locator(".row")).to_have_count(1)
    assert subjects(page) == ["Hello"]


def test_mail_appears_as_it_arrives(page: Page, send: Send) -> None:
    send(letter("one"))
    expect(page.locator(".row")).to_have_count(1)
    expect(page).to_have_title("(1) Inbox")
    send(letter("two"))
    expect(page.locator(".row")).to_have_count(2)
    assert sorted(subjects(page)) == ["one", "two"]
    expect(page.locator("#total")).to_have_text("2")


def test_a_message_without_from_is_its_senders(page: Page, send: Send) -> None:
    send(b"Subject: no author\r\n\r\nhello\r\n")
    expect(page.locator(".row .who")).to_contain_text("ann@example.com")
    page.get_by_role("option").first.click()
    expect(page.locator(".meta-line.first")).to_contain_text("ann@example.com")


@pytest.mark.usefixtures("three")
def test_what_is_opened_is_read(page: Page) -> None:
    page.get_by_role("option").first.click()
    expect(page.locator("#view h1")).to_have_text("third")
    expect(page.locator(".row.unread")).to_have_count(2)
    expect(page).to_have_title("(2) Inbox")
    page.keyboard.press("Shift+U")
    expect(page.locator(".row.unread")).to_have_count(3)
    page.keyboard.press("Shift+I")
    expect(page.locator(".row.unread")).to_have_count(0)
    expect(page).to_have_title("Inbox")


@pytest.mark.usefixtures("three")
def test_each_tab_shows_its_part(page: Page) -> None:
    page.get_by_role("option").first.click()
    expect(page.frame_locator("iframe").locator("p")).to_have_text("html of third")
    contents = {
        "Text": "text of third",
        "Source": "Subject: third",
        "Headers": "<1@example.com>",
        "Envelope": "ESMTP",
        "Dialogue": "RCPT TO:<bob@example.net>",
        "Checks": "A strict server has nothing to complain of.",
    }
    for name, content in contents.items():
        page.get_by_role("tab", name=re.compile(f"^{name}")).click()
        expect(page.get_by_role("tabpanel")).to_contain_text(content)


def test_files_can_be_stored(page: Page, send: Send) -> None:
    message = letter("with a file")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf",
                           filename="../bill.pdf")  # fmt: skip
    send(message)
    page.get_by_role("option").click()
    page.get_by_role("tab", name=re.compile("^Files")).click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download", exact=True).click()
    assert download.value.suggested_filename == "bill.pdf"
    assert download.value.path().read_bytes() == b"%PDF"


@pytest.mark.usefixtures("three")
def test_search_and_filters(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type("subject:sec")
    expect(page.locator(".row")).to_have_count(1)
    assert subjects(page) == ["second"]
    page.get_by_label("Search messages").fill("nothing like it")
    expect(page.locator("#nothing")).to_have_text("Nothing matches.")
    page.get_by_label("Search messages").fill("")
    expect(page.locator(".row")).to_have_count(3)
    page.get_by_role("option").first.click()
    expect(page.locator(".row.unread")).to_have_count(2)
    page.get_by_role("button", name=re.compile("^Unread")).click()
    expect(page.locator(".row")).to_have_count(2)


@pytest.mark.usefixtures("three")
def test_the_keyboard_does_it_all(page: Page) -> None:
    heading = page.locator("#view h1")
    for key, name in (("j", "third"), ("j", "second"), ("k", "third"), ("k", "third")):
        page.keyboard.press(key)
        expect(heading).to_have_text(name)
        assert selected(page) == name
    page.keyboard.press("2")
    expect(page.get_by_role("tab", selected=True)).to_have_text("Text")
    page.keyboard.press("j")
    expect(heading).to_have_text("second")
    # The tab that was open stays open.
    expect(page.get_by_role("tab", selected=True)).to_have_text("Text")
    page.keyboard.press("#")
    expect(page.locator(".row")).to_have_count(2)
    expect(heading).to_have_text("first")
    page.keyboard.press("u")
    expect(page.locator("#view")).to_contain_text("Choose a message")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Keyboard and search")
    page.keyboard.press("j")  # not the list's while a dialog is open
    page.keyboard.press("Escape")
    expect(page.locator("#view")).to_contain_text("Choose a message")


@pytest.mark.usefixtures("three")
def test_deleting_all_asks_first(page: Page) -> None:
    page.get_by_label("Delete all").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".row")).to_have_count(3)
    page.get_by_label("Search messages").fill("subject:first")
    expect(page.locator(".row")).to_have_count(1)
    page.get_by_label("Delete all").click()
    expect(page.get_by_role("dialog")).to_contain_text(
        "1 message that the search found"
    )
    page.get_by_role("button", name="Delete", exact=True).last.click()
    page.get_by_label("Search messages").fill("")
    expect(page.locator(".row")).to_have_count(2)
    page.get_by_label("Delete all").click()
    page.get_by_role("button", name="Delete", exact=True).last.click()
    expect(page.locator(".welcome")).to_be_visible()


@pytest.mark.usefixtures("three")
def test_what_is_still_loaded_of_a_deleted_message_is_given_up(page: Page) -> None:
    page.route("**/removed", lambda _: None)  # never answered
    page.get_by_role("option").first.click()
    expect(page.frame_locator("iframe").locator("p")).to_have_text("html of third")
    with page.expect_event("requestfailed") as failed:
        page.keyboard.press("#")
    assert failed.value.url.endswith("/removed")
    expect(page.locator(".row")).to_have_count(2)


@pytest.mark.usefixtures("three")
def test_what_is_deleted_elsewhere_goes(page: Page, inbox: DevInbox) -> None:
    page.get_by_role("option").first.click()
    expect(page.frame_locator("iframe").locator("p")).to_have_text("html of third")
    expect(page.locator(".left-out")).not_to_be_empty()
    id_ = page.url.partition("#/")[2].partition("/")[0]
    page.request.delete(f"{inbox.web_urls[0]}api/v1/message/{id_}")
    expect(page.locator("#view")).to_contain_text("cannot be shown")
    expect(page.locator(".row")).to_have_count(2)


@pytest.mark.usefixtures("three")
def test_an_address_leads_to_a_message_and_tab(page: Page) -> None:
    page.keyboard.press("j")
    expect(page.locator("#view h1")).to_have_text("third")
    page.keyboard.press("3")
    expect(page.get_by_role("tabpanel")).to_contain_text("Subject: third")
    assert page.url.endswith("/source")
    page.reload()
    expect(page.get_by_role("tabpanel")).to_contain_text("Subject: third")
    page.go_back()
    expect(page.locator("#view")).to_contain_text("Choose a message")


def test_the_width_of_a_preview(page: Page, send: Send) -> None:
    css = "<style>p{color:red}@media(max-width:500px){p{color:blue}}</style><p>x</p>"
    send(letter("wide", html=css))
    page.get_by_role("option").click()
    text = page.frame_locator("iframe").locator("p")
    expect(text).to_have_css("color", "rgb(255, 0, 0)")
    page.get_by_label("Phone width").click()
    expect(text).to_have_css("color", "rgb(0, 0, 255)")
    expect(page.locator("iframe")).to_have_css("width", "390px")
    page.get_by_label("Full width").click()
    expect(text).to_have_css("color", "rgb(255, 0, 0)")


def test_a_link_of_a_message_opens_elsewhere(
    page: Page, send: Send, context: BrowserContext
) -> None:
    context.route("https://app.example.com/**", lambda route: route.fulfill(body="ok"))
    send(letter("link", html="<a href='https://app.example.com/reset'>Reset</a>"))
    page.get_by_role("option").click()
    with context.expect_page() as opened:
        page.frame_locator("iframe").get_by_text("Reset").click()
    other = opened.value
    other.wait_for_url("https://app.example.com/reset")
    assert other.evaluate("[window.opener, document.referrer]") == [None, ""]


def test_what_was_left_out_is_told(page: Page, send: Send) -> None:
    send(
        letter(
            "images", html="<img src='https://cdn.example.org/a.png'><script>x</script>"
        )
    )
    page.get_by_role("option").click()
    page.get_by_text("2 things left out, nothing was loaded").click()
    expect(page.locator(".left-out")).to_contain_text(
        "1 \N{MULTIPLICATION SIGN} images from cdn.example.org"
    )


@pytest.mark.usefixtures("three")
def test_release_without_a_server_says_how(page: Page) -> None:
    page.keyboard.press("j")
    expect(page.locator("#view h1")).to_have_text("third")
    page.keyboard.press("r")
    expect(page.get_by_role("dialog")).to_contain_text("smtpx inbox --release-to")


def test_faults_strike_and_are_counted(page: Page, inbox: DevInbox) -> None:
    page.keyboard.press("f")
    page.get_by_label("When").select_option("rcpt")
    page.get_by_label("The server says").select_option("550 5.1.1 no such user")
    page.get_by_label("Only for").fill("*@example.net")
    expect(page.locator(".preview")).to_have_text(
        "Answer “550 5.1.1 no such user” at RCPT for *@example.net."
    )
    page.get_by_role("button", name="Add").click()
    expect(page.locator(".fault-list")).to_contain_text("has not struck yet")
    with smtpx.Client(inbox.smtp_urls[0]) as client:
        result = client.send(
            letter("hit"),
            sender="ann@example.com",
            recipients=["bob@example.net", "eve@example.org"],
        )
    assert [one.reply.code for one in result.refused if one.reply] == [550]
    expect(page.locator(".fault-list")).to_contain_text("struck 1 time")
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.locator(".fault-list")).to_contain_text("Everything works")


@pytest.mark.usefixtures("three")
def test_dark_and_light(page: Page) -> None:
    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", "light")
    page.emulate_media(color_scheme="dark")
    expect(root).to_have_attribute("data-theme", "dark")
    page.keyboard.press("t")
    expect(root).to_have_attribute("data-theme", "light")
    page.reload()
    expect(root).to_have_attribute("data-theme", "light")
    page.get_by_label("Dark or light").click()
    expect(root).to_have_attribute("data-theme", "dark")


@pytest.mark.usefixtures("three")
def test_on_a_phone_one_thing_at_a_time(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator("#view")).to_be_hidden()
    page.get_by_role("option").first.click()
    expect(page.locator("#list")).to_be_hidden()
    expect(page.locator("#view h1")).to_have_text("third")
    for tab in page.get_by_role("tab").all():
        tab.click()
        wider = "document.documentElement.scrollWidth > innerWidth"
        assert not page.evaluate(wider), tab.inner_text()
    page.get_by_role("button", name="Back to the list").click()
    expect(page.locator("#list")).to_be_visible()


CONTRASTS = """() => {
  const luminance = (color) => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d");
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((one) =>
      one <= 10.31 ? one / 3294.6 : ((one / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const style = getComputedStyle(document.documentElement);
  const value = (name) => luminance(style.getPropertyValue(`--${name}`));
  const pairs = [["ink", "surface"], ["soft", "surface"], ["faint", "surface"],
    ["faint", "ground"], ["soft", "ground"], ["accent", "surface"],
    ["accent-ink", "accent"], ["accent", "accent-soft"], ["warn", "warn-soft"],
    ["bad", "bad-soft"], ["good", "good-soft"], ["good", "surface"],
    ["surface", "bad"], ["faint", "accent-soft"], ["soft", "accent-soft"]];
  return pairs.map(([one, other]) => {
    const [light, dark] = [value(one), value(other)].sort((a, b) => b - a);
    return [one, other, (light + 0.05) / (dark + 0.05)];
  });
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_can_be_read(page: Page, theme: str) -> None:
    if theme == "dark":
        page.keyboard.press("t")
    # Level AA of the Web Content Accessibility Guidelines, for text of any size.
    low = [pair for pair in page.evaluate(CONTRASTS) if pair[2] < 4.5]
    assert low == []


@pytest.mark.usefixtures("three")
def test_everything_has_a_name_that_is_read_out(page: Page) -> None:
    page.keyboard.press("j")
    page.keyboard.press("f")
    nameless = """() => [...document.querySelectorAll(
        "button, a, input, select, textarea, iframe, [role]")].filter((one) =>
        !["presentation", "status", "option", "search", "note"].includes(one.role) &&
        !(one.ariaLabel || one.title || one.innerText?.trim() || one.labels?.length ||
          one.getAttribute("aria-labelledby"))).map((one) => one.outerHTML)"""
    assert page.evaluate(nameless) == []
    page.keyboard.press("Escape")
    option = page.locator(".row[aria-selected=true]")
    active = page.locator("#list").get_attribute("aria-activedescendant")
    assert option.get_attribute("id") == active
    assert option.get_attribute("aria-posinset") == "1"
    assert option.get_attribute("aria-setsize") == "3"


def test_tab_and_arrow_keys_reach_everything(page: Page, send: Send) -> None:
    send(letter("one"))
    expect(page.locator(".row")).to_have_count(1)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#list")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#view h1")).to_have_text("one")
    page.get_by_role("tab", selected=True).focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Source")).to_be_focused()
    expect(page.get_by_role("tabpanel")).to_contain_text("Subject: one")

"""What is kept of the HTML of a message, what is left out, and what is told of it."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.inbox import sanitize
from smtpx.inbox.css import clean_css
from smtpx.inbox.rendering import HTML_HEADERS, image_type, render_html
from smtpx.inbox.sanitize import clean_html
from tests.inbox.harmless import harm_in
from tests.inbox.hostile import PIXEL, mail_with_html

IMAGE = "data:image/gif;base64,R0lGODlh"


def kept(html: str, images: dict[str, str] | None = None) -> str:
    return clean_html(html, images or {}).html


def left_out(html: str) -> dict[str, tuple[int, tuple[str, ...]]]:
    return {one.what: (one.count, one.where) for one in clean_html(html, {}).removed}


# ------------------------------------------------------------------------ what is kept


@pytest.mark.parametrize(
    "html",
    [
        '<table width="560" cellpadding="0"><tbody><tr><td bgcolor="#fff">a</td></tr>'
        "</tbody></table>",
        '<p style="color:#1f7a5a;font:16px/1.5 Georgia,serif">a</p>',
        '<font color="red" face="Arial">a</font><center>b</center>',
        '<h1 class="a b" id="top" dir="rtl" lang="ar">a</h1>',
        "a &lt;script&gt; &amp;amp;",
    ],
)
def test_what_mail_is_made_of_stays_as_it_is(html: str) -> None:
    assert kept(html) == html


def test_links_open_elsewhere_and_tell_nobody_where_from() -> None:
    assert kept('<a href="https://x.test/reset?a=1&amp;b=2">a</a>') == (
        '<a href="https://x.test/reset?a=1&amp;b=2" target="_blank" '
        'rel="noopener noreferrer">a</a>'
    )
    assert 'target="_blank"' not in kept('<a href="#below">a</a>')


@pytest.mark.parametrize(
    "href",
    [
        "javascript:x()",
        "/api/v1/messages",
        "reset.html",
        "//x.test/",
        "file:///etc/passwd",
        "data:text/html,x",
        "https://x.test/ y",
        "# x",
        "",
    ],
)
def test_a_link_that_leads_nowhere_good_goes_and_its_text_stays(href: str) -> None:
    html = f'<a href="{href}">text</a>'
    assert kept(html) == '<a rel="noopener noreferrer">text</a>'
    assert left_out(html) == {"links that lead nowhere or run a script": (1, ())}


def test_images_of_the_message_are_put_in() -> None:
    html = "<img src='cid:logo' alt='Logo'><p style='background:url(cid:logo)'>a</p>"
    assert kept(html, {"logo": IMAGE}) == (
        f'<img alt="Logo" src="{IMAGE}"><p style="background:url(&quot;{IMAGE}&quot;)">'
        "a</p>"
    )


def test_a_content_id_may_be_escaped_as_urls_are() -> None:
    assert IMAGE in kept("<img src='cid:a%40b'>", {"a@b": IMAGE})


def test_images_within_the_html_stay_and_are_no_text() -> None:
    large = "data:image/png;base64," + "A" * (sanitize.MAX_HTML_CHARACTERS + 4)
    assert kept(f"<img src='{large}'>") == f'<img src="{large}">'


@pytest.mark.parametrize("kind", ["svg+xml", "x", "../html"])
def test_of_images_within_the_html_only_pixels_stay(kind: str) -> None:
    assert "data:image" not in kept(f"<img src='data:image/{kind};base64,AAAA'>")


def test_styles_and_the_body_reach_the_document() -> None:
    mail = mail_with_html(
        "<style>@media (max-width:600px){td{display:block}}</style>"
        "<body bgcolor=#eee style='margin:0' onload=x()><p>a</body>"
    )
    document = render_html(mail).document
    assert "@media (max-width:600px){td{display:block}}" in document
    assert '<body bgcolor="#eee" style="margin:0"><p>a\n</p>' in document


def test_a_message_without_html_is_an_empty_document() -> None:
    assert "<body></body>" in render_html(b"Subject: x\r\n\r\ntext").document


# ------------------------------------------------------------------- what is left out


def test_what_is_left_out_is_told() -> None:
    html = (
        "<script>a</script><script>b</script><p onclick=x() onload=y()>"
        "<img src='https://cdn.x.test/a.png'><img src='https://cdn.x.test/b.png'>"
        "<img src='http://t.test/o.gif' width=1 height=1><form><input></form>"
        "<iframe></iframe><object></object><svg></svg><video></video><base href=x>"
        "<meta http-equiv='refresh'><link rel=stylesheet><img src=cid:none>"
    )
    assert left_out(html) == {
        "scripts": (2, ()),
        "event handlers": (2, ()),
        "frames": (1, ()),
        "plug-ins": (1, ()),
        "forms": (1, ()),
        "fields and buttons": (1, ()),
        "drawings": (1, ()),
        "videos and sounds": (1, ()),
        "style sheets from elsewhere": (1, ()),
        "redirections": (1, ()),
        "base addresses": (1, ()),
        "images": (2, ("cdn.x.test",)),
        "tracking pixels": (1, ("t.test",)),
        "images that the message does not have": (1, ()),
    }


def test_the_place_of_an_image_is_kept() -> None:
    assert kept('<img src="http://x.test" width="120" height="50%" alt="A <b">') == (
        '<span data-blocked="" style="height:50%;width:120px;">A &lt;b</span>'
    )
    assert kept('<img src="http://x.test/o.gif" width="1" height="1">') == ""


def test_only_so_many_places_are_named() -> None:
    html = "".join(f"<img src='http://h{n}.test/'>" for n in range(11))
    count, where = left_out(html)["images"]
    assert (count, len(where)) == (11, 10)


# ----------------------------------------------------------------------------- limits


def test_html_up_to_the_limit_is_whole() -> None:
    text = "a" * sanitize.MAX_HTML_CHARACTERS
    assert kept(text) == text
    assert kept(text + "b") == text
    assert "the rest, after 400,000 characters" in left_out(text + "b")


@pytest.mark.parametrize(
    ("tag", "limit"),
    [
        ("<br>", sanitize.MAX_TAGS),
        ("<i>", sanitize.MAX_FORMATTING_TAGS),
        ("</p>", sanitize.MAX_TAGS),
    ],
)
def test_tags_up_to_the_limit_are_whole(tag: str, limit: int) -> None:
    assert left_out(tag * limit) == {}
    assert left_out(tag * (limit + 1)) == {"the rest, after too many tags": (1, ())}
    # What an end tag without a start makes is counted as one.
    assert kept(tag * limit).count("<") == kept(tag * (limit + 1)).count("<")


def test_images_up_to_the_limit_are_shown() -> None:
    image = "data:image/gif;base64,"
    image += "A" * (sanitize.MAX_INLINE_CHARACTERS // 4 - len(image))
    whole = kept("<img src=cid:a>" * 4, {"a": image})
    over = clean_html("<img src=cid:a>" * 5, {"a": image})
    assert whole.count("<img") == over.html.count("<img") == 4
    assert over.removed[0].what == "images over the limit of the page"


def test_a_body_tag_up_to_the_limit_is_used() -> None:
    def body(count: int) -> str:
        return clean_html(f"<body class={'a' * count}>x", {}).body

    # " class=" and the value, before the ">" that is looked for.
    longest = 4_096 - len(" class=") - 1
    assert body(longest) == f' class="{"a" * longest}"'
    assert body(longest + 1) == ""


def test_one_image_is_put_in_once_by_its_first_content_id() -> None:
    mail = mail_with_html("<img src=cid:logo>")
    encoded = base64.b64encode(PIXEL).decode()
    assert render_html(mail).document.count(encoded) == 1


# -------------------------------------------------------------------------------- css


@pytest.mark.parametrize(
    ("css", "cleaned"),
    [
        ("a > b{color:rgb(1,2,3)}", "a > b{color:rgb(1,2,3)}"),
        ("@media (width < 9px){a{b:c}}", "@media (width <  9px){a{b:c}}"),
        ("@IMPORT 'x'", "@removed 'x'"),
        (r"@\49 mport 'x'", "@removed 'x'"),
        ("@/**/import 'x'", "@ import 'x'"),
        ("a{b:url(x)}", "a{b:none }"),
        ("a{b:url( 'x' )}", "a{b:none }"),
        ("a{b:url(x", "a{b:none "),
        ("a{b:url('x", "a{b:none "),
        ("a{b:url('x\n)}", "a{b:none }"),
        (r"a{b:u\72 l(x)}", "a{b:none }"),
        ("a{b:url/**/(x)}", "a{b:url (x)}"),
        ("a{b:url\0(x)}", "a{b:removed(x)}"),
        ("a{b:URL(x)}", "a{b:none }"),
        ("a{b:src('x')}", "a{b:none }"),
        ("a{b:image-set('x' 1x)}", "a{b:removed('x' 1x)}"),
        ("<!-- a{} -->", "< !-- a{} -->"),
        ("a{b:'</style>'}", r"a{b:'\3c /style\3e '}"),
        ("a{b:'x\\\ny'}", "a{b:'xy'}"),
        ("a{b:'x", "a{b:'x'"),
        ('a{b:"\\"</"}', 'a{b:"\\22 \\3c /"}'),
        ("\\", " "),
        (r"\3c\2f style", r"\3c \2f style"),
        ("/*", " "),
    ],
)
def test_styles(css: str, cleaned: str) -> None:
    assert clean_css(css, lambda _: None) == cleaned


def test_urls_that_are_at_hand_are_written_as_such() -> None:
    asked = []

    def resolve(url: str) -> str | None:
        asked.append(url)
        return "data:x"

    css = r"a{b:url(cid:a\40 b)url( 'cid:c\'d' )url()}"
    assert clean_css(css, resolve) == 'a{b:url("data:x")url("data:x")url("data:x")}'
    assert asked == ["cid:a@b", "cid:c'd", ""]


CSS_PIECES = st.sampled_from(
    [*r"\/*@<>(){}'\";: ", "url", "import", "\\75 ", "rl", "\n", "\0", "x", "http://h"]
)


@given(st.lists(CSS_PIECES, max_size=30).map("".join))
def test_no_style_sheet_asks_for_anything(css: str) -> None:
    cleaned = clean_css(css, lambda _: None)
    assert "</" not in cleaned
    assert harm_in(f"<style>{cleaned}</style>") == []
    # It is clean, and so stays as it is but for white space.
    again = clean_css(cleaned, lambda _: None)
    assert again.split() == cleaned.split()


HTML_PIECES = st.sampled_from(
    [
        *"<>/='\" \n\0!-",
        *(
            "script",
            "img",
            "src",
            "style",
            "svg",
            "math",
            "a",
            "href",
            "title",
            "onload",
        ),
        *("<style>", "</style>", "<svg>", "<!--", "-->", "javascript:", "http://h/"),
        *("&lt;", "&quot;", "<table>", "<td>", "<p>", "<body ", "<img src=", "url("),
    ]
)


@given(st.lists(HTML_PIECES, max_size=30).map("".join))
def test_no_html_asks_for_anything(html: str) -> None:
    assert harm_in(render_html(mail_with_html(html)).document) == []


# ---------------------------------------------------------------------------- headers


def test_the_document_comes_with_a_policy_that_loads_nothing() -> None:
    policy = HTML_HEADERS["Content-Security-Policy"].split("; ")
    assert policy[0] == "default-src 'none'"
    assert "img-src data:" in policy
    assert "form-action 'none'" in policy
    sandbox = next(one for one in policy if one.startswith("sandbox"))
    # Neither scripts nor forms nor the origin of the page.
    assert sandbox == "sandbox allow-popups allow-popups-to-escape-sandbox"
    assert HTML_HEADERS["X-DNS-Prefetch-Control"] == "off"


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"\x89PNG\r\n\x1a\n...", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"BM..", "image/bmp"),
        (b"RIFF....WEBPVP8 ", "image/webp"),
        (b"\0\0\0\x1cftypavif", "image/avif"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", None),
        (b"<html>", None),
        (b"", None),
    ],
)
def test_images_are_known_by_what_they_are(data: bytes, content_type: str) -> None:
    assert image_type(data) == content_type

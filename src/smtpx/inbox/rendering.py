r"""The document that shows the HTML of a message, and the rules that it is shown under.

The document is made for a frame of the page. Whatever the cleaning missed, the content
security policy loads nothing, and the sandbox runs no script and sends no form; links
may open a window of their own, as somebody who tests a mail wants to follow them.

>>> view = render_html(
...     b"Content-Type: text/html\r\n\r\n<p>Hi<img src=http://x.test/logo.png></p>")
>>> [(one.what, one.count, one.where) for one in view.removed]
[('images', 1, ('x.test',))]
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smtpx.inbox.sanitize import MAX_INLINE_CHARACTERS, Removed, clean_html
from smtpx.message.parsed import parse_message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpx.message.parsed import Attachment, ParsedMessage

__all__ = ["HTML_HEADERS", "SANDBOX", "HtmlView", "image_type", "render_html"]

SANDBOX: Final = "allow-popups allow-popups-to-escape-sandbox"
"""What a message's document may do; scripts, forms and the page's origin are not in."""

HTML_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'; "
        f"sandbox {SANDBOX}"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Chromium looks the hosts of links up before anybody follows them.
    "X-DNS-Prefetch-Control": "off",
    "Cache-Control": "no-store",
}
"""For the response that carries the document."""

_DOCUMENT: Final = """<!DOCTYPE html>
<html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Message</title>
<style>
body{{margin:16px;color:#16181d;
font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}}
img{{max-width:100%}}
[data-blocked]{{display:inline-block;box-sizing:border-box;max-width:100%;
min-width:24px;min-height:1.6em;padding:2px 6px;overflow:hidden;
vertical-align:bottom;border-radius:3px;
border:1px dashed #aab2bd;background:#f1f3f5;color:#5b6470;
font:12px/1.5 system-ui,sans-serif;text-align:left}}
</style>
<style>{css}</style></head><body{body}>{html}</body></html>
"""

_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"GIF8", 0, "image/gif"),
    (b"BM", 0, "image/bmp"),
    (b"WEBP", 8, "image/webp"),
    (b"ftypavif", 4, "image/avif"),
)


@dataclass(frozen=True, slots=True)
class HtmlView:
    """The HTML of a message, for a frame.

    Attributes:
        document: all of it; send it with `HTML_HEADERS`.
        removed: what was left out of it.
    """

    document: str
    removed: tuple[Removed, ...]


def render_html(octets: bytes) -> HtmlView:
    """Make the document that shows the HTML of a message. It never raises.

    It may take a second for a hostile message: do not call it on an event loop.

    Args:
        octets: the message.

    Returns:
        The document; its body is empty if the message has no HTML.
    """
    message = parse_message(octets)
    clean = clean_html(message.html, dict(_images(message)))
    document = _DOCUMENT.format(css=clean.css, body=clean.body, html=clean.html)
    return HtmlView(document, clean.removed)


def image_type(data: bytes) -> str | None:
    r"""Say what kind of image a file is, whatever the message calls it.

    Args:
        data: the file, or its first 16 octets.

    Returns:
        Its type; None if browsers show no such image, or if it is SVG, which is a
        document that could hold anything.

    >>> image_type(b"GIF89a"), image_type(b"<svg onload='x()'>")
    ('image/gif', None)
    """
    for signature, offset, content_type in _SIGNATURES:
        if data.startswith(signature, offset):
            return content_type
    return None


def _images(message: ParsedMessage) -> Iterator[tuple[str, str]]:
    """Find the images that the HTML may show, as ``data:`` URLs."""
    room = MAX_INLINE_CHARACTERS
    seen: set[str] = set()
    files: tuple[Attachment, ...] = (*message.embedded, *message.attachments)
    for file in files:
        content_id = file.content_id
        if content_id is None or content_id in seen:
            continue
        seen.add(content_id)
        # Base64 has four characters for three octets.
        content_type = image_type(file.data) if room > 0 else None
        if content_type is not None and len(file.data) * 4 // 3 < room:
            encoded = base64.b64encode(file.data).decode("ascii")
            room -= len(encoded)
            yield content_id, f"data:{content_type};base64,{encoded}"

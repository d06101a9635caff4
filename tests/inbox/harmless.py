"""Checks that an HTML document loads nothing and does nothing, tag by tag."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

__all__ = ["harm_in"]

_TAGS: Final = frozenset(
    (  # noqa: SIM905 - a list of so many is read best like this
        "html head meta title style body a abbr address article aside b bdi bdo big "
        "br blockquote caption center cite code col colgroup dd del details dfn dir "
        "div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img "
        "ins kbd li main mark nav ol p pre q rp rt ruby s samp section small span "
        "strike strong sub summary sup table tbody td tfoot th thead time tr tt u ul "
        "var wbr"
    ).split()
)
_URL_ATTRIBUTES: Final = frozenset(
    (  # noqa: SIM905 - a list of so many is read best like this
        "action background cite classid code codebase data formaction href icon "
        "longdesc lowsrc dynsrc manifest ping poster profile src srcdoc srcset usemap "
        "xlink:href"
    ).split()
)
_IMAGE: Final = re.compile(
    r"data:image/(?:png|jpe?g|gif|webp|bmp|avif);base64,[\w+/]+=*"
)
_LINK: Final = re.compile(r"(?:https?://|mailto:|tel:|#)\S*")
_CSS_URL: Final = re.compile(r"(?<![-\w])url\(\"?([^)\"]*)", re.IGNORECASE)
_CSS_STRING: Final = re.compile(
    r"(?P<url>(?<![-\w])url\(\"[^\"]*\")|\"[^\"]*\"|'[^']*'", re.IGNORECASE
)
_CSS_CALLS: Final = re.compile(
    r"@(?=[-\w\\])(?!media\b|supports\b|keyframes\b|removed\b|-webkit-keyframes\b|-ms-viewport\b)"
    r"|(?<![-\w])(?:image|image-set|-webkit-image-set|src|cross-fade|expression|element)"
    r"\(|\\[^0-9a-f]",
    re.IGNORECASE,
)


def harm_in(document: str) -> list[str]:
    """Say what a document could do; empty if nothing."""
    reader = _Reader()
    reader.feed(document)
    reader.close()
    return reader.harm


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.harm: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        if tag not in _TAGS:
            self.harm.append(f"<{tag}>")
        for name, value in attrs:
            self._attribute(tag, name, value or "")

    def _attribute(self, tag: str, name: str, value: str) -> None:
        if name.startswith("on") or name in {"http-equiv", "srcdoc", "srcset", "ping"}:
            self.harm.append(f"{tag} {name}={value}")
        elif name == "href" and tag == "a":
            if _LINK.fullmatch(value) is None:
                self.harm.append(f"a link to {value}")
        elif name in _URL_ATTRIBUTES and _IMAGE.fullmatch(value) is None:
            self.harm.append(f"{tag} {name}={value}")
        elif name == "style":
            self._style(value)

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self._style(data)

    def handle_comment(self, data: str) -> None:
        self.harm.append(f"a comment: {data}")

    def _style(self, text: str) -> None:
        # What stands in a string is none of these, but for that of an URL.
        code = _CSS_STRING.sub(lambda match: match["url"] or "''", text)
        for url in _CSS_URL.findall(code):
            if _IMAGE.fullmatch(url) is None:
                self.harm.append(f"style with {url}")
        self.harm += [f"style with {one}" for one in _CSS_CALLS.findall(code)]
        if "</" in text:
            self.harm.append("style that ends its element")

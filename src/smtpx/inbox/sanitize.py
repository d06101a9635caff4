r"""HTML of strangers, made harmless.

Theory of operation. Three walls stand behind each other, and the content security
policy and the sandbox of the frame (`smtpx.inbox.rendering`) behind them:

1. nh3 parses the HTML as a browser does, and writes it again with the elements and
   attributes that are allowed. So what comes next reads an HTML that is well-formed.
2. Each tag of that is rewritten: an URL becomes a ``data:`` URL of an image that the
   message brings along, or goes; styles are cleaned (`smtpx.inbox.css`); links open
   elsewhere. Here is counted what is left out.
3. nh3 cleans what came of it, with a shorter list.

The parser's time grows with elements times open elements, and with the square of the
attributes of one tag: 200,000 nested elements took it three minutes. So the size, the
number of tags and that of formatting tags are limited before; what is over is cut off,
and the reader is told.

>>> clean_html('<p onclick="x()">a<script>b</script><img src="http://x.test/y.png">',
...            {}).html
'<p>a<span data-blocked=""></span></p>'
"""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import nh3

from smtpx.inbox.css import clean_css

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "MAX_FORMATTING_TAGS",
    "MAX_HTML_CHARACTERS",
    "MAX_INLINE_CHARACTERS",
    "MAX_TAGS",
    "CleanHtml",
    "Removed",
    "clean_html",
]

MAX_HTML_CHARACTERS: Final = 400_000
"""Of HTML, images within it not counted; four times what Gmail shows of a message."""
MAX_TAGS: Final = 10_000
"""The largest newsletters have 3,000; as many that are nested take 0.6 s.

End tags are counted by themselves: the parser makes an element of some.
"""
MAX_FORMATTING_TAGS: Final = 4_000
"""Of a, b, font and so on, which the parser compares with each other: 1.1 s."""
MAX_INLINE_CHARACTERS: Final = 16 * 1024 * 1024
"""Of images within the document. One image can be shown a thousand times."""
_MAX_BODY_TAG_CHARACTERS: Final = 4_096  # it has a style and a few colours
_MAX_PLACES: Final = 10  # of one kind, for people to read

_TAG: Final = re.compile(
    r"<(?:(/)[a-z]|(a|b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)"
    r"(?![a-z0-9-])|[a-z])",
    re.IGNORECASE,
)
_BODY: Final = re.compile(r"<body(?=[\s/>])", re.IGNORECASE)
# Only what a browser shows as pixels. SVG is a document of its own.
_DATA_IMAGE: Final = re.compile(
    r"data:(image/(?:png|jpe?g|gif|webp|bmp|avif));base64,([A-Za-z0-9+/]+={0,2})",
    re.IGNORECASE,
)
# What nh3 writes: lower case, quoted values, and no angle bracket anywhere else.
_WRITTEN_TAG: Final = re.compile(r'<(/?)([a-z0-9]+)((?: [^\s"<>=]+="[^"<>]*")*)>')
_WRITTEN_ATTRIBUTE: Final = re.compile(r' ([^\s"<>=]+)="([^"<>]*)"')
_LINK: Final = re.compile(r"(?:https?://|mailto:|tel:)[^\s]+", re.IGNORECASE)
_PIXELS: Final = re.compile(r"\s*([0-9]{1,4})(?:px|(%))?\s*")
_SPACES: Final = re.compile(r"[\x00-\x20]+")

_TAGS: Final = frozenset(
    (
        *("a", "abbr", "address", "article", "aside", "b", "bdi", "bdo", "big", "br"),
        *("blockquote", "caption", "center", "cite", "code", "col", "colgroup", "dd"),
        *("del", "details", "dfn", "dir", "div", "dl", "dt", "em", "figcaption"),
        *("figure", "font", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header"),
        *("hr", "i", "img", "ins", "kbd", "li", "main", "mark", "nav", "ol", "p"),
        *("pre", "q", "rp", "rt", "ruby", "s", "samp", "section", "small", "span"),
        *("strike", "strong", "sub", "summary", "sup", "table", "tbody", "td"),
        *("tfoot", "th", "thead", "time", "tr", "tt", "u", "ul", "var", "wbr"),
    )
)
_EMPTY_TAGS: Final = frozenset({"br", "col", "hr", "img", "wbr"})
# Elements whose content is no text of the message. Of all others the text stays.
_SILENT_TAGS: Final = frozenset(
    (
        *("applet", "audio", "canvas", "embed", "frame", "frameset", "iframe"),
        *("math", "noembed", "noframes", "noscript", "object", "portal", "script"),
        *("select", "svg", "template", "textarea", "title", "video", "xmp"),
    )
)
_ATTRIBUTES: Final = frozenset(
    (
        *("align", "alt", "bgcolor", "border", "bordercolor", "cellpadding", "class"),
        *("cellspacing", "clear", "color", "cols", "colspan", "compact", "dir", "face"),
        *("height", "hspace", "id", "lang", "noshade", "nowrap", "role", "rowspan"),
        *("scope", "size", "span", "start", "style", "summary", "title", "type"),
        *("valign", "value", "vspace", "width", "aria-hidden", "aria-label", "open"),
        *("background", "text", "link", "vlink", "alink", "datetime"),
    )
)

# What is told to have been left out, and how it is found. Nothing depends on it: a tag
# in a comment is counted too.
_LEFT_OUT: Final = (
    ("scripts", re.compile(r"<script(?=[\s/>])", re.IGNORECASE)),
    ("event handlers", re.compile(r"[\s/\"']on[a-z]{3,30}\s{0,8}=", re.IGNORECASE)),
    ("frames", re.compile(r"<(?:iframe|frame|portal)(?=[\s/>])", re.IGNORECASE)),
    ("plug-ins", re.compile(r"<(?:object|embed|applet)(?=[\s/>])", re.IGNORECASE)),
    ("forms", re.compile(r"<form(?=[\s/>])", re.IGNORECASE)),
    ("fields and buttons", re.compile(r"<(?:input|button|select|textarea)(?=[\s/>])",
                                      re.IGNORECASE)),
    ("drawings", re.compile(r"<(?:svg|math)(?=[\s/>])", re.IGNORECASE)),
    ("videos and sounds", re.compile(r"<(?:video|audio|bgsound)(?=[\s/>])",
                                     re.IGNORECASE)),
    ("style sheets from elsewhere", re.compile(r"<link(?=[\s/>])|@import\b",
                                               re.IGNORECASE)),
    ("redirections", re.compile(r"http-equiv\s{0,8}=\s{0,8}[\"']?refresh",
                                re.IGNORECASE)),
    ("base addresses", re.compile(r"<base(?=[\s/>])", re.IGNORECASE)),
)  # fmt: skip

_FIRST = nh3.Cleaner(
    tags={*_TAGS, "style"},
    clean_content_tags=set(_SILENT_TAGS),
    attributes={
        "*": set(_ATTRIBUTES),
        "a": {"href", "name"},
        "img": {"src", "srcset"},
    },
    # All of these are looked at one by one afterwards.
    url_schemes={"http", "https", "mailto", "tel", "cid", "data", "javascript", "file"},
    link_rel=None,
)
_LAST = nh3.Cleaner(
    tags=set(_TAGS),
    clean_content_tags={*_SILENT_TAGS, "style"},
    attributes={
        "*": set(_ATTRIBUTES),
        "a": {"href", "name", "target"},
        "img": {"src"},
        "span": {"data-blocked"},
    },
    url_schemes={"http", "https", "mailto", "tel", "data"},
    link_rel="noopener noreferrer",
)


@dataclass(frozen=True, slots=True)
class Removed:
    """What was left out of a message.

    Attributes:
        what: in the plural, such as ``scripts``.
        count: how many.
        where: the hosts that they would have come from, the first ones.
    """

    what: str
    count: int
    where: tuple[str, ...] = ()

    def as_json(self) -> dict[str, str | int | list[str]]:
        """Return it as the API tells it."""
        return {"what": self.what, "count": self.count, "where": list(self.where)}


@dataclass(frozen=True, slots=True)
class CleanHtml:
    """HTML that loads nothing and does nothing.

    Attributes:
        html: what stands in the body.
        css: the style sheets, joined.
        body: the attributes of the body element, written.
        removed: what was left out.
    """

    html: str
    css: str = ""
    body: str = ""
    removed: tuple[Removed, ...] = ()


@dataclass(slots=True)
class _Report:
    """Counts what is left out."""

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, dict[str, None]] = field(default_factory=dict)

    def add(self, what: str, place: str = "", count: int = 1) -> None:
        self.counts[what] += count
        places = self.places.setdefault(what, {})
        if place and len(places) < _MAX_PLACES:
            places[place[:255]] = None

    def as_tuple(self) -> tuple[Removed, ...]:
        return tuple(
            Removed(what, count, tuple(self.places.get(what, ())))
            for what, count in self.counts.items()
        )


def clean_html(text: str, images: Mapping[str, str]) -> CleanHtml:
    """Make HTML harmless. It never raises.

    Args:
        text: what the message has; may be anything.
        images: ``data:`` URLs of the images that come with the message, by their
            content id.

    Returns:
        The HTML, and what was left out.
    """
    report = _Report()
    cleaner = _Cleaner(images, report)
    text = cleaner.take_data_images(text)
    text = _cut(text, report)
    for what, pattern in _LEFT_OUT:
        count = sum(1 for _ in pattern.finditer(text))
        if count:
            report.add(what, count=count)
    body = cleaner.rewrite(_FIRST.clean(_body_tag(text)))
    written = cleaner.rewrite(_FIRST.clean(text))
    return CleanHtml(
        _LAST.clean(written),
        "\n".join(cleaner.styles),
        _body_attributes(_LAST.clean(body)),
        report.as_tuple(),
    )


def _cut(text: str, report: _Report) -> str:
    """Cut off what is over the limits."""
    end = len(text)
    if end > MAX_HTML_CHARACTERS:
        end = MAX_HTML_CHARACTERS
        report.add(f"the rest, after {MAX_HTML_CHARACTERS:,} characters")
    starts = ends = formatting = 0
    for match in _TAG.finditer(text, 0, end):
        is_end = match[1] is not None
        ends += is_end
        starts += not is_end
        formatting += match[2] is not None
        if max(starts, ends) > MAX_TAGS or formatting > MAX_FORMATTING_TAGS:
            report.add("the rest, after too many tags")
            return text[: match.start()]
    return text[:end]


def _body_tag(text: str) -> str:
    """Return the body element's tag as that of an element that a body can hold."""
    match = _BODY.search(text)
    if match is None:
        return ""
    end = text.find(">", match.end(), match.end() + _MAX_BODY_TAG_CHARACTERS)
    return "" if end < 0 else f"<div{text[match.end() : end]}></div>"


def _body_attributes(written: str) -> str:
    match = _WRITTEN_TAG.match(written)
    return "" if match is None else match[3]


class _Cleaner:
    """Rewrites what nh3 wrote, tag by tag.

    Attributes:
        styles: the style sheets that were found.
    """

    def __init__(self, images: Mapping[str, str], report: _Report) -> None:
        self.styles: list[str] = []
        self._images = dict(images)
        self._report = report
        self._room = MAX_INLINE_CHARACTERS

    def take_data_images(self, text: str) -> str:
        """Replace images by names for them: they are most of the text, and no HTML."""

        def name(match: re.Match[str]) -> str:
            content_id = f"data-image-{len(self._images)}"
            self._images[content_id] = match[0]
            return f"cid:{content_id}"

        return _DATA_IMAGE.sub(name, text)

    def rewrite(self, written: str) -> str:
        """Rewrite all tags, and take the style sheets out."""
        return "".join(self._pieces(written))

    def _pieces(self, written: str) -> Iterator[str]:
        position = 0
        while match := _WRITTEN_TAG.search(written, position):
            yield _as_text(written[position : match.start()])
            position = match.end()
            is_end, name, attributes = bool(match[1]), match[2], match[3]
            if name == "style":
                if not is_end:
                    end = written.find("</style>", position)
                    end = len(written) if end < 0 else end
                    css = clean_css(written[position:end], self._resolve)
                    self.styles.append(css)
                    position = end
            elif is_end:
                yield f"</{name}>"
            else:
                found = dict(_WRITTEN_ATTRIBUTE.findall(attributes))
                values = {key: html.unescape(value) for key, value in found.items()}
                yield self._tag(name, values)
        yield _as_text(written[position:])

    def _tag(self, name: str, attributes: dict[str, str]) -> str:
        if name == "img":
            return self._image(attributes)
        for key, clean in self._rules.items():
            if key in attributes:
                value = clean(self, attributes[key])
                if value is None:
                    del attributes[key]
                else:
                    attributes[key] = value
        if attributes.get("href", "#")[0] != "#":
            attributes["target"] = "_blank"
        return _write(name, attributes)

    def _image(self, attributes: dict[str, str]) -> str:
        """Put an image in; or in its place a box of its size, with its text."""
        source = attributes.pop("src", "")
        if attributes.pop("srcset", "") and not source:
            self._report.add("images")
        sides = {attributes.get("width"), attributes.get("height")}
        is_pixel = bool(sides) and sides <= {"0", "1"}
        url = self._resolve(source, "tracking pixels" if is_pixel else "images")
        style = clean_css(attributes.pop("style", ""), self._resolve)
        if url is not None:
            return _write("img", {**attributes, "style": style, "src": url})
        if is_pixel:
            return ""
        for side in ("width", "height"):
            match = _PIXELS.fullmatch(attributes.get(side, ""))
            if match is not None:
                style = f"{side}:{match[1]}{match[2] or 'px'};{style}"
        text = html.escape(attributes.get("alt", ""))
        box = {"class": attributes.get("class", ""), "data-blocked": "", "style": style}
        return f"{_write('span', box)}{text}</span>"

    def _resolve(self, url: str, what: str = "images") -> str | None:
        """Return the ``data:`` URL for an image, None if it is not at hand."""
        url = url.strip()
        scheme, _, rest = url.partition(":")
        if scheme.lower() == "cid":
            found = self._images.get(rest) or self._images.get(unquote(rest))
            if found is None:
                self._report.add("images that the message does not have")
            elif len(found) > self._room:
                self._report.add("images over the limit of the page")
            else:
                self._room -= len(found)
                return found
        elif url:
            self._report.add(what, _host(url))
        return None

    def _link(self, url: str) -> str | None:
        url = url.strip()
        if url.startswith("#") and not _SPACES.search(url):
            return url
        if _LINK.fullmatch(url):
            return url
        # Relative ones would lead into this program's own pages.
        self._report.add("links that lead nowhere or run a script")
        return None

    def _style(self, text: str) -> str | None:
        return clean_css(text, self._resolve) or None

    _rules: Final[dict[str, Callable[[_Cleaner, str], str | None]]] = {
        "href": _link,
        "style": _style,
        "background": _resolve,
    }


def _write(name: str, attributes: Mapping[str, str]) -> str:
    written = "".join(
        f' {key}="{html.escape(value)}"'
        for key, value in attributes.items()
        if value or key in {"alt", "data-blocked"}
    )
    return f"<{name}{written}>"


def _as_text(written: str) -> str:
    """Make sure that what was not read as a tag is none."""
    return written.replace("<", "&lt;")


def _host(url: str) -> str:
    """Return the host of an URL, empty if it has none."""
    try:
        return urlsplit(_SPACES.sub("", url)).hostname or ""
    except ValueError:
        return ""

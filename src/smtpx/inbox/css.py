r"""Style sheets of strangers, made harmless.

Theory of operation. A style sheet is cut into the tokens of CSS by one regular
expression, and written again token by token; nothing is parsed further, because a
browser throws away what it does not understand. So an at-rule that is not wanted gets
a name that no browser knows, a function likewise, and an URL becomes what a callback
makes of it. Escapes are undone before names are compared, since ``\75rl(`` is an URL
too, and no ``<`` is written that could end a style element.

>>> clean_css(r"@import 'http://x'; p{color:red;background:\75rl(http://x)}",
...           lambda url: None)
"@removed 'http://x'; p{color:red;background:none }"
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["clean_css"]

# The tokens of CSS Syntax Level 3 as far as they matter: what looks like none of the
# others is a single character. Nothing has to follow a repetition, so none is tried
# again in another way, and the time is linear.
_ESCAPE: Final = r"\\[0-9a-fA-F]{1,6}[ \t\r\n\f]?|\\[^\r\n\f0-9a-fA-F]"
_NAME: Final = rf"(?:[-\w\x80-\U0010ffff]|{_ESCAPE})+"
_TOKEN: Final = re.compile(
    rf"""
      (?P<comment> /\*.*?(?:\*/|\Z) )
    | (?P<string> "(?:[^"\\\r\n\f]|\\.)*"? | '(?:[^'\\\r\n\f]|\\.)*'? )
    | (?P<at> @{_NAME} )
    | (?P<name> {_NAME}\(? )
    | (?P<space> [ \t\r\n\f]+ )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
# What stands between the brackets of url(...) without quotes.
_BARE_URL: Final = re.compile(rf"[ \t\r\n\f]*((?:[^\"'()\\\s]|{_ESCAPE})*)\s*\)?")
_QUOTED_URL: Final = re.compile(
    r"""[ \t\r\n\f]*("(?:[^"\\\r\n\f]|\\.)*"?|'(?:[^'\\\r\n\f]|\\.)*'?)[^)]*\)?""",
    re.DOTALL,
)
_ANY_ESCAPE: Final = re.compile(
    r"\\(?:([0-9a-fA-F]{1,6})[ \t\r\n\f]?|(\r\n|.))", re.DOTALL
)
_UNSAFE_IN_NAME: Final = re.compile(r"[^-\w\x80-\U0010ffff]", re.ASCII)
_UNSAFE_IN_STRING: Final = re.compile(r"[<>\\\"'\x00-\x1f\x7f]")

# At-rules that load nothing. The rest (import, font-face, namespace, charset, document,
# property, layer ...) loads, or changes what other rules mean.
_AT_RULES: Final = frozenset(
    {"@media", "@supports", "@keyframes", "@-webkit-keyframes", "@-ms-viewport"}
)
# Functions that load nothing. Outside of this list are src(), image(), image-set(),
# cross-fade(), element(), attr(), expression(), and those still to be invented.
_FUNCTIONS: Final = frozenset(
    (
        *("rgb", "rgba", "hsl", "hsla", "hwb", "lab", "lch", "oklab", "oklch"),
        *("calc", "min", "max", "clamp", "var", "color-mix", "light-dark"),
        *("linear-gradient", "radial-gradient", "conic-gradient"),
        *("repeating-linear-gradient", "repeating-radial-gradient"),
        *("-webkit-linear-gradient", "-webkit-gradient", "color-stop", "from", "to"),
        *("not", "is", "where", "nth-child", "nth-last-child", "nth-of-type", "lang"),
        *("translate", "translatex", "translatey", "rotate", "scale", "scalex"),
        *("scaley", "skew", "matrix", "cubic-bezier", "steps", "rect", "inset"),
        *("blur", "brightness", "contrast", "grayscale", "invert", "opacity"),
        *("saturate", "sepia", "drop-shadow", "minmax", "repeat", "fit-content", "and"),
    )
)


def clean_css(text: str, resolve: Callable[[str], str | None]) -> str:
    r"""Make a style sheet, or the value of a style attribute, harmless.

    Args:
        text: the style sheet; may be anything.
        resolve: gets each URL, and returns the one to write in its place; None for
            none.

    Returns:
        The style sheet, without comments, and without ``</`` anywhere.

    >>> clean_css("a{b:expression(x)} /* c */ d::after{content:'</style>'}",
    ...           lambda url: None)
    "a{b:removed(x)}   d::after{content:'\\3c /style\\3e '}"
    """
    text = text.replace("\0", "\ufffd")  # as browsers do (CSS Syntax section 3.3)
    out: list[str] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        # Every character is a token, if nothing else.
        assert match is not None  # noqa: S101
        position = match.end()
        kind, token = match.lastgroup, match[0]
        if kind == "name" and token[-1] == "(":
            name = _unescape(token[:-1]).lower()
            if name in {"url", "url-prefix", "src"}:
                url, position = _take_url(text, position)
                resolved = resolve(url)
                out.append("none " if resolved is None else f'url("{resolved}")')
            else:
                out.append(f"{name if name in _FUNCTIONS else 'removed'}(")
        else:
            out.append(_REWRITE[kind or "other"](token))
    return "".join(out)


def _take_url(text: str, position: int) -> tuple[str, int]:
    """Take what stands in ``url(...)``, and return where it ends."""
    match = _QUOTED_URL.match(text, position)
    if match is not None:
        return _unescape(_unquote(match[1])), match.end()
    match = _BARE_URL.match(text, position)
    # The expression matches nothing at all, too.
    assert match is not None  # noqa: S101
    return _unescape(match[1]), match.end()


def _unquote(token: str) -> str:
    quote = token[0]
    return token[1:-1] if len(token) > 1 and token[-1] == quote else token[1:]


def _unescape(text: str) -> str:
    r"""Undo escapes.

    >>> _unescape(r"\75 r\6c"), _unescape(r"\0 \110000 ")
    ('url', '\ufffd\ufffd')
    """
    return _ANY_ESCAPE.sub(_character, text) if "\\" in text else text


def _character(match: re.Match[str]) -> str:
    if match[1] is None:
        # An escaped line end goes on with the string in the next line.
        return "" if match[2] in {"\r\n", "\n", "\r", "\f"} else match[2]
    number = int(match[1], 16)
    is_character = 0 < number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF
    return chr(number) if is_character else "\ufffd"


def _escape(match: re.Match[str]) -> str:
    return f"\\{ord(match[0]):x} "


def _write_name(token: str) -> str:
    return _UNSAFE_IN_NAME.sub(_escape, _unescape(token))


def _write_at(token: str) -> str:
    name = "@" + _unescape(token[1:]).lower()
    return name if name in _AT_RULES else "@removed"


def _write_string(token: str) -> str:
    text = _UNSAFE_IN_STRING.sub(_escape, _unescape(_unquote(token)))
    return f"{token[0]}{text}{token[0]}"


def _write_other(piece: str) -> str:
    # As in (width < 600px); the space keeps it from beginning a tag.
    return "< " if piece == "<" else " " if piece == "\\" else piece


_REWRITE: Final[dict[str, Callable[[str], str]]] = {
    # A space: what stood apart must not become one name, as in url/**/(x).
    "comment": lambda _: " ",
    "string": _write_string,
    "at": _write_at,
    "name": _write_name,
    "space": lambda token: token,
    "other": _write_other,
}

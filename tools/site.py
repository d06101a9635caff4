"""Check the documentation site that was built: it is whole, and needs no other host.

    python tools/site.py build/site

It fails if a page would load something from another host, which would tell that host
who reads and would not work offline, or if the inventory lacks a public name.
"""

from __future__ import annotations

import re
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import smtpx

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# What a browser fetches by itself; `a` and `form` wait for the reader.
_LOADS = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "image": ("href", "xlink:href"),
    "img": ("src", "srcset"),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "track": ("src",),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}
_FOREIGN = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_CSS = re.compile(
    r"(?:url\(|@import\s(?!\s*url))\s*[\"']?\s*([^\"')\s]+)", re.IGNORECASE
)
# A canonical address and the like name a place and load nothing.
_NAMES_ONLY = {"author", "canonical", "license", "next", "prev", "search"}


class _Loads(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._is_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._is_style = tag == "style"
        if set(values.get("rel", "").split()) & _NAMES_ONLY:
            return
        self.found += [values[name] for name in _LOADS.get(tag, ()) if name in values]
        self.found += _CSS.findall(values.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self._is_style:
            self.found += _CSS.findall(data)


def foreign_loads(text: str, *, is_css: bool = False) -> list[str]:
    """List what a page or a style sheet loads from other hosts.

    Args:
        text: of the file.
        is_css: it is a style sheet.

    >>> foreign_loads('<script src="//cdn.example/x.js"></script><img src="a.png">')
    ['//cdn.example/x.js']
    >>> foreign_loads('<a href="https://example.com/">a link loads nothing</a>')
    []
    """
    if is_css:
        found = _CSS.findall(text)
    else:
        parser = _Loads()
        parser.feed(text)
        found = parser.found
    return [each for each in found if _FOREIGN.match(each)]


def inventory_names(inventory: bytes) -> set[str]:
    """Read the names of all objects from ``objects.inv``.

    Args:
        inventory: four lines of text, and the rest compressed.
    """
    text = zlib.decompress(inventory.split(b"\n", 4)[4]).decode()
    return {line.split(" ", 1)[0] for line in text.splitlines() if " py:" in line}


def find_mistakes(site: Path) -> Iterator[str]:
    """Say what is wrong with a site."""
    for path in sorted(site.rglob("*")):
        if path.suffix in {".html", ".css"}:
            text = path.read_text(encoding="utf-8")
            for load in foreign_loads(text, is_css=path.suffix == ".css"):
                yield f"{path.relative_to(site)} loads {load} from another host"
    documented = inventory_names((site / "objects.inv").read_bytes())
    for name in smtpx.__all__:
        if not name.startswith("_") and f"smtpx.{name}" not in documented:
            yield f"smtpx.{name} is on no page below docs/reference/api"


def main(arguments: Sequence[str]) -> int:
    """Run as the module's docstring says."""
    mistakes = list(find_mistakes(Path(arguments[0])))
    sys.stderr.writelines(f"{mistake}\n" for mistake in mistakes)
    return 1 if mistakes else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Take the figures of docs/explanation/performance.md again, tables and pictures.

Runs the comparisons on each Python that is named, and puts what they print between the
marks that the page has for it. The pictures are those of the first Python, so name the
newest first. ``python -m benchmarks pages python3.13 python3.11``; for the servers
alone, in under six minutes for two Pythons, add ``--parts servers``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import note
from benchmarks.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = ROOT / "docs/explanation/performance.md"
IMAGES = ROOT / "docs/images"


@dataclass(frozen=True)
class Part:
    """Figures of the page.

    Attributes:
        arguments: of the program that takes them.
        picture: its name; empty: none.
        is_first_only: whether they are of the first Python alone.
    """

    arguments: tuple[str, ...]
    picture: str = ""
    is_first_only: bool = False


PARTS = {
    "servers": Part(
        ("server", "--shapes", "all", "--quick", "--rounds", "5"), "server-speed.svg"
    ),
    "clients": Part(
        ("client", "--shapes", "all", "--quick", "--rounds", "5"), "client-speed.svg"
    ),
    "tls": Part(("tls", "--quick", "--rounds", "7"), is_first_only=True),
}


def marks(name: str) -> tuple[str, str]:
    """Return the lines that stand around a table, which no reader sees."""
    return f"<!-- figures: {name} -->", f"<!-- end of figures: {name} -->"


def put(page: str, name: str, text: str) -> str:
    r"""Put text between its marks.

    Raises:
        ValueError: the page has none.

    >>> put("a <!-- figures: x -->old<!-- end of figures: x --> b", "x", "new")
    'a <!-- figures: x -->\n\nnew\n\n<!-- end of figures: x --> b'
    """
    begin, end = marks(name)
    before, found, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise ValueError(f"the page has no marks {begin} and {end}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def take(part: Part, python: str, directory: Path) -> Path:
    """Take figures on one Python; return what the files begin with."""
    prefix = directory / "figures"
    command = [python, "-m", "benchmarks", *part.arguments, "--to", str(prefix)]
    note(" ".join(command[2:-2]))
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return prefix


def version(python: str) -> str:
    """Ask an interpreter: ``3.13``."""
    code = "import sys; print(*sys.version_info[:2], sep='.')"
    done = subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pythons", nargs="+", help="interpreters, the newest first")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--keep", type=Path, help="where to keep the JSON")
    options = parser.parse_args(arguments)
    for name in options.parts:
        part = PARTS[name]
        pythons = options.pythons[:1] if part.is_first_only else options.pythons
        for number, python in enumerate(pythons):
            with tempfile.TemporaryDirectory() as directory:
                prefix = take(part, python, Path(directory))
                table = prefix.with_suffix(".md").read_text("utf-8").strip()
                picture = prefix.with_suffix(".svg").read_text("utf-8")
                data = json.loads(prefix.with_suffix(".json").read_text("utf-8"))
            mark = name if part.is_first_only else f"{name}, {version(python)}"
            page = put(PAGE.read_text("utf-8"), mark, table)
            PAGE.write_text(page, "utf-8")
            if part.picture and not number:
                (IMAGES / part.picture).write_text(picture, "utf-8")
            if options.keep is not None:
                options.keep.mkdir(parents=True, exist_ok=True)
                path = options.keep / f"{mark.replace(', ', '-')}.json"
                path.write_text(json.dumps(data, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

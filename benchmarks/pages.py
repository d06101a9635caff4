"""Take the figures of docs/explanation/performance.md again, tables and pictures.

Runs the comparisons on each Python that is named, and puts what they print between the
marks that the page has for it. The pictures are those of the first Python, so name the
newest first. ``python -m benchmarks pages python3.13 python3.11``; for the servers
alone, in under six minutes for two Pythons, add ``--parts servers``; for figures that
vary less, ``--rounds 7``.
"""

from __future__ import annotations

import argparse
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
        pictures: of the usual loads, and of the others: names and what they show.
        is_first_only: whether they are of the first Python alone.
    """

    arguments: tuple[str, ...]
    pictures: tuple[tuple[str, str], ...] = ()
    is_first_only: bool = False


PARTS = {
    "servers": Part(
        ("server", "--shapes", "all", "--quick"),
        (
            ("server-speed.svg", ""),
            ("server-kinds.svg", "CPU a message of the servers, other kinds of load"),
        ),
    ),
    "clients": Part(
        ("client", "--shapes", "all", "--quick"),
        (
            ("client-speed.svg", ""),
            ("client-kinds.svg", "CPU a message of the clients, other kinds of load"),
        ),
    ),
    "tls": Part(("tls", "--quick"), is_first_only=True),
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


def take(part: Part, python: str, rounds: int, prefix: Path) -> None:
    """Take figures on one Python, into files that begin with `prefix`."""
    command = [python, "-m", "benchmarks", *part.arguments, "--rounds", str(rounds)]
    note(" ".join(command[2:]))
    command += ["--to", str(prefix)]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def draw(part: Part, prefix: Path) -> str:
    """Take over the pictures; return what shows those that have no place yet."""
    shown = ""
    for (name, title), suffix in zip(part.pictures, (".svg", "-more.svg"), strict=True):
        picture = prefix.with_name(prefix.name + suffix)
        if picture.exists():
            (IMAGES / name).write_bytes(picture.read_bytes())
            shown += f"\n\n![{title}](../images/{name})" if title else ""
    return shown


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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="a directory to keep the JSON in")
    options = parser.parse_args(arguments)
    for name in options.parts:
        part = PARTS[name]
        pythons = options.pythons[:1] if part.is_first_only else options.pythons
        for number, python in enumerate(pythons):
            mark = name if part.is_first_only else f"{name}, {version(python)}"
            with tempfile.TemporaryDirectory() as directory:
                prefix = Path(directory) / mark.replace(", ", "-")
                take(part, python, options.rounds, prefix)
                text = Path(f"{prefix}.md").read_text("utf-8").strip()
                if part.pictures and not number:
                    text += draw(part, prefix)
                if options.keep is not None:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    found = Path(f"{prefix}.json")
                    (options.keep / found.name).write_bytes(found.read_bytes())
            PAGE.write_text(put(PAGE.read_text("utf-8"), mark, text), "utf-8")


if __name__ == "__main__":
    main()

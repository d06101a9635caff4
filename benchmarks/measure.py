"""What the benchmark programs share: interleaved rounds, medians, tables."""

from __future__ import annotations

import platform
import statistics
import sys
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def interleave(
    candidates: Mapping[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
    """Run every candidate once a round, in turn, and keep each figure.

    Every other round goes backwards, so no candidate always follows the same
    neighbour.
    """
    figures: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds):
        names = list(candidates)
        for name in reversed(names) if number % 2 else names:
            figures[name].append(candidates[name]())
    return figures


def medians(figures: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the median of each candidate's figures; those with none are left out."""
    return {name: statistics.median(some) for name, some in figures.items() if some}


def markdown_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, aligned_left: int = 1
) -> str:
    """Lay out a Markdown table whose source is readable too.

    Args:
        headings: one for each column.
        rows: the cells, as text.
        aligned_left: so many columns are text; the others are numbers.
    """
    widths = [
        max(len(row[column]) for row in (headings, *rows))
        for column in range(len(headings))
    ]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if column < aligned_left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join(padded) + " |"

    rules = (
        "-" * width if column < aligned_left else "-" * (width - 1) + ":"
        for column, width in enumerate(widths)
    )
    return "\n".join([line(headings), line(list(rules)), *map(line, rows)])


def version_of(distribution: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def describe_python() -> str:
    """Name the interpreter: ``CPython 3.13.0``."""
    return f"{platform.python_implementation()} {platform.python_version()}"


def note(text: str) -> None:
    """Tell the person watching; the results alone go to standard output."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def say(text: str) -> None:
    """Write a result."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()

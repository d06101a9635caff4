"""Pictures of figures, as SVG that a page can show in light and in dark.

Three kinds: bars, a group for each load and a bar for each candidate; lines over a
logarithmic axis, which are straight when cost grows with what it is drawn over; and
panels, one above the other, that show what became of several things in the same time.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# Colour-blind safe, and told apart in grey too (Okabe and Ito, 2008).
COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
# smtpx is drawn in the first colour, its peers in greys that recede.
GREYS: Final = ("#8a8f98", "#b4b8bf", "#cfd2d6", "#6a6f78")

_NOTE_CHARACTERS: Final = 120

STYLE: Final = """\
text{font:13px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#24292f}
.title{font-size:16px;font-weight:600}.small{font-size:11px;fill:#57606a}
.grid{stroke:#d0d7de;stroke-width:1}.line{fill:none;stroke-width:2}
.guide{fill:none;stroke-width:7;stroke-opacity:.35;stroke-linecap:round}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}
.grid{stroke:#3d444d}}"""


@dataclass
class Canvas:
    """Elements of a picture, in pixels from its upper left corner."""

    width: int
    height: int

    def __post_init__(self) -> None:
        self._elements: list[str] = []

    def text(
        self, x: float, y: float, text: str, *, anchor: str = "start", kind: str = ""
    ) -> None:
        """Write a line of text."""
        self._elements.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">'
            f"{escape(text)}</text>"
        )

    def bar(self, x: float, y: float, size: tuple[float, float], colour: str) -> None:
        """Fill a rectangle of a width and a height."""
        width, height = size
        self._elements.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
            f' rx="2" fill="{colour}"/>'
        )

    def grid(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draw a line to read values by."""
        (x1, y1), (x2, y2) = start, end
        self._elements.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
            ' class="grid"/>'
        )

    def line(self, points: Sequence[tuple[float, float]], colour: str) -> None:
        """Join points, and mark each."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._elements.append(
            f'<polyline points="{path}" class="line" stroke="{colour}"/>'
        )
        self._elements += (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
            for x, y in points
        )

    def trace(self, points: Sequence[tuple[float, float]], colour: str) -> None:
        """Join many points, without a mark on each."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._elements.append(
            f'<polyline points="{path}" class="line" stroke="{colour}"/>'
        )

    def guide(self, points: Sequence[tuple[float, float]]) -> None:
        """Draw what lines are compared with, behind them."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._elements.append(
            f'<polyline points="{path}" class="guide" stroke="{GREYS[0]}"/>'
        )

    def svg(self, title: str) -> str:
        """Return the picture; `title` is what is read out instead of it."""
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}"'
                f' height="{self.height}" viewBox="0 0 {self.width} {self.height}"'
                f' role="img" aria-label="{escape(title, quote=True)}">',
                f"<style>{STYLE}</style>",
                *self._elements,
                "</svg>\n",
            ]
        )


def draw_bars(
    title: str, groups: Mapping[str, Mapping[str, float]], *, ours: str, note: str
) -> str:
    """Draw a group of bars for each load, as long as their ratio to the first one.

    Args:
        title: stands above.
        groups: figures by candidate, by load; the first candidate of each is 1.
        ours: how the names of candidates begin that are drawn in colour.
        note: stands below, in small print.

    Returns:
        An SVG document.
    """
    left, width, bar, gap = 190, 820, 15, 22
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    notes = textwrap.wrap(note, _NOTE_CHARACTERS)
    bars = sum(map(len, groups.values()))
    height = 70 + bars * (bar + 3) + len(groups) * gap + 16 * len(notes)
    canvas = Canvas(width, height)
    canvas.text(16, 28, title, kind="title")
    colours = dict(zip((n for n in names if n.startswith(ours)), COLOURS, strict=False))
    greys = iter(GREYS * len(names))
    colours |= {name: next(greys) for name in names if name not in colours}
    ratios = [
        value / next(iter(group.values()))
        for group in groups.values()
        for value in group.values()
    ]
    scale = (width - left - 180) / max(ratios)
    y = 52.0
    for load, group in groups.items():
        canvas.text(16, y + 12, load)
        base = next(iter(group.values()))
        for name, value in group.items():
            length = max(1.5, value / base * scale)
            canvas.bar(left, y, (length, bar), colours[name])
            label = f"{name}  {value:,.0f} \u00b5s ({value / base:.2f})"
            canvas.text(left + length + 6, y + 12, label, kind="small")
            y += bar + 3
        y += gap
    for line in notes:
        canvas.text(16, y + 4, line, kind="small")
        y += 16
    return canvas.svg(title)


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis.

    Attributes:
        low, high: the values at its ends.
        start, end: where they are, in pixels.
    """

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Return where a value is drawn."""
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return the powers of ten that it passes."""
        first, last = math.log10(self.low), math.log10(self.high)
        return [10.0**n for n in range(math.ceil(first), math.floor(last) + 1)]


def draw_lines(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    units: tuple[str, str],
    guide: tuple[str, Callable[[float], float]] | None = None,
) -> str:
    """Draw lines, both axes logarithmic.

    Args:
        title: stands above.
        series: points by name, each above zero.
        units: what is drawn to the right, and what upwards.
        guide: what the points should be on, and its name, which stands above.

    Returns:
        An SVG document.
    """
    width, height = 820, 420
    canvas = Canvas(width, height)
    canvas.text(16, 28, title, kind="title")
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    across = Axis(min(xs), max(xs) * 1.0001, 80, width - 200)
    upward = Axis(_floor(min(ys)), _ceiling(max(ys)), height - 60, 56)
    for tick in across.ticks():
        x = across.place(tick)
        canvas.grid((x, upward.start), (x, upward.end))
        canvas.text(x, upward.start + 18, short(tick), anchor="middle", kind="small")
    for tick in upward.ticks():
        y = upward.place(tick)
        canvas.grid((across.start, y), (across.end, y))
        canvas.text(across.start - 8, y + 4, short(tick), anchor="end", kind="small")
    if guide is not None:
        name, follow = guide
        ends = math.log(min(xs)), math.log(max(xs))
        steps = (ends[0] + (ends[1] - ends[0]) * n / 80 for n in range(81))
        curve = [(x, follow(x)) for x in map(math.exp, steps)]
        shown = [(x, y) for x, y in curve if upward.low <= y <= upward.high]
        canvas.guide([(across.place(x), upward.place(y)) for x, y in shown])
        canvas.text(across.end, 48, name, anchor="end", kind="small")
    for (name, points), colour in zip(
        series.items(), COLOURS * len(series), strict=False
    ):
        placed = [(across.place(x), upward.place(y)) for x, y in points]
        canvas.line(placed, colour)
        x, y = placed[-1]
        canvas.text(x + 8, y + 4, name, kind="small")
    canvas.text(across.end, height - 16, units[0], anchor="end", kind="small")
    canvas.text(16, 48, units[1], kind="small")
    return canvas.svg(title)


def draw_panels(
    title: str,
    times: Sequence[float],
    panels: Mapping[str, Sequence[float]],
    *,
    unit: str,
) -> str:
    """Draw values over time, each in a panel of its own whose axis begins at zero.

    Args:
        title: stands above.
        times: when each value was taken, from zero on.
        panels: the values by what they are.
        unit: of the times.

    Returns:
        An SVG document.
    """
    width, left, panel, gap = 820, 80, 64, 34
    height = 66 + len(panels) * (panel + gap)
    right, end = width - 24, max(times) or 1.0
    canvas = Canvas(width, height)
    canvas.text(16, 28, title, kind="title")
    base = 44.0
    for name, values in panels.items():
        base += gap + panel
        top = max(values) or 1
        canvas.text(left, base - panel - 8, name)
        for value in (0.0, top):
            y = base - panel * value / top
            canvas.grid((left, y), (right, y))
            label = f"{value:,.4g}" if value < 10_000 else f"{value:,.0f}"
            canvas.text(left - 8, y + 4, label, anchor="end", kind="small")
        places = [left + (right - left) * time / end for time in times]
        heights = [base - panel * value / top for value in values]
        canvas.trace(list(zip(places, heights, strict=True)), COLOURS[0])
    canvas.text(left, base + 16, "0", anchor="middle", kind="small")
    canvas.text(right, base + 16, f"{end:.0f} {unit}", anchor="end", kind="small")
    return canvas.svg(title)


def short(value: float) -> str:
    """Write a value with a unit prefix: ``10 k``."""
    for limit, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:g}{prefix}"
    return f"{value:g}"


def _floor(value: float) -> float:
    return 10.0 ** math.floor(math.log10(value))


def _ceiling(value: float) -> float:
    return 10.0 ** math.ceil(math.log10(value) + 1e-9)

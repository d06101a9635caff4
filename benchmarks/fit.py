"""How straight a line of figures is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Line:
    """A fixed cost, and one for each unit.

    Attributes:
        fixed: at none.
        unit: for each.
    """

    fixed: float
    unit: float

    def at(self, amount: float) -> float:
        """Return the cost of an amount."""
        return self.fixed + self.unit * amount

    def deviation(self, points: Sequence[tuple[float, float]]) -> float:
        """Return how far the worst point is from the line, as a part of itself."""
        return max(abs(self.at(x) / y - 1) for x, y in points)


def fit_line(points: Sequence[tuple[float, float]]) -> Line:
    """Find the line with the least squares of the relative deviations.

    Each point weighs the same: of amounts from one to a million, absolute deviations
    would leave all but the last out of account.

    >>> fit_line([(1, 12), (10, 30), (100, 210)])
    Line(fixed=10.0, unit=2.0)
    """
    weights = [1 / y**2 for _, y in points]
    total = math.fsum(weights)
    mean_x = math.fsum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
    mean_y = math.fsum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
    spread = math.fsum(
        w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points, strict=True)
    )
    common = math.fsum(
        w * (x - mean_x) * (y - mean_y)
        for w, (x, y) in zip(weights, points, strict=True)
    )
    unit = common / spread
    return Line(round(mean_y - unit * mean_x, 6), round(unit, 9))


def last_exponent(points: Sequence[tuple[float, float]], fixed: float = 0.0) -> float:
    """Return the power of the amount with which cost grows at the end: 1 is straight.

    Args:
        points: amounts and costs.
        fixed: what of each cost does not grow; it is left alone if it is all of one.

    >>> last_exponent([(1, 1), (10, 10), (100, 1000)])
    2.0
    >>> last_exponent([(1, 12), (10, 30), (100, 210)], fixed=10.0)
    1.0
    """
    (x1, y1), (x2, y2) = points[-2:]
    if y1 > fixed and y2 > fixed:
        y1, y2 = y1 - fixed, y2 - fixed
    return round(math.log(y2 / y1) / math.log(x2 / x1), 6)

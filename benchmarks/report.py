"""How a comparison is told: as a table, as data, as a picture."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.drawing import draw_bars
from benchmarks.measure import markdown_table, medians

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass
class Report:
    """Figures of candidates under loads, in CPU microseconds a message.

    Attributes:
        title: of the picture.
        setting: on what it was measured: versions, machine.
        figures: those of each round, by candidate, by load. A candidate that cannot
            take a load is missing there.
        peers: candidates to whose medians the ratios are.
        goals: ratios not to exceed, by load, in the order of `peers`.
        goal_of: which candidate the goals are for.
    """

    title: str
    setting: str
    figures: Mapping[str, Mapping[str, Sequence[float]]]
    peers: tuple[str, ...]
    goals: Mapping[str, Sequence[float]] = field(default_factory=dict)
    goal_of: str = ""

    @property
    def names(self) -> list[str]:
        """All candidates: the peers in their order, then the others as they come."""
        named = dict.fromkeys(n for some in self.figures.values() for n in some)
        first = [peer for peer in self.peers if peer in named]
        return [*first, *(name for name in named if name not in first)]

    def tables(self, columns: int = 5) -> str:
        """Lay out medians, spread and ratios, so many loads side by side."""
        loads = list(self.figures)
        parts = [loads[n : n + columns] for n in range(0, len(loads), columns)]
        return "\n\n".join(map(self._table, parts))

    def _table(self, loads: Sequence[str]) -> str:
        rows = [
            [name, *(self._cell(load, name) for load in loads)]
            for name in self.names
            if any(name in self.figures[load] for load in loads)
        ]
        if any(load in self.goals for load in loads):
            goals = (self.goals.get(load) for load in loads)
            texts = ("-" if one is None else f"<= {ratios(one)}" for one in goals)
            rows.append([f"goal for {self.goal_of}", *texts])
        heading = f"CPU us a message, lowest to highest (to {', '.join(self.peers)})"
        return markdown_table([heading, *loads], rows)

    def _cell(self, load: str, name: str) -> str:
        """Format one figure: ``66, 64-71 (0.83, 0.56, 0.11)``."""
        if name not in self.figures[load]:
            return "n/a"
        some, by_name = self.figures[load][name], medians(self.figures[load])
        found = [
            by_name[name] / by_name[peer] if peer in by_name else None
            for peer in self.peers
        ]
        spread = f"{min(some):,.0f}-{max(some):,.0f}"
        return f"{by_name[name]:,.0f}, {spread} {ratios(found)}"

    def data(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {
            "setting": self.setting,
            "unit": "CPU microseconds a message",
            "rounds": self.figures,
            "medians": {load: medians(some) for load, some in self.figures.items()},
            "spread": {
                load: {name: [min(one), max(one)] for name, one in some.items()}
                for load, some in self.figures.items()
            },
            "peers": self.peers,
            "goals": self.goals,
        }

    def picture(self, loads: Sequence[str] | None = None) -> str:
        """Draw the medians as SVG: of those of these loads that there are, or all."""
        groups = {load: medians(some) for load, some in self.figures.items()}
        drawn = {load: groups[load] for load in loads or () if load in groups}
        return draw_bars(self.title, drawn or groups, ours="smtpx", note=self.setting)

    def write(self, prefix: Path, loads: Sequence[str] | None = None) -> None:
        """Write ``PREFIX.json``, ``PREFIX.md`` and ``PREFIX.svg``.

        The picture is of these loads; those beside them go into ``PREFIX-more.svg``.
        """
        prefix.parent.mkdir(parents=True, exist_ok=True)
        texts = {
            ".json": json.dumps(self.data(), indent=1) + "\n",
            ".md": f"{self.setting}:\n\n{self.tables()}\n",
            ".svg": self.picture(loads),
        }
        others = [load for load in self.figures if load not in (loads or self.figures)]
        if others:
            texts["-more.svg"] = self.picture(others)
        for suffix, text in texts.items():
            prefix.with_name(prefix.name + suffix).write_text(text, "utf-8")


def ratios(some: Sequence[float | None]) -> str:
    """Format ratios; a dash stands for a peer that was not there."""
    texts = ("-" if one is None else f"{one:.2f}" for one in some)
    return f"({', '.join(texts)})"

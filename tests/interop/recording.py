"""What a run found out, written down for the pages that are made of it.

The records are kept beside the tests, so that pages can be made without the servers.
``make interop-pages`` makes a run, and the pages of it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
# Set for a run whose findings are to be kept.
VARIABLE = "SMTPX_INTEROP_RECORD"


class Records:
    """Rows of one page."""

    def __init__(self, name: str) -> None:
        self._path = RESULTS / f"{name}.json"
        self._rows: dict[str, Any] = {}

    def add(self, key: str, value: object) -> None:
        self._rows[key] = value

    def note(
        self, peer: str, version: str, feature: str, word: str, *, why: str = ""
    ) -> None:
        """Note one cell: what became of a feature with a peer, and why if it has a why.

        Args:
            peer: its name.
            version: its version.
            feature: the row.
            word: what stands in the cell.
            why: what stands below the table.
        """
        row = self._rows.setdefault(
            peer, {"version": version, "features": {}, "reasons": {}}
        )
        row["features"][feature] = word
        if why:
            row["reasons"][feature] = why

    def write(self) -> None:
        """Write them down, if asked for; a run of a part adds to the rest."""
        if os.environ.get(VARIABLE) and self._rows:
            RESULTS.mkdir(exist_ok=True)
            kept = json.loads(self._path.read_text()) if self._path.exists() else {}
            for peer, row in self._rows.items():
                former = kept.get(peer, {})
                for name in ("features", "reasons"):
                    if name in row:
                        row[name] = former.get(name, {}) | row[name]
                kept[peer] = row
            text = json.dumps(kept, indent=1, ensure_ascii=False)
            self._path.write_text(text + "\n", encoding="utf-8")

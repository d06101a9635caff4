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

    def write(self) -> None:
        """Write them down if somebody asked for it."""
        if os.environ.get(VARIABLE) and self._rows:
            RESULTS.mkdir(exist_ok=True)
            text = json.dumps(self._rows, indent=1, ensure_ascii=False, sort_keys=True)
            self._path.write_text(text + "\n", encoding="utf-8")

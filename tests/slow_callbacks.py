"""What asyncio says in its debug mode when a machine is busy: no test is about that."""

from __future__ import annotations

import logging
import re

_SLOW = re.compile(
    r"^(\w+:asyncio:|smtpx: )?Executing <.* took [0-9.]+ seconds\n", re.MULTILINE
)


def without_slow_callbacks(output: str) -> str:
    """Leave it out of what a program said."""
    return _SLOW.sub("", output)


def is_worth_reading(record: logging.LogRecord) -> bool:
    """Leave it out of the log, as a filter of asyncio's logger."""
    return record.msg != "Executing %s took %.3f seconds"

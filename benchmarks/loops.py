"""The event loops to measure on."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def new_uvloop() -> asyncio.AbstractEventLoop:
    """Make a uvloop event loop."""
    import uvloop  # noqa: PLC0415 - optional

    return uvloop.new_event_loop()


EVENT_LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop
}
if find_spec("uvloop") is not None:
    EVENT_LOOPS["uvloop"] = new_uvloop

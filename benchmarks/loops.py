"""The event loops to measure on."""

from __future__ import annotations

import asyncio
from functools import partial
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


def new_aiofastnet(base: str) -> asyncio.AbstractEventLoop:
    """Make another event loop, with the sockets and the TLS of aiofastnet."""
    import aiofastnet  # noqa: PLC0415 - optional

    # Not its own factory, which also makes the loop the current one of the thread.
    return aiofastnet.patch_loop(EVENT_LOOPS[base]())


# For benchmarks.tls alone.
TLS_LOOPS = dict(EVENT_LOOPS)
if find_spec("aiofastnet") is not None:
    TLS_LOOPS |= {
        f"aiofastnet on {base}": partial(new_aiofastnet, base) for base in EVENT_LOOPS
    }

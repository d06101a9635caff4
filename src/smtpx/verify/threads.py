"""Where the work on large messages is done: off the event loop, in a few threads."""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["run_off_loop"]

ResultT = TypeVar("ResultT")

# Hashing 256 KiB takes under 1 ms; a trip to a thread some 0.1 ms.
_INLINE_OCTETS: Final = 256 * 1024
# Hashing frees the interpreter; two threads keep what waits bounded all the same.
_THREADS: Final = 2


@functools.cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="smtpx-verify")


async def run_off_loop(function: Callable[[], ResultT], octets: int) -> ResultT:
    """Call a function that computes, in a thread if that is worth it.

    Args:
        function: what to do.
        octets: how many it goes through.

    Returns:
        What the function returns.
    """
    if octets <= _INLINE_OCTETS:
        return function()
    return await asyncio.get_running_loop().run_in_executor(_executor(), function)

"""What a process holds, and whether it holds more and more.

The resident size alone does not tell a leak. After a burst glibc keeps what was freed:
a block that is still used near the end of its heap keeps all of the heap before it, and
each thread that allocates may get a heap of its own. So the size goes up by a step of
some megabytes now and then, and stays. What is in use does not: that is counted here,
to the block, by Python's allocator and by malloc. The resident size is taken after
``malloc_trim``, which gives back what is free.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE: Final = os.sysconf("SC_PAGE_SIZE")
MEBIBYTE: Final = 1024 * 1024


class _Mallinfo2(ctypes.Structure):
    """What malloc tells of itself: ``struct mallinfo2`` of mallinfo(3)."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


class Malloc:
    """The allocator below Python's own: that of OpenSSL, and of all large blocks.

    Raises:
        RuntimeError: it is not glibc's, of 2.33 or later.
    """

    def __init__(self) -> None:
        libc: Any = ctypes.CDLL(None)
        try:
            self._trim = libc.malloc_trim
            self._info = libc.mallinfo2
        except AttributeError:
            raise RuntimeError("this needs Linux with glibc 2.33 or later") from None
        self._info.restype = _Mallinfo2

    def used(self) -> int:
        """Return how many octets are in use, in the heaps and in mappings."""
        info = self._info()
        return int(info.uordblks + info.hblkhd)

    def trim(self) -> None:
        """Give what is free back to the system."""
        self._trim(0)


@dataclass(frozen=True)
class Holdings:
    """What a process holds while nothing is under way.

    Attributes:
        objects: those that the garbage collector knows.
        blocks: of Python's allocator, up to 512 octets each.
        malloc_mib: in use by everything else, in MiB.
        rss_mib: resident when what is free has been given back, in MiB.
        untrimmed_mib: ... and before that.
        descriptors: open ones.
        threads: of the system.
        tasks: of the event loop.
    """

    objects: int
    blocks: int
    malloc_mib: float
    rss_mib: float
    untrimmed_mib: float
    descriptors: int
    threads: int
    tasks: int


def grow_table_of_strings() -> None:
    """Let the interpreter's table of interned strings grow, as it would some time.

    Those that come and go use up its places, so once in half an hour it doubles: half a
    MiB of what malloc has in use, at once and for good.
    """
    for number in range(50_000):
        sys.intern(f"a string that comes and goes: {number}")


def resident_mebibytes() -> float:
    """Return the resident size of this process."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * PAGE / MEBIBYTE


def take_stock(malloc: Malloc) -> Holdings:
    """Count what this process holds; to be called on its event loop."""
    gc.collect()
    untrimmed = resident_mebibytes()
    blocks, used = sys.getallocatedblocks(), malloc.used()
    malloc.trim()
    return Holdings(
        objects=len(gc.get_objects()),
        blocks=blocks,
        malloc_mib=round(used / MEBIBYTE, 3),
        rss_mib=round(resident_mebibytes(), 2),
        untrimmed_mib=round(untrimmed, 2),
        descriptors=len(list(Path("/proc/self/fd").iterdir())),
        threads=len(list(Path("/proc/self/task").iterdir())),
        tasks=len(asyncio.all_tasks()),
    )


#: How much more there may be at the end than when all is warm, as the fitted line has
#: it. Objects vary by 3, blocks by 250 with the caches of the interpreter, as of small
#: tuples, and what malloc has in use by 6 KiB. The resident size is held to 5 MiB in
#: 100: what a few used blocks at the ends of the heaps keep. It is there for what goes
#: past both of them, as the stacks of threads do.
ALLOWED: Final = {
    "objects": 100.0,
    "blocks": 1_000.0,
    "malloc_mib": 0.1,
    "rss_mib": 2.5,
}
#: Of these none may be more than before.
COUNTED: Final = ("descriptors", "threads", "tasks")


def growth(values: Sequence[float]) -> float:
    """Return how much the line through values, with the least squares, goes up.

    >>> round(growth([5, 6, 7, 8]), 3), growth([5])
    (3.0, 0.0)
    >>> growth([5, 6, 5, 6, 6, 5, 6, 5])
    0.0
    """
    if len(values) < 2:
        return 0.0
    line = statistics.linear_regression(range(len(values)), values)
    return line.slope * (len(values) - 1)


def warm(stock: Sequence[Holdings]) -> Sequence[Holdings]:
    """Return what counts: without the first third, in which caches fill."""
    return stock[len(stock) // 3 :]


def find_growth(stock: Sequence[Holdings]) -> list[str]:
    """Say what there is more and more of; nothing of fewer than six samples."""
    if len(stock) < 6:
        return []
    stock, wrong = warm(stock), []
    for name, allowed in ALLOWED.items():
        more = growth([getattr(one, name) for one in stock])
        if more > allowed:
            wrong.append(f"{name} grew by {more:.4g}, of which {allowed:g} are allowed")
    half = len(stock) // 2
    for name in COUNTED:
        before = max(getattr(one, name) for one in stock[:half])
        after = max(getattr(one, name) for one in stock[half:])
        if after > before:
            wrong.append(f"{name} grew from {before} to {after}")
    return wrong

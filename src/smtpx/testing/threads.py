"""What runs on an event loop, for tests that block: in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager

__all__ = ["run_in_thread"]

EnteredT = TypeVar("EnteredT")
_Entered: TypeAlias = tuple[EnteredT, asyncio.AbstractEventLoop, asyncio.Event]


@contextlib.contextmanager
def run_in_thread(
    manager: AbstractAsyncContextManager[EnteredT],
) -> Iterator[EnteredT]:
    """Enter an asynchronous context in a thread, and leave it at the end of the block.

    Args:
        manager: what to enter, such as a `DNSServer`.

    Yields:
        What entering it gives.

    Raises:
        BaseException: whatever entering or leaving it raises.

    >>> from smtpx.testing.dns import DNSServer
    >>> with run_in_thread(DNSServer({"example.com": [("TXT", "hi")]})) as server:
    ...     server.address.partition(":")[0]
    '127.0.0.1'
    """
    entered: Future[_Entered[EnteredT]] = Future()
    left: Future[None] = Future()
    thread = threading.Thread(
        target=_run, args=(manager, entered, left), name="smtpx-testing", daemon=True
    )
    thread.start()
    try:
        value, loop, over = entered.result()
        try:
            yield value
        finally:
            loop.call_soon_threadsafe(over.set)
            left.result()
    finally:
        thread.join()


def _run(
    manager: AbstractAsyncContextManager[EnteredT],
    entered: Future[_Entered[EnteredT]],
    left: Future[None],
) -> None:
    async def main() -> None:
        over = asyncio.Event()
        async with manager as value:
            entered.set_result((value, asyncio.get_running_loop(), over))
            await over.wait()

    try:
        asyncio.run(main())
    except BaseException as error:
        # It is raised again in the thread that waits for this one.
        (left if entered.done() else entered).set_exception(error)
    else:
        left.set_result(None)

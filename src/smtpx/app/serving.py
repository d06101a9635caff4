r"""Running a server until somebody stops it.

::

    smtpx.run(smtpx.Server(Inbox, "127.0.0.1:2525"), on_ready=print)
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smtpx.server.listener import Server

__all__ = ["run", "set_by_sigterm"]


def run(
    server: Server,
    *,
    grace: float = 30.0,
    on_ready: Callable[[Server], object] | None = None,
) -> None:
    """Run a server until SIGINT or SIGTERM; transactions under way may finish.

    For several processes there is `run_workers`.

    Args:
        server: not started yet.
        grace: seconds that transactions under way have then.
        on_ready: gets the server once clients can connect; its ``addresses`` say where.

    Raises:
        OSError: an address cannot be used.
    """
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(server, grace, on_ready))


async def _serve(
    server: Server, grace: float, on_ready: Callable[[Server], object] | None
) -> None:
    with set_by_sigterm() as is_over:
        await server.start()
        try:
            if on_ready is not None:
                on_ready(server)
            await is_over.wait()
        finally:
            await server.shutdown(grace)


@contextlib.contextmanager
def set_by_sigterm() -> Iterator[asyncio.Event]:
    """Have SIGTERM set an event, where the loop may handle signals.

    Yields:
        The event.
    """
    loop = asyncio.get_running_loop()
    is_over = asyncio.Event()
    # Windows has no such thing, and other threads may not set it.
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGTERM, is_over.set)
    try:
        yield is_over
    finally:
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.remove_signal_handler(signal.SIGTERM)

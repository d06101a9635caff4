"""The web server of the inbox: uvicorn, on the event loop that is running."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import uvicorn

from smtpx.inbox.web import create_app
from smtpx.server.sockets import Listener, bind_listener

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from smtpx.inbox.state import InboxState

__all__ = ["WebServer"]

_BACKLOG: Final = 128
# What a browser still asks for when the inbox ends is not worth more.
_GRACE_SECONDS: Final = 1


class _Uvicorn(uvicorn.Server):
    """Leaves signals to whoever started it, and tells when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_listening.set()


class WebServer:
    """Serves the page and the API.

    Args:
        state: of the inbox.

    Attributes:
        urls: where, once it listens.
    """

    def __init__(self, state: InboxState) -> None:
        config = uvicorn.Config(
            create_app(state),
            # All that is logged comes through logging, as everything of ours.
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            backlog=_BACKLOG,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        self._server = _Uvicorn(config)
        self._task: asyncio.Task[None] | None = None
        self.urls: tuple[str, ...] = ()

    async def start(self, address: str) -> None:
        """Begin to listen; on return the page can be opened.

        Args:
            address: where, ``host:port``.

        Raises:
            OSError: the address cannot be used.
        """
        bound = await bind_listener(Listener(address), _BACKLOG)
        self.urls = tuple(f"http://{one.name}/" for one in bound)
        sockets = [one.sock for one in bound]
        self._task = asyncio.create_task(self._server.serve(sockets=sockets))
        await self._server.is_listening.wait()

    async def close(self) -> None:
        """Stop; requests under way have a second."""
        if self._task is not None:
            self._server.should_exit = True
            await self._task

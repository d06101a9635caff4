"""The page and its files, and the HTML of messages for its frame."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from smtpx.inbox.rendering import HTML_HEADERS, HtmlView, render_html
from smtpx.inbox.requests import message_of
from smtpx.inbox.safety import PAGE_CSP

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.requests import Request

    from smtpx.inbox.state import InboxState

__all__ = ["HtmlAPI", "page_files", "page_routes"]

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


def page_files() -> dict[str, bytes]:
    """Return the files of the page by their names."""
    folder = resources.files("smtpx.inbox") / "static"
    return {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if PurePosixPath(file.name).suffix in _TYPES
    }


def page_routes() -> list[Route]:
    """Return what is answered: the page at ``/``, its files under ``/static``."""
    files = page_files()
    routes = [
        Route(f"/static/{name}", _serve(name, content))
        for name, content in files.items()
        if name != "index.html"
    ]
    return [Route("/", _serve("index.html", files["index.html"])), *routes]


def _serve(
    name: str, content: bytes
) -> Callable[[Request], Coroutine[None, None, Response]]:
    headers = {
        "Content-Type": _TYPES[PurePosixPath(name).suffix],
        "Content-Security-Policy": PAGE_CSP,
        # Kept, but asked for each time: a new version must not meet old files.
        "Cache-Control": "no-cache",
        "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
    }

    async def answer(request: Request) -> Response:
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers)

    return answer


class HtmlAPI:
    """Shows the HTML of messages, and tells what was left out of it.

    Args:
        state: of the inbox.
    """

    def __init__(self, state: InboxState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Return what is answered."""
        return [
            Route("/message/{id}/html", self.html),
            Route("/message/{id}/removed", self.removed),
        ]

    async def html(self, request: Request) -> Response:
        """Give the document for the frame."""
        view = await self._view(request)
        return Response(
            view.document,
            headers=HTML_HEADERS,
            media_type="text/html; charset=utf-8",
        )

    async def removed(self, request: Request) -> Response:
        """Tell what the document does not have."""
        view = await self._view(request)
        return JSONResponse({"removed": [one.as_json() for one in view.removed]})

    async def _view(self, request: Request) -> HtmlView:
        message = message_of(request, self._state.mailbox)
        return await self._state.reader.read(
            message, lambda _, content: render_html(content)
        )

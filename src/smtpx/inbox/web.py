"""The web application: the API and the page, behind the checks of `safety`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Mount

from smtpx.inbox.actions import ActionAPI
from smtpx.inbox.api import MessageAPI
from smtpx.inbox.page import HtmlAPI, page_routes
from smtpx.inbox.reading import Busy, Gone
from smtpx.inbox.requests import APIError, refuse
from smtpx.inbox.safety import SafetyMiddleware

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from smtpx.inbox.state import InboxState

__all__ = ["create_app"]


def create_app(state: InboxState) -> ASGIApp:
    """Make the web application of an inbox.

    Args:
        state: of the inbox.
    """
    messages, actions = MessageAPI(state).routes(), ActionAPI(state).routes()
    app = Starlette(
        routes=[
            Mount("/api/v1", routes=[*messages, *actions, *HtmlAPI(state).routes()]),
            *page_routes(),
        ],
        exception_handlers={
            APIError: refuse,
            Gone: _gone,
            Busy: _busy,
            HTTPException: _no_route,
            Exception: _failed,
        },
    )
    # Outside of everything, so that no answer goes without its fields.
    return SafetyMiddleware(app, state.web_names)


async def _gone(_: Request, _error: Exception) -> Response:
    text = "there is no such message: it may have been deleted"
    return JSONResponse({"error": text}, status_code=404)


async def _busy(_: Request, error: Exception) -> Response:
    headers = {"Retry-After": "1"}
    return JSONResponse({"error": str(error)}, status_code=503, headers=headers)


async def _no_route(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    text = str(error.detail) if isinstance(error, HTTPException) else ""
    return JSONResponse({"error": text}, status_code=status, headers=headers)


async def _failed(_: Request, _error: Exception) -> Response:
    # Nothing of it goes out; Starlette raises it again, and so uvicorn logs it.
    text = "this is a fault of smtpx: its log tells more"
    return JSONResponse({"error": text}, status_code=500)

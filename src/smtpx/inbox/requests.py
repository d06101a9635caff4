"""How the API reads requests and refuses them: with a status and one sentence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.requests import Request

    from smtpx.inbox.mailbox import Mailbox
    from smtpx.inbox.messages import StoredMessage

__all__ = [
    "MAX_BODY_OCTETS",
    "APIError",
    "ids_of",
    "integer_of",
    "message_of",
    "read_json",
    "refuse",
    "strings_of",
]

MAX_BODY_OCTETS: Final = 1024 * 1024
"""Of a request: the names of 40,000 messages."""


class APIError(Exception):
    """A request that cannot be granted.

    Args:
        status: of HTTP.
        text: a sentence for people.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


async def refuse(_: Request, error: Exception) -> JSONResponse:
    """Answer with an error; Starlette calls it.

    Args:
        _: the request.
        error: what came of it.
    """
    status = error.status if isinstance(error, APIError) else 500
    return JSONResponse({"error": str(error)}, status_code=status)


async def read_json(request: Request) -> dict[str, Any]:
    """Read the object that is the body of a request; no body is an empty one.

    Args:
        request: with JSON, or without anything.

    Raises:
        APIError: it is none, or too large.
    """
    octets = bytearray()
    async for block in request.stream():
        octets += block
        if len(octets) > MAX_BODY_OCTETS:
            raise APIError(413, f"a request has at most {MAX_BODY_OCTETS} octets")
    if not octets:
        return {}
    try:
        found = json.loads(octets)
    except (ValueError, RecursionError):
        raise APIError(400, "the request is no JSON") from None
    if not isinstance(found, dict):
        raise APIError(400, 'send a JSON object, such as {"ids": ["..."]}')
    return found


def strings_of(values: dict[str, Any], name: str) -> list[str]:
    """Return a list of strings out of a request.

    Args:
        values: of the request.
        name: of the list.

    Raises:
        APIError: it is missing, or is none.
    """
    found = values.get(name)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise APIError(400, f'"{name}" is a list of strings')
    return found


def ids_of(values: dict[str, Any]) -> list[str] | None:
    """Return which messages a request is about; None: all.

    Args:
        values: of the request.

    Raises:
        APIError: it does not say so.
    """
    return None if values.get("ids") is None else strings_of(values, "ids")


def integer_of(request: Request, name: str, default: int, limit: int) -> int:
    """Return a number out of the query of a URL.

    Args:
        request: with the URL.
        name: of the parameter.
        default: if it is missing.
        limit: the largest that is of use; more is as much.

    Raises:
        APIError: it is no number.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise APIError(400, f"{name} is a number from 0")
    return min(int(text), limit)


def message_of(request: Request, mailbox: Mailbox) -> StoredMessage:
    """Return the message that the path of a request names.

    Args:
        request: with the path.
        mailbox: where it is looked for.

    Raises:
        APIError: there is none.
    """
    message = mailbox.get(request.path_params["id"])
    if message is None:
        raise APIError(404, "there is no such message: it may have been deleted")
    return message

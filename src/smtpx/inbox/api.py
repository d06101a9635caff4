"""The JSON API under ``/api/v1``: messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from smtpx.inbox.complaints import Complaint, find_complaints
from smtpx.inbox.requests import APIError, ids_of, integer_of, message_of, read_json
from smtpx.inbox.search import BadQuery, Term, parse_query
from smtpx.inbox.views import detail, iso_time, part_of
from smtpx.message.parsed import Attachment, parse_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from smtpx.inbox.messages import StoredMessage
    from smtpx.inbox.state import InboxState

__all__ = ["MAX_PAGE", "MessageAPI"]

_ResultT = TypeVar("_ResultT")

MAX_PAGE: Final = 500
"""Rows of the list in one answer."""

_DEFAULT_PAGE: Final = 50
_MAX_START: Final = 10**9
_DOWNLOAD: Final = "attachment; filename*=UTF-8''{}"
_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9!#$&+.^_`|~-]")


class MessageAPI:
    """Answers what is asked about messages.

    Args:
        state: of the inbox.
    """

    def __init__(self, state: InboxState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Return what is answered, and by which method."""
        one = "/message/{id}"
        return [
            Route("/info", self.info),
            Route("/events", self.events),
            Route("/messages", self.messages),
            Route("/messages", self.mark, methods=["PUT"]),
            Route("/messages", self.delete, methods=["DELETE"]),
            Route(one, self.message),
            Route(one, self.delete_one, methods=["DELETE"]),
            Route(f"{one}/raw", self.raw),
            Route(f"{one}/part/{{number:int}}", self.part),
            Route(f"{one}/dialogue", self.dialogue),
            Route(f"{one}/complaints", self.complaints),
        ]

    # ------------------------------------------------------------------------ all

    async def info(self, _: Request) -> Response:
        """Tell where the inbox listens, how much it holds, and what it can."""
        mailbox = self._state.mailbox
        counts = {
            "messages": len(mailbox),
            "unread": mailbox.unread,
            "octets": mailbox.octets,
            "cap": {"messages": mailbox.cap.messages, "octets": mailbox.cap.octets},
        }
        return JSONResponse(self._state.facts() | counts)

    async def events(self, _: Request) -> Response:
        """Tell what changes, as it does (server-sent events)."""
        live = self._state.live
        if live.is_full:
            raise APIError(503, "too many pages follow this inbox: close some")
        return StreamingResponse(live.stream(), media_type="text/event-stream")

    async def messages(self, request: Request) -> Response:
        """List messages, the newest first; those that a query finds."""
        start = integer_of(request, "start", 0, _MAX_START)
        limit = integer_of(request, "limit", _DEFAULT_PAGE, MAX_PAGE)
        terms = _terms(request.query_params.get("query", ""))
        page = await self._state.reader.page(terms, start, limit)
        return JSONResponse(
            {
                "total": page.total,
                "unread": page.unread,
                "start": start,
                "messages": page.rows,
            }
        )

    async def mark(self, request: Request) -> Response:
        """Mark messages as read, or as not."""
        values = await read_json(request)
        is_read = values.get("read")
        if not isinstance(is_read, bool):
            raise APIError(400, '"read" is true or false')
        changed = self._state.mailbox.mark_read(ids_of(values), is_read=is_read)
        return JSONResponse({"changed": changed})

    async def delete(self, request: Request) -> Response:
        """Delete messages: those named, those that a query finds, or all."""
        values = await read_json(request)
        ids = ids_of(values)
        query = values.get("query")
        if query is not None:
            if ids is not None or not isinstance(query, str):
                raise APIError(400, 'give "ids" or a "query"')
            terms = _terms(query)
            if not terms:
                # Not all: a page with an empty field did not mean that.
                raise APIError(400, "the query is empty: leave it out to delete all")
            ids = [one.id for one in await self._state.reader.search(terms)]
        return JSONResponse({"deleted": self._state.mailbox.delete(ids)})

    # ------------------------------------------------------------------------ one

    async def message(self, request: Request) -> Response:
        """Tell all about a message; the page marks it as read by itself."""
        return JSONResponse(
            await self._state.reader.read(
                message_of(request, self._state.mailbox), detail
            )
        )

    async def delete_one(self, request: Request) -> Response:
        """Delete a message."""
        message = message_of(request, self._state.mailbox)
        return JSONResponse({"deleted": self._state.mailbox.delete([message.id])})

    async def raw(self, request: Request) -> Response:
        """Give a message as it came: as a file, or as text to look at."""
        message = message_of(request, self._state.mailbox)
        content = await self._state.reader.content(message)
        if "inline" in request.query_params:
            # Octets that are no UTF-8 show as U+FFFD; the file has them.
            return Response(content, media_type="text/plain; charset=utf-8")
        headers = {"Content-Disposition": _DOWNLOAD.format(f"{message.id}.eml")}
        return Response(content, headers=headers, media_type="message/rfc822")

    async def part(self, request: Request) -> Response:
        """Give a part of a message, always as a file to store."""
        number = request.path_params["number"]

        def find(_: StoredMessage, content: bytes) -> tuple[Attachment, bytes] | None:
            part = part_of(parse_message(content), number)
            if part is None:
                return None
            return Attachment(part, is_embedded=False), part.data

        found = await self._state.reader.read(
            message_of(request, self._state.mailbox), find
        )
        if found is None:
            raise APIError(404, "the message has no such part")
        attachment, data = found
        headers = {
            "Content-Disposition": _DOWNLOAD.format(_quoted(attachment.safe_name)),
            # Not what the sender calls it: nothing is to be opened by its type.
            "Content-Type": "application/octet-stream",
        }
        return Response(data, headers=headers)

    async def dialogue(self, request: Request) -> Response:
        """Tell what client and server said around a message."""
        message = message_of(request, self._state.mailbox)
        lines = await self._state.mailbox.store.dialogue(message.id)
        found = [
            {"from": line.origin, "text": line.text, "at": iso_time(line.at)}
            for line in lines
        ]
        return JSONResponse({"lines": found})

    async def complaints(self, request: Request) -> Response:
        """Tell what a strict server would complain of."""

        def find(message: StoredMessage, content: bytes) -> list[Complaint]:
            return find_complaints(message, parse_message(content))

        found = await self._state.reader.read(
            message_of(request, self._state.mailbox), find
        )
        rows = [
            {"severity": one.severity, "rfc": one.rfc, "text": one.text}
            for one in found
        ]
        return JSONResponse({"complaints": rows})

    async def _read(
        self, request: Request, view: Callable[[StoredMessage, bytes], _ResultT]
    ) -> _ResultT:
        message = message_of(request, self._state.mailbox)
        return await self._state.reader.read(message, view)


def _terms(query: str) -> tuple[Term, ...]:
    try:
        return parse_query(query)
    except BadQuery as error:
        raise APIError(400, str(error)) from None


def _quoted(name: str) -> str:
    """Write a file name as a field of HTTP can have it (RFC 2231 section 4)."""
    octets = name.encode("utf-8", "replace")
    return "".join(
        chr(one) if _SAFE_NAME.match(chr(one)) and one < 0x80 else f"%{one:02X}"
        for one in octets
    )

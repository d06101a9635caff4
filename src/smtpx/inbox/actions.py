"""The JSON API under ``/api/v1``: faults, verdicts, and the release of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from smtpx.inbox.faults import TooMany, fault_from
from smtpx.inbox.release import NotAllowed, NotReleased
from smtpx.inbox.requests import APIError, message_of, read_json, strings_of
from smtpx.inbox.verdicts import find_verdicts
from smtpx.net.dns import DNSFailure

if TYPE_CHECKING:
    from starlette.requests import Request

    from smtpx.inbox.state import InboxState

__all__ = ["ActionAPI"]


class ActionAPI:
    """Does what is asked for, other than with the messages in the list.

    Args:
        state: of the inbox.
    """

    def __init__(self, state: InboxState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Return what is answered, and by which method."""
        return [
            Route("/faults", self.faults),
            Route("/faults", self.add_fault, methods=["POST"]),
            Route("/faults", self.remove_faults, methods=["DELETE"]),
            Route("/faults/{id}", self.remove_fault, methods=["DELETE"]),
            Route("/message/{id}/verdicts", self.verdicts),
            Route("/message/{id}/release", self.release, methods=["POST"]),
        ]

    async def faults(self, _: Request) -> Response:
        """List what goes wrong."""
        return JSONResponse({"faults": self._state.faults.rows()})

    async def add_fault(self, request: Request) -> Response:
        """Have something go wrong from now on."""
        values = await read_json(request)
        try:
            row = self._state.faults.add(fault_from(values))
        except TooMany as error:
            raise APIError(409, str(error)) from None
        except ValueError as error:
            raise APIError(400, str(error)) from None
        self._state.live.faults_changed()
        return JSONResponse(row, status_code=201)

    async def remove_faults(self, _: Request) -> Response:
        """Have nothing go wrong any more."""
        return self._remove(None)

    async def remove_fault(self, request: Request) -> Response:
        """Have one thing not go wrong any more."""
        return self._remove(request.path_params["id"])

    def _remove(self, id_: str | None) -> Response:
        removed = self._state.faults.remove(id_)
        if id_ is not None and not removed:
            raise APIError(404, "there is no such fault")
        self._state.live.faults_changed()
        return JSONResponse({"removed": removed})

    async def verdicts(self, request: Request) -> Response:
        """Check SPF, DKIM, DMARC, ARC and iprev, now."""
        message = message_of(request, self._state.mailbox)
        content = await self._state.reader.content(message)
        try:
            found = await find_verdicts(message, content, self._state.resolver())
        except ImportError:
            text = "verdicts need more: pip install 'smtpx[auth]'"
            raise APIError(501, text) from None
        except DNSFailure as error:
            raise APIError(502, str(error)) from None
        return JSONResponse(found)

    async def release(self, request: Request) -> Response:
        """Send a message on to a server of the list."""
        message = message_of(request, self._state.mailbox)
        values = await read_json(request)
        server = values.get("server")
        if not isinstance(server, str):
            raise APIError(400, '"server" is one of those that /info lists')
        recipients = strings_of(values, "to")
        content = await self._state.reader.content(message)
        try:
            found = await self._state.releaser.release(
                message, content, server=server, recipients=recipients
            )
        except NotAllowed as error:
            raise APIError(403, str(error)) from None
        except NotReleased as error:
            raise APIError(502, str(error)) from None
        return JSONResponse(found)

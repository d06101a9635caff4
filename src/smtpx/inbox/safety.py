"""Who may use the web page and the API: those who opened it, not other web sites.

Theory of operation. The inbox has no login, and listens where a browser can reach it:
so can every site that this browser visits. Three ways are closed to them:

- DNS rebinding: a site has its own name resolve to 127.0.0.1, and is then of the same
  origin. Such a request names that site in its Host field; names other than
  ``localhost`` and those that were allowed are refused. IP addresses cannot be rebound.
- Requests across sites (CSRF): what changes anything must come from the page itself, by
  its Origin and Sec-Fetch-Site fields, and be of a content type that no form can send.
- Looking in from outside, by frames, images or scripts: Sec-Fetch-Site again, and
  response fields that forbid it.

Programs send none of these fields, and are let in: who runs on this machine can connect
anyway.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["API_CSP", "PAGE_CSP", "SafetyMiddleware", "host_name_of"]

PAGE_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""For the page: nothing but what we ship, and no frames around it; and no text becomes
markup or a script, even if a file of the page meant to."""

API_CSP: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"
"""For everything else: were it ever shown as a page, nothing would run."""

_FIELDS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": API_CSP,
    "Cache-Control": "no-store",
}

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES: Final = frozenset({"same-origin", "none"})


def host_name_of(host: str) -> str:
    """Return the name within a Host field, in lower case.

    Args:
        host: the field; it may be of a stranger.

    >>> host_name_of("LocalHost:8025"), host_name_of("[::1]:8025")
    ('localhost', '::1')
    """
    if host.startswith("["):
        name, bracket, _ = host[1:].partition("]")
        return name.lower() if bracket else ""
    return host.partition(":")[0].rstrip(".").lower()


class SafetyMiddleware:
    """Refuses requests of other sites, and adds the fields that keep browsers safe.

    Args:
        app: what answers the others.
        names: under which the inbox may be reached, beside ``localhost`` and IP
            addresses.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] = ()) -> None:
        self._app = app
        self._names = frozenset(host_name_of(name) for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Args:
            scope: of the request.
            receive: gets its body.
            send: sends the response.
        """
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            # The page has no WebSocket; one would need checks of its own.
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _FIELDS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        answer = self._app
        if refusal is not None:
            status, text = refusal
            answer = JSONResponse({"error": text}, status_code=status)
        await answer(scope, receive, send_safely)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_known(host_name_of(hosts[0])):
            return 421, (
                "this inbox does not answer to that name: open it by its IP address, "
                "or allow the name with --web-name"
            )
        is_safe = scope["method"] in _SAFE_METHODS
        site = headers.get("sec-fetch-site")
        if site is not None and site not in _OWN_SITES:
            # A link on another site may open the page, and nothing else.
            is_link = headers.get("sec-fetch-mode") == "navigate" and (
                headers.get("sec-fetch-dest") == "document"
            )
            if not (is_safe and is_link and not scope["path"].startswith("/api/")):
                return 403, "another site may not use this inbox"
        if is_safe:
            return None
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != hosts[0]:
            return 403, "another site may not change this inbox"
        return _wrong_type(scope, headers)

    def _is_known(self, name: str) -> bool:
        if name in self._names or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True


def _wrong_type(scope: Scope, headers: Headers) -> tuple[int, str] | None:
    """Refuse what a form of another site could send."""
    has_body = (
        headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    )
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return None
    if scope["method"] == "DELETE" and not has_body and not kind:
        return None
    return 415, "send JSON, with Content-Type: application/json"

"""An inbox in a thread, and what a program sees of it over HTTP."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

import smtpx
from smtpx.inbox.service import DevInbox, InboxOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAIL = (
    b"From: Ann <ann@example.com>\r\nTo: Bob <bob@example.net>\r\nSubject: %b\r\n"
    b"Date: Thu, 5 Mar 2026 10:00:00 +0100\r\nMessage-ID: <1@example.com>\r\n\r\n%b\r\n"
)


@dataclass
class Running:
    """An inbox that runs, and a client of its API."""

    inbox: DevInbox
    http: httpx2.Client

    def send(
        self,
        content: bytes = MAIL % (b"hi", b"hello"),
        *recipients: str,
        sender: str = "ann@example.com",
        auth: tuple[str, str] | None = None,
    ) -> smtpx.SendResult:
        options = smtpx.ClientOptions()
        [url] = self.inbox.smtp_urls
        if self.inbox.options.tls:
            context = self.inbox.certificates.client
            options = smtpx.ClientOptions(tls_context=context)
            url = url.replace("smtp:", "smtp+starttls:")
        return smtpx.send(
            content,
            to=url,
            sender=sender,
            recipients=list(recipients) or ["bob@example.net"],
            auth=auth,
            client_options=options,
        )

    def get(self, path: str, **parameters: Any) -> Any:  # noqa: ANN401 - JSON
        response = self.http.get(f"/api/v1{path}", params=parameters)
        assert response.status_code == 200, response.text
        return response.json()

    def rows(self, query: str = "") -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.get("/messages", query=query)["messages"]
        return rows

    def subjects(self, query: str = "") -> list[str]:
        return [row["subject"] for row in self.rows(query)]

    def refused(self, method: str, path: str, **request: Any) -> tuple[int, str]:  # noqa: ANN401 - of httpx
        """Ask for what is refused; return the status and the sentence."""
        response = self.http.request(method, f"/api/v1{path}", **request)
        return response.status_code, response.json()["error"]

    @property
    def only(self) -> str:
        """The id of the only message."""
        [row] = self.rows()
        id_: str = row["id"]
        return id_


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    with ExitStack() as stack:

        def start(**options: Any) -> Running:  # noqa: ANN401 - as the class
            given = {"smtp": ("127.0.0.1:0",), "web": "127.0.0.1:0"} | options
            inbox = stack.enter_context(DevInbox(InboxOptions(**given)).run_in_thread())
            [url] = inbox.web_urls
            http = stack.enter_context(httpx2.Client(base_url=url))
            return Running(inbox, http)

        yield start

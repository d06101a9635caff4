"""A web server on loopback that counts what is asked of it."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CountingServer"]


class CountingServer:
    """Answers everything with an empty page, and keeps what was asked.

    It also serves documents of a test, by their names, whose requests do not count.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.documents: dict[str, tuple[str, dict[str, str]]] = {}
        self.url = ""

    @contextlib.contextmanager
    def running(self) -> Iterator[CountingServer]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                document, headers = owner.documents.get(self.path, ("", {}))
                if self.path not in owner.documents:
                    owner.asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(document.encode())

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.url = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()

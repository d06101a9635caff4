"""A server that stores messages, to be killed: ``store.py KIND FOLDER``.

This process forks one server after the other, a server for each line that it reads. The
server tells its process id and port; the next line comes when it was killed. To start
Python for each would take a hundred times as long.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Final

import smtpx
from smtpx.app.places import MboxSink
from smtpx.app.sinks import EmlSink, MaildirSink, Sink

#: Where messages can be put, by name.
SINKS: Final[Mapping[str, Callable[[str], Sink]]] = {
    "maildir": MaildirSink,
    "eml": EmlSink,
    "mbox": MboxSink,
}


async def serve(sink: Sink, sock: socket.socket) -> None:
    """Serve until the process ends; every 250 says that a message is stored."""

    class Storing(smtpx.Session):
        async def data(self, body: smtpx.Body) -> smtpx.Reply:
            name = await sink.store(b"", body)
            return smtpx.Reply(250, "2.0.0", f"stored as {name}")

    await smtpx.Server(Storing, sock).serve_forever()


def main() -> None:
    """Fork a server for each line."""
    kind, where = sys.argv[1:]
    while sys.stdin.readline():
        process = os.fork()
        if not process:
            # Its own, so that it ends with it, and nobody waits in its queue.
            sock = socket.create_server(("127.0.0.1", 0))
            print(os.getpid(), sock.getsockname()[1], flush=True)
            asyncio.run(serve(SINKS[kind](where), sock))
            os._exit(1)  # it never ends by itself
        os.waitpid(process, 0)
        print("gone", flush=True)


if __name__ == "__main__":
    main()

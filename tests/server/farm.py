"""A server in several processes, for the tests of workers.

Run as ``farm.py FOLDER COUNT GRACE LINGER``. It says where it listens, and who serves.
Each message is appended to FOLDER/messages before it is acknowledged. While there is
FOLDER/broken, no worker begins to serve.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from smtpx.net.certificates import ServerTLS
from smtpx.server.body import Body
from smtpx.server.listener import Server
from smtpx.server.options import ServerOptions, ServerTimeouts
from smtpx.server.session import Session
from smtpx.server.sockets import Address, Listener
from smtpx.server.workers import Supervisor
from smtpx.wire.replies import Reply


class Store(Session):
    """Keeps what it acknowledges."""

    folder: Path

    async def data(self, body: Body) -> Reply:
        content = await body.read()
        # One line a message: its length, and who took it.
        line = f"{os.getpid()} {len(content)}\n".encode()
        number = os.open(
            self.folder / "messages", os.O_WRONLY | os.O_APPEND | os.O_CREAT
        )
        os.write(number, line)
        os.close(number)
        return Reply(250, "2.0.0", f"stored by {os.getpid()}")

    async def verify(self, text: str) -> Reply:
        if text == "crash":
            os._exit(7)
        return Reply(250, "2.0.0", f"{os.getpid()}")


def linger_on(end: Path) -> None:
    while not end.exists():
        time.sleep(0.01)


def make_server(folder: Path, linger: float, listeners: Sequence[Listener]) -> Server:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    if (folder / "lingering").exists():
        threading.Thread(target=linger_on, args=[folder / "go"]).start()
        raise RuntimeError("its process takes a while to end")
    if (folder / "broken").exists():
        raise RuntimeError("broken on purpose")
    Store.folder = folder
    pem = folder / "mx.pem"
    options = ServerOptions(
        hostname="mx.test",
        tls=ServerTLS(pem) if pem.exists() else None,
        timeouts=ServerTimeouts(linger=linger),
    )
    return Server(Store, listeners, options=options)


def main() -> None:
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    grace, linger = float(sys.argv[3]), float(sys.argv[4])
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)

    def tell(addresses: tuple[str, ...]) -> None:
        facts = {"addresses": addresses, "pids": supervisor.pids}
        print(json.dumps(facts), flush=True)

    addresses: list[Address] = [
        "127.0.0.1:0",
        Listener(f"unix:{folder / 'smtp'}", mode=0o600),
    ]
    supervisor = Supervisor(
        functools.partial(make_server, folder, linger),
        addresses,
        workers=count,
        grace=grace,
        serving=tell,
    )
    supervisor.run()


if __name__ == "__main__":
    main()

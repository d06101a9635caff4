"""A server that runs out of descriptors, and recovers; run by test_accept.py."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import sys

import uvloop

from smtpx.server import accept
from smtpx.server.listener import Server
from smtpx.server.options import ServerOptions
from smtpx.server.session import Session
from smtpx.server.sockets import parse_address


async def main(clients_there: int, room: int) -> None:
    options = ServerOptions(hostname="mx.test", max_connections_per_ip=clients_there)
    async with Server(Session, "127.0.0.1:0", options=options) as server:
        host, port = parse_address(server.addresses[0])
        # Both ends of each connection are in this process.
        clients = [socket.socket() for _ in range(clients_there)]
        used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - quicker
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + room, hard))
        loop = asyncio.get_running_loop()
        for client in clients:
            client.setblocking(False)
            await loop.sock_connect(client, (host, port))
        # Those who are served say goodbye, and so make room for the next.
        for client in clients:
            heard = b""
            await loop.sock_sendall(client, b"QUIT\r\n")
            while block := await loop.sock_recv(client, 4096):
                heard += block
            assert heard.startswith(b"220 "), heard
            assert heard.endswith(b"221 2.0.0 goodbye\r\n"), heard
            client.close()
    print("served")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    # So that it is the end of a connection that makes room, and not time.
    accept.RETRY_SECONDS = 3_600.0  # type: ignore[misc]
    factory = uvloop.new_event_loop if sys.argv[1] == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main(*map(int, sys.argv[2:])))

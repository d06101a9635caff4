"""Nagle's algorithm is off at both ends, on every loop."""

from __future__ import annotations

import socket
from typing import Any

from smtpx.client.aio import AsyncClient
from smtpx.server.session import Session
from tests.server.conftest import Run
from tests.server.peers import serve


def is_nodelay(transport: Any) -> bool:  # noqa: ANN401 - of any loop
    sock = transport.get_extra_info("socket")
    return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


def test_no_reply_waits_for_an_acknowledgement(run: Run) -> None:
    """With it, a second small write waits up to 40 ms for the peer's delayed ACK."""

    async def scenario() -> None:
        async with serve(Session) as served:
            url = f"smtp+plain://{served.server.addresses[0]}"
            async with AsyncClient(url) as client:
                ends: list[Any] = [client._link.channel] if client._link else []
                ends += served.server._connections
                assert [is_nodelay(end._transport) for end in ends] == [True, True]

    run(scenario())

"""Where a server listens: what is no address is refused before anything starts."""

from __future__ import annotations

import socket

import pytest

from smtpx.server.listener import Server
from smtpx.server.pump import Pump
from smtpx.server.session import Session
from tests.server.conftest import Run
from tests.server.peers import recorder, serve


@pytest.mark.parametrize(
    "address", ["localhost", "127.0.0.1", "::1:25", "127.0.0.1:x", "[::1]", ":99999"]
)
def test_wrong_addresses_are_refused_at_once(address: str) -> None:
    with pytest.raises(ValueError, match=r"write host:port|in brackets"):
        Server(Session, address)
    with pytest.raises(ValueError, match=r"write host:port|in brackets"):
        Server(Session, ["127.0.0.1:0", address])


def test_a_server_tells_where_it_listens(run: Run) -> None:
    async def scenario() -> None:
        async with serve(Session) as served:
            await served.ready()
            server = served.server
            assert repr(server) == f"<Server {server.addresses[0]}, 1 connections>"
        assert repr(server) == "<Server not listening, 0 connections>"

    run(scenario())
    assert repr(Server(Session)) == "<Server not listening, 0 connections>"


@pytest.mark.parametrize("is_inherited", [False, True])
def test_replies_are_not_held_back(run: Run, is_inherited: bool) -> None:
    async def scenario() -> None:
        inherited = socket.socket()
        inherited.bind(("127.0.0.1", 0))
        address = inherited if is_inherited else "127.0.0.1:0"
        async with serve(recorder(), address) as served:
            await served.ready()
            (connection,) = served.server._connections
            assert isinstance(connection, Pump)
            accepted = connection._transport.get_extra_info("socket")
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        inherited.close()

    run(scenario())

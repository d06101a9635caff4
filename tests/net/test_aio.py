"""What only the channel on an event loop can do."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from smtpx.net import aio
from tests.net.conftest import PATIENCE, Front

if TYPE_CHECKING:
    from pathlib import Path

    from smtpx.net.channel import Channel
    from tests.net.conftest import Play


async def test_tcp_connects_by_name_and_from_an_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        channel = await aio.connect_tcp(
            "localhost", port, timeout=30, local_address="127.0.0.2"
        )
        theirs, address = listener.accept()
        with theirs:
            assert address[0] == "127.0.0.2"
            assert channel.local.startswith("127.0.0.2:")
        await channel.close()


async def test_tcp_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await aio.connect_tcp("127.0.0.1", port, timeout=30)


async def test_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "lmtp")
    with pytest.raises(FileNotFoundError):
        await aio.connect_unix(path, timeout=30)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        channel = await aio.connect_unix(path, timeout=30)
        assert channel.peer == f"unix:{path}"
        assert channel.local == "unix:"
        await channel.close()


async def test_cancelled_receive_leaves_the_loop_clean() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        channel = await aio.wrap_socket(ours)
        task = asyncio.create_task(channel.receive(timeout=60))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        channel.abort()
        await channel.close()
        assert theirs.recv(1) == b""


async def test_thousand_waits_arm_few_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer a wait is most of what a short conversation would cost."""
    ours, theirs = socket.socketpair()
    with theirs:
        channel = await aio.wrap_socket(ours)
        loop = asyncio.get_running_loop()
        armed = 0
        call_at = loop.call_at

        def count(*args: object, **kwargs: object) -> asyncio.TimerHandle:
            nonlocal armed
            armed += 1
            return call_at(*args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(loop, "call_at", count)
        for _ in range(1000):
            for timeout in (300, 120, 600):
                theirs.sendall(b"x")
                assert await channel.receive(timeout=timeout) == b"x"
        await channel.close()
        assert 0 < armed <= 3


async def test_close_gives_up_on_a_peer_that_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aio, "_CLOSE_SECONDS", 0.01)
    ours, theirs = socket.socketpair()
    with theirs:
        channel = await aio.wrap_socket(ours)
        with pytest.raises(TimeoutError):
            await channel.send(b"x" * 4_000_000, timeout=0.01)
        await channel.close()
        with pytest.raises(ConnectionResetError):
            await channel.send(b"x", timeout=1)


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_what_was_written_arrives_before_the_end(
    name: str, pair: tuple[socket.socket, socket.socket], play: Play[object]
) -> None:
    ours, theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    # Less than a transport takes without a wait, and more than the kernel does.
    data = b"x" * 60_000

    def read() -> bytes:
        received = b""
        while block := theirs.recv(65_536):
            received += block
        return received

    async def scenario(channel: Channel) -> None:
        await channel.send(data, timeout=PATIENCE)
        received = play(read)
        await channel.close()
        assert await asyncio.wrap_future(received) == data

    Front(name).run(ours, scenario)


async def test_a_fast_peer_does_not_starve_the_loop() -> None:
    class Swallowing(asyncio.Transport):
        """Takes everything at once, as loopback does."""

        def write(self, data: bytes | bytearray | memoryview) -> None:
            """Swallow it."""

        def is_closing(self) -> bool:
            return False

    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        asyncio.get_running_loop().call_soon(turn)

    channel = aio.AsyncioChannel()
    channel.connection_made(Swallowing())
    turn()
    for _ in range(64):
        await channel.send(b"x" * 65_536, timeout=60)
    assert turns > 16

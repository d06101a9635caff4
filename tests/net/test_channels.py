"""What every kind of channel must do, whatever runs it."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from smtpx.errors import BadReply

if TYPE_CHECKING:
    from smtpx.net.channel import Channel
    from tests.net.conftest import Certificates, Front, Play

    Pair = tuple[socket.socket, socket.socket]

# More than the kernel's buffers and the transports' take without a reader.
MUCH = b"0123456789abcdef" * 256 * 1024


def read_exactly(sock: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        block = sock.recv(65536)
        if not block:
            break
        data += block
    return bytes(data)


def test_octets_go_both_ways(front: Front, pair: Pair, play: Play[object]) -> None:
    ours, theirs = pair
    play(lambda: theirs.sendall(b"220 ready\r\n" + read_exactly(theirs, 6)))

    async def scenario(channel: Channel) -> bytes:
        await channel.send(b"NOOP\r\n", timeout=30)
        data = b""
        while not data.endswith(b"NOOP\r\n"):
            data += await channel.receive(timeout=30)
        assert not channel.has_received
        return data

    assert front.run(ours, scenario) == b"220 ready\r\nNOOP\r\n"


def test_end_of_stream_is_no_octets_again_and_again(front: Front, pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(b"221 bye\r\n")
    theirs.close()

    async def scenario(channel: Channel) -> list[bytes]:
        return [await channel.receive(timeout=30) for _ in range(3)]

    assert front.run(ours, scenario) == [b"221 bye\r\n", b"", b""]


def test_receive_times_out(front: Front, pair: Pair) -> None:
    async def scenario(channel: Channel) -> None:
        with pytest.raises(TimeoutError):
            await channel.receive(timeout=0.01)

    front.run(pair[0], scenario)


def test_short_timeout_behind_a_long_one_is_kept(
    front: Front, pair: Pair, play: Play[object]
) -> None:
    ours, theirs = pair

    async def scenario(channel: Channel) -> bytes:
        theirs.sendall(b"1")
        first = await channel.receive(timeout=600)
        play(lambda: theirs.sendall(read_exactly(theirs, 1)))
        await channel.send(b"2", timeout=600)
        second = await channel.receive(timeout=600)
        with pytest.raises(TimeoutError):
            await channel.receive(timeout=0.01)
        return first + second

    assert front.run(ours, scenario) == b"12"


def test_long_timeout_behind_a_short_one_is_kept(
    front: Front, pair: Pair, play: Play[object]
) -> None:
    """The timer armed for the first wait fires during the second; that is no end."""
    ours, theirs = pair

    async def scenario(channel: Channel) -> bytes:
        theirs.sendall(b"1")
        first = b""
        while not first:  # on a busy machine it may come too late
            with contextlib.suppress(TimeoutError):
                first = await channel.receive(timeout=0.05)
        theirs.settimeout(0.2)

        def answer_late() -> None:
            with contextlib.suppress(TimeoutError):
                theirs.recv(1)
            theirs.sendall(b"2")

        play(answer_late)
        return await channel.receive(timeout=None)

    assert front.run(ours, scenario) == b"2"


def test_large_write_reaches_a_slow_reader(
    front: Front, pair: Pair, play: Play[object]
) -> None:
    ours, theirs = pair
    received = play(lambda: read_exactly(theirs, len(MUCH)))

    async def scenario(channel: Channel) -> None:
        await channel.send(MUCH, timeout=30)
        await channel.close()

    front.run(ours, scenario)
    assert received.result() == MUCH


def test_channel_reads_while_it_cannot_write(
    front: Front, pair: Pair, play: Play[object]
) -> None:
    """Each end writes more than the other's buffers take before either would read."""
    ours, theirs = pair
    replies = MUCH[: 512 * 1024]

    def reply_first() -> bytes:
        theirs.sendall(replies)
        return read_exactly(theirs, len(MUCH))

    received = play(reply_first)

    async def scenario(channel: Channel) -> bytes:
        await channel.send(MUCH, timeout=30)
        data = b""
        while len(data) < len(replies):
            data += await channel.receive(timeout=30)
        return data

    assert front.run(ours, scenario) == replies
    assert received.result() == MUCH


def test_write_that_nobody_reads_times_out(front: Front, pair: Pair) -> None:
    async def scenario(channel: Channel) -> None:
        with pytest.raises(TimeoutError):
            await channel.send(MUCH, timeout=0.05)
        channel.abort()

    front.run(pair[0], scenario)


def test_read_ahead_is_bounded(front: Front, pair: Pair) -> None:
    """A peer that talks without end is stopped by its own full buffers."""
    ours, theirs = pair
    theirs.setblocking(False)
    sent = 0

    def talk() -> None:
        nonlocal sent
        with contextlib.suppress(BlockingIOError):
            while sent < 64 * len(MUCH):
                sent += theirs.send(MUCH[:65536])

    async def scenario(channel: Channel) -> None:
        data = MUCH
        for _ in range(100):
            talk()
            with pytest.raises(TimeoutError):
                await channel.send(data, timeout=0.001)
            if not front.is_blocking:
                data = b"x"  # it keeps what it could not send, and waits for that
        taken = await channel.receive(timeout=30)
        assert 1024 * 1024 <= len(taken) < 1024 * 1024 + 256 * 1024
        channel.abort()

    front.run(ours, scenario)
    assert sent <= 3 * 1024 * 1024


def test_write_to_a_closed_peer_fails(
    front: Front, pair: Pair, play: Play[object]
) -> None:
    ours, theirs = pair
    theirs.close()

    async def scenario(channel: Channel) -> None:
        async def keep_writing() -> None:
            for _ in range(10):
                await channel.send(MUCH, timeout=30)

        with pytest.raises(OSError, match=r"."):
            await keep_writing()

    front.run(ours, scenario)


def test_aborted_channel_refuses_and_stays_closed(front: Front, pair: Pair) -> None:
    async def scenario(channel: Channel) -> None:
        channel.abort()
        channel.abort()
        with pytest.raises(OSError, match=r"."):
            await channel.send(b"NOOP\r\n", timeout=1)
        await channel.close()

    front.run(pair[0], scenario)
    assert pair[1].recv(1) == b""


def test_addresses_are_text(front: Front) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ours = socket.create_connection(("127.0.0.1", port))
        theirs, _ = listener.accept()

        async def scenario(channel: Channel) -> tuple[str, str]:
            return channel.peer, channel.local

        with theirs:
            peer, local = front.run(ours, scenario)
            assert peer == f"127.0.0.1:{port}"
            assert local == f"127.0.0.1:{theirs.getpeername()[1]}"


# --- TLS ---


def test_conversation_goes_on_in_tls(
    front: Front, pair: Pair, play: Play[object], certificates: Certificates
) -> None:
    ours, theirs = pair

    def serve() -> bytes:
        theirs.sendall(b"220 go ahead\r\n")
        with certificates.server.wrap_socket(theirs, server_side=True) as secure:
            secure.sendall(b"250 " + read_exactly(secure, 6))
            data = read_exactly(secure, len(MUCH))
            with contextlib.suppress(OSError):  # the client may not wait for our end
                secure.unwrap()
            return data

    received = play(serve)

    async def scenario(channel: Channel) -> bytes:
        assert not channel.tls
        assert await channel.receive(timeout=30) == b"220 go ahead\r\n"
        await channel.start_tls(certificates.client, "mx.test", timeout=30)
        assert channel.tls
        assert channel.tls.version == "TLSv1.3"
        assert channel.tls.server_hostname == "mx.test"
        assert channel.tls.is_verified
        assert channel.tls.peer_certificate
        await channel.send(b"EHLO\r\n", timeout=30)
        data = b""
        while not data.endswith(b"EHLO\r\n"):
            data += await channel.receive(timeout=30)
        await channel.send(MUCH, timeout=30)
        assert await channel.receive(timeout=30) == b""
        return data

    assert front.run(ours, scenario) == b"250 EHLO\r\n"
    assert received.result() == MUCH


def test_octets_before_the_handshake_are_an_attack(
    front: Front, pair: Pair, certificates: Certificates
) -> None:
    """CVE-2021-38371: what came in clear would be read as if it came through TLS."""
    ours, theirs = pair

    async def scenario(channel: Channel) -> None:
        theirs.sendall(b"250 A")
        while not channel.has_received:
            # Writing reads as well, when it must wait.
            with contextlib.suppress(TimeoutError):
                await channel.send(MUCH, timeout=0.001)
        with pytest.raises(BadReply):
            await channel.start_tls(certificates.client, "mx.test", timeout=30)
        assert channel.tls is None
        channel.abort()

    front.run(ours, scenario)


def test_octets_in_clear_in_place_of_the_handshake_fail(
    front: Front, pair: Pair, certificates: Certificates
) -> None:
    ours, theirs = pair
    theirs.sendall(b"250-mx.test\r\n250 AUTH PLAIN\r\n")

    async def scenario(channel: Channel) -> None:
        with pytest.raises((ssl.SSLError, BadReply)):
            await channel.start_tls(certificates.client, "mx.test", timeout=30)
        channel.abort()

    front.run(ours, scenario)


@pytest.mark.parametrize("name", ["other.test", None])
def test_wrong_or_missing_name_fails(
    front: Front,
    pair: Pair,
    play: Play[object],
    certificates: Certificates,
    name: str | None,
) -> None:
    ours, theirs = pair

    def serve() -> None:
        with (
            contextlib.suppress(OSError),
            certificates.server.wrap_socket(theirs, server_side=True) as secure,
        ):
            secure.recv(1)

    play(serve)

    async def scenario(channel: Channel) -> None:
        with pytest.raises((ssl.SSLError, ValueError)):
            await channel.start_tls(certificates.client, name, timeout=30)
        channel.abort()

    front.run(ours, scenario)


def test_untrusted_authority_fails(
    front: Front, pair: Pair, play: Play[object], certificates: Certificates
) -> None:
    ours, theirs = pair

    def serve() -> None:
        with (
            contextlib.suppress(OSError),
            certificates.server.wrap_socket(theirs, server_side=True) as secure,
        ):
            secure.recv(1)

    play(serve)

    async def scenario(channel: Channel) -> None:
        with pytest.raises(ssl.SSLCertVerificationError):
            await channel.start_tls(ssl.create_default_context(), "mx.test", timeout=30)
        channel.abort()

    front.run(ours, scenario)


def test_handshake_times_out(
    front: Front, pair: Pair, certificates: Certificates
) -> None:
    async def scenario(channel: Channel) -> None:
        with pytest.raises(TimeoutError):
            await channel.start_tls(certificates.client, "mx.test", timeout=0.05)
        channel.abort()

    front.run(pair[0], scenario)


def test_end_of_stream_in_the_handshake_fails(
    front: Front, pair: Pair, certificates: Certificates
) -> None:
    ours, theirs = pair
    theirs.close()

    async def scenario(channel: Channel) -> None:
        with pytest.raises(OSError, match=r"."):
            await channel.start_tls(certificates.client, "mx.test", timeout=30)
        channel.abort()

    front.run(ours, scenario)


def test_reading_while_writing_works_in_tls_too(
    front: Front, pair: Pair, play: Play[object], certificates: Certificates
) -> None:
    ours, theirs = pair
    replies = MUCH[: 512 * 1024]

    def serve() -> bytes:
        with certificates.server.wrap_socket(theirs, server_side=True) as secure:
            secure.sendall(replies)
            data = read_exactly(secure, len(MUCH))
            secure.sendall(b"!")
            return data

    received = play(serve)

    async def scenario(channel: Channel) -> bytes:
        await channel.start_tls(certificates.client, "mx.test", timeout=30)
        await channel.send(MUCH, timeout=30)
        data = b""
        while not data.endswith(b"!"):
            data += await channel.receive(timeout=30)
        return data

    assert front.run(ours, scenario) == replies + b"!"
    assert received.result() == MUCH


def test_end_without_close_notify_is_an_end(
    front: Front, pair: Pair, play: Play[object], certificates: Certificates
) -> None:
    ours, theirs = pair

    def serve() -> None:
        secure = certificates.server.wrap_socket(theirs, server_side=True)
        secure.sendall(b"221 bye\r\n")
        secure.close()  # TCP's end only

    play(serve)

    async def scenario(channel: Channel) -> bytes:
        await channel.start_tls(certificates.client, "mx.test", timeout=30)
        assert await channel.receive(timeout=30) == b"221 bye\r\n"
        try:
            return await channel.receive(timeout=30)
        except OSError:
            return b""  # asyncio reports it as a broken connection, which is as good

    assert front.run(ours, scenario) == b""

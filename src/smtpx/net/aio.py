"""Channels on an asyncio event loop.

A `asyncio.Protocol`, not a stream: the buffer is ours, so nothing received before a TLS
handshake can hide in it (a StreamReader kept such octets, and lost others, until 2026).

Waiting costs one future. There is one timer a channel: it is armed when a wait begins
and none is armed that fires earlier, and re-armed when it fires too early. So a
conversation of a thousand steps arms a handful of timers, and no task is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from typing import TYPE_CHECKING, cast

from smtpx.errors import BadReply
from smtpx.net.addresses import endpoints_of, known_endpoints, usable_from
from smtpx.net.aio_races import connect_first
from smtpx.net.channel import MAX_READ_AHEAD_OCTETS, format_address
from smtpx.net.dns import names_only
from smtpx.net.tls import TLSInfo, require_server_hostname

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["AsyncioChannel", "connect_tcp", "connect_unix", "wrap_socket"]

# How long `close` waits for what is still to be written, and for TLS to say goodbye.
# Everything of importance has been answered by then, so it is short.
_CLOSE_SECONDS = 2.0

# How much is written before the loop has a turn: some tenths of a millisecond of work,
# under TLS a millisecond or two.
_TURN_OCTETS = 256 * 1024


class AsyncioChannel(asyncio.Protocol):
    """A channel over a transport of asyncio or uvloop.

    It satisfies `smtpx.net.channel.Channel`, which documents the methods. Make one
    with `connect_tcp`, `connect_unix` or `wrap_socket`.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received: list[bytes] = []
        self._received_octets = 0
        self._is_reading_paused = False
        self._is_writing_paused = False
        self._unyielded_octets = 0
        self._is_ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._waits_for_data = False
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._tls_info: TLSInfo | None = None
        self.peer = ""
        self.local = ""

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (called by asyncio)."""
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self.peer = format_address(transport.get_extra_info("peername"))
        self.local = format_address(transport.get_extra_info("sockname"))

    def data_received(self, data: bytes) -> None:
        """Keep what came; stop reading when nobody takes it (called by asyncio)."""
        self._received.append(data)
        self._received_octets += len(data)
        if self._received_octets >= MAX_READ_AHEAD_OCTETS and self._transport:
            self._is_reading_paused = True
            self._transport.pause_reading()
        if self._waits_for_data:
            self._wake()

    def eof_received(self) -> None:
        """Note the end of the stream; the transport closes (called by asyncio)."""
        self._is_ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the connection (called by asyncio)."""
        self._is_ended = True
        self._error = exc
        if exc is not None and self._transport is not None and self._tls_info is None:
            self._rescue(self._transport)
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._closed.done():
            self._closed.set_result(None)
        self._wake()

    def _rescue(self, transport: asyncio.Transport) -> None:
        """Take what the system has received and the transport did not read.

        A transport that fails to write reads no more, and closes the socket after this
        callback. A server that has had enough says so and closes, so what it said is
        still there. Under TLS it could not be read.
        """
        sock = transport.get_extra_info("socket")
        if sock is None:
            return  # under TLS, in the middle of the handshake
        with (
            contextlib.suppress(OSError),
            socket.socket(fileno=os.dup(sock.fileno())) as copy,
        ):
            copy.setblocking(False)
            while self._received_octets < MAX_READ_AHEAD_OCTETS:
                data = copy.recv(MAX_READ_AHEAD_OCTETS)
                if not data:
                    break
                self._received.append(data)
                self._received_octets += len(data)

    def pause_writing(self) -> None:
        """Note that the peer does not keep up (called by asyncio)."""
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        """Note that it does again (called by asyncio)."""
        self._is_writing_paused = False
        if not self._waits_for_data:
            self._wake()

    # What a conversation calls.

    @property
    def tls(self) -> TLSInfo | None:
        """Facts about TLS, None in clear."""
        return self._tls_info

    @property
    def has_received(self) -> bool:
        """Whether octets arrived that `receive` did not return yet."""
        return bool(self._received)

    @property
    def is_readable(self) -> bool:
        """Whether `receive` would return at once, if only to tell of the end."""
        return bool(self._received) or self._is_ended or self._loop.is_closed()

    async def send(self, data: bytes | memoryview, *, timeout: float | None) -> None:
        """Write all of the data; the loop reads meanwhile."""
        if self._loop is not asyncio.get_running_loop():
            # The transport would write, and nobody would ever read the reply.
            self._desert()
            raise ConnectionResetError(
                "its event loop runs no more; connect in the one that sends"
            )
        transport = self._transport
        if transport is None or transport.is_closing():
            # It is aborted; the loop tells in its next turn, with what was received.
            await self._wait_until(self._closed.done, _CLOSE_SECONDS)
            raise ConnectionResetError("the connection is closed") from self._error
        transport.write(data)
        self._unyielded_octets += len(data)
        if self._is_writing_paused:
            self._unyielded_octets = 0
            await self._wait_until(self._has_written, timeout)
            if self._transport is None:
                raise ConnectionResetError("the connection broke") from self._error
        elif self._unyielded_octets >= _TURN_OCTETS:
            # A fast peer never makes us wait; others on the loop, and the reader of
            # what the peer may say meanwhile, must have their turn all the same.
            self._unyielded_octets = 0
            await asyncio.sleep(0)

    async def receive(self, *, timeout: float | None) -> bytes:
        """Return what was received: at least one octet, or none at the end."""
        received = self._received
        if not received:
            if not self._is_ended:
                self._waits_for_data = True
                await self._wait_until(self._has_data, timeout)
            if not received:
                if self._error is not None:
                    raise ConnectionResetError("the connection broke") from self._error
                return b""
        data = received[0] if len(received) == 1 else b"".join(received)
        received.clear()
        self._received_octets = 0
        if self._is_reading_paused:
            self._is_reading_paused = False
            if self._transport is not None:
                self._transport.resume_reading()
        return data

    def put_back(self, data: bytes) -> None:
        """Give back octets that were received in clear."""
        self._received.insert(0, data)
        self._received_octets += len(data)

    async def start_tls(
        self,
        context: ssl.SSLContext,
        server_hostname: str | None,
        *,
        timeout: float | None,
    ) -> None:
        """Do a TLS handshake as the client; from then on all octets go through TLS."""
        if self.has_received:
            raise BadReply("octets in clear behind the reply to STARTTLS")
        require_server_hostname(context, server_hostname)
        plain = self._transport
        if plain is None or self._is_ended:
            raise ConnectionResetError("the connection is closed") from self._error
        try:
            async with asyncio.timeout(timeout):
                transport = await self._loop.start_tls(
                    plain,
                    self,
                    context,
                    server_hostname=server_hostname,
                    ssl_shutdown_timeout=_CLOSE_SECONDS,
                )
        except BaseException as error:
            # The transport belongs to the handshake by now, and nobody tells us.
            plain.abort()
            self.connection_lost(error if isinstance(error, OSError) else None)
            raise
        connection = transport.get_extra_info("ssl_object") if transport else None
        if transport is None or connection is None:
            # uvloop: the peer closed before the handshake began.
            plain.abort()
            self.connection_lost(None)
            raise ConnectionResetError("the connection broke before the TLS handshake")
        self._transport = transport
        self._tls_info = TLSInfo.of(connection, server_hostname=server_hostname)

    async def close(self) -> None:
        """Close in good order: what was written is sent first, for a few seconds."""
        transport = self._transport
        if transport is None:
            return
        if self._loop is not asyncio.get_running_loop():
            self._desert()
            return
        try:
            if transport.get_write_buffer_size():
                # uvloop may drop what is not written at close.
                transport.set_write_buffer_limits(high=0)
                await self._wait_until(self._has_written, _CLOSE_SECONDS)
            transport.close()
            await self._wait_until(self._closed.done, _CLOSE_SECONDS)
        except TimeoutError:
            self.abort()
            await self._closed
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Close at once."""
        if self._loop.is_closed():
            self._desert()
        elif self._transport is not None:
            self._transport.abort()

    def _desert(self) -> None:
        """End a connection whose event loop is not the one that runs.

        As when a program calls `asyncio.run` twice, and a client outlives the first.
        """
        transport, self._transport = self._transport, None
        self._is_ended = True
        if transport is None:
            return
        # So the server knows at once; the socket is closed as the transport goes.
        sock = transport.get_extra_info("socket")
        if sock is not None:  # uvloop closes it with the loop
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(transport.abort)

    # Waiting.

    def _has_data(self) -> bool:
        return bool(self._received) or self._is_ended

    def _has_written(self) -> bool:
        return not self._is_writing_paused or self._transport is None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait_until(
        self, is_done: Callable[[], bool], timeout: float | None
    ) -> None:
        """Wait for what the callbacks bring.

        Raises:
            TimeoutError: it did not come.
        """
        loop = self._loop
        deadline = float("inf") if timeout is None else loop.time() + timeout
        try:
            while not is_done():
                self._arm_timer(deadline)
                self._waiter = loop.create_future()
                await self._waiter
                if not is_done() and loop.time() >= deadline:
                    raise TimeoutError("the peer took too long")
        finally:
            self._waiter = None
            self._waits_for_data = False

    def _arm_timer(self, deadline: float) -> None:
        """Make sure that the timer fires at the deadline, or before it."""
        self._deadline = deadline
        timer = self._timer
        if timer is not None:
            if timer.when() <= deadline:
                return
            timer.cancel()
            self._timer = None
        if deadline != float("inf"):
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiter is None:
            return  # nobody waits: the next wait arms it
        if self._loop.time() >= self._deadline:
            self._wake()
        else:
            self._arm_timer(self._deadline)


async def connect_tcp(
    host: str,
    port: int,
    *,
    timeout: float | None,
    local_address: str | None = None,
    addresses: Sequence[str] | None = None,
) -> AsyncioChannel:
    """Connect over TCP to whichever of a host's addresses answers first (RFC 8305).

    Args:
        host: a name or an IP address, without brackets.
        port: 1 to 65535.
        timeout: in seconds, for looking up the name and all addresses together.
        local_address: the IP address to connect from; by default the system chooses.
        addresses: IP addresses of the host, if they are known.

    Raises:
        TimeoutError: it took too long.
        OSError: no address took the connection.
        DNSFailure: there can be no such name.
    """
    async with asyncio.timeout(timeout):
        endpoints = known_endpoints(host, port, addresses)
        if endpoints is None:
            loop = asyncio.get_running_loop()
            with names_only(host):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            endpoints = endpoints_of(found)
        usable = usable_from(endpoints, local_address, host)
        sock = await connect_first(usable, local_address=local_address)
        try:
            return await wrap_socket(sock)
        except BaseException:
            sock.close()
            raise


async def connect_unix(path: str, *, timeout: float | None) -> AsyncioChannel:
    """Connect to a unix socket.

    Args:
        path: of the socket; a NUL first means Linux's abstract namespace.
        timeout: in seconds.

    Raises:
        TimeoutError: it took too long.
        OSError: nobody listens there.
    """
    async with asyncio.timeout(timeout):
        _, channel = await asyncio.get_running_loop().create_unix_connection(
            AsyncioChannel, path
        )
    channel.peer = format_address(path)
    return channel


async def wrap_socket(sock: socket.socket) -> AsyncioChannel:
    """Make a channel of a connected stream socket, which it owns from now on."""
    sock.setblocking(False)
    _, channel = await asyncio.get_running_loop().create_connection(
        AsyncioChannel, sock=sock
    )
    return channel

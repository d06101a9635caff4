"""Channels over sockets that block, for programs without an event loop.

Every coroutine here runs to its end without suspending. No write waits in the system,
because a plain ``sendall`` cannot read while it waits: a large batch of pipelined
commands would deadlock with a server whose replies nobody reads (RFC 2920 section
3.1). A poll waits until there is room.

A read may wait, for a few milliseconds, where the system has ``SO_RCVTIMEO`` and a flag
for the writes that must not: most replies come within them, and so cost one call, not
a poll and a read. A reply that takes longer is waited for by a poll, to its deadline;
after one that did, the next wait begins with the poll. Elsewhere each does.

TLS works on memory: the socket moves octets, whatever they mean. So reading while
writing is the same with and without TLS, and TLS runs over anything.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Sequence
from typing import Final

from smtpx.errors import BadReply
from smtpx.net.addresses import endpoints_of, known_endpoints, usable_from
from smtpx.net.channel import MAX_READ_AHEAD_OCTETS, format_address
from smtpx.net.dns import names_only
from smtpx.net.races import connect_first
from smtpx.net.tls import TLSInfo, require_server_hostname

__all__ = ["BlockingChannel", "connect_tcp", "connect_unix"]

# One read. A client reads replies, which are short; the block is allocated each time.
_READ_OCTETS = 16 * 1024

# For how long a read waits in the system. One tick of the slowest clock of Linux: a
# signal handler lets the wait begin anew, so it has to be shorter than the time between
# two signals of a timer, or a deadline would not be noticed as long as they come.
_READ_SECONDS: Final = 0.004
_TIMEVAL: Final = struct.Struct("@ll")  # seconds and microseconds
# More than that was not asked for: there a timeval is something else.
_MOST_READ_SECONDS: Final = 0.1

# (for reading, for writing, seconds or None) -> (readable, writable)
_Wait = Callable[[bool, bool, float | None], tuple[bool, bool]]


def _make_wait(sock: socket.socket) -> _Wait:
    """Return a function that waits for a socket; poll where the system has it.

    ``select.select`` fails for file descriptors over 1,023; Windows, which lacks
    poll, has no such limit.
    """
    if not hasattr(select, "poll"):  # pragma: no cover - Windows

        def wait_by_select(
            read: bool, write: bool, seconds: float | None
        ) -> tuple[bool, bool]:
            to_read, to_write = [sock] * read, [sock] * write
            # Windows reports a failed connection in the third set only.
            found = select.select(to_read, to_write, to_write, seconds)
            return bool(found[0]), bool(found[1] or found[2])

        return wait_by_select

    both = select.poll()
    both.register(sock, 0)
    reader = select.poll()
    reader.register(sock, select.POLLIN)

    def wait_by_poll(
        read: bool, write: bool, seconds: float | None
    ) -> tuple[bool, bool]:
        # poll counts whole milliseconds; it rounds up.
        milliseconds = None if seconds is None else seconds * 1000
        if not write:
            return bool(reader.poll(milliseconds)), False
        both.modify(sock, select.POLLIN * read | select.POLLOUT)
        found = both.poll(milliseconds)
        event = found[0][1] if found else 0
        # An error or hang-up is for whoever reads or writes next to find out.
        failed = event & (select.POLLERR | select.POLLHUP | select.POLLNVAL)
        return (
            bool(read and (event & select.POLLIN or failed)),
            bool(event & select.POLLOUT or failed),
        )

    return wait_by_poll


def _let_reads_wait(sock: socket.socket) -> int:
    """Make reads of a socket wait a little; return the flag for calls that must not.

    Where the system cannot do that, nothing ever waits, and there is no such flag.
    """
    sock.setblocking(False)
    flag: int = getattr(socket, "MSG_DONTWAIT", 0)
    if isinstance(sock, ssl.SSLSocket):
        return 0  # it takes no flags
    if flag and hasattr(socket, "SO_RCVTIMEO") and hasattr(select, "poll"):
        level, option = socket.SOL_SOCKET, socket.SO_RCVTIMEO
        asked = _TIMEVAL.pack(0, round(_READ_SECONDS * 1e6))
        with contextlib.suppress(OSError, struct.error):
            sock.setsockopt(level, option, asked)
            found = _TIMEVAL.unpack(sock.getsockopt(level, option, _TIMEVAL.size))
            if 0 < found[0] + found[1] / 1e6 <= _MOST_READ_SECONDS:
                sock.setblocking(True)
                return flag
    return 0


def _make_poll(sock: socket.socket, wait: _Wait) -> Callable[[float | None], object]:
    """Return a function that waits for something to read, for milliseconds or ever.

    What it returns is true if there is. It is the system's own where there is one.
    """
    if not hasattr(select, "poll"):  # pragma: no cover - Windows

        def poll(milliseconds: float | None) -> bool:
            seconds = None if milliseconds is None else milliseconds / 1000
            return wait(True, False, seconds)[0]

        return poll
    reader = select.poll()
    reader.register(sock, select.POLLIN)
    return reader.poll


class _Clock:
    """What is left of a timeout."""

    __slots__ = ("_end", "_what")

    def __init__(self, timeout: float | None, what: str) -> None:
        self._end = None if timeout is None else time.monotonic() + timeout
        self._what = what

    def left(self) -> float | None:
        """Return the seconds left.

        Raises:
            TimeoutError: there are none.
        """
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no {self._what} in time")
        return left


class BlockingChannel:
    """A channel over a connected socket, for a thread that may wait.

    It satisfies `smtpx.net.channel.Channel`, which documents the methods.

    Args:
        sock: a connected stream socket. The channel owns it from now on.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        # For calls that must not wait; 0 where no call does.
        self._now = _let_reads_wait(sock)
        # Whether to read at once: the last reply was not long in coming.
        self._is_prompt = self._now != 0
        self._wait = _make_wait(sock)
        self._poll = _make_poll(sock, self._wait)
        self._received = bytearray()  # as it came from the network
        self._is_ended = False
        self._tls: _TLS | None = None
        self._tls_info: TLSInfo | None = None
        self.peer = format_address(_name_of(sock.getpeername))
        self.local = format_address(_name_of(sock.getsockname))

    @property
    def tls(self) -> TLSInfo | None:
        """Facts about TLS, None in clear."""
        return self._tls_info

    @property
    def has_received(self) -> bool:
        """Whether octets arrived that `receive` did not return yet."""
        return bool(self._received) or (
            self._tls is not None and self._tls.has_received
        )

    @property
    def is_readable(self) -> bool:
        """Whether `receive` would return at once, if only to tell of the end."""
        return self.has_received or self._is_ended or self._wait(True, False, 0)[0]

    async def send(self, data: bytes | memoryview, *, timeout: float | None) -> None:
        """Write all of the data; read meanwhile, so that the peer is never stuck."""
        if self._tls is not None:
            data = self._tls.encrypt(data)
        # As `_write` does; a call less for each flight.
        try:
            sent = self._socket.send(data, self._now)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._write_rest(memoryview(data)[sent:], _Clock(timeout, "progress"))

    async def receive(self, *, timeout: float | None) -> bytes:
        """Return what was received: at least one octet, or none at the end."""
        if self._tls is not None:
            return self._receive_tls(self._tls, timeout)
        if self._received or self._is_ended:
            return self._take_received()
        clock = time.monotonic
        started = clock()
        if self._is_prompt and (timeout is None or timeout > _READ_SECONDS):
            # The usual case, without a detour: one call that waits and reads.
            try:
                data = self._socket.recv(_READ_OCTETS)
            except BlockingIOError:
                self._is_prompt = False
            else:
                self._is_ended = not data
                return data
        left = None if timeout is None else (timeout - clock() + started) * 1000
        if not self._poll(left if left is None or left > 0 else 0):
            raise TimeoutError("no data in time")
        self._is_prompt = self._now != 0 and clock() - started < _READ_SECONDS
        try:
            data = self._socket.recv(_READ_OCTETS, self._now)
        except BlockingIOError:  # woken up for nothing, as Linux may do
            self._read(_Clock(left and left / 1000, "data"))
            return self._take_received()
        self._is_ended = not data
        return data

    def put_back(self, data: bytes) -> None:
        """Give back octets that were received in clear."""
        self._received[:0] = data

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
        clock = _Clock(timeout, "TLS handshake")
        tls = _TLS(context, server_hostname)
        while not tls.shake_hands():
            self._write(tls.take_outgoing(), clock.left())
            self._feed(tls, clock)
        self._write(tls.take_outgoing(), clock.left())
        self._tls = tls
        self._tls_info = tls.info()

    async def close(self) -> None:
        """Close in good order; it never waits, as `send` has written everything."""
        if self._tls is not None and self._socket.fileno() >= 0:
            with contextlib.suppress(OSError):
                # Best effort: a peer that does not read must not hold us up.
                self._socket.send(self._tls.close(), self._now)
        self._socket.close()

    def abort(self) -> None:
        """Close at once."""
        self._socket.close()

    def _write(self, data: bytes | memoryview, timeout: float | None) -> None:
        try:
            sent = self._socket.send(data, self._now)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._write_rest(memoryview(data)[sent:], _Clock(timeout, "progress"))

    def _write_rest(self, data: memoryview, clock: _Clock) -> None:
        while data:
            has_room = len(self._received) < MAX_READ_AHEAD_OCTETS
            may_read = has_room and not self._is_ended
            readable, writable = self._wait(may_read, True, clock.left())
            if readable:
                self._read_available()
            if writable:
                with contextlib.suppress(BlockingIOError):
                    data = data[self._socket.send(data, self._now) :]

    def _read(self, clock: _Clock) -> None:
        """Wait until something was read or the stream has ended."""
        while True:
            self._wait(True, False, clock.left())
            if self._read_available():
                return
            clock.left()

    def _read_available(self) -> bool:
        """Read once; say whether there was anything, the end included."""
        try:
            data = self._socket.recv(_READ_OCTETS, self._now)
        except BlockingIOError:
            return False
        if data:
            self._received += data
        else:
            self._is_ended = True
        return True

    def _receive_tls(self, tls: _TLS, timeout: float | None) -> bytes:
        clock = _Clock(timeout, "data")
        while True:
            tls.feed(self._take_received(), is_ended=self._is_ended)
            data = tls.decrypt()
            # Renewed keys are answered at once (RFC 8446 section 4.6.3).
            if outgoing := tls.take_outgoing():
                self._write(outgoing, clock.left())
            if data is not None:
                return data
            if not self._received:
                self._read(clock)

    def _feed(self, tls: _TLS, clock: _Clock) -> None:
        """Give TLS what comes next from the network."""
        if not self._received and not self._is_ended:
            self._read(clock)
        tls.feed(self._take_received(), is_ended=self._is_ended)

    def _take_received(self) -> bytes:
        data = bytes(self._received)
        self._received.clear()
        return data


class _TLS:
    """A TLS connection on memory, as the client."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str | None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_hostname
        )
        self._is_ended = False

    @property
    def has_received(self) -> bool:
        """Whether there are octets left to decrypt, or decrypted ones left to read."""
        return self._incoming.pending > 0 or self._object.pending() > 0

    def shake_hands(self) -> bool:
        """Go on with the handshake; say whether it is done."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def info(self) -> TLSInfo:
        return TLSInfo.of(self._object)

    def feed(self, data: bytes, *, is_ended: bool) -> None:
        if data:
            self._incoming.write(data)
        if is_ended and not self._is_ended:
            self._is_ended = True
            self._incoming.write_eof()

    def encrypt(self, data: bytes | memoryview) -> bytes:
        if data:
            self._object.write(data)
        return self._outgoing.read()

    def decrypt(self) -> bytes | None:
        """Return what was received; nothing at the end, None if more must be fed."""
        try:
            return self._object.read(_READ_OCTETS)
        except ssl.SSLWantReadError:
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            # Without a close_notify too: replies say themselves where they end, so
            # one that was cut off is found out.
            return b""

    def take_outgoing(self) -> bytes:
        return self._outgoing.read()

    def close(self) -> bytes:
        """Return the octets that tell the peer about the end."""
        with contextlib.suppress(ssl.SSLError):
            self._object.unwrap()
        return self._outgoing.read()


def _name_of(get_name: Callable[[], object]) -> object:
    """Return an address; "" if the peer has closed already."""
    try:
        return get_name()
    except OSError:
        return ""


def connect_tcp(
    host: str,
    port: int,
    *,
    timeout: float | None,
    local_address: str | None = None,
    addresses: Sequence[str] | None = None,
) -> BlockingChannel:
    """Connect over TCP to whichever of a host's addresses answers first (RFC 8305).

    Args:
        host: a name or an IP address, without brackets.
        port: 1 to 65535.
        timeout: in seconds, for all addresses together; looking up the name is not
            in it, as the system offers no way to bound that.
        local_address: the IP address to connect from; by default the system chooses.
        addresses: IP addresses of the host, if they are known.

    Raises:
        TimeoutError: it took too long.
        OSError: no address took the connection.
        DNSFailure: there can be no such name.
    """
    endpoints = known_endpoints(host, port, addresses)
    if endpoints is None:
        with names_only(host):
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        endpoints = endpoints_of(found)
    sock = connect_first(
        usable_from(endpoints, local_address, host),
        timeout=timeout,
        local_address=local_address,
    )
    try:
        # A flight of commands is one write, so there is nothing to coalesce.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return BlockingChannel(sock)
    except BaseException:
        sock.close()
        raise


def connect_unix(path: str, *, timeout: float | None) -> BlockingChannel:
    """Connect to a unix socket.

    Args:
        path: of the socket; a NUL first means Linux's abstract namespace.
        timeout: in seconds.

    Raises:
        TimeoutError: it took too long.
        OSError: nobody listens there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    channel = BlockingChannel(sock)
    channel.peer = format_address(path)
    return channel

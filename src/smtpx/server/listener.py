"""The server: sockets that listen, and the connections that came of them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from smtpx.core.config import ServerConfig
from smtpx.net.binding import hash_end_point, own_certificates
from smtpx.net.channel import format_address
from smtpx.sasl.registry import SERVER_MECHANISMS
from smtpx.server.connection import Connection
from smtpx.server.counts import ConnectionCounts
from smtpx.server.observed import ObservedConnection
from smtpx.server.options import ServerOptions
from smtpx.server.pump import Pump
from smtpx.server.questions import can_answer
from smtpx.server.session import ConnectionInfo, Session
from smtpx.server.work import extensions_of
from smtpx.wire import replies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from smtpx.sasl.mechanism import ServerMechanism
    from smtpx.wire.replies import Reply

__all__ = ["Address", "Server"]

logger = logging.getLogger("smtpx.server")

#: Where to listen: ``"host:port"``, ``"[::1]:port"``, ``":port"`` (all interfaces),
#: ``"unix:/path"``, or a socket that is bound already (systemd).
Address: TypeAlias = str | socket.socket

_UNIX_PREFIX: Final = "unix:"


class Server:
    r"""Listens, and runs a session for each client.

    Args:
        session_factory: makes a session for a ``ConnectionInfo``: a class will do.
        address: where to listen, one or several; port 0 takes a free one.
        options: everything else.

    Attributes:
        options: as given.
        hostname: what the server calls itself.

    Example:
        >>> import asyncio, smtpx
        >>> class Inbox(smtpx.Session):
        ...     async def data(self, body):
        ...         print(await body.read())
        >>> async def main():
        ...     async with smtpx.Server(Inbox, "127.0.0.1:0") as server:
        ...         await smtpx.asend(
        ...             b"Subject: hi\r\n\r\nhello\r\n",
        ...             to=f"smtp+plain://{server.addresses[0]}",
        ...             sender="a@example.com",
        ...             recipients=["b@example.com"],
        ...         )
        >>> asyncio.run(main())
        b'Subject: hi\r\n\r\nhello\r\n'
    """

    def __init__(
        self,
        session_factory: Callable[[ConnectionInfo], Session],
        address: Address | Sequence[Address] = "127.0.0.1:0",
        *,
        options: ServerOptions | None = None,
    ) -> None:
        self._addresses: tuple[Address, ...]
        if isinstance(address, str | socket.socket):
            self._addresses = (address,)
        else:
            self._addresses = tuple(address)
        for one in self._addresses:
            if isinstance(one, str) and not one.startswith(_UNIX_PREFIX):
                parse_address(
                    one
                )  # raises ValueError on a wrong one, now and not later
        self.session_factory = session_factory
        self.options = options or ServerOptions()
        self.hostname = self.options.hostname or socket.gethostname()
        self._listeners: list[asyncio.AbstractServer] = []
        self._unix_paths: list[tuple[Path, int]] = []
        self._bound: tuple[str, ...] = ()
        self._connections: set[Pump] = set()
        self._counts = ConnectionCounts(self.options)
        self._configs: dict[type[Session], ServerConfig] = {}
        self._is_stopping = False
        self._all_gone: asyncio.Event | None = None

    def __repr__(self) -> str:
        where = " ".join(self._bound) or "not listening"
        return f"<Server {where}, {len(self._connections)} connections>"

    # ------------------------------------------------------------------- life cycle

    async def start(self) -> None:
        """Begin to listen; on return clients can connect.

        Raises:
            OSError: an address cannot be used; then none is.
            RuntimeError: the server was started before.
        """
        if self._all_gone is not None:
            message = "a server starts once; make another one"
            raise RuntimeError(message)
        self._all_gone = asyncio.Event()
        self._all_gone.set()
        try:
            for address in self._addresses:
                await self._listen(address)
        except BaseException:
            await self.close()
            raise
        for bound in self._bound:
            logger.info("listening on %s", bound)

    async def __aenter__(self) -> Self:
        """Start the server."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop at once; call ``shutdown`` before for a gentle end."""
        await self.close()

    async def serve_forever(self) -> None:
        """Serve until cancelled, then shut down at once."""
        if self._all_gone is None:
            await self.start()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self.close()

    async def close(self) -> None:
        """Stop now: connections are dropped, messages under way aborted."""
        self._stop_listening()
        for connection in tuple(self._connections):
            connection.abort()
        await self._wait_gone()

    async def shutdown(self, grace: float) -> None:
        """Stop gently: idle clients get 421 4.3.2, transactions under way may finish.

        Args:
            grace: seconds after which those that did not finish are dropped.
        """
        self._stop_listening()
        for connection in tuple(self._connections):
            connection.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._wait_gone()
        await self.close()

    @contextlib.contextmanager
    def run_in_thread(
        self, *, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    ) -> Iterator[Self]:
        """Run the server in a thread of its own, for blocking code.

        Args:
            loop_factory: makes the event loop, such as ``uvloop.new_event_loop``.

        Yields:
            The server, listening; it is closed at the end of the block.

        Raises:
            OSError: an address cannot be used.

        >>> import smtpx
        >>> with smtpx.Server(smtpx.Session).run_in_thread() as server:
        ...     with smtpx.Client(f"smtp+plain://{server.addresses[0]}") as client:
        ...         client.noop().code
        250
        """
        thread = _ServerThread(self, loop_factory)
        thread.start()
        thread.wait_started()
        try:
            yield self
        finally:
            thread.stop()

    # ------------------------------------------------------------------- what there is

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that the server listens on, with the ports it was given."""
        return self._bound

    @property
    def connections(self) -> tuple[ConnectionInfo, ...]:
        """The connections there are now; each has ``close``."""
        return tuple(connection.info for connection in self._connections)

    # ----------------------------------------------------------------- for connections

    def config_for(self, session: type[Session]) -> ServerConfig:
        """Return the settings of the machine for sessions of a class; made once.

        Args:
            session: the class; the hooks it overrides decide on AUTH.
        """
        config = self._configs.get(session)
        if config is None:
            config = self._configs[session] = self._make_config(session)
        return config

    def opened(self, connection: Pump) -> Reply | None:
        """Count a connection; return a reply to turn it away with.

        Args:
            connection: that was just made.
        """
        self._connections.add(connection)
        if self._all_gone is not None:
            self._all_gone.clear()
        refusal = self._counts.open(connection, connection.info.peer_host)
        return replies.SHUTTING_DOWN if self._is_stopping else refusal

    def ended(self, connection: Pump) -> None:
        """Count a connection no more.

        Args:
            connection: whose session has ended.
        """
        self._connections.discard(connection)
        self._counts.end(connection)
        if not self._connections and self._all_gone is not None:
            self._all_gone.set()

    # ------------------------------------------------------------------------ inside

    @functools.cached_property
    def _can_bind(self) -> bool:
        """Whether there is a certificate that a client can bind a proof to."""
        tls = self.options.tls
        certificates = () if tls is None else own_certificates(tls)
        return any(map(hash_end_point, certificates))

    def _make_config(self, session: type[Session]) -> ServerConfig:
        options = self.options
        mechanisms: dict[str, type[ServerMechanism]] = {}
        for name in options.auth_mechanisms:
            mechanism = SERVER_MECHANISMS[name.upper()]
            if can_answer(session, mechanism) and (
                not mechanism.binds_channel or self._can_bind
            ):
                mechanisms[mechanism.name] = mechanism
        mechanisms |= {n.upper(): m for n, m in options.extra_mechanisms.items()}
        return ServerConfig(
            hostname=self.hostname,
            is_lmtp=options.lmtp,
            limits=options.limits,
            bare_newline=options.bare_newline,
            lenient_paths=options.lenient_paths,
            extensions=options.enabled_extensions | extensions_of(session),
            extension_settings=options.extension_settings,
            registry=options.registry,
            mechanisms=mechanisms,
            plaintext_mechanisms=frozenset(n.upper() for n in options.plaintext_auth),
            trusts_local_clients=options.local_plaintext_auth,
            offers_starttls=options.tls is not None and not options.implicit_tls,
            requires_tls=options.require_tls,
            requires_auth=options.require_auth,
        )

    async def _listen(self, address: Address) -> None:
        loop = asyncio.get_running_loop()
        options = self.options
        context = options.tls if options.implicit_tls else None
        handshake = None if context is None else options.timeouts.handshake

        # Who is not watched has no part in it, not even a question.
        kind = ObservedConnection if options.event_sinks else Connection

        def make() -> Connection:
            return kind(self, loop)

        if isinstance(address, socket.socket):
            is_unix = address.family == getattr(socket, "AF_UNIX", None)
            create = loop.create_unix_server if is_unix else loop.create_server
            listener = await create(
                make,
                sock=address,
                backlog=options.backlog,
                ssl=context,
                ssl_handshake_timeout=handshake,
            )
        elif address.startswith(_UNIX_PREFIX):
            path = address.removeprefix(_UNIX_PREFIX)
            listener = await loop.create_unix_server(
                make,
                path,
                backlog=options.backlog,
                ssl=context,
                ssl_handshake_timeout=handshake,
            )
            self._remember_path(Path(path))
        else:
            host, port = parse_address(address)
            listener = await loop.create_server(
                make,
                host,
                port,
                backlog=options.backlog,
                ssl=context,
                ssl_handshake_timeout=handshake,
            )
        self._listeners.append(listener)
        self._bound += tuple(format_address(s.getsockname()) for s in listener.sockets)

    def _remember_path(self, path: Path) -> None:
        self._unix_paths.append((path, path.stat().st_ino))

    def _stop_listening(self) -> None:
        self._is_stopping = True
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for path, inode in self._unix_paths:
            # Another server may have taken the path since.
            with contextlib.suppress(OSError):
                status = path.stat()
                if status.st_ino == inode and stat.S_ISSOCK(status.st_mode):
                    path.unlink()
        self._unix_paths.clear()

    async def _wait_gone(self) -> None:
        if self._all_gone is not None:
            await self._all_gone.wait()


def parse_address(address: str) -> tuple[str | None, int]:
    """Split ``host:port``.

    Args:
        address: an IPv6 address stands in brackets; an empty host is every interface.

    Returns:
        The host, None for all interfaces, and the port.

    Raises:
        ValueError: there is no port, or it is no number from 0 to 65535.

    >>> parse_address("[::1]:2525"), parse_address(":25")
    (('::1', 2525), (None, 25))
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        message = (
            f"{address!r} is no address to listen on: write host:port, [IPv6]:port, "
            f"or {_UNIX_PREFIX}/path"
        )
        raise ValueError(message)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        message = f"put the IPv6 address in {address!r} in brackets: [{host}]:{port}"
        raise ValueError(message)
    return host or None, int(port)


class _ServerThread(threading.Thread):
    """A thread with an event loop that runs a server until it is told to stop."""

    def __init__(
        self,
        server: Server,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
    ) -> None:
        super().__init__(name="smtpx-server", daemon=True)
        self._server = server
        self._loop_factory = loop_factory
        self._ready_event = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_event: asyncio.Event | None = None

    def run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._loop_factory) as runner:
                runner.run(self._serve())
        except BaseException as error:
            # It is raised again in the thread that waits for this one.
            self._error = error
        finally:
            self._ready_event.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop_event = asyncio.Event()
        async with self._server:
            self._ready_event.set()
            await self._stop_event.wait()

    def wait_started(self) -> None:
        """Wait until the server listens; raise what kept it from that."""
        self._ready_event.wait()
        if self._error is not None:
            self.join()
            raise self._error

    def stop(self) -> None:
        """Stop the server and wait for the end of the thread."""
        if self._loop is not None and self._stop_event is not None and self.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop ended by itself
                self._loop.call_soon_threadsafe(self._stop_event.set)
        self.join()
        if self._error is not None:
            raise self._error

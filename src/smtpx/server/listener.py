"""The server: sockets that listen, and the connections that came of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from typing import TYPE_CHECKING, Final, Self

from smtpx.net.certificates import ServerTLS
from smtpx.server.counts import ConnectionCounts
from smtpx.server.guards import close_guards
from smtpx.server.host import Guest
from smtpx.server.options import ServerOptions
from smtpx.server.post import Post
from smtpx.server.session import ConnectionInfo, Session
from smtpx.server.sockets import Address, Listener, listeners_of
from smtpx.wire import replies

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from smtpx.core.config import ServerConfig
    from smtpx.wire.replies import Reply

__all__ = ["Server"]

logger = logging.getLogger("smtpx.server")

# `max_size` of asyncio's transports.
_ASYNCIO_READ_OCTETS: Final = 262_144


class Server:
    r"""Listens, and runs a session for each client.

    Args:
        session_factory: makes a session for a ``ConnectionInfo``: a class will do.
        address: where to listen, one or several: ``"host:port"``, ``":port"`` (all
            interfaces), ``"unix:/path"``, a socket that is bound already, or a
            `Listener`, which says what is different there; port 0 takes a free one.
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
        _require_factory(session_factory)
        listeners = listeners_of(address)
        self.session_factory = session_factory
        self.options = options or ServerOptions()
        self.hostname = self.options.hostname or socket.gethostname()
        self._posts = [Post(self, listener) for listener in listeners]
        self._bound: tuple[tuple[str, Listener], ...] = ()
        self._connections: set[Guest] = set()
        self._counts = ConnectionCounts(self.options)
        self._is_stopping = False
        self._tls_timer: asyncio.TimerHandle | None = None
        self._all_gone: asyncio.Event | None = None

    def __repr__(self) -> str:
        where = "" if self._is_stopping else " ".join(self.addresses)
        where = where or "not listening"
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
        # glibc maps and unmaps a block over its threshold each time, and asyncio reads
        # into such a one; the threshold goes up when a larger one is let go. That takes
        # 100 to 200 us off a connection with one message, and costs nothing.
        bytearray(4 * _ASYNCIO_READ_OCTETS)
        try:
            for post in self._posts:
                self._bound += await post.bind()
            for post in self._posts:
                await post.start()
        except BaseException:
            await self.close()
            raise
        for address in self.addresses:
            logger.info("listening on %s", address)
        self._poll_tls(asyncio.get_running_loop())

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
        self._stop_listening(takes_queue=False)
        for post in self._posts:
            post.turn_away()
        for connection in tuple(self._connections):
            connection.abort()
        await self._wait_gone()
        for post in self._posts:
            post.all_gone()
        await close_guards(self.options.guards)

    async def shutdown(self, grace: float, *, takes_queue: bool | None = None) -> None:
        """Stop gently: idle clients get 421 4.3.2, transactions under way may finish.

        Args:
            grace: seconds after which those that did not finish are dropped.
            takes_queue: tell it to those as well whom the kernel has connected, but
                nobody accepted yet; they are reset otherwise, unless somebody else
                listens on the same socket. None: at the sockets that the server bound
                itself, and so has for itself.
        """
        handed_over = [post.take_by_hand() for post in self._posts]
        if any(handed_over):
            # A turn for those whom the loop has accepted, and not told us of: they are
            # clients like all others.
            await asyncio.sleep(0)
        self._stop_listening(takes_queue=takes_queue)
        for connection in tuple(self._connections):
            connection.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._wait_gone()
        await self.close()

    def reload_tls(self, context: ssl.SSLContext | None = None) -> None:
        """Do handshakes with new certificates from now on; nobody is disconnected.

        Call it from the server's own thread.

        Args:
            context: the new one; None: read the files of the ``ServerTLS`` again that
                ``options.tls`` is.

        Raises:
            OSError: a file cannot be read, or is no certificate or key; then all stays
                as it was.
            ValueError: the server has no TLS, or no files to read again.
        """
        tls = self.options.tls
        if tls is None:
            raise ValueError("this server offers no TLS: give tls in its options")
        if context is None:
            if not isinstance(tls, ServerTLS):
                message = "give a new context, or a ServerTLS as tls in the options"
                raise ValueError(message)
            tls.reload()
            context = tls.context
        for post in self._posts:
            post.use_tls(context)
        logger.info("TLS certificates reloaded")

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
        return tuple(address for address, _ in self._bound)

    @property
    def listening(self) -> tuple[tuple[str, Listener], ...]:
        """Each of these addresses, with the `Listener` that it came of."""
        return self._bound

    @property
    def connections(self) -> tuple[ConnectionInfo, ...]:
        """The connections there are now; each has ``close``."""
        return tuple(connection.info for connection in self._connections)

    # ----------------------------------------------------------------- for connections

    def config_for(self, session: type[Session]) -> ServerConfig:
        """Return the settings of the machine for sessions at the first listener.

        Args:
            session: their class; the hooks it overrides decide on AUTH.
        """
        return self._posts[0].config_for(session)

    def opened(self, connection: Guest) -> Reply | None:
        """Count a connection; return a reply to turn it away with.

        Args:
            connection: that was just made.
        """
        if not self._connections and self._all_gone is not None:
            self._all_gone.clear()
        self._connections.add(connection)
        # A proxy is known by the clients that it speaks for.
        host = None if connection.awaits_header else connection.info.peer_host
        refusal = self._counts.open(connection, host)
        return replies.SHUTTING_DOWN if self._is_stopping else refusal

    @property
    def is_crowded(self) -> bool:
        """Whether so many are turned away just now that more should get no word."""
        return self._counts.is_crowded

    def moved(self, connection: Guest) -> Reply | None:
        """Count a connection to the client that it is spoken for now.

        Args:
            connection: whose ``info`` tells the address.
        """
        return self._counts.move(connection, connection.info.peer_host)

    def ended(self, connection: Guest) -> None:
        """Count a connection no more.

        Args:
            connection: whose session has ended.
        """
        self._connections.discard(connection)
        self._counts.end(connection)
        if not self._connections and self._all_gone is not None:
            self._all_gone.set()
        for post in self._posts:
            post.resume()

    # ------------------------------------------------------------------------ inside

    def _stop_listening(self, *, takes_queue: bool | None) -> None:
        self._is_stopping = True
        if self._tls_timer is not None:
            self._tls_timer.cancel()
        for post in self._posts:
            post.stop(takes_queue=takes_queue)

    def _poll_tls(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at the files now and then, if that was asked for."""
        tls = self.options.tls
        if not isinstance(tls, ServerTLS) or tls.poll_seconds is None:
            return
        try:
            tls.reload_if_changed()
        except OSError as error:
            # Half of the files may be there; the old ones serve until all are.
            logger.warning("cannot reload the TLS certificates: %s", error)
        if self._posts[0].tls is not tls.context:
            for post in self._posts:
                post.use_tls(tls.context)
            logger.info("TLS certificates reloaded")
        self._tls_timer = loop.call_later(tls.poll_seconds, self._poll_tls, loop)

    async def _wait_gone(self) -> None:
        if self._all_gone is not None:
            await self._all_gone.wait()


def _require_factory(factory: object) -> None:
    """Refuse what is no factory now, and not at the first connection."""
    if not callable(factory):
        message = (
            "a server makes a session for each connection: give it the class, not "
            f"{factory!r}"
        )
        raise TypeError(message)


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

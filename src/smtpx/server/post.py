"""One listener of a server: its sockets, the options there, and who connects to it."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final, Protocol

from smtpx.core.config import ServerConfig
from smtpx.errors import BadProxyHeader
from smtpx.net.binding import hash_end_point, own_certificates
from smtpx.net.certificates import ServerTLS
from smtpx.net.channel import format_address
from smtpx.sasl.registry import SERVER_MECHANISMS
from smtpx.server.accept import Acceptor
from smtpx.server.connection import Connection
from smtpx.server.guards import UNGUARDED, Guarded, guard_with, tell_ended
from smtpx.server.loop_accept import LoopAcceptor, can_accept
from smtpx.server.networks import Networks
from smtpx.server.patience import connection_class
from smtpx.server.proxied import Gateways, read_proxy_header
from smtpx.server.questions import can_answer
from smtpx.server.sockets import BoundSocket, Listener, bind_listener
from smtpx.server.watchdog import Rounds
from smtpx.server.work import extensions_of, overridden_by

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine

    from smtpx.sasl.mechanism import ServerMechanism
    from smtpx.server.host import Guest
    from smtpx.server.options import ServerOptions
    from smtpx.server.session import ConnectionInfo, Session
    from smtpx.wire.replies import Reply

__all__ = ["Owner", "Post"]

logger = logging.getLogger("smtpx.server")

_MINUTE: Final = timedelta(minutes=1)


class Owner(Protocol):
    """What a post needs of the server that it belongs to."""

    hostname: str
    options: ServerOptions
    session_factory: Callable[[ConnectionInfo], Session]

    @property
    def is_crowded(self) -> bool:
        """Whether so many are turned away that more should get no word."""
        ...

    def opened(self, connection: Guest) -> Reply | None:
        """Take note of a connection; return a reply to turn it away with."""
        ...

    def moved(self, connection: Guest) -> Reply | None:
        """Take note that it is another client's; return a reply to turn it away."""
        ...

    def ended(self, connection: Guest) -> None:
        """Take note that it is gone."""
        ...


class Post:
    """What a server is to the clients of one of its listeners.

    Args:
        owner: the server.
        listener: where it listens, and what is different there.

    Attributes:
        hostname: the server's.
        options: the server's, as they are here.
        session_factory: the server's.
        tls: certificate and rules of TLS here, None without.
        gateways: whom it lets speak for others.
        rounds: wake the watchdogs of its connections, from ``start`` on.

    Raises:
        ValueError: the listener's options contradict the server's.
    """

    rounds: Rounds

    def __init__(self, owner: Owner, listener: Listener) -> None:
        self.hostname = owner.hostname
        self.options = options = listener.options_here(owner.options)
        self.session_factory = owner.session_factory
        tls = options.tls
        self.tls = tls.context if isinstance(tls, ServerTLS) else tls
        self.gateways = Gateways(options)
        self.opened = owner.opened
        self.moved = owner.moved
        self._owner = owner
        self._kind = connection_class(options)
        self._guarded = guard_with(options.guards)
        self._unlimited = Networks(options.unlimited_networks)
        self._plaintext = Networks(options.plaintext_networks)
        self._listener = listener
        self._bound: list[BoundSocket] = []
        self._acceptors: list[Acceptor | LoopAcceptor] = []
        self._configs: dict[type[Session], ServerConfig] = {}
        self._work: dict[type[Session], frozenset[type]] = {}
        self._minute = self._next_minute = datetime.min.replace(tzinfo=UTC)
        self._is_same_for_all = not (
            options.xclient_networks
            or options.xforward_networks
            or options.plaintext_networks
        )
        self._is_started = False
        self._takes_nobody = False
        # The loop knows its tasks weakly.
        self._opening: set[asyncio.Task[object]] = set()

    # ----------------------------------------------------------------- for the server

    async def bind(self) -> tuple[tuple[str, Listener], ...]:
        """Listen, without accepting anybody yet; return the addresses.

        Raises:
            OSError: an address cannot be used.
        """
        self._bound = await bind_listener(self._listener, self.options.backlog)
        return tuple((bound.name, bound.listener) for bound in self._bound)

    async def start(self) -> None:
        """Begin to accept."""
        loop = asyncio.get_running_loop()
        self.rounds = Rounds(loop, self.options.timeouts)
        self._is_started = True
        for bound in self._bound:
            take = functools.partial(self._take, loop, bound.local_name)
            acceptor = Acceptor(loop, bound.sock, take, name=bound.name)
            if self._can_be_loops(bound) and can_accept(loop):
                take_made = functools.partial(self._take_made, loop, bound.local_name)
                loops = LoopAcceptor(loop, acceptor, self.options.backlog, take_made)
                self._acceptors.append(loops)
                await loops.start()
            else:
                self._acceptors.append(acceptor)
                acceptor.start()

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Do handshakes under another context from now on."""
        self.tls = context
        # What AUTH offers may depend on the certificate.
        self._configs.clear()
        self.__dict__.pop("_can_bind", None)

    def stop(self, *, takes_queue: bool | None) -> None:
        """Accept no more, and give the addresses back; twice is fine.

        Args:
            takes_queue: take those first whom the kernel has connected already; None:
                from sockets of our own.
        """
        acceptors, self._acceptors = self._acceptors, []
        bound_sockets, self._bound = self._bound, []
        # One that could not begin left the sockets behind it without acceptors.
        for bound, acceptor in zip_longest(bound_sockets, acceptors):
            bound.remove_file()
            if acceptor is None:
                bound.sock.close()
            else:
                is_taken = bound.is_ours if takes_queue is None else takes_queue
                acceptor.stop(takes_queue=is_taken)

    def take_by_hand(self) -> bool:
        """Let no loop accept any more; tell whether one did.

        Those whom it has accepted already it tells of in its next turn.
        """
        handed_over = [
            acceptor.go_on_by_hand()
            for acceptor in self._acceptors
            if isinstance(acceptor, LoopAcceptor)
        ]
        return any(handed_over)

    def turn_away(self) -> None:
        """Take nobody any more, not even whom the loop has accepted already."""
        self._takes_nobody = True

    def resume(self) -> None:
        """A connection ended: there may be room again for one more."""
        for acceptor in self._acceptors:
            acceptor.resume()

    def all_gone(self) -> None:
        """There is no connection any more, nor will there be."""
        if self._is_started:
            self.rounds.stop()

    # ---------------------------------------------------------------- for connections

    def settings_for(
        self, session: type[Session], info: ConnectionInfo
    ) -> ServerConfig:
        """Return the settings of the machine for a client.

        Args:
            session: the class of its session.
            info: facts about it.
        """
        config = self.config_for(session)
        if self._is_same_for_all:
            return config
        config = config.for_gateway(self.gateways.verbs_of(info))
        return config.without_tls if self._needs_no_tls(info) else config

    def config_for(self, session: type[Session]) -> ServerConfig:
        """Return the settings of the machine for sessions of a class; made once.

        Args:
            session: the class; the hooks it overrides decide on AUTH.
        """
        config = self._configs.get(session)
        if config is None:
            config = self._configs[session] = self._make_config(session)
        return config

    def work_of(self, session: type[Session]) -> frozenset[type]:
        """Return the kinds of work for which sessions of a class need a coroutine.

        Args:
            session: the class.
        """
        work = self._work.get(session)
        if work is None:
            work = self._work[session] = overridden_by(session)
        return work

    def minute_of(self, moment: datetime) -> datetime:
        """Return the minute of a moment.

        It is the same object for all that begin in it: what a machine keeps for a
        minute is found by its hash, and the hash of a time, which takes 3 us to make,
        is kept in the object.

        Args:
            moment: in UTC.
        """
        if not self._minute <= moment < self._next_minute:
            self._minute = moment.replace(second=0, microsecond=0)
            self._next_minute = self._minute + _MINUTE
        return self._minute

    def ended(self, connection: Guest) -> None:
        """Count a connection no more.

        Args:
            connection: whose session has ended.
        """
        self._owner.ended(connection)
        guards = self.options.guards
        if guards:
            tell_ended(guards, connection.info)

    def guarded(self, info: ConnectionInfo) -> Guarded:
        """Return what guards change for a client.

        Args:
            info: facts about the client.
        """
        guarded = self._guarded
        if guarded is UNGUARDED or self.is_trusted(info):
            return UNGUARDED
        return guarded

    def is_trusted(self, info: ConnectionInfo) -> bool:
        """Tell whether nothing guards against a client.

        Args:
            info: facts about it.
        """
        # One whose address nobody knows has none either, and is not trusted.
        return info.is_unix or info.peer_host in self._unlimited

    def _needs_no_tls(self, info: ConnectionInfo) -> bool:
        """Tell whether a client may do anything in plaintext."""
        if not self._plaintext or info.peer_host not in self._plaintext:
            return False
        # A gateway that speaks for it has to be where nobody listens, too.
        gateway = info.original
        return (
            gateway is None or gateway.is_unix or gateway.peer_host in self._plaintext
        )

    # ------------------------------------------------------------------------- inside

    def _can_be_loops(self, bound: BoundSocket) -> bool:
        """Tell whether nothing comes before the session at a socket.

        A client counts before its handshake, and one behind a proxy only after what
        the proxy says of it: those the loop cannot know.
        """
        return not (
            self.options.implicit_tls
            or self.gateways.has_proxies
            or bound.sock.family not in {socket.AF_INET, socket.AF_INET6}
        )

    def _take_made(
        self,
        loop: asyncio.AbstractEventLoop,
        local: str | None,
        transport: asyncio.Transport,
    ) -> None:
        """Make a connection of a transport, which is there already."""
        peer = transport.get_extra_info("peername")
        if peer is None or self._takes_nobody:
            # A client that has reset has no address any more, by which it could be
            # refused; but what it sent before might still be read.
            transport.abort()
            return
        connection = self._kind(self, loop)
        local = local or format_address(transport.get_extra_info("sockname"))
        if not connection.accepted(peer, local) and self._owner.is_crowded:
            transport.abort()
            connection.never_made("too many connections")
            return
        transport.set_protocol(connection)
        connection.connection_made(transport)

    def _take(
        self,
        loop: asyncio.AbstractEventLoop,
        local: str | None,
        sock: socket.socket,
        peer: object,
    ) -> None:
        """Make a connection of a socket; it counts from now on, handshake or not."""
        connection = self._kind(self, loop)
        is_welcome = connection.accepted(peer, local or _local_name(sock))
        is_tls = self.options.implicit_tls
        opening: Coroutine[Any, Any, object]
        if is_welcome and connection.awaits_header:
            opening = self._open_behind_proxy(loop, connection, sock)
            self._open_in_task(loop, connection, sock, opening)
        elif not is_welcome and (is_tls or self._owner.is_crowded):
            # A handshake is too dear for a word to somebody who is not wanted, and so
            # is a descriptor in a flood of them.
            sock.close()
            connection.never_made("too many connections")
        elif is_tls:
            opening = self._open(loop, connection, sock)
            self._open_in_task(loop, connection, sock, opening)
        else:
            opening = self._open(loop, connection, sock)
            self._open_by_hand(loop, connection, sock, opening)

    def _open_by_hand(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        sock: socket.socket,
        opening: Coroutine[asyncio.Future[object] | None, None, object],
        _: object = None,
    ) -> None:
        """Let the loop make a transport, without a task, which costs more than that.

        All is done at the first step of its coroutine, but for a wait until
        ``connection_made`` was called. What a coroutine of asyncio yields is a future
        to wait for, or None to be called again.
        """
        try:
            awaited = opening.send(None)
        except StopIteration:
            if not connection.is_made:
                self._opened(connection, sock, None)
        except Exception as error:
            self._opened(connection, sock, error)
        else:
            go_on = functools.partial(
                self._open_by_hand, loop, connection, sock, opening
            )
            if awaited is None:
                loop.call_soon(go_on)
            else:
                awaited.add_done_callback(go_on)

    def _open_in_task(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        sock: socket.socket,
        opening: Coroutine[Any, Any, object],
    ) -> None:
        """Go through a handshake or a header, which can be given up."""
        connection.handshake = task = loop.create_task(opening)
        self._opening.add(task)
        task.add_done_callback(
            functools.partial(self._opened_in_task, connection, sock)
        )

    def _opened_in_task(
        self, connection: Connection, sock: socket.socket, task: asyncio.Task[object]
    ) -> None:
        self._opening.discard(task)
        connection.handshake = None
        error = None if task.cancelled() else task.exception()
        self._opened(connection, sock, error)

    def _open(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        sock: socket.socket,
    ) -> Coroutine[Any, Any, object]:
        options = self.options
        if not options.implicit_tls:
            return loop.connect_accepted_socket(lambda: connection, sock)
        return loop.connect_accepted_socket(
            lambda: connection,
            sock,
            ssl=self.tls,
            ssl_handshake_timeout=options.timeouts.handshake,
        )

    async def _open_behind_proxy(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        sock: socket.socket,
    ) -> None:
        """Have a proxy say for whom it speaks, which goes before TLS."""
        options = self.options
        try:
            header = await read_proxy_header(
                loop,
                sock,
                max_octets=options.limits.max_proxy_header_octets,
                timeout=options.timeouts.proxy_header,
            )
        except BadProxyHeader as error:
            # Whoever runs the proxy has to know.
            info = connection.info
            logger.warning("%s: proxy %s: %s", info.id, info.peer, error)
            raise
        if not connection.spoken_for(header) and options.implicit_tls:
            raise ConnectionRefusedError("too many connections")
        await self._open(loop, connection, sock)

    def _opened(
        self,
        connection: Connection,
        sock: socket.socket,
        error: BaseException | None,
    ) -> None:
        """Let go of a connection that was not to be."""
        if not connection.is_made:
            sock.close()
            connection.never_made(str(error) if error else "given up")
        elif error is not None:
            # Our own connection_made is not to raise.
            logger.error("%s: cannot be opened", connection.info.id, exc_info=error)

    @functools.cached_property
    def _can_bind(self) -> bool:
        """Whether there is a certificate that a client can bind a proof to."""
        certificates = () if self.tls is None else own_certificates(self.tls)
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
            takes_lmtp_too=options.lmtp_too,
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
            requires_tls_for_auth=options.require_tls_for_auth,
            requires_auth=options.require_auth,
        )


def _local_name(sock: socket.socket) -> str:
    """Return the address that a client connected to."""
    try:
        return format_address(sock.getsockname())
    except OSError:
        # BSD does not know it any more when the client has reset.
        return format_address(None)

"""A client's connection: what is known of it, and the lock that keeps calls apart.

`Connection` is the base of the conversation. After any exception it is provably in
step, or it is closed: see `exclusive`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeAlias, TypeVar

from smtpx.client.link import SourceError, own_error
from smtpx.client.options import Auth, ClientOptions, Secret, Target, parse_url
from smtpx.client.plan import Offered
from smtpx.errors import CommandRefused, ConnectionLost, NotSupported
from smtpx.wire.capabilities import Capabilities

if TYPE_CHECKING:
    import socket as sockets

    from smtpx.client.link import Link, Runtime
    from smtpx.net.tls import TLSInfo
    from smtpx.wire.envelope import RecipientResult
    from smtpx.wire.forwarded import XClient, XForward
    from smtpx.wire.replies import Reply

__all__ = ["BUSY", "AnyAuth", "Connection", "abandon", "describe", "exclusive"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_ConnectionT = TypeVar("_ConnectionT", bound="Connection")

AnyAuth: TypeAlias = Auth | tuple[str, Secret]

_NO_CAPABILITIES: Final = Capabilities()

# What a lock says that would wait for itself for ever.
BUSY: Final = (
    "this client is in the middle of send_many: finish that loop first, or use "
    "another client"
)


def exclusive(
    method: Callable[Concatenate[_ConnectionT, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate[_ConnectionT, _P], Coroutine[Any, Any, _T]]:
    """Make a method run alone, within its total time, and leave no doubt behind.

    Whatever ends it early, a cancellation too: if a reply is outstanding, or anything
    else makes the next pairing of command and reply unsure, the connection is closed.
    """

    @functools.wraps(method)
    async def alone(self: _ConnectionT, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        async with self._lock:
            if self._has_total:
                self._start_clock()
            try:
                return await method(self, *args, **kwargs)
            except BaseException as error:
                raised = self._settle(error)
                if raised is error:
                    raise
                raise raised from (
                    raised.__cause__ if isinstance(error, SourceError) else error
                )

    return alone


class Connection:
    """A connection to a server, or the lack of one."""

    _is_lmtp = False

    def __init__(
        self,
        runtime: Runtime,
        url: str | None,
        options: ClientOptions,
        auth: AnyAuth | None,
        socket: sockets.socket | None,
    ) -> None:
        if url is None and socket is None:
            raise ValueError("a client needs a URL, or a connected socket")
        if not isinstance(options, ClientOptions):
            raise TypeError(
                "options of a client are an smtpx.ClientOptions, not of the type "
                f"{type(options).__name__}; an smtpx.MailOptions is given with a "
                "message"
            )
        target = Target(is_lmtp=self._is_lmtp)
        if url is not None:
            scheme = "lmtp" if self._is_lmtp else "smtp"
            target = parse_url(url, default_scheme=scheme)
        if self._is_lmtp and not target.is_lmtp:
            raise ValueError("an LMTP client takes lmtp:// or lmtp+unix://")
        credentials = _credentials_of(auth)
        if credentials is None and target.user is not None:
            credentials = Auth(target.user, target.password or "")
        self._runtime = runtime
        self._target = target
        self._options = options
        self._tls_mode = target.tls if options.tls is None else options.tls
        if target.is_mx and credentials is not None:
            raise ValueError(
                "a password would go to whomever the DNS names: connect to a host"
            )
        self._credentials = credentials
        self._socket = socket
        self._has_socket = socket is not None
        self._host = ""  # that was dialled
        self._lock = runtime.lock()
        self._link: Link | None = None
        self._greeting: Reply | None = None
        self._results: list[RecipientResult] = []
        self._deadline: float | None = None
        self._has_total = options.timeouts.total is not None
        self._used_at = 0.0
        self._offered = Offered.of(_NO_CAPABILITIES)

    # What is known.

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection that can be used, as far as is known here."""
        return self._link is not None

    @property
    def is_alive(self) -> bool:
        """Whether there is a connection, and the server has not closed it.

        It takes a look at what has arrived, not a round trip. On a connection on which
        nothing was asked, that is the end, or a 421 that announces it.
        """
        link = self._link
        return (
            link is not None
            and link.machine.is_in_step
            and not link.channel.is_readable
        )

    @property
    def capabilities(self) -> Capabilities:
        """What the server offers; nothing before it was asked."""
        link = self._link
        return _NO_CAPABILITIES if link is None else link.machine.capabilities

    @property
    def tls(self) -> TLSInfo | None:
        """Facts about TLS, None in clear."""
        return None if self._link is None else self._link.channel.tls

    @property
    def peer(self) -> str | None:
        """The address of the server, None while there is no connection."""
        return None if self._link is None else self._link.channel.peer

    @property
    def greeting(self) -> Reply | None:
        """The server's first words, of this connection or the last."""
        return self._greeting

    def extension(self, keyword: str) -> tuple[str, ...] | None:
        """Say whether the server offers an extension.

        Args:
            keyword: in any case.

        Returns:
            Its parameters, maybe none; None if it is not offered.
        """
        return self.capabilities.get(keyword)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {describe(self)}>"

    # The inner works: without the lock.

    def _start_clock(self) -> None:
        total = self._options.timeouts.total
        if total is not None:
            self._deadline = self._runtime.clock() + total
            if self._link is not None:
                self._link.deadline = self._deadline

    def _settle(self, error: BaseException) -> BaseException:
        """Close the connection if it is not in step; return what to raise."""
        link = self._link
        if link is None:
            return own_error(error)
        raised = link.translate(error)
        if not link.machine.is_in_step or isinstance(raised, ConnectionLost):
            link.abort()
            self._link = None
        return raised

    def _require_link(self) -> Link:
        if self._link is None:
            raise ConnectionLost("not connected: call connect first", phase="command")
        return self._link

    def _require_extension(self, keyword: str, command: str) -> None:
        if keyword not in self.capabilities:
            raise NotSupported(
                f"the server does not offer {keyword}",
                command=command,
                phase="command",
            )

    def _require_attributes(self, command: XClient | XForward) -> None:
        self._require_extension(command.verb, command.verb)
        offered = [name.upper() for name in self.capabilities[command.verb]]
        missing = [name for name in command.names if name not in offered]
        # A server that names none does not say which it takes.
        if offered and missing:
            raise NotSupported(
                f"the server does not offer {command.verb} with {', '.join(missing)}",
                command=command.verb,
                phase="command",
            )

    async def _require_positive(self, reply: Reply, verb: str) -> Reply:
        if not reply.is_positive:
            raise CommandRefused(
                f"the server refused {verb}",
                reply=reply,
                command=verb,
                phase="command",
            )
        return reply

    def _what_is_offered(self, link: Link) -> Offered:
        capabilities = link.machine.capabilities
        if self._offered.capabilities is not capabilities:
            self._offered = Offered.of(capabilities)
        return self._offered

    def _live_link(self) -> Link | None:
        """Return the connection; None if there is none, or it has gone stale."""
        link = self._link
        if link is None or link.is_fresh or self._has_socket:
            return link
        idle_seconds = self._runtime.clock() - self._used_at
        if idle_seconds > self._runtime.look_after and link.channel.is_readable:
            # Nothing was asked, so it is the end, or a 421 that announces it.
            link.abort()
            self._link = link = None
        return link


def describe(client: Connection) -> str:
    """Say where a client connects, and the state of its connection, for people."""
    link, target = client._link, client._target
    where = str(target)
    if not target.host and target.path is None:
        where = "socket" if link is None else link.channel.peer
    return f"{where}: {'closed' if link is None else link.machine.state}"


def abandon(client: Connection) -> None:
    """Close at once, without a word to the server; also while a call is under way."""
    link, client._link = client._link, None
    if link is not None:
        link.abort()


def _credentials_of(auth: object) -> Auth | None:
    """Check what a caller gave, of any type, early, and show nothing of it."""
    if auth is None or isinstance(auth, Auth):
        return auth
    if not isinstance(auth, tuple):
        raise TypeError(
            "auth is a pair (user, password) or an smtpx.Auth, not of the type "
            f"{type(auth).__name__}"
        )
    if len(auth) != 2:
        raise ValueError(
            f"auth is a pair (user, password), not {len(auth)} items; smtpx.Auth "
            "takes more"
        )
    return Auth(*auth)

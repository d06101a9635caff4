"""What a connection and the server that it belongs to need of one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from datetime import datetime

    from smtpx.core.config import ServerConfig
    from smtpx.server.guards import Guarded
    from smtpx.server.options import ServerOptions
    from smtpx.server.proxied import Gateways
    from smtpx.server.session import ConnectionInfo, Session
    from smtpx.server.watchdog import Rounds
    from smtpx.wire.replies import Reply

__all__ = ["Guest", "Host"]


class Guest(Protocol):
    """What a server needs of a connection: to count it, and to end it.

    Attributes:
        info: facts about it.
        awaits_header: whether a PROXY header has to tell whose it is.
    """

    info: ConnectionInfo
    awaits_header: bool

    def __hash__(self) -> int:
        """Hash by identity."""
        ...

    def drain(self) -> None:
        """End the session as soon as no transaction is under way."""
        ...

    def abort(self) -> None:
        """Drop the connection."""
        ...


class Host(Protocol):
    """What a connection and the server that it belongs to need of one another."""

    hostname: str
    options: ServerOptions
    session_factory: Callable[[ConnectionInfo], Session]
    tls: ssl.SSLContext | None
    gateways: Gateways
    rounds: Rounds

    def config_for(self, session: type[Session]) -> ServerConfig:
        """Return the settings of the machine for sessions of this class."""
        ...

    def settings_for(
        self, session: type[Session], info: ConnectionInfo
    ) -> ServerConfig:
        """Return these settings as they are for a client."""
        ...

    def work_of(self, session: type[Session]) -> frozenset[type]:
        """Return the kinds of work for which such sessions need a coroutine."""
        ...

    def minute_of(self, moment: datetime) -> datetime:
        """Return the minute of a moment."""
        ...

    def opened(self, connection: Guest) -> Reply | None:
        """Take note of a connection; return a reply to turn it away with."""
        ...

    def moved(self, connection: Guest) -> Reply | None:
        """Take note that it is another client's; return a reply to turn it away."""
        ...

    def guarded(self, info: ConnectionInfo) -> Guarded:
        """Return what guards change for a client."""
        ...

    def is_trusted(self, info: ConnectionInfo) -> bool:
        """Tell whether nothing guards against a client."""
        ...

    def ended(self, connection: Guest) -> None:
        """Take note that it is gone."""
        ...

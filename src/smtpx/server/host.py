"""What a connection needs of the server that it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from smtpx.core.config import ServerConfig
    from smtpx.server.guards import Guarded
    from smtpx.server.options import ServerOptions
    from smtpx.server.proxied import Gateways
    from smtpx.server.pump import Pump
    from smtpx.server.session import ConnectionInfo, Session
    from smtpx.wire.replies import Reply

__all__ = ["Host"]


class Host(Protocol):
    """What a connection needs of the server that it belongs to."""

    hostname: str
    options: ServerOptions
    session_factory: Callable[[ConnectionInfo], Session]
    tls: ssl.SSLContext | None
    gateways: Gateways

    def config_for(self, session: type[Session]) -> ServerConfig:
        """Return the settings of the machine for sessions of this class."""
        ...

    def opened(self, connection: Pump) -> Reply | None:
        """Take note of a connection; return a reply to turn it away with."""
        ...

    def moved(self, connection: Pump) -> Reply | None:
        """Take note that it is another client's; return a reply to turn it away."""
        ...

    def guarded(self, info: ConnectionInfo) -> Guarded:
        """Return what guards change for a client."""
        ...

    def needs_no_tls(self, info: ConnectionInfo) -> bool:
        """Tell whether a client may do anything in plaintext."""
        ...

    def is_trusted(self, info: ConnectionInfo) -> bool:
        """Tell whether nothing guards against a client."""
        ...

    def ended(self, connection: Pump) -> None:
        """Take note that it is gone."""
        ...

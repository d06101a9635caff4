"""The server's machine for a session that somebody watches.

It is here and not with who watches, because in the compiled build a class can be
derived from `ServerMachine` only where that one is compiled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpx.core.server import ServerMachine
from smtpx.core.states import ServerState

if TYPE_CHECKING:
    from datetime import datetime

    from smtpx.core.config import ServerConfig
    from smtpx.core.trace import WireLog
    from smtpx.wire.replies import Reply

__all__ = ["CountingMachine"]

_CLOSED: Final = ServerState.CLOSED


class CountingMachine(ServerMachine):
    r"""Counts octets, and keeps the words with which the server ended the session.

    Args:
        config: as for ``ServerMachine``, and so are the others.
        is_tls: likewise.
        is_local: likewise.
        trace: likewise.
        now: likewise.

    Attributes:
        octets_received: from the client.
        octets_sent: to it.
        last_words: the reply that the server ended the session with; None if it did
            not.

    >>> from smtpx.core.config import ServerConfig
    >>> machine = CountingMachine(ServerConfig(hostname="mx.test"))
    >>> machine.receive_data(b"QUIT\r\n")
    >>> machine.octets_received
    6
    """

    __slots__ = ("last_words", "octets_received", "octets_sent")

    def __init__(
        self,
        config: ServerConfig,
        *,
        is_tls: bool = False,
        is_local: bool = False,
        trace: WireLog | None = None,
        now: datetime | None = None,
    ) -> None:
        self.octets_received = 0
        self.octets_sent = 0
        self.last_words: Reply | None = None
        super().__init__(config, is_tls=is_tls, is_local=is_local, trace=trace, now=now)

    def receive_data(self, data: bytes) -> None:
        """Take octets from the client, and count them."""
        self.octets_received += len(data)
        super().receive_data(data)

    def data_to_send(self) -> bytes:
        """Return what is to be sent to the client, and count it."""
        octets = super().data_to_send()
        self.octets_sent += len(octets)
        return octets

    def close(self, reply: Reply, reason: str) -> None:
        """End the session with a reply, which is kept."""
        if self.state is not _CLOSED:
            self.last_words = reply
        super().close(reply, reason)

"""How a session begins, and how a gateway has it begin again for somebody else.

XCLIENT and XFORWARD are Postfix's; only sessions of gateways that are trusted have
them. After XCLIENT everything is as with a new connection (XCLIENT_README, server
response): the greeting comes next, and all that was known is forgotten, but for TLS,
which cannot be undone, and what the command itself tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpx.core.events import (
    ClientConnected,
    Event,
    XClientReceived,
    XForwardReceived,
)
from smtpx.core.server_auth import ServerAuth
from smtpx.core.server_base import require_negative
from smtpx.core.states import ServerState, ServerTrigger
from smtpx.sasl.mechanism import Identity
from smtpx.wire import replies
from smtpx.wire.forwarded import NOTHING_FORWARDED
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from typing import Final

    from smtpx.core.config import ServerConfig
    from smtpx.wire.forwarded import XClient, XForward

__all__ = ["NOTHING_TOLD", "ServerGateway"]

# Looked up once: in its class a member takes four times as long (CPython 3.11).
_GREETED: Final = ServerTrigger.GREETED

#: What XFORWARD told of no transaction yet.
NOTHING_TOLD: Final[tuple[int, XForward | None]] = (0, None)


class ServerGateway(ServerAuth):
    """Greets, and does XCLIENT and XFORWARD; see ``ServerMachine``."""

    __slots__ = ("_forwarded", "_xclient", "_xforward")

    # What is told, while the answer is awaited.
    _xclient: XClient | None
    _xforward: XForward
    # It is marked with its transaction, so that the end of one costs nothing.
    _forwarded: tuple[int, XForward | None]

    # ------------------------------------------------------------------ greeting

    def _answer_connected(self, reply: Reply | None) -> None:
        if reply is not None and reply.code != 220:
            require_negative(reply, "a connection is welcomed with 220")
            if reply.is_temporary:
                # RFC 5321 sections 3.1 and 3.8: no service for now is 421, and closes.
                reply = Reply(421, reply.enhanced, reply.text)
            self._respond(reply)
            if self.state is not ServerState.CLOSED:
                self._move(ServerTrigger.REJECT)
            return
        config = self._config
        greeting = config.greeting if reply is None else config.greet(reply.text)
        self._out.append(greeting.encode())
        self._move(_GREETED)

    # ------------------------------------------------------------------- XCLIENT

    def restart(self, config: ServerConfig, *, is_local: bool) -> None:
        """Grant XCLIENT: begin again, for the client that it tells.

        Octets that came behind the command stay: a gateway may pipeline.

        Args:
            config: what counts for that client; its limits are those of before.
            is_local: nobody can listen between that client and here.

        Raises:
            RuntimeError: no ``XClientReceived`` waits for its answer.
        """
        command = self._xclient
        if command is None or self._pending is None:
            message = "XCLIENT has to be received first"
            raise RuntimeError(message)
        self._config = config
        self.is_local = is_local
        self._move(ServerTrigger.RESTARTED)
        self._errors = self._auth_failures = 0
        self._begin()
        if isinstance(command.helo, str):
            self.hello_name = command.helo
        self.is_extended = command.proto not in {None, "SMTP"}
        if isinstance(command.login, str):
            self.identity = Identity(command.login, "", command.verb)
        self._pending = self._answer_connected
        self._queue.append(ClientConnected())

    def _on_xclient(self, command: XClient) -> Event:
        self._xclient = command
        self._pending = self._answer_xclient
        return XClientReceived(command)

    def _answer_xclient(self, reply: Reply | None) -> None:
        if reply is None:
            self._pending = self._answer_xclient
            self.restart(self._config, is_local=self.is_local)
            return
        require_negative(reply, "XCLIENT is granted by restart")
        self._xclient = None
        self._respond(reply.with_enhanced_default())

    # ------------------------------------------------------------------ XFORWARD

    @property
    def forwarded(self) -> XForward | None:
        """What XFORWARD told of the transaction under way, or the next; None: nothing.

        All attributes that it did not tell are ``UNAVAILABLE``.
        """
        transaction, forwarded = self._forwarded
        return forwarded if transaction == self.ended_transactions else None

    def _on_xforward(self, command: XForward) -> Event:
        self._xforward = command
        self._pending = self._answer_xforward
        return XForwardReceived(command)

    def _answer_xforward(self, reply: Reply | None) -> None:
        if self._grant(reply, replies.OK):
            known = self.forwarded or NOTHING_FORWARDED
            told = known.followed_by(self._xforward)
            self._forwarded = self.ended_transactions, told

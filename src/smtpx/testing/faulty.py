"""A server whose sessions go wrong as it was told; `smtpx.testing.faults` says how."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from smtpx.errors import Refuse
from smtpx.server.listener import Server
from smtpx.server.session import ConnectionInfo, Session
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smtpx.server.body import Body
    from smtpx.server.host import Guest
    from smtpx.server.options import ServerOptions
    from smtpx.server.session import Statuses
    from smtpx.server.sockets import Address
    from smtpx.testing.faults import Fault, Stage
    from smtpx.wire.address import Mailbox
    from smtpx.wire.envelope import Recipient
    from smtpx.wire.params import MailOptions, RcptOptions

__all__ = ["DroppingServer", "FaultHost", "FaultySession"]


class FaultHost(Protocol):
    """What sessions need to know what goes wrong, and to have it happen."""

    def find(self, stage: Stage, *names: str) -> Fault | None:
        """Return what goes wrong, if anything does; it is counted."""
        ...

    def abort(self, connection: ConnectionInfo) -> None:
        """Lose a connection, without a word."""
        ...


class DroppingServer(Server):
    """A server that can lose a connection.

    Args:
        session_factory: as for `smtpx.Server`.
        address: likewise.
        options: likewise.
    """

    def __init__(
        self,
        session_factory: Callable[[ConnectionInfo], Session],
        address: Address | Sequence[Address] = "127.0.0.1:0",
        *,
        options: ServerOptions,
    ) -> None:
        super().__init__(session_factory, address, options=options)
        self._guests: set[Guest] = set()

    def opened(self, connection: Guest) -> Reply | None:
        """Count a connection; see `smtpx.Server`.

        Args:
            connection: that was just made.
        """
        self._guests.add(connection)
        return super().opened(connection)

    def ended(self, connection: Guest) -> None:
        """Count a connection no more.

        Args:
            connection: whose session has ended.
        """
        self._guests.discard(connection)
        super().ended(connection)

    def abort(self, connection: ConnectionInfo) -> None:
        """Lose a connection, without a word.

        Args:
            connection: of a session.
        """
        for guest in tuple(self._guests):
            if guest.info is connection:
                guest.abort()


class FaultySession(Session, ABC):
    """Takes everything, but for what should go wrong. Override ``take``.

    Args:
        connection: facts about the connection.
        host: knows what goes wrong.
    """

    def __init__(self, connection: ConnectionInfo, host: FaultHost) -> None:
        super().__init__(connection)
        self._host = host

    async def connected(self) -> Reply | None:
        """See `smtpx.Session`; what goes wrong here does so before the greeting."""
        await self.undergo("connect", self.connection.peer_host or "")
        return None

    async def hello(self, name: str) -> Reply | None:
        """See `smtpx.Session`.

        Args:
            name: of the client.
        """
        await self.undergo("hello", name)
        return None

    async def start_tls(self) -> Reply | None:
        """See `smtpx.Session`."""
        await self.undergo("start_tls", self.connection.hello_name or "")
        return None

    async def mail(
        self, reverse_path: Mailbox | None, options: MailOptions
    ) -> Reply | None:
        """See `smtpx.Session`.

        Args:
            reverse_path: the sender.
            options: the parameters.
        """
        await self.undergo("mail", "" if reverse_path is None else str(reverse_path))
        return None

    async def rcpt(self, forward_path: Mailbox, options: RcptOptions) -> Reply | None:
        """See `smtpx.Session`.

        Args:
            forward_path: the recipient.
            options: the parameters.
        """
        await self.undergo("rcpt", str(forward_path))
        return None

    async def start_data(self) -> Reply | None:
        """See `smtpx.Session`."""
        await self.undergo("start_data", *_names(self.envelope.recipients))
        return None

    async def data(self, body: Body) -> Reply | None:
        """See `smtpx.Session`.

        Args:
            body: the content.
        """
        content = await self.read(body)
        recipients = self.envelope.recipients
        await self.undergo("data", *_names(recipients))
        reply = await self.take(content, recipients)
        await self.undergo("reply", *_names(recipients))
        return reply

    async def lmtp_data(self, body: Body, statuses: Statuses) -> Reply | None:
        """See `smtpx.Session`; each recipient may be refused by itself.

        Args:
            body: the content.
            statuses: of the recipients.
        """
        content = await self.read(body)
        taken: list[Recipient] = []
        for recipient in statuses.recipients:
            try:
                await self.undergo("data", str(recipient.mailbox))
            except Refuse as refusal:
                reply = Reply(refusal.code, refusal.enhanced, refusal.text)
                statuses.set(recipient, reply)
            else:
                taken.append(recipient)
        # With nobody left to answer for, what is returned is not said.
        if not taken:
            return None
        reply = await self.take(content, taken)
        await self.undergo("reply", *_names(taken))
        return reply

    async def read(self, body: Body) -> bytes:
        """Read the message.

        Args:
            body: the content.
        """
        return await body.read()

    @abstractmethod
    async def take(self, content: bytes, recipients: list[Recipient]) -> Reply:
        """Keep the message, for those to whom nothing happened.

        Args:
            content: the message.
            recipients: who gets it.
        """

    async def undergo(self, stage: Stage, *names: str) -> None:
        """Have happen what should go wrong at a stage.

        Args:
            stage: where the session is.
            names: for whom it is asked.

        Raises:
            Refuse: it is refused.
        """
        fault = self._host.find(stage, *names)
        if fault is not None:
            await fault.happen(self._drop)

    def _drop(self) -> None:
        self._host.abort(self.connection)


def _names(recipients: list[Recipient]) -> list[str]:
    return [str(recipient.mailbox) for recipient in recipients]

"""How messages come into the inbox: the sessions of its SMTP and LMTP servers."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING

from smtpx.errors import Refuse
from smtpx.inbox.mailbox import TooLarge
from smtpx.inbox.messages import describe_message
from smtpx.testing.faulty import DroppingServer, FaultySession
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smtpx.inbox.dialogue import Recorder
    from smtpx.inbox.mailbox import Mailbox
    from smtpx.sasl.mechanism import Identity
    from smtpx.sasl.oauth import CheckToken
    from smtpx.server.body import Body
    from smtpx.server.host import Guest
    from smtpx.server.options import ServerOptions
    from smtpx.server.session import ConnectionInfo, Session, Statuses
    from smtpx.server.sockets import Listener
    from smtpx.testing.faults import Fault, Faults, Stage
    from smtpx.wire.envelope import Recipient

__all__ = ["AuthenticatedSession", "InboxServer", "InboxSession", "Reception"]


class Reception:
    """What all sessions of an inbox share.

    Args:
        mailbox: where messages go.
        recorder: of the dialogues.
        faults: what goes wrong.
        on_fault: is called when something went wrong.
        on_trouble: is told why a message could not be kept.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        recorder: Recorder,
        faults: Faults,
        *,
        on_fault: Callable[[], None],
        on_trouble: Callable[[OSError], None],
    ) -> None:
        self.mailbox = mailbox
        self.recorder = recorder
        self.server: InboxServer | None = None
        self._faults = faults
        self._on_fault = on_fault
        self._on_trouble = on_trouble
        # Of messages that are coming in, all together: no more than of those that are
        # here, or many clients that send at once would fill the memory.
        self._room = mailbox.cap.octets

    def find(self, stage: Stage, *names: str) -> Fault | None:
        """Return what goes wrong, if anything does; see `FaultHost`.

        Args:
            stage: where a session is.
            names: for whom it is asked.
        """
        fault = self._faults.find(stage, *names)
        if fault is not None:
            self._on_fault()
        return fault

    def abort(self, connection: ConnectionInfo) -> None:
        """Lose a connection, without a word; see `FaultHost`.

        Args:
            connection: of a session.
        """
        if self.server is not None:
            self.server.abort(connection)

    def take_room(self, octets: int) -> None:
        """Take room for a part of a message that is coming in.

        Args:
            octets: its size.

        Raises:
            Refuse: there is none.
        """
        if octets > self._room:
            raise Refuse(452, "4.3.1", "too much comes at once; try again in a moment")
        self._room -= octets

    def give_room(self, octets: int) -> None:
        """Give room back.

        Args:
            octets: that were taken.
        """
        self._room += octets

    async def keep(
        self, session: InboxSession, content: bytes, who: list[Recipient]
    ) -> Reply:
        """Keep a message; when this returns it is safe.

        Args:
            session: in which it came.
            content: the message.
            who: gets it.

        Raises:
            Refuse: it cannot be kept.
        """
        connection = session.connection
        message = describe_message(
            connection,
            session.envelope,
            who,
            octets=len(content),
            received_at=time.time(),
        )
        replies = len(who) if connection.is_lmtp else 1
        dialogue = self.recorder.begin(connection.id, message.id, replies=replies)
        message.charge += dialogue.octets
        try:
            await self.mailbox.keep(message, content, dialogue)
        except TooLarge:
            raise Refuse(552, "5.3.4", "it is larger than the inbox") from None
        except OSError as error:
            self._on_trouble(error)
            raise Refuse(452, "4.3.1", "the inbox cannot keep it") from None
        return Reply(250, "2.0.0", f"queued as {message.id}")


class InboxServer(DroppingServer):
    """A server that has its dialogues recorded.

    Args:
        reception: makes the sessions.
        kind: of session.
        listeners: where.
        options: of the server.
    """

    def __init__(
        self,
        reception: Reception,
        kind: type[InboxSession],
        listeners: Sequence[Listener],
        *,
        options: ServerOptions,
    ) -> None:
        def open_session(connection: ConnectionInfo) -> Session:
            return kind(connection, reception)

        super().__init__(open_session, listeners, options=options)
        self._recorder = reception.recorder
        reception.server = self

    def opened(self, connection: Guest) -> Reply | None:
        """Count a connection, and record what is said; see `smtpx.Server`.

        Args:
            connection: that was just made.
        """
        self._recorder.open(connection.info.id)
        return super().opened(connection)

    def ended(self, connection: Guest) -> None:
        """Count a connection no more.

        Args:
            connection: whose session has ended.
        """
        self._recorder.close(connection.info.id)
        super().ended(connection)


class InboxSession(FaultySession):
    """Takes all mail.

    Args:
        connection: facts about the connection.
        reception: of the inbox.
    """

    def __init__(self, connection: ConnectionInfo, reception: Reception) -> None:
        super().__init__(connection, reception)
        self._reception = reception
        self._taken = 0

    async def data(self, body: Body) -> Reply | None:
        """Take a message, and give back the room that it took meanwhile.

        Args:
            body: the content.
        """
        try:
            return await super().data(body)
        finally:
            self._give_room()

    async def lmtp_data(self, body: Body, statuses: Statuses) -> Reply | None:
        """Likewise in LMTP.

        Args:
            body: the content.
            statuses: of the recipients.
        """
        try:
            return await super().lmtp_data(body, statuses)
        finally:
            self._give_room()

    async def read(self, body: Body) -> bytes:
        """Read a message, as long as there is room for it.

        Args:
            body: the content.
        """
        reception = self._reception
        content = io.BytesIO()
        async for block in body:
            reception.take_room(len(block))
            self._taken += len(block)
            content.write(block)
        return content.getvalue()

    async def take(self, content: bytes, recipients: list[Recipient]) -> Reply:
        """Keep a message.

        Args:
            content: the message.
            recipients: who gets it.
        """
        return await self._reception.keep(self, content, recipients)

    def _give_room(self) -> None:
        self._reception.give_room(self._taken)
        self._taken = 0


class AuthenticatedSession(InboxSession):
    """... also after AUTH, as anybody and with any password."""

    async def check_password(self, user: str, password: str) -> bool:
        """Let in whoever comes.

        Args:
            user: whoever.
            password: whatever; it is not kept.
        """
        await self.undergo("auth", user)
        return True

    async def check_token(self, question: CheckToken) -> str | None:
        """Let in whoever has a token.

        Args:
            question: whose it is.
        """
        await self.undergo("auth", question.user)
        return question.user or None

    async def admit_anonymous(self, trace: str) -> bool:
        """Let in who does not say who it is.

        Args:
            trace: what it says instead.
        """
        await self.undergo("auth", trace)
        return True

    async def authorize(self, identity: Identity) -> Reply | None:
        """Let anybody act as anybody.

        Args:
            identity: who, and as whom.
        """
        return None

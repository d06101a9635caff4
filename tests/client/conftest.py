"""Both fronts of the client, run alike, and a server for them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import trustme
import uvloop

from smtpx.client.aio import AsyncClient, AsyncLMTPClient
from smtpx.client.blocking import Client, LMTPClient
from smtpx.errors import Refuse
from smtpx.net.tls import client_context
from smtpx.server.session import ConnectionInfo, Session
from smtpx.wire.replies import Reply
from tests.client.scripted import step

if TYPE_CHECKING:
    from smtpx.server.body import Body
    from smtpx.wire.address import Mailbox
    from smtpx.wire.options import RcptOptions

T = TypeVar("T")


class AwaitedClient:
    """A blocking client whose methods can be awaited, so that one test serves both."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever it has
        found = getattr(self._client, name)
        if not callable(found) or name == "extension":
            return found

        async def call(*args: object, **kwargs: object) -> object:
            return found(*args, **kwargs)

        return call


@dataclass(frozen=True)
class Front:
    """One front of the client, and how to run a scenario with it."""

    name: str

    @asynccontextmanager
    async def client(
        self,
        *args: Any,  # noqa: ANN401 - what a client takes
        lmtp: bool = False,
        **kwargs: Any,  # noqa: ANN401
    ) -> AsyncIterator[Any]:
        if self.name == "blocking":
            kind = LMTPClient if lmtp else Client
            with kind(*args, **kwargs) as client:
                yield AwaitedClient(client)
        else:
            async_kind = AsyncLMTPClient if lmtp else AsyncClient
            async with async_kind(*args, **kwargs) as async_client:
                yield async_client

    def run(self, scenario: Callable[[], Awaitable[T]]) -> T:
        async def main() -> T:
            return await scenario()

        if self.name == "blocking":
            return step(main())
        factory = uvloop.new_event_loop if self.name == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main())


@pytest.fixture(params=["blocking", "asyncio", "uvloop"])
def front(request: pytest.FixtureRequest) -> Front:
    return Front(request.param)


@dataclass
class Received:
    """What a server took in."""

    sender: str
    recipients: list[str]
    content: bytes
    size: int
    is_tls: bool
    user: str | None


@dataclass
class Inbox:
    """Makes sessions that keep what they get; a test says what they answer."""

    received: list[Received] = field(default_factory=list)
    connections: int = 0
    keeps_content: bool = True

    def __call__(self, connection: ConnectionInfo) -> Session:
        self.connections += 1
        return InboxSession(connection, self)


class InboxSession(Session):
    """Keeps messages, and refuses recipients whose name says so."""

    def __init__(self, connection: ConnectionInfo, inbox: Inbox) -> None:
        super().__init__(connection)
        self.inbox = inbox

    async def check_password(self, user: str, password: str) -> bool:
        return (user, password) == ("user", "secret")

    async def rcpt(self, forward_path: Mailbox, options: RcptOptions) -> Reply | None:
        if forward_path.local_part.startswith("refused"):
            raise Refuse(550, "5.1.1", "no such mailbox")
        return None

    async def data(self, body: Body) -> Reply | None:
        size = 0
        blocks = []
        async for block in body:
            size += len(block)
            if self.inbox.keeps_content:
                blocks.append(block)
        envelope = self.envelope
        if str(envelope.reverse_path).startswith("silent"):
            await asyncio.sleep(3600)
        self.inbox.received.append(
            Received(
                str(envelope.reverse_path or ""),
                [str(recipient.mailbox) for recipient in envelope.recipients],
                b"".join(blocks),
                size,
                self.connection.tls is not None,
                self.connection.user,
            )
        )
        return Reply(250, "2.0.0", f"Ok: queued as Q{len(self.inbox.received)}")


@dataclass(frozen=True)
class Certificates:
    """A made-up authority: what a server shows, and what a client trusts."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "mx.test").configure_cert(server)
    client = client_context()
    authority.configure_trust(client)
    return Certificates(server, client)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()

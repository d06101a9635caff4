"""A server in a thread that keeps what it gets, and the tools run in this process."""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import trustme

import smtpx
from smtpx.cli import main
from tests.cli.processes import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.cli.processes import Serving


@dataclass
class Message:
    """What arrived."""

    envelope: smtpx.Envelope
    content: bytes
    user: str | None
    peer: str

    @property
    def sender(self) -> str:
        path = self.envelope.reverse_path
        return "" if path is None else str(path)

    @property
    def recipients(self) -> list[str]:
        return [str(one.mailbox) for one in self.envelope.recipients]


@dataclass
class Inbox:
    """A server's address, and its messages."""

    messages: list[Message] = field(default_factory=list)
    url: str = ""

    @property
    def only(self) -> Message:
        [message] = self.messages
        return message


class KeepingSession(smtpx.Session):
    """Keeps messages; some recipients say what to do with them."""

    def __init__(self, connection: smtpx.ConnectionInfo, inbox: Inbox) -> None:
        super().__init__(connection)
        self.inbox = inbox

    async def check_password(self, user: str, password: str) -> bool:
        return (user, password) == ("alice", "sesame")

    async def rcpt(
        self, forward_path: smtpx.Mailbox, options: smtpx.RcptOptions
    ) -> smtpx.Reply | None:
        if forward_path.local_part == "nobody":
            raise smtpx.Refuse(550, "5.1.1", "no such mailbox")
        if forward_path.local_part == "later":
            raise smtpx.Refuse(450, "4.2.1", "mailbox is busy")
        return None

    async def data(self, body: smtpx.Body) -> smtpx.Reply:
        content = await body.read()
        if self.envelope.recipients[0].mailbox.local_part == "spam":
            raise smtpx.Refuse(550, "5.7.1", "looks like spam")
        if self.envelope.recipients[0].mailbox.local_part == "vanish":
            # It ends the session, too.
            raise smtpx.Refuse(421, "4.3.2", "the server is shutting down")
        self.inbox.messages.append(
            Message(self.envelope, content, self.connection.user, self.connection.peer)
        )
        return smtpx.Reply(250, "2.0.0", f"queued as N{len(self.inbox.messages)}")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with ca.pem, and server.pem for 127.0.0.1 and localhost."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    leaf = authority.issue_cert("127.0.0.1", "localhost")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    client = authority.issue_cert("client.test")
    client.private_key_pem.write_to_path(str(folder / "client-key.pem"))
    client.cert_chain_pems[0].write_to_path(str(folder / "client.pem"))
    return folder


@pytest.fixture
def serve() -> Iterator[Callable[..., Inbox]]:
    """Start servers with given options."""
    running = []

    def start(scheme: str = "smtp+plain", **options: object) -> Inbox:
        inbox = Inbox()
        server = smtpx.Server(
            lambda connection: KeepingSession(connection, inbox),
            "127.0.0.1:0",
            options=smtpx.ServerOptions(
                hostname="mx.test",
                smtputf8=True,
                **options,  # type: ignore[arg-type]
            ),
        )
        context = server.run_in_thread()
        context.__enter__()
        running.append(context)
        inbox.url = f"{scheme}://{server.addresses[0]}"
        return inbox

    yield start
    for context in running:
        context.__exit__(None, None, None)


@pytest.fixture
def inbox(serve: Callable[..., Inbox]) -> Inbox:
    """Start a server that speaks plain SMTP."""
    return serve()


@pytest.fixture
def free_url() -> str:
    """Return the URL of a server where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"smtp+plain://127.0.0.1:{sock.getsockname()[1]}"


@pytest.fixture
def tls_context(certificates: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "server.pem")
    return context


@dataclass
class Run:
    """How a tool ended, and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Run]:
    """Run the tools in this process."""
    for name in ("SMTPX_SERVER", "SMTPX_USER", "SMTPX_PASSWORD", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str | Sequence[str]) -> Run:
        words: list[str] = []
        for argument in arguments:
            words += [argument] if isinstance(argument, str) else argument
        code = main(words)
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return Run(code, shown.out, shown.err)

    return run


@pytest.fixture
def start() -> Iterator[Callable[..., Serving]]:
    """Run ``smtpx serve`` as processes."""
    with ExitStack() as stack:

        def start(*arguments: str, **how: Any) -> Serving:  # noqa: ANN401
            return stack.enter_context(serving(*arguments, **how))

        yield start

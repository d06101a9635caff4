"""A server for those who come from elsewhere, and what it took in."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import trustme

import smtpx

USER, PASSWORD = "user@example.com", "password"
MESSAGE = (
    b"To: recipient@example.net\r\nSubject: discount Gophers!\r\n\r\n"
    b"This is the email body.\r\n"
)


@dataclass
class Taken:
    """A message that the server took in."""

    sender: str
    recipients: list[str]
    options: smtpx.MailOptions
    rcpt_options: list[smtpx.RcptOptions]
    content: bytes
    user: str | None
    protocol: str


@dataclass
class Room:
    """A server that runs, and how to reach it."""

    server: smtpx.Server
    client_tls: ssl.SSLContext
    taken: list[Taken] = field(default_factory=list)

    def url(self, scheme: str = "smtp+plain") -> str:
        return f"{scheme}://{self.server.addresses[0]}"

    @property
    def options(self) -> smtpx.ClientOptions:
        return smtpx.ClientOptions(
            tls_context=self.client_tls, server_hostname="mail.example.com"
        )


class Inbox(smtpx.Session):
    """Refuses nobody but "bad"; keeps what it gets."""

    room: Room

    async def check_password(self, user: str, password: str) -> bool:
        return (user, password) == (USER, PASSWORD)

    async def readable_password(self, user: str) -> str | None:
        return PASSWORD if user == USER else None

    async def verify(self, text: str) -> smtpx.Reply | None:
        return smtpx.Reply(250, "2.1.5", f"<{text}>")

    async def rcpt(
        self, forward_path: smtpx.Mailbox, options: smtpx.RcptOptions
    ) -> smtpx.Reply | None:
        if forward_path.local_part == "bad":
            raise smtpx.Refuse(550, "5.1.1", "no such mailbox")
        return None

    async def data(self, body: smtpx.Body) -> smtpx.Reply | None:
        envelope = self.envelope
        self.room.taken.append(
            Taken(
                sender=str(envelope.reverse_path or ""),
                recipients=[str(one.mailbox) for one in envelope.recipients],
                options=envelope.options,
                rcpt_options=[one.options for one in envelope.recipients],
                content=await body.read(),
                user=self.connection.user,
                protocol=self.connection.protocol,
            )
        )
        return smtpx.Reply(250, "2.0.0", "queued as 4XkQ")


def server_tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make what a server shows, and what a client trusts."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mail.example.com").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@contextmanager
def open_room(
    session: type[Inbox] = Inbox, *, implicit_tls: bool = False, lmtp: bool = False
) -> Iterator[Room]:
    """Run a server in a thread."""
    tls, client_tls = server_tls()
    options = smtpx.ServerOptions(
        hostname="mail.example.com",
        tls=tls,
        implicit_tls=implicit_tls,
        lmtp=lmtp,
        smtputf8=True,
        binarymime=True,
        dsn=True,
        extensions=frozenset({"REQUIRETLS"}),
    )
    kind = type("Kept", (session,), {})
    server = smtpx.Server(kind, options=options)
    room = Room(server, client_tls)
    kind.room = room  # type: ignore[attr-defined]
    with server.run_in_thread():
        yield room

r"""A mail server for tests: real sockets, an inbox, faults on demand.

>>> import smtpx
>>> with MailServer(MailServerOptions(auth={"shop": "secret"})) as server:
...     server.refuse("rcpt", 550, matching="nobody@*")
...     result = smtpx.send(
...         b"Subject: hi\r\n\r\n", to=server.url, auth=("shop", "secret"),
...         sender="a@example.com",
...         recipients=["nobody@example.com", "bob@example.com"])
...     mail = server.inbox[0]
<Refusal at rcpt for nobody@*, 0 times>
>>> mail.recipients, mail.user, result.refused[0].reply.code
(('bob@example.com',), 'shop', 550)
"""

from __future__ import annotations

import contextlib
import dataclasses
import hmac
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from smtpx.errors import Refuse
from smtpx.server.options import ServerOptions
from smtpx.server.session import ConnectionInfo, Session
from smtpx.testing.certificates import ThrowawayCertificates, make_certificates
from smtpx.testing.faults import Drop, Fault, Faults, Hold, Refusal, Stage
from smtpx.testing.faulty import DroppingServer, FaultySession
from smtpx.testing.inbox import MAX_MESSAGES, Inbox, InboxFull, ReceivedMail
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from smtpx.wire.envelope import Recipient

__all__ = ["MailServer", "MailServerOptions"]

_TAKEN: Final = Reply(250, "2.0.0", "taken")
_FULL: Final = Refuse(452, "4.3.1", "the inbox of the test is full: clear it")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MailServerOptions:
    """What kind of server a test needs.

    Attributes:
        tls: offer STARTTLS with a throw-away certificate.
        implicit_tls: TLS from the first octet, as on port 465.
        require_tls: refuse mail in plaintext.
        auth: passwords by user; AUTH is offered if there are any. Without TLS too, as
            the server listens on loopback alone.
        require_auth: refuse mail before AUTH.
        lmtp: speak LMTP (RFC 2033), with a reply for each recipient.
        refuse: what is refused from the start: a stage, or a stage and a pattern, as
            ``"rcpt"`` or ``"rcpt *@example.com"``; and a code, or a `Refuse`. See
            `smtpx.testing.faults.Fault`.
        max_messages: how many the inbox holds.
        server: everything else. The options above go over it.

    Raises:
        ValueError: AUTH is required and there are no users, or a stage or code is
            none.
    """

    tls: bool = False
    implicit_tls: bool = False
    require_tls: bool = False
    auth: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    require_auth: bool = False
    lmtp: bool = False
    refuse: Mapping[str, int | Refuse] = dataclasses.field(default_factory=dict)
    max_messages: int = MAX_MESSAGES
    server: ServerOptions = dataclasses.field(
        default_factory=lambda: ServerOptions(
            hostname="mail.test", smtputf8=True, binarymime=True, dsn=True
        )
    )

    def __post_init__(self) -> None:
        if self.require_auth and not self.auth:
            raise ValueError("require_auth needs auth: users and their passwords")
        Faults(self.refuse)

    @property
    def has_tls(self) -> bool:
        """Whether the server needs a certificate."""
        return self.tls or self.implicit_tls or self.require_tls


_MakeCertificates: TypeAlias = Callable[[], ThrowawayCertificates]


class MailServer:
    """A server on a free port of 127.0.0.1, in a thread of its own.

    Use it as a context manager, once.

    Args:
        options: what kind of server.
        make_certificates: makes those for TLS when they are needed; by default new
            ones for each server.

    Attributes:
        options: as given.
        inbox: what it received.
    """

    def __init__(
        self,
        options: MailServerOptions | None = None,
        *,
        make_certificates: _MakeCertificates = make_certificates,
    ) -> None:
        self.options = options or MailServerOptions()
        self.inbox = Inbox(max_messages=self.options.max_messages)
        self._faults = Faults(self.options.refuse)
        self._certificates = make_certificates() if self.options.has_tls else None
        self._server = DroppingServer(self._make_session, options=self._settings())
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start; clients can connect."""
        self._exits.enter_context(self._server.run_in_thread())
        return self

    def __exit__(self, *_exception: object) -> None:
        """Stop now; who is connected is dropped, the inbox stays."""
        self._exits.close()

    def __repr__(self) -> str:
        return f"<MailServer {self.url}, {len(self.inbox)} messages>"

    # ------------------------------------------------------------------- where it is

    @property
    def host(self) -> str:
        """The address that it listens on: 127.0.0.1."""
        return self._address[0]

    @property
    def port(self) -> int:
        """The port that it was given; 0 before it listens."""
        return int(self._address[1])

    @property
    def url(self) -> str:
        """Where it is and how to talk to it, as `smtpx.Client` takes it.

        >>> with MailServer(MailServerOptions(lmtp=True)) as server:
        ...     server.url == f"lmtp://127.0.0.1:{server.port}"
        True
        """
        options = self._server.options
        if options.lmtp:
            scheme = "lmtp"
        elif options.implicit_tls:
            scheme = "smtps"
        else:
            scheme = "smtp+starttls" if options.tls else "smtp+plain"
        return f"{scheme}://{self.host}:{self.port}"

    @property
    def certificates(self) -> ThrowawayCertificates:
        """The certificates: ``certificates.client`` is the context for a client.

        Raises:
            RuntimeError: none were made, as nothing asked for TLS.
        """
        if self._certificates is None:
            raise RuntimeError("no certificate was made for this server: give tls=True")
        return self._certificates

    @property
    def _address(self) -> tuple[str, str]:
        addresses = self._server.addresses or ("127.0.0.1:0",)
        host, _, port = addresses[0].rpartition(":")
        return host, port

    # ------------------------------------------------------------------ what goes wrong

    def refuse(
        self,
        stage: Stage,
        reply: int | Refuse = 550,
        *,
        matching: str = "*",
        times: int | None = None,
    ) -> Refusal:
        """Refuse from now on. In LMTP a refusal at ``data`` is of a recipient.

        Args:
            stage: where.
            reply: a code from 400 to 599, or a `Refuse` with all that is said.
            matching: for whom; see `smtpx.testing.faults.Fault`.
            times: how often; None: each time.

        Returns:
            It counts how often it happened.

        Raises:
            ValueError: there is no such stage, or the code is no refusal.
        """
        fault = Refusal(stage, reply, matching=matching, times=times)
        self._faults.add(fault)
        return fault

    def drop(
        self, stage: Stage, *, matching: str = "*", times: int | None = None
    ) -> Drop:
        r"""Lose the connection at a stage, without a word.

        Nothing is kept, but for a message at ``reply``: that is in the inbox, and the
        client cannot know it.

        Args:
            stage: where.
            matching: for whom.
            times: how often; None: each time.

        >>> import smtpx
        >>> with MailServer() as server:
        ...     lost = server.drop("reply", times=1)
        ...     try:
        ...         smtpx.send(b"\r\n", to=server.url, sender="a@example.com",
        ...                    recipients=["b@example.com"])
        ...     except smtpx.ConnectionLost as error:
        ...         print(error.delivery, len(server.inbox))
        unknown 1
        """
        fault = Drop(stage, matching=matching, times=times)
        self._faults.add(fault)
        return fault

    def hold(
        self, stage: Stage, *, matching: str = "*", times: int | None = None
    ) -> Hold:
        r"""Make clients wait at a stage; ``release`` of what this returns ends it.

        Args:
            stage: where.
            matching: for whom.
            times: how often; None: each time.

        >>> import smtpx, threading
        >>> with MailServer() as server:
        ...     with server.hold("hello") as hold:
        ...         client = threading.Thread(target=smtpx.send, args=(b"\r\n",),
        ...             kwargs={"to": server.url, "sender": "a@example.com",
        ...                     "recipients": ["b@example.com"]})
        ...         client.start()
        ...         hold.wait_reached()
        ...         server.inbox.assert_not_sent()
        ...     client.join()
        ...     len(server.inbox)
        1
        """
        fault = Hold(stage, matching=matching, times=times)
        self._faults.add(fault)
        return fault

    def inject(self, fault: Fault) -> None:
        """Have something go wrong that the methods above do not make.

        Args:
            fault: such as a `smtpx.testing.faults.Delay`, or one with a probability.
        """
        self._faults.add(fault)

    def reset(self) -> None:
        """Empty the inbox, and have nothing go wrong but what the options say."""
        self._faults.clear()
        self._faults = Faults(self.options.refuse)
        self.inbox.clear()

    # -------------------------------------------------------------------- for sessions

    def find(self, stage: Stage, *names: str) -> Fault | None:
        """Return what goes wrong, if anything does; it is counted.

        Args:
            stage: where a session is.
            names: for whom it is asked.
        """
        return self._faults.find(stage, *names)

    def abort(self, connection: ConnectionInfo) -> None:
        """Lose a connection, without a word.

        Args:
            connection: of a session.
        """
        self._server.abort(connection)

    def _make_session(self, connection: ConnectionInfo) -> Session:
        kind = _SessionWithUsers if self.options.auth else _Session
        return kind(connection, self)

    def _settings(self) -> ServerOptions:
        given = self.options
        tls = self._certificates.server if self._certificates else given.server.tls
        return dataclasses.replace(
            given.server,
            tls=tls,
            implicit_tls=given.implicit_tls or given.server.implicit_tls,
            require_tls=given.require_tls or given.server.require_tls,
            require_auth=given.require_auth or given.server.require_auth,
            lmtp=given.lmtp or given.server.lmtp,
        )


class _Session(FaultySession):
    """Puts messages into the inbox."""

    def __init__(self, connection: ConnectionInfo, server: MailServer) -> None:
        super().__init__(connection, server)
        self._server = server

    async def take(self, content: bytes, recipients: list[Recipient]) -> Reply:
        connection = self.connection
        envelope = dataclasses.replace(self.envelope, recipients=list(recipients))
        mail = ReceivedMail(
            octets=content,
            envelope=envelope,
            hello_name=connection.hello_name or "",
            protocol=connection.protocol,
            tls=connection.tls,
            user=connection.user,
            session_id=connection.id,
        )
        try:
            self._server.inbox.add(mail)
        except InboxFull:
            raise _FULL from None
        return _TAKEN


class _SessionWithUsers(_Session):
    """... who authenticate. A hook that is there has AUTH offered."""

    async def check_password(self, user: str, password: str) -> bool:
        await self.undergo("auth", user)
        expected = self._server.options.auth.get(user)
        return expected is not None and hmac.compare_digest(
            expected.encode(), password.encode()
        )

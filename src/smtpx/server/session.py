"""What users of the server write: a session class with the hooks they care for."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol

from smtpx.errors import Refuse

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from ipaddress import IPv4Address, IPv6Address

    from smtpx.net.tls import TLSInfo
    from smtpx.sasl.mechanism import Identity, Question
    from smtpx.sasl.oauth import CheckToken, TokenRefused
    from smtpx.sasl.scram_keys import ScramCredentials
    from smtpx.server.body import Body
    from smtpx.wire.address import Mailbox
    from smtpx.wire.envelope import Envelope, Recipient
    from smtpx.wire.forwarded import XClient, XForward
    from smtpx.wire.params import MailOptions, RcptOptions
    from smtpx.wire.preamble import ProxyHeader
    from smtpx.wire.replies import Reply

__all__ = ["ConnectionInfo", "Endpoints", "Session", "Statuses"]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The two ends of a connection, as the socket has them.

    Attributes:
        peer: as in `ConnectionInfo`, of the proxy or gateway.
        peer_host: likewise.
        local: likewise.
        is_local: likewise.
        is_unix: likewise.

    >>> Endpoints("10.0.0.2:40112", "10.0.0.2", "10.0.0.1:25", False, False).peer
    '10.0.0.2:40112'
    """

    peer: str
    peer_host: str | None
    local: str
    is_local: bool
    is_unix: bool


class _Follower(Protocol):
    """What knows more of a session, at any time: the machine."""

    @property
    def forwarded(self) -> XForward | None: ...

    @property
    def is_lmtp(self) -> bool: ...


class ConnectionInfo:
    """Facts about a connection, kept up to date by the server.

    Where a proxy or a gateway speaks for the client, they are facts about the client;
    ``original`` has those of the connection itself.

    Attributes:
        id: short, random; stands in every line of the log and belongs into the
            ``id`` clause of a Received field (RFC 5321 section 4.4).
        hostname: what the server called itself.
        peer: the client's address, such as ``192.0.2.1:40112`` or ``unix:``;
            ``unknown`` where a gateway does not know it.
        peer_host: its IP address as text; None if it has none, or it is not known.
        local: the address it connected to.
        started_at: when, in UTC.
        is_local: whether the client is on loopback or a unix socket.
        is_unix: whether it is on a unix socket.
        hello_name: what the client called itself; None before HELO.
        is_extended: whether it said EHLO or LHLO, not HELO.
        tls: facts about TLS; None in plaintext.
        identity: who authenticated; None if nobody did.
        envelope: the transaction under way; None outside one.
        original: the ends of the connection itself, where somebody speaks for the
            client; None where nobody does.
        proxy: the header of the proxy; None if there was none.
        xclient: what XCLIENT told, all commands together; None if it was not said.
    """

    __slots__ = (
        "_close",
        "_follower",
        "_is_lmtp",
        "envelope",
        "hello_name",
        "hostname",
        "id",
        "identity",
        "is_extended",
        "is_local",
        "is_unix",
        "local",
        "original",
        "peer",
        "peer_host",
        "proxy",
        "started_at",
        "tls",
        "xclient",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - facts, given by the server
        self,
        id: str,  # noqa: A002 - the RFC's own word, and clear as an attribute
        hostname: str,
        peer: str,
        peer_host: str | None,
        local: str,
        started_at: datetime,
        close: Callable[[Reply | None], None],
        is_lmtp: bool = False,
        is_local: bool = False,
    ) -> None:
        self.id = id
        self.hostname = hostname
        self.peer = peer
        self.peer_host = peer_host
        self.local = local
        self.started_at = started_at
        self._is_lmtp = is_lmtp
        self.is_local = is_local
        # A unix socket is the one local end without an IP address.
        self.is_unix = is_local and peer_host is None
        self.original: Endpoints | None = None
        self.proxy: ProxyHeader | None = None
        self.xclient: XClient | None = None
        self._follower: _Follower | None = None
        self.hello_name: str | None = None
        self.is_extended = False
        self.tls: TLSInfo | None = None
        self.identity: Identity | None = None
        self.envelope: Envelope | None = None
        self._close = close

    @property
    def forwarded(self) -> XForward | None:
        """What XFORWARD told of the transaction under way or the next; None: nothing.

        It is for logs: it tells nothing that a decision may rest on. Attributes that
        were not told are ``Unknown.UNAVAILABLE``.
        """
        return None if self._follower is None else self._follower.forwarded

    @property
    def is_lmtp(self) -> bool:
        """Whether this is LMTP; where a server takes both, from LHLO on."""
        return self._is_lmtp if self._follower is None else self._follower.is_lmtp

    def follow(self, machine: _Follower) -> None:
        """Tell what a machine knows from now on; for the server alone.

        Args:
            machine: of the session.
        """
        self._follower = machine

    @property
    def peer_ip(self) -> IPv4Address | IPv6Address | None:
        """The client's IP address; None if it has none, or it is not known."""
        return None if self.peer_host is None else ip_address(self.peer_host)

    @property
    def user(self) -> str | None:
        """Whom the client authenticated as; None if it did not."""
        return None if self.identity is None else self.identity.user

    @property
    def protocol(self) -> str:
        """The name for the ``with`` clause of a Received field.

        ``SMTP``, ``ESMTP``, ``ESMTPSA``, ``LMTPS`` (RFC 3848); in a transaction with
        SMTPUTF8 ``UTF8SMTP``, ``UTF8LMTPS`` and so on (RFC 6531 section 4.3).
        """
        is_utf8 = self.envelope is not None and self.envelope.options.smtputf8
        if is_utf8:
            name = "UTF8LMTP" if self.is_lmtp else "UTF8SMTP"
        elif self.is_lmtp:
            name = "LMTP"
        else:
            name = "ESMTP" if self.is_extended else "SMTP"
        if name == "SMTP":
            return name
        return name + ("S" if self.tls else "") + ("A" if self.identity else "")

    def close(self, reply: Reply | None = None) -> None:
        """End this session now with a reply, by default 421 4.3.2.

        A message under way is aborted. Call it from the server's own thread.

        Args:
            reply: the last words to the client.
        """
        self._close(reply)

    def let_go(self) -> None:
        """Keep the facts, but not the connection, which is gone; for the server alone.

        What refers to itself is freed late, by the garbage collector: at a connection
        a message that was a tenth of all the work.
        """
        self._close = _is_gone

    def __repr__(self) -> str:
        return f"<ConnectionInfo {self.id} {self.protocol} from {self.peer}>"


def _is_gone(_reply: Reply | None) -> None:
    """End a session that has ended."""


class Statuses:
    """In LMTP, what became of a message for each recipient (RFC 2033 section 4.2)."""

    __slots__ = ("_set", "recipients")

    def __init__(
        self, recipients: list[Recipient], set_status: Callable[[int, Reply], None]
    ) -> None:
        self.recipients = recipients
        self._set = set_status

    def __repr__(self) -> str:
        names = ", ".join(str(recipient.mailbox) for recipient in self.recipients)
        return f"<Statuses for {names}>"

    def set(self, recipient: Recipient, reply: Reply) -> None:
        """Give one recipient its reply.

        It is sent as soon as the message is complete and the recipients before this
        one have theirs.

        Args:
            recipient: of ``recipients``. The same mailbox given twice is two.
            reply: 2yz: responsibility is taken; 4yz or 5yz: it is not.

        Raises:
            ValueError: the recipient has its reply already, or is none of
                ``recipients``, or the reply is 3yz.
            RuntimeError: the message was answered or aborted.
        """
        if recipient not in self.recipients[recipient.index : recipient.index + 1]:
            message = "that is no recipient of this message"
            raise ValueError(message)
        self._set(recipient.index, reply)


class Session:
    """One client's session. Subclass it and override the hooks you need.

    One hook runs at a time. A hook grants what was asked by returning None, or a reply
    that says it in other words; it refuses by raising ``Refuse``, or by returning a
    4yz or 5yz reply. Any other exception is logged and answered with 451 4.3.0; nothing
    of it goes to the client. After STARTTLS the client starts again with a new session
    object (RFC 3207 section 4.2).

    A session is made by ``Server`` for each connection, by calling what you gave it (a
    class will do) with a ``ConnectionInfo``.

    Attributes:
        connection: facts about the connection.

    Example:
        ::

            class Inbox(Session):
                async def rcpt(self, forward_path, options):
                    if forward_path.domain != "example.com":
                        raise Refuse(550, "5.7.1", "we do not relay")

                async def data(self, body):
                    content = await body.read()
                    store(self.envelope, content)
                    return Reply(250, "2.0.0", "queued")
    """

    def __init__(self, connection: ConnectionInfo) -> None:
        self.connection = connection

    @property
    def envelope(self) -> Envelope:
        """The transaction under way: reverse path, options, accepted recipients.

        Raises:
            RuntimeError: there is none: MAIL was not accepted yet.
        """
        envelope = self.connection.envelope
        if envelope is None:
            message = "no transaction is under way: MAIL was not accepted yet"
            raise RuntimeError(message)
        return envelope

    async def connected(self) -> Reply | None:
        """A client connected (RFC 5321 section 3.1).

        Return ``Reply(220, None, "text")`` to change the greeting's text. A refusal
        with 421 closes, one with 554 waits for QUIT.
        """

    async def hello(self, name: str) -> Reply | None:
        """HELO, EHLO or LHLO (RFC 5321 section 4.1.1.1).

        Args:
            name: the domain or address literal that the client claims to be.
        """

    async def start_tls(self) -> Reply | None:
        """STARTTLS, before its 220; refuse it with 454 4.7.0 (RFC 3207 section 4).

        It is called only where the server offers it.
        """

    async def mail(
        self, reverse_path: Mailbox | None, options: MailOptions
    ) -> Reply | None:
        """MAIL: a transaction begins (RFC 5321 section 4.1.1.2).

        Args:
            reverse_path: the sender; None for ``<>``, the null reverse path.
            options: the parameters.
        """

    async def rcpt(self, forward_path: Mailbox, options: RcptOptions) -> Reply | None:
        """RCPT: one recipient (RFC 5321 section 4.1.1.3).

        Args:
            forward_path: the recipient; for ``<postmaster>`` its domain is empty.
            options: the parameters.
        """

    async def start_data(self) -> Reply | None:
        """DATA, before its 354, or the first BDAT: the last time to refuse cheaply."""

    async def data(self, body: Body) -> Reply | None:
        """The message (RFC 5321 section 4.1.1.4, RFC 3030 section 2).

        A positive answer takes responsibility for it; return it when the message is
        safe, not before. In LMTP it counts for all recipients.

        Args:
            body: the content, a stream.
        """
        raise Refuse(554, "5.3.2", "this server takes no messages")

    async def lmtp_data(self, body: Body, statuses: Statuses) -> Reply | None:
        """The message in LMTP, with a status for each recipient (RFC 2033 section 4.2).

        By default ``data`` answers for all of them.

        Args:
            body: the content, a stream.
            statuses: give each recipient its reply as soon as you know it. What you
                return counts for those left out.
        """
        return await self.data(body)

    async def reset(self) -> None:
        """A transaction ended, however it did; called once for each accepted MAIL."""

    async def verify(self, text: str) -> Reply | None:
        """VRFY (RFC 5321 section 4.1.1.6). By default 252: try RCPT and see.

        Overriding it has VRFY listed in the reply to EHLO.

        Args:
            text: what to verify, as the client wrote it.
        """

    async def expand(self, text: str) -> Reply | None:
        """EXPN (RFC 5321 section 4.1.1.7). By default 502.

        Overriding it has EXPN listed in the reply to EHLO.

        Args:
            text: the list to expand, as the client wrote it.
        """

    async def etrn(self, node: str) -> Reply | None:
        """ETRN (RFC 1985): the client wants the mail that you hold for a node.

        Overriding it switches ETRN on. Start to send, over another connection, and
        reply at once: 250 it was started, 251 nothing is waiting, 252 or 253 something
        is; 458 it cannot be, which None stands for; 459 the client may not ask that.

        Args:
            node: a domain; with ``@`` before it, all domains below it too; or ``#``
                and the name of a queue.
        """

    async def help(self, topic: str) -> Reply | None:
        """HELP (RFC 5321 section 4.1.1.8). By default the verbs are listed.

        Args:
            topic: what is asked for; may be empty.
        """

    async def check_password(self, user: str, password: str) -> bool:
        """Tell whether a password is right; overriding it offers PLAIN and LOGIN.

        Take as long for an unknown user as for a wrong password. Refuse with 454
        when it cannot be found out.

        Args:
            user: the name.
            password: in clear; keep it out of logs.
        """
        raise Refuse(454, "4.7.0", "no passwords are known here")

    async def scram_credentials(
        self, user: str, hash_name: str
    ) -> ScramCredentials | None:
        """Return what is kept of a password; overriding it offers SCRAM (RFC 5802).

        Args:
            user: name of the user, prepared with SASLprep.
            hash_name: ``sha256``; ``sha1`` as well if you offer SCRAM-SHA-1.

        Returns:
            What `make_scram_credentials` made, or None for a user who has none: the
            client cannot tell that from a wrong password.
        """
        raise Refuse(454, "4.7.0", "no passwords are known here")

    async def check_token(self, question: CheckToken) -> str | TokenRefused | None:
        """Tell whose OAuth token it is; overriding it offers OAUTHBEARER and XOAUTH2.

        Args:
            question: the token, and whom the client wants to act as.

        Returns:
            The name of the user whom the token was given to, which is then compared
            with whom the client wants to act as: see ``authorize``. None or a
            `TokenRefused` to refuse.
        """
        raise Refuse(454, "4.7.0", "no tokens are known here")

    async def external_identity(self, authorize_as: str) -> str | None:
        """Tell who the client is by its channel; overriding it offers EXTERNAL.

        Such as by ``self.connection.tls``, its certificate (RFC 4422 appendix A).

        Args:
            authorize_as: whom it asks to act as; empty if it does not say.

        Returns:
            The user's name; None if the channel does not tell.
        """
        raise Refuse(454, "4.7.0", "no channel tells who you are")

    async def admit_anonymous(self, trace: str) -> bool:
        """Tell whether a client may go without a name; overriding it offers ANONYMOUS.

        Args:
            trace: what it says of itself, for the log (RFC 4505 section 2).
        """
        raise Refuse(454, "4.7.0", "everybody has a name here")

    async def readable_password(self, user: str) -> str | None:
        """Return a user's password; overriding it offers CRAM-MD5 (RFC 2195).

        It wants passwords that whoever reads your disk can use. Rather give
        ``scram_credentials``.

        Args:
            user: name of the user.

        Returns:
            The password; None for a user who does not exist.
        """
        raise Refuse(454, "4.7.0", "no passwords are known here")

    async def answer_question(self, question: Question) -> object:
        """Answer a question that a mechanism of your own asks.

        Args:
            question: of a class that you made.

        Returns:
            What that class says.
        """
        raise Refuse(454, "4.7.0", "nobody knows the answer")

    async def authorize(self, identity: Identity) -> Reply | None:
        """A client proved who it is; may it act as it asks (RFC 4954 section 4)?

        By default it may act as itself only.

        Args:
            identity: who it is, and as whom it wants to act.
        """
        if identity.authorize_as not in {"", identity.user}:
            raise Refuse(535, "5.7.8", "not allowed to act as somebody else")
        return None

    async def xclient(self, attributes: XClient) -> Reply | None:
        """XCLIENT: a gateway that you trust tells whom it speaks for (Postfix).

        None grants it: this session is ``closed``, ``connection`` describes the client
        that was told, and the next session begins with ``connected``.

        Args:
            attributes: what is told. A login in it is taken for authenticated; refuse
                with 550 5.7.0 who should not tell one.
        """

    async def xforward(self, attributes: XForward) -> Reply | None:
        """XFORWARD: a gateway that you trust tells where the next message came from.

        When it is granted, ``connection.forwarded`` tells it until the transaction
        ends.

        Args:
            attributes: what this command tells.
        """

    async def command(self, verb: str, argument: str) -> Reply | None:
        """A verb that you registered. By default 502.

        Args:
            verb: in upper case.
            argument: what follows it, as the client wrote it.
        """

    async def closed(self, reason: str) -> None:
        """The session is over: always called, once, after every other hook.

        Args:
            reason: why, in words for a log.
        """

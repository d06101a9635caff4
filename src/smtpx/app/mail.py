"""What a handler of the application gets: a message, and all that is known of it."""

from __future__ import annotations

import asyncio
import functools
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from smtpx.message.addresses import Address
from smtpx.message.fields import Header
from smtpx.message.parsed import Attachment, ParsedMessage, ResentBlock, parse_message
from smtpx.verify.arc import verify_arc
from smtpx.verify.authentication import Origin, authenticate
from smtpx.verify.canonical import SignedContent
from smtpx.verify.dkim import verify_dkim
from smtpx.verify.hosts import is_mailable
from smtpx.verify.spf import check_spf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from ipaddress import IPv4Address, IPv6Address

    from smtpx.app.spool import Spool
    from smtpx.net.records import RecordResolver
    from smtpx.net.tls import TLSInfo
    from smtpx.server.session import ConnectionInfo
    from smtpx.verify.arc import ARCResult
    from smtpx.verify.authentication import Authentication
    from smtpx.verify.dkim import DKIMResult
    from smtpx.verify.dmarc import DMARCResult
    from smtpx.verify.spf import SPFResult
    from smtpx.wire.address import Mailbox
    from smtpx.wire.envelope import Envelope, Recipient

__all__ = ["Arrival", "Mail"]

ValueT = TypeVar("ValueT")


class _Read(Generic[ValueT]):
    """An attribute of the message, as an attribute of the mail."""

    def __init__(self, read: Callable[[ParsedMessage], ValueT]) -> None:
        self._read = read

    @overload
    def __get__(self, mail: None, owner: type[Mail]) -> _Read[ValueT]: ...

    @overload
    def __get__(self, mail: Mail, owner: type[Mail]) -> ValueT: ...

    def __get__(self, mail: Mail | None, owner: type[Mail]) -> _Read[ValueT] | ValueT:
        return self if mail is None else self._read(mail.message)


class Arrival:
    """One message as it arrived: what the mails that are made of it share.

    Args:
        spool: the message.
        connection: of the session.
        envelope: of the transaction.
        resolver: makes what asks the DNS, when something does.
    """

    def __init__(
        self,
        spool: Spool,
        connection: ConnectionInfo,
        envelope: Envelope,
        resolver: Callable[[], RecordResolver],
    ) -> None:
        self.spool = spool
        self.connection = connection
        self.envelope = envelope
        self.resolver = resolver
        self.loop = asyncio.get_running_loop()
        self._tasks: dict[str, asyncio.Task[Any]] = {}

    @functools.cached_property
    def octets(self) -> bytes:
        """All of the message."""
        return self.spool.read()

    @functools.cached_property
    def message(self) -> ParsedMessage:
        """What it says."""
        return parse_message(self.octets)

    @functools.cached_property
    def content(self) -> SignedContent:
        """The message as its signatures see it."""
        return SignedContent(self.octets)

    async def once(
        self, name: str, make: Callable[[], Coroutine[Any, Any, ValueT]]
    ) -> ValueT:
        """Do something once for all handlers, and return what came of it.

        Args:
            name: of what is done.
            make: does it.
        """
        task: asyncio.Task[ValueT] | None = self._tasks.get(name)
        if task is None:
            task = self._tasks[name] = asyncio.create_task(make())
        # One handler that gives up must not take it from the others.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Forget the message."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self.spool.close()


class Mail:
    """A message that arrived, for a handler of `App`.

    It is good until the handler returns. What the message says is read when asked for,
    and nothing of it raises; a message that was spooled to a file is read into memory
    then.

    Attributes:
        envelope: reverse path, options and all recipients of the transaction.
        recipients: those that this handler was called for.
        parameters: what the placeholders of the pattern stand for, by name.
        connection: the session: its id, hello name, protocol and so on.
        subject: see `ParsedMessage` for this and all that follow.
        from_: the authors.
        sender: who sent it for them.
        reply_to: where answers go.
        to: the recipients as the header names them.
        cc: likewise.
        bcc: likewise.
        date: when it was written.
        message_id: without angle brackets.
        in_reply_to: which messages it answers.
        references: the conversation so far.
        resent: each time that it was put into the mail again.
        text: the plain text.
        html: the HTML text.
        attachments: the files beside the text.
        embedded: the files that the HTML shows.
        header: its fields.
        defects: what is wrong with it.
    """

    subject = _Read[str](lambda one: one.subject)
    from_ = _Read[tuple[Address, ...]](lambda one: one.from_)
    sender = _Read[Address | None](lambda one: one.sender)
    reply_to = _Read[tuple[Address, ...]](lambda one: one.reply_to)
    to = _Read[tuple[Address, ...]](lambda one: one.to)
    cc = _Read[tuple[Address, ...]](lambda one: one.cc)
    bcc = _Read[tuple[Address, ...]](lambda one: one.bcc)
    date = _Read[datetime | None](lambda one: one.date)
    message_id = _Read[str | None](lambda one: one.message_id)
    in_reply_to = _Read[tuple[str, ...]](lambda one: one.in_reply_to)
    references = _Read[tuple[str, ...]](lambda one: one.references)
    resent = _Read[tuple[ResentBlock, ...]](lambda one: one.resent)
    text = _Read[str](lambda one: one.text)
    html = _Read[str](lambda one: one.html)
    attachments = _Read[tuple[Attachment, ...]](lambda one: one.attachments)
    embedded = _Read[tuple[Attachment, ...]](lambda one: one.embedded)
    header = _Read[Header](lambda one: one.header)
    defects = _Read[tuple[str, ...]](lambda one: one.defects)

    def __init__(
        self,
        arrival: Arrival,
        recipients: tuple[Recipient, ...],
        parameters: dict[str, str],
    ) -> None:
        self._arrival = arrival
        self.connection = arrival.connection
        self.envelope = arrival.envelope
        self.recipients = recipients
        self.parameters = parameters

    def __repr__(self) -> str:
        return f"<Mail {self.connection.id} {self.size:,} octets>"

    @property
    def size(self) -> int:
        """Of the message, in octets."""
        return self._arrival.spool.size

    @property
    def octets(self) -> bytes:
        """The message as it arrived."""
        return self._arrival.octets

    @property
    def message(self) -> ParsedMessage:
        """What the message says."""
        return self._arrival.message

    def blocks(self) -> AsyncIterator[bytes]:
        """Iterate over the message as it arrived, with memory that stays flat."""
        return self._arrival.spool.blocks()

    @property
    def reverse_path(self) -> Mailbox | None:
        """Where reports about the message go; None for the null reverse path."""
        return self.envelope.reverse_path

    @property
    def peer(self) -> IPv4Address | IPv6Address | None:
        """The address of the client; None on a unix socket."""
        return self.connection.peer_ip

    @property
    def tls(self) -> TLSInfo | None:
        """Facts about TLS; None in clear."""
        return self.connection.tls

    @property
    def user(self) -> str | None:
        """Whom the client authenticated as; None if it did not."""
        return self.connection.user

    # Who sent it.

    async def authentication(self) -> Authentication:
        """Check SPF, DKIM, ARC, DMARC and the client's name; see `authenticate`."""
        origin = Origin(
            self.peer,
            self.reverse_path,
            self.connection.hello_name or "",
            self.user or "",
        )
        arrival = self._arrival
        return await arrival.once(
            "authentication",
            lambda: authenticate(
                arrival.octets,
                origin,
                arrival.resolver(),
                receiver=self.connection.hostname,
            ),
        )

    async def spf(self) -> SPFResult:
        """Say whether the client may send for the reverse path; see `check_spf`."""
        peer = self.peer
        if peer is None:
            return (await self.authentication()).spf
        arrival = self._arrival
        return await arrival.once(
            "spf",
            lambda: check_spf(
                peer,
                self.reverse_path,
                self.connection.hello_name or "",
                arrival.resolver(),
                receiver=self.connection.hostname,
            ),
        )

    async def dkim(self) -> tuple[DKIMResult, ...]:
        """Say which domains signed the message; see `verify_dkim`."""
        arrival = self._arrival
        return await arrival.once(
            "dkim", lambda: verify_dkim(arrival.content, arrival.resolver())
        )

    async def arc(self) -> ARCResult:
        """Say who handled the message before; see `verify_arc`."""
        arrival = self._arrival
        return await arrival.once(
            "arc", lambda: verify_arc(arrival.content, arrival.resolver())
        )

    async def dmarc(self) -> DMARCResult:
        """Say whether the author's domain answers for it; see `check_dmarc`."""
        return (await self.authentication()).dmarc

    async def is_mailable(self, domain: str | None = None) -> bool:
        """Say whether a domain takes mail: MX, null MX and addresses count.

        Args:
            domain: None: that of the reverse path; the null reverse path has none, and
                takes none.

        Raises:
            DNSFailure: nobody could tell; defer the message.
        """
        if domain is None:
            if self.reverse_path is None:
                return False
            domain = self.reverse_path.domain
        return await is_mailable(domain, self._arrival.resolver())

    def wait(self, work: Coroutine[Any, Any, ValueT]) -> ValueT:
        """Do something asynchronous from a handler that is a plain function.

        Args:
            work: a coroutine, such as ``mail.spf()``.

        Returns:
            What it returns.
        """
        return asyncio.run_coroutine_threadsafe(work, self._arrival.loop).result()

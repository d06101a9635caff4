r"""The inbox for developers: SMTP and LMTP servers, a store, and a web page.

>>> import asyncio, smtpx
>>> async def main():
...     options = InboxOptions(smtp=("127.0.0.1:0",), web="127.0.0.1:0")
...     async with DevInbox(options) as inbox:
...         await smtpx.asend(
...             b"Subject: Your order\r\n\r\nThank you\r\n", to=inbox.smtp_urls[0],
...             sender="shop@example.com", recipients=["ann@example.com"])
...         return [message.recipients for message in inbox.mailbox.newest_first()]
>>> asyncio.run(main())
[('ann@example.com',)]
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from typing import TYPE_CHECKING, Final, Self

from smtpx import __version__
from smtpx.core.limits import DEFAULT_LIMITS
from smtpx.inbox.dialogue import Recorder
from smtpx.inbox.faults import FaultList
from smtpx.inbox.live import LiveEvents
from smtpx.inbox.mailbox import DEFAULT_CAP, InboxCap, Mailbox
from smtpx.inbox.reading import Reader
from smtpx.inbox.receiving import (
    AuthenticatedSession,
    InboxServer,
    InboxSession,
    Reception,
)
from smtpx.inbox.release import Releaser
from smtpx.inbox.sqlite_store import SQLiteStore
from smtpx.inbox.state import InboxState
from smtpx.inbox.stores import MemoryStore
from smtpx.net.records import DNSRecordResolver
from smtpx.server.options import ServerOptions
from smtpx.server.sockets import SMTP_PORT, UNIX_PREFIX, Listener, parse_address
from smtpx.testing.certificates import ThrowawayCertificates, make_certificates
from smtpx.testing.faults import Faults
from smtpx.testing.threads import run_in_thread
from smtpx.wire.framing import BareNewline

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from smtpx.inbox.dialogue import Dialogue
    from smtpx.inbox.views import JSONObject
    from smtpx.inbox.web_server import WebServer
    from smtpx.net.records import RecordResolver
    from smtpx.testing.faults import Fault

__all__ = ["DevInbox", "InboxOptions"]

logger = logging.getLogger("smtpx.inbox")

# Those that ask for something of the delivery. Nothing is delivered, but who tests a
# program that says them wants to see them.
_EXTENSIONS: Final = frozenset(
    {"REQUIRETLS", "RRVS", "DELIVERBY", "MT-PRIORITY", "FUTURERELEASE"}
)

# What programs on this machine call it.
_LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "::1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class InboxOptions:
    """What kind of inbox is wanted.

    Attributes:
        smtp: where to take mail by SMTP, and by LMTP from clients that begin with
            LHLO, but for port 25, which is SMTP's alone (RFC 2033 section 5). Port 0
            takes a free one.
        lmtp: where by LMTP alone.
        web: where to show the page; None: nowhere.
        web_names: under which the page may be reached, beside ``localhost`` and IP
            addresses: any other name may be of a site that attacks by DNS rebinding.
        tls: offer STARTTLS with a certificate that is made now.
        auth: offer AUTH, and take any user and any password.
        require_auth: refuse mail before AUTH.
        cap: how much is kept.
        database: a file to keep messages in (SQLite); None: in memory.
        release_to: URLs of the servers that messages may be sent on to, by hand; user
            and password may be in them.
        release_only: patterns of the addresses that may get something then, with the
            wildcards of `fnmatch`; empty: all.
        release_tls: as ``tls_context`` of `smtpx.ClientOptions`, to these servers.
        resolver: asks the DNS for verdicts; None: the name servers of the system.
        faults: what goes wrong from the start.
        server: everything else of the SMTP and LMTP servers. The options above go over
            it. By default messages with a bare CR or LF are taken, and complained of.

    Raises:
        ValueError: there is nothing to listen on, or an address is none.
    """

    smtp: tuple[str, ...] = ("127.0.0.1:1025",)
    lmtp: tuple[str, ...] = ()
    web: str | None = "127.0.0.1:8025"
    web_names: tuple[str, ...] = ()
    tls: bool = False
    auth: bool = False
    require_auth: bool = False
    cap: InboxCap = DEFAULT_CAP
    database: Path | None = None
    release_to: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    release_only: tuple[str, ...] = ()
    release_tls: ssl.SSLContext | None = None
    resolver: RecordResolver | None = None
    faults: tuple[Fault, ...] = ()
    server: ServerOptions = dataclasses.field(
        default_factory=lambda: ServerOptions(
            hostname="inbox.localhost",
            smtputf8=True,
            binarymime=True,
            dsn=True,
            extensions=_EXTENSIONS,
            bare_newline=BareNewline.ACCEPT,
        )
    )

    def __post_init__(self) -> None:
        if not self.smtp and not self.lmtp:
            raise ValueError("an inbox listens somewhere: give smtp or lmtp")
        for address in (*self.smtp, *self.lmtp):
            Listener(address)
        if self.web is not None:
            Listener(self.web)
        Releaser(self.release_to)
        if self.web is not None and self.web.startswith(UNIX_PREFIX):
            raise ValueError("web is host:port: no browser opens a unix socket")


class DevInbox:
    """An inbox: it takes all mail and delivers none, but for what is released.

    Use it as an asynchronous context manager, or with ``run_in_thread``; once.

    Args:
        options: what kind.

    Attributes:
        options: as given.
        mailbox: the messages; of the event loop's thread.
        faults: what goes wrong; any thread may add to them.
        server: that takes the mail, by SMTP and LMTP.
    """

    def __init__(self, options: InboxOptions | None = None) -> None:
        self.options = options or InboxOptions()
        given = self.options
        store = MemoryStore() if given.database is None else SQLiteStore(given.database)
        self.mailbox = Mailbox(store, given.cap)
        self.faults = Faults()
        for fault in given.faults:
            self.faults.add(fault)
        self._certificates = _certificates(given) if given.tls else None
        self._recorder = Recorder(self._settle)
        self._reader = Reader(self.mailbox)
        self._live = LiveEvents(self.mailbox, self._reader)
        self._releaser = Releaser(
            given.release_to,
            recipients=given.release_only,
            tls_context=given.release_tls,
        )
        self._resolver = given.resolver
        self.server = self._make_server()
        self._web: WebServer | None = None
        self._stack = contextlib.AsyncExitStack()

    def __repr__(self) -> str:
        where = " ".join((*self.smtp_urls, *self.lmtp_urls))
        return f"<DevInbox {where or 'not listening'}, {len(self.mailbox)} messages>"

    # -------------------------------------------------------------------- life cycle

    async def __aenter__(self) -> Self:
        """Start; clients can connect, and the page can be opened.

        Raises:
            OSError: an address or the database cannot be used.
        """
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._reader.close)
            await self.mailbox.open()
            stack.push_async_callback(self.mailbox.close)
            await stack.enter_async_context(self.server)
            if self.options.web is not None:
                self._web = await _start_web(self.options.web, self._state())
                stack.push_async_callback(self._web.close)
                stack.callback(self._live.close)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop now; a message that was acknowledged to a database is in it."""
        await self._stack.aclose()

    @contextlib.contextmanager
    def run_in_thread(self) -> Iterator[Self]:
        """Run in a thread of its own, for blocking code and tests.

        Yields:
            The inbox, started; it is stopped at the end of the block.

        Raises:
            OSError: an address or the database cannot be used.

        >>> options = InboxOptions(smtp=("127.0.0.1:0",), web=None)
        >>> with DevInbox(options).run_in_thread() as inbox:
        ...     inbox.smtp_urls[0].startswith("smtp://127.0.0.1:")
        True
        """
        with run_in_thread(self):
            yield self

    # ------------------------------------------------------------------ where it is

    @property
    def smtp_urls(self) -> tuple[str, ...]:
        """Where it takes mail by SMTP, as `smtpx.Client` takes it."""
        return self._urls(is_lmtp=False)

    @property
    def lmtp_urls(self) -> tuple[str, ...]:
        """Where it takes mail by LMTP, as `smtpx.LMTPClient` takes it."""
        return self._urls(is_lmtp=True)

    @property
    def web_urls(self) -> tuple[str, ...]:
        """Where the page is; empty before the start, and without one."""
        return () if self._web is None else self._web.urls

    @property
    def certificates(self) -> ThrowawayCertificates:
        """The certificates: ``certificates.client`` is the context for a client.

        Raises:
            RuntimeError: none were made, as nothing asked for TLS.
        """
        if self._certificates is None:
            raise RuntimeError("no certificate was made for this inbox: give tls=True")
        return self._certificates

    def _urls(self, *, is_lmtp: bool) -> tuple[str, ...]:
        scheme = "lmtp" if is_lmtp else "smtp"
        return tuple(
            f"{scheme}+unix://{address.removeprefix('unix:')}"
            if address.startswith("unix:")
            else f"{scheme}://{address}"
            for address, listener in self.server.listening
            if listener.lmtp_too or bool(listener.lmtp) is is_lmtp
        )

    # ------------------------------------------------------------------------ inside

    def _make_server(self) -> InboxServer:
        given = self.options
        reception = Reception(
            self.mailbox,
            self._recorder,
            self.faults,
            on_fault=self._live.faults_changed,
            on_trouble=_log_trouble,
        )
        listeners = [_listener(address) for address in given.smtp]
        listeners += [Listener(address, lmtp=True) for address in given.lmtp]
        has_auth = given.auth or given.require_auth
        kind = AuthenticatedSession if has_auth else InboxSession
        return InboxServer(reception, kind, listeners, options=self._settings())

    def _settings(self) -> ServerOptions:
        given = self.options.server
        tls = given.tls if self._certificates is None else self._certificates.server
        limits = given.limits
        if limits is DEFAULT_LIMITS:
            # A program that is being tested may send as much as it likes.
            limits = dataclasses.replace(limits, max_transactions=1_000_000)
        octets = limits.max_message_octets
        cap = self.options.cap.octets
        limits = dataclasses.replace(
            limits, max_message_octets=cap if octets is None else min(cap, octets)
        )
        return dataclasses.replace(
            given,
            tls=tls,
            require_auth=self.options.require_auth or given.require_auth,
            limits=limits,
            wire_log=_both(self._recorder.write, given.wire_log),
        )

    def _state(self) -> InboxState:
        return InboxState(
            mailbox=self.mailbox,
            reader=self._reader,
            live=self._live,
            faults=FaultList(self.faults),
            releaser=self._releaser,
            resolver=self._find_resolver,
            facts=self._facts,
            web_names=self.options.web_names,
        )

    def _facts(self) -> JSONObject:
        return {
            "version": __version__,
            "smtp": list(self.smtp_urls),
            "lmtp": list(self.lmtp_urls),
            "auth": self.options.auth or self.options.require_auth,
            "tls": self.server.options.tls is not None,
            "release": {
                "enabled": bool(self._releaser.servers),
                "servers": list(self._releaser.servers),
            },
            "is_stored": self.options.database is not None,
        }

    def _find_resolver(self) -> RecordResolver:
        if self._resolver is None:
            self._resolver = DNSRecordResolver()
        return self._resolver

    def _settle(self, dialogue: Dialogue) -> None:
        if self.mailbox.get(dialogue.message) is not None:
            self.mailbox.store.settle(dialogue)


def _listener(address: str) -> Listener:
    """Listen for SMTP, and for LMTP where it may be."""
    is_unix = address.startswith(UNIX_PREFIX)
    is_for_both = is_unix or parse_address(address)[1] != SMTP_PORT
    return Listener(address, lmtp=False, lmtp_too=is_for_both)


def _certificates(options: InboxOptions) -> ThrowawayCertificates:
    try:
        return make_certificates(*_LOCAL_NAMES, options.server.hostname or "localhost")
    except RuntimeError as error:
        message = "a certificate of the inbox needs more: pip install 'smtpx[inbox]'"
        raise RuntimeError(message) from error


def _both(
    record: Callable[[str, str], None], other: Callable[[str, str], None] | None
) -> Callable[[str, str], None]:
    if other is None:
        return record

    def write(session: str, text: str) -> None:
        record(session, text)
        other(session, text)

    return write


async def _start_web(address: str, state: InboxState) -> WebServer:
    # Tests that receive mail need none of what it is made of.
    try:
        from smtpx.inbox.web_server import WebServer  # noqa: PLC0415
    except ImportError as error:
        message = "the page of the inbox needs more: pip install 'smtpx[inbox]'"
        raise ImportError(message) from error
    server = WebServer(state)
    await server.start(address)
    return server


def _log_trouble(error: OSError) -> None:
    logger.error("a message was deferred: %s", error)

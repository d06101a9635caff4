"""Opening a connection and closing it: dialling, EHLO, TLS, AUTH, QUIT.

What has the name of a method with an underscore before it is that without the lock, for
calls that hold it.
"""

from __future__ import annotations

import contextlib
import os
import socket as sockets
from typing import TYPE_CHECKING, Final

from smtpx.client.authentication import authenticate
from smtpx.client.connection import Connection, exclusive
from smtpx.client.dialling import Place, dial, find_places, may_try_next
from smtpx.client.link import Link, SourceError
from smtpx.client.options import TLSMode
from smtpx.core.client import ClientMachine
from smtpx.core.trace import WireLog
from smtpx.errors import (
    BadSyntax,
    ConnectError,
    GreetingRefused,
    HelloRefused,
    PhaseTimeout,
    SendError,
    SMTPXError,
    TLSUnavailable,
)
from smtpx.net.channel import ip_of
from smtpx.net.dns import DNSFailure
from smtpx.net.tls import default_client_context
from smtpx.wire import commands
from smtpx.wire.domains import parse_domain

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpx.net.channel import Channel
    from smtpx.wire.forwarded import XClient
    from smtpx.wire.preamble import ProxyHeader
    from smtpx.wire.replies import Reply

__all__ = ["Opening"]

# RFC 5321 section 4.1.1.1: a server of before 1995 does not know EHLO. After any other
# refusal HELO would only hide what is wrong.
_EHLO_UNKNOWN: Final = frozenset({500, 502})


class Opening(Connection):
    """A connection, and how it comes and goes."""

    # Opening and closing.

    @exclusive
    async def connect(self) -> None:
        """Connect, say EHLO, turn to TLS and authenticate, as the options say.

        Raises:
            ConnectError: there is no connection, or the server refuses it.
            HelloRefused: the server refuses EHLO.
            TLSUnavailable: TLS is required and not offered.
            TLSFailed: the handshake failed.
            AuthenticationFailed: no credentials were accepted.
            ConnectionLost: the connection did not live so long.
        """
        if self._link is not None:
            raise RuntimeError("the client is connected already")
        await self._connect()

    @exclusive
    async def close(self) -> None:
        """Close the connection without a word. Closed is fine too."""
        link, self._link = self._link, None
        if link is not None:
            await link.channel.close()

    @exclusive
    async def quit(self) -> Reply | None:
        """Say QUIT and close the connection (RFC 5321 section 4.1.1.10).

        Nothing depends on it any more, so it raises nothing of the network.

        Returns:
            The reply, None if there was none.
        """
        return await self._quit()

    # The inner works: without the lock.

    async def _find_places(self) -> list[Place]:
        """Return where to connect, the best first; none if there is a socket."""
        if self._has_socket:
            return []
        left = self._countdown()
        try:
            return await find_places(self._target, self._options, self._runtime, left)
        except TimeoutError as error:
            text = f"no answer from the DNS about {self._target} in time"
            raise PhaseTimeout(text, phase="connect") from error
        except DNSFailure as error:
            text = f"no connection to {self._target}: {error}"
            raise ConnectError(
                text, phase="connect", is_temporary=error.is_temporary
            ) from error

    def _countdown(self) -> Callable[[], float | None]:
        """Return what tells how long making a connection may still take."""
        clock = self._runtime.clock
        seconds = self._options.timeouts.connect
        ends = [] if seconds is None else [clock() + seconds]
        if self._deadline is not None:
            ends.append(self._deadline)
        if not ends:
            return lambda: None
        end = min(ends)

        def left() -> float:
            now = clock()
            if now >= end:
                raise TimeoutError("the time to connect is up")
            return end - now

        return left

    async def _dial(self, place: Place | None) -> Channel:
        """Make a connection."""
        try:
            if place is None:
                sock, self._socket = self._socket, None
                if sock is None:
                    raise ConnectError(
                        "the socket is used up: make another client", phase="connect"
                    )
                return await self._runtime.wrap_socket(sock)
            left = self._countdown()
            return await dial(place, self._options, self._runtime, left)
        except TimeoutError as error:
            text = f"no connection to {place} in time"
            raise PhaseTimeout(text, phase="connect") from error
        except OSError as error:
            if isinstance(error, SendError):
                raise
            text = f"no connection to {place}: {_why(error)}"
            is_temporary = error.is_temporary if isinstance(error, DNSFailure) else None
            raise ConnectError(
                text, phase="connect", is_temporary=is_temporary
            ) from error

    async def _connect(self) -> Link:
        """Open a connection to where a message can be sent, or leave none."""
        places = await self._find_places()
        deferral: SendError | None = None
        for place in places[:-1]:
            try:
                return await self._connect_to(place)
            except SendError as error:
                if not may_try_next(error):
                    raise
                if error.is_temporary:
                    deferral = deferral or error
        try:
            return await self._connect_to(places[-1] if places else None)
        except SendError as error:
            # As long as one host may take the mail later, the domain may.
            if deferral is None or error.is_temporary or not may_try_next(error):
                raise
            raise deferral from error

    async def _connect_to(self, place: Place | None) -> Link:
        options = self._options
        channel = await self._dial(place)
        self._host = "" if place is None else place.host
        machine = ClientMachine(
            is_lmtp=self._target.is_lmtp,
            limits=options.reply_limits,
            registry=options.registry,
            log=None if options.wire_log is None else WireLog(options.wire_log),
        )
        link = Link(channel, machine, options.timeouts, self._runtime)
        link.deadline = self._deadline
        self._link = link
        try:
            await self._open(link)
        except BaseException as error:
            raised = link.translate(error)
            link.abort()
            self._link = None
            if raised is error:
                raise
            raise raised from (
                raised.__cause__ if isinstance(error, SourceError) else error
            )
        return link

    async def _open(self, link: Link) -> None:
        """Say what goes before the first transaction."""
        if self._options.proxy_header is not None:
            await self._send_proxy_header(link, self._options.proxy_header)
        if self._tls_mode is TLSMode.IMPLICIT:
            await self._shake_hands(link)
        self._greeting = reply = await link.next_reply("greeting")
        if not reply.is_positive:
            raise GreetingRefused(
                "the server refuses the connection", reply=reply, phase="greeting"
            )
        await self._hello(link, None)
        if self._tls_mode is TLSMode.REQUIRED:
            await self._starttls(link)
        elif self._tls_mode is TLSMode.OPPORTUNISTIC:
            await self._try_starttls(link)
        if self._options.xclient is not None:
            await self._speak_for(link, self._options.xclient)
        if self._credentials is not None:
            await authenticate(link, self._credentials, self._options)

    async def _send_proxy_header(self, link: Link, header: ProxyHeader) -> None:
        write = self._options.wire_log
        if write is not None:
            WireLog(write).note(f"PROXY header, version {header.version}")
        timeout = link.left("connect")
        await link.channel.send(header.encode(), timeout=timeout)

    async def _hello(self, link: Link, name: str | None) -> Reply:
        name = name or self._options.hello_name or _default_hello_name(link.channel)
        if self._target.is_lmtp:
            reply = await link.ask(commands.Lhlo(name))
        else:
            reply = await link.ask(commands.Ehlo(name))
            if reply.code in _EHLO_UNKNOWN:
                reply = await link.ask(commands.Helo(name))
        if not reply.is_positive:
            raise HelloRefused(
                "the server refuses EHLO", reply=reply, command="EHLO", phase="command"
            )
        return reply

    async def _speak_for(self, link: Link, attributes: XClient) -> Reply:
        """Say XCLIENT, and EHLO again."""
        self._require_attributes(attributes)
        reply = await link.ask(attributes)
        await self._require_positive(reply, attributes.verb)
        helo = attributes.helo
        await self._hello(link, helo if isinstance(helo, str) else None)
        return reply

    async def _try_starttls(self, link: Link) -> None:
        """Turn to TLS if the server can, and only if it cannot, do without."""
        if "STARTTLS" in link.machine.capabilities:
            with contextlib.suppress(TLSUnavailable):
                await self._starttls(link)

    async def _starttls(self, link: Link) -> Reply:
        if "STARTTLS" not in link.machine.capabilities:
            raise TLSUnavailable(
                "the server does not offer STARTTLS", command="STARTTLS", phase="tls"
            )
        reply = await link.ask(commands.StartTLS())
        if not reply.is_positive:
            raise TLSUnavailable(
                "the server refuses STARTTLS",
                reply=reply,
                command="STARTTLS",
                phase="tls",
                # Whatever it says: anybody on the path can have written it.
                is_temporary=True,
            )
        await self._shake_hands(link)
        link.machine.tls_started()
        await self._hello(link, None)
        return reply

    async def _shake_hands(self, link: Link) -> None:
        options = self._options
        await link.channel.start_tls(
            options.tls_context or default_client_context(),
            options.server_hostname or self._host or self._target.host or None,
            timeout=link.left("tls"),
        )

    async def _quit(self) -> Reply | None:
        """Say QUIT if that is possible, and close."""
        link = self._link
        reply = None
        if link is not None:
            try:
                if link.machine.is_in_step:
                    reply = await link.ask(commands.Quit(), "quit")
            except (SMTPXError, OSError, EOFError):
                link.abort()
            except BaseException:
                link.abort()
                self._link = None
                raise
            self._link = None
            await link.channel.close()
        return reply


def _why(error: OSError) -> str:
    """Say why there is no connection, in the system's words, and where to look."""
    if isinstance(error, sockets.gaierror):
        return f"{error.strerror}; check the name of the server"
    if error.errno is None:
        return str(error)
    # Of the system, as asyncio puts "Connect call failed" and the address in its place.
    reason = os.strerror(error.errno)
    if isinstance(error, ConnectionRefusedError):
        return f"{reason}; nothing listens there: check host and port"
    return reason


def _default_hello_name(channel: Channel) -> str:
    """Name this host as RFC 5321 section 4.1.4 wants it: in full, or by its address.

    No DNS is asked: it may take long, and a resolver that knows the host tells nothing
    that the host itself does not know.
    """
    name = sockets.gethostname().rstrip(".")
    is_full = "." in name and not name.lower().endswith(".localdomain")
    try:
        parse_domain(name.encode("ascii"))
    except (BadSyntax, UnicodeEncodeError):
        is_full, name = False, "localhost"
    ip = ip_of(channel.local)
    if is_full or ip is None:
        # Over a unix socket the other end is this host too.
        return name
    if ip.version == 6:
        ip = ip.ipv4_mapped or ip
    text = str(ip).partition("%")[0]
    return f"[IPv6:{text}]" if ip.version == 6 else f"[{text}]"

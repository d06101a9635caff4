"""One connection of a probe: any octets out, replies in.

A client would refuse to say most of this. Here nothing is checked on the way out, and
what comes in is counted.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self, TypeVar

from smtpx.errors import BadReply, ConnectionLost
from smtpx.net.channel import ip_of
from smtpx.wire.capabilities import Capabilities
from smtpx.wire.octets import escape_octets
from smtpx.wire.replies import Reply
from smtpx.wire.reply_decoder import ReplyDecoder

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from smtpx.net.channel import Channel
    from smtpx.net.tls import TLSInfo

__all__ = ["MAX_REPLIES", "Dialogue", "Flight", "capabilities_of", "finish"]

T = TypeVar("T")

# More replies than this are not read from one flight: the longest has 100 RCPT.
MAX_REPLIES: Final = 300

_CLOSING: Final = 221


def finish(coroutine: Coroutine[None, None, T]) -> T:
    """Run a coroutine of a blocking channel: its first step is its last.

    Args:
        coroutine: which never suspends.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("a blocking channel suspended")


@dataclass(frozen=True, slots=True)
class Flight:
    """What came back until the server closed the connection.

    Attributes:
        replies: but for the one to the QUIT at the end.
        is_silent: it did not close, nor answer QUIT, in time.
    """

    replies: tuple[Reply, ...]
    is_silent: bool = False

    @property
    def codes(self) -> str:
        """The codes for people: ``250, 500``, or ``none``."""
        return ", ".join(str(one.code) for one in self.replies) or "none"


class Dialogue:
    """A connection.

    Args:
        channel: of a blocking kind; the dialogue owns it.
        timeout: of each step, in seconds.
        log: gets each line, as ``C: ...`` and ``S: ...``.

    Attributes:
        secrets: while any are set, a reply that holds one loses its text, and
            challenges are not logged.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        timeout: float,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self._channel = channel
        self._timeout = timeout
        self._log = log
        self.secrets: tuple[str, ...] = ()
        # Lenient: what the probe measures is not how replies end.
        self._decoder = ReplyDecoder(is_lenient=True)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        finish(self._channel.close())

    @property
    def tls(self) -> TLSInfo | None:
        """Facts about TLS; None in clear."""
        return self._channel.tls

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine."""
        address = ip_of(self._channel.peer)
        return address is None or address.is_loopback

    def send(self, data: bytes, *, shown: str | None = None) -> None:
        """Write octets as they are.

        Args:
            data: any.
            shown: what the log gets in their place.

        Raises:
            TimeoutError: the server does not read.
            OSError: the connection broke.
        """
        if self._log is not None:
            self._log(f"C: {escape_octets(data) if shown is None else shown}")
        finish(self._channel.send(data, timeout=self._timeout))

    def reply(self) -> Reply:
        """Read the next reply.

        Raises:
            TimeoutError: none came in time.
            ConnectionLost: the server closed the connection.
            BadReply: it is none.
        """
        while (reply := self._decoder.next_reply()) is None:
            data = finish(self._channel.receive(timeout=self._timeout))
            if not data:
                raise ConnectionLost("the server closed the connection")
            self._decoder.feed(data)
        if self.secrets:
            if reply.is_intermediate:
                self._write("S: 334 ***")
                return reply
            reply = _without(self.secrets, reply)
        if self._log is not None:
            for line in str(reply).split("\n"):
                self._log(f"S: {escape_octets(line.encode('utf-8', 'replace'))}")
        return reply

    def _write(self, line: str) -> None:
        if self._log is not None:
            self._log(line)

    def ask(self, command: str) -> Reply:
        """Send a command and read its reply.

        Args:
            command: without CRLF.
        """
        self.send(command.encode() + b"\r\n")
        return self.reply()

    def fly(self, data: bytes) -> Flight:
        """Send octets, read a reply, say QUIT, and read to the end of the connection.

        Replies come in the order of commands, so all that belong to `data` are there
        when the server says goodbye: no waiting for one that may come yet. The QUIT
        waits for the first reply, since not every server takes it in one flight.

        Args:
            data: which a reply is due for; empty if it was read already.
        """
        replies: list[Reply] = []
        try:
            if data:
                self._send_all(data)
                replies.append(self.reply())
            self._send_all(b"QUIT\r\n")
            while len(replies) < MAX_REPLIES:
                reply = self.reply()
                if reply.code == _CLOSING:
                    break
                replies.append(reply)
        except TimeoutError:
            return Flight(tuple(replies), is_silent=True)
        except (OSError, BadReply):
            return Flight(tuple(replies))
        return Flight(tuple(replies))

    def _send_all(self, data: bytes) -> None:
        """Send; who closed before it had read everything may have replied before."""
        with contextlib.suppress(ConnectionError):
            self.send(data)

    def has_received(self) -> bool:
        """Say whether octets came behind the last reply."""
        return self._decoder.has_partial or self._channel.has_received

    def start_tls(self, context: ssl.SSLContext, name: str | None) -> None:
        """Do the handshake.

        Args:
            context: of ssl.
            name: of the server; asked for, and checked if the context does.

        Raises:
            BadReply: octets in clear came behind the reply.
            OSError: it failed.
        """
        if self.has_received():
            raise BadReply("octets in clear behind the reply to STARTTLS")
        finish(self._channel.start_tls(context, name, timeout=self._timeout))
        if self._log is not None:
            self._log("== TLS ==")


def _without(secrets: tuple[str, ...], reply: Reply) -> Reply:
    """Take away the text of a reply that repeats a secret."""
    if any(secret in line for secret in secrets for line in reply.lines):
        return Reply(reply.code, reply.enhanced, "(a text with a secret in it)")
    return reply


def capabilities_of(reply: Reply) -> Capabilities:
    """Return what a reply to EHLO tells; nothing if it is a refusal.

    Args:
        reply: to EHLO or LHLO.
    """
    return Capabilities.parse(reply.lines[1:] if reply.is_positive else ())

"""A connection under way: the machine, the channel it speaks over, and the clock.

Here the three meet, and only here. What goes wrong below is an `OSError`, a
`TimeoutError` or a `BadReply`; above it is one of the errors of `smtpx.errors`, which
say what the client was doing, and whether the server may have the message.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final, Protocol

from smtpx.core.client import ClientMachine
from smtpx.core.client_base import Asked
from smtpx.errors import (
    BadReply,
    ConnectionLost,
    Delivery,
    OutOfStep,
    PhaseTimeout,
    SendError,
    TLSFailed,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from smtpx.client.options import Timeouts
    from smtpx.core.client_base import Question
    from smtpx.net.channel import Channel
    from smtpx.net.dns import Resolver
    from smtpx.wire.commands import Command
    from smtpx.wire.replies import Reply

__all__ = ["Link", "Runtime", "SourceError", "own_error"]


# Looked up once: in its class a member takes some times as long.
_NOTHING: Final = Asked.NOTHING

# After a failed write: for how long to listen for what the server said before. It has
# said it already; the rest of a line or of a TLS record may still be on its way.
_LAST_WORDS_SECONDS: Final = 2.0

# If there is no time-out for QUIT: for how long to listen after a 421.
_HEAR_OUT_SECONDS: Final = 5.0


class Runtime(Protocol):
    """What a conversation needs of the world besides a channel; each front has one.

    Attributes:
        look_after: for how long a connection is taken to be alive after a message, in
            seconds, before it is looked at; minus infinity: it is looked at always.
    """

    look_after: float

    def clock(self) -> float:
        """Return seconds that never go back."""
        ...

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Return a lock for the tasks or threads that share a client."""
        ...

    async def connect_tcp(
        self,
        host: str,
        port: int,
        *,
        timeout: float | None,
        local_address: str | None,
        addresses: Sequence[str] | None,
    ) -> Channel:
        """Connect over TCP, to one of the addresses if they are known."""
        ...

    def resolver(self) -> Resolver:
        """Return what asks the DNS when the options name nobody."""
        ...

    async def connect_unix(self, path: str, *, timeout: float | None) -> Channel:
        """Connect to a unix socket."""
        ...

    async def wrap_socket(self, sock: socket.socket) -> Channel:
        """Make a channel of a connected socket."""
        ...


class SourceError(Exception):
    """What the caller's own code raised: a message's stream, a password's function.

    It is told apart, since its `OSError` says nothing about the connection. It never
    leaves this package; the caller gets the cause.
    """


def own_error(error: BaseException) -> BaseException:
    """Return what the caller's code raised, if it was that; else the same error."""
    if isinstance(error, SourceError) and error.__cause__ is not None:
        return error.__cause__
    return error


def _tls_failed(error: Exception) -> TLSFailed:
    """Say why there is no TLS. A wrong certificate does not get right by waiting."""
    if isinstance(error, ssl.SSLCertVerificationError):
        text = (
            f"the server's certificate does not prove its name: {error}; options are "
            "server_hostname, if it has another name, and tls_context, to trust its "
            "authority"
        )
        return TLSFailed(text, phase="tls", is_temporary=False)
    hint = ""
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        # Of what it answers in clear, OpenSSL takes the first octets for a version.
        hint = (
            "; no TLS begins at this port: use smtp+starttls:// if it is for STARTTLS, "
            "as 587 is"
        )
    return TLSFailed(f"the TLS handshake failed: {error}{hint}", phase="tls")


def _timeout_text(phase: str, delivery: Delivery, *, is_total: bool) -> str:
    """Say what took too long, what became of the message, and what can be done."""
    text = f"the server took longer than Timeouts.{phase} allows"
    if is_total:
        text = f"the time for the whole call was up in phase {phase} (Timeouts.total)"
    if delivery is Delivery.UNKNOWN:
        return f"{text}; the server may have the message, and deliver it"
    if phase == "greeting":
        # A server that waits for a handshake says nothing in clear.
        return f"{text}; if this port is for TLS from the start, use smtps://"
    return text


class Link:
    """A connection, its machine, and what the client is doing there.

    Args:
        channel: connected.
        machine: new.
        timeouts: of each phase.
        clock: seconds that never go back.

    Attributes:
        deadline: by the clock, of the whole call; None if it has none.
        phase: what is under way, by the name of its timeout.
        is_end_sent: the end of a message was sent, and its reply is outstanding.
        is_fresh: no message was tried on it yet.
        is_answered: the server has said something since this was last set to False.
        end_replies: to the end of the message under way; in LMTP they are several.
    """

    __slots__ = (
        "_clock",
        "_write_error",
        "channel",
        "deadline",
        "end_replies",
        "is_answered",
        "is_end_sent",
        "is_fresh",
        "machine",
        "phase",
        "timeouts",
    )

    def __init__(
        self,
        channel: Channel,
        machine: ClientMachine,
        timeouts: Timeouts,
        runtime: Runtime,
    ) -> None:
        self.channel = channel
        self.machine = machine
        self.timeouts = timeouts
        self.deadline: float | None = None
        self.phase = "greeting"
        self.is_end_sent = False
        self.is_fresh = True
        self.is_answered = False
        self.end_replies: list[Reply] = []
        self._clock = runtime.clock
        self._write_error: OSError | None = None

    def left(self, phase: str) -> float | None:
        """Begin a phase; return how many seconds it may take.

        Raises:
            TimeoutError: the time for the whole call is up.
        """
        self.phase = phase
        seconds: float | None = getattr(self.timeouts, phase)
        if self.deadline is None:
            return seconds
        left = self.deadline - self._clock()
        if left <= 0:
            raise TimeoutError("the time for the whole call is up")
        return left if seconds is None or left < seconds else seconds

    async def flush(self, phase: str = "data_block") -> None:
        """Write what the machine has to say.

        If that fails and the server has said something before, its words come first:
        one that has had enough says so and closes, and its reply is worth more than
        "broken pipe". Nothing is raised then; it is when there are no more words, or
        when the next write is tried.
        """
        data = self.machine.data_to_send()
        if self._write_error is not None:
            raise self._write_error
        self.phase = phase
        seconds: float | None = getattr(self.timeouts, phase)
        if self.deadline is not None:
            seconds = self.left(phase)
        try:
            await self.channel.send(data, timeout=seconds)
        except OSError as error:
            if not self.channel.is_readable:
                raise
            self._write_error = error

    @property
    def is_write_broken(self) -> bool:
        """Whether nothing can be written any more, and last words may be there."""
        return self._write_error is not None

    async def next_answer(self, phase: str) -> tuple[Question, Reply]:
        """Return the next reply, with what it answers.

        The timeout is for the whole reply: octets that come one by one do not renew it.

        Args:
            phase: what is waited for.
        """
        machine = self.machine
        self.phase = phase
        answer = machine.next_reply()
        if answer is None:
            error = self._write_error
            if error is None:
                seconds: float | None = getattr(self.timeouts, phase)
                if self.deadline is not None:
                    seconds = self.left(phase)
                answer = await self._wait_for_answer(seconds)
            else:
                answer = await self._last_answer(error)
        self.is_answered = True
        if answer[0] is _NOTHING:
            raise ConnectionLost(
                "the server closes the connection",
                reply=answer[1],
                phase=phase,
                delivery=self.delivery,
            )
        return answer

    async def _wait_for_answer(self, seconds: float | None) -> tuple[Question, Reply]:
        machine, receive = self.machine, self.channel.receive
        end = None if seconds is None else self._clock() + seconds
        while True:
            data = await receive(timeout=seconds)
            if not data:
                machine.receive_eof()
                raise EOFError("the server closed the connection")
            machine.receive_data(data)
            answer = machine.next_reply()
            if answer is not None:
                return answer
            if end is not None:
                seconds = end - self._clock()
                if seconds <= 0:
                    raise TimeoutError("the reply was not complete in time")

    async def _last_answer(self, error: OSError) -> tuple[Question, Reply]:
        """Return a reply that came before a write failed; if there is none, say why."""
        try:
            return await self._wait_for_answer(_LAST_WORDS_SECONDS)
        except (OSError, EOFError):
            raise error from None

    async def overhear(self) -> Reply | None:
        """Return a reply that nothing asked for, None if none has come whole.

        It waits for none, unless nothing can be written any more.
        """
        machine = self.machine
        error = self._write_error
        if error is not None:
            return (machine.next_reply() or await self._last_answer(error))[1]
        if not self.channel.has_received:
            return None
        data = await self.channel.receive(timeout=self.left(self.phase))
        if data:
            machine.receive_data(data)
        answer = machine.next_reply()
        return None if answer is None else answer[1]

    async def hear_out(self, take: Callable[[Question, Reply], bool | None]) -> bool:
        """Listen after a 421 until the server has gone, as it says.

        Args:
            take: gets each further answer; if it returns True, that is enough.

        Returns:
            Whether it has gone, in time and without nonsense.
        """
        machine = self.machine
        end = self._clock() + (self.timeouts.quit or _HEAR_OUT_SECONDS)
        if self.deadline is not None:
            end = min(end, self.deadline)
        try:
            while True:
                while (answer := machine.next_reply()) is not None:
                    if take(*answer):
                        return False
                left = end - self._clock()
                if left <= 0:
                    return False
                data = await self.channel.receive(timeout=left)
                if not data:
                    return True
                machine.receive_data(data)
        except (TimeoutError, BadReply, ConnectionLost):
            return False
        except OSError:
            return True  # closed with our octets unread

    async def next_reply(self, phase: str) -> Reply:
        """Return the next reply; the machine saw to it that it is the right one."""
        return (await self.next_answer(phase))[1]

    async def ask(self, command: Command, phase: str = "command") -> Reply:
        """Say a command alone, and return its reply."""
        self.phase = phase
        self.machine.send(command)
        await self.flush()
        return await self.next_reply(phase)

    @property
    def delivery(self) -> Delivery:
        """What is known of the message, should the connection end now."""
        return Delivery.UNKNOWN if self.is_end_sent else Delivery.NOT_SENT

    def translate(self, error: BaseException) -> BaseException:
        """Return the error to raise for what came from below; it may be the same."""
        phase, delivery = self.phase, self.delivery
        if isinstance(error, SourceError):
            return own_error(error)
        if isinstance(error, SendError):
            return error
        if isinstance(error, BadReply):
            text = f"the server is out of step: {error}"
            return OutOfStep(text, phase=phase, delivery=delivery)
        if isinstance(error, TimeoutError):
            is_total = self.deadline is not None and self._clock() >= self.deadline
            text = _timeout_text(phase, delivery, is_total=is_total)
            return PhaseTimeout(text, phase=phase, delivery=delivery)
        if isinstance(error, EOFError | OSError):
            lost = ConnectionLost(
                f"the connection is lost: {error}", phase=phase, delivery=delivery
            )
            return _tls_failed(error) if phase == "tls" else lost
        return error

    def abort(self) -> None:
        """Close at once; no reply will be paired with anything any more."""
        self.machine.break_off()
        self.channel.abort()

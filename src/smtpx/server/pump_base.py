"""The ground floor of a connection: what it knows, what it writes, when it reads.

A connection is built in floors, a file each: this one; ``pump_hooks``, which calls the
session; ``pump``, which drives both; and ``connection``, which knows the events.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import TYPE_CHECKING, Any, ClassVar, Final

from smtpx.core.events import (
    AuthRefused,
    BodyReceived,
    CommandAnswered,
    CommandRefused,
    MessageAborted,
    MessageComplete,
)
from smtpx.core.server import ServerMachine
from smtpx.core.states import ServerState
from smtpx.server.guards import UNGUARDED
from smtpx.server.session import Session
from smtpx.server.work import Work
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from smtpx.server.body import Body
    from smtpx.server.host import Host
    from smtpx.server.session import ConnectionInfo
    from smtpx.server.watchdog import Watchdog

__all__ = ["EVENT_BUDGET", "MAX_COMMAND_BACKLOG", "PumpBase", "logger"]

logger = logging.getLogger("smtpx.server")

#: How many events one connection may handle before its neighbours have a turn. About
#: one millisecond of work.
EVENT_BUDGET: Final = 100

#: Commands held behind a hook that is under way before reading pauses.
MAX_COMMAND_BACKLOG: Final = 65_536

# A member takes four times as long to look up in its class (CPython 3.11).
_CLOSED: Final = ServerState.CLOSED


class PumpBase(asyncio.Protocol):
    """What a connection is, writes and reads; see ``Pump``.

    Args:
        host: the server.
        loop: that it runs on.

    Attributes:
        info: facts about the connection, from ``accepted`` on.
        awaits_header: whether a PROXY header has to come first.
        is_made: whether it was handed to us, after the handshake of implicit TLS.
        handshake: the task that does that handshake, as long as it does.
    """

    __slots__ = (
        "_body",
        "_calls",
        "_context",
        "_end_reason",
        "_ended_transactions",
        "_guarded",
        "_hook_cancellations",
        "_hook_since",
        "_host",
        "_is_abandoned",
        "_is_aborted",
        "_is_clean_end",
        "_is_delivering",
        "_is_draining",
        "_is_eof",
        "_is_in_handshake",
        "_is_lost",
        "_is_over",
        "_is_pumping",
        "_is_read_paused",
        "_is_write_paused",
        "_last_activity",
        "_last_octets",
        "_last_word",
        "_linger_until",
        "_loop",
        "_machine",
        "_now",
        "_options",
        "_overridden",
        "_refusal",
        "_session",
        "_started",
        "_task",
        "_transport",
        "_wakeup",
        "_watchdog",
        "awaits_header",
        "handshake",
        "info",
        "is_made",
    )

    info: ConnectionInfo
    _watchdog: Watchdog
    _machine: ServerMachine
    _transport: asyncio.Transport
    _started: float
    _last_activity: float
    _last_octets: float
    _session: Session
    _overridden: frozenset[type]

    _MACHINE: ClassVar[type[ServerMachine]] = ServerMachine
    _HANDLERS: ClassVar[Mapping[type, Callable[[Any, Any], Work | None]]]
    _CALLERS: ClassVar[Mapping[type, Callable[[Any, Any], Awaitable[None]]]]

    def __init__(self, host: Host, loop: asyncio.AbstractEventLoop) -> None:
        self._host = host
        self._loop = loop
        self._now = loop.time
        self._options = host.options
        self._body: Body | None = None
        self._is_delivering = False
        self._is_pumping = False
        self._task: asyncio.Task[None] | None = None
        self._wakeup: asyncio.Future[Work | None] | None = None
        self._is_write_paused = False
        self._is_read_paused = False
        self._is_draining = False
        self._is_eof = False
        self._is_lost = False
        self._is_over = False
        self._is_clean_end = False
        self._ended_transactions = 0
        self._end_reason: str | None = None
        self._linger_until: float | None = None
        self._hook_since: float | None = None
        self._is_in_handshake = False
        # What a hook sets, those after it see, whatever task they run in.
        self._context = contextvars.copy_context()
        self._hook_cancellations = 0
        self._is_aborted = False
        self._is_abandoned = False
        self._guarded = UNGUARDED
        self._calls = UNGUARDED.calls
        self.awaits_header = False
        self.is_made = False
        self.handshake: asyncio.Task[object] | None = None
        self._refusal: Reply | None = None
        # What ends the session once the hook that has a whole message has spoken.
        self._last_word: Reply | None = None

    # ------------------------------------------------------------ writing and reading

    def _flush(self) -> None:
        """Send what is to be sent; after the last reply, close."""
        machine = self._machine
        data = machine.data_to_send()
        if data and not self._is_lost:
            self._last_activity = self._now()
            self._transport.write(data)
        if (
            machine.state is _CLOSED
            and self._linger_until is None
            and not self._is_delivering
        ):
            self._close_transport()

    def _close_transport(self) -> None:
        """Close so that the last reply arrives.

        A socket closed with input unread is reset, and the reset destroys what the
        client did not read yet; so after a reply the client may not expect, only our
        direction is closed, and its own is drained for a while.
        """
        self._linger_until = self._now() + self._options.timeouts.linger
        transport = self._transport
        if self._is_lost:
            return
        if transport.is_closing():
            # It is lost, and we are told in a turn. asyncio's TLS that is closed once
            # more answers whatever follows with AttributeError (CPython 3.11 to 3.13).
            pass
        elif self._is_clean_end or self._is_eof or not transport.can_write_eof():
            transport.close()
            if (
                not transport.get_write_buffer_size()
                and self.info.tls is None
                and self._hook_since is None
            ):
                # The loop has nothing to wait for, and neither have we.
                return
        else:
            try:
                transport.write_eof()
            except OSError:
                # The client has reset the connection, and nobody told us yet.
                transport.abort()
        self._watchdog.arm()

    def _drop(self) -> None:
        """Close at once, with no word, unless the connection is gone.

        asyncio's transport cannot be aborted any more when it closed after it had
        written what it held (CPython 3.11 to 3.13): an AttributeError.
        """
        if not self._is_lost:
            self._transport.abort()

    def _adjust_reading(self) -> None:
        """Read only as much as somebody takes."""
        body = self._body
        is_behind = (
            self._is_write_paused
            or self._machine.buffered > MAX_COMMAND_BACKLOG
            or (
                body is not None
                and not body.is_ended
                and body.buffered > self._options.read_ahead_octets
            )
        )
        if is_behind is self._is_read_paused or self._is_lost:
            return
        self._is_read_paused = is_behind
        if is_behind:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # ------------------------------------------------------------ the message

    def _feed_body(self) -> None:
        """Pass octets on to the handler that runs, up to the end of its message."""
        body = self._body
        machine = self._machine
        if body is None or body.is_ended:
            return
        budget = EVENT_BUDGET
        while not body.is_ended and (event := machine.next_event()) is not None:
            if isinstance(event, BodyReceived):
                body.feed(event.data)
            elif isinstance(event, MessageComplete):
                body.finish()
                if self._hook_since is not None:
                    # Its time begins with the last octet that it had to wait for.
                    self._hook_since = self._now()
            elif isinstance(event, MessageAborted):
                logger.info("%s: message aborted: %s", self.info.id, event.reason)
                body.abort(event.reason)
            elif isinstance(event, CommandRefused):
                self._log_refused(event)
            budget -= 1
            if not budget:
                self._loop.call_soon(self._feed_on)
                break
        self._flush()

    def _feed_on(self) -> None:
        """Go on where the budget ended."""
        if self._is_delivering:
            self._feed_body()
            self._adjust_reading()

    def _body_taken(self) -> None:
        """The handler took a block of its message: it is alive, and has room."""
        self._last_activity = self._now()
        if self._hook_since is not None:
            self._hook_since = self._last_activity
        if self._is_read_paused:
            self._adjust_reading()

    def _note_answered(self, event: CommandAnswered) -> None:
        """The machine did it all; but it was an event, which the budget counts."""

    def _log_refused(self, event: CommandRefused) -> None:
        logger.debug("%s: %s: %s", self.info.id, event.reply, event.command)

    def _log_auth_refused(self, event: AuthRefused) -> None:
        logger.debug("%s: %s: AUTH %s", self.info.id, event.reply, event.mechanism)

    def _open_session(self) -> bool:
        """Make a session object; without one the client has to be turned away."""
        host, is_made = self._host, True
        try:
            session = host.session_factory(self.info)
            overridden = host.work_of(type(session))
        except Exception as error:
            self._report("no session could be made", error)
            session, is_made = Session(self.info), False
            overridden = host.work_of(Session)
        # For this client: a gateway may have told who it is.
        self._guarded = guarded = host.guarded(self.info)
        self._calls = guarded.calls
        self._session = session
        self._overridden = overridden | guarded.kinds if guarded.kinds else overridden
        return is_made

    def _report(self, text: str, error: BaseException | None = None) -> None:
        """Log a fault of this end."""
        logger.error("%s: %s", self.info.id, text, exc_info=error)

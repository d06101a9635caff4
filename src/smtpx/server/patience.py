"""A connection that keeps its client waiting: before the greeting, and after errors.

Theory of operation. To hold back is to behave as if the client did not read: no event
is handled, nothing is written, and nothing read, until a timer of the loop fires. Only
before the greeting octets are read, because a client that sends some gives itself away.
Whatever ends the connection ends the waiting as well. A server that delays nothing uses
``Connection`` itself, which knows nothing of this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from smtpx.core.events import AuthRefused, CommandRefused
from smtpx.core.states import ServerState
from smtpx.server.connection import Connection
from smtpx.server.observed import ObservedConnection
from smtpx.server.pump_base import logger
from smtpx.server.work import Work
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    import asyncio

    from smtpx.server.host import Host
    from smtpx.server.options import ServerOptions, ServerTimeouts
    from smtpx.server.watchdog import Deadline

__all__ = ["PatientConnection", "connection_class"]

_EARLY: Final = "you talked before the greeting"

_Handler: TypeAlias = Callable[[Any, Any], Work | None]

# What the machine refuses is held back before the next event is looked at.
_LATE: Final[Mapping[type, _Handler]] = {
    CommandRefused: lambda connection, event: connection._log_refused(event),
    AuthRefused: lambda connection, event: connection._log_auth_refused(event),
}


class PatientConnection(Connection):
    """One client's connection, which is kept waiting.

    Args:
        host: the server.
        loop: that it runs on.
    """

    def __init__(self, host: Host, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(host, loop)
        # While the client is kept waiting.
        self._hold: asyncio.TimerHandle | None = None
        self._is_greeting_due = False
        self._is_transport_full = False
        self._errors = 0

    # ----------------------------------------------------------- called by asyncio

    def data_received(self, data: bytes) -> None:
        """Take octets, unless none were due."""
        if self._is_greeting_due:
            self._refuse_early_talker()
        else:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_holding()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Answer no more until the client reads."""
        self._is_transport_full = True
        super().pause_writing()

    def resume_writing(self) -> None:
        """Go on answering, unless the client is kept waiting."""
        self._is_transport_full = False
        if self._hold is None:
            super().resume_writing()

    # ------------------------------------------------------------ called by the server

    def close(self, reply: Reply | None = None) -> None:
        """End the session now, with what was held back."""
        self._stop_holding()
        super().close(reply)

    def drain(self) -> None:
        """End the session as soon as no transaction is under way; wait no longer."""
        self._stop_holding()
        super().drain()

    # ------------------------------------------------------------------- the greeting

    def _greet(self) -> None:
        delay = self._options.greeting_delay
        is_open = self._machine.state is ServerState.CONNECTED
        if delay is not None and is_open and not self._host.is_trusted(self.info):
            self._is_greeting_due = True
            self._start_holding(delay.seconds)
        else:
            super()._greet()

    def _refuse_early_talker(self) -> None:
        delay = self._options.greeting_delay
        code = 554 if delay is None else delay.code
        logger.info("%s: %s talked before the greeting", self.info.id, self.info.peer)
        self.close(Reply(code, f"{code // 100}.5.1", _EARLY))

    # --------------------------------------------------------------------- the errors

    def _answer(self, reply: Reply | None) -> Reply | None:
        taken = super()._answer(reply)
        self._note_errors()
        return taken

    def _log_refused(self, event: CommandRefused) -> None:
        super()._log_refused(event)
        self._note_errors()

    def _log_auth_refused(self, event: AuthRefused) -> None:
        super()._log_auth_refused(event)
        self._note_errors()

    def _flush(self) -> None:
        self._note_errors()
        if self._hold is None:
            super()._flush()

    def _note_errors(self) -> None:
        """Hold back what was refused just now, and all behind it."""
        errors = self._machine.errors
        is_refused = errors > self._errors
        self._errors = errors
        delay = self._options.error_delay
        if (
            delay is None
            or not is_refused
            or self._hold is not None
            or self._is_draining
            or self._is_lost
            or self._host.is_trusted(self.info)
        ):
            return
        seconds = delay.after(errors)
        if seconds:
            self._start_holding(seconds)
            self._adjust_reading()

    # --------------------------------------------------------------------- to hold back

    def _start_holding(self, seconds: float) -> None:
        self._is_write_paused = True
        self._hold = self._loop.call_later(seconds, self._release)

    def _stop_holding(self) -> None:
        """Hold back no more; what was is sent by whoever goes on from here."""
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None
            self._is_greeting_due = False
            self._is_write_paused = self._is_transport_full

    def _release(self) -> None:
        """Send what was held back, and go on."""
        self._stop_holding()
        self._flush()
        if self._is_pumping:
            # A hook waits for the rest of its message.
            self._adjust_reading()
        else:
            self._advance()

    def _deadline_of_state(self, times: ServerTimeouts) -> Deadline:
        if self._hold is None:
            return super()._deadline_of_state(times)
        end = None if times.session is None else self._started + times.session
        return end, self._time_out_session

    _HANDLERS: ClassVar[Mapping[type, _Handler]] = {**Connection._HANDLERS, **_LATE}


class _PatientObservedConnection(PatientConnection, ObservedConnection):
    """One that is watched as well."""

    _HANDLERS: ClassVar[Mapping[type, _Handler]] = {
        **ObservedConnection._HANDLERS,
        **_LATE,
    }


def connection_class(options: ServerOptions) -> type[Connection]:
    """Return the kind of connection that a server with these options has.

    Who is neither watched nor kept waiting has no part in it, not even a question.
    """
    is_watched = bool(options.event_sinks)
    if options.greeting_delay is None and options.error_delay is None:
        return ObservedConnection if is_watched else Connection
    return _PatientObservedConnection if is_watched else PatientConnection

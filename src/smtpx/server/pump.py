"""How a connection is driven: octets in, events to hooks, replies out.

Theory of operation. Octets go into the machine; the pump takes its events. What no hook
cares for is answered in place, within ``data_received``, without any task. At the first
event for which the session class overrides a hook, the pump goes on as a coroutine: on
Python 3.12 and later as an eager task for the batch, before that as one task for the
whole connection that waits between batches (docs/explanation/performance.md has the
figures). When input runs dry, all replies of the batch leave in one write; when a hook
suspends, those before it leave at once.

While ``data`` runs, octets go straight into its ``Body``. Reading pauses when a handler
lags, when commands pile up behind a hook, or when the client does not read its replies.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import types
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, cast

from smtpx.core.events import (
    Authenticated,
    AuthRefused,
    BodyReceived,
    CommandAnswered,
    CommandRefused,
    HelloReceived,
    MailReceived,
    MessageAborted,
    MessageComplete,
)
from smtpx.core.server import ServerMachine
from smtpx.core.states import ServerState
from smtpx.core.trace import WireLog
from smtpx.errors import MessageAborted as MessageCutOff
from smtpx.errors import Refuse
from smtpx.server.body import Body
from smtpx.server.ends import describe_connection, tls_info
from smtpx.server.guards import UNGUARDED, Guarded
from smtpx.server.proxied import come_through, is_private
from smtpx.server.session import ConnectionInfo, Session
from smtpx.server.watchdog import Deadline, Watchdog
from smtpx.server.work import (
    CLOSED,
    DELIVER,
    RESET,
    Closed,
    HookCall,
    Reset,
    Work,
    overridden_by,
)
from smtpx.wire import replies
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Generator, Mapping

    from smtpx.core.config import ServerConfig
    from smtpx.server.options import ServerOptions, ServerTimeouts
    from smtpx.server.proxied import Gateways
    from smtpx.wire.preamble import ProxyHeader

__all__ = ["Host", "Pump", "logger"]

logger = logging.getLogger("smtpx.server")

#: How many events one connection may handle before its neighbours have a turn. About
#: one millisecond of work.
EVENT_BUDGET: Final = 100

#: Commands held behind a hook that is under way before reading pauses.
MAX_COMMAND_BACKLOG: Final = 65_536

# A member takes four times as long to look up in its class (CPython 3.11).
_CLOSED: Final = ServerState.CLOSED

#: How often a hook is told that its connection is gone and its time over.
MAX_CANCELLATIONS: Final = 2

LOCAL_TROUBLE: Final = Reply(421, "4.3.0", "local error; connect again later")
_SESSION_TOO_LONG: Final = Reply(421, "4.4.2", "session too long; connect again")


# What a client tells in these is a fact about its connection, if it was granted.
_TELLING: Final = frozenset({HelloReceived, MailReceived, Authenticated})


class _Suspended:
    """A hook that waits for something.

    Attributes:
        steps: the rest of it.
        awaited: what it yielded to the task.
    """

    __slots__ = ("awaited", "steps")

    def __init__(self, steps: Generator[Any, Any, Any], awaited: object) -> None:
        self.steps = steps
        self.awaited = awaited


class Host(Protocol):
    """What a connection needs of the server that it belongs to."""

    hostname: str
    options: ServerOptions
    session_factory: Callable[[ConnectionInfo], Session]
    tls: ssl.SSLContext | None
    gateways: Gateways

    def config_for(self, session: type[Session]) -> ServerConfig:
        """Return the settings of the machine for sessions of this class."""
        ...

    def opened(self, connection: Pump) -> Reply | None:
        """Take note of a connection; return a reply to turn it away with."""
        ...

    def moved(self, connection: Pump) -> Reply | None:
        """Take note that it is another client's; return a reply to turn it away."""
        ...

    def guarded(self, info: ConnectionInfo) -> Guarded:
        """Return what guards change for a client."""
        ...

    def needs_no_tls(self, info: ConnectionInfo) -> bool:
        """Tell whether a client may do anything in plaintext."""
        ...

    def is_trusted(self, info: ConnectionInfo) -> bool:
        """Tell whether nothing guards against a client."""
        ...

    def ended(self, connection: Pump) -> None:
        """Take note that it is gone."""
        ...


class Pump(asyncio.Protocol):
    """Drives one session; see ``Connection``.

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
        "_linger_until",
        "_loop",
        "_machine",
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

    _MACHINE: ClassVar[type[ServerMachine]] = ServerMachine
    _HANDLERS: ClassVar[Mapping[type, Callable[[Any, Any], Work | None]]]
    _CALLERS: ClassVar[Mapping[type, Callable[[Any, Any], Awaitable[None]]]]

    def __init__(self, host: Host, loop: asyncio.AbstractEventLoop) -> None:
        self._host = host
        self._loop = loop
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
        self._watchdog = Watchdog(loop, host.options.timeouts, self._deadline)

    # ------------------------------------------------------- called by what accepts it

    def accepted(self, peer: object, local: str) -> bool:
        """Count as a connection from now on; tell whether the client is welcome.

        Args:
            peer: the client's address, as ``accept`` returned it.
            local: the address it connected to.
        """
        self.info = describe_connection(
            peer,
            local,
            hostname=self._host.hostname,
            is_lmtp=self._options.lmtp,
            close=self.close,
        )
        self.awaits_header = self._host.gateways.is_proxy(self.info)
        self._refusal = self._host.opened(self)
        return self._refusal is None

    def spoken_for(self, header: ProxyHeader) -> bool:
        """Be the connection of a proxy's client; tell whether that one is welcome.

        Args:
            header: what the proxy tells of it.
        """
        self.awaits_header = False
        come_through(self.info, header)
        self._refusal = self._host.moved(self)
        return self._refusal is None

    def never_made(self, reason: str) -> None:
        """Count no more: there was no session, and there will be none.

        Args:
            reason: why, for the log.
        """
        logger.info("%s: no session with %s: %s", self.info.id, self.info.peer, reason)
        self._is_lost = self._is_over = True
        self._host.ended(self)

    # ----------------------------------------------------------- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client, or turn it away."""
        self._transport = cast("asyncio.Transport", transport)
        if self._is_over:
            # It was given up, and counted so, before the loop came to this.
            self._transport.abort()
            return
        self.is_made = True
        self._started = self._last_activity = self._last_octets = self._loop.time()
        info = self.info
        info.tls = tls_info(transport)
        refusal = self._refusal
        if not self._open_session():
            refusal = LOCAL_TROUBLE
        write = self._options.wire_log
        trace = None if write is None else WireLog(_writer(write, info.id))
        if trace is not None and info.proxy is not None:
            trace.note(f"PROXY header, version {info.proxy.version}: {info.peer}")
        self._machine = self._MACHINE(
            self._config_now(),
            is_tls=info.tls is not None,
            is_local=is_private(info),
            trace=trace,
            now=info.started_at,
        )
        info.follow(self._machine)
        self._watchdog.arm()
        if refusal is not None:
            self._machine.close(refusal, refusal.text)
        if self._is_aborted:
            self.abort()
        self._greet()

    def data_received(self, data: bytes) -> None:
        """Take octets of the client."""
        self._last_octets = self._loop.time()
        self._machine.receive_data(data)
        if not self._is_pumping:
            # What _advance does; a call less.
            work = self._handle_ready()
            if work is not None:
                self._start_pump(work)
            else:
                self._flush()
                if self._is_read_paused:
                    self._adjust_reading()
            return
        if self._is_delivering:
            self._feed_body()
        self._adjust_reading()

    def eof_received(self) -> bool:
        """Answer what was sent, then close; the client may still read."""
        self._is_eof = True
        self._machine.receive_eof()
        if self._is_delivering:
            self._feed_body()
        elif not self._is_pumping:
            self._advance()
        if self._linger_until is not None and not self._transport.is_closing():
            self._transport.close()
        # The end of TLS is the end of the connection; in plaintext it is half of it.
        return self.info.tls is None

    def connection_lost(self, exc: Exception | None) -> None:
        """Abort what was under way and tell the session that it is over."""
        if self._is_lost:
            return
        self._is_lost = True
        self._machine.abort(f"connection lost: {exc}" if exc else "connection lost")
        if self._is_delivering:
            self._feed_body()
        elif not self._is_pumping:
            self._advance()

    def pause_writing(self) -> None:
        """Answer no more until the client reads."""
        self._is_write_paused = True
        self._adjust_reading()

    def resume_writing(self) -> None:
        """Go on answering."""
        self._is_write_paused = False
        if self._is_pumping:
            # A hook may be waiting for the octets of its message.
            self._adjust_reading()
        else:
            self._advance()

    # ------------------------------------------------------------ called by the server

    def close(self, reply: Reply | None = None) -> None:
        """End the session now, with 421 4.3.2 unless told otherwise."""
        if self._is_in_handshake or not self.is_made:
            # No word in plaintext may go into it.
            self.abort()
            return
        reply = reply or replies.SHUTTING_DOWN
        self._machine.close(reply, reply.text)
        if self._is_delivering:
            self._feed_body()
        elif not self._is_pumping:
            self._advance()
        else:
            self._flush()

    def drain(self) -> None:
        """End the session with 421 4.3.2 as soon as no transaction is under way."""
        # One that is not made yet is greeted, and then told so: smtp-source takes no
        # notice of a greeting with 421.
        self._is_draining = True
        if self.is_made and not self._is_pumping:
            self._advance()

    def abort(self) -> None:
        """Drop the connection, and cancel the hook under way."""
        self._is_aborted = True
        if not self.is_made:
            if self.handshake is not None:
                self.handshake.cancel()
            return
        # First of all, so that no pipelined command starts another hook.
        self._machine.abort("the server is closing")
        if self._is_delivering:
            self._feed_body()
        if self._task is not None and self._hook_since is not None:
            self._hook_cancellations += 1
            self._task.cancel()
            # It may take no notice, or a hook that cleans up may wait.
            self._watchdog.arm()
        self._transport.abort()

    # ----------------------------------------------------------------- the pump

    def _greet(self) -> None:
        """Begin with a client that has just connected."""
        self._advance()

    def _advance(self) -> None:
        """Handle all that can be handled; start or wake the pump for the rest."""
        work = self._handle_ready()
        if work is None:
            self._flush()
            if self._is_read_paused:
                self._adjust_reading()
        else:
            self._start_pump(work)

    def _handle_ready(self) -> Work | None:
        """Handle events until one needs a hook: that one is returned."""
        machine = self._machine
        overridden = self._overridden
        budget = EVENT_BUDGET
        while not self._is_write_paused or self._is_lost:
            if machine.ended_transactions != self._ended_transactions:
                self._ended_transactions = machine.ended_transactions
                self.info.envelope = None
                if Reset in overridden:
                    return RESET
            event = machine.next_event()
            if event is None:
                if self._is_draining and self._drain_now():
                    continue
                if self._body is None and not self._is_lost:
                    break
                return self._work_without_event()
            if type(event) in overridden:
                return event
            work = self._HANDLERS[type(event)](self, event)
            if work is not None:
                return work
            budget -= 1
            if not budget:
                self._loop.call_soon(self._take_turn)
                self._adjust_reading()
                return None
        return None

    def _work_without_event(self) -> Work | None:
        """What is to be done when the machine has nothing to tell."""
        if self._body is not None and not self._is_delivering:
            return DELIVER
        if self._is_lost and not self._is_over:
            self._is_over = True
            if Closed in self._overridden:
                return CLOSED
            if not self._is_abandoned:
                self._finish()
        return None

    def _take_turn(self) -> None:
        if not self._is_pumping:
            self._advance()

    def _drain_now(self) -> bool:
        """In a shutdown, end a session that is between transactions."""
        machine = self._machine
        if machine.envelope is not None or machine.state is ServerState.CLOSED:
            return False
        machine.close(replies.SHUTTING_DOWN, "server is shutting down")
        return True

    def _finish(self) -> None:
        """Let go of everything: the session is over, and was told so if it listens."""
        self._watchdog.stop()
        self._host.ended(self)
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    if sys.version_info >= (3, 12):

        def _start_pump(self, work: Work) -> None:
            """Run the pump up to its first suspension, at once (DESIGN D3)."""
            self._is_pumping = True
            task = asyncio.Task(
                self._pump(work),
                loop=self._loop,
                context=self._context,
                eager_start=True,
            )
            if not task.done():
                self._task = task

    else:

        def _start_pump(self, work: Work) -> None:
            """Wake the task of this connection; its first use makes it."""
            self._is_pumping = True
            if self._wakeup is None or self._wakeup.done():
                self._task = self._loop.create_task(
                    self._pump_batches(work), context=self._context
                )
                self._task.add_done_callback(self._pump_ended)
            else:
                self._wakeup.set_result(work)

    def _pump_ended(self, task: asyncio.Task[None]) -> None:
        """Drop a connection whose task somebody else cancelled, maybe before it ran."""
        if task.cancelled() and task is self._task:
            self._wakeup = None
            self._is_pumping = False
            self._transport.abort()

    async def _pump_batches(self, work: Work | None) -> None:
        """Run the pump for the whole connection: on 3.11 a task a batch is dearer."""
        while work is not None:
            await self._pump(work)
            if self._is_over:
                return
            self._wakeup = self._loop.create_future()
            work = await self._wakeup

    async def _pump(self, work: Work | None) -> None:
        """Call hooks, and handle what comes after them, until input runs dry."""
        budget = EVENT_BUDGET
        try:
            while work is not None:
                kind = type(work)
                call = self._calls.get(kind)
                if call is None:
                    await self._CALLERS[kind](self, work)
                elif self._machine.is_waiting:
                    reply = self._begin(call, work)
                    if isinstance(reply, _Suspended):
                        reply = await self._go_on(reply)
                    self._answer(reply)
                    if kind in _TELLING:
                        self._update_info()
                budget -= 1
                if not budget:
                    # Hooks that do not suspend are no reason to let neighbours wait.
                    budget = EVENT_BUDGET
                    self._flush()
                    self._adjust_reading()
                    await asyncio.sleep(0)
                work = self._handle_ready()
            self._flush()
        except asyncio.CancelledError:
            self._transport.abort()
            raise
        except Exception as error:
            # Not a hook's fault, whose exceptions are caught around it.
            self._report("internal error; dropping the connection", error)
            self._transport.abort()
        finally:
            self._is_pumping = False
        if self._is_read_paused:
            self._adjust_reading()

    def _flush(self) -> None:
        """Send what is to be sent; after the last reply, close."""
        data = self._machine.data_to_send()
        if data and not self._is_lost:
            self._last_activity = self._loop.time()
            self._transport.write(data)
        if (
            self._machine.state is _CLOSED
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
        self._linger_until = self._loop.time() + self._options.timeouts.linger
        transport = self._transport
        if self._is_lost:
            return
        if self._is_clean_end or self._is_eof or not transport.can_write_eof():
            transport.close()
        else:
            try:
                transport.write_eof()
            except OSError:
                # The client has reset the connection, and nobody told us yet.
                transport.abort()
        self._watchdog.arm()

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

    # ------------------------------------------------------------------ calling hooks

    def _begin(self, call: HookCall, work: object) -> Reply | _Suspended | None:
        """Run a hook up to its first suspension, or to its end.

        Most hooks do not suspend: these cost neither a coroutine nor a generator
        more, which is half a microsecond at every command.

        Returns:
            The answer for the client, whatever the hook does; or what to ``await``
            for it by ``_go_on``.
        """
        try:
            steps = call(self._session, work).__await__()
            awaited = next(steps)
        except StopIteration as finished:
            reply = finished.value
        except (Exception, asyncio.CancelledError) as error:
            return self._reply_to_failure(error)
        else:
            return _Suspended(steps, awaited)
        if reply is None or isinstance(reply, Reply):
            return reply
        return self._replace_answer(reply)

    @types.coroutine
    def _go_on(self, hook: _Suspended) -> Generator[Any, Any, Reply | None]:
        """Run a hook to its end.

        When it suspends, the replies before it leave at once: a client that pipelined
        must not wait for the slowest hook to see the first reply. What the hook yields
        is handed on to the task untouched.
        """
        steps, awaited = hook.steps, hook.awaited
        try:
            self._start_clock()
            while True:
                self._flush()
                self._adjust_reading()
                try:
                    sent = yield awaited
                except GeneratorExit:
                    steps.close()
                    raise
                except BaseException as error:
                    awaited = steps.throw(error)
                else:
                    awaited = steps.send(sent)
        except StopIteration as finished:
            reply = finished.value
        except (Exception, asyncio.CancelledError) as error:
            reply = self._reply_to_failure(error)
        finally:
            self._hook_since = None
        if self._hook_cancellations:
            self._forget_cancellations()
        if reply is None or isinstance(reply, Reply):
            return reply
        return self._replace_answer(reply)

    async def _ask(self, call: HookCall, work: object) -> Reply | None:
        """Run a hook; whatever it does, there is an answer for the client."""
        begun = self._begin(call, work)
        return await self._go_on(begun) if isinstance(begun, _Suspended) else begun

    def _replace_answer(self, answer: object) -> Reply:
        self._report(f"a hook returned {answer!r}, no Reply")
        return replies.LOCAL_ERROR

    def _forget_cancellations(self) -> None:
        """A hook is done with: what the next one awaits may be cancelled by others."""
        task = asyncio.current_task()
        while self._hook_cancellations:
            self._hook_cancellations -= 1
            if task is not None:
                task.uncancel()

    def _start_clock(self) -> None:
        """Measure the time of a hook that did not return at once."""
        self._hook_since = self._loop.time()
        if self._is_aborted:
            # It cleans up; it has less time for that than the timer's next look.
            self._watchdog.arm()

    def _reply_to_failure(self, error: BaseException) -> Reply:
        """Turn what a hook raised into a reply; log it unless it is a refusal."""
        if isinstance(error, Refuse):
            return Reply(error.code, error.enhanced, error.text)
        if isinstance(error, MessageCutOff) and self._is_body_aborted():
            return replies.LOCAL_ERROR  # nobody is there to hear it
        if isinstance(error, asyncio.CancelledError):
            if self._hook_cancellations:
                return replies.LOCAL_ERROR
            task = asyncio.current_task()
            if task is None or task.cancelling():
                # Somebody else wants this task to end, as when the loop is closed.
                raise error
        self._report("a hook raised", error)
        return replies.LOCAL_ERROR

    def _report(self, text: str, error: BaseException | None = None) -> None:
        """Log a fault of this end."""
        logger.error("%s: %s", self.info.id, text, exc_info=error)

    def _is_body_aborted(self) -> bool:
        return self._body is not None and self._body.is_aborted

    def _answer(self, reply: Reply | None) -> Reply | None:
        """Give the machine an answer, unless the session ended meanwhile.

        Returns:
            The answer that it took: another one if it could not take this.
        """
        machine = self._machine
        if not machine.is_waiting:
            return reply
        try:
            machine.answer(reply)
        except ValueError as error:
            self._report("a hook answered out of place", error)
            reply = replies.LOCAL_ERROR
            machine.answer(reply)
        return reply

    def _update_info(self) -> None:
        info, machine = self.info, self._machine
        info.hello_name = machine.hello_name
        info.is_extended = machine.is_extended
        info.identity = machine.identity
        info.envelope = machine.envelope

    # ------------------------------------------------------------------- time

    def _deadline(self) -> Deadline:
        """Return when the present state has lasted too long, and what happens then."""
        times = self._options.timeouts
        since = self._hook_since
        if self._is_lost or self._machine.state is ServerState.CLOSED:
            # All is said; but a hook may still be under way.
            limit = times.linger if self._is_aborted else times.handler
            if since is not None and limit is not None:
                return since + limit, self._cancel_hook
            return self._linger_until, self._transport.abort
        if self._is_in_handshake:
            # start_tls has a time limit of its own.
            return None, self._time_out
        return self._deadline_of_state(times)

    def _deadline_of_state(self, times: ServerTimeouts) -> Deadline:
        body = self._body
        end = None if times.session is None else self._started + times.session
        limit, since, act = times.command, self._last_activity, self._time_out
        if self._machine.is_reading_content:
            # Elsewhere half a command keeps no session alive, but a reply does.
            since = max(since, self._last_octets)
        if self._is_delivering and body is not None and not body.is_ended:
            if body.is_awaited:
                limit = times.body
            else:
                limit, act = times.handler, self._cancel_hook
        elif self._hook_since is not None:
            limit, since, act = times.handler, self._hook_since, self._cancel_hook
        elif self._machine.is_reading_content:
            limit = times.body
        deadline = None if limit is None else since + limit
        if end is not None and (deadline is None or end < deadline):
            return end, self._time_out_session
        return deadline, act

    def _time_out(self) -> None:
        self.close(replies.IDLE_TIMEOUT)

    def _time_out_session(self) -> None:
        self.close(_SESSION_TOO_LONG)

    def _cancel_hook(self) -> None:
        """Cancel a hook that takes too long; the client gets 451 4.3.0."""
        if self._task is None or self._hook_since is None:
            return
        is_gone = self._is_lost or self._is_aborted
        if is_gone and self._hook_cancellations >= MAX_CANCELLATIONS:
            self._abandon_hook()
            return
        self._report("a hook took too long: cancelled")
        self._hook_cancellations += 1
        self._hook_since = self._last_activity = self._loop.time()
        self._task.cancel()

    def _abandon_hook(self) -> None:
        """Wait no more for a hook that takes no notice; nobody else has to, either."""
        self._hook_since = None
        self._report(
            f"a hook goes on after {self._hook_cancellations} cancellations: "
            "abandoning it; let CancelledError pass in it"
        )
        self._is_abandoned = True
        self._finish()

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
                    self._hook_since = self._loop.time()
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
        self._last_activity = self._loop.time()
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

    def _config_now(self) -> ServerConfig:
        """Return the settings for this session and its client."""
        verbs = self._host.gateways.verbs_of(self.info)
        config = self._host.config_for(type(self._session)).for_gateway(verbs)
        return config.without_tls if self._host.needs_no_tls(self.info) else config

    def _open_session(self) -> bool:
        """Make a session object; without one the client has to be turned away."""
        is_made = True
        try:
            session = self._host.session_factory(self.info)
            overridden = overridden_by(type(session))
        except Exception as error:
            self._report("no session could be made", error)
            session, is_made = Session(self.info), False
            overridden = overridden_by(Session)
        # For this client: a gateway may have told who it is.
        self._guarded = guarded = self._host.guarded(self.info)
        self._calls = guarded.calls
        self._session = session
        self._overridden = overridden | guarded.kinds if guarded.kinds else overridden
        return is_made


def _writer(write: Callable[[str, str], None], session: str) -> Callable[[str], None]:
    """Return what writes the lines of a session, whatever comes of it."""

    def write_line(text: str) -> None:
        try:
            write(session, text)
        except Exception:
            # A full disk is no reason to lose mail.
            logger.exception("%s: the wire log raised", session)

    return write_line

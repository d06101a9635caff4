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
import sys
from typing import TYPE_CHECKING, Final, cast

from smtpx.core.states import ServerState
from smtpx.core.trace import WireLog
from smtpx.server.ends import describe_connection, tls_info
from smtpx.server.proxied import come_through, is_private
from smtpx.server.pump_base import EVENT_BUDGET, logger
from smtpx.server.pump_hooks import TELLING, PumpHooks, Suspended
from smtpx.server.watchdog import Watchdog
from smtpx.server.work import CLOSED, DELIVER, RESET, Closed, Reset, Work
from smtpx.wire import replies
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpx.server.host import Host
    from smtpx.server.options import ServerTimeouts
    from smtpx.server.watchdog import Deadline
    from smtpx.wire.preamble import ProxyHeader

__all__ = ["LOCAL_TROUBLE", "Pump"]

#: How often a hook is told that its connection is gone and its time over.
MAX_CANCELLATIONS: Final = 2

LOCAL_TROUBLE: Final = Reply(421, "4.3.0", "local error; connect again later")
_SESSION_TOO_LONG: Final = Reply(421, "4.4.2", "session too long; connect again")


class Pump(PumpHooks):
    """Drives one session; see ``Connection``."""

    __slots__ = ()

    def __init__(self, host: Host, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(host, loop)
        self._watchdog = Watchdog(host.rounds, self._deadline)

    # ------------------------------------------------------- called by what accepts it

    def accepted(self, peer: object, local: str) -> bool:
        """Count as a connection from now on; tell whether the client is welcome.

        Args:
            peer: the client's address, as ``accept`` returned it.
            local: the address it connected to.
        """
        host = self._host
        self.info = describe_connection(
            peer, local, host.hostname, self._options.lmtp, self.close
        )
        if host.gateways.has_proxies:
            self.awaits_header = host.gateways.is_proxy(self.info)
        self._refusal = host.opened(self)
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
        self._let_go()

    # ----------------------------------------------------------- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client, or turn it away."""
        self._transport = cast("asyncio.Transport", transport)
        if self._is_over:
            # It was given up, and counted so, before the loop came to this.
            self._transport.abort()
            return
        self.is_made = True
        self._started = self._last_activity = self._last_octets = self._now()
        info = self.info
        if self._options.implicit_tls:
            info.tls = tls_info(transport)
        refusal = self._refusal
        if not self._open_session():
            refusal = LOCAL_TROUBLE
        write = self._options.wire_log
        trace = None if write is None else WireLog(_writer(write, info.id))
        if trace is not None and info.proxy is not None:
            trace.note(f"PROXY header, version {info.proxy.version}: {info.peer}")
        host = self._host
        self._machine = self._MACHINE(
            host.settings_for(type(self._session), info),
            is_tls=info.tls is not None,
            is_local=info.is_local or is_private(info),
            trace=trace,
            now=host.minute_of(info.started_at),
        )
        info.follow(self._machine)
        self._watchdog.start(self._started)
        if refusal is not None:
            self._machine.close(refusal, refusal.text)
        if self._is_aborted:
            self.abort()
        self._greet()

    def data_received(self, data: bytes) -> None:
        """Take octets of the client."""
        self._last_octets = self._now()
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
        # The end of TLS is the end of the connection; in plaintext it is half of it. It
        # may come with the end of the handshake, of which we are told later.
        return self.info.tls is None and not self._is_in_handshake

    def connection_lost(self, exc: Exception | None) -> None:
        """Abort what was under way and tell the session that it is over."""
        if self._is_lost:
            return
        self._is_lost = True
        self._machine.abort(f"connection lost: {exc}" if exc else "connection lost")
        if self._is_delivering:
            self._feed_body()
        elif not self._is_pumping:
            # Nothing can be sent any more.
            work = self._handle_ready()
            if work is not None:
                self._start_pump(work)

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
        if self._has_whole_message():
            self._close_after_hook(reply)
            return
        self._machine.close(reply, reply.text)
        if self._is_delivering:
            self._feed_body()
        elif not self._is_pumping:
            self._advance()
        else:
            self._flush()

    def _has_whole_message(self) -> bool:
        """Tell whether a hook has all of a message, and has not spoken yet."""
        body = self._body
        return (
            self._is_delivering
            and body is not None
            and body.is_ended
            and self._machine.is_waiting
        )

    def _close_after_hook(self, reply: Reply) -> None:
        """End the session as soon as the hook has said what became of its message.

        It is cancelled, but it may have stored the message, or take no notice. If the
        client were told 421 before, it would send again what is there already.
        """
        if self._last_word is not None:
            return
        self._last_word = reply
        task = self._task
        if (
            task is not None
            and self._hook_since is not None
            and task is not asyncio.current_task()
        ):
            self._hook_cancellations += 1
            self._hook_since = self._now()
            task.cancel()
        self._watchdog.arm()

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
        self._drop()

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
        overridden, handlers = self._overridden, self._HANDLERS
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
            kind = type(event)
            if kind in overridden:
                return event
            work = handlers[kind](self, event)
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
        self._host.ended(self)
        self._let_go()
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    def _let_go(self) -> None:
        """Part with what refers to this connection in turn, so that it is freed now."""
        self._watchdog.let_go()
        self.info.let_go()

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
            self._drop()
            self._end_if_lost()

    def _give_up(self, error: BaseException) -> None:
        """Drop the connection: the pump failed, and its client would wait for ever."""
        if isinstance(error, Exception):
            # Not a hook's fault, whose exceptions are caught around it.
            self._report("internal error; dropping the connection", error)
        elif not isinstance(error, asyncio.CancelledError):
            # It is to end more than a hook, as SystemExit and pytest.fail are.
            self._report("a hook raised; dropping the connection", error)
        self._drop()
        self._end_if_lost()

    def _end_if_lost(self) -> None:
        """End the session after a pump that failed: nobody tells again of a loss."""
        if self._is_lost:
            self._loop.call_soon(self._take_turn)

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
                    if isinstance(reply, Suspended):
                        reply = await self._go_on(reply)
                    self._answer(reply)
                    if kind in TELLING:
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
        except BaseException as error:
            self._give_up(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._is_pumping = False
        if self._is_read_paused:
            self._adjust_reading()

    # ------------------------------------------------------------------- time

    def _deadline(self) -> Deadline:
        """Return when the present state has lasted too long, and what happens then."""
        times = self._options.timeouts
        since = self._hook_since
        is_last = self._last_word is not None
        if is_last or self._is_lost or self._machine.state is ServerState.CLOSED:
            # All is said; but a hook may still be under way.
            limit = times.linger if self._is_aborted else times.handler
            if since is not None and limit is not None:
                return since + limit, self._cancel_hook
            return self._linger_until, self._drop
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
        is_gone = self._is_lost or self._is_aborted or self._last_word is not None
        if is_gone and self._hook_cancellations >= MAX_CANCELLATIONS:
            self._abandon_hook()
            return
        self._report("a hook took too long: cancelled")
        self._hook_cancellations += 1
        self._hook_since = self._last_activity = self._now()
        self._task.cancel()

    def _abandon_hook(self) -> None:
        """Wait no more for a hook that takes no notice; nobody else has to, either."""
        self._hook_since = None
        self._report(
            f"a hook goes on after {self._hook_cancellations} cancellations: "
            "abandoning it; let CancelledError pass in it"
        )
        self._is_abandoned = True
        self._drop()
        self._finish()


def _writer(write: Callable[[str, str], None], session: str) -> Callable[[str], None]:
    """Return what writes the lines of a session, whatever comes of it."""

    def write_line(text: str) -> None:
        try:
            write(session, text)
        except Exception:
            # A full disk is no reason to lose mail.
            logger.exception("%s: the wire log raised", session)

    return write_line

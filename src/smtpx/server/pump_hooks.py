"""How the hooks of a session are called, and what becomes of their answers."""

from __future__ import annotations

import asyncio
import types
from typing import TYPE_CHECKING, Any, Final

from smtpx.core.events import Authenticated, HelloReceived, MailReceived
from smtpx.errors import MessageAborted, Refuse
from smtpx.server.pump_base import PumpBase
from smtpx.server.work import HookCall
from smtpx.wire import replies
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["TELLING", "PumpHooks", "Suspended"]

#: What a client tells in these is a fact about its connection, if it was granted.
TELLING: Final = frozenset({HelloReceived, MailReceived, Authenticated})


class Suspended:
    """A hook that waits for something.

    Attributes:
        steps: the rest of it.
        awaited: what it yielded to the task.
    """

    __slots__ = ("awaited", "steps")

    def __init__(self, steps: Generator[Any, Any, Any], awaited: object) -> None:
        self.steps = steps
        self.awaited = awaited


class PumpHooks(PumpBase):
    """Calls the hooks of a session; see ``Pump``."""

    __slots__ = ()

    def _begin(self, call: HookCall, work: object) -> Reply | Suspended | None:
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
            return Suspended(steps, awaited)
        if reply is None or isinstance(reply, Reply):
            return reply
        return self._replace_answer(reply)

    @types.coroutine
    def _go_on(self, hook: Suspended) -> Generator[Any, Any, Reply | None]:
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
        return await self._go_on(begun) if isinstance(begun, Suspended) else begun

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
        self._hook_since = self._now()
        if self._is_aborted:
            # It cleans up; it has less time for that than the timer's next look.
            self._watchdog.arm()

    def _reply_to_failure(self, error: BaseException) -> Reply:
        """Turn what a hook raised into a reply; log it unless it is a refusal."""
        if isinstance(error, Refuse):
            return Reply(error.code, error.enhanced, error.text)
        if isinstance(error, MessageAborted) and self._is_body_aborted():
            return replies.LOCAL_ERROR  # nobody is there to hear it
        if isinstance(error, asyncio.CancelledError):
            if self._hook_cancellations:
                return replies.LOCAL_ERROR
            task = asyncio.current_task()
            if task is None or task.cancelling():
                # Somebody else wants this task to end, as when the loop is closed.
                raise error
        if isinstance(error, AttributeError) and error.name == "__await__":
            # What called it awaits what it returned.
            self._report(
                f"a hook returned {error.obj!r}, which cannot be awaited: "
                "begin it with async def"
            )
            return replies.LOCAL_ERROR
        self._report("a hook raised", error)
        return replies.LOCAL_ERROR

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

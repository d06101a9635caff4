"""Guards: who is asked about a client before its session is.

Theory of operation. A server has a list of guards. What they override is put in front
of the hook of the session for the same event, by wrapping the call of that hook; an
event that no guard cares for is handled as if there were none, and a server without
guards runs the very same code as ever. Clients of ``unlimited_networks`` and of unix
sockets are never asked about.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from smtpx.core.events import (
    Authenticated,
    AuthRefused,
    ClientConnected,
    MailReceived,
    RcptReceived,
)
from smtpx.server.work import HOOK_CALLS, HookCall
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from smtpx.sasl.mechanism import Identity
    from smtpx.server.session import ConnectionInfo, Session
    from smtpx.wire.address import Mailbox
    from smtpx.wire.params import MailOptions, RcptOptions

__all__ = ["UNGUARDED", "Guard", "Guarded", "close_guards", "guard_with", "tell_ended"]

logger = logging.getLogger("smtpx.server")


class Guard:
    """Asked about every client of a server. Subclass it, override what you need.

    Each method that returns a reply says no by returning a negative one or by raising
    ``Refuse``, and nothing by returning None: then the next guard is asked, and at last
    the session. Any other exception is logged, and the client is refused for now: with
    451 4.3.0, or 421 before the greeting.

    One guard serves all connections of a server, on its event loop: it must not block.

    Example:
        >>> import smtpx
        >>> class Blocklist(smtpx.Guard):
        ...     async def connected(self, connection):
        ...         if connection.peer_host == "192.0.2.66":
        ...             raise smtpx.Refuse(554, "5.7.1", "you are not welcome")
        >>> options = smtpx.ServerOptions(guards=(Blocklist(),))
    """

    async def connected(self, connection: ConnectionInfo) -> Reply | None:
        """A client connected, and was not greeted yet.

        A temporary refusal closes the connection with 421; a permanent one, with 554,
        waits for QUIT (RFC 5321 section 3.1).

        Args:
            connection: facts about the client.
        """

    async def authenticating(self, connection: ConnectionInfo) -> Reply | None:
        """A password or another proof is about to be checked.

        Asked before each question that a mechanism asks the session.

        Args:
            connection: facts about the client; nobody knows yet who it is.
        """

    async def authenticated(
        self, connection: ConnectionInfo, identity: Identity
    ) -> Reply | None:
        """A client proved who it is (RFC 4954 section 4).

        Args:
            connection: facts about the client.
            identity: who it is, and as whom it wants to act.
        """

    async def auth_refused(self, connection: ConnectionInfo, reply: Reply) -> None:
        """A client tried to prove who it is, and that ended without success.

        Args:
            connection: facts about the client.
            reply: what it was told: 535 5.7.8 when the proof was wrong; something else
                when it was cancelled, could not be checked, or was refused by a guard.
        """

    async def mail(
        self,
        connection: ConnectionInfo,
        reverse_path: Mailbox | None,
        options: MailOptions,
    ) -> Reply | None:
        """MAIL: a transaction begins (RFC 5321 section 4.1.1.2).

        Args:
            connection: facts about the client.
            reverse_path: the sender; None for the null reverse path.
            options: the parameters.
        """

    async def rcpt(
        self,
        connection: ConnectionInfo,
        forward_path: Mailbox,
        options: RcptOptions,
    ) -> Reply | None:
        """RCPT: one recipient (RFC 5321 section 4.1.1.3).

        Args:
            connection: facts about the client.
            forward_path: the recipient.
            options: the parameters.
        """

    def ended(self, connection: ConnectionInfo) -> None:
        """A connection is gone; let go of what you keep of it.

        Called once for each, also for those that you were never asked about.

        Args:
            connection: facts about the client.
        """

    async def close(self) -> None:
        """The server has stopped; let go of everything. It may start again."""


#: Asks one guard about an event, for a session.
_Question: TypeAlias = Callable[[Guard, "Session", Any], Awaitable[Reply | None]]

# Which method of a guard comes before which hook of the session.
_QUESTIONS: Final[dict[type, tuple[str, _Question]]] = {
    ClientConnected: (
        "connected",
        lambda guard, session, _: guard.connected(session.connection),
    ),
    Authenticated: (
        "authenticated",
        lambda guard, session, event: guard.authenticated(
            session.connection, event.identity
        ),
    ),
    MailReceived: (
        "mail",
        lambda guard, session, event: guard.mail(
            session.connection, event.reverse_path, event.options
        ),
    ),
    RcptReceived: (
        "rcpt",
        lambda guard, session, event: guard.rcpt(
            session.connection, event.recipient.mailbox, event.recipient.options
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Guarded:
    """What the guards of a server change for a connection.

    Attributes:
        kinds: the events that a guard is asked about.
        calls: how the hook for each event is called, guards first.
        authenticating: asks about a proof that is to be checked; None: nobody asks.
        auth_refused: tells of an AUTH that ended without success; None: nobody cares.
    """

    kinds: frozenset[type]
    calls: Mapping[type, HookCall]
    authenticating: HookCall | None
    auth_refused: HookCall | None


#: Of a connection that no guard is asked about.
UNGUARDED: Final = Guarded(frozenset(), HOOK_CALLS, None, None)


def guard_with(guards: Iterable[Guard]) -> Guarded:
    """Put guards in front of the hooks of a session.

    Args:
        guards: in the order in which they are asked.
    """
    guards = tuple(guards)
    if not guards:
        return UNGUARDED
    calls: dict[type, HookCall] = {}
    for kind, (name, question) in _QUESTIONS.items():
        asked = _overriding(guards, name)
        if asked:
            calls[kind] = _in_front(asked, question, HOOK_CALLS[kind])
    judges = _overriding(guards, "authenticating")
    listeners = _overriding(guards, "auth_refused")
    return Guarded(
        frozenset(calls) | ({AuthRefused} if listeners else frozenset()),
        {**HOOK_CALLS, **calls},
        _in_front(judges, _authenticating, _nothing) if judges else None,
        _tell_refused(listeners) if listeners else None,
    )


def _overriding(guards: Iterable[Guard], name: str) -> tuple[Guard, ...]:
    return tuple(
        g for g in guards if getattr(type(g), name) is not getattr(Guard, name)
    )


def _in_front(
    guards: tuple[Guard, ...], question: _Question, hook: HookCall
) -> HookCall:
    """Return a call that asks guards, and calls a hook if none of them objects."""

    async def call(session: Session, event: object) -> object:
        for guard in guards:
            reply = await question(guard, session, event)
            if reply is None:
                continue
            if reply.code < 400:
                message = f"a guard refuses or returns None: {reply} is neither"
                raise ValueError(message)
            return reply
        return await hook(session, event)

    return call


async def _authenticating(guard: Guard, session: Session, _: object) -> Reply | None:
    return await guard.authenticating(session.connection)


def _tell_refused(guards: tuple[Guard, ...]) -> HookCall:
    """Return a call that tells guards of an AUTH without success."""

    async def call(session: Session, event: AuthRefused) -> None:
        for guard in guards:
            await guard.auth_refused(session.connection, event.reply)

    return call


async def _nothing(_session: Session, _event: object) -> None:
    """Call no hook: the session is asked the question itself, later."""


def tell_ended(guards: Iterable[Guard], connection: ConnectionInfo) -> None:
    """Tell guards that a connection is gone; what one of them raises is logged."""
    for guard in guards:
        try:
            guard.ended(connection)
        except Exception:
            logger.exception("%s: %r failed at the end", connection.id, guard)


async def close_guards(guards: Iterable[Guard]) -> None:
    """Close guards; what one of them raises is logged."""
    for guard in guards:
        try:
            await guard.close()
        except Exception:
            logger.exception("%r failed to close", guard)

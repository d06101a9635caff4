"""What a session class makes a connection do: the kinds of work, and who does them."""

from __future__ import annotations

from typing import Final, TypeAlias

from smtpx.core.events import (
    Authenticated,
    AuthQuestion,
    ClientConnected,
    CommandReceived,
    DataRequested,
    Event,
    ExpnReceived,
    HelloReceived,
    HelpReceived,
    MailReceived,
    RcptReceived,
    StartTLSRequested,
    VrfyReceived,
)
from smtpx.server.session import Session

__all__ = ["CLOSED", "DELIVER", "RESET", "Closed", "Deliver", "Reset", "Work"]


class Deliver:
    """A message has begun to arrive: run the hook that reads it."""


class Reset:
    """A transaction ended."""


class Closed:
    """The connection is gone."""


DELIVER: Final = Deliver()
RESET: Final = Reset()
CLOSED: Final = Closed()

#: What a pump handles: an event of the machine, or something that is none.
Work: TypeAlias = Event | Deliver | Reset | Closed

# The hook that a session class may override, for each kind of work.
_HOOKS: Final[dict[type, str]] = {
    ClientConnected: "connected",
    HelloReceived: "hello",
    MailReceived: "mail",
    RcptReceived: "rcpt",
    DataRequested: "start_data",
    VrfyReceived: "verify",
    ExpnReceived: "expand",
    HelpReceived: "help",
    CommandReceived: "command",
    Authenticated: "authorize",
    Reset: "reset",
    Closed: "closed",
}

# This work always needs a coroutine.
_ALWAYS: Final = frozenset({AuthQuestion, StartTLSRequested, Deliver})

_overridden: dict[type[Session], frozenset[type]] = {}


def overridden_by(session: type[Session]) -> frozenset[type]:
    """Return the kinds of work for which sessions of a class need a coroutine.

    A hook that a class inherits from ``Session`` does nothing but grant, which needs
    neither a call nor a task.

    >>> class Sink(Session):
    ...     async def rcpt(self, forward_path, options): ...
    >>> RcptReceived in overridden_by(Sink), MailReceived in overridden_by(Sink)
    (True, False)
    """
    work = _overridden.get(session)
    if work is None:
        work = _overridden[session] = _ALWAYS | {
            kind
            for kind, hook in _HOOKS.items()
            if getattr(session, hook) is not getattr(Session, hook)
        }
    return work

"""What a session class makes a connection do: the kinds of work, and who does them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from smtpx.core.events import (
    Authenticated,
    AuthQuestion,
    ClientConnected,
    CommandReceived,
    DataRequested,
    EtrnReceived,
    Event,
    ExpnReceived,
    HelloReceived,
    HelpReceived,
    MailReceived,
    RcptReceived,
    StartTLSRequested,
    VrfyReceived,
    XClientReceived,
    XForwardReceived,
)
from smtpx.server.session import Session

__all__ = [
    "CLOSED",
    "DELIVER",
    "HOOK_CALLS",
    "HOOK_NAMES",
    "RESET",
    "Closed",
    "Deliver",
    "HookCall",
    "Reset",
    "Work",
    "extensions_of",
    "overridden_by",
]


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

#: Calls the hook of a session for a piece of work.
HookCall: TypeAlias = Callable[[Session, Any], Awaitable[object]]

# The hooks whose answer goes to the client as it is. One each: which work calls which
# hook, and with what.
_ANSWERING: Final[dict[type, tuple[str, HookCall]]] = {
    ClientConnected: ("connected", lambda session, _: session.connected()),
    HelloReceived: ("hello", lambda session, event: session.hello(event.name)),
    MailReceived: (
        "mail",
        lambda session, event: session.mail(event.reverse_path, event.options),
    ),
    RcptReceived: (
        "rcpt",
        lambda session, event: session.rcpt(
            event.recipient.mailbox, event.recipient.options
        ),
    ),
    DataRequested: ("start_data", lambda session, _: session.start_data()),
    VrfyReceived: ("verify", lambda session, event: session.verify(event.text)),
    ExpnReceived: ("expand", lambda session, event: session.expand(event.text)),
    EtrnReceived: ("etrn", lambda session, event: session.etrn(event.node)),
    HelpReceived: ("help", lambda session, event: session.help(event.topic)),
    Authenticated: (
        "authorize",
        lambda session, event: session.authorize(event.identity),
    ),
    XForwardReceived: (
        "xforward",
        lambda session, event: session.xforward(event.command),
    ),
    CommandReceived: (
        "command",
        lambda session, event: session.command(event.verb, event.argument),
    ),
}

#: How the hook that answers a piece of work is called.
HOOK_CALLS: Final[dict[type, HookCall]] = {
    kind: call for kind, (_, call) in _ANSWERING.items()
}

#: The name of the hook for a piece of work, if it has but one.
HOOK_NAMES: Final[dict[type, str]] = {
    **{kind: hook for kind, (hook, _) in _ANSWERING.items()},
    StartTLSRequested: "start_tls",
    XClientReceived: "xclient",
    Reset: "reset",
    Closed: "closed",
}

# This work always needs a coroutine.
_ALWAYS: Final = frozenset({AuthQuestion, StartTLSRequested, XClientReceived, Deliver})

# Extensions that a session has by overriding a hook.
_EXTENSION_HOOKS: Final = {"VRFY": "verify", "EXPN": "expand", "ETRN": "etrn"}


def extensions_of(session: type[Session]) -> frozenset[str]:
    """Return the keywords of the extensions that come with hooks of a class.

    >>> class Lists(Session):
    ...     async def expand(self, text): ...
    >>> extensions_of(Lists)
    frozenset({'EXPN'})
    """
    return frozenset(
        keyword
        for keyword, hook in _EXTENSION_HOOKS.items()
        if getattr(session, hook) is not getattr(Session, hook)
    )


def overridden_by(session: type[Session]) -> frozenset[type]:
    """Return the kinds of work for which sessions of a class need a coroutine.

    A hook that a class inherits from ``Session`` does nothing but grant, which needs
    neither a call nor a task.

    >>> class Sink(Session):
    ...     async def rcpt(self, forward_path, options): ...
    >>> RcptReceived in overridden_by(Sink), MailReceived in overridden_by(Sink)
    (True, False)
    """
    return _ALWAYS | {
        kind
        for kind, hook in HOOK_NAMES.items()
        if getattr(session, hook) is not getattr(Session, hook)
    }

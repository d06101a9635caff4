"""The events of a server in the log, a line each, and in a form for programs.

>>> from smtpx.server.events import RefusedEvent
>>> from smtpx.wire.replies import Reply
>>> describe_event(
...     RefusedEvent(
...         session="4f1c",
...         elapsed=0.5,
...         command="FROB ***",
...         reply=Reply(500, "5.5.2", "what?"),
...     )
... )
{'command': 'FROB ***', 'reply': 500, 'text': '5.5.2 what?'}
"""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from smtpx.server.events import (
    AbortedEvent,
    AuthEvent,
    ClosedEvent,
    CommandEvent,
    ConnectedEvent,
    ErrorEvent,
    HelloEvent,
    MailEvent,
    MessageEvent,
    RcptEvent,
    RefusedEvent,
    ServerEvent,
    TLSEvent,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpx.wire.replies import Reply

__all__ = ["EventLog", "describe_event", "event_name", "log_wire"]

Facts: TypeAlias = dict[str, Any]

# What can stand in a line without quotes.
_PLAIN: Final = re.compile(r"[!#-<>-~]+", re.ASCII)

# These begin the line, or stand in every line of a log anyway.
_UNNAMED: Final = frozenset({"session", "event", "elapsed"})

# Digits behind the seconds: microseconds are below what is measured.
_DIGITS: Final = 6


class EventLog:
    """Logs the events of a server; give it to ``ServerOptions(events=...)``.

    A line names the session, the event, and its facts as ``name=value``. The record has
    the same as a dictionary, ``record.smtpx``, for formatters that write JSON.

    What goes wrong by a client's doing is INFO, a failed AUTH is WARNING, a fault of a
    hook ERROR, each step of a dialogue DEBUG. No password, message content or argument
    of a registered verb is ever in it.

    Args:
        logger: where to; by default ``smtpx.events``.

    >>> import logging, smtpx
    >>> options = smtpx.ServerOptions(events=smtpx.EventLog(logging.getLogger("mail")))
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("smtpx.events")

    def __call__(self, event: ServerEvent) -> None:
        """Log an event.

        Args:
            event: of any session of any server.
        """
        level = _level_of(event)
        if not self._logger.isEnabledFor(level):
            return
        facts: Facts = {"event": event_name(event), "session": event.session}
        facts["elapsed"] = round(event.elapsed, _DIGITS)
        facts |= describe_event(event)
        self._logger.log(level, "%s", _Line(facts), extra={"smtpx": facts})


class _Line:
    """A line of the log, written when a handler asks for it."""

    __slots__ = ("_facts",)

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def __str__(self) -> str:
        facts = self._facts
        words = [
            f"{name}={_quote(value)}"
            for name, value in facts.items()
            if value is not None and name not in _UNNAMED
        ]
        return " ".join((facts["session"], facts["event"], *words))


def _quote(value: object) -> str:
    text = str(value)
    # JSON in ASCII: whatever a client says of itself, it is one line.
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def event_name(event: ServerEvent) -> str:
    """Return the name of an event in a log: ``connected``, ``message`` and so on.

    Args:
        event: it.
    """
    return type(event).__name__.removesuffix("Event").lower()


def describe_event(event: ServerEvent) -> Facts:
    """Return what can be told of an event: numbers, names, texts; no secret.

    Args:
        event: it.

    Returns:
        Facts by name, without what all events have; None where there is none.
    """
    return _DESCRIPTIONS[type(event)](event)


def log_wire(logger: logging.Logger | None = None) -> Callable[[str, str], None]:
    """Return a ``wire_log`` that writes to a logger, at level DEBUG.

    Args:
        logger: where to; by default ``smtpx.wire``.

    >>> import smtpx
    >>> options = smtpx.ServerOptions(wire_log=smtpx.log_wire())
    """
    target = logger or logging.getLogger("smtpx.wire")

    def write(session: str, line: str) -> None:
        target.debug("%s %s", session, line)

    return write


def _level_of(event: ServerEvent) -> int:
    if isinstance(event, ErrorEvent):
        return logging.ERROR
    if isinstance(event, AuthEvent):
        return logging.INFO if event.reply.is_positive else logging.WARNING
    if isinstance(event, MailEvent | RcptEvent | HelloEvent):
        return logging.DEBUG if event.reply.is_positive else logging.INFO
    if isinstance(event, CommandEvent | TLSEvent):
        return logging.DEBUG
    return logging.INFO


def _reply(reply: Reply | None) -> Facts:
    if reply is None:
        return {"reply": None, "text": None}
    _, _, text = str(reply).partition(" ")
    return {"reply": reply.code, "text": text}


def _connected(event: ConnectedEvent) -> Facts:
    return {
        "peer": event.peer,
        "local": event.local,
        "protocol": "lmtp" if event.is_lmtp else "smtp",
    }


def _tls(event: TLSEvent) -> Facts:
    return {"version": event.tls.version, "cipher": event.tls.cipher}


def _hello(event: HelloEvent) -> Facts:
    return {"verb": event.verb, "name": event.name, **_reply(event.reply)}


def _auth(event: AuthEvent) -> Facts:
    return {
        "mechanism": event.mechanism,
        "user": event.user,
        **_reply(event.reply),
    }


def _mail(event: MailEvent) -> Facts:
    sender = "" if event.reverse_path is None else str(event.reverse_path)
    return {"sender": sender, "size": event.options.size, **_reply(event.reply)}


def _rcpt(event: RcptEvent) -> Facts:
    return {"recipient": str(event.forward_path), **_reply(event.reply)}


def _message(event: MessageEvent) -> Facts:
    return {
        "sender": "" if event.reverse_path is None else str(event.reverse_path),
        "recipients": len(event.recipients),
        "accepted": sum(result.is_accepted for result in event.recipients),
        "octets": event.octets,
        "duration": round(event.duration, _DIGITS),
        **_reply(event.reply),
    }


def _aborted(event: AbortedEvent) -> Facts:
    return {
        "reason": event.reason,
        "octets": event.octets,
        "duration": round(event.duration, _DIGITS),
    }


def _command(event: CommandEvent) -> Facts:
    # The argument of a verb that a user registered may be a secret.
    return {"verb": event.verb, **_reply(event.reply)}


def _refused(event: RefusedEvent) -> Facts:
    return {"command": event.command, **_reply(event.reply)}


def _error(event: ErrorEvent) -> Facts:
    kind = None if event.error is None else type(event.error).__name__
    return {"hook": event.hook, "error": kind, "text": event.text}


def _closed(event: ClosedEvent) -> Facts:
    return {
        "reason": event.reason,
        "clean": event.is_clean,
        "received": event.octets_received,
        "sent": event.octets_sent,
        "messages": event.messages,
        "reply": None if event.reply is None else event.reply.code,
    }


_DESCRIPTIONS: Final[dict[type, Callable[[Any], Facts]]] = {
    ConnectedEvent: _connected,
    TLSEvent: _tls,
    HelloEvent: _hello,
    AuthEvent: _auth,
    MailEvent: _mail,
    RcptEvent: _rcpt,
    MessageEvent: _message,
    AbortedEvent: _aborted,
    CommandEvent: _command,
    RefusedEvent: _refused,
    ErrorEvent: _error,
    ClosedEvent: _closed,
}

"""The states of a server session, and every way from one to another, as tables.

Rule one: ``ServerMachine`` changes its state by these tables only. The diagrams in
docs/reference/states.md are generated from them.

Octets of a refused BDAT chunk are skipped in whatever state the session is; that is no
state of its own, because nothing of what they say is looked at.
"""

from __future__ import annotations

from enum import StrEnum, unique
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "SERVER_ALLOWED",
    "SERVER_TRANSITIONS",
    "USER_VERB",
    "ServerState",
    "ServerTrigger",
    "describe_wrong_order",
]


@unique
class ServerState(StrEnum):
    """Where a session stands; members hash as fast as the strings that they are."""

    CONNECTED = "connected"  # the greeting is not out yet
    REJECTED = "rejected"  # greeted with 554: waits for QUIT (RFC 5321 section 3.1)
    START = "start"  # greeted, or TLS just started: waits for HELO, EHLO or LHLO
    READY = "ready"  # said hello; no transaction
    AUTH = "auth"  # inside a SASL exchange (RFC 4954 section 4)
    MAIL = "mail"  # a transaction with its reverse path, no recipient yet
    RCPT = "rcpt"  # a transaction with at least one recipient
    DATA = "data"  # reads content up to CRLF.CRLF
    CHUNK = "chunk"  # reads the octets of a BDAT chunk (RFC 3030)
    BDAT = "bdat"  # between two chunks of a message
    TLS = "tls"  # said 220 to STARTTLS: the handshake is next
    CLOSED = "closed"  # the last reply is written


@unique
class ServerTrigger(StrEnum):
    """What moves a session from one state to another."""

    GREETED = "greeting sent"
    REJECT = "greeting refuses service"
    HELLO = "HELO, EHLO or LHLO accepted"
    AUTH_STARTED = "AUTH begins"
    AUTH_ENDED = "AUTH succeeds or fails"
    MAIL_ACCEPTED = "MAIL accepted"
    RCPT_ACCEPTED = "RCPT accepted"
    DATA_STARTED = "354 sent"
    CHUNK_STARTED = "BDAT accepted"
    CHUNK_ENDED = "chunk read"
    TRANSACTION_ENDED = "message answered, or transaction discarded"
    TLS_OFFERED = "220 to STARTTLS"
    TLS_STARTED = "handshake done"
    RESTARTED = "XCLIENT accepted"
    END = "QUIT, 421, or end of stream"


_S, _T = ServerState, ServerTrigger

#: Stands for every verb that the user of the library registered.
USER_VERB: Final = "*"

# RFC 5321 section 4.1.4: these, and RSET, are legal at any time, even before EHLO.
_ANY_TIME = frozenset({"NOOP", "HELP", "VRFY", "EXPN", "RSET", "QUIT"})
_HELLO = frozenset({"HELO", "EHLO", "LHLO"})

#: The verbs that each command state takes; another verb is out of order: 503 5.5.1.
SERVER_ALLOWED: Final[Mapping[ServerState, frozenset[str]]] = MappingProxyType(
    {
        _S.REJECTED: frozenset({"QUIT"}),
        # XCLIENT_README: at any time, except in a transaction.
        _S.START: _ANY_TIME | _HELLO | {"XCLIENT"},
        _S.READY: _ANY_TIME
        | _HELLO
        | {"MAIL", "AUTH", "ETRN", "STARTTLS", "XCLIENT", "XFORWARD", USER_VERB},
        _S.MAIL: _ANY_TIME | _HELLO | {"RCPT", USER_VERB},
        _S.RCPT: _ANY_TIME | _HELLO | {"RCPT", "DATA", "BDAT", USER_VERB},
        # RFC 3030 section 2 has only NOOP, RSET and QUIT in mind between chunks. A hook
        # for VRFY or HELP would run beside the one that reads the message, so these
        # wait.
        _S.BDAT: _HELLO | {"BDAT", "NOOP", "RSET", "QUIT"},
    }
)

#: The whole life of a session. A pair that is not here cannot happen.
SERVER_TRANSITIONS: Final[Mapping[tuple[ServerState, ServerTrigger], ServerState]] = (
    MappingProxyType(
        {
            (_S.CONNECTED, _T.GREETED): _S.START,
            (_S.CONNECTED, _T.REJECT): _S.REJECTED,
            (_S.START, _T.HELLO): _S.READY,
            (_S.READY, _T.HELLO): _S.READY,
            (_S.MAIL, _T.HELLO): _S.READY,
            (_S.RCPT, _T.HELLO): _S.READY,
            (_S.BDAT, _T.HELLO): _S.READY,
            (_S.READY, _T.AUTH_STARTED): _S.AUTH,
            (_S.AUTH, _T.AUTH_ENDED): _S.READY,
            (_S.READY, _T.MAIL_ACCEPTED): _S.MAIL,
            (_S.MAIL, _T.RCPT_ACCEPTED): _S.RCPT,
            (_S.RCPT, _T.RCPT_ACCEPTED): _S.RCPT,
            (_S.RCPT, _T.DATA_STARTED): _S.DATA,
            (_S.RCPT, _T.CHUNK_STARTED): _S.CHUNK,
            (_S.BDAT, _T.CHUNK_STARTED): _S.CHUNK,
            (_S.CHUNK, _T.CHUNK_ENDED): _S.BDAT,
            # RSET before any EHLO is legal and changes nothing.
            (_S.START, _T.TRANSACTION_ENDED): _S.START,
            (_S.READY, _T.TRANSACTION_ENDED): _S.READY,
            (_S.MAIL, _T.TRANSACTION_ENDED): _S.READY,
            (_S.RCPT, _T.TRANSACTION_ENDED): _S.READY,
            (_S.DATA, _T.TRANSACTION_ENDED): _S.READY,
            (_S.CHUNK, _T.TRANSACTION_ENDED): _S.READY,
            (_S.BDAT, _T.TRANSACTION_ENDED): _S.READY,
            (_S.READY, _T.TLS_OFFERED): _S.TLS,
            (_S.TLS, _T.TLS_STARTED): _S.START,
            (_S.START, _T.RESTARTED): _S.CONNECTED,
            (_S.READY, _T.RESTARTED): _S.CONNECTED,
            **{(state, _T.END): _S.CLOSED for state in ServerState},
        }
    )
)


_WHAT_IS_MISSING: Final[Mapping[ServerState, str]] = MappingProxyType(
    {
        _S.REJECTED: "No service here: QUIT is the only command",
        _S.START: "Say EHLO first",
        _S.READY: "No transaction: MAIL first",
        _S.BDAT: "A message is under way: BDAT or RSET first",
    }
)


def describe_wrong_order(state: ServerState, verb: str) -> str:
    """Say to the client what is missing (RFC 5321 section 4.1.4), for a 503 reply.

    Args:
        state: where the session stands.
        verb: the verb that is out of order, in upper case.

    Returns:
        One line that tells what to do next.

    >>> describe_wrong_order(ServerState.START, "MAIL")
    'Say EHLO first'
    >>> describe_wrong_order(ServerState.MAIL, "DATA")
    'No valid recipients: RCPT first'
    >>> describe_wrong_order(ServerState.RCPT, "AUTH")
    'AUTH is not possible inside a transaction: RSET first'
    """
    missing = _WHAT_IS_MISSING.get(state)
    if missing is not None:
        return missing
    if verb in {"DATA", "BDAT"}:
        return "No valid recipients: RCPT first"
    return f"{verb} is not possible inside a transaction: RSET first"

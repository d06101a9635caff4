"""The life of a client's connection as tables: pure data, no code decides anything.

Three tables. `CLIENT_TRIGGERS` says what a reply means: which `ClientTrigger` it pulls,
by the verb it answers and its first digit, which is conclusive (RFC 5321 section
4.3.2). `CLIENT_TRANSITIONS` says where a trigger leads. `CLIENT_ALLOWED` says what may
be sent. `smtpx.core.client_base` and `client` apply them, and the diagram is drawn from
them.

A client that pipelines sends commands before it knows the state they will find. It goes
by the state in which all commands before them succeed; replies then say the true one.
"""

from __future__ import annotations

from enum import StrEnum, unique
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ANY_VERB",
    "CLIENT_ALLOWED",
    "CLIENT_SUCCESS",
    "CLIENT_TRANSITIONS",
    "CLIENT_TRIGGERS",
    "PIPELINED_VERBS",
    "ClientState",
    "ClientTrigger",
]


@unique
class ClientState(StrEnum):
    """Where a connection stands, seen from the client."""

    GREETING = "greeting"  # nothing may be sent before it (RFC 5321 section 3.1)
    START = "start"  # greeted, or TLS just started: says EHLO, HELO or LHLO next
    READY = "ready"  # said hello; no transaction
    AUTH = "auth"  # inside a SASL exchange, a 334 is open (RFC 4954)
    MAIL = "mail"  # a transaction with its reverse path, no recipient yet
    RCPT = "rcpt"  # a transaction with at least one recipient
    DATA = "data"  # got 354: content up to the final dot
    BDAT = "bdat"  # between two chunks of a message (RFC 3030)
    FAILED = "failed"  # what is left of a failed transaction: RSET before the next
    TLS = "tls"  # got 220 to STARTTLS: the handshake is next (RFC 3207)
    CLOSED = "closed"  # the server said goodbye, or went without a word
    BROKEN = "broken"  # out of step: no reply can be trusted any more


@unique
class ClientTrigger(StrEnum):
    """What moves a connection from one state to another."""

    GREETED = "220 greeting"
    HELLO = "EHLO, HELO or LHLO accepted"
    AUTH_STARTED = "334 to AUTH"
    AUTH_ENDED = "AUTH succeeds or fails"
    MAIL_ACCEPTED = "MAIL accepted"
    RCPT_ACCEPTED = "RCPT accepted"
    DATA_STARTED = "354 to DATA"
    CHUNK_ACCEPTED = "BDAT accepted"
    TRANSACTION_ENDED = "message accepted, or RSET"
    TRANSACTION_FAILED = "DATA, BDAT or the message refused"
    TLS_OFFERED = "220 to STARTTLS"
    TLS_STARTED = "handshake done"
    RESTARTED = "XCLIENT accepted"
    END = "QUIT, 421, greeting refused, or end of stream"
    LOST_STEP = "a malformed or unexpected reply, a timeout"


_S, _T = ClientState, ClientTrigger

#: Stands for a verb that this table does not know, and for commands written by hand.
ANY_VERB: Final = "*"

_ANY_TIME = frozenset({"NOOP", "HELP", "VRFY", "EXPN", "RSET", "QUIT"})
_HELLO = frozenset({"EHLO", "HELO", "LHLO"})
_NOTHING: frozenset[str] = frozenset()

#: The verbs that may be sent in each state. What follows a 334 or a 354 is no command.
CLIENT_ALLOWED: Final[Mapping[ClientState, frozenset[str]]] = MappingProxyType(
    {
        _S.GREETING: _NOTHING,
        _S.START: _ANY_TIME | _HELLO | {ANY_VERB},
        _S.READY: _ANY_TIME
        | _HELLO
        | {"MAIL", "AUTH", "ETRN", "STARTTLS", "XCLIENT", "XFORWARD", ANY_VERB},
        _S.AUTH: _NOTHING,
        _S.MAIL: _ANY_TIME | _HELLO | {"RCPT", ANY_VERB},
        _S.RCPT: _ANY_TIME | _HELLO | {"RCPT", "DATA", "BDAT", ANY_VERB},
        _S.DATA: _NOTHING,
        # RFC 3030 section 2: anything else between chunks is an error.
        _S.BDAT: frozenset({"BDAT", "NOOP", "RSET", "QUIT"}),
        # A refused chunk leaves the server waiting for RSET (RFC 3030 section 2); what
        # a refused DATA leaves is for the server to say. RSET is right after both.
        _S.FAILED: _ANY_TIME | _HELLO | {ANY_VERB},
        _S.TLS: _NOTHING,
        _S.CLOSED: _NOTHING,
        _S.BROKEN: _NOTHING,
    }
)

# The states that commands are sent in, and the transactions among them.
_TRANSACTION = (_S.MAIL, _S.RCPT, _S.BDAT, _S.FAILED)
_IDLE = (_S.START, _S.READY)

#: Where each trigger leads. A pair that is not here changes nothing.
CLIENT_TRANSITIONS: Final[Mapping[tuple[ClientState, ClientTrigger], ClientState]] = (
    MappingProxyType(
        {
            (_S.GREETING, _T.GREETED): _S.START,
            # RFC 5321 section 4.1.4: EHLO inside a transaction discards it.
            **{(state, _T.HELLO): _S.READY for state in (*_IDLE, *_TRANSACTION)},
            (_S.READY, _T.AUTH_STARTED): _S.AUTH,
            (_S.AUTH, _T.AUTH_ENDED): _S.READY,
            (_S.READY, _T.MAIL_ACCEPTED): _S.MAIL,
            (_S.MAIL, _T.RCPT_ACCEPTED): _S.RCPT,
            (_S.RCPT, _T.DATA_STARTED): _S.DATA,
            # Lenient: some servers take DATA without a recipient. It must be ended by
            # a lone dot (RFC 2920 section 3.1), so the state has to say so.
            (_S.READY, _T.DATA_STARTED): _S.DATA,
            (_S.MAIL, _T.DATA_STARTED): _S.DATA,
            (_S.RCPT, _T.CHUNK_ACCEPTED): _S.BDAT,
            (_S.DATA, _T.TRANSACTION_ENDED): _S.READY,
            **{(state, _T.TRANSACTION_ENDED): _S.READY for state in _TRANSACTION},
            (_S.DATA, _T.TRANSACTION_FAILED): _S.FAILED,
            **{(state, _T.TRANSACTION_FAILED): _S.FAILED for state in _TRANSACTION},
            (_S.READY, _T.TLS_OFFERED): _S.TLS,
            (_S.TLS, _T.TLS_STARTED): _S.START,
            # Postfix greets again, and everything said before is forgotten.
            (_S.READY, _T.RESTARTED): _S.START,
            **{(state, _T.END): _S.CLOSED for state in ClientState},
            **{(state, _T.LOST_STEP): _S.BROKEN for state in ClientState},
            # What is broken stays so, whatever else happens to it.
            (_S.BROKEN, _T.END): _S.BROKEN,
        }
    )
)

_ENDED, _REFUSED = _T.TRANSACTION_ENDED, _T.TRANSACTION_FAILED

#: What a reply pulls, by the verb that it answers and its first digit. None is a reply
#: that changes nothing; a pair that is not here is out of step. The last chunk of BDAT
#: has a verb of its own, ``BDAT LAST``; the greeting is ``greeting``; what the final
#: dot is answered with, ``.``.
CLIENT_TRIGGERS: Final[Mapping[tuple[str, int], ClientTrigger | None]] = (
    MappingProxyType(
        {
            **{
                (verb, digit): None
                for verb in (
                    *("EHLO", "HELO", "LHLO", "MAIL", "RCPT", "RSET", "STARTTLS"),
                    *("NOOP", "HELP", "VRFY", "EXPN", "ETRN", "QUIT"),
                    *("XCLIENT", "XFORWARD"),
                )
                for digit in (2, 4, 5)
            },
            **{(ANY_VERB, digit): None for digit in (2, 3, 4, 5)},
            ("greeting", 2): _T.GREETED,
            ("greeting", 4): _T.END,
            ("greeting", 5): _T.END,
            **{(verb, 2): _T.HELLO for verb in sorted(_HELLO)},
            ("AUTH", 2): _T.AUTH_ENDED,
            ("AUTH", 3): _T.AUTH_STARTED,
            ("AUTH", 4): _T.AUTH_ENDED,
            ("AUTH", 5): _T.AUTH_ENDED,
            ("MAIL", 2): _T.MAIL_ACCEPTED,
            ("RCPT", 2): _T.RCPT_ACCEPTED,
            ("DATA", 3): _T.DATA_STARTED,
            ("DATA", 4): _REFUSED,
            ("DATA", 5): _REFUSED,
            (".", 2): _ENDED,
            (".", 4): _REFUSED,
            (".", 5): _REFUSED,
            ("BDAT", 2): _T.CHUNK_ACCEPTED,
            ("BDAT", 4): _REFUSED,
            ("BDAT", 5): _REFUSED,
            ("BDAT LAST", 2): _ENDED,
            ("BDAT LAST", 4): _REFUSED,
            ("BDAT LAST", 5): _REFUSED,
            ("RSET", 2): _ENDED,
            ("STARTTLS", 2): _T.TLS_OFFERED,
            ("XCLIENT", 2): _T.RESTARTED,
            ("QUIT", 2): _T.END,
        }
    )
)

#: What each verb pulls if it succeeds; by it a client that pipelines looks ahead.
CLIENT_SUCCESS: Final[Mapping[str, ClientTrigger]] = MappingProxyType(
    {
        verb: trigger
        for (verb, digit), trigger in CLIENT_TRIGGERS.items()
        if trigger is not None and digit == (3 if verb == "DATA" else 2)
    }
)

#: What other commands may follow in one flight. RFC 2920 section 3.1 lists those that
#: must come last, and allows a message's end in front of the next MAIL; RFC 3030
#: section 2 adds BDAT. A verb that nobody specified comes last.
PIPELINED_VERBS: Final = frozenset({"MAIL", "RCPT", "RSET", "BDAT", "BDAT LAST", "."})

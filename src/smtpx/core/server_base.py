"""The ground floor of the server machine: input, output, state, answers and the end.

``ServerMachine`` is built in six floors, a file each: this one; ``server_message``,
which reads messages; ``server_auth``, which does STARTTLS and AUTH; ``server_gateway``,
which greets and does XCLIENT and XFORWARD; ``server_simple``, which does what moves
nothing along; and ``server``, which knows the commands and their order, and is the one
to use.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from smtpx.core.buffer import InputBuffer
from smtpx.core.events import (
    AuthRefused,
    ClientConnected,
    CommandAnswered,
    CommandRefused,
    ConnectionEnded,
    Event,
    MessageAborted,
)
from smtpx.core.states import SERVER_TRANSITIONS, ServerState, ServerTrigger
from smtpx.wire import replies
from smtpx.wire.replies import EnhancedCode, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpx.core.config import ServerConfig
    from smtpx.core.trace import WireLog
    from smtpx.sasl.mechanism import Identity
    from smtpx.wire.envelope import Envelope

__all__ = [
    "AGAIN",
    "READS_OCTETS",
    "ServerBase",
    "Stepped",
    "require_final",
    "require_negative",
]


class Again(Enum):
    """The value of a step that used input and gave no event."""

    AGAIN = "again"


AGAIN: Final = Again.AGAIN

#: What a step of the machine gives: an event; or AGAIN: go on; or None: input is
#: needed.
Stepped: TypeAlias = Event | Literal[Again.AGAIN] | None


# Events that are still true when the session is over.
_INFORMING: Final = (AuthRefused, CommandAnswered, CommandRefused, MessageAborted)

# What refuses a recipient that another transaction may have, or a later one.
_REST_LATER: Final = (replies.TOO_MANY_RECIPIENTS, replies.TOO_MANY_DOMAINS)
_MAIL_FLOOD: Final = EnhancedCode(4, 7, 28)

_CONTENT: Final = frozenset({ServerState.DATA, ServerState.CHUNK})

# Where nothing happens before octets arrive, if they ever do. (Elsewhere there may be
# a step to take without them, as at the end of a BDAT chunk.)
READS_OCTETS: Final = frozenset(
    {
        ServerState.REJECTED,
        ServerState.START,
        ServerState.READY,
        ServerState.AUTH,
        ServerState.MAIL,
        ServerState.RCPT,
        ServerState.DATA,
        ServerState.BDAT,
        ServerState.CLOSED,
    }
)

# A member takes four times as long to look up in its class (CPython 3.11).
_CLOSED: Final = ServerState.CLOSED
_CONNECTED: Final = ServerState.CONNECTED
_END: Final = ServerTrigger.END

# By trigger first: to find a pair, one would have to make it at each move.
_MOVES: Final = {
    trigger: {
        before: after
        for (before, moved), after in SERVER_TRANSITIONS.items()
        if moved is trigger
    }
    for trigger in ServerTrigger
}

# Events without anything of their own are made once.
_CLIENT_CONNECTED: Final = ClientConnected()


class ServerBase:
    """Input, output and state of one session; see ``ServerMachine``.

    Only what may be read before anything else has set it is set at the beginning, here
    and on the floors above: where each message has a connection of its own, each
    attribute counts.
    """

    __slots__ = (
        "_buffer",
        "_config",
        "_errors",
        "_has_secrets",
        "_is_body_open",
        "_is_eof",
        "_limits",
        "_out",
        "_pending",
        "_queue",
        "_skip",
        "_skip_replies",
        "_trace",
        "ended_transactions",
        "envelope",
        "hello_name",
        "identity",
        "is_extended",
        "is_lmtp",
        "is_local",
        "is_tls",
        "state",
    )

    # Of a refused BDAT.
    _skip_replies: list[Reply]

    def __init__(
        self,
        config: ServerConfig,
        is_tls: bool,
        is_local: bool,
        trace: WireLog | None,
    ) -> None:
        self._config = config
        self._limits = config.limits
        self._trace = trace
        self._buffer = InputBuffer()
        self._out: list[bytes] = []
        self._queue: list[Event] = [_CLIENT_CONNECTED]
        self.state = _CONNECTED
        self._pending: Callable[[Reply | None], None] | None = None
        self._is_eof = False
        # Counts abuse; unlike what the client said of itself it outlives STARTTLS.
        self._errors = 0
        self._skip = 0
        self._is_body_open = False
        self.ended_transactions = 0
        self.is_local = is_local
        self.is_tls = is_tls
        self._begin()

    def _begin(self) -> None:
        """Know nothing of the client: at the start, and again after STARTTLS."""
        self.is_lmtp = self._config.is_lmtp
        self.hello_name: str | None = None
        self.is_extended = False
        self.identity: Identity | None = None
        self.envelope: Envelope | None = None
        self._has_secrets = False

    # ------------------------------------------------------------ for the layer above

    @property
    def errors(self) -> int:
        """How many commands were refused since a message was accepted last."""
        return self._errors

    @property
    def is_waiting(self) -> bool:
        """Whether an event waits for its answer."""
        return self._pending is not None

    @property
    def is_body_open(self) -> bool:
        """Whether a message is being read that will be completed or aborted."""
        return self._is_body_open

    @property
    def is_reading_content(self) -> bool:
        """Whether octets are content now, be it refused, and not commands."""
        return self._skip > 0 or self.state in _CONTENT

    @property
    def buffered(self) -> int:
        """Octets received and not yet looked at; stop reading when there are many."""
        return len(self._buffer)

    def receive_data(self, data: bytes) -> None:
        """Take octets from the client, in pieces of any size."""
        if self.state is _CLOSED:
            return
        buffer = self._buffer
        if buffer.head:
            buffer.append(data)
        else:
            # What `append` does, without a call: most segments find all answered.
            buffer.head = data

    def receive_eof(self) -> None:
        """Take note that the client sends no more. What it sent is still answered."""
        self._is_eof = True

    def answer(self, reply: Reply | None) -> None:
        """Answer the event that waits.

        Args:
            reply: what to say; None for the reply that grants the command.

        Raises:
            ValueError: the reply makes no sense there, as a 250 where 354 is due. The
                event still waits.
            RuntimeError: no event waits.
        """
        pending = self._pending
        if pending is None:
            message = "no event waits for an answer"
            raise RuntimeError(message)
        self._pending = None
        try:
            pending(reply)
        except ValueError:
            self._pending = pending
            raise

    def close(self, reply: Reply, reason: str) -> None:
        """End the session with a reply, whatever it is doing: a timeout, a shutdown."""
        if self.state is not ServerState.CLOSED:
            self._out.append(reply.encode())
            self._end(reason)

    def abort(self, reason: str) -> None:
        """Take note that the connection is gone: nothing more is read or answered."""
        if self.state is not _CLOSED:
            self._end(reason)

    def data_to_send(self) -> bytes:
        """Return what is to be sent to the client, once."""
        out = self._out
        if not out:
            return b""
        octets = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        if self._trace is not None:
            self._trace.server_octets(octets)
        return octets

    # --------------------------------------------------------------- for the floors
    # above

    def _move(self, trigger: ServerTrigger) -> None:
        self.state = _MOVES[trigger][self.state]

    def _send(self, reply: Reply) -> None:
        self._out.append(reply.encode())

    def _respond(self, reply: Reply) -> None:
        """Send the reply to a command; errors are counted, and 421 ends the session."""
        if reply.code >= 400 and not self._is_no_fault(reply):
            self._errors += 1
            if self._errors >= self._limits.max_errors and reply.code != 421:
                reply = replies.TOO_MANY_ERRORS
        self._out.append(reply.encode())
        if reply.code == 421:
            self._end(reply.text)

    def _is_no_fault(self, reply: Reply) -> bool:
        """Tell whether a client was told to send the rest of its recipients later.

        If that counted, the tenth would end the session, and with it the transaction
        of those that were accepted: one to a thousand would never be delivered.
        """
        return reply in _REST_LATER or (
            reply.enhanced == _MAIL_FLOOD and self.state is ServerState.RCPT
        )

    def _grant(self, reply: Reply | None, default: Reply) -> bool:
        """Send an answer that came from above; tell whether it grants the command."""
        if reply is None:
            self._out.append(default.encode())
            return True
        require_final(reply)
        self._respond(reply.with_enhanced_default())
        return reply.is_positive

    def _refuse(self, shown: str, reply: Reply) -> None:
        """Refuse a line by the machine's own judgement; it is shown as given here."""
        self._queue.append(CommandRefused(shown, reply))
        self._respond(reply)

    def _end(self, reason: str, *, is_clean: bool = False) -> None:
        """Read and answer no more."""
        self._pending = None
        self._buffer.clear()
        self._skip = 0
        if self._queue:
            # Nobody will answer an event any more; what informs only is still true.
            self._queue = [e for e in self._queue if isinstance(e, _INFORMING)]
        if self._is_body_open:
            self._abort_message(reason)
        self._drop_envelope()
        self._move(_END)
        self._queue.append(ConnectionEnded(reason, is_clean))

    def _drop_envelope(self) -> None:
        if self.envelope is not None:
            self.envelope = None
            self.ended_transactions += 1

    def _abort_message(self, reason: str) -> None:
        """Tell the layer above that the message it reads will never be complete."""
        if self._is_body_open:
            self._is_body_open = False
            self._queue.append(MessageAborted(reason))

    def _open_envelope(self) -> Envelope:
        envelope = self.envelope
        if envelope is None:  # pragma: no cover - the tables rule it out
            message = "no transaction is under way"
            raise RuntimeError(message)
        return envelope

    def _dry(self) -> Stepped:
        """Wait for more input, or find that there will be none."""
        if not self._is_eof:
            return None
        is_clean = not (self.envelope or self._skip or len(self._buffer))
        self._end("the client closed the connection", is_clean=is_clean)
        return AGAIN

    def _skip_chunk(self) -> Stepped:
        """Read the octets of a refused BDAT, whose replies come at their end."""
        taken = len(self._buffer.take(self._skip))
        if not taken:
            return self._dry()
        self._skip -= taken
        if not self._skip:
            self._answer_skipped()
        return AGAIN

    def _answer_skipped(self) -> None:
        *others, last = self._skip_replies
        self._skip_replies = []
        for reply in others:
            self._send(reply)
        self._respond(last)


def require_final(reply: Reply) -> None:
    """Raise ValueError for an intermediate reply (3yz) where the command must end."""
    if reply.is_intermediate:
        message = (
            f"{reply.code} cannot be the last reply to a command: use 2yz, 4yz or 5yz"
        )
        raise ValueError(message)


def require_negative(reply: Reply, grant: str) -> None:
    """Raise ValueError for a reply that would grant a command in the wrong way."""
    if reply.code < 400:
        message = f"{reply.code} is no answer here: {grant}"
        raise ValueError(message)

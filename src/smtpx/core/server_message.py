"""How the server machine reads messages: DATA, BDAT, and LMTP's reply a recipient.

The machine owns the framing. When a message is refused before its end, by a limit or by
a bare line feed, the machine reads on to the true end, keeps nothing, and only then
answers, so that content is never run as commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpx.core.events import (
    BodyReceived,
    CommandAnswered,
    DataRequested,
    Event,
    MessageComplete,
)
from smtpx.core.server_base import (
    AGAIN,
    ServerBase,
    Stepped,
    require_final,
    require_negative,
)
from smtpx.core.states import ServerState, ServerTrigger
from smtpx.wire import replies
from smtpx.wire.commands import Bdat, Data
from smtpx.wire.framing import BareNewline, DotDecoder
from smtpx.wire.params import BodyType
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from typing import Final

__all__ = ["ServerMessage"]

_CHUNK_ANSWERED: Final = CommandAnswered("BDAT")

# Looked up once: in its class a member takes four times as long (CPython 3.11).
_BINARYMIME: Final = BodyType.BINARYMIME
_TRANSACTION_ENDED: Final = ServerTrigger.TRANSACTION_ENDED
_DATA_STARTED: Final = ServerTrigger.DATA_STARTED

# Events without anything of their own are made once.
_BY_DATA: Final = DataRequested(is_bdat=False)
_BY_BDAT: Final = DataRequested(is_bdat=True)
_COMPLETE: Final = MessageComplete()

_NEEDS_BDAT: Final = Reply(503, "5.5.1", "a BINARYMIME message is sent with BDAT")


class ServerMessage(ServerBase):
    """Reads messages; see ``ServerMachine``."""

    __slots__ = (
        "_chunk",
        "_chunk_left",
        "_content_octets",
        "_decoder",
        "_failure",
        "_line_octets",
        "_next_status",
        "_statuses",
    )

    # Of the message or chunk that is read; set where it begins.
    _decoder: DotDecoder
    _content_octets: int
    _line_octets: int
    _failure: Reply | None
    _chunk: Bdat
    _chunk_left: int
    _next_status: int
    # Empty but for a message by LMTP.
    _statuses: list[Reply | None]

    def set_status(self, index: int, reply: Reply) -> None:
        """Say what became of the message for one recipient (RFC 2033 section 4.2).

        The reply goes out once the message is complete and all recipients before this
        one have theirs. Set before the end, it is dropped if the message is aborted.

        Args:
            index: position of the recipient in the envelope.
            reply: 2yz, 4yz or 5yz.

        Raises:
            ValueError: the recipient has its status, or the reply is 3yz.
            RuntimeError: no message is under way, or this is SMTP.
        """
        if not (self._statuses and self._is_body_open):
            message = "statuses are for the recipients of an LMTP message under way"
            raise RuntimeError(message)
        if self._statuses[index] is not None:
            message = f"recipient {index} has its status already"
            raise ValueError(message)
        require_final(reply)
        self._statuses[index] = reply.with_enhanced_default()
        if self._pending is not None:
            self._send_statuses()

    # ------------------------------------------------------------- begin and end

    def _start_message(self) -> None:
        self._is_body_open = True
        self._content_octets = 0
        self._failure = None
        if self.is_lmtp:
            self._statuses = [None] * len(self._open_envelope().recipients)
            self._next_status = 0

    def _end_transaction(self) -> None:
        self._move(_TRANSACTION_ENDED)
        self._is_body_open = False
        self._failure = None
        if self._statuses:
            self._statuses = []
        self._drop_envelope()

    def _answer_message(self, reply: Reply | None) -> None:
        if reply is None:
            reply = replies.MESSAGE_ACCEPTED
        else:
            require_final(reply)
            reply = reply.with_enhanced_default()
        statuses = self._statuses
        if not statuses:
            self._end_transaction()
            if reply.code < 300:
                self._errors = 0
                self._out.append(reply.encode())
            else:
                self._respond(reply)
            return
        final = [status or reply for status in statuses]
        unsent = final[self._next_status :]
        self._end_transaction()
        if any(status.is_positive for status in final):
            self._errors = 0
        for status in unsent:
            self._send(status)
        self._count_statuses(final)

    def _count_statuses(self, statuses: list[Reply]) -> None:
        """Count what was sent, one reply for each recipient, as one error at the most.

        The number of replies is all that keeps an LMTP client in step, so none of them
        is replaced by 421; a 421 among them still ends the session, after the last.
        """
        if any(reply.code >= 400 for reply in statuses):
            self._errors += 1
        if any(reply.code == 421 for reply in statuses):
            self._end("421 to a message")

    def _send_statuses(self) -> None:
        """Send the statuses that are known, up to the first that is not."""
        for status in self._statuses[self._next_status :]:
            if status is None:
                return
            self._send(status)
            self._next_status += 1

    def _fail_message(self, reply: Reply) -> None:
        """Keep nothing of a message whose end has not come, and go on reading it."""
        self._failure = reply
        self._abort_message(reply.text)

    # ---------------------------------------------------------------------- DATA

    def _on_data(self, _command: Data) -> Event | Reply:
        envelope = self.envelope or self._open_envelope()
        if envelope.options.body is _BINARYMIME:
            return _NEEDS_BDAT
        self._pending = self._answer_data
        return _BY_DATA

    def _answer_data(self, reply: Reply | None) -> None:
        if reply is not None and reply.code != 354:
            require_negative(reply, "DATA is granted with 354")
            self._end_transaction()
            self._respond(reply.with_enhanced_default())
            return
        self._start_message()
        self._decoder = DotDecoder(self._config.bare_newline)
        self._line_octets = 0
        self._out.append((reply or replies.START_DATA).encode())
        self._move(_DATA_STARTED)

    def _next_content(self) -> Stepped:
        """Decode what arrived of a message sent by DATA, up to its true end."""
        data = self._buffer.take_all()
        if not data:
            return self._dry()
        content, consumed, is_end = self._decoder.decode(data)
        if consumed < len(data):
            self._buffer.put_back(data, consumed)
        if self._trace is not None:
            self._trace.content(len(content))
        self._content_octets += len(content)
        self._check_content(content)
        if self._failure is not None:
            if is_end:
                self._answer_failure(self._failure)
            return AGAIN
        if not is_end:
            return BodyReceived(content) if content else AGAIN
        self._await_verdict()
        if not content:
            return _COMPLETE
        self._queue.append(_COMPLETE)
        return BodyReceived(content)

    def _await_verdict(self) -> None:
        self._pending = self._answer_message
        if self._statuses:
            # LMTP: what was known before the end.
            self._send_statuses()

    def _check_content(self, content: bytes) -> None:
        """Find what is wrong with a message.

        Of several faults the first in this order is told at the end, whichever came
        first, so that the reply does not depend on how the octets were cut.
        """
        limits = self._limits
        most = limits.max_message_octets
        if most is not None and self._content_octets > most:
            self._fail_message(replies.MESSAGE_TOO_LARGE)
        elif (
            self._decoder.has_bare_newline
            and self._config.bare_newline is BareNewline.REFUSE
        ):
            self._fail_message(replies.BARE_NEWLINE)
        elif limits.max_message_line_octets is not None and self._failure is None:
            self._check_lines(content, limits.max_message_line_octets)

    def _check_lines(self, content: bytes, most: int) -> None:
        """Refuse a message with a line over the limit; a line may span many blocks."""
        first, *others = content.split(b"\n")
        longest = self._line_octets + len(first)
        if others:
            # Each line that ended here had its LF, which the split took away.
            longest = max(longest + 1, max(map(len, others[:-1]), default=0) + 1)
            self._line_octets = len(others[-1])
        else:
            self._line_octets = longest
        if max(longest, self._line_octets) > most:
            self._fail_message(Reply(550, "5.6.0", f"message line over {most} octets"))

    def _answer_failure(self, reply: Reply) -> None:
        """Refuse a message at its end: once, or in LMTP once for each recipient."""
        recipients = len(self._statuses)
        self._end_transaction()
        if recipients:
            for _ in range(recipients):
                self._send(reply)
            self._count_statuses([reply])
        else:
            self._respond(reply)

    # ---------------------------------------------------------------------- BDAT

    def _on_bdat(self, command: Bdat) -> Stepped:
        self._chunk = command
        if self.state is ServerState.BDAT:
            self._start_chunk()
            return AGAIN
        self._pending = self._answer_bdat
        return _BY_BDAT

    def _answer_bdat(self, reply: Reply | None) -> None:
        # A hook that says 354 to any message grants this one too.
        if reply is not None and reply.code != 354:
            require_negative(reply, "the first BDAT is granted with None")
            self._refuse_chunk(reply.with_enhanced_default())
            return
        self._start_message()
        self._start_chunk()

    def _start_chunk(self) -> None:
        most = self._limits.max_message_octets
        if most is not None and self._content_octets + self._chunk.size > most:
            self._abort_message(replies.MESSAGE_TOO_LARGE.text)
            self._refuse_chunk(replies.MESSAGE_TOO_LARGE)
            return
        self._chunk_left = self._chunk.size
        self._move(ServerTrigger.CHUNK_STARTED)

    def _refuse_chunk(self, reply: Reply) -> None:
        """Read a chunk to its end and keep nothing of it; the transaction is over.

        The last chunk of an LMTP message gets a reply for each recipient, as the end
        of DATA does (RFC 2033 section 4.2).
        """
        times = 1
        if self._chunk.is_last and self.is_lmtp:
            times = len(self._open_envelope().recipients)
        self._end_transaction()
        self._skip = self._chunk.size
        self._skip_replies = [reply] * times
        if not self._skip:
            self._answer_skipped()

    def _next_chunk(self) -> Stepped:
        left = self._chunk_left
        if left:
            data = self._buffer.take(left)
            if not data:
                return self._dry()
            self._chunk_left = left - len(data)
            self._content_octets += len(data)
            if self._trace is not None:
                self._trace.content(len(data))
            return BodyReceived(data)
        if self._chunk.is_last:
            self._await_verdict()
            return _COMPLETE
        self._send(Reply(250, "2.0.0", f"{self._chunk.size} octets received"))
        self._move(ServerTrigger.CHUNK_ENDED)
        return _CHUNK_ANSWERED

r"""The client's machine: commands in, octets out; octets in, replies out.

It knows what may be said when, what may share a flight, and which reply answers what.
It has no socket and no clock: whoever drives it moves the octets.

>>> from smtpx.wire.commands import Ehlo
>>> machine = ClientMachine()
>>> machine.receive_data(b"220 mx.test ESMTP\r\n")
>>> asked, reply = machine.next_reply()
>>> asked, reply.code
(<Asked.GREETING: 'greeting'>, 220)
>>> machine.send(Ehlo("client.test"))
>>> machine.data_to_send()
b'EHLO client.test\r\n'
>>> machine.receive_data(b"250-mx.test\r\n250 PIPELINING\r\n")
>>> asked, reply = machine.next_reply()
>>> asked, machine.may_pipeline
(Ehlo(name='client.test'), True)

Misuse by the driver, such as DATA before RCPT, raises `RuntimeError` and changes
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from smtpx.core.client_base import Asked, ClientBase
from smtpx.core.client_states import (
    ANY_VERB,
    CLIENT_ALLOWED,
    CLIENT_SUCCESS,
    CLIENT_TRANSITIONS,
    PIPELINED_VERBS,
    ClientState,
)
from smtpx.wire.commands import Bdat, Command, Mail, Raw, Rcpt
from smtpx.wire.octets import encode_base64
from smtpx.wire.options import ASCII_ONLY, EncodeContext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from smtpx.core.client_base import Question

__all__ = ["ClientMachine"]

_UTF8_TOO: Final = EncodeContext(smtputf8=True)

# Where the success of a verb leads, by the state before it.
_AHEAD: Final = {
    (state, verb): CLIENT_TRANSITIONS[state, trigger]
    for verb, trigger in CLIENT_SUCCESS.items()
    for state in ClientState
    if (state, trigger) in CLIENT_TRANSITIONS
}
_LAST_CHUNK: Final = "BDAT LAST"
# The same for the verbs that are allowed there, by state and then by verb.
_STEPS: Final = {
    state: {
        verb: _AHEAD.get((state, verb), state)
        for verb in (*verbs, *({_LAST_CHUNK} if "BDAT" in verbs else ()))
    }
    for state, verbs in CLIENT_ALLOWED.items()
}
# In its class a value takes ten times as long.
_FINAL_DOT: Final[str] = Asked.END_OF_CONTENT.value

_END_ASKED: Final = (Asked.END_OF_CONTENT, _FINAL_DOT)
# Members looked up once: in their class they take four times as long.
_AUTH: Final = ClientState.AUTH
_DATA: Final = ClientState.DATA


class ClientMachine(ClientBase):
    """The protocol of one connection, seen from the client.

    Args:
        is_lmtp: the end of a message is answered once for each accepted recipient
            (RFC 2033 section 4.2).
        limits: on replies.
        registry: of the extensions whose parameters MAIL and RCPT may have, where
            the server offers them.
        log: gets every line that passes, without secrets.

    Attributes:
        is_lmtp: as given.
        state: where the connection stands, as far as replies have told.
        capabilities: what the last EHLO or LHLO was answered with; nothing before,
            after HELO, and again after STARTTLS (RFC 3207 section 4.2).
        may_pipeline: whether the server takes commands in flights (RFC 2920).
        accepted: how many recipients the transaction under way has.
        mails: how many MAIL commands were sent (RFC 9422 section 4.1).
        domains: of the recipients that were named, in lower case (RFC 9422 section
            4.3); empty unless the server limits them.
        secrets: while any are set, a final reply that holds one loses its text before
            it goes to the log or an error: there are servers that repeat the password
            that they refuse.
    """

    __slots__ = ()

    def send(self, command: Command) -> None:
        """Say a command.

        Args:
            command: `Raw` ones are taken in any state that takes commands at all.

        Raises:
            RuntimeError: it is out of order, or may not share a flight with what is
                outstanding.
            UnsafeOctets: an argument holds a control octet; nothing is sent.
            BadParameter: an option has a parameter that the server does not offer.
            BadReply: the server has said something that nobody asked for.
        """
        self.send_all((command,))

    def send_all(self, commands: Iterable[Command]) -> None:
        """Say commands in one flight.

        Args:
            commands: in order.

        Raises:
            The same as `send`; what came before the command that it is about is said.
        """
        pending, out, log = self._pending, self._out, self._log
        for command in commands:
            kind, verb = type(command), command.verb
            allowed_as = verb
            if kind is Raw:
                verb, allowed_as = verb.upper(), ANY_VERB
            elif kind is Bdat and command.is_last:  # type: ignore[union-attr]
                verb = allowed_as = _LAST_CHUNK
            # Refuse what may not be sent now, before anything has changed.
            if pending:
                if not (self.may_pipeline and pending[-1][1] in PIPELINED_VERBS):
                    last = pending[-1][1]
                    raise RuntimeError(f"{verb} has to wait for the reply to {last}")
            elif self._decoder.has_partial:
                self._fail("octets that no command asked for")
            ahead = _STEPS[self._ahead].get(allowed_as)
            if ahead is None:
                allowed = ", ".join(sorted(CLIENT_ALLOWED[self._ahead] - {ANY_VERB}))
                raise RuntimeError(
                    f"{verb} is out of order: the state is {self._ahead}, where "
                    f"in order are {allowed or 'none'}"
                )
            encode = _ENCODERS.get(kind)
            line = command.encode() if encode is None else encode(self, command)
            if log is not None:
                log.client_line(line[:-2])
            out.append(line)
            pending.append((command, verb))
            if allowed_as is ANY_VERB:
                ahead = _AHEAD.get((ahead, verb), ahead)
            self._ahead = ahead

    # With the parameters that the server offers. One like the last, as those of a
    # sender often are, costs less.

    def _encode_rcpt(self, command: Rcpt) -> bytes:
        path, options = command.forward_path, command.options
        known_path, known_options, known_context, line = self._last_rcpt
        if (
            path is not known_path
            or options is not known_options
            or known_context is not self._context
        ):
            line = command.encode(self._rcpt_parameters, self._context)
            self._last_rcpt = path, options, self._context, line
        if self._counts_domains:
            self.domains.add(path.domain.lower())
        return line

    def _encode_mail(self, command: Mail) -> bytes:
        options = command.options
        path, known_options, line = self._last_mail
        if path is not command.reverse_path or known_options is not options:
            line = command.encode(self._mail_parameters)
            self._last_mail = command.reverse_path, options, line
        self.mails += 1
        self._context = _UTF8_TOO if options.smtputf8 else ASCII_ONLY
        return line

    def send_chunk(self, data: bytes | memoryview, *, is_last: bool) -> None:
        """Say BDAT, with its octets right behind it (RFC 3030 section 2).

        Raises:
            The same as `send`.
        """
        self.send(Bdat(len(data), is_last))
        self._put_content(data)

    def send_response(self, response: bytes | None) -> None:
        """Answer the challenge of a 334 (RFC 4954 section 4).

        Args:
            response: decoded; it may be empty. None cancels the exchange.

        Raises:
            RuntimeError: no 334 is open.
        """
        if self.state is not _AUTH or self._pending:
            raise RuntimeError("a response answers a 334, and none is open")
        self._out.append(b"*" if response is None else encode_base64(response))
        self._out.append(b"\r\n")
        if self._log is not None:
            self._log.client_secret()
        self._expect(Asked.RESPONSE, Asked.RESPONSE.value)

    def send_content(self, data: bytes, *, has_crlf: bool = False) -> None:
        """Send content after a 354; line ends and dots are taken care of.

        Args:
            data: any part of the message, cut anywhere.
            has_crlf: all of its line ends are CRLF; nobody looks again.

        Raises:
            RuntimeError: no 354 is open.
        """
        if self.state is not _DATA or self._pending:
            raise RuntimeError("content follows a 354, and none is open")
        encoder = self._encoder
        self._put_content(
            encoder.encode_lines(data) if has_crlf else encoder.encode(data)
        )

    def send_ready(self, data: bytes | memoryview) -> None:
        """Send content after a 354 that `smtpx.wire.framing.encode_message` wrote.

        Args:
            data: any part of it, in order; nobody looks at it again.

        Raises:
            RuntimeError: no 354 is open.
        """
        if self.state is not _DATA or self._pending:
            raise RuntimeError("content follows a 354, and none is open")
        self._put_content(data)

    def end_content(self) -> None:
        """Send the final dot.

        Raises:
            RuntimeError: no 354 is open.
        """
        if self.state is not _DATA or self._pending:
            raise RuntimeError("the final dot follows a 354, and none is open")
        self._out.append(self._encoder.finish())
        self._pending.append(_END_ASKED)
        self._ahead = _AHEAD.get((self._ahead, _FINAL_DOT), self._ahead)

    def data_to_send(self) -> bytes | memoryview:
        """Return what is to be written now, once."""
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    # The inner works.

    def _expect(self, question: Question, verb: str) -> None:
        """Note a question, and where its success would lead."""
        self._pending.append((question, verb))
        self._ahead = _AHEAD.get((self._ahead, verb), self._ahead)

    def _put_content(self, data: bytes | memoryview) -> None:
        if data:
            if self._log is not None:
                self._log.content(len(data))
            self._out.append(data)


_ENCODERS: Final[dict[type, Callable[[ClientMachine, Any], bytes]]] = {
    Mail: ClientMachine._encode_mail,
    Rcpt: ClientMachine._encode_rcpt,
}

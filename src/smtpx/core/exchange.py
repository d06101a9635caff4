"""The server's side of a SASL exchange over AUTH (RFC 4954 section 4).

A mechanism speaks octets; this puts them in base64 on lines, knows ``=`` and ``*``, and
gives data that comes with success the extra round trip that SMTP needs for it.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from smtpx.errors import BadSyntax
from smtpx.sasl.mechanism import (
    Challenge,
    Failure,
    Identity,
    Question,
    ServerMechanism,
    Step,
    Success,
)
from smtpx.wire.octets import decode_base64, encode_base64
from smtpx.wire.replies import AUTH_CANCELLED, AUTH_FAILED, BAD_BASE64, Reply

__all__ = ["SaslExchange", "Turn"]

#: What an exchange wants next: to send a 334 reply, an answer to a question, to report
#: an identity, or to end with a negative reply.
Turn: TypeAlias = Reply | Question | Identity

_CANCEL: Final = b"*"

# RFC 4954 section 4 has the code for a mechanism in which the server speaks first.
_NO_INITIAL_RESPONSE: Final = Reply(
    501, "5.7.0", "this mechanism has no initial response"
)


class SaslExchange:
    """One AUTH command from its beginning to its end.

    Args:
        mechanism: a fresh one; it is good for this exchange only.
    """

    __slots__ = ("_identity", "_mechanism")

    def __init__(self, mechanism: ServerMechanism) -> None:
        self._mechanism = mechanism
        # Set when all is done but the client's empty answer to the last data.
        self._identity: Identity | None = None

    @property
    def name(self) -> str:
        """The name of the mechanism."""
        return self._mechanism.name

    def start(self, initial_response: bytes | None) -> Turn:
        """Begin, with the initial response of the AUTH command if it had one."""
        if initial_response is not None and self._mechanism.speaks_first:
            return _NO_INITIAL_RESPONSE
        return self._take(self._mechanism.start(initial_response))

    def respond(self, line: bytes) -> Turn:
        """Take a line of the client: base64, or ``*`` to cancel."""
        if line == _CANCEL:
            return AUTH_CANCELLED
        try:
            response = decode_base64(line)
        except BadSyntax:
            return BAD_BASE64
        if self._identity is not None:
            return AUTH_FAILED if response else self._identity
        return self._take(self._mechanism.respond(response))

    def resume(self, answer: object) -> Turn:
        """Go on with the answer to the question that was asked last."""
        return self._take(self._mechanism.resume(answer))

    def _take(self, step: Step) -> Turn:
        if isinstance(step, Challenge):
            return _challenge(step.data)
        if isinstance(step, Success):
            if step.data is None:
                return step.identity
            # RFC 4954 section 4: SMTP cannot carry data with its 235, so it goes out as
            # a challenge, to which the client says nothing.
            self._identity = step.identity
            return _challenge(step.data)
        if isinstance(step, Failure):
            return AUTH_FAILED
        return step


def _challenge(data: bytes) -> Reply:
    return Reply(334, None, encode_base64(data).decode("ascii"))

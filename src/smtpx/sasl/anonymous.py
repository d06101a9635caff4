"""ANONYMOUS: nobody in particular, with a word of who to ask (RFC 4505)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from smtpx.errors import SASLError
from smtpx.sasl.mechanism import (
    ClientMechanism,
    Failure,
    Identity,
    Proof,
    Question,
    Step,
    SteppedServer,
    Success,
    decode_text,
)
from smtpx.sasl.prepare import prepare_trace

__all__ = ["ANONYMOUS_USER", "AdmitAnonymous", "AnonymousClient", "AnonymousServer"]

#: The name under which such clients go.
ANONYMOUS_USER: Final = "anonymous"


@dataclass(frozen=True, slots=True)
class AdmitAnonymous(Question):
    """Whether a client may come in without a name. The answer is True or False.

    Attributes:
        trace: what it says of itself: an address, or any word, or nothing. It is
            for the log, and may be false.

    >>> AdmitAnonymous("sirhc")
    AdmitAnonymous(trace='sirhc')
    """

    trace: str


class AnonymousServer(SteppedServer):
    """The server's end of ANONYMOUS (RFC 4505 section 2).

    >>> server = AnonymousServer()
    >>> server.start(b"sirhc")
    AdmitAnonymous(trace='sirhc')
    >>> server.resume(True).identity.user
    'anonymous'
    """

    name: ClassVar[str] = "ANONYMOUS"
    shows_password: ClassVar[bool] = False
    asks: ClassVar[type[Question] | None] = AdmitAnonymous

    def _take_first(self, response: bytes) -> Step:
        trace = decode_text(response) if response else ""
        if trace is None:
            return Failure("malformed trace text")
        if trace:
            try:
                prepare_trace(trace)
            except SASLError as error:
                return Failure(str(error))
        return self._ask(AdmitAnonymous(trace), self._take_verdict)

    def _take_verdict(self, answer: object) -> Step:
        # Not by truth: a coroutine that nobody awaited is true.
        if answer is True:
            return Success(Identity(ANONYMOUS_USER, "", self.name))
        return Failure("not admitted")


class AnonymousClient(ClientMechanism):
    """The client's end of ANONYMOUS (RFC 4505 section 2).

    The user's name is sent as the trace text: an address is given away only by who
    puts it there.

    >>> from smtpx.sasl.mechanism import Credentials
    >>> AnonymousClient(Credentials("sirhc", "")).start()
    b'sirhc'
    """

    name: ClassVar[str] = "ANONYMOUS"
    shows_password: ClassVar[bool] = False
    proof: ClassVar[Proof] = Proof.NOTHING
    is_default: ClassVar[bool] = False

    _is_sent = False

    def start(self) -> bytes | None:
        """Send the trace text, which may be empty."""
        trace = self._credentials.user
        response = prepare_trace(trace).encode("utf-8") if trace else b""
        self._is_sent = True
        return response

    def respond(self, challenge: bytes) -> bytes:
        """Refuse: everything was said in the initial response."""
        raise SASLError("the server sends a challenge, which ANONYMOUS has not")

    def succeed(self, data: bytes | None = None) -> None:
        """Check that it was asked before."""
        if not self._is_sent or data:
            raise SASLError("the server is out of step with ANONYMOUS")

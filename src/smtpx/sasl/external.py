"""EXTERNAL: what the channel has shown already (RFC 4422 appendix A).

Most often that is a client certificate under TLS, or the user at the other end of a
unix socket. The mechanism carries no proof; it says "I am who you know I am".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

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
    decode_name,
    encode_text,
)

__all__ = ["ExternalClient", "ExternalServer", "IdentifyChannel"]


@dataclass(frozen=True, slots=True)
class IdentifyChannel(Question):
    """Who is at the other end. The answer is the user's name, None if it is not known.

    Attributes:
        authorize_as: the identity asked for, empty if none is.

    >>> IdentifyChannel("fred@example.com").authorize_as
    'fred@example.com'
    """

    authorize_as: str


class ExternalServer(SteppedServer):
    """The server's end of EXTERNAL (RFC 4422 appendix A.1).

    >>> server = ExternalServer()
    >>> server.start(b"")
    IdentifyChannel(authorize_as='')
    >>> server.resume("fred@example.com").identity.user
    'fred@example.com'
    """

    name: ClassVar[str] = "EXTERNAL"
    shows_password: ClassVar[bool] = False
    asks: ClassVar[type[Question] | None] = IdentifyChannel

    def _take_first(self, response: bytes) -> Step:
        authorize_as = decode_name(response) if response else ""
        if authorize_as is None:
            return Failure("malformed name")
        self._authorize_as = authorize_as
        return self._ask(IdentifyChannel(authorize_as), self._take_user)

    def _take_user(self, answer: object) -> Step:
        if isinstance(answer, str) and answer:
            return Success(Identity(answer, self._authorize_as, self.name))
        return Failure("the channel does not tell who the client is")


class ExternalClient(ClientMechanism):
    """The client's end of EXTERNAL (RFC 4422 appendix A.1).

    >>> from smtpx.sasl.mechanism import Credentials
    >>> ExternalClient(Credentials("", "", "fred@example.com")).start()
    b'fred@example.com'
    """

    name: ClassVar[str] = "EXTERNAL"
    shows_password: ClassVar[bool] = False
    proof: ClassVar[Proof] = Proof.CHANNEL

    _is_sent = False

    def start(self) -> bytes | None:
        """Say whom to act as; nothing, to leave that to the server."""
        name = self._credentials.authorize_as
        response = encode_text(name, "authorize_as name") if name else b""
        self._is_sent = True
        return response

    def respond(self, challenge: bytes) -> bytes:
        """Refuse: everything was said in the initial response."""
        raise SASLError("the server sends a challenge, which EXTERNAL has not")

    def succeed(self, data: bytes | None = None) -> None:
        """Check that it was asked before."""
        if not self._is_sent or data:
            raise SASLError("the server is out of step with EXTERNAL")

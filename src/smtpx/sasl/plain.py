"""PLAIN: name and password in one message (RFC 4616)."""

from __future__ import annotations

from typing import ClassVar, Final

from smtpx.errors import SASLError
from smtpx.sasl.mechanism import (
    Challenge,
    CheckPassword,
    ClientMechanism,
    Failure,
    Identity,
    Question,
    ServerMechanism,
    Step,
    Success,
    decode_name,
    decode_text,
    encode_text,
)

__all__ = ["PasswordServer", "PlainClient", "PlainServer"]

# message = [authzid] UTF8NUL authcid UTF8NUL passwd
_FIELDS: Final = 3


class PasswordServer(ServerMechanism):
    """What servers of mechanisms that show a password have in common."""

    shows_password: ClassVar[bool] = True
    asks: ClassVar[type[Question] | None] = CheckPassword

    def __init__(self) -> None:
        self._identity: Identity | None = None

    def _ask(self, user: bytes, password: bytes, authorize_as: bytes = b"") -> Step:
        """Ask whether the password is right."""
        user_name = decode_name(user)
        authorize_name = decode_name(authorize_as) if authorize_as else ""
        # An empty password is refused here: many a directory takes a bind without
        # one for anonymous, and says that it succeeded.
        password_text = decode_text(password)
        if user_name is None or password_text is None or authorize_name is None:
            return Failure("malformed name or password")
        self._identity = Identity(user_name, authorize_name, self.name)
        return CheckPassword(user_name, password_text, authorize_name)

    def resume(self, answer: object) -> Step:
        """Go on with the answer; True alone lets the client in.

        Raises:
            RuntimeError: no question is open.
        """
        identity, self._identity = self._identity, None
        if identity is None:
            raise RuntimeError(f"{self.name} asked no question")
        # Not by truth: a coroutine that nobody awaited is true.
        return Success(identity) if answer is True else Failure("wrong password")


class PlainServer(PasswordServer):
    r"""The server's end of PLAIN (RFC 4616 section 2).

    >>> server = PlainServer()
    >>> server.start(b"\0user\0pencil")
    CheckPassword(user='user', authorize_as='')
    >>> server.resume(True).identity
    Identity(user='user', authorize_as='', mechanism='PLAIN')
    """

    name: ClassVar[str] = "PLAIN"

    def start(self, initial_response: bytes | None) -> Step:
        """Begin; without an initial response, an empty challenge asks for it."""
        if initial_response is None:
            return Challenge(b"")
        return self.respond(initial_response)

    def respond(self, response: bytes) -> Step:
        """Take the one message there is."""
        fields = response.split(b"\0")
        if len(fields) != _FIELDS:
            return Failure("malformed message")
        authorize_as, user, password = fields
        return self._ask(user, password, authorize_as)


class PlainClient(ClientMechanism):
    r"""The client's end of PLAIN (RFC 4616 section 2).

    >>> from smtpx.sasl.mechanism import Credentials
    >>> PlainClient(Credentials("user", "pencil")).start()
    b'\x00user\x00pencil'
    """

    name: ClassVar[str] = "PLAIN"
    shows_password: ClassVar[bool] = True

    _is_sent = False

    def start(self) -> bytes | None:
        """Send the message at once, as every server must allow."""
        credentials = self._credentials
        authorize_as = b""
        if credentials.authorize_as:
            authorize_as = encode_text(credentials.authorize_as, "authorize_as name")
        user = encode_text(credentials.user, "user name")
        password = encode_text(credentials.password, "password")
        self._is_sent = True
        return b"\0".join((authorize_as, user, password))

    def respond(self, challenge: bytes) -> bytes:
        """Refuse: everything was said in the initial response."""
        raise SASLError("the server sends a challenge, which PLAIN has not")

    def succeed(self, data: bytes | None = None) -> None:
        """Check that the message was sent before."""
        if not self._is_sent or data:
            raise SASLError("the server is out of step with PLAIN")

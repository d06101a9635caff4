"""LOGIN: name, then password, each upon a prompt.

It never became an RFC; PLAIN does the same in fewer steps. It is here because clients
and servers remain that know no other mechanism. What is open is decided as RFC 4954
section 4 does for all mechanisms.
"""

from __future__ import annotations

from typing import ClassVar

from smtpx.errors import SASLError
from smtpx.sasl.mechanism import Challenge, ClientMechanism, Step, encode_text
from smtpx.sasl.plain import PasswordServer

__all__ = ["LoginClient", "LoginServer"]


class LoginServer(PasswordServer):
    """The server's end of LOGIN.

    >>> server = LoginServer()
    >>> server.start(None)
    Challenge(data=b'Username:')
    >>> server.respond(b"user")
    Challenge(data=b'Password:')
    >>> server.respond(b"pencil")
    CheckPassword(user='user', authorize_as='')
    """

    name: ClassVar[str] = "LOGIN"

    def __init__(self) -> None:
        super().__init__()
        self._user: bytes | None = None

    def start(self, initial_response: bytes | None) -> Step:
        """Begin.

        Lenient: an initial response is the name, as Outlook sends it, though RFC 4954
        section 4 has none for a mechanism in which the server speaks first.
        """
        if initial_response is None:
            # The prompts of every server there is; some clients look for them.
            return Challenge(b"Username:")
        return self.respond(initial_response)

    def respond(self, response: bytes) -> Step:
        """Take the name, then the password."""
        if self._user is None:
            self._user = response
            return Challenge(b"Password:")
        return self._ask(self._user, response)


class LoginClient(ClientMechanism):
    """The client's end of LOGIN.

    Prompts are answered in order whatever they say: servers word them in many ways.
    There is no initial response, since not every server understands one.

    >>> from smtpx.sasl.mechanism import Credentials
    >>> client = LoginClient(Credentials("user", "pencil"))
    >>> client.start(), client.respond(b"Username:"), client.respond(b"Password:")
    (None, b'user', b'pencil')
    """

    name: ClassVar[str] = "LOGIN"
    shows_password: ClassVar[bool] = True

    _responses: tuple[bytes, ...] | None = None

    def start(self) -> bytes | None:
        """Wait for the prompts."""
        credentials = self._credentials
        if credentials.authorize_as:
            raise SASLError("LOGIN has no authorize_as name; use PLAIN")
        self._responses = (
            encode_text(credentials.user, "user name"),
            encode_text(credentials.password, "password"),
        )
        return None

    def respond(self, challenge: bytes) -> bytes:
        """Answer the next prompt."""
        if not self._responses:
            raise SASLError("the server prompts more often than LOGIN does")
        response, *rest = self._responses
        self._responses = tuple(rest)
        return response

    def succeed(self, data: bytes | None = None) -> None:
        """Check that the password was sent before."""
        if self._responses != () or data:
            raise SASLError("the server is out of step with LOGIN")

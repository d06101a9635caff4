"""What a SASL mechanism is, on both ends (RFC 4422).

A mechanism is a step object: octets in, a step out, no I/O and no waiting. Base64,
``AUTH`` and reply codes are the business of SMTP (RFC 4954), not of a mechanism.

A server's mechanism knows no users. When it needs to know something, its step is a
`Question`; whoever runs it finds the answer, in any time it takes, and gives it to
`ServerMechanism.resume`. So one mechanism serves a dictionary, a database and a remote
service, and cannot forget to await one.

Secrets are kept out of every repr.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from smtpx.errors import SASLError

__all__ = [
    "Challenge",
    "CheckPassword",
    "ClientMechanism",
    "Credentials",
    "Failure",
    "Identity",
    "Question",
    "ServerMechanism",
    "Step",
    "Success",
]

# A name is written to logs and trace fields. Strict: RFC 4616 section 2 forbids NUL
# only; a control or a line separator would forge a line there.
_UNSAFE_NAME = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client has shown to be.

    Attributes:
        user: the name whose password or proof was right (authentication identity).
        authorize_as: the name that the client asks to act as (authorization
            identity); empty if it did not ask. Who may act for whom is for the
            session to say.
        mechanism: name of the mechanism that was used.

    >>> Identity("kurt", authorize_as="ursel", mechanism="PLAIN").user
    'kurt'
    """

    user: str
    authorize_as: str
    mechanism: str


@dataclass(frozen=True, slots=True)
class Challenge:
    """The server sends octets, maybe none, and waits for a response.

    Attributes:
        data: to be sent, not yet in base64.
    """

    data: bytes


@dataclass(frozen=True, slots=True)
class Question:
    """The mechanism needs an answer before it can go on; the root of such steps."""


@dataclass(frozen=True, slots=True)
class CheckPassword(Question):
    """Whether a password is right. The answer is True or False.

    Attributes:
        user: name of the user; UTF-8 as the client sent it, not prepared in any way.
        password: never empty, never in a repr.
        authorize_as: the identity asked for, empty if none is.

    >>> CheckPassword("user", "pencil", "")
    CheckPassword(user='user', authorize_as='')
    """

    user: str
    password: str = field(repr=False)
    authorize_as: str


@dataclass(frozen=True, slots=True)
class Success:
    """The client is who it says.

    Attributes:
        identity: who that is.
        data: what the mechanism has the server send along with its success, or None.
    """

    identity: Identity
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The client is not who it says, or breaks the mechanism's grammar.

    Attributes:
        text: why, for the server's log. It is not for the client, to whom all
            failures look alike, and holds nothing that the client sent.
    """

    text: str


Step: TypeAlias = Challenge | Question | Success | Failure


class ServerMechanism(ABC):
    """The server's end of one authentication exchange.

    Call `start` once, then `respond` after each `Challenge` and `resume` after each
    `Question`, until the step is `Success` or `Failure`.

    Attributes:
        name: as EHLO lists it, in upper case.
        shows_password: whether somebody who reads along learns the password; such a
            mechanism wants TLS.
    """

    name: ClassVar[str]
    shows_password: ClassVar[bool]

    @abstractmethod
    def start(self, initial_response: bytes | None) -> Step:
        """Begin the exchange.

        Args:
            initial_response: what came with the AUTH command; None if nothing did,
                which is not the same as an empty one (RFC 4954 section 4).

        Returns:
            The first step.
        """

    @abstractmethod
    def respond(self, response: bytes) -> Step:
        """Go on with the client's response to a challenge.

        Args:
            response: its octets, out of base64.

        Returns:
            The next step.
        """

    @abstractmethod
    def resume(self, answer: object) -> Step:
        """Go on with the answer to a question.

        Args:
            answer: what the question's class says.

        Returns:
            The next step.
        """


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client authenticates with.

    Attributes:
        user: name of the user.
        password: or a token; never in a repr.
        authorize_as: the identity to act as; empty to leave it to the server.

    >>> Credentials("user", "pencil")
    Credentials(user='user', authorize_as='')
    """

    user: str
    password: str = field(repr=False)
    authorize_as: str = ""


class ClientMechanism(ABC):
    """The client's end of one authentication exchange.

    Call `start` once, `respond` for each challenge, and `succeed` when the server says
    that it is satisfied.

    Attributes:
        name: as EHLO lists it, in upper case.
        shows_password: whether somebody who reads along learns the password; such a
            mechanism wants TLS.
    """

    name: ClassVar[str]
    shows_password: ClassVar[bool]

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    @abstractmethod
    def start(self) -> bytes | None:
        """Begin the exchange.

        Returns:
            The initial response; None if the mechanism has none, as when the server
            speaks first.

        Raises:
            SASLError: the credentials cannot be used with this mechanism.
        """

    @abstractmethod
    def respond(self, challenge: bytes) -> bytes:
        """Answer a challenge.

        Args:
            challenge: its octets, out of base64.

        Returns:
            The response.

        Raises:
            SASLError: no such challenge belongs here; cancel the exchange.
        """

    @abstractmethod
    def succeed(self, data: bytes | None = None) -> None:
        """Check that the server may say that the exchange succeeded.

        Args:
            data: what it sent along, if anything.

        Raises:
            SASLError: it says so too early, or did not prove that it is the server
                that it should be. Close the connection.
        """


def decode_text(octets: bytes) -> str | None:
    """Decode UTF-8 that holds no NUL; None if it is empty or anything else."""
    if not octets or b"\0" in octets:
        return None
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return None


def decode_name(octets: bytes) -> str | None:
    """Decode a name; None if it is empty, no UTF-8 or holds a control character."""
    text = decode_text(octets)
    return None if text is None or _UNSAFE_NAME.search(text) else text


def encode_text(text: str, what: str) -> bytes:
    """Encode a name or password as UTF-8.

    Args:
        text: from the credentials.
        what: names it in the error, which never shows it.

    Raises:
        SASLError: it is empty, holds a NUL, or has no encoding.
    """
    try:
        octets = text.encode("utf-8")
    except UnicodeEncodeError:
        # Without the cause, whose text shows what could not be encoded.
        raise SASLError(f"the {what} holds a lone surrogate") from None
    if not octets or b"\0" in octets:
        raise SASLError(f"the {what} is empty or holds a NUL")
    return octets

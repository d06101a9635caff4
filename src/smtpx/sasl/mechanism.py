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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from types import MappingProxyType
from typing import ClassVar, TypeAlias

from smtpx.errors import SASLError

__all__ = [
    "NO_CONTEXT",
    "Challenge",
    "CheckPassword",
    "ClientContext",
    "ClientMechanism",
    "Credentials",
    "DescribeSession",
    "Failure",
    "Identity",
    "Proof",
    "Question",
    "ServerMechanism",
    "SessionFacts",
    "Step",
    "SteppedServer",
    "Success",
    "decode_name",
    "decode_text",
    "encode_text",
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
class DescribeSession(Question):
    """What chance, time and the channel give. The answer is a `SessionFacts`.

    A mechanism has no randomness, no clock and no socket of its own, so it asks for
    theirs too. It is the server that answers this, not who writes a session.

    Attributes:
        mechanism: who asks.
        channel_binding: the type of channel binding whose data is wanted (RFC 5929),
            such as ``tls-server-end-point``; empty for none.

    >>> DescribeSession("SCRAM-SHA-256-PLUS", "tls-server-end-point").mechanism
    'SCRAM-SHA-256-PLUS'
    """

    mechanism: str
    channel_binding: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """The answer to `DescribeSession`.

    Attributes:
        nonce: printable ASCII without a comma, random, at least 128 bits of it, and
            never given before.
        secret: the server's own, the same in all its processes and after a restart. It
            keys what is made up for users that do not exist.
        unix_time: now, in seconds since 1970.
        hostname: what the server calls itself.
        iterations: of PBKDF2, for users that do not exist.
        offers_binding: whether the session also offers the -PLUS form of the mechanism
            that asks (RFC 5802 section 6).
        channel_bindings: the data of the type that was asked for. Any of them is
            right, as a server may have several certificates; none at all if it has no
            such data.

    >>> SessionFacts(
    ...     nonce=b"3rfcNHYJY1ZVvWVs7j", secret=b"x" * 32, unix_time=0, hostname="mx"
    ... )
    SessionFacts(unix_time=0, hostname='mx', iterations=4096, offers_binding=False)
    """

    nonce: bytes = field(repr=False)
    secret: bytes = field(repr=False)
    unix_time: int
    hostname: str
    iterations: int = 4096
    offers_binding: bool = False
    channel_bindings: tuple[bytes, ...] = field(default=(), repr=False)


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
        asks: the question about users that it will ask. A server offers it only to
            sessions that can answer; None: it can always be offered.
        binds_channel: whether it is of use under TLS only, to which it ties the proof.
        speaks_first: the server speaks first, so an AUTH command with an initial
            response is refused (RFC 4954 section 4).
    """

    name: ClassVar[str]
    shows_password: ClassVar[bool]
    asks: ClassVar[type[Question] | None] = None
    binds_channel: ClassVar[bool] = False
    speaks_first: ClassVar[bool] = False

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


class SteppedServer(ServerMechanism):
    """A server's end that is written as one method for each step.

    What comes next, a response or an answer, goes to the method that was named last.
    The first response goes to ``_take_first``.
    """

    def __init__(self) -> None:
        self._on_response: Callable[[bytes], Step] | None = self._take_first
        self._on_answer: Callable[[object], Step] | None = None

    @abstractmethod
    def _take_first(self, response: bytes) -> Step:
        """Take the first message of the client."""

    def start(self, initial_response: bytes | None) -> Step:
        """Begin; without an initial response, an empty challenge asks for it."""
        if initial_response is None:
            return Challenge(b"")
        return self.respond(initial_response)

    def respond(self, response: bytes) -> Step:
        """Go on with the client's response to a challenge.

        Raises:
            RuntimeError: no challenge is open.
        """
        take, self._on_response = self._on_response, None
        if take is None:
            raise RuntimeError(f"{self.name} waits for no response")
        return take(response)

    def resume(self, answer: object) -> Step:
        """Go on with the answer to a question.

        Raises:
            RuntimeError: no question is open.
        """
        take, self._on_answer = self._on_answer, None
        if take is None:
            raise RuntimeError(f"{self.name} asked no question")
        return take(answer)

    def _ask(self, question: Question, take: Callable[[object], Step]) -> Step:
        self._on_answer = take
        return question

    def _challenge(self, data: bytes, take: Callable[[bytes], Step]) -> Step:
        self._on_response = take
        return Challenge(data)

    def _describe(
        self, take: Callable[[SessionFacts], Step], binding: str = ""
    ) -> Step:
        """Ask for the facts of the session."""

        def check(answer: object) -> Step:
            if not isinstance(answer, SessionFacts):
                raise TypeError("DescribeSession is answered with SessionFacts")
            return take(answer)

        return self._ask(DescribeSession(self.name, binding), check)


@unique
class Proof(StrEnum):
    """What a client proves itself with: which mechanisms fit which credentials."""

    PASSWORD = "password"  # noqa: S105 - the name of a kind, no password
    TOKEN = "token"  # noqa: S105 - likewise
    """An OAuth access token."""

    CHANNEL = "channel"
    """What the channel has shown already, such as a client certificate under TLS."""

    NOTHING = "nothing"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientContext:
    """What chance and the channel give to a client's mechanism.

    Attributes:
        nonce: printable ASCII without a comma, random, at least 128 bits of it, and
            never given before.
        host: the server's name as the client knows it; empty if it has none.
        port: of TCP, 0 if there is none.
        channel_bindings: data of each type of channel binding there is, the best
            first (RFC 5929). Empty without TLS.
        misses_binding: the client would bind the channel, but the server offers no
            -PLUS mechanism to do it with. The server is told so, and knows better if
            somebody on the path took it from the offer (RFC 5802 section 6).

    >>> ClientContext(nonce=b"fyko+d2lbbFgONRv9qkxdawL", host="mx.test", port=587)
    ClientContext(host='mx.test', port=587, misses_binding=False)
    """

    nonce: bytes = field(default=b"", repr=False)
    host: str = ""
    port: int = 0
    channel_bindings: Mapping[str, bytes] = field(
        default_factory=lambda: MappingProxyType({}), repr=False
    )
    misses_binding: bool = False


NO_CONTEXT = ClientContext()


class ClientMechanism(ABC):
    """The client's end of one authentication exchange.

    Call `start` once, `respond` for each challenge, and `succeed` when the server says
    that it is satisfied.

    Attributes:
        name: as EHLO lists it, in upper case.
        shows_password: whether somebody who reads along learns the password; such a
            mechanism wants TLS.
        proof: what it proves the user with.
        is_default: whether it is tried without being asked for by name.
        binds_channel: whether it needs TLS, to which it ties the proof.
    """

    name: ClassVar[str]
    shows_password: ClassVar[bool]
    proof: ClassVar[Proof] = Proof.PASSWORD
    is_default: ClassVar[bool] = True
    binds_channel: ClassVar[bool] = False

    def __init__(
        self, credentials: Credentials, context: ClientContext = NO_CONTEXT
    ) -> None:
        self._credentials = credentials
        self._context = context

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

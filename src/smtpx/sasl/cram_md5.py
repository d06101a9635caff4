"""CRAM-MD5: a keyed digest of the server's challenge (RFC 2195).

It hides the password from listeners, but not from those who then guess: a guess costs
one MD5. And the server has to keep the password itself. SCRAM is better at both; this
is for peers that know no other.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import ClassVar

from smtpx.errors import SASLError
from smtpx.sasl.mechanism import (
    ClientMechanism,
    Failure,
    Identity,
    Question,
    SessionFacts,
    Step,
    SteppedServer,
    Success,
    decode_name,
    encode_text,
)

__all__ = ["CramMd5Client", "CramMd5Server", "LookupPassword"]

# user name, a space, and 16 octets in lower-case hexadecimal
_RESPONSE = re.compile(rb"(?P<user>.+) (?P<digest>[0-9a-f]{32})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class LookupPassword(Question):
    """The password of a user, readable. The answer is it, or None for no such user.

    Attributes:
        user: name of the user; UTF-8 as the client sent it, not prepared in any way.

    >>> LookupPassword("tim")
    LookupPassword(user='tim')
    """

    user: str


class CramMd5Server(SteppedServer):
    """The server's end of CRAM-MD5 (RFC 2195 section 2)."""

    name: ClassVar[str] = "CRAM-MD5"
    shows_password: ClassVar[bool] = False
    asks: ClassVar[type[Question] | None] = LookupPassword
    speaks_first: ClassVar[bool] = True

    def start(self, initial_response: bytes | None) -> Step:
        """Begin with a challenge; an initial response is a failure."""
        if initial_response is not None:
            return Failure("an initial response, which CRAM-MD5 has not")
        return self._describe(self._take_facts)

    def _take_facts(self, facts: SessionFacts) -> Step:
        host = facts.hostname.encode("utf-8", "replace")
        # In the form of a msg-id, which some clients check.
        self._text = b"<%b.%d@%b>" % (facts.nonce, facts.unix_time, host)
        self._secret = facts.secret
        return self._challenge(self._text, self._take_first)

    def _take_first(self, response: bytes) -> Step:
        match = _RESPONSE.fullmatch(response)
        user = None if match is None else decode_name(match["user"])
        if match is None or user is None:
            return Failure("malformed response")
        self._user, self._digest = user, match["digest"]
        return self._ask(LookupPassword(user), self._take_password)

    def _take_password(self, answer: object) -> Step:
        # Nobody can log in with an empty password, whose digest anybody can make.
        is_known = isinstance(answer, str) and answer != ""
        # An unknown user costs the same, and fails though the digest were right.
        key = answer.encode("utf-8") if isinstance(answer, str) else self._secret
        is_right = hmac.compare_digest(_digest(key, self._text), self._digest)
        if is_known and is_right:
            return Success(Identity(self._user, "", self.name))
        return Failure("wrong digest")


class CramMd5Client(ClientMechanism):
    """The client's end of CRAM-MD5 (RFC 2195 section 2).

    It is not tried unless asked for: who can make a client use it, such as somebody on
    the path who removes STARTTLS and SCRAM from the offer, can guess the password at
    billions of tries a second. And many servers offer it that keep hashes, so that it
    never succeeds.

    >>> from smtpx.sasl.mechanism import Credentials
    >>> client = CramMd5Client(Credentials("tim", "tanstaaftanstaaf"))
    >>> client.start()
    >>> client.respond(b"<1896.697170952@postoffice.reston.mci.net>")
    b'tim b913a602c7eda7a495b4e6e7334d3890'
    """

    name: ClassVar[str] = "CRAM-MD5"
    shows_password: ClassVar[bool] = False
    is_default: ClassVar[bool] = False

    _user: bytes | None = None
    _is_sent = False

    def start(self) -> bytes | None:
        """Wait for the challenge."""
        credentials = self._credentials
        if credentials.authorize_as:
            raise SASLError("CRAM-MD5 has no authorize_as name; use SCRAM or PLAIN")
        self._user = encode_text(credentials.user, "user name")
        self._key = encode_text(credentials.password, "password")
        return None

    def respond(self, challenge: bytes) -> bytes:
        """Answer the one challenge there is."""
        if self._user is None or self._is_sent or not challenge:
            raise SASLError("the server is out of step with CRAM-MD5")
        self._is_sent = True
        return b"%b %b" % (self._user, _digest(self._key, challenge))

    def succeed(self, data: bytes | None = None) -> None:
        """Check that the challenge was answered before."""
        if not self._is_sent or data:
            raise SASLError("the server is out of step with CRAM-MD5")


def _digest(key: bytes, text: bytes) -> bytes:
    return hmac.new(key, text, "md5").hexdigest().encode("ascii")

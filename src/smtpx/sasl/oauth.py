"""OAuth access tokens: OAUTHBEARER (RFC 7628), and XOAUTH2 that was before it.

A token is all it takes, so both want TLS. A client whose token is refused is told why
in JSON; it then says a word without a meaning, as SASL has no room for reasons in the
outcome of an exchange (RFC 7628 section 3.2.3).
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from smtpx.errors import SASLError
from smtpx.sasl.gs2 import encode_gs2_header, take_gs2_header
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

__all__ = [
    "CheckToken",
    "OAuthBearerClient",
    "OAuthBearerServer",
    "TokenRefused",
    "XOAuth2Client",
    "XOAuth2Server",
]

# What RFC 7628 section 3.1 takes from HTTP: the scheme in any case, and a b64token.
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
_BEARER = re.compile(rb"(?i:bearer) +(?P<token>[A-Za-z0-9._~+/-]+=*)")
# *kvpair kvsep, behind the header's own kvsep
_PAIRS = re.compile(rb"\x01(?P<pairs>(?:[A-Za-z]+=[\t\r\n -~]*\x01)*)\x01")
_XOAUTH2 = re.compile(rb"user=(?P<user>[^\x01]*)\x01auth=(?P<auth>[^\x01]*)\x01\x01")
# A positive number without leading zeros; ports end at 65535.
_PORT = re.compile(rb"[1-9][0-9]{0,4}")
_HOST = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class CheckToken(Question):
    """Whose token it is. The answer is the user's name, or a `TokenRefused`, or None.

    Attributes:
        user: whom the client asks to act as; empty if it leaves that to the token.
        token: never in a repr. Empty if the client has none and asks what it needs: it
            is then refused whatever the answer, so that a `TokenRefused` tells it.
        host: the server's name as the client knows it; empty if it did not say. Who
            knows what it must be compares it (RFC 7628 section 3.2).
        port: likewise; 0 if it did not say.

    >>> CheckToken("user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")
    CheckToken(user='user@example.com', host='', port=0)
    """

    user: str
    token: str = field(repr=False)
    host: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True)
class TokenRefused:
    """Why a token is refused, as the client is told (RFC 7628 section 3.2.2).

    Attributes:
        status: an error code of OAuth, such as ``invalid_token``.
        scope: that a token needs; empty: none.
        openid_configuration: URL of the document that says where to get one; empty:
            not told.

    >>> TokenRefused(scope="mail").status
    'invalid_token'
    """

    status: str = "invalid_token"
    scope: str = ""
    openid_configuration: str = ""


class OAuthServer(SteppedServer):
    """What both servers have in common."""

    shows_password: ClassVar[bool] = True
    asks: ClassVar[type[Question] | None] = CheckToken

    def _check(self, question: CheckToken) -> Step:
        self._question = question
        return self._ask(question, self._take_verdict)

    def _take_verdict(self, answer: object) -> Step:
        question = self._question
        # A check that is wrong about no token at all must not let everybody in.
        if isinstance(answer, str) and answer and question.token:
            return Success(Identity(answer, question.user, self.name))
        refused = answer if isinstance(answer, TokenRefused) else TokenRefused()
        data = json.dumps(self._describe_refusal(refused), separators=(",", ":"))
        return self._challenge(data.encode("ascii"), self._take_dummy)

    @abstractmethod
    def _describe_refusal(self, refused: TokenRefused) -> dict[str, str]:
        """Return what the client is told."""

    def _take_dummy(self, response: bytes) -> Step:
        """Fail, whatever the client says."""
        return Failure("wrong token")


class OAuthBearerServer(OAuthServer):
    r"""The server's end of OAUTHBEARER (RFC 7628).

    >>> server = OAuthBearerServer()
    >>> server.start(b"n,a=ann@example.com,\1host=mx.test\1auth=Bearer abc\1\1")
    CheckToken(user='ann@example.com', host='mx.test', port=0)
    >>> server.resume(None)
    Challenge(data=b'{"status":"invalid_token"}')
    """

    name: ClassVar[str] = "OAUTHBEARER"

    def _take_first(self, response: bytes) -> Step:
        found = take_gs2_header(response)
        if found is None or found[0].channel_binding:
            return Failure("malformed GS2 header, or one with channel binding")
        header, rest = found
        match = _PAIRS.fullmatch(rest)
        if match is None:
            return Failure("malformed key and value pairs")
        pairs = [pair.partition(b"=") for pair in match["pairs"].split(b"\x01")[:-1]]
        values = {key: value for key, _, value in pairs}
        # Two tokens: one would be looked at by us, the other one by somebody else.
        if len(values) < len(pairs) or b"auth" not in values:
            return Failure("no auth value, or a key given twice")
        authorization = values[b"auth"]
        match = _BEARER.fullmatch(authorization)
        port = values.get(b"port")
        if (match is None and authorization) or (
            port is not None and not _PORT.fullmatch(port)
        ):
            return Failure("no bearer token, or malformed port")
        return self._check(
            CheckToken(
                user=header.authorize_as,
                token="" if match is None else match["token"].decode("ascii"),
                host=values.get(b"host", b"").decode("ascii"),
                port=int(port or b"0"),
            )
        )

    def _describe_refusal(self, refused: TokenRefused) -> dict[str, str]:
        told = {"status": refused.status}
        if refused.scope:
            told["scope"] = refused.scope
        if refused.openid_configuration:
            told["openid-configuration"] = refused.openid_configuration
        return told


class XOAuth2Server(OAuthServer):
    r"""The server's end of XOAUTH2, which Google designed and Microsoft took over.

    >>> XOAuth2Server().start(b"user=ann@example.com\1auth=Bearer abc\1\1")
    CheckToken(user='ann@example.com', host='', port=0)
    """

    name: ClassVar[str] = "XOAUTH2"

    def _take_first(self, response: bytes) -> Step:
        match = _XOAUTH2.fullmatch(response)
        bearer = None if match is None else _BEARER.fullmatch(match["auth"])
        user = None if match is None else decode_name(match["user"])
        if bearer is None or user is None:
            return Failure("malformed message")
        return self._check(CheckToken(user, bearer["token"].decode("ascii")))

    def _describe_refusal(self, refused: TokenRefused) -> dict[str, str]:
        # Clients of Google look at the number: 401 has them renew the token.
        told = {"status": "401", "schemes": "bearer"}
        if refused.scope:
            told["scope"] = refused.scope
        return told


class OAuthClient(ClientMechanism):
    """What both clients have in common."""

    shows_password: ClassVar[bool] = True
    proof: ClassVar[Proof] = Proof.TOKEN
    # What is said to an error; it means nothing.
    dummy: ClassVar[bytes]

    _is_sent = False
    _is_refused = False

    def _encode_token(self) -> bytes:
        token = self._credentials.password.encode("utf-8", "replace")
        if not _TOKEN.fullmatch(token):
            raise SASLError(
                "an OAuth token is ASCII letters, digits and -._~+/ with = at its end"
            )
        self._is_sent = True
        return token

    def respond(self, challenge: bytes) -> bytes:
        """Take note of an error; the reply that comes next is what counts."""
        if not self._is_sent or self._is_refused:
            raise SASLError(f"the server is out of step with {self.name}")
        self._is_refused = True
        return self.dummy

    def succeed(self, data: bytes | None = None) -> None:
        """Check that the token was sent, and no error came."""
        if not self._is_sent or self._is_refused or data:
            raise SASLError(f"the server is out of step with {self.name}")


class OAuthBearerClient(OAuthClient):
    r"""The client's end of OAUTHBEARER (RFC 7628).

    >>> from smtpx.sasl.mechanism import Credentials
    >>> OAuthBearerClient(Credentials("ann@example.com", "abc")).start()
    b'n,a=ann@example.com,\x01auth=Bearer abc\x01\x01'
    """

    name: ClassVar[str] = "OAUTHBEARER"
    dummy: ClassVar[bytes] = b"\x01"

    def start(self) -> bytes | None:
        """Send the token at once."""
        credentials, context = self._credentials, self._context
        header = encode_gs2_header(b"n", credentials.authorize_as or credentials.user)
        pairs = [header]
        if _HOST.fullmatch(context.host):
            pairs.append(b"host=" + context.host.encode("ascii"))
        if context.port:
            pairs.append(b"port=%d" % context.port)
        pairs.append(b"auth=Bearer " + self._encode_token())
        return b"\x01".join((*pairs, b"", b""))


class XOAuth2Client(OAuthClient):
    r"""The client's end of XOAUTH2.

    >>> from smtpx.sasl.mechanism import Credentials
    >>> XOAuth2Client(Credentials("ann@example.com", "abc")).start()
    b'user=ann@example.com\x01auth=Bearer abc\x01\x01'
    """

    name: ClassVar[str] = "XOAUTH2"
    dummy: ClassVar[bytes] = b""

    def start(self) -> bytes | None:
        """Send the token at once."""
        credentials = self._credentials
        user = encode_text(credentials.authorize_as or credentials.user, "user name")
        if b"\x01" in user:
            raise SASLError("the user name holds a control character")
        return b"user=%b\x01auth=Bearer %b\x01\x01" % (user, self._encode_token())

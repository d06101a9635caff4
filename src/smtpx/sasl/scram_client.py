"""SCRAM, the client's end (RFC 5802, RFC 7677).

The server proves itself too: who does not know the user's keys cannot make the last
message. So a client that was told "235" without it was not told by its server.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import ClassVar, Final

from smtpx.errors import SASLError
from smtpx.sasl.gs2 import encode_gs2_header, encode_saslname
from smtpx.sasl.mechanism import ClientMechanism
from smtpx.sasl.prepare import sasl_prepare
from smtpx.sasl.scram_keys import (
    client_key,
    decode_base64,
    encode_base64,
    salt_password,
    server_key,
    sign,
    xor,
)

__all__ = [
    "MAX_ITERATIONS",
    "MIN_ITERATIONS",
    "ScramClient",
    "ScramSha1Client",
    "ScramSha1PlusClient",
    "ScramSha256Client",
    "ScramSha256PlusClient",
]

#: RFC 7677 section 4 has servers ask for no fewer. One who plays the server would ask
#: for a single one, and then guess from the proof 4,096 times as fast.
MIN_ITERATIONS: Final = 4096

#: Almost a second of computing, in which an event loop does nothing else. What is
#: recommended for stored passwords reaches 1.3 million, for SHA-1.
MAX_ITERATIONS: Final = 2_000_000

_NONCE = re.compile(rb"[!-+\--~]+")
_EXTENSIONS = rb"(?:,(?!m=)[A-Za-z]=[^\0,]+)*"
_SERVER_FIRST = re.compile(
    rb"r=(?P<nonce>[!-+\--~]+),s=(?P<salt>[A-Za-z0-9+/=]+),i=(?P<count>[1-9][0-9]{0,9})"
    + _EXTENSIONS
)
_SERVER_FINAL = re.compile(
    rb"(?:v=(?P<verifier>[A-Za-z0-9+/=]+)|e=[^\0,]+)" + _EXTENSIONS
)


class ScramClient(ClientMechanism):
    """The client's end of a SCRAM mechanism.

    Attributes:
        hash_name: as hashlib calls the hash.
    """

    shows_password: ClassVar[bool] = False
    hash_name: ClassVar[str]

    _first_text: bytes | None = None
    _verifier: bytes | None = None
    _is_refused = False
    _is_proved = False

    def start(self) -> bytes | None:
        """Say who we are, and our nonce."""
        credentials, nonce = self._credentials, self._context.nonce
        if not _NONCE.fullmatch(nonce):
            raise ValueError("SCRAM needs a nonce of printable ASCII in its context")
        user = sasl_prepare(credentials.user, "user name", allow_unassigned=True)
        password = sasl_prepare(
            credentials.password, "password", allow_unassigned=False
        )
        self._password = password.encode("utf-8")
        flag, data = self._binding()
        header = encode_gs2_header(flag, credentials.authorize_as)
        self._bound = encode_base64(header + data)
        self._first_text = b"n=%b,r=%b" % (encode_saslname(user, "user name"), nonce)
        return header + self._first_text

    def _binding(self) -> tuple[bytes, bytes]:
        """Choose the channel binding: its flag and its data (RFC 5802 section 6)."""
        context = self._context
        if not self.binds_channel:
            return (b"y" if context.misses_binding else b"n"), b""
        for kind, data in context.channel_bindings.items():
            return b"p=" + kind.encode("ascii"), data
        raise SASLError(f"{self.name} needs TLS, and a certificate that it can bind to")

    def respond(self, challenge: bytes) -> bytes:
        """Prove ourselves; then check the server's own proof."""
        if self._first_text is None or self._is_proved or self._is_refused:
            raise SASLError(f"the server is out of step with {self.name}")
        if self._verifier is None:
            return self._prove(self._first_text, challenge)
        self._check(self._verifier, challenge)
        return b""

    def _prove(self, first_text: bytes, challenge: bytes) -> bytes:
        match = _SERVER_FIRST.fullmatch(challenge)
        salt = None if match is None else decode_base64(match["salt"])
        if match is None or not salt:
            raise SASLError("the server's first message is malformed")
        nonce, ours, count = match["nonce"], self._context.nonce, int(match["count"])
        # Strict: it must add something, or an old conversation could be played again.
        if not nonce.startswith(ours) or len(nonce) == len(ours):
            raise SASLError("the server answers another exchange: its nonce is wrong")
        if not MIN_ITERATIONS <= count <= MAX_ITERATIONS:
            raise SASLError(
                f"the server asks for {count} iterations; "
                f"{MIN_ITERATIONS} to {MAX_ITERATIONS} are safe"
            )
        name = self.hash_name
        salted = salt_password(name, self._password, salt, count)
        final = b"c=%b,r=%b" % (self._bound, nonce)
        text = b",".join((first_text, challenge, final))
        key = client_key(name, salted)
        stored_key = hashlib.new(name, key).digest()
        proof = xor(key, sign(name, stored_key, text))
        self._verifier = sign(name, server_key(name, salted), text)
        return b"%b,p=%b" % (final, encode_base64(proof))

    def _check(self, verifier: bytes, message: bytes) -> None:
        match = _SERVER_FINAL.fullmatch(message)
        if match is None:
            raise SASLError("the server's final message is malformed")
        if match["verifier"] is None:
            # It refuses, and says so in the reply that comes next.
            self._is_refused = True
            return
        found = decode_base64(match["verifier"])
        if found is None or not hmac.compare_digest(found, verifier):
            raise SASLError("the server does not know the password: it is another one")
        self._is_proved = True

    def succeed(self, data: bytes | None = None) -> None:
        """Check that the server proved itself before, or does so now."""
        if data and self._verifier is not None and not self._is_refused:
            if self._is_proved:
                raise SASLError(f"the server is out of step with {self.name}")
            self._check(self._verifier, data)
        if not self._is_proved:
            raise SASLError("the server did not prove that it knows the password")


class ScramSha256Client(ScramClient):
    """The client's end of SCRAM-SHA-256 (RFC 7677).

    >>> from smtpx.sasl.mechanism import ClientContext, Credentials
    >>> context = ClientContext(nonce=b"rOprNGfwEbeRWgbNEkqO")
    >>> ScramSha256Client(Credentials("user", "pencil"), context).start()
    b'n,,n=user,r=rOprNGfwEbeRWgbNEkqO'
    """

    name: ClassVar[str] = "SCRAM-SHA-256"
    hash_name: ClassVar[str] = "sha256"


class ScramSha256PlusClient(ScramSha256Client):
    """The same, bound to the TLS channel; see the registry for why it is no default."""

    name: ClassVar[str] = "SCRAM-SHA-256-PLUS"
    binds_channel: ClassVar[bool] = True
    is_default: ClassVar[bool] = False


class ScramSha1Client(ScramClient):
    """The client's end of SCRAM-SHA-1 (RFC 5802)."""

    name: ClassVar[str] = "SCRAM-SHA-1"
    hash_name: ClassVar[str] = "sha1"


class ScramSha1PlusClient(ScramSha1Client):
    """The same, bound to the TLS channel; see the registry for why it is no default."""

    name: ClassVar[str] = "SCRAM-SHA-1-PLUS"
    binds_channel: ClassVar[bool] = True
    is_default: ClassVar[bool] = False

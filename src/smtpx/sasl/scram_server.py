"""SCRAM, the server's end (RFC 5802, RFC 7677).

::

    C: n,,n=user,r=fyko                         who, and the client's nonce
    S: r=fyko3rfc,s=QSXCR+Q6,i=4096             both nonces; salt and count of the user
    C: c=biws,r=fyko3rfc,p=v0X8v3Bz             what was bound; the client's proof
    S: v=rmF9pqV8                               the server's proof

Both proofs are over all that was said before, so whatever somebody on the path changes
makes them wrong. In a -PLUS mechanism that includes what identifies the TLS channel:
a proof that was made for another channel is of no use in this one.

A user who does not exist is answered like one who does, with a salt that is always the
same. At the end both fail alike.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import ClassVar

from smtpx.errors import SASLError
from smtpx.sasl.gs2 import Gs2Header, decode_saslname, take_gs2_header
from smtpx.sasl.mechanism import (
    Failure,
    Identity,
    Question,
    SessionFacts,
    Step,
    SteppedServer,
    Success,
)
from smtpx.sasl.prepare import sasl_prepare
from smtpx.sasl.scram_keys import (
    DIGEST_OCTETS,
    SCRAM_SALT_OCTETS,
    ScramCredentials,
    decode_base64,
    encode_base64,
    sign,
    xor,
)

__all__ = [
    "LookupScram",
    "ScramServer",
    "ScramSha1PlusServer",
    "ScramSha1Server",
    "ScramSha256PlusServer",
    "ScramSha256Server",
]

# RFC 5802 section 7. An extension is passed over, but for "m", which says that it must
# not be. What is not known to be one stays in the text that is signed.
_EXTENSIONS = rb"(?:,(?![mp]=)[A-Za-z]=[^\0,]+)*"
_CLIENT_FIRST = re.compile(
    rb"n=(?P<user>[^\0,]+),r=(?P<nonce>[!-+\--~]+)" + _EXTENSIONS
)
_CLIENT_FINAL = re.compile(
    rb"(?P<text>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>[!-+\--~]+)"
    + _EXTENSIONS
    + rb"),p=(?P<proof>[A-Za-z0-9+/=]+)"
)


@dataclass(frozen=True, slots=True)
class LookupScram(Question):
    """What is kept of a user's password. The answer is `ScramCredentials` or None.

    None stands for a user who does not exist, or has no keys for this hash.

    Attributes:
        user: name of the user, prepared with SASLprep.
        hash_name: ``sha256`` or ``sha1``.

    >>> LookupScram("user", "sha256")
    LookupScram(user='user', hash_name='sha256')
    """

    user: str
    hash_name: str


class ScramServer(SteppedServer):
    """The server's end of a SCRAM mechanism.

    Attributes:
        hash_name: as hashlib calls the hash.
    """

    shows_password: ClassVar[bool] = False
    asks: ClassVar[type[Question] | None] = LookupScram
    hash_name: ClassVar[str]

    def _take_first(self, response: bytes) -> Step:
        found = take_gs2_header(response)
        if found is None:
            return Failure("malformed GS2 header")
        self._header, self._first_text = found
        match = _CLIENT_FIRST.fullmatch(self._first_text)
        user = None if match is None else decode_saslname(match["user"])
        if match is None or user is None:
            return Failure("malformed first message")
        try:
            self._user = sasl_prepare(user, "user name", allow_unassigned=True)
        except SASLError as error:
            return Failure(str(error))
        self._nonce = match["nonce"]
        return self._describe(self._take_facts, self._header.channel_binding)

    def _take_facts(self, facts: SessionFacts) -> Step:
        wrong = self._wrong_binding(self._header, facts)
        if wrong:
            return Failure(wrong)
        self._facts = facts
        return self._ask(LookupScram(self._user, self.hash_name), self._take_keys)

    def _wrong_binding(self, header: Gs2Header, facts: SessionFacts) -> str:
        """Say what is wrong with what the client says of channel binding.

        RFC 5802 section 6 has the rules.
        """
        if not self.binds_channel:
            if header.channel_binding:
                return "channel binding in a mechanism without it"
            if header.misses_binding and facts.offers_binding:
                return "somebody took the -PLUS mechanism from the offer"
            return ""
        if not header.channel_binding:
            return "no channel binding in a mechanism with it"
        if not facts.channel_bindings:
            return "this type of channel binding is not supported here"
        return ""

    def _take_keys(self, answer: object) -> Step:
        # Made up for those who exist too, so that it takes the same time.
        made_up = self._make_up_keys()
        if isinstance(answer, ScramCredentials) and answer.hash_name == self.hash_name:
            self._keys, self._is_known = answer, True
        else:
            self._keys, self._is_known = made_up, False
        self._nonce += self._facts.nonce
        self._challenge_text = b"r=%b,s=%b,i=%d" % (
            self._nonce,
            encode_base64(self._keys.salt),
            self._keys.iterations,
        )
        return self._challenge(self._challenge_text, self._take_final)

    def _make_up_keys(self) -> ScramCredentials:
        # The same for both forms of a mechanism, as it is for those who exist.
        owner = self._user.encode("utf-8") + b"\0" + self.hash_name.encode("ascii")
        octets = DIGEST_OCTETS[self.hash_name]
        secret = self._facts.secret
        keys = hmac.digest(secret, b"keys " + owner, "sha512")
        return ScramCredentials(
            hash_name=self.hash_name,
            salt=hmac.digest(secret, b"salt " + owner, "sha512")[:SCRAM_SALT_OCTETS],
            iterations=self._facts.iterations,
            stored_key=keys[:octets],
            server_key=keys[-octets:],
        )

    def _take_final(self, response: bytes) -> Step:
        match = _CLIENT_FINAL.fullmatch(response)
        proof = None if match is None else decode_base64(match["proof"])
        if match is None or proof is None:
            return Failure("malformed final message")
        if len(proof) != DIGEST_OCTETS[self.hash_name]:
            return Failure("malformed proof")
        if match["nonce"] != self._nonce:
            return Failure("not the nonce of this exchange")
        if match["binding"] not in self._expected_bindings():
            return Failure("the client is on another channel")
        text = b",".join((self._first_text, self._challenge_text, match["text"]))
        keys = self._keys
        client_key = xor(proof, sign(self.hash_name, keys.stored_key, text))
        stored_key = hashlib.new(self.hash_name, client_key).digest()
        is_right = hmac.compare_digest(stored_key, keys.stored_key)
        if not (is_right and self._is_known):
            return Failure("wrong proof")
        verifier = encode_base64(sign(self.hash_name, keys.server_key, text))
        identity = Identity(self._user, self._header.authorize_as, self.name)
        return Success(identity, b"v=" + verifier)

    def _expected_bindings(self) -> list[bytes]:
        """Return what ``c=`` may hold (RFC 5802 section 6)."""
        bindings = self._facts.channel_bindings if self.binds_channel else (b"",)
        return [encode_base64(self._header.octets + data) for data in bindings]


class ScramSha256Server(ScramServer):
    """The server's end of SCRAM-SHA-256 (RFC 7677)."""

    name: ClassVar[str] = "SCRAM-SHA-256"
    hash_name: ClassVar[str] = "sha256"


class ScramSha256PlusServer(ScramSha256Server):
    """The same, bound to the TLS channel."""

    name: ClassVar[str] = "SCRAM-SHA-256-PLUS"
    binds_channel: ClassVar[bool] = True


class ScramSha1Server(ScramServer):
    """The server's end of SCRAM-SHA-1 (RFC 5802)."""

    name: ClassVar[str] = "SCRAM-SHA-1"
    hash_name: ClassVar[str] = "sha1"


class ScramSha1PlusServer(ScramSha1Server):
    """The same, bound to the TLS channel."""

    name: ClassVar[str] = "SCRAM-SHA-1-PLUS"
    binds_channel: ClassVar[bool] = True

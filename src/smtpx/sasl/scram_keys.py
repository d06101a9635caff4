"""What SCRAM computes, and what a server keeps of a password (RFC 5802 section 3).

A server keeps a salt, a count and two keys. Whoever steals them can neither log in with
them nor read the password; guessing costs the count, for each guess and user.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Final, Self

from smtpx.sasl.prepare import sasl_prepare

__all__ = [
    "DEFAULT_ITERATIONS",
    "DIGEST_OCTETS",
    "SCRAM_SALT_OCTETS",
    "ScramCredentials",
    "client_key",
    "decode_base64",
    "encode_base64",
    "make_scram_credentials",
    "salt_password",
    "server_key",
    "sign",
    "xor",
]

#: The least that RFC 7677 section 4 recommends; about 2 ms for the client, at each
#: connection. Choose more for passwords that people make up.
DEFAULT_ITERATIONS: Final = 4096

#: As PostgreSQL and MongoDB have it.
SCRAM_SALT_OCTETS: Final = 16

#: The hash functions that SCRAM is used with, by hashlib's name, and their lengths.
DIGEST_OCTETS: Final = {"sha1": 20, "sha256": 32}

_SCHEMES: Final = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}
# No user's line is longer; and a number of more digits is no count.
_LINE = re.compile(
    r"(?P<scheme>SCRAM-SHA-(?:1|256))\$(?P<iterations>[1-9][0-9]{0,9}):"
    r"(?P<salt>[\w+/=]+)\$(?P<stored>[\w+/=]+):(?P<server>[\w+/=]+)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScramCredentials:
    """What a server keeps of a user's password for SCRAM (RFC 5802 section 2.1).

    Attributes:
        hash_name: ``sha256``, or ``sha1``: each has keys of its own.
        salt: random; different for each user.
        iterations: of PBKDF2.
        stored_key: what a client's proof is checked against.
        server_key: what the server proves itself with.

    Raises:
        ValueError: the hash is unknown, a key is of the wrong length, or there is no
            salt or no iteration.

    >>> kept = make_scram_credentials("pencil", salt=b"0123456789abcdef")
    >>> ScramCredentials.parse(kept.encode()) == kept
    True
    """

    hash_name: str
    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        octets = DIGEST_OCTETS.get(self.hash_name)
        if octets is None:
            raise ValueError(f"SCRAM is used with {', '.join(DIGEST_OCTETS)}")
        if not len(self.stored_key) == len(self.server_key) == octets:
            raise ValueError(f"the keys of {self.hash_name} have {octets} octets")
        if not self.salt or self.iterations < 1:
            raise ValueError("there must be a salt, and at least one iteration")

    def encode(self) -> str:
        """Write the credentials on a line, as PostgreSQL and LDAP directories do.

        Returns:
            ``SCRAM-SHA-256$4096:salt$StoredKey:ServerKey``, the last three in base64.
        """
        scheme = next(key for key, name in _SCHEMES.items() if name == self.hash_name)
        salt, stored, server = (
            encode_base64(octets).decode("ascii")
            for octets in (self.salt, self.stored_key, self.server_key)
        )
        return f"{scheme}${self.iterations}:{salt}${stored}:{server}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `encode` wrote.

        Args:
            text: the line, without its end.

        Raises:
            ValueError: it is no such line. The error does not show it.
        """
        match = _LINE.fullmatch(text)
        if match is None:
            raise ValueError("SCRAM credentials read SCRAM-SHA-256$4096:salt$key:key")
        salt, stored, server = (
            decode_base64(match[name].encode("ascii"))
            for name in ("salt", "stored", "server")
        )
        if salt is None or stored is None or server is None:
            raise ValueError("SCRAM credentials hold malformed base64")
        return cls(
            hash_name=_SCHEMES[match["scheme"]],
            salt=salt,
            iterations=int(match["iterations"]),
            stored_key=stored,
            server_key=server,
        )


def make_scram_credentials(
    password: str,
    *,
    salt: bytes,
    iterations: int = DEFAULT_ITERATIONS,
    hash_name: str = "sha256",
) -> ScramCredentials:
    """Make what a server keeps of a password.

    Args:
        password: of the user; prepared with SASLprep.
        salt: random and new, such as ``secrets.token_bytes(16)``.
        iterations: what a guess shall cost. Give all users the same, and the server
            too, or the count tells who exists.
        hash_name: ``sha256`` or ``sha1``.

    Raises:
        SASLError: SASLprep refuses the password.
        ValueError: there is no salt, no iteration, or no such hash.

    >>> make_scram_credentials("pencil", salt=b"0123456789abcdef", iterations=4096)
    ScramCredentials(hash_name='sha256', salt=b'0123456789abcdef', iterations=4096)
    """
    prepared = sasl_prepare(password, "password", allow_unassigned=False)
    if hash_name not in DIGEST_OCTETS:
        raise ValueError(f"SCRAM is used with {', '.join(DIGEST_OCTETS)}")
    if not salt or iterations < 1:
        raise ValueError("there must be a salt, and at least one iteration")
    salted = salt_password(hash_name, prepared.encode("utf-8"), salt, iterations)
    return ScramCredentials(
        hash_name=hash_name,
        salt=salt,
        iterations=iterations,
        stored_key=hashlib.new(hash_name, client_key(hash_name, salted)).digest(),
        server_key=server_key(hash_name, salted),
    )


def salt_password(
    hash_name: str, password: bytes, salt: bytes, iterations: int
) -> bytes:
    """Compute SaltedPassword; the dear part."""
    return hashlib.pbkdf2_hmac(hash_name, password, salt, iterations)


def client_key(hash_name: str, salted_password: bytes) -> bytes:
    """Compute ClientKey."""
    return sign(hash_name, salted_password, b"Client Key")


def server_key(hash_name: str, salted_password: bytes) -> bytes:
    """Compute ServerKey."""
    return sign(hash_name, salted_password, b"Server Key")


def sign(hash_name: str, key: bytes, text: bytes) -> bytes:
    """Compute HMAC."""
    return hmac.digest(key, text, hash_name)


def xor(one: bytes, other: bytes) -> bytes:
    """Combine two strings of the same length."""
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def encode_base64(octets: bytes) -> bytes:
    """Encode without line ends."""
    return binascii.b2a_base64(octets, newline=False)


def decode_base64(octets: bytes) -> bytes | None:
    """Decode the canonical form alone (RFC 5802 section 2.1); None if it is not that.

    Two spellings of one proof would let a message be changed on its way.
    """
    try:
        decoded = binascii.a2b_base64(octets)
    except binascii.Error:
        return None
    return decoded if encode_base64(decoded) == octets else None

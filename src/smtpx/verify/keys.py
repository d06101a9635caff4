"""Public keys in the DNS, and the private keys that they belong to.

RFC 6376 section 3.6.1; which keys are too weak: RFC 8301; Ed25519: RFC 8463.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from smtpx.errors import BadSyntax
from smtpx.extras import extra
from smtpx.verify.tags import parse_tags

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.rsa import (
        RSAPrivateKey,
        RSAPublicKey,
    )

    from smtpx.net.records import RecordResolver

__all__ = [
    "MAX_RSA_BITS",
    "MIN_RSA_BITS",
    "KeyRecord",
    "KeyRefused",
    "PrivateKey",
    "algorithm_of",
    "fetch_key",
    "is_signed_by",
    "load_private_key",
    "make_key_record",
    "parse_key_record",
    "sign_octets",
]

PrivateKey: TypeAlias = "RSAPrivateKey | Ed25519PrivateKey"

MIN_RSA_BITS: Final = 1024
"""Below it a signature proves nothing (RFC 8301)."""

MAX_RSA_BITS: Final = 8192
"""RFC 8301 asks for 4096 at least; the time grows with the square."""

_MAX_RECORD_OCTETS: Final = 8192
"""A key of 8192 bits in base64 has some 1,400 octets."""


_KEY_TAG: Final = re.compile(rb"(?:^|;)[ \t\r\n]*p[ \t\r\n]*=")


class KeyRefused(BadSyntax):
    """There is no key, or none that may verify this signature."""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A public key and what it is for.

    Attributes:
        algorithm: ``rsa`` or ``ed25519``.
        key: it.
        bits: how long it is.
        hashes: which hash algorithms it allows; empty: any.
        is_testing: whether the domain says that it tests DKIM (``t=y``).
        is_strict: whether the identity must be of the very domain (``t=s``).
    """

    algorithm: str
    key: RSAPublicKey | Ed25519PublicKey
    bits: int
    hashes: frozenset[str] = frozenset()
    is_testing: bool = False
    is_strict: bool = False


async def fetch_key(resolver: RecordResolver, domain: str, selector: str) -> KeyRecord:
    """Look up a key (RFC 6376 section 3.6.2).

    Args:
        resolver: to ask.
        domain: of the signature.
        selector: which of its keys.

    Returns:
        The key.

    Raises:
        KeyRefused: there is none, several, or one that must not be used.
        DNSFailure: nobody could tell.
    """
    answer = await resolver.txt(f"{selector}._domainkey.{domain}")
    # What is no key record may stand beside it, such as the answer of a wildcard.
    found = [one for one in answer.records if _KEY_TAG.search(one) is not None]
    if not found:
        raise KeyRefused("no key for signature")
    if len(found) > 1:
        raise KeyRefused("several keys of one name")
    return parse_key_record(found[0])


def parse_key_record(octets: bytes) -> KeyRecord:
    """Parse a key record (RFC 6376 section 3.6.1).

    Args:
        octets: the text of the record.

    Returns:
        The key.

    Raises:
        KeyRefused: it is malformed, revoked, for something else than mail, too weak,
            or of an algorithm that is not known.
    """
    if len(octets) > _MAX_RECORD_OCTETS:
        raise KeyRefused(f"key record of over {_MAX_RECORD_OCTETS} octets")
    try:
        tags = parse_tags(octets)
    except BadSyntax as error:
        raise KeyRefused(f"key record: {error.text}") from None
    if tags.get("v", "DKIM1") != "DKIM1" or ("v" in tags and next(iter(tags)) != "v"):
        raise KeyRefused("key record of another version")
    services = {one.strip() for one in tags.get("s", "*").split(":")}
    if not services & {"*", "email"}:
        raise KeyRefused("key is not for mail")
    if not tags.get("p"):
        raise KeyRefused("key revoked" if "p" in tags else "key record without a key")
    try:
        octets = binascii.a2b_base64("".join(tags["p"].split()).encode())
    except binascii.Error:
        raise KeyRefused("key is no base64") from None
    algorithm = tags.get("k", "rsa").lower()
    key, bits = _load_public_key(algorithm, octets)
    flags = {one.strip() for one in tags.get("t", "").split(":")}
    hashes = {one.strip().lower() for one in tags.get("h", "").split(":")} - {""}
    return KeyRecord(
        algorithm=algorithm,
        key=key,
        bits=bits,
        hashes=frozenset(hashes),
        is_testing="y" in flags,
        is_strict="s" in flags,
    )


def _load_public_key(
    algorithm: str, octets: bytes
) -> tuple[RSAPublicKey | Ed25519PublicKey, int]:
    # Not at the top: the package is an extra, and loads a library of 10 MB.
    with extra("auth", "a public key of DKIM"):
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import (  # noqa: PLC0415
            ed25519,
            rsa,
        )

    if algorithm == "ed25519":
        try:
            return ed25519.Ed25519PublicKey.from_public_bytes(octets), 256
        except ValueError:
            raise KeyRefused("bad Ed25519 key") from None
    if algorithm != "rsa":
        raise KeyRefused("key of an unknown algorithm")
    try:
        key = serialization.load_der_public_key(octets)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyRefused("bad RSA key") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise KeyRefused("bad RSA key")
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise KeyRefused(f"RSA key of {key.key_size} bits")
    return key, key.key_size


def is_signed_by(record: KeyRecord, signature: bytes, octets: bytes) -> bool:
    """Say whether a signature of octets was made with the key.

    Args:
        record: the key.
        signature: it.
        octets: what is signed.
    """
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import (  # noqa: PLC0415
        padding,
        rsa,
    )

    try:
        if isinstance(record.key, rsa.RSAPublicKey):
            record.key.verify(signature, octets, padding.PKCS1v15(), hashes.SHA256())
        else:
            # RFC 8463 section 3: the hash is what is signed.
            record.key.verify(signature, hashlib.sha256(octets).digest())
    except InvalidSignature:
        return False
    return True


def load_private_key(pem: bytes, password: bytes | None = None) -> PrivateKey:
    """Load a private key, RSA or Ed25519.

    Args:
        pem: as ``openssl genpkey`` writes it, PKCS #8 or the older PKCS #1; or the 32
            octets of an Ed25519 key in base64, as RFC 8463 appendix A.2 has it.
        password: of the file, if it has one.

    Returns:
        The key.

    Raises:
        ValueError: it is none, or too weak; the text shows nothing of it.
    """
    with extra("auth", "a private key of DKIM"):
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import (  # noqa: PLC0415
            ed25519,
            rsa,
        )

    key: object
    try:
        if b"-----BEGIN" in pem:
            key = serialization.load_pem_private_key(pem, password)
        else:
            octets = binascii.a2b_base64(pem, strict_mode=True)
            key = ed25519.Ed25519PrivateKey.from_private_bytes(octets)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Not `from`: the error of a parser may show what it read.
        raise ValueError("no private key, or another password") from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("DKIM takes RSA and Ed25519 keys")  # noqa: TRY004 - a value
    if key.key_size < MIN_RSA_BITS:
        raise ValueError(f"an RSA key has at least {MIN_RSA_BITS} bits; take 2048")
    return key


def sign_octets(key: PrivateKey, octets: bytes) -> bytes:
    """Sign octets as `is_signed_by` verifies them.

    Args:
        key: ours.
        octets: what to sign.
    """
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.asymmetric import (  # noqa: PLC0415
        padding,
        rsa,
    )

    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(octets, padding.PKCS1v15(), hashes.SHA256())
    return key.sign(hashlib.sha256(octets).digest())


def algorithm_of(key: PrivateKey) -> str:
    """Return the algorithm of a key's signatures, as tag ``a`` names it.

    Args:
        key: ours.
    """
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415

    return "rsa-sha256" if isinstance(key, rsa.RSAPrivateKey) else "ed25519-sha256"


def make_key_record(key: PrivateKey) -> str:
    """Write the TXT record that publishes a key, under ``selector._domainkey.domain``.

    Args:
        key: the private key; its public half is published.

    >>> from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    >>> make_key_record(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    'v=DKIM1; k=ed25519; p=O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik='
    """
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415

    if isinstance(key, rsa.RSAPrivateKey):
        name = "rsa"
        octets = key.public_key().public_bytes(
            serialization.Encoding.DER,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )
    else:
        name = "ed25519"
        octets = key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
    value = binascii.b2a_base64(octets, newline=False).decode("ascii")
    return f"v=DKIM1; k={name}; p={value}"

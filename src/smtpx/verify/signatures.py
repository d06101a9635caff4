"""Signature fields, of DKIM and of ARC: parsed, checked, verified.

RFC 6376 section 3.5 and 6.1; RFC 8617 section 4.1.2.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smtpx.errors import BadSyntax
from smtpx.verify.canonical import (
    Canonicalization,
    SignedContent,
    canonicalize_field,
    select_fields,
)
from smtpx.verify.keys import KeyRecord, is_signed_by
from smtpx.verify.tags import blank_signature, parse_tags

if TYPE_CHECKING:
    from smtpx.message.fields import HeaderField

__all__ = [
    "Signature",
    "WeakSignature",
    "blanked",
    "check_key",
    "check_times",
    "find_fault",
    "parse_number",
    "parse_signature",
    "parse_signing_domain",
]

_MAX_FIELD_OCTETS: Final = 65_536
"""Of a signature field; the largest, with long lists of fields, have 4 KiB."""

_MAX_NAMES: Final = 1_000
"""Of fields signed."""

_CLOCK_SKEW_SECONDS: Final = 300
"""A signer's clock may be ahead (RFC 6376 section 3.5 leaves it to the verifier)."""

_DOMAIN: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,76}", re.ASCII)
_ALGORITHMS: Final = {"rsa-sha256": "rsa", "ed25519-sha256": "ed25519"}


class WeakSignature(BadSyntax):
    """A signature that is in order but proves too little to count."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a signature field says.

    Attributes:
        field: it.
        tags: all of it.
        algorithm: ``rsa`` or ``ed25519``.
        domain: whose signature it is, in A-labels.
        selector: which of the domain's keys.
        signature: the octets.
        body_hash: likewise; empty of a seal, which signs no body.
        names: which fields are signed.
        header_mode: how they are made canonical.
        body_mode: how the body is.
        length: how much of the body is signed; None: all of it.
    """

    field: HeaderField
    tags: dict[str, str]
    algorithm: str
    domain: str
    selector: str
    signature: bytes
    body_hash: bytes
    names: tuple[str, ...]
    header_mode: Canonicalization
    body_mode: Canonicalization
    length: int | None

    @property
    def identity(self) -> str:
        """On whose behalf it was made (tag ``i`` of DKIM)."""
        return self.tags.get("i") or f"@{self.domain}"


def parse_signature(
    field: HeaderField, *, required: frozenset[str], is_seal: bool = False
) -> Signature:
    """Parse a signature field.

    Args:
        field: it.
        required: the tags that must be there.
        is_seal: whether it is an ARC-Seal, which signs no body and lists no fields.

    Returns:
        What it says.

    Raises:
        BadSyntax: it is malformed: permerror.
        WeakSignature: it is in order, but of an algorithm that proves nothing.
    """
    if len(field.octets) > _MAX_FIELD_OCTETS:
        raise BadSyntax(f"signature of over {_MAX_FIELD_OCTETS} octets")
    tags = parse_tags(field.value)
    missing = sorted(required - tags.keys())
    if missing:
        raise BadSyntax(f"signature without tag {missing[0]}=")
    algorithm = tags["a"].lower()
    if algorithm == "rsa-sha1":
        # RFC 8301.
        raise WeakSignature("SHA-1 proves nothing")
    if algorithm not in _ALGORITHMS:
        raise BadSyntax("signature of an unknown algorithm")
    header_mode, body_mode = _parse_modes(tags.get("c", "simple/simple"))
    names = tuple(one.strip().lower() for one in tags.get("h", "").split(":"))
    if len(names) > _MAX_NAMES:
        raise BadSyntax(f"signature of over {_MAX_NAMES} fields")
    if tags.get("q", "dns/txt") and "dns/txt" not in _list(tags.get("q", "dns/txt")):
        raise BadSyntax("the key is nowhere that is known")
    return Signature(
        field=field,
        tags=tags,
        algorithm=_ALGORITHMS[algorithm],
        domain=parse_signing_domain(tags["d"]),
        selector=parse_signing_domain(tags["s"]),
        signature=_parse_base64(tags["b"], "b"),
        body_hash=b"" if is_seal else _parse_base64(tags["bh"], "bh"),
        names=names,
        header_mode=Canonicalization.RELAXED if is_seal else header_mode,
        body_mode=body_mode,
        length=None if "l" not in tags else parse_number(tags["l"], "l"),
    )


def _list(text: str) -> set[str]:
    return {one.strip().lower() for one in text.split(":")}


def _parse_modes(text: str) -> tuple[Canonicalization, Canonicalization]:
    header, _, body = text.lower().partition("/")
    try:
        return Canonicalization(header), Canonicalization(body or "simple")
    except ValueError:
        raise BadSyntax("signature of an unknown canonicalization") from None


def parse_signing_domain(text: str) -> str:
    """Return a domain or selector in A-labels and lower case (RFC 8616 section 4).

    Args:
        text: as a signature has it.

    Raises:
        BadSyntax: it is none.
    """
    if not text.isascii():
        import idna  # noqa: PLC0415 - most signatures need none

        try:
            text = idna.encode(text.lower()).decode("ascii")
        except UnicodeError:  # which idna's errors are
            text = ""
    if _DOMAIN.fullmatch(text) is None or ".." in text:
        raise BadSyntax("signature of no domain")
    return text.lower()


def _parse_base64(text: str, name: str) -> bytes:
    try:
        octets = binascii.a2b_base64("".join(text.split()).encode(), strict_mode=True)
    except binascii.Error:
        octets = b""
    if not octets:
        raise BadSyntax(f"tag {name}= is no base64")
    return octets


def parse_number(text: str, name: str) -> int:
    """Parse a tag's number.

    Args:
        text: 1 to 76 digits (RFC 6376 section 3.5).
        name: of the tag.

    Raises:
        BadSyntax: it is none.
    """
    if _NUMBER.fullmatch(text) is None:
        raise BadSyntax(f"tag {name}= is no number")
    return int(text)


def check_times(signature: Signature, now: float) -> None:
    """Check when a signature was made and when it expires.

    Args:
        signature: to look at.
        now: seconds since 1970.

    Raises:
        BadSyntax: it is from the future, expired, or expired before it was made.
    """
    made = signature.tags.get("t")
    expires = signature.tags.get("x")
    made_at = None if made is None else parse_number(made, "t")
    if made_at is not None and made_at > now + _CLOCK_SKEW_SECONDS:
        raise BadSyntax("signature from the future")
    if expires is not None:
        expires_at = parse_number(expires, "x")
        if made_at is not None and expires_at < made_at:
            raise BadSyntax("signature that expired before it was made")
        if expires_at < now - _CLOCK_SKEW_SECONDS:
            raise BadSyntax("signature expired")


def check_key(signature: Signature, key: KeyRecord) -> None:
    """Check that a key may verify a signature (RFC 6376 section 6.1.2).

    Args:
        signature: to verify.
        key: that was found for it.

    Raises:
        BadSyntax: it may not.
    """
    if key.algorithm != signature.algorithm:
        raise BadSyntax("key of another algorithm")
    if key.hashes and "sha256" not in key.hashes:
        raise BadSyntax("key for another hash algorithm")


def find_fault(content: SignedContent, signature: Signature, key: KeyRecord) -> str:
    """Verify a signature of a message.

    Args:
        content: the message.
        signature: to verify.
        key: to verify it with.

    Returns:
        What is wrong; empty if nothing is.
    """
    body_hash = content.body_hash(signature.body_mode, signature.length)
    if body_hash != signature.body_hash:
        return "body hash mismatch"
    octets = signed_octets(content, signature)
    if not is_signed_by(key, signature.signature, octets):
        return "signature mismatch"
    return ""


def signed_octets(content: SignedContent, signature: Signature) -> bytes:
    """Put together what a signature of a message signs (RFC 6376 section 3.7).

    Args:
        content: the message.
        signature: with its canonicalization, and the fields that it lists.
    """
    mode = signature.header_mode
    fields = [
        canonicalize_field(one.octets, mode)
        for one in select_fields(content.header, signature.names)
    ]
    return b"".join([*fields, blanked(signature.field, mode)])


def blanked(field: HeaderField, mode: Canonicalization) -> bytes:
    """Return a signature field as it is signed: without the signature, or a line end.

    Args:
        field: the signature field.
        mode: how it is made canonical.
    """
    name, mark, value = field.octets.partition(b":")
    octets = name + mark + blank_signature(value.removesuffix(b"\r\n"))
    return canonicalize_field(octets, mode).removesuffix(b"\r\n")

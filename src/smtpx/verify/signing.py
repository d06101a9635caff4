r"""Signatures of what we send: DKIM, RSA and Ed25519 (RFC 6376, RFC 8463).

>>> from smtpx.verify.keys import load_private_key
>>> key = load_private_key(b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
>>> signer = DKIMSigner("example.com", "brisbane", key, clock=lambda: 1528637909)
>>> signed = signer.sign(b"From: ann@example.com\r\n\r\nhi\r\n")
>>> signed.startswith(b"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;")
True
"""

from __future__ import annotations

import binascii
import time
from typing import TYPE_CHECKING, Final

from smtpx.errors import BadSyntax
from smtpx.message.fields import HeaderField, fold_field
from smtpx.verify.canonical import (
    Canonicalization,
    SignedContent,
    canonicalize_field,
    select_fields,
)
from smtpx.verify.keys import (
    PrivateKey,
    algorithm_of,
    load_private_key,
    sign_octets,
)
from smtpx.verify.signatures import blanked
from smtpx.wire.domains import parse_domain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smtpx.message.fields import Header

__all__ = [
    "SIGNED_FIELDS",
    "DKIMSigner",
    "choose_names",
    "encode_base64",
    "list_names",
    "sign_field",
    "signing_domain",
    "unsigned_field",
]

SIGNED_FIELDS: Final = (
    *("From", "Sender", "Reply-To", "Subject", "Date", "Message-ID"),
    *("To", "Cc", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"),
    *("Content-ID", "Content-Description", "In-Reply-To", "References"),
    *("Resent-Date", "Resent-From", "Resent-To", "Resent-Cc", "Resent-Message-ID"),
    *("List-Id", "List-Help", "List-Unsubscribe", "List-Unsubscribe-Post"),
    *("List-Subscribe", "List-Post", "List-Owner", "List-Archive", "Autocrypt"),
)
"""The fields that are signed if they are there (RFC 6376 section 5.4.1)."""

# Signed once more than they occur, so that none can be added: a mail reader may show
# the added one (RFC 6376 section 8.15).
_SEALED: Final = (
    *("from", "sender", "reply-to", "subject", "date", "message-id", "to", "cc"),
    *("mime-version", "content-type", "content-transfer-encoding"),
)

_B_OCTETS: Final = 70
"""Of the signature on a line."""


class DKIMSigner:
    """Signs messages as one domain with one key.

    It may be called, too, with a message, for the fields to put before it: that is
    what ``ClientOptions(sign=...)`` takes. For two signatures, RSA and Ed25519, give
    a function that joins what two signers return.

    Args:
        domain: that answers for the messages; in U-labels or A-labels.
        selector: under which the key is published; see `make_key_record`.
        key: the private key, or its PEM text.
        fields: the names to sign, if they are there; From always is.
        headers: how fields are made canonical.
        body: how the body is.
        expires_after: seconds that a signature holds; None: for ever.
        clock: returns seconds since 1970.

    Raises:
        BadAddress: domain or selector is none.
        ValueError: the key is none, or too weak.
    """

    def __init__(  # noqa: PLR0913 - all have a default but the three that name the key
        self,
        domain: str,
        selector: str,
        key: PrivateKey | bytes,
        *,
        fields: Sequence[str] = SIGNED_FIELDS,
        headers: Canonicalization = Canonicalization.RELAXED,
        body: Canonicalization = Canonicalization.RELAXED,
        expires_after: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.domain = signing_domain(domain)
        self.selector = signing_domain(selector)
        self._key = load_private_key(key) if isinstance(key, bytes) else key
        self._names = frozenset(one.lower() for one in fields) | {"from"}
        self._header_mode = headers
        self._body_mode = body
        self._expires_after = expires_after
        self._clock = clock

    def __repr__(self) -> str:
        return f"DKIMSigner({self.domain!r}, {self.selector!r})"

    @property
    def algorithm(self) -> str:
        """The algorithm, as a signature names it."""
        return algorithm_of(self._key)

    def __call__(self, message: bytes) -> bytes:
        """Return the signature field as octets; see `sign`."""
        return self.make_field(message).octets

    def sign(self, message: bytes) -> bytes:
        """Return a message with its signature on top.

        Args:
            message: as it goes out, with CRLF line ends; nothing may change it later.

        Raises:
            BadSyntax: it has no From field, which every signature covers.
        """
        return self(message) + message

    def make_field(self, message: bytes) -> HeaderField:
        """Make the signature field of a message.

        Args:
            message: as it goes out.

        Raises:
            BadSyntax: it has no From field.
        """
        content = SignedContent(message)
        names = choose_names(content.header, self._names)
        now = int(self._clock())
        body_hash = encode_base64(content.body_hash(self._body_mode))
        words = [
            "v=1;",
            f"a={self.algorithm};",
            f"c={self._header_mode}/{self._body_mode};",
            f"d={self.domain};",
            f"s={self.selector};",
            f"t={now};",
        ]
        if self._expires_after is not None:
            words.append(f"x={now + self._expires_after};")
        words += [*list_names(names), f"bh={body_hash};", "b="]
        unsigned = unsigned_field("DKIM-Signature", words)
        octets = b"".join(
            canonicalize_field(one.octets, self._header_mode)
            for one in select_fields(content.header, names)
        ) + blanked(unsigned, self._header_mode)
        return sign_field(unsigned, self._key, octets)


def choose_names(header: Header, wanted: frozenset[str]) -> list[str]:
    """Choose the fields that a signature covers, as it lists them.

    Args:
        header: of the message.
        wanted: names in lower case, to be covered if they are there.

    Raises:
        BadSyntax: there is no From field.
    """
    if header.first("From") is None:
        raise BadSyntax("a message without From cannot be signed: add the field")
    present = [one.name.lower() for one in header.fields if one.name.lower() in wanted]
    return [*present, *(one for one in _SEALED if one in wanted)]


def list_names(names: Sequence[str]) -> list[str]:
    """Write tag ``h`` as words, between which the field may be folded.

    White space may stand around the colons (RFC 6376 section 3.5).

    Args:
        names: at least one.
    """
    words = ["h=" + names[0], *(f":{name}" for name in names[1:])]
    words[-1] += ";"
    return words


def unsigned_field(name: str, words: Sequence[str]) -> HeaderField:
    """Make a signature field without its signature.

    Args:
        name: of the field.
        words: its value; the last is ``b=``.
    """
    return HeaderField(name, fold_field(name, [word.encode() for word in words]))


def sign_field(field: HeaderField, key: PrivateKey, octets: bytes) -> HeaderField:
    """Put the signature into a field.

    Args:
        field: without it, as `unsigned_field` makes it.
        key: to sign with.
        octets: what is signed, this field too.
    """
    signature = encode_base64(sign_octets(key, octets))
    lines = [
        signature[at : at + _B_OCTETS].encode()
        for at in range(0, len(signature), _B_OCTETS)
    ]
    signed = field.octets.removesuffix(b"\r\n") + b"\r\n ".join([b"", *lines])
    return HeaderField(field.name, signed + b"\r\n")


def encode_base64(octets: bytes) -> str:
    """Write octets in base64, on one line.

    Args:
        octets: to write.
    """
    return binascii.b2a_base64(octets, newline=False).decode("ascii")


def signing_domain(domain: str) -> str:
    """Return a domain or selector of ours as signatures have it: in A-labels.

    Args:
        domain: in U-labels or A-labels.

    Raises:
        BadAddress: it is none.
    """
    text = domain.removesuffix(".")
    parse_domain(text.replace("_", "-").encode())
    if text.isascii():
        return text.lower()
    import idna  # noqa: PLC0415 - most domains need none

    return idna.encode(text.lower()).decode("ascii")

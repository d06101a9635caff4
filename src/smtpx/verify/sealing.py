r"""ARC sets for messages that we pass on: what we found, sealed (RFC 8617 section 5.1).

>>> from smtpx.message.results import AuthenticationResults, MethodResult
>>> from smtpx.verify.keys import load_private_key
>>> key = load_private_key(b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
>>> sealer = ARCSealer("example.com", "brisbane", key, clock=lambda: 1528637909)
>>> found = AuthenticationResults("mx.example.com", (MethodResult("spf", "pass"),))
>>> sealed = sealer.seal(
...     b"From: ann@example.net\r\n\r\nhi\r\n", found, ARCResult("none"))
>>> print(sealed.partition(b"d=")[0].decode())
ARC-Seal: i=1; a=ed25519-sha256; t=1528637909; cv=none;

Theory of operation. Whoever changes a message, or sends it on from a host that its
author's domain does not know, breaks DKIM or SPF. An ARC set tells the next host what
was found before that. It has three fields: the results; a signature of the message as
it leaves, much as DKIM's; and a seal over both and over all sets that were there. The
seal says, too, whether the chain before it was whole. A chain that was broken is sealed
once more, to say so, by a seal that covers nothing but its own set; after that nobody
adds to it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from smtpx.errors import BadSyntax
from smtpx.message.fields import HeaderField, fold_field
from smtpx.verify.arc import (
    MAX_INSTANCES,
    ARCResult,
    ARCSet,
    find_instance,
    find_sets,
    sealed_octets,
)
from smtpx.verify.canonical import (
    Canonicalization,
    SignedContent,
    canonicalize_field,
    select_fields,
)
from smtpx.verify.keys import PrivateKey, algorithm_of, load_private_key
from smtpx.verify.signatures import blanked
from smtpx.verify.signing import (
    SIGNED_FIELDS,
    choose_names,
    encode_base64,
    list_names,
    sign_field,
    signing_domain,
    unsigned_field,
)
from smtpx.verify.tags import parse_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smtpx.message.fields import Header
    from smtpx.message.results import AuthenticationResults

__all__ = ["ARCSealer"]

# RFC 8617 section 4.1.2: later hosts remove the results, and the seal covers the rest.
_NEVER_SIGNED: Final = frozenset(
    (
        *("authentication-results", "arc-authentication-results"),
        *("arc-message-signature", "arc-seal"),
    )
)

_OTHER_CHAIN: Final = "the result is of another ARC chain: verify this message"

_MODE: Final = Canonicalization.RELAXED


class ARCSealer:
    """Seals messages that are passed on, as one domain with one key.

    The key is published as one for DKIM is, and may be the same.

    Args:
        domain: that answers for what it found; in U-labels or A-labels.
        selector: under which the key is published; see `make_key_record`.
        key: the private key, or its PEM text.
        fields: the names to sign, if they are there; From and DKIM-Signature always
            are, the results and fields of ARC never.
        clock: returns seconds since 1970.

    Raises:
        BadAddress: domain or selector is none.
        ValueError: the key is none, or too weak.
    """

    def __init__(
        self,
        domain: str,
        selector: str,
        key: PrivateKey | bytes,
        *,
        fields: Sequence[str] = SIGNED_FIELDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.domain = signing_domain(domain)
        self.selector = signing_domain(selector)
        self._key = load_private_key(key) if isinstance(key, bytes) else key
        names = {one.lower() for one in fields} | {"from", "dkim-signature"}
        self._names = frozenset(names) - _NEVER_SIGNED
        self._clock = clock

    def __repr__(self) -> str:
        return f"ARCSealer({self.domain!r}, {self.selector!r})"

    def seal(
        self, message: bytes, results: AuthenticationResults, chain: ARCResult
    ) -> bytes:
        """Return a message with an ARC set on top; as it is, if none may be added.

        Args:
            message: as it goes out, with CRLF line ends; nothing may change it later.
            results: all that was found of it when it came, such as
                `Authentication.to_results` returns.
            chain: what `verify_arc` said of it when it came. If the DNS could not be
                asked the chain is sealed as broken, for good (RFC 8617 section 5.2.1):
                better defer such a message with 451.

        Raises:
            BadSyntax: it has no From field.
            ValueError: ``chain`` is of another message.
        """
        fields = self.make_fields(message, results, chain)
        return b"".join([*(one.octets for one in fields), message])

    def make_fields(
        self, message: bytes, results: AuthenticationResults, chain: ARCResult
    ) -> tuple[HeaderField, ...]:
        """Make the three fields of an ARC set, in the order in which to put them on.

        Args:
            message: as for `seal`.
            results: likewise.
            chain: likewise.

        Returns:
            ARC-Seal, ARC-Message-Signature and ARC-Authentication-Results. None, if the
            chain was sealed as broken before, or has all the 50 sets that it may have.

        Raises:
            BadSyntax: it has no From field.
            ValueError: ``chain`` is of another message.
        """
        content = SignedContent(message)
        status, sets = _read_chain(content.header, chain)
        instance = _last_instance(content.header) + 1
        if _is_sealed_as_broken(content.header) or instance > MAX_INSTANCES:
            return ()
        now = int(self._clock())
        name = "ARC-Authentication-Results"
        words = [f"i={instance};".encode(), *results.words()]
        found = HeaderField(name, fold_field(name, words))
        message_signature = self._sign_message(content, instance, now)
        unsigned = unsigned_field(
            "ARC-Seal",
            [
                *(f"i={instance};", f"a={algorithm_of(self._key)};", f"t={now};"),
                *(f"cv={status};", f"d={self.domain};", f"s={self.selector};", "b="),
            ],
        )
        # A broken chain is not sealed (RFC 8617 section 5.1.2): `sets` is empty then.
        new = ARCSet(instance, found, message_signature, unsigned)
        seal = sign_field(unsigned, self._key, sealed_octets([*sets, new]))
        return seal, message_signature, found

    def _sign_message(
        self, content: SignedContent, instance: int, now: int
    ) -> HeaderField:
        """Make the ARC-Message-Signature field (RFC 8617 section 4.1.2)."""
        names = choose_names(content.header, self._names)
        body_hash = encode_base64(content.body_hash(_MODE))
        unsigned = unsigned_field(
            "ARC-Message-Signature",
            [
                *(f"i={instance};", f"a={algorithm_of(self._key)};"),
                *(f"c={_MODE}/{_MODE};", f"d={self.domain};", f"s={self.selector};"),
                *(f"t={now};", *list_names(names), f"bh={body_hash};", "b="),
            ],
        )
        octets = b"".join(
            canonicalize_field(one.octets, _MODE)
            for one in select_fields(content.header, names)
        ) + blanked(unsigned, _MODE)
        return sign_field(unsigned, self._key, octets)


def _read_chain(header: Header, chain: ARCResult) -> tuple[str, list[ARCSet]]:
    """Return what the seal says of the chain, and which sets it covers.

    A result that is not of this message must not be sealed: the seal would say of a
    broken chain that it is whole, or the other way round.
    """
    if chain.result not in {"none", "pass"}:
        return "fail", []
    try:
        sets = find_sets(header)
    except BadSyntax as error:
        raise ValueError(_OTHER_CHAIN) from error
    if len(sets) != len(chain.domains):
        raise ValueError(_OTHER_CHAIN)
    return chain.result, sets


def _seals_by_instance(header: Header) -> dict[int, HeaderField]:
    """Return the seals of a chain, of which any may be broken."""
    found: dict[int, HeaderField] = {}
    for one in header.all("ARC-Seal"):
        instance = find_instance(one)
        if instance is not None:
            found.setdefault(instance, one)
    return found


def _last_instance(header: Header) -> int:
    """Return the highest instance of the chain; 0 if there is none."""
    fields = [
        *header.all("ARC-Seal"),
        *header.all("ARC-Message-Signature"),
        *header.all("ARC-Authentication-Results"),
    ]
    return max((find_instance(one) or 0 for one in fields), default=0)


def _is_sealed_as_broken(header: Header) -> bool:
    """Say whether the newest seal says ``cv=fail`` (RFC 8617 section 5.1 step 2)."""
    seals = _seals_by_instance(header)
    if not seals:
        return False
    try:
        tags = parse_tags(seals[max(seals)].value)
    except BadSyntax:
        return False
    return tags.get("cv", "").lower() == "fail"

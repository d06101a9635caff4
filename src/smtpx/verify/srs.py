r"""Reverse paths of forwarded mail: the Sender Rewriting Scheme.

>>> secret = b"a secret of 16 octets or more"
>>> srs = SenderRewriter("forward.example", [secret], clock=lambda: 0.0)
>>> rewritten = srs.forward(Mailbox("ann", "example.com"))
>>> str(rewritten)
'SRS0=K5hl=AA=example.com=ann@forward.example'
>>> str(srs.reverse(rewritten))
'ann@example.com'

Theory of operation. SPF asks whether a host may send for the domain of the reverse
path; a forwarder may not for a stranger's. So it writes a reverse path of its own, from
which it can read the other when a report comes back:
``SRS0=hash=day=domain=local@forwarder``. The hash keeps others from having us relay for
them, the day from doing so for ever. The next forwarder does not wrap that again, since
addresses would grow: it writes ``SRS1=hash=first==hash=day=domain=local@second``, and
sends reports to the first at once. The scheme is that of Meng Wong and Shevek (2004),
as libsrs2 and postsrsd do it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from typing import TYPE_CHECKING, Final

from smtpx.errors import BadAddress
from smtpx.wire.address import Mailbox, quote_local_part
from smtpx.wire.domains import parse_domain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["SenderRewriter"]

_SRS0: Final = re.compile(r"SRS0[=+-]([^=]+)=([A-Z2-7]{2})=([^=]+)=(.+)", re.I | re.S)
_SRS0_REST: Final = re.compile(r"SRS0([=+-].+)", re.I | re.S)
_SRS1: Final = re.compile(r"SRS1[=+-]([^=]+)=([^=]+)=([=+-].+)", re.I | re.S)

_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_DAYS: Final = 1024
_SECONDS_A_DAY: Final = 86_400
_HASH_CHARACTERS: Final = 4
"""As all others have it, so that keys can be shared. A forger tries a million times."""

_MIN_SECRET_OCTETS: Final = 16
"""Less could be guessed from one address, without asking us."""


class SenderRewriter:
    """Rewrites the reverse paths of mail that a domain forwards, and back.

    Args:
        domain: ours; reports come back to it.
        secrets: the first signs, all of them are accepted: put a new one in front, and
            take the old one out when ``max_age_days`` are over.
        max_age_days: how long reports are taken for. 21: nobody tries for longer.
        clock: returns seconds since 1970.

    Raises:
        BadAddress: the domain is none.
        ValueError: there is no secret, one has under 16 octets, or the age is none.
    """

    def __init__(
        self,
        domain: str,
        secrets: Sequence[bytes],
        *,
        max_age_days: int = 21,
        clock: Callable[[], float] = time.time,
    ) -> None:
        parse_domain(domain.encode())
        if not secrets or min(map(len, secrets)) < _MIN_SECRET_OCTETS:
            raise ValueError(f"give a secret of {_MIN_SECRET_OCTETS} octets at least")
        if not 0 < max_age_days < _DAYS:
            raise ValueError(f"max_age_days is from 1 to {_DAYS - 1}")
        self.domain = domain
        self._secrets = tuple(secrets)
        self._max_age_days = max_age_days
        self._clock = clock

    def __repr__(self) -> str:
        return f"SenderRewriter({self.domain!r})"

    def forward(self, reverse_path: Mailbox | None) -> Mailbox | None:
        """Rewrite the reverse path of a message that is forwarded.

        Args:
            reverse_path: None for the null reverse path, which stays.

        Returns:
            One of our domain. What is of our domain already stays.

        Raises:
            BadAddress: it would be none, as of a domain that is too long.
        """
        if reverse_path is None or self._is_ours(reverse_path):
            return reverse_path
        local_part = reverse_path.local_part_unquoted
        domain = reverse_path.domain_ascii
        if match := _SRS1.fullmatch(local_part):
            return self._make_srs1(match[2], match[3])
        if match := _SRS0_REST.fullmatch(local_part):
            return self._make_srs1(domain, match[1])
        day = self._today()
        stamp = _ALPHABET[day >> 5] + _ALPHABET[day & 31]
        code = self._hash(self._secrets[0], stamp, domain, local_part)
        return self._make(f"SRS0={code}={stamp}={domain}={local_part}")

    def reverse(self, mailbox: Mailbox) -> Mailbox:
        """Return where a report goes that came to a rewritten reverse path.

        Args:
            mailbox: the recipient of the report.

        Raises:
            BadAddress: it is none that we wrote, or an old one; nothing may be sent on.
        """
        local_part = mailbox.local_part_unquoted
        if self._is_ours(mailbox):
            if match := _SRS1.fullmatch(local_part):
                code, first, rest = match.groups()
                self._check_hash(code, first, rest)
                return Mailbox(quote_local_part(f"SRS0{rest}"), first)
            if match := _SRS0.fullmatch(local_part):
                code, stamp, domain, sender = match.groups()
                self._check_hash(code, stamp, domain, sender)
                self._check_age(stamp)
                return Mailbox(quote_local_part(sender), domain)
        raise BadAddress("not a rewritten address of ours", code=550, enhanced="5.1.1")

    def _is_ours(self, mailbox: Mailbox) -> bool:
        return mailbox.domain_ascii.lower() == self.domain.lower()

    def _make(self, local_part: str) -> Mailbox:
        return Mailbox(quote_local_part(local_part), self.domain)

    def _make_srs1(self, first: str, rest: str) -> Mailbox:
        code = self._hash(self._secrets[0], first, rest)
        return self._make(f"SRS1={code}={first}={rest}")

    def _today(self) -> int:
        return int(self._clock() // _SECONDS_A_DAY) % _DAYS

    def _hash(self, secret: bytes, *parts: str) -> str:
        # SHA-1 and lower case, as all others have it: systems on the way may change the
        # case of an address. As a keyed hash SHA-1 is sound.
        octets = "".join(parts).lower().encode("utf-8", "surrogateescape")
        digest = hmac.new(secret, octets, hashlib.sha1).digest()
        return base64.b64encode(digest).decode("ascii")[:_HASH_CHARACTERS]

    def _check_hash(self, code: str, *parts: str) -> None:
        found = [
            hmac.compare_digest(
                code.lower().encode("utf-8", "surrogateescape"),
                self._hash(secret, *parts).lower().encode(),
            )
            for secret in self._secrets
        ]
        if not any(found):
            raise BadAddress("not an address that we wrote", code=550, enhanced="5.1.1")

    def _check_age(self, stamp: str) -> None:
        high, low = (_ALPHABET.index(one) for one in stamp.upper())
        if (self._today() - (high << 5 | low)) % _DAYS > self._max_age_days:
            raise BadAddress("the address is too old", code=550, enhanced="5.1.6")

"""Which handler gets mail for which recipient.

A pattern is an address with placeholders: ``support+{ticket}@example.com``. A
placeholder stands for one character or more, in the domain for none of the dots unless
it is all of the domain; ``*`` is one that is not named. ``sales`` alone is that local
part in any domain, ``@example.com`` any local part there. Case makes no difference.

Matching never goes back: each placeholder takes as little as it can, so an address
takes time linear in its length, whatever the pattern.

>>> Pattern("support+{ticket}@example.com").match(
...     Mailbox("Support+42", "EXAMPLE.com"))
{'ticket': '42'}
>>> Pattern("{user}@{team}.example.com").match(Mailbox("a", "b.c.example.com"))
"""

from __future__ import annotations

import re
from typing import Final

from smtpx.wire.address import Mailbox

__all__ = ["Pattern"]

_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}|\*")


class Pattern:
    """A pattern of addresses.

    Args:
        text: the pattern.

    Raises:
        ValueError: two placeholders have one name or touch each other, or a brace
            stands alone.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        local_part, mark, domain = text.rpartition("@")
        if not mark:
            local_part, domain = text, "*"
        self._any_domain = domain == "*"
        self._local_part = _Glob(local_part or "*")
        is_whole = _PLACEHOLDER.fullmatch(domain) is not None
        self._domain = _Glob(domain, forbidden="" if is_whole else ".")
        names = [*self._local_part.names, *self._domain.names]
        if len(set(names)) != len(names):
            raise ValueError(f"a placeholder comes twice in the pattern {text!r}")

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def match(self, mailbox: Mailbox) -> dict[str, str] | None:
        """Return what the placeholders stand for; None if the address is another.

        Args:
            mailbox: the recipient. The local part is unquoted first, and domains are
                compared in U-labels.
        """
        found = self._local_part.match(mailbox.local_part_unquoted)
        if found is None or self._any_domain:
            return found
        domain = self._domain.match(mailbox.domain_unicode)
        return None if domain is None else found | domain


class _Glob:
    """One side of a pattern: literal texts with placeholders between them."""

    def __init__(self, text: str, *, forbidden: str = "") -> None:
        self._literals: list[str] = []
        self._names: list[str] = []
        self._forbidden = forbidden
        position = 0
        for match in _PLACEHOLDER.finditer(text):
            self._literals.append(text[position : match.start()].lower())
            self._names.append(match[1] or "")
            position = match.end()
        self._literals.append(text[position:].lower())
        if any(set("{}") & set(literal) for literal in self._literals):
            raise ValueError(f"a brace that is no placeholder, in {text!r}")
        if "" in self._literals[1:-1]:
            raise ValueError(f"placeholders that touch each other, in {text!r}")

    @property
    def names(self) -> list[str]:
        return [name for name in self._names if name]

    def match(self, text: str) -> dict[str, str] | None:
        # Not casefold: positions in both must be the same.
        lowered = text.lower()
        if len(lowered) != len(text):
            lowered = text
        first, *rest = self._literals
        if not self._names:
            return {} if lowered == first else None
        if not lowered.startswith(first):
            return None
        position = len(first)
        found: dict[str, str] = {}
        for name, literal, is_last in zip(
            self._names,
            rest,
            [*[False] * (len(rest) - 1), True],
            strict=True,
        ):
            if is_last:
                end = len(lowered) - len(literal)
                if end <= position or not lowered.endswith(literal):
                    return None
            else:
                end = lowered.find(literal, position + 1)
                if end < 0:
                    return None
            value = text[position:end]
            if set(value) & set(self._forbidden):
                return None
            if name:
                found[name] = value
            position = end + len(literal)
        return found

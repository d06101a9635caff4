"""What a server told in its reply to EHLO or LHLO."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Capabilities"]

# What some servers write for old clients of Outlook, beside or in place of "AUTH ".
_OLD_AUTH = "AUTH="

# limit-name-value (RFC 9422 section 3); the values of all limits that there are.
_LIMIT = re.compile(r"([A-Za-z0-9_-]+)(?:=([!-:<-~]+))?", re.ASCII)
_LIMIT_VALUE = re.compile(r"[1-9][0-9]{0,5}", re.ASCII)


class Capabilities(Mapping[str, tuple[str, ...]]):
    """The extensions of a server: keywords with their parameters.

    A mapping that does not change; keywords are found in any case, and kept in upper
    case.

    Args:
        items: keywords and parameters. Those of a repeated keyword are added to the
            first ones, each once.

    >>> capabilities = Capabilities.parse(["size 1000", "AUTH PLAIN", "AUTH=LOGIN"])
    >>> capabilities.size, capabilities.auth_mechanisms, "PIPELINING" in capabilities
    (1000, ('PLAIN', 'LOGIN'), False)
    """

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[tuple[str, Iterable[str]]] = ()) -> None:
        merged: dict[str, dict[str, None]] = {}
        for keyword, parameters in items:
            merged.setdefault(keyword.upper(), {}).update(dict.fromkeys(parameters))
        self._items = {keyword: tuple(found) for keyword, found in merged.items()}

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Capabilities:
        """Read the lines of the reply after the first (RFC 5321 section 4.1.1.1).

        Args:
            lines: ``keyword`` or ``keyword parameter ...``. Lenient: in any case, with
                any number of spaces; ``AUTH=`` is read as ``AUTH``; an empty line is
                passed over.

        Returns:
            What they say.
        """
        return cls(map(_parse_ehlo_line, filter(str.strip, lines)))

    def __getitem__(self, keyword: str) -> tuple[str, ...]:
        return self._items[keyword.upper()]

    def __contains__(self, keyword: object) -> bool:
        return isinstance(keyword, str) and keyword.upper() in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return f"Capabilities.parse({list(self.lines())!r})"

    @property
    def size(self) -> int | None:
        """The largest message in octets, or None if no limit is known.

        RFC 1870 section 3: SIZE without a number says nothing, and 0 that there is no
        fixed limit. Lenient: what is no number says nothing either.
        """
        number = (*self.get("SIZE", ()), "")[0]
        # No MAIL can declare more than twenty digits (RFC 1870 section 3).
        if not (number.isascii() and number.isdigit() and len(number) <= 20):
            return None
        return int(number) or None

    @property
    def auth_mechanisms(self) -> tuple[str, ...]:
        """Names of the SASL mechanisms in upper case, in the order of the server."""
        return tuple(dict.fromkeys(name.upper() for name in self.get("AUTH", ())))

    @property
    def limits(self) -> Mapping[str, int]:
        """What LIMITS tells of a session, by name in upper case (RFC 9422).

        A limit whose value is malformed is left out, and all are if any breaks the
        syntax of the list (section 3.7).

        >>> Capabilities.parse(["LIMITS RCPTMAX=20 MAILMAX=5 RCPTDOMAINMAX=x"]).limits
        {'RCPTMAX': 20, 'MAILMAX': 5}
        """
        found = {}
        for item in self.get("LIMITS", ()):
            match = _LIMIT.fullmatch(item)
            if match is None:
                return {}
            name, value = match.groups()
            if value is not None and _LIMIT_VALUE.fullmatch(value):
                found[name.upper()] = int(value)
        return found

    def lines(self) -> tuple[str, ...]:
        """Return one line a keyword, as a server writes them."""
        return tuple(
            " ".join((keyword, *parameters))
            for keyword, parameters in self._items.items()
        )


def _parse_ehlo_line(line: str) -> tuple[str, list[str]]:
    """Parse ehlo-line (RFC 5321 section 4.1.1.1)."""
    line = line.lstrip()
    if line[: len(_OLD_AUTH)].upper() == _OLD_AUTH:
        line = line.replace("=", " ", 1)
    keyword, *parameters = line.split()
    return keyword, parameters

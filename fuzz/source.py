"""Choices out of octets, as ``atheris.FuzzedDataProvider`` makes them.

Written here, so that what a fuzzer found runs in the test suite, where there is no
fuzzer. Choices come from the front, one octet each, and what is left is the input: so
a mutation of the input does not change the choices, and seeds can be written by hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Source", "allow", "pieces_of"]

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Source:
    """Octets, taken from the front; where there are none left, zeros."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._position = 0

    @property
    def is_empty(self) -> bool:
        """Whether all was taken."""
        return self._position >= len(self._octets)

    def octet(self) -> int:
        """Take one octet."""
        taken = self._octets[self._position : self._position + 1]
        self._position += 1
        return taken[0] if taken else 0

    def flag(self) -> bool:
        """Take an octet as yes (odd) or no."""
        return bool(self.octet() & 1)

    def choice(self, items: Sequence[ItemT]) -> ItemT:
        """Take an octet to choose one of at most 256 things."""
        return items[self.octet() % len(items)]

    def take(self, size: int) -> bytes:
        """Take some octets, or what is left of them."""
        taken = self._octets[self._position : self._position + size]
        self._position += size
        return taken

    def word(self) -> bytes:
        """Take an octet as a length, and as many octets."""
        return self.take(self.octet())

    def rest(self) -> bytes:
        """Take all that is left."""
        return self.take(len(self._octets))

    def text(self) -> str:
        """Take all that is left as text; what is no UTF-8 becomes surrogates."""
        return self.rest().decode("utf-8", "surrogateescape")


def pieces_of(octets: bytes, seed: int) -> list[bytes]:
    """Cut octets in one of 256 ways.

    Args:
        octets: to cut.
        seed: 0 cuts everywhere; others in pieces whose sizes go up and down.
    """
    pieces = []
    position = 0
    size = 1
    while position < len(octets):
        pieces.append(octets[position : position + size])
        position += size
        size = (size * 5 + seed) % (seed % 61 + 1) + 1 if seed else 1
    return pieces


def allow(
    allowed: type[Exception] | tuple[type[Exception], ...],
    call: Callable[[], ResultT],
) -> ResultT | None:
    """Call something that may fail in the way that it documents, and in no other."""
    try:
        return call()
    except allowed:
        return None

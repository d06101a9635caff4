"""Reading what a server has delivered to a Maildir."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from tests.interop.programs import poll

if TYPE_CHECKING:
    from pathlib import Path

# A field that a server adds on top: name, colon, anything, folded lines.
TRACE_FIELD = re.compile(
    rb"(?:Return-Path|Received|Received-SPF|Authentication-Results|Delivered-To|"
    rb"X-Original-To):[^\n]*\n(?:[ \t][^\n]*\n)*",
    re.IGNORECASE,
)


# Where markers are looked for, behind what servers put on top.
HEADER_OCTETS = 8_192


class Maildir:
    """A Maildir into which somebody else delivers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: set[str] = set()

    def take_next(self) -> bytes:
        """Wait for a message not taken before, and return its file's content."""
        return poll(self._find_next, f"mail in {self.path}").read_bytes()

    def take(self, marker: bytes) -> bytes:
        """Wait for a message with this in its header, and return its file's content.

        Args:
            marker: of one message alone, so that what came before does no harm.
        """
        path = poll(lambda: self._find(marker), f"{marker!r} in {self.path}")
        return path.read_bytes()

    def _find(self, marker: bytes) -> Path | None:
        new = self.path / "new"
        for path in new.iterdir() if new.is_dir() else ():
            if path.name not in self._seen:
                with path.open("rb") as file:
                    found = marker in file.read(HEADER_OCTETS)
                if found:
                    self._seen.add(path.name)
                    return path
        return None

    def _find_next(self) -> Path | None:
        # A file in new/ is complete: it was written elsewhere and renamed.
        new = self.path / "new"
        names = os.listdir(new) if new.is_dir() else []  # noqa: PTH208 - names only
        for name in sorted(names):
            if name not in self._seen:
                self._seen.add(name)
                return new / name
        return None

    def count(self) -> int:
        """Return how many messages have been delivered so far."""
        return len(list((self.path / "new").glob("*")))


def split_trace(delivered: bytes) -> tuple[bytes, bytes]:
    """Cut a delivered file into the fields the server added, and the message."""
    position = 0
    while match := TRACE_FIELD.match(delivered, position):
        position = match.end()
    return delivered[:position], delivered[position:]


def as_sent(delivered: bytes) -> bytes:
    """Return the message as it was on the wire: without trace fields, with CRLF.

    A Maildir holds lines that end with LF.
    """
    assert b"\r" not in delivered
    return split_trace(delivered)[1].replace(b"\n", b"\r\n")

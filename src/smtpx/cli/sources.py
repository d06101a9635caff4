"""Messages to send, as files that tell how much of them was read."""

from __future__ import annotations

import copy
import email
import io
import sys
import tempfile
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import BinaryIO, Final, Protocol, cast

from smtpx.cli.failures import ExitCode, Failure

__all__ = ["MeteredFile", "OnRead", "Source", "built_source", "file_source"]

# A header longer than this is no message: Postfix's header_size_limit is 100 KiB.
_MAX_HEADER_OCTETS: Final = 1_048_576

# Of standard input, before it goes to a temporary file.
_SPOOL_OCTETS: Final = 8_388_608


class OnRead(Protocol):
    """Gets the count of octets each time some were read."""

    def __call__(self, count: int, /) -> None:
        """Take note of ``count`` more octets."""


class MeteredFile(io.RawIOBase):
    """Octets, then the rest of a file; it tells what is read of it.

    Args:
        head: what comes first.
        rest: a file that can be sought, at the place to go on from.
        on_read: gets each count of octets.
    """

    def __init__(self, head: bytes, rest: BinaryIO, on_read: OnRead) -> None:
        super().__init__()
        self._head = head
        self._rest = rest
        self._start = rest.tell()
        self._rest_size = rest.seek(0, io.SEEK_END) - self._start
        self._on_read = on_read
        self._position = 0
        self._rest.seek(self._start)

    @property
    def size(self) -> int:
        """All of it, in octets."""
        return len(self._head) + self._rest_size

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Change the position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}
        self._position = max(0, base[whence] + offset)
        self._rest.seek(self._start + max(0, self._position - len(self._head)))
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Return the next octets."""
        if size < 0:
            size = self.size
        data = self._head[self._position : self._position + size]
        if not data:
            data = self._rest.read(size)
        self._position += len(data)
        self._on_read(len(data))
        return data

    def close(self) -> None:
        """Close the file too."""
        self._rest.close()
        super().close()


@dataclass(slots=True)
class Source:
    """A message to send.

    Attributes:
        name: for people.
        message: for the client.
        header: parsed, to find addresses in.
        size: in octets.
    """

    name: str
    message: MeteredFile | EmailMessage
    header: EmailMessage
    size: int

    def close(self) -> None:
        """Close the file, if it is one."""
        if isinstance(self.message, MeteredFile):
            self.message.close()


def built_source(message: EmailMessage, on_read: OnRead) -> Source:
    """Make a source of a message that was built.

    Args:
        message: it.
        on_read: gets each count of octets.
    """
    bare = copy.copy(message)
    del bare["Bcc"]
    octets = bare.as_bytes(policy=SMTP)
    if not octets.isascii():
        # Only as a message can the client write it in another way for a server
        # without 8BITMIME.
        return Source("message", message, message, len(octets))
    metered = MeteredFile(b"", io.BytesIO(octets), on_read)
    return Source("message", metered, message, len(octets))


def file_source(path: str, on_read: OnRead) -> Source:
    """Open a message.

    Args:
        path: of a file, or ``-`` for standard input.
        on_read: gets each count of octets.

    Returns:
        The source. A Bcc field is taken off what is sent.

    Raises:
        OSError: it cannot be read.
        Failure: it has no header.
    """
    name = "standard input" if path == "-" else path
    file = _open(path)
    try:
        head = _read_header(file, name)
        header = email.message_from_bytes(head, policy=SMTP)
        metered = MeteredFile(_without_bcc(head), file, on_read)
    except BaseException:
        file.close()
        raise
    return Source(name, metered, header, metered.size)


def _open(path: str) -> BinaryIO:
    if path != "-":
        return Path(path).open("rb")
    # A pipe cannot be sought, and its size is not known.
    spooled = tempfile.SpooledTemporaryFile(_SPOOL_OCTETS)  # noqa: SIM115 - returned
    while data := sys.stdin.buffer.read(65_536):
        spooled.write(data)
    spooled.seek(0)
    return cast("BinaryIO", spooled)


def _read_header(file: BinaryIO, name: str) -> bytes:
    """Read up to the first empty line, and it."""
    lines = []
    left = _MAX_HEADER_OCTETS
    while left > 0 and (line := file.readline(left)):
        lines.append(line)
        left -= len(line)
        if not line.strip(b"\r\n"):
            break
    head = b"".join(lines)
    if not head.strip():
        raise Failure(ExitCode.DATA, f"{name}: there is no message in it")
    return head


def _without_bcc(head: bytes) -> bytes:
    """Take off Bcc and Resent-Bcc, which tell recipients of each other."""
    kept = []
    is_bcc = False
    for line in head.splitlines(keepends=True):
        if not line.startswith((b" ", b"\t")):
            name = line.partition(b":")[0].strip().lower()
            is_bcc = name in {b"bcc", b"resent-bcc"}
        if not is_bcc:
            kept.append(line)
    return b"".join(kept)

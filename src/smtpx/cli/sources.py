"""Messages to send, as files that tell how much of them was read."""

from __future__ import annotations

import copy
import email
import io
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from smtpx.cli.failures import ExitCode, Failure
from smtpx.cli.mailboxes import files_of, is_mbox, messages_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

__all__ = ["MeteredFile", "OnRead", "Source", "built_source", "find_sources"]

# A header longer than this is no message: Postfix's header_size_limit is 100 KiB.
_MAX_HEADER_OCTETS: Final = 1_048_576


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
    """A message to send, which is opened when its turn has come.

    Attributes:
        name: for people.
        header: parsed, to find addresses in.
        size: in octets.
        open: makes what the client sends. Close it if it is a `MeteredFile`.
    """

    name: str
    header: EmailMessage
    size: int
    open: Callable[[], MeteredFile | EmailMessage]


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
        return Source("message", message, len(octets), lambda: message)
    return Source(
        "message",
        message,
        len(octets),
        lambda: MeteredFile(b"", io.BytesIO(octets), on_read),
    )


def find_sources(path: str, on_read: OnRead, stack: ExitStack) -> list[Source]:
    """Find the messages that a path stands for; look into each, and close it again.

    Args:
        path: of a message, of an mbox file, of a Maildir or another folder with
            messages; ``-`` is a message on standard input.
        on_read: gets each count of octets.
        stack: closes at the end what stays open.

    Returns:
        Sources, in the order of their names. A Bcc field is taken off what is sent.

    Raises:
        OSError: something cannot be read.
        Failure: a message has no header, or a folder no message.
    """
    if path == "-":
        return [_source("standard input", _spool(sys.stdin.buffer, stack), on_read)]
    if Path(path).is_dir():
        found = files_of(Path(path))
        if not found:
            raise Failure(ExitCode.NO_INPUT, f"{path}: no message is in this folder")
        return [_source(str(one), _opening(one), on_read) for one in found]
    if is_mbox(Path(path)):
        return [
            _source(name, opener, on_read)
            for name, opener in messages_of(Path(path), stack)
        ]
    return [_source(path, _opening(Path(path)), on_read)]


def _source(name: str, opener: Callable[[], BinaryIO], on_read: OnRead) -> Source:
    def reopen() -> MeteredFile:
        file = opener()
        try:
            return MeteredFile(_without_bcc(_read_header(file, name)), file, on_read)
        except BaseException:
            file.close()
            raise

    with opener() as file:
        head = _read_header(file, name)
        header = email.message_from_bytes(head, policy=SMTP)
        size = MeteredFile(_without_bcc(head), file, on_read).size
    return Source(name, header, size, reopen)


def _opening(path: Path) -> Callable[[], BinaryIO]:
    return lambda: path.open("rb")


def _spool(file: BinaryIO, stack: ExitStack) -> Callable[[], BinaryIO]:
    """Keep what a pipe gives, which can neither be sought nor read twice."""
    kept = tempfile.TemporaryFile()  # noqa: SIM115 - the stack closes it
    stack.callback(kept.close)
    shutil.copyfileobj(file, kept)
    kept.flush()

    def reopen() -> BinaryIO:
        again = os.fdopen(os.dup(kept.fileno()), "rb")
        again.seek(0)
        return again

    return reopen


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

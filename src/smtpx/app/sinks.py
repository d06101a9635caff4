"""Places to put messages: a Maildir, a folder of ``.eml`` files, the terminal.

Theory of operation. A positive reply to the end of a message takes responsibility for
it (RFC 5321 section 4.2.5), so `Sink.store` returns when the message would survive a
power cut, and not before: the content is written to a temporary file and flushed to the
disk; the file is renamed, so that a reader finds a whole message or none; and the
folder is flushed, since the name is part of the folder.

Nothing of this happens on the event loop. A bounded pool of threads writes; a small
message costs one trip to it, a large one is written in blocks as it arrives, and
backpressure reaches the client through the body.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import os
import re
import secrets
import socket
import threading
import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from smtpx.message.trace import Received, make_return_path

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable

    from smtpx.server.session import ConnectionInfo
    from smtpx.wire.envelope import Envelope

__all__ = [
    "EmlSink",
    "MaildirSink",
    "PrintSink",
    "Sink",
    "printable",
    "received_field",
    "trace_fields",
]

# Octets gathered before a trip to a thread: a trip costs some 50 us, as much as
# writing 100 KiB to the page cache.
_BATCH_OCTETS: Final = 262_144

# A thread waits for the disk most of its time; four keep one disk busy.
_THREADS: Final = 4


class Sink(ABC):
    """Where messages go."""

    @abstractmethod
    async def store(self, head: bytes, content: AsyncIterable[bytes]) -> str:
        """Store one message; when this returns it is safe.

        Args:
            head: header fields to put before it, such as `trace_fields`; may be empty.
            content: the message in blocks, with CRLF line ends. What it raises is
                passed on, and nothing is stored.

        Returns:
            The name of the message in this place: printable ASCII without spaces.

        Raises:
            OSError: it cannot be written.
        """

    @abstractmethod
    async def close(self) -> None:
        """Finish what is being written, and free threads."""


class _Draft:
    """A message on its way to the disk.

    All methods run in threads of the pool, and one at a time: a task may be cancelled
    while a thread still writes for it, and the clean-up must come after.
    """

    def __init__(self, temporary: Path, final: Path, *, has_lf: bool) -> None:
        self._temporary = temporary
        self._final = final
        self._line_ends = _LFLineEnds() if has_lf else None
        self._lock = threading.Lock()
        self._file: io.FileIO | None = None
        self._is_over = False

    def write(self, blocks: list[bytes]) -> None:
        """Add octets."""
        with self._lock:
            self._write(blocks, is_last=False)

    def write_last(self, blocks: list[bytes]) -> None:
        """Add octets, then make the message appear under its name, durably."""
        with self._lock:
            file = self._write(blocks, is_last=True)
            if file is None:
                return
            with file:
                os.fsync(file.fileno())
            self._temporary.rename(self._final)
            self._is_over = True
            _flush_folder(self._final.parent)

    def discard(self) -> None:
        """Remove what was written, unless it is a whole message already."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
            if self._file is not None:
                with contextlib.suppress(OSError):
                    self._file.close()
                self._temporary.unlink(missing_ok=True)

    def _write(self, blocks: list[bytes], *, is_last: bool) -> io.FileIO | None:
        if self._is_over:
            return None
        data = b"".join(blocks)
        if self._line_ends is not None:
            data = self._line_ends.convert(data, is_last=is_last)
        if self._file is None:
            # O_EXCL: never into a file that is there, nor through a planted link.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            descriptor = os.open(self._temporary, flags, 0o600)  # mail is private
            self._file = io.FileIO(descriptor, "w")
        view = memoryview(data)
        while view:
            # One write takes 2 GiB at most.
            view = view[self._file.write(view) :]
        return self._file


class _LFLineEnds:
    """Makes each CRLF an LF, wherever it is split; a CR alone stays."""

    def __init__(self) -> None:
        self._held = b""

    def convert(self, data: bytes, *, is_last: bool) -> bytes:
        """Convert the next octets; a CR at their end waits for what follows."""
        data = self._held + data
        self._held = b""
        if data.endswith(b"\r") and not is_last:
            data, self._held = data[:-1], b"\r"
        return data.replace(b"\r\n", b"\n")


class _FileSink(Sink):
    """Stores each message in a file of its own."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="smtpx-sink")

    async def store(self, head: bytes, content: AsyncIterable[bytes]) -> str:
        """Store one message; see `Sink.store`.

        Args:
            head: fields to put before it.
            content: the message in blocks.
        """
        draft, name = self._make_draft()
        loop = asyncio.get_running_loop()
        blocks = [head]
        size = len(head)
        try:
            async for block in content:
                blocks.append(block)
                size += len(block)
                if size >= _BATCH_OCTETS:
                    await loop.run_in_executor(self._pool, draft.write, blocks)
                    blocks, size = [], 0
            await loop.run_in_executor(self._pool, draft.write_last, blocks)
        except BaseException:
            # Not awaited: this may be a cancellation.
            self._pool.submit(draft.discard)
            raise
        return name

    async def close(self) -> None:
        """Finish what is being written, and free threads."""
        await asyncio.to_thread(self._pool.shutdown)

    @abstractmethod
    def _make_draft(self) -> tuple[_Draft, str]:
        """Return a draft with a name that nothing else has, and the name."""


class MaildirSink(_FileSink):
    r"""Stores messages in a Maildir, as a mail reader or an IMAP server expects it.

    Line ends become LF, the custom there. ``tmp``, ``new`` and ``cur`` are made as
    needed.

    Args:
        folder: the Maildir.

    Raises:
        OSError: the folder cannot be made.

    Example:
        >>> import asyncio, mailbox, tempfile
        >>> async def content():
        ...     yield b"Subject: hello\r\n\r\nhi\r\n"
        >>> async def store(folder):
        ...     sink = MaildirSink(folder)
        ...     await sink.store(b"Return-Path: <a@example.com>\r\n", content())
        ...     await sink.close()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     asyncio.run(store(folder))
        ...     for message in mailbox.Maildir(folder):
        ...         print(message["Return-Path"], message["Subject"])
        <a@example.com> hello
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__(folder)
        for name in ("tmp", "new", "cur"):
            # Mail is private.
            (self.folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._numbers = itertools.count()
        # The characters that Maildir itself gives a meaning.
        self._host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())

    def _make_draft(self) -> tuple[_Draft, str]:
        # The form of the Maildir specification: seconds, what is unique in the host,
        # host. The random part keeps two hosts of one name apart.
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        name = (
            f"{seconds}.M{nanoseconds // 1_000}P{os.getpid()}Q{next(self._numbers)}"
            f"R{secrets.token_hex(4)}.{self._host}"
        )
        temporary, final = self.folder / "tmp" / name, self.folder / "new" / name
        return _Draft(temporary, final, has_lf=True), name


class EmlSink(_FileSink):
    """Stores messages as ``.eml`` files, octet for octet as they came.

    The names sort by time. A message that is still arriving has a name that begins with
    a dot.

    Args:
        folder: where to; made if needed.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__(folder)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _make_draft(self) -> tuple[_Draft, str]:
        # No colon: Windows does not have it in names.
        when = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")[:-3]
        name = f"{when}-{secrets.token_hex(4)}.eml"
        temporary, final = self.folder / f".{name}", self.folder / name
        return _Draft(temporary, final, has_lf=False), name


class PrintSink(Sink):
    r"""Shows messages to a person; nothing is kept.

    Control characters are shown escaped: a message could reprogram a terminal.

    Args:
        write: gets the text of one message, in a thread, one message at a time.
        max_octets: how much of a message is shown.

    Example:
        >>> import asyncio
        >>> async def content():
        ...     yield b"Subject: hi\r\n\r\n\x1b[2J\r\n"
        >>> async def store():
        ...     sink = PrintSink(print)
        ...     await sink.store(b"", content())
        ...     await sink.close()
        >>> asyncio.run(store())
        Subject: hi
        <BLANKLINE>
        \x1b[2J
    """

    def __init__(
        self, write: Callable[[str], object], *, max_octets: int = 65_536
    ) -> None:
        self._write = write
        self._max_octets = max_octets
        # One thread, so that messages are not mixed up; a terminal may be stopped.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="smtpx-print")

    async def store(self, head: bytes, content: AsyncIterable[bytes]) -> str:
        """Show one message; see `Sink.store`.

        Args:
            head: fields to put before it.
            content: the message in blocks.
        """
        shown = bytearray(head)
        count = len(head)
        async for block in content:
            count += len(block)
            shown += block[: max(0, self._max_octets - len(shown))]
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._pool, self._show, bytes(shown), count)
        return "shown"

    async def close(self) -> None:
        """Finish what is being shown."""
        await asyncio.to_thread(self._pool.shutdown)

    def _show(self, octets: bytes, count: int) -> None:
        text = _for_terminal(octets)
        if count > len(octets):
            text += f"\n... and {count - len(octets):,} more octets"
        self._write(text)


def trace_fields(connection: ConnectionInfo) -> bytes:
    """Make the Return-Path and Received fields of a final delivery.

    RFC 5321 section 4.4. Call it while the transaction is under way.

    Args:
        connection: of the session, with its ``envelope``.

    Returns:
        Two header fields with CRLF line ends.

    Raises:
        ValueError: no transaction is under way.
    """
    received = received_field(connection)
    return make_return_path(_envelope_of(connection).reverse_path).octets + received


def received_field(connection: ConnectionInfo) -> bytes:
    """Make the Received field that who relays puts on top (RFC 5321 section 4.4).

    By these fields a loop is found. Call it while the transaction is under way.

    Args:
        connection: of the session, with its ``envelope``.

    Returns:
        A header field with CRLF line ends.

    Raises:
        ValueError: no transaction is under way.
    """
    envelope = _envelope_of(connection)
    # More than one recipient is not told: they may be strangers to each other
    # (RFC 5321 section 7.2).
    single = envelope.recipients[0] if len(envelope.recipients) == 1 else None
    tls = connection.tls
    received = Received(
        hello=connection.hello_name or "",
        peer=connection.peer_ip,
        by=connection.hostname,
        protocol=connection.protocol,
        id=connection.id,
        tls="" if tls is None else f"{tls.version} {tls.cipher}",
        recipient=None if single is None else single.mailbox,
        date=datetime.now(UTC),
    )
    return received.to_field().octets


def _envelope_of(connection: ConnectionInfo) -> Envelope:
    if connection.envelope is None:
        raise ValueError("no transaction is under way: there is nothing to trace")
    return connection.envelope


def _flush_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    if os.name == "nt":  # a folder cannot be opened there; NTFS journals its names
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def printable(text: str) -> str:
    r"""Escape what could control a terminal, or reorder what it shows.

    Args:
        text: of a peer; may hold lone surrogates (surrogateescape).

    Returns:
        The same with escapes in place of all but printable characters, LF and TAB.

    >>> print(printable("a\x1b[2J\u202eb"))
    a\x1b[2J\u202eb
    """
    if text.isprintable():
        return text
    return "".join(
        one
        if one.isprintable() or one in "\n\t"
        else one.encode("unicode_escape").decode("ascii")
        for one in text
    )


def _for_terminal(octets: bytes) -> str:
    text = octets.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    return printable(text).removesuffix("\n")

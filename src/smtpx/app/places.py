"""More places to put messages: an mbox file, a function, a webhook, another server."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from smtpx.app.sinks import Sink
from smtpx.errors import Refuse, SendError

if TYPE_CHECKING:
    import io
    from collections.abc import AsyncIterable, Awaitable, Callable, Sequence

    from smtpx.client.aio_pool import ClientPool
    from smtpx.wire.address import Mailbox
    from smtpx.wire.replies import Reply

__all__ = ["CallbackSink", "MboxSink", "WebhookSink", "forward"]

# A line that a reader of an mbox would take for the begin of a message (mboxrd: any
# number of ">" before it, so that quoting can be undone; RFC 4155 describes the file).
_FROM_LINE: Final = re.compile(rb"^(>*From )", re.MULTILINE)

# Whom the first line of a message names in an mbox: the sender of the envelope, as far
# as its readers can tell it from the date behind it.
_RETURN_PATH: Final = re.compile(rb"Return-Path: <([!-~]+)>\n")

# An empty line, without which many readers do not see the next message.
_MESSAGE_END: Final = b"\n\n"


async def _gather(head: bytes, content: AsyncIterable[bytes]) -> bytes:
    return b"".join([head, *[block async for block in content]])


class MboxSink(Sink):
    r"""Appends messages to an mbox file (mboxrd, line ends LF).

    One process at a time may write to it: it takes the lock of the system for each
    message. A message that could not be written whole is taken back.

    Args:
        path: of the file; made if needed.

    Example:
        >>> import asyncio, mailbox, tempfile
        >>> async def content():
        ...     yield b"Subject: hello\r\n\r\nFrom here on\r\n"
        >>> async def store(path):
        ...     sink = MboxSink(path)
        ...     await sink.store(b"", content())
        ...     await sink.close()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     asyncio.run(store(f"{folder}/mbox"))
        ...     with open(f"{folder}/mbox") as file:
        ...         print(file.read().partition("\n\n")[2].strip())
        >From here on
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        # One thread: messages must not be mixed up.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="smtpx-mbox")
        self._lock = threading.Lock()

    async def store(self, head: bytes, content: AsyncIterable[bytes]) -> str:
        """Store one message, which is held in memory; see `Sink.store`.

        Args:
            head: fields to put before it.
            content: the message in blocks.
        """
        octets = await _gather(head, content)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._append, octets)

    async def close(self) -> None:
        """Finish what is being written, and free the thread."""
        await asyncio.to_thread(self._pool.shutdown)

    def _append(self, octets: bytes) -> str:
        octets = octets.replace(b"\r\n", b"\n")
        found = _RETURN_PATH.match(octets)
        sender = b"MAILER-DAEMON" if found is None else found[1]
        date = time.asctime(time.gmtime()).encode()
        text = b"From %b %b\n" % (sender, date) + _FROM_LINE.sub(rb">\1", octets)
        text = text.removesuffix(b"\n") + _MESSAGE_END
        # Not Path.open, which takes no opener. No buffer: on a full disk it would try
        # again to write what it holds, before it lets anybody cut the file.
        with self._lock, open(self.path, "a+b", 0, opener=_private) as file:
            _lock_file(file.fileno())
            start = file.seek(0, os.SEEK_END)
            gap = _missing_end(file, start)
            try:
                view = memoryview(gap + text)
                while view:
                    # One write takes 2 GiB at most, and what fits on the disk.
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(start)
                raise
        return str(start + len(gap))


def _missing_end(file: io.FileIO, size: int) -> bytes:
    """Return what ends the last message of an mbox, if nobody did.

    A process that was killed while it wrote leaves half a message. The next one would
    be a part of that, and lost to every reader.
    """
    file.seek(max(0, size - len(_MESSAGE_END)))
    tail = file.read(len(_MESSAGE_END))
    if not tail or tail == _MESSAGE_END:
        return b""
    return b"\n" if tail.endswith(b"\n") else _MESSAGE_END


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)  # mail is private


def _lock_file(descriptor: int) -> None:
    """Wait for other programs that write to the file, as mail programs do."""
    if os.name != "nt":  # which has no such locks
        import fcntl  # noqa: PLC0415 - of Unix alone

        fcntl.lockf(descriptor, fcntl.LOCK_EX)


class CallbackSink(Sink):
    """Gives each message to a coroutine function.

    Args:
        callback: gets the message; what it raises is passed on.
    """

    def __init__(self, callback: Callable[[bytes], Awaitable[object]]) -> None:
        self._callback = callback

    async def store(self, head: bytes, content: AsyncIterable[bytes]) -> str:
        """Give one message away; see `Sink.store`.

        Args:
            head: fields to put before it.
            content: the message in blocks.
        """
        await self._callback(await _gather(head, content))
        return "taken"

    async def close(self) -> None:
        """Do nothing: nothing is kept."""


_TEMPORARY: Final = frozenset({408, 425, 429})


class WebhookSink(Sink):
    """Posts each message to a URL, as ``message/rfc822``.

    A 2xx response takes responsibility for it. 408, 425, 429 and 5xx, and no response,
    defer it; any other refuses it. Redirects are not followed.

    Args:
        url: ``https://`` or ``http://``.
        headers: of the request, such as Authorization; or another Content-Type, if what
            you store is none of mail.
        timeout: in seconds.
        threads: requests at the same time.
        secret: shared with the other end. Each request is signed with it, so that the
            other end knows who sent it, and when: the field ``X-Signature`` is
            ``t=<seconds since 1970>,v1=<hexadecimal HMAC-SHA256>`` of ``<t>.<body>``.
        clock: returns seconds since 1970.

    Raises:
        ValueError: it is no such URL.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        timeout: float = 30.0,
        threads: int = 8,
        secret: bytes | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
            raise ValueError("a webhook has a URL that begins with https:// or http://")
        self._url = url
        self._headers = {"Content-Type": "message/rfc822", **(headers or {})}
        self._timeout = timeout
        self._secret = secret
        self._clock = clock
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="smtpx-webhook")
        self._opener = urllib.request.build_opener(_NoRedirects)

    async def store(self, head: bytes, content: AsyncIterable[bytes]) -> str:
        """Post one message; see `Sink.store`.

        Args:
            head: fields to put before it.
            content: the message in blocks.

        Raises:
            Refuse: the other end refuses or defers it.
        """
        octets = await _gather(head, content)
        loop = asyncio.get_running_loop()
        status = await loop.run_in_executor(self._pool, self._post, octets)
        if status in _TEMPORARY or not 200 <= status < 500:
            raise Refuse(451, "4.3.0", "the message cannot be taken now")
        if status >= 300:
            raise Refuse(554, "5.3.0", "the message is not taken")
        return f"HTTP-{status}"

    async def close(self) -> None:
        """Finish what is being posted, and free the threads."""
        await asyncio.to_thread(self._pool.shutdown)

    def _post(self, octets: bytes) -> int:
        """Return the status of the response; 0 if there is none."""
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            self._url, data=octets, headers=self._headers, method="POST"
        )
        if self._secret is not None:
            when = int(self._clock())
            signed = hmac.new(self._secret, b"%d.%b" % (when, octets), hashlib.sha256)
            request.add_header("X-Signature", f"t={when},v1={signed.hexdigest()}")
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                status: int = response.status
                return status
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except (OSError, ValueError):
            return 0


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows none: a message goes where it was told to go."""

    def redirect_request(self, *_arguments: object, **_options: object) -> None:
        """Make no new request, so that the response itself is the answer."""


async def forward(
    content: bytes,
    pool: ClientPool,
    *,
    sender: Mailbox | None,
    recipients: Sequence[Mailbox],
) -> str:
    """Send a message on to another server; its refusals are ours.

    By LMTP it may take the message for some recipients only. Then nobody is told that
    it was taken: who has it may get it twice, and nobody loses it.

    Args:
        content: the message.
        pool: connections to the server.
        sender: the reverse path.
        recipients: where it goes.

    Returns:
        What the server said to the end of the message.

    Raises:
        Refuse: the server refused it or one of the recipients, or cannot be reached.
    """
    try:
        result = await pool.send(
            content,
            sender="" if sender is None else sender,
            recipients=list(recipients),
            require_all=True,
        )
    except SendError as error:
        is_deferred = error.reply is None or error.is_temporary
        raise _refusal(None if is_deferred else error.reply) from error
    if result.refused:
        # By LMTP some have it and others not. All get one reply here, and who would
        # never hear of the refusal would lose the message.
        answers = [one.reply for one in result.refused]
        is_deferred = any(one is None or one.is_temporary for one in answers)
        raise _refusal(None if is_deferred else answers[0])
    return "" if result.reply is None else " ".join(result.reply.lines)


def _refusal(reply: Reply | None) -> Refuse:
    """Say no as the next server did; None: not now."""
    if reply is None:
        return Refuse(451, "4.4.0", "the next server cannot take it now")
    return Refuse(reply.code, None, "\n".join(reply.lines))

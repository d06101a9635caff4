"""Says the client's lines of a transcript to a server on a socket, and compares.

Whose server that is makes no difference: `smtpx.testing.asyncio_driver` has one that
does what the transcript says, `smtpx.testing.own_drivers` one of the user.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable

from smtpx.server.sockets import UNIX_PREFIX, parse_address
from smtpx.testing.server_drivers import ReplyReader
from smtpx.testing.steps import (
    ClientSays,
    Mark,
    ServerOctets,
    ServerSays,
    Signal,
    Step,
    Transcript,
    Wait,
)

__all__ = ["PATIENCE_SECONDS", "Caller", "SkippingLoop", "settle"]

# A guard against a hang, in seconds of the real clock; no test waits for it to pass.
PATIENCE_SECONDS = 30.0

# Turns of the loop in which octets reach the other side, through TLS and its tasks.
_SETTLING_TURNS = 50


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock can be put forward.

    >>> import asyncio
    >>> async def main():
    ...     loop = asyncio.get_running_loop()
    ...     waiting = loop.create_task(asyncio.sleep(3600))
    ...     await asyncio.sleep(0)
    ...     loop.skip(3601)
    ...     await waiting
    >>> with asyncio.Runner(loop_factory=SkippingLoop) as runner:
    ...     runner.run(main())
    """

    _skipped = 0.0

    def time(self) -> float:
        """The time of the loop, in seconds, what was skipped included."""
        return super().time() + self._skipped

    def skip(self, seconds: float) -> None:
        """Put the clock forward; timers that are due then fire next."""
        self._skipped += seconds


async def settle() -> None:
    """Let what was written arrive, and what it causes happen."""
    for _ in range(_SETTLING_TURNS):
        await asyncio.sleep(0)


class Caller:
    """A client that says what is written.

    Args:
        transcript: what is written.
        driver: who plays, for messages.
        hostname: of the server, which its certificate is for.
        client_tls: trusts the server, for ``== TLS ==``.
        skip: puts the server's clock forward, for ``== WAIT 300s ==``.
    """

    def __init__(
        self,
        transcript: Transcript,
        driver: str,
        *,
        hostname: str,
        client_tls: ssl.SSLContext | None,
        skip: Callable[[float], None],
    ) -> None:
        self._transcript = transcript
        self._driver = driver
        self._hostname = hostname
        self._client_tls = client_tls
        self._skip = skip
        self._reader = ReplyReader(transcript, driver)

    async def call(self, address: str) -> None:
        """Connect, say all lines, and hang up.

        Args:
            address: where the server listens: ``127.0.0.1:2525`` or ``unix:/path``.

        Raises:
            TranscriptMismatch: the server said something else.
        """
        if address.startswith(UNIX_PREFIX):
            path = address.removeprefix(UNIX_PREFIX)
            streams = await asyncio.open_unix_connection(path)
        else:
            streams = await asyncio.open_connection(*parse_address(address))
        self._incoming, self._outgoing = streams
        try:
            for step in self._transcript.steps:
                await self._take(step)
            await self._leave(len(self._transcript.source))
        finally:
            self._outgoing.close()
            with contextlib.suppress(OSError):
                await self._outgoing.wait_closed()

    async def _take(self, step: Step) -> None:
        match step:
            case ClientSays():
                self._outgoing.write(step.octets)
                # A server that closed already is what a later step finds out.
                with contextlib.suppress(OSError):
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        await self._outgoing.drain()
            case ServerSays() | ServerOctets():
                await self._expect(step)
            case Wait():
                await settle()
                self._skip(step.seconds)
                await settle()
            case Signal():
                await self._signal(step)

    async def _expect(self, step: ServerSays | ServerOctets) -> None:
        while not self._reader.is_complete(step):
            octets = await self._receive()
            if not octets:
                break
            self._reader.feed(octets)
        self._reader.compare(step)

    async def _receive(self) -> bytes:
        """Take what comes; nothing at the end, or when nothing comes."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._incoming.read(65_536)
        except (OSError, TimeoutError):
            return b""

    async def _signal(self, signal: Signal) -> None:
        if signal.mark is Mark.TLS:
            self._reader.expect_nothing(signal.number)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._outgoing.start_tls(
                    self._client_tls or ssl.create_default_context(),
                    server_hostname=self._hostname,
                )
        elif signal.mark is Mark.HANG_UP:
            await self._leave(signal.number)
        else:
            await self._expect_close(signal.number)

    async def _leave(self, number: int) -> None:
        """Go, and see that the server says nothing more and goes too."""
        with contextlib.suppress(OSError):
            if self._outgoing.can_write_eof():
                self._outgoing.write_eof()
            else:
                self._outgoing.close()
                return
        await self._expect_close(number)

    async def _expect_close(self, number: int) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while octets := await self._incoming.read(65_536):
                    # A TLS alert is the last word of a handshake that failed.
                    if not octets.startswith(b"\x15\x03"):
                        self._reader.feed(octets)
        except OSError:
            pass  # reset: closed, if not politely
        except TimeoutError:
            raise self._transcript.mismatch(
                number, self._driver, "the server did not close"
            ) from None
        self._reader.expect_nothing(number)

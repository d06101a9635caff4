"""Play transcripts against the asyncio server, over a loopback socket.

Time is the loop's own plus what ``== WAIT 300s ==`` skipped, so a timeout of five
minutes takes no time and no test waits for a clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from smtpx.server.listener import Server
from smtpx.server.session import ConnectionInfo
from smtpx.server.sockets import parse_address
from smtpx.testing.scripted import (
    Received,
    Script,
    ScriptedSession,
    check_ends,
    session_class,
)
from smtpx.testing.server_drivers import ReplyReader
from smtpx.testing.settings import server_options
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

__all__ = ["SkippingLoop", "play_asyncio", "settle"]

_NAME = "asyncio server"

# A guard against a hang, in seconds of the real clock; no test waits for it to pass.
_PATIENCE = 5.0

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


class _AsyncioPlay:
    """One transcript on one server."""

    def __init__(
        self,
        transcript: Transcript,
        loop: SkippingLoop,
        client_tls: ssl.SSLContext | None,
    ) -> None:
        self.transcript = transcript
        self.loop = loop
        self.client_tls = client_tls
        self.received = Received()
        self.script = Script(transcript)
        self.session_class = session_class(transcript)
        self.sessions = 0
        self.reader = ReplyReader(transcript, _NAME)
        self.is_tls_offered = False

    def make_session(self, connection: ConnectionInfo) -> ScriptedSession:
        self.sessions += 1
        return self.session_class(connection, self.script, self.received)

    async def play(self, server: Server) -> None:
        self.hostname = server.hostname
        host, port = parse_address(server.addresses[0])
        self.incoming, self.outgoing = await asyncio.open_connection(host, port)
        try:
            for step in self.transcript.steps:
                await self.take(step)
            await self.leave(len(self.transcript.source))
        finally:
            self.outgoing.close()
            with contextlib.suppress(OSError):
                await self.outgoing.wait_closed()
        await server.shutdown(_PATIENCE)
        if len(self.received.closed) != self.sessions:
            raise self.transcript.mismatch(
                len(self.transcript.source),
                _NAME,
                f"{self.sessions} sessions, closed: {self.received.closed}",
            )
        check_ends(self.transcript, _NAME, self.received)

    async def take(self, step: Step) -> None:
        match step:
            case ClientSays():
                self.outgoing.write(step.octets)
                # A server that closed already is what a later step finds out.
                with contextlib.suppress(OSError):
                    async with asyncio.timeout(_PATIENCE):
                        await self.outgoing.drain()
            case ServerSays() | ServerOctets():
                await self.expect(step)
            case Wait():
                await settle()
                self.loop.skip(step.seconds)
                await settle()
            case Signal():
                await self.signal(step)

    async def expect(self, step: ServerSays | ServerOctets) -> None:
        while not self.reader.is_complete(step):
            octets = await self.receive()
            if not octets:
                break
            self.reader.feed(octets)
        self.reader.compare(step)

    async def receive(self) -> bytes:
        """Take what comes; nothing at the end, or when nothing comes."""
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self.incoming.read(65_536)
        except (OSError, TimeoutError):
            return b""

    async def signal(self, signal: Signal) -> None:
        if signal.mark is Mark.TLS:
            self.reader.expect_nothing(signal.number)
            async with asyncio.timeout(_PATIENCE):
                await self.outgoing.start_tls(
                    self.client_tls or ssl.create_default_context(),
                    server_hostname=self.hostname,
                )
        elif signal.mark is Mark.HANG_UP:
            await self.leave(signal.number)
        else:
            await self.expect_close(signal.number)

    async def leave(self, number: int) -> None:
        """Go, and see that the server says nothing more and goes too."""
        with contextlib.suppress(OSError):
            if self.outgoing.can_write_eof():
                self.outgoing.write_eof()
            else:
                self.outgoing.close()
                return
        await self.expect_close(number)

    async def expect_close(self, number: int) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                while octets := await self.incoming.read(65_536):
                    # A TLS alert is the last word of a handshake that failed.
                    if not octets.startswith(b"\x15\x03"):
                        self.reader.feed(octets)
        except OSError:
            pass  # reset: closed, if not politely
        except TimeoutError:
            raise self.transcript.mismatch(
                number, _NAME, "the server did not close"
            ) from None
        self.reader.expect_nothing(number)


def play_asyncio(
    transcript: Transcript,
    *,
    server_tls: ssl.SSLContext | None = None,
    client_tls: ssl.SSLContext | None = None,
) -> None:
    """Play a transcript against a `smtpx.Server` on a loopback socket.

    Args:
        transcript: what is written.
        server_tls: the certificate of the server, for its ``hostname``; for transcripts
            with ``with tls``.
        client_tls: trusts it.

    Raises:
        TranscriptMismatch: the conversation differs from the transcript.
    """

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SkippingLoop)  # noqa: S101 - made below
        play = _AsyncioPlay(transcript, loop, client_tls)
        options = server_options(transcript, server_tls)
        async with Server(play.make_session, "127.0.0.1:0", options=options) as server:
            await play.play(server)

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(main())

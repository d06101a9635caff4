"""Play transcripts against the asyncio server, over a loopback socket.

Time is the loop's own plus what ``== WAIT 300s ==`` skipped, so a timeout of five
minutes takes no time and no test waits for a clock.
"""

from __future__ import annotations

import asyncio
import ssl

from smtpx.server.listener import Server
from smtpx.server.session import ConnectionInfo
from smtpx.testing.caller import PATIENCE_SECONDS, Caller, SkippingLoop
from smtpx.testing.scripted import (
    Received,
    Script,
    ScriptedSession,
    check_ends,
    session_class,
)
from smtpx.testing.settings import server_options
from smtpx.testing.steps import Transcript

__all__ = ["play_asyncio"]

_NAME = "asyncio server"


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

    def make_session(self, connection: ConnectionInfo) -> ScriptedSession:
        self.sessions += 1
        return self.session_class(connection, self.script, self.received)

    async def play(self, server: Server) -> None:
        caller = Caller(
            self.transcript,
            _NAME,
            hostname=server.hostname,
            client_tls=self.client_tls,
            skip=self.loop.skip,
        )
        await caller.call(server.addresses[0])
        await server.shutdown(PATIENCE_SECONDS)
        if len(self.received.closed) != self.sessions:
            raise self.transcript.mismatch(
                len(self.transcript.source),
                _NAME,
                f"{self.sessions} sessions, closed: {self.received.closed}",
            )
        check_ends(self.transcript, _NAME, self.received)


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

r"""Play transcripts against what you wrote: a session, an application, any server.

The lines of the conversation are those of `smtpx.testing.transcripts`. What a session
does is yours, so lines that say it, as ``refuse rcpt 550``, are none of a transcript
for these drivers.

>>> import smtpx
>>> from smtpx.testing.transcripts import parse_transcript
>>> class NoStrangers(smtpx.Session):
...     async def rcpt(self, forward_path, options):
...         if forward_path.domain != "example.com":
...             raise smtpx.Refuse(550, "5.7.1", "we know nobody there")
>>> transcript = parse_transcript('''\
... # we relay for nobody
... S: 220 *
... C: EHLO client.test
... S: 250-* (more)
... C: MAIL FROM:<a@example.net>
... S: 250 2.1.0 *
... C: RCPT TO:<b@example.org>
... S: 550 5.7.1 we know nobody there
... ''')
>>> play_session(transcript, NoStrangers)
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from smtpx.server.listener import Server
from smtpx.server.options import ServerOptions
from smtpx.server.session import ConnectionInfo, Session
from smtpx.testing.caller import PATIENCE_SECONDS, Caller, SkippingLoop
from smtpx.testing.settings import OF_THE_TEST, server_options
from smtpx.testing.steps import Transcript, TranscriptError

__all__ = ["play_address", "play_session"]

_SESSION = "your session"
_SERVER = "your server"

# Lines that say what a session or a client of the library does.
_NOT_YOURS = frozenset(
    {"refuse", "reply", "fail", "hang", "login", "ignore", "then", "client", "M:", "M|"}
)


def play_session(
    transcript: Transcript,
    session_factory: Callable[[ConnectionInfo], Session],
    *,
    options: ServerOptions | None = None,
    server_tls: ssl.SSLContext | None = None,
    client_tls: ssl.SSLContext | None = None,
) -> None:
    """Play a transcript against sessions of yours, in a server on a loopback socket.

    The server's clock is the test's: ``== WAIT 300s ==`` takes no time.

    Args:
        transcript: what is written.
        session_factory: a `Session` class, or what else makes sessions, as for
            `smtpx.Server`.
        options: of the server; None: those of the ``with`` lines.
        server_tls: a certificate for its ``hostname``, for ``with tls``.
        client_tls: trusts the certificate, for ``== TLS ==``.

    Raises:
        TranscriptMismatch: the conversation differs from the transcript.
        TranscriptError: a line of it is about what is yours.
    """
    _require_only_lines(transcript, has_options=options is not None)
    settings = options or server_options(transcript, server_tls)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SkippingLoop)  # noqa: S101 - made below
        async with Server(session_factory, "127.0.0.1:0", options=settings) as server:
            caller = Caller(
                transcript,
                _SESSION,
                hostname=server.hostname,
                client_tls=client_tls,
                skip=loop.skip,
            )
            await caller.call(server.addresses[0])
            await server.shutdown(PATIENCE_SECONDS)

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(main())


def play_address(
    transcript: Transcript,
    address: str,
    *,
    hostname: str = "localhost",
    client_tls: ssl.SSLContext | None = None,
) -> None:
    """Play a transcript against a server that runs already, whatever it is made of.

    It must not run on this thread's event loop: start it by ``run_in_thread``, or in a
    process of its own.

    Args:
        transcript: what is written.
        address: where it listens: ``127.0.0.1:2525`` or ``unix:/path``.
        hostname: that its certificate is for.
        client_tls: trusts the certificate, for ``== TLS ==``.

    Raises:
        TranscriptMismatch: the conversation differs from the transcript.
        TranscriptError: a line of it is about what is yours, or wants time to pass,
            which is not the test's there.
        OSError: nothing listens there.
    """
    _require_only_lines(transcript, has_options=True)

    def skip(seconds: float) -> None:
        text = f"{transcript.name}: the clock of a server that runs cannot be put "
        raise TranscriptError(f"{text}{seconds:g} s forward: use play_session")

    caller = Caller(
        transcript, _SERVER, hostname=hostname, client_tls=client_tls, skip=skip
    )
    asyncio.run(caller.call(address))


def _require_only_lines(transcript: Transcript, *, has_options: bool) -> None:
    """Refuse what the driver would pass over: the test would say more than it shows."""
    if "server" not in transcript.plays:
        raise TranscriptError(f"{transcript.name}: it is for clients alone")
    for number, line in enumerate(transcript.source, 1):
        word = line.split(maxsplit=1)[0] if line.strip() else ""
        if word in _NOT_YOURS:
            text = f"{word!r} is for sessions of the test, and this one is yours"
            raise TranscriptError(f"{transcript.name}:{number}: {text}")
    for setting in transcript.settings:
        if has_options and setting.name not in OF_THE_TEST:
            where = f"{transcript.name}:{setting.number}"
            text = f"with {setting.name}: this server has its options already"
            raise TranscriptError(f"{where}: {text}")

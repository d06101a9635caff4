"""Which drivers play a transcript, and how to start them: the door to this package.

A test suite of its own needs no more than this::

    @pytest.mark.parametrize("path", Path("transcripts").glob("*.txt"))
    def test_transcript(path):
        transcript = read_transcript(path)
        for driver in drivers_for(transcript):
            play(transcript, driver)
"""

from __future__ import annotations

import dataclasses
import ssl

from smtpx.testing.asyncio_driver import play_asyncio
from smtpx.testing.client_drivers import CLIENT_DRIVERS
from smtpx.testing.server_drivers import CORE_DRIVERS
from smtpx.testing.steps import Transcript

__all__ = ["Certificates", "drivers_for", "play"]


@dataclasses.dataclass(frozen=True, slots=True)
class Certificates:
    """TLS contexts for both ends of a transcript with ``== TLS ==``.

    Attributes:
        server: has a certificate for the server's ``hostname``.
        client: trusts it.
    """

    server: ssl.SSLContext
    client: ssl.SSLContext


def drivers_for(transcript: Transcript) -> tuple[str, ...]:
    r"""The names of the drivers that can play a transcript.

    The core and the blocking client have no clock that can be put forward, so only
    the asyncio drivers play one in which time passes. One that
    is about what comes in ``one-segment`` is not played octet by octet.

    >>> from smtpx.testing.transcripts import parse_transcript
    >>> drivers_for(parse_transcript("# a rule\nS: 220\n== WAIT 1s ==\n"))
    ('asyncio',)
    """
    names: list[str] = []
    if "server" in transcript.plays:
        names += () if transcript.needs_clock else CORE_DRIVERS
        names.append("asyncio")
    if "client" in transcript.plays:
        names += ["async-client"] if transcript.needs_clock else CLIENT_DRIVERS
    if "server" in transcript.plays and transcript.has_setting("one-segment"):
        names.remove("octets")
    return tuple(names)


def play(
    transcript: Transcript, driver: str, certificates: Certificates | None = None
) -> None:
    """Play a transcript.

    Args:
        transcript: what is written.
        driver: one of `drivers_for`.
        certificates: for transcripts with ``== TLS ==``.

    Raises:
        TranscriptMismatch: the conversation differs from the transcript.
    """
    if driver in CORE_DRIVERS:
        CORE_DRIVERS[driver](transcript)
        return
    play_it = CLIENT_DRIVERS.get(driver, play_asyncio)
    play_it(
        transcript,
        server_tls=certificates.server if certificates else None,
        client_tls=certificates.client if certificates else None,
    )

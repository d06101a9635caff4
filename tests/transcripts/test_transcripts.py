"""Play every transcript in this folder on every driver that can play it."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtpx.testing.drivers import Certificates, drivers_for, play
from smtpx.testing.steps import Transcript
from smtpx.testing.transcripts import read_transcript

FOLDER = Path(__file__).parent


CASES = [
    pytest.param(
        transcript,
        driver,
        id=f"{path.relative_to(FOLDER).with_suffix('').as_posix()}-{driver}",
    )
    for path in sorted(FOLDER.rglob("*.txt"))
    for transcript in [read_transcript(path)]
    for driver in drivers_for(transcript)
]


@pytest.mark.parametrize(("transcript", "driver"), CASES)
def test_transcript(
    transcript: Transcript, driver: str, certificates: Certificates
) -> None:
    play(transcript, driver, certificates)

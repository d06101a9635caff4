"""The programs of examples/, run as a reader would."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import smtpx
from tests.slow_callbacks import without_slow_callbacks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FOLDER = Path(__file__).resolve().parents[2] / "examples"
# Longer than anything takes, on a busy machine too: it ends what hangs.
TIMEOUT_SECONDS = 120


def command(name: object, *arguments: object) -> list[str]:
    """Return how to run a program: in development mode, without any warning."""
    path = str(FOLDER / str(name))
    return [sys.executable, "-X", "dev", "-W", "error", path, *map(str, arguments)]


def run(
    name: object,
    *arguments: object,
    given: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> tuple[int, str, str]:
    """Run a program to its end; return its exit code and what it printed."""
    done = subprocess.run(
        command(name, *arguments),
        input=given,
        capture_output=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
        env={**os.environ, **(environment or {})},
    )
    return (
        done.returncode,
        done.stdout.decode(),
        without_slow_callbacks(done.stderr.decode()),
    )


@contextmanager
def running(
    name: object, *arguments: object, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run a server, and end it as an operator would; yield its address."""
    with subprocess.Popen(
        command(name, "--listen", "127.0.0.1:0", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        try:
            if first.startswith("listening on "):
                yield first.split()[-1]
        finally:
            process.terminate()
            _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert first, errors
    assert process.returncode == 0, errors
    assert "Traceback" not in errors, errors


def send(
    address: str,
    message: bytes,
    *recipients: str,
    sender: str = "ann@example.net",
    scheme: str = "smtp+plain",
) -> smtpx.SendResult:
    """Send a message to a program."""
    return smtpx.send(
        message, to=f"{scheme}://{address}", sender=sender, recipients=recipients
    )

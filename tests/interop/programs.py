"""Finding, starting and stopping the programs of others."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tests.ports import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "HOST",
    "START_SECONDS",
    "UNPRIVILEGED_USER",
    "find_program",
    "free_port",
    "open_directory",
    "poll",
    "running",
    "wait_until_listening",
]

T = TypeVar("T")

START_SECONDS = 120.0
# The unprivileged user whom servers started by root deliver mail as.
UNPRIVILEGED_USER = "nobody"


def find_program(name: str, package: str) -> str:
    """Return the path of a program, also where only root's PATH leads."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise RuntimeError(f"{name} is not installed: the package is {package!r}")
    return found


def poll(probe: Callable[[], T | None], waiting_for: str) -> T:
    """Call `probe` until it returns something.

    The programs of others do not say when they serve or have delivered, so asking
    again is the only way; our own ends are never waited for like this.
    """
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        found = probe()
        if found is not None:
            return found
        time.sleep(0.02)
    raise TimeoutError(f"waited {START_SECONDS:.0f} s for {waiting_for}")


def wait_until_listening(
    address: tuple[str, int] | Path, process: subprocess.Popen[bytes], log: Path
) -> None:
    """Wait until a connection to the program succeeds."""

    def probe() -> bool | None:
        if process.poll() is not None:
            output = log.read_text(errors="replace") if log.exists() else ""
            raise RuntimeError(
                f"{process.args!r} ended with {process.returncode}:\n{output}"
            )
        family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
        target = str(address) if isinstance(address, Path) else address
        with contextlib.suppress(OSError), socket.socket(family) as trial:
            trial.settimeout(30)
            trial.connect(target)
            return True
        return None

    poll(probe, f"{process.args!r} to listen on {address}")


@contextlib.contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a session of its own; at the end it is terminated."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """Make a temporary directory that other users may enter.

    pytest's own are closed to others, but a mail server reads its configuration
    as one user and delivers as another. The name is short, because the path of a
    unix socket has to fit into 107 octets.
    """
    with tempfile.TemporaryDirectory(prefix="smtpx-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory

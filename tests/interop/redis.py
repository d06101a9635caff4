"""A Redis server of our own, that keeps nothing."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.interop.programs import (
    HOST,
    find_program,
    free_port,
    running,
    wait_until_listening,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class Redis:
    """A Redis server that runs.

    Attributes:
        port: where it listens.
        process: it.
    """

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @contextlib.contextmanager
    def stunned(self) -> Iterator[None]:
        """Let it answer nothing, though it accepts what the kernel accepts for it."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)


@contextlib.contextmanager
def running_redis(directory: Path, port: int | None = None) -> Iterator[Redis]:
    """Run Redis; what it holds is gone at the end."""
    port = port or free_port()
    log = directory / f"redis-{port}.log"
    command = [
        find_program("redis-server", "redis-server"),
        *("--bind", HOST, "--port", str(port), "--dir", str(directory)),
        *("--save", "", "--appendonly", "no"),
    ]
    with running(command, log) as process:
        wait_until_listening((HOST, port), process, log)
        yield Redis(port, process)

"""Commands that listen, as processes: scripts and people meet them so."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.slow_callbacks import without_slow_callbacks

if TYPE_CHECKING:
    from collections.abc import Iterator

# Longer than anything here takes: it ends what hangs.
SECONDS = 300
PYTHON = [sys.executable, "-X", "dev", "-W", "error", "-m", "smtpx"]


@dataclass
class Serving:
    """A running ``smtpx serve``, or another command that listens."""

    process: subprocess.Popen[str]
    addresses: list[str]
    kinds: list[str]

    @property
    def host_and_port(self) -> tuple[str, int]:
        host, _, port = self.addresses[0].rpartition(":")
        return host, int(port)

    def line(self) -> str:
        """Return the next line of its output, without the line end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def error_line(self) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if said := without_slow_callbacks(line):
                return said.rstrip("\n")
        return ""

    def stop(self) -> tuple[str, str]:
        """End it as a service manager does; return the rest of what it says."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=SECONDS)
        assert self.process.returncode == 0, err
        return out, without_slow_callbacks(err)


@contextmanager
def serving(
    *arguments: str, count: int = 1, command: str = "serve", **environ: str
) -> Iterator[Serving]:
    """Run ``smtpx serve``, and wait for the lines that say where it listens."""
    with subprocess.Popen(
        [*PYTHON, command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environ,
    ) as process:
        watchdog = threading.Timer(SECONDS, process.kill)
        watchdog.start()
        try:
            it = Serving(process, [], [])
            for _ in range(count):
                match = re.fullmatch(r"listening on (\S+) \((.*)\)", it.line())
                assert match, it.process.communicate()
                it.addresses.append(match[1])
                it.kinds.append(match[2])
            yield it
        finally:
            watchdog.cancel()
            process.kill()


def send(*arguments: str, password: str = "", content: bytes | None = None) -> str:
    """Run ``smtpx send``; return its output."""
    ran = subprocess.run(
        [*PYTHON, "send", *arguments],
        input=content,
        stdin=subprocess.DEVNULL if content is None else None,
        capture_output=True,
        timeout=SECONDS,
        check=False,
        env=os.environ | ({"SMTPX_PASSWORD": password} if password else {}),
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.decode()

"""Postfix's smtp-sink: a server that can be told to misbehave."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.interop.maildir import split_trace
from tests.interop.programs import (
    HOST,
    UNPRIVILEGED_USER,
    find_program,
    free_port,
    open_directory,
    poll,
    running,
    wait_until_listening,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Sink:
    """A smtp-sink that is running."""

    port: int
    _dumps: Path

    def take_message(self) -> tuple[dict[str, list[str]], bytes]:
        """Return what is known of the one message, and its content.

        The former has the keys ``Client-Proto``, ``Helo-Args``, ``Mail-Args`` and
        ``Rcpt-Args``.
        """
        path = poll(self._find_complete, "smtp-sink to write the message down")
        return self._parse(path.read_bytes())

    def take(self, marker: bytes) -> bytes:
        """Return the content of the message with this in it."""
        path = poll(
            lambda: self._find_complete(marker), f"smtp-sink to write {marker!r}"
        )
        return self._parse(path.read_bytes())[1]

    @staticmethod
    def _parse(dump: bytes) -> tuple[dict[str, list[str]], bytes]:
        facts: dict[str, list[str]] = {}
        while dump.startswith(b"X-"):
            line, _, dump = dump.partition(b"\n")
            key, _, value = line[2:].decode().partition(": ")
            facts.setdefault(key, []).append(value)
        # It ends what it writes by an empty line of its own.
        content = split_trace(dump)[1].removesuffix(b"\n")
        return facts, content.replace(b"\n", b"\r\n")

    def count(self) -> int:
        """Return how many messages came."""
        return len(list(self._dumps.iterdir()))

    def _find_complete(self, marker: bytes = b"") -> Path | None:
        for path in self._dumps.iterdir():
            content = path.read_bytes()
            if content.endswith(b"\n\n") and marker in content:
                return path
        return None


@contextlib.contextmanager
def running_sink(*options: str) -> Iterator[Sink]:
    """Run smtp-sink with options, as ``-L`` for LMTP or ``-e`` for HELO only."""
    port = free_port()
    with open_directory() as directory:
        dumps = directory / "dumps"
        dumps.mkdir()
        dumps.chmod(0o777)
        command = [find_program("smtp-sink", "postfix"), *options]
        if os.geteuid() == 0:
            command += ["-u", UNPRIVILEGED_USER]
        command += ["-d", f"{dumps}/", f"{HOST}:{port}", "100"]
        log = directory / "log"
        with running(command, log) as process:
            wait_until_listening((HOST, port), process, log)
            yield Sink(port, dumps)

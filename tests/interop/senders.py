"""What a mail client of others is told to send, and what it says of it."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from tests.interop.names import PASSWORD, RECIPIENTS, SENDER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.certificates import ServerFiles


# Of everything that waits for the other end.
TIMEOUT_SECONDS = 120


class Security(Enum):
    """When TLS begins."""

    NONE = "plain"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


@dataclass(frozen=True)
class Task:
    """What a client is to do.

    Attributes:
        files: whose authority it trusts.
        message: as it is to arrive, with CRLF.
        secret: a password, or a token for the mechanisms that want one.
        is_utf8: addresses need SMTPUTF8.
        declares_8bit: ask for ``BODY=8BITMIME`` where it can be asked for.
        wants_notice: of failure, and the header with it (DSN).
        proxy_version: of a PROXY header that it sends first; 0 sends none.
    """

    port: int
    files: ServerFiles
    message: bytes
    security: Security = Security.NONE
    mechanism: str | None = None
    secret: str = PASSWORD
    sender: str = SENDER
    recipients: tuple[str, ...] = RECIPIENTS
    is_lmtp: bool = False
    is_utf8: bool = False
    declares_8bit: bool = False
    wants_notice: bool = False
    proxy_version: int = 0


@dataclass(frozen=True)
class Report:
    """What became of it, as the client has it.

    Attributes:
        text: what it tells whoever uses it.
    """

    is_sent: bool
    text: str = ""


async def run_program(*command: str, given: bytes = b"") -> Report:
    """Run a program to its end."""
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        check=False,
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT_SECONDS,
    )
    return Report(done.returncode == 0, done.stdout.decode(errors="replace"))


def write_message(task: Task, directory: Path, *, is_stuffed: bool = False) -> Path:
    """Write the message down for a program that reads a file."""
    path = directory / "message.eml"
    content = task.message
    if is_stuffed:
        content = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b"."
    path.write_bytes(content)
    return path

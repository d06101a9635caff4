"""The mail clients of others, all described in one way."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import re
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.interop import program_senders, python_senders
from tests.interop.programs import find_program

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from tests.interop.senders import Report, Task


@dataclass(frozen=True)
class Client:
    """A client.

    Attributes:
        name: for people.
        version: finds out which one is here.
        send: does a task.
        mechanisms: of SASL, that it has in common with us.
        lacks: why a feature is nothing that it has.
    """

    name: str
    version: Callable[[], str]
    send: Callable[[Task, Path], Awaitable[Report]]
    mechanisms: tuple[str, ...]
    lacks: Mapping[str, str] = field(default_factory=dict)


def told_by(*command: str) -> Callable[[], str]:
    """Return what asks a program for its version: the first number that it tells."""

    def version() -> str:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = re.search(r"\d+(?:\.\d+)+", done.stdout)
        assert found is not None
        return found[0]

    return functools.cache(version)


PASSWORDS = ("PLAIN", "LOGIN", "CRAM-MD5")

# Features by their names in the table.
CHUNKING, DSN, LMTP, SMTPUTF8 = "CHUNKING", "DSN", "LMTP", "SMTPUTF8"
OWN_HEADER = "PROXY header of its own"

ONLY_DATA = {CHUNKING: "it sends all messages by DATA"}
NO_HEADER = {OWN_HEADER: "it cannot send one"}
NO_OPTION = "it has no option for it"
# Seen in the dialogue: the server refuses what comes so.
UNASKED = "it sends addresses as they are, and does not ask for SMTPUTF8"

CLIENTS = {
    "smtplib": Client(
        "smtplib",
        lambda: f"of Python {platform.python_version()}",
        python_senders.send_with_smtplib,
        PASSWORDS,
        {**ONLY_DATA, **NO_HEADER},
    ),
    "aiosmtplib": Client(
        "aiosmtplib",
        lambda: importlib.metadata.version("aiosmtplib"),
        python_senders.send_with_aiosmtplib,
        (*PASSWORDS, "XOAUTH2"),
        {**ONLY_DATA, **NO_HEADER, LMTP: "it speaks SMTP only"},
    ),
    "curl": Client(
        "curl",
        told_by(find_program("curl", "curl"), "--version"),
        program_senders.send_with_curl,
        (*PASSWORDS, "XOAUTH2", "OAUTHBEARER"),
        {**ONLY_DATA, LMTP: "it speaks SMTP only", DSN: NO_OPTION},
    ),
    "swaks": Client(
        "swaks",
        told_by(find_program("swaks", "swaks"), "--version"),
        program_senders.send_with_swaks,
        PASSWORDS,
        {**ONLY_DATA, DSN: NO_OPTION, SMTPUTF8: UNASKED},
    ),
    "msmtp": Client(
        "msmtp",
        told_by(find_program("msmtp", "msmtp"), "--version"),
        program_senders.send_with_msmtp,
        (*PASSWORDS, "SCRAM-SHA-1", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER"),
        {**ONLY_DATA, **NO_HEADER, SMTPUTF8: UNASKED},
    ),
    "nodemailer": Client(
        "nodemailer",
        told_by(
            *("env", "NODE_PATH=/usr/share/nodejs", find_program("node", "nodejs")),
            *("-p", 'require("nodemailer/package.json").version'),
        ),
        program_senders.send_with_nodemailer,
        (*PASSWORDS, "XOAUTH2"),
        {**ONLY_DATA, **NO_HEADER},
    ),
}

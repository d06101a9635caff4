"""The mail clients of others, each sending one message as it is told."""

from __future__ import annotations

import asyncio
import smtplib
import subprocess
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import aiosmtplib

from tests.interop.names import HELLO_NAME, PASSWORD, RECIPIENTS, SENDER, USER
from tests.interop.programs import HOST, find_program

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from tests.interop.certificates import ServerFiles


# Of everything that waits for the other end.
TIMEOUT_SECONDS = 20


class Security(Enum):
    """When TLS begins."""

    NONE = "plain"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


@dataclass(frozen=True)
class Task:
    """What a client is to do."""

    port: int
    files: ServerFiles
    # The message as it is to arrive, with CRLF.
    message: bytes
    security: Security = Security.NONE
    mechanism: str | None = None


async def run_program(*command: str, given: bytes = b"") -> None:
    """Run a program to its end; anything but success is an error with its output."""
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        check=False,
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")


async def send_with_smtplib(task: Task, directory: Path) -> None:
    def send() -> None:
        context = task.files.client_context()
        with (
            smtplib.SMTP_SSL(
                HOST, task.port, HELLO_NAME, context=context, timeout=TIMEOUT_SECONDS
            )
            if task.security is Security.IMPLICIT
            else smtplib.SMTP(HOST, task.port, HELLO_NAME, timeout=TIMEOUT_SECONDS)
        ) as client:
            client.ehlo()
            if task.security is Security.STARTTLS:
                client.starttls(context=context)
                client.ehlo()
            if task.mechanism is not None:
                client.user, client.password = USER, PASSWORD
                method = getattr(client, f"auth_{task.mechanism.lower()}")
                client.auth(task.mechanism, method)
            client.sendmail(SENDER, RECIPIENTS, task.message)

    await asyncio.to_thread(send)


async def send_with_aiosmtplib(task: Task, directory: Path) -> None:
    async with aiosmtplib.SMTP(
        hostname=HOST,
        port=task.port,
        local_hostname=HELLO_NAME,
        use_tls=task.security is Security.IMPLICIT,
        start_tls=task.security is Security.STARTTLS,
        tls_context=task.files.client_context(),
        timeout=TIMEOUT_SECONDS,
    ) as client:
        await client.ehlo()
        if task.mechanism == "PLAIN":
            await client.auth_plain(USER, PASSWORD)
        elif task.mechanism == "LOGIN":
            await client.auth_login(USER, PASSWORD)
        await client.sendmail(SENDER, list(RECIPIENTS), task.message)


async def send_with_curl(task: Task, directory: Path) -> None:
    scheme = "smtps" if task.security is Security.IMPLICIT else "smtp"
    command = [find_program("curl", "curl"), "--silent", "--show-error"]
    command += [
        "--max-time",
        str(TIMEOUT_SECONDS),
        "--cacert",
        str(task.files.authority),
    ]
    command += ["--mail-from", SENDER]
    for recipient in RECIPIENTS:
        command += ["--mail-rcpt", recipient]
    if task.security is Security.STARTTLS:
        command += ["--ssl-reqd"]
    if task.mechanism is not None:
        command += ["--user", f"{USER}:{PASSWORD}"]
        command += ["--login-options", f"AUTH={task.mechanism}"]
    # curl sends a file as it is, but for dots.
    path = directory / "message.eml"
    path.write_bytes(task.message)
    command += ["--upload-file", str(path)]
    await run_program(*command, f"{scheme}://{HOST}:{task.port}/{HELLO_NAME}")


async def send_with_swaks(task: Task, directory: Path) -> None:
    command = [find_program("swaks", "swaks"), "--server", HOST]
    command += [
        "--port",
        str(task.port),
        "--helo",
        HELLO_NAME,
        "--timeout",
        str(TIMEOUT_SECONDS),
    ]
    command += ["--from", SENDER, "--to", ",".join(RECIPIENTS)]
    command += {
        Security.NONE: [],
        Security.STARTTLS: ["--tls"],
        Security.IMPLICIT: ["--tls-on-connect"],
    }[task.security]
    if task.security is not Security.NONE:
        command += ["--tls-verify", "--tls-ca-path", str(task.files.authority)]
    if task.mechanism is not None:
        command += ["--auth", task.mechanism]
        command += ["--auth-user", USER, "--auth-password", PASSWORD]
    # Data that is not to be touched has to come with its dots stuffed.
    path = directory / "message.eml"
    path.write_bytes((b"\r\n" + task.message).replace(b"\r\n.", b"\r\n..")[2:] + b".")
    await run_program(*command, "--no-data-fixup", "--data", f"@{path}")


async def send_with_msmtp(task: Task, directory: Path) -> None:
    command = [find_program("msmtp", "msmtp"), f"--host={HOST}", f"--port={task.port}"]
    command += [
        f"--from={SENDER}",
        f"--domain={HELLO_NAME}",
        f"--timeout={TIMEOUT_SECONDS}",
    ]
    # The message as it is: nothing added, nothing taken away.
    command += ["--add-missing-date-header=off", "--add-missing-from-header=off"]
    command += ["--remove-bcc-headers=off", "--set-date-header=off"]
    if task.security is not Security.NONE:
        starttls = "on" if task.security is Security.STARTTLS else "off"
        command += ["--tls=on", f"--tls-starttls={starttls}"]
        command += [f"--tls-trust-file={task.files.authority}"]
    if task.mechanism is not None:
        command += [f"--auth={task.mechanism.lower()}", f"--user={USER}"]
        command += [f"--passwordeval=echo '{PASSWORD}'"]
    given = task.message.replace(b"\r\n", b"\n")
    await run_program(*command, "--", *RECIPIENTS, given=given)


SENDERS: Mapping[str, Callable[[Task, Path], Awaitable[None]]] = {
    "smtplib": send_with_smtplib,
    "aiosmtplib": send_with_aiosmtplib,
    "curl": send_with_curl,
    "swaks": send_with_swaks,
    "msmtp": send_with_msmtp,
}

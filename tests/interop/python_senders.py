"""The mail clients of others that are written in Python."""

from __future__ import annotations

import asyncio
import smtplib
from typing import TYPE_CHECKING

import aiosmtplib

from tests.interop.names import HELLO_NAME, USER
from tests.interop.programs import HOST
from tests.interop.senders import TIMEOUT_SECONDS, Report, Security, Task

if TYPE_CHECKING:
    import ssl
    from pathlib import Path


def options_of(task: Task) -> tuple[list[str], list[str]]:
    """Return what stands behind MAIL, and behind RCPT: both take it as written."""
    mail, rcpt = [], []
    if task.is_utf8:
        mail.append("SMTPUTF8")
    if task.declares_8bit:
        mail.append("BODY=8BITMIME")
    if task.wants_notice:
        mail.append("RET=HDRS")
        rcpt.append("NOTIFY=FAILURE")
    return mail, rcpt


def connect_smtplib(task: Task, context: ssl.SSLContext) -> smtplib.SMTP:
    if task.is_lmtp:
        # It has no time-out of its own before Python 3.9, and no name for LHLO here.
        return smtplib.LMTP(HOST, task.port, HELLO_NAME, timeout=TIMEOUT_SECONDS)
    if task.security is Security.IMPLICIT:
        return smtplib.SMTP_SSL(
            HOST, task.port, HELLO_NAME, context=context, timeout=TIMEOUT_SECONDS
        )
    return smtplib.SMTP(HOST, task.port, HELLO_NAME, timeout=TIMEOUT_SECONDS)


def send_by_smtplib(task: Task) -> Report:
    context = task.files.client_context()
    mail, rcpt = options_of(task)
    try:
        with connect_smtplib(task, context) as client:
            if task.security is Security.STARTTLS:
                client.starttls(context=context)
            if task.mechanism is not None:
                client.ehlo()
                client.user, client.password = USER, task.secret
                name = task.mechanism.lower().replace("-", "_")
                client.auth(task.mechanism, getattr(client, f"auth_{name}"))
            refused = client.sendmail(
                task.sender, task.recipients, task.message, mail, rcpt
            )
    except (OSError, smtplib.SMTPException) as error:
        return Report(is_sent=False, text=f"{type(error).__name__}: {error}")
    return Report(is_sent=True, text=str(refused))


async def send_with_smtplib(task: Task, _directory: Path) -> Report:
    return await asyncio.to_thread(send_by_smtplib, task)


async def send_with_aiosmtplib(task: Task, _directory: Path) -> Report:
    mail, rcpt = options_of(task)
    try:
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
            if task.mechanism is not None:
                authenticate = {
                    "PLAIN": client.auth_plain,
                    "LOGIN": client.auth_login,
                    "CRAM-MD5": client.auth_crammd5,
                    "XOAUTH2": client.auth_xoauth2,
                }[task.mechanism]
                await authenticate(USER, task.secret)
            refused, _ = await client.sendmail(
                task.sender,
                list(task.recipients),
                task.message,
                mail_options=mail,
                rcpt_options=rcpt,
            )
    except (OSError, aiosmtplib.SMTPException) as error:
        return Report(is_sent=False, text=f"{type(error).__name__}: {error}")
    return Report(is_sent=True, text=str(refused))

"""The mail clients of others that are programs: each message is a run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.interop.names import HELLO_NAME, USER
from tests.interop.programs import HOST, find_program
from tests.interop.senders import (
    TIMEOUT_SECONDS,
    Report,
    Security,
    Task,
    run_program,
    write_message,
)

if TYPE_CHECKING:
    from pathlib import Path

TOKEN_MECHANISMS = frozenset({"XOAUTH2", "OAUTHBEARER"})
# Whom a program that sends a PROXY header speaks for.
PROXIED_CLIENT = "192.0.2.7"


async def send_with_curl(task: Task, directory: Path) -> Report:
    scheme = "smtps" if task.security is Security.IMPLICIT else "smtp"
    command = [find_program("curl", "curl"), "--silent", "--show-error", "--verbose"]
    command += ["--max-time", str(TIMEOUT_SECONDS)]
    command += ["--cacert", str(task.files.authority)]
    command += ["--mail-from", task.sender]
    for recipient in task.recipients:
        command += ["--mail-rcpt", recipient]
    if task.security is Security.STARTTLS:
        command += ["--ssl-reqd"]
    if task.mechanism in TOKEN_MECHANISMS:
        command += ["--user", USER, "--oauth2-bearer", task.secret]
    elif task.mechanism is not None:
        command += ["--user", f"{USER}:{task.secret}"]
    if task.mechanism is not None:
        command += ["--login-options", f"AUTH={task.mechanism}"]
    if task.proxy_version:
        command += ["--haproxy-protocol"]
    # curl sends a file as it is, but for dots.
    command += ["--upload-file", str(write_message(task, directory))]
    report = await run_program(*command, f"{scheme}://{HOST}:{task.port}/{HELLO_NAME}")
    # What it tells by itself, and not only whoever asks for all of the dialogue.
    told = [line for line in report.text.splitlines() if line.startswith("curl: ")]
    return Report(report.is_sent, "\n".join(told))


async def send_with_swaks(task: Task, directory: Path) -> Report:
    command = [find_program("swaks", "swaks"), "--server", HOST]
    command += ["--port", str(task.port), "--helo", HELLO_NAME]
    command += ["--timeout", str(TIMEOUT_SECONDS)]
    command += ["--from", task.sender, "--to", ",".join(task.recipients)]
    command += {
        Security.NONE: [],
        Security.STARTTLS: ["--tls"],
        Security.IMPLICIT: ["--tls-on-connect"],
    }[task.security]
    if task.is_lmtp:
        command += ["--protocol", "LMTP"]
    if task.security is not Security.NONE:
        command += ["--tls-verify", "--tls-ca-path", str(task.files.authority)]
    if task.mechanism is not None:
        command += ["--auth", task.mechanism]
        command += ["--auth-user", USER, "--auth-password", task.secret]
    if task.proxy_version:
        command += ["--proxy-version", str(task.proxy_version)]
        command += ["--proxy-family", "TCP4" if task.proxy_version == 1 else "AF_INET"]
        command += ["--proxy-source", PROXIED_CLIENT, "--proxy-source-port", "40112"]
        command += ["--proxy-dest", HOST, "--proxy-dest-port", str(task.port)]
        if task.proxy_version > 1:
            command += ["--proxy-protocol", "STREAM", "--proxy-command", "PROXY"]
    # Data that is not to be touched has to come with its dots stuffed.
    path = write_message(task, directory, is_stuffed=True)
    return await run_program(*command, "--no-data-fixup", "--data", f"@{path}")


async def send_with_msmtp(task: Task, directory: Path) -> Report:
    command = [find_program("msmtp", "msmtp"), f"--host={HOST}", f"--port={task.port}"]
    command += [f"--from={task.sender}", f"--domain={HELLO_NAME}"]
    command += [f"--timeout={TIMEOUT_SECONDS}"]
    # The message as it is: nothing added, nothing taken away.
    command += ["--add-missing-date-header=off", "--add-missing-from-header=off"]
    command += ["--remove-bcc-headers=off", "--set-date-header=off"]
    if task.is_lmtp:
        command += ["--protocol=lmtp"]
    if task.security is not Security.NONE:
        starttls = "on" if task.security is Security.STARTTLS else "off"
        command += ["--tls=on", f"--tls-starttls={starttls}"]
        command += [f"--tls-trust-file={task.files.authority}"]
    if task.mechanism is not None:
        secret = directory / "secret"
        secret.write_text(task.secret, encoding="utf-8")
        command += [f"--auth={task.mechanism.lower()}", f"--user={USER}"]
        command += [f"--passwordeval=cat '{secret}'"]
    if task.wants_notice:
        command += ["--dsn-notify=failure", "--dsn-return=hdrs"]
    given = task.message.replace(b"\r\n", b"\n")
    return await run_program(*command, "--", *task.recipients, given=given)


NODEMAILER = """\
const task = JSON.parse(process.argv[1]);
const fs = require("fs");
require("nodemailer").createTransport({
  ...task.options, tls: {ca: fs.readFileSync(task.authority)},
}).sendMail({
  ...task.message, raw: fs.readFileSync(task.path),
}).then((info) => console.log(info), (error) => {
  console.log(error);
  process.exit(1);
});
"""


async def send_with_nodemailer(task: Task, directory: Path) -> Report:
    options: dict[str, object] = {
        "host": HOST,
        "port": task.port,
        "name": HELLO_NAME,
        "lmtp": task.is_lmtp,
        "secure": task.security is Security.IMPLICIT,
        "requireTLS": task.security is Security.STARTTLS,
        "ignoreTLS": task.security is Security.NONE,
        "authMethod": task.mechanism,
        "socketTimeout": TIMEOUT_SECONDS * 1000,
    }
    if task.mechanism in TOKEN_MECHANISMS:
        options["auth"] = {"type": "OAuth2", "user": USER, "accessToken": task.secret}
    elif task.mechanism is not None:
        options["auth"] = {"user": USER, "pass": task.secret}
    message: dict[str, object] = {
        "envelope": {
            "from": task.sender,
            "to": task.recipients,
            "use8BitMime": task.declares_8bit,
            "size": len(task.message),
        }
    }
    if task.wants_notice:
        message["dsn"] = {
            "return": "headers",
            "notify": "failure",
            "recipient": task.sender,
        }
    said = {
        "options": options,
        "message": message,
        "authority": str(task.files.authority),
        "path": str(write_message(task, directory)),
    }
    return await run_program(
        # Where Debian has the modules, which another node on the PATH does not look.
        *("env", "NODE_PATH=/usr/share/nodejs", find_program("node", "nodejs")),
        *("-e", NODEMAILER, json.dumps(said)),
    )

r"""A probe for monitoring: sends a message, and waits until it comes back.

    python examples/monitor.py --to smtp://mx.example.com --sender probe@example.com \
        --recipient echo@example.com --listen 0.0.0.0:2526 --warning 5 --critical 30

Have your system deliver mail for the recipient to this host and port, by a transport or
an alias. A message goes in at one end, through every queue and filter, and out at the
other: what works for it works for people. The output and the exit code are those of a
Nagios plugin: 0 OK, 1 WARNING (slow), 2 CRITICAL (refused, changed, or not here in
time), 3 UNKNOWN (the probe itself is wrong). User and password for AUTH are read from
MAIL_USER and MAIL_PASSWORD.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import os
import secrets
import sys
import time
from email.message import EmailMessage
from email.utils import localtime, make_msgid

import smtpx

OK, WARNING, CRITICAL, UNKNOWN = range(4)
NAMES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
FIELD = "X-Probe"


class Problem(Exception):
    """What the probe found wrong."""


def make_message(options: argparse.Namespace, token: str) -> EmailMessage:
    """Make a message that nobody else can make, with some of what breaks on the way."""
    message = EmailMessage()
    message["From"], message["To"] = options.sender, options.recipient
    message["Subject"], message["Date"] = f"Probe {token[:8]}", localtime()
    message["Message-ID"] = make_msgid(domain="probe.invalid")
    message["Auto-Submitted"] = "auto-generated"
    message[FIELD] = token
    message.set_content(f"{token}\n.\n..\nFrom here: Grüße\n")
    return message


async def probe(options: argparse.Namespace) -> tuple[float, float]:
    """Send a message; return the seconds until it was taken, and until it was back."""
    token = secrets.token_hex(16)
    message = make_message(options, token)
    came: asyncio.Future[smtpx.ParsedMessage] = asyncio.Future()
    app = smtpx.App(server=smtpx.ServerOptions(smtputf8=True))

    @app.on_message()
    async def take(mail: smtpx.Mail) -> None:
        field = mail.header.first(FIELD)
        # Late ones of other runs are taken as well, or they would stay in a queue.
        is_ours = field and hmac.compare_digest(field.value.strip(), token.encode())
        if is_ours and not came.done():
            came.set_result(mail.message)

    async with app.serving(options.listen):
        started = time.monotonic()
        user = os.environ.get("MAIL_USER")
        result = await smtpx.asend(
            message,
            to=options.to,
            sender=options.sender,
            recipients=[options.recipient],
            auth=(user, os.environ.get("MAIL_PASSWORD", "")) if user else None,
        )
        taken = time.monotonic() - started
        try:
            async with asyncio.timeout(max(0.0, options.critical - taken)):
                back = await came
        except TimeoutError:
            said = f"taken as {result.queue_id or result.reply}"
            raise Problem(f"{said}, but not back in {options.critical:g} s") from None
        elapsed = time.monotonic() - started
    if back.text.rstrip("\n") != message.get_content().rstrip("\n"):
        raise Problem("the message came back changed")
    return taken, elapsed


def run(options: argparse.Namespace) -> tuple[int, str]:
    """Probe; return the exit code and what to print."""
    try:
        taken, elapsed = asyncio.run(probe(options))
    except (smtpx.SendError, Problem) as error:
        return CRITICAL, str(error)
    except (OSError, ValueError) as error:
        return UNKNOWN, str(error)
    limits = f"{options.warning:g};{options.critical:g};0"
    figures = f"round_trip={elapsed:.3f}s;{limits} taken={taken:.3f}s;;;0"
    code = WARNING if elapsed > options.warning else OK
    return code, f"back after {elapsed:.2f} s | {figures}"


class Parser(argparse.ArgumentParser):
    """A parser whose errors end with the code that monitoring expects."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Say what is wrong, and exit."""
        self.exit(UNKNOWN, f"MAIL UNKNOWN - {message}\n")


def main() -> int:
    """Read the command line, probe, and return the exit code."""
    parser = Parser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--to", required=True, help="URL of where the message goes in")
    parser.add_argument("--sender", required=True)
    parser.add_argument("--recipient", required=True)
    parser.add_argument("--listen", default="0.0.0.0:2526", help="where it comes out")
    parser.add_argument("--warning", type=float, default=10.0, help="seconds")
    parser.add_argument("--critical", type=float, default=60.0, help="seconds")
    code, text = run(parser.parse_args())
    print(f"MAIL {NAMES[code]} - {' '.join(text.split())}")
    return code


if __name__ == "__main__":
    sys.exit(main())

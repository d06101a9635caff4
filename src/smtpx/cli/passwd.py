"""``smtpx passwd``: make a line of the file that ``smtpx serve --auth-file`` reads."""

from __future__ import annotations

import sys

import click

from smtpx.app.passwords import hash_password
from smtpx.cli.failures import ExitCode, Failure
from smtpx.cli.options import SectionedCommand
from smtpx.cli.screen import can_ask

__all__ = ["passwd"]


@click.command(cls=SectionedCommand, short_help="Make a line of a password file.")
@click.argument("user")
def passwd(user: str) -> None:
    """Make a line for the file that `smtpx serve --auth-file` reads.

    The password is asked for, or read from standard input if that is no terminal. The
    line goes to standard output, so append it: smtpx passwd alice >> passwords
    """
    if not user.strip() or ":" in user or not user.isprintable() or user[0] == "#":
        raise click.UsageError("the name of a user has no colon, and is not empty")
    if can_ask():
        password = click.prompt(
            f"Password for {user}", hide_input=True, confirmation_prompt=True, err=True
        )
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise Failure(ExitCode.USAGE, "the password is empty: type one")
    click.echo(f"{user}:{hash_password(password)}")

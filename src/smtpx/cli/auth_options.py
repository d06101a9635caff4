"""The options about authentication of all that log in at a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from smtpx.cli.failures import ExitCode, Failure
from smtpx.cli.options import section
from smtpx.cli.screen import can_ask
from smtpx.cli.tls_options import TLSArguments
from smtpx.client.options import Auth

if TYPE_CHECKING:
    from smtpx.client.options import Target

__all__ = ["AUTH_OPTIONS", "LoginArguments"]

_auth = section("Authentication")
_existing = click.Path(exists=True, dir_okay=False, path_type=Path)

AUTH_OPTIONS: Final = (
    _auth(
        *("-u", "--user"),
        metavar="NAME",
        envvar="SMTPX_USER",
        show_envvar=True,
        help="Log in. The password comes from SMTPX_PASSWORD or --password-file, or "
        "you are asked.",
    ),
    _auth(
        "--password-file",
        metavar="FILE",
        type=_existing,
        help="Its first line is the password.",
    ),
    _auth(
        "--password",
        metavar="TEXT",
        envvar="SMTPX_PASSWORD",
        show_envvar=True,
        help="Better not: whoever lists the processes of this machine can read it.",
    ),
    _auth(
        "--mechanism",
        "mechanisms",
        metavar="NAME",
        multiple=True,
        help="Try this one, such as PLAIN; repeat it for more, in order.",
    ),
    _auth(
        "--allow-plaintext-auth",
        is_flag=True,
        help="Send the password without TLS: anybody on the way can read it.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginArguments(TLSArguments):
    """These options, parsed: what a command line has that takes them."""

    user: str | None
    password_file: Path | None
    password: str | None
    mechanisms: tuple[str, ...]
    allow_plaintext_auth: bool

    def find_auth(self, target: Target) -> Auth | None:
        """Find out whom to log in as; ask for the password if it is nowhere.

        Args:
            target: the server, whose URL may tell.

        Returns:
            Whom; None if nobody is named.

        Raises:
            Failure: there is no password, and nobody to ask for it.
        """
        user = self.user or target.user
        if user is None:
            return None
        password = self.password
        if self.password_file is not None:
            text = self.password_file.read_text(encoding="utf-8")
            password = text.partition("\n")[0].removesuffix("\r")
        if password is None and self.user is None:
            password = target.password
        if password is None:
            if not can_ask():
                raise Failure(
                    ExitCode.USAGE,
                    f"there is no password for {user}: set SMTPX_PASSWORD, or use "
                    "--password-file",
                )
            prompt = f"Password of {user} at {target}"
            password = click.prompt(prompt, hide_input=True, err=True)
        return Auth(user, password)

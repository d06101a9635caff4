"""Options that every command has which runs a server."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from smtpx.cli.options import section

__all__ = [
    "GRACE",
    "HOSTNAME",
    "QUIET",
    "REQUIRE_TLS",
    "TLS_CERT",
    "TLS_KEY",
    "UVLOOP",
]

_tls = section("TLS")
_run = section("Running")
_existing = click.Path(exists=True, dir_okay=False, path_type=Path)

TLS_CERT: Final = _tls(
    "--tls-cert",
    metavar="FILE",
    type=_existing,
    help="Certificate and chain (PEM): offer STARTTLS.",
)
TLS_KEY: Final = _tls(
    "--tls-key",
    metavar="FILE",
    type=_existing,
    help="Its key (PEM), if it is not in the same file.",
)
REQUIRE_TLS: Final = _tls(
    "--require-tls", is_flag=True, help="Take no message without TLS."
)
HOSTNAME: Final = _run("--hostname", metavar="NAME", help="What to call this server.")
GRACE: Final = _run(
    "--grace",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="How long messages under way may go on after Ctrl-C or SIGTERM.",
)
UVLOOP: Final = _run(
    "--uvloop/--no-uvloop",
    default=True,
    help="Run on uvloop where it is installed, or never.",
)
QUIET: Final = _run("-q", "--quiet", is_flag=True, help="Show errors alone.")

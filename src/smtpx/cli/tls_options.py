"""The options about TLS of all that connect to a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from smtpx.cli.failures import ExitCode, Failure, explain
from smtpx.cli.options import section
from smtpx.net.tls import client_context

if TYPE_CHECKING:
    import ssl

__all__ = ["TLS_OPTIONS", "TLSArguments"]

_tls = section("TLS")
_existing = click.Path(exists=True, dir_okay=False, path_type=Path)

TLS_OPTIONS: Final = (
    _tls(
        "--ca-file",
        metavar="FILE",
        type=_existing,
        help="Trust these authorities (PEM) in place of the system's.",
    ),
    _tls(
        "--server-name",
        metavar="NAME",
        help="The name in the certificate, if it is not the host's.",
    ),
    _tls(
        "--client-cert",
        metavar="FILE",
        type=_existing,
        help="Your own certificate (PEM), with its key unless --client-key is given.",
    ),
    _tls("--client-key", metavar="FILE", type=_existing, help="Its key (PEM)."),
    _tls(
        "--insecure",
        is_flag=True,
        help="Take any certificate. For tests: the server may be anybody.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSArguments:
    """These options, parsed: what a command line has that takes them."""

    ca_file: Path | None
    server_name: str | None
    client_cert: Path | None
    client_key: Path | None
    insecure: bool

    def check_tls(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            click.UsageError: it does.
        """
        if self.client_key and not self.client_cert:
            raise click.UsageError("--client-key needs --client-cert")
        if self.insecure and (self.ca_file or self.server_name):
            raise click.UsageError("--insecure checks nothing: leave out the other one")

    def tls_context(self) -> ssl.SSLContext:
        """Return what they say.

        Raises:
            Failure: a file is not what it should be.
        """
        try:
            return client_context(
                ca_file=self.ca_file,
                certificate=self.client_cert,
                key=self.client_key,
                verify=not self.insecure,
            )
        except OSError as error:
            raise Failure(
                ExitCode.NO_INPUT,
                f"--ca-file, --client-cert or --client-key is no PEM file with that in "
                f"it: {explain(error)}",
            ) from None

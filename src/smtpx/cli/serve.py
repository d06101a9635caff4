"""``smtpx serve``: receive messages from a shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from smtpx.cli.options import SectionedCommand, octet_count, section
from smtpx.cli.running import parse_listen_url
from smtpx.cli.serving import ServeArguments, run_servers
from smtpx.core.limits import DEFAULT_LIMITS

__all__ = ["serve"]

_receive = section("Messages")
_tls = section("TLS")
_auth = section("Authentication")
_limits = section("Limits")
_run = section("Running")
_existing = click.Path(exists=True, dir_okay=False, path_type=Path)
_folder = click.Path(file_okay=False, path_type=Path)

_OPTIONS: Final = [
    click.argument("addresses", metavar="[ADDRESS]...", nargs=-1),
    _receive(
        "--maildir", metavar="FOLDER", type=_folder, help="Store them in a Maildir."
    ),
    _receive(
        "--eml", metavar="FOLDER", type=_folder, help="Store each in an .eml file."
    ),
    _receive(
        "--accept",
        metavar="DOMAIN|ADDRESS",
        multiple=True,
        help="Refuse all other recipients; repeat it for more.",
    ),
    _receive(
        "--trace/--no-trace",
        default=True,
        help="Put Return-Path and Received before each message, or leave it as it "
        "came.",
    ),
    _tls(
        "--tls-cert",
        metavar="FILE",
        type=_existing,
        help="Certificate and chain (PEM): offer STARTTLS.",
    ),
    _tls(
        "--tls-key",
        metavar="FILE",
        type=_existing,
        help="Its key (PEM), if it is not in the same file.",
    ),
    _tls(
        "--tls-poll",
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True),
        help="Look this often whether they have changed, and read them again. SIGHUP "
        "does so at once.",
    ),
    _tls("--require-tls", is_flag=True, help="Take no message without TLS."),
    _auth(
        "--auth-file",
        metavar="FILE",
        type=_existing,
        help="Offer AUTH to its users; `smtpx passwd` makes the lines.",
    ),
    _auth("--require-auth", is_flag=True, help="Take no message without it."),
    _limits(
        "--max-size",
        metavar="SIZE",
        type=octet_count,
        default="50M",
        show_default=True,
        help="The largest message.",
    ),
    _limits(
        "--max-recipients",
        metavar="COUNT",
        type=click.IntRange(min=1),
        default=DEFAULT_LIMITS.max_recipients,
        show_default=True,
        help="Of one message.",
    ),
    _run("--hostname", metavar="NAME", help="What to call this server."),
    _run(
        "--grace",
        metavar="SECONDS",
        type=click.FloatRange(min=0),
        default=10.0,
        show_default=True,
        help="How long messages under way may go on after Ctrl-C or SIGTERM.",
    ),
    _run(
        "--workers",
        metavar="COUNT",
        type=click.IntRange(min=1),
        help="Serve with so many processes. SIGHUP replaces them one after the other.",
    ),
    _run(
        "--uvloop/--no-uvloop",
        default=True,
        help="Run on uvloop where it is installed, or never.",
    ),
    _run("--wire-log", is_flag=True, help="Show all dialogues, secrets hidden."),
    _run("-q", "--quiet", is_flag=True, help="Show errors alone."),
]

_EPILOG: Final = """
\b
Addresses, 127.0.0.1:2525 by default:
  HOST:PORT               SMTP; port 0 is a free one, :25 every interface
  smtps://HOST:PORT       TLS from the start
  lmtp://HOST:PORT        LMTP
  unix:/PATH              SMTP over a unix socket
  lmtp+unix:///PATH       LMTP over a unix socket
  systemd:NAME            SMTP on sockets from systemd; also smtps+systemd://NAME

\b
Examples:
  smtpx serve
  smtpx serve :25 --maildir ~/Maildir --accept example.com --tls-cert cert.pem
  smtpx serve :587 smtps://:465 --tls-cert cert.pem --auth-file passwords \\
      --require-auth --eml outbox
  smtpx serve lmtp+unix:///run/smtpx.sock --maildir /var/mail/all
"""


@click.command(cls=SectionedCommand, epilog=_EPILOG, short_help="Receive messages.")
def serve(**values: Any) -> None:  # noqa: ANN401 - click's own
    """Receive messages, and show them or store them.

    Without --maildir or --eml they are shown on the terminal. A stored message is on
    the disk before the client is told so. The first lines of the output name the
    addresses, also those with port 0. Ctrl-C stops gently, twice at once.
    """
    arguments = ServeArguments(**values)
    _check(arguments)
    run_servers(arguments)


# Of a command that exists already, each adds itself behind the ones before.
for _option in _OPTIONS:
    serve = _option(serve)


def _check(arguments: ServeArguments) -> None:
    """Refuse what contradicts itself."""
    kinds = [parse_listen_url(address)[0] for address in arguments.addresses]
    if arguments.maildir and arguments.eml:
        raise click.UsageError("--maildir and --eml: choose one")
    if arguments.tls_cert is None:
        if arguments.tls_key or arguments.require_tls or arguments.tls_poll:
            raise click.UsageError(
                "--tls-key, --tls-poll and --require-tls need --tls-cert"
            )
        if any(kind.is_implicit_tls for kind in kinds):
            raise click.UsageError("smtps:// needs --tls-cert")
    if arguments.require_auth and arguments.auth_file is None:
        raise click.UsageError("--require-auth needs --auth-file")

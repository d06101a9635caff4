"""``smtpx relay``: pass each session on to another server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click

from smtpx.app.relay import Relay
from smtpx.cli.failures import ExitCode, Failure, explain
from smtpx.cli.options import SectionedCommand, octet_count, section
from smtpx.cli.running import (
    listen,
    parse_listen_url,
    run_until_stopped,
    server_tls,
)
from smtpx.cli.screen import Screen
from smtpx.cli.server_options import (
    GRACE,
    HOSTNAME,
    QUIET,
    REQUIRE_TLS,
    TLS_CERT,
    TLS_KEY,
    UVLOOP,
)
from smtpx.client.options import ClientOptions, parse_url
from smtpx.core.limits import Limits
from smtpx.net.tls import client_context
from smtpx.server.options import ServerOptions
from smtpx.server.worker import find_loop

__all__ = ["relay"]

_next = section("The next server")
_tls = section("TLS")
_limits = section("Limits")
_run = section("Running")
_existing = click.Path(exists=True, dir_okay=False, path_type=Path)

# What the next server may offer, and a relay can pass on.
_EXTENSIONS: Final = frozenset({"REQUIRETLS", "RRVS", "DELIVERBY", "MT-PRIORITY"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayArguments:
    """The command line, parsed."""

    address: str
    upstream: str
    pass_auth: bool
    xforward: bool
    ca_file: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    require_tls: bool
    max_size: int
    hostname: str | None
    grace: float
    uvloop: bool
    wire_log: bool
    quiet: bool


_OPTIONS: Final = [
    click.argument("address", metavar="LISTEN"),
    click.argument("upstream", metavar="UPSTREAM", envvar="SMTPX_UPSTREAM"),
    _next(
        "--pass-auth",
        is_flag=True,
        help="Offer AUTH, and have the next server check the passwords.",
    ),
    _next(
        "--xforward",
        is_flag=True,
        help="Tell it where each message came from, if it offers XFORWARD.",
    ),
    _next(
        "--ca-file",
        metavar="FILE",
        type=_existing,
        help="Trust these authorities (PEM) in place of the system's.",
    ),
    TLS_CERT,
    TLS_KEY,
    REQUIRE_TLS,
    _limits(
        "--max-size",
        metavar="SIZE",
        type=octet_count,
        default="50M",
        show_default=True,
        help="The largest message, unless the next server takes less.",
    ),
    HOSTNAME,
    GRACE,
    UVLOOP,
    _run("--wire-log", is_flag=True, help="Show all dialogues, secrets hidden."),
    QUIET,
]

_EPILOG: Final = """
\b
LISTEN is an address as for `smtpx serve`, UPSTREAM a URL as for `smtpx send`. One
with a password in it is better given in SMTPX_UPSTREAM, which others cannot list.

\b
Examples:
  smtpx relay :2525 smtp://mx.example.com
  smtpx relay smtps://:465 smtp+starttls://mx.example.com --tls-cert cert.pem \\
      --pass-auth
  smtpx relay lmtp+unix:///run/relay.sock lmtp+unix:///run/dovecot/lmtp
"""


@click.command(cls=SectionedCommand, epilog=_EPILOG, short_help="Pass messages on.")
def relay(**values: Any) -> None:  # noqa: ANN401 - click's own
    """Pass each session on to another server, command for command.

    Nothing is stored here: what is acknowledged to a client was acknowledged by the
    next server. That is asked at the start for what it offers.
    """
    arguments = RelayArguments(**values)
    _check(arguments)
    loop_factory = find_loop() if arguments.uvloop else None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_relay(arguments))


# Of a command that exists already, each adds itself behind the ones before.
for _option in _OPTIONS:
    relay = _option(relay)


def _check(arguments: RelayArguments) -> None:
    """Refuse what contradicts itself."""
    kind, _ = parse_listen_url(arguments.address)
    try:
        parse_url(arguments.upstream)
    except ValueError as error:
        raise click.UsageError(f"UPSTREAM: {error}") from None
    if arguments.tls_cert is None and (
        arguments.tls_key or arguments.require_tls or kind.needs_tls
    ):
        raise click.UsageError(
            "--tls-key, --require-tls, smtps://, smtp+starttls:// and port 465 need "
            "--tls-cert"
        )


async def _relay(arguments: RelayArguments) -> None:
    screen = Screen(is_quiet=arguments.quiet)
    logging.basicConfig(format="smtpx: %(message)s", level=logging.WARNING)
    onward = Relay(
        arguments.upstream,
        options=_client_options(arguments, screen),
        xforward=arguments.xforward,
        pass_auth=arguments.pass_auth,
    )
    options = await onward.offered(_server_options(arguments, screen))
    async with contextlib.AsyncExitStack() as stack:
        server = await listen([arguments.address], onward, options, stack)
        await run_until_stopped(server, arguments.grace, screen)


def _client_options(arguments: RelayArguments, screen: Screen) -> ClientOptions:
    def show(line: str) -> None:
        screen.dialogue(line, "next server")

    options = ClientOptions(wire_log=show if arguments.wire_log else None)
    if arguments.ca_file is None:
        return options
    try:
        context = client_context(ca_file=arguments.ca_file)
    except OSError as error:
        raise Failure(
            ExitCode.NO_INPUT, f"--ca-file {arguments.ca_file}: {explain(error)}"
        ) from None
    return replace(options, tls_context=context)


def _server_options(arguments: RelayArguments, screen: Screen) -> ServerOptions:
    def show(session: str, line: str) -> None:
        screen.dialogue(line, session)

    return ServerOptions(
        hostname=arguments.hostname or "",
        tls=server_tls(arguments.tls_cert, arguments.tls_key),
        require_tls=arguments.require_tls,
        smtputf8=True,
        binarymime=True,
        dsn=True,
        extensions=_EXTENSIONS,
        limits=Limits(max_message_octets=arguments.max_size),
        wire_log=show if arguments.wire_log else None,
    )

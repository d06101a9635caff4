"""``smtpx serve``: receive messages from a shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from smtpx.cli.options import SectionedCommand, octet_count, section
from smtpx.cli.running import parse_listen_url
from smtpx.cli.server_options import (
    GRACE,
    HOSTNAME,
    QUIET,
    REQUIRE_TLS,
    TLS_CERT,
    TLS_KEY,
    UVLOOP,
)
from smtpx.cli.serving import ServeArguments, run_servers
from smtpx.cli.values import metrics_address, network, rate_rule, trusted_network
from smtpx.core.limits import DEFAULT_LIMITS
from smtpx.server.options import ServerOptions
from smtpx.server.rate_guard import Counted, CountedBy

__all__ = ["serve"]

_receive = section("Messages")
_tls = section("TLS")
_auth = section("Authentication")
_limits = section("Limits")
_guards = section("Guards")
_trust = section("Who is trusted")
_watch = section("Watching")
_run = section("Running")
_count = click.IntRange(min=1)
# Over two minutes not every client waits.
_delay = click.FloatRange(min=0, min_open=True, max=120)
_existing = click.Path(exists=True, dir_okay=False, path_type=Path)
_folder = click.Path(file_okay=False, path_type=Path)

_DEFAULTS: Final = ServerOptions()
_NOBODY: Final = "none"


def _network_or_none(text: str) -> str:
    return text if text == _NOBODY else network(text)


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
    TLS_CERT,
    TLS_KEY,
    _tls(
        "--tls-poll",
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True),
        help="Look this often whether they have changed, and read them again. SIGHUP "
        "does so at once.",
    ),
    REQUIRE_TLS,
    _auth(
        "--auth-file",
        metavar="FILE",
        type=_existing,
        help="Offer AUTH to its users; `smtpx passwd` makes the lines.",
    ),
    _auth("--require-auth", is_flag=True, help="Take no message without it."),
    _auth(
        "--require-tls-for-auth",
        is_flag=True,
        help="Take no login without TLS, not even from this machine.",
    ),
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
        type=_count,
        default=DEFAULT_LIMITS.max_recipients,
        show_default=True,
        help="Of one message.",
    ),
    _guards(
        "--max-connections",
        metavar="COUNT",
        type=_count,
        default=_DEFAULTS.max_connections,
        show_default=True,
        help="At the same time, in all; each of --workers counts for itself.",
    ),
    _guards(
        "--max-connections-per-ip",
        metavar="COUNT",
        type=_count,
        default=_DEFAULTS.max_connections_per_ip,
        show_default=True,
        help="The same, from one address.",
    ),
    _guards(
        "--max-connections-per-network",
        metavar="COUNT",
        type=_count,
        default=_DEFAULTS.max_connections_per_network,
        show_default=True,
        help="The same, from an IPv4 /24 or an IPv6 /64.",
    ),
    _guards(
        "--rate",
        "rates",
        metavar="WHAT=RATE[/BY]",
        type=rate_rule,
        multiple=True,
        help="Refuse for a while what comes more often: see Rates; repeat it for more.",
    ),
    _guards(
        "--redis",
        metavar="URL",
        envvar="SMTPX_REDIS",
        show_envvar=True,
        help="Count for --rate in Redis, together with other processes.",
    ),
    _guards(
        "--redis-policy",
        type=click.Choice(["open", "closed"]),
        help="While Redis is down, let all pass (the default), or refuse all for now.",
    ),
    _guards(
        "--greeting-delay",
        metavar="SECONDS",
        type=_delay,
        help="Greet so late, and refuse clients that talk before.",
    ),
    _guards(
        "--error-delay",
        metavar="SECONDS",
        type=_delay,
        help="Answer so late what is refused, the next one twice as late, up to 20.",
    ),
    _trust(
        "--proxy-from",
        metavar="NETWORK",
        type=trusted_network,
        multiple=True,
        help="Proxies that tell in a PROXY header for whom they speak, as they must.",
    ),
    _trust(
        "--xclient-from",
        metavar="NETWORK",
        type=trusted_network,
        multiple=True,
        help="Gateways that may do so by XCLIENT.",
    ),
    _trust(
        "--xforward-from",
        metavar="NETWORK",
        type=trusted_network,
        multiple=True,
        help="Gateways that may tell by XFORWARD where a message came from.",
    ),
    _trust(
        "--plaintext-from",
        metavar="NETWORK",
        type=network,
        multiple=True,
        help="Clients that may do all without TLS.",
    ),
    _trust(
        "--unlimited-from",
        metavar="NETWORK|none",
        type=_network_or_none,
        multiple=True,
        default=_DEFAULTS.unlimited_networks,
        show_default=True,
        help="Clients to which no guard applies but --max-connections.",
    ),
    _watch("--log-events", is_flag=True, help="Log what happens, a line for each."),
    _watch(
        "--metrics",
        metavar="[HOST:]PORT",
        type=metrics_address,
        help="Show metrics to Prometheus; without HOST on this machine alone.",
    ),
    _watch("--wire-log", is_flag=True, help="Show all dialogues, secrets hidden."),
    HOSTNAME,
    GRACE,
    _run(
        "--workers",
        metavar="COUNT",
        type=_count,
        help="Serve with so many processes. SIGHUP replaces them one after the other.",
    ),
    UVLOOP,
    QUIET,
]

_EPILOG: Final = """
\b
Addresses, 127.0.0.1:2525 by default:
  HOST:PORT               SMTP; port 0 is a free one, :25 every interface
  smtps://HOST:PORT       TLS from the start, as port 465 has it anyway
  smtp+starttls://...     SMTP that takes no message without STARTTLS
  lmtp://HOST:PORT        LMTP
  unix:/PATH              SMTP over a unix socket
  lmtp+unix:///PATH       LMTP over a unix socket
  systemd:NAME            SMTP on sockets from systemd; or smtps+systemd://

\b
Rates are of connections, messages, recipients or failed-logins, as in
20/minute, 100/h or 5/30s, by address (as it is without), network or user:
  --rate connections=20/minute --rate recipients=500/hour/user

\b
A NETWORK is 192.0.2.0/24, 2001:db8::/32, an address, or, of proxies and
gateways, unix: for all on unix sockets. Each such option may be repeated.

\b
Examples:
  smtpx serve
  smtpx serve :25 --maildir ~/Maildir --accept example.com --tls-cert cert.pem
  smtpx serve smtp+starttls://:587 :465 --tls-cert cert.pem \\
      --auth-file passwords \\
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
    if _NOBODY in values["unlimited_from"]:
        if len(values["unlimited_from"]) > 1:
            raise click.UsageError("--unlimited-from none: leave out the others")
        values["unlimited_from"] = ()
    arguments = ServeArguments(**values)
    _check(arguments)
    _check_guards(arguments)
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
        if any(kind.needs_tls for kind in kinds):
            raise click.UsageError(
                "smtps://, smtp+starttls:// and port 465 need --tls-cert"
            )
    if arguments.auth_file is None:
        if arguments.require_auth or arguments.require_tls_for_auth:
            raise click.UsageError(
                "--require-auth and --require-tls-for-auth need --auth-file"
            )
    elif arguments.require_tls_for_auth and arguments.tls_cert is None:
        raise click.UsageError("--require-tls-for-auth needs --tls-cert")
    needs_tls = arguments.require_tls or any(kind.requires_tls for kind in kinds)
    if arguments.plaintext_from and not (needs_tls or arguments.auth_file):
        raise click.UsageError(
            "--plaintext-from excepts from --require-tls, smtp+starttls:// and from "
            "what --auth-file wants: give one of them"
        )


def _check_guards(arguments: ServeArguments) -> None:
    """Refuse rules that could not count, or would not count all."""
    counted = {rule.counted for rule in arguments.rates}
    if Counted.AUTH_FAILURES in counted and not arguments.auth_file:
        raise click.UsageError("--rate failed-logins=... needs --auth-file")
    # A gateway may tell of a login too.
    has_users = arguments.auth_file or arguments.xclient_from
    if any(rule.by is CountedBy.USER for rule in arguments.rates) and not has_users:
        raise click.UsageError("--rate by user needs --auth-file: nobody logs in")
    if arguments.redis and not arguments.rates:
        raise click.UsageError("--redis (or SMTPX_REDIS) counts for --rate: give some")
    if arguments.redis_policy and not arguments.redis:
        raise click.UsageError("--redis-policy needs --redis")
    if arguments.workers is not None:
        if arguments.rates and not arguments.redis:
            raise click.UsageError(
                "each of --workers would count for --rate by itself: share it with "
                "--redis"
            )
        if arguments.metrics:
            raise click.UsageError(
                "--metrics are those of one process: leave out --workers"
            )

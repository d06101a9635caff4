"""``smtpx inbox``: take all mail of a program under development, and show it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from smtpx.cli.failures import ExitCode, Failure
from smtpx.cli.options import SectionedCommand, octet_count, section
from smtpx.cli.running import announce, cannot_listen, run_until_stopped, server_tls
from smtpx.cli.screen import Screen
from smtpx.cli.server_options import (
    GRACE,
    HOSTNAME,
    QUIET,
    TLS_CERT,
    TLS_KEY,
    UVLOOP,
)
from smtpx.inbox.faults import parse_fault
from smtpx.inbox.mailbox import DEFAULT_CAP, InboxCap
from smtpx.inbox.service import DevInbox, InboxOptions
from smtpx.net.records import DNSRecordResolver, ResolverOptions
from smtpx.sasl.registry import DEFAULT_SERVER_MECHANISMS
from smtpx.server.worker import find_loop

if TYPE_CHECKING:
    from smtpx.testing.faults import Fault

__all__ = ["InboxArguments", "inbox"]

_listen = section("Where")
_keep = section("What is kept")
_tls = section("TLS")
_auth = section("Authentication")
_release = section("Release")
_faults = section("Faults")
_run = section("Running")
_NOWHERE: Final = "none"


def _fault(text: str) -> Fault:
    try:
        return parse_fault(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _name_server(text: str) -> str:
    try:
        ResolverOptions(nameservers=(text,))
    except ValueError as error:
        raise click.BadParameter(f"{error}: write 192.0.2.53 or [::1]:5353") from None
    return text


_OPTIONS: Final = [
    _listen(
        "--smtp",
        metavar="ADDRESS",
        multiple=True,
        default=InboxOptions().smtp,
        show_default=True,
        help="Take mail by SMTP, and by LMTP from who says LHLO; repeat it for more.",
    ),
    _listen(
        "--lmtp", metavar="ADDRESS", multiple=True, help="Take mail by LMTP alone."
    ),
    _listen(
        "--web",
        metavar="ADDRESS|none",
        default=InboxOptions().web,
        show_default=True,
        help="Show the page and the API.",
    ),
    _listen(
        "--web-name",
        "web_names",
        metavar="NAME",
        multiple=True,
        help="The page may be opened under this name, too: others than localhost and "
        "IP addresses are refused.",
    ),
    _keep(
        "--db",
        "database",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Keep messages in this file (SQLite), not in memory.",
    ),
    _keep(
        "--max-messages",
        metavar="COUNT",
        type=click.IntRange(min=1),
        default=DEFAULT_CAP.messages,
        show_default=True,
        help="Let the oldest go when there are more.",
    ),
    _keep(
        "--max-octets",
        metavar="SIZE",
        type=octet_count,
        default="512M",
        show_default=True,
        help="Likewise when all together are larger.",
    ),
    _tls("--tls", is_flag=True, help="Offer STARTTLS with a certificate made now."),
    TLS_CERT,
    TLS_KEY,
    _auth("--auth", is_flag=True, help="Offer AUTH; take any user and any password."),
    _auth("--require-auth", is_flag=True, help="Take no message without it."),
    _auth(
        "--auth-without-tls",
        is_flag=True,
        help="Do so without TLS for other machines, too: whoever listens on the way "
        "reads the passwords.",
    ),
    _release(
        "--release-to",
        metavar="URL",
        multiple=True,
        envvar="SMTPX_RELEASE_TO",
        show_envvar=True,
        help="Messages may be sent on to this server, by hand; repeat it for more.",
    ),
    _release(
        "--release-only",
        metavar="PATTERN",
        multiple=True,
        help="To such addresses alone, as *@example.com; repeat it for more.",
    ),
    _faults(
        "--fault",
        "faults",
        metavar="FAULT",
        type=_fault,
        multiple=True,
        help="Have something go wrong: see Faults; repeat it for more.",
    ),
    _run(
        "--dns",
        "name_servers",
        metavar="ADDRESS",
        type=_name_server,
        multiple=True,
        help="Ask this name server for SPF, DKIM and DMARC, when somebody wants to "
        "know; by default those of the system.",
    ),
    HOSTNAME,
    GRACE,
    UVLOOP,
    QUIET,
]

_EPILOG: Final = """
\b
Faults are a stage, then what is wanted of pattern=, probability=, delay= (in
seconds) and times=, and at last a reply, drop, or nothing after a delay:
  --fault "rcpt pattern=bob@* 550 5.1.1 no such user"
  --fault "data probability=0.1 451 4.3.0 try later"
  --fault "connect delay=3" --fault "mail times=2 drop"
The stages: connect, hello, start_tls, auth, mail, rcpt, start_data (DATA, or
the first BDAT), data (the end of the message), reply (the message is kept, and
the client has not been told).

\b
Servers of --release-to are smtp://HOST:PORT, smtps://, smtp+starttls:// and
lmtp://, as `smtpx send` has them; user:password@ may stand before HOST.

\b
Examples:
  smtpx inbox
  smtpx inbox --db mail.sqlite --tls --auth
  smtpx inbox --smtp 0.0.0.0:1025 --web 0.0.0.0:8025 --web-name mail.test
  smtpx inbox --release-to smtps://me:secret@mail.example.com
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxArguments:
    """The command line of ``smtpx inbox``, parsed."""

    smtp: tuple[str, ...]
    lmtp: tuple[str, ...]
    web: str
    web_names: tuple[str, ...]
    database: Path | None
    max_messages: int
    max_octets: int
    tls: bool
    tls_cert: Path | None
    tls_key: Path | None
    auth: bool
    require_auth: bool
    auth_without_tls: bool
    release_to: tuple[str, ...] = field(repr=False)
    release_only: tuple[str, ...]
    faults: tuple[Fault, ...]
    name_servers: tuple[str, ...]
    hostname: str | None
    grace: float
    uvloop: bool
    quiet: bool


@click.command(cls=SectionedCommand, epilog=_EPILOG, short_help="Look at test mail.")
def inbox(**values: Any) -> None:  # noqa: ANN401 - click's own
    """Take all mail, deliver none, and show it on a web page.

    For programs under development and their tests: whatever they send, to whomever, is
    kept here. Ctrl-C stops it.
    """
    arguments = InboxArguments(**values)
    _check(arguments)
    options = _options(arguments)
    loop_factory = find_loop() if arguments.uvloop else None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve(arguments, options))


# Of a command that exists already, each adds itself behind the ones before.
for _option in _OPTIONS:
    inbox = _option(inbox)


def _check(arguments: InboxArguments) -> None:
    """Refuse what contradicts itself."""
    if arguments.tls and arguments.tls_cert:
        raise click.UsageError("--tls makes a certificate: leave out --tls-cert")
    if arguments.tls_key and not arguments.tls_cert:
        raise click.UsageError("--tls-key needs --tls-cert")
    if arguments.auth_without_tls and not (arguments.auth or arguments.require_auth):
        raise click.UsageError("--auth-without-tls needs --auth")
    if arguments.release_only and not arguments.release_to:
        raise click.UsageError("--release-only needs --release-to")


def _options(arguments: InboxArguments) -> InboxOptions:
    server = dataclasses.replace(
        InboxOptions().server, tls=server_tls(arguments.tls_cert, arguments.tls_key)
    )
    if arguments.hostname:
        server = dataclasses.replace(server, hostname=arguments.hostname)
    if arguments.auth_without_tls:
        plain = frozenset(DEFAULT_SERVER_MECHANISMS)
        server = dataclasses.replace(server, plaintext_auth=plain)
    try:
        return InboxOptions(
            smtp=arguments.smtp,
            lmtp=arguments.lmtp,
            web=None if arguments.web == _NOWHERE else arguments.web,
            web_names=arguments.web_names,
            tls=arguments.tls,
            auth=arguments.auth,
            require_auth=arguments.require_auth,
            cap=InboxCap(messages=arguments.max_messages, octets=arguments.max_octets),
            database=arguments.database,
            release_to=arguments.release_to,
            release_only=arguments.release_only,
            resolver=_resolver(arguments.name_servers),
            faults=arguments.faults,
            server=server,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _resolver(name_servers: tuple[str, ...]) -> DNSRecordResolver | None:
    if not name_servers:
        return None
    return DNSRecordResolver(ResolverOptions(nameservers=name_servers))


async def _serve(arguments: InboxArguments, options: InboxOptions) -> None:
    logging.basicConfig(format="smtpx: %(message)s", level=logging.WARNING)
    async with contextlib.AsyncExitStack() as stack:
        try:
            running = await stack.enter_async_context(DevInbox(options))
        except RuntimeError as error:
            raise Failure(ExitCode.UNAVAILABLE, str(error)) from None
        except OSError as error:
            if error.errno is None:
                # Of the database, and says all.
                raise Failure(ExitCode.CANNOT_CREATE, str(error)) from None
            raise cannot_listen(error) from None
        announce(running.server.listening)
        for url in running.web_urls:
            click.echo(f"inbox at {url}")
        sys.stdout.flush()
        screen = Screen(is_quiet=arguments.quiet)
        await run_until_stopped(running.server, arguments.grace, screen)

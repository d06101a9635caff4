"""``smtpx send``: send messages from a shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from smtpx.cli.auth_options import AUTH_OPTIONS
from smtpx.cli.options import SectionedCommand, octet_count, section
from smtpx.cli.sending import SendArguments, Sending
from smtpx.cli.tls_options import TLS_OPTIONS
from smtpx.cli.values import name_server, proxy_header, xclient
from smtpx.client.options import Chunking, TLSMode
from smtpx.wire.params import BodyType, Notify, ReturnContent

__all__ = ["send"]

_server = section("Server")
_message = section("Message")
_tls = section("TLS")
_envelope = section("Envelope")
_connection = section("Connection")
_output = section("Output")
_existing = click.Path(exists=True, dir_okay=False, path_type=Path)


def _choice(*words: str) -> click.Choice[str]:
    return click.Choice(words, case_sensitive=False)


_OPTIONS: Final = [
    click.argument("files", metavar="[FILE]...", nargs=-1),
    _server(
        *("-s", "--server"),
        metavar="URL",
        default="localhost",
        show_default=True,
        envvar="SMTPX_SERVER",
        show_envvar=True,
        help="Where to: see Servers.",
    ),
    _server(
        "--mx",
        is_flag=True,
        help="Where the domain of the recipients takes its mail, in place of --server.",
    ),
    _server(
        "--mx-port",
        metavar="PORT",
        type=click.IntRange(1, 65_535),
        help="The port there; 25 by default.",
    ),
    _server(
        "--name-server",
        metavar="IP[:PORT]",
        type=name_server,
        help="Look up names there, in place of the system's.",
    ),
    _message(
        *("-f", "--from", "sender"),
        metavar="ADDRESS",
        help="The sender. For a FILE, in place of the one in its header.",
    ),
    _message(
        *("-t", "--to"),
        metavar="ADDRESS",
        multiple=True,
        help="A recipient; repeat it for more. For a FILE, the recipients in its "
        "header are passed over then.",
    ),
    _message("--cc", metavar="ADDRESS", multiple=True, help="The same, in Cc."),
    _message(
        "--bcc",
        metavar="ADDRESS",
        multiple=True,
        help="The same; the others do not see it.",
    ),
    _message("--subject", metavar="TEXT", help="The subject."),
    _message(
        "--body",
        metavar="TEXT",
        help="The text; @FILE reads it from a file, - from standard input.",
    ),
    _message(
        "--html", metavar="TEXT", help="The text as HTML, beside --body or alone."
    ),
    _message(
        "--attach",
        "attachments",
        metavar="FILE",
        multiple=True,
        type=_existing,
        help="Attach a file; repeat it for more.",
    ),
    _message(
        *("-H", "--header", "headers"),
        metavar="'NAME: VALUE'",
        multiple=True,
        help="Another header field; repeat it for more.",
    ),
    *AUTH_OPTIONS,
    _tls(
        "--tls",
        type=_choice(*(mode.value for mode in TLSMode)),
        help="When to turn to TLS; by default what the URL says.",
    ),
    *TLS_OPTIONS,
    _envelope(
        "--reverse-path",
        metavar="ADDRESS",
        help="Where failures are reported to, if not to the sender; '' for <>.",
    ),
    _envelope(
        "--body-type",
        type=_choice(*(kind.value.lower() for kind in BodyType)),
        help="Declare BODY=; by default what the message needs.",
    ),
    _envelope(
        "--size",
        metavar="SIZE",
        type=octet_count,
        help="Declare this SIZE=, as 500, 64k or 50M, not the real one.",
    ),
    _envelope("--smtputf8", is_flag=True, help="Declare SMTPUTF8, needed or not."),
    _envelope(
        "--notify",
        type=_choice(*(word.value.lower() for word in Notify)),
        multiple=True,
        help="When to be told about the delivery; repeat it for more.",
    ),
    _envelope(
        "--orcpt",
        "original_recipient",
        metavar="ADDRESS",
        help="The original recipient, for such a report.",
    ),
    _envelope(
        "--ret",
        "return_content",
        type=_choice(*(word.value.lower() for word in ReturnContent)),
        help="What of the message such a report returns.",
    ),
    _envelope("--envid", "envelope_id", metavar="TEXT", help="A name for it there."),
    _envelope(
        "--require-all",
        is_flag=True,
        help="Send nothing if one recipient is refused.",
    ),
    _connection(
        "--hello-name", metavar="NAME", help="For EHLO; by default this host's name."
    ),
    _connection("--local-address", metavar="IP", help="The address to connect from."),
    _connection(
        "--timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True),
        help="For each step; by default as RFC 5321 has it, minutes.",
    ),
    _connection(
        "--pipelining/--no-pipelining",
        default=True,
        help="Send commands in flights where the server allows it, or one by one.",
    ),
    _connection(
        "--chunking",
        type=_choice(*(kind.value for kind in Chunking)),
        default=Chunking.AUTO.value,
        show_default=True,
        help="When to send content by BDAT.",
    ),
    _connection(
        "--proxy",
        metavar="URL",
        help="Connect through socks5://HOST or http://HOST.",
    ),
    _connection(
        "--proxy-header",
        metavar="'SRC:PORT DST:PORT'",
        type=proxy_header,
        help="Be a proxy: tell in a PROXY header for whom you speak; also `unknown` "
        "and `local`.",
    ),
    _connection(
        "--proxy-version",
        type=click.Choice(["1", "2"]),
        help="Of that header; 2 by default.",
    ),
    _connection(
        "--xclient",
        metavar="'NAME=VALUE ...'",
        type=xclient,
        help="Be a gateway: tell by XCLIENT for whom you speak, such as "
        "'ADDR=192.0.2.7'.",
    ),
    _connection(
        "--allow-undeclared-content",
        is_flag=True,
        help="Send 8-bit content even if the server offers no 8BITMIME.",
    ),
    _output(
        "--dry-run",
        is_flag=True,
        help="Tell what would be sent, and connect to nobody.",
    ),
    _output(
        "--check-recipients",
        is_flag=True,
        help="Go as far as RCPT: would the recipients be accepted? Nothing is sent.",
    ),
    _output("--json", is_flag=True, help="Write an object a line for each message."),
    _output("-v", "--verbose", is_flag=True, help="Show the dialogue, secrets hidden."),
    _output("-q", "--quiet", is_flag=True, help="Show errors alone."),
]

_EPILOG: Final = """
\b
Servers:
  smtp://HOST            port 25, STARTTLS if offered; required on port 587
  smtp+starttls://HOST   port 587, STARTTLS required
  smtps://HOST           port 465, TLS from the start
  smtp+plain://HOST      port 25, never TLS
  smtp+mx://DOMAIN       port 25 of the domain's mail exchangers, as with --mx
  lmtp://HOST            LMTP, port 24: a result for each recipient
  lmtp+unix:///PATH      LMTP over a unix socket; smtp+unix:// is SMTP
  HOST or HOST:PORT      the same as smtp://

\b
Examples:
  smtpx send -s smtp://mail.example.com:587 -u alice report.eml
  smtpx send -f a@example.com -t b@example.net --subject Hi --body 'Hello!'
  smtpx send -f a@example.com -t b@example.net --body @text --attach plan.pdf
  smtpx send -s smtp://mail.example.com ~/Maildir archive.mbox outgoing/
  smtpx send --mx -f a@example.com -t b@example.net --subject Hi --body Hello
  generate | smtpx send -s lmtp+unix:///run/dovecot/lmtp -t bob - -v

\b
Exit codes, as in sysexits.h:
   0 all recipients accepted     68 there is no such host
  64 wrong command line          69 refused for good, or not available
  65 wrong message or address    75 refused for now: try again later
  66 a file cannot be read       76 protocol or TLS cannot be trusted
  67 a recipient was refused     77 wrong user or password
"""


@click.command(cls=SectionedCommand, epilog=_EPILOG, short_help="Send messages.")
def send(**values: Any) -> None:  # noqa: ANN401 - click's own
    """Send messages, and tell what became of each for every recipient.

    A FILE holds a message as an .eml file does; - is standard input. It may also be
    an mbox file, a Maildir, or a folder of messages: all of them go over one
    connection. Sender and recipients are those of the header unless you name others.
    Without a FILE the message is built from --subject, --body, --html, --attach and
    --header.
    """
    arguments = SendArguments(**values)
    _check(arguments)
    _check_way(arguments)
    Sending(arguments).run()


# Of a command that exists already, each adds itself behind the ones before.
for _option in _OPTIONS:
    send = _option(send)


def _check(arguments: SendArguments) -> None:
    """Refuse what contradicts itself."""
    has_content = arguments.draft.has_content
    if arguments.files and has_content:
        raise click.UsageError(
            "a FILE is sent as it is: --subject, --body, --html, --attach and "
            "--header only build a new message"
        )
    if arguments.files.count("-") > 1:
        raise click.UsageError("standard input can be sent once")
    if not arguments.files and not has_content:
        raise click.UsageError(
            "there is nothing to send: name a FILE, or - for standard input, or give "
            "--subject or --body"
        )
    if arguments.dry_run and arguments.check_recipients:
        raise click.UsageError("--dry-run asks no server: leave out one of the two")
    arguments.check_tls()


def _check_way(arguments: SendArguments) -> None:
    """Refuse what contradicts itself about where to connect, and as whom."""
    source = click.get_current_context().get_parameter_source("server")
    if arguments.mx and source is ParameterSource.COMMANDLINE:
        raise click.UsageError("--server and --mx: choose one")
    if arguments.mx and arguments.user:
        raise click.UsageError(
            "--mx would show the password to whomever the DNS names: leave out --user "
            "(or SMTPX_USER)"
        )
    if arguments.mx_port and not arguments.mx:
        raise click.UsageError("--mx-port needs --mx")
    if arguments.proxy_version and not arguments.proxy_header:
        raise click.UsageError("--proxy-version needs --proxy-header")

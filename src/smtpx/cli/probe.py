"""``smtpx probe``: what a server offers, and whether it is safe."""

from __future__ import annotations

from typing import Any, Final

import click

from smtpx.cli.auth_options import AUTH_OPTIONS
from smtpx.cli.options import SectionedCommand, section
from smtpx.cli.probing import ProbeArguments, Probing
from smtpx.cli.tls_options import TLS_OPTIONS
from smtpx.probe.bench import DEFAULT_TIMEOUT_SECONDS
from smtpx.probe.findings import Verdict

__all__ = ["probe"]

_what = section("What")
_connection = section("Connection")
_output = section("Output")

# What --fail-on may name.
_FAILING: Final = (Verdict.UNCLEAR, Verdict.WEAK, Verdict.UNSAFE)

_OPTIONS: Final = [
    click.argument("url", required=False),
    _what(
        *("-r", "--recipient"),
        metavar="ADDRESS",
        help="Who gets the messages of the checks that need whole transactions; "
        "some forty. Without one, nothing is delivered.",
    ),
    _what(
        *("-f", "--sender"),
        metavar="ADDRESS",
        default="",
        help="The sender of all messages; by default <>, so that nothing bounces.",
    ),
    _what(
        "--relay-check",
        is_flag=True,
        help="Ask whether mail to others is taken, as far as RCPT.",
    ),
    _what(
        "--only",
        metavar="CHECK",
        multiple=True,
        help="Make this check; repeat it for more.",
    ),
    _what(
        "--skip",
        metavar="CHECK",
        multiple=True,
        help="Leave it out; repeat it for more.",
    ),
    _what("--list", "list_checks", is_flag=True, help="List all checks, and end."),
    *AUTH_OPTIONS,
    *TLS_OPTIONS,
    _connection(
        "--hello-name",
        metavar="NAME",
        default="probe.invalid",
        show_default=True,
        help="For EHLO.",
    ),
    _connection(
        "--timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True),
        default=DEFAULT_TIMEOUT_SECONDS,
        show_default=True,
        help="For each step.",
    ),
    _output(
        "--fail-on",
        type=click.Choice(list(map(str, _FAILING))),
        default=str(Verdict.UNSAFE),
        show_default=True,
        help="Exit with 76 if a check finds this, or worse.",
    ),
    _output("--json", is_flag=True, help="Write one object with everything."),
    _output("-v", "--verbose", is_flag=True, help="Show all dialogues."),
    _output("-q", "--quiet", is_flag=True, help="Show errors alone."),
]

_EPILOG: Final = """
\b
Verdicts:
  ok           as it should be
  noted        a fact
  not offered  an extension that the server does not have
  left out     it needs something that was not given
  unclear      the server closed, was silent, or broke the protocol
  weak         against a standard, or of use to an attacker with luck
  unsafe       an attacker can use it

\b
Examples:
  smtpx probe smtp://mail.example.com
  smtpx probe smtps://mail.example.com -r postmaster@example.com
  smtpx probe lmtp+unix:///run/dovecot/lmtp -r bob --only lmtp-replies -v
  smtpx probe smtps://mail.example.com -u me@example.com -r me@example.com
  smtpx probe localhost:2525 -r me@x.test --relay-check --json

\b
Exit codes, as in sysexits.h:
   0 nothing of that kind    68 there is no such host
  64 wrong command line      75 it cannot be reached, or greets with a refusal
  66 a file cannot be read   76 unsafe, or what --fail-on says
                             77 the login is refused

Probe your own servers, or those whose owners asked you to: each run makes some
seventy connections with mistakes in them.
"""


@click.command(
    cls=SectionedCommand, epilog=_EPILOG, short_help="Check whether a server is safe."
)
def probe(**values: Any) -> None:  # noqa: ANN401 - click's own
    """Tell what a server offers, and whether it is safe.

    URL is as for `smtpx send`. Each check makes connections of its own, says what
    attackers say, and counts the replies. Nothing is delivered but to --recipient.
    """
    arguments = ProbeArguments(**values)
    if arguments.url is None and not arguments.list_checks:
        raise click.UsageError("name a server, as smtp://HOST; --list shows the checks")
    arguments.check_tls()
    Probing(arguments).run()


# Of a command that exists already, each adds itself behind the ones before.
for _option in _OPTIONS:
    probe = _option(probe)

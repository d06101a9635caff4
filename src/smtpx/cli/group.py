"""The command group, and how it ends."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

import click

from smtpx import __version__
from smtpx.app.sinks import printable
from smtpx.cli.failures import ExitCode, Failure, explain
from smtpx.cli.inbox import inbox
from smtpx.cli.passwd import passwd
from smtpx.cli.probe import probe
from smtpx.cli.relay import relay
from smtpx.cli.send import send
from smtpx.cli.serve import serve
from smtpx.core.build import is_compiled
from smtpx.errors import SMTPXError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cli", "main"]


_HELP: Final = """\
Send and receive mail: SMTP, ESMTP and LMTP.

\b
Try it in two terminals:
  smtpx serve
  smtpx send -s localhost:2525 -f me@x.test -t you@x.test --body Hello
"""


@click.group(
    help=_HELP,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",  # click would have it in brackets
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(
    __version__,
    message="smtpx %(version)s" + (" (compiled)" if is_compiled() else ""),
)
@click.pass_context
def cli(context: click.Context) -> None:
    """Group the commands; without one, show which there are."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(ExitCode.USAGE)


cli.add_command(serve)
cli.add_command(send)
cli.add_command(relay)
cli.add_command(inbox)
cli.add_command(passwd)
cli.add_command(probe)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line tools.

    Args:
        arguments: by default those of the process.

    Returns:
        The exit code, one of `ExitCode`.
    """
    try:
        status = cli.main(arguments, prog_name="smtpx", standalone_mode=False)
    except BrokenPipeError:
        # Whoever read our output had enough. The interpreter would fail once more
        # when it flushes.
        sys.stdout = sys.stderr
        return ExitCode.OK
    except KeyboardInterrupt:
        return _tell("interrupted", ExitCode.INTERRUPTED)
    except Exception as error:
        if os.environ.get("SMTPX_TRACEBACK"):
            raise
        return _fail(error)
    return int(status or 0)


_KNOWN: Final = (Failure, SMTPXError, OSError, ValueError, ImportError)


def _fail(error: Exception) -> ExitCode:
    """Tell what went wrong on one line."""
    if isinstance(error, click.UsageError):
        return _usage_error(error)
    if isinstance(error, click.ClickException):
        return _tell(error.format_message(), ExitCode.CANNOT_CREATE)
    if isinstance(error, click.Abort):
        return _tell("interrupted", ExitCode.INTERRUPTED)
    if isinstance(error, _KNOWN):
        failure = explain(error)
        return _tell(str(failure), failure.code)
    return _tell(
        f"this is a fault of smtpx: {type(error).__name__}: {error}; "
        "SMTPX_TRACEBACK=1 shows where",
        ExitCode.SOFTWARE,
    )


def _usage_error(error: click.UsageError) -> ExitCode:
    """Tell what is wrong with the command line, and where help is."""
    if isinstance(error, click.BadParameter) and _is_about_a_file(error):
        return _tell(error.format_message().rstrip("."), ExitCode.NO_INPUT)
    path = error.ctx.command_path if error.ctx else "smtpx"
    message = error.format_message().rstrip(".")
    return _tell(f"{message} (`{path} --help` tells more)", ExitCode.USAGE)


def _is_about_a_file(error: click.BadParameter) -> bool:
    """Whether a file that an option names is not there, which help tells nothing of."""
    kind = None if error.param is None else error.param.type
    return isinstance(kind, click.Path) and kind.exists


def _tell(text: str, code: ExitCode) -> ExitCode:
    if text:
        # A reply in it could reorder what a terminal shows, or reprogram it.
        click.echo(f"smtpx: {printable(text)}", err=True)
    return code

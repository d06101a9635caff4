"""What the tools show: results on standard output, all else on standard error."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.text import Text

from smtpx.app.sinks import printable

if TYPE_CHECKING:
    from smtpx.wire.replies import Reply

__all__ = ["Screen", "can_ask", "reply_text"]


def reply_text(reply: Reply) -> str:
    """Write a reply on one line that is safe to print.

    Args:
        reply: of a server, which may hold anything.
    """
    return printable(" ".join(str(reply).split()))


def can_ask() -> bool:
    """Say whether there is somebody to ask for a password."""
    return sys.stdin.isatty()


class Screen:
    """Where a tool writes.

    Args:
        is_quiet: show errors alone.
        is_color: None finds out by whether there is a terminal.
        outlives_reader: go on when whoever reads standard output has had enough, as
            ``head`` does: what is under way is more than its output.

    Attributes:
        errors: the console on standard error, which progress bars need.
    """

    def __init__(
        self,
        *,
        is_quiet: bool = False,
        is_color: bool | None = None,
        outlives_reader: bool = False,
    ) -> None:
        self.is_quiet = is_quiet
        self._outlives_reader = outlives_reader
        self._is_color = is_color
        no_color = None if is_color is None else not is_color
        self.errors = Console(
            stderr=True, highlight=False, soft_wrap=True, no_color=no_color
        )

    def result(self, text: str, *, color: str | None = None) -> None:
        """Write a line to standard output, where scripts read it.

        Args:
            text: without anything unsafe to print.
            color: a name of click's, such as ``green``.
        """
        if self.is_quiet:
            return
        try:
            click.secho(text, fg=color, color=self._is_color)
        except BrokenPipeError:
            if not self._outlives_reader:
                raise
            # What is still buffered goes there too; else the interpreter would fail
            # once more at its end.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)

    def note(self, text: str, style: str = "") -> None:
        """Write a line to standard error, above a progress bar if there is one.

        Args:
            text: without anything unsafe to print.
            style: of rich.
        """
        self.errors.print(Text(text, style))

    def dialogue(self, line: str, session: str = "") -> None:
        """Show a line of the wire log.

        Args:
            line: such as ``C: NOOP``.
            session: whose; put before it.
        """
        styles = {"C:": "cyan", "S:": "green", "==": "yellow"}
        style = styles.get(line[:2], "")
        if line.startswith(("S: 4", "S: 5")):
            style = "red"
        self.note(f"{session} {line}" if session else line, style)

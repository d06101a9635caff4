"""The command line tools (layer L8), on click and rich."""

from smtpx.cli.group import main

__all__ = ["main"]

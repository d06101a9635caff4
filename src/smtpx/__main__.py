"""Run the command line tools: ``python -m smtpx``, or ``smtpx`` once installed."""

from __future__ import annotations

import importlib.util
import sys

# What the tools are written with; the library itself needs neither.
_NEEDED = ("click", "rich")


def main() -> int:
    """Run the command line tools, or say what to install.

    Returns:
        The exit status of the process.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        names = " and ".join(missing)
        sys.stderr.write(
            f"smtpx: the command line tools need {names}: pip install 'smtpx[cli]'\n"
        )
        return 1
    cli = importlib.import_module("smtpx.cli")
    status: int | None = cli.main()
    return status or 0


if __name__ == "__main__":
    raise SystemExit(main())

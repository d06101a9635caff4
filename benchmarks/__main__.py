"""Run one of the benchmark programs: ``python -m benchmarks [program] [options]``."""

from __future__ import annotations

import argparse
import importlib
import sys

PROGRAMS = (
    "server",
    "client",
    "latency",
    "memory",
    "attacks",
    "scale",
    "dispatch",
    "framing",
    "soak",
    "instructions",
    "inbox",
    "tls",
    "pages",
)


def main() -> None:
    """Run the program named first, or the one that compares servers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("program", nargs="?", choices=PROGRAMS, default="server")
    options, rest = parser.parse_known_args()
    sys.exit(importlib.import_module(f"benchmarks.{options.program}").main(rest))


if __name__ == "__main__":
    main()

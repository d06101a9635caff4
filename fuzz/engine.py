"""One run of one target under atheris; ``python -m fuzz`` starts it as a process.

libFuzzer takes the process over and ends it, so each target has one of its own.
"""

from __future__ import annotations

import sys
from typing import Final

import atheris

# What is imported here is instrumented: coverage leads the way.
with atheris.instrument_imports(include=["smtpx"]):
    from fuzz.targets import TARGETS, TOGETHER, put_together

OPTIONS: Final = (
    # An input that takes this long, in seconds, is a finding: it should take 0.001.
    "-timeout=20",
    # Memory, in MiB: nothing here needs more than the interpreter does.
    "-rss_limit_mb=1024",
)


def main() -> None:
    """Fuzz the target that is named first; what follows goes to libFuzzer."""
    name, *arguments = sys.argv[1:]
    target = put_together if name == TOGETHER else TARGETS[name]
    atheris.Setup([name, *OPTIONS, *arguments], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""Take each defence away, and see that a test notices.

SECURITY.md names an attack, the defence against it, and a test. Whether the test would
fail without the defence is shown here: ``mutations.toml`` says for each defence how the
source looks without it. The change is made in a copy, and the tests that are named
have to fail there, and to pass here.

``python tools/mutations.py`` tries all, ``python tools/mutations.py smuggling`` those
whose attack has the word in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
TABLE: Final = Path(__file__).with_suffix(".toml")
RUN_SECONDS: Final = 300.0
# pytest's exit code when tests ran and some failed; any other failure proves nothing.
TESTS_FAILED: Final = 1


@dataclass(frozen=True)
class Mutation:
    """A defence, and how to take it away.

    Attributes:
        attack: what it is against.
        file: below ``src/smtpx``.
        old: a piece of source that is in the file once.
        new: what it becomes.
        tests: what must fail then, as pytest has it.
        only: for ``-k``; empty for all of the tests.
    """

    attack: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    only: str = ""

    def applied_to(self, source: str) -> str:
        """Return the source without the defence.

        Raises:
            ValueError: it is not there, or not once.
        """
        if source.count(self.old) != 1:
            raise ValueError(
                f"{self.attack}: {self.file} has it {source.count(self.old)} times: "
                f"mend {TABLE.name}"
            )
        return source.replace(self.old, self.new)


def read_table() -> list[Mutation]:
    """Read all mutations."""
    rows = tomllib.loads(TABLE.read_text("utf-8"))["mutation"]
    return [Mutation(**{**row, "tests": tuple(row["tests"])}) for row in rows]


def run_tests(mutation: Mutation, source: Path) -> int:
    """Run the tests against a source tree; return pytest's exit code."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    command += mutation.tests
    if mutation.only:
        command += ["-k", mutation.only]
    done = subprocess.run(
        command,
        cwd=ROOT,
        # In front of where the library is installed; no changed file is compiled to
        # where the next run would find it.
        env={**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
        capture_output=True,
        timeout=RUN_SECONDS,
    )
    return done.returncode


def verdict(mutation: Mutation) -> str:
    """Try a mutation; return what is wrong, or nothing."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory)
        shutil.copytree(
            ROOT / "src", source, dirs_exist_ok=True, ignore=_not_the_compiled
        )
        if run_tests(mutation, source):
            return "the tests do not pass with the defence"
        path = source / "smtpx" / mutation.file
        path.write_text(mutation.applied_to(path.read_text("utf-8")), "utf-8")
        code = run_tests(mutation, source)
    if code == TESTS_FAILED:
        return ""
    return "no test notices" if code == 0 else f"pytest ended with {code}"


def _not_the_compiled(_directory: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__"]


def main() -> None:
    """Try them, and say of each what came of it."""
    word = " ".join(sys.argv[1:]).lower()
    chosen = [one for one in read_table() if word in one.attack.lower()]
    failed = 0
    for mutation in chosen:
        wrong = verdict(mutation)
        failed += bool(wrong)
        state = f"NOT NOTICED: {wrong}" if wrong else "noticed"
        sys.stdout.write(f"{state:12} {mutation.attack} ({mutation.file})\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(chosen) - failed} of {len(chosen)} noticed\n")
    sys.exit(bool(failed or not chosen))


if __name__ == "__main__":
    main()

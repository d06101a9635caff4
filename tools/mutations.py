"""Take each defence away, and see that a test notices.

``docs/explanation/attacks.md`` names each attack, the defence against it, and a test.
Whether the test would fail without the defence is shown here: ``mutations.toml`` says
for each defence how the source looks without it. The change is made in a copy, and a
test that is named has to fail there; all of them have to pass as the source is.

``python tools/mutations.py`` tries all, ``python tools/mutations.py smuggling`` those
whose name has the word in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from smtpx.testing.drivers import drivers_for
from smtpx.testing.transcripts import read_transcript

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT: Final = Path(__file__).parents[1]
TABLE: Final = Path(__file__).with_suffix(".toml")
RUN_SECONDS: Final = 600.0
# pytest's exit code when tests ran and some failed; any other failure proves nothing.
TESTS_FAILED: Final = 1
# What the tests need of pytest's plugins.
PLUGINS: Final = ("pytest_asyncio.plugin", "smtpx.testing.plugin")
TRANSCRIPTS: Final = "tests/transcripts/"
PLAYER: Final = f"{TRANSCRIPTS}test_transcripts.py::test_transcript"


@dataclass(frozen=True)
class Mutation:
    """A defence, and how to take it away.

    Attributes:
        name: what happens without it.
        file: below ``src/smtpx``.
        old: a piece of source that is in the file once.
        new: what it becomes.
        tests: of which one must fail then: as pytest has them, or the file of a
            transcript.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied_to(self, source: str) -> str:
        """Return the source without the defence.

        Raises:
            ValueError: it is not there, or not once.
        """
        if source.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: {self.file} has it {source.count(self.old)} times: "
                f"mend {TABLE.name}"
            )
        return source.replace(self.old, self.new)


def read_table(path: Path = TABLE) -> list[Mutation]:
    """Read all mutations."""
    rows = tomllib.loads(path.read_text("utf-8"))["mutation"]
    return [Mutation(**{**row, "tests": tuple(row["tests"])}) for row in rows]


def node_ids(tests: Iterable[str]) -> list[str]:
    """Return tests as pytest has them; a transcript is played by each driver."""
    found: dict[str, None] = {}
    for test in tests:
        if test.endswith(".txt"):
            name = test.removeprefix(TRANSCRIPTS).removesuffix(".txt")
            for driver in drivers_for(read_transcript(ROOT / test)):
                found[f"{PLAYER}[{name}-{driver}]"] = None
        else:
            found[test] = None
    return list(found)


def run_tests(tests: Iterable[str], source: Path) -> subprocess.CompletedProcess[str]:
    """Run tests against a source tree, up to the first that fails."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    plugins = [option for name in PLUGINS for option in ("-p", name)]
    return subprocess.run(
        [*command, *plugins, *node_ids(tests)],
        cwd=ROOT,
        env={
            **os.environ,
            # In front of where the library is installed; no changed file is compiled
            # to where the next run would find it.
            "PYTHONPATH": str(source),
            "PYTHONDONTWRITEBYTECODE": "1",
            # To load all that are installed takes longer than most of the tests.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )


def verdict(mutation: Mutation) -> str:
    """Try a mutation; return what is wrong, or nothing."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory)
        # With what is compiled: it is told by the age of its source, which is kept.
        # What is just being compiled has another name at first, and will be gone.
        passing = shutil.ignore_patterns("*.pyc.*")
        shutil.copytree(ROOT / "src", source, dirs_exist_ok=True, ignore=passing)
        path = source / "smtpx" / mutation.file
        text = path.read_text("utf-8")
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            compiled.unlink()
        path.write_text(mutation.applied_to(text), "utf-8")
        code = run_tests(mutation.tests, source).returncode
    if code == TESTS_FAILED:
        return ""
    return "no test notices" if code == 0 else f"pytest ended with {code}"


def main() -> None:
    """Try them, and say of each what came of it."""
    word = " ".join(sys.argv[1:]).lower()
    chosen = [one for one in read_table() if word in one.name.lower()]
    if not chosen:
        sys.exit(f"no mutation has {word!r} in its name")
    tests = dict.fromkeys(test for one in chosen for test in one.tests)
    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        unchanged = pool.submit(run_tests, tests, ROOT / "src")
        for mutation, wrong in zip(chosen, pool.map(verdict, chosen), strict=True):
            failed += bool(wrong)
            state = f"NOT NOTICED: {wrong}:" if wrong else "noticed"
            sys.stdout.write(f"{state:12} {mutation.name} ({mutation.file})\n")
            sys.stdout.flush()
        done = unchanged.result()
    sys.stdout.write(f"{len(chosen) - failed} of {len(chosen)} noticed\n")
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}\nthe tests do not pass with the defences")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()

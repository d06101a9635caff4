"""Fuzz: ``python -m fuzz [--seconds 60] [--keep 120] [TARGET ...]``.

Each target is fuzzed in turn, from its corpus on. With ``--keep``, what reached
something new goes into the corpus. An input that breaks a target is printed as a corpus
has it: put it there once the defect is mended.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from fuzz.corpus import dump, load, minimize, pack, show, unpack
from fuzz.seeds import seeds_of
from fuzz.targets import TARGETS, TOGETHER

_RUNS: Final = re.compile(r"^Done (\d+) runs", re.MULTILINE)
_CRASHES: Final = ("crash-", "timeout-", "oom-", "slow-unit-")
_LONGEST: Final = 1_000
"""Octets of an input that is kept; longer ones are found again."""
_MOST: Final = 300
"""Inputs that are looked at, the shortest first; each is traced line by line."""


def fuzz(name: str, *, seconds: int, keep: int, seed: int) -> bool:
    """Fuzz one target; tell whether it held."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder, "corpus")
        unpack(_known(name), work)
        done = _run(
            name,
            [
                str(work),
                f"-max_total_time={seconds}",
                f"-seed={seed}",
                "-max_len=4096",
                f"-artifact_prefix={folder}/",
            ],
        )
        output = done.stdout + done.stderr
        found = [
            path
            for path in Path(folder).iterdir()
            if path.name.startswith(_CRASHES) and path.stat().st_size < 100_000
        ]
        broken = [path for path in found if not path.name.startswith("slow-unit")]
        runs = _RUNS.search(output)
        print(f"{name:28} {runs[1] if runs else '?':>10} runs", flush=True)
        for path in found:
            print(f"  {path.name}: {show(path.read_bytes())}", flush=True)
        if done.returncode or broken:
            print(output[-4_000:], flush=True)
            return False
        if keep and name in TARGETS:
            inputs = [one for one in pack(work) if len(one) <= _LONGEST]
            shortest = sorted(inputs, key=len)[:_MOST]
            dump(name, minimize(TARGETS[name], shortest, keep, known=load(name)))
    return True


def _known(name: str) -> list[bytes]:
    """Return what a target begins with."""
    if name != TOGETHER:
        return [*load(name), *seeds_of(name)]
    return [
        bytes([number]) + one
        for number, single in enumerate(TARGETS)
        for one in (*load(single), *seeds_of(single)[:5])
    ]


def _run(name: str, options: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fuzz.engine", name, *options],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
    )


def main() -> int:
    """Fuzz what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument(
        "target", nargs="*", help="all in turn by default; `together`: as one"
    )
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument(
        "--keep", type=int, default=0, help="inputs to add to a corpus at the most"
    )
    parser.add_argument("--seed", type=int, default=1, help="of libFuzzer")
    options = parser.parse_args()
    strange = {*options.target} - TARGETS.keys() - {TOGETHER}
    if strange:
        parser.error(f"no such target: {', '.join(sorted(strange))}")
    results = [
        fuzz(name, seconds=options.seconds, keep=options.keep, seed=options.seed)
        for name in options.target or TARGETS
    ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Run worlds: ``python -m tests.chaos [--seed 17] [--count 1000] [--verbose]``."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.chaos.world import run_world


def main() -> int:
    """Run worlds from a seed on; tell what was wrong with which."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--count", type=int, default=1, help="how many")
    parser.add_argument("--seconds", type=float, help="how long, whatever the count")
    parser.add_argument("--verbose", action="store_true", help="show what happened")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    bad = done = 0
    start = time.monotonic()
    for seed in range(options.seed, sys.maxsize):
        elapsed = time.monotonic() - start
        is_over = done >= options.count if options.seconds is None else None
        if is_over or (is_over is None and elapsed > options.seconds):
            break
        verdict = run_world(seed)
        done += 1
        counts += verdict.counts
        if options.verbose:
            print(*verdict.trace, sep="\n")
        if verdict.faults:
            bad += 1
            print(f"seed {seed}:", *verdict.faults, sep="\n  ", flush=True)
    for what, count in sorted(counts.items()):
        print(f"{count:8} {what}")
    print(f"{done} worlds, {bad} bad, {time.monotonic() - start:.1f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

"""Run the matrix, or any part of it.

``python -m tests.faults`` runs each kind of fault at each octet of both streams of each
way to send. What is bad is told as the arguments that show it again::

    python -m tests.faults --stride 8 --offset 3            # every eighth octet
    python -m tests.faults --ways lmtp-bdat --kinds cut,450 --sides out
    python -m tests.faults --ways lmtp-bdat --sides out --kinds cut --offset 301 \
--count 1 --verbose
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections import Counter
from collections.abc import Iterator

from tests.faults.cells import WAYS, Cell, Run, octets_of
from tests.faults.peer import KINDS


def main() -> int:
    """Run cells; tell what was wrong with which, and how many there were."""
    options = parse_arguments()
    counts: Counter[str] = Counter()
    bad = 0
    start = time.monotonic()
    for side, kind, way in parts(options):
        runs = struck = 0
        for octet in octets(options, way, side):
            cell = Cell(way, side, kind, octet, options.seed)
            run = Run(cell, is_verbose=options.verbose)
            verdict = run.judge()
            runs += 1
            struck += verdict.has_struck
            counts += verdict.told
            if options.verbose:
                print(cell.variant, *(run.server.dialogue or ()), sep="\n")
            if verdict.wrong:
                bad += 1
                print("BAD", cell, *verdict.wrong, sep="\n  ", flush=True)
        counts["runs"] += runs
        counts["runs in which it struck"] += struck
        seconds = time.monotonic() - start
        print(
            f"{seconds:7.0f} s {way:14} {side:3} {kind:9} {runs:6} runs, "
            f"{struck:6} struck, {bad} bad so far",
            flush=True,
        )
    for what, count in sorted(counts.items()):
        print(f"{count:10} {what}")
    print(f"{counts['runs']} runs, {bad} bad")
    return 1 if bad else 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    kinds = dict.fromkeys(kind for kinds in KINDS.values() for kind in kinds)
    for name, known in (("ways", WAYS), ("sides", KINDS), ("kinds", kinds)):
        parser.add_argument(
            f"--{name}", default=",".join(known), help=f"of {', '.join(known)}"
        )
    parser.add_argument("--offset", type=int, default=0, help="the first octet")
    parser.add_argument("--stride", type=int, default=1, help="to the next")
    parser.add_argument("--count", type=int, help="of octets; all if not given")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--verbose", action="store_true", help="show what was said")
    return parser.parse_args()


def parts(options: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Yield side, kind and way as they were asked for."""
    for side in options.sides.split(","):
        for kind in options.kinds.split(","):
            for way in options.ways.split(","):
                if kind in KINDS[side]:
                    yield side, kind, way


def octets(options: argparse.Namespace, way: str, side: str) -> range:
    """Return where to strike."""
    end = octets_of(way)[side]
    if options.count is not None:
        end = options.offset + options.count * options.stride
    return range(options.offset, end, options.stride)


if __name__ == "__main__":
    gc.freeze()
    sys.exit(main())

r"""Corpora: what the fuzzers know, a file for each target, an input on each line.

An input is written with Python's escapes, so that a change can be read in a diff.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import FrameType

    from _typeshed import TraceFunction

__all__ = ["FOLDER", "dump", "load", "minimize", "pack", "parse", "show", "unpack"]

FOLDER: Final = Path(__file__).parent / "corpus"

_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-f]{2})|([rnt\\]))")
_NAMED: Final = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}


def show(octets: bytes) -> str:
    r"""Write an input on one line.

    >>> show(b"a\r\n\xff\\")
    'a\\r\\n\\xff\\\\'
    """
    return octets.decode("latin-1").encode("unicode_escape").decode("ascii")


def parse(line: str) -> bytes:
    r"""Read what `show` wrote.

    >>> parse(show(bytes(range(256)))) == bytes(range(256))
    True
    """
    text = _ESCAPE.sub(
        lambda found: chr(int(found[1], 16)) if found[1] else _NAMED[found[2]], line
    )
    return text.encode("latin-1")


def load(name: str) -> list[bytes]:
    """Read the corpus of a target; empty if there is none yet."""
    path = FOLDER / f"{name}.txt"
    if not path.exists():
        return []
    # Not splitlines, which would also cut at what is no line end here.
    return [parse(line) for line in path.read_text("ascii").split("\n") if line]


def dump(name: str, inputs: Iterable[bytes]) -> None:
    """Write the corpus of a target; the shortest inputs first, each once."""
    lines = {show(one) for one in inputs} - {""}
    ordered = sorted(lines, key=lambda line: (len(line), line))
    text = "".join(f"{line}\n" for line in ordered)
    (FOLDER / f"{name}.txt").write_text(text, "ascii")


def unpack(inputs: Iterable[bytes], folder: Path) -> None:
    """Write inputs as files, as libFuzzer reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in inputs:
        (folder / hashlib.sha256(one).hexdigest()[:16]).write_bytes(one)


def pack(folder: Path) -> list[bytes]:
    """Read what libFuzzer wrote."""
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def minimize(
    target: Callable[[bytes], None],
    inputs: Iterable[bytes],
    keep: int,
    known: Sequence[bytes] = (),
) -> list[bytes]:
    """Keep inputs that reach what no shorter one does, nor one that is known.

    Args:
        target: what they are for.
        inputs: any number.
        keep: how many of them at the most.
        known: stay, before the others: each was found once, and some broke the target.
    """
    reached: set[tuple[str, int, int]] = set()
    for one in known:
        reached |= _steps_of(target, one)
    kept: list[bytes] = []
    for one in sorted(set(inputs), key=lambda one: (len(one), one)):
        if len(kept) == keep:
            break
        steps = _steps_of(target, one)
        if not steps <= reached:
            reached |= steps
            kept.append(one)
    return [*known, *kept]


def _steps_of(
    target: Callable[[bytes], None], octets: bytes
) -> set[tuple[str, int, int]]:
    """Return the steps from line to line that the library takes for an input."""
    steps: set[tuple[str, int, int]] = set()
    last = 0

    def trace(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        nonlocal last
        name = frame.f_code.co_filename
        if "smtpx" not in name:
            return None
        if event == "line":
            steps.add((name, last, frame.f_lineno))
            last = frame.f_lineno
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        target(octets)
    finally:
        sys.settrace(before)
    return steps

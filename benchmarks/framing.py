"""What the pieces of DATA framing cost, in microseconds of CPU a megabyte.

Between DATA and the final dot a server has to find the end, to refuse bare CR and
LF, and to take away the stuffed dots; a client has to do the reverse. Python does
each of these at the speed of C in some spellings and slowly in others, so the
spelling was chosen by these figures (docs/explanation/performance.md).

Run ``python -m benchmarks.framing``.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.measure import (
    describe_python,
    interleave,
    markdown_table,
    medians,
    note,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MEBIBYTE = 1 << 20
LINE = b"The quick brown fox jumps over the lazy dog, and the dog lets it pass..\r\n"

BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")
BARE_BY_CLASS = re.compile(rb"[^\r]\n|\r[^\n]")
ALL_BUT_LINE_ENDS = bytes(octet for octet in range(256) if octet not in b"\r\n")


def by_counts(body: bytes) -> bool:
    """Count CR, LF and CRLF: three runs of memchr-like search."""
    pairs = body.count(b"\r\n")
    return body.count(b"\r") != pairs or body.count(b"\n") != pairs


def by_newline_decoder(body: bytes) -> bool:
    """Let the decoder of universal newlines say which kinds of line end it saw.

    It is one pass in C, exact, and keeps a CR at the end of a block in mind until
    the next one. Latin-1 makes text of any octets at the speed of a copy.
    """
    decoder = io.IncrementalNewlineDecoder(None, translate=False)
    decoder.decode(body.decode("latin-1"), final=True)
    return decoder.newlines not in (None, "\r\n")


def by_split(body: bytes) -> bool:
    """Cut at CRLF, join, and look for what is left."""
    rest = b"".join(body.split(b"\r\n"))
    return b"\r" in rest or b"\n" in rest


def by_replace(body: bytes) -> bool:
    """Take away CRLF, then look for what is left."""
    rest = body.replace(b"\r\n", b"")
    return b"\r" in rest or b"\n" in rest


def by_translate(body: bytes) -> bool:
    """Keep the line ends only: there must be twice as many as there are CRLF."""
    ends = body.translate(None, ALL_BUT_LINE_ENDS)
    return len(ends) != 2 * body.count(b"\r\n")


def by_regex(body: bytes) -> bool:
    """Search with lookbehind and lookahead."""
    return BARE.search(body) is not None


def by_regex_class(body: bytes) -> bool:
    """Search for the pairs that may not occur (ends of blocks left aside)."""
    return BARE_BY_CLASS.search(body) is not None


def by_splitlines(body: bytes) -> bool:
    """Line by line, as most servers in Python do it."""
    return any(
        not line.endswith(b"\r\n") or line.find(b"\r", 0, -2) >= 0
        for line in body.splitlines(keepends=True)
    )


def find_end(body: bytes) -> int:
    """Find the final dot in one search."""
    return body.find(b"\r\n.\r\n")


def find_any_dot_line(body: bytes) -> int:
    """Find the first line that begins with a dot, be it the end or stuffed.

    In most messages the first such line is the end, and then nothing is stuffed:
    this one search takes the place of the search for each.
    """
    return body.find(b"\r\n.")


def find_last_dot_line(body: bytes) -> int:
    """Find the last one: CPython looks at fewer octets from behind."""
    return body.rfind(b"\r\n.")


def find_last_dot_first(body: bytes) -> int:
    """Find the last dot at all, then the dot line before it: base64 has no dots."""
    last = body.rfind(b".")
    return body.rfind(b"\r\n.", 0, last + 1)


def has_nul(body: bytes) -> bool:
    """Search for a single octet: the speed of memchr."""
    return b"\0" in body


def unstuff_by_replace(body: bytes) -> bytes:
    """Take away the dot stuffed at the beginning of a line."""
    return body.replace(b"\r\n..", b"\r\n.")


def unstuff_if_needed(body: bytes) -> bytes:
    """Search first: most messages have no such line, and then nothing is copied."""
    return body.replace(b"\r\n..", b"\r\n.") if b"\r\n.." in body else body


def unstuff_by_regex(body: bytes) -> bytes:
    """Take it away with a regular expression."""
    return re.sub(rb"(?m)^\.\.", b".", body)


def unstuff_by_lines(body: bytes) -> bytes:
    """Take it away line by line."""
    return b"".join(
        line[1:] if line.startswith(b".") else line
        for line in body.splitlines(keepends=True)
    )


def copy(body: bytes) -> bytes:
    """Copy: what a slice of a buffer costs at least."""
    return bytes(bytearray(body))


CHECKS: dict[str, Callable[[bytes], bool]] = {
    "bare CR/LF: three counts": by_counts,
    "bare CR/LF: newline decoder": by_newline_decoder,
    "bare CR/LF: replace, then in": by_replace,
    "bare CR/LF: split and join, then in": by_split,
    "bare CR/LF: translate and count": by_translate,
    "bare CR/LF: regex with lookaround": by_regex,
    "bare CR/LF: regex with classes": by_regex_class,
    "bare CR/LF: line by line": by_splitlines,
    "NUL: in": has_nul,
}
SEARCHES: dict[str, Callable[[bytes], object]] = {
    "end: find CRLF.CRLF": find_end,
    "end: find CRLF. (first dot line)": find_any_dot_line,
    "end: rfind CRLF. (last dot line)": find_last_dot_line,
    "end: rfind a dot, then CRLF.": find_last_dot_first,
    "unstuff: replace": unstuff_by_replace,
    "unstuff: in, then replace": unstuff_if_needed,
    "unstuff: regex": unstuff_by_regex,
    "unstuff: line by line": unstuff_by_lines,
    "copy twice, for scale": copy,
}


def bodies() -> dict[str, bytes]:
    """Return bodies of a mebibyte: ordinary lines, and one line in ten dotted."""
    text = LINE * (MEBIBYTE // len(LINE))
    dotted = (LINE * 9 + b".." + LINE[2:]) * (MEBIBYTE // len(LINE) // 10)
    base64 = (b"QUJD" * 19 + b"\r\n") * (MEBIBYTE // 78)
    return {"72-octet lines": text, "base64": base64, "one line in ten dotted": dotted}


def time_call(call: Callable[[bytes], object], blocks: Sequence[bytes]) -> float:
    """Measure one pass over all blocks, in CPU microseconds a mebibyte."""
    started = time.process_time_ns()
    for block in blocks:
        call(block)
    spent = time.process_time_ns() - started
    return spent / 1000 / sum(map(len, blocks)) * MEBIBYTE


def cut(body: bytes, octets: int) -> list[bytes]:
    """Cut a body into blocks as they come from a socket, at line ends."""
    whole = octets // len(LINE) * len(LINE) or octets
    return [body[start : start + whole] for start in range(0, len(body), whole)]


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Measure everything; the outer key is the column, the inner the candidate."""
    columns = {}
    for name, body in bodies().items():
        for label, octets in (("1 MiB", MEBIBYTE), ("64 KiB", 65536), ("4 KiB", 4096)):
            if name != "72-octet lines" and octets != MEBIBYTE:
                continue
            note(f"{name}, blocks of {label}")
            blocks = cut(body, octets)
            calls = {
                candidate: partial(time_call, call, blocks)
                for candidate, call in {**CHECKS, **SEARCHES}.items()
            }
            columns[f"{name}, {label}"] = medians(interleave(calls, rounds))
    return columns


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    columns = measure(options.rounds)
    if options.json:
        say(json.dumps(columns, indent=2))
        return
    say(describe_python() + "\n")
    names = next(iter(columns.values()))
    rows = [
        [name, *(f"{figures[name]:.0f}" for figures in columns.values())]
        for name in names
    ]
    say(markdown_table(["CPU us a MiB", *columns], rows))


if __name__ == "__main__":
    main()

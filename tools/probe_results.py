"""Write docs/reference/probe-results.md: what `smtpx probe` found of mail servers.

The findings are those of the last recorded run of tests/interop/test_probe.py, which
needs the servers: ``make interop-pages`` makes one. This tool needs the records only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from smtpx.probe.findings import Verdict
from smtpx.probe.registry import CHECKS

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "tests" / "interop" / "results" / "probe.json"
PAGE = ROOT / "docs" / "reference" / "probe-results.md"

HEAD = """\
# Probe results

What [`smtpx probe`](../how-to/probe-a-server.md) found of these servers, each run with
the small configuration of `tests/interop`: as their packages have them, where it says
nothing else. Made by `tools/probe_results.py` from the record of a run
(`make interop-pages`).

A finding is about that version and that configuration. Several have settings against
what was found: Postfix, for one, has `smtpd_forbid_bare_newline`, which its newer
versions switch on themselves. Checks whose names begin with `auth-` were made at the
port for those who log in, where a server has one, with a user and a password.
"""

ENDS = """\
Each was sent within a message, with a command behind it, and the true end behind that.
`unsafe`: the command was run. `weak`: the sequence is content, and was accepted, so
that the next server may see an end there unless this one mends it. `ok`: refused, or
harmless.
"""

# What stands in a cell; the rest is empty, so that the eye finds these.
_CELLS = {
    Verdict.OK: "ok",
    Verdict.NOTED: "ok",
    Verdict.NOT_OFFERED: "-",
    Verdict.LEFT_OUT: "",
    Verdict.UNCLEAR: "unclear",
    Verdict.WEAK: "weak",
    Verdict.UNSAFE: "**unsafe**",
}

Records = dict[str, dict[str, Any]]


def read_records() -> Records:
    """Return what was recorded: by server, with ours last."""
    found: Records = json.loads(RECORDS.read_text(encoding="utf-8"))
    return dict(
        sorted(
            found.items(),
            key=lambda item: (item[0].startswith("smtpx"), item[0].lower()),
        )
    )


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def checks_table(records: Records) -> str:
    """Return the verdict of each check on each server."""
    rows = [
        [
            f"`{check.name}`",
            *(
                _CELLS[Verdict(one["checks"][check.name]["verdict"])]
                for one in records.values()
            ),
        ]
        for check in CHECKS
    ]
    return table(["check", *records], rows)


def ends_table(records: Records) -> str:
    """Return what each server does with what is no end of a message."""
    cases = {name: one["checks"]["smuggling"]["cases"] for name, one in records.items()}
    sequences = next(iter(cases.values()))
    rows = [
        [f"`{end}`", *(_CELLS[Verdict(one[end])] for one in cases.values())]
        for end in sequences
    ]
    return table(["sequence", *records], rows)


def details(records: Records) -> str:
    """Return what was found of each server, in words."""
    parts = []
    for name, one in records.items():
        lines = [
            f"- `{check}`: {'; '.join(_escaped(text) for text in found['texts'])}\n"
            for check, found in one["checks"].items()
            if found["texts"]
        ]
        if lines:
            parts.append(f"### {name} {one['version']}\n\n{''.join(lines)}")
    return "\n".join(parts)


def _escaped(text: str) -> str:
    """Keep what a server said from being taken for HTML or for a link."""
    for sign in "\\`*_<>[]":
        text = text.replace(sign, f"\\{sign}")
    return text


def probe_page() -> str:
    """Return the page."""
    records = read_records()
    versions = [[name, one["version"]] for name, one in records.items()]
    return "\n".join(
        (
            HEAD,
            "## Versions\n",
            table(["server", "version"], versions),
            "## Checks\n",
            "`-`: the server does not offer it. Empty: left out.\n",
            checks_table(records),
            "## Ends of a message\n",
            ENDS,
            ends_table(records),
            "## In words\n",
            details(records),
        )
    )


if __name__ == "__main__":
    PAGE.write_text(probe_page(), encoding="utf-8")

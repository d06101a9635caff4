"""Write docs/reference/interoperability.md: what works with which mail software.

The cells are those of the last recorded run of the interop suite, which needs the
software: ``make interop-pages`` makes one. This tool needs the records only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "tests" / "interop" / "results"
PAGE = ROOT / "docs" / "reference" / "interoperability.md"

HEAD = """\
# Interoperability

What works between smtpx and the mail software of others, found out by running it: each
cell is a test of `tests/interop` with that program, on the loopback interface. Made by
`tools/interop_table.py` from the record of a run (`make interop-pages`).

A feature that a server does not offer is marked `-`: there the test asserts that the
client refuses before it sends anything, or does without. Messages are compared octet
for octet, and hold what software along the way likes to damage: dots, blanks at the
ends of lines, lines of 998 octets, octets beyond ASCII.
"""

SENDING = """\
## Our clients to their servers

Each feature with `Client` (or `LMTPClient`) and with `AsyncClient`, over connections of
their own. `AUTH` names the mechanisms that both have; each was used. A line of 5,000
octets is only sent when `long_lines` is set: what the server makes of it then. Each
server was set up to refuse at each stage where it can be (`-`: it cannot); the cell is
the code that it said, which the error that is raised has, with what it means: refused
for now or for good, or not sent.
"""

RECEIVING = """\
## Their servers to ours

Our client hands a message to the server, which relays it to our server. What our server
refuses has to come back to the sender (5xx) or be kept for another try (4xx), with our
words in the log. `undeclared` 8-bit content comes without `BODY=8BITMIME`. Postfix has
no password here, as its SASL library is a package of its own.
"""

SENDERS = """\
## Their clients to our server

Each client sends one message to two recipients. `AUTH` names the mechanisms that both
have; each was used, and each with a wrong secret. `declared` means that the client asks
for `BODY=8BITMIME`, or says `SIZE=`. The message of the row `SIZE` is larger than our
server allows; `not sent` means that the client saw so itself. Where our server refuses,
the cell says what the client tells its user: code and text of our reply, one of them,
or `failure`: no more than that. HAProxy stands between the two, and says by a PROXY
header for whom it speaks.
"""

MORE = """\
## More

GNU SASL logs in by each mechanism that it has in `test_sasl.py`, by SCRAM with channel
binding too. Our own client sends PROXY headers in `test_proxies.py`, Postfix uses our
server as a content filter in `test_gateways.py`, and `test_bulk.py` sends by the
thousand.
"""

Records = dict[str, dict[str, Any]]


def read_records(name: str) -> Records:
    """Return what was recorded: by peer."""
    text = (RESULTS / f"{name}.json").read_text(encoding="utf-8")
    found: Records = json.loads(text)
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def table(records: Records) -> str:
    """Return a row a feature, a column a peer."""
    features = dict.fromkeys(
        feature for one in records.values() for feature in one["features"]
    )
    lines = [
        ["", *(f"{name} {one['version']}" for name, one in records.items())],
        ["---"] * (len(records) + 1),
        *(
            [feature, *(one["features"][feature] for one in records.values())]
            for feature in features
        ),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def reasons(records: Records) -> str:
    """Return why a client has not what it has not: a line a feature."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, one in records.items():
        for feature, why in one["reasons"].items():
            found.setdefault((feature, why), []).append(name)
    order = list(dict.fromkeys(f for one in records.values() for f in one["features"]))
    lines = [
        f"- {feature}, {', '.join(names)}: {why}.\n"
        for (feature, why), names in sorted(
            found.items(), key=lambda item: (order.index(item[0][0]), item[1])
        )
    ]
    return f"Marked `-`:\n\n{''.join(lines)}"


def interop_page() -> str:
    """Return the page."""
    return "\n".join(
        (
            HEAD,
            SENDING,
            table(read_records("sending")),
            RECEIVING,
            table(read_records("receiving")),
            SENDERS,
            table(read_records("senders")),
            reasons(read_records("senders")),
            MORE,
        )
    )


if __name__ == "__main__":
    PAGE.write_text(interop_page(), encoding="utf-8")

"""The kinds of load that servers are compared under."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchmarks.processes import HOST, find_postfix_tool, python_program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.certificates import Certificates


@dataclass(frozen=True)
class Shape:
    """A kind of load.

    Attributes:
        name: in tables.
        messages: of one round.
        connections: that are at it at once.
        octets: of a message.
        recipients: of a message.
        keeps_connection: whether all messages go over these connections; else each over
            one of its own.
        way: how the servers are run: ``smtp``, ``lmtp``, ``starttls``, ``tls``, or so
            many workers, as ``2``.
        group: by which it can be chosen.
        is_bdat: whether it is sent by BDAT; else by DATA.
        carries_messages: whether the server must have received them at the end.
    """

    carries_messages: ClassVar[bool] = True

    name: str
    messages: int
    connections: int
    octets: int = 4096
    recipients: int = 1
    keeps_connection: bool = True
    way: str = "smtp"
    group: str = "main"
    is_bdat: bool = False

    def command(
        self, port: int, messages: int, certificates: Certificates
    ) -> list[str]:
        """Return the command that sends so much of this load."""
        if self.is_bdat:
            return self._own("bdat", port, messages)
        if self.way in {"starttls", "tls"}:
            return [
                *self._own(self.way, port, messages),
                *("--connections", str(self.connections)),
                *("--authority", str(certificates.authority)),
                *(["--keep"] if self.keeps_connection else []),
            ]
        return [
            find_postfix_tool("smtp-source"),
            *(["-L"] if self.way == "lmtp" else []),
            *(["-d"] if self.keeps_connection else []),
            *("-s", str(self.connections)),
            *("-m", str(messages)),
            *("-l", str(self.octets)),
            *("-r", str(self.recipients)),
            *("-f", "a@example.com", "-t", "b@example.com"),
            f"{HOST}:{port}",
        ]

    def _own(self, kind: str, port: int, messages: int) -> list[str]:
        return [
            *python_program("load", kind, "--port", str(port)),
            *("--messages", str(messages), "--octets", str(self.octets)),
        ]


MAIN = (
    Shape("10 conn, 4 KiB", messages=4000, connections=10),
    Shape("1 conn, 4 KiB", messages=2500, connections=1),
    Shape(
        "a connection a message",
        messages=2000,
        connections=10,
        keeps_connection=False,
    ),
    Shape("100 conn, 5 rcpt", messages=3000, connections=100, recipients=5),
    Shape("1 MB", messages=60, connections=10, octets=1_000_000),
)
TLS = (
    Shape("TLS, 10 conn, 4 KiB", 2000, connections=10, way="tls", group="tls"),
    Shape(
        "STARTTLS a message",
        messages=400,
        connections=10,
        keeps_connection=False,
        way="starttls",
        group="tls",
    ),
    Shape("TLS, 1 MB", 40, connections=4, octets=1_000_000, way="tls", group="tls"),
)
LMTP = (
    Shape("LMTP, 10 conn, 4 KiB", 4000, connections=10, way="lmtp", group="lmtp"),
    Shape(
        "LMTP, 10 conn, 5 rcpt",
        messages=3000,
        connections=10,
        recipients=5,
        way="lmtp",
        group="lmtp",
    ),
)
BDAT = (
    Shape("BDAT in bulk, 4 KiB", 4000, connections=1, is_bdat=True, group="bdat"),
    Shape(
        "BDAT in bulk, 1 MB",
        messages=60,
        connections=1,
        octets=1_000_000,
        is_bdat=True,
        group="bdat",
    ),
)
WORKERS = (
    Shape("1 worker, 10 conn", 4000, connections=10, way="1", group="workers"),
    Shape("2 workers, 10 conn", 4000, connections=10, way="2", group="workers"),
)

SHAPES = (*MAIN, *TLS, *LMTP, *BDAT, *WORKERS)
GROUPS = tuple(dict.fromkeys(shape.group for shape in SHAPES))


def choose(words: Sequence[str]) -> list[Shape]:
    """Return the shapes of some groups, or those with some of these words in the name.

    Raises:
        ValueError: a word chooses none.

    >>> [shape.name for shape in choose(["workers", "1 MB"])]
    ... # doctest: +NORMALIZE_WHITESPACE
    ['1 MB', 'TLS, 1 MB', 'BDAT in bulk, 1 MB', '1 worker, 10 conn',
     '2 workers, 10 conn']
    """
    if "all" in words:
        return list(SHAPES)
    chosen: list[Shape] = []
    for word in words:
        found = [one for one in SHAPES if one.group == word or word in one.name]
        if not found:
            raise ValueError(f"no shape {word!r}; there are all, {', '.join(GROUPS)}")
        chosen += found
    return [shape for shape in SHAPES if shape in chosen]

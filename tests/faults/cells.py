"""The cells of the matrix: each is a run of `send_many` in which one thing goes wrong.

How wide the window is, in what pieces the octets come, and how fast the peer answers,
is drawn from the name of the cell, so it is the same run each time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Final, NamedTuple

from smtpx.client.conversation import Conversation
from smtpx.client.options import ClientOptions
from smtpx.client.outgoing import Outcome, Outgoing, SendWindow
from smtpx.errors import SendError
from tests.client.scripted import LMTPConversation, step
from tests.faults.peer import Fault, Limits, Peer
from tests.faults.verdict import Verdict, judge

__all__ = ["MESSAGES", "VARIANTS", "WAYS", "Cell", "Run", "octets_of", "run_cell"]

MESSAGES: Final = 50


class Way(NamedTuple):
    """How messages are said: what the peer offers of what it takes for that."""

    is_lmtp: bool
    keywords: tuple[str, ...]


#: In lock step SMTP goes by DATA, and LMTP by BDAT.
WAYS: Final[Mapping[str, Way]] = {
    "smtp-bdat": Way(False, ("PIPELINING", "CHUNKING")),
    "smtp-data": Way(False, ("PIPELINING",)),
    "smtp-lock-step": Way(False, ()),
    "lmtp-bdat": Way(True, ("PIPELINING", "CHUNKING")),
    "lmtp-data": Way(True, ("PIPELINING",)),
    "lmtp-lock-step": Way(True, ("CHUNKING",)),
}


class Variant(NamedTuple):
    """What else is so.

    Attributes:
        envelopes: "plain"; "all", where all recipients are required; "452", where the
            peer takes two of a transaction, and says so with 452 4.5.3; "limits", where
            it says so in advance, and the same of transactions and domains.
        retries: whether to connect again.
    """

    envelopes: str
    retries: bool


#: Cells next to each other have different ones; those of eight seeds have all.
VARIANTS: Final = tuple(
    Variant(envelopes, retries)
    for retries, envelopes in product((True, False), ("plain", "all", "452", "limits"))
)

LIMITS: Final[Mapping[str, Limits]] = {
    "plain": Limits(),
    "all": Limits(),
    "452": Limits(recipients=2),
    "limits": Limits(recipients=2, mails=30, domains=2, are_told=True),
}

CONTENTS: Final = {
    key: b"%d\r\n" % key + (b"." * (key % 5) + b"\r\n") * (key % 2)
    for key in range(MESSAGES)
}
# How many they are for, and which of them have to go to all or to none.
RECIPIENTS: Final = {key: (1, 1, 2, 1, 3)[key % 5] for key in range(MESSAGES)}
# Those that can be read once.
ONCE: Final = frozenset(range(16, MESSAGES, 17))


def requires_all(key: int, envelopes: str) -> bool:
    """Say whether a message must go to all or to nobody."""
    if envelopes == "limits":
        # Three would be too many for one transaction: it would not even be tried.
        return key % 11 == 5 and RECIPIENTS[key] < 3
    return envelopes == "all" or key % 12 == 4


def letters(envelopes: str) -> Iterator[Outgoing]:
    """Yield the messages: octets, streams, and streams that can be read once."""
    for ready in _ready_letters(envelopes):
        if ready.key in ONCE:
            blocks = ready.message
            assert isinstance(blocks, list)
            yield Outgoing(iter(blocks), ready.sender, ready.recipients, key=ready.key)
        else:
            yield ready


@cache
def _ready_letters(envelopes: str) -> list[Outgoing]:
    return [
        Outgoing(
            [octets[:2], octets[2:]] if key in ONCE or key % 7 == 3 else octets,
            "a@c.test",
            [
                f"{key}.{index}@{'bde'[key // 20]}.test"
                for index in range(RECIPIENTS[key])
            ],
            require_all=key not in ONCE and requires_all(key, envelopes),
            key=key,
        )
        for key, octets in CONTENTS.items()
    ]


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        way: of `WAYS`.
        side: whose octets are counted, "in" or "out" as the peer sees them.
        kind: what goes wrong; empty if nothing.
        octet: where.
        seed: what is drawn, and which of `VARIANTS` it is, depends on it.
    """

    way: str
    side: str
    kind: str
    octet: int
    seed: int = 0

    @property
    def variant(self) -> Variant:
        turns = self.octet // len(VARIANTS)  # so that a stride of 8 has all of them
        return VARIANTS[(self.octet + turns + self.seed) % len(VARIANTS)]

    def __str__(self) -> str:
        return (
            f"--ways {self.way} --sides {self.side} --kinds '{self.kind}' "
            f"--offset {self.octet} --count 1 --seed {self.seed}"
        )


class Run:
    """A cell that is run.

    Args:
        cell: which.
        is_longest: draw what has the most said.
        is_verbose: keep what was said.

    Attributes:
        server: the peer, and what it knows.
        outcomes: what the client told.
        error: what it raised.
        left: the messages that it did not take from their source.
    """

    def __init__(
        self, cell: Cell, *, is_longest: bool = False, is_verbose: bool = False
    ) -> None:
        way, variant = WAYS[cell.way], cell.variant
        chances = random.Random(str(cell))
        self.cell = cell
        self.server = Peer(
            way.keywords,
            CONTENTS,
            LIMITS[variant.envelopes],
            Fault(cell.kind, cell.side, cell.octet) if cell.kind else None,
            chances,
            is_lmtp=way.is_lmtp,
        )
        if is_verbose:
            self.server.dialogue = []
        kind = LMTPConversation if way.is_lmtp else Conversation
        url = "lmtp://mx.test" if way.is_lmtp else "smtp+plain://mx.test"
        options = ClientOptions(hello_name="c.test")
        self.outcomes: list[Outcome] = []
        self.error: SendError | None = None
        source = letters(variant.envelopes)
        width = chances.choice((1, 3, 10, 60))
        if is_longest:
            # Nothing is known before the next is said, so RSET is said each time.
            width, self.server.is_eager = 60, False
        window = SendWindow(max_messages=width, start_messages=width)

        async def main() -> None:
            client = kind(self.server, url, options, None, None)
            run = client.send_many(
                source, retry_not_sent=variant.retries, window=window
            )
            try:
                async for outcome in run:
                    self.outcomes.append(outcome)
            except SendError as error:
                self.error = error
            self.generated, self.taken = self.server.generated, self.server.taken
            await client.quit()

        step(main())
        self.left = [outgoing.key for outgoing in source]

    def judge(self) -> Verdict:
        """Hold what the client told against what the peer knows."""
        server, variant = self.server, self.cell.variant
        verdict = judge(
            server,
            self.outcomes,
            keys=[outcome.outgoing.key for outcome in self.outcomes] + self.left,
            recipients=RECIPIENTS,
        )
        kind = self.cell.kind if server.has_struck else ""
        # Whom the peer refuses although nothing is wrong: those who are too many, if
        # they are not to go alone, or the connection by which they would go is lost.
        refusable = {
            key
            for key in CONTENTS
            if variant.envelopes == "452"
            and RECIPIENTS[key] > 2
            and (requires_all(key, "452") or not variant.retries)
        }
        more = verdict.keys["refused"] - refusable
        # Garbage in the middle of a 452 4.5.3 makes another refusal of it.
        may_refuse = kind.startswith(("4", "5")) or (
            kind == "garbage" and variant.envelopes == "452"
        )
        if kind != "452" and len(more) > may_refuse:
            verdict.wrong.append(f"refused, and the peer did not: {sorted(more)}")
        if self.left and self.error is None:
            verdict.wrong.append(f"not taken from the source: {self.left}")
        is_sound = not server.has_struck or (variant.retries and server.had_mail)
        if is_sound:
            if self.error is not None:
                verdict.wrong.append(f"raised: {self.error!r}")
            lost = verdict.keys["not sent"] - verdict.withdrawn
            if server.has_struck:
                lost -= ONCE
            if lost:
                verdict.wrong.append(f"not tried again: {sorted(lost)}")
        if any(not connection.is_left for connection in server.connections):
            verdict.wrong.append("a connection is left open")
        if server.now > 1000 + 1300:
            verdict.wrong.append(f"it took {server.now - 1000} seconds")
        return verdict


def run_cell(cell: Cell) -> Verdict:
    """Run a cell; say what came of it."""
    return Run(cell).judge()


@cache
def octets_of(way: str) -> Mapping[str, int]:
    """Return how many octets the longest run without a fault takes, by side."""
    runs = [Run(Cell(way, "in", "", number), is_longest=True) for number in range(4)]
    for run in runs:
        assert run.judge().wrong == []
    return {
        "in": max(run.taken for run in runs),
        "out": max(run.generated for run in runs),
    }

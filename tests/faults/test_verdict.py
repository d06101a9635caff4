"""The judge of the matrix notices each lie, and its peer each misdeed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from smtpx.errors import ConnectionLost, Delivery
from smtpx.wire.envelope import RecipientResult
from smtpx.wire.replies import Reply
from tests.client.scripted import step
from tests.faults.cells import CONTENTS, Cell, Run
from tests.faults.peer import Connection, Fault, Limits, Peer

YES = Reply(250, None, "ok")


def broken_run() -> Run:
    """Make a run in which some messages are delivered, unknown, and not sent."""
    run = Run(Cell("smtp-bdat", "out", "cut", 900, seed=3))
    assert run.judge().wrong == []
    assert all(run.judge().keys[what] for what in ("delivered", "unknown", "not sent"))
    return run


def told(run: Run, delivery: Delivery) -> int:
    """Find the first message that was told to be so, wholly."""
    for index, outcome in enumerate(run.outcomes):
        if {result.delivery for result in outcome.recipients} == {delivery}:
            return index
    raise AssertionError(delivery)


def tell(run: Run, index: int, **what: bool) -> None:
    """Tell something else of a message."""
    outcome = run.outcomes[index]
    is_accepted = what.get("is_accepted", False)
    reply = YES if is_accepted else what.get("is_refused") and Reply(550, None, "no")
    results = tuple(
        RecipientResult(
            one.recipient, reply or None, is_accepted, what.get("is_unknown", False)
        )
        for one in outcome.recipients
    )
    run.outcomes[index] = replace(
        outcome,
        recipients=results,
        delivery=results[0].delivery,
        error=None if is_accepted else ConnectionLost("cut"),
    )


def lie_delivered(run: Run) -> None:
    tell(run, told(run, Delivery.UNKNOWN), is_accepted=True)


def lie_not_sent(run: Run) -> None:
    tell(run, told(run, Delivery.UNKNOWN))


def lie_refused(run: Run) -> None:
    tell(run, told(run, Delivery.UNKNOWN), is_refused=True)


def lie_unknown(run: Run) -> None:
    tell(run, told(run, Delivery.DELIVERED), is_unknown=True)


def lose_an_outcome(run: Run) -> None:
    del run.outcomes[3]


def double_an_outcome(run: Run) -> None:
    run.outcomes.insert(3, run.outcomes[3])


def swap_outcomes(run: Run) -> None:
    run.outcomes[3], run.outcomes[4] = run.outcomes[4], run.outcomes[3]


def swap_results(run: Run) -> None:
    outcome = next(one for one in run.outcomes if len(one.recipients) > 1)
    outcome.recipients = outcome.recipients[::-1]


def lose_a_result(run: Run) -> None:
    outcome = next(one for one in run.outcomes if len(one.recipients) > 1)
    outcome.recipients = outcome.recipients[:1]


def lose_an_error(run: Run) -> None:
    run.outcomes[told(run, Delivery.UNKNOWN)].error = None


def make_up_an_error(run: Run) -> None:
    run.outcomes[told(run, Delivery.DELIVERED)].error = ConnectionLost("cut")


def contradict_the_recipients(run: Run) -> None:
    run.outcomes[told(run, Delivery.DELIVERED)].delivery = Delivery.UNKNOWN


def contradict_the_doubt(run: Run) -> None:
    run.outcomes[told(run, Delivery.UNKNOWN)].delivery = Delivery.NOT_SENT


def store_twice(run: Run) -> None:
    run.server.stored.append(run.server.stored[0])


def complain(run: Run) -> None:
    run.server.complaints.append("no manners")


def leave_a_connection(run: Run) -> None:
    run.server.connections[0].is_left = False


def take_hours(run: Run) -> None:
    run.server.now += 3_600


def leave_messages_without_an_error(run: Run) -> None:
    run.left = [run.outcomes.pop().outgoing.key]
    run.error = None


LIES: Sequence[tuple[Callable[[Run], None], str]] = [
    (lie_delivered, "told delivered, and not acknowledged"),
    (lie_not_sent, "told not sent, and arrived"),
    (lie_refused, "told refused, and arrived"),
    (lie_unknown, "acknowledged, and not told delivered"),
    (lose_an_outcome, "missing, doubled"),
    (double_an_outcome, "missing, doubled"),
    (swap_outcomes, "out of order"),
    (swap_results, "has the result of"),
    (lose_a_result, "has 1 results"),
    (lose_an_error, "and has no error"),
    (make_up_an_error, "is delivered, and has"),
    (contradict_the_recipients, "and its recipients"),
    (contradict_the_doubt, "and its recipients"),
    (store_twice, "arrived twice"),
    (complain, "no manners"),
    (leave_a_connection, "left open"),
    (take_hours, "seconds"),
    (leave_messages_without_an_error, "not taken from the source"),
]


@pytest.mark.parametrize(("lie", "complaint"), LIES)
def test_lies_are_noticed(lie: Callable[[Run], None], complaint: str) -> None:
    run = broken_run()
    lie(run)
    assert any(complaint in wrong for wrong in run.judge().wrong)


def test_who_could_be_tried_again_has_to_be() -> None:
    run = Run(Cell("smtp-bdat", "out", "cut", 900, seed=4))
    assert run.cell.variant.retries
    assert run.judge().wrong == []
    tell(run, -1)
    run.server.stored = [who for who in run.server.stored if who[0] < 49]
    run.server.heard = {who for who in run.server.heard if who[0] < 49}
    assert run.judge().wrong == ["not tried again: [49]"]
    run.error = ConnectionLost("cut")
    assert any("raised" in wrong for wrong in run.judge().wrong)


def test_who_was_not_refused_has_to_be_told_so() -> None:
    run = Run(Cell("smtp-bdat", "", "", 0))
    tell(run, 5, is_refused=True)
    assert "refused, and the peer did not: [5]" in run.judge().wrong


def peer_with(limits: Limits | None = None, *keywords: str) -> tuple[Peer, Connection]:
    """Make a peer, and a connection on which EHLO is said."""
    chances = random.Random(1)
    peer = Peer(keywords, CONTENTS, limits or Limits(), None, chances, is_lmtp=False)
    connection = Connection(peer)
    say(connection, b"EHLO c.test\r\n")
    return peer, connection


def say(connection: Connection, octets: bytes) -> bytes:
    """Say something; return all that is answered."""
    connection.out = b""
    connection.take(octets)
    return connection.out


ENVELOPE = b"MAIL FROM:<a@c.test>\r\nRCPT TO:<2.0@b.test>\r\n"


def test_a_peer_takes_a_message() -> None:
    peer, connection = peer_with()
    assert say(connection, ENVELOPE + b"DATA\r\n").endswith(b"354 go\r\n")
    stuffed = CONTENTS[2].replace(b"\r\n.", b"\r\n..")
    assert say(connection, stuffed + b".\r\n") == b"250 ok\r\n"
    chunk = CONTENTS[4]
    say(connection, ENVELOPE.replace(b"2.0", b"4.2") + b"BDAT 1\r\n" + chunk[:1])
    say(connection, b"BDAT %d LAST\r\n" % (len(chunk) - 1) + chunk[1:])
    assert peer.stored == [(2, 0), (4, 2)]
    assert peer.complaints == []


@pytest.mark.parametrize(
    ("octets", "complaint"),
    [
        (ENVELOPE + ENVELOPE, "MAIL within a transaction"),
        (ENVELOPE + b"BDAT 3 LAST\r\n3\r\n", "for [(2, 0)]"),
        (ENVELOPE + b"BDAT 1 LAST\r\n2", "for [(2, 0)]"),
        (
            ENVELOPE + b"RCPT TO:<4.0@b.test>\r\nBDAT 3 LAST\r\n2\r\n",
            "for [(2, 0), (4, 0)]",
        ),
        (ENVELOPE + b"RCPT TO:<2.1@b.test>\r\n", "more than LIMITS tells"),
        (ENVELOPE + b"RSET\r\n" + ENVELOPE, "more than LIMITS tells"),
    ],
)
def test_a_peer_complains(octets: bytes, complaint: str) -> None:
    limits = Limits(recipients=1, mails=1, are_told="LIMITS" in complaint)
    if not limits.are_told:
        limits = Limits()
    peer, connection = peer_with(limits)
    say(connection, octets)
    assert any(complaint in text for text in peer.complaints)


def test_a_peer_complains_of_a_client_that_does_not_wait() -> None:
    for keywords, complaints in (
        ((), ["the client does not wait for an answer"]),
        (("PIPELINING",), []),
    ):
        peer, connection = peer_with(None, *keywords)
        connection.out = b""
        step(connection.send(b"RSET\r\n", timeout=1))
        step(connection.send(b"RSET\r\n", timeout=1))
        assert peer.complaints == complaints


def test_a_peer_complains_of_a_client_that_waits_for_nothing() -> None:
    peer, connection = peer_with()
    connection.out = b""
    with pytest.raises(TimeoutError):
        step(connection.receive(timeout=7))
    assert peer.complaints == ["the client waits, and owes the next word"]
    assert peer.now == 1007


@pytest.mark.parametrize("octet", [0, 10, len(ENVELOPE) + 11])
def test_a_fault_strikes_once(octet: int) -> None:
    peer = Peer((), CONTENTS, Limits(), Fault("450", "in", octet), random.Random(1),
                is_lmtp=False)  # fmt: skip
    connection = Connection(peer)
    said = connection.out
    for line in (b"EHLO c.test\r\n" + ENVELOPE).splitlines(keepends=True):
        connection.out = b""
        step(connection.send(line, timeout=1))
        said += connection.out
    assert said.count(b"450 4.3.0") == 1
    assert peer.has_struck

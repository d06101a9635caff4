"""The server's machine that counts octets, and keeps its last words."""

from __future__ import annotations

from smtpx.core.config import ServerConfig
from smtpx.core.server_counted import CountingMachine
from smtpx.wire.replies import Reply

BYE = Reply(421, "4.3.2", "going down")


def greeted() -> tuple[CountingMachine, bytes]:
    machine = CountingMachine(ServerConfig(hostname="mx.test"))
    machine.next_event()
    machine.answer(None)
    return machine, machine.data_to_send()


def test_octets_are_counted_both_ways() -> None:
    machine, greeting = greeted()
    assert (machine.octets_received, machine.octets_sent) == (0, len(greeting))
    machine.receive_data(b"NO")
    machine.receive_data(b"OP\r\n")
    machine.next_event()
    reply = machine.data_to_send()
    assert machine.octets_received == len(b"NOOP\r\n")
    assert machine.octets_sent == len(greeting) + len(reply)


def test_last_words_are_those_that_ended_the_session() -> None:
    machine, _ = greeted()
    before = machine.last_words
    machine.close(BYE, "shutdown")
    assert (before, machine.last_words) == (None, BYE)
    assert machine.data_to_send() == BYE.encode()
    # Closed is closed: nobody hears what is said now.
    machine.close(Reply(421, "4.4.2", "too late"), "again")
    assert machine.last_words is BYE

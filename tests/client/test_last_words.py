"""What a server said before the connection ended is heard, whatever breaks first."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from smtpx.client.options import Chunking, ClientOptions, Timeouts
from smtpx.errors import (
    ConnectionLost,
    DataRefused,
    Delivery,
    PhaseTimeout,
    SenderRefused,
)
from tests.client.scripted import OPTIONS, Scripted, hello
from tests.client.test_transaction import TO_THREE, send

if TYPE_CHECKING:
    from tests.client.conftest import Front

ALWAYS = replace(OPTIONS, chunking=Chunking.ALWAYS)
BLOCK = "x" * 62 + "\\r\\n"
CHUNK = f"C| BDAT 65536\\r\\n{BLOCK * 1024}\n"
LARGE = (b"x" * 62 + b"\r\n") * 1024 * 3
ENVELOPE = """
    C: MAIL FROM:<a@a.test>
    C: RCPT TO:<b@b.test>
    S: 250 ok
    S: 250 ok
    """
DATA = """
    C: MAIL FROM:<a@a.test>
    C: RCPT TO:<b@b.test>
    C: DATA
    S: 250 ok
    S: 250 ok
    S: 354 go
    """


# --- Chunks. ---


@pytest.mark.parametrize("code", [421, 552])
@pytest.mark.parametrize("end", ["== EOF ==", "== RESET ==", "== TIMEOUT =="])
def test_a_refused_chunk_is_told_whatever_follows(code: int, end: str) -> None:
    scripted = Scripted(
        hello("PIPELINING", "CHUNKING")
        + ENVELOPE
        + CHUNK * 2
        + CHUNK.replace("65536", "65536 LAST")
        + f"S: {code} 5.3.4 too large\n{end}",
        options=ALWAYS,
    )
    with pytest.raises(DataRefused, match="chunk") as caught:
        send(scripted, LARGE)
    assert caught.value.smtp_code == code
    assert caught.value.delivery is Delivery.REFUSED
    assert scripted.channel.is_aborted
    assert not scripted.client.is_connected


@pytest.mark.parametrize("failure", ["UNREADABLE", "STUCK"])
def test_a_chunk_that_cannot_be_written_because_one_was_refused(failure: str) -> None:
    scripted = Scripted(
        hello("PIPELINING", "CHUNKING")
        + ENVELOPE
        + CHUNK
        + f"== {failure} ==\nS: 552 5.3.4 too large\n== EOF ==",
        options=ALWAYS,
    )
    with pytest.raises(DataRefused, match="chunk") as caught:
        send(scripted, LARGE)
    assert caught.value.smtp_code == 552


def test_after_421_to_a_chunk_nothing_is_waited_for() -> None:
    scripted = Scripted(
        hello("PIPELINING", "CHUNKING")
        + ENVELOPE
        + CHUNK * 2
        + CHUNK.replace("65536", "65536 LAST")
        + "S: 421 4.3.2 going down\n",
        options=ALWAYS,
    )
    with pytest.raises(DataRefused) as caught:
        send(scripted, LARGE)
    assert caught.value.smtp_code == 421
    assert scripted.channel.is_aborted


# --- Writes that fail. ---


@pytest.mark.parametrize("failure", ["UNREADABLE", "STUCK"])
def test_421_is_heard_when_a_write_fails(failure: str) -> None:
    scripted = Scripted(
        hello("PIPELINING") + f"== {failure} ==\nS: 421 4.3.2 going down\n== EOF =="
    )
    with pytest.raises(SenderRefused) as caught:
        send(scripted)
    assert caught.value.smtp_code == 421


@pytest.mark.parametrize("failure", ["UNREADABLE", "STUCK"])
@pytest.mark.parametrize("code", [421, 552])
def test_a_refusal_in_the_middle_is_heard_when_a_write_fails(
    failure: str, code: int
) -> None:
    scripted = Scripted(
        hello("PIPELINING") + DATA + f"== {failure} ==\nS: {code} 4.3.2 x\n== EOF =="
    )
    with pytest.raises(DataRefused, match="before its end") as caught:
        send(scripted, LARGE)
    assert caught.value.smtp_code == code


@pytest.mark.parametrize("failure", ["UNREADABLE", "STUCK"])
@pytest.mark.parametrize(
    "end", ["S| 25\n== EOF ==", "== RESET ==", "S| 2\n== TIMEOUT =="]
)
def test_half_a_word_is_none(failure: str, end: str) -> None:
    scripted = Scripted(hello("PIPELINING") + DATA + f"== {failure} ==\n{end}")
    kind = PhaseTimeout if failure == "STUCK" else ConnectionLost
    with pytest.raises(kind) as caught:
        send(scripted, LARGE)
    assert type(caught.value) is kind
    assert caught.value.phase == "data_block"
    assert caught.value.delivery is Delivery.NOT_SENT


def test_the_next_write_after_last_words_that_say_yes_fails() -> None:
    scripted = Scripted(
        hello("PIPELINING")
        + "== UNREADABLE ==\nS: 250 ok\nS: 250 ok\nS: 354 go\n== EOF =="
    )
    with pytest.raises(ConnectionLost, match="nobody reads") as caught:
        send(scripted)
    assert caught.value.delivery is Delivery.NOT_SENT


# --- Statuses of LMTP. ---


def test_statuses_before_the_end_are_in_the_error() -> None:
    scripted = Scripted(
        hello("PIPELINING", verb="LHLO")
        + """
        C: MAIL FROM:<a@a.test>
        C: RCPT TO:<b@b.test>
        C: RCPT TO:<c@b.test>
        C: RCPT TO:<d@b.test>
        C: DATA
        S: 250 ok
        S: 550 5.1.1 who?
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: x
        C: .
        S: 250 2.1.5 delivered
        == EOF ==
        """,
        url="lmtp://mx.test",
    )
    with pytest.raises(ConnectionLost) as caught:
        send(scripted, **TO_THREE)
    error = caught.value
    assert error.delivery is Delivery.UNKNOWN
    assert [one.delivery for one in error.results] == [
        Delivery.REFUSED,
        Delivery.DELIVERED,
        Delivery.UNKNOWN,
    ]
    assert [one.recipient for one in error.results] == [
        "b@b.test",
        "c@b.test",
        "d@b.test",
    ]


def test_before_the_end_was_sent_nobody_has_it() -> None:
    scripted = Scripted(
        hello("PIPELINING")
        + """
        C: MAIL FROM:<a@a.test>
        C: RCPT TO:<b@b.test>
        C: DATA
        S: 250 ok
        S: 250 ok
        == RESET ==
        """
    )
    with pytest.raises(ConnectionLost) as caught:
        send(scripted)
    assert caught.value.phase == "data_start"
    assert [one.delivery for one in caught.value.results] == [Delivery.NOT_SENT]


def test_before_a_transaction_there_are_no_results() -> None:
    scripted = Scripted("== EOF ==")
    with pytest.raises(ConnectionLost) as caught:
        scripted.connect()
    assert caught.value.results == ()


# --- Over sockets. ---


class Refuser(threading.Thread):
    """A server that has had enough of a message in its middle.

    Args:
        reply: what it says then.
        stays: it neither reads on nor closes; else it resets the connection.
    """

    def __init__(self, reply: bytes, *, stays: bool) -> None:
        super().__init__()
        self._reply = reply
        self._stays = stays
        self.may_go = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"smtp+plain://127.0.0.1:{self._listener.getsockname()[1]}"

    def run(self) -> None:
        connection, _ = self._listener.accept()
        with self._listener, connection, connection.makefile("rb", buffering=0) as file:
            connection.sendall(b"220 mx.test\r\n")
            for line in file:
                if line.startswith(b"DATA"):
                    connection.sendall(b"354 go\r\n")
                    break
                connection.sendall(b"250 ok\r\n")
            connection.recv(100_000)
            connection.sendall(self._reply)
            if self._stays:
                self.may_go.wait()
            # What is unread turns the close into a reset, and here always.
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def endless() -> Iterator[bytes]:
    while True:
        yield LARGE[:65_536]


@pytest.mark.parametrize("attempt", range(5))
def test_552_before_a_reset(front: Front, attempt: int) -> None:
    server = Refuser(b"552 5.3.4 too large\r\n", stays=False)
    server.start()

    async def scenario() -> None:
        options = ClientOptions(hello_name="client.test")
        async with front.client(server.url, options=options) as client:
            with pytest.raises(DataRefused) as caught:
                await client.send(endless(), sender="a@a.test", recipients="b@b.test")
            assert caught.value.smtp_code == 552
            assert not client.is_connected

    front.run(scenario)
    server.join()


def test_421_of_a_server_that_reads_no_more(front: Front) -> None:
    server = Refuser(b"421 4.3.2 going down\r\n", stays=True)
    server.start()

    async def scenario() -> None:
        timeouts = Timeouts(data_block=0.2)
        options = ClientOptions(hello_name="client.test", timeouts=timeouts)
        async with front.client(server.url, options=options) as client:
            with pytest.raises(DataRefused) as caught:
                await client.send(endless(), sender="a@a.test", recipients="b@b.test")
            assert caught.value.smtp_code == 421

    front.run(scenario)
    server.may_go.set()
    server.join()

"""Octets without an end: what is held of them does not grow with them.

In small here, and without sockets; `python -m benchmarks attacks` does it in large,
against a server that listens, and takes the time of its neighbours too.
"""

from __future__ import annotations

import contextlib
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from smtpx.core import events
from smtpx.core.config import ServerConfig
from smtpx.core.limits import Limits
from smtpx.core.server import ServerMachine
from smtpx.errors import BadProxyHeader, BadReply
from smtpx.wire.preamble import ProxyDecoder
from smtpx.wire.reply_decoder import ReplyDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

BLOCK = 65_536
#: Far more than any of these may hold, and a sixteenth of what is poured in.
ROOM = 1_048_576
BLOCKS = 256
ENVELOPE = b"EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\n"


@contextlib.contextmanager
def within(room: int) -> Iterator[None]:
    """Fail if more octets than these are held at any time."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < room


class Flooded:
    """A server's machine that grants everything, and keeps nothing."""

    def __init__(self, *opening: bytes, max_errors: int = 10) -> None:
        limits = Limits(max_message_octets=BLOCK, max_errors=max_errors)
        self.machine = ServerMachine(ServerConfig(hostname="mx.test", limits=limits))
        self.content = 0
        self.codes: list[int] = []
        self.take()
        for octets in opening:
            self.pour([octets])
        self.codes.clear()

    def pour(self, blocks: Iterable[bytes]) -> None:
        for block in blocks:
            self.machine.receive_data(block)
            self.take()

    def take(self) -> None:
        machine = self.machine
        while (event := machine.next_event()) is not None or machine.is_waiting:
            if isinstance(event, events.BodyReceived):
                self.content += len(event.data)
            if machine.is_waiting:
                machine.answer(None)
        lines = machine.data_to_send().split(b"\r\n")
        self.codes += [int(line[:3]) for line in lines if line[3:4] == b" "]


def poured(piece: bytes) -> Iterator[bytes]:
    """Make 16 MiB of a piece, each block anew."""
    for _ in range(BLOCKS):
        yield piece * (BLOCK // len(piece))


@pytest.mark.parametrize("piece", [b"x", b".", b"\r", b"\n", b"\0\r\0\n"], ids=ascii)
def test_a_message_without_a_line_end(piece: bytes) -> None:
    flooded = Flooded(ENVELOPE, b"DATA\r\n")
    with within(ROOM):
        flooded.pour(poured(piece))
        assert flooded.codes == []
        flooded.pour([b"\r\n.\r\nRSET\r\n"])
    # What went beyond the limit was dropped, and its end was found.
    assert flooded.codes == [552, 250]
    assert flooded.content <= BLOCK


def test_a_chunk_without_an_end() -> None:
    flooded = Flooded(ENVELOPE)
    with within(ROOM):
        flooded.pour([b"BDAT %d LAST\r\n" % (BLOCKS * BLOCK)])
        flooded.pour(poured(b"x"))
        flooded.pour([b"RSET\r\n"])
    assert flooded.codes == [552, 250]


def test_a_command_line_without_an_end() -> None:
    flooded = Flooded()
    with within(ROOM):
        flooded.pour(poured(b"NOOP "))
        assert flooded.codes == []
        flooded.pour([b"\r\nNOOP\r\n"])
    assert flooded.codes == [500, 250]


def test_a_command_line_without_an_end_octet_by_octet() -> None:
    flooded = Flooded()
    with within(ROOM // 8):
        flooded.pour(b"x" for _ in range(BLOCK))
    assert flooded.machine.buffered <= flooded.machine._limits.max_command_octets


def test_errors_without_an_end_end() -> None:
    flooded = Flooded()
    flooded.pour(poured(b"X\r\n"))
    assert flooded.codes == [500] * 9 + [421]


def replies_to(pieces: Callable[[], Iterator[bytes]]) -> str:
    decoder = ReplyDecoder()
    for octets in pieces():
        try:
            decoder.feed(octets)
            decoder.next_reply()
        except BadReply as error:
            return str(error)
    raise AssertionError("a reply without an end was taken")


@pytest.mark.parametrize("piece", [b"x", b"250-", b"250-x\r\n", b"\0", b"250-\r\n"])
@pytest.mark.parametrize("size", [1, BLOCK])
def test_a_reply_without_an_end(piece: bytes, size: int) -> None:
    def pieces() -> Iterator[bytes]:
        octets = piece * BLOCK
        for _ in range(BLOCKS):
            for place in range(0, len(octets), size):
                yield octets[place : place + size]

    with within(ROOM):
        text = replies_to(pieces)
    assert "reply" in text


@pytest.mark.parametrize("start", [b"PROXY TCP4 ", b"PROXY UNKNOWN ", b"", b"PROXY "])
@pytest.mark.parametrize("octet", [b"1", b" ", b"\r", b"\0"], ids=ascii)
def test_a_proxy_header_without_an_end(start: bytes, octet: bytes) -> None:
    decoder = ProxyDecoder()
    fed = 0

    def feed(octets: bytes) -> None:
        nonlocal fed
        for one in octets:
            # It says how much it takes, so that nothing behind it is read.
            assert 1 <= decoder.missing <= 107
            decoder.feed(bytes([one]))
            fed += 1

    with within(ROOM), pytest.raises(BadProxyHeader):
        feed(start + octet * BLOCK)
    assert fed < 107

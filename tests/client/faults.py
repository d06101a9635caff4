"""A server in memory that fails at a given octet, and a client's way to it.

The server is our own machine. A fault strikes once, when so many octets have come in,
or have been read by the client, on the first connection; later connections are sound.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpx.core import events
from smtpx.core.config import ServerConfig
from smtpx.core.server import ServerMachine
from smtpx.wire.replies import Reply
from tests.client.scripted import ScriptedRuntime
from tests.core.machines import ANSWERED

if TYPE_CHECKING:
    import random
    import ssl

    from smtpx.net.channel import Channel
    from smtpx.net.tls import TLSInfo

#: What can happen when an octet has come in: the connection ends, in good order or by a
#: reset; nothing comes any more; the next question is refused; a line comes that is
#: none; and, counted by the octets that go out, the connection ends within a reply.
KINDS = ("close", "reset", "stall", "421", "450", "550", "garbage", "cut", "cut off")

_KEY = re.compile(rb"X-Key: ([0-9]+)\r\n")


@dataclass
class Fault:
    """What goes wrong, and where.

    Attributes:
        kind: one of `KINDS`.
        octet: of the client's stream; for the cuts, of the server's.
    """

    kind: str
    octet: int
    has_struck: bool = False

    @property
    def is_of_output(self) -> bool:
        return self.kind.startswith("cut")


class FaultyServer(ScriptedRuntime):
    """What all connections share, and what came of the messages.

    Attributes:
        stored: the key of each message that was taken, as often as it was.
        heard: those whose 250 was read by the client whole.
    """

    def __init__(
        self, config: ServerConfig, fault: Fault | None, generator: random.Random
    ) -> None:
        super().__init__([])
        self.config = config
        self.fault = fault
        self.random = generator
        self.stored: list[int] = []
        self.heard: set[int] = set()
        self.connections: list[MemoryChannel] = []

    async def connect_tcp(self, *_: object, **__: object) -> Channel:
        channel = MemoryChannel(self, None if self.connections else self.fault)
        self.connections.append(channel)
        return channel


class MemoryChannel:
    """One connection."""

    tls: TLSInfo | None = None
    peer = "192.0.2.25:25"
    local = "192.0.2.1:40000"
    has_received = False

    def __init__(self, server: FaultyServer, fault: Fault | None) -> None:
        self.server = server
        self.fault = fault
        self.machine = ServerMachine(server.config)
        self.taken = 0  # octets that came in
        self.out = b""
        self.read = 0  # octets that went out
        self.acks: deque[tuple[int, int]] = deque()  # (where its 250 ends, key)
        self.content = b""
        self.refusal: Reply | None = None
        self.is_closed = self.is_reset = self.is_stalled = False
        self.is_spoilt = False  # nothing behind garbage can be believed
        self.pump()

    # The client's end.

    @property
    def is_readable(self) -> bool:
        return bool(self.out) or self.is_closed

    async def send(self, data: bytes | memoryview, *, timeout: float | None) -> None:
        if self.is_closed:
            raise BrokenPipeError("nobody reads")
        data = bytes(data)
        fault = self.fault
        if fault and not fault.is_of_output and fault.octet < self.taken + len(data):
            room = max(0, fault.octet - self.taken)
            self.feed(data[:room])
            self.fault = None
            self.strike(fault)
            data = data[room:]
        self.feed(data)

    def put_back(self, data: bytes) -> None:
        raise AssertionError("only a proxy leaves octets for another to read")

    async def receive(self, *, timeout: float | None) -> bytes:
        if not self.out:
            if self.is_reset:
                raise ConnectionResetError("reset by peer")
            if self.is_closed:
                return b""
            assert self.is_stalled, "the client waits, and owes the next word"
            assert timeout is not None
            self.server.now += timeout
            raise TimeoutError("nothing comes")
        size = min(self.server.random.choice((1, 20, 500, 100_000)), len(self.out))
        fault = self.fault
        if fault and fault.is_of_output and fault.octet <= self.read + size:
            size = fault.octet - self.read
            self.out = self.out[:size]
            self.fault = None
            self.strike(fault)
            if not size:
                return await self.receive(timeout=timeout)
        data, self.out = self.out[:size], self.out[size:]
        self.read += len(data)
        while self.acks and self.acks[0][0] <= self.read:
            self.server.heard.add(self.acks.popleft()[1])
        return data

    async def start_tls(
        self,
        context: ssl.SSLContext,
        server_hostname: str | None,
        *,
        timeout: float | None,
    ) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    # The server's end.

    def strike(self, fault: Fault) -> None:
        fault.has_struck = True
        kind = fault.kind
        if kind in {"close", "reset", "cut", "cut off"}:
            self.is_closed = True
            self.is_reset = kind in {"reset", "cut off"}
            if kind == "reset":
                self.out = b""
        elif kind == "stall":
            self.is_stalled = True
        elif kind == "421":
            self.out += b"421 4.3.2 going down\r\n"
            self.is_closed = True
        elif kind == "garbage":
            self.out += b"what?\r\n"
            self.is_spoilt = True
        else:
            self.refusal = Reply(int(kind), f"{kind[0]}.3.0", "no")

    def feed(self, data: bytes) -> None:
        self.taken += len(data)
        if data and not (self.is_closed or self.is_stalled):
            self.machine.receive_data(data)
            self.pump()

    def pump(self) -> None:
        machine = self.machine
        while (event := machine.next_event()) is not None:
            if isinstance(event, events.BodyReceived):
                self.content += event.data
            elif isinstance(event, events.MessageAborted):
                self.content = b""
            if isinstance(event, ANSWERED):
                self.answer(event)
        self.out += machine.data_to_send()

    def answer(self, event: events.Event) -> None:
        machine = self.machine
        kind = type(event)
        if kind is events.ClientConnected or kind is events.HelloReceived:
            machine.answer(None)
            return
        refusal, self.refusal = self.refusal, None
        key = None
        if isinstance(event, events.MessageComplete):
            found = _KEY.search(self.content)
            assert found is not None, "content that nobody sent"
            if refusal is None:
                key = int(found[1])
                self.server.stored.append(key)
            self.content = b""
        start = len(self.out)
        machine.answer(refusal)
        self.out += machine.data_to_send()
        if key is not None and not self.is_spoilt:
            # In LMTP there are several; from the first on somebody has the message.
            end = self.out.index(b"\r\n", start) + 2
            self.acks.append((self.read + end, key))

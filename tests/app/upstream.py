"""A server that follows a script: it refuses, hangs and vanishes when told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

#: What to do in place of a reply.
HANG = "hang"
DROP = "drop"

REPLIES: Mapping[str, str] = {
    "greeting": "220 next.test ESMTP",
    "EHLO": "250-next.test\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 SIZE 1000000",
    "LHLO": "250-next.test\r\n250-8BITMIME\r\n250 SIZE 1000000",
    "MAIL": "250 2.1.0 sender fine",
    "RCPT": "250 2.1.5 recipient fine",
    "DATA": "354 go on",
    ".": "250 2.0.0 queued as 4XkQ",
    "BDAT": "250 2.0.0 chunk fine",
    "BDAT LAST": "250 2.0.0 queued as 4XkQ",
    "RSET": "250 2.0.0 reset",
    "QUIT": "221 2.0.0 bye",
    "AUTH": "235 2.7.0 welcome",
}


@dataclass
class Upstream:
    """The script, and what came of it.

    Attributes:
        replies: by verb; or for the second, third... of a verb by ``MAIL 2`` and so on.
        most_sent: octets after which it closes, of each connection.
        most_received: likewise.
        commands: that it heard, of all connections.
        messages: that came to their end.
        acknowledged: of these, those whose 250 was written whole.
        torn: contents of messages that broke off.
        connections: how many there were.
    """

    replies: Mapping[str, str] = field(default_factory=dict)
    most_sent: int | None = None
    most_received: int | None = None
    commands: list[str] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    acknowledged: list[bytes] = field(default_factory=list)
    torn: list[bytes] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0
    address: str = ""

    def verbs(self) -> list[str]:
        return [command.split(" ")[0] for command in self.commands]


class _Protocol(asyncio.Protocol):
    def __init__(self, script: Upstream) -> None:
        self._script = script
        self._buffer = b""
        self._sent = self._received = 0
        self._counts: dict[str, int] = {}
        self._content: bytes | None = None
        self._is_dotted = False
        self._chunk_left = 0
        self._is_last = False
        self._recipients = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._script.connections += 1
        self._script.open_connections += 1
        self._reply("greeting")

    def connection_lost(self, exc: Exception | None) -> None:
        self._script.open_connections -= 1
        if self._content is not None:
            self._script.torn.append(self._content)

    def data_received(self, data: bytes) -> None:
        most = self._script.most_received
        if most is not None:
            data = data[: most - self._received]
        self._received += len(data)
        self._buffer += data
        while not self._transport.is_closing() and self._step():
            pass
        if self._received == most:
            self._transport.close()

    def _step(self) -> bool:
        if self._chunk_left or (self._is_last and not self._is_dotted):
            return self._take_chunk()
        line, crlf, rest = self._buffer.partition(b"\r\n")
        if not crlf:
            return False
        self._buffer = rest
        if self._content is not None and self._is_dotted:
            self._take_line(line)
        else:
            self._obey(line.decode())
        return True

    def _take_line(self, line: bytes) -> None:
        assert self._content is not None
        if line == b".":
            self._end(".")
        else:
            self._content += line.removeprefix(b".") + b"\r\n"

    def _take_chunk(self) -> bool:
        assert self._content is not None
        taken = self._buffer[: self._chunk_left]
        self._buffer = self._buffer[len(taken) :]
        self._content += taken
        self._chunk_left -= len(taken)
        if self._chunk_left:
            return False
        if self._is_last:
            self._is_last = False
            self._end("BDAT LAST")
        else:
            self._reply("BDAT")
        return True

    def _end(self, what: str) -> None:
        content, self._content = self._content or b"", None
        self._script.messages.append(content)
        is_lmtp = "LHLO" in self._counts
        for _ in range(self._recipients if is_lmtp else 1):
            if self._reply(what):
                self._script.acknowledged.append(content)
        self._recipients = 0

    def _obey(self, line: str) -> None:
        self._script.commands.append(line)
        verb = line.split(" ", maxsplit=1)[0]
        if verb == "BDAT":
            _, size, *last = line.split(" ")
            self._chunk_left, self._is_last = int(size), bool(last)
            self._is_dotted = False
            self._content = self._content or b""
            if not self._chunk_left and not last:
                self._reply("BDAT")
            return
        if verb in {"MAIL", "RSET"}:
            self._content, self._recipients = None, 0
        is_positive = self._reply(verb)
        if verb == "RCPT":
            self._recipients += is_positive
        elif verb == "DATA" and is_positive:
            self._content, self._is_dotted = b"", True
        elif verb == "QUIT":
            self._transport.close()

    def _reply(self, what: str) -> bool:
        """Reply as the script says; tell whether it was yes, and written whole."""
        count = self._counts[what] = self._counts.get(what, 0) + 1
        replies = {**REPLIES, **self._script.replies}
        text = replies.get(f"{what} {count}") or replies.get(what, "500 5.5.2 what?")
        if text == HANG:
            return False
        if text == DROP:
            self._transport.close()
            return False
        octets = text.encode() + b"\r\n"
        most = self._script.most_sent
        if most is not None and self._sent + len(octets) > most:
            self._transport.write(octets[: most - self._sent])
            self._transport.close()
            return False
        self._transport.write(octets)
        self._sent += len(octets)
        if text.startswith("421"):
            self._transport.close()
        return text[0] in "23"


@contextlib.asynccontextmanager
async def upstream(script: Upstream) -> AsyncIterator[Upstream]:
    """Serve as a script says; its address is filled in."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Protocol(script), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    script.address = f"{host}:{port}"
    try:
        yield script
    finally:
        server.close()
        await server.wait_closed()

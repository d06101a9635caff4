"""A server that drops connections at random, by a seed, and remembers what it took.

What happens is drawn at each step of a session, from before the greeting to after the
reply to the end of a message: the connection is reset or closed, or 421 is said first.
Whatever it takes responsibility for it notes before the reply, even if that is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class _Drop(Exception):
    """The connection ends here."""


@dataclass
class UnreliableServer:
    """Counts how often it took each message, by the message's first line.

    Args:
        seed: of all chances.
        chance: of a fault, at each step.
        closes_after: messages over one connection, then it is closed.
        keywords: what EHLO is answered with.
    """

    seed: int = 1
    chance: float = 0.0
    closes_after: int | None = None
    keywords: tuple[str, ...] = ("PIPELINING",)
    taken: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    open_now: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)
    faults: Counter[str] = field(default_factory=Counter)
    port: int = 0

    @property
    def url(self) -> str:
        return f"smtp+plain://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[UnreliableServer]:
        """Serve in a thread of its own, so that it fits both fronts."""
        started = threading.Event()
        loop = asyncio.new_event_loop()
        stop: asyncio.Event = asyncio.Event()

        async def serve() -> None:
            server = await asyncio.start_server(self._session, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            async with server:
                await stop.wait()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
        thread.start()
        started.wait()
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()

    def wait_until_closed(self) -> None:
        """Wait until no connection is left."""
        with self.changed:
            assert self.changed.wait_for(lambda: not self.open_now, 60)

    async def _session(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        self.open_now += 1
        chances = random.Random(f"{self.seed}/{self.connections}")
        session = _Session(self, reader, writer, chances)
        try:
            await session.run()
        except (_Drop, ConnectionError, EOFError):
            writer.transport.abort()
        finally:
            writer.close()
            # Only then has the client its end.
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()
            with self.changed:
                self.open_now -= 1
                self.changed.notify_all()


@dataclass
class _Session:
    server: UnreliableServer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    chances: random.Random
    messages: int = 0

    async def run(self) -> None:
        await self.step("greeting")
        self.say("220 mx.test")
        while line := await self.reader.readline():
            verb = line[:4].decode().upper()
            await self.step(verb)
            if verb == "EHLO":
                lines = ["mx.test", *self.server.keywords]
                last = len(lines) - 1
                for number, text in enumerate(lines):
                    self.say(f"250{' ' if number == last else '-'}{text}")
            elif verb == "DATA":
                self.say("354 go on")
                await self.content()
            elif verb == "BDAT":
                content = await self.reader.readexactly(int(line.split()[1]))
                await self.step("before the end is taken")
                self.take(content.decode())
                await self.step("after the end", may_say=False)
                self.say("250 taken")
            elif verb == "QUIT":
                self.say("221 bye")
                await self.writer.drain()
                return
            else:
                self.say("250 ok")
            await self.writer.drain()

    async def content(self) -> None:
        lines = []
        while (line := await self.reader.readline()) != b".\r\n":
            if not line:
                raise EOFError
            lines.append(line)
            await self.step("content", scale=0.2, may_say=False)
        await self.step("before the end is taken")
        self.take(b"".join(lines).decode())
        await self.step("after the end", may_say=False)
        self.say("250 taken")
        await self.writer.drain()
        limit = self.server.closes_after
        if limit is not None and self.messages >= limit:
            raise _Drop
        await self.step("idle")

    def take(self, content: str) -> None:
        self.messages += 1
        self.server.taken[content.partition("\r\n")[0]] += 1

    async def step(
        self, name: str, *, scale: float = 1.0, may_say: bool = True
    ) -> None:
        if self.chances.random() >= self.server.chance * scale:
            return
        how = self.chances.choice(["reset", "close", "421"] if may_say else ["reset"])
        self.server.faults[f"{how} at {name}"] += 1
        if how == "421":
            self.say("421 4.3.2 not now")
        if how != "reset":
            await self.writer.drain()
            self.writer.write_eof()
            # A reset would overtake what was said.
            while await self.reader.read(65_536):
                pass
        raise _Drop

    def say(self, line: str) -> None:
        self.writer.write(line.encode() + b"\r\n")

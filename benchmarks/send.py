"""The clients in Python that are measured: ``python -m benchmarks.send NAME``.

Each sends the same message again and again over one connection, a tenth of them
before the clock starts, and prints the CPU time that the others took.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import smtplib
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.loops import EVENT_LOOPS
from benchmarks.measure import say
from benchmarks.processes import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    import smtpx

SENDER = "a@example.com"
RECIPIENT = "b@example.com"
LINE = b"The quick brown fox jumps over the lazy dog, and the dog lets it pass..\r\n"


def message(octets: int) -> bytes:
    """Return a message of lines that need no change on the wire."""
    header = b"From: a@example.com\r\nTo: b@example.com\r\nSubject: load\r\n\r\n"
    return header + LINE * max(1, (octets - len(header)) // len(LINE))


class Stopwatch:
    """Measures CPU time from the end of the warming up."""

    def __init__(self, messages: int) -> None:
        """Prepare for `messages` that count, and a tenth more that do not."""
        self._messages = messages
        self._started = 0
        self.microseconds = 0.0

    def __len__(self) -> int:
        """Return how many there are, all in all."""
        return max(1, self._messages // 10) + self._messages

    def __iter__(self) -> Iterator[None]:
        """Count the messages; the clock starts after a tenth."""
        for _ in range(max(1, self._messages // 10)):
            yield
        self._started = time.process_time_ns()
        for _ in range(self._messages):
            yield
        spent = time.process_time_ns() - self._started
        self.microseconds = spent / 1000 / self._messages


class Letters:
    """Envelopes that are there before they are asked for, as those of a list are."""

    def __init__(self, data: bytes, stopwatch: Stopwatch) -> None:
        """Make them of `data`, until `stopwatch` has counted enough."""
        self._data = data
        self._stopwatch = stopwatch

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._stopwatch)

    def __iter__(self) -> Iterator[smtpx.Outgoing]:
        """Make one after the other."""
        import smtpx  # noqa: PLC0415 - only what is measured is loaded

        for _ in self._stopwatch:
            yield smtpx.Outgoing(self._data, SENDER, RECIPIENT)


@dataclass(frozen=True)
class Target:
    """Where to send, and how.

    Attributes:
        port: of the server.
        way: ``smtp``, ``lmtp``, or ``starttls``, which is left out of the figure.
        authority: whom to trust then, a file.
        is_bdat: whether to send by BDAT.
    """

    port: int
    way: str = "smtp"
    authority: str | None = None
    is_bdat: bool = False

    @property
    def context(self) -> ssl.SSLContext | None:
        """For STARTTLS; None without."""
        if self.way != "starttls":
            return None
        return ssl.create_default_context(cafile=self.authority)

    @property
    def url(self) -> str:
        """For smtpx."""
        schemes = {"smtp": "smtp+plain", "starttls": "smtp+starttls", "lmtp": "lmtp"}
        return f"{schemes[self.way]}://{HOST}:{self.port}"

    def options(self) -> smtpx.ClientOptions:
        """For smtpx."""
        import smtpx  # noqa: PLC0415 - only what is measured is loaded

        return smtpx.ClientOptions(
            hello_name="bench.example",
            tls_context=self.context,
            chunking=smtpx.Chunking.ALWAYS if self.is_bdat else smtpx.Chunking.AUTO,
        )

    def client(self) -> smtpx.Client:
        """Make a client that blocks."""
        import smtpx  # noqa: PLC0415 - only what is measured is loaded

        kind = smtpx.LMTPClient if self.way == "lmtp" else smtpx.Client
        return kind(self.url, options=self.options())

    def async_client(self) -> smtpx.AsyncClient:
        """Make a client on an event loop."""
        import smtpx  # noqa: PLC0415 - only what is measured is loaded

        kind = smtpx.AsyncLMTPClient if self.way == "lmtp" else smtpx.AsyncClient
        return kind(self.url, options=self.options())


def send_with_smtplib(target: Target, data: bytes, stopwatch: Stopwatch) -> None:
    """Send with the standard library."""
    kind = smtplib.LMTP if target.way == "lmtp" else smtplib.SMTP
    with kind(HOST, target.port, "bench.example") as client:
        context = target.context
        if context is not None:
            client.starttls(context=context)
        for _ in stopwatch:
            client.sendmail(SENDER, [RECIPIENT], data)


async def send_with_aiosmtplib(
    target: Target, data: bytes, stopwatch: Stopwatch
) -> None:
    """Send with aiosmtplib."""
    import aiosmtplib  # noqa: PLC0415 - only what is measured is loaded

    context = target.context
    async with aiosmtplib.SMTP(
        hostname=HOST,
        port=target.port,
        local_hostname="bench.example",
        start_tls=context is not None,
        tls_context=context,
    ) as client:
        for _ in stopwatch:
            await client.sendmail(SENDER, [RECIPIENT], data)


def send_with_smtpx(target: Target, data: bytes, stopwatch: Stopwatch) -> None:
    """Send with smtpx, one message after the other."""
    with target.client() as client:
        for _ in stopwatch:
            client.send(data, sender=SENDER, recipients=[RECIPIENT])


def send_many_with_smtpx(target: Target, data: bytes, stopwatch: Stopwatch) -> None:
    """Send with smtpx, in bulk: the same octets every time, as smtp-source does."""
    with target.client() as client:
        for outcome in client.send_many(Letters(data, stopwatch)):
            if outcome.error is not None:
                raise outcome.error


async def send_many_with_smtpx_async(
    target: Target, data: bytes, stopwatch: Stopwatch
) -> None:
    """Do the same on an event loop."""
    async with target.async_client() as client:
        async for outcome in client.send_many(Letters(data, stopwatch)):
            if outcome.error is not None:
                raise outcome.error


async def send_with_smtpx_async(
    target: Target, data: bytes, stopwatch: Stopwatch
) -> None:
    """Send with smtpx on an event loop, one message after the other."""
    async with target.async_client() as client:
        for _ in stopwatch:
            await client.send(data, sender=SENDER, recipients=[RECIPIENT])


BLOCKING: dict[str, Callable[[Target, bytes, Stopwatch], None]] = {
    "smtplib": send_with_smtplib,
    "smtpx-blocking": send_with_smtpx,
    "smtpx-many": send_many_with_smtpx,
}
ASYNC: dict[str, Callable[[Target, bytes, Stopwatch], Coroutine[Any, Any, None]]] = {
    "aiosmtplib": send_with_aiosmtplib,
    "smtpx-async": send_with_smtpx_async,
    "smtpx-async-many": send_many_with_smtpx_async,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("client", choices=[*BLOCKING, *ASYNC])
    parser.add_argument("--loop", choices=list(EVENT_LOOPS), default="asyncio")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--octets", type=int, required=True)
    parser.add_argument("--way", choices=["smtp", "lmtp", "starttls"], default="smtp")
    parser.add_argument("--authority", help="whom to trust, for TLS: a file")
    parser.add_argument("--bdat", action="store_true")
    options = parser.parse_args(arguments)
    stopwatch = Stopwatch(options.messages)
    data = message(options.octets)
    target = Target(options.port, options.way, options.authority, options.bdat)
    if options.client in BLOCKING:
        BLOCKING[options.client](target, data, stopwatch)
    else:
        with asyncio.Runner(loop_factory=EVENT_LOOPS[options.loop]) as runner:
            runner.run(ASYNC[options.client](target, data, stopwatch))
    say(json.dumps({"microseconds": stopwatch.microseconds}))


if __name__ == "__main__":
    main()

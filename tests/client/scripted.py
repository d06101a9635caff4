"""A channel that plays the server's part of a script, and a runtime that hands it out.

::

    S: 220 mx.test          the server sends a line
    C: EHLO client.test     the client must send this line, and nothing else
    C| body\\r\\n.\\r\\n        the client must send these octets; Python escapes
    S| 25                   the server sends octets
    == EOF ==               the server closes
    == RESET ==             the connection breaks
    == TIMEOUT ==           the server says nothing until time is up
    == WAIT 10 ==           seconds pass before what follows
    == TLS ==               the client must start TLS
    == TLS FAILS ==         the handshake fails for the certificate
    == TLS BREAKS ==        the connection ends in the handshake
    == UNREADABLE ==        the next write fails
    == STUCK ==             the next write takes too long

The client's octets are compared as one stream, so a test says what is sent; in how many
writes is in `writes`.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from smtpx.client.conversation import Conversation
from smtpx.client.options import ClientOptions
from smtpx.errors import BadReply
from smtpx.net.tls import TLSInfo

if TYPE_CHECKING:
    import socket

    from smtpx.client.connection import AnyAuth
    from smtpx.net.channel import Channel
    from smtpx.net.dns import Resolver
    from tests.client.mirror import Connection

T = TypeVar("T")

TLS_INFO = TLSInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, "mx.test")


def parse_script(script: str) -> list[tuple[str, bytes]]:
    steps: list[tuple[str, bytes]] = []
    for line in script.splitlines():
        text = line.strip()
        kind, rest = text[:2], text[3:]
        if not text or text.startswith("#"):
            continue
        if kind == "==":
            steps.append((text.strip("= "), b""))
            continue
        octets = rest.encode()
        octets = (
            octets + b"\r\n"
            if kind[1] == ":"
            else octets.decode("unicode_escape").encode("latin-1")
        )
        name = kind[0]
        if name == "C" and steps and steps[-1][0] == "C":
            octets = steps.pop()[1] + octets
        steps.append((name, octets))
    return steps


@dataclass
class ScriptedChannel:
    """One connection, as a script has it."""

    steps: list[tuple[str, bytes]]
    runtime: ScriptedRuntime
    peer: str = "192.0.2.25:25"
    local: str = "192.0.2.1:40000"
    tls: TLSInfo | None = None
    writes: list[bytes] = field(default_factory=list)
    timeouts: list[float | None] = field(default_factory=list)
    is_closed: bool = False
    is_aborted: bool = False
    tls_name: str | None = None
    _received: bytes = b""
    # What answers when the script is at its end.
    mirror: Connection | None = None

    @property
    def has_received(self) -> bool:
        return self._next() == "S" and self.steps[0][1].startswith(b"!")

    @property
    def is_readable(self) -> bool:
        if self.mirror is not None and not self.steps:
            return self.mirror.is_readable
        return self._next() in {"S", "EOF"}

    def _next(self) -> str:
        return self.steps[0][0] if self.steps else ""

    async def send(self, data: bytes | memoryview, *, timeout: float | None) -> None:
        assert not self.is_aborted
        assert not self.is_closed
        if self._next() in {"UNREADABLE", "STUCK"}:
            kind = self.steps.pop(0)[0]
            if kind == "STUCK":
                raise TimeoutError("no progress in time")
            raise BrokenPipeError("nobody reads")
        data = bytes(data)
        self.writes.append(data)
        if self.mirror is not None and not self.steps:
            self.mirror.receive_data(data)
            return
        self._received += data
        while self._next() == "C" and self._received.startswith(self.steps[0][1]):
            self._received = self._received[len(self.steps.pop(0)[1]) :]
        if self._received:
            expected = self.steps[0] if self.steps else ("nothing", b"")
            expected_octets = expected[1] if expected[0] == "C" else b""
            assert expected_octets.startswith(self._received), (
                f"the client sent {self._received!r}, the script has {expected}"
            )

    async def receive(self, *, timeout: float | None) -> bytes:
        assert not self.is_aborted
        assert not self.is_closed
        self.timeouts.append(timeout)
        if self.mirror is not None and not self.steps:
            return self.mirror.take()
        while self._next().startswith("WAIT "):
            seconds = float(self.steps.pop(0)[0].removeprefix("WAIT "))
            if timeout is not None and seconds >= timeout:
                self.runtime.now += timeout
                raise TimeoutError
            self.runtime.now += seconds
        kind = self._next()
        assert kind != "C", f"the client waits; the script has {self.steps[0]}"
        assert kind, "the client waits; the script is at its end"
        octets = self.steps.pop(0)[1]
        if kind == "TIMEOUT":
            assert timeout is not None
            self.runtime.now += timeout
            raise TimeoutError
        if kind == "RESET":
            raise ConnectionResetError("reset by peer")
        if kind == "EOF":
            self.steps.insert(0, ("EOF", b""))
            return b""
        assert kind == "S", f"the client waits; the script has {kind}"
        while self._next() == "S":
            octets += self.steps.pop(0)[1]
        return octets.removeprefix(b"!")

    def put_back(self, data: bytes) -> None:
        self.steps.insert(0, ("S", data))

    async def start_tls(
        self,
        context: ssl.SSLContext,
        server_hostname: str | None,
        *,
        timeout: float | None,
    ) -> None:
        self.timeouts.append(timeout)
        self.tls_name = server_hostname
        if self._next() == "S":
            raise BadReply("octets in clear")
        kind = self.steps.pop(0)[0]
        if kind == "TLS FAILS":
            raise ssl.SSLCertVerificationError("certificate verify failed")
        if kind == "TLS BREAKS":
            raise ConnectionResetError("reset by peer")
        if kind == "TIMEOUT":
            raise TimeoutError
        assert kind == "TLS", f"the client starts TLS; the script has {kind}"
        self.tls = TLS_INFO

    async def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True

    def require_end(self) -> None:
        left = [step for step in self.steps if step[0] != "EOF"]
        assert left == [], f"not played: {left}"
        assert self._received == b""


@dataclass
class ScriptedRuntime:
    """Hands out a connection for each script, and keeps the time."""

    scripts: list[str]
    now: float = 1000.0
    peer: str = "192.0.2.25:25"
    local: str = "192.0.2.1:40000"
    channels: list[ScriptedChannel] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)
    timeouts: list[float | None] = field(default_factory=list)
    error: OSError | None = None
    attend: Callable[[ScriptedChannel], None] | None = None
    names: Resolver | None = None
    look_after: float = 0.5

    def clock(self) -> float:
        return self.now

    def lock(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        *,
        timeout: float | None,
        local_address: str | None,
        addresses: Sequence[str] | None,
    ) -> Channel:
        source = f" from {local_address}" if local_address else ""
        at = "" if addresses is None else f" at {' '.join(addresses)}"
        return self._connect(f"{host}:{port}{source}{at}", timeout)

    def resolver(self) -> Resolver:
        assert self.names is not None, "the client asks the DNS"
        return self.names

    async def connect_unix(self, path: str, *, timeout: float | None) -> Channel:
        self.peer = f"unix:{path}"
        self.local = "unix:"
        return self._connect(path, timeout)

    async def wrap_socket(self, sock: socket.socket) -> Channel:
        return self._connect("socket", None)

    def _connect(self, where: str, timeout: float | None) -> ScriptedChannel:
        self.dialled.append(where)
        self.timeouts.append(timeout)
        if self.error is not None:
            raise self.error
        assert self.scripts, "the client connects again"
        steps = parse_script(self.scripts.pop(0))
        channel = ScriptedChannel(steps, self, self.peer, self.local)
        self.channels.append(channel)
        if self.attend is not None:
            self.attend(channel)
        return channel

    @property
    def channel(self) -> ScriptedChannel:
        return self.channels[-1]


class LMTPConversation(Conversation):
    _is_lmtp = True


def step(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, as the blocking front does."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    coroutine.close()
    raise AssertionError("the conversation awaited something else than its channel")


# Most messages of the tests are one line, of whatever length they need.
OPTIONS = ClientOptions(hello_name="client.test", long_lines=True)


class Scripted:
    """A client with scripted servers; each call runs to its end."""

    def __init__(
        self,
        *scripts: str,
        url: str | None = "smtp+plain://mx.test",
        options: ClientOptions = OPTIONS,
        auth: AnyAuth | None = None,
        socket: socket.socket | None = None,
    ) -> None:
        self.runtime = ScriptedRuntime(list(scripts))
        kind = LMTPConversation if (url or "").startswith("lmtp") else Conversation
        self.client = kind(self.runtime, url, options, auth, socket)

    def __call__(self, action: Callable[[Conversation], Coroutine[Any, Any, T]]) -> T:
        return step(action(self.client))

    def connect(self) -> None:
        step(self.client.connect())

    @property
    def channel(self) -> ScriptedChannel:
        return self.runtime.channel

    @property
    def channels(self) -> list[ScriptedChannel]:
        return self.runtime.channels

    def require_end(self) -> None:
        for channel in self.runtime.channels:
            channel.require_end()
        assert self.runtime.scripts == [], "the client did not connect again"


def hello(*keywords: str, name: str = "client.test", verb: str = "EHLO") -> str:
    """Return the script of an opening, up to the reply to EHLO."""
    lines = ["S: 220 mx.test", f"C: {verb} {name}", "S: 250-mx.test"]
    lines += [f"S: 250-{keyword}" for keyword in keywords]
    return "\n".join([*lines, "S: 250 HELP"]) + "\n"

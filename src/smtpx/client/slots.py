"""A pool's places for connections, and when the connection in one has had its share.

They know the clock, and nothing of who waits: `smtpx.client.stock` decides who gets
which, and `smtpx.client.pool` waits.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from smtpx.client.connection import AnyAuth
    from smtpx.client.conversation import Conversation
    from smtpx.client.link import Runtime
    from smtpx.client.options import Target
    from smtpx.client.pool_options import PoolOptions
    from smtpx.net.channel import Channel
    from smtpx.net.dns import Resolver

__all__ = ["NEVER", "Destination", "Meter", "Slot"]

NEVER: Final = float("inf")


class Meter:
    """The runtime of one client of the pool: it takes note of each connection."""

    def __init__(self, runtime: Runtime, on_open: Callable[[], None]) -> None:
        self._runtime = runtime
        self._on_open = on_open
        self.opened_at = 0.0
        self.messages = 0
        self.look_after = runtime.look_after
        self.clock = runtime.clock
        self.lock: Callable[[], AbstractAsyncContextManager[None]] = runtime.lock

    async def connect_tcp(
        self,
        host: str,
        port: int,
        *,
        timeout: float | None,
        local_address: str | None,
        addresses: Sequence[str] | None,
    ) -> Channel:
        """Connect over TCP, to one of the addresses if they are known."""
        return self._opened(
            await self._runtime.connect_tcp(
                host,
                port,
                timeout=timeout,
                local_address=local_address,
                addresses=addresses,
            )
        )

    async def connect_unix(self, path: str, *, timeout: float | None) -> Channel:
        """Connect to a unix socket."""
        return self._opened(await self._runtime.connect_unix(path, timeout=timeout))

    def resolver(self) -> Resolver:
        """Return what asks the DNS when the options name nobody."""
        return self._runtime.resolver()

    async def wrap_socket(self, sock: socket.socket) -> Channel:
        """Make a channel of a connected socket."""
        return self._opened(await self._runtime.wrap_socket(sock))

    def _opened(self, channel: Channel) -> Channel:
        self.opened_at = self.clock()
        self.messages = 0
        self._on_open()
        return channel


class Slot:
    """A place for a connection, and the client that has it.

    Attributes:
        key: the destination.
        client: what users see.
        conversation: what is in it.
        idle_since: by the clock.
    """

    __slots__ = ("_meter", "_options", "client", "conversation", "idle_since", "key")

    def __init__(
        self,
        key: Hashable,
        client: Any,  # noqa: ANN401 - the front knows its type
        conversation: Conversation,
        meter: Meter,
        options: PoolOptions,
    ) -> None:
        self.key = key
        self.client = client
        self.conversation = conversation
        self.idle_since = 0.0
        self._meter = meter
        self._options = options

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as is known here."""
        return self.conversation.is_connected

    @property
    def is_used_up(self) -> bool:
        """Whether the connection has had its share of time or messages."""
        options, meter = self._options, self._meter
        return (
            options.max_messages is not None and meter.messages >= options.max_messages
        ) or (
            options.max_age is not None
            and meter.clock() - meter.opened_at >= options.max_age
        )

    @property
    def expires_at(self) -> float:
        """When the connection is to be closed if nobody wants it, by the clock."""
        options = self._options
        idle = NEVER if options.max_idle is None else options.max_idle
        age = NEVER if options.max_age is None else options.max_age
        return min(self.idle_since + idle, self._meter.opened_at + age)

    def count_message(self) -> None:
        """Note that a message went over the connection."""
        self._meter.messages += 1


@dataclass(frozen=True, slots=True)
class Destination:
    """Where messages go; equal if the connections are.

    Attributes:
        target: what the URL says.
        url: it.
        auth: for whoever is there.
    """

    target: Target
    url: str = field(compare=False, repr=False)
    auth: AnyAuth | None = field(default=None, compare=False, repr=False)

"""What a pool of connections may be told, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["DEFAULT_POOL_OPTIONS", "PoolOptions", "PoolStatistics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """Options of a pool. Times are in seconds; None is no limit.

    Attributes:
        size: connections at a time, idle ones and all destinations together.
        per_destination: connections at a time to one destination; by default `size`.
            Large providers take some 10 to 20 from one address, Postfix opens 20 at
            most (its default_destination_concurrency_limit).
        max_idle: how long a connection may wait for work. Servers close after 5
            minutes (RFC 5321 section 4.5.3.2.7), some in well under one.
        max_age: how long a connection is used; beyond it the next message gets a new
            one, as a name may by then have another address. Postfix: 300
            (smtp_connection_reuse_time_limit).
        max_messages: over one connection; then the next gets a new one. Exim's server
            closes after 1,000 (smtp_accept_max_per_connection), others after 100.
        rate: messages a second to one destination, for those sent with the pool's
            `send`; the rest wait for their turn.
        burst: messages that may go at once after a pause, before `rate` holds.
        attempts: how often a message is tried when its connection breaks. It is
            tried again only if it is certain that the server did not take it.
        retry_delay: between attempts, if no connection could be made or the server
            closes them; doubled for each further one.
        max_waiting: calls that may wait for a connection; each holds its message in
            memory.
        queue_timeout: how long a call may wait for a connection.

    Raises:
        ValueError: one is not positive, or `retry_delay` is negative.

    >>> PoolOptions(size=4, max_messages=100).per_destination is None
    True
    """

    size: int = 10
    per_destination: int | None = None
    max_idle: float | None = 60.0
    max_age: float | None = 300.0
    max_messages: int | None = 100
    rate: float | None = None
    burst: int = 1
    attempts: int = 3
    retry_delay: float = 0.1
    max_waiting: int = 10_000
    queue_timeout: float | None = None

    def __post_init__(self) -> None:
        for name in (
            *("size", "per_destination", "max_idle", "max_age", "max_messages"),
            *("rate", "burst", "attempts", "max_waiting", "queue_timeout"),
        ):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, not {value}")
        if not self.retry_delay >= 0:
            raise ValueError(f"retry_delay is 0 or more, not {self.retry_delay}")


DEFAULT_POOL_OPTIONS: Final = PoolOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatistics:
    """What a pool holds now, and what it has done since it was made.

    Attributes:
        connections: now, idle ones too.
        idle: of these, those that nobody uses.
        waiting: calls that wait for a connection.
        opened: connections made.
        replaced: connections that a server had closed while they were idle.
        delivered: messages that a server took for at least one recipient.
        refused: messages that a server refused.
        not_sent: messages that failed, and that no server has.
        unknown: messages that a server may have, or may not.
        retried: attempts beyond the first of a message.
    """

    connections: int = 0
    idle: int = 0
    waiting: int = 0
    opened: int = 0
    replaced: int = 0
    delivered: int = 0
    refused: int = 0
    not_sent: int = 0
    unknown: int = 0
    retried: int = 0

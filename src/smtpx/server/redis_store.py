"""The store of throttled-py in Redis, with an end.

Apart from `limiters`, since it needs an extra to be imported at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from redis.backoff import NoBackoff
from redis.retry import Retry
from throttled.asyncio import RedisStore

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["ClosingRedisStore"]


class ClosingRedisStore(RedisStore):
    """A store whose connections can be closed, and that does not try for seconds.

    Args:
        url: of Redis.
        timeout: seconds for a connection to be made, and for a reply.
    """

    def __init__(self, url: str, timeout: float) -> None:
        # One try more, at once: for a connection that Redis closed while it was idle.
        # The default of redis-py is three, with pauses that grow to ten seconds.
        retry = Retry(NoBackoff(), 1)
        super().__init__(
            url,
            {
                "SOCKET_TIMEOUT": timeout,
                "SOCKET_CONNECT_TIMEOUT": timeout,
                "CONNECTION_POOL_KWARGS": {"retry": retry},
            },
        )

    async def close(self) -> None:
        """Close the connections; the next command makes them again."""
        client = cast("Redis", self._backend.get_client())
        await client.aclose(close_connection_pool=True)

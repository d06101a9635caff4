"""The store of throttled-py in Redis, with an end.

Apart from `limiters`, since it needs an extra to be imported at all.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry
from throttled.asyncio import RedisStore
from throttled.asyncio.store import BaseAtomicAction
from throttled.exceptions import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis
    from throttled.store.base import BaseStoreBackend
    from throttled.types import KeyT, StoreValueT

__all__ = ["ClosingRedisStore"]

logger = logging.getLogger("smtpx.server")


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

    def make_atomic(self, action_cls: type[BaseAtomicAction]) -> BaseAtomicAction:
        """Make what counts hits of a key, whatever somebody else wrote there.

        Args:
            action_cls: counts, if the key holds what it wrote itself.
        """
        return _MendingAction(super().make_atomic(action_cls), self, self._backend)

    async def remove_foreign(self, key: KeyT) -> bool:
        """Delete a key that holds no count, and say so in the log.

        Args:
            key: of ours, by its prefix.

        Returns:
            Whether there was something else.
        """
        client = self._client()
        kind = cast("bytes", await client.type(key))
        if kind == b"none":
            return False
        if kind == b"string" and _is_count(cast("bytes | None", await client.get(key))):
            return False
        logger.error(
            "the key %r in Redis holds no count, so somebody else writes there: it is "
            "deleted, and counted from zero; give smtpx a Redis database of its own",
            key,
        )
        await client.delete(key)
        return True

    async def close(self) -> None:
        """Close the connections; the next command makes them again."""
        await self._client().aclose(close_connection_pool=True)

    def _client(self) -> Redis:
        return cast("Redis", self._backend.get_client())


def _is_count(value: bytes | None) -> bool:
    """Tell whether the script can count on; None: it may, nothing is there any more."""
    try:
        float(b"0" if value is None else value)
    except ValueError:
        return False
    return True


class _MendingAction(BaseAtomicAction):
    """Counts hits, and does not take a key that is broken for an outage.

    Redis answers each question about such a key with an error. Were that an outage,
    all clients would pass unchecked for a second, or be refused, whenever it is asked.
    """

    def __init__(
        self,
        action: BaseAtomicAction,
        store: ClosingRedisStore,
        backend: BaseStoreBackend,
    ) -> None:
        super().__init__(backend)
        self._action = action
        self._store = store

    async def do(
        self, keys: Sequence[KeyT], args: Sequence[StoreValueT] | None
    ) -> tuple[int | float, ...]:
        """Count, or tell the count.

        Args:
            keys: one, under which is counted.
            args: what the script takes.
        """
        try:
            return await self._action.do(keys, args)
        except StoreUnavailableError as error:
            if not isinstance(error.__cause__, ResponseError):
                raise
            if not [key for key in keys if await self._store.remove_foreign(key)]:
                raise
        return await self._action.do(keys, args)

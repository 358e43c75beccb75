"""Rate limits shared by all instances through Redis.

Without Redis each process counts on its own: a weaker limit, but never no limit and never an error.
"""

import math
from typing import Any, cast

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage, SlidingWindowCounterSupport
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError

from shop_api.kernel.errors import RateLimited
from shop_api.security.hashes import identity_hash
from shop_api.storage.redis.client import Redis
from shop_api.storage.redis.fallback import RedisWithFallback


class _Storage(RedisStorage):
    """Storage on the existing client, of one server or a cluster.

    Written for limits 5.8: relies on its constructor calling `configure_bridge` to set the client, and on the bridge
    using no other. tests/security/test_rate_limits.py fails if that changes.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        address = "redis://"  # required, but not used
        super().__init__(address, implementation="redispy", key_prefix="rate", wrap_exceptions=True)

    def configure_bridge(self) -> None:
        bridge: Any = self.bridge
        bridge.storage, bridge.connection_getter = self._redis, lambda readonly: self._redis


class RateLimits:
    """Sliding-window rate limits. `enabled=False` turns them off."""

    def __init__(self, redis: Redis, *, enabled: bool = True) -> None:
        self._shared = SlidingWindowCounterRateLimiter(_Storage(redis))
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._counts = RedisWithFallback("rate limits", StorageError)
        self._enabled = enabled

    @property
    def fallbacks(self) -> int:
        """Number of attempts counted by this process alone."""
        return self._counts.fallbacks

    async def hit(self, limit: str, *identity: str) -> None:
        """Count one attempt by `identity` against `limit`, such as `"10 per minute"`. Raise RateLimited if the limit
        is exceeded. Only a hash of the identity is stored."""
        if wait := await self._counted(limit, identity):
            raise RateLimited(wait)

    async def allow(self, limit: str, *identity: str) -> bool:
        """Count one attempt by `identity` against `limit`. Return False if the limit is exceeded."""
        return not await self._counted(limit, identity)

    async def _counted(self, limit: str, identity: tuple[str, ...]) -> int:
        """Count an attempt. Return 0 if it is allowed, otherwise the seconds until the next one is."""
        if not self._enabled:
            return 0
        item = parse(limit)
        key = identity_hash(*identity)
        wait = await self._counts.call(lambda: _wait(self._shared, item, key))
        return await _wait(self._own, item, key) if wait is None else wait


async def _wait(limiter: SlidingWindowCounterRateLimiter, item: RateLimitItem, key: str) -> int:
    """Count an attempt. Return 0 if it is allowed, otherwise the seconds until the next one is.

    The library's own reset time is 0 for a window that has just begun. The limit applies to the attempts in the
    current window plus those in the previous one, weighted by its remaining overlap with the sliding window.
    """
    if await limiter.hit(item, key):
        return 0
    length = item.get_expiry()
    windows = cast(SlidingWindowCounterSupport, limiter.storage)
    before, before_ends_in, current, current_ends_in = await windows.get_sliding_window(item.key_for(key), length)
    seconds = 0.0
    if current >= item.amount:  # until the current window becomes the previous one
        seconds = current_ends_in - length
    elif before:  # until the weight of the previous window has shrunk enough
        seconds = before_ends_in - (item.amount - current) * length / before
    return max(1, math.ceil(seconds + 0.01))

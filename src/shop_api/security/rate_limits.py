"""Limits on how often something may be tried, shared by all instances through Redis.

Without Redis each process counts for itself: a weaker limit, but never none, and never an error.
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
    """On the client that there is, whether of one server or of a cluster.

    Written for limits 5.8, of which it relies on this: its constructor leaves to `configure_bridge` which client the
    bridge has, and the bridge asks no other. tests/security/test_rate_limits.py fails when that changes.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        address = "redis://"  # not used: the client has it
        super().__init__(address, implementation="redispy", key_prefix="rate", wrap_exceptions=True)

    def configure_bridge(self) -> None:
        bridge: Any = self.bridge
        bridge.storage, bridge.connection_getter = self._redis, lambda readonly: self._redis


class RateLimits:
    """Counts attempts in sliding windows. `enabled=False` lets everything pass."""

    def __init__(self, redis: Redis, *, enabled: bool = True) -> None:
        self._shared = SlidingWindowCounterRateLimiter(_Storage(redis))
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._counts = RedisWithFallback("rate limits", StorageError)
        self._enabled = enabled

    @property
    def fallbacks(self) -> int:
        """How many attempts were counted by this process alone."""
        return self._counts.fallbacks

    async def hit(self, limit: str, *identity: str) -> None:
        """Counts one attempt by `identity` against `limit`, such as `"10 per minute"`; RateLimited if there were
        too many. What identifies somebody is stored only as a hash."""
        if not self._enabled:
            return
        item = parse(limit)
        key = identity_hash(*identity)
        wait = await self._counts.call(lambda: _wait(self._shared, item, key))
        if wait is None:
            wait = await _wait(self._own, item, key)
        if wait:
            raise RateLimited(wait)


async def _wait(limiter: SlidingWindowCounterRateLimiter, item: RateLimitItem, key: str) -> int:
    """Counts an attempt: 0 if it may go on, else after how many seconds the next one may.

    The library's own reset time is 0 for a window that has only just begun. What counts is the current window's
    attempts and those of the one before, weighted by how much of that still lies in the past window's length.
    """
    if await limiter.hit(item, key):
        return 0
    length = item.get_expiry()
    windows = cast(SlidingWindowCounterSupport, limiter.storage)
    before, before_ends_in, current, current_ends_in = await windows.get_sliding_window(item.key_for(key), length)
    seconds = 0.0
    if current >= item.amount:  # this window has to become the one before
        seconds = current_ends_in - length
    elif before:  # the weight of the one before has to shrink
        seconds = before_ends_in - (item.amount - current) * length / before
    return max(1, math.ceil(seconds + 0.01))

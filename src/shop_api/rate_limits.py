"""Limits on how often something may be tried, shared by all instances through Redis.

Without Redis each process counts for itself: a weaker limit, but never none, and never an error.
"""

import hashlib
import math
import time

import structlog
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError

from shop_api.errors import RateLimited
from shop_api.redis import Redis

log = structlog.get_logger()

# How long to leave Redis alone after it failed, so that each request does not wait for it again.
_RETRY_AFTER_FAILURE = 2.0


class RateLimits:
    """Counts attempts in sliding windows. `enabled=False` lets everything pass."""

    def __init__(self, redis: Redis, *, enabled: bool = True) -> None:
        shared = RedisStorage(
            "redis://",  # not used: the pool has the address
            implementation="redispy",
            key_prefix="rate",
            wrap_exceptions=True,
            connection_pool=redis.connection_pool,  # type: ignore[arg-type]  # passed on to redis-py
        )
        self._shared = SlidingWindowCounterRateLimiter(shared)
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._enabled = enabled
        self._shared_again_at = 0.0
        self.fallbacks = 0
        """How many attempts were counted by this process alone."""

    async def hit(self, limit: str, *identity: str) -> None:
        """Counts one attempt by `identity` against `limit`, such as `"10 per minute"`; RateLimited if there were
        too many. What identifies somebody is stored only as a hash."""
        if not self._enabled:
            return
        item = parse(limit)
        key = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:32]
        if time.monotonic() >= self._shared_again_at:
            try:
                await self._hit(self._shared, item, key)
                return
            except StorageError as error:
                self._shared_again_at = time.monotonic() + _RETRY_AFTER_FAILURE
                log.warning("rate limits fall back to this process", reason=str(error))
        self.fallbacks += 1
        await self._hit(self._own, item, key)

    async def _hit(self, limiter: SlidingWindowCounterRateLimiter, item: RateLimitItem, key: str) -> None:
        if not await limiter.hit(item, key):
            reset_time, _ = await limiter.get_window_stats(item, key)
            raise RateLimited(max(1, math.ceil(reset_time - time.time())))

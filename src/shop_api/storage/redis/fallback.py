"""A circuit breaker for Redis: while it is open, calls return None at once and callers use local state."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from shop_api.storage.redis.client import RedisError

T = TypeVar("T")
log = structlog.get_logger()

# Seconds that the circuit stays open after a failure, so that not every request waits for a time-out.
_PAUSE = 1.0
# Seconds for one call in all: with several servers, one failure may follow another.
_MAX_SECONDS = 2.0


class RedisWithFallback:
    """Runs calls that share state through Redis, and reports when to fall back to state of this process."""

    def __init__(self, what: str, failure: type[Exception] = RedisError) -> None:
        self._what = what
        self._failure = failure
        self._again_at = 0.0
        self.fallbacks = 0
        """Number of calls without a result."""

    async def call(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """Return the result of the call; None if it fails or the circuit is open."""
        now = time.monotonic()
        if now >= self._again_at:
            if self._again_at:  # half-open: one call probes Redis, the others do not wait
                self._again_at = now + _PAUSE
            try:
                async with asyncio.timeout(_MAX_SECONDS):
                    answer = await question()
            except (self._failure, TimeoutError) as error:
                self._again_at = time.monotonic() + _PAUSE
                log.warning(f"{self._what} fall back to this process", reason=str(error) or "no answer")
            else:
                self._again_at = 0.0
                return answer
        self.fallbacks += 1
        return None

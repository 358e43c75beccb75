"""Going on without Redis: whoever asks it is told at once that there is no answer, and uses what the process has."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from shop_api.storage.redis.client import RedisError

T = TypeVar("T")
log = structlog.get_logger()

# How many seconds to leave Redis alone after it failed, so that each request does not wait for it again.
_PAUSE = 1.0
# How many seconds a question may take in all: where there are several servers, one failure may lead to another.
_LONGEST = 2.0


class RedisWithFallback:
    """What instances share in Redis while it answers, and each keeps for itself while it does not."""

    def __init__(self, what: str, failure: type[Exception] = RedisError) -> None:
        self._what = what
        self._failure = failure
        self._again_at = 0.0
        self.fallbacks = 0
        """How many questions were not answered."""

    async def call(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """The answer; None when Redis does not give one, or is left alone because it did not a moment ago."""
        now = time.monotonic()
        if now >= self._again_at:
            if self._again_at:  # it has failed: one finds out whether it is back, the others do not wait
                self._again_at = now + _PAUSE
            try:
                async with asyncio.timeout(_LONGEST):
                    answer = await question()
            except (self._failure, TimeoutError) as error:
                self._again_at = time.monotonic() + _PAUSE
                log.warning(f"{self._what} fall back to this process", reason=str(error) or "no answer")
            else:
                self._again_at = 0.0
                return answer
        self.fallbacks += 1
        return None

"""The Redis client, with time-outs and retries that a web request can afford.

redis-py's defaults retry ten times, also on time-outs, which sends one INCR eleven times.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog
from redis import exceptions
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection as Connection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff

from shop_api.observability.calls import Calls
from shop_api.observability.redis import timed

RedisError = exceptions.RedisError
T = TypeVar("T")
log = structlog.get_logger()

__all__ = ["Connection", "Redis", "RedisError", "Shared", "connect", "connection", "open_redis"]

# How many seconds to leave Redis alone after it failed, so that each request does not wait for it again.
_PAUSE = 2.0


def connect(url: str, calls: Calls | None = None) -> Redis:
    """A client for `url`, whose commands `calls` is told of. Nothing is sent yet: the service starts and runs without
    Redis."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=32,
        timeout=1,
        socket_timeout=1,
        socket_connect_timeout=1,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), 2, supported_errors=(exceptions.ConnectionError,)),
        health_check_interval=15,
    )
    if calls is not None:
        pool.connection_class = timed(pool.connection_class, calls)
    return Redis.from_pool(pool)


def connection(url: str, *, timeout: float) -> Connection:
    """A single connection, not connected yet, without retries or health checks; to connect and to disconnect take at
    most `timeout` seconds, all else has to be limited by who uses it."""
    options = {"socket_timeout": None, "socket_connect_timeout": timeout}
    pool = ConnectionPool.from_url(url, retry=Retry(NoBackoff(), 0), **options)
    made: Connection = pool.make_connection()  # type: ignore[no-untyped-call]
    return made


@asynccontextmanager
async def open_redis(url: str, calls: Calls) -> AsyncIterator[Redis]:
    client = connect(url, calls)
    try:
        yield client
    finally:
        await client.aclose()


class Shared:
    """What instances share in Redis while it answers, and each keeps for itself while it does not."""

    def __init__(self, what: str, failure: type[Exception] = RedisError) -> None:
        self._what = what
        self._failure = failure
        self._again_at = 0.0
        self.fallbacks = 0
        """How many questions were not answered."""

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """The answer; None when Redis does not give one, or is left alone because it did not a moment ago."""
        now = time.monotonic()
        if now >= self._again_at:
            if self._again_at:  # it has failed: one finds out whether it is back, the others do not wait
                self._again_at = now + _PAUSE
            try:
                answer = await question()
            except self._failure as error:
                self._again_at = time.monotonic() + _PAUSE
                log.warning(f"{self._what} fall back to this process", reason=str(error))
            else:
                self._again_at = 0.0
                return answer
        self.fallbacks += 1
        return None

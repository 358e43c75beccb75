"""The Redis client, with time-outs and retries that a web request can afford.

redis-py's defaults retry ten times, also on time-outs, which sends one INCR eleven times.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

RedisError = exceptions.RedisError

__all__ = ["Redis", "RedisError", "connect", "open_redis"]


def connect(
    url: str,
    *,
    timeout: float = 1,
    connections: int = 32,
    retries: int = 2,
    on_connect: Callable[[Any], Awaitable[None]] | None = None,
) -> Redis:
    """A client for `url`. Nothing is sent yet: the service starts and runs without Redis.

    Whatever waits, waits `timeout` seconds. `on_connect` is given each new connection, and has to set it up.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=timeout,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), retries, supported_errors=(exceptions.ConnectionError,)),
        health_check_interval=15,
        redis_connect_func=on_connect,
    )
    return Redis.from_pool(pool)


@asynccontextmanager
async def open_redis(url: str) -> AsyncIterator[Redis]:
    client = connect(url)
    try:
        yield client
    finally:
        await client.aclose()

"""The Redis client, with time-outs and retries that a web request can afford.

redis-py's defaults retry ten times, also on time-outs, which sends one INCR eleven times.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection as Connection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff

RedisError = exceptions.RedisError

__all__ = ["Connection", "Redis", "RedisError", "connect", "connection", "open_redis"]


def connect(url: str) -> Redis:
    """A client for `url`. Nothing is sent yet: the service starts and runs without Redis."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=32,
        timeout=1,
        socket_timeout=1,
        socket_connect_timeout=1,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), 2, supported_errors=(exceptions.ConnectionError,)),
        health_check_interval=15,
    )
    return Redis.from_pool(pool)


def connection(url: str, *, timeout: float) -> Connection:
    """A single connection, not connected yet, without retries or health checks; to connect and to disconnect take at
    most `timeout` seconds, all else has to be limited by who uses it."""
    options = {"socket_timeout": None, "socket_connect_timeout": timeout}
    pool = ConnectionPool.from_url(url, retry=Retry(NoBackoff(), 0), **options)
    made: Connection = pool.make_connection()  # type: ignore[no-untyped-call]
    return made


@asynccontextmanager
async def open_redis(url: str) -> AsyncIterator[Redis]:
    client = connect(url)
    try:
        yield client
    finally:
        await client.aclose()

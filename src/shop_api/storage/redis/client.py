"""The Redis client, with time-outs and retries that a web request can afford.

redis-py's defaults retry ten times, also on time-outs, which sends one INCR eleven times.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection as Connection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff

from shop_api.observability.command_metrics import CommandMetrics
from shop_api.observability.redis import timed
from shop_api.settings.redis_url import Address, parse
from shop_api.storage.redis.cluster import Cluster, ToOwner, ToOwnerWithTls
from shop_api.storage.redis.sentinel import PrimaryPool, Sentinels, ToPrimary

RedisError = exceptions.RedisError

__all__ = ["Connection", "Redis", "RedisError", "connect", "connection", "open_redis"]


def connect(url: str, metrics: CommandMetrics | None = None) -> Redis:
    """A client for `url`, whose commands `metrics` counts. Nothing is sent yet: the service starts and runs without
    Redis. ValueError when the URL cannot be read.

    With Sentinels it follows their primary. Of a cluster it is another class with the same commands.
    """
    address, options = _read(
        url,
        max_connections=32,
        socket_timeout=1,
        socket_connect_timeout=1,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), 2, supported_errors=(exceptions.ConnectionError,)),
        health_check_interval=15,
    )
    if address.kind == "cluster":
        return cast(Redis, Cluster(address.hosts, metrics, **options))
    options = {"timeout": 1, **options}
    pool = _following(address, options) if address.kind == "sentinel" else BlockingConnectionPool(**options)
    if metrics is not None:
        pool.connection_class = timed(pool.connection_class, metrics)
    return Redis.from_pool(pool)


def connection(url: str, *, key: str, timeout: float) -> Connection:
    """A single connection for what lies where `key` does, not connected yet, without retries or health checks; to
    connect and to disconnect take at most `timeout` seconds, all else has to be limited by who uses it.

    With Sentinels or in a cluster it finds out anew which server that is, each time it connects.
    """
    address, options = _read(url, socket_timeout=None, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0))
    if address.kind == "cluster":
        return (ToOwnerWithTls if options.pop("ssl") else ToOwner)(hosts=address.hosts, key=key, **options)
    pool = _following(address, options) if address.kind == "sentinel" else ConnectionPool(**options)
    made: Connection = pool.make_connection()  # type: ignore[no-untyped-call]
    if isinstance(made, ToPrimary):
        made.connection_pool = pool  # which it asks where to connect, and would let go
    return made


def _read(url: str, **ours: Any) -> tuple[Address, dict[str, Any]]:
    """Where it is, and how to speak to it: `ours` unless the URL says something else."""
    address = parse(url)
    options = {**ours, **parse_url(address.url)}
    if address.kind != "server":
        for name in ("host", "port"):  # will be found out
            options.pop(name, None)
        options["ssl"] = options.pop("connection_class", None) is not None
    return address, options


def _following(address: Address, options: dict[str, Any]) -> PrimaryPool:
    own = {name: options.pop(name) for name in ("sentinel_username", "sentinel_password") if name in options}
    to_sentinels = {name.removeprefix("sentinel_"): value for name, value in own.items()}
    to_sentinels |= {name: value for name, value in options.items() if name.startswith("ssl")}
    patience = options["socket_connect_timeout"] / 2  # which those that are down may cost
    to_sentinels |= {"socket_timeout": patience, "socket_connect_timeout": patience}
    return PrimaryPool(address.service, Sentinels(address.hosts, to_sentinels), **options)


@asynccontextmanager
async def open_redis(url: str, metrics: CommandMetrics) -> AsyncIterator[Redis]:
    client = connect(url, metrics)
    try:
        yield client
    finally:
        await client.aclose()

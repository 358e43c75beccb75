"""The Redis client, with time-outs and retries short enough for a web request.

By default redis-py retries ten times, also after a time-out, which can send one INCR eleven times.
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
    """Return a client for `url` whose commands are recorded in `metrics`. Raise ValueError if the URL is malformed.

    Sends nothing yet: the service starts and runs without Redis. With Sentinels the client follows the primary; for
    a cluster it is another class with the same commands.
    """
    address, options = _read(
        url,
        max_connections=32,
        socket_timeout=1,
        socket_connect_timeout=1,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), 2, supported_errors=(exceptions.ConnectionError,)),
        health_check_interval=15,
    )
    wait = options.pop("timeout", 1)  # for a connection of the pool; a cluster client has none
    if address.kind == "cluster":
        return cast(Redis, Cluster(address.hosts, metrics, **options))
    options["timeout"] = wait
    pool = _following(address, options) if address.kind == "sentinel" else BlockingConnectionPool(**options)
    if metrics is not None:
        pool.connection_class = timed(pool.connection_class, metrics)
    return Redis.from_pool(pool)


def connection(url: str, *, key: str, timeout: float) -> Connection:
    """Return a single, unconnected connection to the server that holds `key`, without retries or health checks.

    Connecting and disconnecting take at most `timeout` seconds; callers limit the time of everything else. With
    Sentinels or in a cluster, each connect discovers the server again.
    """
    address, options = _read(url, socket_timeout=None, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0))
    options.pop("timeout", None)  # of a pool
    if address.kind == "cluster":
        return (ToOwnerWithTls if options.pop("ssl") else ToOwner)(hosts=address.hosts, key=key, **options)
    pool = _following(address, options) if address.kind == "sentinel" else ConnectionPool(**options)
    made: Connection = pool.make_connection()  # type: ignore[no-untyped-call]
    if isinstance(made, ToPrimary):
        made.connection_pool = pool  # used for discovery; the connection holds only a weak reference
    return made


def _read(url: str, **ours: Any) -> tuple[Address, dict[str, Any]]:
    """Return the parsed address and the connection options: `ours`, overridden by those in the URL."""
    address = parse(url)
    options = {**ours, **parse_url(address.url)}
    if address.kind != "server":
        for name in ("host", "port"):  # discovered on connect
            options.pop(name, None)
        options["ssl"] = options.pop("connection_class", None) is not None
    return address, options


def _following(address: Address, options: dict[str, Any]) -> PrimaryPool:
    own = {name: options.pop(name) for name in ("sentinel_username", "sentinel_password") if name in options}
    to_sentinels = {name.removeprefix("sentinel_"): value for name, value in own.items()}
    to_sentinels |= {name: value for name, value in options.items() if name.startswith("ssl")}
    patience = options["socket_connect_timeout"] / 2  # unreachable Sentinels may take this long
    to_sentinels |= {"socket_timeout": patience, "socket_connect_timeout": patience}
    return PrimaryPool(address.service, Sentinels(address.hosts, to_sentinels), **options)


@asynccontextmanager
async def open_redis(url: str, metrics: CommandMetrics) -> AsyncIterator[Redis]:
    client = connect(url, metrics)
    try:
        yield client
    finally:
        await client.aclose()

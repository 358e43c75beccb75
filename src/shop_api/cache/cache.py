"""Single-flight fills: each looks in Redis and, on a miss, calls the application.

The middleware reads memory before it starts a fill. docs/decisions/0003 states the guarantees. Every stored response
carries the time at which its read began. A change fences earlier reads: it marks the running fills, whose responses
are then not stored, and replaces the tokens in Redis.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import NamedTuple

from shop_api.cache.counters import Counters
from shop_api.cache.memory import Entry, MemoryTier
from shop_api.cache.redis import RedisTier
from shop_api.cache.response import CachedResponse, Key
from shop_api.kernel.errors import DatabaseUnavailable

LIFE = 1.0
"""Seconds for which a response may be served after its read began: the bound on staleness."""
STALE_IF_ERROR = 30.0
"""Seconds after `HttpCache.seen_through` for which a response from Redis may replace one from a database that does
not answer (RFC 5861)."""
# Seconds for which stored responses are served without querying a database that did not answer. Longer than the
# timeout of a database operation, so that not every request waits for it.
_SPARED = 6.0
# Statuses of responses that may be stored and served to everyone.
_SHARED = frozenset({200, 404})
_UNAVAILABLE = b'"%s"' % DatabaseUnavailable.code.encode()

Load = Callable[[], Awaitable[CachedResponse]]


class FetchedResponse(NamedTuple):
    response: CachedResponse
    born: float
    """Start of its age, by this process's monotonic clock."""
    status: bytes
    """The parameters of Cache-Status (RFC 9211)."""


class Fill:
    """A running fill. Requests join it within one second of its start, unless a change has fenced it."""

    __slots__ = ("fenced", "started", "tags", "task")

    def __init__(self, tags: tuple[str, ...], started: float) -> None:
        self.tags = tags
        self.started = started
        self.fenced = False
        self.task: asyncio.Task[FetchedResponse]


class HttpCache:
    def __init__(self, memory: MemoryTier, redis: RedisTier, counters: Counters) -> None:
        self.memory = memory
        self.redis = redis
        self.counters = counters
        self.seen_through = float("-inf")
        """All changes acknowledged before this moment, on any instance, are known and applied (monotonic time)."""
        self._gone_until = float("-inf")
        """Until this moment the database is assumed not to answer (monotonic time)."""
        self._fills: dict[Key, Fill] = {}
        self._fenceable: dict[str, set[Fill]] = {}

    async def fetch(
        self, key: Key, tags: tuple[str, ...], route: object, load: Load, *, fresh: bool = False
    ) -> FetchedResponse:
        """Return the response from Redis, or from `load` if Redis has none or `fresh` is set.

        A request joins a running fill for `key` that is not fenced and started less than a second ago; a `fresh` one
        starts its own. If a fill ends in anything but a 200, a 404 or `database_unavailable`, each request that
        joined calls its own `load`.
        """
        fill = None if fresh else self._fills.get(key)
        if fill is None or fill.fenced or time.monotonic() >= fill.started + LIFE:
            fill = self._start_fill(key, tags, route, load, fresh)
            return await asyncio.shield(fill.task)
        self.counters.waits += 1
        with suppress(Exception):  # raised to the request that started the fill
            fetched = await asyncio.shield(fill.task)
            # After an outage another `load` would only wait as long again.
            if fetched.response.status in _SHARED or _is_outage(fetched.response):
                return fetched._replace(status=b"fwd=uri-miss; collapsed")
        # The cause may lie in the request that started the fill.
        return FetchedResponse(await load(), time.monotonic(), b"fwd=uri-miss")

    async def invalidate(self, tags: Collection[str]) -> None:
        """Invalidate `tags` in memory and Redis. Await after a change is committed, before it is acknowledged."""
        self.counters.invalidations += 1
        self.forget(tags)
        await self.redis.invalidate(tags)
        self.forget(tags)  # responses read from Redis before its tokens were replaced

    def clear(self) -> None:
        """Invalidate every response in memory and Redis, because changes may have been missed."""
        for fill in self._fills.values():
            fill.fenced = True
        self._fills.clear()
        self.memory.clear()
        self.redis.distrust("changes may have been missed")

    def forget(self, tags: Collection[str]) -> None:
        """Drop the responses with these tags from memory, and fence the running fills for them."""
        self.memory.invalidate(tags)
        for tag in tags:
            for fill in self._fenceable.get(tag, ()):
                fill.fenced = True

    def _start_fill(self, key: Key, tags: tuple[str, ...], route: object, load: Load, fresh: bool) -> Fill:
        fill = Fill(tags, time.monotonic())
        self._fills[key] = fill
        for tag in tags:
            self._fenceable.setdefault(tag, set()).add(fill)
        fill.task = asyncio.create_task(self._run_fill(fill, key, route, load, fresh))
        fill.task.add_done_callback(lambda _: self._finish_fill(key, fill))
        return fill

    def _finish_fill(self, key: Key, fill: Fill) -> None:
        if self._fills.get(key) is fill:
            del self._fills[key]
        for tag in fill.tags:
            self._fenceable[tag].discard(fill)
            if not self._fenceable[tag]:
                del self._fenceable[tag]
        if not fill.task.cancelled():
            fill.task.exception()  # marks it as retrieved: perhaps no request waits for it any more

    async def _run_fill(self, fill: Fill, key: Key, route: object, load: Load, fresh: bool) -> FetchedResponse:
        # Redis is trusted only while changes are known up to less than a second ago.
        behind = fill.started >= self.seen_through + LIFE
        write_token, stored = await self.redis.lookup(key, fill.tags)
        stale = None
        if stored is not None and not fresh:
            response, age = stored
            fetched = FetchedResponse(response, time.monotonic() - age, b"hit; detail=redis")
            if not behind:
                self.counters.redis_hits += 1
                # A writer may have failed to replace tokens; changes are known only up to `seen_through`.
                expires = min(fill.started, self.seen_through) + LIFE
                self._keep(fill, key, Entry(response, fill.tags, route, fetched.born, expires))
                return fetched
            stale = fetched._replace(status=b"hit; detail=database-unavailable")
            if time.monotonic() < min(self._gone_until, self.seen_through + STALE_IF_ERROR):
                self.counters.redis_hits += 1
                return stale
        self.counters.misses += 1
        self.counters.fills += 1
        born = time.monotonic()
        response = await load()
        gone = _is_outage(response)
        self._gone_until = time.monotonic() + _SPARED if gone else float("-inf")
        if gone and stale is not None and time.monotonic() < self.seen_through + STALE_IF_ERROR:
            self.counters.redis_hits += 1
            return stale
        if response.status not in _SHARED:
            return FetchedResponse(response, born, b"fwd=uri-miss")
        self._keep(fill, key, Entry(response, fill.tags, route, born, fill.started + LIFE))
        if behind or write_token is None:
            self.redis.expect(key, fill.tags)
        elif not fill.fenced:
            self.redis.store(key, write_token, response, born)
        return FetchedResponse(response, born, b"fwd=request; stored" if fresh else b"fwd=uri-miss; stored")

    def _keep(self, fill: Fill, key: Key, entry: Entry) -> None:
        if not fill.fenced:
            self.memory.put(key, entry, time.monotonic())


def _is_outage(response: CachedResponse) -> bool:
    return response.status == 503 and _UNAVAILABLE in response.body

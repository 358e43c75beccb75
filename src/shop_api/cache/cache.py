"""What is answered from where: memory, then Redis, then the one fill that all others wait for.

The promises are those of docs/decisions/0003. Every entry carries the time at which the read that made it began;
a change fences what was read before it, in the memory by the flights it marks and in Redis by tokens.
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
"""Seconds for which an answer may be given after the read that made it began: the bound of staleness."""
STALE_IF_ERROR = 30.0
"""Seconds for which Redis may answer in place of a database that does not, after the last moment up to which all
changes are known here."""
# After the database did not answer. Longer than an operation takes to give up, so that one at a time finds out.
_SPARED = 6.0
# Answers that may be kept and given to everyone.
_SHARED = frozenset({200, 404})
_UNAVAILABLE = b'"%s"' % DatabaseUnavailable.code.encode()

Load = Callable[[], Awaitable[CachedResponse]]


class FetchedResponse(NamedTuple):
    response: CachedResponse
    born: float
    """When it was made, by this process's monotonic clock."""
    status: bytes
    """The members of Cache-Status (RFC 9211)."""


class Fill:
    """One fill under way."""

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
        """All changes acknowledged before this moment, wherever they were made, have been taken into account."""
        self._gone_until = float("-inf")
        """Until then it is taken for granted that the database does not answer."""
        self._fills: dict[Key, Fill] = {}
        self._fenceable: dict[str, set[Fill]] = {}

    async def fetch(
        self, key: Key, tags: tuple[str, ...], route: object, load: Load, *, fresh: bool = False
    ) -> FetchedResponse:
        """The answer from Redis or, if it is not there or has to be `fresh`, from `load`, which runs once for all who
        ask meanwhile."""
        fill = None if fresh else self._fills.get(key)
        if fill is None or fill.fenced or time.monotonic() >= fill.started + LIFE:
            fill = self._start_fill(key, tags, route, load, fresh)
            return await asyncio.shield(fill.task)
        self.counters.waits += 1
        with suppress(Exception):  # its own request is told of it
            fetched = await asyncio.shield(fill.task)
            if fetched.response.status in _SHARED:
                return fetched._replace(status=b"fwd=uri-miss; collapsed")
        # Why it failed may have to do with the one request that it was made for.
        return FetchedResponse(await load(), time.monotonic(), b"fwd=uri-miss")

    async def invalidate(self, tags: Collection[str]) -> None:
        """To be awaited after a change was committed and before it is acknowledged."""
        self.counters.invalidations += 1
        self.forget(tags)
        await self.redis.invalidate(tags)
        self.forget(tags)  # what was found in Redis while it did not know yet

    def clear(self) -> None:
        """Gives up all that is held, here and in Redis: changes may have been missed."""
        for fill in self._fills.values():
            fill.fenced = True
        self._fills.clear()
        self.memory.clear()
        self.redis.distrust("changes may have been missed")

    def forget(self, tags: Collection[str]) -> None:
        """What this process has read so far is not given to anybody who asks from now on."""
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
            fill.task.exception()  # those who wait have it; they may all be gone

    async def _run_fill(self, fill: Fill, key: Key, route: object, load: Load, fresh: bool) -> FetchedResponse:
        behind = fill.started >= self.seen_through + LIFE
        write_token, stored = await self.redis.lookup(key, fill.tags)
        stale = None
        if stored is not None and not fresh:
            response, age = stored
            fetched = FetchedResponse(response, time.monotonic() - age, b"hit; detail=redis")
            if not behind:
                self.counters.redis_hits += 1
                # Whoever made a change may have failed to tell Redis; what this process knows of goes only so far.
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
        gone = response.status == 503 and _UNAVAILABLE in response.body
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

"""What is answered from where: memory, then Redis, then the one fill that all others wait for.

The promises are those of docs/decisions/0003. Every entry carries the time at which the read that made it began;
a change fences what was read before it, in the memory by the flights it marks and in Redis by tokens.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple

from shop_api.cache.answer import Answer, Key
from shop_api.cache.counters import Counters
from shop_api.cache.memory import Entry, MemoryTier
from shop_api.cache.redis import RedisTier
from shop_api.kernel.errors import DatabaseUnavailable

LIFE = 1.0
"""Seconds for which an answer may be given after the read that made it began: the bound of staleness."""
GRACE = 30.0
"""Seconds for which Redis may answer in place of a database that does not, after the last moment up to which all
changes are known here."""
# After the database did not answer. Longer than an operation takes to give up, so that one at a time finds out.
_SPARED = 6.0
_UNAVAILABLE = b'"%s"' % DatabaseUnavailable.code.encode()

Load = Callable[[], Awaitable[Answer]]


class Found(NamedTuple):
    answer: Answer
    born: float
    """When it was made, by this process's monotonic clock."""
    status: bytes
    """The members of Cache-Status (RFC 9211)."""


class Flight:
    """One fill under way."""

    __slots__ = ("fenced", "started", "tags", "task")

    def __init__(self, tags: tuple[str, ...], started: float) -> None:
        self.tags = tags
        self.started = started
        self.fenced = False
        self.task: asyncio.Task[Found]


class HttpCache:
    def __init__(self, memory: MemoryTier, redis: RedisTier, counters: Counters) -> None:
        self.memory = memory
        self.redis = redis
        self.counters = counters
        self.seen_through = float("-inf")
        """All changes acknowledged before this moment, wherever they were made, have been taken into account."""
        self._gone_until = float("-inf")
        """Until then it is taken for granted that the database does not answer."""
        self._flights: dict[Key, Flight] = {}
        self._fenceable: dict[str, set[Flight]] = {}

    async def fetch(
        self, key: Key, tags: tuple[str, ...], route: object, load: Load, *, fresh: bool = False
    ) -> Found:
        """The answer from Redis or, if it is not there or has to be `fresh`, from `load`, which runs once for all who
        ask meanwhile."""
        flight = None if fresh else self._flights.get(key)
        if flight is None or flight.fenced or time.monotonic() >= flight.started + LIFE:
            flight = self._take_off(key, tags, route, load, fresh)
            return await asyncio.shield(flight.task)
        self.counters.waits += 1
        found = await asyncio.shield(flight.task)
        return found._replace(status=b"fwd=uri-miss; collapsed")

    async def invalidate(self, tags: Collection[str]) -> None:
        """To be awaited after a change was committed and before it is acknowledged."""
        self.counters.invalidations += 1
        self.forget(tags)
        await self.redis.invalidate(tags)
        self.forget(tags)  # what was found in Redis while it did not know yet

    def clear(self) -> None:
        """Gives up all that is held, here and in Redis: changes may have been missed."""
        for flight in self._flights.values():
            flight.fenced = True
        self._flights.clear()
        self.memory.clear()
        self.redis.distrust("changes may have been missed")

    def forget(self, tags: Collection[str]) -> None:
        """What this process has read so far is not given to anybody who asks from now on."""
        self.memory.invalidate(tags)
        for tag in tags:
            for flight in self._fenceable.get(tag, ()):
                flight.fenced = True

    def _take_off(self, key: Key, tags: tuple[str, ...], route: object, load: Load, fresh: bool) -> Flight:
        flight = Flight(tags, time.monotonic())
        self._flights[key] = flight
        for tag in tags:
            self._fenceable.setdefault(tag, set()).add(flight)
        flight.task = asyncio.create_task(self._fill(flight, key, route, load, fresh))
        flight.task.add_done_callback(lambda _: self._land(key, flight))
        return flight

    def _land(self, key: Key, flight: Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        for tag in flight.tags:
            self._fenceable[tag].discard(flight)
            if not self._fenceable[tag]:
                del self._fenceable[tag]
        if not flight.task.cancelled():
            flight.task.exception()  # those who wait have it; they may all be gone

    async def _fill(self, flight: Flight, key: Key, route: object, load: Load, fresh: bool) -> Found:
        behind = flight.started >= self.seen_through + LIFE
        ticket, stored = await self.redis.lookup(key, flight.tags)
        spare = None
        if stored is not None and not fresh:
            answer, age = stored
            found = Found(answer, time.monotonic() - age, b"hit; detail=redis")
            if not behind:
                self.counters.redis_hits += 1
                # Whoever made a change may have failed to tell Redis; what this process knows of goes only so far.
                expires = min(flight.started, self.seen_through) + LIFE
                self._keep(flight, key, Entry(answer, flight.tags, route, found.born, expires))
                return found
            spare = found._replace(status=b"hit; detail=database-unavailable")
            if time.monotonic() < min(self._gone_until, self.seen_through + GRACE):
                self.counters.redis_hits += 1
                return spare
        self.counters.misses += 1
        self.counters.fills += 1
        born = time.monotonic()
        answer = await load()
        gone = answer.status == 503 and _UNAVAILABLE in answer.body
        self._gone_until = time.monotonic() + _SPARED if gone else float("-inf")
        if gone and spare is not None and time.monotonic() < self.seen_through + GRACE:
            self.counters.redis_hits += 1
            return spare
        if answer.status not in (200, 404):
            return Found(answer, born, b"fwd=uri-miss")
        self._keep(flight, key, Entry(answer, flight.tags, route, born, flight.started + LIFE))
        if behind or ticket is None:
            self.redis.expect(flight.tags)
        elif not flight.fenced:
            self.redis.store(key, ticket, answer, born)
        return Found(answer, born, b"fwd=request; stored" if fresh else b"fwd=uri-miss; stored")

    def _keep(self, flight: Flight, key: Key, entry: Entry) -> None:
        if not flight.fenced:
            self.memory.put(key, entry, time.monotonic())

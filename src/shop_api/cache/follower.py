"""Learns of every change to the followed collections, whoever made it - another instance, the import command, a
shell - and invalidates for it here and in Redis."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog

from shop_api.cache.cache import HttpCache
from shop_api.kernel import tasks
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.client import Change, Changes, Database, PyMongoError

# So often it asks how far it is when changes leave no pause in which it would be sure to have seen all.
_ASK_SECONDS = 0.2
# When it is so far behind, as beside an import, it gives up all that is held instead of following each change.
_BEHIND_SECONDS = 3.0
_PAUSE_SECONDS = 0.5

TagsOf = Callable[[str], Sequence[str]]
"""The tags that a change of the document with this id concerns."""
log = structlog.get_logger()


class _FarBehind(Exception):
    pass


@asynccontextmanager
async def following(cache: HttpCache, database: Database, tags_of: Mapping[str, TagsOf]) -> AsyncIterator[None]:
    """Keeps `cache` true to the collections that `tags_of` names, and in touch with Redis, until the end of the
    block."""
    follower = Follower(cache, database, tags_of)

    async def trust() -> None:
        await follower.opened.wait()  # nothing counts before
        await cache.redis.keep_trusted()

    under_way = [asyncio.create_task(follower.run()), asyncio.create_task(trust())]
    try:
        yield
    finally:
        await tasks.end(under_way)
        await cache.redis.close()


class Follower:
    """Says in `cache.seen_through` how far it has come."""

    def __init__(self, cache: HttpCache, database: Database, tags_of: Mapping[str, TagsOf]) -> None:
        self._cache = cache
        self._database = database
        self._tags_of = tags_of
        self.opened = asyncio.Event()
        self._changed: set[str] = set()
        self._seen_through = float("-inf")
        self._position: Any = None
        self._applying: asyncio.Task[None] | None = None
        self._mark: tuple[Any, float] | None = None

    async def run(self) -> None:
        """Until it is cancelled. After a failure it goes on where it was; where that is not possible, it gives up all
        that is held and begins anew."""
        position = None
        while True:
            try:
                async with mongo.watch(self._database, list(self._tags_of), position) as changes:
                    await self._follow(changes, anew=position is None)
            except Exception as error:  # whatever it is, it must not end here unseen
                lasting = not (isinstance(error, PyMongoError) and mongo.unavailable(error))
                position = None if lasting else self._position
                log.warning("changes are not being followed", reason=f"{type(error).__name__}: {error}"[:300])
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _follow(self, changes: Changes, *, anew: bool) -> None:
        while True:
            asked = time.monotonic()
            change = await changes.next()
            if anew:  # only now is it open: what was held before may have missed something
                self._cache.clear()
                self.opened.set()
                anew = False
            await self._note(change, asked)
            self._position = changes.position

    async def _note(self, change: Change | None, asked: float) -> None:
        if change is None:
            self._mark = None
            self._apply(asked)
            return
        tags = self._tags_of[change.collection](str(change.id))
        self._cache.forget(tags)
        self._changed.update(tags)
        through = self._seen_through
        if self._mark is not None and self._mark[0] < change.at:
            through, self._mark = self._mark[1], None
        self._apply(through)
        now = time.monotonic()
        if self._mark is None and now - through > _ASK_SECONDS:
            if now - through > _BEHIND_SECONDS and through > float("-inf"):
                raise _FarBehind("too many changes")
            self._mark = (await mongo.current_operation_time(self._database), now)

    def _apply(self, through: float) -> None:
        """Invalidates for what has changed; after that, all before `through` has been taken into account."""
        self._seen_through = through
        if self._applying is None or self._applying.done():
            self._applying = asyncio.create_task(self._apply_all())

    async def _apply_all(self) -> None:
        while True:
            tags, through = self._changed, self._seen_through
            self._changed = set()
            if tags:
                await self._cache.invalidate(tags)
            self._cache.seen_through = through
            if not self._changed and self._seen_through == through:
                return

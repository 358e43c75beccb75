"""Reads every change to the followed collections from the change stream - made by another instance, the import
command or a shell - and invalidates its tags in memory and Redis."""

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

# Lag of `seen_through` at which the server's operation time is requested: a steady flow of changes leaves no empty
# reply, which would prove that all have been read.
_ASK_SECONDS = 0.2
# Lag, as during an import, at which the cache is cleared instead of applying each change.
_BEHIND_SECONDS = 3.0
_PAUSE_SECONDS = 0.5

TagsOf = Callable[[str], Sequence[str]]
"""Maps the id of a changed document to the tags to invalidate."""
log = structlog.get_logger()


class _FarBehind(Exception):
    pass


@asynccontextmanager
async def following(cache: HttpCache, database: Database, tags_of: Mapping[str, TagsOf]) -> AsyncIterator[None]:
    """Apply changes to the collections in `tags_of` to `cache`, and keep its Redis tier usable, until the block
    ends."""
    follower = Follower(cache, database, tags_of)

    async def trust() -> None:
        await follower.opened.wait()  # changes before this are unknown
        await cache.redis.keep_trusted()

    under_way = [asyncio.create_task(follower.run()), asyncio.create_task(trust())]
    try:
        yield
    finally:
        await tasks.end(under_way)
        await cache.redis.close()


class Follower:
    """Applies the change stream to the cache and advances `cache.seen_through`."""

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
        """Follow changes until cancelled.

        If MongoDB is unavailable, resume at the last position. After any other failure, clear the cache and start
        from now.
        """
        position = None
        while True:
            try:
                async with mongo.watch(self._database, list(self._tags_of), position) as changes:
                    await self._follow(changes, anew=position is None)
            except Exception as error:  # any failure is logged and retried: this task must not end
                lasting = not (isinstance(error, PyMongoError) and mongo.unavailable(error))
                position = None if lasting else self._position
                log.warning("changes are not being followed", reason=f"{type(error).__name__}: {error}"[:300])
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _follow(self, changes: Changes, *, anew: bool) -> None:
        while True:
            asked = time.monotonic()
            change = await changes.next()
            if anew:  # the stream is open only now: earlier responses may have missed a change
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
        """Invalidate the tags changed so far, then set `cache.seen_through` to `through`."""
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

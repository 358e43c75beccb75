"""Health of the engines, and access to the audit log."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Self

from shop_api.audit.models import USER, AuditEntry, AuditEntryOut, AuditPage, AuditQuery
from shop_api.audit.repository import AuditLog
from shop_api.features.operations.models import Engines, State
from shop_api.features.users.service import UserService
from shop_api.kernel.errors import FieldError, InvalidRequest
from shop_api.kernel.pagination import Cursors
from shop_api.kernel.single_flight import SingleFlight
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.client import Database
from shop_api.storage.mongo.instances import Heartbeat
from shop_api.storage.redis.client import Redis, RedisError

_PATIENCE = 2
# Health checks come every few seconds, so a result of this age delays none of them. Without it, each scrape and each
# visitor of the home page would cost MongoDB a write.
_FRESH_SECONDS = 1


class HealthService:
    def __init__(self, database: Database, redis: Redis, heartbeat: Heartbeat) -> None:
        self._database = database
        self._redis = redis
        self._heartbeat = heartbeat
        self._checks = SingleFlight(self._check, _FRESH_SECONDS)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """At the end of the block, end the check that is running."""
        try:
            yield self
        finally:
            await self._checks.close()

    async def check(self) -> Engines:
        """Return the state of the engines, at most a second old, within two seconds.

        MongoDB is up if it stores the instance's heartbeat: one that answers a ping may have a full disk or no
        primary. Redis is up if it answers. Concurrent callers share one check."""
        return await self._checks.get()

    async def _check(self) -> Engines:
        with mongo.time_limit(_PATIENCE):  # a cancelled Motor call would keep its thread for longer
            return Engines(*await asyncio.gather(_state(self._heartbeat.beat()), _state(self._redis.ping())))

    @property
    def clock_offset_seconds(self) -> float:
        """By how much this instance's clock was ahead of MongoDB's at the last check or heartbeat."""
        return self._heartbeat.clock_offset_seconds

    def knows_primary(self) -> bool:
        """Return whether the driver currently knows a writable server. Sends nothing."""
        return mongo.has_primary(self._database)


async def _state(answer: Awaitable[object]) -> State:
    try:
        async with asyncio.timeout(_PATIENCE):
            await answer
    except (mongo.PyMongoError, RedisError, TimeoutError):
        return "down"
    return "up"


class AuditService:
    def __init__(
        self,
        audit: AuditLog,
        users: UserService,
        cursors: Cursors,
        actions: Sequence[str],
        subjects: Sequence[str],
    ) -> None:
        self._audit = audit
        self._users = users
        self._cursors = cursors
        self._declared = {"action": actions, "subject_type": subjects}

    async def list_page(self, query: AuditQuery) -> AuditPage:
        """Return a page of entries, newest first, with the current usernames of actors and subjects. Raises
        InvalidRequest for an action or subject type that no feature declares."""
        self._refuse_undeclared(query)
        scope = query.model_dump_json(exclude={"limit", "cursor"})
        after = self._cursors.decode(scope, query.cursor) if query.cursor else None
        entries, key = await self._audit.list_page(query, after)
        usernames = await self._users.usernames(_people(entries))
        return AuditPage(
            items=[AuditEntryOut.of(entry, usernames) for entry in entries],
            next_cursor=self._cursors.encode(scope, key) if key else None,
        )

    def _refuse_undeclared(self, query: AuditQuery) -> None:
        for name, declared in self._declared.items():
            value = getattr(query, name)
            if value is not None and value not in declared:
                raise InvalidRequest([FieldError(("query", name), "literal_error", _one_of(declared))])


def _people(entries: Sequence[AuditEntry]) -> set[str]:
    subjects = {entry.subject_id for entry in entries if entry.subject_type == USER}
    return subjects | {entry.actor_id for entry in entries}


def _one_of(values: Sequence[str]) -> str:
    *others, last = map(repr, values)
    return f"Input should be {', '.join(others)} or {last}"

"""Runs migrations and prepares collections under a lease, for `shop-api migrate` and the first start."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import structlog

from shop_api.kernel import tasks
from shop_api.storage.mongo import schema
from shop_api.storage.mongo.client import Database, Document, PyMongoError, brief_message, unavailable
from shop_api.storage.mongo.collections import (
    CollectionSpec,
    IndexPlan,
    apply_indexes,
    ensure_documents,
    ensure_validator,
    plan_indexes,
)
from shop_api.storage.mongo.leases import LEASE_SECONDS, Lease, LeaseLost, held, kept, try_acquire
from shop_api.storage.mongo.refusals import explained
from shop_api.storage.mongo.schema import (
    DOCUMENT_ID,
    MAX_DECLARATIONS,
    PLATFORM,
    SCHEMA,
    DeclaredSchema,
    Migration,
    RecordedSchema,
    SchemaError,
    SchemaOutdated,
)

T = TypeVar("T")
Say = Callable[[str], None]

LEASE = "schema"
BACKGROUND_LEASE = "background-migrations"

_ATTEMPTS = 30
_PAUSE_SECONDS = 1.0
_LOOK_AGAIN_SECONDS = LEASE_SECONDS / 2
_BACKGROUND_OPERATION_IN_PROGRESS = 12587

log = structlog.get_logger()


async def open_schema(database: Database, declared: DeclaredSchema, holder: str, *, auto: bool) -> RecordedSchema:
    """Return the schema of a database on which the service can run. Writes nothing if it is up to date.

    Creates the schema in an empty database. Migrates an older schema if `auto`, otherwise raises SchemaOutdated.
    Raises SchemaTooNew for a newer one.
    """
    recorded = await schema.read_or_begin(database)
    if recorded:
        recorded.check_usable(declared, database.name)
        if recorded.is_current(declared, strict=auto):
            return recorded
    if auto or (recorded and recorded.state == "creating"):
        return await migrate(database, declared, holder, _log_step, only_if_outdated=True)
    raise SchemaOutdated(
        f"the database {database.name} has an older schema than this version of shop-api needs:"
        f" take a backup, then run: shop-api migrate"
    )


def _log_step(text: str) -> None:
    log.info("migration", step=text)


async def migrate(
    database: Database,
    declared: DeclaredSchema,
    holder: str,
    say: Say,
    *,
    background: bool = False,
    only_if_outdated: bool = False,
) -> RecordedSchema:
    """Migrate the database to the current schema. Waits for another process that is migrating; takes over if it dies.

    Leaves background migrations to the serving instances unless `background`. Compares collections and indexes with
    the declaration even if the recorded schema is current, unless `only_if_outdated`.
    """

    def waiting(other: str) -> None:
        say(f"waiting for {other}, which is migrating")

    while True:
        try:
            async with held(database, LEASE, holder, waiting) as lease:
                recorded = await schema.read_or_begin(database) or await schema.begin(database, "unversioned")
                recorded.check_usable(declared, database.name)
                if only_if_outdated and recorded.is_current(declared, strict=True):  # by another process
                    return recorded
                return await migrate_under(lease, database, declared, say, background=background)
        except LeaseLost as error:  # this process was paused; another one has taken over
            say(str(error))


async def migrate_under(
    lease: Lease, database: Database, declared: DeclaredSchema, say: Say, *, background: bool = False
) -> RecordedSchema:
    """Migrate like `migrate`, under a lease that the caller already holds."""
    runner = _Runner(database, declared, lease, say)
    await runner.prepare_validators()
    await runner.prepare_documents()
    await runner.apply_pending()
    await runner.prepare_indexes()
    recorded = await runner.finish()
    if background and recorded.in_background(declared):
        async with held(database, BACKGROUND_LEASE, f"{LEASE} {lease.token}") as other:
            await _Runner(database, declared, other, say).complete_background()
        recorded = await schema.read(database) or recorded
    return recorded


async def prepare_for_restore(
    lease: Lease, database: Database, collections: Sequence[CollectionSpec], say: Say
) -> None:
    """Create `collections` with validators and indexes but without documents, which the restore brings."""
    runner = _Runner(database, DeclaredSchema(collections), lease, say)
    await runner.prepare_validators()
    await runner.prepare_indexes()


@asynccontextmanager
async def migrating_in_background(database: Database, declared: DeclaredSchema, holder: str) -> AsyncIterator[None]:
    """Complete the background migrations during the block. Any number of instances may try; a lease lets one
    work at a time."""
    working = asyncio.create_task(run_in_background(database, declared, holder))
    try:
        yield
    finally:
        await tasks.end([working])


async def run_in_background(database: Database, declared: DeclaredSchema, holder: str) -> None:
    """Run until no instance has a background migration left to complete. One instance works at a time."""
    while (recorded := await _read_patiently(database)) is None or recorded.in_background(declared):
        try:
            if lease := await try_acquire(database, BACKGROUND_LEASE, holder):
                async with kept(lease):
                    await _Runner(database, declared, lease, _log_step).complete_background()
                continue
        except Exception as error:  # log any error and retry
            log.warning("a background migration failed", reason=f"{type(error).__name__}: {error}"[:300])
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _read_patiently(database: Database) -> RecordedSchema | None:
    try:
        return await schema.read(database)
    except PyMongoError as error:
        log.warning("the schema could not be read", reason=brief_message(error)[:300])
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        return None


class _Runner:
    """The work of one lease holder. Each update of the schema document compares the fencing token."""

    def __init__(self, database: Database, declared: DeclaredSchema, lease: Lease, say: Say) -> None:
        self._database = database
        self._declared = declared
        self._collections = (*PLATFORM, *declared.collections)
        self._lease = lease
        self._say = say

    async def prepare_validators(self) -> None:
        """Create the collections with their validators."""
        for spec in self._collections:
            await self._patiently(partial(ensure_validator, self._database, spec), spec)

    async def prepare_documents(self) -> None:
        for spec in self._collections:
            await self._patiently(partial(ensure_documents, self._database, spec), spec)

    async def apply_pending(self) -> None:
        for feature, migration in (await self._recorded()).pending(self._declared):
            await self._complete_earlier(feature)
            if migration.background:
                self._say(f"{feature} {migration.number}: {migration.name}: left to the serving instances")
                await self._record({f"applied.{feature}": migration.number, _place(feature, migration): None})
            else:
                await self._complete(feature, migration)

    async def _complete_earlier(self, feature: str) -> None:
        """Complete the unfinished background migrations of `feature`, which later migrations rely on."""
        under_way = (await self._recorded()).in_background(self._declared)
        if any(name == feature for name, _ in under_way):
            async with held(self._database, BACKGROUND_LEASE, f"{LEASE} {self._lease.token}") as lease:
                await _Runner(self._database, self._declared, lease, self._say).complete_background(feature)

    async def complete_background(self, only: str | None = None) -> None:
        for feature, migration in (await self._recorded()).in_background(self._declared):
            if only in (None, feature):
                await self._complete(feature, migration)

    async def _complete(self, feature: str, migration: Migration) -> None:
        """Run the remaining batches of `migration`."""
        self._say(f"{feature} {migration.number}: {migration.name}")
        begun: Mapping[str, Any] = (await self._recorded()).unfinished.get(feature, {})
        position = begun.get(str(migration.number))
        while True:
            position = await self._patiently(partial(migration.batch, self._database, position))
            if position is None:
                break
            await self._record({_place(feature, migration): position})
        reached, left = {f"applied.{feature}": migration.number}, {_place(feature, migration): ""}
        await self._record({}, {"$max": reached, "$unset": left})

    async def prepare_indexes(self) -> None:
        """Create the declared indexes, and drop those that the service created but no longer declares."""
        recorded = await self._recorded()
        made = {spec.name: set(recorded.indexes.get(_key(spec.name), ())) for spec in self._collections}
        adopt = recorded.state in ("creating", "unversioned")
        plans: list[tuple[CollectionSpec, IndexPlan]] = []
        for spec in self._collections:
            compared = partial(plan_indexes, self._database, spec, made[spec.name], adopt=adopt)
            plans.append((spec, await self._patiently(compared, spec)))
        # Recorded before creation and until after removal: an unrecorded index counts as a DBA's.
        await self._record_indexes({spec.name: plan.ours | made[spec.name] for spec, plan in plans}, made)
        for spec, plan in plans:
            if plan.create or plan.drop:
                self._say(f"indexes of {spec.name}")
                await self._patiently(partial(apply_indexes, self._database, spec, plan), spec)
        gone = {spec.name: plan.ours for spec, plan in plans if made[spec.name] - plan.ours}
        await self._record_indexes(gone, {})

    async def _record_indexes(self, names: Mapping[str, set[str]], recorded: Mapping[str, set[str]]) -> None:
        changed = {
            f"indexes.{_key(name)}": sorted(ours) for name, ours in names.items() if ours != recorded.get(name)
        }
        if changed:
            await self._record(changed)

    async def finish(self) -> RecordedSchema:
        recorded, fingerprint = await self._recorded(), self._declared.fingerprint
        applied = {**recorded.applied}
        if recorded.state == "creating":
            applied |= self._declared.versions
        declarations = [one for one in recorded.declarations if one != fingerprint][-MAX_DECLARATIONS + 1 :]
        done = recorded._replace(state="ready", applied=applied, declarations=[*declarations, fingerprint])
        if done != recorded:
            await self._record({"state": done.state, "applied": applied, "declarations": done.declarations})
        return done

    async def _recorded(self) -> RecordedSchema:
        recorded = await self._patiently(lambda: schema.read(self._database))
        if recorded is None:
            raise SchemaError("the schema document was removed during a migration")
        return recorded

    async def _record(self, fields: Document, more: Document | None = None) -> None:
        fence, token = f"fence.{self._lease.name}", self._lease.token
        not_newer = {"_id": DOCUMENT_ID, fence: {"$not": {"$gt": token}}}
        update = {"$set": {**fields, fence: token}, **(more or {})}
        done = await self._patiently(lambda: self._database[SCHEMA.name].update_one(not_newer, update))
        if not done.matched_count:
            raise LeaseLost(f"another process has taken over the lease {self._lease.name}")

    async def _patiently(self, work: Callable[[], Awaitable[T]], spec: CollectionSpec | None = None) -> T:
        """Return the result of `work`, which must be idempotent. Retry for half a minute during an election or while
        another client builds an index."""
        for attempt in range(_ATTEMPTS):
            try:
                await self._lease.check()
                return await work()
            except PyMongoError as error:
                if attempt == _ATTEMPTS - 1 or not _passes(error):
                    raise explained(error, self._database, spec) from error
                self._say(f"waiting for MongoDB: {brief_message(error)}")
            await asyncio.sleep(_PAUSE_SECONDS)
        raise AssertionError


def _key(collection: str) -> str:
    """Return the name of the field that records the indexes of a collection: a dot would separate two fields."""
    return collection.replace(".", "/")


def _place(feature: str, migration: Migration) -> str:
    return f"unfinished.{feature}.{migration.number}"


def _passes(error: PyMongoError) -> bool:
    return unavailable(error) or getattr(error, "code", None) == _BACKGROUND_OPERATION_IN_PROGRESS

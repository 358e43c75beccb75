"""The schema of the database: the declared schema, the recorded schema, and whether the two are compatible.

One document records the schema: the number of the last migration of each feature, the unfinished migrations, the
fingerprints of the declared collections, and the names of the indexes that the service created.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from shop_api.storage.mongo.client import Database, Document, DuplicateKeyError
from shop_api.storage.mongo.collections import CollectionSpec, IndexModel
from shop_api.storage.mongo.instances import INSTANCES
from shop_api.storage.mongo.leases import LEASES

SCHEMA = CollectionSpec("schema")
PLATFORM = (SCHEMA, LEASES, INSTANCES)
"""The collections of the storage layer itself, which belong to no feature."""
DOCUMENT_ID = "schema"
MAX_DECLARATIONS = 20

State = Literal["creating", "unversioned", "restoring", "ready"]
"""`creating`: the database was empty. `unversioned`: created by an earlier version, without this document."""

Batch = Callable[[Database, Any], Awaitable[Any]]
"""Migrates some documents, from a position (None at first). Returns the position at which to continue, a BSON value,
or None when finished. A batch may be repeated, even after later batches."""


class SchemaError(Exception):
    """The database cannot be used in its current state. The message says why, and what to do."""


class SchemaOutdated(SchemaError):
    """Migrations are pending."""


class SchemaTooNew(SchemaError):
    """A newer version of the service has migrated the database."""


class RestoreUnfinished(SchemaError):
    """A restore was started and not finished."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from an older document format to a newer one."""

    number: int
    """Its place among the migrations of its feature: 1, 2, 3, …"""
    name: str
    """What it does, in the imperative, for operators."""
    batch: Batch
    background: bool = False
    """Whether the service runs during it and reads both formats. Otherwise no instance starts before it ends."""


@dataclass(frozen=True)
class DeclaredSchema:
    """The schema that the code needs."""

    collections: Sequence[CollectionSpec]
    migrations: Mapping[str, Sequence[Migration]] = field(default_factory=dict)
    """By feature, in order."""

    def __post_init__(self) -> None:
        for feature, migrations in self.migrations.items():
            if [one.number for one in migrations] != list(range(1, len(migrations) + 1)):
                raise ValueError(f"the migrations of {feature} are not numbered 1, 2, 3, …")

    @property
    def versions(self) -> dict[str, int]:
        return {feature: len(migrations) for feature, migrations in self.migrations.items() if migrations}

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the collections, validators and indexes."""
        text = json.dumps([_description(spec) for spec in self.collections], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _description(spec: CollectionSpec) -> list[Any]:
    return [spec.name, spec.schema, [_index(model) for model in spec.indexes], list(spec.documents)]


def _index(model: IndexModel) -> dict[str, Any]:
    # The order of the keys is part of the identity of an index.
    return {**model.document, "key": list(model.document["key"].items())}


class RecordedSchema(NamedTuple):
    """The schema recorded in the database."""

    state: State
    applied: Mapping[str, int] = {}
    """By feature, the number of its last migration."""
    unfinished: Mapping[str, Mapping[str, Any]] = {}
    """By feature and number, the position at which an unfinished migration continues."""
    declarations: Sequence[str] = ()
    """Fingerprints of all declared schemas, the current one last."""
    indexes: Mapping[str, Sequence[str]] = {}
    """By collection, the names of the indexes that the service created."""

    @classmethod
    def of(cls, document: Document) -> "RecordedSchema":
        return cls(**{name: document[name] for name in cls._fields if name in document})

    def check_usable(self, declared: DeclaredSchema, database: str) -> None:
        """Raise RestoreUnfinished during a restore, SchemaTooNew if the code does not know an applied migration."""
        if self.state == "restoring":
            raise RestoreUnfinished(
                f"a restore of the database {database} did not end: repeat it, with shop-api restore FILE --force"
            )
        known = declared.versions
        newer = [f"{name} {number}" for name, number in self.applied.items() if number > known.get(name, 0)]
        if newer:
            raise SchemaTooNew(
                f"a newer version of shop-api has migrated the database {database} ({', '.join(newer)}):"
                " run that version, or restore a backup from before the upgrade"
            )

    def pending(self, declared: DeclaredSchema) -> list[tuple[str, Migration]]:
        """Return the migrations to apply, each with its feature; none for a new database."""
        if self.state == "creating":
            return []
        return [
            (feature, migration)
            for feature, migrations in declared.migrations.items()
            for migration in migrations
            if migration.number > self.applied.get(feature, 0)
        ]

    def in_background(self, declared: DeclaredSchema) -> list[tuple[str, Migration]]:
        """Return the unfinished background migrations."""
        return [
            (feature, migration)
            for feature, migrations in declared.migrations.items()
            for migration in migrations
            if migration.number <= self.applied.get(feature, 0)
            and str(migration.number) in self.unfinished.get(feature, {})
        ]

    def behind(self, declared: DeclaredSchema) -> set[str]:
        """Return the features of which documents may have an older form: a migration is pending or unfinished."""
        return {feature for feature, _ in (*self.pending(declared), *self.in_background(declared))}

    def is_current(self, declared: DeclaredSchema, *, strict: bool) -> bool:
        """Return whether the service can run on this schema. Unless `strict`, this includes collections that a newer
        version with the same migrations has declared differently: the document formats are the same, and instances
        of the older version may restart during an upgrade."""
        if self.state != "ready" or self.pending(declared):
            return False
        known = self.declarations[-1:] if strict else self.declarations
        return declared.fingerprint in known


async def read(database: Database) -> RecordedSchema | None:
    """Return the recorded schema, or None if there is no document."""
    document = await database[SCHEMA.name].find_one({"_id": DOCUMENT_ID})
    return RecordedSchema.of(document) if document else None


async def begin(database: Database, state: State) -> RecordedSchema:
    """Record a state unless another process already has. Return the recorded schema."""
    try:
        await database[SCHEMA.name].insert_one({"_id": DOCUMENT_ID, "state": state, "fence": {}})
    except DuplicateKeyError:
        return await read(database) or RecordedSchema(state)
    return RecordedSchema(state)


async def is_empty(database: Database) -> bool:
    """Return whether all collections except those in PLATFORM are empty."""
    aside = {spec.name for spec in PLATFORM}
    for name in await database.list_collection_names():
        if name not in aside and not name.startswith("system.") and await database[name].find_one({}):
            return False
    return True


async def read_or_begin(database: Database) -> RecordedSchema | None:
    """Return the recorded schema, recording `creating` if the database is empty; None without a document."""
    if recorded := await read(database):
        return recorded
    if await is_empty(database):
        return await begin(database, "creating")
    return await read(database)  # a concurrent creation records its state first


async def begin_restore(database: Database) -> None:
    """Record that a restore is running: no instance uses the database until `end_restore`."""
    await _replace(database, {"state": "restoring"})


async def end_restore(database: Database, document: Document | None) -> None:
    """Record the schema of the backup, None if its version had no schema document, and the indexes created since
    `begin_restore`."""
    current = await database[SCHEMA.name].find_one({"_id": DOCUMENT_ID}) or {}
    fields = document or {"state": "unversioned"}
    await _replace(database, {**fields, "indexes": {**fields.get("indexes", {}), **current.get("indexes", {})}})


async def _replace(database: Database, document: Document) -> None:
    # Fencing tokens in the document belong to the database that it came from.
    fields = {**document, "_id": DOCUMENT_ID, "fence": {}}
    await database[SCHEMA.name].replace_one({"_id": DOCUMENT_ID}, fields, upsert=True)

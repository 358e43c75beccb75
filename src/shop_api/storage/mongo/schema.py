"""The schema of the database: what the code declares, what the database has, and whether the two fit.

What the database has is recorded in one document: the number of the last migration of each feature, the migrations
under way, the collections as they were declared, and the names of the indexes that the service has made.
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
"""The collections of the machinery itself, which belong to no feature."""
DOCUMENT_ID = "schema"
MAX_DECLARATIONS = 20

State = Literal["creating", "unversioned", "restoring", "ready"]
"""`creating`: somebody found the database empty. `unversioned`: an earlier version made it, without this document."""

Batch = Callable[[Database, Any], Awaitable[Any]]
"""Migrate some documents, beginning at a position, None at first. Return the position at which to continue, a BSON
value, or None when all is done. A batch may be repeated, also after later ones."""


class SchemaError(Exception):
    """The database cannot be used as it is; the message says why, and what to do."""


class SchemaOutdated(SchemaError):
    """Migrations are pending."""


class SchemaTooNew(SchemaError):
    """A newer version of the service has migrated the database."""


class RestoreUnfinished(SchemaError):
    """A restore has begun and not ended."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from an older form of documents to a newer one."""

    number: int
    """Its place among the migrations of its feature: 1, 2, 3, …"""
    name: str
    """What it does, in the imperative, as an operator reads it."""
    batch: Batch
    background: bool = False
    """Whether the service runs beside it and reads both forms. Otherwise no instance starts before it is done."""


@dataclass(frozen=True)
class DeclaredSchema:
    """What the code needs."""

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
        """The same for the same collections, validators and indexes."""
        text = json.dumps([_description(spec) for spec in self.collections], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _description(spec: CollectionSpec) -> list[Any]:
    return [spec.name, spec.schema, [_index(model) for model in spec.indexes], list(spec.documents)]


def _index(model: IndexModel) -> dict[str, Any]:
    # The order of its keys is a part of what an index is.
    return {**model.document, "key": list(model.document["key"].items())}


class RecordedSchema(NamedTuple):
    """What the database has."""

    state: State
    applied: Mapping[str, int] = {}
    """By feature, the number of its last migration."""
    unfinished: Mapping[str, Mapping[str, Any]] = {}
    """By feature and number, where a migration that has begun continues."""
    declarations: Sequence[str] = ()
    """Fingerprints of the collections as they were declared, the current one last."""
    indexes: Mapping[str, Sequence[str]] = {}
    """By collection, the names of the indexes that the service has made."""

    @classmethod
    def of(cls, document: Document) -> "RecordedSchema":
        return cls(**{name: document[name] for name in cls._fields if name in document})

    def check_usable(self, declared: DeclaredSchema, database: str) -> None:
        """Raise RestoreUnfinished, or SchemaTooNew if it has migrations that the code does not know."""
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
        """Return the migrations that have to be applied, each with its feature. All are, in a new database."""
        if self.state == "creating":
            return []
        return [
            (feature, migration)
            for feature, migrations in declared.migrations.items()
            for migration in migrations
            if migration.number > self.applied.get(feature, 0)
        ]

    def in_background(self, declared: DeclaredSchema) -> list[tuple[str, Migration]]:
        """Return the background migrations that are under way."""
        return [
            (feature, migration)
            for feature, migrations in declared.migrations.items()
            for migration in migrations
            if migration.number <= self.applied.get(feature, 0)
            and str(migration.number) in self.unfinished.get(feature, {})
        ]

    def is_current(self, declared: DeclaredSchema, *, strict: bool) -> bool:
        """Whether the service can run on it. Unless `strict`, also on collections that a newer version with the same
        migrations has declared otherwise: the documents have the same form, and instances of the older version may
        restart during an upgrade."""
        if self.state != "ready" or self.pending(declared):
            return False
        known = self.declarations[-1:] if strict else self.declarations
        return declared.fingerprint in known


async def read(database: Database) -> RecordedSchema | None:
    """Return what is recorded; None in a database without the document."""
    document = await database[SCHEMA.name].find_one({"_id": DOCUMENT_ID})
    return RecordedSchema.of(document) if document else None


async def begin(database: Database, state: State) -> RecordedSchema:
    """Record a state, unless somebody else was faster; return what is recorded."""
    try:
        await database[SCHEMA.name].insert_one({"_id": DOCUMENT_ID, "state": state, "fence": {}})
    except DuplicateKeyError:
        return await read(database) or RecordedSchema(state)
    return RecordedSchema(state)


async def is_empty(database: Database) -> bool:
    """Return whether no collection has a document, those of PLATFORM aside."""
    aside = {spec.name for spec in PLATFORM}
    for name in await database.list_collection_names():
        if name not in aside and not name.startswith("system.") and await database[name].find_one({}):
            return False
    return True


async def read_or_begin(database: Database) -> RecordedSchema | None:
    """Return what is recorded. An empty database begins to be created; None is one that an earlier version made."""
    if recorded := await read(database):
        return recorded
    if await is_empty(database):
        return await begin(database, "creating")
    return await read(database)  # whoever creates records it before anything else


async def begin_restore(database: Database) -> None:
    """Record that the database is being filled: until `end_restore` nobody uses it."""
    await _replace(database, {"state": "restoring"})


async def end_restore(database: Database, document: Document | None) -> None:
    """Record the schema that a backup had; None is that of a version without the document."""
    await _replace(database, document or {"state": "unversioned"})


async def _replace(database: Database, document: Document) -> None:
    # Fencing tokens are of the database that the document came from.
    fields = {**document, "_id": DOCUMENT_ID, "fence": {}}
    await database[SCHEMA.name].replace_one({"_id": DOCUMENT_ID}, fields, upsert=True)

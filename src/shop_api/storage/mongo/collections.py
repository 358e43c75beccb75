"""Collections declared as data: name, validator, indexes and the owner of the documents."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pymongo
from pymongo import IndexModel
from pymongo.errors import OperationFailure

from shop_api.storage.mongo.client import Database, Document, Session

__all__ = [
    "BATCH_SIZE",
    "CollectionSpec",
    "IndexModel",
    "IndexPlan",
    "apply_indexes",
    "ensure_collection",
    "ensure_documents",
    "ensure_validator",
    "erase",
    "not_restored",
    "owned_by",
    "plan_indexes",
]

_INDEX_BUILD_TIMEOUT = 600
_NAMESPACE_EXISTS = 48
BATCH_SIZE = 500
"""Documents in each reply of the database where a reader may go through any number of them."""
_INDEX_OPTIONS = ("unique", "sparse", "expireAfterSeconds", "partialFilterExpression", "collation")


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """One collection, declared by its feature. Creation, erasure, export and restore are derived from it."""

    name: str
    schema: Mapping[str, Any] | None = None
    """The `$jsonSchema` validator of the documents."""
    indexes: Sequence[IndexModel] = ()
    documents: Sequence[Document] = ()
    """Documents that must exist; inserted if missing."""
    owner: str | None = None
    """The field with the id of the user that a document belongs to."""
    erasure: Literal["delete", "keep"] = "keep"
    """What happens to a user's documents when the user is deleted."""
    exported: type[Any] | None = None
    """The pydantic model of a document as shown to its owner; `_id` is ignored unless a field has that alias. None
    excludes the documents from the generic export."""
    on_restore: Callable[[Document], Document | None] | None = None
    """Returns what `shop-api restore` stores for a document of a backup, or None to leave it out. The document may
    have any form that a backup has: the current one, one that a migration will change, or an invalid one."""


def not_restored(_: Document) -> None:
    """As `on_restore`: leave out every document."""


async def ensure_collection(database: Database, spec: CollectionSpec) -> None:
    """Create the collection with its validator, documents and indexes. Writes only what is missing or different."""
    await ensure_validator(database, spec)
    await ensure_documents(database, spec)
    await apply_indexes(database, spec, await plan_indexes(database, spec))


async def ensure_validator(database: Database, spec: CollectionSpec) -> None:
    """Create the collection, or change its validator if it differs. An unnecessary collMod is avoided: it locks the
    whole collection, and during a backup it waits and blocks all later operations."""
    options: dict[str, Any] = {"validator": {"$jsonSchema": spec.schema}} if spec.schema else {}
    found = await _options(database, spec)
    if found is None:
        try:
            # Not create_collection, which first lists the collections.
            await database.command("create", spec.name, **options)
        except OperationFailure as error:
            if error.code != _NAMESPACE_EXISTS:
                raise
            found = await _options(database, spec) or {}  # another instance created it first
    if found is not None and options and found.get("validator") != options["validator"]:
        await database.command("collMod", spec.name, **options)


async def _options(database: Database, spec: CollectionSpec) -> Mapping[str, Any] | None:
    """Return the options of the collection, or None if it does not exist."""
    reply = await database.command("listCollections", filter={"name": spec.name})
    found: list[Mapping[str, Any]] = [one["options"] for one in reply["cursor"]["firstBatch"]]
    return found[0] if found else None


async def ensure_documents(database: Database, spec: CollectionSpec) -> None:
    """Insert missing declared documents."""
    for document in spec.documents:
        if await database[spec.name].find_one({"_id": document["_id"]}) is None:
            fields = {name: value for name, value in document.items() if name != "_id"}
            await database[spec.name].update_one({"_id": document["_id"]}, {"$setOnInsert": fields}, upsert=True)


class IndexPlan(NamedTuple):
    """The steps from the existing indexes of a collection to the declared ones."""

    create: list[IndexModel]
    drop: list[str]
    ours: set[str]
    """The names of the indexes created by the service, once the plan is applied."""


async def plan_indexes(
    database: Database, spec: CollectionSpec, ours: AbstractSet[str] = frozenset(), *, adopt: bool = False
) -> IndexPlan:
    """Compare the declared indexes with the existing ones.

    `ours` names the indexes created by the service; those no longer declared are dropped, and all other indexes stay.
    With `adopt`, existing declared indexes count as created by the service."""
    existing = await database[spec.name].index_information()
    same = {name: _identity(index["key"], index) for name, index in existing.items()}
    declared_indexes = {str(model.document["name"]): model for model in spec.indexes}
    missing = [model for model in declared_indexes.values() if _identity_of(model) not in same.values()]
    replaced = {str(model.document["name"]) for model in missing}
    drop = [name for name in existing if name in ours and (name in replaced or name not in declared_indexes)]
    kept = {name for name in existing if name in declared_indexes and (adopt or name in ours)}
    # A conflicting index of another owner makes the creation fail, and must not count as ours afterwards.
    created = {name for name in replaced if name not in existing or name in ours}
    return IndexPlan(missing, drop, kept | created)


def _identity_of(model: IndexModel) -> tuple[Any, ...]:
    return _identity(model.document["key"].items(), model.document)


def _identity(key: Iterable[tuple[str, Any]], options: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the identity of an index, independent of its name."""
    set_options = {name: options[name] for name in _INDEX_OPTIONS if name in options and options[name] is not False}
    return list(key), set_options


async def apply_indexes(database: Database, spec: CollectionSpec, plan: IndexPlan) -> None:
    for name in plan.drop:
        await database[spec.name].drop_index(name)
    if plan.create:
        with pymongo.timeout(_INDEX_BUILD_TIMEOUT):
            # By default all voting members must build the index, which never ends while one of three is down.
            await database[spec.name].create_indexes(plan.create, commitQuorum="majority")


async def erase(database: Database, specs: Iterable[CollectionSpec], user_id: str, session: Session | None) -> None:
    """Delete a user's documents in the collections of `specs` with `erasure="delete"`."""
    for spec in specs:
        if spec.owner is not None and spec.erasure == "delete":
            await database[spec.name].delete_many({spec.owner: user_id}, session=session)


async def owned_by(database: Database, spec: CollectionSpec, user_id: str) -> AsyncIterator[Document]:
    """Yield a user's documents, ordered by id. Keeps one batch in memory; the driver limits the time of each."""
    async for document in database[spec.name].find({spec.owner: user_id}).sort("_id", 1).batch_size(BATCH_SIZE):
        yield document

"""What a collection is, as data: its name, validator, indexes, and whose documents it holds."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pymongo
from pymongo import IndexModel
from pymongo.errors import OperationFailure

from shop_api.storage.mongo.client import Database, Document, Session

__all__ = [
    "CollectionSpec",
    "IndexModel",
    "IndexPlan",
    "apply_indexes",
    "ensure_collection",
    "ensure_documents",
    "ensure_validator",
    "erase",
    "owned_by",
    "plan_indexes",
]

_INDEX_BUILD_TIMEOUT = 600
_NAMESPACE_EXISTS = 48
_INDEX_OPTIONS = ("unique", "sparse", "expireAfterSeconds", "partialFilterExpression", "collation")


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """One collection. The feature that owns it declares it; all else is derived: preparation, erasure, export."""

    name: str
    schema: Mapping[str, Any] | None = None
    """The `$jsonSchema` that every document has to match."""
    indexes: Sequence[IndexModel] = ()
    documents: Sequence[Document] = ()
    """Those that have to exist from the beginning."""
    owner: str | None = None
    """The field with the id of the user whom a document is about."""
    erasure: Literal["delete", "keep"] = "keep"
    """What happens to a user's documents when the user is deleted."""
    exported: type[Any] | None = None
    """The pydantic model of a document as its owner may see it; `_id` is ignored unless it has that alias. Without
    one the documents are not part of the generic export."""


async def ensure_collection(database: Database, spec: CollectionSpec) -> None:
    """Make the collection with its validator, documents and indexes. Nothing is written when it is already so."""
    await ensure_validator(database, spec)
    await ensure_documents(database, spec)
    await apply_indexes(database, spec, await plan_indexes(database, spec))


async def ensure_validator(database: Database, spec: CollectionSpec) -> None:
    """Make the collection, or give it another validator if that differs: collMod locks all of the collection, and
    behind a backup it waits, and everything else behind it."""
    options: dict[str, Any] = {"validator": {"$jsonSchema": spec.schema}} if spec.schema else {}
    found = await _options(database, spec)
    if found is None:
        try:
            # Not create_collection, which asks first whether there is one.
            await database.command("create", spec.name, **options)
        except OperationFailure as error:
            if error.code != _NAMESPACE_EXISTS:
                raise
            found = await _options(database, spec) or {}  # another instance was faster
    if found is not None and options and found.get("validator") != options["validator"]:
        await database.command("collMod", spec.name, **options)


async def _options(database: Database, spec: CollectionSpec) -> Mapping[str, Any] | None:
    """The options of the collection; None if there is none."""
    reply = await database.command("listCollections", filter={"name": spec.name})
    found: list[Mapping[str, Any]] = [one["options"] for one in reply["cursor"]["firstBatch"]]
    return found[0] if found else None


async def ensure_documents(database: Database, spec: CollectionSpec) -> None:
    """Insert those of its documents that are missing."""
    for document in spec.documents:
        if await database[spec.name].find_one({"_id": document["_id"]}) is None:
            fields = {name: value for name, value in document.items() if name != "_id"}
            await database[spec.name].update_one({"_id": document["_id"]}, {"$setOnInsert": fields}, upsert=True)


class IndexPlan(NamedTuple):
    """How the indexes of a collection become what is declared."""

    create: list[IndexModel]
    drop: list[str]
    ours: set[str]
    """The names of those that the service has made, once this is done."""


async def plan_indexes(
    database: Database, spec: CollectionSpec, ours: AbstractSet[str] = frozenset(), *, adopt: bool = False
) -> IndexPlan:
    """Compare what is declared with what there is. Of the names in `ours`, those the service has made, the ones that
    are no longer declared go; anybody else's index stays. With `adopt`, a declared one that exists counts as made by
    the service."""
    existing = await database[spec.name].index_information()
    same = {name: _identity(index["key"], index) for name, index in existing.items()}
    wanted = {str(model.document["name"]): model for model in spec.indexes}
    missing = [model for model in wanted.values() if _identity_of(model) not in same.values()]
    replaced = {str(model.document["name"]) for model in missing}
    drop = [name for name in existing if name in ours and (name in replaced or name not in wanted)]
    kept = {name for name in existing if name in wanted and (adopt or name in ours)}
    # One of somebody else's in the way makes the creation fail. It must not count as made by the service after that.
    created = {name for name in replaced if name not in existing or name in ours}
    return IndexPlan(missing, drop, kept | created)


def _identity_of(model: IndexModel) -> tuple[Any, ...]:
    return _identity(model.document["key"].items(), model.document)


def _identity(key: Iterable[tuple[str, Any]], options: Mapping[str, Any]) -> tuple[Any, ...]:
    """What an index is, whatever its name."""
    given = {name: options[name] for name in _INDEX_OPTIONS if name in options and options[name] is not False}
    return list(key), given


async def apply_indexes(database: Database, spec: CollectionSpec, plan: IndexPlan) -> None:
    for name in plan.drop:
        await database[spec.name].drop_index(name)
    if plan.create:
        with pymongo.timeout(_INDEX_BUILD_TIMEOUT):
            # By default all voting members have to have built it: with one of three down that would never end.
            await database[spec.name].create_indexes(plan.create, commitQuorum="majority")


async def erase(database: Database, specs: Iterable[CollectionSpec], user_id: str, session: Session | None) -> None:
    """Delete what is stored about a user in those of `specs` that say so."""
    for spec in specs:
        if spec.owner is not None and spec.erasure == "delete":
            await database[spec.name].delete_many({spec.owner: user_id}, session=session)


async def owned_by(database: Database, spec: CollectionSpec, user_id: str) -> AsyncIterator[Document]:
    """Yield a user's documents, by id."""
    async for document in database[spec.name].find({spec.owner: user_id}).sort("_id", 1):
        yield document

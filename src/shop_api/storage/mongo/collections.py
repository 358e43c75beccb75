"""What a collection is, as data: its name, validator, indexes, and whose documents it holds."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pymongo
from pymongo import IndexModel
from pymongo.errors import CollectionInvalid, OperationFailure

from shop_api.storage.mongo.client import Database, Document, Session

__all__ = ["CollectionSpec", "IndexModel", "ensure_collection", "erase", "owned_by"]

# The first start on a large collection may have to build its indexes.
_INDEX_BUILD_TIMEOUT = 600
_NAMESPACE_EXISTS = 48


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
    """Make the collection with its validator, indexes and documents. Nothing changes when it is already so."""
    options: dict[str, Any] = {"validator": {"$jsonSchema": spec.schema}} if spec.schema else {}
    try:
        await database.create_collection(spec.name, **options)
    except CollectionInvalid:
        if options:
            await database.command("collMod", spec.name, **options)
    except OperationFailure as error:
        if error.code != _NAMESPACE_EXISTS:  # another instance was faster, with the same validator
            raise
    if spec.indexes:
        with pymongo.timeout(_INDEX_BUILD_TIMEOUT):
            await database[spec.name].create_indexes(list(spec.indexes))
    for document in spec.documents:
        fields = {name: value for name, value in document.items() if name != "_id"}
        await database[spec.name].update_one({"_id": document["_id"]}, {"$setOnInsert": fields}, upsert=True)


async def erase(database: Database, specs: Iterable[CollectionSpec], user_id: str, session: Session | None) -> None:
    """Delete what is stored about a user in those of `specs` that say so."""
    for spec in specs:
        if spec.owner is not None and spec.erasure == "delete":
            await database[spec.name].delete_many({spec.owner: user_id}, session=session)


async def owned_by(database: Database, spec: CollectionSpec, user_id: str) -> AsyncIterator[Document]:
    """Yield a user's documents, by id."""
    async for document in database[spec.name].find({spec.owner: user_id}).sort("_id", 1):
        yield document
